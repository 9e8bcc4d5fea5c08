# SPDX-License-Identifier: GPL-2.0-or-later
"""Contiguous allocation above MAX_PAGE_ORDER: both models in lockstep under random scripts, and what it does, case by case."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from lockstep import Lockstep
from lockstep_machines import THEMES, specs
from lockstep_script import Script
from lockstep_spec import Spec
from oracle.zone import Page

from kevacuate.measure.regions import kept_regions
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
)
from kevacuate.policy import parse_policy

GIGANTIC = k.GFP_KERNEL | k.GFP_HIGHMEM | k.GFP_COMP | k.GFP_NOWARN
"""What hugetlb asks for a gigantic page with (htlb_alloc_mask, include/linux/hugetlb.h)."""
GFPS = (
    GIGANTIC,
    GIGANTIC,
    GIGANTIC | k.GFP_THISNODE,
    GIGANTIC | k.GFP_MOVABLE,
    GIGANTIC & ~k.GFP_FS,
    GIGANTIC & ~k.GFP_RECLAIM,
    GIGANTIC | k.GFP_DMA32,
    GIGANTIC | k.GFP_NORETRY,  # which is refused
)


class ContigScript(Script):
    """A script in which somebody asks for more than the largest buddy has, and gives it back."""

    def __init__(self, lock: Lockstep, seed: int, plan: str, often: float) -> None:
        super().__init__(lock, seed, plan)
        self.often = often
        self.had: dict[int, tuple[int, int]] = {}

    def _owned(self, pfn: int) -> Page | None:
        if any(start <= pfn < start + (1 << order) for start, (order, _) in self.had.items()):
            return None
        return super()._owned(pfn)

    def _step(self) -> None:
        if self.rng.random() >= self.often:
            super()._step()
        elif self.had and self.rng.random() < 0.5:
            self._give_back(self.rng.choice(list(self.had)))
        else:
            self._ask()

    def _give_back(self, pfn: int) -> None:
        order, obj = self.had.pop(pfn)
        self.lock.free_contig(self.rng.randrange(len(self.machine.cpu_node)), pfn, order)
        self.spare += [obj] * (obj >= 0)

    def _ask(self) -> None:
        rng = self.rng
        if rng.random() < 0.5:
            self._clear_a_range()
        order = self.machine.max_page_order + rng.choice((1, 1, 1, 2, 2, 3))
        obj, nid = self.take_object(), rng.randrange(self.machine.nodes) if rng.random() < 0.3 else -1
        pfn = self.lock.alloc_contig(
            rng.randrange(len(self.machine.cpu_node)), order, rng.choice(GFPS), obj, nid
        )
        if pfn >= 0:
            self.had[pfn] = order, obj
        else:
            self.spare += [obj] * (obj >= 0)

    def _clear_a_range(self) -> None:
        """Free what cannot move in one range, so that there is something to find."""
        size = 2 << self.machine.max_page_order
        start = self.rng.choice(self.blocks) * self.block_pages // size * size
        self.lock.drain_all()
        for pfn in range(start, start + size):
            page = self._owned(pfn)
            if page and not page.attr & (k.ATTR_LRU | k.ATTR_MOVABLE_OPS):
                self.lock.free(0, pfn)


REACHED = {
    "contig: pinned": 60,
    "contig: waited for a folio": 20,
    "contig: no memory for destinations": 50,
    "contig: gave up on a list": 8,
    "contig: range not free in the end": 20,
    "contig: range not isolated": 100,
    "contig: several batches": 10,
    "contig: pages of split folios": 10,
    "contig: by regions": 100,
    "contig: flags refused": 100,
    "contig: too many isolated": 100,
}
EVENTS = {"contig_success": 100, "contig_fail": 100, "contig_migrated": 2_000, "contig_reclaimed": 200}
SHARDS = (
    ("contig", "squeeze folios", 6, 300),
    ("contig", "press", 5, 400),
    ("contig", "reclaim", 8, 400),
    ("contig, open loop", "mixed", 6, 400),
    ("contig, by regions", "press", 6, 300),
)


def played(theme: str, plan: str, machines: int, operations: int) -> Counter[str]:
    """What scripts on so many machines of a theme have reached."""
    total: Counter[str] = Counter()

    @settings(phases=(Phase.generate,), suppress_health_check=list(HealthCheck), max_examples=machines)
    @given(specs(THEMES[theme]), st.integers(0, 2**32 - 1))
    def run(spec: Spec, seed: int) -> None:
        lock = Lockstep(spec)
        ContigScript(lock, seed, plan, 0.15).run(operations)
        total.update(lock.finish().total)
        total.update(lock.oracle.m.reached)
        total.update({name: lock.oracle.m.events[name] for name in EVENTS})

    run()
    return total


def test_both_models_agree() -> None:
    total = sum((played(*shard) for shard in SHARDS), Counter())
    assert {name: total[name] for name, least in (REACHED | EVENTS).items() if total[name] < least} == {}


def machine(*, regions: RegionConfig | None = None) -> State:
    """A machine of 32 ranges of 64 pages, MAX_PAGE_ORDER 5, in a closed loop."""
    config = MachineConfig(
        npages=2048,
        zones=(ZoneConfig(0, k.ZONE_NORMAL, 0, 2048),),
        max_page_order=5,
        pageblock_order=4,
        hpage_pmd_order=4,
    )
    policy = EvacuationConfig(regions=regions or RegionConfig())
    state = build_state(config, policy, StateOptions(objects=2 * 2048 + 4096))
    state.view.stat.first_shadow = state.view.stat.first_base_page = 4096
    state.view.stat.nr_base_pages = 4096
    load_state.memblock_free_all(state, config)
    entry.late_initcall(state, 1)
    return state


def fill(state: State, pages: int, attr: int = k.ATTR_LRU) -> None:
    """Movable pages from the low end of memory on: objects 0 to *pages* - 1."""
    for obj in range(pages):
        assert entry.alloc(state, 0, -1, 0, k.MIGRATE_MOVABLE, k.GFP_HIGHUSER_MOVABLE, attr, obj) >= 0
    entry.drain_all(state)
    entry.lru_add_drain_all(state)


def ask(state: State, order: int = 6, obj: int = 4000) -> int:
    """Somebody asks for more than MAX_PAGE_ORDER has."""
    pfn = entry.alloc(state, 0, -1, order, k.MIGRATE_UNMOVABLE, GIGANTIC, 0, obj)
    check(state)
    return int(pfn)


def test_a_range_is_emptied_and_given_and_is_whole_again_once_freed() -> None:
    state = machine()
    fill(state, 100)
    order = 6
    there = sum(int(at) < 1 << order for at in state.obj[:100])
    pfn = ask(state, order)
    stat = state.view.stat
    assert pfn == 0
    assert (stat.contig_success, stat.contig_ranges) == (1, 1)
    assert not any(pfn <= at < pfn + (1 << order) for at in state.obj[:100])
    assert len({int(at) for at in state.obj[:100]}) == 100
    assert stat.contig_migrated == stat.pgmigrate_success == there > 0
    assert stat.contig_ns >= stat.contig_migrated * state.view.cfg.migrate_ns
    assert not entry.free_contig(state, 0, pfn, order + 1)
    assert entry.free_contig(state, 0, pfn, order)
    check(state)
    assert int(state.obj[4000]) == k.OBJ_NONE
    assert [state.meta[at] for at in (pfn, pfn + 32)] == [k.CHUNK_BUDDY << 4 | 5] * 2


def test_a_range_with_an_unmovable_page_is_passed_over() -> None:
    state = machine()
    page = entry.alloc(state, 0, -1, 0, k.MIGRATE_UNMOVABLE, k.GFP_KERNEL, 0, 0)
    pfn = ask(state)
    assert pfn >= 0
    assert not pfn <= page < pfn + 64


@pytest.mark.parametrize("attr", [k.ATTR_LRU, k.ATTR_LRU | k.ATTR_FILE | k.ATTR_DIRTY])
def test_a_pinned_page_keeps_a_range_and_nothing_is_lost(attr: int) -> None:
    """Anonymous ones are not isolated; those of files are, and fail."""
    state = machine()
    fill(state, 64, attr)
    held = {int(state.obj[obj]) // 64 for obj in range(64)}
    for obj in range(64):
        state.link[2 * int(state.obj[obj]) + 1] |= k.ATTR_PINNED
    free = state.view.zone[0].nr_free_pages
    got = [ask(state, obj=4000 + i) for i in range(32)]
    assert state.view.stat.pgmigrate_success == 0
    assert sum(pfn >= 0 for pfn in got) == 32 - len(held)
    assert state.view.stat.contig_fail == len(held)
    assert state.view.zone[0].nr_free_pages == free - 64 * (32 - len(held))
    assert not any(bits & k.PB_ISOLATE for bits in state.block[: 2 * 128 : 2])


def test_regions_say_which_range_is_cheapest() -> None:
    state = machine(regions=RegionConfig(region_order=6, region_contig=True))
    fill(state, 96)
    used = [sum(int(at) // 64 == number for at in state.obj[:96]) for number in range(32)]
    entry.free(state, 0, int(state.obj[0]))
    assert used[ask(state) // 64] == 0
    assert state.view.stat.contig_scanned == 0
    assert kept_regions(state)["clean_whole"] == 31


def test_the_policy_named_so_asks_regions() -> None:
    named = parse_policy("spb-contig,contig-tries=3,contig-free=40").evacuation(1, 1).regions
    assert (named.region_contig, named.region_contig_tries, named.region_contig_free) == (True, 3, 40)
    assert named.region_worker
    assert not parse_policy("spb-worker").evacuation(1, 1).regions.region_contig


def test_regions_of_which_too_little_is_free_are_left_alone() -> None:
    state = machine(regions=RegionConfig(region_order=6, region_contig=True, region_contig_free=50))
    fill(state, 2040)
    assert ask(state) == -1
    assert state.view.stat.contig_ranges == 0
