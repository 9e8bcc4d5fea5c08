# SPDX-License-Identifier: GPL-2.0-or-later
"""The indices of mm/vmstat.c, against worked examples and a plain second writing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kevacuate.measure import fragmentation_index, unusable_free_index

ORDERS = 11


def chunks(**by_order: int) -> np.ndarray:
    """Numbers of free chunks, given as o3=2."""
    nr_free = np.zeros(ORDERS, np.int64)
    for name, number in by_order.items():
        nr_free[int(name[1:])] = number
    return nr_free


@pytest.mark.parametrize(
    ("nr_free", "order", "index"),
    [
        (chunks(o0=1000), 9, 998),
        (chunks(o8=4, o4=56, o1=40), 9, 951),
        (chunks(o8=1), 9, -500),
        (chunks(), 9, 0),
        (chunks(), 0, 0),
        (chunks(o9=1), 9, -1000),
        (chunks(o10=1, o0=5000), 9, -1000),
        (chunks(o0=1), 0, -1000),
        (chunks(o0=7), 1, 1000 - (1000 + 3500) // 7),
    ],
)
def test_fragmentation_index_of_worked_examples(nr_free: np.ndarray, order: int, index: int) -> None:
    assert fragmentation_index(nr_free, order) == index


def test_the_second_example_is_what_it_says() -> None:
    nr_free = chunks(o8=4, o4=56, o1=40)
    assert int(nr_free.sum()) == 100
    pages = sum(int(n) << o for o, n in enumerate(nr_free))
    assert pages == 2000
    assert 1000 - (1000 + 2000 * 1000 // 512) // 100 == 951


@pytest.mark.parametrize(
    ("nr_free", "order", "index"),
    [
        (chunks(), 9, 1000),
        (chunks(), 0, 1000),
        (chunks(o0=512), 9, 1000),
        (chunks(o0=512, o9=1), 9, 500),
        (chunks(o9=1), 9, 0),
        (chunks(o9=1), 10, 1000),
        (chunks(o0=1, o1=1), 1, 333),
        (chunks(o3=5, o0=1), 0, 0),
    ],
)
def test_unusable_free_index_of_worked_examples(nr_free: np.ndarray, order: int, index: int) -> None:
    assert unusable_free_index(nr_free, order) == index


lists = st.lists(st.integers(0, 3000), min_size=ORDERS, max_size=ORDERS)


@given(lists, st.integers(0, ORDERS - 1))
def test_both_indices_against_plain_loops(numbers: list[int], order: int) -> None:
    total = pages = suitable = 0
    for o, number in enumerate(numbers):
        total += number
        pages += number << o
        if o >= order:
            suitable += number << (o - order)
    nr_free = np.array(numbers, np.int64)
    wanted = 0 if total == 0 else -1000
    if total and not suitable:
        wanted = 1000 - (1000 + pages * 1000 // (1 << order)) // total
    assert fragmentation_index(nr_free, order) == wanted
    share = 1000 if pages == 0 else (pages - (suitable << order)) * 1000 // pages
    assert unusable_free_index(nr_free, order) == share


@given(lists)
def test_the_unusable_share_grows_with_the_order(numbers: list[int]) -> None:
    nr_free = np.array(numbers, np.int64)
    shares = [unusable_free_index(nr_free, order) for order in range(ORDERS)]
    assert shares == sorted(shares)
    assert all(0 <= share <= 1000 for share in shares)
