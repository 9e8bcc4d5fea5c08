# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs of compact_zone where the kernel has the first set of hooks: only compaction's stock events show them.

mm_compaction_begin, _finished and _end frame a run, which folios it isolates and where they go no event shows. The model's own
folios stand for the kernel's, as many pages of them as the kernel took. A folio has moved once its task frees it.
"""

from __future__ import annotations

from kevacuate.fidelity.compaction import books as bk
from kevacuate.fidelity.compaction.books import CompactionBooks
from kevacuate.fidelity.compaction.flush import cleared_unseen
from kevacuate.fidelity.compaction.follow import follow_free
from kevacuate.fidelity.compaction.steps import (
    FLAG_DIRECT,
    FLAG_PROACTIVE,
    asked_by,
    batch_ended,
    begin_at,
    followed,
    give_up_free_pages,
    judge,
    take_folio,
)
from kevacuate.fidelity.compaction.targets import allocate_until, close_scan, give_back, has_free, move_folio
from kevacuate.jit import part
from kevacuate.mm import constants as k
from kevacuate.mm.as_recorded import put_in_use
from kevacuate.mm.fields import CompactControl, View
from kevacuate.mm.isolate_freepages import compaction_alloc, compaction_free
from kevacuate.recording import EventChunk


@part(cold=True)
def note_begin(b: CompactionBooks, e: EventChunk, i: int) -> None:
    """mm_compaction_begin: with the second set of hooks gt_cz follows, without it mm_compaction_finished."""
    at = 0
    for n in range(0, bk.RUNS * bk.BW, bk.BW):
        if b.begun[n] == 0 or b.begun[n] == e.pid[i] + 1:
            at = n
    b.begun[at] = e.pid[i] + 1
    b.begun[at + bk.B_MIGRATE] = e.pfn[i]
    b.begun[at + bk.B_FREE] = e.a[i]
    b.begun[at + bk.B_ZONE_START] = e.b[i]


@part(cold=True)
def begun_by(b: CompactionBooks, pid: int) -> int:
    """Index of the run that the task has begun and no other event has shown; -1 if there is none."""
    for n in range(0, bk.RUNS * bk.BW, bk.BW):
        if b.begun[n] == pid + 1:
            return n
    return -1


@part(cold=True)
def forget_begin(b: CompactionBooks, pid: int) -> None:
    """Another event has shown the run."""
    at = begun_by(b, pid)
    if at >= 0:
        b.begun[at] = 0


@part(cold=True)
def begin_stock_run(s: View, b: CompactionBooks, e: EventChunk, i: int, run: int, z: int, at: int) -> None:
    """The first mm_compaction_finished after mm_compaction_begin: it has the order."""
    order, asked = e.order[i] + 0, asked_by(b, e.pid[i] + 0)
    direct = b.asked[asked + bk.A_PID] == e.pid[i] + 1
    flags = FLAG_DIRECT if direct else FLAG_PROACTIVE if order < 0 else 0
    mt = k.MIGRATE_MOVABLE
    if direct:
        mt = (b.asked[asked + bk.A_GFP] & (k.GFP_MOVABLE | k.GFP_RECLAIMABLE)) >> 3
    migrate, free = b.begun[at + bk.B_MIGRATE] + 0, b.begun[at + bk.B_FREE] + 0
    synchronous = 0 if direct and b.asked[asked + bk.A_PRIORITY] == k.COMPACT_PRIO_ASYNC else 1
    cleared = order > 0 and cleared_unseen(s, b, z, migrate, free, synchronous)
    begin_at(s, b, e, i, run, z, order, flags, mt)
    if not cleared:
        judge(b, e, i, bk.D_START, s.cc[run].migrate_pfn, migrate)
        judge(b, e, i, bk.D_START, s.cc[run].free_pfn, free)
    s.cc[run].migrate_pfn = migrate
    s.cc[run].free_pfn = free
    b.begun[at] = 0
    b.runs[run * bk.RW + bk.R_STOCK] = 2 if direct else 1


@part
def adopt_folios(s: View, b: CompactionBooks, e: EventChunk, i: int, run: int, cc: CompactControl) -> None:
    """mm_compaction_isolate_migratepages: the model's folios, as far as the kernel's pages go, are those that it took."""
    at = run * bk.RW
    pages = found = taken = 0
    for n in range(b.runs[at + bk.R_FOLIOS]):
        slot = (run * bk.BATCH + n) * 2
        pfn, order = b.ours[slot] + 0, b.ours[slot + 1] + 0
        found += 1 << order
        if pages + (1 << order) <= e.c[i]:
            take_folio(s, b, pfn, order)
            b.source[run * bk.BATCH + taken] = pfn
            pages += 1 << order
            taken += 1
    judge(b, e, i, bk.D_PAGES, found, e.c[i] + 0)
    b.runs[at + bk.R_TAKEN] = taken
    b.runs[at + bk.R_MISSING] = e.c[i] - pages
    b.runs[at + bk.R_HAD] = cc.nr_freepages
    b.runs[at + bk.R_BROUGHT] = 0
    cc.nr_migratepages = e.c[i]


@part
def target_missing(s: View, b: CompactionBooks, z: int, cc: CompactControl, run: int) -> None:
    """Pages that the kernel isolated and the model does not know have destinations, too."""
    at = run * bk.RW
    while b.runs[at + bk.R_MISSING] > 0 and has_free(s, z, cc, 0):
        dst = compaction_alloc(s, z, cc, 0)
        put_in_use(s, dst, 0)
        b.runs[at + bk.R_MISSING] -= 1
        if b.runs[at + bk.R_LATER] < bk.BATCH:
            b.later[run * bk.BATCH + b.runs[at + bk.R_LATER]] = dst
            b.runs[at + bk.R_LATER] += 1


@part
def begin_stock_moves(
    s: View, b: CompactionBooks, e: EventChunk, i: int, run: int, z: int, cc: CompactControl
) -> None:
    """The scans are over: all folios have their destinations, as far as free pages go."""
    close_scan(s, b, e, i, run)
    allocate_until(s, b, z, cc, run, -1)
    target_missing(s, b, z, cc, run)


@part
def stock_free(s: View, b: CompactionBooks, e: EventChunk, i: int, run: int, z: int) -> None:
    """mm_page_free of the task while it moves folios: the source of one that is moved."""
    pfn = e.pfn[i] + 0
    if s.meta[pfn] >> 4 == k.CHUNK_ISOLATED:
        begin_stock_moves(s, b, e, i, run, z, s.cc[run])
        dst = b.target[pfn] - 1
        b.target[pfn] = 0
        if dst >= 0:
            move_folio(s, b, pfn, s.meta[pfn] & 15, dst)
    if s.meta[pfn] >> 4 != k.CHUNK_COMPACT:
        follow_free(s, b, e, i)


@part
def stock_batch_ended(
    s: View, b: CompactionBooks, e: EventChunk, i: int, run: int, z: int, cc: CompactControl
) -> None:
    """mm_compaction_migratepages: how many pages moved says how many free ones are left.

    None left and a page not moved is -ENOMEM: a folio that fails for another reason gives its destination back.
    """
    at = run * bk.RW
    begin_stock_moves(s, b, e, i, run, z, cc)
    for n in range(b.runs[at + bk.R_TAKEN]):
        pfn = b.source[run * bk.BATCH + n] + 0
        if s.meta[pfn] >> 4 == k.CHUNK_ISOLATED:
            give_back(s, b, z, cc, pfn)
    free = b.runs[at + bk.R_HAD] + b.runs[at + bk.R_BROUGHT] - e.a[i]
    while cc.nr_freepages > max(free, 0) and has_free(s, z, cc, 0):
        put_in_use(s, compaction_alloc(s, z, cc, 0), 0)
    while cc.nr_freepages < free and b.runs[at + bk.R_LATER] > 0:
        b.runs[at + bk.R_LATER] -= 1
        compaction_free(s, z, cc, b.later[run * bk.BATCH + b.runs[at + bk.R_LATER]] + 0, 0)
    b.runs[at + bk.R_ENOMEM] = 1 if e.b[i] > 0 and free <= 0 else 0
    batch_ended(s, b, e, i, run, cc)


@part
def end_stock_run(
    s: View, b: CompactionBooks, e: EventChunk, i: int, run: int, z: int, cc: CompactControl
) -> None:
    """mm_compaction_end: the result, and where the scanners stand."""
    at = run * bk.RW
    if b.runs[at + bk.R_STATE] == bk.S_OVER:
        followed(s, b, e, i, run, z, cc, 2)
    judge(b, e, i, bk.D_RESULT, b.runs[at + bk.R_RESULT] + 0, e.d[i] + 0)
    give_up_free_pages(s, b, e, i, run, z, cc)
    judge(b, e, i, bk.D_SCANNERS, cc.migrate_pfn, e.pfn[i] + 0)
    judge(b, e, i, bk.D_SCANNERS, cc.free_pfn, e.a[i] + 0)
    b.runs[at + bk.R_PID] = 0
