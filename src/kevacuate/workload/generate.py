# SPDX-License-Identifier: GPL-2.0-or-later
"""The generator's loop, compiled: whichever actor is due next makes its next row."""

from __future__ import annotations

from kevacuate.jit import kernel, part, pointers
from kevacuate.recording.demand import DemandChunk
from kevacuate.workload.arena import arena_step
from kevacuate.workload.cache import cache_step
from kevacuate.workload.fields import ARENA, CACHE, POOL, Generator, GeneratorView
from kevacuate.workload.pool import pool_step
from kevacuate.workload.rounds import rounds_step

MARGIN = 8
"""Rows that one step may make at most."""


@part(inline=True)
def sooner(w: GeneratorView, i: int, j: int) -> bool:
    """Whether place *i* of the heap is due before place *j*; of two at once the actor with the lower number."""
    return w.due[i] < w.due[j] or (w.due[i] == w.due[j] and w.heap[i] < w.heap[j])


@part(inline=True)
def put_back(w: GeneratorView, due: int) -> None:
    """The first actor of the heap is due at *due* ns next: it sinks to its place."""
    n = w.g.nr_actors
    number = w.heap[0] + 0
    i = 0
    while True:
        child = 2 * i + 1
        if child >= n:
            break
        if child + 1 < n and sooner(w, child + 1, child):
            child += 1
        if due < w.due[child] or (due == w.due[child] and number < w.heap[child]):
            break
        w.due[i] = w.due[child]
        w.heap[i] = w.heap[child]
        i = child
    w.due[i] = due
    w.heap[i] = number


@kernel(plain_work=1 << 16)
def generate(wa: Generator, da: DemandChunk, room: int) -> int:
    """Make rows until the buffer of *room* rows is nearly full or the workload ends; how many there are (0: it has ended)."""
    w = pointers(wa)
    d = pointers(da)
    w.g.rows = 0
    while w.g.rows < room - MARGIN:
        due = w.due[0] + 0
        if due >= w.g.end:
            break
        w.g.now = due
        a = w.actor[w.heap[0]]
        p = w.part[a.part]
        if p.behaviour == POOL:
            due = pool_step(w, d, a, p)
        elif p.behaviour == ARENA:
            due = arena_step(w, d, a, p)
        elif p.behaviour == CACHE:
            due = cache_step(w, d, a, p)
        else:
            due = rounds_step(w, d, a, p)
        put_back(w, due)
    if w.g.rows > 0:
        w.g.last = d.t[w.g.rows - 1]
    return int(w.g.rows)
