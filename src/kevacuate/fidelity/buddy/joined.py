# SPDX-License-Identifier: GPL-2.0-or-later
"""The buddy and the compaction level as one, where the kernel recorded no list operations (gt_list).

Each has its state. What requests and frees do to the lists of the one is done to the other's. So is what the scanners take and
rotate, event by event: both decide on the same lists.
"""

from __future__ import annotations

from kevacuate.fidelity.buddy import books as bk
from kevacuate.fidelity.buddy.books import BuddyBooks, Scratch
from kevacuate.fidelity.buddy.loop import buddy_row, is_request, link_requests, run_request
from kevacuate.fidelity.buddy.steps import run_by_page
from kevacuate.fidelity.compaction import books as cb
from kevacuate.fidelity.compaction.books import CompactionBooks
from kevacuate.fidelity.compaction.follow import follow_operation
from kevacuate.fidelity.compaction.loop import compaction_row
from kevacuate.fidelity.tally import F_NUMBER
from kevacuate.jit import kernel, part, pointers
from kevacuate.mm import constants as k
from kevacuate.mm.as_recorded import isolate_free_chunk, retype_block, rotate_free_list, take_free_pages
from kevacuate.mm.buddy import account_freepages, add_to_free_list, page_zone
from kevacuate.mm.fields import View
from kevacuate.mm.layout import State
from kevacuate.recording import EventChunk
from kevacuate.recording import event_numbers as ev


@part(cold=True)
def compacted_lists(s: View, c: View) -> None:
    """Do to the buddy level's lists what compaction did to its own, *c*."""
    for n in range(min(c.stat.nr_log, c.cfg.log_capacity)):
        record = c.log[n]
        if record.kind == k.L_BLOCK_TYPE:
            retype_block(s, record.pfn, record.b)
        elif record.kind == k.L_LIST:
            compacted_list(s, record.pfn, record.a, record.b, record.c & 255)


@part(cold=True)
def compacted_list(s: View, pfn: int, op: int, order: int, mt: int) -> None:
    """One list operation of compaction's."""
    z = page_zone(s, pfn)
    if op == k.LIST_DELETE:
        if not isolate_free_chunk(s, pfn, order):
            take_free_pages(s, pfn, order)
    elif op >= k.LIST_ROTATE_FIRST:
        rotate_free_list(s, z, order, mt, pfn, op == k.LIST_ROTATE_LAST)
    elif op <= k.LIST_ADD_TAIL:
        take_free_pages(s, pfn, order)
        for page in range(pfn, pfn + (1 << order)):
            s.meta[page] = k.CHUNK_TAIL << 4
        add_to_free_list(s, z, pfn, order, mt, op == k.LIST_ADD_TAIL)
        account_freepages(s, z, 1 << order, mt)


@part
def requested_lists(c: View, books: CompactionBooks, s: View) -> None:
    """Do to compaction's lists what requests and frees did to the buddy level's, *s*."""
    for n in range(min(s.stat.nr_log, s.cfg.log_capacity)):
        record = s.log[n]
        if record.kind == k.L_LIST:
            follow_operation(c, books, record.pfn, record.b, record.c & 255, record.a, record.c >> 8)
            books.inputs[cb.N_MADE] += 1
        elif record.kind == k.L_BLOCK_TYPE:
            retype_block(c, record.pfn, record.b)


@kernel
def joined_rows(
    sa: State,
    books: BuddyBooks,
    ca: State,
    compaction: CompactionBooks,
    events: EventChunk,
    scratch: Scratch,
    number: int,
    whole: bool,
) -> int:
    """Run rows through both levels; *number* is that of the first. Returns how many rows were decided.

    Unless *whole*, stops before the first request whose answer may go on in rows yet to come.
    """
    s, b, e, w = pointers(sa), pointers(books), pointers(events), pointers(scratch)
    c, d = pointers(ca), pointers(compaction)
    rows = events.kind.size
    b.facts[F_NUMBER] = d.facts[F_NUMBER] = number
    d.facts[cb.F_ROWS] = rows
    cut = link_requests(b, e, w, rows, books.last_request.size, whole)
    for i in range(cut):
        c.stat.nr_log = 0
        compaction_row(c, d, e, i)
        if c.stat.nr_log:
            compacted_lists(s, c)
        s.stat.nr_log = 0
        if is_request(e, i):
            if e.a[i] <= ev.RMQ_BUDDY:
                run_by_page(s, b, e, w, i)
            else:
                run_request(s, b, e, w, i)
        elif e.kind[i] == ev.GT_BLK and not w.done[i] and e.mt[i] != e.a[i]:
            b.inputs[bk.N_RETYPED] += 1
            retype_block(s, e.pfn[i] + 0, e.a[i] + 0)
        else:
            buddy_row(s, b, e, w, i)
        if s.stat.nr_log:
            requested_lists(c, d, s)
    return cut
