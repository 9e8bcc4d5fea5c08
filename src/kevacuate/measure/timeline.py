# SPDX-License-Identifier: GPL-2.0-or-later
"""Counts over time, of a stream whose length is not known beforehand."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

BUCKETS = 64
"""The most buckets of a timeline."""

FIRST_WIDTH = 1 << 20
"""Width of a bucket at the beginning, ns (about a millisecond)."""


class Timeline:
    """Several series counted in the same equal buckets of time, which double in width whenever time runs past the last.

    Attributes
    ----------
    start : int or None
        Time of the first event, ns; None before one came.
    width : int
        Width of a bucket, ns.
    counts : int64[series, BUCKETS]
        Events per bucket.
    """

    def __init__(self, series: int = 1) -> None:
        self.start: int | None = None
        self.width = FIRST_WIDTH
        self.last = 0
        self.counts = np.zeros((series, BUCKETS), np.int64)

    def reach(self, ts: int) -> None:
        """Time has come to *ts* (ns), with or without an event there."""
        if self.start is None:
            self.start = ts
        self.last = max(self.last, ts)
        while ts - self.start >= self.width * BUCKETS:
            pairs = self.counts.reshape(len(self.counts), BUCKETS // 2, 2).sum(axis=2)
            self.counts[:] = 0
            self.counts[:, : BUCKETS // 2] = pairs
            self.width *= 2

    def add(self, ts: npt.NDArray[np.int64], series: int = 0) -> None:
        """Count events at these times, which are sorted; times before the first of all count in the first bucket."""
        if not len(ts):
            return
        self.reach(int(ts[0]))
        self.reach(int(ts[-1]))
        assert self.start is not None
        bucket = np.maximum((ts - self.start) // self.width, 0)
        self.counts[series] += np.bincount(bucket, minlength=BUCKETS)

    @property
    def span(self) -> int:
        """Time from the first to the last event, ns."""
        return 0 if self.start is None else self.last - self.start

    def used(self, series: int = 0) -> npt.NDArray[np.int64]:
        """The buckets up to the last event; the last one is not full."""
        return (
            self.counts[series, : self.span // self.width + 1]
            if self.start is not None
            else self.counts[0, :0]
        )

    def to_json(self, names: tuple[str, ...]) -> dict[str, Any]:
        """``start`` and ``bucket_ns`` (ns), and per name the counts."""
        return {
            "start": self.start,
            "bucket_ns": self.width,
            **{name: self.used(i).tolist() for i, name in enumerate(names)},
        }
