# SPDX-License-Identifier: GPL-2.0-or-later
"""The rows of every comparison, whatever the policies: the figures a maintainer would quote, with units and directions.

A policy adds rows of its own (:mod:`kevacuate.policy.kind`); :mod:`kevacuate.reports.comparison.rows` shows both.
"""

from __future__ import annotations

from typing import Any

from kevacuate.measure.permutation import Direction
from kevacuate.measure.regions import mean_of_regions, region_changes
from kevacuate.measure.rows import (
    HIGHER,
    LOWER,
    NEITHER,
    Row,
    figure_of,
    mean_of_samples,
)

EXTFRAG = "External fragmentation events"
COMPACTION = "Compaction (kcompactd)"
OVER_THE_RUN = "Over the run (mean of samples)"
AT_THE_END = "At the end"
VMSTAT = "/proc/vmstat (closed loop)"
CONTIG = "Contiguous allocation"
REGIONS = "Regions"
CONTROL = "Control (should not move)"
"""Sections that are named more than once. What begins with REGIONS is the model's alone, where regions are kept."""

SKIP_BITS_ROW = "input.blocks_with_skip_bit"
"""The row whose values may be missing: the only input that some recordings lack."""

EXTFRAG_ROWS = (
    ("all", "all (mm_page_alloc_extfrag)", "extfrag", LOWER),
    ("below_pageblock", "below pageblock order", "extfrag_below_pageblock", LOWER),
    ("claims_from_movable", "claims of movable blocks", "claims_from_movable", LOWER),
    (
        "claims_whole_block_from_movable",
        "whole-block claims of movable blocks",
        "claims_whole_block_from_movable",
        NEITHER,
    ),
    ("steals_from_movable", "steals from movable", "steals_from_movable", LOWER),
    ("steals_by_movable", "steals by movable", "steals_by_movable", LOWER),
)
"""End of the id, label, name among the metrics, direction."""

MOMENT_ROWS: tuple[tuple[str, str, str, tuple[Any, ...], Direction], ...] = (
    ("mixed_blocks", "mixed pageblocks", "blocks", ("mixed_blocks",), LOWER),
    ("polluted_blocks", "polluted pageblocks", "blocks", ("polluted_blocks",), LOWER),
    ("polluted_pages", "pages that pollute pageblocks", "pages", ("polluted_pages",), LOWER),
    ("blocks_unmovable", "pageblocks unmovable", "blocks", ("blocks", "unmovable"), LOWER),
    ("blocks_reclaimable", "pageblocks reclaimable", "blocks", ("blocks", "reclaimable"), LOWER),
    ("blocks_movable", "pageblocks movable", "blocks", ("blocks", "movable"), HIGHER),
    ("regions_2m_tainted", "2 MiB regions tainted", "regions", ("regions_2m", "tainted"), LOWER),
    (
        "regions_2m_movable_only",
        "2 MiB regions free or movable",
        "regions",
        ("regions_2m", "movable_only"),
        HIGHER,
    ),
    (
        "regions_32m_movable_only",
        "32 MiB regions free or movable",
        "regions",
        ("regions_32m", "movable_only"),
        HIGHER,
    ),
    (
        "regions_1g_movable_only",
        "1 GiB regions free or movable",
        "regions",
        ("regions_1g", "movable_only"),
        HIGHER,
    ),
    ("huge_pages_free", "huge pages free at once", "pages", ("huge_pages_free",), HIGHER),
    ("unusable_free_index_9", "unusable free index, order 9", "1/1000", ("unusable_free_index", 9), LOWER),
    ("fragmentation_index_9", "fragmentation index, order 9", "1/1000", ("fragmentation_index", 9), NEITHER),
    ("free_pages", "free pages", "pages", ("free_pages",), NEITHER),
)
"""What is shown of one moment, be it a run's end or a recorded snapshot: end of the id, label, unit, place, direction."""

VMSTAT_ROWS: tuple[tuple[str, str, str, Direction], ...] = (
    ("thp_fault_alloc", "thp_fault_alloc", "faults", HIGHER),
    ("thp_fault_fallback", "thp_fault_fallback", "faults", LOWER),
    ("allocstall", "allocstall, all zones", "times", LOWER),
    ("allocstall_dma", "allocstall_dma", "times", LOWER),
    ("allocstall_dma32", "allocstall_dma32", "times", LOWER),
    ("allocstall_normal", "allocstall_normal", "times", LOWER),
    ("allocstall_movable", "allocstall_movable", "times", LOWER),
    ("compact_stall", "compact_stall", "times", LOWER),
    ("compact_success", "compact_success", "times", NEITHER),
    ("compact_fail", "compact_fail", "times", LOWER),
    ("compact_daemon_wake", "compact_daemon_wake", "times", LOWER),
    ("compact_daemon_migrate_scanned", "compact_daemon_migrate_scanned", "pages", LOWER),
    ("compact_daemon_free_scanned", "compact_daemon_free_scanned", "pages", LOWER),
    ("compact_migrate_scanned", "compact_migrate_scanned", "pages", LOWER),
    ("compact_free_scanned", "compact_free_scanned", "pages", LOWER),
    ("compact_isolated", "compact_isolated", "pages", LOWER),
    ("pgmigrate_success", "pgmigrate_success", "pages", LOWER),
    ("pgmigrate_fail", "pgmigrate_fail", "pages", LOWER),
    ("pgscan_kswapd", "pgscan_kswapd", "pages", LOWER),
    ("pgsteal_kswapd", "pgsteal_kswapd", "pages", LOWER),
    ("pgscan_direct", "pgscan_direct", "pages", LOWER),
    ("pgsteal_direct", "pgsteal_direct", "pages", LOWER),
    ("workingset_refault_file", "workingset_refault_file", "pages", LOWER),
    ("pswpout", "pswpout", "pages", LOWER),
    ("pswpin", "pswpin", "pages", LOWER),
    ("oom_kill", "oom_kill", "times", LOWER),
)
"""Counters of /proc/vmstat, of a replay in closed loop and between two recorded snapshots: name, label, unit, direction."""

CONTIG_ROWS: tuple[tuple[str, str, str, Direction], ...] = (
    ("served", "requests served", "requests", HIGHER),
    ("failed", "requests that failed", "requests", LOWER),
    ("ranges", "ranges isolated, or tried to", "ranges", LOWER),
    ("pages_migrated", "pages moved", "pages", LOWER),
    ("pages_dropped", "clean cache dropped", "pages", LOWER),
    ("ms", "time that it took (virtual)", "ms", LOWER),
)
"""What requests above MAX_PAGE_ORDER came to, where there were any: end of the id, label, unit, direction."""

FIRST_ROWS: tuple[Row, ...] = (
    *(
        Row(f"extfrag.{end}", EXTFRAG, label, "events", figure_of(name), direction)
        for end, label, name, direction in EXTFRAG_ROWS
    ),
    Row(
        SKIP_BITS_ROW,
        "Input",
        "blocks with skip bit at the start",
        "blocks",
        figure_of("start_blocks_with_skip_bit"),
    ),
)
"""What was taken from other types, and the input: before the rows of policies."""

WORKER_MS = Row(
    "cost.worker_ms",
    "Cost",
    "workers' CPU time (virtual)",
    "ms",
    figure_of("worker_cpu_seconds", factor=1e3),
    LOWER,
)
"""What a policy with workers pays; such a policy has it among its rows."""

OUTCOME_ROWS: tuple[Row, ...] = (
    *(
        Row(f"vmstat.{name}", VMSTAT, label, unit, figure_of("vmstat", name), direction)
        for name, label, unit, direction in VMSTAT_ROWS
    ),
    *(
        Row(
            f"stall.{name}_ms",
            VMSTAT,
            f"time stalled in direct {name} (virtual)",
            "ms",
            figure_of("stall_seconds", name, factor=1e3),
            LOWER,
        )
        for name in ("compaction", "reclaim")
    ),
    *(
        Row(f"swap.{name}", VMSTAT, label, "pages", figure_of("swap", name), LOWER)
        for name, label in (
            ("pages_full", "pages for which swap had no slot"),
            ("zspage_pages", "pages that hold compressed ones at the end"),
        )
    ),
    Row("compaction.runs", COMPACTION, "runs", "zones", figure_of("compactions"), LOWER),
    Row(
        "compaction.pages_migrated",
        COMPACTION,
        "pages moved",
        "pages",
        figure_of("compaction_pages_migrated"),
        LOWER,
    ),
    Row(
        "compaction.ms",
        COMPACTION,
        "CPU time (virtual)",
        "ms",
        figure_of("compaction_cpu_seconds", factor=1e3),
        LOWER,
    ),
    Row(
        "mean.mixed_blocks",
        OVER_THE_RUN,
        "mixed pageblocks",
        "blocks",
        mean_of_samples("mixed_blocks"),
        LOWER,
    ),
    Row(
        "mean.polluted_blocks",
        OVER_THE_RUN,
        "polluted pageblocks",
        "blocks",
        mean_of_samples("polluted_blocks"),
        LOWER,
    ),
    *(
        Row(f"end.{end}", AT_THE_END, label, unit, figure_of("end", *path), direction)
        for end, label, unit, path, direction in MOMENT_ROWS
    ),
    *(
        Row(f"contig.{end}", CONTIG, label, unit, figure_of("contig", end), direction)
        for end, label, unit, direction in CONTIG_ROWS
    ),
    *(
        Row(f"regions.{end}", REGIONS, label, unit, value, direction)
        for end, label, unit, value, direction in (
            ("tainted_mean", "tainted, mean of samples", "regions", mean_of_regions("tainted"), LOWER),
            (
                "tainted_end",
                "tainted, at the end",
                "regions",
                figure_of("end", "kept_regions", "tainted"),
                LOWER,
            ),
            (
                "became_tainted",
                "clean ones that became tainted",
                "times",
                region_changes("regions_tainted"),
                LOWER,
            ),
            (
                "became_clean",
                "tainted ones that became clean",
                "times",
                region_changes("regions_cleaned"),
                NEITHER,
            ),
            ("to_be_had_mean", "to be had, mean of samples", "regions", mean_of_regions("to_be_had"), HIGHER),
            (
                "to_be_had_end",
                "to be had, at the end",
                "regions",
                figure_of("end", "kept_regions", "to_be_had"),
                HIGHER,
            ),
            (
                "free_end",
                "free as they are, at the end",
                "regions",
                figure_of("end", "kept_regions", "free"),
                HIGHER,
            ),
            (
                "free_blocks_in_tainted_end",
                "free pageblocks in tainted ones, at the end",
                "blocks",
                figure_of("end", "kept_regions", "free_blocks_in_tainted"),
                NEITHER,
            ),
        )
    ),
    Row("control.demand_rows", CONTROL, "rows of demand", "rows", figure_of("demand_rows")),
    Row(
        "control.allocations_failed",
        CONTROL,
        "allocations that failed",
        "requests",
        figure_of("allocations_failed"),
        LOWER,
    ),
    Row(
        "control.below_watermark",
        CONTROL,
        "taken below the watermarks",
        "requests",
        figure_of("allocations_below_watermark"),
        LOWER,
    ),
    Row(
        "control.frees_of_dropped",
        CONTROL,
        "frees of dropped pages",
        "requests",
        figure_of("frees_of_dropped"),
    ),
)
"""What came of it: after the rows of policies."""
