# SPDX-License-Identifier: GPL-2.0-or-later
"""The rows of a described workload: nothing is freed twice, equal descriptions give equal rows, and they are as described."""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from workload_book import Book, book_of, rows_of, workload

from kevacuate import KevacuateError
from kevacuate.demand.build import Demand
from kevacuate.kernel import gfp as gf
from kevacuate.kernel.pageattr import PageAttr
from kevacuate.recording import DemandChunk, DemandOp
from kevacuate.recording.demand import DEMAND_TYPES
from kevacuate.workload import describe as ds
from kevacuate.workload.describe import Workload
from kevacuate.workload.generate import MARGIN, generate
from kevacuate.workload.plan import new_generator, plan_of
from kevacuate.workload.stream import ahead, counted, demand_of

EVERYTHING = (
    ds.Anonymous(memory="20%", tasks=6, lifetime="600ms", pause="50ms", thp=0.5, renewed=1.0, mlocked=0.1, pinned=0.05),
    ds.Forks(rate="40/s", lifetime="50ms", private="80KiB"),
    ds.PageCache(files="60%", cached="15%", reads="60MiB/s", file="256KiB", written=0.2, deleted="3%", synced=0.5),
    ds.PageCache(name="large folios", files="20%", cached="5%", reads="50MiB/s", file="256KiB", order=2, deleted="3%"),
    ds.FilesWritten(rate="4MiB/s", file="64KiB", kept="300ms", synced=0.3),
    ds.Slab(memory="4%", type="reclaimable", lifetime="200ms", long=0.1, long_lifetime="2s", shrink_every="900ms"),
    ds.PageTables(memory="1%", lifetime="1s"),
    ds.Network(rate="20MiB/s", held="5ms"),
    ds.Pipes(rate="20MiB/s", held="1ms"),
    ds.Vmalloc(memory="3%", area="200KiB", lifetime="300ms", pause="100ms", order=3),
    ds.HugePages(memory="8MiB"),
    ds.Pool(memory="2%", lifetimes=("20ms", "1s"), shares=(0.8, 0.2), dies="newest"),
)  # fmt: skip


def everything(**more: Any) -> Workload:
    """Every part at once, in 128 MiB on two nodes."""
    return workload(*EVERYTHING, memory="128MiB", **({"cpus": 3, "nodes": 2, "duration": "4s"} | more))


@pytest.fixture(scope="module")
def demand() -> Demand:
    """Its demand."""
    return demand_of(everything())


@pytest.fixture(scope="module")
def book(demand: Demand) -> Book:
    """Its book, which refuses what contradicts itself."""
    return book_of(demand.chunks(closed=True))


def test_nothing_is_freed_twice_and_every_count_is_right(demand: Demand, book: Book) -> None:
    rows = rows_of(demand.chunks(closed=True))
    counts = Counter(DemandOp(row.op) for row in rows)
    assert set(counts) == {
        DemandOp.ALLOC, DemandOp.ALLOC_BULK, DemandOp.FREE, DemandOp.RECLAIM, DemandOp.ACCESS, DemandOp.TRUNCATE,
    }  # fmt: skip
    quality = demand.quality
    assert quality.allocs == counts[DemandOp.ALLOC] + counts[DemandOp.ALLOC_BULK]
    assert quality.frees == counts[DemandOp.FREE] + counts[DemandOp.RECLAIM] == len(book.lives)
    assert (quality.reclaimed, quality.accesses) == (counts[DemandOp.RECLAIM], counts[DemandOp.ACCESS])
    assert quality.truncated == counts[DemandOp.TRUNCATE]
    assert quality.allocs == quality.frees + len(book.alive)
    assert max(row.obj for row in rows) < quality.peak_objects
    assert max(row.aux + (1 << row.order) for row in rows) <= quality.peak_shadows
    assert quality.read_again == sum(1 for row in rows if row.op == DemandOp.ALLOC and row.aux)
    assert {row.cpu for row in rows} == {0, 1, 2}


def test_the_parts_never_have_more_than_their_memory(book: Book) -> None:
    plan = plan_of(everything())
    assert 0.4 * plan.pages < book.peak <= plan.pages


def test_equal_descriptions_give_equal_rows_whatever_the_chunks_and_seeds_give_others(demand: Demand) -> None:
    rows = rows_of(demand.chunks(closed=True))
    assert rows_of(demand_of(everything(), chunk_rows=1000).chunks(closed=True)) == rows
    other = rows_of(demand_of(everything(seed=1)).chunks(closed=True))
    assert other != rows
    assert rows_of(demand.redrawn(1).chunks(closed=True)) == other  # type: ignore[misc]
    assert abs(len(other) / len(rows) - 1) < 0.1


def test_plain_python_gives_the_rows_of_the_compiler(demand: Demand) -> None:
    short = replace(everything(), duration="60ms")
    made = new_generator(short)
    room = 1 << 16
    buffers = [
        DemandChunk(*(np.empty(room + MARGIN, dtype) for dtype in DEMAND_TYPES.values())) for _ in range(2)
    ]
    count = generate(made, buffers[0], room + MARGIN)
    again = new_generator(short)
    plain = getattr(generate, "plain", generate)
    assert plain(again, buffers[1], room + MARGIN) == count > 3000
    for a, b in zip(*buffers, strict=True):
        assert np.array_equal(a[:count], b[:count])
    for a, b in zip(made, again, strict=True):
        assert np.array_equal(a, b)
    assert counted(made, plan_of(short)) == counted(again, plan_of(short))


def lifetimes(part: ds.PartOf, **more: Any) -> tuple[list[float], Book]:
    """Seconds that the objects of a part lived that died, and the book."""
    found = book_of(demand_of(workload(part, **more)).chunks(closed=True))
    return [(end - born.t) / 1e9 for born, end in found.lives], found


def test_a_pool_has_its_size_and_its_lifetimes() -> None:
    part = ds.Pool(memory="4MiB", lifetimes=("100ms",), burst=4)
    lives, found = lifetimes(part, duration="20s")
    assert abs(len(found.alive) / 1024 - 1) < 0.15
    assert len(lives) > 100_000
    assert abs(np.mean(lives) / 0.1 - 1) < 0.03
    assert abs(np.mean(np.array(lives) > 0.1) - math.exp(-1)) < 0.02  # exponential
    assert abs(np.mean(np.array(lives) > 0.3) - math.exp(-3)) < 0.01


def test_lifetimes_of_two_classes_are_a_mixture_of_both() -> None:
    part = ds.Pool(memory="8MiB", lifetimes=("10ms", "1s"), shares=(0.9, 0.1))
    lives, found = lifetimes(part, duration="20s")
    late = np.array([end for _, end in found.lives]) > 5e9
    old = np.array(lives)[late] > 0.1
    assert abs(np.mean(old) - 0.1 * math.exp(-0.1) - 0.9 * math.exp(-10)) < 0.01
    assert abs(len(found.alive) / 2048 - 1) < 0.15


@pytest.mark.parametrize(("dies", "sign"), [("oldest", 1), ("newest", -1)])
def test_the_oldest_or_the_newest_dies_first(dies: str, sign: int) -> None:
    _, found = lifetimes(ds.Pool(memory="2MiB", lifetimes=("50ms",), dies=dies, burst=8))
    born = [row.t for row, _ in found.lives]
    ordered = np.mean([sign * (b - a) >= 0 for a, b in pairwise(born)])
    assert ordered == 1.0 if dies == "oldest" else ordered > 0.5


def test_a_shrinker_frees_its_share() -> None:
    part = ds.Slab(memory="8MiB", lifetime="1h", shrink_every="1s", shrink=0.5)
    found = book_of(demand_of(workload(part, duration="3500ms")).chunks(closed=True))
    assert abs(len(found.lives) / (1024 + 512 + 256) - 1) < 0.05


def test_a_task_goes_together_and_its_huge_pages_are_as_many_as_described() -> None:
    part = ds.Anonymous(memory="40MiB", tasks=4, lifetime="200ms", pause="10ms", thp=0.6, spread=0.2)
    demand = demand_of(workload(part, duration="10s"))
    rows = [row for row in rows_of(demand.chunks(closed=True)) if row.op == DemandOp.ALLOC]
    tables = [row for row in rows if row.mt == 0]
    huge = [row for row in rows if row.order == 9]
    base = [row for row in rows if row.mt == 1 and row.order == 0]
    ranges = len(huge) + len(base) / 512
    assert 0.35 < len(huge) / ranges < 0.75  # what is left behind the last whole range is never huge
    assert abs(len(tables) / ranges - 1) < 0.15
    assert {row.gfp for row in huge} == {gf.GFP_TRANSHUGE_LIGHT | gf.GFP_KSWAPD_RECLAIM}
    book = book_of(demand.chunks(closed=True))
    ends: dict[int, list[int]] = {}
    for born, end in book.lives:
        ends.setdefault(born.task, []).append(end)
    assert len(ends) == 4
    for times in ends.values():  # runs of frees with a pause, a life and a growth between them
        gaps = np.diff(np.unique(times))
        assert np.count_nonzero(gaps > 5_000_000) < len(gaps) / 100


def test_what_is_read_is_as_much_and_as_often_as_described() -> None:
    part = ds.PageCache(files="32MiB", cached="16MiB", reads="100MiB/s", file="64KiB", run="64KiB", reuse=1.0)
    demand = demand_of(workload(part, duration="10s"))
    rows = rows_of(demand.chunks(closed=True))
    read = sum(row.op in (DemandOp.ALLOC, DemandOp.ACCESS) for row in rows)
    assert abs(read * 4096 / 10 / (100 << 20) - 1) < 0.05
    again = demand.quality.accesses / read
    assert 0.7 < again < 0.95  # by Zipf's law 0.89 of the reads are of the more popular half
    even = demand_of(workload(replace(part, reuse=0.0), duration="10s"))
    for _ in even.chunks(closed=True):
        pass
    assert abs(even.quality.accesses / (even.quality.accesses + even.quality.allocs) - 0.5) < 0.05


def test_shares_of_attributes_are_as_described(book: Book) -> None:
    part = ds.Pool(memory="4MiB", type="movable", page="file", lifetimes=("50ms",), pinned=0.25, mlocked=0.5)
    rows = [row for row in rows_of(demand_of(workload(part)).chunks()) if row.op == DemandOp.ALLOC]
    for bit, share in ((PageAttr.PINNED, 0.25), (PageAttr.MLOCKED, 0.5), (PageAttr.FILE, 1.0)):
        assert abs(np.mean([row.attr & bit > 0 for row in rows]) - share) < 0.01


def test_the_rhythm_makes_the_rate_rise_and_fall() -> None:
    part = ds.Network(rate="8MiB/s", held="1ms", burst=4)
    rhythm = ds.Rhythm(period="4s", least=0.2, peak="1s")
    rows = rows_of(demand_of(workload(part, duration="8s", fill="0s", rhythm=rhythm)).chunks())
    t = np.array([row.t for row in rows if row.op == DemandOp.ALLOC]) / 1e9
    busy = np.count_nonzero(np.abs(t % 4 - 1) < 0.25)
    quiet = np.count_nonzero(np.abs(t % 4 - 3) < 0.25)
    assert abs(quiet / busy - 0.22) < 0.04  # of the mean over these half seconds
    still = rows_of(demand_of(workload(replace(part, rhythm=False), duration="8s", rhythm=rhythm)).chunks())
    assert len(still) > 1.3 * len(rows)


def test_a_part_runs_on_its_own_cpus() -> None:
    parts = (ds.Network(rate="4MiB/s", cpus="node1"), ds.Pipes(rate="4MiB/s", cpus="0-1"))
    rows = rows_of(demand_of(workload(*parts, cpus=4, nodes=2)).chunks())
    rows = [row for row in rows if row.op == DemandOp.ALLOC]
    assert {row.cpu for row in rows if row.gfp & gf.GFP_HIGH} == {2, 3}
    assert {row.cpu for row in rows if not row.gfp & gf.GFP_HIGH} == {0, 1}


def test_memory_is_bounded_whatever_the_length() -> None:
    short, long = everything(duration="1s"), everything(duration="100d")
    sizes = [sum(array.nbytes for array in new_generator(one)) for one in (short, long)]
    assert sizes[0] == sizes[1] < 4 << 20


def test_a_day_begins_as_an_hour_does() -> None:
    chunks = [next(demand_of(everything(duration=length)).chunks(closed=True)) for length in ("1h", "1d")]
    for a, b in zip(*chunks, strict=True):
        assert np.array_equal(a, b)


def test_rounds_fill_free_and_allocate_again() -> None:
    part = ds.Rounds(memory="16MiB", tasks=3, kept=0.5, again=0.1, rounds=7, pause="1ms", touch="1us")
    demand = demand_of(workload(part, cpus=3))
    book = book_of(demand.chunks())
    each = 4096 // 3
    kept, again = each // 2, each // 2 // 10
    assert book.peak == 3 * each
    assert len(book.alive) == 3 * kept
    assert demand.quality.allocs == 3 * (each + 7 * again)
    rows = rows_of(demand.chunks())
    filled = rows[: 3 * each]
    assert {row.op for row in filled} == {DemandOp.ALLOC}
    freed = rows[3 * each : 3 * (each + each - kept)]
    assert {row.op for row in freed} == {DemandOp.FREE}
    born = {row.obj: row.task for row in filled}
    assert 0.55 < np.mean([born[row.obj] != row.task for row in freed]) < 0.78  # shuffled among three tasks
    later = rows[3 * (2 * each - kept) :]
    tried = Counter(row.obj for row in later if row.op == DemandOp.FREE)
    assert len(tried) > 0.7 * 3 * again * 7 * (1 - 0.35)  # at random: few come twice
    assert [row.op for row in later if row.task == 0] == [DemandOp.FREE] * again + [
        DemandOp.ALLOC
    ] * again + ([DemandOp.FREE] * again + [DemandOp.ALLOC] * again) * 6


def test_a_cache_is_full_when_it_has_grown() -> None:
    part = ds.PageCache(files="50MiB", cached="20MiB", reads="1MiB/s", file="256KiB")
    book = book_of(demand_of(workload(part, duration="500ms", fill="500ms")).chunks(closed=True))
    assert 0.9 * 5120 < book.pages <= 5120


def test_a_thread_that_makes_rows_ends_with_its_reader() -> None:
    before = threading.active_count()
    chunks = demand_of(everything(duration="1d"), chunk_rows=1000).chunks(closed=True)
    next(chunks)
    chunks.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before

    def broken() -> Iterator[DemandChunk]:
        yield next(demand_of(everything()).chunks())
        raise KevacuateError("broken")

    with pytest.raises(KevacuateError, match="broken"):
        list(ahead(broken()))
    assert threading.active_count() == before
