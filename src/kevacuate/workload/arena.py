# SPDX-License-Identifier: GPL-2.0-or-later
"""An arena: a task whose memory grows page fault by page fault, is kept while it lives, and goes together when it ends.

Base pages and huge pages, with the page tables for them; forked children, areas of vmalloc and files that are written and deleted
are arenas, too. Each piece of an arena is one allocation. The pieces' ids follow each other, so that the object's number is the
place in the arena; what is given back while the task lives (madvise, an allocator's purge) is faulted anew.
"""

from __future__ import annotations

from kevacuate.demand import objects as ob
from kevacuate.demand.pagekinds import A_DIRTY
from kevacuate.jit import part
from kevacuate.kernel.migratetypes import MIGRATE_UNMOVABLE
from kevacuate.recording.demand import DemandChunk
from kevacuate.workload.draw import below, chance, draw, quantile, waiting
from kevacuate.workload.fields import NEVER, ONE, WHOLE, Actor, GeneratorView, Part
from kevacuate.workload.rows import attributes, emit_alloc, emit_free, level, some_cpu

IDLE, GROWING, LIVING, ENDING = 0, 1, 2, 3

PAGE_TABLE, HUGE = 16, 32
"""Bits of a piece beside its order."""

TABLE_PAGES = 512
"""Pages that one page table maps (PTRS_PER_PTE of x86-64)."""


@part
def begin_task(w: GeneratorView, a: Actor, p: Part) -> int:
    """A new task, as large as it is drawn and as the part's memory has room for; when the actor is due next."""
    size = min(quantile(a, w.quantile, p.quantiles), p.limit - p.used)
    if size < 1:
        w.g.skipped += 1
        return w.g.now + waiting(a, w.exponential, max(p.pause, p.gap))
    p.used += size
    a.size = size
    a.pages = a.pieces = 0
    a.kind = -p.kernel
    a.again = -1
    a.state = GROWING
    some_cpu(a, p, draw(a))
    return w.g.now + p.gap


@part
def piece_alloc(w: GeneratorView, d: DemandChunk, a: Actor, p: Part, i: int) -> None:
    """The row that allocates piece *i*."""
    piece = w.piece[a.first_object + i] + 0
    order = piece & 15
    obj = a.first_object + i
    if piece & PAGE_TABLE:
        emit_alloc(w, d, a, ob.OP_ALLOC, obj, order, MIGRATE_UNMOVABLE, p.table_gfp, 0, 0)
    elif piece & HUGE:
        emit_alloc(w, d, a, ob.OP_ALLOC, obj, order, p.mt, p.huge_gfp, attributes(a, p), 0)
    else:
        op = ob.OP_ALLOC_BULK if p.bulk and order == 0 else ob.OP_ALLOC
        w.g.bulk += op == ob.OP_ALLOC_BULK
        attr = attributes(a, p)
        if p.dirty > 0 and chance(a, p.dirty):
            attr |= A_DIRTY
        emit_alloc(w, d, a, op, obj, order, p.mt, p.gfp, attr, 0)


@part
def next_piece(a: Actor, p: Part) -> int:
    """What the task asks for next: an order, and PAGE_TABLE or HUGE.

    a.kind counts the ranges that have a page table; below 0 the kernel's own pages of the task that are not there yet.
    """
    within = a.pages % TABLE_PAGES
    if a.kind < 0:
        a.kind += 1
        return PAGE_TABLE
    if p.tables and a.kind * TABLE_PAGES <= a.pages:
        a.kind += 1
        return PAGE_TABLE
    if p.huge > 0 and within == 0 and a.size - a.pages >= 1 << p.huge_order and chance(a, p.huge):
        return HUGE | p.huge_order
    order = p.order
    while order > 0 and a.size - a.pages < 1 << order:
        order -= 1
    return order


@part
def grow(w: GeneratorView, d: DemandChunk, a: Actor, p: Part) -> int:
    """One more piece, or the task is as large as it becomes; when the actor is due next."""
    if a.pages < a.size and a.pieces < a.room:
        piece = next_piece(a, p)
        w.piece[a.first_object + a.pieces] = piece
        piece_alloc(w, d, a, p, a.pieces)
        a.pieces += 1
        if piece & PAGE_TABLE == 0:
            a.pages += 1 << (piece & 15)
        return w.g.now + p.gap
    a.state = LIVING
    a.until = w.g.now + waiting(a, w.exponential, p.life)
    return next_in_life(w, a, p)


@part
def next_in_life(w: GeneratorView, a: Actor, p: Part) -> int:
    """When the task gives back a piece next, or ends."""
    wanted = a.pieces * p.renewed // WHOLE
    if wanted == 0:
        return a.until
    return min(a.until, w.g.now + waiting(a, w.exponential, max(p.life // wanted, 1)))


@part
def live(w: GeneratorView, d: DemandChunk, a: Actor, p: Part) -> int:
    """Give back a piece, fault it anew, or end; when the actor is due next."""
    if a.again >= 0:
        piece_alloc(w, d, a, p, a.again)
        a.again = -1
        return next_in_life(w, a, p)
    if w.g.now >= a.until:
        a.state = ENDING
        a.at = 0
        some_cpu(a, p, draw(a))
        return w.g.now
    i = below(a, a.pieces)
    piece = w.piece[a.first_object + i] + 0
    if piece & PAGE_TABLE:
        return next_in_life(w, a, p)
    emit_free(w, d, a, a.first_object + i, piece & 15)
    a.again = i
    return w.g.now + p.gap


@part
def end_task(w: GeneratorView, d: DemandChunk, a: Actor, p: Part) -> int:
    """Free the next piece, in order of address; when the actor is due next. The page tables lie among the pages they map."""
    emit_free(w, d, a, a.first_object + a.at, w.piece[a.first_object + a.at] & 15)
    a.at += 1
    if a.at < a.pieces:
        return w.g.now + p.gap
    p.used -= a.size
    a.state = IDLE
    busy = max(level(w, p), 1)
    mean = p.pause // busy * ONE if p.pause > NEVER // ONE else p.pause * ONE // busy
    return w.g.now + waiting(a, w.exponential, max(mean, p.gap))


@part
def arena_step(w: GeneratorView, d: DemandChunk, a: Actor, p: Part) -> int:
    """At most one row of the task; when the actor is due next."""
    if a.state == GROWING:
        return grow(w, d, a, p)
    if a.state == ENDING:
        return end_task(w, d, a, p)
    if a.state == LIVING:
        return live(w, d, a, p)
    return begin_task(w, a, p)
