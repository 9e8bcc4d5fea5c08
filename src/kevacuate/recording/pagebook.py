# SPDX-License-Identifier: GPL-2.0-or-later
"""Where every page is at the end of a snapshot: in use, in the buddy, or on whose per-CPU list.

Page flags know the buddy's pages; the last event on each page brings it to the end of the reading, and wins over flags
that were read before it; later events find the pages on per-CPU lists (:mod:`kevacuate.recording.evidence`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kevacuate.kernel.pageflags import KPF_BUDDY
from kevacuate.kernel.pcp import pcp_index
from kevacuate.recording import evidence as ev
from kevacuate.recording.requests import can_move, flags_after
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


def _on_pcp(order: npt.NDArray[np.int8], facts: StateFacts) -> npt.NDArray[np.bool_]:
    """Whether freed chunks of these orders go to a per-CPU list (pcp_allowed_order, mm/page_alloc.c)."""
    huge = (order == facts.hugepage_order) & (facts.hugepage_order > 0)
    return np.asarray((order <= _PCP_ORDERS) | huge)


def follow_history(
    book: PageBook, words: Words, history: ev.History, pages: PageSnapshot, facts: StateFacts
) -> None:
    """Bring every page to the end of the snapshot by the last event on it; *book* and *words* (page flags) change in place.

    An event after the page's flags were read replaces them: an allocation tells what the page was asked for, a page
    that was freed has none. An event before them speaks where they are silent (0): the page is on a per-CPU list, or has
    just been allocated and waits for its LRU list.
    """
    known = np.flatnonzero(history.code[: len(book.where)])
    code, order = history.code[known], history.order[known]
    late = history.ts[known] > pages.read_time(known)
    silent = ~late & (words[known] == 0)
    allocated = code == ev.ALLOCATED
    cached = (code == ev.LEFT_BUDDY) | ((code == ev.FREED) & _on_pcp(order, facts))
    book.put(known[late & allocated], IN_USE)
    book.put(known[late & ~allocated & ~cached], BUDDY)
    words[known[late]] = 0
    words[known[late & ~allocated & ~cached]] = 1 << KPF_BUDDY
    listed = known[(late | silent) & cached]
    book.put(listed, PCP)
    for name in ("cpu", "order", "mt"):
        getattr(book, name)[listed] = getattr(history, name)[listed]
    # a free goes to the list's head, a refill to its tail
    book.rank[listed] = np.where(history.code[listed] == ev.FREED, -history.ts[listed], history.ts[listed])
    speaks = allocated & (late | (silent & can_move(history.request[known])))
    pfn = known[speaks]
    words[pfn] = flags_after(history.request[pfn], pfn, history.order[pfn])


_LATER = 1 << 58
"""Added to the rank of pages whose place follows from later events only: above all times in ns (nine years)."""

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
