# SPDX-License-Identifier: GPL-2.0-or-later
"""Claims and steals between migratetypes, as a matrix of numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from kevacuate.errors import KevacuateError, instance
from kevacuate.measure import Comparison, Run
from kevacuate.reports.plot.style import INK, SOFT, axes, pyplot, style, typical_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Kind = Literal["steal", "claim", "claim_block"]
KINDS: dict[str, str] = {
    "steal": "steals",
    "claim": "claims below a pageblock",
    "claim_block": "whole-block claims",
}
TYPES = ("unmovable", "movable", "reclaimable")


def flow_matrix(run: Run, kind: str) -> npt.NDArray[np.int64]:
    """int64[3, 3] mm_page_alloc_extfrag events of a kind: row the type taken from, column the type asked for (:data:`TYPES`).

    Raises
    ------
    KevacuateError
        There is no such kind.
    """
    if kind not in KINDS:
        raise KevacuateError(
            f"There is no kind of extfrag event {kind!r}: the known ones are {', '.join(KINDS)}."
        )
    table = np.zeros((3, 3), np.int64)
    for event in instance(run, Run, "replay").metrics["extfrag_events"]:
        if event["kind"] == kind and event["for"] in TYPES and event["from"] in TYPES:
            table[TYPES.index(event["from"]), TYPES.index(event["for"])] += event["events"]
    return table


def flow(run: Run, kind: Kind = "claim", *, most: int | None = None, ax: Axes | None = None) -> Axes:
    """Who took from whom: a matrix, its shade growing with the square root of the number.

    Parameters
    ----------
    run : Run
        The run.
    kind : "steal", "claim" or "claim_block"
        Which events.
    most : int, optional
        The number that has the darkest shade; by default this matrix's largest.
    ax : Axes, optional
        Draw there instead of in a new figure.

    Raises
    ------
    KevacuateError
        There is no such kind, or matplotlib is not installed.
    """
    table = flow_matrix(run, kind)
    top = max(most if most is not None else int(table.max()), 1)
    with style():
        where = axes(ax, (3.4, 2.8))
        where.imshow(np.sqrt(table), cmap="Blues", vmin=0, vmax=1.25 * np.sqrt(top))
        for row in range(3):
            for column in range(3):
                if row == column:
                    where.text(column, row, "·", ha="center", va="center", color=SOFT)
                    continue
                dark = table[row, column] > 0.45 * top
                text = f"{table[row, column]:,}"
                where.text(column, row, text, ha="center", va="center", color="white" if dark else INK)
        where.set_xticks(range(3), TYPES)
        where.set_yticks(range(3), TYPES)
        where.tick_params(length=0)
        where.set_xlabel("asked for")
        where.set_ylabel("taken from")
        where.set_title(f"{run.policy}\n{KINDS[kind]}: {int(table.sum()):,}")
        for side in where.spines.values():
            side.set_visible(False)
    return where


def flows(what: Run | Comparison) -> Figure:
    """All kinds of events (rows) of all runs (columns); a row has one scale of shades.

    Raises
    ------
    KevacuateError
        matplotlib is not installed.
    """
    runs = typical_of(what)
    with style():
        size = (3.3 * len(runs) + 0.6, 2.9 * len(KINDS))
        figure, panels = pyplot().subplots(
            len(KINDS), len(runs), figsize=size, squeeze=False, layout="constrained"
        )
        for row, kind in enumerate(KINDS):
            most = max(int(flow_matrix(run, kind).max()) for run in runs)
            for column, run in enumerate(runs):
                panel = flow(run, kind, most=most, ax=panels[row][column])  # type: ignore[arg-type]
                if column:
                    panel.set_ylabel("")
                    panel.set_yticklabels([])
                if row + 1 < len(KINDS):
                    panel.set_xlabel("")
    made: Figure = figure
    return made
