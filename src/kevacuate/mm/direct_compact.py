# SPDX-License-Identifier: GPL-2.0-or-later
"""Direct compaction: a request compacts for itself, at one moment of virtual time (mm/compaction.c, mm/page_alloc.c, 7.2).

Approximate: the task that asks is taken to be no kernel thread (those capture nothing) unless it is an evacuation's worker, and
never to be rescheduled or killed meanwhile. Its time is counted (``direct_compact_ns``), it does not pass.
"""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm import constants as k
from kevacuate.mm.buddy import page_zone
from kevacuate.mm.compact_migrate import migrate_pages
from kevacuate.mm.compact_suitable import (
    compaction_defer_reset,
    compaction_deferred,
    compaction_suitable_free,
    defer_compaction,
    direct_compaction_suits,
)
from kevacuate.mm.compact_zone import (
    after_migration,
    begin_round,
    check_drain,
    compact_finished,
    compact_zone_end,
    compact_zone_set,
    isolate_batch,
)
from kevacuate.mm.fields import CompactControl, View
from kevacuate.mm.get_page import (
    first_zones_zonelist,
    get_page_from_freelist,
    gfp_zone,
    zonelist_length,
)
from kevacuate.mm.isolate_migratepages import (
    ISOLATE_ABORT,
    ISOLATE_NONE,
    putback_isolated,
)
from kevacuate.mm.log import log_event
from kevacuate.mm.lruvec import zone_reclaimable_pages
from kevacuate.mm.watermark import wmark_pages


@part
def gfp_compaction_allowed(s: View, gfp: int) -> bool:
    """Whether the kernel has compaction and the request may start I/O (include/linux/gfp.h)."""
    return s.cfg.compaction != 0 and gfp & k.GFP_IO != 0


@part
def migrate_batch(s: View, z: int, cc: CompactControl, cpu: int) -> tuple[int, bool]:
    """Move what was isolated (:2702). Returns (COMPACT_CONTINUE or COMPACT_CONTENDED, whether to scan the rest of the block)."""
    result = migrate_pages(s, z, cc, cpu)
    failed = cc.nr_failures
    folios = cc.nr_folios + cc.split_pages - cc.nr_split
    enomem = 1 if result < 0 else 0
    log_event(s, k.L_COMPACT_MIGRATE, cc.migrate_pfn, folios - failed, failed, enomem, 0)
    return after_migration(s, cc, result, enomem)


@part
def cached_join(s: View, z: int, cc: CompactControl) -> bool:
    """Whether the cached positions of both modes move together until something is isolated (:2632)."""
    cached = s.zone[z].compact_cached_migrate_pfn
    return cc.mode == k.MIGRATE_ASYNC and cached[0] == cached[1]


@part
def join_cached(s: View, z: int, update_cached: bool) -> None:
    """Nothing was isolated: synchronous compaction's cached position follows the asynchronous one (:2685)."""
    if update_cached:
        cached = s.zone[z].compact_cached_migrate_pfn
        cached[1] = cached[0]


@part
def compact_block(s: View, z: int, cc: CompactControl, cpu: int, update_cached: bool) -> tuple[int, bool]:
    """A round of compact_zone's loop (:2651). Returns (COMPACT_CONTINUE or how it ends, whether cached positions still agree)."""
    again = True
    while again:
        isolated = isolate_batch(s, z, cc, cpu)
        if isolated == ISOLATE_ABORT:
            putback_isolated(s, cc, cpu)
            return k.COMPACT_CONTENDED, update_cached
        if isolated == ISOLATE_NONE:
            join_cached(s, z, update_cached)
            break
        update_cached = False
        result, again = migrate_batch(s, z, cc, cpu)
        if result != k.COMPACT_CONTINUE:
            return result, update_cached
        if not again and s.stat.captured_pfn >= 0:
            return k.COMPACT_SUCCESS, update_cached
    check_drain(s, z, cc, cpu)
    return k.COMPACT_CONTINUE, update_cached


@part(cold=True)
def compact_zone(s: View, z: int, cc: CompactControl, cpu: int) -> int:
    """compact_zone for a direct compaction that the zone suits (:2564): how it ended."""
    compact_zone_set(s, z, cc, cpu)
    update_cached = cached_join(s, z, cc)
    result = compact_finished(s, z, cc, False, 0)
    while result == k.COMPACT_CONTINUE:
        begin_round(s, cc)
        result, update_cached = compact_block(s, z, cc, cpu, update_cached)
        if result == k.COMPACT_CONTINUE:
            result = compact_finished(s, z, cc, False, 0)
    compact_zone_end(s, z, cc, cpu, result)
    cc.cost += (cc.total_migrate_scanned + cc.total_free_scanned) * s.cfg.scan_ns
    return result


@part
def set_direct_control(
    cc: CompactControl, order: int, mt: int, alloc_flags: int, gfp: int, priority: int
) -> None:
    """Set a compact_control as compact_zone_order does (:2802)."""
    full = priority == k.COMPACT_PRIO_SYNC_FULL
    cc.order = cc.search_order = order
    cc.mode = k.MIGRATE_ASYNC if priority == k.COMPACT_PRIO_ASYNC else k.MIGRATE_SYNC_LIGHT
    cc.migratetype = mt
    cc.alloc_flags = alloc_flags
    cc.gfp_mask = gfp
    cc.highest_zoneidx = gfp_zone(gfp)
    cc.whole_zone = cc.ignore_skip_hint = cc.ignore_block_suitable = 1 if full else 0
    cc.fast_search_fail = 0


@part
def direct_compacted(s: View, z: int, order: int, priority: int, status: int) -> None:
    """What try_to_compact_pages makes of a zone's result (:2869): deferral is reset, or begins if sync and in vain."""
    if status == k.COMPACT_SUCCESS:
        compaction_defer_reset(s, z, order, False)
        return
    in_vain = status == k.COMPACT_COMPLETE or status == k.COMPACT_PARTIAL_SKIPPED
    if priority != k.COMPACT_PRIO_ASYNC and in_vain:
        defer_compaction(s, z, order)


@part
def direct_compaction_wanted(
    s: View, z: int, order: int, highest_zoneidx: int, alloc_flags: int, priority: int
) -> int:
    """COMPACT_DEFERRED, or what :func:`direct_compaction_suits` says, for a zone of the zonelist."""
    if priority > k.COMPACT_PRIO_SYNC_FULL and compaction_deferred(s, z, order):
        return k.COMPACT_DEFERRED
    asynchronous = priority == k.COMPACT_PRIO_ASYNC
    return direct_compaction_suits(s, z, order, highest_zoneidx, alloc_flags, asynchronous)


@part(cold=True)
def try_to_compact_pages(
    s: View, cpu: int, order: int, mt: int, alloc_flags: int, node: int, gfp: int, priority: int
) -> int:
    """Compact the zonelist's zones until one has, or may have, the chunk (:2836). Returns the furthest COMPACT_*."""
    rc = k.COMPACT_SKIPPED
    if not gfp_compaction_allowed(s, gfp):
        return rc
    highest_zoneidx = gfp_zone(gfp)
    zonelist = s.node[node].zonelist
    for i in range(first_zones_zonelist(s, node, highest_zoneidx), zonelist_length(s, node, gfp)):
        z = zonelist[i]
        if s.zone[z].index > highest_zoneidx:
            continue
        status = direct_compaction_wanted(s, z, order, highest_zoneidx, alloc_flags, priority)
        if status == k.COMPACT_DEFERRED:
            rc = max(status, rc)
            continue
        if status == k.COMPACT_CONTINUE:
            s.stat.capture_zone = z
            cc = s.cc[s.cfg.nr_nodes]
            set_direct_control(cc, order, mt, alloc_flags, gfp, priority)
            cc.zone = z
            status = compact_zone(s, z, cc, cpu)
            s.stat.capture_zone = -1
        if s.stat.captured_pfn >= 0:
            status = k.COMPACT_SUCCESS
        rc = max(status, rc)
        direct_compacted(s, z, order, priority, status)
        if status == k.COMPACT_SUCCESS:
            break
    return rc


@part
def compacts_for(s: View, order: int, mt: int, alloc_flags: int) -> int:
    """The order that reclaim and compaction work for: at least a block where fallbacks are not allowed (defrag_mode) (:4178)."""
    if alloc_flags & k.ALLOC_NOFRAGMENT and mt != k.MIGRATE_MOVABLE:
        return max(order, s.cfg.pageblock_order)
    return order


@part
def compact_and_capture(s: View, cpu: int, order: int, mt: int, gfp: int, node: int) -> int:
    """try_to_compact_pages with capture_control (:4180); the page captured, or -1. ``slow.compact_result`` is the COMPACT_*."""
    slow = s.slow
    compact_order = compacts_for(s, order, mt, slow.alloc_flags)
    log_event(s, k.L_DIRECT_COMPACT, -1, compact_order, gfp, slow.compact_priority, node)
    cc = s.cc[s.cfg.nr_nodes]
    cc.cost = 0
    s.stat.capture_order, s.stat.capture_mt = -1 if slow.kthread else order, mt
    result = try_to_compact_pages(
        s, cpu, compact_order, mt, slow.alloc_flags, node, gfp, slow.compact_priority
    )
    pfn = s.stat.captured_pfn
    s.stat.capture_order = s.stat.captured_pfn = -1
    if pfn >= 0:
        result = k.COMPACT_SUCCESS
    slow.compact_result = result
    s.stat.direct_compact[result] += 1
    s.stat.direct_compact_ns += cc.cost
    log_event(s, k.L_DIRECT_COMPACT_END, pfn, compact_order, result, cc.cost, 0)
    return pfn


@part(cold=True)
def alloc_pages_direct_compact(s: View, cpu: int, order: int, mt: int, gfp: int, node: int) -> int:
    """__alloc_pages_direct_compact (:4144): the page, or -1. A request that compacts for no order does nothing."""
    slow = s.slow
    compact_order = compacts_for(s, order, mt, slow.alloc_flags)
    if compact_order == 0:
        return -1
    pfn = compact_and_capture(s, cpu, order, mt, gfp, node)
    if slow.compact_result == k.COMPACT_SKIPPED or slow.compact_result == k.COMPACT_DEFERRED:
        return -1
    s.stat.compact_stall += 1
    if pfn < 0:
        pfn = get_page_from_freelist(s, cpu, order, mt, slow.alloc_flags, node, gfp)
    if pfn >= 0:
        z = page_zone(s, pfn)
        s.zone[z].compact_blockskip_flush = 0
        compaction_defer_reset(s, z, compact_order, True)
        s.stat.compact_success += 1
    else:
        s.stat.compact_fail += 1
    return pfn


@part(cold=True)
def compaction_zonelist_suitable(s: View, order: int, gfp: int, node: int) -> bool:
    """Whether a zone could be compacted if some of its reclaimable pages were free (:2481)."""
    highest_zoneidx = gfp_zone(gfp)
    zonelist = s.node[node].zonelist
    for i in range(first_zones_zonelist(s, node, highest_zoneidx), zonelist_length(s, node, gfp)):
        z = zonelist[i]
        if s.zone[z].index > highest_zoneidx:
            continue
        available = zone_reclaimable_pages(s, z) // order + s.zone[z].nr_free_pages
        mark = wmark_pages(s, z, k.WMARK_MIN)
        if compaction_suitable_free(s, z, order, mark, highest_zoneidx, available):
            return True
    return False


@part
def should_compact_retry(s: View, order: int, gfp: int, node: int) -> bool:
    """Whether to reclaim and compact again (:4253): after a success that gave no page some times, then with raised priority."""
    slow = s.slow
    if order == 0:
        return False
    if slow.compact_result == k.COMPACT_SKIPPED:
        return compaction_zonelist_suitable(s, order, gfp, node)
    costly = order > k.PAGE_ALLOC_COSTLY_ORDER
    if slow.compact_result == k.COMPACT_SUCCESS:
        slow.compaction_retries += 1
        if slow.compaction_retries <= (k.MAX_COMPACT_RETRIES // 4 if costly else k.MAX_COMPACT_RETRIES):
            return True
    if slow.compact_priority > (k.COMPACT_PRIO_SYNC_LIGHT if costly else k.COMPACT_PRIO_SYNC_FULL):
        slow.compact_priority -= 1
        slow.compaction_retries = 0
        return True
    return False
