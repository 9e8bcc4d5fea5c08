# SPDX-License-Identifier: GPL-2.0-or-later
"""The demand of a scaled recording: copies of one demand, shifted in time, each with objects, pages and tasks of its own.

Copies that share CPUs take turns on them, a slice each, at the recorded speed: a CPU does as much in a second as it did. So all
takes that many times as long, and requests that followed each other on a CPU still do, but for what a slice cuts. Where there are
more CPUs than copies, the tasks of a copy are spread over its groups of CPUs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from kevacuate.demand import objects as ob
from kevacuate.demand.again import Again
from kevacuate.demand.build import Demand
from kevacuate.recording.demand import DEMAND_TYPES, DemandChunk
from kevacuate.runs.initial_state import SHARED_CPU_SLICE_NS, splitmix64
from kevacuate.runs.scaled_start import ScaledStart, Scaling

SHADOW_UNIT = 1 << 10
"""Copies' shadows begin at multiples of the largest folio."""

TASKS = 1 << 22
"""Tasks a copy: the kernel's PID_MAX_LIMIT on 64 bits (include/linux/threads.h)."""


@dataclass(frozen=True)
class Plan:
    """What is made of a demand.

    Attributes
    ----------
    demand : Demand
        That is copied; read once to its end.
    cpus : int
        CPUs of its machine.
    scaling : Scaling
        Where the copies' memory and CPUs lie.
    start : ScaledStart
        The start of the scaled machine.
    length : int
        Passes of each copy.
    phase : float
        Largest shift of a copy, and longest pause between passes, as a share of the demand's length.
    seed : int
        Of what is drawn.
    used : list of int
        Ids that each copy has used besides those of the start's objects, once its rows are made.
    """

    demand: Demand
    cpus: int
    scaling: Scaling
    start: ScaledStart
    length: int
    phase: float
    seed: int
    used: list[int] = field(default_factory=list)

    @property
    def objects(self) -> int:
        """Ids that the scaled demand uses, once its rows are made: behind the start's the copies' in turn; at least 1."""
        return max(len(self.start.objects.pfn) + self.scaling.copies * max(self.used, default=0), 1)

    @property
    def shadows(self) -> int:
        """Shadow numbers of a copy."""
        return -(-(self.demand.quality.peak_shadows + 1) // SHADOW_UNIT) * SHADOW_UNIT

    def chunks(self) -> Iterator[DemandChunk]:
        """The rows of the closed loop, in order of time."""
        return _merged([_Copy(self, number).rows() for number in range(self.scaling.copies)])


class _Copy:
    """One copy of the demand."""

    def __init__(self, plan: Plan, number: int) -> None:
        self.plan, self.number = plan, number
        groups, copies = plan.scaling.groups, plan.scaling.copies
        self.turn, self.turns = number // groups, -(-copies // groups)
        self.own_groups = max(len(range(number, groups, copies)), 1)
        self.begin = 0
        self._drawn = 0

    def _draw(self, most: int) -> int:
        """A number from 0 to *most* - 1, drawn by seed, copy, and how many were drawn before."""
        self._drawn += 1
        place = np.array([self.number << 32 | self._drawn])
        return int(splitmix64(place, self.plan.seed)[0] >> np.uint64(11)) * max(most, 1) >> 53

    def rows(self) -> Iterator[DemandChunk]:
        """Its rows, in order of time: the first copy begins at once, the others are shifted."""
        plan = self.plan
        demand, quality = plan.demand, plan.demand.quality
        span = demand.spans.closed.last + 1
        most = round(span * plan.phase)
        self.begin = self._draw(most + 1) if self.number else 0
        passes = Again(
            demand.start_objects, quality.peak_objects, quality.peak_shadows + SHADOW_UNIT, plan.length
        )
        for number in range(plan.length):
            whole = demand.chunks(closed=True)
            for chunk in whole if plan.length == 1 else passes.rows(whole):
                yield self._placed(chunk)
            if number + 1 < plan.length:
                pause = self._draw(most + 1)
                for chunk in passes.between(span, pause, self._draw):
                    yield self._placed(chunk)
                self.begin += span + pause
        ids = quality.peak_objects if plan.length == 1 else passes.ids
        plan.used.append(ids - len(demand.start_objects.pfn))

    def _placed(self, d: DemandChunk) -> DemandChunk:
        """The rows with the copy's times, CPUs, ids, pages, shadows and tasks; those that number pages of files are left out."""
        files = np.isin(d.op, (ob.OP_PLACE, ob.OP_READ))
        if files.any():
            d = DemandChunk._make(column[~files] for column in d)
        pfn = d.op == ob.OP_FREE_PFN
        gather = d.op == ob.OP_GATHER
        shadow = gather | np.isin(d.op, (ob.OP_ALLOC, ob.OP_RECLAIM, ob.OP_TRUNCATE))
        upper = d.op == ob.OP_SPLIT
        shift = self.number * self.plan.shadows
        aux = np.where(shadow & (d.aux > 0), d.aux + shift, d.aux).astype(np.int64)
        aux[upper] = self._ids(d.aux[upper])
        aux[pfn] = self.plan.scaling.placed(d.aux[pfn], self.number)
        obj = np.where(gather, d.obj + shift, d.obj).astype(np.int64)
        named = ~np.isin(d.op, ob.OF_NO_OBJECT)
        obj[named] = self._ids(d.obj[named])
        changed = {
            "t": self._times(d.t),
            "cpu": d.cpu.astype(np.int64) + self._group(d.task) * self.plan.cpus,
            "obj": obj,
            "aux": aux,
            "task": np.where(d.task > 0, d.task.astype(np.int64) + self.number * TASKS, d.task),
        }
        return d._replace(**{name: column.astype(DEMAND_TYPES[name]) for name, column in changed.items()})

    def _ids(self, obj: np.ndarray) -> np.ndarray:
        """The scaled demand's ids of the copy's."""
        plan, own = self.plan, self.plan.start.ids[self.number]
        first = len(plan.start.objects.pfn) + self.number
        after = first + (obj.astype(np.int64) - len(own)) * plan.scaling.copies
        if not len(own):
            return after
        return np.where(obj < len(own), own[np.minimum(obj, len(own) - 1)], after)

    def _group(self, task: np.ndarray) -> np.ndarray:
        """The group of CPUs that each task of the copy runs on."""
        copies, groups = self.plan.scaling.copies, self.plan.scaling.groups
        if self.own_groups == 1:
            return np.full(len(task), self.number % groups, np.int64)
        drawn = splitmix64(task.astype(np.int64), self.plan.seed) % np.uint64(self.own_groups)
        return np.asarray(self.number + copies * drawn.astype(np.int64))

    def _times(self, t: np.ndarray) -> np.ndarray:
        """When the rows come: in the copy's slices, which follow each other after those of the copies that share its CPUs."""
        at = t + self.begin
        within = at % SHARED_CPU_SLICE_NS
        return np.asarray((at - within) * self.turns + self.turn * SHARED_CPU_SLICE_NS + within)


def _joined(chunks: list[DemandChunk]) -> DemandChunk:
    """Several chunks as one."""
    return DemandChunk._make(np.concatenate(columns) for columns in zip(*chunks, strict=True))


def _merged(streams: list[Iterator[DemandChunk]]) -> Iterator[DemandChunk]:
    """The rows of all streams in order of time; of rows at one time those of the earlier stream first."""
    streams = [
        (chunk for chunk in stream if chunk.t.size) for stream in streams
    ]  # of rows of files alone none is left
    if len(streams) == 1:
        yield from streams[0]
        return
    held: list[DemandChunk | None] = [next(stream, None) for stream in streams]
    while any(chunk is not None for chunk in held):
        last = [int(chunk.t[-1]) for chunk in held if chunk is not None]
        horizon = min(last)
        ready: list[DemandChunk] = []
        for number, chunk in enumerate(held):
            if chunk is None:
                continue
            if int(chunk.t[-1]) == horizon:  # what follows may have the same time
                more = next(streams[number], None)
                held[number] = chunk if more is None else _joined([chunk, more])
                if more is None:
                    ready.append(chunk)
                    held[number] = None
                    continue
            current = held[number]
            assert current is not None
            cut = int(np.searchsorted(current.t, horizon, "left"))
            ready.append(DemandChunk._make(column[:cut] for column in current))
            held[number] = DemandChunk._make(column[cut:] for column in current)
        rows = _joined(ready)
        if rows.t.size:
            by = np.argsort(rows.t, kind="stable")
            yield DemandChunk._make(column[by] for column in rows)
