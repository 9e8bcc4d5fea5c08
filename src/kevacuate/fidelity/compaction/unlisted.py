# SPDX-License-Identifier: GPL-2.0-or-later
"""Compaction's free lists where the kernel recorded no list operations: the model's scanners make theirs, block by block.

The buddy level's model gives the lists what requests and frees do (:mod:`kevacuate.fidelity.buddy.joined`). A scan is decided at
each of its events: where the free scanner goes next, how far it looks there, how many pages it takes. What the kernel's event
says is taken over afterwards, as a range of pages: the chunks of it that are free are those that it took.
"""

from __future__ import annotations

from kevacuate.fidelity.compaction import books as bk
from kevacuate.fidelity.compaction.books import CompactionBooks
from kevacuate.fidelity.compaction.free_blocks import begin_blocks, close_blocks, next_block, scan_goes_on
from kevacuate.fidelity.compaction.steps import judge
from kevacuate.fidelity.compaction.stock_runs import target_missing
from kevacuate.fidelity.compaction.targets import target_waiting
from kevacuate.jit import part
from kevacuate.mm import constants as k
from kevacuate.mm.buddy import free_list, free_one_page_merge, get_pfnblock_migratetype
from kevacuate.mm.compact_scanners import (
    add_to_freepages,
    free_block_end,
    isolate_freepages_block,
    pageblock_start_pfn,
    set_pageblock_skip,
    take_free_chunk,
)
from kevacuate.mm.fast_isolate_freepages import BEYOND, fast_isolate_search, preferred_from
from kevacuate.mm.fields import CompactControl, View
from kevacuate.mm.isolate_freepages import update_free_skip
from kevacuate.mm.lists import list_del
from kevacuate.recording import EventChunk
from kevacuate.recording import event_numbers as ev


@part
def take_chunk(s: View, z: int, cc: CompactControl, pfn: int, order: int) -> None:
    """A free chunk goes onto cc->freepages."""
    take_free_chunk(s, z, pfn, order)
    add_to_freepages(s, z, cc, pfn, order)


@part(cold=True)
def return_chunk(s: View, z: int, cc: CompactControl, pfn: int, order: int) -> None:
    """A chunk that the model took and the kernel did not is free again."""
    list_del(s, pfn)
    cc.nr_freepages -= 1 << order
    s.meta[pfn] = 0
    free_one_page_merge(s, z, pfn, order, get_pfnblock_migratetype(s, pfn), k.FPI_NONE)


@part(cold=True)
def return_last(s: View, z: int, cc: CompactControl) -> None:
    """Give back the chunk that the fast search has just taken: it stands alone at the end of one of the lists."""
    for order in range(k.NR_ORDERS):
        head = free_list(s, z, order, cc.freepages)
        last = s.link[2 * head + 1] + 0
        if last != head and order <= s.cfg.max_page_order:
            return_chunk(s, z, cc, last, order)


@part(cold=True)
def take_like(s: View, z: int, cc: CompactControl, pages: int) -> int:
    """A chunk of so many pages as the kernel's fast search took: the one that its rule prefers. Its pfn, -1 if there is none."""
    low, least = preferred_from(s, cc)
    for order in range(s.cfg.max_page_order + 1):
        if 1 << order != pages:
            continue
        head = free_list(s, z, order, k.MIGRATE_MOVABLE)
        pfn = s.link[2 * head + 1] + 0
        best = -1
        while pfn != head and best < low:
            if pfn >= least and pfn > best:
                best = pfn
            pfn = s.link[2 * pfn + 1] + 0
        if best >= 0:
            take_chunk(s, z, cc, best, order)
        return best
    return -1


@part
def want_targets(s: View, b: CompactionBooks, z: int, cc: CompactControl, run: int) -> None:
    """The kernel scans for free pages: the folios before have theirs."""
    at = run * bk.RW
    target_waiting(s, b, z, cc, run)
    if b.runs[at + bk.R_STOCK]:
        target_missing(s, b, z, cc, run)
    b.runs[at + bk.R_SCANNED] = 1


@part
def fast_searched(
    s: View, b: CompactionBooks, e: EventChunk, i: int, run: int, z: int, cc: CompactControl
) -> None:
    """mm_compaction_fast_isolate_freepages: what the fast search looked at and took."""
    at = run * bk.RW
    want_targets(s, b, z, cc, run)
    judge(b, e, i, bk.D_SCANNER, cc.free_pfn, e.a[i] + 0)
    cc.free_pfn = e.a[i]
    free, scanned = cc.nr_freepages + 0, cc.total_free_scanned + 0
    page = fast_isolate_search(s, z, cc)
    b.runs[at + bk.R_BROUGHT] += e.c[i]
    taken, looked = cc.nr_freepages - free, cc.total_free_scanned - scanned
    theirs = e.c[i] + 0
    judge(b, e, i, bk.D_SEARCH, looked * bk.PAGES + taken, e.b[i] * bk.PAGES + theirs)
    if taken != theirs:
        if taken > 0 and free == 0:
            return_last(s, z, cc)
        page = take_like(s, z, cc, theirs) if theirs > 0 else -1
    enough = cc.nr_freepages >= cc.nr_migratepages
    asynchronous = cc.direct_compaction != 0 and cc.mode == k.MIGRATE_ASYNC
    if page >= 0 and page < BEYOND and not enough and not asynchronous:
        b.runs[at + bk.R_AROUND] = max(pageblock_start_pfn(s, page), s.zone[z].zone_start_pfn) + 1
    elif cc.nr_freepages == 0:
        begin_blocks(s, b, cc, run)


@part
def match_range(s: View, z: int, cc: CompactControl, start: int, ours: int, theirs: int) -> None:
    """The model's scan of a block stopped at *ours*, the kernel's at *theirs*: take, or give back, the chunks between."""
    pfn = ours
    while pfn < theirs:
        meta = s.meta[pfn] + 0
        if meta >> 4 == k.CHUNK_BUDDY:
            take_chunk(s, z, cc, pfn, meta & 15)
        pfn += 1 << (meta & 15)
    pfn = max(theirs, start)
    while pfn < ours:
        meta = s.meta[pfn] + 0
        if meta >> 4 == k.CHUNK_COMPACT:
            return_chunk(s, z, cc, pfn, meta & 15)
        pfn += 1 << (meta & 15)


@part
def block_scanned(
    s: View, b: CompactionBooks, e: EventChunk, i: int, run: int, z: int, cc: CompactControl
) -> None:
    """mm_compaction_isolate_freepages: which block, how far, how many pages."""
    at = run * bk.RW
    around = b.runs[at + bk.R_AROUND] != 0
    if around:
        ours = b.runs[at + bk.R_AROUND] - 1
        b.runs[at + bk.R_AROUND] = 0
    else:
        if b.runs[at + bk.R_BLOCK] == 0:
            want_targets(s, b, z, cc, run)
            begin_blocks(s, b, cc, run)
        ours = next_block(s, b, z, cc, run)
    judge(b, e, i, bk.D_SCAN, ours, e.pfn[i] + 0)
    b.runs[at + bk.R_BROUGHT] += e.c[i]
    first, theirs = e.pfn[i] + 0, e.a[i] + 0
    start = pageblock_start_pfn(s, first)
    end = free_block_end(s, z, cc, start)
    stride = 1 if around else b.runs[at + bk.R_STRIDE] + 0
    stopped, taken = isolate_freepages_block(s, z, cc, first, end, stride)
    judge(b, e, i, bk.D_TAKEN, stopped * bk.PAGES + taken, theirs * bk.PAGES + e.c[i])
    if stopped != theirs:
        match_range(s, z, cc, first, stopped, theirs)
    if around:
        if theirs == end:
            set_pageblock_skip(s, start)
        if cc.nr_freepages == 0:
            begin_blocks(s, b, cc, run)
        return
    if theirs == end:
        update_free_skip(s, z, start)
    scan_goes_on(s, b, cc, run, start, theirs, end, e.c[i] + 0)


@part
def unlisted_scan(s: View, b: CompactionBooks, e: EventChunk, i: int, run: int, z: int) -> None:
    """An event of the free scanner."""
    if b.runs[run * bk.RW + bk.R_STATE] != bk.S_MIGRATE:
        return
    if e.kind[i] == ev.COMPACTION_FAST_ISOLATE_FREEPAGES:
        close_blocks(s, b, e, i, run)
        fast_searched(s, b, e, i, run, z, s.cc[run])
    else:
        block_scanned(s, b, e, i, run, z, s.cc[run])
