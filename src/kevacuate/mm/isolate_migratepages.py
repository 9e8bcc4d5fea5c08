# SPDX-License-Identifier: GPL-2.0-or-later
"""Compaction's migrate scanner: which pages are moved (mm/compaction.c, 7.2), as kcompactd runs it (MIGRATE_SYNC_LIGHT)."""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm.buddy import free_list
from kevacuate.mm.compact_scanners import (
    get_pageblock_skip,
    isolation_suitable,
    move_freelist,
    pageblock_pfn_to_page,
    pageblock_start_pfn,
    set_pageblock_skip,
)
from kevacuate.mm.constants import (
    ATTR_ACTIVATING,
    ATTR_LRU,
    ATTR_ON_LRU,
    ATTR_WRITEBACK,
    CHUNK_ALLOC,
    CHUNK_ISOLATED,
    COMPACT_CLUSTER_MAX,
    MIGRATE_MOVABLE,
    PAGE_ALLOC_COSTLY_ORDER,
)
from kevacuate.mm.evacuate_isolate import may_isolate
from kevacuate.mm.fast_isolate_freepages import freelist_scan_limit
from kevacuate.mm.fields import CompactControl, View
from kevacuate.mm.lruvec import lruvec_del_folio, mod_isolated

SPENT = -1
"""``cc.fast_start_pfn`` once it has been used."""


@part
def update_cached_migrate_both(s: View, z: int, pfn: int) -> None:
    """Push both cached positions past the end of *pfn*'s block, if that is forward (:434)."""
    pfn = pageblock_start_pfn(s, pfn) + (1 << s.cfg.pageblock_order)
    cached = s.zone[z].compact_cached_migrate_pfn
    cached[0] = max(cached[0], pfn)
    cached[1] = max(cached[1], pfn)


@part(cold=True)
def fast_find_migrateblock(s: View, z: int, cc: CompactControl) -> int:
    """A block low in memory that has large free chunks; else the linear position (:1971)."""
    zone = s.zone[z]
    pfn = cc.migrate_pfn
    start = zone.zone_start_pfn
    linear = pfn not in (start, pageblock_start_pfn(s, pfn))
    if cc.proactive_compaction or cc.finish_pageblock or linear:
        return pfn
    if cc.order <= PAGE_ALLOC_COSTLY_ORDER:
        return pfn
    limit = freelist_scan_limit(s, cc)
    distance = (cc.free_pfn - pfn) >> 1
    if pfn != start:
        distance >>= 2
    high = pageblock_start_pfn(s, pfn + distance)
    seen = 0
    for order in range(cc.order - 1, PAGE_ALLOC_COSTLY_ORDER - 1, -1):
        if seen >= limit or zone.free_area[order] == 0:
            continue
        head = free_list(s, z, order, MIGRATE_MOVABLE)
        page = s.link[2 * head] + 0
        while page != head:
            seen += 1
            past = seen > limit
            if past or (page < high and not get_pageblock_skip(s, page)):
                move_freelist(s, head, page, True)
                if past:
                    break
                if cc.fast_start_pfn != SPENT:
                    best = cc.fast_start_pfn
                    cc.fast_start_pfn = page if best == 0 else min(best, page)
                cc.fast_search_fail = 0
                return max(pageblock_start_pfn(s, page), start)
            page = s.link[2 * page] + 0
    cc.fast_search_fail += 1
    if cc.fast_start_pfn > 0:
        cc.migrate_pfn = cc.fast_start_pfn
        cc.fast_start_pfn = SPENT
    return cc.migrate_pfn


@part
def isolate_source(s: View, z: int, cc: CompactControl, pfn: int, pages: int) -> None:
    """Take a folio off the LRU onto cc->migratepages."""
    zone = s.zone[z]
    attr = s.link[2 * pfn + 1] + 0
    s.meta[pfn] = CHUNK_ISOLATED << 4 | (s.meta[pfn] & 15)
    s.link[2 * pfn + 1] = attr & ~(ATTR_ON_LRU | ATTR_ACTIVATING)
    if attr & ATTR_LRU:
        zone.nr_lru -= pages
        mod_isolated(s, pfn, attr, pages)
    if attr & ATTR_ON_LRU and s.cfg.open_loop == 0:
        lruvec_del_folio(s, pfn, attr)
    folios = cc.nr_folios
    s.folios[cc.sources + folios] = pfn
    cc.nr_folios = folios + 1
    cc.nr_migratepages += pages


@part
def may_be_source(s: View, cc: CompactControl, pfn: int, order: int) -> int:
    """Whether a chunk in use can be isolated: its order is below what compaction works for, and it is not under writeback."""
    wanted = cc.order
    if order >= s.cfg.pageblock_order or (wanted >= 0 and order >= wanted):
        return False
    return s.link[2 * pfn + 1] & ATTR_WRITEBACK == 0 and may_isolate(s, pfn)


@part
def isolate_migratepages_block(s: View, z: int, cc: CompactControl, pfn: int, end: int) -> None:
    """Isolate from a block (:855): to 32 pages, or with finish_pageblock the rest of the block."""
    first = pfn
    start = pageblock_start_pfn(s, pfn)
    from_start = pfn in (start, s.zone[z].zone_start_pfn)
    marked = False
    finish = cc.finish_pageblock != 0
    if from_start and not isolation_suitable(s, cc, start):
        pfn = end
    while pfn < end and (finish or cc.nr_migratepages < COMPACT_CLUSTER_MAX):
        meta = s.meta[pfn] + 0
        order = meta & 15
        if meta >> 4 == CHUNK_ALLOC and may_be_source(s, cc, pfn, order):
            if from_start and not marked and s.link[2 * pfn + 1] & ATTR_ON_LRU:
                marked = True
                if not cc.proactive_compaction:
                    set_pageblock_skip(s, start)
            isolate_source(s, z, cc, pfn, 1 << order)
        pfn += 1 << order
    pfn = min(pfn, end)
    if pfn == end and (finish or cc.nr_migratepages == 0):
        if from_start and not marked:
            set_pageblock_skip(s, start)
        update_cached_migrate_both(s, z, end)
    cc.migrate_pfn = pfn
    taken = cc.nr_migratepages
    cc.cost += (pfn - first) * s.cfg.scan_ns + taken * s.cfg.isolate_ns


@part(cold=True)
def isolate_migratepages(s: View, z: int, cc: CompactControl) -> bool:
    """Isolate from the next block that lets the scanner in (:2093). False if nothing was isolated."""
    pageblock = 1 << s.cfg.pageblock_order
    cc.nr_folios = 0
    cc.nr_migratepages = 0
    zone_start = s.zone[z].zone_start_pfn
    pfn = fast_find_migrateblock(s, z, cc)
    fast = pfn != cc.migrate_pfn and cc.fast_search_fail == 0
    end = pageblock_start_pfn(s, pfn) + pageblock
    while end <= cc.free_pfn:
        at_start = pfn in (end - pageblock, zone_start)
        skipped = at_start and not fast and not isolation_suitable(s, cc, pfn)
        huge = (
            s.meta[end - pageblock] >> 4 == CHUNK_ALLOC
            and s.meta[end - pageblock] & 15 >= s.cfg.pageblock_order
        )
        if pageblock_pfn_to_page(s, z, end - pageblock) and not skipped:
            if not huge:
                isolate_migratepages_block(s, z, cc, pfn, end)
                return cc.nr_migratepages > 0
            update_cached_migrate_both(s, z, end)
        fast = False
        pfn = end
        cc.migrate_pfn = end
        end += pageblock
    return False
