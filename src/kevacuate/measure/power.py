# SPDX-License-Identifier: GPL-2.0-or-later
"""How far apart means have to lie for the exact permutation test of few values to see it, found by drawing."""

from __future__ import annotations

from functools import lru_cache
from math import comb, sqrt

import numpy as np
import numpy.typing as npt

from kevacuate.measure.intervals import POWER, seen_errors
from kevacuate.measure.permutation import MOST_DEALS, dealt, every_deal, spendable

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
