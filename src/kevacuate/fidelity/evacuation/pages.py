# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a block's movable pages lie, from the allocations and frees before: what an evacuation finds, not what it did."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kevacuate.demand.pagekinds import page_class
from kevacuate.demand.start_objects import pages_in_use, start_objects
from kevacuate.fidelity.evacuation.folios import KIND_UNKNOWN, Folios, Look
from kevacuate.jit import kernel, part
from kevacuate.kernel.pageflags import KPF_COMPOUND_HEAD, KPF_COMPOUND_TAIL, KPF_LRU
from kevacuate.mm.constants import GFP_MOVABLE
from kevacuate.recording import AllocatorState, EventChunk
from kevacuate.recording import event_numbers as ev
from kevacuate.recording.state import BOOT_TAG

UNUSED, OTHER, UNKNOWN, MOVABLE, TAKEN = 0, 1, 2, 3, 4
"""What a page is: on a free or per-CPU list; in use by what cannot move; in use since before
the recording by what is not known; in use and movable; taken off its free list, and
neither handed out nor put on a per-CPU list: a destination of compaction, in use and movable."""


class Pages(NamedTuple):
    """What is known of every page."""

    use: npt.NDArray[np.uint8]
    """UNUSED, OTHER, UNKNOWN, MOVABLE or TAKEN [npages]."""
    order: npt.NDArray[np.uint8]
    """Order of the folio that the page belongs to [npages]."""
    since: npt.NDArray[np.int64]
    """Number of the event that allocated it [npages]."""
    cpu: npt.NDArray[np.uint16]
    """CPU that allocated it [npages]."""
    rank: npt.NDArray[np.int64]
    """That CPU's `allocated` just after [npages]."""
    kind: npt.NDArray[np.uint8]
    """Class of the request that allocated it (:func:`kevacuate.demand.pagekinds.page_class`), or KIND_UNKNOWN [npages]."""
    allocated: npt.NDArray[np.int64]
    """Movable folios allocated by each CPU so far [cpus]."""
    counts: npt.NDArray[np.int64]
    """Destinations that compaction isolated, by event; ranges of which it took a part [2]."""


class MovablePages:
    """Which pages are in use by what, followed through ``mm_page_alloc``, ``mm_page_free`` and compaction's takings.

    A page that compaction isolates as a destination is taken for movable until it is freed: where the recording has the
    free lists' operations they tell which; else ``mm_compaction_isolate_freepages`` tells where it took all of a range,
    and where it took a part, or searched the lists (``mm_compaction_fast_isolate_freepages``), nothing does: none is
    taken for movable then, and the range is counted (``open_ranges``).
    """

    def __init__(self, npages: int, cpus: int, start: AllocatorState, hugepage_order: int) -> None:
        self._pages = Pages(
            use=np.full(npages, OTHER, np.uint8),
            order=np.zeros(npages, np.uint8),
            since=np.zeros(npages, np.int64),
            cpu=np.zeros(npages, np.uint16),
            rank=np.zeros(npages, np.int64),
            kind=np.full(npages, KIND_UNKNOWN, np.uint8),
            allocated=np.zeros(cpus, np.int64),
            counts=np.zeros(2, np.int64),
        )
        self._load(start, hugepage_order)

    def _load(self, start: AllocatorState, hugepage_order: int) -> None:
        """What the state shows: at boot nothing that is in use can move; later /proc/kpageflags tells, if it is there."""
        p = self._pages
        if start.page_flags is None and start.tag != BOOT_TAG:
            p.use[:] = UNKNOWN
        used = pages_in_use(start, hugepage_order)
        p.use[np.flatnonzero(~used)] = UNUSED
        folios = start_objects(start, used)
        for order in np.unique(folios.order).tolist():
            pages = (folios.pfn[folios.order == order][:, None] + np.arange(1 << order)).ravel()
            p.use[pages] = MOVABLE
            p.order[pages] = order

    @property
    def destinations(self) -> int:
        """Pages that compaction isolated as destinations, as its events show."""
        return int(self._pages.counts[0])

    @property
    def open_ranges(self) -> int:
        """Ranges of which compaction took a part, and no event says which pages."""
        return int(self._pages.counts[1])

    def flags(self) -> npt.NDArray[np.uint64]:
        """What is followed, as /proc/kpageflags would show it (LRU and compound bits only) [npages]."""
        movable = self._pages.use >= MOVABLE
        head = np.arange(movable.size) & ((1 << self._pages.order.astype(np.int64)) - 1) == 0
        found: npt.NDArray[np.uint64] = movable.astype(np.uint64) << np.uint64(KPF_LRU)
        compound = movable & (self._pages.order > 0)
        found |= (compound & head).astype(np.uint64) << np.uint64(KPF_COMPOUND_HEAD)
        found |= (compound & ~head).astype(np.uint64) << np.uint64(KPF_COMPOUND_TAIL)
        return found

    def feed(self, rows: EventChunk, first: int, low: int, high: int) -> None:
        """Follow the events *low* to *high* (exclusive) of wide *rows*; *first* is the number of the first row."""
        follow_pages(self._pages, rows, first, low, high)

    def look(self, pfn: int, pages: int) -> Look:
        """What is known of the block at *pfn* as of the last event fed."""
        p, block = self._pages, slice(pfn, pfn + pages)
        order = p.order[block].astype(np.int64)
        offset = np.flatnonzero(p.use[block] >= MOVABLE)
        offset = offset[(offset & ((1 << order[offset]) - 1)) == 0]
        at = pfn + offset
        cpu, kind = p.cpu[at].astype(np.int64), p.kind[at].astype(np.int64)
        folios = Folios(offset, order[offset], p.since[at], cpu, p.rank[at], kind)
        return Look(folios, p.use[block] == UNUSED, int((p.use[block] == UNKNOWN).sum()), p.allocated.copy())


@part
def relabel_split(p: Pages, pfn: int) -> None:
    """A part of a folio is freed by itself: the folio was split, its pages are single ones from here on."""
    order = p.order[pfn] + 0
    head = (pfn >> order) << order
    for page in range(head, head + (1 << order)):
        p.order[page] = 0


@part
def set_pages(p: Pages, pfn: int, end: int, use: int, order: int, number: int) -> None:
    """The pages from *pfn* to *end* are in use by a folio of *order*, or unused."""
    for page in range(pfn, end):
        p.use[page] = use
        p.order[page] = order
        p.since[page] = number
        p.rank[page] = 0
        p.kind[page] = KIND_UNKNOWN


@part
def take_destinations(p: Pages, pfn: int, end: int, taken: int, number: int) -> None:
    """Compaction isolated *taken* free pages between *pfn* and *end*: all that were unused, or it is not known which."""
    unused = 0
    for page in range(pfn, end):
        if p.use[page] == TAKEN:  # the list operations have told
            return
        unused += p.use[page] == UNUSED
    if unused != taken:
        p.counts[1] += 1
        return
    p.counts[0] += taken
    for page in range(pfn, end):
        if p.use[page] == UNUSED:
            set_pages(p, page, page + 1, MOVABLE, 0, number)


@part
def follow_allocation(p: Pages, e: EventChunk, i: int, number: int) -> None:
    """mm_page_alloc: who has the pages, since when, and how many movable folios their CPU has allocated."""
    pfn, order, cpu = e.pfn[i], e.order[i], e.cpu[i]
    movable = e.gfp[i] & GFP_MOVABLE != 0
    set_pages(p, pfn, pfn + (1 << order), MOVABLE if movable else OTHER, order, number)
    p.allocated[cpu] += movable
    p.cpu[pfn] = cpu
    p.rank[pfn] = p.allocated[cpu]
    p.kind[pfn] = page_class(e.gfp[i], e.mt[i])


@part
def follow_list(p: Pages, e: EventChunk, i: int, number: int) -> None:
    """gt_list: what is added is free; what is deleted is taken, until it is added again or handed out."""
    pfn, order = e.pfn[i], e.order[i]
    if e.a[i] < ev.LIST_DELETE:
        set_pages(p, pfn, pfn + (1 << order), UNUSED, 0, number)
    elif e.a[i] == ev.LIST_DELETE:
        set_pages(p, pfn, pfn + (1 << order), TAKEN, 0, number)


@kernel
def follow_pages(p: Pages, e: EventChunk, first: int, low: int, high: int) -> None:
    """Keep the pages *p* up to date through the rows *low* to *high* of the events *e*."""
    for i in range(low, high):
        kind, pfn = e.kind[i], e.pfn[i]
        if kind == ev.MM_PAGE_ALLOC and pfn >= 0:
            follow_allocation(p, e, i, first + i)
        elif kind == ev.MM_PAGE_FREE:
            if p.use[pfn] != UNUSED and p.order[pfn] > e.order[i]:
                relabel_split(p, pfn)
            set_pages(p, pfn, pfn + (1 << e.order[i]), UNUSED, 0, first + i)
        elif kind == ev.GT_LIST:
            follow_list(p, e, i, first + i)
        elif kind == ev.MM_PAGE_ALLOC_ZONE_LOCKED:
            set_pages(p, pfn, pfn + (1 << e.order[i]), UNUSED, 0, first + i)
        elif kind == ev.COMPACTION_ISOLATE_FREEPAGES and e.c[i] > 0:
            take_destinations(p, max(pfn, 0), min(e.a[i], p.use.size), e.c[i], first + i)
