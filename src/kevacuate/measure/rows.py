# SPDX-License-Identifier: GPL-2.0-or-later
"""A row of a comparison: one figure of a run, how it is called, and which way is better."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from kevacuate.measure.permutation import Direction
from kevacuate.measure.results import Run

LOWER, HIGHER, NEITHER = Direction.LOWER, Direction.HIGHER, Direction.NEITHER


@dataclass(frozen=True)
class Row:
    """A row: its id, the section and label that people see, its unit, how to get its value from a run, and which way is better.

    Code finds a row by its id, which never changes; section and label are words. The value is None where the run has none to
    give: the recording lacks the input, or the machine has no chunks of that order. A figure that no run has is a KeyError.
    """

    id: str
    section: str
    label: str
    unit: str
    value: Callable[[Run], float | None]
    direction: Direction = Direction.NEITHER


def counter(name: str) -> Callable[[Run], float | None]:
    """A counter of the whole run (:func:`kevacuate.measure.metrics.run_metrics`); None where it was not recorded."""

    def get(run: Run) -> float | None:
        value = run.metrics[name]
        return None if value is None else float(value)

    return get


def at_the_end(*names: Any) -> Callable[[Run], float | None]:
    """A value of the last moment; names are keys, or orders: None beyond the machine's largest."""

    def get(run: Run) -> float | None:
        value: Any = run.metrics["end"]
        for name in names:
            if isinstance(value, list) and name >= len(value):
                return None
            value = value[name]
        return float(value)

    return get


def vmstat(name: str) -> Callable[[Run], float | None]:
    """A counter of the whole run by its name in /proc/vmstat; None in an open loop, which has none of them."""

    def get(run: Run) -> float | None:
        counters = run.metrics.get("vmstat") or {}
        return float(counters[name]) if counters else None

    return get


def stall_milliseconds(name: str) -> Callable[[Run], float | None]:
    """Virtual time that requests waited in direct compaction or direct reclaim; None in an open loop."""

    def get(run: Run) -> float | None:
        seconds = run.metrics.get("stall_seconds") or {}
        return float(seconds[name] * 1e3) if seconds else None

    return get


def of_swap(name: str) -> Callable[[Run], float | None]:
    """A figure of swap (:func:`kevacuate.measure.metrics.swap_metrics`); None in an open loop, which does not swap."""

    def get(run: Run) -> float | None:
        figures = run.metrics.get("swap") or {}
        return float(figures[name]) if figures else None

    return get


def of_contig(name: str) -> Callable[[Run], float | None]:
    """A figure of contiguous allocation (:func:`kevacuate.measure.metrics.contig_metrics`); None where none was asked for."""

    def get(run: Run) -> float | None:
        figures = run.metrics.get("contig") or {}
        return float(figures[name]) if figures else None

    return get


def mean_of_samples(name: str) -> Callable[[Run], float]:
    """The mean over the run's samples of virtual time."""
    return lambda run: sum(run.series[name]) / max(len(run.series[name]), 1)


def milliseconds(name: str) -> Callable[[Run], float]:
    """A time of the whole run that is counted in seconds."""
    return lambda run: float(run.metrics[name] * 1e3)


OWN = "The policy's own"
"""Section of what policies of hooks count."""


def own_rows(runs: Iterable[Run]) -> list[Row]:
    """What policies of hooks count (:func:`kevacuate.policy.hooks.counter`), as their runs tell it."""
    told: dict[str, Row] = {}
    for run in runs:
        for name, how in run.provenance.get("policy_rows", {}).items():
            row_id, better = f"policy.{name}", Direction(how["better"] or Direction.NEITHER)
            row = Row(row_id, OWN, how["label"], how["unit"], partial(_own_counter, name), better)
            told.setdefault(row_id, row)
    return list(told.values())


def _own_counter(name: str, run: Run) -> float:
    """What a policy has counted under a name; 0 in runs of policies that count no such thing."""
    return float(run.metrics.get("policy", {}).get(name, 0))
