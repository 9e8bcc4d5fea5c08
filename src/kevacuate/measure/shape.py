# SPDX-License-Identifier: GPL-2.0-or-later
"""The shape of a demand: run lengths, lifetimes and mixing, whatever its machine; and how far two demands are apart in each.

All of it is of the open loop. A *run* is a number of requests of one migratetype that follow each other on a CPU; frees between
them do not end it. A *lifetime* is the time from an object's request to its free; the halves of an object are as old as it. The
*interleaving distance* is the number of movable requests, on the whole machine, between one that is not movable and the next.

Runs and distances are counted in classes of powers of two, lifetimes in four classes an octave. An object that lives at the end
counts as that old at least: the share that lives longer than a time is Kaplan and Meier's estimate (1958). The distance of two
shapes is the Kolmogorov-Smirnov statistic, the largest difference of their cumulated shares. Of lifetimes it is the largest
difference of both estimates, as far as both reach; of shares by order and type the total variation, half the sum of all
differences. All are 0 where nothing differs and 1 where nothing is common.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kevacuate.demand import objects as ob
from kevacuate.demand.objects import asks_buddy, i64
from kevacuate.jit import kernel, part, pointers, run
from kevacuate.kernel.migratetypes import MIGRATE_MOVABLE, MIGRATE_PCPTYPES, NAMES
from kevacuate.recording.demand import DemandChunk

CLASSES = 256
ORDERS = 14
NO_CHANGE = (ob.OP_SPLIT, ob.OP_ALLOC_CONTIG, ob.OP_FREE_CONTIG)
"""Operations that do not change how much a demand has for certain: a contiguous request may get nothing."""
NOT_BORN = -1
"""Birth of an object of the start: it is not known."""

S_SINCE, S_NOT_MOVABLE = range(2)
"""Places of the scalars: movable requests since the last other one, and whether there was one."""


class ShapeTables(NamedTuple):
    """Sizes: N object ids, C CPUs."""

    born: npt.NDArray[np.int64]
    """When each object was asked for, ns; NOT_BORN [N]."""
    mt: npt.NDArray[np.uint8]
    """Its migratetype [N]."""
    run_mt: npt.NDArray[np.int64]
    """Migratetype of the run under way, -1 none [C]."""
    run_length: npt.NDArray[np.int64]
    """Its requests so far [C]."""
    runs: npt.NDArray[np.int64]
    """Runs by type and class [3 x CLASSES]."""
    lives: npt.NDArray[np.int64]
    """Objects that died, by type and class of lifetime [3 x CLASSES]."""
    between: npt.NDArray[np.int64]
    """Interleaving distances by class [CLASSES]."""
    requests: npt.NDArray[np.int64]
    """Requests by type and order [3 x ORDERS]."""
    g: npt.NDArray[np.int64]
    """Scalars, at the S_* places."""


@part
def octave(value: int, bits: int) -> int:
    """Class of a number from 0: its octave, in 2**bits parts."""
    if value <= 0:
        return i64(0)
    top = i64(0)
    while value >> (top + 1) > 0:
        top += 1
    low = value >> (top - bits) if top >= bits else value << (bits - top)
    return 1 + (top << bits) + (low & ((1 << bits) - 1))


def octaves(values: npt.NDArray[np.int64], bits: int) -> npt.NDArray[np.int64]:
    """:func:`octave` of each."""
    top = np.frexp(np.maximum(values, 1).astype(np.float64))[1].astype(np.int64) - 1
    top -= np.maximum(values, 1) >> top == 0  # rounded up to the next power of two
    low = np.where(top >= bits, values >> np.maximum(top - bits, 0), values << np.maximum(bits - top, 0))
    return np.where(values <= 0, 0, 1 + (top << bits) + (low & ((1 << bits) - 1)))


@part
def end_run(s: ShapeTables, cpu: int) -> None:
    """The run of a CPU is over: count it."""
    if s.run_length[cpu] > 0:
        s.runs[s.run_mt[cpu] * CLASSES + octave(s.run_length[cpu] + 0, i64(0))] += 1
    s.run_length[cpu] = 0


@part
def note_request(s: ShapeTables, d: DemandChunk, i: int) -> None:
    """Count a request."""
    cpu = i64(d.cpu[i])
    mt = i64(d.mt[i])
    if s.run_mt[cpu] != mt:
        end_run(s, cpu)
        s.run_mt[cpu] = mt
    s.run_length[cpu] += 1
    s.requests[mt * ORDERS + i64(d.order[i])] += 1
    s.born[d.obj[i]] = d.t[i]
    s.mt[d.obj[i]] = mt
    if mt == MIGRATE_MOVABLE:
        s.g[S_SINCE] += 1
        return
    if s.g[S_NOT_MOVABLE] > 0:
        s.between[octave(s.g[S_SINCE] + 0, i64(0))] += 1
    s.g[S_NOT_MOVABLE] = 1
    s.g[S_SINCE] = 0


@kernel(plain_work=1 << 16)
def note_rows(ta: ShapeTables, da: DemandChunk, rows: int) -> None:
    """Take rows of the open loop into account."""
    s = pointers(ta)
    d = pointers(da)
    for i in range(rows):
        op = i64(d.op[i])
        if asks_buddy(op):
            note_request(s, d, i)
        elif op == ob.OP_FREE:
            born = s.born[d.obj[i]] + 0
            if born >= 0:
                s.lives[i64(s.mt[d.obj[i]]) * CLASSES + octave(d.t[i] - born, i64(2))] += 1
            s.born[d.obj[i]] = NOT_BORN
        elif op == ob.OP_SPLIT:
            s.born[d.aux[i]] = s.born[d.obj[i]]
            s.mt[d.aux[i]] = s.mt[d.obj[i]]


Counts = npt.NDArray[np.int64]


def apart(first: Counts, second: Counts) -> float:
    """Kolmogorov-Smirnov statistic of two counts by class; 0 where either is empty."""
    if not first.sum() or not second.sum():
        return 0.0
    return float(np.abs(np.cumsum(first) / first.sum() - np.cumsum(second) / second.sum()).max())


def total_variation(first: Counts, second: Counts) -> float:
    """Half the sum of the differences of two shares; 0 where either is empty."""
    if not first.sum() or not second.sum():
        return 0.0
    return float(np.abs(first / first.sum() - second / second.sum()).sum() / 2)


def survival(died: Counts, alive: Counts) -> npt.NDArray[np.float64]:
    """Share that lives longer than each class, of objects by class of age: those that died and those that are alive at it."""
    risk = np.cumsum((died + alive)[::-1])[::-1]
    return np.asarray(np.cumprod(1 - died / np.maximum(risk, 1)), np.float64)


def survival_apart(first: Shape, second: Shape, mt: int) -> float:
    """Largest difference of two survivals, in the classes that objects of both reached; 0 where either is empty."""
    both = [(one.lives[mt], one.alive[mt]) for one in (first, second)]
    if not all(died.sum() + alive.sum() for died, alive in both):
        return 0.0
    reach = min(int(np.flatnonzero(died + alive)[-1]) for died, alive in both) + 1
    one, other = (survival(died, alive)[:reach] for died, alive in both)
    return float(np.abs(one - other).max())


@dataclass(frozen=True)
class Shape:
    """What was counted."""

    runs: Counts
    """[3, CLASSES], as all of these by the order of :data:`kevacuate.kernel.migratetypes.NAMES`."""
    lives: Counts
    alive: Counts
    """Objects that live at the end, by class of age."""
    between: Counts
    requests: Counts
    """[3, ORDERS]."""
    peak: int
    """Most pages in use at once, those in use at the start included."""


@dataclass(frozen=True)
class Figure:
    """One figure of two shapes, and their distance, 0 to 1."""

    id: str
    label: str
    unit: str
    before: float
    after: float
    distance: float


class Shaping:
    """Counts the shape of a demand as its rows stream by.

    Parameters
    ----------
    cpus : int
        CPUs that it names.
    in_use : int
        Pages in use at the start.
    """

    def __init__(self, cpus: int, in_use: int) -> None:
        self._tables = ShapeTables(
            born=np.full(0, NOT_BORN, np.int64),
            mt=np.zeros(0, np.uint8),
            run_mt=np.full(cpus, -1, np.int64),
            run_length=np.zeros(cpus, np.int64),
            runs=np.zeros(MIGRATE_PCPTYPES * CLASSES, np.int64),
            lives=np.zeros(MIGRATE_PCPTYPES * CLASSES, np.int64),
            between=np.zeros(CLASSES, np.int64),
            requests=np.zeros(MIGRATE_PCPTYPES * ORDERS, np.int64),
            g=np.zeros(2, np.int64),
        )
        self._level = self._peak = in_use
        self._now = 0

    def add(self, chunk: DemandChunk) -> None:
        """Count rows of the open loop."""
        if not chunk.t.size:
            return
        self._make_room(1 + int(max(chunk.obj.max(), chunk.aux[chunk.op == ob.OP_SPLIT].max(initial=0))))
        run(note_rows, chunk.t.size, self._tables, chunk, chunk.t.size)
        pages = np.left_shift(1, chunk.order.astype(np.int64))
        sign = np.where(np.isin(chunk.op, ob.REQUESTS), 1, -1)
        sign[np.isin(chunk.op, NO_CHANGE)] = 0
        self._now = int(chunk.t[-1])
        course = self._level + np.cumsum(sign * pages)
        self._level, self._peak = int(course[-1]), max(self._peak, int(course.max()))

    def _make_room(self, objects: int) -> None:
        """Room for so many object ids."""
        t = self._tables
        more = objects - len(t.born)
        if more > 0:
            more += objects // 4
            born = np.concatenate([t.born, np.full(more, NOT_BORN, np.int64)])
            self._tables = t._replace(born=born, mt=np.concatenate([t.mt, np.zeros(more, np.uint8)]))

    @property
    def shape(self) -> Shape:
        """What was counted: runs that are under way and objects that live are taken as they are."""
        t = self._tables
        runs, alive = t.runs.reshape(-1, CLASSES).copy(), np.zeros((MIGRATE_PCPTYPES, CLASSES), np.int64)
        here = np.flatnonzero(t.born != NOT_BORN)
        np.add.at(alive, (t.mt[here], octaves(self._now - t.born[here], 2)), 1)
        for cpu in np.flatnonzero(t.run_length).tolist():
            runs[int(t.run_mt[cpu]), int(t.run_length[cpu]).bit_length()] += 1
        return Shape(
            runs, t.lives.reshape(-1, CLASSES), alive, t.between, t.requests.reshape(-1, ORDERS), self._peak
        )


def _mean_run(shape: Shape, mt: int) -> float:
    """Mean length of the runs of a type: requests by run."""
    return float(shape.requests[mt].sum() / max(shape.runs[mt].sum(), 1))


LONG_NS = 1_000_000_000
"""What counts as a long life: a second."""


def _long(shape: Shape, mt: int) -> float:
    """Per cent of the objects of a type that live longer than a second."""
    edge = int(octaves(np.array([LONG_NS]), 2)[0])
    return 100 * float(survival(shape.lives[mt], shape.alive[mt])[edge])


def _share(part_of: Counts, whole: Counts) -> float:
    """A part in per cent."""
    return 100 * float(part_of.sum() / max(whole.sum(), 1))


def figures_of(before: Shape, after: Shape) -> tuple[Figure, ...]:
    """Every figure of both shapes; those of types that nobody asked for are left out."""
    both = (before, after)
    made: list[Figure] = []

    def figure(name: str, label: str, unit: str, values: list[float], far: float) -> None:
        made.append(Figure(name, label, unit, values[0], values[1], far))

    types = [(mt, NAMES[mt]) for mt in range(MIGRATE_PCPTYPES) if before.requests[mt].sum()]
    for mt, name in types:
        far = apart(before.runs[mt], after.runs[mt])
        means = [_mean_run(one, mt) for one in both]
        figure(f"run.{name}", f"{name} requests that follow each other on a CPU, mean", "", means, far)
    for mt, name in types:
        far = survival_apart(before, after, mt)
        label = f"{name} objects that live longer than 1 s"
        figure(f"life.{name}", label, "%", [_long(one, mt) for one in both], far)
    for mt, name in types:
        far = total_variation(before.requests[mt], after.requests[mt])
        shares = [_share(one.requests[mt], one.requests) for one in both]
        figure(f"share.{name}", f"{name} requests, of all", "%", shares, far)
    far = total_variation(before.requests, after.requests)
    high = [_share(one.requests[:, 1:], one.requests) for one in both]
    figure("orders", "requests above order 0, of all", "%", high, far)
    next_to = [_share(one.between[:1], one.between) for one in both]
    label = "requests not movable with no movable one since the last such, machine-wide"
    figure("between", label, "%", next_to, apart(before.between, after.between))
    return tuple(made)
