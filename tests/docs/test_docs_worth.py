# SPDX-License-Identifier: GPL-2.0-or-later
"""What a verdict is worth: the counts that the package holds are those of docs/fidelity.md, and comparisons say them."""

from __future__ import annotations

import re
from pathlib import Path

from kevacuate.measure.fidelity import BOTH, KERNELS_ONLY, MODEL_ONLY, NEITHER, OPPOSITE
from kevacuate.reports.comparison.worth import worth, worth_words

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_the_counts_are_those_of_the_document() -> None:
    text = (DOCS / "fidelity.md").read_text(encoding="utf-8")
    section = text.split("## What a verdict is worth\n")[1].split("\n## ")[0]
    names = re.findall(r"^### (\S+): the effect of each policy$", section, re.MULTILINE)
    told = [
        line.split(" | ")[-1].rstrip(" |") for line in section.splitlines() if line.startswith("| evacuate")
    ]
    known = worth()
    assert set(told) <= {BOTH, NEITHER, MODEL_ONLY, KERNELS_ONLY, OPPOSITE}
    assert known.recordings == tuple(names)
    assert known.rows == len(told) > 0
    assert known.kernels_too == told.count(BOTH)
    assert known.kernels_only == told.count(KERNELS_ONLY)
    assert known.model_differs == sum(told.count(kind) for kind in (BOTH, MODEL_ONLY, OPPOSITE))


def test_the_words_hold_the_counts() -> None:
    known, text = worth(), worth_words()
    assert f"differed in {known.model_differs} of {known.rows} rows" in text
    assert f"the same way in {known.kernels_too} of these" in text
