# SPDX-License-Identifier: GPL-2.0-or-later
"""A page cache: files that are read in runs, written and deleted, of which as many folios stay as there is room for.

Which file is read follows Zipf's law. Where the cache is full, what was not used since the hand passed it last is given up: a
second chance, in batches of 32 as kswapd takes them. Those rows are RECLAIM, so that one demand serves both loops: in the open
loop the pages are freed then, in the closed one they stay and the model reclaims by itself. A folio's shadow has its number for
good.
"""

from __future__ import annotations

from kevacuate.demand import objects as ob
from kevacuate.demand.pagekinds import A_DIRTY
from kevacuate.jit import part
from kevacuate.recording.demand import DemandChunk
from kevacuate.workload.draw import below, chance, quantile, waiting
from kevacuate.workload.fields import ONE, Actor, GeneratorView, Part
from kevacuate.workload.rows import attributes, emit, emit_alloc, emit_free, level

READ, WRITE, DELETE = 0, 1, 2

REFERENCED, RECLAIMED = 1, 2
"""Bits of a folio in ``seen``."""

SWAP_CLUSTER_MAX = 32
"""Folios that are given up in one go (include/linux/swap.h)."""


@part
def shadow_of(p: Part, folio: int) -> int:
    """The folio's shadow."""
    return p.first_shadow + (folio << p.order)


@part
def growing(w: GeneratorView, p: Part) -> bool:
    """Whether the cache still grows to its size: then files are read whole, the most popular first."""
    return w.g.now < p.begin + p.fill and p.alive[0] < p.resident


@part
def begin_access(w: GeneratorView, a: Actor, p: Part) -> None:
    """Choose a file, and what is done with it."""
    if growing(w, p):
        a.at = (a.number + a.size * p.actors) * p.file
        a.size += 1
        a.kind = READ
        a.left = p.file
        if a.at + p.file <= p.folios:
            return
    file = quantile(a, w.quantile, p.quantiles)
    a.at = file * p.file
    if p.deleted > 0 and chance(a, p.deleted):
        a.kind = DELETE
        a.left = p.file
        return
    run = min(p.burst, p.file)
    a.at += below(a, p.file - run + 1)
    a.left = run
    a.kind = WRITE if p.written > 0 and chance(a, p.written) else READ


@part
def evict(w: GeneratorView, d: DemandChunk, a: Actor, p: Part) -> bool:
    """Give up the folio that the hand comes to first and that was not used since; whether a row says so."""
    while True:
        head = p.base[0] + p.head[0]
        tail = p.head[0] + p.alive[0]
        if tail >= p.room[0]:
            tail -= p.room[0]
        tail += p.base[0]
        obj = w.ids[head] + 0
        place = p.id_of + p.folios + obj - p.first_object
        folio = w.ids[place] + 0
        p.head[0] = p.head[0] + 1 if p.head[0] + 1 < p.room[0] else 0
        if folio >= 0 and w.seen[p.id_of + folio] & REFERENCED:
            w.seen[p.id_of + folio] = w.seen[p.id_of + folio] & ~REFERENCED & 255
            w.ids[head] = w.ids[tail]
            w.ids[tail] = obj
            continue
        p.alive[0] -= 1
        if folio < 0:
            return False
        w.ids[place] = -1
        w.ids[p.id_of + folio] = -1
        w.seen[p.id_of + folio] = RECLAIMED
        emit(w, d, a, ob.OP_RECLAIM, obj, p.order, p.mt, 0, 0, shadow_of(p, folio))
        w.g.frees += 1
        w.g.reclaimed += 1
        w.g.pages -= 1 << p.order
        return True


@part
def bring_in(w: GeneratorView, d: DemandChunk, a: Actor, p: Part) -> None:
    """Read, or write, a folio that is not cached."""
    folio = a.at
    last = p.head[0] + p.alive[0]
    if last >= p.room[0]:
        last -= p.room[0]
    obj = w.ids[p.base[0] + last] + 0
    p.alive[0] += 1
    w.ids[p.id_of + folio] = obj
    w.ids[p.id_of + p.folios + obj - p.first_object] = folio
    again = w.seen[p.id_of + folio] & RECLAIMED
    w.seen[p.id_of + folio] = 0
    attr = attributes(a, p)
    gfp = p.gfp
    if a.kind == WRITE:
        gfp = p.write_gfp
        if chance(a, p.dirty):
            attr |= A_DIRTY
    w.g.read_again += again > 0
    emit_alloc(w, d, a, ob.OP_ALLOC, obj, p.order, p.mt, gfp, attr, shadow_of(p, folio) if again > 0 else 0)


@part
def delete_folio(w: GeneratorView, d: DemandChunk, a: Actor, p: Part) -> None:
    """The file is truncated: what is cached of it is freed, what was reclaimed is given up."""
    folio = a.at
    obj = w.ids[p.id_of + folio] + 0
    if obj >= 0:
        w.ids[p.id_of + folio] = -1
        w.ids[p.id_of + p.folios + obj - p.first_object] = -1
        emit_free(w, d, a, obj, p.order)
    elif w.seen[p.id_of + folio] & RECLAIMED:
        emit(w, d, a, ob.OP_TRUNCATE, 0, p.order, 0, 0, 0, shadow_of(p, folio))
        w.g.truncated += 1
    w.seen[p.id_of + folio] = 0


@part
def use_folio(w: GeneratorView, d: DemandChunk, a: Actor, p: Part) -> bool:
    """Read, write or delete the folio at hand; False if room for it is to be made first."""
    if a.kind == DELETE:
        delete_folio(w, d, a, p)
        return True
    obj = w.ids[p.id_of + a.at] + 0
    if obj >= 0:
        w.seen[p.id_of + a.at] |= REFERENCED
        emit(w, d, a, ob.OP_ACCESS, obj, p.order, p.mt, p.gfp, p.attr, 0)
        w.g.accesses += 1
        return True
    if p.alive[0] >= p.resident:
        return False
    bring_in(w, d, a, p)
    return True


@part
def cache_step(w: GeneratorView, d: DemandChunk, a: Actor, p: Part) -> int:
    """At most one row of the cache; when the actor is due next."""
    if a.which > 0:
        a.which -= 1
        evict(w, d, a, p)
        return w.g.now + p.gap
    if a.left == 0:
        begin_access(w, a, p)
    if not use_folio(w, d, a, p):
        a.which = min(SWAP_CLUSTER_MAX, p.alive[0])
        return w.g.now + p.gap
    a.at += 1
    a.left -= 1
    if a.left > 0:
        return w.g.now + p.gap
    if growing(w, p):
        return w.g.now + waiting(a, w.exponential, p.pause)
    busy = max(level(w, p), 1)
    return w.g.now + waiting(a, w.exponential, max(p.life * ONE // busy, 1))
