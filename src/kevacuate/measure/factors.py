# SPDX-License-Identifier: GPL-2.0-or-later
"""What of a figure's variation over a grid each factor explains, and each pair of factors beyond the two (analysis of variance).

The grid is complete: every combination of levels has equally many values. Then the parts are orthogonal and their shares add up,
with those of three factors and more, and of chance, to 1. The test of a part is Fisher's F, which takes the values of a
combination as normal and equally spread; of counts it is approximate.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from kevacuate.measure.intervals import f_tail


@dataclass(frozen=True)
class Part:
    """What one factor, or two together beyond each alone, explain.

    Attributes
    ----------
    factors : tuple of int
        Axes of the grid: one, or two.
    share : float
        Of the sum of squares of all values.
    p : float or None
        By F against the spread within combinations; None where there is one value of each.
    """

    factors: tuple[int, ...]
    share: float
    p: float | None


def parts_of(values: npt.NDArray[np.float64]) -> list[Part]:
    """The parts of every factor and every pair of factors.

    Parameters
    ----------
    values : float64[levels of factor 0, levels of factor 1, ..., repeats]
        One figure. A constant one has no parts.
    """
    axes = values.ndim - 1
    centred = values - values.mean()
    whole = float((centred**2).sum())
    if whole <= 1e-18 * max(float(np.abs(values).max()), 1e-300) ** 2 * values.size:
        return []
    means = centred.mean(axis=-1)
    within = float(((centred - means[..., None]) ** 2).sum())
    freedom = values.size - means.size
    effects: dict[tuple[int, ...], npt.NDArray[np.float64]] = {
        (axis,): _effect(means, (axis,)) for axis in range(axes)
    }
    for one, two in combinations(range(axes), 2):
        effects[one, two] = _effect(means, (one, two)) - effects[one,] - effects[two,]
    made = []
    for factors, effect in effects.items():
        squares = float((np.broadcast_to(effect, means.shape) ** 2).sum()) * values.shape[-1]
        own = int(np.prod([values.shape[axis] - 1 for axis in factors]))
        p = _p(squares / own, own, within / freedom, freedom) if own and freedom else None
        made.append(Part(factors, squares / whole, p))
    return made


def _effect(means: npt.NDArray[np.float64], kept: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """The means over all axes but those that are kept."""
    others = tuple(axis for axis in range(means.ndim) if axis not in kept)
    return np.asarray(means.mean(axis=others, keepdims=True), np.float64)


def _p(mean_square: float, own: int, within: float, freedom: int) -> float:
    """p of F; where nothing varies within combinations, 0 of any effect."""
    if not within:
        return 0.0 if mean_square else 1.0
    return f_tail(mean_square / within, own, freedom)
