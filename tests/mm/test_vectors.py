# SPDX-License-Identifier: GPL-2.0-or-later
"""The fast model against the worked examples of `oracle.vectors`."""

from __future__ import annotations

import model
import numpy as np
import pytest
from oracle.vectors import (
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

from kevacuate.jit import kernel, pointers
from kevacuate.mm import constants as k
from kevacuate.mm import entry, load_state
from kevacuate.mm.check import check
from kevacuate.mm.layout import State, zone_batchsize
from kevacuate.mm.pcp import nr_pcp_alloc
from kevacuate.mm.watermark import boost_watermark, zone_watermark_ok_free


@kernel
def ask(sa, what, order, mark, flags, free):  # type: ignore[no-untyped-def]
    """One of the model's inner functions: 0 nr_pcp_alloc, 1 zone_watermark_ok, 2 boost_watermark."""
    s = pointers(sa)
    if what == 0:
        return nr_pcp_alloc(s, 0, 0, order) + 0
    if what == 1:
        return 1 if zone_watermark_ok_free(s, 0, order, mark, 2, flags, free) else 0
    boost_watermark(s, 0, flags)
    return 0


def with_managed(pages: int) -> State:
    state = model.one_zone()
    state.view.zone[0].managed_pages = pages
    return state


@pytest.mark.parametrize(("managed", "batch"), BATCHES)
def test_batch(managed: int, batch: int) -> None:
    assert zone_batchsize(managed) == batch


@pytest.mark.parametrize(("lowmem", "expected"), LOWMEM_KBYTES_TO_MIN_FREE)
def test_min_free_kbytes(lowmem: int, expected: int) -> None:
    assert load_state.min_free_kbytes(with_managed(lowmem // 4)) == expected


@pytest.mark.parametrize(("zones", "pages", "before", "after"), KHUGEPAGED_MIN_FREE)
def test_khugepaged_min_free_kbytes(zones: int, pages: int, before: int, after: int) -> None:
    assert zones == 1
    assert load_state.khugepaged_min_free_kbytes(with_managed(pages), before) == after


@pytest.mark.parametrize("case", WATERMARKS)
def test_watermarks(case: Watermarks) -> None:
    state = with_managed(case.managed)
    load_state.setup_per_zone_wmarks(state, model.machine_of(4096), case.min_free_kbytes)
    assert tuple(state.view.zone[0].watermark) == case.marks


def ramp_state() -> State:
    state = model.one_zone()
    batch, high_min, high_max = REFILL_RAMP_BOUNDS
    state.view.pcp[0].batch, state.view.pcp[0].high_min, state.view.pcp[0].high_max = (
        batch,
        high_min,
        high_max,
    )
    return state


def test_refill_ramp() -> None:
    state = ramp_state()
    for step in REFILL_RAMP:
        assert ask(state, 0, 0, 0, 0, 0) == step.nr
        assert (state.view.pcp[0].high, state.view.pcp[0].alloc_factor) == (step.high, step.alloc_factor)


@pytest.mark.parametrize(("order", "chunks"), REFILL_BY_ORDER)
def test_refill_by_order(order: int, chunks: int) -> None:
    assert ask(ramp_state(), 0, order, 0, 0, 0) == chunks


def refill(state: State, order: int, count: int, mt: int) -> None:
    taken = entry.refill(state, 0, 0, order, count, mt, 0)
    state.view.pcp[0].count += taken << order


@pytest.mark.parametrize("case", EXPANSIONS)
def test_expand(case: Expand) -> None:
    state = model.one_zone()
    model.load(state, case.free)
    refill(state, case.order, case.requests, k.MIGRATE_UNMOVABLE)
    assert model.pcp_list(state, 3 * case.order) == case.taken
    assert model.free_lists(state) == case.left
    check(state)


def test_pcp_drains_from_the_tail() -> None:
    state = model.one_zone()
    model.load(state, EXPANSIONS[1].free)
    refill(state, 0, 8, k.MIGRATE_UNMOVABLE)
    taken = model.pcp_list(state, 0)
    model.take_log(state)
    entry.drain_all(state)
    assert [r[3] for r in model.take_log(state) if r[1] == k.L_PCPU_DRAIN] == taken[::-1]


@pytest.mark.parametrize("case", PLACEMENTS, ids=lambda case: case.what)
def test_placement(case: Placement) -> None:
    state = model.one_zone()
    model.load(state, case.free)
    load_state.load_allocated(state, *model.columns([(case.pfn, case.order, 0)], 3), 0)
    entry.free_to_buddy(state, case.pfn, case.order, case.fpi)
    order, expected = case.result
    assert model.free_list(state, order, k.MIGRATE_UNMOVABLE) == expected
    check(state)


def claim_state(case: Claim, high: int, evacuate: bool = False) -> State:
    """The block 512..1023 as the case says; the rest of memory is in use."""
    state = model.one_zone(evacuate=evacuate)
    model.load(state, case.free, default=k.MIGRATE_MOVABLE)
    free = {pfn + i for order, _, pfns in case.free for pfn in pfns for i in range(1 << order)}
    used = [pfn for pfn in range(512, 1024) if pfn not in free]
    for number, pfn in enumerate(used):
        attr = k.ATTR_LRU | k.ATTR_ON_LRU if number < case.lru else 0
        state.meta[pfn] = k.CHUNK_ALLOC << 4
        state.link[2 * pfn], state.link[2 * pfn + 1] = -1, attr
    state.view.zone[0].nr_lru = case.lru
    state.view.zone[0].watermark[k.WMARK_HIGH] = high
    return state


@pytest.mark.parametrize(("case", "boost"), list(zip(CLAIMS, CLAIM_BOOSTS, strict=True)))
def test_claim(case: Claim, boost: int) -> None:
    state = claim_state(case, 10_000)
    assert entry.take_from_buddy(state, 0, 2, k.MIGRATE_UNMOVABLE, 0) == case.taken
    log = model.take_log(state)
    assert model.free_lists(state) == case.left
    assert state.view.zone[0].watermark_boost == boost
    assert state.block[2] & k.PB_TYPE_MASK == (k.MIGRATE_UNMOVABLE if case.claimed else k.MIGRATE_MOVABLE)
    attempts = [r[3:] for r in log if r[1] == k.L_EVAC_CLAIM]
    assert attempts[0] == (512, k.MIGRATE_MOVABLE, case.counted_free, case.lru, int(case.claimed))
    extfrag = [r[3:] for r in log if r[1] == k.L_EXTFRAG]
    assert extfrag == [
        (case.taken, 2, case.fallback_order, 256 * k.MIGRATE_UNMOVABLE + k.MIGRATE_MOVABLE, int(case.claimed))
    ]
    locked = [r[3:6] for r in log if r[1] == k.L_ZONE_LOCKED]
    assert locked == ([(case.taken, 2, k.MIGRATE_UNMOVABLE)] if case.claimed else [])


def test_claim_queues_evacuation() -> None:
    state = claim_state(CLAIMS[0], 0, evacuate=True)
    entry.late_initcall(state, 1)
    entry.take_from_buddy(state, 0, 2, k.MIGRATE_UNMOVABLE, 0)
    assert [r[3:6] for r in model.take_log(state) if r[1] == k.L_EVAC_QUEUED] == [(512, 63, 0)]
    assert state.view.worker[0].head == 63


def test_boost_is_bounded() -> None:
    state = model.one_zone()
    high, boosts = MAX_BOOST
    state.view.zone[0].watermark[k.WMARK_HIGH] = high
    for boost in boosts:
        ask(state, 2, 0, 0, 0, 0)
        assert state.view.zone[0].watermark_boost == boost


def test_over_drain() -> None:
    batch, to_free, chunks, freed = OVER_DRAIN
    state = model.one_zone()
    model.load(state, [(9, k.MIGRATE_MOVABLE, [512 * n for n in range(chunks)])], default=k.MIGRATE_MOVABLE)
    refill(state, 9, chunks, k.MIGRATE_MOVABLE)
    model.take_log(state)
    for _ in range(to_free // batch):
        entry.drain_pcp(state, 0, 0, batch, 13)
    assert sum(r[1] == k.L_PCPU_DRAIN for r in model.take_log(state)) == freed
    assert state.view.pcp[0].count == (chunks - freed) << 9
    check(state)


@pytest.mark.parametrize("case", WATERMARK_TESTS)
def test_watermark_ok(case: WatermarkCase) -> None:
    state = model.one_zone()
    model.load(state, [(case.order, k.MIGRATE_UNMOVABLE, [0])])
    assert ask(state, 1, case.order, case.mark, case.flags, case.free) == int(case.passes)


def test_lists_named_twice_are_refused() -> None:
    from kevacuate.errors import KevacuateError

    with pytest.raises(KevacuateError, match="twice"):
        model.load(model.one_zone(), [(0, 0, [5]), (0, 1, [5])])
    with pytest.raises(KevacuateError, match="beyond"):
        load_state.load_allocated(model.one_zone(), np.array([1 << 30]), np.array([0]), np.array([0]), 0)
