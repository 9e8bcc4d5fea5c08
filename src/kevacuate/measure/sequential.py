# SPDX-License-Identifier: GPL-2.0-or-later
"""When replays have decided: a group sequential test over the rows that decide, whose error rate is kept however long it goes on.

After 5, 8, 12, 18, ... replays of each policy (:func:`looks`) every row that decides is tested, policy by policy against the
first, by the one test there is (:func:`kevacuate.measure.permutation.permutation_p`). Two corrections keep the error:

- **Looks.** A look may spend a share w of the error LEVEL; all shares together are at most 1. The row's p over all looks is
  ``min(p_k / w_k)``. Without an effect P(p_k <= w_k a) <= w_k a at every look, so P(min <= a) <= a, whenever and for whatever
  reason one stops (Bonferroni over the looks; alpha spending with fixed shares, Lan and DeMets 1983).
- **Rows.** Holm's step-down (1979) over all rows and policies, which needs nothing to be independent.

So without any effect some row is called in at most LEVEL of comparisons. Both are conservative: replays seen twice, and rows that
move together, make the true rate smaller.

A row that is not called is decided, too, once its change lies within MATTERS of the first policy's mean: two one-sided tests
(Schuirmann 1987). Every look bounds the change of the mean (:func:`kevacuate.measure.intervals.change_bounds`), each bound at the
look's share of LEVEL, divided by the rows. So some bound is wrong on the side where the change lies in at most LEVEL of
comparisons, and the tightest bounds of all looks count.

What a row that was not called could have shown is its power: the least change that four of five such comparisons would call, at
the level of the last look (:func:`kevacuate.measure.power.least_seen`). Of few replays the permutation test cannot spend that
whole (:func:`kevacuate.measure.permutation.spendable`).

Replays are not paired by seed: what a seed begins has nothing in common under two policies (correlations of the rows that decide,
over 150 seeds of the shipped recording: -0.13 to 0.35). Pairs or strata would gain little.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf, sqrt
from statistics import NormalDist
from sys import float_info
from typing import Any

from kevacuate.measure.intervals import POWER, Sample, change_bounds, holm
from kevacuate.measure.permutation import LEVEL, mean, permutation_p, spread
from kevacuate.measure.power import least_seen

FIRST_LOOK = 5
"""Replays of each policy that are always made. Nothing is tested there: 5 and 5 give p of 0.008 at best."""

SHARES = (
    (FIRST_LOOK, 0.0),
    (8, 0.05),
    (12, 0.10),
    (18, 0.15),
    (27, 0.20),
    (40, 0.20),
    (60, 0.12),
    (90, 0.08),
)
"""The first looks: replays of each policy, and the share of the error that the look may spend. Later looks come after half as
many replays again, and each spends a quarter of what is left."""

MATTERS = 0.20
"""A change of the mean by a smaller share of the first policy's does not matter: that there is none larger is an answer, too."""

DIFFERS, EQUAL, SMALL, OPEN = "differs", "equal", "small", "open"
"""What is known of a row: it differs; all values of both policies are the same; its change is below MATTERS; none of these."""

HOPELESS = 0.50
"""A row with a smaller chance to be decided in the time is not waited for."""

Key = tuple[str, int]
"""A row's id and the policy's number among the policies; 0 is the first, which the others are compared with."""

Pair = tuple[Sequence[float], Sequence[float]]
Bounds = tuple[float, float]

NORMAL = NormalDist()

MOST_NEEDED = 1_000_000
"""Replays beyond which nobody is told how many are needed."""

Values = Mapping[Key, Pair]
"""Of each row that decides and each policy but the first: the first policy's values by replay, and its own."""


def looks() -> Iterator[tuple[int, float]]:
    """(Replays of each policy, share of the error) of one look after the other, without end."""
    yield from SHARES
    replays, left = SHARES[-1][0], 1 - sum(share for _, share in SHARES)
    while True:
        replays, share = replays * 3 // 2, left / 4
        left -= share
        yield replays, share


def looks_until(replays: int) -> list[tuple[int, float]]:
    """The looks of a comparison with so many replays of each policy.

    Its last replays are looked at even where no look was due: that look is the next one, held early, and has its share.
    """
    found: list[tuple[int, float]] = []
    for number, share in looks():
        found.append((min(number, replays), share))
        if number >= replays:
            return found
    raise AssertionError  # looks() does not end


@dataclass(frozen=True)
class RowDecision:
    """What is known of one row of one policy against the first.

    Attributes
    ----------
    key : tuple
        Row's id, policy's number.
    state : str
        DIFFERS, EQUAL, SMALL or OPEN.
    replays : int
        Replays of each policy after which it was called; of other states all that were made.
    p : float
        Corrected for looks and rows; it differs where this is at most LEVEL.
    seen : float or None
        The least change, as a share of the first policy's mean, that POWER of such comparisons would call; None where that mean
        is 0, or nothing varies.
    difference : float
        Mean less the first policy's mean.
    low, high : float or None
        Bounds of the change of the mean, as a share of the first policy's, after all looks; None where it has none.
    needed : int or None
        Of an OPEN row, the look after which POWER of comparisons would find it SMALL, with spreads as they are and no change;
        None where no bound can be told.
    """

    key: Key
    state: str
    replays: int
    p: float
    seen: float | None
    difference: float
    low: float | None
    high: float | None
    needed: int | None

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        values = {name: value for name, value in vars(self).items() if name != "key"}
        return {"id": self.key[0], "policy": self.key[1], **values}


@dataclass(frozen=True)
class Sequential:
    """All that the rows that decide have come to.

    Attributes
    ----------
    replays : int
        Of each policy.
    looks : tuple
        (replays, share of the error) of every look.
    rows : tuple of RowDecision
        In the order given.
    """

    replays: int
    looks: tuple[tuple[int, float], ...]
    rows: tuple[RowDecision, ...]

    @property
    def decided(self) -> bool:
        """Whether every row is."""
        return all(row.state != OPEN for row in self.rows)

    @property
    def spent(self) -> float:
        """Of the error LEVEL, what the looks may have spent."""
        return LEVEL * sum(share for _, share in self.looks)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "replays": self.replays,
            "level": LEVEL,
            "power": POWER,
            "matters": MATTERS,
            "looks": [{"replays": number, "alpha": LEVEL * share} for number, share in self.looks],
            "alpha_spent": self.spent,
            "decided": self.decided,
            "rows": [row.as_dict() for row in self.rows],
        }


class SequentialTest:
    """The test, look by look; p and bounds of a look are kept, so that a further look computes its own alone."""

    def __init__(self) -> None:
        self._p: dict[tuple[Key, int], float] = {}
        self._bounds: dict[tuple[Key, int, float], Bounds | None] = {}

    def decide(self, values: Values, replays: int) -> Sequential:
        """What the first *replays* values of each policy say: a function of these values, in whatever steps it is asked."""
        told = looks_until(replays)
        q, called = dict.fromkeys(values, 1.0), dict[Key, int]()
        corrected = holm(q)
        for number, share in told:
            if share:
                q = {key: min(p, self._look(key, values[key], number) / share) for key, p in q.items()}
                corrected = holm(q)
            called |= {key: number for key, p in corrected.items() if p <= LEVEL and key not in called}
        rows = []
        for key, pair in values.items():
            bounds = self._bounds_of(key, pair, told, len(values))
            own = _cut(pair, replays)
            level = LEVEL * told[-1][1] / max(1, len(values) - len(called))
            rows.append(_decision(key, own, called.get(key), corrected[key], level, bounds, len(values)))
        return Sequential(replays, tuple(told), tuple(rows))

    def outlook(self, values: Values, told: Sequential, replays: int) -> dict[Key, float]:
        """The chance of every row that is OPEN to be decided by the look after so many *replays* of each policy.

        Means are taken to be as likely as the values so far make them, and spreads to stay (predictive power, Spiegelhalter,
        Freedman and Blackburn 1986).
        """
        left = sum(row.state != DIFFERS for row in told.rows)
        share = looks_until(replays)[-1][1]
        return {
            row.key: _chance(_cut(values[row.key], told.replays), replays, share, left, len(values))
            for row in told.rows
            if row.state == OPEN
        }

    def _look(self, key: Key, values: Pair, number: int) -> float:
        """p of a look, kept."""
        at = (key, number)
        if at not in self._p:
            self._p[at] = permutation_p(values[0][:number], values[1][:number])
        return self._p[at]

    def _bounds_of(
        self, key: Key, values: Pair, told: Sequence[tuple[int, float]], rows: int
    ) -> Bounds | None:
        """The tightest bounds of all looks; those of the last where they contradict each other."""
        low, high, last = -inf, inf, None
        for number, share in told:
            at = (key, number, share)
            if at not in self._bounds:
                first, second = map(Sample.of, _cut(values, number))
                self._bounds[at] = change_bounds(first, second, LEVEL * share / rows) if share else None
            if found := self._bounds[at]:
                last, low, high = found, max(low, found[0]), min(high, found[1])
        return last if last is None or low > high else (low, high)


def _cut(values: Pair, replays: int) -> Pair:
    """The first so many values of both."""
    return values[0][:replays], values[1][:replays]


def _decision(
    key: Key, values: Pair, called: int | None, p: float, level: float, bounds: Bounds | None, rows: int
) -> RowDecision:
    """What is known of a row after the last look; *called* is the look that called it, *level* that of a call there."""
    first, second = values
    low, high = bounds or (None, None)
    state = OPEN
    if called is not None:
        state = DIFFERS
    elif len({*first, *second}) == 1:
        state = EQUAL
    elif low is not None and high is not None and max(-low, high) <= MATTERS:
        state = SMALL
    needed = _needed(first, second, rows) if state == OPEN else None
    seen, difference = least_seen(first, second, level), mean(second) - mean(first)
    return RowDecision(key, state, called or len(first), p, seen, difference, low, high, needed)


def _errors(first: Sequence[float], second: Sequence[float], ratio: float, replays: int) -> float:
    """Standard error of the second mean less *ratio* times the first, after so many replays of each."""
    return sqrt(((spread(second) or 0.0) ** 2 + (ratio * (spread(first) or 0.0)) ** 2) / replays)


def _needed(first: Sequence[float], second: Sequence[float], rows: int) -> int | None:
    """See :attr:`RowDecision.needed`. Both bounds have to lie within MATTERS, and each does in half of the rest of POWER."""
    room = MATTERS * mean(first)
    if room <= 0:
        return None
    for number, share in looks():
        if number > MOST_NEEDED:
            return None
        if number > len(first) and share:
            errors = -NORMAL.inv_cdf(LEVEL * share / rows) + NORMAL.inv_cdf((1 + POWER) / 2)
            if errors * _errors(first, second, 1 + MATTERS, number) <= room:
                return number
    raise AssertionError  # looks() does not end


def _chance(values: Pair, replays: int, share: float, left: int, rows: int) -> float:
    """See :meth:`SequentialTest.outlook`; *left* rows are not called yet, of *rows* in all."""
    first, second = values
    if not share or replays <= len(first):
        return 0.0
    base, change = mean(first), mean(second) - mean(first)
    error = _errors(first, second, 1.0, replays)
    ahead = NormalDist(change, error * sqrt(replays / len(first) - 1) or float_info.min)
    call = -NORMAL.inv_cdf(LEVEL * share / left / 2) * error
    bound = -NORMAL.inv_cdf(LEVEL * share / rows)
    high = MATTERS * base - bound * _errors(first, second, 1 + MATTERS, replays)
    low = bound * _errors(first, second, 1 - MATTERS, replays) - MATTERS * base
    small = max(0.0, ahead.cdf(min(high, call)) - ahead.cdf(max(low, -call)))
    return ahead.cdf(-call) + 1 - ahead.cdf(call) + small
