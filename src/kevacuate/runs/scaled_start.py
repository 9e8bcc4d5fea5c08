# SPDX-License-Identifier: GPL-2.0-or-later
"""A start state on another machine, laid down in copies (:mod:`kevacuate.runs.tiled`): a recorded machine's whole, or any size.

:func:`scaled_start` makes every zone as many times as long, of its kind, and tells which object lies where. Each zone keeps its
share of the memory; a real machine of that size may have other zones. :func:`scaled` makes the zones that the kernel
makes on a machine of that size, and fills each with copies of the node's largest zone, DMA with copies of DMA.

Of both, watermarks, reserves and the bounds of per-CPU lists are the kernel's for the new sizes (``__setup_per_zone_wmarks``,
``setup_per_zone_lowmem_reserve``, ``zone_highsize`` of mm/page_alloc.c). A recorded vm.min_free_kbytes that was not the kernel's
choice stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kevacuate.errors import KevacuateError
from kevacuate.kernel.pcp import pcp_order
from kevacuate.measure.startfile import StartState
from kevacuate.mm import constants as k
from kevacuate.mm.layout import pcp_high_bounds, zone_batchsize
from kevacuate.mm.marks import LOWMEM_RESERVE_RATIO, zone_wmarks
from kevacuate.recording import AllocatorState, Machine, StartObjects, ZoneInfo
from kevacuate.recording.settings import recorded_settings
from kevacuate.recording.state import PcpFields, PcpPages, ZoneState
from kevacuate.runs.memory import reserve_ratio, reserves, smaller, zone_index
from kevacuate.runs.tiled import Ints, Tile, tiled
from kevacuate.runs.watermarks import min_free_kbytes, new_min_free_kbytes, scale_factor, sizes_of
from kevacuate.workload import describe as ds
from kevacuate.workload.kinds import PAGE
from kevacuate.workload.machine import LARGEST, MAX_ORDER, PAGEBLOCK_ORDER, boot_state, refuse_amount

MOST_PAGES, MOST_CPUS = (1 << 30) - 1, 1024
"""What the model takes of a machine."""


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
            first, length = int(tile.units[0]), len(tile.units) * tile.unit
            inside = (pfn >= first) & (pfn < first + length)
            out[inside] += tile.start - first + copy * length
        return out


class ScaledStart(NamedTuple):
    """A larger machine, its start, and its objects."""

    machine: Machine
    state: AllocatorState
    objects: StartObjects
    """By pfn."""
    ids: list[Ints]
    """By copy: the id of each of the recorded start's objects."""


def _refuse_other_zones(machine: Machine, state: AllocatorState) -> None:
    """Refuse a state whose zones are not those of its machine, or that the model does not know."""
    known = {zone.start_pfn for zone in machine.zones if zone.name in k.ZONE_NAMES}
    if not known or known != {zone.start_pfn for zone in state.zones} or len(known) < len(machine.zones):
        raise KevacuateError(
            "The start state cannot be scaled: its zones are not those of its machine, or none of the model's."
        )


def scaling_of(machine: Machine, state: AllocatorState, copies: int, groups: int) -> Scaling:
    """Where everything goes. Copies begin where the largest chunk may, so none reaches from one into the next but free memory.

    Raises
    ------
    KevacuateError
        The model cannot hold so large a machine, or the state's zones are not the machine's.
    """
    _refuse_other_zones(machine, state)
    unit = 1 << max(int(machine.extra.get("max_page_order", 10)), machine.pageblock_order)
    tiles: dict[int, Tile] = {}
    shift = end = 0
    for zone in sorted(state.zones, key=lambda zone: zone.start_pfn):
        first, last = zone.start_pfn // unit, -(-(zone.start_pfn + zone.spanned) // unit)
        more = (copies - 1) * (last - first) * unit
        start, spanned, units = zone.start_pfn + shift, zone.spanned + more, np.arange(first, last) * unit
        tiles[zone.index] = Tile(zone.index, zone.index, zone.name, start, spanned, units, unit)
        shift += more
        end = last * unit + shift
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
    return Scaling(tuple(tiles[zone.index] for zone in state.zones), copies, groups)


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
    whole = smaller(wide, tiled(state, scaling.tiles, machine.cpus, wide.cpus), share)
    if scaling.copies > 1 or scaling.groups > 1 or share < 1:
        wide, whole = _tuned(machine, state, scaling.tiles, wide, whole)
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
    n, tiles = scaling.copies, dict(zip((zone.start_pfn for zone in state.zones), scaling.tiles, strict=True))
    zones = tuple(
        replace(
            info, start_pfn=tiles[info.start_pfn].start_pfn, spanned=tiles[info.start_pfn].spanned,
            present=info.present * n, managed=info.managed * n,
        )
        for info in machine.zones
    )  # fmt: skip
    nodes = tuple(machine.extra.get("cpu_node", (0,) * machine.cpus))
    extra = {**machine.extra, "cpu_node": list(nodes * scaling.groups)}
    return replace(machine, cpus=machine.cpus * scaling.groups, zones=zones, events={}, extra=extra)


def scaled(start: StartState, memory: int, cpus: int | None = None) -> StartState:
    """The start state on a machine with so many bytes of *memory* and, if given, *cpus*.

    Raises
    ------
    KevacuateError
        The source is no machine of the kind that can be described, or the new one cannot be.
    """
    old = start.machine
    if old.pageblock_order != PAGEBLOCK_ORDER or old.page_size != PAGE:
        raise KevacuateError(
            f"The start state cannot be scaled: its pageblocks are of order {old.pageblock_order}, and those of machines that "
            f"can be described of order {PAGEBLOCK_ORDER}."
        )
    _refuse_other_zones(old, start.state)
    nodes = len({zone.node for zone in old.zones})
    unit = LARGEST * PAGE * nodes
    refuse_amount("memory", memory, nodes)
    one = "DMA32" not in {zone.name for zone in old.zones}
    described = ds.Machine(
        memory=f"{memory // unit * unit // 1024}KiB", cpus=cpus or old.cpus, nodes=nodes, kernel=old.kernel or "7.2", reserved=0,
        zones="one" if one else "x86",
    )  # fmt: skip
    machine, boot = boot_state(ds.Workload(machine=described, parts=(ds.Slab(),), name="scaled"))
    tiles = _tiles(start, machine, boot)
    state = tiled(start.state, tiles, old.cpus, machine.cpus)
    known = (0,) * len(machine.zone_names)
    state = replace(state, zones=tuple(replace(zone, lowmem_reserve=known) for zone in state.zones))
    extra = {name: value for name, value in old.extra.items() if name not in ("generated", "node_distance")}
    new = replace(
        old, cpus=machine.cpus, nodes=machine.nodes, zones=machine.zones, zone_names=machine.zone_names,
        extra=extra | {"cpu_node": machine.extra["cpu_node"]},
    )  # fmt: skip
    new, state = _tuned(old, start.state, tiles, new, state)
    pages = sum(zone.managed for zone in state.zones)
    step = {"step": "scaled", "bytes": pages * PAGE, "cpus": machine.cpus}
    return StartState(new, state, (*start.made, step))


def _tiles(start: StartState, machine: Machine, boot: AllocatorState) -> list[Tile]:
    """What each new zone is made of.

    Raises
    ------
    KevacuateError
        A node of the source has no whole unit.
    """
    node_of = {zone.start_pfn: zone.node for zone in start.machine.zones}
    nodes = sorted(set(node_of.values()))
    found = []
    for info, zone in zip(machine.zones, boot.zones, strict=True):
        own = [
            one for one in start.state.zones if node_of.get(one.start_pfn) == nodes[info.node % len(nodes)]
        ]
        same = [one for one in own if one.name == zone.name == "DMA"]
        chosen = same[0] if same else max(own, key=lambda one: one.managed)
        blocks = start.state.blocks.pfn[start.state.blocks.zone == chosen.index].astype(np.int64)
        first, there = np.unique(blocks >> MAX_ORDER, return_counts=True)
        units = np.asarray(first[there == 1 << (MAX_ORDER - PAGEBLOCK_ORDER)] << MAX_ORDER)
        if not len(units):
            raise KevacuateError(
                f"The start state cannot be scaled: its zone {chosen.name} has no run of {LARGEST * PAGE >> 20} MiB."
            )
        found.append(Tile(chosen.index, zone.index, zone.name, zone.start_pfn, zone.spanned, units, LARGEST))
    return found


def _tuned(
    machine: Machine, state: AllocatorState, tiles: Sequence[Tile], wide: Machine, large: AllocatorState
) -> tuple[Machine, AllocatorState]:
    """Marks, reserves and per-CPU bounds for the new sizes; background work begins anew."""
    sizes, factor = sizes_of(wide, large), scale_factor(machine, state)
    kbytes = new_min_free_kbytes(machine, state, sizes)
    marks = zone_wmarks(sizes, kbytes, factor)
    had = zone_wmarks(sizes_of(machine, state), min_free_kbytes(machine, state), factor)
    sources = {zone.index: (zone, mark[k.WMARK_LOW]) for zone, mark in zip(state.zones, had, strict=True)}
    zones, bounds = [], {}
    for tile, zone, mark in zip(tiles, large.zones, marks, strict=True):
        source, low = sources[tile.source]
        index = zone_index(wide, zone)
        alike = zone_index(machine, source) == index
        ratio = reserve_ratio(machine, state, source) if alike else LOWMEM_RESERVE_RATIO[index]
        reserve = reserves(wide, large, zone, ratio)
        watermark = mark[: max(len(zone.watermark), 3)]
        zones.append(replace(zone, watermark=watermark, boost=0, totalreserve=0, lowmem_reserve=reserve))
        bounds[tile.target] = (_bounds(machine, source, low), _bounds(wide, zone, mark[k.WMARK_LOW]))
    pcp = _bounded(large.pcp, [bounds[zone] for zone in large.pcp.zone.tolist()])
    pcp = _held(pcp, large.pcp_pages, machine.hugepage_order)
    infos = tuple(_marked(info, zones) for info in wide.zones)
    wide = _with_settings(replace(wide, zones=infos), machine, kbytes)
    return wide, replace(large, zones=tuple(zones), pcp=pcp, due={})


def _held(fields: PcpFields, pages: PcpPages, hugepage_order: int) -> PcpFields:
    """The per-CPU lists' fields with the count of what they hold."""
    sizes, cpus = (
        np.left_shift(1, pcp_order(pages.pindex, hugepage_order)),
        int(fields.cpu.max(initial=0)) + 1,
    )
    at = fields.zone.astype(np.int64) * cpus + fields.cpu
    held = np.bincount(pages.zone.astype(np.int64) * cpus + pages.cpu, sizes, int(at.max(initial=0)) + 1)
    return fields._replace(count=held[at].astype(np.int32))


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
