# SPDX-License-Identifier: GPL-2.0-or-later
"""A start state on a machine with more memory, or with less: copies of its zones, one behind the other.

The new machine has the zones, marks and per-CPU bounds that the kernel chooses for its size. Each zone is filled with copies of
the node's largest zone, DMA with copies of DMA, in units of the largest chunk; a copy that is not whole has units evenly spread
over the source. So the shares of a zone stay: of pageblocks by type, mixed ones, free chunks by order, pages in use. A list has
the copies' entries in turn, in list order. Copies repeat with the source zone's period: what depends on longer distances than
that is not scaled.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kevacuate.errors import KevacuateError
from kevacuate.kernel.migratetypes import MIGRATE_HIGHATOMIC
from kevacuate.kernel.pageflags import KPF_NOPAGE, absent_pages
from kevacuate.kernel.pcp import pcp_order
from kevacuate.measure.startfile import StartState
from kevacuate.recording import AllocatorState, Machine, ZoneState
from kevacuate.recording.state import Blocks, FreePages, PcpFields, PcpPages
from kevacuate.workload import describe as ds
from kevacuate.workload.kinds import PAGE
from kevacuate.workload.machine import LARGEST, MAX_ORDER, PAGEBLOCK_ORDER, boot_state, refuse_amount

Ints = npt.NDArray[np.int64]


CHOSEN_BY_SIZE = ("min_free_kbytes", "watermark_scale_factor")
"""Sysctls whose recorded values are not those of the new machine: its marks are the kernel's own choice."""


class Copied(NamedTuple):
    """Rows of a source zone's table in the new zone: which row each is, how far it is moved, and which copy it is of."""

    row: Ints
    shift: Ints
    copy: Ints


class Tiles(NamedTuple):
    """A new zone as copies of a source zone's units of the largest chunk.

    Attributes
    ----------
    source, target : int
        Number of the source zone and of the new one.
    units : int64[units]
        First pfns of the source's units.
    start, nr_units : int
        First pfn of the new zone, and how many units it has.
    """

    source: int
    target: int
    units: Ints
    start: int
    nr_units: int

    @property
    def rest(self) -> Ints:
        """The units that the last copy has, which is not whole: evenly spread."""
        units = len(self.units)
        return np.arange(self.nr_units % units) * units // max(self.nr_units % units, 1)

    @property
    def order(self) -> Ints:
        """Which of the source's units each unit of the new zone is: int64[nr_units]."""
        units = len(self.units)
        return np.concatenate([np.tile(np.arange(units), self.nr_units // units), self.rest])

    def copied(self, pfn: Ints) -> Copied:
        """Where the rows at these pfns, all of the source zone, go; those outside its units go nowhere."""
        whole, units = self.nr_units // len(self.units), len(self.units)
        at = np.maximum(np.searchsorted(self.units, pfn, "right") - 1, 0)
        inside = (pfn >= self.units[at]) & (pfn < self.units[at] + LARGEST)
        times = np.where(inside, whole + np.isin(at, self.rest), 0)
        row = np.repeat(np.arange(len(pfn)), times)
        copy = np.arange(len(row)) - np.repeat(np.cumsum(times) - times, times)
        place = np.where(copy < whole, at[row], np.searchsorted(self.rest, at[row]))
        return Copied(row, self.start + (copy * units + place) * LARGEST - self.units[at[row]], copy)


def _units(state: AllocatorState, zone: ZoneState) -> Ints:
    """First pfns of the aligned units of the largest chunk of which all pageblocks exist."""
    blocks = state.blocks.pfn[state.blocks.zone == zone.index].astype(np.int64)
    first, there = np.unique(blocks >> MAX_ORDER, return_counts=True)
    return np.asarray(first[there == 1 << (MAX_ORDER - PAGEBLOCK_ORDER)] << MAX_ORDER)


def _tiles(start: StartState, machine: Machine, boot: AllocatorState) -> list[Tiles]:
    """What each new zone is made of.

    Raises
    ------
    KevacuateError
        A node of the source has no whole unit.
    """
    node_of = {zone.start_pfn: zone.node for zone in start.machine.zones}
    nodes = sorted(set(node_of.values()))
    found = []
    for number, (info, zone) in enumerate(zip(machine.zones, boot.zones, strict=True)):
        own = [
            (i, one)
            for i, one in enumerate(start.state.zones)
            if node_of.get(one.start_pfn) == nodes[info.node % len(nodes)]
        ]
        same = [(i, one) for i, one in own if one.name == zone.name == "DMA"]
        source, chosen = same[0] if same else max(own, key=lambda pair: pair[1].managed)
        units = _units(start.state, chosen)
        if not len(units):
            raise KevacuateError(
                f"The start state cannot be scaled: its zone {chosen.name} has no run of {LARGEST * PAGE >> 20} MiB."
            )
        found.append(Tiles(source, number, units, zone.start_pfn, zone.spanned // LARGEST))
    return found


def _in_turn(keys: list[npt.NDArray[Any]], rank: Ints, copy: Ints) -> npt.NDArray[np.intp]:
    """Order of rows by list, and in a list by their place in it, each copy's in turn."""
    return np.lexsort((copy, rank, *reversed(keys)))


def _free(state: AllocatorState, tiles: list[Tiles]) -> FreePages:
    """The free lists."""
    parts = []
    for tile in tiles:
        mine = np.flatnonzero(state.free.zone == state.zones[tile.source].index)
        free = FreePages._make(np.asarray(column)[mine] for column in state.free)
        row, shift, copy = tile.copied(free.pfn.astype(np.int64))
        order, mt = free.order[row], free.mt[row]
        by = _in_turn([order, mt], row, copy)
        zone = np.full(len(row), tile.target, np.int16)
        parts.append(FreePages(zone, order[by], mt[by], (free.pfn[row] + shift)[by]))
    return FreePages._make(np.concatenate(columns) for columns in zip(*parts, strict=True))


def _pcp(state: AllocatorState, tiles: list[Tiles], cpus: int) -> PcpPages:
    """The per-CPU lists; copies of a CPU's pages go to CPUs in turn."""
    before, parts = int(state.pcp.cpu.max(initial=0)) + 1, []
    for tile in tiles:
        mine = np.flatnonzero(state.pcp_pages.zone == state.zones[tile.source].index)
        pages = PcpPages._make(np.asarray(column)[mine] for column in state.pcp_pages)
        row, shift, copy = tile.copied(pages.pfn.astype(np.int64))
        cpu = ((pages.cpu[row].astype(np.int64) + copy * before) % cpus).astype(np.int16)
        by = _in_turn([cpu, pages.pindex[row]], row, copy)
        zone = np.full(len(row), tile.target, np.int16)
        parts.append(PcpPages(zone, cpu[by], pages.pindex[row][by], (pages.pfn[row] + shift)[by]))
    return PcpPages._make(np.concatenate(columns) for columns in zip(*parts, strict=True))


def _blocks(state: AllocatorState, tiles: list[Tiles]) -> Blocks:
    """The pageblocks."""
    parts = []
    for tile in tiles:
        mine = np.flatnonzero(state.blocks.zone == state.zones[tile.source].index)
        blocks = Blocks._make(np.asarray(column)[mine] for column in state.blocks)
        row, shift, _ = tile.copied(blocks.pfn.astype(np.int64))
        pfn = blocks.pfn[row].astype(np.int64) + shift
        by = np.argsort(pfn)
        zone = np.full(len(row), tile.target, np.int16)
        parts.append(Blocks(zone, pfn[by], blocks.mt[row][by], blocks.skip[row][by]))
    return Blocks._make(np.concatenate(columns) for columns in zip(*parts, strict=True))


def _flags(flags: npt.NDArray[np.uint64], tiles: list[Tiles], pages: int) -> npt.NDArray[np.uint64]:
    """The page flags; below and between the zones there is no page."""
    padded = np.full(
        max(len(flags), int(max(tile.units[-1] for tile in tiles)) + LARGEST), 1 << KPF_NOPAGE, np.uint64
    )
    padded[: len(flags)] = flags
    made = np.full(pages, 1 << KPF_NOPAGE, np.uint64)
    for tile in tiles:
        units = padded[tile.units[:, None] + np.arange(LARGEST)]
        made[tile.start : tile.start + tile.nr_units * LARGEST] = units[tile.order].ravel()
    return made


def _fields(fields: PcpFields, pages: PcpPages, hugepage_order: int) -> PcpFields:
    """The per-CPU lists' tuning with what they hold; a list that holds more than its high has that for its high."""
    sizes = np.left_shift(1, pcp_order(pages.pindex, hugepage_order))
    rows = int(fields.cpu.max()) + 1
    table = np.bincount(
        pages.zone.astype(np.int64) * rows + pages.cpu, sizes, (int(fields.zone.max()) + 1) * rows
    )
    count = table[fields.zone.astype(np.int64) * rows + fields.cpu].astype(np.int32)
    high = np.clip(np.maximum(fields.high, count), fields.high_min, fields.high_max)
    return fields._replace(count=count, high=high)


def _zones(
    boot: AllocatorState, free: FreePages, blocks: Blocks, absent: npt.NDArray[np.bool_]
) -> tuple[ZoneState, ...]:
    """The new zones with what they hold."""
    sizes = np.left_shift(1, free.order.astype(np.int64))
    highatomic = free.mt == MIGRATE_HIGHATOMIC
    found = []
    for number, zone in enumerate(boot.zones):
        mine = free.zone == number
        gone = int(absent[zone.start_pfn : zone.start_pfn + zone.spanned].sum())
        reserved = int(((blocks.zone == number) & (blocks.mt == MIGRATE_HIGHATOMIC)).sum()) << PAGEBLOCK_ORDER
        found.append(
            replace(
                zone,
                managed=zone.managed - gone,
                nr_free=int(sizes[mine].sum()),
                nr_reserved_highatomic=reserved,
                nr_free_highatomic=int(sizes[mine & highatomic].sum()),
            )
        )
    return tuple(found)


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
    before, pages = start.state, machine.zones[-1].start_pfn + machine.zones[-1].spanned
    free, blocks = _free(before, tiles), _blocks(before, tiles)
    pcp_pages = _pcp(before, tiles, machine.cpus)
    flags = None if before.page_flags is None else _flags(before.page_flags, tiles, pages)
    zones = _zones(boot, free, blocks, np.zeros(pages, np.bool_) if flags is None else absent_pages(flags))
    made = replace(
        before, zones=zones, free=free, blocks=blocks, pcp_pages=pcp_pages, page_flags=flags, page_count=None, due={},
        pcp=_fields(boot.pcp, pcp_pages, old.hugepage_order),
    )  # fmt: skip
    extra = {name: value for name, value in machine.extra.items() if name != "generated"}
    if "settings" in old.extra:
        extra["settings"] = {n: v for n, v in old.extra["settings"].items() if n not in CHOSEN_BY_SIZE}
    infos = tuple(
        replace(info, managed=zone.managed) for info, zone in zip(machine.zones, zones, strict=True)
    )
    new = replace(
        old, cpus=machine.cpus, nodes=machine.nodes, zones=infos, zone_names=machine.zone_names, extra=extra
    )
    step = {"step": "scaled", "bytes": sum(zone.managed for zone in zones) * PAGE, "cpus": machine.cpus}
    return StartState(new, made, (*start.made, step))
