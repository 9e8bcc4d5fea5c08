# SPDX-License-Identifier: GPL-2.0-or-later
"""Several runs of one policy: mean, spread, and whether two groups of runs can be told apart."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from math import comb, sqrt
from typing import NamedTuple

MOST_SPLITS = 50_000
"""Up to so many ways to split the runs the permutation test is exact; beyond it is not made."""


class Spread(NamedTuple):
    """The values of one figure over runs."""

    runs: int
    mean: float
    sd: float
    """Standard deviation (n - 1); 0 for a single run."""
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """Mean, standard deviation and range of at least one value."""
    n = len(values)
    mean = sum(values) / n
    sd = sqrt(sum((v - mean) ** 2 for v in values) / (n - 1)) if n > 1 else 0.0
    return Spread(n, mean, sd, min(values), max(values))


def permutation_p(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Two-sided p of the exact permutation test of the difference of means (Fisher 1935; Pitman 1937).

    The share of all ways to split the runs into groups of these sizes whose means differ at least as much. Makes no assumption on
    the values' distribution. None where a group has fewer than two runs, or there are more than MOST_SPLITS ways.
    """
    n, m = len(one), len(other)
    if min(n, m) < 2 or comb(n + m, n) > MOST_SPLITS:
        return None
    pool = [*one, *other]
    total = sum(pool)
    seen = abs(sum(one) / n - sum(other) / m)
    slack = 1e-9 * (1 + seen)
    hits = ways = 0
    for group in combinations(pool, n):
        part = sum(group)
        hits += abs(part / n - (total - part) / m) >= seen - slack
        ways += 1
    return hits / ways
