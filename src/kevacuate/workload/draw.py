# SPDX-License-Identifier: GPL-2.0-or-later
"""Random numbers of a generator: whole numbers alone, so that every machine draws the same.

Each actor has a multiply-with-carry generator of its own (Marsaglia 1994, lag 1, base 2**32): its state stays below 2**63, so
that compiled code and plain Python agree. The multiplier a makes both a * 2**32 - 1 and half of it primes, so that the period is
a * 2**31 - 1, about 2**61. Distributions are tables of quantiles, made once in Python and rounded.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from kevacuate.jit import part
from kevacuate.records import Words
from kevacuate.workload.fields import NEVER, ONE, TABLE, Actor

MULTIPLIER = 1_791_398_085
LOW = (1 << 32) - 1
TABLE_BITS = TABLE.bit_length() - 1


def first_state(seed: int, number: int) -> int:
    """The state that actor *number* of a workload of this *seed* begins with: neither 0 nor the other fixed point."""
    spread = np.random.SeedSequence([seed, number]).generate_state(2, np.uint32)
    return int(spread[0]) | (1 + int(spread[1]) % (MULTIPLIER - 2)) << 32


@part(inline=True)
def draw(a: Actor) -> int:
    """A number from 0 to 2**32 - 1."""
    x = a.random
    x = MULTIPLIER * (x & LOW) + (x >> 32)
    a.random = x
    return (x ^ (x >> 32)) & LOW


@part(inline=True)
def below(a: Actor, n: int) -> int:
    """A number from 0 to *n* - 1; *n* is at most 2**31."""
    return (draw(a) * n) >> 32


@part(inline=True)
def chance(a: Actor, share: int) -> bool:
    """Whether something of this share (out of 2**16) happens."""
    return draw(a) >> 16 < share


@part
def waiting(a: Actor, exponential: Words, mean: int) -> int:
    """An exponentially distributed time with this *mean* (ns), at least 1."""
    q = exponential[draw(a) >> (32 - TABLE_BITS)]
    if mean > NEVER // (16 * ONE):
        return max(mean // ONE * q, 1)
    return max((mean * q) // ONE, 1)


@part
def quantile(a: Actor, tables: Words, number: int) -> int:
    """A value of table *number*, interpolated between two of its steps."""
    r = draw(a)
    at = number * (TABLE + 1) + (r >> (32 - TABLE_BITS))
    low = tables[at]
    rest = r & ((1 << (32 - TABLE_BITS)) - 1)
    return low + (((tables[at + 1] - low) * rest) >> (32 - TABLE_BITS))


def exponential_table() -> npt.NDArray[np.int64]:
    """Quantiles of the exponential distribution, scaled to a mean of exactly ONE as nearly as whole numbers allow."""
    steps = (np.arange(TABLE) + 0.5) / TABLE
    values = -np.log1p(-steps)
    return np.asarray(np.round(values / values.mean() * ONE), np.int64)


def lognormal_table(mean: float, spread: float, least: int, most: int) -> npt.NDArray[np.int64]:
    """Quantiles (TABLE + 1) of a log-normal distribution of this mean, cut at both ends; *spread* is sigma of the logarithm."""
    from statistics import NormalDist

    normal = NormalDist()
    steps = (np.arange(TABLE + 1) + 0.5) / (TABLE + 1)
    z = np.array([normal.inv_cdf(float(step)) for step in steps])
    values = mean * np.exp(spread * z - spread * spread / 2)
    return np.asarray(np.clip(np.round(values), least, most), np.int64)


def zipf_table(ranks: int, exponent: float) -> npt.NDArray[np.int64]:
    """Quantiles (TABLE + 1) of ranks 0 to *ranks* - 1 by Zipf's law: rank r has the weight (r + 1) ** -exponent.

    Of the continuous law between 1 and ranks + 1, whose distribution has an inverse.
    """
    steps = np.arange(TABLE + 1) / TABLE
    top = float(ranks + 1)
    if math.isclose(exponent, 1.0):
        values = np.exp(steps * math.log(top))
    else:
        power = 1.0 - exponent
        values = (1.0 + steps * (top**power - 1.0)) ** (1.0 / power)
    return np.asarray(np.clip(np.floor(values) - 1, 0, ranks - 1), np.int64)
