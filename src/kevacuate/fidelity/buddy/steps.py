# SPDX-License-Identifier: GPL-2.0-or-later
"""Requests page by page, where the kernel recorded no list operations: each wrong page costs one decision.

No event shows in which order two CPUs got the zone lock, nor what a scanner has taken before its event comes. The model decides
about a page and is held against the kernel's. Where that is another one it is taken over. The set of free pages then stays the
kernel's, the order of the lists is the model's own.
"""

from __future__ import annotations

from kevacuate.fidelity.buddy import books as bk
from kevacuate.fidelity.buddy.books import BuddyBooks, Scratch
from kevacuate.fidelity.buddy.loop import (
    answer_kind,
    compare_answer,
    count_claims,
    decision_kind,
    mismatch,
    next_answer,
    uncount_claims,
)
from kevacuate.fidelity.tally import decided
from kevacuate.jit import part
from kevacuate.mm import constants as k
from kevacuate.mm.as_recorded import put_in_use, retype_block, take_free_pages
from kevacuate.mm.buddy import (
    add_to_free_list,
    del_page_from_free_list,
    free_one_page_merge,
    get_pfnblock_migratetype,
    page_zone,
)
from kevacuate.mm.evacuate_queue import irq_work_run
from kevacuate.mm.fallback_6_1 import rmqueue_retry
from kevacuate.mm.fields import View
from kevacuate.mm.get_page import rmqueue_buddy
from kevacuate.mm.rmqueue import rmqueue_mode
from kevacuate.recording import EventChunk
from kevacuate.recording import event_numbers as ev


@part
def page_row(e: EventChunk, first: int, end: int, cpu: int) -> int:
    """The last row about the next page that the kernel takes on this CPU, before *end*; -1 if it takes no more.

    A page of its own type has mm_page_alloc_zone_locked, a stolen one mm_page_alloc_extfrag, one of a claimed block both.
    """
    found = -1
    for j in range(first, end):
        if e.cpu[j] != cpu:
            continue
        if e.kind[j] == ev.MM_PAGE_ALLOC_EXTFRAG:
            return j if found < 0 or e.pfn[j] == e.pfn[found] else found
        if e.kind[j] == ev.MM_PAGE_ALLOC_ZONE_LOCKED:
            if found >= 0:
                return found
            found = j
        elif found >= 0 and e.kind[j] != ev.GT_BLK:
            return found
    return found


@part(cold=True)
def unanswered(s: View, b: BuddyBooks, e: EventChunk, w: Scratch, request: int, first: int, end: int) -> None:
    """Rows of the step that the model has nothing for."""
    j = next_answer(e, w, first, end, e.cpu[request] + 0)
    while j < end:
        kind = decision_kind(answer_kind(e, j))
        decided(b, kind, False)
        mismatch(s, b, e, request, j, -1, kind)
        w.done[j] = 1
        j = next_answer(e, w, j + 1, end, e.cpu[request] + 0)


@part(cold=True)
def give_back(s: View, pfn: int, order: int, last: bool) -> None:
    """What the model took and the kernel did not is free again, merged as it was: *last* of its list, or first."""
    for page in range(pfn, pfn + (1 << order)):
        s.meta[page] = 0
    z, mt = page_zone(s, pfn), get_pfnblock_migratetype(s, pfn)
    free_one_page_merge(s, z, pfn, order, mt, k.FPI_NONE)
    for size in range(order, s.cfg.max_page_order + 1):
        head = (pfn >> size) << size
        if s.meta[head] == (k.CHUNK_BUDDY << 4 | size):
            mt = get_pfnblock_migratetype(s, head)
            del_page_from_free_list(s, z, head, size, mt)
            add_to_free_list(s, z, head, size, mt, last)
            return


@part(cold=True)
def kernels_type(e: EventChunk, first: int, end: int, cpu: int, block: int, otherwise: int) -> int:
    """The type that the kernel's step has given the block; *otherwise* if it left it alone."""
    mt = otherwise
    for j in range(first, end):
        if e.kind[j] == ev.GT_BLK and e.cpu[j] == cpu and e.pfn[j] == block:
            mt = e.a[j] + 0
    return mt


@part(cold=True)
def retype(s: View, b: BuddyBooks, block: int, mt: int) -> None:
    """Give a block the kernel's type."""
    if get_pfnblock_migratetype(s, block) != mt:
        retype_block(s, block, mt)
        b.inputs[bk.N_RETYPED] += 1


@part(cold=True)
def take_over(
    s: View, b: BuddyBooks, e: EventChunk, request: int, skip: int, first: int, end: int, ours: int, row: int
) -> None:
    """After a wrong step: the kernel's page and block types. *ours*: the model's page, *row*: the kernel's; -1: none.

    A page that the model wanted twice in vain goes to the end of its list: it stands elsewhere than the kernel has it.
    """
    order, cpu = e.order[request] + 0, e.cpu[request] + 0
    theirs = -1
    if row >= 0:
        theirs = e.pfn[row] + 0
    records = min(s.stat.nr_log, s.cfg.log_capacity)
    if theirs != ours:
        b.inputs[bk.N_TAKEN_OVER] += 1
        if theirs >= 0:
            take_free_pages(s, theirs, order)
        if ours >= 0:
            give_back(s, ours, order, b.facts[bk.F_RETURNED] == ours + 1)
            b.facts[bk.F_RETURNED] = ours + 1
            if theirs >= 0:
                take_free_pages(s, theirs, order)
    n = records - 1
    while n >= skip:
        if s.log[n].kind == k.L_BLOCK_TYPE:
            retype(s, b, s.log[n].pfn, kernels_type(e, first, end, cpu, s.log[n].pfn, s.log[n].a))
        n -= 1
    for j in range(first, end):
        if e.kind[j] == ev.GT_BLK and e.cpu[j] == cpu:
            retype(s, b, e.pfn[j] + 0, e.a[j] + 0)


@part
def take_page(s: View, e: EventChunk, request: int, z: int, mode: int, taken: int) -> tuple[int, int]:
    """One page as the request of the row takes it. Returns (pfn or -1, mode)."""
    order, mt, flags = e.order[request] + 0, e.mt[request] + 0, e.c[request] + 0
    if e.a[request] == ev.RMQ_BUDDY:
        return rmqueue_buddy(s, z, order, mt, flags), mode
    if s.cfg.steal_suitable:
        pfn, _ = rmqueue_retry(s, z, order, mt, flags, taken << order)
        return pfn, mode
    return rmqueue_mode(s, z, order, mt, flags, mode)


@part
def run_by_page(s: View, b: BuddyBooks, e: EventChunk, w: Scratch, i: int) -> None:
    """A refill or a direct allocation, page by page."""
    end, cpu, z = w.following[i] + 0, e.cpu[i] + 0, b.zone_of[e.b[i]] + 0
    bulk = e.a[i] == ev.RMQ_BULK
    b.inputs[bk.N_BULK if bulk else bk.N_BUDDY] += 1
    s.stat.cpu = cpu
    mode = k.RMQUEUE_NORMAL
    taken, wanted, j = 0, e.d[i] + 0 if bulk else 1, i + 1
    going = True
    while taken < wanted and going:
        row = page_row(e, j, end, cpu)
        last = row + 1 if row >= 0 else end
        skip, wrong = s.stat.nr_log + 0, b.facts[bk.F_WRONG] + 0
        counted = w.claims[i] != 0 and count_claims(s, b, e, j, last, cpu)
        pfn, mode = take_page(s, e, i, z, mode, taken)
        if pfn >= 0:
            put_in_use(s, pfn, e.order[i] + 0)
        else:
            decided(b, bk.D_REFUSAL, row < 0)
        if counted:
            uncount_claims(s, e, j, last, cpu)
        compare_answer(s, b, e, w, i, skip, j, last)
        unanswered(s, b, e, w, i, j, last)
        if b.facts[bk.F_WRONG] != wrong:
            take_over(s, b, e, i, skip, j, last, pfn, row)
        going = row >= 0
        taken += 1
        j = last
    if bulk:
        irq_work_run(s, z)
