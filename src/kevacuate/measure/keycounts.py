# SPDX-License-Identifier: GPL-2.0-or-later
"""Counts by integer key, of a stream that is too long to keep."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


class KeyCounts:
    """How often each key came; memory grows with the number of different keys only."""

    def __init__(self) -> None:
        self.keys: Ints = np.empty(0, np.int64)
        """The keys seen, ascending."""
        self.counts: Ints = np.empty(0, np.int64)
        """How often each came."""

    def add(self, keys: npt.NDArray[np.integer]) -> Ints:
        """Count these; the keys among them that are new, ascending."""
        found, counts = np.unique(keys.astype(np.int64), return_counts=True)
        at = np.searchsorted(self.keys, found)
        known = np.zeros(len(found), np.bool_)
        inside = at < len(self.keys)
        known[inside] = self.keys[at[inside]] == found[inside]
        self.counts[at[known]] += counts[known]
        new = ~known
        if new.any():
            self.keys = np.insert(self.keys, at[new], found[new])
            self.counts = np.insert(self.counts, at[new], counts[new])
        return np.asarray(found[new])

    def has(self, keys: Ints) -> npt.NDArray[np.bool_]:
        """Which of these keys have been seen."""
        return np.isin(keys, self.keys)

    def top(self) -> list[tuple[int, int]]:
        """(key, count), the most frequent first, equal ones by key."""
        order = np.lexsort((self.keys, -self.counts))
        return list(zip(self.keys[order].tolist(), self.counts[order].tolist(), strict=True))
