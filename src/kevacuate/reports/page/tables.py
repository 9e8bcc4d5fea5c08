# SPDX-License-Identifier: GPL-2.0-or-later
"""The page's tables as values for its template: figures, flows between types, parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from kevacuate.measure import Comparison, Run
from kevacuate.measure.permutation import UNKNOWN
from kevacuate.measure.rows import Row
from kevacuate.mm.constants import MIGRATE_NAMES
from kevacuate.reports.comparison.group_rows import (
    GroupRow,
    by_id,
    change,
    mean_text,
    moved,
    number,
    p_text,
    told_apart,
    verdict_text,
)
from kevacuate.reports.comparison.rows import comparison_rows, folded, price_rows
from kevacuate.reports.comparison.tables import marked
from kevacuate.reports.comparison.worth import loop_of
from kevacuate.reports.escape import visible

FLOW_TITLES = {
    "claim": "Pageblocks claimed: the block changes its type",
    "claim_block": "Whole free blocks claimed",
    "steal": "Pages stolen: the block keeps its type",
}


@dataclass(frozen=True)
class Cell:
    """A figure: its text, its change against the baseline, and whether that is ``better``, ``worse`` or neither."""

    text: str
    change: str = ""
    verdict: str = ""
    note: str = ""
    said: str = ""
    """What the runs say of the change, in words."""


def _cell(row: GroupRow[Row], group: int) -> Cell:
    """One figure of one policy: of several runs mean, standard deviation, range, and what they say against the baseline."""
    middle, varies = row.summary(group)
    values = [v for v in row.values[group] if v is not None]
    if middle is None:
        return Cell(UNKNOWN)
    note = "" if varies is None else f"{len(values)} runs, {number(min(values))} to {number(max(values))}"
    if not group:
        return Cell(mean_text(middle, varies), note=note)
    decision = row.decisions[group - 1]
    note = "; ".join(filter(None, (note, verdict_text(decision) if decision.p is not None else "")))
    sure = decision.p is None or told_apart(decision)
    verdict = row.row.direction.judged(decision.difference) if sure else ""
    p = p_text(decision).replace(" ", "\u00a0")
    said = f"{decision.verdict}, {p}" if decision.p is not None else ""
    return Cell(mean_text(middle, varies), moved(row, group), verdict, note, said)


def figure_sections(comparison: Comparison) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The table of figures: sections of rows of one cell per policy; and those of the rows that are 0 in every run."""
    loop = loop_of(comparison) if len(comparison.groups) > 1 else None
    shown, zeros = folded(comparison_rows(comparison))
    return _sections(shown, loop), _sections(zeros, loop)


def _sections(rows: Sequence[GroupRow[Row]], loop: str | None) -> list[dict[str, Any]]:
    """Rows under the headings of their sections."""
    sections: list[dict[str, Any]] = []
    for row in rows:
        if not sections or sections[-1]["title"] != row.row.section:
            sections.append({"title": row.row.section, "rows": []})
        sections[-1]["rows"].append(_figure_row(row, loop))
    return sections


def _figure_row(row: GroupRow[Row], loop: str | None = None) -> dict[str, Any]:
    """A row as the template takes it; where policies are compared in a *loop*, one that has not earned trust is marked."""
    found = [_cell(row, i) for i in range(len(row.values))]
    label = row.row.label if loop is None else marked(row.row, loop)
    return {"id": row.row.id, "label": label, "unit": row.row.unit, "cells": found}


def price_section(comparison: Comparison) -> dict[str, Any] | None:
    """What the benefit cost; None where nothing was paid, or nothing gained that several runs can tell from chance."""
    paid = price_rows(comparison)
    rows = [
        {
            "id": price.id,
            "label": price.label,
            "unit": price.unit,
            "cells": [Cell("–" if v is None else number(v)) for v in values],
        }
        for price, values in paid
    ]
    if all(value is None for _, values in paid for value in values):
        return None
    return {"title": "Gained for what was paid", "rows": rows}


def flow_tables(policies: Sequence[str], events: Sequence[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Per kind of event a table: rows *from, to*, cells of events per policy, and the same for every order.

    *events* are lists as :func:`kevacuate.measure.extfrag.extfrag_rows` makes them, one per policy.
    """
    tables = []
    for kind, title in FLOW_TITLES.items():
        counts: dict[tuple[str, str, int], list[int]] = {}
        for i, own in enumerate(events):
            for e in own:
                if e["kind"] == kind:
                    key = (str(e["from"]), str(e["for"]), int(e["order_taken"]))
                    counts.setdefault(key, [0] * len(policies))[i] += int(e["events"])
        pairs = sorted({key[:2] for key in counts}, key=_pair_order)
        rows = [_flow_row(pair, counts, len(policies)) for pair in pairs]
        most = max((max(row["counts"]) for row in rows), default=0)
        tables.append({"kind": kind, "title": title, "rows": rows, "most": most})
    return tables


def _pair_order(pair: tuple[str, str]) -> tuple[int, ...]:
    """Movable first: that is the flow this is about."""
    known = ("movable", *(name for name in MIGRATE_NAMES if name != "movable"))
    return tuple(known.index(name) if name in known else len(known) for name in pair)


def _flow_row(
    pair: tuple[str, str], counts: dict[tuple[str, str, int], list[int]], policies: int
) -> dict[str, Any]:
    """One pair of types: all events, and by order of the chunk that was found."""
    orders = sorted(order for source, wanted, order in counts if (source, wanted) == pair)
    by_order = [{"order": order, "cells": _flow_cells(counts[*pair, order])} for order in orders]
    total = [sum(counts[*pair, order][i] for order in orders) for i in range(policies)]
    return {
        "from": visible(pair[0]),
        "to": visible(pair[1]),
        "counts": total,
        "cells": _flow_cells(total),
        "orders": by_order,
    }


def _flow_cells(values: list[int]) -> list[Cell]:
    return [Cell(number(v), "" if i == 0 else change(values[0], v)) for i, v in enumerate(values)]


KEY_FIGURES = (
    "end.mixed_blocks",
    "end.regions_2m_movable_only",
    "extfrag.steals_from_movable",
    "cost.pages_migrated",
)


def key_figures(comparison: Comparison) -> list[dict[str, Any]]:
    """Four figures for the top of the page, by policy: over several runs the mean."""
    rows = by_id(comparison_rows(comparison))
    found = [rows[key] for key in KEY_FIGURES if key in rows]
    return [{"section": row.row.section, **_figure_row(row)} for row in found]


def flattened(value: Any, name: str = "") -> list[tuple[str, str]]:
    """Nested JSON values as lines of (dotted name, text), by name: a comparison and what was saved of it make one page."""
    if isinstance(value, dict):
        return [
            line
            for key in sorted(value, key=str)
            for line in flattened(value[key], f"{name}.{visible(key)}" if name else visible(key))
        ]
    if isinstance(value, list | tuple) and any(isinstance(v, dict | list | tuple) for v in value):
        return [line for i, v in enumerate(value) for line in flattened(v, f"{name}[{i}]")]
    if isinstance(value, list | tuple):
        return [(name, visible(", ".join(str(v) for v in value)))]
    return [(name, visible(value))]


def parameter_rows(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Parameters and provenance by name, one text per run; ``same`` where all runs have the same one."""
    tables = [dict(flattened(run.provenance)) for run in runs]
    names = list(dict.fromkeys(name for table in tables for name in table))
    rows = []
    for name in names:
        texts = [table.get(name, "–") for table in tables]
        rows.append({"name": name, "texts": texts, "same": all(a == b for a, b in pairwise(texts))})
    return rows
