# SPDX-License-Identifier: GPL-2.0-or-later
"""Groups of repeats side by side: mean, spread, and what so many repeats can decide.

Outcomes of the allocator are counts with heavy tails, of which exact repeats differ among themselves more than most kernels
do. So nothing is assumed of their distribution: the test deals the values to the groups in every possible way, and asks how
often the means lie at least as far apart as they did (exact permutation test, two-sided; Fisher 1935).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from itertools import combinations
from math import comb, sqrt
from typing import Any

import numpy as np
import numpy.typing as npt

from kevacuate.percent import percent


class Direction(StrEnum):
    """Which way a figure is better."""

    LOWER = "lower"
    HIGHER = "higher"
    NEITHER = "neither"
    """Neither, or it is a control."""

    def judged(self, difference: float | None) -> str:
        """``better`` or ``worse``, of a figure that changed by so much; empty where it did not, or no way is better."""
        if self is Direction.NEITHER or not difference:
            return ""
        return "better" if (difference > 0) == (self is Direction.HIGHER) else "worse"


LEVEL = 0.05
"""A row differs where chance alone would give such a difference in at most this share of cases."""

REPEATS = 5
"""Replays of each policy by default: enough for the exact test to tell a difference (5 and 5 give p of 0.008 at best)."""

MOST_DEALS = 200_000
"""Deals that are all tried."""

TIE = 1e-13
"""Share of the difference found by which a deal's may fall short of it and still count as equal."""

DRAWS = 50_000
"""Deals that are drawn where there are more."""

DIFFERS, APART, SAME, EQUAL, UNDECIDED, UNKNOWN = (
    "differs",
    "apart",
    "no difference shown",
    "equal",
    "undecided",
    "not recorded",
)
"""What can be said of two groups: see :func:`decide`."""


@dataclass(frozen=True)
class Decision:
    """What two groups of repeats say of one figure."""

    difference: float | None
    """Mean of the second less mean of the first; None where one has no value."""
    p: float | None
    """Share of all deals with means at least as far apart; None where a group has fewer than two values."""
    least_p: float | None
    """The smallest p that groups of these sizes can give."""
    verdict: str

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return dict(vars(self))


def mean(values: Sequence[float]) -> float:
    """The mean of at least one value."""
    return sum(values) / len(values)


def spread(values: Sequence[float]) -> float | None:
    """Standard deviation (n - 1); None of fewer than two values."""
    if len(values) < 2:
        return None
    middle = mean(values)
    return sqrt(sum((v - middle) ** 2 for v in values) / (len(values) - 1))


def least_p(first: int, second: int) -> float:
    """The smallest p that groups of so many values can give: no deal but its mirror image is as far apart."""
    deals = comb(first + second, first)
    return (2 if first == second else 1) / deals


def spendable(level: float, first: int, second: int) -> float:
    """What of *level* the test of groups of so many values can spend: where all deals are tried, p are whole numbers of them."""
    deals = comb(first + second, first)
    if deals > MOST_DEALS:
        return level
    least = 2 if first == second else 1
    return int(level * deals * (1 + 1e-9)) // least * least / deals


@lru_cache(maxsize=8)
def every_deal(total: int, first: int) -> npt.NDArray[np.int64]:
    """Which of *total* values go to the first group, int64[deals, first]: every way, or a draw of them."""
    deals = comb(total, first)
    if deals > MOST_DEALS:
        rng = np.random.default_rng(0)
        return np.argpartition(rng.random((DRAWS, total)), first - 1, axis=1)[:, :first]
    flat = (i for pick in combinations(range(total), first) for i in pick)
    return np.fromiter(flat, np.int64, deals * first).reshape(deals, first)


def dealt(deals: npt.NDArray[np.int64], total: int) -> npt.NDArray[np.float64]:
    """Which values each deal gives to the first group: float64[deals, total], 1 or 0, so that a product with values sums them."""
    made = np.zeros((len(deals), total))
    np.put_along_axis(made, deals, 1.0, axis=1)
    return made


def permutation_p(first: Sequence[float], second: Sequence[float]) -> float:
    """The share of all deals of the values to groups of these sizes whose means are at least as far apart.

    Beyond MOST_DEALS possible deals DRAWS of them are drawn, always the same, and p is (hits + 1) / (DRAWS + 1). A deal is at
    least as far apart if it is so within TIE of the difference found (as in scipy.stats.permutation_test), or within what sums of
    such values lose to rounding. Values count from their midpoint, so that large ones which differ little lose nothing.
    """
    return _permutation_p(tuple(first), tuple(second))


@lru_cache(maxsize=4096)
def _permutation_p(first: tuple[float, ...], second: tuple[float, ...]) -> float:
    """The same, kept: a table, its sentences and its page ask again."""
    values = np.array([*first, *second], np.float64)
    values -= (values.min() + values.max()) / 2
    n, total = len(first), float(values.sum())

    def distance(sums: Any) -> Any:
        return np.abs(sums / n - (total - sums) / (len(values) - n))

    found = float(distance(values[:n].sum()))
    deals = comb(len(values), n)
    picks = every_deal(len(values), n)
    apart = distance(values[picks].sum(axis=1))
    lost = 4 * len(values) * float(np.finfo(np.float64).eps * np.abs(values).max())
    hits = int((apart >= found - max(TIE * found, lost)).sum())
    return hits / deals if deals <= MOST_DEALS else (hits + 1) / (len(picks) + 1)


def decide(first: Sequence[float | None], second: Sequence[float | None]) -> Decision:
    """What the values of two groups say; None is a value that a recording does not have.

    * ``undecided``: a group has one value only, so nobody knows how much repeats vary.
    * ``equal``: all values of both groups are the same.
    * ``differs``: p is at most LEVEL.
    * ``apart``: the groups do not overlap, but they are too small for p to reach LEVEL (3 and 3 give 0.10 at best).
    * ``no difference shown``: anything else. It does not mean that there is none.
    * ``not recorded``: a group has no value, or some of its recordings have none.
    """
    a, b = [v for v in first if v is not None], [v for v in second if v is not None]
    if not a or not b or len(a) < len(first) or len(b) < len(second):
        return Decision(None, None, None, UNKNOWN)
    difference = mean(b) - mean(a)
    if len(a) < 2 or len(b) < 2:
        return Decision(difference, None, None, UNDECIDED)
    p, least = permutation_p(a, b), least_p(len(a), len(b))
    if len({*a, *b}) == 1:
        verdict = EQUAL
    elif p <= LEVEL:
        verdict = DIFFERS
    elif least > LEVEL and (max(a) < min(b) or max(b) < min(a)):
        verdict = APART
    else:
        verdict = SAME
    return Decision(difference, p, least, verdict)


RECORDINGS = (
    "recording",
    "kernels",
    "Record each at least four times and give the groups as A1 A2 A3 A4 -- B1 B2 B3 B4",
)
RUNS = ("run", "policies", "Replay each at least four times (--repeats 4)")
"""For :func:`rule`: what a group is made of, what groups stand for, and how to get more."""


def rule(sizes: Sequence[int], of: tuple[str, str, str] = RECORDINGS) -> str:
    """The rule in one or two sentences, for groups of these sizes, the first being what the others are compared with."""
    if len(sizes) < 2:
        return "One group: nothing is compared."
    if min(sizes) < 2:
        one, what, more = of
        alone = f"a single {one}" if max(sizes) > 1 and len(sizes) == 2 else f"single {one}s"
        return f"Undecided: {alone} cannot tell a difference between {what} from one between repeats. {more}."
    least = max(least_p(sizes[0], n) for n in sizes[1:])
    text = (
        f"A row differs where at most {percent(LEVEL)} of ways to deal its values to two such groups put the means at least as "
        "far apart. This is the exact permutation test, two-sided."
    )
    if least > LEVEL:
        text += (
            f" So few repeats cannot give less than {least:.2f}. There, apart means that the groups do not overlap: chance alone "
            f"gives that in {percent(least)} of rows."
        )
    return text
