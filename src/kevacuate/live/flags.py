# SPDX-License-Identifier: GPL-2.0-or-later
"""What pageblocks hold, from /proc/kpageflags: swept a little at a time, as reading it all takes about 150 ns a page."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kevacuate.capture.snapshots import give_tails
from kevacuate.errors import KevacuateError
from kevacuate.live.view import UNREAD
from kevacuate.measure.frames import CONTENT_NAMES

KPAGEFLAGS = Path("/proc/kpageflags")
KPF_LRU, KPF_BUDDY, KPF_NOPAGE, KPF_OFFLINE, KPF_RESERVED = 5, 10, 20, 23, 32
"""Bits of its words (include/uapi/linux/kernel-page-flags.h)."""
STEP_BLOCKS = 16
"""Blocks read at once."""

FREE, MOVABLE, UNMOVABLE, MIXED, RESERVED = (
    CONTENT_NAMES.index(name) for name in ("free", "movable", "unmovable", "mixed", "reserved")
)


def block_pages(words: npt.NDArray[np.uint64], pageblock_order: int) -> npt.NDArray[np.int32]:
    """int32[blocks, 3]: pages free (buddy), on an LRU list, and otherwise in use; absent and reserved pages count nowhere.

    Pages on per-CPU lists cannot be told from pages in use, as page flags do not show them. A block without any flag is taken
    for absent: the kernel has not given it to the allocator (memory not yet plugged or initialised).
    """
    size = 1 << pageblock_order
    silent = ~words.reshape(-1, size).any(axis=1)

    def has(bit: int) -> npt.NDArray[np.bool_]:
        return np.asarray((words >> np.uint64(bit)) & np.uint64(1) != 0)

    free, lru = has(KPF_BUDDY), has(KPF_LRU)
    absent = has(KPF_NOPAGE) | has(KPF_RESERVED) | has(KPF_OFFLINE)
    kinds = (free, lru & ~free, ~(free | lru | absent))
    pages = np.stack([kind.reshape(-1, size).sum(axis=1, dtype=np.int32) for kind in kinds], axis=1)
    pages[silent] = 0
    return pages


def contents(pages: npt.NDArray[np.int32]) -> npt.NDArray[np.uint8]:
    """What blocks with these pages (:func:`block_pages`) hold: index of CONTENT_NAMES."""
    free, lru, other = pages.T
    return np.select(
        [(lru > 0) & (other > 0), lru > 0, other > 0, free > 0], [MIXED, MOVABLE, UNMOVABLE, FREE], RESERVED
    ).astype(np.uint8)


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
        self.pages = np.zeros((len(blocks), 3), np.int32)
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
            raise KevacuateError(f"{path} cannot be read ({error.strerror}): run as root.") from None

    def _read(self, first: int, last: int) -> None:
        """Renew the blocks with places [first, last), which must follow each other in memory."""
        size = 1 << self.order
        want = (last - first) * size
        data = os.pread(self._file, 8 * want, 8 * int(self.blocks[first]) * size)
        words = np.full(want, np.uint64(1 << KPF_NOPAGE), np.uint64)
        whole = len(data) // 8
        words[:whole] = np.frombuffer(data[: 8 * whole], "<u8")
        self.pages[first:last] = block_pages(give_tails(words), self.order)
        self.content[first:last] = contents(self.pages[first:last])

    def _still_absent(self, place: int) -> bool:
        """Whether a block that was absent still is, as far as its first page tells: most of a large hole is passed so."""
        if self.content[place] != RESERVED or not self.sweeps:
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
        """Pages free, on an LRU list and otherwise in use of one block, read now; None if there is no such block."""
        at = int(np.searchsorted(self.blocks, block))
        if at == len(self.blocks) or self.blocks[at] != block:
            return None
        self._read(at, at + 1)
        free, lru, other = self.pages[at].tolist()
        return free, lru, other

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)
