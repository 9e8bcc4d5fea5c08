# SPDX-License-Identifier: GPL-2.0-or-later
"""The tables of a triage: over time, by requester, by task. All fit 80 columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from kevacuate.measure.triage import LATE_SHARE
from kevacuate.percent import percent
from kevacuate.reports.bars import duration, sparkline
from kevacuate.reports.gfp import gfp_words
from kevacuate.reports.plain import plain_table
from kevacuate.reports.triage.flags import Flags

MOST_ROWS = 12
"""Requesters shown; the JSON has all."""

MOST_BARS = 40
"""Bars in a row: with its name and sum it fits 80 columns."""

COUNTED = {
    "claims": "claims",
    "claims_whole_block": "whole-block claims",
    "steals": "steals",
    "claims_or_steals": "claims or steals",
}
"""Kinds of events, and how a heading names them."""


def _kinds(triage: Mapping[str, Any]) -> list[str]:
    """The kinds of events that this recording tells apart."""
    told = triage["claims_told_from_steals"]
    return ["claims", "claims_whole_block", "steals"] if told else ["claims_whole_block", "claims_or_steals"]


def _merged(values: Sequence[int]) -> tuple[list[int], int]:
    """The values added up in neighbours until there are few enough, and how many went into one."""
    each = -(-len(values) // MOST_BARS) or 1
    return [sum(values[i : i + each]) for i in range(0, len(values), each)], each


def timeline_table(triage: Mapping[str, Any]) -> Table:
    """Claims, steals and newly hit blocks over time."""
    line = triage["timeline"]
    _, each = _merged(line["new_blocks"])
    title = f"Over time, {duration(line['bucket_ns'] * each)} a bar; the verdict looks at the last {percent(LATE_SHARE)}"
    table = Table(title=title, title_justify="left", show_header=False, box=None)
    for column in ("name", "bars", "sum"):
        table.add_column(column, no_wrap=True, justify="right" if column == "sum" else "left")
    for name in (*_kinds(triage), "new_blocks"):
        label = COUNTED.get(name, "blocks hit for the first time")
        table.add_row(label, sparkline(_merged(line[name])[0]), f"{sum(line[name]):,}")
    return table


def _counts_table(title: str, first: Sequence[str], kinds: Sequence[str]) -> Table:
    """An empty table: columns of text, then one for each kind of event."""
    counted = [COUNTED[kind].replace(" ", "\n", 1) for kind in kinds]
    names = (*first, *counted)
    return plain_table(title, names, ("order", *counted), whole={*names} - {"gfp"})


def requesters_table(triage: Mapping[str, Any]) -> Table:
    """Who took movable memory: by type, order and gfp."""
    kinds, rows = _kinds(triage), triage["requesters"]
    table = _counts_table("Who took movable memory", ("type", "order", "gfp"), kinds)
    for row in rows[:MOST_ROWS]:
        gfp = Text("not known") if row["gfp"] is None else Flags(gfp_words(row["gfp"]))
        table.add_row(row["type"], str(row["order_asked"]), gfp, *(f"{row[kind]:,}" for kind in kinds))
    if len(rows) > MOST_ROWS:
        rest = rows[MOST_ROWS:]
        sums = (f"{sum(row[kind] for row in rest):,}" for kind in kinds)
        table.add_row(f"{len(rest)} others", "", "", *sums)
    return table


def tasks_table(triage: Mapping[str, Any]) -> Table:
    """The tasks that took most, where the recording tells tasks apart."""
    kinds, names = _kinds(triage), triage["task_names"]
    title = (
        "Tasks, by process id" if triage["pids_kept"] else "Tasks, numbered (recorded without process ids)"
    )
    table = _counts_table(title, ("task",), kinds)
    for row in triage["tasks"]:
        task = f"{row['pid']} {names.get(str(row['pid']), '')}".rstrip()
        table.add_row(task, *(f"{row[kind]:,}" for kind in kinds))
    return table
