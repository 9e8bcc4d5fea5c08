# SPDX-License-Identifier: GPL-2.0-or-later
"""docs/results/scaling.md: how it judges a scaled effect, and that the page is what its command writes."""

from __future__ import annotations

from math import log

import pytest
from doc_blocks import ROOT
from scaling_document import GROUPS, ROWS, Effect, effects, scaling_document, verdict

from kevacuate.policy import COMPARED

PAGE = ROOT / "docs" / "results" / "scaling.md"
LESS, SAME, MORE = [1.0, 2.0, 3.0, 2.0], [10.0, 11.0, 12.0, 10.5], [30.0, 31.0, 32.0, 30.5]


def effect(other: list[float]) -> Effect:
    made = Effect.of(SAME, other)
    assert made is not None
    return made


def test_an_effect_is_the_ratio_of_means_with_its_interval() -> None:
    made = effect(MORE)
    assert made.log_ratio == pytest.approx(log(30.875 / 10.875))
    assert made.sign == 1
    assert effect(LESS).sign == -1
    assert effect(SAME).sign == 0
    assert made.words.startswith("+184 (+")
    assert Effect.of([0.0, 0.0], MORE) is None


@pytest.mark.parametrize(
    ("scaled", "large", "said"),
    [(MORE, MORE, "same"), (SAME, SAME, "neither"), (SAME, MORE, "missed"), (MORE, SAME, "invented"), (MORE, LESS, "opposite")],
)  # fmt: skip
def test_a_scaled_effect_is_held_against_the_recorded_one(
    scaled: list[float], large: list[float], said: str
) -> None:
    assert verdict(effect(scaled), effect(large)) == said


def test_the_document_counts_what_its_tables_say() -> None:
    row = "end.mixed_blocks"
    values = {
        group: {policy: {row: SAME if policy == COMPARED[0] else other} for policy in COMPARED}
        for group, other in zip(GROUPS, (SAME, MORE, LESS), strict=True)
    }
    machine = {"name": "one", "zones": [["Normal", 1 << 18]], "cpus": 1, "allocations": 10, "seconds": 2.0}
    found = {
        "version": "1", "memory": 4, "cpus": 1, "repeats": 4, "draws": 1, "values": values, "kept": [], "held_out": [],
        "loop": {"scaled": "open"}, **dict.fromkeys(GROUPS, machine),
    }  # fmt: skip
    assert [(one, name) for one, name, _ in effects(found)] == [(policy, row) for policy in COMPARED[1:]]
    text = scaling_document(found)
    assert "Opposite: 2." in text
    assert text.count("| opposite |") == 2
    assert "* 0 of 2 scaled effects lie within two standard errors" in text


def test_the_page_has_the_rows_of_its_document() -> None:
    text = PAGE.read_text(encoding="utf-8")
    shown = [row for row in ROWS.values() if f"| {row.label} | " in text]
    assert len(shown) >= 6
    assert text.count("| same |") + text.count("| neither |") + text.count("| missed |") + text.count(
        "| invented |"
    ) + text.count("| opposite |") == int(text.partition("* ")[2].split()[0])
