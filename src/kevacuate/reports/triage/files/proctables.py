# SPDX-License-Identifier: GPL-2.0-or-later
"""Tables of copies of /proc files: free chunks and the unusable free index by order, pageblocks by type, counters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any

from rich.table import Table

from kevacuate.reports.bars import sparkline
from kevacuate.reports.plain import plain_table

Machine = Mapping[str, Any]

MOST_COLUMNS = 80
"""Columns that a table of counts by order may take."""

MOST_BARS = 40
"""Moments in a row of bars."""


def machine_tables(machine: Machine) -> Iterator[Table]:
    """The tables of one machine."""
    where = f" of {machine['name']}" if machine["name"] else ""
    if machine["free"] and machine["free"]["zones"]:
        yield _orders(f"Free chunks by order, last copy{where}", machine["free"], "free_by_order")
        yield _orders(
            f"Unusable free index by order, %, last copy{where}", machine["free"], "unusable_free_index"
        )
        if machine["free"]["moments"] > 2:
            yield _course(
                f"Unusable free index at pageblock order, first copy to last{where}", machine["free"]
            )
    if machine["blocks"]:
        yield from _types(where, machine["blocks"])
    if machine["counters"] and machine["counters"]["counters"]:
        yield _counters(f"Counters of vmstat{where}", machine["counters"])


def _table(title: str, words: Sequence[str], numbers: Sequence[str], blanks: int = 2) -> Table:
    """A table whose first columns are words and the others numbers."""
    return plain_table(title, (*words, *numbers), numbers, whole={*words, *numbers}, blanks=blanks)


def _name(zone: Mapping[str, Any]) -> str:
    return f"{zone['node']} {zone['zone']}"


def _orders(title: str, free: Mapping[str, Any], what: str) -> Table:
    """A row a zone, a column an order."""
    index = what == "unusable_free_index"
    cells = [[f"{n / 10:.0f}" if index else str(n) for n in zone["last"][what]] for zone in free["zones"]]
    return _fitting(title, ("node, zone",), [(_name(zone),) for zone in free["zones"]], cells)


def _fitting(
    title: str, words: tuple[str, ...], names: Sequence[tuple[str, ...]], counts: Sequence[Sequence[str]]
) -> Table:
    """A table of counts by order: exact, or with large ones in thousands where it needs more than 80 columns so."""
    table = None
    for least in (None, 10_000, 1_000):
        rows = counts if least is None else [[_thousands(cell, least) for cell in row] for row in counts]
        cells = [
            (*words, *map(str, range(max(map(len, counts))))),
            *((*name, *row) for name, row in zip(names, rows, strict=True)),
        ]
        for blanks in (2, 1):
            table = _table(
                title if least is None else f"{title}, k: thousands",
                words,
                cells[0][len(words) :],
                blanks=blanks,
            )
            for row in cells[1:]:
                table.add_row(*row)
            if _width(cells, blanks) <= MOST_COLUMNS:
                return table
    assert table is not None
    return table


def _width(cells: Sequence[Sequence[str]], blanks: int) -> int:
    """What a table of these cells needs: its columns, the blanks behind each, and the edge."""
    return 1 + sum(blanks + max(map(len, column)) for column in zip_longest(*cells, fillvalue=""))


def _thousands(cell: str, least: int) -> str:
    """A count of *least* or more in thousands; a mark before it stays, and then the thousands are not rounded up."""
    mark = ">=" if cell.startswith(">=") else ""
    number = int(cell.removeprefix(mark))
    return f"{mark}{number // 1000 if mark else round(number / 1000)}k" if number >= least else cell


def _course(title: str, free: Mapping[str, Any]) -> Table:
    """A row of bars a zone."""
    table = _table(title, ("node, zone", ""), ("least %", "most %", "trend"))
    for zone in free["zones"]:
        unusable = zone["unusable"]
        points = [point["unusable_free_index"][unusable["order"]] for point in zone["series"]]
        bars = (
            [points[at * (len(points) - 1) // (MOST_BARS - 1)] for at in range(MOST_BARS)]
            if len(points) > MOST_BARS
            else points
        )
        table.add_row(
            _name(zone),
            sparkline(bars),
            f"{unusable['least'] / 10:.1f}",
            f"{unusable['most'] / 10:.1f}",
            f"{unusable['trend'] / 10:+.1f}",
        )
    return table


def _types(where: str, blocks: Mapping[str, Any]) -> Iterator[Table]:
    """Pageblocks by type, and free chunks by type and order."""
    names = list(dict.fromkeys(name for zone in blocks["zones"] for name in zone["blocks_last"]))
    if names:
        table = _table(
            f"Pageblocks by type, last copy{where}", ("node, zone",), tuple(name.lower() for name in names)
        )
        for zone in blocks["zones"]:
            table.add_row(_name(zone), *(f"{zone['blocks_last'].get(name, 0):,}" for name in names))
        yield table
    if any(any(counts) for zone in blocks["zones"] for counts in zone["free"].values()):
        yield _free_by_type(f"Free chunks by type and order, last copy{where}", blocks)


def _free_by_type(title: str, blocks: Mapping[str, Any]) -> Table:
    """A row a zone and type that has free chunks, a column an order."""
    names, cells = [], []
    for zone in blocks["zones"]:
        stopped = {(name, order) for name, order in zone["stopped"]}
        for name, counts in zone["free"].items():
            if any(counts):
                names.append((_name(zone), name.lower()))
                cells.append([f">={n}" if (name, o) in stopped else str(n) for o, n in enumerate(counts)])
    return _fitting(title, ("node, zone", "type"), names, cells)


def _counters(title: str, counters: Mapping[str, Any]) -> Table:
    """A row a counter that is not 0."""
    alone = counters["since"] == "boot"
    rates = counters["per_hour"]
    table = _table(title, ("counter",), ("since boot",) if alone else ("rose by", "an hour"))
    for name, one in counters["counters"].items():
        if one["count"]:
            row = (
                (f"{one['count']:,}",)
                if alone
                else (f"{one['count']:,}", f"{rates[name]:,.0f}" if rates else "-")
            )
            table.add_row(name, *row)
    return table
