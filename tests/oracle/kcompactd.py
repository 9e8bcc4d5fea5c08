# SPDX-License-Identifier: GPL-2.0-or-later
"""kcompactd: who wakes it, what for, when it looks for itself, and what it makes of a compaction's result.

In closed loop it then compacts (:mod:`.compact_node`). In open loop, once a run has begun, its result is given from outside.
"""

from __future__ import annotations

from .constants import (
    AF_CMA,
    COMPACT_COMPLETE,
    COMPACT_CONTINUE,
    COMPACT_PARTIAL_SKIPPED,
    COMPACT_SKIPPED,
    COMPACT_SUCCESS,
    COSTLY_ORDER,
    HALF_SECOND,
    L_COMPACT_BEGIN,
    SWAP_CLUSTER_MAX,
    WMARK_HIGH,
    WMARK_LOW,
    WMARK_MIN,
    ZONE_MOVABLE,
)
from .lru import lru_add_drain
from .machine import Kcompactd, Machine
from .pcp import drain_all_pages
from .watermark import zone_watermark_ok
from .zone import Zone


def compact_gap(order: int) -> int:
    """Pages that a compaction for this order needs to work with."""
    return min(2 << order, SWAP_CLUSTER_MAX)


def chunks_of_size(zone: Zone, order: int) -> int:
    """How many chunks of this order the free chunks of at least that order make."""
    return sum(area.nr_free << (o - order) for o, area in enumerate(zone.free_area) if o >= order)


def free_in_lists(zone: Zone) -> int:
    """Pages on all free lists, isolated ones too."""
    return sum(area.nr_free << o for o, area in enumerate(zone.free_area))


def fragmentation_score(zone: Zone, order: int) -> int:
    """Per cent of the free pages that lie in chunks below this order."""
    pages = free_in_lists(zone)
    return (pages - (chunks_of_size(zone, order) << order)) * 100 // pages if pages else 0


def node_score(m: Machine, node: int) -> int:
    """The scores of the node's zones for a pageblock, weighted by size."""
    zones = m.node_zones[node]
    present = sum(zone.managed for zone in zones)
    return sum(
        zone.managed * fragmentation_score(zone, m.config.compaction_order) // (present + 1) for zone in zones
    )


def fails_for_want_of_memory(m: Machine, zone: Zone, order: int) -> bool:
    """Whether the fragmentation index puts the blame for a failure on too little memory, not on fragmentation."""
    chunks = sum(area.nr_free for area in zone.free_area)
    if chunks == 0:
        return True
    if chunks_of_size(zone, order):
        return False
    index = 1000 - (1000 + (free_in_lists(zone) * 1000 >> order)) // chunks
    return 0 <= index <= m.config.extfrag_threshold


def suitability(m: Machine, zone: Zone, order: int, highest: int) -> int:
    """`compaction_suit_allocation_order` for kcompactd: is there a page already, can compaction make one, or neither."""
    mark, free = zone.wmark_pages(WMARK_MIN), zone.nr_free
    if m.config.defrag_mode:
        mark, free = zone.wmark_pages(WMARK_HIGH), zone.nr_free_blocks
    if zone_watermark_ok(zone, order, mark, highest, 0, free):
        return COMPACT_SUCCESS
    needed = mark + compact_gap(order)
    if order > COSTLY_ORDER:
        needed += zone.watermark[WMARK_LOW] - zone.watermark[WMARK_MIN]
    if not zone_watermark_ok(zone, 0, needed, highest, AF_CMA):
        return COMPACT_SKIPPED
    if order > COSTLY_ORDER and fails_for_want_of_memory(m, zone, order):
        return COMPACT_SKIPPED
    return COMPACT_CONTINUE


def wakeup_kcompactd(m: Machine, node: int, order: int, highest: int) -> None:
    """Note what is wanted; wake the thread if it sleeps and some zone can be compacted for what is noted."""
    if not m.config.compaction or order == 0:
        return
    thread = m.kcompactds[node]
    thread.max_order = max(thread.max_order, order)
    thread.highest = min(thread.highest, highest)
    if thread.state != "IDLE":
        m.reached["kcompactd asked while it works"] += 1
        return
    zones = [zone for zone in m.node_zones[node] if zone.index <= thread.highest]
    if all(suitability(m, zone, thread.max_order, thread.highest) != COMPACT_CONTINUE for zone in zones):
        m.reached["kcompactd asked in vain, order remembered"] += 1
        return
    m.reached["kcompactd woken"] += 1
    thread.state = "WOKEN"
    thread.due = m.now + 2000 * m.config.time_scale


def deferred(zone: Zone, order: int) -> bool:
    """Whether the zone sits this attempt out, which counts as one."""
    if order < zone.order_failed:
        return False
    zone.considered = min(zone.considered + 1, 1 << zone.defer_shift)
    return zone.considered < 1 << zone.defer_shift


def wants_compaction(m: Machine, thread: Kcompactd, zone: Zone) -> bool:
    """Whether an order's run compacts the zone: asked with its own index, then with the run's."""
    if zone.index > thread.run_highest:
        return False
    if deferred(zone, thread.order):
        m.reached["compaction deferred"] += 1
        return False
    indices = (zone.index, thread.run_highest)
    return all(suitability(m, zone, thread.order, index) == COMPACT_CONTINUE for index in indices)


def compact_zone_begins(m: Machine, thread: Kcompactd, zone: Zone) -> None:
    """`compact_zone` up to its loop. What one zone has set whole_zone to holds for the next; in open loop it does not."""
    from .compaction import reset_isolation_suitable, restarting

    if restarting(zone, thread.order):
        reset_isolation_suitable(m, zone)
    last = (zone.end_pfn - 1) // m.block_pages * m.block_pages
    migrate, free = zone.start_pfn, last
    if m.config.open_loop:
        thread.whole_zone = thread.proactive
    if not thread.whole_zone:
        if not zone.start_pfn <= zone.cached_free_pfn < zone.end_pfn:
            zone.cached_free_pfn = last
        if not zone.start_pfn <= zone.cached_migrate_sync < zone.end_pfn:
            zone.cached_migrate_pfn = zone.cached_migrate_sync = zone.start_pfn
        migrate, free = zone.cached_migrate_sync, zone.cached_free_pfn
        thread.whole_zone = migrate <= zone.init_migrate_pfn
    m.log(L_COMPACT_BEGIN, migrate, free, thread.order, zone.number)
    lru_add_drain(m)


def next_zone(m: Machine, node: int, pause: int = 0) -> None:
    """Begin with the node's next zone that wants it, after a pause of so many ns; or end the work."""
    thread = m.kcompactds[node]
    while thread.left:
        zone = thread.left.pop(0)
        if thread.proactive or wants_compaction(m, thread, zone):
            thread.zone = zone.number
            thread.state, thread.due = "RUNNING", -1
            if m.config.open_loop:
                compact_zone_begins(m, thread, zone)
            else:
                from .compact_node import begin

                begin(m, thread, zone)
                thread.due = m.now + pause
            return
    work_is_over(m, node)


def work_is_over(m: Machine, node: int) -> None:
    """Forget what is done; go on at once with what was asked for meanwhile, or sleep."""
    thread = m.kcompactds[node]
    timeout = HALF_SECOND
    if thread.proactive and node_score(m, node) >= thread.score:
        timeout *= 64
    if not thread.proactive and thread.order > 0:
        if thread.max_order <= thread.order:
            thread.max_order = 0
        if thread.highest >= thread.run_highest:
            thread.highest = ZONE_MOVABLE
    thread.proactive = False
    if thread.max_order:
        m.reached["kcompactd goes on with what was asked for meanwhile"] += 1
        thread.state, thread.due = "WOKEN", m.now
    else:
        thread.state, thread.due = "IDLE", m.now + timeout if m.config.compaction_proactiveness else -1


def kcompactd_step(m: Machine, node: int) -> None:
    """The thread was woken, or its timeout has ended."""
    thread = m.kcompactds[node]
    m.cpu = thread.cpu
    if thread.state == "RUNNING":
        take_turn(m, node)
        return
    thread.control = None
    if thread.state == "IDLE" and thread.max_order:
        m.reached["kcompactd's timeout finds an order remembered"] += 1
    thread.proactive = False
    thread.order, thread.run_highest = thread.max_order, thread.highest
    thread.left = list(m.node_zones[node])
    thread.whole_zone = False
    if thread.max_order == 0:
        thread.score = node_score(m, node)
        low = 100 - m.config.compaction_proactiveness
        enough = min(low + min(10, low // 2), 100)
        if not m.kswapds[node].sleeps or m.config.compaction_proactiveness == 0 or thread.score <= enough:
            work_is_over(m, node)
            return
        thread.proactive, thread.order = True, -1
        thread.whole_zone = True
    thread.slice = m.config.kswapd_slice_ns
    next_zone(m, node)


def take_turn(m: Machine, node: int) -> None:
    """One turn of its compaction, and the time until the next."""
    thread = m.kcompactds[node]
    thread.cost = 0
    goes_on = next(thread.turns, thread) is not thread
    m.events["compact_ns"] += thread.cost
    pause = 1 + time_taken(m, thread, thread.cost * m.config.time_scale)
    if goes_on:
        thread.due = m.now + pause
    else:
        compaction_ended(m, node, thread.result, pause)


def time_taken(m: Machine, thread: Kcompactd, ns: int) -> int:
    """From a turn to the next, if it needs so much of the CPU. On a CPU of its own, which others use, it takes 2.5 times as long.

    Else tasks wait for it, and have the CPU for as long as its slices are once one is over.
    """
    whole = m.config.kswapd_slice_ns
    if not whole:
        return 5 * ns // 2
    m.late += ns
    thread.slice -= ns
    if thread.slice > 0:
        return ns
    m.reached["kcompactd leaves the CPU to tasks"] += 1
    thread.slice = whole
    return ns + whole


def compaction_ended(m: Machine, node: int, result: int, pause: int = 0) -> None:
    """What the thread makes of a zone's result, which in open loop is given; then the next zone."""
    thread = m.kcompactds[node]
    m.cpu = thread.cpu
    zone = m.zones[thread.zone]
    if not thread.proactive and result == COMPACT_SUCCESS:
        zone.order_failed = max(zone.order_failed, thread.order + 1)
    if not thread.proactive and result in (COMPACT_COMPLETE, COMPACT_PARTIAL_SKIPPED):
        drain_all_pages(m, zone)
        zone.considered = 0
        zone.defer_shift = min(zone.defer_shift + 1, 6)
        zone.order_failed = min(zone.order_failed, thread.order)
    next_zone(m, node, pause)
