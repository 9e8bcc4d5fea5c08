# SPDX-License-Identifier: GPL-2.0-or-later
"""Words and tables of traces in the forms of perf trace, babeltrace and plot-fragmentation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.table import Table

from kevacuate.reports.plain import plain_table
from kevacuate.reports.triage.tables import requesters_table, tasks_table, timeline_table
from kevacuate.reports.triage.words import plural
from kevacuate.reports.triage.words import words as triage_words

MOST_ROWS = 12
"""Kinds of requests shown."""


def words(answer: dict[str, Any]) -> str:
    """What each trace says, in sentences."""
    return "\n\n".join("\n".join(_trace_words(trace)) for trace in answer["traces"])


def _trace_words(trace: dict[str, Any]) -> Iterator[str]:
    kernel = f", Linux {trace['kernel']}" if trace["kernel"] else ""
    yield f"{trace['file']}, events that {trace['tool']} printed{kernel}."
    yield from _held(trace)
    yield triage_words(trace)
    yield from _doubts(trace)


def _held(trace: dict[str, Any]) -> Iterator[str]:
    """What the file holds."""
    if trace["extfrag"]:
        yield f"It holds {plural(trace['extfrag'], 'external fragmentation event')}."
    for order, counts in trace["compaction"].items():
        yield f"Compaction for order {order}: {counts['success']:,} succeeded, {counts['failure']:,} failed."


def _doubts(trace: dict[str, Any]) -> Iterator[str]:
    """What the tool does not print."""
    yield f"Pageblock order {trace['pageblock_order']} is assumed: {trace['tool']} does not print it."
    if trace["numbering"].startswith("taken"):
        yield f"Numbers of migratetypes are {trace['numbering']}: no movable request proves them."
    told, held = trace["told_events"], sum(trace["events_held"].values()) + trace["malformed"]
    if told is not None and told != held:
        yield f"The file says that it holds {told:,} events; it holds {held:,}."
    if trace["malformed"]:
        yield f"{plural(trace['malformed'], 'event')} lacked a field, or had one that no kernel prints."


def tables(answer: dict[str, Any]) -> list[Table]:
    """Over time, by requester, by task, and what was allocated."""
    found = []
    for trace in answer["traces"]:
        if trace["requesters"]:
            found += [timeline_table(trace), requesters_table(trace)]
            found += [tasks_table(trace)] if trace["tasks"] else []
        if trace["requests"]:
            found.append(_requests(trace))
    return found


def _requests(trace: dict[str, Any]) -> Table:
    """Allocations by type, order and gfp."""
    table = plain_table("What was allocated", ("type", "order", "gfp", "requests"), ("order", "requests"))
    for row in trace["requests"][:MOST_ROWS]:
        table.add_row(
            row["type"], str(row["order"]), row["gfp_names"].replace("|", "| "), f"{row['requests']:,}"
        )
    return table
