# SPDX-License-Identifier: GPL-2.0-or-later
"""What reads of files bring in, held against a plain page cache that is written from mm/readahead.c and mm/filemap.c of 7.2."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import FILE, Script
from test_runs_closed_loop import drop, fed, recorded

from kevacuate.demand.pagecache import READ_AROUND, READ_FAULT, READ_MAPPED, READ_RANDOM, READ_START
from kevacuate.demand.tables import GFP_OF_A_READ
from kevacuate.errors import KevacuateError
from kevacuate.mm import constants as k
from kevacuate.mm.base_pages import OBJ_BASE_PAGES
from kevacuate.mm.check import check
from kevacuate.recording import DemandOp, Recording
from kevacuate.recording.schema import EventKind as K
from kevacuate.runs.base_page_ids import with_mapping
from kevacuate.runs.mapping import MARKED, OBJ_PART, VM_READAHEAD_PAGES
from kevacuate.runs.readahead import READ_NS
from kevacuate.runs.replay import Replay
from kevacuate.runs.scale import ROWS_AT_ONCE, scale

FIRST, PAGES = 16, 160
"""The file that is read: the numbers of its pages begin with FIRST. Objects from 100 on are its folios."""
NUMBERS = FIRST + PAGES + 1
READ = {"mt": k.MIGRATE_MOVABLE, "attr": FILE, "gfp": GFP_OF_A_READ}


@dataclass
class Stream:
    """struct file_ra_state of one reader."""

    start: int = 0
    size: int = 0
    async_size: int = 0
    order: int = 0
    prev: int = -2


@dataclass
class Cache:
    """The page cache of one file: the folio (first page, order) of each page, which have PG_readahead, and what is read."""

    end: int
    most: int
    folio: dict[int, tuple[int, int]] = field(default_factory=dict)
    marked: set[int] = field(default_factory=set)
    read: list[int] = field(default_factory=list)
    orders: dict[int, tuple[int, int]] = field(default_factory=dict)
    """What folio a page would come in: (first page, order); of order 0 where nothing says so."""

    def window(self, start: int, size: int, mark: int = -1, end: int = 1 << 30) -> None:
        for page in range(start, min(start + size, self.end, end)):
            if page not in self.folio:
                first, order = self.orders.get(page, (page, 0))
                folio = range(first, first + (1 << order))
                self.folio |= dict.fromkeys(folio, (first, order))
                self.read += folio
                if mark in folio:
                    self.marked.add(first)

    def following(self, size: int) -> int:
        if size < self.most // 16:
            return 4 * size
        return 2 * size if size <= self.most // 2 else self.most

    def miss(self, stream: Stream, page: int, count: int, starts: bool) -> None:
        if starts or count > self.most or page - stream.prev in (0, 1):
            power = 1 << (count - 1).bit_length()
            times = 4 if power <= self.most // 32 else 2
            size = power * times if power <= self.most // 4 else self.most
            ahead = size - count if size > count else size >> 1
        else:
            before = 0
            while before < self.most and page - 1 - before in self.folio:
                before += 1
            if before <= count:
                self.window(page, count)
                return
            size, ahead = min(before + count, self.most), 1
        stream.start, stream.size, stream.async_size, stream.order = page, size, ahead, 0
        self.window(page, size, page + size - ahead)

    def hit_mark(self, stream: Stream, first: int, order: int, count: int) -> None:
        self.marked.discard(first)
        expected = (stream.start + stream.size - stream.async_size) >> order << order
        if first == expected:
            stream.start += stream.size
            stream.size = max(stream.size, self.following(stream.size))
        else:
            start = next(
                p for p in range(first + 1, self.end + 1) if p not in self.folio or p > first + self.most
            )
            if start - first > self.most:
                return
            stream.start, stream.size = start, self.following(start - first + count)
        stream.order = min(stream.order + 2, 9)
        align = min(1 << stream.order, self.most)
        end = (stream.start + stream.size) // align * align
        if end > stream.start:
            stream.size = end - stream.start
        stream.async_size = stream.size
        self.window(stream.start, stream.size, stream.start)

    def pread(self, stream: Stream, page: int, count: int, ways: int = 0) -> None:
        last = page + count
        while page < last:
            if page not in self.folio:
                if ways & READ_RANDOM:
                    self.window(page, last - page)
                else:
                    self.miss(stream, page, last - page, bool(ways & READ_START))
            folios = 0
            while page < last and page in self.folio and folios < 31:
                first, order = self.folio[page]
                folios += 1
                page = first + (1 << order)
                if first in self.marked:
                    self.hit_mark(stream, first, order, last - first)
                    break
        stream.prev = last

    def fault(self, stream: Stream, page: int, ways: int, end: int) -> None:
        if page in self.folio:
            return
        start, ahead = page, 0
        if ways & READ_AROUND:
            ahead = self.most // 4
            while start > page - self.most // 2 and start - 1 in self.folio:
                start -= 1
        stream.start, stream.size, stream.async_size, stream.order = start, self.most, ahead, 0
        self.window(start, self.most, start + self.most - ahead if ahead else -1, end)

    def forget(self, page: int) -> None:
        first, order = self.folio[page]
        self.marked.discard(first)
        for one in range(first, first + (1 << order)):
            del self.folio[one]


def later(script: Script, run: Replay) -> None:
    """Feed rows that come after all so far."""
    begin = run.state.view.stat.now + 1
    script.rows = [(begin + row[0], *row[1:]) for row in script.rows]
    run.feed(script.chunk())
    check(run.state)


def read_row(script: Script, page: int, count: int, ways: int = 0, end: int = FIRST + PAGES) -> None:
    script.add(DemandOp.READ, count, gfp=end, attr=ways, aux=page, mt=1)


def whole_file(tmp_path: Path, orders: list[int], longest: int = 1, gfp: int = 0) -> Replay:
    """All pages of the file are there, in folios of these orders; asked for as by a write unless *gfp* says otherwise."""
    script, page = Script(), FIRST
    for i, order in enumerate(orders):
        script.alloc(100 + i, order, **READ)
        script.add(DemandOp.PLACE, 100 + i, order, mt=1, gfp=gfp, aux=page)
        page += 1 << order
    counts = {"file_pages": NUMBERS, "longest_readahead": longest, "peak_objects": 400, "peak_shadows": 256}
    return fed(recorded(tmp_path, script, **counts))


def present(run: Replay) -> set[int]:
    """Pages of the file that the model has."""
    found = set()
    for page in range(FIRST, FIRST + PAGES):
        owner = int(run.state.mapping[page]) - 1
        while owner >= 0 and run.state.obj[owner] == OBJ_PART:
            owner -= 1
        if owner >= 0 and run.state.obj[owner] >= 0:
            found.add(page)
    return found


def marks(run: Replay) -> set[int]:
    """Pages of it whose folios have PG_readahead."""
    return {p for p in range(FIRST, FIRST + PAGES) if run.state.mapping[NUMBERS + p] == MARKED} & present(run)


def layout(rng: np.random.Generator) -> list[int]:
    """Orders of folios that fill the file, each at a multiple of its size."""
    orders, page = [], FIRST
    while page < FIRST + PAGES:
        most = min((page & -page).bit_length() - 1, (FIRST + PAGES - page).bit_length() - 1, 3)
        orders.append(int(rng.integers(most + 1)) if rng.random() < 0.5 else 0)
        page += 1 << orders[-1]
    return orders


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_model_reads_what_the_plain_page_cache_reads(
    seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rng = np.random.default_rng(seed)
    orders = layout(rng)
    run = whole_file(tmp_path_factory.mktemp("made"), orders, longest=int(rng.integers(1, 70)))
    most = run.state.view.stat.ra_pages
    cache, stream, mapping, page = Cache(FIRST + PAGES, most), Stream(), Stream(), FIRST
    mapped = FIRST + int(rng.integers(PAGES - 63, PAGES))
    for order in orders:
        cache.orders |= dict.fromkeys(range(page, page + (1 << order)), (page, order))
        page += 1 << order
    cache.window(FIRST, PAGES)
    for _ in range(12):
        for i in np.flatnonzero(rng.random(len(orders)) < rng.choice([0.05, 0.5, 0.95])).tolist():
            if run.state.obj[100 + i] >= 0:
                drop(run, 100 + i)
                cache.forget(FIRST + sum(1 << o for o in orders[:i]))
        script = Script()
        at = int(rng.integers(FIRST, FIRST + PAGES))
        ways = int(rng.choice([0, 0, 0, READ_RANDOM, READ_FAULT, READ_FAULT | READ_AROUND]))
        for _ in range(int(rng.integers(1, 6))):
            count = 1 if ways & READ_FAULT else min(int(rng.integers(1, 20)), FIRST + PAGES - at)
            starts = READ_START if at == FIRST and not ways & READ_FAULT else 0
            if not ways & READ_FAULT:
                read_row(script, at, count, ways | starts)
                cache.pread(stream, at, count, ways | starts)
            elif at < mapped:
                read_row(script, at, count, ways, mapped)
                cache.fault(mapping, at, ways, mapped)
            at += count
            if at >= FIRST + PAGES:
                break
        later(script, run)
        assert present(run) == set(cache.folio)
        assert marks(run) == {p for p, (first, _) in cache.folio.items() if first in cache.marked}
    assert run.state.view.stat.refault_pages == len(cache.read) - PAGES


def dropped_file(tmp_path: Path, longest: int = 1) -> Replay:
    """The model has dropped all of the file, which it has in single pages."""
    run = whole_file(tmp_path, [0] * PAGES, longest)
    for i in range(PAGES):
        drop(run, 100 + i)
    return run


def after(run: Replay, *reads: tuple[int, ...]) -> list[int]:
    """Pages of the file, counted from 0, that there are after these reads (page, count, ways)."""
    script = Script()
    for page, *more in reads:
        read_row(script, FIRST + page, *more)
    later(script, run)
    return sorted(page - FIRST for page in present(run))


def test_a_standalone_read_brings_in_what_it_asks_for(tmp_path: Path) -> None:
    assert after(dropped_file(tmp_path), (40, 4)) == [*range(40, 44)]


def test_a_second_read_in_a_row_reads_ahead(tmp_path: Path) -> None:
    assert VM_READAHEAD_PAGES == 32
    assert after(dropped_file(tmp_path), (40, 1), (41, 1)) == [*range(40, 45)]


def test_the_mark_is_hit_and_the_next_window_is_larger(tmp_path: Path) -> None:
    assert after(dropped_file(tmp_path), (40, 1), (41, 1), (42, 1)) == [*range(40, 52)]  # to a multiple of 4


def test_the_longest_recorded_stretch_sets_the_largest_window(tmp_path: Path) -> None:
    few = after(dropped_file(tmp_path / "few", 32), (40, 16), (56, 16))
    many = after(dropped_file(tmp_path / "many", 33), (40, 16), (56, 16))
    assert (few[-1], many[-1]) == (56 + 31, 56 + 31)
    assert after(dropped_file(tmp_path / "more", 512), (40, 16), (56, 16))[-1] == 56 + 63


def test_random_reads_read_nothing_ahead(tmp_path: Path) -> None:
    reads = [(40 + i, 1, READ_RANDOM) for i in range(4)]
    assert after(dropped_file(tmp_path), *reads) == [*range(40, 44)]


def test_a_file_is_not_read_beyond_its_end(tmp_path: Path) -> None:
    run = dropped_file(tmp_path)
    assert after(run, (PAGES - 4, 1), (PAGES - 3, 1)) == [*range(PAGES - 4, PAGES)]


def test_a_fault_reads_a_window_and_one_around_looks_back(tmp_path: Path) -> None:
    assert after(dropped_file(tmp_path / "run"), (40, 1, READ_FAULT)) == [*range(40, 72)]
    run = dropped_file(tmp_path / "around")
    assert after(run, (30, 8, READ_RANDOM)) == [*range(30, 38)]
    assert after(run, (38, 1, READ_FAULT | READ_AROUND)) == [*range(30, 62)]


def test_a_fault_that_maps_around_is_at_one_of_its_pages(tmp_path: Path) -> None:
    pages = after(dropped_file(tmp_path), (48, 16, READ_MAPPED))
    assert pages == [*range(pages[0], pages[0] + 32)]
    assert 48 <= pages[0] < 64


def test_a_fault_reads_no_further_than_its_mapping(tmp_path: Path) -> None:
    assert after(dropped_file(tmp_path), (40, 1, READ_FAULT, FIRST + 50)) == [*range(40, 50)]


def test_a_fault_that_maps_around_is_at_a_page_that_the_recorded_kernel_had(tmp_path: Path) -> None:
    """That kernel has reclaimed all pages of the stretch but one; then that one, too."""
    run = dropped_file(tmp_path)
    script = Script()
    for page in {*range(48, 64)} - {55}:
        script.add(DemandOp.RECLAIM, 100 + page, 0, aux=1 + page)
    later(script, run)
    assert after(run, (48, 16, READ_MAPPED)) == [*range(55, 87)]
    run = dropped_file(tmp_path / "none")
    script = Script()
    for page in range(48, 64):
        script.add(DemandOp.RECLAIM, 100 + page, 0, aux=1 + page)
    later(script, run)
    assert after(run, (48, 16, READ_MAPPED)) == []


def test_what_a_fault_may_have_mapped_is_not_read_for_that(tmp_path: Path) -> None:
    run = dropped_file(tmp_path)
    script = Script()
    script.add(DemandOp.ACCESS, 140, 0, aux=2, **READ)
    later(script, run)
    assert present(run) == set()
    script = Script()
    script.add(DemandOp.ACCESS, 140, 0, aux=1, **READ)
    later(script, run)
    assert present(run) == {FIRST + 40}


def test_reading_takes_time_where_kswapd_has_the_tasks_cpu(tmp_path: Path) -> None:
    for name, slice_ns, pages in (("one", 50_000, 20), ("more", 0, 0)):
        run = dropped_file(tmp_path / name)
        view = run.state.view
        view.cfg.kswapd_slice_ns, view.cfg.time_scale, view.stat.row_t = slice_ns, 3, view.stat.now
        script = Script(1)
        read_row(script, FIRST + 40, 20, READ_RANDOM)
        begun = view.stat.now + 1
        later(script, run)
        assert (view.stat.now - begun, view.stat.late) == (3 * READ_NS * pages, 3 * READ_NS * pages)


def test_what_is_read_for_the_first_time_is_missing_until_it_is_asked_for(tmp_path: Path) -> None:
    """The file was read ahead by the recorded kernel: the model finds its first read missing, and sets its own mark."""
    run = whole_file(tmp_path / "read", [0] * PAGES, gfp=GFP_OF_A_READ)
    after(run, (40, 1), (41, 1))
    assert marks(run) == {FIRST + 42}
    assert run.state.view.stat.refault_pages == 0
    written = whole_file(tmp_path / "written", [0] * PAGES)
    after(written, (40, 1), (41, 1))
    assert marks(written) == set()


def read_again(run: Replay, **how: int) -> None:
    """The recorded kernel reclaims page 40, which the model has dropped before, and reads it again as object 100 + PAGES."""
    drop(run, 140)
    script = Script()
    script.add(DemandOp.RECLAIM, 140, 0, aux=1)
    script.alloc(100 + PAGES, 0, aux=1, **(READ | how))
    script.add(DemandOp.PLACE, 100 + PAGES, 0, mt=1, gfp=GFP_OF_A_READ, aux=FIRST + 40)
    later(script, run)


def test_what_the_recorded_kernel_reads_again_waits_until_the_model_reads_it(tmp_path: Path) -> None:
    run = whole_file(tmp_path / "read", [0] * PAGES)
    read_again(run)
    assert run.state.obj[100 + PAGES] == k.OBJ_DROPPED
    assert FIRST + 40 in {FIRST + p for p in after(run, (40, 1))}
    assert run.state.view.stat.workingset_refault_file == 1
    other = whole_file(tmp_path / "other", [0] * PAGES)
    read_again(other, gfp=0)
    assert other.state.obj[100 + PAGES] >= 0


def test_shadows_are_read_ahead_as_objects_are(tmp_path: Path) -> None:
    """A folio of two pages that both kernels have reclaimed is read ahead, and is the object's once the recorded one reads it."""
    run = whole_file(tmp_path, [1] * (PAGES // 2))
    drop(run, 120)
    script = Script()
    script.add(DemandOp.RECLAIM, 120, 1, aux=2)
    later(script, run)
    assert {*range(FIRST, FIRST + PAGES)} - present(run) == {FIRST + 40, FIRST + 41}
    assert after(run, (41, 1)) == [*range(PAGES)]
    shadow = int(run.state.obj[run.state.view.stat.first_shadow + 2])
    assert run.state.meta[shadow] == k.CHUNK_ALLOC << 4 | 1
    script = Script()
    script.alloc(100 + PAGES, 1, aux=2, **READ)
    script.add(DemandOp.PLACE, 100 + PAGES, 1, mt=1, gfp=GFP_OF_A_READ, aux=FIRST + 40)
    later(script, run)
    assert run.state.obj[100 + PAGES] == shadow
    assert len(present(run)) == PAGES


def test_pages_that_are_given_up_or_split_have_no_wrong_owner(tmp_path: Path) -> None:
    run = whole_file(tmp_path, [1] * (PAGES // 2))
    script = Script()
    script.add(DemandOp.SPLIT, 100, 1, aux=300)
    script.free(100)
    script.add(DemandOp.RECLAIM, 101, 1, aux=2)
    script.add(DemandOp.TRUNCATE, 0, 1, aux=2)
    later(script, run)
    assert run.state.mapping[FIRST : FIRST + 5].tolist() == [0, 301, 0, 0, 103]
    assert run.state.mapping[2 * NUMBERS + 100 : 2 * NUMBERS + 102].tolist() == [0, 0]


def test_gathered_shadows_keep_their_pages(tmp_path: Path) -> None:
    run = whole_file(tmp_path, [0] * PAGES)
    script = Script()
    script.add(DemandOp.RECLAIM, 100, 0, aux=1)
    script.add(DemandOp.GATHER, 4, aux=1)
    script.add(DemandOp.GATHER, 5, aux=0)
    later(script, run)
    first = run.state.view.stat.first_shadow
    assert run.state.mapping[FIRST] == first + 4 + 1
    assert run.state.mapping[2 * NUMBERS + first + 1] == 0


def test_rows_that_name_no_page_do_nothing(tmp_path: Path) -> None:
    run = dropped_file(tmp_path)
    before = run.state.mapping.copy()
    script = Script()
    for page, count, end in (
        (0, 1, 9),
        (FIRST, 0, NUMBERS - 1),
        (FIRST, 500, NUMBERS - 1),
        (FIRST, 1, 1 << 20),
    ):
        script.add(DemandOp.READ, count, gfp=end, aux=page, mt=1)
    script.add(DemandOp.PLACE, 100, 3, mt=1, aux=NUMBERS - 2)
    script.add(DemandOp.PLACE, 100, 0, mt=1, aux=-5)
    later(script, run)
    assert (run.state.mapping == before).all()


def test_a_demand_without_numbers_has_no_mapping(tmp_path: Path) -> None:
    run = fed(recorded(tmp_path, Script()))
    assert run.state.mapping.size == 0
    assert with_mapping(run.state, 0, 9) is run.state


RECORDED = Path(os.environ.get("KEVACUATE_GROUND_TRUTH", "")) / "stock-pressure-1g-smp1-s1"
MOST = 2048
"""Pages that the recorded machine reads ahead at most."""


def recorded_events(kinds: tuple[K, ...]) -> list[list[int]]:
    """Columns kind, a, c, d, order and pid of the recorded events of those kinds, once memory was looked at."""
    recording = Recording.open(RECORDED)
    chunks = [*recording.events(kinds=kinds, after=recording.start)]
    names = ("kind", "a", "c", "d", "order", "pid")
    return [np.concatenate([getattr(chunk, name) for chunk in chunks]).tolist() for name in names]


@pytest.mark.skipif(not (RECORDED / "trace").is_dir(), reason="needs KEVACUATE_GROUND_TRUTH")
def test_the_plain_page_cache_reads_what_the_recorded_kernel_read() -> None:
    """The recorded page cache is followed event by event; before each read the plain one says what that brings in."""
    kinds = (K.MM_FILEMAP_ADD_TO_PAGE_CACHE, K.MM_FILEMAP_DELETE_FROM_PAGE_CACHE, K.MM_FILEMAP_GET_PAGES)
    kind, a, c, d, order, pid = recorded_events(kinds)
    ends: Counter[int] = Counter()
    for i in range(len(kind)):
        if kind[i] == K.MM_FILEMAP_ADD_TO_PAGE_CACHE:
            ends[a[i]] = max(ends[a[i]], c[i] + (1 << order[i]))
    files: dict[int, Cache] = {}
    streams: dict[tuple[int, int], Stream] = {}
    added: dict[tuple[int, int], set[int]] = {}
    alone: dict[bool, bool] = {}
    last: dict[int, tuple[int, int, int]] = {}
    told: Counter[str] = Counter()
    for i in range(len(kind)):
        cache = files.setdefault(a[i], Cache(ends[a[i]], MOST))
        folio = range(c[i], c[i] + (1 << max(order[i], 0)))
        if kind[i] == K.MM_FILEMAP_ADD_TO_PAGE_CACHE:
            added.setdefault((pid[i], a[i]), set()).update(folio)
            cache.folio |= dict.fromkeys(folio, (c[i], order[i]))
        elif kind[i] == K.MM_FILEMAP_DELETE_FROM_PAGE_CACHE:
            cache.marked.discard(c[i])
            for page in folio:
                cache.folio.pop(page, None)
        else:
            before = last.get(pid[i])
            last[pid[i]] = (a[i], c[i], d[i])
            if before and (before[0], before[2]) == (a[i], d[i]) and before[1] < c[i]:
                continue
            stream = streams.setdefault((pid[i], a[i]), Stream())
            found = added.pop((pid[i], a[i]), set())
            one = c[i] == d[i]
            if found and max(found) > d[i]:
                alone[one] = False
            elif found and stream.prev == c[i]:
                alone[one] = True
            back = {page: cache.folio.pop(page) for page in found if page in cache.folio}
            cache.read.clear()
            count = min(d[i] + 1, cache.end) - c[i]
            cache.pread(stream, c[i], count, READ_RANDOM if alone.get(one) else 0)
            told["said"] += len(cache.read)
            told["read"] += len(found)
            told["both"] += len(found & {*cache.read})
            for page in cache.read:
                del cache.folio[page]
            cache.folio |= back
            cache.marked = {cache.folio.get(page, (page, 0))[0] for page in cache.marked}
    assert told["read"] > 150_000
    assert abs(told["said"] - told["read"]) < 0.02 * told["read"]
    assert told["both"] > 0.9 * told["read"]


@pytest.mark.parametrize("count", [-1, 1 << 31, 1 << 62, 1 << 63])
@pytest.mark.parametrize("name", ["file_pages", "longest_readahead"])
def test_counts_of_files_that_nobody_counted_are_refused(tmp_path: Path, name: str, count: int) -> None:
    with pytest.raises(KevacuateError, match="no reconstruction counts"):
        fed(recorded(tmp_path, Script(), **{"file_pages": NUMBERS, name: count}))


def test_a_read_of_more_pages_than_the_machine_has_is_one(tmp_path: Path) -> None:
    """A read() of a large file: how many pages it asks for is no object's id."""
    script = Script()
    script.add(DemandOp.READ, 1 << 20, gfp=1 << 21, aux=1, mt=1)
    run = fed(recorded(tmp_path, script, file_pages=NUMBERS))
    assert run.state.view.stat.refault_pages == 0


def test_a_folio_in_base_pages_has_none_behind_those_that_it_has(tmp_path: Path) -> None:
    """A forged demand places it twice: what it left is nobody's, no other object's."""
    run = whole_file(tmp_path, [1] * (PAGES // 2))
    first = run.state.view.stat.first_base_page
    run.state.obj[100] = OBJ_BASE_PAGES - 1
    run.state.obj[first - 100] = k.OBJ_DROPPED
    script = Script()
    script.add(DemandOp.PLACE, 100, 1, mt=1, aux=FIRST + 100)
    read_row(script, FIRST, 1, READ_RANDOM)
    begin = run.state.view.stat.now + 1
    script.rows = [(begin + row[0], *row[1:]) for row in script.rows]
    run.feed(script.chunk())
    assert run.state.view.stat.refault_pages == 0
    assert run.state.obj[first - 100] == k.OBJ_DROPPED


def test_a_demand_that_begins_with_rows_of_files_alone_is_scaled(tmp_path: Path) -> None:
    script = Script()
    for _ in range(ROWS_AT_ONCE // 128 + 1):
        read_row(script, FIRST, 1)
    script.alloc(100)
    script.free(100)
    path = recorded(tmp_path, script, file_pages=NUMBERS, allocs=1)
    assert scale(path, tmp_path / "more.kev", memory=128).rows == 2 * 128


def test_a_folio_with_another_in_the_place_of_some_of_its_pages_is_read_whole(tmp_path: Path) -> None:
    """Read as less than it was, it would contradict its own rows."""
    run = whole_file(tmp_path, [2] * (PAGES // 4))
    script = Script()
    script.alloc(300, 0, **READ)
    script.add(DemandOp.PLACE, 300, 0, mt=1, aux=FIRST + 1)
    script.alloc(301, 0, **READ)
    script.add(DemandOp.PLACE, 301, 0, mt=1, aux=FIRST + 7)
    later(script, run)
    drop(run, 100)
    drop(run, 101)
    script = Script()
    read_row(script, FIRST, 1, READ_RANDOM)
    script.add(DemandOp.RECLAIM, 100, 2, aux=4)
    script.add(DemandOp.SPLIT, 101, 2, aux=302)
    read_row(script, FIRST + 6, 1, READ_RANDOM)
    script.add(DemandOp.RECLAIM, 302, 1, aux=8)
    later(script, run)
    assert run.state.view.stat.refault_pages == 6


@pytest.mark.skipif(not (RECORDED / "trace").is_dir(), reason="needs KEVACUATE_GROUND_TRUTH")
def test_recorded_faults_read_up_to_where_the_mapping_ends() -> None:
    """What is missing from the fault on, as far as faults have mapped the file; all of the file would be more."""
    kinds = (
        K.MM_FILEMAP_ADD_TO_PAGE_CACHE,
        K.MM_FILEMAP_DELETE_FROM_PAGE_CACHE,
        K.MM_FILEMAP_GET_PAGES,
        K.MM_FILEMAP_FAULT,
        K.MM_FILEMAP_MAP_PAGES,
    )
    kind, a, c, d, order, pid = recorded_events(kinds)
    mapped: Counter[int] = Counter()
    ends: Counter[int] = Counter()
    for i in range(len(kind)):
        if kind[i] == K.MM_FILEMAP_MAP_PAGES:
            mapped[a[i]] = max(mapped[a[i]], d[i] + 1)
        elif kind[i] == K.MM_FILEMAP_ADD_TO_PAGE_CACHE:
            ends[a[i]] = max(ends[a[i]], c[i] + (1 << order[i]))
    cached: dict[int, set[int]] = {}
    faults: dict[int, tuple[int, set[int], int, set[int]]] = {}
    told: Counter[str] = Counter()
    for i in range(len(kind)):
        cache = cached.setdefault(a[i], set())
        folio = range(c[i], c[i] + (1 << max(order[i], 0)))
        if kind[i] == K.MM_FILEMAP_ADD_TO_PAGE_CACHE:
            cache.update(folio)
            if pid[i] in faults and faults[pid[i]][0] == a[i]:
                faults[pid[i]][3].update(folio)
        elif kind[i] == K.MM_FILEMAP_DELETE_FROM_PAGE_CACHE:
            cache.difference_update(folio)
        else:
            if pid[i] in faults:
                _, said, whole, read = faults.pop(pid[i])
                told.update(misses=1, exact=said == read, whole=whole, read=len(read), both=len(said & read))
            if kind[i] == K.MM_FILEMAP_FAULT and c[i] not in cache:
                window = {*range(c[i], min(c[i] + MOST, ends[a[i]]))} - cache
                said = {page for page in window if page < mapped[a[i]]}
                faults[pid[i]] = (a[i], said, len(window), set())
    assert told["misses"] > 50
    assert told["exact"] >= told["misses"] - 2
    assert told["both"] > 0.99 * told["read"]
    assert told["whole"] > 1.1 * told["read"]
