# SPDX-License-Identifier: GPL-2.0-or-later
"""Words and tables of what bpftrace prints."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.table import Table

from kevacuate.reports.plain import plain_table
from kevacuate.reports.triage.words import plural

MOST_ROWS = 12
"""Elements of a map shown, and histograms named."""


def words(answer: dict[str, Any]) -> str:
    """What the maps hold, in sentences."""
    return "\n\n".join("\n".join(_output_words(output)) for output in answer["outputs"])


def _output_words(output: dict[str, Any]) -> Iterator[str]:
    yield f"{output['file']}, maps that bpftrace printed. It names neither the probe nor the keys: the script says what they are."
    for one in output["maps"][:MOST_ROWS]:
        top = one["elements"][0]
        share = f", of which [{', '.join(top['key'])}] has {top['value']:,}" if top["key"] else ""
        yield f"{one['name']}: {plural(one['elements_in_all'], 'element')}, {one['sum']:,} in sum{share}."
    for one in output["histograms"][:MOST_ROWS]:
        key = f"[{', '.join(one['key'])}]" if one["key"] else ""
        yield f"{one['name']}{key}: {plural(one['count'], 'value')}, the median {_within(one['median'])}."
    for name in ("maps", "histograms"):
        if len(output[name]) > MOST_ROWS:
            yield f"{len(output[name]) - MOST_ROWS:,} more {name} are in the JSON."
    if output["repeated"]:
        yield f"{plural(output['repeated'], 'element')} were printed again: the last value counts."
    if output["lines_not_read"]:
        yield f"{plural(output['lines_not_read'], 'line')} that the script printed are not read."
    if output["left_out"]:
        yield f"{plural(output['left_out'], 'element')} more than are kept were left out."


def _within(bounds: list[int | None] | None) -> str:
    """Where the median lies."""
    if bounds is None:
        return "not known"
    low, high = bounds
    if low is None:
        return f"below {high:,}"
    return (
        f"at least {low:,}"
        if high is None
        else f"{low:,}"
        if high == low + 1
        else f"from {low:,} to below {high:,}"
    )


def tables(answer: dict[str, Any]) -> list[Table]:
    """The maps with more than one element."""
    return [
        _table(one)
        for output in answer["outputs"]
        for one in output["maps"][:MOST_ROWS]
        if one["elements_in_all"] > 1
    ]


def _table(one: dict[str, Any]) -> Table:
    title = f"{one['name']}, the largest of {plural(one['elements_in_all'], 'element')}"
    table = plain_table(title, ("key", "value"), ("value",))
    for row in one["elements"][:MOST_ROWS]:
        table.add_row(", ".join(row["key"]), f"{row['value']:,}")
    return table
