# SPDX-License-Identifier: GPL-2.0-or-later
"""Waking the nodes' background threads: wakeup_kswapd (mm/vmscan.c, 7.2) and wakeup_kcompactd (mm/compaction.c, 7.2)."""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm.compact_suitable import compaction_suit_allocation_order
from kevacuate.mm.constants import (
    C_COMPACTION,
    C_KSWAPD_WAKE,
    C_NZONES,
    C_OFF_KSWAPD,
    C_TIME_SCALE,
    COMPACT_CONTINUE,
    GFP_DIRECT_RECLAIM,
    KC_DUE,
    KC_HI,
    KC_MAX_ORDER,
    KC_STATE,
    KCOMPACTD_IDLE,
    KCOMPACTD_WOKEN,
    KS,
    KS_DUE,
    KS_HI,
    KS_ORDER,
    KS_STATE,
    KSWAPD_IDLE,
    KSWAPD_WOKEN,
    L_KSWAPD,
    T_KSWAPD_WAKES,
    T_NEXT_DUE,
    T_NOW,
    Z_INDEX,
    Z_MANAGED,
    Z_NODE,
    ZS,
)
from kevacuate.mm.log import log_event
from kevacuate.mm.watermark import kcompactd_at, node_boosted, pgdat_balanced

WAKEUP_NS = 2_000
"""From wakeup_kcompactd to kcompactd_do_work on a native machine, multiplied by the time scale: 0.1 ms recorded at 25."""


@part
def kcompactd_due(s, at, due, state):  # type: ignore[no-untyped-def]
    """Be due at *due* ns in *state*."""
    s.work[at + KC_STATE] = state
    s.work[at + KC_DUE] = due
    s.stat[T_NEXT_DUE] = min(s.stat[T_NEXT_DUE], due)


@part(cold=True)
def kcompactd_node_suitable(s, node, at):  # type: ignore[no-untyped-def]
    """Whether some zone up to kcompactd_highest_zoneidx can be compacted for kcompactd_max_order (:3060)."""
    hi = s.work[at + KC_HI]
    for z in range(s.cfg[C_NZONES]):
        if s.zone[z * ZS + Z_NODE] != node or s.zone[z * ZS + Z_INDEX] > hi:
            continue
        if compaction_suit_allocation_order(s, z, s.work[at + KC_MAX_ORDER], hi) == COMPACT_CONTINUE:
            return True
    return False


@part(cold=True)
def wakeup_kcompactd(s, node, order, hi):  # type: ignore[no-untyped-def]
    """Remember the order and the zone index for kcompactd, then wake it if it sleeps and can do something (:3166).

    What it is not woken for it still finds: after its present work, or when its timeout ends.
    """
    at = kcompactd_at(s, node)
    if s.cfg[C_COMPACTION] == 0 or order == 0:
        return
    s.work[at + KC_MAX_ORDER] = max(s.work[at + KC_MAX_ORDER], order)
    s.work[at + KC_HI] = min(s.work[at + KC_HI], hi)
    if s.work[at + KC_STATE] == KCOMPACTD_IDLE and kcompactd_node_suitable(s, node, at):
        kcompactd_due(s, at, s.stat[T_NOW] + WAKEUP_NS * s.cfg[C_TIME_SCALE], KCOMPACTD_WOKEN)


@part(cold=True)
def wakeup_kswapd(s, z, order, hi, gfp):  # type: ignore[no-untyped-def]
    """Remember the order and the zone index for the node's kswapd; wake it if it sleeps and has something to do (:7471).

    A request that may not reclaim itself wakes kcompactd where kswapd has nothing to do.
    """
    if s.zone[z * ZS + Z_MANAGED] == 0:
        return
    node = s.zone[z * ZS + Z_NODE]
    at = s.cfg[C_OFF_KSWAPD] + node * KS
    s.work[at + KS_HI] = max(s.work[at + KS_HI], hi)
    s.work[at + KS_ORDER] = max(s.work[at + KS_ORDER], order)
    if s.work[at + KS_STATE] != KSWAPD_IDLE:
        return
    if not node_boosted(s, node, hi) and pgdat_balanced(s, node, order, hi):
        if not gfp & GFP_DIRECT_RECLAIM:
            wakeup_kcompactd(s, node, order, hi)
        return
    due = s.stat[T_NOW] + s.cfg[C_KSWAPD_WAKE]
    s.work[at + KS_STATE] = KSWAPD_WOKEN
    s.work[at + KS_DUE] = due
    s.stat[T_NEXT_DUE] = min(s.stat[T_NEXT_DUE], due)
    s.stat[T_KSWAPD_WAKES] += 1
    log_event(s, L_KSWAPD, -1, node, 1, 0, 0)
