# SPDX-License-Identifier: GPL-2.0-or-later
"""What the reclaim level keeps beside the model's state: where each folio is, calls and rounds that are under way, counts."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kevacuate.mm.fields import ScanControl
from kevacuate.records import Record, Records, Words, seen_as, words

KINDS = (
    "kswapd is woken by a request, or not (gt_slow 0, a claim's boost; mm_vmscan_wakeup_kswapd)",
    "kswapd begins or goes to sleep at its look after HZ/10 (mm_vmscan_kswapd_wake, _sleep)",
    "a run's order and highest zone index (mm_vmscan_kswapd_wake)",
    "a run goes on with another round, or ends (mm_vmscan_balance_pgdat_end)",
    "the order at which a run ends",
    "the priority of a round (mm_shrink_slab_start)",
    "direct reclaim goes on with another round, or ends (mm_vmscan_direct_reclaim_end)",
    "the next batch: which list and how many pages (mm_vmscan_lru_isolate)",
    "pages scanned by a batch (mm_vmscan_lru_isolate)",
    "which folio, in order (gt_rec, gt_lru)",
    "what becomes of a folio (gt_rec)",
    "pages reclaimed of a batch (mm_vmscan_lru_shrink_inactive)",
    "folio of an LRU list at a dump, in order (gt_dump 7)",
)
"""The kinds of decision, by number."""

(
    D_WAKE, D_LOOK, D_ASKED, D_ROUND, D_END_ORDER, D_PRIORITY, D_DIRECT, D_BATCH, D_SCANNED, D_FOLIO, D_OUTCOME, D_RECLAIMED,
    D_DUMP,
) = range(len(KINDS))  # fmt: skip

TIMELINE = (D_WAKE, D_LOOK, D_ASKED, D_ROUND, D_END_ORDER)
"""The kinds that say when kswapd wakes and stops."""

INPUTS = (
    "folios that reached a list, with the moment (mm_lru_insertion)",
    "folios activated by use (mm_lru_activate)",
    "folios that compaction isolated (gt_mig 0)",
    "folios rotated when written, or deactivated by their owner (gt_lru 3 to 6)",
    "folios freed while on a list (mm_page_free)",
    "list operations of the free lists, for the marks (gt_list)",
    "requests of the slow path (gt_slow 0), and wake-ups as they try again",
    "folios of reclaim that were dirty or under writeback (flags of gt_rec)",
    "accessed bits of page tables: a mapped folio that was used (gt_rec 1, 2)",
    "accessed bits of page tables: a mapped active folio, kept or not (gt_lru 1)",
    "folios whose buffers could not be released (gt_rec 16)",
    "folios that were locked or pinned (gt_rec 3, 11, 12, 17)",
    "pages that shrinkers freed (mm_page_free of the reclaiming task)",
    "refaults that let a run deactivate (its first batch of the active list shows that there were some)",
    "large folios that were split (their pages appear singly)",
    "folios that left a list without an event: khugepaged, mlock",
    "moments of kswapd's look after HZ/10",
    "batches put back before the event of their end, as one of their folios shows (gt_lru 3 to 6, gt_mig 0, mm_lru_activate)",
)
"""What is taken from the recording, by number."""

(
    N_INSERTED, N_ACTIVATED, N_ISOLATED, N_MOVED, N_FREED, N_FREE_LISTS, N_SLOW, N_DIRTY, N_ACCESSED, N_SPARED, N_BUFFERS,
    N_LOCKED, N_SLAB, N_REFAULTS, N_SPLIT, N_GONE, N_LOOKS, N_BACK,
) = range(len(INPUTS))  # fmt: skip

CAUSES = (
    "kswapd's timer of HZ/10 had expired before the wake-up, or not",
    "kswapd: free pages near a mark (per-CPU counts of the kernel's), or preempted between the test and its event",
    "a run's or a direct reclaim's pages: shrinkers' pages counted late",
    "size of a list: per-CPU counts of the kernel's, or folios that had left it without an event",
    "a folio had left its list without an event",
    "a preempted task put folios back before or after another's",
    "outcome: an input that the flags do not show",
    "mlock took folios off without an event",
)
"""Why a decision was not the kernel's, by number."""

X_TIMER, X_MARKS, X_SLAB, X_SIZE, X_GONE, X_ORDER, X_OUTCOME, X_MLOCK = range(len(CAUSES))

NOWHERE, ON_LIST, TAKEN = 0, 1, 2
"""Where a folio is: on no list, on one, or taken by a batch."""

UNKNOWN_ORDER = 255
TASKS = 16
"""Tasks that reclaim at a time, kswapd the first."""
MOST_TAKEN = 64
"""Folios of a batch at most: SWAP_CLUSTER_MAX, and room for what only the kernel took."""

IDLE, BEGUN, LISTS, SHRINKERS = 0, 1, 2, 3
"""What a task is at: no reclaim, before its first round, in shrink_lruvec, behind it (shrink_slab)."""


class Task(Record):
    """A task that reclaims: its batch that is under way, and its round."""

    pid: int  #: plus 1; 0: free
    state: int  #: IDLE to SHRINKERS
    turn: int  #: the list whose batch comes next: 0 inactive, 1 active
    snapshots: int  #: ``facts.snapshots`` when its round began
    passes: int  #: whether a pass over both lists was begun in this round
    in_slab: int  #: whether a shrinker is at work
    slab_pages: int  #: pages that shrinkers freed since they were counted last
    in_call: int  #: whether a batch is under way
    lru: int  #: its list
    nr_taken: int  #: pages of the batch as recorded
    seen: int  #: pages whose outcome was shown
    next: int  #: of the folios that the model took, the next one expected
    count: int  #: folios that the model took
    kept: int  #: folios to be put back,
    reclaimed: int  #: and pages that the model reclaims of the batch
    gone: int  #: folios of the batch that had left their list without an event
    others: int  #: folios of the batch that the model had not taken
    settled: int  #: whether they were put back already
    taken: Words = words(MOST_TAKEN)
    kept_pfn: Words = words(MOST_TAKEN)
    kept_last: Words = words(MOST_TAKEN)  #: whether a kept folio is put back behind the others: deactivated


class Facts(Record):
    """Single numbers."""

    kswapd: int  #: pid of kswapd plus 1
    ended: int  #: when its last run ended
    woken: int  #: whether a wake-up came since
    snapshots: int  #: reclaims that have ended, after which earlier refaults count no more
    asked_pid: int  #: task whose request may wake kswapd, plus 1
    asked_wakes: int  #: whether it does, by the model
    asked_late: int  #: whether kswapd's timer may have expired by then
    claim_pid: int  #: task whose claim boosted the marks, plus 1
    zones: int  #: recorded zone indices
    zone_offset: int  #: the model's zone index less the recorded one: the recorded kernel may lack ZONE_DMA
    alloc_flags: int  #: of the last request to the buddy allocator
    first_seen: int
    first_position: int
    first_ts: int
    first_kind: int
    first_model: int
    first_kernel: int
    last_position: int
    number: int  #: of row 0 of the events at hand


class ReclaimBooksView(NamedTuple):
    """The arrays as compiled code sees them."""

    tally: Words
    inputs: Words
    causes: Words
    facts: Facts
    task: Records[Task]
    sc: Records[ScanControl]
    where: Words
    order: Words
    diff: Words
    zone_of: Words


@seen_as(ReclaimBooksView)
class ReclaimBooks(NamedTuple):
    """The arrays."""

    tally: npt.NDArray[np.int64]
    """Per kind of decision: made, wrong."""
    inputs: npt.NDArray[np.int64]
    causes: npt.NDArray[np.int64]
    facts: npt.NDArray[np.int64]
    task: npt.NDArray[np.int64]
    sc: npt.NDArray[np.int64]
    """The scan control of each task."""
    where: npt.NDArray[np.uint8]
    """Of each page: NOWHERE, ON_LIST or TAKEN."""
    order: npt.NDArray[np.uint8]
    """Of each page that begins a folio: its order, as allocated or split; UNKNOWN_ORDER of others."""
    diff: npt.NDArray[np.int64]
    """Per zone and list: what the CPU's own count holds back (vm_stat_diff)."""
    zone_of: npt.NDArray[np.int64]
    """Recorded zone index to the model's zone."""


def new_books(npages: int, zones: int, zone_of: npt.NDArray[np.int64], zone_offset: int) -> ReclaimBooks:
    """Empty books for a machine of *npages* page frames."""
    facts = Facts.new()
    Facts(facts).zones = zone_of.size
    Facts(facts).zone_offset = zone_offset
    return ReclaimBooks(
        tally=np.zeros(2 * len(KINDS), np.int64),
        inputs=np.zeros(len(INPUTS), np.int64),
        causes=np.zeros(len(CAUSES), np.int64),
        facts=facts,
        task=Task.new(TASKS),
        sc=ScanControl.new(TASKS),
        where=np.zeros(npages, np.uint8),
        order=np.full(npages, UNKNOWN_ORDER, np.uint8),
        diff=np.zeros(zones * 8, np.int64),
        zone_of=zone_of,
    )
