# SPDX-License-Identifier: GPL-2.0-or-later
"""A demand on another start state than its own: memory as the one left it, filled by the other.

What the demand had in use at its own start, and can move, is allocated first, at time 0. What its kernel held then stays away:
the start state has a kernel's memory of its own. Frees of such pages (op FREE_PFN) are left out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from kevacuate.demand.build import Demand, build_demand
from kevacuate.demand.loops import NOTHING
from kevacuate.demand.objects import OF_NO_OBJECT, OP_FREE, OP_RECLAIM, REQUESTS
from kevacuate.demand.pagekinds import draw_start
from kevacuate.demand.start_objects import pages_in_use, refuse_too_many_pages, start_objects
from kevacuate.errors import KevacuateError
from kevacuate.kernel.gfp import GFP_COMP, GFP_HIGHUSER_MOVABLE, GFP_TRANSHUGE_LIGHT
from kevacuate.kernel.migratetypes import MIGRATE_MOVABLE
from kevacuate.kernel.pageattr import PageAttr
from kevacuate.measure.startfile import StartState
from kevacuate.recording import (
    AllocatorState,
    DemandChunk,
    DemandOp,
    EventChunk,
    Machine,
    Recording,
    StartObjects,
)
from kevacuate.recording.demand import DEMAND_TYPES
from kevacuate.recording.ringbuf import CpuLosses
from kevacuate.recording.snapshot import Snapshot
from kevacuate.recording.state import BUSY, PINNED, page_count
from kevacuate.workload.stream import once

OF_OBJECTS = ~np.isin(np.arange(256), OF_NO_OBJECT)
"""By operation: whether its ``obj`` is an object."""

FIRST_ROWS = 1 << 17
"""Rows of a chunk of what the demand had at its own start."""


def behind(chunk: DemandChunk, first: int) -> DemandChunk:
    """The rows with object ids from *first* on, without those that free pages of nobody."""
    kept = chunk.op != DemandOp.FREE_PFN
    rows = chunk if kept.all() else DemandChunk._make(column[kept] for column in chunk)
    if not first:
        return rows
    shift = np.where(OF_OBJECTS[rows.op], first, 0).astype(np.int32)
    halves = np.where(rows.op == DemandOp.SPLIT, first, 0).astype(np.int32)
    return rows._replace(obj=rows.obj + shift, aux=rows.aux + halves)


def first_rows(own: StartObjects, first: int, cpus: int, hugepage_order: int) -> Iterator[DemandChunk]:
    """Rows that allocate the demand's own start objects, by pfn, an equal run of them on each CPU."""
    count = len(own.pfn)
    for at in range(0, count, FIRST_ROWS):
        number = np.arange(at, min(at + FIRST_ROWS, count))
        order = own.order[number]
        compound = np.where(order == hugepage_order, GFP_TRANSHUGE_LIGHT, GFP_HIGHUSER_MOVABLE | GFP_COMP)
        columns: dict[str, Any] = {
            "op": np.full(len(number), DemandOp.ALLOC),
            "cpu": number * cpus // count,
            "obj": first + number,
            "order": order,
            "mt": np.full(len(number), MIGRATE_MOVABLE),
            "gfp": np.where(order > 0, compound, GFP_HIGHUSER_MOVABLE),
            "attr": own.attr[number],
            "task": np.full(len(number), -1),
        }
        zeros = np.zeros(len(number), np.int64)
        yield DemandChunk(**{n: np.asarray(columns.get(n, zeros), kind) for n, kind in DEMAND_TYPES.items()})


def demand_on(
    demand: Demand, objects: StartObjects, cpus: int, hugepage_order: int, own_pages: int = 0
) -> Demand:
    """The demand for a start state with these *objects*: its ids follow theirs. What is counted of it is not known yet."""
    first, began = len(objects.pfn), demand.start_objects

    def chunks(made: Demand) -> Iterator[DemandChunk]:
        yield from first_rows(began, first, cpus, hugepage_order)
        for chunk in demand.chunks(closed=True):
            rows = behind(chunk, first)
            if rows.t.size:
                yield rows
        counted = demand.quality
        peak = first + max(counted.peak_objects, len(began.pfn))
        made.complete(replace(counted, peak_objects=peak, allocs=counted.allocs + len(began.pfn)))

    made = Demand(objects, chunks, demand.kinds)
    made.own_pages = own_pages
    if (redrawn := demand.redrawn) is not None:
        made.redrawn = lambda seed: demand_on(redrawn(seed), objects, cpus, hugepage_order, own_pages)
    return made


def peak_pages(demand: Demand) -> int:
    """The most pages that the demand has at once, were nothing reclaimed but what was recorded. Reads it, and counts it, once."""
    alive, peak, spans = 0, 0, NOTHING
    for chunk in demand.chunks(closed=True):
        sign = np.isin(chunk.op, REQUESTS).astype(np.int64) - np.isin(chunk.op, (OP_FREE, OP_RECLAIM))
        pages = alive + np.cumsum(sign << chunk.order.astype(np.int64))
        peak, alive = max(peak, int(pages.max(initial=0))), int(pages[-1])
        spans = spans.after(chunk)
    demand.measured(spans)
    return peak


def room(state: AllocatorState, objects: StartObjects, *, reclaims: bool, swapped: int = 0) -> int:
    """Pages that a demand can have: free, on per-CPU lists, and if the model *reclaims* page cache and what swap gains."""
    free = int((1 << state.free.order.astype(np.int64)).sum()) + int(state.pcp.count.sum())
    file = objects.attr & (PageAttr.LRU | PageAttr.FILE) == PageAttr.LRU | PageAttr.FILE
    return free + (int((1 << objects.order[file].astype(np.int64)).sum()) + swapped if reclaims else 0)


def refuse_too_large(demand: Demand, start: AllocatorState, *, closed: bool, swapped: int = 0) -> None:
    """Refuse a demand that needs more memory than the start state has room for, where the need is known.

    *swapped*: pages that swapping gains.

    Raises
    ------
    KevacuateError
        Says how much each is.
    """
    need, have = demand.peak_pages, room(start, demand.start_objects, reclaims=closed, swapped=swapped)
    if need is not None and need > have:
        where = "" if closed else " in the open loop, which reclaims nothing"
        raise KevacuateError(
            f"The demand has up to {need >> 8:,} MiB at once, and its start state has room for {have >> 8:,} MiB{where}: scale "
            "it with `kevacuate start --memory SIZE`."
        )


class StartedSource:
    """A recording's demand on a start state, in the place of a recording: no events."""

    def __init__(self, recording: Recording, start: StartState, name: str) -> None:
        refuse_too_many_pages(start.state, f"The start state {name}")
        self._recording, self._start, digest = recording, start, start.digest
        body = json.dumps({"demand": recording.digest, "start": digest})
        self.digest = hashlib.sha256(body.encode()).hexdigest()
        self.machine = machine_of(
            recording.machine, start.machine, {"file": name, "digest": digest, "lru_order": start.lru_order}
        )
        self.quality: dict[str, Any] = {**recording.quality, "start": list(start.made)}

    def losses(self) -> tuple[CpuLosses, ...]:
        """What the demand's recording lost."""
        return self._recording.losses

    def passed_over(self) -> dict[str, int]:
        """As of the demand's recording."""
        return self._recording.passed_over

    def not_read(self) -> dict[str, int]:
        """As of the demand's recording."""
        return self._recording.not_read

    def event_times(self) -> tuple[int, int] | None:
        """There are no events."""
        return None

    def snapshot_counts(self) -> tuple[Snapshot, ...]:
        """There are no snapshots."""
        return ()

    def states(self) -> Iterator[AllocatorState]:
        """The start state."""
        yield self._start.state

    def events(self, kinds: frozenset[int], chunk_rows: int, since: int = -1) -> Iterator[EventChunk]:
        """There are no events."""
        return iter(())


def machine_of(demand: Machine, start: Machine, named: dict[str, str], whose: str = "the demand") -> Machine:
    """The start state's machine with the kernel of the demand's, whose time the rows are in.

    Raises
    ------
    KevacuateError
        The two machines do not fit together.
    """
    for name, what in (
        ("pageblock_order", "pageblocks"),
        ("hugepage_order", "huge pages"),
        ("page_size", "pages"),
    ):
        ours, theirs = getattr(start, name), getattr(demand, name)
        if ours != theirs:
            raise KevacuateError(
                f"The start state {named['file']} has {what} of another size than {whose} ({name} {ours}, not {theirs}): take "
                "one of a like machine."
            )
    if demand.cpus > start.cpus:
        raise KevacuateError(
            f"{whose[0].upper()}{whose[1:]} runs on {demand.cpus} CPUs, and the start state {named['file']} is of a machine "
            f"with {start.cpus}: give it more with `kevacuate start --cpus N`."
        )
    extra = {name: value for name, value in start.extra.items() if name != "generated"}
    if "generated" in demand.extra:
        extra["generated"] = demand.extra["generated"]
    return replace(
        start,
        kernel=demand.kernel,
        hooks=demand.hooks,
        gfp_bits=demand.gfp_bits,
        extra={**extra, "start": named},
    )


def objects_of(start: StartState, demand: Demand) -> StartObjects:
    """The start state's folios that can move; who is pinned or busy is drawn as the demand's are, unless the state says so."""
    used = pages_in_use(start.state, start.machine.hugepage_order)
    found, flags = start_objects(start.state, used), start.state.page_flags
    if any(step.get("step") == "replayed" for step in start.made) and flags is not None:
        own = flags[found.pfn]
        attr = np.where(own & PINNED, PageAttr.PINNED, 0) | np.where(own & BUSY, PageAttr.BUSY, 0)
        return found._replace(attr=found.attr | attr.astype(np.uint8))
    return found._replace(attr=draw_start(found.attr, demand.kinds))


def started(recording: Recording, start: StartState, name: str) -> Recording:
    """The recording's demand on a start state: every verb that replays takes it.

    Raises
    ------
    KevacuateError
        The start state is of a machine that the demand does not fit.
    """
    source = StartedSource(recording, start, name)
    return Recording(recording.path, source, once(lambda: _demand(recording, start)))


def _demand(recording: Recording, start: StartState) -> Demand:
    """The recording's demand on the start state, measured."""
    own = build_demand(recording)
    machine = start.machine
    pages = 0 if recording.start is None else page_count(recording.start)
    made = demand_on(own, objects_of(start, own), recording.machine.cpus, machine.hugepage_order, pages)
    made.peak_pages = peak_pages(made)
    return made
