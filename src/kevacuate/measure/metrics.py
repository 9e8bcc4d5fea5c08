# SPDX-License-Identifier: GPL-2.0-or-later
"""Metrics of one moment and of a run, each with its formula and source."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

from kevacuate.kernel.extfrag import CLAIM, CLAIM_BLOCK, KIND_NAMES, STEAL
from kevacuate.measure.blocks import BlockCounts, block_counts
from kevacuate.measure.extfrag import ORDERS, extfrag_metrics
from kevacuate.measure.pages import FREE, MOVABLE, PCP, UNMOVABLE
from kevacuate.measure.regions import kept_regions, region_counters
from kevacuate.mm import constants as k
from kevacuate.mm.layout import State

REGIONS = (("2m", 9), ("32m", 13), ("1g", 18))
"""Region name and its order in pages of 4 KiB (Contiguitas, ISCA'23, uses the same three sizes)."""


def fragmentation_index(nr_free: npt.ArrayLike, order: int) -> int:
    """__fragmentation_index in thousandths (mm/vmstat.c:1102 at 7.2); -1000 where a free chunk of *order* exists.

    *nr_free* is the number of free chunks by order, all types.
    """
    chunks = np.asarray(nr_free, np.int64).tolist()
    return _fragmentation_index(sum(chunks), _pages_of(chunks), any(chunks[order:]), order)


def _fragmentation_index(total: int, pages: int, found: bool, order: int) -> int:
    """:func:`fragmentation_index` from the free chunks, their pages, and whether one is of *order* or larger."""
    if total == 0:
        return 0
    if found:
        return -1000
    return 1000 - (1000 + pages * 1000 // (1 << order)) // total


def unusable_free_index(nr_free: npt.ArrayLike, order: int) -> int:
    """unusable_free_index in thousandths: the share of free memory in chunks smaller than *order* (mm/vmstat.c:2308 at 7.2)."""
    chunks = np.asarray(nr_free, np.int64).tolist()
    return _unusable_free_index(_pages_of(chunks), _pages_of(chunks[order:]) << order)


def _unusable_free_index(pages: int, suitable: int) -> int:
    """:func:`unusable_free_index` from the free pages, and those in chunks of the order or larger."""
    return (pages - suitable) * 1000 // pages if pages else 1000


def _pages_of(chunks: list[int]) -> int:
    """Pages in the free chunks by order."""
    return sum(n << order for order, n in enumerate(chunks))


def region_metrics(counts: BlockCounts, order: int, pageblock_order: int) -> dict[str, int]:
    """Aligned regions of 2**order pages, by what they hold.

    ``free``: every page free or on a pcp list. ``movable_only``: no page that cannot move and none reserved, so that
    migration alone could empty it (the free ones included). ``tainted``: at least one page that cannot move.
    Regions smaller than a pageblock are counted as pageblocks; those that stick out of memory are counted, with what is
    missing reserved.
    """
    order = max(order, pageblock_order)
    pages = counts.pages
    if order > pageblock_order and len(pages):
        region = counts.start >> order
        begins = np.flatnonzero(region[1:] != region[:-1]) + 1  # blocks are in order of pfn
        pages = np.add.reduceat(pages.T, np.concatenate(([0], begins)), axis=1, dtype=np.int64).T
    usable = pages[:, FREE] + pages[:, PCP]
    tainted = pages[:, UNMOVABLE] > 0
    whole = usable + pages[:, MOVABLE] + pages[:, UNMOVABLE] == 1 << order
    return {
        "regions": len(pages),
        "free": int(np.count_nonzero(usable == 1 << order)),
        "movable_only": int(np.count_nonzero(whole & ~tainted)),
        "tainted": int(np.count_nonzero(tainted)),
    }


def block_metrics(counts: BlockCounts, pageblock_order: int) -> dict[str, Any]:
    """What blocks hold, of a model's state or a recorded one: counts in pages or pageblocks.

    ``mixed_blocks``, ``polluted_blocks``, ``blocks_with_unmovable``: :func:`kevacuate.measure.blocks.block_kinds`.
    ``mixed_unmovable_pages``, ``polluted_pages``: the pages that cannot move in mixed and in polluted blocks.
    """
    unmovable = counts.pages[:, UNMOVABLE]
    kinds = counts.kinds
    totals = counts.pages.sum(axis=0, dtype=np.int64).tolist()
    return {
        "mixed_blocks": int(np.count_nonzero(kinds.mixed)),
        "mixed_unmovable_pages": int(unmovable[kinds.mixed].sum()),
        "polluted_blocks": int(np.count_nonzero(kinds.polluted)),
        "polluted_pages": int(unmovable[kinds.polluted].sum()),
        "blocks_with_unmovable": int(np.count_nonzero(kinds.with_unmovable)),
        "pcp_pages": totals[PCP],
        "movable_pages": totals[MOVABLE],
        "unmovable_pages": totals[UNMOVABLE],
        **{f"regions_{name}": region_metrics(counts, order, pageblock_order) for name, order in REGIONS},
    }


def free_metrics(chunks: npt.NDArray[np.int64], huge_order: int) -> dict[str, Any]:
    """Free pages, free chunks by order, and the kernel's two indices, from the chunks by order (int64[orders]).

    ``huge_pages_free``: free chunks of *huge_order*, those split from larger ones included: the huge pages to be had at once.
    """
    by_order: list[int] = chunks.tolist()
    larger = list(accumulate((n << order for order, n in reversed([*enumerate(by_order)])), initial=0))[:0:-1]
    total, pages, orders = sum(by_order), larger[0] if larger else 0, range(len(by_order))
    huge = min(max(huge_order, 0), len(by_order) - 1)
    return {
        "free_pages": pages,
        "free_by_order": by_order,
        "huge_pages_free": larger[huge] >> huge,
        "unusable_free_index": [_unusable_free_index(pages, larger[order]) for order in orders],
        "fragmentation_index": [
            _fragmentation_index(total, pages, larger[order] > 0, order) for order in orders
        ],
    }


def moment(state: State) -> dict[str, Any]:
    """Everything that is measured at one moment of virtual time: :func:`block_metrics`, :func:`free_metrics`, blocks by type."""
    counts, free_by = block_counts(state)
    cfg = state.view.cfg
    pageblock_order, huge = cfg.pageblock_order, cfg.hpage_pmd_order
    orders = cfg.max_page_order + 1
    by_type = np.bincount(counts.mt, minlength=len(k.MIGRATE_NAMES)).tolist()
    return {
        "blocks": dict(zip(k.MIGRATE_NAMES, by_type, strict=False)),
        **free_metrics(free_by.sum(axis=1)[:orders], huge if huge > 0 else pageblock_order),
        "free_chunks": dict(zip(k.MIGRATE_NAMES, free_by[:orders].T.tolist(), strict=True)),
        **block_metrics(counts, pageblock_order),
        **({"kept_regions": kept} if (kept := kept_regions(state)) else {}),
    }


def extfrag_table(state: State) -> npt.NDArray[np.int64]:
    """The model's events, int64[kind, type asked for, type taken, order taken]; the three types that have lists of their own."""
    shape = (len(KIND_NAMES), 3, 3, ORDERS)
    return np.asarray(state.view.stat.extfrag).reshape(shape)


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
        **({} if state.view.cfg.open_loop else pressure_metrics(state)),
        "worker_cpu_seconds": stat.worker_ns / 1e9,
        "compaction_cpu_seconds": stat.compact_ns / 1e9,
        "evacuations_ended": {name: stat.why[i] for i, name in enumerate(k.WHY_NAMES)},
        **extfrag_metrics(extfrag_table(state), state.view.cfg.pageblock_order),
        **region_counters(state),
        **contig_metrics(state),
        "end": moment(state) if end is None else end,
    }


def pressure_metrics(state: State) -> dict[str, Any]:
    """What reclaim and compaction did in a closed loop, which an open loop takes as recorded.

    ``vmstat``: counters by their names in /proc/vmstat (pages, or times). ``stall_seconds``: virtual time that requests
    waited, at the recorded machine's speed. ``direct_compaction_results``: calls of try_to_compact_pages. ``kswapd_runs``: by
    order. ``generations``: those that the multi-gen LRU has begun.
    """
    view = state.view
    stat, scale = view.stat, view.cfg.time_scale / 1e9
    return {
        "vmstat": {**{name: getattr(stat, name) for name in VMSTAT}, **allocstall_by_zone(state)},
        "stall_seconds": {
            "compaction": stat.direct_compact_ns * scale,
            "reclaim": stat.reclaim_stall_ns * scale,
        },
        "direct_compaction_results": {name: stat.direct_compact[i] for i, name in k.COMPACT_NAMES.items()},
        "direct_compactions": sum(stat.direct_compact[i] for i in k.COMPACT_NAMES),
        "direct_reclaims": stat.direct_reclaims,
        "swap": swap_metrics(state),
        "generations": stat.lru_gen_aged,
        "kswapd_runs": [stat.kswapd_runs[order] for order in range(ORDERS)],
    }


def contig_metrics(state: State) -> dict[str, Any]:
    """``contig``: what became of requests for more than MAX_PAGE_ORDER has (:mod:`kevacuate.mm.contig`); nothing without any.

    ``served``, ``failed``: requests. ``ranges``: ranges isolated for them, or tried to. ``pages_migrated``, ``pages_dropped``:
    out of those. ``ms``: virtual time that the requests took, at the recorded machine's speed, without what destinations cost.
    """
    stat = state.view.stat
    if not stat.contig_success + stat.contig_fail:
        return {}
    return {
        "contig": {
            "served": stat.contig_success,
            "failed": stat.contig_fail,
            "ranges": stat.contig_ranges,
            "pages_migrated": stat.contig_migrated,
            "pages_dropped": stat.contig_reclaimed,
            "ms": stat.contig_ns * state.view.cfg.time_scale / 1e6,
        }
    }


def swap_metrics(state: State) -> dict[str, int]:
    """What became of swap, in pages: slots in all, free at the end, and pages that found none or no memory to be compressed to.

    ``pages_freed``: given up by their owner while they were in swap. ``reads_failed``: reads for which no memory was to be had.
    ``zspage_pages``: pages that hold compressed ones at the end (nr_zspages of /proc/vmstat).
    """
    view = state.view
    stat, cfg = view.stat, view.cfg
    return {
        "slots": cfg.swap_pages,
        "slots_free": stat.nr_swap_pages,
        "pages_full": stat.swap_full,
        "pages_without_memory": stat.swpout_failed,
        "pages_freed": stat.swap_freed,
        "reads_failed": stat.swpin_failed,
        "zspage_pages": (stat.zspages_alloc - stat.zspages_free) * cfg.zs_chain,
    }


def allocstall_by_zone(state: State) -> dict[str, int]:
    """Rounds of direct reclaim by the highest zone type that the request may use, by the kernel's names.

    As do_try_to_free_pages counts them (mm/vmscan.c, 7.2: ``__count_zid_vm_events(ALLOCSTALL, sc->reclaim_idx, 1)``): a request
    that may use ZONE_MOVABLE counts there, whether the machine has such a zone or not.
    """
    counts = state.view.stat.allocstall_zone
    return {name: counts[i] for i, name in enumerate(ALLOCSTALL_ZONES)}


VMSTAT = (
    "allocstall",
    "compact_stall",
    "compact_success",
    "compact_fail",
    "compact_daemon_wake",
    "compact_daemon_migrate_scanned",
    "compact_daemon_free_scanned",
    "compact_migrate_scanned",
    "compact_free_scanned",
    "compact_isolated",
    "pgmigrate_success",
    "pgmigrate_fail",
    "pgscan_kswapd",
    "pgscan_direct",
    "pgsteal_kswapd",
    "pgsteal_direct",
    "pgrefill",
    "pgactivate",
    "pgdeactivate",
    "workingset_refault_file",
    "workingset_activate_file",
    "workingset_restore_file",
    "pswpout",
    "pswpin",
    "thp_swpout",
    "workingset_refault_anon",
    "workingset_activate_anon",
    "workingset_restore_anon",
    "thp_fault_alloc",
    "thp_fault_fallback",
    "oom_kill",
)
"""Counters of a closed loop, by their names in /proc/vmstat, each of the whole run; allocstall is the sum over zones.

The compact_daemon_* ones are kcompactd's part of those without (kcompactd_do_work and compact_node, mm/compaction.c, 7.2).
"""

ALLOCSTALL_ZONES = tuple(f"allocstall_{name.lower()}" for name in k.ZONE_NAMES)
"""The counters that allocstall is the sum of (FOR_ALL_ZONES, include/linux/vm_event_item.h, 7.2), by zone type."""

_COUNTERS = {
    "allocations": "allocs",
    "allocations_failed": "alloc_failed",
    "frees": "frees",
    "frees_of_dropped": "dropped_then_freed",
    "frees_of_failed": "failed_then_freed",
    "frees_refused": "bad_free",
    "pages_kept": "kept_pages",
    "pages_kept_read_again": "hit_pages",
    "pages_kept_truncated": "truncated_pages",
    "refault_pages": "refault_pages",
    "refaults_failed": "refaults_failed",
    "base_pages": "base_pages",
    "base_pages_failed": "base_pages_failed",
    "attempts": "attempts",
    "attempts_given_back": "attempts_given_back",
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
