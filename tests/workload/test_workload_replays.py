# SPDX-License-Identifier: GPL-2.0-or-later
"""A described workload where a recording is taken: replayed, compared, stored and read back."""

from __future__ import annotations

from pathlib import Path

import pytest
from workload_book import book_of, rows_of, workload

import kevacuate
from kevacuate import KevacuateError, ReplayOptions
from kevacuate.demand.build import build_demand
from kevacuate.demand.start_objects import pages_in_use, start_objects
from kevacuate.mm.check import check
from kevacuate.mm.fields import LogRecord
from kevacuate.policy import parse_policy
from kevacuate.runs.noting import NOTE_ALLOC, NOTE_FREE, NotingReplay
from kevacuate.runs.replay import Replay
from kevacuate.runs.start import start_state
from kevacuate.workload import describe as ds
from kevacuate.workload.opening import on_start
from kevacuate.workload.stream import workload_recording

PARTS = (
    ds.Anonymous(memory="30%", tasks=4, lifetime="300ms", pause="20ms", thp=0.5),
    ds.PageCache(files="90%", cached="40%", reads="60MiB/s", file="256KiB", written=0.1, deleted="3%"),
    ds.Slab(memory="8%", lifetime="200ms", long=0.2, long_lifetime="3s"),
    ds.Network(rate="10MiB/s"),
)
TOML = """\
duration = "2s"
fill = "500ms"
[machine]
memory = "64MiB"
cpus = 2
[[anonymous]]
memory = "40%"
lifetime = "200ms"
[[slab]]
memory = "10%"
"""


def busy() -> ds.Workload:
    """A workload that fills its machine."""
    return workload(*PARTS, cpus=2, duration="3s")


@pytest.mark.parametrize("loop", ["open", "closed"])
def test_a_replay_of_a_workload_ends_in_a_consistent_state(loop: str) -> None:
    recording = workload_recording(busy())
    demand = build_demand(recording)
    _ = demand.spans
    replay = Replay(recording, demand, parse_policy("mainline"), ReplayOptions(loop=loop))
    run = replay.run()
    check(replay.state)
    book = rows_of(demand.chunks(closed=loop == "closed"))
    assert run.metrics["demand_rows"] == len(book)
    assert run.metrics["allocations_failed"] < run.metrics["allocations"] / 1000
    assert "described" in run.provenance["loop"]["why"]
    if loop == "closed":
        assert run.metrics["pages_kept"] > 1000
        assert run.metrics["pages_kept_read_again"] > 500


def test_seeds_draw_the_workload_anew_and_a_stored_one_is_one_draw(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(TOML)
    result = kevacuate.compare(path, ["mainline", "evacuate"], repeats=2)
    rows = [run.metrics["demand_rows"] for run in result.runs]
    assert rows[0] == rows[2] != rows[1] == rows[3]
    assert result.recording["verdict"].startswith("The demand is described, not recorded: workload mine.")
    stored = kevacuate.generate(path, tmp_path / "mine.kev")
    again = kevacuate.compare(tmp_path / "mine.kev", ["mainline"], repeats=2)
    assert [run.metrics["demand_rows"] for run in again.runs] == [rows[0], rows[0]]
    assert again.runs[0].provenance["final_state_digest"] == result.runs[0].provenance["final_state_digest"]
    assert again.recording["verdict"] == result.recording["verdict"]
    ours = build_demand(kevacuate.open(path))
    assert rows_of(build_demand(stored).chunks(closed=True)) == rows_of(ours.chunks(closed=True))
    assert build_demand(stored).quality == ours.quality


def test_what_cannot_be_generated_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(TOML.replace('duration = "2s"', 'duration = "0s"'))
    with pytest.raises(KevacuateError, match="is empty: there is nothing to replay"):
        kevacuate.generate(path, tmp_path / "mine.kev")
    path.write_text(TOML)
    (tmp_path / "there.kev").mkdir()
    with pytest.raises(KevacuateError, match=r"there\.kev exists already"):
        kevacuate.generate(path, tmp_path / "there.kev")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["mine.toml", "there.kev"]


def test_pages_of_a_gibibyte_are_asked_for_and_given_back_at_run_time() -> None:
    parts = (ds.Anonymous(memory="4MiB"), ds.GiganticRequests(count=2, lifetime="1s"))
    recording = workload_recording(workload(*parts, memory="4GiB", duration="10s", zones="one"))
    demand = build_demand(recording)
    book = book_of(demand.chunks(closed=True))
    gigantic = [born for born, _ in book.lives if born.order == 18]
    assert gigantic
    replay = Replay(recording, demand, parse_policy("mainline"), ReplayOptions(loop="closed"))
    run = replay.run()
    check(replay.state)
    held = sum(row.order == 18 for row in book.alive.values())
    contig = run.metrics["contig"]
    assert contig["served"] + contig["failed"] == len(gigantic) + held
    assert contig["served"] > 0
    assert contig["ms"] > 0
    assert run.metrics["allocations_failed"] == 0


def test_the_story_of_a_page_tells_of_pages_of_a_gibibyte() -> None:
    parts = (ds.Anonymous(memory="4MiB"), ds.GiganticRequests(count=1, lifetime="1s"))
    recording = workload_recording(workload(*parts, memory="2GiB", duration="10s", zones="one"))
    first = 1 << 18
    replay = NotingReplay(
        recording, build_demand(recording), parse_policy("mainline"), ReplayOptions(loop="open")
    )
    replay.watch(first, first + 1)
    run = replay.run()
    notes = LogRecord.table(replay.records())
    gigantic = notes["kind"][notes["a"] == 18].tolist()
    assert run.metrics["contig"]["served"] > 1
    assert gigantic[:2] == [NOTE_ALLOC, NOTE_FREE]


def _gigantic() -> ds.Workload:
    """A workload that asks for pages of 1 GiB over and over, on a machine of 3 GiB."""
    parts = (ds.Anonymous(memory="8MiB", lifetime="5ms"), ds.GiganticRequests(count=1, lifetime="200ms"))
    return workload(*parts, memory="3GiB", duration="2s", fill="100ms", zones="one")


def test_pages_of_a_gibibyte_are_stored_drawn_anew_and_repeated(tmp_path: Path) -> None:
    stored = kevacuate.generate(_gigantic(), tmp_path / "stored.kev").path
    own = kevacuate.replay(stored).metrics["contig"]
    anew = kevacuate.replay(stored, options=ReplayOptions(seed=1)).metrics["contig"]
    assert anew["served"] + anew["failed"] == own["served"] + own["failed"] > 0
    twice = kevacuate.scale(stored, tmp_path / "twice.kev", length=2).recording
    book = book_of(build_demand(twice).chunks(closed=True))
    assert sum(born.order == 18 for born, _ in book.lives) > own["served"]


def test_pages_of_a_gibibyte_are_asked_for_on_another_start_state() -> None:
    before = start_state(
        workload(
            ds.Anonymous(memory="50%", tasks=1), memory="3GiB", duration="2s", fill="100ms", zones="one"
        ),
        policy="mainline",
    )
    assert start_objects(before.state, pages_in_use(before.state, before.machine.hugepage_order)).pfn.size
    contig = kevacuate.replay(on_start(workload_recording(_gigantic()), before)).metrics["contig"]
    assert contig["served"] + contig["failed"] > 0


def test_pages_of_a_gibibyte_end_with_all_that_is_alive() -> None:
    at_end, freed = (start_state(_gigantic(), policy="mainline", at=1.95, free=share) for share in (0.0, 1.0))
    pages = [int((1 << one.state.free.order.astype(int)).sum()) for one in (at_end, freed)]
    assert pages[1] - pages[0] >= 1 << 18
