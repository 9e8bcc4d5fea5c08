# SPDX-License-Identifier: GPL-2.0-or-later
"""Compaction of one zone: is it worth while, one turn of its loop, is it over (mm/compaction.c, 7.2).

As kcompactd runs it: MIGRATE_SYNC_LIGHT, for GFP_KERNEL. Approximate: isolation and migration of a batch happen at one moment of
virtual time, so nothing is freed in between; a large folio without a destination counts as failed, and is not split.
Direct compaction is not modelled, and with it what only it does: flushing the skip bits.
"""

from __future__ import annotations

from kevacuate.mm.buddy import free_list
from kevacuate.mm.constants import (
    ALLOC_CMA,
    ATTR_BUSY,
    ATTR_LRU,
    ATTR_PINNED,
    C_HPAGE_ORDER,
    C_MAX_PAGE_ORDER,
    C_MIGRATE_NS,
    C_PAGEBLOCK_ORDER,
    COMPACT_CONTENDED,
    COMPACT_CONTINUE,
    COMPACT_COMPLETE,
    COMPACT_MAX_DEFER_SHIFT,
    COMPACT_PARTIAL_SKIPPED,
    COMPACT_SKIPPED,
    COMPACT_SUCCESS,
    EXTFRAG_THRESHOLD,
    KC_COST,
    KC_FAST_START,
    KC_FINISH_BLOCK,
    KC_FOLIOS,
    KC_FREE_PFN,
    KC_LAST_MIGRATED,
    KC_LISTS,
    KC_MIGRATE_PFN,
    KC_NR_FREE,
    KC_NR_MIGRATE,
    KC_ORDER,
    KC_PROACTIVE,
    KC_SEARCH_FAIL,
    KC_SEARCH_ORDER,
    KC_WHOLE_ZONE,
    MIGRATE_UNMOVABLE,
    PAGE_ALLOC_COSTLY_ORDER,
    PG_ALLOC,
    T_COMPACT_FAILED,
    T_COMPACT_MIGRATED,
    T_COMPACTIONS,
    WMARK_LOW,
    WMARK_MIN,
    Z_AREA,
    Z_CACHED_FREE_PFN,
    Z_CACHED_MIGRATE_PFN,
    Z_CACHED_MIGRATE_SYNC,
    Z_COMPACT_CONSIDERED,
    Z_COMPACT_DEFER_SHIFT,
    Z_COMPACT_ORDER_FAILED,
    Z_END,
    Z_INIT_MIGRATE_PFN,
    Z_START,
    ZS,
)
from kevacuate.mm.fallback import find_suitable_fallback
from kevacuate.mm.isolate_freepages import block_start, compaction_alloc, compaction_free, release_free_list
from kevacuate.mm.isolate_migratepages import isolate_migratepages
from kevacuate.mm.jit import part
from kevacuate.mm.migrate import migrate_folio_move, unaccount_isolated
from kevacuate.mm.pcp import drain_pages_zone
from kevacuate.mm.swap import folio_add_lru, lru_add_drain_cpu
from kevacuate.mm.watermark import wmark_pages, zone_watermark_ok


@part
def free_chunks(s, z, order):  # type: ignore[no-untyped-def]
    """fill_contig_page_info: (free pages, free chunks, chunks of *order* that they make) (mm/vmstat.c:1063)."""
    pages = 0
    chunks = 0
    suitable = 0
    for o in range(s.cfg[C_MAX_PAGE_ORDER] + 1):
        here = s.zone[z * ZS + Z_AREA + o]
        chunks += here
        pages += here << o
        if o >= order:
            suitable += here << (o - order)
    return pages, chunks, suitable


@part
def extfrag_for_order(s, z, order):  # type: ignore[no-untyped-def]
    """Per cent of the free pages that are in chunks smaller than *order* (mm/vmstat.c:1130)."""
    pages, _, suitable = free_chunks(s, z, order)
    if pages == 0:
        return 0
    return (pages - (suitable << order)) * 100 // pages


@part
def lack_of_memory(s, z, order):  # type: ignore[no-untyped-def]
    """Whether an allocation of *order* would fail for lack of memory rather than for fragmentation (fragmentation_index)."""
    pages, chunks, suitable = free_chunks(s, z, order)
    if chunks == 0:
        return True
    if suitable > 0:
        return False
    index = 1000 - (1000 + pages * 1000 // (1 << order)) // chunks
    return 0 <= index <= EXTFRAG_THRESHOLD


@part(cold=True)
def compaction_suit_allocation_order(s, z, order, hi):  # type: ignore[no-untyped-def]
    """COMPACT_SUCCESS: there is nothing to do; SKIPPED: it cannot help; CONTINUE: go (:2523, with MIN)."""
    mark = wmark_pages(s, z, WMARK_MIN)
    if zone_watermark_ok(s, z, order, mark, hi, 0):
        return COMPACT_SUCCESS
    mark += min(2 << order, 32)
    if order > PAGE_ALLOC_COSTLY_ORDER:
        mark += wmark_pages(s, z, WMARK_LOW) - wmark_pages(s, z, WMARK_MIN)
    if not zone_watermark_ok(s, z, 0, mark, hi, ALLOC_CMA):
        return COMPACT_SKIPPED
    if order > PAGE_ALLOC_COSTLY_ORDER and lack_of_memory(s, z, order):
        return COMPACT_SKIPPED
    return COMPACT_CONTINUE


@part
def compaction_deferred(s, z, order):  # type: ignore[no-untyped-def]
    """Whether the zone waits after failures; counts the attempt (:155)."""
    at = z * ZS
    if order < s.zone[at + Z_COMPACT_ORDER_FAILED]:
        return False
    limit = 1 << s.zone[at + Z_COMPACT_DEFER_SHIFT]
    s.zone[at + Z_COMPACT_CONSIDERED] += 1
    if s.zone[at + Z_COMPACT_CONSIDERED] >= limit:
        s.zone[at + Z_COMPACT_CONSIDERED] = limit
        return False
    return True


@part
def defer_compaction(s, z, order):  # type: ignore[no-untyped-def]
    """A compaction failed: wait twice as many attempts (:126)."""
    at = z * ZS
    s.zone[at + Z_COMPACT_CONSIDERED] = 0
    s.zone[at + Z_COMPACT_DEFER_SHIFT] = min(s.zone[at + Z_COMPACT_DEFER_SHIFT] + 1, COMPACT_MAX_DEFER_SHIFT)
    s.zone[at + Z_COMPACT_ORDER_FAILED] = min(s.zone[at + Z_COMPACT_ORDER_FAILED], order)


@part
def compaction_defer_reset(s, z, order):  # type: ignore[no-untyped-def]
    """A compaction succeeded, an allocation has not yet (:170)."""
    at = z * ZS + Z_COMPACT_ORDER_FAILED
    s.zone[at] = max(s.zone[at], order + 1)


@part(cold=True)
def compact_zone_begin(s, z, at, cpu, order, proactive):  # type: ignore[no-untyped-def]
    """compact_zone up to its loop: where the scanners start (:2564)."""
    start, end = s.zone[z * ZS + Z_START], s.zone[z * ZS + Z_END]
    last = block_start(s, end - 1)
    for field in (KC_LAST_MIGRATED, KC_SEARCH_FAIL, KC_FAST_START, KC_FINISH_BLOCK, KC_NR_FREE, KC_NR_MIGRATE):
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
def migrate_sources(s, z, at, cpu):  # type: ignore[no-untyped-def]
    """migrate_pages of cc->migratepages, last isolated first: all destinations, then the moves (mm/migrate.c:2094).

    Returns (folios that failed, whether destinations ran out).
    """
    folios = s.work[at + KC_FOLIOS]
    sources = at + KC_LISTS
    targets = sources + (1 << s.cfg[C_PAGEBLOCK_ORDER])
    failed = 0
    enomem = False
    for i in range(folios - 1, -1, -1):
        pfn = s.work[sources + i]
        order = s.meta[pfn] & 15
        dst = -1
        if not enomem:
            dst = compaction_alloc(s, z, at, order)
            enomem = dst < 0 and order == 0
        if dst >= 0 and s.link[2 * pfn + 1] & ATTR_BUSY:
            compaction_free(s, z, at, dst, order)
            dst = -1
        s.work[targets + i] = dst
        failed += dst < 0
    moved = 0
    for i in range(folios - 1, -1, -1):
        pfn = s.work[sources + i]
        dst = s.work[targets + i]
        if dst >= 0 and not s.link[2 * pfn + 1] & ATTR_PINNED:
            order = s.meta[pfn] & 15
            migrate_folio_move(s, cpu, pfn, dst, order)
            s.work[sources + i] = -1
            moved += 1 << order
    for i in range(folios - 1, -1, -1):
        pfn = s.work[sources + i]
        if pfn >= 0:
            if s.work[targets + i] >= 0:
                compaction_free(s, z, at, s.work[targets + i], s.meta[pfn] & 15)
                failed += 1
            put_source_back(s, cpu, pfn)
    s.work[at + KC_NR_MIGRATE] = 0
    s.work[at + KC_COST] += moved * s.cfg[C_MIGRATE_NS]
    s.stat[T_COMPACT_MIGRATED] += moved
    s.stat[T_COMPACT_FAILED] += failed
    return failed, enomem


@part
def compact_next_block(s, z, at, cpu):  # type: ignore[no-untyped-def]
    """Isolate and migrate once, or twice where a page failed. False if compaction must end (COMPACT_CONTENDED)."""
    while isolate_migratepages(s, z, at):
        last = block_start(s, s.work[at + KC_MIGRATE_PFN] - 1)
        s.work[at + KC_LAST_MIGRATED] = max(s.zone[z * ZS + Z_START], last)
        failed, enomem = migrate_sources(s, z, at, cpu)
        if enomem and not compact_scanners_met(s, at):
            return False
        inside = s.work[at + KC_MIGRATE_PFN] != block_start(s, s.work[at + KC_MIGRATE_PFN])
        again = inside and not s.work[at + KC_PROACTIVE] and not s.work[at + KC_FINISH_BLOCK]
        if failed == 0 or not again:
            break
        s.work[at + KC_FINISH_BLOCK] = 1
        if s.work[at + KC_ORDER] == s.cfg[C_HPAGE_ORDER]:
            s.work[at + KC_LAST_MIGRATED] = 0
    return True


@part(cold=True)
def compact_zone_turn(s, z, at, cpu, kswapd_runs, wanted_score):  # type: ignore[no-untyped-def]
    """One turn of compact_zone's loop (:2640). Returns COMPACT_CONTINUE, or how it ended."""
    result = compact_finished(s, z, at, kswapd_runs, wanted_score)
    if result == COMPACT_CONTINUE:
        same = block_start(s, s.work[at + KC_LAST_MIGRATED]) == block_start(s, s.work[at + KC_MIGRATE_PFN])
        s.work[at + KC_FINISH_BLOCK] = 1 if same else 0
        if not compact_next_block(s, z, at, cpu):
            result = COMPACT_CONTENDED
    if result == COMPACT_CONTINUE:
        order = s.work[at + KC_ORDER]
        last = s.work[at + KC_LAST_MIGRATED]
        if order > 0 and last and last < (s.work[at + KC_MIGRATE_PFN] >> order) << order:
            lru_add_drain_cpu(s, cpu)
            drain_pages_zone(s, z, cpu)
            s.work[at + KC_LAST_MIGRATED] = 0
        return result
    if s.work[at + KC_NR_FREE] > 0:
        highest = block_start(s, release_free_list(s, z, at, cpu))
        cached = z * ZS + Z_CACHED_FREE_PFN
        s.zone[cached] = max(s.zone[cached], highest)
    return result
