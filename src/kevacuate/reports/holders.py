# SPDX-License-Identifier: GPL-2.0-or-later
"""Who holds the pageblocks, in words and as a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from kevacuate.measure.holders import UNKNOWN
from kevacuate.reports.plain import plain_table

PAGE_BYTES = 4096
NAMED = 3
"""Holders that the words name."""

SOURCES = {
    "kpageflags": "by /proc/kpageflags alone",
    "vmcore": "by its dump",
    "kcore": "by /proc/kcore",
    "qemu": "by the guest's memory",
}

NAMED_ALSO = 3
"""Merged caches that a name shows; the JSON has all."""


def size(pages: int) -> str:
    """Memory of so many pages of 4 KiB, as a person says it.

    Examples
    --------
    >>> size(300_000), size(512), size(3)
    ('1.1 GiB', '2.0 MiB', '12 KiB')

    """
    for unit, at in (("GiB", 1 << 30), ("MiB", 1 << 20)):
        if pages * PAGE_BYTES >= at:
            return f"{pages * PAGE_BYTES / at:,.1f} {unit}"
    return f"{pages * PAGE_BYTES // 1024} KiB"


def label(row: Mapping[str, Any], *, also: bool = True) -> str:
    """A holder's name, of a row of the JSON: ``slab dentry``; with the caches that are merged into it."""
    name = f"{row['kind']} {row['name']}".strip() if row["kind"] != UNKNOWN else UNKNOWN
    if row["kind"] == UNKNOWN and row["name"]:
        name += f", {row['name']}"
    merged = row.get("merged_with", [])
    if also and merged:
        rest = f" and {len(merged) - NAMED_ALSO} more" if len(merged) > NAMED_ALSO else ""
        name += f" (with {', '.join(merged[:NAMED_ALSO])}{rest})"
    return name


def words(found: Mapping[str, Any]) -> str:
    """What the answer says, a sentence a line: how many blocks are held, by whom above all, and what is not told.

    Parameters
    ----------
    found : mapping
        :meth:`kevacuate.measure.holders.Holders.to_json`.

    """
    counts = found["blocks"]
    lines = [
        f"Linux {found['kernel']} {SOURCES[found['source']]}: {counts['held']:,} of {counts['present']:,} pageblocks are held.",
        f"{counts['movable_type']:,} of them are of movable type; {counts['nearly_empty']:,} are nearly empty.",
        f"{size(counts['otherwise'])} of the held blocks are otherwise free or movable.",
    ]
    if counts["unclear"]:
        lines.append(f"{counts['unclear']:,} more may be held, or have only free pages.")
    for rank, row in enumerate([row for row in found["holders"] if row["blocks"]][:NAMED], start=1):
        blocks = f"{row['blocks']:,} {'block' if row['blocks'] == 1 else 'blocks'}"
        lines.append(
            f"Holder {rank}, {label(row, also=False)}: {blocks}, {size(row['otherwise'])} of them otherwise free or movable; "
            f"{row['alone']:,} of them it holds alone."
        )
    caches = sorted(found["slab_caches"].items(), key=lambda item: (-item[1], item[0]))[:NAMED]
    if caches:
        named = ", ".join(f"{name} {size(pages)}" for name, pages in caches)
        lines.append(f"The largest slab caches by /proc/slabinfo, wherever their pages lie: {named}.")
    return "\n".join([*lines, *found["not_told"]])


def table(found: Mapping[str, Any], most: int = 20) -> Table:
    """The holders that hold a block, ranked; *most* rows.

    Parameters
    ----------
    found : mapping
        :meth:`kevacuate.measure.holders.Holders.to_json`.
    most : int
        Rows shown; the last line says how many are left out.

    """
    figures = ("blocks", "alone", "otherwise\nfree or\nmovable", "of that\nalone", "its pages")
    shown = plain_table(None, ("holder", *figures), figures, whole=figures)
    rows = [row for row in found["holders"] if row["blocks"]]
    for row in rows[:most]:
        shown.add_row(
            label(row),
            f"{row['blocks']:,}",
            f"{row['alone']:,}",
            size(row["otherwise"]),
            size(row["otherwise_alone"]),
            f"{row['pages']:,}",
        )
    if len(rows) > most:
        shown.add_row(f"{len(rows) - most} more: --all", *[""] * 5)
    return shown
