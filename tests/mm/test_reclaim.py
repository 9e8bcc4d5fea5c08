# SPDX-License-Identifier: GPL-2.0-or-later
"""Reclaim in a closed loop, decision by decision: LRU lists, kswapd, direct reclaim, refaults."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from kevacuate.mm import constants as k
from kevacuate.mm import entry, load_state
from kevacuate.mm.check import check
from kevacuate.mm.layout import MachineConfig, State, StateOptions, ZoneConfig, build_state, grow_objects

PAGES = 1 << 13
FILE = k.ATTR_LRU | k.ATTR_FILE
MACHINE = MachineConfig(
    npages=PAGES,
    zones=(ZoneConfig(0, k.ZONE_NORMAL, 0, PAGES, watermark=(64, 80, 96, 112)),),
    kswapd_wake_ns=1_000,
)
INACTIVE, ACTIVE = k.LRU_INACTIVE_FILE, k.LRU_ACTIVE_FILE


def machine(**changes: object) -> State:
    """One zone, one CPU, all of it free."""
    config = replace(MACHINE, **changes)  # type: ignore[arg-type]
    state = build_state(config, None, StateOptions(objects=2 * PAGES))
    load_state.memblock_free_all(state, config)
    entry.late_initcall(state, 1)
    entry.advance(state, 0)
    return state


def read(state: State, obj: int, attr: int = FILE, order: int = 0) -> int:
    """A page of the page cache for object *obj*."""
    return entry.alloc(state, 0, -1, order, k.MIGRATE_MOVABLE, k.GFP_HIGHUSER_MOVABLE, attr, obj)


def fill(state: State, count: int, first: int = 0, attr: int = FILE) -> None:
    """Objects *first*, +1, ... , all of them on their list."""
    for obj in range(first, first + count):
        assert read(state, obj, attr) >= 0
    entry.lru_add_drain_all(state)


def lru_list(state: State, lru: int, node: int = 0) -> list[int]:
    """The objects on a list, head first."""
    view, found = state.view, []
    at = view.lru[2 * (node * k.LRU_LISTS + lru)]
    while at != node * k.LRU_LISTS + lru:
        found.append(at - view.cfg.lru_first)
        at = view.lru[2 * at]
    return found


def set_attr(state: State, obj: int, attr: int) -> None:
    """Add attributes to an object's folio."""
    state.link[2 * state.obj[obj] + 1] |= attr


def reclaim(state: State, gfp: int = k.GFP_KERNEL, order: int = 0) -> int:
    """Direct reclaim, without the inputs that time would change."""
    pages = entry.reclaim(state, 0, 0, order, gfp)
    check(state)
    return pages


def test_new_folios_join_the_head_of_the_inactive_list_when_their_batch_is_drained() -> None:
    state = machine()
    for obj in range(k.FOLIO_BATCH_SIZE - 1):
        read(state, obj)
    assert lru_list(state, INACTIVE) == []
    read(state, 30)
    assert lru_list(state, INACTIVE) == list(range(30, -1, -1))
    assert list(state.view.node[0].nr_lru)[2 * k.NR_LRU_LISTS + INACTIVE] == 31
    entry.free(state, 0, int(state.obj[7]))
    assert 7 not in lru_list(state, INACTIVE)
    check(state)


def test_reclaim_takes_clean_folios_from_the_tail_and_no_others() -> None:
    state = machine()
    fill(state, 200)
    set_attr(state, 0, k.ATTR_BUSY)
    set_attr(state, 1, k.ATTR_DIRTY)
    set_attr(state, 2, k.ATTR_PINNED)
    set_attr(state, 3, k.ATTR_WRITEBACK)
    set_attr(state, 4, k.ATTR_REFERENCED)
    reclaimed = reclaim(state)
    assert reclaimed >= k.SWAP_CLUSTER_MAX
    gone = [obj for obj in range(200) if state.obj[obj] == k.OBJ_DROPPED]
    assert gone == list(range(4, 4 + reclaimed))
    assert lru_list(state, ACTIVE) == [3, 2, 1]
    assert lru_list(state, INACTIVE) == [0, *range(199, 3 + reclaimed, -1)]
    assert state.link[2 * state.obj[1] + 1] & k.ATTR_RECLAIM
    stat = state.view.stat
    assert (stat.pgsteal_direct, stat.pgactivate, stat.nr_vmscan_immediate_reclaim) == (reclaimed, 3, 1)


def test_a_folio_used_through_a_page_table_is_activated_once() -> None:
    state = machine()
    fill(state, 200)
    for obj in (0, 5):
        entry.mark_young(state, 0, int(state.obj[obj]))
    reclaim(state)
    assert lru_list(state, ACTIVE) == [5, 0]
    for obj in (0, 5):
        attr = int(state.link[2 * int(state.obj[obj]) + 1])
        assert attr & (k.ATTR_YOUNG | k.ATTR_REFERENCED) == k.ATTR_REFERENCED


def test_active_folios_used_through_page_tables_go_round_before_others_are_deactivated() -> None:
    state = machine()
    fill(state, 100)
    for obj in range(100):
        for _ in range(2):
            entry.mark_accessed(state, 0, int(state.obj[obj]))
    entry.lru_add_drain_all(state)
    used = [0, 3, 7]
    for obj in used:
        entry.mark_young(state, 0, int(state.obj[obj]))
    reclaim(state)
    assert [obj for obj in range(100) if state.obj[obj] == k.OBJ_DROPPED]
    assert not any(state.obj[obj] == k.OBJ_DROPPED for obj in used)
    assert set(used) <= set(lru_list(state, ACTIVE))
    assert not any(state.link[2 * int(state.obj[obj]) + 1] & k.ATTR_YOUNG for obj in used)


def test_a_dirty_folio_is_reclaimed_once_it_has_been_written() -> None:
    state = machine(dirty_expire_ns=4_000_000_000)
    fill(state, 100, attr=FILE | k.ATTR_DIRTY)
    assert reclaim(state) == 0
    entry.advance(state, 5_000_000_000)
    fill(state, 100, 100, FILE | k.ATTR_DIRTY)
    assert reclaim(state) >= k.SWAP_CLUSTER_MAX
    assert (state.obj[:100] == k.OBJ_DROPPED).any()
    assert (state.obj[100:200] >= 0).all()


def test_reclaim_that_meets_nothing_but_dirty_folios_wakes_the_flusher() -> None:
    state = machine(flush_ns=1_000_000)
    wait = int(state.view.cfg.flush_ns * state.view.cfg.time_scale)
    fill(state, 100, attr=FILE | k.ATTR_DIRTY)
    assert reclaim(state) == 0
    met = [obj for obj in range(100) if state.link[2 * state.obj[obj] + 1] & k.ATTR_RECLAIM]
    assert state.view.stat.flush_due == wait
    entry.advance(state, wait)
    assert reclaim(state) >= k.SWAP_CLUSTER_MAX
    assert state.view.stat.flushes == 1
    gone = {obj for obj in range(100) if state.obj[obj] == k.OBJ_DROPPED}
    assert gone < set(met)  # which are next in their turn: the others came to the inactive list before them


def test_the_second_use_activates_by_way_of_the_batch() -> None:
    state = machine()
    fill(state, 40)
    for obj in range(10):
        pfn = int(state.obj[obj])
        entry.mark_accessed(state, 0, pfn)
        assert state.link[2 * pfn + 1] & k.ATTR_REFERENCED
        entry.mark_accessed(state, 0, pfn)
        assert not state.link[2 * pfn + 1] & k.ATTR_REFERENCED
    assert lru_list(state, ACTIVE) == []
    entry.lru_add_drain_all(state)
    assert lru_list(state, ACTIVE) == list(range(9, -1, -1))
    assert state.view.node[0].nonresident_age == 10


def test_a_folio_that_is_used_twice_in_its_batch_joins_the_active_list() -> None:
    state = machine()
    pfn = read(state, 5)
    entry.mark_accessed(state, 0, pfn)
    entry.mark_accessed(state, 0, pfn)
    entry.lru_add_drain_all(state)
    assert (lru_list(state, INACTIVE), lru_list(state, ACTIVE)) == ([], [5])


def test_active_folios_are_deactivated_where_the_inactive_list_is_short() -> None:
    state = machine()
    fill(state, 300)
    for obj in range(250):
        for _ in range(2):
            entry.mark_accessed(state, 0, int(state.obj[obj]))
    entry.lru_add_drain_all(state)
    assert (len(lru_list(state, INACTIVE)), len(lru_list(state, ACTIVE))) == (50, 250)
    reclaim(state)
    assert state.view.stat.pgdeactivate > 0
    assert lru_list(state, ACTIVE)[-1] == state.view.stat.pgdeactivate  # the oldest went first
    assert state.link[2 * state.obj[0] + 1] & k.ATTR_WORKINGSET or state.obj[0] == k.OBJ_DROPPED


@pytest.mark.parametrize("active", [20, 100])
def test_a_refault_is_active_at_once_if_the_active_list_was_that_long(active: int) -> None:
    state = machine()
    fill(state, 60 + active)
    for obj in range(60, 60 + active):
        for _ in range(2):
            entry.mark_accessed(state, 0, int(state.obj[obj]))
    entry.lru_add_drain_all(state)
    state.view.node[0].refaults_file = state.view.node[0].workingset_activate_file
    dropped = reclaim(state)
    sizes = list(state.view.node[0].nr_lru)
    distance = dropped  # evictions since object 0's, its own among them
    within = distance <= sizes[2 * k.NR_LRU_LISTS + ACTIVE]
    assert state.obj[0] == k.OBJ_DROPPED
    read(state, 0)
    entry.lru_add_drain_all(state)
    assert (0 in lru_list(state, ACTIVE)) == within
    assert state.view.stat.workingset_refault_file == 1
    assert state.view.stat.workingset_activate_file == int(within)
    check(state)


def test_kswapd_is_woken_at_low_and_reclaims_up_to_high() -> None:
    state = machine()
    obj, zone, stat = 0, state.view.zone[0], state.view.stat
    while stat.kswapd_wakes == 0:
        read(state, obj)
        obj += 1
    assert zone.nr_free_pages <= zone.watermark[k.WMARK_LOW]
    entry.advance(state, state.view.stat.now + 50_000_000)
    assert state.view.node[0].kswapd_state == k.KSWAPD_NAP
    assert zone.nr_free_pages > zone.watermark[k.WMARK_HIGH]
    assert stat.pgsteal_kswapd > 0
    assert [other for other in range(obj) if state.obj[other] == k.OBJ_DROPPED] == list(
        range(stat.pgsteal_kswapd)
    )
    check(state)


def test_tasks_wait_for_the_cpu_that_kswapd_has_slice_by_slice() -> None:
    page_ns, slice_ns = 100, 500
    state = machine(shrink_inactive_ns=page_ns, kswapd_slice_ns=slice_ns)
    obj, stat, pgdat = 0, state.view.stat, state.view.node[0]
    while stat.kswapd_wakes == 0:
        read(state, obj)
        obj += 1
    left, turns = slice_ns, 0
    entry.advance(state, pgdat.kswapd_due)
    late = 0
    while pgdat.kswapd_state == k.KSWAPD_RUNNING:
        took, late = stat.late - late, stat.late
        left -= took
        turns += left <= 0
        assert pgdat.kswapd_due - stat.now == took + (slice_ns if left <= 0 else 0)
        left = left if left > 0 else slice_ns
        entry.advance(state, pgdat.kswapd_due)
    assert turns > 1
    assert stat.late == stat.pgscan_kswapd * page_ns
    check(state)


def asleep_after_a_run(state: State) -> None:
    """Have kswapd run, up to its short sleep."""
    obj = 0
    while state.view.stat.kswapd_wakes == 0:
        read(state, obj)
        obj += 1
    entry.advance(state, state.view.stat.now + 50_000_000)
    assert state.view.node[0].kswapd_state == k.KSWAPD_NAP


def test_kswapd_looks_again_after_its_short_sleep() -> None:
    state = machine()
    asleep_after_a_run(state)
    pgdat, stat = state.view.node[0], state.view.stat
    assert pgdat.kswapd_due - stat.now < k.KSWAPD_NAP_NS + state.view.cfg.kswapd_wake
    entry.advance(state, pgdat.kswapd_due)
    assert (pgdat.kswapd_state, pgdat.kswapd_due) == (k.KSWAPD_IDLE, k.NEVER)


def test_kswapd_runs_again_if_it_finds_the_node_unbalanced_after_its_short_sleep() -> None:
    state = machine()
    asleep_after_a_run(state)
    pgdat, stat = state.view.node[0], state.view.stat
    state.view.zone[0].watermark[k.WMARK_HIGH] += 1_000
    runs = stat.kswapd_runs[0]
    entry.advance(state, pgdat.kswapd_due)
    assert (stat.kswapd_runs[0], stat.kswapd_high_wmark_hit_quickly, stat.kswapd_wakes) == (runs + 1, 1, 1)


def test_kswapd_woken_from_its_short_sleep_keeps_the_order_it_finished_at() -> None:
    state = machine()
    asleep_after_a_run(state)
    pgdat, stat = state.view.node[0], state.view.stat
    pgdat.kswapd_reclaim_order = 3
    state.view.zone[0].watermark_boost = 1
    for _ in range(200):
        if stat.kswapd_wakes == 2:
            break
        read(state, 2 * PAGES - 1 - _)
    assert (stat.kswapd_wakes, stat.kswapd_low_wmark_hit_quickly) == (2, 1)
    assert pgdat.kswapd_alloc_order == 3  # its next run has begun while the request reclaims


def test_kswapd_falls_back_to_order_0_once_the_compaction_gap_is_reclaimed() -> None:
    state = machine()
    fill(state, 4_000)
    pgdat, zone = state.view.node[0], state.view.zone[0]
    for low in range(4):
        zone.watermark[low] = zone.nr_free_pages + 100 + low
    pgdat.kswapd_order, pgdat.kswapd_highest_zoneidx = 9, k.ZONE_NORMAL
    pgdat.kswapd_state, pgdat.kswapd_due = k.KSWAPD_WOKEN, 0
    entry.advance(state, 50_000_000)
    assert (pgdat.kswapd_alloc_order, pgdat.kswapd_reclaim_order) == (9, 0)
    assert state.view.stat.kswapd_runs[9] == 1


def test_a_node_from_which_nothing_is_reclaimed_is_hopeless() -> None:
    state = machine()
    obj = 0
    while read(state, obj, k.ATTR_LRU) >= 0:
        obj += 1
        entry.advance(state, state.view.stat.now + 10_000)
    entry.advance(state, state.view.stat.now + 1_000_000_000)
    pgdat, stat = state.view.node[0], state.view.stat
    assert pgdat.kswapd_failures == k.MAX_RECLAIM_RETRIES
    assert pgdat.kswapd_state == k.KSWAPD_IDLE
    wakes = stat.kswapd_wakes
    read(state, obj, k.ATTR_LRU)
    assert stat.kswapd_wakes == wakes
    for other in range(1_000):
        entry.free(state, 0, int(state.obj[other]))
    fill(state, 100, obj + 1)
    assert reclaim(state) > 0
    assert pgdat.kswapd_failures == 0  # balanced, and something was reclaimed


def test_direct_reclaim_without_file_pages_gives_up_after_a_second_round() -> None:
    state = machine()
    fill(state, 100, attr=k.ATTR_LRU)
    assert reclaim(state) == 0
    assert state.view.stat.allocstall == 2
    assert sum(state.view.stat.allocstall_zone) == 2


@pytest.mark.parametrize("slice_ns", [0, 1_000])
def test_direct_reclaim_takes_its_task_s_time_where_kswapd_shares_the_cpu(slice_ns: int) -> None:
    state = machine(shrink_inactive_ns=100, shrink_active_ns=0, kswapd_slice_ns=slice_ns)
    stat = state.view.stat
    fill(state, 1_000)
    state.view.cfg.time_scale, begun = 25, stat.now
    assert reclaim(state) >= k.SWAP_CLUSTER_MAX
    assert stat.late == (stat.pgscan_direct * 100 * 25 if slice_ns else 0)
    assert stat.now == begun


def test_locked_memory_is_counted_and_never_scanned() -> None:
    state = machine()
    fill(state, 100, attr=FILE | k.ATTR_MLOCKED)
    assert lru_list(state, INACTIVE) == []
    assert list(state.view.node[0].nr_lru)[2 * k.NR_LRU_LISTS + k.LRU_UNEVICTABLE] == 100
    assert reclaim(state) == 0


def test_a_halved_folio_s_upper_half_stands_right_before_the_lower() -> None:
    state = machine()
    for obj in (0, 1, 2):
        read(state, obj, order=1)
    entry.split(state, int(state.obj[1]), 9)
    assert lru_list(state, INACTIVE) == [2, 9, 1, 0]
    check(state)


def test_the_start_state_s_lists_are_in_the_order_given_or_by_pfn() -> None:
    for ages, wanted in ((None, [2, 0]), (np.array([2, 1, 0]), [0, 2])):
        state = build_state(MACHINE, None, StateOptions(objects=16))
        attr = np.array([FILE, k.ATTR_LRU | k.ATTR_ACTIVE, FILE])
        load_state.load_allocated(state, np.array([8, 16, 40]), np.array([0, 2, 1]), attr, 0, ages)
        assert lru_list(state, INACTIVE) == wanted
        assert lru_list(state, k.LRU_ACTIVE_ANON) == [1]
        assert list(state.view.node[0].nr_lru)[10:15] == [0, 4, 3, 0, 0]


def test_an_open_loop_has_no_lists_and_reclaims_nothing() -> None:
    state = machine(open_loop=True)
    assert state.lru.size == 0
    for obj in range(100):
        read(state, obj)
    entry.mark_accessed(state, 0, int(state.obj[3]))
    assert entry.reclaim(state, 0, 0, 0, k.GFP_KERNEL) == 0
    check(state)


def test_more_objects_keep_the_lists() -> None:
    state = machine()
    fill(state, 50)
    larger = grow_objects(state, 8 * PAGES)
    assert lru_list(larger, INACTIVE) == lru_list(state, INACTIVE)
    check(larger)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ("unlink", "on no LRU list"),
        ("links", "links disagree"),
        ("size", "size of an LRU list"),
        ("isolated", "NR_ISOLATED_FILE"),
        ("flag", "no folio of this list"),
    ],
)
def test_the_invariants_see_a_list_that_is_wrong(damage: str, says: str) -> None:
    state = machine()
    fill(state, 50)
    view = state.view
    first = view.cfg.lru_first
    if damage == "unlink":
        view.lru[2 * (first + 11)], view.lru[2 * (first + 9) + 1] = first + 9, first + 11
    elif damage == "links":
        view.lru[2 * (first + 10) + 1] = first + 30
    elif damage == "size":
        view.node[0].nr_lru[2 * k.NR_LRU_LISTS + INACTIVE] += 1
    elif damage == "isolated":
        view.node[0].nr_isolated_file += 1
    else:
        state.link[2 * state.obj[10] + 1] |= k.ATTR_ACTIVE
    with pytest.raises(AssertionError, match=says):
        check(state)
