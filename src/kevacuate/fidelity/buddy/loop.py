# SPDX-License-Identifier: GPL-2.0-or-later
"""The buddy level, compiled: each request is put to the model, and what it did is held against what the kernel did.

A request is a ``gt_rmq`` event; what the kernel did for it are the events that follow on that CPU, up to the next
request. The model runs the whole request first and logs what it does; only then are the events looked at.
"""

from __future__ import annotations

from kevacuate.fidelity.buddy import books as bk
from kevacuate.fidelity.buddy.books import BuddyBooks, Scratch
from kevacuate.fidelity.buddy.requests import (
    captured_page,
    compaction_begin,
    compaction_end,
    direct_compaction,
    is_compacting,
    note_user,
    perform,
)
from kevacuate.fidelity.compaction.books import DECIDED_FROM, LEFT_OUT, UNDECIDED
from kevacuate.fidelity.compaction.operations import operation
from kevacuate.fidelity.tally import F_COMPACTIONS, F_LAST, F_NUMBER, decided
from kevacuate.jit import kernel, part, pointers
from kevacuate.kernel.hooks import LAST_REQUEST
from kevacuate.mm import constants as k
from kevacuate.mm.as_recorded import count_as_lru, isolate_free_chunk, rotate_free_list, uncount_lru
from kevacuate.mm.buddy import page_zone
from kevacuate.mm.fields import LogRecord, View
from kevacuate.mm.layout import State
from kevacuate.mm.log import pack_types
from kevacuate.recording import EventChunk
from kevacuate.recording import event_numbers as ev


@part(inline=True)
def is_request(e: EventChunk, i: int) -> bool:
    """Whether row *i* is a request that takes the zone lock."""
    return e.kind[i] == ev.GT_RMQ and e.a[i] <= LAST_REQUEST


@part(inline=True)
def answer_kind(e: EventChunk, i: int) -> int:
    """The model's log kind of what row *i* shows; 0 if it is not part of an answer."""
    kind = e.kind[i]
    if kind == ev.GT_LIST:
        return k.L_LIST
    if kind == ev.MM_PAGE_ALLOC_ZONE_LOCKED:
        return k.L_ZONE_LOCKED
    if kind == ev.MM_PAGE_PCPU_DRAIN:
        return k.L_PCPU_DRAIN
    if kind == ev.MM_PAGE_ALLOC_EXTFRAG:
        return k.L_EXTFRAG
    if kind == ev.GT_BLK and e.mt[i] != e.a[i]:
        return k.L_BLOCK_TYPE
    if kind == ev.GT_EVAC and e.order[i] == ev.EVAC_CLAIM:
        return k.L_EVAC_CLAIM
    return 0


@part(inline=True)
def decision_kind(logged: int) -> int:
    """Kind of decision of a record of the model's log; -1: it is not compared."""
    if logged == k.L_LIST:
        return bk.D_LIST
    if logged == k.L_ZONE_LOCKED:
        return bk.D_TAKEN
    if logged == k.L_PCPU_DRAIN:
        return bk.D_DRAIN
    if logged == k.L_EXTFRAG:
        return bk.D_EXTFRAG
    if logged == k.L_BLOCK_TYPE:
        return bk.D_BLOCK
    if logged == k.L_EVAC_CLAIM:
        return bk.D_CLAIM
    return -1


@part(inline=True)
def agrees(record: LogRecord, e: EventChunk, i: int, logged: int) -> bool:
    """Whether the log's *record* says what row *i* says; both are of the kind *logged*."""
    if record.pfn != e.pfn[i]:
        return False
    if logged == k.L_LIST:
        mt = e.mt[i] + 256 * e.b[i]
        return record.a == e.a[i] and record.b == e.order[i] and record.c == mt
    if logged == k.L_EXTFRAG:
        mt = pack_types(e.mt[i], e.b[i])
        same = record.a == e.order[i] and record.b == e.a[i]
        return same and record.c == mt and record.d == e.c[i]
    if logged == k.L_BLOCK_TYPE:
        return record.a == e.mt[i] and record.b == e.a[i]
    if logged == k.L_EVAC_CLAIM:
        same = record.a == e.a[i] and record.b == e.b[i]
        return same and record.c == e.c[i] and record.d == e.d[i]
    return record.a == e.order[i] and record.b == e.mt[i]


@part(cold=True)
def note_kernel(b: BuddyBooks, e: EventChunk, row: int) -> None:
    """The kernel's side of the first divergence, in the log's terms."""
    logged = answer_kind(e, row)
    b.first[bk.V_KERNEL] = logged
    b.first[bk.V_KERNEL + 1] = e.pfn[row]
    values = (e.order[row] + 0, e.mt[row] + 0, 0, 0)
    if logged == k.L_LIST:
        values = (e.a[row] + 0, e.order[row] + 0, e.mt[row] + 256 * e.b[row], 0)
    elif logged == k.L_EXTFRAG:
        values = (e.order[row] + 0, e.a[row] + 0, pack_types(e.mt[row], e.b[row]), e.c[row] + 0)
    elif logged == k.L_BLOCK_TYPE:
        values = (e.mt[row] + 0, e.a[row] + 0, 0, 0)
    elif logged == k.L_EVAC_CLAIM:
        values = (e.a[row] + 0, e.b[row] + 0, e.c[row] + 0, e.d[row] + 0)
    for n in range(4):
        b.first[bk.V_KERNEL + 2 + n] = values[n]


@part(cold=True)
def mismatch(s: View, b: BuddyBooks, e: EventChunk, request: int, row: int, model: int, kind: int) -> None:
    """Note a wrong decision: the request's row (-1: none), the kernel's row (-1: it did nothing), the log's record (-1)."""
    shown = row if row >= 0 else request
    b.facts[F_LAST] = b.facts[F_NUMBER] + shown
    b.facts[bk.F_WRONG] += 1
    if not b.facts[bk.F_UNLISTED]:
        b.facts[bk.F_DIVERGED] = 1
    if b.facts[bk.F_TOLD]:
        return
    b.facts[bk.F_TOLD] = 1
    b.first[bk.V_POSITION] = b.facts[F_NUMBER] + shown
    b.first[bk.V_TS] = e.ts[shown]
    b.first[bk.V_KIND] = kind
    b.first[bk.V_REQUEST] = -1
    if request >= 0:
        values = (e.a[request], e.b[request], e.order[request], e.mt[request], e.c[request], e.d[request])
        for n in range(6):
            b.first[bk.V_REQUEST + n] = values[n]
    b.first[bk.V_REQUEST + 6] = e.cpu[shown]
    if model >= 0:
        record = s.log[model]
        values = (record.kind, record.pfn, record.a, record.b, record.c, record.d)
        for n in range(6):
            b.first[bk.V_MODEL + n] = values[n]
    if row >= 0:
        note_kernel(b, e, row)


@part(cold=True)
def pair(b: BuddyBooks, e: EventChunk, row: int, record: LogRecord, logged: int) -> None:
    """After a divergence: remember which page of the model stands for the page the kernel took."""
    if logged == k.L_ZONE_LOCKED or logged == k.L_EXTFRAG:
        for n in range(1 << e.order[row]):
            b.same[e.pfn[row] + n] = record.pfn + n


@part
def next_answer(e: EventChunk, w: Scratch, j: int, end: int, cpu: int) -> int:
    """The next row from *j* on that is part of an answer on this CPU; *end* if there is none."""
    while j < end:
        if e.cpu[j] == cpu and not w.done[j] and answer_kind(e, j) != 0:
            return j
        j += 1
    return end


@part
def compare_answer(
    s: View, b: BuddyBooks, e: EventChunk, w: Scratch, request: int, skip: int, first: int, end: int
) -> int:
    """Hold the model's log, without its first *skip* records, against the rows from *first* to *end* on the request's CPU.

    Returns the row after the last one compared.
    """
    cpu = e.cpu[request]
    records = s.stat.nr_log
    if records > s.cfg.log_capacity:
        b.facts[bk.F_OVERFLOW] = 1
        records = s.cfg.log_capacity
    j = first
    for n in range(skip, records):
        record = s.log[n]
        logged = record.kind
        kind = decision_kind(logged)
        if kind < 0 or (kind == bk.D_LIST and b.facts[bk.F_UNLISTED]):
            continue
        j = next_answer(e, w, j, end, cpu)
        if j == end:
            decided(b, kind, False)
            mismatch(s, b, e, request, -1, n, kind)
            continue
        same_kind = answer_kind(e, j) == logged
        right = same_kind and agrees(record, e, j, logged)
        decided(b, kind, right)
        if not right:
            mismatch(s, b, e, request, j, n, kind)
        if b.facts[bk.F_DIVERGED] and same_kind:
            pair(b, e, j, record, logged)
        w.done[j] = 1
        j += 1
    return j


@part(cold=True)
def count_claims(s: View, b: BuddyBooks, e: EventChunk, first: int, end: int, cpu: int) -> bool:
    """Give the blocks of the claims among these rows their movable pages; whether there are any."""
    counted = False
    for j in range(first, end):
        if e.kind[j] == ev.GT_EVAC and e.order[j] == ev.EVAC_CLAIM and e.cpu[j] == cpu:
            count_as_lru(s, e.pfn[j] + 0, e.c[j] + 0)
            b.inputs[bk.N_COUNTS] += 1
            counted = True
    return counted


@part(cold=True)
def uncount_claims(s: View, e: EventChunk, first: int, end: int, cpu: int) -> None:
    """Take that back."""
    for j in range(first, end):
        if e.kind[j] == ev.GT_EVAC and e.order[j] == ev.EVAC_CLAIM and e.cpu[j] == cpu:
            uncount_lru(s, e.pfn[j] + 0)


@part
def run_request(s: View, b: BuddyBooks, e: EventChunk, w: Scratch, i: int) -> None:
    """Put one request to the model, and compare."""
    end, cpu = w.following[i] + 0, e.cpu[i] + 0
    allocates = e.a[i] <= ev.RMQ_BUDDY and w.claims[i] != 0
    counted = allocates and count_claims(s, b, e, i + 1, end, cpu)
    s.stat.nr_log = 0
    s.stat.cpu = cpu
    refused = perform(s, b, e, i, end)
    if counted:
        uncount_claims(s, e, i + 1, end, cpu)
    j = compare_answer(s, b, e, w, i, 0, i + 1, end)
    if refused:
        j = next_answer(e, w, j, end, cpu)
        took_more = j < end and (
            e.kind[j] == ev.MM_PAGE_ALLOC_ZONE_LOCKED or e.kind[j] == ev.MM_PAGE_ALLOC_EXTFRAG
        )
        decided(b, bk.D_REFUSAL, not took_more)


@part(cold=True)
def compacted_otherwise(
    s: View, b: BuddyBooks, e: EventChunk, i: int, ours: int, row: int, made: bool
) -> None:
    """A wrong list operation of compaction: *ours* by the model (-1: none), the kernel's is in *row* (-1: none).

    Where the kernel's was *made* the model's lists are still the kernel's.
    """
    told, diverged = b.facts[bk.F_TOLD] + 0, b.facts[bk.F_DIVERGED] + 0
    mismatch(s, b, e, -1, i, -1, bk.D_COMPACT)
    if made:
        b.facts[bk.F_DIVERGED] = diverged
    if told:
        return
    if row < 0:
        b.first[bk.V_KERNEL] = 0
    if ours >= 0:
        values = (k.L_LIST, ours >> 10, ours >> 7 & 7, ours >> 3 & 15, ours & 7)
        for n in range(5):
            b.first[bk.V_MODEL + n] = values[n]


@part
def compacted(b: BuddyBooks, s: View, e: EventChunk, w: Scratch, i: int, made: bool, unknown: int) -> None:
    """Count a list operation of compaction that the model has *made* or could not: its decision, or the input *unknown*."""
    if not made:
        b.inputs[bk.N_LOST] += 1
    if w.compaction[i] <= UNDECIDED:
        b.inputs[unknown] += made
        return
    same = w.compaction[i] == operation(e.pfn[i], e.a[i], e.order[i], e.mt[i]) + DECIDED_FROM
    b.inputs[bk.N_RIGHTED] += not same
    decided(b, bk.D_COMPACT, same and made)
    if not (same and made):
        compacted_otherwise(s, b, e, i, w.compaction[i] - DECIDED_FROM, i, made)


@part(cold=True)
def left_out(s: View, b: BuddyBooks, e: EventChunk, w: Scratch, i: int) -> None:
    """List operations that the model's compaction decided and the kernel's had not made by row *i*."""
    for _ in range(-w.compaction[i] % LEFT_OUT):
        decided(b, bk.D_COMPACT, False)
    compacted_otherwise(s, b, e, i, -w.compaction[i] // LEFT_OUT, -1, True)


@part
def unasked(s: View, b: BuddyBooks, e: EventChunk, w: Scratch, i: int) -> None:
    """A row that no request of the model accounts for: compaction's own work, or a decision the model did not make."""
    logged = answer_kind(e, i)
    op = e.a[i]
    if logged == k.L_LIST and op == ev.LIST_DELETE and is_compacting(b, e.pid[i]):
        s.stat.nr_log = 0
        made = isolate_free_chunk(s, e.pfn[i] + 0, e.order[i] + 0)
        compacted(b, s, e, w, i, made, bk.N_ISOLATED)
        if made:
            compare_answer(s, b, e, w, i, 1, i + 1, w.following[i] + 0)
        if b.facts[bk.F_DIVERGED]:
            for n in range(1 << e.order[i]):
                b.same[e.pfn[i] + n] = e.pfn[i] + n
        return
    if logged == k.L_LIST and op >= ev.LIST_ROTATE_FIRST:
        made = rotate_free_list(
            s, page_zone(s, e.pfn[i]), e.order[i] + 0, e.mt[i] + 0, e.pfn[i] + 0, op == ev.LIST_ROTATE_LAST
        )
        compacted(b, s, e, w, i, made, bk.N_ROTATED)
        return
    kind = decision_kind(logged)
    decided(b, kind, False)
    mismatch(s, b, e, -1, i, -1, kind)


@part(cold=True)
def other_event(s: View, b: BuddyBooks, e: EventChunk, i: int) -> None:
    """Events that no answer consists of: compaction's begin and end, and allocations that may have been captured."""
    kind = e.kind[i]
    if kind == ev.COMPACTION_TRY_TO_COMPACT_PAGES:
        direct_compaction(b, e.pid[i] + 0, e.order[i] + 0, e.gfp[i] + 0)
    elif kind == ev.COMPACTION_BEGIN:
        compaction_begin(s, b, e.pid[i] + 0, e.b[i] + 0)
    elif kind == ev.COMPACTION_END:
        compaction_end(b, e.pid[i] + 0)


@part(inline=True)
def captured_allocation(s: View, b: BuddyBooks, e: EventChunk, i: int) -> None:
    """mm_page_alloc of a task whose direct compaction has ended: what was captured for it must be what it gets."""
    pfn = captured_page(b, e.pid[i] + 0, e.order[i] + 0)
    if pfn >= 0:
        right = pfn == e.pfn[i]
        decided(b, bk.D_CAPTURE, right)
        if not right:
            mismatch(s, b, e, -1, i, -1, bk.D_CAPTURE)


@part
def link_requests(b: BuddyBooks, e: EventChunk, w: Scratch, rows: int, cpus: int, whole: bool) -> int:
    """For each row the next request on its CPU; returns the first row that is not surely complete, of *whole* ones the end."""
    for cpu in range(cpus):
        b.last_request[cpu] = rows
        b.claiming[cpu] = 0
    cut = rows
    i = rows - 1
    while i >= 0:
        cpu = e.cpu[i]
        w.following[i] = b.last_request[cpu]
        if e.kind[i] == ev.GT_EVAC:
            b.claiming[cpu] = 1
        elif is_request(e, i):
            if b.last_request[cpu] == rows:
                cut = i
            b.last_request[cpu] = i
            w.claims[i] = b.claiming[cpu]
            b.claiming[cpu] = 0
        i -= 1
    if whole:
        cut = rows
    b.facts[bk.F_CUT] = cut
    return cut


@part
def buddy_row(s: View, b: BuddyBooks, e: EventChunk, w: Scratch, i: int) -> None:
    """Run one row, which is no request, through the level."""
    kind = e.kind[i]
    if kind == ev.MM_PAGE_ALLOC:
        note_user(b, e.pid[i], e.order[i], e.gfp[i])
        if b.facts[F_COMPACTIONS] > 0:
            captured_allocation(s, b, e, i)
    elif kind >= ev.COMPACTION_BEGIN:
        other_event(s, b, e, i)
    elif not w.done[i] and answer_kind(e, i) != 0:
        unasked(s, b, e, w, i)


@kernel
def buddy_rows(
    sa: State, books: BuddyBooks, events: EventChunk, scratch: Scratch, number: int, whole: bool
) -> int:
    """Run rows through the buddy level; *number* is that of the first. Returns how many rows were decided.

    Unless *whole*, stops before the first request whose answer may go on in rows yet to come.
    """
    s, b, e, w = pointers(sa), pointers(books), pointers(events), pointers(scratch)
    b.facts[F_NUMBER] = number
    rows = events.kind.size
    cut = link_requests(b, e, w, rows, books.last_request.size, whole)
    for i in range(cut):
        if w.compaction[i] < UNDECIDED:
            left_out(s, b, e, w, i)
        if is_request(e, i):
            run_request(s, b, e, w, i)
        else:
            buddy_row(s, b, e, w, i)
    return cut
