# SPDX-License-Identifier: GPL-2.0-or-later
"""A generated demand on a zone of any size: movable memory with large folios, and kernel memory that ebbs and flows.

It is made up, not measured, with stated figures. The zone is filled to :data:`FULL` of its pages; then as much is freed
as is asked for. Kernel memory is between :data:`LOW` and :data:`HIGH` of the pages in use: it rises and falls in a triangle, as
the caches of file systems do, one third of it unmovable, two thirds reclaimable. Each request, and each free, goes to the side
that lags behind, but one in four to either by chance. What is freed is drawn from all objects of its type, or (one time in two)
is the next one behind the last: neighbours in time are freed together. Orders are those of :data:`KERNEL_ORDERS` and
:data:`MOVABLE_ORDERS`. Two rows are :data:`ROW_NS` apart: a million operations under zone->lock a second.
The same seed gives the same rows, whatever rule serves them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kevacuate.demand.objects import OP_ALLOC, OP_FREE
from kevacuate.jit import kernel, part, pointers
from kevacuate.recording import DemandChunk
from kevacuate.records import Words
from kevacuate.search.rows import empty_rows, first_rows

FULL = 0.92
LOW, HIGH = 0.05, 0.15
ROW_NS = 1_000
KERNEL_ORDERS = ((0, 512), (1, 768), (2, 896), (3, 1024))
"""Order, and how many of 1,024 objects have it or a smaller one."""
MOVABLE_ORDERS = ((0, 600), (2, 760), (4, 900), (5, 1000), (9, 1024))
PEAK_SHARE = 8
"""The kernel's memory takes as many rows to rise from low to high as the zone has pages, divided by this."""

_RANDOM, _USED, _TIME, _ROWS, _IDS, _RUN, _COUNT, _PAGES, _SIZE, _WORDS = (
    0, 1, 2, 3, 4, 5, 8, 11, 14, 15,
)  # fmt: skip


class Generator(NamedTuple):
    """Where a generated demand stands.

    Attributes
    ----------
    g : int64
        The random state, pages in use, time, rows, ids left; by type: where frees run, objects, pages.
    live : int32[3 * ids]
        Objects of each type.
    ids : int32
        Ids to give out.
    order : uint8
        Order of each object.
    chances : int64
        The tables of orders: kernel's, movable's, 16 words each.
    """

    g: npt.NDArray[np.int64]
    live: npt.NDArray[np.int32]
    ids: npt.NDArray[np.int32]
    order: npt.NDArray[np.uint8]
    chances: npt.NDArray[np.int64]


class GeneratorView(NamedTuple):
    """The same, to compiled code."""

    g: Words
    live: Words
    ids: Words
    order: Words
    chances: Words


def generator(npages: int, seed: int) -> Generator:
    """A demand of a zone of *npages*, with nothing allocated yet."""
    ids = max(npages // 2, 1024)
    g = np.zeros(_WORDS, np.int64)
    g[_RANDOM], g[_IDS], g[_SIZE] = (seed << 16) + 0x330E, ids, ids
    chances = np.full(32, -1, np.int64)
    for at, orders in ((0, KERNEL_ORDERS), (16, MOVABLE_ORDERS)):
        chances[at : at + 2 * len(orders)] = np.array(orders).reshape(-1)
    return Generator(
        g=g,
        live=np.zeros(3 * ids, np.int32),
        ids=np.arange(ids, dtype=np.int32)[::-1].copy(),
        order=np.zeros(ids, np.uint8),
        chances=chances,
    )


@part
def below(v: GeneratorView, n: int) -> int:
    """A number from 0 to n - 1 (the 48-bit congruence of drand48)."""
    v.g[_RANDOM] = (v.g[_RANDOM] * 0x5DEECE66D + 0xB) & 0xFFFFFFFFFFFF
    return (v.g[_RANDOM] >> 17) % n


@part
def order_of(v: GeneratorView, mt: int) -> int:
    """Order of a new object."""
    at = 16 if mt == 1 else 0
    chance = below(v, 1024)
    while v.chances[at + 1] <= chance:
        at += 2
    return v.chances[at] + 0


@part
def kernel_target(v: GeneratorView, low: int, high: int, rise: int) -> int:
    """Pages that kernel memory should have by now."""
    phase = v.g[_ROWS] % (2 * rise)
    up = phase if phase < rise else 2 * rise - phase
    return low + (high - low) * up // rise


@part
def side(v: GeneratorView, target: int, grow: bool) -> int:
    """The type of the next request or free: of the side that lags behind, one time in four by chance."""
    kernel_pages = v.g[_PAGES] + v.g[_PAGES + 2]
    kernel_memory = (kernel_pages < target) == grow
    if below(v, 4) == 0:
        kernel_memory = below(v, 2) == 0
    if not kernel_memory:
        return 1
    return 0 if below(v, 3) == 0 else 2


@part
def victim(v: GeneratorView, mt: int) -> int:
    """Where in its type's objects the next one to be freed lies."""
    count = v.g[_COUNT + mt]
    at = v.g[_RUN + mt] + 1
    if at >= count or below(v, 2) == 0:
        at = below(v, count)
    v.g[_RUN + mt] = at
    return at


@part
def allocate(v: GeneratorView, mt: int) -> int:
    """A new object of *mt*, or -1 without ids."""
    if v.g[_IDS] == 0:
        return -1
    v.g[_IDS] -= 1
    obj = v.ids[v.g[_IDS]] + 0
    order = order_of(v, mt)
    v.order[obj] = order
    v.live[mt * v.g[_SIZE] + v.g[_COUNT + mt]] = obj
    v.g[_COUNT + mt] += 1
    v.g[_PAGES + mt] += 1 << order
    v.g[_USED] += 1 << order
    return obj


@part
def release(v: GeneratorView, mt: int) -> int:
    """An object of *mt* that ends."""
    at = mt * v.g[_SIZE] + victim(v, mt)
    obj = v.live[at] + 0
    v.g[_COUNT + mt] -= 1
    v.live[at] = v.live[mt * v.g[_SIZE] + v.g[_COUNT + mt]]
    v.ids[v.g[_IDS]] = obj
    v.g[_IDS] += 1
    pages = 1 << v.order[obj]
    v.g[_PAGES + mt] -= pages
    v.g[_USED] -= pages
    return obj


@kernel
def generate(ga: Generator, da: DemandChunk, full: int, low: int, high: int, rise: int, filling: bool) -> int:
    """Fill *da* with rows; while *filling*, only requests until *full* pages are in use. Returns the rows made.

    *low* and *high* are pages of kernel memory, *rise* the rows from the one to the other.
    """
    v = pointers(ga)
    d = pointers(da)
    for i in range(len(da.t)):
        used = v.g[_USED]
        if filling and used >= full:
            return i
        v.g[_ROWS] += 1
        v.g[_TIME] += ROW_NS
        target = low if filling else kernel_target(v, low, high, rise)
        grow = used < full
        mt = side(v, target, grow)
        if not grow and v.g[_COUNT + mt] == 0:
            mt = 1
        obj = allocate(v, mt) if grow else release(v, mt)
        if obj < 0:
            return i
        d.t[i] = v.g[_TIME]
        d.op[i] = OP_ALLOC if grow else OP_FREE
        d.obj[i] = obj
        d.order[i] = v.order[obj]
        d.mt[i] = mt
    return len(da.t)


def rise_rows(npages: int) -> int:
    """Rows in which the kernel's memory rises from low to high, and in which it falls again."""
    return max(npages // PEAK_SHARE, 1)


def _chunks(gen: Generator, npages: int, rows: int, size: int, filling: bool) -> Iterator[DemandChunk]:
    """Chunks of at most *size* rows; a chunk is valid until the next."""
    room = empty_rows(min(size, rows))
    full = int(FULL * npages)
    share = int(LOW * full), int(HIGH * full), rise_rows(npages)
    while rows > 0:
        want = min(rows, room.t.size)
        done = generate(gen, first_rows(room, want), full, *share, filling)
        yield first_rows(room, done)
        if done < want:
            return
        rows -= done


def fill(gen: Generator, npages: int, size: int = 1 << 20) -> Iterator[DemandChunk]:
    """Requests until the zone is as full as it is to be."""
    yield from _chunks(gen, npages, 1 << 40, size, True)


def churn(gen: Generator, npages: int, rows: int, size: int = 1 << 20) -> Iterator[DemandChunk]:
    """*rows* rows of requests and frees."""
    yield from _chunks(gen, npages, rows, size, False)
