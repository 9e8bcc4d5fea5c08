# SPDX-License-Identifier: GPL-2.0-or-later
"""List operations of a run's scanners: those that the model expects, and the kernel's."""

from __future__ import annotations

from kevacuate.fidelity.compaction import books as bk
from kevacuate.fidelity.compaction.books import CompactionBooks
from kevacuate.fidelity.compaction.steps import judge
from kevacuate.jit import part
from kevacuate.recording import EventChunk

NONE = -1
"""No operation, no free page."""


@part
def compare_operation(b: CompactionBooks, e: EventChunk, i: int, run: int) -> bool:
    """gt_list of a scanner: whether it is what the model's scan does next."""
    at = run * bk.RW
    theirs = operation(e.pfn[i], e.a[i], e.order[i], e.mt[i])
    ours = expected_operation(b, run)
    b.runs[at + bk.R_SEEN] += ours != NONE
    b.decisions[i] = ours + bk.DECIDED_FROM
    return judge(b, e, i, bk.D_LIST, ours, theirs)


@part(inline=True)
def operation(pfn: int, op: int, order: int, mt: int) -> int:
    """A list operation as one number."""
    return ((pfn * 8 + op) * 16 + order) * 8 + mt


@part
def expected_operation(b: CompactionBooks, run: int) -> int:
    """The next operation that the model expects; NONE if there is none."""
    at = run * bk.RW
    if b.runs[at + bk.R_SEEN] >= b.runs[at + bk.R_EXPECT]:
        return NONE
    slot = (run * bk.BATCH + b.runs[at + bk.R_SEEN]) * 4
    return operation(b.expected[slot], b.expected[slot + 1], b.expected[slot + 2], b.expected[slot + 3])


@part
def close_operations(b: CompactionBooks, e: EventChunk, i: int, run: int) -> None:
    """Row *i* shows that the kernel is past them: what the model expected beyond is wrong."""
    at = run * bk.RW
    while b.runs[at + bk.R_SEEN] < b.runs[at + bk.R_EXPECT]:
        ours = expected_operation(b, run)
        judge(b, e, i, bk.D_LIST, ours, NONE)
        b.decisions[i] -= 1 if b.decisions[i] else ours * bk.LEFT_OUT + 1
        b.runs[at + bk.R_SEEN] += 1
