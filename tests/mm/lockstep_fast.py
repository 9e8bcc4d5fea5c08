# SPDX-License-Identifier: GPL-2.0-or-later
"""The fast model's state as the row of integers that `oracle.serialise` describes."""

from __future__ import annotations

from kevacuate.jit import kernel, part, pointers
from kevacuate.mm.buddy import free_list, page_zone
from kevacuate.mm.compact_suitable import compaction_suit_allocation_order
from kevacuate.mm.constants import (
    ATTR_ACTIVATING,
    ATTR_FREED,
    ATTR_ON_LRU,
    CHUNK_ALLOC,
    CHUNK_ISOLATED,
    KCOMPACTD_RUNNING,
    KSWAPD_RUNNING,
    LRU_LISTS,
    MAX_NR_TIERS,
    MIGRATE_TYPES,
    NEVER,
    NR_GEN_LISTS,
    NR_LRU_LISTS,
    NR_ZS_FULLNESS,
    OBJ_DROPPED,
    ZONE_MOVABLE,
)
from kevacuate.mm.kcompactd import compacted, kcompactd_next
from kevacuate.mm.lruvec import gen_head, gen_word, lru_head, lru_object, lruvec_del_folio, mod_isolated
from kevacuate.mm.migrate import free_isolated, put_source_back
from kevacuate.mm.pcp import pcp_at, pcp_list
from kevacuate.mm.swap import activate_batch


@part
def put_list(s, head, out, at):
    """A linked list: its length, then its entries; stops at the end of *out* if the links run in circles."""
    first = at
    at += 1
    pfn = s.link[2 * head] + 0
    while pfn != head and at < out.size - 64:
        out[at] = pfn
        at += 1
        pfn = s.link[2 * pfn] + 0
    out[first] = at - first - 1
    return at


@part
def put_counters(zone, out, at):
    """Counters and marks."""
    values = (
        zone.nr_free_pages, zone.nr_free_cma, zone.nr_free_highatomic, zone.nr_free_pages_blocks, zone.watermark_boost,
        zone.boosted_watermark, zone.below_high, zone.reclaim_active, zone.nr_reserved_highatomic, zone.nr_lru,
        zone.nr_isolated, zone.compact_cached_migrate_pfn[0], zone.compact_cached_migrate_pfn[1],
        zone.compact_cached_free_pfn, zone.compact_considered, zone.compact_defer_shift, zone.compact_order_failed,
        zone.compact_init_migrate_pfn, zone.compact_init_free_pfn, zone.compact_blockskip_flush,
        zone.boost_seen, zone.managed_pages,
    )  # fmt: skip
    for value in values:
        out[at] = value
        at += 1
    for i in range(4):
        out[at + i], out[at + 4 + i] = zone.watermark[i], zone.lowmem_reserve[i]
    return at + 8


@part
def put_pcp(pcp, out, at):
    """The fields of a per-CPU list set."""
    for value in (
        pcp.count, pcp.high, pcp.high_min, pcp.high_max, pcp.batch, pcp.flags, pcp.alloc_factor, pcp.free_count,
    ):  # fmt: skip
        out[at] = value
        at += 1
    return at


@part
def put_zone(s, z, out, at):
    """Counters, marks, free lists, pcps."""
    at = put_counters(s.zone[z], out, at)
    for order in range(s.cfg.max_page_order + 1):
        out[at] = s.zone[z].free_area[order]
        at += 1
        for mt in range(MIGRATE_TYPES):
            at = put_list(s, free_list(s, z, order, mt), out, at)
    for cpu in range(s.cfg.nr_cpus):
        at = put_pcp(pcp_at(s, z, cpu), out, at)
        for pindex in range(s.cfg.nr_pcp_lists):
            at = put_list(s, pcp_list(s, z, cpu, pindex), out, at)
    return at


@part
def put_pages(s, out, at):
    """Blocks, then page frames."""
    pages = s.cfg.npages_real
    for block in range((pages + (1 << s.cfg.pageblock_order) - 1) >> s.cfg.pageblock_order):
        out[at] = s.block[2 * block]
        at += 1
    for pfn in range(pages):
        meta = s.meta[pfn] + 0
        value = meta >> 4 | (meta & 15) << 4
        if meta >> 4 == CHUNK_ALLOC or meta >> 4 == CHUNK_ISOLATED:
            value |= s.link[2 * pfn + 1] << 8
            value += (s.link[2 * pfn] + 1) * 1099511627776
        out[at + pfn] = value
    return at + pages


@part
def put_items(s, item, out, at):
    """A chain of items in use: number, zone, block of each."""
    first = at
    at += 1
    while item >= 0 and at < out.size - 64:
        out[at] = item
        out[at + 1] = s.item[item].zone
        out[at + 2] = s.item[item].start_pfn
        at += 3
        item = s.item[item].next
    out[first] = (at - first - 1) // 3
    return at


@part
def put_worker(s, worker, out, at):
    """A worker: times, the work in progress if there is any, the queue."""
    due = worker.due
    item = worker.item
    out[at] = worker.state
    out[at + 1] = -1 if due == NEVER else due
    out[at + 2] = worker.busy
    out[at + 3] = item
    at += 4
    if item >= 0:
        out[at] = s.item[item].zone
        out[at + 1] = s.item[item].start_pfn
        at += 2
        for value in (
            worker.cursor, worker.isolated, worker.reclaimed, worker.migrated, worker.failed, worker.tried, worker.isolates,
            worker.nr_migratepages,
        ):  # fmt: skip
            out[at] = value
            at += 1
        for i in range(worker.nr_migratepages):
            out[at + i] = worker.migratepages[i]
        at += worker.nr_migratepages
    return put_items(s, worker.head, out, at)


@part
def put_waiting(s, out, at):
    """The blocks that wait for an item, oldest first: zone, block, whether it is movable."""
    first = at
    at += 1
    number = s.stat.evacuate_waiting
    while number >= 0 and at < out.size - 64:
        out[at] = s.item[number].zone
        out[at + 1] = s.item[number].start_pfn
        out[at + 2] = s.item[number].movable
        at += 3
        number = s.item[number].next
    out[first] = (at - first - 1) // 3
    return at


@part
def put_free_items(s, out, at):
    """The stack of free items, top first."""
    first = at
    at += 1
    item = s.stat.evacuate_freelist
    while item >= 0 and at < out.size - 64:
        out[at] = item
        at += 1
        item = s.item[item].next
    out[first] = at - first - 1
    return at


@part
def put_kswapd(pgdat, out, at):
    """A kswapd: state, due, what it was asked for; the run in progress."""
    due = -1 if pgdat.kswapd_due == NEVER else pgdat.kswapd_due
    for value in (
        pgdat.kswapd_state, due, pgdat.kswapd_order, pgdat.kswapd_highest_zoneidx, pgdat.kswapd_alloc_order,
        pgdat.kswapd_reclaim_order, pgdat.kswapd_run_highest_zoneidx,
    ):  # fmt: skip
        out[at] = value
        at += 1
    return at


@part
def put_lru_list(s, head, out, at):
    """An LRU list: its length, then the first pages of its folios; stops at the end of *out* if the links run in circles."""
    first = at
    at += 1
    place = s.lru[2 * head] + 0
    while place != head and at < out.size - 64:
        out[at] = s.obj[lru_object(s, place)]
        at += 1
        place = s.lru[2 * place] + 0
    out[first] = at - first - 1
    return at


@part
def put_generations(s, node, out, at):
    """The window, sizes and history of a node's generations, then their lists: folios with their generation and uses."""
    pgdat = s.node[node]
    out[at], out[at + 1], out[at + 2] = pgdat.max_seq, pgdat.min_seq[0], pgdat.min_seq[1]
    at += 3
    for i in range(NR_GEN_LISTS):
        out[at + i] = pgdat.gen_pages[i]
    at += NR_GEN_LISTS
    for i in range(2 * MAX_NR_TIERS):
        out[at], out[at + 1] = pgdat.avg_refaulted[i], pgdat.avg_total[i]
        out[at + 2], out[at + 3], out[at + 4] = pgdat.protected[i], pgdat.evicted[i], pgdat.refaulted[i]
        at += 5
    for which in range(NR_GEN_LISTS):
        head = gen_head(s, node, which)
        first = at
        at += 1
        place = s.lru[2 * head] + 0
        while place != head and at < out.size - 64:
            out[at] = s.obj[lru_object(s, place)]
            out[at + 1] = s.lru[gen_word(s, lru_object(s, place))]
            at += 2
            place = s.lru[2 * place] + 0
        out[first] = (at - first - 1) // 2
    return at


@part
def put_lruvec(s, node, out, at):
    """A node's LRU lists, what reclaim remembers of it, kswapd's run in progress."""
    pgdat, sc = s.node[node], s.sc[node]
    if s.cfg.lru_gen:
        at = put_generations(s, node, out, at)
    for lru in range(LRU_LISTS):
        at = put_lru_list(s, lru_head(node, lru), out, at)
    for i in range(4 * NR_LRU_LISTS):
        out[at + i] = pgdat.nr_lru[i]
    at += 4 * NR_LRU_LISTS
    for value in (
        pgdat.nr_isolated_file, pgdat.nonresident_age, pgdat.workingset_activate_file, pgdat.refaults_file,
        pgdat.pgdat_writeback, pgdat.kswapd_failures, pgdat.workingset_activate_anon, pgdat.refaults_anon, pgdat.anon_cost,
        pgdat.file_cost, pgdat.nr_marked,
    ):  # fmt: skip
        out[at] = value
        at += 1
    if pgdat.kswapd_state == KSWAPD_RUNNING:
        for value in (
            sc.order, sc.priority, sc.nr_reclaimed, sc.lruvec_reclaimed, sc.nr_to_reclaim, sc.nr_anon[0], sc.nr_anon[1],
            sc.nr[0], sc.nr[1], pgdat.kswapd_slice, s.stat.late,
        ):  # fmt: skip
            out[at] = value
            at += 1
    return at


@part
def put_reclaim(s, objects, out, at):
    """Of a closed loop: LRU lists, lru_activate batches, shadow entries, events."""
    for node in range(s.cfg.nr_nodes):
        at = put_lruvec(s, node, out, at)
    for cpu in range(s.cfg.nr_cpus):
        batch = activate_batch(s, cpu)
        for i in range(s.lru[batch] + 1):
            out[at + i] = s.lru[batch + i]
        at += s.lru[batch] + 1
    first = at
    out[first] = 0
    at += 1
    for obj in range(objects):
        if s.obj[obj] == OBJ_DROPPED:
            out[first] += 1
            place = 2 * (s.cfg.lru_first + obj)
            out[at] = obj
            out[at + 1] = s.lru[place]
            out[at + 2] = s.lru[place + 1]
            at += 3
    stat = s.stat
    for value in (
        stat.flushes, stat.flush_due,
        stat.allocstall, stat.allocstall_zone[0], stat.allocstall_zone[1], stat.allocstall_zone[2],
        stat.allocstall_zone[3], stat.pgscan_direct_throttle, stat.throttled_isolated, stat.pgscan_kswapd, stat.pgscan_direct,
        stat.pgsteal_kswapd, stat.pgsteal_direct, stat.pgscan_skip, stat.pgrefill, stat.pgactivate, stat.pgdeactivate,
        stat.nr_vmscan_immediate_reclaim, stat.workingset_refault_file, stat.workingset_activate_file,
        stat.workingset_restore_file, stat.reclaim_stall_ns, stat.compact_migrate_scanned, stat.compact_free_scanned,
        stat.compact_stall, stat.compact_success, stat.compact_fail, stat.pgmigrate_success, stat.pgmigrate_fail,
        stat.direct_compact_ns, stat.oom_kill, stat.oom_nofs, stat.nofail_failed, stat.folios_split,
        stat.split_without_ids, stat.swap_full, stat.swap_without_ids, stat.swpout_failed, stat.swpin_failed, stat.swap_freed,
        stat.pswpout, stat.pswpin, stat.thp_swpout, stat.zspages_alloc, stat.zspages_free, stat.pgscan_anon, stat.pgsteal_anon,
        stat.workingset_refault_anon, stat.workingset_activate_anon, stat.workingset_restore_anon,
        stat.compact_isolated, stat.compact_daemon_migrate_scanned,
        stat.compact_daemon_free_scanned, stat.compact_ns, stat.compact_failed,
        stat.contig_success, stat.contig_fail, stat.contig_ranges, stat.contig_scanned, stat.contig_migrated,
        stat.contig_reclaimed, stat.contig_ns, stat.lru_gen_aged,
    ):  # fmt: skip
        out[at] = value
        at += 1
    return at


@part
def put_stack(s, place, less, out, at):
    """A stack of records, the top first, their numbers less *less*."""
    first = at
    at += 1
    while place >= 0 and at < out.size - 64:
        out[at] = place - less
        at += 1
        place = s.swap[place].next + 0
    out[first] = at - first - 1
    return at


@part
def put_swap(s, out, at):
    """Free slots and zspages, taken slots by number, groups of zspages, the queue."""
    pages = s.cfg.swap_pages
    at = put_stack(s, s.stat.swap_free + 0, 0, out, at)
    at = put_stack(s, s.stat.zspage_free + 0, pages, out, at)
    for slot in range(pages):
        entry = s.swap[slot]
        if entry.obj >= 0:
            due = -1 if entry.due == NEVER else entry.due
            for value in (slot, entry.obj, entry.age, entry.shadow, entry.zspage - pages, due):
                out[at] = value
                at += 1
    for group in range(NR_ZS_FULLNESS):
        head = s.cfg.zs_heads + group
        first = at
        at += 1
        place = s.swap[head].next + 0
        while place != head and at < out.size - 64:
            out[at] = place - pages
            out[at + 1] = s.swap[place].inuse
            at += 2
            place = s.swap[place].next + 0
        out[first] = (at - first - 1) // 2
    return put_stack(s, s.stat.swap_first + 0, 0, out, at)


@part
def put_regions(s, out, at):
    """How often regions became tainted and clean, what was done for them, shrink works, then every region."""
    for value in (
        s.stat.regions_tainted, s.stat.regions_cleaned, s.stat.region_evacuated_blocks, s.stat.region_evacuated_pages,
        s.stat.region_evacuation_ns, s.stat.region_shrunk_pages,
    ):  # fmt: skip
        out[at] = value
        at += 1
    for node in range(s.cfg.nr_nodes):
        due = s.node[node].shrink_due
        out[at] = -1 if due == NEVER else due
        out[at + 1] = s.node[node].shrink_busy
        at += 2
    for number in range(s.cfg.nr_regions):
        region = s.region[number]
        for value in (
            region.zone, region.start_pfn, region.end_pfn, region.total, region.nr_reserved, region.nr_free,
            region.nr_used[0], region.nr_used[1], region.nr_used[2], region.nr_highatomic, region.nr_free_pages,
            region.tainted, region.fullness, region.working, region.cursor, region.rests_until, region.nr_contig,
        ):  # fmt: skip
            out[at] = value
            at += 1
    return at


@part
def put_kcompactd(pgdat, cc, closed, late, out, at):
    """A kcompactd: state, due, what it was asked for; the run in progress."""
    due = pgdat.kcompactd_due
    proactive = cc.proactive_compaction != 0
    out[at] = pgdat.kcompactd_state
    out[at + 1] = -1 if due == NEVER else due
    out[at + 2] = pgdat.kcompactd_max_order
    out[at + 3] = pgdat.kcompactd_highest_zoneidx
    if pgdat.kcompactd_state != KCOMPACTD_RUNNING:
        return at + 4
    out[at + 4] = cc.zone
    out[at + 5] = cc.order
    out[at + 6] = cc.highest_zoneidx
    out[at + 7] = proactive
    out[at + 8] = cc.score if proactive else -1
    at += 9
    if closed:
        for value in (
            cc.migrate_pfn, cc.free_pfn, cc.last_migrated_pfn, cc.whole_zone, cc.finish_pageblock, cc.fast_search_fail,
            cc.search_order, cc.nr_freepages, cc.total_migrate_scanned, cc.total_free_scanned, pgdat.kcompactd_slice, late,
        ):  # fmt: skip
            out[at] = value
            at += 1
    return at


@kernel
def hold(sa, pfn):
    """Somebody (move_pages, say) isolates an LRU folio."""
    s = pointers(sa)
    order = s.meta[pfn] & 15
    attr = s.link[2 * pfn + 1] + 0
    s.meta[pfn] = CHUNK_ISOLATED << 4 | order
    s.link[2 * pfn + 1] = attr & ~(ATTR_ON_LRU | ATTR_ACTIVATING)
    s.zone[page_zone(s, pfn)].nr_lru -= 1 << order
    mod_isolated(s, pfn, attr, 1 << order)
    if s.cfg.open_loop == 0:
        lruvec_del_folio(s, pfn, attr)


@kernel
def let_go(sa, cpu, pfn):
    """Who isolated a folio puts it back, or frees it if its owner has let go of it."""
    s = pointers(sa)
    s.stat.cpu = cpu
    if s.link[2 * pfn + 1] & ATTR_FREED:
        free_isolated(s, cpu, pfn)
    else:
        put_source_back(s, cpu, pfn)


@kernel
def compaction_ended(sa, node, result):
    """What kcompactd makes of a zone's result, which is given."""
    s = pointers(sa)
    cc = s.cc[node]
    cpu = s.node[node].cpu
    s.stat.cpu = cpu
    compacted(s, cc, cc.zone, result)
    kcompactd_next(s, node, cc, cpu, 0)


@kernel
def suitabilities(sa, out):
    """compaction_suit_allocation_order of every zone, order and highest zone index into *out* (int64); returns how many."""
    s = pointers(sa)
    at = 0
    for z in range(s.cfg.nr_zones):
        for order in range(s.cfg.max_page_order + 1):
            for hi in range(s.zone[z].index, ZONE_MOVABLE + 1):
                out[at] = compaction_suit_allocation_order(s, z, order, hi)
                at += 1
    return at


@kernel
def snapshot(sa, objects, out):
    """Write the row into *out* (int64); returns its length."""
    s = pointers(sa)
    out[0] = s.stat.now
    out[1] = s.stat.next_due
    out[2] = s.stat.worker_ns
    at = 3
    for z in range(s.cfg.nr_zones):
        at = put_zone(s, z, out, at)
    at = put_pages(s, out, at)
    for cpu in range(s.cfg.nr_cpus):
        batch = s.cpu[cpu]
        out[at] = batch.lru_add_nr
        at += 1
        for i in range(batch.lru_add_nr):
            out[at] = batch.lru_add[i]
            at += 1
    at = put_free_items(s, out, at)
    for node in range(s.cfg.nr_nodes):
        at = put_items(s, s.node[node].evacuate_pending, out, at)
    at = put_waiting(s, out, at)
    for worker in range(s.cfg.nr_workers):
        at = put_worker(s, s.worker[worker], out, at)
    for node in range(s.cfg.nr_nodes):
        at = put_kswapd(s.node[node], out, at)
    for node in range(s.cfg.nr_nodes):
        at = put_kcompactd(s.node[node], s.cc[node], s.cfg.open_loop == 0, s.stat.late + 0, out, at)
    if s.cfg.open_loop == 0:
        at = put_reclaim(s, objects, out, at)
    if s.cfg.swap_pages:
        at = put_swap(s, out, at)
    if s.cfg.region_order:
        at = put_regions(s, out, at)
    for cpu in range(s.cfg.nr_cpus):
        out[at] = s.cpu[cpu].vmstat_due
        at += 1
    for obj in range(objects):
        out[at + obj] = s.obj[obj]
    return at + objects
