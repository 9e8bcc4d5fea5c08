# SPDX-License-Identifier: GPL-2.0-or-later
"""The page's stories are explain's, as far as a run's history goes; as many as fit, the eventful first."""

import base64
import json
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from page_synthetic import run

from kevacuate.measure import Run
from kevacuate.mm import constants as k
from kevacuate.policy import parse_policy
from kevacuate.recording import Recording
from kevacuate.reports.page.data import interest
from kevacuate.reports.page.pack import Blobs
from kevacuate.reports.page.stories import block_story, eventful_rows, explain_command, pack_stories, place_of
from kevacuate.reports.story.sources import replayed_story
from kevacuate.reports.story.story import between
from kevacuate.runs.options import ReplayOptions
from kevacuate.runs.replay import replay

POLICIES = ("mainline", "evacuate", "evacuate,skip-hint=ignore")


@pytest.fixture(scope="module")
def kept(synthetic_kev: Path) -> list[Run]:
    options = ReplayOptions(keep=True, samples=5, seed=3)
    return [replay(Recording.open(synthetic_kev), policy, options=options) for policy in POLICIES]


def test_a_block_is_told_as_explain_tells_it(synthetic_kev: Path, kept: list[Run]) -> None:
    recording, told = Recording.open(synthetic_kev), set()
    for one in kept:
        frames = one.frames
        assert frames is not None
        for row in eventful_rows([one], frames)[::3].tolist():
            here = block_story(one, place_of(frames, row))
            whole = replayed_story(recording, place_of(frames, row), parse_policy(one.policy), seed=3)
            assert here is not None
            steps = [s for s in here.steps if s.kind not in ("traffic", "claim refused")]
            same = [s for s in whole.steps if s.kind not in ("traffic", "claim refused")]
            assert [(s.t, s.cpu, s.kind) for s in steps] == [(s.t, s.cpu, s.kind) for s in same]
            for mine, other in zip(steps, same, strict=True):
                assert mine.text == other.text or (
                    mine.kind == "migrated" and other.text.startswith(mine.text)
                )
            assert whole.summary.startswith(here.summary.removesuffix("."))
            assert "came in" not in here.summary, "of what came in since, a history does not know"
            told |= {s.kind for s in steps}
    assert {"claimed", "type", "queued", "handed over", "started", "isolated", "migrated", "finished"} <= told


def unpacked(blobs: Blobs, number: int) -> bytes:
    return zlib.decompress(base64.b64decode(blobs.texts[number]))


def packed(runs: list[Run], budget: int) -> tuple[dict[str, Any], list[Any], np.ndarray]:
    """What was packed, the stories read back, and the score of each row."""
    frames = runs[0].frames
    assert frames is not None
    score = interest(runs, frames)
    blobs = Blobs()
    about = pack_stories(blobs, runs, frames, score, budget)
    return about, json.loads(unpacked(blobs, about["texts"])), score


def test_all_stories_of_a_small_machine(kept: list[Run]) -> None:
    about, texts, _ = packed(kept, 10**9)
    frames = kept[0].frames
    assert frames is not None
    rows = eventful_rows(kept, frames)
    assert about["shown"] == about["blocks"] == len(texts) == len(rows) > 3
    for row, (lines, stories) in zip(rows.tolist(), texts, strict=True):
        place = place_of(frames, row)
        own = [story for one in kept if (story := block_story(one, place))]
        assert lines == between(own)
        for story, (summary, steps) in zip(own, stories, strict=True):
            assert summary == story.summary
            assert steps == [[s.t // 1000, s.cpu, s.text] for s in story.steps]
    assert about["nothing"] == "Nothing happened to it."


def test_where_there_is_no_room_the_eventful_come_first() -> None:
    runs = [run("mainline", 2048, 5, claims=300), run("evacuate", 2048, 5, claims=300, seed=2)]
    whole, _, score = packed(runs, 10**9)
    about, texts, _ = packed(runs, 6_000)
    assert 32 <= about["shown"] == len(texts) < about["blocks"] == whole["blocks"]
    names = [stories for _, stories in texts]
    evacuated = int((score == 3).sum())
    assert evacuated > about["shown"]
    assert all("evacuation" in stories[1][0] for stories in names), "only evacuated ones fit"
    assert packed(runs, 0)[0]["shown"] == 0


def test_a_claim_of_whole_blocks_is_one_too() -> None:
    one = run("mainline", 64, 3, claims=0, steals=0)
    assert one.history is not None
    records = np.array([[5, k.L_EXTFRAG, 0, 20 << 9, 9, 9, k.MIGRATE_MOVABLE, 1]])
    one = replace(one, history=type(one.history)(records, 9))
    assert one.frames is not None
    assert interest([one], one.frames)[20] == 2


def test_a_run_without_history_has_no_story(kept: list[Run]) -> None:
    frames = kept[0].frames
    assert frames is not None
    bare = replace(kept[1], history=None)
    about, texts, _ = packed([kept[0], bare], 10**9)
    assert about["shown"] > 0
    assert all(stories[1] is None for _, stories in texts)


def test_the_command_names_policy_and_seed(kept: list[Run]) -> None:
    assert explain_command("a b.kev") == "kevacuate explain 'a b.kev'"
    assert (
        explain_command("x.kev", kept[2])
        == "kevacuate explain x.kev --policy evacuate,skip-hint=ignore --seed 3"
    )
    assert (
        explain_command("x.kev", run("mainline", 8, 2, seed=0)) == "kevacuate explain x.kev --policy mainline"
    )
