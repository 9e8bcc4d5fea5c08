# SPDX-License-Identifier: GPL-2.0-or-later
"""kcompactd and its scanners: what they move, what stops them, and that nothing is lost on the way."""

from __future__ import annotations

import numpy as np
import pytest
from model import scatter

from kevacuate import Machine
from kevacuate.jit import kernel, pointers
from kevacuate.mm import constants as k
from kevacuate.mm.compact_scanners import move_freelist
from kevacuate.mm.machine import Chunk

ORDER = 6
BLOCK = 1 << ORDER
PAGES = 64 * BLOCK


def scattered(keep: float = 0.25, seed: int = 3, **attrs: bool) -> tuple[Machine, list[Chunk]]:
    """A machine filled with movable pages of which a share is left, at random places."""
    machine = Machine(PAGES, pageblock_order=ORDER, compaction=True)
    kept = scatter(machine, keep, seed, **attrs)
    machine.events()
    return machine, kept


def skip_bits(machine: Machine) -> int:
    return int((machine.state.block[::2] & k.PB_COMPACT_SKIP > 0).sum())


def free_chunks(machine: Machine, order: int) -> int:
    return sum(machine.state.view.zone[0].free_area[order:11])


def compacted(machine: Machine, order: int = ORDER, ns: int = 50_000_000) -> list[str]:
    machine.compact(order)
    lines = machine.run(ns)
    machine.check()
    return lines


def test_a_block_is_emptied_into_the_other_end_of_memory() -> None:
    machine, kept = scattered()
    before = {page.number: page.pfn for page in kept}
    assert free_chunks(machine, ORDER) == 0
    lines = compacted(machine)
    assert any("compact_zone ends: success" in line for line in lines)
    assert free_chunks(machine, ORDER) >= 1
    moved = [(before[page.number], page.pfn) for page in kept if page.pfn != before[page.number]]
    assert moved
    assert all(old is not None and new is not None and old < new for old, new in moved)
    assert machine.state.view.stat.compact_migrated == len(moved)


def test_every_page_keeps_its_owner_and_none_is_lost() -> None:
    machine, kept = scattered()
    free = machine.state.view.zone[0].nr_free_pages
    compacted(machine)
    machine.drain()
    assert len({page.pfn for page in kept}) == len(kept)
    assert machine.state.view.zone[0].nr_free_pages == free
    assert machine.state.view.zone[0].nr_isolated == 0
    assert not (machine.state.meta >> 4 == k.CHUNK_COMPACT).any()


def test_what_is_free_already_needs_no_compaction() -> None:
    machine = Machine(PAGES, pageblock_order=ORDER, compaction=True)
    assert compacted(machine) == []
    assert machine.state.view.stat.compactions == 0


def test_a_pinned_page_in_every_block_defeats_it_and_it_is_deferred() -> None:
    machine, _ = scattered(pinned=True, file=True)
    lines = compacted(machine)
    assert any("compact_zone ends: complete" in line for line in lines)
    assert free_chunks(machine, ORDER) == 0
    assert machine.state.view.zone[0].compact_defer_shift == 1
    runs = machine.state.view.stat.compactions
    compacted(machine)
    assert machine.state.view.stat.compactions == runs, "the first attempt after a failure is deferred"
    compacted(machine)
    assert machine.state.view.stat.compactions == runs + 1


def test_pinned_anonymous_pages_are_not_even_isolated() -> None:
    machine, _ = scattered(pinned=True)
    compacted(machine)
    assert machine.state.view.stat.compact_failed == 0
    assert machine.state.view.stat.compact_migrated == 0


def test_skip_bits_are_set_on_the_way_and_keep_the_scanners_out() -> None:
    machine, _ = scattered()
    compacted(machine)
    assert 0 < skip_bits(machine) < 64
    machine, _ = scattered()
    machine.state.block[::2] |= k.PB_COMPACT_SKIP
    compacted(machine)
    assert machine.state.view.stat.compact_migrated == 0
    assert machine.state.view.stat.compactions == 1


def test_an_evacuation_finds_the_bit_that_compaction_set() -> None:
    machine, _ = scattered(keep=0.3)
    compacted(machine)
    marked = machine.state.block[::2] & k.PB_COMPACT_SKIP > 0
    while machine.alloc("unmovable") is not None:
        started = [line for line in machine.settle() if "starts evacuate_pageblock" in line]
        if started:
            number = int(started[0].split("block ")[1].split(",")[0])
            assert ("skip bit set" in started[0]) == bool(marked[number])
            return
    pytest.fail("no block was claimed")


def test_left_alone_it_compacts_proactively_and_rests_after_no_gain() -> None:
    machine, _ = scattered()
    machine.run(k.KCOMPACTD_NS - machine.now - 1)
    assert machine.state.view.stat.compactions == 0
    machine.run(100_000_000)
    machine.check()
    assert machine.state.view.stat.compactions == 1
    assert machine.state.view.stat.compact_migrated > 0
    stuck, _ = scattered(pinned=True)
    stuck.run(20_000_000_000)
    assert stuck.state.view.stat.compactions == 1
    stuck.run(20_000_000_000)
    assert stuck.state.view.stat.compactions == 2


def test_without_compaction_nothing_runs() -> None:
    machine = Machine(PAGES, pageblock_order=ORDER)
    machine.compact(ORDER)
    machine.run(2_000_000_000)
    assert machine.state.view.stat.compactions == 0


@pytest.mark.parametrize("seed", range(4))
def test_allocations_and_frees_in_between_leave_the_state_consistent(seed: int) -> None:
    machine, live = scattered(keep=0.5, seed=seed)
    rng = np.random.default_rng(100 + seed)
    freed_isolated, meta = 0, machine.state.meta
    for _ in range(600):
        if rng.random() < 0.05:
            machine.compact(int(rng.integers(1, ORDER + 1)))
        machine.run(int(rng.integers(0, 20_000)))
        if live and rng.random() < 0.5:
            held = [
                i for i, x in enumerate(live) if x.pfn is not None and meta[x.pfn] >> 4 == k.CHUNK_ISOLATED
            ]
            freed_isolated += bool(held)
            page = live.pop(held[0] if held else int(rng.integers(len(live))))
            if page.pfn is not None:  # an evacuation may have dropped it
                machine.free(page)
        else:
            kind = "movable" if rng.random() < 0.8 else "unmovable"
            order = int(rng.choice([0, 0, 0, 1, 2, 3]))
            odd = {
                "file": bool(rng.random() < 0.5),
                "pinned": bool(rng.random() < 0.05),
                "busy": bool(rng.random() < 0.05),
            }
            made = machine.alloc(kind, order, **(odd if kind == "movable" else {}))
            live += [made] if made is not None else []
        machine.check()
    assert machine.state.view.stat.compactions > 3
    assert machine.state.view.stat.compact_migrated > 50
    assert freed_isolated > 0


def test_equal_inputs_give_equal_states() -> None:
    states = []
    for _ in range(2):
        machine, _ = scattered()
        compacted(machine)
        states.append(machine.state)
    assert all(np.array_equal(one, other) for one, other in zip(*states, strict=True))


@kernel
def rotate(sa, head, pfn, last):  # type: ignore[no-untyped-def]
    move_freelist(pointers(sa), head, pfn, last)


def test_a_rotation_makes_the_chunk_last_or_first_wherever_it_was() -> None:
    """list_is_first and list_is_last only spare what would change nothing."""
    machine = Machine(PAGES, pageblock_order=ORDER)
    pages = [machine.alloc("movable") for _ in range(PAGES // 2)]
    for page in pages[1::2]:
        assert page is not None
        machine.free(page)
    machine.drain()
    head = machine.state.view.cfg.npages + k.MIGRATE_MOVABLE  # order 0

    def chunks() -> list[int]:
        found, pfn = [], int(machine.state.link[2 * head])
        while pfn != head:
            found.append(pfn)
            pfn = int(machine.state.link[2 * pfn])
        return found

    before = chunks()
    assert len(before) > 4
    for n in (0, 1, len(before) - 2, len(before) - 1):
        rotate(machine.state, head, before[n], True)
        assert chunks() == [*before[n + 1 :], *before[: n + 1]]
        rotate(machine.state, head, before[0], False)
        assert chunks() == before
    machine.check()
