# SPDX-License-Identifier: GPL-2.0-or-later
"""Evacuations worked out by hand from docs/model.md: one block of 32 pages, step by step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from . import Config, Oracle, ZoneConfig
from . import constants as k
from .irqwork import queue_pageblock_evacuate, zone_unlock
from .lru import lruvec_add_folio
from .machine import LogRecord
from .zone import Page

BLOCK = 32
ANON = k.A_LRU
CLEAN = k.A_LRU | k.A_FILE
WAKE = 2_000 + 30_000


def scene(attrs: list[int], order: int = 0, **settings: object) -> Oracle:
    """Block 0 is unmovable and holds such chunks, blocks 1 to 3 are full of LRU pages, the rest is free."""
    zone = ZoneConfig(0, k.ZONE_NORMAL, 0, 512)
    config = Config([0], [zone], 512, 6, 5, -1, evacuate=True, **settings)  # type: ignore[arg-type]
    oracle = Oracle(config, boot=False)
    blocks = [(0, k.UNMOVABLE, 0)] + [(pfn, k.MOVABLE, 0) for pfn in range(BLOCK, 512, BLOCK)]
    oracle.load_lists([(0, 6, k.MOVABLE, pfn) for pfn in range(128, 512, 64)], blocks)
    for number, attr in enumerate([*attrs, *[0] * ((BLOCK >> order) - len(attrs))]):
        put(oracle, number << order, order, attr, number)
    for pfn in range(BLOCK, 4 * BLOCK):
        put(oracle, pfn, 0, ANON, -1)
    return oracle


def put(oracle: Oracle, pfn: int, order: int, attr: int, obj: int) -> None:
    """An allocated chunk that is on the LRU if it belongs there."""
    if attr & k.A_LRU:
        attr |= k.A_ON_LRU
        oracle.m.zones[0].nr_lru += 1 << order
    page = oracle.m.heads[pfn] = Page(pfn, order, k.ALLOC, obj=obj, attr=attr)
    if obj >= 0:
        oracle.m.obj_pfn[obj] = pfn
    if attr & k.A_ON_LRU:
        lruvec_add_folio(oracle.m, page)


def queue(oracle: Oracle, pfn: int = 0) -> None:
    """What a claim does once its lock is released."""
    queue_pageblock_evacuate(oracle.m, oracle.m.zones[0], pfn)
    zone_unlock(oracle.m, oracle.m.zones[0])


def evacuation(oracle: Oracle, until: int = 10_000_000) -> list[LogRecord]:
    """Queue block 0, let time pass, return the evacuation's records."""
    queue(oracle)
    oracle.advance(until)
    oracle.check()
    return [r for r in oracle.take_log() if k.L_EVAC_QUEUED <= r[1] <= k.L_EVAC_FINISHED]


def brief(records: list[LogRecord]) -> list[tuple[int, ...]]:
    """(kind, a, b, c, d) of each record."""
    return [(r[1], *r[4:]) for r in records]


def test_all_pages_move() -> None:
    oracle = scene([ANON] * 32)
    log = evacuation(oracle)
    isolated = WAKE + 1000 + 4 * 32 + 219 * 32
    assert [(r[0], r[1], *r[4:]) for r in log] == [
        (0, k.L_EVAC_QUEUED, 63, 0, 0, 0),
        (0, k.L_IRQ_WORK, 0, 1, 0, 0),
        (WAKE, k.L_EVAC_STARTED, 0, 0, 32, 63),
        (WAKE, k.L_EVAC_ISOLATE, 0, 32, 0, 32),
        (isolated, k.L_EVAC_RECLAIM, 0, 32, 0, 0),
        (isolated, k.L_EVAC_MIGRATE, 0, 32, 32, 0),
        (isolated, k.L_EVAC_FINISHED, 32, 0, 32, 0),
    ]
    worker = oracle.m.workers[0]
    assert worker.busy_until == isolated + 1100 * 32
    assert worker.cpu_ns == worker.busy_until - WAKE
    assert all(pfn >= 4 * BLOCK for pfn in oracle.m.obj_pfn.values())
    assert oracle.m.blocks[0].skip
    assert oracle.m.free_items[-1] == 63
    assert oracle.m.zones[0].nr_isolated == 0
    assert oracle.m.zones[0].nr_lru == 96 + 31  # one of 32 destinations is still in the batch


def test_list_is_in_descending_order_and_resumes_after_the_last() -> None:
    oracle = scene([ANON] * 8, order=2)
    queue(oracle)
    oracle.advance(WAKE)
    assert oracle.m.workers[0].isolated == [28, 24, 20, 16, 12, 8, 4, 0]
    assert oracle.m.workers[0].cursor == 32


def test_time_scale_stretches_the_schedule_only() -> None:
    oracle = scene([ANON] * 32, time_scale=10)
    log = evacuation(oracle)
    assert log[-1][0] == 10 * (WAKE + 1000 + 4 * 32 + 219 * 32)
    assert oracle.m.workers[0].cpu_ns == 1000 + 4 * 32 + 219 * 32 + 1100 * 32


def test_clean_cache_is_dropped() -> None:
    oracle = scene([CLEAN] * 20 + [ANON] * 3)
    log = brief(evacuation(oracle))
    assert (k.L_EVAC_RECLAIM, 20, 3, 0, 0) in log
    assert log[-1] == (k.L_EVAC_FINISHED, 23, 20, 3, 0)
    assert [oracle.m.obj_pfn[obj] for obj in range(20)] == [-2] * 20


@dataclass
class Failure:
    """Attributes of the first page among 9 others, and how the batch ends."""

    attr: int
    ret: int = 1
    succeeded: int = 9
    dropped: int = 0


FAILURES = {
    "pinned clean cache": Failure(CLEAN | k.A_PINNED),
    "writeback": Failure(ANON | k.A_WRITEBACK),
    "busy": Failure(ANON | k.A_BUSY),
    "dirty file under writeback": Failure(CLEAN | k.A_DIRTY | k.A_WRITEBACK),
    "busy clean cache": Failure(CLEAN | k.A_BUSY),
}


@pytest.mark.parametrize("case", FAILURES.values(), ids=FAILURES.keys())
def test_one_failure_ends_it(case: Failure) -> None:
    oracle = scene([case.attr] + [ANON] * 9)
    log = brief(evacuation(oracle))
    assert log[-3:] == [
        (k.L_EVAC_MIGRATE, case.ret, 10, case.succeeded, 1),
        (k.L_EVAC_PUTBACK, 1, 0, 0, 0),
        (k.L_EVAC_FINISHED, 10, 0, 9, 256 + 5),
    ]
    assert oracle.m.obj_pfn[0] == 0
    assert oracle.m.heads[0].attr == case.attr | k.A_IN_BATCH
    assert oracle.m.lru_batches[0][-1] == 0


def test_pinned_anonymous_memory_is_passed() -> None:
    oracle = scene([ANON | k.A_PINNED] * 5)
    log = brief(evacuation(oracle))
    assert log[-2:] == [(k.L_EVAC_ISOLATE, 0, 0, 0, 32), (k.L_EVAC_FINISHED, 0, 0, 0, 4)]
    assert oracle.m.blocks[0].skip
    assert oracle.m.zones[0].cached_migrate_pfn == 2 * BLOCK


def test_skip_bit_makes_it_a_no_op() -> None:
    oracle = scene([ANON] * 32)
    oracle.set_skip(0, True)
    log = brief(evacuation(oracle))
    assert log[2:] == [
        (k.L_EVAC_STARTED, 1, 0, 32, 63),
        (k.L_EVAC_ISOLATE, 0, 0, 0, 32),
        (k.L_EVAC_FINISHED, 0, 0, 0, 4),
    ]
    assert oracle.m.zones[0].cached_migrate_pfn == 2 * BLOCK


def test_without_hints_the_bit_is_ignored() -> None:
    oracle = scene([ANON] * 32, skip_hint=False)
    oracle.set_skip(0, True)
    assert brief(evacuation(oracle))[-1] == (k.L_EVAC_FINISHED, 32, 0, 32, 0)
    assert oracle.m.zones[0].cached_migrate_pfn == 0


def test_movable_again() -> None:
    oracle = scene([ANON] * 32)
    oracle.m.blocks[0].mt = k.MOVABLE
    log = brief(evacuation(oracle))
    assert log[2:] == [(k.L_EVAC_SKIPPED, 0, 0, 0, 63)]
    assert oracle.m.workers[0].busy_until == WAKE + 1000
    assert len(oracle.m.free_items) == 64


def test_too_many_isolated() -> None:
    oracle = scene([ANON] * 32)
    oracle.m.zones[0].nr_isolated = 9
    queue(oracle)
    oracle.advance(10**6)
    assert brief(oracle.take_log())[-2:] == [
        (k.L_EVAC_ISOLATE, -k.EAGAIN, 0, 0, 0),
        (k.L_EVAC_FINISHED, 0, 0, 0, 2),
    ]


def test_pool_runs_dry_and_items_are_taken_newest_first() -> None:
    oracle = scene([ANON], pool=2)
    zone = oracle.m.zones[0]
    for pfn in (0, 32, 64):
        queue_pageblock_evacuate(oracle.m, zone, pfn)
    zone_unlock(oracle.m, zone)
    assert [r[1] for r in oracle.take_log()] == [k.L_EVAC_QUEUED] * 2 + [k.L_EVAC_DROPPED, k.L_IRQ_WORK]
    assert oracle.m.workers[0].queue == [0, 1]
    oracle.advance(WAKE)
    assert oracle.take_log()[0][3:] == (32, 0, 0, 0, 0)


def test_no_memory() -> None:
    oracle = scene([ANON] * 10)
    while oracle.alloc(0, 0, k.UNMOVABLE, k.GFP_MEMALLOC, 0, -1) >= 0:
        pass
    oracle.take_log()
    log = brief(evacuation(oracle))
    assert log[-3:] == [
        (k.L_EVAC_MIGRATE, -k.ENOMEM, 10, 0, 10),
        (k.L_EVAC_PUTBACK, 10, 0, 0, 0),
        (k.L_EVAC_FINISHED, 10, 0, 0, 256 * 10 + 5),
    ]
    assert oracle.m.lru_batches[0] == list(range(9, -1, -1))


def while_isolated(oracle: Oracle, act: Callable[[], None]) -> list[tuple[int, ...]]:
    """Let `act` happen between isolation and reclaim."""
    queue(oracle)
    oracle.advance(WAKE)
    act()
    oracle.advance(10**7)
    oracle.check()
    return brief(oracle.take_log())


def test_freed_while_isolated() -> None:
    oracle = scene([ANON] * 10)
    log = while_isolated(oracle, lambda: oracle.free(0, 3))
    assert log[-1] == (k.L_EVAC_FINISHED, 10, 0, 10, 0)
    assert oracle.m.obj_pfn[3] == -1
    assert oracle.state_of(3) != k.ALLOC


def test_freed_clean_cache_while_isolated() -> None:
    oracle = scene([CLEAN | k.A_PINNED] * 2)
    log = while_isolated(oracle, lambda: oracle.free(0, 1))
    assert (k.L_EVAC_RECLAIM, 1, 1, 0, 0) in log
    assert oracle.m.obj_pfn[1] == -1


def test_split_while_isolated() -> None:
    oracle = scene([ANON] * 2, order=3)
    log = while_isolated(oracle, lambda: oracle.split(8, 99))
    assert log[-1] == (k.L_EVAC_FINISHED, 16, 0, 12, 0)
    assert oracle.m.obj_pfn[99] == 12
    assert oracle.m.heads[12].attr == ANON


def test_per_node_worker_runs_on_the_lowest_cpu() -> None:
    zone = ZoneConfig(0, k.ZONE_NORMAL, 0, 512)
    oracle = Oracle(Config([1, 0, 0], [zone], 512, 6, 5, -1, evacuate=True, wq="per_node"))
    assert [worker.cpu for worker in oracle.m.workers] == [1, 0]
    oracle.m.cpu = 2
    queue(oracle)
    assert oracle.m.workers[0].state == "START"


def test_nothing_is_queued_before_init() -> None:
    oracle = scene([ANON], ready=[False])
    assert evacuation(oracle) == []
