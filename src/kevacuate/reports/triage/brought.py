# SPDX-License-Identifier: GPL-2.0-or-later
"""A triage of files in words: each kind's, then what would help."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any

from rich.table import Table


def brought_words(result: Mapping[str, Any]) -> Iterator[str | Table]:
    """What is printed of :func:`kevacuate.observe.files.door.triage_files`, in order."""
    for answer in result["answers"]:
        kind = import_module(f"kevacuate.reports.triage.files.{answer['kind']}")
        yield kind.words(answer)
        yield from kind.tables(answer)
    yield from advice_words(result["advice"])
    if unended := result["last_line_unended"]:
        yield f"The last line has no end, so its values may be cut off: {_named(unended)}."
    if result["not_read"]:
        not_read = [f"{one['file']} ({one['what']})" for one in result["not_read"]]
        yield f"Not read: {_named(not_read)}."


def _named(files: Sequence[str]) -> str:
    """The first files, and how many there are more."""
    more = len(files) - MOST_NAMED
    return ", ".join(files[:MOST_NAMED]) + (f", and {more:,} more" if more > 0 else "")


def advice_words(advice: Sequence[Mapping[str, str]]) -> Iterator[str]:
    """What would help, numbered, each with its evidence and its source; nothing where there is no advice."""
    if advice:
        yield "What would help here:"
    for number, piece in enumerate(advice, start=1):
        yield f"{number}. {piece['do']} {piece['evidence']} ({piece['source']})"


MOST_NAMED = 5
"""Files named of those that were not read, or not to their end."""
