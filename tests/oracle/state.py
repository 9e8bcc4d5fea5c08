# SPDX-License-Identifier: GPL-2.0-or-later
"""A snapshot of the whole machine as plain lists and dicts, for comparison with another model."""

from __future__ import annotations

from typing import Any

from .constants import ALLOC, ISOLATED
from .machine import Kswapd, Machine, Worker
from .zone import Pcp, Zone

COUNTERS = (
    "nr_free",
    "nr_free_cma",
    "nr_free_highatomic",
    "nr_free_blocks",
    "boost",
    "nr_reserved_highatomic",
    "nr_lru",
    "nr_isolated",
    "cached_migrate_pfn",
)
FLAGS = ("boosted", "below_high", "reclaim_active")
PCP_FIELDS = ("count", "high", "high_min", "high_max", "batch", "flags", "alloc_factor", "free_count")


def pcp_state(pcp: Pcp) -> dict[str, Any]:
    """One pcp: its numbers, and its lists head first."""
    state: dict[str, Any] = {name: getattr(pcp, name) for name in PCP_FIELDS}
    state["lists"] = [list(pages) for pages in pcp.lists]
    return state


def zone_state(zone: Zone) -> dict[str, Any]:
    """One zone: counters, watermarks, free lists `[order][type]` head first, pcps by CPU."""
    counters: dict[str, Any] = {name: getattr(zone, name) for name in COUNTERS}
    counters |= {name: int(getattr(zone, name)) for name in FLAGS}
    counters["nr_free_order"] = [area.nr_free for area in zone.free_area]
    return {
        "counters": counters,
        "watermark": list(zone.watermark),
        "lists": [[list(pages) for pages in area.free_list] for area in zone.free_area],
        "pcp": [pcp_state(pcp) for pcp in zone.pcps],
    }


def worker_state(worker: Worker) -> tuple[str, int, int, int, int, list[int], list[int]]:
    """(state, due or -1, busy_until, item or -1, cursor, isolated front first, queue oldest first)."""
    return (
        worker.state, worker.due, worker.busy_until, worker.item, worker.cursor,
        list(worker.isolated), list(worker.queue),
    )  # fmt: skip


def kswapd_state(m: Machine, node: int, kswapd: Kswapd) -> tuple[str, int, list[int]]:
    """(state, due or -1, remembered boost of each of the node's zones; 0 unless running)."""
    return kswapd.state, kswapd.due, [kswapd.boosts.get(zone.number, 0) for zone in m.node_zones[node]]


def snapshot(m: Machine) -> dict[str, Any]:
    """Everything that can differ between two models of the same machine."""
    return {
        "now": m.now,
        "zones": [zone_state(zone) for zone in m.zones],
        "blocks": [(block.mt, int(block.isolate), int(block.skip)) for block in m.blocks],
        "pages": {
            pfn: (page.state, page.order, page.obj, page.attr)
            for pfn, page in m.heads.items()
            if page.state in (ALLOC, ISOLATED)
        },
        "lru_batches": [list(batch) for batch in m.lru_batches],
        "free_items": m.free_items[::-1],
        "pending": [list(items) for items in m.pending],
        "workers": [worker_state(worker) for worker in m.workers],
        "kswapd": [kswapd_state(m, node, kswapd) for node, kswapd in enumerate(m.kswapds)],
        "ticks": list(m.ticks),
        "obj_pfn": {obj: pfn for obj, pfn in m.obj_pfn.items() if pfn != -1},
    }
