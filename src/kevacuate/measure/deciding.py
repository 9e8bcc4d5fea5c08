# SPDX-License-Identifier: GPL-2.0-or-later
"""The rows that decide a comparison: few, so that correcting for their number costs little, and what evidence is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kevacuate.measure.results import Comparison, Run
from kevacuate.measure.rows import Row
from kevacuate.measure.sequential import Sequential, SequentialTest, Values
from kevacuate.measure.table import FIRST_ROWS, OUTCOME_ROWS, WORKER_MS

_KNOWN = {row.id: row for row in (*FIRST_ROWS, WORKER_MS, *OUTCOME_ROWS)}


def _rows(*ids: str) -> dict[str, Row]:
    """Rows of the table by their ids."""
    return {row_id: _KNOWN[row_id] for row_id in ids}


DECIDING = _rows(
    "extfrag.claims_from_movable",
    "extfrag.steals_from_movable",
    "end.mixed_blocks",
    "end.polluted_blocks",
    "end.regions_2m_movable_only",
    "vmstat.thp_fault_fallback",
    "vmstat.allocstall",
)
"""The rows that decide, by id; those of /proc/vmstat are there in a closed loop alone."""

COSTS = _rows(
    "cost.worker_ms",
    "compaction.pages_migrated",
    "compaction.ms",
    "stall.compaction_ms",
    "stall.reclaim_ms",
    "vmstat.pgscan_kswapd",
    "vmstat.workingset_refault_file",
    "vmstat.oom_kill",
    "control.allocations_failed",
    "control.below_watermark",
)
"""Rows that say what was paid, by id."""


def values_of(rows: Mapping[str, Row], runs: Sequence[Run]) -> dict[str, list[float]]:
    """Every run's value of each row; a row of which some run has no value is left out."""
    table = {row_id: [row.value(run) for run in runs] for row_id, row in rows.items()}
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
