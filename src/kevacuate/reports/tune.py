# SPDX-License-Identifier: GPL-2.0-or-later
"""A tuning as a table, in words, and as JSON."""

from __future__ import annotations

from typing import Any

from rich.table import Table
from rich.text import Text

from kevacuate.measure.deciding import DECIDING
from kevacuate.measure.intervals import POWER
from kevacuate.measure.permutation import LEVEL
from kevacuate.measure.tuned import FINALISTS, SCREENED_OUT, Tried, TriedRow, Tuned
from kevacuate.percent import percent
from kevacuate.recording.machine import kernel_words
from kevacuate.reports.comparison.group_rows import STYLES, change
from kevacuate.reports.comparison.rows import row_of

HEADS = {
    "extfrag.claims_from_movable": "claims",
    "extfrag.steals_from_movable": "steals",
    "end.mixed_blocks": "mixed blocks",
    "end.polluted_blocks": "polluted blocks",
    "end.regions_2m_movable_only": "2 MiB movable",
    "vmstat.thp_fault_fallback": "THP fallbacks",
    "vmstat.allocstall": "stalls",
}
"""The rows that decide, as they are called where there is little room."""


def judged_cell(row: TriedRow) -> Text:
    """The change of a row, starred where it is told apart."""
    said = change(row.base, row.mean)
    if not row.judged:
        return Text(said, style="dim")
    return Text(f"{said} *", style=STYLES[row.judged])


def paid_words(one: Tried) -> str:
    """What is worse under a setting, beside the rows that decide."""
    return ", ".join(
        f"{row_of(row.id).label} {change(row.base, row.mean)}" for row in one.costs if row.judged == "worse"
    )


def tuned_table(tuned: Tuned) -> Table:
    """Every setting: what is said of it, how each row that decides changed, and what is paid."""
    about = tuned.recording
    title = (
        f"{about['name']}, {kernel_words(about['kernel'])}: {len(tuned.tried)} settings against {tuned.base}"
    )
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("setting", no_wrap=False, overflow="fold")
    table.add_column("the model says")
    shown = [row for row in DECIDING if any(row == one.id for tried in tuned.tried for one in tried.rows)]
    for row in shown:
        table.add_column(HEADS[row], justify="right")
    table.add_column("paid")
    for one in tuned.tried:
        cells = {row.id: judged_cell(row) for row in one.rows}
        said = Text(one.verdict, style="bold" if one.helps else "")
        table.add_row(one.setting, said, *(cells.get(row, Text()) for row in shown), paid_words(one))
    return table


def tuned_conclusion(tuned: Tuned) -> str:
    """What the model says, in a sentence."""
    tried, winners = len(tuned.tried), [one.setting for one in tuned.winners]
    settings = "setting" if tried == 1 else "settings"
    if not winners:
        return f"The model shows none of {tried} {settings} to help on this demand."
    helps = "helps" if len(winners) == 1 else "help"
    return f"The model says that {len(winners)} of {tried} {settings} {helps} on this demand: {'; '.join(winners)}."


def tuned_basis(tuned: Tuned) -> str:
    """How it was found, and what would have been."""
    screened = sum(one.verdict in SCREENED_OUT for one in tuned.tried)
    finalists = len(tuned.tried) - screened
    text = (
        f"Each setting was replayed {tuned.screened} times; {finalists} of at most {FINALISTS} went on. "
        f"These were replayed {tuned.tested} times more, with fresh seeds. A star marks a row that differs there. "
        f"Chance alone gives any star in at most {percent(LEVEL)} of tunings. Helps means: better in such a row, worse in none. "
        f"What is paid counts as soon as its own p is at most {LEVEL}."
    )
    if not tuned.tested:
        return f"Each setting was replayed {tuned.screened} times, and none changed anything."
    if tuned.found:
        found = ", ".join(f"{HEADS[row]} {percent(share)}" for row, share in tuned.found.items())
        text += f"\n{POWER * 10:.0f} of 10 such tunings would have found a change of: {found}."
    again = f"--repeats {tuned.tested} gives the same table again."
    return f"{text}\nAll this is said of the model; booted kernels may differ. {again}"


def tuned_json(tuned: Tuned) -> dict[str, Any]:
    """Everything, as plain JSON values."""
    return {**tuned.to_json(), "conclusion": tuned_conclusion(tuned), "basis": tuned_basis(tuned)}
