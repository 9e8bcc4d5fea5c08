# SPDX-License-Identifier: GPL-2.0-or-later
"""What became of every pageblock in a run: claims, steals and evacuations, read from the model's event log (level 1).

The log is docs/model.md, section Log; its records are int64[n, 8]: t, kind, cpu, pfn, a, b, c, d. Times are ns of virtual time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from kevacuate.mm import constants as k

T, KIND, CPU, PFN, A, B, C, D = range(8)
"""Columns of a record."""

STEAL, CLAIM, CLAIM_BLOCK = range(3)
"""Kinds of an mm_page_alloc_extfrag event: a page taken, a pageblock claimed, a chunk of one or more whole blocks claimed."""
FLOW_NAMES = ("steal", "claim", "claim_block")
"""Their names, as :func:`kevacuate.measure.metrics.extfrag_events` gives them."""

BLOCK_KINDS = (
    k.L_EXTFRAG,
    k.L_EVAC_CLAIM,
    k.L_EVAC_QUEUED,
    k.L_EVAC_DROPPED,
    k.L_EVAC_STARTED,
    k.L_EVAC_SKIPPED,
    k.L_EVAC_ISOLATE,
    k.L_EVAC_RECLAIM,
    k.L_EVAC_MIGRATE,
    k.L_EVAC_PUTBACK,
    k.L_EVAC_FINISHED,
    k.L_BLOCK_TYPE,
    k.L_HIGHATOMIC_RESERVE,
    k.L_HIGHATOMIC_UNRESERVE,
)
"""Kinds of records that belong to one pageblock."""


@dataclass(frozen=True)
class Flow:
    """One mm_page_alloc_extfrag event: a request took pages of another type."""

    t: int
    cpu: int
    pfn: int
    block: int
    kind: int
    """STEAL, CLAIM or CLAIM_BLOCK."""
    wanted: int
    """Migratetype asked for."""
    source: int
    """Migratetype of the free list that the pages came from."""
    order: int
    """Order asked for."""
    taken_order: int
    """Order of the chunk found (fallback_order)."""


@dataclass(frozen=True)
class ClaimAttempt:
    """try_to_claim_block below pageblock order: what it counted, and whether that was enough."""

    t: int
    cpu: int
    block: int
    wanted: int
    source: int
    free: int
    movable: int
    claimed: bool


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
    type_then: int = -1
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


class History:
    """A run's event log, by pageblock.

    Parameters
    ----------
    records : int64[n, 8]
        The log, in order of time; kinds that are not known are passed over.
    pageblock_order : int
        Pages of a block are 2**pageblock_order.
    lost : int
        Records that did not fit in the model's log and are missing here.
    """

    def __init__(self, records: npt.NDArray[np.int64], pageblock_order: int, lost: int = 0) -> None:
        self.records = np.asarray(records, np.int64).reshape(-1, 8)
        self.pageblock_order = pageblock_order
        self.lost = lost

    @classmethod
    def of_log(cls, log: Sequence[npt.NDArray[np.int64]], pageblock_order: int, lost: int = 0) -> History:
        """From the pieces of a log, as ``Replay.log`` keeps them."""
        whole = np.concatenate([np.empty((0, 8), np.int64), *log])
        return cls(whole[np.isin(whole[:, KIND], BLOCK_KINDS)], pageblock_order, lost)

    def __len__(self) -> int:
        return len(self.records)

    @cached_property
    def block_of(self) -> npt.NDArray[np.int64]:
        """The pageblock (pfn >> pageblock_order) of every record."""
        return self.records[:, PFN] >> self.pageblock_order

    @cached_property
    def blocks(self) -> npt.NDArray[np.int64]:
        """The pageblocks that have a history, ascending."""
        return np.unique(self.block_of)

    @cached_property
    def _by_block(self) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """Record numbers by (block, time), and where each block's begin."""
        order = np.argsort(self.block_of, kind="stable")
        return order, np.searchsorted(self.block_of[order], self.blocks)

    def of_block(self, block: int) -> History:
        """The history of one pageblock; empty if nothing happened to it.

        A chunk larger than a pageblock is the history of its first block alone; the others' change of type is a record of theirs.
        """
        order, begins = self._by_block
        at = int(np.searchsorted(self.blocks, block))
        found = at < len(self.blocks) and int(self.blocks[at]) == block
        end = begins[at + 1] if at + 1 < len(begins) else len(order)
        rows = order[begins[at] : end] if found else order[:0]
        return History(self.records[rows], self.pageblock_order, self.lost)

    def of_kind(self, *kinds: int) -> npt.NDArray[np.int64]:
        """The records of these kinds."""
        return self.records[np.isin(self.records[:, KIND], kinds)]

    def flow_kinds(self) -> npt.NDArray[np.int8]:
        """STEAL, CLAIM or CLAIM_BLOCK for every record; -1 where it is not an extfrag event.

        A claim is an event whose page's block was of the wanted type afterwards (change_ownership), as the kernel's own
        tracepoint tells them apart.
        """
        is_flow = self.records[:, KIND] == k.L_EXTFRAG
        claimed = self.records[:, D] > 0
        whole = self.records[:, B] >= self.pageblock_order
        kind = np.where(claimed, np.where(whole, CLAIM_BLOCK, CLAIM), STEAL)
        return np.where(is_flow, kind, -1).astype(np.int8)

    def flows(self) -> Iterator[Flow]:
        """The extfrag events, in order of time."""
        kinds = self.flow_kinds()
        for i in np.flatnonzero(kinds >= 0).tolist():
            t, _, cpu, pfn, order, taken, types, _ = self.records[i].tolist()
            block = pfn >> self.pageblock_order
            yield Flow(t, cpu, pfn, block, int(kinds[i]), types & 255, types >> 8, order, taken)

    def claim_attempts(self) -> Iterator[ClaimAttempt]:
        """The attempts to claim a block, the refused ones included, in order of time."""
        for t, _, cpu, pfn, types, free, movable, claimed in self.of_kind(k.L_EVAC_CLAIM).tolist():
            block = pfn >> self.pageblock_order
            yield ClaimAttempt(t, cpu, block, types >> 8, types & 255, free, movable, claimed != 0)

    def evacuations(self) -> list[Evacuation]:
        """Every evacuation that was queued or dropped, in that order."""
        return _Evacuations(self.pageblock_order).read(self.records)


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
        wanted = records[np.isin(records[:, KIND], (*steps, *later))]
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
            run.type_then, run.skip_bit = types >> 8, types & 1 != 0
            self.running[cpu, block] = run

    def _skipped(self, t: int, cpu: int, block: int, values: list[int]) -> None:
        run = self.waiting.pop(values[3], None)
        if run is not None:
            run.started = run.ended = t
            run.cpu, run.type_then = cpu, k.MIGRATE_MOVABLE

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
