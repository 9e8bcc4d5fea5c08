# SPDX-License-Identifier: GPL-2.0-or-later
"""A random script: thousands of operations on one machine, in phases, from one seed."""

from __future__ import annotations

import random

from lockstep import Disagreement, Lockstep
from lockstep_plans import LRU_HURTS, PHASES, PLANS, RESERVE_GFPS, STEPS_NS, M, R, U
from lockstep_straits import STRAITS
from oracle.split import pages_of
from oracle.swap import is_swapped
from oracle.zone import Page, Zone

from kevacuate.mm import constants as k
from kevacuate.mm.base_pages import OBJ_BASE_PAGES


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
        self.zspages = (
            lock.spec.objects + lock.spec.parts
        )  # from here on objects are pages of zspages: nobody else's
        self.now = 0
        self.failures = 0  # allocations of this phase that failed
        self.phase = PHASES[self.plan[0]]

    def run(self, operations: int) -> None:
        """Perform about so many operations; a disagreement says how to repeat it."""
        total = self.lock.counts.total
        goal = total["operations"] + operations
        turn = 0
        try:
            while total["operations"] < goal:
                name = (
                    self.plan[turn % len(self.plan)]
                    if self.rng.random() < 0.9
                    else self.rng.choice(self.plan)
                )
                turn += 1
                self.phase = PHASES[name]
                self.failures = 0
                if self.phase.drains:
                    self.lock.drain_all()
                scale = min(max(self.block_pages // 8, 1), 6) if self.phase.sweep == 1 else 1
                end = min(goal, total["operations"] + self.rng.randint(*self.phase.stretch) * scale)
                for _ in range(600):
                    if total["operations"] >= end and not self.phase.until_full:
                        break
                    if total["operations"] >= goal or (self.failures > 3 and self.phase.until_full):
                        break
                    self._step()
        except Disagreement as error:
            done = self.lock.counts.total["operations"]
            raise Disagreement(
                f"{error}\nafter {done} operations, seed {self.seed}, {self.lock.spec}"
            ) from error

    def _meddle(self) -> bool:
        """Free a page that a worker or, in closed loop, kcompactd holds, if one does."""
        m = self.lock.oracle.m
        held = [pfn for worker in m.workers for pfn in worker.isolated if self._owned(pfn)]
        if not held and any(thread.control is not None for thread in m.kcompactds):
            isolated = [page.pfn for page in m.heads.values() if page.state == k.CHUNK_ISOLATED]
            held = sorted(pfn for pfn in isolated if self._owned(pfn))
        if held:
            self.lock.free(0, self.rng.choice(held))
        return bool(held)

    def _step(self) -> None:
        if self.machine.compaction and self.rng.random() < 0.2:
            self._compact()
            return
        phase, chance = self.phase, self.rng.random()
        if phase.scene and self.rng.random() < phase.scene:
            self._scene()
            return
        if phase.squeeze and self.rng.random() < phase.squeeze:
            self._squeeze()
            return
        if phase.strait and self.rng.random() < 0.5:
            STRAITS[phase.strait](self, self.rng.randrange(len(self.machine.cpu_node)))
            return
        if phase.use and self.rng.random() < phase.use:
            self._use()
            return
        if phase.reclaim and self.rng.random() < phase.reclaim:
            self._reclaim()
            return
        if phase.meddle and self.rng.random() < phase.meddle and self._meddle():
            return
        if chance < phase.alloc:
            self._alloc()
        elif chance < phase.alloc + phase.free:
            self._free()
        elif (
            self.rng.random() < phase.isolate and self.machine.hpage_pmd_order <= self.machine.pageblock_order
        ):
            # A huge page of several blocks, one of them isolated, is freed by its first block's type alone when it
            # comes from a pcp: the kernel's lists then disagree with the blocks, and so do the models'.
            self._isolate()
        elif self.rng.random() < phase.advance / max(1 - phase.alloc - phase.free, 0.01):
            self._advance()
        else:
            self._other()

    # Allocation.

    def _gfp(self, mt: int) -> int:
        rng = self.rng
        usual = RESERVE_GFPS if rng.random() < self.phase.atomic else (k.GFP_KERNEL,)
        return self.gfp_of(mt, rng.choice(self.phase.gfps or usual))

    def gfp_of(self, mt: int, gfp: int) -> int:
        """The flags with what the type says, and now and then another zone or one node alone."""
        rng = self.rng
        if mt == M:
            gfp |= k.GFP_MOVABLE | (k.GFP_HIGHMEM if rng.random() < 0.8 else 0)
            gfp = k.GFP_TRANSHUGE_LIGHT if rng.random() < 0.04 else gfp
        elif mt == R:
            gfp |= k.GFP_RECLAIMABLE
        if rng.random() < 0.06:
            gfp |= rng.choice((k.GFP_THISNODE, k.GFP_THISNODE, k.GFP_DMA32, k.GFP_DMA))
        return gfp

    def attr_of(self, mt: int) -> int:
        """Attributes of what is allocated."""
        rng = self.rng
        if mt != M:
            return k.ATTR_MOVABLE_OPS if rng.random() < 0.02 else 0
        if rng.random() >= self.phase.lru:
            return k.ATTR_MOVABLE_OPS if rng.random() < 0.6 else 0
        return k.ATTR_LRU | self._moods()

    def _moods(self) -> int:
        """FILE, DIRTY, and what keeps a page from moving."""
        rng, phase = self.rng, self.phase
        attr = rng.choice((0, 0, k.ATTR_FILE, k.ATTR_FILE | k.ATTR_DIRTY))
        if phase.file >= 0:
            attr = k.ATTR_FILE if rng.random() < phase.file else 0
            attr |= k.ATTR_DIRTY if attr and rng.random() < phase.hurt else 0
        if phase.locked and rng.random() < phase.locked:
            attr |= k.ATTR_MLOCKED
        if phase.file >= 0:
            return attr | (rng.choice(LRU_HURTS) if rng.random() < phase.hurt else 0)
        if rng.random() < self.phase.hurt:
            attr |= rng.choice((k.ATTR_WRITEBACK, k.ATTR_PINNED, k.ATTR_BUSY, k.ATTR_BUSY | k.ATTR_FILE))
        return attr

    def take_object(self) -> int:
        """A spare object's number, now and then none."""
        if not self.spare or self.rng.random() < 0.03:
            return -1
        obj = self.spare.pop()
        self._leave_swap(obj)
        return obj

    def _leave_swap(self, obj: int) -> bool:
        """Have an object whose page is in swap give it up; whether it was there."""
        swapped = is_swapped(self.lock.oracle.m, obj)
        if swapped:
            self.lock.free_swapped(obj % len(self.machine.cpu_node), obj)
        return swapped

    def _alloc(self) -> None:
        rng, phase = self.rng, self.phase
        cpu = rng.randrange(len(self.machine.cpu_node))
        mt = rng.choice(phase.types)
        order = rng.choice(phase.orders) + (max(self.machine.pageblock_order - 4, 0) if phase.relative else 0)
        order = min(order, self.machine.max_page_order)
        if rng.random() < 0.02 and self.machine.hpage_pmd_order >= 0:
            order = self.machine.hpage_pmd_order
        obj, gfp, attr = self.take_object(), self._gfp(mt), self.attr_of(mt)
        chance = rng.random()
        if chance < phase.guard and self.machine.profile.isolate == "bit":
            # No direct reclaim: what it frees would find the bare bit, which no kernel does.
            gfp &= ~k.GFP_DIRECT_RECLAIM
            pfn = self.lock.alloc_with_isolate_bit(self._guarded_block(mt), cpu, order, mt, gfp, attr, obj)
        elif chance > 0.9 and order == 0:
            pfn = self.lock.alloc_bulk(cpu, mt, gfp, attr, obj)
        else:
            nid = rng.randrange(self.machine.nodes) if rng.random() < 0.1 else -1
            pfn = self.lock.alloc(cpu, order, mt, gfp, attr, obj, nid)
        self.remember(obj, pfn, mt == M)

    def _guarded_block(self, mt: int) -> int:
        """A block that is not isolated: the one that a claim would look at first, if there is one."""
        blocks = self.lock.oracle.m.blocks
        zone = self.rng.choice(self.lock.oracle.m.zones)
        for area in reversed(zone.free_area):
            for other in (R, U, M) if mt == M else (U + R - mt, M):
                pfn = area.free_list[other].head()
                if pfn >= 0 and not blocks[pfn // self.block_pages].isolate:
                    return pfn // self.block_pages
        return self.rng.choice([b for b in self.blocks if not blocks[b].isolate] or self.blocks)

    def remember(self, obj: int, pfn: int, movable: bool) -> None:
        """An object was asked a chunk for; -1 is a failure."""
        self.failures += pfn < 0
        if obj >= 0:
            (self.live[movable] if pfn >= 0 else self.spare).append(obj)
        elif pfn >= 0:
            self.anonymous.append(pfn)

    # Freeing and splitting.

    def _owned(self, pfn: int) -> Page | None:
        """The chunk at `pfn` if somebody still owns it."""
        page = self.lock.oracle.page(pfn) if pfn >= 0 else None
        if (
            page is None
            or page.obj >= self.zspages
            or page.state not in (k.CHUNK_ALLOC, k.CHUNK_ISOLATED)
            or page.attr & k.ATTR_FREED
        ):
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
        return self._pfn_of(obj, live)

    def _pfn_of(self, obj: int, live: list[int]) -> int:
        """Where an object that is no longer among the *live* ones is. Of a split folio all pages but one stay."""
        pfn = self.lock.oracle.m.obj_pfn.get(obj, -1)
        if obj < self.lock.spec.objects:
            self.spare.append(obj)
            self._leave_swap(obj)
        elif pfn == k.OBJ_DROPPED and not self._leave_swap(obj):
            self.lock.forget(obj)
        if pfn > OBJ_BASE_PAGES:
            return pfn
        pages = list(pages_of(self.lock.oracle.m, pfn))
        self.lock.forget(obj)
        self.rng.shuffle(pages)
        live += pages[1:]
        return self._pfn_of(pages[0], live)

    def _free(self) -> None:
        rng = self.rng
        cpu = rng.randrange(len(self.machine.cpu_node))
        pfn = self._pick()
        if self._owned(pfn):
            self.lock.free(cpu, pfn)
        if rng.random() < self.phase.sweep:
            start = pfn - pfn % self.block_pages
            for at in range(start, start + min(self.block_pages, 64)):
                if self._owned(at) and rng.random() < self.phase.share:
                    self.lock.free(cpu, at)

    def _split(self) -> None:
        pages = [page for page in map(self._owned, self._sample()) if page and page.order > 0]
        if pages:
            obj = self.take_object()
            pfn = pages[0].pfn
            self.lock.split(pfn, obj)
            self.remember(obj, pfn + (1 << self.lock.oracle.m.heads[pfn].order), True)

    def _sample(self) -> list[int]:
        """First pfns of a few live objects."""
        return self._sample_of(self.live[self.rng.randrange(2)])

    def _sample_of(self, live: list[int]) -> list[int]:
        """First pfns of a few of these objects."""
        table = self.lock.oracle.m.obj_pfn
        return [table.get(self.rng.choice(live), -1) for _ in range(8)] if live else []

    # A claim of a movable block, staged: a block made movable, half of it freed, then an unmovable request.

    def _scene(self) -> None:
        rng, m = self.rng, self.lock.oracle.m
        block = self._stage_block()
        cpu = rng.randrange(len(self.machine.cpu_node))
        if m.blocks[block].mt != M:
            self._make_movable(cpu, block)
        chunks = [
            page for page in map(m.heads.get, self._block_range(block)) if page and self._owned(page.pfn)
        ]
        rng.shuffle(chunks)
        order = min((page.order for page in chunks), default=0)
        for page in chunks[: (len(chunks) + 1) // 2]:
            self.lock.free(cpu, page.pfn)
        self.lock.drain_all()
        obj, mt = self.take_object(), rng.choice((U, U, R))
        gfp = k.GFP_KERNEL | rng.choice((0, k.GFP_MEMALLOC, k.GFP_MEMALLOC))
        pfn = self.lock.alloc(cpu, min(order, self.machine.pageblock_order - 1), mt, gfp, 0, obj)
        self.remember(obj, pfn, False)
        if rng.random() >= self.phase.chain:
            if rng.random() < 0.2:
                self._make_movable(cpu, block)
            self._watch(pfn)

    def _block_range(self, block: int) -> range:
        return range(block * self.block_pages, (block + 1) * self.block_pages)

    def _stage_block(self) -> int:
        """A movable block, or one with free pages that would serve the request: those must go."""
        m = self.lock.oracle.m
        heads = [
            area.free_list[mt].head()
            for zone in m.zones
            for area in reversed(zone.free_area)
            for mt in (U, R)
        ]
        pfn = next((pfn for pfn in heads if pfn >= 0), -1)
        if pfn >= 0:
            return pfn // self.block_pages
        movable = self.rng.random() < 0.7
        return self.rng.choice([b for b in self.blocks if (m.blocks[b].mt == M) == movable] or self.blocks)

    def _make_movable(self, cpu: int, block: int) -> None:
        """Free the block and have a movable request claim it whole; then halve what was given."""
        self._free_block(block, 1.0)
        self.lock.drain_all()
        order = max(self.machine.pageblock_order - 1, 0)
        for _ in range(2):
            obj = self.take_object()
            gfp = k.GFP_HIGHUSER_MOVABLE | k.GFP_MEMALLOC
            pfn = self.lock.alloc(cpu, order, M, gfp, self.attr_of(M), obj)
            self.remember(obj, pfn, True)
        for _ in range(min(order, 2)):
            for pfn in self._block_range(block):
                page = self._owned(pfn)
                if page and page.order > max(order - 2, 0):
                    obj = self.take_object()
                    self.lock.split(pfn, obj)
                    self.remember(obj, pfn + page.size, True)

    def _free_block(self, block: int, share: float) -> None:
        """Free about that share of what is in use in a block."""
        start = block * self.block_pages
        cpu = self.rng.randrange(len(self.machine.cpu_node))
        for pfn in range(start, start + self.block_pages):
            if self._owned(pfn) and self.rng.random() < share:
                self.lock.free(cpu, pfn)

    def _watch(self, pfn: int) -> None:
        """Let the workers work, step by step, perhaps with a page freed under their hands."""
        rng = self.rng
        for _ in range(rng.randrange(4)):
            self._free()
        for _ in range(rng.randrange(4, 16)):
            due = [worker.due for worker in self.lock.oracle.m.workers if worker.due >= 0]
            if not due:
                break
            self.now = max(self.now, min(due) + rng.choice((0, 0, 1)))
            self.lock.advance(self.now)
            if rng.random() < 0.35:
                self._meddle()
        if self._owned(pfn) and rng.random() < 0.8:
            self.lock.free(0, pfn)

    # Use and reclaim.

    def _use(self) -> None:
        """Use a page, perhaps several times in a row."""
        rng = self.rng
        live = self.live[1]
        pages = [page for page in map(self._owned, self._sample_of(live)) if page]
        for page in pages[: rng.choice((1, 1, 4))]:
            for _ in range(rng.choice((1, 2, 2))):
                use = self.lock.mark_accessed if page.pfn & 3 else self.lock.mark_young
                use(rng.randrange(len(self.machine.cpu_node)), page.pfn)

    def _reclaim(self) -> None:
        """Somebody reclaims directly."""
        rng = self.rng
        cpu = rng.randrange(len(self.machine.cpu_node))
        order = rng.choice((0, 0, 1, 3, 4, min(5, self.machine.max_page_order)))
        gfp = rng.choice(
            (k.GFP_KERNEL, k.GFP_HIGHUSER_MOVABLE, k.GFP_KERNEL & ~k.GFP_FS, k.GFP_KERNEL | k.GFP_DMA32)
        )
        if rng.random() < 0.2:
            gfp = gfp & ~(k.GFP_IO | k.GFP_FS) | rng.choice((0, k.GFP_THISNODE))
        self.lock.reclaim(
            cpu, rng.randrange(self.machine.nodes), min(order, self.machine.max_page_order), gfp
        )

    # Requests for chunks where little is free, in single pages: staged, as chance seldom comes to them.

    def _squeeze(self) -> None:
        """Fill all memory, free single pages up to what compaction needs, and somewhat more, then ask for chunks.

        Or have kcompactd make one.
        """
        rng = self.rng
        cpu = rng.randrange(len(self.machine.cpu_node))
        self.fill(cpu)
        order = rng.choice((1, 1, 1, 2, 2, 3, *range(1, self.machine.max_page_order + 1)))
        self._free_for(cpu, order)
        self.lock.drain_all()
        if rng.random() < 0.8:
            self.lock.forget_failures()
        if self.phase.folios and rng.random() < 0.5:
            self._free_for(cpu, self.machine.pageblock_order)
            self.lock.drain_all()
            self._have_compacted(
                rng.randint(min(2, self.machine.pageblock_order), self.machine.pageblock_order)
            )
        held = self.hold_many() if rng.random() < self.phase.hold else []
        for _ in range(16 if held else rng.choice((1, 1, 2, 4))):
            mt = rng.choice((U, U, U, R) if held else self.phase.asks)
            obj, gfp = self.take_object(), self._gfp(mt)
            self.remember(obj, self.lock.alloc(cpu, order, mt, gfp, self.attr_of(mt), obj), mt == M)
        for pfn in held:
            self.lock.let_go(cpu, pfn)

    def fill(self, cpu: int) -> None:
        """Fill all memory with movable pages, whatever the marks."""
        rng = self.rng
        for _ in range(400):
            obj, large = self.take_object(), rng.random() < self.phase.folios
            size = rng.choice((1, 1, 2, 3)) if large else 0
            pfn = self.lock.alloc(cpu, size, M, k.GFP_HIGHUSER_MOVABLE | k.GFP_MEMALLOC, self.attr_of(M), obj)
            self.remember(obj, pfn, True)
            if pfn < 0 and size == 0:
                break

    def _have_compacted(self, order: int) -> None:
        """Wake a kcompactd and let it work, perhaps with a page freed under its hands."""
        rng, threads = self.rng, self.lock.oracle.m.kcompactds
        node = rng.randrange(self.machine.nodes)
        self.lock.wake_kcompactd(node, order)
        for _ in range(rng.randrange(4, 24)):
            if threads[node].due < 0 or threads[node].state == "IDLE":
                break
            self.now = max(self.now, threads[node].due)
            self.lock.advance(self.now)
            if threads[node].state == "RUNNING" and rng.random() < 0.3:
                self._meddle()

    def hold_many(self) -> list[int]:
        """Have somebody isolate more than a sixteenth of the LRU pages: too many for an asynchronous compaction."""
        m = self.lock.oracle.m
        wanted = max(sum(zone.nr_lru for zone in zones) for zones in m.node_zones) // 16 + 2
        pages = [
            page for page in m.heads.values() if page.state == k.CHUNK_ALLOC and page.attr & k.ATTR_ON_LRU
        ]
        held = [page.pfn for page in self.rng.sample(pages, min(len(pages), wanted))]
        for pfn in held:
            self.lock.hold(pfn)
        return held

    def _free_for(self, cpu: int, order: int) -> None:
        """Free single pages until a zone has what a compaction for *order* needs, or twice that."""
        zone = self.rng.choice(self.lock.oracle.m.zones)
        wanted = zone.wmark_pages(k.WMARK_MIN) + min(2 << order, 32) + max(zone.lowmem_reserve)
        wanted += zone.watermark[k.WMARK_LOW] - zone.watermark[k.WMARK_MIN] if order > 3 else 0
        self.free_singles(cpu, zone, wanted + self.rng.choice((1, 1, 2, 3, 4, 8, 30)))

    def free_singles(self, cpu: int, zone: Zone, wanted: int) -> None:
        """Free movable pages of a zone whose buddies are in use, until more than *wanted* are free."""
        m = self.lock.oracle.m
        live = list(self.live[1])
        self.rng.shuffle(live)
        for obj in live:
            if zone.nr_free + sum(pcp.count for pcp in zone.pcps) > wanted:
                break
            page = self._owned(m.obj_pfn.get(obj, -1))
            if page is None or page.order or m.zone_of(page.pfn) is not zone or not self._owned(page.pfn ^ 1):
                continue
            self.live[1].remove(obj)
            self.lock.free(cpu, self._pfn_of(obj, self.live[1]))

    # The rest.

    def _advance(self) -> None:
        self.now += self.rng.choice(STEPS_NS[: self.phase.longest])
        self.lock.advance(self.now)

    def _compact(self) -> None:
        """End a compaction that has begun, or ask for one, or ask what one could do."""
        rng = self.rng
        threads = self.lock.oracle.m.kcompactds
        running = [n for n, thread in enumerate(threads) if thread.state == "RUNNING"]
        chance = rng.random()
        if running and not self.machine.open_loop:
            if chance < 0.1:
                self._meddle()
            elif chance < 0.8:
                self.now = max(self.now, threads[rng.choice(running)].due + rng.choice((0, 0, 1)))
                self.lock.advance(self.now)
            return
        if running and chance < 0.6:
            results = (
                k.COMPACT_SUCCESS,
                k.COMPACT_SUCCESS,
                k.COMPACT_COMPLETE,
                k.COMPACT_PARTIAL_SKIPPED,
                k.COMPACT_CONTENDED,
            )
            self.lock.compaction_ended(rng.choice(running), rng.choice(results))
        elif chance < 0.9:
            largest = self.machine.max_page_order
            if not self.machine.open_loop and rng.random() < 0.95:
                largest = self.machine.pageblock_order  # it remembers the largest, which it can seldom make
            self.lock.wake_kcompactd(rng.randrange(self.machine.nodes), rng.randint(1, largest))
        else:
            self.lock.suitability()

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
            page = next((p for p in map(self._owned, self._sample()) if p and p.state == k.CHUNK_ALLOC), None)
            if page is not None and page.attr & k.ATTR_LRU:
                stays = k.ATTR_FILE | k.ATTR_MLOCKED  # what a folio does not change on a list
                moods = self._moods()
                if not self.machine.open_loop:
                    moods = moods & ~stays | page.attr & stays
                self.lock.set_attr(page.pfn, k.ATTR_LRU | moods)
        elif chance < 0.85:
            self.lock.set_skip(rng.choice(self.blocks), rng.random() < 0.3)
        elif chance < 0.9:
            self.lock.drain_all()
        elif chance < 0.93:
            self.lock.setup_per_zone_wmarks(rng.choice((16, 64, 128, self.machine.npages // 8)))
        elif chance < 0.95 and self.lock.oracle.config.ready == [False] * self.machine.nodes:
            self.lock.late_initcall()
