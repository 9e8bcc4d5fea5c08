# SPDX-License-Identifier: GPL-2.0-or-later
"""What kernels and replays are compared in: each column of the tables of repeats, and the same figure of a replay.

This is the one place that says which is which: a column's name in ``outcomes.csv`` and ``outcomes-pressure.csv``, what people
call it, and the row of a comparison that shows the same figure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from kevacuate.measure.extfrag import from_movable
from kevacuate.mm import constants as k
from kevacuate.mm.fields import LogRecord
from kevacuate.mm.log import unpack_types

MOMENTS = ("peak", "freed", "end")
"""Labels of the snapshots at which the outcomes describe memory."""


class Column(NamedTuple):
    """One column of a table of repeats."""

    name: str
    label: str
    row: str = ""
    """Id of the comparison's row with the same figure; empty if there is none."""


COUNTS = (
    Column(
        "claims_below_pageblock_order",
        "claims of movable blocks below pageblock order",
        "extfrag.claims_from_movable",
    ),
    Column(
        "claims_whole_block",
        "whole-block claims of movable blocks",
        "extfrag.claims_whole_block_from_movable",
    ),
    Column("claims_refused", "claims of movable blocks refused"),
    Column("steals_from_movable", "steals from movable", "extfrag.steals_from_movable"),
    Column("steals_by_movable", "steals by movable", "extfrag.steals_by_movable"),
)
"""Fallbacks of the whole run."""

EVACUATIONS = (
    Column("evac_queued", "evacuations queued", "evacuations.queued"),
    Column(
        "evac_started_with_skip_bit",
        "evacuations started with the skip bit set",
        "evacuations.started_with_skip_bit",
    ),
    Column("pages_isolated", "pages isolated by evacuation", "cost.pages_isolated"),
    Column("pages_reclaimed", "clean cache dropped by evacuation", "cost.pages_dropped"),
    Column("pages_migrated", "pages migrated by evacuation", "cost.pages_migrated"),
    Column("pages_failed", "pages that evacuation could not migrate", "cost.pages_failed"),
)
"""What only a kernel with the patch does."""

ENDING = (
    Column("thp_without_defrag", "2 MiB faults before the first that failed"),
    Column("huge_pages", "huge pages granted at the end"),
)
"""What the run's last two phases came to: their requests are not in a demand where they fail."""

AT_A_MOMENT = {
    "blocks_unmovable": "unmovable blocks",
    "blocks_movable": "movable blocks",
    "blocks_reclaimable": "reclaimable blocks",
    "mixed": "mixed blocks",
    "blocks_with_unmovable": "blocks with a page that cannot move",
    "polluted": "polluted blocks",
    "free_pages": "free pages",
}
"""Columns of one moment, without its name in front."""

END_ROWS = {
    "end_blocks_unmovable": "end.blocks_unmovable",
    "end_blocks_movable": "end.blocks_movable",
    "end_blocks_reclaimable": "end.blocks_reclaimable",
    "end_mixed": "end.mixed_blocks",
    "end_polluted": "end.polluted_blocks",
    "end_free_pages": "end.free_pages",
}
"""The comparison's rows that show the last moment."""

_VMSTAT = (
    "allocstall", "allocstall_dma32", "allocstall_movable", "allocstall_normal", "compact_stall",
    "compact_success", "compact_fail", "compact_daemon_wake", "compact_daemon_migrate_scanned",
    "compact_daemon_free_scanned", "compact_migrate_scanned", "compact_free_scanned", "compact_isolated",
    "pgmigrate_success", "pgmigrate_fail", "pgscan_kswapd", "pgsteal_kswapd", "pgscan_direct", "pgsteal_direct",
    "pgactivate", "pgdeactivate", "slabs_scanned", "workingset_refault_file", "workingset_activate_file",
    "workingset_restore_file", "thp_fault_alloc", "thp_fault_fallback", "oom_kill",
)  # fmt: skip
"""Counters of /proc/vmstat, as the kernel names them; allocstall is the sum of those by zone."""

EVENTS = {
    "events_mm_vmscan_kswapd_wake": ("runs of kswapd", "kswapd_runs"),
    "events_mm_vmscan_direct_reclaim_begin": ("direct reclaims begun", "direct_reclaims"),
    "events_mm_compaction_begin": ("compactions of a zone begun", "compactions_begun"),
    "events_mm_compaction_defer_compaction": ("compaction deferred", "compactions_deferred"),
    "events_gt_capt": ("pages captured for direct compaction", "pages_captured"),
    "slow_op0": ("slow path entered", "slow_path_entries"),
    "slow_op2": ("slow path left without a page", "slow_path_failures"),
    "slow_op3": ("direct compactions", "direct_compactions"),
}
"""Events of the whole run, by the column that counts them: what they are called, and the metric of a replay.

mm_vmscan_kswapd_wake comes before each balance_pgdat (mm/vmscan.c:7451), be kswapd woken or not. A metric by order is summed.
"""

LOAD = "load_"
"""Begins a column that counts a counter of /proc/vmstat from the start of the load to its peak."""

PRESSURE = (
    *(Column(f"{LOAD}{name}", f"{name} during the load", f"vmstat.{name}") for name in _VMSTAT),
    *(Column(name, label) for name, (label, _) in EVENTS.items()),
)
"""The columns of ``outcomes-pressure.csv`` that are compared; a comparison's row has the counter of the whole run."""


def columns_at(moments: Iterable[str]) -> Iterable[Column]:
    """The columns of these moments."""
    for moment in moments:
        for end, label in AT_A_MOMENT.items():
            name = f"{moment}_{end}"
            yield Column(name, f"{label} at {moment}", END_ROWS.get(name, ""))


ALL = (*COUNTS, *EVACUATIONS, *columns_at(MOMENTS), *ENDING, *PRESSURE)
"""Every column that is compared."""

ONLY_PATCHED = frozenset(column.name for column in EVACUATIONS)


def with_sums(values: Mapping[str, float]) -> dict[str, float]:
    """A boot's figures with those that are sums of others: allocstall of all zones."""
    zones = [value for name, value in values.items() if name.startswith(f"{LOAD}allocstall_")]
    return {**values, f"{LOAD}allocstall": sum(zones)} if zones else dict(values)


def replay_fallbacks(metrics: Mapping[str, Any]) -> dict[str, int]:
    """The counts of fallbacks, from :func:`kevacuate.measure.extfrag.extfrag_metrics`."""
    return {
        "claims_below_pageblock_order": metrics["claims_from_movable"],
        "claims_whole_block": metrics["claims_whole_block_from_movable"],
        "steals_from_movable": metrics["steals_from_movable"],
        "steals_by_movable": metrics["steals_by_movable"],
    }


def replay_counts(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The counts of a whole replay, from :func:`kevacuate.measure.run_metrics`; claims refused are the log's to tell."""
    events = {column: int(np.sum(metrics[name])) for column, (_, name) in EVENTS.items() if name in metrics}
    return {
        **replay_fallbacks(metrics),
        "evac_queued": metrics["evacuations_queued"],
        "evac_started_with_skip_bit": metrics["evacuations_started_with_skip_bit"],
        "pages_isolated": metrics["pages_isolated"],
        "pages_reclaimed": metrics["pages_dropped"],
        "pages_migrated": metrics["pages_migrated"],
        "pages_failed": metrics["pages_failed"],
        **events,
    }


def replay_load(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The counters of /proc/vmstat that a replay has so far, from :func:`kevacuate.measure.run_metrics` at the load's peak.

    A counter is found by the kernel's name, among the metrics or in their ``vmstat``; one that the model lacks is left out.
    """
    known = {**metrics.get("vmstat", {}), **metrics}
    return {f"{LOAD}{name}": known[name] for name in _VMSTAT if name in known}


def replay_moment(found: Mapping[str, Any]) -> dict[str, float]:
    """The figures of one moment of a replay or of a dump, from :func:`kevacuate.measure.moment` or ``state_moment``.

    Without page flags a dump has no figures of what blocks hold.
    """
    held = {
        "mixed": "mixed_blocks",
        "blocks_with_unmovable": "blocks_with_unmovable",
        "polluted": "polluted_blocks",
    }
    return {
        **{f"blocks_{name}": found["blocks"][name] for name in ("unmovable", "movable", "reclaimable")},
        **{column: found[name] for column, name in held.items() if name in found},
        "free_pages": found["free_pages"],
    }


def refused_in(log: np.ndarray) -> int:
    """Claims of movable blocks for unmovable or reclaimable requests that a replay's log shows as refused."""
    claims = LogRecord.table(log[LogRecord.table(log)["kind"] == k.L_EVAC_CLAIM])
    wanted = from_movable(*unpack_types(claims["a"])) & (claims["d"] == 0)
    return int(wanted.sum())
