# SPDX-License-Identifier: GPL-2.0-or-later
"""What the pages of every pageblock are that cannot move, at the recorded states that have page flags.

Each state's pages are named as :func:`kevacuate.measure.holders_by_flags.state_codes` has it, the same as ``kevacuate explain``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kevacuate.errors import KevacuateError
from kevacuate.measure.holders import Holder
from kevacuate.measure.holders_by_flags import FLAG_HOLDERS, most_first, state_codes
from kevacuate.recording.state import AllocatorState

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class HeldStates:
    """What holds every pageblock, state by state: a cell for each pageblock, state and kind of page that is there.

    Attributes
    ----------
    labels : tuple of str
        The states' labels.
    t : int64[states]
        Their times, ns since the start state.
    holders : tuple of Holder
        The holders that cells name by number.
    cells : int64[n, 4]
        Row of the pageblock in ``Frames.start``, state, holder, and pages (at least 1); rows ascend.

    """

    labels: tuple[str, ...]
    t: Ints
    holders: tuple[Holder, ...]
    cells: Ints

    def of_row(self, row: int) -> tuple[tuple[tuple[Holder, int], ...], ...]:
        """By state, the holders of one row with their pages, most first; empty where all pages in use can move."""
        first, last = np.searchsorted(self.cells[:, 0], (row, row + 1))
        mine = self.cells[first:last]
        counts = np.zeros((len(self.labels), len(self.holders)), np.int64)
        counts[mine[:, 1], mine[:, 2]] = mine[:, 3]
        return tuple(most_first(state, self.holders) for state in counts)

    def check(self, rows: int) -> None:
        """Raise KevacuateError if the parts contradict each other or a map of so many rows: for what was read from a file."""
        good = (
            self.cells.ndim == 2
            and self.cells.shape[1] == 4
            and self.t.shape == (len(self.labels),)
            and bool(np.all(self.cells >= (0, 0, 0, 1)))
            and bool(np.all(self.cells[:, :3] < (rows, len(self.labels), len(self.holders))))
            and bool(np.all(np.diff(self.cells[:, 0]) >= 0))
        )
        if not good:
            raise KevacuateError(
                "the holders in the map contradict each other: the file is damaged, save it again."
            )


def held_states(
    states: Iterable[AllocatorState | None], begin: int, start: Ints, block_order: int, hugepage_order: int
) -> HeldStates | None:
    """What holds the pageblocks in these states; None where none of them has page flags.

    Parameters
    ----------
    states : iterable of AllocatorState or None
        The states, in order of time.
    begin : int
        The time of the start state, ns of the recording's clock.
    start : int64[blocks]
        First pfns of the pageblocks, ascending.
    block_order, hugepage_order : int
        The machine's.

    """
    labels: list[str] = []
    times: list[int] = []
    found = [np.empty((0, 4), np.int64)]
    for state in states:
        cells = None if state is None else _cells(state, len(labels), start, block_order, hugepage_order)
        if state is None or cells is None:
            continue
        found.append(cells)
        labels.append(state.label or state.tag)
        times.append(state.ts - begin)
    if not labels:
        return None
    every = np.concatenate(found)
    every = every[np.argsort(every[:, 0], kind="stable")]
    return HeldStates(tuple(labels), np.array(times, np.int64), FLAG_HOLDERS, every)


def _cells(
    state: AllocatorState, number: int, start: Ints, block_order: int, hugepage_order: int
) -> Ints | None:
    """One state's cells, by row; None where it has no page flags."""
    last, width = int(start[-1]) + (1 << block_order), len(FLAG_HOLDERS)
    code = state_codes(state, 0, last, hugepage_order)
    if code is None:
        return None
    pfn = np.flatnonzero(code >= 0)
    keys, pages = np.unique((pfn >> block_order) * width + code[pfn], return_counts=True)
    block, holder = np.divmod(keys, width)
    row = np.minimum(np.searchsorted(start >> block_order, block), len(start) - 1)
    cells = np.stack([row, np.full(len(row), number, np.int64), holder, pages], axis=1)
    return np.asarray(cells[start[row] >> block_order == block])
