# SPDX-License-Identifier: GPL-2.0-or-later
"""Shrinking one LRU list by up to SWAP_CLUSTER_MAX pages: what becomes of each folio at its tail (mm/vmscan.c, 7.2).

A batch is one moment of virtual time. What no recording of allocations shows is an input, each a bit of the folio: BUSY (locked),
DIRTY (until it is written: :mod:`kevacuate.mm.writeback`), WRITEBACK, PINNED, and PG_referenced and the accessed bit of a page
table (YOUNG) as the demand's uses of the folio set them. Approximate: page tables are not modelled. A folio used through one
counts as executable, and the bit outlives the mapping. A folio that is pinned has buffers that cannot be released (it is
activated).
Anonymous lists are scanned where there is swap: :mod:`.swap_out`.
"""

from __future__ import annotations

from kevacuate.jit import part, prefetch
from kevacuate.mm import constants as k
from kevacuate.mm.buddy import page_zone
from kevacuate.mm.fields import ScanControl, View
from kevacuate.mm.lru_gen_refs import lru_gen_set_refs
from kevacuate.mm.lruvec import (
    lru_head,
    lru_link,
    lru_object,
    lru_unlink,
    lruvec_add_folio,
    lruvec_del_folio,
    mod_isolated,
)
from kevacuate.mm.page_free import free_frozen_pages
from kevacuate.mm.pcp import pcp_allowed_order
from kevacuate.mm.scan_balance import lru_note_cost
from kevacuate.mm.swap import lru_add_drain_cpu
from kevacuate.mm.swap_out import SWAP_ACTIVATE, SWAP_WRITTEN, anon_folio
from kevacuate.mm.swap_use import anon_referenced
from kevacuate.mm.workingset import workingset_eviction
from kevacuate.mm.writeback import flusher_writes, folio_dirty, wakeup_flusher
from kevacuate.records import Words

NO_FOLIO = -1


@part
def forget_folio(s: View, pfn: int) -> None:
    """Take a clean folio from its owner: the object's pfn becomes -2 (dropped by the model), in closed loop with a shadow."""
    attr = s.link[2 * pfn + 1] + 0
    obj = s.link[2 * pfn] + 0
    if obj >= 0 and not attr & k.ATTR_FREED:
        if s.cfg.open_loop == 0:
            workingset_eviction(s, pfn, attr, obj)
        s.obj[obj] = k.OBJ_DROPPED


@part
def drop_folio(s: View, pfn: int) -> None:
    """Take an isolated clean folio from its owner, and count it as isolated no more."""
    forget_folio(s, pfn)
    attr = s.link[2 * pfn + 1] + 0
    if attr & k.ATTR_LRU:
        mod_isolated(s, pfn, attr, -(1 << (s.meta[pfn] & 15)))


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


@part(inline=True)
def look_ahead(s: View, at: int) -> None:
    """Prefetch what the folios before *at* on its list will be asked for: of the next its pages, of that after it its links."""
    after = s.lru[2 * at + 1] + 0
    prefetch(s.lru, 2 * (s.lru[2 * after + 1] + 0))
    prefetch(s.obj, max(lru_object(s, s.lru[2 * after + 1] + 0), 0))
    pfn = max(s.obj[max(lru_object(s, after), 0)] + 0, 0)
    prefetch(s.meta, pfn)
    prefetch(s.link, 2 * pfn)


@part
def lru_tail(s: View, sc: ScanControl, node: int, lru: int, skipped: int, first: int) -> tuple[int, int, int]:
    """The folio at the tail of a list that this reclaim may take (isolate_lru_folios, :1677).

    What lies in too high a zone goes to the head meanwhile, in its order. *skipped* folios have gone there before, *first* of
    them the first (-1: none). Returns (place in ``lru`` or -1, folios skipped, the first of them).
    """
    head = lru_head(node, lru)
    at = s.lru[2 * head + 1] + 0
    while at != head and at != first:
        pfn = s.obj[lru_object(s, at)] + 0
        zone = s.zone[page_zone(s, pfn)]
        if zone.index <= sc.reclaim_idx or skipped >= k.SWAP_CLUSTER_MAX_SKIPPED:
            return at, skipped, first
        pages = 1 << (s.meta[pfn] & 15)
        s.stat.pgscan_skip += pages
        sc.scanned += pages
        skipped += 1
        if first < 0:
            first = at
        lru_unlink(s, at)
        lru_link(s, at, head, s.lru[2 * head] + 0)
        at = s.lru[2 * head + 1] + 0
    return NO_FOLIO, skipped, first


@part
def isolate_from_list(s: View, pfn: int, attr: int) -> None:
    """Take a folio off its list for the moment that a batch takes."""
    lruvec_del_folio(s, pfn, attr)
    s.link[2 * pfn + 1] = attr & ~k.ATTR_ON_LRU
    s.zone[page_zone(s, pfn)].nr_lru -= 1 << (s.meta[pfn] & 15)


@part
def move_folio_to_lru(s: View, pfn: int) -> None:
    """Put a folio back at the head of the list that its flags name (move_folios_to_lru, :1864)."""
    pages = 1 << (s.meta[pfn] & 15)
    s.link[2 * pfn + 1] |= k.ATTR_ON_LRU
    zone = s.zone[page_zone(s, pfn)]
    zone.nr_lru += pages
    lruvec_add_folio(s, pfn)
    if s.link[2 * pfn + 1] & k.ATTR_ACTIVE:
        s.node[zone.node].nonresident_age += pages


@part
def activate_locked(s: View, pfn: int) -> None:
    """shrink_folio_list activates a folio (:1520)."""
    s.link[2 * pfn + 1] |= k.ATTR_ACTIVE
    s.stat.pgactivate += 1 << (s.meta[pfn] & 15)


@part
def writeback_found(s: View, sc: ScanControl, node: int, pfn: int, attr: int, pages: int) -> None:
    """A folio under writeback is activated, and marked to be reclaimed once written (cases 1 and 2 of :1214)."""
    if sc.kswapd and attr & k.ATTR_RECLAIM and s.node[node].pgdat_writeback:
        sc.nr_immediate += pages
    else:
        sc.nr_writeback += pages
        s.link[2 * pfn + 1] |= k.ATTR_RECLAIM
    activate_locked(s, pfn)


@part(cold=True)
def shrink_anon_folio(s: View, sc: ScanControl, node: int, cpu: int, pfn: int) -> bool:
    """shrink_folio_list for one anonymous folio (:1050). True if it is in swap; else its flags say where it goes."""
    attr = s.link[2 * pfn + 1] + 0
    pages = 1 << (s.meta[pfn] & 15)
    if attr & k.ATTR_BUSY:
        return False
    sc.nr_scanned += pages
    if attr & k.ATTR_WRITEBACK:
        writeback_found(s, sc, node, pfn, attr, pages)
        return False
    what = anon_folio(s, sc, cpu, pfn)
    if what == SWAP_ACTIVATE:
        activate_locked(s, pfn)
    return what == SWAP_WRITTEN


@part
def shrink_folio(s: View, sc: ScanControl, node: int, pfn: int) -> bool:
    """shrink_folio_list for one folio of a file (:1050). True if it is reclaimed; else its flags say where it goes."""
    attr = s.link[2 * pfn + 1] + 0
    pages = 1 << (s.meta[pfn] & 15)
    if attr & k.ATTR_BUSY:
        return False
    sc.nr_scanned += pages
    dirty = folio_dirty(s, pfn, attr)
    attr = s.link[2 * pfn + 1] + 0
    writeback = attr & k.ATTR_WRITEBACK != 0
    if dirty or writeback:
        sc.nr_dirty += pages
    if dirty and not writeback:
        sc.nr_unqueued_dirty += pages
    if writeback and attr & k.ATTR_RECLAIM:
        sc.nr_congested += pages
    if writeback:
        writeback_found(s, sc, node, pfn, attr, pages)
        return False
    if s.cfg.lru_gen and attr & k.ATTR_YOUNG:
        s.link[2 * pfn + 1] = attr & ~k.ATTR_YOUNG
        if lru_gen_set_refs(s, pfn):
            activate_locked(s, pfn)
        return False
    if attr & k.ATTR_YOUNG:  # folio_check_references, :889
        s.link[2 * pfn + 1] = (attr & ~k.ATTR_YOUNG) | k.ATTR_REFERENCED
        activate_locked(s, pfn)
        return False
    if not s.cfg.lru_gen:
        attr &= ~k.ATTR_REFERENCED
        s.link[2 * pfn + 1] = attr
    if attr & k.ATTR_PINNED:
        activate_locked(s, pfn)
        return False
    if dirty:
        s.stat.nr_vmscan_immediate_reclaim += pages
        s.link[2 * pfn + 1] = attr | k.ATTR_RECLAIM
        s.node[node].nr_marked += 1
        activate_locked(s, pfn)
        return False
    return attr & k.ATTR_ACTIVATING == 0  # else a batch holds a reference


@part
def free_batch(s: View, sc: ScanControl, cpu: int) -> None:
    """Free what was reclaimed so far."""
    free_unref_folios(s, cpu, sc.free_folios, sc.nr_free_folios)
    sc.nr_free_folios = 0


@part
def reclaim_folio(s: View, sc: ScanControl, cpu: int, pfn: int) -> None:
    """A folio is reclaimed: its object is dropped, if it is not in swap; a full batch of such folios is freed."""
    if s.link[2 * pfn + 1] & k.ATTR_FILE:
        forget_folio(s, pfn)
    sc.free_folios[sc.nr_free_folios] = pfn
    sc.nr_free_folios += 1
    if sc.nr_free_folios == k.FOLIO_BATCH_SIZE:
        free_batch(s, sc, cpu)


@part
def nr_isolated(s: View, node: int, lru: int) -> int:
    """NR_ISOLATED_FILE or NR_ISOLATED_ANON of the node."""
    pages = s.node[node].nr_isolated_file + 0
    if lru >= k.LRU_INACTIVE_FILE:
        return pages
    pages = -pages
    for z in range(s.cfg.nr_zones):
        if s.zone[z].node == node:
            pages += s.zone[z].nr_isolated
    return pages


@part
def too_many_isolated(s: View, sc: ScanControl, node: int, lru: int) -> bool:
    """Whether so much is isolated that a direct reclaimer waits (:1820); the waiting itself is only counted."""
    if sc.kswapd:
        return False
    nr_lru = s.node[node].nr_lru
    inactive = 0
    for index in range(k.ZONE_MOVABLE + 1):
        inactive += nr_lru[index * k.NR_LRU_LISTS + lru]
    if sc.gfp_mask & (k.GFP_IO | k.GFP_FS) == k.GFP_IO | k.GFP_FS:
        inactive >>= 3
    return nr_isolated(s, node, lru) > inactive


@part
def count_inactive(s: View, sc: ScanControl, lru: int, scanned: int, reclaimed: int) -> None:
    """pgscan_* and pgsteal_*."""
    if lru < k.LRU_INACTIVE_FILE:
        s.stat.pgscan_anon += scanned
        s.stat.pgsteal_anon += reclaimed
    if sc.kswapd:
        s.stat.pgscan_kswapd += scanned
        s.stat.pgsteal_kswapd += reclaimed
    else:
        s.stat.pgscan_direct += scanned
        s.stat.pgsteal_direct += reclaimed


@part(cold=True)
def shrink_inactive_list(s: View, sc: ScanControl, node: int, cpu: int, nr_to_scan: int, lru: int) -> int:
    """Take *nr_to_scan* pages off the tail of an inactive list; the pages reclaimed (:1981)."""
    if too_many_isolated(s, sc, node, lru):
        s.stat.throttled_isolated += 1
        return 0
    flusher_writes(s)
    lru_add_drain_cpu(s, cpu)
    before = sc.scanned
    reclaimed = scan = skipped = 0
    first = NO_FOLIO
    sc.nr_kept = sc.nr_free_folios = sc.nr_pageout = sc.nr_unqueued_dirty = 0
    while scan < nr_to_scan:
        at, skipped, first = lru_tail(s, sc, node, lru, skipped, first)
        if at < 0:
            break
        look_ahead(s, at)
        pfn = s.obj[lru_object(s, at)] + 0
        pages = 1 << (s.meta[pfn] & 15)
        scan += pages
        isolate_from_list(s, pfn, s.link[2 * pfn + 1] + 0)
        if lru < k.LRU_INACTIVE_FILE:
            gone = shrink_anon_folio(s, sc, node, cpu, pfn)
        else:
            gone = shrink_folio(s, sc, node, pfn)
        if gone:
            reclaimed += pages
            reclaim_folio(s, sc, cpu, pfn)
        else:
            sc.kept[sc.nr_kept] = pfn
            sc.nr_kept += 1
    sc.scanned += scan
    sc.cost += (sc.scanned - before) * s.cfg.shrink_inactive_ns
    sc.nr_taken += scan
    free_batch(s, sc, cpu)
    for i in range(sc.nr_kept):
        move_folio_to_lru(s, sc.kept[i])
    if scan and sc.nr_unqueued_dirty == scan:
        wakeup_flusher(s)
    lru_note_cost(s, node, lru >= k.LRU_INACTIVE_FILE, sc.nr_pageout, sc.scanned - before - reclaimed)
    count_inactive(s, sc, lru, sc.scanned - before, reclaimed)
    return reclaimed


@part
def deactivate_unused(s: View, pfn: int) -> int:
    """Deactivate an isolated active folio, unless a page table's accessed bit spares it; the pages deactivated (:2113).

    Of an anonymous folio the bit is cleared all the same, and spares nothing.
    """
    attr = s.link[2 * pfn + 1] + 0
    if not attr & k.ATTR_FILE:
        anon_referenced(s, pfn)
        attr = s.link[2 * pfn + 1] + 0
    elif attr & k.ATTR_YOUNG:
        s.link[2 * pfn + 1] = attr & ~k.ATTR_YOUNG
        return 0
    s.link[2 * pfn + 1] = (attr & ~k.ATTR_ACTIVE) | k.ATTR_WORKINGSET
    return 1 << (s.meta[pfn] & 15)


@part(cold=True)
def shrink_active_list(s: View, sc: ScanControl, node: int, cpu: int, nr_to_scan: int, lru: int) -> None:
    """Deactivate *nr_to_scan* pages at the tail of an active list, but those of files used by page tables (:2063).

    The latter go back to the head of their list before the others go to that of the inactive one.
    """
    lru_add_drain_cpu(s, cpu)
    before = sc.scanned
    scan = skipped = deactivated = rotated = 0
    first = NO_FOLIO
    sc.nr_kept = 0
    while scan < nr_to_scan:
        at, skipped, first = lru_tail(s, sc, node, lru, skipped, first)
        if at < 0:
            break
        look_ahead(s, at)
        pfn = s.obj[lru_object(s, at)] + 0
        pages = 1 << (s.meta[pfn] & 15)
        scan += pages
        isolate_from_list(s, pfn, s.link[2 * pfn + 1] + 0)
        now = deactivate_unused(s, pfn)
        deactivated += now
        rotated += pages - now
        sc.kept[sc.nr_kept] = pfn
        sc.nr_kept += 1
    sc.scanned += scan
    sc.cost += (sc.scanned - before) * s.cfg.shrink_active_ns
    for active in (k.ATTR_ACTIVE, 0):
        for i in range(sc.nr_kept):
            if sc.kept[i] >= 0 and s.link[2 * sc.kept[i] + 1] & k.ATTR_ACTIVE == active:
                move_folio_to_lru(s, sc.kept[i])
                sc.kept[i] = -1
    s.stat.pgrefill += sc.scanned - before
    s.stat.pgdeactivate += deactivated
    lru_note_cost(s, node, lru >= k.LRU_INACTIVE_FILE, 0, rotated)
