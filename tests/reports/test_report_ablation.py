# SPDX-License-Identifier: GPL-2.0-or-later
"""An ablation as text for a mail: at most 80 columns, marks on the right side, what is bought and paid in words."""

from __future__ import annotations

import pytest

from kevacuate.measure.ablated import Ablated, AblatedRow, Ablation
from kevacuate.measure.deciding import DECIDING
from kevacuate.reports.ablation import (
    HEADS,
    WIDTH,
    ablation_basis,
    ablation_conclusion,
    ablation_json,
    ablation_lines,
    ablation_table,
    ablation_title,
    reproduced_by,
)

NAMES = {row_id: (row.label, row.unit) for row_id, row in DECIDING.items()} | {
    "cost.worker_ms": ("CPU time", "ms")
}


def row(row_id: str, base: float, mean: float, judged: str = "", p: float = 0.5) -> AblatedRow:
    return AblatedRow(row_id, base, mean, p, judged, base / 10, mean / 10, p / 10)


def variant(name: str, judged: str = "", cost: str = "", mean: float = 90_000.0) -> Ablated:
    rows = tuple(row(row_id, 100_000.0, mean, judged, 0.004) for row_id in DECIDING)
    return Ablated(
        name,
        "a part of it",
        "part",
        f"evacuate,{name}",
        "helps",
        rows,
        (row("cost.worker_ms", 1.0, 4.0, cost),),
    )


def ablation(*variants: Ablated) -> Ablation:
    about = {"name": "some-server.kev", "kernel": "7.2.13"}
    found = dict.fromkeys(DECIDING, 0.25)
    return Ablation(about, "evacuate", 15, 3, "closed", variants, NAMES, found)


def test_heads_are_those_of_the_rows_that_decide_and_fit() -> None:
    assert list(HEADS) == list(DECIDING)
    assert all(len(head) <= 7 for head in HEADS.values())


@pytest.mark.parametrize("mean", [0.0, 90_000.0, 99_999.0, 10_000_000.0])
def test_no_line_is_wider_than_a_mail(mean: float) -> None:
    one = ablation(variant("x" * 24, "better", "worse", mean), variant("1: on steal", "worse", "", mean))
    for text in (ablation_table(one), *ablation_lines(one)):
        assert all(len(line) <= WIDTH for line in text.split("\n")), text


def test_marks_stand_on_the_side_they_mean() -> None:
    lines = ablation_table(
        ablation(variant("good", "better"), variant("bad", "worse"), variant("none"))
    ).split("\n")
    assert (lines[1][:13], lines[1].count("100,000")) == ("mean as it is", 7)
    assert (lines[2][:18], lines[2].count("10,000")) == ("standard deviation", 7)
    good, bad, none = lines[3:]
    assert (good.count("-10%*"), bad.count("-10%!"), none.count("-10%")) == (7, 7, 7)
    assert "*" not in bad + none
    assert "!" not in good + none


def test_what_is_bought_and_paid_is_told_with_spread_and_p() -> None:
    (what, *bought, paid) = ablation_lines(ablation(variant("good", "better", "worse")))
    assert what == "good: a part of it. Helps."
    assert len(bought) == 7
    assert (
        " ".join(bought[0].split())
        == "buys claims of movable blocks 100,000 ± 10,000 to 90,000 ± 9,000 events, p 0.004"
    )
    assert " ".join(paid.split()) == "costs CPU time 1.00 ± 0.10 to 4.00 ± 0.40 ms, p 0.50"
    (what,) = ablation_lines(ablation(variant("none")))
    assert what.startswith("none: ")


def test_rows_that_are_0_throughout_are_left_out() -> None:
    rows = tuple(row(row_id, 0.0 if row_id.startswith("vmstat") else 5.0, 0.0) for row_id in DECIDING)
    table = ablation_table(ablation(Ablated("n", "", "part", "p", "helps", rows, ())))
    assert table.split("\n")[0].split() == ["claims", "steals", "mixed", "pollut.", "2M", "mov."]


def test_the_conclusion_names_what_is_better_and_what_is_worse() -> None:
    said = ablation_conclusion(ablation(variant("good", "better"), variant("bad", "worse"), variant("none")))
    assert said == (
        "1 of 3 variants makes a row that decides better: good. 1 of 3 variants makes a row that decides worse: bad."
    )
    nothing = ablation_conclusion(ablation(variant("none", cost="worse")))
    assert nothing == (
        "The model shows no variant to make a row that decides better. "
        "The model shows no variant to make a row that decides worse."
    )


def test_the_basis_and_the_line_that_gives_it_again() -> None:
    one = ablation(variant("good"))
    said = ablation_basis(one)
    assert "Changes are against evacuate as it is. * is better and ! is worse" in said
    assert "claims 25 %, steals 25 %" in said
    assert "--repeats 15 gives the same table again." in said
    assert (
        reproduced_by(one, "x.kev")
        == "kevacuate ablate x.kev --policy evacuate --repeats 15 --seed 3 --loop closed"
    )
    assert ablation_title(one).startswith(
        "evacuate on some-server.kev, Linux 7.2.13, closed loop, 15 replays"
    )
    assert {"conclusion", "basis", "variants"} <= set(ablation_json(one))


def test_a_name_that_would_move_the_cursor_is_shown() -> None:
    text = ablation_table(ablation(variant("a\u202eb")))
    assert "\u202e" not in text
