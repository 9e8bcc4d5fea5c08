# SPDX-License-Identifier: GPL-2.0-or-later
"""kswapd's time line, compiled: who wakes it, for which order, what it does at its look after HZ/10, and when a run ends.

The model's own wakeup_kswapd, take_up, kswapd_nap_ends and balance_pgdat_ends decide, from free lists that follow the
recorded list operations.
"""

from __future__ import annotations

from kevacuate.fidelity.reclaim import books as bk
from kevacuate.fidelity.reclaim.books import ReclaimBooksView, Task
from kevacuate.fidelity.reclaim.rounds import round_follows
from kevacuate.fidelity.reclaim.tasks import clear_task, decided, new_task, task_of
from kevacuate.jit import part
from kevacuate.mm import constants as k
from kevacuate.mm.buddy import page_zone
from kevacuate.mm.fields import View
from kevacuate.mm.get_page import gfp_zone
from kevacuate.mm.kswapd import balance_pgdat_ends, kswapd_nap_ends, prepare_kswapd_sleep, take_up
from kevacuate.mm.shrink_node import scan_control, snapshot_refaults
from kevacuate.mm.wakeups import wakeup_kswapd
from kevacuate.mm.watermark import boost_watermark
from kevacuate.recording import EventChunk
from kevacuate.recording import event_numbers as ev

JIFFY_NS = 4_000_000
"""At HZ=250."""


@part
def would_wake(
    s: View, b: ReclaimBooksView, e: EventChunk, i: int, order: int, highest_zoneidx: int, gfp: int
) -> None:
    """A request asks for kswapd: the model decides whether that wakes it; the event that follows says what the kernel did.

    Once its timer has expired, kswapd runs anyway, and the wake-up leaves it as it is.
    """
    facts, pgdat = b.facts, s.node[0]
    napping = pgdat.kswapd_state == k.KSWAPD_NAP
    late = napping and e.ts[i] - facts.ended >= k.KSWAPD_NAP_NS + JIFFY_NS
    kept = pgdat.kswapd_order
    before = pgdat.kswapd_state
    s.stat.now = e.ts[i]
    wakeup_kswapd(s, 0, order, highest_zoneidx, gfp)
    facts.asked_pid = e.pid[i] + 1
    facts.asked_wakes = 1 if pgdat.kswapd_state != before else 0
    facts.asked_late = 1 if napping and e.ts[i] - facts.ended >= k.KSWAPD_NAP_NS else 0
    if late and facts.asked_wakes:
        pgdat.kswapd_state = k.KSWAPD_NAP
        pgdat.kswapd_order = max(kept, order)
    elif facts.asked_wakes:
        facts.woken = 1


@part
def slow_path(s: View, b: ReclaimBooksView, e: EventChunk, i: int) -> None:
    """gt_slow 0: a request enters the slow path, which wakes kswapd first."""
    b.inputs[bk.N_SLOW] += 1
    if e.c[i] & k.ALLOC_KSWAPD:
        would_wake(s, b, e, i, e.order[i], gfp_zone(e.gfp[i]), e.gfp[i])


@part
def claim(s: View, b: ReclaimBooksView, e: EventChunk, i: int) -> None:
    """gt_evac 0: a claim below pageblock order boosts the marks; the request then wakes kswapd as it ends (rmqueue)."""
    z = page_zone(s, e.pfn[i])
    s.zone[z].boosted_watermark = 0
    boost_watermark(s, z, b.facts.alloc_flags)
    if s.zone[z].boosted_watermark:
        b.facts.claim_pid = e.pid[i] + 1


@part
def claim_ends(s: View, b: ReclaimBooksView, e: EventChunk, i: int) -> None:
    """The request whose claim boosted the marks ends."""
    b.facts.claim_pid = 0
    for z in range(s.cfg.nr_zones):
        if s.zone[z].boosted_watermark:
            s.zone[z].boosted_watermark = 0
            would_wake(s, b, e, i, 0, s.zone[z].index, 0)


@part
def claim_is_over(b: ReclaimBooksView, e: EventChunk, i: int) -> bool:
    """Whether this row is behind the request whose claim boosted the marks."""
    if b.facts.claim_pid != e.pid[i] + 1:
        return False
    kind = e.kind[i]
    return (
        kind == ev.VMSCAN_WAKEUP_KSWAPD
        or kind == ev.MM_PAGE_ALLOC
        or (kind == ev.GT_RMQ and e.a[i] <= ev.RMQ_BUDDY)
    )


@part
def tries_again(s: View, b: ReclaimBooksView, e: EventChunk, i: int) -> None:
    """mm_vmscan_wakeup_kswapd of a task that has not just entered the slow path: it tries again there."""
    if b.facts.asked_pid != e.pid[i] + 1:
        b.inputs[bk.N_SLOW] += 1
        highest_zoneidx = min(e.b[i] + b.facts.zone_offset, k.ZONE_MOVABLE)
        would_wake(s, b, e, i, e.order[i], highest_zoneidx, e.gfp[i])


@part
def answer_to_request(s: View, b: ReclaimBooksView, e: EventChunk, i: int) -> None:
    """The first row of the asking task behind its request: whether it woke kswapd."""
    facts = b.facts
    facts.asked_pid = 0
    woke = e.kind[i] == ev.VMSCAN_WAKEUP_KSWAPD
    wakes = facts.asked_wakes != 0
    cause = bk.X_TIMER if facts.asked_late else bk.X_MARKS
    decided(b, bk.D_WAKE, woke == wakes, cause, e, i, facts.asked_wakes, 1 if woke else 0)
    if woke and not wakes:
        facts.woken = 1
        s.node[0].kswapd_state = k.KSWAPD_WOKEN
    elif wakes and not woke and facts.woken:
        facts.woken = 0
        s.node[0].kswapd_state = k.KSWAPD_NAP


@part
def looks(s: View, b: ReclaimBooksView, e: EventChunk, i: int, sleeps: bool) -> None:
    """kswapd looks after HZ/10: it sleeps until woken, or begins a run."""
    pgdat = s.node[0]
    b.inputs[bk.N_LOOKS] += 1
    if pgdat.kswapd_state == k.KSWAPD_NAP:
        kswapd_nap_ends(s, 0, pgdat)
        ours = pgdat.kswapd_state == k.KSWAPD_IDLE
    else:
        ours = prepare_kswapd_sleep(s, 0, pgdat.kswapd_reclaim_order, pgdat.kswapd_run_highest_zoneidx)
    decided(b, bk.D_LOOK, ours == sleeps, bk.X_MARKS, e, i, 1 if ours else 0, 1 if sleeps else 0)
    pgdat.kswapd_state = k.KSWAPD_IDLE if sleeps else k.KSWAPD_WOKEN
    b.facts.woken = 0


@part
def kswapd_wakes(s: View, b: ReclaimBooksView, e: EventChunk, i: int) -> None:
    """mm_vmscan_kswapd_wake: a run begins, for the order and zones that were asked for."""
    pgdat = s.node[0]
    if pgdat.kswapd_state == k.KSWAPD_NAP:
        looks(s, b, e, i, False)
    boosts = take_up(s, 0, pgdat)
    order, highest_zoneidx = pgdat.kswapd_alloc_order, pgdat.kswapd_run_highest_zoneidx
    recorded = min(e.b[i] + b.facts.zone_offset, k.ZONE_MOVABLE)
    ours, theirs = order * 8 + highest_zoneidx, e.order[i] * 8 + recorded
    decided(b, bk.D_ASKED, ours == theirs, bk.X_MARKS, e, i, ours, theirs)
    pgdat.kswapd_alloc_order, pgdat.kswapd_run_highest_zoneidx = e.order[i], recorded
    task, sc = b.task[0], b.sc[0]
    clear_task(task)
    task.pid, task.state = e.pid[i] + 1, bk.BEGUN
    scan_control(sc, e.order[i], k.GFP_KERNEL, recorded)
    sc.kswapd = 1
    sc.nr_boost_reclaim = boosts
    sc.boosted = 1 if boosts else 0
    pgdat.kswapd_state = k.KSWAPD_RUNNING
    b.facts.woken = 0


@part
def run_ends(s: View, b: ReclaimBooksView, e: EventChunk, i: int) -> None:
    """mm_vmscan_balance_pgdat_end: kswapd has done enough, and tries to sleep."""
    task, sc, pgdat = b.task[0], b.sc[0], s.node[0]
    if task.state == bk.IDLE or pgdat.kswapd_state != k.KSWAPD_RUNNING:
        return
    round_follows(s, b, task, sc, e, i, False)
    decided(b, bk.D_END_ORDER, sc.order == e.order[i], bk.X_MARKS, e, i, sc.order, e.order[i])
    sc.order = e.order[i]
    sc.nr_reclaimed = e.c[i]
    s.stat.now = e.ts[i]
    balance_pgdat_ends(s, 0, pgdat, sc)
    task.state = bk.IDLE
    b.facts.ended = e.ts[i]
    b.facts.snapshots += 1


@part
def kswapd_event(s: View, b: ReclaimBooksView, e: EventChunk, i: int) -> None:
    """kswapd_wake, kswapd_sleep."""
    b.facts.kswapd = e.pid[i] + 1
    if e.kind[i] == ev.VMSCAN_KSWAPD_WAKE:
        kswapd_wakes(s, b, e, i)
    elif e.kind[i] == ev.VMSCAN_KSWAPD_SLEEP:
        looks(s, b, e, i, True)


@part
def direct_begins(b: ReclaimBooksView, e: EventChunk, i: int) -> None:
    """mm_vmscan_direct_reclaim_begin."""
    n = new_task(b, e.pid[i])
    task: Task = b.task[n]
    sc = b.sc[n]
    scan_control(sc, e.order[i], e.gfp[i], gfp_zone(e.gfp[i]))
    sc.kswapd = 0
    sc.nr_to_reclaim = k.SWAP_CLUSTER_MAX
    task.state = bk.BEGUN


@part
def direct_ends(s: View, b: ReclaimBooksView, e: EventChunk, i: int) -> None:
    """mm_vmscan_direct_reclaim_end."""
    n = task_of(b, e.pid[i])
    if n <= 0:
        return
    task = b.task[n]
    round_follows(s, b, task, b.sc[n], e, i, False)
    snapshot_refaults(s, 0)
    b.facts.snapshots += 1
    clear_task(task)
