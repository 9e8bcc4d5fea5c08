# SPDX-License-Identifier: GPL-2.0-or-later
"""Other interleavings of a demand's tasks: each task's own order is kept, how far it has come by when is varied.

Every task's clock is bent by a smooth random function of the recorded time: values drawn every so many ns, close to normal with a
stated standard deviation, a line between each two. A row happens at its task's bent time, but not before the row of its task
before it, nor before the row before it of the same object or shadow: what is passed from task to task is allocated before it is
freed. Object ids are given anew, as two objects that had one id in turn may live at once.

The whole demand is held in memory (42 bytes a row, and 30 for each order of it), unlike in a replay as recorded.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kevacuate.demand import objects as ob
from kevacuate.demand.objects import ends_object, has_object, makes_object
from kevacuate.demand.pagekinds import READAHEAD
from kevacuate.jit import kernel, pointers
from kevacuate.kernel.gfp import GFP_FS, GFP_HIGHMEM, GFP_NOMEMALLOC, GFP_WRITE
from kevacuate.kernel.migratetypes import MIGRATE_MOVABLE
from kevacuate.recording.demand import DemandChunk
from kevacuate.records import Words
from kevacuate.runs.initial_state import splitmix64
from kevacuate.runs.variation import Variation

UNIFORMS = 12
"""Uniform numbers whose sum stands for a normal one: variance 1, no tails beyond 6, and the same on every machine."""


def drawn_shifts(count: int, seed: int, stream: int, deviation: int) -> npt.NDArray[np.int64]:
    """*count* numbers close to normal, of mean 0 and that standard deviation; *stream* tells draws of one seed apart."""
    salted = int(splitmix64(np.array([stream]), seed)[0]) >> 1
    drawn = splitmix64(np.arange(UNIFORMS * count), salted) >> np.uint64(40)
    total = drawn.reshape(count, UNIFORMS).sum(axis=1).astype(np.int64) - (UNIFORMS << 23)
    return total * deviation >> 24


def bent_times(sorted_out: Sorted, seed: int, how: Variation) -> npt.NDArray[np.int64]:
    """When each row happens by its task's bent clock, in ns; tasks are bent apart from each other."""
    t = sorted_out.rows.t
    bent = t.copy()
    numbers = [int(number) & 0xFFFFFFFF for number in sorted_out.tasks.tolist()]
    if how.interleave_ns:
        period = how.interleave_period_ns
        spans = [(int(t[own[0]]) // period, int(t[own[-1]]) // period + 2) for own in sorted_out.of_tasks]
        drawn = [
            drawn_shifts(high - low, seed, task << 24 ^ low, how.interleave_ns)
            for task, (low, high) in zip(numbers, spans, strict=True)
        ]
        ends = np.cumsum([own.size for own in drawn])
        first = np.array([end - high for end, (_, high) in zip(ends.tolist(), spans, strict=True)], np.int64)
        bend(bent, sorted_out.task, np.concatenate(drawn), first, period)
    if how.read_ns:
        reads = is_read(sorted_out.rows)
        for task, own in zip(numbers, sorted_out.of_tasks, strict=True):
            begun = np.flatnonzero(reads[own] & ~np.concatenate([[False], reads[own[:-1]]]))
            late = np.zeros(own.size, np.int64)
            late[begun] = drawn_shifts(begun.size, seed, 1 << 60 | task, how.read_ns)
            bent[own] += np.cumsum(late)
    return np.maximum(bent, 0)


@kernel
def bend(times: Words, task: npt.NDArray[np.int32], knots: Words, first: Words, period: int) -> None:
    """Shift times, in place: each task's shift is a line between *knots* that lie a period apart, from ``first[task]`` on."""
    for i in range(len(times)):
        t = times[i]
        at = first[task[i]] + t // period
        part = ((t % period) << 20) // period
        times[i] = t + ((knots[at] * ((1 << 20) - part) + knots[at + 1] * part) >> 20)


def is_read(rows: DemandChunk) -> npt.NDArray[np.bool_]:
    """Which rows allocate page cache for a read (:func:`kevacuate.demand.pagekinds.page_class`)."""
    asked = np.isin(rows.op, ob.REQUESTS) & (rows.mt == MIGRATE_MOVABLE)
    readahead = (rows.gfp & READAHEAD == READAHEAD) & (rows.gfp & GFP_NOMEMALLOC == 0)
    plain = (rows.gfp & GFP_FS == 0) & (rows.gfp & GFP_HIGHMEM != 0)
    return np.asarray(asked & (rows.gfp & GFP_WRITE == 0) & (readahead | plain), np.bool_)


class Sorted(NamedTuple):
    """A whole demand, and what every other order of it needs: :func:`sort_out`."""

    rows: DemandChunk
    """Every object has an id of its own: :func:`own_ids`."""
    start_objects: int
    objects: int
    """Ids that :attr:`rows` use."""
    shadows: int
    deaths: int
    tasks: npt.NDArray[np.integer]
    task: npt.NDArray[np.int32]
    """Of each row, its task's place in :attr:`tasks`."""
    of_tasks: list[npt.NDArray[np.int64]]
    """The numbers of each task's rows."""


class Marks(NamedTuple):
    """Latest times so far, for :func:`delay_rows`."""

    of_task: npt.NDArray[np.int64]
    of_object: npt.NDArray[np.int64]
    of_shadow: npt.NDArray[np.int64]


@kernel
def delay_rows(times: Words, task: npt.NDArray[np.int32], da: DemandChunk, ma: Marks) -> None:
    """Delay rows, in place, until they follow those of their task, object and shadows; *task* is dense."""
    d = pointers(da)
    m = pointers(ma)
    for i in range(len(times)):
        op = d.op[i]
        obj = max(int(d.obj[i]), 0)
        aux = int(d.aux[i])
        t = max(times[i], m.of_task[task[i]])
        shadows = (op == ob.OP_ALLOC and aux > 0) or op == ob.OP_RECLAIM or op == ob.OP_TRUNCATE
        if has_object(op):
            t = max(t, m.of_object[obj])
        if op == ob.OP_SPLIT:
            t = max(t, m.of_object[aux])
        if op == ob.OP_GATHER:
            t = max(t, m.of_shadow[obj], m.of_shadow[aux])
            m.of_shadow[obj] = m.of_shadow[aux] = t
        if shadows:
            for n in range(aux, aux + (1 << int(d.order[i]))):
                t = max(t, m.of_shadow[n])
            for n in range(aux, aux + (1 << int(d.order[i]))):
                m.of_shadow[n] = t
        times[i] = t
        m.of_task[task[i]] = t
        if has_object(op):
            m.of_object[obj] = t
        if op == ob.OP_SPLIT:
            m.of_object[aux] = t


@kernel
def own_ids(da: DemandChunk, now: Words, fresh: int) -> int:
    """Give every object of the rows, in their recorded order, an id of its own, in place; *now* holds the id that each has now.

    *now* is -1 for an id that nobody has. Returns the first id that is not taken, -1 if rows contradict each other; *fresh* is
    the first free one.
    """
    d = pointers(da)
    for i in range(len(da.t)):
        op = d.op[i]
        if not has_object(op):
            continue
        obj = int(d.obj[i])
        if makes_object(op):
            now[obj] = fresh
            fresh += 1
        if now[obj] < 0:
            return -1
        d.obj[i] = now[obj]
        if op == ob.OP_SPLIT:
            now[d.aux[i]] = fresh
            d.aux[i] = fresh
            fresh += 1
        elif ends_object(op):
            now[obj] = -1
    return fresh


@kernel
def dense_ids(da: DemandChunk, now: Words, free: Words, fresh: int) -> int:
    """Give ids anew in the rows' order, in place, each again once its object is gone; *now* holds -1 for an object not seen yet.

    Returns how many ids there are; *fresh* is the first that no object of the start has.
    """
    d = pointers(da)
    top = 0
    for i in range(len(da.t)):
        op = d.op[i]
        if not has_object(op):
            continue
        obj = int(d.obj[i])
        if makes_object(op) or op == ob.OP_SPLIT:
            made = int(d.aux[i]) if op == ob.OP_SPLIT else obj
            if top > 0:
                top -= 1
                now[made] = free[top]
            else:
                now[made] = fresh
                fresh += 1
            if op == ob.OP_SPLIT:
                d.aux[i] = now[made]
        d.obj[i] = now[obj]
        if ends_object(op):
            free[top] = now[obj]
            top += 1
    return fresh


def kept_between(
    times: npt.NDArray[np.int64], recorded: npt.NDArray[np.int64], moments: tuple[int, ...]
) -> npt.NDArray[np.int64]:
    """The times, each kept between the same two of the *moments* (ns, ascending) as the recorded one: after, and up to."""
    if not moments:
        return times
    edges = np.array([-1, *moments, np.iinfo(np.int64).max - 1], np.int64)
    place = np.searchsorted(edges, recorded, "left")
    return np.clip(times, edges[place - 1] + 1, edges[place])


def sort_out(rows: DemandChunk, start_objects: int) -> Sorted | None:
    """What all orders of a demand share; None where its rows contradict each other.

    Parameters
    ----------
    rows : DemandChunk
        A whole demand, checked (:func:`kevacuate.runs.loop.check_rows`); object ids are changed in place.
    start_objects : int
        Objects that are there at the start: they have the first ids, and keep them.
    """
    gathers, splits = np.isin(rows.op, (ob.OP_GATHER, ob.OP_READ)), rows.op == ob.OP_SPLIT
    largest = max(rows.obj[~gathers].max(initial=0), rows.aux[splits].max(initial=0), start_objects)
    now = np.full(int(largest) + 1, -1, np.int64)
    now[:start_objects] = np.arange(start_objects)
    shadowed = np.isin(rows.op, (ob.OP_RECLAIM, ob.OP_TRUNCATE)) | ((rows.op == ob.OP_ALLOC) & (rows.aux > 0))
    shadows = int((rows.aux[shadowed] + (1 << rows.order[shadowed].astype(np.int64))).max(initial=0))
    shadows = max(shadows, int(rows.obj[rows.op == ob.OP_GATHER].max(initial=0)) + 1)
    objects = own_ids(rows, now, start_objects)
    if objects < 0:
        return None
    tasks, task = np.unique(rows.task, return_inverse=True)
    order = np.argsort(task.astype(np.min_scalar_type(len(tasks))), kind="stable")
    ends = np.cumsum(np.bincount(task, minlength=len(tasks)))
    return Sorted(
        rows,
        start_objects,
        objects,
        shadows,
        deaths=int(np.isin(rows.op, ob.DEATHS).sum()),
        tasks=tasks,
        task=task.astype(np.int32),
        of_tasks=np.split(order, ends[:-1]),
    )


def interleaved(
    sorted_out: Sorted, seed: int, how: Variation, moments: tuple[int, ...] = ()
) -> tuple[DemandChunk, int]:
    """The rows in another order, and how many object ids they use.

    Parameters
    ----------
    sorted_out : Sorted
        The demand; it is not changed.
    seed : int
        Of the draws.
    how : Variation
        How far tasks are shifted.
    moments : tuple of int
        Times (ns) that no row crosses: the workload waited there.
    """
    rows, start, objects = sorted_out.rows, sorted_out.start_objects, sorted_out.objects
    sizes = len(sorted_out.tasks), objects, max(sorted_out.shadows, 1)
    times = kept_between(bent_times(sorted_out, seed, how), rows.t, moments)
    delay_rows(times, sorted_out.task, rows, Marks(*(np.zeros(n, np.int64) for n in sizes)))
    order = np.argsort(times, kind="stable")
    merged = DemandChunk._make(column.take(order) for column in rows._replace(t=times))
    seen = np.full(objects, -1, np.int64)
    seen[:start] = np.arange(start)
    return merged, dense_ids(merged, seen, np.zeros(sorted_out.deaths, np.int64), start)
