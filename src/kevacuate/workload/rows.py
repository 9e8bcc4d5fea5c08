# SPDX-License-Identifier: GPL-2.0-or-later
"""What the behaviours share: writing a row, the attributes of an object, the daily rhythm."""

from __future__ import annotations

from kevacuate.demand.objects import free_op
from kevacuate.demand.pagekinds import A_PINNED
from kevacuate.jit import part
from kevacuate.kernel.pageattr import PageAttr
from kevacuate.recording.demand import DemandChunk
from kevacuate.workload.draw import chance
from kevacuate.workload.fields import ONE, TABLE, Actor, GeneratorView, Part

A_MLOCKED = int(PageAttr.MLOCKED)


@part(inline=True)
def emit(
    w: GeneratorView,
    d: DemandChunk,
    a: Actor,
    op: int,
    obj: int,
    order: int,
    mt: int,
    gfp: int,
    attr: int,
    aux: int,
) -> None:
    """Append one row at the present time, on the actor's CPU, by a task of the actor's number."""
    i = w.g.rows
    d.t[i] = w.g.now
    d.op[i] = op
    d.cpu[i] = a.cpu
    d.obj[i] = obj
    d.order[i] = order
    d.mt[i] = mt
    d.gfp[i] = gfp
    d.attr[i] = attr
    d.aux[i] = aux
    d.task[i] = w.heap[0]
    w.g.rows = i + 1


@part(inline=True)
def emit_alloc(
    w: GeneratorView,
    d: DemandChunk,
    a: Actor,
    op: int,
    obj: int,
    order: int,
    mt: int,
    gfp: int,
    attr: int,
    aux: int,
) -> None:
    """A row that allocates, counted."""
    emit(w, d, a, op, obj, order, mt, gfp, attr, aux)
    w.g.allocs += 1
    w.g.pages += 1 << order
    w.g.peak = max(w.g.peak, w.g.pages)


@part(inline=True)
def emit_free(w: GeneratorView, d: DemandChunk, a: Actor, obj: int, order: int) -> None:
    """A row FREE, or FREE_CONTIG of what is above MAX_PAGE_ORDER, counted."""
    emit(w, d, a, free_op(order), obj, order, 0, 0, 0, 0)
    w.g.frees += 1
    w.g.pages -= 1 << order


@part(inline=True)
def attributes(a: Actor, p: Part) -> int:
    """The attributes of a new object: the part's, with mlock and pins as they are drawn."""
    attr = p.attr
    if p.mlocked > 0 and chance(a, p.mlocked):
        attr |= A_MLOCKED
    if p.pinned > 0 and chance(a, p.pinned):
        attr |= A_PINNED
    return attr


@part
def level(w: GeneratorView, p: Part) -> int:
    """How busy the part is now by the daily rhythm, in ONEs."""
    if p.rhythm == 0 or w.g.period == 0:
        return ONE
    within = (w.g.now + w.g.begin) % w.g.period
    return w.rhythm[within * TABLE // w.g.period]


@part
def some_cpu(a: Actor, p: Part, drawn: int) -> None:
    """Put the actor on one of the part's CPUs; *drawn* is a number below 2**32."""
    a.cpu = p.first_cpu + ((drawn * p.cpus) >> 32)
