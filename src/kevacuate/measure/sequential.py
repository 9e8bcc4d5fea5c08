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

What a row that was not called could have shown is its power: the least change that four of five such comparisons would call, at
the level of the last look (:func:`kevacuate.measure.power.errors_seen`). Of few replays the permutation test cannot spend that
whole (:func:`kevacuate.measure.permutation.spendable`). It is the power for normal figures; of skewed ones more is called.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

from kevacuate.measure.intervals import POWER, holm, seen_errors
from kevacuate.measure.permutation import LEVEL, mean, permutation_p, spendable, spread
from kevacuate.measure.power import errors_seen

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
many replays again, and each spends half of what is left."""

SEEN = 0.20
"""A row is decided, too, once a change of this share of the first policy's mean would have been seen."""

DIFFERS, EQUAL, SMALL, OPEN = "differs", "equal", "small", "open"
"""What is known of a row: it differs; all values of both policies are the same; a change of SEEN would have been seen; none."""

Key = tuple[str, int]
"""A row's id and the policy's number among the policies; 0 is the first, which the others are compared with."""

Values = Mapping[Key, tuple[Sequence[float], Sequence[float]]]
"""Of each row that decides and each policy but the first: the first policy's values by replay, and its own."""


def looks() -> Iterator[tuple[int, float]]:
    """(Replays of each policy, share of the error) of one look after the other, without end."""
    yield from SHARES
    replays, left = SHARES[-1][0], 1 - sum(share for _, share in SHARES)
    while True:
        replays, left = replays * 3 // 2, left / 2
        yield replays, left


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
    """

    key: Key
    state: str
    replays: int
    p: float
    seen: float | None
    difference: float

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
            "seen": SEEN,
            "looks": [{"replays": number, "alpha": LEVEL * share} for number, share in self.looks],
            "alpha_spent": self.spent,
            "decided": self.decided,
            "rows": [row.as_dict() for row in self.rows],
        }


def least_seen(first: Sequence[float], second: Sequence[float], level: float) -> float | None:
    """The least change that POWER of such comparisons would call at *level* (two-sided), as a share of the first's mean."""
    a, b = spread(first), spread(second)
    level = spendable(level, len(first), len(second))
    if a is None or b is None or not (a or b) or not mean(first) or level <= 0:
        return None
    error = sqrt(a * a / len(first) + b * b / len(second))
    alike = len(first) == len(second)
    apart = errors_seen(level, len(first)) if alike else seen_errors(level, len(first) + len(second) - 2)
    return apart * error / abs(mean(first))


class SequentialTest:
    """The test, look by look; p of a look are kept, so that a further look computes its own alone."""

    def __init__(self) -> None:
        self._p: dict[tuple[Key, int], float] = {}

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
        level = LEVEL * told[-1][1] / max(1, len(values) - len(called))
        rows = (
            _decision(key, first[:replays], second[:replays], called.get(key), corrected[key], level)
            for key, (first, second) in values.items()
        )
        return Sequential(replays, tuple(told), tuple(rows))

    def _look(self, key: Key, values: tuple[Sequence[float], Sequence[float]], number: int) -> float:
        """p of a look, kept."""
        at = (key, number)
        if at not in self._p:
            self._p[at] = permutation_p(values[0][:number], values[1][:number])
        return self._p[at]


def _decision(
    key: Key, first: Sequence[float], second: Sequence[float], called: int | None, p: float, level: float
) -> RowDecision:
    """What is known of a row after the last look; *called* is the look that called it."""
    seen = least_seen(first, second, level)
    state = OPEN
    if called is not None:
        state = DIFFERS
    elif len({*first, *second}) == 1:
        state = EQUAL
    elif seen is not None and seen <= SEEN:
        state = SMALL
    return RowDecision(key, state, called or len(first), p, seen, mean(second) - mean(first))
