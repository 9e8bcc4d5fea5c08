# SPDX-License-Identifier: GPL-2.0-or-later
"""Words and tables of copies of page_owner_stacks/show_stacks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.table import Table

from kevacuate.reports.plain import plain_table
from kevacuate.reports.triage.words import plural

MOST_ROWS = 12
"""Holders shown."""


def words(answer: dict[str, Any]) -> str:
    """What each copy says, in sentences."""
    return "\n\n".join("\n".join(_copy_words(copy)) for copy in answer["copies"])


def _copy_words(copy: dict[str, Any]) -> Iterator[str]:
    counted = f"{copy['count']:,} {copy['unit']}"
    yield f"{copy['file']}, a copy of page_owner_stacks: {counted} by {plural(copy['stacks_in_all'], 'stack')}."
    if copy["holders"]:
        top = copy["holders"][0]
        yield f"{top['holder']} holds most: {top['count']:,} of them."
    if copy["early"]:
        yield f"{copy['early']:,} were allocated before page_owner began."
    yield "Which of it can move, and where it lies, the file does not say."


def tables(answer: dict[str, Any]) -> list[Table]:
    """Holders by count."""
    return [_table(copy) for copy in answer["copies"] if copy["holders"]]


def _table(copy: dict[str, Any]) -> Table:
    table = plain_table("Who holds most memory", ("holder", copy["unit"]), (copy["unit"],))
    for row in copy["holders"][:MOST_ROWS]:
        table.add_row(row["holder"], f"{row['count']:,}")
    return table
