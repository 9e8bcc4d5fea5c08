# SPDX-License-Identifier: GPL-2.0-or-later
"""How far apart means have to lie for the exact permutation test of few values to see it, found by drawing."""

from __future__ import annotations

from functools import lru_cache
from math import comb, sqrt

import numpy as np
import numpy.typing as npt

from kevacuate.measure.intervals import POWER, seen_errors
from kevacuate.measure.permutation import MOST_DEALS, every_deal, spendable

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
    least = np.concatenate(
        [_shifts_called(rng.normal(size=(AT_ONCE, 2 * size)), level) for _ in range(DRAWN // AT_ONCE)]
    )
    return round(float(np.quantile(least, POWER)) / sqrt(2.0 / size), 3)


def _shifts_called(figures: npt.NDArray[np.float64], level: float) -> npt.NDArray[np.float64]:
    """How far each pair's second group has to be shifted to be called at *level*: float[pairs], of float[pairs, figures].

    A deal that moves *moved* figures of the second group to the first is as far apart as the pair until the shift is the
    difference of the first groups' sums by *moved*. As many deals again lie as far apart the other way.
    """
    size = figures.shape[1] // 2
    deals = every_deal(2 * size, size)
    moved = (deals >= size).sum(axis=1)
    dealt = np.zeros((len(deals), 2 * size))
    np.put_along_axis(dealt, deals, 1.0, axis=1)
    others = moved > 0
    until = (figures[:, :size].sum(axis=1)[:, None] - figures @ dealt[others].T) / moved[others]
    allowed = round(spendable(level, size, size) * len(deals)) // 2 - 1
    place = until.shape[1] - 1 - allowed
    return np.asarray(np.partition(until, place, axis=1)[:, place], np.float64)
