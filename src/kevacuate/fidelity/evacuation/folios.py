# SPDX-License-Identifier: GPL-2.0-or-later
"""The folios of a pageblock that an evacuation finds: where they lie, and which of them have reached the LRU."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kevacuate.demand.pagekinds import CLASS_ANON, CLASS_READ, CLASS_WRITTEN
from kevacuate.mm.as_recorded import UNSURE
from kevacuate.mm.constants import ATTR_DIRTY, ATTR_FILE, FOLIO_BATCH_SIZE

KIND_UNKNOWN = 255
"""Kind of a folio whose allocation no event shows."""


class Folios(NamedTuple):
    """Movable folios of one block."""

    offset: npt.NDArray[np.int64]
    """Pages from the block's start, ascending."""
    order: npt.NDArray[np.int64]
    since: npt.NDArray[np.int64]
    """Number of the event that allocated each."""
    cpu: npt.NDArray[np.int64]
    """CPU that allocated each."""
    rank: npt.NDArray[np.int64]
    """How many movable folios that CPU had allocated by then, this one included."""
    kind: npt.NDArray[np.int64]
    """Class of the request for each (:func:`kevacuate.demand.pagekinds.page_class`), or KIND_UNKNOWN."""

    @property
    def pages(self) -> int:
        """Pages in all."""
        return int((1 << self.order).sum())

    def oldest(self, pages: int) -> Folios:
        """Those left when the youngest are taken away until no more than *pages* pages remain.

        A folio joins the LRU when the batch of its CPU is full or drained (folio_add_lru, mm/swap.c), so those that the
        kernel's count does not show are taken to be the youngest.
        """
        keep = np.ones(self.offset.size, np.bool_)
        left = self.pages
        for n in np.argsort(-self.since, kind="stable").tolist():
            if left <= pages:
                break
            keep[n] = False
            left -= 1 << int(self.order[n])
        return self.where(keep)

    def where(self, keep: npt.NDArray[np.bool_] | npt.NDArray[np.int64]) -> Folios:
        """Those of a mask, or of numbers."""
        return Folios(*(column[keep] for column in self))

    def with_pages(self, offset: npt.NDArray[np.int64]) -> Folios:
        """Those and single pages at the given offsets."""
        new = np.setdiff1d(offset, self.offset)
        nothing, unknown = np.zeros(new.size, np.int64), np.full(new.size, KIND_UNKNOWN)
        more = Folios(new, nothing, nothing, nothing, nothing, unknown)
        both = Folios(*(np.concatenate(pair) for pair in zip(self, more, strict=True)))
        return both.where(np.argsort(both.offset, kind="stable"))

    def attributes(self) -> npt.NDArray[np.int64]:
        """The model's attribute bits of each, but for the LRU's: page cache from readahead is clean, from writes dirty.

        So it was in the recorded evacuations (:class:`kevacuate.demand.pagekinds.PageKindModel`). What cannot be told, of
        block devices' page cache and of unknown folios, is UNSURE.
        """
        known = {CLASS_ANON: 0, CLASS_READ: ATTR_FILE, CLASS_WRITTEN: ATTR_FILE | ATTR_DIRTY}
        return np.array([known.get(kind, UNSURE) for kind in self.kind.tolist()], np.int64)

    def among(self, other: Folios) -> npt.NDArray[np.bool_]:
        """Mask of those that *other* holds too (same place and same allocation)."""
        return np.isin(self.offset, other.offset) & np.isin(self.since, other.since)


class Look(NamedTuple):
    """What is known of a block at one moment."""

    folios: Folios
    """Those that can move."""
    unused: npt.NDArray[np.bool_]
    """Whether each page is on a free or per-CPU list [pages of a block]."""
    unknown: int
    """Pages in use since before the recording by what is not known."""
    allocated: npt.NDArray[np.int64]
    """Movable folios that each CPU had allocated by then [cpus]."""


def hidden_destinations(start: Look, pages: int) -> npt.NDArray[np.int64]:
    """Offsets for *pages* pages on the LRU that no event placed, among those taken for unused.

    They are compaction's destinations. The free scanner comes down from the zone's end and takes whole chunks, so each
    power of two of them lies in the highest aligned range that has room.
    """
    room = start.unused.copy()
    found: list[int] = []
    size = room.size
    while size and len(found) < pages:
        heads = np.flatnonzero(room.reshape(-1, size).all(axis=1))[::-1] * size
        for head in heads[: (pages - len(found)) // size].tolist():
            found += range(head, head + size)
            room[head : head + size] = False
        size //= 2
    return np.sort(np.array(found, np.int64))


def on_lru(start: Look, now: Look, waiting: Folios) -> Folios:
    """The folios that are on the LRU *now*, when of those at the *start* the *waiting* ones were not.

    A CPU's batch of 31 folios goes to the LRU when it is full (folio_add_lru, mm/swap.c). Approximate: at the start it
    is taken to hold the waiting folios of this block and no others (none, if they are too many for a batch: something
    else took them off the LRU), and to be drained by its filling only.
    """
    folios = now.folios
    fill = np.bincount(waiting.cpu, minlength=start.allocated.size)
    fill[fill >= FOLIO_BATCH_SIZE] = 0
    whole = (fill + now.allocated - start.allocated) // FOLIO_BATCH_SIZE * FOLIO_BATCH_SIZE
    drained = np.where(whole > 0, start.allocated - fill + whole, 0)
    waits = folios.among(waiting) & (fill[folios.cpu] == 0)
    before = folios.among(start.folios) & ~folios.among(waiting)
    return folios.where((before | (folios.rank <= drained[folios.cpu])) & ~waits)


NO_FOLIOS = Folios(*(np.zeros(0, np.int64) for _ in Folios._fields))
