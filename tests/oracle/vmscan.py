# SPDX-License-Identifier: GPL-2.0-or-later
"""Reclaim: `shrink_node` and what it calls, and direct reclaim (mm/vmscan.c), of a kernel without cgroups and shrinkers.

What kswapd does takes time, so the functions that it shares with direct reclaim are generators: they yield the cost (ns)
of each round of `shrink_lruvec`. Direct reclaim runs through them at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from .constants import (
    A_ACTIVATING,
    A_ACTIVE,
    A_BUSY,
    A_FILE,
    A_ON_LRU,
    A_PINNED,
    A_RECLAIM,
    A_REFERENCED,
    A_WORKINGSET,
    A_WRITEBACK,
    A_YOUNG,
    ACTIVE_ANON,
    ACTIVE_FILE,
    AF_CMA,
    COSTLY_ORDER,
    DEF_PRIORITY,
    FOLIO_BATCH_SIZE,
    GFP_FS,
    GFP_IO,
    INACTIVE_ANON,
    INACTIVE_FILE,
    L_DIRECT_RECLAIM,
    MAX_RECLAIM_RETRIES,
    MOST_SKIPPED,
    SWAP_CLUSTER_MAX,
    WMARK_HIGH,
    WMARK_LOW,
    WMARK_MIN,
    ZONE_NORMAL,
)
from .generations import use_seen
from .kcompactd import compact_gap, fails_for_want_of_memory
from .kswapd import pgdat_balanced, wake_up_kswapd
from .lru import is_dirty, lru_add_drain, lruvec_add_folio, lruvec_del_folio, write_out
from .machine import Lruvec, Machine
from .migrate import forget_owner
from .page_alloc import gfp_zone
from .pcp import free_unref_folios
from .swap import decide_anon, has_room, look, lru_note_cost
from .watermark import zone_watermark_ok
from .zone import Page, Zone


@dataclass
class ScanControl:
    """`struct scan_control`."""

    order: int
    gfp: int
    reclaim_idx: int
    kswapd: bool
    nr_to_reclaim: int = SWAP_CLUSTER_MAX
    priority: int = DEF_PRIORITY
    may_deactivate: bool = False
    force_deactivate: bool = False
    skipped_deactivate: bool = False
    no_cache_trim_mode: bool = False
    cache_trim_mode: bool = False
    cache_trim_mode_failed: bool = False
    compaction_ready: bool = False
    nr_scanned: int = 0
    nr_reclaimed: int = 0
    writeback: int = 0
    taken: int = 0
    unqueued_dirty: int = 0  # of the batch
    looked_at: int = 0  # pages of any list
    cost: int = 0  # ns
    left: list[int] = field(default_factory=lambda: [0] * 4)  # to scan yet, by list
    may_deactivate_anon: bool = False
    file_is_tiny: bool = False
    boost_left: int = 0  # of kswapd: it reclaims so much for a boost's sake, and does not swap
    lruvec_reclaimed: int = 0


def inactive_is_low(lruvec: Lruvec, lists: tuple[int, int] = (INACTIVE_FILE, ACTIVE_FILE)) -> bool:
    """Whether an inactive list is too short for the active one."""
    inactive, active = (lruvec.size(lru) for lru in lists)
    gigabytes = (inactive + active) * 4096 >> 30
    ratio = int((10 * gigabytes) ** 0.5) if gigabytes else 1
    return inactive * ratio < active


def prepare_scan_control(lruvec: Lruvec, sc: ScanControl) -> None:
    """May active pages be deactivated, and is there cold cache to be trimmed?"""
    sc.may_deactivate = sc.force_deactivate or lruvec.activated != lruvec.refaults or inactive_is_low(lruvec)
    cold = lruvec.size(INACTIVE_FILE) >> sc.priority
    sc.cache_trim_mode = bool(cold) and not sc.may_deactivate and not sc.no_cache_trim_mode


ANON = (INACTIVE_ANON, ACTIVE_ANON)
FILES = (INACTIVE_FILE, ACTIVE_FILE)


def prepare_anon(m: Machine, node: int, sc: ScanControl) -> None:
    """The same of anonymous lists; is there so little of files that only anonymous memory helps?"""
    lruvec = m.lruvecs[node]
    refaulted = lruvec.activated_anon != lruvec.refaults_anon
    sc.may_deactivate_anon = sc.force_deactivate or refaulted or inactive_is_low(lruvec, ANON)
    marks = sum(zone.wmark_pages(WMARK_HIGH) for zone in m.node_zones[node] if zone.managed)
    there = sum(zone.nr_free for zone in m.node_zones[node]) + sum(lruvec.size(lru) for lru in FILES)
    anon = lruvec.size(INACTIVE_ANON) >> sc.priority
    sc.file_is_tiny = there <= marks and not sc.may_deactivate_anon and anon > 0


def get_scan_count(m: Machine, node: int, sc: ScanControl) -> list[int]:
    """Pages to scan of each list."""
    lruvec = m.lruvecs[node]
    sizes = [lruvec.size(lru, sc.reclaim_idx) >> sc.priority for lru in (*ANON, *FILES)]
    if not has_room(m) or sc.boost_left:
        return [0, 0, *sizes[2:]]
    if not sc.priority and m.config.swappiness:
        m.reached["scans all lists alike"] += 1
        return sizes
    if sc.file_is_tiny:
        m.reached["scans anonymous lists alone"] += 1
        return [*sizes[:2], 0, 0]
    if sc.cache_trim_mode:
        m.reached["scans files alone, they are cold"] += 1
        return [0, 0, *sizes[2:]]
    m.reached["scans by swappiness and costs"] += 1
    both = sum(lruvec.costs)
    costs = [both + cost for cost in lruvec.costs]
    whole = sum(costs) + 1
    shares = (m.config.swappiness, 200 - m.config.swappiness)
    weights = [share * whole // (cost + 1) for share, cost in zip(shares, costs, strict=True)]
    return [size * weights[at // 2] // sum(weights) for at, size in enumerate(sizes)]


def nudge(m: Machine, sc: ScanControl, targets: list[int]) -> None:
    """Enough is reclaimed: stop, or scan the larger kind as far as the smaller one has been."""
    kinds = [sum(sc.left[:2]), sum(sc.left[2:])]
    if not all(kinds):
        sc.left = [0] * 4
        return
    m.reached["scans on in proportion"] += 1
    less = 0 if kinds[1] > kinds[0] else 1
    more = 1 - less
    percentage = kinds[less] * 100 // (sum(targets[2 * less : 2 * less + 2]) + 1)
    for lru in (2 * more, 2 * more + 1):
        scanned = targets[lru] - sc.left[lru]
        sc.left[lru] = max(targets[lru] * (100 - percentage) // 100 - scanned, 0)
    sc.left[2 * less] = sc.left[2 * less + 1] = 0


def isolate_lru_folios(m: Machine, node: int, sc: ScanControl, lru: int, nr_to_scan: int) -> list[Page]:
    """Take folios off the tail until so many pages are scanned; those of too high zones move to the head, in their order."""
    lruvec = m.lruvecs[node]
    source = lruvec.lists[lru]
    taken: list[Page] = []
    skipped: list[int] = []
    scan = 0
    while scan < nr_to_scan and source.tail() >= 0:
        page = m.heads[source.tail()]
        sc.looked_at += page.size
        if m.zone_of(page.pfn).index > sc.reclaim_idx and len(skipped) < MOST_SKIPPED:
            source.remove(page.pfn)
            skipped.append(page.pfn)
            m.events["pgscan_skip"] += page.size
            continue
        scan += page.size
        lruvec_del_folio(m, page)
        page.attr &= ~A_ON_LRU
        m.zone_of(page.pfn).nr_lru -= page.size
        taken.append(page)
    for pfn in skipped:
        source.add_head(pfn)
    m.reached["folio of too high a zone passed over"] += len(skipped)
    return taken


def shrink_folio_list(m: Machine, node: int, sc: ScanControl, pages: list[Page]) -> tuple[int, list[Page]]:
    """What becomes of each folio; the pages reclaimed, and the folios that stay."""
    kept: list[Page] = []
    free: list[tuple[int, int]] = []
    reclaimed = 0
    for page in pages:
        what = decide(m, node, sc, page)
        m.reached[f"folio {what}"] += 1
        if what in ("reclaimed", "swapped"):
            reclaimed += page.size
            if what == "reclaimed":
                forget_owner(m, page)
            free.append((page.pfn, page.order))
            if len(free) == FOLIO_BATCH_SIZE:
                free_unref_folios(m, free)
                free = []
            continue
        if what.startswith("activated"):
            page.attr |= A_ACTIVE
            m.events["pgactivate"] += page.size
        kept.append(page)
    free_unref_folios(m, free)
    return reclaimed, kept


def decide(m: Machine, node: int, sc: ScanControl, page: Page) -> str:
    """One turn of `shrink_folio_list`'s loop: in words, what becomes of the folio."""
    if page.attr & A_BUSY:
        return "kept, locked"
    sc.nr_scanned += page.size
    anonymous = not page.attr & A_FILE
    dirty = not anonymous and is_dirty(m, page)
    if dirty and not page.attr & A_WRITEBACK:
        sc.unqueued_dirty += page.size
    if page.attr & A_WRITEBACK:
        if sc.kswapd and page.attr & A_RECLAIM and m.lruvecs[node].writeback:
            return "activated, under writeback too long"
        page.attr |= A_RECLAIM
        sc.writeback += page.size
        return "activated, under writeback"
    if anonymous:
        before = m.events["pswpout"] + m.events["swpout_failed"]
        what = decide_anon(m, sc.gfp, page)
        sc.cost += (m.events["pswpout"] + m.events["swpout_failed"] - before) * m.config.zram_write_ns
        return what
    if m.config.lru_gen and page.attr & A_YOUNG:
        page.attr &= ~A_YOUNG
        return f"{'activated' if use_seen(m, page) else 'kept'}, used through a page table"
    if page.attr & A_YOUNG:
        page.attr = page.attr & ~A_YOUNG | A_REFERENCED
        return "activated, used through a page table"
    if not m.config.lru_gen:
        page.attr &= ~A_REFERENCED
    if page.attr & A_PINNED:
        return "activated, pinned"
    if dirty:
        page.attr |= A_RECLAIM
        m.lruvecs[node].marked += 1
        m.events["nr_vmscan_immediate_reclaim"] += page.size
        return "activated, dirty"
    if page.attr & A_ACTIVATING:
        return "kept, in a batch"
    return "reclaimed"


def move_folios_to_lru(m: Machine, node: int, pages: list[Page]) -> None:
    """Back onto the lists that their flags name."""
    for page in pages:
        page.attr |= A_ON_LRU
        m.zone_of(page.pfn).nr_lru += page.size
        lruvec_add_folio(m, page)
        if page.attr & A_ACTIVE:
            m.lruvecs[node].nonresident_age += page.size


def too_many_isolated(m: Machine, node: int, sc: ScanControl, lru: int) -> bool:
    """Whether a direct reclaimer ought to wait for those who have pages isolated."""
    inactive = m.lruvecs[node].size(lru)
    if sc.gfp & GFP_IO and sc.gfp & GFP_FS:
        inactive //= 8
    isolated = m.lruvecs[node].isolated_file
    if lru == INACTIVE_ANON:
        isolated = sum(zone.nr_isolated for zone in m.node_zones[node]) - isolated
    return not sc.kswapd and isolated > inactive


def shrink_inactive_list(m: Machine, node: int, sc: ScanControl, lru: int, nr_to_scan: int) -> int:
    """Reclaim from the tail of an inactive list; the pages reclaimed."""
    if too_many_isolated(m, node, sc, lru):
        m.events["throttled_isolated"] += 1
        return 0
    write_out(m)
    lru_add_drain(m)
    before = sc.looked_at
    written = m.events["pswpout"]
    pages = isolate_lru_folios(m, node, sc, lru, nr_to_scan)
    sc.unqueued_dirty = 0
    sc.taken += sum(page.size for page in pages)
    sc.cost += (sc.looked_at - before) * m.config.shrink_inactive_ns
    reclaimed, kept = shrink_folio_list(m, node, sc, pages)
    move_folios_to_lru(m, node, kept)
    if pages and sc.unqueued_dirty == sum(page.size for page in pages):
        m.reached["flusher woken by reclaim"] += 1
        m.flush_due = min(m.flush_due, m.now + m.config.flush_ns * m.config.time_scale)
    who = "kswapd" if sc.kswapd else "direct"
    m.events[f"pgscan_{who}"] += sc.looked_at - before
    m.events[f"pgsteal_{who}"] += reclaimed
    if lru == INACTIVE_ANON:
        m.events["pgscan_anon"] += sc.looked_at - before
        m.events["pgsteal_anon"] += reclaimed
    io = m.events["pswpout"] - written
    lru_note_cost(m, node, lru == INACTIVE_FILE, io, sc.looked_at - before - reclaimed)
    return reclaimed


def shrink_active_list(m: Machine, node: int, sc: ScanControl, lru: int, nr_to_scan: int) -> None:
    """Deactivate from the tail of an active list."""
    lru_add_drain(m)
    before = sc.looked_at
    pages = isolate_lru_folios(m, node, sc, lru, nr_to_scan)
    if lru == ACTIVE_ANON:
        for page in pages:
            look(m, page)
    sc.cost += (sc.looked_at - before) * m.config.shrink_active_ns
    used = [page for page in pages if page.attr & A_YOUNG]
    unused = [page for page in pages if not page.attr & A_YOUNG]
    for page in used:
        page.attr &= ~A_YOUNG
    for page in unused:
        page.attr = page.attr & ~A_ACTIVE | A_WORKINGSET
    move_folios_to_lru(m, node, used)
    move_folios_to_lru(m, node, unused)
    m.reached["active folio used through a page table"] += len(used)
    m.events["pgrefill"] += sc.looked_at - before
    m.events["pgdeactivate"] += sum(page.size for page in unused)
    lru_note_cost(m, node, lru == ACTIVE_FILE, 0, sum(page.size for page in used))


def shrink_lruvec(m: Machine, node: int, sc: ScanControl) -> Iterator[int]:
    """Rounds of up to 32 pages of each list, until as much is scanned as the priority and the balance ask for."""
    targets = get_scan_count(m, node, sc)
    sc.left = list(targets)
    proportional = not sc.kswapd and sc.priority == DEF_PRIORITY
    sc.lruvec_reclaimed = 0
    while sc.left[INACTIVE_ANON] or sc.left[INACTIVE_FILE] or sc.left[ACTIVE_FILE]:
        before = sc.cost
        for lru in (*ANON, *FILES):
            batch = min(sc.left[lru], SWAP_CLUSTER_MAX)
            sc.left[lru] -= batch
            if batch and lru in (INACTIVE_ANON, INACTIVE_FILE):
                sc.lruvec_reclaimed += shrink_inactive_list(m, node, sc, lru, batch)
            elif batch and (sc.may_deactivate_anon if lru == ACTIVE_ANON else sc.may_deactivate):
                shrink_active_list(m, node, sc, lru, batch)
            elif batch:
                sc.skipped_deactivate = True
        if sc.lruvec_reclaimed >= sc.nr_to_reclaim and not proportional:
            nudge(m, sc, targets)
        yield sc.cost - before
    if m.swap is not None and inactive_is_low(m.lruvecs[node], ANON):
        shrink_active_list(m, node, sc, ACTIVE_ANON, SWAP_CLUSTER_MAX)
    sc.nr_reclaimed += sc.lruvec_reclaimed


def compaction_suitable(m: Machine, zone: Zone, order: int, mark: int, highest: int) -> bool:
    """`compaction_suitable`: enough order-0 pages, and a failure would be due to fragmentation."""
    mark += compact_gap(order)
    if order > COSTLY_ORDER:
        mark += zone.watermark[WMARK_LOW] - zone.watermark[WMARK_MIN]
    if not zone_watermark_ok(zone, 0, mark, highest, AF_CMA):
        return False
    return order <= COSTLY_ORDER or not fails_for_want_of_memory(m, zone, order)


def should_continue_reclaim(m: Machine, node: int, sc: ScanControl, reclaimed: int) -> bool:
    """Reclaim on, so that a compaction afterwards has pages to work with?"""
    compacts = bool(sc.gfp & GFP_IO) and sc.order > 0
    if not compacts or not (sc.order > COSTLY_ORDER or sc.priority < DEF_PRIORITY - 2) or not reclaimed:
        return False
    for zone in m.node_zones[node]:
        if zone.index > sc.reclaim_idx or not zone.managed:
            continue
        mark = zone.wmark_pages(WMARK_MIN)
        if zone_watermark_ok(zone, sc.order, mark, sc.reclaim_idx, 0):
            return False
        if compaction_suitable(m, zone, sc.order, mark, sc.reclaim_idx):
            return False
    anon = m.lruvecs[node].size(INACTIVE_ANON) if has_room(m) else 0
    return m.lruvecs[node].size(INACTIVE_FILE) + anon > compact_gap(sc.order)


def shrink_node(m: Machine, node: int, sc: ScanControl) -> Iterator[int]:
    """Shrink a node's lists."""
    from . import lrugen  # which needs what is here

    lruvec = m.lruvecs[node]
    if lruvec.gens is not None:
        yield from lrugen.shrink_node(m, node, sc)
        return
    reclaimable = False
    while True:
        sc.writeback = sc.taken = 0
        before = sc.nr_reclaimed
        prepare_scan_control(lruvec, sc)
        if m.swap is not None:
            prepare_anon(m, node, sc)
        yield from shrink_lruvec(m, node, sc)
        reclaimed = sc.nr_reclaimed - before
        reclaimable = reclaimable or reclaimed > 0
        if sc.kswapd and sc.writeback and sc.writeback == sc.taken:
            lruvec.writeback = True
        if not should_continue_reclaim(m, node, sc, reclaimed):
            break
        m.reached["reclaim goes on for a compaction's sake"] += 1
    if not reclaimable:
        sc.cache_trim_mode_failed = sc.cache_trim_mode_failed or sc.cache_trim_mode
    elif pgdat_balanced(m, node, sc.order, sc.reclaim_idx):
        if m.kswapds[node].failures >= MAX_RECLAIM_RETRIES:
            m.reached["hopeless node revived"] += 1
        m.kswapds[node].failures = 0


# Direct reclaim.


def zone_reclaimable_pages(m: Machine, zone: Zone) -> int:
    """Pages of the zone that may be reclaimed."""
    sizes = m.lruvecs[zone.node].sizes
    return sum(sizes[zone.index, lru] for lru in ((*ANON, *FILES) if has_room(m) else FILES))


def compaction_ready(m: Machine, zone: Zone, sc: ScanControl) -> bool:
    """Whether a costly request had better compact this zone."""
    if not sc.gfp & GFP_IO:
        return False
    if zone_watermark_ok(zone, sc.order, zone.wmark_pages(WMARK_MIN), sc.reclaim_idx, 0):
        return True
    return compaction_suitable(m, zone, sc.order, zone.wmark_pages(WMARK_HIGH), sc.reclaim_idx)


def kswapd_begins_meanwhile(m: Machine, node: int, sc: ScanControl) -> None:
    """While the task reclaims, time passes for kswapd too: one that was woken begins, if that was long enough."""
    from .balance import kswapd_step  # which needs what is here

    kswapd = m.kswapds[node]
    if kswapd.state == "WOKEN" and m.now + sc.cost * m.config.time_scale >= kswapd.due:
        m.reached["kswapd begins during a direct reclaim"] += 1
        cpu = m.cpu
        kswapd_step(m, node)
        m.cpu = cpu


def shrink_zones(m: Machine, zones: list[Zone], sc: ScanControl) -> None:
    """Each node of the zonelist once."""
    last = -1
    for zone in zones:
        if sc.order > COSTLY_ORDER and compaction_ready(m, zone, sc):
            sc.compaction_ready = True
        elif zone.node != last:
            last = zone.node
            for _ in shrink_node(m, last, sc):
                kswapd_begins_meanwhile(m, last, sc)


def do_try_to_free_pages(m: Machine, zones: list[Zone], sc: ScanControl) -> int:
    """Try harder and harder."""
    full_walk = False
    while True:
        m.events["allocstall"] += 1
        m.events[f"allocstall {sc.reclaim_idx}"] += 1
        sc.priority = DEF_PRIORITY
        while sc.priority >= 0:
            sc.nr_scanned = 0
            shrink_zones(m, zones, sc)
            if sc.nr_reclaimed >= sc.nr_to_reclaim or sc.compaction_ready:
                break
            sc.priority -= 1
        for zone in zones:
            m.lruvecs[zone.node].refaults = m.lruvecs[zone.node].activated
            m.lruvecs[zone.node].refaults_anon = m.lruvecs[zone.node].activated_anon
        if sc.nr_reclaimed:
            return sc.nr_reclaimed
        if sc.compaction_ready:
            m.reached["direct reclaim gives way to compaction"] += 1
            return 1
        if not full_walk:
            full_walk = True
        elif sc.skipped_deactivate and not sc.force_deactivate:
            m.reached["direct reclaim forces deactivation"] += 1
            sc.force_deactivate = True
            sc.skipped_deactivate = False
        else:
            m.reached["direct reclaim in vain"] += 1
            return 0


def allow_direct_reclaim(m: Machine, node: int) -> bool:
    """Whether half of what the MIN marks keep is still free."""
    if m.kswapds[node].failures >= MAX_RECLAIM_RETRIES:
        return True
    reserve = free = 0
    for zone in m.node_zones[node]:
        if zone.index > ZONE_NORMAL or not zone.managed:
            continue
        if zone_reclaimable_pages(m, zone) or not zone.nr_free:
            reserve += zone.wmark_pages(WMARK_MIN)
            free += zone.nr_free
    return reserve == 0 or free > reserve // 2


def throttle_direct_reclaim(m: Machine, zones: list[Zone]) -> None:
    """Would the task have to wait for kswapd? It is woken."""
    node = next((zone.node for zone in zones if zone.index <= ZONE_NORMAL), None)
    if node is None or allow_direct_reclaim(m, node):
        return
    m.events["pgscan_direct_throttle"] += 1
    kswapd = m.kswapds[node]
    if kswapd.sleeps:
        if kswapd.highest is None or kswapd.highest > ZONE_NORMAL:
            kswapd.highest = ZONE_NORMAL
        wake_up_kswapd(m, node)


def try_to_free_pages(m: Machine, zones: list[Zone], node: int, order: int, gfp: int) -> int:
    """Direct reclaim on this CPU for a request that may use these zones, `node` being the preferred one."""
    throttle_direct_reclaim(m, zones)
    sc = ScanControl(order, gfp, gfp_zone(gfp), kswapd=False)
    reclaimed = do_try_to_free_pages(m, zones, sc)
    m.events["reclaim_stall_ns"] += sc.cost
    if m.config.kswapd_slice_ns:
        m.late += m.config.time_scale * sc.cost
        m.reached["direct reclaim takes its task's time"] += bool(sc.cost)
    m.log(L_DIRECT_RECLAIM, -1, node, order, sc.nr_reclaimed, sc.looked_at)
    return reclaimed
