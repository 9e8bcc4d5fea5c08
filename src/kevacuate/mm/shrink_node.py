# SPDX-License-Identifier: GPL-2.0-or-later
"""Shrinking a node: how much of its lists is scanned, round by round, and whether that goes on (mm/vmscan.c, 7.2).

One lruvec a node. Without swap only the lists of files are scanned. No shrinkers: what those of the recorded kernel freed is in
the demand. A round of shrink_lruvec, up to SWAP_CLUSTER_MAX pages of each list, is one step of virtual time for kswapd.
"""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm import constants as k
from kevacuate.mm.compact_suitable import compact_gap, compaction_suitable
from kevacuate.mm.fields import ScanControl, View
from kevacuate.mm.lru_gen_shrink import lru_gen_shrink_node_end, try_to_shrink_lruvec_round
from kevacuate.mm.lruvec import inactive_is_low, lruvec_lru_size
from kevacuate.mm.scan_balance import (
    anon_inactive_is_low,
    get_scan_count,
    prepare_anon,
    stay_in_proportion,
)
from kevacuate.mm.shrink_list import shrink_active_list, shrink_inactive_list
from kevacuate.mm.watermark import pgdat_balanced, wmark_pages, zone_watermark_ok

_INACTIVE, _ACTIVE = 0, 1
"""Places in ``sc.nr``."""


@part
def prepare_scan_control(s: View, sc: ScanControl, node: int) -> None:
    """Whether active pages may be deactivated: where the lists are out of balance, or refaults show a new working set (:2278)."""
    pgdat = s.node[node]
    inactive = lruvec_lru_size(s, node, k.LRU_INACTIVE_FILE, k.ZONE_MOVABLE)
    active = lruvec_lru_size(s, node, k.LRU_ACTIVE_FILE, k.ZONE_MOVABLE)
    refaulted = pgdat.workingset_activate_file != pgdat.refaults_file
    deactivate = sc.force_deactivate != 0 or refaulted or inactive_is_low(inactive, active)
    sc.may_deactivate = 1 if deactivate else 0
    trims = inactive >> sc.priority != 0 and not deactivate and sc.no_cache_trim_mode == 0
    sc.cache_trim_mode = 1 if trims else 0
    if s.cfg.swap_pages:
        prepare_anon(s, sc, node)


@part
def shrink_node_begin(s: View, sc: ScanControl, node: int) -> None:
    """shrink_node up to its first round: counters, scan balance, and how much is scanned (:6137, :2488)."""
    sc.nr_dirty = sc.nr_congested = sc.nr_writeback = sc.nr_immediate = sc.nr_taken = 0
    sc.node_reclaimed = sc.nr_reclaimed
    sc.lruvec_reclaimed = 0
    if s.cfg.lru_gen:
        sc.begun = 0
        return
    prepare_scan_control(s, sc, node)
    if s.cfg.swap_pages:
        get_scan_count(s, sc, node)
        return
    sc.nr[_INACTIVE] = lruvec_lru_size(s, node, k.LRU_INACTIVE_FILE, sc.reclaim_idx) >> sc.priority
    sc.nr[_ACTIVE] = lruvec_lru_size(s, node, k.LRU_ACTIVE_FILE, sc.reclaim_idx) >> sc.priority


@part
def next_batch(sc: ScanControl, which: int) -> int:
    """Pages of the next batch of the inactive (0) or the active (1) list; they are taken from what is to scan yet."""
    batch = min(sc.nr[which], k.SWAP_CLUSTER_MAX)
    sc.nr[which] -= batch
    return batch


@part
def round_ends(sc: ScanControl) -> None:
    """A round of shrink_lruvec's loop ends: nothing more is scanned if enough is reclaimed, but for anonymous lists' sake.

    Direct reclaim at the first priority scans all that it set out to: kswapd does not keep up.
    """
    whole = sc.kswapd == 0 and sc.priority == k.DEF_PRIORITY
    if sc.lruvec_reclaimed >= sc.nr_to_reclaim and not whole:
        stay_in_proportion(sc)


@part(cold=True)
def shrink_anon_lists(s: View, sc: ScanControl, node: int, cpu: int) -> None:
    """A round's batches of the anonymous lists, which come first."""
    batch = min(sc.nr_anon[_INACTIVE], k.SWAP_CLUSTER_MAX)
    sc.nr_anon[_INACTIVE] -= batch
    if batch:
        sc.lruvec_reclaimed += shrink_inactive_list(s, sc, node, cpu, batch, k.LRU_INACTIVE_ANON)
    batch = min(sc.nr_anon[_ACTIVE], k.SWAP_CLUSTER_MAX)
    sc.nr_anon[_ACTIVE] -= batch
    if batch and sc.may_deactivate_anon:
        shrink_active_list(s, sc, node, cpu, batch, k.LRU_ACTIVE_ANON)
    elif batch:
        sc.skipped_deactivate = 1


@part
def age_anon(s: View, sc: ScanControl, node: int, cpu: int) -> None:
    """shrink_lruvec ends: with swap the anonymous lists are kept in balance, whatever was scanned (:5982)."""
    if s.cfg.swap_pages and anon_inactive_is_low(s, node):
        shrink_active_list(s, sc, node, cpu, k.SWAP_CLUSTER_MAX, k.LRU_ACTIVE_ANON)


@part(cold=True)
def shrink_lruvec_round(s: View, sc: ScanControl, node: int, cpu: int) -> int:
    """A round of shrink_lruvec's loop (:5867); what it cost in ns, -1 if none was left to do."""
    if s.cfg.lru_gen:
        return try_to_shrink_lruvec_round(s, sc, node, cpu)
    if sc.nr[_INACTIVE] == 0 and sc.nr[_ACTIVE] == 0 and sc.nr_anon[_INACTIVE] == 0:
        age_anon(s, sc, node, cpu)
        return -1
    before = sc.cost
    if s.cfg.swap_pages:
        shrink_anon_lists(s, sc, node, cpu)
    batch = next_batch(sc, _INACTIVE)
    if batch:
        sc.lruvec_reclaimed += shrink_inactive_list(s, sc, node, cpu, batch, k.LRU_INACTIVE_FILE)
    batch = next_batch(sc, _ACTIVE)
    if batch and sc.may_deactivate:
        shrink_active_list(s, sc, node, cpu, batch, k.LRU_ACTIVE_FILE)
    elif batch:
        sc.skipped_deactivate = 1
    round_ends(sc)
    return sc.cost - before


@part
def should_continue_reclaim(s: View, sc: ScanControl, node: int, reclaimed: int) -> bool:
    """Whether a request above order 0 wants more reclaimed before it compacts (:6006)."""
    costly = sc.order > k.PAGE_ALLOC_COSTLY_ORDER or sc.priority < k.DEF_PRIORITY - 2
    if sc.order == 0 or not sc.gfp_mask & k.GFP_IO or not costly or reclaimed == 0:
        return False
    for z in range(s.cfg.nr_zones):
        zone = s.zone[z]
        if zone.node != node or zone.index > sc.reclaim_idx or zone.managed_pages == 0:
            continue
        mark = wmark_pages(s, z, k.WMARK_MIN)
        if zone_watermark_ok(s, z, sc.order, mark, sc.reclaim_idx, 0):
            return False
        if compaction_suitable(s, z, sc.order, mark, sc.reclaim_idx):
            return False
    inactive = lruvec_lru_size(s, node, k.LRU_INACTIVE_FILE, k.ZONE_MOVABLE)
    if s.stat.nr_swap_pages:
        inactive += lruvec_lru_size(s, node, k.LRU_INACTIVE_ANON, k.ZONE_MOVABLE)
    return inactive > compact_gap(sc.order)


@part(cold=True)
def shrink_node_end(s: View, sc: ScanControl, node: int) -> bool:
    """shrink_node after its rounds (:6155). True if it begins again.

    Waiting for writeback is not modelled; PGDAT_WRITEBACK is kept, which decides what becomes of such folios.
    """
    if s.cfg.lru_gen:
        lru_gen_shrink_node_end(s, sc, node)
        return False
    sc.nr_reclaimed += sc.lruvec_reclaimed
    reclaimed = sc.nr_reclaimed - sc.node_reclaimed
    if reclaimed:
        sc.reclaimable = 1
    pgdat = s.node[node]
    if sc.kswapd and sc.nr_writeback and sc.nr_writeback == sc.nr_taken:
        pgdat.pgdat_writeback = 1
    if should_continue_reclaim(s, sc, node, reclaimed):
        shrink_node_begin(s, sc, node)
        return True
    if sc.reclaimable:
        if pgdat.kswapd_failures and pgdat_balanced(s, node, sc.order, sc.reclaim_idx):
            pgdat.kswapd_failures = 0
    elif sc.cache_trim_mode:
        sc.cache_trim_mode_failed = 1
    return False


@part
def scan_control(sc: ScanControl, order: int, gfp: int, highest_zoneidx: int) -> None:
    """Begin a reclaim: its scan_control, as its initialiser leaves it."""
    sc.order, sc.gfp_mask, sc.reclaim_idx = order, gfp, highest_zoneidx
    sc.priority, sc.nr_to_reclaim = k.DEF_PRIORITY, k.SWAP_CLUSTER_MAX
    sc.may_deactivate = sc.force_deactivate = sc.skipped_deactivate = 0
    sc.no_cache_trim_mode = sc.cache_trim_mode = sc.cache_trim_mode_failed = 0
    sc.compaction_ready = sc.nr_scanned = sc.nr_reclaimed = sc.reclaimable = sc.scanned = sc.cost = 0
    sc.nr_boost_reclaim = sc.boosted = sc.nr[_INACTIVE] = sc.nr[_ACTIVE] = 0
    sc.nr_anon[_INACTIVE] = sc.nr_anon[_ACTIVE] = sc.may_deactivate_anon = 0


@part
def snapshot_refaults(s: View, node: int) -> None:
    """Reclaim ends: what refaults have activated so far is no sign of a new working set any more (:6414)."""
    pgdat = s.node[node]
    pgdat.refaults_file = pgdat.workingset_activate_file
    pgdat.refaults_anon = pgdat.workingset_activate_anon
