# SPDX-License-Identifier: GPL-2.0-or-later
"""The kcompactd threads: what they do once woken, or when their timeout ends (mm/compaction.c, 7.2); waking: :mod:`.wakeups`.

One turn of compact_zone is one step of virtual time, charged like an evacuation's steps. On a machine of one CPU it shares that
with tasks (:mod:`.shared_cpu`). Elsewhere the demand goes on beside it, and a step takes longer: see :data:`SLOWER_HALVES`.
"""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm.compact_suitable import (
    compaction_defer_reset,
    compaction_deferred,
    compaction_suit_allocation_order,
    defer_compaction,
    extfrag_for_order,
)
from kevacuate.mm.compact_zone import compact_zone_begin, compact_zone_turn
from kevacuate.mm.constants import (
    COMPACT_COMPLETE,
    COMPACT_CONTINUE,
    COMPACT_MAX_DEFER_SHIFT,
    COMPACT_PARTIAL_SKIPPED,
    COMPACT_SUCCESS,
    KCOMPACTD_IDLE,
    KCOMPACTD_NS,
    KCOMPACTD_RUNNING,
    KCOMPACTD_WOKEN,
    NEVER,
    ZONE_MOVABLE,
)
from kevacuate.mm.fields import CompactControl, Node, View
from kevacuate.mm.pcp import drain_all_pages_of_zone
from kevacuate.mm.shared_cpu import takes_the_cpu
from kevacuate.mm.wakeups import kcompactd_due, kswapd_sleeps

SLOWER_HALVES = 5
"""Twice the ratio of a step's time to its cost. In 47 compactions of two recordings of emulated kernels with one CPU, and in 41
of one with two, a page took 84 us (medians 116, 69, 84), while its cost times the time scale is 34 us: the workload and kswapd
run too."""


@part
def fragmentation_score_wmark(s: View) -> tuple[int, int]:
    """(low, high) fragmentation scores between which proactive compaction works (:2262)."""
    low = 100 - s.cfg.compaction_proactiveness
    return low, min(low + min(10, low // 2), 100)


@part
def fragmentation_score_node(s: View, node: int) -> int:
    """The zones' scores, weighted by their sizes (:2245)."""
    present = 0
    for z in range(s.cfg.nr_zones):
        zone = s.zone[z]
        if zone.node == node:
            present += zone.present_pages
    score = 0
    for z in range(s.cfg.nr_zones):
        zone = s.zone[z]
        if zone.node == node:
            own = extfrag_for_order(s, z, s.cfg.compaction_hpage_order)
            score += zone.present_pages * own // (present + 1)
    return score


@part
def wants_compaction(s: View, z: int, order: int, highest_zoneidx: int) -> bool:
    """Whether kcompactd_do_work goes on to compact_zone's loop for the zone.

    It asks with the zone's own index, so without lowmem reserves; compact_zone asks again, with the run's highest index.
    """
    index = s.zone[z].index
    if index > highest_zoneidx or compaction_deferred(s, z, order):
        return False
    if compaction_suit_allocation_order(s, z, order, index) != COMPACT_CONTINUE:
        return False
    return compaction_suit_allocation_order(s, z, order, highest_zoneidx) == COMPACT_CONTINUE


@part
def next_zone_to_compact(s: View, node: int, cc: CompactControl, cpu: int) -> bool:
    """Begin with the node's next zone that wants it; False if there is none left."""
    order = cc.order
    proactive = cc.proactive_compaction != 0
    for z in range(cc.zone + 1, s.cfg.nr_zones):
        if s.zone[z].node != node:
            continue
        if proactive or wants_compaction(s, z, order, cc.highest_zoneidx):
            cc.zone = z
            compact_zone_begin(s, z, cc, cpu)
            return True
    return False


@part
def kcompactd_sleep(s: View, node: int, cc: CompactControl) -> None:
    """After its work: the next, if more was asked for meanwhile, else sleep (:3196).

    It sleeps half a second, 32 s after a proactive run that gained nothing, without end if vm.compaction_proactiveness is 0.
    """
    pgdat = s.node[node]
    timeout = KCOMPACTD_NS
    if cc.proactive_compaction:
        if fragmentation_score_node(s, node) >= cc.score:
            timeout <<= COMPACT_MAX_DEFER_SHIFT
        cc.proactive_compaction = 0
    elif cc.order > 0:
        if pgdat.kcompactd_max_order <= cc.order:
            pgdat.kcompactd_max_order = 0
        if pgdat.kcompactd_highest_zoneidx >= cc.highest_zoneidx:
            pgdat.kcompactd_highest_zoneidx = ZONE_MOVABLE
    if pgdat.kcompactd_max_order > 0:
        kcompactd_due(s, pgdat, s.stat.now, KCOMPACTD_WOKEN)
        return
    due = s.stat.now + timeout if s.cfg.compaction_proactiveness else NEVER
    kcompactd_due(s, pgdat, due, KCOMPACTD_IDLE)


@part
def set_kcompactd_control(cc: CompactControl, order: int, highest_zoneidx: int, proactive: bool) -> None:
    """The compact_control of kcompactd_do_work for *order*, or of a proactive run (compact_node), whose order is -1."""
    cc.proactive_compaction = cc.ignore_skip_hint = cc.whole_zone = 1 if proactive else 0
    cc.fast_search_fail = 0
    cc.zone = -1
    cc.order = order
    cc.search_order = max(order, 0)
    cc.highest_zoneidx = highest_zoneidx


@part
def kcompactd_begin(s: View, node: int, cc: CompactControl, cpu: int, kswapd_runs: bool) -> None:
    """An order was asked for: kcompactd_do_work; none: a proactive run if the node's score is high and kswapd sleeps."""
    pgdat = s.node[node]
    set_kcompactd_control(cc, pgdat.kcompactd_max_order, pgdat.kcompactd_highest_zoneidx, False)
    if pgdat.kcompactd_max_order == 0:
        score = fragmentation_score_node(s, node)
        _, high = fragmentation_score_wmark(s)
        if s.cfg.compaction_proactiveness == 0 or kswapd_runs or score <= high:
            kcompactd_sleep(s, node, cc)
            return
        set_kcompactd_control(cc, -1, pgdat.kcompactd_highest_zoneidx, True)
        cc.score = score
    else:
        s.stat.compact_daemon_wake += 1
    pgdat.kcompactd_slice = s.cfg.kswapd_slice_ns
    kcompactd_next(s, node, cc, cpu, 0)


@part
def kcompactd_next(s: View, node: int, cc: CompactControl, cpu: int, pause: int) -> None:
    """Begin with the next zone after *pause* ns, or end this work."""
    pgdat = s.node[node]
    if not next_zone_to_compact(s, node, cc, cpu):
        kcompactd_sleep(s, node, cc)
    elif s.cfg.compaction == 2:
        kcompactd_due(s, pgdat, NEVER, KCOMPACTD_RUNNING)
    else:
        kcompactd_due(s, pgdat, s.stat.now + pause, KCOMPACTD_RUNNING)


@part
def compacted(s: View, cc: CompactControl, z: int, result: int) -> None:
    """What kcompactd_do_work makes of a zone's result; a proactive run makes nothing of it."""
    if cc.proactive_compaction:
        return
    if result == COMPACT_SUCCESS:
        compaction_defer_reset(s, z, cc.order, False)
    elif result in (COMPACT_PARTIAL_SKIPPED, COMPACT_COMPLETE):
        drain_all_pages_of_zone(s, z)
        defer_compaction(s, z, cc.order)


@part
def until_next_turn(s: View, pgdat: Node, ns: int) -> int:
    """How long after a turn's beginning the next one begins, in ns, if the turn takes *ns* of a CPU."""
    if s.cfg.kswapd_slice_ns == 0:
        return SLOWER_HALVES * ns // 2 + 1
    pause, left = takes_the_cpu(s, pgdat.kcompactd_slice + 0, ns)
    pgdat.kcompactd_slice = left
    return pause + 1


@part(cold=True)
def kcompactd_step(s: View, node: int) -> None:
    """What the thread does at its due time: begin, or one turn of compact_zone."""
    pgdat, cc = s.node[node], s.cc[node]
    cpu = pgdat.cpu
    s.stat.cpu = cpu
    kswapd_runs = not kswapd_sleeps(pgdat)
    if pgdat.kcompactd_state != KCOMPACTD_RUNNING:
        kcompactd_begin(s, node, cc, cpu, kswapd_runs)
        return
    z = cc.zone
    low, _ = fragmentation_score_wmark(s)
    cc.cost = 0
    result = compact_zone_turn(s, z, cc, cpu, kswapd_runs, low)
    cost = cc.cost
    s.stat.compact_ns += cost
    pause = until_next_turn(s, pgdat, cost * s.cfg.time_scale)
    if result == COMPACT_CONTINUE:
        kcompactd_due(s, pgdat, s.stat.now + pause, KCOMPACTD_RUNNING)
        return
    compacted(s, cc, z, result)
    kcompactd_next(s, node, cc, cpu, pause)
