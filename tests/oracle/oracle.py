# SPDX-License-Identifier: GPL-2.0-or-later
"""The facade: one object to drive, one method per operation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from . import (
    buddy,
    contig,
    generations,
    isolation,
    kcompactd,
    lru,
    migrate,
    page_alloc,
    pcp,
    scheduler,
    swap,
    vmscan,
    watermark,
)
from .check import check
from .config import Config
from .constants import A_STATIC, ALLOC, BUDDY, ISOLATED, MOVABLE, PCP, ZONE_MOVABLE
from .machine import LogRecord, Machine
from .state import snapshot
from .zone import Page


class Oracle:
    """A modelled machine. At first all non-reserved pages are free, as after boot, and the log is empty.

    With `boot=False` nothing is free and every page is unknown until `load_lists` says more.
    """

    def __init__(self, config: Config, *, boot: bool = True) -> None:
        self.config = config
        self.m = Machine(config)
        if config.swap_pages:
            self.m.swap = swap.new_swap(self.m)
        if config.lru_gen and not config.open_loop:
            for lruvec in self.m.lruvecs:
                lruvec.gens = generations.Generations()
        for zone in self.m.zones:
            watermark.zone_set_pcp_bounds(self.m, zone)
        if boot:
            buddy.memblock_free_all(self.m)
        self.take_log()

    # Requests and frees.

    def alloc(self, cpu: int, order: int, mt: int, gfp: int, attr: int, obj: int, nid: int = -1) -> int:
        """`alloc_pages` on `cpu`; the pfn, or -1."""
        self.m.cpu = cpu
        return page_alloc.alloc_pages(self.m, nid, order, mt, gfp, attr, obj)

    def alloc_bulk(self, cpu: int, mt: int, gfp: int, attr: int, obj: int) -> int:
        """`alloc_pages_bulk` of one page on `cpu`; the pfn, or -1."""
        self.m.cpu = cpu
        return page_alloc.alloc_pages_bulk(self.m, mt, gfp, attr, obj)

    def free(self, cpu: int, pfn: int) -> None:
        """The owner frees the ALLOC or ISOLATED chunk at `pfn` on `cpu`."""
        self.m.cpu = cpu
        page_alloc.free_by_owner(self.m, pfn)

    def alloc_contig(self, cpu: int, order: int, gfp: int, obj: int, nid: int = -1) -> int:
        """`alloc_contig_pages` on `cpu`: more than MAX_PAGE_ORDER has; the pfn, or -1."""
        self.m.cpu = cpu
        return contig.alloc_contig_pages(self.m, nid, order, gfp, obj)

    def free_contig(self, cpu: int, pfn: int, order: int) -> None:
        """The owner frees what `alloc_contig` gave, on `cpu`."""
        self.m.cpu = cpu
        contig.free_contig_pages(self.m, pfn, order)

    def free_swapped(self, cpu: int, obj: int) -> None:
        """The owner of a page in swap gives it up, on `cpu`."""
        self.m.cpu = cpu
        swap.free_swapped(self.m, obj)

    def swap_in(self, cpu: int, obj: int) -> None:
        """`do_swap_page` for an object whose page is in swap, on `cpu`."""
        self.m.cpu = cpu
        swap.do_swap_page(self.m, obj)

    def split(self, pfn: int, new_obj: int) -> None:
        """Halve the ALLOC or ISOLATED chunk at `pfn`; the upper half is `new_obj`'s."""
        page_alloc.halve_chunk(self.m, pfn, new_obj)

    def set_attr(self, pfn: int, bits: int) -> None:
        """Replace the static bits of the ALLOC chunk at `pfn`."""
        page = self.m.heads[pfn]
        assert page.state == ALLOC
        page.attr = page.attr & ~A_STATIC | bits & A_STATIC

    def alloc_with_isolate_bit(
        self, block: int, cpu: int, order: int, mt: int, gfp: int, attr: int, obj: int
    ) -> int:
        """`alloc` while the bare isolate bit of `block` is raised."""
        self.m.blocks[block].isolate = True
        pfn = self.alloc(cpu, order, mt, gfp, attr, obj)
        self.m.blocks[block].isolate = False
        return pfn

    def mark_accessed(self, cpu: int, pfn: int) -> None:
        """`folio_mark_accessed` of the chunk at `pfn`, on `cpu`."""
        self.m.cpu = cpu
        lru.folio_mark_accessed(self.m, self.m.heads[pfn])

    def mark_young(self, cpu: int, pfn: int) -> None:
        """A use of the chunk at `pfn` through a page table."""
        self.m.cpu = cpu
        lru.folio_young(self.m, self.m.heads[pfn])

    def reclaim(self, cpu: int, node: int, order: int, gfp: int) -> int:
        """`try_to_free_pages` for a request of `cpu` that prefers `node`; the pages reclaimed."""
        self.m.cpu = cpu
        if self.config.open_loop:
            return 0
        zones = page_alloc.prepare_alloc_pages(self.m, node, order, MOVABLE, gfp).zones
        return vmscan.try_to_free_pages(self.m, zones, node, order, gfp)

    # Time and machine-wide operations (they act on CPU 0).

    def advance(self, t: int) -> None:
        """Let virtual time pass until `t`."""
        scheduler.advance(self.m, t)

    def set_migratetype_isolate(self, block: int) -> bool:
        """Isolate a pageblock; False if that is refused."""
        self.m.cpu = 0
        return isolation.set_migratetype_isolate(self.m, block)

    def unset_migratetype_isolate(self, block: int) -> None:
        """Give an isolated pageblock back."""
        self.m.cpu = 0
        isolation.unset_migratetype_isolate(self.m, block)

    def wake_kcompactd(self, node: int, order: int) -> None:
        """`wakeup_kcompactd` for all zones of the node."""
        kcompactd.wakeup_kcompactd(self.m, node, order, ZONE_MOVABLE)

    def compaction_ended(self, node: int, result: int) -> None:
        """The compaction that the node's kcompactd has begun ends with this result."""
        kcompactd.compaction_ended(self.m, node, result)

    def set_skip(self, block: int, bit: bool) -> None:
        """Write PB_compact_skip."""
        self.m.blocks[block].skip = bool(bit)

    def hold(self, pfn: int) -> None:
        """Somebody isolates the LRU folio at `pfn`."""
        migrate.isolate_page(self.m, self.m.zone_of(pfn), self.m.heads[pfn])

    def let_go(self, cpu: int, pfn: int) -> None:
        """Who isolated the folio at `pfn` puts it back, or frees it."""
        self.m.cpu = cpu
        migrate.putback_movable_pages(self.m, [pfn])

    def forget_failures(self) -> None:
        """No zone defers compaction, no block is to be skipped, and the free scanner has begun at the zone's end."""
        for zone in self.m.zones:
            zone.considered = zone.defer_shift = zone.order_failed = 0
            zone.init_free_pfn = zone.end_pfn - 1
        for block in self.m.blocks:
            block.skip = False

    def drain_all_pages(self) -> None:
        """Empty all pcps."""
        self.m.cpu = 0
        pcp.drain_all_pages(self.m)

    def setup_per_zone_wmarks(self, min_free_kbytes: int) -> None:
        """Recompute watermarks and pcp bounds."""
        watermark.setup_per_zone_wmarks(self.m, min_free_kbytes)

    # Buddy level, for replays of a recorded kernel.

    def load_lists(
        self, free: Iterable[tuple[int, int, int, int]], blocks: Iterable[tuple[int, int, int]]
    ) -> None:
        """Set blocks from (pfn, type, skip), then free lists from (zone, order, type, pfn), heads first."""
        for pfn, mt, skip in blocks:
            block = self.m.block_of(pfn)
            block.mt, block.skip = mt, bool(skip)
        for zone, order, mt, pfn in free:
            buddy.add_to_free_list(self.m, self.m.zones[zone], pfn, order, mt, tail=True)
            buddy.account_freepages(self.m.zones[zone], 1 << order, mt)
        self.take_log()

    def rmqueue_bulk(
        self, zone: int, cpu: int | None, order: int, count: int, mt: int, flags: int
    ) -> list[int]:
        """Take up to `count` chunks: to the CPU's pcp list, or, without a CPU, into the unknown."""
        its = self.m.zones[zone]
        self.m.cpu = cpu or 0
        if cpu is None:
            return pcp.rmqueue_bulk(self.m, its, order, count, mt, flags)
        return pcp.refill(self.m, its, its.pcps[cpu], order, count, mt, flags)

    def rmqueue_buddy(self, zone: int, order: int, mt: int, flags: int) -> int:
        """Take one chunk from the buddy lists; it becomes unknown pages."""
        self.m.cpu = 0
        return page_alloc.rmqueue_buddy(self.m, self.m.zones[zone], order, mt, flags)

    def free_one_page(self, zone: int, pfn: int, order: int, fpi: int = 0) -> None:
        """Free a chunk straight to the buddy lists."""
        self.m.cpu = 0
        buddy.free_one_page(self.m, self.m.zones[zone], pfn, order, fpi)

    def drain_one_page(self, zone: int, pfn: int, order: int) -> None:
        """Free a chunk as the drain of a pcp does (logs PCPU_DRAIN)."""
        self.m.cpu = 0
        buddy.drain_one_page(self.m, self.m.zones[zone], pfn, order)

    # Observation.

    def state(self) -> dict[str, Any]:
        """Return a snapshot of everything, as plain lists and dicts."""
        return snapshot(self.m)

    def take_log(self) -> list[LogRecord]:
        """Return the log records since the last call."""
        records, self.m.log_records = self.m.log_records, []
        return records

    def page(self, pfn: int) -> Page | None:
        """Return the chunk that begins at `pfn`, if one does."""
        return self.m.heads.get(pfn)

    def chunks(self, *states: int) -> list[Page]:
        """Return all chunks in one of these states (default: ALLOC), by pfn."""
        wanted = states or (ALLOC,)
        return sorted((p for p in self.m.heads.values() if p.state in wanted), key=lambda p: p.pfn)

    def state_of(self, pfn: int) -> int:
        """State of the head at `pfn`; 0 (TAIL) if no chunk begins there."""
        page = self.m.heads.get(pfn)
        return page.state if page else 0

    def check(self) -> None:
        """Raise AssertionError if the state contradicts itself."""
        check(self.m)


__all__ = ["ALLOC", "BUDDY", "ISOLATED", "PCP", "Oracle"]
