# SPDX-License-Identifier: GPL-2.0-or-later
"""The pageblock map over time: what every pageblock is and holds at successive moments, kept as what changed.

A block's frame is a uint16. Low byte: bits 0 to 2 its migratetype, bits 3 to 5 what it holds (CONTENT_NAMES), bit 6 compaction's
skip bit. High byte: how many of its pages are movable (low nibble) and how many cannot move (high nibble), as the number of the
level in :func:`levels` that they reach: exact for 0, 1 and 2 pages, at least that many above.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kevacuate.errors import KevacuateError
from kevacuate.measure.blocks import BlockKinds, block_kinds, is_mixed
from kevacuate.measure.held_states import HeldStates
from kevacuate.measure.pages import FREE, IN_USE, MOVABLE, PCP, RECLAIMABLE, UNMOVABLE
from kevacuate.mm.constants import MIGRATE_MOVABLE

CONTENT_NAMES = ("free", "movable", "unmovable", "reclaimable", "mixed", "reserved", "in use", "absent")
"""What a block holds: nothing but free pages; pages that can move; pages that cannot (some or all of them unmovable, or all
reclaimable); mixed, as :func:`kevacuate.measure.blocks.block_kinds` has it; nothing that the allocator has; pages in use of
unknown kind; absent: no such block at that moment, in no count."""
(
    CONTENT_FREE,
    CONTENT_MOVABLE,
    CONTENT_UNMOVABLE,
    CONTENT_RECLAIMABLE,
    CONTENT_MIXED,
    CONTENT_RESERVED,
    CONTENT_IN_USE,
    CONTENT_ABSENT,
) = range(8)

SKIP = 64
"""Bit of the low byte."""

_SHARES = (
    0,
    1 / 512,
    1 / 256,
    1 / 128,
    1 / 64,
    1 / 32,
    1 / 16,
    1 / 8,
    3 / 16,
    0.25,
    0.375,
    0.5,
    0.625,
    0.75,
    0.875,
    1,
)

Plane = npt.NDArray[Any]
"""uint8 or uint16."""


def levels(pageblock_order: int) -> npt.NDArray[np.int64]:
    """The sixteen numbers of pages that a frame can tell, ascending; some are equal where blocks are small."""
    size = 1 << pageblock_order
    exact = np.array([max(round(share * size), min(i, size)) for i, share in enumerate(_SHARES)], np.int64)
    exact[1:3] = min(1, size), min(2, size)
    return np.maximum.accumulate(exact)


class BlockFrame(NamedTuple):
    """One moment, per pageblock."""

    mt: npt.NDArray[np.uint8]
    """Migratetype (5 while isolated)."""
    content: npt.NDArray[np.uint8]
    """Index of CONTENT_NAMES."""
    skip: npt.NDArray[np.bool_]
    movable: npt.NDArray[np.int64]
    """Pages, at least (see :func:`levels`)."""
    unmovable: npt.NDArray[np.int64]
    """Pages that cannot move (reclaimable ones included), at least."""

    @property
    def kinds(self) -> BlockKinds:
        """Which of the blocks are mixed, polluted, or hold a page that cannot move: exact, as 0 and 1 pages are."""
        pinned = np.where(self.content == CONTENT_IN_USE, 0, self.unmovable)
        return block_kinds(self.mt, self.movable, pinned)


def block_contents(counts: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """What blocks hold, index of CONTENT_NAMES, by int[blocks, 7] pages of each class (:mod:`kevacuate.measure.pages`)."""
    movable, unknown = counts[:, MOVABLE], counts[:, IN_USE]
    pinned = counts[:, UNMOVABLE] + counts[:, RECLAIMABLE]
    return np.select(
        [
            is_mixed(movable, pinned),
            movable > 0,
            counts[:, UNMOVABLE] > 0,
            pinned > 0,
            unknown > 0,
            counts[:, FREE] + counts[:, PCP] > 0,
        ],
        [
            CONTENT_MIXED,
            CONTENT_MOVABLE,
            CONTENT_UNMOVABLE,
            CONTENT_RECLAIMABLE,
            CONTENT_IN_USE,
            CONTENT_FREE,
        ],
        CONTENT_RESERVED,
    )


def encode(
    mt: npt.NDArray[Any], counts: npt.NDArray[Any], skip: npt.NDArray[Any], pageblock_order: int
) -> npt.NDArray[np.uint16]:
    """A frame: migratetypes, int[blocks, 7] pages by class (:mod:`kevacuate.measure.pages`), skip bits.

    A block that does not exist at the moment has the type -1: it is absent, whatever else is given.
    """
    there = mt >= 0
    counts = np.where(there[:, None], counts, 0)
    movable, unknown = counts[:, MOVABLE], counts[:, IN_USE]
    pinned = counts[:, UNMOVABLE] + counts[:, RECLAIMABLE]
    content = np.where(there, block_contents(counts), CONTENT_ABSENT)
    table = levels(pageblock_order)
    much = np.searchsorted(table, np.stack([movable, np.maximum(pinned, unknown)]), side="right") - 1
    kind = np.where(there, mt, MIGRATE_MOVABLE).astype(np.int64)
    low = kind | content << 3 | (skip & there).astype(np.int64) * SKIP
    frame: npt.NDArray[np.uint16] = (low | (much[0] | much[1] << 4) << 8).astype(np.uint16)
    return frame


def decode(frame: npt.NDArray[np.uint16], pageblock_order: int) -> BlockFrame:
    """The inverse of :func:`encode`, as far as it goes."""
    table = levels(pageblock_order)
    return BlockFrame(
        (frame & 7).astype(np.uint8),
        (frame >> 3 & 7).astype(np.uint8),
        frame & SKIP != 0,
        table[frame >> 8 & 15],
        table[frame >> 12],
    )


@dataclass(frozen=True)
class Steps:
    """A plane of small numbers at successive moments: the first whole, the others as what changed.

    Attributes
    ----------
    first : uint8[n] or uint16[n]
        The first moment.
    offsets : int64[moments + 1]
        The changes of moment *i* are ``[offsets[i], offsets[i + 1])``; the first moment has none.
    place : int64[changes]
        Which entry changed, ascending within a moment.
    value : as ``first``
        What it became.
    """

    first: Plane
    offsets: npt.NDArray[np.int64]
    place: npt.NDArray[np.int64]
    value: Plane

    @property
    def moments(self) -> int:
        """Number of moments."""
        return len(self.offsets) - 1

    def __iter__(self) -> Iterator[Plane]:
        """Every moment's plane, in order; each is a copy."""
        now = self.first.copy()
        for i in range(self.moments):
            part = slice(int(self.offsets[i]), int(self.offsets[i + 1]))
            now[self.place[part]] = self.value[part]
            yield now.copy()

    def at(self, moment: int) -> Plane:
        """The plane at one moment; negative numbers count from the end."""
        moment = moment % self.moments
        now = self.first.copy()
        end = int(self.offsets[moment + 1])
        now[self.place[:end]] = self.value[:end]  # of equal places the last one stands
        return now

    def part(self, keep: npt.NDArray[np.int64], size: int) -> Steps:
        """The same moments of some runs of *size* places: runs ``keep``, ascending, one behind the other."""
        if len(keep) * size == len(self.first):
            return self
        row_of = np.full(len(self.first) // size, -1, np.int64)
        row_of[keep] = np.arange(len(keep))
        row = row_of[self.place // size]
        chosen = row >= 0
        kept = np.concatenate([[0], np.cumsum(chosen)])
        return Steps(
            self.first.reshape(-1, size)[keep].reshape(-1),
            kept[self.offsets],
            row[chosen] * size + self.place[chosen] % size,
            self.value[chosen],
        )

    def thin(self, moments: npt.NDArray[np.int64]) -> Steps:
        """The same plane at some of its moments, which ascend from 0."""
        wanted = set(moments.tolist())
        builder = StepsBuilder()
        for i, plane in enumerate(self):
            if i in wanted:
                builder.add(plane)
        return builder.build()

    def check(self) -> None:
        """Raise KevacuateError if the parts contradict each other: for what was read from a file."""
        sizes = np.diff(self.offsets)
        good = (
            self.moments >= 1
            and self.offsets[0] == self.offsets[1] == 0
            and bool(np.all(sizes >= 0))
            and self.offsets[-1] == len(self.place) == len(self.value)
            and self.value.dtype == self.first.dtype
            and (not len(self.place) or (self.place.min() >= 0 and self.place.max() < len(self.first)))
        )
        if not good:
            raise KevacuateError(
                "the map's changes contradict each other: the file is damaged, save it again."
            )


class StepsBuilder:
    """Collects the moments of a plane."""

    def __init__(self) -> None:
        self._first: Plane | None = None
        self._last: Plane | None = None
        self._places: list[npt.NDArray[np.int64]] = []
        self._values: list[Plane] = []

    def add(self, plane: Plane) -> None:
        """One more moment; *plane* is kept, not copied."""
        if self._last is None:
            self._first = self._last = plane
            changed = np.empty(0, np.int64)
        else:
            changed = np.flatnonzero(plane != self._last)
            self._last = plane
        self._places.append(changed)
        self._values.append(plane[changed])

    def build(self) -> Steps:
        """All moments added so far (at least one)."""
        assert self._first is not None, "no moment was added"
        sizes = [len(part) for part in self._places]
        offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        return Steps(self._first, offsets, np.concatenate(self._places), np.concatenate(self._values))


@dataclass(frozen=True)
class Frames:
    """The pageblock map of one run over time.

    Attributes
    ----------
    t : int64[moments]
        Times, ns of virtual time.
    start : int64[blocks]
        First pfn of every pageblock that exists at one moment at least, ascending.
    zone : uint8[blocks]
        Its zone: an index of ``zones``.
    zones : tuple of str
        Names, as ``node 0 Normal``.
    pageblock_order : int
        Pages of a block are 2**pageblock_order.
    blocks : Steps
        The frames (uint16, see the module).
    pages : Steps or None
        The class of every page of those blocks (:data:`kevacuate.measure.pages.PAGE_NAMES`), uint8[blocks << pageblock_order];
        None where that was too much to keep.
    held : HeldStates or None
        What the pages are that cannot move, at the recorded states that have page flags: of a replay the start state alone.
    """

    t: npt.NDArray[np.int64]
    start: npt.NDArray[np.int64]
    zone: npt.NDArray[np.uint8]
    zones: tuple[str, ...]
    pageblock_order: int
    blocks: Steps
    pages: Steps | None = None
    held: HeldStates | None = None

    def at(self, moment: int) -> BlockFrame:
        """One moment's frame; negative numbers count from the end."""
        plane: npt.NDArray[np.uint16] = self.blocks.at(moment).astype(np.uint16, copy=False)
        return decode(plane, self.pageblock_order)

    def thin(self, every: int) -> Frames:
        """The same map at every *every*-th moment, and at the last."""
        moments = np.unique(np.append(np.arange(0, len(self.t), every), len(self.t) - 1))
        pages = None if self.pages is None else self.pages.thin(moments)
        return replace(self, t=self.t[moments], blocks=self.blocks.thin(moments), pages=pages)

    def check(self) -> None:
        """Raise KevacuateError if the parts contradict each other: for what was read from a file."""
        blocks = len(self.start)
        planes: list[tuple[Steps, int, Any]] = [(self.blocks, blocks, np.uint16)]
        if self.pages is not None:
            planes.append((self.pages, blocks << self.pageblock_order, np.uint8))
        good = (
            blocks > 0
            and len(self.zone) == blocks
            and int(self.zone.max(initial=0)) < len(self.zones)
            and bool(np.all(np.diff(self.start) > 0))
            and bool(np.all(np.diff(self.t) >= 0))
            and all(
                p.moments == len(self.t) and len(p.first) == n and p.first.dtype == d for p, n, d in planes
            )
        )
        if not good:
            raise KevacuateError("the map's parts contradict each other: the file is damaged, save it again.")
        for plane, _, _ in planes:
            plane.check()
        if self.held is not None:
            self.held.check(blocks)
