# SPDX-License-Identifier: GPL-2.0-or-later
"""The kswapd threads: balance_pgdat, and when they sleep (mm/vmscan.c, 7.2); waking them: :mod:`.wakeups`.

In closed loop balance_pgdat reclaims, a round of shrink_lruvec a step of virtual time: up to SWAP_CLUSTER_MAX pages of each list,
at its cost times the time scale. In open loop it reclaims nothing, as the recorded kernel's reclaim is in
the demand: a run lasts ``cfg.kswapd_run`` ns, in which the per-CPU lists are short, and gives the boosts back.
"""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm import constants as k
from kevacuate.mm.compact_reset import reset_isolation_suitable
from kevacuate.mm.compact_suitable import compact_gap
from kevacuate.mm.fields import Node, ScanControl, View
from kevacuate.mm.log import log_event
from kevacuate.mm.lru_gen_shrink import set_initial_priority
from kevacuate.mm.shared_cpu import takes_the_cpu
from kevacuate.mm.shrink_node import (
    scan_control,
    shrink_lruvec_round,
    shrink_node_begin,
    shrink_node_end,
    snapshot_refaults,
)
from kevacuate.mm.wakeups import wakeup_kcompactd
from kevacuate.mm.watermark import pgdat_balanced, wmark_pages


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
def reclaim_order_open(s: View, node: int, order: int, highest_zoneidx: int, boosted: bool) -> int:
    """The order at which balance_pgdat finishes: 0 once compact_gap(order) pages are reclaimed (kswapd_shrink_node, :6982).

    Approximate, as nothing is reclaimed here: kswapd is taken to reclaim the gap wherever it has a reason to reclaim and the node
    has as many pages on its LRU lists.
    """
    if order == 0 or (not boosted and pgdat_balanced(s, node, order, highest_zoneidx)):
        return order
    return 0 if node_lru_pages(s, node) >= min(2 << order, k.SWAP_CLUSTER_MAX) else order


@part
def kswapd_highest_zoneidx(pgdat: Node) -> int:
    """The highest zone index that was asked for; if nobody has asked, that of the last run (:7285)."""
    if pgdat.kswapd_highest_zoneidx >= 0:
        return pgdat.kswapd_highest_zoneidx
    return pgdat.kswapd_run_highest_zoneidx


@part
def take_up(s: View, node: int, pgdat: Node) -> int:
    """A run takes up what was asked for, sets RECLAIM_ACTIVE and notes the boosts of zones up to the index asked; their sum."""
    highest_zoneidx = kswapd_highest_zoneidx(pgdat)
    pgdat.kswapd_alloc_order = pgdat.kswapd_order
    pgdat.kswapd_order = 0
    pgdat.kswapd_highest_zoneidx = -1
    pgdat.kswapd_run_highest_zoneidx = highest_zoneidx
    pgdat.kswapd_state = k.KSWAPD_RUNNING
    boosts = 0
    for z in range(s.cfg.nr_zones):
        zone = s.zone[z]
        if zone.node == node and zone.index <= highest_zoneidx:
            zone.reclaim_active = 1
            zone.boost_seen = zone.watermark_boost
            boosts += zone.watermark_boost
    return boosts


@part
def kswapd_begin_open(s: View, node: int, pgdat: Node) -> None:
    """balance_pgdat begins, in open loop: it ends after the time of a run."""
    boosted = take_up(s, node, pgdat) != 0
    order, highest_zoneidx = pgdat.kswapd_alloc_order, pgdat.kswapd_run_highest_zoneidx
    pgdat.kswapd_reclaim_order = reclaim_order_open(s, node, order, highest_zoneidx, boosted)
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
def kswapd_try_to_sleep_open(s: View, node: int, pgdat: Node) -> None:
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
        highest_zoneidx = kswapd_highest_zoneidx(pgdat)
    if pgdat_balanced(s, node, order, highest_zoneidx):
        wakeup_kcompactd(s, node, alloc_order, highest_zoneidx)
    elif order > 0:
        pgdat.kswapd_state = k.KSWAPD_WOKEN
        pgdat.kswapd_due = s.stat.now


@part
def kswapd_end_open(s: View, node: int, pgdat: Node) -> None:
    """balance_pgdat ends, in open loop. A run that gave back a boost wakes kcompactd for a pageblock."""
    highest_zoneidx = pgdat.kswapd_run_highest_zoneidx
    if give_boosts_back(s, node, highest_zoneidx):
        wakeup_kcompactd(s, node, s.cfg.pageblock_order, highest_zoneidx)
    kswapd_try_to_sleep_open(s, node, pgdat)


@part
def prepare_kswapd_sleep(s: View, node: int, order: int, highest_zoneidx: int) -> bool:
    """Whether kswapd may sleep: the node is hopeless, or balanced (:6943)."""
    pgdat = s.node[node]
    if pgdat.kswapd_failures >= k.MAX_RECLAIM_RETRIES:
        return True
    if not pgdat_balanced(s, node, order, highest_zoneidx):
        return False
    pgdat.pgdat_writeback = 0
    return True


@part
def kswapd_runs_again(s: View, pgdat: Node) -> None:
    """kswapd does not sleep: its next run begins at once."""
    s.stat.kswapd_high_wmark_hit_quickly += 1
    pgdat.kswapd_state = k.KSWAPD_WOKEN
    pgdat.kswapd_due = s.stat.now


@part
def kswapd_try_to_sleep(s: View, node: int, pgdat: Node, alloc_order: int, order: int) -> None:
    """Sleep for HZ/10, if the node is balanced for *order*; kcompactd is woken for *alloc_order* (:7293)."""
    highest_zoneidx = pgdat.kswapd_run_highest_zoneidx
    pgdat.kswapd_reclaim_order = order
    if not prepare_kswapd_sleep(s, node, order, highest_zoneidx):
        kswapd_runs_again(s, pgdat)
        return
    reset_isolation_suitable(s, node)
    wakeup_kcompactd(s, node, alloc_order, highest_zoneidx)
    pgdat.kswapd_state = k.KSWAPD_NAP
    pgdat.kswapd_due = s.stat.now + k.KSWAPD_NAP_NS + s.cfg.kswapd_wake


@part
def kswapd_nap_ends(s: View, node: int, pgdat: Node) -> None:
    """Nobody woke kswapd in its short sleep: it sleeps until woken, if the node is still balanced."""
    if prepare_kswapd_sleep(s, node, pgdat.kswapd_reclaim_order, pgdat.kswapd_run_highest_zoneidx):
        pgdat.kswapd_state = k.KSWAPD_IDLE
        pgdat.kswapd_due = k.NEVER
    else:
        kswapd_runs_again(s, pgdat)


@part
def node_nr_to_reclaim(s: View, node: int, highest_zoneidx: int) -> int:
    """What a loop of balance_pgdat sets out to reclaim: the HIGH marks of the zones up to the index (:6990)."""
    pages = 0
    for z in range(s.cfg.nr_zones):
        zone = s.zone[z]
        if zone.node == node and zone.index <= highest_zoneidx and zone.managed_pages:
            pages += max(wmark_pages(s, z, k.WMARK_HIGH), k.SWAP_CLUSTER_MAX)
    return pages


@part
def balance_loop_begin(s: View, node: int, sc: ScanControl) -> bool:
    """A loop of balance_pgdat up to its first round of reclaim (:7094). False if there is nothing to reclaim.

    An unbalanced node is no time for boosts: the loop is begun anew without.
    """
    balanced = pgdat_balanced(s, node, sc.order, sc.reclaim_idx)
    if not balanced and sc.nr_boost_reclaim:
        sc.nr_boost_reclaim = 0
        sc.priority = k.DEF_PRIORITY
    if sc.nr_boost_reclaim == 0 and balanced:
        return False
    sc.loop_reclaimed = sc.nr_reclaimed
    sc.nr_scanned = sc.reclaimable = 0
    if s.cfg.lru_gen:  # kswapd_age_node
        set_initial_priority(s, sc, node)
    sc.nr_to_reclaim = node_nr_to_reclaim(s, node, sc.reclaim_idx)
    shrink_node_begin(s, sc, node)
    return True


@part
def balance_loop_end(s: View, node: int, sc: ScanControl) -> bool:
    """A loop of balance_pgdat behind its reclaim (:7008, :7180). Whether another one follows."""
    if sc.order and sc.nr_reclaimed >= compact_gap(sc.order):
        sc.order = 0
    reclaimed = sc.nr_reclaimed - sc.loop_reclaimed
    enough = max(sc.nr_scanned, reclaimed) >= sc.nr_to_reclaim
    gently = sc.nr_boost_reclaim != 0 and sc.priority == k.DEF_PRIORITY - 2
    sc.nr_boost_reclaim -= min(sc.nr_boost_reclaim, reclaimed)
    if sc.nr_boost_reclaim == 0 or reclaimed:
        if reclaimed == 0 or not (enough or gently):
            sc.priority -= 1
        if sc.priority >= 1:
            return balance_loop_begin(s, node, sc)
    if sc.nr_reclaimed == 0 and sc.priority < 1 and not sc.no_cache_trim_mode and sc.cache_trim_mode_failed:
        sc.no_cache_trim_mode = 1
        sc.priority = k.DEF_PRIORITY
        return balance_loop_begin(s, node, sc)
    if sc.nr_reclaimed == 0 and sc.boosted == 0:
        s.node[node].kswapd_failures += 1
    return False


@part
def balance_pgdat_ends(s: View, node: int, pgdat: Node, sc: ScanControl) -> None:
    """The end of balance_pgdat, and kswapd's next attempt to sleep (:7235, :7390).

    A run that finished at its own order forgets it: what was asked for meanwhile stands in its place.
    """
    highest_zoneidx = pgdat.kswapd_run_highest_zoneidx
    if give_boosts_back(s, node, highest_zoneidx):
        wakeup_kcompactd(s, node, s.cfg.pageblock_order, highest_zoneidx)
    snapshot_refaults(s, node)
    log_event(s, k.L_KSWAPD, -1, node, 3, sc.order, sc.nr_reclaimed)
    if sc.order < pgdat.kswapd_alloc_order:
        kswapd_try_to_sleep(s, node, pgdat, pgdat.kswapd_alloc_order, sc.order)
    else:
        pgdat.kswapd_run_highest_zoneidx = kswapd_highest_zoneidx(pgdat)
        kswapd_try_to_sleep(s, node, pgdat, pgdat.kswapd_order, pgdat.kswapd_order)


@part
def until_next_round(s: View, pgdat: Node, ns: int) -> int:
    """How long after a round's beginning the next one begins, in ns, if the round takes *ns* of a CPU."""
    if s.cfg.kswapd_slice_ns == 0:
        return ns
    pause, left = takes_the_cpu(s, pgdat.kswapd_slice + 0, ns)
    pgdat.kswapd_slice = left
    return pause


@part
def balance_pgdat_goes_on(s: View, node: int, pgdat: Node, sc: ScanControl) -> None:
    """The next round of reclaim, which takes its time; or the end."""
    again = True
    while again:
        cost = shrink_lruvec_round(s, sc, node, pgdat.cpu)
        if cost >= 0:
            pgdat.kswapd_due = s.stat.now + until_next_round(s, pgdat, cost * s.cfg.time_scale)
            return
        again = shrink_node_end(s, sc, node) or balance_loop_end(s, node, sc)
    balance_pgdat_ends(s, node, pgdat, sc)


@part
def balance_pgdat_begins(s: View, node: int, pgdat: Node, sc: ScanControl) -> None:
    """The beginning of balance_pgdat, and its first round of reclaim (:7055)."""
    boosts = take_up(s, node, pgdat)
    order = pgdat.kswapd_alloc_order
    scan_control(sc, order, k.GFP_KERNEL, pgdat.kswapd_run_highest_zoneidx)
    sc.nr_boost_reclaim = boosts
    sc.boosted = 1 if boosts else 0
    pgdat.kswapd_slice = s.cfg.kswapd_slice_ns
    s.stat.kswapd_runs[order] += 1
    log_event(s, k.L_KSWAPD, -1, node, 2, order, 0)
    if balance_loop_begin(s, node, sc):
        balance_pgdat_goes_on(s, node, pgdat, sc)
    else:
        balance_pgdat_ends(s, node, pgdat, sc)


@part
def kswapd_step_open(s: View, node: int, pgdat: Node) -> None:
    """A step in open loop: balance_pgdat begins, or ends after its time and kswapd goes to sleep."""
    begins = pgdat.kswapd_state == k.KSWAPD_WOKEN
    if begins:
        kswapd_begin_open(s, node, pgdat)
    else:
        kswapd_end_open(s, node, pgdat)
    log_event(s, k.L_KSWAPD, -1, node, 2 if begins else 3, 0, 0)


@part
def kswapd_step(s: View, node: int) -> None:
    """What kswapd does at its due time."""
    pgdat = s.node[node]
    if s.cfg.open_loop:
        kswapd_step_open(s, node, pgdat)
    elif pgdat.kswapd_state == k.KSWAPD_WOKEN:
        balance_pgdat_begins(s, node, pgdat, s.sc[node])
    elif pgdat.kswapd_state == k.KSWAPD_NAP:
        kswapd_nap_ends(s, node, pgdat)
    else:
        balance_pgdat_goes_on(s, node, pgdat, s.sc[node])
