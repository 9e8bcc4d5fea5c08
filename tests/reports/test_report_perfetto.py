# SPDX-License-Identifier: GPL-2.0-or-later
"""Perfetto traces, read back with Perfetto's own Python classes."""

from __future__ import annotations

import io
import sys
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from perfetto_tools import Read

from kevacuate.errors import KevacuateError
from kevacuate.mm import constants as k
from kevacuate.recording import EventKind, Recording
from kevacuate.reports.perfetto import tracks as perfetto_tracks
from kevacuate.reports.perfetto.export import write_perfetto
from kevacuate.reports.perfetto.group import Group
from kevacuate.reports.perfetto.tracks import PerfettoWriter
from kevacuate.reports.story.words import Happening
from kevacuate.runs.replay import replay

HOOKED = Path(__file__).parent.parent / "data" / "one-cpu.kev"


@pytest.fixture(scope="module")
def replayed(synthetic_kev: Path) -> tuple[Read, dict[str, Any]]:
    file = io.BytesIO()
    recording = Recording.open(synthetic_kev)
    events = write_perfetto(recording, file, policies=["evacuate"])
    read = Read(file.getvalue())
    assert events == sum(packet.HasField("track_event") for packet in read.packets)
    return read, replay(recording, "evacuate").metrics


def test_every_claim_and_steal_is_an_instant_on_its_cpu(replayed: tuple[Read, dict[str, Any]]) -> None:
    read, metrics = replayed
    names = Counter(name.split(":")[0] for _, name, _, _ in read.instants)
    assert names["claim"] + names["steal"] == metrics["extfrag"]
    assert names["claim refused"] == metrics["claims_refused"]
    assert names["evacuation queued"] == metrics["evacuations_queued"]
    assert {track for track, name, *_ in read.instants if name.startswith("steal")} <= {"CPU 0", "CPU 1"}


def test_every_evacuation_is_a_slice_of_its_worker_with_its_batches_in_it(
    replayed: tuple[Read, dict[str, Any]],
) -> None:
    read, metrics = replayed
    outer = [s for s in read.slices if s[1].startswith("evacuate block")]
    batches = [s for s in read.slices if s[1].startswith("batch")]
    assert len(outer) == metrics["evacuations_finished"] > 0
    assert {s[2] for s in outer} == {0}
    assert {s[2] for s in batches} == {1}
    assert (
        sum(s[5]["isolated"] for s in batches)
        == sum(s[5]["isolated"] for s in outer)
        == metrics["pages_isolated"]
    )
    assert Counter(s[5]["result"] for s in outer) == +Counter(metrics["evacuations_ended"])
    for track, _, _, begun, ended, _ in batches:
        assert any(o[0] == track and o[3] <= begun <= ended <= o[4] for o in outer)


def test_an_arrow_leads_from_the_claim_to_the_evacuation(replayed: tuple[Read, dict[str, Any]]) -> None:
    read, metrics = replayed
    assert len(read.flows) == metrics["evacuations_queued"]
    for first, *rest in read.flows.values():
        assert first == "evacuation queued"
        assert [name.split(" block")[0] for name in rest] in (["evacuate"], ["block is movable again"], [])


def test_counters_end_where_the_run_does(replayed: tuple[Read, dict[str, Any]]) -> None:
    read, metrics = replayed
    last = {name: values[-1][1] for name, values in read.counters.items()}
    assert last["claims so far"] + last["steals so far"] == metrics["extfrag"]
    assert last["pages migrated by evacuation so far"] == metrics["pages_migrated"]
    assert last["clean cache pages dropped so far"] == metrics["pages_dropped"]
    assert last["blocks queued or being evacuated"] == 0
    assert last["mixed pageblocks"] == metrics["end"]["mixed_blocks"]
    assert last["unusable free index, order 9"] == metrics["end"]["unusable_free_index"][9]


def test_a_recorded_kernel() -> None:
    file = io.BytesIO()
    recording = Recording.open(HOOKED)
    write_perfetto(recording, file)
    read = Read(file.getvalue())
    kinds = Counter(kind for chunk in recording.events(after=recording.start) for kind in chunk.kind.tolist())
    flows = [name for _, name, _, _ in read.instants if name.startswith(("claim: ", "steal: "))]
    assert len(flows) == kinds[EventKind.MM_PAGE_ALLOC_EXTFRAG] > 0
    assert sum(name.startswith("block type") for _, name, _, _ in read.instants) == kinds[EventKind.GT_BLK]
    assert [t.process.process_name for t in read.tracks.values() if t.HasField("process")] == [
        f"Linux {recording.machine.kernel}, recorded"
    ]


def test_an_evacuation_under_way_at_the_end_is_ended() -> None:
    file = io.BytesIO()
    group = Group(PerfettoWriter(file), "x", 9, 0)
    for record in ((1, k.L_EVAC_STARTED, 0, 512, 0, 1, 2, 3), (2, k.L_EVAC_ISOLATE, 0, 512, 0, 4, 0, 9)):
        group.feed(Happening(*record))
    group.finish()
    assert [(s[1], s[5].get("result")) for s in Read(file.getvalue()).slices] == [
        ("batch: pages 0 to 9", "under way at the end"),
        ("evacuate block 1", "under way at the end"),
    ]


def test_the_same_input_gives_the_same_bytes(synthetic_kev: Path) -> None:
    files = [io.BytesIO(), io.BytesIO()]
    for file in files:
        write_perfetto(Recording.open(synthetic_kev), file, policies=["mainline"])
    assert files[0].getvalue() == files[1].getvalue() != b""


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "perfetto.trace_builder.proto_builder", None)
    with pytest.raises(KevacuateError, match=r"pip install 'kevacuate\[perfetto\]'"):
        PerfettoWriter(io.BytesIO())


@pytest.mark.parametrize(
    ("protobuf", "problem", "said"),
    [
        ("5.29.5", RuntimeError("gencode 6.31.1 runtime 5.29.5"), "protobuf 5.29.5 is too old for perfetto"),
        ("4.25.8", ImportError("cannot import name 'runtime_version'"), "pip install -U protobuf."),
        ("6.31.0", RuntimeError("gencode 6.31.1 runtime 6.31.0"), "needs 6.31.1 or later"),
        (
            "9.1.0",
            RuntimeError("gencode 6.31.1 runtime 9.1.0"),
            "does not load with protobuf 9.1.0 (RuntimeError)",
        ),
        (
            None,
            ImportError("No module named 'perfetto'"),
            "is not installed: pip install 'kevacuate[perfetto]'",
        ),
    ],
)
def test_why_perfettos_package_does_not_load(
    protobuf: str | None, problem: Exception, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def version(name: str) -> str:
        if protobuf is None:
            raise perfetto_tracks.metadata.PackageNotFoundError(name)
        return protobuf if name == "protobuf" else "0.59.1"

    def refuse(name: str) -> None:
        raise problem

    monkeypatch.setattr(perfetto_tracks.metadata, "version", version)
    monkeypatch.setattr(perfetto_tracks.importlib, "import_module", refuse)
    with pytest.raises(KevacuateError) as raised:
        PerfettoWriter(io.BytesIO())
    assert said in str(raised.value)
    assert ("-U protobuf" in str(raised.value)) == (protobuf not in (None, "9.1.0"))


def test_the_extra_asks_for_the_oldest_protobuf_that_loads() -> None:
    pyproject = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    oldest = ".".join(map(str, perfetto_tracks.OLDEST_PROTOBUF))
    assert f"protobuf>={oldest}" in pyproject["project"]["optional-dependencies"]["perfetto"]
