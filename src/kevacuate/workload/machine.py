# SPDX-License-Identifier: GPL-2.0-or-later
"""The described machine as a recording describes one, and its allocator when the last page of boot memory has been freed to it.

Zones, watermarks, reserves and per-CPU bounds are those that the kernel chooses for such a machine. What memblock kept (struct
pages, gigantic pages) lies before a node's highest zone, outside all zones.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from kevacuate.errors import KevacuateError
from kevacuate.kernel.gfp import GFP_BITS
from kevacuate.kernel.migratetypes import MIGRATE_MOVABLE
from kevacuate.mm import constants as k
from kevacuate.mm.layout import pcp_high_bounds, zone_batchsize
from kevacuate.mm.marks import (
    LOWMEM_RESERVE_RATIO,
    ZoneSize,
    boot_min_free_kbytes,
    lowmem_reserve,
    zone_wmarks,
)
from kevacuate.mm.profile import profile_for
from kevacuate.recording import AllocatorState, ZoneInfo, ZoneState
from kevacuate.recording import Machine as RecordedMachine
from kevacuate.recording.state import Blocks, FreePages, PcpFields, PcpPages
from kevacuate.workload.describe import Machine, Workload
from kevacuate.workload.kinds import PAGE

PAGEBLOCK_ORDER = 9
BLOCK = 1 << PAGEBLOCK_ORDER
MAX_ORDER = 10
LARGEST = 1 << MAX_ORDER
GIGANTIC = 1 << 18
"""Pages of a page of 1 GiB."""
DMA_END, DMA32_END = 1 << 12, 1 << 20
"""Where the zones DMA (16 MiB) and DMA32 (4 GiB) end (arch/x86/include/asm/dma.h)."""
LEAST_PAGES = 1 << 13
MOST_PAGES = 1 << 29
"""Least and most memory of a machine: 32 MiB and 2 TiB."""
NAMES = ("DMA", "DMA32", "Normal", "Movable")


class Zone(NamedTuple):
    """A zone: [start, end) in pfns, all of it the allocator's."""

    node: int
    kind: int
    start: int
    end: int

    @property
    def managed(self) -> int:
        """Pages that the allocator has."""
        return self.end - self.start


def refuse_amount(what: str, size: int, nodes: int) -> None:
    """Refuse *size* bytes on so many nodes, which the sentence calls *what*.

    Raises
    ------
    KevacuateError
        It is too little, or more than the model takes.
    """
    pages = size // PAGE // nodes // BLOCK * BLOCK
    if not LEAST_PAGES <= pages * nodes <= MOST_PAGES or pages < LEAST_PAGES // 2:
        where = f"{nodes} nodes" if nodes > 1 else "one node"
        raise KevacuateError(
            f"{what} cannot be {size:,} bytes on {where}: give 32MiB to 2TiB, and at least 16MiB a node."
        )


def memory_pages(machine: Machine) -> int:
    """Memory of the machine in pages, whole pageblocks a node.

    Raises
    ------
    KevacuateError
        It is too little, or more than the model takes.
    """
    if machine.memory.share:
        raise KevacuateError("machine.memory cannot be a share: give a size such as 16GiB.")
    refuse_amount("machine.memory", machine.memory.size, machine.nodes)
    return int(machine.memory.size // PAGE // machine.nodes // BLOCK * BLOCK * machine.nodes)


def zones_of(workload: Workload) -> list[Zone]:
    """The zones, by pfn. What is reserved is added to the memory that the description names.

    Raises
    ------
    KevacuateError
        As :func:`memory_pages`.
    """
    machine = workload.machine
    nodes, share = machine.nodes, machine.reserved
    if share > 0.5:
        raise KevacuateError(f"machine.reserved cannot be {share:g}: give a share from 0 to 50%.")
    own = memory_pages(machine) // nodes
    gigantic = workload.gigantic_pages.count if workload.gigantic_pages else 0
    kept = [
        -(-round(own * share / (1 - share)) // BLOCK) * BLOCK
        + (gigantic // nodes + (i < gigantic % nodes)) * GIGANTIC
        for i in range(nodes)
    ]
    found: list[Zone] = []
    at = 0
    for node in range(nodes):
        end = at + own + kept[node]
        found += _node_zones(node, at, end, kept[node], x86=machine.zones == "x86")
        at = end
    return found


def _node_zones(node: int, start: int, end: int, kept: int, *, x86: bool) -> list[Zone]:
    """The zones of a node with memory [start, end), by pfn; *kept* pages are taken from the highest, then from those below."""
    bounds = (
        [(0, DMA_END), (DMA_END, DMA32_END), (DMA32_END, 1 << 62)] if x86 else [(0, 0), (0, 0), (0, 1 << 62)]
    )
    spans = [(i, max(start, low), min(end, high)) for i, (low, high) in enumerate(bounds)]
    found: list[Zone] = []
    for i, low, high in reversed([span for span in spans if span[1] < span[2]]):
        take = min(kept, high - low - BLOCK)
        kept -= take
        found.append(Zone(node, i, low + take, high))
    return found[::-1]


def _edge(start: int, end: int) -> Iterator[tuple[int, int]]:
    """The chunks of less than the largest order that [start, end) consists of."""
    while start < end:
        order = min((start & -start).bit_length() - 1 if start else MAX_ORDER, MAX_ORDER)
        while start + (1 << order) > end:
            order -= 1
        yield start, order
        start += 1 << order


def _free_pages(zones: list[Zone]) -> FreePages:
    """The free lists at boot: each chunk at the tail of its list, ascending by address (memblock_free_all)."""
    rows: list[np.ndarray] = []
    for number, zone in enumerate(zones):
        first = min(-(-zone.start // LARGEST) * LARGEST, zone.end)
        last = max(zone.end // LARGEST * LARGEST, first)
        whole = np.arange(first, last, LARGEST)
        small = np.array([*_edge(zone.start, first), *_edge(last, zone.end)], np.int64).reshape(-1, 2)
        pfn = np.concatenate([whole, small[:, 0]])
        order = np.concatenate([np.full(len(whole), MAX_ORDER), small[:, 1]])
        by = np.lexsort((pfn, order))
        rows.append(np.stack([np.full(len(pfn), number), order[by], pfn[by]]))
    zone_, order_, pfn_ = np.concatenate(rows, axis=1)
    return FreePages(
        zone_.astype(np.int16), order_.astype(np.int8), np.full(len(pfn_), MIGRATE_MOVABLE, np.int8), pfn_
    )


def _blocks(zones: list[Zone]) -> Blocks:
    """The pageblocks at boot: all movable."""
    pfn = [np.arange(zone.start, zone.end, BLOCK) for zone in zones]
    number = np.repeat(np.arange(len(zones)), [len(one) for one in pfn])
    count = len(number)
    return Blocks(
        number.astype(np.int16),
        np.concatenate(pfn),
        np.full(count, MIGRATE_MOVABLE, np.int8),
        np.zeros(count, np.bool_),
    )


def _pcp(zones: list[Zone], marks: list[tuple[int, int, int, int]], machine: Machine) -> PcpFields:
    """The empty per-CPU lists' tuning, of every zone and CPU."""
    cpus = machine.cpus
    fixed = profile_for(machine.kernel)[0].pcp_tuning == "fixed"
    rows = []
    for number, (zone, mark) in enumerate(zip(zones, marks, strict=True)):
        local = cpu_nodes(machine).count(zone.node) or cpus
        batch = zone_batchsize(zone.managed)
        low, high = pcp_high_bounds(zone.managed, mark[k.WMARK_LOW], batch, local, 0)
        high = low if fixed else high
        rows += [(number, cpu, 0, low, low, high, batch, 0, 0, 0, k.NR_PCP_LISTS) for cpu in range(cpus)]
    columns = np.array(rows, np.int32).T
    return PcpFields(columns[0].astype(np.int16), columns[1].astype(np.int16), *columns[2:])


def cpu_nodes(machine: Machine) -> tuple[int, ...]:
    """The node of every CPU: the CPUs of a node follow each other."""
    return tuple(cpu * machine.nodes // machine.cpus for cpu in range(machine.cpus))


def _marks(zones: list[Zone], machine: Machine) -> list[tuple[int, int, int, int]]:
    """The watermarks of every zone: of the described vm.min_free_kbytes, else of the kernel's own choice."""
    sizes = [ZoneSize(zone.kind, zone.managed) for zone in zones]
    kbytes = round(machine.min_free) or boot_min_free_kbytes(sizes, BLOCK, huge_pages=True)
    return zone_wmarks(sizes, kbytes, 10)


def boot_state(workload: Workload) -> tuple[RecordedMachine, AllocatorState]:
    """The machine, and the state of its allocator at boot.

    Raises
    ------
    KevacuateError
        The machine has too little or too much memory, or its kernel is no release of Linux.
    """
    machine, zones = workload.machine, zones_of(workload)
    profile_for(machine.kernel)
    if machine.cpus < machine.nodes:
        raise KevacuateError(
            f"machine.cpus cannot be {machine.cpus}: each of the {machine.nodes} nodes has a CPU at least."
        )
    marks = _marks(zones, machine)
    states, infos = [], []
    for number, (zone, mark) in enumerate(zip(zones, marks, strict=True)):
        own = [ZoneSize(other.kind, other.managed) for other in zones if other.node == zone.node]
        reserve = lowmem_reserve(own, zone.kind, LOWMEM_RESERVE_RATIO[zone.kind])
        spanned = zone.end - zone.start
        states.append(
            ZoneState(
                index=number, name=NAMES[zone.kind], start_pfn=zone.start, spanned=spanned, present=spanned,
                managed=zone.managed, watermark=mark, lowmem_reserve=reserve, nr_free=zone.managed,
                cached_free_pfn=(zone.end - 1) & ~(BLOCK - 1), cached_migrate_pfn=(zone.start, zone.start),
            )
        )  # fmt: skip
        infos.append(
            ZoneInfo(
                zone.node, zone.kind, NAMES[zone.kind], zone.start, spanned, spanned, zone.managed, *mark[:3],
            )
        )  # fmt: skip
    pages = PcpPages(
        np.zeros(0, np.int16), np.zeros(0, np.int16), np.zeros(0, np.int8), np.zeros(0, np.int64)
    )
    start = AllocatorState(
        tag="g", ts=0, ts_begin=0, cpu=0, ordinal=-1, zones=tuple(states), free=_free_pages(zones), blocks=_blocks(zones),
        pcp=_pcp(zones, marks, machine), pcp_pages=pages, label="start",
    )  # fmt: skip
    return _described(workload, tuple(infos)), start


def _described(workload: Workload, zones: tuple[ZoneInfo, ...]) -> RecordedMachine:
    """The machine as a recording describes one."""
    machine = workload.machine
    return RecordedMachine(
        kernel=machine.kernel,
        arch="x86_64",
        cpus=machine.cpus,
        nodes=tuple(range(machine.nodes)),
        zones=zones,
        zone_names=NAMES,
        page_size=PAGE,
        pageblock_order=PAGEBLOCK_ORDER,
        hugepage_order=9,
        nr_pcp_lists=k.NR_PCP_LISTS,
        clock="global",
        gfp_bits=dict(GFP_BITS),
        extra={"cpu_node": list(cpu_nodes(machine)), "generated": workload.name},
    )
