# SPDX-License-Identifier: GPL-2.0-or-later
"""Compaction of one zone: a step of its loop, and is it over (mm/compaction.c, 7.2).

As kcompactd runs it: MIGRATE_SYNC_LIGHT, for GFP_KERNEL. Approximate: a batch is isolated and its destinations are found at one
moment of virtual time, the moves then come 32 pages at a time; a large folio without a destination counts as failed, it is
not split.
Direct compaction is not modelled, and with it what only it does: flushing the skip bits.
"""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm import constants as k
from kevacuate.mm.buddy import free_list
from kevacuate.mm.compact_scanners import pageblock_start_pfn
from kevacuate.mm.compact_suitable import extfrag_for_order
from kevacuate.mm.fallback import find_suitable_fallback
from kevacuate.mm.fields import CompactControl, View
from kevacuate.mm.isolate_freepages import compaction_alloc, compaction_free, release_free_list
from kevacuate.mm.isolate_migratepages import isolate_migratepages
from kevacuate.mm.log import log_event
from kevacuate.mm.migrate import free_isolated, migrate_folio_move, unaccount_isolated
from kevacuate.mm.pcp import drain_pages_zone
from kevacuate.mm.swap import folio_add_lru, lru_add_drain_cpu
from kevacuate.mm.watermark import wmark_pages, zone_watermark_ok_free


@part(cold=True)
def compact_zone_begin(s: View, z: int, cc: CompactControl, cpu: int, order: int, proactive: bool) -> None:
    """compact_zone up to its loop: where the scanners start (:2564)."""
    zone = s.zone[z]
    start, end = zone.zone_start_pfn, zone.zone_end_pfn
    last = pageblock_start_pfn(s, end - 1)
    cc.last_migrated_pfn = cc.fast_search_fail = cc.fast_start_pfn = cc.finish_pageblock = 0
    cc.nr_freepages = cc.nr_migratepages = cc.left = 0
    cc.order = order
    cc.search_order = order
    cc.proactive_compaction = cc.whole_zone = 1 if proactive else 0
    if proactive:
        migrate, free = start, last
    else:
        migrate, free = zone.compact_cached_migrate_pfn[1], zone.compact_cached_free_pfn
        if free < start or free >= end:
            free = last
            zone.compact_cached_free_pfn = free
        if migrate < start or migrate >= end:
            migrate = start
            zone.compact_cached_migrate_pfn[0] = zone.compact_cached_migrate_pfn[1] = start
        if migrate <= zone.compact_init_migrate_pfn:
            cc.whole_zone = 1
    cc.migrate_pfn = migrate
    cc.free_pfn = free
    s.stat.compactions += 1
    log_event(s, k.L_COMPACT_BEGIN, migrate, free, order, z, 0)
    lru_add_drain_cpu(s, cpu)


@part
def compact_scanners_met(s: View, cc: CompactControl) -> bool:
    """Whether the free scanner has come down to the migrate scanner's block."""
    return pageblock_start_pfn(s, cc.free_pfn) <= pageblock_start_pfn(s, cc.migrate_pfn)


@part(cold=True)
def compact_finished(s: View, z: int, cc: CompactControl, kswapd_runs: bool, wanted_score: int) -> int:
    """Whether the compaction is over, and how (:2282); COMPACT_CONTINUE if it is not."""
    zone = s.zone[z]
    if compact_scanners_met(s, cc):
        start = zone.zone_start_pfn
        zone.compact_cached_migrate_pfn[0] = zone.compact_cached_migrate_pfn[1] = start
        zone.compact_cached_free_pfn = pageblock_start_pfn(s, zone.zone_end_pfn - 1)
        return k.COMPACT_COMPLETE if cc.whole_zone else k.COMPACT_PARTIAL_SKIPPED
    if cc.proactive_compaction:
        if kswapd_runs:
            return k.COMPACT_PARTIAL_SKIPPED
        score = extfrag_for_order(s, z, s.cfg.pageblock_order)
        return k.COMPACT_CONTINUE if score > wanted_score else k.COMPACT_SUCCESS
    if cc.migrate_pfn != pageblock_start_pfn(s, cc.migrate_pfn):
        return k.COMPACT_CONTINUE
    if s.cfg.defrag_mode:
        mark, free = wmark_pages(s, z, k.WMARK_HIGH), zone.nr_free_pages_blocks
        met = zone_watermark_ok_free(s, z, cc.order, mark, cc.highest_zoneidx, 0, free)
        return k.COMPACT_SUCCESS if met else k.COMPACT_CONTINUE
    for order in range(cc.order, s.cfg.max_page_order + 1):
        head = free_list(s, z, order, k.MIGRATE_UNMOVABLE)
        if s.link[2 * head] != head or find_suitable_fallback(s, z, order, k.MIGRATE_UNMOVABLE, True) >= 0:
            return k.COMPACT_SUCCESS
    return k.COMPACT_CONTINUE


@part
def put_source_back(s: View, cpu: int, pfn: int) -> None:
    """putback_movable_pages for one folio."""
    order = s.meta[pfn] & 15
    unaccount_isolated(s, pfn, order)
    s.meta[pfn] = k.CHUNK_ALLOC << 4 | order
    if s.link[2 * pfn + 1] & k.ATTR_LRU:
        folio_add_lru(s, cpu, pfn, order)


@part(cold=True)
def compact_folios_unmap(s: View, z: int, cc: CompactControl) -> None:
    """The unmap phase of migrate_pages, last isolated first: a destination for every source (mm/migrate.c:1805)."""
    sources, targets = cc.sources, cc.targets
    cc.enomem = 0
    for i in range(cc.nr_folios - 1, -1, -1):
        pfn = s.folios[sources + i]
        order = s.meta[pfn] & 15
        dst = -1
        if cc.enomem == 0:
            dst = compaction_alloc(s, z, cc, order)
            if dst < 0 and order == 0:
                cc.enomem = 1
        if dst >= 0 and s.link[2 * pfn + 1] & k.ATTR_BUSY:
            compaction_free(s, z, cc, dst, order)
            dst = -1
        s.folios[targets + i] = dst
    cc.left = cc.nr_folios
    cc.failed = 0


@part
def move_source(s: View, z: int, cc: CompactControl, cpu: int, pfn: int, dst: int) -> int:
    """Move one folio, or put it back. Returns the pages moved; one freed meanwhile counts as moved."""
    order = s.meta[pfn] & 15
    attr = s.link[2 * pfn + 1] + 0
    if attr & k.ATTR_FREED:
        free_isolated(s, cpu, pfn)
    elif dst >= 0 and not attr & k.ATTR_PINNED and s.meta[dst] & 15 == order:
        migrate_folio_move(s, cpu, pfn, dst, order)
        return 1 << order
    else:
        cc.failed += 1
        put_source_back(s, cpu, pfn)
    if dst >= 0:
        compaction_free(s, z, cc, dst, s.meta[dst] & 15)
    return 0


@part(cold=True)
def compact_folios_move(s: View, z: int, cc: CompactControl, cpu: int) -> bool:
    """The move phase, as far as one step goes (mm/migrate.c:1760): COMPACT_CLUSTER_MAX pages. False once all are done.

    The kernel can be preempted after each page, and a block's worth takes tens of milliseconds: what is free of it already
    may be taken, or claimed, before the rest is.
    """
    sources, targets = cc.sources, cc.targets
    moved = 0
    left = cc.left
    while left > 0 and moved < k.COMPACT_CLUSTER_MAX:
        left -= 1
        moved += move_source(s, z, cc, cpu, s.folios[sources + left], s.folios[targets + left])
    cc.left = left
    cc.cost += moved * s.cfg.migrate_ns
    s.stat.compact_migrated += moved
    return left > 0


@part
def batch_over(s: View, z: int, cc: CompactControl) -> tuple[int, bool]:
    """What compact_zone does with migrate_pages' result. Returns (COMPACT_*, whether to scan the rest of the block)."""
    cc.nr_migratepages = 0
    failed = cc.failed
    s.stat.compact_failed += failed
    log_event(
        s,
        k.L_COMPACT_MIGRATE,
        cc.migrate_pfn,
        cc.nr_folios - failed,
        failed,
        cc.enomem,
        0,
    )
    if failed == 0:
        return k.COMPACT_CONTINUE, False
    if cc.enomem and not compact_scanners_met(s, cc):
        return k.COMPACT_CONTENDED, False
    inside = cc.migrate_pfn != pageblock_start_pfn(s, cc.migrate_pfn)
    if not inside or cc.proactive_compaction or cc.finish_pageblock:
        return k.COMPACT_CONTINUE, False
    cc.finish_pageblock = 1
    if cc.order == s.cfg.hpage_pmd_order:
        cc.last_migrated_pfn = 0
    return k.COMPACT_CONTINUE, True


@part
def isolate_batch(s: View, z: int, cc: CompactControl) -> bool:
    """Isolate the next batch, and remember from which block it is. False if there is none."""
    if not isolate_migratepages(s, z, cc):
        return False
    last = pageblock_start_pfn(s, cc.migrate_pfn - 1)
    cc.last_migrated_pfn = max(s.zone[z].zone_start_pfn, last)
    return True


@part
def begin_batch(s: View, z: int, cc: CompactControl) -> None:
    """Isolate the next batch and find its destinations; nothing left to move if there is none."""
    cc.left = 0
    if isolate_batch(s, z, cc):
        compact_folios_unmap(s, z, cc)


@part
def begin_round(s: View, cc: CompactControl) -> None:
    """Whether this round of the loop takes the rest of the block: it is the one that was migrated from last (:2655)."""
    same = pageblock_start_pfn(s, cc.last_migrated_pfn) == pageblock_start_pfn(s, cc.migrate_pfn)
    cc.finish_pageblock = 1 if same else 0


@part
def raise_cached_free_pfn(s: View, z: int, highest: int) -> None:
    """The highest page given back lets the next run's free scanner start as high (:2780)."""
    zone = s.zone[z]
    zone.compact_cached_free_pfn = max(zone.compact_cached_free_pfn, pageblock_start_pfn(s, highest))


@part
def check_drain(s: View, z: int, cc: CompactControl, cpu: int) -> None:
    """Drain this CPU once the scanner has left an aligned chunk of the wanted order behind (:2755)."""
    order = cc.order
    last = cc.last_migrated_pfn
    if order > 0 and last and last < (cc.migrate_pfn >> order) << order:
        lru_add_drain_cpu(s, cpu)
        drain_pages_zone(s, z, cpu)
        cc.last_migrated_pfn = 0


@part(cold=True)
def compact_zone_turn(
    s: View, z: int, cc: CompactControl, cpu: int, kswapd_runs: bool, wanted_score: int
) -> int:
    """A step of compact_zone's loop (:2640). Returns COMPACT_CONTINUE, or how it ended."""
    result = k.COMPACT_CONTINUE
    if cc.left > 0:
        if compact_folios_move(s, z, cc, cpu):
            return result
        result, again = batch_over(s, z, cc)
        if again:
            begin_batch(s, z, cc)
            if cc.left > 0:
                return result
        if result == k.COMPACT_CONTINUE:
            check_drain(s, z, cc, cpu)
            return result
    if result == k.COMPACT_CONTINUE:
        result = compact_finished(s, z, cc, kswapd_runs, wanted_score)
    if result == k.COMPACT_CONTINUE:
        begin_round(s, cc)
        begin_batch(s, z, cc)
        if cc.left == 0:
            check_drain(s, z, cc, cpu)
        return result
    log_event(
        s,
        k.L_COMPACT_END,
        cc.migrate_pfn,
        cc.free_pfn,
        cc.order,
        result,
        z,
    )
    if cc.nr_freepages > 0:
        raise_cached_free_pfn(s, z, release_free_list(s, z, cc, cpu))
    return result
