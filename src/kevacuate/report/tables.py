# SPDX-License-Identifier: GPL-2.0-or-later
"""Tables for the terminal."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from kevacuate.measure import Comparison
from kevacuate.report.grouprows import GroupRow, cells, moved, number
from kevacuate.report.rows import Row, comparison_rows, price_rows, replays_words


def _single_cells(row: GroupRow[Row], group: int) -> list[Text]:
    """A single run's value, with its change against the baseline, green where that is better and red where it is worse."""
    value, base = row.summary(group)[0] or 0.0, row.summary(0)[0] or 0.0
    if not group:
        return [Text(number(value))]
    sign = (value > base) - (value < base)
    style = "" if not row.row.better or not sign else ("green" if sign == row.row.better else "red")
    return [Text(number(value)).append(f" {moved(row, group):>6}", style=style or "dim")]


def _title(comparison: Comparison) -> str:
    """What was replayed, how often."""
    about = comparison.recording
    title = f"{about['name']}, Linux {about['kernel']}, profile {about['profile']}"
    policies = len(comparison.groups)
    if policies > 1:
        title += f": one demand, {policies} policies"
    return title + (f", {replays_words(comparison)}" if comparison.repeated else "")


def _columns(table: Table, comparison: Comparison) -> None:
    """The columns: of repeats mean and spread, and of all policies but the first the change and what it says."""
    table.add_column("", no_wrap=True)
    table.add_column("unit", style="dim", no_wrap=True)
    for i, policy in enumerate(comparison.groups):
        table.add_column(policy.replace(",", ",\n"), justify="right", no_wrap=not comparison.repeated)
        if comparison.repeated and i:
            table.add_column("change", justify="right", no_wrap=True)
            table.add_column("")


def comparison_table(comparison: Comparison) -> Table:
    """All rows of a comparison; the first column of figures is the baseline, the others show their change.

    Where policies were run several times: mean ± standard deviation, the change of the mean, and whether the runs can tell that
    from chance (:func:`kevacuate.measure.groups.decide`).
    """
    many = comparison.repeated
    table = Table(
        title=_title(comparison), title_justify="left", header_style="bold", box=SIMPLE_HEAD, pad_edge=False
    )
    _columns(table, comparison)
    section = ""
    for row in comparison_rows(comparison):
        if row.row.section != section:
            section = row.row.section
            table.add_section()
            table.add_row(Text(section, style="bold"))
        shown = [
            cell
            for i in range(len(comparison.groups))
            for cell in (cells(row, i) if many else _single_cells(row, i))
        ]
        table.add_row(f"  {row.row.name}", row.row.unit, *shown)
    paid = price_rows(comparison)
    if any(value is not None for _, _, values in paid for value in values):
        table.add_section()
        table.add_row(Text("Gained for what was paid", style="bold"))
        for name, unit, values in paid:
            texts = ["-" if value is None else number(value) for value in values]
            padded = [
                cell for i, text in enumerate(texts) for cell in ([text, "", ""] if many and i else [text])
            ]
            table.add_row(f"  {name}", unit, *padded)
    return table
