# SPDX-License-Identifier: GPL-2.0-or-later
"""Replays under a policy with zram: what the demand frees, splits and uses may be in swap."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest
from synthetic import ANON, Script, write_recording

from kevacuate.demand.build import build_demand
from kevacuate.demand.pagekinds import PageKindModel
from kevacuate.demand.quality import DemandQuality
from kevacuate.errors import KevacuateError
from kevacuate.kernel import gfp as g
from kevacuate.mm import constants as k
from kevacuate.mm.check import check
from kevacuate.policy import parse_policy
from kevacuate.recording import DemandOp, Recording
from kevacuate.runs.options import ReplayOptions
from kevacuate.runs.replay import Replay, replay

OBJECTS, SHADOWS = 12_000, 2_048
FIRST, PRESSED = 100, 9_000
CLOSED = ReplayOptions(loop="closed")
HUGE = {"mt": k.MIGRATE_MOVABLE, "gfp": g.GFP_TRANSHUGE | g.GFP_NORETRY, "attr": ANON}


def stored(path: Path, script: Script) -> Path:
    quality = DemandQuality(alloc_events=1, peak_objects=OBJECTS, peak_shadows=SHADOWS, attempts=1)
    facts = {"quality": quality.as_dict(), "page_kinds": asdict(PageKindModel())}
    return write_recording(path / "made.kev", script, facts=facts)


def pressed(policy: str, path: Path) -> tuple[Replay, Script]:
    """A machine with more anonymous pages, some of them huge, than it has memory; the script goes on."""
    script = Script(2_000)
    script.alloc(FIRST, 9, **HUGE)
    for obj in range(FIRST + 1, FIRST + PRESSED):
        script.alloc(obj, mt=k.MIGRATE_MOVABLE, attr=ANON, gfp=g.GFP_HIGHUSER_MOVABLE)
    recording = Recording.open(stored(path, script))
    run = Replay(recording, build_demand(recording), parse_policy(policy), CLOSED)
    run._next_sample = run._interval = k.NEVER
    for chunk in run.demand.chunks(closed=True):
        run.feed(chunk)
    check(run.state)
    return run, Script(2_000)


def go_on(run: Replay, script: Script) -> None:
    """Further rows, later."""
    script.rows = [(row[0] + run._last_time + 2_000, *row[1:]) for row in script.rows]
    run.feed(script.chunk())
    check(run.state)


def test_pages_in_swap_are_freed_with_their_objects(tmp_path: Path) -> None:
    run, script = pressed("mainline,zram=16M,anon_used=0", tmp_path)
    stat = run.state.view.stat
    assert stat.pswpout > 500
    for obj in range(FIRST, FIRST + PRESSED):
        if run.state.obj[obj] != k.OBJ_NONE:
            script.free(obj, 9 if obj == FIRST else 0)
    go_on(run, script)
    left = stat.pswpout - stat.swap_freed  # of objects that were there at the start
    assert stat.swap_freed > 500
    assert left < 64
    assert stat.nr_swap_pages == 4096 - left
    assert (run.state.obj[FIRST : FIRST + PRESSED] == k.OBJ_NONE).all()
    assert stat.dropped_then_freed == 0


def test_a_huge_page_in_swap_is_halved_into_objects_in_swap(tmp_path: Path) -> None:
    run, script = pressed("mainline,zram=16M,anon_used=0", tmp_path)
    upper = FIRST + PRESSED
    script.add(DemandOp.SPLIT, FIRST, 9, aux=upper)
    script.free(FIRST, 8)
    script.free(upper, 8)
    before = int(run.state.view.stat.swap_freed)
    go_on(run, script)
    assert run.state.view.stat.swap_freed - before in (0, 512)
    assert run.state.obj[FIRST] == run.state.obj[upper] == k.OBJ_NONE


def test_without_a_device_swappiness_changes_nothing(synthetic_kev: Path) -> None:
    recording = Recording.open(synthetic_kev)
    demand = build_demand(recording)
    ends = {
        replay(recording, policy, demand=demand, options=CLOSED).provenance["final_state_digest"]
        for policy in ("mainline", "mainline,swappiness=200")
    }
    assert len(ends) == 1


@pytest.mark.parametrize("setting", ["zram=16M", "lru_gen=1"])
def test_what_only_reclaim_follows_is_refused_in_an_open_loop(synthetic_kev: Path, setting: str) -> None:
    recording = Recording.open(synthetic_kev)
    with pytest.raises(KevacuateError, match=f"{setting.partition('=')[0]} needs a closed loop"):
        replay(recording, f"mainline,{setting}", options=ReplayOptions(loop="open"))


def test_the_multi_gen_lru_reclaims_and_swaps_by_generations(tmp_path: Path) -> None:
    run, _ = pressed("mainline,zram=16M,anon_used=0,lru_gen=1", tmp_path)
    stat = run.state.view.stat
    assert stat.lru_gen_aged > 0
    assert stat.pswpout > 500
