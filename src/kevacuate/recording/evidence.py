# SPDX-License-Identifier: GPL-2.0-or-later
"""What events say of pages at a moment: the last one before it on each page, and the first one after it.

The last event before tells where the page is and, if it is an allocation, what it was asked for (:class:`History`). The
first event after tells where the page was (:class:`Evidence`).

A page whose first event is an allocation was free, on a per-CPU list if it was not in the buddy; one whose first
event is a free was in use; one that ``mm_page_alloc_zone_locked`` or ``mm_page_alloc_extfrag`` names first was in the
buddy, one that ``mm_page_pcpu_drain`` names first was on a per-CPU list. The last three also name the type of the
pageblock. Page flags alone do not tell pages on per-CPU lists from pages that the kernel uses: both show none.
"""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kevacuate.errors import KevacuateError
from kevacuate.recording.atomic_write import not_written
from kevacuate.recording.requests import request_classes
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

_DAMAGED = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What reading a kept history raises where its file is not whole: a recorder may have been killed while it wrote it."""

_NAMING = np.zeros(256, np.bool_)
_NAMING[
    [EventKind.MM_PAGE_ALLOC_ZONE_LOCKED, EventKind.MM_PAGE_ALLOC_EXTFRAG, EventKind.MM_PAGE_PCPU_DRAIN]
] = True
"""The kinds of events that name the type of a pageblock."""


class Touch(NamedTuple):
    """Pages that events touched: one entry per page of each event, in order of the events."""

    pfn: npt.NDArray[np.int64]
    code: npt.NDArray[np.uint8]
    event: npt.NDArray[np.int64]
    """Index of the event in the chunk."""


def touches(chunk: EventChunk, pages: int, block_order: int) -> Touch:
    """Every page below *pages* that an allocator event of the chunk covers.

    ``mm_page_alloc_extfrag`` covers the chunk of the order taken, as the page begins it. Not so in a claim below pageblock order:
    there the page is what was taken out of the block afterwards, of the order asked for (try_to_claim_block, 7.2).
    """
    code = _CODES[chunk.kind]
    extfrag = chunk.kind == EventKind.MM_PAGE_ALLOC_EXTFRAG
    begins = extfrag & ((chunk.c == 0) | (chunk.a >= block_order))
    order = np.where(begins, np.clip(chunk.a, 0, MAX_ORDER), np.clip(chunk.order, 0, MAX_ORDER))
    size = np.left_shift(1, order.astype(np.int64))
    event = np.flatnonzero((code > 0) & (chunk.pfn >= 0) & (chunk.pfn <= pages - size))
    size = size[event]
    pfn = np.repeat(chunk.pfn[event], size)
    if len(pfn) > len(event):
        pfn += np.arange(len(pfn)) - np.repeat(np.cumsum(size) - size, size)
    event = np.repeat(event, size)
    return Touch(pfn, code[event], event)


def named_blocks(
    chunk: EventChunk, pages: int, block_order: int, *, after: bool
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int8], npt.NDArray[np.intp]]:
    """Which pageblocks below *pages* the events name the type of, as what, and which event does: in order of the events.

    ``mm_page_alloc_extfrag`` names the type that the block had, and with *after* the one that it has from then on, which is
    that of the request where the event says that it changed (change_ownership).
    """
    extfrag = chunk.kind == EventKind.MM_PAGE_ALLOC_EXTFRAG
    named = _NAMING[chunk.kind] & (chunk.pfn >= 0) & (chunk.pfn < pages)
    mt = np.where(extfrag & ((chunk.c == 0) | (not after)), chunk.b, chunk.mt).astype(np.int8)
    named &= (mt >= 0) & (mt < 5)
    block = chunk.pfn[named] >> block_order
    order = np.where(extfrag, chunk.a, 0)[named]
    mt, event = mt[named], np.flatnonzero(named)
    if (order > block_order).any():  # a chunk of several blocks, all of that type
        count = np.where(order > block_order, 1 << np.clip(order - block_order, 0, 4), 1)
        at = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        block, mt, event = np.repeat(block, count) + at, np.repeat(mt, count), np.repeat(event, count)
        inside = block <= pages >> block_order
        block, mt, event = block[inside], mt[inside], event[inside]
    return block, mt, event


def taken_by_claims(naming: EventChunk) -> npt.NDArray[np.bool_]:
    """Which of these events, all of :data:`_NAMING`, are what a claim took out of the block that it had just given its type.

    The kernel retypes the block, takes the page (``mm_page_alloc_zone_locked``, with the new type) and only then tells of the
    claim, all under the zone's lock (try_to_claim_block, mm/page_alloc.c, 7.2): the CPU's next event is about the same page.
    """
    result = np.zeros(naming.rows, np.bool_)
    by_cpu = np.argsort(naming.cpu, kind="stable")
    this, following = by_cpu[:-1], by_cpu[1:]
    claim = (naming.kind[following] == EventKind.MM_PAGE_ALLOC_EXTFRAG) & (naming.c[following] != 0)
    claim &= naming.kind[this] == EventKind.MM_PAGE_ALLOC_ZONE_LOCKED
    claim &= (naming.cpu[this] == naming.cpu[following]) & (naming.pfn[this] == naming.pfn[following])
    result[this[claim]] = True
    return result


class _EventOfEachPage:
    """One event of each page, and the type that an event named for each pageblock.

    Memory: 14 bytes for each page that an event touches.

    Parameters
    ----------
    pages : int
        One more than the largest pfn.
    block_order : int
        Pageblock order.

    """

    def __init__(self, pages: int, block_order: int) -> None:
        self.block_order = block_order
        self.block_mt = np.full((pages >> block_order) + 1, -1, np.int8)
        """Type of the pageblock, -1 if no event named it [blocks]."""
        self.code = np.zeros(pages, np.uint8)
        """What the event was, 0 for none [pages]."""
        self.cpu = np.zeros(pages, np.uint16)
        """Its CPU [pages]."""
        self.order = np.zeros(pages, np.int8)
        """Its order [pages]."""
        self.mt = np.zeros(pages, np.int8)
        """Its migratetype [pages]."""


class History(_EventOfEachPage):
    """The last event on each page so far, which is where it left the page, and the last that named each pageblock's type."""

    COLUMNS = ("code", "cpu", "order", "mt", "request", "ts")

    def __init__(self, pages: int, block_order: int) -> None:
        super().__init__(pages, block_order)
        self.request = np.zeros(pages, np.uint8)
        """Of an allocation the class of its request (:func:`~kevacuate.recording.requests.request_classes`) [pages]."""
        self.ts = np.zeros(pages, np.int64)
        """Its time in nanoseconds [pages]."""

    def add(self, chunk: EventChunk) -> None:
        """Take a chunk into account; chunks come in order of time.

        Of a free chunk that an allocation broke up (``mm_page_alloc_extfrag``) only the part taken counts: the rest stays free.
        """
        touch = touches(chunk, len(self.code), self.block_order)
        taken = touch.pfn - chunk.pfn[touch.event] < np.left_shift(
            1, np.clip(chunk.order[touch.event], 0, MAX_ORDER).astype(np.int64)
        )
        pfn, code, event = touch.pfn[taken], touch.code[taken], touch.event[taken]
        self.code[pfn] = code  # where a page is named twice the last value stands
        self.request[pfn] = request_classes(chunk.gfp, chunk.mt)[event]
        for name in ("cpu", "order", "mt", "ts"):
            getattr(self, name)[pfn] = getattr(chunk, name)[event]
        block, mt, _ = named_blocks(chunk, len(self.code), self.block_order, after=True)
        self.block_mt[block] = mt

    def grow(self, pages: int) -> None:
        """Make room for at least so many pages: a machine's memory may grow."""
        more = pages - len(self.code)
        if more > 0:
            for name in self.COLUMNS:
                column = getattr(self, name)
                setattr(self, name, np.append(column, np.zeros(more, column.dtype)))
            blocks = (pages >> self.block_order) + 1 - len(self.block_mt)
            self.block_mt = np.append(self.block_mt, np.full(blocks, -1, np.int8))

    def copy(self) -> History:
        """A copy that later events leave as it is."""
        other = History(0, self.block_order)
        for name in (*self.COLUMNS, "block_mt"):
            setattr(other, name, getattr(self, name).copy())
        return other

    def save(self, path: Path) -> None:
        """Write it to a file.

        Raises
        ------
        KevacuateError
            It cannot be written.

        """
        try:
            with path.open("wb") as file:
                np.savez(file, **{name: getattr(self, name) for name in (*self.COLUMNS, "block_mt")})
        except OSError as error:
            raise not_written(path, error) from None

    @classmethod
    def load(cls, path: Path, block_order: int) -> History:
        """The inverse of :meth:`save`.

        Raises
        ------
        KevacuateError
            The file is missing or damaged.

        """
        history = cls(0, block_order)
        try:
            with np.load(path, allow_pickle=False) as arrays:
                for name in (*cls.COLUMNS, "block_mt"):
                    column = arrays[name].astype(getattr(history, name).dtype, casting="equiv")
                    setattr(history, name, column)
            pages = len(history.code)
            blocks = (pages >> block_order) + 1
            whole = all(getattr(history, name).shape == (pages,) for name in cls.COLUMNS)
            if not whole or history.block_mt.shape != (blocks,):
                raise ValueError("columns of unequal length")
        except _DAMAGED:
            raise KevacuateError(f"{path} cannot be read: record again.") from None
        return history


class Evidence(_EventOfEachPage):
    """Collects the first event of each page, and the first that names each pageblock's type, after a time.

    Parameters
    ----------
    pages, block_order : int
        As of :class:`History`.
    end : int
        Nanoseconds: the moment. Events up to it go into :attr:`history`, those after it are evidence.
    history : History, optional
        The last event on each page before those that will be added.

    """

    def __init__(self, pages: int, block_order: int, end: int, history: History | None = None) -> None:
        super().__init__(pages, block_order)
        self.pages, self.end = pages, end
        self.history = History(pages, block_order) if history is None else history
        """The last event on each page up to the moment."""
        self.seq = np.zeros(pages, np.int64)
        """Its number among all events [pages]."""
        self._named_by = np.full(len(self.block_mt), -1, np.int64)
        """Place of the event that named the block among all that name one [blocks]."""
        self._last: tuple[EventChunk, npt.NDArray[np.int64]] | None = None
        """Each CPU's last event that names a block, and its place among all of them."""
        self._seen = self._named = 0

    def add(self, chunk: EventChunk) -> None:
        """Take a chunk into account; chunks come in order of time."""
        cut = int(np.searchsorted(chunk.ts, self.end, "right"))
        if cut:
            self.history.add(chunk.take(slice(0, cut)))
        if cut < chunk.rows:
            later = chunk.take(slice(cut, None)) if cut else chunk
            self._pages(later)
            self._blocks(later)
            self._seen += later.rows

    def _pages(self, chunk: EventChunk) -> None:
        touch = touches(chunk, self.pages, self.block_order)
        new = self.code[touch.pfn] == 0
        pfn, first = np.unique(touch.pfn[new], return_index=True)
        event = touch.event[new][first]
        self.code[pfn] = touch.code[new][first]
        self.cpu[pfn] = chunk.cpu[event]
        self.order[pfn] = chunk.order[event]
        self.mt[pfn] = chunk.mt[event]
        self.seq[pfn] = event + self._seen

    def _blocks(self, chunk: EventChunk) -> None:
        naming = chunk.take(_NAMING[chunk.kind])
        if not naming.rows:
            return
        place = self._named + np.arange(naming.rows)
        self._named += naming.rows
        earlier = 0
        if self._last is not None:
            earlier = self._last[0].rows
            naming, place = concat_chunks([self._last[0], naming]), np.append(self._last[1], place)
        part = taken_by_claims(naming)
        self._forget(naming.pfn[:earlier][part[:earlier]], place[:earlier][part[:earlier]])
        self._last = naming.take(last := _last_of_each(naming.cpu)), place[last]
        new = ~part & (np.arange(naming.rows) >= earlier)
        self._name(naming.take(new), place[new])

    def _forget(self, pfn: npt.NDArray[np.int64], place: npt.NDArray[np.int64]) -> None:
        """Undo what events of an earlier chunk named, which turned out to be part of a claim."""
        inside = (pfn >= 0) & (pfn < self.pages)
        block, place = pfn[inside] >> self.block_order, place[inside]
        block = block[self._named_by[block] == place]
        self.block_mt[block] = self._named_by[block] = -1

    def _name(self, naming: EventChunk, place: npt.NDArray[np.int64]) -> None:
        """Blocks that nothing named before get their type."""
        block, mt, event = named_blocks(naming, self.pages, self.block_order, after=False)
        new = self.block_mt[block] < 0
        block, first = np.unique(block[new], return_index=True)
        self.block_mt[block] = mt[new][first]
        self._named_by[block] = place[event[new][first]]


def _last_of_each(cpu: npt.NDArray[np.uint16]) -> npt.NDArray[np.intp]:
    """Place of the last row of each CPU, ascending."""
    _, from_end = np.unique(cpu[::-1], return_index=True)
    return np.sort(len(cpu) - 1 - from_end)
