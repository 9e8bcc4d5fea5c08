# SPDX-License-Identifier: GPL-2.0-or-later
"""What every pageblock holds: the counts behind mixed, polluted and tainted.

The classes of pages are those of :mod:`kevacuate.measure.pages`. :func:`page_class` gives them of the model's state:
*movable* are pages of which :func:`kevacuate.mm.movable.can_move` says so, and those isolated by a worker; free pages that a
running compaction holds are *unmovable*. :func:`block_kinds` is the one place that says what a block is.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kevacuate.measure.pages import FREE, MOVABLE, PCP, RESERVED, UNMOVABLE
from kevacuate.mm.buddy import get_pfnblock_migratetype
from kevacuate.mm.constants import (
    MIGRATE_MOVABLE,
    MIGRATE_TYPES,
    NO_ZONE,
    PB_ABSENT,
    PG_ALLOC,
    PG_BUDDY,
    PG_COMPACT,
    PG_ISOLATED,
    PG_PCP,
)
from kevacuate.mm.fields import View
from kevacuate.mm.jit import kernel, part, pointers
from kevacuate.mm.layout import State
from kevacuate.mm.movable import attr_can_move
from kevacuate.mm.records import Words

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
    return BlockKinds(is_mixed(movable, unmovable), (mt == MIGRATE_MOVABLE) & pinned, pinned)


class BlockCounts(NamedTuple):
    """Per pageblock that exists, in order of pfn: a hole that a zone spans is none."""

    mt: npt.NDArray[np.int8]
    """Migratetype (5 while isolated)."""
    pages: npt.NDArray[np.int32]
    """int32[blocks, COLUMNS]: pages that are free, pcp, movable, unmovable, reserved."""
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
    if state == PG_BUDDY:
        return FREE
    if state == PG_PCP:
        return PCP
    if state == PG_ISOLATED:
        return MOVABLE
    if state == PG_ALLOC:
        return MOVABLE if attr_can_move(s.link[2 * pfn + 1]) else UNMOVABLE
    if state == PG_COMPACT:
        return UNMOVABLE
    return RESERVED


@kernel
def count_blocks(sa: State, mt: Words, pages: Words, free_by: Words) -> None:
    """Fill mt (int8[blocks]), pages (int32[blocks * 5]) and free_by (int64[16 * 8], chunks by order and type)."""
    s = pointers(sa)
    pageblock_order = s.cfg.pageblock_order
    covered_to = 0
    covering = RESERVED
    for b in range(s.cfg.npages >> pageblock_order):
        pfn = b << pageblock_order
        end = pfn + (1 << pageblock_order)
        mt[b] = get_pfnblock_migratetype(s, pfn)
        if s.block[2 * b + 1] == NO_ZONE or s.block[2 * b] & PB_ABSENT:
            mt[b] = -1
        if covered_to > pfn:
            pages[b * 5 + covering] += min(covered_to, end) - pfn
            pfn = min(covered_to, end)
        while pfn < end:
            meta = s.meta[pfn] + 0
            order = meta & 15
            size = 1 << order
            which = page_class(s, pfn, meta)
            if which == FREE:
                free_by[order * 8 + get_pfnblock_migratetype(s, pfn)] += 1
            taken = min(size, end - pfn)
            pages[b * 5 + which] += taken
            if size > taken:
                covered_to = pfn + size
                covering = which
            pfn += taken


def block_counts(state: State) -> tuple[BlockCounts, npt.NDArray[np.int64]]:
    """Counts per pageblock, and the free chunks by (order, migratetype), int64[16, 6]."""
    blocks = state.view.cfg.npages >> state.view.cfg.pageblock_order
    mt = np.zeros(blocks, np.int8)
    pages = np.zeros(blocks * 5, np.int32)
    free_by = np.zeros(16 * 8, np.int64)
    count_blocks(state, mt, pages, free_by)
    inside = mt >= 0
    start = np.flatnonzero(inside).astype(np.int64) << state.view.cfg.pageblock_order
    counts = BlockCounts(mt[inside], pages.reshape(blocks, 5)[inside], start)
    return counts, free_by.reshape(16, 8)[:, :MIGRATE_TYPES]
