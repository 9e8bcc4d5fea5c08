# SPDX-License-Identifier: GPL-2.0-or-later
"""Keeps the pageblock map of a replay: with it goes what each object was asked for with, which pages alone do not tell."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kevacuate.demand.objects import OP_SPLIT, makes_object
from kevacuate.jit import kernel, pointers
from kevacuate.measure.frames import Frames
from kevacuate.measure.look import FrameKeeper
from kevacuate.mm import constants as k
from kevacuate.mm.layout import State
from kevacuate.recording import DemandChunk

PAGES_KEPT = 1 << 25
"""Machines of up to so many pages (128 GiB) keep the class of every page at every sample; larger ones that of blocks alone."""


@kernel
def note_kinds(kinds: npt.NDArray[np.uint8], da: DemandChunk, start: int, end: int) -> None:
    """Note the migratetype of every object that rows [start, end) make."""
    d = pointers(da)
    for i in range(start, end):
        op = d.op[i]
        if makes_object(op):
            kinds[d.obj[i]] = d.mt[i]
        elif op == OP_SPLIT:
            kinds[d.aux[i]] = kinds[d.obj[i]]


class MapKeeper:
    """The frames of a replay under way.

    Parameters
    ----------
    state : State
        The state at the start.
    start_objects : int
        How many objects the start state has: they are on LRU lists, so movable.
    """

    def __init__(self, state: State, start_objects: int) -> None:
        self._keeper = FrameKeeper(state, pages=state.view.cfg.npages <= PAGES_KEPT)
        self._kinds: npt.NDArray[np.uint8] = np.zeros(state.obj.size, np.uint8)
        self._kinds[:start_objects] = k.MIGRATE_MOVABLE

    def note(self, state: State, rows: DemandChunk, start: int, end: int) -> None:
        """Rows [start, end) of *rows* were replayed."""
        if state.obj.size > self._kinds.size:
            self._kinds = np.append(self._kinds, np.zeros(state.obj.size - self._kinds.size, np.uint8))
        note_kinds(self._kinds, rows, start, end)

    def look(self, state: State, t: int) -> None:
        """Keep the moment *t* (ns of virtual time)."""
        self._keeper.look(state, self._kinds, t)

    def frames(self) -> Frames:
        """All moments kept."""
        return self._keeper.frames()
