# SPDX-License-Identifier: GPL-2.0-or-later
"""Anonymous folios at the tail of the inactive list: what becomes of each (mm/vmscan.c, mm/page_io.c, 7.2).

zram is synchronous (SWP_SYNCHRONOUS_IO): a folio is clean once it is written, and freed in the same round. A large folio is
written whole and comes back in base pages. Approximate: what is not to be written keeps no slot in the swap cache. A large folio
without slots for all its pages, which the kernel splits, is activated. Shared memory is treated as anonymous memory is.
"""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm import constants as k
from kevacuate.mm.base_pages import base_pages_code, find_ids, spare_ids
from kevacuate.mm.buddy import page_zone
from kevacuate.mm.fields import ScanControl, View
from kevacuate.mm.lru_gen_refs import lru_gen_set_refs
from kevacuate.mm.swap_use import anon_referenced
from kevacuate.mm.swapfile import put_in_slot, swap_alloc, swap_entry_free
from kevacuate.mm.workingset import lru_gen_eviction
from kevacuate.mm.zsmalloc import zs_malloc

SWAP_KEEP = 0
"""The folio goes back to where its flags say,"""
SWAP_ACTIVATE = 1
"""it is activated,"""
SWAP_WRITTEN = 2
"""or it is in swap and nobody's."""


@part(cold=True)
def anon_folio(s: View, sc: ScanControl, cpu: int, pfn: int) -> int:
    """shrink_folio_list for an anonymous folio that is neither locked nor under writeback (:1050); what becomes of it."""
    used = anon_referenced(s, pfn)
    attr = s.link[2 * pfn + 1] + 0
    if used and s.cfg.lru_gen:
        return SWAP_ACTIVATE if lru_gen_set_refs(s, pfn) else SWAP_KEEP
    if used:  # folio_check_references, :889
        s.link[2 * pfn + 1] = attr | k.ATTR_REFERENCED
        return SWAP_ACTIVATE if attr & k.ATTR_REFERENCED else SWAP_KEEP
    if not s.cfg.lru_gen:
        s.link[2 * pfn + 1] = attr & ~k.ATTR_REFERENCED
    if not sc.gfp_mask & k.GFP_IO or attr & (k.ATTR_PINNED | k.ATTR_ACTIVATING):
        return SWAP_KEEP
    order = s.meta[pfn] & 15
    if s.stat.nr_swap_pages < 1 << order:
        s.stat.swap_full += 1 << order
        return SWAP_ACTIVATE
    return swap_writeout(s, sc, cpu, pfn, order)


@part(cold=True)
def swap_writeout(s: View, sc: ScanControl, cpu: int, pfn: int, order: int) -> int:
    """Write a folio to swap page by page (mm/page_io.c); it is nobody's then, or stays as it was if memory runs out."""
    obj = s.link[2 * pfn] + 0
    place = obj
    if order:
        first = find_ids(s, order)
        if first < 0:
            s.stat.swap_without_ids += 1 << order
            return SWAP_ACTIVATE
        place = s.stat.first_base_page + first
    sc.cost += s.cfg.zram_write_ns << order
    node = s.zone[page_zone(s, pfn)].node
    last = -1
    for _ in range(1 << order):
        zspage = zs_malloc(s, cpu, node)
        if zspage < 0:
            give_slots_back(s, cpu, last)
            s.stat.swpout_failed += 1 << order
            return SWAP_KEEP
        slot = swap_alloc(s)
        entry = s.swap[slot]
        entry.zspage = zspage
        entry.next = last
        last = slot
    leave_in_swap(s, pfn, place, last)
    if order:
        s.obj[obj] = base_pages_code(place - s.stat.first_base_page, order)
        spare_ids(s)
    sc.nr_pageout += 1 << order
    s.stat.pswpout += 1 << order
    if order == s.cfg.hpage_pmd_order:
        s.stat.thp_swpout += 1
    return SWAP_WRITTEN


@part(cold=True)
def give_slots_back(s: View, cpu: int, last: int) -> None:
    """What was written of a folio that cannot be written whole is given up, the last page first."""
    while last >= 0:
        before = s.swap[last].next + 0
        swap_entry_free(s, cpu, last)
        last = before


@part(cold=True)
def leave_in_swap(s: View, pfn: int, place: int, last: int) -> None:
    """A folio's pages are in slots, the last one in *last*: the objects from *place* on have them (__remove_mapping, :700)."""
    attr = s.link[2 * pfn + 1] + 0
    pages = 1 << (s.meta[pfn] & 15)
    node = s.zone[page_zone(s, pfn)].node
    pgdat = s.node[node]
    shadow = 2 * node + (1 if attr & k.ATTR_WORKINGSET else 0)
    age = pgdat.nonresident_age & k.SHADOW_MASK
    if s.cfg.lru_gen:
        age = lru_gen_eviction(s, pfn, attr, s.link[2 * pfn] + 0)
    for i in range(pages - 1, -1, -1):
        before = s.swap[last].next + 0
        put_in_slot(s, last, place + i, age, shadow)
        last = before
    if not s.cfg.lru_gen:
        pgdat.nonresident_age += pages
