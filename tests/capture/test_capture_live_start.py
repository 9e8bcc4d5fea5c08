# SPDX-License-Identifier: GPL-2.0-or-later
"""A job with forks and file reading on the running kernel: do all readers agree on its pageblocks, and with the kernel?

Skipped where the running machine cannot be recorded.
"""

import json
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from capture_tools import LONGEST, agrees_with_first_events, kevacuate, unavailable
from start_tools import begun

from kevacuate.capture.options import RecordOptions
from kevacuate.capture.start import start_recording as record
from kevacuate.capture.survey import Survey, count_blocks
from kevacuate.demand.build import build_demand
from kevacuate.kernel.pageflags import tails_as_heads
from kevacuate.kernel.pcp import pcp_order
from kevacuate.measure.blocks import block_counts
from kevacuate.measure.moments import recorded_blocks, state_moment
from kevacuate.observe.maps import recorded_run
from kevacuate.observe.triage import triage_recording
from kevacuate.recording import AllocatorState, Recording
from kevacuate.recording.snapshot import Snapshot
from kevacuate.recording.state import UNCLEAR
from kevacuate.runs.replay import replay
from kevacuate.runs.trust import about_result

pytestmark = pytest.mark.skipif(bool(unavailable()), reason=unavailable() or "never")

JOB = """
import os, time
end, at, kept = time.monotonic() + 6, 0, []
files = [os.path.join(root, name) for root, _, names in os.walk(os.path.dirname(os.__file__)) for name in names]
while time.monotonic() < end:
    if os.fork() == 0:
        for name in files[at : at + 200]:
            with open(name, "rb") as file:
                kept.append(file.read())
        os._exit(0)
    os.wait()
    at = (at + 200) % len(files)
"""


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """The job, recorded."""
    target = tmp_path_factory.mktemp("job") / "job.kev"
    record(RecordOptions(target, command=(sys.executable, "-c", JOB)))
    return Recording.open(target)


def counted_blocks(snapshot: Snapshot) -> int:
    """Pageblocks that /proc/pagetypeinfo counts."""
    return sum(sum(zone.blocks_by_type.values()) for zone in snapshot.zones)


def pairs(recording: Recording) -> list[tuple[AllocatorState, Snapshot]]:
    """The states with the counts taken with them."""
    return list(zip(recording.states, recording.snapshots, strict=True))


def test_blocks_add_up_to_the_machines(job: Recording) -> None:
    for state, snapshot in pairs(job):
        assert len(state.blocks.pfn) == counted_blocks(snapshot)
        by_type = np.bincount(state.blocks.mt, minlength=3)[:3].tolist()
        names = ("Unmovable", "Movable", "Reclaimable")
        counted = [sum(zone.blocks_by_type.get(name, 0) for zone in snapshot.zones) for name in names]
        guesses = state.guesses
        assert guesses is not None
        named = (
            guesses.blocks - guesses.block_types
        )  # whose type may have changed since the event that named it
        assert np.abs(np.array(by_type) - counted).sum() <= 2 * named


def test_all_readers_count_the_same_blocks_as_mixed(job: Recording) -> None:
    order, start = job.machine.pageblock_order, job.start
    assert start is not None
    said = state_moment(start, order, job.machine.hugepage_order)
    counts, _ = block_counts(begun(job.machine, start, build_demand(job).start_objects))
    shown = recorded_blocks(start, order, job.machine.hugepage_order)
    assert shown is not None
    assert np.array_equal(counts.start, shown.start)
    assert np.array_equal(counts.pages, shown.pages)
    assert int(counts.kinds.mixed.sum()) == said["mixed_blocks"]
    frames = recorded_run(job)
    assert frames.series["mixed_blocks"][0] == said["mixed_blocks"]
    first = triage_recording(job)["snapshots"][0]
    assert first["mixed_blocks"] == said["mixed_blocks"]
    assert first["mixed_blocks_least"] == said["mixed_blocks_least"] <= said["mixed_blocks"]


def test_a_snapshots_bounds_hold_what_the_recording_ends_with(job: Recording) -> None:
    order, end = job.machine.pageblock_order, job.states[-1]
    assert end.page_flags is not None
    said = state_moment(end, order, job.machine.hugepage_order)
    flags = np.where(end.page_flags == UNCLEAR, 0, end.page_flags)
    counts = count_blocks(tails_as_heads(flags), order)
    absent = np.ones(len(counts.free), np.bool_)
    absent[end.blocks.pfn >> order] = False
    bounds = Survey(job.snapshots[-1], order, counts, job.machine.kernel, absent).mixed
    assert bounds.least <= said["mixed_blocks"]
    assert said["mixed_blocks_least"] <= bounds.most


def test_a_snapshot_counts_the_machines_blocks() -> None:
    process = kevacuate("snapshot", "--json")
    out, errors = process.communicate(timeout=LONGEST)
    assert process.returncode == 0, errors
    found = json.loads(out)
    zones = [zone for zone in found["zones"] if zone["name"] != "Device"]
    counted = sum(sum(zone["blocks_by_type"].values()) for zone in zones)
    assert 0 <= counted - sum(found["blocks_by_class"].values()) < len(zones)  # two zones may share a block
    assert found["mixed_blocks"]["least"] <= found["mixed_blocks"]["most"]


def test_pages_begin_as_their_first_events_find_them(job: Recording) -> None:
    agrees_with_first_events(job)


def test_a_replay_begins_with_the_blocks_recorded(job: Recording) -> None:
    run = replay(job)
    start = job.start
    assert start is not None
    said = state_moment(start, job.machine.pageblock_order, job.machine.hugepage_order)
    assert run.series["mixed_blocks"][0] == said["mixed_blocks"]
    assert run.metrics["frees_refused"] <= 0.001 * run.metrics["frees"]


IN_USE, FREE, ON_A_PER_CPU_LIST = range(3)


def places(recording: Recording, state: AllocatorState) -> npt.NDArray[np.int8]:
    """Where the state says that each page is [pages]."""
    where = np.full(max(zone.start_pfn + zone.spanned for zone in state.zones), IN_USE, np.int8)
    cached = state.pcp_pages
    cached_order = pcp_order(cached.pindex, recording.machine.hugepage_order)
    for place, pfns, orders in (
        (FREE, state.free.pfn, state.free.order),
        (ON_A_PER_CPU_LIST, cached.pfn, cached_order),
    ):
        for pfn, order in zip(pfns.tolist(), orders.tolist(), strict=True):
            where[pfn : pfn + (1 << order)] = place
    return where


def test_pages_of_per_cpu_lists_that_are_not_known_are_counted(job: Recording) -> None:
    for state, snapshot in pairs(job):
        counted = sum(pcp.count for zone in snapshot.zones for pcp in zone.pcp)
        guesses = state.guesses
        assert guesses is not None
        assert guesses.pcp_pages == counted
        known = int((places(job, state) == ON_A_PER_CPU_LIST).sum())
        assert guesses.pcp_pages_unknown == min(max(counted - known, 0), guesses.unclear_pages)


def test_the_verdict_names_what_is_guessed(job: Recording) -> None:
    demand = build_demand(job)
    for _ in demand.chunks():
        pass
    about = about_result(job, demand)
    assert "firm ground" not in about["verdict"]
    assert "Guessed at the start" in about["verdict"]
    assert "compaction's skip bits (not recorded)" in about["verdict"]
    assert about["start"]["blocks_with_skip_bit"] is None
    json.dumps(about)


def test_nothing_is_left_behind(job: Recording) -> None:
    assert [p.name for p in Path(job.path).parent.iterdir()] == ["job.kev"]
