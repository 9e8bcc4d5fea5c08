# SPDX-License-Identifier: GPL-2.0-or-later
"""How long tasks waited for memory: direct reclaim and compaction, begin and end paired by task.

A *stall* is one of (Linux 7.2):

- a direct reclaim: ``mm_vmscan_direct_reclaim_begin`` to the next ``mm_vmscan_direct_reclaim_end`` of the same task
  (mm/vmscan.c:try_to_free_pages);
- a direct compaction of one zone: ``mm_compaction_begin`` to the next ``mm_compaction_end`` of the same task and zone
  (mm/compaction.c:compact_zone), after a ``mm_compaction_try_to_compact_pages`` of that task, which has order and gfp.

Runs of compaction that no such event precedes are background work: kcompactd's where the task is one, else another's
(/proc/sys/vm/compact_memory, or a recording without ``mm_compaction_try_to_compact_pages``). No task waits in them.

A task is in one direct reclaim and one compaction at most: it holds PF_MEMALLOC in both, and interrupts do neither. So the
events of one task pair in their order, whatever other CPUs and interrupts do between. Not approximate but for lost events,
whose place in the stream is not known: two events around a loss may pair.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kevacuate.kernel.compaction import RESULTS
from kevacuate.kernel.gfp import GFP_DIRECT_RECLAIM
from kevacuate.measure.requesters import next_request
from kevacuate.recording.schema import EventChunk, EventKind

DIRECT_RECLAIM, DIRECT_COMPACTION, KCOMPACTD, OTHER_COMPACTION = range(4)
STALL_NAMES = ("direct_reclaim", "direct_compaction", "kcompactd", "other_compaction")
"""Kinds of pairs; a task waits in the first two."""
WAITS = 2

SUCCESS = RESULTS.index("success")
MOST_TASKS = 1 << 16
"""Tasks remembered between two stalls; of more it is forgotten what they tried to compact for."""

NOT_KNOWN = -1
"""An order or a result of compaction that the events do not tell."""

STALL = np.dtype([
    ("ts", np.int64), ("ns", np.int64), ("pid", np.int32), ("gfp", np.uint32), ("result", np.int64),
    ("kind", np.uint8), ("order", np.int8), ("sync", np.int8),
])  # fmt: skip
"""A pair: when it began (ns of the recording's clock), how long it took, whose it was, the request's gfp and order (-1: not
known), pages reclaimed or the result of compaction (:data:`kevacuate.kernel.compaction.RESULTS`), compaction's mode (0 async, 1
sync, -1)."""

REQUEST = np.dtype([
    ("ts", np.int64), ("ns", np.int64), ("pid", np.int32), ("gfp", np.uint32), ("order", np.int8), ("failed", np.bool_),
])  # fmt: skip
"""An allocation that stalled: from the begin of its first stall or attempt to compact, to its ``mm_page_alloc``."""

_K = EventKind
_PAIRED = (
    _K.VMSCAN_DIRECT_RECLAIM_BEGIN,
    _K.VMSCAN_DIRECT_RECLAIM_END,
    _K.COMPACTION_BEGIN,
    _K.COMPACTION_END,
)
_OF_TASKS = (
    *_PAIRED, _K.COMPACTION_TRY_TO_COMPACT_PAGES, _K.COMPACTION_DEFERRED, _K.COMPACTION_SUITABLE, _K.COMPACTION_FINISHED,
    _K.COMPACTION_KCOMPACTD_WAKE,
)  # fmt: skip
STALL_KINDS: tuple[EventKind, ...] = (*_OF_TASKS, _K.MM_PAGE_ALLOC)
"""The kinds of events that :class:`StallCounter` reads."""

_NO_RUN = ("deferred", "not_suitable", "enough_free", "not_told")
"""Why an attempt to compact began in no zone: deferred; compaction_suitable said no, or that a page is free already."""
_ENDED_SUITABLE = {RESULTS.index("skipped"): 1, RESULTS.index("not_suitable_zone"): 1, SUCCESS: 2}


class _Begin(NamedTuple):
    """Where a pair began."""

    ts: int
    order: int
    gfp: int
    sync: int = NOT_KNOWN
    zone: tuple[int, int] = (0, 0)
    kind: int = DIRECT_RECLAIM


@dataclass(slots=True)
class _Attempt:
    """A try_to_compact_pages."""

    order: int
    gfp: int
    runs: int = 0
    why: int = 3


@dataclass(slots=True)
class _Task:
    """What a task is in the middle of."""

    reclaim: _Begin | None = None
    run: _Begin | None = None
    attempt: _Attempt | None = None
    request: _Begin | None = None
    woken_order: int = NOT_KNOWN

    @property
    def waits(self) -> bool:
        return self.reclaim is not None or self.run is not None


class _Event(NamedTuple):
    """The columns of an event that matter here."""

    ts: int
    pid: int
    kind: int
    pfn: int
    order: int
    gfp: int
    a: int
    b: int
    c: int
    d: int


@dataclass
class StallCounter:
    """Pairs the events of a recording as they stream by, chunk by chunk in order of time; call :meth:`finish` at the end.

    Memory grows by the size of :data:`STALL` for each pair, and with the tasks that are in the middle of one.

    Attributes
    ----------
    kcompactd : set of int
        Tasks known to be kcompactd's, by their name; those that log a kcompactd_wake are added.
    follow : bool
        Whether allocations that stall are followed to their end, for which ``mm_page_alloc`` must be recorded.
    begins_without_end, ends_without_begin : int
        Events that no other pairs with.
    without_task : int
        Begin or end events whose task the recording does not tell.
    attempts : int
        Calls of try_to_compact_pages.
    without_run : dict
        Those that began in no zone, by why.
    requests_not_seen : int
        Allocations that stalled and whose ``mm_page_alloc`` did not come.
    """

    kcompactd: set[int] = field(default_factory=set)
    follow: bool = True
    begins_without_end: int = 0
    ends_without_begin: int = 0
    without_task: int = 0
    attempts: int = 0
    without_run: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_NO_RUN, 0))
    requests_not_seen: int = 0
    allocations: bool = False
    seen: bool = False

    def __post_init__(self) -> None:
        self._tasks: dict[int, _Task] = {}
        self._stalls = [np.empty(0, STALL)]
        self._requests = [np.empty(0, REQUEST)]
        self._new: list[tuple[int, ...]] = []
        self._done: list[tuple[int, ...]] = []

    @property
    def stalls(self) -> npt.NDArray[np.void]:
        """All pairs so far, in order of their ends (:data:`STALL`)."""
        self._stalls = [np.concatenate(self._stalls)]
        return self._stalls[0]

    @property
    def requests(self) -> npt.NDArray[np.void]:
        """The allocations that stalled, in order of their ends (:data:`REQUEST`)."""
        self._requests = [np.concatenate(self._requests)]
        return self._requests[0]

    def take(self) -> npt.NDArray[np.void]:
        """The pairs since the last call, which are then forgotten, as are the allocations: for streams without an end."""
        found, self._stalls, self._requests = self.stalls, [np.empty(0, STALL)], [np.empty(0, REQUEST)]
        return found

    def add(self, chunk: EventChunk) -> None:
        """Pair what a chunk holds."""
        rows = np.flatnonzero(np.isin(chunk.kind, [int(kind) for kind in _OF_TASKS]))
        unknown = chunk.pid[rows] < 0
        self.seen |= bool(len(rows))
        self.without_task += int(np.isin(chunk.kind[rows[unknown]], [int(kind) for kind in _PAIRED]).sum())
        rows = rows[~unknown]
        events = chunk.take(np.sort(np.concatenate([rows, self._allocations(chunk, rows)])))
        columns = (events.ts, events.pid, events.kind, events.pfn, events.order, events.gfp)
        values = (column.tolist() for column in (*columns, events.a, events.b, events.c, events.d))
        for row in zip(*values, strict=True):
            event = _Event(*row)
            task = self._tasks.setdefault(event.pid, _Task())
            _HANDLERS[event.kind](self, task, event)
        self._store()

    def _store(self) -> None:
        """Keep what this chunk paired; forget the tasks that are in the middle of nothing."""
        if self._new:
            self._stalls.append(np.array(self._new, STALL))
        if self._done:
            self._requests.append(np.array(self._done, REQUEST))
        self._new, self._done = [], []
        if len(self._tasks) > MOST_TASKS:
            for task in self._tasks.values():
                if not task.waits:
                    self._end_attempt(task)
        idle = _Task()
        self._tasks = {pid: task for pid, task in self._tasks.items() if task != idle}

    def _allocations(self, chunk: EventChunk, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
        """Positions of allocations that may end a request: of each task the first that may reclaim after each event of *rows*.

        While a task stalls it asks for nothing else but inside the stall; what interrupts ask for may not reclaim.
        """
        alloc = np.flatnonzero(chunk.kind == EventKind.MM_PAGE_ALLOC)
        self.allocations |= bool(len(alloc))
        alloc = alloc[(chunk.gfp[alloc] & np.uint32(GFP_DIRECT_RECLAIM)) != 0]
        waiting = np.array([pid for pid, task in self._tasks.items() if task.request], np.int64)
        wanted = np.concatenate([waiting, chunk.pid[rows].astype(np.int64)])
        at = np.concatenate([np.full(len(waiting), -1, np.intp), rows])
        found = next_request(wanted, at, chunk.pid[alloc].astype(np.int64), alloc)
        return np.asarray(np.unique(alloc[found[found >= 0]]))

    def finish(self) -> None:
        """The events are over: what is open stays without its end."""
        for task in self._tasks.values():
            self.begins_without_end += (task.reclaim is not None) + (task.run is not None)
            self.requests_not_seen += task.request is not None and self.allocations
            self._end_attempt(task)
        self._tasks = {}

    def _ask(self, task: _Task, e: _Event) -> None:
        """A request stalls, for the first time or again."""
        if not self.follow:
            return
        request = task.request
        if request is None or (request.order, request.gfp) != (e.order, e.gfp):
            self.requests_not_seen += request is not None and self.allocations
            task.request = _Begin(e.ts, e.order, e.gfp)

    def _end_attempt(self, task: _Task) -> None:
        """Nothing more comes of an attempt to compact."""
        attempt, task.attempt = task.attempt, None
        if attempt is not None and not attempt.runs:
            self.without_run[_NO_RUN[attempt.why]] += 1

    def _reclaim_begin(self, task: _Task, e: _Event) -> None:
        self._end_attempt(task)
        self.begins_without_end += task.reclaim is not None
        task.reclaim = _Begin(e.ts, e.order, e.gfp)
        self._ask(task, e)

    def _reclaim_end(self, task: _Task, e: _Event) -> None:
        begin, task.reclaim = task.reclaim, None
        if begin is None:
            self.ends_without_begin += 1
            return
        self._pair(begin, e, e.a)

    def _try(self, task: _Task, e: _Event) -> None:
        self._end_attempt(task)
        self.attempts += 1
        self.begins_without_end += task.run is not None
        task.run, task.attempt = None, _Attempt(e.order, e.gfp)
        self._ask(task, e)

    def _refused(self, task: _Task, e: _Event) -> None:
        """compaction_deferred or compaction_suitable, before a zone of an attempt is compacted."""
        if task.attempt is not None and task.run is None:
            deferred = e.kind == EventKind.COMPACTION_DEFERRED
            task.attempt.why = 0 if deferred else _ENDED_SUITABLE.get(e.c, task.attempt.why)

    def _run_begin(self, task: _Task, e: _Event) -> None:
        self.begins_without_end += task.run is not None
        attempt, zone = task.attempt, (e.b, e.c)
        if attempt is not None:
            attempt.runs += 1
            task.run = _Begin(e.ts, attempt.order, attempt.gfp, e.order, zone, DIRECT_COMPACTION)
        elif e.pid in self.kcompactd:
            task.run = _Begin(e.ts, task.woken_order, 0, e.order, zone, KCOMPACTD)
        else:
            task.run = _Begin(e.ts, NOT_KNOWN, 0, e.order, zone, OTHER_COMPACTION)

    def _run_end(self, task: _Task, e: _Event) -> None:
        begin, task.run = task.run, None
        if begin is None:
            self.ends_without_begin += 1
        elif e.c and begin.zone != (e.b, e.c):
            self.begins_without_end += 1
            self.ends_without_begin += 1
        else:
            self._pair(begin, e, e.d)

    def _finished(self, task: _Task, e: _Event) -> None:
        """compact_finished names the order of a run whose request is not known."""
        if task.run is not None and task.run.order < 0:
            task.run = task.run._replace(order=max(e.order, NOT_KNOWN))

    def _wake(self, task: _Task, e: _Event) -> None:
        self.kcompactd.add(e.pid)
        task.woken_order = max(e.order, NOT_KNOWN)

    def _alloc(self, task: _Task, e: _Event) -> None:
        """The request is answered; one of another order means that its own answer was lost."""
        request = task.request
        if request is None or task.waits:
            return
        self._end_attempt(task)
        task.request = None
        if request.order != e.order:
            self.requests_not_seen += 1
        else:
            self._done.append((request.ts, e.ts - request.ts, e.pid, request.gfp, request.order, e.pfn < 0))

    def _pair(self, begin: _Begin, e: _Event, result: int) -> None:
        row = (begin.ts, e.ts - begin.ts, e.pid, begin.gfp, result, begin.kind, begin.order, begin.sync)
        self._new.append(row)


_HANDLERS = {
    int(_K.VMSCAN_DIRECT_RECLAIM_BEGIN): StallCounter._reclaim_begin,
    int(_K.VMSCAN_DIRECT_RECLAIM_END): StallCounter._reclaim_end,
    int(_K.COMPACTION_TRY_TO_COMPACT_PAGES): StallCounter._try,
    int(_K.COMPACTION_DEFERRED): StallCounter._refused,
    int(_K.COMPACTION_SUITABLE): StallCounter._refused,
    int(_K.COMPACTION_BEGIN): StallCounter._run_begin,
    int(_K.COMPACTION_END): StallCounter._run_end,
    int(_K.COMPACTION_FINISHED): StallCounter._finished,
    int(_K.COMPACTION_KCOMPACTD_WAKE): StallCounter._wake,
    int(_K.MM_PAGE_ALLOC): StallCounter._alloc,
}
