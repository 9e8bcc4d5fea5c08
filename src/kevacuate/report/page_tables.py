# SPDX-License-Identifier: GPL-2.0-or-later
"""The page's tables as values for its template: figures, flows between types, parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from kevacuate.measure import Comparison, Run, prices
from kevacuate.measure.groups import LEVEL, mean, permutation_p, spread
from kevacuate.mm.constants import MIGRATE_NAMES
from kevacuate.report.page_text import visible
from kevacuate.report.rows import ROWS, Row
from kevacuate.report.tables import change, number

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


def by_policy(comparison: Comparison) -> dict[str, list[Run]]:
    """The runs of each policy, in the order in which the policies first come."""
    groups: dict[str, list[Run]] = {}
    for run in comparison.runs:
        groups.setdefault(run.policy, []).append(run)
    return groups


def _cell(row: Row, base: list[float], values: list[float], first: bool) -> Cell:
    """One figure of one policy: over several runs mean, standard deviation, and p against the baseline."""
    middle, was, varies = mean(values), mean(base), spread(values)
    text = number(middle) if varies is None else f"{number(middle)} ± {number(varies)}"
    note = "" if varies is None else f"{len(values)} runs, {number(min(values))} to {number(max(values))}"
    if first:
        return Cell(text, note=note)
    moved = (middle > was) - (middle < was)
    p = permutation_p(base, values) if min(len(base), len(values)) > 1 else None
    if p is not None:
        note += f"; p = {p:.2g}"
    sure = p is None or p <= LEVEL
    verdict = ("better" if moved == row.better else "worse") if row.better and moved and sure else ""
    return Cell(text, change(was, middle), verdict, note)


def figure_sections(comparison: Comparison) -> list[dict[str, Any]]:
    """The table of figures: sections of rows of one cell per policy. A row that some run lacks is left out."""
    groups = list(by_policy(comparison).values())
    sections: list[dict[str, Any]] = []
    for row in ROWS:
        try:
            values = [[row.value(run) for run in runs] for runs in groups]
        except (KeyError, IndexError, TypeError):
            continue
        cells = [_cell(row, values[0], own, i == 0) for i, own in enumerate(values)]
        if not sections or sections[-1]["title"] != row.section:
            sections.append({"title": row.section, "rows": []})
        sections[-1]["rows"].append({"name": row.name, "unit": row.unit, "cells": cells})
    return sections


PRICES = (
    ("huge_pages_per_worker_second", "huge pages gained per worker second", "1/s"),
    ("huge_pages_per_dropped_page", "huge pages gained per page dropped", "1/page"),
    ("movable_only_per_worker_second", "2 MiB regions gained per worker second", "1/s"),
    ("movable_only_per_dropped_page", "2 MiB regions gained per page dropped", "1/page"),
)


def price_section(comparison: Comparison) -> dict[str, Any] | None:
    """What the benefit cost; None where there is one policy, or several runs of one."""
    groups = list(by_policy(comparison).values())
    if len(groups) < 2 or any(len(runs) > 1 for runs in groups):
        return None
    rows = []
    for key, name, unit in PRICES:
        paid = [prices(comparison.baseline, runs[0])[key] for runs in groups]
        cells = [Cell("–" if value is None else number(value)) for value in paid]
        rows.append({"name": name, "unit": unit, "cells": cells})
    return {"title": "Gained for what was paid", "rows": rows}


def flow_tables(policies: Sequence[str], events: Sequence[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Per kind of event a table: rows *from, to*, cells of events per policy, and the same for every order.

    *events* are lists as :func:`kevacuate.measure.metrics.extfrag_events` makes them, one per policy.
    """
    tables = []
    for kind, title in FLOW_TITLES.items():
        counts: dict[tuple[str, str, int], list[int]] = {}
        for i, own in enumerate(events):
            for e in own:
                if e["kind"] == kind:
                    key = (str(e["from"]), str(e["for"]), int(e["order"]))
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
    ("At the end", "mixed pageblocks"),
    ("At the end", "2 MiB regions free or movable"),
    ("External fragmentation events", "steals from movable"),
    ("Cost", "migrated"),
)


def key_figures(comparison: Comparison) -> list[dict[str, Any]]:
    """Four figures for the top of the page, by policy: over several runs the mean."""
    rows = {(s["title"], row["name"]): row for s in figure_sections(comparison) for row in s["rows"]}
    return [{"section": key[0], **rows[key]} for key in KEY_FIGURES if key in rows]


def flattened(value: Any, name: str = "") -> list[tuple[str, str]]:
    """Nested JSON values as lines of (dotted name, text)."""
    if isinstance(value, dict):
        return [
            line
            for key in value
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
