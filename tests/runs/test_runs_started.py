# SPDX-License-Identifier: GPL-2.0-or-later
"""Start states: taken from replays, saved and read back, scaled, and begun from."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from workload_book import workload

import kevacuate
from kevacuate import KevacuateError, ReplayOptions, StartState
from kevacuate.demand.build import Demand, build_demand
from kevacuate.demand.start_objects import pages_in_use, start_objects
from kevacuate.kernel.pageflags import KPF_ACTIVE, KPF_BUDDY, KPF_REFERENCED, flag
from kevacuate.measure.startfile import read_start
from kevacuate.mm import constants as k
from kevacuate.mm.check import check
from kevacuate.mm.read_state import read_free_lists, read_pcp_lists
from kevacuate.policy import parse_policy
from kevacuate.recording import DemandChunk, DemandOp
from kevacuate.runs.alive import Alive
from kevacuate.runs.replay import Replay
from kevacuate.runs.scaled_start import scaled, scaled_start, scaling_of
from kevacuate.runs.start import run_until, start_state
from kevacuate.runs.taken import folio_flags, state_of, taken
from kevacuate.workload import describe as ds
from kevacuate.workload.started import behind

DATA = Path(__file__).parents[1] / "data"
PARTS = (
    ds.Anonymous(memory="25%", tasks=4, lifetime="300ms", pause="20ms", thp=0.5),
    ds.PageCache(files="60%", cached="25%", reads="60MiB/s", file="256KiB", written=0.1, deleted="3%"),
    ds.Slab(memory="8%", lifetime="200ms", long=0.2, long_lifetime="3s"),
)
SMALL = workload(
    ds.Anonymous(memory="6MiB", tasks=2, lifetime="100ms"), ds.Slab(memory="1MiB"), cpus=2, duration="1s"
)


@cache
def used() -> StartState:
    """What a busy workload leaves."""
    return start_state(workload(*PARTS, cpus=2, duration="2s"), policy="mainline")


def begun(start: StartState, demand: object = SMALL, loop: str = "open", seed: int = 0) -> Replay:
    """A replay on a start state that has not begun."""
    recording = kevacuate.open(demand, start=start)  # type: ignore[arg-type]
    made = build_demand(recording)
    return Replay(recording, made, parse_policy("mainline"), ReplayOptions(loop=loop, seed=seed))


def test_a_state_that_is_taken_and_begun_from_is_the_same_state() -> None:
    start = used()
    replay = begun(start, loop="closed")
    check(replay.state)
    assert start.lru_order == "left"
    assert replace(start, state=state_of(replay, start.state)).digest == start.digest
    replay = begun(
        start, loop="open"
    )  # which has no LRU lists: who is active or referenced is not carried over
    check(replay.state)
    again, flags = state_of(replay, start.state), start.state.page_flags
    assert flags is not None
    hidden = ~np.uint64(1 << KPF_REFERENCED | 1 << KPF_ACTIVE)
    assert np.array_equal(again.page_flags, flags & hidden)  # type: ignore[arg-type]
    kept = {"page_flags": flags, "lru": start.state.lru, "reclaim": start.state.reclaim}
    assert replace(start, state=replace(again, **kept)).digest == start.digest


def continued(replay: Replay, demand: Demand, first: int, t: int, shadows: int = 0) -> None:
    """Feed the demand to a replay, with object ids from *first* on, from *t* ns on; its shadows follow so many others."""
    end = t
    for chunk in demand.chunks(closed=replay.loop.closed):
        rows = behind(chunk, first)
        op, aux = rows.op, rows.aux
        named = np.isin(op, (DemandOp.ALLOC, DemandOp.RECLAIM, DemandOp.TRUNCATE, DemandOp.GATHER)) & (
            aux > 0
        )
        own = rows.obj + (op == DemandOp.GATHER) * np.int32(shadows)
        rows = rows._replace(obj=own, aux=aux + named * np.int32(shadows))
        replay.feed(rows._replace(t=rows.t + t))
        end = int(rows.t[-1]) + t
    replay.advance(end + 1_000_000_000)


SHADOWS = 1 << 15


def roomier(demand: Demand, more: Demand) -> Demand:
    """The demand, which says that it needs room for the other's objects too, and for its shadows from SHADOWS on."""
    _ = demand.spans, more.spans
    assert demand.quality.peak_shadows <= SHADOWS
    peak, shadows = (one.quality.peak_objects for one in (demand, more)), SHADOWS + more.quality.peak_shadows
    quality = replace(demand.quality, peak_objects=sum(peak), peak_shadows=shadows)
    return Demand(
        demand.start_objects, lambda _: demand.chunks(closed=True), demand.kinds, quality, demand.spans
    )


MORE = {
    "open": (
        ds.Anonymous(memory="10MiB", tasks=3, lifetime="60ms", thp=0.5),
        ds.Slab(memory="3MiB", lifetime="99ms"),
    ),
    "closed": (
        ds.Anonymous(memory="20%", tasks=3, lifetime="60ms", thp=0.5),
        ds.PageCache(files="50%", cached="30%", reads="60MiB/s", file="256KiB", written=0.1, deleted="3%"),
    ),
}


@pytest.mark.parametrize("policy", ["mainline", "evacuate"])
@pytest.mark.parametrize("loop", ["open", "closed"])
def test_a_replay_goes_on_from_a_file_as_it_would_have_in_memory(
    tmp_path: Path, loop: str, policy: str
) -> None:
    recording = kevacuate.open(workload(*PARTS, cpus=2, duration="2s"))
    more = workload(*MORE[loop], cpus=2, duration="3s" if loop == "open" else "2s", fill="200ms")
    own, demand, options = (
        build_demand(recording),
        build_demand(kevacuate.open(more)),
        ReplayOptions(loop=loop),
    )
    first = Replay(recording, roomier(own, demand), parse_policy(policy), options)
    start = taken(first, run_until(first, None, Alive(own.start_objects)))
    assert start.lru_order == ("left" if loop == "closed" else "stated")
    before = first.state.view.stat.drains, first.state.view.stat.pgsteal_kswapd
    continued(first, demand, own.quality.peak_objects, start.made[-1]["at_ns"], SHADOWS)
    seconds = []
    for state in (start.state, replace(start.state, lru=None, reclaim={})):
        where = tmp_path / f"used-{len(seconds)}.kev"
        opened = kevacuate.open(more, start=replace(start, state=state).save(where))
        seconds.append(Replay(opened, build_demand(opened), parse_policy(policy), options))
        if state is start.state:
            begin = state_of(seconds[0], start.state)
            assert replace(start, state=begin).digest == start.digest
        continued(seconds[-1], demand, len(seconds[-1].demand.start_objects.pfn), 0)
    second, stated = seconds
    assert second.state.view.stat.drains == first.state.view.stat.drains - before[0] > 500
    assert second.state.view.stat.pgsteal_kswapd == first.state.view.stat.pgsteal_kswapd - before[1]
    ends = [taken(one, one.state.view.stat.now) for one in (first, second, stated)]
    same = [replace(one, machine=start.machine, made=()).digest for one in ends]
    assert same[0] == same[1] != start.digest
    assert (same[1] == same[2]) == (loop == "open"), "in a closed loop the order of the LRU lists matters"
    assert loop == "open" or second.state.view.stat.pgsteal_kswapd > 1000


def test_the_lists_are_those_that_the_links_make() -> None:
    replay = begun(used())
    replay.run()
    view, link = replay.state.view, replay.state.link
    free, pcp = read_free_lists(replay.state), read_pcp_lists(replay.state)
    found: list[tuple[int, int, int, int]] = []
    for z in range(view.cfg.nr_zones):
        for order in range(view.cfg.max_page_order + 1):
            for mt in range(k.MIGRATE_TYPES):
                head = view.cfg.npages + z * k.LISTS_PER_ZONE + order * k.NR_TYPES + mt
                at = int(link[2 * head])
                while at != head:
                    found.append((z, order, mt, at))
                    at = int(link[2 * at])
    assert list(zip(*(column.tolist() for column in free), strict=True)) == found
    assert len(pcp.pfn) == sum(own.count > 0 for own in view.pcp) or len(pcp.pfn) > 0


def test_a_list_that_does_not_end_is_refused() -> None:
    state = begun(used()).state
    free = read_free_lists(state)
    a, b = (int(pfn) for pfn in free.pfn[(free.order == 0)][:2])
    state.link[2 * a], state.link[2 * b] = b, a
    with pytest.raises(KevacuateError, match="does not end"):
        read_free_lists(state)


def test_a_file_gives_equal_replays(tmp_path: Path) -> None:
    start = used()
    where = start.save(tmp_path / "used.kev")
    assert read_start(where).digest == start.digest
    assert start_state(where).made == start.made
    runs = [kevacuate.replay(kevacuate.open(SMALL, start=one)) for one in (start, where, str(where))]
    digests = {run.provenance["final_state_digest"] for run in runs}
    assert len(digests) == 1
    assert runs[0].provenance["start"]["digest"] == runs[1].provenance["start"]["digest"] == start.digest
    own = kevacuate.replay(SMALL)
    assert own.provenance["final_state_digest"] not in digests
    assert "start" not in own.provenance
    assert own.provenance["recording_digest"] != runs[0].provenance["recording_digest"]


def test_page_flags_show_what_the_model_has() -> None:
    start = used()
    flags = start.state.page_flags
    assert flags is not None
    sizes = 1 << start.state.free.order.astype(np.int64)
    assert int(flag(flags, KPF_BUDDY).sum()) == int(sizes.sum())
    anon, clean, dirty = (int(word) for word in folio_flags(np.array([1, 3, 7])))
    assert (anon >> 12 & 1, clean >> 12 & 1, clean >> 4 & 1, dirty >> 4 & 1) == (1, 0, 0, 1)
    assert folio_flags(np.array([0, k.ATTR_PINNED])).tolist() == [0, 0]


@pytest.mark.parametrize("loop", ["open", "closed"])
def test_a_recorded_demand_runs_on_another_start_state(loop: str) -> None:
    source = DATA / "one-cpu.kev"
    recording = kevacuate.open(source)
    roomy = start_state(SMALL, policy="mainline") if loop == "open" else used()
    large = start_state_of(roomy, "2GiB")
    replay = begun(large, source, loop)
    first, own = len(replay.demand.start_objects.pfn), build_demand(recording)
    count, closed = len(own.start_objects.pfn), loop == "closed"
    made, before = (joined(one.chunks(closed=closed)) for one in (replay.demand, own))
    assert set(made.op[:count].tolist()) == {DemandOp.ALLOC}
    assert made.obj[:count].tolist() == list(range(first, first + count))
    assert made.order[:count].tolist() == own.start_objects.order.tolist()
    kept = before.op != DemandOp.FREE_PFN
    assert (~kept).sum() > 10
    rest, old = (
        DemandChunk._make(column[which] for column in rows)
        for rows, which in ((made, slice(count, None)), (before, kept))
    )
    for op, shifted in ((DemandOp.FREE, True), (DemandOp.SPLIT, True), (DemandOp.TRUNCATE, False)):
        mine = old.op == op
        assert np.array_equal(rest.obj[mine], old.obj[mine] + (first if shifted else 0))
        assert np.array_equal(rest.aux[mine], old.aux[mine] + (first if op == DemandOp.SPLIT else 0))
    run = replay.run()
    check(replay.state)
    assert run.metrics["demand_rows"] == len(made.t)
    assert run.metrics["allocations_failed"] == 0


def joined(chunks: Iterable[DemandChunk]) -> DemandChunk:
    """All rows."""
    return DemandChunk(*(np.concatenate(columns) for columns in zip(*chunks, strict=True)))


def start_state_of(start: StartState, memory: str = "1GiB", cpus: int | None = None) -> StartState:
    """A start state, scaled."""
    from kevacuate.runs.start import bytes_of

    return scaled(start, bytes_of(memory), cpus)


@pytest.mark.parametrize("memory", ["1GiB", "200MiB", "40MiB", "3GiB"])
def test_scaling_keeps_shares(memory: str) -> None:
    one = ds.Workload(
        machine=ds.Machine(memory="64MiB", zones="one", cpus=2), parts=PARTS, duration="2s", fill="1s"
    )
    start = start_state(one, policy="mainline")
    made = start_state_of(start, memory)
    before, after = start.shares, made.shares
    near = 0.04 if memory.endswith("GiB") else 0.1  # fewer units than the source, or three times and a bit
    for name in ("free", "free_huge", "mixed", "polluted"):
        assert after[name] == pytest.approx(before[name], abs=near), name
    for name, share in before["types"].items():
        assert after["types"][name] == pytest.approx(share, abs=near), name
    replay = begun(made, loop="closed")
    check(replay.state)
    again = replace(state_of(replay, made.state), due={}, lru=None, reclaim={})  # which begin anew
    assert replace(made, state=again).digest == made.digest


def test_twice_the_zone_is_each_list_twice_in_turn() -> None:
    start = start_state_of(used(), "64MiB")
    twice = start_state_of(start, "112MiB")  # the zone DMA stays, the other is doubled
    dma, normal = (zone.spanned for zone in start.state.zones)
    assert [zone.spanned for zone in twice.state.zones] == [dma, 2 * normal]
    for order in range(4):
        lists = []
        for one in (start, twice):
            free = one.state.free
            mine = (free.zone == 1) & (free.order == order) & (free.mt == k.MIGRATE_MOVABLE)
            lists.append((free.pfn[mine] - one.state.zones[1].start_pfn).tolist())
        short, long = lists
        assert long == [pfn + shift for pfn in short for shift in (0, normal)]


def test_whole_copies_are_the_same_by_size_and_by_number() -> None:
    one = ds.Workload(
        machine=ds.Machine(memory="64MiB", zones="one", cpus=2, reserved=0),
        parts=PARTS,
        duration="1s",
        fill="1s",
    )
    start = start_state(one, policy="mainline")
    by_size = start_state_of(start, "192MiB", 4)
    objects = start_objects(start.state, pages_in_use(start.state, start.machine.hugepage_order))
    whole = scaled_start(
        start.machine, start.state, objects, scaling_of(start.machine, start.state, copies=3, groups=2)
    )
    digests = [replace(by_size, machine=whole.machine, state=s).digest for s in (by_size.state, whole.state)]
    assert digests[0] == digests[1]
    assert len(whole.objects.pfn) == 3 * len(objects.pfn)


def test_reserves_grow_with_the_zones_above_and_a_chosen_min_free_kbytes_stays() -> None:
    start = start_state_of(used(), "128MiB")
    dma, above = start.state.zones
    assert dma.lowmem_reserve[1] == above.managed // 256 > 0
    objects = start_objects(start.state, pages_in_use(start.state, start.machine.hugepage_order))
    whole = scaled_start(start.machine, start.state, objects, scaling_of(start.machine, start.state, 4, 1))
    for large in (whole.state, start_state_of(start, "512MiB").state):
        assert large.zones[0].lowmem_reserve[1] == large.zones[1].managed // 256 > 3 * dma.lowmem_reserve[1]
    settings = {"min_free_kbytes": 20_000, "watermark_scale_factor": 10}
    chosen = replace(
        start, machine=replace(start.machine, extra={**start.machine.extra, "settings": settings})
    )
    made = start_state_of(chosen, "1GiB")
    assert made.machine.extra["settings"] == settings
    assert sum(zone.watermark[k.WMARK_MIN] for zone in made.state.zones) == pytest.approx(5_000, abs=2)


@pytest.mark.parametrize("zones", ["none", "unknown", "other"])
def test_a_state_of_other_zones_than_its_machines_is_not_scaled(zones: str) -> None:
    start = used()
    own = start.machine.zones
    wrong = {"none": (), "unknown": (replace(own[0], name="Other"), *own[1:]), "other": own[1:]}[zones]
    with pytest.raises(KevacuateError, match="its zones are not those of its machine"):
        start_state_of(replace(start, machine=replace(start.machine, zones=wrong)))


def test_page_flags_that_are_cut_off_are_told() -> None:
    start = used()
    flags = start.state.page_flags
    assert flags is not None
    with pytest.raises(
        KevacuateError, match=r"The start state has page flags of 9 pages, .* record again\.$"
    ):
        kevacuate.replay(
            kevacuate.open(SMALL, start=replace(start, state=replace(start.state, page_flags=flags[:9])))
        )


def test_more_cpus_share_the_per_cpu_pages() -> None:
    made = start_state_of(used(), "1GiB", 8)
    assert made.machine.cpus == 8
    assert len(set(made.state.pcp_pages.cpu.tolist())) == 8
    assert int(made.state.pcp.count.sum()) > 0
    fewer = start_state_of(made, "64MiB", 1)
    assert set(fewer.state.pcp_pages.cpu.tolist()) <= {0}
    check(begun(fewer, workload(ds.Slab(memory="1MiB"), duration="1s")).state)


def test_a_demand_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    start = used()
    much = workload(ds.Anonymous(memory="90%", lifetime="1s"), cpus=2, memory="256MiB", duration="1s")
    with pytest.raises(
        KevacuateError,
        match=r"The demand has up to \d+ MiB at once, and its start state has room for \d+ MiB",
    ):
        kevacuate.replay(kevacuate.open(much, start=start))
    closed = ReplayOptions(loop="closed")
    kevacuate.replay(kevacuate.open(much, start=start), policy="mainline,zram=2G", options=closed)
    kept = used().save(tmp_path / "kept.kev")
    with pytest.raises(KevacuateError, match=r"kept\.kev is a start state, and has no demand"):
        kevacuate.replay(kept)
    many = workload(ds.Slab(memory="1MiB"), cpus=3, duration="1s")
    with pytest.raises(
        KevacuateError, match="runs on 3 CPUs, and the start state start is of a machine with 2"
    ):
        kevacuate.open(many, start=start)
    other = replace(start, machine=replace(start.machine, pageblock_order=10))
    with pytest.raises(KevacuateError, match="has pageblocks of another size"):
        kevacuate.open(SMALL, start=other)
    with pytest.raises(KevacuateError, match="cannot be scaled"):
        start_state_of(other)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"at": 1.0}, "under a policy: name it"),
        ({"aged": True}, "under a policy: name it"),
        ({"policy": "mainline", "aged": True, "at": 1.0}, "leave the time out"),
        ({"policy": "mainline", "free": 2.0}, "free cannot be 2.0"),
        ({"policy": "mainline", "state": "start"}, "give a state or a policy"),
        ({"policy": "mainline", "at": -1.0}, "from 0 to a year"),
        ({"state": "nowhere"}, "has no state 'nowhere'; its states are: start"),
        ({"memory": "half"}, "give a size such as 16GiB"),
        ({"memory": "50%"}, "give a size such as 16GiB"),
        ({"memory": "4MiB"}, "^memory cannot be 4,194,304 bytes on one node: give 32MiB to 2TiB"),
        ({"memory": "8KiB"}, "^memory cannot be 8,192 bytes on one node"),
        ({"tolerance": 0.5}, "A tolerance is of memory that is aged"),
        ({"cpus": 0}, "cpus cannot be 0"),
    ],
)
def test_what_cannot_be_taken_is_refused(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(KevacuateError, match=said):
        start_state(SMALL, **wrong)  # type: ignore[arg-type]


def test_a_damaged_file_is_one_sentence(tmp_path: Path) -> None:
    where = used().save(tmp_path / "used.kev")
    for name in ("states/000/free.parquet", "states/000/page_flags.parquet", "quality.json", "machine.json"):
        broken = tmp_path / "broken.kev"
        shutil.copytree(where, broken)
        data = (broken / name).read_bytes()
        (broken / name).write_bytes(data[: len(data) // 2])
        with pytest.raises(KevacuateError):
            kevacuate.replay(kevacuate.open(SMALL, start=broken))
        shutil.rmtree(broken)
    with pytest.raises(KevacuateError, match="exists already"):
        used().save(where)
    (tmp_path / "mine.txt").write_text("no recording")
    with pytest.raises(KevacuateError):
        kevacuate.open(SMALL, start=tmp_path / "mine.txt")


def test_a_state_in_the_middle_is_taken_where_it_was_asked_for() -> None:
    half = start_state(SMALL, policy="mainline", at=0.5)
    assert half.made[-1]["at_ns"] == 500_000_000
    assert [step["step"] for step in half.made] == ["taken", "replayed"]
    replay = Replay(
        kevacuate.open(SMALL), build_demand(kevacuate.open(SMALL)), parse_policy("mainline"), ReplayOptions()
    )
    for chunk in replay.demand.chunks():
        count = int(chunk.t.searchsorted(500_000_000, "right"))
        replay.feed(type(chunk)._make(column[:count] for column in chunk))
        if count < chunk.t.size:
            break
    replay.advance(500_000_000)
    start = replay.recording.start
    assert start is not None
    assert replace(half, state=state_of(replay, start, 500_000_000)).digest == half.digest


def test_how_it_came_about_is_kept_as_json(tmp_path: Path) -> None:
    start = used()
    kept = json.loads((start.save(tmp_path / "used.kev") / "quality.json").read_text())
    assert kept["start"] == list(start.made)


@pytest.mark.parametrize("loop", ["open", "closed"])
def test_memory_is_aged_until_it_rests(loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from kevacuate.runs import aged

    options = ReplayOptions(loop=loop)
    busy = workload(*PARTS, cpus=2, duration="1s")
    made = start_state(busy, policy="mainline", aged=True, tolerance=1.0, free=0.5, options=options)
    step = next(one for one in made.made if one["step"] == "aged")
    assert {len(values) for values in step["series"].values()} == {aged.LOOKS[0]}
    assert len(set(step["series"]["mixed"])) > 1  # each round is another draw
    whole = start_state(busy, policy="mainline", options=options).shares["free"]
    assert made.shares["free"] > whole + 0.2
    again = start_state(busy, policy="mainline", aged=True, tolerance=1.0, free=0.5, options=options)
    assert again.digest == made.digest
    check(begun(made, loop=loop).state)
    monkeypatch.setattr(aged, "LOOKS", (5, 6))
    with pytest.raises(
        KevacuateError, match=r"After 6 rounds the memory has not come to rest: the share of \w+ pageblocks"
    ):
        start_state(busy, policy="mainline", aged=True, tolerance=1e-9, options=options)


@pytest.mark.parametrize("loop", ["open", "closed"])
def test_when_its_programs_exit_nothing_of_the_demand_is_left(loop: str) -> None:
    from kevacuate.runs.aged import _exit

    recording = kevacuate.open(workload(*PARTS, cpus=2, duration="1s"))
    demand = build_demand(recording)
    _ = demand.spans
    replay = Replay(recording, demand, parse_policy("mainline"), ReplayOptions(loop=loop))
    before = sum(zone.nr_free_pages for zone in replay.state.view.zone)
    alive = Alive(demand.start_objects)
    end = run_until(replay, None, alive)
    _exit(replay, alive, end, 0)
    replay.advance(end + 1_000_000_000)
    check(replay.state)
    view = replay.state.view
    cached = sum(pcp.count for pcp in view.pcp)
    assert sum(zone.nr_free_pages for zone in view.zone) + cached == before
    assert alive.frees(end, 1, 1.0, 0).t.size == 0


def test_a_recording_is_aged_too() -> None:
    from kevacuate.runs import aged

    source = kevacuate.open(DATA / "one-cpu.kev")
    demand = build_demand(source)
    replay = Replay(source, demand, parse_policy("mainline"), ReplayOptions(loop="closed"))
    rounds = [joined(aged._round(replay, demand, number)) for number in (0, 1)]
    count = len(demand.start_objects.pfn)
    assert set(rounds[1].op[:count].tolist()) == {DemandOp.ALLOC}
    kept = rounds[0].op != DemandOp.FREE_PFN
    assert np.array_equal(rounds[1].obj[count:], rounds[0].obj[kept])


@pytest.mark.parametrize("due", [-1, 1 << 50])
def test_background_work_that_cannot_be_due_is_refused(due: int) -> None:
    wrong = replace(used(), state=replace(used().state, due={"vmstat0": due}))
    with pytest.raises(KevacuateError, match="background work that is overdue or hours away"):
        begun(wrong)


def forged(start: StartState, **columns: int) -> StartState:
    """The start state, with these values in the first row of its LRU lists."""
    lru = start.state.lru
    assert lru is not None
    changed = {}
    for name, value in columns.items():
        changed[name] = getattr(lru, name).copy()
        changed[name][0] = value
    return replace(start, state=replace(start.state, lru=lru._replace(**changed)))


@pytest.mark.parametrize(
    "columns", [{"lru": 7}, {"owner": 1}, {"lru": 5, "owner": 2}, {"owner": -1}, {"pfn": -1}], ids=str
)
def test_lru_lists_that_cannot_be_are_refused(columns: dict[str, int]) -> None:
    start = used()
    begun(forged(start, owner=0), loop="closed")
    lru = start.state.lru
    assert lru is not None
    columns = {name: int(lru.pfn[1]) if name == "pfn" else value for name, value in columns.items()}
    with pytest.raises(KevacuateError, match="The start state holds LRU lists that cannot be"):
        begun(forged(start, **columns), loop="closed")


@pytest.mark.parametrize(
    "figures", [{"anon_cost0": -1}, {"kswapd_state0": 2}, {"kswapd_highest_zoneidx0": 4}, {"flush_due": 1 << 63}],
    ids=str,
)  # fmt: skip
def test_figures_of_reclaim_that_cannot_be_are_refused(figures: dict[str, int]) -> None:
    start = used()
    wrong = replace(start, state=replace(start.state, reclaim={**start.state.reclaim, **figures}))
    with pytest.raises(KevacuateError, match="The start state holds figures of reclaim that cannot be"):
        begun(wrong, loop="closed")


def test_zones_that_no_machine_has_are_refused_before_memory_is_taken(tmp_path: Path) -> None:
    start = used()
    zone = replace(start.state.zones[0], spanned=1 << 30)
    wrong = replace(start, state=replace(start.state, zones=(zone,)))
    wrong.save(tmp_path / "long.kev")
    with pytest.raises(
        KevacuateError, match=r"long\.kev has zones up to pfn .* less than 1,073,741,824 page frames"
    ):
        kevacuate.replay(kevacuate.open(SMALL, start=tmp_path / "long.kev"))


GIGANTIC = ds.Workload(
    machine=ds.Machine(memory="4GiB", cpus=2, zones="one"),
    parts=(ds.Anonymous(memory="4MiB"), ds.GiganticRequests(count=2, lifetime="2s")),
    duration="10s",
)


@pytest.mark.parametrize("free", [0.0, 1.0])
def test_a_state_taken_while_pages_of_a_gibibyte_are_held_is_begun_from(tmp_path: Path, free: float) -> None:
    options = kevacuate.ReplayOptions(loop="closed")
    start = start_state(GIGANTIC, policy="mainline", at=0.25, options=options, free=free)
    assert start.shares["free"] == pytest.approx(1.0 if free else 0.5, abs=0.01), (
        "two of four are held until they are freed"
    )
    start.save(tmp_path / "held.kev")
    recording = kevacuate.open(GIGANTIC, start=tmp_path / "held.kev")
    run = kevacuate.replay(recording, options=options)
    assert run.metrics["contig"]["failed"] == (0 if free else 2)
    assert run.metrics["contig"]["served"] + run.metrics["contig"]["failed"] == 6
