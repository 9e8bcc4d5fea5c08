# SPDX-License-Identifier: GPL-2.0-or-later
"""Tuning: a setting that does nothing is no winner, a planted effect is found as often as is said, whatever screening chose."""

from __future__ import annotations

from collections.abc import Callable
from math import exp, inf

import numpy as np
import pytest

from kevacuate.measure import tuned
from kevacuate.measure.deciding import DECIDING
from kevacuate.measure.intervals import POWER
from kevacuate.measure.permutation import LEVEL, Direction
from kevacuate.measure.tuned import (
    COSTLY,
    FIGURES,
    FINALISTS,
    HARMS,
    HELPS,
    LEAST_TESTED,
    NO_EFFECT,
    OOM_KILL,
    SCREENED,
    TRADES,
    TriedRow,
    common_deviation,
    confirmed_rows,
    cost_rows,
    findable,
    findable_changes,
    gain,
    runs_out,
    screen,
    verdict_of,
)

ROWS = tuple(DECIDING)
MIXED = "end.mixed_blocks"
KINDS: dict[str, Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]] = {
    "normal": lambda rng, size: rng.normal(100, 30, size),
    "skewed": lambda rng, size: rng.lognormal(4, 1.2, size),
    "counts": lambda rng, size: rng.negative_binomial(1, 0.2, size).astype(float),
}


def tables(values: np.ndarray) -> list[dict[str, list[float]]]:
    """float[settings, rows, replays] as tables; setting 0 is the base."""
    return [{row: one[i].tolist() for i, row in enumerate(ROWS)} for one in values]


def won(
    rng: np.random.Generator, drawn: Callable[..., np.ndarray], candidates: int, planted: float = 0.0
) -> list[int]:
    """The winners of one tuning in which the last candidate's mixed blocks lie *planted* lower."""
    found = []
    moved = np.zeros((1 + candidates, len(ROWS), 1))
    moved[-1, ROWS.index(MIXED)] = -planted
    first = tables(drawn(rng, (1 + candidates, len(ROWS), SCREENED)) + moved)
    chosen = screen(first[0], first[1:])
    again = tables(drawn(rng, (1 + candidates, len(ROWS), LEAST_TESTED)) + moved)
    for i, rows in zip(chosen, confirmed_rows(again[0], [again[1 + i] for i in chosen]), strict=True):
        if verdict_of(rows, ()) in (HELPS, COSTLY):
            found.append(i)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_settings_that_do_nothing_are_winners_in_at_most_one_of_twenty_tunings(kind: str) -> None:
    """250 tunings of twelve settings (benchmarks has 1,000)."""
    rng = np.random.default_rng(11)
    assert sum(bool(won(rng, KINDS[kind], 12)) for _ in range(250)) <= LEVEL * 250


DEVIATION = {"normal": 30.0, "skewed": exp(4.72) * (exp(1.44) - 1) ** 0.5, "counts": 20**0.5}
"""Of KINDS."""


@pytest.mark.parametrize(("kind", "most"), [("normal", 0.92), ("counts", 0.87), ("skewed", 1.0)])
def test_a_planted_effect_is_found_as_often_as_is_said(kind: str, most: float) -> None:
    """120 tunings; counts are what is said of, the others find more (benchmarks has 1,000)."""
    rng, effect = np.random.default_rng(4), findable(12, len(ROWS), SCREENED, LEAST_TESTED)
    planted = effect * DEVIATION[kind]
    found = sum(11 in won(rng, KINDS[kind], 12, planted=planted) for _ in range(120))
    assert (POWER - 0.07) * 120 <= found <= most * 120


def test_what_can_be_found_depends_on_how_much_is_tried() -> None:
    effect = findable(12, len(ROWS), SCREENED, LEAST_TESTED)
    assert findable(12, 5, SCREENED, 60) < findable(12, 5, SCREENED, 20) < effect
    assert findable(12, len(ROWS), 2 * SCREENED, LEAST_TESTED) < effect - 0.1
    assert effect > max(
        tuned._findable(FIGURES["normal"], 12, len(ROWS), SCREENED, LEAST_TESTED, FINALISTS), 2.5
    )
    assert findable(3, 5, SCREENED, 20) < findable(40, 5, SCREENED, 20)


def test_what_would_have_been_found_is_told_by_row() -> None:
    base = {ROWS[0]: [90.0, 100.0, 110.0], ROWS[1]: [0.0, 0.0, 0.0], ROWS[2]: [7.0, 7.0, 7.0]}
    told = findable_changes(base, 12, SCREENED, 20)
    assert told == pytest.approx({ROWS[0]: findable(12, 3, SCREENED, 20) / 10})


def test_screening_leaves_out_what_changes_nothing_and_puts_clear_harm_last() -> None:
    base = {row: [100.0, 110.0, 90.0, 105.0, 95.0] for row in ROWS}
    better = {**base, MIXED: [50.0, 60.0, 40.0, 55.0, 45.0]}
    traded = {**base, MIXED: [1.0, 2, 3, 4, 5], ROWS[0]: [900.0, 910, 905, 903, 890]}
    slight = {**base, MIXED: [99.0, 109.0, 89.0, 104.0, 94.0]}
    up = {**base, "end.regions_2m_movable_only": [150.0, 160, 140, 155, 145]}
    assert screen(base, [base, traded, slight, better, up], most=3) == [3, 4, 2]
    assert screen(base, [base, traded, slight, better], most=9) == [3, 2, 1]
    assert screen(base, [base, dict(base)]) == []
    assert screen(base, [base, traded, slight, better, up], out_of_memory=[3, 4]) == [2, 1, 3]


def test_a_setting_runs_out_of_memory_where_each_replay_is_worse_than_any_of_the_base() -> None:
    base = {OOM_KILL: [0.0, 2.0, 1.0]}
    assert runs_out(base, {OOM_KILL: [3.0, 5.0, 9.0]})
    assert not runs_out(base, {OOM_KILL: [2.0, 5.0, 9.0]})
    assert not runs_out({}, {OOM_KILL: [3.0]})
    assert not runs_out(base, {})


def test_a_gain_is_towards_the_better_side() -> None:
    assert gain([10, 12, 14], [4, 6, 8], Direction.LOWER, 2) == pytest.approx(6 / (2 * (2 / 3) ** 0.5))
    assert gain([10, 12, 14], [4, 6, 8], Direction.HIGHER, 2) == pytest.approx(-6 / (2 * (2 / 3) ** 0.5))
    assert gain([5, 5], [4, 4], Direction.LOWER, 0) == inf
    assert gain([5, 5], [4, 4], Direction.HIGHER, 0) == -inf
    assert gain([5, 5], [5, 5], Direction.LOWER, 0) == 0


def test_the_deviation_of_a_row_is_the_median_of_the_settings() -> None:
    assert common_deviation([[1, 3], [10, 14], [5, 5]]) == pytest.approx(2**0.5)


def row(judged: str) -> TriedRow:
    return TriedRow(MIXED, 10, 8, 0.01, judged)


@pytest.mark.parametrize(
    ("rows", "costs", "wanted"),
    [
        (["better", ""], [""], HELPS),
        (["better"], ["worse"], COSTLY),
        (["better", "worse"], ["worse"], TRADES),
        (["", "worse"], [], HARMS),
        ([""], ["worse", "better"], NO_EFFECT),
    ],
)
def test_verdicts(rows: list[str], costs: list[str], wanted: str) -> None:
    assert verdict_of([row(one) for one in rows], [row(one) for one in costs]) == wanted


def test_rows_are_tested_together_and_costs_alone() -> None:
    rng = np.random.default_rng(2)
    base = {one: rng.normal(100, 10, 8).tolist() for one in ROWS}
    own = {**base, MIXED: [value / 10 for value in base[MIXED]]}
    ((*rows,),) = confirmed_rows(base, [own])
    judged = {one.id: one.judged for one in rows}
    assert judged == {one: "better" if one == MIXED else "" for one in ROWS}
    assert [one.p for one in rows if one.id == MIXED] == pytest.approx([2 * len(ROWS) / 12_870])
    assert [one.p for one in rows if one.id != MIXED] == [1.0] * (len(ROWS) - 1)
    costs = cost_rows(
        {"compaction.ms": [1.0] * 8, "cost.worker_ms": [0.0] * 8},
        {"compaction.ms": [2.0] * 8, "cost.worker_ms": [0.0] * 8},
    )
    assert [(one.id, one.judged, one.change) for one in costs] == [("compaction.ms", "worse", 1.0)]
    assert FINALISTS * len(ROWS) * 2 / 12_870 < LEVEL, "eight against eight can pass the correction"
