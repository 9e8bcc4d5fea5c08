# SPDX-License-Identifier: GPL-2.0-or-later
"""What an operation is said to cost: counted by hand on zones small enough, and the figures made of the counts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from search.test_search_forms import churned, one

from kevacuate.demand.objects import OP_ALLOC, OP_FREE
from kevacuate.errors import KevacuateError
from kevacuate.search import fields as f
from kevacuate.search import measure
from kevacuate.search.churn import FULL, HIGH, LOW, MOVABLE_ORDERS, churn, fill, generator, rise_rows
from kevacuate.search.cost import BINS, bin_of, bin_top
from kevacuate.search.machine import ZoneShape, all_free, reserve_blocks
from kevacuate.search.measure import Generated, bytes_per_region, cost_of, outcome_of, search_generated

bin_of = getattr(bin_of, "py_func", bin_of)
COUNTED = ("lists", "regions", "chunks", "words", "flips", "lines")


def counted(search: f.Search, form: int, kind: int) -> dict[str, int]:
    """What the only operation of a kind cost a form."""
    at = (form * 2 + kind) * f.NR_MEASURES
    return dict(zip(COUNTED, search.sum[at : at + f.NR_MEASURES].tolist(), strict=True))


def two_regions(rule: int) -> f.Search:
    """Two regions of 16 pages, one chunk of order 4 each; pageblocks are of order 3."""
    shape = ZoneShape(0, 32, region_order=4, rule=rule, pageblock_order=3, max_page_order=4)
    search = all_free(shape)
    search.view.cfg.counting = 1
    return search


def test_the_first_unmovable_page_under_mainline() -> None:
    search = two_regions(f.MAINLINE)
    assert one(search, OP_ALLOC, 0, 0, 0) == 0
    cost = counted(search, f.FLAT, f.ALLOC)
    # own lists of five orders are empty; then of order 4 the reclaimable list, and the movable one, which has a chunk
    assert cost["lists"] == 5 + 2
    assert cost["chunks"] == 1
    assert (cost["regions"], cost["words"], cost["flips"]) == (0, 0, 0)
    # heads of order 0 to 4 of types 0, 2, 1, with nr_free, lie in the first nine lines of 64 bytes (5 * 104 bytes): 0 to 8;
    # pages: the chunk at 0, its neighbour at 16, the halves at 8, 4, 2, 1
    heads = {(order * 104 + at) // 64 for order in range(5) for at in (0,)}
    heads |= {(4 * 104 + at) // 64 for at in (16, 32)} | {(order * 104 + 96) // 64 for order in range(5)}
    assert cost["lines"] == len(heads) + 6


def test_the_first_unmovable_page_by_region() -> None:
    search = two_regions(f.REGIONS)
    assert one(search, OP_ALLOC, 0, 0, 0) == 0
    by_region, bitmaps, typed = (
        counted(search, form, f.ALLOC) for form in (f.BY_REGION, f.BITMAPS, f.TYPED_BITMAPS)
    )
    # no region is tainted. Of the empty ones: own lists of both (5 each), then order 3 and 4 of the movable lists of the first.
    # When the first one becomes tainted, nothing is passed in its new bucket
    assert by_region["lists"] == 2 * 5 + 2
    assert by_region["regions"] == 2 + 1
    assert by_region["chunks"] == 1
    # own lists: no pass over tainted regions finds a bit in its eight buckets, five passes read them; of the empty ones it is
    # one bucket, the five orders, and each region's five; then bucket, two orders, and the first region's two
    assert bitmaps["words"] == 5 * 8 + (1 + 5 + 2 * 5) + (1 + 2 + 2)
    assert typed["words"] == 5 * 8 + (1 + 5) + (1 + 2 + 2)
    assert (bitmaps["lists"], typed["lists"]) == (2 + 1, 1)
    assert (bitmaps["regions"], typed["regions"]) == (2 + 1, 1)
    # order 4 of the first region is gone, orders 3 to 0 appear; two buckets
    assert bitmaps["flips"] == 5 + 2
    assert typed["flips"] == 5 + 2
    flat = counted(search, f.FLAT, f.ALLOC)
    # each pass counts all of its lists: own 5 of no chunk, twice; movable blocks 2 of two chunks, twice; reclaimable blocks 2;
    # movable and reclaimable below a block 3 each; nothing is walked twice
    assert flat["chunks"] == 2 + 2


def test_a_free_by_region() -> None:
    search = two_regions(f.REGIONS)
    one(search, OP_ALLOC, 0, 0, 0)
    one(search, OP_FREE, 0)
    bitmaps = counted(search, f.BITMAPS, f.FREE)
    assert bitmaps["flips"] == 5 + 2
    assert (bitmaps["lists"], bitmaps["words"]) == (0, 0)
    assert counted(search, f.BY_REGION, f.FREE)["regions"] == 0
    # pages 0, 1, 2, 4, 8; the region's counters; lists of unmovable chunks of five orders and their nr_free; the bucket heads
    heads = {(order * 104 + at) // 64 for order in range(5) for at in (0, 96)}
    assert counted(search, f.BY_REGION, f.FREE)["lines"] == 5 + 1 + len(heads) + 1 + len(
        {0 * 16 // 64, 12 * 16 // 64}
    )


@given(st.integers(0, (1 << 39) - 1))
def test_a_bin_holds_its_value_within_a_sixteenth(value: int) -> None:
    at = bin_of(value)
    assert 0 <= at < BINS
    assert bin_top(at) >= value
    assert at == 0 or bin_top(at - 1) < value
    assert bin_top(at) <= value * 17 // 16


@given(st.lists(st.integers(0, 200), min_size=1, max_size=3000))
def test_the_high_value_is_not_exceeded_by_all_but_one_in_a_thousand(values: list[int]) -> None:
    search = two_regions(f.MAINLINE)
    search.hist[:BINS] = np.bincount(values, minlength=BINS)
    search.sum[0], search.worst[0] = sum(values), max(values)
    cost = cost_of(search, 0, f.ALLOC, 0)
    assert cost.mean == pytest.approx(np.mean(values))
    assert cost.worst == max(values)
    assert sum(value > cost.high for value in values) <= len(values) / 1000
    assert sum(value >= cost.high for value in values) > len(values) / 1000


def test_how_a_zone_lies() -> None:
    search = two_regions(f.REGIONS)
    assert outcome_of(search) == measure.Outcome(
        regions=2, tainted=0, free=2, clean=0, kernel_pages=0, least=0
    )
    one(search, OP_ALLOC, 0, 1, 2)
    assert outcome_of(search) == measure.Outcome(
        regions=2, tainted=1, free=1, clean=0, kernel_pages=2, least=1
    )
    one(search, OP_ALLOC, 1, 0, 1)
    assert outcome_of(search) == measure.Outcome(
        regions=2, tainted=1, free=0, clean=1, kernel_pages=2, least=1
    )


def test_the_generated_demand_is_what_it_says() -> None:
    npages = 1 << 17
    made = generator(npages, 3)
    live: dict[int, tuple[int, int]] = {}
    orders = np.zeros(16)
    parts = [*fill(made, npages), *churn(made, npages, 2 * rise_rows(npages), size=1 << 30)]
    for chunk in parts:
        for op, obj, order, mt in zip(
            *(column.tolist() for column in (chunk.op, chunk.obj, chunk.order, chunk.mt)), strict=True
        ):
            if op == OP_ALLOC:
                assert obj not in live
                live[obj] = order, mt
                orders[order] += mt == 1
            else:
                assert live.pop(obj) == (order, mt)
        assert np.all(np.diff(chunk.t) > 0)
    used = sum(1 << order for order, _ in live.values())
    assert used == pytest.approx(FULL * npages, rel=0.02)
    kernel = sum(1 << order for order, mt in live.values() if mt != 1)
    assert 0.7 * LOW < kernel / used < 1.2 * HIGH
    shares = [
        (upto - before) / 1024
        for (_, upto), before in zip(MOVABLE_ORDERS, (0, *(n for _, n in MOVABLE_ORDERS)), strict=False)
    ]
    for (order, _), share in zip(MOVABLE_ORDERS, shares, strict=True):
        assert orders[order] / orders.sum() == pytest.approx(share, rel=0.25)


def test_equal_seeds_give_equal_runs_and_regions_taint_less() -> None:
    what = Generated(1, region_order=14, cycles=1, rows=20_000)
    runs = {rule: search_generated(what, rule) for rule in range(3)}
    assert search_generated(what, f.REGIONS) == runs[f.REGIONS]
    assert runs[f.REGIONS].cycles[-1].tainted < runs[f.MAINLINE].cycles[-1].tainted
    for run in runs.values():
        assert run.operations == run.counters["allocs"] + run.counters["frees"]
        assert run.counters["unfound"] == 0


def test_forms_that_differ_end_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    search = churned(100)
    search.view.stat.wrong[f.BITMAPS] = 1
    with pytest.raises(KevacuateError, match="chose different pages"):
        measure._searched("a zone", search, ZoneShape(0, 1 << 16, region_order=13), [], 0)


def test_memory_by_region() -> None:
    assert bytes_per_region(f.FLAT, f.MAINLINE, 256) == 0
    assert bytes_per_region(f.FLAT, f.REGIONS, 256) == 64
    assert bytes_per_region(f.BY_REGION, f.REGIONS, 256) == 64 + 1152 + 13 * 16 / 256
    assert bytes_per_region(f.BITMAPS, f.REGIONS, 256) == 64 + 1152 + 24 * 4 * 8 / 256
    assert bytes_per_region(f.TYPED_BITMAPS, f.REGIONS, 256) == 64 + 1152 + 46 * 4 * 8 / 256


def test_the_reserve_is_the_series() -> None:
    assert reserve_blocks(18, 9) == 16
    assert reserve_blocks(13, 9) == 4
    assert reserve_blocks(10, 9) == 0
