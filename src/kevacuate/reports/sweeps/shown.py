# SPDX-License-Identifier: GPL-2.0-or-later
"""What a sweep's results say: tables, sentences and JSON."""

from __future__ import annotations

import shlex
from typing import Any

from rich.table import Table
from rich.text import Text

from kevacuate.measure.deciding import DECIDING
from kevacuate.measure.permutation import LEVEL, Direction
from kevacuate.measure.tuned import COSTLY, HARMS, HELPS, NO_EFFECT, TRADES, UNCHANGED
from kevacuate.percent import percent
from kevacuate.reports.comparison.group_rows import change
from kevacuate.reports.comparison.rows import row_of
from kevacuate.reports.plain import plain_table
from kevacuate.reports.tune import HEADS, judged_cell, paid_words
from kevacuate.sweeps.columns import START
from kevacuate.sweeps.shown import Context, Setting, Shown

ORDER = ("base", HELPS, COSTLY, TRADES, NO_EFFECT, UNCHANGED, HARMS)
"""In which order settings are told."""

MOST_SHOWN = 12
"""Settings of a context that are shown; all are in the JSON and on the page."""

LEAST_SHARE = 0.01
"""Parts that explain less are not shown."""


def ordered(shown: Shown, context: Context) -> list[Setting]:
    """The settings of a context, the base first, then by verdict; of one verdict the greatest benefit first."""
    sign = -1.0 if row_of(shown.benefit).direction is Direction.HIGHER else 1.0

    def rank(one: Setting) -> tuple[int, float, str]:
        return ORDER.index(one.tried.verdict), sign * (one.benefit or 0.0), one.policy

    return sorted(context.settings, key=rank)


def replay_line(shown: Shown, context: Context, setting: Setting, seed: int) -> str:
    """The command that replays a cell again."""
    path = shown.paths.get(context.digest, context.demand)
    words = ["kevacuate", "replay", path]
    if START in context.conditions:
        name, _, digits = context.conditions[START].rpartition("@")
        at = next((place for digest, place in shown.paths.items() if digest.startswith(digits)), name)
        words += ["--start", at]
    words += ["--policy", setting.policy, "--seed", str(seed)]
    loop = context.replay.get("loop", "auto")
    words += ["--loop", loop] if loop != "auto" else []
    words += ["--despite-losses"] if context.replay.get("despite_losses") else []
    return shlex.join(words)


def context_table(shown: Shown, context: Context) -> Table:
    """The settings of a context: verdict, changes of the rows that decide, what is paid, benefit and cost."""
    rows = [row for row in DECIDING if any(row == one.id for s in context.settings for one in s.tried.rows)]
    heads = ["setting", "the model says", *(HEADS[row] for row in rows), "paid", "benefit", "cost", "front"]
    numbers = [*(HEADS[row] for row in rows), "benefit", "cost"]
    others = len(context.settings) - 1
    title = f"{context.name}: {others:,} setting{'' if others == 1 else 's'} against {context.base}"
    table = plain_table(title, heads, numbers, whole=numbers)
    told = told_apart(shown, context)
    for one, alike in told[:MOST_SHOWN]:
        cells = {row.id: judged_cell(row) for row in one.tried.rows}
        more = f" (and {alike:,} more with these figures)" if alike else ""
        table.add_row(
            f"{one.policy}{more}",
            one.tried.verdict,
            *(cells.get(row, Text()) for row in rows),
            paid_words(one.tried),
            number(one.benefit),
            number(one.cost),
            "*" if one.on_front else "",
        )
    if len(told) > MOST_SHOWN:
        table.caption = f"{len(told) - MOST_SHOWN:,} more are in the JSON and on the page."
    return table


def told_apart(shown: Shown, context: Context) -> list[tuple[Setting, int]]:
    """The settings in order, each with how many others follow that have the same figures."""
    found: dict[object, list[Setting]] = {}
    for one in ordered(shown, context):
        figures = tuple((row.id, row.mean) for row in (*one.tried.rows, *one.tried.costs))
        key = (one.tried.verdict, figures, one.benefit, one.cost)
        found.setdefault(key, []).append(one)
    return [(group[0], len(group) - 1) for group in found.values()]


def number(value: float | None) -> str:
    """A mean, with four figures."""
    return "" if value is None else f"{value:,.4g}" if abs(value) < 10_000 else f"{value:,.0f}"


def explained_table(shown: Shown) -> Table | None:
    """What knobs explain; None where nothing is to be told."""
    told = [one for one in shown.explained if one.share >= LEAST_SHARE]
    if not told:
        return None
    heads = ["demand", "policy", "row", "knobs", "explain", "by chance (q)"]
    table = plain_table("What explains the variation", heads, ["explain", "by chance (q)"], whole=heads[3:])
    for one in told:
        q = "" if one.q is None else "under 0.001" if one.q < 0.001 else f"{one.q:.3f}"
        table.add_row(one.demand, one.policy, HEADS[one.row], " x ".join(one.knobs), percent(one.share, 1), q)
    return table


def shown_words(shown: Shown) -> list[str]:
    """What came of it, in sentences."""
    settings = sum(len(context.settings) - 1 for context in shown.contexts)
    helping = [
        (context, one)
        for context in shown.contexts
        for one in context.settings
        if one.tried.verdict in (HELPS, COSTLY)
    ]
    said = [f"{shown.cells:,} cells, {len(shown.contexts):,} contexts, {settings:,} settings against a base."]
    if shown.refused:
        was = "cell was" if shown.refused == 1 else "cells were"
        said.append(f"{shown.refused:,} {was} refused, and count nowhere.")
    if helping:
        context, best = max(helping, key=lambda pair: _standing_out(pair[1]))
        said.append(
            f"The model says that {len(helping):,} settings help, the clearest {best.policy} on {context.name}: {_changes(best)}."
        )
    elif settings:
        said.append("The model shows no setting to help.")
    if shown.tests:
        said.append(
            f"{shown.tests:,} rows were tested; of the starred ones at most {percent(LEVEL)} are false on average."
        )
        said.append(
            "The largest of many changes looks larger than it is: kevacuate tune tests a few settings with fresh seeds."
        )
    said.append(f"The front weighs {row_words(shown.benefit)} (benefit) against {cost_words(shown)} (cost).")
    if shown.incomplete:
        said.append(f"Nothing is explained where cells are missing: {', '.join(shown.incomplete)}.")
    return [*said, "All this is said of the model; booted kernels may differ."]


def row_words(name: str) -> str:
    """A row with its section."""
    row = row_of(name)
    return f"{row.section}: {row.label}"


def cost_words(shown: Shown) -> str:
    """What the front takes for the cost."""
    return " + ".join(row_words(name) for name in shown.cost)


def _standing_out(setting: Setting) -> float:
    """The largest relative change of a row that is better."""
    return max(abs(row.change or 0.0) for row in setting.tried.rows if row.judged == "better")


def _changes(setting: Setting) -> str:
    """The rows that are better."""
    better = (row for row in setting.tried.rows if row.judged == "better")
    return ", ".join(f"{HEADS[row.id]} {change(row.base, row.mean)}" for row in better)


def shown_json(shown: Shown) -> dict[str, Any]:
    """Everything, as plain JSON values; a setting has the command that replays its first cell."""
    return {
        "store": str(shown.store),
        "cells": shown.cells,
        "refused": shown.refused,
        "errors": shown.errors,
        "level": LEVEL,
        "tests": shown.tests,
        "front": {"benefit": shown.benefit, "cost": list(shown.cost)},
        "contexts": [
            {
                "demand": context.demand,
                "demand_digest": context.digest,
                "conditions": context.conditions,
                "model": context.model,
                "base": context.base,
                "settings": [
                    {
                        **one.tried.to_json(),
                        "cells": len(one.seeds),
                        "benefit": one.benefit,
                        "cost": one.cost,
                        "on_front": one.on_front,
                        "replay": replay_line(shown, context, one, one.seeds[0]),
                    }
                    for one in ordered(shown, context)
                ],
            }
            for context in shown.contexts
        ],
        "explained": [vars(one) for one in shown.explained],
        "incomplete": list(shown.incomplete),
        "conclusion": shown_words(shown),
    }
