# SPDX-License-Identifier: GPL-2.0-or-later
"""``tune`` on recordings: what it tries, that it is reproducible, what it refuses."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import synthetic

from kevacuate import Recording
from kevacuate.demand.build import build_demand
from kevacuate.errors import KevacuateError
from kevacuate.kernel.gfp import GFP_DIRECT_RECLAIM, GFP_NORETRY, GFP_TRANSHUGE_LIGHT
from kevacuate.measure import Run
from kevacuate.measure.deciding import DECIDING, values_of
from kevacuate.measure.permutation import mean
from kevacuate.measure.tuned import HELPS, OOM_KILL, OUT_OF_MEMORY, SCREENED, SCREENED_OUT, UNCHANGED, Tuned
from kevacuate.policy import parse_policy
from kevacuate.policy.settings import SETTINGS
from kevacuate.reports.tune import tuned_conclusion, tuned_json
from kevacuate.runs import compare as compared
from kevacuate.runs.grid import grid
from kevacuate.runs.options import ReplayOptions
from kevacuate.runs.replay import replay
from kevacuate.runs.tune import tune

TRIED = [
    "watermark_boost_factor=0",
    "compaction_proactiveness=20",
    "min_free_kbytes=2000",
    "memory=0.9",
    "extfrag_threshold=0",
]


@pytest.fixture(scope="module")
def tuned(synthetic_kev: Path) -> Tuned:
    return tune(synthetic_kev, settings=TRIED, repeats=8)


def test_every_setting_has_a_verdict_and_equal_inputs_give_equal_outputs(
    synthetic_kev: Path, tuned: Tuned
) -> None:
    assert sorted(one.setting for one in tuned.tried) == sorted(TRIED)
    assert tuned == tune(Recording.open(synthetic_kev), settings=TRIED, repeats=8, workers=1)
    assert (tuned.screened, tuned.tested, tuned.seed) == (SCREENED, 8, 0)
    by = {one.setting: one for one in tuned.tried}
    assert by["compaction_proactiveness=20"].verdict == UNCHANGED, "it is the default"
    for one in tuned.tried:
        assert one.policy == f"mainline,{one.setting}"
        tested = one.verdict not in SCREENED_OUT
        assert all((row.p is not None) == tested or row.base == row.mean for row in one.rows)
    told = tuned_json(tuned)
    assert [one["setting"] for one in told["tried"]] == [one.setting for one in tuned.tried]
    assert "The model" in told["conclusion"]


def test_the_test_s_seeds_are_not_the_screening_s(
    synthetic_kev: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds: list[tuple[str, int]] = []

    def noted(recording: Any, policy: Any, *, options: Any, **named: Any) -> Run:
        seeds.append((policy.spec, options.seed))
        return replay(recording, policy, options=options, **named)

    monkeypatch.setattr(compared, "replay", noted)
    tune(synthetic_kev, settings=["min_free_kbytes=2000"], repeats=8, seed=30, workers=1)
    assert sorted({seed for _, seed in seeds}) == list(range(30, 38 + SCREENED))
    assert len(seeds) == len(set(seeds)) == 2 * (8 + SCREENED)


def test_figures_of_a_tuning_are_those_of_whole_replays(synthetic_kev: Path, tuned: Tuned) -> None:
    """A tuning takes no samples on the way; that changes no figure of the end."""
    runs = [replay(synthetic_kev, options=ReplayOptions(seed=seed)) for seed in range(SCREENED)]
    left = next(one for one in tuned.tried if one.verdict == UNCHANGED)
    assert {row.id: row.base for row in left.rows} == {
        row: mean(values) for row, values in values_of(DECIDING, runs).items()
    }


def test_a_planted_winner_is_one(synthetic_kev: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def planted(recording: Any, policy: Any, *, options: Any, **named: Any) -> Run:
        run = replay(recording, "mainline", options=options, **named)
        if "extfrag_threshold" in policy.spec:
            run.metrics["end"]["mixed_blocks"] -= 200 + options.seed
        return run

    monkeypatch.setattr(compared, "replay", planted)
    found = tune(synthetic_kev, settings=TRIED, repeats=8)
    assert [(one.setting, one.verdict) for one in found.winners] == [("extfrag_threshold=0", HELPS)]
    assert (
        tuned_conclusion(found)
        == "The model says that 1 of 5 settings helps on this demand: extfrag_threshold=0."
    )
    assert {one.verdict for one in found.tried[1:]} == {UNCHANGED}


def test_a_setting_that_runs_out_of_memory_gives_its_place_to_others(
    synthetic_kev: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much better its rows are: four of five candidates differ, and three are tested."""
    killing = "extfrag_threshold=0"

    def planted(recording: Any, policy: Any, *, options: Any, **named: Any) -> Run:
        run = replay(recording, policy, options=options, **named)
        run.metrics["vmstat"] = defaultdict(int, oom_kill=5 if killing in policy.spec else 0)
        run.metrics["end"]["mixed_blocks"] += TRIED.index(policy.spec.partition(",")[2] or TRIED[1])
        if killing in policy.spec:
            run.metrics["end"]["mixed_blocks"] -= 200 + options.seed
        return run

    monkeypatch.setattr(compared, "replay", planted)
    found = tune(synthetic_kev, settings=TRIED, repeats=8)
    assert {one.setting: one.verdict for one in found.tried}[killing] == OUT_OF_MEMORY
    assert sum(one.verdict not in SCREENED_OUT for one in found.tried) == 3
    assert OOM_KILL not in {row.id for one in found.tried for row in one.rows}


def test_a_short_time_still_screens_and_tests(synthetic_kev: Path) -> None:
    found = tune(synthetic_kev, settings=["min_free_kbytes=2000"], seconds=0)
    assert (found.screened, found.tested) == (SCREENED, 8)
    assert found == tune(synthetic_kev, settings=["min_free_kbytes=2000"], repeats=8)


def test_settings_that_change_nothing_are_not_tested(synthetic_kev: Path) -> None:
    found = tune(synthetic_kev, settings=["compaction_proactiveness=20"], repeats=9)
    assert (found.tested, found.found) == (0, {})
    assert tuned_conclusion(found) == "The model shows none of 1 setting to help on this demand."


def tried(path: Path, base: str = "mainline", **machine: Any) -> list[str]:
    recording = Recording.open(path)
    described = replace(recording.machine, **machine)
    assert recording.start is not None
    return grid(described, recording.start, build_demand(recording), parse_policy(base))


def test_the_grid_has_no_setting_that_was_recorded_or_that_the_base_gives(synthetic_kev: Path) -> None:
    plain = tried(synthetic_kev)
    left_out = {
        "memory",
        "thp_enabled",
        "thp_defrag",
        "defrag_mode",
        "zram",
        "zram_ratio",
        "swappiness",
        "lru_gen",
        "anon_used",
    }
    assert {text.partition("=")[0] for text in plain} == set(SETTINGS) - left_out
    assert "min_free_kbytes=512" in plain, "twice the 64 pages that the marks tell"
    assert "compact_unevictable_allowed=0" in plain
    assert "compact_unevictable_allowed=1" not in plain
    for text in plain:
        parse_policy(f"mainline,{text}")
    recorded = {"compact_unevictable_allowed": 0, "compaction_proactiveness": 0, "min_free_kbytes": 1000}
    others = tried(synthetic_kev, extra={"settings": recorded})
    assert "compact_unevictable_allowed=1" in others
    assert "compaction_proactiveness=0" not in others
    assert "min_free_kbytes=2000" in others
    turned = tried(synthetic_kev, "mainline,watermark_boost_factor=7")
    assert not [text for text in turned if text.startswith("watermark_boost")]


def test_thp_is_tried_where_the_demand_has_huge_faults(tmp_path: Path) -> None:
    script = synthetic.Script()
    for number in range(100, 112):
        script.alloc(number, 9, mt=1, gfp=GFP_TRANSHUGE_LIGHT | GFP_DIRECT_RECLAIM | GFP_NORETRY)
        script.free(number, 9)
    path = synthetic.write_recording(tmp_path / "huge.kev", script=script)
    names = [
        text for text in tried(path, extra={"settings": {"thp_defrag": "always"}}) if text.startswith("thp")
    ]
    assert names == ["thp_defrag=madvise", "thp_defrag=never", "thp_enabled=never"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"settings": ["nothing=1"]}, "no knob 'nothing'"),
        ({"settings": ["defrag_mode=3"]}, "defrag_mode of policy mainline cannot be '3'"),
        ({"settings": ["memory=0.9,defrag_mode=1"]}, "is no setting"),
        ({"settings": [3]}, "is no setting"),
        ({"settings": "defrag_mode=1"}, "settings cannot be 'defrag_mode=1'"),
        ({"settings": []}, "no setting to try"),
        ({"settings": ["memory=0.9", "memory=0.9"]}, "named more than once"),
        ({"base": "mainline,memory=0.9", "settings": ["memory=0.8"]}, "gives the knob memory twice"),
        ({"base": "none"}, "no policy 'none'"),
        ({"repeats": 7}, "repeats cannot be 7"),
        ({"seconds": -1.0}, "seconds cannot be"),
        ({"workers": 0}, "workers cannot be"),
        ({"options": 3}, "options cannot be"),
        ({"settings": ["memory=0.001"], "repeats": 8}, "memory=0.001 cannot be replayed"),
    ],
)
def test_what_is_refused(arguments: dict[str, Any], said: str, synthetic_kev: Path) -> None:
    with pytest.raises(KevacuateError) as caught:
        tune(synthetic_kev, **arguments)
    assert said in str(caught.value)
    assert str(caught.value).endswith(".")
