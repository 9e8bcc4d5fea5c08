# SPDX-License-Identifier: GPL-2.0-or-later
"""A row of a comparison: one figure of a run, how it is called, and which way is better."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from kevacuate.measure.permutation import Direction
from kevacuate.measure.results import Run

Value = Callable[[Run], float | None]
"""How a row gets its value from a run."""

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
    value: Value
    direction: Direction = Direction.NEITHER


def figure_of(*path: str | int, factor: float = 1.0) -> Value:
    """The figure that lies at that place of a run's figures (:func:`kevacuate.measure.metrics.run_metrics`), times *factor*.

    The place is a name, or those of the groups that it is in, then its own; an order in a list by orders. The value is None where
    it was not counted: a group is missing or empty, as of /proc/vmstat in an open loop, or the machine has no such order.
    """
    *groups, own = path

    def get(run: Run) -> float | None:
        found: Any = run.metrics
        for group in groups:
            found = found.get(group) or {}
        if not found or (isinstance(found, list) and int(own) >= len(found)):
            return None
        return None if found[own] is None else float(found[own] * factor)

    return get


def mean_of_samples(name: str) -> Value:
    """The mean over the run's samples of virtual time."""
    return lambda run: sum(run.series[name]) / max(len(run.series[name]), 1)


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
