# SPDX-License-Identifier: GPL-2.0-or-later
"""The free scanner's fast search through the free lists (mm/compaction.c:1480 to 1720, 7.2)."""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm.buddy import free_list
from kevacuate.mm.compact_scanners import (
    free_block_end,
    isolate_free_page,
    isolate_freepages_block,
    move_freelist,
    pageblock_pfn_to_page,
    pageblock_start_pfn,
    set_pageblock_skip,
    suitable_migration_target,
)
from kevacuate.mm.constants import COMPACT_CLUSTER_MAX, MIGRATE_ASYNC, MIGRATE_MOVABLE
from kevacuate.mm.fields import CompactControl, View

BEYOND = 1 << 40
"""A pfn above every page."""


@part
def freelist_scan_limit(s: View, cc: CompactControl) -> int:
    """How many chunks a fast search may look at: fewer after every failure."""
    return (COMPACT_CLUSTER_MAX >> min(63, cc.fast_search_fail)) + 1


@part
def preferred_from(s: View, cc: CompactControl) -> tuple[int, int]:
    """(First pfn of the top quarter of what is to be scanned, of its top half): which chunks a fast search prefers (:1577).

    The kernel's distance is unsigned: where the migrate scanner stands above the free scanner, no page lies that high. In an open
    loop, as it was first modelled, it is signed.
    """
    free_pfn = cc.free_pfn
    distance = free_pfn - cc.migrate_pfn
    if distance < 0 and s.cfg.open_loop == 0:
        return BEYOND, BEYOND
    return pageblock_start_pfn(s, free_pfn - (distance >> 2)), pageblock_start_pfn(
        s, free_pfn - (distance >> 1)
    )


@part
def next_search_order(s: View, cc: CompactControl, order: int) -> int:
    """The next lower order, cyclically; -1 once all have been searched."""
    order -= 1
    if order < 0:
        order = cc.order - 1
    if order == cc.search_order:
        cc.search_order -= 1
        if cc.search_order < 0:
            cc.search_order = cc.order - 1
        return -1
    return order


@part(cold=True)
def search_free_list(
    s: View, z: int, order: int, limit: int, low: int, least: int, highest: int
) -> tuple[int, bool, int, int, int]:
    """Walk one movable list from its tail for a chunk at *low* or above, or the highest from *least* on.

    Returns (chunk or -1, whether it is a preferred one, limit, chunks seen, highest block seen).
    """
    head = free_list(s, z, order, MIGRATE_MOVABLE)
    pfn = s.link[2 * head + 1] + 0
    seen = 0
    best = 0
    at_last = pfn
    while pfn != head:
        seen += 1
        at_last = pfn
        if pfn >= highest:
            highest = max(pageblock_start_pfn(s, pfn), s.zone[z].zone_start_pfn)
        if pfn >= low:
            move_freelist(s, head, pfn, False)
            return pfn, True, limit, seen, highest
        if pfn >= least and pfn > best:
            best = pfn
            limit >>= 1
        if seen >= limit:
            break
        pfn = s.link[2 * pfn + 1] + 0
    if best > 0:
        at_last = best
        pfn = best
    if pfn != head:
        move_freelist(s, head, at_last, False)
    return best if best > 0 else -1, False, limit, seen, highest


@part
def fast_search(s: View, z: int, cc: CompactControl, limit: int, low: int, least: int) -> tuple[int, int]:
    """Search order by order. Returns (the chunk found and taken, or -1, the highest block seen).

    The order to begin with next time moves on after a find too; in an open loop, as it was first modelled, it does not.
    """
    highest = 0
    page = -1
    order = cc.search_order
    while page < 0 and order >= 0:
        if s.zone[z].free_area[order]:
            page, preferred, limit, seen, highest = search_free_list(s, z, order, limit, low, least, highest)
            cc.total_free_scanned += seen
            if preferred:
                cc.fast_search_fail = 0
                cc.search_order = order
            if page >= 0 and isolate_free_page(s, z, cc, page, order):
                cc.total_free_scanned += (1 << order) - 1
            elif page >= 0:
                order = cc.search_order + 1
                page = -1
            if cc.nr_freepages >= cc.nr_migratepages:
                break
            if seen >= limit:
                limit = max(1, limit >> 1)
        if page < 0 or s.cfg.open_loop == 0:
            order = next_search_order(s, cc, order)
    return page, highest


@part
def fast_isolate_around(s: View, z: int, cc: CompactControl, pfn: int) -> None:
    """Take the rest of the block that a fast search has found; scanned to its end it is marked (:1532).

    Asynchronous direct compaction takes no more than the search has found.
    """
    if cc.nr_freepages >= cc.nr_migratepages or (cc.direct_compaction and cc.mode == MIGRATE_ASYNC):
        return
    start = pageblock_start_pfn(s, pfn)
    end = free_block_end(s, z, cc, start)
    if not pageblock_pfn_to_page(s, z, start, end):
        return
    stopped, _ = isolate_freepages_block(s, z, cc, max(start, s.zone[z].zone_start_pfn), end, 1)
    if stopped == end:
        set_pageblock_skip(s, start)


@part
def start_at_least(s: View, z: int, cc: CompactControl, least: int) -> int:
    """Direct compaction is pessimistic: having found nothing it goes on at the middle (:1683). That block, or -1."""
    cc.free_pfn = least
    if not pageblock_pfn_to_page(s, z, least, free_block_end(s, z, cc, least)):
        return -1
    return least if suitable_migration_target(s, cc, max(least, s.zone[z].zone_start_pfn)) else -1


@part(cold=True)
def fast_isolate_search(s: View, z: int, cc: CompactControl) -> int:
    """Search the movable lists for a chunk high in memory (:1553). A page of the block to take more of, or -1."""
    zone = s.zone[z]
    free_pfn = cc.free_pfn
    limit = max(1, freelist_scan_limit(s, cc) >> 1)
    scan_start = free_pfn >= zone.compact_init_free_pfn
    if scan_start:
        limit = (1 << s.cfg.pageblock_order) >> 1
    low, least = preferred_from(s, cc)
    cc.search_order = min(cc.order - 1, cc.search_order)
    page, highest = fast_search(s, z, cc, limit, low, least)
    if page < 0:
        cc.fast_search_fail += 1
        if scan_start and highest >= least:
            page = highest
            cc.free_pfn = highest
        elif scan_start and cc.direct_compaction and least < BEYOND:
            page = start_at_least(s, z, cc, least)
    if highest and highest >= zone.compact_cached_free_pfn:
        zone.compact_cached_free_pfn = highest - (1 << s.cfg.pageblock_order)
    return page


@part(cold=True)
def fast_isolate_freepages(s: View, z: int, cc: CompactControl) -> None:
    """Search the movable lists for a chunk high in memory, then take what else its block has free (:1553)."""
    if cc.order <= 0:
        return
    page = fast_isolate_search(s, z, cc)
    if page >= 0:
        fast_isolate_around(s, z, cc, page)
