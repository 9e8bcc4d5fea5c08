# SPDX-License-Identifier: GPL-2.0-or-later
"""Compaction's free scanner: where its destinations come from (mm/compaction.c, 7.2)."""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm.compact_scanners import (
    free_block_end,
    freepages,
    isolate_freepages_block,
    isolation_suitable,
    pageblock_pfn_to_page,
    pageblock_start_pfn,
    set_pageblock_skip,
    suitable_migration_target,
)
from kevacuate.mm.constants import (
    CHUNK_COMPACT,
    COMPACT_CLUSTER_MAX,
    MIGRATE_ASYNC,
)
from kevacuate.mm.fast_isolate_freepages import fast_isolate_freepages
from kevacuate.mm.fields import CompactControl, View
from kevacuate.mm.lists import list_add, list_del
from kevacuate.mm.page_free import free_frozen_pages
from kevacuate.mm.regions import note_part


@part
def free_block_suits(s: View, z: int, cc: CompactControl, start: int) -> bool:
    """Whether the free scanner looks into the block that starts at *start* (:1781)."""
    usable = pageblock_pfn_to_page(s, z, start, free_block_end(s, z, cc, start))
    return usable and suitable_migration_target(s, cc, start) and isolation_suitable(s, cc, start)


@part
def update_free_skip(s: View, z: int, start: int) -> None:
    """update_pageblock_skip of a block that the free scanner has seen to its end: the next run begins below it (:1790)."""
    set_pageblock_skip(s, start)
    zone = s.zone[z]
    zone.compact_cached_free_pfn = min(zone.compact_cached_free_pfn, start - (1 << s.cfg.pageblock_order))


@part(cold=True)
def isolate_freepages(s: View, z: int, cc: CompactControl) -> None:
    """Fill cc->freepages: a fast search, else block by block downward to the migrate scanner (:1726)."""
    fast_isolate_freepages(s, z, cc)
    if cc.nr_freepages:
        return
    pageblock = 1 << s.cfg.pageblock_order
    pfn = cc.free_pfn
    start = pageblock_start_pfn(s, pfn)
    low = pageblock_start_pfn(s, cc.migrate_pfn) + pageblock
    stride = COMPACT_CLUSTER_MAX if cc.mode == MIGRATE_ASYNC else 1
    while start >= low:
        end = free_block_end(s, z, cc, start)
        if free_block_suits(s, z, cc, start):
            pfn, taken = isolate_freepages_block(s, z, cc, pfn, end, stride)
            if pfn == end:
                update_free_skip(s, z, start)
            if cc.nr_freepages >= cc.nr_migratepages:
                if pfn >= end:
                    pfn = start - pageblock
                break
            if pfn < end:
                break
            stride = 1 if taken else min(COMPACT_CLUSTER_MAX, stride << 1)
        start -= pageblock
        pfn = start
    cc.free_pfn = pfn


@part
def compaction_alloc(s: View, z: int, cc: CompactControl, order: int) -> int:
    """A destination off cc->freepages, more isolated if need be (:1894); -1 if there is none."""
    for attempt in range(2):
        for found in range(order, s.cfg.max_page_order + 1):
            head = freepages(s, z, cc, found)
            pfn = s.link[2 * head] + 0
            if pfn == head:
                continue
            list_del(s, pfn)
            size = found
            while size > order:
                size -= 1
                s.meta[pfn + (1 << size)] = CHUNK_COMPACT << 4 | size
                list_add(s, pfn + (1 << size), freepages(s, z, cc, size))
                if s.cfg.region_order:
                    note_part(s, pfn, pfn + (1 << size))
            s.meta[pfn] = CHUNK_COMPACT << 4 | order
            cc.nr_freepages -= 1 << order
            cc.nr_migratepages -= 1 << order
            return pfn
        if attempt == 0:
            isolate_freepages(s, z, cc)
    return -1


@part
def compaction_free(s: View, z: int, cc: CompactControl, pfn: int, order: int) -> None:
    """Give a destination back to the head of cc->freepages."""
    s.meta[pfn] = CHUNK_COMPACT << 4 | order
    list_add(s, pfn, freepages(s, z, cc, order))
    cc.nr_freepages += 1 << order
    cc.nr_migratepages += 1 << order


@part
def next_free_page(s: View, z: int, cc: CompactControl) -> tuple[int, int]:
    """(First pfn, order) of what release_free_list gives back next: the smallest order's first; (-1, 0) if nothing is left."""
    for order in range(s.cfg.max_page_order + 1):
        head = freepages(s, z, cc, order)
        if s.link[2 * head] != head:
            return s.link[2 * head] + 0, order
    return -1, 0


@part(cold=True)
def release_free_list(s: View, z: int, cc: CompactControl, cpu: int) -> int:
    """Free what is left on cc->freepages; returns the highest pfn among it, 0 if there was nothing."""
    highest = 0
    pfn, order = next_free_page(s, z, cc)
    while pfn >= 0:
        list_del(s, pfn)
        highest = max(highest, pfn)
        free_frozen_pages(s, cpu, pfn, order)
        pfn, order = next_free_page(s, z, cc)
    cc.nr_freepages = 0
    return highest
