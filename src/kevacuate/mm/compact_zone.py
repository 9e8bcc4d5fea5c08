# SPDX-License-Identifier: GPL-2.0-or-later
"""Compaction of one zone: a step of its loop, and is it over (mm/compaction.c, 7.2).

As kcompactd runs it: MIGRATE_SYNC_LIGHT, for GFP_KERNEL. Approximate: a batch is isolated and its destinations are found at one
moment of virtual time, the moves then come 32 pages at a time; what is locked stays so. In an open loop, as it was first
modelled, a large folio without a destination is not split, it counts as failed. Direct compaction, which is one moment:
:mod:`.direct_compact`.
"""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm import constants as k
from kevacuate.mm.buddy import free_list
from kevacuate.mm.compact_reset import reset_isolation_suitable_zone
from kevacuate.mm.compact_scanners import pageblock_start_pfn
from kevacuate.mm.compact_suitable import compaction_restarting, extfrag_for_order
from kevacuate.mm.fallback import find_suitable_fallback
from kevacuate.mm.fields import CompactControl, View
from kevacuate.mm.isolate_freepages import compaction_alloc, compaction_free, release_free_list
from kevacuate.mm.isolate_migratepages import ISOLATE_SUCCESS, find_migrateblock, isolate_migratepages
from kevacuate.mm.log import log_event
from kevacuate.mm.migrate import free_isolated, migrate_folio_move, put_source_back
from kevacuate.mm.migrate_batch import try_split_folio
from kevacuate.mm.pcp import drain_pages_zone
from kevacuate.mm.swap import lru_add_drain_cpu
from kevacuate.mm.watermark import wmark_pages, zone_watermark_ok_free


@part
def set_scanners(s: View, z: int, cc: CompactControl) -> None:
    """Where the scanners start: at the zone's ends, or where they stopped (:2597)."""
    zone = s.zone[z]
    start, end = zone.zone_start_pfn, zone.zone_end_pfn
    migrate, free = start, pageblock_start_pfn(s, end - 1)
    if not cc.whole_zone:
        last = free
        synchronous = 0 if cc.mode == k.MIGRATE_ASYNC else 1
        migrate, free = zone.compact_cached_migrate_pfn[synchronous], zone.compact_cached_free_pfn
        if free < start or free >= end:
            free = last
            zone.compact_cached_free_pfn = free
        if migrate < start or migrate >= end:
            migrate = start
            zone.compact_cached_migrate_pfn[0] = zone.compact_cached_migrate_pfn[1] = start
        if migrate <= zone.compact_init_migrate_pfn:
            cc.whole_zone = 1
    cc.migrate_pfn = migrate
    cc.free_pfn = free


@part
def compact_zone_set(s: View, z: int, cc: CompactControl, cpu: int) -> None:
    """compact_zone up to its loop, for every kind of compaction (:2564)."""
    cc.last_migrated_pfn = cc.fast_start_pfn = cc.finish_pageblock = 0
    cc.nr_freepages = cc.nr_migratepages = cc.left = cc.nr_parts = 0
    cc.total_migrate_scanned = cc.total_free_scanned = 0
    if compaction_restarting(s, z, cc.order):
        reset_isolation_suitable_zone(s, z)
    set_scanners(s, z, cc)
    s.stat.compactions += 1
    kind = 1 + cc.mode if cc.direct_compaction else 0
    log_event(s, k.L_COMPACT_BEGIN, cc.migrate_pfn, cc.free_pfn, cc.order, z, kind)
    lru_add_drain_cpu(s, cpu)


@part(cold=True)
def compact_zone_begin(s: View, z: int, cc: CompactControl, cpu: int) -> None:
    """compact_zone up to its loop, as kcompactd calls it with its own compact_control.

    What that has learnt in one zone it takes to the next: fast_search_fail, search_order, whole_zone. In an open loop, as it was
    first modelled, it forgets that.
    """
    if s.cfg.open_loop:
        cc.fast_search_fail = 0
        cc.search_order = cc.order
        cc.whole_zone = cc.proactive_compaction
    compact_zone_set(s, z, cc, cpu)


@part(cold=True)
def compact_zone_end(s: View, z: int, cc: CompactControl, cpu: int, result: int) -> None:
    """What follows compact_zone's loop (:2766): unused destinations are freed, the counters are kept."""
    log_event(s, k.L_COMPACT_END, cc.migrate_pfn, cc.free_pfn, cc.order, result, z)
    if cc.nr_freepages > 0:
        raise_cached_free_pfn(s, z, release_free_list(s, z, cc, cpu))
    s.stat.compact_migrate_scanned += cc.total_migrate_scanned
    s.stat.compact_free_scanned += cc.total_free_scanned


@part
def compact_scanners_met(s: View, cc: CompactControl) -> bool:
    """Whether the free scanner has come down to the migrate scanner's block."""
    return pageblock_start_pfn(s, cc.free_pfn) <= pageblock_start_pfn(s, cc.migrate_pfn)


@part(cold=True)
def compact_finished(s: View, z: int, cc: CompactControl, kswapd_runs: bool, wanted_score: int) -> int:
    """Whether the compaction is over, and how (:2282); COMPACT_CONTINUE if it is not."""
    zone = s.zone[z]
    if compact_scanners_met(s, cc):
        start = zone.zone_start_pfn
        zone.compact_cached_migrate_pfn[0] = zone.compact_cached_migrate_pfn[1] = start
        zone.compact_cached_free_pfn = pageblock_start_pfn(s, zone.zone_end_pfn - 1)
        if cc.direct_compaction:
            zone.compact_blockskip_flush = 1
        return k.COMPACT_COMPLETE if cc.whole_zone else k.COMPACT_PARTIAL_SKIPPED
    if cc.proactive_compaction:
        if kswapd_runs:
            return k.COMPACT_PARTIAL_SKIPPED
        score = extfrag_for_order(s, z, s.cfg.compaction_hpage_order)
        return k.COMPACT_CONTINUE if score > wanted_score else k.COMPACT_SUCCESS
    if cc.migrate_pfn != pageblock_start_pfn(s, cc.migrate_pfn):
        return k.COMPACT_CONTINUE
    if s.cfg.defrag_mode and not cc.direct_compaction:
        mark, free = wmark_pages(s, z, k.WMARK_HIGH), zone.nr_free_pages_blocks
        met = zone_watermark_ok_free(s, z, cc.order, mark, cc.highest_zoneidx, 0, free)
        return k.COMPACT_SUCCESS if met else k.COMPACT_CONTINUE
    return k.COMPACT_SUCCESS if suitable_page_is_free(s, z, cc.order, cc.migratetype) else k.COMPACT_CONTINUE


@part
def suitable_page_is_free(s: View, z: int, order: int, mt: int) -> bool:
    """Whether a request of *mt* would find a chunk of *order*: of its type, if movable CMA's, or in a block to claim (:2356)."""
    for o in range(order, s.cfg.max_page_order + 1):
        head = free_list(s, z, o, mt)
        cma = free_list(s, z, o, k.MIGRATE_CMA)
        if s.link[2 * head] != head or (mt == k.MIGRATE_MOVABLE and s.link[2 * cma] != cma):
            return True
        if find_suitable_fallback(s, z, o, mt, True) >= 0:
            return True
    return False


NO_TARGET = -1
"""The destination of a folio that has none,"""
UNTRIED = -2
"""or for which none was looked for, as they had run out."""
SPLIT = -1
"""Where a source was that has been split."""


@part
def target_for(s: View, z: int, cc: CompactControl, i: int) -> int:
    """A destination for source *i*; NO_TARGET if it cannot be moved. A large folio for which there is none is split.

    Destinations have run out when there is none for a single page, or for a folio that cannot be split.
    """
    pfn = s.folios[cc.sources + i]
    order = s.meta[pfn] & 15
    if s.link[2 * pfn + 1] & k.ATTR_FREED:
        return NO_TARGET
    dst = compaction_alloc(s, z, cc, order)
    if dst >= 0 and s.link[2 * pfn + 1] & k.ATTR_BUSY:
        compaction_free(s, z, cc, dst, order)
        return NO_TARGET
    if dst < 0 and s.cfg.open_loop == 0 and try_split_folio(s, cc, pfn, cc.mode):
        s.folios[cc.sources + i] = SPLIT
    elif dst < 0 and (order == 0 or s.cfg.open_loop == 0):
        cc.enomem = 1
    return dst


@part
def find_targets(s: View, z: int, cc: CompactControl) -> None:
    """A destination for every source, last isolated first; what is left of the sources is what was not split."""
    cc.enomem = 0
    for i in range(cc.nr_folios - 1, -1, -1):
        s.folios[cc.targets + i] = UNTRIED if cc.enomem else target_for(s, z, cc, i)
    left = 0
    for i in range(cc.nr_folios):
        pfn = s.folios[cc.sources + i]
        if pfn != SPLIT:
            s.folios[cc.sources + left] = pfn
            s.folios[cc.targets + left] = s.folios[cc.targets + i]
            left += 1
    cc.left = left


@part
def put_back_failed(s: View, cc: CompactControl, cpu: int, pfn: int, tried: bool) -> None:
    """A folio of this batch has failed; its pages count as such if it was *tried*, in an open loop in any case."""
    cc.failed += 1
    if tried or s.cfg.open_loop:
        cc.failed_pages += 1 << (s.meta[pfn] & 15)
    put_source_back(s, cpu, pfn)


@part
def move_source(s: View, z: int, cc: CompactControl, cpu: int, pfn: int, dst: int) -> int:
    """Move one folio, or put it back. Returns the pages moved; one freed meanwhile counts as moved."""
    order = s.meta[pfn] & 15
    attr = s.link[2 * pfn + 1] + 0
    if attr & k.ATTR_FREED:
        free_isolated(s, cpu, pfn)
    elif dst >= 0 and not attr & k.ATTR_PINNED and s.meta[dst] & 15 == order:
        migrate_folio_move(s, cpu, pfn, dst, order)
        return 1 << order
    else:
        put_back_failed(s, cc, cpu, pfn, dst != UNTRIED)
    if dst >= 0:
        compaction_free(s, z, cc, dst, s.meta[dst] & 15)
    return 0


@part(cold=True)
def compact_folios_move(s: View, z: int, cc: CompactControl, cpu: int) -> bool:
    """The move phase, as far as one step goes (mm/migrate.c:1760): COMPACT_CLUSTER_MAX pages. False once all are done.

    The kernel can be preempted after each page, and a block's worth takes tens of milliseconds: what is free of it already
    may be taken, or claimed, before the rest is.
    """
    sources, targets = cc.sources, cc.targets
    moved = 0
    left = cc.left
    while left > 0 and moved < k.COMPACT_CLUSTER_MAX:
        left -= 1
        moved += move_source(s, z, cc, cpu, s.folios[sources + left], s.folios[targets + left])
    cc.left = left
    cc.cost += moved * s.cfg.migrate_ns
    s.stat.compact_migrated += moved
    s.stat.pgmigrate_success += moved
    return left > 0


@part
def begin_parts(s: View, z: int, cc: CompactControl, cpu: int) -> bool:
    """The pages of split folios are the next to be moved; False if there are none, or no destinations: then they are put back.

    Like the folio that was split they are of this batch, though it does not end for want of theirs (mm/migrate.c:2161).
    """
    waiting = cc.nr_parts
    cc.nr_parts = 0
    if waiting == 0:
        return False
    cc.batch_folios += waiting - cc.nr_split
    if cc.enomem:
        for i in range(waiting):
            put_back_failed(s, cc, cpu, s.folios[cc.parts + i], False)
        return False
    for i in range(waiting):
        s.folios[cc.sources + waiting - 1 - i] = s.folios[cc.parts + i]
    cc.nr_folios = waiting
    find_targets(s, z, cc)
    cc.enomem = 0
    return True


@part(cold=True)
def compact_folios_unmap(s: View, z: int, cc: CompactControl, cpu: int) -> None:
    """The unmap phase of migrate_pages (mm/migrate.c:1805). If all sources are split, their pages are next at once."""
    cc.batch_folios = cc.nr_folios
    cc.failed = cc.failed_pages = cc.nr_split = cc.split_pages = 0
    find_targets(s, z, cc)
    if cc.left == 0:
        begin_parts(s, z, cc, cpu)


@part
def after_migration(s: View, cc: CompactControl, failed: int, enomem: int) -> tuple[int, bool]:
    """What compact_zone does when *failed* folios are left (:2712). Returns (COMPACT_*, whether to rescan the block)."""
    cc.nr_migratepages = 0
    if failed == 0 and (enomem == 0 or cc.as_first):  # what had no destination may have been freed meanwhile
        return k.COMPACT_CONTINUE, False
    if enomem and not compact_scanners_met(s, cc):
        return k.COMPACT_CONTENDED, False
    inside = cc.migrate_pfn != pageblock_start_pfn(s, cc.migrate_pfn)
    if not inside or cc.ignore_skip_hint or cc.finish_pageblock or cc.mode == k.MIGRATE_SYNC:
        return k.COMPACT_CONTINUE, False
    cc.finish_pageblock = 1
    if cc.order == s.cfg.compaction_hpage_order:
        cc.last_migrated_pfn = 0
    return k.COMPACT_CONTINUE, True


@part
def batch_over(s: View, z: int, cc: CompactControl) -> tuple[int, bool]:
    """A batch of kcompactd's is moved: count it. Returns what :func:`after_migration` does."""
    failed = cc.failed
    s.stat.compact_failed += failed
    s.stat.pgmigrate_fail += cc.failed_pages
    log_event(s, k.L_COMPACT_MIGRATE, cc.migrate_pfn, cc.batch_folios - failed, failed, cc.enomem, 0)
    return after_migration(s, cc, failed, cc.enomem)


@part
def isolate_batch(s: View, z: int, cc: CompactControl, cpu: int) -> int:
    """Isolate the next batch, and remember from which block it is. Returns ISOLATE_*."""
    return isolate_batch_from(s, z, cc, cpu, find_migrateblock(s, z, cc))


@part
def isolate_batch_from(s: View, z: int, cc: CompactControl, cpu: int, pfn: int) -> int:
    """The batch of the next block from *pfn* on."""
    isolated = isolate_migratepages(s, z, cc, cpu, pfn)
    if isolated == ISOLATE_SUCCESS:
        last = pageblock_start_pfn(s, cc.migrate_pfn - 1)
        cc.last_migrated_pfn = max(s.zone[z].zone_start_pfn, last)
    return isolated


@part
def begin_batch(s: View, z: int, cc: CompactControl, cpu: int) -> None:
    """Isolate the next batch and find its destinations; nothing left to move if there is none."""
    cc.left = 0
    if isolate_batch(s, z, cc, cpu) == ISOLATE_SUCCESS:
        compact_folios_unmap(s, z, cc, cpu)


@part
def begin_round(s: View, cc: CompactControl) -> None:
    """Whether this round of the loop takes the rest of the block: it is the one that was migrated from last (:2655)."""
    same = pageblock_start_pfn(s, cc.last_migrated_pfn) == pageblock_start_pfn(s, cc.migrate_pfn)
    cc.finish_pageblock = 1 if same else 0


@part
def raise_cached_free_pfn(s: View, z: int, highest: int) -> None:
    """The highest page given back lets the next run's free scanner start as high (:2780)."""
    zone = s.zone[z]
    zone.compact_cached_free_pfn = max(zone.compact_cached_free_pfn, pageblock_start_pfn(s, highest))


@part
def check_drain(s: View, z: int, cc: CompactControl, cpu: int) -> None:
    """Drain this CPU once the scanner has left an aligned chunk of the wanted order behind (:2755)."""
    order = cc.order
    last = cc.last_migrated_pfn
    if order > 0 and last and last < (cc.migrate_pfn >> order) << order:
        lru_add_drain_cpu(s, cpu)
        drain_pages_zone(s, z, cpu)
        cc.last_migrated_pfn = 0


@part(cold=True)
def compact_zone_turn(
    s: View, z: int, cc: CompactControl, cpu: int, kswapd_runs: bool, wanted_score: int
) -> int:
    """A step of compact_zone's loop (:2640). Returns COMPACT_CONTINUE, or how it ended."""
    result = k.COMPACT_CONTINUE
    if cc.left > 0:
        if compact_folios_move(s, z, cc, cpu) or begin_parts(s, z, cc, cpu):
            return result
        result, again = batch_over(s, z, cc)
        if again:
            begin_batch(s, z, cc, cpu)
            if cc.left > 0:
                return result
        if result == k.COMPACT_CONTINUE:
            check_drain(s, z, cc, cpu)
            return result
    if result == k.COMPACT_CONTINUE:
        result = compact_finished(s, z, cc, kswapd_runs, wanted_score)
    if result == k.COMPACT_CONTINUE:
        begin_round(s, cc)
        begin_batch(s, z, cc, cpu)
        if cc.left == 0:
            check_drain(s, z, cc, cpu)
        return result
    compact_zone_end(s, z, cc, cpu, result)
    s.stat.compact_daemon_migrate_scanned += cc.total_migrate_scanned
    s.stat.compact_daemon_free_scanned += cc.total_free_scanned
    return result
