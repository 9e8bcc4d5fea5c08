# SPDX-License-Identifier: GPL-2.0-or-later
"""Metrics of one moment and of a run, each with its formula and source."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from kevacuate.measure.blocks import FREE, MOVABLE, PCP, RESERVED, UNMOVABLE, BlockCounts, block_counts
from kevacuate.mm import constants as k
from kevacuate.mm.layout import State

REGIONS = (("2m", 9), ("32m", 13), ("1g", 18))
"""Region name and its order in pages of 4 KiB (Contiguitas, ISCA'23, uses the same three sizes)."""


def fragmentation_index(nr_free: npt.NDArray[np.int64], order: int) -> int:
    """__fragmentation_index in thousandths (mm/vmstat.c:1102 at 7.2); -1000 where a free chunk of *order* exists.

    *nr_free* is the number of free chunks by order, all types.
    """
    total = int(nr_free.sum())
    if total == 0:
        return 0
    if int(nr_free[order:].sum()) > 0:
        return -1000
    pages = int((nr_free << np.arange(len(nr_free))).sum())
    return 1000 - (1000 + pages * 1000 // (1 << order)) // total


def unusable_free_index(nr_free: npt.NDArray[np.int64], order: int) -> int:
    """unusable_free_index in thousandths: the share of free memory in chunks smaller than *order* (mm/vmstat.c:2308 at 7.2)."""
    pages = int((nr_free << np.arange(len(nr_free))).sum())
    if pages == 0:
        return 1000
    suitable = int((nr_free[order:] << np.arange(order, len(nr_free))).sum())
    return (pages - suitable) * 1000 // pages


def region_metrics(counts: BlockCounts, order: int, pageblock_order: int) -> dict[str, int]:
    """Aligned regions of 2**order pages, by what they hold.

    ``free``: every page free or on a pcp list. ``movable_only``: no page that cannot move and none reserved, so that
    migration alone could empty it (the free ones included). ``tainted``: at least one page that cannot move.
    Regions smaller than a pageblock are counted as pageblocks; those that stick out of memory are counted, with what is
    missing reserved.
    """
    order = max(order, pageblock_order)
    region = counts.start >> order
    names, where = np.unique(region, return_inverse=True)
    pages = np.zeros((len(names), 5), np.int64)
    np.add.at(pages, where, counts.pages)
    whole = pages[:, :RESERVED].sum(axis=1) == 1 << order
    tainted = pages[:, UNMOVABLE] > 0
    free = whole & (pages[:, FREE] + pages[:, PCP] == 1 << order)
    return {
        "regions": len(names),
        "free": int(free.sum()),
        "movable_only": int((whole & ~tainted).sum()),
        "tainted": int(tainted.sum()),
    }


def moment(state: State) -> dict[str, Any]:
    """Everything that is measured at one moment of virtual time; counts in pages or pageblocks.

    ``mixed_blocks``: pageblocks with at least one page that cannot move beside at least one that can.
    ``polluted_blocks``: of movable type, with a page that cannot move; ``polluted_pages``: how many such pages they hold.
    ``huge_pages_free``: free chunks of huge-page order, those split from larger ones included:
    the huge pages that can be had at once.
    """
    counts, free_by = block_counts(state)
    pageblock_order = int(state.cfg[k.C_PAGEBLOCK_ORDER])
    orders = int(state.cfg[k.C_MAX_PAGE_ORDER]) + 1
    unmovable, movable = counts.pages[:, UNMOVABLE], counts.pages[:, MOVABLE]
    mixed = (unmovable > 0) & (movable > 0)
    polluted = (counts.mt == k.MIGRATE_MOVABLE) & (unmovable > 0)
    nr_free = free_by.sum(axis=1)[:orders]
    huge = int(state.cfg[k.C_HPAGE_ORDER]) if int(state.cfg[k.C_HPAGE_ORDER]) > 0 else pageblock_order
    result: dict[str, Any] = {
        "blocks": {name: int((counts.mt == i).sum()) for i, name in enumerate(k.MIGRATE_NAMES)},
        "mixed_blocks": int(mixed.sum()),
        "mixed_unmovable_pages": int(unmovable[mixed].sum()),
        "polluted_blocks": int(polluted.sum()),
        "polluted_pages": int(unmovable[polluted].sum()),
        "blocks_with_unmovable": int((unmovable > 0).sum()),
        "free_pages": int(counts.pages[:, FREE].sum()),
        "pcp_pages": int(counts.pages[:, PCP].sum()),
        "movable_pages": int(movable.sum()),
        "unmovable_pages": int(unmovable.sum()),
        "free_chunks": {name: free_by[:orders, i].tolist() for i, name in enumerate(k.MIGRATE_NAMES)},
        "huge_pages_free": int((nr_free[huge:] << np.arange(orders - huge)).sum()),
        "unusable_free_index": [unusable_free_index(nr_free, order) for order in range(orders)],
        "fragmentation_index": [fragmentation_index(nr_free, order) for order in range(orders)],
    }
    for name, order in REGIONS:
        result[f"regions_{name}"] = region_metrics(counts, order, pageblock_order)
    return result


def extfrag_events(state: State) -> list[dict[str, Any]]:
    """mm_page_alloc_extfrag events by kind, type asked for, type taken from and order of the chunk taken."""
    table = state.stat[k.T_EXTFRAG : k.T_EXTFRAG + 3 * 3 * 3 * 16].reshape(3, 3, 3, 16)
    return [
        {
            "kind": ("steal", "claim", "claim_block")[kind],
            "for": k.MIGRATE_NAMES[start],
            "from": k.MIGRATE_NAMES[source],
            "order": int(order),
            "events": int(table[kind, start, source, order]),
        }
        for kind, start, source, order in np.argwhere(table > 0).tolist()
    ]


def so_far(state: State) -> dict[str, int]:
    """The counters a time series shows, since the start: extfrag events by kind, evacuations, pages, worker time (ns)."""
    table = state.stat[k.T_EXTFRAG : k.T_EXTFRAG + 3 * 3 * 3 * 16].reshape(3, -1)
    names = (
        "evacuations_queued",
        "evacuations_dropped",
        "evacuations_started",
        "evacuations_movable_again",
        "evacuations_finished",
        "pages_isolated",
        "pages_dropped",
        "pages_migrated",
        "compaction_pages_migrated",
    )
    return {
        "steals": int(table[0].sum()),
        "claims": int(table[1].sum()),
        "claims_whole_block": int(table[2].sum()),
        **{name: int(state.stat[_COUNTERS[name]]) for name in names},
        "worker_ns": int(state.stat[k.T_WORKER_NS]),
    }


def run_metrics(state: State, end: dict[str, Any] | None = None) -> dict[str, Any]:
    """What a whole run did, from the counters, and its last moment: *end*, where it has been measured already."""
    stat = {name: int(state.stat[index]) for name, index in _COUNTERS.items()}
    table = state.stat[k.T_EXTFRAG : k.T_EXTFRAG + 3 * 3 * 3 * 16].reshape(3, 3, 3, 16)
    movable = k.MIGRATE_MOVABLE
    kernel_own = [k.MIGRATE_UNMOVABLE, k.MIGRATE_RECLAIMABLE]
    ended = state.stat[k.T_WHY : k.T_WHY + len(k.WHY_NAMES)]
    return {
        **stat,
        "worker_cpu_seconds": int(state.stat[k.T_WORKER_NS]) / 1e9,
        "compaction_cpu_seconds": int(state.stat[k.T_COMPACT_NS]) / 1e9,
        "evacuations_ended": {name: int(n) for name, n in zip(k.WHY_NAMES, ended, strict=True)},
        "extfrag": int(table.sum()),
        "extfrag_below_pageblock": int(table[:, :, :, : int(state.cfg[k.C_PAGEBLOCK_ORDER])].sum()),
        "claims_from_movable": int(table[1][kernel_own, movable].sum()),
        "claims_whole_block_from_movable": int(table[2][kernel_own, movable].sum()),
        "steals_from_movable": int(table[0][kernel_own, movable].sum()),
        "steals_by_movable": int(table[0][movable].sum()),
        "extfrag_events": extfrag_events(state),
        "end": moment(state) if end is None else end,
    }


_COUNTERS = {
    "allocations": k.T_ALLOCS,
    "allocations_failed": k.T_ALLOC_FAILED,
    "frees": k.T_FREES,
    "frees_of_dropped": k.T_DROPPED_THEN_FREED,
    "frees_of_failed": k.T_FAILED_THEN_FREED,
    "frees_refused": k.T_BAD_FREE,
    "allocations_below_watermark": k.T_BELOW_WATERMARK,
    "slow_path_entries": k.T_SLOWPATH,
    "watermark_boosts": k.T_BOOSTS,
    "claims_refused": k.T_CLAIM_REFUSED,
    "kswapd_wakes": k.T_KSWAPD_WAKES,
    "highatomic_reserved": k.T_HIGHATOMIC_RESERVED,
    "evacuations_queued": k.T_QUEUED,
    "evacuations_dropped": k.T_DROPPED,
    "evacuations_before_init": k.T_UNREADY,
    "evacuations_started": k.T_STARTED,
    "evacuations_started_with_skip_bit": k.T_STARTED_SKIP_BIT,
    "evacuations_movable_again": k.T_SKIPPED,
    "evacuations_finished": k.T_FINISHED,
    "pages_isolated": k.T_ISOLATED,
    "pages_dropped": k.T_RECLAIMED,
    "pages_migrated": k.T_MIGRATED,
    "pages_failed": k.T_FAILED,
    "compactions": k.T_COMPACTIONS,
    "compaction_pages_migrated": k.T_COMPACT_MIGRATED,
    "compaction_folios_failed": k.T_COMPACT_FAILED,
}
