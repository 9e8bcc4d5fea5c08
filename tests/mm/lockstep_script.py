# SPDX-License-Identifier: GPL-2.0-or-later
"""A random script: thousands of operations on one machine, in phases, from one seed."""

from __future__ import annotations

import random
from dataclasses import dataclass

from lockstep import Disagreement, Lockstep
from oracle.zone import Page

from kevacuate.mm import constants as k

U, M, R = k.MIGRATE_UNMOVABLE, k.MIGRATE_MOVABLE, k.MIGRATE_RECLAIMABLE
NOWAIT = k.GFP_KSWAPD_RECLAIM | k.GFP_NOWARN
RESERVE_GFPS = (
    k.GFP_ATOMIC, NOWAIT, k.GFP_KERNEL | k.GFP_MEMALLOC, k.GFP_KERNEL | k.GFP_NOFAIL, k.GFP_ATOMIC | k.GFP_MEMALLOC,
    k.GFP_KERNEL | k.GFP_NORETRY, k.GFP_KERNEL | k.GFP_RETRY_MAYFAIL, k.GFP_KERNEL | k.GFP_NOMEMALLOC,
    k.GFP_ATOMIC | k.GFP_NOMEMALLOC, k.GFP_HIGH | k.GFP_KERNEL, 0,
)  # fmt: skip
STEPS_NS = (0, 1, 500, 5_000, 20_000, 33_000, 60_000, 150_000, 1_100_000, 50_000_000, 1_000_000_000)


@dataclass(frozen=True)
class Phase:
    """What a stretch of the script is like: shares of operations, of types, of orders."""

    alloc: float
    free: float
    types: tuple[int, ...]
    orders: tuple[int, ...]
    sweep: float = 0.0  # share of frees that take neighbours, so that buddies merge
    advance: float = 0.1
    longest: int = len(STEPS_NS)
    atomic: float = 0.1
    lru: float = 0.9
    hurt: float = 0.1  # share of LRU pages that cannot be moved
    isolate: float = 0.01
    guard: float = 0.0
    victims: tuple[int, ...] = (0, 1)  # frees take from: 0 unmovable and reclaimable objects, 1 movable ones
    stretch: tuple[int, int] = (20, 300)


SMALL = (0, 0, 0, 0, 1, 1, 2, 3)
WIDE = (0, 0, 1, 2, 3, 3, 4, 5, 6, 7, 8, 9, 10)
PHASES = {
    "grow": Phase(0.85, 0.05, (M, M, M, M, M, U, R), (0, 0, 0, 1, 2), hurt=0.02),
    "fragment": Phase(0.05, 0.85, (M, U, R), SMALL, hurt=0.02),
    "claim": Phase(0.6, 0.15, (U, U, U, R, M), (0, 0, 1, 2), advance=0.2, longest=8),
    "movable again": Phase(0.6, 0.25, (M,), (0, 3, 4, 5), sweep=0.3),
    "shrink": Phase(0.1, 0.8, (M, U, R), SMALL, sweep=0.9),
    "pressure": Phase(0.75, 0.15, (M, M, U, R), SMALL, atomic=0.5),
    "atomic": Phase(0.6, 0.3, (U, U, U, R, M), (0, 1, 1, 2, 3), atomic=0.9, sweep=0.2),
    "wide": Phase(0.45, 0.45, (M, M, U, R), WIDE, sweep=0.4, atomic=0.2),
    "isolation": Phase(0.35, 0.35, (M, M, M, U, R), WIDE, sweep=0.5, isolate=0.5),
    "guard": Phase(0.6, 0.3, (U, U, R, M), (0, 1, 2, 3), guard=0.8),
    "churn": Phase(0.42, 0.42, (M, M, M, U, R), SMALL, advance=0.15),
    "hurt": Phase(0.7, 0.2, (M,), (0, 0, 0, 1, 2), hurt=0.4),
    "idle": Phase(0.02, 0.02, (M,), (0,), advance=0.9, stretch=(5, 20)),
    "fill movable": Phase(0.9, 0.02, (M,), (0, 0, 0, 1), hurt=0.03, lru=0.98, stretch=(50, 200)),
    "fill with clean cache": Phase(0.9, 0.02, (M,), (0, 0, 0, 1), hurt=0.0, lru=0.99, stretch=(50, 200)),
    "punch holes": Phase(0.0, 0.95, (M,), (0,), victims=(1,), stretch=(40, 200)),
    "steal blocks": Phase(
        0.55, 0.05, (U, U, R), (0, 1, 2, 2), advance=0.35, longest=7, stretch=(40, 120), victims=(1,)
    ),
    "steal many blocks": Phase(0.85, 0.0, (U, U, R), (1, 2, 2), advance=0.08, longest=8, stretch=(40, 120)),
    "let go": Phase(0.0, 0.9, (M,), (0,), victims=(0,), sweep=0.1, stretch=(30, 120)),
    "crowd": Phase(0.7, 0.05, (M, M, U), (0, 0, 1), advance=0.2, longest=7, hurt=0.0),
}  # fmt: skip
EVACUATION = ("fill movable", "punch holes", "steal blocks", "let go", "steal blocks", "movable again")
PLANS = {
    "mixed": tuple(PHASES),
    "evacuation": EVACUATION,
    "busy": ("fill with clean cache", "punch holes", "steal many blocks", "idle", "let go", "movable again"),
    "crowded": ("fill movable", "punch holes", "steal many blocks", "crowd", "idle", "hurt", "let go"),
    "highatomic": ("grow", "fragment", "atomic", "atomic", "pressure", "shrink"),
    "isolation": ("grow", "fragment", "isolation", "guard", "isolation", "shrink"),
    "guard": ("fill movable", "punch holes", "guard", "let go", "guard", "isolation"),
}
"""Each a cycle of phases; every other phase is taken at random from the plan."""


class Script:
    """Drives a Lockstep. The only source of chance is the seed."""

    def __init__(self, lock: Lockstep, seed: int, plan: str = "mixed") -> None:
        self.lock = lock
        self.seed = seed
        self.rng = random.Random(seed)
        self.plan = PLANS[plan]
        self.machine = lock.spec.machine
        self.block_pages = 1 << self.machine.pageblock_order
        self.blocks = sorted(
            {pfn // self.block_pages for z in self.machine.zones for pfn in range(z.start_pfn, z.end_pfn)}
        )
        self.spare = list(range(lock.spec.objects))
        self.live: tuple[list[int], list[int]] = ([], [])  # objects of types U and R, of type M
        self.anonymous: list[int] = []
        self.isolated: list[int] = []
        self.now = 0
        self.phase = PHASES[self.plan[0]]

    def run(self, operations: int) -> None:
        """Perform about so many operations; a disagreement says how to repeat it."""
        total = self.lock.counts.total
        goal = total["operations"] + operations
        turn = 0
        try:
            while total["operations"] < goal:
                name = self.plan[turn // 2 % len(self.plan)] if turn % 2 == 0 else self.rng.choice(self.plan)
                turn += 1
                self.phase = PHASES[name]
                end = min(goal, total["operations"] + self.rng.randint(*self.phase.stretch))
                for _ in range(600):
                    if total["operations"] >= end:
                        break
                    self._step()
        except Disagreement as error:
            done = self.lock.counts.total["operations"]
            raise Disagreement(f"{error}\nafter {done} operations, seed {self.seed}, {self.lock.spec}") from error

    def _step(self) -> None:
        phase, chance = self.phase, self.rng.random()
        if chance < phase.alloc:
            self._alloc()
        elif chance < phase.alloc + phase.free:
            self._free()
        elif self.rng.random() < phase.isolate:
            self._isolate()
        elif self.rng.random() < phase.advance / max(1 - phase.alloc - phase.free, 0.01):
            self._advance()
        else:
            self._other()

    # Allocation.

    def _gfp(self, mt: int) -> int:
        rng = self.rng
        gfp = rng.choice(RESERVE_GFPS) if rng.random() < self.phase.atomic else k.GFP_KERNEL
        if mt == M:
            gfp |= k.GFP_MOVABLE | (k.GFP_HIGHMEM if rng.random() < 0.8 else 0)
            gfp = k.GFP_TRANSHUGE_LIGHT if rng.random() < 0.04 else gfp
        elif mt == R:
            gfp |= k.GFP_RECLAIMABLE
        if rng.random() < 0.06:
            gfp |= rng.choice((k.GFP_THISNODE, k.GFP_THISNODE, k.GFP_DMA32, k.GFP_DMA))
        return gfp

    def _attr(self, mt: int) -> int:
        rng = self.rng
        if mt != M:
            return k.ATTR_MOVABLE_OPS if rng.random() < 0.02 else 0
        if rng.random() >= self.phase.lru:
            return k.ATTR_MOVABLE_OPS if rng.random() < 0.6 else 0
        return k.ATTR_LRU | self._moods()

    def _moods(self) -> int:
        """FILE, DIRTY, and what keeps a page from moving."""
        rng = self.rng
        attr = rng.choice((0, 0, k.ATTR_FILE, k.ATTR_FILE | k.ATTR_DIRTY))
        if rng.random() < self.phase.hurt:
            attr |= rng.choice((k.ATTR_WRITEBACK, k.ATTR_PINNED, k.ATTR_BUSY, k.ATTR_BUSY | k.ATTR_FILE))
        return attr

    def _take_object(self) -> int:
        if not self.spare or self.rng.random() < 0.03:
            return -1
        return self.spare.pop()

    def _alloc(self) -> None:
        rng, phase = self.rng, self.phase
        cpu = rng.randrange(len(self.machine.cpu_node))
        mt = rng.choice(phase.types)
        order = min(rng.choice(phase.orders), self.machine.max_page_order)
        if rng.random() < 0.02 and self.machine.hpage_order >= 0:
            order = self.machine.hpage_order
        obj, gfp, attr = self._take_object(), self._gfp(mt), self._attr(mt)
        chance = rng.random()
        if chance < phase.guard:
            # No direct reclaim: what it frees would find the bare bit, which no kernel does.
            gfp &= ~k.GFP_DIRECT_RECLAIM
            pfn = self.lock.alloc_with_isolate_bit(self._guarded_block(mt), cpu, order, mt, gfp, attr, obj)
        elif chance > 0.9 and order == 0:
            pfn = self.lock.alloc_bulk(cpu, mt, gfp, attr, obj)
        else:
            nid = rng.randrange(self.machine.nodes) if rng.random() < 0.1 else -1
            pfn = self.lock.alloc(cpu, order, mt, gfp, attr, obj, nid)
        self._remember(obj, pfn, mt == M)

    def _guarded_block(self, mt: int) -> int:
        """A block that is not isolated; rather one that a claim would look at."""
        blocks = self.lock.oracle.m.blocks
        for _ in range(8):
            zone = self.rng.choice(self.lock.oracle.m.zones)
            area = self.rng.choice(zone.free_area[: self.machine.pageblock_order + 1])
            pfn = area.free_list[self.rng.choice([t for t in (U, M, R) if t != mt])].head()
            if pfn >= 0 and not blocks[pfn // self.block_pages].isolate:
                return pfn // self.block_pages
        return self.rng.choice([b for b in self.blocks if not blocks[b].isolate] or self.blocks)

    def _remember(self, obj: int, pfn: int, movable: bool) -> None:
        if obj >= 0:
            (self.live[movable] if pfn >= 0 else self.spare).append(obj)
        elif pfn >= 0:
            self.anonymous.append(pfn)

    # Freeing and splitting.

    def _owned(self, pfn: int) -> Page | None:
        """The chunk at `pfn` if somebody still owns it."""
        page = self.lock.oracle.page(pfn) if pfn >= 0 else None
        if page is None or page.state not in (k.PG_ALLOC, k.PG_ISOLATED) or page.attr & k.ATTR_FREED:
            return None
        return page

    def _pick(self) -> int:
        """A pfn that somebody owns, of an object taken from the live ones (it may be gone: -1)."""
        rng = self.rng
        live = self.live[rng.choice(self.phase.victims)]
        if self.anonymous and (not live or rng.random() < 0.05):
            return self.anonymous.pop(rng.randrange(len(self.anonymous)))
        if not live:
            return -1
        at = rng.randrange(len(live))
        obj, live[at] = live[at], live[-1]
        live.pop()
        self.spare.append(obj)
        return self.lock.oracle.m.obj_pfn.get(obj, -1)

    def _free(self) -> None:
        rng = self.rng
        cpu = rng.randrange(len(self.machine.cpu_node))
        worker = rng.choice(self.lock.oracle.m.workers)
        pfn = rng.choice(worker.isolated) if worker.isolated and rng.random() < 0.3 else self._pick()
        if self._owned(pfn):
            self.lock.free(cpu, pfn)
        if rng.random() < self.phase.sweep:
            start = pfn - pfn % self.block_pages
            for at in range(start, start + min(self.block_pages, 64)):
                if self._owned(at) and rng.random() < 0.9:
                    self.lock.free(cpu, at)

    def _split(self) -> None:
        pages = [page for page in map(self._owned, self._sample()) if page and page.order > 0]
        if pages:
            obj = self._take_object()
            pfn = pages[0].pfn
            self.lock.split(pfn, obj)
            self._remember(obj, pfn + (1 << self.lock.oracle.m.heads[pfn].order), True)

    def _sample(self) -> list[int]:
        """First pfns of a few live objects."""
        table = self.lock.oracle.m.obj_pfn
        live = self.live[self.rng.randrange(2)]
        return [table.get(self.rng.choice(live), -1) for _ in range(8)] if live else []

    # The rest.

    def _advance(self) -> None:
        self.now += self.rng.choice(STEPS_NS[: self.phase.longest])
        self.lock.advance(self.now)

    def _isolate(self) -> None:
        if self.isolated and self.rng.random() < 0.5:
            self.lock.unisolate(self.isolated.pop(self.rng.randrange(len(self.isolated))))
            return
        block = self.rng.choice(self.blocks)
        if self.lock.isolate(block):
            self.isolated.append(block)

    def _other(self) -> None:
        rng = self.rng
        chance = rng.random()
        if chance < 0.35:
            self._split()
        elif chance < 0.65:
            page = next((p for p in map(self._owned, self._sample()) if p and p.state == k.PG_ALLOC), None)
            if page is not None and page.attr & k.ATTR_LRU:
                self.lock.set_attr(page.pfn, k.ATTR_LRU | self._moods())
        elif chance < 0.85:
            self.lock.set_skip(rng.choice(self.blocks), rng.random() < 0.3)
        elif chance < 0.9:
            self.lock.drain_all()
        elif chance < 0.93:
            self.lock.setup_per_zone_wmarks(rng.choice((16, 64, 128, self.machine.npages // 8)))
        elif chance < 0.95 and self.lock.oracle.config.ready == [False] * self.machine.nodes:
            self.lock.late_initcall()
