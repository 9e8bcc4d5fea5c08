# SPDX-License-Identifier: GPL-2.0-or-later
"""A row of a comparison: one figure of a run, how it is called, and which way is better."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kevacuate.measure.permutation import Direction
from kevacuate.measure.results import Run

LOWER, HIGHER, NEITHER = Direction.LOWER, Direction.HIGHER, Direction.NEITHER


@dataclass(frozen=True)
class Row:
    """A row: its id, the section and label that people see, its unit, how to get its value from a run, and which way is better.

    Code finds a row by its id, which never changes; section and label are words.
    """

    id: str
    section: str
    label: str
    unit: str
    value: Callable[[Run], float]
    direction: Direction = Direction.NEITHER


def counter(name: str) -> Callable[[Run], float]:
    """A counter of the whole run (:func:`kevacuate.measure.metrics.run_metrics`)."""
    return lambda run: float(run.metrics[name])


def at_the_end(*names: Any) -> Callable[[Run], float]:
    """A value of the last moment; names are keys or list indices."""

    def get(run: Run) -> float:
        value: Any = run.metrics["end"]
        for name in names:
            value = value[name]
        return float(value)

    return get


def mean_of_samples(name: str) -> Callable[[Run], float]:
    """The mean over the run's samples of virtual time."""
    return lambda run: sum(run.series[name]) / max(len(run.series[name]), 1)


def milliseconds(name: str) -> Callable[[Run], float]:
    """A time of the whole run that is counted in seconds."""
    return lambda run: float(run.metrics[name] * 1e3)
