# SPDX-License-Identifier: GPL-2.0-or-later
"""The state of the running machine's memory now: by zone, and what is in each pageblock."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kevacuate.capture.machine import PROC, UNMODELLED_ZONE, describe
from kevacuate.capture.snapshots import STEP, page_words, take_counts, top_pfn
from kevacuate.errors import KevacuateError
from kevacuate.kernel.pageflags import KPF_BUDDY, KPF_HUGE, KPF_THP, flag, tails_as_heads
from kevacuate.measure.blocks import is_mixed
from kevacuate.recording.blocktypes import BlockPages
from kevacuate.recording.snapshot import Snapshot

ABSENT, RESERVED, FREE, MOVABLE, MIXED, FIXED = range(6)
CLASSES = ("absent", "reserved", "free", "movable", "mixed", "unmovable")
"""What a pageblock is: no page of the allocator's; all of it reserved; free; free or movable; pages that cannot
move beside such that can; pages that cannot move and free ones."""


class BlockCounts(NamedTuple):
    """Pages of each block by kind [blocks]."""

    free: npt.NDArray[np.int32]
    """In the buddy."""
    movable: npt.NDArray[np.int32]
    """Can move (:func:`kevacuate.kernel.pageflags.movable_pages`)."""
    slab: npt.NDArray[np.int32]
    tables: npt.NDArray[np.int32]
    """Page tables."""
    other: npt.NDArray[np.int32]
    """Without such a flag: the kernel's, and those on per-CPU lists, which look the same."""
    huge: npt.NDArray[np.int32]
    """Of transparent or hugetlb huge pages."""


@dataclass(frozen=True)
class Survey:
    """The machine now."""

    counts: Snapshot
    block_order: int
    blocks: BlockCounts
    kernel: str

    @property
    def classes(self) -> npt.NDArray[np.uint8]:
        """The class of each block [blocks]."""
        b = self.blocks
        fixed = b.slab + b.tables + b.other
        named = b.free + b.movable + b.slab + b.tables
        result = np.full(len(b.free), RESERVED, np.uint8)
        result[(named == 0) & (b.other == 1 << self.block_order)] = (
            ABSENT  # no flag at all: a hole, or not yet in use
        )
        result[(b.free > 0) & (b.movable == 0) & (fixed == 0)] = FREE
        result[(b.movable > 0) & (fixed == 0)] = MOVABLE
        result[is_mixed(b.movable, fixed)] = MIXED
        result[(b.movable == 0) & (fixed > 0) & (named > 0)] = FIXED
        return result

    def to_json(self) -> dict[str, Any]:
        """Zones, totals and every block, as plain JSON values."""
        classes = self.classes
        return {
            "kernel": self.kernel,
            "pageblock_order": self.block_order,
            "zones": [asdict(zone) for zone in self.counts.zones],
            "vmstat": self.counts.vmstat,
            "blocks_by_class": {name: int((classes == i).sum()) for i, name in enumerate(CLASSES)},
            "pages": {name: int(column.sum()) for name, column in self.blocks._asdict().items()},
            "blocks": {
                "class": [CLASSES[c] for c in classes.tolist()],
                **{name: column.tolist() for name, column in self.blocks._asdict().items()},
            },
        }


def take_survey() -> Survey:
    """Read /proc: a second for every few GiB.

    Raises
    ------
    KevacuateError
        /proc/kpageflags cannot be read.

    """
    counts = take_counts("now")
    machine = describe(1, {}, {})
    order = machine.pageblock_order
    parts: list[BlockCounts] = []
    zones = [zone for zone in counts.zones if zone.name != UNMODELLED_ZONE]
    top = top_pfn(counts) if zones else 0
    try:
        file = os.open(PROC / "kpageflags", os.O_RDONLY)
    except OSError as error:
        raise KevacuateError(
            f"{PROC / 'kpageflags'} cannot be read ({error.strerror}): run it with sudo."
        ) from None
    try:
        for first in range(0, top, STEP):
            words = page_words(file, first, min(STEP, top - first))
            parts.append(count_blocks(tails_as_heads(words), order))
    finally:
        os.close(file)
    columns = [np.concatenate([part[i] for part in parts]) for i in range(len(BlockCounts._fields))]
    return Survey(counts, order, BlockCounts(*columns), machine.kernel)


def count_blocks(flags: npt.NDArray[np.uint64], block_order: int) -> BlockCounts:
    """Pages by kind of the blocks that begin with the first of these pages; a last part of a block counts as one."""
    pages = BlockPages(flags, flag(flags, KPF_BUDDY).astype(np.uint8), block_order)
    huge = pages.per_block(flag(flags, KPF_HUGE) | flag(flags, KPF_THP))
    columns = (pages.free, pages.movable, pages.slab, pages.tables, pages.other, huge)
    return BlockCounts(*(column.astype(np.int32) for column in columns))
