# SPDX-License-Identifier: GPL-2.0-or-later
"""Which type each pageblock has, where the kernel only says how many there are of each.

Events name the types of the blocks they touch (:mod:`kevacuate.recording.evidence`); the others are ranked by what
their pages are, and the numbers of /proc/pagetypeinfo decide where the ranking is cut. Approximate.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from kevacuate.kernel.pageflags import KPF_PGTABLE, KPF_SLAB, can_move, flag, is_absent, tails_as_heads
from kevacuate.recording.snapshot import ZoneCounts

UNMOVABLE, MOVABLE, RECLAIMABLE, HIGHATOMIC, CMA, ISOLATE = range(6)
TYPE_INDEX = {
    "Unmovable": UNMOVABLE,
    "Movable": MOVABLE,
    "Reclaimable": RECLAIMABLE,
    "HighAtomic": HIGHATOMIC,
    "CMA": CMA,
    "Isolate": ISOLATE,
}
"""Numbers of the migratetypes by the names that /proc/pagetypeinfo writes (migratetype_names, mm/page_alloc.c)."""


class BlockPages:
    """Pages of each block by kind, whole numbers [blocks]: free, that can move, of slabs, page tables, kernel (the rest)."""

    def __init__(self, flags: npt.NDArray[np.uint64], where: npt.NDArray[np.uint8], block_order: int) -> None:
        self._order = block_order
        used = where == 0
        heads = tails_as_heads(flags)
        rest = used & ~is_absent(heads)
        movable = rest & can_move(heads)
        rest &= ~movable
        slab, tables = rest & flag(flags, KPF_SLAB), rest & flag(flags, KPF_PGTABLE)
        self.free = self.per_block(~used)
        self.movable = self.per_block(movable)
        self.slab = self.per_block(slab)
        self.tables = self.per_block(tables)
        self.other = self.per_block(rest & ~(slab | tables))

    def per_block(self, pages: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
        """How many of these pages (bool, by pfn) each block has."""
        size = 1 << self._order
        padded = np.zeros(-(-len(pages) // size) * size, np.bool_)
        padded[: len(pages)] = pages
        return np.asarray(padded.reshape(-1, size).sum(axis=1))

    @property
    def unmovable(self) -> npt.NDArray[np.int64]:
        """In use, and cannot move."""
        return self.slab + self.tables + self.other


def guess_block_types(
    zones: tuple[ZoneCounts, ...],
    flags: npt.NDArray[np.uint64],
    where: npt.NDArray[np.uint8],
    block_order: int,
    named: npt.NDArray[np.int8],
) -> npt.NDArray[np.int8]:
    """The type of every pageblock [blocks]; without counts (no /proc/pagetypeinfo) by majority.

    *named* (int8[blocks]) is what events said of each, -1 where they said nothing.
    """
    return guess_types_of(zones, BlockPages(flags, where, block_order), block_order, named)


class KindsOfPages(Protocol):
    """Pages of each block by kind, whole numbers [blocks], as :class:`BlockPages` has them."""

    @property
    def free(self) -> npt.NDArray[Any]:
        """On a free list."""

    @property
    def movable(self) -> npt.NDArray[Any]:
        """Can move."""

    @property
    def slab(self) -> npt.NDArray[Any]:
        """Of slabs."""

    @property
    def unmovable(self) -> npt.NDArray[Any]:
        """In use, and cannot move: those of slabs, too."""


def guess_types_of(
    zones: tuple[ZoneCounts, ...], pages: KindsOfPages, block_order: int, named: npt.NDArray[np.int8]
) -> npt.NDArray[np.int8]:
    """:func:`guess_block_types` where the pages are counted already."""
    types = np.full(len(pages.free), MOVABLE, np.int8)
    for zone in zones:
        first, end = zone.start_pfn >> block_order, -(-(zone.start_pfn + zone.spanned) >> block_order)
        blocks = np.arange(first, end)
        _one_zone(zone, blocks, pages, types, named)
    return types


def _one_zone(
    zone: ZoneCounts,
    blocks: npt.NDArray[np.int64],
    pages: KindsOfPages,
    types: npt.NDArray[np.int8],
    named: npt.NDArray[np.int8],
) -> None:
    """Types of one zone's blocks (in place)."""
    known = named[blocks] >= 0
    types[blocks[known]] = named[blocks[known]]
    rest = blocks[~known]
    left = {
        TYPE_INDEX[name]: max(count - int((named[blocks] == TYPE_INDEX[name]).sum()), 0)
        for name, count in zone.blocks_by_type.items()
        if name in TYPE_INDEX
    }
    kernel, movable, slab = pages.unmovable[rest], pages.movable[rest], pages.slab[rest]
    present = (pages.free[rest] > 0) | (movable > 0) | (kernel > 0)
    share = np.where(
        present, kernel / np.maximum(kernel + movable, 1), -1.0
    )  # blocks without any of these are holes
    if not left:
        types[rest[share > 0.5]] = UNMOVABLE
        return
    fixed = left.get(UNMOVABLE, 0) + left.get(RECLAIMABLE, 0)
    chosen = np.lexsort((rest, -kernel, -share))[:fixed]
    chosen = chosen[share[chosen] >= 0]
    slabs = slab[chosen] / np.maximum(kernel[chosen], 1)
    reclaimable = chosen[np.lexsort((rest[chosen], -slab[chosen], -slabs))[: left.get(RECLAIMABLE, 0)]]
    types[rest[chosen]] = UNMOVABLE
    types[rest[reclaimable]] = RECLAIMABLE
    spare = np.setdiff1d(np.arange(len(rest)), chosen)
    highatomic = spare[np.lexsort((rest[spare], -pages.free[rest[spare]]))[: left.get(HIGHATOMIC, 0)]]
    types[rest[highatomic]] = HIGHATOMIC
