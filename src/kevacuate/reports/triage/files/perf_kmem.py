# SPDX-License-Identifier: GPL-2.0-or-later
"""Words and tables of what perf kmem prints."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.table import Table

from kevacuate.observe.files.perf_kmem import BEFORE, CONTRADICTORY, SINCE
from kevacuate.reports.plain import plain_table
from kevacuate.reports.triage.words import plural

MOST_ROWS = 12
"""Rows shown."""


def words(answer: dict[str, Any]) -> str:
    """What each report says, in sentences."""
    return "\n\n".join("\n".join(_report_words(report)) for report in answer["reports"])


def _report_words(report: dict[str, Any]) -> Iterator[str]:
    yield f"{report['file']}, what perf kmem printed of pages."
    if "requests" in report["totals"]:
        requests, kib = report["totals"]["requests"]
        lost = report["totals"].get("failures", (0, 0))[0]
        yield f"{plural(requests, 'request')} for {kib:,} KiB were recorded; {lost:,} failed."
    if report["by_type"]:
        yield "Requests by type: " + ", ".join(f"{kind} {n:,}" for kind, n in report["by_type"].items()) + "."
    yield _numbering(report["numbering"])
    if report["rows_left_out"]:
        yield f"{plural(report['rows_left_out'], 'row')} beyond those kept were left out."
    if report["rows_not_read"]:
        yield f"{plural(report['rows_not_read'], 'row')} could not be read."


def _numbering(numbering: str) -> str:
    """Whose names the types have."""
    if numbering == SINCE:
        return (
            "The flags prove a kernel of 4.4 or later, on which perf kmem swaps reclaimable and movable. "
            "Here the types are named as the kernel means them."
        )
    if numbering == BEFORE:
        return "The flags prove a kernel before 4.4, whose types perf kmem names rightly."
    if numbering == CONTRADICTORY:
        return "The flags contradict each other as to the kernel's numbering of types. perf kmem's own names are shown."
    return "perf kmem's names of types are right before Linux 4.4 only, which no row proves: its own names are shown."


def tables(answer: dict[str, Any]) -> list[Table]:
    """Allocations by size."""
    return [_table(report) for report in answer["reports"] if report["rows"]]


def _table(report: dict[str, Any]) -> Table:
    table = plain_table(
        "Who allocated most",
        ("call site", "type", "order", "requests", "KiB", "gfp"),
        ("order", "requests", "KiB"),
    )
    for row in report["rows"][:MOST_ROWS]:
        kind = row["type"] or f"perf's {row['perf_name']}"
        table.add_row(
            row["callsite"],
            kind,
            str(row["order"]),
            f"{row['hits']:,}",
            f"{row['kib']:,}",
            row["gfp"].replace("|", "| "),
        )
    return table
