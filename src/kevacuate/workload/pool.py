# SPDX-License-Identifier: GPL-2.0-or-later
"""A pool: objects that are born and die one by one, in runs, as slabs, page tables and network buffers do.

Births come at the rate that keeps ``target`` objects alive, deaths at a rate of ``alive / lifetime``: a lifetime of each class is
exponential where any object may die (RANDOM), and the mean is the same where the oldest or the newest dies. An object's class is
drawn at its birth. Where births and deaths are given for windows of time (``windows``), those are the rates, and lifetimes only
say which class dies. Each class has a ring of ids in ``ids``: the living ones lie from ``head`` on, the others behind them.
"""

from __future__ import annotations

from kevacuate.demand.objects import alloc_op
from kevacuate.jit import part
from kevacuate.recording.demand import DemandChunk
from kevacuate.workload.draw import below, draw, waiting
from kevacuate.workload.fields import NEWEST, OLDEST, ONE, WHOLE, Actor, GeneratorView, Part
from kevacuate.workload.rows import attributes, emit_alloc, emit_free, level

BORN, GROWS = -1, -2
"""What a run of rows does, beside a class that dies: births of the steady state; births of the growth to the pool's size."""


@part
def window_of(w: GeneratorView, p: Part) -> int:
    """The window of time that it is now."""
    return min((w.g.now - p.begin) // p.window, p.windows - 1)


@part
def births(w: GeneratorView, p: Part) -> float:
    """Objects born a ns, without growth."""
    if p.windows > 0:
        at = p.profile + 2 * window_of(w, p)
        return float(w.profile[at + 2] - w.profile[at]) / float(p.window)
    rate = 0.0
    for c in range(p.nr_classes):
        rate += float(p.target[c]) / float(p.lifetime[c])
    return rate * float(level(w, p)) / float(ONE)


@part
def growth(w: GeneratorView, p: Part) -> float:
    """Objects born a ns besides, while the pool grows to its size."""
    if p.windows > 0 or p.fill == 0 or w.g.now >= p.begin + p.fill:
        return 0.0
    wanted = 0
    for c in range(p.nr_classes):
        wanted += p.target[c]
    return float(wanted) / float(p.fill)


@part
def mortality(p: Part) -> float:
    """Objects that die a ns by their lifetimes."""
    rate = 0.0
    for c in range(p.nr_classes):
        rate += float(p.alive[c]) / float(p.lifetime[c])
    return rate


@part
def deaths(w: GeneratorView, p: Part) -> float:
    """Objects that die a ns: by their lifetimes, or as many as are given for the window, if any are alive."""
    rate = mortality(p)
    if p.windows > 0 and rate > 0.0:
        at = p.profile + 2 * window_of(w, p) + 1
        return float(w.profile[at + 2] - w.profile[at]) / float(p.window)
    return rate


@part
def class_that_dies(p: Part, at: float) -> int:
    """The class at *at* of the sum of all classes' rates of death."""
    for c in range(p.nr_classes):
        at -= float(p.alive[c]) / float(p.lifetime[c])
        if at < 0.0 and p.alive[c] > 0:
            return c
    last = 0
    for c in range(p.nr_classes):
        if p.alive[c] > 0:
            last = c
    return last


@part
def class_born(a: Actor, p: Part) -> int:
    """The class of a new object: by the shares of births, or, while the pool grows, by how many are alive in the mean."""
    if p.nr_classes == 1:
        return 0
    if a.kind == BORN:
        r = draw(a) >> 16
        c = 0
        while c < p.nr_classes - 1 and r >= p.share[c]:
            c += 1
        return c
    wanted = 0
    for c in range(p.nr_classes):
        wanted += p.target[c]
    at = below(a, wanted)
    c = 0
    while c < p.nr_classes - 1 and at >= p.target[c]:
        at -= p.target[c]
        c += 1
    return c


@part(inline=True)
def ring_at(p: Part, c: int, i: int) -> int:
    """Where in ``ids`` the i-th place of the class's ring is, counted from its head."""
    at = p.head[c] + i
    if at >= p.room[c]:
        at -= p.room[c]
    return p.base[c] + at


@part(inline=True)
def take_dead(w: GeneratorView, a: Actor, p: Part, c: int) -> int:
    """The id of the object of the class that dies; it lies behind the living ones then."""
    n = p.alive[c]
    last = ring_at(p, c, n - 1)
    if p.dies == OLDEST:
        at = p.base[c] + p.head[c]
        p.head[c] = p.head[c] + 1 if p.head[c] + 1 < p.room[c] else 0
        p.alive[c] = n - 1
        return w.ids[at] + 0
    if p.dies == NEWEST:
        at = last
    elif p.together:
        if a.which >= n:
            a.which = below(a, n)
        at = ring_at(p, c, a.which)
        a.which += 1
    else:
        at = ring_at(p, c, below(a, n))
    obj = w.ids[at] + 0
    w.ids[at] = w.ids[last]
    w.ids[last] = obj
    p.alive[c] = n - 1
    return obj


@part
def due_by_now(w: GeneratorView, p: Part, which: int) -> float:
    """Births (*which* 0) or deaths (1) that are given for the time until now."""
    number = window_of(w, p)
    at = p.profile + 2 * number + which
    passed = float(w.g.now - p.begin - number * p.window) / float(p.window)
    return float(w.profile[at]) + min(passed, 1.0) * float(w.profile[at + 2] - w.profile[at])


@part
def begin_given_run(w: GeneratorView, a: Actor, p: Part) -> None:
    """Births or deaths, whichever are further behind what is given: so the pool's size does not wander off."""
    births_behind = due_by_now(w, p, 0) - float(p.made_births)
    deaths_behind = due_by_now(w, p, 1) - float(p.made_deaths)
    rate = mortality(p)
    if deaths_behind <= births_behind or rate <= 0.0:
        a.kind = BORN
        return
    a.kind = class_that_dies(p, rate * (float(draw(a)) / 4294967296.0))
    a.which = below(a, max(p.alive[a.kind], 1))


@part
def begin_run(w: GeneratorView, a: Actor, p: Part) -> None:
    """Decide what the next run of rows does."""
    a.left = 1 + below(a, 2 * p.burst - 1)
    a.which = 0
    if p.windows > 0:
        begin_given_run(w, a, p)
        return
    if p.shrink_every > 0 and w.g.now >= p.shrink_next:
        alive = p.alive[0]
        a.kind = 0
        for c in range(1, p.nr_classes):
            if p.alive[c] > alive:
                alive = p.alive[c]
                a.kind = c
        a.left = max((alive * p.shrink_share) // WHOLE, 1)
        p.shrink_next = w.g.now + p.shrink_every
        return
    born, grown = births(w, p), growth(w, p)
    dying = deaths(w, p)
    at = (born + grown + dying) * (float(draw(a)) / 4294967296.0)
    if at < born:
        a.kind = BORN
    elif at < born + grown:
        a.kind = GROWS
    else:
        part_of_them = (at - born - grown) / dying if dying > 0.0 else 0.0
        a.kind = class_that_dies(p, part_of_them * mortality(p))
        a.which = below(a, max(p.alive[a.kind], 1))


@part
def next_run(w: GeneratorView, a: Actor, p: Part) -> int:
    """When the actor's next run of rows begins, or the next window, at which that is drawn anew."""
    rate = births(w, p) + growth(w, p) + deaths(w, p)
    mean = float(p.actors * p.burst) / rate if rate > 0.0 else 1e17
    due = w.g.now + waiting(a, w.exponential, max(int(min(mean, 1e17)), 1))
    if p.windows > 0:
        edge = p.begin + (window_of(w, p) + 1) * p.window
        if due >= edge:
            a.again = 1
            return max(edge, w.g.now + 1)
    return due


@part
def pool_step(w: GeneratorView, d: DemandChunk, a: Actor, p: Part) -> int:
    """One row of the pool; when the actor is due next."""
    if a.again == 1:
        a.again = 0
        return next_run(w, a, p)
    if a.left == 0:
        begin_run(w, a, p)
    if a.kind < 0:
        p.made_births += 1
        c = class_born(a, p)
        if p.alive[c] < p.room[c]:
            obj = w.ids[ring_at(p, c, p.alive[c])] + 0
            p.alive[c] += 1
            emit_alloc(w, d, a, alloc_op(p.order), obj, p.order, p.mt, p.gfp, attributes(a, p), 0)
        else:
            w.g.skipped += 1
    elif p.alive[a.kind] > 0:
        p.made_deaths += 1
        emit_free(w, d, a, take_dead(w, a, p, a.kind), p.order)
    else:
        a.left = 1
    a.left -= 1
    if a.left > 0:
        return w.g.now + p.gap
    return next_run(w, a, p)
