# SPDX-License-Identifier: GPL-2.0-or-later
"""Where every page is at the end of a snapshot: in use, in the buddy, or on whose per-CPU list.

Page flags know the buddy's pages; events while they were read bring each page to the end of the reading; later events
find the pages on per-CPU lists (:mod:`kevacuate.recording.evidence`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kevacuate.kernel.pcp import pcp_index
from kevacuate.recording import evidence as ev
from kevacuate.recording.schema import EventChunk
from kevacuate.recording.state import PcpPages

IN_USE, BUDDY, PCP = 0, 1, 2
"""Where a page is."""

_PCP_ORDERS = 3
Words = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class PageSnapshot:
    """Page flags and counts, and when they were read: pages [i * step, (i + 1) * step) from ``read_from[i]`` on."""

    flags: Words
    count: Words | None
    begin: int
    """ns: before the first page was read."""
    end: int
    """ns: after everything was read. The state is of this moment."""
    step: int
    """Pages read at once."""
    read_from: npt.NDArray[np.int64]
    """ns: an event before it is in the flags, and of those after it the last one tells how the page is left, whether
    the flags were read before it or after."""

    def read_time(self, pfn: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """When each page was read, at the earliest."""
        return np.asarray(self.read_from[np.minimum(pfn // self.step, len(self.read_from) - 1)])


@dataclass(frozen=True)
class StateFacts:
    """What is needed of the machine: pageblock order, the orders that per-CPU lists hold besides 0 to 3, their number."""

    block_order: int
    hugepage_order: int
    nr_pcp_lists: int


class PageBook:
    """Per page: where it is, and for pages on a per-CPU list whose and which."""

    def __init__(self, pages: int) -> None:
        self.where = np.zeros(pages, np.uint8)
        self.cpu = np.zeros(pages, np.uint16)
        self.order = np.zeros(pages, np.int8)
        self.mt = np.zeros(pages, np.int8)
        self.rank = np.zeros(pages, np.int64)
        """Place in the list: smaller is nearer to the head."""

    def put(self, pfn: npt.NDArray[np.int64], where: int) -> None:
        """Move pages."""
        self.where[pfn] = where


def _last_of_each(pfn: npt.NDArray[np.int64]) -> npt.NDArray[np.intp]:
    """Positions of the last entry of every pfn."""
    _, last = np.unique(pfn[::-1], return_index=True)
    return np.asarray(len(pfn) - 1 - last)


def _on_pcp(order: npt.NDArray[np.int8], facts: StateFacts) -> npt.NDArray[np.bool_]:
    """Whether freed chunks of these orders go to a per-CPU list (pcp_allowed_order, mm/page_alloc.c)."""
    huge = (order == facts.hugepage_order) & (facts.hugepage_order > 0)
    return np.asarray((order <= _PCP_ORDERS) | huge)


def follow_window(book: PageBook, window: EventChunk, pages: PageSnapshot, facts: StateFacts) -> None:
    """Bring every page from the moment its flags were read to the end of the snapshot, by its last event between."""
    touch = ev.touches(window, len(book.where))
    late = window.ts[touch.event] > pages.read_time(touch.pfn)
    pfn, code, event = touch.pfn[late], touch.code[late], touch.event[late]
    last = _last_of_each(pfn)
    pfn, code, event = pfn[last], code[last], event[last]
    cached = (code == ev.LEFT_BUDDY) | ((code == ev.FREED) & _on_pcp(window.order[event], facts))
    whole = (window.pfn[event] <= pfn) & (
        pfn < window.pfn[event] + (1 << window.order[event].astype(np.int64))
    )
    cached &= whole  # of a chunk that was broken up only the part that was taken
    book.put(pfn[code == ev.ALLOCATED], IN_USE)
    book.put(pfn[(code == ev.DRAINED) | ((code == ev.FREED) & ~cached)], BUDDY)
    book.put(pfn[cached], PCP)
    for name in ("cpu", "order", "mt"):
        getattr(book, name)[pfn[cached]] = getattr(window, name)[event[cached]]
    newest_first = np.where(
        code == ev.FREED, -event, event
    )  # a free goes to the list's head, a refill to its tail
    book.rank[pfn[cached]] = newest_first[cached]


_LATER = 1 << 40
"""Added to the rank of pages whose place follows from later events only."""

_LAST = 1 << 60


def apply_evidence(book: PageBook, evidence: ev.Evidence) -> None:
    """Find the pages on per-CPU lists by the first later event on each.

    Where flags and events contradict each other, the flags are right: a page that the buddy holds and that is freed
    next was taken silently (compaction, alloc_pages_bulk), and one in use that leaves the buddy next came there silently.
    """
    known = np.flatnonzero(evidence.code)
    known = known[known < len(book.where)]
    code, where = evidence.code[known], book.where[known]
    book.put(known[(code == ev.FREED) & (where == PCP)], IN_USE)
    book.put(known[(code == ev.LEFT_BUDDY) & (where == PCP)], BUDDY)
    cached = ((code == ev.DRAINED) | (code == ev.ALLOCATED)) & (where != BUDDY)
    pfn, drained = known[cached], code[cached] == ev.DRAINED
    book.put(pfn, PCP)
    book.cpu[pfn], book.order[pfn], book.mt[pfn] = evidence.cpu[pfn], evidence.order[pfn], evidence.mt[pfn]
    # allocations take a list's head, drains its tail
    book.rank[pfn] = np.where(drained, _LAST - evidence.seq[pfn], _LATER + evidence.seq[pfn])


def pcp_pages(book: PageBook, zone_of: npt.NDArray[np.int16], facts: StateFacts) -> PcpPages:
    """The chunks on per-CPU lists in list order; what does not make a whole chunk is taken as in use."""
    pfn = np.flatnonzero(book.where == PCP)
    order = book.order[pfn].astype(np.int64)
    head = (pfn & ((1 << order) - 1)) == 0
    good = (
        head
        & _on_pcp(book.order[pfn], facts)
        & (zone_of[pfn] >= 0)
        & (book.mt[pfn] >= 0)
        & (book.mt[pfn] < 3)
    )
    heads, orders = pfn[good], order[good]
    whole = heads + (1 << orders) <= len(book.where)
    for i in range(1, 1 << int(orders.max(initial=0))):
        wide = np.flatnonzero(whole & ((1 << orders) > i))
        if len(wide):
            page = heads[wide] + i
            same = (book.where[page] == PCP) & (book.order[page] == orders[wide])
            whole[wide] = same & (book.rank[page] == book.rank[heads[wide]])
    heads, orders = heads[whole], orders[whole]
    book.put(pfn, IN_USE)
    for order_here in np.unique(orders).tolist():
        for i in range(1 << order_here):
            book.put(heads[orders == order_here] + i, PCP)
    mt = book.mt[heads].astype(np.int64)
    pindex = pcp_index(orders, mt)
    cpu, zone = book.cpu[heads], zone_of[heads]
    by = np.lexsort((heads, book.rank[heads], pindex, cpu, zone))
    return PcpPages(zone[by], cpu[by].astype(np.int16), pindex[by].astype(np.int8), heads[by])
