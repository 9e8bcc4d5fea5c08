# SPDX-License-Identifier: GPL-2.0-or-later
"""Tables for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from kevacuate.measure import Comparison
from kevacuate.measure.permutation import UNKNOWN
from kevacuate.measure.rows import Row
from kevacuate.measure.table import CONTROL
from kevacuate.measure.trustrecord import record
from kevacuate.recording.machine import kernel_words
from kevacuate.reports.comparison.group_rows import STYLES, GroupRow, cells, moved, number
from kevacuate.reports.comparison.rows import (
    comparison_rows,
    folded,
    price_rows,
    replays_words,
    zeros_words,
)
from kevacuate.reports.comparison.side_by_side import Line, SideBySide
from kevacuate.reports.comparison.worth import FOOTNOTE, MARK, loop_of


def _single_cells(row: GroupRow[Row], group: int) -> list[Text]:
    """A single run's value, with its change against the baseline, green where that is better and red where it is worse."""
    value, base = row.summary(group)[0], row.summary(0)[0]
    if value is None:
        return [Text(UNKNOWN)]
    if not group or base is None:
        return [Text(number(value))]
    style = STYLES.get(row.row.direction.judged(value - base), "dim")
    return [Text(number(value)).append(f" {moved(row, group):>6}", style=style)]


def _title(comparison: Comparison) -> str:
    """What was replayed, how often."""
    about = comparison.recording
    title = f"{about['name']}, {kernel_words(about['kernel'])}, profile {about['profile']}"
    if begun := comparison.runs[0].provenance.get("start"):
        title += f", begun from {begun['file']}"
    policies = len(comparison.groups)
    if policies > 1:
        title += f": one demand, {policies} policies"
    title += f", {replays_words(comparison)}" if comparison.repeated else ""
    return title + (", closed loop" if comparison.runs[0].loop[0] == "closed" else "")


def _heads(comparison: Comparison, last: str) -> list[list[str]]:
    """The heads of each policy's columns: of repeats those of change and verdict too, the latter called *last*."""
    beside = ["change", last] if comparison.repeated else []
    return [[policy, *(beside if i else ())] for i, policy in enumerate(comparison.groups)]


UNJUDGED = ("Input", CONTROL)
"""Sections of what the demand gives: no verdict rests on them."""


def marked(row: Row, loop: str) -> str:
    """A row's name, marked where the row has not earned trust."""
    known = row.section in UNJUDGED or record().earned(row.id, loop)
    return row.label if known else f"{row.label} {MARK}"


def _lines(comparison: Comparison, rows: Sequence[GroupRow[Row]]) -> list[Line]:
    """The rows, and what the benefit cost."""
    groups, many = range(len(comparison.groups)), comparison.repeated
    lines, loop = [], loop_of(comparison)
    for row in rows:
        if many:
            shown, brief = ([cells(row, i, brief=short) for i in groups] for short in (False, True))
            for some in (shown, brief):
                for i in groups:
                    if row.summary(i)[0] is None:
                        some[i] = [Text(UNKNOWN), *([Text(), Text()] if i else [])]
        else:
            shown = brief = [_single_cells(row, i) for i in groups]
        name = marked(row.row, loop) if len(groups) > 1 else row.row.label
        lines.append(Line(row.row.section, name, row.row.unit, shown, brief))
    paid = price_rows(comparison)
    if any(value is not None for _, values in paid for value in values):
        for price, values in paid:
            texts = [Text("-" if value is None else number(value)) for value in values]
            padded = [[text, Text(), Text()] if many and i else [text] for i, text in enumerate(texts)]
            lines.append(Line("Gained for what was paid", price.label, price.unit, padded, padded))
    return lines


def comparison_table(comparison: Comparison, *, every: bool = False) -> SideBySide:
    """The rows of a comparison; the first column of figures is the baseline, the others show their change.

    Where policies were run several times: mean ± standard deviation, the change of the mean, and whether the runs can tell that
    from chance (:func:`kevacuate.measure.permutation.decide`). Rows that are 0 in every run are left out unless *every* is
    asked for. A row that has not earned trust against booted kernels is marked.
    """
    rows = comparison_rows(comparison)
    shown, zeros = (rows, []) if every else folded(rows)
    lines = _lines(comparison, shown)
    notes = [FOOTNOTE] if any(line.name.endswith(MARK) for line in lines) else []
    if zeros:
        notes.append(f"{zeros_words(zeros)}; --all shows {'it' if len(zeros) == 1 else 'them'}.")
    return SideBySide(
        _title(comparison), _heads(comparison, ""), _heads(comparison, "p"), lines, tuple(notes)
    )
