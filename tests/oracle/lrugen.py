# SPDX-License-Identifier: GPL-2.0-or-later
"""The multi-gen LRU at work (mm/vmscan.c): aging, eviction, and the rounds of `lru_gen_shrink_node` for one lruvec a node."""

from __future__ import annotations

from collections.abc import Iterator

from .constants import (
    A_ACTIVE,
    A_BUSY,
    A_DIRTY,
    A_FILE,
    A_ON_LRU,
    A_RECLAIM,
    A_REFERENCED,
    A_WORKINGSET,
    A_WRITEBACK,
    A_YOUNG,
    DEF_PRIORITY,
    INACTIVE_ANON,
    INACTIVE_FILE,
    MAX_RECLAIM_RETRIES,
    WMARK_HIGH,
)
from .generations import (
    ANON,
    FILE,
    GENS,
    Generations,
    add,
    kind_of,
    move,
    recount,
    remove,
    seq_for,
    set_gen,
    tier_of,
    uses,
    worn,
)
from .kcompactd import compact_gap
from .kswapd import pgdat_balanced
from .lru import is_dirty, is_unwritten, lru_add_drain, write_out
from .machine import Lruvec, Machine
from .swap import has_room, look
from .vmscan import ScanControl, move_folios_to_lru, shrink_folio_list
from .watermark import zone_watermark_ok
from .zone import Page

BATCH = 64
A_MARKED = A_DIRTY | A_RECLAIM


def evictable(swappiness: int) -> tuple[int, ...]:
    """The types that may be evicted."""
    return (ANON, FILE) if swappiness else (FILE,)


# The feedback loop.


def controlled(setpoint: tuple[int, int], gain: int, value: tuple[int, int], other_gain: int) -> bool:
    """`positive_ctrl_err`."""
    if value[0] < BATCH:
        return True
    return value[0] * gain * (setpoint[1] + BATCH) <= value[1] * other_gain * (setpoint[0] + 1)


def last_unprotected_tier(m: Machine, gens: Generations, kind: int) -> int:
    """`get_tier_idx`."""
    first = gens.history[kind, 0].position
    for tier in (1, 2, 3):
        if not controlled(first, 2, gens.history[kind, tier].position, 3):
            m.reached["generations: tier protected"] += 1
            return tier - 1
    return 3


def whole(gens: Generations, kind: int) -> tuple[int, int]:
    """All tiers of a type together."""
    positions = [gens.history[kind, tier].position for tier in range(4)]
    return sum(p[0] for p in positions), sum(p[1] for p in positions)


def type_to_scan(gens: Generations, swappiness: int) -> int:
    """`get_type_to_scan`."""
    if swappiness < 2:
        return FILE
    if swappiness == 200:
        return ANON
    return FILE if controlled(whole(gens, ANON), swappiness, whole(gens, FILE), 200 - swappiness) else ANON


def roll(gens: Generations, kind: int, to: int) -> None:
    """The type's oldest generation is `to` from now on."""
    for tier in range(4):
        gens.history[kind, tier].roll()
    gens.min_seq[kind] = to


# Aging.


def protect(m: Machine, gens: Generations, page: Page) -> None:
    """The folio is spared for a generation."""
    kind, times = kind_of(page), uses(page)
    workingset, was_worn = bool(page.attr & A_WORKINGSET), worn(page)
    next_gen(m, gens, page)
    move(m, page, True)
    if not was_worn:
        gens.history[kind, tier_of(times, workingset)].protected += page.size


def next_gen(m: Machine, gens: Generations, page: Page) -> None:
    """`folio_inc_gen`."""
    oldest = gens.min_seq[kind_of(page)] % GENS
    if page.gen == oldest:
        page.attr &= ~A_REFERENCED
        page.refs = 0
        set_gen(m, page, (oldest + 1) % GENS)


def try_to_inc_min_seq(gens: Generations, swappiness: int) -> None:
    """Empty generations go; the types stay in step."""
    wanted = list(gens.min_seq)
    limit = gens.max_seq - 2
    for kind in evictable(swappiness):
        while wanted[kind] <= limit and not any(
            len(gens.lists[wanted[kind] % GENS, kind, index]) for index in range(4)
        ):
            wanted[kind] += 1
    if wanted == gens.min_seq:
        return
    if swappiness:
        for kind, other in ((ANON, FILE), (FILE, ANON)):
            if wanted[kind] > limit and wanted[other] < limit:
                wanted[kind] = limit
                break
    for kind in evictable(swappiness):
        if wanted[kind] > gens.min_seq[kind]:
            roll(gens, kind, wanted[kind])


def walk(m: Machine, gens: Generations, sc: ScanControl, swappiness: int) -> None:
    """The page table walk: what was used since the last look is marked, or promoted to the youngest generation."""
    for (_, kind, _), pages in gens.lists.items():
        for pfn in pages if kind in evictable(swappiness) else ():
            page = m.heads[pfn]
            used = look(m, page) if kind == ANON else bool(page.attr & A_YOUNG)
            page.attr &= ~A_YOUNG
            if kind == ANON or used:
                sc.cost += page.size * m.config.scan_ns
            if not used:
                continue
            if page.attr & (A_REFERENCED | A_WORKINGSET):
                m.reached["generations: folio promoted by the walk"] += 1
                page.attr = page.attr & ~A_REFERENCED | A_WORKINGSET
                set_gen(m, page, gens.max_seq % GENS)
            else:
                page.attr |= A_REFERENCED
            page.refs = 0


def age(m: Machine, node: int, sc: ScanControl, swappiness: int) -> None:
    """`try_to_inc_max_seq`."""
    gens = m.lruvecs[node].gens
    walk(m, gens, sc, swappiness)
    for kind in (ANON, FILE):
        if len(gens.generations(kind)) == GENS:
            assert kind not in evictable(swappiness)
            m.reached["generations: window moved past what may not be evicted"] += 1
            roll(gens, kind, gens.min_seq[kind] + 1)
    gens.max_seq += 1
    recount(m.lruvecs[node])
    m.events["lru_gen_aged"] += 1


# Eviction.


def spared(m: Machine, gens: Generations, sc: ScanControl, page: Page, tier: int) -> bool:
    """`sort_folio`."""
    if page.gen != gens.min_seq[kind_of(page)] % GENS:
        m.reached["generations: promoted folio sorted"] += 1
        move(m, page, True)
    elif worn(page) or tier_of(uses(page), bool(page.attr & A_WORKINGSET)) > tier:
        m.reached["generations: folio protected"] += 1
        protect(m, gens, page)
    elif m.zone_of(page.pfn).index > sc.reclaim_idx:
        m.reached["generations: folio of too high a zone moved on"] += 1
        next_gen(m, gens, page)
        move(m, page, False)
    else:
        return False
    return True


def scan(m: Machine, gens: Generations, sc: ScanControl, kind: int, most: int) -> tuple[list[Page], int]:
    """`scan_folios`: (folios isolated, pages scanned)."""
    taken: list[Page] = []
    if len(gens.generations(kind)) == 2:
        return taken, 0
    tier = last_unprotected_tier(m, gens, kind)
    scanned = looked = 0
    for index in [*range(sc.reclaim_idx, -1, -1), *range(3, sc.reclaim_idx, -1)]:
        pages = gens.lists[gens.min_seq[kind] % GENS, kind, index]
        while looked < most and sum(page.size for page in taken) < BATCH and pages.tail() >= 0:
            page = m.heads[pages.tail()]
            looked += 1
            scanned += page.size
            if spared(m, gens, sc, page, tier):
                m.events["pgrefill"] += page.size
                continue
            if not page.attr & A_REFERENCED:
                page.refs = 0
            remove(m, page, reclaiming=True)
            page.attr &= ~A_ON_LRU
            m.zone_of(page.pfn).nr_lru -= page.size
            taken.append(page)
    return taken, scanned


def isolate(
    m: Machine, gens: Generations, sc: ScanControl, most: int, swappiness: int
) -> tuple[list[Page], int]:
    """`isolate_folios`: (folios isolated, all of one type, pages scanned)."""
    kind, total = type_to_scan(gens, swappiness), 0
    for _ in evictable(swappiness):
        taken, scanned = scan(m, gens, sc, kind, most)
        total += scanned
        if taken:
            return taken, total
        if not scanned:
            m.reached["generations: other type scanned"] += 1
            kind = 1 - kind
    return [], total


def retried(m: Machine, page: Page) -> bool:
    """Whether a folio that was left is tried once more, in vain."""
    if not page.attr & A_BUSY or not page.attr & A_FILE:
        return False
    return not page.attr & (A_ACTIVE | A_WRITEBACK | A_YOUNG) and not is_dirty(m, page)


def evict(m: Machine, node: int, sc: ScanControl, most: int, swappiness: int) -> int:
    """`evict_folios`: the pages scanned."""
    write_out(m)
    gens = m.lruvecs[node].gens
    try_to_inc_min_seq(gens, swappiness)
    pages, scanned = isolate(m, gens, sc, most, swappiness)
    if scanned:
        try_to_inc_min_seq(gens, swappiness)
    sc.looked_at += scanned
    sc.cost += scanned * m.config.shrink_inactive_ns
    if not pages:
        return scanned
    kind, isolated = kind_of(pages[0]), sum(page.size for page in pages)
    sc.unqueued_dirty = 0
    sc.taken += isolated
    reclaimed, kept = shrink_folio_list(m, node, sc, pages)
    sc.nr_reclaimed += reclaimed
    if sc.unqueued_dirty == isolated:
        m.reached["flusher woken by reclaim"] += 1
        m.flush_due = min(m.flush_due, m.now + m.config.flush_ns * m.config.time_scale)
    again = [page for page in kept if retried(m, page)]
    for page in [*(page for page in kept if page not in again), *again]:
        if seq_for(gens, page) == gens.min_seq[kind]:
            m.reached["generations: rejected folio kept out of the oldest"] += 1
            page.attr = page.attr & ~A_REFERENCED | A_ACTIVE
            page.refs = 0
        move_folios_to_lru(m, node, [page])
    who = "kswapd" if sc.kswapd else "direct"
    m.events[f"pgscan_{who}"] += isolated
    m.events[f"pgsteal_{who}"] += reclaimed
    if kind == ANON:
        m.events["pgscan_anon"] += isolated
        m.events["pgsteal_anon"] += reclaimed
    return scanned


# A node.


def set_initial_priority(m: Machine, node: int, sc: ScanControl) -> None:
    """kswapd's first priority."""
    if sc.priority == DEF_PRIORITY and sc.nr_to_reclaim >= BATCH:
        lruvec = m.lruvecs[node]
        pages = lruvec.size(INACTIVE_FILE) + (lruvec.size(INACTIVE_ANON) if has_room(m) else 0)
        priority = pages.bit_length() - 1 - (sc.nr_to_reclaim - 1).bit_length()
        sc.priority = sorted((6, priority, 12))[1]
        m.reached["generations: kswapd begins at another priority"] += sc.priority != DEF_PRIORITY


def enough(m: Machine, node: int, sc: ScanControl) -> bool:
    """`should_abort_scan`."""
    if sc.nr_reclaimed >= max(sc.nr_to_reclaim, compact_gap(sc.order)):
        return True
    if not sc.kswapd or sc.order:
        return False
    return all(
        zone_watermark_ok(zone, 0, zone.wmark_pages(WMARK_HIGH) + BATCH, sc.reclaim_idx, 0)
        for zone in m.node_zones[node]
        if zone.index <= sc.reclaim_idx and zone.managed
    )


def shrink_node(m: Machine, node: int, sc: ScanControl) -> Iterator[int]:
    """`lru_gen_shrink_node`: the cost of each turn."""
    lruvec = m.lruvecs[node]
    sc.lruvec_reclaimed = sc.writeback = sc.taken = 0
    before = sc.nr_reclaimed
    if sc.kswapd and sc.boost_left:
        m.reached["generations: nothing reclaimed for a boost"] += 1
        return
    lru_add_drain(m)
    set_initial_priority(m, node, sc)
    if sc.kswapd:
        sc.nr_reclaimed = 0
    swappiness = m.config.swappiness if m.swap is not None and len(m.swap.free) >= BATCH else 0
    gens = lruvec.gens
    pages = sum(
        gens.pages[gen, kind, index]
        for kind in evictable(swappiness)
        for gen in gens.generations(kind)
        for index in range(4)
    )
    sc.left = [0, 0, pages >> sc.priority, 0]
    while sc.left[INACTIVE_FILE] > 0:
        cost = sc.cost
        oldest = min(gens.min_seq[kind] for kind in evictable(swappiness))
        older = gens.max_seq - oldest - 1
        ages = older < 1 or (older == 1 and sc.priority != DEF_PRIORITY)
        if ages:
            m.reached["generations: aged"] += 1
            age(m, node, sc, swappiness)
        scanned = evict(m, node, sc, min(sc.left[INACTIVE_FILE], BATCH), swappiness)
        sc.left[INACTIVE_FILE] -= scanned
        if not scanned or ages or enough(m, node, sc):
            sc.left[INACTIVE_FILE] = 0
        yield sc.cost - cost
    if sc.kswapd:
        sc.nr_reclaimed += before
    if sc.nr_reclaimed > before and pgdat_balanced(m, node, sc.order, sc.reclaim_idx):
        if m.kswapds[node].failures >= MAX_RECLAIM_RETRIES:
            m.reached["hopeless node revived"] += 1
        m.kswapds[node].failures = 0


def rotate_written(m: Machine, lruvec: Lruvec) -> None:
    """What was marked for reclaim is written: to the tail of the oldest generation, the last marked to the very end."""
    gens = lruvec.gens
    seqs = range(gens.max_seq, gens.min_seq[FILE] - 1, -1)
    for index in range(4):
        waiting: list[Page] = []
        for seq in seqs:
            for pfn in gens.lists[seq % GENS, FILE, index]:
                page = m.heads[pfn]
                marked = page.attr & A_MARKED == A_MARKED and not page.attr & A_WRITEBACK
                if marked and is_unwritten(m, page) and lruvec.marked > 0:
                    lruvec.marked -= 1
                    waiting.append(page)
        for page in reversed(waiting):
            remove(m, page, reclaiming=True)
            page.attr &= ~A_MARKED
            page.dirtied = 0
            add(m, page, reclaiming=True)
            m.reached["written folio rotated to the tail"] += 1
    lruvec.marked = 0
