# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernel profiles: which is chosen, and a hand-made case for each switch. The lockstep tests hold the rest to the oracle."""

from __future__ import annotations

from dataclasses import fields, replace

import model
import numpy as np
import pytest
from oracle.kernels import KERNELS

from kevacuate.errors import KevacuateError
from kevacuate.mm import constants as k
from kevacuate.mm import entry, load_state
from kevacuate.mm.check import check
from kevacuate.mm.layout import MachineConfig, State, StateOptions, ZoneConfig, build_state, grow_objects
from kevacuate.mm.profile import PROFILES, profile_for

U, M, R, HA = k.MIGRATE_UNMOVABLE, k.MIGRATE_MOVABLE, k.MIGRATE_RECLAIMABLE, k.MIGRATE_HIGHATOMIC
ALL = ("7.2", "6.18", "6.12", "6.1")
MOVABLE = k.GFP_HIGHUSER_MOVABLE


def small(profile: str, watermark: tuple[int, int, int, int] = (0, 0, 0, 0), nodes: int = 1) -> State:
    """A CPU and 1024 pages a node, blocks of 8 pages, buddies of 16 at most, all free; no per-CPU batching."""
    zones = tuple(
        ZoneConfig(node, k.ZONE_NORMAL, 1024 * node, 1024 * (node + 1), watermark=watermark)
        for node in range(nodes)
    )
    machine = MachineConfig(
        npages=1024 * nodes,
        zones=zones,
        cpu_node=tuple(range(nodes)),
        max_page_order=4,
        pageblock_order=3,
        hpage_pmd_order=-1,
        profile=PROFILES[profile],
    )
    state = build_state(machine, options=StateOptions(log_level=3))
    load_state.memblock_free_all(state, machine)
    entry.late_initcall(state, 1)
    return state


def events(state: State, *kinds: int) -> list[tuple[int, ...]]:
    """(kind, pfn, a, b, c, d) of the log's records of these kinds since the last call."""
    return [(r[1], *r[3:]) for r in model.take_log(state) if r[1] in kinds]


def block_type(state: State, block: int) -> int:
    return int(state.block[2 * block]) & k.PB_TYPE_MASK


def use(state: State, pfns: list[int], lru: int = 0) -> None:
    """Make reserved pages pages in use; the first *lru* of them on the LRU."""
    attr = [k.ATTR_LRU | k.ATTR_ON_LRU if i < lru else 0 for i in range(len(pfns))]
    state.meta[pfns] = k.CHUNK_ALLOC << 4
    state.link[2 * np.array(pfns)] = -1
    state.link[2 * np.array(pfns) + 1] = attr
    state.view.zone[0].nr_lru += lru
    state.view.node[0].nr_lru[k.NR_LRU_LISTS * k.ZONE_NORMAL + k.LRU_INACTIVE_ANON] += lru


def take(state: State, order: int, mt: int) -> int:
    """A chunk from the buddy lists, in use by nobody."""
    pfn = int(entry.take_from_buddy(state, 0, order, mt, 0))
    use(state, list(range(pfn, pfn + (1 << order))))
    return pfn


def with_objects(profile: str, chunks: list[tuple[int, int]]) -> State:
    """One movable zone without free pages; objects 0, 1, ... at these (pfn, order)."""
    state = grow_objects(model.one_zone(profile=profile), 256)
    model.load(state, [], default=M)
    load_state.load_allocated(state, *model.columns([(pfn, order, 0) for pfn, order in chunks], 3), 0)
    return state


# Which profile.


@pytest.mark.parametrize(
    ("kernel", "name", "printed"),
    [
        ("7.2.13", "7.2", "7.2"),
        ("7.2.0-rc1+", "7.2", "7.2"),
        ("6.18.5-arch1-1", "6.18", "6.18 (unverified profile)"),
        ("6.12.117+deb12-amd64", "6.12", "6.12 (unverified profile)"),
        ("6.1.0-37-amd64", "6.1", "6.1 (unverified profile)"),
        ("8.0.1", "7.2", "7.2 (nearest profile)"),
        ("7.1.4", "6.18", "6.18 (nearest profile, unverified profile)"),
        ("6.8.0", "6.1", "6.1 (nearest profile, unverified profile)"),
        ("5.10.3", "6.1", "6.1 (nearest profile, unverified profile)"),
    ],
)
def test_the_profile_of_a_release(kernel: str, name: str, printed: str) -> None:
    profile, standing = profile_for(kernel)
    assert (profile, standing) == (PROFILES[name], printed)


def test_a_release_that_is_none_is_refused() -> None:
    with pytest.raises(KevacuateError, match="no Linux release"):
        profile_for("plan9")


def test_the_oracle_knows_the_same_kernels_and_only_one_is_verified() -> None:
    assert tuple(PROFILES) == tuple(KERNELS) == ALL
    assert [name for name, profile in PROFILES.items() if profile.verified] == ["7.2"]
    assert all(profile.unsure for profile in PROFILES.values() if not profile.verified)
    same = {f.name for f in fields(PROFILES["7.2"])} - {
        "name", "verified", "source", "unsure", "not_modelled"
    }  # fmt: skip
    assert all(getattr(PROFILES["6.18"], name) == getattr(PROFILES["7.2"], name) for name in same)


def test_defrag_mode_is_refused_where_there_is_none() -> None:
    machine = replace(model.machine_of(4096), defrag_mode=True)
    build_state(replace(machine, profile=PROFILES["6.18"]))
    with pytest.raises(KevacuateError, match=r"Linux 6\.12 has no defrag_mode"):
        build_state(replace(machine, profile=PROFILES["6.12"]))


# fallback.


def refused_claim(profile: str) -> State:
    """Block 1 is movable and holds buddies 600 (order 3), 700 and 900 (order 2); 260 of its other pages are on the LRU."""
    state = model.one_zone(profile=profile)
    free = [(3, M, [600]), (2, M, [700, 900])]
    model.load(state, free, default=M)
    taken = {pfn + i for order, _, pfns in free for pfn in pfns for i in range(1 << order)}
    use(state, [pfn for pfn in range(512, 1024) if pfn not in taken], lru=260)
    return state


@pytest.mark.parametrize("profile", ["7.2", "6.12"])
def test_a_claim_below_the_threshold_moves_nothing(profile: str) -> None:
    state = refused_claim(profile)
    assert take(state, 2, U) == 700
    assert model.free_lists(state) == [(3, M, [600]), (2, M, [900])]
    check(state)


def test_6_1_moves_the_blocks_free_pages_below_the_threshold_too() -> None:
    state = refused_claim("6.1")
    assert take(state, 2, U) == 700
    assert model.free_lists(state) == [(3, U, [600]), (2, U, [900])]
    assert block_type(state, 1) == M
    assert events(state, k.L_EXTFRAG, k.L_EVAC_CLAIM, k.L_ZONE_LOCKED) == [
        (k.L_EVAC_CLAIM, 512, 256 * U + M, 16, 260, 0),
        (k.L_EXTFRAG, 600, 2, 3, 256 * U + M, 0),  # before the page, of the candidate
        (k.L_ZONE_LOCKED, 700, 2, U, 0, 0),
    ]
    check(state)


@pytest.mark.parametrize("disabled", [0, 1])
def test_where_mobility_is_not_grouped_an_unmovable_block_may_have_movable_free_pages(disabled: int) -> None:
    state = refused_claim("7.2")
    state.view.cfg.page_group_by_mobility_disabled = disabled
    check(state)
    state.block[2] = U
    if disabled:  # as compaction leaves it that takes half of a block from boot
        check(state)
        state.block[2] = k.MIGRATE_RECLAIMABLE
    with pytest.raises(AssertionError, match="a free chunk lies on the list of a type"):
        check(state)


def small_movable(profile: str) -> State:
    """A movable request of order 0 against unmovable chunks of orders 3 and 1."""
    state = model.one_zone(profile=profile)
    model.load(state, [(3, U, [64]), (1, U, [32])])
    use(state, [pfn for pfn in range(512) if pfn not in (*range(64, 72), 32, 33)])
    assert take(state, 0, M) == 32
    assert block_type(state, 0) == U
    check(state)
    return state


@pytest.mark.parametrize("profile", ["7.2", "6.12"])
def test_a_small_movable_request_steals_and_gives_the_rest_back(profile: str) -> None:
    assert model.free_lists(small_movable(profile)) == [(3, U, [64]), (0, U, [33])]


def test_6_1_moves_the_whole_chunk_for_a_small_movable_request() -> None:
    assert model.free_lists(small_movable("6.1")) == [(3, U, [64]), (0, M, [33])]


# claim_refuses_highatomic, and what 6.1 does with such a candidate.


@pytest.mark.parametrize(
    ("profile", "left", "now", "claims"),
    [
        ("7.2", [(2, U, [604]), (1, U, [602])], U, 1),
        ("6.12", [(2, M, [604]), (1, M, [602])], HA, 0),
        ("6.1", [(2, U, [604]), (1, U, [602])], HA, 0),
    ],
)
def test_a_candidate_in_a_highatomic_block(
    profile: str, left: list[tuple[int, int, list[int]]], now: int, claims: int
) -> None:
    state = model.one_zone(profile=profile)
    model.load(state, [(3, M, [600])], default=M)
    state.block[2] = HA
    use(state, [pfn for pfn in range(512, 1024) if not 600 <= pfn < 608])
    assert entry.take_from_buddy(state, 0, 1, U, 0) == 600
    assert model.free_lists(state) == left
    assert block_type(state, 1) == now
    assert len(events(state, k.L_EVAC_CLAIM)) == claims
    assert state.view.zone[0].watermark_boost == 0


# merge_retypes and split_by_block.


@pytest.mark.parametrize(("profile", "types"), [("7.2", [M, M]), ("6.12", [M, M]), ("6.1", [U, M])])
def test_merging_blocks_of_different_types(profile: str, types: list[int]) -> None:
    state = model.one_zone(profile=profile)
    model.load(state, [(9, U, [0])])
    state.block[2] = M
    load_state.load_allocated(state, *model.columns([(512, 9, 0)], 3), 0)
    entry.free_to_buddy(state, 512, 9, 0)
    assert model.free_lists(state) == [(10, M, [0])]
    assert [block_type(state, block) for block in (0, 1)] == types
    check(state)


@pytest.mark.parametrize(
    ("profile", "mt", "types"), [("7.2", U, [U, U]), ("6.12", U, [U, U]), ("6.1", M, [M, U])]
)
def test_freeing_a_chunk_of_two_blocks(profile: str, mt: int, types: list[int]) -> None:
    state = model.one_zone(profile=profile)
    model.load(state, [], default=M)
    state.block[2] = U
    load_state.load_allocated(state, *model.columns([(0, 10, 0)], 3), 0)
    entry.free_to_buddy(state, 0, 10, 0)
    assert model.free_lists(state) == [(10, mt, [0])]
    assert [block_type(state, block) for block in (0, 1)] == types
    check(state)


# pcp_type.


def refilled(profile: str) -> State:
    """Pages 64 and 65 of a movable block on the per-CPU list; the block has become unmovable since."""
    state = model.one_zone(profile=profile)
    model.load(state, [(1, M, [64])], default=M)
    state.view.pcp[0].count = entry.refill(state, 0, 0, 0, 2, M, 0)
    state.block[0] = U
    return state


@pytest.mark.parametrize(("profile", "mt"), [("7.2", U), ("6.12", U), ("6.1", M)])
def test_where_a_refilled_page_is_drained_to(profile: str, mt: int) -> None:
    state = refilled(profile)
    entry.drain_all(state)
    assert model.free_lists(state) == [(1, mt, [64])]
    check(state)


def test_6_1_drains_by_the_block_while_the_zone_has_isolated_blocks() -> None:
    state = refilled("6.1")
    state.meta[1024:1536] = k.CHUNK_ALLOC << 4
    state.link[2 * np.arange(1024, 1536) + 1] = k.ATTR_LRU | k.ATTR_ON_LRU
    state.link[2 * np.arange(1024, 1536)] = -1
    assert entry.isolate_block(state, 2)
    entry.drain_all(state)
    assert model.free_lists(state) == [(1, U, [64])]


@pytest.mark.parametrize(("profile", "mt"), [("7.2", M), ("6.12", M), ("6.1", HA)])
def test_a_freed_page_of_a_block_that_left_the_reserve(profile: str, mt: int) -> None:
    state = model.one_zone(profile=profile)
    state.view.pcp[0].high_max = state.view.pcp[0].high_min = state.view.pcp[0].high = 100
    model.load(state, [], default=HA)
    load_state.load_allocated(state, *model.columns([(64, 0, 0)], 3), 0)
    entry.free(state, 0, 64)
    assert model.pcp_list(state, M) == [64]
    state.block[0] = M
    entry.drain_all(state)
    assert model.free_lists(state) == [(0, mt, [64])]


# pcp_tuning.


def test_6_1_refills_a_batch_and_keeps_high() -> None:
    state = model.one_zone(profile="6.1")
    model.load(state, [(10, M, [0, 1024])], default=M)
    assert (state.view.pcp[0].high, state.view.pcp[0].high_max) == (
        4,
        4,
    )  # four times the batch of a small zone, 1
    state.view.pcp[0].batch, state.view.pcp[0].high = 15, 60
    for order, chunks in ((0, 15), (1, 7), (2, 3), (3, 2)):
        entry.alloc(state, 0, -1, order, M, MOVABLE, 0, -1)
        assert len(model.pcp_list(state, 3 * order + M)) == chunks - 1
    assert (state.view.pcp[0].high, state.view.pcp[0].alloc_factor) == (60, 0)


def test_6_1_doubles_what_it_drains_until_an_allocation() -> None:
    state = with_objects("6.1", [(2 * n, 0) for n in range(200)])
    state.view.pcp[0].batch, state.view.pcp[0].high = 3, 40
    drained, count = [], 0
    for n in range(200):
        entry.free(state, 0, 2 * n)
        if state.view.pcp[0].count != count + 1:
            drained.append(count + 1 - state.view.pcp[0].count)
        count = state.view.pcp[0].count
    assert drained[:5] == [3, 6, 12, 24, 37]  # 3 << free_factor, leaving at least a batch of 40
    assert state.view.pcp[0].free_count == 4  # not raised by the one that was cut
    entry.alloc(state, 0, -1, 0, M, MOVABLE, 0, -1)
    assert state.view.pcp[0].free_count == 2
    check(state)


def high_order_free(profile: str, free_count: int, high_min: int) -> State:
    """Four order-0 pages on the per-CPU list, then two frees of order 1 with this free_count (free_factor in 6.1)."""
    pages = [(16 * n, 0) for n in range(4)] + [(128 * n, 1) for n in (1, 2)]
    state = with_objects(profile, pages)
    pcp = state.view.pcp[0]
    pcp.batch, pcp.high_min, pcp.high_max, pcp.high = 63, high_min, high_min, 1000
    for pfn, _ in pages[:5]:
        entry.free(state, 0, pfn)
    state.view.pcp[0].free_count = free_count
    entry.free(state, 0, 256)
    return state


@pytest.mark.parametrize(
    ("profile", "free_count", "left"),
    [
        ("7.2", 562, 8),
        ("7.2", 563, 0),  # batch + high_min / 2
        ("6.12", 62, 8),
        ("6.12", 63, 0),  # batch
        ("6.1", 0, 8),
        ("6.1", 1, 0),  # any free_factor
    ],
)
def test_when_high_order_frees_give_everything_back(profile: str, free_count: int, left: int) -> None:
    assert high_order_free(profile, free_count, 1000).view.pcp[0].count == left


@pytest.mark.parametrize(("profile", "left"), [("7.2", 0), ("6.12", 1024)])
def test_a_drain_of_huge_pages_in_calls_of_a_batch_or_in_one(profile: str, left: int) -> None:
    state = with_objects(profile, [(512 * n, 9) for n in range(3)])
    pcp = state.view.pcp[0]
    pcp.batch, pcp.high_min, pcp.high_max = 63, 1536, 1536
    for n in range(3):
        state.view.pcp[0].free_count = 0
        entry.free(state, 0, 512 * n)
    assert (
        state.view.pcp[0].count == left
    )  # 512 pages to free: nine calls of 63, each a huge page, or one call


# below_high and decay.


@pytest.mark.parametrize(("profile", "below"), [("7.2", 1), ("6.18", 1), ("6.12", 1), ("6.1", 0)])
def test_below_high(profile: str, below: int) -> None:
    state = small(profile, (10, 20, 2000, 2001))
    assert entry.alloc(state, 0, -1, 0, M, MOVABLE, 0, -1) >= 0
    assert state.view.zone[0].below_high == below


@pytest.mark.parametrize(("profile", "high"), [("7.2", 88), ("6.12", 88), ("6.1", 100)])
def test_decay(profile: str, high: int) -> None:
    state = small(profile)
    state.view.pcp[0].high, state.view.pcp[0].high_min = 100, 10
    entry.advance(state, 1_000_000_000)
    assert state.view.pcp[0].high == high
    assert state.view.stat.decays == (high != 100)


# The highatomic reserve.


def atomic_request(profile: str) -> State:
    """An atomic request of order 1 in a zone below its LOW mark: it claims a block, which is reserved."""
    state = small(profile, (800, 1100, 1110, 1120))
    entry.alloc(state, 0, -1, 1, U, k.GFP_ATOMIC, 0, -1)
    assert state.view.zone[0].nr_reserved_highatomic == 8
    return state


@pytest.mark.parametrize("profile", ALL)
def test_where_the_highatomic_reserve_is_made(profile: str) -> None:
    state = atomic_request(profile)
    assert [record[3] for record in events(state, k.L_HIGHATOMIC_RESERVE)] == [1]  # order
    by_buddy = PROFILES[profile].reserve_point == "rmqueue_buddy"
    assert (state.view.stat.refills == 0) == by_buddy  # 7.2 does not refill for such a request
    check(state)


@pytest.mark.parametrize(("profile", "unusable"), [("7.2", "free"), ("6.12", "free"), ("6.1", "all")])
def test_what_the_watermarks_keep_for_the_reserve(profile: str, unusable: str) -> None:
    state = atomic_request(profile)
    lists = [(order, pfns) for order, mt, pfns in model.free_lists(state) if mt == HA]
    free = sum(len(pfns) << order for order, pfns in lists)
    assert free == 6
    assert state.view.zone[0].nr_free_highatomic == (free if unusable == "free" else 8)


@pytest.mark.parametrize(("profile", "most"), [("7.2", 16), ("6.12", 16), ("6.1", 24)])
def test_how_far_the_reserve_grows(profile: str, most: int) -> None:
    state = small(profile, (100, 1010, 1020, 1030))
    for _ in range(200):
        entry.alloc(state, 0, -1, 1, U, k.GFP_ATOMIC, 0, -1)
    # A hundredth of 1024 pages in blocks of 8; or until it is not below 10 + 8.
    assert state.view.zone[0].nr_reserved_highatomic == most
    check(state)


# isolate.


@pytest.mark.parametrize(
    ("profile", "bits", "after"),
    [("7.2", U | k.PB_ISOLATE, U), ("6.18", U | k.PB_ISOLATE, U), ("6.12", 5, M), ("6.1", 5, M)],
)
def test_isolating_an_unmovable_block(profile: str, bits: int, after: int) -> None:
    state = small(profile)
    pfn = entry.alloc(state, 0, -1, 3, U, k.GFP_KERNEL, 0, -1)
    entry.free(state, 0, pfn)
    block = pfn >> 3
    assert block_type(state, block) == U
    assert entry.isolate_block(state, block)
    assert state.block[2 * block] == bits
    assert state.view.zone[0].nr_free_pages == 1016
    check(state)
    entry.unisolate_block(state, block)
    assert state.block[2 * block] == after
    assert state.view.zone[0].nr_free_pages == 1024
    check(state)


@pytest.mark.parametrize(("profile", "isolated"), [("7.2", True), ("6.12", True), ("6.1", False)])
def test_isolating_half_of_a_chunk_in_use(profile: str, isolated: bool) -> None:
    state = small(profile)
    pfn = entry.alloc(state, 0, -1, 4, M, MOVABLE, k.ATTR_LRU, -1)
    assert bool(entry.isolate_block(state, (pfn >> 3) + 1)) == isolated
    entry.free(state, 0, pfn)
    assert state.view.zone[0].nr_free_pages == (1016 if isolated else 1024)
    check(state)


# skip_awake_nodes and boost_wakes_all.


@pytest.mark.parametrize(("profile", "node"), [("7.2", 1), ("6.18", 1), ("6.12", 0), ("6.1", 0)])
def test_a_node_whose_kswapd_is_awake(profile: str, node: int) -> None:
    state = small(profile, nodes=2)
    state.view.node[0].kswapd_state = k.KSWAPD_RUNNING
    assert entry.alloc(state, 0, -1, 0, M, MOVABLE, 0, -1) // 1024 == node


@pytest.mark.parametrize(("profile", "awake"), [("7.2", 0), ("6.12", 0), ("6.1", 1)])
def test_a_request_that_may_not_wake_kswapd_finds_a_boosted_zone(profile: str, awake: int) -> None:
    state = small(profile)
    state.view.zone[0].watermark_boost, state.view.zone[0].boosted_watermark = 8, 1
    entry.alloc(state, 0, -1, 0, U, k.GFP_HIGH, 0, -1)
    assert (state.view.stat.kswapd_wakes, state.view.zone[0].boosted_watermark) == (awake, 1 - awake)
