# SPDX-License-Identifier: GPL-2.0-or-later
"""Tables for the terminal."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from kevacuate.measure import Comparison, prices
from kevacuate.report.rows import ROWS, Row


def number(value: float) -> str:
    """A figure as people read it: whole numbers with separators, others with three significant digits."""
    if value == int(value):
        return f"{int(value):,}"
    return f"{value:,.1f}" if abs(value) >= 100 else f"{value:.3g}"


def change(base: float, value: float) -> str:
    """The change in per cent; a sign, ``=`` for none, and nothing where the base is 0."""
    if value == base:
        return "="
    return f"{(value - base) / abs(base):+.0%}" if base else "new"


def _cell(row: Row, base: float, value: float, first: bool) -> Text:
    """A value, with its change against the baseline, green where that is better and red where it is worse."""
    if first:
        return Text(number(value))
    text = Text(number(value))
    moved = (value > base) - (value < base)
    style = "" if not row.better or not moved else ("green" if moved == row.better else "red")
    return text.append(f" {change(base, value):>6}", style=style or "dim")


def _price_rows(table: Table, comparison: Comparison) -> None:
    """The two prices of the benefit."""
    names = (
        ("huge_pages_per_worker_second", "huge pages per worker second", "1/s"),
        ("huge_pages_per_dropped_page", "huge pages per page dropped", "1/page"),
        ("movable_only_per_worker_second", "2 MiB regions per worker second", "1/s"),
        ("movable_only_per_dropped_page", "2 MiB regions per page dropped", "1/page"),
    )
    table.add_section()
    table.add_row(Text("Gained for what was paid", style="bold"))
    for key, name, unit in names:
        values = [prices(comparison.baseline, run)[key] for run in comparison.runs]
        table.add_row(f"  {name}", unit, *("-" if value is None else number(value) for value in values))


def comparison_table(comparison: Comparison) -> Table:
    """All rows of a comparison; the first column of figures is the baseline, the others show their change."""
    about = comparison.recording
    title = f"{about['name']}, Linux {about['kernel']}, profile {about['profile']}"
    if len(comparison.runs) > 1:
        title += f": one demand, {len(comparison.runs)} policies"
    table = Table(title=title, title_justify="left", header_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("", no_wrap=True)
    table.add_column("unit", style="dim", no_wrap=True)
    for run in comparison.runs:
        table.add_column(run.policy.replace(",", ",\n"), justify="right", no_wrap=True)
    section = ""
    for row in ROWS:
        if row.section != section:
            section = row.section
            table.add_section()
            table.add_row(Text(section, style="bold"))
        base = row.value(comparison.baseline)
        cells = [_cell(row, base, row.value(run), run is comparison.baseline) for run in comparison.runs]
        table.add_row(f"  {row.name}", row.unit, *cells)
    if len(comparison.runs) > 1:
        _price_rows(table, comparison)
    return table
