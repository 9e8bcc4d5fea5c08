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

from kevacuate.mm import constants as k

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
        pfn = self.lock.alloc_contig(rng.randrange(len(self.machine.cpu_node)), order, rng.choice(GFPS), obj, nid)
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
    "contig: pinned": 30,
    "contig: waited for a folio": 30,
    "contig: no memory for destinations": 20,
    "contig: gave up on a list": 10,
    "contig: range not free in the end": 10,
    "contig: range not isolated": 5,
    "contig: several batches": 5,
    "contig: pages of split folios": 3,
    "contig: by regions": 20,
    "contig: flags refused": 10,
}
EVENTS = {"contig_success": 100, "contig_fail": 100, "contig_migrated": 2_000, "contig_reclaimed": 50}
SHARDS = (
    ("contig", "squeeze folios", 6, 300),
    ("contig", "press", 8, 400),
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
    print(sorted((n, c) for n, c in total.items() if "contig" in n or n == "operations"))
    assert {name: total[name] for name, least in (REACHED | EVENTS).items() if total[name] < least} == {}
