# SPDX-License-Identifier: GPL-2.0-or-later
"""What a recording's events say of one range of pages, as records laid out like the model's log.

So the same story can be told of a recorded kernel and of a replay. The hooked kernels' ``gt_evac`` and ``gt_blk`` events carry
the log's own fields; stock kernels have mm_page_alloc_extfrag, the page events and compaction.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from kevacuate.errors import KevacuateError
from kevacuate.kernel.extfrag import NOT_TOLD
from kevacuate.kernel.hooks import EvacOp, RmqKind
from kevacuate.measure.extfrag import tells_ownership
from kevacuate.measure.history import KIND, B, D
from kevacuate.mm import constants as k
from kevacuate.mm.fields import LogRecord
from kevacuate.recording import EventChunk, EventKind, Machine, Recording
from kevacuate.runs.noting import NOTE_ALLOC, NOTE_FREE, NOTE_MOVED_IN

NOTE_COMPACT_FROM = 80
"""isolate_migratepages_block scanned here: pfn to a (exclusive), b = pages scanned, c = pages taken to be moved."""
NOTE_COMPACT_INTO = 81
"""isolate_freepages_block scanned here: as above, c = free pages taken as destinations. (fast_isolate_freepages, whose event
spans all the memory that it might have taken from, cannot be told of a block.)"""
NOTE_UNMAPPED = 82
"""A mapping became a migration entry: the page is about to be moved; a = order, d = task."""

_GT_EVAC: dict[int, int] = {
    EvacOp.CLAIM: k.L_EVAC_CLAIM, EvacOp.QUEUED: k.L_EVAC_QUEUED, EvacOp.DROPPED: k.L_EVAC_DROPPED,
    EvacOp.STARTED: k.L_EVAC_STARTED, EvacOp.SKIPPED: k.L_EVAC_SKIPPED, EvacOp.ISOLATE: k.L_EVAC_ISOLATE,
    EvacOp.RECLAIM: k.L_EVAC_RECLAIM,
    EvacOp.MIGRATE: k.L_EVAC_MIGRATE, EvacOp.FINISHED: k.L_EVAC_FINISHED,
}  # fmt: skip


Values = int | npt.NDArray[Any]


def _records(
    events: EventChunk,
    kind: Values,
    a: Values = 0,
    b: Values = 0,
    c: Values = 0,
    d: Values = 0,
) -> npt.NDArray[np.int64]:
    """Records of the events, with these four values."""
    table = np.zeros((events.rows, LogRecord.STRIDE), np.int64)
    for column, values in enumerate((events.ts, kind, events.cpu, events.pfn, a, b, c, d)):
        table[:, column] = values
    return table


def _allocs(e: EventChunk) -> npt.NDArray[np.int64]:
    return _records(e, NOTE_ALLOC, e.order, e.mt, e.gfp, e.pid)


def _extfrag(e: EventChunk) -> npt.NDArray[np.int64]:
    return _records(e, k.L_EXTFRAG, e.order, e.a, 256 * e.mt.astype(np.int64) + (e.b & 255), e.c)


def _evacuation(e: EventChunk) -> npt.NDArray[np.int64]:
    table = np.array([_GT_EVAC.get(op, 0) for op in range(256)], np.int64)
    return _records(e, table[e.order.astype(np.int64) & 255], e.a, e.b, e.c, e.d)


_HANDLERS: dict[int, Callable[[EventChunk], npt.NDArray[np.int64]]] = {
    EventKind.MM_PAGE_ALLOC: _allocs,
    EventKind.MM_PAGE_FREE: lambda e: _records(e, NOTE_FREE, e.order, d=e.pid),
    EventKind.MM_PAGE_ALLOC_EXTFRAG: _extfrag,
    EventKind.GT_RMQ: lambda e: _records(e, NOTE_ALLOC, 0, e.mt, 0, e.pid),
    EventKind.GT_BLK: lambda e: _records(e, k.L_BLOCK_TYPE, e.mt, e.a),
    EventKind.GT_EVAC: _evacuation,
    EventKind.COMPACTION_ISOLATE_MIGRATEPAGES: lambda e: _records(e, NOTE_COMPACT_FROM, e.a, e.b, e.c),
    EventKind.COMPACTION_ISOLATE_FREEPAGES: lambda e: _records(e, NOTE_COMPACT_INTO, e.a, e.b, e.c),
    EventKind.SET_MIGRATION_PTE: lambda e: _records(e, NOTE_UNMAPPED, e.order, d=e.pid),
    EventKind.REMOVE_MIGRATION_PTE: lambda e: _records(e, NOTE_MOVED_IN, e.order, d=e.pid),
}
_OF_ALLOCATOR = (EventKind.MM_PAGE_ALLOC_EXTFRAG, EventKind.GT_BLK, EventKind.GT_EVAC)
_OF_RANGE = (
    EventKind.COMPACTION_ISOLATE_MIGRATEPAGES,
    EventKind.COMPACTION_ISOLATE_FREEPAGES,
)


def _touching(events: EventChunk, kind: int, first: int, last: int, block: int) -> npt.NDArray[np.intp]:
    """Positions of the events of *kind* that touch the pages [first, last), or their pageblock where they tell of that.

    *block* is the number of pages in a block.
    """
    rows: npt.NDArray[np.intp] = np.flatnonzero(events.kind == kind)
    e = events.take(rows)
    mask: npt.NDArray[np.bool_]
    if kind == EventKind.GT_RMQ:
        mask = (e.a == RmqKind.BULK_PAGE) & (e.pfn >= first) & (e.pfn < last)
    elif kind == EventKind.GT_EVAC:
        mask = (e.pfn // block == first // block) & np.isin(e.order, list(_GT_EVAC))
    elif kind == EventKind.GT_BLK:
        mask = e.pfn // block == first // block
    else:
        end = e.a if kind in _OF_RANGE else e.pfn + (np.int64(1) << e.order.astype(np.int64))
        mask = (e.pfn < last) & (end > first) & (e.pfn >= 0)
    return rows[mask]


def with_ownership(records: npt.NDArray[np.int64], machine: Machine) -> npt.NDArray[np.int64]:
    """The records, changed in place where the kernel does not tell claims from steals: what change_ownership then says.

    It is 1 where the chunk was a pageblock or more, else NOT_TOLD (:data:`kevacuate.kernel.extfrag.CLAIM_OR_STEAL`).
    """
    if not tells_ownership(machine):
        rows = records[:, KIND] == k.L_EXTFRAG
        records[rows, D] = np.where(records[rows, B] >= machine.pageblock_order, 1, NOT_TOLD)
    return records


def beginning(recording: Recording) -> int:
    """From which time (ns of its clock) a recording's story counts: its start state's, or where it has none, its own first."""
    if recording.start is not None:
        return recording.start.ts
    return recording.span[0] if recording.span is not None else 0


def recorded_happenings(
    recording: Recording, first: int, last: int, progress: Callable[[int], None] | None = None
) -> tuple[npt.NDArray[np.int64], int]:
    """All that the recorded kernel did to the pages [first, last) and to their pageblock, since the start state.

    Returns
    -------
    records : int64[n, 8]
        t in ns since the start state (the recording's beginning where there is none), kind (of the log or NOTE_*), cpu, pfn, a,
        b, c, d.
        ``d`` of page records is the task (-1 where it was not kept).
    events : int
        Events read; 0 where the recording keeps none.

    Raises
    ------
    KevacuateError
        The events cannot be read.
    """
    block = 1 << recording.machine.pageblock_order
    start = recording.start
    base = beginning(recording)
    tables, places, seen = [np.empty((0, LogRecord.STRIDE), np.int64)], [np.empty(0, np.int64)], 0
    for events in recording.events(kinds=_HANDLERS, after=start):
        for kind, handler in _HANDLERS.items():
            rows = _touching(events, kind, first, last, block)
            if rows.size:
                tables.append(handler(events.take(rows)))
                places.append(rows + seen)
        seen += events.rows
        if progress:
            progress(seen)
    records = with_ownership(np.concatenate(tables), recording.machine)
    LogRecord.table(records)["time"] -= base
    return records[np.argsort(np.concatenate(places), kind="stable")], seen


def allocator_records(events: EventChunk) -> npt.NDArray[np.int64]:
    """The chunk's extfrag, block type and evacuation events as records of the log, in order; t is the event's own time.

    Returns
    -------
    int64[n, 8]
        Kinds below 32 alone (docs/model.md, section Log).
    """
    tables, places = [np.empty((0, LogRecord.STRIDE), np.int64)], [np.empty(0, np.int64)]
    for kind in _OF_ALLOCATOR:
        rows = np.flatnonzero(events.kind == kind)
        table = _HANDLERS[kind](events.take(rows))
        known = LogRecord.table(table)["kind"] > 0
        tables.append(table[known])
        places.append(rows[known])
    return np.concatenate(tables)[np.argsort(np.concatenate(places), kind="stable")]


def page_place(recording: Recording, pfn: int) -> tuple[int, str]:
    """(node, zone name) of a page; (-1, "") where the recording, of events alone, knows no zones.

    Raises
    ------
    KevacuateError
        No zone of the recorded machine has it.
    """
    if not recording.machine.zones:
        return -1, ""
    for zone in recording.machine.zones:
        if zone.start_pfn <= pfn < zone.start_pfn + zone.spanned:
            return zone.node, zone.name
    spans = ", ".join(
        f"{z.name} {z.start_pfn:#x} to {z.start_pfn + z.spanned - 1:#x}" for z in recording.machine.zones
    )
    raise KevacuateError(f"No zone of the recorded machine has pfn {pfn:#x}: its zones are {spans}.")
