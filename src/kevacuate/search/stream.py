# SPDX-License-Identifier: GPL-2.0-or-later
"""What a replay asks of one zone's free lists: its requests and frees under zone->lock, from the model's log of list operations.

The log says which chunks leave and join the lists (log level 3). What was asked for follows: a chunk that leaves, less the upper
halves that come back at once, is a request; a chunk that joins, less the buddies that left for it just before, is a free. So what
the model's compaction isolates is a request, too, and what it gives back a free. The type is the list's; of a request that fell
back, what it asked for (mm_page_alloc_extfrag).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kevacuate.demand.build import build_demand
from kevacuate.demand.objects import OP_ALLOC, OP_FREE
from kevacuate.errors import KevacuateError
from kevacuate.jit import kernel, part, pointers
from kevacuate.kernel.regions import region_base
from kevacuate.mm import constants as k
from kevacuate.mm.fields import LogRecord
from kevacuate.mm.layout import State, log_table
from kevacuate.policy import BASELINE, parse_policy
from kevacuate.recording import DemandChunk, Recording
from kevacuate.records import Words
from kevacuate.runs.options import ReplayOptions
from kevacuate.runs.replay import Replay, rechunk
from kevacuate.search.machine import largest_zone
from kevacuate.search.rows import empty_rows

CAPACITY = 1 << 21
CHUNK_ROWS = 1 << 13
"""Rows between two looks at the log: so few that it never fills."""

_PENDING, _EXPANDING, _EMITTED, _STACK = 0, 1, 2, 4
_DEEP = 32


class Reader(NamedTuple):
    """Where the reading of a log stands.

    Attributes
    ----------
    at : int64
        Chunks that left and of which it is not known why; whether the last of them is being split; rows made; the chunks: page,
        order, type, time.
    span : int64
        The zone's first pfn, the one behind it, its base.
    """

    at: npt.NDArray[np.int64]
    span: npt.NDArray[np.int64]


class ReaderView(NamedTuple):
    """The same, to compiled code."""

    at: Words
    span: Words


class Records(NamedTuple):
    """Log records as columns (:class:`~kevacuate.mm.fields.LogRecord`)."""

    time: npt.NDArray[np.int64]
    kind: npt.NDArray[np.int64]
    pfn: npt.NDArray[np.int64]
    a: npt.NDArray[np.int64]
    b: npt.NDArray[np.int64]
    c: npt.NDArray[np.int64]


@part
def asked_as(mt: int) -> int:
    """What a list's type counts as: highatomic as unmovable, CMA and isolated as movable."""
    if mt < k.MIGRATE_PCPTYPES:
        return mt
    return k.MIGRATE_UNMOVABLE if mt == k.MIGRATE_HIGHATOMIC else k.MIGRATE_MOVABLE


@part
def emit(v: ReaderView, d: DemandChunk, t: int, op: int, pfn: int, order: int, mt: int) -> None:
    """Write a row."""
    n = v.at[_EMITTED]
    v.at[_EMITTED] = n + 1
    d.t[n] = t
    d.op[n] = op
    d.obj[n] = pfn - v.span[2]
    d.order[n] = order
    d.mt[n] = asked_as(mt)


@part
def emit_pending(v: ReaderView, d: DemandChunk, keep: int) -> None:
    """All chunks that left, but the last *keep*, were requests."""
    pending = v.at[_PENDING]
    for i in range(pending - keep):
        at = _STACK + 4 * i
        emit(v, d, v.at[at + 3], OP_ALLOC, v.at[at] + 0, v.at[at + 1] + 0, v.at[at + 2] + 0)
    for i in range(4 * keep):
        v.at[_STACK + i] = v.at[_STACK + 4 * (pending - keep) + i]
    v.at[_PENDING] = keep
    v.at[_EXPANDING] = 0


@part
def chunk_left(v: ReaderView, d: DemandChunk, t: int, pfn: int, order: int, mt: int) -> None:
    """A chunk left the lists: for a request, or to merge. Merges come in ascending order."""
    pending = v.at[_PENDING]
    top = _STACK + 4 * (pending - 1)
    if pending and (v.at[_EXPANDING] or order <= v.at[top + 1] or pending == _DEEP):
        emit_pending(v, d, 0)
        pending = 0
    top = _STACK + 4 * pending
    v.at[top] = pfn
    v.at[top + 1] = order
    v.at[top + 2] = mt
    v.at[top + 3] = t
    v.at[_PENDING] = pending + 1


@part
def chunk_joined(v: ReaderView, d: DemandChunk, t: int, pfn: int, order: int) -> None:
    """A chunk joined the lists: the upper half of one being split, or what was freed with the buddies that it merged with."""
    pending = v.at[_PENDING]
    top = _STACK + 4 * (pending - 1)
    if pending and order == v.at[top + 1] - 1 and pfn == v.at[top] + (1 << order):
        emit_pending(v, d, 1)
        v.at[_STACK + 1] = order
        v.at[_EXPANDING] = 1
        return
    merged = 0
    while merged < pending:
        at = _STACK + 4 * (pending - 1 - merged)
        if v.at[_EXPANDING] or v.at[at] < pfn or v.at[at] >= pfn + (1 << order):
            break
        merged += 1
    emit_pending(v, d, merged)
    freed, freed_order = pfn, order
    if merged:
        freed, freed_order = v.at[_STACK] ^ (1 << v.at[_STACK + 1]), v.at[_STACK + 1] + 0
    v.at[_PENDING] = 0
    emit(v, d, t, OP_FREE, freed, freed_order, 0)


@part
def fell_back(v: ReaderView, d: DemandChunk, pfn: int, mt: int) -> None:
    """The request that took *pfn* asked for *mt*: it is the last one, known or made a row already."""
    pending = v.at[_PENDING]
    if pending and v.at[_STACK + 4 * (pending - 1)] == pfn:
        v.at[_STACK + 4 * (pending - 1) + 2] = mt
        return
    last = v.at[_EMITTED] - 1
    if last >= 0 and d.op[last] == OP_ALLOC and d.obj[last] == pfn - v.span[2]:
        d.mt[last] = mt


@kernel
def read_log(va: Reader, ra: Records, da: DemandChunk, last: bool) -> int:
    """Read records into rows, of which there is room for twice as many; *last*: what is pending is a request. How many."""
    v = pointers(va)
    r = pointers(ra)
    d = pointers(da)
    v.at[_EMITTED] = 0
    for i in range(len(ra.pfn)):
        pfn = r.pfn[i] + 0
        if pfn < v.span[0] or pfn >= v.span[1]:
            continue
        kind = r.kind[i]
        if kind == k.L_EXTFRAG:
            fell_back(v, d, pfn, r.c[i] >> 8)
        elif kind == k.L_ZONE_LOCKED:
            emit_pending(v, d, 0)
        elif kind == k.L_LIST:
            op = r.a[i]
            if op == k.LIST_DELETE:
                chunk_left(v, d, r.time[i] + 0, pfn, r.b[i] + 0, r.c[i] + 0)
            elif op == k.LIST_ADD or op == k.LIST_ADD_TAIL:
                chunk_joined(v, d, r.time[i] + 0, pfn, r.b[i] + 0)
            else:
                emit_pending(v, d, 0)
    if last:
        emit_pending(v, d, 0)
    made: int = v.at[_EMITTED]
    return made


@dataclass(frozen=True)
class ZoneDemand:
    """A zone's requests and frees in a replay.

    Attributes
    ----------
    state : State
        The machine at the start.
    zone : int
        Which of its zones.
    rows : DemandChunk
        ``obj`` is the page, from the base of the zone's regions on, that the model took or freed.
    """

    state: State
    zone: int
    rows: DemandChunk


class _Listening(Replay):
    """A replay whose log is read at level 3."""

    def listen(self, zone: int, region_order: int) -> ZoneDemand:
        """Replay the demand from now on, and read one zone's requests and frees."""
        start = State._make(array.copy() for array in self.state)
        span = self.state.view.zone[zone]
        base = region_base(span.zone_start_pfn, region_order)
        self._reader = Reader(
            np.zeros(_STACK + 4 * _DEEP, np.int64), np.array([span.zone_start_pfn, span.zone_end_pfn, base])
        )
        self._rows: list[DemandChunk] = []
        cfg = self.state.view.cfg
        cfg.log_level, cfg.list_watch = 3, cfg.list_watch | 1
        for chunk in rechunk(self.demand.chunks(closed=self.loop.closed), CHUNK_ROWS):
            self.feed(chunk)
        self.take_log(last=True)
        rows = DemandChunk._make(np.concatenate(columns) for columns in zip(*self._rows, strict=True))
        if self.lost_log:
            raise KevacuateError(
                f"The replay's log lost {self.lost_log:,} records: its free lists cannot be followed."
            )
        if not rows.t.size:
            raise KevacuateError(
                f"Nothing is asked of zone {zone} in {self.recording.path}: there is nothing to search for."
            )
        return ZoneDemand(start, zone, rows)

    def take_log(self, *, last: bool = False) -> None:
        """Read the records into rows."""
        self.lost_log += self.state.view.stat.nr_log - len(log_table(self.state))
        table = log_table(self.state)
        columns = LogRecord.table(table)
        records = Records(*(np.ascontiguousarray(columns[name]) for name in Records._fields))
        size = 2 * len(table) + _DEEP
        rows = empty_rows(size)
        made = read_log(self._reader, records, rows, last)
        self._rows.append(DemandChunk._make(column[:made].copy() for column in rows))
        self.state.view.stat.nr_log = 0


def zone_demand(
    recording: Recording, region_order: int, policy: str = BASELINE, loop: str = "auto"
) -> ZoneDemand:
    """What a replay of *recording* under *policy* asks of its largest zone, which has regions of *region_order*.

    Raises
    ------
    KevacuateError
        As :func:`kevacuate.replay`; or the log lost records.
    """
    options = ReplayOptions(log_capacity=CAPACITY, loop=loop)
    replay = _Listening(recording, build_demand(recording), parse_policy(policy), options)
    return replay.listen(largest_zone(replay.state), region_order)
