# SPDX-License-Identifier: GPL-2.0-or-later
"""The evacuation worker, one step at a time (the patch's evacuate_pageblock)."""

from __future__ import annotations

from .constants import (
    A_ON_LRU,
    ALLOC,
    BUDDY,
    EAGAIN,
    ENOMEM,
    L_EVAC_FINISHED,
    L_EVAC_ISOLATE,
    L_EVAC_MIGRATE,
    L_EVAC_PUTBACK,
    L_EVAC_RECLAIM,
    L_EVAC_SKIPPED,
    L_EVAC_STARTED,
    MOVABLE,
)
from .irqwork import item_given_back
from .isolation import isolate_whatever_it_holds, unset_migratetype_isolate
from .lru import lru_add_drain_all
from .machine import Machine, Worker
from .migrate import (
    isolate_migratepages_range,
    migrate_pages,
    putback_movable_pages,
    reclaim_clean_pages_from_list,
)
from .pcp import drain_all_pages
from .region_worker import done as region_work_done
from .zone import Page, Zone

RAN_TO_END, AGAIN, NOTHING_EARLY, NOTHING_TO_END, FAILED = 0, 2, 3, 4, 5


def worker_step(m: Machine, worker: Worker) -> None:
    """Do what the worker is due to do."""
    m.cpu = worker.cpu
    steps = {"START": step_start, "ISOLATE": step_isolate, "RECLAIM": step_reclaim, "MIGRATE": step_migrate}
    steps[worker.state](m, worker)


def work_of(m: Machine, worker: Worker) -> tuple[Zone, int, int]:
    """Zone, start and end of the block being evacuated."""
    item = m.items[worker.item]
    return m.zones[item.zone], item.start_pfn, item.start_pfn + m.block_pages


def spend(m: Machine, worker: Worker, cost: int) -> int:
    """Account `cost` ns of CPU time; returns when the worker is done with it."""
    worker.cpu_ns += cost
    return m.now + cost * m.config.time_scale


def pages_within(page: Page, start: int, end: int) -> int:
    """Pages of a chunk that lie in `[start, end)`."""
    return min(page.pfn + page.size, end) - max(page.pfn, start)


def count_for_trace(m: Machine, start: int, end: int) -> tuple[int, int]:
    """Free pages, and pages on the LRU, of a block."""
    free = lru = 0
    pfn = start
    while pfn < end:
        page = m.covering(pfn)
        if page is None:
            pfn += 1
            continue
        if page.state == BUDDY:
            free += pages_within(page, start, end)
        elif page.state == ALLOC and page.attr & A_ON_LRU:
            lru += pages_within(page, start, end)
        pfn = page.pfn + page.size
    return free, lru


def go_idle_or_on(m: Machine, worker: Worker, cost: int) -> None:
    """Give the item back and take up the next one, if there is one, once `cost` is spent."""
    zone, start, _ = work_of(m, worker)
    moved = worker.total_migrated + worker.total_dropped
    m.free_items.append(worker.item)
    worker.forget_work()
    item_given_back(m)
    worker.busy_until = spend(m, worker, cost)
    if worker.queue:
        worker.state, worker.due = "START", worker.busy_until
    else:
        worker.state, worker.due = "IDLE", -1
    region_work_done(m, zone, start, moved)


def finish(m: Machine, worker: Worker, why: int, cost: int) -> None:
    """End the evacuation of a block."""
    _, start, _ = work_of(m, worker)
    if worker.isolates:
        unset_migratetype_isolate(m, start // m.block_pages)
    m.log(
        L_EVAC_FINISHED, start, worker.total_isolated, worker.total_dropped, worker.total_migrated,
        256 * worker.total_failed + why,
    )  # fmt: skip
    go_idle_or_on(m, worker, cost)


def cond_resched(m: Machine, worker: Worker, cost: int) -> None:
    """End of one round: on with the rest of the block, or done."""
    _, _, end = work_of(m, worker)
    if worker.cursor >= end:
        finish(m, worker, RAN_TO_END, cost)
    else:
        worker.state, worker.due = "ISOLATE", spend(m, worker, cost)


def step_start(m: Machine, worker: Worker) -> None:
    """Take the oldest item; go on to isolate unless its block is movable again."""
    worker.item = worker.queue.pop(0)
    _, start, end = work_of(m, worker)
    mt = m.get_pageblock_migratetype(start)
    if mt == MOVABLE and not m.items[worker.item].movable and m.config.recheck:
        m.log(L_EVAC_SKIPPED, start, 0, 0, 0, worker.item)
        go_idle_or_on(m, worker, m.config.work_ns)
        return
    m.reached["opening: movable again, evacuated all the same"] += (
        mt == MOVABLE and not m.items[worker.item].movable
    )
    free, lru = count_for_trace(m, start, end)
    m.log(L_EVAC_STARTED, start, 256 * mt + int(m.block_of(start).skip), free, lru, worker.item)
    worker.cursor = start
    cost = m.config.work_ns
    if m.config.isolate_block:
        worker.isolates = isolate_whatever_it_holds(m, start)
        m.reached["opening: block isolated meanwhile"] += worker.isolates
    if m.config.drain_first:
        m.reached["opening: drained first"] += 1
        drain_all_pages(m, m.zone_of(start))
        lru_add_drain_all(m)
        cost += m.config.work_ns * len(m.config.cpu_node)
    step_isolate(m, worker, cost)


def step_isolate(m: Machine, worker: Worker, cost: int = 0) -> None:
    """Isolate the next batch. `cost` is what the step has cost so far."""
    zone, start, end = work_of(m, worker)
    first = worker.cursor
    result = isolate_migratepages_range(m, zone, first, end)
    worker.cursor = result.cursor
    worker.isolated = result.pages
    worker.total_isolated += result.nr
    m.log(L_EVAC_ISOLATE, start, result.ret, result.nr, first - start, result.cursor - start)
    cost += m.config.scan_ns * (result.cursor - first) + m.config.isolate_ns * result.nr
    if result.pages:
        worker.tried = 0
        try_batch(m, worker, cost)
    elif result.ret == -EAGAIN:
        finish(m, worker, AGAIN, cost)
    else:
        finish(m, worker, NOTHING_TO_END if result.cursor >= end else NOTHING_EARLY, cost)


def try_batch(m: Machine, worker: Worker, cost: int) -> None:
    """What is isolated is dealt with next."""
    worker.state = "RECLAIM" if m.config.drop_clean else "MIGRATE"
    m.reached["opening: clean cache is moved too"] += not m.config.drop_clean
    worker.due = spend(m, worker, cost)


def step_reclaim(m: Machine, worker: Worker) -> None:
    """Drop clean page cache from the batch."""
    _, start, _ = work_of(m, worker)
    dropped, worker.isolated = reclaim_clean_pages_from_list(m, worker.isolated)
    worker.total_dropped += dropped
    left = sum(m.heads[pfn].size for pfn in worker.isolated)
    m.log(L_EVAC_RECLAIM, start, dropped, left)
    cost = m.config.reclaim_ns * dropped
    if worker.isolated:
        worker.state, worker.due = "MIGRATE", spend(m, worker, cost)
    else:
        cond_resched(m, worker, cost)


def step_migrate(m: Machine, worker: Worker) -> None:
    """Move the batch; the first failure ends the evacuation."""
    zone, start, _ = work_of(m, worker)
    given = sum(m.heads[pfn].size for pfn in worker.isolated)
    ret, succeeded, rest, parts = migrate_pages(m, zone, worker.isolated)
    worker.isolated = rest
    worker.total_migrated += succeeded
    m.log(L_EVAC_MIGRATE, start, ret, given, succeeded, given - succeeded)
    cost = m.config.migrate_ns * given
    worker.tried += 1
    if ret > 0 and not parts and worker.tried < m.config.tries:
        m.reached["opening: batch tried again"] += 1
        try_batch(m, worker, cost)
        return
    worker.total_failed += given - succeeded
    if ret != 0:
        m.log(L_EVAC_PUTBACK, start, putback_movable_pages(m, rest))
        worker.isolated = []
    if ret == 0 or (m.config.pass_failed and ret != -ENOMEM):
        m.reached["opening: goes on behind what failed"] += ret > 0
        cond_resched(m, worker, cost)
    else:
        finish(m, worker, FAILED, cost)
