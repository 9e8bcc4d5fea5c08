# SPDX-License-Identifier: GPL-2.0-or-later
"""The table of results: a row a cell, a column a figure, named by the id of its row in a comparison."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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


def _knob_names(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Every knob that some row turns, by the alphabet."""
    return sorted({name for row in rows for name in row["knobs"]})


def _figure_names(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """The figures' columns: those of every cell, then policies' own by the alphabet."""
    known = [row.id for row in FIGURES]
    return known + sorted({name for row in rows for name in row["figures"]} - set(known))


def table_of(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """The table of results, sorted by :data:`ORDER`: equal rows give an equal table, in whatever order they come."""
    ordered = sorted(rows, key=lambda row: tuple(row[name] for name in ORDER))
    columns: dict[str, pa.Array] = {
        name: pa.array([row[name] for row in ordered], kind) for name, kind in FIRST
    }
    for name in _knob_names(ordered):
        columns[KNOB + name] = pa.array([row["knobs"].get(name) for row in ordered], pa.string())
    for name in _figure_names(ordered):
        columns[name] = pa.array([row["figures"].get(name) for row in ordered], pa.float64())
    return pa.table(columns)


def rows_of(table: pa.Table) -> list[dict[str, Any]]:
    """The inverse of :func:`table_of`."""
    first = {name for name, _ in FIRST}
    knobs = [name for name in table.column_names if name.startswith(KNOB)]
    figures = [name for name in table.column_names if name not in first and name not in knobs]
    columns = {name: table[name].to_pylist() for name in table.column_names}
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
    """The table of who made what, by cell."""
    ordered = sorted(rows, key=lambda row: str(row["cell"]))
    return pa.table({name: pa.array([row.get(name) for row in ordered], kind) for name, kind in MADE})
