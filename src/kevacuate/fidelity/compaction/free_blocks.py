# SPDX-License-Identifier: GPL-2.0-or-later
"""The free scanner's way from block to block, a step at a time: isolate_freepages (mm/compaction.c:1726, 7.2)."""

from __future__ import annotations

from kevacuate.fidelity.compaction import books as bk
from kevacuate.fidelity.compaction.books import CompactionBooks
from kevacuate.fidelity.compaction.steps import judge
from kevacuate.jit import part
from kevacuate.mm import constants as k
from kevacuate.mm.compact_scanners import pageblock_start_pfn
from kevacuate.mm.fields import CompactControl, View
from kevacuate.mm.isolate_freepages import free_block_suits
from kevacuate.recording import EventChunk

NOWHERE = -1
"""The free scanner takes no further block."""


@part
def begin_blocks(s: View, b: CompactionBooks, cc: CompactControl, run: int) -> None:
    """isolate_freepages goes block by block from where the free scanner stands."""
    at = run * bk.RW
    b.runs[at + bk.R_PFN] = cc.free_pfn
    b.runs[at + bk.R_BLOCK] = pageblock_start_pfn(s, cc.free_pfn) + 1
    b.runs[at + bk.R_STRIDE] = k.COMPACT_CLUSTER_MAX if cc.mode == k.MIGRATE_ASYNC else 1


@part
def next_block(s: View, b: CompactionBooks, z: int, cc: CompactControl, run: int) -> int:
    """Where the scanner looks next: a pfn, or NOWHERE once it has come down to the migrate scanner."""
    at = run * bk.RW
    pageblock = 1 << s.cfg.pageblock_order
    low = pageblock_start_pfn(s, cc.migrate_pfn) + pageblock
    start = b.runs[at + bk.R_BLOCK] - 1
    while start >= low and not free_block_suits(s, z, cc, start):
        start -= pageblock
        b.runs[at + bk.R_PFN] = start
    b.runs[at + bk.R_BLOCK] = start + 1
    return b.runs[at + bk.R_PFN] if start >= low else NOWHERE


@part
def end_blocks(b: CompactionBooks, cc: CompactControl, run: int) -> None:
    """The scan is over: the next one begins here."""
    at = run * bk.RW
    cc.free_pfn = b.runs[at + bk.R_PFN]
    b.runs[at + bk.R_BLOCK] = 0


@part
def scan_goes_on(
    s: View, b: CompactionBooks, cc: CompactControl, run: int, start: int, stopped: int, end: int, taken: int
) -> None:
    """What isolate_freepages does after a block (:1795)."""
    at = run * bk.RW
    pageblock = 1 << s.cfg.pageblock_order
    b.runs[at + bk.R_PFN] = stopped
    enough = cc.nr_freepages >= cc.nr_migratepages
    if enough and stopped >= end:
        b.runs[at + bk.R_PFN] = start - pageblock
    if enough or stopped < end:
        end_blocks(b, cc, run)
        return
    stride = b.runs[at + bk.R_STRIDE]
    b.runs[at + bk.R_STRIDE] = 1 if taken else min(k.COMPACT_CLUSTER_MAX, stride << 1)
    b.runs[at + bk.R_PFN] = start - pageblock
    b.runs[at + bk.R_BLOCK] = start - pageblock + 1


@part
def close_blocks(s: View, b: CompactionBooks, e: EventChunk, i: int, run: int) -> None:
    """The kernel goes on without another block: whether the model's scanner is at its end, too."""
    at = run * bk.RW
    z, cc = b.runs[at + bk.R_ZONE] + 0, s.cc[run]
    if b.runs[at + bk.R_AROUND]:
        judge(b, e, i, bk.D_SCAN, b.runs[at + bk.R_AROUND] - 1, NOWHERE)
        b.runs[at + bk.R_AROUND] = 0
    if b.runs[at + bk.R_BLOCK]:
        judge(b, e, i, bk.D_SCAN, next_block(s, b, z, cc, run), NOWHERE)
        end_blocks(b, cc, run)
