# SPDX-License-Identifier: GPL-2.0-or-later
"""The test of rest on synthetic series: what drifts is seldom called stationary, what has come to rest mostly is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from kevacuate.measure.stationary import ALPHA, LOOKS, came_to_rest, drift, is_stationary

TOLERANCE = 0.01
SERIES = 200
LAST = LOOKS[-1]
Make = Callable[[np.random.Generator], np.ndarray]


def called(make: Make) -> float:
    """The share of series that is called stationary at any look."""
    rng = np.random.default_rng(7)
    return float(np.mean([came_to_rest(make(rng), TOLERANCE) > 0 for _ in range(SERIES)]))


def autoregressive(rng: np.random.Generator, r: float, sd: float) -> np.ndarray:
    """A series at rest, of which each value is correlated with the one before."""
    steps = rng.normal(0, sd * np.sqrt(1 - r * r), LAST + 50)
    values = np.zeros(LAST + 50)
    for i in range(1, LAST + 50):
        values[i] = r * values[i - 1] + steps[i]
    return values[50:]


def slope(look: int) -> float:
    """The slope of a line of which the halves' means differ by the tolerance when it is looked at with so many values."""
    return TOLERANCE / drift(np.arange(look).tolist(), 0.5).difference


@pytest.mark.parametrize("sd", [0.001, 0.005, 0.01])
def test_a_drift_of_the_tolerance_is_seldom_called_rest(sd: float) -> None:
    for r in (0.0, 0.5):
        assert called(lambda g, r=r: np.arange(LAST) * slope(LOOKS[0]) + autoregressive(g, r, sd)) <= ALPHA  # type: ignore[misc]


def test_a_walk_and_a_slow_approach_are_seldom_called_rest() -> None:
    assert called(lambda g: np.cumsum(g.normal(0, 2 * TOLERANCE, LAST))) <= ALPHA
    for tau in (10, 20):
        approach = 0.2 * (1 - np.exp(-np.arange(LAST) / tau))
        assert called(lambda g, a=approach: a + g.normal(0, 0.005, LAST)) <= ALPHA  # type: ignore[misc]


def test_what_is_at_rest_is_called_so() -> None:
    assert called(lambda g: g.normal(0.3, 0.002, LAST)) == 1
    assert called(lambda g: autoregressive(g, 0.5, 0.002)) >= 0.98
    assert called(lambda g: g.normal(0.3, 0.005, LAST)) >= 0.95
    assert called(lambda g: g.normal(0.3, 0.05, LAST)) <= 0.01  # nobody can tell


def test_a_constant_has_no_drift_and_every_figure_counts() -> None:
    flat = [0.25] * LOOKS[0]
    assert drift(flat, 0.01) == (0.0, 0.0, 0.0)
    assert is_stationary({"a": flat, "b": flat}, TOLERANCE)
    assert not is_stationary({"a": flat, "b": np.linspace(0, 1, LOOKS[0]).tolist()}, TOLERANCE)


def test_the_bound_is_that_of_a_t_test_of_the_halves() -> None:
    values = [9.0, 9.0, 9.0, 9.0, 1.0, 2.0, 1.0, 2.0, 1.0, 2.0, 3.0, 2.0, 3.0, 2.0, 3.0, 2.0]
    found = drift(values, 0.05)
    first, second = np.array(values[4:10]), np.array(values[10:])
    assert found.difference == pytest.approx(1.0)
    assert found.correlation == 0.0  # they alternate: as if independent
    pooled = (first.var(ddof=1) + second.var(ddof=1)) / 2
    assert found.bound == pytest.approx(1.0 + 1.8125 * np.sqrt(pooled / 3), rel=1e-3)  # t of 10 degrees, 95 %
