# SPDX-License-Identifier: GPL-2.0-or-later
"""What a variant of a policy buys and costs: which way is better, what is corrected, what is said."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from kevacuate.errors import KevacuateError
from kevacuate.measure import tuned
from kevacuate.measure.ablated import (
    CHEAPER,
    ONLY_COSTS,
    Ablated,
    AblatedRow,
    Ablation,
    ablated_verdict,
    ablation_from,
    judged_rows,
    least_found,
    told_rows,
)
from kevacuate.measure.deciding import COSTS, DECIDING
from kevacuate.measure.intervals import holm
from kevacuate.measure.permutation import LEVEL, Direction, permutation_p
from kevacuate.measure.power import least_seen

MIXED, REGIONS = "end.mixed_blocks", "end.regions_2m_movable_only"
LOW, HIGH = [float(10 + i % 3) for i in range(8)], [float(30 + i % 3) for i in range(8)]
WAYS = {MIXED: Direction.LOWER, REGIONS: Direction.HIGHER}


@pytest.mark.parametrize(
    ("row", "base", "own", "judged"),
    [
        (MIXED, HIGH, LOW, "better"),
        (MIXED, LOW, HIGH, "worse"),
        (REGIONS, LOW, HIGH, "better"),
        (REGIONS, HIGH, LOW, "worse"),
        (MIXED, LOW, LOW, ""),
    ],
)
def test_which_way_is_better(row: str, base: list[float], own: list[float], judged: str) -> None:
    (found,) = judged_rows({row: base}, [{row: own}], WAYS)[0]
    assert (found.id, found.judged, found.base, found.mean) == (row, judged, np.mean(base), np.mean(own))
    assert found.base_spread == pytest.approx(np.std(base, ddof=1))
    assert found.spread == pytest.approx(np.std(own, ddof=1))


def test_rows_that_decide_and_costs_go_the_ways_of_the_table() -> None:
    """The ways are the comparison's own, not written again."""
    assert {
        row_id: row.direction for row_id, row in DECIDING.items() if row.direction is Direction.HIGHER
    } == {REGIONS: Direction.HIGHER}
    assert all(row.direction is Direction.LOWER for row in COSTS.values())


def test_all_rows_of_all_variants_are_corrected_together() -> None:
    rng = np.random.default_rng(7)
    base = {MIXED: list(rng.normal(100, 10, 8)), REGIONS: list(rng.normal(50, 5, 8))}
    others = [
        {MIXED: list(rng.normal(92, 10, 8)), REGIONS: list(rng.normal(50, 5, 8))},
        {MIXED: list(rng.normal(60, 10, 8)), REGIONS: list(rng.normal(50, 5, 8))},
    ]
    alone = {(row, i): permutation_p(base[row], own[row]) for i, own in enumerate(others) for row in base}
    corrected = holm(alone)
    for i, rows in enumerate(judged_rows(base, others, WAYS)):
        for row in rows:
            assert (row.own_p, row.p) == (alone[row.id, i], corrected[row.id, i])
            assert bool(row.judged) == (row.p <= LEVEL)
    assert corrected != alone


def test_a_difference_that_the_correction_takes_away_is_no_mark() -> None:
    rng = np.random.default_rng(3)
    base = {MIXED: list(rng.normal(100, 10, 8))}
    one = {MIXED: [value + 17 for value in base[MIXED]]}
    (alone,) = judged_rows(base, [one], WAYS)[0]
    assert alone.own_p is not None
    assert alone.own_p <= LEVEL
    assert alone.judged == "worse"
    many = judged_rows(base, [one] + [{MIXED: list(rng.normal(100, 10, 8))} for _ in range(20)], WAYS)
    assert (many[0][0].own_p, many[0][0].judged) == (alone.own_p, "")


def test_rows_that_only_one_side_has_are_left_out_and_told_rows_are_not_tested() -> None:
    assert judged_rows({MIXED: LOW}, [{REGIONS: LOW}], WAYS) == [()]
    (row,) = told_rows({MIXED: LOW, REGIONS: LOW}, {MIXED: HIGH})
    assert (row.id, row.p, row.own_p, row.judged) == (MIXED, None, None, "")


def row(judged: str) -> AblatedRow:
    return AblatedRow(MIXED, 2.0, 1.0, 0.01, judged, 0.5, 0.25, 0.001)


@pytest.mark.parametrize(
    ("rows", "costs", "same", "said"),
    [
        (["better"], [""], False, tuned.HELPS),
        (["better"], ["better"], False, tuned.HELPS),
        (["better"], ["worse"], False, tuned.COSTLY),
        (["better", "worse"], [""], False, tuned.TRADES),
        (["", "worse"], ["better"], False, tuned.HARMS),
        ([""], ["worse", "better"], False, ONLY_COSTS),
        ([""], ["better", ""], False, CHEAPER),
        ([""], [""], False, tuned.NO_EFFECT),
        ([""], [""], True, tuned.UNCHANGED),
    ],
)
def test_verdicts(rows: list[str], costs: list[str], same: bool, said: str) -> None:
    assert ablated_verdict([row(one) for one in rows], [row(one) for one in costs], same) == said


def test_what_is_bought_and_paid_is_by_row() -> None:
    one = Ablated(
        "n", "w", "part", "p", "helps", (row("better"), row("worse")), (row("worse"), row("better"))
    )
    assert one.buys == (one.rows[0], one.costs[1])
    assert one.paid == (one.rows[1], one.costs[0])


def test_what_would_have_been_found_is_that_of_a_single_comparison_at_a_corrected_level() -> None:
    found = least_found({MIXED: LOW, REGIONS: [3.0] * 8}, 20, 8)
    assert found == {MIXED: pytest.approx(least_seen(LOW, LOW, LEVEL / 20))}


def test_an_ablation_is_read_as_it_was_written() -> None:
    one = Ablated("n", "w", "part", "p", "helps", (row("better"),), (row(""),), (row(""),))
    made = Ablation({"name": "x"}, "p", 10, 3, "open", (one,), {MIXED: ("mixed", "blocks")}, {MIXED: 0.5})
    document = json.loads(json.dumps(made.to_json()))
    assert ablation_from(document) == replace(made, recording={"name": "x"})
    assert document["variants"][0]["rows"][0]["change"] == -0.5
    del document["names"]
    with pytest.raises(KevacuateError, match="is no ablation"):
        ablation_from(document)
