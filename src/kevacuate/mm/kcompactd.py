# SPDX-License-Identifier: GPL-2.0-or-later
"""The kcompactd threads: what they do once woken, or when their timeout ends (mm/compaction.c, 7.2); waking: :mod:`.wakeups`.

One turn of compact_zone is one step of virtual time, charged like an evacuation's steps. The recorded machine is busy with the
demand meanwhile, so a step takes longer than its cost: see :data:`SLOWER`.
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
    C_COMPACTION,
    C_NZONES,
    C_OFF_KSWAPD,
    C_OFF_NODE_CPU,
    C_PAGEBLOCK_ORDER,
    C_PROACTIVENESS,
    C_TIME_SCALE,
    COMPACT_COMPLETE,
    COMPACT_CONTINUE,
    COMPACT_MAX_DEFER_SHIFT,
    COMPACT_PARTIAL_SKIPPED,
    COMPACT_SUCCESS,
    KC_COST,
    KC_HI,
    KC_MAX_ORDER,
    KC_ORDER,
    KC_PROACTIVE,
    KC_RUN_HI,
    KC_SCORE,
    KC_STATE,
    KC_ZONE,
    KCOMPACTD_IDLE,
    KCOMPACTD_NS,
    KCOMPACTD_RUNNING,
    KCOMPACTD_WOKEN,
    KS,
    KS_STATE,
    KSWAPD_IDLE,
    NEVER,
    T_COMPACT_NS,
    T_CPU,
    T_NOW,
    Z_INDEX,
    Z_NODE,
    Z_PRESENT,
    ZONE_MOVABLE,
    ZS,
)
from kevacuate.mm.pcp import drain_all_pages_of_zone
from kevacuate.mm.wakeups import kcompactd_due
from kevacuate.mm.watermark import kcompactd_at

SLOWER = 5
"""Twice the ratio of a step's time to its cost. In 47 compactions of two recordings of emulated kernels with one CPU, and in 41
of one with two, a page took 84 us (medians 116, 69, 84), while its cost times the time scale is 34 us: the workload and kswapd
run too."""


@part
def proactive_marks(s):  # type: ignore[no-untyped-def]
    """(low, high) fragmentation scores between which proactive compaction works (:2262)."""
    low = 100 - s.cfg[C_PROACTIVENESS]
    return low, min(low + min(10, low // 2), 100)


@part
def fragmentation_score_node(s, node):  # type: ignore[no-untyped-def]
    """The zones' scores, weighted by their sizes (:2232)."""
    present = 0
    for z in range(s.cfg[C_NZONES]):
        if s.zone[z * ZS + Z_NODE] == node:
            present += s.zone[z * ZS + Z_PRESENT]
    score = 0
    for z in range(s.cfg[C_NZONES]):
        if s.zone[z * ZS + Z_NODE] == node:
            own = extfrag_for_order(s, z, s.cfg[C_PAGEBLOCK_ORDER])
            score += s.zone[z * ZS + Z_PRESENT] * own // (present + 1)
    return score


@part
def wants_compaction(s, z, order, hi):  # type: ignore[no-untyped-def]
    """Whether kcompactd_do_work goes on to compact_zone's loop for the zone.

    It asks with the zone's own index, so without lowmem reserves; compact_zone asks again, with the run's highest index.
    """
    index = s.zone[z * ZS + Z_INDEX]
    if index > hi or compaction_deferred(s, z, order):
        return False
    if compaction_suit_allocation_order(s, z, order, index) != COMPACT_CONTINUE:
        return False
    return compaction_suit_allocation_order(s, z, order, hi) == COMPACT_CONTINUE


@part
def next_zone_to_compact(s, node, at, cpu):  # type: ignore[no-untyped-def]
    """Begin with the node's next zone that wants it; False if there is none left."""
    order = s.work[at + KC_ORDER]
    proactive = s.work[at + KC_PROACTIVE] != 0
    for z in range(s.work[at + KC_ZONE] + 1, s.cfg[C_NZONES]):
        if s.zone[z * ZS + Z_NODE] != node:
            continue
        if proactive or wants_compaction(s, z, order, s.work[at + KC_RUN_HI]):
            s.work[at + KC_ZONE] = z
            compact_zone_begin(s, z, at, cpu, order, proactive)
            return True
    return False


@part
def kcompactd_sleep(s, node, at):  # type: ignore[no-untyped-def]
    """After its work: the next, if more was asked for meanwhile, else sleep (:3196).

    It sleeps half a second, 32 s after a proactive run that gained nothing, without end if vm.compaction_proactiveness is 0.
    """
    timeout = KCOMPACTD_NS
    if s.work[at + KC_PROACTIVE]:
        if fragmentation_score_node(s, node) >= s.work[at + KC_SCORE]:
            timeout <<= COMPACT_MAX_DEFER_SHIFT
        s.work[at + KC_PROACTIVE] = 0
    elif s.work[at + KC_ORDER] > 0:
        if s.work[at + KC_MAX_ORDER] <= s.work[at + KC_ORDER]:
            s.work[at + KC_MAX_ORDER] = 0
        if s.work[at + KC_HI] >= s.work[at + KC_RUN_HI]:
            s.work[at + KC_HI] = ZONE_MOVABLE
    if s.work[at + KC_MAX_ORDER] > 0:
        kcompactd_due(s, at, s.stat[T_NOW], KCOMPACTD_WOKEN)
        return
    due = s.stat[T_NOW] + timeout if s.cfg[C_PROACTIVENESS] else NEVER
    kcompactd_due(s, at, due, KCOMPACTD_IDLE)


@part
def kcompactd_begin(s, node, at, cpu, kswapd_runs):  # type: ignore[no-untyped-def]
    """An order was asked for: kcompactd_do_work; none: a proactive run if the node's score is high and kswapd sleeps."""
    s.work[at + KC_PROACTIVE] = 0
    s.work[at + KC_ZONE] = -1
    s.work[at + KC_ORDER] = s.work[at + KC_MAX_ORDER]
    s.work[at + KC_RUN_HI] = s.work[at + KC_HI]
    if s.work[at + KC_MAX_ORDER] == 0:
        score = fragmentation_score_node(s, node)
        _, high = proactive_marks(s)
        if s.cfg[C_PROACTIVENESS] == 0 or kswapd_runs or score <= high:
            kcompactd_sleep(s, node, at)
            return
        s.work[at + KC_PROACTIVE] = 1
        s.work[at + KC_SCORE] = score
        s.work[at + KC_ORDER] = -1
    kcompactd_next(s, node, at, cpu, 0)


@part
def kcompactd_next(s, node, at, cpu, pause):  # type: ignore[no-untyped-def]
    """Begin with the next zone after *pause* ns, or end this work."""
    if not next_zone_to_compact(s, node, at, cpu):
        kcompactd_sleep(s, node, at)
    elif s.cfg[C_COMPACTION] == 2:
        kcompactd_due(s, at, NEVER, KCOMPACTD_RUNNING)
    else:
        kcompactd_due(s, at, s.stat[T_NOW] + pause, KCOMPACTD_RUNNING)


@part
def compacted(s, at, z, result):  # type: ignore[no-untyped-def]
    """What kcompactd_do_work makes of a zone's result; a proactive run makes nothing of it."""
    if s.work[at + KC_PROACTIVE]:
        return
    if result == COMPACT_SUCCESS:
        compaction_defer_reset(s, z, s.work[at + KC_ORDER])
    elif result in (COMPACT_PARTIAL_SKIPPED, COMPACT_COMPLETE):
        drain_all_pages_of_zone(s, z)
        defer_compaction(s, z, s.work[at + KC_ORDER])


@part(cold=True)
def kcompactd_step(s, node):  # type: ignore[no-untyped-def]
    """What the thread does at its due time: begin, or one turn of compact_zone."""
    at = kcompactd_at(s, node)
    cpu = s.cfg[s.cfg[C_OFF_NODE_CPU] + node]
    s.stat[T_CPU] = cpu
    kswapd_runs = s.work[s.cfg[C_OFF_KSWAPD] + node * KS + KS_STATE] != KSWAPD_IDLE
    if s.work[at + KC_STATE] != KCOMPACTD_RUNNING:
        kcompactd_begin(s, node, at, cpu, kswapd_runs)
        return
    z = s.work[at + KC_ZONE]
    low, _ = proactive_marks(s)
    s.work[at + KC_COST] = 0
    result = compact_zone_turn(s, z, at, cpu, kswapd_runs, low)
    cost = s.work[at + KC_COST]
    s.stat[T_COMPACT_NS] += cost
    pause = SLOWER * cost * s.cfg[C_TIME_SCALE] // 2 + 1
    if result == COMPACT_CONTINUE:
        kcompactd_due(s, at, s.stat[T_NOW] + pause, KCOMPACTD_RUNNING)
        return
    compacted(s, at, z, result)
    kcompactd_next(s, node, at, cpu, pause)
