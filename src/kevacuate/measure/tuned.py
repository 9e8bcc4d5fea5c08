# SPDX-License-Identifier: GPL-2.0-or-later
"""Which of many settings help: a screening that is allowed to err, then a test on fresh replays that is not.

1. *Screening.* Every candidate is replayed a few times. The candidates whose best row stands out most go on.
2. *Test.* The best are replayed with seeds that the screening has not seen, so that having been chosen does not make them look
   good. Each of their rows that decide is tested by the one test (:func:`kevacuate.measure.permutation.permutation_p`), all of
   them together corrected by Holm's step-down.

So a setting without an effect is called in at most LEVEL of all tunings, whatever the others do: stricter than a false discovery
rate of LEVEL. What is paid is not corrected: a cost is named as soon as its own p is at most LEVEL.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, sqrt
from typing import Any

import numpy as np

from kevacuate.measure.deciding import COSTS, DECIDING
from kevacuate.measure.intervals import POWER, Sample, errors_apart, holm, t_quantile
from kevacuate.measure.permutation import LEVEL, Direction, mean, permutation_p, spread

SCREENED = 6
"""Replays of each candidate in the screening. Among a dozen candidates four of five tunings find an effect of 2.41 standard
deviations then (:func:`findable`): with eight 2.38, with five 2.45, with four 2.51."""

FINALISTS = 4
"""Candidates that are tested."""

CLEAR = 5.0
"""Standard errors by which a loss in the screening is taken for one."""

LEAST_TESTED = 8
"""Replays of each finalist at least: with fewer no p can pass the correction."""

Table = Mapping[str, Sequence[float]]
"""Row's id to its value in every replay."""

HELPS, COSTLY, TRADES, HARMS, NO_EFFECT, NOT_AMONG, UNCHANGED = (
    "helps",
    "helps, at a cost",
    "helps and harms",
    "does harm",
    "no effect shown",
    "not among the best",
    "changes nothing",
)
"""What is said of a setting. Of those that were tested: a row that decides is better and nothing is worse; a cost is worse; a row
that decides is worse, too; such a row is worse and none better; none is either. The last two are the screening's."""


@dataclass(frozen=True)
class TriedRow:
    """A row of a setting: the base's mean, its own, p, and which way it went.

    ``p`` is corrected in rows that decide, and None where nothing was tested. ``judged`` is ``better`` or ``worse`` where p is at
    most LEVEL, else empty.
    """

    id: str
    base: float
    mean: float
    p: float | None
    judged: str

    @property
    def change(self) -> float | None:
        """Of the mean, as a share of the base's; None where that is 0."""
        return (self.mean - self.base) / abs(self.base) if self.base else None


@dataclass(frozen=True)
class Tried:
    """A setting that was tried: its knob as text, its policy, what is said of it, its rows that decide, and what is paid."""

    setting: str
    policy: str
    verdict: str
    rows: tuple[TriedRow, ...]
    costs: tuple[TriedRow, ...]

    @property
    def helps(self) -> bool:
        """Whether it is a winner."""
        return self.verdict in (HELPS, COSTLY)

    @property
    def paid(self) -> tuple[TriedRow, ...]:
        """The rows that are worse."""
        return tuple(row for row in (*self.rows, *self.costs) if row.judged == "worse")

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "setting": self.setting,
            "policy": self.policy,
            "verdict": self.verdict,
            "rows": [{**vars(row), "change": row.change} for row in self.rows],
            "costs": [{**vars(row), "change": row.change} for row in self.costs],
        }


@dataclass(frozen=True)
class Tuned:
    """What a tuning came to.

    Attributes
    ----------
    recording : dict
        As of a comparison.
    base : str
        The policy that every setting is added to, and compared with.
    screened, tested : int
        Replays of each candidate in the screening, and of each finalist in the test; 0 where none was tested.
    seed : int
        The first seed. The test's seeds follow those of the screening.
    tried : tuple of Tried
        Every setting, the winners first.
    found : dict
        Of each row that decides: the change, as a share of the base's mean, that POWER of such tunings would find; rows whose
        base does not vary, or is 0, are left out.
    """

    recording: dict[str, Any] = field(repr=False)
    base: str
    screened: int
    tested: int
    seed: int
    tried: tuple[Tried, ...]
    found: dict[str, float]

    @property
    def winners(self) -> tuple[Tried, ...]:
        """The settings that help."""
        return tuple(one for one in self.tried if one.helps)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "recording": self.recording,
            "base": self.base,
            "replays": {"screened": self.screened, "tested": self.tested},
            "seed": self.seed,
            "level": LEVEL,
            "power": POWER,
            "tried": [one.to_json() for one in self.tried],
            "would_have_been_found": self.found,
        }


def gain(base: Sequence[float], own: Sequence[float], direction: Direction) -> float:
    """By how many standard errors a row is better; infinite where nothing varies and it is."""
    apart = errors_apart(Sample.of(base), Sample.of(own))
    return apart if direction is Direction.HIGHER else -apart


def screen(base: Table, candidates: Sequence[Table], most: int = FINALISTS) -> list[int]:
    """The numbers of the candidates that go on: those whose best row gains most.

    Last come those of which a row loses CLEAR standard errors, as they will hardly win. Left out are those whose rows are the
    base's in every replay.
    """
    changed = [
        i for i, own in enumerate(candidates) if any(list(own[row]) != list(base[row]) for row in base)
    ]
    gains = {i: [gain(base[row], candidates[i][row], _direction(row)) for row in base] for i in changed}
    return sorted(changed, key=lambda i: (min(gains[i]) <= -CLEAR, -max(gains[i]), i))[:most]


def _direction(row: str) -> Direction:
    """Which way a row that decides is better; lower for a row of none of them."""
    return DECIDING[row].direction if row in DECIDING else Direction.LOWER


def tested_rows(base: Table, others: Sequence[Table]) -> dict[tuple[str, int], float]:
    """p of each row of each of the others, by row and number; rows that never vary are left out."""
    return {
        (row, i): permutation_p(base[row], own[row])
        for i, own in enumerate(others)
        for row in base
        if row in own and len({*base[row], *own[row]}) > 1
    }


def confirmed_rows(base: Table, finalists: Sequence[Table]) -> list[tuple[TriedRow, ...]]:
    """The rows of every finalist, tested together."""
    corrected = holm(tested_rows(base, finalists))
    return [
        tuple(_row(row, base[row], own[row], corrected.get((row, i)), _direction(row)) for row in base)
        for i, own in enumerate(finalists)
    ]


def cost_rows(base: Table, own: Table) -> tuple[TriedRow, ...]:
    """What is paid for a setting, each row tested alone."""
    return tuple(
        _row(row, base[row], own[row], permutation_p(base[row], own[row]), COSTS[row].direction)
        for row in base
        if row in own and len({*base[row], *own[row]}) > 1
    )


def unconfirmed_rows(base: Table, own: Table) -> tuple[TriedRow, ...]:
    """The rows of a setting that the screening left behind."""
    return tuple(_row(row, base[row], own[row], None, _direction(row)) for row in base)


def _row(
    row: str, base: Sequence[float], own: Sequence[float], p: float | None, direction: Direction
) -> TriedRow:
    """A row, judged."""
    before, after = mean(base), mean(own)
    judged = direction.judged(after - before) if p is not None and p <= LEVEL else ""
    return TriedRow(row, before, after, p, judged)


def verdict_of(rows: Sequence[TriedRow], costs: Sequence[TriedRow]) -> str:
    """What is said of a setting that was tested (:data:`HELPS` and what follows)."""
    better = any(row.judged == "better" for row in rows)
    worse = any(row.judged == "worse" for row in rows)
    paid = any(row.judged == "worse" for row in costs)
    if not better:
        return HARMS if worse else NO_EFFECT
    return TRADES if worse else COSTLY if paid else HELPS


SIMULATED = 2000
"""Tunings that :func:`findable` draws."""


def _drawn_gains(candidates: int, rows: int, screened: int) -> tuple[Any, Any]:
    """Of SIMULATED screenings without an effect, always the same: the :func:`gain` of every row, and its standard error.

    Both float[tunings, candidates, rows], the error in units of the figures' standard deviation.
    """
    rng = np.random.default_rng(20)
    values = rng.normal(size=(SIMULATED, 1 + candidates, rows, screened))
    middle, varies = values.mean(axis=3), values.var(axis=3, ddof=1)
    error = np.sqrt((varies[:, :1] + varies[:, 1:]) / screened)
    return (middle[:, 1:] - middle[:, :1]) / error, error


def findable(candidates: int, rows: int, screened: int, tested: int, finalists: int = FINALISTS) -> float:
    """The gain, in standard deviations, of one row of one setting that POWER of such tunings would find, screening included.

    Found by drawing tunings: figures are normal, rows independent, and the other settings without an effect. The finalists' rows
    are held to the first step of Holm's correction, so it is a little more than is needed.
    """
    gains, error = _drawn_gains(candidates, rows, screened)
    rng, freedom = np.random.default_rng(21), 2 * tested - 2
    again, scale = rng.normal(size=SIMULATED), np.sqrt(rng.chisquare(freedom, SIMULATED) / freedom)
    limit = t_quantile(1 - LEVEL / (2 * rows * min(finalists, candidates)), freedom)
    others = np.where(gains[:, 1:].min(axis=2) > -CLEAR, gains[:, 1:].max(axis=2), -inf)
    beaten = np.sort(others, axis=1)[:, ::-1]
    least = beaten[:, finalists - 1] if candidates > finalists else np.full(SIMULATED, -inf)
    fair = gains[:, 0, 1:].min(axis=1, initial=inf) > -CLEAR

    def found(effect: float) -> float:
        best = np.maximum(gains[:, 0, 0] + effect / error[:, 0, 0], gains[:, 0, 1:].max(axis=1, initial=-inf))
        called = (again + effect / sqrt(2 / tested)) / scale >= limit
        return float(((best > least) & fair & called).mean())

    low, high = 0.0, 20.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if found(middle) >= POWER else (middle, high)
    return high


def findable_changes(
    base: Table, candidates: int, screened: int, tested: int, finalists: int = FINALISTS
) -> dict[str, float]:
    """:func:`findable` of each row, as a share of the base's mean."""
    effect = findable(candidates, len(base), screened, tested, finalists)
    spreads = {row: spread(values) for row, values in base.items()}
    return {
        row: effect * deviation / abs(mean(base[row]))
        for row, deviation in spreads.items()
        if deviation and mean(base[row])
    }
