# SPDX-License-Identifier: GPL-2.0-or-later
"""Scaled recordings: their start, their stored demand, and that they replay as others do."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

import kevacuate
from kevacuate import KevacuateError, ReplayOptions
from kevacuate.kernel.pcp import pcp_order
from kevacuate.mm.marks import boot_min_free_kbytes, zone_wmarks
from kevacuate.recording import AllocatorState, Recording
from kevacuate.runs.scale import in_use_at
from kevacuate.runs.trust import about_result
from kevacuate.runs.watermarks import sizes_of

DATA = Path(__file__).parents[1] / "data"
SOURCE = DATA / "one-cpu.kev"


@pytest.fixture(scope="module")
def source() -> Recording:
    return kevacuate.open(SOURCE)


@pytest.fixture(scope="module")
def thrice(tmp_path_factory: pytest.TempPathFactory) -> kevacuate.Scaled:
    return kevacuate.scale(
        SOURCE, tmp_path_factory.mktemp("scaled") / "thrice.kev", memory=3, cpus=2, length=2
    )


def start(recording: Recording) -> AllocatorState:
    assert recording.start is not None
    return recording.start


def lists_of(state: AllocatorState) -> dict[tuple[int, int, int], list[int]]:
    found: dict[tuple[int, int, int], list[int]] = {}
    for zone, order, mt, pfn in zip(*(column.tolist() for column in state.free), strict=True):
        found.setdefault((zone, order, mt), []).append(pfn)
    return found


def test_a_recording_scaled_by_one_has_the_same_start_and_rows(source: Recording, tmp_path: Path) -> None:
    made = kevacuate.scale(source, tmp_path / "same.kev")
    before, after = start(source), start(made.recording)
    assert before.zones == after.zones
    for name in ("blocks", "pcp", "pcp_pages"):
        for old, new in zip(getattr(before, name), getattr(after, name), strict=True):
            assert (old == new).all()
    assert lists_of(before) == lists_of(after)
    rows = [np.concatenate(c) for c in zip(*kevacuate.build_demand(source).chunks(closed=True), strict=True)]
    again = [
        np.concatenate(c)
        for c in zip(*kevacuate.build_demand(made.recording).chunks(closed=True), strict=True)
    ]
    assert all((old == new).all() for old, new in zip(rows, again, strict=True))
    assert {one.distance for one in made.figures} == {0.0}


def test_the_start_is_the_recorded_one_several_times(source: Recording, thrice: kevacuate.Scaled) -> None:
    before, after = start(source), start(thrice.recording)
    order = source.machine.hugepage_order
    assert in_use_at(after, order) == 3 * in_use_at(before, order)
    assert np.bincount(after.blocks.mt).tolist() == (3 * np.bincount(before.blocks.mt)).tolist()
    assert len(np.unique(after.blocks.pfn)) == 3 * len(before.blocks.pfn)
    small, large = lists_of(before), lists_of(after)
    span = (after.zones[0].spanned - before.zones[0].spanned) // 2
    assert span % 1024 == 0
    assert large == {
        key: [pfn + copy * span for pfn in pfns for copy in range(3)] for key, pfns in small.items()
    }
    cached = np.bincount(after.pcp_pages.cpu, minlength=2 * source.machine.cpus)
    assert cached.sum() == 3 * len(before.pcp_pages.cpu)
    assert cached[: source.machine.cpus].sum() == 2 * len(before.pcp_pages.cpu)
    assert (
        pcp_order(after.pcp_pages.pindex, order).sum() == 3 * pcp_order(before.pcp_pages.pindex, order).sum()
    )


def test_the_marks_are_the_kernels_for_the_new_size(thrice: kevacuate.Scaled) -> None:
    machine, state = thrice.recording.machine, start(thrice.recording)
    sizes = sizes_of(machine, state)
    kbytes = boot_min_free_kbytes(sizes, 1 << machine.pageblock_order, huge_pages=True)
    assert [zone.watermark[:3] for zone in state.zones] == [
        marks[:3] for marks in zone_wmarks(sizes, kbytes, 10)
    ]
    assert machine.zones[0].watermark_low == state.zones[0].watermark[1]
    assert state.pcp.high_max.tolist() == [state.zones[0].managed // 8 // machine.cpus] * machine.cpus


def test_equal_inputs_give_equal_bytes_and_another_seed_another_demand(tmp_path: Path) -> None:
    given = {"memory": 2, "length": 2}
    names = {name: tmp_path / f"{name}.kev" for name in ("one", "two", "three")}
    for name, path in names.items():
        kevacuate.scale(SOURCE, path, **given, seed=int(name == "three"))
    digests = {name: json.loads((path / "demand.json").read_text())["digest"] for name, path in names.items()}
    assert digests["one"] == digests["two"] != digests["three"]
    assert kevacuate.open(names["one"]).digest == kevacuate.open(names["two"]).digest


def test_what_is_stored_of_the_demand_is_what_its_rows_come_to(thrice: kevacuate.Scaled) -> None:
    demand = kevacuate.build_demand(thrice.recording)
    stored = demand.quality
    op = np.concatenate([chunk.op for chunk in demand.chunks(closed=True)])
    assert stored.allocs == int(np.isin(op, (0, 4)).sum())
    assert stored.frees == int(np.isin(op, (1, 5)).sum())
    assert demand.spans.closed.rows == thrice.rows == len(op)
    base = kevacuate.build_demand(SOURCE)
    assert demand.spans.closed.rows >= base.spans.closed.rows
    assert stored.trusted == base.quality.trusted


@pytest.mark.parametrize("loop", ["open", "closed"])
def test_it_replays_as_a_recording_does(thrice: kevacuate.Scaled, loop: str) -> None:
    run = kevacuate.replay(thrice.recording, "evacuate", options=ReplayOptions(loop=loop, samples=2))
    assert run.metrics["demand_rows"] > 0
    demand = kevacuate.build_demand(thrice.recording)
    assert "no such machine was recorded" in about_result(thrice.recording, demand)["verdict"]


def test_tighter_is_a_share_of_the_working_set(tmp_path: Path) -> None:
    roomy = DATA / "two-cpus.kev"
    made = kevacuate.scale(roomy, tmp_path / "tight.kev", tight=1.01)
    whole = sum(zone.managed for zone in start(kevacuate.open(roomy)).zones)
    managed = sum(zone.managed for zone in start(made.recording).zones)
    assert abs(managed - 1.01 * made.figures[-1].before / 100 * whole) <= 512
    assert managed < whole
    assert made.figures[-1].after == pytest.approx(100 / 1.01, abs=0.2)


@pytest.mark.parametrize(("tight", "said"), [(100, "is more memory than there is"), (0.5, "cannot be made")])
def test_no_more_memory_than_is_free_can_be_taken(tight: float, said: str, tmp_path: Path) -> None:
    with pytest.raises(KevacuateError, match=said) as refused:
        kevacuate.scale(SOURCE, tmp_path / "no.kev", tight=tight)
    assert list(tmp_path.iterdir()) == []
    advised = re.search(r"Give at (?:least|most) ([0-9.]+)\.$", str(refused.value))
    assert advised
    kevacuate.scale(SOURCE, tmp_path / "advised.kev", tight=float(advised[1]))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"memory": 0}, "memory cannot be 0"), ({"cpus": 1.5}, "cpus cannot be 1.5"), ({"phase": 2}, "phase cannot be 2"),
     ({"length": 5000}, "length cannot be 5000"), ({"cpus": 256, "memory": 256, "tight": True}, "tight cannot be True")],
)  # fmt: skip
def test_what_cannot_be_scaled_is_refused_in_one_sentence(
    wrong: dict[str, int], said: str, tmp_path: Path
) -> None:
    with pytest.raises(KevacuateError, match=said):
        kevacuate.scale(SOURCE, tmp_path / "no.kev", **wrong)
    assert list(tmp_path.iterdir()) == []


def test_a_described_workload_is_scaled_too(tmp_path: Path) -> None:
    from kevacuate.workload.describe import Anonymous, Machine, Workload

    small = Workload(
        machine=Machine(memory="64MiB"), duration="300ms", fill="100ms", parts=(Anonymous(memory="20%"),)
    )
    made = kevacuate.scale(small, tmp_path / "two.kev", memory=2)
    assert kevacuate.build_demand(made.recording).quality.allocs > 0
