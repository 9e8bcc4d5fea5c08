# SPDX-License-Identifier: GPL-2.0-or-later
"""Regions: never clean with an unmovable page, equal to a count, and what a broken count is called."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from kevacuate.errors import KevacuateError
from kevacuate.kernel.regions import REGION_ORDER
from kevacuate.measure.regions import kept_regions, region_counters
from kevacuate.mm import constants as k
from kevacuate.mm import entry, load_state
from kevacuate.mm.check import check
from kevacuate.mm.layout import (
    EvacuationConfig,
    MachineConfig,
    RegionConfig,
    State,
    StateOptions,
    ZoneConfig,
    build_state,
    log_table,
)
from kevacuate.mm.profile import PROFILES
from kevacuate.mm.region_count import load_regions

GFP = {
    k.MIGRATE_UNMOVABLE: k.GFP_KERNEL,
    k.MIGRATE_MOVABLE: k.GFP_HIGHUSER_MOVABLE,
    k.MIGRATE_RECLAIMABLE: k.GFP_KERNEL | k.GFP_RECLAIMABLE,
}
PASSES = RegionConfig(7, region_steer_claims=8, region_passes=True)
ALL = replace(
    PASSES,
    region_cheap_taints=False,
    region_worker=True,
    region_nofragment_kept=True,
    region_evacuate=True,
    region_shrink=True,
)
MACHINE = MachineConfig(
    npages=1024,
    zones=(ZoneConfig(0, 1, 0, 256, ((0, 3),)), ZoneConfig(0, 2, 256, 1000)),
    max_page_order=6,
    pageblock_order=4,
    hpage_pmd_order=4,
    open_loop=True,
)


def booted(regions: RegionConfig, machine: MachineConfig = MACHINE) -> State:
    state = build_state(machine, EvacuationConfig(regions=regions), StateOptions(objects=2048))
    load_state.memblock_free_all(state, machine)
    entry.late_initcall(state, 1)
    return state


def churn(state: State, operations: int, seed: int, look: Callable[[dict[int, int]], None]) -> None:
    """Random requests and frees; *look* is given the type of every object after each."""
    rng = random.Random(seed)
    held: dict[int, int] = {}
    for obj in range(operations):
        if held and rng.random() < (0.3 if len(held) < 200 else 0.55):
            gone = rng.choice(list(held))
            entry.free(state, 0, int(state.obj[gone]))
            del held[gone]
        else:
            mt = rng.choice((0, 1, 1, 1, 2))
            attr = k.ATTR_LRU if mt == k.MIGRATE_MOVABLE else 0
            if entry.alloc(state, 0, -1, rng.choice((0, 0, 0, 1, 3)), mt, GFP[mt], attr, obj) >= 0:
                held[obj] = mt
        look(held)


@pytest.mark.parametrize(
    "regions", [RegionConfig(7), RegionConfig(7, region_steer_claims=8), PASSES, ALL], ids=str
)
def test_no_region_is_clean_with_an_unmovable_page(regions: RegionConfig) -> None:
    state = booted(regions)
    view = state.view

    def look(held: dict[int, int]) -> None:
        for obj, mt in held.items():
            if mt != k.MIGRATE_MOVABLE:
                pfn = int(state.obj[obj])
                zone = int(state.block[2 * (pfn >> 4) + 1])
                assert view.region[(pfn >> 7) + view.cfg.region_first[zone]].tainted
        check(state)

    churn(state, 1500, 3, look)
    assert view.stat.regions_tainted > view.stat.regions_cleaned >= 0


def test_passes_taint_fewer_regions() -> None:
    tainted = {}
    for name, regions in (("mainline", RegionConfig(7)), ("passes", PASSES)):
        state = booted(regions)
        seen: list[int] = []
        churn(state, 1500, 5, lambda held, s=state, n=seen: n.append(kept_regions(s)["tainted"]))  # type: ignore[misc]
        tainted[name] = sum(seen) / len(seen)
    assert tainted["passes"] < tainted["mainline"]


def test_a_worker_passes_over_blocks_that_are_one_huge_page() -> None:
    marks = {"region_start_blocks": 8, "region_stop_blocks": 9, "region_stop_pages": 99}
    state = booted(replace(PASSES, region_worker=True, **marks))
    gfp = GFP[k.MIGRATE_MOVABLE]
    huge = [entry.alloc(state, 0, -1, 4, k.MIGRATE_MOVABLE, gfp, k.ATTR_LRU, obj) for obj in range(70)]
    freed = sorted(pfn for pfn in huge if 256 <= pfn < 384)[4:6]
    for pfn in freed:
        entry.free(state, 0, pfn)
    entry.drain_all(state)
    small = {entry.alloc(state, 0, -1, 0, k.MIGRATE_MOVABLE, gfp, k.ATTR_LRU, obj) for obj in range(100, 112)}
    entry.drain_all(state)
    assert entry.alloc(state, 0, -1, 0, k.MIGRATE_UNMOVABLE, GFP[0], 0, 120) >> 4 in {
        pfn >> 4 for pfn in freed
    }
    queued = [pfn for _, kind, _, pfn, *_ in log_table(state).tolist() if kind == k.L_EVAC_QUEUED]
    assert queued
    assert {pfn >> 4 for pfn in queued} <= {pfn >> 4 for pfn in small}


@pytest.mark.parametrize(
    ("field", "code"),
    [
        ("nr_free", "counters differ"),
        ("nr_free_pages", "counters differ"),
        ("tainted", "counters differ"),
        ("nr_reserved", "counters differ"),
        ("fullness", "counters differ"),
        ("next", "on no list"),
    ],
)
def test_a_wrong_counter_is_noticed(field: str, code: str) -> None:
    state = booted(RegionConfig(7))
    check(state)
    region = state.view.region[2]
    setattr(region, field, getattr(region, field) + 1)
    with pytest.raises(AssertionError, match=code):
        check(state)


def test_wrong_content_and_wrong_lists_are_noticed() -> None:
    state = booted(PASSES)
    content = state.view.pageblock[20]
    content.nr_free -= 1
    with pytest.raises(AssertionError, match="content differs"):
        check(state)
    content.nr_free += 1
    check(state)
    state.view.region[3].orders[k.MIGRATE_MOVABLE] ^= 1
    with pytest.raises(AssertionError, match="own free lists"):
        check(state)


def test_where_no_regions_are_kept_nothing_is_there() -> None:
    state = booted(RegionConfig())
    assert not state.region.size
    assert not state.pageblock.size
    assert state.view.cfg.hooks == state.view.cfg.list_watch == state.view.cfg.region_link == 0
    assert kept_regions(state) == region_counters(state) == {}


@pytest.mark.parametrize(("gib", "order"), [(1, 14), (4, 16), (15, 17), (16, 18), (256, 18)])
def test_the_order_that_fits_a_machine(gib: int, order: int) -> None:
    assert RegionConfig(k.REGION_AUTO).order_on(gib << REGION_ORDER, 10) == order


def test_pages_of_a_start_count_by_what_can_move_or_by_their_block() -> None:
    state = booted(RegionConfig(7))
    at = {16: (k.ATTR_LRU, k.MIGRATE_MOVABLE), 17: (0, k.MIGRATE_MOVABLE), 256: (0, k.MIGRATE_RECLAIMABLE)}
    fresh = build_state(MACHINE, EvacuationConfig(regions=RegionConfig(7)), StateOptions(objects=16))
    fresh.block[: 2 * 64 : 2] = k.MIGRATE_MOVABLE
    for pfn, (_, mt) in at.items():
        fresh.block[2 * (pfn >> 4)] = mt
    pfns = np.array(list(at), np.int64)
    attrs = np.array([attr for attr, _ in at.values()], np.int64)
    load_state.load_allocated(fresh, pfns, np.zeros(3, np.int64), attrs, 0)
    load_regions(fresh)
    used = [list(fresh.view.pageblock[pfn >> 4].nr_used) for pfn in (16, 256)]
    assert used == [[1, 1, 0], [0, 0, 1]]
    assert [fresh.view.region[number].tainted for number in (0, 1, 2)] == [1, 0, 1]
    del state


def test_what_could_be_had_is_whole_and_clean_and_has_room() -> None:
    state = booted(RegionConfig(7))
    kept = kept_regions(state)
    assert kept["regions"] == 8  # the first has reserved pages, the last is clipped
    assert (kept["clean_whole"], kept["free"], kept["to_be_had"]) == (6, 6, 6)
    for obj in range(400):
        entry.alloc(state, 0, -1, 0, k.MIGRATE_MOVABLE, GFP[1], k.ATTR_LRU, obj)
    kept = kept_regions(state)
    assert kept["tainted"] == 0
    assert kept["clean_whole"] == 6
    assert kept["to_be_had"] == min(6, kept_free(state) >> 7) < 6
    entry.alloc(state, 0, -1, 0, k.MIGRATE_UNMOVABLE, GFP[0], 0, 500)
    assert kept_regions(state)["tainted"] == 1
    assert region_counters(state)["regions_tainted"] == 1


def kept_free(state: State) -> int:
    """Pages on free lists."""
    return sum(zone.nr_free_pages for zone in state.view.zone)


@pytest.mark.parametrize(
    ("regions", "said"),
    [
        (RegionConfig(5), "a region of this machine has an order from 6 to 30"),
        (RegionConfig(7, (50, 25, 75)), "three shares from 0 to 100 per cent, in order"),
        (RegionConfig(0, region_passes=True), "needs an order of regions"),
    ],
)
def test_regions_that_cannot_be_are_refused(regions: RegionConfig, said: str) -> None:
    with pytest.raises(KevacuateError, match=said):
        booted(regions)


def test_a_kernel_without_modes_has_no_passes() -> None:
    with pytest.raises(KevacuateError, match=r"Linux 6.1 has no modes of __rmqueue"):
        booted(PASSES, replace(MACHINE, profile=PROFILES["6.1"]))
