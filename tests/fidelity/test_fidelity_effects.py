# SPDX-License-Identifier: GPL-2.0-or-later
"""What a policy changes, in kernels and in the model: who differs, and when there is too little to tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from kevacuate.fidelity.counterfactual.effects import Sides, effects
from kevacuate.measure.fidelity import (
    BOTH,
    KERNELS_ONLY,
    MODEL_ONLY,
    NEITHER,
    OPPOSITE,
    Effect,
    LevelResult,
    Verification,
)
from kevacuate.reports.comparison import worth
from kevacuate.reports.comparison.worth import worth_of
from kevacuate.reports.fidelity.document import fidelity_document
from kevacuate.reports.fidelity.tables import effect_words

LOW, HIGH = [1.0, 2.0, 3.0, 4.0, 5.0], [11.0, 12.0, 13.0, 14.0, 15.0]
"""Five and five values that do not overlap: p = 2 / 252."""
KERNELS = ("stock", "fixskip")


def rows(
    theirs: tuple[Sequence[float], Sequence[float]],
    ours: tuple[Sequence[float], Sequence[float]],
    column: str = "end_mixed",
) -> tuple[Effect, ...]:
    before, after = (Sides("mixed", list(theirs[i]), list(ours[i])) for i in (0, 1))
    return effects({column: before}, {column: after}, "evacuate", KERNELS)


@pytest.mark.parametrize(
    ("theirs", "ours", "agreement"),
    [
        ((LOW, HIGH), (LOW, HIGH), BOTH),
        ((HIGH, LOW), (HIGH, LOW), BOTH),
        ((LOW, LOW), (HIGH, HIGH), NEITHER),
        ((LOW, LOW), (LOW, HIGH), MODEL_ONLY),
        ((LOW, LOW), (HIGH, LOW), MODEL_ONLY),
        ((LOW, HIGH), (LOW, LOW), KERNELS_ONLY),
        ((LOW, HIGH), (HIGH, LOW), OPPOSITE),
    ],
)
def test_whose_verdict_it_is(
    theirs: tuple[list[float], list[float]], ours: tuple[list[float], list[float]], agreement: str
) -> None:
    (row,) = rows(theirs, ours)
    assert row.agreement == agreement
    assert row.as_dict()["agreement"] == agreement


def test_a_row_holds_both_sides_figures() -> None:
    (row,) = rows((LOW, HIGH), (LOW, LOW))
    assert (row.theirs.before, row.theirs.after) == (3.0, 13.0)
    assert row.theirs.before_sd == pytest.approx(2.5**0.5)
    assert row.theirs.p == pytest.approx(2 / 252)
    assert row.ours.p == 1.0
    assert (row.policy, row.kernels, row.name) == ("evacuate", KERNELS, "mixed")


def test_too_few_runs_or_replays_give_no_row() -> None:
    assert rows((LOW[:3], HIGH[:3]), (LOW, HIGH)) == ()  # three and three give p = 0.10 at best
    assert rows((LOW, HIGH), (LOW[:3], HIGH[:3])) == ()
    assert len(rows((LOW[:4], HIGH[:4]), (LOW[:4], HIGH[:4]))) == 1


def test_single_orders_and_measures_of_one_side_are_left_out() -> None:
    assert rows((LOW, HIGH), (LOW, HIGH), "end_free_by_order 3") == ()
    one = {"end_mixed": Sides("mixed", LOW, LOW)}
    assert effects(one, {}, "evacuate", KERNELS) == ()


def verified(*rows_: Effect) -> Verification:
    level = LevelResult(
        "counterfactual", inputs={"real runs, stock": 25, "real runs, fixskip": 24}, effects=rows_
    )
    return Verification("stock.kev", "0" * 64, "7.2.13", "7.2", 1, {"counterfactual": level})


def told(*rows_: Effect) -> str:
    return fidelity_document([verified(*rows_)], [])


def test_the_spread_is_that_of_the_median_row() -> None:
    wide, far = [0.0, 10.0, 20.0, 30.0, 40.0], [100.0, 110.0, 120.0, 130.0, 140.0]
    half = rows((LOW, HIGH), (LOW, HIGH), "end_mixed"), rows((LOW, HIGH), (wide, far), "end_polluted")
    of = [replace(row, name=str(i)) for i, (row,) in enumerate(half)]
    assert worth_of([verified(*of)]).spread == 5.5  # the same, and ten times as wide


def test_where_no_kernel_was_compared_no_counts_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worth, "worth", lambda: worth_of([]))
    assert worth.worth_words() == "All this is said of the model; no booted kernel was held against it."


def test_the_words_count_what_the_model_has_got_wrong() -> None:
    right, alone = rows((LOW, HIGH), (LOW, HIGH)), rows((LOW, LOW), (LOW, HIGH))
    assert effect_words([*right, *alone]) == (
        "In 1 of 2 rows the model's verdict on a policy is the kernels'. In 1 only the model differs."
    )
    assert effect_words(right) == "In 1 of 1 rows the model's verdict on a policy is the kernels'."


def test_the_document_says_what_a_verdict_is_worth() -> None:
    text = told(*rows((LOW, LOW), (LOW, HIGH)))
    assert (
        "| evacuate | mixed | 3.0 (1.6) | 3.0 (1.6) | 1.000 | 3.0 (1.6) | 13.0 (1.6) | 0.008 | the model only |"
        in text
    )
    assert "only the model differs" in text
    assert "Kernels booted: stock 25, fixskip 24." in text
    assert "has enough repeats" in told()
