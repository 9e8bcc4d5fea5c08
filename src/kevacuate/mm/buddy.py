# SPDX-License-Identifier: GPL-2.0-or-later
"""Free lists, pageblock types, merging and splitting: the heart of mm/page_alloc.c (7.2).

Every function runs under what would be the zone lock. A free list is a doubly linked list threaded through
``link``; its sentinel lies past the last page. Allocation takes the head.
"""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm import constants as k
from kevacuate.mm.fields import View
from kevacuate.mm.hooks import hooked, hooked_free_one_page
from kevacuate.mm.lists import list_add, list_add_tail, list_del
from kevacuate.mm.log import log_event, log_kmem, log_list, pack_types
from kevacuate.mm.regions import NOTHING, count_region_highatomic, note_content


@part(inline=True)
def free_list(s: View, z: int, order: int, mt: int) -> int:
    """Index in ``link`` of the sentinel of zone *z*'s list of *order* and *mt*."""
    return s.cfg.npages + z * k.LISTS_PER_ZONE + order * k.NR_TYPES + mt


@part(inline=True)
def get_pfnblock_migratetype(s: View, pfn: int) -> int:
    """The block's type, MIGRATE_ISOLATE while its isolate bit is set (page_alloc.c:438)."""
    bits = s.block[2 * (pfn >> s.cfg.pageblock_order)]
    if bits & k.PB_ISOLATE:
        return k.MIGRATE_ISOLATE
    return bits & k.PB_TYPE_MASK


@part(inline=True)
def get_pageblock_isolate(s: View, pfn: int) -> bool:
    """Whether the block is isolated: by the isolate bit, or by its type where the kernel has no such bit."""
    return get_pfnblock_migratetype(s, pfn) == k.MIGRATE_ISOLATE


@part(inline=True)
def page_zone(s: View, pfn: int) -> int:
    """The zone that holds *pfn* (zones never share a block)."""
    return s.block[2 * (pfn >> s.cfg.pageblock_order) + 1] + 0


@part(cold=True)
def set_pageblock_migratetype(s: View, pfn: int, mt: int) -> None:
    """Write the block's type bits and clear its isolate bit; the skip bit stays (page_alloc.c:522)."""
    if s.cfg.page_group_by_mobility_disabled and mt < k.MIGRATE_PCPTYPES:
        mt = k.MIGRATE_UNMOVABLE
    pageblock_order = s.cfg.pageblock_order
    at = 2 * (pfn >> pageblock_order)
    old = s.block[at] & k.PB_TYPE_MASK
    s.block[at] = (s.block[at] & k.PB_COMPACT_SKIP) | mt
    if old != mt:
        log_event(s, k.L_BLOCK_TYPE, (pfn >> pageblock_order) << pageblock_order, old, mt, 0, 0)
        if s.cfg.region_order:
            count_region_highatomic(s, pfn, old, mt)


@part(cold=True)
def change_pageblock_range(s: View, pfn: int, order: int, mt: int) -> None:
    """Give every block of the chunk (order >= pageblock_order) the type *mt*, ascending."""
    pageblock_order = s.cfg.pageblock_order
    for i in range(1 << (order - pageblock_order)):
        set_pageblock_migratetype(s, pfn + (i << pageblock_order), mt)


@part(inline=True)
def account_freepages(s: View, z: int, pages: int, mt: int) -> None:
    """Adjust the zone's free counters by *pages* (signed) of type *mt* (page_alloc.c:772)."""
    if mt == k.MIGRATE_ISOLATE:
        return
    zone = s.zone[z]
    zone.nr_free_pages += pages
    if mt >= k.MIGRATE_PCPTYPES:
        if mt == k.MIGRATE_CMA:
            zone.nr_free_cma += pages
        elif mt == k.MIGRATE_HIGHATOMIC and s.cfg.free_highatomic:
            zone.nr_free_highatomic += pages


@part(inline=True)
def count_free_area(s: View, z: int, order: int, mt: int, sign: int) -> None:
    """nr_free of the order, and NR_FREE_PAGES_BLOCKS for whole blocks, by one chunk up or down."""
    zone = s.zone[z]
    zone.free_area[order] += sign
    if order >= s.cfg.pageblock_order and mt != k.MIGRATE_ISOLATE:
        zone.nr_free_pages_blocks += sign << order


@part(inline=True)
def add_to_free_list(s: View, z: int, pfn: int, order: int, mt: int, tail: bool) -> None:
    """Put a chunk on its list, at the tail or the head, and mark it PageBuddy."""
    s.meta[pfn] = k.CHUNK_BUDDY << 4 | order
    if tail:
        list_add_tail(s, pfn, free_list(s, z, order, mt))
    else:
        list_add(s, pfn, free_list(s, z, order, mt))
    count_free_area(s, z, order, mt, 1)
    log_list(s, k.L_LIST, pfn, k.LIST_ADD_TAIL if tail else k.LIST_ADD, order, mt)


@part(inline=True)
def del_page_from_free_list(s: View, z: int, pfn: int, order: int, mt: int) -> None:
    """Take a chunk off its list and clear PageBuddy."""
    list_del(s, pfn)
    s.meta[pfn] = 0
    count_free_area(s, z, order, mt, -1)
    log_list(s, k.L_LIST, pfn, k.LIST_DELETE, order, mt)


@part
def move_to_free_list(s: View, z: int, pfn: int, order: int, old_mt: int, new_mt: int) -> None:
    """Move a free chunk to the TAIL of another type's list, with its accounting (page_alloc.c:816)."""
    list_del(s, pfn)
    list_add_tail(s, pfn, free_list(s, z, order, new_mt))
    count_free_area(s, z, order, old_mt, -1)
    count_free_area(s, z, order, new_mt, 1)
    account_freepages(s, z, -(1 << order), old_mt)
    account_freepages(s, z, 1 << order, new_mt)
    log_list(s, k.L_LIST, pfn, k.LIST_MOVE, order, old_mt + 256 * new_mt)


@part(inline=True)
def page_is_buddy(s: View, z: int, pfn: int, order: int, pageblock_order: int) -> bool:
    """Whether *pfn* heads a free chunk of exactly *order* in zone *z* (mm/internal.h:729)."""
    if s.meta[pfn] != (k.CHUNK_BUDDY << 4 | order):
        return False
    return order < pageblock_order or page_zone(s, pfn) == z


@part(inline=True)
def buddy_merge_likely(s: View, z: int, pfn: int, buddy: int, order: int, pageblock_order: int) -> bool:
    """Whether the next larger buddy is free too, so that a tail insertion may let them merge (:885)."""
    if order >= s.cfg.max_page_order - 1:
        return False
    parent = pfn & buddy
    return page_is_buddy(s, z, parent ^ (1 << (order + 1)), order + 1, pageblock_order)


@part
def merge_block_types(s: View, z: int, buddy: int, order: int, mt: int) -> int:
    """At or above pageblock_order: the buddy's type if it may merge into *mt*, else -1 (page_alloc.c:968).

    The side being freed wins: the caller rewrites the buddy's blocks to *mt*, with :func:`merge_retype`.
    """
    buddy_mt = get_pfnblock_migratetype(s, buddy)
    if buddy_mt != mt and not (buddy_mt < k.MIGRATE_PCPTYPES and mt < k.MIGRATE_PCPTYPES):
        return -1
    return buddy_mt


@part(cold=True)
def merge_retype(s: View, buddy: int, order: int, mt: int) -> None:
    """Rewrite the types of a merged buddy's blocks, if the kernel does."""
    if s.cfg.merge_retypes:
        change_pageblock_range(s, buddy, order, mt)


@part(cold=True)
def compaction_capture(s: View, z: int, pfn: int, order: int, mt: int) -> bool:
    """Hand a chunk to the direct compactor that waits for one of *order*, if it may have this one (:728).

    Small chunks of movable blocks are for movable requests only, lest a direct compactor pollute the block.
    """
    wanted = s.stat.capture_mt
    if s.stat.captured_pfn >= 0 or s.stat.capture_zone != z:
        return False
    if mt == k.MIGRATE_CMA or mt == k.MIGRATE_ISOLATE:
        return False
    if order < s.cfg.pageblock_order and mt == k.MIGRATE_MOVABLE and wanted != k.MIGRATE_MOVABLE:
        return False
    if mt != wanted:
        log_event(s, k.L_EXTFRAG, pfn, order, order, pack_types(wanted, mt), 0)
    account_freepages(s, z, -(1 << order), mt)
    s.stat.captured_pfn = pfn
    if s.cfg.region_order:
        note_content(s, pfn, order, wanted)
    return True


@part(inline=True)
def free_one_page_merge(s: View, z: int, pfn: int, order: int, mt: int, fpi: int) -> None:
    """__free_one_page: merge upward as far as buddies are free, then place head or tail (:936)."""
    account_freepages(s, z, 1 << order, mt)
    pageblock_order = s.cfg.pageblock_order
    max_order = s.cfg.max_page_order
    capture = s.stat.capture_order
    s.meta[pfn] = 0
    buddy = pfn
    while order < max_order:
        if order == capture and compaction_capture(s, z, pfn, order, mt):
            return
        buddy = pfn ^ (1 << order)
        if not page_is_buddy(s, z, buddy, order, pageblock_order):
            break
        buddy_mt = mt
        if order >= pageblock_order:
            buddy_mt = merge_block_types(s, z, buddy, order, mt)
            if buddy_mt < 0:
                break
        del_page_from_free_list(s, z, buddy, order, buddy_mt)
        if buddy_mt != mt:
            merge_retype(s, buddy, order, mt)
        pfn &= buddy
        order += 1
    tail = fpi & k.FPI_TO_TAIL != 0 or buddy_merge_likely(s, z, pfn, buddy, order, pageblock_order)
    if hooked(s, k.HOOK_FREE_ONE_PAGE):
        tail = hooked_free_one_page(s, z, pfn, order, mt, fpi, tail)
    if tail:
        s.stat.tail_placed += 1
    add_to_free_list(s, z, pfn, order, mt, tail)


@part(cold=True)
def free_pieces(s: View, z: int, pfn: int, order: int, piece: int, fpi: int) -> None:
    """Free a chunk in pieces of at most order *piece*, ascending, each with the type of its first block."""
    end = pfn + (1 << order)
    if s.cfg.region_order:
        note_content(s, pfn, order, NOTHING)
    piece = min(order, piece)
    while pfn < end:
        free_one_page_merge(s, z, pfn, piece, get_pfnblock_migratetype(s, pfn), fpi)
        pfn += 1 << piece


@part
def split_large_buddy(s: View, z: int, pfn: int, order: int, fpi: int) -> None:
    """Free a chunk in pieces of at most a block, ascending, each with its own block's type (:1510)."""
    free_pieces(s, z, pfn, order, s.cfg.pageblock_order, fpi)


@part
def free_one_page(s: View, z: int, pfn: int, order: int, fpi: int) -> None:
    """Free a chunk straight to the buddy lists: block by block, in old kernels whole (__free_pages_ok, 6.1:1735)."""
    free_pieces(s, z, pfn, order, s.cfg.free_piece_order, fpi)


@part(inline=True)
def expand(s: View, z: int, pfn: int, low: int, high: int, mt: int) -> int:
    """Give back the upper halves of a chunk of order *high* until *low* is left, each at the HEAD (:1702)."""
    pages = 0
    while high > low:
        high -= 1
        add_to_free_list(s, z, pfn + (1 << high), high, mt, False)
        pages += 1 << high
    return pages


@part(inline=True)
def page_del_and_expand(s: View, z: int, pfn: int, low: int, high: int, mt: int) -> None:
    """Take a chunk of order *high*, keep its lowest 2**low pages, account what left the lists."""
    del_page_from_free_list(s, z, pfn, high, mt)
    pages = (1 << high) - expand(s, z, pfn, low, high, mt)
    account_freepages(s, z, -pages, mt)


@part
def rmqueue_smallest(s: View, z: int, order: int, mt: int) -> int:
    """__rmqueue_smallest: the head of the smallest sufficient list of *mt*; -1 if none (:1889)."""
    for current in range(order, s.cfg.max_page_order + 1):
        head = free_list(s, z, current, mt)
        pfn = s.link[2 * head] + 0
        if pfn == head:
            continue
        page_del_and_expand(s, z, pfn, order, current, mt)
        log_kmem(s, k.L_ZONE_LOCKED, pfn, order, mt)
        return pfn
    return -1


@part(cold=True)
def move_freepages_block_list(s: View, z: int, start: int, old_mt: int, new_mt: int) -> int:
    """__move_freepages_block: the block's free chunks, ascending, to the tails of *new_mt* (:1942).

    Returns the number of pages moved.
    """
    end = start + (1 << s.cfg.pageblock_order)
    moved = 0
    pfn = start
    while pfn < end:
        meta = s.meta[pfn] + 0
        order = meta & 15
        if meta >> 4 == k.CHUNK_BUDDY:
            move_to_free_list(s, z, pfn, order, old_mt, new_mt)
            moved += 1 << order
        pfn += 1 << order
    return moved


@part
def block_in_zone(s: View, z: int, start: int) -> bool:
    """Whether the whole block that starts at *start* lies inside the zone's span."""
    zone = s.zone[z]
    end = start + (1 << s.cfg.pageblock_order)
    return zone.zone_start_pfn <= start and end <= zone.zone_end_pfn


@part(cold=True)
def move_freepages_block(s: View, z: int, pfn: int, old_mt: int, new_mt: int) -> int:
    """Move the free pages of *pfn*'s block and retype it; -1 if the block leaves the zone (:2026)."""
    pageblock_order = s.cfg.pageblock_order
    start = (pfn >> pageblock_order) << pageblock_order
    if not block_in_zone(s, z, start):
        return -1
    moved = move_freepages_block_list(s, z, start, old_mt, new_mt)
    set_pageblock_migratetype(s, start, new_mt)
    return moved


@part
def covering_chunk(s: View, start: int) -> int:
    """Head of the chunk larger than a block that covers the block at *start*; -1 if there is none."""
    pageblock_order = s.cfg.pageblock_order
    for order in range(pageblock_order + 1, s.cfg.max_page_order + 1):
        head = (start >> order) << order
        if s.meta[head] >> 4 != k.CHUNK_TAIL and s.meta[head] & 15 >= order:
            return head
    return -1
