# SPDX-License-Identifier: GPL-2.0-or-later
"""The kswapd thread in closed loop: `kswapd`, `kswapd_try_to_sleep`, `balance_pgdat` (mm/vmscan.c), as a generator.

It yields whenever time passes; `state` and `due` then say for how long, or that it is to be woken.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator

from .compaction import reset_isolation_suitable
from .constants import DEF_PRIORITY, GFP_KERNEL, L_KSWAPD, MAX_RECLAIM_RETRIES, TENTH_SECOND, WMARK_HIGH
from .kcompactd import compact_gap, wakeup_kcompactd
from .kswapd import kswapd_step_open, pgdat_balanced
from .lrugen import set_initial_priority
from .machine import Kswapd, Machine
from .vmscan import ScanControl, shrink_node

NEVER = -1


def kswapd_step(m: Machine, node: int) -> None:
    """kswapd is due."""
    kswapd = m.kswapds[node]
    m.cpu = kswapd.cpu
    if m.config.open_loop:
        kswapd_step_open(m, node)
        return
    if kswapd.thread is None:
        kswapd.thread = thread(m, node, kswapd)
    next(kswapd.thread)


def thread(m: Machine, node: int, kswapd: Kswapd) -> Iterator[None]:
    """What `kswapd` does for ever, from the first time that it is woken."""
    while True:
        kswapd.alloc_order, kswapd.order = kswapd.order, 0
        kswapd.run_highest, kswapd.highest = asked_highest(kswapd), None
        kswapd.state = "RUNNING"
        m.log(L_KSWAPD, -1, node, 2, kswapd.alloc_order)
        m.events[f"kswapd_runs {kswapd.alloc_order}"] += 1
        finished = yield from balance_pgdat(m, node, kswapd)
        asked = kswapd.alloc_order
        if finished >= asked:
            asked = finished = kswapd.order
            kswapd.run_highest = asked_highest(kswapd)
        elif m.config.compaction:
            m.reached["kswapd finishes at order 0 for a larger one"] += 1
        yield from try_to_sleep(m, node, kswapd, asked, finished)


def asked_highest(kswapd: Kswapd) -> int:
    """The highest zone index asked for, or that of the last run."""
    return kswapd.run_highest if kswapd.highest is None else kswapd.highest


def try_to_sleep(m: Machine, node: int, kswapd: Kswapd, asked: int, finished: int) -> Iterator[None]:
    """Sleep for a tenth of a second, then until woken; not if the node is not balanced, before or after."""
    kswapd.reclaim_order = finished
    if may_sleep(m, node, kswapd):
        for zone in m.node_zones[node]:
            reset_isolation_suitable(m, zone)
        wakeup_kcompactd(m, node, asked, kswapd.run_highest)
        kswapd.state, kswapd.due = "NAP", m.now + TENTH_SECOND + m.config.kswapd_wake_ns
        yield
        if kswapd.state == "WOKEN":
            m.events["kswapd_low_wmark_hit_quickly"] += 1
            return
        if may_sleep(m, node, kswapd):
            kswapd.state, kswapd.due = "IDLE", NEVER
            yield
            return
        m.reached["kswapd runs again after its short sleep"] += 1
    m.events["kswapd_high_wmark_hit_quickly"] += 1
    kswapd.state, kswapd.due = "WOKEN", m.now
    yield


def may_sleep(m: Machine, node: int, kswapd: Kswapd) -> bool:
    """`prepare_kswapd_sleep`."""
    if kswapd.failures >= MAX_RECLAIM_RETRIES:
        m.reached["kswapd gives up on a hopeless node"] += 1
        return True
    balanced = pgdat_balanced(m, node, kswapd.reclaim_order, kswapd.run_highest)
    if balanced:
        m.lruvecs[node].writeback = False
    return balanced


def set_reclaim_active(m: Machine, node: int, kswapd: Kswapd, active: bool) -> None:
    """ZONE_RECLAIM_ACTIVE of the zones of this run."""
    for zone in m.node_zones[node]:
        if zone.index <= kswapd.run_highest:
            zone.reclaim_active = active


def balance_pgdat(m: Machine, node: int, kswapd: Kswapd) -> Generator[None, None, int]:
    """Reclaim until the node is balanced; the order it was reclaimed for in the end."""
    zones = [zone for zone in m.node_zones[node] if zone.index <= kswapd.run_highest]
    kswapd.boosts = {zone.number: zone.boost for zone in zones}
    boost_left = sum(kswapd.boosts.values())
    boosted = boost_left > 0
    sc = kswapd.control = ScanControl(kswapd.alloc_order, GFP_KERNEL, kswapd.run_highest, kswapd=True)
    set_reclaim_active(m, node, kswapd, True)
    kswapd.slice = m.config.kswapd_slice_ns
    while sc.priority >= 1:
        balanced = pgdat_balanced(m, node, sc.order, kswapd.run_highest)
        if not balanced and boost_left:
            m.reached["boost forgotten, the node is not balanced"] += 1
            boost_left = 0
            sc.priority = DEF_PRIORITY
            continue
        if not boost_left and balanced:
            break
        raise_priority = not (boost_left and sc.priority == DEF_PRIORITY - 2)
        sc.nr_scanned = 0
        sc.boost_left = boost_left
        before = sc.nr_reclaimed
        if m.config.lru_gen:
            set_initial_priority(m, node, sc)
        sc.nr_to_reclaim = sum(max(zone.wmark_pages(WMARK_HIGH), 32) for zone in zones if zone.managed)
        for cost in shrink_node(m, node, sc):
            kswapd.due = m.now + cost * m.config.time_scale
            share_cpu(m, kswapd, cost * m.config.time_scale)
            yield
        if sc.order and sc.nr_reclaimed >= compact_gap(sc.order):
            m.reached["kswapd falls back to order 0"] += 1
            sc.order = 0
        reclaimed = sc.nr_reclaimed - before
        if max(sc.nr_scanned, reclaimed) >= sc.nr_to_reclaim:
            raise_priority = False
        boost_left -= min(boost_left, reclaimed)
        if boost_left and not reclaimed:
            m.reached["boost given up, nothing reclaimed"] += 1
            failed(m, kswapd, sc, boosted)
            break
        if raise_priority or not reclaimed:
            sc.priority -= 1
        if sc.priority < 1:
            if not sc.nr_reclaimed and not sc.no_cache_trim_mode and sc.cache_trim_mode_failed:
                m.reached["kswapd restarts without cache_trim_mode"] += 1
                sc.no_cache_trim_mode = True
                sc.priority = DEF_PRIORITY
            else:
                failed(m, kswapd, sc, boosted)
    set_reclaim_active(m, node, kswapd, False)
    if boosted:
        for zone in zones:
            zone.boost -= min(zone.boost, kswapd.boosts[zone.number])
        wakeup_kcompactd(m, node, m.config.pageblock_order, kswapd.run_highest)
    kswapd.boosts = {}
    m.lruvecs[node].refaults = m.lruvecs[node].activated
    m.lruvecs[node].refaults_anon = m.lruvecs[node].activated_anon
    m.log(L_KSWAPD, -1, node, 3, sc.order, sc.nr_reclaimed)
    return sc.order


def share_cpu(m: Machine, kswapd: Kswapd, ns: int) -> None:
    """kswapd has had the CPU for so long: tasks have waited, and have their turn once its slice is over."""
    whole = m.config.kswapd_slice_ns
    if whole:
        m.late += ns
        kswapd.slice -= ns
        if kswapd.slice <= 0:
            m.reached["kswapd leaves the CPU to tasks"] += 1
            kswapd.slice = whole
            kswapd.due += whole


def failed(m: Machine, kswapd: Kswapd, sc: ScanControl, boosted: bool) -> None:
    """A run ends without the node being balanced: a failure, if it reclaimed nothing and no boost was its cause."""
    if not sc.nr_reclaimed and not boosted:
        kswapd.failures += 1
        m.reached["kswapd reclaims nothing"] += 1
