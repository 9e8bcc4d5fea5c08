# SPDX-License-Identifier: GPL-2.0-or-later
"""Do a recording's allocations and frees fit together, page by page? Streaming, with or without a start state.

This needs no objects and no start state, unlike the reconstruction of the demand: one byte a page says whether the recording
has shown it allocated or free. Moves by compaction have no events of their own, so their sources look freed and their
destinations silently allocated here; the reconstruction (:mod:`kevacuate.demand.migrations`) knows better.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from kevacuate.jit import kernel, part, run
from kevacuate.recording import event_numbers as ev
from kevacuate.recording.schema import EventChunk, EventKind
from kevacuate.records import Words

UNKNOWN, ALLOCATED, FREE, BEFORE = 0, 1, 2, 3
"""What is known of a page: nothing; allocated in the recording; free; in use since before the recording."""

HEAD = 4
"""Bit: the page is the first of an allocation whose free has not been seen."""

MAX_PAGES = 1 << 31
"""Pages beyond are not believed (8 TiB)."""

_MAX_ORDER = 10

PAGE_KINDS = (
    EventKind.MM_PAGE_ALLOC,
    EventKind.MM_PAGE_FREE,
    EventKind.MM_PAGE_FREE_BATCHED,
    EventKind.GT_RMQ,
)
"""The kinds of events that the books read."""


@dataclass(frozen=True)
class PageFacts:
    """What the books counted. The field order is the order of the compiled counters."""

    allocations: int = 0
    """Successful allocations, pages handed out by alloc_pages_bulk (where the recording shows them) included."""
    allocations_failed: int = 0
    """Allocations without a page."""
    frees: int = 0
    """mm_page_free events."""
    duplicates: int = 0
    """mm_page_free_batched events."""
    duplicates_confirmed: int = 0
    """Of these, of a page that an mm_page_free has freed just before and nobody has taken since."""
    frees_of_unknown_pages: int = 0
    """Frees of a page of which nothing had been recorded: allocated before the recording, or silently."""
    frees_of_earlier_pages: int = 0
    """Frees of a page that the start state shows in use."""
    frees_of_free_pages: int = 0
    """Frees of a page that was free: its allocation was silent (compaction's destinations, bulk allocations), or lost."""
    reused_without_free: int = 0
    """Allocations over a page still in use: its free was silent or lost, or two CPUs' clocks disagree."""
    reused_pages: int = 0
    """Pages of those allocations that were still in use."""
    malformed: int = 0
    """Events with a pfn or order that no machine has."""
    never_freed: int = 0
    """Allocations of the recording whose first page was not freed in it: in use at the end, or the free was silent or lost."""


(
    _C_ALLOC, _C_FAILED, _C_FREE, _C_DUP, _C_DUP_OK, _C_UNKNOWN, _C_EARLIER, _C_DOUBLE, _C_REUSED, _C_REUSED_PAGES, _C_BAD,
) = range(11)  # fmt: skip


@part(inline=True)
def _enter_allocation(pages: Words, counts: Words, first: int, width: int) -> None:
    """The 2**width pages from *first* on are in use from now on."""
    counts[_C_ALLOC] += 1
    used = 0
    for page in range(first, first + (1 << width)):
        now = pages[page] & 3
        if now == ALLOCATED or now == BEFORE:
            used += 1
        pages[page] = ALLOCATED
    pages[first] = ALLOCATED | HEAD
    counts[_C_REUSED] += used > 0
    counts[_C_REUSED_PAGES] += used


@part(inline=True)
def _enter_free(pages: Words, counts: Words, first: int, width: int) -> None:
    """The 2**width pages from *first* on are free from now on."""
    counts[_C_FREE] += 1
    unknown = 0
    earlier = 0
    double = 0
    for page in range(first, first + (1 << width)):
        now = pages[page] & 3
        unknown += now == UNKNOWN
        earlier += now == BEFORE
        double += now == FREE
        pages[page] = FREE
    if double > 0:
        counts[_C_DOUBLE] += 1
    elif unknown > 0:
        counts[_C_UNKNOWN] += 1
    elif earlier > 0:
        counts[_C_EARLIER] += 1


@kernel(plain_work=1 << 19)
def enter_events(pages: Words, counts: Words, kind: Words, pfn: Words, order: Words, a: Words) -> None:
    """Enter events into the books: *pages* uint8[P], *counts* int64, the others columns of one chunk."""
    size = len(pages)
    for i in range(len(kind)):
        what = kind[i]
        bulk = what == ev.GT_RMQ and a[i] == ev.RMQ_BULK_PAGE
        if what == ev.GT_RMQ and not bulk:
            continue
        first = pfn[i]
        if what == ev.MM_PAGE_ALLOC and first < 0:
            counts[_C_FAILED] += 1
            continue
        width = 0 if (bulk or what == ev.MM_PAGE_FREE_BATCHED) else int(order[i])
        if width < 0 or width > _MAX_ORDER or first < 0 or first > size - (1 << width):
            counts[_C_BAD] += 1
            continue
        if what == ev.MM_PAGE_FREE_BATCHED:
            counts[_C_DUP] += 1
            if pages[first] & 3 == FREE:
                counts[_C_DUP_OK] += 1
        elif what == ev.MM_PAGE_ALLOC or bulk:
            _enter_allocation(pages, counts, first, width)
        elif what == ev.MM_PAGE_FREE:
            _enter_free(pages, counts, first, width)


class PageBooks:
    """The books of one recording.

    Parameters
    ----------
    used : bool[P], optional
        Which pages the start state shows in use; the others up to P are free. Without it nothing is known of any page.
    """

    def __init__(self, used: npt.NDArray[np.bool_] | None = None) -> None:
        if used is None:
            self.pages = np.zeros(1 << 16, np.uint8)
        else:
            self.pages = np.where(used, BEFORE, FREE).astype(np.uint8)
        self._counts = np.zeros(len(fields(PageFacts)), np.int64)

    def add(self, chunk: EventChunk) -> None:
        """Enter a chunk."""
        self._grow(chunk)
        columns = (np.ascontiguousarray(x) for x in (chunk.kind, chunk.pfn, chunk.order, chunk.a))
        kind, pfn, order, a = (np.require(x, None, ["C", "W"]) for x in columns)
        run(enter_events, chunk.rows, self.pages, self._counts, kind, pfn, order, a)

    def _grow(self, chunk: EventChunk) -> None:
        """Make room for the largest pfn that can be believed."""
        believed = chunk.pfn[chunk.pfn < MAX_PAGES - (1 << _MAX_ORDER)]
        need = int(believed.max(initial=0)) + (1 << _MAX_ORDER)
        if need > len(self.pages):
            larger = np.zeros(min(max(need, 2 * len(self.pages)), MAX_PAGES), np.uint8)
            larger[: len(self.pages)] = self.pages
            self.pages = larger

    @property
    def facts(self) -> PageFacts:
        """The counts now."""
        heads = sum(
            int((self.pages[i : i + (1 << 24)] & HEAD != 0).sum()) for i in range(0, len(self.pages), 1 << 24)
        )
        values = [*self._counts.tolist()[:-1], heads]
        return PageFacts(*values)
