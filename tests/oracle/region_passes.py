# SPDX-License-Identifier: GPL-2.0-or-later
"""What the oracle takes from which region: steering, and `__rmqueue` in passes. Regions are counted anew at every question."""

from __future__ import annotations

from collections.abc import Iterator

from .buddy import (
    block_inside,
    move_freepages,
    page_del_and_expand,
    rmqueue_smallest,
)
from .constants import (
    AF_CMA,
    AF_NOFRAGMENT,
    CMA,
    L_EVAC_CLAIM,
    L_ZONE_LOCKED,
    MOVABLE,
    RECLAIMABLE,
    UNMOVABLE,
)
from .machine import Machine
from .region_worker import wake_all
from .regions import EMPTY, FULL, Region, look, spans
from .watermark import boost_watermark
from .zone import Zone

AF_CHEAP = 0x1000


def region_at(m: Machine, zone: Zone, pfn: int) -> Region:
    """The region of a page."""
    return look(m, zone, *next(span for span in spans(m, zone) if span[0] <= pfn < span[1]))


def by_fullness(m: Machine, zone: Zone, tainted: bool, classes: range) -> Iterator[Region]:
    """The zone's clean or tainted regions of some classes, the fullest first, then by address."""
    found = [look(m, zone, *span) for span in spans(m, zone)]
    cuts = m.config.region_fullness
    return iter(
        sorted(
            (r for r in found if r.tainted == tainted and r.fullness(cuts) in classes),
            key=lambda r: r.fullness(cuts),
        )
    )


def own_list(m: Machine, zone: Zone, region: Region, order: int, mt: int) -> list[int]:
    """A region's own free list."""
    key = (zone.number, region.start >> m.config.region_order, order, mt)
    return list(m.region_lists[key]) if key in m.region_lists else []


def smallest(m: Machine, zone: Zone, region: Region, order: int, mt: int) -> tuple[int, int]:
    """The first chunk of a region's smallest sufficient list, and its order; (-1, -1) if there is none."""
    for current in range(order, m.config.max_page_order + 1):
        if pages := own_list(m, zone, region, current, mt):
            return pages[0], current
    return -1, -1


def find(
    m: Machine, zone: Zone, tainted: bool, classes: range, order: int, mt: int, reserve: bool = False
) -> tuple[int, int]:
    """The same over regions, fullest first."""
    for region in by_fullness(m, zone, tainted, classes):
        kept = max(m.config.region_reserve_least, region.total * m.config.region_reserve_percent // 100)
        if reserve and region.free <= kept:
            continue
        pfn, current = smallest(m, zone, region, order, mt)
        if pfn >= 0:
            return pfn, current
    return -1, -1


ALL = range(FULL, EMPTY + 1)


def take(m: Machine, zone: Zone, found: tuple[int, int], order: int, mt: int, which: str) -> int:
    """Take what was found off its list, for a pass."""
    pfn, current = found
    if pfn >= 0:
        page_del_and_expand(m, zone, pfn, order, current, mt)
        m.log(L_ZONE_LOCKED, pfn, order, mt)
        m.reached[f"pass {which}"] += 1
    return pfn


def claim_free_block(
    m: Machine, zone: Zone, tainted: bool, first: int, order: int, mt: int, which: str
) -> int:
    """Claim a whole free block of a region of class `first` or emptier."""
    from .fallback import claim_whole_blocks, trace_extfrag

    for source in (MOVABLE, RECLAIMABLE if mt == UNMOVABLE else UNMOVABLE):
        whole = max(order, m.config.pageblock_order)
        pfn, current = find(m, zone, tainted, range(first, EMPTY + 1), whole, source)
        if pfn >= 0:
            claim_whole_blocks(m, zone, pfn, current, order, mt, source)
            trace_extfrag(m, pfn, order, current, mt, source)
            m.reached[f"pass {which}"] += 1
            return pfn
    return -1


def claim_smaller(m: Machine, zone: Zone, order: int, mt: int, flags: int) -> int:
    """Pass 2b."""
    for region in by_fullness(m, zone, True, ALL):
        for current in range(m.config.pageblock_order - 1, order - 1, -1):
            pages = own_list(m, zone, region, current, MOVABLE)
            if pages:
                pfn = claim_candidate(m, zone, pages[0], current, order, mt, flags)
                if pfn >= 0:
                    m.reached["pass 2b"] += 1
                    return pfn
                break
    return -1


def claim_candidate(m: Machine, zone: Zone, pfn: int, current: int, order: int, mt: int, flags: int) -> int:
    """Claim one block through a chunk of it."""
    from .fallback import count_block, rule_allows, trace_extfrag

    if m.config.evacuate and m.is_isolated(pfn):
        return -1
    boost_watermark(m, zone, flags)
    block = block_inside(m, zone, pfn)
    if block < 0:
        return -1
    free, movable = count_block(m, block)
    claimed = not m.config.region_half_rule or rule_allows(m, free, movable, mt, MOVABLE)
    m.log(L_EVAC_CLAIM, block, 256 * mt + MOVABLE, free, movable, int(claimed))
    if not claimed:
        return -1
    move_freepages(m, zone, block, MOVABLE, mt)
    m.set_pageblock_migratetype(block, mt)
    pfn, found = smallest(m, zone, region_at(m, zone, block), order, mt)
    page_del_and_expand(m, zone, pfn, order, found, mt)
    m.log(L_ZONE_LOCKED, pfn, order, mt)
    trace_extfrag(m, pfn, order, current, mt, MOVABLE)
    return pfn


def borrow(m: Machine, zone: Zone, order: int, mt: int, source: int, which: str) -> int:
    """Passes 2c and 2d."""
    from .fallback import trace_extfrag

    pfn, current = find(m, zone, True, ALL, order, source)
    if pfn >= 0:
        page_del_and_expand(m, zone, pfn, order, current, source)
        trace_extfrag(m, pfn, order, current, mt, source)
        m.reached[f"pass {which}"] += 1
    return pfn


def tainted_pages(m: Machine, zone: Zone, order: int, mt: int, flags: int) -> int:
    """Passes 1 to 2d."""
    other = RECLAIMABLE if mt == UNMOVABLE else UNMOVABLE
    pfn = take(m, zone, find(m, zone, True, ALL, order, mt), order, mt, "1")
    if pfn < 0:
        pfn = claim_free_block(m, zone, True, FULL, order, mt, "2")
    few = sum(len(spans(m, each)) for each in m.zones) <= m.config.region_pack_above
    if pfn >= 0 or (flags & AF_NOFRAGMENT and few):
        return pfn
    if order < m.config.pageblock_order:
        pfn = claim_smaller(m, zone, order, mt, flags)
    if pfn < 0:
        pfn = borrow(m, zone, order, mt, other, "2c")
    return pfn if pfn >= 0 else borrow(m, zone, order, mt, MOVABLE, "2d")


def may_taint(m: Machine, zone: Zone, flags: int) -> bool:
    """Whether pass 3 is open to the request."""
    if flags & AF_NOFRAGMENT and not m.config.region_taint_nofragment:
        return False
    if flags & AF_CHEAP and any(region.used[MOVABLE] for region in by_fullness(m, zone, True, ALL)):
        m.reached["tainting refused"] += 1
        return False
    return True


def taint(m: Machine, zone: Zone, order: int, mt: int) -> int:
    """Pass 3."""
    pfn = claim_free_block(m, zone, False, EMPTY, order, mt, "3")
    if pfn < 0:
        pfn = take(m, zone, find(m, zone, False, ALL, order, mt), order, mt, "3")
    return pfn if pfn >= 0 else claim_free_block(m, zone, False, FULL, order, mt, "3")


def movable_pages(m: Machine, zone: Zone, order: int, flags: int) -> int:
    """A movable request."""
    pfn = take(m, zone, find(m, zone, False, ALL, order, MOVABLE), order, MOVABLE, "clean")
    if pfn < 0:
        pfn = take(m, zone, find(m, zone, True, ALL, order, MOVABLE, reserve=True), order, MOVABLE, "shared")
    if pfn < 0 and not flags & AF_NOFRAGMENT:
        pfn = take(m, zone, find(m, zone, True, ALL, order, MOVABLE), order, MOVABLE, "reserve")
    return pfn


def rmqueue_passes(m: Machine, zone: Zone, order: int, mt: int, flags: int) -> int:
    """`__rmqueue` over regions."""
    from .fallback import Mode, rmqueue_fallbacks

    if flags & AF_CMA and zone.nr_free_cma > zone.nr_free // 2:
        pfn = rmqueue_smallest(m, zone, order, CMA)
        if pfn >= 0:
            return pfn
    if mt == MOVABLE:
        pfn = movable_pages(m, zone, order, flags)
    else:
        pfn = tainted_pages(m, zone, order, mt, flags)
        if pfn < 0 and m.config.region_worker:
            wake_all(m, zone, list(by_fullness(m, zone, True, ALL)))
        if pfn < 0 and not may_taint(m, zone, flags):
            return -1
        if pfn < 0:
            pfn = taint(m, zone, order, mt)
    return pfn if pfn >= 0 else rmqueue_fallbacks(m, zone, order, mt, flags, Mode.NORMAL)[0]


def steered_candidate(m: Machine, zone: Zone, order: int, mt: int) -> int:
    """Which entry of a list an unmovable or reclaimable request would claim."""
    pages = list(zone.free_area[order].free_list[mt])
    near = pages[: m.config.region_steer_claims + 1]
    return next((pfn for pfn in near if region_at(m, zone, pfn).tainted), pages[0])


def steered_refill(m: Machine, zone: Zone, order: int, flags: int) -> int:
    """The whole block of the fullest clean region with one, if it is near the front of the list; -1: as mainline."""
    if flags & AF_CMA and zone.nr_free_cma > zone.nr_free // 2:
        return -1
    lists = ((o, zone.free_area[o].free_list[MOVABLE]) for o in range(order, m.config.max_page_order + 1))
    current, pages = next(((o, list(pages)) for o, pages in lists if len(pages)), (-1, []))
    if current < m.config.pageblock_order:
        return -1
    wanted = next(by_fullness(m, zone, False, range(FULL + 1, EMPTY)), None)
    for pfn in pages[: m.config.region_steer_refills]:
        if wanted is not None and wanted.start <= pfn < wanted.end:
            page_del_and_expand(m, zone, pfn, order, current, MOVABLE)
            m.log(L_ZONE_LOCKED, pfn, order, MOVABLE)
            m.reached["refill steered"] += 1
            return pfn
    return -1
