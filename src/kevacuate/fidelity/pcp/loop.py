# SPDX-License-Identifier: GPL-2.0-or-later
"""The pcp level, compiled: allocations take the head of the model's lists, drains go through its free_pcppages_bulk."""

from __future__ import annotations

from kevacuate.fidelity.pcp import books as bk
from kevacuate.fidelity.pcp.books import PcpBooks
from kevacuate.fidelity.pcp_frees import (
    F_ROWS,
    GROUP,
    Scratch,
    find_fates,
    group_end,
    group_order,
    inserted_order,
    scans,
    unused,
)
from kevacuate.fidelity.tally import F_COMPACTIONS, F_LAST, F_NUMBER, decided
from kevacuate.jit import kernel, part, pointers
from kevacuate.kernel.hooks import LAST_REQUEST
from kevacuate.mm import constants as k
from kevacuate.mm.as_recorded import put_in_use, take_free_pages
from kevacuate.mm.buddy import (
    get_pfnblock_migratetype,
    page_zone,
    set_pageblock_migratetype,
)
from kevacuate.mm.fields import View
from kevacuate.mm.layout import State
from kevacuate.mm.lists import list_add_tail, list_del
from kevacuate.mm.pcp import (
    add_to_pcp_list,
    free_pcppages_bulk,
    order_to_pindex,
    pcp_allowed_order,
    pcp_at,
    pcp_list,
    take_from_pcp_list,
)
from kevacuate.recording import EventChunk
from kevacuate.recording import event_numbers as ev

NEAR = 4
"""How far apart the same chunk may stand in the two sequences of a drain: one page too many or too few counts once."""

OFTEN = 2
"""How often a page may be chosen wrongly before it is dropped."""

DRAINED = 99
"""In place of that number: the kernel drained the page."""

DIRECT = -2
NOTHING = -1


@part(cold=True)
def mismatch(
    s: View, b: PcpBooks, e: EventChunk, i: int, kind: int, order: int, mt: int, model: int, recorded: int
) -> None:
    """Note a wrong decision of row *i*, and where the model held the page that the kernel took."""
    b.facts[F_LAST] = b.facts[F_NUMBER] + i
    held = -1
    if recorded >= 0 and s.meta[recorded] >> 4 == k.CHUNK_PCP:
        held = b.where[recorded]
    if held < 0:
        b.facts[bk.F_NOWHERE] += 1
    elif (held // k.PCP_LISTS) % s.cfg.nr_cpus != e.cpu[i]:
        b.facts[bk.F_OTHER_CPU] += 1
    if b.facts[bk.F_DIVERGED]:
        return
    b.facts[bk.F_DIVERGED] = 1
    values = (b.facts[F_NUMBER] + i, e.ts[i] + 0, kind, e.cpu[i] + 0, order, mt, model, recorded, held)
    b.first[bk.V_POSITION], b.first[bk.V_TS], b.first[bk.V_KIND] = values[0], values[1], values[2]
    b.first[bk.V_CPU], b.first[bk.V_ORDER], b.first[bk.V_MT] = values[3], values[4], values[5]
    b.first[bk.V_MODEL], b.first[bk.V_KERNEL], b.first[bk.V_HELD] = values[6], values[7], values[8]


@part
def forget(s: View, b: PcpBooks, pfn: int) -> None:
    """Take a chunk off whatever per-CPU list holds it."""
    if s.meta[pfn] >> 4 != k.CHUNK_PCP:
        return
    order = s.meta[pfn] & 15
    list_del(s, pfn)
    s.pcp[b.where[pfn] // k.PCP_LISTS].count -= 1 << order
    put_in_use(s, pfn, order)


@part
def forget_pages(s: View, b: PcpBooks, pfn: int, order: int) -> None:
    """Take off the lists whatever chunk there holds one of these pages: an event shows them elsewhere now."""
    for page in range(pfn, pfn + (1 << order)):
        if s.meta[page] >> 4 == k.CHUNK_PCP:
            forget(s, b, page)
    for larger in range(order + 1, k.PAGE_ALLOC_COSTLY_ORDER + 1):
        head = (pfn >> larger) << larger
        if s.meta[head] == (k.CHUNK_PCP << 4 | larger):
            forget(s, b, head)
    huge = s.cfg.hpage_pmd_order
    if order < huge and s.meta[(pfn >> huge) << huge] == (k.CHUNK_PCP << 4 | huge):
        forget(s, b, (pfn >> huge) << huge)


@part(inline=True)
def hold(b: PcpBooks, pid: int, pfn: int, order: int, mt: int) -> None:
    """Keep a page for a task that has taken it and whose mm_page_alloc is still to come."""
    for n in range(bk.HOLDERS):
        at = n * bk.HS
        if b.holders[at] == 0 or n == bk.HOLDERS - 1:
            b.holders[at] = pid + 1
            b.holders[at + 1] = pfn
            b.holders[at + 2] = 16 * order + mt
            return


@part(inline=True)
def held_for(s: View, b: PcpBooks, pid: int, order: int, mt: int) -> int:
    """The page kept for the task, which takes it now; -1 if there is none, or events have shown it elsewhere since."""
    for n in range(bk.HOLDERS):
        at = n * bk.HS
        if b.holders[at] == pid + 1 and b.holders[at + 2] == 16 * order + mt:
            b.holders[at] = 0
            pfn = b.holders[at + 1] + 0
            return pfn if s.meta[pfn] == k.CHUNK_ALLOC << 4 else -1
    return -1


@part(cold=True)
def release(b: PcpBooks, pfn: int) -> None:
    """An event shows the page elsewhere: no task has a hand on it."""
    for n in range(bk.HOLDERS):
        if b.holders[n * bk.HS + 1] == pfn:
            b.holders[n * bk.HS] = 0
    for n in range(bk.LATE):
        if b.late[4 * n] != 0 and b.late[4 * n + 1] == pfn:
            b.late[4 * n] = 0
            b.facts[bk.F_LATE] -= 1


@part(inline=True)
def refilled(s: View, b: PcpBooks, cpu: int, pfn: int, order: int) -> None:
    """A chunk that a refill brought: to the tail of the list that is being refilled."""
    target = b.refill[cpu] + 0
    if target == DIRECT:
        b.direct[pfn] = 1
    if target < 0:
        return
    b.inputs[bk.N_CHUNKS] += 1
    forget_pages(s, b, pfn, order)
    if b.refiller[cpu] >= 0:
        hold(b, b.refiller[cpu] + 0, pfn, order, b.refill_mt[cpu] + 0)
        b.refiller[cpu] = NOTHING
        put_in_use(s, pfn, order)
        return
    b.wrong[pfn] = 0
    s.meta[pfn] = k.CHUNK_PCP << 4 | order
    list_add_tail(s, pfn, s.cfg.pcp_base + target)
    s.pcp[target // k.PCP_LISTS].count += 1 << order
    b.where[pfn] = target


@part(inline=True)
def insert(s: View, b: PcpBooks, cpu: int, pfn: int, order: int) -> None:
    """A free that reaches the per-CPU lists: to the list of the type that the page's block has now."""
    if not pcp_allowed_order(s, order):
        return
    mt = get_pfnblock_migratetype(s, pfn)
    if mt == k.MIGRATE_ISOLATE:
        return
    if mt >= k.MIGRATE_PCPTYPES:
        mt = k.MIGRATE_MOVABLE
    forget_pages(s, b, pfn, order)
    b.wrong[pfn] = 0
    unused(b, pfn, order)
    z = page_zone(s, pfn)
    add_to_pcp_list(s, z, cpu, pfn, order, mt)
    b.where[pfn] = pcp_list(s, z, cpu, order_to_pindex(order, mt)) - s.cfg.pcp_base


@part(inline=True)
def is_compactor(b: PcpBooks, pid: int) -> bool:
    """Whether the task went through direct compaction since its last allocation; it counts no longer."""
    for n in range(bk.COMPACTORS):
        if b.compactors[n] == pid + 1:
            b.compactors[n] = 0
            return True
    return False


@part(cold=True)
def note_compactor(b: PcpBooks, pid: int) -> None:
    """mm_compaction_try_to_compact_pages: what the task gets next may have been captured."""
    for n in range(bk.COMPACTORS):
        if b.compactors[n] == 0 or b.compactors[n] == pid + 1:
            b.compactors[n] = pid + 1
            return
    b.compactors[0] = pid + 1


@part(inline=True)
def note_running(b: PcpBooks, e: EventChunk, i: int) -> None:
    """Who runs on the CPU, and what it did last."""
    at = e.cpu[i] * bk.RS
    if b.running[at + bk.R_PID] != e.pid[i]:
        b.running[at + bk.R_BEFORE] = b.running[at + bk.R_PID]
        b.running[at + bk.R_FREED_BEFORE] = b.running[at + bk.R_FREED]
        b.running[at + bk.R_PID] = e.pid[i]
    b.running[at + bk.R_KIND] = e.kind[i]
    freed = e.kind[i] == ev.MM_PAGE_FREE or e.kind[i] == ev.MM_PAGE_FREE_BATCHED
    b.running[at + bk.R_FREED] = e.pfn[i] if freed else NOTHING


@part(cold=True)
def commit_late(s: View, b: PcpBooks, pid: int) -> None:
    """The task runs again: what it was about to put on a list goes there now."""
    for n in range(bk.LATE):
        at = 4 * n
        if b.late[at] == pid + 1:
            b.late[at] = 0
            b.facts[bk.F_LATE] -= 1
            insert(s, b, b.late[at + 3] + 0, b.late[at + 1] + 0, b.late[at + 2] + 0)


@part(cold=True)
def interrupted(b: PcpBooks, pid: int, cpu: int, pfn: int, order: int, mt: int) -> bool:
    """The kernel passed over the head of the list: the task that ran before has a hand on it; whether it can be so.

    Either it was about to put it there (its last event is the free of that page), or it has taken it already and
    its mm_page_alloc is still to come.
    """
    before, freed = b.running[cpu * bk.RS + bk.R_PID] + 0, b.running[cpu * bk.RS + bk.R_FREED] + 0
    if before == pid:
        before, freed = (
            b.running[cpu * bk.RS + bk.R_BEFORE] + 0,
            b.running[cpu * bk.RS + bk.R_FREED_BEFORE] + 0,
        )
    if before < 0:
        return False
    if freed != pfn:
        hold(b, before, pfn, order, mt)
        return True
    for n in range(bk.LATE):
        at = 4 * n
        if b.late[at] == 0:
            b.late[at], b.late[at + 1], b.late[at + 2], b.late[at + 3] = before + 1, pfn, order, cpu
            b.facts[bk.F_LATE] += 1
            return True
    return False


@part(cold=True)
def put_back(s: View, b: PcpBooks, z: int, cpu: int, pfn: int, order: int, mt: int) -> None:
    """Return a wrongly chosen page to the head; chosen wrongly more often, it is not on the kernel's list."""
    b.wrong[pfn] += 1
    if b.wrong[pfn] > OFTEN:
        put_in_use(s, pfn, order)
    else:
        add_to_pcp_list(s, z, cpu, pfn, order, mt)


@part(inline=True)
def allocate(s: View, b: PcpBooks, e: EventChunk, i: int) -> None:
    """mm_page_alloc: the model takes the head of its list; then the pfn is looked at."""
    pfn, order, mt, cpu = e.pfn[i] + 0, e.order[i] + 0, e.mt[i] + 0, e.cpu[i] + 0
    compacted = b.facts[F_COMPACTIONS] > 0 and is_compactor(b, e.pid[i] + 0)
    if pfn < 0:
        return
    b.inputs[bk.N_ALLOCS] += 1
    for page in range(pfn, pfn + (1 << order)):
        b.alloc_order[page] = order * b.facts[bk.F_REGROUPS]
        b.used[page] = 1
    if b.direct[pfn] or not pcp_allowed_order(s, order):
        b.direct[pfn] = 0
        b.inputs[bk.N_DIRECT] += 1
        return
    z = page_zone(s, pfn)
    head = pcp_list(s, z, cpu, order_to_pindex(order, mt))
    chosen = held_for(s, b, e.pid[i] + 0, order, mt)
    if chosen < 0:
        if s.link[2 * head] == head and compacted:
            b.inputs[bk.N_CAPTURED] += 1
            return
        chosen = take_from_pcp_list(s, z, cpu, order, mt)
    decided(b, bk.D_ALLOC, chosen == pfn)
    if chosen != pfn:
        mismatch(s, b, e, i, bk.D_ALLOC, order, mt, chosen, pfn)
        b.inputs[bk.N_REPAIRED] += 1
        release(b, pfn)
        passed_over = chosen >= 0 and s.link[2 * head] == pfn
        forget_pages(s, b, pfn, order)
        if passed_over and interrupted(b, e.pid[i] + 0, cpu, chosen, order, mt):
            put_in_use(s, chosen, order)
        elif chosen >= 0:
            put_back(s, b, z, cpu, chosen, order, mt)
    put_in_use(s, pfn, order)


@part
def full_quota(s: View, z: int, cpu: int) -> int:
    """What drain_pages_zone would ask of this CPU's lists now (:2620 at 7.2)."""
    pcp = pcp_at(s, z, cpu)
    return min(pcp.count, pcp.batch << k.PCP_BATCH_SCALE_MAX)


@part
def drained_cpu(s: View, b: PcpBooks, z: int, cpu: int, count: int, pindex: int) -> int:
    """Whose list a drain empties: the CPU's own, or in drain_all_pages the one of which so many pages would be asked.

    A full drain begins with list 0; it does not follow a free, as a free's own drain does, of at most a batch.
    """
    if s.cfg.nr_cpus == 1 or pindex != 0 or full_quota(s, z, cpu) == count:
        return cpu
    pcp = pcp_at(s, z, cpu)
    kind = b.running[cpu * bk.RS + bk.R_KIND]
    after_free = kind == ev.MM_PAGE_FREE or kind == ev.MM_PAGE_FREE_BATCHED or kind == ev.MM_PAGE_PCPU_DRAIN
    if after_free and count <= pcp.batch and count <= pcp.count:
        return cpu
    for other in range(s.cfg.nr_cpus):
        if full_quota(s, z, other) == count:
            return other
    return cpu


@part
def drain(s: View, b: PcpBooks, e: EventChunk, i: int) -> None:
    """gt_rmq 2: the model drains first; then the chunks are compared one by one with those that follow on the CPU."""
    z, cpu, count = b.zone_of[e.b[i]] + 0, e.cpu[i] + 0, e.d[i] + 0
    b.inputs[bk.N_DRAINS] += 1
    s.stat.nr_log = 0
    free_pcppages_bulk(s, z, drained_cpu(s, b, z, cpu, count, e.mt[i] + 0), count, e.mt[i] + 0)
    records = s.stat.nr_log
    wrong = 0
    n = next_drained(s, 0, records)
    left = count
    chosen = -1
    j = i + 1
    rows = b.facts[F_ROWS]
    while left > 0 and j < rows:
        if e.cpu[j] == cpu:
            if e.kind[j] == ev.GT_RMQ and e.a[j] <= LAST_REQUEST:
                break
            if e.kind[j] == ev.MM_PAGE_PCPU_DRAIN:
                left -= 1 << e.order[j]
                found = drained_chunk(s, n, records, e.pfn[j])
                right = found >= 0
                while n < found:
                    wrong += 1
                    decided(b, bk.D_DRAIN, False)
                    mismatch(s, b, e, j, bk.D_DRAIN, e.order[j] + 0, e.mt[j] + 0, s.log[n].pfn, e.pfn[j] + 0)
                    n = next_drained(s, n + 1, records)
                decided(b, bk.D_DRAIN, right)
                if not right:
                    wrong += 1
                    chosen = s.log[n].pfn if n < records else -1
                    mismatch(s, b, e, j, bk.D_DRAIN, e.order[j] + 0, e.mt[j] + 0, chosen, e.pfn[j] + 0)
                if right or not drained_soon(e, j + 1, cpu, chosen, rows):
                    n = next_drained(s, n + 1, records)
        j += 1
    while n < records:
        wrong += 1
        decided(b, bk.D_DRAIN, False)
        mismatch(s, b, e, i, bk.D_DRAIN, 0, 0, s.log[n].pfn, -1)
        n = next_drained(s, n + 1, records)
    take_back(s, records)
    if wrong:
        repair_drain(s, b, e, i, j, records)


@part
def drained_chunk(s: View, n: int, records: int, pfn: int) -> int:
    """Which of the model's next few drained chunks is *pfn*; -1 if none is."""
    for _ in range(NEAR):
        if n >= records:
            return -1
        if s.log[n].pfn == pfn:
            return n
        n = next_drained(s, n + 1, records)
    return -1


@part(cold=True)
def drained_soon(e: EventChunk, j: int, cpu: int, pfn: int, rows: int) -> bool:
    """Whether the kernel drains the model's chunk next but a few."""
    near = NEAR
    while near > 0 and j < rows:
        if e.cpu[j] == cpu:
            if e.kind[j] == ev.GT_RMQ and e.a[j] <= LAST_REQUEST:
                return False
            if e.kind[j] == ev.MM_PAGE_PCPU_DRAIN:
                if e.pfn[j] == pfn:
                    return True
                near -= 1
        j += 1
    return False


@part(inline=True)
def next_drained(s: View, n: int, records: int) -> int:
    """The next record of a drained chunk in the model's log."""
    while n < records and s.log[n].kind != k.L_PCPU_DRAIN:
        n += 1
    return n


@part
def take_back(s: View, records: int) -> None:
    """What was drained leaves the buddy lists again, which this level does not keep."""
    for n in range(records):
        record = s.log[n]
        if record.kind == k.L_PCPU_DRAIN:
            take_free_pages(s, record.pfn, record.a)


@part(cold=True)
def repair_drain(s: View, b: PcpBooks, e: EventChunk, i: int, end: int, records: int) -> None:
    """Forget what the kernel drained and the model did not; return to the tail what only the model drained."""
    b.inputs[bk.N_REPAIRED] += 1
    for j in range(i + 1, end):
        if e.kind[j] == ev.MM_PAGE_PCPU_DRAIN and e.cpu[j] == e.cpu[i]:
            forget_pages(s, b, e.pfn[j] + 0, e.order[j] + 0)
            b.wrong[e.pfn[j]] = DRAINED
    n = records - 1
    while n >= 0:
        record = s.log[n]
        pfn = record.pfn
        if record.kind == k.L_PCPU_DRAIN and b.wrong[pfn] < OFTEN:
            wrong = b.wrong[pfn] + 1
            b.refill[e.cpu[i]] = b.where[pfn]
            refilled(s, b, e.cpu[i] + 0, pfn, record.a)
            b.inputs[bk.N_CHUNKS] -= 1
            b.wrong[pfn] = wrong
        n -= 1
    b.refill[e.cpu[i]] = NOTHING


@part(inline=True)
def request(s: View, b: PcpBooks, e: EventChunk, i: int) -> None:
    """A gt_rmq event."""
    kind, cpu = e.a[i], e.cpu[i]
    if kind == ev.RMQ_INSERT:
        if b.facts[bk.F_INSERTIONS]:
            b.inputs[bk.N_INSERTED] += 1
            insert(s, b, cpu + 0, e.pfn[i] + 0, e.order[i] + 0)
        return
    b.locked[cpu] = NOTHING
    b.refill[cpu] = NOTHING
    b.refiller[cpu] = NOTHING
    if kind == ev.RMQ_BULK:
        b.refiller[cpu] = e.pid[i]
        b.refill_mt[cpu] = e.mt[i]
        b.inputs[bk.N_REFILLS] += 1
        head = pcp_list(s, b.zone_of[e.b[i]] + 0, cpu + 0, order_to_pindex(e.order[i] + 0, e.mt[i] + 0))
        b.refill[cpu] = head - s.cfg.pcp_base
    elif kind == ev.RMQ_BUDDY:
        b.refill[cpu] = DIRECT
    elif kind == ev.RMQ_DRAIN:
        drain(s, b, e, i)
    elif kind == ev.RMQ_FREE:
        b.inputs[bk.N_BYPASS] += 1
        unused(b, e.pfn[i] + 0, e.order[i] + 0)


@part(inline=True)
def free_without_insertions(s: View, b: PcpBooks, e: EventChunk, w: Scratch, i: int) -> None:
    """Where gt_rmq 5 is not recorded: what goes into the lists at a free follows from the page's other events."""
    order = inserted_order(b, e, w, i)
    if order == GROUP:
        first, end = e.pfn[i] + 0, group_end(b, e, w, i)
        while first < end:
            order = group_order(s, first, end)
            insert(s, b, e.cpu[i] + 0, first, order)
            first += 1 << order
    elif order >= 0:
        b.inputs[bk.N_FREES] += 1
        insert(s, b, e.cpu[i] + 0, e.pfn[i] + 0, order)


@kernel
def pcp_rows(
    sa: State, books: PcpBooks, events: EventChunk, scratch: Scratch, number: int, rows: int
) -> None:
    """Run the first *rows* rows through the pcp level; the rest is there to look ahead. *number* is that of row 0."""
    s, b, e, w = pointers(sa), pointers(books), pointers(events), pointers(scratch)
    b.facts[F_ROWS], b.facts[F_NUMBER] = events.kind.size, number
    if not b.facts[bk.F_INSERTIONS]:
        find_fates(b, e, w, events.kind.size)
    for i in range(rows):
        kind = e.kind[i]
        if b.facts[bk.F_LATE]:
            commit_late(s, b, e.pid[i] + 0)
        if kind == ev.MM_PAGE_ALLOC:
            allocate(s, b, e, i)
        elif kind == ev.GT_RMQ:
            request(s, b, e, i)
        elif kind == ev.MM_PAGE_ALLOC_ZONE_LOCKED:
            refilled(s, b, e.cpu[i] + 0, e.pfn[i] + 0, e.order[i] + 0)
            b.locked[e.cpu[i]] = e.pfn[i]
        elif kind == ev.MM_PAGE_ALLOC_EXTFRAG:
            if b.locked[e.cpu[i]] != e.pfn[i]:
                refilled(s, b, e.cpu[i] + 0, e.pfn[i] + 0, e.order[i] + 0)
            b.locked[e.cpu[i]] = NOTHING
        elif kind == ev.MM_PAGE_FREE or kind == ev.MM_PAGE_FREE_BATCHED:
            if not b.facts[bk.F_INSERTIONS]:
                free_without_insertions(s, b, e, w, i)
        elif kind == ev.GT_BLK:
            set_pageblock_migratetype(s, e.pfn[i] + 0, e.a[i] + 0)
        elif kind == ev.COMPACTION_ISOLATE_MIGRATEPAGES:
            scans(b, e, i)
        elif kind == ev.COMPACTION_BEGIN:
            b.facts[F_COMPACTIONS] += 1
        elif kind == ev.COMPACTION_TRY_TO_COMPACT_PAGES:
            note_compactor(b, e.pid[i] + 0)
        note_running(b, e, i)
