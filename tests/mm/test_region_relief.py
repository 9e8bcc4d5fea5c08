# SPDX-License-Identifier: GPL-2.0-or-later
"""Room for unmovable memory in tainted regions: evacuation for a request, and slabs shrunk by a region's pressure."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from test_regions import GFP, PASSES, booted

from kevacuate.errors import KevacuateError
from kevacuate.mm import constants as k
from kevacuate.mm import entry
from kevacuate.mm.check import check
from kevacuate.mm.layout import RegionConfig, State
from kevacuate.policy import parse_policy

KEPT = replace(PASSES, region_nofragment_kept=True)
EVACUATING = replace(KEPT, region_evacuate=True)
SHRINKING = RegionConfig(7, region_shrink=True, region_shrink_priority=1)


def full_of_movable(regions: RegionConfig) -> State:
    """A machine with one unmovable page, full of movable ones but for a tenth."""
    state = booted(regions)
    entry.alloc(state, 0, -1, 0, k.MIGRATE_UNMOVABLE, GFP[0], 0, 0)
    held = 0
    while entry.alloc(state, 0, -1, 0, k.MIGRATE_MOVABLE, GFP[1], k.ATTR_LRU, held + 1) >= 0 and held < 1100:
        held += 1
    for obj in random.Random(1).sample(range(1, held + 1), 100):
        entry.free(state, 0, int(state.obj[obj]))
    entry.drain_all(state)
    entry.lru_add_drain_all(state)
    return state


def take_unmovable(state: State, count: int) -> int:
    """So many unmovable pages; how many regions are tainted then."""
    for obj in range(1200, 1200 + count):
        entry.alloc(state, 0, -1, 0, k.MIGRATE_UNMOVABLE, GFP[0], 0, obj)
        check(state)
    return sum(region.tainted for region in list(state.view.region)[: state.view.cfg.nr_regions])


def test_requests_make_room_before_they_taint() -> None:
    without, evacuating = full_of_movable(KEPT), full_of_movable(EVACUATING)
    assert take_unmovable(evacuating, 40) < take_unmovable(without, 40)
    stat = evacuating.view.stat
    assert stat.region_evacuations >= stat.region_evacuations_served > 0
    assert stat.region_evacuated_pages == stat.pgmigrate_success > 0
    cfg = evacuating.view.cfg
    scanned = stat.region_evacuated_blocks << cfg.pageblock_order
    moved = stat.region_evacuated_pages * (cfg.isolate_ns + cfg.migrate_ns)
    assert stat.region_evacuation_ns == scanned * cfg.scan_ns + moved
    assert without.view.stat.region_evacuations == 0


def test_a_request_evacuates_so_many_pageblocks_at_most() -> None:
    state = full_of_movable(replace(EVACUATING, region_evacuate_blocks=1))
    take_unmovable(state, 40)
    assert 0 < state.view.stat.region_evacuated_blocks <= state.view.stat.region_evacuations


def test_pinned_pages_stay_where_they_are() -> None:
    state = full_of_movable(EVACUATING)
    where = {}
    for obj in range(1, 1000):
        pfn = int(state.obj[obj])
        if pfn >= 0 and state.meta[pfn] >> 4 == k.CHUNK_ALLOC:
            state.link[2 * pfn + 1] |= k.ATTR_PINNED
            where[obj] = pfn
    take_unmovable(state, 20)
    assert state.view.stat.region_evacuations > 0
    assert {obj: int(state.obj[obj]) for obj in where} == where


def test_slabs_are_shrunk_once_where_a_region_is_short() -> None:
    state = booted(SHRINKING)
    view = state.view
    slabs = 0
    while view.node[0].shrink_due == k.NEVER:
        assert entry.alloc(state, 0, -1, 0, k.MIGRATE_RECLAIMABLE, GFP[2], 0, slabs) >= 0
        slabs += 1
    due = view.node[0].shrink_due
    entry.alloc(state, 0, -1, 0, k.MIGRATE_RECLAIMABLE, GFP[2], 0, slabs)
    assert view.node[0].shrink_due == due == view.cfg.wakeup_ns
    entry.advance(state, due)
    shrunk = [obj for obj in range(slabs + 1) if state.obj[obj] == k.OBJ_SHRUNK]
    assert len(shrunk) == view.stat.region_shrunk_pages == (slabs + 1) // 2
    assert (view.stat.region_shrinks, view.node[0].shrink_due) == (1, k.NEVER)
    assert view.node[0].shrink_busy == due + len(shrunk) * view.cfg.reclaim_ns
    check(state)


def test_nothing_shrinks_or_evacuates_unasked() -> None:
    state = full_of_movable(PASSES)
    take_unmovable(state, 40)
    stat = state.view.stat
    assert stat.region_evacuations == stat.region_shrinks == 0
    assert state.view.node[0].shrink_due == k.NEVER


@pytest.mark.parametrize(
    ("name", "shrinks"), [("spb-worker", None), ("spb-evacuation", False), ("spb-shrink", True)]
)
def test_what_the_policies_named_so_do(name: str, shrinks: bool | None) -> None:
    regions = parse_policy(name).kind.regions
    relieved = shrinks is not None
    assert (regions.region_evacuate, regions.region_nofragment_kept) == (relieved, relieved)
    assert regions.region_shrink == bool(shrinks)
    assert regions.region_worker


def test_evacuation_for_a_request_needs_passes() -> None:
    with pytest.raises(KevacuateError, match="needs passes over regions"):
        booted(RegionConfig(7, region_evacuate=True))
