# SPDX-License-Identifier: GPL-2.0-or-later
"""A demand run again and again, and copies of it side by side: nothing is freed twice, and what is kept is kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from workload_book import Row, rows_of

from kevacuate.demand.build import Demand
from kevacuate.demand.pagekinds import PageKindModel
from kevacuate.demand.quality import DemandQuality
from kevacuate.recording import DemandChunk, DemandOp, StartObjects
from kevacuate.recording.demand import DEMAND_TYPES
from kevacuate.runs.initial_state import SHARED_CPU_SLICE_NS
from kevacuate.runs.scaled_rows import TASKS, Plan
from kevacuate.runs.scaled_start import ScaledStart, Scaling
from kevacuate.runs.tiled import Tile

CPUS = 2
PAGES = 4096
ALLOC, FREE, SPLIT, FREE_PFN, BULK, RECLAIM, ACCESS, TRUNCATE, ATTEMPT, GATHER = range(10)
BORN = (ALLOC, BULK)


@dataclass
class Known:
    """A demand that is made by hand: its rows, and the start that it begins from."""

    start: StartObjects
    rows: list[Row] = field(default_factory=list)

    def chunks(self, size: int) -> Iterator[DemandChunk]:
        """The rows, so many at once."""
        columns = {
            name: np.array([getattr(r, name) for r in self.rows], kind) for name, kind in DEMAND_TYPES.items()
        }
        for at in range(0, len(self.rows), size):
            yield DemandChunk(**{name: column[at : at + size] for name, column in columns.items()})

    def demand(self, size: int = 64) -> Demand:
        """As a demand whose counts are known."""
        ids = [r.obj for r in self.rows] + [r.aux for r in self.rows if r.op == SPLIT]
        shadows = [r.aux + (1 << r.order) for r in self.rows if r.op in (ALLOC, RECLAIM, TRUNCATE) and r.aux]
        shadows += [r.obj + 1 for r in self.rows if r.op == GATHER]
        peak = max([len(self.start.pfn), *(one + 1 for one in ids)])
        quality = DemandQuality(peak_objects=peak, peak_shadows=max(shadows, default=0), allocs=1)
        return Demand(self.start, lambda _: self.chunks(size), PageKindModel(), quality)


def plan_of(
    known: Known, copies: int, groups: int, length: int, phase: float = 0.3, seed: int = 1, size: int = 64
) -> Plan:
    """The plan of so many copies of a machine of PAGES pages."""
    count = len(known.start.pfn)
    scaling = Scaling((Tile(0, 0, "Normal", 0, copies * PAGES, np.array([0]), PAGES),), copies, groups)
    ids = [np.arange(count) + copy * count for copy in range(copies)]
    pfn = np.concatenate([scaling.placed(known.start.pfn, copy) for copy in range(copies)])
    objects = StartObjects(pfn, np.tile(known.start.order, copies), np.tile(known.start.attr, copies))
    start = ScaledStart(None, None, objects, ids)  # type: ignore[arg-type]  # the rows need its objects alone
    return Plan(known.demand(size), CPUS, scaling, start, length, phase, seed)


class Ledger:
    """A slow second reading of rows: who is alive, which pages of the start are in use, which shadows are given out."""

    def __init__(self, objects: StartObjects) -> None:
        self.alive = dict(enumerate(objects.order.tolist()))
        self.gone: set[int] = set()
        self.shadows: set[int] = set()
        self.last = 0
        self.level = self.peak = sum(1 << order for order in self.alive.values())

    def read(self, row: Row) -> None:
        """Take a row; AssertionError where it contradicts those before it."""
        assert row.t >= self.last
        self.last = row.t
        size = 1 << row.order
        pages = set(range(row.aux, row.aux + size))
        if row.op in BORN:
            assert row.obj not in self.alive
            self.alive[row.obj] = row.order
            self.level += size
            if row.aux:
                assert pages & self.shadows
                self.shadows -= pages
        elif row.op in (FREE, RECLAIM):
            assert self.alive.pop(row.obj) == row.order
            self.level -= size
            if row.op == RECLAIM:
                assert not pages & self.shadows
                self.shadows |= pages
        elif row.op == SPLIT:
            assert self.alive[row.obj] == row.order
            assert row.aux not in self.alive
            self.alive[row.obj] = self.alive[row.aux] = row.order - 1
        elif row.op == FREE_PFN:
            assert not pages & self.gone
            self.gone |= pages
            self.level -= size
        elif row.op == ACCESS:
            assert self.alive[row.obj] == row.order
        elif row.op == TRUNCATE:
            assert pages & self.shadows
            self.shadows -= pages
        elif row.op == GATHER:
            assert row.aux == 0 or row.aux in self.shadows
            self.shadows -= {row.aux}
            assert row.obj not in self.shadows
            self.shadows |= {row.obj}
        self.peak = max(self.peak, self.level)


@st.composite
def knowns(draw: st.DrawFn) -> Known:
    """A demand that contradicts nothing."""
    count = draw(st.integers(0, 4))
    orders = [draw(st.integers(0, 2)) for _ in range(count)]
    start = StartObjects(
        np.arange(count, dtype=np.int64) * 8, np.array(orders, np.uint8), np.zeros(count, np.uint8)
    )
    known, alive, free = Known(start), dict(enumerate(orders)), []
    fresh, shadow, shadows, pfn, t = count, 8, {}, 1024, 0
    for _ in range(draw(st.integers(1, 40))):
        t += draw(st.sampled_from([0, 1, 1000, 2 * SHARED_CPU_SLICE_NS]))
        op = draw(
            st.sampled_from(
                [
                    ALLOC,
                    ALLOC,
                    ALLOC,
                    BULK,
                    FREE,
                    FREE,
                    RECLAIM,
                    SPLIT,
                    FREE_PFN,
                    ACCESS,
                    TRUNCATE,
                    ATTEMPT,
                    GATHER,
                ]
            )
        )
        row = Row(
            t,
            op,
            draw(st.integers(0, CPUS - 1)),
            -1,
            0,
            draw(st.integers(0, 2)),
            7,
            1,
            0,
            draw(st.integers(-1, 3)),
        )
        if op in BORN:
            row.order = draw(st.integers(0, 2)) if op == ALLOC else 0
            again = [s for s, order in shadows.items() if order == row.order]
            if op == ALLOC and again and draw(st.booleans()):
                row.aux = again[0]
                del shadows[row.aux]
            row.obj = free.pop() if free and draw(st.booleans()) else fresh
            fresh = max(fresh, row.obj + 1)
            alive[row.obj] = row.order
        elif op == ATTEMPT:
            row.obj = 0
        elif op == FREE_PFN:
            row.aux, pfn = pfn, pfn + 1
        elif op in (TRUNCATE, GATHER):
            if not shadows:
                continue
            row.obj = 0
            row.aux = draw(st.sampled_from(sorted(shadows)))
            row.order = shadows.pop(row.aux)
            if op == GATHER:
                if row.order:
                    continue
                row.obj, shadow = shadow, shadow + 8
                shadows[row.obj] = 0
        else:
            if not alive:
                continue
            row.obj = draw(st.sampled_from(sorted(alive)))
            row.order = alive[row.obj]
            if op == SPLIT:
                if not row.order:
                    continue
                row.aux, fresh = fresh, fresh + 1
                alive[row.obj] = alive[row.aux] = row.order - 1
            elif op != ACCESS:
                del alive[row.obj]
                free.append(row.obj)
                if op == RECLAIM:
                    row.aux, shadow = shadow, shadow + 8
                    shadows[row.aux] = row.order
        known.rows.append(row)
    return known


def requests(rows: list[Row]) -> Counter[tuple[int, int, int]]:
    """How often each op, order and type was asked for."""
    return Counter((row.op, row.order, row.mt) for row in rows if row.op in BORN)


@given(knowns(), st.integers(1, 3), st.integers(1, 4), st.integers(1, 3), st.integers(0, 5))
def test_what_is_scaled_contradicts_nothing_and_keeps_its_requests(
    known: Known, copies: int, groups: int, length: int, seed: int
) -> None:
    plan = plan_of(known, copies, groups, length, seed=seed)
    rows = rows_of(plan.chunks())
    book = Ledger(plan.start.objects)
    for row in rows:
        assert 0 <= row.cpu < CPUS * groups
        assert row.op == GATHER or row.obj < plan.objects
        book.read(row)
    once = Ledger(known.start)
    for row in known.rows:
        once.read(row)
    assert book.peak <= copies * once.peak
    wanted = requests(known.rows)
    assert requests(rows) == {key: count * copies * length for key, count in wanted.items()}
    assert rows == rows_of(plan_of(known, copies, groups, length, seed=seed, size=5).chunks())


@given(knowns(), st.integers(2, 3))
def test_copies_on_their_own_cpus_keep_every_cpus_order(known: Known, copies: int) -> None:
    rows = rows_of(plan_of(known, copies, copies, 1).chunks())
    for copy in range(copies):
        for cpu in range(CPUS):
            mine = [(r.op, r.order, r.mt) for r in rows if r.cpu == copy * CPUS + cpu]
            assert mine == [(r.op, r.order, r.mt) for r in known.rows if r.cpu == cpu]


@given(knowns())
def test_a_demand_scaled_by_one_is_itself(known: Known) -> None:
    assert rows_of(plan_of(known, 1, 1, 1).chunks()) == known.rows


def row(t: int, op: int, obj: int, order: int = 0, aux: int = 0, **more: int) -> Row:
    """A row on CPU 0 by task 1."""
    return replace(Row(t, op, 0, obj, order, 1, 0, 0, aux, 1), **more)


def start_of(*orders: int) -> StartObjects:
    """A start of objects of these orders."""
    count = len(orders)
    return StartObjects(np.arange(count) * 8, np.array(orders, np.uint8), np.zeros(count, np.uint8))


def test_what_a_pass_leaves_stands_in_for_the_starts_pages() -> None:
    """Three objects are left, one page of the start was freed: two go between the passes, one where that page would."""
    known = Known(start_of(0), [row(0, ALLOC, 1), row(1, ALLOC, 2), row(2, ALLOC, 3), row(50, FREE, 0)])
    rows = rows_of(plan_of(known, 1, 1, 2, phase=0).chunks())
    frees = [r.t for r in rows if r.op == FREE]
    assert frees == [50, 51, 51, 51 + 50]
    assert sum(r.op == ALLOC for r in rows) == 6


def test_what_gives_way_first_is_drawn() -> None:
    known = Known(start_of(), [row(i, ALLOC, i) for i in range(20)])
    plans = [plan_of(known, 1, 1, 2, phase=0, seed=seed) for seed in range(6)]
    first = [next(r.obj for r in rows_of(plan.chunks()) if r.op == FREE) for plan in plans]
    assert len(set(first)) > 2


def test_the_frees_between_passes_are_spread_over_the_pause() -> None:
    known = Known(start_of(), [row(i * 1000, ALLOC, i) for i in range(20)])
    rows = rows_of(plan_of(known, 1, 1, 2, phase=1.0).chunks())
    frees = [r.t for r in rows if r.op == FREE]
    assert len(set(frees)) == 20
    assert max(frees) < min(r.t for r in rows[20:] if r.op == ALLOC)


def test_a_shadow_that_no_pass_gave_out_is_read_as_new() -> None:
    """The first pass reads again what was reclaimed of the start; in the second that page was never there."""
    known = Known(start_of(0), [row(0, RECLAIM, 0, aux=8), row(1, ALLOC, 1, aux=8), row(2, FREE, 1)])
    rows = rows_of(plan_of(known, 1, 1, 2, phase=0).chunks())
    assert [r.aux for r in rows if r.op == ALLOC] == [8, 0]


def test_shadows_that_are_left_are_given_up_between_passes() -> None:
    known = Known(start_of(), [row(0, ALLOC, 0, 1), row(1, RECLAIM, 0, 1, aux=8)])
    rows = rows_of(plan_of(known, 1, 1, 2, phase=0).chunks())
    assert [r.aux for r in rows if r.op == TRUNCATE] == [8, 9]


@pytest.mark.parametrize(("groups", "cpus"), [(1, {0}), (2, {0, 2}), (4, {0, 2, 4, 6})])
def test_copies_go_to_their_groups_of_cpus(groups: int, cpus: set[int]) -> None:
    known = Known(start_of(), [row(i, ALLOC, i) for i in range(50)])
    rows = rows_of(plan_of(known, 4, groups, 1).chunks())
    assert {r.cpu for r in rows} == cpus
    assert {r.task // TASKS for r in rows} == {0, 1, 2, 3}


def test_tasks_of_one_copy_are_spread_over_more_cpus() -> None:
    known = Known(start_of(), [row(i, ALLOC, i, task=1 + i % 16) for i in range(64)])
    rows = rows_of(plan_of(known, 1, 4, 1).chunks())
    assert {r.cpu for r in rows} == {0, 2, 4, 6}
    assert all(len({r.cpu for r in rows if r.task == task}) == 1 for task in range(1, 17))


def test_copies_that_share_a_cpu_take_turns_in_slices() -> None:
    """Each works through a slice at the recorded speed, then the other does: all takes twice as long."""
    times = [i * SHARED_CPU_SLICE_NS // 10 for i in range(40)]
    known = Known(start_of(), [row(t, ALLOC, i) for i, t in enumerate(times)])
    rows = rows_of(plan_of(known, 2, 1, 1, phase=0).chunks())
    for number in range(4):
        for turn in range(2):
            begin = (2 * number + turn) * SHARED_CPU_SLICE_NS
            own = [r for r in rows if begin <= r.t < begin + SHARED_CPU_SLICE_NS]
            assert [r.task // TASKS for r in own] == [turn] * 10
            assert [r.t - begin for r in own] == times[:10]


def test_every_op_has_a_rule() -> None:
    assert len(DemandOp) == 14, "demand/again.py and runs/scaled_rows.py say what becomes of each op"


def test_a_contiguous_allocation_that_a_pass_leaves_is_freed_as_one() -> None:
    known = Known(start_of(), [row(1, DemandOp.ALLOC_CONTIG, 0, 18), row(2, ALLOC, 1, 3)])
    rows = rows_of(plan_of(known, 1, 1, 2).chunks())
    assert sorted((r.op, r.order) for r in rows if r.op not in (ALLOC, DemandOp.ALLOC_CONTIG)) == [
        (FREE, 3),
        (DemandOp.FREE_CONTIG, 18),
    ]
    assert sum(r.op == DemandOp.ALLOC_CONTIG for r in rows) == 2
