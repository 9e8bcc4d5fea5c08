# SPDX-License-Identifier: GPL-2.0-or-later
"""The rows of a comparison: the figures a maintainer would quote, with their units and where they come from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from kevacuate.measure import Comparison, Run, prices
from kevacuate.report.grouprows import GroupRow, rows_of, told_apart


@dataclass(frozen=True)
class Row:
    """A row: its section, name, unit, and how to get its value from a run.

    ``better`` is -1 where less is better, 1 where more is, 0 where neither is (or it is a control row).
    """

    section: str
    name: str
    unit: str
    value: Callable[[Run], float]
    better: int = 0


def _metric(name: str) -> Callable[[Run], float]:
    """A counter of the whole run."""
    return lambda run: float(run.metrics[name])


def _end(*names: Any) -> Callable[[Run], float]:
    """A value of the last moment; names are keys or list indices."""

    def get(run: Run) -> float:
        value: Any = run.metrics["end"]
        for name in names:
            value = value[name]
        return float(value)

    return get


def _mean(name: str) -> Callable[[Run], float]:
    """The mean over the run's samples of virtual time."""
    return lambda run: sum(run.series[name]) / max(len(run.series[name]), 1)


def _ended(start: str) -> Callable[[Run], float]:
    """Evacuations that ended in the way whose name begins so."""
    return lambda run: float(
        sum(n for name, n in run.metrics["evacuations_ended"].items() if name.startswith(start))
    )


ROWS: tuple[Row, ...] = (
    Row("External fragmentation events", "all (mm_page_alloc_extfrag)", "events", _metric("extfrag"), -1),
    Row(
        "External fragmentation events",
        "below pageblock order",
        "events",
        _metric("extfrag_below_pageblock"),
        -1,
    ),
    Row(
        "External fragmentation events",
        "claims of movable blocks",
        "events",
        _metric("claims_from_movable"),
        -1,
    ),
    Row(
        "External fragmentation events",
        "claims of whole free blocks",
        "events",
        _metric("claims_whole_block_from_movable"),
    ),
    Row("External fragmentation events", "steals from movable", "events", _metric("steals_from_movable"), -1),
    Row("External fragmentation events", "steals by movable", "events", _metric("steals_by_movable"), -1),
    Row("Input", "blocks with skip bit at the start", "blocks", _metric("start_blocks_with_skip_bit")),
    Row("Evacuations", "queued", "blocks", _metric("evacuations_queued")),
    Row("Evacuations", "dropped, no item left", "blocks", _metric("evacuations_dropped")),
    Row(
        "Evacuations", "started with the skip bit set", "blocks", _metric("evacuations_started_with_skip_bit")
    ),
    Row("Evacuations", "movable again when started", "blocks", _metric("evacuations_movable_again")),
    Row("Evacuations", "ran to the end of the block", "blocks", _ended("ran")),
    Row("Evacuations", "found nothing to isolate", "blocks", _ended("nothing isolated")),
    Row("Evacuations", "ended by a page that failed", "blocks", _ended("a page failed")),
    Row("Evacuations", "ended by too many isolated", "blocks", _ended("too many")),
    Row("Cost", "pages isolated", "pages", _metric("pages_isolated")),
    Row("Cost", "clean cache dropped", "pages", _metric("pages_dropped"), -1),
    Row("Cost", "migrated", "pages", _metric("pages_migrated")),
    Row("Cost", "failed to migrate", "pages", _metric("pages_failed"), -1),
    Row("Cost", "workers' CPU time (virtual)", "ms", lambda run: run.metrics["worker_cpu_seconds"] * 1e3, -1),
    Row("Compaction (kcompactd)", "runs", "zones", _metric("compactions"), -1),
    Row("Compaction (kcompactd)", "pages moved", "pages", _metric("compaction_pages_migrated"), -1),
    Row(
        "Compaction (kcompactd)",
        "CPU time (virtual)",
        "ms",
        lambda run: run.metrics["compaction_cpu_seconds"] * 1e3,
        -1,
    ),
    Row("Over the run (mean of samples)", "mixed pageblocks", "blocks", _mean("mixed_blocks"), -1),
    Row("Over the run (mean of samples)", "polluted pageblocks", "blocks", _mean("polluted_blocks"), -1),
    Row("At the end", "mixed pageblocks", "blocks", _end("mixed_blocks"), -1),
    Row("At the end", "polluted pageblocks", "blocks", _end("polluted_blocks"), -1),
    Row("At the end", "pages that pollute pageblocks", "pages", _end("polluted_pages"), -1),
    Row("At the end", "pageblocks unmovable", "blocks", _end("blocks", "unmovable"), -1),
    Row("At the end", "pageblocks reclaimable", "blocks", _end("blocks", "reclaimable"), -1),
    Row("At the end", "pageblocks movable", "blocks", _end("blocks", "movable"), 1),
    Row("At the end", "2 MiB regions tainted", "regions", _end("regions_2m", "tainted"), -1),
    Row("At the end", "2 MiB regions free or movable", "regions", _end("regions_2m", "movable_only"), 1),
    Row("At the end", "32 MiB regions free or movable", "regions", _end("regions_32m", "movable_only"), 1),
    Row("At the end", "1 GiB regions free or movable", "regions", _end("regions_1g", "movable_only"), 1),
    Row("At the end", "huge pages free at once", "pages", _end("huge_pages_free"), 1),
    Row("At the end", "unusable free index, order 9", "1/1000", _end("unusable_free_index", 9), -1),
    Row("At the end", "fragmentation index, order 9", "1/1000", _end("fragmentation_index", 9)),
    Row("At the end", "free pages", "pages", _end("free_pages")),
    Row("Control (should not move)", "rows of demand", "rows", _metric("demand_rows")),
    Row(
        "Control (should not move)", "allocations that failed", "requests", _metric("allocations_failed"), -1
    ),
    Row(
        "Control (should not move)",
        "taken below the watermarks",
        "requests",
        _metric("allocations_below_watermark"),
        -1,
    ),
    Row("Control (should not move)", "frees of dropped pages", "requests", _metric("frees_of_dropped")),
)


def _value(row: Row, run: Run) -> float | None:
    """A run's value; None where it lacks the figure."""
    try:
        return row.value(run)
    except (KeyError, IndexError, TypeError):
        return None


def comparison_rows(comparison: Comparison) -> list[GroupRow[Row]]:
    """The rows of a comparison, one group per policy; a row that some run lacks is left out."""
    groups: Sequence[Sequence[Run]] = list(comparison.groups.values())
    rows = rows_of(ROWS, groups, _value)
    return [row for row in rows if not any(v is None for group in row.values for v in group)]


PRICES = (
    ("huge_pages_per_worker_second", "huge pages gained per worker second", "1/s", "huge pages free at once"),
    (
        "huge_pages_per_dropped_page",
        "huge pages gained per page dropped",
        "1/page",
        "huge pages free at once",
    ),
    (
        "movable_only_per_worker_second",
        "2 MiB regions gained per worker second",
        "1/s",
        "2 MiB regions free or movable",
    ),
    (
        "movable_only_per_dropped_page",
        "2 MiB regions gained per page dropped",
        "1/page",
        "2 MiB regions free or movable",
    ),
)
"""Key in :func:`kevacuate.measure.prices`, name, unit, and the row at the end that says whether there was a gain."""


def price_rows(comparison: Comparison) -> list[tuple[str, str, list[float | None]]]:
    """Name, unit and each policy's value of the prices of the benefit.

    None where nothing was paid; and of several runs where they cannot tell the gain from chance, as then nothing was bought.
    """
    gains = {row.row.name: row for row in comparison_rows(comparison) if row.row.section == "At the end"}
    base, *others = comparison.groups.values()
    rows = []
    for key, name, unit, gain in PRICES:
        values: list[float | None] = [None]
        for i, runs in enumerate(others):
            known = not comparison.repeated or (gain in gains and told_apart(gains[gain].decisions[i]))
            values.append(prices(base, runs)[key] if known else None)
        rows.append((name, unit, values))
    return rows


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
