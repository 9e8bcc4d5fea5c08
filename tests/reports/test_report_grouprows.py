# SPDX-License-Identifier: GPL-2.0-or-later
"""What a comparison says of its rows: changes, how many would differ by chance, and heads that fit."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.console import Console
from rich.text import Text

import kevacuate
from kevacuate.measure.permutation import Direction
from kevacuate.measure.recorded import Recorded
from kevacuate.reports.comparison.group_rows import GroupRow, change, found_in
from kevacuate.reports.comparison.recorded_rows import rows_for
from kevacuate.reports.comparison.side_by_side import MOST_HEAD, Line, SideBySide, broken

ONE_CPU = Path(__file__).parents[1] / "data" / "one-cpu.kev"


@dataclass(frozen=True)
class Row:
    id: str
    section: str = "At the end"
    label: str = "mixed pageblocks"
    unit: str = "blocks"
    direction: Direction = Direction.LOWER


@pytest.mark.parametrize(
    ("base", "value", "said"),
    [
        (100, 100, "="), (0, 3, "new"), (100, 150, "+50 %"), (100, 0, "-100 %"),
        (851, 1.6, "-99.8 %"), (82.4, 82.6, "+0.2 %"), (247_267, 247_266, "<0.1 %"),
        (993, -1000, ""), (-1000, 993, ""), (-1000, -1000, "="),
    ],
)  # fmt: skip
def test_a_change_says_no_more_and_no_less_than_there_is(base: float, value: float, said: str) -> None:
    assert change(base, value) == said


def said_of(values: list[list[float]], rows: int = 20) -> str:
    named = [GroupRow.of(Row(f"row{i}"), values) for i in range(rows)]
    (part,) = found_in(["A", "B"], 1, named)
    return part.text


def test_where_nothing_can_differ_chance_makes_nothing_differ() -> None:
    assert said_of([[1, 2], [8, 9]]).startswith(
        "B against A: of 20 rows 20 are apart. About 7 would be by chance alone."
    )
    assert said_of([[1, 3], [2, 9]]).startswith("B against A: of 20 rows 0 are apart. About 7 would be by")
    five = [[1, 2, 3, 4, 5], [11, 12, 13, 14, 15]]
    assert said_of(five).startswith("B against A: of 20 rows 20 differ. About 1 would by chance alone.")
    assert said_of(five, 1).startswith("B against A: of 1 rows 1 differs.")


def test_what_is_apart_is_not_said_to_differ() -> None:
    compared = kevacuate.compare(str(ONE_CPU), ["mainline", "evacuate"], repeats=2)
    told = [part.text for part in kevacuate.conclusion(compared) if part.kind == "differs"]
    assert told
    assert all(text.startswith("Apart under evacuate: ") for text in told)


def test_heads_break_where_their_words_end() -> None:
    assert broken("evacuate,skip-hint=ignore") == "evacuate,\nskip-hint=ignore"
    assert broken("patched-churn-1g-smp1-s3-rich").splitlines() == ["patched-churn-1g-", "smp1-s3-rich"]
    assert broken("B (4 recordings)") == "B (4 recordings)"
    for name in ("a,b", "x" * 40, "stock-churn-1g-smp1-s3-rich.kev", "--a__b//c", ""):
        assert broken(name).replace("\n", "") == name
    assert max(map(len, broken("a1-" * 20).splitlines())) <= MOST_HEAD


@pytest.mark.parametrize("name", ["stock-churn-1g-smp1-s3-rich", "x" * 60])
def test_long_names_are_whole_at_80_columns(name: str) -> None:
    cells = [[Text("1,000,000")], [Text("1,000,000"), Text("+200 %"), Text("0.008 *")]]
    line = Line("At the end", "pageblocks with a page that cannot move", "blocks", cells, cells)
    table = SideBySide("T", [[name], [name, "change", ""]], [[name], [name, "change", "p"]], [line])
    screen = io.StringIO()
    Console(file=screen, width=80, no_color=True).print(table)
    text = screen.getvalue()
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80
    assert "change" in text
    assert "1,000,000" in text


def test_a_recorded_kernels_compaction_is_told_once() -> None:
    rows = [
        row
        for row in rows_for([Recorded("a", {}, {}, {})])
        if "kcompactd)" in row.section or row.id == "work.compaction_pages_migrated"
    ]
    assert [row.id for row in rows] == ["work.compaction_pages_migrated"]
