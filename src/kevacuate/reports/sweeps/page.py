# SPDX-License-Identifier: GPL-2.0-or-later
"""A sweep's page: heat maps, settings with their verdicts, fronts; one HTML file that opens offline.

It loads nothing, as the page of a comparison (:mod:`kevacuate.reports.page.page`). Every value leads to the command that replays
its cell.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from kevacuate._version import __version__
from kevacuate.measure.deciding import COSTS, DECIDING
from kevacuate.percent import percent
from kevacuate.reports.comparison.group_rows import change
from kevacuate.reports.comparison.rows import row_of
from kevacuate.reports.escape import script_json, visible
from kevacuate.reports.page.page import content_policy, write_page
from kevacuate.reports.sweeps.shown import (
    LEAST_SHARE,
    cost_words,
    number,
    ordered,
    replay_line,
    row_words,
    shown_words,
)
from kevacuate.reports.tune import HEADS, paid_words
from kevacuate.sweeps.columns import KNOB, START
from kevacuate.sweeps.shown import Context, Setting, Shown

DIGITS = 6
"""Significant digits of a value on the page."""


def _file(*names: str) -> str:
    """The text of one of the page's files."""
    return files("kevacuate").joinpath("reports", *names).read_text(encoding="utf-8")


def _rounded(value: float | None) -> float | None:
    """A value as the page has it."""
    return None if value is None else float(f"{value:.{DIGITS}g}")


def _map_rows(shown: Shown) -> list[str]:
    """The rows that the heat maps show: those that decide and the costs, where some cell has them and they vary."""
    found = []
    for name in (*DECIDING, *COSTS):
        values = {value for value in shown.table[name].to_pylist() if value is not None}
        if len(values) > 1:
            found.append(name)
    return found


def sweep_data(shown: Shown) -> dict[str, Any]:
    """What the page's script reads: every demand's cells by setting, and each context's front."""
    rows = _map_rows(shown)
    columns = {name: shown.table[name].to_pylist() for name in (*rows, "policy", "code", "demand_digest")}
    columns |= {name: shown.table[name].to_pylist() for name in ("base", "seed", "demand", "model", "replay")}
    knobs = [name for name in shown.table.column_names if name.startswith(KNOB)]
    columns |= {name: shown.table[name].to_pylist() for name in knobs}
    demands: dict[tuple[str, ...], dict[str, Any]] = {}
    settings: dict[tuple[str, ...], dict[str, Any]] = {}
    names = {(c.digest, c.model, c.conditions.get(START)): c for c in shown.contexts}
    starts = columns.get(KNOB + START, [None] * shown.table.num_rows)
    for i in range(shown.table.num_rows):
        place = (columns["demand_digest"][i], columns["model"][i], columns["replay"][i])
        demand = demands.setdefault(place, {"name": visible(columns["demand"][i]), "settings": []})
        key = (*place, columns["policy"][i], columns["code"][i], starts[i])
        if key not in settings:
            turned = {
                k.removeprefix(KNOB): columns[k][i] if columns[k][i] is not None else "default" for k in knobs
            }
            settings[key] = {
                "policy": columns["policy"][i],
                "at": {"policy": columns["base"][i], **turned},
                "line": _line(shown, names[place[0], place[1], starts[i]], columns["policy"][i]),
                "seeds": [],
                "values": [[] for _ in rows],
            }
            demand["settings"].append(settings[key])
        settings[key]["seeds"].append(columns["seed"][i])
        for values, name in zip(settings[key]["values"], rows, strict=True):
            values.append(_rounded(columns[name][i]))
    return {
        "axes": ["policy", *(name.removeprefix(KNOB) for name in knobs)],
        "rows": [_row_data(name) for name in rows],
        "demands": list(demands.values()),
        "fronts": [_front_data(context) for context in shown.contexts],
        "benefit": _row_data(shown.benefit),
        "cost": cost_words(shown),
    }


def _row_data(name: str) -> dict[str, str]:
    """A row, as the script needs it."""
    row = row_of(name)
    return {
        "id": name,
        "label": row_words(name),
        "unit": row.unit,
        "better": str(row.direction),
    }


def _line(shown: Shown, context: Context, policy: str) -> str:
    """The command that replays a setting, but for the seed."""
    stand_in = Setting(policy, context.settings[0].tried, (), None, None, on_front=False)
    return replay_line(shown, context, stand_in, 0).removesuffix(" 0")


def _front_data(context: Context) -> dict[str, Any]:
    """The points of a context's front."""
    return {
        "name": visible(context.name),
        "points": [
            {
                "policy": one.policy,
                "cost": _rounded(one.cost),
                "benefit": _rounded(one.benefit),
                "front": one.on_front,
            }
            for one in context.settings
            if one.cost is not None and one.benefit is not None
        ],
    }


def _context_rows(shown: Shown, context: Context) -> dict[str, Any]:
    """A context's table."""
    rows = [row for row in DECIDING if any(row == one.id for s in context.settings for one in s.tried.rows)]
    made = []
    for one in ordered(shown, context):
        by = {row.id: row for row in one.tried.rows}
        cells = [
            {"text": change(by[row].base, by[row].mean), "judged": by[row].judged} if row in by else None
            for row in rows
        ]
        made.append(
            {
                "policy": visible(one.policy),
                "verdict": one.tried.verdict,
                "cells": cells,
                "paid": paid_words(one.tried),
                "benefit": number(one.benefit),
                "cost": number(one.cost),
                "front": one.on_front,
                "line": visible(replay_line(shown, context, one, one.seeds[0])),
            }
        )
    return {
        "name": visible(context.name),
        "base": visible(context.base),
        "heads": [HEADS[row] for row in rows],
        "rows": made,
    }


def sweep_page(shown: Shown) -> str:
    """The page's text."""
    styles = [_file("page", "page.css"), _file("sweeps", "sweep.css")]
    scripts = [_file("sweeps", "sweep.js")]
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    explained = [
        {
            "demand": visible(one.demand),
            "policy": visible(one.policy),
            "row": HEADS[one.row],
            "knobs": " × ".join(one.knobs),
            "share": percent(one.share, 1),
            "q": "" if one.q is None else f"{one.q:.3f}",
        }
        for one in shown.explained
        if one.share >= LEAST_SHARE
    ]
    return environment.from_string(_file("sweeps", "sweep.html")).render(
        title=visible(shown.store.name),
        version=__version__,
        policy_of_content=Markup(content_policy(scripts, styles)),
        sheets=[Markup(text) for text in styles],
        scripts=[Markup(text) for text in scripts],
        data=Markup(script_json(sweep_data(shown))),
        words=[visible(text) for text in shown_words(shown)],
        contexts=[_context_rows(shown, context) for context in shown.contexts],
        explained=explained,
        errors=[{"text": visible(text), "count": count} for text, count in shown.errors.items()],
        rows=[_row_data(name) for name in _map_rows(shown)],
    )


def write_sweep_page(shown: Shown, path: Path) -> None:
    """Write the page; it appears under its name only when it is complete.

    Raises
    ------
    KevacuateError
        It cannot be written.
    """
    write_page(path, sweep_page(shown))
