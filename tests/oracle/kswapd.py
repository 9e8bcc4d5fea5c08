# SPDX-License-Identifier: GPL-2.0-or-later
"""kswapd in outline: when it is woken, that it is active for a while, and that it gives boosts back."""

from __future__ import annotations

from .constants import L_KSWAPD, WMARK_HIGH
from .machine import Machine
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


def wakeup_kswapd(m: Machine, zone: Zone, order: int, highest: int) -> None:
    """Wake the zone's node's kswapd if it sleeps and there is something to do."""
    kswapd = m.kswapds[zone.node]
    if kswapd.state != "IDLE" or not zone.managed:
        return
    boosted = any(z.boost for z in m.node_zones[zone.node] if z.index <= highest)
    if not boosted and pgdat_balanced(m, zone.node, order, highest):
        return
    kswapd.state = "WOKEN"
    kswapd.due = m.now + m.config.kswapd_wake_ns
    m.log(L_KSWAPD, -1, zone.node, 1)


def kswapd_awake(m: Machine, node: int) -> bool:
    """Whether the node's kswapd is woken or running."""
    return m.kswapds[node].state != "IDLE"


def kswapd_step(m: Machine, node: int) -> None:
    """What happens at kswapd's due time: it begins, or it ends."""
    kswapd = m.kswapds[node]
    m.cpu = kswapd.cpu
    zones = m.node_zones[node]
    if kswapd.state == "WOKEN":
        kswapd.state = "RUNNING"
        kswapd.due = m.now + m.config.kswapd_run_ns
        for zone in zones:
            zone.reclaim_active = True
            kswapd.boosts[zone.number] = zone.boost
        m.log(L_KSWAPD, -1, node, 2)
        return
    for zone in zones:
        zone.reclaim_active = False
        zone.boost = max(zone.boost - kswapd.boosts[zone.number], 0)
    kswapd.state = "IDLE"
    kswapd.due = -1
    kswapd.boosts = {}
    m.log(L_KSWAPD, -1, node, 3)
