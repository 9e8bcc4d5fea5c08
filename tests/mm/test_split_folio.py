# SPDX-License-Identifier: GPL-2.0-or-later
"""Large folios for which migration has no destination: they are split, and their object finds all its pages."""

from __future__ import annotations

import pytest
from lockstep_fast import hold, let_go

from kevacuate import Machine
from kevacuate.jit import kernel, pointers
from kevacuate.mm import constants as k
from kevacuate.mm.machine import Chunk
from kevacuate.mm.migrate import put_source_back
from kevacuate.mm.split_folio import split_folio

BLOCK_ORDER = 6
PAGES = 16 << BLOCK_ORDER
THP = k.GFP_TRANSHUGE
PART = -4  # of a shadow that is a page of the folio of one before it


@kernel
def split(sa, pfn, mode):  # type: ignore[no-untyped-def]
    return split_folio(pointers(sa), pfn, mode)


@kernel
def put_back(sa, cpu, pfn):  # type: ignore[no-untyped-def]
    return put_source_back(pointers(sa), cpu, pfn)


def isolated(order: int = 3, **attrs: bool) -> tuple[Machine, Chunk]:
    """A machine with one large folio, which somebody has isolated."""
    machine = Machine(PAGES, pageblock_order=BLOCK_ORDER)
    chunk = machine.alloc("movable", order, **attrs)
    assert chunk is not None
    hold(machine.state, chunk.pfn)
    return machine, chunk


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_a_split_folio_s_object_has_its_pages_one_by_one(order: int) -> None:
    machine, chunk = isolated(order)
    free = machine.state.view.zone[0].nr_free_pages
    first = chunk.pfn
    assert split(machine.state, first, k.MIGRATE_ASYNC)
    assert first is not None
    assert chunk.pfns == list(range(first, first + (1 << order)))
    machine.check()
    for pfn in chunk.pfns:
        let_go(machine.state, 0, pfn)
    machine.drain()
    machine.check()
    assert machine.state.view.zone[0].nr_isolated == 0
    assert machine.state.view.stat.folios_split == 1
    machine.free(chunk)
    machine.drain()
    assert machine.state.view.zone[0].nr_free_pages == free + (1 << order)
    assert (machine.state.obj == -1).all()
    machine.check()


@pytest.mark.parametrize("freed", [False, True])
def test_a_part_that_waits_is_put_back_or_freed_if_its_owner_let_go_of_it(freed: bool) -> None:
    machine, chunk = isolated(1)
    free = machine.state.view.zone[0].nr_free_pages
    first = chunk.pfn
    assert split(machine.state, first, k.MIGRATE_ASYNC)
    if freed:
        machine.free(chunk)
    put = [put_back(machine.state, 0, first + i) for i in range(2)]
    assert put == ([0, 0] if freed else [1, 1])
    machine.drain()
    assert machine.state.view.zone[0].nr_free_pages == free + 2 * freed
    assert machine.state.view.zone[0].nr_isolated == 0
    machine.check()


@pytest.mark.parametrize(
    ("attrs", "mode", "splits"),
    [
        ({}, k.MIGRATE_ASYNC, True),
        ({"pinned": True, "file": True}, k.MIGRATE_SYNC_LIGHT, False),
        ({"writeback": True}, k.MIGRATE_SYNC_LIGHT, False),
        ({"busy": True}, k.MIGRATE_ASYNC, False),
        ({"busy": True}, k.MIGRATE_SYNC_LIGHT, True),
        ({"dirty": True}, k.MIGRATE_ASYNC, True),
        ({"file": True}, k.MIGRATE_ASYNC, True),
        ({"file": True, "dirty": True}, k.MIGRATE_ASYNC, False),
    ],
)
def test_what_keeps_a_folio_whole(attrs: dict[str, bool], mode: int, splits: bool) -> None:
    machine, chunk = isolated(**attrs)
    assert split(machine.state, chunk.pfn, mode) == splits
    assert len(chunk.pfns) == (8 if splits else 1)
    assert machine.state.view.stat.folios_split == splits
    machine.check()


def test_dirty_cache_can_be_split_once_it_is_written() -> None:
    machine, chunk = isolated(file=True, dirty=True)
    machine.run(machine.state.view.cfg.dirty_expire + (1 << 30))
    assert split(machine.state, chunk.pfn, k.MIGRATE_ASYNC)


def test_only_the_first_page_keeps_pg_reclaim() -> None:
    machine, chunk = isolated(2, file=True)
    kept = k.ATTR_ACTIVE | k.ATTR_REFERENCED | k.ATTR_WORKINGSET
    first = chunk.pfn
    assert first is not None
    machine.state.link[2 * first + 1] |= kept | k.ATTR_RECLAIM
    split(machine.state, first, k.MIGRATE_ASYNC)
    flags = machine.state.link[2 * first + 1 : 2 * (first + 4) + 1 : 2] & (kept | k.ATTR_RECLAIM)
    assert flags.tolist() == [kept | k.ATTR_RECLAIM, kept, kept, kept]


def test_without_ids_a_folio_stays_whole_and_is_counted() -> None:
    machine, chunk = isolated()
    stat = machine.state.view.stat
    stat.nr_base_pages = 4
    assert not split(machine.state, chunk.pfn, k.MIGRATE_ASYNC)
    assert (stat.split_without_ids, stat.folios_split, len(chunk.pfns)) == (1, 0, 1)
    machine.check()


def test_a_split_that_leaves_too_few_ids_for_the_largest_folio_says_so() -> None:
    machine, chunk = isolated()
    stat = machine.state.view.stat
    stat.nr_base_pages = 1 << machine.config.max_page_order
    assert split(machine.state, chunk.pfn, k.MIGRATE_ASYNC)
    assert stat.spare_base_page == -1


def test_ids_are_given_in_a_row_and_those_for_the_largest_folio_stay_free() -> None:
    machine = Machine(PAGES, pageblock_order=BLOCK_ORDER)
    stat, obj = machine.state.view.stat, machine.state.obj
    largest = 1 << machine.config.max_page_order
    stat.nr_base_pages = 2 * largest
    pfns = [chunk.pfn for chunk in (machine.alloc("movable", 3) for _ in range(12)) if chunk is not None]
    assert obj.size >= stat.first_base_page + stat.nr_base_pages
    for turn, pfn in enumerate(pfns):
        hold(machine.state, pfn)
        assert split(machine.state, pfn, k.MIGRATE_ASYNC)
        assert stat.next_base_page == 8 * turn
        assert stat.spare_base_page == largest
    stat.next_base_page = largest
    chunk = machine.alloc("movable", 3)
    assert chunk is not None
    hold(machine.state, chunk.pfn)
    assert split(machine.state, chunk.pfn, k.MIGRATE_ASYNC)
    assert stat.next_base_page == 8 * len(pfns), "the upper half is for large objects"


def test_pages_of_a_folio_of_shadows_go_to_the_shadow_of_each() -> None:
    machine, chunk = isolated(2)
    stat, obj = machine.state.view.stat, machine.state.obj
    first = chunk.pfn
    assert first is not None
    stat.first_shadow = stat.first_base_page - 8
    shadow = stat.first_shadow + 4
    obj[chunk.number], machine.state.link[2 * first] = -1, shadow
    obj[shadow : shadow + 4] = (first, PART, PART, PART)
    assert split(machine.state, first, k.MIGRATE_ASYNC)
    assert obj[shadow : shadow + 4].tolist() == [first, first + 1, first + 2, first + 3]
    assert (obj[stat.first_base_page :] == -1).all(), "no ids are taken"
    machine.check()


def checkered(order: int = 1, **attrs: bool) -> tuple[Machine, list[Chunk]]:
    """Large folios low in memory, pages of order 0 above them, of those every second one free: no destination is large."""
    machine = Machine(PAGES, pageblock_order=BLOCK_ORDER, compaction=True, min_free_kbytes=64)
    gfp = k.GFP_HIGHUSER_MOVABLE | k.GFP_MEMALLOC
    pages, folios = [], []
    while (page := machine.alloc("movable", gfp=gfp)) is not None:
        pages.append(page)
    middle = PAGES // 2
    for page in pages:
        if page.pfn is not None and page.pfn < middle:
            machine.free(page)
    machine.drain()
    while (folio := machine.alloc("movable", order, gfp=gfp & ~k.GFP_DIRECT_RECLAIM, **attrs)) is not None:
        folios.append(folio)
    for page in pages:
        if page.pfn is not None and page.pfn >= middle and page.pfn % 2:
            machine.free(page)
    machine.drain()
    machine.events()
    return machine, folios


def test_a_direct_compaction_splits_what_it_has_no_chunk_for() -> None:
    machine, folios = checkered()
    stat = machine.state.view.stat
    assert machine.alloc("movable", 4, gfp=THP) is not None
    machine.check()
    split_ones = [folio for folio in folios if len(folio.pfns) == 2]
    assert len(split_ones) == stat.folios_split > 0
    assert stat.split_without_ids == 0
    moved = [folio for folio in split_ones if folio.pfns[1] != folio.pfns[0] + 1]
    assert moved, "its pages are apart"
    assert stat.pgmigrate_success >= 2 * len(moved)
    for folio in folios:
        machine.free(folio)
    machine.check()


def test_kcompactd_splits_too() -> None:
    machine, folios = checkered()
    stat = machine.state.view.stat
    machine.compact(4)
    lines = machine.run(50_000_000)
    machine.check()
    assert sum(len(folio.pfns) == 2 for folio in folios) == stat.folios_split > 0
    assert stat.compact_migrated >= 2 * stat.folios_split
    assert any("compact_zone ends: success" in line for line in lines)


def test_a_folio_that_cannot_be_split_ends_the_compaction_as_contended() -> None:
    machine, folios = checkered(file=True, pinned=True)
    assert machine.alloc("movable", 4, gfp=THP | k.GFP_NORETRY) is None
    stat = machine.state.view.stat
    assert stat.folios_split == 0
    assert list(stat.direct_compact) == [2 * (result == k.COMPACT_CONTENDED) for result in range(9)]
    assert all(len(folio.pfns) == 1 for folio in folios)
    machine.check()


def test_in_an_open_loop_nothing_is_split() -> None:
    machine, folios = checkered()
    machine.state.view.cfg.open_loop = 1
    machine.compact(4)
    machine.run(50_000_000)
    assert machine.state.view.stat.folios_split == 0
    assert all(len(folio.pfns) == 1 for folio in folios)
