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
from .watermark import boost_watermark
from .zone import Zone


class Mode(Enum):
    """`enum rmqueue_mode`: where the search starts; remembered within one hold of the zone lock."""

    NORMAL = auto()
    CMA = auto()
    CLAIM = auto()
    STEAL = auto()


def should_try_claim_block(m: Machine, order: int, start: int) -> bool:
    """Whether a request of type `start` may claim a block through a buddy of this order."""
    if order >= m.config.pageblock_order or order >= m.config.pageblock_order // 2:
        return True
    return start in (UNMOVABLE, RECLAIMABLE) or m.config.page_group_by_mobility_disabled


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
    return pfn


def try_to_claim_block(
    m: Machine, zone: Zone, pfn: int, current: int, order: int, start: int, mt: int, flags: int
) -> int:
    """Claim the block of candidate `pfn` (order `current`, type `mt`) for `start`; -1 if refused."""
    if m.config.evacuate and m.is_isolated(pfn):
        return -1
    if m.config.kernel.refuses_highatomic_block and m.get_pageblock_migratetype(pfn) == HIGHATOMIC:
        return -1
    if current >= m.config.pageblock_order:
        return claim_whole_blocks(m, zone, pfn, current, order, start, mt)
    boost_watermark(m, zone, flags)
    block = block_inside(m, zone, pfn)
    if block < 0:
        return -1
    free, movable = count_block(m, block)
    if start == MOVABLE:
        alike = movable
    else:
        alike = m.block_pages - free - movable if mt == MOVABLE else 0
    claimed = free + alike >= m.block_pages // 2 or m.config.page_group_by_mobility_disabled
    m.log(L_EVAC_CLAIM, block, 256 * start + mt, free, movable, int(claimed))
    if not claimed:
        return -1
    move_freepages(m, zone, block, mt, start)
    m.set_pageblock_migratetype(block, start)
    if mt == MOVABLE and start in (UNMOVABLE, RECLAIMABLE):
        queue_pageblock_evacuate(m, zone, block)
    return rmqueue_smallest(m, zone, order, start)


def rmqueue_claim(m: Machine, zone: Zone, order: int, start: int, flags: int) -> int:
    """Claim a block, largest buddies first, one candidate per order (`__rmqueue_claim`)."""
    smallest = order
    if order < m.config.pageblock_order and flags & AF_NOFRAGMENT:
        smallest = m.config.pageblock_order
    for current in range(m.config.max_page_order, smallest - 1, -1):
        if not should_try_claim_block(m, current, start):
            break
        mt = first_fallback(zone, current, start)
        if mt < 0:
            continue
        candidate = zone.free_area[current].free_list[mt].head()
        pfn = try_to_claim_block(m, zone, candidate, current, order, start, mt, flags)
        if pfn >= 0:
            trace_extfrag(m, pfn, order, current, start, mt)
            return pfn
    return -1


def rmqueue_steal(m: Machine, zone: Zone, order: int, start: int) -> int:
    """Take the smallest other type's chunk that fits; its block keeps its type (`__rmqueue_steal`)."""
    for current in range(order, m.config.max_page_order + 1):
        mt = first_fallback(zone, current, start)
        if mt >= 0:
            pfn = zone.free_area[current].free_list[mt].head()
            page_del_and_expand(m, zone, pfn, order, current, mt)
            trace_extfrag(m, pfn, order, current, start, mt)
            return pfn
    return -1


def rmqueue_locked(m: Machine, zone: Zone, order: int, mt: int, flags: int, mode: Mode) -> tuple[int, Mode]:
    """`__rmqueue`: one chunk (-1 if none) and the mode to go on with under the same lock."""
    if flags & AF_CMA and zone.nr_free_cma > zone.nr_free // 2:
        pfn = rmqueue_smallest(m, zone, order, CMA)
        if pfn >= 0:
            return pfn, mode
    if mode is Mode.NORMAL:
        pfn = rmqueue_smallest(m, zone, order, mt)
        if pfn >= 0:
            return pfn, mode
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
    orders = [o for o in range(order, m.config.max_page_order + 1) if first_fallback(zone, o, start) >= 0]
    if flags & AF_NOFRAGMENT:
        orders = [o for o in orders if o >= m.config.pageblock_order or order >= m.config.pageblock_order]
    if not orders:
        return False
    current = orders[-1]
    if start == MOVABLE and current > order and not should_try_claim_block(m, current, start):
        current = orders[0]
    mt = first_fallback(zone, current, start)
    pfn = zone.free_area[current].free_list[mt].head()
    steal_suitable_fallback(m, zone, pfn, current, start, flags)
    trace_extfrag(m, pfn, order, current, start, mt)
    return True


def steal_suitable_fallback(m: Machine, zone: Zone, pfn: int, current: int, start: int, flags: int) -> None:
    """Bring a chunk to `start`'s lists: its whole block's free pages if that is allowed, else it alone."""
    old = m.get_pageblock_migratetype(pfn)
    if old != HIGHATOMIC and current >= m.config.pageblock_order:
        m.change_pageblock_range(pfn, current, start)
    elif old != HIGHATOMIC:
        boost_watermark(m, zone, flags)
        if should_try_claim_block(m, current, start) and steal_block(m, zone, pfn, start, old):
            return
    page = m.heads[pfn]
    move_to_free_list(m, zone, page, page.mt, start)


def steal_block(m: Machine, zone: Zone, pfn: int, start: int, old: int) -> bool:
    """Move a block's free pages; retype it if half of it is free or alike. False if nothing was moved."""
    free, movable = move_freepages_block_old(m, zone, pfn, old, start)
    if free == 0:
        return False
    block = pfn - pfn % m.block_pages
    alike = movable if start == MOVABLE else m.block_pages - free - movable if old == MOVABLE else 0
    enough = free + alike >= m.block_pages // 2 or m.config.page_group_by_mobility_disabled
    m.log(L_EVAC_CLAIM, block, 256 * start + old, free, movable, int(enough))
    if enough:
        m.set_pageblock_migratetype(block, start)
        if old == MOVABLE and start != MOVABLE:
            queue_pageblock_evacuate(m, zone, block)
    return True


def rmqueue_one(m: Machine, zone: Zone, order: int, mt: int, flags: int) -> int:
    """A single `__rmqueue`, whichever kernel's."""
    if m.config.kernel.claims:
        return rmqueue_locked(m, zone, order, mt, flags, Mode.NORMAL)[0]
    return rmqueue_old(m, zone, order, mt, flags, 0)[0]
