# SPDX-License-Identifier: GPL-2.0-or-later
"""The evacuations of a run, each from its queueing to its end, put together from the model's event log (level 1)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from kevacuate.mm import constants as k
from kevacuate.mm.fields import LogRecord


@dataclass(frozen=True)
class Batch:
    """One turn of evacuate_pageblock's loop, up to COMPACT_CLUSTER_MAX pages; -1 where a step did not come to pass."""

    t: int
    first: int
    """Offset in the block where the scan began, and ..."""
    end: int
    """... where it stopped."""
    isolated: int
    dropped: int = -1
    given: int = -1
    migrated: int = -1
    failed: int = -1
    put_back: int = -1


@dataclass
class Evacuation:
    """The life of one work item; times are None for what had not come to pass when the run ended."""

    block: int
    queued: int
    queued_by: int
    """CPU whose request claimed the block."""
    node: int
    item: int
    """Number of the item in the pool; -1: none was left, and the request was dropped."""
    started: int | None = None
    cpu: int = -1
    """CPU of the worker."""
    skip_bit: bool = False
    free: int = 0
    """Pages free in the block when the worker started, and ..."""
    on_lru: int = 0
    """... pages on LRU lists."""
    batches: list[Batch] = field(default_factory=list)
    ended: int | None = None
    isolated: int = 0
    dropped: int = 0
    """Clean page cache given up."""
    migrated: int = 0
    failed: int = 0
    why: int | None = None
    """How it ended: an index of WHY_NAMES; None if it did not, or had nothing to do."""

    @property
    def result(self) -> str:
        """How it ended, in words."""
        if self.item < 0:
            return "dropped: no item was left in the pool"
        if self.why is not None:
            return k.WHY_NAMES[self.why]
        if self.ended is not None:
            return "nothing to do: the block was movable again"
        return "still queued" if self.started is None else "still under way"


def read_evacuations(records: npt.NDArray[np.int64], pageblock_order: int) -> list[Evacuation]:
    """Every evacuation that was queued or dropped, in that order; *records* are the log's, int64[n, 8]."""
    return _Evacuations(pageblock_order).read(records)


class _Evacuations:
    """Puts the records of evacuations together: by item until one starts, then by worker's CPU and block."""

    def __init__(self, pageblock_order: int) -> None:
        self.order = pageblock_order
        self.all: list[Evacuation] = []
        self.waiting: dict[int, Evacuation] = {}
        self.running: dict[tuple[int, int], Evacuation] = {}

    def read(self, records: npt.NDArray[np.int64]) -> list[Evacuation]:
        """All of them; what belongs to an evacuation whose beginning was lost is passed over."""
        steps = {
            k.L_EVAC_QUEUED: self._queued,
            k.L_EVAC_DROPPED: self._dropped,
            k.L_EVAC_STARTED: self._started,
            k.L_EVAC_SKIPPED: self._skipped,
        }
        later = (k.L_EVAC_ISOLATE, k.L_EVAC_RECLAIM, k.L_EVAC_MIGRATE, k.L_EVAC_PUTBACK, k.L_EVAC_FINISHED)
        wanted = records[np.isin(LogRecord.table(records)["kind"], (*steps, *later))]
        for t, kind, cpu, pfn, *values in wanted.tolist():
            if kind in steps:
                steps[kind](t, cpu, pfn >> self.order, values)
            elif run := self.running.get((cpu, pfn >> self.order)):
                self._step(run, t, kind, values)
        return self.all

    def _queued(self, t: int, cpu: int, block: int, values: list[int]) -> None:
        self.waiting[values[0]] = Evacuation(block, t, cpu, values[1], values[0])
        self.all.append(self.waiting[values[0]])

    def _dropped(self, t: int, cpu: int, block: int, values: list[int]) -> None:
        self.all.append(Evacuation(block, t, cpu, values[0], -1))

    def _started(self, t: int, cpu: int, block: int, values: list[int]) -> None:
        types, free, on_lru, item = values
        run = self.waiting.pop(item, None)
        if run is not None:
            run.started, run.cpu, run.free, run.on_lru = t, cpu, free, on_lru
            run.skip_bit = types & 1 != 0
            self.running[cpu, block] = run

    def _skipped(self, t: int, cpu: int, block: int, values: list[int]) -> None:
        run = self.waiting.pop(values[3], None)
        if run is not None:
            run.started = run.ended = t
            run.cpu = cpu

    def _step(self, run: Evacuation, t: int, kind: int, values: list[int]) -> None:
        a, b, c, d = values
        if kind == k.L_EVAC_FINISHED:
            run.ended, run.isolated, run.dropped, run.migrated = t, a, b, c
            run.failed, run.why = d >> 8, min(d & 255, len(k.WHY_NAMES) - 1)
            del self.running[run.cpu, run.block]
            return
        if kind == k.L_EVAC_ISOLATE:
            run.batches.append(Batch(t, c, d, b))
            return
        if not run.batches:
            return
        known: dict[str, Any] = vars(run.batches[-1])
        if kind == k.L_EVAC_RECLAIM:
            news = {"dropped": a}
        elif kind == k.L_EVAC_MIGRATE:
            news = {"given": b, "migrated": c, "failed": d}
        else:
            news = {"put_back": a}
        run.batches[-1] = Batch(**(known | news))
