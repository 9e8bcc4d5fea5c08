# SPDX-License-Identifier: GPL-2.0-or-later
"""The rows that decide a comparison: few, so that correcting for their number costs little, and what evidence is asked for.

``tests/runs/test_runs_until_decided.py`` holds that each has the value and the direction of the table's row with its id.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from kevacuate.measure.permutation import Direction
from kevacuate.measure.results import Comparison, Run
from kevacuate.measure.rows import (
    HIGHER,
    LOWER,
    at_the_end,
    counter,
    milliseconds,
    stall_milliseconds,
    vmstat,
)
from kevacuate.measure.sequential import Sequential, SequentialTest, Values


class Figure(NamedTuple):
    """A figure of a run, and which way it is better."""

    value: Callable[[Run], float | None]
    direction: Direction


DECIDING: dict[str, Figure] = {
    "extfrag.claims_from_movable": Figure(counter("claims_from_movable"), LOWER),
    "extfrag.steals_from_movable": Figure(counter("steals_from_movable"), LOWER),
    "end.mixed_blocks": Figure(at_the_end("mixed_blocks"), LOWER),
    "end.polluted_blocks": Figure(at_the_end("polluted_blocks"), LOWER),
    "end.regions_2m_movable_only": Figure(at_the_end("regions_2m", "movable_only"), HIGHER),
    "vmstat.thp_fault_fallback": Figure(vmstat("thp_fault_fallback"), LOWER),
    "vmstat.allocstall": Figure(vmstat("allocstall"), LOWER),
}
"""The rows that decide, by id; those of /proc/vmstat are there in a closed loop alone."""

COSTS: dict[str, Figure] = {
    "cost.worker_ms": Figure(milliseconds("worker_cpu_seconds"), LOWER),
    "compaction.pages_migrated": Figure(counter("compaction_pages_migrated"), LOWER),
    "compaction.ms": Figure(milliseconds("compaction_cpu_seconds"), LOWER),
    "stall.compaction_ms": Figure(stall_milliseconds("compaction"), LOWER),
    "stall.reclaim_ms": Figure(stall_milliseconds("reclaim"), LOWER),
    "vmstat.pgscan_kswapd": Figure(vmstat("pgscan_kswapd"), LOWER),
    "vmstat.workingset_refault_file": Figure(vmstat("workingset_refault_file"), LOWER),
    "vmstat.oom_kill": Figure(vmstat("oom_kill"), LOWER),
    "control.allocations_failed": Figure(counter("allocations_failed"), LOWER),
    "control.below_watermark": Figure(counter("allocations_below_watermark"), LOWER),
}
"""Rows that say what was paid, by id."""


def values_of(figures: Mapping[str, Figure], runs: Sequence[Run]) -> dict[str, list[float]]:
    """Every run's value of each figure; a figure that some run does not have is left out."""
    table = {row: [figure.value(run) for run in runs] for row, figure in figures.items()}
    known = {row: [value for value in values if value is not None] for row, values in table.items()}
    return {row: values for row, values in known.items() if len(values) == len(runs)}


def deciding_values(groups: Sequence[Sequence[Run]]) -> Values:
    """The values of the rows that decide, of the runs of each policy; the first policy is what the others are compared with."""
    tables = [values_of(DECIDING, group) for group in groups]
    return {
        (row, i): (tables[0][row], tables[i][row])
        for row in DECIDING
        for i in range(1, len(groups))
        if row in tables[0] and row in tables[i]
    }


def decided(comparison: Comparison) -> Sequential | None:
    """What the rows that decide have come to; None where a single policy, or none repeatedly, was run."""
    groups = list(comparison.groups.values())
    replays = min(len(group) for group in groups)
    if len(groups) < 2 or replays < 2:
        return None
    return SequentialTest().decide(deciding_values(groups), replays)
