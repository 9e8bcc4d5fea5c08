# SPDX-License-Identifier: GPL-2.0-or-later
"""Batches, compiled: which folios shrink_inactive_list and shrink_active_list take, and what becomes of each.

The model takes the batch from the tail of its list before the folios are shown. Where the kernel took another folio, that one
is taken instead: a folio passed over had left its list without an event.
"""

from __future__ import annotations

from kevacuate.fidelity.reclaim import books as bk
from kevacuate.fidelity.reclaim.books import ReclaimBooksView, Task
from kevacuate.fidelity.reclaim.lists import appears, attributes, count_diff, remove
from kevacuate.fidelity.reclaim.tasks import decided
from kevacuate.jit import part
from kevacuate.kernel.hooks import FolioFlag, LruOp, RecWhat
from kevacuate.mm import constants as k
from kevacuate.mm.buddy import page_zone
from kevacuate.mm.fields import ScanControl, View
from kevacuate.mm.lruvec import folio_lru_list, lru_object
from kevacuate.mm.shrink_list import isolate_from_list, lru_tail, move_folio_to_lru, shrink_folio
from kevacuate.recording import EventChunk
from kevacuate.recording.event_numbers import GT_REC

_MAPPED, _MLOCKED = int(FolioFlag.MAPPED), int(FolioFlag.MLOCKED)
_FLAG_DIRTY, _FLAG_WRITEBACK, _FLAG_RECLAIM = (
    int(FolioFlag.DIRTY),
    int(FolioFlag.WRITEBACK),
    int(FolioFlag.RECLAIM),
)
_RECLAIMED, _BY_OTHER = int(RecWhat.RECLAIMED), int(RecWhat.FREED_BY_OTHER)
_REFERENCED, _KEPT_REFERENCED = int(RecWhat.ACTIVATED_REFERENCED), int(RecWhat.KEPT_REFERENCED)
_BUFFERS, _NOT_EVICTABLE = int(RecWhat.BUFFERS), int(RecWhat.NOT_EVICTABLE)
_KEPT_LOCKED, _KEPT_MAPPING = int(RecWhat.KEPT_LOCKED), int(RecWhat.KEPT_MAPPING)
_STILL_MAPPED, _PINNED = int(RecWhat.STILL_MAPPED), int(RecWhat.PINNED)
_DEACTIVATED, _KEPT_ACTIVE = int(LruOp.DEACTIVATED), int(LruOp.KEPT_ACTIVE)
_STATES = k.ATTR_DIRTY | k.ATTR_WRITEBACK | k.ATTR_RECLAIM | k.ATTR_PINNED | k.ATTR_BUSY

RECLAIM, ACTIVATE, KEEP = 0, 1, 2
"""What becomes of a folio."""


@part
def batch_begins(s: View, b: ReclaimBooksView, task: Task, sc: ScanControl, e: EventChunk, i: int) -> None:
    """mm_vmscan_lru_isolate: the model takes as many pages off the tail as were asked for."""
    if task.in_call:
        batch_ends(s, b, task)
    task.in_call = 1
    task.lru, task.nr_taken = e.mt[i], e.c[i]
    task.seen = task.next = task.count = task.kept = task.reclaimed = task.settled = 0
    task.gone = task.others = 0
    scan = skipped = 0
    first = -1
    while scan < e.a[i] and task.count < bk.MOST_TAKEN:
        at, skipped, first = lru_tail(s, sc, 0, task.lru, skipped, first)
        if at < 0:
            break
        pfn = s.obj[lru_object(s, at)] + 0
        scan += 1 << (s.meta[pfn] & 15)
        isolate_from_list(s, pfn, s.link[2 * pfn + 1] + 0)
        b.where[pfn] = bk.TAKEN
        task.taken[task.count] = pfn
        task.count += 1
    count_diff(b, 0, task.lru, -scan)
    decided(b, bk.D_SCANNED, scan == e.b[i], bk.X_ORDER, e, i, scan, e.b[i])


@part
def expected(b: ReclaimBooksView, task: Task, pfn: int) -> bool:
    """Whether *pfn* is the next folio that the model took. Those before it in the batch had left their list unseen."""
    right = task.next < task.count and task.taken[task.next] == pfn
    at = task.next
    while at < task.count and task.taken[at] != pfn:
        at += 1
    if at < task.count:
        task.gone += at - task.next
        for skipped in range(task.next, at):
            b.where[task.taken[skipped]] = bk.NOWHERE
            b.inputs[bk.N_GONE] += 1
        task.next = at + 1
    return right


@part
def folio_shown(s: View, b: ReclaimBooksView, task: Task, e: EventChunk, i: int) -> None:
    """gt_rec or gt_lru: the next folio of the batch, whichever the model expected."""
    pfn, order = e.pfn[i], e.order[i]
    wanted = task.taken[task.next] if task.next < task.count else -1
    elsewhere = b.where[pfn] != bk.TAKEN
    right = expected(b, task, pfn)
    ordered = elsewhere and task.gone == 0
    task.others += 1 if ordered and not right else 0
    cause = bk.X_ORDER if ordered else bk.X_GONE
    decided(b, bk.D_FOLIO, right, cause, e, i, wanted, pfn)
    if elsewhere:
        appears(s, b, pfn, order)
        if b.where[pfn] == bk.ON_LIST:
            remove(s, b, pfn)
        s.link[2 * pfn] = pfn
        s.obj[pfn] = pfn
        s.link[2 * pfn + 1] = attributes(task.lru) & ~k.ATTR_ON_LRU
    s.meta[pfn] = k.CHUNK_ALLOC << 4 | order
    b.order[pfn] = order
    b.where[pfn] = bk.TAKEN
    task.seen += 1 << order


@part
def kernel_outcome(what: int) -> int:
    """What the kernel made of a folio."""
    if what == _RECLAIMED or what == _BY_OTHER:
        return RECLAIM
    kept = what in (_KEPT_REFERENCED, _KEPT_LOCKED, 5, 8, 10, 14, _KEPT_MAPPING, 19, 20)
    return KEEP if kept else ACTIVATE


@part
def give_inputs(s: View, b: ReclaimBooksView, pfn: int, flags: int, what: int) -> bool:
    """Set what no event tells: dirtiness, writeback, locks, accessed bits. Whether the outcome follows from one of the latter."""
    attr = s.link[2 * pfn + 1] & ~(_STATES | k.ATTR_ACTIVE)
    if flags & _FLAG_DIRTY:
        attr |= k.ATTR_DIRTY
    if flags & _FLAG_WRITEBACK:
        attr |= k.ATTR_WRITEBACK
    if flags & _FLAG_RECLAIM:
        attr |= k.ATTR_RECLAIM
    if flags & (_FLAG_DIRTY | _FLAG_WRITEBACK):
        b.inputs[bk.N_DIRTY] += 1
    s.link[2 * pfn + 1] = attr
    if what == _REFERENCED or what == _KEPT_REFERENCED:
        b.inputs[bk.N_ACCESSED] += 1
        return True
    if what == _BUFFERS:
        b.inputs[bk.N_BUFFERS] += 1
        return True
    if what in (_KEPT_LOCKED, _STILL_MAPPED, _PINNED, _KEPT_MAPPING, _NOT_EVICTABLE, 20):
        b.inputs[bk.N_LOCKED] += 1
        return True
    return False


@part
def model_outcome(s: View, sc: ScanControl, pfn: int) -> int:
    """What the model's shrink_folio makes of a folio."""
    if shrink_folio(s, sc, 0, pfn):
        return RECLAIM
    return ACTIVATE if s.link[2 * pfn + 1] & k.ATTR_ACTIVE else KEEP


@part
def folio_reclaimed_or_kept(
    s: View, b: ReclaimBooksView, task: Task, sc: ScanControl, e: EventChunk, i: int
) -> None:
    """gt_rec: the model decides from the folio's flags; then the kernel's decision is taken over."""
    folio_shown(s, b, task, e, i)
    pfn, what = e.pfn[i], e.b[i]
    pages = 1 << e.order[i]
    theirs = kernel_outcome(what)
    if give_inputs(s, b, pfn, e.a[i], what):
        sc.nr_scanned += pages if what != _KEPT_LOCKED else 0
    else:
        ours = model_outcome(s, sc, pfn)
        decided(b, bk.D_OUTCOME, ours == theirs, bk.X_OUTCOME, e, i, ours, theirs)
        task.reclaimed += pages if ours == RECLAIM else 0
    s.link[2 * pfn + 1] = s.link[2 * pfn + 1] & ~_STATES & ~k.ATTR_ACTIVE
    if theirs == ACTIVATE:
        s.link[2 * pfn + 1] |= k.ATTR_ACTIVE
    if theirs != RECLAIM and what != _NOT_EVICTABLE and e.a[i] & _MLOCKED == 0 and task.kept < bk.MOST_TAKEN:
        task.kept_pfn[task.kept] = pfn
        task.kept_last[task.kept] = 0
        task.kept += 1


@part
def folio_deactivated_or_kept(s: View, b: ReclaimBooksView, task: Task, e: EventChunk, i: int) -> None:
    """gt_lru 0 to 2: shrink_active_list deactivates a folio, but one that is mapped, executable and used."""
    folio_shown(s, b, task, e, i)
    pfn, op = e.pfn[i], e.b[i]
    if e.a[i] & _MAPPED:
        b.inputs[bk.N_SPARED] += 1
    else:
        decided(b, bk.D_OUTCOME, op == _DEACTIVATED, bk.X_OUTCOME, e, i, KEEP, ACTIVATE)
    if op == _DEACTIVATED:
        s.link[2 * pfn + 1] &= ~k.ATTR_ACTIVE
    if op <= _KEPT_ACTIVE and task.kept < bk.MOST_TAKEN:
        task.kept_pfn[task.kept] = pfn
        task.kept_last[task.kept] = 1 if op == _DEACTIVATED else 0
        task.kept += 1


@part
def put_back(s: View, b: ReclaimBooksView, task: Task) -> None:
    """move_folios_to_lru: what is kept goes to the heads, the first looked at first; deactivated folios after the others."""
    for last in range(2):
        for n in range(task.kept):
            pfn = task.kept_pfn[n]
            if task.kept_last[n] == last and b.where[pfn] == bk.TAKEN:
                move_folio_to_lru(s, pfn)
                lru = folio_lru_list(s.link[2 * pfn + 1] + 0)
                count_diff(b, page_zone(s, pfn), lru, 1 << (s.meta[pfn] & 15))
                b.where[pfn] = bk.ON_LIST
    task.settled = 1


@part
def batch_ends(s: View, b: ReclaimBooksView, task: Task) -> None:
    """The batch is done; what the model took and the kernel did not had left its list unseen."""
    for n in range(task.next, task.count):
        if b.where[task.taken[n]] == bk.TAKEN:
            b.where[task.taken[n]] = bk.NOWHERE
            b.inputs[bk.N_GONE] += 1
    if task.settled == 0:
        put_back(s, b, task)
    task.in_call = 0


@part
def batch_reported(s: View, b: ReclaimBooksView, task: Task, sc: ScanControl, e: EventChunk, i: int) -> None:
    """mm_vmscan_lru_shrink_inactive or _active: the batch is over, and what it reclaimed is shown.

    What the model took and the kernel did not had left its list; where another folio stood in its place, that was counted.
    """
    if task.in_call == 0:
        return
    instead = min(task.others, task.count - task.next)
    b.causes[bk.X_ORDER] -= instead
    b.causes[bk.X_GONE] += instead
    for n in range(task.next + instead, task.count):
        decided(b, bk.D_FOLIO, False, bk.X_GONE, e, i, task.taken[n], -1)
    batch_ends(s, b, task)
    if task.lru & 1 == 0:
        decided(b, bk.D_RECLAIMED, task.reclaimed == e.c[i], bk.X_OUTCOME, e, i, task.reclaimed, e.c[i])
        sc.lruvec_reclaimed += e.c[i]
        sc.nr_taken += task.nr_taken


@part
def settle_others(s: View, b: ReclaimBooksView, pid: int) -> None:
    """Another task is at the lists: a batch of the active list all of whose folios were shown has put them back by now.

    A task is preempted where it enables interrupts: shrink_active_list does so behind the put-back, shrink_folio_list before
    it, as it frees.
    """
    for n in range(bk.TASKS):
        task = b.task[n]
        whole = task.in_call != 0 and task.settled == 0 and task.seen >= task.nr_taken
        if whole and task.lru & 1 and task.pid != pid + 1:
            put_back(s, b, task)


@part
def shown_on_a_list(s: View, b: ReclaimBooksView, pfn: int) -> None:
    """A folio of a batch is rotated, activated or isolated, for which it must have PG_lru: its batch was put back before.

    The task was preempted behind move_folios_to_lru, and before the event that ends the batch.
    """
    if b.where[pfn] != bk.TAKEN:
        return
    for n in range(bk.TASKS):
        task = b.task[n]
        for kept in range(task.kept):
            if task.in_call != 0 and task.settled == 0 and task.kept_pfn[kept] == pfn:
                b.inputs[bk.N_BACK] += 1
                put_back(s, b, task)


@part
def folio_event(s: View, b: ReclaimBooksView, task: Task, sc: ScanControl, e: EventChunk, i: int) -> None:
    """A row of gt_rec or gt_lru that belongs to a batch."""
    if task.in_call == 0:
        return
    if e.kind[i] == GT_REC:
        folio_reclaimed_or_kept(s, b, task, sc, e, i)
    else:
        folio_deactivated_or_kept(s, b, task, e, i)
