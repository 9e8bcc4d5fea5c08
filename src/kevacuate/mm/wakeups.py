# SPDX-License-Identifier: GPL-2.0-or-later
"""Waking the nodes' background threads: wakeup_kswapd (mm/vmscan.c, 7.2) and wakeup_kcompactd (mm/compaction.c, 7.2)."""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm.compact_suitable import compaction_suit_allocation_order
from kevacuate.mm.constants import (
    COMPACT_CONTINUE,
    GFP_DIRECT_RECLAIM,
    KCOMPACTD_IDLE,
    KCOMPACTD_WOKEN,
    KSWAPD_IDLE,
    KSWAPD_NAP,
    KSWAPD_WOKEN,
    L_KSWAPD,
    MAX_RECLAIM_RETRIES,
    ZONE_NORMAL,
)
from kevacuate.mm.fields import Node, View
from kevacuate.mm.log import log_event
from kevacuate.mm.watermark import node_boosted, pgdat_balanced

WAKEUP_NS = 2_000
"""From wakeup_kcompactd to kcompactd_do_work on a native machine, multiplied by the time scale: 0.1 ms recorded at 25."""


@part
def kcompactd_due(s: View, pgdat: Node, due: int, state: int) -> None:
    """Be due at *due* ns in *state*."""
    pgdat.kcompactd_state = state
    pgdat.kcompactd_due = due
    s.stat.next_due = min(s.stat.next_due, due)


@part(cold=True)
def kcompactd_node_suitable(s: View, node: int, pgdat: Node) -> bool:
    """Whether some zone up to kcompactd_highest_zoneidx can be compacted for kcompactd_max_order (:3060)."""
    highest_zoneidx = pgdat.kcompactd_highest_zoneidx
    for z in range(s.cfg.nr_zones):
        zone = s.zone[z]
        if zone.node != node or zone.index > highest_zoneidx:
            continue
        if (
            compaction_suit_allocation_order(s, z, pgdat.kcompactd_max_order, highest_zoneidx)
            == COMPACT_CONTINUE
        ):
            return True
    return False


@part(cold=True)
def wakeup_kcompactd(s: View, node: int, order: int, highest_zoneidx: int) -> None:
    """Remember the order and the zone index for kcompactd, then wake it if it sleeps and can do something (:3166).

    What it is not woken for it still finds: after its present work, or when its timeout ends.
    """
    pgdat = s.node[node]
    if s.cfg.compaction == 0 or order == 0:
        return
    pgdat.kcompactd_max_order = max(pgdat.kcompactd_max_order, order)
    pgdat.kcompactd_highest_zoneidx = min(pgdat.kcompactd_highest_zoneidx, highest_zoneidx)
    if pgdat.kcompactd_state == KCOMPACTD_IDLE and kcompactd_node_suitable(s, node, pgdat):
        kcompactd_due(s, pgdat, s.stat.now + WAKEUP_NS * s.cfg.time_scale, KCOMPACTD_WOKEN)


@part(inline=True)
def kswapd_sleeps(pgdat: Node) -> bool:
    """Whether kswapd waits to be woken, be it in its short sleep."""
    return pgdat.kswapd_state == KSWAPD_IDLE or pgdat.kswapd_state == KSWAPD_NAP


@part(cold=True)
def wake_up_kswapd(s: View, node: int) -> None:
    """Wake a kswapd that sleeps. One that is woken from its short sleep keeps the order that its last run finished at."""
    pgdat = s.node[node]
    if pgdat.kswapd_state == KSWAPD_NAP:
        s.stat.kswapd_low_wmark_hit_quickly += 1
        pgdat.kswapd_order = max(pgdat.kswapd_order, pgdat.kswapd_reclaim_order)
    due = s.stat.now + s.cfg.kswapd_wake
    pgdat.kswapd_state = KSWAPD_WOKEN
    pgdat.kswapd_due = due
    s.stat.next_due = min(s.stat.next_due, due)
    s.stat.kswapd_wakes += 1
    log_event(s, L_KSWAPD, -1, node, 1, 0, 0)


@part(cold=True)
def wake_kswapd_for_reserves(s: View, node: int) -> None:
    """The node's reserves run out: wake its kswapd for the zones that have them, if it sleeps (mm/vmscan.c:6570)."""
    pgdat = s.node[node]
    if kswapd_sleeps(pgdat):
        if pgdat.kswapd_highest_zoneidx < 0 or pgdat.kswapd_highest_zoneidx > ZONE_NORMAL:
            pgdat.kswapd_highest_zoneidx = ZONE_NORMAL
        wake_up_kswapd(s, node)


@part(cold=True)
def wakeup_kswapd(s: View, z: int, order: int, highest_zoneidx: int, gfp: int) -> None:
    """Remember the order and the zone index for the node's kswapd; wake it if it sleeps and has something to do (:7471).

    A request that may not reclaim itself wakes kcompactd where kswapd has nothing to do, or the node is hopeless.
    """
    zone = s.zone[z]
    if zone.managed_pages == 0:
        return
    node = zone.node
    pgdat = s.node[node]
    pgdat.kswapd_highest_zoneidx = max(pgdat.kswapd_highest_zoneidx, highest_zoneidx)
    pgdat.kswapd_order = max(pgdat.kswapd_order, order)
    if not kswapd_sleeps(pgdat):
        return
    hopeless = pgdat.kswapd_failures >= MAX_RECLAIM_RETRIES
    if hopeless or (
        not node_boosted(s, node, highest_zoneidx) and pgdat_balanced(s, node, order, highest_zoneidx)
    ):
        if not gfp & GFP_DIRECT_RECLAIM:
            wakeup_kcompactd(s, node, order, highest_zoneidx)
        return
    wake_up_kswapd(s, node)
