# SPDX-License-Identifier: GPL-2.0-or-later
"""Putting onto the state what a recording says and the model did not decide: pages in use, what compaction took.

A verification (:mod:`kevacuate.fidelity`) runs parts of the model by themselves; what the other parts of the
kernel did meanwhile comes from the recording, through these.
"""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm.buddy import (
    account_freepages,
    add_to_free_list,
    del_page_from_free_list,
    free_list,
    free_one_page_merge,
    get_pfnblock_migratetype,
    move_freepages_block,
    page_zone,
    set_pageblock_migratetype,
)
from kevacuate.mm.compact_scanners import move_freelist, take_free_chunk
from kevacuate.mm.constants import (
    ATTR_DIRTY,
    ATTR_FILE,
    ATTR_LRU,
    ATTR_ON_LRU,
    CHUNK_ALLOC,
    CHUNK_BUDDY,
    CHUNK_TAIL,
    FPI_NONE,
    L_PCPU_DRAIN,
    PB_COMPACT_SKIP,
)
from kevacuate.mm.fields import View
from kevacuate.mm.layout import Int64Array
from kevacuate.mm.log import log_kmem

UNSURE = ATTR_DIRTY
"""Attribute bits of a staged folio of which it is not known whether it is clean page cache: dirty, and no file's."""


@part
def put_in_use(s: View, pfn: int, order: int) -> None:
    """Mark the pages of a chunk that left the lists as in use, one by one, by nobody in particular."""
    for page in range(pfn, pfn + (1 << order)):
        s.meta[page] = CHUNK_ALLOC << 4
        s.link[2 * page] = -1
        s.link[2 * page + 1] = 0


@part
def is_in_use(s: View, pfn: int, order: int) -> bool:
    """Whether every page of the chunk is in use."""
    for page in range(pfn, pfn + (1 << order)):
        if s.meta[page] != CHUNK_ALLOC << 4:
            return False
    return True


@part(cold=True)
def mark_lru(s: View, start: int, pages: int, attr: int) -> int:
    """Give the first pages in use of a block the attribute bits *attr*; how many of *pages* were found."""
    found = 0
    page = start
    end = start + (1 << s.cfg.pageblock_order)
    while found < pages and page < end:
        if s.meta[page] == CHUNK_ALLOC << 4:
            s.link[2 * page + 1] = attr
            found += 1
        page += 1
    return found


@part(cold=True)
def count_as_lru(s: View, start: int, pages: int) -> int:
    """Make so many of the block's pages in use PageLRU: a claim counts them, whichever they are."""
    return mark_lru(s, start, pages, ATTR_LRU | ATTR_ON_LRU)


@part(cold=True)
def uncount_lru(s: View, start: int) -> None:
    """Take that back."""
    for page in range(start, start + (1 << s.cfg.pageblock_order)):
        if s.meta[page] == CHUNK_ALLOC << 4:
            s.link[2 * page + 1] = 0


@part
def free_from_pcp(s: View, pfn: int, order: int) -> None:
    """What free_pcppages_bulk does with one chunk once it is off its list (page_alloc.c:1459 at 7.2)."""
    mt = get_pfnblock_migratetype(s, pfn)
    free_one_page_merge(s, page_zone(s, pfn), pfn, order, mt, FPI_NONE)
    log_kmem(s, L_PCPU_DRAIN, pfn, order, mt)


@part(cold=True)
def isolate_free_chunk(s: View, pfn: int, order: int) -> bool:
    """__isolate_free_page (:3123) of a free chunk of exactly this order, which is in use then; False if there is none."""
    if s.meta[pfn] != (CHUNK_BUDDY << 4 | order):
        return False
    take_free_chunk(s, page_zone(s, pfn), pfn, order)
    put_in_use(s, pfn, order)
    return True


@part(cold=True)
def take_free_page(s: View, pfn: int) -> bool:
    """Take one page out of the free chunk that holds it; the rest goes back to the heads. False if it is not free."""
    for order in range(s.cfg.max_page_order + 1):
        head = (pfn >> order) << order
        if s.meta[head] != (CHUNK_BUDDY << 4 | order):
            continue
        z = page_zone(s, head)
        mt = get_pfnblock_migratetype(s, head)
        del_page_from_free_list(s, z, head, order, mt)
        account_freepages(s, z, -1, mt)
        low = order - 1
        while low >= 0:
            upper = head + (1 << low)
            if pfn >= upper:
                add_to_free_list(s, z, head, low, mt, False)
                head = upper
            else:
                add_to_free_list(s, z, upper, low, mt, False)
            low -= 1
        put_in_use(s, pfn, 0)
        return True
    return False


@part(cold=True)
def take_free_pages(s: View, pfn: int, order: int) -> None:
    """Take the pages from *pfn* on, 2**order of them, out of the free chunks that hold some."""
    for page in range(pfn, pfn + (1 << order)):
        take_free_page(s, page)


@part(cold=True)
def retype_block(s: View, start: int, mt: int) -> None:
    """Give the block the type *mt*, its free chunks to that type's lists, if it has another."""
    old = get_pfnblock_migratetype(s, start)
    if old != mt and move_freepages_block(s, page_zone(s, start), start, old, mt) < 0:
        set_pageblock_migratetype(s, start, mt)


@part(cold=True)
def rotate_free_list(s: View, z: int, order: int, mt: int, pfn: int, last: bool) -> bool:
    """Rotate a free list so that *pfn* is its first, or its last (move_freelist_head and _tail, compaction.c)."""
    if s.meta[pfn] != (CHUNK_BUDDY << 4 | order) or get_pfnblock_migratetype(s, pfn) != mt:
        return False
    move_freelist(s, free_list(s, z, order, mt), pfn, last)
    return True


@part(cold=True)
def stage_block(s: View, start: int) -> None:
    """Make every page of a block in use by nobody in particular."""
    take_free_pages(s, start, s.cfg.pageblock_order)
    put_in_use(s, start, s.cfg.pageblock_order)


@part(cold=True)
def place_folios(
    s: View, start: int, first: int, offsets: Int64Array, orders: Int64Array, attr: Int64Array
) -> None:
    """Of a staged block's pages from offset *first* on, exactly the folios at the given offsets are PageLRU.

    *attr*: their attribute bits beside those of the LRU.
    """
    for page in range(start + first, start + (1 << s.cfg.pageblock_order)):
        put_in_use(s, page, 0)
    for n in range(offsets.size):
        head = start + offsets[n]
        if offsets[n] < first:
            continue
        s.meta[head] = CHUNK_ALLOC << 4 | orders[n]
        s.link[2 * head + 1] = ATTR_LRU | ATTR_ON_LRU | attr[n]
        for page in range(head + 1, head + (1 << orders[n])):
            s.meta[page] = CHUNK_TAIL << 4


@part(cold=True)
def set_block_skip(s: View, start: int, skip: bool) -> None:
    """Set or clear the block's skip bit, as compaction does."""
    at = 2 * (start >> s.cfg.pageblock_order)
    s.block[at] = (s.block[at] & ~PB_COMPACT_SKIP) | (PB_COMPACT_SKIP if skip else 0)


@part(cold=True)
def unsure_pages(s: View, number: int) -> tuple[int, int]:
    """Of a worker's private list: (pages of clean page cache, pages of which that is not known)."""
    worker = s.worker[number]
    clean = 0
    unsure = 0
    for n in range(worker.nr_migratepages):
        pfn = worker.migratepages[n]
        attr = s.link[2 * pfn + 1] & (ATTR_FILE | ATTR_DIRTY)
        clean += 1 << (s.meta[pfn] & 15) if attr == ATTR_FILE else 0
        unsure += 1 << (s.meta[pfn] & 15) if attr == UNSURE else 0
    return clean, unsure


@part(cold=True)
def mark_isolated(s: View, number: int, count: int, only: int, attr: int) -> None:
    """Give *count* pages of a worker's private list the attribute bits *attr*: what becomes of so many is given.

    *only*: UNSURE, so that only those are taken (and are unsure no longer), or -1: any. Which folios they are is not
    given: the largest that fit, the first of a size.
    """
    worker = s.worker[number]
    left = count
    for order in range(s.cfg.pageblock_order, -1, -1):
        for n in range(worker.nr_migratepages):
            pfn = worker.migratepages[n]
            kind = s.link[2 * pfn + 1] & (ATTR_FILE | ATTR_DIRTY)
            if s.meta[pfn] & 15 == order and 1 << order <= left and only in (-1, kind):
                s.link[2 * pfn + 1] = s.link[2 * pfn + 1] & ~(ATTR_DIRTY if only == UNSURE else 0) | attr
                left -= 1 << order
