# SPDX-License-Identifier: GPL-2.0-or-later
"""A recording's triage among the answers of other files."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from kevacuate.recording.machine import kernel_words
from kevacuate.reports.triage.stalls import stall_tables
from kevacuate.reports.triage.tables import requesters_table, tasks_table, timeline_table
from kevacuate.reports.triage.words import words as triage_words


def words(answer: dict[str, Any]) -> str:
    """The name and the words of a recording's triage."""
    return f"{answer['name']}, {kernel_words(answer['kernel'])}\n{triage_words(answer)}"


def tables(answer: dict[str, Any]) -> list[Table]:
    """The tables that the words rest on; none where nothing was seen."""
    stalls = stall_tables(answer["stalls"])
    if not answer["requesters"]:
        return stalls
    tasks = [tasks_table(answer)] if answer["tasks"] else []
    return [*stalls, timeline_table(answer), requesters_table(answer), *tasks]
