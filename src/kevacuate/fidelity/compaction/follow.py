# SPDX-License-Identifier: GPL-2.0-or-later
"""Keeping the model's state in step with the recorded kernel: free lists by their operations, folios by what happens to them."""

from __future__ import annotations

from kevacuate.fidelity.compaction import books as bk
from kevacuate.fidelity.compaction.books import CompactionBooks
from kevacuate.jit import part
from kevacuate.kernel.hooks import ZONE_INDEX
from kevacuate.mm import constants as k
from kevacuate.mm.as_recorded import put_in_use, retype_block, rotate_free_list, set_block_skip
from kevacuate.mm.buddy import (
    account_freepages,
    add_to_free_list,
    del_page_from_free_list,
    get_pfnblock_migratetype,
    move_to_free_list,
    page_zone,
    set_pageblock_migratetype,
)
from kevacuate.mm.evacuate_isolate import update_cached_migrate
from kevacuate.mm.fields import View
from kevacuate.mm.lists import list_del
from kevacuate.mm.watermark import boost_watermark
from kevacuate.recording import EventChunk
from kevacuate.recording import event_numbers as ev

FIRST_FILE_LRU = 2
"""LRU_INACTIVE_FILE (include/linux/mmzone.h)."""


@part(cold=True)
def off_lists(s: View, pfn: int, order: int) -> None:
    """Take what stands on a list off it: the kernel uses it, whatever the model holds."""
    for page in range(pfn, pfn + (1 << order)):
        state, size = s.meta[page] >> 4, s.meta[page] & 15
        if state == k.CHUNK_BUDDY:
            z, mt = page_zone(s, page), get_pfnblock_migratetype(s, page)
            del_page_from_free_list(s, z, page, size, mt)
            account_freepages(s, z, -(1 << size), mt)
        elif state == k.CHUNK_COMPACT:
            list_del(s, page)
            s.meta[page] = k.CHUNK_TAIL << 4


@part
def unuse(s: View, b: CompactionBooks, pfn: int, order: int) -> None:
    """The pages are in use by nobody in particular: on a per-CPU list, or on their way."""
    off_lists(s, pfn, order)
    put_in_use(s, pfn, order)
    for page in range(pfn, pfn + (1 << order)):
        b.order[page] = b.inserted[page] = 0


@part
def use_folio(s: View, b: CompactionBooks, pfn: int, order: int, state: int, attr: int) -> None:
    """The pages are one folio in *state* with the attribute bits *attr*."""
    off_lists(s, pfn, order)
    for page in range(pfn, pfn + (1 << order)):
        s.meta[page] = k.CHUNK_TAIL << 4
        s.link[2 * page] = -1
        s.link[2 * page + 1] = 0
        b.order[page] = order
    s.meta[pfn] = state << 4 | order
    s.link[2 * pfn + 1] = attr


@part(cold=True)
def split_folio(s: View, b: CompactionBooks, pfn: int) -> None:
    """A part of a folio is seen by itself: the folio was split, its pages are single ones with its attributes."""
    order = b.order[pfn] + 0
    head = (pfn >> order) << order
    state, attr = s.meta[head] >> 4, s.link[2 * head + 1] + 0
    for page in range(head, head + (1 << order)):
        use_folio(s, b, page, 0, state, attr)


@part
def as_folio(s: View, b: CompactionBooks, pfn: int, order: int) -> None:
    """Make sure that the pages are a folio of *order* in the books."""
    if b.order[pfn] > order:
        split_folio(s, b, pfn)


@part(cold=True)
def add_free(s: View, z: int, pfn: int, order: int, mt: int, tail: bool) -> None:
    """gt_list 0 or 1."""
    off_lists(s, pfn, order)
    for page in range(pfn, pfn + (1 << order)):
        s.meta[page] = k.CHUNK_TAIL << 4
    add_to_free_list(s, z, pfn, order, mt, tail)
    account_freepages(s, z, 1 << order, mt)


@part
def follow_list(s: View, b: CompactionBooks, e: EventChunk, i: int) -> None:
    """gt_list: make the operation."""
    b.inputs[bk.N_LIST] += 1
    follow_operation(s, b, e.pfn[i] + 0, e.order[i] + 0, e.mt[i] + 0, e.a[i] + 0, e.b[i] + 0)


@part
def follow_operation(s: View, b: CompactionBooks, pfn: int, order: int, mt: int, op: int, to: int) -> None:
    """A list operation on a chunk of the list of type *mt*; *to*: the type whose list it moves to."""
    z = page_zone(s, pfn)
    if op < ev.LIST_DELETE:
        add_free(s, z, pfn, order, mt, op == ev.LIST_ADD_TAIL)
    elif s.meta[pfn] != (k.CHUNK_BUDDY << 4 | order):
        return
    elif op == ev.LIST_DELETE:
        del_page_from_free_list(s, z, pfn, order, mt)
        account_freepages(s, z, -(1 << order), mt)
        unuse(s, b, pfn, order)
    elif op == ev.LIST_MOVE:
        move_to_free_list(s, z, pfn, order, mt, to)
    else:
        rotate_free_list(s, z, order, mt, pfn, op == ev.LIST_ROTATE_LAST)


@part
def follow_allocation(s: View, b: CompactionBooks, e: EventChunk, i: int) -> None:
    """mm_page_alloc: a compound page, or single ones."""
    pfn, order = e.pfn[i] + 0, e.order[i] + 0
    b.inputs[bk.N_PAGES] += 1
    b.passed[pfn] = 0
    movable = k.ATTR_LRU if e.gfp[i] & k.GFP_MOVABLE else 0
    if movable and b.facts[bk.F_UNSEEN_LRU]:
        movable = k.ATTR_LRU | k.ATTR_ON_LRU
    if e.gfp[i] & k.GFP_COMP or order == 0:
        use_folio(s, b, pfn, order, k.CHUNK_ALLOC, movable)
    else:
        unuse(s, b, pfn, order)


@part(cold=True)
def drain_batches(s: View, b: CompactionBooks) -> None:
    """lru_add_drain: what waited in a batch is on an LRU list.

    Movable folios that no event has put there yet are mlocked: they join the unevictable list through a batch of their own
    (mlock_new_folio, mm/mlock.c), without an event.
    """
    for pfn in range(s.cfg.npages):
        if (
            s.meta[pfn] >> 4 == k.CHUNK_ALLOC
            and s.link[2 * pfn + 1] & (k.ATTR_LRU | k.ATTR_ON_LRU) == k.ATTR_LRU
        ):
            s.link[2 * pfn + 1] |= k.ATTR_ON_LRU
            b.inputs[bk.N_UNSEEN] += 1


@part(cold=True)
def let_go(b: CompactionBooks, e: EventChunk, i: int) -> None:
    """mm_page_free of a folio that the kernel had passed over: whether the task that frees it had unmapped it already.

    zap_pte_range (mm/memory.c) takes a mapping away at once, the reference with up to MAX_GATHER_BATCH_COUNT batches later
    (mm/mmu_gather.c): in between the folio has a reference beyond its mappings, and isolate_migratepages_block passes it over
    (mm/compaction.c). So it was if the task has done nothing else since. No event shows when.
    """
    row = b.passed[e.pfn[i]] + 0
    b.passed[e.pfn[i]] = 0
    if b.busy[e.pid[i] % bk.OWNERS] >= row:
        return
    b.inputs[bk.N_UNMAPPED] += 1
    b.tally[2 * bk.D_FOLIO] -= 1
    b.tally[2 * bk.D_FOLIO + 1] -= 1
    b.causes[bk.C_PASSED] -= 1
    if b.facts[bk.F_FIRST_KIND] == bk.D_FOLIO and b.facts[bk.F_FIRST_ROW] == row - 1:
        b.facts[bk.F_DIVERGED] = 0


@part
def follow_free(s: View, b: CompactionBooks, e: EventChunk, i: int) -> None:
    """mm_page_free: in use by nobody until a list has the pages."""
    pfn, order = e.pfn[i] + 0, e.order[i] + 0
    b.inputs[bk.N_PAGES] += 1
    if b.passed[pfn]:
        let_go(b, e, i)
    as_folio(s, b, pfn, order)
    if s.meta[pfn] >> 4 != k.CHUNK_BUDDY:
        unuse(s, b, pfn, order)


@part
def follow_lru(s: View, b: CompactionBooks, e: EventChunk, i: int) -> None:
    """mm_lru_insertion: the folio is on an LRU list from now on."""
    pfn = e.pfn[i] + 0
    b.inputs[bk.N_LRU] += 1
    if s.meta[pfn] >> 4 == k.CHUNK_TAIL and b.order[pfn] > 0:
        split_folio(s, b, pfn)
    if s.meta[pfn] >> 4 == k.CHUNK_RESERVED:
        s.link[2 * pfn + 1] = k.ATTR_ON_LRU
    elif s.meta[pfn] >> 4 == k.CHUNK_ALLOC or s.meta[pfn] >> 4 == k.CHUNK_ISOLATED:
        file = k.ATTR_FILE if e.a[i] >= FIRST_FILE_LRU and e.a[i] < 4 else 0
        s.meta[pfn] = k.CHUNK_ALLOC << 4 | (s.meta[pfn] & 15)
        s.link[2 * pfn + 1] = k.ATTR_LRU | k.ATTR_ON_LRU | file
    elif s.meta[pfn] >> 4 == k.CHUNK_COMPACT:
        b.inserted[pfn] = 1


@part(cold=True)
def follow_marks(s: View, b: CompactionBooks, e: EventChunk, i: int) -> None:
    """mm_setup_per_zone_wmarks: the zone's marks."""
    for z in range(s.cfg.nr_zones):
        zone = s.zone[z]
        if b.zone_index[z] & ZONE_INDEX == e.order[i] and zone.node == e.mt[i]:
            zone.watermark[0], zone.watermark[1] = e.a[i], e.b[i]
            zone.watermark[2], zone.watermark[3] = e.c[i], e.d[i]


@part(cold=True)
def follow_evacuation(s: View, b: CompactionBooks, e: EventChunk, i: int) -> None:
    """gt_evac: an evacuation leaves a skip bit, and where its last call found nothing it pushes the cached position (:434).

    Not where the kernel's evacuations leave skip bits alone. Of evacuations at a time the latest is followed.
    """
    op, pfn = e.order[i] + 0, e.pfn[i] + 0
    if op == ev.EVAC_STARTED:
        b.facts[bk.F_SKIPPED], b.facts[bk.F_TAKEN], b.facts[bk.F_LAST_TOOK] = e.a[i] & 1, 0, 1
    elif op == ev.EVAC_ISOLATE:
        b.facts[bk.F_LAST_TOOK] = e.b[i] if e.d[i] == 1 << s.cfg.pageblock_order else 1
        b.facts[bk.F_TAKEN] += e.b[i]
    elif op == ev.EVAC_AFTER:
        b.inputs[bk.N_EVACUATED] += 1
        skip = e.a[i] & 1
        set_block_skip(s, pfn, skip != 0)
        honoured = skip != 0 and (b.facts[bk.F_SKIPPED] == 0 or b.facts[bk.F_TAKEN] == 0)
        if honoured and b.facts[bk.F_LAST_TOOK] == 0:
            update_cached_migrate(s, page_zone(s, pfn), pfn + (1 << s.cfg.pageblock_order))


@part
def follow(s: View, b: CompactionBooks, e: EventChunk, i: int) -> None:
    """Any event that changes lists, blocks or folios."""
    kind = e.kind[i]
    if kind == ev.GT_LIST:
        follow_list(s, b, e, i)
    elif kind == ev.MM_PAGE_ALLOC:
        if e.pfn[i] >= 0:
            follow_allocation(s, b, e, i)
    elif kind == ev.MM_PAGE_FREE:
        follow_free(s, b, e, i)
    elif kind == ev.MM_LRU_INSERTION:
        follow_lru(s, b, e, i)
    elif kind == ev.GT_BLK:
        if b.facts[bk.F_UNLISTED]:
            retype_block(s, e.pfn[i] + 0, e.a[i] + 0)
        else:
            set_pageblock_migratetype(s, e.pfn[i] + 0, e.a[i] + 0)
    elif kind == ev.GT_EVAC:
        if e.order[i] != ev.EVAC_CLAIM:
            follow_evacuation(s, b, e, i)
        elif not b.facts[bk.F_UNSEEN_KSWAPD]:
            boost_watermark(s, page_zone(s, e.pfn[i] + 0), 0)
    elif kind == ev.MM_SETUP_PER_ZONE_WMARKS:
        follow_marks(s, b, e, i)
