# SPDX-License-Identifier: GPL-2.0-or-later
"""What a seed varies of a demand: each task's order is kept, objects are made before they go, and seed 0 is as recorded."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic import FILE, READ, TASKS, Script, reclaiming, reordered, write_reclaiming

from kevacuate.demand.build import build_demand
from kevacuate.demand.pagekinds import PageKindModel, draw_start
from kevacuate.errors import KevacuateError
from kevacuate.policy import parse_policy
from kevacuate.recording import DemandChunk, DemandOp, Recording
from kevacuate.runs import varied
from kevacuate.runs.compare import Job, replay_all
from kevacuate.runs.initial_state import default_time_scale
from kevacuate.runs.interleave import drawn_shifts, is_read, kept_between
from kevacuate.runs.options import ReplayOptions
from kevacuate.runs.replay import replay
from kevacuate.runs.variation import Variation

MS = 1_000_000
BORN, GONE = (0, 4), (1, 5)
NOTHING = Variation(interleave_ns=0)
STRONG = Variation(interleave_ns=3 * MS, interleave_period_ns=5 * MS)


def life(rows: DemandChunk) -> list[list[tuple[int, int, int]]]:
    """What happens to each object, in the order of their births: (op, order, task) of each of its rows."""
    lives: dict[int, list[tuple[int, int, int]]] = {i: [] for i in range(64)}
    every = list(lives.values())
    for op, obj, order, aux, task in zip(
        *(c.tolist() for c in (rows.op, rows.obj, rows.order, rows.aux, rows.task)), strict=True
    ):
        if op == DemandOp.TRUNCATE:
            continue
        if op in BORN:
            assert obj not in lives
            lives[obj] = []
            every.append(lives[obj])
        lives[obj].append((op, order, task))
        if op == DemandOp.SPLIT:
            assert aux not in lives
            lives[aux] = []
            every.append(lives[aux])
        elif op in GONE:
            del lives[obj]
    return every


def test_nothing_is_lost_and_every_order_is_kept() -> None:
    rows = reclaiming()
    other, ids = reordered(rows, 64, 3, STRONG)
    assert (np.diff(other.t) >= 0).all()
    assert not np.array_equal(other.task, rows.task)
    for task in range(TASKS):
        for column in ("op", "order", "mt", "gfp", "attr", "cpu"):
            before, after = (getattr(r, column)[r.task == task] for r in (rows, other))
            assert np.array_equal(before, after), (task, column)
    assert sorted(life(other)) == sorted(life(rows))
    assert int(other.obj.max()) < ids


def test_shadows_keep_their_order() -> None:
    rows = reclaiming()
    other, _ = reordered(rows, 64, 3, STRONG)

    def story(r: DemandChunk) -> dict[int, list[int]]:
        named: dict[int, list[int]] = {}
        for op, order, aux in zip(r.op.tolist(), r.order.tolist(), r.aux.tolist(), strict=True):
            if op in (5, 7) or (op == 0 and aux):
                for i in range(aux, aux + (1 << order)):
                    named.setdefault(i, []).append(op)
        return named

    assert story(other) == story(rows)


def test_equal_seeds_vary_equally_and_others_otherwise() -> None:
    rows = reclaiming()
    made = [reordered(rows, 64, seed, STRONG)[0] for seed in (1, 1, 2)]
    assert all(np.array_equal(a, b) for a, b in zip(made[0], made[1], strict=True))
    assert not np.array_equal(made[0].t, made[2].t)


def test_without_a_shift_the_rows_are_the_recorded_ones() -> None:
    rows = reclaiming()
    other, _ = reordered(rows, 64, 1, NOTHING)
    for name in DemandChunk._fields:
        if name not in ("obj", "aux"):
            assert np.array_equal(getattr(other, name), getattr(rows, name)), name


def test_shifts_are_as_large_as_stated() -> None:
    drawn = drawn_shifts(200_000, 1, 7, 5 * MS)
    assert abs(drawn.mean()) < 0.02 * 5 * MS
    assert abs(drawn.std() / (5 * MS) - 1) < 0.01
    assert abs(drawn).max() < 6 * 5 * MS
    assert not np.array_equal(drawn[:100], drawn_shifts(100, 1, 8, 5 * MS))
    assert drawn[:3].tolist() == drawn_shifts(3, 1, 7, 5 * MS).tolist()


def test_reads_shift_what_their_task_does_after_them() -> None:
    script = Script(MS)
    for i in range(40):
        gfp, mt = (READ, 1) if i % 4 == 3 else (0xCC0, 0)
        script.alloc(100 + i, 0, mt=mt, gfp=gfp, attr=FILE if mt else 0)
    rows = script.chunk()
    assert is_read(rows).sum() == 10
    other, _ = reordered(rows, 64, 5, replace(NOTHING, read_ns=MS // 10))
    shift = other.t - rows.t
    assert (shift[:3] == 0).all()
    changed = np.flatnonzero(np.diff(shift)) + 1
    assert set(changed.tolist()) <= set(range(3, 40, 4))
    assert changed.size > 5


@pytest.mark.parametrize("loop", ["open", "closed"])
def test_replays_of_varied_demands(tmp_path: Path, loop: str) -> None:
    source = write_reclaiming(tmp_path / "made.kev", reclaiming())
    plain = ReplayOptions(loop=loop)
    varied = replace(plain, variation=replace(STRONG, page_kinds=True, kswapd_percent=20))

    def digest(options: ReplayOptions, seed: int) -> str:
        run = replay(source, "mainline", seed=seed, options=options)
        return str(run.provenance["final_state_digest"])

    assert digest(varied, 0) == digest(plain, 0)
    assert digest(varied, 1) == digest(varied, 1)
    assert len({digest(varied, seed) for seed in (1, 2, 3)} | {digest(plain, 1)}) == 4
    run = replay(source, "mainline", seed=1, options=varied)
    assert run.provenance["options"]["variation"]["interleave_ns"] == 3 * MS
    scale = default_time_scale(source.machine)
    applied = varied.variation.at_scale(scale)
    assert run.provenance["options"]["variation_applied"] == asdict(applied)
    as_recorded = replay(source, "mainline", seed=0, options=varied).provenance["options"][
        "variation_applied"
    ]
    assert not any(value for name, value in as_recorded.items() if name != "interleave_period_ns")


def test_by_default_seeds_vary_how_far_tasks_have_come(tmp_path: Path) -> None:
    """Not seed 0, and more than when background work begins."""
    source = write_reclaiming(tmp_path / "made.kev", reclaiming())
    for seed, same in ((0, True), (1, False)):
        told = [
            replay(source, seed=seed, options=options).provenance["final_state_digest"]
            for options in (ReplayOptions(), ReplayOptions(variation=NOTHING))
        ]
        assert (told[0] == told[1]) == same


def test_times_are_those_of_a_native_machine() -> None:
    scaled = replace(STRONG, read_ns=MS, kswapd_percent=20).at_scale(10)
    assert scaled == Variation(
        interleave_ns=30 * MS, interleave_period_ns=50 * MS, read_ns=10 * MS, kswapd_percent=20
    )
    assert Variation(read_ns=10**10).at_scale(2).read_ns == 10**10  # what a variation may be at most


def test_page_kinds_are_drawn_anew(tmp_path: Path) -> None:
    from kevacuate.policy import parse_policy
    from kevacuate.runs.replay import Replay

    source = write_reclaiming(tmp_path / "made.kev", reclaiming())
    demand = build_demand(source, kinds=PageKindModel(pinned=0.2, pinned_buffer=0.2))
    options = ReplayOptions(variation=replace(NOTHING, page_kinds=True))
    pinned = []
    for seed in (0, 1, 2):
        run = Replay(source, demand, parse_policy("mainline"), replace(options, seed=seed))
        (rows,) = run.demand.chunks()
        assert np.array_equal(rows.t, next(demand.chunks()).t)
        pinned.append((rows.attr & 16) > 0)
    assert len({p.tobytes() for p in pinned}) == 3
    assert all(100 < p.sum() < 1_500 for p in pinned)


def test_what_is_recorded_or_described_is_not_drawn_anew(tmp_path: Path) -> None:
    from kevacuate.policy import parse_policy
    from kevacuate.runs.replay import Replay

    rows = reclaiming()
    allocated = np.isin(rows.op, (DemandOp.ALLOC, DemandOp.ALLOC_BULK)) & (rows.attr & 1 > 0)
    told = allocated & (np.arange(rows.op.size) % 3 == 0)
    attr = np.where(told, rows.attr | 4 | 128, rows.attr).astype(np.uint8)  # dirty, mlocked
    source = write_reclaiming(tmp_path / "made.kev", rows._replace(attr=attr))
    demand = build_demand(source)
    options = ReplayOptions(variation=replace(NOTHING, page_kinds=True))
    for seed in (0, 1, 2):
        run = Replay(source, demand, parse_policy("mainline"), replace(options, seed=seed))
        (varied,) = run.demand.chunks()
        marked = varied.attr & 128 > 0
        assert marked.sum() > 100
        assert np.all(varied.attr[marked] & 4)
    (other,) = build_demand(source, kinds=PageKindModel(pinned=0.2)).chunks()
    assert np.all(other.attr[other.attr & 128 > 0] & 4)
    assert np.sum(other.attr & 128 > 0) == marked.sum()


def test_start_objects_that_are_recorded_as_dirty_stay_dirty() -> None:
    shown = np.array([3, 7] * 500, np.uint8)  # clean and dirty page cache
    before, after = PageKindModel(pinned=0.2), PageKindModel(seed=1, pinned=0.2)
    first = draw_start(shown, before)
    again = draw_start(first, after, before)
    assert np.array_equal(again & ~np.uint8(16), shown)
    assert np.array_equal(again, draw_start(shown, after))
    assert not np.array_equal(again, first)


def test_a_demand_that_contradicts_itself(tmp_path: Path) -> None:
    rows = reclaiming()
    last = np.flatnonzero(rows.op == DemandOp.FREE)[-1]
    twice = DemandChunk._make(np.append(column, column[last]) for column in rows)
    twice.t[-1], twice.obj[-1] = twice.t[-2], 9_999  # of an object that never was
    source = write_reclaiming(tmp_path / "made.kev", twice)
    with pytest.raises(KevacuateError, match="contradicts itself"):
        replay(source, seed=1, options=ReplayOptions(variation=STRONG))
    outside = rows._replace(obj=np.where(np.arange(rows.obj.size) == 100, 2**30, rows.obj).astype(np.int32))
    source = write_reclaiming(tmp_path / "other.kev", outside)
    with pytest.raises(KevacuateError, match="contradicts itself"):
        replay(source, seed=1, options=ReplayOptions(variation=STRONG))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"interleave_ns": -1}, "interleave_ns of a variation"),
        ({"interleave_ns": 1.5}, "interleave_ns of a variation"),
        ({"interleave_period_ns": 0}, "interleave_period_ns of a variation"),
        ({"read_ns": 10**11}, "give at most 10000000000"),
        ({"kswapd_percent": 31}, "give at most 30"),
        ({"page_kinds": 1}, "give True or False"),
    ],
)
def test_parameters_that_cannot_be(values: dict[str, object], words: str) -> None:
    with pytest.raises(KevacuateError, match=words):
        Variation(**values)  # type: ignore[arg-type]


def test_a_variation_that_is_none() -> None:
    with pytest.raises(KevacuateError, match="give a Variation"):
        ReplayOptions(variation=0.5)  # type: ignore[arg-type]


def test_no_row_crosses_a_moment() -> None:
    recorded = np.array([0, 5, 10, 11, 20, 30], np.int64)
    bent = np.array([12, 0, 11, 2, 25, 10], np.int64)
    assert kept_between(bent, recorded, (10, 20)).tolist() == [10, 0, 10, 11, 20, 21]
    assert kept_between(bent, recorded, ()).tolist() == bent.tolist()


def test_a_demand_is_read_once_and_varied_once_a_seed(
    synthetic_kev: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever policies are compared, side by side or not."""
    demand = build_demand(synthetic_kev)
    made: list[tuple[str, int]] = []

    def counted(name: str, whole: Any, at: int) -> Any:
        def call(*args: Any) -> Any:
            made.append((name, int(args[at]) if at >= 0 else 0))
            return whole(*args)

        return call

    monkeypatch.setattr(varied, "sort_out", counted("sorted out", varied.sort_out, -1))
    monkeypatch.setattr(varied, "interleaved", counted("ordered", varied.interleaved, 1))
    jobs = [
        Job(parse_policy(policy), ReplayOptions(seed=seed, samples=1), "replaying")
        for seed in (1, 2)
        for policy in ("mainline", "evacuate", "mainline,memory=0.9")
    ]
    runs = replay_all(Recording.open(synthetic_kev), demand, jobs, 2, None)
    assert sorted(made) == [("ordered", 1), ("ordered", 2), ("sorted out", 0)]
    again = replay_all(Recording.open(synthetic_kev), build_demand(synthetic_kev), jobs[::-1], 1, None)
    assert [run.metrics for run in runs] == [run.metrics for run in again[::-1]]
