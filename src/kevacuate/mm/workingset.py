# SPDX-License-Identifier: GPL-2.0-or-later
"""Shadow entries of dropped folios, and what a refault makes of them (mm/workingset.c, 7.2): in closed loop alone.

A dropped object's shadow stands where its links on an LRU list were: the age of its node's lists when it was evicted, the node's
number, and whether it had been active. Every object that is read again while it is dropped (``obj`` says -2) is a refault.
Approximate: the kernel may reclaim a shadow entry, the model never does.
"""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm.buddy import page_zone
from kevacuate.mm.constants import (
    ATTR_ACTIVE,
    ATTR_FILE,
    ATTR_WORKINGSET,
    IN_SWAP,
    LRU_ACTIVE_ANON,
    LRU_ACTIVE_FILE,
    LRU_INACTIVE_ANON,
    LRU_INACTIVE_FILE,
    OBJ_DROPPED,
    SHADOW_MASK,
    ZONE_MOVABLE,
)
from kevacuate.mm.fields import View
from kevacuate.mm.lruvec import lruvec_lru_size
from kevacuate.mm.scan_balance import lru_note_cost


@part
def workingset_eviction(s: View, pfn: int, attr: int, obj: int) -> None:
    """Leave a shadow entry of a folio of the page cache that is evicted; the node's lists age by its size (:392)."""
    node = s.zone[page_zone(s, pfn)].node
    pgdat = s.node[node]
    at = 2 * (s.cfg.lru_first + obj)
    s.lru[at] = pgdat.nonresident_age & SHADOW_MASK
    s.lru[at + 1] = 2 * node + (1 if attr & ATTR_WORKINGSET else 0)
    pgdat.nonresident_age += 1 << (s.meta[pfn] & 15)


@part(cold=True)
def shadow_moves(s: View, source: int, obj: int) -> None:
    """Object *obj* is dropped as object *source* is, with its shadow entry; in open loop without one."""
    s.obj[obj] = OBJ_DROPPED
    if s.cfg.open_loop == 0:
        for i in range(2):
            s.lru[2 * (s.cfg.lru_first + obj) + i] = s.lru[2 * (s.cfg.lru_first + source) + i] + 0
        if s.cfg.swap_pages and s.lru[2 * (s.cfg.lru_first + obj) + 1] == IN_SWAP:
            s.swap[s.lru[2 * (s.cfg.lru_first + obj)]].obj = obj


@part
def workingset_size(s: View, node: int, file: bool) -> int:
    """Pages that a refault's distance is held against (:504): those that compete with it, anonymous ones where these may go."""
    pages = lruvec_lru_size(s, node, LRU_ACTIVE_FILE, ZONE_MOVABLE)
    if not file:
        pages += lruvec_lru_size(s, node, LRU_INACTIVE_FILE, ZONE_MOVABLE)
    if s.stat.nr_swap_pages:
        pages += lruvec_lru_size(s, node, LRU_ACTIVE_ANON, ZONE_MOVABLE)
        if file:
            pages += lruvec_lru_size(s, node, LRU_INACTIVE_ANON, ZONE_MOVABLE)
    return pages


@part
def workingset_refault(s: View, pfn: int, obj: int) -> None:
    """A dropped object is read again into a new folio: active at once, if active pages alone would have kept it (:548)."""
    pages = 1 << (s.meta[pfn] & 15)
    at = 2 * (s.cfg.lru_first + obj)
    age = s.lru[at] + 0
    word = s.lru[at + 1] + 0
    node = word >> 1
    pgdat = s.node[node]
    s.stat.workingset_refault_file += pages
    distance = (pgdat.nonresident_age - age) & SHADOW_MASK
    if distance > workingset_size(s, node, True):
        return
    mine = s.node[s.zone[page_zone(s, pfn)].node]
    mine.nonresident_age += pages
    mine.workingset_activate_file += pages
    s.stat.workingset_activate_file += pages
    s.link[2 * pfn + 1] |= ATTR_ACTIVE
    if word & 1:
        s.link[2 * pfn + 1] |= ATTR_WORKINGSET
        s.stat.workingset_restore_file += pages
        lru_note_cost(s, s.zone[page_zone(s, pfn)].node, True, pages, 0)


@part(cold=True)
def anon_refault(s: View, pfn: int, slot: int) -> None:
    """:func:`workingset_refault` of a page that was read from a slot of swap."""
    entry = s.swap[slot]
    node = entry.shadow >> 1
    s.stat.workingset_refault_anon += 1
    distance = (s.node[node].nonresident_age - entry.age) & SHADOW_MASK
    if distance > workingset_size(s, node, False):
        return
    own = s.zone[page_zone(s, pfn)].node
    mine = s.node[own]
    mine.nonresident_age += 1
    mine.workingset_activate_anon += 1
    s.stat.workingset_activate_anon += 1
    s.link[2 * pfn + 1] |= ATTR_ACTIVE
    if entry.shadow & 1:
        s.link[2 * pfn + 1] |= ATTR_WORKINGSET
        s.stat.workingset_restore_anon += 1
        lru_note_cost(s, own, False, 1, 0)


@part(cold=True)
def refault(s: View, pfn: int, attr: int, obj: int) -> None:
    """:func:`workingset_refault`, if the folio is of the page cache or its page was in swap."""
    if attr & ATTR_FILE:
        workingset_refault(s, pfn, obj)
    elif s.cfg.swap_pages and s.lru[2 * (s.cfg.lru_first + obj) + 1] == IN_SWAP:
        anon_refault(s, pfn, s.lru[2 * (s.cfg.lru_first + obj)] + 0)
