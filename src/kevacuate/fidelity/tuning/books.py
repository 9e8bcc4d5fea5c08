# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tuning level keeps beside the model's state: each phase's fields, drains that are under way, counts.

The phase of the one-second decay is not recorded. It is fitted: the level carries all :data:`PHASES` of them along, each with
its own ``high`` and ``alloc_factor`` (count, free_count and flags do not depend on it), counts each one's mismatches, and
keeps the one with the fewest. A phase is what jiffies are, modulo :data:`PHASES`, at the recording's time 0.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

PHASE_NS = 4_000_000
"""Distance of two phases: a jiffy at HZ=250."""

PHASES = 1000
"""Jiffies after which the vmstat worker's ticks repeat: of a second at HZ=250 and of the timer wheel's eight."""

KINDS = (
    "size of a refill (gt_rmq 0)",
    "drain by a free: whether, and every sub-batch (gt_rmq 2)",
    "size of a drain by the one-second decay, whose moment is the event's (gt_rmq 2)",
    "high of a per-CPU list set at a dump",
    "alloc_factor at a dump",
    "free_count at a dump",
    "flags at a dump",
    "batch, high_min and high_max at a dump",
)
"""The kinds of decision, by number."""

D_REFILL, D_DRAIN, D_DECAY, D_HIGH, D_FACTOR, D_FREE_COUNT, D_FLAGS, D_BOUNDS = range(8)
ND = len(KINDS)

INPUTS = (
    "allocations that a per-CPU list served (pfn)",
    "insertions (gt_rmq 5)",
    "frees (mm_page_free, mm_page_free_batched)",
    "refills: that a list is refilled (gt_rmq 0), not how far",
    "chunks that refills brought",
    "chunks drained, after the drain was compared",
    "full drains: compaction, drain_all_pages (gt_rmq 2)",
    "claim attempts, for the boost (gt_evac 0)",
    "kswapd's activity: balance_pgdat begun",
    "kswapd's activity: begun by inference",
    "kswapd's activity: put right after a compared free showed it",
    "counts at an insertion (gt_rmq 5) that showed a page taken before its mm_page_alloc",
    "compared frees that showed a page taken before its mm_page_alloc",
    "sub-batches before the first free: their drain began before the start",
    "kswapd's activity: balance_pgdat at its wake-up of kcompactd, before its end's event",
)
"""What is taken from the recording, by number."""

(
    N_ALLOCS, N_INSERTED, N_FREES, N_REFILLS, N_CHUNKS, N_DRAINED, N_FULL, N_BOOSTS, N_BALANCES, N_INFERRED, N_CORRECTED, N_EARLY,
    N_UNSEEN, N_BEFORE, N_WAKES,
) = range(15)  # fmt: skip

CAUSES = (
    "size of a refill",
    "no drain below high_min in the kernel: kswapd was taken for active",
    "no drain in the kernel at high_min or more: high (decay's moment), or BELOW_HIGH",
    "a drain below high_min that the model had not: kswapd was active",
    "a drain at high_min or more that the model had not: high (decay's moment), or BELOW_HIGH",
    "a sub-batch of another size: free_count (an allocation that shows later), or the count between sub-batches",
    "broken off between sub-batches: another task or interrupt had the list",
    "the decay drained at another moment, or other sub-batches",
    "field at a dump",
)
"""Why a decision was not the kernel's, by number."""

(
    X_REFILL, X_NOT_ACTIVE, X_HIGH_LOW, X_ACTIVE, X_HIGH, X_AMOUNT, X_BROKEN, X_DECAY, X_FIELD,
) = range(9)  # fmt: skip
NX = len(CAUSES)

F_INSERTIONS = 1  # whether gt_rmq 5 is recorded
F_LISTS = 2  # whether gt_list is recorded
F_VMSCAN = 3  # whether balance_pgdat's begin and end are recorded
F_QUIET = 4  # frees that drained in no model and not in the kernel
F_KSWAPD = 5  # pid of kswapd plus 1, where it was found
# F_EPOCH 6 and F_ROWS 9: see frees
F_UNTIL = 7  # until when kswapd is at work, by inference
F_SERIAL = 8  # drains so far
F_RUNNING = 10  # whether kswapd is at work, by inference
F_BATCHED = 11  # time of kswapd's last batched free
F_NUMBER = 12  # of row 0 of the events at hand
FACTS = 16

(
    V_SEEN, V_POSITION, V_TS, V_KIND, V_CPU, V_ZONE, V_MODEL, V_KERNEL, V_COUNT, V_HIGH, V_FREE_COUNT, V_ACTIVE,
) = range(12)  # fmt: skip
V_LAST = 12
FIRST = 16

# Drains under way, by free: one that waits for its first sub-batch, or whose task was interrupted between two.
SLOTS = 16
SL_PID = 0  # plus 1; 0: unused
SL_PCP = 1
SL_INDEX = 2
SL_ROW = 3
SL_TS = 4
SL_DRAINS = 5  # sub-batches seen
SL_COUNT = 6  # pcp->count when it was decided
SL_SERIAL = 7
SL_ASKED = 8  # pages asked for in those seen
SL_CPU = 9
SL_FREE_COUNT = 10
SL_ACTIVE = 11
SL_BELOW = 12
SL_OPEN = 13  # whether some phase expects more sub-batches
SL_FREE_HIGH = 14
SL_TASK = 15
SL_CLEARS = 16  # zone plus 1 whose BELOW_HIGH may be cleared once the drain is over; 0: no sub-batch was seen
SW = 17

# Per CPU: the free just committed, while its first sub-batch may still come.
W_PID = 0  # plus 1; 0: none
W_PCP = 1
W_INDEX = 2
W_ROW = 3
W_SLOT = 4  # -1: no phase expects a drain
W_REFILL = 5  # per-CPU list set that is being refilled, plus 1; -1: a direct allocation; 0: nothing
W_FRESH = 6  # whether the refill has not brought a page yet
W_LOCKED = 7  # pfn of the last mm_page_alloc_zone_locked
W_RUN = 8  # pid of the task that runs
W_BEFORE = 9  # pid of the one before
W_COMMITS = 10  # insertions in its run
W_CLEARING = 11  # pages of a sub-batch that are still to be counted
W_FREE_COUNT = 12
W_FREE_HIGH = 13
W_DRAINER = 14  # pid of the task whose sub-batch that was
WW = 16

# Per per-CPU list set.
O_LOW = 0  # lowest and highest high of the phases
O_TOP = 1
O_FACTORS = 2  # whether some phase's alloc_factor is not 0
O_OWED = 3  # pages taken whose mm_page_alloc is still to come
O_OWED_PID = 4
OW = 8


class TuningBooks(NamedTuple):
    """The arrays."""

    tally: npt.NDArray[np.int64]
    """Per phase and kind of decision: made, wrong."""
    causes: npt.NDArray[np.int64]
    """Per phase: mismatches by cause."""
    first: npt.NDArray[np.int64]
    """Per phase: its first mismatch."""
    high: npt.NDArray[np.int32]
    """Per per-CPU list set and phase."""
    factor: npt.NDArray[np.int32]
    """alloc_factor, likewise."""
    decay: npt.NDArray[np.int32]
    """Likewise: -1 while a decay that would drain has not been seen, else pages it has still to drain."""
    since: npt.NDArray[np.int64]
    """Likewise: time of the last decay."""
    drop: npt.NDArray[np.int32]
    """Likewise: by how much the last decay, at that time, has lowered high, if it drained nothing."""
    skip: npt.NDArray[np.uint8]
    """Per CPU and phase: whether its next tick does not come, the last having been late."""
    last: npt.NDArray[np.int64]
    """Per CPU: time of its last event."""
    due: npt.NDArray[np.int64]
    """Per CPU: time of the next jiffy, and its number, modulo PHASES."""
    woken: npt.NDArray[np.int64]
    """Per CPU and phase: when its timer last expired late, as the CPU woke up."""
    slots: npt.NDArray[np.int64]
    left: npt.NDArray[np.int32]
    """Per slot and phase: pages still to be drained."""
    said: npt.NDArray[np.int32]
    """Per slot and phase: pages to be drained as decided."""
    wrong: npt.NDArray[np.int32]
    """Per slot and phase: whether a sub-batch was of another size."""
    cpu: npt.NDArray[np.int64]
    sets: npt.NDArray[np.int64]
    owner: npt.NDArray[np.int16]
    """Per page: number of the per-CPU list set that holds it, plus 1."""
    freed_order: npt.NDArray[np.uint8]
    alloc_order: npt.NDArray[np.uint8]
    used: npt.NDArray[np.uint8]
    fate: npt.NDArray[np.int64]
    phase: npt.NDArray[np.int64]
    scanned: npt.NDArray[np.int64]
    inputs: npt.NDArray[np.int64]
    facts: npt.NDArray[np.int64]
    balancer: npt.NDArray[np.int64]
    """Per node: pid plus 1 of the task whose balance_pgdat is under way, or 0; the order that it is for."""
    zone_of: npt.NDArray[np.int64]
    zone_index: npt.NDArray[np.int64]
    """The model's zone to the recorded index."""


class TuningScratch(NamedTuple):
    """Per row of the events at hand."""

    fate: npt.NDArray[np.int64]
    """What the next event of a freed page is: see :mod:`kevacuate.fidelity.pcp_frees`."""
    later: npt.NDArray[np.int64]
    """In kswapd's rows: when its next is."""


def new_books(npages: int, zones: int, cpus: int, zone_of: npt.NDArray[np.int64]) -> TuningBooks:
    """Empty books for a machine of *npages* page frames."""
    sets = zones * cpus
    zone_index = np.zeros(zones, np.int64)
    zone_index[zone_of] = np.arange(zone_of.size)
    return TuningBooks(
        tally=np.zeros(PHASES * ND * 2, np.int64),
        causes=np.zeros(PHASES * NX, np.int64),
        first=np.zeros(PHASES * FIRST, np.int64),
        high=np.zeros(sets * PHASES, np.int32),
        factor=np.zeros(sets * PHASES, np.int32),
        decay=np.zeros(sets * PHASES, np.int32),
        since=np.zeros(sets * PHASES, np.int64),
        drop=np.zeros(sets * PHASES, np.int32),
        skip=np.zeros(cpus * PHASES, np.uint8),
        last=np.zeros(cpus, np.int64),
        due=np.zeros(2 * cpus, np.int64),
        woken=np.zeros(cpus * PHASES, np.int64),
        slots=np.zeros(SLOTS * SW, np.int64),
        left=np.zeros(SLOTS * PHASES, np.int32),
        said=np.zeros(SLOTS * PHASES, np.int32),
        wrong=np.zeros(SLOTS * PHASES, np.int32),
        cpu=np.zeros(cpus * WW, np.int64),
        sets=np.zeros(sets * OW, np.int64),
        owner=np.zeros(npages, np.int16),
        freed_order=np.zeros(npages, np.uint8),
        alloc_order=np.zeros(npages, np.uint8),
        used=np.ones(npages, np.uint8),
        fate=np.zeros(npages, np.int64),
        phase=np.zeros(4096, np.int64),
        scanned=np.zeros(2 * 4096, np.int64),
        inputs=np.zeros(len(INPUTS), np.int64),
        facts=np.zeros(FACTS, np.int64),
        balancer=np.zeros(2 * zones, np.int64),
        zone_of=zone_of,
        zone_index=zone_index,
    )
