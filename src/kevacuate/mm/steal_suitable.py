# SPDX-License-Identifier: GPL-2.0-or-later
"""The fallback of 6.1 kernels: free pages move to the wanted type's lists, then the smallest is taken (mm/page_alloc.c, 6.1).

Blocks and lists need not agree there: a block's free pages are moved before it is known whether the block is retyped.
"""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm.buddy import (
    change_pageblock_range,
    free_list,
    get_pfnblock_migratetype,
    move_to_free_list,
    rmqueue_smallest,
    set_pageblock_migratetype,
)
from kevacuate.mm.constants import (
    ALLOC_CMA,
    ALLOC_NOFRAGMENT,
    ATTR_MOVABLE_OPS,
    ATTR_ON_LRU,
    C_MAX_PAGE_ORDER,
    C_MOBILITY_DISABLED,
    C_PAGEBLOCK_ORDER,
    L_EVAC_CLAIM,
    MIGRATE_CMA,
    MIGRATE_HIGHATOMIC,
    MIGRATE_MOVABLE,
    PG_ALLOC,
    PG_BUDDY,
    RMQUEUE_CLAIM,
    RMQUEUE_CMA,
    RMQUEUE_STEAL,
    T_CLAIM_REFUSED,
    T_MODE,
    Z_END,
    Z_NR_FREE,
    Z_NR_FREE_CMA,
    Z_START,
    ZS,
)
from kevacuate.mm.fallback import (
    count_extfrag,
    find_suitable_fallback,
    queue_claimed_block,
    should_try_claim_block,
)
from kevacuate.mm.log import log_event, pack_types
from kevacuate.mm.watermark import boost_watermark

STOLEN_CHUNK = 0
STOLEN_BLOCK = 1
STOLEN_WHOLE_BLOCK = 2
"""What steal_suitable_fallback did: nothing was retyped, the
candidate's block was, the candidate was whole blocks.
"""


@part(cold=True)
def move_freepages_block_counting(s, z, pfn, old_mt, new_mt):  # type: ignore[no-untyped-def]
    """move_freepages_block (6.1:2680): move the block's free chunks, whatever lists they are on, to the tails of *new_mt*.

    Returns (pages moved, movable pages seen). A block that begins before the zone is scanned from *pfn* on, one that ends after
    it not at all. The block's type is the caller's to write.
    """
    pageblock_order = s.cfg[C_PAGEBLOCK_ORDER]
    start = (pfn >> pageblock_order) << pageblock_order
    end = start + (1 << pageblock_order)
    if start < s.zone[z * ZS + Z_START]:
        start = pfn
    if end > s.zone[z * ZS + Z_END]:
        return 0, 0
    moved = 0
    movable = 0
    page = start
    while page < end:
        meta = s.meta[page] + 0
        order = meta & 15
        if meta >> 4 == PG_BUDDY:
            move_to_free_list(s, z, page, order, old_mt, new_mt)
            moved += 1 << order
        elif meta >> 4 == PG_ALLOC and s.link[2 * page + 1] & (ATTR_ON_LRU | ATTR_MOVABLE_OPS):
            movable += 1 << order
        page += 1 << order
    return moved, movable


@part(cold=True)
def steal_block(s, z, pfn, start, block_mt):  # type: ignore[no-untyped-def]
    """Move the free pages of *pfn*'s block, then retype it if enough of it is free or alike (6.1:2825).

    Returns (whether pages moved, whether the block was retyped).
    """
    pageblock_order = s.cfg[C_PAGEBLOCK_ORDER]
    block = (pfn >> pageblock_order) << pageblock_order
    free, movable = move_freepages_block_counting(s, z, pfn, block_mt, start)
    if free == 0:
        return False, False
    alike = 0
    if start == MIGRATE_MOVABLE:
        alike = movable
    elif block_mt == MIGRATE_MOVABLE:
        alike = (1 << pageblock_order) - free - movable
    claimed = free + alike >= 1 << (pageblock_order - 1) or s.cfg[C_MOBILITY_DISABLED] != 0
    log_event(s, L_EVAC_CLAIM, block, pack_types(start, block_mt), free, movable, 1 if claimed else 0)
    if claimed:
        set_pageblock_migratetype(s, block, start)
        queue_claimed_block(s, z, block, start, block_mt)
    else:
        s.stat[T_CLAIM_REFUSED] += 1
    return True, claimed


@part(cold=True)
def steal_suitable_fallback(s, z, pfn, current, start, list_mt, flags):  # type: ignore[no-untyped-def]
    """Bring a chunk of order *current* from the list *list_mt* to *start*'s lists, with its block if allowed (6.1:2791).

    Returns one of STOLEN_CHUNK, STOLEN_BLOCK, STOLEN_WHOLE_BLOCK.
    """
    block_mt = get_pfnblock_migratetype(s, pfn)
    done = STOLEN_CHUNK
    if block_mt != MIGRATE_HIGHATOMIC:
        if current >= s.cfg[C_PAGEBLOCK_ORDER]:
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
def find_smallest_fallback(s, z, order, start):  # type: ignore[no-untyped-def]
    """The smallest sufficient order at which another type has a chunk (6.1:3081); there is one."""
    while find_suitable_fallback(s, z, order, start, False) < 0:
        order += 1
    return order


@part(cold=True)
def rmqueue_fallback_move(s, z, order, start, flags):  # type: ignore[no-untyped-def]
    """__rmqueue_fallback (6.1:3033): make the largest fallback chunk *start*'s; whether there was one.

    A movable request that may not take whole blocks takes the smallest sufficient one instead.
    """
    least = order
    if order < s.cfg[C_PAGEBLOCK_ORDER] and flags & ALLOC_NOFRAGMENT:
        least = s.cfg[C_PAGEBLOCK_ORDER]
    current = s.cfg[C_MAX_PAGE_ORDER] + 0
    while current >= least and find_suitable_fallback(s, z, current, start, False) < 0:
        current -= 1
    if current < least:
        return False
    if start == MIGRATE_MOVABLE and current > order and not should_try_claim_block(s, current, start):
        current = find_smallest_fallback(s, z, order, start)
    mt = find_suitable_fallback(s, z, current, start, False)
    pfn = s.link[2 * free_list(s, z, current, mt)] + 0
    kind = steal_suitable_fallback(s, z, pfn, current, start, mt, flags)
    count_extfrag(s, pfn, order, current, start, mt)
    s.stat[T_MODE + (RMQUEUE_STEAL if kind == STOLEN_CHUNK else RMQUEUE_CLAIM)] += 1
    return True


@part(cold=True)
def rmqueue_retry(s, z, order, mt, flags, uncounted):  # type: ignore[no-untyped-def]
    """__rmqueue (6.1:3112). Returns (page or -1, the type of the list it came from).

    *uncounted*: pages taken in this hold of the zone lock, which rmqueue_bulk takes off NR_FREE_PAGES only at its end: the
    CMA balance still counts them.
    """
    at = z * ZS
    if flags & ALLOC_CMA and s.zone[at + Z_NR_FREE_CMA] > (s.zone[at + Z_NR_FREE] + uncounted) // 2:
        pfn = rmqueue_smallest(s, z, order, MIGRATE_CMA)
        if pfn >= 0:
            return pfn, MIGRATE_CMA
    while True:
        pfn = rmqueue_smallest(s, z, order, mt)
        if pfn >= 0:
            return pfn, mt
        if flags & ALLOC_CMA:
            pfn = rmqueue_smallest(s, z, order, MIGRATE_CMA)
            if pfn >= 0:
                s.stat[T_MODE + RMQUEUE_CMA] += 1
                return pfn, MIGRATE_CMA
        if not rmqueue_fallback_move(s, z, order, mt, flags):
            return -1, mt
