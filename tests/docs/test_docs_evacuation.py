# SPDX-License-Identifier: GPL-2.0-or-later
"""docs/results/evacuation.md is fit for a mail and has what its command writes; docs/ablate.md has the variants as declared."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from doc_blocks import ROOT
from evacuation_document import HEADS, agreement, evacuation_document, rows_in_full
from test_docs_pages import table

import kevacuate
from kevacuate.measure.ablated import Ablated, AblatedRow, Ablation
from kevacuate.measure.deciding import DECIDING, values_of
from kevacuate.measure.permutation import mean, spread
from kevacuate.measure.trustrecord import record
from kevacuate.policy import PATCHED, POLICIES
from kevacuate.reports.ablation import HEADS as ROWS
from kevacuate.reports.ablation import WIDTH
from kevacuate.reports.comparison.group_rows import number
from kevacuate.runs.replay import demand_while_compiling

PAGE = ROOT / "docs" / "results" / "evacuation.md"
SHIPPED = ROOT / "src" / "kevacuate" / "data" / "stock-churn-1g-smp1-s3.kev"
TEXTS = re.findall(r"```(?:text|sh)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
ELSEWHERE = [text for text in TEXTS if text.startswith(f"{PATCHED}: changes of rows")]
TABLES = [text for text in TEXTS if not text.startswith("kevacuate ") and text not in ELSEWHERE]


def test_there_are_tables_and_each_has_its_line() -> None:
    assert len(TABLES) >= 2
    assert len(ELSEWHERE) == 1
    assert len(TEXTS) == 2 * (len(TABLES) + len(ELSEWHERE))


def test_the_table_of_other_recordings_fits_a_mail() -> None:
    assert all(len(line) <= WIDTH for text in ELSEWHERE for line in text.split("\n"))


@pytest.mark.parametrize("text", TABLES)
def test_a_table_has_every_variant_and_fits_a_mail(text: str) -> None:
    assert all(len(line) <= WIDTH for line in text.split("\n"))
    base = text.split(" on ", maxsplit=1)[0]
    for variant in POLICIES[PATCHED].ablation:
        if variant.knobs not in base:
            assert f"\n{variant.name} " in text, variant.name
            assert f"\n{variant.name}: {variant.what[:20]}" in text, variant.name


def test_the_figures_of_the_policy_as_it_is_are_made_again() -> None:
    """Of the first table: those of its variants are made as these are."""
    first = TABLES[0]
    assert first.startswith(f"{PATCHED} on {SHIPPED.name}, ")
    found = re.search(r"(\d+) replays of\s+each", first)
    assert found is not None
    source = kevacuate.open(SHIPPED)
    demand = demand_while_compiling(source)
    runs = [
        kevacuate.replay(
            source, PATCHED, options=kevacuate.ReplayOptions(seed=seed, samples=1), demand=demand
        )
        for seed in range(int(found[1]))
    ]
    values = values_of(DECIDING, runs)
    said = {line[:20].strip(): line[20:].split() for line in first.split("\n")}
    assert said["mean as it is"] == [number(mean(values[row_id])) for row_id in ROWS]
    assert said["standard deviation"] == [number(spread(values[row_id]) or 0.0) for row_id in ROWS]


def test_what_the_verdict_is_worth_is_the_record_s() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for row_id, row in DECIDING.items():
        told = record().of(row_id, "closed")
        assert f"| {row.label} | {told.demands} | {told.asked} | {told.right} | {told.false} | " in text


def ablation() -> Ablation:
    """One variant that makes a row worse, told apart, and one that nobody can tell."""

    def row(row_id: str, own_p: float, judged: str) -> AblatedRow:
        return AblatedRow(row_id, 10.0, 20.0, min(2 * own_p, 1.0), judged, 1.0, 2.0, own_p)

    rows = (row("end.mixed_blocks", 0.004, "worse"), row("end.polluted_blocks", 0.3, ""))
    one = Ablated("1: a thing", "what it is", "opening", "evacuate,pool=1", "does harm", rows, ())
    about = {"name": "some.kev", "kernel": "7.2.13"}
    names = {row_id: (found.label, found.unit) for row_id, found in DECIDING.items()}
    return Ablation(about, "evacuate", 12, 0, "closed", (one,), names, {"end.mixed_blocks": 0.2})


def test_rows_that_make_things_worse_stand_in_full() -> None:
    (told,) = rows_in_full(ablation())
    assert len(told) == len(HEADS)
    right = record().of("end.mixed_blocks", "closed")
    assert told[:7] == (
        "1: a thing",
        "mixed pageblocks (blocks) !",
        "10.0 ± 1.0",
        "20.0 ± 2.0",
        "+100 %",
        "0.004",
        "0.008",
    )
    assert told[7] == f"{right.right} of {right.asked}"
    text = evacuation_document([ablation()])
    assert "1 of 1 variants makes a row that decides worse: 1: a thing." in text
    assert "kevacuate ablate some.kev --policy evacuate --repeats 12 --loop closed" in text


def test_other_recordings_are_held_against_those_that_are_shown() -> None:
    shown = ablation()
    (variant,) = shown.variants
    mixed, polluted = variant.rows
    opposite = replace(mixed, mean=5.0, judged="better")
    other = replace(shown, variants=(replace(variant, rows=(opposite, replace(polluted, judged="worse"))),))
    assert list(agreement([shown], [shown, other])) == [
        "**1: a thing** makes *mixed pageblocks* worse above. 1 of 2 other recordings show that, and 1 the opposite.",
        "Other recordings alone tell 1 more rows of variants apart, 1 of them as worse on one at least.",
    ]
    text = evacuation_document([shown], [other])
    assert re.search(r"\n1: a thing +mixed +\+100%! +-50%\*\n1: a thing +pollut\. +\+100% +\+100%!\n", text)
    assert "Do they hold" not in evacuation_document([shown])


def test_the_page_of_ablation_has_the_variants_as_they_are_declared() -> None:
    rows = table((ROOT / "docs" / "ablate.md").read_text(encoding="utf-8"), "variants")
    assert [tuple(row) for row in rows] == [
        (one.name, f"`{one.knobs}`", one.what) for one in POLICIES[PATCHED].ablation
    ]
