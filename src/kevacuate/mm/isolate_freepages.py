# SPDX-License-Identifier: GPL-2.0-or-later
"""Compaction's free scanner: where its destinations come from (mm/compaction.c, 7.2).

*at* is everywhere the offset in ``work`` of the compact_control (fields ``KC_*``), *z* the zone being compacted.
"""

from __future__ import annotations

from kevacuate.mm.buddy import (
    account_freepages,
    del_page_from_free_list,
    free_list,
    get_pfnblock_migratetype,
    list_add,
    list_add_tail,
    list_del,
    move_freepages_block,
    page_zone,
)
from kevacuate.mm.constants import (
    ALLOC_CMA,
    C_MAX_PAGE_ORDER,
    C_PAGEBLOCK_ORDER,
    COMPACT_CLUSTER_MAX,
    FREEPAGES,
    KC_FREE_PFN,
    KC_MIGRATE_PFN,
    KC_NR_FREE,
    KC_NR_MIGRATE,
    KC_ORDER,
    KC_PROACTIVE,
    KC_SEARCH_FAIL,
    KC_SEARCH_ORDER,
    MIGRATE_CMA,
    MIGRATE_MOVABLE,
    MIGRATE_PCPTYPES,
    PB_SKIP,
    PG_BUDDY,
    PG_COMPACT,
    WMARK_MIN,
    Z_AREA,
    Z_CACHED_FREE_PFN,
    Z_END,
    Z_INIT_FREE_PFN,
    Z_START,
    Z_WMARK,
    ZS,
)
from kevacuate.mm.jit import part
from kevacuate.mm.page_alloc import free_frozen_pages
from kevacuate.mm.watermark import zone_watermark_ok


@part
def freepages(s, z, order):  # type: ignore[no-untyped-def]
    """Sentinel of cc->freepages[order]."""
    return free_list(s, z, order, FREEPAGES)


@part
def get_pageblock_skip(s, pfn):  # type: ignore[no-untyped-def]
    """Whether the skip bit of *pfn*'s block is set."""
    return s.block[2 * (pfn >> s.cfg[C_PAGEBLOCK_ORDER])] & PB_SKIP != 0


@part
def set_pageblock_skip(s, pfn):  # type: ignore[no-untyped-def]
    """Set the skip bit of *pfn*'s block."""
    s.block[2 * (pfn >> s.cfg[C_PAGEBLOCK_ORDER])] |= PB_SKIP


@part
def isolation_suitable(s, at, pfn):  # type: ignore[no-untyped-def]
    """Whether the skip bit lets the scanners into the block; proactive compaction ignores it (:188)."""
    return s.work[at + KC_PROACTIVE] != 0 or not get_pageblock_skip(s, pfn)


@part
def block_start(s, pfn):  # type: ignore[no-untyped-def]
    """pageblock_start_pfn."""
    return (pfn >> s.cfg[C_PAGEBLOCK_ORDER]) << s.cfg[C_PAGEBLOCK_ORDER]


@part
def block_usable(s, z, start):  # type: ignore[no-untyped-def]
    """pageblock_pfn_to_page: whether the block that starts at *start* belongs to the zone up to its last page."""
    end = start + (1 << s.cfg[C_PAGEBLOCK_ORDER])
    return start >= 0 and end <= s.zone[z * ZS + Z_END] and page_zone(s, start) == z


@part(cold=True)
def rotate_free_list(s, head, pfn, last):  # type: ignore[no-untyped-def]
    """move_freelist_tail: *pfn* becomes the list's last, unless it is the first; move_freelist_head: the reverse."""
    if pfn == (s.link[2 * head] if last else s.link[2 * head + 1]):
        return
    before, after = s.link[2 * head + 1] + 0, s.link[2 * head] + 0
    s.link[2 * before], s.link[2 * after + 1] = after, before
    if last:
        list_add(s, head, pfn)
    else:
        list_add_tail(s, head, pfn)


@part(cold=True)
def take_free_chunk(s, z, pfn, order):  # type: ignore[no-untyped-def]
    """What __isolate_free_page does once it may (:3123): half a block or more makes its blocks movable."""
    mt = get_pfnblock_migratetype(s, pfn)
    del_page_from_free_list(s, z, pfn, order, mt)
    account_freepages(s, z, -(1 << order), mt)
    s.meta[pfn] = PG_COMPACT << 4 | order
    pageblock_order = s.cfg[C_PAGEBLOCK_ORDER]
    if order >= pageblock_order - 1:
        page = pfn
        while page < pfn + (1 << order):
            mt = get_pfnblock_migratetype(s, page)
            if mt < MIGRATE_PCPTYPES:
                move_freepages_block(s, z, page, mt, MIGRATE_MOVABLE)
            page += 1 << pageblock_order


@part
def isolate_free_page(s, z, at, pfn, order):  # type: ignore[no-untyped-def]
    """__isolate_free_page onto cc->freepages; False where the zone would fall below MIN."""
    mark = s.zone[z * ZS + Z_WMARK + WMARK_MIN] + (1 << order)
    if not zone_watermark_ok(s, z, 0, mark, 0, ALLOC_CMA):
        return False
    take_free_chunk(s, z, pfn, order)
    list_add_tail(s, pfn, freepages(s, z, order))
    s.work[at + KC_NR_FREE] += 1 << order
    return True


@part
def isolate_freepages_block(s, z, at, pfn, end, stride):  # type: ignore[no-untyped-def]
    """Take the free chunks of a block until there are enough. Returns (where it stopped, pages taken)."""
    taken = 0
    while pfn < end:
        meta = s.meta[pfn] + 0
        size = 1 << (meta & 15)
        if meta >> 4 == PG_BUDDY:
            if not isolate_free_page(s, z, at, pfn, meta & 15):
                break
            taken += size
            if s.work[at + KC_NR_MIGRATE] <= s.work[at + KC_NR_FREE]:
                pfn += size
                break
            pfn += size - 1
        elif pfn + size <= end:
            pfn += size - 1
        pfn += stride
    return min(pfn, end), taken


@part
def suitable_migration_target(s, at, start):  # type: ignore[no-untyped-def]
    """Whether the block is a movable one and not free altogether."""
    order = s.work[at + KC_ORDER] if s.work[at + KC_ORDER] > 0 else s.cfg[C_PAGEBLOCK_ORDER]
    meta = s.meta[start] + 0
    if meta >> 4 == PG_BUDDY and meta & 15 >= order:
        return False
    mt = get_pfnblock_migratetype(s, start)
    return mt in (MIGRATE_MOVABLE, MIGRATE_CMA)


@part(cold=True)
def search_free_list(s, z, order, limit, low, least, highest):  # type: ignore[no-untyped-def]
    """Walk one movable list from its tail for a chunk at *low* or above, or the highest from *least* on.

    Returns (chunk or -1, whether it is a preferred one, limit, chunks seen, highest block seen).
    """
    head = free_list(s, z, order, MIGRATE_MOVABLE)
    pfn = s.link[2 * head + 1] + 0
    seen = 0
    best = -1
    at_last = pfn
    while pfn != head:
        seen += 1
        at_last = pfn
        if pfn >= highest:
            highest = max(block_start(s, pfn), s.zone[z * ZS + Z_START])
        if pfn >= low:
            rotate_free_list(s, head, pfn, False)
            return pfn, True, limit, seen, highest
        if pfn >= least and pfn > best:
            best = pfn
            limit >>= 1
        if seen >= limit:
            break
        pfn = s.link[2 * pfn + 1] + 0
    if best >= 0:
        at_last = best
        pfn = best
    if pfn != head:
        rotate_free_list(s, head, at_last, False)
    return best, False, limit, seen, highest


@part
def next_search_order(s, at, order):  # type: ignore[no-untyped-def]
    """The next lower order, cyclically; -1 once all have been searched."""
    order -= 1
    if order < 0:
        order = s.work[at + KC_ORDER] - 1
    if order == s.work[at + KC_SEARCH_ORDER]:
        s.work[at + KC_SEARCH_ORDER] -= 1
        if s.work[at + KC_SEARCH_ORDER] < 0:
            s.work[at + KC_SEARCH_ORDER] = s.work[at + KC_ORDER] - 1
        return -1
    return order


@part
def freelist_scan_limit(s, at):  # type: ignore[no-untyped-def]
    """How many chunks a fast search may look at: fewer after every failure."""
    return (COMPACT_CLUSTER_MAX >> min(63, s.work[at + KC_SEARCH_FAIL])) + 1


@part(cold=True)
def fast_isolate_freepages(s, z, at):  # type: ignore[no-untyped-def]
    """Search the movable lists for a chunk high in memory, then take what else its block has free (:1553)."""
    if s.work[at + KC_ORDER] <= 0:
        return
    free_pfn = s.work[at + KC_FREE_PFN] + 0
    limit = max(1, freelist_scan_limit(s, at) >> 1)
    scan_start = free_pfn >= s.zone[z * ZS + Z_INIT_FREE_PFN]
    if scan_start:
        limit = (1 << s.cfg[C_PAGEBLOCK_ORDER]) >> 1
    distance = free_pfn - s.work[at + KC_MIGRATE_PFN]
    low = block_start(s, free_pfn - (distance >> 2))
    least = block_start(s, free_pfn - (distance >> 1))
    s.work[at + KC_SEARCH_ORDER] = min(s.work[at + KC_ORDER] - 1, s.work[at + KC_SEARCH_ORDER])
    highest = 0
    page = -1
    order = s.work[at + KC_SEARCH_ORDER] + 0
    while page < 0 and order >= 0:
        if s.zone[z * ZS + Z_AREA + order]:
            page, preferred, limit, seen, highest = search_free_list(s, z, order, limit, low, least, highest)
            if preferred:
                s.work[at + KC_SEARCH_FAIL] = 0
                s.work[at + KC_SEARCH_ORDER] = order
            if page >= 0 and not isolate_free_page(s, z, at, page, order):
                order = s.work[at + KC_SEARCH_ORDER] + 1
                page = -1
            if s.work[at + KC_NR_FREE] >= s.work[at + KC_NR_MIGRATE]:
                break
            if seen >= limit:
                limit = max(1, limit >> 1)
        if page < 0:
            order = next_search_order(s, at, order)
    if page < 0:
        s.work[at + KC_SEARCH_FAIL] += 1
        if scan_start and highest >= least:
            page = highest
            s.work[at + KC_FREE_PFN] = highest
    if highest and highest >= s.zone[z * ZS + Z_CACHED_FREE_PFN]:
        s.zone[z * ZS + Z_CACHED_FREE_PFN] = highest - (1 << s.cfg[C_PAGEBLOCK_ORDER])
    if page >= 0:
        fast_isolate_around(s, z, at, page)


@part
def fast_isolate_around(s, z, at, pfn):  # type: ignore[no-untyped-def]
    """Take the rest of the block that a fast search has found; scanned to its end it is marked (:1532)."""
    if s.work[at + KC_NR_FREE] >= s.work[at + KC_NR_MIGRATE]:
        return
    start = block_start(s, pfn)
    if not block_usable(s, z, start):
        return
    end = start + (1 << s.cfg[C_PAGEBLOCK_ORDER])
    stopped, _ = isolate_freepages_block(s, z, at, max(start, s.zone[z * ZS + Z_START]), end, 1)
    if stopped == end:
        set_pageblock_skip(s, start)


@part(cold=True)
def isolate_freepages(s, z, at):  # type: ignore[no-untyped-def]
    """Fill cc->freepages: a fast search, else block by block downward to the migrate scanner (:1726)."""
    fast_isolate_freepages(s, z, at)
    if s.work[at + KC_NR_FREE]:
        return
    pageblock = 1 << s.cfg[C_PAGEBLOCK_ORDER]
    pfn = s.work[at + KC_FREE_PFN] + 0
    start = block_start(s, pfn)
    low = block_start(s, s.work[at + KC_MIGRATE_PFN]) + pageblock
    stride = 1
    while start >= low:
        usable = block_usable(s, z, start)
        if usable and suitable_migration_target(s, at, start) and isolation_suitable(s, at, start):
            end = start + pageblock
            pfn, taken = isolate_freepages_block(s, z, at, pfn, end, stride)
            if pfn == end:
                set_pageblock_skip(s, start)
                cached = z * ZS + Z_CACHED_FREE_PFN
                s.zone[cached] = min(s.zone[cached], start - pageblock)
            if s.work[at + KC_NR_FREE] >= s.work[at + KC_NR_MIGRATE]:
                if pfn >= end:
                    pfn = start - pageblock
                break
            if pfn < end:
                break
            stride = 1 if taken else min(COMPACT_CLUSTER_MAX, stride << 1)
        start -= pageblock
        pfn = start
    s.work[at + KC_FREE_PFN] = pfn


@part
def compaction_alloc(s, z, at, order):  # type: ignore[no-untyped-def]
    """A destination off cc->freepages, more isolated if need be (:1846); -1 if there is none."""
    for attempt in range(2):
        for found in range(order, s.cfg[C_MAX_PAGE_ORDER] + 1):
            head = freepages(s, z, found)
            pfn = s.link[2 * head] + 0
            if pfn == head:
                continue
            list_del(s, pfn)
            size = found
            while size > order:
                size -= 1
                s.meta[pfn + (1 << size)] = PG_COMPACT << 4 | size
                list_add(s, pfn + (1 << size), freepages(s, z, size))
            s.meta[pfn] = PG_COMPACT << 4 | order
            s.work[at + KC_NR_FREE] -= 1 << order
            s.work[at + KC_NR_MIGRATE] -= 1 << order
            return pfn
        if attempt == 0:
            isolate_freepages(s, z, at)
    return -1


@part
def compaction_free(s, z, at, pfn, order):  # type: ignore[no-untyped-def]
    """Give a destination back to the head of cc->freepages."""
    s.meta[pfn] = PG_COMPACT << 4 | order
    list_add(s, pfn, freepages(s, z, order))
    s.work[at + KC_NR_FREE] += 1 << order
    s.work[at + KC_NR_MIGRATE] += 1 << order


@part(cold=True)
def release_free_list(s, z, at, cpu):  # type: ignore[no-untyped-def]
    """Free what is left on cc->freepages; returns the highest pfn among it, 0 if there was nothing."""
    highest = 0
    for order in range(s.cfg[C_MAX_PAGE_ORDER] + 1):
        head = freepages(s, z, order)
        pfn = s.link[2 * head] + 0
        while pfn != head:
            list_del(s, pfn)
            highest = max(highest, pfn)
            free_frozen_pages(s, cpu, pfn, order)
            pfn = s.link[2 * head] + 0
    s.work[at + KC_NR_FREE] = 0
    return highest
