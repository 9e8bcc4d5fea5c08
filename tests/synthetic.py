# SPDX-License-Identifier: GPL-2.0-or-later
"""A tiny recording made by hand: 32 MiB, two CPUs, and a demand that fragments memory."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kevacuate.demand.pagekinds import PageKindModel
from kevacuate.demand.quality import DemandQuality
from kevacuate.mm import constants as k
from kevacuate.recording import (
    AllocatorState,
    CpuLosses,
    DemandChunk,
    DemandOp,
    EventChunk,
    EventKind,
    KevWriter,
    Machine,
    PageAttr,
    Recording,
    StartObjects,
    ZoneInfo,
    ZoneState,
    write_demand,
)
from kevacuate.recording.demand import DEMAND_TYPES
from kevacuate.recording.schema import COLUMN_TYPES
from kevacuate.recording.state import Blocks, FreePages, PcpFields, PcpPages
from kevacuate.runs.interleave import interleaved, sort_out
from kevacuate.runs.variation import Variation

FIRST = 1024
"""First pfn: below it there is no memory."""
PAGES = 8192
END = FIRST + PAGES
BLOCK = 512
CPUS = 2
RESERVED = range(FIRST, FIRST + 64)
"""Pages that the allocator never had."""
ANONYMOUS = range(FIRST + 64, FIRST + 192)
"""Pages in use at the start that no object stands for."""
START_OBJECTS = range(FIRST + 192, FIRST + 256)
"""Pages of objects 0, 1, ... on LRU lists at the start."""
KPF_RESERVED, KPF_LRU = 32, 5
FRAGMENTING_ROWS = 24_000
PHASE_ROWS = 4_000
"""Rows of the fragmenting demand until the other kind of memory grows."""
PHASE_STEP, PHASE_PAUSE = 1_000, 76_000_000
"""Its ns from row to row, and from phase to phase. In a phase of 4 ms blocks are claimed and evacuated before kcompactd, which
kswapd wakes as boosts end, has been over them: its skip bits would stop every evacuation, and nothing in the model clears one."""
OBJECTS = 20_000
"""Ids that the fragmenting demand may use."""

RECLAIMING_OBJECTS, TASKS = 10_000, 5
"""Ids that the demand of page cache may use, and tasks that it is of."""
READ = k.GFP_HIGHUSER_MOVABLE | k.GFP_COMP | k.GFP_NORETRY | k.GFP_NOWARN
"""What readahead asks with."""

FILE = int(PageAttr.LRU | PageAttr.FILE)
ANON = int(PageAttr.LRU)
GFP = {
    k.MIGRATE_UNMOVABLE: k.GFP_KERNEL,
    k.MIGRATE_MOVABLE: k.GFP_HIGHUSER_MOVABLE,
    k.MIGRATE_RECLAIMABLE: k.GFP_KERNEL | k.GFP_RECLAIMABLE,
}


def machine(**changes: Any) -> Machine:
    """The machine, changed as told."""
    zone = ZoneInfo(0, 2, "Normal", FIRST, PAGES, PAGES, PAGES - len(RESERVED), 64, 80, 96)
    values: dict[str, Any] = {
        "kernel": "7.2.0-synthetic",
        "arch": "x86_64",
        "cpus": CPUS,
        "nodes": (0,),
        "zones": (zone,),
        "zone_names": ("DMA", "DMA32", "Normal", "Movable"),
        "page_size": 4096,
        "pageblock_order": 9,
        "hugepage_order": 9,
        "nr_pcp_lists": 14,
        "clock": "global",
        "gfp_bits": {},
    }
    return Machine(**(values | changes))


def start_state(*, page_flags: bool = True, skip: bool = False) -> AllocatorState:
    """The allocator at the start: all but the first pages free, per-CPU lists empty."""
    heads = [(START_OBJECTS.stop, 8), (FIRST + BLOCK, 9)]
    heads += [(pfn, 10) for pfn in range(FIRST + 1024, END, 1024)]
    pfn, order = np.array(heads, np.int64).T
    some = np.zeros(len(heads), np.int16)
    blocks = np.arange(FIRST, END, BLOCK)
    flags = np.zeros(END, np.uint64)
    flags[RESERVED.start : RESERVED.stop] = 1 << KPF_RESERVED
    flags[START_OBJECTS.start : START_OBJECTS.stop] = 1 << KPF_LRU
    flags[:FIRST] = 1 << 20
    pcp: dict[str, Any] = {n: np.zeros(CPUS, np.int32) for n in PcpFields._fields[2:]}
    sizes = {"high": 8, "high_min": 8, "high_max": 64, "batch": 4, "nr_lists": 14}
    pcp |= {name: np.full(CPUS, value, np.int32) for name, value in sizes.items()}
    return AllocatorState(
        tag="s",
        ts=0,
        ts_begin=0,
        cpu=0,
        ordinal=-1,
        zones=(
            ZoneState(
                2, "Normal", FIRST, PAGES, PAGES, PAGES - len(RESERVED), (64, 80, 96, 112), 0, (0, 0, 0, 0)
            ),
        ),
        free=FreePages(some + 2, order.astype(np.int8), np.ones(len(heads), np.int8), pfn),
        blocks=Blocks(
            (blocks * 0 + 2).astype(np.int16), blocks, np.ones(len(blocks), np.int8), blocks * 0 + skip > 0
        ),
        pcp=PcpFields(np.full(CPUS, 2, np.int16), np.arange(CPUS, dtype=np.int16), **pcp),
        pcp_pages=PcpPages(*(np.empty(0, t) for t in (np.int16, np.int16, np.int8, np.int64))),
        label="start",
        page_flags=flags if page_flags else None,
    )


@dataclass
class Script:
    """A demand written row by row; ids are the caller's, times advance by *step* ns a row unless given."""

    step: int = 20_000
    rows: list[tuple[int, ...]] = field(default_factory=list)

    def add(self, op: int, obj: int = 0, order: int = 0, **more: int) -> None:
        """One row; the other columns may be given by name."""
        mt = more.get("mt", 0)
        t = more.get("t", self.rows[-1][0] + self.step if self.rows else 0)
        gfp = more.get("gfp", GFP.get(mt, 0))
        self.rows.append(
            (t, op, more.get("cpu", 0), obj, order, mt, gfp, more.get("attr", 0), more.get("aux", 0))
        )

    def alloc(self, obj: int, order: int = 0, **more: int) -> None:
        self.add(DemandOp.ALLOC, obj, order, **more)

    def free(self, obj: int, order: int = 0, **more: int) -> None:
        self.add(DemandOp.FREE, obj, order, **more)

    def chunk(self) -> DemandChunk:
        """The rows as columns of the stored types (values that do not fit wrap around)."""
        table = np.array([(*row, -1) for row in self.rows], np.int64).reshape(-1, 10).T
        types = DEMAND_TYPES.values()
        return DemandChunk(*(column.astype(dtype) for column, dtype in zip(table, types, strict=True)))


def fragmenting(rows: int = FRAGMENTING_ROWS, seed: int = 1) -> Script:
    """Movable pages fill memory, give way while kernel allocations grow into their blocks, and come back.

    Some are too large for what is left, some are split, some come in bulk; start pages are freed too.
    Each phase is a burst, followed by a pause in which the background work ends.
    """
    rng = np.random.default_rng(seed)
    script = Script(PHASE_STEP)
    spare = list(range(OBJECTS - 1, len(START_OBJECTS) - 1, -1))
    live = {"movable": [(i, 0) for i in range(len(START_OBJECTS))], "kernel": []}
    used = {"movable": len(START_OBJECTS), "kernel": 0}
    anonymous = list(ANONYMOUS)
    while len(script.rows) < rows:
        kernel_grows = len(script.rows) // PHASE_ROWS % 2 == 1
        goal = {"movable": 0.45, "kernel": 0.4} if kernel_grows else {"movable": 0.8, "kernel": 0.08}
        kind = "movable" if rng.random() < 0.7 else "kernel"
        cpu = int(rng.integers(CPUS))
        if anonymous and rng.random() < 0.005:
            script.add(DemandOp.FREE_PFN, -1, 0, cpu=cpu, aux=anonymous.pop())
        elif live[kind] and rng.random() < (0.75 if used[kind] > goal[kind] * PAGES else 0.1):
            obj, order = live[kind].pop(int(rng.integers(len(live[kind]))))
            if order and rng.random() < 0.3:
                upper = spare.pop()
                script.add(DemandOp.SPLIT, obj, order, cpu=cpu, aux=upper)
                live[kind] += [(obj, order - 1), (upper, order - 1)]
            else:
                script.free(obj, order, cpu=cpu)
                spare.append(obj)
                used[kind] -= 1 << order
        elif sum(used.values()) < 0.92 * PAGES:
            obj = spare.pop()
            order = _movable(script, rng, obj, cpu) if kind == "movable" else _kernel(script, rng, obj, cpu)
            live[kind].append((obj, order))
            used[kind] += 1 << order
    script.rows = [(t + n // PHASE_ROWS * PHASE_PAUSE, *row) for n, (t, *row) in enumerate(script.rows)]
    return script


def _movable(script: Script, rng: np.random.Generator, obj: int, cpu: int) -> int:
    """A movable allocation of the fragmenting demand; its order."""
    order = int(rng.choice([0, 1, 2, 3, 9], p=[0.7, 0.1, 0.1, 0.099, 0.001]))
    odd = [FILE | PageAttr.DIRTY, ANON | PageAttr.PINNED, FILE | PageAttr.BUSY, FILE | PageAttr.WRITEBACK]
    attr = int(rng.choice([ANON, FILE, *odd], p=[0.44, 0.45, 0.098, 0.004, 0.004, 0.004]))
    script.alloc(obj, order, mt=k.MIGRATE_MOVABLE, attr=attr, cpu=cpu)
    return order


def _kernel(script: Script, rng: np.random.Generator, obj: int, cpu: int) -> int:
    """A kernel allocation of the fragmenting demand; its order."""
    order = int(rng.choice([0, 1, 2, 3, 10], p=[0.4, 0.25, 0.2, 0.149, 0.001]))
    mt = k.MIGRATE_RECLAIMABLE if rng.random() < 0.2 else k.MIGRATE_UNMOVABLE
    op = DemandOp.ALLOC_BULK if order == 0 and rng.random() < 0.1 else DemandOp.ALLOC
    script.add(op, obj, order, mt=mt, cpu=cpu)
    return order


def start_objects() -> StartObjects:
    """The start state's movable objects: every other one is clean page cache."""
    pfn = np.arange(START_OBJECTS.start, START_OBJECTS.stop, dtype=np.int64)
    attr = np.where(pfn % 2, FILE, ANON).astype(np.uint8)
    return StartObjects(pfn, np.zeros(len(pfn), np.uint8), attr)


def write_recording(
    path: Path,
    script: Script | None = None,
    *,
    state: AllocatorState | None = None,
    described: Machine | None = None,
    start: StartObjects | None = None,
    missed: int = 0,
    gaps: int = 0,
    facts: dict[str, Any] | None = None,
) -> Path:
    """Write a ``.kev`` directory with a demand (the fragmenting one unless said); *missed* events lost, more at *gaps*."""
    with KevWriter(path, described or machine()) as writer:
        event: dict[str, Any] = {n: np.zeros(1, t) for n, t in COLUMN_TYPES.items()}
        event["kind"][0], event["ts"][0] = EventKind.MM_PAGE_FREE, 1
        writer.add_events(EventChunk(**event))
        writer.add_state(state or start_state())
        losses = [CpuLosses(cpu) for cpu in range(CPUS)]
        if missed or gaps:
            losses[1] = CpuLosses(1, missed=missed, gaps=gaps)
        writer.set_losses(losses)
    script = script or fragmenting()
    quality = DemandQuality(alloc_events=len(script.rows), peak_objects=OBJECTS)
    known = {"quality": quality.as_dict(), "page_kinds": asdict(PageKindModel())}
    write_demand(path, [script.chunk()], start or start_objects(), known if facts is None else facts)
    return path


def reclaiming(rows: int = 6_000, objects: int = 1_500, seed: int = 1) -> DemandChunk:
    """Page cache that is read, used, split, reclaimed, read again and given up; each row is a random task's.

    *objects* live at once, of one to four pages.
    """
    script = Script(10_000)
    rng = np.random.default_rng(seed)
    alive, shadows = dict.fromkeys(range(len(START_OBJECTS)), 0), {}
    spare = list(range(RECLAIMING_OBJECTS - 1, len(START_OBJECTS) - 1, -1))
    while len(script.rows) < rows:
        roll = rng.random()
        if roll < 0.5 and len(alive) < objects:
            obj, order = spare.pop(), int(rng.integers(3))
            aux = next((s for s, o in shadows.items() if o >= order), 0) if rng.random() < 0.5 else 0
            size = shadows.pop(aux, order)
            while size > order:  # a part is read again
                size -= 1
                shadows[aux + (1 << size)] = size
            script.alloc(obj, order, mt=k.MIGRATE_MOVABLE, attr=FILE, aux=aux, gfp=READ)
            alive[obj] = order
            continue
        obj = list(alive)[int(rng.integers(len(alive)))]
        order = alive.pop(obj)
        if roll < 0.6 and order:
            upper = spare.pop()
            script.add(DemandOp.SPLIT, obj, order, aux=upper)
            alive[obj] = alive[upper] = order - 1
        elif roll < 0.7:
            script.add(DemandOp.ACCESS, obj, order, mt=1, attr=FILE)
            alive[obj] = order
        elif roll < 0.8:
            shadow = 4 * (1 + len(script.rows) % 4_000)
            if not any(page in shadows for page in range(shadow, shadow + 4)):
                script.add(DemandOp.RECLAIM, obj, order, aux=shadow)
                shadows[shadow] = order
                spare.append(obj)
            else:
                alive[obj] = order
        elif roll < 0.85 and shadows:
            shadow, size = shadows.popitem()
            script.add(DemandOp.TRUNCATE, 0, size, aux=shadow)
            alive[obj] = order
        else:
            script.free(obj, order)
            spare.append(obj)
    chunk = script.chunk()
    return chunk._replace(task=rng.integers(0, TASKS, chunk.t.size).astype(np.int32))


def write_reclaiming(path: Path, rows: DemandChunk | None = None) -> Recording:
    """A recording of that demand, with its counts."""
    write_recording(path)
    quality = DemandQuality(
        alloc_events=1, peak_objects=RECLAIMING_OBJECTS, peak_shadows=1 << 14, reclaimed=1, accesses=1
    )
    facts = {"quality": quality.as_dict(), "page_kinds": asdict(PageKindModel())}
    write_demand(path, [reclaiming() if rows is None else rows], start_objects(), facts)
    return Recording.open(path)


def reordered(
    rows: DemandChunk, start_objects: int, seed: int, how: Variation, moments: tuple[int, ...] = ()
) -> tuple[DemandChunk, int]:
    """The rows as a seed orders them, and how many object ids they use; *rows* stay as they are."""
    own = sort_out(DemandChunk(*(column.copy() for column in rows)), start_objects)
    assert own is not None
    return interleaved(own, seed, how, moments)
