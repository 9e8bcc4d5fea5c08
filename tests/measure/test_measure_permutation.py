# SPDX-License-Identifier: GPL-2.0-or-later
"""What groups of repeats can decide."""

from decimal import Decimal
from fractions import Fraction
from itertools import combinations, permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kevacuate.measure import permutation as g

VALUES = st.lists(st.integers(0, 9).map(float), min_size=2, max_size=4)


def slow_p(first: list[float], second: list[float]) -> float:
    """The same share over all orders of the values, one by one."""
    every = list(permutations([*first, *second]))
    n, m = len(first), len(second)

    def apart(deal: tuple[float, ...]) -> float:
        return abs(sum(deal[:n]) / n - sum(deal[n:]) / m)

    found = apart((*first, *second))
    return sum(1 for deal in every if apart(deal) >= found - 1e-9) / len(every)


@given(VALUES, st.lists(st.integers(0, 9).map(float), min_size=2, max_size=3))
def test_p_is_the_share_of_all_deals(first: list[float], second: list[float]) -> None:
    assert g.permutation_p(first, second) == pytest.approx(slow_p(first, second))
    assert g.permutation_p(first, second) == pytest.approx(g.permutation_p(second, first))


@pytest.mark.parametrize(("n", "m"), [(2, 2), (3, 3), (4, 4), (3, 5), (1, 4)])
def test_the_least_p_is_reached_by_groups_far_apart(n: int, m: int) -> None:
    first, second = [float(i) for i in range(n)], [1000.0 + i for i in range(m)]
    assert g.permutation_p(first, second) == pytest.approx(g.least_p(n, m))


def test_many_repeats_are_drawn_and_always_alike() -> None:
    first, second = [float(i % 7) for i in range(15)], [float(i % 7 + 20) for i in range(15)]
    p = g.permutation_p(first, second)
    assert p == g.permutation_p(first, second) <= 2 / g.DRAWS
    assert g.permutation_p(first, first[::-1]) == 1.0


@pytest.mark.parametrize(
    ("first", "second", "verdict"),
    [
        ([1.0], [9.0], g.UNDECIDED),
        ([1.0], [1.0], g.UNDECIDED),
        ([1.0, 2.0, 3.0, 4.0], [9.0], g.UNDECIDED),
        ([5.0, 5.0], [5.0, 5.0], g.EQUAL),
        ([1.0, 2.0, 3.0], [7.0, 8.0, 9.0], g.APART),
        ([7.0, 8.0, 9.0], [1.0, 2.0, 3.0], g.APART),
        ([1.0, 2.0, 8.0], [7.0, 8.0, 9.0], g.SAME),
        ([1.0, 2.0, 3.0, 4.0], [7.0, 8.0, 9.0, 10.0], g.DIFFERS),
        ([1.0, 9.0, 3.0, 4.0], [2.0, 8.0, 9.0, 1.0], g.SAME),
        ([1.0, None], [2.0, 3.0], g.UNKNOWN),
        ([], [2.0, 3.0], g.UNKNOWN),
    ],
)
def test_verdicts(first: list[float | None], second: list[float | None], verdict: str) -> None:
    found = g.decide(first, second)
    assert found.verdict == verdict
    assert (found.difference is None) == (verdict == g.UNKNOWN)
    assert (found.p is None) == (verdict in (g.UNKNOWN, g.UNDECIDED))


def test_the_rule_says_what_so_few_cannot_do() -> None:
    assert "single recordings cannot tell" in g.rule([1, 1])
    assert "a single recording cannot tell" in g.rule([3, 1])
    assert "cannot give less than 0.10" in g.rule([3, 3])
    assert "cannot give less" not in g.rule([4, 4])
    assert g.rule([3]) == "One group: nothing is compared."
    assert "single runs cannot tell a difference between policies" in g.rule([1, 1], g.RUNS)


def test_spread_is_the_sample_standard_deviation() -> None:
    assert g.spread([5.0]) is None
    assert g.spread([2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]) == pytest.approx((32 / 7) ** 0.5)


def exact_p(first: list[float], second: list[float]) -> float:
    """permutation_p in fractions of the decimals as they are written."""
    values = [Fraction(Decimal(str(v))) for v in (*first, *second)]
    n, total = len(first), sum(values)
    apart = []
    for pick in combinations(values, n):
        own = sum(pick)
        apart.append(abs(own / n - (total - own) / (len(values) - n)))
    return sum(distance >= apart[0] for distance in apart) / len(apart)


@pytest.mark.parametrize(
    ("first", "second", "p"),
    [
        (
            [1e12, 1e12 + 1, 1e12 + 2, 1e12 + 1, 1e12],
            [1e12 + 5, 1e12 + 6, 1e12 + 7, 1e12 + 5, 1e12 + 8],
            2 / 252,
        ),
        ([1e9, 1, 2, 3, 4], [5e9, 6, 7, 8, 10], 114 / 252),
        ([1e-10, 2e-10, 3e-10, 1e-10], [9e-10, 8e-10, 7e-10, 1e-9], 2 / 70),
        ([0.1, 0.2, 0.3], [0.3, 0.2, 0.1], 1.0),
        ([0.1, 0.7, 0.2, 0.9], [0.3, 0.6, 0.4, 0.9], 56 / 70),
    ],
)
def test_ties_are_told_by_differences_however_large_or_small_the_values(
    first: list[float], second: list[float], p: float
) -> None:
    assert g.permutation_p(first, second) == pytest.approx(p) == exact_p(first, second)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(-300, 300), min_size=4, max_size=8),
    st.sampled_from([1e-9, 1e-3, 0.1, 1.0, 1e6]),
    st.sampled_from([0.0, 1.0, 1e3]),
)
def test_p_is_that_of_fractions(whole: list[int], scale: float, offset: float) -> None:
    values = [
        float(Decimal(str(n)) * Decimal(str(scale)) + Decimal(str(offset)) * Decimal(str(scale)))
        for n in whole
    ]
    first, second = values[: len(values) // 2], values[len(values) // 2 :]
    assert g.permutation_p(first, second) == pytest.approx(exact_p(first, second))
