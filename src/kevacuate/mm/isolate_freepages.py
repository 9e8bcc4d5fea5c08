# SPDX-License-Identifier: GPL-2.0-or-later
"""Compaction's free scanner: where its destinations come from (mm/compaction.c, 7.2)."""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm.buddy import get_pfnblock_migratetype, list_add, list_del
from kevacuate.mm.constants import (
    C_MAX_PAGE_ORDER,
    C_PAGEBLOCK_ORDER,
    COMPACT_CLUSTER_MAX,
    KC_FREE_PFN,
    KC_MIGRATE_PFN,
    KC_NR_FREE,
    KC_NR_MIGRATE,
    KC_ORDER,
    MIGRATE_CMA,
    MIGRATE_MOVABLE,
    PG_BUDDY,
    PG_COMPACT,
    Z_CACHED_FREE_PFN,
    ZS,
)
from kevacuate.mm.fast_isolate_freepages import fast_isolate_freepages
from kevacuate.mm.free_chunks import (
    block_start,
    block_usable,
    freepages,
    isolate_freepages_block,
    isolation_suitable,
    set_pageblock_skip,
)
from kevacuate.mm.page_alloc import free_frozen_pages


@part
def suitable_migration_target(s, at, start):  # type: ignore[no-untyped-def]
    """Whether the block is a movable one and not free altogether."""
    order = s.work[at + KC_ORDER] if s.work[at + KC_ORDER] > 0 else s.cfg[C_PAGEBLOCK_ORDER]
    meta = s.meta[start] + 0
    if meta >> 4 == PG_BUDDY and meta & 15 >= order:
        return False
    mt = get_pfnblock_migratetype(s, start)
    return mt in (MIGRATE_MOVABLE, MIGRATE_CMA)


@part(cold=True)
def isolate_freepages(s, z, at):  # type: ignore[no-untyped-def]
    """Fill cc->freepages: a fast search, else block by block downward to the migrate scanner (:1726)."""
    fast_isolate_freepages(s, z, at)
    if s.work[at + KC_NR_FREE]:
        return
    pageblock = 1 << s.cfg[C_PAGEBLOCK_ORDER]
    pfn = s.work[at + KC_FREE_PFN] + 0
    start = block_start(s, pfn)
    low = block_start(s, s.work[at + KC_MIGRATE_PFN]) + pageblock
    stride = 1
    while start >= low:
        usable = block_usable(s, z, start)
        if usable and suitable_migration_target(s, at, start) and isolation_suitable(s, at, start):
            end = start + pageblock
            pfn, taken = isolate_freepages_block(s, z, at, pfn, end, stride)
            if pfn == end:
                set_pageblock_skip(s, start)
                cached = z * ZS + Z_CACHED_FREE_PFN
                s.zone[cached] = min(s.zone[cached], start - pageblock)
            if s.work[at + KC_NR_FREE] >= s.work[at + KC_NR_MIGRATE]:
                if pfn >= end:
                    pfn = start - pageblock
                break
            if pfn < end:
                break
            stride = 1 if taken else min(COMPACT_CLUSTER_MAX, stride << 1)
        start -= pageblock
        pfn = start
    s.work[at + KC_FREE_PFN] = pfn


@part
def compaction_alloc(s, z, at, order):  # type: ignore[no-untyped-def]
    """A destination off cc->freepages, more isolated if need be (:1846); -1 if there is none."""
    for attempt in range(2):
        for found in range(order, s.cfg[C_MAX_PAGE_ORDER] + 1):
            head = freepages(s, z, found)
            pfn = s.link[2 * head] + 0
            if pfn == head:
                continue
            list_del(s, pfn)
            size = found
            while size > order:
                size -= 1
                s.meta[pfn + (1 << size)] = PG_COMPACT << 4 | size
                list_add(s, pfn + (1 << size), freepages(s, z, size))
            s.meta[pfn] = PG_COMPACT << 4 | order
            s.work[at + KC_NR_FREE] -= 1 << order
            s.work[at + KC_NR_MIGRATE] -= 1 << order
            return pfn
        if attempt == 0:
            isolate_freepages(s, z, at)
    return -1


@part
def compaction_free(s, z, at, pfn, order):  # type: ignore[no-untyped-def]
    """Give a destination back to the head of cc->freepages."""
    s.meta[pfn] = PG_COMPACT << 4 | order
    list_add(s, pfn, freepages(s, z, order))
    s.work[at + KC_NR_FREE] += 1 << order
    s.work[at + KC_NR_MIGRATE] += 1 << order


@part(cold=True)
def release_free_list(s, z, at, cpu):  # type: ignore[no-untyped-def]
    """Free what is left on cc->freepages; returns the highest pfn among it, 0 if there was nothing."""
    highest = 0
    for order in range(s.cfg[C_MAX_PAGE_ORDER] + 1):
        head = freepages(s, z, order)
        pfn = s.link[2 * head] + 0
        while pfn != head:
            list_del(s, pfn)
            highest = max(highest, pfn)
            free_frozen_pages(s, cpu, pfn, order)
            pfn = s.link[2 * head] + 0
    s.work[at + KC_NR_FREE] = 0
    return highest
