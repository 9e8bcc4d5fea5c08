# SPDX-License-Identifier: GPL-2.0-or-later
"""The shrink work of a node whose tainted regions are short of free memory: it frees reclaimable slabs in them.

Models "1GB superpageblock memory allocation" (45 patches of 2026-04-30), number 32; when it is queued: :mod:`.region_pressure`.
A throttle of 100 ms was tried there and removed: here there is none.

Approximate: as :func:`kevacuate.mm.policy_work.shrink_slab`, each so many-th slab by address goes, whole; here only slabs in
tainted regions are looked at, as all slabs make theirs tainted. How hard the series shrinks was not seen
(``region_shrink_priority``). It is one moment, and takes ``reclaim_ns`` a page afterwards.
"""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm import constants as k
from kevacuate.mm.fields import Region, View
from kevacuate.mm.policy_work import free_slab, is_slab


@part(cold=True)
def shrink_region(s: View, region: Region, slabs: int, cpu: int) -> tuple[int, int]:
    """Free slabs of a region; *slabs* were looked at before it. Returns (slabs looked at by now, pages freed)."""
    freed = 0
    first = region.start_pfn >> s.cfg.pageblock_order
    for block in range(first, first + region.total):
        if s.pageblock[block].nr_used[k.MIGRATE_RECLAIMABLE] == 0:
            continue
        pfn = block << s.cfg.pageblock_order
        end = pfn + (1 << s.cfg.pageblock_order)
        while pfn < end:
            order = s.meta[pfn] & 15
            if is_slab(s, pfn):
                slabs += 1
                if slabs & ((1 << s.cfg.region_shrink_priority) - 1) == 0:
                    freed += 1 << order
                    free_slab(s, pfn, order, cpu)
            pfn += 1 << order
    return slabs, freed


@part(cold=True)
def shrink_tainted(s: View, node: int) -> None:
    """The node's shrink work: each 2**region_shrink_priority-th slab of its tainted regions."""
    pgdat = s.node[node]
    pgdat.shrink_due = k.NEVER
    s.stat.cpu = pgdat.cpu
    slabs = freed = 0
    for number in range(s.cfg.nr_regions):
        region = s.region[number]
        if s.zone[region.zone].node == node and region.tainted and region.nr_used[k.MIGRATE_RECLAIMABLE]:
            slabs, pages = shrink_region(s, region, slabs, pgdat.cpu)
            freed += pages
    cost = freed * s.cfg.reclaim_ns
    s.stat.region_shrinks += 1
    s.stat.region_shrunk_pages += freed
    s.stat.worker_ns += cost
    pgdat.shrink_busy = s.stat.now + cost * s.cfg.time_scale
