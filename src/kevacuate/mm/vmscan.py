# SPDX-License-Identifier: GPL-2.0-or-later
"""What of mm/vmscan.c (7.2) an open-loop replay needs: dropping clean page cache, and kswapd's bookkeeping."""

from __future__ import annotations

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
    KC_KSWAPD_ORDER,
    KS,
    KSWAPD_IDLE,
    KSWAPD_RUNNING,
    KSWAPD_WOKEN,
    L_KSWAPD,
    NEVER,
    T_NOW,
    WK_FAILED_LIST,
    WK_LIST,
    WK_NLIST,
    WK_UNMAPPED,
    Z_BOOST,
    Z_BOOST_SEEN,
    Z_NODE,
    Z_NR_ISOLATED,
    Z_RECLAIM_ACTIVE,
    ZONE_MOVABLE,
    ZS,
)
from kevacuate.mm.jit import part
from kevacuate.mm.kcompactd import wakeup_kcompactd
from kevacuate.mm.log import log_event
from kevacuate.mm.page_alloc import free_frozen_pages
from kevacuate.mm.pcp import pcp_allowed_order
from kevacuate.mm.watermark import kcompactd_at, pgdat_balanced


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
def kswapd_step(s, node):  # type: ignore[no-untyped-def]
    """balance_pgdat without reclaim: RECLAIM_ACTIVE for its time, then the boost it saw is given back (:7055).

    A run for a boost wakes kcompactd for a pageblock; one for a larger request, before it sleeps (:7293), for that.
    """
    at = s.cfg[C_OFF_KSWAPD] + node * KS
    begins = s.work[at] == KSWAPD_WOKEN
    boosted = 0
    for z in range(s.cfg[C_NZONES]):
        zat = z * ZS
        if s.zone[zat + Z_NODE] != node:
            continue
        if begins:
            s.zone[zat + Z_RECLAIM_ACTIVE] = 1
            s.zone[zat + Z_BOOST_SEEN] = s.zone[zat + Z_BOOST]
        else:
            s.zone[zat + Z_RECLAIM_ACTIVE] = 0
            boosted += s.zone[zat + Z_BOOST_SEEN]
            s.zone[zat + Z_BOOST] -= min(s.zone[zat + Z_BOOST], s.zone[zat + Z_BOOST_SEEN])
            s.zone[zat + Z_BOOST_SEEN] = 0
    if begins:
        s.work[at] = KSWAPD_RUNNING
        s.work[at + 1] = s.stat[T_NOW] + s.cfg[C_KSWAPD_RUN]
    else:
        s.work[at] = KSWAPD_IDLE
        s.work[at + 1] = NEVER
        if boosted:
            wakeup_kcompactd(s, node, s.cfg[C_PAGEBLOCK_ORDER], ZONE_MOVABLE)
        order = s.work[kcompactd_at(s, node) + KC_KSWAPD_ORDER]
        s.work[kcompactd_at(s, node) + KC_KSWAPD_ORDER] = 0
        if pgdat_balanced(s, node, order, ZONE_MOVABLE):
            wakeup_kcompactd(s, node, order, ZONE_MOVABLE)
    log_event(s, L_KSWAPD, -1, node, 2 if begins else 3, 0, 0)
