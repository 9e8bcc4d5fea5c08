# SPDX-License-Identifier: GPL-2.0-or-later
"""A run of compact_zone, step by step: what the model decides at each, held against what the kernel did."""

from __future__ import annotations

from kevacuate.fidelity.compaction import books as bk
from kevacuate.fidelity.compaction.books import CompactionBooks
from kevacuate.fidelity.compaction.flush import cleared_unseen
from kevacuate.fidelity.compaction.follow import as_folio, drain_batches, off_lists, unuse, use_folio
from kevacuate.fidelity.compaction.scan import find_sources, resume_sources, scan_sources
from kevacuate.fidelity.tally import F_LAST, F_NUMBER, decided
from kevacuate.jit import part
from kevacuate.mm import constants as k
from kevacuate.mm.compact_scanners import pageblock_start_pfn
from kevacuate.mm.compact_zone import (
    after_migration,
    begin_round,
    check_drain,
    compact_finished,
    compact_zone_begin,
    compact_zone_set,
    raise_cached_free_pfn,
)
from kevacuate.mm.direct_compact import cached_join, join_cached, set_direct_control
from kevacuate.mm.fields import CompactControl, View
from kevacuate.mm.isolate_freepages import next_free_page
from kevacuate.mm.kcompactd import fragmentation_score_wmark, set_kcompactd_control
from kevacuate.recording import EventChunk

FLAG_WHOLE_ZONE, FLAG_DIRECT, FLAG_PROACTIVE = 1, 2, 16
"""Bits of gt_cz's flags."""

NO_SUITABLE_PAGE = 3
"""COMPACT_NO_SUITABLE_PAGE: compact_finished makes COMPACT_CONTINUE of it."""


@part(cold=True)
def count_cause(b: CompactionBooks, kind: int) -> None:
    """Why a decision may be wrong."""
    at = b.facts[bk.F_RUN] * bk.RW
    cause = bk.C_OTHERWISE
    if kind == bk.D_FOLIO or kind == bk.D_PAGES:
        cause = bk.C_PASSED
    elif b.facts[bk.F_RUN] >= 0 and b.runs[at + bk.R_WRONG]:
        cause = bk.C_FOLLOWS
    elif b.facts[bk.F_RUN] >= 0 and b.runs[at + bk.R_OTHERS]:
        cause = bk.C_OTHERS
    elif b.facts[bk.F_UNSEEN_KSWAPD] and kind in (
        bk.D_START,
        bk.D_FINISHED,
        bk.D_WANTED,
        bk.D_DEFERRAL,
        bk.D_CACHED,
    ):
        cause = bk.C_KSWAPD
    elif b.facts[bk.F_RUN] >= 0 and b.runs[at + bk.R_STOCK]:
        cause = bk.C_STOCK
    b.causes[cause] += 1
    if b.facts[bk.F_RUN] >= 0 and cause != bk.C_PASSED:
        b.runs[at + bk.R_WRONG] = 1


@part
def judge(b: CompactionBooks, e: EventChunk, i: int, kind: int, model: int, kernel: int) -> bool:
    """Count a decision: whether the model's number is the kernel's."""
    right = model == kernel
    decided(b, kind, right)
    if not right:
        b.facts[F_LAST] = b.facts[F_NUMBER] + i
        count_cause(b, kind)
        if b.facts[bk.F_DIVERGED] == 0:
            b.facts[bk.F_DIVERGED] = 1
            b.facts[bk.F_FIRST_KIND] = kind
            b.facts[bk.F_FIRST_ROW] = b.facts[F_NUMBER] + i
            b.facts[bk.F_FIRST_TS] = e.ts[i]
            b.facts[bk.F_FIRST_MODEL] = model
            b.facts[bk.F_FIRST_KERNEL] = kernel
    return right


@part
def begin_direct(
    s: View, b: CompactionBooks, e: EventChunk, i: int, run: int, z: int, order: int, mt: int
) -> None:
    """What a direct compaction sets up: its request is the one that its task tried to compact for last."""
    asked = asked_by(b, e.pid[i] + 0)
    gfp, priority, flags = (
        b.asked[asked + bk.A_GFP] + 0,
        b.asked[asked + bk.A_PRIORITY] + 0,
        b.asked[asked + bk.A_FLAGS] + 0,
    )
    set_direct_control(s.cc[run], order, mt, flags, gfp, priority)
    s.cc[run].zone = z
    compact_zone_set(s, z, s.cc[run], e.cpu[i] + 0)


@part(inline=True)
def asked_by(b: CompactionBooks, pid: int) -> int:
    """Index of the task's latest request; the oldest's if it has none."""
    oldest = 0
    for n in range(0, bk.ASKED * bk.AW, bk.AW):
        if b.asked[n + bk.A_PID] == pid + 1:
            return n
        if b.asked[n + bk.A_ROW] < b.asked[oldest + bk.A_ROW]:
            oldest = n
    return oldest


@part
def begin_run(s: View, b: CompactionBooks, e: EventChunk, i: int, run: int, z: int) -> None:
    """gt_cz 0: where the scanners start."""
    head = e.a[i] + 0
    order, flags = (head >> 8 & 255 ^ 128) - 128, head >> 32 & 0xFFFF
    synchronous = 1 if head >> 16 & 255 else 0
    cleared = order > 0 and cleared_unseen(s, b, z, e.pfn[i] + 0, e.b[i] + 0, synchronous)
    begin_at(s, b, e, i, run, z, order, flags, head >> 56 & 255)
    cc = s.cc[run]
    judge(b, e, i, bk.D_START, cc.whole_zone, flags & FLAG_WHOLE_ZONE)
    if not cleared:
        judge(b, e, i, bk.D_START, cc.migrate_pfn, e.pfn[i] + 0)
        judge(b, e, i, bk.D_START, cc.free_pfn, e.b[i] + 0)
    cc.migrate_pfn = e.pfn[i]
    cc.free_pfn = e.b[i]


@part
def begin_at(
    s: View, b: CompactionBooks, e: EventChunk, i: int, run: int, z: int, order: int, flags: int, mt: int
) -> None:
    """A run begins: the compact_control, and where the model's scanners start."""
    at = run * bk.RW
    for n in range(1, bk.RW):
        b.runs[at + n] = 0
    b.runs[at + bk.R_PID] = e.pid[i] + 1
    b.runs[at + bk.R_STATE] = bk.S_LOOP
    b.runs[at + bk.R_ZONE] = z
    b.runs[at + bk.R_MODEL] = 1
    cc = s.cc[run]
    cc.zone = z
    drain_batches(s, b)
    if flags & FLAG_DIRECT:
        begin_direct(s, b, e, i, run, z, order, mt)
    else:
        if flags & FLAG_PROACTIVE:
            set_kcompactd_control(cc, order, k.ZONE_MOVABLE, True)
        compact_zone_begin(s, z, cc, e.cpu[i] + 0)
    b.runs[at + bk.R_JOIN] = 1 if cached_join(s, z, cc) else 0
    b.runs[at + bk.R_ASYNC] = 1 if cc.mode == k.MIGRATE_ASYNC else 0


@part
def finished(
    s: View, b: CompactionBooks, e: EventChunk, i: int, run: int, z: int, cc: CompactControl
) -> None:
    """mm_compaction_finished: compact_finished has looked, and before it the scan that found nothing."""
    at = run * bk.RW
    state = b.runs[at + bk.R_STATE]
    if state == bk.S_OVER:
        silent = b.runs[at + bk.R_AGAIN] != 0
        followed(s, b, e, i, run, z, cc, 1 if silent else 0)
        if silent:
            state = bk.S_SCAN
    if state == bk.S_SCAN or state == bk.S_FOUND:
        scan_sources(s, b, z, cc, run, e.cpu[i] + 0)
        judge(b, e, i, bk.D_STOP, b.runs[at + bk.R_FOLIOS] + 0, 0)
        join_cached(s, z, b.runs[at + bk.R_JOIN] != 0)
        check_drain(s, z, cc, e.cpu[i] + 0)
    low, _ = fragmentation_score_wmark(s)
    result = compact_finished(s, z, cc, b.facts[bk.F_KSWAPD] != 0, low)
    theirs = e.c[i] + 0
    if theirs == NO_SUITABLE_PAGE:
        theirs = k.COMPACT_CONTINUE
    judge(b, e, i, bk.D_FINISHED, result, theirs)
    b.runs[at + bk.R_RESULT] = theirs
    b.runs[at + bk.R_OTHERS] = 0
    if theirs == k.COMPACT_CONTINUE:
        begin_round(s, cc)
        b.runs[at + bk.R_STATE] = bk.S_SCAN
    else:
        b.runs[at + bk.R_STATE] = bk.S_END


@part
def followed(
    s: View, b: CompactionBooks, e: EventChunk, i: int, run: int, z: int, cc: CompactControl, what: int
) -> None:
    """What followed a batch: *what* is 0 for the next round, 1 for another scan of the block, 2 for the end."""
    at = run * bk.RW
    result = b.runs[at + bk.R_RESULT]
    ours = 1 if b.runs[at + bk.R_AGAIN] else 0 if result == k.COMPACT_CONTINUE else 2
    judge(b, e, i, bk.D_AFTER, ours, what)
    if what == 0:
        check_drain(s, z, cc, e.cpu[i] + 0)


@part
def scan_again(
    s: View, b: CompactionBooks, e: EventChunk, i: int, run: int, z: int, cc: CompactControl
) -> None:
    """The kernel looks for sources: after a batch that is another scan of its block."""
    at = run * bk.RW
    if b.runs[at + bk.R_STATE] == bk.S_OVER:
        followed(s, b, e, i, run, z, cc, 1)
        b.runs[at + bk.R_STATE] = bk.S_SCAN


@part
def sources_found(
    s: View, b: CompactionBooks, e: EventChunk, i: int, run: int, z: int, cc: CompactControl
) -> None:
    """The kernel's fast search for sources has rotated a list: let the model search, if it has not yet."""
    at = run * bk.RW
    scan_again(s, b, e, i, run, z, cc)
    if b.runs[at + bk.R_STATE] == bk.S_SCAN:
        find_sources(s, b, z, cc, run)
        b.runs[at + bk.R_STATE] = bk.S_FOUND


@part
def need_sources(
    s: View, b: CompactionBooks, e: EventChunk, i: int, run: int, z: int, cc: CompactControl
) -> None:
    """The kernel isolates: let the model, if it has not yet; again where other tasks ran since the latest folio."""
    at = run * bk.RW
    scan_again(s, b, e, i, run, z, cc)
    if b.runs[at + bk.R_STATE] == bk.S_SCANNED:
        if b.runs[at + bk.R_BREAK] and b.runs[at + bk.R_TAKEN] and b.runs[at + bk.R_TAKEN] < bk.BATCH:
            resume_sources(s, b, z, cc, run, e.cpu[i] + 0)
    elif b.runs[at + bk.R_STATE] == bk.S_SCAN or b.runs[at + bk.R_STATE] == bk.S_FOUND:
        scan_sources(s, b, z, cc, run, e.cpu[i] + 0)
        b.runs[at + bk.R_STATE] = bk.S_SCANNED
        b.runs[at + bk.R_TAKEN] = 0
        b.runs[at + bk.R_QUEUE] = 0
        cc.nr_migratepages = 0


@part
def passed_over(b: CompactionBooks, e: EventChunk, i: int, run: int, until: int) -> None:
    """Folios below *until* that the model took and the kernel did not."""
    at = run * bk.RW
    n = b.runs[at + bk.R_QUEUE]
    while n < b.runs[at + bk.R_FOLIOS] and b.ours[(run * bk.BATCH + n) * 2] < until:
        slot = (run * bk.BATCH + n) * 2
        judge(b, e, i, bk.D_FOLIO, b.ours[slot] * 16 + b.ours[slot + 1], -1)
        b.passed[b.ours[slot]] = b.facts[F_NUMBER] + i + 1
        n += 1
    b.runs[at + bk.R_QUEUE] = n


@part
def isolated(
    s: View, b: CompactionBooks, e: EventChunk, i: int, run: int, z: int, cc: CompactControl
) -> None:
    """gt_mig 0: the kernel takes a folio."""
    need_sources(s, b, e, i, run, z, cc)
    at = run * bk.RW
    pfn, order = e.pfn[i] + 0, e.order[i] + 0
    take_folio(s, b, pfn, order)
    taken = b.runs[at + bk.R_TAKEN]
    if taken < bk.BATCH:
        b.source[run * bk.BATCH + taken] = pfn
        b.runs[at + bk.R_TAKEN] = taken + 1
    cc.nr_migratepages += 1 << order


@part
def put_back(s: View, b: CompactionBooks, run: int, cc: CompactControl, kept: int) -> None:
    """An asynchronous scan put back what it had isolated before the last *kept* pages: they are no folios of the batch."""
    at = run * bk.RW
    taken = b.runs[at + bk.R_TAKEN]
    first = taken
    pages = 0
    while first > 0 and pages < kept:
        first -= 1
        pages += 1 << (s.meta[b.source[run * bk.BATCH + first]] & 15)
    for n in range(first):
        pfn = b.source[run * bk.BATCH + n] + 0
        s.meta[pfn] = k.CHUNK_ALLOC << 4 | (s.meta[pfn] & 15)
    for n in range(taken - first):
        b.source[run * bk.BATCH + n] = b.source[run * bk.BATCH + first + n]
    b.runs[at + bk.R_TAKEN] = taken - first
    cc.nr_migratepages = pages


@part
def compare_put_back(b: CompactionBooks, e: EventChunk, i: int, run: int) -> bool:
    """Whether the kernel put back all that it had taken, at a folio that it passed over and the model took.

    An asynchronous direct compaction gives a chunk up at the first page that it cannot take: all before were right.
    """
    at = run * bk.RW
    taken = b.runs[at + bk.R_TAKEN]
    if e.c[i] != 0 or taken == 0 or taken >= b.runs[at + bk.R_FOLIOS]:
        return False
    for n in range(taken):
        if b.source[run * bk.BATCH + n] != b.ours[(run * bk.BATCH + n) * 2]:
            return False
    for n in range(taken + 1):
        slot = (run * bk.BATCH + n) * 2
        ours = b.ours[slot] * 16 + b.ours[slot + 1]
        judge(b, e, i, bk.D_FOLIO, ours, ours if n < taken else -1)
    b.passed[b.ours[(run * bk.BATCH + taken) * 2]] = b.facts[F_NUMBER] + i + 1
    return True


@part
def compare_folios(s: View, b: CompactionBooks, e: EventChunk, i: int, run: int) -> None:
    """The folios that the kernel has taken, against the model's."""
    at = run * bk.RW
    for n in range(b.runs[at + bk.R_TAKEN]):
        pfn = b.source[run * bk.BATCH + n] + 0
        passed_over(b, e, i, run, pfn)
        m = b.runs[at + bk.R_QUEUE]
        ours = -1
        if m < b.runs[at + bk.R_FOLIOS]:
            ours = b.ours[(run * bk.BATCH + m) * 2] * 16 + b.ours[(run * bk.BATCH + m) * 2 + 1]
            if b.ours[(run * bk.BATCH + m) * 2] == pfn:
                b.runs[at + bk.R_QUEUE] = m + 1
        judge(b, e, i, bk.D_FOLIO, ours, pfn * 16 + (s.meta[pfn] & 15))
    passed_over(b, e, i, run, 1 << 60)


@part
def take_folio(s: View, b: CompactionBooks, pfn: int, order: int) -> None:
    """A folio leaves the LRU onto a private list."""
    b.passed[pfn] = 0
    as_folio(s, b, pfn, order)
    attr = s.link[2 * pfn + 1] + 0
    if s.meta[pfn] != (k.CHUNK_ALLOC << 4 | order):
        attr = k.ATTR_LRU
    use_folio(s, b, pfn, order, k.CHUNK_ISOLATED, (attr | k.ATTR_LRU) & ~k.ATTR_ON_LRU)


@part
def scan_ended(
    s: View, b: CompactionBooks, e: EventChunk, i: int, run: int, z: int, cc: CompactControl
) -> None:
    """mm_compaction_isolate_migratepages: where the kernel's scan of a block stopped, and how much it took."""
    need_sources(s, b, e, i, run, z, cc)
    parted = compare_put_back(b, e, i, run)
    put_back(s, b, run, cc, e.c[i] + 0)
    if not parted:
        compare_folios(s, b, e, i, run)
    scan_stopped(s, b, e, i, run, z, cc)


@part
def scan_stopped(
    s: View, b: CompactionBooks, e: EventChunk, i: int, run: int, z: int, cc: CompactControl
) -> None:
    """Where the scan of a block stopped, and what follows."""
    at = run * bk.RW
    stop = e.a[i] + 0
    if not judge(b, e, i, bk.D_STOP, b.runs[at + bk.R_STOP] + 0, stop):
        cc.migrate_pfn = stop
        if e.c[i] > 0:
            cc.last_migrated_pfn = max(s.zone[z].zone_start_pfn, pageblock_start_pfn(s, stop - 1))
    b.runs[at + bk.R_EXPECT] = b.runs[at + bk.R_SEEN] = 0
    if e.c[i] == 0:
        join_cached(s, z, b.runs[at + bk.R_JOIN] != 0)
        check_drain(s, z, cc, e.cpu[i] + 0)
        b.runs[at + bk.R_STATE] = bk.S_LOOP
        return
    b.runs[at + bk.R_JOIN] = 0
    begin_migration(b, run, cc)


@part
def begin_migration(b: CompactionBooks, run: int, cc: CompactControl) -> None:
    """What was isolated last is moved first."""
    at = run * bk.RW
    taken = b.runs[at + bk.R_TAKEN]
    first, last = run * bk.BATCH, run * bk.BATCH + taken - 1
    while first < last:
        pfn = b.source[first] + 0
        b.source[first] = b.source[last]
        b.source[last] = pfn
        first += 1
        last -= 1
    b.runs[at + bk.R_STATE] = bk.S_MIGRATE
    b.runs[at + bk.R_QUEUE] = b.runs[at + bk.R_LATER] = b.runs[at + bk.R_MOVING] = 0
    b.runs[at + bk.R_LENGTH] = taken
    b.runs[at + bk.R_FAILED] = b.runs[at + bk.R_ENOMEM] = b.runs[at + bk.R_SCANNED] = b.runs[
        at + bk.R_PASS
    ] = b.runs[at + bk.R_SPLIT] = 0
    b.runs[at + bk.R_SPLITS] = b.runs[at + bk.R_PHASE] = 0
    cc.nr_folios = taken


@part
def batch_ended(s: View, b: CompactionBooks, e: EventChunk, i: int, run: int, cc: CompactControl) -> None:
    """mm_compaction_migratepages: what failed is put back, and compact_zone looks at the result."""
    at = run * bk.RW
    for n in range(b.runs[at + bk.R_TAKEN]):
        pfn = b.source[run * bk.BATCH + n] + 0
        if s.meta[pfn] >> 4 == k.CHUNK_ISOLATED:
            s.meta[pfn] = k.CHUNK_ALLOC << 4 | (s.meta[pfn] & 15)
    result, again = after_migration(s, cc, e.b[i] + 0, b.runs[at + bk.R_ENOMEM] + 0)
    if b.runs[at + bk.R_CAPTURED] and result == k.COMPACT_CONTINUE and not again:
        result = k.COMPACT_SUCCESS
    b.runs[at + bk.R_RESULT] = result
    b.runs[at + bk.R_AGAIN] = 1 if again else 0
    b.runs[at + bk.R_STATE] = bk.S_OVER


@part
def released(s: View, b: CompactionBooks, e: EventChunk, i: int, run: int, z: int) -> None:
    """mm_page_free at the end: a free page is given back."""
    at = run * bk.RW
    if b.runs[at + bk.R_STOCK]:
        b.inputs[bk.N_RELEASED] += 1
        off_lists(s, e.pfn[i] + 0, 0)
        b.runs[at + bk.R_HIGHEST] = max(b.runs[at + bk.R_HIGHEST], e.pfn[i])
        return
    pfn, _ = next_free_page(s, z, s.cc[run])
    if pfn < 0:
        return
    judge(b, e, i, bk.D_RELEASE, pfn, e.pfn[i] + 0)
    off_lists(s, pfn, 0)
    b.runs[at + bk.R_HIGHEST] = max(b.runs[at + bk.R_HIGHEST], pfn)


@part
def give_up_free_pages(
    s: View, b: CompactionBooks, e: EventChunk, i: int, run: int, z: int, cc: CompactControl
) -> None:
    """The run is over: free pages that the kernel has not given back are wrong, and the cached position may rise."""
    pfn, order = next_free_page(s, z, cc)
    while pfn >= 0:
        if not b.runs[run * bk.RW + bk.R_STOCK]:
            judge(b, e, i, bk.D_RELEASE, pfn, -1)
        unuse(s, b, pfn, order)
        pfn, order = next_free_page(s, z, cc)
    cc.nr_freepages = 0
    if b.runs[run * bk.RW + bk.R_HIGHEST] > 0:
        raise_cached_free_pfn(s, z, b.runs[run * bk.RW + bk.R_HIGHEST] + 0)


@part
def end_run(s: View, b: CompactionBooks, e: EventChunk, i: int, run: int, z: int, cc: CompactControl) -> None:
    """gt_cz 1: the result, and where everything stands."""
    at = run * bk.RW
    theirs = e.a[i] >> 24 & 255
    if b.runs[at + bk.R_STATE] == bk.S_OVER:
        followed(s, b, e, i, run, z, cc, 2)
    judge(b, e, i, bk.D_RESULT, b.runs[at + bk.R_RESULT] + 0, theirs)
    give_up_free_pages(s, b, e, i, run, z, cc)
    zone = s.zone[z]
    judge(b, e, i, bk.D_SCANNERS, cc.migrate_pfn, e.pfn[i] + 0)
    judge(b, e, i, bk.D_SCANNERS, cc.free_pfn, e.b[i] + 0)
    judge(b, e, i, bk.D_CACHED, zone.compact_cached_migrate_pfn[0], e.c[i] & 0xFFFFFFFF)
    judge(b, e, i, bk.D_CACHED, zone.compact_cached_migrate_pfn[1], e.c[i] >> 32)
    judge(b, e, i, bk.D_CACHED, zone.compact_cached_free_pfn, e.d[i] & 0xFFFFFFFF)
    force_cached(s, e, i, z)
    b.runs[at + bk.R_PID] = 0


@part
def force_cached(s: View, e: EventChunk, i: int, z: int) -> None:
    """Take the kernel's cached positions over."""
    zone = s.zone[z]
    zone.compact_cached_migrate_pfn[0] = e.c[i] & 0xFFFFFFFF
    zone.compact_cached_migrate_pfn[1] = e.c[i] >> 32
    zone.compact_cached_free_pfn = e.d[i] & 0xFFFFFFFF
