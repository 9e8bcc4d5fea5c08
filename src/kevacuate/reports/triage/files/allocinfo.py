# SPDX-License-Identifier: GPL-2.0-or-later
"""Words and tables of copies of /proc/allocinfo."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.table import Table

from kevacuate.reports.plain import plain_table
from kevacuate.reports.triage.words import plural

MOST_ROWS = 20
"""Places shown."""


def words(answer: dict[str, Any]) -> str:
    """What each copy says, in sentences."""
    return "\n\n".join("\n".join(_copy_words(copy)) for copy in answer["copies"])


def _mib(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"


def _copy_words(copy: dict[str, Any]) -> Iterator[str]:
    yield f"{copy['file']}, a copy of /proc/allocinfo: {_mib(copy['bytes'])} by place in the code."
    yield f"At most {_mib(copy['cannot_move_bytes'])} of it cannot move."
    yield f"{_mib(copy['movable_bytes'])} are pages of processes and of the page cache."
    yield f"{_mib(copy['slab_pages_bytes'])} are slabs, which the file counts again as objects: only the objects count here."
    if copy["places"]:
        top = copy["places"][0]
        module = f" of the module {top['module']}" if top["module"] else ""
        at = f"{top['function']}{module} ({top['place']})"
        yield f"{at} holds most: {_mib(top['bytes'])} in {plural(top['calls'], 'allocation')}."
    if copy["inaccurate"]:
        yield f"{plural(copy['inaccurate'], 'place')} missed allocations: their figures are too low."
    if copy["lines_not_read"]:
        yield f"{plural(copy['lines_not_read'], 'line')} could not be read."
    yield "The file does not say which pageblocks this lies in: page_owner does."


def tables(answer: dict[str, Any]) -> list[Table]:
    """Places by bytes."""
    return [_table(copy) for copy in answer["copies"] if copy["places"]]


def _table(copy: dict[str, Any]) -> Table:
    title = f"Memory that cannot move, the largest of {plural(copy['places_in_all'], 'place')}"
    table = plain_table(title, ("function", "place", "MiB", "allocations"), ("MiB", "allocations"))
    for row in copy["places"][:MOST_ROWS]:
        module = f" [{row['module']}]" if row["module"] else ""
        table.add_row(
            row["function"] + module, row["place"], f"{row['bytes'] / 2**20:,.1f}", f"{row['calls']:,}"
        )
    return table
