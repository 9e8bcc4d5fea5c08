# SPDX-License-Identifier: GPL-2.0-or-later
"""Do the lists read from a kernel's memory fit together? What is wrong says whether a dump can be believed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kevacuate.capture.vmcore_lists import ZoneReader
from kevacuate.capture.vmcore_pages import PageWords
from kevacuate.kernel.migratetypes import MIGRATE_ISOLATE
from kevacuate.kernel.pcp import pcp_order
from kevacuate.recording.state import AllocatorState, FreePages

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ListCheck:
    """One thing that must hold: what, whether it does, and figures."""

    name: str
    holds: bool
    found: str


def chunks_by_order(free: FreePages, zone: int, orders: int) -> tuple[int, ...]:
    """Free chunks of a zone by order."""
    counts = np.bincount(free.order[free.zone == zone].astype(np.int64), minlength=orders)
    return tuple(int(n) for n in counts[:orders])


def pages_of(pfn: Ints, order: Ints) -> Ints:
    """Every page of these chunks."""
    parts = [(pfn[order == n][:, None] + np.arange(1 << n)).ravel() for n in np.unique(order).tolist()]
    return np.concatenate([np.empty(0, np.int64), *parts])


def check_lists(
    state: AllocatorState,
    zones: list[ZoneReader],
    counters: list[tuple[tuple[int, ...], int]],
    words: PageWords,
    hugepage_order: int,
) -> tuple[ListCheck, ...]:
    """All checks.

    Parameters
    ----------
    state : AllocatorState
        What was read.
    zones : list of ZoneReader
        Its zones, in order of their index.
    counters : list
        Of each zone: free_area[].nr_free by order, and NR_FREE_PAGES; read with the lists.
    words : PageWords
        What the struct pages say.
    hugepage_order : int
        Order of the chunks on the last per-CPU lists.

    """
    free, pcp = state.free, state.pcp_pages
    order = pcp_order(pcp.pindex, hugepage_order)
    chunk_pfn = np.concatenate([free.pfn, pcp.pfn])
    chunk_order = np.concatenate([free.order.astype(np.int64), order])
    return (
        *_counted(state, zones, counters),
        _pcp_counted(state, order),
        _disjoint(chunk_pfn, chunk_order),
        _placed(chunk_pfn, chunk_order, zones, np.concatenate([free.zone, pcp.zone])),
        _merged(state, zones[0].sizes.orders),
        _marked(free, words),
    )


def _counted(
    state: AllocatorState, zones: list[ZoneReader], counters: list[tuple[tuple[int, ...], int]]
) -> tuple[ListCheck, ListCheck]:
    by_order, pages = [], []
    for zone, (nr_free, total) in zip(zones, counters, strict=True):
        listed = chunks_by_order(state.free, zone.index, zone.sizes.orders)
        by_order.append((listed, nr_free))
        mine = (state.free.zone == zone.index) & (state.free.mt != MIGRATE_ISOLATE)
        pages.append((int((1 << state.free.order[mine].astype(np.int64)).sum()), total))
    listed_chunks = sum(sum(listed) for listed, _ in by_order)
    wrong = sum(a != b for listed, nr_free in by_order for a, b in zip(listed, nr_free, strict=True))
    figures = f"{listed_chunks:,} chunks" + (f", {wrong} counts of an order differ" if wrong else "")
    sums = ", ".join(f"{a:,} of {b:,}" for a, b in pages)
    return (
        ListCheck("free lists as long as nr_free of every order says", wrong == 0, figures),
        ListCheck("pages on them as NR_FREE_PAGES says", all(a == b for a, b in pages), f"{sums} pages"),
    )


def _pcp_counted(state: AllocatorState, order: Ints) -> ListCheck:
    pages = state.pcp_pages
    wrong = total = 0
    for row in range(len(state.pcp.zone)):
        mine = (pages.zone == state.pcp.zone[row]) & (pages.cpu == state.pcp.cpu[row])
        listed = int((1 << order[mine]).sum())
        total += listed
        wrong += listed != int(state.pcp.count[row])
    found = f"{total:,} pages" + (f", {wrong} counts differ" if wrong else "")
    return ListCheck("per-CPU lists as long as their counts say", wrong == 0, found)


def _disjoint(pfn: Ints, order: Ints) -> ListCheck:
    pages = pages_of(pfn, order)
    twice = len(pages) - len(np.unique(pages))
    found = f"{len(pages):,} pages" + (f", {twice:,} of them twice" if twice else "")
    return ListCheck("no page on two lists", twice == 0, found)


def _placed(pfn: Ints, order: Ints, zones: list[ZoneReader], zone: npt.NDArray[np.int16]) -> ListCheck:
    first = np.array([z.start_pfn for z in zones])[zone]
    end = first + np.array([z.spanned for z in zones])[zone]
    size = np.left_shift(1, order)
    wrong = int(((pfn & (size - 1) != 0) | (pfn < first) | (pfn + size > end)).sum())
    return ListCheck(
        "chunks aligned, inside their zone", wrong == 0, f"{len(pfn):,} chunks, {wrong:,} are not"
    )


def _merged(state: AllocatorState, orders: int) -> ListCheck:
    """Two free buddies of one order in one zone: __free_one_page merges them, but for isolated blocks, and while
    a pageblock's type forbids it (page_is_buddy, and the checks above pageblock_order).
    """
    free, unmerged = state.free, 0
    isolated = free.mt == MIGRATE_ISOLATE
    for order in range(orders - 1):
        here = (free.order == order) & ~isolated
        for zone in np.unique(free.zone[here]).tolist():
            heads = free.pfn[here & (free.zone == zone)]
            unmerged += int(np.isin(heads ^ (1 << order), heads).sum()) // 2
    return ListCheck("no two free buddies unmerged", unmerged == 0, f"{unmerged:,} pairs")


def _marked(free: FreePages, words: PageWords) -> ListCheck:
    listed = free.pfn * 64 + free.order
    marked = words.buddy_pfn * 64 + words.buddy_order
    wrong = len(np.setxor1d(listed, marked))
    found = f"{len(marked):,} heads marked" + (f", {wrong:,} differ" if wrong else "")
    return ListCheck("exactly the chunks on the lists marked as free, of that order", wrong == 0, found)
