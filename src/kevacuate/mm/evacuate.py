# SPDX-License-Identifier: GPL-2.0-or-later
"""What a ``kevacuate/N`` worker does with an item: evacuate_work_fn and evacuate_pageblock, one step at a time.

The patch's loop is cut where virtual time passes: isolate, reclaim clean pages, migrate, cond_resched. Others run in between.
"""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm.buddy import covering_chunk, get_pfnblock_migratetype
from kevacuate.mm.compaction import isolate_migratepages_range
from kevacuate.mm.constants import (
    ATTR_ON_LRU,
    C_ISOLATE_NS,
    C_MIGRATE_NS,
    C_OFF_ITEMS,
    C_OFF_WORKERS,
    C_PAGEBLOCK_ORDER,
    C_RECLAIM_NS,
    C_SCAN_NS,
    C_TIME_SCALE,
    C_WORK_NS,
    I_NEXT,
    I_PFN,
    IS,
    L_EVAC_FINISHED,
    L_EVAC_ISOLATE,
    L_EVAC_MIGRATE,
    L_EVAC_PUTBACK,
    L_EVAC_RECLAIM,
    L_EVAC_SKIPPED,
    L_EVAC_STARTED,
    MIGRATE_MOVABLE,
    NEVER,
    PB_SKIP,
    PG_ALLOC,
    PG_BUDDY,
    T_CPU,
    T_FAILED,
    T_FINISHED,
    T_ISOLATED,
    T_MIGRATED,
    T_NEXT_DUE,
    T_NOW,
    T_RECLAIMED,
    T_SKIPPED,
    T_STARTED,
    T_STARTED_SKIP_BIT,
    T_WHY,
    T_WORKER_NS,
    WHY_EAGAIN,
    WHY_EMPTY,
    WHY_EMPTY_EARLY,
    WHY_END,
    WHY_MIGRATE_FAILED,
    WK_BUSY,
    WK_CURSOR,
    WK_DUE,
    WK_FAILED,
    WK_HEAD,
    WK_ISOLATED,
    WK_ITEM,
    WK_LIST,
    WK_MIGRATED,
    WK_NLIST,
    WK_RECLAIMED,
    WK_STATE,
    WK_TAIL,
    WORKER_IDLE,
    WORKER_ISOLATE,
    WORKER_MIGRATE,
    WORKER_RECLAIM,
    WORKER_START,
    WS,
)
from kevacuate.mm.log import log_event
from kevacuate.mm.migrate import migrate_pages, putback_movable_pages
from kevacuate.mm.vmscan import reclaim_clean_pages_from_list
from kevacuate.mm.workqueue import evacuate_item_free, worker_cpu


@part
def worker_at(s, worker):  # type: ignore[no-untyped-def]
    """Offset in ``work`` of a worker's fields."""
    return s.cfg[C_OFF_WORKERS] + worker * WS


@part
def block_start(s, at):  # type: ignore[no-untyped-def]
    """First pfn of the block the worker is at."""
    return s.work[s.cfg[C_OFF_ITEMS] + s.work[at + WK_ITEM] * IS + I_PFN]


@part
def charge(s, at, cost, state):  # type: ignore[no-untyped-def]
    """Spend *cost* ns of the worker's time, then be due in *state*."""
    due = s.stat[T_NOW] + cost * s.cfg[C_TIME_SCALE]
    s.stat[T_WORKER_NS] += cost
    s.work[at + WK_STATE] = state
    s.work[at + WK_DUE] = due
    s.stat[T_NEXT_DUE] = min(s.stat[T_NEXT_DUE], due)


@part
def finish_work(s, at, cost):  # type: ignore[no-untyped-def]
    """Give the item back and go on with the next queued one, or idle."""
    evacuate_item_free(s, s.work[at + WK_ITEM])
    s.work[at + WK_ITEM] = -1
    charge(s, at, cost, WORKER_START)
    s.work[at + WK_BUSY] = s.work[at + WK_DUE]
    if s.work[at + WK_HEAD] < 0:
        s.work[at + WK_STATE] = WORKER_IDLE
        s.work[at + WK_DUE] = NEVER


@part
def finish_evacuation(s, at, cost, why):  # type: ignore[no-untyped-def]
    """Log and count how the evacuation ended."""
    s.stat[T_FINISHED] += 1
    s.stat[T_WHY + why] += 1
    failed = 256 * s.work[at + WK_FAILED] + why
    log_event(
        s,
        L_EVAC_FINISHED,
        block_start(s, at),
        s.work[at + WK_ISOLATED],
        s.work[at + WK_RECLAIMED],
        s.work[at + WK_MIGRATED],
        failed,
    )
    finish_work(s, at, cost)


@part
def log_started(s, start, item):  # type: ignore[no-untyped-def]
    """What the block holds when its evacuation starts: free pages and PageLRU pages."""
    end = start + (1 << s.cfg[C_PAGEBLOCK_ORDER])
    free = 0
    on_lru = 0
    head = covering_chunk(s, start)
    pfn = start if head < 0 else head
    while pfn < end:
        meta = s.meta[pfn] + 0
        following = pfn + (1 << (meta & 15))
        pages = min(following, end) - max(pfn, start)
        if meta >> 4 == PG_BUDDY:
            free += pages
        elif meta >> 4 == PG_ALLOC and s.link[2 * pfn + 1] & ATTR_ON_LRU:
            on_lru += pages
        pfn = following
    skip = 1 if s.block[2 * (start >> s.cfg[C_PAGEBLOCK_ORDER])] & PB_SKIP else 0
    s.stat[T_STARTED] += 1
    s.stat[T_STARTED_SKIP_BIT] += skip
    mt = get_pfnblock_migratetype(s, start)
    log_event(s, L_EVAC_STARTED, start, 256 * mt + skip, free, on_lru, item)


@part
def evacuate_work_fn(s, at):  # type: ignore[no-untyped-def]
    """Take the oldest queued item; re-check that its block is not movable again, then start on it."""
    item = s.work[at + WK_HEAD]
    following = s.work[s.cfg[C_OFF_ITEMS] + item * IS + I_NEXT]
    s.work[at + WK_HEAD] = following
    if following < 0:
        s.work[at + WK_TAIL] = -1
    s.work[at + WK_ITEM] = item
    start = block_start(s, at)
    for field in (WK_ISOLATED, WK_RECLAIMED, WK_MIGRATED, WK_FAILED, WK_NLIST):
        s.work[at + field] = 0
    if get_pfnblock_migratetype(s, start) == MIGRATE_MOVABLE:
        s.stat[T_SKIPPED] += 1
        log_event(s, L_EVAC_SKIPPED, start, 0, 0, 0, item)
        finish_work(s, at, s.cfg[C_WORK_NS])
        return
    log_started(s, start, item)
    s.work[at + WK_CURSOR] = start
    evacuate_isolate(s, at, s.cfg[C_WORK_NS])


@part
def evacuate_isolate(s, at, cost):  # type: ignore[no-untyped-def]
    """Isolate the next batch of the block; *cost* ns were spent already in this step."""
    start = block_start(s, at)
    end = start + (1 << s.cfg[C_PAGEBLOCK_ORDER])
    first = s.work[at + WK_CURSOR]
    ret, pages = isolate_migratepages_range(s, at, first, end)
    cursor = s.work[at + WK_CURSOR]
    s.work[at + WK_ISOLATED] += pages
    s.stat[T_ISOLATED] += pages
    log_event(s, L_EVAC_ISOLATE, start, ret, pages, first - start, cursor - start)
    cost += (cursor - first) * s.cfg[C_SCAN_NS] + pages * s.cfg[C_ISOLATE_NS]
    if s.work[at + WK_NLIST] > 0:
        charge(s, at, cost, WORKER_RECLAIM)
    elif ret < 0:
        finish_evacuation(s, at, cost, WHY_EAGAIN)
    elif cursor >= end:
        finish_evacuation(s, at, cost, WHY_EMPTY)
    else:
        finish_evacuation(s, at, cost, WHY_EMPTY_EARLY)


@part
def evacuate_reclaim(s, at, cpu):  # type: ignore[no-untyped-def]
    """Drop the batch's clean page cache."""
    dropped = reclaim_clean_pages_from_list(s, at, cpu)
    left = 0
    for i in range(s.work[at + WK_NLIST]):
        left += 1 << (s.meta[s.work[at + WK_LIST + i]] & 15)
    s.work[at + WK_RECLAIMED] += dropped
    s.stat[T_RECLAIMED] += dropped
    log_event(s, L_EVAC_RECLAIM, block_start(s, at), dropped, left, 0, 0)
    cost = dropped * s.cfg[C_RECLAIM_NS]
    if left:
        charge(s, at, cost, WORKER_MIGRATE)
    else:
        evacuate_cond_resched(s, at, cost)


@part
def evacuate_migrate(s, at, cpu):  # type: ignore[no-untyped-def]
    """Migrate what is left of the batch; the first failure puts it back and ends the work."""
    given = 0
    for i in range(s.work[at + WK_NLIST]):
        given += 1 << (s.meta[s.work[at + WK_LIST + i]] & 15)
    ret, succeeded = migrate_pages(s, at, cpu)
    failed = given - succeeded
    s.work[at + WK_MIGRATED] += succeeded
    s.work[at + WK_FAILED] += failed
    s.stat[T_MIGRATED] += succeeded
    s.stat[T_FAILED] += failed
    start = block_start(s, at)
    log_event(s, L_EVAC_MIGRATE, start, ret, given, succeeded, failed)
    cost = given * s.cfg[C_MIGRATE_NS]
    if ret:
        log_event(s, L_EVAC_PUTBACK, start, putback_movable_pages(s, at, cpu), 0, 0, 0)
        finish_evacuation(s, at, cost, WHY_MIGRATE_FAILED)
    else:
        evacuate_cond_resched(s, at, cost)


@part
def evacuate_cond_resched(s, at, cost):  # type: ignore[no-untyped-def]
    """The end of one turn of the loop: others run; at the block's end the work is done."""
    if s.work[at + WK_CURSOR] >= block_start(s, at) + (1 << s.cfg[C_PAGEBLOCK_ORDER]):
        finish_evacuation(s, at, cost, WHY_END)
    else:
        charge(s, at, cost, WORKER_ISOLATE)


@part
def evacuate_pageblock(s, worker):  # type: ignore[no-untyped-def]
    """Run the worker's next step at its due time."""
    at = worker_at(s, worker)
    cpu = worker_cpu(s, worker)
    s.stat[T_CPU] = cpu
    state = s.work[at + WK_STATE]
    s.work[at + WK_DUE] = NEVER
    if state == WORKER_START:
        evacuate_work_fn(s, at)
    elif state == WORKER_ISOLATE:
        evacuate_isolate(s, at, 0)
    elif state == WORKER_RECLAIM:
        evacuate_reclaim(s, at, cpu)
    elif state == WORKER_MIGRATE:
        evacuate_migrate(s, at, cpu)
