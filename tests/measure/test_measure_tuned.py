# SPDX-License-Identifier: GPL-2.0-or-later
"""Tuning: a setting that does nothing is no winner, a planted effect is found as often as is said, whatever screening chose."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

import numpy as np
import pytest

from kevacuate.measure.deciding import DECIDING
from kevacuate.measure.intervals import POWER
from kevacuate.measure.permutation import LEVEL, Direction
from kevacuate.measure.tuned import (
    COSTLY,
    FINALISTS,
    HARMS,
    HELPS,
    LEAST_TESTED,
    NO_EFFECT,
    SCREENED,
    TRADES,
    TriedRow,
    confirmed_rows,
    cost_rows,
    findable,
    findable_changes,
    gain,
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


def test_a_planted_effect_is_found_as_often_as_is_said() -> None:
    rng, effect = np.random.default_rng(4), findable(12, len(ROWS), SCREENED, LEAST_TESTED)
    found = sum(11 in won(rng, KINDS["normal"], 12, planted=effect * 30) for _ in range(150))
    assert (POWER - 0.1) * 150 <= found <= 0.95 * 150
    assert findable(12, 5, SCREENED, 60) < findable(12, 5, SCREENED, 20) < effect
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


def test_a_gain_is_towards_the_better_side() -> None:
    assert gain([10, 12, 14], [4, 6, 8], Direction.LOWER) > 3
    assert gain([10, 12, 14], [4, 6, 8], Direction.HIGHER) < -3
    assert gain([5, 5], [4, 4], Direction.LOWER) == inf
    assert gain([5, 5], [4, 4], Direction.HIGHER) == -inf
    assert gain([5, 5], [5, 5], Direction.LOWER) == 0


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
