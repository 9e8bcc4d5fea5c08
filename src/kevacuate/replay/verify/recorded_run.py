# SPDX-License-Identifier: GPL-2.0-or-later
"""What the recorded run itself came to, from its events and dumps, in the measures of the counterfactual level."""

from __future__ import annotations

from collections import Counter

import numpy as np

from kevacuate.mm import constants as k
from kevacuate.recording import AllocatorState, EventChunk, EventKind, Recording
from kevacuate.replay.pagekinds import KPF_LRU, flag
from kevacuate.replay.start import pages_in_use

KPF_NOPAGE = 20
KPF_RESERVED = 32
"""Bits of /proc/kpageflags (include/uapi/linux/kernel-page-flags.h)."""

KERNELS_OWN = (k.MIGRATE_UNMOVABLE, k.MIGRATE_RECLAIMABLE)

ORDERS = 11


def recorded_moment(state: AllocatorState, pageblock_order: int) -> dict[str, float]:
    """The measures of one dump, by the names of the outcomes' columns without their moment.

    Pages are told apart by the dump's page flags; without those, only what the lists and blocks tell is there.
    """
    types = state.blocks.mt
    sizes = np.bincount(state.free.order.astype(np.int64), minlength=ORDERS)
    found: dict[str, float] = {
        "blocks_unmovable": int((types == k.MIGRATE_UNMOVABLE).sum()),
        "blocks_movable": int((types == k.MIGRATE_MOVABLE).sum()),
        "blocks_reclaimable": int((types == k.MIGRATE_RECLAIMABLE).sum()),
        "free_pages": int((sizes << np.arange(sizes.size)).sum()),
    }
    found |= {f"free_by_order {order}": int(sizes[order]) for order in range(ORDERS)}
    if state.page_flags is None:
        return found
    used = pages_in_use(state)
    flags = state.page_flags[: used.size]
    movable = used & flag(flags, KPF_LRU)
    unmovable = used & ~movable & ~flag(flags, KPF_RESERVED) & ~flag(flags, KPF_NOPAGE)
    blocks = state.blocks.pfn >> pageblock_order
    per_block = [np.bincount(np.flatnonzero(pages) >> pageblock_order) for pages in (movable, unmovable)]
    size = int(blocks.max(initial=0)) + 1
    lru, stuck = (np.pad(count, (0, max(size - count.size, 0)))[blocks] > 0 for count in per_block)
    return found | {
        "mixed": int((lru & stuck).sum()),
        "blocks_with_unmovable": int(stuck.sum()),
        "polluted": int((stuck & (types == k.MIGRATE_MOVABLE)).sum()),
    }


def recorded_counts(recording: Recording, start: AllocatorState) -> tuple[dict[str, int], dict[str, int]]:
    """Fallbacks and claim attempts among the events, by the outcomes' columns: before *start*, and over all.

    ``patch_events``: gt_evac events that only a patched kernel emits.
    """
    before: Counter[str] = Counter()
    after: Counter[str] = Counter()
    kinds = (EventKind.MM_PAGE_ALLOC_EXTFRAG, EventKind.GT_EVAC)
    for chunk in recording.events(kinds=kinds):
        for counts, rows in (
            (before, chunk.take(chunk.ts <= start.ts)),
            (after, chunk.take(chunk.ts > start.ts)),
        ):
            _count(rows, recording.machine.pageblock_order, counts)
    return dict(before), dict(before + after)


def _count(rows: EventChunk, pageblock_order: int, counts: Counter[str]) -> None:
    """Add what the rows show."""
    _count_fallbacks(rows.take(rows.kind == EventKind.MM_PAGE_ALLOC_EXTFRAG), pageblock_order, counts)
    evac = rows.take(rows.kind == EventKind.GT_EVAC)
    counts["patch_events"] += int((evac.order != 0).sum())
    refused = evac.take((evac.order == 0) & (evac.d == 0))
    theirs = np.isin(refused.a >> 8, KERNELS_OWN) & (refused.a & 255 == k.MIGRATE_MOVABLE)
    counts["claims_refused"] += int(theirs.sum())


def _count_fallbacks(rows: EventChunk, pageblock_order: int, counts: Counter[str]) -> None:
    """mm_page_alloc_extfrag: a = order of the chunk taken, b = its type, c = whether the block changed hands."""
    claimed = rows.c != 0
    theirs = np.isin(rows.mt, KERNELS_OWN) & (rows.b == k.MIGRATE_MOVABLE)
    below = rows.a < pageblock_order
    counts["claims_below_pageblock_order"] += int((claimed & theirs & below).sum())
    counts["claims_whole_block"] += int((claimed & theirs & ~below).sum())
    counts["steals_from_movable"] += int((~claimed & theirs).sum())
    counts["steals_by_movable"] += int((~claimed & (rows.mt == k.MIGRATE_MOVABLE)).sum())
