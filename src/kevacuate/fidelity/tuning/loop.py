# SPDX-License-Identifier: GPL-2.0-or-later
"""The tuning level, compiled: refills and frees are decided by the model's own functions before the recording is looked at."""

from __future__ import annotations

from kevacuate.fidelity.pcp_frees import (
    F_ROWS,
    GROUP,
    find_fates,
    group_end,
    group_order,
    inserted_order,
    scans,
    unused,
)
from kevacuate.fidelity.tuning import books as bk
from kevacuate.fidelity.tuning.books import TuningBooks, TuningScratch
from kevacuate.fidelity.tuning.decay import (
    catch_up,
    settle_decays,
)
from kevacuate.fidelity.tuning.drains import (
    drain,
    drained_nothing,
    not_taken,
    settle_all,
)
from kevacuate.fidelity.tuning.pages import (
    allocate,
    buddy_request,
    bulk_page,
    drain_counted,
    drained,
    follow_count,
    isolated,
    put_on,
    refill,
    set_aside,
    taken,
)
from kevacuate.fidelity.tuning.phases import (
    drain_sizes,
    halve_factors,
    may_matter,
)
from kevacuate.fidelity.tuning.slots import (
    drains_over,
    free_slot,
    goes_on,
    open_slot,
    settle_finished,
)
from kevacuate.fidelity.tuning.zone import (
    claim_attempt,
    find_next_kswapd,
    infer_kswapd,
    is_kswapd,
    kswapd_idle,
    list_operation,
    no_chunk_found,
    vmscan_event,
)
from kevacuate.jit import (
    kernel,
    part,
    pointers,
)
from kevacuate.mm.buddy import (
    get_pfnblock_migratetype,
    page_zone,
    set_pageblock_migratetype,
)
from kevacuate.mm.constants import (
    MIGRATE_ISOLATE,
    MIGRATE_MOVABLE,
    MIGRATE_PCPTYPES,
)
from kevacuate.mm.fields import View
from kevacuate.mm.layout import State
from kevacuate.mm.pcp import (
    count_free,
    order_to_pindex,
    pcp_allowed_order,
    pcp_number,
)
from kevacuate.recording import EventChunk
from kevacuate.recording import event_numbers as ev


@part(inline=True)
def commit(s: View, b: TuningBooks, e: EventChunk, i: int, pfn: int, order: int, pindex: int) -> None:
    """A free reaches a per-CPU list: decide whether and how much it drains (free_frozen_page_commit)."""
    z, cpu, pid = page_zone(s, pfn), e.cpu[i] + 0, e.pid[i] + 0
    waits = cpu * bk.WW
    if b.cpu[waits + bk.W_PID]:
        drained_nothing(s, b, cpu, e.ts[i] + 0)
    drain_counted(s, b, cpu)
    if s.zone[z].below_high:
        drains_over(s, b, pid)
    pcp = pcp_number(s, z, cpu)
    lists = s.pcp[pcp]
    set_aside(s, b, pfn, order)
    put_on(s, b, pfn, order, pcp)
    b.cpu[waits + bk.W_COMMITS] += 1
    if not b.facts[bk.F_INSERTIONS]:
        unused(b, pfn, order)
    elif lists.count != e.d[i]:
        follow_count(s, b, pcp, cpu, pid, e.d[i] + 0)
    if b.sets[pcp * bk.OW + bk.O_FACTORS]:
        halve_factors(b, pcp)
    count = lists.count
    free_high = count_free(s, lists, order, count)
    b.cpu[waits + bk.W_PID] = pid + 1
    b.cpu[waits + bk.W_PCP] = pcp
    b.cpu[waits + bk.W_INDEX] = pindex
    b.cpu[waits + bk.W_ROW] = b.facts[bk.F_NUMBER] + i
    b.cpu[waits + bk.W_SLOT] = -1
    b.cpu[waits + bk.W_FREE_COUNT] = lists.free_count
    b.cpu[waits + bk.W_FREE_HIGH] = free_high
    b.facts[bk.F_QUIET] += 1
    if may_matter(s, b, z, pcp, count, free_high):
        decide_drain(s, b, z, cpu, pid, count, free_high, e.ts[i] + 0)


@part
def decide_drain(
    s: View, b: TuningBooks, z: int, cpu: int, pid: int, count: int, free_high: bool, ts: int
) -> None:
    """Decide under every phase, and keep what is to be drained until the kernel's sub-batches are seen."""
    settle_finished(s, b, pid)
    w = free_slot(s, b, ts)
    active, below = s.zone[z].reclaim_active, s.zone[z].below_high
    if drain_sizes(s, b, z, cpu, count, free_high, w):
        open_slot(b, w, cpu, ts, count, active, below)


@part(inline=True)
def free_without_insertions(s: View, b: TuningBooks, e: EventChunk, w: TuningScratch, i: int) -> None:
    """Where gt_rmq 5 is not recorded: what reaches the lists at a free follows from the page's other events."""
    order = inserted_order(b, e, w, i)
    first = e.pfn[i] + 0
    end = first + 1
    if order == GROUP:
        end = group_end(b, e, w, i)
        order = group_order(s, first, end)
    while order >= 0 and first < end:
        b.inputs[bk.N_FREES] += 1
        mt = get_pfnblock_migratetype(s, first)
        if pcp_allowed_order(s, order) and mt != MIGRATE_ISOLATE:
            if mt >= MIGRATE_PCPTYPES:
                mt = MIGRATE_MOVABLE
            commit(s, b, e, i, first, order, order_to_pindex(order, mt))
        first += 1 << order
        if first < end:
            order = group_order(s, first, end)


@part(inline=True)
def request(s: View, b: TuningBooks, e: EventChunk, i: int) -> None:
    """A gt_rmq event."""
    kind, cpu = e.a[i], e.cpu[i]
    if kind == ev.RMQ_INSERT:
        if b.facts[bk.F_INSERTIONS]:
            b.inputs[bk.N_INSERTED] += 1
            commit(s, b, e, i, e.pfn[i] + 0, e.order[i] + 0, e.mt[i] + 0)
        return
    drain_counted(s, b, cpu + 0)
    b.cpu[cpu * bk.WW + bk.W_LOCKED] = -1
    b.cpu[cpu * bk.WW + bk.W_REFILL] = 0
    if kind == ev.RMQ_BULK:
        refill(s, b, e, i)
    elif kind == ev.RMQ_BUDDY:
        buddy_request(s, b, e, i)
    elif kind == ev.RMQ_DRAIN:
        drain(s, b, e, i)
    elif kind == ev.RMQ_BULK_PAGE:
        bulk_page(s, b, e.pfn[i] + 0)
    elif kind == ev.RMQ_FREE:
        unused(b, e.pfn[i] + 0, e.order[i] + 0)
        if not b.facts[bk.F_LISTS]:
            s.zone[page_zone(s, e.pfn[i] + 0)].nr_free_pages += 1 << e.order[i]


@part(cold=True)
def other_event(s: View, b: TuningBooks, e: EventChunk, i: int) -> None:
    """What concerns the zones only."""
    kind = e.kind[i]
    if kind == ev.GT_BLK:
        set_pageblock_migratetype(s, e.pfn[i] + 0, e.a[i] + 0)
    elif kind == ev.GT_EVAC:
        if e.order[i] == ev.EVAC_CLAIM:
            claim_attempt(s, b, page_zone(s, e.pfn[i] + 0))
    elif kind == ev.COMPACTION_ISOLATE_MIGRATEPAGES:
        scans(b, e, i)
    elif kind == ev.COMPACTION_TRY_TO_COMPACT_PAGES:
        no_chunk_found(s)
    elif (
        kind == ev.VMSCAN_BALANCE_PGDAT_BEGIN
        or kind == ev.VMSCAN_BALANCE_PGDAT_END
        or kind == ev.COMPACTION_WAKEUP_KCOMPACTD
        or kind == ev.COMPACTION_SUITABLE
    ):
        vmscan_event(s, b, e, i)
    elif (
        kind == ev.COMPACTION_ISOLATE_FREEPAGES or kind == ev.COMPACTION_FAST_ISOLATE_FREEPAGES
    ) and not b.facts[bk.F_LISTS]:
        isolated(s, e.pfn[i] + 0, e.c[i] + 0)


@part(inline=True)
def task_runs(s: View, b: TuningBooks, e: EventChunk, w: TuningScratch, i: int) -> None:
    """Keep which task runs on the CPU, and what is inferred of kswapd."""
    at, pid = e.cpu[i] * bk.WW, e.pid[i]
    if b.cpu[at + bk.W_RUN] != pid:
        b.cpu[at + bk.W_BEFORE] = b.cpu[at + bk.W_RUN]
        b.cpu[at + bk.W_RUN] = pid
        b.cpu[at + bk.W_COMMITS] = 0
        goes_on(s, b, e.cpu[i] + 0, pid + 0)
        if not b.facts[bk.F_INSERTIONS] and e.kind[i] != ev.MM_PAGE_ALLOC:
            not_taken(s, b, pid + 0)
    if is_kswapd(b, pid):
        infer_kswapd(s, b, e, w, i)


@kernel
def tuning_rows(
    sa: State, books: TuningBooks, events: EventChunk, scratch: TuningScratch, number: int, rows: int
) -> None:
    """Run the first *rows* rows through the tuning level; the rest is there to look ahead. *number* is that of row 0."""
    s, b, e, w = pointers(sa), pointers(books), pointers(events), pointers(scratch)
    b.facts[F_ROWS], b.facts[bk.F_NUMBER] = events.kind.size, number
    if not b.facts[bk.F_INSERTIONS]:
        find_fates(b, e, w, events.kind.size)
    if b.facts[bk.F_KSWAPD]:
        find_next_kswapd(b, e, w, events.kind.size)
    for i in range(rows):
        kind, cpu = e.kind[i], e.cpu[i]
        if kind == ev.GT_LIST:
            if b.facts[bk.F_LISTS]:
                list_operation(s, page_zone(s, e.pfn[i] + 0), e.a[i] + 0, e.order[i] + 0, e.mt[i] + 0)
            continue
        catch_up(s, b, cpu + 0, e.ts[i] + 0, b.facts[bk.F_NUMBER] + i)
        kswapd_idle(s, b, e.ts[i] + 0)
        task_runs(s, b, e, w, i)
        if kind <= ev.MM_PAGE_FREE and b.cpu[cpu * bk.WW + bk.W_SLOT] < 0:
            b.cpu[cpu * bk.WW + bk.W_PID] = 0
        if kind == ev.MM_PAGE_ALLOC:
            drain_counted(s, b, cpu + 0)
            allocate(s, b, e, i)
        elif kind == ev.GT_RMQ:
            request(s, b, e, i)
        elif kind == ev.MM_PAGE_ALLOC_ZONE_LOCKED:
            taken(s, b, cpu + 0, e.pfn[i] + 0, e.order[i] + 0)
            b.cpu[cpu * bk.WW + bk.W_LOCKED] = e.pfn[i]
        elif kind == ev.MM_PAGE_ALLOC_EXTFRAG:
            if b.cpu[cpu * bk.WW + bk.W_LOCKED] != e.pfn[i]:
                taken(s, b, cpu + 0, e.pfn[i] + 0, e.order[i] + 0)
            b.cpu[cpu * bk.WW + bk.W_LOCKED] = -1
        elif kind == ev.MM_PAGE_PCPU_DRAIN:
            drained(s, b, cpu + 0, e.pfn[i] + 0, e.order[i] + 0)
        elif kind == ev.MM_PAGE_FREE or kind == ev.MM_PAGE_FREE_BATCHED:
            if not b.facts[bk.F_INSERTIONS]:
                free_without_insertions(s, b, e, w, i)
        else:
            other_event(s, b, e, i)


@kernel
def tuning_settled(sa: State, books: TuningBooks) -> None:
    """Settle every drain that is under way: a dump, or the end."""
    s, b = pointers(sa), pointers(books)
    for cpu in range(s.cfg.nr_cpus):
        drain_counted(s, b, cpu)
        settle_decays(s, b, cpu, b.last[cpu] + 0, b.facts[bk.F_NUMBER] + 0, True)
    settle_all(s, b)
