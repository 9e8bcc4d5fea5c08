# SPDX-License-Identifier: GPL-2.0-or-later
"""What holds a block stands in the page as explain says it; as much as fits, blocks that something happened to first."""

import json
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from page_synthetic import run as made_up
from reports.test_report_page_pack import numbers, read

from kevacuate.kernel.pageflags import KPF_LRU, KPF_PGTABLE, flag
from kevacuate.measure import Run
from kevacuate.measure.held_states import HeldStates, held_states
from kevacuate.measure.holders import Holder
from kevacuate.observe.event_records import beginning
from kevacuate.observe.maps import about_recorded, recorded_flows, recorded_run
from kevacuate.policy import parse_policy
from kevacuate.recording import Recording
from kevacuate.reports.page.data import interest
from kevacuate.reports.page.held import pack_held
from kevacuate.reports.page.pack import Blobs
from kevacuate.reports.page.page import _held_notes, recorded_page
from kevacuate.reports.page.stories import place_of
from kevacuate.reports.story.sources import replayed_story, unmovable_at
from kevacuate.runs.options import ReplayOptions
from kevacuate.runs.replay import replay


def ascending(blobs: Blobs, number: int) -> list[int]:
    return list(accumulate(numbers(read(blobs, number))))


def packed(run: Run, budget: int = 10**9) -> tuple[dict[str, Any], dict[int, list[str]], set[int]]:
    """What was packed; the sentences by row; the rows whose sentences are left out."""
    assert run.frames is not None
    blobs = Blobs()
    about = pack_held(blobs, [run], interest([run], run.frames), budget)
    assert about is not None
    rows = ascending(blobs, about["told"])
    texts = json.loads(read(blobs, about["texts"]))
    return about, dict(zip(rows, texts, strict=True)), set(ascending(blobs, about["untold"]))


def test_a_recorded_block_is_held_as_explain_says() -> None:
    recording = Recording.shipped()
    run, (start,), machine = recorded_run(recording), recording.states, recording.machine
    assert run.frames is not None
    assert start.page_flags is not None
    assert start.ts == beginning(recording), "times count from the start state in both"
    fewer = np.where(flag(start.page_flags, KPF_PGTABLE), np.uint64(1 << KPF_LRU), start.page_flags)
    states = [
        start,
        replace(start, page_flags=None),
        replace(start, ts=start.ts + 2 * 10**9, label="later", page_flags=fewer),
    ]
    orders = machine.pageblock_order, machine.hugepage_order
    held = held_states(states, start.ts, run.frames.start, *orders)
    about, told, untold = packed(replace(run, frames=replace(run.frames, held=held)))
    assert not untold
    assert about["shown"] == about["blocks"] == len(told) > 10
    for row in range(0, len(run.frames.start)):
        said = [state.text for state in unmovable_at(states, recording, place_of(run.frames, row))]
        assert told.get(row, about["nothing"]) == said
        assert (row in told) == any(not text.startswith("no page (") for text in said)
    assert told[0] == [
        "130 slab, 70 unknown kernel page, 56 page table (state start, 0.000000 s)",
        "130 slab, 70 unknown kernel page (state later, 2.000000 s)",
    ]


def test_a_replayed_block_is_held_as_explain_says(synthetic_kev: Path) -> None:
    recording = Recording.open(synthetic_kev)
    run = replay(recording, "mainline", options=ReplayOptions(keep=True, samples=3))
    about, told, _ = packed(run)
    assert run.frames is not None
    for row in (0, *told):
        story = replayed_story(recording, place_of(run.frames, row), parse_policy("mainline"))
        assert told.get(row, about["nothing"]) == [state.text for state in story.unmovable]
        assert len(story.unmovable) == 1, "the start state alone"
    assert told


def test_where_there_is_no_room_blocks_are_left_out_and_the_page_says_so() -> None:
    one, rng = made_up("evacuate", 2048, 3, claims=300), np.random.default_rng(3)
    assert one.frames is not None
    rows = np.arange(1900)
    cells = np.stack([rows, 0 * rows, rows % 2, rng.integers(1, 500, len(rows))], axis=1)
    held = HeldStates(
        ("start",), np.zeros(1, np.int64), (Holder("slab", ""), Holder("page table", "")), cells
    )
    one = replace(one, frames=replace(one.frames, held=held))
    about, told, untold = packed(one, 3_000)
    score = interest([one], one.frames)
    assert 0 < about["shown"] == len(told) < about["blocks"] == len(rows)
    assert untold == set(rows.tolist()) - set(told)
    assert score[sorted(told)].min() >= score[sorted(untold)].max()
    assert score[sorted(told)].max() > 0
    assert f"{len(told):,} of the 1,900 blocks with such pages" in _held_notes(about)[0][1]


def test_without_page_flags_there_is_nothing_to_say() -> None:
    run = recorded_run(Recording.shipped())
    assert run.frames is not None
    bare = replace(run, frames=replace(run.frames, held=None))
    assert pack_held(Blobs(), [bare], np.zeros(len(run.frames.start), np.int64)) is None


@pytest.mark.parametrize("has", [True, False])
def test_the_page_notes_what_its_holders_are(has: bool) -> None:
    recording = Recording.shipped()
    run = recorded_run(recording)
    assert run.frames is not None
    run = run if has else replace(run, frames=replace(run.frames, held=None))
    text = recorded_page(about_recorded(recording), run, recorded_flows(recording), "As recorded.")
    assert ("by the page flags of the recording" in text) == has
