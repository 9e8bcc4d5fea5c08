# SPDX-License-Identifier: GPL-2.0-or-later
"""The one form of scaling an allocator's state: each zone of the new machine is copies of units of a zone of the recorded one.

A unit is an aligned run of pages that no chunk reaches out of. Copies stand one behind the other; one that is not whole has units
evenly spread over the recorded zone. So the shares of a zone stay: of pageblocks by type, mixed ones, free chunks by order, pages
in use. A free list has the copies' entries in turn: the first of each, then the second of each. Of a per-CPU list's pages the
first copy's come first. A copy's CPUs follow those of the copy before it, modulo the new machine's. Copies repeat with the
recorded zone's period: what depends on longer distances is not scaled, nor is the order
of LRU lists.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from kevacuate.kernel.migratetypes import MIGRATE_HIGHATOMIC
from kevacuate.kernel.pageflags import KPF_NOPAGE, absent_pages
from kevacuate.recording import AllocatorState
from kevacuate.recording.state import Blocks, FreePages, PcpFields, PcpPages, ZoneState

Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]
Table = TypeVar("Table", FreePages, Blocks, PcpPages)
COUNTS = ("present", "managed", "nr_free", "nr_reserved_highatomic", "nr_free_highatomic")
"""Fields of a zone that whole copies multiply."""


class Copied(NamedTuple):
    """Rows of a recorded zone's table in the new zone: which row each is, how far it is moved, and which copy it is of."""

    row: Ints
    shift: Ints
    copy: Ints


class Tile(NamedTuple):
    """A zone of the new machine, and what it is made of.

    Attributes
    ----------
    source : int
        Index of the recorded zone.
    target, name, start_pfn, spanned
        The new zone's :class:`kevacuate.recording.ZoneState`.
    units : int64[units]
        First pfns of the recorded zone's units, ascending.
    unit : int
        Pages in a unit.
    """

    source: int
    target: int
    name: str
    start_pfn: int
    spanned: int
    units: Ints
    unit: int

    @property
    def start(self) -> int:
        """First pfn of the first unit."""
        return self.start_pfn // self.unit * self.unit

    @property
    def nr_units(self) -> int:
        """Units of the new zone."""
        return -(-(self.start_pfn + self.spanned - self.start) // self.unit)

    @property
    def rest(self) -> Ints:
        """The units that the last copy has, which is not whole: evenly spread."""
        units = len(self.units)
        return np.arange(self.nr_units % units) * units // max(self.nr_units % units, 1)

    def copied(self, pfn: npt.NDArray[Any]) -> Copied:
        """Where the rows at these pfns, all of the recorded zone, go; those outside its units go nowhere."""
        pfn, whole, units = pfn.astype(np.int64), self.nr_units // len(self.units), len(self.units)
        at = np.maximum(np.searchsorted(self.units, pfn, "right") - 1, 0)
        inside = (pfn >= self.units[at]) & (pfn < self.units[at] + self.unit)
        times = np.where(inside, whole + np.isin(at, self.rest), 0)
        row = np.repeat(np.arange(len(pfn)), times)
        copy = np.arange(len(row)) - np.repeat(np.cumsum(times) - times, times)
        place = np.where(copy < whole, at[row], np.searchsorted(self.rest, at[row]))
        return Copied(row, self.start + (copy * units + place) * self.unit - self.units[at[row]], copy)

    def moved(self, pfn: int, number: int) -> int:
        """The pfn in the first copy (*number* 0) or in the last (-1); outside the units as it is."""
        shift = self.copied(np.array([pfn])).shift
        return pfn + int(shift[number]) if len(shift) else pfn

    def parts(self) -> Iterator[tuple[int, Ints]]:
        """First pfn of each copy, and which units it has."""
        units = len(self.units)
        for at in range(0, self.nr_units, units):
            yield self.start + at * self.unit, np.arange(units) if at + units <= self.nr_units else self.rest


def tiled(state: AllocatorState, tiles: Sequence[Tile], cpus: int, new_cpus: int) -> AllocatorState:
    """The state on a machine with these zones and CPUs; marks, reserves and the bounds of per-CPU lists stay as recorded.

    *tiles* are the new zones in their order; *cpus* is how many CPUs were recorded.
    """
    free = _table(state.free, tiles, lambda rows, of: (rows, (of.copy, of.row, rows.mt, rows.order)))
    blocks = _table(state.blocks, tiles, lambda rows, _: (rows, (rows.pfn,)))

    def on_cpus(rows: PcpPages, of: Copied) -> tuple[PcpPages, tuple[npt.NDArray[Any], ...]]:
        cpu = ((rows.cpu + of.copy * cpus) % new_cpus).astype(np.int16)
        return rows._replace(cpu=cpu), (of.row, of.copy, rows.pindex, cpu)

    pages = max(tile.start_pfn + tile.spanned for tile in tiles)
    flags = _words(state.page_flags, tiles, pages, 1 << KPF_NOPAGE)
    absent = np.zeros(pages, np.bool_) if flags is None else absent_pages(flags)
    known = {zone.index: zone for zone in state.zones}
    return replace(
        state,
        ordinal=-1,
        lru=None,
        reclaim={},
        zones=tuple(_zone(known[tile.source], tile, free, blocks, absent) for tile in tiles),
        free=free,
        blocks=blocks,
        pcp=_fields(state.pcp, tiles, cpus, new_cpus),
        pcp_pages=_table(state.pcp_pages, tiles, on_cpus),
        page_flags=flags,
        page_count=_words(state.page_count, tiles, pages, 0),
    )


def _table(
    table: Table,
    tiles: Sequence[Tile],
    arranged: Callable[[Table, Copied], tuple[Table, tuple[npt.NDArray[Any], ...]]],
) -> Table:
    """The table's rows in the new zones; *arranged* gives them their last form, and the keys that order them, the last first."""
    parts = []
    for tile in tiles:
        mine = np.flatnonzero(table.zone == tile.source)
        of = tile.copied(table.pfn[mine])
        columns: list[Any] = [np.asarray(column)[mine][of.row] for column in table]
        rows = type(table)(*columns)
        zone = np.full(len(of.row), tile.target, np.int16)
        rows, keys = arranged(rows._replace(zone=zone, pfn=rows.pfn.astype(np.int64) + of.shift), of)
        by = np.lexsort(keys)
        parts.append([column[by] for column in rows])
    whole: list[Any] = [np.concatenate(columns) for columns in zip(*parts, strict=True)]
    return type(table)(*whole)


def _words(words: Words | None, tiles: Sequence[Tile], pages: int, absent: int) -> Words | None:
    """A word a page, *absent* where no copy has one."""
    if words is None:
        return None
    out = np.full(pages, absent, np.uint64)
    for tile in tiles:
        reach = np.full(max(len(words), int(tile.units[-1]) + tile.unit), absent, np.uint64)
        reach[: len(words)] = words
        own = reach[tile.units[:, None] + np.arange(tile.unit)]
        for at, which in tile.parts():
            room = out[at : at + len(which) * tile.unit]
            room[:] = own[which].ravel()[: len(room)]
    return out


def _fields(pcp: PcpFields, tiles: Sequence[Tile], cpus: int, new_cpus: int) -> PcpFields:
    """The per-CPU lists' fields: each CPU has those of the CPU that it is a copy of."""
    row_of = {place: row for row, place in enumerate(zip(pcp.zone.tolist(), pcp.cpu.tolist(), strict=True))}
    found = [
        (tile.target, cpu, row_of[tile.source, cpu % cpus])
        for tile in tiles
        for cpu in range(new_cpus)
        if (tile.source, cpu % cpus) in row_of
    ]
    zone, cpu, row = np.array(found, np.int64).reshape(-1, 3).T
    columns = PcpFields._make(np.asarray(column)[row] for column in pcp)
    return columns._replace(zone=zone.astype(np.int16), cpu=cpu.astype(np.int16))


def _zone(
    source: ZoneState, tile: Tile, free: FreePages, blocks: Blocks, absent: npt.NDArray[np.bool_]
) -> ZoneState:
    """The new zone with what it holds; compaction's scanners are in the first copy and in the last one."""
    copies, rest = divmod(tile.nr_units, len(tile.units))
    if rest == 0 and source.spanned <= len(tile.units) * tile.unit:
        counts = {name: getattr(source, name) * copies for name in COUNTS}
    else:
        mine, sizes = free.zone == tile.target, np.left_shift(1, free.order.astype(np.int64))
        reserved = (blocks.zone == tile.target) & (blocks.mt == MIGRATE_HIGHATOMIC)
        block = int(np.diff(blocks.pfn).min(initial=tile.unit))
        gone = int(absent[tile.start_pfn : tile.start_pfn + tile.spanned].sum())
        found = (
            tile.spanned, tile.spanned - gone, sizes[mine].sum(), reserved.sum() * block,
            sizes[mine & (free.mt == MIGRATE_HIGHATOMIC)].sum(),
        )  # fmt: skip
        counts = {name: int(count) for name, count in zip(COUNTS, found, strict=True)}
    return replace(
        source,
        index=tile.target,
        name=tile.name,
        start_pfn=tile.start_pfn,
        spanned=tile.spanned,
        cached_migrate_pfn=tuple(tile.moved(pfn, 0) for pfn in source.cached_migrate_pfn),
        cached_free_pfn=tile.moved(source.cached_free_pfn, -1),
        **counts,
    )
