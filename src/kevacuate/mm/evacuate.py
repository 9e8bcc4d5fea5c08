# SPDX-License-Identifier: GPL-2.0-or-later
"""What a ``kevacuate/N`` worker does with an item: evacuate_work_fn and evacuate_pageblock, one step at a time.

The patch's loop is cut where virtual time passes: isolate, reclaim clean pages, migrate, cond_resched. Others run in between.
"""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm import constants as k
from kevacuate.mm.buddy import covering_chunk, get_pfnblock_migratetype
from kevacuate.mm.evacuate_isolate import isolate_migratepages_range
from kevacuate.mm.evacuate_migrate import migrate_pages, putback_movable_pages
from kevacuate.mm.evacuate_queue import evacuate_item_free, queue_waiting_block, worker_cpu
from kevacuate.mm.evacuate_ready import drain_everything, isolate_evacuated_block, unisolate_evacuated_block
from kevacuate.mm.fields import View, Worker
from kevacuate.mm.log import log_event
from kevacuate.mm.region_worker import region_work_done
from kevacuate.mm.vmscan import reclaim_clean_pages_from_list


@part
def item_start_pfn(s: View, worker: Worker) -> int:
    """First pfn of the block the worker is at."""
    return s.item[worker.item].start_pfn


@part
def charge(s: View, worker: Worker, cost: int, state: int) -> None:
    """Spend *cost* ns of the worker's time, then be due in *state*."""
    due = s.stat.now + cost * s.cfg.time_scale
    s.stat.worker_ns += cost
    worker.state = state
    worker.due = due
    s.stat.next_due = min(s.stat.next_due, due)


@part
def finish_work(s: View, worker: Worker, cost: int) -> None:
    """Give the item back and go on with the next queued one, or idle."""
    start, moved = item_start_pfn(s, worker), worker.migrated + worker.reclaimed
    evacuate_item_free(s, worker.item)
    worker.item = -1
    if s.stat.evacuate_waiting >= 0:
        queue_waiting_block(s)
    charge(s, worker, cost, k.WORKER_START)
    worker.busy = worker.due
    if worker.head < 0:
        worker.state = k.WORKER_IDLE
        worker.due = k.NEVER
    if s.cfg.region_worker:
        region_work_done(s, start, moved)


@part
def finish_evacuation(s: View, worker: Worker, cost: int, why: int) -> None:
    """Log and count how the evacuation ended."""
    if worker.isolates:
        unisolate_evacuated_block(s, worker, item_start_pfn(s, worker))
    s.stat.finished += 1
    s.stat.why[why] += 1
    failed = 256 * worker.failed + why
    log_event(
        s,
        k.L_EVAC_FINISHED,
        item_start_pfn(s, worker),
        worker.isolated,
        worker.reclaimed,
        worker.migrated,
        failed,
    )
    finish_work(s, worker, cost)


@part
def log_started(s: View, start: int, item: int) -> None:
    """What the block holds when its evacuation starts: free pages and PageLRU pages."""
    end = start + (1 << s.cfg.pageblock_order)
    free = 0
    on_lru = 0
    head = covering_chunk(s, start)
    pfn = start if head < 0 else head
    while pfn < end:
        meta = s.meta[pfn] + 0
        following = pfn + (1 << (meta & 15))
        pages = min(following, end) - max(pfn, start)
        if meta >> 4 == k.CHUNK_BUDDY:
            free += pages
        elif meta >> 4 == k.CHUNK_ALLOC and s.link[2 * pfn + 1] & k.ATTR_ON_LRU:
            on_lru += pages
        pfn = following
    skip = 1 if s.block[2 * (start >> s.cfg.pageblock_order)] & k.PB_COMPACT_SKIP else 0
    s.stat.started += 1
    s.stat.started_skip_bit += skip
    mt = get_pfnblock_migratetype(s, start)
    log_event(s, k.L_EVAC_STARTED, start, 256 * mt + skip, free, on_lru, item)


@part
def evacuate_work_fn(s: View, worker: Worker) -> None:
    """Take the oldest queued item; re-check that its block is not movable again, then start on it."""
    item = worker.head
    following = s.item[item].next
    worker.head = following
    if following < 0:
        worker.tail = -1
    worker.item = item
    start = item_start_pfn(s, worker)
    worker.isolated = worker.reclaimed = worker.migrated = worker.failed = worker.nr_migratepages = 0
    movable_again = get_pfnblock_migratetype(s, start) == k.MIGRATE_MOVABLE and s.item[item].movable == 0
    if movable_again and s.cfg.recheck:
        s.stat.skipped += 1
        log_event(s, k.L_EVAC_SKIPPED, start, 0, 0, 0, item)
        finish_work(s, worker, s.cfg.work_ns)
        return
    log_started(s, start, item)
    worker.cursor = start
    cost = s.cfg.work_ns
    if s.cfg.isolate_block:
        isolate_evacuated_block(s, worker, start)
    if s.cfg.drain_first:
        cost += drain_everything(s, start)
    evacuate_isolate(s, worker, cost)


@part
def evacuate_isolate(s: View, worker: Worker, cost: int) -> None:
    """Isolate the next batch of the block; *cost* ns were spent already in this step."""
    start = item_start_pfn(s, worker)
    end = start + (1 << s.cfg.pageblock_order)
    first = worker.cursor
    ret, pages = isolate_migratepages_range(s, worker, first, end)
    cursor = worker.cursor
    worker.isolated += pages
    s.stat.isolated += pages
    log_event(s, k.L_EVAC_ISOLATE, start, ret, pages, first - start, cursor - start)
    cost += (cursor - first) * s.cfg.scan_ns + pages * s.cfg.isolate_ns
    if worker.nr_migratepages > 0:
        worker.tried = 0
        charge_batch(s, worker, cost)
    elif ret < 0:
        finish_evacuation(s, worker, cost, k.WHY_EAGAIN)
    elif cursor >= end:
        finish_evacuation(s, worker, cost, k.WHY_EMPTY)
    else:
        finish_evacuation(s, worker, cost, k.WHY_EMPTY_EARLY)


@part
def charge_batch(s: View, worker: Worker, cost: int) -> None:
    """A batch is next: its clean page cache is dropped first, unless it is to be moved."""
    charge(s, worker, cost, k.WORKER_RECLAIM if s.cfg.drop_clean else k.WORKER_MIGRATE)


@part
def evacuate_reclaim(s: View, worker: Worker, cpu: int) -> None:
    """Drop the batch's clean page cache."""
    dropped = reclaim_clean_pages_from_list(s, worker, cpu)
    left = 0
    for i in range(worker.nr_migratepages):
        left += 1 << (s.meta[worker.migratepages[i]] & 15)
    worker.reclaimed += dropped
    s.stat.reclaimed += dropped
    log_event(s, k.L_EVAC_RECLAIM, item_start_pfn(s, worker), dropped, left, 0, 0)
    cost = dropped * s.cfg.reclaim_ns
    if left:
        charge(s, worker, cost, k.WORKER_MIGRATE)
    else:
        evacuate_cond_resched(s, worker, cost)


@part
def evacuate_migrate(s: View, worker: Worker, cpu: int) -> None:
    """Migrate what is left of the batch; the first failure puts it back and ends the work.

    What is not the patch's: with ``tries`` the batch is tried again first, as in __alloc_contig_migrate_range. Not on -ENOMEM,
    and (approximate) not where pages of split folios wait. With ``pass_failed`` the evacuation goes on behind what failed.
    """
    given = 0
    for i in range(worker.nr_migratepages):
        given += 1 << (s.meta[worker.migratepages[i]] & 15)
    ret, succeeded = migrate_pages(s, worker, cpu)
    failed = given - succeeded
    worker.migrated += succeeded
    s.stat.migrated += succeeded
    start = item_start_pfn(s, worker)
    log_event(s, k.L_EVAC_MIGRATE, start, ret, given, succeeded, failed)
    cost = given * s.cfg.migrate_ns
    worker.tried += 1
    if ret > 0 and worker.tried < s.cfg.tries and worker.nr_parts == 0:
        charge_batch(s, worker, cost)
        return
    worker.failed += failed
    s.stat.failed += failed
    if ret:
        log_event(s, k.L_EVAC_PUTBACK, start, putback_movable_pages(s, worker, cpu), 0, 0, 0)
    if ret == 0 or (ret > 0 and s.cfg.pass_failed):
        evacuate_cond_resched(s, worker, cost)
    else:
        finish_evacuation(s, worker, cost, k.WHY_MIGRATE_FAILED)


@part
def evacuate_cond_resched(s: View, worker: Worker, cost: int) -> None:
    """The end of one turn of the loop: others run; at the block's end the work is done."""
    if worker.cursor >= item_start_pfn(s, worker) + (1 << s.cfg.pageblock_order):
        finish_evacuation(s, worker, cost, k.WHY_END)
    else:
        charge(s, worker, cost, k.WORKER_ISOLATE)


@part
def evacuate_pageblock(s: View, number: int) -> None:
    """Run the worker's next step at its due time."""
    worker = s.worker[number]
    cpu = worker_cpu(s, number)
    s.stat.cpu = cpu
    state = worker.state
    worker.due = k.NEVER
    if state == k.WORKER_START:
        evacuate_work_fn(s, worker)
    elif state == k.WORKER_ISOLATE:
        evacuate_isolate(s, worker, 0)
    elif state == k.WORKER_RECLAIM:
        evacuate_reclaim(s, worker, cpu)
    elif state == k.WORKER_MIGRATE:
        evacuate_migrate(s, worker, cpu)
