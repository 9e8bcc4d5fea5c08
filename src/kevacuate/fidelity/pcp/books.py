# SPDX-License-Identifier: GPL-2.0-or-later
"""What the pcp level keeps beside the model's state: where each page is, counts, and the first divergence."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kevacuate.fidelity.tally import FACTS

KINDS = (
    "page of an allocation (mm_page_alloc)",
    "chunk drained (mm_page_pcpu_drain)",
    "per-CPU list at a dump",
)
"""The kinds of decision, by number."""

D_ALLOC, D_DRAIN, D_DUMP = range(3)

INPUTS = (
    "allocations (CPU, order, type)",
    "insertions (gt_rmq 5)",
    "frees (mm_page_free, mm_page_free_batched)",
    "refills (gt_rmq 0)",
    "chunks that refills brought (pfn)",
    "drains (gt_rmq 2: count, list asked first)",
    "allocations straight from the buddy lists (gt_rmq 1), no decision",
    "allocations after direct compaction while the list was empty (captured), no decision",
    "frees straight to the buddy lists (gt_rmq 3)",
    "wrong pages put right after they were counted",
)
"""What is taken from the recording, by number."""

N_ALLOCS, N_INSERTED, N_FREES, N_REFILLS, N_CHUNKS, N_DRAINS, N_DIRECT, N_CAPTURED, N_BYPASS, N_REPAIRED = (
    range(10)
)

F_INSERTIONS = 0  # whether gt_rmq 5 is recorded
F_DIVERGED = 1
F_OTHER_CPU = 7  # mismatches whose page another CPU's list held
F_NOWHERE = 8  # mismatches whose page was on no list
# F_EPOCH 6 and F_ROWS 9: see frees
F_LATE = 10  # frees not yet committed
F_REGROUPS = 11  # whether vfree frees in larger chunks

V_POSITION, V_TS, V_KIND, V_CPU, V_ORDER, V_MT, V_MODEL, V_KERNEL, V_HELD = range(9)
FIRST = 16

RS = 5  # per CPU: task running, task before it, kind and freed pfn of the last event, freed pfn of the task before
R_PID, R_BEFORE, R_KIND, R_FREED, R_FREED_BEFORE = range(RS)
LATE = 8

COMPACTORS = 16
HOLDERS = 64
HS = 3


class PcpBooks(NamedTuple):
    """The arrays."""

    tally: npt.NDArray[np.int64]
    inputs: npt.NDArray[np.int64]
    facts: npt.NDArray[np.int64]
    first: npt.NDArray[np.int64]
    where: npt.NDArray[np.int32]
    """Per page: number of the per-CPU list it was last put on, (zone * CPUs + CPU) * 16 + index."""
    direct: npt.NDArray[np.uint8]
    """Per page: 1 from being taken straight from the buddy lists until its mm_page_alloc."""
    freed_order: npt.NDArray[np.uint8]
    """Per page: order of its last mm_page_free."""
    alloc_order: npt.NDArray[np.uint8]
    """Per page: order of the allocation that it was last part of."""
    wrong: npt.NDArray[np.uint8]
    """Per page: how often it was chosen wrongly since it came to its list."""
    fate: npt.NDArray[np.int64]
    """Scratch per page: epoch << 4 | what the next event of the page is."""
    refill: npt.NDArray[np.int64]
    """Per CPU: what the pages taken next are for: list number of a refill, -2 a direct allocation, -1 nothing."""
    refiller: npt.NDArray[np.int64]
    """Per CPU: the task whose refill has not brought a page yet; -1 if there is none."""
    holders: npt.NDArray[np.int64]
    """Tasks that have taken a page whose mm_page_alloc is still to come: pid + 1, pfn, 16 * order + type."""
    refill_mt: npt.NDArray[np.int64]
    """Per CPU: type of that refill."""
    used: npt.NDArray[np.uint8]
    """Per page: whether it was in use at the start, or an allocation was shown since it was last free."""
    phase: npt.NDArray[np.int64]
    """Scratch per task (pid modulo 4096): epoch, while its next compaction event is the end of a migrate_pages."""
    scanned: npt.NDArray[np.int64]
    """Per task (pid modulo 4096): first pfn and end of what its migrate scanner went over last."""
    running: npt.NDArray[np.int64]
    """Per CPU: fields ``R_*``."""
    late: npt.NDArray[np.int64]
    """Frees that an interrupted task has yet to commit: pid + 1, pfn, order, CPU."""
    locked: npt.NDArray[np.int64]
    """Per CPU: pfn of the last mm_page_alloc_zone_locked: the extfrag event after it shows the same page."""
    compactors: npt.NDArray[np.int64]
    """Pids of tasks in direct compaction, plus 1."""
    zone_of: npt.NDArray[np.int64]


def new_books(npages: int, cpus: int, zone_of: npt.NDArray[np.int64]) -> PcpBooks:
    """Empty books for a machine of *npages* page frames."""
    return PcpBooks(
        tally=np.zeros(2 * len(KINDS), np.int64),
        inputs=np.zeros(len(INPUTS), np.int64),
        facts=np.zeros(FACTS, np.int64),
        first=np.zeros(FIRST, np.int64),
        where=np.full(npages, -1, np.int32),
        direct=np.zeros(npages, np.uint8),
        freed_order=np.zeros(npages, np.uint8),
        alloc_order=np.zeros(npages, np.uint8),
        wrong=np.zeros(npages, np.uint8),
        fate=np.zeros(npages, np.int64),
        refill=np.full(cpus, -1, np.int64),
        refiller=np.full(cpus, -1, np.int64),
        holders=np.zeros(HS * HOLDERS, np.int64),
        refill_mt=np.zeros(cpus, np.int64),
        used=np.ones(npages, np.uint8),
        phase=np.zeros(4096, np.int64),
        scanned=np.zeros(2 * 4096, np.int64),
        running=np.full(RS * cpus, -1, np.int64),
        late=np.zeros(4 * LATE, np.int64),
        locked=np.full(cpus, -1, np.int64),
        compactors=np.zeros(COMPACTORS, np.int64),
        zone_of=zone_of,
    )
