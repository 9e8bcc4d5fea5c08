# SPDX-License-Identifier: GPL-2.0-or-later
"""__rmqueue in passes over regions: unmovable memory is packed into tainted ones, movable memory stays out of them.

Models "reliable 1GB page allocation" (40 patches of 2026-05-20, numbers 14, 19, 20, 26 and 27; of the 45 of 2026-04-30 numbers 24
and 25). The passes of requests that are not movable:

    1   own type in tainted regions, fullest first
    2   a whole free pageblock in a tainted region, claimed
    2b  a smaller movable chunk in a tainted region, its block claimed, without the rule that half of it be free or alike
    2c  unmovable and reclaimable requests borrow from each other's lists in tainted regions; no block changes its type
    2d  they borrow from movable lists there; no block changes its type
    3   a clean region is tainted: a whole pageblock of an empty one, own type in a clean one, then as mainline

Movable requests try clean regions, fullest first, then empty ones, then tainted ones as long as these keep their reserve of free
pageblocks, then do as mainline.

Approximate, as the diffs were not at hand: in each region the smallest sufficient chunk is taken, where number 20 takes whole
pageblocks first, for per-CPU pageblocks that the model lacks. ALLOC_NOFRAGMENT keeps a request from passes 2b to 2d on machines
of few regions, and from pass 3 everywhere; without it the reserve binds no more. It is dropped where mainline drops it, unless
``region_nofragment_kept``.
"""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm import constants as k
from kevacuate.mm.buddy import (
    block_in_zone,
    move_freepages_block_list,
    page_del_and_expand,
    rmqueue_smallest,
    set_pageblock_migratetype,
)
from kevacuate.mm.fallback import (
    claim_refused,
    claim_whole_block,
    count_extfrag,
    enough_to_claim,
    prep_move_freepages_block,
    rmqueue_fallback,
)
from kevacuate.mm.fields import View
from kevacuate.mm.log import log_event, log_kmem, pack_types
from kevacuate.mm.region_lists import find_in_regions, largest_of_region, smallest_of_region
from kevacuate.mm.region_worker import wake_region_workers
from kevacuate.mm.regions import region_list, region_number
from kevacuate.mm.watermark import boost_watermark

_CLEAN, _TAINTED = 0, 1


@part
def took(s: View, which: int, pfn: int) -> int:
    """Count a page of a pass; the page."""
    s.stat.region_pass[which] += 1
    return pfn


@part(cold=True)
def take_chunk(s: View, z: int, pfn: int, order: int, mt: int) -> None:
    """Take a chunk off the lists of *mt*, and give back what is too much of it."""
    page_del_and_expand(s, z, pfn, order, s.meta[pfn] & 15, mt)
    log_kmem(s, k.L_ZONE_LOCKED, pfn, order, mt)


@part(cold=True)
def take_own(s: View, z: int, tainted: int, order: int, mt: int, last: int, reserve: bool) -> int:
    """A chunk of the request's own type in clean or tainted regions, of classes up to *last*; -1 if there is none."""
    pfn = find_in_regions(s, z, tainted, k.REGION_FULL, last, order, mt, reserve)
    if pfn >= 0:
        take_chunk(s, z, pfn, order, mt)
    return pfn


@part(cold=True)
def claim_free_block(s: View, z: int, tainted: int, first: int, order: int, mt: int) -> int:
    """Claim a whole free pageblock in the regions of a category, of classes *first* and emptier, fullest first; -1 if none.

    Movable blocks first, then those of the third type.
    """
    whole = max(order, s.cfg.pageblock_order)
    for i in range(2):
        from_mt = k.MIGRATE_MOVABLE if i == 0 else k.MIGRATE_UNMOVABLE + k.MIGRATE_RECLAIMABLE - mt
        pfn = find_in_regions(s, z, tainted, first, k.REGION_EMPTY, whole, from_mt, False)
        if pfn >= 0:
            current_order = s.meta[pfn] & 15
            claim_whole_block(s, z, pfn, current_order, order, mt, from_mt)
            count_extfrag(s, pfn, order, current_order, mt, from_mt)
            return pfn
    return -1


@part(cold=True)
def claim_in_region(s: View, z: int, pfn: int, order: int, mt: int, alloc_flags: int) -> int:
    """try_to_claim_block of a movable chunk below pageblock order in a tainted region; the page, or -1."""
    current_order = s.meta[pfn] & 15
    pageblock_order = s.cfg.pageblock_order
    start_pfn = (pfn >> pageblock_order) << pageblock_order
    if claim_refused(s, pfn):
        return -1
    boost_watermark(s, z, alloc_flags)
    if not block_in_zone(s, z, start_pfn):
        return -1
    free, movable = prep_move_freepages_block(s, z, start_pfn)
    claimed = s.cfg.region_half_rule == 0 or enough_to_claim(s, mt, k.MIGRATE_MOVABLE, free, movable)
    log_event(
        s, k.L_EVAC_CLAIM, start_pfn, pack_types(mt, k.MIGRATE_MOVABLE), free, movable, 1 if claimed else 0
    )
    if not claimed:
        s.stat.claim_refused += 1
        return -1
    move_freepages_block_list(s, z, start_pfn, k.MIGRATE_MOVABLE, mt)
    set_pageblock_migratetype(s, start_pfn, mt)
    taken = smallest_of_region(s, region_number(s, start_pfn), order, mt)
    take_chunk(s, z, taken, order, mt)
    count_extfrag(s, taken, order, current_order, mt, k.MIGRATE_MOVABLE)
    return taken


@part(cold=True)
def claim_smaller(s: View, z: int, order: int, mt: int, alloc_flags: int) -> int:
    """Pass 2b: in tainted regions, fullest first, one candidate each; -1 if none is claimed."""
    for fullness in range(k.NR_FULLNESS):
        head = region_list(s, z, _TAINTED, fullness)
        number = s.region[head].next
        while number != head:
            following = s.region[number].next
            pfn = largest_of_region(s, number, order, s.cfg.pageblock_order - 1, k.MIGRATE_MOVABLE)
            if pfn >= 0:
                taken = claim_in_region(s, z, pfn, order, mt, alloc_flags)
                if taken >= 0:
                    return taken
            number = following
    return -1


@part(cold=True)
def borrow(s: View, z: int, order: int, mt: int, from_mt: int) -> int:
    """Passes 2c and 2d: the smallest chunk of another type in tainted regions, whose block keeps its type; -1 if none."""
    pfn = find_in_regions(s, z, _TAINTED, k.REGION_FULL, k.REGION_EMPTY, order, from_mt, False)
    if pfn >= 0:
        current_order = s.meta[pfn] & 15
        page_del_and_expand(s, z, pfn, order, current_order, from_mt)
        count_extfrag(s, pfn, order, current_order, mt, from_mt)
    return pfn


@part(cold=True)
def could_evacuate(s: View, z: int) -> bool:
    """Whether a tainted region of the zone has a pageblock with movable pages."""
    for fullness in range(k.NR_FULLNESS):
        head = region_list(s, z, _TAINTED, fullness)
        number = s.region[head].next
        while number != head:
            if s.region[number].nr_used[k.MIGRATE_MOVABLE]:
                return True
            number = s.region[number].next
    return False


@part(cold=True)
def may_taint(s: View, z: int, alloc_flags: int) -> bool:
    """Whether a request may taint a clean region: not with ALLOC_NOFRAGMENT, nor with a cheap fallback while others have room."""
    if alloc_flags & k.ALLOC_NOFRAGMENT and s.cfg.region_taint_nofragment == 0:
        return False
    if alloc_flags & k.ALLOC_CHEAP and could_evacuate(s, z):
        s.stat.region_taint_refused += 1
        return False
    return True


@part(cold=True)
def rmqueue_tainted(s: View, z: int, order: int, mt: int, alloc_flags: int) -> int:
    """Passes 1 to 2d: a page of a tainted region; -1 if none gives one."""
    pfn = take_own(s, z, _TAINTED, order, mt, k.REGION_EMPTY, False)
    if pfn >= 0:
        return took(s, k.PASS_1, pfn)
    pfn = claim_free_block(s, z, _TAINTED, k.REGION_FULL, order, mt)
    if pfn >= 0:
        return took(s, k.PASS_2, pfn)
    if alloc_flags & k.ALLOC_NOFRAGMENT and s.cfg.nr_regions <= s.cfg.region_pack_above:
        return -1
    if order < s.cfg.pageblock_order:
        pfn = claim_smaller(s, z, order, mt, alloc_flags)
        if pfn >= 0:
            return took(s, k.PASS_2B, pfn)
    pfn = borrow(s, z, order, mt, k.MIGRATE_UNMOVABLE + k.MIGRATE_RECLAIMABLE - mt)
    if pfn >= 0:
        return took(s, k.PASS_2C, pfn)
    pfn = borrow(s, z, order, mt, k.MIGRATE_MOVABLE)
    return took(s, k.PASS_2D, pfn) if pfn >= 0 else -1


@part(cold=True)
def rmqueue_taint(s: View, z: int, order: int, mt: int, alloc_flags: int) -> int:
    """Pass 3 as far as it is not mainline's: a page of a clean region; -1 if none gives one."""
    pfn = claim_free_block(s, z, _CLEAN, k.REGION_EMPTY, order, mt)
    if pfn < 0:
        pfn = take_own(s, z, _CLEAN, order, mt, k.REGION_EMPTY, False)
    if pfn < 0:
        pfn = claim_free_block(s, z, _CLEAN, k.REGION_FULL, order, mt)
    return took(s, k.PASS_3, pfn) if pfn >= 0 else -1


@part(cold=True)
def rmqueue_movable(s: View, z: int, order: int, alloc_flags: int) -> int:
    """A movable request: clean regions, then empty ones, then tainted ones above their reserve; -1 if none gives a page."""
    mt = k.MIGRATE_MOVABLE
    pfn = take_own(s, z, _CLEAN, order, mt, k.REGION_EMPTY, False)
    if pfn >= 0:
        return took(s, k.PASS_CLEAN, pfn)
    pfn = take_own(s, z, _TAINTED, order, mt, k.REGION_EMPTY, True)
    if pfn >= 0:
        return took(s, k.PASS_SHARED, pfn)
    if alloc_flags & k.ALLOC_NOFRAGMENT:
        return -1
    pfn = take_own(s, z, _TAINTED, order, mt, k.REGION_EMPTY, False)
    return took(s, k.PASS_RESERVE, pfn) if pfn >= 0 else -1


@part(cold=True)
def rmqueue_passes(s: View, z: int, order: int, mt: int, alloc_flags: int) -> int:
    """__rmqueue over regions; the page, or -1."""
    zone = s.zone[z]
    if alloc_flags & k.ALLOC_CMA and zone.nr_free_cma > zone.nr_free_pages // 2:
        pfn = rmqueue_smallest(s, z, order, k.MIGRATE_CMA)
        if pfn >= 0:
            return pfn
    if mt == k.MIGRATE_MOVABLE:
        pfn = rmqueue_movable(s, z, order, alloc_flags)
    else:
        pfn = rmqueue_tainted(s, z, order, mt, alloc_flags)
        if pfn < 0:
            if s.cfg.region_worker:
                wake_region_workers(s, z)
            if not may_taint(s, z, alloc_flags):
                return -1
            pfn = rmqueue_taint(s, z, order, mt, alloc_flags)
    if pfn < 0:
        pfn = rmqueue_fallback(s, z, order, mt, alloc_flags, k.RMQUEUE_NORMAL)[0]
    return pfn
