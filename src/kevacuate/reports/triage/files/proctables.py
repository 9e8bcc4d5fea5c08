# SPDX-License-Identifier: GPL-2.0-or-later
"""Tables of copies of /proc files: free chunks and the unusable free index by order, pageblocks by type, counters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from kevacuate.reports.bars import sparkline

Machine = Mapping[str, Any]

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


def _table(title: str, words: tuple[str, ...], numbers: tuple[str, ...]) -> Table:
    """A table whose first columns are words and the others numbers."""
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in words:
        table.add_column(name, overflow="fold")
    for name in numbers:
        table.add_column(name, justify="right")
    return table


def _name(zone: Mapping[str, Any]) -> str:
    return f"{zone['node']} {zone['zone']}"


def _orders(title: str, free: Mapping[str, Any], what: str) -> Table:
    """A row a zone, a column an order."""
    orders = max(zone["orders"] for zone in free["zones"])
    table = _table(title, ("node, zone",), tuple(map(str, range(orders))))
    for zone in free["zones"]:
        values = zone["last"][what]
        shown = (f"{n / 10:.0f}" if what == "unusable_free_index" else str(n) for n in values)
        table.add_row(_name(zone), *shown)
    return table


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
    orders = max((len(counts) for zone in blocks["zones"] for counts in zone["free"].values()), default=0)
    if orders:
        table = _table(
            f"Free chunks by type and order, last copy{where}",
            ("node, zone", "type"),
            tuple(map(str, range(orders))),
        )
        for zone in blocks["zones"]:
            stopped = {(name, order) for name, order in zone["stopped"]}
            for name, counts in zone["free"].items():
                if any(counts):
                    shown = (f">={n}" if (name, o) in stopped else str(n) for o, n in enumerate(counts))
                    table.add_row(_name(zone), name.lower(), *shown)
        yield table


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
