# SPDX-License-Identifier: GPL-2.0-or-later
"""The table of results: a row a cell, a column a figure, named by the id of its row in a comparison."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from kevacuate.measure.rows import Row
from kevacuate.measure.table import FIRST_ROWS, OUTCOME_ROWS
from kevacuate.policy import POLICIES

FIGURES: tuple[Row, ...] = (
    *FIRST_ROWS,
    *(row for kind in POLICIES.values() for row in kind.rows),
    *OUTCOME_ROWS,
)
"""Figures of every cell, in the order of a comparison; further ones are ``policy.NAME``, counted by policies of hooks."""

FIRST: tuple[tuple[str, pa.DataType], ...] = (
    ("cell", pa.string()),
    ("demand", pa.string()),
    ("policy", pa.string()),
    ("seed", pa.int64()),
    ("error", pa.string()),
    ("demand_digest", pa.string()),
    ("kernel", pa.string()),
    ("base", pa.string()),
    ("code", pa.string()),
    ("replay", pa.string()),
    ("model", pa.string()),
    ("loop", pa.string()),
    ("final_state_digest", pa.string()),
)
"""What every row begins with. ``error`` is null where the replay succeeded; ``replay`` is JSON."""

_FIRST = frozenset(name for name, _ in FIRST)

START = "start"
"""The column of start states, which stands among the knobs: the state's name and the first digits of its digest."""

KNOB = "knob."
"""What the name of a knob's column begins with; null: the knob was not turned."""

MADE: tuple[tuple[str, pa.DataType], ...] = (
    ("cell", pa.string()),
    ("hands", pa.string()),
    ("host", pa.string()),
    ("process", pa.int64()),
    ("begun", pa.string()),
    ("seconds", pa.float64()),
    ("cpu_seconds", pa.float64()),
    ("overhead_cpu_seconds", pa.float64()),
    ("kevacuate", pa.string()),
    ("python", pa.string()),
    ("numba", pa.string()),
    ("numpy", pa.string()),
)
"""The table of who made what: by which hands, where, when (UTC), and what it took."""

ORDER = ("demand_digest", "model", "replay", "base", "policy", "code", "seed", "cell")
"""What the rows are sorted by: nothing of who made them."""


def figures_of(row: Mapping[str, Any]) -> dict[str, float | None]:
    """The figures of a result."""
    values: dict[str, float | None] = row["figures"]
    return values


def order_of(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """What a row is sorted by (:data:`ORDER`)."""
    return tuple(row[name] for name in ORDER)


@dataclass
class Names:
    """Knobs and figures that a table of results has columns for.

    Attributes
    ----------
    knobs : set of str
        Those that some row turns.
    own : set of str
        Figures besides :data:`FIGURES`, which every table has.
    """

    knobs: set[str] = field(default_factory=set)
    own: set[str] = field(default_factory=set)

    def add(self, row: Mapping[str, Any]) -> None:
        """Have columns for a row."""
        self.knobs.update(row["knobs"])
        self.own.update(row["figures"])

    def add_columns(self, columns: Iterable[str]) -> None:
        """Have a table's columns."""
        for name in columns:
            if name.startswith(KNOB):
                self.knobs.add(name.removeprefix(KNOB))
            elif name not in _FIRST:
                self.own.add(name)

    @property
    def figures(self) -> list[str]:
        """The figures' columns: those of every cell, then policies' own by the alphabet."""
        known = [row.id for row in FIGURES]
        return known + sorted(self.own - set(known))

    @property
    def schema(self) -> pa.Schema:
        """Columns and their types."""
        knobs = [(KNOB + name, pa.string()) for name in sorted(self.knobs)]
        return pa.schema([*FIRST, *knobs, *((name, pa.float64()) for name in self.figures)])

    def table(self, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
        """The rows as a table of these columns, in their order."""
        columns = [[row[name] for row in rows] for name, _ in FIRST]
        columns += [[row["knobs"].get(name) for row in rows] for name in sorted(self.knobs)]
        columns += [[row["figures"].get(name) for row in rows] for name in self.figures]
        schema = self.schema
        arrays = [pa.array(values, kind) for values, kind in zip(columns, schema.types, strict=True)]
        return pa.Table.from_arrays(arrays, schema=schema)


def table_of(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """The table of results, sorted by :data:`ORDER`: equal rows give an equal table, in whatever order they come."""
    names = Names()
    for row in rows:
        names.add(row)
    return names.table(sorted(rows, key=order_of))


def rows_of(table: pa.Table | pa.RecordBatch) -> list[dict[str, Any]]:
    """The inverse of :func:`table_of`."""
    first = [name for name, _ in FIRST]
    knobs = [name for name in table.schema.names if name.startswith(KNOB)]
    figures = [name for name in table.schema.names if name not in _FIRST and name not in knobs]
    columns = {name: table[name].to_pylist() for name in table.schema.names}
    return [
        {
            **{name: columns[name][i] for name in first},
            "knobs": {
                name.removeprefix(KNOB): columns[name][i] for name in knobs if columns[name][i] is not None
            },
            "figures": {name: columns[name][i] for name in figures if columns[name][i] is not None},
        }
        for i in range(table.num_rows)
    ]


def made_table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """The table of who made what, in the rows' order."""
    return pa.table({name: pa.array([row.get(name) for row in rows], kind) for name, kind in MADE})
