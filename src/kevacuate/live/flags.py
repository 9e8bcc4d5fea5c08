# SPDX-License-Identifier: GPL-2.0-or-later
"""What pageblocks hold, from /proc/kpageflags: swept a little at a time, as reading it all takes about 150 ns a page."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kevacuate.capture.machine import page_flags_unread
from kevacuate.kernel.pageflags import KPF_NOPAGE, KPF_SLAB
from kevacuate.live.view import UNCLEAR, UNREAD
from kevacuate.measure.frames import CONTENT_ABSENT, CONTENT_UNMOVABLE, block_contents
from kevacuate.measure.holders import HeldBlocks, HolderCells, held_blocks
from kevacuate.measure.holders_by_flags import BY_FLAG, FLAG_HOLDERS, NO_FLAG, classify
from kevacuate.measure.mixed_bounds import Bounds, mixed_bounds
from kevacuate.measure.pages import FREE, IN_USE, MOVABLE, PAGE_NAMES, UNMOVABLE, count_classes, flag_classes
from kevacuate.recording.blocktypes import guess_types_of
from kevacuate.recording.presence import absent_blocks, silent_blocks
from kevacuate.recording.snapshot import ZoneCounts

KPAGEFLAGS = Path("/proc/kpageflags")
STEP_BLOCKS = 16
"""Blocks read at once."""
SLAB = [bit for bit, _ in BY_FLAG].index(KPF_SLAB)


def block_pages(words: npt.NDArray[np.uint64], pageblock_order: int) -> npt.NDArray[np.int32]:
    """Pages of each class by block, int32[blocks, 7] (:mod:`kevacuate.measure.pages`), by page flags alone.

    Pages without any flag are in use by the kernel, or on a per-CPU list: IN_USE, as their kind is not known.
    A block without any flag is taken for absent: the kernel has not given it to the allocator (not yet plugged or initialised).
    """
    classes = flag_classes(words)
    classes[words == 0] = IN_USE
    pages = count_classes(classes, pageblock_order)
    pages[silent_blocks(words, pageblock_order)] = 0
    return pages


def block_holders(words: npt.NDArray[np.uint64], pageblock_order: int) -> npt.NDArray[np.int32]:
    """Pages that cannot move by block and what they are, int32[blocks, len(FLAG_HOLDERS)]; none of a block without any flag."""
    code, width = classify(words).astype(np.int64), len(FLAG_HOLDERS)
    at = np.flatnonzero(code >= 0)
    blocks = len(words) >> pageblock_order
    counts = np.bincount((at >> pageblock_order) * width + code[at], minlength=blocks * width)
    holders = counts.reshape(blocks, width).astype(np.int32)
    holders[silent_blocks(words, pageblock_order)] = 0
    return holders


class _Kinds(NamedTuple):
    """Pages of each block by kind (:class:`kevacuate.recording.blocktypes.KindsOfPages`)."""

    free: npt.NDArray[np.int64]
    movable: npt.NDArray[np.int64]
    slab: npt.NDArray[np.int64]
    unmovable: npt.NDArray[np.int64]


def contents(pages: npt.NDArray[np.int32]) -> npt.NDArray[np.uint8]:
    """What blocks with these pages (:func:`block_pages`) hold: index of CONTENTS."""
    found = block_contents(pages)
    found[(pages[:, UNMOVABLE] == 0) & (pages[:, IN_USE] > 0)] = UNCLEAR
    found[~pages.any(axis=1)] = CONTENT_ABSENT
    return found.astype(np.uint8)


class FlagSweep:
    """Page flags of all blocks, kept as counts; each call of :meth:`sweep` renews a part of them.

    Parameters
    ----------
    blocks : int64[blocks]
        Numbers of the pageblocks, ascending.
    pageblock_order : int
        Order of a pageblock.
    path : Path
        The file.

    Raises
    ------
    KevacuateError
        It cannot be opened.
    """

    def __init__(self, blocks: npt.NDArray[np.int64], pageblock_order: int, path: Path = KPAGEFLAGS) -> None:
        self.blocks, self.order = blocks, pageblock_order
        self.pages = np.zeros((len(blocks), len(PAGE_NAMES)), np.int32)
        self.holders = np.zeros((len(blocks), len(FLAG_HOLDERS)), np.int32)
        """Pages by holder (:func:`block_holders`)."""
        self.content = np.full(len(blocks), UNREAD, np.uint8)
        self.sweeps = 0
        """Whole sweeps done."""
        self.seconds = 0.0
        """How long the last whole sweep took, from its first block to its last."""
        self._next = 0
        self._began = time.monotonic()
        try:
            self._file = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise page_flags_unread(path, error) from None

    def _read(self, first: int, last: int) -> None:
        """Renew the blocks with places [first, last), which must follow each other in memory."""
        size = 1 << self.order
        want = (last - first) * size
        data = os.pread(self._file, 8 * want, 8 * int(self.blocks[first]) * size)
        words = np.full(want, np.uint64(1 << KPF_NOPAGE), np.uint64)
        whole = len(data) // 8
        words[:whole] = np.frombuffer(data[: 8 * whole], "<u8")
        self.pages[first:last] = block_pages(words, self.order)
        self.holders[first:last] = block_holders(words, self.order)
        self.content[first:last] = contents(self.pages[first:last])

    def _still_absent(self, place: int) -> bool:
        """Whether a block that was absent still is, as far as its first page tells: most of a large hole is passed so."""
        if self.content[place] != CONTENT_ABSENT or not self.sweeps:
            return False
        data = os.pread(self._file, 8, int(self.blocks[place]) << self.order + 3)
        return int.from_bytes(data, "little") in (0, 1 << KPF_NOPAGE)

    def _ahead(self, most: int) -> int:
        """Place after the last block that can be read together with the next one: what follows it without a gap."""
        first = self._next
        last = min(first + STEP_BLOCKS, len(self.blocks), first + most)
        gaps = np.flatnonzero(np.diff(self.blocks[first:last]) != 1)
        return first + int(gaps[0]) + 1 if gaps.size else last

    def sweep(self, seconds: float) -> None:
        """Renew blocks, from where the last call ended, for about *seconds* of CPU time or once around."""
        end = time.thread_time() + seconds
        left = len(self.blocks)
        while left > 0 and time.thread_time() < end:
            first = self._next
            if self._still_absent(first):
                last = first + 1
            else:
                last = self._ahead(left)
                self._read(first, last)
            left -= last - first
            self._next = last % max(len(self.blocks), 1)
            if self._next == 0:
                self.sweeps += 1
                self.seconds = time.monotonic() - self._began
                self._began = time.monotonic()

    def look(self, block: int) -> tuple[int, int, int] | None:
        """Pages free, that can move, and otherwise in use of one block, read now; None if there is no such block."""
        at = int(np.searchsorted(self.blocks, block))
        if at == len(self.blocks) or self.blocks[at] != block:
            return None
        self._read(at, at + 1)
        free, movable, other, unknown = self.pages[at, (FREE, MOVABLE, UNMOVABLE, IN_USE)].tolist()
        return free, movable, other + unknown

    def mixed(self, cached: int) -> Bounds:
        """How many blocks are mixed, if *cached* pages are on per-CPU lists."""
        pages = self.pages
        return mixed_bounds(pages[:, MOVABLE], pages[:, UNMOVABLE], pages[:, IN_USE], cached)

    def _placed(self, zones: Sequence[ZoneCounts]) -> npt.NDArray[np.bool_]:
        """Which blocks show no flag and yet exist, by the numbers of *zones*: bool[blocks]."""
        silent = np.zeros(int(self.blocks[-1]) + 1 if len(self.blocks) else 0, np.bool_)
        silent[self.blocks] = self.content == CONTENT_ABSENT
        placed = silent & ~absent_blocks(silent, zones, self.order)
        return np.asarray(placed[self.blocks])

    def shown(self, zones: Sequence[ZoneCounts]) -> npt.NDArray[np.uint8]:
        """What each block holds; the blocks that show no flag and yet exist, by the numbers of *zones*, are the kernel's."""
        content = self.content.copy()
        content[self._placed(zones)] = CONTENT_UNMOVABLE
        return content

    def held(self, zones: tuple[ZoneCounts, ...]) -> HeldBlocks:
        """Which blocks are held and by what, as `kevacuate holders` has it of page flags: types of blocks are estimated."""
        table = self.holders.astype(np.int64)
        table[self._placed(zones), NO_FLAG] = 1 << self.order
        ends = [zone.start_pfn + zone.spanned for zone in zones]
        blocks = -(-max([*ends, (int(self.blocks[-1]) + 1) << self.order]) >> self.order)

        def by_number(counts: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
            column = np.zeros(blocks, np.int64)
            column[self.blocks] = counts
            return column

        free, movable = by_number(self.pages[:, FREE]), by_number(self.pages[:, MOVABLE])
        kinds = _Kinds(free, movable, by_number(table[:, SLAB]), by_number(table.sum(axis=1)))
        types = guess_types_of(zones, kinds, self.order, np.full(blocks, -1, np.int8))
        types[free + movable + kinds.unmovable == 0] = -1
        at, holder = np.nonzero(table)
        cells = HolderCells(self.blocks[at], holder, table[at, holder])
        return held_blocks(free, movable, cells, FLAG_HOLDERS, types, self.order)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)
