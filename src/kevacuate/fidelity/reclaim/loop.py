# SPDX-License-Identifier: GPL-2.0-or-later
"""The reclaim level, compiled: one pass over the rows."""

from __future__ import annotations

from kevacuate.fidelity.reclaim.batches import (
    batch_begins,
    batch_reported,
    folio_event,
    settle_others,
    shown_on_a_list,
)
from kevacuate.fidelity.reclaim.books import IDLE, LISTS, ReclaimBooks, ReclaimBooksView
from kevacuate.fidelity.reclaim.kswapd import (
    answer_to_request,
    claim,
    claim_ends,
    claim_is_over,
    direct_begins,
    direct_ends,
    kswapd_event,
    run_ends,
    slow_path,
    tries_again,
)
from kevacuate.fidelity.reclaim.lists import (
    LruLists,
    activation,
    compaction_takes,
    free_list_operation,
    freed,
    insertion,
    migrated,
    moved_within,
    place,
)
from kevacuate.fidelity.reclaim.rounds import batch_follows, round_follows, shrinkers_follow
from kevacuate.fidelity.reclaim.tasks import task_of
from kevacuate.jit import kernel, part, pointers
from kevacuate.kernel.hooks import LruOp
from kevacuate.mm.buddy import page_zone
from kevacuate.mm.constants import NO_ZONE
from kevacuate.mm.fields import View
from kevacuate.mm.layout import State
from kevacuate.recording import EventChunk
from kevacuate.recording import event_numbers as ev

_OF_A_BATCH = int(LruOp.NOT_EVICTABLE)
BY_LIST_GIVEN = 2
"""``who`` of gt_rec: a list that the caller gave (evacuation, contiguous allocation)."""
SLOW_ENTERED = 0


@part
def allocated(b: ReclaimBooksView, pfn: int, order: int) -> None:
    """A chunk is handed out: what it held before is gone."""
    if pfn >= 0:
        b.order[pfn] = order


@part
def page_freed(s: View, b: ReclaimBooksView, e: EventChunk, i: int) -> None:
    """mm_page_free; within a shrinker the pages count as reclaimed."""
    freed(s, b, e.pfn[i] + 0, e.order[i] + 0)
    n = task_of(b, e.pid[i])
    if n >= 0 and b.task[n].in_slab:
        b.task[n].slab_pages += 1 << e.order[i]


@part
def next_round_begins(s: View, b: ReclaimBooksView, e: EventChunk, i: int) -> None:
    """A folio reaches a list through a task that was behind its shrinkers: lru_add_drain of its next round's first batch."""
    n = task_of(b, e.pid[i])
    if n < 0:
        return
    task = b.task[n]
    if task.state != IDLE and task.state != LISTS and task.in_slab == 0:
        round_follows(s, b, task, b.sc[n], e, i, True)


@part
def list_event(s: View, b: ReclaimBooksView, e: EventChunk, i: int) -> None:
    """Rows that tell where a folio is."""
    kind, pfn = e.kind[i], e.pfn[i] + 0
    settle_others(s, b, e.pid[i])
    if kind != ev.MM_LRU_INSERTION and (kind != ev.GT_MIG or e.b[i] == ev.MIG_ISOLATED):
        shown_on_a_list(s, b, pfn)
    if kind == ev.MM_LRU_INSERTION:
        next_round_begins(s, b, e, i)
        insertion(s, b, pfn, e.a[i])
    elif kind == ev.MM_LRU_ACTIVATE:
        next_round_begins(s, b, e, i)
        activation(s, b, pfn)
    elif kind == ev.GT_MIG:
        if e.b[i] == ev.MIG_ISOLATED:
            compaction_takes(s, b, pfn, e.order[i], e.a[i])
        elif e.b[i] == ev.MIG_MOVED:
            migrated(s, b, pfn, e.a[i] + 0, e.order[i])
    elif kind == ev.GT_LRU and e.b[i] > _OF_A_BATCH:
        moved_within(s, b, pfn, e.b[i], e.a[i])


@part
def reclaim_event(s: View, b: ReclaimBooksView, e: EventChunk, i: int) -> None:
    """Rows of a task that reclaims."""
    n = task_of(b, e.pid[i])
    if n < 0:
        return
    task, sc, kind = b.task[n], b.sc[n], e.kind[i]
    if kind == ev.VMSCAN_LRU_ISOLATE:
        settle_others(s, b, e.pid[i])
        batch_follows(s, b, task, sc, e, i)
        batch_begins(s, b, task, sc, e, i)
    elif kind == ev.VMSCAN_LRU_SHRINK_INACTIVE or kind == ev.VMSCAN_LRU_SHRINK_ACTIVE:
        batch_reported(s, b, task, sc, e, i)
    elif kind == ev.SHRINK_SLAB_START:
        if task.state != IDLE:
            shrinkers_follow(s, b, task, sc, e, i)
    elif kind == ev.SHRINK_SLAB_END:
        task.in_slab = 0
    elif kind == ev.GT_LRU or (kind == ev.GT_REC and e.c[i] != BY_LIST_GIVEN):
        folio_event(s, b, task, sc, e, i)


@part
def new_marks(s: View, b: ReclaimBooksView, e: EventChunk, i: int) -> None:
    """mm_setup_per_zone_wmarks: the marks of a zone have changed."""
    if e.order[i] < 0 or e.order[i] >= b.facts.zones:
        return
    z = b.zone_of[e.order[i]]
    if z >= 0:
        zone = s.zone[z]
        zone.watermark[0], zone.watermark[1] = e.a[i], e.b[i]
        zone.watermark[2], zone.watermark[3] = e.c[i], e.d[i]


@part
def timeline_event(s: View, b: ReclaimBooksView, e: EventChunk, i: int) -> None:
    """Rows of kswapd's time line, and of direct reclaim's begin and end."""
    kind = e.kind[i]
    if kind == ev.GT_SLOW:
        if e.a[i] == SLOW_ENTERED:
            slow_path(s, b, e, i)
    elif kind == ev.GT_EVAC:
        if e.order[i] == ev.EVAC_CLAIM:
            claim(s, b, e, i)
    elif kind == ev.VMSCAN_KSWAPD_WAKE or kind == ev.VMSCAN_KSWAPD_SLEEP:
        kswapd_event(s, b, e, i)
    elif kind == ev.VMSCAN_BALANCE_PGDAT_END:
        run_ends(s, b, e, i)
    elif kind == ev.VMSCAN_DIRECT_RECLAIM_BEGIN:
        direct_begins(b, e, i)
    elif kind == ev.VMSCAN_DIRECT_RECLAIM_END:
        direct_ends(s, b, e, i)
    elif kind == ev.MM_SETUP_PER_ZONE_WMARKS:
        new_marks(s, b, e, i)


@part
def request_row(b: ReclaimBooksView, e: EventChunk, i: int) -> None:
    """gt_rmq: flags of a request, and a page that alloc_pages_bulk hands out."""
    if e.a[i] <= ev.RMQ_BUDDY:
        b.facts.alloc_flags = e.c[i]
    elif e.a[i] == ev.RMQ_BULK_PAGE:
        allocated(b, e.pfn[i] + 0, 0)


@part
def of_no_zone(s: View, e: EventChunk, i: int) -> bool:
    """Whether the row names a page of a block that no zone holds."""
    kind = e.kind[i]
    named = (
        kind == ev.GT_LIST
        or kind == ev.GT_REC
        or kind == ev.GT_LRU
        or kind == ev.GT_MIG
        or kind == ev.GT_EVAC
    )
    if not named and kind != ev.MM_LRU_INSERTION and kind != ev.MM_LRU_ACTIVATE:
        return False
    moved = kind == ev.GT_MIG and e.b[i] == ev.MIG_MOVED and page_zone(s, e.a[i]) == NO_ZONE
    return moved or page_zone(s, e.pfn[i]) == NO_ZONE


@part
def row(s: View, b: ReclaimBooksView, e: EventChunk, i: int) -> None:
    """One row."""
    kind = e.kind[i]
    if of_no_zone(s, e, i):
        return
    if claim_is_over(b, e, i):
        claim_ends(s, b, e, i)
    if kind == ev.VMSCAN_WAKEUP_KSWAPD:
        tries_again(s, b, e, i)
    if b.facts.asked_pid == e.pid[i] + 1:
        answer_to_request(s, b, e, i)
    if kind == ev.GT_LIST:
        free_list_operation(s, b, e, i)
    elif kind == ev.MM_PAGE_ALLOC:
        allocated(b, e.pfn[i] + 0, e.order[i])
    elif kind == ev.MM_PAGE_FREE:
        page_freed(s, b, e, i)
    elif kind == ev.GT_RMQ:
        request_row(b, e, i)
    elif (
        kind == ev.MM_LRU_INSERTION
        or kind == ev.MM_LRU_ACTIVATE
        or kind == ev.GT_MIG
        or (kind == ev.GT_LRU and e.b[i] > _OF_A_BATCH)
    ):
        list_event(s, b, e, i)
    elif (
        kind == ev.GT_REC
        or kind == ev.GT_LRU
        or kind == ev.VMSCAN_LRU_ISOLATE
        or kind == ev.VMSCAN_LRU_SHRINK_INACTIVE
        or kind == ev.VMSCAN_LRU_SHRINK_ACTIVE
        or kind == ev.SHRINK_SLAB_START
        or kind == ev.SHRINK_SLAB_END
    ):
        reclaim_event(s, b, e, i)
    elif kind != ev.VMSCAN_WAKEUP_KSWAPD:
        timeline_event(s, b, e, i)


@kernel
def reclaim_rows(sa: State, books: ReclaimBooks, events: EventChunk, first: int, number: int) -> None:
    """Follow the rows from *first* on; *number* is that of row 0."""
    s, b, e = pointers(sa), pointers(books), pointers(events)
    b.facts.number = number
    for i in range(first, events.kind.size):
        row(s, b, e, i)


@kernel
def load_lists(sa: State, books: ReclaimBooks, lists: LruLists) -> None:
    """Put folios onto their LRU lists, each list's head first in *lists*."""
    s, b, rows = pointers(sa), pointers(books), pointers(lists)
    for n in range(lists.pfn.size - 1, -1, -1):
        pfn, order = rows.pfn[n], rows.order[n]
        b.order[pfn] = order
        place(s, b, pfn, order, rows.lru[n])
    for at in range(books.diff.size):
        b.diff[at] = 0
