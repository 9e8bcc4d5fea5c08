# SPDX-License-Identifier: GPL-2.0-or-later
"""What every page of a recorded state is: the one place that says which pages can move and which class a page has.

*free*: on a free list. *pcp*: on a per-CPU list. *movable*: :func:`~kevacuate.kernel.pageflags.movable_pages`. *unmovable*: in
use otherwise. *reserved*: not the allocator's (:func:`~kevacuate.kernel.pageflags.absent_pages`, and what no zone spans). Free,
pcp and reserved pages are neither movable nor unmovable. On every dump of the ground truth's recordings this gives the numbers
of pages and blocks that their makers counted (tests/measure/test_measure_truth.py).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from kevacuate.kernel.pageflags import KPF_BUDDY, KPF_NOPAGE, Words, absent_pages, flag, movable_pages
from kevacuate.kernel.pcp import pcp_order
from kevacuate.recording.state import AllocatorState, page_count

PAGE_NAMES = ("free", "pcp", "movable", "unmovable", "reserved", "reclaimable", "in use")
"""Classes of a page. The last two are not told by page flags: pages that cannot move but were asked for as reclaimable (in a
replay), and pages of which a recorded state says only that they are in use, as it has no page flags."""
FREE, PCP, MOVABLE, UNMOVABLE, RESERVED, RECLAIMABLE, IN_USE = range(7)

Classes = npt.NDArray[np.uint8]


def flag_classes(words: Words) -> Classes:
    """The class of every page by its word of /proc/kpageflags (uint64[pages]) alone: FREE, MOVABLE, UNMOVABLE or RESERVED.

    Pages on per-CPU lists bear no flag of their own, so they count as unmovable.
    """
    classes = np.where(movable_pages(words), MOVABLE, UNMOVABLE).astype(np.uint8)
    classes[flag(words, KPF_BUDDY)] = FREE
    classes[absent_pages(words)] = RESERVED
    return classes


def page_classes(state: AllocatorState, hugepage_order: int) -> Classes:
    """The class of every page of a recorded state, uint8[pages up to the last zone's end].

    The free and per-CPU lists tell first, then the page flags, which were read some milliseconds later. A page that they show in
    the buddy and that no list held was in use, of unknown kind: it counts as unmovable. Without page flags all pages in use are
    IN_USE. Pages beyond the last word are reserved: /proc/kpageflags ends where memory does.
    """
    pages = page_count(state)
    if state.page_flags is None:
        classes = np.full(pages, IN_USE, np.uint8)
    else:
        words = np.full(pages, 1 << KPF_NOPAGE, np.uint64)
        known = min(pages, len(state.page_flags))
        words[:known] = state.page_flags[:known]
        classes = flag_classes(words)
        classes[classes == FREE] = UNMOVABLE
    inside = np.zeros(pages, np.bool_)
    for zone in state.zones:
        inside[int(zone.start_pfn) : int(zone.start_pfn) + int(zone.spanned)] = True
    classes[~inside] = RESERVED
    _mark(classes, state.pcp_pages.pfn, pcp_order(state.pcp_pages.pindex, hugepage_order), PCP)
    _mark(classes, state.free.pfn, state.free.order, FREE)
    return classes


def _mark(classes: Classes, pfn: npt.NDArray[np.int64], order: npt.NDArray[Any], value: int) -> None:
    """Give chunks a class; what sticks out of memory is left out."""
    for one in np.unique(order).tolist():
        heads = pfn[order == one]
        heads = heads[(heads >= 0) & (heads + (1 << one) <= len(classes))]
        for i in range(1 << one):
            classes[heads + i] = value


def count_classes(classes: Classes, pageblock_order: int) -> npt.NDArray[np.int32]:
    """Pages of each class by block, int32[blocks, len(PAGE_NAMES)]; a last part of a block counts as one."""
    blocks = -(-len(classes) >> pageblock_order)
    width = len(PAGE_NAMES)
    block = np.arange(len(classes)) >> pageblock_order
    counts = np.bincount(block * width + classes, minlength=blocks * width)
    return counts.reshape(blocks, width).astype(np.int32)
