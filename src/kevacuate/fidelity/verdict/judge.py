# SPDX-License-Identifier: GPL-2.0-or-later
"""The rows of the verdict level: kernels' repeats against replays, figure by figure and effect by effect."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kevacuate.fidelity.verdict.changes import Groups, can_decide, changes
from kevacuate.fidelity.verdict.columns import ALL, ONLY_PATCHED, Column
from kevacuate.measure.fidelity import ERRORS, FALSE, SPREAD, Effect, LevelRow, Tally
from kevacuate.measure.intervals import Sample, welch
from kevacuate.policy import BASELINE, BOOTED

Values = Mapping[str, float]
"""Figures of one boot or one replay, by column."""

LEVELS_HOLD = "levels within 2 standard errors"
SPREADS_HOLD = "spreads within 25 %"
EFFECTS_HOLD = "effects inside the kernels' 95 % interval"
VERDICTS_HOLD = "verdicts without a false one"
"""The questions that rows answer."""

DRAWS = 400
"""Draws of the kernels' own boots, for what a perfect model would pass."""


class Sides(NamedTuple):
    """One figure under one policy: the kernel's boots, and our replays."""

    column: Column
    theirs: list[float]
    ours: list[float]


def sides(policy: str, boots: Sequence[Values], replays: Sequence[Values]) -> Iterator[Sides]:
    """Every figure that both have, in the order of the columns; what only a patched kernel does is no figure of `mainline`."""
    for column in ALL:
        if policy == BASELINE and column.name in ONLY_PATCHED:
            continue
        theirs, ours = ([v[column.name] for v in some if column.name in v] for some in (boots, replays))
        if theirs and ours:
            yield Sides(column, theirs, ours)


def not_modelled(boots: Sequence[Values], replays: Sequence[Values]) -> tuple[str, ...]:
    """Columns that boots have, not always 0, and replays have not."""
    known = {name for values in replays for name in values}
    return tuple(
        column.name
        for column in ALL
        if column.name not in known and any(values.get(column.name) for values in boots)
    )


def level_rows(policy: str, found: Sequence[Sides], recorded: Values) -> Iterator[LevelRow]:
    """A row for every figure of one policy."""
    for (name, label, row), theirs, ours in found:
        own = recorded.get(name) if policy == BASELINE else None
        yield LevelRow(policy, BOOTED[policy], name, label, row, Sample.of(theirs), Sample.of(ours), own)


def effect_rows(policy: str, base: Sequence[Sides], changed: Sequence[Sides]) -> Iterator[Effect]:
    """A row for every figure that both kernels have, where both sides have enough values to tell a difference."""
    after = {side.column.name: side for side in changed}
    theirs: dict[str, Groups] = {}
    ours: dict[str, Groups] = {}
    columns = {}
    for column, kernels, replays in base:
        other = after.get(column.name)
        if other is None:
            continue
        groups, own = (kernels, other.theirs), (replays, other.ours)
        if can_decide(groups) and can_decide(own):
            columns[column.name], theirs[column.name], ours[column.name] = column, groups, own
    told, said = changes(theirs), changes(ours)
    for name, column in columns.items():
        yield Effect(
            policy,
            (BOOTED[BASELINE], BOOTED[policy]),
            name,
            column.label,
            column.row,
            told[name],
            said[name],
        )


def tallies(rows: Sequence[LevelRow], effects: Sequence[Effect]) -> dict[str, Tally]:
    """How many rows answer each question, and how many are not the kernels'."""
    answers: dict[str, list[bool]] = {
        LEVELS_HOLD: [row.level_holds for row in rows if row.level_holds is not None],
        SPREADS_HOLD: [row.spread_holds for row in rows if row.spread_holds is not None],
        EFFECTS_HOLD: [row.holds for row in effects],
        VERDICTS_HOLD: [row.agreement not in FALSE for row in effects],
    }
    return {name: Tally(len(held), held.count(False)) for name, held in answers.items() if held}


def perfect(found: Mapping[str, Sequence[Sides]]) -> dict[str, float]:
    """The share of rows that a perfect model would pass, by question.

    In place of both sides, values are drawn from the kernel's own boots with replacement, as many as each has.
    """
    rng = np.random.default_rng(0)
    held: dict[str, list[float]] = {LEVELS_HOLD: [], SPREADS_HOLD: [], EFFECTS_HOLD: []}
    base = {side.column.name: side for side in found[BASELINE]}
    for policy, some in found.items():
        for side in some:
            if min(len(side.theirs), len(side.ours)) < 2:
                continue
            theirs, ours = (
                _drawn(rng, side.theirs, len(side.theirs)),
                _drawn(rng, side.theirs, len(side.ours)),
            )
            error = np.hypot(theirs.error, ours.error)
            held[LEVELS_HOLD].append(_share(np.abs(ours.mean - theirs.mean) <= ERRORS * error))
            held[SPREADS_HOLD].append(_share(np.abs(ours.sd - theirs.sd) <= SPREAD * theirs.sd))
            before = base.get(side.column.name)
            if policy != BASELINE and before is not None and can_decide((before.theirs, side.theirs)):
                held[EFFECTS_HOLD].append(_effect_held(rng, before, side, theirs, ours))
    return {name: float(np.mean(shares)) for name, shares in held.items() if shares}


def one_boot(found: Mapping[str, Sequence[Sides]]) -> float | None:
    """The share of levels that a model would pass that gives, on the average, what a single boot came to.

    Each boot stands for the model in turn, with the replays' spread, against all others: a recorded demand is one draw. None
    where a kernel has fewer than three boots.
    """
    held = []
    for side in (side for some in found.values() for side in some):
        if len(side.theirs) < 3 or len(side.ours) < 2:
            continue
        error = Sample.of(side.ours).error
        for at, value in enumerate(side.theirs):
            others = Sample.of([*side.theirs[:at], *side.theirs[at + 1 :]])
            held.append(abs(value - others.mean) <= ERRORS * np.hypot(others.error, error))
    return float(np.mean(held)) if held else None


class _Drawn(NamedTuple):
    """Draws of some boots: mean, standard deviation and standard error of each, float64[DRAWS]."""

    mean: npt.NDArray[np.float64]
    sd: npt.NDArray[np.float64]
    error: npt.NDArray[np.float64]


def _effect_held(
    rng: np.random.Generator, before: Sides, after: Sides, theirs: _Drawn, ours: _Drawn
) -> float:
    """The share of draws whose effect lies in the interval of other draws."""
    stock = _drawn(rng, before.theirs, len(before.theirs))
    replayed = _drawn(rng, before.theirs, len(before.ours))
    interval = welch(Sample.of(before.theirs), Sample.of(after.theirs))
    reach = (interval.high - interval.value) / interval.error if interval.error else 0.0
    apart = (ours.mean - replayed.mean) - (theirs.mean - stock.mean)
    return _share(np.abs(apart) <= reach * np.hypot(theirs.error, stock.error))


def _share(held: npt.NDArray[np.bool_]) -> float:
    return float(np.mean(held))


def _drawn(rng: np.random.Generator, values: Sequence[float], n: int) -> _Drawn:
    """DRAWS draws of *n* values."""
    drawn = rng.choice(np.asarray(values, np.float64), (DRAWS, n))
    sd = drawn.std(axis=1, ddof=1)
    return _Drawn(drawn.mean(axis=1), sd, sd / np.sqrt(n))
