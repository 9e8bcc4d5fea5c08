# SPDX-License-Identifier: GPL-2.0-or-later
"""What an allocation does when its own lists are empty: claim a whole block or steal a page (mm/page_alloc.c, 7.2)."""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.kernel.extfrag import extfrag_kind
from kevacuate.mm.buddy import (
    account_freepages,
    block_in_zone,
    change_pageblock_range,
    del_page_from_free_list,
    expand,
    free_list,
    get_pageblock_isolate,
    get_pfnblock_migratetype,
    move_freepages_block_list,
    page_del_and_expand,
    rmqueue_smallest,
    set_pageblock_migratetype,
)
from kevacuate.mm.constants import (
    ALLOC_CMA,
    ALLOC_NOFRAGMENT,
    ATTR_MOVABLE_OPS,
    ATTR_ON_LRU,
    C_EVACUATE,
    C_MAX_PAGE_ORDER,
    C_MOBILITY_DISABLED,
    C_PAGEBLOCK_ORDER,
    C_REFUSE_HIGHATOMIC,
    FALLBACK_EMPTY,
    FALLBACK_NOCLAIM,
    L_EVAC_CLAIM,
    L_EXTFRAG,
    MIGRATE_CMA,
    MIGRATE_HIGHATOMIC,
    MIGRATE_MOVABLE,
    MIGRATE_RECLAIMABLE,
    MIGRATE_UNMOVABLE,
    PG_ALLOC,
    PG_BUDDY,
    RMQUEUE_CLAIM,
    RMQUEUE_CMA,
    RMQUEUE_NORMAL,
    RMQUEUE_STEAL,
    T_CLAIM_REFUSED,
    T_EXTFRAG,
    T_GUARD_REFUSED,
    T_MODE,
    Z_AREA,
    Z_NR_FREE,
    Z_NR_FREE_CMA,
    ZS,
)
from kevacuate.mm.log import log_event, pack_types
from kevacuate.mm.watermark import boost_watermark
from kevacuate.mm.workqueue import queue_pageblock_evacuate

kind_of_extfrag = part(extfrag_kind)


@part(inline=True)
def fallback_type(start, i):  # type: ignore[no-untyped-def]
    """The *i*-th (0 or 1) fallback of a type: U: R, M. M: R, U. R: U, M (:1921)."""
    if start == MIGRATE_RECLAIMABLE:
        return MIGRATE_UNMOVABLE if i == 0 else MIGRATE_MOVABLE
    if i == 0:
        return MIGRATE_RECLAIMABLE
    return MIGRATE_MOVABLE if start == MIGRATE_UNMOVABLE else MIGRATE_UNMOVABLE


@part(inline=True)
def should_try_claim_block(s, order, start):  # type: ignore[no-untyped-def]
    """Whether a claim from *order* is allowed: only small movable requests are refused (:2205)."""
    pageblock_order = s.cfg[C_PAGEBLOCK_ORDER]
    if order >= pageblock_order or order >= pageblock_order // 2:
        return True
    return start != MIGRATE_MOVABLE or s.cfg[C_MOBILITY_DISABLED] != 0


@part(inline=True)
def find_suitable_fallback(s, z, order, start, claimable):  # type: ignore[no-untyped-def]
    """The first fallback type with a free chunk of *order*, or FALLBACK_EMPTY, FALLBACK_NOCLAIM (:2254)."""
    if claimable and not should_try_claim_block(s, order, start):
        return FALLBACK_NOCLAIM
    if s.zone[z * ZS + Z_AREA + order] == 0:
        return FALLBACK_EMPTY
    for i in range(2):
        mt = fallback_type(start, i)
        head = free_list(s, z, order, mt)
        if s.link[2 * head] != head:
            return mt
    return FALLBACK_EMPTY


@part(cold=True)
def count_extfrag(s, pfn, order, fallback_order, start, fallback_mt):  # type: ignore[no-untyped-def]
    """mm_page_alloc_extfrag: log it and count it by kind (kernel/extfrag.py)."""
    owned = 1 if get_pfnblock_migratetype(s, pfn) == start else 0
    kind = kind_of_extfrag(fallback_order, s.cfg[C_PAGEBLOCK_ORDER], owned)
    s.stat[T_EXTFRAG + ((kind * 3 + start) * 3 + fallback_mt) * 16 + fallback_order] += 1
    log_event(s, L_EXTFRAG, pfn, order, fallback_order, pack_types(start, fallback_mt), owned)


@part(cold=True)
def claim_whole_block(s, z, pfn, current, order, start, block_mt):  # type: ignore[no-untyped-def]
    """Case A of try_to_claim_block: a chunk of a block or more changes its type and is split on the new lists."""
    del_page_from_free_list(s, z, pfn, current, block_mt)
    account_freepages(s, z, -(1 << current), block_mt)
    change_pageblock_range(s, pfn, current, start)
    account_freepages(s, z, expand(s, z, pfn, order, current, start), start)
    return pfn


@part
def prep_move_freepages_block(s, z, start_pfn):  # type: ignore[no-untyped-def]
    """Count the block's free pages and its movable ones: PageLRU or movable_ops (:1975).

    Returns (free, movable). Pages on pcp lists, in LRU batches or isolated are neither.
    """
    end = start_pfn + (1 << s.cfg[C_PAGEBLOCK_ORDER])
    free = 0
    movable = 0
    pfn = start_pfn
    while pfn < end:
        meta = s.meta[pfn] + 0
        pages = 1 << (meta & 15)
        if meta >> 4 == PG_BUDDY:
            free += pages
        elif meta >> 4 == PG_ALLOC and s.link[2 * pfn + 1] & (ATTR_ON_LRU | ATTR_MOVABLE_OPS):
            movable += pages
        pfn += pages
    return free, movable


@part
def queue_claimed_block(s, z, start_pfn, start, block_mt):  # type: ignore[no-untyped-def]
    """The patch's condition: a movable block was claimed for unmovable or reclaimable requests."""
    if s.cfg[C_EVACUATE] and block_mt == MIGRATE_MOVABLE and start != MIGRATE_MOVABLE:
        queue_pageblock_evacuate(s, z, start_pfn)


@part
def claim_refused(s, pfn):  # type: ignore[no-untyped-def]
    """Whether the candidate is refused unseen: by the patch's guard, or (kernels that look) for its highatomic block."""
    if s.cfg[C_EVACUATE] and get_pageblock_isolate(s, pfn):
        s.stat[T_GUARD_REFUSED] += 1
        return True
    return s.cfg[C_REFUSE_HIGHATOMIC] != 0 and get_pfnblock_migratetype(s, pfn) == MIGRATE_HIGHATOMIC


@part
def try_to_claim_block(s, z, pfn, current, order, start, block_mt, flags):  # type: ignore[no-untyped-def]
    """Claim the candidate's block for *start*, if enough of it is free or alike; the page, or -1 (:2286).

    The evacuation patch adds two things: the guard at the top, and the queueing of what was claimed.
    """
    if claim_refused(s, pfn):
        return -1
    pageblock_order = s.cfg[C_PAGEBLOCK_ORDER]
    if current >= pageblock_order:
        return claim_whole_block(s, z, pfn, current, order, start, block_mt)
    boost_watermark(s, z, flags)
    start_pfn = (pfn >> pageblock_order) << pageblock_order
    if not block_in_zone(s, z, start_pfn):
        return -1
    free, movable = prep_move_freepages_block(s, z, start_pfn)
    alike = 0
    if start == MIGRATE_MOVABLE:
        alike = movable
    elif block_mt == MIGRATE_MOVABLE:
        alike = (1 << pageblock_order) - free - movable
    claimed = free + alike >= 1 << (pageblock_order - 1) or s.cfg[C_MOBILITY_DISABLED] != 0
    log_event(s, L_EVAC_CLAIM, start_pfn, pack_types(start, block_mt), free, movable, 1 if claimed else 0)
    if not claimed:
        s.stat[T_CLAIM_REFUSED] += 1
        return -1
    move_freepages_block_list(s, z, start_pfn, block_mt, start)
    set_pageblock_migratetype(s, start_pfn, start)
    queue_claimed_block(s, z, start_pfn, start, block_mt)
    return rmqueue_smallest(s, z, order, start)


@part
def rmqueue_claim(s, z, order, start, flags):  # type: ignore[no-untyped-def]
    """__rmqueue_claim: from the largest order down, one candidate each (:2361). The page, or -1."""
    pageblock_order = s.cfg[C_PAGEBLOCK_ORDER]
    least = order
    if order < pageblock_order and flags & ALLOC_NOFRAGMENT:
        least = pageblock_order
    current = s.cfg[C_MAX_PAGE_ORDER] + 0
    while current >= least:
        mt = find_suitable_fallback(s, z, current, start, True)
        if mt == FALLBACK_NOCLAIM:
            return -1
        if mt >= 0:
            candidate = s.link[2 * free_list(s, z, current, mt)] + 0
            pfn = try_to_claim_block(s, z, candidate, current, order, start, mt, flags)
            if pfn >= 0:
                count_extfrag(s, pfn, order, current, start, mt)
                return pfn
        current -= 1
    return -1


@part
def rmqueue_steal(s, z, order, start):  # type: ignore[no-untyped-def]
    """__rmqueue_steal: the smallest sufficient chunk of another type; its block keeps its type (:2416)."""
    for current in range(order, s.cfg[C_MAX_PAGE_ORDER] + 1):
        mt = find_suitable_fallback(s, z, current, start, False)
        if mt < 0:
            continue
        pfn = s.link[2 * free_list(s, z, current, mt)] + 0
        page_del_and_expand(s, z, pfn, order, current, mt)
        count_extfrag(s, pfn, order, current, start, mt)
        return pfn
    return -1


@part(cold=True)
def rmqueue_fallback(s, z, order, mt, flags, mode):  # type: ignore[no-untyped-def]
    """The modes of __rmqueue after NORMAL: CMA, CLAIM, STEAL. Returns (page or -1, mode)."""
    if mode <= RMQUEUE_CMA and flags & ALLOC_CMA:
        pfn = rmqueue_smallest(s, z, order, MIGRATE_CMA)
        if pfn >= 0:
            s.stat[T_MODE + RMQUEUE_CMA] += 1
            return pfn, RMQUEUE_CMA
    if mode <= RMQUEUE_CLAIM:
        pfn = rmqueue_claim(s, z, order, mt, flags)
        if pfn >= 0:
            s.stat[T_MODE + RMQUEUE_CLAIM] += 1
            return pfn, RMQUEUE_NORMAL
    if not flags & ALLOC_NOFRAGMENT:
        pfn = rmqueue_steal(s, z, order, mt)
        if pfn >= 0:
            s.stat[T_MODE + RMQUEUE_STEAL] += 1
            return pfn, RMQUEUE_STEAL
    return -1, mode


@part(inline=True)
def rmqueue_mode(s, z, order, mt, flags, mode):  # type: ignore[no-untyped-def]
    """__rmqueue: CMA balance, then from the remembered mode on (:2454). Returns (page or -1, mode)."""
    if flags & ALLOC_CMA and s.zone[z * ZS + Z_NR_FREE_CMA] > s.zone[z * ZS + Z_NR_FREE] // 2:
        pfn = rmqueue_smallest(s, z, order, MIGRATE_CMA)
        if pfn >= 0:
            return pfn, mode
    if mode == RMQUEUE_NORMAL:
        pfn = rmqueue_smallest(s, z, order, mt)
        if pfn >= 0:
            return pfn, mode
    return rmqueue_fallback(s, z, order, mt, flags, mode)
