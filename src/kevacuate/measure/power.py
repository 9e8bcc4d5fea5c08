# SPDX-License-Identifier: GPL-2.0-or-later
"""What two groups of replays would show: how far apart their means have to lie for the permutation test to call them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import comb, sqrt

import numpy as np
import numpy.typing as npt

from kevacuate.measure.intervals import POWER, seen_errors
from kevacuate.measure.permutation import MOST_DEALS, dealt, every_deal, mean, spendable, spread

DRAWN = 500
"""Pairs of groups that are drawn, always the same."""
AT_ONCE = 25
"""Pairs that are dealt at once: up to MOST_DEALS words each."""


@lru_cache(maxsize=64)
def errors_seen(level: float, size: int) -> float:
    """Standard errors between two means of *size* normal figures each that POWER of permutation tests at *level* would call.

    Where all deals are tried it is found by drawing, to three digits: at small levels the t test would call more. Else it is the
    t test's (:func:`kevacuate.measure.intervals.seen_errors`), which the drawn deals come close to.
    """
    if comb(2 * size, size) > MOST_DEALS:
        return seen_errors(level, 2 * size - 2)
    rng = np.random.default_rng(22)
    deals = every_deal(2 * size, size)
    moved = (deals >= size).sum(axis=1)
    others = moved > 0
    sums = dealt(deals[others], 2 * size).T
    allowed = round(spendable(level, size, size) * len(deals)) // 2 - 1
    least = [
        _shifts_called(rng.normal(size=(AT_ONCE, 2 * size)), sums, moved[others], allowed)
        for _ in range(DRAWN // AT_ONCE)
    ]
    return round(float(np.quantile(np.concatenate(least), POWER)) / sqrt(2.0 / size), 3)


def least_seen(first: Sequence[float], second: Sequence[float], level: float) -> float | None:
    """The least change that POWER of such comparisons would call at *level* (two-sided), as a share of the first's mean.

    None where nothing varies, the first mean is 0, or so few values can spend nothing of *level*.
    """
    a, b = spread(first), spread(second)
    level = spendable(level, len(first), len(second))
    if a is None or b is None or not (a or b) or not mean(first) or level <= 0:
        return None
    error = sqrt(a * a / len(first) + b * b / len(second)) * _understated(first, second)
    alike = len(first) == len(second)
    apart = errors_seen(level, len(first)) if alike else seen_errors(level, len(first) + len(second) - 2)
    return apart * error / abs(mean(first))


def _understated(first: Sequence[float], second: Sequence[float]) -> float:
    """By how much most samples like these understate the spread; 1 of figures whose tails are a normal one's, or lighter.

    The variance of N values varies, by a share whose square is the excess kurtosis / N beyond what t allows for. So much above
    the median of skewed estimates the large ones lie, which keep a change from being called.
    """
    apart = [value - mean(group) for group in (first, second) for value in group]
    square = sum(value**2 for value in apart) / len(apart)
    excess = sum(value**4 for value in apart) / len(apart) / square**2 - 3
    return sqrt(1 + max(excess, 0.0) / len(apart))


def _shifts_called(
    figures: npt.NDArray[np.float64],
    sums: npt.NDArray[np.float64],
    moved: npt.NDArray[np.int64],
    allowed: int,
) -> npt.NDArray[np.float64]:
    """How far each pair's second group has to be shifted to be called: float[pairs], of float[pairs, figures].

    *sums* gives the first group's sum in each deal but the pair's own, which moves *moved* figures of the second group there.
    Such a deal is as far apart as the pair until the shift is the difference of the first groups' sums by *moved*. At most
    *allowed* deals may be; as many again lie as far apart the other way.
    """
    size = figures.shape[1] // 2
    until = (figures[:, :size].sum(axis=1)[:, None] - figures @ sums) / moved
    place = until.shape[1] - 1 - allowed
    return np.asarray(np.partition(until, place, axis=1)[:, place], np.float64)
