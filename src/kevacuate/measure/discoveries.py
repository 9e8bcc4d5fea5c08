# SPDX-License-Identifier: GPL-2.0-or-later
"""Many tests at once: their p by the one test there is, and which of them are discoveries.

Of a grid of hundreds of settings some look good by chance. A discovery is a test whose q is at most LEVEL: of all discoveries of
such a grid at most LEVEL are false on average (false discovery rate; Benjamini and Hochberg 1995). That holds for tests that are
independent or rise and fall together, as those against one baseline do; a simulation of it is a test of this package.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from math import comb
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from kevacuate.measure.permutation import MOST_DEALS, TIE, dealt, every_deal

Key = TypeVar("Key", bound=Hashable)
Floats = npt.NDArray[np.float64]

CHUNK = 4096
"""Deals that are worked on at once."""


def permutation_ps(first: Floats, second: Floats) -> Floats:
    """:func:`kevacuate.measure.permutation.permutation_p` of many tests whose groups have equal sizes.

    Parameters
    ----------
    first, second : float64[tests, n], float64[tests, m]
        The values of the two groups of each test.

    Returns
    -------
    float64[tests]
        p of each, the same as one by one.
    """
    values = np.concatenate([first, second], axis=1)
    values -= (values.min(axis=1, keepdims=True) + values.max(axis=1, keepdims=True)) / 2
    n, size = first.shape[1], values.shape[1]
    total = values.sum(axis=1)
    found = np.abs(values[:, :n].sum(axis=1) / n - (total - values[:, :n].sum(axis=1)) / (size - n))
    lost = 4 * size * float(np.finfo(np.float64).eps) * np.abs(values).max(axis=1)
    limit = found - np.maximum(TIE * found, lost)
    picks, deals = every_deal(size, n), comb(size, n)
    hits = np.zeros(len(values), np.int64)
    for at in range(0, len(picks), CHUNK):
        sums = dealt(picks[at : at + CHUNK], size) @ values.T
        hits += (np.abs(sums / n - (total - sums) / (size - n)) >= limit).sum(axis=0)
    return hits / deals if deals <= MOST_DEALS else (hits + 1) / (len(picks) + 1)


def discovery_qs(p: Mapping[Key, float]) -> dict[Key, float]:
    """Every p as a q: those of at most LEVEL are discoveries (Benjamini and Hochberg's step-up)."""
    found: dict[Key, float] = {}
    so_far = 1.0
    ranked = sorted(p, key=p.__getitem__)
    for rank in range(len(ranked), 0, -1):
        so_far = min(so_far, p[ranked[rank - 1]] * len(ranked) / rank)
        found[ranked[rank - 1]] = so_far
    return {key: found[key] for key in p}


def ps_of(
    pairs: Mapping[Key, tuple[Sequence[float], Sequence[float]]],
) -> dict[Key, float]:
    """p of every pair of groups of at least two values each; where all values are equal there is no test, and no entry."""
    shapes: dict[tuple[int, int], list[Key]] = {}
    for key, (first, second) in pairs.items():
        if min(len(first), len(second)) >= 2 and len({*first, *second}) > 1:
            shapes.setdefault((len(first), len(second)), []).append(key)
    found: dict[Key, float] = {}
    for keys in shapes.values():
        groups = [np.array([pairs[key][i] for key in keys], np.float64) for i in (0, 1)]
        found |= dict(zip(keys, permutation_ps(*groups).tolist(), strict=True))
    return {key: found[key] for key in pairs if key in found}
