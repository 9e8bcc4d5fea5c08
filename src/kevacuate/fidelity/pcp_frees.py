# SPDX-License-Identifier: GPL-2.0-or-later
"""Which frees reach the per-CPU lists, compiled, where a recording does not show insertions (gt_rmq 5).

The functions take a level's books *b*, its events *e* and a :class:`Scratch` *w*. The books have the arrays ``fate``,
``phase``, ``scanned``, ``freed_order``, ``alloc_order`` and ``used``, as in :class:`kevacuate.fidelity.pcp.books.PcpBooks`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kevacuate.jit import part
from kevacuate.mm.fields import View
from kevacuate.recording import EventChunk
from kevacuate.recording import event_numbers as ev

F_EPOCH = 6  # fact: number of the last find_fates
F_ROWS = 9  # fact: rows at hand

# What becomes of a freed page next.
FATE_OTHER = 0
FATE_BATCHED = 1
FATE_BUDDY = 2
FATE_FREED = 3  # freed again: this time it went back to compaction's private list (compaction_free)
FATE_GROUPED = 4  # freed with its neighbours as one chunk

MIGRATING = 16  # flag beside the fate: compaction's migrate_pages is not over; of an unused page it is compaction_free

GROUP = -2
"""In place of an order: the page and its neighbours go in as larger chunks."""


class Scratch(NamedTuple):
    """Per row of the events at hand."""

    fate: npt.NDArray[np.int64]
    """What the next event of a freed page is."""


@part(inline=True)
def unused(b: Any, pfn: int, order: int) -> None:
    """Note that no event has shown an allocation of these pages since."""
    for page in range(pfn, pfn + (1 << order)):
        b.used[page] = 0


@part
def find_fates(b: Any, e: EventChunk, w: Any, rows: int) -> None:
    """For each free what the page's next event is: batched, straight to the buddy lists, or something else."""
    b.facts[F_EPOCH] += 1
    epoch = b.facts[F_EPOCH] << 4
    i = rows - 1
    while i >= 0:
        kind, pfn = e.kind[i], e.pfn[i]
        if kind == ev.MM_PAGE_FREE or kind == ev.MM_PAGE_FREE_BATCHED:
            known = b.fate[pfn] + 0
            w.fate[i] = known & 15 if known >= epoch else 0
            if b.phase[e.pid[i] & 4095] == epoch:
                w.fate[i] |= MIGRATING
            b.fate[pfn] = epoch | (FATE_BATCHED if kind == ev.MM_PAGE_FREE_BATCHED else FATE_FREED)
        elif kind == ev.GT_RMQ and e.a[i] == ev.RMQ_FREE:
            for page in range(pfn, pfn + (1 << e.order[i])):
                b.fate[page] = epoch | FATE_BUDDY
        elif kind <= ev.MM_PAGE_ALLOC_EXTFRAG and pfn >= 0:
            b.fate[pfn] = epoch
        elif kind == ev.COMPACTION_MIGRATEPAGES:
            b.phase[e.pid[i] & 4095] = epoch
        elif kind == ev.COMPACTION_BEGIN or kind == ev.COMPACTION_END:
            b.phase[e.pid[i] & 4095] = 0
        i -= 1


@part(cold=True)
def scans(b: Any, e: EventChunk, i: int) -> None:
    """mm_compaction_isolate_migratepages: what the task frees out of there is a page that has been migrated away."""
    at = 2 * (e.pid[i] & 4095)
    b.scanned[at] = e.pfn[i]
    b.scanned[at + 1] = e.a[i]


@part(inline=True)
def scanned(b: Any, pid: int, pfn: int) -> bool:
    """Whether the page lies where the task's migrate scanner was last."""
    at = 2 * (pid & 4095)
    return b.scanned[at] <= pfn < b.scanned[at + 1]


@part(inline=True)
def inserted_order(b: Any, e: EventChunk, w: Any, i: int) -> int:
    """Order of the chunk that goes into a per-CPU list at this free; GROUP, or -1 if none does.

    A free is inserted when it is freed, or batched, unless it bypasses the lists.
    """
    pfn = e.pfn[i] + 0
    if e.kind[i] == ev.MM_PAGE_FREE:
        b.freed_order[pfn] = e.order[i]
        if w.fate[i] & MIGRATING and not b.used[pfn] and not scanned(b, e.pid[i] + 0, pfn):
            return -1
        if e.order[i] == 0 and b.alloc_order[pfn] > 0 and w.fate[i] == FATE_OTHER:
            return GROUP
    return b.freed_order[pfn] + 0 if w.fate[i] & 15 == FATE_OTHER else -1


@part(cold=True)
def group_end(b: Any, e: EventChunk, w: Any, i: int) -> int:
    """First pfn after the run of pages of a split chunk that are freed one by one (vfree); they count as done."""
    rows, cpu, end = b.facts[F_ROWS], e.cpu[i], e.pfn[i] + 0
    j = i
    while j < rows:
        if e.cpu[j] == cpu:
            if e.kind[j] != ev.MM_PAGE_FREE or e.order[j] != 0 or e.pfn[j] != end or w.fate[j] != FATE_OTHER:
                break
            w.fate[j] = FATE_GROUPED
            b.alloc_order[end] = 0
            end += 1
        j += 1
    return end


@part(cold=True)
def group_order(s: View, first: int, end: int) -> int:
    """Order of the first chunk into which __free_contig_range regroups the pages (:6902 at 7.2)."""
    order = 0
    while order < s.cfg.max_page_order and first & (1 << order) == 0 and first + (2 << order) <= end:
        order += 1
    return order
