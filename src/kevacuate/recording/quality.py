# SPDX-License-Identifier: GPL-2.0-or-later
"""What a recording holds, counted while it streams by."""

from __future__ import annotations

from typing import Any

import numpy as np

from kevacuate.recording.schema import EventChunk, EventKind


def events_only(chunk: EventChunk) -> EventChunk:
    """The rows that count as events: all but gt_dump's, which spell out a state, or mark where one lies in the stream.

    This is the one definition of a recording's number of events.
    """
    dumps = chunk.kind == EventKind.GT_DUMP
    return chunk.take(~dumps) if dumps.any() else chunk


def without_dumps(counts: dict[str, Any]) -> dict[str, Any]:
    """Counts as :meth:`QualityCounter.to_json` gives them, of a recording that was written when marks of states still counted.

    ``events_by_cpu`` stays as it was written: the marks' CPU is not known.
    """
    kinds = counts.get("events_by_kind", {})
    marks = kinds.get(EventKind.GT_DUMP.name, 0)
    if not marks or "events" not in counts:
        return counts
    kept = {name: count for name, count in kinds.items() if name != EventKind.GT_DUMP.name}
    return {**counts, "events": counts["events"] - marks, "events_by_kind": kept}


class QualityCounter:
    """Counts events (:func:`events_only`) by kind and CPU, and the time that all rows span."""

    def __init__(self) -> None:
        self._kinds = np.zeros(256, np.int64)
        self._cpus = np.zeros(0, np.int64)
        self._first: int | None = None
        self._last: int | None = None

    def add(self, chunk: EventChunk) -> None:
        """Count a chunk."""
        if not chunk.rows:
            return
        events = events_only(chunk)
        self._kinds += np.bincount(events.kind, minlength=256)
        cpus = np.bincount(events.cpu, minlength=len(self._cpus))
        cpus[: len(self._cpus)] += self._cpus
        self._cpus = cpus
        self._first = int(chunk.ts[0]) if self._first is None else self._first
        self._last = int(chunk.ts[-1])

    def to_json(self) -> dict[str, Any]:
        """``events``, ``events_by_kind``, ``events_by_cpu``, ``first_ts`` and ``last_ts`` (ns)."""
        names = {int(k): k.name for k in EventKind}
        found = np.flatnonzero(self._kinds).tolist()
        return {
            "events": int(self._kinds.sum()),
            "events_by_kind": {names.get(k, str(k)): int(self._kinds[k]) for k in found},
            "events_by_cpu": [int(n) for n in self._cpus],
            "first_ts": self._first,
            "last_ts": self._last,
        }
