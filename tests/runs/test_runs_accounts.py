# SPDX-License-Identifier: GPL-2.0-or-later
"""Accounts of a replay against a plain recount of its demand: what is dropped or fails is counted."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import synthetic
from synthetic import Script, write_recording

from kevacuate.demand.build import build_demand
from kevacuate.mm.check import check
from kevacuate.mm.constants import OBJ_DROPPED, OBJ_NONE
from kevacuate.policy import parse_policy
from kevacuate.recording import DemandChunk, DemandOp, Recording
from kevacuate.runs.base_pages import OBJ_FAILED
from kevacuate.runs.options import ReplayOptions
from kevacuate.runs.replay import Replay, replay


def begin(path: Path, policy: str = "evacuate") -> tuple[Replay, DemandChunk]:
    """A replay before its first row, and the whole demand."""
    recording = Recording.open(path)
    demand = build_demand(recording)
    (rows,) = demand.chunks()
    run = Replay(recording, demand, parse_policy(policy), ReplayOptions())
    run._interval = 1 << 60
    run.sample(0)
    run._next_sample = 1 << 60
    return run, rows


def part(rows: DemandChunk, at: int, end: int) -> DemandChunk:
    return DemandChunk(*(column[at:end] for column in rows))


def live_orders(rows: DemandChunk) -> dict[int, int]:
    """Order of every object that is alive after these rows, from the rows alone."""
    live = dict.fromkeys(range(len(synthetic.START_OBJECTS)), 0)
    for op, obj, order, aux in zip(
        *(c.tolist() for c in (rows.op, rows.obj, rows.order, rows.aux)), strict=True
    ):
        if op in (DemandOp.ALLOC, DemandOp.ALLOC_BULK):
            live[obj] = order
        elif op == DemandOp.FREE:
            assert live.pop(obj) == order
        elif op == DemandOp.SPLIT:
            live[obj] = live[aux] = order - 1
    return live


@pytest.mark.parametrize("policy", ["mainline", "evacuate"])
def test_objects_and_pages_are_where_the_demand_says(synthetic_kev: Path, policy: str) -> None:
    run, rows = begin(synthetic_kev, policy)
    steps = [*range(0, rows.t.size, 1500), rows.t.size]
    for at, end in pairwise(steps):
        run.feed(part(rows, at, end), at)
        check(run.state)
        live = live_orders(part(rows, 0, end))
        obj = run.state.obj
        assert set(np.flatnonzero(obj != OBJ_NONE).tolist()) == set(live)
        held = {number: int(obj[number]) for number in live if obj[number] >= 0}
        assert all(run.state.meta[pfn] & 15 == live[number] for number, pfn in held.items())
        spans = sorted((pfn, pfn + (1 << live[number])) for number, pfn in held.items())
        assert all(a[1] <= b[0] for a, b in pairwise(spans))


def test_frees_of_lost_objects_are_counted_row_by_row(synthetic_kev: Path) -> None:
    run, rows = begin(synthetic_kev)
    freed = dropped = failed = 0
    frees = np.flatnonzero(rows.op == DemandOp.FREE)
    at = 0
    for row in frees.tolist():
        run.feed(part(rows, at, row), at)
        before = int(run.state.obj[rows.obj[row]])
        run.feed(part(rows, row, row + 1), row)
        freed += before >= 0
        dropped += before == OBJ_DROPPED
        failed += before == OBJ_FAILED
        at = row + 1
    run.feed(part(rows, at, rows.t.size), at)
    stat = run.state.view.stat
    assert dropped == stat.dropped_then_freed > 0
    assert failed == stat.failed_then_freed > 0
    assert freed + int((rows.op == DemandOp.FREE_PFN).sum()) == stat.frees
    assert freed + dropped + failed == frees.size


def test_every_request_is_an_allocation_or_a_failure(synthetic_kev: Path) -> None:
    metrics = replay(Recording.open(synthetic_kev), "mainline").metrics
    _, rows = begin(synthetic_kev)
    requests = int(np.isin(rows.op, [DemandOp.ALLOC, DemandOp.ALLOC_BULK]).sum())
    assert metrics["allocations"] + metrics["allocations_failed"] == requests
    assert metrics["demand_rows"] == rows.t.size


def crafted(tmp_path: Path, script: Script, policy: str = "mainline") -> dict[str, int]:
    metrics: dict[str, int] = replay(
        Recording.open(write_recording(tmp_path / "x.kev", script)), policy
    ).metrics
    return metrics


def test_halves_of_a_failed_allocation_are_freed_as_failed(tmp_path: Path) -> None:
    script = Script()
    for obj in range(100, 112):
        script.alloc(obj, 10)
    script.add(DemandOp.SPLIT, 111, 10, aux=200)
    script.add(DemandOp.SPLIT, 200, 9, aux=201)
    for obj, order in ((111, 9), (200, 8), (201, 8)):
        script.free(obj, order)
    metrics = crafted(tmp_path, script)
    free_at_start = (synthetic.PAGES - 1024) >> 10
    assert metrics["allocations"] == free_at_start
    assert metrics["allocations_failed"] == 12 - free_at_start
    assert metrics["frees_of_failed"] == 3
    assert metrics["frees"] == 0


def test_an_id_can_be_used_again_after_a_free_of_what_failed(tmp_path: Path) -> None:
    script = Script()
    for obj in range(100, 112):
        script.alloc(obj, 10)
    script.free(111, 10)
    script.alloc(111, 0)
    script.free(111, 0)
    metrics = crafted(tmp_path, script)
    assert (metrics["frees_of_failed"], metrics["frees"]) == (1, 1)


def test_start_pages_are_freed_together_or_refused_where_reserved(tmp_path: Path) -> None:
    script = Script()
    script.add(DemandOp.FREE_PFN, -1, 4, aux=synthetic.ANONYMOUS.start)
    script.add(DemandOp.FREE_PFN, -1, 2, aux=synthetic.RESERVED.start)
    metrics = crafted(tmp_path, script)
    assert (metrics["frees"], metrics["frees_refused"]) == (1, 1)
    managed = synthetic.PAGES - len(synthetic.RESERVED)
    used = len(synthetic.ANONYMOUS) - 16 + len(synthetic.START_OBJECTS)
    assert metrics["end"]["free_pages"] + metrics["end"]["pcp_pages"] == managed - used


def test_without_page_flags_all_that_is_not_free_is_in_use(tmp_path: Path) -> None:
    script = Script()
    script.add(DemandOp.FREE_PFN, -1, 2, aux=synthetic.RESERVED.start)
    path = write_recording(tmp_path / "x.kev", script, state=synthetic.start_state(page_flags=False))
    metrics = replay(Recording.open(path)).metrics
    assert (metrics["frees"], metrics["frees_refused"]) == (1, 0)
