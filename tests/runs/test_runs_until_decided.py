# SPDX-License-Identifier: GPL-2.0-or-later
"""Replays until the rows that decide are decided: how many are made depends on their figures, or on the time that is spent."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from kevacuate.cli.main import main
from kevacuate.errors import KevacuateError
from kevacuate.measure import Run
from kevacuate.measure.deciding import COSTS, DECIDING, decided, deciding_values
from kevacuate.measure.sequential import SequentialTest
from kevacuate.recording import Recording
from kevacuate.reports.comparison.rows import row_of
from kevacuate.runs import compare as module
from kevacuate.runs.compare import compare
from kevacuate.runs.until_decided import TABLE_LOOKS, Budget, _worth_going_on, replay_until_decided

PAIR = ("mainline,skip-bits=0.5", "evacuate,skip-bits=0.5")


def figures(policy: int, seed: int, *, effect: float, spread: float) -> Run:
    """A run whose rows that decide are drawn."""
    value = 1000 + effect * policy + spread * float(np.random.default_rng([policy, seed]).normal())
    end = {"mixed_blocks": value, "polluted_blocks": value, "regions_2m": {"movable_only": value}}
    metrics: dict[str, Any] = {"claims_from_movable": value, "steals_from_movable": value, "end": end}
    return Run(str(policy), metrics, {"t": [0]}, {"options": {"seed": seed}})


def unspent() -> Budget:
    return Budget(1e6)


@pytest.mark.parametrize("workers", [1, 3, 16])
def test_it_ends_at_the_look_that_decides_however_many_run_at_once(workers: int) -> None:
    made: set[tuple[int, int]] = set()

    def one(policy: int, seed: int) -> Run:
        made.add((policy, seed))
        time.sleep(0.001 * ((policy * 7 + seed * 3) % 5))
        return figures(policy, seed, effect=0, spread=80)

    groups = replay_until_decided(3, one, workers=workers, budget=unspent())
    assert [[run.seed for run in group] for group in groups] == [
        list(range(12))
    ] * 3  # 20 % of 1,000 is 2.5 sd
    assert len(made) <= 3 * 12 + 2 * workers


def test_an_effect_ends_it_early() -> None:
    groups = replay_until_decided(
        2, lambda policy, seed: figures(policy, seed, effect=900, spread=100), workers=2, budget=unspent()
    )
    assert len(groups[0]) == len(groups[1]) == 8


def test_a_spent_time_ends_it_with_as_many_runs_of_each_policy() -> None:
    budget = Budget(0.3)

    def one(policy: int, seed: int) -> Run:
        budget.begin()
        time.sleep(0.01 + 0.01 * policy)
        return figures(policy, seed, effect=0, spread=5000)

    groups = replay_until_decided(2, one, workers=2, budget=budget)
    assert len(groups[0]) == len(groups[1])
    assert 5 <= len(groups[0]) <= 30


def wild(budget: Budget, most: int) -> int:
    """Replays of each of two policies whose spread is their mean: a bound of 20 % takes more than 2,000. *most* are made."""

    def one(policy: int, seed: int) -> Run:
        budget.begin()
        if seed >= most:
            raise KevacuateError("goes on")
        time.sleep(0.02)
        return figures(policy, seed, effect=0, spread=1000)

    return len(replay_until_decided(2, one, workers=1, budget=budget)[0])


def test_it_does_not_wait_for_rows_that_the_time_is_too_short_for() -> None:
    assert wild(Budget(2.0), 1000) in (8, 12)


@pytest.mark.parametrize(("seconds", "look"), [(60, 0.001), (60, 0.01), (200, 0.01), (400, 0.02)])
def test_the_last_seed_and_the_table_are_within_the_time(
    seconds: float, look: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr("kevacuate.runs.until_decided.time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr("kevacuate.runs.until_decided._worth_going_on", lambda *_: True)
    decide = SequentialTest.decide

    def slow(test: SequentialTest, values: Any, replays: int) -> Any:
        clock[0] += look * replays
        return decide(test, values, replays)

    monkeypatch.setattr(SequentialTest, "decide", slow)
    budget = Budget(seconds, None, 3.0)

    def one(policy: int, seed: int) -> Run:
        budget.begin()
        clock[0] += 0.5
        return figures(policy, seed, effect=0, spread=1e6)

    made = len(replay_until_decided(2, one, workers=1, budget=budget)[0])
    behind = max(3.0, TABLE_LOOKS * look * made)
    assert seconds - 3 < clock[0] + behind <= seconds + 1


def test_what_is_worth_waiting_for() -> None:
    groups = [[figures(policy, seed, effect=0, spread=1000) for seed in range(8)] for policy in (0, 1)]
    test, values = SequentialTest(), deciding_values(groups)
    told = test.decide(values, 8)
    assert [_worth_going_on(test, values, told, until) for until in (8, 9, 50, 100_000)] == [False] * 3 + [
        True
    ]
    assert _worth_going_on(test, values, test.decide(values, 5), 5), "nothing is tested there"


def test_it_waits_for_rows_that_the_time_suffices_for() -> None:
    with pytest.raises(KevacuateError, match="goes on"):
        wild(unspent(), 15)


def test_five_are_made_however_short_the_time(synthetic_kev: Path) -> None:
    result = compare(Recording.open(synthetic_kev), PAIR, seconds=0)
    assert [(run.policy, run.seed) for run in result.runs] == [(p, s) for p in PAIR for s in range(5)]
    assert result == compare(Recording.open(synthetic_kev), PAIR)


def test_the_number_that_was_made_gives_the_same_bit_for_bit(
    synthetic_kev: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Until(Budget):
        """Spent once six seeds are begun."""

        asked = 0

        @property
        def spent(self) -> bool:
            self.asked += 1
            return self.asked > 1

    monkeypatch.setattr(module, "Budget", Until)
    result = compare(Recording.open(synthetic_kev), PAIR, seconds=60, seed=3)
    monkeypatch.undo()
    replays = len(result.runs) // 2
    assert replays == 6
    again = compare(Recording.open(synthetic_kev), PAIR, repeats=replays, seed=3)
    assert result == again
    assert decided(result) == decided(again)


@pytest.mark.parametrize(
    ("given", "counts"),
    [(["--time", "60s"], True), ([], False)],
    ids=["asked for", "default"],
)
def test_compiling_counts_of_a_time_that_was_asked_for_alone(
    given: list[str], counts: bool, synthetic_kev: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = []

    def budget(_: float, since: float | None, reserved: float) -> Budget:
        counted.append(since is not None)
        return Budget(0, since, reserved)

    monkeypatch.setattr(module, "Budget", budget)
    monkeypatch.setattr(module, "is_kept", lambda _: False)
    with pytest.raises(SystemExit) as ended:
        main(["compare", str(synthetic_kev), *given])
    assert ended.value.code == 0
    assert counted == [counts]


def test_what_goes_wrong_ends_it(synthetic_kev: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> Run:
        raise KevacuateError("refused")

    monkeypatch.setattr(module, "replay", broken)
    with pytest.raises(KevacuateError, match="refused"):
        compare(Recording.open(synthetic_kev), PAIR, seconds=60)
    for thread in threading.enumerate():
        if thread.name.startswith("replay"):
            thread.join(60)
            assert not thread.is_alive()


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), "15s", True, 1e9])
def test_a_time_that_is_none_is_refused(seconds: Any, synthetic_kev: Path) -> None:
    with pytest.raises(KevacuateError, match=r"^seconds cannot be .*: it is a number from 0 to 604,800\.$"):
        compare(Recording.open(synthetic_kev), PAIR, seconds=seconds)


def test_a_number_and_a_time_together_are_refused(synthetic_kev: Path) -> None:
    with pytest.raises(KevacuateError, match="Both repeats and seconds"):
        compare(Recording.open(synthetic_kev), PAIR, seconds=1, repeats=2)


def test_a_row_that_decides_or_is_paid_is_the_table_s_row() -> None:
    for row_id, row in (DECIDING | COSTS).items():
        assert row is row_of(row_id)
    assert not set(DECIDING) & set(COSTS)
