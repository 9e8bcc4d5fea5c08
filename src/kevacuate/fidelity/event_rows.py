# SPDX-License-Identifier: GPL-2.0-or-later
"""Events in the form the compiled loops want, checked against the machine once for all levels."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from kevacuate.errors import KevacuateError
from kevacuate.kernel.hooks import OF_A_LIST, ListOp, RmqKind
from kevacuate.mm.constants import LRU_LISTS, MIGRATE_TYPES, NR_LRU_LISTS, NR_PCP_LISTS, ZONE_MOVABLE
from kevacuate.mm.layout import MachineConfig
from kevacuate.recording import EventChunk, EventKind
from kevacuate.recording.event_numbers import MIG_MOVED
from kevacuate.recording.schema import concat_chunks

_WITH_CHUNK = np.array(
    [
        EventKind.MM_PAGE_ALLOC,
        EventKind.MM_PAGE_FREE,
        EventKind.MM_PAGE_FREE_BATCHED,
        EventKind.MM_PAGE_ALLOC_ZONE_LOCKED,
        EventKind.MM_PAGE_PCPU_DRAIN,
        EventKind.MM_PAGE_ALLOC_EXTFRAG,
        EventKind.GT_RMQ,
        EventKind.GT_LIST,
        EventKind.GT_BLK,
        EventKind.GT_EVAC,
    ]
)
"""Kinds whose pfn, order and type the levels use as indices."""

_OF_A_FOLIO = np.array(
    [
        EventKind.GT_REC,
        EventKind.GT_LRU,
        EventKind.GT_MIG,
        EventKind.MM_LRU_INSERTION,
        EventKind.MM_LRU_ACTIVATE,
    ]
)
"""Kinds whose pfn and order name a folio."""

_ASKED = np.array(
    [
        EventKind.GT_SLOW,
        EventKind.VMSCAN_KSWAPD_WAKE,
        EventKind.VMSCAN_WAKEUP_KSWAPD,
        EventKind.VMSCAN_BALANCE_PGDAT_END,
        EventKind.VMSCAN_DIRECT_RECLAIM_BEGIN,
    ]
)
"""Kinds whose order a reclaim works for."""

_ASKED_OF_ZONES = np.array([EventKind.VMSCAN_KSWAPD_WAKE, EventKind.VMSCAN_WAKEUP_KSWAPD])

_MAY_LACK_PAGE = np.array([EventKind.GT_RMQ, EventKind.MM_PAGE_ALLOC])


def wide(rows: EventChunk, before: EventChunk | None = None) -> EventChunk:
    """The same with columns of int64: the compiled loops then meet one kind of integer.

    With *before*, wide rows too, those stand in front: one copy serves all levels that look back (:func:`with_kept`).
    """
    lead = 0 if before is None else before.rows
    columns: list[Any] = []
    pairs: Any = zip(rows if before is None else before, rows, strict=True)
    for old, column in pairs:
        whole = np.empty(lead + rows.rows, np.int64)
        whole[:lead], whole[lead:] = old[:lead], column
        columns.append(whole)
    return EventChunk(*columns)


def with_kept(kept: EventChunk | None, rows: EventChunk, lead: int) -> EventChunk:
    """What a level has kept and the new rows as one: the first *lead* of *rows* are the last of those it had before."""
    count = 0 if kept is None else kept.rows
    if kept is None or count <= lead:
        return rows.take(slice(lead - count, None))
    return concat_chunks([kept, rows.take(slice(lead, None))])


class Bounds:
    """What the events may name on this machine."""

    def __init__(self, config: MachineConfig, cpus: int, zone_indices: int) -> None:
        chunk = 1 << config.max_page_order
        self.npages = (config.npages + chunk - 1) // chunk * chunk
        self.most = config.max_page_order
        self.cpus = cpus
        self.zone_indices = zone_indices

    def refuse_impossible(self, rows: EventChunk, first: int) -> None:
        """Raise KevacuateError at an event that names a page, order, type, zone or CPU which the machine does not have.

        The reader has refused what no machine has (:mod:`kevacuate.recording.possible`). *rows* are wide (:func:`wide`);
        *first* is the number of the first.
        """
        evac, request = rows.kind == EventKind.GT_EVAC, rows.kind == EventKind.GT_RMQ
        order = np.where(evac, 0, rows.order)
        indexed = request & np.isin(rows.a, OF_A_LIST)
        bad = (order < 0) | (order > self.most)
        size = np.left_shift(1, np.clip(order, 0, self.most))
        last = self.npages - size  # a sum of the event's own numbers could overflow
        bad |= rows.pfn > last
        bad |= ~np.isin(rows.kind, _MAY_LACK_PAGE) & (rows.pfn < 0)
        bad |= ~indexed & ~evac & ((rows.mt < 0) | (rows.mt >= MIGRATE_TYPES))
        bad |= indexed & ((rows.mt < 0) | (rows.mt >= NR_PCP_LISTS))
        bad |= request & ((rows.b < 0) | (rows.b >= self.zone_indices))
        bad |= request & np.isin(rows.a, (RmqKind.FREE, RmqKind.INSERT)) & (rows.pfn < 0)
        bad |= request & (rows.a == RmqKind.FREE) & ((rows.c < 0) | (rows.c > last))
        bad |= request & ((rows.d < 0) | (rows.d > 1 << 24)) & (rows.a != RmqKind.INSERT)
        bad &= np.isin(rows.kind, _WITH_CHUNK)
        bad |= (rows.kind == EventKind.COMPACTION_BEGIN) & ((rows.b < 0) | (rows.b >= self.npages))
        bad |= self._impossible_reclaim(rows, last)
        bad |= (rows.cpu < 0) | (rows.cpu >= self.cpus)
        if bad.any():
            at = int(np.flatnonzero(bad)[0])
            raise KevacuateError(
                f"Event {first + at} of the recording ({EventKind(int(rows.kind[at])).name.lower()}) names a page, order, "
                "type, zone or CPU that its machine does not have. The recording is corrupted: record again."
            )

    def _impossible_reclaim(self, rows: EventChunk, last: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Rows about LRU lists and reclaim that name a folio, order, list or zone which the machine does not have.

        *last*: of each row the last page at which a folio of its order may begin.
        """
        kind = rows.kind
        order = (rows.order < 0) | (rows.order > self.most)
        bad = np.isin(kind, _OF_A_FOLIO) & (order | (rows.pfn < 0) | (rows.pfn > last))
        bad |= (kind == EventKind.GT_MIG) & (rows.b == MIG_MOVED) & ((rows.a < 0) | (rows.a > last))
        bad |= (kind == EventKind.MM_LRU_INSERTION) & ((rows.a < 0) | (rows.a >= NR_LRU_LISTS))
        bad |= (kind == EventKind.VMSCAN_LRU_ISOLATE) & ((rows.mt < 0) | (rows.mt >= LRU_LISTS))
        moved = (kind == EventKind.GT_LIST) & (rows.a == ListOp.MOVE)
        bad |= moved & ((rows.b < 0) | (rows.b >= MIGRATE_TYPES))
        bad |= np.isin(kind, _ASKED) & order
        bad |= np.isin(kind, _ASKED_OF_ZONES) & ((rows.b < 0) | (rows.b > ZONE_MOVABLE))
        return np.asarray(bad)
