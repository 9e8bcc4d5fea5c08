# SPDX-License-Identifier: GPL-2.0-or-later
"""How much of the anonymous lists and of those of files is scanned (get_scan_count, lru_note_cost; mm/vmscan.c, mm/swap.c, 7.2).

Where there is no swap nothing of this is asked.
"""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm import constants as k
from kevacuate.mm.fields import ScanControl, View
from kevacuate.mm.lruvec import inactive_is_low, lruvec_lru_size
from kevacuate.mm.watermark import wmark_pages

SCAN_EQUAL = 0
SCAN_FRACT = 1
SCAN_ANON = 2
SCAN_FILE = 3


@part(cold=True)
def lru_note_cost(s: View, node: int, file: bool, nr_io: int, nr_rotated: int) -> None:
    """Reclaim of a list has cost I/O and turned pages round (mm/swap.c:275): costs decay as a quarter of the lists is reached."""
    cost = nr_io * k.SWAP_CLUSTER_MAX + nr_rotated
    if cost == 0 or s.cfg.swap_pages == 0:
        return
    pgdat = s.node[node]
    if file:
        pgdat.file_cost += cost
    else:
        pgdat.anon_cost += cost
    size = 0
    for lru in range(k.LRU_LISTS):
        size += lruvec_lru_size(s, node, lru, k.ZONE_MOVABLE)
    if pgdat.file_cost + pgdat.anon_cost > size // 4:
        pgdat.file_cost //= 2
        pgdat.anon_cost //= 2


@part
def anon_inactive_is_low(s: View, node: int) -> bool:
    """inactive_is_low of the anonymous lists."""
    inactive = lruvec_lru_size(s, node, k.LRU_INACTIVE_ANON, k.ZONE_MOVABLE)
    return inactive_is_low(inactive, lruvec_lru_size(s, node, k.LRU_ACTIVE_ANON, k.ZONE_MOVABLE))


@part(cold=True)
def prepare_anon(s: View, sc: ScanControl, node: int) -> None:
    """prepare_scan_control, what concerns anonymous lists (:2278, :2347): it comes after the part of files."""
    pgdat = s.node[node]
    refaulted = pgdat.workingset_activate_anon != pgdat.refaults_anon
    deactivate = sc.force_deactivate != 0 or refaulted or anon_inactive_is_low(s, node)
    sc.may_deactivate_anon = 1 if deactivate else 0
    free = marks = 0
    for z in range(s.cfg.nr_zones):
        zone = s.zone[z]
        if zone.node == node:
            free += zone.nr_free_pages
            if zone.managed_pages:
                marks += wmark_pages(s, z, k.WMARK_HIGH)
    file = lruvec_lru_size(s, node, k.LRU_INACTIVE_FILE, k.ZONE_MOVABLE)
    file += lruvec_lru_size(s, node, k.LRU_ACTIVE_FILE, k.ZONE_MOVABLE)
    anon = lruvec_lru_size(s, node, k.LRU_INACTIVE_ANON, k.ZONE_MOVABLE)
    tiny = file + free <= marks and not deactivate and anon >> sc.priority != 0
    sc.file_is_tiny = 1 if tiny else 0


@part
def scan_balance(s: View, sc: ScanControl) -> int:
    """Which lists are scanned (:2488): kswapd that reclaims a boost does not swap."""
    if s.stat.nr_swap_pages == 0 or sc.nr_boost_reclaim:
        return SCAN_FILE
    if sc.priority == 0 and s.cfg.swappiness:
        return SCAN_EQUAL
    if sc.file_is_tiny:
        return SCAN_ANON
    return SCAN_FILE if sc.cache_trim_mode else SCAN_FRACT


@part(cold=True)
def get_scan_count(s: View, sc: ScanControl, node: int) -> None:
    """What is scanned of each list, by the balance and, between both, by swappiness and what each has cost (:2488)."""
    pgdat = s.node[node]
    balance = scan_balance(s, sc)
    total = pgdat.anon_cost + pgdat.file_cost
    anon_cost = total + pgdat.anon_cost
    file_cost = total + pgdat.file_cost
    total = anon_cost + file_cost
    anon_part = s.cfg.swappiness * (total + 1) // (anon_cost + 1)
    file_part = (k.MAX_SWAPPINESS - s.cfg.swappiness) * (total + 1) // (file_cost + 1)
    for lru in range(k.LRU_LISTS):
        scan = lruvec_lru_size(s, node, lru, sc.reclaim_idx) >> sc.priority
        file = lru >= k.LRU_INACTIVE_FILE
        if balance == SCAN_FRACT:
            scan = scan * (file_part if file else anon_part) // (anon_part + file_part)
        elif balance != SCAN_EQUAL and (balance == SCAN_FILE) != file:
            scan = 0
        sc.targets[lru] = scan
        if file:
            sc.nr[lru - k.LRU_INACTIVE_FILE] = scan
        else:
            sc.nr_anon[lru] = scan


@part(cold=True)
def stay_in_proportion(sc: ScanControl) -> None:
    """Enough is reclaimed: the kind of which less is left is scanned no more, the other as far as that one was (:5913).

    If nothing is left of one kind nothing more is scanned.
    """
    nr_file = sc.nr[0] + sc.nr[1]
    nr_anon = sc.nr_anon[0] + sc.nr_anon[1]
    if nr_file == 0 or nr_anon == 0:
        sc.nr[0] = sc.nr[1] = sc.nr_anon[0] = sc.nr_anon[1] = 0
        return
    if nr_file > nr_anon:
        percentage = nr_anon * 100 // (sc.targets[0] + sc.targets[1] + 1)
        sc.nr_anon[0] = sc.nr_anon[1] = 0
        for i in range(2):
            sc.nr[i] = left_to_scan(sc.targets[2 + i] + 0, sc.nr[i] + 0, percentage)
        return
    percentage = nr_file * 100 // (sc.targets[2] + sc.targets[3] + 1)
    sc.nr[0] = sc.nr[1] = 0
    for i in range(2):
        sc.nr_anon[i] = left_to_scan(sc.targets[i] + 0, sc.nr_anon[i] + 0, percentage)


@part
def left_to_scan(target: int, left: int, percentage: int) -> int:
    """What of a list is to be scanned yet, if *percentage* of the other kind was left (:5940)."""
    scanned = target - left
    wanted = target * (100 - percentage) // 100
    return wanted - min(wanted, scanned)
