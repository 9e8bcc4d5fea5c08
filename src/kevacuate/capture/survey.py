# SPDX-License-Identifier: GPL-2.0-or-later
"""The state of the running machine's memory now: by zone, and what is in each pageblock."""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kevacuate.capture.machine import PROC, UNMODELLED_ZONE, describe, page_flags_unread
from kevacuate.capture.snapshots import read_ahead, take_counts
from kevacuate.kernel.pageflags import KPF_BUDDY, KPF_HUGE, KPF_THP, flag, tails_as_heads
from kevacuate.measure.blocks import is_mixed
from kevacuate.measure.mixed_bounds import Bounds, mixed_bounds
from kevacuate.recording.blocktypes import BlockPages
from kevacuate.recording.presence import absent_blocks, silent_blocks
from kevacuate.recording.snapshot import Snapshot

ABSENT, RESERVED, FREE, MOVABLE, MIXED, FIXED, UNCLEAR = range(7)
CLASSES = ("absent", "reserved", "free", "movable", "mixed", "unmovable", "unclear")
"""What a pageblock is: none, but a hole; all of it reserved; free; free or movable; pages that cannot move beside such that
can; pages that cannot move and free ones; unclear: only pages without any flag, which are the kernel's or on a per-CPU list,
stand between it and free or movable."""


class SurveyedBlocks(NamedTuple):
    """Pages of each block by kind [blocks]."""

    free: npt.NDArray[np.int32]
    """In the buddy."""
    movable: npt.NDArray[np.int32]
    """Can move (:func:`kevacuate.kernel.pageflags.movable_pages`)."""
    slab: npt.NDArray[np.int32]
    tables: npt.NDArray[np.int32]
    """Page tables."""
    other: npt.NDArray[np.int32]
    """The kernel's, with some other flag."""
    unclear: npt.NDArray[np.int32]
    """Without any flag: the kernel's, or on a per-CPU list."""
    huge: npt.NDArray[np.int32]
    """Of transparent or hugetlb huge pages."""


@dataclass(frozen=True)
class Survey:
    """The machine now."""

    counts: Snapshot
    block_order: int
    blocks: SurveyedBlocks
    kernel: str
    absent: npt.NDArray[np.bool_]
    """Which blocks do not exist [blocks]."""
    lists_known: bool = False
    """Pages on per-CPU lists are counted as free: unclear ones are the kernel's."""

    @property
    def classes(self) -> npt.NDArray[np.uint8]:
        """The class of each block [blocks]."""
        b = self.blocks
        fixed = self.fixed
        result = np.full(len(b.free), RESERVED, np.uint8)
        result[b.free > 0] = FREE
        result[b.movable > 0] = MOVABLE
        result[(fixed == 0) & (b.unclear > 0)] = FIXED if self.lists_known else UNCLEAR
        result[(b.free + b.movable == 0) & (b.unclear > 0)] = (
            FIXED  # a whole block: too much for a per-CPU list
        )
        result[(b.movable == 0) & (fixed > 0)] = FIXED
        result[is_mixed(b.movable, fixed)] = MIXED
        result[self.absent] = ABSENT
        return result

    @property
    def fixed(self) -> npt.NDArray[np.int32]:
        """Pages of each block that cannot move for certain [blocks]."""
        b = self.blocks
        return b.slab + b.tables + b.other + (b.unclear if self.lists_known else 0)

    @property
    def mixed(self) -> Bounds:
        """How many blocks are mixed, as far as flags and the number of pages on per-CPU lists tell."""
        unclear = np.zeros_like(self.blocks.unclear) if self.lists_known else self.blocks.unclear
        cached = sum(pcp.count for zone in self.counts.zones for pcp in zone.pcp)
        there = ~self.absent
        return mixed_bounds(self.blocks.movable[there], self.fixed[there], unclear[there], cached)

    @property
    def blocks_by_class(self) -> dict[str, int]:
        """Name of a class to how many blocks are of it; holes, which are no blocks, are "absent"."""
        classes = self.classes
        return {name: int((classes == i).sum()) for i, name in enumerate(CLASSES)}

    def to_json(self) -> dict[str, Any]:
        """Zones, totals and every block, as plain JSON values."""
        classes = self.classes
        return {
            "kernel": self.kernel,
            "pageblock_order": self.block_order,
            "zones": [asdict(zone) for zone in self.counts.zones],
            "vmstat": self.counts.vmstat,
            "mixed_blocks": self.mixed._asdict(),
            "blocks_by_class": {k: n for k, n in self.blocks_by_class.items() if k != CLASSES[ABSENT]},
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
    zones = [zone for zone in take_counts("now").zones if zone.name != UNMODELLED_ZONE]
    machine = describe(1, {}, {})
    order = machine.pageblock_order
    parts: list[SurveyedBlocks] = []
    silent: list[npt.NDArray[np.bool_]] = []
    top = max((zone.start_pfn + zone.spanned for zone in zones), default=0)
    try:
        file = os.open(PROC / "kpageflags", os.O_RDONLY)
    except OSError as error:
        raise page_flags_unread(PROC / "kpageflags", error) from None
    try:
        with closing(read_ahead(file, top)) as steps:
            for words in steps:
                parts.append(count_blocks(tails_as_heads(words), order))
                silent.append(silent_blocks(words, order))
    finally:
        os.close(file)
    columns = [np.concatenate([part[i] for part in parts]) for i in range(len(SurveyedBlocks._fields))]
    counts = take_counts("now")
    zones = [zone for zone in counts.zones if zone.name != UNMODELLED_ZONE]
    absent = absent_blocks(np.concatenate(silent), zones, order)
    return Survey(counts, order, SurveyedBlocks(*columns), machine.kernel, absent)


def count_blocks(flags: npt.NDArray[np.uint64], block_order: int) -> SurveyedBlocks:
    """Pages by kind of the blocks that begin with the first of these pages; a last part of a block counts as one."""
    pages = BlockPages(flags, flag(flags, KPF_BUDDY).astype(np.uint8), block_order)
    huge = pages.per_block(flag(flags, KPF_HUGE) | flag(flags, KPF_THP))
    unclear = pages.per_block(flags == 0)
    columns = (pages.free, pages.movable, pages.slab, pages.tables, pages.other - unclear, unclear, huge)
    return SurveyedBlocks(*(column.astype(np.int32) for column in columns))
