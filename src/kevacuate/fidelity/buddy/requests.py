# SPDX-License-Identifier: GPL-2.0-or-later
"""What the recorded requests make the model do: refills, direct allocations and frees, drains, captures."""

from __future__ import annotations

from kevacuate.fidelity.buddy import books as bk
from kevacuate.fidelity.buddy.books import BuddyBooks
from kevacuate.fidelity.tally import F_COMPACTIONS
from kevacuate.jit import part
from kevacuate.kernel.gfp import GFP_COMP, GFP_HIGHUSER_MOVABLE, GFP_ZERO
from kevacuate.mm.as_recorded import free_from_pcp, is_in_use, put_in_use, take_free_page
from kevacuate.mm.buddy import free_one_page, page_zone
from kevacuate.mm.constants import (
    GFP_MOVABLE,
    GFP_RECLAIMABLE,
)
from kevacuate.mm.fields import View
from kevacuate.mm.get_page import rmqueue_buddy
from kevacuate.mm.pcp import order_to_pindex, pcp_list, rmqueue_bulk
from kevacuate.recording import EventChunk
from kevacuate.recording.event_numbers import MM_PAGE_PCPU_DRAIN, RMQ_BUDDY, RMQ_BULK, RMQ_DRAIN, RMQ_FREE

OF_A_FAULT = GFP_HIGHUSER_MOVABLE | GFP_COMP
"""Flags of anonymous memory that a fault takes, zeroed (do_anonymous_page) or copied to (wp_page_copy; mm/memory.c, 7.2)."""


@part
def refill(s: View, z: int, cpu: int, order: int, count: int, mt: int, flags: int) -> bool:
    """rmqueue_bulk; the chunks leave the per-CPU list at once, in use. True if there were fewer than asked for."""
    taken = rmqueue_bulk(s, z, cpu, order, count, mt, flags)
    head = pcp_list(s, z, cpu, order_to_pindex(order, mt))
    page = s.link[2 * head] + 0
    while page != head:
        following = s.link[2 * page] + 0
        put_in_use(s, page, order)
        page = following
    s.link[2 * head] = head
    s.link[2 * head + 1] = head
    return taken < count


@part
def model_page(s: View, b: BuddyBooks, pfn: int, order: int) -> int:
    """The model's chunk that stands for the recorded one, if it is a chunk there too and in use; else -1."""
    page = b.same[pfn] + 0
    if page & ((1 << order) - 1):
        return -1
    for n in range(1, 1 << order):
        if b.same[pfn + n] != page + n:
            return -1
    return page if is_in_use(s, page, order) else -1


@part
def hand_in(s: View, b: BuddyBooks, pfn: int, order: int) -> int:
    """Take a chunk that the kernel frees out of use in the model; its pfn there, -1 if it is none there.

    Pages that are free in the model were taken by the recorded kernel without an event (compaction, where list
    operations are not recorded): they are taken now.
    """
    if not is_in_use(s, pfn, order) or b.facts[bk.F_DIVERGED]:
        for n in range(1 << order):
            if take_free_page(s, b.same[pfn + n] + 0):
                b.inputs[bk.N_UNSEEN] += 1
    page = model_page(s, b, pfn, order)
    if page >= 0:
        for n in range(1 << order):
            s.meta[page + n] = 0
    return page


@part(cold=True)
def free_scattered(s: View, b: BuddyBooks, pfn: int, order: int, drained: int) -> None:
    """Free page by page what is not one chunk in the model."""
    for n in range(1 << order):
        page = hand_in(s, b, pfn + n, 0)
        if page < 0:
            continue
        if drained:
            free_from_pcp(s, page, 0)
        else:
            free_one_page(s, page_zone(s, page), page, 0, 0)


@part
def drain(s: View, b: BuddyBooks, e: EventChunk, request: int, end: int) -> None:
    """free_pcppages_bulk, the chunks given by the events that follow on this CPU."""
    left = e.d[request] + 0
    j = request + 1
    while left > 0 and j < end:
        if e.kind[j] == MM_PAGE_PCPU_DRAIN and e.cpu[j] == e.cpu[request]:
            order = e.order[j] + 0
            left -= 1 << order
            b.inputs[bk.N_CHUNKS] += 1
            page = hand_in(s, b, e.pfn[j] + 0, order)
            if page >= 0:
                free_from_pcp(s, page, order)
            else:
                free_scattered(s, b, e.pfn[j] + 0, order, True)
        j += 1


@part
def perform(s: View, b: BuddyBooks, e: EventChunk, i: int, end: int) -> int:
    """Run the request of row *i*; whether an allocation got fewer chunks than it asked for."""
    kind, order, mt = e.a[i], e.order[i] + 0, e.mt[i] + 0
    z, cpu, value = b.zone_of[e.b[i]] + 0, e.cpu[i] + 0, e.c[i] + 0
    if kind == RMQ_BULK:
        b.inputs[bk.N_BULK] += 1
        return refill(s, z, cpu, order, e.d[i] + 0, mt, value)
    if kind == RMQ_BUDDY:
        b.inputs[bk.N_BUDDY] += 1
        pfn = rmqueue_buddy(s, z, order, mt, value)
        if pfn >= 0:
            put_in_use(s, pfn, order)
        return pfn < 0
    arm_capture(s, b, e.pid[i] + 0)
    if kind == RMQ_DRAIN:
        b.inputs[bk.N_DRAIN] += 1
        drain(s, b, e, i, end)
    elif kind == RMQ_FREE:
        b.inputs[bk.N_FREE] += 1
        page = hand_in(s, b, value, order)
        if page >= 0:
            free_one_page(s, page_zone(s, page), page, order, mt)
        else:
            free_scattered(s, b, value, order, False)
    collect_capture(s, b, e.pid[i] + 0)
    return False


@part(inline=True)
def compactor(b: BuddyBooks, pid: int) -> int:
    """Offset of the direct compactor's record; -1 if the task is none."""
    for n in range(bk.COMPACTORS):
        if b.compactors[n * bk.CS + bk.CO_PID] == pid + 1:
            return n * bk.CS
    return -1


@part(inline=True)
def arm_capture(s: View, b: BuddyBooks, pid: int) -> None:
    """Let the model's frees see the capture_control of the task that is running."""
    s.stat.capture_order = -1
    if b.facts[bk.F_ACTIVE] == 0:
        return
    at = compactor(b, pid)
    if at >= 0 and b.compactors[at + bk.CO_ZONE] >= 0 and b.compactors[at + bk.CO_PFN] < 0:
        s.stat.capture_order = b.compactors[at + bk.CO_ORDER]
        s.stat.capture_mt = b.compactors[at + bk.CO_MT]
        s.stat.capture_zone = b.compactors[at + bk.CO_ZONE]
        s.stat.captured_pfn = -1


@part(inline=True)
def collect_capture(s: View, b: BuddyBooks, pid: int) -> None:
    """Note what was captured; it is in use from now on."""
    if s.stat.capture_order >= 0 and s.stat.captured_pfn >= 0:
        at = compactor(b, pid)
        b.compactors[at + bk.CO_PFN] = s.stat.captured_pfn
        put_in_use(s, s.stat.captured_pfn, s.stat.capture_order)
    s.stat.capture_order = -1


@part(inline=True)
def note_user(b: BuddyBooks, pid: int, order: int, gfp: int) -> None:
    """mm_page_alloc: a page with just a fault's flags makes its task no kernel thread. khugepaged's requests have others, too."""
    if order == 0 and gfp & ~GFP_ZERO == OF_A_FAULT:
        b.user[pid & (bk.TASKS - 1)] = 1


@part(cold=True)
def direct_compaction(b: BuddyBooks, pid: int, order: int, gfp: int) -> None:
    """mm_compaction_try_to_compact_pages: this task compacts for a request of *order* with *gfp*.

    A kernel thread captures nothing (task_capc, mm/page_alloc.c, 7.2). No event shows which tasks those are: one that had no
    page of user memory is taken for one. khugepaged is the one that compacts directly.
    """
    at = compactor(b, pid)
    if not b.user[pid & (bk.TASKS - 1)]:
        return
    n = 0
    while at < 0 and n < bk.COMPACTORS:
        if b.compactors[n * bk.CS + bk.CO_PID] == 0:
            at = n * bk.CS
        n += 1
    at = max(at, 0)
    b.compactors[at + bk.CO_PID] = pid + 1
    b.compactors[at + bk.CO_ORDER] = order
    b.compactors[at + bk.CO_MT] = (gfp & (GFP_MOVABLE | GFP_RECLAIMABLE)) >> 3
    b.compactors[at + bk.CO_ZONE] = -1
    b.compactors[at + bk.CO_PFN] = -1


@part
def is_compacting(b: BuddyBooks, pid: int) -> bool:
    """Whether the task is inside compact_zone."""
    for n in range(bk.COMPACTING):
        if b.compacting[n] == pid + 1:
            return True
    return False


@part(cold=True)
def set_compacting(b: BuddyBooks, old: int, new: int) -> None:
    """Put *new* (pid + 1; 0: nobody) into the first place that holds *old*; a table that is full keeps what it has."""
    for n in range(bk.COMPACTING):
        if b.compacting[n] == old:
            b.compacting[n] = new
            return


@part(cold=True)
def compaction_begin(s: View, b: BuddyBooks, pid: int, zone_start: int) -> None:
    """mm_compaction_begin: frees of a direct compactor may be captured from here on."""
    b.facts[F_COMPACTIONS] += 1
    b.facts[bk.F_ACTIVE] += 1
    set_compacting(b, 0, pid + 1)
    at = compactor(b, pid)
    if at >= 0:
        b.inputs[bk.N_COMPACTORS] += 1
        b.compactors[at + bk.CO_ZONE] = page_zone(s, zone_start)


@part(cold=True)
def compaction_end(b: BuddyBooks, pid: int) -> None:
    """mm_compaction_end: no captures beyond this."""
    b.facts[bk.F_ACTIVE] = max(b.facts[bk.F_ACTIVE] - 1, 0)
    set_compacting(b, pid + 1, 0)
    at = compactor(b, pid)
    if at >= 0:
        b.compactors[at + bk.CO_ZONE] = -1


@part
def captured_page(b: BuddyBooks, pid: int, order: int) -> int:
    """The page captured for this task, which takes it now and ceases to be a compactor; -1 if there is none."""
    at = compactor(b, pid)
    if at < 0:
        return -1
    pfn = b.compactors[at + bk.CO_PFN] + 0
    if order != b.compactors[at + bk.CO_ORDER] or b.compactors[at + bk.CO_ZONE] >= 0:
        return -1
    b.compactors[at + bk.CO_PID] = 0
    return pfn
