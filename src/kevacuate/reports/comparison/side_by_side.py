# SPDX-License-Identifier: GPL-2.0-or-later
"""Groups side by side in a table that fits the terminal: all groups with words, all in few columns, or one group at a time."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD, Box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from kevacuate.reports.comparison.group_rows import MARKS

NARROW_BOX = Box("    \n    \n ── \n    \n    \n    \n    \n    \n")
"""A line below the heads and a single space between columns."""

LEAST_NAME = 24
"""Characters that a row's name keeps where it must be wrapped."""

MOST_HEAD = 18
"""Characters of a line of a head where there is little room; one word may be longer."""

COUNTS = frozenset(("events", "blocks", "pages", "zones", "regions", "requests", "rows", "times", "runs"))
"""Units that a row's name implies: left out where columns are few."""


@dataclass(frozen=True)
class Line:
    """One row.

    Attributes
    ----------
    section, name, unit : str
        As in the rows' own classes; lines of one section follow each other.
    cells : sequence of sequence of Text
        Of each group, one for each of its heads.
    brief : sequence of sequence of Text
        The same where there is little room.
    """

    section: str
    name: str
    unit: str
    cells: Sequence[Sequence[Text]]
    brief: Sequence[Sequence[Text]]


@dataclass(frozen=True)
class SideBySide:
    """What rich prints as one table, or where that is too wide as several.

    Attributes
    ----------
    title : str
        Above the first table.
    heads : sequence of sequence of str
        Of each group the heads of its columns; the first group is what the others are compared with.
    brief_heads : sequence of sequence of str
        The same where there is little room.
    lines : sequence of Line
        The rows.
    notes : sequence of str
        What stands below, a line each.
    """

    title: str
    heads: Sequence[Sequence[str]]
    brief_heads: Sequence[Sequence[str]]
    lines: Sequence[Line]
    notes: Sequence[str] = ()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The widest form that fits."""
        yield from self.fitting(options.max_width)

    def fitting(self, width: int) -> list[Table | Text]:
        """The tables for so many columns, and what the marks in them mean."""
        others = range(1, len(self.heads))
        forms: list[tuple[bool, list[Iterable[int]]]] = [
            (False, [others]),
            (True, [others]),
            (True, [[other] for other in others] or [[]]),
        ]
        for brief, parts in forms:
            tables = [self._table(brief, [0, *part]) for part in parts]
            if all(width_of(table) <= width for table in tables):
                break
        tables[0].title, tables[0].title_justify = self.title, "left"
        notes = [Text("\n".join(self.notes) + "\n", style="dim")] if self.notes else []
        return [*tables, *(self._legend() if brief else ()), *notes]

    def _table(self, brief: bool, groups: Sequence[int]) -> Table:
        """The rows of some groups."""
        table = Table(header_style="bold", box=SIMPLE_HEAD, pad_edge=False)
        if brief:
            table = Table(header_style="bold", box=NARROW_BOX, padding=0, show_edge=False)
        table.add_column("", no_wrap=not brief, min_width=LEAST_NAME if brief else None)
        if not brief:
            table.add_column("unit", style="dim", no_wrap=True)
        for group in groups:
            for i, head in enumerate((self.brief_heads if brief else self.heads)[group]):
                table.add_column(
                    broken(head) if brief else head.replace(",", ",\n"),
                    justify="left" if i > 1 else "right",
                    no_wrap=not brief,
                    overflow="fold",
                )
        section = ""
        for line in self.lines:
            if line.section != section:
                section = line.section
                table.add_section()
                table.add_row(Text(section, style="bold"))
            shown = [cell for group in groups for cell in (line.brief if brief else line.cells)[group]]
            if brief:
                unit = "" if line.unit in COUNTS or not line.unit else f", {line.unit}"
                table.add_row(Padding(f"{line.name}{unit}", (0, 0, 0, 1)), *shown)
            else:
                table.add_row(f"  {line.name}", line.unit, *shown)
        return table

    def _legend(self) -> Iterator[Text]:
        """The marks that stand in the tables, in words."""
        last = {str(cells[-1])[-1:] for line in self.lines for cells in line.brief[1:] if len(cells) > 1}
        said = [f"{mark} {word}" for mark, word in MARKS.items() if mark in last]
        if said:
            yield Text(f"p: {', '.join(said)}\n", style="dim")


def broken(head: str) -> str:
    """A head in lines: one for each part between commas, and of longer parts as many as MOST_HEAD characters need."""
    lines: list[str] = []
    for part in re.findall(r"[^,]+,?", head):
        line = ""
        for piece in re.findall(r"[^-._/ ]+[-._/ ]?|[-._/ ]", part):
            if line and len(line + piece) > MOST_HEAD:
                lines.append(line)
                line = ""
            line += piece
        lines.append(line)
    return "\n".join(lines)


def width_of(table: Table) -> int:
    """Columns that a table would take where there is room."""
    wide = Console(width=10_000, file=None)
    return Measurement.get(wide, wide.options, table).maximum
