# SPDX-License-Identifier: GPL-2.0-or-later
"""Time series as figures: one axis of virtual time, a line for each policy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from kevacuate.errors import KevacuateError
from kevacuate.measure import Comparison, Run
from kevacuate.reports.plot.style import RULE, axes, line_of, pyplot, style, typical_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Values = Callable[[Run], "np.ndarray[Any, Any]"]


class Series(NamedTuple):
    """A series that can be drawn: title, unit, how to get it from a run."""

    title: str
    unit: str
    values: Values


def _plain(name: str, scale: float = 1) -> Values:
    return lambda run: np.asarray(run.series[name], float) * scale


def _at_order(name: str) -> Values:
    return lambda run: np.asarray([row[min(9, len(row) - 1)] for row in run.series[name]], float) / 1000


SERIES: dict[str, Series] = {
    "mixed": Series("mixed pageblocks", "blocks", _plain("mixed_blocks")),
    "polluted": Series("polluted pageblocks", "blocks", _plain("polluted_blocks")),
    "unusable": Series("unusable free index, order 9", "share", _at_order("unusable_free_index")),
    "fragmentation": Series(
        "fragmentation index, order 9", "-1: a chunk is free", _at_order("fragmentation_index")
    ),
    "free": Series("free memory", "MiB", _plain("free_pages", 4 / 1024)),
    "huge": Series("huge pages free at once", "pages", _plain("huge_pages_free")),
    "steals": Series("steals so far", "events", _plain("steals")),
    "claims": Series("claims below a pageblock so far", "events", _plain("claims")),
    "claims-whole": Series("whole-block claims so far", "events", _plain("claims_whole_block")),
    "queued": Series("evacuations queued so far", "blocks", _plain("evacuations_queued")),
    "migrated": Series("pages migrated by evacuation so far", "pages", _plain("pages_migrated")),
    "dropped": Series("clean cache dropped so far", "pages", _plain("pages_dropped")),
}
"""What :func:`timeline` draws, by name."""

DEFAULT = (
    "mixed",
    "polluted",
    "unusable",
    "fragmentation",
    "free",
    "steals",
    "claims",
    "migrated",
    "dropped",
)


def timeline(what: Run | Comparison | Sequence[Run], name: str = "mixed", *, ax: Axes | None = None) -> Axes:
    """One series over virtual time, a line for each run.

    Parameters
    ----------
    what : Run, Comparison or runs
        What to draw.
    name : str
        A key of :data:`SERIES`.
    ax : Axes, optional
        Draw there instead of in a new figure.

    Raises
    ------
    KevacuateError
        There is no such series, or matplotlib is not installed.
    """
    if name not in SERIES:
        raise KevacuateError(f"There is no series {name!r} to draw: the known ones are {', '.join(SERIES)}.")
    series = SERIES[name]
    with style():
        where = axes(ax, (6.4, 2.6))
        for i, run in enumerate(typical_of(what)):
            t = np.asarray(run.series["t"], float) / 1e9
            where.plot(t, series.values(run), label=run.policy, **line_of(i))
        where.set_title(series.title)
        where.set_ylabel(series.unit)
        where.grid(axis="y", color=RULE, linewidth=0.6)
        where.set_axisbelow(True)
        where.margins(x=0.01)
        if where.get_ylim()[0] > 0 and name != "fragmentation":
            where.set_ylim(bottom=0)
        if ax is None:
            where.set_xlabel("virtual time (s)")
            where.legend()
    return where


def timelines(
    what: Run | Comparison | Sequence[Run], names: Sequence[str] = DEFAULT, *, columns: int = 3
) -> Figure:
    """Several series, sharing the axis of time.

    Raises
    ------
    KevacuateError
        As :func:`timeline`.
    """
    runs = typical_of(what)
    rows = -(-len(names) // columns)
    with style():
        figure, panels = pyplot().subplots(
            rows,
            columns,
            figsize=(3.5 * columns, 1.9 * rows + 0.5),
            sharex=True,
            squeeze=False,
            layout="constrained",
        )
        flat = panels.ravel().tolist()
        for name, panel in zip(names, flat, strict=False):
            timeline(runs, name, ax=panel)
        for panel in flat[len(names) :]:
            panel.set_visible(False)
        for panel in panels[-1]:
            panel.set_xlabel("virtual time (s)")
        handles, labels = flat[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=min(len(labels), 4), handlelength=2.6)
    made: Figure = figure
    return made
