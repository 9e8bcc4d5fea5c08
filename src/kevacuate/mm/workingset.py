# SPDX-License-Identifier: GPL-2.0-or-later
"""Shadow entries of dropped folios, and what a refault makes of them (mm/workingset.c, 7.2): in closed loop alone.

A dropped object's shadow stands where its links on an LRU list were: the age of its node's lists when it was evicted, the node's
number, and whether it had been active. Every object that is read again while it is dropped (``obj`` says -2) is a refault.
Approximate: the kernel may reclaim a shadow entry, the model never does.
"""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm import constants as k
from kevacuate.mm.buddy import page_zone
from kevacuate.mm.fields import View
from kevacuate.mm.lruvec import gen_type, gen_word, lruvec_lru_size
from kevacuate.mm.scan_balance import lru_note_cost


@part
def folio_lru_refs(s: View, attr: int, obj: int) -> int:
    """Uses of a folio through file descriptors, 0 to 4, with lru_gen (folio_lru_refs, include/linux/mm_inline.h)."""
    return (s.lru[gen_word(s, obj)] >> 3) + 1 if attr & k.ATTR_REFERENCED else 0


@part
def lru_tier_from_refs(attr: int, refs: int) -> int:
    """The tier of a folio that was used so often: the last one if it was in the working set, else order_base_2(refs)."""
    if attr & k.ATTR_WORKINGSET:
        return k.MAX_NR_TIERS - 1
    return 2 if refs > 2 else (1 if refs == 2 else 0)


@part(cold=True)
def lru_gen_eviction(s: View, pfn: int, attr: int, obj: int) -> int:
    """Count the eviction of a folio in its tier; the token of its shadow: the oldest generation, and its uses (:235)."""
    pgdat = s.node[s.zone[page_zone(s, pfn)].node]
    file = gen_type(attr)
    refs = folio_lru_refs(s, attr, obj)
    pgdat.evicted[k.MAX_NR_TIERS * file + lru_tier_from_refs(attr, refs)] += 1 << (s.meta[pfn] & 15)
    return (pgdat.min_seq[file] << k.LRU_REFS_WIDTH | max(refs - 1, 0)) & k.SHADOW_MASK


@part(cold=True)
def lru_gen_refault(s: View, pfn: int, attr: int, token: int, word: int) -> None:
    """A folio with the shadow entry *token*, *word* is read again: working set if it was so, and a refault of its tier (:292).

    Nothing is counted where it is read into another node. One that was evicted MAX_NR_GENS generations ago is a new one.
    """
    node = word >> 1
    pages = 1 << (s.meta[pfn] & 15)
    file = gen_type(attr)
    if node != s.zone[page_zone(s, pfn)].node:
        return
    count_refault(s, file, pages)
    pgdat = s.node[node]
    apart = pgdat.max_seq - (token >> k.LRU_REFS_WIDTH)
    if max(apart, -apart) >= k.MAX_NR_GENS:
        return
    refs = (token & k.MOST_LRU_REFS) + 1
    workingset = k.ATTR_WORKINGSET if word & 1 else 0
    pgdat.refaulted[k.MAX_NR_TIERS * file + lru_tier_from_refs(workingset, refs)] += pages
    if workingset:
        s.link[2 * pfn + 1] |= k.ATTR_WORKINGSET
        count_restore(s, file, pages)


@part(cold=True)
def count_refault(s: View, file: int, pages: int) -> None:
    """workingset_refault_file or workingset_refault_anon."""
    if file:
        s.stat.workingset_refault_file += pages
    else:
        s.stat.workingset_refault_anon += pages


@part(cold=True)
def count_restore(s: View, file: int, pages: int) -> None:
    """workingset_restore_*; an anonymous page comes back in a fault, so it is activated too."""
    if file:
        s.stat.workingset_restore_file += pages
        return
    s.stat.workingset_restore_anon += pages
    s.stat.workingset_activate_anon += pages


@part(cold=True)
def lru_gen_new_folio(s: View, pfn: int, attr: int, obj: int, before: int) -> None:
    """A folio of the LRU is new, or has moved here: *before* is what ``s.obj`` said of its object.

    What is read again is a refault. Anonymous memory is made in faults (folio_add_lru, mm/swap.c:549): it counts as used once, or
    as active where it was in the working set. Approximate: no folio of a file is taken to be made in a fault, as nobody knows.
    """
    if before >= 0 or obj < 0:
        return
    s.lru[gen_word(s, obj)] = 0
    at = 2 * (s.cfg.lru_first + obj)
    if before == k.OBJ_DROPPED and attr & k.ATTR_FILE:
        lru_gen_refault(s, pfn, attr, s.lru[at] + 0, s.lru[at + 1] + 0)
    elif before == k.OBJ_DROPPED and s.cfg.swap_pages and s.lru[at + 1] == k.IN_SWAP:
        entry = s.swap[s.lru[at] + 0]
        lru_gen_refault(s, pfn, attr, entry.age + 0, entry.shadow + 0)
    if not attr & (k.ATTR_FILE | k.ATTR_MLOCKED):
        workingset = s.link[2 * pfn + 1] & k.ATTR_WORKINGSET
        s.link[2 * pfn + 1] |= k.ATTR_ACTIVE if workingset else k.ATTR_REFERENCED


@part
def workingset_eviction(s: View, pfn: int, attr: int, obj: int) -> None:
    """Leave a shadow entry of a folio of the page cache that is evicted; the node's lists age by its size (:392)."""
    node = s.zone[page_zone(s, pfn)].node
    pgdat = s.node[node]
    at = 2 * (s.cfg.lru_first + obj)
    if s.cfg.lru_gen:
        s.lru[at] = lru_gen_eviction(s, pfn, attr, obj)
        s.lru[at + 1] = 2 * node + (1 if attr & k.ATTR_WORKINGSET else 0)
        return
    s.lru[at] = pgdat.nonresident_age & k.SHADOW_MASK
    s.lru[at + 1] = 2 * node + (1 if attr & k.ATTR_WORKINGSET else 0)
    pgdat.nonresident_age += 1 << (s.meta[pfn] & 15)


@part(cold=True)
def shadow_moves(s: View, source: int, obj: int) -> None:
    """Object *obj* is dropped as object *source* is, with its shadow entry; in open loop without one."""
    s.obj[obj] = k.OBJ_DROPPED
    if s.cfg.open_loop == 0:
        for i in range(2):
            s.lru[2 * (s.cfg.lru_first + obj) + i] = s.lru[2 * (s.cfg.lru_first + source) + i] + 0
        if s.cfg.swap_pages and s.lru[2 * (s.cfg.lru_first + obj) + 1] == k.IN_SWAP:
            s.swap[s.lru[2 * (s.cfg.lru_first + obj)]].obj = obj


@part
def workingset_size(s: View, node: int, file: bool) -> int:
    """Pages that a refault's distance is held against (:504): those that compete with it, anonymous ones where these may go."""
    pages = lruvec_lru_size(s, node, k.LRU_ACTIVE_FILE, k.ZONE_MOVABLE)
    if not file:
        pages += lruvec_lru_size(s, node, k.LRU_INACTIVE_FILE, k.ZONE_MOVABLE)
    if s.stat.nr_swap_pages:
        pages += lruvec_lru_size(s, node, k.LRU_ACTIVE_ANON, k.ZONE_MOVABLE)
        if file:
            pages += lruvec_lru_size(s, node, k.LRU_INACTIVE_ANON, k.ZONE_MOVABLE)
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
    distance = (pgdat.nonresident_age - age) & k.SHADOW_MASK
    if distance > workingset_size(s, node, True):
        return
    mine = s.node[s.zone[page_zone(s, pfn)].node]
    mine.nonresident_age += pages
    mine.workingset_activate_file += pages
    s.stat.workingset_activate_file += pages
    s.link[2 * pfn + 1] |= k.ATTR_ACTIVE
    if word & 1:
        s.link[2 * pfn + 1] |= k.ATTR_WORKINGSET
        s.stat.workingset_restore_file += pages
        lru_note_cost(s, s.zone[page_zone(s, pfn)].node, True, pages, 0)


@part(cold=True)
def anon_refault(s: View, pfn: int, slot: int) -> None:
    """:func:`workingset_refault` of a page that was read from a slot of swap."""
    entry = s.swap[slot]
    node = entry.shadow >> 1
    s.stat.workingset_refault_anon += 1
    distance = (s.node[node].nonresident_age - entry.age) & k.SHADOW_MASK
    if distance > workingset_size(s, node, False):
        return
    own = s.zone[page_zone(s, pfn)].node
    mine = s.node[own]
    mine.nonresident_age += 1
    mine.workingset_activate_anon += 1
    s.stat.workingset_activate_anon += 1
    s.link[2 * pfn + 1] |= k.ATTR_ACTIVE
    if entry.shadow & 1:
        s.link[2 * pfn + 1] |= k.ATTR_WORKINGSET
        s.stat.workingset_restore_anon += 1
        lru_note_cost(s, own, False, 1, 0)


@part(cold=True)
def refault(s: View, pfn: int, attr: int, obj: int) -> None:
    """:func:`workingset_refault`, if the folio is of the page cache or its page was in swap."""
    if attr & k.ATTR_FILE:
        workingset_refault(s, pfn, obj)
    elif s.cfg.swap_pages and s.lru[2 * (s.cfg.lru_first + obj) + 1] == k.IN_SWAP:
        anon_refault(s, pfn, s.lru[2 * (s.cfg.lru_first + obj)] + 0)
