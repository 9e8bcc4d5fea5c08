# SPDX-License-Identifier: GPL-2.0-or-later
"""A comparison as bars: one small panel a figure, one bar a policy, with the spread where a policy was run several times."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kevacuate.errors import KevacuateError
from kevacuate.measure import Comparison, Run
from kevacuate.measure.permutation import Direction, mean
from kevacuate.measure.permutation import spread as spread_of
from kevacuate.measure.rows import Row
from kevacuate.measure.table import AT_THE_END, OVER_THE_RUN
from kevacuate.reports.comparison.group_rows import mean_text
from kevacuate.reports.comparison.rows import row_of, value_of
from kevacuate.reports.plot.style import INK, LINES, axes, pyplot, runs_of, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DEFAULT = (
    "end.mixed_blocks",
    "end.polluted_blocks",
    "end.regions_2m_movable_only",
    "extfrag.claims_from_movable",
    "extfrag.steals_from_movable",
    "cost.worker_ms",
)
"""Ids of the rows that :func:`bars` draws."""

_BETTER = {
    Direction.LOWER: ", less is better",
    Direction.NEITHER: "",
    Direction.HIGHER: ", more is better",
}
_WHEN = {AT_THE_END: ", at the end", OVER_THE_RUN: ", over the run (mean of samples)"}


def _drawn(row: Row, run: Run) -> float:
    """A run's value, which there must be."""
    value = value_of(row, run)
    if value is None:
        raise KevacuateError(
            f"The row {row.id} cannot be drawn: a run of {run.policy!r} has no value of it; draw another row."
        )
    return value


def bar(
    what: Comparison | Sequence[Run],
    row_id: str = "end.mixed_blocks",
    *,
    ax: Axes | None = None,
) -> Axes:
    """One row of a comparison's table as bars, by its id.

    A bar is the mean of the policy's runs; where there are several, dots are the runs and the line is one standard deviation
    (n - 1) to either side.

    Raises
    ------
    KevacuateError
        There is no such row, a run has no value of it, or matplotlib is not installed.
    """
    row = row_of(row_id)
    groups = Comparison(tuple(runs_of(what)), {}).groups
    values = {policy: [_drawn(row, run) for run in runs] for policy, runs in groups.items()}
    with style():
        where = axes(ax, (4.2, 0.6 + 0.45 * len(values)))
        for i, many in enumerate(values.values()):
            middle, spread = mean(many), spread_of(many) or 0.0
            where.barh(i, middle, height=0.62, color=LINES[i % len(LINES)], alpha=0.85)
            if len(many) > 1:
                where.errorbar(middle, i, xerr=spread, color=INK, capsize=3, linewidth=1)
                where.scatter(
                    many, [i] * len(many), s=9, color="white", edgecolors=INK, linewidths=0.6, zorder=3
                )
            text = mean_text(middle, spread_of(many))
            where.annotate(
                text,
                (max(middle + spread, *many, 0), i),
                xytext=(5, 0),
                textcoords="offset points",
                va="center",
            )
        where.set_yticks(range(len(values)), [policy.replace(",", ",\n") for policy in values])
        where.invert_yaxis()
        where.set_xlim(left=0)
        where.margins(x=0.28)
        where.tick_params(axis="y", length=0)
        where.set_title(row.label)
        where.set_xlabel(f"{row.unit}{_WHEN.get(row.section, '')}{_BETTER[row.direction]}")
    return where


def bars(what: Comparison | Sequence[Run], rows: Sequence[str] = DEFAULT, *, columns: int = 3) -> Figure:
    """Several rows, by their ids, as small panels, each on its own scale.

    Raises
    ------
    KevacuateError
        As :func:`bar`.
    """
    runs = runs_of(what)
    policies = len(dict.fromkeys(run.policy for run in runs))
    lines = -(-len(rows) // columns)
    with style():
        figure, panels = pyplot().subplots(
            lines,
            columns,
            figsize=(3.9 * columns, (0.9 + 0.42 * policies) * lines),
            squeeze=False,
            layout="constrained",
        )
        flat = panels.ravel().tolist()
        for i, row_id in enumerate(rows):
            panel = bar(runs, row_id, ax=flat[i])
            if i % columns:
                panel.set_yticklabels([])
        for panel in flat[len(rows) :]:
            panel.set_visible(False)
    made: Figure = figure
    return made
