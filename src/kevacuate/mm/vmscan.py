# SPDX-License-Identifier: GPL-2.0-or-later
"""What of mm/vmscan.c (7.2) an open-loop replay needs: dropping clean page cache, and kswapd's bookkeeping."""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm import constants as k
from kevacuate.mm.buddy import page_zone
from kevacuate.mm.fields import Node, View, Worker
from kevacuate.mm.log import log_event
from kevacuate.mm.page_free import free_frozen_pages
from kevacuate.mm.pcp import pcp_allowed_order
from kevacuate.mm.wakeups import wakeup_kcompactd
from kevacuate.mm.watermark import pgdat_balanced
from kevacuate.records import Words


@part
def drop_folio(s: View, pfn: int) -> None:
    """Take an isolated clean folio from its owner: the object's pfn becomes -2 (dropped by the model)."""
    attr = s.link[2 * pfn + 1] + 0
    obj = s.link[2 * pfn] + 0
    if obj >= 0 and not attr & k.ATTR_FREED:
        s.obj[obj] = -2
    if attr & k.ATTR_LRU:
        s.zone[page_zone(s, pfn)].nr_isolated -= 1 << (s.meta[pfn] & 15)


@part
def free_unref_folios(s: View, cpu: int, folios: Words, count: int) -> None:
    """Free a batch: the first *count* of *folios* (page_alloc.c:3001).

    Pass 1 frees the orders that the per-CPU lists do not take, pass 2 commits the others.
    """
    for i in range(count):
        pfn = folios[i]
        order = s.meta[pfn] & 15
        if not pcp_allowed_order(s, order):
            free_frozen_pages(s, cpu, pfn, order)
            folios[i] = -1
    for i in range(count):
        pfn = folios[i]
        if pfn >= 0:
            free_frozen_pages(s, cpu, pfn, s.meta[pfn] & 15)


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
        if not attr & k.ATTR_FILE or attr & (k.ATTR_DIRTY | k.ATTR_MOVABLE_OPS):
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
def node_lru_pages(s: View, node: int) -> int:
    """Pages on the node's LRU lists."""
    pages = 0
    for z in range(s.cfg.nr_zones):
        zone = s.zone[z]
        if zone.node == node:
            pages += zone.nr_lru
    return pages


@part
def reclaim_order(s: View, node: int, order: int, highest_zoneidx: int, boosted: bool) -> int:
    """The order at which balance_pgdat finishes: 0 once compact_gap(order) pages are reclaimed (kswapd_shrink_node, :6982).

    Approximate, as nothing is reclaimed here: kswapd is taken to reclaim the gap wherever it has a reason to reclaim and the node
    has as many pages on its LRU lists.
    """
    if order == 0 or (not boosted and pgdat_balanced(s, node, order, highest_zoneidx)):
        return order
    return 0 if node_lru_pages(s, node) >= min(2 << order, k.SWAP_CLUSTER_MAX) else order


@part
def kswapd_begin(s: View, node: int, pgdat: Node) -> None:
    """balance_pgdat begins for the order asked for: RECLAIM_ACTIVE is set and boosts are noted in zones up to the index asked."""
    order = pgdat.kswapd_order
    highest_zoneidx = (
        pgdat.kswapd_highest_zoneidx
        if pgdat.kswapd_highest_zoneidx >= 0
        else pgdat.kswapd_run_highest_zoneidx
    )
    pgdat.kswapd_order = 0
    pgdat.kswapd_highest_zoneidx = -1
    pgdat.kswapd_alloc_order = order
    pgdat.kswapd_run_highest_zoneidx = highest_zoneidx
    boosted = False
    for z in range(s.cfg.nr_zones):
        zone = s.zone[z]
        if zone.node == node and zone.index <= highest_zoneidx:
            zone.reclaim_active = 1
            zone.boost_seen = zone.watermark_boost
            boosted = boosted or zone.watermark_boost != 0
    pgdat.kswapd_reclaim_order = reclaim_order(s, node, order, highest_zoneidx, boosted)
    pgdat.kswapd_state = k.KSWAPD_RUNNING
    pgdat.kswapd_due = s.stat.now + s.cfg.kswapd_run


@part
def give_boosts_back(s: View, node: int, highest_zoneidx: int) -> bool:
    """balance_pgdat ends (:7235): the boosts noted are given back. Returns whether there were any."""
    boosted = False
    for z in range(s.cfg.nr_zones):
        zone = s.zone[z]
        if zone.node == node and zone.index <= highest_zoneidx:
            zone.reclaim_active = 0
            boosted = boosted or zone.boost_seen != 0
            zone.watermark_boost -= min(zone.watermark_boost, zone.boost_seen)
            zone.boost_seen = 0
    return boosted


@part
def kswapd_try_to_sleep(s: View, node: int, pgdat: Node) -> None:
    """Sleep, if the node is balanced for the order that the run finished at; kcompactd is woken for the order asked for (:7289).

    A run that finished at its own order forgets it: what was asked for meanwhile stands in its place, and if that is a larger
    order which lacks pages, the next run begins at once. Approximate: for want of order-0 pages no run begins at once, as none
    reclaims any here; the next request that finds too few does that. The short sleep (HZ/10) after which kswapd looks again is
    left out: it sleeps at once until it is woken.
    """
    alloc_order, order, highest_zoneidx = (
        pgdat.kswapd_alloc_order,
        pgdat.kswapd_reclaim_order,
        pgdat.kswapd_run_highest_zoneidx,
    )
    pgdat.kswapd_state = k.KSWAPD_IDLE
    pgdat.kswapd_due = k.NEVER
    if order >= alloc_order:
        alloc_order = order = pgdat.kswapd_order
        highest_zoneidx = (
            pgdat.kswapd_highest_zoneidx if pgdat.kswapd_highest_zoneidx >= 0 else highest_zoneidx
        )
    if pgdat_balanced(s, node, order, highest_zoneidx):
        wakeup_kcompactd(s, node, alloc_order, highest_zoneidx)
    elif order > 0:
        pgdat.kswapd_state = k.KSWAPD_WOKEN
        pgdat.kswapd_due = s.stat.now


@part
def kswapd_step(s: View, node: int) -> None:
    """What kswapd does at its due time: balance_pgdat begins, or ends after its time and kswapd goes to sleep (:7055).

    It reclaims nothing here. A run that gave back a boost wakes kcompactd for a pageblock.
    """
    pgdat = s.node[node]
    begins = pgdat.kswapd_state == k.KSWAPD_WOKEN
    if begins:
        kswapd_begin(s, node, pgdat)
    else:
        highest_zoneidx = pgdat.kswapd_run_highest_zoneidx
        if give_boosts_back(s, node, highest_zoneidx):
            wakeup_kcompactd(s, node, s.cfg.pageblock_order, highest_zoneidx)
        kswapd_try_to_sleep(s, node, pgdat)
    log_event(s, k.L_KSWAPD, -1, node, 2 if begins else 3, 0, 0)
