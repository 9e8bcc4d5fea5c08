# SPDX-License-Identifier: GPL-2.0-or-later
"""kswapd: when it is woken, and in open loop in outline what it does. In closed loop: :mod:`.balance`."""

from __future__ import annotations

from .constants import GFP_DIRECT_RECLAIM, L_KSWAPD, MAX_RECLAIM_RETRIES, WMARK_HIGH
from .kcompactd import compact_gap, wakeup_kcompactd
from .machine import Kswapd, Machine
from .watermark import zone_watermark_ok
from .zone import Zone


def pgdat_balanced(m: Machine, node: int, order: int, highest: int) -> bool:
    """Whether some zone of the node up to `highest` meets its high mark for this order."""
    zones = [zone for zone in m.node_zones[node] if zone.index <= highest and zone.managed]
    for zone in zones:
        free = zone.nr_free_blocks if m.config.defrag_mode and order else zone.nr_free
        if zone_watermark_ok(zone, order, zone.wmark_pages(WMARK_HIGH), highest, 0, free):
            return True
    return not zones


def wake_up_kswapd(m: Machine, node: int) -> None:
    """Wake a kswapd that sleeps. One woken early keeps the order that it finished at as a request."""
    kswapd = m.kswapds[node]
    if kswapd.state == "NAP":
        kswapd.order = max(kswapd.order, kswapd.reclaim_order)
        m.reached["kswapd woken from its short sleep"] += 1
    kswapd.state = "WOKEN"
    kswapd.due = m.now + m.config.kswapd_wake_ns
    m.log(L_KSWAPD, -1, node, 1)


def wakeup_kswapd(m: Machine, zone: Zone, order: int, highest: int, gfp: int) -> None:
    """Note what is wanted of the zone's node; wake its kswapd if it sleeps and there is something to do."""
    kswapd = m.kswapds[zone.node]
    if not zone.managed:
        return
    kswapd.order = max(kswapd.order, order)
    kswapd.highest = highest if kswapd.highest is None else max(kswapd.highest, highest)
    if not kswapd.sleeps:
        return
    boosted = any(z.boost for z in m.node_zones[zone.node] if z.index <= highest)
    hopeless = kswapd.failures >= MAX_RECLAIM_RETRIES
    m.reached["hopeless node left alone"] += hopeless
    if hopeless or (not boosted and pgdat_balanced(m, zone.node, order, highest)):
        if not gfp & GFP_DIRECT_RECLAIM:
            wakeup_kcompactd(m, zone.node, order, highest)
        return
    wake_up_kswapd(m, zone.node)


def kswapd_awake(m: Machine, node: int) -> bool:
    """Whether the node's kswapd is woken or running."""
    return not m.kswapds[node].sleeps


def balance_pgdat_begins(m: Machine, node: int, kswapd: Kswapd) -> None:
    """Take up what was asked for; nothing is reclaimed, but the order falls to 0 where the kernel's would."""
    kswapd.alloc_order, kswapd.order = kswapd.order, 0
    kswapd.run_highest = kswapd.run_highest if kswapd.highest is None else kswapd.highest
    kswapd.highest = None
    for zone in m.node_zones[node]:
        if zone.index <= kswapd.run_highest:
            zone.reclaim_active = True
            kswapd.boosts[zone.number] = zone.boost
    order = kswapd.alloc_order
    reclaims = any(kswapd.boosts.values()) or not pgdat_balanced(m, node, order, kswapd.run_highest)
    enough = sum(zone.nr_lru for zone in m.node_zones[node]) >= compact_gap(order)
    kswapd.reclaim_order = 0 if reclaims and enough else order


def try_to_sleep(m: Machine, node: int, kswapd: Kswapd) -> None:
    """Sleep, having woken kcompactd; or run again for a larger order that was asked for meanwhile."""
    asked, finished, highest = kswapd.alloc_order, kswapd.reclaim_order, kswapd.run_highest
    kswapd.state, kswapd.due = "IDLE", -1
    if finished == asked:
        asked = finished = kswapd.order
        highest = highest if kswapd.highest is None else kswapd.highest
    elif m.config.compaction:
        m.reached["kswapd finishes at order 0 for a larger one"] += 1
    if pgdat_balanced(m, node, finished, highest):
        wakeup_kcompactd(m, node, asked, highest)
    elif finished:
        m.reached["kswapd runs again at once"] += 1
        kswapd.state, kswapd.due = "WOKEN", m.now


def kswapd_step_open(m: Machine, node: int) -> None:
    """What happens at kswapd's due time, in open loop: it begins, or it ends."""
    kswapd = m.kswapds[node]
    m.cpu = kswapd.cpu
    if kswapd.state == "WOKEN":
        kswapd.state = "RUNNING"
        kswapd.due = m.now + m.config.kswapd_run_ns
        balance_pgdat_begins(m, node, kswapd)
        m.log(L_KSWAPD, -1, node, 2)
        return
    for zone in m.node_zones[node]:
        if zone.number in kswapd.boosts:
            zone.reclaim_active = False
            zone.boost = max(zone.boost - kswapd.boosts[zone.number], 0)
    boosted = any(kswapd.boosts.values())
    kswapd.boosts = {}
    if boosted:
        wakeup_kcompactd(m, node, m.config.pageblock_order, kswapd.run_highest)
    try_to_sleep(m, node, kswapd)
    m.log(L_KSWAPD, -1, node, 3)
