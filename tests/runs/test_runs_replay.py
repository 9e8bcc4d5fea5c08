# SPDX-License-Identifier: GPL-2.0-or-later
"""Whole replays of the hand-made recording: what they do, and that equal inputs give equal outputs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from kevacuate.measure import Run
from kevacuate.recording import Recording
from kevacuate.runs.compare import compare
from kevacuate.runs.options import ReplayOptions
from kevacuate.runs.replay import replay

POLICIES = ("mainline", "evacuate", "evacuate,pool=0", "evacuate,wq=per-node,skip-hint=ignore")

ELSEWHERE = """
import json, sys
from kevacuate.recording import Recording
from kevacuate.runs.replay import replay
print(json.dumps([replay(Recording.open(sys.argv[1]), p).to_json(series=True) for p in sys.argv[2:]]))
"""


@pytest.fixture(scope="module")
def runs(synthetic_kev: Path) -> dict[str, Run]:
    result = compare(Recording.open(synthetic_kev), POLICIES, repeats=1)
    return dict(zip(POLICIES, result.runs, strict=True))


def digest(run: Run) -> str:
    return str(run.provenance["final_state_digest"])


def test_the_demand_reaches_what_these_tests_are_about(runs: dict[str, Run]) -> None:
    metrics = runs["evacuate"].metrics
    for name in (
        "claims_from_movable",
        "claims_refused",
        "steals_from_movable",
        "allocations_failed",
        "frees_of_failed",
        "frees_of_dropped",
        "kswapd_wakes",
        "evacuations_started",
        "evacuations_started_with_skip_bit",
        "pages_dropped",
        "pages_migrated",
        "compactions",
        "compaction_pages_migrated",
    ):
        assert metrics[name] > 0, name
    past_the_skip_bit = runs["evacuate,wq=per-node,skip-hint=ignore"].metrics
    assert past_the_skip_bit["pages_failed"] > 0
    assert sum(n > 0 for n in past_the_skip_bit["evacuations_ended"].values()) >= 3


def test_evacuations_happen_and_end_under_evacuate_alone(runs: dict[str, Run]) -> None:
    for name in ("evacuate", "evacuate,wq=per-node,skip-hint=ignore"):
        metrics = runs[name].metrics
        assert metrics["evacuations_queued"] > 0
        assert metrics["evacuations_finished"] == metrics["evacuations_queued"]
        assert metrics["worker_cpu_seconds"] > 0
    mainline = runs["mainline"].metrics
    assert not any(mainline[n] for n in mainline if n.startswith("evacuations_") and n != "evacuations_ended")
    assert mainline["pages_isolated"] == mainline["frees_of_dropped"] == mainline["worker_cpu_seconds"] == 0


def test_policies_that_evacuate_end_elsewhere(runs: dict[str, Run]) -> None:
    assert len({digest(runs[p]) for p in POLICIES}) == 3


def test_a_pool_of_no_items_is_mainline_bit_for_bit(runs: dict[str, Run]) -> None:
    mainline, empty = runs["mainline"], runs["evacuate,pool=0"]
    assert digest(empty) == digest(mainline)
    apart = {name for name in empty.series if empty.series[name] != mainline.series[name]}
    assert apart <= {"evacuations_dropped"}
    differing = {n for n in mainline.metrics if mainline.metrics[n] != empty.metrics[n]}
    assert differing == {"evacuations_dropped"}
    assert empty.metrics["evacuations_dropped"] == mainline.metrics["claims_from_movable"]


@pytest.mark.parametrize("skip", ["none", "all", "0.5"])
def test_a_pool_of_no_items_is_mainline_whatever_the_skip_bits(synthetic_kev: Path, skip: str) -> None:
    specs = [f"mainline,skip-bits={skip}", f"evacuate,pool=0,skip-bits={skip}"]
    first, second = compare(Recording.open(synthetic_kev), specs, repeats=1).runs
    assert digest(first) == digest(second)


def test_skip_bits_on_all_blocks_stop_every_evacuation(synthetic_kev: Path) -> None:
    metrics = replay(Recording.open(synthetic_kev), "evacuate,skip-bits=all").metrics
    assert metrics["start_blocks_with_skip_bit"] == metrics["start_blocks"] == 16
    assert metrics["evacuations_started_with_skip_bit"] == metrics["evacuations_started"] > 0
    assert metrics["pages_isolated"] == 0


def test_a_run_repeated_is_identical(synthetic_kev: Path, runs: dict[str, Run]) -> None:
    for policy in POLICIES:
        again = replay(Recording.open(synthetic_kev), policy)
        assert again == runs[policy]


def test_a_run_in_another_process_is_identical(synthetic_kev: Path, runs: dict[str, Run]) -> None:
    command = [sys.executable, "-c", ELSEWHERE, str(synthetic_kev), *POLICIES]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600)
    for policy, there in zip(POLICIES, json.loads(done.stdout), strict=True):
        here = json.loads(json.dumps(runs[policy].to_json(series=True)))
        del here["timing"], there["timing"]
        assert there == here


@pytest.mark.parametrize(
    "options",
    [
        ReplayOptions(chunk_rows=1, prefetch=0),
        ReplayOptions(chunk_rows=7, prefetch=8),
        ReplayOptions(chunk_rows=1000, prefetch=3),
        ReplayOptions(chunk_rows=1 << 18, prefetch=0),
        ReplayOptions(prefetch=100),
        ReplayOptions(log_capacity=1 << 15),
    ],
)
def test_sizes_change_nothing(synthetic_kev: Path, runs: dict[str, Run], options: ReplayOptions) -> None:
    run = replay(Recording.open(synthetic_kev), "evacuate", options=options)
    assert run == runs["evacuate"]


@pytest.mark.parametrize("samples", [1, 3, 1000])
def test_measuring_more_often_changes_nothing_but_the_series(
    synthetic_kev: Path, runs: dict[str, Run], samples: int
) -> None:
    run = replay(Recording.open(synthetic_kev), "evacuate", options=ReplayOptions(samples=samples))
    assert digest(run) == digest(runs["evacuate"])
    assert run.metrics == runs["evacuate"].metrics
    times = run.series["t"]
    assert times[0] == 0
    assert samples <= len(times) <= samples + 3
    assert times == sorted(times)
    assert {len(column) for column in run.series.values()} == {len(times)}


def test_the_seed_decides_which_blocks_carry_skip_bits(synthetic_kev: Path) -> None:
    def run(seed: int) -> Run:
        options = ReplayOptions(seed=seed)
        return replay(Recording.open(synthetic_kev), "mainline,skip-bits=0.5", options=options)

    assert digest(run(1)) == digest(run(1))
    assert digest(run(1)) != digest(run(2))
    assert 2 <= run(1).metrics["start_blocks_with_skip_bit"] <= 14


def test_progress_ends_at_the_number_of_rows(synthetic_kev: Path) -> None:
    seen: list[tuple[int, int]] = []
    options = ReplayOptions(chunk_rows=5000)
    run = replay(
        Recording.open(synthetic_kev),
        options=options,
        progress=lambda done, total: seen.append((done, total)),
    )
    rows = run.metrics["demand_rows"]
    assert seen[-1] == (rows, rows)
    assert [done for done, _ in seen] == [*range(5000, rows, 5000), rows]
