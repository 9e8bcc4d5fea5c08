# SPDX-License-Identifier: GPL-2.0-or-later
"""Several replays of each policy: which they are, that their order and number at once change nothing, what goes wrong."""

import threading
import time
from pathlib import Path

import pytest

from kevacuate.errors import KevacuateError
from kevacuate.measure import Comparison
from kevacuate.measure.results import typical_run
from kevacuate.recording import Recording
from kevacuate.runs import compare as module
from kevacuate.runs.compare import compare
from kevacuate.runs.options import ReplayOptions
from kevacuate.runs.replay import Progress, replay

POLICIES = ("mainline,skip-bits=0.5", "evacuate,skip-bits=0.5")
REPEATS = 4


@pytest.fixture(scope="module")
def one_by_one(synthetic_kev: Path) -> Comparison:
    return compare(Recording.open(synthetic_kev), POLICIES, repeats=REPEATS, workers=1)


def digests(comparison: Comparison) -> list[str]:
    return [run.provenance["final_state_digest"] for run in comparison.runs]


def test_seeds_follow_each_other_policy_by_policy(one_by_one: Comparison) -> None:
    assert [(run.policy, run.seed) for run in one_by_one.runs] == [
        (p, s) for p in POLICIES for s in range(REPEATS)
    ]
    assert len(set(digests(one_by_one))) > REPEATS, "seeds that draw something else end elsewhere"


def test_each_is_the_replay_with_that_seed(synthetic_kev: Path, one_by_one: Comparison) -> None:
    for run in one_by_one.runs[1::3]:
        alone = replay(Recording.open(synthetic_kev), run.policy, options=ReplayOptions(seed=run.seed))
        assert alone == run


@pytest.mark.parametrize("workers", [2, 7, None])
def test_how_many_run_at_once_changes_nothing(
    synthetic_kev: Path, one_by_one: Comparison, workers: int | None
) -> None:
    again = compare(Recording.open(synthetic_kev), POLICIES, repeats=REPEATS, workers=workers)
    assert again == one_by_one
    assert digests(again) == digests(one_by_one)


def test_another_first_seed(synthetic_kev: Path, one_by_one: Comparison) -> None:
    options = ReplayOptions(seed=2)
    later = compare(Recording.open(synthetic_kev), POLICIES[:1], repeats=2, options=options)
    assert later.runs == one_by_one.runs[2:4]


def test_the_typical_run_of_each_policy_keeps_its_map(synthetic_kev: Path, one_by_one: Comparison) -> None:
    options = ReplayOptions(keep=True)
    kept = compare(Recording.open(synthetic_kev), POLICIES, repeats=REPEATS, options=options)
    assert kept == one_by_one, "keeping the map changes no figure"
    for policy, runs in kept.groups.items():
        (drawn,) = [run for run in runs if run.frames is not None]
        assert drawn.history is not None
        assert drawn.seed == typical_run(one_by_one.groups[policy]).seed
        assert typical_run(runs) is drawn


def test_progress_is_of_all_replays_of_a_policy(synthetic_kev: Path) -> None:
    told: list[tuple[str, int, int]] = []
    lock = threading.Lock()

    def progress(name: str, done: int, total: int) -> None:
        with lock:
            told.append((name, done, total))

    options = ReplayOptions(chunk_rows=20_000)
    result = compare(
        Recording.open(synthetic_kev), POLICIES, repeats=2, workers=3, options=options, progress=progress
    )
    rows = result.baseline.metrics["demand_rows"]
    for policy in POLICIES:
        own = [(done, total) for name, done, total in told if name == policy]
        assert own[-1] == (2 * rows, 2 * rows)
        assert [done for done, _ in own] == sorted(done for done, _ in own)


@pytest.mark.parametrize("workers", [1, 3])
def test_what_goes_wrong_in_one_replay_ends_them_all(
    synthetic_kev: Path, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished: list[int] = []

    def broken(*args: object, options: ReplayOptions, progress: Progress, **named: object) -> object:
        if options.seed == 1:
            raise KevacuateError("seed 1 is refused")
        end = time.monotonic() + 600
        while options.seed and time.monotonic() < end:  # a replay that takes long, until it is told to end
            progress(0, 1)
            time.sleep(0.001)
        run = replay(*args, options=options, progress=progress, **named)  # type: ignore[arg-type]
        finished.append(options.seed)
        return run

    monkeypatch.setattr(module, "replay", broken)
    with pytest.raises(KevacuateError, match="seed 1 is refused"):
        compare(Recording.open(synthetic_kev), POLICIES, repeats=50, workers=workers)
    assert set(finished) <= {0}, "no other seed's replay goes on to its end"
    for thread in threading.enumerate():  # told to end; what one compiles is not waited for
        if thread.name.startswith("replay"):
            thread.join(60)
            assert not thread.is_alive()


def test_an_interrupt_ends_the_replays_under_way(synthetic_kev: Path) -> None:
    def interrupted(name: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare(Recording.open(synthetic_kev), POLICIES, repeats=20, workers=2, progress=interrupted)


@pytest.mark.parametrize(
    ("policies", "numbers", "said"),
    [
        (("mainline", "evacuate", "mainline"), {}, "mainline was named more than once"),
        ((), {}, "name at least one"),
        (("mainline",), {"repeats": 0}, "whole number, at least 1"),
        (("mainline",), {"workers": 0}, "whole number, at least 1"),
    ],
)
def test_refusals(synthetic_kev: Path, policies: tuple[str, ...], numbers: dict[str, int], said: str) -> None:
    with pytest.raises(KevacuateError, match=said):
        compare(Recording.open(synthetic_kev), policies, **numbers)  # type: ignore[arg-type]


def test_fewer_at_once_where_memory_is_short(synthetic_kev: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recording = Recording.open(synthetic_kev)
    start = recording.start
    assert start is not None
    pages = max(zone.start_pfn + zone.spanned for zone in start.zones)
    monkeypatch.setattr(module.os, "sched_getaffinity", lambda _: set(range(64)))
    size = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 2 * 3 * pages * module.STATE_BYTES // 4096 + 1}
    monkeypatch.setattr(module.os, "sysconf", size.__getitem__)
    assert module.workers_for(recording, 100) == (1 if module.JIT_DISABLED else 3)
    assert module.workers_for(recording, 2) <= 2
    size["SC_PHYS_PAGES"] = 1
    assert module.workers_for(recording, 100) == 1
