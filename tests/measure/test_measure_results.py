# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs and comparisons as values: prices, JSON, what counts as equal."""

import json
from dataclasses import replace
from typing import Any

import pytest

from kevacuate.measure import Comparison, Run, prices
from kevacuate.measure.results import typical_run


def run(huge: int = 0, regions: int = 0, seconds: float = 0.0, dropped: int = 0, **more: Any) -> Run:
    end = {
        "huge_pages_free": huge,
        "regions_2m": {"movable_only": regions},
        "mixed_blocks": more.get("mixed", 0),
    }
    metrics = {"end": end, "worker_cpu_seconds": seconds, "pages_dropped": dropped}
    about = {"options": {"seed": more["seed"]}} if "seed" in more else {}
    return Run(more.get("policy", "p"), metrics, {"t": [0]}, about, more.get("timing", {"seconds": 1.0}))


def test_prices_divide_the_gain_by_what_was_paid() -> None:
    assert prices([run(10, 20)], [run(13, 28, 0.5, 4)]) == {
        "huge_pages_gained": 3,
        "movable_only_gained": 8,
        "huge_pages_per_worker_second": 6.0,
        "huge_pages_per_dropped_page": 0.75,
        "movable_only_per_worker_second": 16.0,
        "movable_only_per_dropped_page": 2.0,
    }


def test_a_loss_has_a_negative_price() -> None:
    paid = prices([run(10, 20)], [run(8, 15, 2.0, 10)])
    assert (paid["huge_pages_per_worker_second"], paid["movable_only_per_dropped_page"]) == (-1.0, -0.5)


def test_no_price_where_nothing_was_paid() -> None:
    paid = prices([run(1, 1)], [run(5, 5)])
    assert (paid["huge_pages_gained"], paid["movable_only_gained"]) == (4, 4)
    assert [paid[n] for n in paid if "_per_" in n] == [None] * 4


@pytest.mark.parametrize("series", [False, True])
def test_json_of_a_comparison(series: bool) -> None:
    both = Comparison((run(policy="a"), run(policy="b", huge=2)), {"name": "x"})
    out = json.loads(json.dumps(both.to_json(series=series)))
    assert [r["policy"] for r in out["runs"]] == ["a", "b"]
    keys = {"policy", "metrics", "timing", "provenance", "prices"} | ({"series"} if series else set())
    assert all(set(r) == keys for r in out["runs"])
    assert out["recording"] == {"name": "x"}
    assert both.baseline is both.runs[0]
    assert out["runs"][1]["prices"]["huge_pages_gained"] == 2


def test_runs_are_equal_whatever_time_they_took() -> None:
    assert run(1, timing={"seconds": 1}) == run(1, timing={"seconds": 2})
    assert run(1) != run(2)


def test_prices_of_several_runs_are_those_of_their_means() -> None:
    paid = prices([run(10, 20), run(20, 20)], [run(20, 24, 1.0, 2), run(22, 28, 3.0, 6)])
    assert (paid["huge_pages_gained"], paid["movable_only_gained"]) == (6.0, 6.0)
    assert (paid["huge_pages_per_worker_second"], paid["movable_only_per_dropped_page"]) == (3.0, 1.5)


def test_runs_by_policy_and_the_prices_of_each_against_its_seed() -> None:
    runs = [run(huge=h, policy=p, seed=s) for p, s, h in (("a", 0, 1), ("b", 1, 9), ("a", 1, 5), ("b", 7, 9))]
    some = Comparison(tuple(runs), {})
    assert {p: [r.seed for r in own] for p, own in some.groups.items()} == {"a": [0, 1], "b": [1, 7]}
    assert some.repeated
    assert not Comparison(tuple(runs[:2]), {}).repeated
    gained = [one["prices"]["huge_pages_gained"] for one in some.to_json()["runs"]]
    assert gained == [0, 9 - 5, 0, 9 - 1], "a seed that the first policy was not run with: its first run"


@pytest.mark.parametrize(
    ("mixed", "typical"),
    [([4], 0), ([9, 1], 1), ([5, 9, 1], 0), ([7, 7, 7, 7], 1), ([3, 9, 4, 1], 0)],
)
def test_the_typical_run_is_the_median(mixed: list[int], typical: int) -> None:
    runs = [run(mixed=m, seed=i) for i, m in enumerate(mixed)]
    assert typical_run(runs) is runs[typical]
    shown: Any = object()
    last = replace(runs[-1], frames=shown)
    assert typical_run([*runs[:-1], last]) is last, "what has no map cannot be shown"
    assert Comparison((*runs, run(policy="q")), {}).typical.runs == (runs[typical], run(policy="q"))
