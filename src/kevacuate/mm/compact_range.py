# SPDX-License-Identifier: GPL-2.0-or-later
"""Compaction between two page frames, as a policy's worker asks for it (mm/compaction.c, 7.2).

It is what compact_node does to a zone (``vm.compact_memory``), with the scanners at the ends of a range: MIGRATE_SYNC_LIGHT,
whatever the skip bits say, and for no order. Where compaction of the zone has come to does not change. Approximate: it is one
moment of virtual time. No kernel has such a call.
"""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm import constants as k
from kevacuate.mm.compact_scanners import pageblock_start_pfn
from kevacuate.mm.compact_zone import begin_round, compact_scanners_met, isolate_batch
from kevacuate.mm.direct_compact import migrate_batch
from kevacuate.mm.fields import CompactControl, View
from kevacuate.mm.isolate_freepages import release_free_list
from kevacuate.mm.isolate_migratepages import ISOLATE_SUCCESS
from kevacuate.mm.log import log_event
from kevacuate.mm.swap import lru_add_drain_cpu


@part
def set_range_control(s: View, z: int, cc: CompactControl, first: int, end: int) -> None:
    """The compact_control of compact_node, with the scanners at the ends of the range."""
    cc.zone = z
    cc.order = -1
    cc.search_order = cc.fast_search_fail = 0
    cc.highest_zoneidx = k.ZONE_MOVABLE
    cc.alloc_flags = k.ALLOC_CMA
    cc.whole_zone = cc.ignore_skip_hint = 1
    cc.last_migrated_pfn = cc.fast_start_pfn = cc.finish_pageblock = 0
    cc.nr_freepages = cc.nr_migratepages = cc.nr_folios = cc.left = cc.nr_parts = 0
    cc.total_migrate_scanned = cc.total_free_scanned = 0
    cc.cost = 0
    cc.migrate_pfn = first
    cc.free_pfn = pageblock_start_pfn(s, end - 1)


@part(cold=True)
def compact_range(s: View, z: int, first: int, end: int, cpu: int) -> tuple[int, int]:
    """Move what can move from the range's low end into free pages at its high end, until the scanners meet.

    The range is *first* up to *end*, in one zone. Returns (pages moved, ns that it cost, not scaled).
    """
    cc, zone = s.cc[s.cfg.contig_cc + 1], s.zone[z]
    cached = zone.compact_cached_migrate_pfn
    migrate_async, migrate_sync, free = cached[0] + 0, cached[1] + 0, zone.compact_cached_free_pfn
    moved = s.stat.pgmigrate_success
    set_range_control(s, z, cc, first, end)
    s.stat.compactions += 1
    log_event(s, k.L_COMPACT_BEGIN, first, cc.free_pfn, cc.order, z, k.FOR_A_POLICY)
    lru_add_drain_cpu(s, cpu)
    result = k.COMPACT_CONTINUE
    while result == k.COMPACT_CONTINUE and not compact_scanners_met(s, cc):
        begin_round(s, cc)
        if isolate_batch(s, z, cc, cpu) == ISOLATE_SUCCESS:
            result, _ = migrate_batch(s, z, cc, cpu)
    result = k.COMPACT_COMPLETE if result == k.COMPACT_CONTINUE else result
    log_event(s, k.L_COMPACT_END, cc.migrate_pfn, cc.free_pfn, cc.order, result, z)
    if cc.nr_freepages > 0:
        release_free_list(s, z, cc, cpu)
    s.stat.compact_migrate_scanned += cc.total_migrate_scanned
    s.stat.compact_free_scanned += cc.total_free_scanned
    cached[0], cached[1], zone.compact_cached_free_pfn = migrate_async, migrate_sync, free
    scanned = cc.total_migrate_scanned + cc.total_free_scanned
    return s.stat.pgmigrate_success - moved, cc.cost + scanned * s.cfg.scan_ns
