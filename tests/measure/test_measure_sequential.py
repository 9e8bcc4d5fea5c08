# SPDX-License-Identifier: GPL-2.0-or-later
"""The sequential test: its error is kept on any data, it sees what it says it would have seen, and it is a function of values."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

import numpy as np
import pytest

from kevacuate.measure import sequential as module
from kevacuate.measure.intervals import POWER, seen_errors
from kevacuate.measure.permutation import LEVEL, permutation_p
from kevacuate.measure.power import least_seen
from kevacuate.measure.sequential import (
    DIFFERS,
    EQUAL,
    OPEN,
    SMALL,
    SequentialTest,
    Values,
    looks,
    looks_until,
)

Drawn = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]

KINDS: dict[str, Drawn] = {
    "normal": lambda rng, size: rng.normal(100, 30, size),
    "skewed": lambda rng, size: rng.lognormal(4, 1.2, size),
    "counts": lambda rng, size: rng.negative_binomial(1, 0.2, size).astype(float),
}


def table(values: np.ndarray) -> Values:
    """float[policies, rows, replays] as the test takes it; policy 0 is the first."""
    return {
        (str(row), policy): (values[0, row].tolist(), values[policy, row].tolist())
        for row in range(values.shape[1])
        for policy in range(1, len(values))
    }


def test_the_shares_of_all_looks_are_the_error_at_most() -> None:
    shares = [share for _, share in islice(looks(), 60)]
    assert 0.99 < sum(shares) <= 1
    numbers = [number for number, _ in islice(looks(), 60)]
    assert numbers[:6] == [5, 8, 12, 18, 27, 40]
    assert numbers == sorted(set(numbers))


@pytest.mark.parametrize("replays", [2, 5, 8, 9, 33, 40, 41, 1000])
def test_the_last_replays_are_looked_at_with_the_share_of_the_look_they_come_before(replays: int) -> None:
    told, due = looks_until(replays), list(islice(looks(), 40))
    assert told[-1][0] == replays
    assert [share for _, share in told] == [share for _, share in due[: len(told)]]
    assert [number for number, _ in told[:-1]] == [number for number, _ in due[: len(told) - 1]]
    assert due[len(told) - 1][0] >= replays


@pytest.mark.parametrize("kind", KINDS)
def test_without_an_effect_some_row_is_called_in_at_most_one_of_twenty(kind: str) -> None:
    """200 comparisons of three policies and two rows, looked at after 8 and 12 replays (benchmarks has 1,000, to 40 replays)."""
    rng, called, uncorrected = np.random.default_rng(7), 0, 0
    for _ in range(200):
        values = table(KINDS[kind](rng, (3, 2, 12)))
        called += any(row.state == DIFFERS for row in SequentialTest().decide(values, 12).rows)
        uncorrected += any(permutation_p(a[:n], b[:n]) <= LEVEL for a, b in values.values() for n in (8, 12))
    assert called <= LEVEL * 200
    assert uncorrected > 2 * LEVEL * 200, "what is corrected is there"


def test_a_change_that_would_have_been_seen_is_seen_as_often_as_is_said() -> None:
    """One row, 27 replays: a change of the size that is told for the spread as it is."""
    rng, called = np.random.default_rng(3), 0
    ideal = rng.normal(0, 1, 4000)
    spread = 20 * (ideal - ideal.mean()) / ideal.std()
    share = looks_until(27)[-1][1]
    change = least_seen((100 + spread[:27]).tolist(), (100 + spread[27:54]).tolist(), LEVEL * share)
    assert change is not None
    exact = seen_errors(LEVEL * share, 52) * 20 * (2 / 27) ** 0.5 / 100
    assert change == pytest.approx(exact, rel=0.3)
    for _ in range(120):
        values = table(rng.normal(100, 20, (2, 1, 27)) + np.array([0, 100 * exact]).reshape(2, 1, 1))
        called += SequentialTest().decide(values, 27).rows[0].state == DIFFERS
    assert 0.7 * 120 <= called <= 0.95 * 120


def test_a_change_that_few_replays_would_have_seen_is_seen_as_often_as_is_said() -> None:
    """Eight replays at a small level: neither t's tail nor the whole numbers of deals may be left out."""
    rng, level = np.random.default_rng(8), 0.0004
    ideal = np.array([-1.42, -0.85, -0.47, -0.15, 0.15, 0.47, 0.85, 1.42])
    noise = 10 * ideal / ideal.std(ddof=1)
    change = least_seen((100 + noise).tolist(), (100 + noise).tolist(), level)
    assert change is not None
    drawn = rng.normal(0, 10, (500, 2, 8)) + np.array([[100], [100 + 100 * change]])
    called = sum(permutation_p(a.tolist(), b.tolist()) <= level for a, b in drawn)
    assert (POWER - 0.06) * 500 <= called <= (POWER + 0.06) * 500


@pytest.fixture
def uncalled(monkeypatch: pytest.MonkeyPatch) -> None:
    """No row is called, which takes most of the time: what is tested are the bounds."""
    monkeypatch.setattr(module, "permutation_p", lambda *_: 1.0)


def test_a_change_that_matters_is_seldom_said_to_be_smaller(uncalled: None) -> None:
    """60 comparisons in which all four rows have 20 % more; benchmarks has more, of other kinds."""
    rng, wrong, right = np.random.default_rng(22), 0, 0
    for _ in range(60):
        values = rng.normal(100, 14, (3, 2, 27))
        changed = values * np.array([1.0, 1.2, 1.2])[:, None, None]
        wrong += any(row.state == SMALL for row in SequentialTest().decide(table(changed), 27).rows)
        right += all(row.state == SMALL for row in SequentialTest().decide(table(values), 27).rows)
    assert wrong <= LEVEL * 60
    assert right >= 45


def test_bounds_grow_no_wider_and_what_is_small_stays_so() -> None:
    rng = np.random.default_rng(12)
    values = table(rng.normal(100, 12, (2, 1, 60)))
    steps = [SequentialTest().decide(values, number).rows[0] for number in (8, 12, 18, 27, 40, 60)]
    widths = [row.high - row.low for row in steps if row.high is not None and row.low is not None]
    assert len(widths) == len(steps)
    assert widths == sorted(widths, reverse=True)
    states = [row.state for row in steps]
    assert states[states.index(SMALL) :] == [SMALL] * (len(steps) - states.index(SMALL))
    assert states.index(SMALL) > 0


def test_so_many_replays_as_are_said_to_be_needed_are_needed(uncalled: None) -> None:
    """One row that varies by a third: after the look that is named, most comparisons find no change that matters."""
    rng = np.random.default_rng(13)
    ideal = rng.normal(0, 1, 4000)
    spread = 33 * (ideal - ideal.mean()) / ideal.std()
    first = SequentialTest().decide(table(100 + np.array([[spread[:12]], [spread[12:24]]])), 12).rows[0]
    needed = first.needed
    assert needed in (90, 135, 202)
    found = {needed: 0, 27: 0}
    for _ in range(20):
        values = table(rng.normal(100, 33, (2, 1, needed)))
        for number in found:
            found[number] += SequentialTest().decide(values, number).rows[0].state == SMALL
    assert found[27] < 5
    assert found[needed] >= 13


def test_the_outlook_is_what_comes_of_it() -> None:
    """Of comparisons after 12 replays: those with good prospects are decided by 27, those without are not."""
    rng, good, bad = np.random.default_rng(14), [0, 0], [0, 0]
    for _ in range(150):
        sd, effect = rng.choice([10, 25, 60]), rng.choice([0, 20])
        values = table(rng.normal(100, sd, (2, 1, 27)) + np.array([[[0.0]], [[effect]]]))
        asked = SequentialTest()
        told = asked.decide(values, 12)
        if told.decided:
            continue
        (chance,) = asked.outlook(values, told, 27).values()
        decided = asked.decide(values, 27).decided
        if chance > 0.8:
            good = [good[0] + decided, good[1] + 1]
        elif chance < 0.2:
            bad = [bad[0] + decided, bad[1] + 1]
    assert good[1] >= 10
    assert good[0] >= 0.7 * good[1]
    assert bad[1] >= 10
    assert bad[0] <= 0.25 * bad[1]
    assert asked.outlook(values, told, 12) in ({}, dict.fromkeys(values, 0.0))


def test_what_a_row_can_come_to() -> None:
    rng = np.random.default_rng(1)
    noise = rng.normal(0, 1, (5, 18))
    values: Values = {
        ("moved", 1): ((100 + noise[0]).tolist(), (110 + noise[1]).tolist()),
        ("steady", 1): ((100 + noise[2]).tolist(), (100 + noise[3]).tolist()),
        ("fixed", 1): ([7.0] * 18, [7.0] * 18),
        ("wild", 1): ((100 + 60 * noise[4]).tolist(), (100 + 60 * noise[0]).tolist()),
        ("none", 1): ([0.0] * 18, [0.0] * 17 + [1.0]),
    }
    told = SequentialTest().decide(values, 18)
    assert {row.key[0]: row.state for row in told.rows} == {
        "moved": DIFFERS, "steady": SMALL, "fixed": EQUAL, "wild": OPEN, "none": OPEN,
    }  # fmt: skip
    by = {row.key[0]: row for row in told.rows}
    assert by["moved"].replays == 8
    assert by["steady"].replays == by["wild"].replays == 18
    assert by["wild"].seen is not None
    assert by["wild"].seen > 0.5
    assert by["none"].seen is None
    assert by["none"].low is by["none"].high is by["none"].needed is None
    assert by["wild"].needed is not None
    assert by["steady"].low is not None
    assert by["steady"].high is not None
    assert -0.05 < by["steady"].low < 0 < by["steady"].high < 0.05
    assert by["moved"].low is not None
    assert 0 < by["moved"].low < 0.1
    assert not told.decided
    assert told.spent == pytest.approx(LEVEL * 0.3)
    assert told.as_dict()["rows"][0]["id"] == "moved"


def test_five_replays_decide_nothing() -> None:
    told = SequentialTest().decide({("a", 1): ([1.0, 2, 3, 4, 5], [11.0, 12, 13, 14, 15])}, 5)
    assert told.rows[0].state == OPEN
    assert told.spent == 0


def test_what_was_called_stays_called_and_the_steps_of_asking_change_nothing() -> None:
    rng = np.random.default_rng(5)
    first, second = rng.normal(100, 5, 40), rng.normal(100, 5, 40)
    second[:8] += 30  # an effect of the first replays alone
    values: Values = {("a", 1): (first.tolist(), second.tolist())}
    asked = SequentialTest()
    steps = [asked.decide(values, number) for number in (5, 8, 12, 18, 27, 40)]
    assert [step.rows[0].state for step in steps] == [OPEN, *[DIFFERS] * 5]
    assert steps[-1] == SequentialTest().decide(values, 40)
    assert steps[-1].rows[0].replays == 8
