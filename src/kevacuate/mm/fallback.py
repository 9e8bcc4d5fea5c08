# SPDX-License-Identifier: GPL-2.0-or-later
"""What an allocation does when its own lists are empty: claim a whole block or steal a page (mm/page_alloc.c, 7.2)."""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.kernel.extfrag import extfrag_kind
from kevacuate.mm import constants as k
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
from kevacuate.mm.evacuate_queue import queue_pageblock_evacuate
from kevacuate.mm.fields import View
from kevacuate.mm.log import log_event, pack_types
from kevacuate.mm.watermark import boost_watermark

kind_of_extfrag = part(extfrag_kind)


@part(inline=True)
def fallback_type(start: int, i: int) -> int:
    """The *i*-th (0 or 1) fallback of a type: U: R, M. M: R, U. R: U, M (:1921)."""
    if start == k.MIGRATE_RECLAIMABLE:
        return k.MIGRATE_UNMOVABLE if i == 0 else k.MIGRATE_MOVABLE
    if i == 0:
        return k.MIGRATE_RECLAIMABLE
    return k.MIGRATE_MOVABLE if start == k.MIGRATE_UNMOVABLE else k.MIGRATE_UNMOVABLE


@part(inline=True)
def should_try_claim_block(s: View, order: int, start: int) -> bool:
    """Whether a claim from *order* is allowed: only small movable requests are refused (:2205)."""
    pageblock_order = s.cfg.pageblock_order
    if order >= pageblock_order or order >= pageblock_order // 2:
        return True
    return start != k.MIGRATE_MOVABLE or s.cfg.page_group_by_mobility_disabled != 0


@part(inline=True)
def find_suitable_fallback(s: View, z: int, order: int, start: int, claimable: bool) -> int:
    """The first fallback type with a free chunk of *order*, or FALLBACK_EMPTY, FALLBACK_NOCLAIM (:2254)."""
    if claimable and not should_try_claim_block(s, order, start):
        return k.FALLBACK_NOCLAIM
    if s.zone[z].free_area[order] == 0:
        return k.FALLBACK_EMPTY
    for i in range(2):
        mt = fallback_type(start, i)
        head = free_list(s, z, order, mt)
        if s.link[2 * head] != head:
            return mt
    return k.FALLBACK_EMPTY


@part(cold=True)
def count_extfrag(s: View, pfn: int, order: int, fallback_order: int, start: int, fallback_mt: int) -> None:
    """mm_page_alloc_extfrag: log it and count it by kind (kernel/extfrag.py)."""
    owned = 1 if get_pfnblock_migratetype(s, pfn) == start else 0
    kind = kind_of_extfrag(fallback_order, s.cfg.pageblock_order, owned)
    s.stat.extfrag[((kind * 3 + start) * 3 + fallback_mt) * 16 + fallback_order] += 1
    log_event(s, k.L_EXTFRAG, pfn, order, fallback_order, pack_types(start, fallback_mt), owned)


@part(cold=True)
def claim_whole_block(s: View, z: int, pfn: int, current: int, order: int, start: int, block_mt: int) -> int:
    """Case A of try_to_claim_block: a chunk of a block or more changes its type and is split on the new lists."""
    del_page_from_free_list(s, z, pfn, current, block_mt)
    account_freepages(s, z, -(1 << current), block_mt)
    change_pageblock_range(s, pfn, current, start)
    account_freepages(s, z, expand(s, z, pfn, order, current, start), start)
    return pfn


@part
def prep_move_freepages_block(s: View, z: int, start_pfn: int) -> tuple[int, int]:
    """Count the block's free pages and its movable ones: PageLRU or movable_ops (:1975).

    Returns (free, movable). Pages on pcp lists, in LRU batches or isolated are neither.
    """
    end = start_pfn + (1 << s.cfg.pageblock_order)
    free = 0
    movable = 0
    pfn = start_pfn
    while pfn < end:
        meta = s.meta[pfn] + 0
        pages = 1 << (meta & 15)
        if meta >> 4 == k.CHUNK_BUDDY:
            free += pages
        elif meta >> 4 == k.CHUNK_ALLOC and s.link[2 * pfn + 1] & (k.ATTR_ON_LRU | k.ATTR_MOVABLE_OPS):
            movable += pages
        pfn += pages
    return free, movable


@part
def queue_claimed_block(s: View, z: int, start_pfn: int, start: int, block_mt: int) -> None:
    """The patch's condition: a movable block was claimed for unmovable or reclaimable requests."""
    if s.cfg.evacuate and block_mt == k.MIGRATE_MOVABLE and start != k.MIGRATE_MOVABLE:
        queue_pageblock_evacuate(s, z, start_pfn)


@part
def claim_refused(s: View, pfn: int) -> bool:
    """Whether the candidate is refused unseen: by the patch's guard, or (kernels that look) for its highatomic block."""
    if s.cfg.evacuate and get_pageblock_isolate(s, pfn):
        s.stat.guard_refused += 1
        return True
    return s.cfg.refuse_highatomic != 0 and get_pfnblock_migratetype(s, pfn) == k.MIGRATE_HIGHATOMIC


@part
def try_to_claim_block(
    s: View, z: int, pfn: int, current: int, order: int, start: int, block_mt: int, flags: int
) -> int:
    """Claim the candidate's block for *start*, if enough of it is free or alike; the page, or -1 (:2286).

    The evacuation patch adds two things: the guard at the top, and the queueing of what was claimed.
    """
    if claim_refused(s, pfn):
        return -1
    pageblock_order = s.cfg.pageblock_order
    if current >= pageblock_order:
        return claim_whole_block(s, z, pfn, current, order, start, block_mt)
    boost_watermark(s, z, flags)
    start_pfn = (pfn >> pageblock_order) << pageblock_order
    if not block_in_zone(s, z, start_pfn):
        return -1
    free, movable = prep_move_freepages_block(s, z, start_pfn)
    alike = 0
    if start == k.MIGRATE_MOVABLE:
        alike = movable
    elif block_mt == k.MIGRATE_MOVABLE:
        alike = (1 << pageblock_order) - free - movable
    claimed = free + alike >= 1 << (pageblock_order - 1) or s.cfg.page_group_by_mobility_disabled != 0
    log_event(s, k.L_EVAC_CLAIM, start_pfn, pack_types(start, block_mt), free, movable, 1 if claimed else 0)
    if not claimed:
        s.stat.claim_refused += 1
        return -1
    move_freepages_block_list(s, z, start_pfn, block_mt, start)
    set_pageblock_migratetype(s, start_pfn, start)
    queue_claimed_block(s, z, start_pfn, start, block_mt)
    return rmqueue_smallest(s, z, order, start)


@part
def rmqueue_claim(s: View, z: int, order: int, start: int, flags: int) -> int:
    """__rmqueue_claim: from the largest order down, one candidate each (:2361). The page, or -1."""
    pageblock_order = s.cfg.pageblock_order
    least = order
    if order < pageblock_order and flags & k.ALLOC_NOFRAGMENT:
        least = pageblock_order
    current = s.cfg.max_page_order
    while current >= least:
        mt = find_suitable_fallback(s, z, current, start, True)
        if mt == k.FALLBACK_NOCLAIM:
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
def rmqueue_steal(s: View, z: int, order: int, start: int) -> int:
    """__rmqueue_steal: the smallest sufficient chunk of another type; its block keeps its type (:2416)."""
    for current in range(order, s.cfg.max_page_order + 1):
        mt = find_suitable_fallback(s, z, current, start, False)
        if mt < 0:
            continue
        pfn = s.link[2 * free_list(s, z, current, mt)] + 0
        page_del_and_expand(s, z, pfn, order, current, mt)
        count_extfrag(s, pfn, order, current, start, mt)
        return pfn
    return -1


@part(cold=True)
def rmqueue_fallback(s: View, z: int, order: int, mt: int, flags: int, mode: int) -> tuple[int, int]:
    """The modes of __rmqueue after NORMAL: CMA, CLAIM, STEAL. Returns (page or -1, mode)."""
    if mode <= k.RMQUEUE_CMA and flags & k.ALLOC_CMA:
        pfn = rmqueue_smallest(s, z, order, k.MIGRATE_CMA)
        if pfn >= 0:
            s.stat.mode[k.RMQUEUE_CMA] += 1
            return pfn, k.RMQUEUE_CMA
    if mode <= k.RMQUEUE_CLAIM:
        pfn = rmqueue_claim(s, z, order, mt, flags)
        if pfn >= 0:
            s.stat.mode[k.RMQUEUE_CLAIM] += 1
            return pfn, k.RMQUEUE_NORMAL
    if not flags & k.ALLOC_NOFRAGMENT:
        pfn = rmqueue_steal(s, z, order, mt)
        if pfn >= 0:
            s.stat.mode[k.RMQUEUE_STEAL] += 1
            return pfn, k.RMQUEUE_STEAL
    return -1, mode


@part(inline=True)
def rmqueue_mode(s: View, z: int, order: int, mt: int, flags: int, mode: int) -> tuple[int, int]:
    """__rmqueue: CMA balance, then from the remembered mode on (:2454). Returns (page or -1, mode)."""
    zone = s.zone[z]
    if flags & k.ALLOC_CMA and zone.nr_free_cma > zone.nr_free_pages // 2:
        pfn = rmqueue_smallest(s, z, order, k.MIGRATE_CMA)
        if pfn >= 0:
            return pfn, mode
    if mode == k.RMQUEUE_NORMAL:
        pfn = rmqueue_smallest(s, z, order, mt)
        if pfn >= 0:
            return pfn, mode
    return rmqueue_fallback(s, z, order, mt, flags, mode)
