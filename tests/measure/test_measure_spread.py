# SPDX-License-Identifier: GPL-2.0-or-later
"""Spread over runs and the permutation test."""

import pytest

from kevacuate.measure.spread import permutation_p, spread


def test_spread() -> None:
    assert spread([4.0]) == (1, 4.0, 0.0, 4.0, 4.0)
    assert spread([1, 2, 3, 4]) == (4, 2.5, pytest.approx(1.2909944), 1, 4)


def test_p_of_groups_worked_out_by_hand() -> None:
    # 20 ways to choose 3 of 6; only the seen split and its mirror image differ as much.
    assert permutation_p([1, 2, 3], [4, 5, 6]) == pytest.approx(2 / 20)
    assert permutation_p([5, 5, 5], [5, 5, 5]) == 1.0
    # {1,3} {2,4}: differences of the six splits: 2, 1, 0, 0, 1, 2.
    assert permutation_p([1, 3], [2, 4]) == pytest.approx(4 / 6)


def test_no_p_where_none_can_be_had() -> None:
    assert permutation_p([1], [2, 3]) is None
    assert permutation_p(list(range(20)), list(range(20))) is None
