# SPDX-License-Identifier: GPL-2.0-or-later
"""What the evacuation patch leaves open, and its parts, worked out by hand from docs/model.md: one block of 32 pages."""

from __future__ import annotations

import pytest

from . import Oracle
from . import constants as k
from .fallback import queues, rmqueue_steal
from .irqwork import queue_pageblock_evacuate, zone_unlock
from .isolation import toggle_block
from .test_evacuate import ANON, BLOCK, CLEAN, WAKE, brief, evacuation, queue, scene

MIGRATE, ISOLATE, PUTBACK, FINISHED = k.L_EVAC_MIGRATE, k.L_EVAC_ISOLATE, k.L_EVAC_PUTBACK, k.L_EVAC_FINISHED


def test_a_batch_is_tried_so_often_and_only_the_last_try_counts_as_failed() -> None:
    log = brief(evacuation(scene([ANON | k.A_BUSY] + [ANON] * 9, tries=3)))
    assert [r for r in log if r[0] >= MIGRATE] == [
        (MIGRATE, 1, 10, 9, 1),
        (MIGRATE, 1, 1, 0, 1),
        (MIGRATE, 1, 1, 0, 1),
        (PUTBACK, 1, 0, 0, 0),
        (FINISHED, 10, 0, 9, 256 + 5),
    ]


def test_without_memory_a_batch_is_not_tried_again() -> None:
    oracle = scene([ANON] * 10, tries=5)
    while oracle.alloc(0, 0, k.UNMOVABLE, k.GFP_MEMALLOC, 0, -1) >= 0:
        pass
    assert [r[0] for r in brief(evacuation(oracle))].count(MIGRATE) == 1


@pytest.mark.parametrize(("go_on", "why"), [(False, 5), (True, 0)])
def test_a_page_that_fails_ends_the_evacuation_or_is_passed_over(go_on: bool, why: int) -> None:
    oracle = scene([ANON | k.A_BUSY] + [ANON] * 31, pass_failed=go_on)
    assert brief(evacuation(oracle))[-1] == (FINISHED, 32, 0, 31, 256 + why)
    assert oracle.m.obj_pfn[0] == 0


def test_it_goes_on_with_the_rest_of_the_block() -> None:
    """One page of the block is taken for one that lies behind the batch."""
    moved = {}
    for go_on in (False, True):
        oracle = scene([ANON] * 32, pass_failed=go_on)
        oracle.m.heads[31].attr |= k.A_BUSY
        oracle.m.config.skip_hint = False
        queue(oracle)
        oracle.advance(WAKE)
        worker = oracle.m.workers[0]
        worker.cursor = 16  # as if the batch had ended at page 16
        oracle.m.heads[20].state = k.ALLOC
        worker.isolated.remove(20)
        oracle.m.heads[20].attr |= k.A_ON_LRU
        oracle.m.zones[0].nr_lru += 1
        oracle.m.zones[0].nr_isolated -= 1
        oracle.m.lruvecs[0].sizes[k.ZONE_NORMAL, 0] += 1
        oracle.m.lruvecs[0].lists[0].add_head(20)
        oracle.advance(10**7)
        oracle.check()
        moved[go_on] = oracle.m.obj_pfn[20] != 20
    assert moved == {False: False, True: True}


def test_clean_cache_is_moved() -> None:
    oracle = scene([CLEAN] * 20, drop_clean=False)
    log = brief(evacuation(oracle))
    assert k.L_EVAC_RECLAIM not in [r[0] for r in log]
    assert log[-1] == (FINISHED, 20, 0, 20, 0)
    assert all(oracle.m.obj_pfn[obj] >= 4 * BLOCK for obj in range(20))


def test_destinations_come_off_the_movable_lists() -> None:
    oracle = scene([ANON] * 4, any_target=False)
    head = oracle.m.zones[0].free_area[6].free_list[k.MOVABLE].head()
    evacuation(oracle)
    assert sorted(oracle.m.obj_pfn[obj] for obj in range(4)) == list(range(head, head + 4))
    pcp = oracle.m.zones[0].pcps[0]
    assert not any(pcp.lists[k.MOVABLE]), "no refill"


def test_without_free_movable_chunks_there_is_no_destination() -> None:
    oracle = scene([ANON] * 4, any_target=False)
    for area in oracle.m.zones[0].free_area:
        for pfn in list(area.free_list[k.MOVABLE]):
            oracle.alloc(0, oracle.m.heads[pfn].order, k.MOVABLE, k.GFP_KERNEL | k.GFP_MEMALLOC, 0, -1)
    assert not any(len(area.free_list[k.MOVABLE]) for area in oracle.m.zones[0].free_area)
    assert brief(evacuation(oracle))[-1] == (FINISHED, 4, 0, 0, 256 * 4 + 5)


def test_the_block_is_isolated_meanwhile_and_gets_its_type_back() -> None:
    oracle = scene([ANON] * 20, isolate_block=True)
    queue(oracle)
    oracle.advance(WAKE)
    assert oracle.m.get_pageblock_migratetype(0) == k.ISOLATE
    assert oracle.m.workers[0].isolates
    oracle.advance(10**7)
    oracle.check()
    assert oracle.m.get_pageblock_migratetype(0) == k.UNMOVABLE
    unmovable = {pfn for area in oracle.m.zones[0].free_area for pfn in area.free_list[k.UNMOVABLE]}
    assert {0, 16} <= unmovable, "what was freed lay on no per-CPU list, and is the block's own again"


def test_a_block_that_somebody_isolated_is_left_to_him() -> None:
    oracle = scene([ANON] * 32, isolate_block=True)
    toggle_block(oracle.m, oracle.m.zones[0], 0, isolate=True)
    assert oracle.m.is_isolated(0)
    evacuation(oracle)
    assert oracle.m.is_isolated(0)


def test_batches_are_drained_first() -> None:
    for drain, isolated in ((False, 1), (True, 3)):
        oracle = scene([ANON] * 3, drain_first=drain)
        for pfn in (0, 1):
            oracle.m.heads[pfn].attr = ANON | k.A_IN_BATCH
            oracle.m.lru_batches[0].append(pfn)
            oracle.m.zones[0].nr_lru -= 1
            oracle.m.lruvecs[0].lists[0].remove(pfn)
            oracle.m.lruvecs[0].sizes[k.ZONE_NORMAL, 0] -= 1
        log = brief(evacuation(oracle))
        assert (ISOLATE, 0, isolated, 0, 32) in log
        assert oracle.m.workers[0].cpu_ns == 1000 * (1 + drain) + 4 * 32 + (219 + 1100) * isolated


def test_a_request_without_an_item_waits_for_one_and_only_once() -> None:
    oracle = scene([ANON], pool=1, wait_for_item=True)
    oracle.m.blocks[1].mt = oracle.m.blocks[2].mt = k.UNMOVABLE
    zone = oracle.m.zones[0]
    for pfn in (0, BLOCK, 2 * BLOCK, BLOCK):
        queue_pageblock_evacuate(oracle.m, zone, pfn)
    zone_unlock(oracle.m, zone)
    assert [block.start_pfn for block in oracle.m.waiting] == [BLOCK, 2 * BLOCK]
    oracle.advance(10**8)
    oracle.check()
    log = oracle.take_log()
    assert [r[3] for r in log if r[1] == k.L_EVAC_STARTED] == [0, BLOCK, 2 * BLOCK]
    assert k.L_EVAC_DROPPED not in [r[1] for r in log]
    assert not oracle.m.waiting


@pytest.mark.parametrize(("twice", "queued"), [(True, 2), (False, 1)])
def test_a_block_is_queued_twice_or_once(twice: bool, queued: int) -> None:
    oracle = scene([ANON], queue_twice=twice)
    queue(oracle)
    queue(oracle)
    assert [r[1] for r in oracle.take_log()].count(k.L_EVAC_QUEUED) == queued


def test_a_block_that_a_worker_is_at_is_queued_again() -> None:
    oracle = scene([ANON] * 32, queue_twice=False)
    queue(oracle)
    oracle.advance(WAKE)
    queue(oracle)
    assert oracle.m.workers[0].queue


@pytest.mark.parametrize(("on_steal", "start", "pending"), [(False, 0, 0), (True, 0, 1), (True, 1, 0)])
def test_a_steal_queues_its_block(on_steal: bool, start: int, pending: int) -> None:
    oracle = scene([ANON], on_steal=on_steal)
    taken = rmqueue_steal(oracle.m, oracle.m.zones[0], 0, start)
    stolen = oracle.m.pending[0]
    assert len(stolen) == pending
    if pending:
        item = oracle.m.items[stolen[0]]
        assert (item.start_pfn, item.movable) == (taken - taken % BLOCK, True)
    if start == k.MOVABLE:
        assert taken == -1, "no other type has a free page"


def test_a_movable_block_that_was_asked_for_is_evacuated() -> None:
    oracle = scene([ANON] * 32)
    oracle.m.blocks[0].mt = k.MOVABLE
    queue_pageblock_evacuate(oracle.m, oracle.m.zones[0], 0, movable=True)
    zone_unlock(oracle.m, oracle.m.zones[0])
    oracle.advance(10**7)
    assert brief(oracle.take_log())[-1] == (FINISHED, 32, 0, 32, 0)


def test_a_movable_block_that_waits_for_an_item_is_evacuated() -> None:
    oracle = scene([ANON] * 32, pool=1, wait_for_item=True)
    for pfn in (0, BLOCK):
        queue_pageblock_evacuate(oracle.m, oracle.m.zones[0], pfn)
    zone_unlock(oracle.m, oracle.m.zones[0])
    assert [block.movable for block in oracle.m.waiting] == [True]


@pytest.mark.parametrize(("recheck", "ends"), [(True, k.L_EVAC_SKIPPED), (False, FINISHED)])
def test_a_block_that_is_movable_again(recheck: bool, ends: int) -> None:
    oracle = scene([ANON] * 32, recheck=recheck)
    queue(oracle)
    oracle.m.blocks[0].mt = k.MOVABLE
    oracle.advance(10**7)
    assert oracle.take_log()[-1][1] == ends


@pytest.mark.parametrize(
    ("claims", "types"),
    [
        ("both", {k.UNMOVABLE, k.RECLAIMABLE}),
        ("unmovable", {k.UNMOVABLE}),
        ("reclaimable", {k.RECLAIMABLE}),
    ],
)
def test_whose_claims_queue(claims: str, types: set[int]) -> None:
    oracle: Oracle = scene([ANON], claims=claims)
    assert {mt for mt in range(k.PCPTYPES) if queues(oracle.m, mt)} == types
