# SPDX-License-Identifier: GPL-2.0-or-later
"""Rounds of reclaim, compiled: how much of each list is scanned, at which priority, and whether another round follows.

A round is shrink_node: batches of the file lists, then the shrinkers. The model's own shrink_node_begin and _end decide, and
for kswapd balance_loop_begin and _end. What follows a round is decided at the task's first event behind its shrinkers.
"""

from __future__ import annotations

from kevacuate.fidelity.reclaim import books as bk
from kevacuate.fidelity.reclaim.books import ReclaimBooksView, Task
from kevacuate.fidelity.reclaim.tasks import decided
from kevacuate.jit import part
from kevacuate.mm import constants as k
from kevacuate.mm.fields import ScanControl, View
from kevacuate.mm.kswapd import balance_loop_begin, balance_loop_end
from kevacuate.mm.shrink_node import next_batch, round_ends, shrink_node_begin, shrink_node_end
from kevacuate.mm.vmscan import compaction_ready
from kevacuate.recording import EventChunk

NOTHING = -1


@part
def show_counts(s: View, b: ReclaimBooksView, sign: int) -> None:
    """Let the model see list sizes as the kernel does (*sign* -1): without what the CPU's counts hold back; or again whole."""
    for z in range(s.cfg.nr_zones):
        zone = s.zone[z]
        for lru in range(k.LRU_LISTS):
            s.node[zone.node].nr_lru[zone.index * k.NR_LRU_LISTS + lru] += sign * b.diff[8 * z + lru]


@part
def count_slab(b: ReclaimBooksView, task: Task, sc: ScanControl) -> None:
    """flush_reclaim_state: what shrinkers freed counts as reclaimed."""
    sc.nr_reclaimed += task.slab_pages
    b.inputs[bk.N_SLAB] += task.slab_pages
    task.slab_pages = 0


@part
def direct_loop_begin(s: View, sc: ScanControl) -> bool:
    """A loop of do_try_to_free_pages; False if the request had better compact (shrink_zones)."""
    sc.nr_scanned = sc.reclaimable = 0
    for z in range(s.cfg.nr_zones):
        zone = s.zone[z]
        within = zone.index <= sc.reclaim_idx and zone.managed_pages != 0
        if within and sc.order > k.PAGE_ALLOC_COSTLY_ORDER and compaction_ready(s, sc, z):
            sc.compaction_ready = 1
            return False
    shrink_node_begin(s, sc, 0)
    return True


@part
def direct_loop_end(s: View, sc: ScanControl) -> bool:
    """do_try_to_free_pages behind a loop: whether another one follows."""
    if sc.nr_reclaimed >= sc.nr_to_reclaim or sc.compaction_ready:
        return False
    sc.priority -= 1
    return sc.priority >= 0 and direct_loop_begin(s, sc)


@part
def another_round(s: View, b: ReclaimBooksView, task: Task, sc: ScanControl) -> bool:
    """Whether the model goes on with a round, the first or the next; its batches are set then."""
    count_slab(b, task, sc)
    show_counts(s, b, -1)
    if task.state == bk.BEGUN:
        again = balance_loop_begin(s, 0, sc) if sc.kswapd else direct_loop_begin(s, sc)
    else:
        again = shrink_node_end(s, sc, 0)
        if not again and sc.kswapd:
            again = balance_loop_end(s, 0, sc)
        elif not again:
            again = direct_loop_end(s, sc)
    show_counts(s, b, 1)
    return again


@part
def round_follows(
    s: View, b: ReclaimBooksView, task: Task, sc: ScanControl, e: EventChunk, i: int, follows: bool
) -> None:
    """The kernel has gone on with a round, or ended: held against what the model decides."""
    priority = sc.priority
    again = another_round(s, b, task, sc)
    kind, cause = (bk.D_ROUND, bk.X_MARKS) if sc.kswapd else (bk.D_DIRECT, bk.X_SLAB)
    decided(b, kind, again == follows, cause, e, i, 1 if again else 0, 1 if follows else 0)
    if follows and not again:
        sc.priority = max(priority if task.state == bk.BEGUN else priority - 1, 0)
        sc.compaction_ready = 0
        sc.nr_scanned = 0
        sc.loop_reclaimed = sc.nr_reclaimed
        shrink_node_begin(s, sc, 0)
    task.state = bk.LISTS
    task.turn = task.passes = 0
    task.snapshots = b.facts.snapshots


@part
def next_of_round(sc: ScanControl, task: Task) -> int:
    """The model's next batch: list * 64 + pages; NOTHING if shrink_lruvec is done."""
    for _ in range(4):
        if task.turn == 0:
            if task.passes:
                round_ends(sc)
            task.passes = 1
            task.turn = 1
            batch = next_batch(sc, 0)
            if batch:
                return k.LRU_INACTIVE_FILE * 64 + batch
        task.turn = 0
        batch = next_batch(sc, 1)
        if batch and sc.may_deactivate:
            return k.LRU_ACTIVE_FILE * 64 + batch
        if batch:
            sc.skipped_deactivate = 1
        if sc.nr[0] == 0 and sc.nr[1] == 0:
            return NOTHING
    return NOTHING


@part
def refaults_shown(s: View, b: ReclaimBooksView, task: Task, sc: ScanControl) -> None:
    """Active folios are scanned though the inactive list is not low: refaults had activated folios when the round began.

    If another task's reclaim has ended since, the next round does not see them.
    """
    b.inputs[bk.N_REFAULTS] += 1
    if task.snapshots == b.facts.snapshots:
        s.node[0].workingset_activate_file += 1
    sc.may_deactivate = 1


@part
def batch_follows(s: View, b: ReclaimBooksView, task: Task, sc: ScanControl, e: EventChunk, i: int) -> None:
    """mm_vmscan_lru_isolate: which list is scanned next, and how many pages of it."""
    if task.state != bk.LISTS:
        round_follows(s, b, task, sc, e, i, True)
    lru = e.mt[i]
    if lru == k.LRU_ACTIVE_FILE and sc.may_deactivate == 0:
        refaults_shown(s, b, task, sc)
    ours = next_of_round(sc, task)
    theirs = lru * 64 + e.a[i]
    decided(b, bk.D_BATCH, ours == theirs, bk.X_SIZE, e, i, ours, theirs)
    if ours == theirs:
        return
    which = lru & 1
    task.turn = 1 - which
    if e.a[i] < k.SWAP_CLUSTER_MAX:
        sc.nr[which] = 0
    elif ours < 0:
        sc.nr[which] = k.SWAP_CLUSTER_MAX


@part
def shrinkers_follow(
    s: View, b: ReclaimBooksView, task: Task, sc: ScanControl, e: EventChunk, i: int
) -> None:
    """mm_shrink_slab_start: shrink_lruvec is done; of a round's first one the priority is shown."""
    task.in_slab = 1
    priority = e.order[i]
    if task.state == bk.SHRINKERS and priority == sc.priority:
        return
    if task.state != bk.LISTS:
        round_follows(s, b, task, sc, e, i, True)
    if task.turn == 1:
        task.turn = 0
        batch = next_batch(sc, 1)
        if batch and sc.may_deactivate:
            decided(b, bk.D_BATCH, False, bk.X_SIZE, e, i, k.LRU_ACTIVE_FILE * 64 + batch, NOTHING)
    round_ends(sc)
    more = sc.nr[0] > 0 or (sc.nr[1] > 0 and sc.may_deactivate != 0)
    if more:
        decided(b, bk.D_BATCH, False, bk.X_SIZE, e, i, sc.nr[0], NOTHING)
    sc.nr[0] = sc.nr[1] = 0
    decided(b, bk.D_PRIORITY, priority == sc.priority, bk.X_MARKS, e, i, sc.priority, priority)
    sc.priority = min(priority, k.DEF_PRIORITY)
    task.state = bk.SHRINKERS
