# SPDX-License-Identifier: GPL-2.0-or-later
"""What of mm/vmscan.c (7.2) an open-loop replay needs: dropping clean page cache, and kswapd's bookkeeping."""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm.buddy import page_zone
from kevacuate.mm.constants import (
    ATTR_BUSY,
    ATTR_DIRTY,
    ATTR_FILE,
    ATTR_FREED,
    ATTR_LRU,
    ATTR_MOVABLE_OPS,
    ATTR_PINNED,
    ATTR_WRITEBACK,
    C_KSWAPD_RUN,
    C_NZONES,
    C_OFF_KSWAPD,
    C_PAGEBLOCK_ORDER,
    FOLIO_BATCH_SIZE,
    KS,
    KS_ALLOC_ORDER,
    KS_DUE,
    KS_HI,
    KS_ORDER,
    KS_RECLAIM_ORDER,
    KS_RUN_HI,
    KS_STATE,
    KSWAPD_IDLE,
    KSWAPD_RUNNING,
    KSWAPD_WOKEN,
    L_KSWAPD,
    NEVER,
    SWAP_CLUSTER_MAX,
    T_NOW,
    WK_FAILED_LIST,
    WK_LIST,
    WK_NLIST,
    WK_UNMAPPED,
    Z_BOOST,
    Z_BOOST_SEEN,
    Z_INDEX,
    Z_NODE,
    Z_NR_ISOLATED,
    Z_NR_LRU,
    Z_RECLAIM_ACTIVE,
    ZS,
)
from kevacuate.mm.log import log_event
from kevacuate.mm.page_alloc import free_frozen_pages
from kevacuate.mm.pcp import pcp_allowed_order
from kevacuate.mm.wakeups import wakeup_kcompactd
from kevacuate.mm.watermark import pgdat_balanced


@part
def drop_folio(s, pfn):  # type: ignore[no-untyped-def]
    """Take an isolated clean folio from its owner: the object's pfn becomes -2 (dropped by the model)."""
    attr = s.link[2 * pfn + 1] + 0
    obj = s.link[2 * pfn] + 0
    if obj >= 0 and not attr & ATTR_FREED:
        s.obj[obj] = -2
    if attr & ATTR_LRU:
        s.zone[page_zone(s, pfn) * ZS + Z_NR_ISOLATED] -= 1 << (s.meta[pfn] & 15)


@part
def free_unref_folios(s, cpu, first, count):  # type: ignore[no-untyped-def]
    """Free a batch of folios, whose pfns stand in ``work`` from *first* on (page_alloc.c:3001).

    Pass 1 frees the orders that the per-CPU lists do not take, pass 2 commits the others.
    """
    for i in range(count):
        pfn = s.work[first + i]
        order = s.meta[pfn] & 15
        if not pcp_allowed_order(s, order):
            free_frozen_pages(s, cpu, pfn, order)
            s.work[first + i] = -1
    for i in range(count):
        pfn = s.work[first + i]
        if pfn >= 0:
            free_frozen_pages(s, cpu, pfn, s.meta[pfn] & 15)


@part
def reclaim_clean_pages_from_list(s, at, cpu):  # type: ignore[no-untyped-def]
    """Drop the clean page cache on the worker's private list (:1587). Returns the pages dropped.

    What cannot be dropped (locked, under writeback, pinned) goes to the front of the list, in reverse order.
    """
    kept = 0
    batch = 0
    failed = 0
    dropped = 0
    for i in range(s.work[at + WK_NLIST]):
        pfn = s.work[at + WK_LIST + i]
        attr = s.link[2 * pfn + 1] + 0
        if not attr & ATTR_FILE or attr & (ATTR_DIRTY | ATTR_MOVABLE_OPS):
            s.work[at + WK_LIST + kept] = pfn
            kept += 1
        elif attr & ATTR_FREED == 0 and attr & (ATTR_BUSY | ATTR_WRITEBACK | ATTR_PINNED):
            s.work[at + WK_FAILED_LIST + failed] = pfn
            failed += 1
        else:
            dropped += 1 << (s.meta[pfn] & 15)
            drop_folio(s, pfn)
            s.work[at + WK_UNMAPPED + batch] = pfn
            batch += 1
            if batch == FOLIO_BATCH_SIZE:
                free_unref_folios(s, cpu, at + WK_UNMAPPED, batch)
                batch = 0
    free_unref_folios(s, cpu, at + WK_UNMAPPED, batch)
    for i in range(kept - 1, -1, -1):
        s.work[at + WK_LIST + failed + i] = s.work[at + WK_LIST + i]
    for i in range(failed):
        s.work[at + WK_LIST + i] = s.work[at + WK_FAILED_LIST + failed - 1 - i]
    s.work[at + WK_NLIST] = kept + failed
    return dropped


@part
def node_lru_pages(s, node):  # type: ignore[no-untyped-def]
    """Pages on the node's LRU lists."""
    pages = 0
    for z in range(s.cfg[C_NZONES]):
        if s.zone[z * ZS + Z_NODE] == node:
            pages += s.zone[z * ZS + Z_NR_LRU]
    return pages


@part
def reclaim_order(s, node, order, hi, boosted):  # type: ignore[no-untyped-def]
    """The order at which balance_pgdat finishes: 0 once compact_gap(order) pages are reclaimed (kswapd_shrink_node, :6982).

    Approximate, as nothing is reclaimed here: kswapd is taken to reclaim the gap wherever it has a reason to reclaim and the node
    has as many pages on its LRU lists.
    """
    if order == 0 or (not boosted and pgdat_balanced(s, node, order, hi)):
        return order
    return 0 if node_lru_pages(s, node) >= min(2 << order, SWAP_CLUSTER_MAX) else order


@part
def kswapd_begin(s, node, at):  # type: ignore[no-untyped-def]
    """balance_pgdat begins for the order asked for: RECLAIM_ACTIVE is set and boosts are noted in zones up to the index asked."""
    order = s.work[at + KS_ORDER]
    hi = s.work[at + KS_HI] if s.work[at + KS_HI] >= 0 else s.work[at + KS_RUN_HI]
    s.work[at + KS_ORDER] = 0
    s.work[at + KS_HI] = -1
    s.work[at + KS_ALLOC_ORDER] = order
    s.work[at + KS_RUN_HI] = hi
    boosted = False
    for z in range(s.cfg[C_NZONES]):
        zat = z * ZS
        if s.zone[zat + Z_NODE] == node and s.zone[zat + Z_INDEX] <= hi:
            s.zone[zat + Z_RECLAIM_ACTIVE] = 1
            s.zone[zat + Z_BOOST_SEEN] = s.zone[zat + Z_BOOST]
            boosted = boosted or s.zone[zat + Z_BOOST] != 0
    s.work[at + KS_RECLAIM_ORDER] = reclaim_order(s, node, order, hi, boosted)
    s.work[at + KS_STATE] = KSWAPD_RUNNING
    s.work[at + KS_DUE] = s.stat[T_NOW] + s.cfg[C_KSWAPD_RUN]


@part
def give_boosts_back(s, node, hi):  # type: ignore[no-untyped-def]
    """balance_pgdat ends (:7235): the boosts noted are given back. Returns whether there were any."""
    boosted = False
    for z in range(s.cfg[C_NZONES]):
        zat = z * ZS
        if s.zone[zat + Z_NODE] == node and s.zone[zat + Z_INDEX] <= hi:
            s.zone[zat + Z_RECLAIM_ACTIVE] = 0
            boosted = boosted or s.zone[zat + Z_BOOST_SEEN] != 0
            s.zone[zat + Z_BOOST] -= min(s.zone[zat + Z_BOOST], s.zone[zat + Z_BOOST_SEEN])
            s.zone[zat + Z_BOOST_SEEN] = 0
    return boosted


@part
def kswapd_try_to_sleep(s, node, at):  # type: ignore[no-untyped-def]
    """Sleep, if the node is balanced for the order that the run finished at; kcompactd is woken for the order asked for (:7289).

    A run that finished at its own order forgets it: what was asked for meanwhile stands in its place, and if that is a larger
    order which lacks pages, the next run begins at once. Approximate: for want of order-0 pages no run begins at once, as none
    reclaims any here; the next request that finds too few does that. The short sleep (HZ/10) after which kswapd looks again is
    left out: it sleeps at once until it is woken.
    """
    alloc_order, order, hi = (
        s.work[at + KS_ALLOC_ORDER],
        s.work[at + KS_RECLAIM_ORDER],
        s.work[at + KS_RUN_HI],
    )
    s.work[at + KS_STATE] = KSWAPD_IDLE
    s.work[at + KS_DUE] = NEVER
    if order >= alloc_order:
        alloc_order = order = s.work[at + KS_ORDER]
        hi = s.work[at + KS_HI] if s.work[at + KS_HI] >= 0 else hi
    if pgdat_balanced(s, node, order, hi):
        wakeup_kcompactd(s, node, alloc_order, hi)
    elif order > 0:
        s.work[at + KS_STATE] = KSWAPD_WOKEN
        s.work[at + KS_DUE] = s.stat[T_NOW]


@part
def kswapd_step(s, node):  # type: ignore[no-untyped-def]
    """What kswapd does at its due time: balance_pgdat begins, or ends after its time and kswapd goes to sleep (:7055).

    It reclaims nothing here. A run that gave back a boost wakes kcompactd for a pageblock.
    """
    at = s.cfg[C_OFF_KSWAPD] + node * KS
    begins = s.work[at + KS_STATE] == KSWAPD_WOKEN
    if begins:
        kswapd_begin(s, node, at)
    else:
        hi = s.work[at + KS_RUN_HI]
        if give_boosts_back(s, node, hi):
            wakeup_kcompactd(s, node, s.cfg[C_PAGEBLOCK_ORDER], hi)
        kswapd_try_to_sleep(s, node, at)
    log_event(s, L_KSWAPD, -1, node, 2 if begins else 3, 0, 0)
