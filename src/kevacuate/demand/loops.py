# SPDX-License-Identifier: GPL-2.0-or-later
"""The two readings of one demand: of the open loop, in which reclaim is the recorded kernel's, and of the closed one.

The closed loop reads every row. In the open loop what the recorded kernel reclaimed is freed then (op RECLAIM as FREE), and what
the workload used, read again as one folio or truncated since, or was refused, says nothing (ops ACCESS, GATHER, TRUNCATE and
ATTEMPT).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kevacuate.demand.objects import (
    OP_ACCESS,
    OP_ATTEMPT,
    OP_FREE,
    OP_GATHER,
    OP_PLACE,
    OP_READ,
    OP_RECLAIM,
    OP_TRUNCATE,
)
from kevacuate.recording.demand import DemandChunk


class Span(NamedTuple):
    """How long a demand is."""

    last: int
    """Time of the last row, ns since the start."""
    rows: int


class Spans(NamedTuple):
    """How long it is in each loop; the empty demand is (0, 0)."""

    open: Span
    closed: Span

    def after(self, chunk: DemandChunk) -> Spans:
        """With the rows of a chunk, which is of the closed loop."""
        last = int(chunk.t[-1]) if chunk.t.size else 0
        rows = np.flatnonzero(is_open(chunk.op))
        end = int(chunk.t[rows[-1]]) if rows.size else 0
        return Spans(
            Span(max(self.open.last, end), self.open.rows + rows.size),
            Span(max(self.closed.last, last), self.closed.rows + chunk.t.size),
        )


NOTHING = Spans(Span(0, 0), Span(0, 0))


def is_open(op: np.ndarray) -> np.ndarray:
    """Which operations the open loop has, too."""
    closed = (op == OP_ACCESS) | (op == OP_TRUNCATE) | (op == OP_ATTEMPT) | (op == OP_GATHER)
    return ~(closed | (op == OP_PLACE) | (op == OP_READ))


def open_rows(chunk: DemandChunk) -> DemandChunk:
    """The rows of the open loop; the chunk itself where nothing in it is of the closed loop alone."""
    kept = is_open(chunk.op)
    rows = chunk if kept.all() else DemandChunk._make(column[kept] for column in chunk)
    reclaimed = rows.op == OP_RECLAIM
    if not reclaimed.any():
        return rows
    return rows._replace(op=np.where(reclaimed, OP_FREE, rows.op).astype(np.uint8))
