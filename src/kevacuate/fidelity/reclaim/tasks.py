# SPDX-License-Identifier: GPL-2.0-or-later
"""Counting decisions, and the tasks that reclaim, compiled."""

from __future__ import annotations

from kevacuate.fidelity.reclaim.books import IDLE, TASKS, ReclaimBooksView, Task
from kevacuate.jit import part
from kevacuate.recording import EventChunk

NO_TASK = -1


@part
def decided(
    b: ReclaimBooksView, kind: int, right: bool, cause: int, e: EventChunk, i: int, model: int, kernel: int
) -> None:
    """Count a decision that row *i* shows; of a wrong one the cause, and of the first what the model and the kernel did."""
    b.tally[2 * kind] += 1
    if right:
        return
    b.tally[2 * kind + 1] += 1
    b.causes[cause] += 1
    facts = b.facts
    facts.last_position = facts.number + i
    if facts.first_seen == 0:
        facts.first_seen = 1
        facts.first_position = facts.number + i
        facts.first_ts = e.ts[i]
        facts.first_kind = kind
        facts.first_model = model
        facts.first_kernel = kernel


@part
def task_of(b: ReclaimBooksView, pid: int) -> int:
    """Number of the task that reclaims under this pid; NO_TASK if none does."""
    for n in range(TASKS):
        if b.task[n].pid == pid + 1:
            return n
    return NO_TASK


@part
def new_task(b: ReclaimBooksView, pid: int) -> int:
    """A place for a task that begins to reclaim directly: the first is kswapd's, the last is used again if all are taken."""
    found = task_of(b, pid)
    if found >= 0:
        return found
    for n in range(1, TASKS):
        if b.task[n].pid == 0 or n == TASKS - 1:
            task = b.task[n]
            clear_task(task)
            task.pid = pid + 1
            return n
    return TASKS - 1


@part
def clear_task(task: Task) -> None:
    """Forget a task, its batch too."""
    task.pid = task.in_call = task.in_slab = task.slab_pages = task.turn = 0
    task.state = IDLE
