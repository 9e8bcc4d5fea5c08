# SPDX-License-Identifier: GPL-2.0-or-later
"""Who holds the pageblocks: what the pages are that cannot move, in blocks that are otherwise free or movable.

A block is *held* when it has at least one page that cannot move, and either is of movable type (it is polluted) or is *nearly
empty*: at most a share of its pages cannot move. A page that may be free (:data:`UNCLEAR`) makes no block held. A holder is what
such pages are: a slab cache, page tables, a vmalloc caller. It has the pages of a held block *otherwise*: those that are free or
can move, and that would make up a block without it.
A block with several holders counts for each of them, and for none as one that it holds *alone*.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kevacuate.kernel.migratetypes import NAMES
from kevacuate.measure.blocks import block_kinds
from kevacuate.mm.constants import MIGRATE_MOVABLE

ABSENT, MOVABLE, FREE = -3, -2, -1
"""Codes of pages that no holder has: not the allocator's (or reserved), can move, free (in the buddy or on a per-CPU list)."""

NEARLY_EMPTY = 0.125
"""Largest share of a block's pages that may be unmovable for it to count as nearly empty: 64 of 512."""

UNKNOWN = "unknown kernel page"
"""The kind of pages of which the source names no owner."""

UNCLEAR = "kernel page or free on a per-CPU list"
"""The kind of pages that may be free ones for all that the source says. They alone make no block held."""

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


class Holder(NamedTuple):
    """What pages that cannot move are."""

    kind: str
    """``slab``, ``page table``, ``vmalloc``, :data:`UNKNOWN`, ..."""
    name: str
    """Which of that kind: the cache, the caller; '' where the kind has no names."""
    also: tuple[str, ...] = ()
    """Caches that the kernel merged with this one."""


@dataclass(frozen=True)
class HeldPages:
    """What every page is, of one machine at one moment.

    Attributes
    ----------
    code : int32[pages]
        By pfn: the number of its holder in *holders*, or one of :data:`ABSENT`, :data:`MOVABLE` and :data:`FREE`.
    holders : tuple of Holder
        The holders.
    block_types : int8[blocks]
        Migratetype of every pageblock, -1 where it is not known or there is no block.
    block_order : int
        Pageblock order.
    source : str
        ``kpageflags``, ``vmcore``, ``kcore`` or ``qemu``.
    name : str
        The file or address, for sentences.
    kernel : str
        Its release.
    types : str
        ``read`` from the kernel's bitmap, ``estimated`` from what the blocks hold and how many there are of each type, or
        ``unknown``.
    not_told : tuple of str
        What this source cannot say, a sentence each.
    caches : mapping of str to int
        Pages of each slab cache by /proc/slabinfo, where the pages themselves name none.

    """

    code: npt.NDArray[np.int32]
    holders: tuple[Holder, ...]
    block_types: npt.NDArray[np.int8]
    block_order: int
    source: str
    name: str
    kernel: str
    types: str
    not_told: tuple[str, ...] = ()
    caches: Mapping[str, int] = field(default_factory=dict)


class Held(NamedTuple):
    """What one holder holds; pages and blocks are counts."""

    holder: Holder
    pages: int
    """All its pages, in whatever blocks."""
    blocks: int
    """Held blocks with at least one of its pages."""
    alone: int
    """Those of them in which no other holder has a page."""
    movable_type: int
    """Those of them that are of movable type."""
    pages_there: int
    """Its pages in the blocks that it holds."""
    otherwise: int
    """Pages of the blocks that it holds that are free or can move."""
    otherwise_alone: int
    """The same of those that it holds alone."""


class HolderCells(NamedTuple):
    """Which holder has pages in which block: int64[cells] each, a cell for every pair of both."""

    block: Ints
    holder: Ints
    """Number of the holder."""
    pages: Ints
    """How many it has there, at least 1."""


class _Blocks(NamedTuple):
    """Counts by block [blocks]."""

    free: Ints
    movable: Ints
    unmovable: Ints
    unclear: Ints
    present: Ints


class HeldBlocks(NamedTuple):
    """Which blocks are held, and by whom."""

    rows: tuple[Held, ...]
    """As :attr:`Holders.rows`."""
    blocks: dict[str, int]
    """As :attr:`Holders.blocks`."""
    held: Bools
    """As :attr:`Holders.held`."""

    def to_json(self) -> dict[str, Any]:
        """``blocks`` and ``holders`` as :meth:`Holders.to_json` has them."""
        return {"blocks": dict(self.blocks), "holders": [_row_json(row) for row in self.rows]}


@dataclass(frozen=True)
class Holders:
    """Who holds the pageblocks of a machine.

    Attributes
    ----------
    pages : HeldPages
        What every page is.
    nearly_empty : float
        The share that was used.
    rows : tuple of Held
        Every holder that has a page, ranked by the pages otherwise free or movable of the blocks it holds.
    blocks : dict of str to int
        Counts of blocks: ``present``, ``unmovable`` (with at least one page that cannot move), ``held``, ``movable_type`` and
        ``nearly_empty`` ones among the held, ``unclear`` (not held, but perhaps by pages that may be free), and
        ``otherwise``: pages of held blocks that are free or can move.
    held : bool[blocks]
        Which blocks are held.

    """

    pages: HeldPages
    nearly_empty: float
    rows: tuple[Held, ...]
    blocks: dict[str, int]
    held: Bools

    def of_block(self, block: int) -> tuple[tuple[Holder, int], ...]:
        """The holders of one block and how many of its pages each has, most pages first.

        Parameters
        ----------
        block : int
            Its number: first pfn >> pageblock order.

        """
        size = 1 << self.pages.block_order
        code = self.pages.code[block * size : (block + 1) * size]
        which, counts = np.unique(code[code >= 0], return_counts=True)
        order = np.lexsort((which, -counts))
        return tuple((self.pages.holders[which[i]], int(counts[i])) for i in order.tolist())

    def to_json(self) -> dict[str, Any]:
        """Everything but the pages, as plain JSON values; sizes in pages."""
        pages = self.pages
        return {
            "source": pages.source,
            "name": pages.name,
            "kernel": pages.kernel,
            "pageblock_order": pages.block_order,
            "block_types": pages.types,
            "nearly_empty": self.nearly_empty,
            "blocks": dict(self.blocks),
            "holders": [_row_json(row) for row in self.rows],
            "not_told": list(pages.not_told),
            "slab_caches": dict(pages.caches),
        }

    def blocks_json(self) -> list[dict[str, Any]]:
        """Every held block with its holders, by pfn, as plain JSON values."""
        found = []
        for block in np.flatnonzero(self.held).tolist():
            mine = self.of_block(block)
            holders = [{"kind": h.kind, "name": h.name, "pages": n} for h, n in mine]
            kind = int(self.pages.block_types[block])
            found.append(
                {"pfn": block << self.pages.block_order, "type": _type_name(kind), "holders": holders}
            )
        return found


def _type_name(migratetype: int) -> str:
    return NAMES[migratetype] if 0 <= migratetype < len(NAMES) else "unknown"


def _row_json(row: Held) -> dict[str, Any]:
    values = {"kind": row.holder.kind, "name": row.holder.name, "merged_with": list(row.holder.also)}
    return values | {name: getattr(row, name) for name in Held._fields if name != "holder"}


def find_holders(pages: HeldPages, nearly_empty: float = NEARLY_EMPTY) -> Holders:
    """Who holds the pageblocks.

    Parameters
    ----------
    pages : HeldPages
        What every page is.
    nearly_empty : float
        Largest share of a block's pages that may be unmovable for it to count as nearly empty, 0 to 1.

    Returns
    -------
    Holders
        Ranked by pages otherwise free or movable, then blocks, then pages; :data:`UNCLEAR` last.

    """
    size, blocks, most = 1 << pages.block_order, len(pages.block_types), len(pages.holders)
    code = np.full(blocks * size, ABSENT, np.int32)
    code[: len(pages.code)] = pages.code
    free, movable = ((code == kind).reshape(blocks, size).sum(axis=1) for kind in (FREE, MOVABLE))
    pfn = np.flatnonzero(code >= 0)
    keys, count = np.unique((pfn >> pages.block_order) * most + code[pfn], return_counts=True)
    cells = HolderCells(*np.divmod(keys, most), count) if most else HolderCells(keys, keys, count)
    found = held_blocks(
        free, movable, cells, pages.holders, pages.block_types, pages.block_order, nearly_empty
    )
    return Holders(pages, nearly_empty, *found)


def held_blocks(
    free: Ints,
    movable: Ints,
    cells: HolderCells,
    holders: Sequence[Holder],
    types: npt.NDArray[np.int8],
    block_order: int,
    nearly_empty: float = NEARLY_EMPTY,
) -> HeldBlocks:
    """Which blocks are held and by whom, by the numbers of their pages.

    Parameters
    ----------
    free, movable : int64[blocks]
        Pages that are free and that can move.
    cells : HolderCells
        All others that the allocator has.
    holders : sequence of Holder
        The holders, by number.
    types : int8[blocks]
        As :attr:`HeldPages.block_types`.
    block_order : int
        Pageblock order.
    nearly_empty : float
        As of :func:`find_holders`.

    """
    blocks, size = _sums(free, movable, cells, holders), 1 << block_order
    fixed = blocks.unmovable + blocks.unclear
    whole = (fixed <= nearly_empty * size) & (blocks.present == size)
    few = (blocks.unmovable > 0) & whole
    polluted = block_kinds(types, blocks.movable, blocks.unmovable).polluted
    held = polluted | few
    perhaps = (blocks.unclear > 0) & ~held & (whole | (types == MIGRATE_MOVABLE))
    other = np.where(held, blocks.free + blocks.movable, 0)
    counts = {
        "present": int((blocks.present > 0).sum()),
        "unmovable": int((blocks.unmovable > 0).sum()),
        "held": int(held.sum()),
        "movable_type": int(polluted.sum()),
        "nearly_empty": int(few.sum()),
        "unclear": int(perhaps.sum()),
        "otherwise": int(other.sum()),
    }
    return HeldBlocks(_rows(cells, holders, held, other, types == MIGRATE_MOVABLE), counts, held)


def _sums(free: Ints, movable: Ints, cells: HolderCells, holders: Sequence[Holder]) -> _Blocks:
    """Pages of every block that are free, that can move, that cannot, that may be free, and that exist."""
    may_be_free = np.array([holder.kind == UNCLEAR for holder in holders], np.bool_)[cells.holder]
    unmovable, unclear = np.zeros(len(free), np.int64), np.zeros(len(free), np.int64)
    np.add.at(unmovable, cells.block[~may_be_free], cells.pages[~may_be_free])
    np.add.at(unclear, cells.block[may_be_free], cells.pages[may_be_free])
    return _Blocks(free, movable, unmovable, unclear, free + movable + unmovable + unclear)


def _rows(
    cells: HolderCells, holders: Sequence[Holder], held: Bools, other: Ints, movable_type: Bools
) -> tuple[Held, ...]:
    """The holders that have a page, ranked. *other* (int64[blocks]) is 0 in blocks that are not held."""
    mine = held[cells.block]
    block, who, there = cells.block[mine], cells.holder[mine], cells.pages[mine]
    alone = np.bincount(block, minlength=len(held))[block] == 1

    def total(weights: npt.NDArray[Any], who: Ints = who) -> list[int]:
        sums = np.zeros(len(holders), np.int64)
        np.add.at(sums, who, weights.astype(np.int64))
        return [int(n) for n in sums]

    columns: Sequence[list[int]] = (
        total(cells.pages, cells.holder),
        total(np.ones(len(who))),
        total(alone),
        total(movable_type[block]),
        total(there),
        total(other[block]),
        total(np.where(alone, other[block], 0)),
    )
    rows = [Held(holder, *values) for holder, *values in zip(holders, *columns, strict=True) if values[0]]
    return tuple(sorted(rows, key=_rank))


def _rank(row: Held) -> tuple[Any, ...]:
    """Most pages otherwise free or movable first; what may be no holder at all comes last."""
    holder = row.holder
    return (holder.kind == UNCLEAR, -row.otherwise, -row.blocks, -row.pages, holder.kind, holder.name)
