# SPDX-License-Identifier: GPL-2.0-or-later
"""Lists of a start state whose rows do not stand list by list."""

from __future__ import annotations

import numpy as np

from kevacuate.mm.load_state import _thread


def walked(link: np.ndarray, sentinel: int) -> list[int]:
    """The pages of a list, head first; that many links at most."""
    pages: list[int] = []
    at = int(link[2 * sentinel])
    while at != sentinel and len(pages) < len(link):
        assert link[2 * link[2 * at + 1]] == at
        pages.append(at)
        at = int(link[2 * at])
    return pages


def test_rows_of_two_lists_that_take_turns() -> None:
    link = np.repeat(np.arange(10, dtype=np.int32), 2)
    _thread(link, np.array([8, 9, 8, 9, 8]), np.array([5, 1, 3, 2, 4]))
    assert walked(link, 8) == [5, 3, 4]
    assert walked(link, 9) == [1, 2]
