# SPDX-License-Identifier: GPL-2.0-or-later
"""The whole machine as one row of integers, quickly: for comparison with another model after every operation.

The row: clock; zones with their free lists and pcps; pageblocks; pages; LRU batches; items, pending lists, workers;
kswapds; kcompactds; vmstat ticks; objects. A list is its length and its entries, head first. What has no meaning at a moment
(a worker's cursor between two items) is left out.
"""

from __future__ import annotations

from array import array

from .constants import ALLOC, ISOLATED, RESERVED
from .generations import Generations
from .machine import Kcompactd, Machine, Worker
from .regions import row as region_row
from .scheduler import due_times
from .swap import Swap
from .zone import Pcp, Zone

OWNED = frozenset((ALLOC, ISOLATED))
WORKER_STATES = {"IDLE": 0, "START": 1, "ISOLATE": 2, "RECLAIM": 3, "MIGRATE": 4}
KSWAPD_STATES = {"IDLE": 0, "WOKEN": 1, "RUNNING": 2, "NAP": 3}
EVENTS = (
    "allocstall", "allocstall 0", "allocstall 1", "allocstall 2", "allocstall 3", "pgscan_direct_throttle",
    "throttled_isolated", "pgscan_kswapd", "pgscan_direct", "pgsteal_kswapd",
    "pgsteal_direct", "pgscan_skip", "pgrefill", "pgactivate", "pgdeactivate", "nr_vmscan_immediate_reclaim",
    "workingset_refault_file", "workingset_activate_file", "workingset_restore_file", "reclaim_stall_ns",
    "compact_migrate_scanned", "compact_free_scanned", "compact_stall", "compact_success", "compact_fail", "pgmigrate_success",
    "pgmigrate_fail", "direct_compact_ns", "oom_kill", "oom_nofs", "nofail_failed", "folios_split", "split_without_ids",
    "swap_full", "swap_without_ids", "swpout_failed", "swpin_failed", "swap_freed", "pswpout", "pswpin", "thp_swpout",
    "zspages_alloc", "zspages_free", "pgscan_anon", "pgsteal_anon", "workingset_refault_anon", "workingset_activate_anon",
    "workingset_restore_anon", "compact_isolated", "compact_daemon_migrate_scanned", "compact_daemon_free_scanned",
    "compact_ns", "compact_failed", "contig_success", "contig_fail", "contig_ranges", "contig_scanned", "contig_migrated",
    "contig_reclaimed", "contig_ns", "lru_gen_aged",
)  # fmt: skip


def put_zone(m: Machine, zone: Zone, out: list[int]) -> None:
    """Counters, marks, free lists of each order and type, pcps of each CPU."""
    out += (
        zone.nr_free, zone.nr_free_cma, zone.unusable_highatomic, zone.nr_free_blocks, zone.boost, zone.boosted,
        zone.below_high, zone.reclaim_active, zone.nr_reserved_highatomic, zone.nr_lru, zone.nr_isolated,
        zone.cached_migrate_pfn, zone.cached_migrate_sync, zone.cached_free_pfn, zone.considered, zone.defer_shift,
        zone.order_failed, zone.init_migrate_pfn, zone.init_free_pfn, zone.blockskip_flush,
        m.kswapds[zone.node].boosts.get(zone.number, 0), zone.managed,
        *zone.watermark, *zone.lowmem_reserve,
    )  # fmt: skip
    for area in zone.free_area:
        out.append(area.nr_free)
        for pages in area.free_list:
            items = pages._items
            out.append(len(items))
            if items:
                out += items
    for pcp in zone.pcps:
        put_pcp(pcp, out)


def put_pcp(pcp: Pcp, out: list[int]) -> None:
    """Fields, then lists."""
    out += (
        pcp.count, pcp.high, pcp.high_min, pcp.high_max, pcp.batch, pcp.flags, pcp.alloc_factor, pcp.free_count,
    )  # fmt: skip
    for pages in pcp.lists:
        items = pages._items
        out.append(len(items))
        if items:
            out += items


def put_pages(m: Machine, out: list[int]) -> None:
    """Every page frame: state + 16 * order, of owned chunks also 256 * attributes + 2^24 * when made dirty + 2^40 * (object + 1).

    Inside a chunk 0; outside all zones RESERVED.
    """
    base = len(out)
    out += blank_pages(m)
    for pfn, page in m.heads.items():
        state = page.state
        if state in OWNED:
            out[base + pfn] = (
                state | page.order << 4 | page.attr << 8 | page.dirtied << 24 | page.obj + 1 << 40
            )
        else:
            out[base + pfn] = state | page.order << 4


def put_items(m: Machine, items: list[int], out: list[int]) -> None:
    """Evacuate items that are in use: number, zone, block."""
    out.append(len(items))
    for item in items:
        out += (item, m.items[item].zone, m.items[item].start_pfn)


def put_worker(m: Machine, worker: Worker, out: list[int]) -> None:
    """State, due, busy_until; the work in progress; the queue."""
    out += (WORKER_STATES[worker.state], worker.due, worker.busy_until, worker.item)
    if worker.item >= 0:
        item = m.items[worker.item]
        out += (
            item.zone, item.start_pfn, worker.cursor, worker.total_isolated, worker.total_dropped,
            worker.total_migrated, worker.total_failed, worker.tried, int(worker.isolates),
            len(worker.isolated), *worker.isolated,
        )  # fmt: skip
    put_items(m, worker.queue, out)


def put_reclaim(m: Machine, objects: int, out: list[int]) -> None:
    """Of a closed loop: each node's LRU lists and kswapd's run in progress, CPUs' batches, shadow entries, events."""
    for lruvec, kswapd in zip(m.lruvecs, m.kswapds, strict=True):
        if lruvec.gens is not None:
            put_generations(m, lruvec.gens, out)
        for pages in lruvec.lists:
            out.append(len(pages))
            out += pages
        out += [lruvec.sizes[index, lru] for index in range(4) for lru in range(5)]
        out += (
            lruvec.isolated_file, lruvec.nonresident_age, lruvec.activated, lruvec.refaults, int(lruvec.writeback),
            kswapd.failures, lruvec.activated_anon, lruvec.refaults_anon, *lruvec.costs, lruvec.marked,
        )  # fmt: skip
        if kswapd.state == "RUNNING":
            sc = kswapd.control
            out += (sc.order, sc.priority, sc.nr_reclaimed, sc.lruvec_reclaimed, sc.nr_to_reclaim, *sc.left)
            out += (kswapd.slice, m.late)
    for batch in m.activate_batches:
        out.append(len(batch))
        out += batch
    dropped = [obj for obj in range(objects) if m.obj_pfn.get(obj) == -2]
    out.append(len(dropped))
    for obj in dropped:
        if m.swap is not None and obj in m.swap.slots:
            out += (obj, m.swap.slots[obj], -1)
            continue
        node, age, active = m.shadows[obj]
        out += (obj, age, 2 * node + active)
    out += (m.flushes, m.flush_due)
    out += [m.events[name] for name in EVENTS]
    if m.swap is not None:
        put_swap(m.swap, out)


def put_generations(m: Machine, gens: Generations, out: list[int]) -> None:
    """The window, sizes, history by type and tier; each list's folios, with the generation and uses of each."""
    out += (gens.max_seq, *gens.min_seq, *gens.pages.values())
    for history in gens.history.values():
        out += (
            history.avg_refaulted, history.avg_total, history.protected, history.evicted, history.refaulted,
        )  # fmt: skip
    for pages in gens.lists.values():
        out.append(len(pages))
        for pfn in pages:
            out += (pfn, m.heads[pfn].gen + 1 | m.heads[pfn].refs << 3)


def put_swap(swap: Swap, out: list[int]) -> None:
    """Free slots and zspages, the next one first; taken slots by number; groups of zspages; the queue."""
    for stack in (swap.free, swap.free_zspages):
        out += (len(stack), *stack[::-1])
    for slot in range(swap.pages):
        if slot in swap.entries:
            entry = swap.entries[slot]
            out += (slot, entry.obj, entry.age, 2 * entry.node + entry.active, entry.zspage.number, entry.due)
    for group in swap.groups:
        out.append(len(group))
        for zspage in group:
            out += (zspage.number, zspage.inuse)
    out += (len(swap.queue), *swap.queue)


def put_kcompactd(kcompactd: Kcompactd, late: int, out: list[int]) -> None:
    """State, due, what it was asked for; the run in progress."""
    out += (KSWAPD_STATES[kcompactd.state], kcompactd.due, kcompactd.max_order, kcompactd.highest)
    if kcompactd.state == "RUNNING":
        out += (kcompactd.zone, kcompactd.order, kcompactd.run_highest, int(kcompactd.proactive))
        out.append(kcompactd.score if kcompactd.proactive else -1)
    cc = kcompactd.control
    if kcompactd.state == "RUNNING" and cc is not None:
        out += (
            cc.migrate_pfn, cc.free_pfn, cc.last_migrated, int(cc.whole_zone), int(cc.finish_pageblock),
            cc.fast_search_fail, cc.search_order, cc.nr_freepages, cc.migrate_scanned, cc.free_scanned, kcompactd.slice, late,
        )  # fmt: skip


def blank_pages(m: Machine) -> list[int]:
    """Page frames of a machine without chunks: RESERVED outside all zones, 0 inside."""
    pages = [RESERVED] * m.config.npages
    for zone in m.zones:
        pages[zone.start_pfn : zone.end_pfn] = [0] * (zone.end_pfn - zone.start_pfn)
    return pages


def serialise(m: Machine, objects: int) -> array[int]:
    """Everything that can differ between two models of the same machine; objects `0..objects-1`."""
    workers = [*m.workers, *([m.policy] if m.policy is not None else [])]
    out = [
        m.now,
        min(due for due in due_times(m) if due >= 0),
        sum(worker.cpu_ns for worker in (*workers, *m.shrinks)),
    ]
    for zone in m.zones:
        put_zone(m, zone, out)
    out += [block.mt | block.skip << 3 | block.isolate << 4 for block in m.blocks]
    put_pages(m, out)
    for batch in m.lru_batches:
        out.append(len(batch))
        out += batch
    out.append(len(m.free_items))
    out += m.free_items[::-1]
    for pending in m.pending:
        put_items(m, pending, out)
    out.append(len(m.waiting))
    for block in m.waiting:
        out += (block.zone, block.start_pfn, int(block.movable))
    for worker in m.workers:
        put_worker(m, worker, out)
    for kswapd in m.kswapds:
        out += (
            KSWAPD_STATES[kswapd.state], kswapd.due, kswapd.order, -1 if kswapd.highest is None else kswapd.highest,
            kswapd.alloc_order, kswapd.reclaim_order, kswapd.run_highest,
        )  # fmt: skip
    for kcompactd in m.kcompactds:
        put_kcompactd(kcompactd, m.late, out)
    if not m.config.open_loop:
        put_reclaim(m, objects, out)
    if m.config.region_order:
        out += region_row(m)
    out += m.ticks
    table = [-1] * objects
    for obj, pfn in m.obj_pfn.items():
        table[obj] = pfn
    return array("q", out + table)
