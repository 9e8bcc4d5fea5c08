# SPDX-License-Identifier: GPL-2.0-or-later
"""The rows of a comparison: the figures a maintainer would quote, with their units and where they come from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from kevacuate.errors import KevacuateError, instance
from kevacuate.measure import Comparison, Run, prices
from kevacuate.measure.permutation import Direction
from kevacuate.measure.rows import (
    HIGHER,
    LOWER,
    NEITHER,
    Row,
    at_the_end,
    counter,
    mean_of_samples,
    milliseconds,
    stall_milliseconds,
    vmstat,
)
from kevacuate.policy import POLICIES
from kevacuate.reports.comparison.group_rows import GroupRow, by_id, told_apart

EXTFRAG = "External fragmentation events"
COMPACTION = "Compaction (kcompactd)"
OVER_THE_RUN = "Over the run (mean of samples)"
AT_THE_END = "At the end"
VMSTAT = "/proc/vmstat (closed loop)"
OWN = "The policy's own"
CONTROL = "Control (should not move)"
"""Sections that are named more than once."""

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
    ("oom_kill", "oom_kill", "times", LOWER),
)
"""Counters of /proc/vmstat, of a replay in closed loop and between two recorded snapshots: name, label, unit, direction."""

ROWS: tuple[Row, ...] = (
    *(
        Row(f"extfrag.{end}", EXTFRAG, label, "events", counter(name), direction)
        for end, label, name, direction in EXTFRAG_ROWS
    ),
    Row(
        SKIP_BITS_ROW,
        "Input",
        "blocks with skip bit at the start",
        "blocks",
        counter("start_blocks_with_skip_bit"),
    ),
    *(row for policy in POLICIES.values() for row in policy.rows),
    *(
        Row(f"vmstat.{name}", VMSTAT, label, unit, vmstat(name), direction)
        for name, label, unit, direction in VMSTAT_ROWS
    ),
    *(
        Row(
            f"stall.{name}_ms",
            VMSTAT,
            f"time stalled in direct {name} (virtual)",
            "ms",
            stall_milliseconds(name),
            LOWER,
        )
        for name in ("compaction", "reclaim")
    ),
    Row("compaction.runs", COMPACTION, "runs", "zones", counter("compactions"), LOWER),
    Row(
        "compaction.pages_migrated",
        COMPACTION,
        "pages moved",
        "pages",
        counter("compaction_pages_migrated"),
        LOWER,
    ),
    Row(
        "compaction.ms",
        COMPACTION,
        "CPU time (virtual)",
        "ms",
        milliseconds("compaction_cpu_seconds"),
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
        Row(f"end.{end}", AT_THE_END, label, unit, at_the_end(*path), direction)
        for end, label, unit, path, direction in MOMENT_ROWS
    ),
    Row("control.demand_rows", CONTROL, "rows of demand", "rows", counter("demand_rows")),
    Row(
        "control.allocations_failed",
        CONTROL,
        "allocations that failed",
        "requests",
        counter("allocations_failed"),
        LOWER,
    ),
    Row(
        "control.below_watermark",
        CONTROL,
        "taken below the watermarks",
        "requests",
        counter("allocations_below_watermark"),
        LOWER,
    ),
    Row(
        "control.frees_of_dropped", CONTROL, "frees of dropped pages", "requests", counter("frees_of_dropped")
    ),
)


def row_of(row_id: str) -> Row:
    """The row of a comparison's table with this id.

    Raises
    ------
    KevacuateError
        There is none.
    """
    for row in ROWS:
        if row.id == row_id:
            return row
    raise KevacuateError(
        f"A comparison has no row {row_id!r}: the known ones are {', '.join(row.id for row in ROWS)}."
    )


def value_of(row: Row, run: Run) -> float | None:
    """A run's value; None where it has none to give, as :class:`~kevacuate.measure.rows.Row` says.

    Raises
    ------
    KevacuateError
        The run lacks a figure that every run has: another version made it.
    """
    try:
        return row.value(run)
    except KeyError as error:
        raise KevacuateError(
            f"The row {row.id} shows the figure {error}, which the run of {run.policy!r} lacks: "
            "another version made that run, so compare again."
        ) from None


def with_own_rows(runs: Iterable[Run]) -> list[Row]:
    """All rows, and behind those of the built-in policies the counters that policies of hooks declare, as runs tell them."""
    told: dict[str, Row] = {}
    for run in runs:
        for name, how in run.provenance.get("policy_rows", {}).items():
            value = partial(_own_counter, name)
            better = Direction(how["better"]) if how["better"] else Direction.NEITHER
            told.setdefault(
                f"policy.{name}", Row(f"policy.{name}", OWN, how["label"], how["unit"], value, better)
            )
    first = next(i for i, row in enumerate(ROWS) if row.section == VMSTAT)
    return [*ROWS[:first], *told.values(), *ROWS[first:]]


def _own_counter(name: str, run: Run) -> float:
    """What a policy has counted under a name; 0 in runs of policies that count no such thing."""
    return float(run.metrics.get("policy", {}).get(name, 0))


def comparison_rows(comparison: Comparison) -> list[GroupRow[Row]]:
    """The rows of a comparison, one group per policy; a row of which some run has no value is left out.

    That of the skip bits is shown, as not recorded, where a recording has none.

    Raises
    ------
    KevacuateError
        As :func:`value_of`.
    """
    groups: Sequence[Sequence[Run]] = list(instance(comparison, Comparison, "compare").groups.values())
    rows = with_own_rows(comparison.runs)
    made = [GroupRow.of(row, ([value_of(row, run) for run in group] for group in groups)) for row in rows]
    return [
        row
        for row in made
        if row.row.id == SKIP_BITS_ROW or not any(v is None for group in row.values for v in group)
    ]


def folded(rows: Sequence[GroupRow[Row]]) -> tuple[list[GroupRow[Row]], list[GroupRow[Row]]]:
    """The rows that people see first, and those that are 0 in every run, which have nothing to say."""
    zeros = [row for row in rows if all(value == 0 for group in row.values for value in group)]
    return [row for row in rows if row not in zeros], zeros


def zeros_words(zeros: Sequence[object]) -> str:
    """What stands for rows that are folded away."""
    return f"{len(zeros)} row{'' if len(zeros) == 1 else 's'} {'is' if len(zeros) == 1 else 'are'} 0 in every run"


@dataclass(frozen=True)
class Price:
    """What a gain cost: id, label, unit, key in :func:`kevacuate.measure.prices`, and the id of the row that was gained."""

    id: str
    label: str
    unit: str
    key: str
    gain: str


PRICES = (
    Price(
        "price.huge_pages_per_worker_second",
        "huge pages gained per worker second",
        "1/s",
        "huge_pages_per_worker_second",
        "end.huge_pages_free",
    ),
    Price(
        "price.huge_pages_per_dropped_page",
        "huge pages gained per page dropped",
        "1/page",
        "huge_pages_per_dropped_page",
        "end.huge_pages_free",
    ),
    Price(
        "price.movable_only_per_worker_second",
        "2 MiB regions gained per worker second",
        "1/s",
        "movable_only_per_worker_second",
        "end.regions_2m_movable_only",
    ),
    Price(
        "price.movable_only_per_dropped_page",
        "2 MiB regions gained per page dropped",
        "1/page",
        "movable_only_per_dropped_page",
        "end.regions_2m_movable_only",
    ),
)


def price_rows(comparison: Comparison) -> list[tuple[Price, list[float | None]]]:
    """The prices of the benefit, and each policy's value.

    None where nothing was paid; and of several runs where they cannot tell the gain from chance, as then nothing was bought.
    """
    rows = by_id(comparison_rows(comparison))
    base, *others = comparison.groups.values()
    found = []
    for price in PRICES:
        values: list[float | None] = [None]
        for i, runs in enumerate(others):
            known = not comparison.repeated or (
                price.gain in rows and told_apart(rows[price.gain].decisions[i])
            )
            values.append(prices(base, runs)[price.key] if known else None)
        found.append((price, values))
    return found


def seeds_words(runs: Sequence[Run]) -> str:
    """``seeds 0 to 4``: what several runs of a policy were drawn with."""
    seeds = sorted(run.seed for run in runs)
    if len(seeds) > 2 and seeds == list(range(seeds[0], seeds[0] + len(seeds))):
        return f"seeds {seeds[0]} to {seeds[-1]}"
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"


def replays_words(comparison: Comparison) -> str:
    """How often each policy was replayed, and with which seeds."""
    groups = list(comparison.groups.values())
    words = {f"{len(runs)} replay{'s' if len(runs) > 1 else ''} ({seeds_words(runs)})" for runs in groups}
    if len(words) == 1:
        return words.pop() + (" each" if len(groups) > 1 else "")
    return "replays: " + ", ".join(str(len(runs)) for runs in groups)
