# SPDX-License-Identifier: GPL-2.0-or-later
"""Swap to a zram device, decision by decision: zspages, slots, use, refaults, exhaustion."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from kevacuate.errors import KevacuateError
from kevacuate.mm import constants as k
from kevacuate.mm import entry, load_state
from kevacuate.mm.base_pages import base_page_ids
from kevacuate.mm.check import check
from kevacuate.mm.fields import SwapRecord
from kevacuate.mm.layout import (
    MachineConfig,
    State,
    StateOptions,
    ZoneConfig,
    build_state,
    zspage_ids,
    zspage_shape,
)

PAGES = 1 << 13
OBJECTS = 1 << 14
BASE_PAGES = 1 << 12
UNIT_NS = 1 << 29
MACHINE = MachineConfig(
    npages=PAGES,
    zones=(ZoneConfig(0, k.ZONE_NORMAL, 0, PAGES, watermark=(64, 80, 96, 112)),),
    swap_pages=1024,
    anon_used=0,
)


def machine(**changes: object) -> State:
    """One zone, one CPU, all of it free, with room for base pages and zspages in the table of objects."""
    config = replace(MACHINE, **changes)  # type: ignore[arg-type]
    state = build_state(config, None, StateOptions(objects=OBJECTS + BASE_PAGES + 4 * PAGES))
    stat = state.view.stat
    stat.first_shadow = stat.first_base_page = OBJECTS
    stat.nr_base_pages, stat.first_zspage_page = BASE_PAGES, OBJECTS + BASE_PAGES
    load_state.memblock_free_all(state, config)
    entry.late_initcall(state, 1)
    entry.advance(state, 0)
    return state


def anonymous(state: State, count: int, order: int = 0, attr: int = k.ATTR_LRU) -> None:
    """Objects 0, 1, ... with an anonymous folio each, on their list."""
    for obj in range(count):
        pfn = entry.alloc(state, 0, -1, order, k.MIGRATE_MOVABLE, k.GFP_HIGHUSER_MOVABLE, attr, obj)
        assert pfn >= 0
    entry.lru_add_drain_all(state)


def reclaim(state: State, gfp: int = k.GFP_KERNEL) -> int:
    """Direct reclaim until 32 pages are reclaimed, or nothing more is; the pages."""
    pages = 0
    while pages < 32 and (reclaimed := entry.reclaim(state, 0, 0, 0, gfp)):
        pages += reclaimed
    check(state)
    return pages


def in_swap(state: State) -> list[int]:
    """The objects whose pages are in swap."""
    owners = SwapRecord.table(state.swap)["obj"][: state.view.cfg.swap_pages]
    return sorted(owners[owners >= 0].tolist())


def zspage_pfns(state: State) -> list[int]:
    """Pages that zspages have."""
    first = state.view.stat.first_zspage_page
    pfns = state.obj[first : first + zspage_ids(state.view.cfg)]
    return pfns[pfns >= 0].tolist()


@pytest.mark.parametrize(
    ("compressed", "shape"),
    [(1365, (8, 23)), (2000, (1, 2)), (500, (1, 8)), (3576, (7, 8)), (4096, (1, 1)), (1, (1, 128))],
)
def test_a_zspage_is_the_chain_that_wastes_least(compressed: int, shape: tuple[int, int]) -> None:
    assert zspage_shape(compressed) == shape


def test_without_swap_anonymous_pages_stay() -> None:
    state = machine(swap_pages=0)
    anonymous(state, 2000)
    assert reclaim(state) == 0
    assert (state.view.stat.pgscan_direct, state.swap.size) == (0, 0)


def test_a_page_is_spared_once_for_the_fault_that_made_it_and_is_then_in_swap() -> None:
    state = machine()
    anonymous(state, 64)
    stat = state.view.stat
    reclaimed = reclaim(state)
    assert stat.pgscan_direct - stat.pgsteal_direct >= 64  # each was looked at once in vain
    assert reclaimed >= 32
    assert in_swap(state) == list(range(stat.pswpout))  # oldest first
    assert stat.nr_swap_pages == 1024 - stat.pswpout
    assert stat.pgsteal_anon == stat.pswpout == stat.pgsteal_direct
    assert [int(state.obj[obj]) for obj in in_swap(state)] == [k.OBJ_DROPPED] * stat.pswpout


def test_compressed_pages_are_movable_pages_of_the_same_allocator() -> None:
    state = machine()
    anonymous(state, 64)
    reclaim(state)
    written = state.view.stat.pswpout
    pfns = zspage_pfns(state)
    assert len(pfns) == 8 * -(-written // 23)
    for pfn in pfns:
        assert state.meta[pfn] == k.CHUNK_ALLOC << 4
        assert state.link[2 * pfn + 1] == k.ATTR_MOVABLE_OPS
        assert state.block[2 * (pfn >> 9)] & k.PB_TYPE_MASK == k.MIGRATE_MOVABLE


def test_a_page_in_use_is_read_again_and_its_slot_and_zspage_are_free() -> None:
    state = machine(anon_used=1000)
    anonymous(state, 64)
    reclaim(state)  # within one unit of time nobody uses a page twice
    stat = state.view.stat
    written = stat.pswpout
    assert written >= 32
    assert stat.swap_due == stat.now + UNIT_NS
    entry.advance(state, stat.now + UNIT_NS - 1)
    assert stat.pswpin == 0
    entry.advance(state, stat.now + 1)
    check(state)
    assert (stat.pswpin, stat.nr_swap_pages, in_swap(state), zspage_pfns(state)) == (written, 1024, [], [])
    assert stat.zspages_free == stat.zspages_alloc > 0
    assert stat.workingset_refault_anon == written
    assert (state.obj[:64] >= 0).all()


def test_an_idle_page_is_never_read_and_leaves_swap_with_its_owner() -> None:
    state = machine()
    anonymous(state, 64)
    reclaim(state)
    stat = state.view.stat
    owners = in_swap(state)
    entry.advance(state, 10 * UNIT_NS)
    assert stat.pswpin == 0
    for obj in owners:
        assert entry.free_in_swap(state, 0, obj)
        check(state)
    assert not entry.free_in_swap(state, 0, owners[0])
    assert (stat.swap_freed, stat.nr_swap_pages, zspage_pfns(state)) == (len(owners), 1024, [])


def test_full_swap_leaves_files_alone_to_reclaim() -> None:
    state = machine(swap_pages=8)
    anonymous(state, 2000)
    for _ in range(4):
        reclaim(state)
    stat = state.view.stat
    assert (stat.pswpout, stat.nr_swap_pages) == (8, 0)
    assert stat.swap_full > 0
    before = stat.pgscan_anon
    assert reclaim(state) == 0  # no slot: anonymous lists are not scanned
    assert stat.pgscan_anon == before


def test_a_request_reclaims_anonymous_memory_before_it_runs_out() -> None:
    failed = {}
    for pages in (0, 1024):
        state = machine(swap_pages=pages)
        requests = 0
        while state.view.stat.oom_kill == 0 and requests < OBJECTS:
            entry.alloc(state, 0, -1, 0, k.MIGRATE_MOVABLE, k.GFP_HIGHUSER_MOVABLE, k.ATTR_LRU, requests)
            requests += 1
        check(state)
        failed[pages] = requests
    assert failed[1024] > failed[0] + 500  # three compressed pages take one


def test_a_large_folio_is_written_whole_and_comes_back_in_base_pages() -> None:
    state = machine(anon_used=1000)
    anonymous(state, 4, order=4)
    reclaim(state)
    stat = state.view.stat
    assert stat.pswpout >= 32
    assert stat.pswpout % 16 == 0
    ids = base_page_ids(int(state.obj[0]))
    assert len(ids) == 16
    entry.advance(state, stat.now + UNIT_NS)
    check(state)
    pfns = state.obj[OBJECTS + ids.start : OBJECTS + ids.stop]
    assert (pfns >= 0).all()
    assert set((state.meta[pfns] & 15).tolist()) == {0}


@pytest.mark.parametrize(
    ("attr", "gfp"), [(k.ATTR_PINNED, k.GFP_KERNEL), (0, k.GFP_RECLAIM), (k.ATTR_BUSY, k.GFP_KERNEL)]
)
def test_what_may_not_be_written_stays(attr: int, gfp: int) -> None:
    state = machine()
    anonymous(state, 64, attr=k.ATTR_LRU | attr)
    assert reclaim(state, gfp) == 0
    assert state.view.stat.pswpout == 0
    assert (state.obj[:64] >= 0).all()


def test_swappiness_divides_what_is_scanned() -> None:
    scanned = {}
    for swappiness in (0, 60, 200):
        state = machine(swappiness=swappiness, zram_bytes=4096)
        anonymous(state, 3000)
        for obj in range(3000, 6000):
            entry.alloc(
                state, 0, -1, 0, k.MIGRATE_MOVABLE, k.GFP_HIGHUSER_MOVABLE, k.ATTR_LRU | k.ATTR_FILE, obj
            )
        entry.lru_add_drain_all(state)
        state.view.node[0].workingset_activate_file += 1  # a refault: cold cache is not all there is
        reclaim(state)
        scanned[swappiness] = state.view.stat.pgscan_anon
    assert scanned[0] == 0
    assert 0 < scanned[60] < scanned[200]


def test_swap_in_an_open_loop_is_refused() -> None:
    with pytest.raises(KevacuateError, match="swap needs a closed loop"):
        machine(open_loop=True)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("obj", 3, "a slot of swap is lost"),
        ("inuse", 9, "a zspage is lost"),
        ("due", 5, "is out of order"),
    ],
)
def test_a_broken_record_is_found(field: str, value: int, words: str) -> None:
    state = machine(anon_used=1000)
    anonymous(state, 64)
    reclaim(state)
    table = SwapRecord.table(state.swap)
    at = {"obj": 0, "inuse": 1024, "due": int(state.view.stat.swap_last)}[field]
    table[field][at] = value
    with pytest.raises(AssertionError, match=words):
        check(state)


def test_equal_runs_end_in_equal_states() -> None:
    states = []
    for _ in range(2):
        state = machine(anon_used=500)
        anonymous(state, 2000)
        for turn in range(20):
            reclaim(state)
            entry.advance(state, turn * UNIT_NS // 3)
        states.append(state)
    for name in State._fields:
        assert np.array_equal(getattr(states[0], name), getattr(states[1], name)), name
