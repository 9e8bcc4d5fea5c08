# SPDX-License-Identifier: GPL-2.0-or-later
"""Taking pages from the buddy lists: own type, CMA, claiming a block, stealing a page (`__rmqueue`)."""

from __future__ import annotations

from enum import Enum, auto

from .buddy import (
    account_freepages,
    block_inside,
    del_from_free_list,
    expand,
    move_freepages,
    move_freepages_block_old,
    move_to_free_list,
    page_del_and_expand,
    rmqueue_smallest,
)
from .constants import (
    A_MOVABLE_OPS,
    A_ON_LRU,
    AF_CMA,
    AF_NOFRAGMENT,
    ALLOC,
    BUDDY,
    CMA,
    FALLBACKS,
    HIGHATOMIC,
    L_EVAC_CLAIM,
    L_EXTFRAG,
    MOVABLE,
    RECLAIMABLE,
    UNMOVABLE,
)
from .irqwork import queue_pageblock_evacuate
from .machine import Machine
from .region_passes import rmqueue_passes, steered_candidate, steered_refill
from .region_pressure import wake as wake_region_shrinker
from .region_worker import wake as wake_region_worker
from .regions import take
from .watermark import boost_watermark
from .zone import Zone


class Mode(Enum):
    """`enum rmqueue_mode`: where the search starts; remembered within one hold of the zone lock."""

    NORMAL = auto()
    CMA = auto()
    CLAIM = auto()
    STEAL = auto()


def may_try_claim(m: Machine, order: int, start: int) -> bool:
    """Whether mainline lets a request of type `start` claim a block through a buddy of this order."""
    if order >= m.config.pageblock_order or order >= m.config.pageblock_order // 2:
        return True
    return start in (UNMOVABLE, RECLAIMABLE) or m.config.page_group_by_mobility_disabled


def should_try_claim_block(m: Machine, order: int, start: int) -> bool:
    """Whether a request of type `start` may claim a block through a buddy of this order."""
    allowed = may_try_claim(m, order, start)
    return bool(m.ask("should_try_claim_block", int(allowed), order, start, int(allowed)))


def find_suitable_fallback(m: Machine, zone: Zone, order: int, start: int, claimable: bool) -> int:
    """The type to fall back to at an order; negative if there is none, -2 if nothing may be claimed at all."""
    if claimable and not should_try_claim_block(m, order, start):
        return -2
    mt = first_fallback(zone, order, start)
    return m.ask("find_suitable_fallback", mt, zone.number, order, start, int(claimable), mt)


def first_fallback(zone: Zone, order: int, start: int) -> int:
    """Return the first type in table order with a buddy of this order, -1 if there is none."""
    lists = zone.free_area[order].free_list
    return next((mt for mt in FALLBACKS[start] if len(lists[mt])), -1)


def trace_extfrag(m: Machine, pfn: int, order: int, current: int, start: int, mt: int) -> None:
    """mm_page_alloc_extfrag."""
    owned = int(m.get_pageblock_migratetype(pfn) == start)
    m.log(L_EXTFRAG, pfn, order, current, 256 * start + mt, owned)


def count_block(m: Machine, start: int) -> tuple[int, int]:
    """Free pages, and movable pages (on the LRU or movable_ops), of a block."""
    free = movable = 0
    pfn = start
    while pfn < start + m.block_pages:
        page = m.heads.get(pfn)
        if page is None:
            pfn += 1
            continue
        if page.state == BUDDY:
            free += page.size
        elif page.state == ALLOC and page.attr & (A_ON_LRU | A_MOVABLE_OPS):
            movable += page.size
        pfn += page.size
    if m.movable_pages is not None:
        movable = m.movable_pages(start)
    return free, movable


def claim_whole_blocks(
    m: Machine, zone: Zone, pfn: int, current: int, order: int, start: int, mt: int
) -> int:
    """Claim a free chunk of block size or more: all its blocks change type."""
    del_from_free_list(m, zone, pfn, mt)
    account_freepages(zone, -(1 << current), mt)
    m.change_pageblock_range(pfn, current, start)
    expand(m, zone, pfn, order, current, start)
    account_freepages(zone, (1 << current) - (1 << order), start)
    m.ask("block_claimed", 0, zone.number, pfn, current, start, mt)
    return pfn


def rule_allows(m: Machine, free: int, movable: int, start: int, mt: int) -> bool:
    """Mainline's rule: half of the block is free or alike."""
    if start == MOVABLE:
        alike = movable
    else:
        alike = m.block_pages - free - movable if mt == MOVABLE else 0
    return free + alike >= m.block_pages // 2 or m.config.page_group_by_mobility_disabled


def block_pages(m: Machine, pfn: int) -> tuple[int, int]:
    """Free and movable pages of a block, which may lie in a larger chunk."""
    start = pfn - pfn % m.block_pages
    large = m.covering(start)
    if large is not None and large.order > m.config.pageblock_order:
        return (m.block_pages if large.state == BUDDY else 0), 0
    return count_block(m, start)


def try_to_claim_block(
    m: Machine, zone: Zone, pfn: int, current: int, order: int, start: int, mt: int, flags: int
) -> int:
    """Claim the block of candidate `pfn` (order `current`, type `mt`) for `start`; -1 if refused."""
    if m.config.evacuate and m.config.guard and m.is_isolated(pfn):
        return -1
    if m.config.kernel.refuses_highatomic_block and m.get_pageblock_migratetype(pfn) == HIGHATOMIC:
        return -1
    verdict = m.ask("try_to_claim_block", -1, zone.number, pfn, current, start, mt)
    if verdict == 0:
        return -1
    if current >= m.config.pageblock_order:
        return claim_whole_blocks(m, zone, pfn, current, order, start, mt)
    boost_watermark(m, zone, flags)
    block = block_inside(m, zone, pfn)
    if block < 0:
        return -1
    free, movable = count_block(m, block)
    claimed = verdict == 1 or rule_allows(m, free, movable, start, mt)
    m.log(L_EVAC_CLAIM, block, 256 * start + mt, free, movable, int(claimed))
    if not claimed:
        return -1
    move_freepages(m, zone, block, mt, start)
    m.set_pageblock_migratetype(block, start)
    if mt == MOVABLE and queues(m, start):
        queue_pageblock_evacuate(m, zone, block)
    m.ask("block_claimed", 0, zone.number, block, current, start, mt)
    return rmqueue_smallest(m, zone, order, start)


def rmqueue_claim(m: Machine, zone: Zone, order: int, start: int, flags: int) -> int:
    """Claim a block, largest buddies first, one candidate per order (`__rmqueue_claim`)."""
    smallest = order
    if order < m.config.pageblock_order and flags & AF_NOFRAGMENT:
        smallest = m.config.pageblock_order
    for current in range(m.config.max_page_order, smallest - 1, -1):
        mt = find_suitable_fallback(m, zone, current, start, True)
        if mt == -2:
            break
        if mt < 0:
            continue
        candidate = zone.free_area[current].free_list[mt].head()
        if m.config.region_steer_claims and start != MOVABLE:
            candidate = steered_candidate(m, zone, current, mt)
        pfn = try_to_claim_block(m, zone, candidate, current, order, start, mt, flags)
        if pfn >= 0:
            trace_extfrag(m, pfn, order, current, start, mt)
            return pfn
    return -1


def queues(m: Machine, start: int) -> bool:
    """Whether movable blocks that requests of this type take are to be evacuated."""
    wanted = {"both": (UNMOVABLE, RECLAIMABLE), "unmovable": (UNMOVABLE,), "reclaimable": (RECLAIMABLE,)}
    return start in wanted[m.config.claims]


def stolen_from(m: Machine, zone: Zone, pfn: int, order: int, start: int) -> None:
    """A page was stolen: its block is evacuated too, where that is asked for."""
    whole = order >= m.config.pageblock_order
    if m.config.on_steal and queues(m, start) and not whole and m.get_pageblock_migratetype(pfn) == MOVABLE:
        m.reached["opening: steal asks for its block"] += m.config.evacuate
        queue_pageblock_evacuate(m, zone, pfn - pfn % m.block_pages, movable=True)


def rmqueue_steal(m: Machine, zone: Zone, order: int, start: int) -> int:
    """Take the smallest other type's chunk that fits; its block keeps its type (`__rmqueue_steal`)."""
    for current in range(order, m.config.max_page_order + 1):
        mt = find_suitable_fallback(m, zone, current, start, False)
        if mt >= 0:
            pfn = zone.free_area[current].free_list[mt].head()
            page_del_and_expand(m, zone, pfn, order, current, mt)
            trace_extfrag(m, pfn, order, current, start, mt)
            stolen_from(m, zone, pfn, order, start)
            m.ask("page_stolen", 0, zone.number, pfn, order, start, mt)
            return pfn
    return -1


def rmqueue_turns(m: Machine, zone: Zone, order: int, mt: int, flags: int) -> int:
    """What a policy tries in the place of `__rmqueue`, turn by turn; -1 if nothing gives a page."""
    for turn in range(8):
        what = m.ask("rmqueue", mt, zone.number, order, mt, flags, turn)
        if what < 0:
            break
        if what == 16:
            pfn = rmqueue_claim(m, zone, order, mt, flags)
        elif what == 17:
            pfn = rmqueue_steal(m, zone, order, mt)
        else:
            pfn = rmqueue_smallest(m, zone, order, what)
        if pfn >= 0:
            return pfn
    return -1


def rmqueue_locked(m: Machine, zone: Zone, order: int, mt: int, flags: int, mode: Mode) -> tuple[int, Mode]:
    """`__rmqueue`: one chunk (-1 if none) and the mode to go on with under the same lock."""
    pfn, mode = rmqueue_modes(m, zone, order, mt, flags, mode)
    if pfn >= 0:
        take(m, pfn, order, mt)
        wake_region_worker(m, zone, pfn)
        wake_region_shrinker(m, zone, pfn, mt)
    return pfn, mode


def rmqueue_modes(m: Machine, zone: Zone, order: int, mt: int, flags: int, mode: Mode) -> tuple[int, Mode]:
    """What `__rmqueue` tries."""
    if m.policy is not None and "rmqueue" in m.policy.hooks:
        return rmqueue_turns(m, zone, order, mt, flags), mode
    if m.config.region_passes:
        return rmqueue_passes(m, zone, order, mt, flags), mode
    if m.config.region_steer_refills and mt == MOVABLE and mode is Mode.NORMAL:
        pfn = steered_refill(m, zone, order, flags)
        if pfn >= 0:
            return pfn, mode
    if flags & AF_CMA and zone.nr_free_cma > zone.nr_free // 2:
        pfn = rmqueue_smallest(m, zone, order, CMA)
        if pfn >= 0:
            return pfn, mode
    if mode is Mode.NORMAL:
        pfn = rmqueue_smallest(m, zone, order, mt)
        if pfn >= 0:
            return pfn, mode
    return rmqueue_fallbacks(m, zone, order, mt, flags, mode)


def rmqueue_fallbacks(
    m: Machine, zone: Zone, order: int, mt: int, flags: int, mode: Mode
) -> tuple[int, Mode]:
    """The modes after NORMAL, from `mode` on."""
    if mode in (Mode.NORMAL, Mode.CMA) and flags & AF_CMA:
        pfn = rmqueue_smallest(m, zone, order, CMA)
        if pfn >= 0:
            return pfn, Mode.CMA
    if mode is not Mode.STEAL:
        pfn = rmqueue_claim(m, zone, order, mt, flags)
        if pfn >= 0:
            return pfn, Mode.NORMAL
    if not flags & AF_NOFRAGMENT:
        pfn = rmqueue_steal(m, zone, order, mt)
        if pfn >= 0:
            return pfn, Mode.STEAL
    return -1, mode


def rmqueue_old(m: Machine, zone: Zone, order: int, mt: int, flags: int, uncounted: int) -> tuple[int, int]:
    """`__rmqueue` of 6.1: one chunk (-1 if none) and the type of the list it came from.

    `uncounted` are pages taken under this hold of the lock that NR_FREE_PAGES still counts.
    """
    if flags & AF_CMA and zone.nr_free_cma > (zone.nr_free + uncounted) // 2:
        pfn = rmqueue_smallest(m, zone, order, CMA)
        if pfn >= 0:
            return pfn, CMA
    while True:
        for source in (mt, CMA) if flags & AF_CMA else (mt,):
            pfn = rmqueue_smallest(m, zone, order, source)
            if pfn >= 0:
                return pfn, source
        if not fall_back_old(m, zone, order, mt, flags):
            return -1, mt


def fall_back_old(m: Machine, zone: Zone, order: int, start: int, flags: int) -> bool:
    """`__rmqueue_fallback` of 6.1: move something to `start`'s lists; False if no other type has anything."""
    orders = range(order, m.config.max_page_order + 1)
    if flags & AF_NOFRAGMENT and order < m.config.pageblock_order:
        orders = range(m.config.pageblock_order, m.config.max_page_order + 1)
    found = (o for o in reversed(orders) if find_suitable_fallback(m, zone, o, start, False) >= 0)
    current = next(found, -1)
    if current < 0:
        return False
    if start == MOVABLE and current > order and not should_try_claim_block(m, current, start):
        up = range(order, m.config.max_page_order)
        found = (o for o in up if find_suitable_fallback(m, zone, o, start, False) >= 0)
        current = next(found, m.config.max_page_order)
    mt = find_suitable_fallback(m, zone, current, start, False)
    if mt < 0:  # a policy that changes its mind
        return False
    pfn = zone.free_area[current].free_list[mt].head()
    stolen = steal_suitable_fallback(m, zone, pfn, current, start, flags)
    trace_extfrag(m, pfn, order, current, start, mt)
    if stolen:
        stolen_from(m, zone, pfn, order, start)
        m.ask("page_stolen", 0, zone.number, pfn, order, start, mt)
    return True


def steal_suitable_fallback(m: Machine, zone: Zone, pfn: int, current: int, start: int, flags: int) -> bool:
    """Bring a chunk to `start`'s lists, its block's free pages if that is allowed; whether no block changed its type."""
    old = m.get_pageblock_migratetype(pfn)
    verdict = m.ask("try_to_claim_block", -1, zone.number, pfn, current, start, old)
    whole = False
    if old != HIGHATOMIC and verdict != 0:
        whole = current >= m.config.pageblock_order
        if whole:
            m.change_pageblock_range(pfn, current, start)
            m.ask("block_claimed", 0, zone.number, pfn, current, start, old)
        else:
            boost_watermark(m, zone, flags)
            if should_try_claim_block(m, current, start):
                moved, claimed = steal_block(m, zone, pfn, current, start, old, verdict == 1)
                if moved:
                    return not claimed
    page = m.heads[pfn]
    move_to_free_list(m, zone, page, page.mt, start)
    return not whole


def steal_block(
    m: Machine, zone: Zone, pfn: int, current: int, start: int, old: int, certainly: bool
) -> tuple[bool, bool]:
    """Move a block's free pages; retype it if half of it is free or alike: (whether any moved, whether it was retyped)."""
    free, movable = move_freepages_block_old(m, zone, pfn, old, start)
    if free == 0:
        return False, False
    block = pfn - pfn % m.block_pages
    enough = certainly or rule_allows(m, free, movable, start, old)
    m.log(L_EVAC_CLAIM, block, 256 * start + old, free, movable, int(enough))
    if enough:
        m.set_pageblock_migratetype(block, start)
        if old == MOVABLE and queues(m, start):
            queue_pageblock_evacuate(m, zone, block)
        m.ask("block_claimed", 0, zone.number, block, current, start, old)
    return True, enough


def rmqueue_one(m: Machine, zone: Zone, order: int, mt: int, flags: int) -> int:
    """A single `__rmqueue`, whichever kernel's."""
    if m.config.kernel.claims:
        return rmqueue_locked(m, zone, order, mt, flags, Mode.NORMAL)[0]
    pfn = rmqueue_old(m, zone, order, mt, flags, 0)[0]
    if pfn >= 0:
        take(m, pfn, order, mt)
    return pfn
