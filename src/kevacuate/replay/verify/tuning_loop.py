# SPDX-License-Identifier: GPL-2.0-or-later
"""The tuning level, compiled: refills and frees are decided by the model's own functions before the recording is looked at.

``pcp->count`` follows the recording once a decision has been compared: the chunks that a refill brought, those that a drain took
away, and, where insertions (gt_rmq 5) are recorded, the count that they show. That differs from the model's where a task
took a page and was interrupted before its mm_page_alloc: the allocation is then counted at once, and not again when it shows.
"""

from __future__ import annotations

from kevacuate.mm.buddy import get_pfnblock_migratetype, page_zone, set_pageblock_migratetype
from kevacuate.mm.constants import (
    ALLOC_HIGHATOMIC,
    C_NCPUS,
    C_NPAGES,
    C_NZONES,
    MIGRATE_ISOLATE,
    MIGRATE_MOVABLE,
    MIGRATE_PCPTYPES,
    P_COUNT,
    P_FREE_COUNT,
    PS,
    Z_BELOW_HIGH,
    Z_NR_FREE,
    Z_RECLAIM_ACTIVE,
    ZONE_MOVABLE,
    ZS,
)
from kevacuate.mm.jit import kernel, part, pointers
from kevacuate.mm.page_alloc import gfp_zone
from kevacuate.mm.pcp import count_free, order_to_pindex, pcp_allowed_order, pcp_at
from kevacuate.recording.schema import EventKind
from kevacuate.replay.verify.frees import (
    F_ROWS,
    GROUP,
    find_fates,
    group_end,
    group_order,
    inserted_order,
    scans,
    unused,
)
from kevacuate.replay.verify.tuning_books import (
    F_INSERTIONS,
    F_KSWAPD,
    F_LISTS,
    F_QUIET,
    N_ALLOCS,
    N_CHUNKS,
    N_DRAINED,
    N_EARLY,
    N_FREES,
    N_INSERTED,
    N_REFILLS,
    O_FACTORS,
    O_OWED,
    O_OWED_PID,
    OW,
    W_BEFORE,
    W_CLEARING,
    W_COMMITS,
    W_FREE_COUNT,
    W_FREE_HIGH,
    W_FRESH,
    W_INDEX,
    W_LOCKED,
    W_PCP,
    W_PID,
    W_REFILL,
    W_ROW,
    W_RUN,
    W_SLOT,
    WW,
)
from kevacuate.replay.verify.tuning_drains import (
    drain,
    drained_nothing,
    free_slot,
    goes_on,
    not_taken,
    open_slot,
    settle_all,
    settle_finished,
    sub_batch_done,
)
from kevacuate.replay.verify.tuning_phases import (
    catch_up,
    drain_sizes,
    halve_factors,
    may_matter,
    refill_sizes,
)
from kevacuate.replay.verify.tuning_zone import (
    claim_attempt,
    find_next_kswapd,
    infer_kswapd,
    is_kswapd,
    kswapd_idle,
    list_operation,
    no_chunk_found,
    test_high_mark,
    test_zones_above,
    vmscan_event,
)

_RMQ = int(EventKind.GT_RMQ)
_LIST = int(EventKind.GT_LIST)
_BLK = int(EventKind.GT_BLK)
_EVAC = int(EventKind.GT_EVAC)
_ALLOC = int(EventKind.MM_PAGE_ALLOC)
_FREE = int(EventKind.MM_PAGE_FREE)
_BATCHED = int(EventKind.MM_PAGE_FREE_BATCHED)
_LOCKED = int(EventKind.MM_PAGE_ALLOC_ZONE_LOCKED)
_DRAIN = int(EventKind.MM_PAGE_PCPU_DRAIN)
_EXTFRAG = int(EventKind.MM_PAGE_ALLOC_EXTFRAG)
_SCAN = int(EventKind.COMPACTION_ISOLATE_MIGRATEPAGES)
_TRY = int(EventKind.COMPACTION_TRY_TO_COMPACT_PAGES)
_ISOLATE = int(EventKind.COMPACTION_ISOLATE_FREEPAGES)
_FAST_ISOLATE = int(EventKind.COMPACTION_FAST_ISOLATE_FREEPAGES)
_BEGIN = int(EventKind.VMSCAN_BALANCE_PGDAT_BEGIN)
_END = int(EventKind.VMSCAN_BALANCE_PGDAT_END)

DIRECT = -1


@part(inline=True)
def set_aside(s, b, pfn, order):  # type: ignore[no-untyped-def]
    """Take the pages of a chunk off the list sets that hold them; the number of the first one's set, -1 if none does."""
    first = b.owner[pfn] - 1
    for page in range(pfn, pfn + (1 << order)):
        pcp = b.owner[page] - 1
        if pcp >= 0:
            s.pcp[pcp * PS + P_COUNT] -= 1
            b.owner[page] = 0
    return first


@part(inline=True)
def put_on(s, b, pfn, order, pcp):  # type: ignore[no-untyped-def]
    """Put a chunk on a list of a list set."""
    for page in range(pfn, pfn + (1 << order)):
        b.owner[page] = pcp + 1
    s.pcp[pcp * PS + P_COUNT] += 1 << order


@part(inline=True)
def drain_counted(s, b, cpu):  # type: ignore[no-untyped-def]
    """What follows once the pages of a free's sub-batch have been counted."""
    if b.cpu[cpu * WW + W_CLEARING]:
        sub_batch_done(s, b, cpu)


@part(inline=True)
def owed(b, pcp, pid, pages):  # type: ignore[no-untyped-def]
    """Whether the allocation was counted when a list's count showed it."""
    at = pcp * OW
    if b.sets[at + O_OWED] < pages or b.sets[at + O_OWED_PID] != pid:
        return False
    b.sets[at + O_OWED] -= pages
    return True


@part(inline=True)
def allocate(s, b, e, i):  # type: ignore[no-untyped-def]
    """mm_page_alloc: if a per-CPU list held the page, its free_count is halved and its count smaller."""
    pfn, order = e.pfn[i] + 0, e.order[i] + 0
    if pfn < 0:
        no_chunk_found(s)
        return
    if not b.facts[F_INSERTIONS]:
        for page in range(pfn, pfn + (1 << order)):
            b.alloc_order[page] = order
            b.used[page] = 1
    pcp = set_aside(s, b, pfn, order)
    if pcp < 0:
        return
    b.inputs[N_ALLOCS] += 1
    if owed(b, pcp, e.pid[i] + 0, 1 << order):
        s.pcp[pcp * PS + P_COUNT] += 1 << order
        return
    z = pcp // s.cfg[C_NCPUS]
    test_zones_above(s, z, gfp_zone(e.gfp[i] + 0), order)
    test_high_mark(s, z, order)
    s.pcp[pcp * PS + P_FREE_COUNT] >>= 1


@part(inline=True)
def taken(s, b, cpu, pfn, order):  # type: ignore[no-untyped-def]
    """A chunk left the buddy lists: for the list set that is being refilled, but for the first, which is allocated at once."""
    if not b.facts[F_LISTS]:
        s.zone[page_zone(s, pfn) * ZS + Z_NR_FREE] -= 1 << order
    set_aside(s, b, pfn, order)
    at = cpu * WW
    pcp = b.cpu[at + W_REFILL] - 1
    if pcp < 0:
        return
    b.inputs[N_CHUNKS] += 1
    if b.cpu[at + W_FRESH]:
        b.cpu[at + W_FRESH] = 0
        return
    put_on(s, b, pfn, order, pcp)


@part(inline=True)
def drained(s, b, pfn, order):  # type: ignore[no-untyped-def]
    """mm_page_pcpu_drain: a chunk went back to the buddy lists."""
    b.inputs[N_DRAINED] += 1
    z = page_zone(s, pfn)
    if not b.facts[F_LISTS]:
        s.zone[z * ZS + Z_NR_FREE] += 1 << order
    set_aside(s, b, pfn, order)


@part(cold=True)
def follow_count(s, b, pcp, cpu, pid, recorded):  # type: ignore[no-untyped-def]
    """The recorded count differs: a task has taken a page and was interrupted, or what was guessed so before is put right."""
    more = s.pcp[pcp * PS + P_COUNT] - recorded
    s.pcp[pcp * PS + P_COUNT] = recorded
    at = pcp * OW
    if more < 0:
        b.sets[at + O_OWED] = max(b.sets[at + O_OWED] + more, 0)
        return
    b.inputs[N_EARLY] += 1
    s.pcp[pcp * PS + P_FREE_COUNT] >>= 1
    b.sets[at + O_OWED] += more
    b.sets[at + O_OWED_PID] = pid if b.cpu[cpu * WW + W_COMMITS] > 1 else b.cpu[cpu * WW + W_BEFORE]


@part(inline=True)
def commit(s, b, e, i, number, pfn, order, pindex):  # type: ignore[no-untyped-def]
    """A free reaches a per-CPU list: decide whether and how much it drains (free_frozen_page_commit)."""
    z, cpu, pid = page_zone(s, pfn), e.cpu[i] + 0, e.pid[i] + 0
    waits = cpu * WW
    if b.cpu[waits + W_PID]:
        drained_nothing(s, b, cpu, e.ts[i] + 0)
    drain_counted(s, b, cpu)
    at = pcp_at(s, z, cpu)
    pcp = at // PS
    set_aside(s, b, pfn, order)
    put_on(s, b, pfn, order, pcp)
    b.cpu[waits + W_COMMITS] += 1
    if b.facts[F_INSERTIONS] and s.pcp[at + P_COUNT] != e.d[i]:
        follow_count(s, b, pcp, cpu, pid, e.d[i] + 0)
    if not b.facts[F_INSERTIONS]:
        unused(b, pfn, order)
    if b.sets[pcp * OW + O_FACTORS]:
        halve_factors(b, pcp)
    count = s.pcp[at + P_COUNT] + 0
    free_high = count_free(s, at, order, count)
    b.cpu[waits + W_PID] = pid + 1
    b.cpu[waits + W_PCP] = pcp
    b.cpu[waits + W_INDEX] = pindex
    b.cpu[waits + W_ROW] = number + i
    b.cpu[waits + W_SLOT] = -1
    b.cpu[waits + W_FREE_COUNT] = s.pcp[at + P_FREE_COUNT]
    b.cpu[waits + W_FREE_HIGH] = free_high
    b.facts[F_QUIET] += 1
    if may_matter(s, b, z, at, count, free_high):
        decide_drain(s, b, z, cpu, pid, count, free_high, e.ts[i] + 0)


@part
def decide_drain(s, b, z, cpu, pid, count, free_high, ts):  # type: ignore[no-untyped-def]
    """Decide under every phase, and keep what is to be drained until the kernel's sub-batches are seen."""
    settle_finished(s, b, pid)
    w = free_slot(s, b, ts)
    active, below = s.zone[z * ZS + Z_RECLAIM_ACTIVE] + 0, s.zone[z * ZS + Z_BELOW_HIGH] + 0
    if drain_sizes(s, b, z, cpu, count, free_high, w):
        open_slot(s, b, w, cpu, ts, count, active, below)


@part(inline=True)
def free_without_insertions(s, b, e, w, i, number):  # type: ignore[no-untyped-def]
    """Where gt_rmq 5 is not recorded: what reaches the lists at a free follows from the page's other events."""
    order = inserted_order(b, e, w, i)
    first = e.pfn[i] + 0
    end = first + 1
    if order == GROUP:
        end = group_end(b, e, w, i)
        order = group_order(s, first, end)
    while order >= 0 and first < end:
        b.inputs[N_FREES] += 1
        mt = get_pfnblock_migratetype(s, first)
        if pcp_allowed_order(s, order) and mt != MIGRATE_ISOLATE:
            if mt >= MIGRATE_PCPTYPES:
                mt = MIGRATE_MOVABLE
            commit(s, b, e, i, number, first, order, order_to_pindex(order, mt))
        first += 1 << order
        if first < end:
            order = group_order(s, first, end)


@part(cold=True)
def refill(s, b, e, i, number):  # type: ignore[no-untyped-def]
    """gt_rmq 0: the model says how many chunks; then the kernel's number is looked at."""
    z, cpu, order = b.zone_of[e.b[i]] + 0, e.cpu[i] + 0, e.order[i] + 0
    b.inputs[N_REFILLS] += 1
    test_zones_above(s, z, ZONE_MOVABLE, order)
    test_high_mark(s, z, order)
    at = pcp_at(s, z, cpu)
    s.pcp[at + P_FREE_COUNT] >>= 1
    refill_sizes(s, b, z, cpu, order, e.d[i] + 0, number + i, e.ts[i] + 0)
    b.cpu[cpu * WW + W_REFILL] = at // PS + 1
    b.cpu[cpu * WW + W_FRESH] = 1


@part(cold=True)
def buddy_request(s, b, e, i):  # type: ignore[no-untyped-def]
    """gt_rmq 1: past the lists; one that may use the highatomic reserve had asked them in vain (page_alloc.c:3361)."""
    z, cpu, order = b.zone_of[e.b[i]] + 0, e.cpu[i] + 0, e.order[i] + 0
    test_zones_above(s, z, ZONE_MOVABLE, order)
    test_high_mark(s, z, order)
    if e.c[i] & ALLOC_HIGHATOMIC and pcp_allowed_order(s, order):
        s.pcp[pcp_at(s, z, cpu) + P_FREE_COUNT] >>= 1
        refill_sizes(s, b, z, cpu, order, -1, 0, 0)
    b.cpu[cpu * WW + W_REFILL] = DIRECT


@part(cold=True)
def bulk_page(s, b, pfn):  # type: ignore[no-untyped-def]
    """gt_rmq 4: a page of alloc_pages_bulk, which does not halve free_count."""
    set_aside(s, b, pfn, 0)


@part(inline=True)
def request(s, b, e, i, number):  # type: ignore[no-untyped-def]
    """A gt_rmq event."""
    kind, cpu = e.a[i], e.cpu[i]
    if kind == 5:
        if b.facts[F_INSERTIONS]:
            b.inputs[N_INSERTED] += 1
            commit(s, b, e, i, number, e.pfn[i] + 0, e.order[i] + 0, e.mt[i] + 0)
        return
    drain_counted(s, b, cpu + 0)
    b.cpu[cpu * WW + W_LOCKED] = -1
    b.cpu[cpu * WW + W_REFILL] = 0
    if kind == 0:
        refill(s, b, e, i, number)
    elif kind == 1:
        buddy_request(s, b, e, i)
    elif kind == 2:
        drain(s, b, e, i, number)
    elif kind == 4:
        bulk_page(s, b, e.pfn[i] + 0)
    elif kind == 3:
        unused(b, e.pfn[i] + 0, e.order[i] + 0)
        if not b.facts[F_LISTS]:
            s.zone[page_zone(s, e.pfn[i] + 0) * ZS + Z_NR_FREE] += 1 << e.order[i]


@part(cold=True)
def isolated(s, pfn, pages):  # type: ignore[no-untyped-def]
    """Compaction took free pages of a block; the event may name any pfn."""
    if pfn < 0 or pfn >= s.cfg[C_NPAGES]:
        return
    z = page_zone(s, pfn)
    if z < s.cfg[C_NZONES]:
        s.zone[z * ZS + Z_NR_FREE] -= pages


@part(cold=True)
def other_event(s, b, e, i):  # type: ignore[no-untyped-def]
    """What concerns the zones only."""
    kind = e.kind[i]
    if kind == _BLK:
        set_pageblock_migratetype(s, e.pfn[i] + 0, e.a[i] + 0)
    elif kind == _EVAC:
        if e.order[i] == 0:
            claim_attempt(s, b, page_zone(s, e.pfn[i] + 0))
    elif kind == _SCAN:
        scans(b, e, i)
    elif kind == _TRY:
        no_chunk_found(s)
    elif kind == _BEGIN or kind == _END:
        vmscan_event(s, b, e, i)
    elif (kind == _ISOLATE or kind == _FAST_ISOLATE) and not b.facts[F_LISTS]:
        isolated(s, e.pfn[i] + 0, e.c[i] + 0)


@part(inline=True)
def task_runs(s, b, e, w, i):  # type: ignore[no-untyped-def]
    """Keep which task runs on the CPU, and what is inferred of kswapd."""
    at, pid = e.cpu[i] * WW, e.pid[i]
    if b.cpu[at + W_RUN] != pid:
        b.cpu[at + W_BEFORE] = b.cpu[at + W_RUN]
        b.cpu[at + W_RUN] = pid
        b.cpu[at + W_COMMITS] = 0
        goes_on(s, b, e.cpu[i] + 0, pid + 0)
        if not b.facts[F_INSERTIONS] and e.kind[i] != _ALLOC:
            not_taken(s, b, pid + 0)
    if is_kswapd(b, pid):
        infer_kswapd(s, b, e, w, i)


@kernel
def tuning_rows(sa, books, events, scratch, number, rows):  # type: ignore[no-untyped-def]
    """Run the first *rows* rows through the tuning level; the rest is there to look ahead. *number* is that of row 0."""
    s, b, e, w = pointers(sa), pointers(books), pointers(events), pointers(scratch)
    b.facts[F_ROWS] = events.kind.size
    if not b.facts[F_INSERTIONS]:
        find_fates(b, e, w, events.kind.size)
    if b.facts[F_KSWAPD]:
        find_next_kswapd(b, e, w, events.kind.size)
    for i in range(rows):
        kind, cpu = e.kind[i], e.cpu[i]
        if kind == _LIST:
            if b.facts[F_LISTS]:
                list_operation(s, page_zone(s, e.pfn[i] + 0), e.a[i] + 0, e.order[i] + 0, e.mt[i] + 0)
            continue
        catch_up(s, b, cpu + 0, e.ts[i] + 0, number + i)
        kswapd_idle(s, b, e.ts[i] + 0)
        task_runs(s, b, e, w, i)
        if kind <= _FREE and b.cpu[cpu * WW + W_SLOT] < 0:
            b.cpu[cpu * WW + W_PID] = 0
        if kind == _ALLOC:
            drain_counted(s, b, cpu + 0)
            allocate(s, b, e, i)
        elif kind == _RMQ:
            request(s, b, e, i, number)
        elif kind == _LOCKED:
            taken(s, b, cpu + 0, e.pfn[i] + 0, e.order[i] + 0)
            b.cpu[cpu * WW + W_LOCKED] = e.pfn[i]
        elif kind == _EXTFRAG:
            if b.cpu[cpu * WW + W_LOCKED] != e.pfn[i]:
                taken(s, b, cpu + 0, e.pfn[i] + 0, e.order[i] + 0)
            b.cpu[cpu * WW + W_LOCKED] = -1
        elif kind == _DRAIN:
            drained(s, b, e.pfn[i] + 0, e.order[i] + 0)
        elif kind == _FREE or kind == _BATCHED:
            if not b.facts[F_INSERTIONS]:
                free_without_insertions(s, b, e, w, i, number)
        else:
            other_event(s, b, e, i)


@kernel
def tuning_settled(sa, books):  # type: ignore[no-untyped-def]
    """Settle every drain that is under way: a dump, or the end."""
    s, b = pointers(sa), pointers(books)
    for cpu in range(s.cfg[C_NCPUS]):
        drain_counted(s, b, cpu)
    settle_all(s, b)
