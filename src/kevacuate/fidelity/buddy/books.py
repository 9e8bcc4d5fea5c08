# SPDX-License-Identifier: GPL-2.0-or-later
"""What the buddy level keeps beside the model's state: which page is which, counts, and the first divergence."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kevacuate.fidelity.tally import FACTS

KINDS = (
    "page taken (mm_page_alloc_zone_locked)",
    "claim or steal (mm_page_alloc_extfrag)",
    "free-list operation (gt_list)",
    "claim attempt (gt_evac 0)",
    "pageblock type change (gt_blk)",
    "type of a drained chunk (mm_page_pcpu_drain)",
    "list operation of compaction (gt_list)",
    "refusal (fewer chunks than asked for)",
    "page captured for a direct compactor",
    "free list at a dump",
    "pageblock type at a dump",
)
"""The kinds of decision, by number."""

(
    D_TAKEN, D_EXTFRAG, D_LIST, D_CLAIM, D_BLOCK, D_DRAIN, D_COMPACT, D_REFUSAL, D_CAPTURE, D_DUMP_LIST, D_DUMP_BLOCK,
) = range(11)  # fmt: skip

INPUTS = (
    "refills (gt_rmq 0)",
    "direct allocations (gt_rmq 1)",
    "drains (gt_rmq 2)",
    "direct frees (gt_rmq 3)",
    "chunks drained (pfn)",
    "movable pages of a block at a claim",
    "chunks that compaction took off the lists, whose scanners were not recorded (gt_cz)",
    "rotations of a list by compaction whose scanners were not recorded (gt_cz)",
    "direct compactions (begin and end)",
    "pages freed that compaction had taken unseen",
    "list operations of compaction on chunks the model does not hold",
    "list operations of compaction that the model decided otherwise: the kernel's are made",
    "pages taken that the model decided otherwise: the kernel's are taken over",
    "pageblock types that the model decided otherwise, or that compaction changed: the kernel's are taken over",
)
"""What is taken from the recording, by number."""

(
    N_BULK, N_BUDDY, N_DRAIN, N_FREE, N_CHUNKS, N_COUNTS, N_ISOLATED, N_ROTATED, N_COMPACTORS, N_UNSEEN, N_LOST, N_RIGHTED,
    N_TAKEN_OVER, N_RETYPED,
) = range(14)  # fmt: skip

F_ACTIVE = 1  # and not yet ended
F_DIVERGED = 2  # whether the model's state is the kernel's no longer
F_TOLD = 3  # whether the first divergence was noted
F_UNLISTED = 4  # whether the kernel recorded no list operations
F_OVERFLOW = 5
F_WRONG = 7  # wrong decisions so far
F_RETURNED = 9  # page that the model took and gave back last, + 1
F_CUT = 8  # first row that was not decided

# The first divergence: number of the event, ts, kind of decision; the request; record of the model and of the kernel.
V_POSITION = 0
V_TS = 1
V_KIND = 2
V_REQUEST = 3  # gt_rmq kind, zone, order, type, value, count, CPU
V_MODEL = 10  # log kind (0: none), pfn, a, b, c, d
V_KERNEL = 16
FIRST = 24

TASKS = 1 << 16
COMPACTORS = 16  # direct compactors at a time
COMPACTING = 64  # tasks inside compact_zone at a time
CS = 6
CO_PID = 0  # pid + 1; 0: unused
CO_ORDER = 1
CO_MT = 2
CO_ZONE = 3  # zone number; -1 outside compact_zone
CO_PFN = 4  # captured, -1 so far


class BuddyBooks(NamedTuple):
    """The arrays."""

    same: npt.NDArray[np.int64]
    """Recorded pfn to the model's: the identity as long as nothing diverged."""
    tally: npt.NDArray[np.int64]
    """Per kind of decision: made, wrong."""
    inputs: npt.NDArray[np.int64]
    facts: npt.NDArray[np.int64]
    first: npt.NDArray[np.int64]
    compactors: npt.NDArray[np.int64]
    compacting: npt.NDArray[np.int64]
    """Tasks inside compact_zone (pid + 1; 0: unused): only what they delete from the lists is compaction's."""
    user: npt.NDArray[np.uint8]
    """Whether a task has had a page of user memory by fault, by pid modulo :data:`TASKS`: kernel threads have none."""
    zone_of: npt.NDArray[np.int64]
    """Recorded zone index to the model's zone."""
    last_request: npt.NDArray[np.int64]
    """Scratch: per CPU, the row of its next request."""
    claiming: npt.NDArray[np.int64]
    """Scratch: per CPU, whether a claim was seen since."""


def new_books(npages: int, cpus: int, zone_of: npt.NDArray[np.int64]) -> BuddyBooks:
    """Empty books for a machine of *npages* page frames."""
    return BuddyBooks(
        same=np.arange(npages, dtype=np.int64),
        tally=np.zeros(2 * len(KINDS), np.int64),
        inputs=np.zeros(len(INPUTS), np.int64),
        facts=np.zeros(FACTS, np.int64),
        first=np.zeros(FIRST, np.int64),
        compactors=np.zeros(COMPACTORS * CS, np.int64),
        compacting=np.zeros(COMPACTING, np.int64),
        user=np.zeros(TASKS, np.uint8),
        zone_of=zone_of,
        last_request=np.zeros(cpus, np.int64),
        claiming=np.zeros(cpus, np.int64),
    )


class Scratch(NamedTuple):
    """Per row of the events at hand."""

    following: npt.NDArray[np.int64]
    """Row of the next request on the same CPU; the number of rows if there is none."""
    claims: npt.NDArray[np.uint8]
    """Whether events of claims (or evacuations) follow a request on its CPU."""
    done: npt.NDArray[np.uint8]
    """Whether a request has already accounted for the row."""
    compaction: npt.NDArray[np.int64]
    """What the compaction level decided of compaction's list operations (:data:`.compaction.books.UNDECIDED`)."""


def new_scratch(done: npt.NDArray[np.uint8], compaction: npt.NDArray[np.int64]) -> Scratch:
    """Scratch for rows of which *done* are accounted for, with what the compaction level decided of each."""
    return Scratch(np.empty(done.size, np.int64), np.empty(done.size, np.uint8), done, compaction)
