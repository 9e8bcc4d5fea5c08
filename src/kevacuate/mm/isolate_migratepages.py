# SPDX-License-Identifier: GPL-2.0-or-later
"""Compaction's migrate scanner: which pages are moved (mm/compaction.c, 7.2), as kcompactd runs it (MIGRATE_SYNC_LIGHT)."""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm.buddy import free_list
from kevacuate.mm.compaction import may_isolate
from kevacuate.mm.constants import (
    ATTR_LRU,
    ATTR_ON_LRU,
    ATTR_WRITEBACK,
    C_ISOLATE_NS,
    C_PAGEBLOCK_ORDER,
    C_SCAN_NS,
    COMPACT_CLUSTER_MAX,
    KC_COST,
    KC_FAST_START,
    KC_FINISH_BLOCK,
    KC_FOLIOS,
    KC_FREE_PFN,
    KC_LISTS,
    KC_MIGRATE_PFN,
    KC_NR_MIGRATE,
    KC_ORDER,
    KC_PROACTIVE,
    KC_SEARCH_FAIL,
    MIGRATE_MOVABLE,
    PAGE_ALLOC_COSTLY_ORDER,
    PG_ALLOC,
    PG_ISOLATED,
    Z_AREA,
    Z_CACHED_MIGRATE_PFN,
    Z_CACHED_MIGRATE_SYNC,
    Z_NR_ISOLATED,
    Z_NR_LRU,
    Z_START,
    ZS,
)
from kevacuate.mm.fast_isolate_freepages import freelist_scan_limit
from kevacuate.mm.free_chunks import (
    block_start,
    block_usable,
    get_pageblock_skip,
    isolation_suitable,
    move_freelist,
    set_pageblock_skip,
)

SPENT = -1
"""``KC_FAST_START`` once it has been used."""


@part
def update_cached_migrate_both(s, z, pfn):  # type: ignore[no-untyped-def]
    """Push both cached positions past the end of *pfn*'s block, if that is forward (:434)."""
    pfn = block_start(s, pfn) + (1 << s.cfg[C_PAGEBLOCK_ORDER])
    for field in (Z_CACHED_MIGRATE_PFN, Z_CACHED_MIGRATE_SYNC):
        s.zone[z * ZS + field] = max(s.zone[z * ZS + field], pfn)


@part(cold=True)
def fast_find_migrateblock(s, z, at):  # type: ignore[no-untyped-def]
    """A block low in memory that has large free chunks; else the linear position (:1971)."""
    pfn = s.work[at + KC_MIGRATE_PFN] + 0
    start = s.zone[z * ZS + Z_START]
    linear = pfn not in (start, block_start(s, pfn))
    if s.work[at + KC_PROACTIVE] or s.work[at + KC_FINISH_BLOCK] or linear:
        return pfn
    if s.work[at + KC_ORDER] <= PAGE_ALLOC_COSTLY_ORDER:
        return pfn
    limit = freelist_scan_limit(s, at)
    distance = (s.work[at + KC_FREE_PFN] - pfn) >> 1
    if pfn != start:
        distance >>= 2
    high = block_start(s, pfn + distance)
    seen = 0
    for order in range(s.work[at + KC_ORDER] - 1, PAGE_ALLOC_COSTLY_ORDER - 1, -1):
        if seen >= limit or s.zone[z * ZS + Z_AREA + order] == 0:
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
                if s.work[at + KC_FAST_START] != SPENT:
                    best = s.work[at + KC_FAST_START]
                    s.work[at + KC_FAST_START] = page if best == 0 else min(best, page)
                s.work[at + KC_SEARCH_FAIL] = 0
                return max(block_start(s, page), start)
            page = s.link[2 * page] + 0
    s.work[at + KC_SEARCH_FAIL] += 1
    if s.work[at + KC_FAST_START] > 0:
        s.work[at + KC_MIGRATE_PFN] = s.work[at + KC_FAST_START]
        s.work[at + KC_FAST_START] = SPENT
    return s.work[at + KC_MIGRATE_PFN] + 0


@part
def isolate_source(s, z, at, pfn, pages):  # type: ignore[no-untyped-def]
    """Take a folio off the LRU onto cc->migratepages."""
    attr = s.link[2 * pfn + 1] + 0
    s.meta[pfn] = PG_ISOLATED << 4 | (s.meta[pfn] & 15)
    s.link[2 * pfn + 1] = attr & ~ATTR_ON_LRU
    if attr & ATTR_LRU:
        s.zone[z * ZS + Z_NR_LRU] -= pages
        s.zone[z * ZS + Z_NR_ISOLATED] += pages
    folios = s.work[at + KC_FOLIOS]
    s.work[at + KC_LISTS + folios] = pfn
    s.work[at + KC_FOLIOS] = folios + 1
    s.work[at + KC_NR_MIGRATE] += pages


@part
def may_be_source(s, at, pfn, order):  # type: ignore[no-untyped-def]
    """Whether a chunk in use can be isolated: its order is below what compaction works for, and it is not under writeback."""
    wanted = s.work[at + KC_ORDER]
    if order >= s.cfg[C_PAGEBLOCK_ORDER] or (wanted >= 0 and order >= wanted):
        return False
    return s.link[2 * pfn + 1] & ATTR_WRITEBACK == 0 and may_isolate(s, pfn)


@part
def compact_isolate_block(s, z, at, pfn, end):  # type: ignore[no-untyped-def]
    """isolate_migratepages_block (:855): to 32 pages, or with finish_pageblock the rest of the block."""
    first = pfn
    start = block_start(s, pfn)
    from_start = pfn in (start, s.zone[z * ZS + Z_START])
    marked = False
    finish = s.work[at + KC_FINISH_BLOCK] != 0
    if from_start and not isolation_suitable(s, at, start):
        pfn = end
    while pfn < end and (finish or s.work[at + KC_NR_MIGRATE] < COMPACT_CLUSTER_MAX):
        meta = s.meta[pfn] + 0
        order = meta & 15
        if meta >> 4 == PG_ALLOC and may_be_source(s, at, pfn, order):
            if from_start and not marked and s.link[2 * pfn + 1] & ATTR_ON_LRU:
                marked = True
                if not s.work[at + KC_PROACTIVE]:
                    set_pageblock_skip(s, start)
            isolate_source(s, z, at, pfn, 1 << order)
        pfn += 1 << order
    pfn = min(pfn, end)
    if pfn == end and (finish or s.work[at + KC_NR_MIGRATE] == 0):
        if from_start and not marked:
            set_pageblock_skip(s, start)
        update_cached_migrate_both(s, z, end)
    s.work[at + KC_MIGRATE_PFN] = pfn
    taken = s.work[at + KC_NR_MIGRATE]
    s.work[at + KC_COST] += (pfn - first) * s.cfg[C_SCAN_NS] + taken * s.cfg[C_ISOLATE_NS]


@part(cold=True)
def isolate_migratepages(s, z, at):  # type: ignore[no-untyped-def]
    """Isolate from the next block that lets the scanner in (:2093). False if nothing was isolated."""
    pageblock = 1 << s.cfg[C_PAGEBLOCK_ORDER]
    s.work[at + KC_FOLIOS] = 0
    s.work[at + KC_NR_MIGRATE] = 0
    zone_start = s.zone[z * ZS + Z_START]
    pfn = fast_find_migrateblock(s, z, at)
    fast = pfn != s.work[at + KC_MIGRATE_PFN] and s.work[at + KC_SEARCH_FAIL] == 0
    end = block_start(s, pfn) + pageblock
    while end <= s.work[at + KC_FREE_PFN]:
        at_start = pfn in (end - pageblock, zone_start)
        skipped = at_start and not fast and not isolation_suitable(s, at, pfn)
        huge = (
            s.meta[end - pageblock] >> 4 == PG_ALLOC
            and s.meta[end - pageblock] & 15 >= s.cfg[C_PAGEBLOCK_ORDER]
        )
        if block_usable(s, z, end - pageblock) and not skipped:
            if not huge:
                compact_isolate_block(s, z, at, pfn, end)
                return s.work[at + KC_NR_MIGRATE] > 0
            update_cached_migrate_both(s, z, end)
        fast = False
        pfn = end
        s.work[at + KC_MIGRATE_PFN] = end
        end += pageblock
    return False
