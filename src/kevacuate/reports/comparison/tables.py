# SPDX-License-Identifier: GPL-2.0-or-later
"""Tables for the terminal."""

from __future__ import annotations

from rich.text import Text

from kevacuate.measure import Comparison
from kevacuate.measure.permutation import UNKNOWN
from kevacuate.measure.rows import Row
from kevacuate.recording.machine import kernel_words
from kevacuate.reports.comparison.group_rows import STYLES, GroupRow, cells, moved, number
from kevacuate.reports.comparison.rows import Zeros, comparison_rows, price_rows, replays_words, shown_rows
from kevacuate.reports.comparison.side_by_side import Line, SideBySide


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
    policies = len(comparison.groups)
    if policies > 1:
        title += f": one demand, {policies} policies"
    title += f", {replays_words(comparison)}" if comparison.repeated else ""
    return title + (", closed loop" if comparison.runs[0].loop[0] == "closed" else "")


def _heads(comparison: Comparison, last: str) -> list[list[str]]:
    """The heads of each policy's columns: of repeats those of change and verdict too, the latter called *last*."""
    beside = ["change", last] if comparison.repeated else []
    return [[policy, *(beside if i else ())] for i, policy in enumerate(comparison.groups)]


def _lines(comparison: Comparison) -> list[Line]:
    """The rows, and what the benefit cost."""
    groups, many = range(len(comparison.groups)), comparison.repeated
    lines = []
    for row in shown_rows(comparison_rows(comparison)):
        if isinstance(row, Zeros):
            none = [[Text("0", style="dim"), *([Text(), Text()] if many and i else [])] for i in groups]
            lines.append(Line(row.section, row.label, "", none, none))
            continue
        if many:
            shown, brief = ([cells(row, i, brief=short) for i in groups] for short in (False, True))
            for some in (shown, brief):
                for i in groups:
                    if row.summary(i)[0] is None:
                        some[i] = [Text(UNKNOWN), *([Text(), Text()] if i else [])]
        else:
            shown = brief = [_single_cells(row, i) for i in groups]
        lines.append(Line(row.row.section, row.row.label, row.row.unit, shown, brief))
    paid = price_rows(comparison)
    if any(value is not None for _, values in paid for value in values):
        for price, values in paid:
            texts = [Text("-" if value is None else number(value)) for value in values]
            padded = [[text, Text(), Text()] if many and i else [text] for i, text in enumerate(texts)]
            lines.append(Line("Gained for what was paid", price.label, price.unit, padded, padded))
    return lines


def comparison_table(comparison: Comparison) -> SideBySide:
    """All rows of a comparison; the first column of figures is the baseline, the others show their change.

    Where policies were run several times: mean ± standard deviation, the change of the mean, and whether the runs can tell that
    from chance (:func:`kevacuate.measure.permutation.decide`).
    """
    return SideBySide(_title(comparison), _heads(comparison, ""), _heads(comparison, "p"), _lines(comparison))
