# SPDX-License-Identifier: GPL-2.0-or-later
"""Rounds: fill memory, free a share at random, then free and allocate again a share of the rest at random, over and over.

The experiment by which LLFree was compared with Linux's buddy allocator (linux-alloc-bench, ``frag``): each task allocates its
objects; what each has is then shuffled among all tasks; each frees what it does not keep; in every round each frees some of what
it has, chosen at random, and then allocates as many. A task's objects lie in ``ids``, from ``base`` on, in the shuffled order.
"""

from __future__ import annotations

from kevacuate.demand import objects as ob
from kevacuate.jit import part
from kevacuate.recording.demand import DemandChunk
from kevacuate.workload.draw import below
from kevacuate.workload.fields import NEVER, Actor, GeneratorView, Part
from kevacuate.workload.rows import attributes, emit_alloc, emit_free

FILLING, FREEING, GIVING, TAKING, OVER = 0, 1, 2, 3, 4


@part
def next_phase(w: GeneratorView, a: Actor, p: Part) -> int:
    """Begin the next phase; when it begins. Tasks have equally many rows in each, so that they begin together."""
    a.at = 0
    if a.state == FILLING:
        a.state = FREEING
        return w.g.now + p.pause
    if a.state == GIVING:
        a.state = TAKING
        return w.g.now + p.gap
    a.again += 1
    a.state = GIVING if a.again <= p.rounds else OVER
    return w.g.now + p.pause if a.state == GIVING else NEVER


@part
def rounds_step(w: GeneratorView, d: DemandChunk, a: Actor, p: Part) -> int:
    """One row of the task; when it is due next."""
    rows = a.size
    if a.state == FILLING:
        emit_alloc(w, d, a, ob.OP_ALLOC, a.first_object + a.at, p.order, p.mt, p.gfp, attributes(a, p), 0)
    elif a.state == FREEING:
        rows = a.size - a.pieces
        emit_free(w, d, a, w.ids[a.base + a.pieces + a.at] + 0, p.order)
    elif a.state == GIVING:
        rows = p.renewed
        last = a.base + a.pieces - 1 - a.at
        at = a.base + below(a, a.pieces - a.at)
        obj = w.ids[at] + 0
        w.ids[at] = w.ids[last]
        w.ids[last] = obj
        emit_free(w, d, a, obj, p.order)
    else:
        rows = p.renewed
        obj = w.ids[a.base + a.pieces - rows + a.at] + 0
        emit_alloc(w, d, a, ob.OP_ALLOC, obj, p.order, p.mt, p.gfp, attributes(a, p), 0)
    a.at += 1
    if a.at < rows:
        return w.g.now + p.gap
    return next_phase(w, a, p)
