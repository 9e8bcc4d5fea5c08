# SPDX-License-Identifier: GPL-2.0-or-later
"""The free scanner's fast search through the free lists (mm/compaction.c:1480 to 1720, 7.2)."""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm.buddy import free_list
from kevacuate.mm.constants import (
    C_PAGEBLOCK_ORDER,
    COMPACT_CLUSTER_MAX,
    KC_FREE_PFN,
    KC_MIGRATE_PFN,
    KC_NR_FREE,
    KC_NR_MIGRATE,
    KC_ORDER,
    KC_SEARCH_FAIL,
    KC_SEARCH_ORDER,
    MIGRATE_MOVABLE,
    Z_AREA,
    Z_CACHED_FREE_PFN,
    Z_INIT_FREE_PFN,
    Z_START,
    ZS,
)
from kevacuate.mm.free_chunks import (
    block_start,
    block_usable,
    isolate_free_page,
    isolate_freepages_block,
    move_freelist,
    set_pageblock_skip,
)


@part
def freelist_scan_limit(s, at):  # type: ignore[no-untyped-def]
    """How many chunks a fast search may look at: fewer after every failure."""
    return (COMPACT_CLUSTER_MAX >> min(63, s.work[at + KC_SEARCH_FAIL])) + 1


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
            move_freelist(s, head, pfn, False)
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
        move_freelist(s, head, at_last, False)
    return best, False, limit, seen, highest


@part
def fast_search(s, z, at, limit, low, least):  # type: ignore[no-untyped-def]
    """Search order by order. Returns (the chunk found and taken, or -1, the highest block seen)."""
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
    return page, highest


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
    page, highest = fast_search(s, z, at, limit, low, least)
    if page < 0:
        s.work[at + KC_SEARCH_FAIL] += 1
        if scan_start and highest >= least:
            page = highest
            s.work[at + KC_FREE_PFN] = highest
    if highest and highest >= s.zone[z * ZS + Z_CACHED_FREE_PFN]:
        s.zone[z * ZS + Z_CACHED_FREE_PFN] = highest - (1 << s.cfg[C_PAGEBLOCK_ORDER])
    if page >= 0:
        fast_isolate_around(s, z, at, page)
