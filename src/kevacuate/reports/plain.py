# SPDX-License-Identifier: GPL-2.0-or-later
"""The one style of the tables of answers: a title on the left, a bold heading, rows without lines between them."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Column, Table
from rich.text import Text

LEAST_CELL = 8
"""Columns that a cell which may be broken has at least; where there is less room a row becomes lines."""

LONGEST_HEAD = 16
"""Columns that a heading takes beside its cell."""


class PlainTable(Table):
    """A table of answers; where the line is too narrow for its columns each row becomes lines, a cell a line."""

    blanks = 3
    """Blanks between columns."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The form that fits."""
        widths = [_width(column) for column in self.columns]
        room = options.max_width - 2 - self.blanks * (len(widths) - 1)
        return super().__rich_console__(console, options) if sum(widths) <= room else self._lines()

    def _lines(self) -> Iterator[Text | Table]:
        """The title, and every row as lines."""
        if self.title:
            yield Text(f"{self.title}\n", style="bold")
        for row in zip(*(column.cells for column in self.columns), strict=True):
            lines = Table.grid(padding=(0, 2, 0, 0))
            lines.add_column(style="bold", max_width=LONGEST_HEAD, overflow="fold")
            lines.add_column(overflow="fold")
            for column, cell in zip(self.columns, row, strict=True):
                lines.add_row(str(column.header).replace("\n", " "), cell)
            yield lines
            yield Text("")


def _width(column: Column) -> int:
    """Columns of the terminal that a column needs at least."""
    widest = max(cell_len(line) for cell in (column.header, *column.cells) for line in str(cell).split("\n"))
    return widest if column.no_wrap else min(widest, LEAST_CELL)


def plain_table(
    title: str | None,
    names: Collection[str],
    numbers: Collection[str] = (),
    *,
    whole: Collection[str] = (),
    blanks: int = 3,
) -> PlainTable:
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
        Those of columns whose cells are never broken; others are broken where the line is full. Nothing is cut off: see
        :class:`PlainTable`.
    blanks : int
        Blanks between columns: 1 to 3.

    """
    padding = {1: (0, 0, 0, 0), 2: (0, 1, 0, 0), 3: (0, 1, 0, 1)}[blanks]
    table = PlainTable(
        title=title,
        title_justify="left",
        header_style="bold",
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=padding,
    )
    table.blanks = blanks
    for name in names:
        table.add_column(
            name,
            justify="right" if name in numbers else "left",
            overflow="fold",
            no_wrap=name in whole,
        )
    return table
