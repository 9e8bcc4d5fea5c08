# SPDX-License-Identifier: GPL-2.0-or-later
"""Regions in the oracle: what every chunk in use was taken for, and everything else counted anew whenever it is asked for.

Only two things have a history: how often regions became tainted and clean again.
"""

from __future__ import annotations

from dataclasses import dataclass

from .constants import BUDDY, HIGHATOMIC, MOVABLE, PCP, RECLAIMABLE, RESERVED, UNMOVABLE
from .machine import Machine, RegionWork
from .zone import Page, PageList, Zone

FULL, EMPTY = 0, 5
EVENTS = (
    "region_evacuated_blocks", "region_evacuated_pages", "region_evacuation_ns", "region_shrunk_pages",
)  # fmt: skip


@dataclass
class Region:
    """A region as it is now. `used` are pageblocks by the type that a page in them was taken for."""

    zone: int
    start: int
    end: int
    total: int
    reserved: int
    free: int
    used: tuple[int, int, int]
    highatomic: int
    free_pages: int
    contig: int

    @property
    def tainted(self) -> bool:
        """Whether it holds anything that is not movable."""
        return bool(self.used[UNMOVABLE] or self.used[RECLAIMABLE] or self.highatomic)

    def fullness(self, cuts: tuple[int, int, int]) -> int:
        """Its class, -1 without any pages."""
        usable = self.total - self.reserved
        if not usable:
            return -1
        if self.free in (0, usable):
            return EMPTY if self.free else FULL
        return 1 + sum(self.free / usable * 100 >= cut for cut in cuts)


def spans(m: Machine, zone: Zone) -> list[tuple[int, int]]:
    """Where a zone's regions begin and end."""
    size = 1 << m.config.region_order
    starts = [zone.start_pfn, *range(zone.start_pfn // size * size + size, zone.end_pfn, size)]
    return list(zip(starts, [*starts[1:], zone.end_pfn], strict=True))


def look(m: Machine, zone: Zone, start: int, end: int) -> Region:
    """Count a region."""
    first, last = start // m.block_pages, -(-end // m.block_pages)
    held = [block_content(m, block * m.block_pages) for block in range(first, last)]
    return Region(
        zone.number,
        start,
        end,
        last - first,
        sum(content["none"] == m.block_pages for content in held),
        sum(content["free"] == m.block_pages for content in held),
        tuple(sum(content[mt] > 0 for content in held) for mt in (UNMOVABLE, MOVABLE, RECLAIMABLE)),  # type: ignore[arg-type]
        sum(m.blocks[block].mt == HIGHATOMIC for block in range(first, last)),
        sum(content["free"] for content in held),
        sum(max(min(at + pages, end) - max(at, start), 0) for at, pages in m.contig.items()),
    )


def block_content(m: Machine, start: int) -> dict[int | str, int]:
    """A pageblock's pages by what they are in use for; "free"; "none": there is no such page."""
    content: dict[int | str, int] = {"free": 0, "none": 0, UNMOVABLE: 0, MOVABLE: 0, RECLAIMABLE: 0}
    pfn = start
    while pfn < start + m.block_pages:
        page = m.covering(pfn)
        end = min(page.pfn + page.size if page else pfn + 1, start + m.block_pages)
        if page is None or page.state == RESERVED:
            content["none"] += end - pfn
        elif page.state == BUDDY:
            content["free"] += end - pfn
        else:
            content[m.taken_for[page.pfn]] += end - pfn
        pfn = end
    return content


def regions(m: Machine) -> list[Region]:
    """All regions, zone by zone, as they are now."""
    return [look(m, zone, *span) for zone in m.zones for span in spans(m, zone)]


def holds_unmovable(m: Machine, zone: Zone, pfn: int) -> bool:
    """Whether the region of `pfn` holds a page that was taken for what is not movable, or a highatomic block."""
    start, end = next(span for span in spans(m, zone) if span[0] <= pfn < span[1])
    if any(start <= head < end and mt != MOVABLE for head, mt in m.taken_for.items()):
        return True
    return any(m.blocks[b].mt == HIGHATOMIC for b in range(start // m.block_pages, -(-end // m.block_pages)))


def note(m: Machine, pfn: int, mt: int | None) -> None:
    """The chunk at `pfn` is in use for `mt` from now on; None: for nothing."""
    if not m.config.region_order or m.taken_for.get(pfn) == mt:
        return
    if mt is None:
        del m.taken_for[pfn]
    else:
        m.taken_for[pfn] = mt
    compare(m, pfn)


def region_list(m: Machine, pfn: int, order: int, mt: int) -> PageList:
    """The free list of an order and type of the region of `pfn`."""
    key = m.zone_of(pfn).number, pfn >> m.config.region_order, order, mt
    return m.region_lists.setdefault(key, PageList())


def take(m: Machine, pfn: int, order: int, mt: int) -> None:
    """A chunk has left the free lists for a request of type `mt`; it is nobody's page yet, but in use."""
    if m.config.region_order:
        m.heads[pfn] = Page(pfn, order, PCP, mt)
        note(m, pfn, mt)


def note_part(m: Machine, pfn: int, part: int) -> None:
    """What begins at `part` was a part of the chunk at `pfn` so far."""
    if m.config.region_order:
        m.taken_for[part] = m.taken_for[pfn]


def compare(m: Machine, pfn: int) -> None:
    """Count the region of `pfn` if it has become tainted, or clean again."""
    if not m.config.region_order:
        return
    zone = m.zone_of(pfn)
    place = zone.number, pfn >> m.config.region_order
    tainted = holds_unmovable(m, zone, pfn)
    if tainted and place not in m.tainted:
        m.tainted.add(place)
        m.reached["region tainted"] += 1
    elif not tainted and place in m.tainted:
        m.tainted.remove(place)
        m.reached["region cleaned"] += 1


def row(m: Machine) -> list[int]:
    """Everything that is known of regions, as the fast model's row has it."""
    out = [m.reached["region tainted"], m.reached["region cleaned"], *(m.events[name] for name in EVENTS)]
    for shrink in m.shrinks:
        out += (shrink.due, shrink.busy)
    for region in regions(m):
        fullness = region.fullness(m.config.region_fullness)
        work = m.region_work.get((region.zone, region.start >> m.config.region_order), RegionWork())
        out += (
            region.zone, region.start, region.end, region.total, region.reserved, region.free, *region.used,
            region.highatomic, region.free_pages, int(region.tainted), fullness, work.busy, work.cursor, work.rests_until,
            region.contig,
        )  # fmt: skip
    return out
