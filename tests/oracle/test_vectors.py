# SPDX-License-Identifier: GPL-2.0-or-later
"""The oracle against the worked examples of `vectors`."""

from __future__ import annotations

import pytest

from . import Config, Oracle, ZoneConfig, pcp, watermark
from . import constants as k
from .vectors import (
    BATCHES,
    CLAIM_BOOSTS,
    CLAIMS,
    EXPANSIONS,
    KHUGEPAGED_MIN_FREE,
    LOWMEM_KBYTES_TO_MIN_FREE,
    MAX_BOOST,
    OVER_DRAIN,
    PLACEMENTS,
    REFILL_BY_ORDER,
    REFILL_RAMP,
    REFILL_RAMP_BOUNDS,
    WATERMARK_TESTS,
    WATERMARKS,
    Claim,
    Expand,
    Placement,
    WatermarkCase,
    Watermarks,
)
from .zone import Page, Pcp

FreeLists = list[tuple[int, int, list[int]]]


def machine(npages: int = 4096, **settings: object) -> Oracle:
    """One CPU, one zone, nothing free; watermarks 0."""
    zone = ZoneConfig(0, k.ZONE_NORMAL, 0, npages)
    return Oracle(Config(cpu_node=[0], npages=npages, zones=[zone], log_level=3, **settings), boot=False)  # type: ignore[arg-type]


def load(oracle: Oracle, free: FreeLists, default: int = k.UNMOVABLE) -> None:
    """Free lists as given; all blocks of type `default`."""
    blocks = [(start, default, 0) for start in range(0, oracle.config.npages, 512)]
    oracle.load_lists([(0, order, mt, pfn) for order, mt, pfns in free for pfn in pfns], blocks)


def lists(oracle: Oracle) -> FreeLists:
    """The free lists that hold anything, highest order first."""
    found = [
        (order, mt, list(pages))
        for order, area in enumerate(oracle.m.zones[0].free_area)
        for mt, pages in enumerate(area.free_list)
        if len(pages)
    ]
    return found[::-1]


@pytest.mark.parametrize(("managed", "batch"), BATCHES)
def test_batch(managed: int, batch: int) -> None:
    assert watermark.zone_batchsize(managed) == batch


@pytest.mark.parametrize(("lowmem", "expected"), LOWMEM_KBYTES_TO_MIN_FREE)
def test_min_free_kbytes(lowmem: int, expected: int) -> None:
    assert watermark.calculate_min_free_kbytes(lowmem) == expected


@pytest.mark.parametrize(("zones", "pages", "before", "after"), KHUGEPAGED_MIN_FREE)
def test_khugepaged_min_free_kbytes(zones: int, pages: int, before: int, after: int) -> None:
    assert watermark.khugepaged_min_free_kbytes(zones, pages, before) == after


@pytest.mark.parametrize("case", WATERMARKS)
def test_watermarks(case: Watermarks) -> None:
    oracle = machine(case.managed)
    oracle.setup_per_zone_wmarks(case.min_free_kbytes)
    assert tuple(oracle.m.zones[0].watermark) == case.marks


def ramp_pcp() -> Pcp:
    """A pcp at the beginning of the ramp."""
    its = Pcp(14)
    its.batch, its.high_min, its.high_max = REFILL_RAMP_BOUNDS
    return its


def test_refill_ramp() -> None:
    its = ramp_pcp()
    zone = machine().m.zones[0]
    for step in REFILL_RAMP:
        assert pcp.nr_pcp_alloc(its, zone, 0) == step.nr
        assert (its.high, its.alloc_factor) == (step.high, step.alloc_factor)


@pytest.mark.parametrize(("order", "chunks"), REFILL_BY_ORDER)
def test_refill_by_order(order: int, chunks: int) -> None:
    assert pcp.nr_pcp_alloc(ramp_pcp(), machine().m.zones[0], order) == chunks


@pytest.mark.parametrize("case", EXPANSIONS)
def test_expand(case: Expand) -> None:
    oracle = machine()
    load(oracle, case.free)
    assert oracle.rmqueue_bulk(0, 0, case.order, case.requests, k.UNMOVABLE, 0) == case.taken
    assert lists(oracle) == case.left
    assert list(oracle.m.zones[0].pcps[0].lists[3 * case.order]) == case.taken
    oracle.check()


def test_pcp_drains_from_the_tail() -> None:
    oracle = machine()
    load(oracle, EXPANSIONS[1].free)
    taken = oracle.rmqueue_bulk(0, 0, 0, 8, k.UNMOVABLE, 0)
    oracle.take_log()
    oracle.drain_all_pages()
    assert [r[3] for r in oracle.take_log() if r[1] == k.L_PCPU_DRAIN] == taken[::-1]


@pytest.mark.parametrize("case", PLACEMENTS, ids=lambda case: case.what)
def test_placement(case: Placement) -> None:
    oracle = machine()
    load(oracle, case.free)
    oracle.free_one_page(0, case.pfn, case.order, case.fpi)
    order, expected = case.result
    assert list(oracle.m.zones[0].free_area[order].free_list[k.UNMOVABLE]) == expected
    oracle.check()


def claim_machine(case: Claim, high: int) -> Oracle:
    """The block 512..1023 as the case says; the rest of memory is in use."""
    oracle = machine()
    load(oracle, case.free, default=k.MOVABLE)
    free = {pfn + i for order, _, pfns in case.free for pfn in pfns for i in range(1 << order)}
    used = [pfn for pfn in range(512, 1024) if pfn not in free]
    for number, pfn in enumerate(used):
        on_lru = number < case.lru
        oracle.m.heads[pfn] = Page(pfn, 0, k.ALLOC, attr=k.A_LRU | k.A_ON_LRU if on_lru else 0)
    oracle.m.zones[0].nr_lru = case.lru
    oracle.m.zones[0].watermark[k.WMARK_HIGH] = high
    return oracle


@pytest.mark.parametrize(("case", "boost"), list(zip(CLAIMS, CLAIM_BOOSTS, strict=True)))
def test_claim(case: Claim, boost: int) -> None:
    oracle = claim_machine(case, 10_000)
    assert oracle.rmqueue_buddy(0, 2, k.UNMOVABLE, 0) == case.taken
    log = oracle.take_log()
    assert lists(oracle) == case.left
    assert oracle.m.zones[0].boost == boost
    assert oracle.m.blocks[1].mt == (k.UNMOVABLE if case.claimed else k.MOVABLE)
    attempts = [r[3:] for r in log if r[1] == k.L_EVAC_CLAIM]
    assert attempts[0] == (512, 256 * k.UNMOVABLE + k.MOVABLE, case.counted_free, case.lru, int(case.claimed))
    extfrag = [r[3:] for r in log if r[1] == k.L_EXTFRAG]
    assert extfrag == [(case.taken, 2, case.fallback_order, 256 * k.UNMOVABLE + k.MOVABLE, int(case.claimed))]
    locked = [r[3:6] for r in log if r[1] == k.L_ZONE_LOCKED]
    assert locked == ([(case.taken, 2, k.UNMOVABLE)] if case.claimed else [])
    oracle.check()


def test_claim_queues_evacuation() -> None:
    oracle = machine(evacuate=True)
    load(oracle, CLAIMS[0].free, default=k.MOVABLE)
    oracle.m.movable_pages = lambda _start: CLAIMS[0].lru
    oracle.rmqueue_buddy(0, 2, k.UNMOVABLE, 0)
    log = oracle.take_log()
    assert [r[3:6] for r in log if r[1] == k.L_EVAC_QUEUED] == [(512, 63, 0)]
    assert oracle.m.workers[0].queue == [63]


def test_boost_is_bounded() -> None:
    oracle = machine()
    high, boosts = MAX_BOOST
    zone = oracle.m.zones[0]
    zone.watermark[k.WMARK_HIGH] = high
    for boost in boosts:
        watermark.boost_watermark(oracle.m, zone, 0)
        assert zone.boost == boost


def test_over_drain() -> None:
    batch, to_free, chunks, freed = OVER_DRAIN
    oracle = machine()
    load(oracle, [(9, k.MOVABLE, [512 * n for n in range(chunks)])], default=k.MOVABLE)
    oracle.rmqueue_bulk(0, 0, 9, chunks, k.MOVABLE, 0)
    zone = oracle.m.zones[0]
    zone.pcps[0].batch = batch
    oracle.take_log()
    pcp.drain_in_batches(oracle.m, zone, zone.pcps[0], to_free, 13)
    assert sum(r[1] == k.L_PCPU_DRAIN for r in oracle.take_log()) == freed
    assert zone.pcps[0].count == (chunks - freed) << 9
    oracle.check()


@pytest.mark.parametrize("case", WATERMARK_TESTS)
def test_watermark_ok(case: WatermarkCase) -> None:
    oracle = machine()
    load(oracle, [(case.order, k.UNMOVABLE, [0])])
    zone = oracle.m.zones[0]
    assert (
        watermark.zone_watermark_ok(zone, case.order, case.mark, k.ZONE_NORMAL, case.flags, case.free)
        is case.passes
    )
