# SPDX-License-Identifier: GPL-2.0-or-later
"""Requests of a closed loop that compact for themselves, and the ways out of the slow path."""

from __future__ import annotations

import numpy as np
import pytest
from model import scatter

from kevacuate import Machine
from kevacuate.mm import constants as k
from kevacuate.mm.machine import Chunk

ORDER = 6
PAGES = 64 << ORDER
THP = k.GFP_TRANSHUGE


def scattered(
    keep: float = 0.5, seed: int = 3, min_free_kbytes: int = 256, **attrs: bool
) -> tuple[Machine, list[Chunk]]:
    """A machine filled with movable pages of which a share is left, at random places."""
    machine = Machine(PAGES, pageblock_order=ORDER, compaction=True, min_free_kbytes=min_free_kbytes)
    kept = scatter(machine, keep, seed, **attrs)
    while machine.state.view.zone[0].free_area[ORDER]:
        assert machine.alloc("movable", ORDER) is not None
    machine.events()
    return machine, kept


def exits(machine: Machine) -> dict[str, int]:
    counts = machine.state.view.stat.slowpath_exit
    return {name: counts[i] for i, name in enumerate(k.EXIT_NAMES) if counts[i]}


def results(machine: Machine) -> dict[str, int]:
    counts = machine.state.view.stat.direct_compact
    return {name: counts[i] for i, name in k.COMPACT_NAMES.items() if counts[i]}


def test_a_huge_fault_compacts_and_captures_its_page() -> None:
    machine, kept = scattered()
    before = {page.number: page.pfn for page in kept}
    assert machine.alloc("movable", ORDER, gfp=THP) is not None
    machine.check()
    stat = machine.state.view.stat
    assert results(machine) == {"success": 1}
    assert (stat.compact_stall, stat.compact_success, stat.compact_fail) == (1, 1, 0)
    moved = [page for page in kept if page.pfn != before[page.number]]
    assert stat.pgmigrate_success == len(moved) > 0
    assert stat.thp_fault_alloc == 1
    assert stat.direct_compact_ns >= len(moved) * machine.state.view.cfg.migrate_ns
    assert any("captured" in line for line in machine.events())


def test_what_cannot_be_moved_defeats_it_and_the_fault_falls_back() -> None:
    machine, _ = scattered(pinned=True, file=True)
    assert machine.alloc("movable", ORDER, gfp=THP) is None
    stat = machine.state.view.stat
    assert stat.thp_fault_fallback == 1
    assert stat.compact_success == 0
    assert stat.pgmigrate_success == 0
    assert stat.pgmigrate_fail > 0
    assert exits(machine)["costly order"] == 1
    assert machine.state.view.zone[0].compact_defer_shift == 1, "the synchronous attempt failed"
    machine.check()


def test_a_fault_of_one_node_that_does_not_retry_only_compacts_asynchronously() -> None:
    machine, _ = scattered(pinned=True, file=True)
    assert machine.alloc("movable", ORDER, gfp=THP | k.GFP_NORETRY | k.GFP_THISNODE) is None
    assert exits(machine)["compacts only"] == 1
    assert machine.state.view.stat.compact_stall == 1
    assert machine.state.view.zone[0].compact_defer_shift == 0, "asynchronous failures defer nothing"


def test_scanners_that_meet_have_the_skip_bits_flushed() -> None:
    machine, _ = scattered(pinned=True, file=True)
    machine.alloc("movable", ORDER, gfp=THP)
    zone = machine.state.view.zone[0]
    bits = int((machine.state.block[::2] & k.PB_COMPACT_SKIP > 0).sum())
    assert zone.compact_blockskip_flush == 1
    assert bits > 0
    for _ in range(200):
        machine.run(100_000_000)
        if not zone.compact_blockskip_flush:
            break
        machine.alloc("movable")
    assert zone.compact_blockskip_flush == 0
    assert int((machine.state.block[::2] & k.PB_COMPACT_SKIP > 0).sum()) < bits


@pytest.mark.parametrize(("kind", "order"), [("movable", 2), ("unmovable", 2)])
def test_without_io_nothing_is_compacted(kind: str, order: int) -> None:
    machine, _ = scattered(keep=0.98)
    killed = machine.state.view.stat.oom_kill  # when it was filled
    gfp = k.GFP_KERNEL & ~(k.GFP_IO | k.GFP_FS) | (k.GFP_MOVABLE if kind == "movable" else 0)
    while machine.alloc(kind, order, gfp=gfp) is not None:
        pass
    assert set(results(machine)) <= {"skipped"}
    assert machine.state.view.stat.compact_stall == 0
    assert machine.state.view.stat.oom_nofs >= 1
    assert machine.state.view.stat.oom_kill == killed


def test_running_out_of_memory_is_an_outcome_and_nofail_goes_below_the_marks() -> None:
    machine = Machine(PAGES, pageblock_order=ORDER, compaction=True, min_free_kbytes=256)
    while machine.alloc("unmovable") is not None:
        pass
    stat, zone = machine.state.view.stat, machine.state.view.zone[0]
    assert stat.oom_kill == 1
    assert exits(machine)["out of memory"] == 1
    assert any("out of memory" in line for line in machine.events())
    least = zone.watermark[k.WMARK_MIN]
    assert zone.nr_free_pages <= least
    while zone.nr_free_pages > 0:
        assert machine.alloc("unmovable", gfp=k.GFP_KERNEL | k.GFP_NOFAIL) is not None
    assert stat.nofail_failed == 0
    assert machine.alloc("unmovable", gfp=k.GFP_KERNEL | k.GFP_NOFAIL) is None
    assert stat.nofail_failed == 1
    machine.check()


def test_equal_inputs_give_equal_states() -> None:
    states = []
    for _ in range(2):
        machine, _ = scattered()
        for order in (ORDER, 5, 4, ORDER):
            machine.alloc("movable", order, gfp=THP)
        states.append(machine.state)
    assert all(np.array_equal(one, other) for one, other in zip(*states, strict=True))
