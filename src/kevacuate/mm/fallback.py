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
from kevacuate.mm.hooks import ask, hook_wrong, hooked, hooked_event, hooked_should_try_claim, hooked_verdict
from kevacuate.mm.log import log_event, pack_types
from kevacuate.mm.region_steer import steered_claim
from kevacuate.mm.watermark import boost_watermark

kind_of_extfrag = part(extfrag_kind)


@part(inline=True)
def fallback_type(start_type: int, i: int) -> int:
    """The *i*-th (0 or 1) fallback of a type: U: R, M. M: R, U. R: U, M (:1921)."""
    if start_type == k.MIGRATE_RECLAIMABLE:
        return k.MIGRATE_UNMOVABLE if i == 0 else k.MIGRATE_MOVABLE
    if i == 0:
        return k.MIGRATE_RECLAIMABLE
    return k.MIGRATE_MOVABLE if start_type == k.MIGRATE_UNMOVABLE else k.MIGRATE_UNMOVABLE


@part(inline=True)
def may_try_claim(s: View, order: int, start_type: int) -> bool:
    """Mainline's answer to :func:`should_try_claim_block`: only small movable requests are refused (:2205)."""
    pageblock_order = s.cfg.pageblock_order
    if order >= pageblock_order or order >= pageblock_order // 2:
        return True
    return start_type != k.MIGRATE_MOVABLE or s.cfg.page_group_by_mobility_disabled != 0


@part(inline=True)
def should_try_claim_block(s: View, order: int, start_type: int) -> bool:
    """Whether a claim from *order* is allowed: as mainline or the policy says."""
    allowed = may_try_claim(s, order, start_type)
    if hooked(s, k.HOOK_SHOULD_TRY_CLAIM_BLOCK):
        return hooked_should_try_claim(s, order, start_type, allowed)
    return allowed


@part(cold=True)
def hooked_fallback(s: View, z: int, order: int, start_type: int, claimable: bool, mainline: int) -> int:
    """The policy's answer to :func:`find_suitable_fallback`: another type that has a chunk of *order*, or why there is none."""
    mt = ask(s, k.HOOK_FIND_SUITABLE_FALLBACK, z, order, start_type, int(claimable), mainline, 0)
    if mt == k.HOOK_FAILED:
        return mainline
    if mt == k.FALLBACK_EMPTY or (mt == k.FALLBACK_NOCLAIM and claimable):
        return mt
    if 0 <= mt < k.MIGRATE_PCPTYPES and mt != start_type:
        head = free_list(s, z, order, mt)
        if s.link[2 * head] != head:
            return mt
    hook_wrong(s, k.HOOK_FIND_SUITABLE_FALLBACK, k.HOOK_BAD_VALUE, mt)
    return mainline


@part(inline=True)
def find_suitable_fallback(s: View, z: int, order: int, start_type: int, claimable: bool) -> int:
    """The first fallback type with a free chunk of *order*, or FALLBACK_EMPTY, FALLBACK_NOCLAIM (:2254)."""
    if claimable and not should_try_claim_block(s, order, start_type):
        return k.FALLBACK_NOCLAIM
    mt = first_fallback(s, z, order, start_type)
    if hooked(s, k.HOOK_FIND_SUITABLE_FALLBACK):
        return hooked_fallback(s, z, order, start_type, claimable, mt)
    return mt


@part(inline=True)
def first_fallback(s: View, z: int, order: int, start_type: int) -> int:
    """The first fallback type with a free chunk of *order*, or FALLBACK_EMPTY."""
    if s.zone[z].free_area[order] == 0:
        return k.FALLBACK_EMPTY
    for i in range(2):
        mt = fallback_type(start_type, i)
        head = free_list(s, z, order, mt)
        if s.link[2 * head] != head:
            return mt
    return k.FALLBACK_EMPTY


@part(cold=True)
def count_extfrag(
    s: View, pfn: int, order: int, fallback_order: int, start_type: int, fallback_mt: int
) -> None:
    """mm_page_alloc_extfrag: log it and count it by kind (kernel/extfrag.py)."""
    owned = 1 if get_pfnblock_migratetype(s, pfn) == start_type else 0
    kind = kind_of_extfrag(fallback_order, s.cfg.pageblock_order, owned)
    s.stat.extfrag[((kind * 3 + start_type) * 3 + fallback_mt) * 16 + fallback_order] += 1
    log_event(s, k.L_EXTFRAG, pfn, order, fallback_order, pack_types(start_type, fallback_mt), owned)


@part(cold=True)
def claim_whole_block(
    s: View, z: int, pfn: int, current_order: int, order: int, start_type: int, block_type: int
) -> int:
    """try_to_claim_block of a chunk of a block or more: it changes its type and is split on the new lists."""
    del_page_from_free_list(s, z, pfn, current_order, block_type)
    account_freepages(s, z, -(1 << current_order), block_type)
    change_pageblock_range(s, pfn, current_order, start_type)
    account_freepages(s, z, expand(s, z, pfn, order, current_order, start_type), start_type)
    if hooked(s, k.HOOK_BLOCK_CLAIMED):
        hooked_event(s, k.HOOK_BLOCK_CLAIMED, z, pfn, current_order, start_type, block_type)
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
def enough_to_claim(s: View, start_type: int, block_type: int, free: int, movable: int) -> bool:
    """Whether so many free and movable pages make a block *start_type*'s: half of it is free or alike (:2342; the same in 6.1).

    Alike are for movable requests the movable pages, for others in a movable block those that are not movable.
    """
    pageblock_order = s.cfg.pageblock_order
    alike = 0
    if start_type == k.MIGRATE_MOVABLE:
        alike = movable
    elif block_type == k.MIGRATE_MOVABLE:
        alike = (1 << pageblock_order) - free - movable
    return free + alike >= 1 << (pageblock_order - 1) or s.cfg.page_group_by_mobility_disabled != 0


@part
def queue_claimed_block(s: View, z: int, start_pfn: int, start_type: int, block_type: int) -> None:
    """The patch's condition: a movable block was claimed for unmovable or reclaimable requests (or one of them: ``claims``)."""
    if s.cfg.evacuate and block_type == k.MIGRATE_MOVABLE and s.cfg.claims >> start_type & 1:
        queue_pageblock_evacuate(s, z, start_pfn)


@part
def queue_stolen_block(s: View, z: int, pfn: int, order: int, start_type: int) -> None:
    """With ``on_steal``, what the patch leaves out: a page of a movable block was stolen by requests whose claims queue.

    The block stays movable, and is evacuated all the same.
    """
    pageblock_order = s.cfg.pageblock_order
    if s.cfg.on_steal == 0 or s.cfg.evacuate == 0 or order >= pageblock_order:
        return
    if s.cfg.claims >> start_type & 1 and get_pfnblock_migratetype(s, pfn) == k.MIGRATE_MOVABLE:
        queued = s.stat.queued
        queue_pageblock_evacuate(s, z, pfn >> pageblock_order << pageblock_order)
        if s.stat.queued != queued:
            s.item[s.node[s.zone[z].node].evacuate_pending].movable = 1


@part
def claim_refused(s: View, pfn: int) -> bool:
    """Whether the candidate is refused unseen: by the patch's guard, or (kernels that look) for its highatomic block."""
    if s.cfg.evacuate and s.cfg.guard and get_pageblock_isolate(s, pfn):
        s.stat.guard_refused += 1
        return True
    return s.cfg.refuse_highatomic != 0 and get_pfnblock_migratetype(s, pfn) == k.MIGRATE_HIGHATOMIC


@part
def try_to_claim_block(
    s: View,
    z: int,
    pfn: int,
    current_order: int,
    order: int,
    start_type: int,
    block_type: int,
    alloc_flags: int,
) -> int:
    """Claim the candidate's block for *start_type*, if enough of it is free or alike; the page, or -1 (:2286).

    The evacuation patch adds two things: the guard at the top, and the queueing of what was claimed.
    """
    if claim_refused(s, pfn):
        return -1
    verdict = k.MAINLINE_RULE
    if hooked(s, k.HOOK_TRY_TO_CLAIM_BLOCK):
        verdict = hooked_verdict(s, z, pfn, current_order, start_type, block_type)
        if verdict == k.REFUSE:
            return -1
    pageblock_order = s.cfg.pageblock_order
    if current_order >= pageblock_order:
        return claim_whole_block(s, z, pfn, current_order, order, start_type, block_type)
    boost_watermark(s, z, alloc_flags)
    start_pfn = (pfn >> pageblock_order) << pageblock_order
    if not block_in_zone(s, z, start_pfn):
        return -1
    free, movable = prep_move_freepages_block(s, z, start_pfn)
    claimed = verdict == k.CLAIM or enough_to_claim(s, start_type, block_type, free, movable)
    log_event(
        s, k.L_EVAC_CLAIM, start_pfn, pack_types(start_type, block_type), free, movable, 1 if claimed else 0
    )
    if not claimed:
        s.stat.claim_refused += 1
        return -1
    move_freepages_block_list(s, z, start_pfn, block_type, start_type)
    set_pageblock_migratetype(s, start_pfn, start_type)
    queue_claimed_block(s, z, start_pfn, start_type, block_type)
    if hooked(s, k.HOOK_BLOCK_CLAIMED):
        hooked_event(s, k.HOOK_BLOCK_CLAIMED, z, start_pfn, current_order, start_type, block_type)
    return rmqueue_smallest(s, z, order, start_type)


@part
def rmqueue_claim(s: View, z: int, order: int, start_type: int, alloc_flags: int) -> int:
    """__rmqueue_claim: from the largest order down, one candidate each (:2361). The page, or -1."""
    pageblock_order = s.cfg.pageblock_order
    least = order
    if order < pageblock_order and alloc_flags & k.ALLOC_NOFRAGMENT:
        least = pageblock_order
    current_order = s.cfg.max_page_order
    while current_order >= least:
        mt = find_suitable_fallback(s, z, current_order, start_type, True)
        if mt == k.FALLBACK_NOCLAIM:
            return -1
        if mt >= 0:
            head = free_list(s, z, current_order, mt)
            candidate = s.link[2 * head] + 0
            if s.cfg.region_steer_claims and start_type != k.MIGRATE_MOVABLE:
                candidate = steered_claim(s, head, candidate)
            pfn = try_to_claim_block(s, z, candidate, current_order, order, start_type, mt, alloc_flags)
            if pfn >= 0:
                count_extfrag(s, pfn, order, current_order, start_type, mt)
                return pfn
        current_order -= 1
    return -1


@part
def rmqueue_steal(s: View, z: int, order: int, start_type: int) -> int:
    """__rmqueue_steal: the smallest sufficient chunk of another type; its block keeps its type (:2416)."""
    for current_order in range(order, s.cfg.max_page_order + 1):
        mt = find_suitable_fallback(s, z, current_order, start_type, False)
        if mt < 0:
            continue
        pfn = s.link[2 * free_list(s, z, current_order, mt)] + 0
        page_del_and_expand(s, z, pfn, order, current_order, mt)
        count_extfrag(s, pfn, order, current_order, start_type, mt)
        queue_stolen_block(s, z, pfn, order, start_type)
        if hooked(s, k.HOOK_PAGE_STOLEN):
            hooked_event(s, k.HOOK_PAGE_STOLEN, z, pfn, order, start_type, mt)
        return pfn
    return -1


@part(cold=True)
def rmqueue_turns(s: View, z: int, order: int, mt: int, alloc_flags: int) -> int:
    """What the policy says to try, turn by turn, until that gives a page; -1 if nothing does."""
    for turn in range(k.MOST_TURNS):
        what = ask(s, k.HOOK_RMQUEUE, z, order, mt, alloc_flags, turn, 0)
        if what == k.HOOK_FAILED:
            return rmqueue_mainline(s, z, order, mt, alloc_flags, k.RMQUEUE_NORMAL)[0]
        pfn = -1
        if what == k.TRY_END:
            return -1
        if what == mt or (what == k.MIGRATE_CMA and alloc_flags & k.ALLOC_CMA):
            pfn = rmqueue_smallest(s, z, order, what)
        elif what == k.TRY_CLAIM:
            pfn = rmqueue_claim(s, z, order, mt, alloc_flags)
            s.stat.mode[k.RMQUEUE_CLAIM] += 1 if pfn >= 0 else 0
        elif what == k.TRY_STEAL:
            pfn = rmqueue_steal(s, z, order, mt)
            s.stat.mode[k.RMQUEUE_STEAL] += 1 if pfn >= 0 else 0
        else:
            hook_wrong(s, k.HOOK_RMQUEUE, k.HOOK_BAD_VALUE, what)
        if pfn >= 0:
            return pfn
    return -1


@part(cold=True)
def rmqueue_fallback(s: View, z: int, order: int, mt: int, alloc_flags: int, mode: int) -> tuple[int, int]:
    """The modes of __rmqueue after NORMAL: CMA, CLAIM, STEAL. Returns (page or -1, mode)."""
    if mode <= k.RMQUEUE_CMA and alloc_flags & k.ALLOC_CMA:
        pfn = rmqueue_smallest(s, z, order, k.MIGRATE_CMA)
        if pfn >= 0:
            s.stat.mode[k.RMQUEUE_CMA] += 1
            return pfn, k.RMQUEUE_CMA
    if mode <= k.RMQUEUE_CLAIM:
        pfn = rmqueue_claim(s, z, order, mt, alloc_flags)
        if pfn >= 0:
            s.stat.mode[k.RMQUEUE_CLAIM] += 1
            return pfn, k.RMQUEUE_NORMAL
    if not alloc_flags & k.ALLOC_NOFRAGMENT:
        pfn = rmqueue_steal(s, z, order, mt)
        if pfn >= 0:
            s.stat.mode[k.RMQUEUE_STEAL] += 1
            return pfn, k.RMQUEUE_STEAL
    return -1, mode


@part(inline=True)
def rmqueue_mainline(s: View, z: int, order: int, mt: int, alloc_flags: int, mode: int) -> tuple[int, int]:
    """__rmqueue: CMA balance, then from the remembered mode on (:2454). Returns (page or -1, mode)."""
    zone = s.zone[z]
    if alloc_flags & k.ALLOC_CMA and zone.nr_free_cma > zone.nr_free_pages // 2:
        pfn = rmqueue_smallest(s, z, order, k.MIGRATE_CMA)
        if pfn >= 0:
            return pfn, mode
    if mode == k.RMQUEUE_NORMAL:
        pfn = rmqueue_smallest(s, z, order, mt)
        if pfn >= 0:
            return pfn, mode
    return rmqueue_fallback(s, z, order, mt, alloc_flags, mode)
