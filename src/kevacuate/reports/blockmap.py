# SPDX-License-Identifier: GPL-2.0-or-later
"""A map of pageblocks and a table of zones for the terminal; every class has a character of its own, colours are extra."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from kevacuate.reports.comparison.side_by_side import width_of

MARKS: dict[str, tuple[str, str, str]] = {
    "absent": (" ", "", "no memory"),
    "reserved": ("-", "dim", "reserved"),
    "free": (".", "green", "free"),
    "movable": ("m", "cyan", "free or movable (on LRU lists)"),
    "mixed": ("X", "bold red", "movable beside pages that cannot move"),
    "unmovable": ("U", "yellow", "pages that cannot move, and free ones"),
    "unclear": (
        "x",
        "magenta",
        "free or movable, and pages without any flag: the kernel's, or on a per-CPU list",
    ),
}
"""Class of a pageblock to its character, its style, and what it means."""

NAMES = tuple(MARKS)


def block_map(classes: npt.NDArray[np.uint8], width: int, lines: int) -> tuple[Text, int]:
    """The map, and how many pageblocks a character stands for: the class that most of them have.

    Parameters
    ----------
    classes : array
        Class of each block, an index of :data:`NAMES`.
    width, lines : int
        Room: characters of a line, and lines.

    """
    there = np.flatnonzero(classes)
    classes = classes[: int(there[-1]) + 1 if len(there) else 0]
    per = max(1, -(-len(classes) // (width * lines)))
    cells = -(-len(classes) // per)
    padded = np.zeros(cells * per, np.uint8)
    padded[: len(classes)] = classes
    counts = np.stack([(padded.reshape(cells, per) == i).sum(axis=1) for i in range(len(NAMES))])
    most = len(NAMES) - 1 - np.argmax(counts[::-1], axis=0)  # of equally many, the worse
    text = Text(no_wrap=True)
    for begin in range(0, cells, width):
        for cell in most[begin : begin + width].tolist():
            mark, style, _ = MARKS[NAMES[cell]]
            text.append(mark, style=style)
        text.append("\n")
    return text, per


def legend(counts: dict[str, int]) -> Text:
    """What the characters mean, with how many blocks there are of each; where there is no memory there are none."""
    text = Text()
    for name, (mark, style, meaning) in MARKS.items():
        text.append(f"  {mark} ", style=style).append(meaning)
        text.append("\n" if name == "absent" else f": {counts.get(name, 0):,} blocks\n")
    return text


def zone_table(rows: Sequence[dict[str, int | str]], width: int = 1000) -> Table:
    """One row a zone, keys are the columns, in order; one column a zone where the former is wider than *width*."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for name in rows[0] if rows else ():
        table.add_column(name, justify="left" if name == "zone" else "right", no_wrap=True)
    for row in rows:
        table.add_row(*map(_cell, row.values()))
    if width_of(table) <= width:
        return table
    turned = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    first, *others = rows[0]
    for i, head in enumerate([first, *(str(row[first]) for row in rows)]):
        turned.add_column(head, justify="right" if i else "left")
    for name in others:
        turned.add_row(name, *(_cell(row[name]) for row in rows))
    return turned


def _cell(value: int | str) -> str:
    return value if isinstance(value, str) else f"{value:,}"
