# SPDX-License-Identifier: GPL-2.0-or-later
"""Putting a scan to the model: it decides on the state as it is, and what it did to lists and folios is then undone.

What the kernel did is followed afterwards, so that a wrong decision does not spoil the next one.
"""

from __future__ import annotations

from kevacuate.fidelity.compaction import books as bk
from kevacuate.fidelity.compaction.books import CompactionBooks
from kevacuate.jit import JIT_DISABLED, part
from kevacuate.mm.as_recorded import rotate_free_list
from kevacuate.mm.compact_scanners import pageblock_start_pfn
from kevacuate.mm.compact_zone import isolate_batch, isolate_batch_from
from kevacuate.mm.constants import (
    L_LIST,
    LIST_MOVE,
    LIST_ROTATE_FIRST,
    LIST_ROTATE_LAST,
    NR_ORDERS,
    PB_COMPACT_SKIP,
)
from kevacuate.mm.fields import CompactControl, View
from kevacuate.mm.isolate_migratepages import find_migrateblock, isolate_from_block
from kevacuate.records import Words

if JIT_DISABLED:

    def copy_words(to: Words, source: Words, count: int) -> None:
        """Copy the first *count* numbers of an array: as a slice, which plain Python needs to be quick."""
        to[:count] = source[:count]  # type: ignore[index]

else:

    @part
    def copy_words(to: Words, source: Words, count: int) -> None:
        """Copy the first *count* numbers of an array."""
        for n in range(count):
            to[n] = source[n]


@part(cold=True)
def keep_lists(s: View, b: CompactionBooks) -> None:
    """Note the lists, the folios, the blocks' types and the free counters."""
    copy_words(b.link, s.link, b.facts[bk.F_LINK])
    copy_words(b.meta, s.meta, s.cfg.npages)
    copy_words(b.block, s.block, b.facts[bk.F_BLOCK])
    for z in range(s.cfg.nr_zones):
        zone, at = s.zone[z], z * bk.ZW
        b.zone[at] = zone.nr_free_pages
        b.zone[at + 1] = zone.nr_free_cma
        b.zone[at + 2] = zone.nr_free_highatomic
        b.zone[at + 3] = zone.nr_free_pages_blocks
        b.zone[at + 4] = zone.nr_lru
        b.zone[at + 5] = zone.nr_isolated
        for order in range(NR_ORDERS):
            b.zone[at + 6 + order] = zone.free_area[order]


@part(cold=True)
def restore_lists(s: View, b: CompactionBooks) -> None:
    """Take back what was done to them since; skip bits and the scanners' positions stay."""
    copy_words(s.link, b.link, b.facts[bk.F_LINK])
    copy_words(s.meta, b.meta, s.cfg.npages)
    for n in range(0, b.facts[bk.F_BLOCK], 2):
        s.block[n] = (b.block[n] & ~PB_COMPACT_SKIP) | (s.block[n] & PB_COMPACT_SKIP)
    for z in range(s.cfg.nr_zones):
        zone, at = s.zone[z], z * bk.ZW
        zone.nr_free_pages = b.zone[at]
        zone.nr_free_cma = b.zone[at + 1]
        zone.nr_free_highatomic = b.zone[at + 2]
        zone.nr_free_pages_blocks = b.zone[at + 3]
        zone.nr_lru = b.zone[at + 4]
        zone.nr_isolated = b.zone[at + 5]
        for order in range(NR_ORDERS):
            zone.free_area[order] = b.zone[at + 6 + order]


@part
def note_expected(s: View, b: CompactionBooks, run: int) -> None:
    """Take the list operations of the model's log for what the kernel is to do."""
    found = 0
    for n in range(min(s.stat.nr_log, s.cfg.log_capacity)):
        record = s.log[n]
        if record.kind == L_LIST and record.a != LIST_MOVE and found < bk.BATCH:
            at = (run * bk.BATCH + found) * 4
            b.expected[at] = record.pfn
            b.expected[at + 1] = record.a
            b.expected[at + 2] = record.b
            b.expected[at + 3] = record.c
            found += 1
    b.runs[run * bk.RW + bk.R_EXPECT] = found
    b.runs[run * bk.RW + bk.R_SEEN] = 0


@part
def begin_scan(s: View, b: CompactionBooks) -> None:
    """Before the model decides."""
    keep_lists(s, b)
    s.stat.nr_log = 0


@part
def end_scan(s: View, b: CompactionBooks, run: int) -> None:
    """After it has."""
    note_expected(s, b, run)
    restore_lists(s, b)


@part(cold=True)
def rotate_lists(s: View, b: CompactionBooks, z: int, run: int) -> None:
    """The rotations of the fast search for sources are the model's own, where the kernel recorded none."""
    s.stat.nr_log = 0
    for n in range(b.runs[run * bk.RW + bk.R_EXPECT]):
        at = (run * bk.BATCH + n) * 4
        if b.expected[at + 1] >= LIST_ROTATE_FIRST:
            last = b.expected[at + 1] == LIST_ROTATE_LAST
            rotate_free_list(s, z, b.expected[at + 2] + 0, b.expected[at + 3] + 0, b.expected[at] + 0, last)
    b.runs[run * bk.RW + bk.R_EXPECT] = 0


@part
def note_folios(s: View, b: CompactionBooks, cc: CompactControl, run: int, cpu: int) -> None:
    """The folios that the model has isolated, after those of the same scan before, and where it stopped."""
    at = run * bk.RW
    count = b.runs[at + bk.R_FOLIOS]
    for n in range(min(cc.nr_folios, bk.BATCH - count)):
        pfn = s.folios[cc.sources + n]
        b.ours[(run * bk.BATCH + count) * 2] = pfn
        b.ours[(run * bk.BATCH + count) * 2 + 1] = s.meta[pfn] & 15
        count += 1
    b.runs[at + bk.R_FOLIOS] = count
    b.runs[at + bk.R_STOP] = cc.migrate_pfn
    s.cpu[cpu].lru_add_nr = 0


@part(cold=True)
def find_sources(s: View, b: CompactionBooks, z: int, cc: CompactControl, run: int) -> None:
    """The fast search for sources alone: the kernel may let other tasks run before it looks into the block."""
    begin_scan(s, b)
    b.runs[run * bk.RW + bk.R_FROM] = find_migrateblock(s, z, cc) + 1
    end_scan(s, b, run)


@part(cold=True)
def resume_sources(s: View, b: CompactionBooks, z: int, cc: CompactControl, run: int, cpu: int) -> None:
    """Other tasks ran in the middle of a scan: after the folio that the kernel took last it is decided again."""
    at = run * bk.RW
    last = b.source[run * bk.BATCH + b.runs[at + bk.R_TAKEN] - 1] + 0
    pfn = last + (1 << (s.meta[last] & 15))
    end = pageblock_start_pfn(s, last) + (1 << s.cfg.pageblock_order)
    if pfn >= end:
        return
    count = 0
    while count < b.runs[at + bk.R_FOLIOS] and b.ours[(run * bk.BATCH + count) * 2] < pfn:
        count += 1
    b.runs[at + bk.R_FOLIOS] = count
    taken = cc.nr_migratepages + 0
    cc.nr_folios = 0
    begin_scan(s, b)
    isolate_from_block(s, z, cc, cpu, pfn, end)
    note_folios(s, b, cc, run, cpu)
    end_scan(s, b, run)
    cc.nr_migratepages = taken
    b.inputs[bk.N_RESUMED] += 1


@part(cold=True)
def scan_sources(s: View, b: CompactionBooks, z: int, cc: CompactControl, run: int, cpu: int) -> None:
    """isolate_migratepages: what the model takes, and where it stops."""
    at = run * bk.RW
    begin_scan(s, b)
    if b.runs[at + bk.R_FROM]:
        isolate_batch_from(s, z, cc, cpu, b.runs[at + bk.R_FROM] - 1)
    else:
        isolate_batch(s, z, cc, cpu)
    b.runs[at + bk.R_FROM] = b.runs[at + bk.R_FOLIOS] = 0
    note_folios(s, b, cc, run, cpu)
    end_scan(s, b, run)
    if b.facts[bk.F_UNLISTED]:
        rotate_lists(s, b, z, run)
