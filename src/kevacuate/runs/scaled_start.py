# SPDX-License-Identifier: GPL-2.0-or-later
"""The start state of a larger machine: the recorded one, laid down several times side by side.

Every zone becomes as many times as long and keeps its kind, so each zone keeps its share of the memory; a real machine of that
size may have other zones. Each copy has the recorded pages, pageblocks, chunks and objects at pfns of its own. A free list takes
the copies' chunks in turn. Watermarks, reserves and the bounds of per-CPU lists are the kernel's for the new sizes
(``__setup_per_zone_wmarks``, ``setup_per_zone_lowmem_reserve``, ``zone_highsize`` of mm/page_alloc.c): they do not grow as memory
does. CPUs come in groups of as many as were recorded; copy i has the group i modulo the number of groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kevacuate.errors import KevacuateError
from kevacuate.kernel.pageflags import KPF_NOPAGE
from kevacuate.mm import constants as k
from kevacuate.mm.layout import pcp_high_bounds, zone_batchsize
from kevacuate.mm.marks import zone_wmarks
from kevacuate.recording import AllocatorState, Machine, StartObjects, ZoneInfo
from kevacuate.recording.settings import recorded_settings
from kevacuate.recording.state import Blocks, FreePages, PcpFields, PcpPages, ZoneState
from kevacuate.runs.memory import resized, smaller
from kevacuate.runs.watermarks import min_free_kbytes, new_min_free_kbytes, scale_factor, sizes_of

MOST_PAGES, MOST_CPUS = (1 << 30) - 1, 1024
"""What the model takes of a machine."""

Ints = npt.NDArray[np.int64]


class Tile(NamedTuple):
    """A zone's place: the recorded one from *first*, *length* pfns a copy, the new one from *base*."""

    first: int
    length: int
    base: int


@dataclass(frozen=True)
class Scaling:
    """How a machine is scaled: as many copies of its memory, and groups of its CPUs."""

    tiles: tuple[Tile, ...]
    copies: int
    groups: int

    def placed(self, pfn: npt.NDArray[Any], copy: int) -> Ints:
        """The pfns of a copy's pages; pages outside all zones keep theirs."""
        out = pfn.astype(np.int64)
        for tile in self.tiles:
            inside = (pfn >= tile.first) & (pfn < tile.first + tile.length)
            out[inside] += tile.base - tile.first + copy * tile.length
        return out


class ScaledStart(NamedTuple):
    """A larger machine, its start, and its objects."""

    machine: Machine
    state: AllocatorState
    objects: StartObjects
    """By pfn."""
    ids: list[Ints]
    """By copy: the id of each of the recorded start's objects."""


def scaling_of(machine: Machine, state: AllocatorState, copies: int, groups: int) -> Scaling:
    """Where everything goes. Copies begin where the largest chunk may, so none reaches from one into the next but free memory.

    Raises
    ------
    KevacuateError
        The model cannot hold so large a machine.
    """
    unit = 1 << max(int(machine.extra.get("max_page_order", 10)), machine.pageblock_order)
    tiles: list[Tile] = []
    shift = 0
    for zone in sorted(state.zones, key=lambda zone: zone.start_pfn):
        first = zone.start_pfn // unit * unit
        length = -(-(zone.start_pfn + zone.spanned) // unit) * unit - first
        tiles.append(Tile(first, length, first + shift))
        shift += (copies - 1) * length
    end = tiles[-1].base + copies * tiles[-1].length if tiles else 0
    if end > MOST_PAGES:
        raise KevacuateError(
            f"{copies} times the memory cannot be replayed: the machine would have {end:,} page frames, and the model takes "
            f"{MOST_PAGES:,}."
        )
    if groups * machine.cpus > MOST_CPUS:
        raise KevacuateError(
            f"{groups} times the CPUs cannot be replayed: the machine would have {groups * machine.cpus:,}, and the model takes "
            f"{MOST_CPUS:,}."
        )
    return Scaling(tuple(tiles), copies, groups)


def scaled_start(
    machine: Machine, state: AllocatorState, objects: StartObjects, scaling: Scaling, share: float = 1
) -> ScaledStart:
    """The start of the scaled machine with that *share* of its memory (:func:`kevacuate.runs.memory.smaller`).

    Raises
    ------
    KevacuateError
        The share leaves less memory than is in use at the start.
    """
    wide = _wide_machine(machine, state, scaling)
    large = _tiled(machine, state, scaling, [zone.start_pfn for zone in wide.zones])
    whole = smaller(wide, large, share)
    if scaling.copies > 1 or scaling.groups > 1 or share < 1:
        wide, whole = _tuned(machine, state, wide, whole)
    pfn = [scaling.placed(objects.pfn, copy) for copy in range(scaling.copies)]
    by = np.argsort(np.concatenate(pfn), kind="stable")
    ids = np.empty(len(by), np.int64)
    ids[by] = np.arange(len(by))
    order, attr = (np.tile(column, scaling.copies)[by] for column in (objects.order, objects.attr))
    count = len(objects.pfn)
    return ScaledStart(
        wide,
        whole,
        StartObjects(np.concatenate(pfn)[by], order, attr),
        [ids[copy * count : (copy + 1) * count] for copy in range(scaling.copies)],
    )


def _wide_machine(machine: Machine, state: AllocatorState, scaling: Scaling) -> Machine:
    """The machine with its zones and CPUs, as recorded otherwise."""
    zones = tuple(_wide_info(zone, scaling) for zone in machine.zones)
    nodes = tuple(machine.extra.get("cpu_node", (0,) * machine.cpus))
    extra = {**machine.extra, "cpu_node": list(nodes * scaling.groups)}
    return replace(machine, cpus=machine.cpus * scaling.groups, zones=zones, events={}, extra=extra)


def _wide_info(zone: ZoneInfo, scaling: Scaling) -> ZoneInfo:
    """The zone as the machine describes it."""
    start, spanned = _wide_span(zone.start_pfn, zone.spanned, scaling)
    n = scaling.copies
    return replace(zone, start_pfn=start, spanned=spanned, present=zone.present * n, managed=zone.managed * n)


def _wide_span(start: int, spanned: int, scaling: Scaling) -> tuple[int, int]:
    """First pfn and span of a zone of the scaled machine."""
    tile = next(tile for tile in scaling.tiles if tile.first <= start < tile.first + tile.length)
    return start - tile.first + tile.base, spanned + (scaling.copies - 1) * tile.length


def _tiled(
    machine: Machine, state: AllocatorState, scaling: Scaling, starts: Sequence[int]
) -> AllocatorState:
    """The state laid down several times, with the marks and per-CPU bounds that were recorded."""
    zones = tuple(_wide_zone(zone, scaling) for zone in state.zones)
    pages = max(zone.start_pfn + zone.spanned for zone in zones)
    return replace(
        state,
        ordinal=-1,
        zones=zones,
        free=_wide_free(state.free, scaling),
        blocks=_by_pfn(state.blocks, scaling),
        pcp=_wide_pcp(machine, state.pcp, scaling),
        pcp_pages=_wide_pcp_pages(machine, state.pcp_pages, scaling),
        page_flags=_wide_words(state.page_flags, scaling, pages, 1 << KPF_NOPAGE),
        page_count=_wide_words(state.page_count, scaling, pages, 0),
    )


def _wide_zone(zone: ZoneState, scaling: Scaling) -> ZoneState:
    """The zone: as many times as large, compaction's scanners at the first copy's and the last one's."""
    n = scaling.copies
    start, spanned = _wide_span(zone.start_pfn, zone.spanned, scaling)
    low = scaling.placed(np.array(zone.cached_migrate_pfn, np.int64), 0)
    high = scaling.placed(np.array([zone.cached_free_pfn], np.int64), n - 1)
    return replace(
        zone,
        start_pfn=start,
        spanned=spanned,
        present=zone.present * n,
        managed=zone.managed * n,
        nr_free=zone.nr_free * n,
        nr_reserved_highatomic=zone.nr_reserved_highatomic * n,
        nr_free_highatomic=zone.nr_free_highatomic * n,
        cached_migrate_pfn=tuple(low.tolist()),
        cached_free_pfn=int(high[0]),
    )


def _wide_free(free: FreePages, scaling: Scaling) -> FreePages:
    """The free lists: of each the first chunk of every copy, then the second of every copy, and so on."""
    n, count = scaling.copies, len(free.pfn)
    lists = (free.zone.astype(np.int64) * 64 + free.order) * 64 + free.mt
    _, number = np.unique(lists, return_inverse=True)
    by = np.argsort(number, kind="stable")
    starts = np.r_[0, np.flatnonzero(np.diff(number[by])) + 1] if count else np.zeros(0, np.int64)
    rank = np.empty(count, np.int64)
    rank[by] = np.arange(count) - np.repeat(starts, np.diff(np.r_[starts, count]))
    order = np.lexsort((np.repeat(np.arange(n), count), np.tile(rank, n), np.tile(number, n)))
    columns = free._asdict() | {"pfn": None}
    pfn = np.concatenate([scaling.placed(free.pfn, copy) for copy in range(n)])
    return FreePages(**{name: (pfn if c is None else np.tile(c, n))[order] for name, c in columns.items()})


def _by_pfn(blocks: Blocks, scaling: Scaling) -> Blocks:
    """The pageblocks, in order of pfn."""
    n = scaling.copies
    pfn = np.concatenate([scaling.placed(blocks.pfn, copy) for copy in range(n)])
    by = np.argsort(pfn, kind="stable")
    return Blocks(
        np.tile(blocks.zone, n)[by], pfn[by], np.tile(blocks.mt, n)[by], np.tile(blocks.skip, n)[by]
    )


def _wide_pcp(machine: Machine, pcp: PcpFields, scaling: Scaling) -> PcpFields:
    """The per-CPU lists' fields, for every group of CPUs."""
    n = scaling.groups
    shift = np.repeat(np.arange(n, dtype=np.int16) * np.int16(machine.cpus), len(pcp.cpu))
    columns = [np.tile(column, n) for column in pcp]
    wide = PcpFields._make(columns)
    return wide._replace(cpu=(wide.cpu + shift).astype(np.int16))


def _wide_pcp_pages(machine: Machine, pages: PcpPages, scaling: Scaling) -> PcpPages:
    """The chunks on the per-CPU lists: of each copy on those of its group."""
    parts = [
        pages._replace(
            cpu=(pages.cpu + copy % scaling.groups * machine.cpus).astype(np.int16),
            pfn=scaling.placed(pages.pfn, copy),
        )
        for copy in range(scaling.copies)
    ]
    return PcpPages._make(np.concatenate(columns) for columns in zip(*parts, strict=True))


def _wide_words(
    words: npt.NDArray[np.uint64] | None, scaling: Scaling, pages: int, absent: int
) -> npt.NDArray[np.uint64] | None:
    """A word a page, *absent* where no copy has one."""
    if words is None:
        return None
    out = np.full(pages, absent, np.uint64)
    for tile in scaling.tiles:
        own = words[tile.first : tile.first + tile.length]
        for copy in range(scaling.copies):
            at = tile.base + copy * tile.length
            room = out[at : at + len(own)]
            room[:] = own[: len(room)]
    return out


def _tuned(
    machine: Machine, state: AllocatorState, wide: Machine, large: AllocatorState
) -> tuple[Machine, AllocatorState]:
    """Marks, reserves and per-CPU bounds for the new sizes."""
    sizes = sizes_of(wide, large)
    kbytes = new_min_free_kbytes(machine, state, sizes)
    marks = zone_wmarks(sizes, kbytes, scale_factor(machine, state))
    had = zone_wmarks(sizes_of(machine, state), min_free_kbytes(machine, state), scale_factor(machine, state))
    managed = {zone.index: zone.managed for zone in large.zones}
    zones = tuple(
        replace(
            resized(wide, large, zone, managed),
            watermark=mark[: max(len(zone.watermark), 3)],
            boost=0,
            totalreserve=0,
        )
        for zone, mark in zip(large.zones, marks, strict=True)
    )
    rows = []
    for i in range(len(large.pcp.cpu)):
        number = next(n for n, zone in enumerate(zones) if zone.index == large.pcp.zone[i])
        before = _bounds(machine, state.zones[number], had[number][k.WMARK_LOW])
        rows.append((before, _bounds(wide, zones[number], marks[number][k.WMARK_LOW])))
    infos = tuple(_marked(info, zones) for info in wide.zones)
    return _with_settings(replace(wide, zones=infos), machine, kbytes), replace(
        large, zones=zones, pcp=_bounded(large.pcp, rows)
    )


def _bounds(machine: Machine, zone: ZoneState, low: int) -> tuple[int, int, int]:
    """(high_min, high_max, batch) as the kernel sets them for the zone."""
    node = next(info.node for info in machine.zones if info.start_pfn == zone.start_pfn)
    nodes = machine.extra.get("cpu_node", (0,) * machine.cpus)
    local = sum(one == node for one in nodes) or machine.cpus
    batch = zone_batchsize(zone.managed)
    fraction = recorded_settings(machine).get("percpu_pagelist_high_fraction", 0)
    return (*pcp_high_bounds(zone.managed, low, batch, local, fraction), batch)


def _bounded(pcp: PcpFields, rows: list[tuple[tuple[int, int, int], tuple[int, int, int]]]) -> PcpFields:
    """The per-CPU lists' fields with new bounds: the recorded ones by the ratio of the kernel's new choice to its old one."""
    if not rows or not int(pcp.high_max.max()):
        return pcp
    before, after = (np.array([row[i] for row in rows], np.int64) for i in (0, 1))
    had = (pcp.high_min, pcp.high_max, pcp.batch)
    low, high, batch = (
        np.maximum(column.astype(np.int64) * after[:, i] // np.maximum(before[:, i], 1), 1)
        for i, column in enumerate(had)
    )
    now = np.where(pcp.high_min == pcp.high_max, low, np.clip(pcp.high, low, np.maximum(high, low)))
    return pcp._replace(
        high=now.astype(np.int32), high_min=low.astype(np.int32), high_max=high.astype(np.int32),
        batch=batch.astype(np.int32),
    )  # fmt: skip


def _marked(info: ZoneInfo, zones: Sequence[ZoneState]) -> ZoneInfo:
    """The machine's zone with the state's sizes and marks."""
    zone = next(zone for zone in zones if zone.start_pfn == info.start_pfn)
    least, low, high = zone.watermark[:3]
    return replace(
        info,
        present=zone.present,
        managed=zone.managed,
        watermark_min=least,
        watermark_low=low,
        watermark_high=high,
    )


def _with_settings(wide: Machine, machine: Machine, kbytes: int) -> Machine:
    """The machine whose vm.min_free_kbytes is that, where it was recorded."""
    if "min_free_kbytes" not in recorded_settings(machine):
        return wide
    extra = {name: value for name, value in wide.extra.items() if name != "min_free_kbytes"}
    extra["settings"] = {**machine.extra.get("settings", {}), "min_free_kbytes": kbytes}
    return replace(wide, extra=extra)
