# SPDX-License-Identifier: GPL-2.0-or-later
"""The one style of the tables of answers: a title on the left, a bold heading, rows without lines between them."""

from __future__ import annotations

from collections.abc import Collection

from rich.box import SIMPLE_HEAD
from rich.table import Table


def plain_table(
    title: str | None,
    names: Collection[str],
    numbers: Collection[str] = (),
    *,
    whole: Collection[str] = (),
    blanks: int = 3,
) -> Table:
    """An empty table with these columns.

    Parameters
    ----------
    title : str or None
        What stands above it on the left.
    names : collection of str
        Headings.
    numbers : collection of str
        Those of columns of numbers, which stand on the right.
    whole : collection of str
        Those of columns whose cells are never broken; others are broken where the line is full. Nothing is cut off.
    blanks : int
        Blanks between columns: 1 to 3.

    """
    padding = {1: (0, 0, 0, 0), 2: (0, 1, 0, 0), 3: (0, 1, 0, 1)}[blanks]
    table = Table(
        title=title,
        title_justify="left",
        header_style="bold",
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=padding,
    )
    for name in names:
        table.add_column(
            name,
            justify="right" if name in numbers else "left",
            overflow="fold",
            no_wrap=name in whole,
        )
    return table
