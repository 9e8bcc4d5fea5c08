# SPDX-License-Identifier: GPL-2.0-or-later
"""What blocks hold, as the tables of repeats have it: free pages by one read of memory, pages that can move by a later one.

A snapshot of those boots is the hooks' dump, with free and per-CPU lists, and then /proc/kpageflags. What is reclaimed between
the two was in use, and is on no LRU list any more, so the tables count it among the pages that cannot move. Recordings with the
LRU lists in the dump show it (pressure, seed 1, five boots): at the peak 19 to 117 blocks were polluted by the two reads, 15 to
24 by the dump alone. A replay is read twice, too.

Free pages are those of /proc/buddyinfo, which is read between the two. By then kswapd has run. In those five boots buddyinfo and
vmstat, read behind it, agree to 8 pages; the dump has up to 1,785 fewer. So they are counted at the second read.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kevacuate.measure.blocks import block_kinds
from kevacuate.measure.look import CLASSES, View, look_at
from kevacuate.measure.pages import FREE, MOVABLE, RECLAIMABLE, UNMOVABLE, count_classes
from kevacuate.mm.layout import State

FLAGS_NS = 60_000_000
"""How long after the dump the page flags are read, ns of the boots' time: half of the 0.12 s that the shortest of 20 snapshots
took. With 50, 100 and 200 ms replays have 107, 114 and 119 mixed blocks at the peak of pressure (12 seeds)."""


class Read(NamedTuple):
    """One read of a replay's memory."""

    classes: npt.NDArray[np.uint8]
    """The class of every page, pages that cannot move being UNMOVABLE."""
    mt: npt.NDArray[np.int8]
    """The migratetype of every block, -1 where there is none."""


def read_pages(state: State) -> Read:
    """What every page of a replay's memory is now."""
    order = state.view.cfg.pageblock_order
    blocks = state.view.cfg.npages >> order
    view = View(
        np.zeros(state.obj.size, np.uint8),
        np.zeros(blocks, np.int8),
        np.zeros(blocks, np.uint8),
        np.zeros(blocks * CLASSES, np.int32),
        np.zeros(blocks << order, np.uint8),
    )
    look_at(state, view, True)
    classes = np.where(view.classes == RECLAIMABLE, UNMOVABLE, view.classes).astype(np.uint8)
    return Read(classes, view.mt)


def held_by_two_reads(dump: Read, flags: Read, pageblock_order: int) -> dict[str, float]:
    """Mixed blocks, polluted ones, those with a page that cannot move, and free pages, by the names of the outcomes' columns.

    A page that is in use in the first read can move if it can in the second, which counts free pages, too.
    """
    used = (dump.classes == MOVABLE) | (dump.classes == UNMOVABLE)
    later = np.where(flags.classes == MOVABLE, MOVABLE, UNMOVABLE)
    pages = count_classes(np.where(used, later, dump.classes).astype(np.uint8), pageblock_order)
    there = dump.mt >= 0
    kinds = block_kinds(dump.mt[there], pages[there, MOVABLE], pages[there, UNMOVABLE])
    mixed, polluted, pinned = (float(np.count_nonzero(which)) for which in kinds)
    free = float(np.count_nonzero(flags.classes == FREE))
    return {"mixed": mixed, "polluted": polluted, "blocks_with_unmovable": pinned, "free_pages": free}
