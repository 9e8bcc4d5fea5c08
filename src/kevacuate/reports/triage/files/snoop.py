# SPDX-License-Identifier: GPL-2.0-or-later
"""Words and tables of what compactsnoop and drsnoop print."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.table import Table

from kevacuate.kernelfiles.snoop import COMPACTSNOOP, NO_ORDER
from kevacuate.reports.bars import duration
from kevacuate.reports.plain import plain_table
from kevacuate.reports.triage.words import plural

MOST_ROWS = 12
"""Groups shown."""


def words(answer: dict[str, Any]) -> str:
    """What the stalls come to, in sentences."""
    return "\n".join(_words(answer))


def _words(answer: dict[str, Any]) -> Iterator[str]:
    if not answer["tools"]:
        yield f"{', '.join(answer['files'])}: no stall was printed."
    for tool in answer["tools"]:
        where = "compaction" if tool["tool"] == COMPACTSNOOP else "direct reclaim"
        yield f"{tool['tool']} saw {plural(tool['stalls'], 'stall')} in {where}, {duration(tool['ns'])} in all."
        at = tool["percentiles_ns"]
        yield f"Half took at most {duration(at['p50'])}, 99 % at most {duration(at['p99'])}."
        yield f"The longest took {duration(tool['worst_ns'])}."
        top = tool["tasks"][0]
        yield f"{top['task']} stalled longest in sum: {duration(top['ns'])} in {plural(top['stalls'], 'stall')}."
        if tool["tool"] == COMPACTSNOOP:
            yield f"{tool['failed']:,} of the {plural(tool['stalls'], 'compaction')} ended without the page that was wanted."
        else:
            yield f"They reclaimed {plural(tool['pages'], 'page')}."
        if tool["percentiles_of_every"] > 1:
            yield f"The percentiles are of every {tool['percentiles_of_every']:,}th stall."
    if answer["unread"]:
        yield f"{plural(answer['unread'], 'line')} below a heading could not be read."


def tables(answer: dict[str, Any]) -> list[Table]:
    """Stalls by task, order and result."""
    return [_table(tool) for tool in answer["tools"]]


def _table(tool: dict[str, Any]) -> Table:
    compaction = tool["tool"] == COMPACTSNOOP
    last = ("mode", "result") if compaction else ("pages",)
    title = "Compaction by task, order and result" if compaction else "Direct reclaim by task"
    numbers = ("order", "stalls", "time", "longest", "pages")
    first = ("task", "order") if compaction else ("task",)
    table = plain_table(title, (*first, "stalls", "time", "longest", *last), numbers)
    for row in tool["groups" if compaction else "tasks"][:MOST_ROWS]:
        order = ("all" if row["order"] == NO_ORDER else str(row["order"]),) if compaction else ()
        end = ("sync" if row["sync"] else "async", row["status"]) if compaction else (f"{row['pages']:,}",)
        times = (f"{row['stalls']:,}", duration(row["ns"]), duration(row["worst_ns"]))
        table.add_row(row["task"], *order, *times, *end)
    return table
