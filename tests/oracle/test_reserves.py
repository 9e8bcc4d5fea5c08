# SPDX-License-Identifier: GPL-2.0-or-later
"""Reserves, boosts and isolation, worked out by hand: small zones of blocks of 8 pages."""

from __future__ import annotations

import pytest

from . import Config, Oracle, ZoneConfig
from . import constants as k

ATOMIC = k.GFP_ATOMIC
KERNEL = k.GFP_KERNEL


def machine(
    npages: int = 1024, watermark: tuple[int, int, int, int] = (0, 0, 0, 0), **settings: object
) -> Oracle:
    """One CPU, one zone, as after boot: blocks of 8 pages, buddies of 16 at most."""
    zone = ZoneConfig(0, k.ZONE_NORMAL, 0, npages, [], watermark)
    return Oracle(Config([0], [zone], npages, 4, 3, -1, log_level=3, **settings))  # type: ignore[arg-type]


def kinds(oracle: Oracle, *wanted: int) -> list[tuple[int, ...]]:
    """(kind, pfn, a, b) of the log's records of these kinds."""
    return [(r[1], *r[3:6]) for r in oracle.take_log() if r[1] in wanted]


def test_boot_lists_are_ascending() -> None:
    zone = ZoneConfig(0, k.ZONE_NORMAL, 1, 60, [(20, 22)])
    oracle = Oracle(Config([0], [zone], 64, 4, 3, -1))
    lists = [list(area.free_list[k.MOVABLE]) for area in oracle.m.zones[0].free_area]
    assert lists == [[1], [2, 22], [4, 16, 56], [8, 24, 48], [32]]
    assert oracle.m.zones[0].managed == oracle.m.zones[0].nr_free == 57
    oracle.check()


def test_atomic_requests_reserve_a_block_and_reclaim_gives_it_back() -> None:
    oracle = machine(watermark=(800, 801, 802, 803))
    oracle.alloc(0, 1, k.UNMOVABLE, ATOMIC, 0, 0)
    assert kinds(oracle, k.L_HIGHATOMIC_RESERVE) == []
    zone = oracle.m.zones[0]
    while zone.nr_reserved_highatomic < 16:  # a hundredth of 1024 pages, rounded up to blocks
        oracle.alloc(0, 1, k.UNMOVABLE, ATOMIC, 0, 0)
    assert kinds(oracle, k.L_HIGHATOMIC_RESERVE)[0][2:] == (0, 1)
    assert sum(block.mt == k.HIGHATOMIC for block in oracle.m.blocks) == 2
    oracle.check()
    assert oracle.alloc(0, 1, k.UNMOVABLE, KERNEL, 0, 0) == -1
    assert len(kinds(oracle, k.L_HIGHATOMIC_UNRESERVE)) == 1
    assert zone.nr_reserved_highatomic == 8  # the other block has no free page to find it by
    assert zone.nr_free_highatomic == 0
    oracle.check()


@pytest.mark.parametrize("kswapd_bit", [True, False])
def test_boost_wakes_kswapd_which_gives_it_back(kswapd_bit: bool) -> None:
    oracle = machine(kswapd_run_ns=1000, open_loop=True)
    used = [oracle.alloc(0, 3, k.MOVABLE, k.GFP_MOVABLE | KERNEL, 0, -1) for _ in range(128)]
    oracle.setup_per_zone_wmarks(0)
    oracle.m.zones[0].watermark[k.WMARK_HIGH] = 20
    for pfn in used[:64:2]:
        oracle.split(pfn, -1)
        oracle.free(0, pfn)
    oracle.drain_all_pages()
    oracle.take_log()
    gfp = KERNEL if kswapd_bit else k.GFP_DIRECT_RECLAIM
    oracle.alloc(0, 2, k.UNMOVABLE, gfp, 0, -1)
    seen = kinds(oracle, k.L_BOOST, k.L_KSWAPD)
    assert seen[0] == (k.L_BOOST, -1, 0, 8)
    assert (k.L_KSWAPD, -1, 0, 1) in seen if kswapd_bit else seen[-1][0] == k.L_BOOST
    oracle.advance(50_000)
    assert oracle.m.zones[0].reclaim_active is kswapd_bit
    oracle.advance(60_000)
    assert oracle.m.zones[0].boost == (0 if kswapd_bit else seen[-1][3])
    assert not oracle.m.zones[0].reclaim_active


def test_isolate_splits_and_unisolate_merges() -> None:
    oracle = machine()
    zone = oracle.m.zones[0]
    assert oracle.set_migratetype_isolate(5)
    assert not oracle.set_migratetype_isolate(5)
    assert list(zone.free_area[3].free_list[k.ISOLATE]) == [40]
    assert list(zone.free_area[3].free_list[k.MOVABLE]) == [32]
    assert zone.nr_free == 1016
    oracle.check()
    oracle.unset_migratetype_isolate(5)
    assert list(zone.free_area[4].free_list[k.MOVABLE])[-1] == 32
    assert zone.nr_free == zone.nr_free_blocks == 1024
    oracle.check()


def test_isolation_refuses_what_cannot_move() -> None:
    oracle = machine()
    unmovable = oracle.alloc(0, 0, k.UNMOVABLE, KERNEL, 0, -1)
    assert not oracle.set_migratetype_isolate(unmovable // 8)
    movable = oracle.alloc(0, 1, k.MOVABLE, k.GFP_MOVABLE | KERNEL, k.A_LRU, -1)
    assert oracle.set_migratetype_isolate(movable // 8)
    oracle.take_log()
    oracle.free(0, movable)
    assert kinds(oracle, k.L_LIST)[-1][2] in (k.LIST_HEAD, k.LIST_TAIL)
    oracle.check()


def test_the_isolate_bit_guard_refuses_a_claim() -> None:
    oracle = machine(npages=16, evacuate=True)
    assert oracle.alloc_with_isolate_bit(0, 0, 3, k.UNMOVABLE, KERNEL, 0, -1) == 0
    assert oracle.m.blocks[0].mt == k.MOVABLE  # stolen, not claimed
    assert not oracle.m.blocks[0].isolate


def test_cma_serves_movable_requests_only() -> None:
    oracle = machine()
    free = [(0, 3, k.CMA, 0), (0, 3, k.UNMOVABLE, 8)]
    lists = Oracle(oracle.config, boot=False)
    lists.load_lists(free, [(0, k.CMA, 0), (8, k.UNMOVABLE, 0)])
    assert lists.rmqueue_bulk(0, None, 2, 2, k.MOVABLE, k.AF_CMA) == [0, 4]
    assert lists.rmqueue_bulk(0, None, 2, 3, k.UNMOVABLE, k.AF_CMA) == [8, 12]
    assert (lists.m.zones[0].nr_free, lists.m.zones[0].nr_free_cma) == (0, 0)


def test_crossed_pcp_bounds_follow_the_kernels_clamp() -> None:
    oracle = machine(watermark=(100, 200, 300, 400))
    its = oracle.m.zones[0].pcps[0]
    assert (its.high_min, its.high_max) == (200, 128)
    oracle.alloc(0, 0, k.MOVABLE, k.GFP_MOVABLE | KERNEL, 0, -1)
    assert its.high == 128
