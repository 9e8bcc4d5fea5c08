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
from kevacuate.measure.intervals import Sample
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
        yield LevelRow(
            policy, BOOTED[policy], name, label, row, Sample.of(theirs), Sample.of(ours), own
        )


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
    """The share of rows whose level and spread a perfect model would pass.

    In place of both sides, values are drawn from the kernel's own boots with replacement, as many as each has.
    """
    rng = np.random.default_rng(0)
    levels: list[float] = []
    spreads: list[float] = []
    for some in found.values():
        for _, theirs, ours in some:
            if min(len(theirs), len(ours)) < 2:
                continue
            (a, da), (b, db) = (_drawn(rng, theirs, n) for n in (len(theirs), len(ours)))
            error = np.sqrt(da**2 / len(theirs) + db**2 / len(ours))
            levels.append(float(np.mean(np.abs(a - b) <= ERRORS * error)))
            spreads.append(float(np.mean(np.abs(db - da) <= SPREAD * da)))
    held = {LEVELS_HOLD: levels, SPREADS_HOLD: spreads}
    return {name: float(np.mean(shares)) for name, shares in held.items() if shares}


def _drawn(
    rng: np.random.Generator, values: Sequence[float], n: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Mean and standard deviation of DRAWS draws of *n* values."""
    drawn = rng.choice(np.asarray(values, np.float64), (DRAWS, n))
    return drawn.mean(axis=1), drawn.std(axis=1, ddof=1)
