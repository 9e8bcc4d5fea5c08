# SPDX-License-Identifier: GPL-2.0-or-later
"""The distance of a fit, as a table and in sentences."""

from __future__ import annotations

from statistics import fmean, stdev

from rich.table import Table

from kevacuate.percent import percent
from kevacuate.runs.fit import Fit


def _spread(values: tuple[float, ...]) -> str:
    """Mean and standard deviation of the replays."""
    text = f"{fmean(values):,.1f}"
    return f"{text} ± {stdev(values):,.1f}" if len(values) > 1 else text


def fit_table(fit: Fit) -> Table:
    """Each figure of the recorded demand's replays beside the generated demand's; rows that are 0 in all are left out."""
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for name in ("recorded demand", "generated demand", "within"):
        table.add_column(name, justify="right")
    for one in fit.distances:
        if any(one.recorded) or any(one.generated):
            table.add_row(
                one.label, _spread(one.recorded), _spread(one.generated), "yes" if one.within else "no"
            )
    return table


def fit_sentences(fit: Fit) -> list[str]:
    """What was fitted, what was left out, and how many figures are within."""
    shown = [one for one in fit.distances if any(one.recorded) or any(one.generated)]
    good = sum(one.within for one in shown)
    return [
        f"{fit.rows:,} allocations and frees became {len(fit.workload.parts)} pools.",
        f"Left out are {fit.left_out:,} allocations of rare kinds and {fit.not_paired:,} frees of objects that were there before "
        f"or were halved ({percent((fit.left_out + fit.not_paired) / max(fit.rows, 1), 1)} of the rows).",
        f"{good} of {len(shown)} figures lie within two standard deviations of the recorded demand's replays.",
    ]
