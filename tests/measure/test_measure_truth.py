# SPDX-License-Identifier: GPL-2.0-or-later
"""Every reader of a recorded state against what the recordings' makers counted: ``tests/data/truth``, by make_truth.py there.

52 dumps of 13 recorded kernels: one and two CPUs, one and two zones, two nodes, with and without the patch.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from start_tools import begun

import kevacuate
from kevacuate.capture.survey import count_blocks
from kevacuate.demand.start_objects import pages_in_use, start_objects
from kevacuate.fidelity.verdict.recorded_run import recorded_counts, recorded_moment
from kevacuate.kernel.pageflags import KPF_BUDDY, KPF_SLAB
from kevacuate.live.flags import block_pages, contents
from kevacuate.live.playback import play_recording
from kevacuate.measure import moment
from kevacuate.measure.blocks import is_mixed
from kevacuate.measure.frames import CONTENT_NAMES
from kevacuate.measure.moments import moments_of, state_moment
from kevacuate.measure.pages import FREE, MOVABLE, PCP, UNMOVABLE, page_classes
from kevacuate.observe.maps import recorded_flows, recorded_frames, recorded_run
from kevacuate.observe.outcomes import recorded_outcome
from kevacuate.observe.triage import triage_recording
from kevacuate.recording import AllocatorState, Recording
from kevacuate.recording.demand import StartObjects, read_start_objects

TRUTH = Path(__file__).resolve().parent.parent / "data" / "truth"


def rows(name: str) -> list[dict[str, Any]]:
    """A table of the makers' numbers."""
    with (TRUTH / name).open() as file:
        return [
            {key: value if key in ("recording", "label") else int(value) for key, value in row.items()}
            for row in csv.DictReader(file)
        ]


DUMPS: dict[str, dict[str, dict[str, Any]]] = {}
for _row in rows("dumps.csv"):
    DUMPS.setdefault(_row["recording"], {})[_row["label"]] = _row
RUNS = {row["recording"]: row for row in rows("runs.csv")}

recordings = pytest.mark.parametrize("name", list(DUMPS))


@cache
def opened(name: str) -> Recording:
    return Recording.open(TRUTH / f"{name}.kev")


def dumps(name: str) -> Iterator[tuple[AllocatorState, dict[str, Any]]]:
    """Every state with the makers' numbers; blocks and pages of holes, which they counted as unmovable, taken off."""
    for state in opened(name).states:
        wanted = dict(DUMPS[name][state.label])
        wanted["blocks_with_unmovable"] -= wanted["hole_blocks"]
        wanted["unmovable_pages"] -= wanted["hole_pages"]
        yield state, wanted


def told(found: dict[str, Any], wanted: dict[str, Any], names: dict[str, str]) -> None:
    """Compare a reader's numbers with the makers'; *names*: theirs to ours."""
    assert {name: found[ours] for name, ours in names.items()} == {name: wanted[name] for name in names}


MOMENT = {
    "mixed": "mixed_blocks",
    "polluted": "polluted_blocks",
    "blocks_with_unmovable": "blocks_with_unmovable",
    "unmovable_pages": "unmovable_pages",
    "movable_pages": "movable_pages",
}


def test_all_dumps_are_here() -> None:
    assert sum(len(labels) for labels in DUMPS.values()) == 52
    assert list(DUMPS) == list(RUNS)
    assert sum(row["mixed"] for labels in DUMPS.values() for row in labels.values()) > 5_000


@recordings
def test_moments(name: str) -> None:
    machine = opened(name).machine
    for state, wanted in dumps(name):
        found = state_moment(state, machine.pageblock_order, machine.hugepage_order)
        told(found, wanted, MOMENT)
        for mt in ("unmovable", "movable", "reclaimable"):
            assert found["blocks"][mt] == wanted[f"blocks_{mt}"]


@recordings
def test_the_maps_of_a_recording(name: str) -> None:
    """report --recorded and the playback of watch."""
    recording = opened(name)
    frames, run, view = recorded_frames(recording), recorded_run(recording), play_recording(recording)
    moments = [int(np.searchsorted(view.times, t)) for t in frames.t.tolist()]
    for i, (_, wanted) in enumerate(dumps(name)):
        kinds = frames.at(i).kinds
        assert int(kinds.mixed.sum()) == run.series["mixed_blocks"][i] == wanted["mixed"]
        assert int(kinds.polluted.sum()) == run.series["polluted_blocks"][i] == wanted["polluted"]
        assert int(kinds.with_unmovable.sum()) == wanted["blocks_with_unmovable"]
        if frames.pages is not None:
            pages = frames.pages.at(i)
            assert int((pages == UNMOVABLE).sum()) == wanted["unmovable_pages"]
            assert int((pages == MOVABLE).sum()) == wanted["movable_pages"]
        view.at = moments[i] - 1
        assert view.poll().as_dict()["blocks"].get("mixed", 0) == wanted["mixed"]


@recordings
def test_the_recorded_run_that_replays_are_compared_with(name: str) -> None:
    machine = opened(name).machine
    for state, wanted in dumps(name):
        found = recorded_moment(state, machine.pageblock_order, machine.hugepage_order)
        same = (
            "mixed",
            "polluted",
            "blocks_with_unmovable",
            *(f"blocks_{t}" for t in ("unmovable", "movable")),
        )
        told(found, wanted, {column: column for column in same})


@recordings
def test_triage_and_the_comparison_of_recordings(name: str) -> None:
    recording = opened(name)
    seen = {row["label"]: row for row in triage_recording(recording)["snapshots"]}
    assert set(seen) == {"start", "end"}
    compared = recorded_outcome(recording).moments
    machine = recording.machine
    assert compared == moments_of(recording.states, (), machine.pageblock_order, machine.hugepage_order)
    for state, wanted in dumps(name):
        told(compared[state.label], wanted, MOMENT)
        if state.label in seen:
            told(seen[state.label], wanted, {"mixed": "mixed_blocks", "polluted": "polluted_blocks"})


@recordings
def test_the_start_of_a_replay_from_each_dump(name: str) -> None:
    """The model's own count (compiled) of the state that a replay would begin from."""
    recording = opened(name)
    for state, wanted in dumps(name):
        objects = start_objects(state, pages_in_use(state, 9))
        skip = np.zeros(len(state.blocks.pfn), np.bool_)
        told(moment(begun(recording.machine, state, objects, skip=skip)), wanted, MOMENT)


def test_the_start_of_a_replay_of_a_demand_that_lacks_pages_that_can_move() -> None:
    """As of a recording that tells of folios on LRU lists only: here every other object of the start is left out."""
    recording = kevacuate.Recording.shipped()
    start = recording.start
    assert start is not None
    objects = StartObjects(*(column[::2] for column in read_start_objects(recording.path)))
    model = begun(recording.machine, start, objects, skip=np.zeros(len(start.blocks.pfn), np.bool_))
    found, wanted = moment(model), state_moment(start, 9, 9)
    assert {name: found[name] for name in MOMENT.values()} == {name: wanted[name] for name in MOMENT.values()}
    assert sum(1 << int(order) for order in objects.order) < found["movable_pages"]


def with_lists(state: AllocatorState) -> np.ndarray:
    """The page flags as they would be read if pages on per-CPU lists showed as free, at the very moment of the dump.

    Pages of the kernel that bear none are slabs here: the excerpts lack the flags that they had.
    """
    flags = state.page_flags
    assert flags is not None
    classes = page_classes(state, 9)
    flags = flags[: len(classes)] & ~np.uint64(1 << KPF_BUDDY)
    on_lists = (classes == FREE) | (classes == PCP)
    flags = np.where(on_lists, np.uint64(1 << KPF_BUDDY), flags)
    return np.where((flags == 0) & (classes == UNMOVABLE), np.uint64(1 << KPF_SLAB), flags)


@recordings
def test_readers_of_page_flags_alone(name: str) -> None:
    """snapshot's survey and the live view: where lists are known too, they count the same."""
    order = opened(name).machine.pageblock_order
    for state, wanted in dumps(name):
        flags = with_lists(state)
        survey = count_blocks(flags, order)
        mixed = is_mixed(survey.movable, survey.slab + survey.tables + survey.other)
        assert int(mixed.sum()) == wanted["mixed"]
        assert int(survey.movable.sum()) == wanted["movable_pages"]
        pages = block_pages(flags, order)
        assert int((contents(pages) == CONTENT_NAMES.index("mixed")).sum()) == wanted["mixed"]
        assert int(pages[:, MOVABLE].sum()) == wanted["movable_pages"]


COUNTS = {
    "claims_below_pageblock_order": "claims_from_movable",
    "claims_whole_block": "claims_whole_block_from_movable",
    "steals_from_movable": "steals_from_movable",
    "steals_by_movable": "steals_by_movable",
}


@recordings
def test_claims_and_steals(name: str) -> None:
    recording, wanted = opened(name), RUNS[name]
    found = recorded_outcome(recording).metrics
    told(found, wanted, {**COUNTS, "extfrag": "extfrag", "claims_refused": "claims_refused_from_movable"})
    triage = triage_recording(recording)
    told(triage, wanted, COUNTS)
    assert triage["evacuation"]["would_queue"] == wanted["claims_below_pageblock_order"]
    before, whole = recorded_counts(recording, recording.states[0])
    told(whole, wanted, {column: column for column in (*COUNTS, "claims_refused")})
    assert all(0 <= before[column] <= whole[column] for column in COUNTS)
    flows = recorded_flows(recording)
    assert sum(row["events"] for row in flows) == wanted["extfrag"]
    own = [row for row in flows if row["from"] == "movable" and row["for"] in ("unmovable", "reclaimable")]
    kinds = {"claim": COUNTS["claims_below_pageblock_order"], "claim_block": COUNTS["claims_whole_block"]}
    for kind, column in {**kinds, "steal": "steals_from_movable"}.items():
        assert sum(row["events"] for row in own if row["kind"] == kind) == found[column]
    assert len(play_recording(recording).queued) == wanted["claims_below_pageblock_order"]
