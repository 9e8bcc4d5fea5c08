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
    enough_to_claim,
    find_suitable_fallback,
    queue_claimed_block,
    queue_stolen_block,
    should_try_claim_block,
)
from kevacuate.mm.fields import View
from kevacuate.mm.hooks import hooked, hooked_event, hooked_verdict
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
    start_pfn = (pfn >> pageblock_order) << pageblock_order
    end_pfn = start_pfn + (1 << pageblock_order)
    if start_pfn < zone.zone_start_pfn:
        start_pfn = pfn
    if end_pfn > zone.zone_end_pfn:
        return 0, 0
    moved = 0
    movable = 0
    page = start_pfn
    while page < end_pfn:
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
def steal_block(
    s: View, z: int, pfn: int, order: int, start_type: int, block_type: int, verdict: int
) -> tuple[bool, int]:
    """Move the free pages of *pfn*'s block, then retype it if enough of it is free or alike (6.1:2825).

    Returns (whether pages moved, whether the block was retyped).
    """
    pageblock_order = s.cfg.pageblock_order
    block = (pfn >> pageblock_order) << pageblock_order
    free, movable = move_freepages_block_counting(s, z, pfn, block_type, start_type)
    if free == 0:
        return False, False
    claimed = verdict == k.CLAIM or enough_to_claim(s, start_type, block_type, free, movable)
    log_event(
        s, k.L_EVAC_CLAIM, block, pack_types(start_type, block_type), free, movable, 1 if claimed else 0
    )
    if claimed:
        set_pageblock_migratetype(s, block, start_type)
        queue_claimed_block(s, z, block, start_type, block_type)
        if hooked(s, k.HOOK_BLOCK_CLAIMED):
            hooked_event(s, k.HOOK_BLOCK_CLAIMED, z, block, order, start_type, block_type)
    else:
        s.stat.claim_refused += 1
    return True, claimed


@part(cold=True)
def steal_suitable_fallback(
    s: View, z: int, pfn: int, current_order: int, start_type: int, list_mt: int, alloc_flags: int
) -> int:
    """Bring a chunk of *current_order* from the list *list_mt* to *start_type*'s lists, with its block if allowed (6.1:2791).

    Returns one of STOLEN_CHUNK, STOLEN_BLOCK, STOLEN_WHOLE_BLOCK.
    """
    block_type = get_pfnblock_migratetype(s, pfn)
    done = STOLEN_CHUNK
    verdict = k.MAINLINE_RULE
    if hooked(s, k.HOOK_TRY_TO_CLAIM_BLOCK):
        verdict = hooked_verdict(s, z, pfn, current_order, start_type, block_type)
    if block_type != k.MIGRATE_HIGHATOMIC and verdict != k.REFUSE:
        if current_order >= s.cfg.pageblock_order:
            change_pageblock_range(s, pfn, current_order, start_type)
            done = STOLEN_WHOLE_BLOCK
            if hooked(s, k.HOOK_BLOCK_CLAIMED):
                hooked_event(s, k.HOOK_BLOCK_CLAIMED, z, pfn, current_order, start_type, block_type)
        else:
            boost_watermark(s, z, alloc_flags)
            if should_try_claim_block(s, current_order, start_type):
                moved, claimed = steal_block(s, z, pfn, current_order, start_type, block_type, verdict)
                if moved:
                    return STOLEN_BLOCK if claimed else STOLEN_CHUNK
    move_to_free_list(s, z, pfn, current_order, list_mt, start_type)
    return done


@part
def find_smallest_fallback(s: View, z: int, order: int, start_type: int) -> int:
    """The smallest sufficient order at which another type has a chunk (6.1:3081); there is one."""
    while order < s.cfg.max_page_order and find_suitable_fallback(s, z, order, start_type, False) < 0:
        order += 1
    return order


@part(cold=True)
def rmqueue_fallback_move(s: View, z: int, order: int, start_type: int, alloc_flags: int) -> bool:
    """__rmqueue_fallback (6.1:3033): make the largest fallback chunk *start_type*'s; whether there was one.

    A movable request that may not take whole blocks takes the smallest sufficient one instead.
    """
    least = order
    if order < s.cfg.pageblock_order and alloc_flags & k.ALLOC_NOFRAGMENT:
        least = s.cfg.pageblock_order
    current_order = s.cfg.max_page_order
    while current_order >= least and find_suitable_fallback(s, z, current_order, start_type, False) < 0:
        current_order -= 1
    if current_order < least:
        return False
    if (
        start_type == k.MIGRATE_MOVABLE
        and current_order > order
        and not should_try_claim_block(s, current_order, start_type)
    ):
        current_order = find_smallest_fallback(s, z, order, start_type)
    mt = find_suitable_fallback(s, z, current_order, start_type, False)
    if mt < 0:
        return False
    pfn = s.link[2 * free_list(s, z, current_order, mt)] + 0
    kind = steal_suitable_fallback(s, z, pfn, current_order, start_type, mt, alloc_flags)
    count_extfrag(s, pfn, order, current_order, start_type, mt)
    s.stat.mode[k.RMQUEUE_STEAL if kind == STOLEN_CHUNK else k.RMQUEUE_CLAIM] += 1
    if kind == STOLEN_CHUNK:
        queue_stolen_block(s, z, pfn, order, start_type)
    if kind == STOLEN_CHUNK and hooked(s, k.HOOK_PAGE_STOLEN):
        hooked_event(s, k.HOOK_PAGE_STOLEN, z, pfn, order, start_type, mt)
    return True


@part(cold=True)
def rmqueue_retry(s: View, z: int, order: int, mt: int, alloc_flags: int, uncounted: int) -> tuple[int, int]:
    """__rmqueue (6.1:3112). Returns (page or -1, the type of the list it came from).

    *uncounted*: pages taken in this hold of the zone lock, which rmqueue_bulk takes off NR_FREE_PAGES only at its end: the
    CMA balance still counts them.
    """
    zone = s.zone[z]
    if alloc_flags & k.ALLOC_CMA and zone.nr_free_cma > (zone.nr_free_pages + uncounted) // 2:
        pfn = rmqueue_smallest(s, z, order, k.MIGRATE_CMA)
        if pfn >= 0:
            return pfn, k.MIGRATE_CMA
    while True:
        pfn = rmqueue_smallest(s, z, order, mt)
        if pfn >= 0:
            return pfn, mt
        if alloc_flags & k.ALLOC_CMA:
            pfn = rmqueue_smallest(s, z, order, k.MIGRATE_CMA)
            if pfn >= 0:
                s.stat.mode[k.RMQUEUE_CMA] += 1
                return pfn, k.MIGRATE_CMA
        if not rmqueue_fallback_move(s, z, order, mt, alloc_flags):
            return -1, mt
