# SPDX-License-Identifier: GPL-2.0-or-later
"""Has a series of measurements come to rest? A test of equivalence: it has to be shown that it no longer drifts.

Not to find a drift proves nothing, so the question is turned round (two one-sided tests, Schuirmann 1987): the first quarter of
the series is left out, the rest is halved, and the difference of the halves' means must lie within a tolerance with confidence.
Its standard error is of the halves' own variances, with as many values counted as are independent by the lag-1 correlation r,
n (1 - r) / (1 + r), where r is positive. The series is looked at several times while it grows; the error is divided by the number
of looks (Bonferroni). A series of several figures is stationary when each is (an intersection-union test, which keeps the level).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kevacuate.measure.intervals import t_quantile

ALPHA = 0.05
"""Chance that a series is called stationary, at any look, whose halves truly differ by the tolerance or more."""
LOOKS = (12, 16, 24, 32, 48)
"""How many values it is looked at with."""
LEFT_OUT = 0.25
"""Share of a series, its first, that is left out."""


class Drift(NamedTuple):
    """How far the halves of a series lie apart, and how sure that is."""

    difference: float
    """Mean of the second half less that of the first."""
    bound: float
    """With confidence 1 - alpha the true difference is not larger than this, of either sign."""
    correlation: float
    """Lag-1 correlation within the halves."""


def drift(values: Sequence[float], alpha: float) -> Drift:
    """The drift of a series of at least 8 values, at error *alpha*."""
    kept = np.asarray(values[int(len(values) * LEFT_OUT) :], np.float64)
    halves = np.array_split(kept, 2)
    rest = [half - half.mean() for half in halves]
    square = sum(float((half**2).sum()) for half in rest)
    lagged = sum(float((half[1:] * half[:-1]).sum()) for half in rest)
    r = max(lagged / square, 0.0) if square > 0 else 0.0
    share = (1 - r) / (1 + r)
    difference = float(halves[1].mean() - halves[0].mean())
    degrees = max(len(kept) * share - 2, 1.0)
    variance = square / (len(kept) - 2)
    error = math.sqrt(variance * sum(1 / (len(half) * share) for half in halves)) if variance else 0.0
    bound = abs(difference) + t_quantile(1 - alpha, degrees) * error
    return Drift(difference, bound, r)


def is_stationary(series: Mapping[str, Sequence[float]], tolerance: float) -> bool:
    """Whether the drift of every figure is within the tolerance, at one of the :data:`LOOKS`."""
    alpha = ALPHA / len(LOOKS)
    return all(drift(values, alpha).bound < tolerance for values in series.values())


def came_to_rest(values: npt.NDArray[np.float64], tolerance: float) -> int:
    """At how many values a whole series would have been called stationary first; 0 where at none of the looks."""
    for look in LOOKS:
        if look <= len(values) and is_stationary({"": values[:look].tolist()}, tolerance):
            return look
    return 0
