# SPDX-License-Identifier: GPL-2.0-or-later
"""What the pageblocks that were evacuated held at each isolate call, kept while the events stream by."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kevacuate.fidelity.evacuation.folios import Folios, Look, hidden_destinations, on_lru
from kevacuate.fidelity.evacuation.pages import MovablePages
from kevacuate.kernel.hooks import EvacOp
from kevacuate.mm import constants as k
from kevacuate.mm.layout import State
from kevacuate.recording import AllocatorState, EventChunk, EventKind, Machine

STARTED, ISOLATE = EvacOp.STARTED, EvacOp.ISOLATE
"""Operations of gt_evac: a worker starts on a block; a call of isolate_migratepages_range has returned."""


class Views(NamedTuple):
    """What one evacuation found."""

    at_calls: list[Folios]
    """The folios on the LRU at each isolate call; one element, of the start, if there was none."""
    sure: bool = True
    """False if the block holds pages in use since before the recording, and no flags tell what they are."""
    joined: bool = False
    """Whether movable folios were allocated in the block while it was evacuated."""
    off_lru: bool = False
    """Whether more of its folios were off the LRU at the start than a per-CPU batch holds back."""


class BlockViews:
    """Looks at the blocks of evacuations when a worker starts on them and at each isolate call.

    What a look shows was told by the events before it: allocations, frees, compaction's takings. Neither the number of
    pages that the call isolated nor the offsets it reached go into it.
    """

    def __init__(self, state: State, machine: Machine, start: AllocatorState) -> None:
        npages = state.view.cfg.npages
        self._pages = MovablePages(npages, max(machine.cpus, 1), start, machine.hugepage_order)
        self._block_pages = 1 << state.view.cfg.pageblock_order
        self._looks: dict[int, Look] = {}
        self._folios = 0
        self._waiting = 0
        self._hidden = 0
        self._unsure = 0

    def feed(self, rows: EventChunk, first: int) -> None:
        """Follow wide *rows*, and look where a worker starts or has isolated; *first* is the number of the first row."""
        looks = (rows.kind == EventKind.GT_EVAC) & ((rows.order == STARTED) | (rows.order == ISOLATE))
        low = 0
        for at in np.flatnonzero(looks).tolist():
            self._pages.feed(rows, first, low, at)
            self._looks[first + at] = self._pages.look(int(rows.pfn[at]), self._block_pages)
            low = at
        self._pages.feed(rows, first, low, rows.rows)

    def of_evacuation(self, started: int, counted: int, calls: list[int]) -> Views:
        """What one evacuation found.

        *started* and *calls* are the numbers of its events, *counted* the pages on the LRU that the kernel counted at
        the start.
        """
        start = self._looks.pop(started)
        looks = [self._looks.pop(number) for number in calls]
        held = start.folios
        waiting = held.where(~held.among(held.oldest(counted)))
        hidden = hidden_destinations(start, max(min(counted, self._block_pages) - held.pages, 0))
        self._unsure += start.unknown > 0
        if not start.unknown:
            self._folios += held.offset.size
            self._waiting += waiting.pages
            self._hidden += hidden.size
        found = [on_lru(start, look, waiting).with_pages(hidden) for look in looks or [start]]
        joined = any(not look.folios.among(held).all() for look in looks)
        return Views(found, not start.unknown, joined, waiting.offset.size >= k.FOLIO_BATCH_SIZE)

    def inputs(self) -> dict[str, int]:
        """What was taken from the recording."""
        return {
            "movable folios of a started block (mm_page_alloc, mm_page_free, compaction's takings)": self._folios
        }

    def notes(self) -> tuple[str, ...]:
        """What is approximate, in words."""
        unsure = (
            f"{self._unsure:,} evacuations of blocks with pages in use since before the recording are not decided beyond their "
            "start: no flags tell what these pages are",
        )
        return (
            "where a block's movable folios lie, and of what order, is followed through the allocations and frees before it "
            "is scanned",
            f"{self._waiting:,} of their pages, the youngest, exceed the kernel's counts at the starts. They are taken to wait "
            "in a per-CPU batch, as are those allocated meanwhile, until 31 have come together",
            f"destinations of compaction: {self._pages.destinations:,} pages by its events, where list operations are not "
            f"recorded. In {self._pages.open_ranges:,} ranges it took a part and no event says which",
            f"{self._hidden:,} pages by which the kernel's counts exceed the known ones are put where the free scanner takes "
            "first",
            "page cache from readahead is taken to be clean, from writes dirty: a rule found in recorded evacuations, these "
            "among them. Of block devices' page cache, of what compaction had moved or was in use before, it is not known",
            *(unsure if self._unsure else ()),
        )
