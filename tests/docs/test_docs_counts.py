# SPDX-License-Identifier: GPL-2.0-or-later
"""The counts of the level ``verdict`` that pages repeat are those of docs/fidelity.md."""

import re
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FIDELITY = (ROOT / "docs" / "fidelity.md").read_text()
README = " ".join((ROOT / "README.md").read_text().split())
LEVELS = (ROOT / "docs" / "results" / "levels.md").read_text()

KINDS = (
    "levels within 2 standard errors",
    "spreads within 25 %",
    "effects inside the kernels' 95 % interval",
    "verdicts without a false one",
)


def judged():
    """Of each demand in the page's summary: its title, and by kind (rows that hold, rows, of a perfect model the share)."""
    summary = FIDELITY.partition("## What a verdict is worth")[2].partition("\n## ")[0]
    for part in summary.split("\n### ")[1:]:
        found = {}
        for kind in KINDS:
            row = re.search(
                rf"- {re.escape(kind)}: (\d+) of (\d+) rows(?: \(a perfect model: about (\d+) %\))?", part
            )
            if row:
                found[kind] = tuple(int(number or 100) for number in row.groups())
        if found:
            same = re.search(r"In (\d+) of \d+ rows the model's verdict on a policy is the kernels'", part)
            title = re.search(r"- (\w+), .*?, (seed \d+),", part)
            yield f"{title[1]}, {title[2]}", found, int(same[1])


def test_the_readme_has_the_sums():
    every = list(judged())
    assert len(every) == 3
    sums, perfect = Counter(), Counter()
    for _, found, _ in every:
        for kind, (holds, rows, share) in found.items():
            sums[kind, "holds"] += holds
            sums[kind, "rows"] += rows
            perfect[kind] += rows * share / 100
    levels, _, effects, false = KINDS
    rows = sums[effects, "rows"]
    wrong = rows - sums[false, "holds"]
    said = {0: "none", 1: "one"}.get(wrong, str(wrong))
    same = sum(agree for _, _, agree in every)
    assert f"that of booted kernels in {same} of {rows} rows. It was false in {said}." in README
    assert (
        f"95 % interval in {sums[effects, 'holds']} of {rows} rows, levels within 2 standard errors in "
        f"{sums[levels, 'holds']} of {sums[levels, 'rows']}. Kernels drawn against themselves would hold about "
        f"{perfect[effects]:.0f} and {perfect[levels]:.0f}."
    ) in README


def test_the_page_of_causes_has_each_demand():
    for title, found, _ in judged():
        levels, spreads, effects, false = (found[kind] for kind in KINDS)
        cells = [f"{holds} of {rows}" for holds, rows, _ in (levels, spreads, effects)]
        row = f"| {title} | {' | '.join(cells)} | {false[1] - false[0]} of {false[1]} |"
        assert row in LEVELS
