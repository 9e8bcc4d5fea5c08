# SPDX-License-Identifier: GPL-2.0-or-later
"""Compaction of one zone: a step of its loop, and is it over (mm/compaction.c, 7.2).

As kcompactd runs it: MIGRATE_SYNC_LIGHT, for GFP_KERNEL. Approximate: a batch is isolated and its destinations are found at one
moment of virtual time, the moves then come 32 pages at a time; a large folio without a destination counts as failed, it is
not split.
Direct compaction is not modelled, and with it what only it does: flushing the skip bits.
"""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm.buddy import free_list
from kevacuate.mm.compact_suitable import extfrag_for_order
from kevacuate.mm.constants import (
    ATTR_BUSY,
    ATTR_FREED,
    ATTR_LRU,
    ATTR_PINNED,
    C_DEFRAG_MODE,
    C_HPAGE_ORDER,
    C_MAX_PAGE_ORDER,
    C_MIGRATE_NS,
    C_PAGEBLOCK_ORDER,
    COMPACT_CLUSTER_MAX,
    COMPACT_COMPLETE,
    COMPACT_CONTENDED,
    COMPACT_CONTINUE,
    COMPACT_PARTIAL_SKIPPED,
    COMPACT_SUCCESS,
    KC_COST,
    KC_ENOMEM,
    KC_FAILED,
    KC_FAST_START,
    KC_FINISH_BLOCK,
    KC_FOLIOS,
    KC_FREE_PFN,
    KC_LAST_MIGRATED,
    KC_LEFT,
    KC_LISTS,
    KC_MIGRATE_PFN,
    KC_NR_FREE,
    KC_NR_MIGRATE,
    KC_ORDER,
    KC_PROACTIVE,
    KC_RUN_HI,
    KC_SEARCH_FAIL,
    KC_SEARCH_ORDER,
    KC_WHOLE_ZONE,
    L_COMPACT_BEGIN,
    L_COMPACT_END,
    L_COMPACT_MIGRATE,
    MIGRATE_UNMOVABLE,
    PG_ALLOC,
    T_COMPACT_FAILED,
    T_COMPACT_MIGRATED,
    T_COMPACTIONS,
    WMARK_HIGH,
    Z_CACHED_FREE_PFN,
    Z_CACHED_MIGRATE_PFN,
    Z_CACHED_MIGRATE_SYNC,
    Z_END,
    Z_INIT_MIGRATE_PFN,
    Z_NR_FREE_BLOCKS,
    Z_START,
    ZS,
)
from kevacuate.mm.fallback import find_suitable_fallback
from kevacuate.mm.free_chunks import block_start
from kevacuate.mm.isolate_freepages import compaction_alloc, compaction_free, release_free_list
from kevacuate.mm.isolate_migratepages import isolate_migratepages
from kevacuate.mm.log import log_event
from kevacuate.mm.migrate import free_isolated, migrate_folio_move, unaccount_isolated
from kevacuate.mm.pcp import drain_pages_zone
from kevacuate.mm.swap import folio_add_lru, lru_add_drain_cpu
from kevacuate.mm.watermark import wmark_pages, zone_watermark_ok_free


@part(cold=True)
def compact_zone_begin(s, z, at, cpu, order, proactive):  # type: ignore[no-untyped-def]
    """compact_zone up to its loop: where the scanners start (:2564)."""
    start, end = s.zone[z * ZS + Z_START], s.zone[z * ZS + Z_END]
    last = block_start(s, end - 1)
    for field in (
        KC_LAST_MIGRATED,
        KC_SEARCH_FAIL,
        KC_FAST_START,
        KC_FINISH_BLOCK,
        KC_NR_FREE,
        KC_NR_MIGRATE,
        KC_LEFT,
    ):
        s.work[at + field] = 0
    s.work[at + KC_ORDER] = order
    s.work[at + KC_SEARCH_ORDER] = order
    s.work[at + KC_PROACTIVE] = s.work[at + KC_WHOLE_ZONE] = 1 if proactive else 0
    if proactive:
        migrate, free = start, last
    else:
        migrate, free = s.zone[z * ZS + Z_CACHED_MIGRATE_SYNC], s.zone[z * ZS + Z_CACHED_FREE_PFN]
        if free < start or free >= end:
            free = last
            s.zone[z * ZS + Z_CACHED_FREE_PFN] = free
        if migrate < start or migrate >= end:
            migrate = start
            s.zone[z * ZS + Z_CACHED_MIGRATE_PFN] = s.zone[z * ZS + Z_CACHED_MIGRATE_SYNC] = start
        if migrate <= s.zone[z * ZS + Z_INIT_MIGRATE_PFN]:
            s.work[at + KC_WHOLE_ZONE] = 1
    s.work[at + KC_MIGRATE_PFN] = migrate
    s.work[at + KC_FREE_PFN] = free
    s.stat[T_COMPACTIONS] += 1
    log_event(s, L_COMPACT_BEGIN, migrate, free, order, z, 0)
    lru_add_drain_cpu(s, cpu)


@part
def compact_scanners_met(s, at):  # type: ignore[no-untyped-def]
    """Whether the free scanner has come down to the migrate scanner's block."""
    return block_start(s, s.work[at + KC_FREE_PFN]) <= block_start(s, s.work[at + KC_MIGRATE_PFN])


@part(cold=True)
def compact_finished(s, z, at, kswapd_runs, wanted_score):  # type: ignore[no-untyped-def]
    """Whether the compaction is over, and how (:2282); COMPACT_CONTINUE if it is not."""
    if compact_scanners_met(s, at):
        start = s.zone[z * ZS + Z_START]
        s.zone[z * ZS + Z_CACHED_MIGRATE_PFN] = s.zone[z * ZS + Z_CACHED_MIGRATE_SYNC] = start
        s.zone[z * ZS + Z_CACHED_FREE_PFN] = block_start(s, s.zone[z * ZS + Z_END] - 1)
        return COMPACT_COMPLETE if s.work[at + KC_WHOLE_ZONE] else COMPACT_PARTIAL_SKIPPED
    if s.work[at + KC_PROACTIVE]:
        if kswapd_runs:
            return COMPACT_PARTIAL_SKIPPED
        score = extfrag_for_order(s, z, s.cfg[C_PAGEBLOCK_ORDER])
        return COMPACT_CONTINUE if score > wanted_score else COMPACT_SUCCESS
    if s.work[at + KC_MIGRATE_PFN] != block_start(s, s.work[at + KC_MIGRATE_PFN]):
        return COMPACT_CONTINUE
    if s.cfg[C_DEFRAG_MODE]:
        mark, free = wmark_pages(s, z, WMARK_HIGH), s.zone[z * ZS + Z_NR_FREE_BLOCKS]
        met = zone_watermark_ok_free(s, z, s.work[at + KC_ORDER], mark, s.work[at + KC_RUN_HI], 0, free)
        return COMPACT_SUCCESS if met else COMPACT_CONTINUE
    for order in range(s.work[at + KC_ORDER], s.cfg[C_MAX_PAGE_ORDER] + 1):
        head = free_list(s, z, order, MIGRATE_UNMOVABLE)
        if s.link[2 * head] != head or find_suitable_fallback(s, z, order, MIGRATE_UNMOVABLE, True) >= 0:
            return COMPACT_SUCCESS
    return COMPACT_CONTINUE


@part
def put_source_back(s, cpu, pfn):  # type: ignore[no-untyped-def]
    """putback_movable_pages for one folio."""
    order = s.meta[pfn] & 15
    unaccount_isolated(s, pfn, order)
    s.meta[pfn] = PG_ALLOC << 4 | order
    if s.link[2 * pfn + 1] & ATTR_LRU:
        folio_add_lru(s, cpu, pfn, order)


@part(cold=True)
def unmap_sources(s, z, at):  # type: ignore[no-untyped-def]
    """The unmap phase of migrate_pages, last isolated first: a destination for every source (mm/migrate.c:1805)."""
    sources = at + KC_LISTS
    targets = sources + (1 << s.cfg[C_PAGEBLOCK_ORDER])
    s.work[at + KC_ENOMEM] = 0
    for i in range(s.work[at + KC_FOLIOS] - 1, -1, -1):
        pfn = s.work[sources + i]
        order = s.meta[pfn] & 15
        dst = -1
        if s.work[at + KC_ENOMEM] == 0:
            dst = compaction_alloc(s, z, at, order)
            if dst < 0 and order == 0:
                s.work[at + KC_ENOMEM] = 1
        if dst >= 0 and s.link[2 * pfn + 1] & ATTR_BUSY:
            compaction_free(s, z, at, dst, order)
            dst = -1
        s.work[targets + i] = dst
    s.work[at + KC_LEFT] = s.work[at + KC_FOLIOS]
    s.work[at + KC_FAILED] = 0


@part
def move_source(s, z, at, cpu, pfn, dst):  # type: ignore[no-untyped-def]
    """Move one folio, or put it back. Returns the pages moved; one freed meanwhile counts as moved."""
    order = s.meta[pfn] & 15
    attr = s.link[2 * pfn + 1] + 0
    if attr & ATTR_FREED:
        free_isolated(s, cpu, pfn)
    elif dst >= 0 and not attr & ATTR_PINNED and s.meta[dst] & 15 == order:
        migrate_folio_move(s, cpu, pfn, dst, order)
        return 1 << order
    else:
        s.work[at + KC_FAILED] += 1
        put_source_back(s, cpu, pfn)
    if dst >= 0:
        compaction_free(s, z, at, dst, s.meta[dst] & 15)
    return 0


@part(cold=True)
def move_sources(s, z, at, cpu):  # type: ignore[no-untyped-def]
    """The move phase, as far as one step goes (mm/migrate.c:1760): COMPACT_CLUSTER_MAX pages. False once all are done.

    The kernel can be preempted after each page, and a block's worth takes tens of milliseconds: what is free of it already
    may be taken, or claimed, before the rest is.
    """
    sources = at + KC_LISTS
    targets = sources + (1 << s.cfg[C_PAGEBLOCK_ORDER])
    moved = 0
    left = s.work[at + KC_LEFT]
    while left > 0 and moved < COMPACT_CLUSTER_MAX:
        left -= 1
        moved += move_source(s, z, at, cpu, s.work[sources + left], s.work[targets + left])
    s.work[at + KC_LEFT] = left
    s.work[at + KC_COST] += moved * s.cfg[C_MIGRATE_NS]
    s.stat[T_COMPACT_MIGRATED] += moved
    return left > 0


@part
def batch_over(s, z, at):  # type: ignore[no-untyped-def]
    """What compact_zone does with migrate_pages' result. Returns (COMPACT_*, whether to scan the rest of the block)."""
    s.work[at + KC_NR_MIGRATE] = 0
    failed = s.work[at + KC_FAILED]
    s.stat[T_COMPACT_FAILED] += failed
    log_event(
        s,
        L_COMPACT_MIGRATE,
        s.work[at + KC_MIGRATE_PFN],
        s.work[at + KC_FOLIOS] - failed,
        failed,
        s.work[at + KC_ENOMEM],
        0,
    )
    if failed == 0:
        return COMPACT_CONTINUE, False
    if s.work[at + KC_ENOMEM] and not compact_scanners_met(s, at):
        return COMPACT_CONTENDED, False
    inside = s.work[at + KC_MIGRATE_PFN] != block_start(s, s.work[at + KC_MIGRATE_PFN])
    if not inside or s.work[at + KC_PROACTIVE] or s.work[at + KC_FINISH_BLOCK]:
        return COMPACT_CONTINUE, False
    s.work[at + KC_FINISH_BLOCK] = 1
    if s.work[at + KC_ORDER] == s.cfg[C_HPAGE_ORDER]:
        s.work[at + KC_LAST_MIGRATED] = 0
    return COMPACT_CONTINUE, True


@part
def begin_batch(s, z, at):  # type: ignore[no-untyped-def]
    """Isolate the next batch and find its destinations; nothing left to move if there is none."""
    s.work[at + KC_LEFT] = 0
    if isolate_migratepages(s, z, at):
        last = block_start(s, s.work[at + KC_MIGRATE_PFN] - 1)
        s.work[at + KC_LAST_MIGRATED] = max(s.zone[z * ZS + Z_START], last)
        unmap_sources(s, z, at)


@part
def check_drain(s, z, at, cpu):  # type: ignore[no-untyped-def]
    """Drain this CPU once the scanner has left an aligned chunk of the wanted order behind (:2755)."""
    order = s.work[at + KC_ORDER]
    last = s.work[at + KC_LAST_MIGRATED]
    if order > 0 and last and last < (s.work[at + KC_MIGRATE_PFN] >> order) << order:
        lru_add_drain_cpu(s, cpu)
        drain_pages_zone(s, z, cpu)
        s.work[at + KC_LAST_MIGRATED] = 0


@part(cold=True)
def compact_zone_turn(s, z, at, cpu, kswapd_runs, wanted_score):  # type: ignore[no-untyped-def]
    """A step of compact_zone's loop (:2640). Returns COMPACT_CONTINUE, or how it ended."""
    result = COMPACT_CONTINUE
    if s.work[at + KC_LEFT] > 0:
        if move_sources(s, z, at, cpu):
            return result
        result, again = batch_over(s, z, at)
        if again:
            begin_batch(s, z, at)
            if s.work[at + KC_LEFT] > 0:
                return result
        if result == COMPACT_CONTINUE:
            check_drain(s, z, at, cpu)
            return result
    if result == COMPACT_CONTINUE:
        result = compact_finished(s, z, at, kswapd_runs, wanted_score)
    if result == COMPACT_CONTINUE:
        same = block_start(s, s.work[at + KC_LAST_MIGRATED]) == block_start(s, s.work[at + KC_MIGRATE_PFN])
        s.work[at + KC_FINISH_BLOCK] = 1 if same else 0
        begin_batch(s, z, at)
        if s.work[at + KC_LEFT] == 0:
            check_drain(s, z, at, cpu)
        return result
    log_event(
        s,
        L_COMPACT_END,
        s.work[at + KC_MIGRATE_PFN],
        s.work[at + KC_FREE_PFN],
        s.work[at + KC_ORDER],
        result,
        z,
    )
    if s.work[at + KC_NR_FREE] > 0:
        highest = block_start(s, release_free_list(s, z, at, cpu))
        cached = z * ZS + Z_CACHED_FREE_PFN
        s.zone[cached] = max(s.zone[cached], highest)
    return result
