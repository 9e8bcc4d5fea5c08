# SPDX-License-Identifier: GPL-2.0-or-later
"""A workload fitted to a recording, and how far the replay of what it generates is from the replay of what was recorded."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from kevacuate.demand.refusals import refuse_without_demand
from kevacuate.errors import whole_number
from kevacuate.measure import Run
from kevacuate.policy import BASELINE, parse_policy
from kevacuate.recording import Recording
from kevacuate.recording.completeness import refuse_losses
from kevacuate.runs.compare import Job, Report, replay_all
from kevacuate.runs.options import ReplayOptions
from kevacuate.runs.replay import demand_while_compiling
from kevacuate.workload.describe import Workload
from kevacuate.workload.fit import fitted, toml_of
from kevacuate.workload.started import demand_on
from kevacuate.workload.stream import demand_of

REPEATS = 5
COUNTED = (
    ("claims_from_movable", "claims of movable blocks, below pageblock order"),
    ("claims_whole_block_from_movable", "claims of whole movable blocks"),
    ("steals_from_movable", "pages stolen from movable blocks"),
    ("steals_by_movable", "pages stolen by movable requests"),
)
"""Counters of a run that a fit is judged by."""
TYPES = ("unmovable", "movable", "reclaimable")


@dataclass(frozen=True)
class Distance:
    """One figure of the recorded demand's replays beside those of the generated demand."""

    id: str
    label: str
    recorded: tuple[float, ...]
    """By seed."""
    generated: tuple[float, ...]

    @property
    def within(self) -> bool:
        """Whether the generated mean lies within two standard deviations of the recorded replays of their mean."""
        spread = stdev(self.recorded) if len(self.recorded) > 1 else 0.0
        return abs(fmean(self.generated) - fmean(self.recorded)) <= 2 * spread


@dataclass(frozen=True)
class Fit:
    """A fit and its distance."""

    workload: Workload
    rows: int
    left_out: int
    not_paired: int
    distances: tuple[Distance, ...]

    @property
    def text(self) -> str:
        """The description as the text of a TOML file."""
        return toml_of(self.workload)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        rows = [
            {
                "id": one.id,
                "label": one.label,
                "recorded": one.recorded,
                "generated": one.generated,
                "within": one.within,
            }
            for one in self.distances
        ]
        return {
            "workload": self.workload.name,
            "pools": len(self.workload.parts),
            "rows": self.rows,
            "left_out": self.left_out,
            "not_paired": self.not_paired,
            "distances": rows,
        }


def _figures(run: Run) -> dict[str, tuple[str, float]]:
    """The figures that a fit is judged by: id to (label, value)."""
    found = {name: (label, float(run.metrics[name])) for name, label in COUNTED}
    end = run.metrics["end"]
    for order, chunks in enumerate(end["free_by_order"]):
        found[f"end.free_by_order.{order}"] = (f"free chunks of order {order} at the end", float(chunks))
    for name in TYPES:
        found[f"end.blocks.{name}"] = (f"{name} blocks at the end", float(end["blocks"][name]))
    return found


def _distances(recorded: list[Run], generated: list[Run]) -> tuple[Distance, ...]:
    """Every figure of both."""
    ours, theirs = [_figures(run) for run in recorded], [_figures(run) for run in generated]
    return tuple(
        Distance(name, label, tuple(one[name][1] for one in ours), tuple(one[name][1] for one in theirs))
        for name, (label, _) in ours[0].items()
    )


def fit(
    recording: Recording | str | Path,
    *,
    repeats: int = REPEATS,
    seed: int = 0,
    workers: int | None = None,
    progress: Report | None = None,
) -> Fit:
    """Describe a workload with the rates of a recording, and measure how far it is from it.

    What is generated is replayed on the recorded start state, as the recorded demand is, in the open loop, under ``mainline``.

    Parameters
    ----------
    recording : Recording or path
        With a start state and a demand, or events to make one of.
    repeats : int
        Replays of the recorded and of the generated demand; each of the latter is another draw.
    seed : int
        The first seed.
    workers : int, optional
        As of :func:`kevacuate.compare`.
    progress : callable, optional
        Called with (what is replayed, rows done, rows in all).

    Returns
    -------
    Fit
        ``workload``, ``text`` (TOML), ``distances``.

    Raises
    ------
    KevacuateError
        The recording cannot be replayed, or its demand is too long to be fitted.

    Examples
    --------
    >>> import kevacuate
    >>> found = kevacuate.fit("my-server.kev", repeats=2)
    >>> found.distances[0].id
    'claims_from_movable'
    """
    repeats = whole_number("repeats", repeats, 1)
    source = Recording.of(recording)
    refuse_losses(source)
    refuse_without_demand(source)
    demand = demand_while_compiling(source)
    found = fitted(source, demand, seed)
    policy, options = parse_policy(BASELINE), ReplayOptions(loop="open")
    runs = []
    generated = demand_on(demand_of(found.workload), demand.start_objects, 1, -1)
    for name, one in (("recorded", demand), ("generated", generated)):
        jobs = [Job(policy, replace(options, seed=seed + i), name) for i in range(repeats)]
        runs.append(replay_all(source, one, jobs, workers, progress))
    return Fit(found.workload, found.rows, found.left_out, found.not_paired, _distances(*runs))
