# SPDX-License-Identifier: GPL-2.0-or-later
"""Shrinking a node under the multi-gen LRU: lru_gen_shrink_node, shrink_one of its one lruvec, when it ages (mm/vmscan.c, 7.2).

A turn of try_to_shrink_lruvec's loop, up to MIN_LRU_BATCH pages isolated, is one step of virtual time for kswapd.
kswapd that reclaims for a boost alone reclaims nothing here (``may_writepage``).
"""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm import constants as k
from kevacuate.mm.compact_suitable import compact_gap
from kevacuate.mm.fields import ScanControl, View
from kevacuate.mm.lru_gen import evictable_min_seq, first_type, try_to_inc_max_seq
from kevacuate.mm.lru_gen_evict import evict_folios
from kevacuate.mm.lruvec import gen_list, lruvec_lru_size
from kevacuate.mm.swap import lru_add_drain_cpu
from kevacuate.mm.watermark import pgdat_balanced, wmark_pages, zone_watermark_ok


@part
def fls(value: int) -> int:
    """The number of the highest bit set, from 1 on; 0 of 0 (fls_long)."""
    bits = 0
    while value >> bits:
        bits += 1
    return bits


@part(cold=True)
def set_initial_priority(s: View, sc: ScanControl, node: int) -> None:
    """kswapd begins at the priority at which the inactive pages' share of all would give what it wants (:4047)."""
    if sc.priority != k.DEF_PRIORITY or sc.nr_to_reclaim < k.MIN_LRU_BATCH:
        return
    pages = lruvec_lru_size(s, node, k.LRU_INACTIVE_FILE, k.ZONE_MOVABLE)
    if s.stat.nr_swap_pages:
        pages += lruvec_lru_size(s, node, k.LRU_INACTIVE_ANON, k.ZONE_MOVABLE)
    priority = fls(pages) - 1 - fls(sc.nr_to_reclaim - 1)
    sc.priority = min(max(priority, k.DEF_PRIORITY // 2), k.DEF_PRIORITY)


@part
def get_swappiness(s: View, sc: ScanControl) -> int:
    """vm.swappiness, or 0 where less than a batch could be swapped (:2692)."""
    return s.cfg.swappiness if s.stat.nr_swap_pages >= k.MIN_LRU_BATCH else 0


@part(cold=True)
def lruvec_evictable_size(s: View, node: int, swappiness: int) -> int:
    """Pages of all generations of the types that may be evicted (:4073)."""
    pgdat = s.node[node]
    pages = 0
    for file in range(first_type(swappiness), k.LRU_GEN_FILE + 1):
        for seq in range(pgdat.min_seq[file], pgdat.max_seq + 1):
            for index in range(k.ZONE_MOVABLE + 1):
                pages += pgdat.gen_pages[gen_list(seq % k.MAX_NR_GENS, file, index)]
    return pages


@part
def should_run_aging(s: View, sc: ScanControl, node: int) -> bool:
    """Whether a new generation is due: nothing can be evicted, or little, and reclaim is not at its first priority (:4881)."""
    pgdat = s.node[node]
    left = pgdat.max_seq - evictable_min_seq(pgdat, sc.swappiness) - k.MIN_NR_GENS
    return left < 0 or (left == 0 and sc.priority != k.DEF_PRIORITY)


@part(cold=True)
def should_abort_scan(s: View, sc: ScanControl, node: int) -> bool:
    """Whether enough is reclaimed, or for kswapd every zone that it works for is safe (:4915)."""
    if sc.nr_reclaimed >= max(sc.nr_to_reclaim, compact_gap(sc.order)):
        return True
    if sc.kswapd == 0 or sc.order:
        return False
    for z in range(s.cfg.nr_zones):
        zone = s.zone[z]
        if zone.node != node or zone.index > sc.reclaim_idx or zone.managed_pages == 0:
            continue
        mark = wmark_pages(s, z, k.WMARK_HIGH) + k.MIN_LRU_BATCH
        if not zone_watermark_ok(s, z, 0, mark, sc.reclaim_idx, 0):
            return False
    return True


@part(cold=True)
def shrink_one_begins(s: View, sc: ScanControl, node: int, cpu: int) -> None:
    """lru_gen_shrink_node (:5127) up to the loop of try_to_shrink_lruvec: how much is scanned at this priority."""
    sc.begun = 1
    sc.nr[0] = 0
    if sc.kswapd and sc.nr_boost_reclaim:
        return
    lru_add_drain_cpu(s, cpu)
    set_initial_priority(s, sc, node)
    if sc.kswapd:
        sc.nr_reclaimed = 0
    sc.swappiness = get_swappiness(s, sc)
    sc.nr[0] = lruvec_evictable_size(s, node, sc.swappiness) >> sc.priority


@part(cold=True)
def try_to_shrink_lruvec_round(s: View, sc: ScanControl, node: int, cpu: int) -> int:
    """A turn of try_to_shrink_lruvec's loop (:4950); what it cost in ns, -1 if none was left to do.

    After aging it is the last one: other cgroups would have their turn.
    """
    if sc.begun == 0:
        shrink_one_begins(s, sc, node, cpu)
    if sc.nr[0] <= 0:
        return -1
    before = sc.cost
    ages = should_run_aging(s, sc, node)
    if ages:
        try_to_inc_max_seq(s, sc, node, sc.swappiness)
    scanned = evict_folios(s, sc, node, cpu, min(sc.nr[0], k.MIN_LRU_BATCH), sc.swappiness)
    if scanned == 0 or ages or should_abort_scan(s, sc, node):
        sc.nr[0] = 0
    else:
        sc.nr[0] -= scanned
    return sc.cost - before


@part(cold=True)
def lru_gen_shrink_node_end(s: View, sc: ScanControl, node: int) -> None:
    """lru_gen_shrink_node after its loop: a hopeless node from which something was reclaimed has hope, once it is balanced."""
    if sc.kswapd and sc.nr_boost_reclaim == 0:
        sc.nr_reclaimed += sc.node_reclaimed
    pgdat = s.node[node]
    if sc.nr_reclaimed > sc.node_reclaimed and pgdat.kswapd_failures:
        if pgdat_balanced(s, node, sc.order, sc.reclaim_idx):
            pgdat.kswapd_failures = 0
