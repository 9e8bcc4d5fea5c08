# SPDX-License-Identifier: GPL-2.0-or-later
"""The free scanner where list operations were recorded: a step is decided when the kernel comes to it.

isolate_freepages (mm/compaction.c:1726, 7.2) lets other tasks run between its fast search and a block, between blocks, and inside
one: isolate_freepages_block drops the zone's lock at every COMPACT_CLUSTER_MAX pages. So the fast search and each block are
decided at the first event of theirs; what is left of a block is decided again where other tasks had events in the middle of it.
"""

from __future__ import annotations

from kevacuate.fidelity.compaction import books as bk
from kevacuate.fidelity.compaction.books import CompactionBooks
from kevacuate.fidelity.compaction.free_blocks import (
    NOWHERE,
    begin_blocks,
    end_blocks,
    next_block,
    scan_goes_on,
)
from kevacuate.fidelity.compaction.operations import close_operations
from kevacuate.fidelity.compaction.scan import begin_scan, end_scan
from kevacuate.jit import part
from kevacuate.mm import constants as k
from kevacuate.mm.compact_scanners import (
    free_block_end,
    isolate_freepages_block,
    pageblock_pfn_to_page,
    pageblock_start_pfn,
    set_pageblock_skip,
)
from kevacuate.mm.fast_isolate_freepages import BEYOND, fast_isolate_search
from kevacuate.mm.fields import CompactControl, View
from kevacuate.mm.isolate_freepages import update_free_skip
from kevacuate.recording import EventChunk

NO_SCAN, SEARCHED, AT_BLOCKS, IN_BLOCK, OVER = range(5)
"""How far a scan is: none; the fast search is decided; the next block is to be decided; it is; the scan is over."""


@part
def linear_scan(s: View, b: CompactionBooks, cc: CompactControl, run: int) -> None:
    """isolate_freepages goes on block by block, unless free pages are at hand (:1738)."""
    b.runs[run * bk.RW + bk.R_PHASE] = OVER
    if cc.nr_freepages == 0:
        begin_blocks(s, b, cc, run)
        b.runs[run * bk.RW + bk.R_PHASE] = AT_BLOCKS


@part(cold=True)
def begin_search(s: View, b: CompactionBooks, z: int, cc: CompactControl, run: int) -> None:
    """isolate_freepages begins: the model's fast search, which a compaction of the whole zone leaves out."""
    at = run * bk.RW
    b.runs[at + bk.R_SCANNED] = 1
    b.runs[at + bk.R_EXPECT] = b.runs[at + bk.R_SEEN] = b.runs[at + bk.R_AROUND] = 0
    if cc.order <= 0:
        linear_scan(s, b, cc, run)
        return
    free = cc.nr_freepages + 0
    begin_scan(s, b)
    b.runs[at + bk.R_FOUND] = fast_isolate_search(s, z, cc) + 1
    end_scan(s, b, run)
    cc.nr_freepages = free
    b.runs[at + bk.R_PHASE] = SEARCHED


@part
def search_over(
    s: View, b: CompactionBooks, e: EventChunk, i: int, run: int, z: int, cc: CompactControl
) -> None:
    """mm_compaction_fast_isolate_freepages: what was found has its block scanned; without free pages the linear scan follows."""
    at = run * bk.RW
    close_operations(b, e, i, run)
    found = b.runs[at + bk.R_FOUND] - 1
    enough = cc.nr_freepages >= cc.nr_migratepages
    asynchronous = cc.direct_compaction != 0 and cc.mode == k.MIGRATE_ASYNC
    if found >= 0 and found < BEYOND and not enough and not asynchronous:
        start = pageblock_start_pfn(s, found)
        if pageblock_pfn_to_page(s, z, start, free_block_end(s, z, cc, start)):
            b.runs[at + bk.R_AROUND] = max(start, s.zone[z].zone_start_pfn) + 1
            b.runs[at + bk.R_PHASE] = AT_BLOCKS
            return
    linear_scan(s, b, cc, run)


@part(inline=True)
def block_stride(b: CompactionBooks, run: int) -> int:
    """The stride in the block under way: around a page of the fast search every page is looked at."""
    at = run * bk.RW
    return 1 if b.runs[at + bk.R_AROUND] else b.runs[at + bk.R_STRIDE] + 0


@part
def scan_block(s: View, b: CompactionBooks, z: int, cc: CompactControl, run: int, pfn: int) -> None:
    """isolate_freepages_block from *pfn* on: the model's list operations."""
    at = run * bk.RW
    free = cc.nr_freepages + 0
    end = free_block_end(s, z, cc, b.runs[at + bk.R_START] + 0)
    begin_scan(s, b)
    stopped, taken = isolate_freepages_block(s, z, cc, pfn, end, block_stride(b, run))
    end_scan(s, b, run)
    b.runs[at + bk.R_STOPPED] = stopped
    b.runs[at + bk.R_GOT] += taken
    cc.nr_freepages = free


@part(cold=True)
def decide_block(s: View, b: CompactionBooks, z: int, cc: CompactControl, run: int) -> None:
    """The next block of the model's: what it takes there. The scan is over where there is none."""
    at = run * bk.RW
    b.runs[at + bk.R_EXPECT] = b.runs[at + bk.R_SEEN] = b.runs[at + bk.R_GOT] = 0
    first = b.runs[at + bk.R_AROUND] - 1 if b.runs[at + bk.R_AROUND] else next_block(s, b, z, cc, run)
    if first == NOWHERE:
        end_blocks(b, cc, run)
        b.runs[at + bk.R_PHASE] = OVER
        return
    b.runs[at + bk.R_PHASE] = IN_BLOCK
    b.runs[at + bk.R_START] = pageblock_start_pfn(s, first)
    b.runs[at + bk.R_AT] = first
    scan_block(s, b, z, cc, run, first)


@part(cold=True)
def resume_block(s: View, b: CompactionBooks, z: int, cc: CompactControl, run: int) -> None:
    """Other tasks ran in the middle of a block: from where the zone's lock was dropped first it is decided again."""
    at = run * bk.RW
    stride = block_stride(b, run)
    pfn = b.runs[at + bk.R_AT] + stride - 1
    if stride == 1:
        pfn = (pfn + k.COMPACT_CLUSTER_MAX - 1) // k.COMPACT_CLUSTER_MAX * k.COMPACT_CLUSTER_MAX
    slot = (run * bk.BATCH + b.runs[at + bk.R_SEEN]) * 4
    held = b.runs[at + bk.R_SEEN] < b.runs[at + bk.R_EXPECT] and b.expected[slot] < pfn
    enough = cc.nr_freepages >= cc.nr_migratepages
    if not held and not enough and pfn < free_block_end(s, z, cc, b.runs[at + bk.R_START] + 0):
        scan_block(s, b, z, cc, run, pfn)
        b.inputs[bk.N_RESUMED] += 1


@part
def reach_block(s: View, b: CompactionBooks, z: int, cc: CompactControl, run: int) -> None:
    """The kernel is at a block: it is decided, if it is not yet, and its rest again where other tasks ran in the middle of it."""
    at = run * bk.RW
    if b.runs[at + bk.R_PHASE] == AT_BLOCKS:
        decide_block(s, b, z, cc, run)
    elif b.runs[at + bk.R_PHASE] == IN_BLOCK and b.runs[at + bk.R_BREAK]:
        resume_block(s, b, z, cc, run)


@part
def leave_block(s: View, b: CompactionBooks, z: int, cc: CompactControl, run: int) -> None:
    """The model has scanned a block: its skip bit, and where it goes on."""
    at = run * bk.RW
    start, stopped = b.runs[at + bk.R_START] + 0, b.runs[at + bk.R_STOPPED] + 0
    end = free_block_end(s, z, cc, start)
    if b.runs[at + bk.R_AROUND]:
        b.runs[at + bk.R_AROUND] = 0
        if stopped == end:
            set_pageblock_skip(s, start)
        linear_scan(s, b, cc, run)
        return
    if stopped == end:
        update_free_skip(s, z, start)
    scan_goes_on(s, b, cc, run, start, stopped, end, b.runs[at + bk.R_GOT] + 0)
    b.runs[at + bk.R_PHASE] = AT_BLOCKS if b.runs[at + bk.R_BLOCK] else OVER


@part
def block_over(
    s: View, b: CompactionBooks, e: EventChunk, i: int, run: int, z: int, cc: CompactControl
) -> None:
    """mm_compaction_isolate_freepages: the kernel has scanned a block."""
    reach_block(s, b, z, cc, run)
    close_operations(b, e, i, run)
    if b.runs[run * bk.RW + bk.R_PHASE] == IN_BLOCK:
        leave_block(s, b, z, cc, run)


@part
def finish_scan(s: View, b: CompactionBooks, e: EventChunk, i: int, run: int) -> None:
    """The kernel has done with its scan: the model's goes on to its own end."""
    at = run * bk.RW
    z, cc = b.runs[at + bk.R_ZONE] + 0, s.cc[run]
    free = cc.nr_freepages + 0
    if b.runs[at + bk.R_PHASE] == SEARCHED:
        search_over(s, b, e, i, run, z, cc)
    while b.runs[at + bk.R_PHASE] == AT_BLOCKS or b.runs[at + bk.R_PHASE] == IN_BLOCK:
        if b.runs[at + bk.R_PHASE] == AT_BLOCKS:
            decide_block(s, b, z, cc, run)
            cc.nr_freepages += b.runs[at + bk.R_GOT]
        else:
            close_operations(b, e, i, run)
            leave_block(s, b, z, cc, run)
    cc.nr_freepages = free
    b.runs[at + bk.R_PHASE] = NO_SCAN
