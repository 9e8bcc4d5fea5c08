# SPDX-License-Identifier: GPL-2.0-or-later
"""How sure a difference of two groups is: interval, power, and a correction for the number of rows.

The interval is Welch's (1947): the difference of the means, give or take a quantile of Student's t times its standard error. It
takes neither equal spreads nor equal sizes. Of heavy-tailed counts it is approximate; the test of
:mod:`kevacuate.measure.permutation` is not.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import erf, exp, inf, lgamma, log, sqrt
from typing import TypeVar

from kevacuate.measure.permutation import LEVEL, mean, spread

POWER = 0.8
"""A change counts as one that would have been seen if so large a share of repetitions would show it."""

Key = TypeVar("Key", bound=Hashable)

_STEPS = 200
"""Steps of the continued fraction, and halvings of a quantile, at most."""

_TINY = 1e-300

_SLICES = 200
"""Slices of the distribution of a standard deviation, for the power of a t test."""

_NORMAL_POWER = 0.8416212335729143
"""The value below which POWER of a standard normal figure lies."""

_NORMAL_DENSITY = 0.27996
"""Its density there, for Newton's steps."""

_CORRECTIONS = 5
"""Such steps: each leaves less than a third of the error, but of one or two degrees of freedom."""


def _beta_fraction(x: float, a: float, b: float) -> float:
    """The continued fraction of the incomplete beta function (Lentz's way; Abramowitz and Stegun 26.5.8)."""
    c, d = 1.0, 1.0 / ((1.0 - (a + b) * x / (a + 1.0)) or _TINY)
    value = d
    for m in range(1, _STEPS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        before = value
        for step in (even, odd):
            d = 1.0 / ((1.0 + step * d) or _TINY)
            c = (1.0 + step / c) or _TINY
            value *= c * d
        if abs(value - before) <= 1e-15 * abs(value):
            break
    return value


def _beta_share(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function of *x* (0 to 1)."""
    if x <= 0.0 or x >= 1.0:
        return min(max(x, 0.0), 1.0)
    front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log(1.0 - x))
    if x < (a + 1.0) / (a + b + 2.0):
        return front * _beta_fraction(x, a, b) / a
    return 1.0 - front * _beta_fraction(1.0 - x, b, a) / b


def t_share(t: float, freedom: float) -> float:
    """The share of Student's t with *freedom* degrees of freedom (any positive number) that lies below *t*."""
    tail = _beta_share(freedom / (freedom + t * t), freedom / 2.0, 0.5) / 2.0
    return 1.0 - tail if t > 0 else tail


def f_tail(f: float, first: float, second: float) -> float:
    """The share of Fisher's F with *first* and *second* degrees of freedom that lies above *f* (Abramowitz and Stegun 26.6.2)."""
    return _beta_share(second / (second + first * max(f, 0.0)), second / 2.0, first / 2.0)


@lru_cache(maxsize=1024)
def t_quantile(share: float, freedom: float) -> float:
    """The value of Student's t below which *share* (0.5 to 1, exclusive) of it lies, by halving."""
    low, high = 0.0, 1.0
    while t_share(high, freedom) < share:
        high *= 2.0
    for _ in range(_STEPS):
        middle = (low + high) / 2.0
        if middle in (low, high):
            break
        low, high = (middle, high) if t_share(middle, freedom) < share else (low, middle)
    return high


def t_power(apart: float, limit: float, freedom: float) -> float:
    """The share of t tests that call means *apart* standard errors apart: those of which t is above *limit*.

    The estimated error varies, too: t is (z + apart) / s, with s squared chi-square / freedom (noncentral t). Its distribution is
    summed in slices.
    """
    width = min(8.0 / sqrt(2.0 * freedom), 8.0)
    low = max(1.0 - width, 0.0)
    step = (1.0 + width - low) / _SLICES
    power = total = 0.0
    for i in range(_SLICES):
        s = low + (i + 0.5) * step
        weight = exp((freedom - 1.0) * log(s) - freedom * (s * s - 1.0) / 2.0)
        total += weight
        power += weight * (1.0 + erf((apart - limit * s) / sqrt(2.0))) / 2.0
    return power / total


@lru_cache(maxsize=1024)
def seen_errors(level: float, freedom: float) -> float:
    """Standard errors that means have to lie apart for a two-sided t test at *level* to see it with a probability of POWER."""
    limit = t_quantile(1 - level / 2, freedom)
    varies = sqrt(1.0 + limit * limit / (2.0 * freedom))
    apart = limit + _NORMAL_POWER * varies
    for _ in range(_CORRECTIONS):
        apart += (POWER - t_power(apart, limit, freedom)) * varies / _NORMAL_DENSITY
    return apart


@dataclass(frozen=True)
class Sample:
    """What repeats of one thing came to."""

    n: int
    mean: float
    sd: float
    """Standard deviation (n - 1); 0 of one value."""

    @classmethod
    def of(cls, values: Sequence[float]) -> Sample:
        """Of at least one value."""
        return cls(len(values), mean(values), spread(values) or 0.0)

    @property
    def error(self) -> float:
        """Standard error of the mean."""
        return self.sd / sqrt(self.n)


@dataclass(frozen=True)
class Difference:
    """The mean of a second group less that of the first, and how sure that is."""

    value: float
    error: float
    """Standard error of the difference: the root of the summed squares of both means' errors."""
    low: float
    high: float
    """The interval that holds the true difference with a probability of 1 - LEVEL."""
    seen: float
    """The smallest true difference, up or down, that a test at LEVEL would have seen with a probability of POWER
    (:func:`seen_errors`, times the standard error)."""
    freedom: float
    """Welch's degrees of freedom; 0 without any spread."""

    def seen_at(self, level: float) -> float:
        """The same as ``seen`` of a test at another level."""
        return seen_errors(level, self.freedom) * self.error if self.error else 0.0

    def holds(self, value: float) -> bool:
        """Whether *value* lies in the interval."""
        return self.low <= value <= self.high


def _freedom(first: Sample, second: Sample) -> float:
    """Welch's degrees of freedom of two groups, of which one varies."""
    parts = [s.error**2 for s in (first, second)]
    return sum(parts) ** 2 / sum(part**2 / (s.n - 1) for part, s in zip(parts, (first, second), strict=True))


def welch(first: Sample, second: Sample) -> Difference:
    """The difference of two groups of at least two values each; without any spread its interval is a point."""
    value, error = second.mean - first.mean, sqrt(first.error**2 + second.error**2)
    if not error:
        return Difference(value, 0.0, value, value, 0.0, 0.0)
    freedom = _freedom(first, second)
    reach = t_quantile(1 - LEVEL / 2, freedom)
    return Difference(
        value,
        error,
        value - reach * error,
        value + reach * error,
        seen_errors(LEVEL, freedom) * error,
        freedom,
    )


def change_bounds(first: Sample, second: Sample, level: float) -> tuple[float, float] | None:
    """Bounds of the change of the mean, as a share of the first's true mean: each is wrong with a probability of *level*.

    Fieller's (1954): those ratios r of the means for which ``second - r * first`` is not called apart from 0. Both means' errors
    count, unlike where a difference is divided by a mean as if that were known. Of figures that are never negative: the change is
    -1 at least. None where the first mean cannot be told from 0, or neither group varies.

    Parameters
    ----------
    first, second : Sample
        Of at least two values each.
    level : float
        Of each bound, one-sided.
    """
    if not (first.error or second.error):
        return None
    squared = (
        t_quantile(1 - level, int(_freedom(first, second))) ** 2
    )  # rounded down: to the safe side, and kept
    error = squared * first.error**2
    known = first.mean**2 - error
    if known <= 0 or first.mean <= 0:
        return None
    middle = first.mean * second.mean
    reach = sqrt(squared * second.error**2 * known + second.mean**2 * error)
    return max((middle - reach) / known, 0.0) - 1, (middle + reach) / known - 1


def errors_apart(first: Sample, second: Sample) -> float:
    """How many standard errors of their difference the second mean lies above the first; infinite if neither group varies."""
    difference = second.mean - first.mean
    error = sqrt(first.error**2 + second.error**2)
    if error:
        return difference / error
    return inf * difference if difference else 0.0


def holm(p: Mapping[Key, float]) -> dict[Key, float]:
    """Every p corrected for their number: where at most LEVEL, the chance of any false finding is at most LEVEL (Holm 1979)."""
    found: dict[Key, float] = {}
    so_far = 0.0
    for rank, key in enumerate(sorted(p, key=p.__getitem__)):
        so_far = max(so_far, min((len(p) - rank) * p[key], 1.0))
        found[key] = so_far
    return found
