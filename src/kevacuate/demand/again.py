# SPDX-License-Identifier: GPL-2.0-or-later
"""A demand run again and again: what one pass leaves alive stands in for the start's pages in the next, or is freed between them.

The first pass is the demand as it is. In each further one the start's own pages are gone, those that the first pass freed at
least. Where a row frees some of them, objects that the pass before left are freed in their place, as many pages at least. So what
is in use rises and falls as it did, and never higher. What a pass leaves beyond that is freed before the next begins. The oldest
go first, from a drawn object on, so that neighbours in birth die together and not always the same ones first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kevacuate.demand import objects as ob
from kevacuate.demand.objects import ends_object, free_op, free_ops, i64, makes_object
from kevacuate.jit import kernel, part, pointers, run
from kevacuate.recording.demand import DEMAND_TYPES, DemandChunk, StartObjects

NOBODY, START, OWN, FORMER = range(4)
"""Whose an id is: nobody's, of an object of the start (or a half of one), of this pass, of the pass before."""

G_TOP, G_FRESH, G_OUT, G_NEXT, G_WAITING, G_DEBT, G_PASS, G_ROW, G_FREED, G_STARTED = range(10)
"""Places of the scalars: top of the stack of ids, fresh id, rows out, next to give way, how many there are, pages owed, pass,
allocations so far, pages of the start that the first pass freed, objects of the start."""

MARGIN = 1 << 14
"""Rows that one row may become at most: a free of 2**13 pages."""


class AgainTables(NamedTuple):
    """Sizes: N object ids of the demand, I ids of its repetition, H shadows."""

    holder: npt.NDArray[np.int32]
    """Id that stands for the demand's id now, -1 none [N]."""
    order: npt.NDArray[np.uint8]
    """Order of the object [I]."""
    cpu: npt.NDArray[np.uint16]
    """CPU that asked for it [I]."""
    task: npt.NDArray[np.int32]
    """Task that asked for it [I]."""
    born: npt.NDArray[np.int64]
    """How many allocations came before it [I]."""
    whose: npt.NDArray[np.uint8]
    """NOBODY, START, OWN or FORMER [I]."""
    free_ids: npt.NDArray[np.int32]
    """Stack of ids to use again [I]."""
    waiting: npt.NDArray[np.int32]
    """Ids of the former pass's objects, in the order in which they give way [I]."""
    shadow: npt.NDArray[np.uint8]
    """Whether the shadow is given out [H]."""
    g: npt.NDArray[np.int64]
    """Scalars, at the G_* places."""


@part
def put_row(
    s: AgainTables, d: DemandChunk, out: DemandChunk, i: int, op: int, obj: int, order: int, aux: int
) -> None:
    """Append a row at the time, on the CPU and by the task of row *i*."""
    n = s.g[G_OUT]
    out.t[n] = d.t[i]
    out.op[n] = op
    out.cpu[n] = d.cpu[i]
    out.obj[n] = obj
    out.order[n] = order
    out.mt[n] = d.mt[i]
    out.gfp[n] = d.gfp[i]
    out.attr[n] = d.attr[i]
    out.aux[n] = aux
    out.task[n] = d.task[i]
    s.g[G_OUT] = n + 1


@part
def take_id(s: AgainTables, d: DemandChunk, i: int, whose: int, order: int) -> int:
    """An id for an object that row *i* makes."""
    top = s.g[G_TOP]
    own = s.g[G_FRESH]
    if top > 0:
        own = i64(s.free_ids[top - 1])
        s.g[G_TOP] = top - 1
    else:
        s.g[G_FRESH] = own + 1
    s.whose[own] = whose
    s.order[own] = order
    s.cpu[own] = d.cpu[i]
    s.task[own] = d.task[i]
    s.born[own] = s.g[G_ROW]
    s.g[G_ROW] += 1
    return own


@part
def drop_id(s: AgainTables, own: int) -> None:
    """The object is gone; ids of the start's objects are not used again."""
    s.whose[own] = NOBODY
    if own >= s.g[G_STARTED]:
        s.free_ids[s.g[G_TOP]] = own
        s.g[G_TOP] += 1


@part
def give_way(s: AgainTables, d: DemandChunk, out: DemandChunk, i: int, order: int) -> None:
    """Row *i* frees pages of the start, which are gone: objects of the pass before are freed in their place."""
    s.g[G_DEBT] += i64(1) << order
    while s.g[G_DEBT] > 0 and s.g[G_NEXT] < s.g[G_WAITING]:
        own = i64(s.waiting[s.g[G_NEXT]])
        own_order = i64(s.order[own])
        s.g[G_DEBT] -= i64(1) << own_order
        s.g[G_NEXT] += 1
        put_row(s, d, out, i, i64(free_op(own_order)), own, own_order, i64(0))
        drop_id(s, own)


@part
def mark_shadows(s: AgainTables, first: int, order: int, given: int) -> int:
    """Give out 2**order shadows, or take them back; how many of them were given out before."""
    before = i64(0)
    for i in range(first, first + (i64(1) << order)):
        before += i64(s.shadow[i])
        s.shadow[i] = given
    return before


@part
def free_row(s: AgainTables, d: DemandChunk, out: DemandChunk, i: int, op: int) -> None:
    """A row FREE, RECLAIM or FREE_CONTIG."""
    own = i64(s.holder[d.obj[i]])
    order = i64(d.order[i])
    if own < 0:
        give_way(s, d, out, i, order)
        return
    aux = i64(d.aux[i])
    if op == ob.OP_RECLAIM:
        mark_shadows(s, aux, order, i64(1))
    put_row(s, d, out, i, op, own, order, aux)
    if i64(s.whose[own]) == START:
        s.g[G_FREED] += i64(1) << order
    s.holder[d.obj[i]] = -1
    drop_id(s, own)


@part
def split_row(s: AgainTables, d: DemandChunk, out: DemandChunk, i: int) -> None:
    """A row SPLIT."""
    own = i64(s.holder[d.obj[i]])
    upper = i64(-1)
    if own >= 0:
        half = i64(d.order[i]) - 1
        s.order[own] = half
        upper = take_id(s, d, i, i64(s.whose[own]), half)
        put_row(s, d, out, i, i64(ob.OP_SPLIT), own, half + 1, upper)
    s.holder[d.aux[i]] = upper


@part
def gather_row(s: AgainTables, d: DemandChunk, out: DemandChunk, i: int) -> None:
    """A row GATHER."""
    source = i64(d.aux[i])
    if source > 0:
        source = source if i64(s.shadow[source]) > 0 else i64(0)
        s.shadow[source] = 0
    s.shadow[d.obj[i]] = 1
    put_row(s, d, out, i, i64(ob.OP_GATHER), i64(d.obj[i]), i64(0), source)


@part
def again_row(s: AgainTables, d: DemandChunk, out: DemandChunk, i: int) -> None:
    """One row of the demand."""
    op = i64(d.op[i])
    order = i64(d.order[i])
    aux = i64(d.aux[i])
    if makes_object(op):
        if op == ob.OP_ALLOC and aux > 0 and mark_shadows(s, aux, order, i64(0)) == 0:
            aux = i64(0)
        own = take_id(s, d, i, i64(OWN), order)
        s.holder[d.obj[i]] = own
        put_row(s, d, out, i, op, own, order, aux)
    elif ends_object(op):
        free_row(s, d, out, i, op)
    elif op == ob.OP_SPLIT:
        split_row(s, d, out, i)
    elif op == ob.OP_FREE_PFN:
        if s.g[G_PASS] == 0:
            s.g[G_FREED] += i64(1) << order
            put_row(s, d, out, i, op, i64(-1), order, aux)
        else:
            give_way(s, d, out, i, order)
    elif op == ob.OP_ACCESS:
        own = i64(s.holder[d.obj[i]])
        if own >= 0:
            put_row(s, d, out, i, op, own, order, aux)
    elif op == ob.OP_TRUNCATE:
        if mark_shadows(s, aux, order, i64(0)) > 0:
            put_row(s, d, out, i, op, i64(0), order, aux)
    elif op == ob.OP_GATHER:
        gather_row(s, d, out, i)
    elif op != ob.OP_PLACE and op != ob.OP_READ:
        put_row(s, d, out, i, op, i64(0), order, aux)


@kernel(plain_work=1 << 16)
def again(ta: AgainTables, da: DemandChunk, oa: DemandChunk, at: int, end: int, room: int) -> int:
    """Work through rows [at, end) of a pass until the buffer of *room* rows is nearly full; the row that is next."""
    s = pointers(ta)
    d = pointers(da)
    out = pointers(oa)
    s.g[G_OUT] = 0
    i = i64(at)
    while i < end and s.g[G_OUT] < room - MARGIN:
        again_row(s, d, out, i)
        i += 1
    return i


class Again:
    """The passes of one demand, one after the other.

    Parameters
    ----------
    start : StartObjects
        Its start's objects.
    objects, shadows : int
        Numbers of ids and of shadows that the demand uses.
    length : int
        Passes.
    """

    def __init__(self, start: StartObjects, objects: int, shadows: int, length: int) -> None:
        count = len(start.pfn)
        ids = count + (objects if length == 1 else 2 * objects)
        self._start = count
        self.tables = AgainTables(
            holder=np.full(objects, -1, np.int32),
            order=np.zeros(ids, np.uint8),
            cpu=np.zeros(ids, np.uint16),
            task=np.full(ids, -1, np.int32),
            born=np.zeros(ids, np.int64),
            whose=np.zeros(ids, np.uint8),
            free_ids=np.zeros(ids, np.int32),
            waiting=np.zeros(ids, np.int32),
            shadow=np.zeros(shadows + 1, np.uint8),
            g=np.zeros(10, np.int64),
        )
        self.tables.holder[:count] = np.arange(count)
        self.tables.order[:count] = start.order
        self.tables.whose[:count] = START
        self.tables.g[G_FRESH] = self.tables.g[G_STARTED] = count

    @property
    def ids(self) -> int:
        """Ids used so far."""
        return int(self.tables.g[G_FRESH])

    def rows(self, chunks: Iterator[DemandChunk]) -> Iterator[DemandChunk]:
        """The rows of one pass, with the times of the demand."""
        for chunk in chunks:
            at, end = 0, chunk.t.size
            room = 2 * end + MARGIN
            while at < end:
                buffer = DemandChunk(*(np.empty(room, dtype) for dtype in DEMAND_TYPES.values()))
                at = run(again, end - at, self.tables, chunk, buffer, at, end, room)
                count = int(self.tables.g[G_OUT])
                if count:
                    yield DemandChunk._make(column[:count] for column in buffer)

    def between(self, begin: int, pause: int, draw: Callable[[int], int]) -> Iterator[DemandChunk]:
        """The rows between two passes: times *begin* and on, spread over the *pause*; *draw(n)* is one of 0 to n - 1."""
        t = self.tables
        left = t.waiting[int(t.g[G_NEXT]) : int(t.g[G_WAITING])].astype(np.int64)
        own = np.flatnonzero(t.whose == OWN)
        own = own[np.argsort(t.born[own], kind="stable")]
        own = np.roll(own, -draw(len(own))) if len(own) else own
        pages = np.cumsum(np.left_shift(1, t.order[own].astype(np.int64)))
        over = int(pages[-1]) - int(t.g[G_FREED]) if len(own) else 0
        gone = int(np.searchsorted(pages, over)) + 1 if over > 0 else 0
        freed, kept = np.concatenate([left, own[:gone]]), own[gone:]
        yield from self._ended(np.flatnonzero(t.shadow), freed, begin, pause)
        t.whose[freed], t.whose[kept] = NOBODY, FORMER
        top = int(t.g[G_TOP])
        t.free_ids[top : top + len(freed)] = freed
        t.waiting[: len(kept)] = kept
        t.g[G_TOP], t.g[G_NEXT], t.g[G_WAITING], t.g[G_DEBT] = top + len(freed), 0, len(kept), 0
        t.g[G_PASS] += 1
        t.holder[:], t.shadow[:] = -1, 0

    def _ended(
        self, shadows: npt.NDArray[np.int64], freed: npt.NDArray[np.int64], begin: int, pause: int
    ) -> Iterator[DemandChunk]:
        """The rows that give up shadows and free objects."""
        t, count = self.tables, len(shadows) + len(freed)
        if not count:
            return
        rows = DemandChunk(*(np.zeros(count, dtype) for dtype in DEMAND_TYPES.values()))
        first = len(shadows)
        rows.t[:] = begin + np.arange(count, dtype=np.int64) * pause // count
        rows.op[:first], rows.aux[:first], rows.task[:first] = ob.OP_TRUNCATE, shadows, -1
        rows.op[first:], rows.obj[first:] = free_ops(t.order[freed]), freed
        rows.order[first:], rows.cpu[first:], rows.task[first:] = t.order[freed], t.cpu[freed], t.task[freed]
        yield rows
