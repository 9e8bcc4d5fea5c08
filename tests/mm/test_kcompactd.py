# SPDX-License-Identifier: GPL-2.0-or-later
"""Who wakes kcompactd and for which order, what it remembers, and what defrag_mode asks of it and of requests."""

from __future__ import annotations

from dataclasses import replace

import pytest
from lockstep_fast import compaction_ended

from kevacuate import Machine
from kevacuate.errors import KevacuateError
from kevacuate.mm import constants as k
from kevacuate.mm import entry, load_state
from kevacuate.mm.fields import CompactControl, Node, Zone
from kevacuate.mm.layout import (
    EvacuationConfig,
    MachineConfig,
    State,
    StateOptions,
    ZoneConfig,
    build_state,
)

PAGES = 65536
THP = k.GFP_HIGHUSER_MOVABLE | k.GFP_COMP | k.GFP_NORETRY
BLOCK = 512


def every_other_page_free(kind: str = "movable", gfp: int = k.GFP_HIGHUSER_MOVABLE) -> Machine:
    """All memory given out page by page, then every second one freed: 21 times HIGH is free, in single pages.

    The loop is open: no request compacts by itself, and kswapd reclaims nothing.
    """
    machine = Machine(PAGES, pageblock_order=9, evacuate=False, compaction=True, min_free_kbytes=4096)
    machine.state.view.cfg.open_loop = 1
    pages = []
    while (page := machine.alloc(kind, gfp=gfp | k.GFP_MEMALLOC)) is not None:
        pages.append(page)
    machine.drain()
    for page in pages[::2]:
        machine.free(page)
    machine.drain()
    machine.events()
    return machine


def pgdat(machine: Machine) -> Node:
    """The node, with what its kswapd and its kcompactd are about."""
    return machine.state.view.node[0]


def control(machine: Machine) -> CompactControl:
    """Its kcompactd's compact_control."""
    return machine.state.view.cc[0]


def begins(lines: list[str]) -> list[str]:
    return [line for line in lines if "compact_zone begins" in line]


@pytest.mark.parametrize("order", [9, 4, 2])
def test_kswapd_woken_for_an_order_finishes_at_0_and_wakes_kcompactd_for_that_order(order: int) -> None:
    machine = every_other_page_free()
    assert machine.alloc("movable", order, gfp=THP) is None
    lines = machine.run(100_000_000)
    (first,) = begins(lines)
    assert f"order {order}," in first
    assert lines.index(first) > next(i for i, line in enumerate(lines) if "kswapd0: ends" in line)
    assert machine.alloc("movable", order, gfp=THP) is not None


def test_kswapd_that_has_nothing_to_reclaim_stays_at_its_order_and_forgets_it() -> None:
    machine = every_other_page_free("unmovable", k.GFP_KERNEL)
    assert machine.alloc("movable", 4, gfp=THP) is None
    machine.run(1_000_000)
    assert (pgdat(machine).kswapd_alloc_order, pgdat(machine).kswapd_reclaim_order) == (4, 4)
    assert begins(machine.run(100_000_000)) == []
    assert pgdat(machine).kcompactd_max_order == 0


def test_an_order_asked_for_while_kswapd_runs_is_its_next_run_s() -> None:
    machine = every_other_page_free()
    machine.alloc("movable", 2, gfp=THP)
    machine.run(100_000)
    machine.alloc("movable", 9, gfp=THP)
    assert (pgdat(machine).kswapd_order, pgdat(machine).kswapd_alloc_order) == (9, 2)
    assert "order 2," in begins(machine.run(100_000_000))[0]
    assert pgdat(machine).kswapd_order == 9, "the next run's, whoever wakes it"


def proactive_run() -> Machine:
    machine = every_other_page_free()
    while not begins(machine.step()):
        pass
    return machine


def test_an_order_asked_for_during_a_proactive_run_is_worked_on_right_after_it() -> None:
    machine = proactive_run()
    machine.compact(9)
    assert (pgdat(machine).kcompactd_max_order, control(machine).order) == (9, -1)
    while pgdat(machine).kcompactd_state == k.KCOMPACTD_RUNNING:
        machine.step()
    assert (pgdat(machine).kcompactd_max_order, control(machine).order) == (0, 9)
    assert pgdat(machine).kcompactd_due == machine.now + k.KCOMPACTD_NS


@pytest.mark.parametrize("slice_ns", [0, 150_000])
def test_tasks_wait_for_the_cpu_that_kcompactd_has_slice_by_slice(slice_ns: int) -> None:
    machine = every_other_page_free()
    stat, cfg = machine.state.view.stat, machine.state.view.cfg
    cfg.kswapd_slice_ns, cfg.time_scale = slice_ns, 2
    machine.compact(9)
    left, turns, spent = slice_ns, 0, 0
    while pgdat(machine).kcompactd_state != k.KCOMPACTD_IDLE:
        before, late = stat.compact_ns, stat.late
        entry.advance(machine.state, pgdat(machine).kcompactd_due)
        took = 2 * (stat.compact_ns - before)
        spent += took
        assert stat.late - late == (took if slice_ns else 0)
        left -= took
        turns += left <= 0 < slice_ns
        apart = took + (slice_ns if left <= 0 else 0) if slice_ns else 5 * took // 2
        if pgdat(machine).kcompactd_state == k.KCOMPACTD_RUNNING:
            assert pgdat(machine).kcompactd_due - stat.now == apart + 1
        left = left if left > 0 else slice_ns
    assert spent > 2 * 150_000
    assert turns > 1 or not slice_ns


def test_a_smaller_order_asked_for_meanwhile_is_done_with_the_larger_one() -> None:
    machine = every_other_page_free()
    machine.compact(9)
    while not begins(machine.step()):
        pass
    machine.compact(3)
    assert pgdat(machine).kcompactd_max_order == 9
    machine.run(50_000_000)
    assert (pgdat(machine).kcompactd_max_order, pgdat(machine).kcompactd_state) == (0, k.KCOMPACTD_IDLE)


def test_an_order_that_it_is_not_woken_for_puts_the_proactive_look_off() -> None:
    machine = every_other_page_free()
    kept = machine.state.view.zone[0].free_area[9]
    marks = Zone.table(machine.state.zone)["watermark"]
    marks += PAGES  # nothing is suitable: far below the marks
    machine.compact(9)
    assert (pgdat(machine).kcompactd_max_order, pgdat(machine).kcompactd_state) == (9, k.KCOMPACTD_IDLE)
    marks -= PAGES
    assert kept == 0
    lines = machine.run(k.KCOMPACTD_NS + 1_000_000)
    assert ["order 9," in line for line in begins(lines)] == [True]
    assert pgdat(machine).kcompactd_max_order in (0, 9)


def test_a_zone_is_asked_with_its_own_index_first() -> None:
    """The lower zone has chunks, but not above its reserve: kcompactd is woken for them, then leaves the zone alone."""
    zones = (ZoneConfig(0, 1, 0, PAGES // 2), ZoneConfig(0, 2, PAGES // 2, PAGES))
    config = MachineConfig(PAGES, zones, compaction=True)
    state = build_state(config, options=StateOptions(objects=64))
    load_state.memblock_free_all(state, config)
    fields = Zone.table(state.zone)
    fields["lowmem_reserve"][0, k.ZONE_NORMAL :] = state.view.zone[0].nr_free_pages - 100
    fields["watermark"][1] = PAGES  # the upper zone is no help
    entry.wake_kcompactd(state, 0, 9)
    assert state.view.node[0].kcompactd_state == k.KCOMPACTD_WOKEN
    entry.advance(state, 100_000_000)
    assert state.view.node[0].kcompactd_state == k.KCOMPACTD_IDLE
    assert state.view.stat.compactions == 0


def test_with_proactiveness_0_it_has_no_timeout() -> None:
    config = MachineConfig(PAGES, (ZoneConfig(0, 2, 0, PAGES),), compaction=True, compaction_proactiveness=0)
    state = build_state(config)
    assert state.view.node[0].kcompactd_due == k.NEVER
    machine = every_other_page_free()
    machine.state.view.cfg.compaction_proactiveness = 0
    machine.compact(9)
    assert begins(machine.run(100_000_000))
    assert pgdat(machine).kcompactd_due == k.NEVER


def test_the_first_compaction_of_a_machine_compacts() -> None:
    machine = every_other_page_free()
    machine.compact(9)
    lines = machine.run(30_000_000)
    assert "scanners at pfn 0 and 65024" in begins(lines)[0]
    assert any("compact_zone ends: success" in line for line in lines)
    assert machine.state.view.zone[0].compact_defer_shift == 0


def test_a_compaction_that_fails_drains_the_lists_of_its_zone_alone() -> None:
    zones = (ZoneConfig(0, 1, 0, PAGES // 2), ZoneConfig(0, 2, PAGES // 2, PAGES))
    config = MachineConfig(PAGES, zones, compaction=True)
    state = build_state(config, options=StateOptions(objects=64))
    load_state.memblock_free_all(state, config)
    for gfp in (k.GFP_KERNEL | k.GFP_DMA32, k.GFP_KERNEL):
        entry.free(state, 0, entry.alloc(state, 0, -1, 0, k.MIGRATE_UNMOVABLE, gfp, 0, -1))
    pcp, cc = state.view.pcp, state.view.cc[0]
    before = [pcp[z].count for z in range(len(zones))]
    cc.zone, cc.order = 1, 9
    compaction_ended(state, 0, k.COMPACT_COMPLETE)
    assert min(before) > 0
    assert [pcp[z].count for z in range(len(zones))] == [before[0], 0]


@pytest.mark.parametrize(("extra", "left"), [(0, 0), (k.GFP_THISNODE, 1)])
def test_a_huge_page_of_one_node_alone_gives_up_without_draining(extra: int, left: int) -> None:
    machine = every_other_page_free()
    page = machine.alloc("movable")
    assert page is not None
    machine.drain()
    machine.free(page)
    assert machine.alloc("movable", 9, gfp=THP | extra) is None
    assert machine.state.view.pcp[0].count == left


# defrag_mode.


def only_movable_chunks_free() -> State:
    """defrag_mode; all memory movable and in use but 64 order-2 chunks of one block."""
    pages = BLOCK * 8
    config = MachineConfig(pages, (ZoneConfig(0, 2, 0, pages),), defrag_mode=True, compaction=True)
    state = build_state(config, EvacuationConfig(), StateOptions(objects=8192, log_capacity=1 << 17))
    load_state.memblock_free_all(state, config)
    while entry.alloc(state, 0, -1, 0, 1, k.GFP_HIGHUSER_MOVABLE, k.ATTR_LRU, -1) >= 0:
        pass
    entry.drain_all(state)
    entry.lru_add_drain_all(state)
    for at in range(BLOCK, 2 * BLOCK, 8):
        for pfn in range(at, at + 4):
            entry.free(state, 0, pfn)
    entry.drain_all(state)
    return state


@pytest.mark.parametrize(
    ("gfp", "pfn"),
    [
        (k.GFP_HIGH | k.GFP_KSWAPD_RECLAIM, BLOCK),  # GFP_ATOMIC: cannot wait for a block
        (0, -1),
        (k.GFP_KERNEL, BLOCK),
        (k.GFP_KERNEL | k.GFP_RETRY_MAYFAIL, BLOCK),
        (k.GFP_KERNEL | k.GFP_NORETRY, -1),
        (k.GFP_KERNEL | k.GFP_NORETRY | k.GFP_NOFAIL, BLOCK),  # with MIN_RESERVE alone, without NOFRAGMENT
    ],
)
def test_in_defrag_mode_only_a_request_that_is_retried_falls_back(gfp: int, pfn: int) -> None:
    state = only_movable_chunks_free()
    before = sum(state.view.stat.extfrag)
    assert entry.alloc(state, 0, -1, 0, k.MIGRATE_UNMOVABLE, gfp, 0, -1) == pfn
    assert sum(state.view.stat.extfrag) - before == (pfn >= 0)


@pytest.mark.parametrize(
    ("gfp", "found"),
    [
        (k.GFP_KERNEL, False),
        (k.GFP_KERNEL | k.GFP_RETRY_MAYFAIL, True),
        (k.GFP_RECLAIM | k.GFP_RETRY_MAYFAIL, False),  # GFP_NOIO: may not compact
        (k.GFP_KERNEL | k.GFP_NOFAIL, True),
    ],
)
def test_in_defrag_mode_a_costly_order_falls_back_with_retry_mayfail_alone(gfp: int, found: bool) -> None:
    state = only_movable_chunks_free()
    for pfn in range(BLOCK, 2 * BLOCK, 8):
        for page in range(pfn + 4, pfn + 8):
            entry.free(state, 0, page)
    entry.drain_all(state)
    held = entry.alloc(
        state, 0, -1, 8, k.MIGRATE_MOVABLE, k.GFP_HIGHUSER_MOVABLE, 0, -1
    )  # no whole block is left
    pfn = entry.alloc(state, 0, -1, 4, k.MIGRATE_UNMOVABLE, gfp, 0, -1)
    assert held >= 0
    assert (pfn >= 0) == found


def free_blocks(machine: Machine) -> int:
    return machine.state.view.zone[0].nr_free_pages_blocks


def test_in_defrag_mode_kcompactd_goes_on_until_high_is_met_in_whole_blocks() -> None:
    plain, defrag = every_other_page_free(), every_other_page_free()
    defrag.state.view.cfg.defrag_mode = 1
    high = defrag.state.view.zone[0].watermark[k.WMARK_HIGH]
    for machine in (plain, defrag):
        machine.compact(3)
        lines = machine.run(100_000_000)
        assert any("compact_zone ends: success" in line for line in lines)
    assert free_blocks(plain) <= BLOCK < high
    assert high < free_blocks(defrag) - 7 <= high + BLOCK
    defrag.check()


def test_in_defrag_mode_a_free_chunk_below_a_block_is_not_enough_to_leave_kcompactd_asleep() -> None:
    woken = []
    for mode in (0, 1):
        machine = every_other_page_free()
        machine.compact(3)
        machine.run(100_000_000)
        machine.state.view.cfg.defrag_mode = mode
        machine.compact(3)
        woken.append(pgdat(machine).kcompactd_state == k.KCOMPACTD_WOKEN)
    assert woken == [False, True]


def test_the_threshold_of_the_fragmentation_index_is_vm_extfrag_threshold() -> None:
    """Half of the memory in single pages: the index of order 9 is 998."""
    woken = []
    for threshold in (997, 999):
        machine = every_other_page_free()
        machine.state.view.cfg.extfrag_threshold = threshold
        machine.compact(9)
        woken.append(pgdat(machine).kcompactd_state == k.KCOMPACTD_WOKEN)
    assert woken == [True, False]


def test_values_that_linux_does_not_take_are_refused() -> None:
    good = MachineConfig(PAGES, (ZoneConfig(0, 2, 0, PAGES),))
    for bad in ({"compaction_proactiveness": 101}, {"extfrag_threshold": -1}, {"stat_interval_ns": 0}):
        with pytest.raises(KevacuateError, match="cannot be modelled: vm"):
            build_state(replace(good, **bad))
