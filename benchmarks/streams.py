# SPDX-License-Identifier: GPL-2.0-or-later
"""The benchmark's machines and demands: three kinds of stream, the same rows for the same seed.

* ``random``: the machine 85 % full, objects freed at random.
* ``local``: 60 % full, mostly last in, first out, as short-lived kernel objects and page tables are.
* ``fragmenting``: 91 % full; kernel memory and movable memory take turns in growing at each other's expense, so
  that blocks are claimed and pages stolen by the thousand.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numba
import numpy as np

from kevacuate.demand.objects import OP_ALLOC, OP_FREE
from kevacuate.mm import constants as k
from kevacuate.mm.layout import MachineConfig, State, StateOptions, ZoneConfig, build_state
from kevacuate.mm.load_state import (
    khugepaged_min_free_kbytes,
    memblock_free_all,
    min_free_kbytes,
    setup_per_zone_wmarks,
)
from kevacuate.recording import DemandChunk
from kevacuate.recording.demand import DEMAND_TYPES

KINDS = ("random", "local", "fragmenting")
CPUS = 4
EVENT_NS = 1_000
"""Mean time between two rows, ns."""

GIB_PAGES = 1 << 18
_FULL = {"random": 0.85, "local": 0.60, "fragmenting": 0.91}
_FULL_LARGE = 0.99
"""A fragmenting stream fills large machines further, or it would find whole free blocks for too long."""

_G_RANDOM, _G_USED, _G_T, _G_CPU, _G_ROWS, _G_FREE_IDS, _G_RUN, _G_SIZE = 0, 1, 2, 3, 4, 5, 6, 9
_GFP = np.array([k.GFP_KERNEL, k.GFP_HIGHUSER_MOVABLE, k.GFP_KERNEL | k.GFP_RECLAIMABLE], np.uint32)


class Generator(NamedTuple):
    """State of a stream: counters, live objects per migratetype, ids to give out, order of each object."""

    g: np.ndarray
    live: np.ndarray
    count: np.ndarray
    free_ids: np.ndarray
    order: np.ndarray


def machine(gib: int) -> MachineConfig:
    """A one-node machine of *gib* GiB with zones DMA, DMA32 and Normal and four CPUs, as a replay runs it."""
    pages = gib * GIB_PAGES
    dma32 = min(1 << 20, pages // 2)
    above_dma, above_dma32 = pages // 256, (pages - dma32) // 256
    first = ((0, 1),)
    zones = (
        ZoneConfig(0, k.ZONE_DMA, 0, 4096, first, lowmem_reserve=(0, dma32 // 256, above_dma, above_dma)),
        ZoneConfig(0, k.ZONE_DMA32, 4096, dma32, lowmem_reserve=(0, 0, above_dma32, above_dma32)),
        ZoneConfig(0, k.ZONE_NORMAL, dma32, pages),
    )
    return MachineConfig(npages=pages, zones=zones, cpu_node=(0,) * CPUS, open_loop=True)


def booted(gib: int) -> State:
    """The machine just booted: all memory free, watermarks as the kernel sets them with THP enabled."""
    config = machine(gib)
    state = build_state(config, options=StateOptions(objects=config.npages // 2))
    memblock_free_all(state, config)
    setup_per_zone_wmarks(state, config, khugepaged_min_free_kbytes(state, min_free_kbytes(state)))
    return state


def generator(gib: int, seed: int) -> Generator:
    """A generator with nothing allocated yet."""
    ids = gib * GIB_PAGES // 2
    g = np.zeros(_G_SIZE, np.uint64)
    g[_G_RANDOM] = seed
    g[_G_FREE_IDS] = ids
    return Generator(
        g=g,
        live=np.empty((3, ids), np.int32),
        count=np.zeros(3, np.int64),
        free_ids=np.arange(ids, dtype=np.int32)[::-1].copy(),
        order=np.zeros(ids, np.uint8),
    )


@numba.njit
def _draw(g):
    """Next 64-bit number (splitmix64's finaliser over a counter)."""
    g[_G_RANDOM] += np.uint64(0x9E3779B97F4A7C15)
    x = g[_G_RANDOM]
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@numba.njit
def _below(g, n):
    """A number in [0, n)."""
    return np.int64((_draw(g) >> np.uint64(32)) % np.uint64(n))


@numba.njit
def _order(g, mt, huge):
    """Order of a new object: two thirds single pages, some up to order 3, now and then a huge page."""
    r = _below(g, 2048)
    if r < 1408:
        return 0
    if r < 1664:
        return 1
    if r < 1856:
        return 2
    if r < 2046 or mt != 1 or not huge:
        return 3
    return 9


@numba.njit
def _type(g, kind, phase):
    """Migratetype of a new object: four fifths movable; of a fragmenting stream what the phase grows."""
    r = _below(g, 10)
    if kind == 2 and phase >= 0:
        if phase % 2 == 0:
            return 1 if r < 2 else 2 * (r & 1)
        return 1 if r < 9 else 2 * (r & 1)
    if r < 8:
        return 1
    return 0 if r == 8 else 2


@numba.njit
def _victim(g, live, count, kind, phase):
    """(type, position) of the object to free; in a fragmenting stream of the type that gives way."""
    total = count[0] + count[1] + count[2]
    at = _below(g, total)
    mt = 0 if at < count[0] else (1 if at < count[0] + count[1] else 2)
    if kind == 2 and phase >= 0:
        mt = 1 if phase % 2 == 0 else 2 * _below(g, 2)
        if count[mt] < 1000:
            mt = 1
        run = np.int64(g[_G_RUN + mt]) + 1
        if run >= count[mt] or _below(g, 2048) == 0:
            run = _below(g, count[mt])
        g[_G_RUN + mt] = np.uint64(run)
        return mt, run
    if kind == 1 and _below(g, 16) != 0:
        return mt, count[mt] - 1
    return mt, _below(g, count[mt])


@numba.njit
def _emit(out, i, gen, op, obj, mt, attr):
    """Write one row."""
    g = gen.g
    if _below(g, 16) == 0:
        g[_G_CPU] = np.uint64(_below(g, CPUS))
    g[_G_T] += np.uint64(_below(g, 2 * EVENT_NS))
    out.t[i] = np.int64(g[_G_T])
    out.op[i] = op
    out.cpu[i] = g[_G_CPU]
    out.obj[i] = obj
    out.order[i] = gen.order[obj]
    out.mt[i] = mt
    out.gfp[i] = _GFP[mt]
    out.attr[i] = attr
    out.aux[i] = 0


@numba.njit
def _generate(gen, out, kind, target, phase_rows):
    """Fill *out*; with *phase_rows* 0 allocate until *target* pages are in use. Returns the rows written."""
    g, live, count, free_ids = gen.g, gen.live, gen.count, gen.free_ids
    slack = target // 512
    for i in range(out.t.size):
        used = np.int64(g[_G_USED])
        phase = -1
        if phase_rows:
            phase = np.int64(g[_G_ROWS]) // phase_rows
            g[_G_ROWS] += np.uint64(1)
        elif used >= target:
            return i
        grow = used < target - slack or (used < target + slack and _below(g, 2) == 0)
        if phase < 0 or grow:
            mt = _type(g, kind, phase)
            g[_G_FREE_IDS] -= np.uint64(1)
            obj = free_ids[np.int64(g[_G_FREE_IDS])]
            gen.order[obj] = _order(g, mt, kind != 2)
            live[mt, count[mt]] = obj
            count[mt] += 1
            g[_G_USED] += np.uint64(1 << gen.order[obj])
            attr = 0
            if mt == 1:
                attr = 3 if _below(g, 4) == 0 else 1
            _emit(out, i, gen, OP_ALLOC, obj, mt, attr)
        else:
            mt, at = _victim(g, live, count, kind, phase)
            obj = live[mt, at]
            count[mt] -= 1
            live[mt, at] = live[mt, count[mt]]
            free_ids[np.int64(g[_G_FREE_IDS])] = obj
            g[_G_FREE_IDS] += np.uint64(1)
            g[_G_USED] -= np.uint64(1 << gen.order[obj])
            _emit(out, i, gen, OP_FREE, obj, mt, 0)
    return out.t.size


def empty_rows(rows: int) -> DemandChunk:
    """Columns for *rows* rows."""
    return DemandChunk(*(np.zeros(rows, dtype) for dtype in DEMAND_TYPES.values()))


def target(kind: str, gib: int) -> int:
    """Pages in use while the stream runs."""
    full = _FULL_LARGE if kind == "fragmenting" and gib > 16 else _FULL[kind]
    return int(full * gib * GIB_PAGES)


def fill(gen: Generator, kind: str, gib: int, chunk: int = 1 << 20) -> Iterator[DemandChunk]:
    """Chunks of allocations until the machine is full enough. A chunk is valid until the next."""
    rows = empty_rows(chunk)
    done = chunk
    while done == chunk:
        done = _generate(gen, rows, KINDS.index(kind), target(kind, gib), 0)
        yield DemandChunk(*(column[:done] for column in rows))


def churn(gen: Generator, kind: str, gib: int, rows: int) -> DemandChunk:
    """*rows* rows at constant occupancy."""
    out = empty_rows(rows)
    _generate(gen, out, KINDS.index(kind), target(kind, gib), min(gib * GIB_PAGES // 8, 1 << 20))
    return out
