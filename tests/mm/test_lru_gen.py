# SPDX-License-Identifier: GPL-2.0-or-later
"""The multi-gen LRU, decision by decision: places, uses, aging, tiers, types. Both models are compared after every operation."""

from __future__ import annotations

import numpy as np
import pytest
from lockstep import Lockstep
from lockstep_spec import Spec
from oracle import lru

from kevacuate.jit import kernel, pointers
from kevacuate.mm import constants as k
from kevacuate.mm import entry, load_state
from kevacuate.mm.check import check
from kevacuate.mm.fields import Node
from kevacuate.mm.layout import (
    EvacuationConfig,
    MachineConfig,
    State,
    StateOptions,
    ZoneConfig,
    build_state,
    with_objects,
)
from kevacuate.mm.lruvec import lru_rename
from kevacuate.mm.read_state import read_lru

PAGES = 1024
FILE = k.ATTR_LRU | k.ATTR_FILE
DROPPED = k.OBJ_DROPPED


class Machine(Lockstep):
    """One zone, one CPU, all of it free."""

    def __init__(self, **changes: object) -> None:
        zone = ZoneConfig(0, k.ZONE_NORMAL, 0, PAGES, watermark=(16, 20, 24, 28))
        config = MachineConfig(PAGES, (zone,), pageblock_order=4, hpage_pmd_order=4, lru_gen=True)
        machine = config.__class__(**{**vars(config), **changes})
        super().__init__(Spec(machine, EvacuationConfig(evacuate=False)))

    def read(self, objects: range, attr: int = FILE) -> None:
        """A page each, on its list."""
        for obj in objects:
            assert self.alloc(0, 0, k.MIGRATE_MOVABLE, k.GFP_HIGHUSER_MOVABLE, attr, obj) >= 0
        entry.lru_add_drain_all(self.fast)
        lru.lru_add_drain_all(self.oracle.m)

    def use(self, objects: range, times: int = 1) -> None:
        """Use each page through a file descriptor."""
        for obj in objects:
            for _ in range(times):
                self.mark_accessed(0, int(self.fast.obj[obj]))

    def drop(self, pages: int) -> None:
        """Direct reclaim until so many pages are reclaimed."""
        done = 0
        while done < pages:
            done += (now := self.reclaim(0, 0, 0, k.GFP_KERNEL))
            assert now, "nothing more is reclaimed"

    def generation(self, obj: int) -> int:
        """The generation's number of the object's folio."""
        node = self.fast.view.node[0]
        gen = (int(self.fast.lru[self.fast.view.cfg.lru_gen_words + obj]) & 7) - 1
        return next(seq for seq in range(node.max_seq - 3, node.max_seq + 1) if seq % k.MAX_NR_GENS == gen)

    def attr(self, obj: int) -> int:
        """The attributes of the object's folio."""
        return int(self.fast.link[2 * self.fast.obj[obj] + 1])

    def there(self, objects: range) -> list[int]:
        """Those that have not been dropped."""
        return [obj for obj in objects if self.fast.obj[obj] >= 0]


def test_pages_of_files_begin_in_the_oldest_generation_anonymous_ones_in_the_second_youngest() -> None:
    lock = Machine()
    lock.read(range(2))
    lock.read(range(2, 4), k.ATTR_LRU)
    assert [lock.generation(obj) for obj in range(4)] == [0, 0, 2, 2]
    nr_lru = lock.fast.view.node[0].nr_lru
    at = k.ZONE_NORMAL * k.NR_LRU_LISTS
    assert [nr_lru[at + lru] for lru in range(4)] == [0, 2, 2, 0]
    assert lock.attr(0) & k.ATTR_REFERENCED == 0
    assert lock.attr(2) & k.ATTR_REFERENCED, "the fault that made it counts as a use"


def test_a_page_used_in_its_batch_begins_in_the_second_oldest_generation() -> None:
    lock = Machine()
    pfn = lock.alloc(0, 0, k.MIGRATE_MOVABLE, k.GFP_HIGHUSER_MOVABLE, FILE, 0)
    lock.mark_accessed(0, pfn)
    lock.read(range(1, 2))
    assert [lock.generation(0), lock.generation(1)] == [1, 0]


def test_the_fifth_use_makes_a_page_working_set() -> None:
    lock = Machine()
    lock.read(range(1))
    for times in range(1, 6):
        lock.use(range(1))
        assert int(lock.fast.lru[lock.fast.view.cfg.lru_gen_words]) >> 3 == min(times - 1, 3)
        assert bool(lock.attr(0) & k.ATTR_WORKINGSET) == (times == 5)


def test_the_oldest_unused_pages_go_first() -> None:
    lock = Machine()
    lock.read(range(200))
    lock.use(range(50), 5)
    lock.drop(64)
    assert lock.there(range(200))[:50] == list(range(50)), "what was used often is promoted as it is met"
    gone = [obj for obj in range(200) if lock.fast.obj[obj] == DROPPED]
    assert gone == list(range(50, 50 + len(gone)))
    assert {lock.generation(obj) for obj in range(50)} == {1}


def test_what_page_tables_use_is_promoted_by_the_walk_of_aging() -> None:
    lock = Machine()
    lock.read(range(64))
    for obj in range(64, 84):  # used in the batch: in the second oldest generation
        lock.mark_accessed(0, lock.alloc(0, 0, k.MIGRATE_MOVABLE, k.GFP_HIGHUSER_MOVABLE, FILE, obj))
    lock.read(range(84, 85))
    for obj in range(64, 74):
        lock.mark_young(0, int(lock.fast.obj[obj]))
    lock.drop(70)
    node = lock.fast.view.node[0]
    assert lock.fast.view.stat.lru_gen_aged > 0
    assert lock.there(range(64, 74)) == list(range(64, 74))
    assert len(lock.there(range(74, 84))) < 10
    for obj in range(64, 74):
        assert lock.attr(obj) & (k.ATTR_WORKINGSET | k.ATTR_REFERENCED | k.ATTR_YOUNG) == k.ATTR_WORKINGSET
        assert lock.generation(obj) == 3 > node.min_seq[k.LRU_GEN_FILE] - 1


def protected_machine() -> Machine:
    """Pages used twice that were dropped and read again, 96 of them, beside others that were dropped for good."""
    lock = Machine()
    lock.read(range(256))
    lock.use(range(256), 2)
    lock.read(range(256, 512))
    lock.drop(352)
    again = [obj for obj in range(256) if lock.fast.obj[obj] == DROPPED][:96]
    assert len(again) == 96
    for obj in again:
        lock.read(range(obj, obj + 1))
    return lock


def test_a_tier_whose_pages_are_read_again_is_protected() -> None:
    lock = protected_machine()
    node = lock.fast.view.node[0]
    tier = k.MAX_NR_TIERS * k.LRU_GEN_FILE + 1
    assert node.refaulted[tier] + 2 * node.avg_refaulted[tier] >= k.MIN_LRU_BATCH
    again = range(96)
    assert lock.there(range(352)) == list(again)
    lock.use(again, 2)
    lock.read(range(600, 760))
    lock.drop(220)  # all 160 that are older, and more
    assert lock.there(again) == list(again)
    assert len(lock.there(range(600, 760))) < 160
    assert lock.oracle.m.reached["generations: tier protected"]
    lock.finish()


def test_refaults_are_counted_in_the_tier_of_the_evicted_page() -> None:
    lock = protected_machine()
    node = lock.fast.view.node[0]
    stat = lock.fast.view.stat
    assert stat.workingset_refault_file == 96
    tiers = [
        node.refaulted[k.MAX_NR_TIERS + tier] + node.avg_refaulted[k.MAX_NR_TIERS + tier] for tier in range(4)
    ]
    assert tiers[1] > 0
    assert (tiers[0], tiers[2], tiers[3]) == (0, 0, 0)


@pytest.mark.parametrize(("swappiness", "anonymous"), [(0, 0), (1, 0), (60, 0), (200, 34)])
def test_swappiness_says_which_type_is_evicted_first(swappiness: int, anonymous: int) -> None:
    lock = Machine(swap_pages=512, swappiness=swappiness, anon_used=0)
    lock.read(range(64))
    lock.read(range(64, 364), k.ATTR_LRU)
    for _ in range(6):
        lock.reclaim(0, 0, 0, k.GFP_KERNEL)
    stat = lock.fast.view.stat
    before = stat.pgsteal_anon + 0
    assert (before > 0) == (swappiness > 0), "after the files, if it may be swapped"
    lock.read(range(400, 432))
    assert lock.reclaim(0, 0, 0, k.GFP_KERNEL) >= 32
    assert stat.pgsteal_anon - before == anonymous


def test_without_room_for_a_batch_of_swap_nothing_is_swapped() -> None:
    lock = Machine(swap_pages=k.MIN_LRU_BATCH - 1, swappiness=200, anon_used=0)
    lock.read(range(64))
    lock.read(range(64, 128), k.ATTR_LRU)
    lock.drop(64)
    assert lock.reclaim(0, 0, 0, k.GFP_KERNEL) == 0
    assert lock.fast.view.stat.pswpout == 0


def test_half_a_folio_stays_in_its_generation_beside_the_other() -> None:
    lock = Machine()
    pfn = lock.alloc(0, 2, k.MIGRATE_MOVABLE, k.GFP_HIGHUSER_MOVABLE, FILE, 0)
    lock.mark_accessed(0, pfn)
    lock.mark_accessed(0, pfn)
    lock.split(pfn, 1)
    lock.split(pfn, -1)
    words = lock.fast.lru[lock.fast.view.cfg.lru_gen_words :][:2].tolist()
    assert words[0] == words[1] != 0


def state_with(attrs: list[int]) -> State:
    """A machine that begins with a page for each of these attributes, the first the oldest."""
    zone = ZoneConfig(0, k.ZONE_NORMAL, 0, PAGES, watermark=(16, 20, 24, 28))
    state = build_state(MachineConfig(PAGES, (zone,), lru_gen=True), None, StateOptions(objects=64))
    count = len(attrs)
    load_state.load_allocated(state, np.arange(count), np.zeros(count, np.int64), np.array(attrs), 0)
    rest = np.arange(count, PAGES)
    load_state.load_in_use(state, rest)
    return state


def test_a_start_state_stands_where_the_kernel_puts_folios_when_generations_are_switched_on() -> None:
    active, used, workingset = k.ATTR_ACTIVE, k.ATTR_REFERENCED, k.ATTR_WORKINGSET
    marked = k.ATTR_RECLAIM | k.ATTR_DIRTY
    attrs = [
        FILE,
        FILE | used,
        FILE | active,
        FILE | active | workingset,
        FILE | marked,
        k.ATTR_LRU,
        k.ATTR_LRU | active,
    ]
    state = state_with([*attrs, FILE | k.ATTR_MLOCKED])
    check(state)
    words = state.lru[state.view.cfg.lru_gen_words :]
    assert (words[:8] - 1).tolist() == [0, 1, 2, 3, 2, 2, 2, -1]
    assert not (state.link[1 : 2 * len(attrs) : 2] & active).any()
    at = k.ZONE_NORMAL * k.NR_LRU_LISTS
    assert Node.table(state.node)["nr_lru"][0][at : at + 5].tolist() == [0, 2, 2, 3, 1]


def test_lists_are_read_by_age() -> None:
    state = state_with([FILE, FILE | k.ATTR_ACTIVE, FILE, k.ATTR_LRU])
    found = read_lru(state)
    assert found.lru.tolist() == [k.LRU_INACTIVE_ANON] + 3 * [k.LRU_INACTIVE_FILE]
    assert found.pfn.tolist() == [3, 1, 2, 0]


def test_a_larger_table_of_objects_keeps_generations() -> None:
    state = state_with([FILE, FILE | k.ATTR_ACTIVE])
    larger = with_objects(state, 500)
    check(larger)
    assert larger.lru[larger.view.cfg.lru_gen_words :][:3].tolist() == [1, 3, 0]
    assert state.view.cfg.lru_gen_words < larger.view.cfg.lru_gen_words


@kernel
def rename(sa, pfn, obj):
    s = pointers(sa)
    s.obj[s.link[2 * pfn]] = -1
    s.obj[obj] = pfn
    lru_rename(s, pfn, obj)


def test_a_page_that_becomes_another_objects_keeps_its_generation() -> None:
    state = state_with([FILE, FILE | k.ATTR_ACTIVE])
    rename(state, 1, 9)
    check(state)
    assert state.lru[state.view.cfg.lru_gen_words :][[1, 9]].tolist() == [0, 3]


def test_an_open_loop_has_no_generations() -> None:
    zone = ZoneConfig(0, k.ZONE_NORMAL, 0, PAGES)
    state = build_state(MachineConfig(PAGES, (zone,), lru_gen=True, open_loop=True))
    assert (state.view.cfg.lru_gen, state.lru.size) == (0, 0)
