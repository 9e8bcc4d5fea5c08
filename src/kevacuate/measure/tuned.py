# SPDX-License-Identifier: GPL-2.0-or-later
"""Which of many settings help: a screening that is allowed to err, then a test on fresh replays that is not.

1. *Screening.* Every candidate is replayed a few times. The candidates whose best row stands out most go on. Last come those that
   ran out of memory: no row makes up for that.
2. *Test.* The best are replayed with seeds that the screening has not seen, so that having been chosen does not make them look
   good. Each of their rows that decide is tested by the one test (:func:`kevacuate.measure.permutation.permutation_p`), all of
   them together corrected by Holm's step-down.

So a setting without an effect is called in at most LEVEL of all tunings, whatever the others do: stricter than a false discovery
rate of LEVEL. What is paid is not corrected: a cost is named as soon as its own p is at most LEVEL.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import exp, inf, sqrt
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kevacuate.measure.deciding import COSTS, DECIDING
from kevacuate.measure.intervals import POWER, holm, t_quantile
from kevacuate.measure.permutation import LEVEL, Direction, mean, permutation_p, spendable, spread

SCREENED = 3
"""Replays of each candidate in the screening. Of seventeen candidates and seven rows, four of five tunings find an effect of 2.7
standard deviations then (:func:`findable`) with 86 replays. With six, and four finalists, it is 2.5 with 148."""

FINALISTS = 3
"""Candidates that are tested."""

CLEAR = 5.0
"""Standard errors by which a loss in the screening is taken for one."""

LEAST_TESTED = 8
"""Replays of each finalist at least: with fewer no p can pass the correction."""

Table = Mapping[str, Sequence[float]]
"""Row's id to its value in every replay."""

HELPS, COSTLY, TRADES, HARMS, NO_EFFECT, NOT_AMONG, OUT_OF_MEMORY, UNCHANGED = (
    "helps",
    "helps, at a cost",
    "helps and harms",
    "does harm",
    "no effect shown",
    "not among the best",
    "out of memory",
    "changes nothing",
)
"""What is said of a setting. Of those that were tested: a row that decides is better and nothing is worse; a cost is worse; a row
that decides is worse, too; such a row is worse and none better; none is either. The last three are the screening's."""

SCREENED_OUT = (NOT_AMONG, OUT_OF_MEMORY, UNCHANGED)
"""What the screening says."""

OOM_KILL = "vmstat.oom_kill"
"""The row of requests that came to out_of_memory."""


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


def gain(base: Sequence[float], own: Sequence[float], direction: Direction, deviation: float) -> float:
    """By how many standard errors a row is better; figures vary by *deviation* at least. Infinite where nothing varies."""
    apart = mean(own) - mean(base) if direction is Direction.HIGHER else mean(base) - mean(own)
    error = sqrt(sum(max(spread(group) or 0.0, deviation) ** 2 / len(group) for group in (base, own)))
    return apart / error if error else inf * apart if apart else 0.0


def common_deviation(groups: Sequence[Sequence[float]]) -> float:
    """The standard deviation of one row's figures: of the settings' variances the median, as each alone has few replays."""
    return sqrt(median((spread(values) or 0.0) ** 2 for values in groups))


def runs_out(base: Table, own: Table) -> bool:
    """Whether every replay of a setting came to out_of_memory more often than any of the base's; the tables hold costs."""
    return OOM_KILL in own and OOM_KILL in base and min(own[OOM_KILL]) > max(base[OOM_KILL])


def screen(
    base: Table, candidates: Sequence[Table], most: int = FINALISTS, out_of_memory: Sequence[int] = ()
) -> list[int]:
    """The numbers of the candidates that go on: those whose best row gains most.

    Late come those of which a row loses CLEAR standard errors, as they will hardly win; last those that run out of memory. Left
    out are those whose rows are the base's in every replay.
    """
    changed = [
        i for i, own in enumerate(candidates) if any(list(own[row]) != list(base[row]) for row in base)
    ]
    varies = {row: common_deviation([base[row], *(own[row] for own in candidates)]) for row in base}
    gains = {
        i: [gain(base[row], candidates[i][row], _direction(row), varies[row]) for row in base]
        for i in changed
    }
    return sorted(changed, key=lambda i: (i in out_of_memory, min(gains[i]) <= -CLEAR, -max(gains[i]), i))[
        :most
    ]


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

_Drawn = Callable[[np.random.Generator, tuple[int, ...]], npt.NDArray[np.float64]]

FIGURES: dict[str, _Drawn] = {
    "normal": lambda rng, size: rng.normal(size=size),
    "counts": lambda rng, size: np.asarray(
        (rng.negative_binomial(1, 0.2, size) - 4.0) / sqrt(20.0), np.float64
    ),
    "skewed": lambda rng, size: (rng.lognormal(0.0, 1.2, size) - exp(0.72)) / sqrt(exp(2.88) - exp(1.44)),
}
"""Shapes that :func:`findable` takes figures to have, each of standard deviation 1."""


class _Screenings(NamedTuple):
    """SIMULATED screenings without an effect, always the same: of the setting that is to have one, and of the others."""

    gain: npt.NDArray[np.float64]
    """Of the one's row, float[tunings]."""
    error: npt.NDArray[np.float64]
    """Its standard error, in standard deviations."""
    rest: npt.NDArray[np.float64]
    """The largest gain of its other rows; infinite, below, where one of them loses CLEAR."""
    least: npt.NDArray[np.float64]
    """The gain that the last finalist has if the one is none."""


def _screenings(drawn: _Drawn, candidates: int, rows: int, screened: int, finalists: int) -> _Screenings:
    """The screenings; rows and settings are independent."""
    values = drawn(np.random.default_rng(20), (SIMULATED, 1 + candidates, rows, screened))
    middle, varies = values.mean(axis=3), values.var(axis=3, ddof=1)
    varies = np.maximum(varies, np.maximum(np.median(varies, axis=1, keepdims=True), 1e-18))
    error = np.sqrt((varies[:, :1] + varies[:, 1:]) / screened)
    gains = (middle[:, :1] - middle[:, 1:]) / error
    best = np.where(gains.min(axis=2) > -CLEAR, gains.max(axis=2), -inf)
    others = np.sort(best[:, 1:], axis=1)[:, ::-1]
    own = gains[:, 0, 1:]
    fair = own.min(axis=1, initial=inf) > -CLEAR
    return _Screenings(
        gains[:, 0, 0],
        error[:, 0, 0],
        np.where(fair, own.max(axis=1, initial=-1e9), -inf),
        others[:, finalists - 1] if candidates > finalists else np.full(SIMULATED, -inf),
    )


def _findable(drawn: _Drawn, candidates: int, rows: int, screened: int, tested: int, finalists: int) -> float:
    """:func:`findable` of figures of one shape."""
    told = _screenings(drawn, candidates, rows, screened, finalists)
    again = drawn(np.random.default_rng(21), (SIMULATED, 2, tested))
    apart = again[:, 0].mean(axis=1) - again[:, 1].mean(axis=1)
    error = np.sqrt(again.var(axis=2, ddof=1).sum(axis=1) / tested)
    level = spendable(LEVEL / (rows * min(finalists, candidates)), tested, tested)
    limit = t_quantile(1 - level / 2, 2 * tested - 2) if level else inf

    def found(effect: float) -> float:
        chosen = np.maximum(told.gain + effect / told.error, told.rest) > told.least
        called = apart + effect >= limit * error
        return float((chosen & (told.rest > -inf) & called).mean())

    low, high = 0.0, 20.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if found(middle) >= POWER else (middle, high)
    return high


def findable(candidates: int, rows: int, screened: int, tested: int, finalists: int = FINALISTS) -> float:
    """The gain, in standard deviations, of one row of one setting that POWER of such tunings would find, screening included.

    Found by drawing tunings: rows are independent, and the other settings without an effect. It is the largest of FIGURES:
    figures of the other shapes are found somewhat more often. The finalists' rows are held to the first step of
    Holm's correction, as far as the permutation test can spend it, by the t test, which stands for it.
    """
    return max(_findable(drawn, candidates, rows, screened, tested, finalists) for drawn in FIGURES.values())


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
