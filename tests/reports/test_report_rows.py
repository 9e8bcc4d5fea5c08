# SPDX-License-Identifier: GPL-2.0-or-later
"""Rows of the tables: their ids, which way each is better, and what the tables, the page and the figures make of that."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest

import kevacuate
from kevacuate.errors import KevacuateError
from kevacuate.measure import Comparison
from kevacuate.measure.moments import vmstat_change
from kevacuate.measure.permutation import Direction
from kevacuate.measure.recorded import Recorded, RecordedCounter
from kevacuate.measure.rows import Row, figure_of
from kevacuate.measure.table import MOMENT_ROWS, SKIP_BITS_ROW
from kevacuate.recording.schema import EventKind
from kevacuate.recording.snapshot import Snapshot
from kevacuate.reports.comparison.group_rows import GroupRow, style
from kevacuate.reports.comparison.recorded_rows import rows_for
from kevacuate.reports.comparison.rows import (
    PRICES,
    ROWS,
    comparison_rows,
    row_of,
)
from kevacuate.reports.comparison.tables import _single_cells
from kevacuate.reports.page.tables import _cell
from kevacuate.reports.plot.bars import _BETTER

VMSTAT = {
    "vmstat.thp_fault_alloc": "higher",
    "vmstat.thp_fault_fallback": "lower",
    "vmstat.allocstall": "lower",
    "vmstat.allocstall_dma": "lower",
    "vmstat.allocstall_dma32": "lower",
    "vmstat.allocstall_normal": "lower",
    "vmstat.allocstall_movable": "lower",
    "vmstat.compact_stall": "lower",
    "vmstat.compact_success": "neither",
    "vmstat.compact_fail": "lower",
    "vmstat.compact_daemon_wake": "lower",
    "vmstat.compact_daemon_migrate_scanned": "lower",
    "vmstat.compact_daemon_free_scanned": "lower",
    "vmstat.compact_migrate_scanned": "lower",
    "vmstat.compact_free_scanned": "lower",
    "vmstat.compact_isolated": "lower",
    "vmstat.pgmigrate_success": "lower",
    "vmstat.pgmigrate_fail": "lower",
    "vmstat.pgscan_kswapd": "lower",
    "vmstat.pgsteal_kswapd": "lower",
    "vmstat.pgscan_direct": "lower",
    "vmstat.pgsteal_direct": "lower",
    "vmstat.workingset_refault_file": "lower",
    "vmstat.pswpout": "lower",
    "vmstat.pswpin": "lower",
    "vmstat.oom_kill": "lower",
}
"""Of the counters of /proc/vmstat, which replays and recordings share, in order."""
DIRECTIONS = {
    "extfrag.all": "lower",
    "extfrag.below_pageblock": "lower",
    "extfrag.claims_from_movable": "lower",
    "extfrag.claims_whole_block_from_movable": "neither",
    "extfrag.steals_from_movable": "lower",
    "extfrag.steals_by_movable": "lower",
    "input.blocks_with_skip_bit": "neither",
    "evacuations.queued": "neither",
    "evacuations.dropped": "neither",
    "evacuations.started_with_skip_bit": "neither",
    "evacuations.movable_again": "neither",
    "evacuations.ran_to_the_end": "neither",
    "evacuations.nothing_isolated": "neither",
    "evacuations.page_failed": "neither",
    "evacuations.too_many_isolated": "neither",
    "cost.pages_isolated": "neither",
    "cost.pages_dropped": "lower",
    "cost.pages_migrated": "neither",
    "cost.pages_failed": "lower",
    "cost.worker_ms": "lower",
    "regions.pass.own_in_tainted": "neither",
    "regions.pass.block_in_tainted": "neither",
    "regions.pass.claim_in_tainted": "neither",
    "regions.pass.borrow_in_tainted": "neither",
    "regions.pass.borrow_movable": "neither",
    "regions.pass.taint": "lower",
    "regions.pass.movable_clean": "neither",
    "regions.pass.movable_shared": "neither",
    "regions.pass.movable_reserve": "lower",
    "regions.pass.taint_refused": "neither",
    "regions.worker.began": "neither",
    "regions.worker.rested": "lower",
    "regions.evacuation.requests": "lower",
    "regions.evacuation.served": "neither",
    "regions.evacuation.blocks": "lower",
    "regions.evacuation.pages": "lower",
    "regions.evacuation.ms": "lower",
    "regions.shrink.runs": "lower",
    "regions.shrink.pages": "neither",
    **VMSTAT,
    "stall.compaction_ms": "lower",
    "stall.reclaim_ms": "lower",
    "swap.pages_full": "lower",
    "swap.zspage_pages": "lower",
    "compaction.runs": "lower",
    "compaction.pages_migrated": "lower",
    "compaction.ms": "lower",
    "mean.mixed_blocks": "lower",
    "mean.polluted_blocks": "lower",
    "end.mixed_blocks": "lower",
    "end.polluted_blocks": "lower",
    "end.polluted_pages": "lower",
    "end.blocks_unmovable": "lower",
    "end.blocks_reclaimable": "lower",
    "end.blocks_movable": "higher",
    "end.regions_2m_tainted": "lower",
    "end.regions_2m_movable_only": "higher",
    "end.regions_32m_movable_only": "higher",
    "end.regions_1g_movable_only": "higher",
    "end.huge_pages_free": "higher",
    "end.unusable_free_index_9": "lower",
    "end.fragmentation_index_9": "neither",
    "end.free_pages": "neither",
    "contig.served": "higher",
    "contig.failed": "lower",
    "contig.ranges": "lower",
    "contig.pages_migrated": "lower",
    "contig.pages_dropped": "lower",
    "contig.ms": "lower",
    "regions.tainted_mean": "lower",
    "regions.tainted_end": "lower",
    "regions.became_tainted": "lower",
    "regions.became_clean": "neither",
    "regions.to_be_had_mean": "higher",
    "regions.to_be_had_end": "higher",
    "regions.free_end": "higher",
    "regions.free_blocks_in_tainted_end": "neither",
    "control.demand_rows": "neither",
    "control.allocations_failed": "lower",
    "control.below_watermark": "lower",
    "control.frees_of_dropped": "neither",
}
"""Of the rows of a comparison, all of them, in order."""

CONTIG = [name for name in DIRECTIONS if name.startswith("contig.")]
"""Rows of demands that ask for more than MAX_PAGE_ORDER has: no recording does."""

RECORDED = {
    "extfrag.claims_refused_from_movable": "lower",
    "extfrag.claims_by_movable": "neither",
    "work.compaction_runs": "lower",
    "work.direct_compactions": "lower",
    "work.kcompactd_wakes": "lower",
    "work.compaction_pages_scanned": "lower",
    "work.compaction_pages_isolated": "lower",
    "work.compaction_pages_migrated": "lower",
    "work.compaction_pages_failed": "lower",
    "work.migrate_pages_succeeded": "lower",
    "work.direct_reclaims": "lower",
    "work.direct_reclaim_pages": "lower",
    "work.kswapd_balances": "lower",
    "work.kswapd_pages": "lower",
    **VMSTAT,
    "rate.extfrag": "lower",
    "rate.claims_from_movable": "lower",
    "rate.steals_from_movable": "lower",
    "rate.compaction_runs": "lower",
    "rate.allocations": "neither",
    "snapshot.s.mixed_blocks": "lower",
    "snapshot.s.polluted_blocks": "lower",
    "snapshot.s.polluted_pages": "lower",
    "snapshot.s.blocks_with_unmovable": "lower",
    "snapshot.s.blocks_unmovable": "lower",
    "snapshot.s.blocks_reclaimable": "lower",
    "snapshot.s.blocks_movable": "higher",
    "snapshot.s.regions_2m_tainted": "lower",
    "snapshot.s.regions_2m_movable_only": "higher",
    "snapshot.s.regions_32m_movable_only": "higher",
    "snapshot.s.regions_1g_movable_only": "higher",
    "snapshot.s.huge_pages_free": "higher",
    "snapshot.s.unusable_free_index_9": "lower",
    "snapshot.s.fragmentation_index_9": "neither",
    "snapshot.s.free_pages": "neither",
    "snapshot.s.free_chunks_0": "neither",
    "snapshot.s.free_chunks_1": "neither",
    "control.allocations": "neither",
    "control.pages_allocated": "neither",
    "control.allocations_failed": "lower",
    "control.pgalloc": "neither",
    "control.recorded_seconds": "neither",
}
"""Of the rows that only recordings side by side have; free chunks of order 2 and up as those of order 1."""

VMSTAT = (
    "allocstall_dma", "allocstall_dma32", "allocstall_movable", "allocstall_normal", "compact_daemon_free_scanned",
    "compact_daemon_migrate_scanned", "compact_daemon_wake", "compact_fail", "compact_free_scanned",
    "compact_isolated", "compact_migrate_scanned", "compact_stall", "compact_success", "oom_kill",
    "pgalloc_dma32", "pgalloc_normal", "pgmigrate_fail", "pgmigrate_success", "pgscan_direct", "pgscan_kswapd",
    "pgsteal_direct", "pgsteal_kswapd", "pswpin", "pswpout", "thp_fault_alloc", "thp_fault_fallback", "workingset_refault_file",
)  # fmt: skip
"""Names of counters of /proc/vmstat of Linux 6.18."""


def test_every_row_of_a_comparison_has_its_id_and_direction() -> None:
    assert {row.id: str(row.direction) for row in ROWS} == DIRECTIONS
    assert [row.id for row in ROWS] == list(DIRECTIONS)


def test_every_row_of_recordings_has_its_id_and_direction() -> None:
    rows = rows_for([Recorded("a", {}, {"s": {}})])
    ids = [row.id for row in rows]
    assert len(ids) == len(set(ids))
    wanted = dict(RECORDED)
    wanted |= {f"snapshot.s.free_chunks_{i}": "neither" for i in range(11)}
    shared = {
        name: way
        for name, way in DIRECTIONS.items()
        if name.split(".")[0]
        not in ("mean", "end", "control", "compaction", "stall", "swap", "contig", "regions")
    }
    assert {row.id: str(row.direction) for row in rows} == wanted | shared


@pytest.fixture(scope="module")
def full() -> Comparison:
    """One replay of the recording that ships with the package."""
    return kevacuate.compare(kevacuate.open(), "mainline,regions=auto", repeats=1)


def test_a_run_yields_every_row(full: Comparison) -> None:
    rows = comparison_rows(full)
    assert [row.row.id for row in rows] == [name for name in DIRECTIONS if name not in CONTIG]
    assert [row.row.id for row in rows if row.values[0][0] is None] == []


def test_a_figure_that_a_run_lacks_is_an_error_in_words(full: Comparison) -> None:
    run = full.baseline
    for names in (("pages_migrated",), ("end", "regions_2m", "tainted")):
        metrics = deepcopy(run.metrics)
        inner = metrics
        for name in names[:-1]:
            inner = inner[name]
        del inner[names[-1]]
        lacking = Comparison((replace(run, metrics=metrics),), full.recording)
        said = f"shows the figure '{names[-1]}', which the run of 'mainline,regions=auto' lacks"
        with pytest.raises(KevacuateError, match=said):
            comparison_rows(lacking)


def test_what_was_not_recorded_has_no_value(full: Comparison) -> None:
    run = full.baseline
    metrics = {**run.metrics, "start_blocks_with_skip_bit": None}
    (row,) = (
        row
        for row in comparison_rows(Comparison((replace(run, metrics=metrics),), {}))
        if row.row.id == SKIP_BITS_ROW
    )
    assert row.values == ((None,),)


def test_a_machine_without_chunks_of_an_order_has_no_row_of_it(full: Comparison) -> None:
    run = full.baseline
    end = {**run.metrics["end"], "unusable_free_index": run.metrics["end"]["unusable_free_index"][:9]}
    small = replace(run, metrics={**run.metrics, "end": end})
    assert figure_of("end", "unusable_free_index", 9)(small) is None
    shown = {row.row.id for row in comparison_rows(Comparison((small,), {}))}
    assert set(DIRECTIONS) - shown == {"end.unusable_free_index_9", *CONTIG}


def test_what_was_asked_for_above_the_largest_order_has_rows(full: Comparison) -> None:
    figures = {name.partition(".")[2]: 1 for name in CONTIG}
    asked = replace(full.baseline, metrics={**full.baseline.metrics, "contig": figures})
    rows = {row.row.id: row.values for row in comparison_rows(Comparison((asked,), {}))}
    assert {name: rows[name] for name in CONTIG} == dict.fromkeys(CONTIG, ((1.0,),))


def test_a_recording_of_everything_yields_every_row_but_that_of_virtual_time(full: Comparison) -> None:
    first, last = (Snapshot(ts, "x", (), dict.fromkeys(VMSTAT, ts)) for ts in (0, 7))
    metrics = {
        **RecordedCounter(9, frozenset(EventKind), seconds=1.0).metrics(),
        "vmstat": vmstat_change([first, last]),
        "start_blocks_with_skip_bit": 0,
    }
    recorded = Recorded("a", metrics, {"s": full.baseline.metrics["end"]})
    without = [row.id for row in rows_for([recorded]) if row.value(recorded) is None]
    assert without == ["cost.worker_ms"]  # virtual time: a recorded kernel has none


def test_the_row_of_recordings_alone_stands_among_those_of_a_moment() -> None:
    ids = [row.id for row in rows_for([Recorded("a", {}, {"s": {}})])]
    at = ids.index("snapshot.s.blocks_with_unmovable")
    assert ids[at - 1 : at + 2 : 2] == ["snapshot.s.polluted_pages", "snapshot.s.blocks_unmovable"]


def test_a_snapshot_is_judged_as_the_end_of_a_run_is() -> None:
    for end, _, _, _, direction in MOMENT_ROWS:
        assert RECORDED[f"snapshot.s.{end}"] == DIRECTIONS[f"end.{end}"] == direction


def test_what_a_price_buys_is_a_row_that_is_better_when_higher() -> None:
    assert {price.id for price in PRICES}.isdisjoint(DIRECTIONS)
    assert {row_of(price.gain).direction for price in PRICES} == {Direction.HIGHER}


def test_a_row_is_found_by_its_id() -> None:
    assert row_of("end.mixed_blocks").label == "mixed pageblocks"
    with pytest.raises(KevacuateError, match=r"no row 'mixed pageblocks': the known ones are extfrag\.all, "):
        row_of("mixed pageblocks")


@pytest.mark.parametrize(
    ("direction", "less", "more"),
    [("lower", "better", "worse"), ("higher", "worse", "better"), ("neither", "", "")],
)
def test_better_and_worse(direction: str, less: str, more: str) -> None:
    way = Direction(direction)
    assert (way.judged(-0.5), way.judged(3), way.judged(0), way.judged(None)) == (less, more, "", "")


COLOURS = {"better": "green", "worse": "red"}


def made(direction: Direction, base: list[float], other: list[float]) -> GroupRow[Row]:
    def none(run: Any) -> float:
        raise AssertionError(run)

    return GroupRow.of(Row("x.y", "S", "l", "u", none, direction), (base, other))


@pytest.mark.parametrize("direction", list(Direction))
@pytest.mark.parametrize("higher", [False, True])
def test_better_is_green_and_worse_is_red_wherever_it_is_shown(direction: Direction, higher: bool) -> None:
    low, high = [1.0, 2.0, 3.0, 4.0], [21.0, 22.0, 23.0, 24.0]
    base, other = (low, high) if higher else (high, low)
    said = direction.judged(1 if higher else -1)
    many = made(direction, base, other)
    assert style(many.row, many.decisions[0]) == COLOURS.get(said, "bold")
    assert _cell(many, 1).verdict == said
    single = made(direction, base[:1], other[:1])
    (cell,) = _single_cells(single, 1)
    assert [str(span.style) for span in cell.spans] == [COLOURS.get(said, "dim")]
    assert _cell(single, 1).verdict == said


def test_no_colour_where_chance_may_have_done_it() -> None:
    row = made(Direction.LOWER, [1.0, 5.0, 9.0], [2.0, 6.0, 8.0])
    assert style(row.row, row.decisions[0]) == "dim"
    assert _cell(row, 1).verdict == ""


def test_the_axis_of_a_figure_says_which_way_is_better() -> None:
    assert _BETTER == {
        Direction.LOWER: ", less is better",
        Direction.NEITHER: "",
        Direction.HIGHER: ", more is better",
    }
