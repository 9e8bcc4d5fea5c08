# SPDX-License-Identifier: GPL-2.0-or-later
"""What a recording holds, counted while it streams by."""

from __future__ import annotations

from typing import Any

import numpy as np

from kevacuate.recording.schema import EventChunk, EventKind


class QualityCounter:
    """Counts events by kind and CPU, and the time they span."""

    def __init__(self) -> None:
        self._kinds = np.zeros(256, np.int64)
        self._cpus = np.zeros(0, np.int64)
        self._first: int | None = None
        self._last: int | None = None

    def add(self, chunk: EventChunk) -> None:
        """Count a chunk."""
        if not chunk.rows:
            return
        self._kinds += np.bincount(chunk.kind, minlength=256)
        cpus = np.bincount(chunk.cpu, minlength=len(self._cpus))
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
