# SPDX-License-Identifier: GPL-2.0-or-later
"""How sure a difference is: Student's t, Welch's interval, power, and Holm's correction, against known values."""

from __future__ import annotations

import math

import numpy as np
import pytest

from kevacuate.measure.intervals import (
    POWER,
    Sample,
    change_bounds,
    errors_apart,
    holm,
    seen_errors,
    t_power,
    t_quantile,
    t_share,
    welch,
)
from kevacuate.measure.permutation import LEVEL, permutation_p


@pytest.mark.parametrize(
    ("share", "freedom", "value"),
    [
        (0.975, 1, 12.7062),
        (0.975, 2, 4.30265),
        (0.975, 10, 2.22814),
        (0.975, 24, 2.06390),
        (0.975, 100, 1.98397),
        (0.95, 5, 2.01505),
        (0.8, 10, 0.87906),
        (0.9995, 14, 4.14045),
        (0.995, 30, 2.75000),
        (0.975, 1e7, 1.95996),
    ],
)
def test_quantiles_of_t_are_those_of_the_tables(share: float, freedom: float, value: float) -> None:
    assert t_quantile(share, freedom) == pytest.approx(value, abs=6e-6 * max(value, 1))
    assert t_share(value, freedom) == pytest.approx(share, abs=1e-5)
    assert t_share(-value, freedom) == pytest.approx(1 - share, abs=1e-5)


def test_half_of_t_lies_below_zero() -> None:
    assert t_share(0.0, 3.7) == pytest.approx(0.5)


def test_between_whole_degrees_of_freedom_the_quantile_falls() -> None:
    found = [t_quantile(0.975, 3 + i / 4) for i in range(9)]
    assert found == sorted(found, reverse=True)
    assert len(set(found)) == 9


def test_welch_of_a_worked_example() -> None:
    """Two groups of unequal size and spread; by hand: error sqrt(4/4 + 36/9), freedom 25 / (1/3 + 16/8) = 10.714."""
    found = welch(Sample(4, 10.0, 2.0), Sample(9, 13.0, 6.0))
    assert (found.value, found.error) == (3.0, pytest.approx(5**0.5))
    reach = t_quantile(0.975, 25 / (1 / 3 + 2)) * 5**0.5
    assert (found.low, found.high) == (pytest.approx(3 - reach), pytest.approx(3 + reach))
    assert found.holds(3 - reach + 1e-9)
    assert not found.holds(3 + reach + 1e-9)


def test_the_interval_holds_the_truth_in_95_of_100_cases() -> None:
    rng = np.random.default_rng(3)
    held = 0
    for _ in range(2000):
        first, second = rng.normal(10, 1, 6).tolist(), rng.normal(12, 4, 12).tolist()
        held += welch(Sample.of(first), Sample.of(second)).holds(2.0)
    assert held / 2000 == pytest.approx(0.95, abs=0.015)


def test_the_smallest_change_that_is_seen_is_seen_in_80_of_100_cases_by_the_permutation_test() -> None:
    rng = np.random.default_rng(5)
    change = welch(Sample(9, 0.0, 1.0), Sample(9, 0.0, 1.0)).seen
    seen = 0
    for _ in range(600):
        first, second = rng.normal(0, 1, 9).tolist(), rng.normal(change, 1, 9).tolist()
        seen += permutation_p(first, second) <= LEVEL
    assert seen / 600 == pytest.approx(0.8, abs=0.05)


@pytest.mark.parametrize(
    ("each", "effect", "level"), [(64, 0.5, 0.05), (26, 0.8, 0.05), (17, 1.0, 0.05), (38, 0.8, 0.01)]
)
def test_the_power_of_t_tests_is_that_of_the_tables(each: int, effect: float, level: float) -> None:
    """Cohen (1988): so many in each group see an effect of so many standard deviations in 80 of 100 cases, to a whole number."""
    limit, apart = t_quantile(1 - level / 2, 2 * each - 2), effect * (each / 2) ** 0.5
    assert t_power(apart, limit, 2 * each - 2) == pytest.approx(0.8, abs=0.012)


@pytest.mark.parametrize(("level", "freedom"), [(0.05 / 28, 14), (0.05, 4), (0.01, 52), (0.001, 34.5)])
def test_what_is_seen_is_seen_in_80_of_100_t_tests_of_few_values_at_small_levels_too(
    level: float, freedom: float
) -> None:
    rng = np.random.default_rng(6)
    t = rng.normal(seen_errors(level, freedom), 1, 200_000) / np.sqrt(
        rng.chisquare(freedom, 200_000) / freedom
    )
    assert (t >= t_quantile(1 - level / 2, freedom)).mean() == pytest.approx(POWER, abs=0.004)


def test_what_is_seen_at_a_smaller_level_is_larger() -> None:
    found = welch(Sample(9, 0.0, 1.0), Sample(9, 0.0, 1.0))
    assert found.seen == found.seen_at(LEVEL) == pytest.approx(seen_errors(LEVEL, 16) * (2 / 9) ** 0.5)
    assert found.seen_at(LEVEL / 50) > 1.4 * found.seen
    assert welch(Sample(2, 5.0, 0.0), Sample(2, 7.0, 0.0)).seen_at(0.01) == 0.0


def test_bounds_of_a_change_are_the_ratios_that_a_test_does_not_call() -> None:
    first, second = Sample(10, 100.0, 12.0), Sample(14, 90.0, 20.0)
    bounds = change_bounds(first, second, 0.01)
    assert bounds is not None
    limit = t_quantile(0.99, 21)  # welch says 21.8
    for bound in bounds:
        error = math.hypot(second.error, (1 + bound) * first.error)
        assert abs(second.mean - (1 + bound) * first.mean) == pytest.approx(limit * error)
    assert bounds[0] < -0.1 < bounds[1]


def test_each_bound_of_a_change_is_wrong_as_often_as_is_said() -> None:
    rng, wrong = np.random.default_rng(6), [0, 0]
    for _ in range(500):
        pair = (Sample.of(rng.normal(mean, 40, 9).tolist()) for mean in (100, 130))
        bounds = change_bounds(*pair, 0.05)
        assert bounds is not None
        wrong = [wrong[0] + (bounds[0] > 0.3), wrong[1] + (bounds[1] < 0.3)]
    assert all(10 <= count <= 42 for count in wrong)  # 25 are expected, with a standard deviation of 5


def test_a_change_of_what_may_be_nothing_has_no_bounds() -> None:
    some = Sample(8, 5.0, 4.0)
    assert change_bounds(Sample(8, 0.4, 1.0), some, 0.01) is None
    assert change_bounds(Sample(8, 0.0, 0.0), some, 0.01) is None
    assert change_bounds(Sample(8, 5.0, 0.0), Sample(8, 6.0, 0.0), 0.01) is None
    gone = change_bounds(Sample(8, 50.0, 4.0), Sample(8, 0.1, 0.4), 0.01)
    assert gone is not None
    assert gone[0] == -1, "no count is negative"


def test_groups_without_any_spread() -> None:
    found = welch(Sample.of([5.0, 5.0]), Sample.of([7.0, 7.0, 7.0]))
    assert (found.value, found.low, found.high, found.seen) == (2.0, 2.0, 2.0, 0.0)
    assert errors_apart(Sample.of([5, 5]), Sample.of([7, 7])) == math.inf
    assert errors_apart(Sample.of([7, 7]), Sample.of([5, 5])) == -math.inf
    assert errors_apart(Sample.of([5, 5]), Sample.of([5, 5])) == 0.0


def test_the_error_of_a_mean() -> None:
    assert Sample.of([1, 2, 3, 4]).error == pytest.approx((5 / 3) ** 0.5 / 2)
    assert (Sample.of([3.0]).sd, Sample.of([3.0]).n) == (0.0, 1)


def test_holm_of_a_worked_example() -> None:
    found = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
    assert found == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02})
    assert holm({1: 0.6, 2: 0.5}) == {1: 1.0, 2: 1.0}
    assert holm({}) == {}


def test_holm_keeps_the_chance_of_any_false_finding() -> None:
    rng = np.random.default_rng(7)
    wrong = sum(min(holm(dict(enumerate(rng.random(20).tolist()))).values()) <= LEVEL for _ in range(2000))
    assert wrong / 2000 == pytest.approx(LEVEL, abs=0.015)
