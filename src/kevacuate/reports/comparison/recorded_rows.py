# SPDX-License-Identifier: GPL-2.0-or-later
"""The rows of recordings side by side: those of a comparison that a recording has too, and what only a recording shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from kevacuate.measure.permutation import Direction
from kevacuate.measure.recorded import Recorded
from kevacuate.measure.rows import LOWER, NEITHER
from kevacuate.measure.table import (
    AT_THE_END,
    COMPACTION,
    CONTIG,
    CONTROL,
    EXTFRAG,
    MOMENT_ROWS,
    OVER_THE_RUN,
    REGIONS,
    VMSTAT,
    VMSTAT_ROWS,
)
from kevacuate.reports.comparison.group_rows import GroupRow, rows_of
from kevacuate.reports.comparison.rows import ROWS

Value = Callable[[Recorded], float | None]

_MODEL_ONLY = (VMSTAT, COMPACTION, CONTIG, OVER_THE_RUN, CONTROL, AT_THE_END)
"""Sections of a comparison that mean something else here, or stand elsewhere: a recorded kernel's compaction is direct, too."""


@dataclass(frozen=True)
class RecordedRow:
    """A row: as :class:`kevacuate.measure.rows.Row`; its value is None where the recording does not show it.

    ``detail``: it is shown only where details are asked for.
    """

    id: str
    section: str
    label: str
    unit: str
    value: Value
    direction: Direction = Direction.NEITHER
    detail: bool = False


def _lookup(table: dict[str, Any] | None, names: Sequence[Any]) -> float | None:
    """A value inside nested tables and lists; None where something is missing."""
    value: Any = table
    for name in names:
        if value is None:
            return None
        try:
            value = value[name]
        except (KeyError, IndexError):
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

    def valued(value: Callable[[Any], float | None]) -> Value:
        def get(recorded: Recorded) -> float | None:
            try:
                return value(recorded.as_run())
            except KeyError:  # an event that the recording does not show
                return None

        return get

    return [
        RecordedRow(row.id, row.section, row.label, row.unit, valued(row.value), row.direction)
        for row in ROWS
        if row.section not in _MODEL_ONLY and not row.section.startswith(REGIONS)
    ]


def _rows(prefix: str, section: str, *rows: tuple[Any, ...]) -> tuple[RecordedRow, ...]:
    """Rows of a section: label, unit, place among the metrics (its last name ends the id), direction, whether a detail."""
    return tuple(
        RecordedRow(f"{prefix}.{path[-1]}", section, label, unit, metric(*path), direction, *detail)
        for label, unit, path, direction, *detail in rows
    )


_MORE = _rows(
    "extfrag",
    EXTFRAG,
    ("claims refused by the threshold", "events", ("claims_refused_from_movable",), LOWER),
    ("claims back by movable", "events", ("claims_by_movable",), NEITHER),
)

_WORK = _rows(
    "work",
    "Compaction and reclaim",
    ("zones compacted (mm_compaction_end)", "runs", ("compaction_runs",), LOWER),
    ("direct compactions", "runs", ("direct_compactions",), LOWER),
    ("kcompactd woken", "times", ("kcompactd_wakes",), LOWER),
    ("pages scanned to migrate", "pages", ("compaction_pages_scanned",), LOWER, True),
    ("pages isolated to migrate", "pages", ("compaction_pages_isolated",), LOWER),
    ("pages migrated by compaction", "pages", ("compaction_pages_migrated",), LOWER),
    ("pages it failed to migrate", "pages", ("compaction_pages_failed",), LOWER),
    ("pages migrated by anyone", "pages", ("migrate_pages_succeeded",), LOWER),
    ("direct reclaims", "runs", ("direct_reclaims",), LOWER),
    ("pages reclaimed directly", "pages", ("direct_reclaim_pages",), LOWER),
    ("kswapd balancing runs", "runs", ("kswapd_balances",), LOWER),
    ("pages reclaimed by kswapd", "pages", ("kswapd_pages",), LOWER),
)

_VMSTAT = _rows(
    "vmstat",
    "/proc/vmstat, first to last snapshot",
    *((label, unit, ("vmstat", name), direction) for name, label, unit, direction in VMSTAT_ROWS),
)

_RATES = _rows(
    "rate",
    "Rates",
    ("extfrag events", "1/s", ("rates", "extfrag"), LOWER),
    ("claims of movable blocks", "1/s", ("rates", "claims_from_movable"), LOWER),
    ("steals from movable", "1/s", ("rates", "steals_from_movable"), LOWER),
    ("zones compacted", "1/s", ("rates", "compaction_runs"), LOWER),
    ("allocations", "1/s", ("rates", "allocations"), NEITHER),
)

_CONTROL = _rows(
    "control",
    CONTROL,
    ("allocations (mm_page_alloc)", "events", ("allocations",), NEITHER),
    ("pages allocated", "pages", ("pages_allocated",), NEITHER),
    ("allocations that failed", "events", ("allocations_failed",), LOWER),
    ("pages allocated (vmstat pgalloc)", "pages", ("vmstat", "pgalloc"), NEITHER),
    ("recorded time", "s", ("recorded_seconds",), NEITHER),
)

_ORDERS = 11
_BEFORE_UNMOVABLE = "polluted_pages"
"""End of the id of the row that the next one stands behind."""
_UNMOVABLE_ROW = (
    "blocks_with_unmovable",
    "pageblocks with a page that cannot move",
    "blocks",
    ("blocks_with_unmovable",),
    LOWER,
)


def _moment_rows(label: str) -> list[RecordedRow]:
    """The rows of one snapshot: those of a run's end, one more, and the free chunks by order."""
    section, prefix = f"At snapshot {label}", f"snapshot.{label}"
    shown: list[tuple[Any, ...]] = []
    for row in MOMENT_ROWS:
        shown.append((*row, False))
        if row[0] == _BEFORE_UNMOVABLE:
            shown.append((*_UNMOVABLE_ROW, False))
    shown += [
        (f"free_chunks_{i}", f"free chunks of order {i}", "chunks", ("free_by_order", i), NEITHER, True)
        for i in range(_ORDERS)
    ]
    return [
        RecordedRow(f"{prefix}.{end}", section, name, unit, at(label, *path), direction, detail)
        for end, name, unit, path, direction, detail in shown
    ]


def common_labels(recordings: Sequence[Recorded]) -> list[str]:
    """Labels of the snapshots that all recordings have, in the first one's order."""
    return [label for label in recordings[0].moments if all(label in r.moments for r in recordings)]


def rows_for(recordings: Sequence[Recorded]) -> list[RecordedRow]:
    """All rows for these recordings: the shared ones, then one section per snapshot that all of them have."""
    shared = _shared()
    cut = sum(1 for row in shared if row.section == EXTFRAG)
    moments = [row for label in common_labels(recordings) for row in _moment_rows(label)]
    return [*shared[:cut], *_MORE, *shared[cut:], *_WORK, *_VMSTAT, *_RATES, *moments, *_CONTROL]


def group_rows(groups: Sequence[Sequence[Recorded]]) -> list[GroupRow[RecordedRow]]:
    """Every row that any recording has a value for, with each group's values and what they say against the first group's."""
    rows = rows_for([recorded for group in groups for recorded in group])
    return rows_of(rows, groups, lambda row, recorded: row.value(recorded))
