# SPDX-License-Identifier: GPL-2.0-or-later
"""The fallback of 6.1 kernels: free pages move to the wanted type's lists, then the smallest is taken (mm/page_alloc.c, 6.1).

Blocks and lists need not agree there: a block's free pages are moved before it is known whether the block is retyped.
"""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm import constants as k
from kevacuate.mm.buddy import (
    change_pageblock_range,
    free_list,
    get_pfnblock_migratetype,
    move_to_free_list,
    rmqueue_smallest,
    set_pageblock_migratetype,
)
from kevacuate.mm.fallback import (
    count_extfrag,
    find_suitable_fallback,
    queue_claimed_block,
    should_try_claim_block,
)
from kevacuate.mm.fields import View
from kevacuate.mm.log import log_event, pack_types
from kevacuate.mm.watermark import boost_watermark

STOLEN_CHUNK = 0
STOLEN_BLOCK = 1
STOLEN_WHOLE_BLOCK = 2
"""What steal_suitable_fallback did: nothing was retyped, the
candidate's block was, the candidate was whole blocks.
"""


@part(cold=True)
def move_freepages_block_counting(s: View, z: int, pfn: int, old_mt: int, new_mt: int) -> tuple[int, int]:
    """move_freepages_block (6.1:2680): move the block's free chunks, whatever lists they are on, to the tails of *new_mt*.

    Returns (pages moved, movable pages seen). A block that begins before the zone is scanned from *pfn* on, one that ends after
    it not at all. The block's type is the caller's to write.
    """
    zone = s.zone[z]
    pageblock_order = s.cfg.pageblock_order
    start = (pfn >> pageblock_order) << pageblock_order
    end = start + (1 << pageblock_order)
    if start < zone.zone_start_pfn:
        start = pfn
    if end > zone.zone_end_pfn:
        return 0, 0
    moved = 0
    movable = 0
    page = start
    while page < end:
        meta = s.meta[page] + 0
        order = meta & 15
        if meta >> 4 == k.CHUNK_BUDDY:
            move_to_free_list(s, z, page, order, old_mt, new_mt)
            moved += 1 << order
        elif meta >> 4 == k.CHUNK_ALLOC and s.link[2 * page + 1] & (k.ATTR_ON_LRU | k.ATTR_MOVABLE_OPS):
            movable += 1 << order
        page += 1 << order
    return moved, movable


@part(cold=True)
def steal_block(s: View, z: int, pfn: int, start: int, block_mt: int) -> tuple[bool, int]:
    """Move the free pages of *pfn*'s block, then retype it if enough of it is free or alike (6.1:2825).

    Returns (whether pages moved, whether the block was retyped).
    """
    pageblock_order = s.cfg.pageblock_order
    block = (pfn >> pageblock_order) << pageblock_order
    free, movable = move_freepages_block_counting(s, z, pfn, block_mt, start)
    if free == 0:
        return False, False
    alike = 0
    if start == k.MIGRATE_MOVABLE:
        alike = movable
    elif block_mt == k.MIGRATE_MOVABLE:
        alike = (1 << pageblock_order) - free - movable
    claimed = free + alike >= 1 << (pageblock_order - 1) or s.cfg.page_group_by_mobility_disabled != 0
    log_event(s, k.L_EVAC_CLAIM, block, pack_types(start, block_mt), free, movable, 1 if claimed else 0)
    if claimed:
        set_pageblock_migratetype(s, block, start)
        queue_claimed_block(s, z, block, start, block_mt)
    else:
        s.stat.claim_refused += 1
    return True, claimed


@part(cold=True)
def steal_suitable_fallback(
    s: View, z: int, pfn: int, current: int, start: int, list_mt: int, flags: int
) -> int:
    """Bring a chunk of order *current* from the list *list_mt* to *start*'s lists, with its block if allowed (6.1:2791).

    Returns one of STOLEN_CHUNK, STOLEN_BLOCK, STOLEN_WHOLE_BLOCK.
    """
    block_mt = get_pfnblock_migratetype(s, pfn)
    done = STOLEN_CHUNK
    if block_mt != k.MIGRATE_HIGHATOMIC:
        if current >= s.cfg.pageblock_order:
            change_pageblock_range(s, pfn, current, start)
            done = STOLEN_WHOLE_BLOCK
        else:
            boost_watermark(s, z, flags)
            if should_try_claim_block(s, current, start):
                moved, claimed = steal_block(s, z, pfn, start, block_mt)
                if moved:
                    return STOLEN_BLOCK if claimed else STOLEN_CHUNK
    move_to_free_list(s, z, pfn, current, list_mt, start)
    return done


@part
def find_smallest_fallback(s: View, z: int, order: int, start: int) -> int:
    """The smallest sufficient order at which another type has a chunk (6.1:3081); there is one."""
    while find_suitable_fallback(s, z, order, start, False) < 0:
        order += 1
    return order


@part(cold=True)
def rmqueue_fallback_move(s: View, z: int, order: int, start: int, flags: int) -> bool:
    """__rmqueue_fallback (6.1:3033): make the largest fallback chunk *start*'s; whether there was one.

    A movable request that may not take whole blocks takes the smallest sufficient one instead.
    """
    least = order
    if order < s.cfg.pageblock_order and flags & k.ALLOC_NOFRAGMENT:
        least = s.cfg.pageblock_order
    current = s.cfg.max_page_order
    while current >= least and find_suitable_fallback(s, z, current, start, False) < 0:
        current -= 1
    if current < least:
        return False
    if start == k.MIGRATE_MOVABLE and current > order and not should_try_claim_block(s, current, start):
        current = find_smallest_fallback(s, z, order, start)
    mt = find_suitable_fallback(s, z, current, start, False)
    pfn = s.link[2 * free_list(s, z, current, mt)] + 0
    kind = steal_suitable_fallback(s, z, pfn, current, start, mt, flags)
    count_extfrag(s, pfn, order, current, start, mt)
    s.stat.mode[k.RMQUEUE_STEAL if kind == STOLEN_CHUNK else k.RMQUEUE_CLAIM] += 1
    return True


@part(cold=True)
def rmqueue_retry(s: View, z: int, order: int, mt: int, flags: int, uncounted: int) -> tuple[int, int]:
    """__rmqueue (6.1:3112). Returns (page or -1, the type of the list it came from).

    *uncounted*: pages taken in this hold of the zone lock, which rmqueue_bulk takes off NR_FREE_PAGES only at its end: the
    CMA balance still counts them.
    """
    zone = s.zone[z]
    if flags & k.ALLOC_CMA and zone.nr_free_cma > (zone.nr_free_pages + uncounted) // 2:
        pfn = rmqueue_smallest(s, z, order, k.MIGRATE_CMA)
        if pfn >= 0:
            return pfn, k.MIGRATE_CMA
    while True:
        pfn = rmqueue_smallest(s, z, order, mt)
        if pfn >= 0:
            return pfn, mt
        if flags & k.ALLOC_CMA:
            pfn = rmqueue_smallest(s, z, order, k.MIGRATE_CMA)
            if pfn >= 0:
                s.stat.mode[k.RMQUEUE_CMA] += 1
                return pfn, k.MIGRATE_CMA
        if not rmqueue_fallback_move(s, z, order, mt, flags):
            return -1, mt
