# SPDX-License-Identifier: GPL-2.0-or-later
"""The rows of recordings side by side: those of a comparison that a recording has too, and what only a recording shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from kevacuate.measure.recorded import Recorded
from kevacuate.report.grouprows import GroupRow, rows_of
from kevacuate.report.rows import ROWS

Value = Callable[[Recorded], float | None]

_MODEL_ONLY = ("Over the run (mean of samples)", "Control (should not move)", "At the end")
"""Sections of a comparison that mean something else here, or stand elsewhere."""


@dataclass(frozen=True)
class RecordedRow:
    """A row: section, name, unit, how to get its value (None where the recording does not show it), and whether it is a detail.

    ``better`` is -1 where less is better, 1 where more is, 0 where neither is (or it is a control row).
    """

    section: str
    name: str
    unit: str
    value: Value
    better: int = 0
    detail: bool = False


def _lookup(table: dict[str, Any] | None, names: Sequence[Any]) -> float | None:
    """A value inside nested tables and lists; None where something is missing."""
    value: Any = table
    for name in names:
        try:
            value = value[name]
        except (KeyError, IndexError, TypeError):
            return None
    return None if value is None else float(value)


def metric(*names: Any) -> Value:
    """A figure of the whole recording."""
    return lambda recorded: _lookup(recorded.metrics, names)


def at(label: str, *names: Any) -> Value:
    """A figure of the snapshot of this label."""
    return lambda recorded: _lookup(recorded.moments.get(label), names)


def _shared() -> list[RecordedRow]:
    """The rows of a comparison, valued from a recording."""

    def valued(value: Callable[[Any], float]) -> Value:
        def get(recorded: Recorded) -> float | None:
            try:
                return value(recorded.as_run())
            except (KeyError, IndexError, TypeError):
                return None

        return get

    return [
        RecordedRow(row.section, row.name, row.unit, valued(row.value), row.better)
        for row in ROWS
        if row.section not in _MODEL_ONLY
    ]


_EXTFRAG = "External fragmentation events"
_WORK = "Compaction and reclaim"
_RATES = "Rates"
_VMSTAT = "/proc/vmstat, first to last snapshot"
_CONTROL = "Control (should not move)"

_MORE = (
    RecordedRow(
        _EXTFRAG, "claims refused by the threshold", "events", metric("claims_refused_from_movable"), -1
    ),
    RecordedRow(_EXTFRAG, "claims back by movable", "events", metric("claims_by_movable")),
)

_WHOLE = (
    RecordedRow(_WORK, "zones compacted (mm_compaction_end)", "runs", metric("compaction_runs"), -1),
    RecordedRow(_WORK, "direct compactions", "runs", metric("direct_compactions"), -1),
    RecordedRow(_WORK, "kcompactd woken", "times", metric("kcompactd_wakes"), -1),
    RecordedRow(
        _WORK, "pages scanned to migrate", "pages", metric("compaction_pages_scanned"), -1, detail=True
    ),
    RecordedRow(_WORK, "pages isolated to migrate", "pages", metric("compaction_pages_isolated"), -1),
    RecordedRow(_WORK, "pages migrated by compaction", "pages", metric("compaction_pages_migrated"), -1),
    RecordedRow(_WORK, "pages it failed to migrate", "pages", metric("compaction_pages_failed"), -1),
    RecordedRow(_WORK, "pages migrated by anyone", "pages", metric("migrate_pages_succeeded"), -1),
    RecordedRow(_WORK, "direct reclaims", "runs", metric("direct_reclaims"), -1),
    RecordedRow(_WORK, "pages reclaimed directly", "pages", metric("direct_reclaim_pages"), -1),
    RecordedRow(_WORK, "kswapd balancing runs", "runs", metric("kswapd_balances"), -1),
    RecordedRow(_WORK, "pages reclaimed by kswapd", "pages", metric("kswapd_pages"), -1),
    RecordedRow(_VMSTAT, "compact_stall", "times", metric("vmstat", "compact_stall"), -1),
    RecordedRow(_VMSTAT, "compact_success", "times", metric("vmstat", "compact_success")),
    RecordedRow(_VMSTAT, "compact_fail", "times", metric("vmstat", "compact_fail"), -1),
    RecordedRow(_VMSTAT, "compact_daemon_wake", "times", metric("vmstat", "compact_daemon_wake"), -1),
    RecordedRow(_VMSTAT, "pgmigrate_success", "pages", metric("vmstat", "pgmigrate_success"), -1),
    RecordedRow(_VMSTAT, "pgmigrate_fail", "pages", metric("vmstat", "pgmigrate_fail"), -1),
    RecordedRow(_VMSTAT, "allocstall, all zones", "times", metric("vmstat", "allocstall"), -1),
    RecordedRow(_VMSTAT, "pgsteal_direct", "pages", metric("vmstat", "pgsteal_direct"), -1),
    RecordedRow(_VMSTAT, "pgsteal_kswapd", "pages", metric("vmstat", "pgsteal_kswapd"), -1),
    RecordedRow(_VMSTAT, "thp_fault_alloc", "pages", metric("vmstat", "thp_fault_alloc"), 1),
    RecordedRow(_VMSTAT, "thp_fault_fallback", "pages", metric("vmstat", "thp_fault_fallback"), -1),
    RecordedRow(_RATES, "extfrag events", "1/s", metric("rates", "extfrag"), -1),
    RecordedRow(_RATES, "claims of movable blocks", "1/s", metric("rates", "claims_from_movable"), -1),
    RecordedRow(_RATES, "steals from movable", "1/s", metric("rates", "steals_from_movable"), -1),
    RecordedRow(_RATES, "zones compacted", "1/s", metric("rates", "compaction_runs"), -1),
    RecordedRow(_RATES, "allocations", "1/s", metric("rates", "allocations")),
    RecordedRow(_CONTROL, "allocations (mm_page_alloc)", "events", metric("allocations")),
    RecordedRow(_CONTROL, "pages allocated", "pages", metric("pages_allocated")),
    RecordedRow(_CONTROL, "allocations that failed", "events", metric("allocations_failed"), -1),
    RecordedRow(_CONTROL, "pages allocated (vmstat pgalloc)", "pages", metric("vmstat", "pgalloc")),
    RecordedRow(_CONTROL, "recorded time", "s", metric("recorded_seconds")),
)


def _moment_rows(label: str, orders: int) -> list[RecordedRow]:
    """The rows of one snapshot."""
    section = f"At snapshot {label}"
    plain = (
        ("mixed pageblocks", "blocks", ("mixed_blocks",), -1),
        ("polluted pageblocks", "blocks", ("polluted_blocks",), -1),
        ("pages that pollute pageblocks", "pages", ("polluted_pages",), -1),
        ("pageblocks with a page that cannot move", "blocks", ("blocks_with_unmovable",), -1),
        ("pageblocks unmovable", "blocks", ("blocks", "unmovable"), -1),
        ("pageblocks reclaimable", "blocks", ("blocks", "reclaimable"), -1),
        ("pageblocks movable", "blocks", ("blocks", "movable"), 1),
        ("2 MiB regions tainted", "regions", ("regions_2m", "tainted"), -1),
        ("2 MiB regions free or movable", "regions", ("regions_2m", "movable_only"), 1),
        ("32 MiB regions free or movable", "regions", ("regions_32m", "movable_only"), 1),
        ("1 GiB regions free or movable", "regions", ("regions_1g", "movable_only"), 1),
        ("huge pages free at once", "pages", ("huge_pages_free",), 1),
        ("unusable free index, order 9", "1/1000", ("unusable_free_index", 9), -1),
        ("fragmentation index, order 9", "1/1000", ("fragmentation_index", 9), 0),
        ("free pages", "pages", ("free_pages",), 0),
    )
    rows = [RecordedRow(section, name, unit, at(label, *path), better) for name, unit, path, better in plain]
    rows += [
        RecordedRow(
            section, f"free chunks of order {i}", "chunks", at(label, "free_by_order", i), detail=True
        )
        for i in range(orders)
    ]
    return rows


def common_labels(recordings: Sequence[Recorded]) -> list[str]:
    """Labels of the snapshots that all recordings have, in the first one's order."""
    return [label for label in recordings[0].moments if all(label in r.moments for r in recordings)]


def rows_for(recordings: Sequence[Recorded]) -> list[RecordedRow]:
    """All rows for these recordings: the shared ones, then one section per snapshot that all of them have."""
    shared = _shared()
    cut = sum(1 for row in shared if row.section == _EXTFRAG)
    rows = [*shared[:cut], *_MORE, *shared[cut:]]
    before = [row for row in _WHOLE if row.section != _CONTROL]
    control = [row for row in _WHOLE if row.section == _CONTROL]
    moments = [row for label in common_labels(recordings) for row in _moment_rows(label, 11)]
    return [*rows, *before, *moments, *control]


def group_rows(groups: Sequence[Sequence[Recorded]]) -> list[GroupRow[RecordedRow]]:
    """Every row that any recording has a value for, with each group's values and what they say against the first group's."""
    rows = rows_for([recorded for group in groups for recorded in group])
    return rows_of(rows, groups, lambda row, recorded: row.value(recorded))
