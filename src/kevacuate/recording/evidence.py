# SPDX-License-Identifier: GPL-2.0-or-later
"""What the events after a moment say about that moment: the first one on a page tells where the page was.

A page whose first event is an allocation was free, on a per-CPU list if it was not in the buddy; one whose first
event is a free was in use; one that ``mm_page_alloc_zone_locked`` or ``mm_page_alloc_extfrag`` names first was in the
buddy, one that ``mm_page_pcpu_drain`` names first was on a per-CPU list. The last three also name the type of the
pageblock. Page flags alone do not tell pages on per-CPU lists from pages that the kernel uses: both show none.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kevacuate.recording.schema import EventChunk, EventKind, concat_chunks

FREED, ALLOCATED, LEFT_BUDDY, DRAINED = 1, 2, 3, 4
"""What the first event on a page was (0: there was none)."""

_CODES = np.zeros(256, np.uint8)
_CODES[EventKind.MM_PAGE_FREE] = FREED
_CODES[EventKind.MM_PAGE_ALLOC] = ALLOCATED
_CODES[EventKind.MM_PAGE_ALLOC_ZONE_LOCKED] = LEFT_BUDDY
_CODES[EventKind.MM_PAGE_ALLOC_EXTFRAG] = LEFT_BUDDY
_CODES[EventKind.MM_PAGE_PCPU_DRAIN] = DRAINED
MAX_ORDER = 10


class Touch(NamedTuple):
    """Pages that events touched: one entry per page of each event, in order of the events."""

    pfn: npt.NDArray[np.int64]
    code: npt.NDArray[np.uint8]
    event: npt.NDArray[np.int64]
    """Index of the event in the chunk."""


def touches(chunk: EventChunk, pages: int) -> Touch:
    """Every page below *pages* that an allocator event of the chunk covers."""
    code = _CODES[chunk.kind]
    extfrag = chunk.kind == EventKind.MM_PAGE_ALLOC_EXTFRAG
    order = np.where(extfrag, np.clip(chunk.a, 0, MAX_ORDER), np.clip(chunk.order, 0, MAX_ORDER))
    size = np.left_shift(1, order.astype(np.int64))
    event = np.flatnonzero((code > 0) & (chunk.pfn >= 0) & (chunk.pfn + size <= pages))
    size = size[event]
    pfn = np.repeat(chunk.pfn[event], size)
    if len(pfn) > len(event):
        pfn += np.arange(len(pfn)) - np.repeat(np.cumsum(size) - size, size)
    event = np.repeat(event, size)
    return Touch(pfn, code[event], event)


class Evidence:
    """Collects the first event of each page, and the first that names each pageblock's type, after a time.

    Memory: about 14 bytes for each page that an event touches.

    Parameters
    ----------
    pages : int
        One more than the largest pfn.
    block_order : int
        Pageblock order.
    begin, end : int
        Nanoseconds: the snapshot was taken between them. Events up to *begin* are of no interest, those up to *end*
        are kept (:attr:`window`), those after it are evidence.

    """

    def __init__(self, pages: int, block_order: int, begin: int, end: int) -> None:
        self.pages, self.block_order, self.begin, self.end = pages, block_order, begin, end
        self.code = np.zeros(pages, np.uint8)
        """What the page's first event was, 0 for none [pages]."""
        self.cpu = np.zeros(pages, np.uint16)
        """Its CPU [pages]."""
        self.order = np.zeros(pages, np.int8)
        """Its order [pages]."""
        self.mt = np.zeros(pages, np.int8)
        """Its migratetype [pages]."""
        self.seq = np.zeros(pages, np.int64)
        """Its number among all events [pages]."""
        self.block_mt = np.full((pages >> block_order) + 1, -1, np.int8)
        """Type of the pageblock, -1 if no event named it [blocks]."""
        self._window: list[EventChunk] = []
        self._seen = 0

    @property
    def window(self) -> EventChunk:
        """The events while the snapshot was taken."""
        return concat_chunks(self._window)

    def add(self, chunk: EventChunk) -> None:
        """Take a chunk into account; chunks come in order of time."""
        first = int(np.searchsorted(chunk.ts, self.begin, "right"))
        cut = int(np.searchsorted(chunk.ts, self.end, "right"))
        if first < cut:
            self._window.append(chunk.take(slice(first, cut)))
        if cut < chunk.rows:
            later = chunk.take(slice(cut, None)) if cut else chunk
            self._pages(later)
            self._blocks(later)
            self._seen += later.rows

    def _pages(self, chunk: EventChunk) -> None:
        touch = touches(chunk, self.pages)
        new = self.code[touch.pfn] == 0
        pfn, first = np.unique(touch.pfn[new], return_index=True)
        event = touch.event[new][first]
        self.code[pfn] = touch.code[new][first]
        self.cpu[pfn] = chunk.cpu[event]
        self.order[pfn] = chunk.order[event]
        self.mt[pfn] = chunk.mt[event]
        self.seq[pfn] = event + self._seen

    def _blocks(self, chunk: EventChunk) -> None:
        extfrag = chunk.kind == EventKind.MM_PAGE_ALLOC_EXTFRAG
        named = extfrag | (chunk.kind == EventKind.MM_PAGE_ALLOC_ZONE_LOCKED)
        named |= chunk.kind == EventKind.MM_PAGE_PCPU_DRAIN
        named &= (chunk.pfn >= 0) & (chunk.pfn < self.pages)
        mt = np.where(extfrag, chunk.b, chunk.mt)
        named &= (mt >= 0) & (mt < 5)
        block = chunk.pfn[named] >> self.block_order
        order = np.where(extfrag, chunk.a, 0)[named]
        mt = mt[named]
        if (order > self.block_order).any():  # a chunk of several blocks, all of that type
            count = np.where(order > self.block_order, 1 << np.clip(order - self.block_order, 0, 4), 1)
            at = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
            block, mt = np.repeat(block, count) + at, np.repeat(mt, count)
            block, mt = block[block < len(self.block_mt)], mt[block < len(self.block_mt)]
        new = self.block_mt[block] < 0
        block, first = np.unique(block[new], return_index=True)
        self.block_mt[block] = mt[new][first]
