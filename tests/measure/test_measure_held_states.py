# SPDX-License-Identifier: GPL-2.0-or-later
"""What holds every pageblock of a recording's states is what explain says of each; it is saved with a map, and checked."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kevacuate.errors import KevacuateError
from kevacuate.measure.held_states import HeldStates, held_states
from kevacuate.measure.holders import Holder
from kevacuate.measure.holders_by_flags import state_holders
from kevacuate.measure.pages import UNMOVABLE, page_classes
from kevacuate.observe.maps import recorded_frames
from kevacuate.recording import Recording

DATA = Path(__file__).resolve().parent.parent / "data"
SHIPPED = DATA.parent.parent / "src" / "kevacuate" / "data" / "stock-churn-1g-smp1-s3.kev"
RECORDINGS = [SHIPPED, DATA / "one-cpu.kev"]


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_every_block_is_held_by_what_explain_says(path: Path) -> None:
    recording = Recording.open(path)
    frames, machine = recorded_frames(recording), recording.machine
    states = [state for state in recording.states if state.page_flags is not None]
    held = frames.held
    assert held is not None
    assert held.labels == tuple(state.label or state.tag for state in states)
    assert held.t.tolist() == [state.ts - states[0].ts for state in states]
    size, pages = 1 << machine.pageblock_order, 0
    for row in range(0, len(frames.start), 7):
        first = int(frames.start[row])
        found = held.of_row(row)
        assert found == tuple(state_holders(s, first, first + size, machine.hugepage_order) for s in states)
        pages += sum(n for holders in found for _, n in holders)
    assert pages > 0, "something is held"


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_the_pages_are_those_that_the_map_calls_unmovable(path: Path) -> None:
    recording = Recording.open(path)
    frames = recorded_frames(recording)
    assert frames.held is not None
    states = [state for state in recording.states if state.page_flags is not None]
    for number, state in enumerate(states):
        cells = frames.held.cells[frames.held.cells[:, 1] == number]
        classes = page_classes(state, recording.machine.hugepage_order)
        assert cells[:, 3].sum() == (classes == UNMOVABLE).sum()


def test_a_state_without_page_flags_says_nothing() -> None:
    recording = Recording.open(DATA / "one-cpu.kev")
    (first, *_), machine = recording.states, recording.machine
    bare = replace(first, page_flags=None)
    start = first.blocks.pfn.astype(np.int64)
    orders = machine.pageblock_order, machine.hugepage_order
    assert held_states([bare, None], 0, start, *orders) is None
    told = held_states([bare, first], first.ts - 5, start, *orders)
    assert told is not None
    assert told.t.tolist() == [5]
    assert set(told.cells[:, 1].tolist()) == {0}


GOOD = [[0, 0, 0, 1], [1, 0, 1, 3]]


@pytest.mark.parametrize(
    "cells",
    [
        [[2, 0, 0, 1]],
        [[0, 1, 0, 1]],
        [[0, 0, 2, 1]],
        [[0, 0, 0, 0]],
        [[-1, 0, 0, 1]],
        [[1, 0, 0, 1], [0, 0, 0, 1]],
        [[0, 0, 0]],
    ],
)
def test_cells_that_contradict_the_map_are_refused(cells: list[list[int]]) -> None:
    holders = (Holder("slab", ""), Holder("page table", ""))
    held = HeldStates(("start",), np.zeros(1, np.int64), holders, np.array(GOOD))
    held.check(2)
    with pytest.raises(KevacuateError, match="contradict each other"):
        replace(held, cells=np.array(cells)).check(2)
    with pytest.raises(KevacuateError, match="contradict each other"):
        replace(held, t=np.zeros(2, np.int64)).check(2)
