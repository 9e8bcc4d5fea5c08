# SPDX-License-Identifier: GPL-2.0-or-later
"""Which pageblocks exist: a zone spans holes, and memory that the kernel has not yet given to the allocator.

/proc/kpageflags shows 0 (before 6.x KPF_NOPAGE) for a page that is not online, and 0 for one whose struct page was never set
up; it shows 0, too, for the kernel's own pages. So a block of zeros alone is a hole, or all the kernel's: the number of
blocks of /proc/pagetypeinfo, which counts those that exist, tells how many are the latter.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from kevacuate.kernel.pageflags import KPF_NOPAGE
from kevacuate.recording.snapshot import ZoneCounts

_NOPAGE = np.uint64(1 << KPF_NOPAGE)
Bools = npt.NDArray[np.bool_]


def silent_blocks(words: npt.NDArray[np.uint64], block_order: int) -> Bools:
    """Per pageblock [ceil(pages / block)]: no page shows a flag, KPF_NOPAGE aside."""
    size = 1 << block_order
    padded = np.zeros(-(-len(words) // size) * size, np.uint64)
    padded[: len(words)] = words & ~_NOPAGE
    return np.asarray(~padded.reshape(-1, size).any(axis=1))


def absent_blocks(
    silent: Bools, zones: Sequence[ZoneCounts], block_order: int, later: Bools | None = None
) -> Bools:
    """Which of the silent blocks do not exist [blocks].

    Of each zone as many silent blocks exist as /proc/pagetypeinfo counts beyond those that show something: the ones in the
    shortest runs of silent blocks, as holes are long, and of those the lowest; those that came later last. Without its counts
    none exists.

    Parameters
    ----------
    silent : bool[blocks]
        Blocks that show nothing (:func:`silent_blocks`).
    zones : sequence of ZoneCounts
        With the counts of the same moment.
    block_order : int
        Pageblock order.
    later : bool[blocks], optional
        Silent blocks that the allocator seems to have been given only later.

    """
    absent = silent.copy()
    for zone in zones:
        first = zone.start_pfn >> block_order
        end = min(-(-(zone.start_pfn + zone.spanned) >> block_order), len(silent))
        here = silent[first:end]
        missing = sum(zone.blocks_by_type.values()) - int((~here).sum())
        if missing <= 0 or not zone.blocks_by_type:
            continue
        candidates = np.flatnonzero(here)
        runs = _run_lengths(here)[candidates]
        given = np.zeros(len(candidates), np.bool_) if later is None else later[first:end][candidates]
        chosen = candidates[np.lexsort((candidates, runs, given))[:missing]]
        absent[first + chosen] = False
    return absent


def _run_lengths(marked: Bools) -> npt.NDArray[np.int64]:
    """Of every entry the length of the run of equal entries that it is in."""
    change = np.flatnonzero(marked[1:] != marked[:-1]) + 1
    bounds = np.concatenate([[0], change, [len(marked)]])
    return np.repeat(np.diff(bounds), np.diff(bounds)).astype(np.int64)
