# SPDX-License-Identifier: GPL-2.0-or-later
"""Metrics of one moment and of a run, each with its formula and source."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from kevacuate.kernel.extfrag import CLAIM, CLAIM_BLOCK, KIND_NAMES, STEAL
from kevacuate.measure.blocks import BlockCounts, block_counts
from kevacuate.measure.extfrag import ORDERS, extfrag_metrics
from kevacuate.measure.pages import FREE, MOVABLE, PCP, RESERVED, UNMOVABLE
from kevacuate.mm import constants as k
from kevacuate.mm.fields import Counters
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


def block_metrics(counts: BlockCounts, pageblock_order: int) -> dict[str, Any]:
    """What blocks hold, of a model's state or a recorded one: counts in pages or pageblocks.

    ``mixed_blocks``, ``polluted_blocks``, ``blocks_with_unmovable``: :func:`kevacuate.measure.blocks.block_kinds`.
    ``mixed_unmovable_pages``, ``polluted_pages``: the pages that cannot move in mixed and in polluted blocks.
    """
    unmovable, movable = counts.pages[:, UNMOVABLE], counts.pages[:, MOVABLE]
    kinds = counts.kinds
    return {
        "mixed_blocks": int(kinds.mixed.sum()),
        "mixed_unmovable_pages": int(unmovable[kinds.mixed].sum()),
        "polluted_blocks": int(kinds.polluted.sum()),
        "polluted_pages": int(unmovable[kinds.polluted].sum()),
        "blocks_with_unmovable": int(kinds.with_unmovable.sum()),
        "pcp_pages": int(counts.pages[:, PCP].sum()),
        "movable_pages": int(movable.sum()),
        "unmovable_pages": int(unmovable.sum()),
        **{f"regions_{name}": region_metrics(counts, order, pageblock_order) for name, order in REGIONS},
    }


def free_metrics(chunks: npt.NDArray[np.int64], huge_order: int) -> dict[str, Any]:
    """Free pages, free chunks by order, and the kernel's two indices, from the chunks by order (int64[orders]).

    ``huge_pages_free``: free chunks of *huge_order*, those split from larger ones included: the huge pages to be had at once.
    """
    orders = np.arange(len(chunks))
    huge = min(max(huge_order, 0), len(chunks) - 1)
    return {
        "free_pages": int((chunks << orders).sum()),
        "free_by_order": chunks.tolist(),
        "huge_pages_free": int((chunks[huge:] << np.arange(len(chunks) - huge)).sum()),
        "unusable_free_index": [unusable_free_index(chunks, order) for order in orders.tolist()],
        "fragmentation_index": [fragmentation_index(chunks, order) for order in orders.tolist()],
    }


def moment(state: State) -> dict[str, Any]:
    """Everything that is measured at one moment of virtual time: :func:`block_metrics`, :func:`free_metrics`, blocks by type."""
    counts, free_by = block_counts(state)
    pageblock_order, huge = state.view.cfg.pageblock_order, state.view.cfg.hpage_order
    orders = state.view.cfg.max_page_order + 1
    return {
        "blocks": {name: int((counts.mt == i).sum()) for i, name in enumerate(k.MIGRATE_NAMES)},
        **free_metrics(free_by.sum(axis=1)[:orders], huge if huge > 0 else pageblock_order),
        "free_chunks": {name: free_by[:orders, i].tolist() for i, name in enumerate(k.MIGRATE_NAMES)},
        **block_metrics(counts, pageblock_order),
    }


def extfrag_table(state: State) -> npt.NDArray[np.int64]:
    """The model's events, int64[kind, type asked for, type taken, order taken]; the three types that have lists of their own."""
    shape = (len(KIND_NAMES), 3, 3, ORDERS)
    return Counters.table(state.stat)["extfrag"].reshape(shape)


def so_far(state: State) -> dict[str, int]:
    """The counters a time series shows, since the start: extfrag events by kind, evacuations, pages, worker time (ns)."""
    kinds = extfrag_table(state).sum(axis=(1, 2, 3))
    stat = state.view.stat
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
        "steals": int(kinds[STEAL]),
        "claims": int(kinds[CLAIM]),
        "claims_whole_block": int(kinds[CLAIM_BLOCK]),
        **{name: getattr(stat, _COUNTERS[name]) for name in names},
        "worker_ns": stat.worker_ns,
    }


def run_metrics(state: State, end: dict[str, Any] | None = None) -> dict[str, Any]:
    """What a whole run did, from the counters, and its last moment: *end*, where it has been measured already."""
    stat = state.view.stat
    return {
        **{name: getattr(stat, counter) for name, counter in _COUNTERS.items()},
        "worker_cpu_seconds": stat.worker_ns / 1e9,
        "compaction_cpu_seconds": stat.compact_ns / 1e9,
        "evacuations_ended": {name: stat.why[i] for i, name in enumerate(k.WHY_NAMES)},
        **extfrag_metrics(extfrag_table(state), state.view.cfg.pageblock_order),
        "end": moment(state) if end is None else end,
    }


_COUNTERS = {
    "allocations": "allocs",
    "allocations_failed": "alloc_failed",
    "frees": "frees",
    "frees_of_dropped": "dropped_then_freed",
    "frees_of_failed": "failed_then_freed",
    "frees_refused": "bad_free",
    "allocations_below_watermark": "below_watermark",
    "slow_path_entries": "slowpath",
    "watermark_boosts": "boosts",
    "claims_refused": "claim_refused",
    "kswapd_wakes": "kswapd_wakes",
    "highatomic_reserved": "highatomic_reserved",
    "evacuations_queued": "queued",
    "evacuations_dropped": "dropped",
    "evacuations_before_init": "unready",
    "evacuations_started": "started",
    "evacuations_started_with_skip_bit": "started_skip_bit",
    "evacuations_movable_again": "skipped",
    "evacuations_finished": "finished",
    "pages_isolated": "isolated",
    "pages_dropped": "reclaimed",
    "pages_migrated": "migrated",
    "pages_failed": "failed",
    "compactions": "compactions",
    "compaction_pages_migrated": "compact_migrated",
    "compaction_folios_failed": "compact_failed",
}
