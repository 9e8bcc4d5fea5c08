# SPDX-License-Identifier: GPL-2.0-or-later
"""A zone that gives and takes chunks by one rule of choice: the buddy system of mm/page_alloc.c (7.2) below the per-CPU lists.

An operation is one call of __rmqueue or of __free_one_page under zone->lock. Watermarks, per-CPU lists, reclaim and compaction
are not here. Each operation changes one region, as no chunk is larger than one.
"""

from __future__ import annotations

from kevacuate.demand.objects import OP_ALLOC, OP_FREE
from kevacuate.jit import kernel, part, pointers
from kevacuate.recording import DemandChunk
from kevacuate.records import Words
from kevacuate.search.buckets import settle
from kevacuate.search.cost import end_operation
from kevacuate.search.fields import (
    ALLOC,
    CHUNK_ALLOC,
    CHUNK_FREE,
    FREE,
    NR_TYPES,
    REGIONS,
    STATE_MASK,
    T_END,
    Search,
    SearchView,
)
from kevacuate.search.lists import add_chunk, delete_chunk, flat_head, retype_block, trace
from kevacuate.search.mainline import rmqueue
from kevacuate.search.passes import BORROW, CLAIM, CLAIM_BLOCK, choose


@part
def retype_chunk(s: SearchView, pfn: int, order: int, mt: int) -> None:
    """change_pageblock_range: the type of all pageblocks of a chunk that is on no list."""
    first = pfn >> s.cfg.pageblock_order
    for block in range(first, first + (1 << (order - s.cfg.pageblock_order))):
        s.block[block] = mt


@part
def take(s: SearchView, pfn: int, order: int, mt: int, action: int) -> None:
    """Take the lowest pages of the free chunk at *pfn* for a request, and give the rest back (page_del_and_expand)."""
    if action == CLAIM_BLOCK:
        retype_block(s, pfn >> s.cfg.pageblock_order << s.cfg.pageblock_order, mt)
        s.stat.block_claims += 1
    meta = delete_chunk(s, pfn)
    high, list_mt = meta & 15, meta >> 4
    if action == CLAIM:
        retype_chunk(s, pfn, high, mt)
        s.stat.whole_claims += 1
        list_mt = mt
    s.stat.borrowed += 1 if action == BORROW else 0
    while high > order:
        high -= 1
        add_chunk(s, pfn + (1 << high), high, list_mt, False)
    s.meta[pfn] = CHUNK_ALLOC | mt << 4 | order
    s.region[pfn >> s.cfg.region_order].used[mt] += 1 << order


@part
def has_chunk(s: SearchView, order: int) -> bool:
    """Whether a free chunk suffices: without one a request fails at the watermarks (__zone_watermark_ok), before any search."""
    for current in range(order, s.cfg.max_page_order + 1):
        for mt in range(3):
            if s.nr_free[current * NR_TYPES + mt] > 0:
                return True
    return False


@part
def alloc_chunk(s: SearchView, order: int, mt: int) -> int:
    """One request: the page, or -1."""
    if not has_chunk(s, order):
        s.stat.failed += 1
        s.stat.failed_pages += 1 << order
        return -1
    if s.cfg.rule == REGIONS:
        pfn, action = choose(s, order, mt)
    else:
        pfn, action = rmqueue(s, order, mt)
    if pfn < 0:
        s.stat.unfound += 1
        return -1
    take(s, pfn, order, mt, action)
    settle(s, pfn >> s.cfg.region_order)
    s.stat.allocs += 1
    trace(s, T_END, ALLOC, 0, 0)
    end_operation(s, ALLOC)
    return pfn


@part
def is_free(s: SearchView, pfn: int, order: int) -> bool:
    """Whether a free chunk of exactly *order* begins at *pfn* (page_is_buddy)."""
    return pfn + (1 << order) <= s.cfg.npages and s.meta[pfn] & ~(3 << 4) == CHUNK_FREE | order


@part
def merge_and_free(s: SearchView, pfn: int, order: int) -> None:
    """__free_one_page: merge upward as far as buddies are free, then place at the tail if the next merge is likely."""
    mt = s.block[pfn >> s.cfg.pageblock_order] + 0
    s.meta[pfn] = 0
    buddy = pfn
    while order < s.cfg.max_page_order:
        buddy = pfn ^ (1 << order)
        if not is_free(s, buddy, order):
            break
        delete_chunk(s, buddy)
        if order >= s.cfg.pageblock_order:
            retype_chunk(s, buddy, order, mt)
        pfn &= buddy
        order += 1
    parent = (pfn & buddy) ^ (1 << (order + 1))
    tail = order < s.cfg.max_page_order - 1 and is_free(s, parent, order + 1)
    add_chunk(s, pfn, order, mt, tail)


@part
def free_chunk(s: SearchView, pfn: int) -> None:
    """Free the allocated chunk that begins at *pfn*, in pieces of at most a pageblock (split_large_buddy)."""
    meta = s.meta[pfn] + 0
    order = meta & 15
    number = pfn >> s.cfg.region_order
    s.region[number].used[meta >> 4 & 3] -= 1 << order
    piece = min(order, s.cfg.pageblock_order)
    s.meta[pfn] = 0
    for i in range(1 << (order - piece)):
        merge_and_free(s, pfn + (i << piece), piece)
    settle(s, number)
    s.stat.frees += 1
    trace(s, T_END, FREE, 0, 0)
    end_operation(s, FREE)


@part
def cut_out(s: SearchView, pfn: int, order: int) -> None:
    """Split the allocated chunk that holds *pfn* until one of *order* begins there (split_page)."""
    size = 0
    while s.meta[pfn >> size << size] & STATE_MASK != CHUNK_ALLOC:
        size += 1
    head = pfn >> size << size
    meta = s.meta[head] + 0
    while meta & 15 > order:
        meta -= 1
        upper = head + (1 << (meta & 15))
        s.meta[head] = meta
        s.meta[upper] = meta
        if pfn >= upper:
            head = upper


@part
def covering_order(s: SearchView, pfn: int) -> int:
    """Order of the allocated chunk that holds *pfn*; -1 if there is none."""
    for size in range(s.cfg.max_page_order + 1):
        meta = s.meta[pfn >> size << size] + 0
        if meta & STATE_MASK == CHUNK_ALLOC and meta & 15 >= size:
            return meta & 15
        if meta != 0:
            break
    return -1


@part
def free_pages(s: SearchView, page: int, order: int) -> None:
    """Free pages of a replayed machine: they lie here as they were asked for, in one chunk or in several."""
    done = 0
    while done < 1 << order:
        pfn = s.at[page + done] + 0
        size = covering_order(s, pfn) if pfn >= 0 else -1
        if size < 0:
            s.stat.failed_frees += 1
            done += 1
            continue
        while size > 0 and (
            pfn & ((1 << size) - 1) or done + (1 << size) > 1 << order or not together(s, page + done, size)
        ):
            size -= 1
        cut_out(s, pfn, size)
        free_chunk(s, pfn)
        for i in range(1 << size):
            s.at[page + done + i] = -1
        done += 1 << size


@part
def together(s: SearchView, page: int, order: int) -> bool:
    """Whether 2**order pages of a replayed machine follow each other here."""
    pfn = s.at[page] + 0
    for i in range(1, 1 << order):
        if s.at[page + i] != pfn + i:
            return False
    return True


@kernel
def run_rows(sa: Search, da: DemandChunk, start: int, end: int) -> int:
    """Do rows [start, end): requests and frees of objects. Returns the rows done: all, or up to one that makes no sense."""
    s = pointers(sa)
    d = pointers(da)
    end = min(end, len(da.t))
    for i in range(start, end):
        s.stat.now = d.t[i]
        obj = d.obj[i] + 0
        order = d.order[i] + 0
        if d.op[i] == OP_ALLOC:
            pfn = alloc_chunk(s, order, d.mt[i] + 0)
            if s.cfg.by_page:
                for page in range(1 << order):
                    s.at[obj + page] = pfn + page if pfn >= 0 else -1
            else:
                s.at[obj] = pfn
        elif d.op[i] != OP_FREE:
            return i
        elif s.cfg.by_page:
            free_pages(s, obj, order)
        elif s.at[obj] >= 0:
            free_chunk(s, s.at[obj] + 0)
            s.at[obj] = -1
        else:
            s.stat.failed_frees += 1
    return end


@kernel
def add_free(sa: Search, da: DemandChunk) -> None:
    """Put chunks on the lists, in the rows' order, each behind those before it: ``aux`` is the page."""
    s = pointers(sa)
    d = pointers(da)
    for i in range(len(da.t)):
        add_chunk(s, d.aux[i] + 0, d.order[i] + 0, d.mt[i] + 0, True)


@kernel
def settle_all(sa: Search) -> None:
    """Put every region into its bucket, after the machine was laid out."""
    s = pointers(sa)
    for number in range(s.cfg.nr_regions):
        if s.region[number].present > 0:
            settle(s, number)


@kernel
def list_chunks(sa: Search, out: Words) -> int:
    """Write (page, order, type) of every chunk on the flat lists, list by list, in their order; how many there are."""
    s = pointers(sa)
    n = 0
    for order in range(s.cfg.max_page_order + 1):
        for mt in range(3):
            head = flat_head(s, order, mt)
            node = s.link[2 * head] + 0
            while node != head:
                if 3 * n + 2 < len(out):
                    out[3 * n] = node
                    out[3 * n + 1] = order
                    out[3 * n + 2] = mt
                n += 1
                node = s.link[2 * node] + 0
    return n
