# SPDX-License-Identifier: GPL-2.0-or-later
"""Numbers in place of process ids: a recording tells tasks apart without saying which they were."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt


class TaskNumbers:
    """Gives each process id the next number at its first event; the idle task stays 0.

    Parameters
    ----------
    known : iterable of int
        Process ids that have the numbers 1, 2, ... already.

    """

    def __init__(self, known: Iterable[int] = ()) -> None:
        self.pids: list[int] = []
        """Process ids in order of their numbers, which begin at 1."""
        self._number = np.zeros(1 << 16, np.int32)
        for pid in known:
            self._add(int(pid))

    def _add(self, pid: int) -> None:
        if pid >= len(self._number):
            self._number = np.append(self._number, np.zeros(max(pid + 1, len(self._number)), np.int32))
        self.pids.append(pid)
        self._number[pid] = len(self.pids)

    def numbers(self, pids: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
        """The tasks' numbers; -1 where there is no process id."""
        low = np.where(pids < len(self._number), np.maximum(pids, 0), 0)
        found = self._number[low]
        new = (found == 0) & (pids > 0)
        if new.any():
            fresh, first = np.unique(pids[new], return_index=True)
            for pid in fresh[np.argsort(first)].tolist():
                self._add(pid)
            found = self._number[np.maximum(pids, 0)]
        return np.where(pids < 0, np.int32(-1), found).astype(np.int32)
