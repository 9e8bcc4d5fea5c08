# SPDX-License-Identifier: GPL-2.0-or-later
"""The two loops: what the recorded kernel reclaimed is freed, or stays with the model until it is read again or given up."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import synthetic
from synthetic import FILE, START_OBJECTS, Script, write_recording

from kevacuate.demand.build import build_demand
from kevacuate.demand.pagekinds import PageKindModel
from kevacuate.demand.quality import DemandQuality
from kevacuate.errors import KevacuateError
from kevacuate.kernel.gfp import GFP_WRITE
from kevacuate.mm import constants as k
from kevacuate.mm import entry
from kevacuate.mm.check import check
from kevacuate.policy import parse_policy
from kevacuate.recording import DemandOp, Recording
from kevacuate.recording.demand import DEMAND_TYPES, DemandChunk
from kevacuate.runs import loop_choice
from kevacuate.runs.initial_state import SHARED_CPU_SLICE_NS, machine_config
from kevacuate.runs.loop_choice import choose_loop
from kevacuate.runs.options import ReplayOptions
from kevacuate.runs.replay import Replay, replay

OBJECTS, SHADOWS = 300, 64
PAGES_OF_CACHE = 12_000
MOVABLE = {"mt": k.MIGRATE_MOVABLE, "attr": FILE}


def reclaim(script: Script, obj: int, order: int, shadow: int) -> None:
    script.add(DemandOp.RECLAIM, obj, order, aux=shadow)


def access(script: Script, obj: int, order: int = 0) -> None:
    script.add(DemandOp.ACCESS, obj, order, **MOVABLE)


def truncate(script: Script, shadow: int, order: int = 0) -> None:
    script.add(DemandOp.TRUNCATE, 0, order, aux=shadow)


def recorded(tmp_path: Path, script: Script, **counts: int) -> Path:
    """A recording with that demand and its counts."""
    quality = DemandQuality(
        **{"alloc_events": 1, "peak_objects": OBJECTS, "peak_shadows": SHADOWS, "reclaimed": 1} | counts
    )
    facts = {"quality": quality.as_dict(), "page_kinds": asdict(PageKindModel())}
    return write_recording(tmp_path / "made.kev", script, facts=facts)


def fed(path: Path, loop: str = "closed") -> Replay:
    """A replay of all rows, before its last sample."""
    recording = Recording.open(path)
    run = Replay(recording, build_demand(recording), parse_policy("mainline"), ReplayOptions(loop=loop))
    run._next_sample = run._interval = k.NEVER
    for chunk in run.demand.chunks(closed=run.loop.closed):
        run.feed(chunk)
    check(run.state)
    return run


def drop(run: Replay, obj: int) -> None:
    """Drop an object as reclaim does: with a shadow entry, here of age 7 on node 0 and of the workingset."""
    entry.free(run.state, 0, int(run.state.obj[obj]))
    run.state.obj[obj] = -2
    at = 2 * (run.state.view.cfg.lru_first + obj)
    run.state.lru[at : at + 2] = (7, 1)


def shadow_pfn(run: Replay, shadow: int) -> int:
    return int(run.state.obj[run.state.view.stat.first_shadow + shadow])


def large_folio() -> Script:
    """Object 100, of order 3, is reclaimed as shadows 8 to 15."""
    script = Script()
    script.alloc(100, 3, **MOVABLE)
    reclaim(script, 100, 3, 8)
    return script


def test_a_reclaimed_folio_stays_where_it_is(tmp_path: Path) -> None:
    path = recorded(tmp_path, large_folio())
    run, freed = fed(path), fed(path, "open")
    pfn = shadow_pfn(run, 8)
    assert run.state.meta[pfn] == k.CHUNK_ALLOC << 4 | 3
    assert run.state.obj[100] == -1
    assert run.state.link[2 * pfn] == run.state.view.stat.first_shadow + 8
    assert (run.state.view.stat.kept_pages, run.state.view.stat.frees) == (8, 0)
    assert (freed.state.view.stat.kept_pages, freed.state.view.stat.frees) == (0, 1)
    assert freed.state.view.cfg.open_loop
    assert not run.state.view.cfg.open_loop


def test_a_page_read_again_is_the_same_page(tmp_path: Path) -> None:
    script = large_folio()
    script.alloc(101, 3, aux=8, **MOVABLE)
    run = fed(recorded(tmp_path, script))
    pfn = int(run.state.obj[101])
    assert run.state.link[2 * pfn] == 101
    assert run.state.view.stat.hit_pages == 8
    assert run.state.view.stat.allocs == 1
    assert shadow_pfn(run, 8) == -1


@pytest.mark.parametrize(("shadow", "order"), [(8, 0), (11, 0), (12, 2), (10, 1), (15, 0)])
def test_a_part_read_again_is_that_part_of_the_folio(tmp_path: Path, shadow: int, order: int) -> None:
    first = shadow_pfn(fed(recorded(tmp_path / "whole", large_folio())), 8)
    script = large_folio()
    script.alloc(101, order, aux=shadow, **MOVABLE)
    for rest in range(8, 16):
        if not shadow <= rest < shadow + (1 << order):
            truncate(script, rest)
    run = fed(recorded(tmp_path / "part", script))
    assert run.state.obj[101] == first + shadow - 8
    assert run.state.view.stat.hit_pages == 1 << order
    assert run.state.view.stat.truncated_pages == 8 - (1 << order)


def test_what_is_given_up_is_freed_whole(tmp_path: Path) -> None:
    script = large_folio()
    truncate(script, 8, 3)
    script.alloc(101, 3, aux=8, **MOVABLE)  # nothing is left of it: read anew
    run = fed(recorded(tmp_path, script))
    assert run.state.view.stat.truncated_pages == 8
    assert (run.state.view.stat.frees, run.state.view.stat.allocs) == (1, 2)
    assert run.state.view.stat.hit_pages == 0


def test_a_use_marks_a_page_and_reads_a_dropped_one_again(tmp_path: Path) -> None:
    script = Script()
    script.alloc(100, 1, **MOVABLE)
    script.alloc(101, 0, **MOVABLE)
    run = fed(recorded(tmp_path, script))
    drop(run, 100)
    uses = Script()
    access(uses, 100, 1)
    access(uses, 101)
    uses.rows = [(1 << 40, *row[1:]) for row in uses.rows]
    run.feed(uses.chunk())
    again = int(run.state.obj[100])
    assert again >= 0
    assert run.state.meta[again] == k.CHUNK_ALLOC << 4 | 1
    assert run.state.view.stat.refault_pages == 2
    assert all(run.state.link[2 * int(run.state.obj[o]) + 1] & k.ATTR_REFERENCED for o in (100, 101))
    check(run.state)


def test_what_the_model_dropped_leaves_no_shadow(tmp_path: Path) -> None:
    script = Script()
    script.alloc(100, 0, **MOVABLE)
    run = fed(recorded(tmp_path, script))
    drop(run, 100)
    more = Script()
    reclaim(more, 100, 0, 1)
    more.alloc(101, 0, aux=1, **MOVABLE)
    more.rows = [(1 << 40, *row[1:]) for row in more.rows]
    run.feed(more.chunk())
    assert (run.state.view.stat.kept_pages, run.state.view.stat.hit_pages) == (0, 0)
    assert run.state.view.stat.allocs == 2


def singles(dropped: tuple[int, ...], tmp_path: Path) -> Replay:
    """Objects 100 to 103 are reclaimed as shadows 1 to 4; the model has dropped some of them before."""
    script = Script()
    for obj in range(100, 104):
        script.alloc(obj, 0, **MOVABLE)
    run = fed(recorded(tmp_path, script))
    for obj in dropped:
        drop(run, obj)
    return run


def gathered(run: Replay, gfp: int = 0) -> None:
    """Shadows 1 to 3 and one page more are read as object 104, of order 2."""
    more = Script()
    for shadow in range(1, 5):
        reclaim(more, 99 + shadow, 0, shadow)
    for shadow, source in zip(range(8, 12), (1, 2, 3, 0), strict=True):
        more.add(DemandOp.GATHER, shadow, aux=source)
    more.alloc(104, 2, aux=8, gfp=gfp, **MOVABLE)
    more.rows = [(1 << 40, *row[1:]) for row in more.rows]
    run.feed(more.chunk())
    check(run.state)


def test_gathered_pages_that_the_model_has_are_base_pages_of_the_new_object(tmp_path: Path) -> None:
    run = singles((101,), tmp_path)
    kept = [int(run.state.obj[obj]) for obj in (100, 102)]
    gathered(run)
    base = run.state.view.stat.first_base_page
    pages = [int(pfn) for pfn in run.state.obj[base : base + 4]]
    assert run.state.obj[104] < -4
    assert [pages[0], pages[2]] == kept
    assert min(pages) >= 0
    stat = run.state.view.stat
    assert (stat.hit_pages, stat.workingset_refault_file, stat.allocs) == (2, 1, 6)
    assert shadow_pfn(run, 4) >= 0


def test_gathered_pages_that_the_model_has_dropped_are_one_refault(tmp_path: Path) -> None:
    run = singles((100, 101, 102), tmp_path)
    gathered(run)
    pfn = int(run.state.obj[104])
    assert run.state.meta[pfn] == k.CHUNK_ALLOC << 4 | 2
    assert (run.state.view.stat.hit_pages, run.state.view.stat.workingset_refault_file) == (0, 4)


def test_what_is_written_anew_is_no_refault(tmp_path: Path) -> None:
    for name, gfp, refaults in (("read", 0, 1), ("write", GFP_WRITE, 0)):
        run = singles((100,), tmp_path / name)
        more = Script()
        reclaim(more, 100, 0, 1)
        more.alloc(101 + 10, 0, aux=1, gfp=gfp, **MOVABLE)
        more.rows = [(1 << 40, *row[1:]) for row in more.rows]
        run.feed(more.chunk())
        assert run.state.view.stat.workingset_refault_file == refaults


def test_a_use_by_page_table_leaves_its_bit(tmp_path: Path) -> None:
    script = Script()
    script.alloc(100, 0, **MOVABLE)
    for _ in range(3):
        script.add(DemandOp.ACCESS, 100, 0, aux=1, **MOVABLE)
    run = fed(recorded(tmp_path, script))
    attr = int(run.state.link[2 * int(run.state.obj[100]) + 1])
    assert attr & (k.ATTR_YOUNG | k.ATTR_REFERENCED | k.ATTR_ACTIVE) == k.ATTR_YOUNG


def test_rows_are_late_where_kswapd_had_the_cpu_and_catch_up_while_tasks_wait(tmp_path: Path) -> None:
    script = Script()
    for obj in range(100, 104):
        script.alloc(obj, 0, **MOVABLE)
    recording = Recording.open(recorded(tmp_path, script))
    run = Replay(recording, build_demand(recording), parse_policy("mainline"), ReplayOptions(loop="closed"))
    run._next_sample = k.NEVER
    stat, slice_ns = run.state.view.stat, 50_000
    run.state.view.cfg.kswapd_slice_ns = slice_ns
    chunk = next(iter(run.demand.chunks(closed=True)))
    times = np.array([0, slice_ns, 2 * slice_ns + 300, 9 * slice_ns], np.int64)
    stat.late = 1_000
    seen = []
    for i, t in enumerate(times.tolist()):
        row = DemandChunk._make(column[i : i + 1] for column in chunk._replace(t=times))
        run.feed(row, i)
        seen.append(stat.now - t)
    assert seen == [1_000, 1_000, 700, 0]


def test_looking_changes_nothing_where_kswapd_has_the_tasks_cpu(tmp_path: Path) -> None:
    """Between any two rows tasks wait for three slices, in which kswapd begins: one sample or many, the end is the same."""
    script, slice_ns = Script(60_000), 20_000
    for obj in range(PAGES_OF_CACHE):
        script.alloc(100 + obj, 0, **MOVABLE)
    recording = Recording.open(recorded(tmp_path, script, peak_objects=PAGES_OF_CACHE + 200))
    ends = set()
    for samples in (1, 997, 2_999):  # no multiples of the rows: looks fall between these
        options = ReplayOptions(loop="closed", samples=samples)
        run = Replay(recording, build_demand(recording), parse_policy("mainline"), options)
        cfg = run.state.view.cfg
        cfg.kswapd_slice_ns, cfg.kswapd_wake, cfg.time_scale = slice_ns, 5_000, 25
        found = run.run()
        assert run.state.view.stat.pgsteal_kswapd > 1_000
        ends.add(found.provenance["final_state_digest"])
    assert len(ends) == 1


def test_kswapd_shares_the_cpu_of_one_cpu_machines_in_closed_loop_alone(tmp_path: Path) -> None:
    recording = Recording.open(recorded(tmp_path, Script()))
    machine, start = replace(recording.machine, cpus=1), recording.start
    assert start is not None
    assert machine_config(machine, start, closed=True).kswapd_slice_ns == SHARED_CPU_SLICE_NS
    assert machine_config(machine, start, closed=False).kswapd_slice_ns == 0
    assert machine_config(recording.machine, start, closed=True).kswapd_slice_ns == 0


def test_the_open_loop_is_that_of_the_plain_demand(tmp_path: Path) -> None:
    """RECLAIM as FREE, ACCESS and TRUNCATE left out, shadows not looked at: the same state, bit for bit."""
    whole, plain = Script(), Script()
    rng = np.random.default_rng(5)
    for script in (whole, plain):
        for obj in range(100, 200):
            script.alloc(obj, obj % 3, **MOVABLE)
    for obj in range(100, 160):
        t = whole.rows[-1][0] + 1
        whole.add(DemandOp.ACCESS, obj, obj % 3, t=t + 5, **MOVABLE)
        if rng.random() < 0.5:
            reclaim(whole, obj, obj % 3, (obj - 100) % 16 * 4 or 4)
            truncate(whole, (obj - 100) % 16 * 4 or 4, obj % 3)
            whole.alloc(obj, obj % 3, aux=0, **MOVABLE)
            plain.free(obj, obj % 3, t=whole.rows[-3][0])
            plain.alloc(obj, obj % 3, t=whole.rows[-1][0], **MOVABLE)
    access(whole, 150)
    runs = [
        replay(
            recorded(tmp_path / "whole", whole, accesses=1), "evacuate", options=ReplayOptions(loop="open")
        ),
        replay(recorded(tmp_path / "plain", plain), "evacuate", options=ReplayOptions(loop="open")),
    ]
    assert runs[0].metrics == runs[1].metrics
    assert runs[0].series == runs[1].series
    assert runs[0].provenance["final_state_digest"] == runs[1].provenance["final_state_digest"]


def test_auto_closes_where_reclaim_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    demand = build_demand(Recording.open(recorded(tmp_path, large_folio())))
    assert demand.tells_reclaim
    assert choose_loop("auto", demand).closed
    assert not choose_loop("open", demand).closed
    untold = build_demand(Recording.open(recorded(tmp_path / "untold", large_folio(), reclaimed=0)))
    assert not choose_loop("auto", untold).closed
    monkeypatch.setattr(loop_choice, "AUTO_CLOSES", False)
    assert not choose_loop("auto", demand).closed


def test_the_run_says_which_loop_it_was(tmp_path: Path) -> None:
    path = recorded(tmp_path, large_folio(), reclaimed=7, cached=9, read_again=5, accesses=3)
    for wanted in ("open", "closed"):
        told = replay(path, options=ReplayOptions(loop=wanted)).provenance["loop"]
        assert (told["wanted"], told["ran"]) == (wanted, wanted)
        assert f"The loop is {wanted}" in told["why"]
        assert "5 reads of reclaimed folios and 3 uses" in told["why"]
    nameless = recorded(tmp_path / "nameless", large_folio(), reclaimed=7)
    assert replay(nameless).provenance["loop"]["why"].endswith("each page-cache allocation counts as a miss.")
    inferred = recorded(tmp_path / "inferred", large_folio(), reclaimed=7, accesses=8, accesses_inferred=8)
    assert "The order of reclaim tells 4 uses." in replay(inferred).provenance["loop"]["why"]


@pytest.mark.parametrize("loop", ["both", "", None, 1])
def test_a_loop_that_is_none(loop: object) -> None:
    with pytest.raises(KevacuateError, match="give open, closed or auto"):
        ReplayOptions(loop=loop)  # type: ignore[arg-type]


def bad(script: Script, op: int, **row: int) -> Script:
    script.add(op, row.pop("obj", 100), row.pop("order", 0), **MOVABLE, **row)
    return script


CASES = {
    "shadow 0": (DemandOp.RECLAIM, {"order": 3, "aux": 0}, "reclaimed pages that the demand does not have"),
    "beyond": (DemandOp.RECLAIM, {"order": 3, "aux": 64}, "reclaimed pages that the demand does not have"),
    "half beyond": (DemandOp.TRUNCATE, {"order": 7, "aux": 0}, "reclaimed pages that the demand"),
    "negative": (DemandOp.TRUNCATE, {"aux": -8}, "reclaimed pages that the demand does not have"),
    "not aligned": (
        DemandOp.RECLAIM,
        {"order": 3, "aux": 9},
        "reclaimed pages that the demand does not have",
    ),
    "read": (DemandOp.ALLOC, {"obj": 101, "aux": 2**31 - 1}, "reclaimed pages that the demand does not have"),
    "no object": (
        DemandOp.RECLAIM,
        {"obj": 200, "aux": 1},
        "reclaims object 200, which is none of that order",
    ),
    "other order": (DemandOp.RECLAIM, {"order": 2, "aux": 4}, "reclaims object 100, which is none of that"),
    "use of none": (DemandOp.ACCESS, {"obj": 200}, "uses object 200, which was never allocated"),
    "object beyond": (DemandOp.ACCESS, {"obj": 300}, "an object id outside the table"),
    "shadow for object": (DemandOp.FREE, {"obj": 310}, "an object id outside the table"),
    "gather to none": (
        DemandOp.GATHER,
        {"obj": 0, "aux": 1},
        "reclaimed pages that the demand does not have",
    ),
    "gather beyond": (DemandOp.GATHER, {"obj": 64}, "reclaimed pages that the demand does not have"),
    "gather from beyond": (
        DemandOp.GATHER,
        {"obj": 1, "aux": 64},
        "reclaimed pages that the demand does not",
    ),
    "operation": (250, {}, "an operation that this program does not know"),
}


@pytest.mark.parametrize("name", CASES)
def test_rows_that_cannot_be(tmp_path: Path, name: str) -> None:
    op, row, words = CASES[name]
    script = Script()
    script.alloc(100, 3, **MOVABLE)
    path = recorded(tmp_path, bad(script, op, **row), accesses=1)
    with pytest.raises(KevacuateError, match=words):
        fed(path)


def test_a_shadow_that_is_anothers(tmp_path: Path) -> None:
    script = large_folio()
    script.alloc(101, 0, **MOVABLE)
    reclaim(script, 101, 0, 8)
    with pytest.raises(KevacuateError, match="as shadow 8, which is another's"):
        fed(recorded(tmp_path, script))


@pytest.mark.parametrize("count", ["peak_shadows", "peak_objects"])
@pytest.mark.parametrize("value", [1 << 40, -1])
def test_counts_that_no_machine_has_room_for(tmp_path: Path, count: str, value: int) -> None:
    path = recorded(tmp_path, large_folio(), **{count: value})
    with pytest.raises(KevacuateError, match="more than its machine has room for"):
        fed(path)


def test_a_demand_stored_without_its_counts_has_no_closed_loop(tmp_path: Path) -> None:
    path = write_recording(
        tmp_path / "made.kev", large_folio(), facts={"page_kinds": asdict(PageKindModel())}
    )
    with pytest.raises(KevacuateError, match="was stored without"):
        fed(path)
    assert fed(path, "open").state.view.stat.frees == 1


def test_a_demand_stored_before_tasks_were_kept(tmp_path: Path) -> None:
    """No column ``task``, none of the new counts: read as before, the task not known."""
    path = write_recording(tmp_path / "made.kev", synthetic.fragmenting(2_000))
    wanted = replay(path)
    _forget(path, "task")
    demand = build_demand(Recording.open(path))
    assert all((chunk.task == -1).all() for chunk in demand.chunks())
    assert replay(path).provenance["final_state_digest"] == wanted.provenance["final_state_digest"]


def _forget(path: Path, column: str) -> None:
    """Take a column out of a stored demand, and the newer counters out of its facts; digests are made anew."""
    from kevacuate.recording.parquet import combined_digest, file_digest, write_json

    table = pq.read_table(path / "demand.parquet").drop_columns([column])
    pq.write_table(table, path / "demand.parquet")
    body = json.loads((path / "demand.json").read_text())
    quality = body["facts"]["quality"]
    for name in [n for n in quality if "shadow" in n or "reclaimed" in n or n in ("accesses", "cached")]:
        del quality[name]
    files = {name: file_digest(path / name) for name in body.pop("files")}
    del body["digest"]
    write_json(path / "demand.json", body | {"files": files, "digest": combined_digest(body, files)})


@pytest.mark.parametrize("column", [name for name in DEMAND_TYPES if name != "task"])
def test_other_columns_must_be_there(tmp_path: Path, column: str) -> None:
    path = write_recording(tmp_path / "made.kev", synthetic.fragmenting(500))
    _forget(path, column)
    with pytest.raises(KevacuateError, match=f"no column {column}"):
        replay(path)


def test_start_objects_can_be_reclaimed(tmp_path: Path) -> None:
    script = Script()
    reclaim(script, 3, 0, 5)
    run = fed(recorded(tmp_path, script))
    assert shadow_pfn(run, 5) == START_OBJECTS.start + 3


def test_the_halves_of_a_dropped_object_have_its_shadow_entry(tmp_path: Path) -> None:
    script = Script()
    script.alloc(100, 2, **MOVABLE)
    run = fed(recorded(tmp_path, script))
    drop(run, 100)
    first = run.state.view.cfg.lru_first
    run.state.lru[2 * (first + 101) : 2 * (first + 102)] = (1 << 30, 1 << 30)
    more = Script()
    more.add(DemandOp.SPLIT, 100, 2, aux=101)
    access(more, 101, 1)
    more.rows = [(1 << 40, *row[1:]) for row in more.rows]
    chunk = more.chunk()
    run.feed(chunk._make(column[:1] for column in chunk))
    assert run.state.lru[2 * (first + 101) : 2 * (first + 102)].tolist() == [7, 1]
    assert run.state.obj[[100, 101]].tolist() == [-2, -2]
    run.feed(chunk._make(column[1:] for column in chunk), 1)
    assert run.state.obj[101] >= 0
    check(run.state)
