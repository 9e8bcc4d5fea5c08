# SPDX-License-Identifier: GPL-2.0-or-later
"""What every pageblock holds: the counts behind mixed and polluted, and behind the regions of :mod:`kevacuate.measure.metrics`.

The classes of pages are those of :mod:`kevacuate.measure.pages`. :func:`page_class` gives them of the model's state:
*movable* are pages of which :func:`kevacuate.mm.movable.can_move` says so, and those isolated by a worker; free pages that a
running compaction holds are *unmovable*. :func:`block_kinds` is the one place that says what a block is.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kevacuate.jit import kernel, part, pointers
from kevacuate.measure.pages import FREE, MOVABLE, PCP, RESERVED, UNMOVABLE
from kevacuate.mm import constants as k
from kevacuate.mm.buddy import get_pfnblock_migratetype
from kevacuate.mm.fields import View
from kevacuate.mm.layout import State
from kevacuate.mm.movable import attr_can_move
from kevacuate.records import Words

COLUMNS = 5
"""How many columns :attr:`BlockCounts.pages` has: the classes FREE to RESERVED."""


class BlockKinds(NamedTuple):
    """What blocks are, bool[blocks] each."""

    mixed: npt.NDArray[np.bool_]
    """Holds at least one page that cannot move beside at least one that can. Free and pcp pages are neither."""
    polluted: npt.NDArray[np.bool_]
    """Of movable type, and holds at least one page that cannot move."""
    with_unmovable: npt.NDArray[np.bool_]
    """Holds at least one page that cannot move, whatever the block's type."""


def is_mixed(movable: npt.NDArray[Any], unmovable: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Which blocks are mixed, by the numbers of pages that can and that cannot move, [blocks] each."""
    return np.asarray((movable > 0) & (unmovable > 0))


def block_kinds(mt: npt.NDArray[Any], movable: npt.NDArray[Any], unmovable: npt.NDArray[Any]) -> BlockKinds:
    """What blocks are, by migratetype and the numbers of pages that can and that cannot move, [blocks] each."""
    pinned = unmovable > 0
    return BlockKinds(is_mixed(movable, unmovable), (mt == k.MIGRATE_MOVABLE) & pinned, pinned)


class BlockCounts(NamedTuple):
    """Per pageblock that exists, in order of pfn: a hole that a zone spans is none."""

    mt: npt.NDArray[np.int8]
    """Migratetype (5 while isolated)."""
    pages: npt.NDArray[np.int32]
    """int32[blocks, COLUMNS]: pages that are free, pcp, movable, unmovable, reserved; a column's numbers lie together."""
    start: npt.NDArray[np.int64]
    """First pfn."""

    @property
    def kinds(self) -> BlockKinds:
        """Which of the blocks are mixed, polluted, or hold a page that cannot move."""
        return block_kinds(self.mt, self.pages[:, MOVABLE], self.pages[:, UNMOVABLE])


@part
def page_class(s: View, pfn: int, meta: int) -> int:
    """Which of the five columns a chunk's pages count in."""
    state = meta >> 4
    if state == k.CHUNK_BUDDY:
        return FREE
    if state == k.CHUNK_PCP:
        return PCP
    if state == k.CHUNK_ISOLATED:
        return MOVABLE
    if state == k.CHUNK_ALLOC:
        return MOVABLE if attr_can_move(s.link[2 * pfn + 1]) else UNMOVABLE
    if state == k.CHUNK_COMPACT:
        return UNMOVABLE
    return RESERVED


ORDERS_AT_ONCE = 4
"""Orders whose chunks :func:`count_free_chunks` counts in one pass: 15 bits each of a number (a block has up to 2^13 chunks)."""


@part(inline=False)
def count_pages(s: View, first: int, end: int) -> tuple[int, int, int, int]:
    """Pages of the classes FREE, PCP, MOVABLE and UNMOVABLE in [first, end), which no chunk leaves: as :func:`page_class` says.

    It looks at every page rather than only at heads (the others hold 0), without a branch and in 32 bits, so that LLVM makes
    vector instructions of it.
    """
    free = np.int32(0)
    pcp = np.int32(0)
    movable = np.int32(0)
    unmovable = np.int32(0)
    none = np.int32(0)
    for pfn in range(first, end):
        state = np.int32(s.meta[pfn] >> 4)
        size = np.int32(1 << (s.meta[pfn] & 15))
        alloc = state == k.CHUNK_ALLOC
        moves = attr_can_move(s.link[2 * pfn + 1])
        free = np.int32(free + (size if state == k.CHUNK_BUDDY else none))
        pcp = np.int32(pcp + (size if state == k.CHUNK_PCP else none))
        movable = np.int32(movable + (size if (state == k.CHUNK_ISOLATED) | (alloc & moves) else none))
        unmovable = np.int32(
            unmovable + (size if (state == k.CHUNK_COMPACT) | (alloc & (not moves)) else none)
        )
    return int(free), int(pcp), int(movable), int(unmovable)


@part(inline=False)
def count_free_chunks(s: View, first: int, end: int, free: int, counts: Words, mt: int) -> None:
    """Add the free chunks in [first, end), which hold *free* pages, to *counts*[order * 8 + *mt*]."""
    low = 0
    while free > 0 and low < 16:
        packed = 0
        for pfn in range(first, end):
            order = (s.meta[pfn] & 15) - low
            here = (s.meta[pfn] >> 4 == k.CHUNK_BUDDY) & (order >= 0) & (order < ORDERS_AT_ONCE)
            packed += 1 << (15 * (order & 3)) if here else 0
        for order in range(low, low + ORDERS_AT_ONCE):
            chunks = packed & 0x7FFF
            packed >>= 15
            counts[order * 8 + mt] += chunks
            free -= chunks << order
        low += ORDERS_AT_ONCE


@kernel
def count_blocks(sa: State, mt: Words, pages: npt.NDArray[np.int32], free_by: Words) -> None:
    """Fill mt (int8[blocks]), pages (int32[5, blocks]) and free_by (int64[16 * 8], chunks by order and type)."""
    s = pointers(sa)
    pageblock_order = s.cfg.pageblock_order
    size = 1 << pageblock_order
    covered_to = 0
    covering = RESERVED
    for b in range(s.cfg.npages >> pageblock_order):
        first = b << pageblock_order
        block_mt = get_pfnblock_migratetype(s, first)
        exists = s.block[2 * b + 1] != k.NO_ZONE and s.block[2 * b] & k.PB_ABSENT == 0
        mt[b] = block_mt if exists else -1
        meta = s.meta[first] + 0
        if meta & 15 > pageblock_order:
            covering = page_class(s, first, meta)
            covered_to = first + (1 << (meta & 15))
            if covering == FREE:
                free_by[(meta & 15) * 8 + block_mt] += 1
        if first < covered_to:
            pages[covering, b] = size
            continue
        free, pcp, movable, unmovable = count_pages(s, first, first + size)
        pages[FREE, b] = free
        pages[PCP, b] = pcp
        pages[MOVABLE, b] = movable
        pages[UNMOVABLE, b] = unmovable
        pages[RESERVED, b] = size - free - pcp - movable - unmovable
        count_free_chunks(s, first, first + size, free, free_by, block_mt)


def block_counts(state: State) -> tuple[BlockCounts, npt.NDArray[np.int64]]:
    """Counts per pageblock, and the free chunks by (order, migratetype), int64[16, 6]."""
    cfg = state.view.cfg
    blocks = cfg.npages >> cfg.pageblock_order
    mt = np.zeros(blocks, np.int8)
    pages = np.zeros((COLUMNS, blocks), np.int32)
    free_by = np.zeros(16 * 8, np.int64)
    count_blocks(state, mt, pages, free_by)
    inside = np.flatnonzero(mt >= 0)
    start = inside << cfg.pageblock_order
    counts = BlockCounts(mt[inside], pages[:, inside].T, start)
    return counts, free_by.reshape(16, 8)[:, : k.MIGRATE_TYPES]
