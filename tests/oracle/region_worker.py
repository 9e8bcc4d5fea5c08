# SPDX-License-Identifier: GPL-2.0-or-later
"""The oracle's workers of tainted regions."""

from __future__ import annotations

from .constants import MOVABLE, RECLAIMABLE, UNMOVABLE
from .irqwork import queue_pageblock_evacuate, zone_unlock
from .machine import Machine, RegionWork
from .regions import Region, block_content, look, spans
from .zone import Zone


def recovered(m: Machine, region: Region) -> bool:
    """Whether there is room enough."""
    return (
        region.free >= m.config.region_stop_blocks
        or region.free_pages >= m.config.region_stop_pages * m.block_pages
    )


def low(m: Machine, region: Region) -> bool:
    """Whether a tainted region has too little room."""
    few = region.free <= m.config.region_start_blocks
    few = few or region.free_pages < m.config.region_start_pages * m.block_pages
    return region.tainted and few and not recovered(m, region)


def place(m: Machine, zone: Zone, pfn: int) -> tuple[RegionWork, Region]:
    """The work and the present state of the region of `pfn`, or of the part of its block that lies in the zone."""
    pfn = max(pfn, zone.start_pfn)
    key = zone.number, pfn >> m.config.region_order
    span = next(span for span in spans(m, zone) if span[0] <= pfn < span[1])
    return m.region_work.setdefault(key, RegionWork()), look(m, zone, *span)


def next_block(m: Machine, work: RegionWork, region: Region) -> int | None:
    """The next block with movable pages alone, but not one huge page, from the cursor on and around."""
    first = region.start // m.block_pages
    order = [*range(work.cursor, region.total), *range(work.cursor)]
    for number in order:
        content = block_content(m, (first + number) * m.block_pages)
        held = m.covering((first + number) * m.block_pages)
        huge = held is not None and held.size >= m.block_pages
        if content[MOVABLE] and not content[UNMOVABLE] and not content[RECLAIMABLE] and not huge:
            work.cursor = (number + 1) % region.total
            return int((first + number) * m.block_pages)
    return None


def rest(m: Machine, work: RegionWork) -> None:
    """Leave it alone for a while."""
    work.rests_until = m.now + m.config.region_cooldown_ns
    m.reached["region rests"] += 1


def queue(m: Machine, zone: Zone, work: RegionWork, region: Region, nth: int) -> None:
    """Queue the next block, the so manyth."""
    pfn = next_block(m, work, region)
    if pfn is None:
        rest(m, work)
        return
    before = len(m.free_items)
    queue_pageblock_evacuate(m, zone, pfn, asked=True)
    if len(m.free_items) < before:
        m.items[m.pending[zone.node][0]].movable = True
        work.busy = nth


def wake(m: Machine, zone: Zone, pfn: int) -> None:
    """Begin with the region of `pfn`, if there is reason to."""
    if not m.config.region_worker:
        return
    work, region = place(m, zone, pfn)
    if not work.busy and m.now >= work.rests_until and low(m, region):
        m.reached["region work"] += 1
        queue(m, zone, work, region, 1)


def wake_all(m: Machine, zone: Zone, tainted: list[Region]) -> None:
    """Begin with all tainted regions that need it."""
    for region in tainted:
        wake(m, zone, region.start)


def done(m: Machine, zone: Zone, pfn: int, moved: int) -> None:
    """An evacuation has ended."""
    if not m.config.region_worker:
        return
    work, region = place(m, zone, pfn)
    if not work.busy:
        return
    nth, work.busy = work.busy, 0
    if not moved or nth == region.total:
        rest(m, work)
    elif region.tainted and not recovered(m, region):
        queue(m, zone, work, region, nth + 1)
        zone_unlock(m, zone)
