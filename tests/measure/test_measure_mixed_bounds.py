# SPDX-License-Identifier: GPL-2.0-or-later
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from synthetic import BLOCK, start_state

from kevacuate.measure.blocks import COLUMNS, BlockCounts
from kevacuate.measure.mixed_bounds import Bounds, mixed_bounds
from kevacuate.measure.moments import mixed_bounds_of
from kevacuate.measure.pages import MOVABLE, UNMOVABLE
from kevacuate.recording.state import UNCLEAR, Guesses


def brute(movable: np.ndarray, fixed: np.ndarray, unclear: np.ndarray, cached: int) -> tuple[int, int]:
    """Fewest and most mixed blocks over all ways to put up to *cached* of the unclear pages on per-CPU lists."""
    found = []
    for taken in product(*(range(int(n) + 1) for n in unclear)):
        if sum(taken) <= cached:
            kernel = fixed + unclear - np.array(taken)
            found.append(int(((movable > 0) & (kernel > 0)).sum()))
    return min(found), max(found)


@pytest.mark.parametrize("seed", range(12))
def test_bounds_are_those_of_every_way_the_pages_can_lie(seed: int) -> None:
    rng = np.random.default_rng(seed)
    movable, fixed = rng.integers(0, 2, 5), rng.integers(0, 2, 5) * rng.integers(0, 2, 5)
    unclear = rng.integers(0, 4, 5)
    for cached in (0, 1, 3, 7, 20):
        assert mixed_bounds(movable, fixed, unclear, cached) == brute(movable, fixed, unclear, cached)


def test_bounds_in_words() -> None:
    assert Bounds(85, 1687).words() == "85 to 1,687"
    assert Bounds(1687, 1687).words() == "1,687"


@pytest.mark.parametrize("short", [0, 100, BLOCK])
def test_page_flags_that_end_before_the_last_block(short: int) -> None:
    """As /proc/kpageflags does where the last zone ends in a hole."""
    state = replace(start_state(), guesses=Guesses(4, 0, 0, 10, 10, 5))
    assert state.page_flags is not None
    flags = state.page_flags.copy()
    flags[-BLOCK - 5 : -BLOCK] = UNCLEAR
    state = replace(state, page_flags=flags[: flags.size - short])
    size, moved = BLOCK, np.zeros((state.blocks.pfn.size, COLUMNS), np.int64)
    moved[-2, [MOVABLE, UNMOVABLE]] = 1, 5
    counts = BlockCounts(state.blocks.mt, moved, state.blocks.pfn.astype(np.int64))
    assert mixed_bounds_of(state, counts, size.bit_length() - 1) == Bounds(0, 1)
