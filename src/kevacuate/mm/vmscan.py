# SPDX-License-Identifier: GPL-2.0-or-later
"""Reclaim that a task does itself: direct reclaim, and dropping the clean page cache of an evacuated block (mm/vmscan.c, 7.2)."""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm import constants as k
from kevacuate.mm.compact_suitable import compaction_suitable
from kevacuate.mm.due import next_due
from kevacuate.mm.fields import ScanControl, View, Worker
from kevacuate.mm.get_page import first_zones_zonelist, gfp_zone, zonelist_length
from kevacuate.mm.kswapd import kswapd_step
from kevacuate.mm.log import log_event
from kevacuate.mm.lruvec import zone_reclaimable_pages
from kevacuate.mm.shrink_list import drop_folio, free_unref_folios
from kevacuate.mm.shrink_node import (
    scan_control,
    shrink_lruvec_round,
    shrink_node_begin,
    shrink_node_end,
    snapshot_refaults,
)
from kevacuate.mm.wakeups import wake_kswapd_for_reserves
from kevacuate.mm.watermark import wmark_pages, zone_watermark_ok
from kevacuate.mm.writeback import folio_dirty


@part
def reclaim_clean_pages_from_list(s: View, worker: Worker, cpu: int) -> int:
    """Drop the clean page cache on the worker's private list (:1587). Returns the pages dropped.

    What cannot be dropped (locked, under writeback, pinned) goes to the front of the list, in reverse order.
    """
    kept = 0
    batch = 0
    failed = 0
    dropped = 0
    for i in range(worker.nr_migratepages):
        pfn = worker.migratepages[i]
        attr = s.link[2 * pfn + 1] + 0
        if not attr & k.ATTR_FILE or attr & k.ATTR_MOVABLE_OPS or folio_dirty(s, pfn, attr):
            worker.migratepages[kept] = pfn
            kept += 1
        elif attr & k.ATTR_FREED == 0 and attr & (k.ATTR_BUSY | k.ATTR_WRITEBACK | k.ATTR_PINNED):
            worker.failed_folios[failed] = pfn
            failed += 1
        else:
            dropped += 1 << (s.meta[pfn] & 15)
            drop_folio(s, pfn)
            worker.unmapped[batch] = pfn
            batch += 1
            if batch == k.FOLIO_BATCH_SIZE:
                free_unref_folios(s, cpu, worker.unmapped, batch)
                batch = 0
    free_unref_folios(s, cpu, worker.unmapped, batch)
    for i in range(kept - 1, -1, -1):
        worker.migratepages[failed + i] = worker.migratepages[i]
    for i in range(failed):
        worker.migratepages[i] = worker.failed_folios[failed - 1 - i]
    worker.nr_migratepages = kept + failed
    return dropped


@part
def compaction_ready(s: View, sc: ScanControl, z: int) -> bool:
    """Whether a zone has enough free for a costly request to compact it, or to succeed at once (:6255)."""
    if not sc.gfp_mask & k.GFP_IO:
        return False
    if zone_watermark_ok(s, z, sc.order, wmark_pages(s, z, k.WMARK_MIN), sc.reclaim_idx, 0):
        return True
    return compaction_suitable(s, z, sc.order, wmark_pages(s, z, k.WMARK_HIGH), sc.reclaim_idx)


@part
def kswapd_begins_meanwhile(s: View, sc: ScanControl, node: int) -> None:
    """kswapd, woken before, begins as it would while this reclaim takes its time: from then on per-CPU lists are kept short.

    It gets its first round; the others come when the request is done.
    """
    pgdat = s.node[node]
    if pgdat.kswapd_state == k.KSWAPD_WOKEN and pgdat.kswapd_due <= s.stat.now + sc.cost * s.cfg.time_scale:
        cpu = s.stat.cpu
        s.stat.cpu = pgdat.cpu
        kswapd_step(s, node)
        s.stat.cpu = cpu
        s.stat.next_due, _ = next_due(s)


@part(cold=True)
def shrink_node(s: View, sc: ScanControl, node: int, cpu: int) -> None:
    """All of it, in one moment of virtual time (:6137)."""
    sc.reclaimable = 0
    shrink_node_begin(s, sc, node)
    again = True
    while again:
        while shrink_lruvec_round(s, sc, node, cpu) >= 0:
            kswapd_begins_meanwhile(s, sc, node)
        again = shrink_node_end(s, sc, node)


@part(cold=True)
def shrink_zones(s: View, sc: ScanControl, node: int, cpu: int) -> None:
    """Shrink each node of *node*'s zonelist once, but zones that a costly request can compact already (:6322)."""
    zonelist = s.node[node].zonelist
    last = -1
    for i in range(first_zones_zonelist(s, node, sc.reclaim_idx), zonelist_length(s, node, sc.gfp_mask)):
        z = zonelist[i]
        zone = s.zone[z]
        if zone.index > sc.reclaim_idx:
            continue
        if sc.order > k.PAGE_ALLOC_COSTLY_ORDER and compaction_ready(s, sc, z):
            sc.compaction_ready = 1
        elif zone.node != last:
            last = zone.node
            shrink_node(s, sc, last, cpu)


@part
def reclaim_by_priority(s: View, sc: ScanControl, node: int, cpu: int) -> None:
    """do_try_to_free_pages' loop: ever larger shares of the lists, until enough is reclaimed or can be compacted (:6445)."""
    sc.priority = k.DEF_PRIORITY
    s.stat.allocstall += 1
    s.stat.allocstall_zone[sc.reclaim_idx] += 1
    while sc.priority >= 0:
        sc.nr_scanned = 0
        shrink_zones(s, sc, node, cpu)
        if sc.nr_reclaimed >= sc.nr_to_reclaim or sc.compaction_ready:
            break
        sc.priority -= 1
    zonelist = s.node[node].zonelist
    for i in range(first_zones_zonelist(s, node, sc.reclaim_idx), zonelist_length(s, node, sc.gfp_mask)):
        zone = s.zone[zonelist[i]]
        if zone.index <= sc.reclaim_idx:
            snapshot_refaults(s, zone.node)


@part(cold=True)
def do_try_to_free_pages(s: View, sc: ScanControl, node: int, cpu: int) -> int:
    """Reclaim SWAP_CLUSTER_MAX pages; 0 if nothing can be reclaimed, 1 if the request had better compact (:6445).

    What reclaimed nothing is done once more (a full walk of the memory cgroups, of which there is one), and once more with
    deactivation forced, if active pages were spared. Each of them is an allocstall.
    """
    for _ in range(2):
        reclaim_by_priority(s, sc, node, cpu)
        if sc.nr_reclaimed:
            return sc.nr_reclaimed
        if sc.compaction_ready:
            return 1
    if not sc.skipped_deactivate:
        return 0
    sc.force_deactivate = 1
    reclaim_by_priority(s, sc, node, cpu)
    return sc.nr_reclaimed if sc.nr_reclaimed else sc.compaction_ready


@part
def allow_direct_reclaim(s: View, node: int) -> bool:
    """Whether half of the MIN marks is still free, so that a task may reclaim rather than wait for kswapd (:6542)."""
    pgdat = s.node[node]
    if pgdat.kswapd_failures >= k.MAX_RECLAIM_RETRIES:
        return True
    reserve = 0
    free = 0
    for z in range(s.cfg.nr_zones):
        zone = s.zone[z]
        if zone.node != node or zone.index > k.ZONE_NORMAL or zone.managed_pages == 0:
            continue
        if zone_reclaimable_pages(s, z) == 0 and zone.nr_free_pages:
            continue
        reserve += wmark_pages(s, z, k.WMARK_MIN)
        free += zone.nr_free_pages
    return reserve == 0 or free > reserve // 2


@part
def throttle_direct_reclaim(s: View, node: int, gfp: int) -> None:
    """Count a task that would wait for kswapd, and wake that (:6587). Approximate: the task does not wait."""
    zonelist = s.node[node].zonelist
    for i in range(first_zones_zonelist(s, node, gfp_zone(gfp)), zonelist_length(s, node, gfp)):
        zone = s.zone[zonelist[i]]
        if zone.index > min(gfp_zone(gfp), k.ZONE_NORMAL):
            continue
        if not allow_direct_reclaim(s, zone.node):
            s.stat.pgscan_direct_throttle += 1
            wake_kswapd_for_reserves(s, zone.node)
        return


@part(cold=True)
def try_to_free_pages(s: View, cpu: int, node: int, order: int, gfp: int) -> int:
    """Direct reclaim for a request that its slow path cannot serve (:6667); the pages reclaimed, 0 if there are none to reclaim.

    What it costs the caller is counted in ``stat.reclaim_stall_ns``. Where kswapd shares the caller's CPU, the task is late by
    that afterwards, and kswapd has its turns. The reclaim itself is one moment of virtual time.
    """
    if s.cfg.open_loop:
        return 0
    throttle_direct_reclaim(s, node, gfp)
    sc = s.sc[s.cfg.nr_nodes]
    scan_control(sc, order, gfp, gfp_zone(gfp))
    s.stat.direct_reclaims += 1
    reclaimed = do_try_to_free_pages(s, sc, node, cpu)
    s.stat.reclaim_stall_ns += sc.cost
    if s.cfg.kswapd_slice_ns:
        s.stat.late += sc.cost * s.cfg.time_scale
    log_event(s, k.L_DIRECT_RECLAIM, -1, node, order, sc.nr_reclaimed, sc.scanned)
    return reclaimed
