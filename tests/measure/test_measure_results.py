# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs and comparisons as values: prices, JSON, what counts as equal."""

import json
from typing import Any

import pytest

from kevacuate.measure import Comparison, Run, prices


def run(huge: int = 0, regions: int = 0, seconds: float = 0.0, dropped: int = 0, **more: Any) -> Run:
    end = {"huge_pages_free": huge, "regions_2m": {"movable_only": regions}}
    metrics = {"end": end, "worker_cpu_seconds": seconds, "pages_dropped": dropped}
    return Run(more.get("policy", "p"), metrics, {"t": [0]}, {}, more.get("timing", {"seconds": 1.0}))


def test_prices_divide_the_gain_by_what_was_paid() -> None:
    assert prices(run(10, 20), run(13, 28, 0.5, 4)) == {
        "huge_pages_gained": 3,
        "movable_only_gained": 8,
        "huge_pages_per_worker_second": 6.0,
        "huge_pages_per_dropped_page": 0.75,
        "movable_only_per_worker_second": 16.0,
        "movable_only_per_dropped_page": 2.0,
    }


def test_a_loss_has_a_negative_price() -> None:
    paid = prices(run(10, 20), run(8, 15, 2.0, 10))
    assert (paid["huge_pages_per_worker_second"], paid["movable_only_per_dropped_page"]) == (-1.0, -0.5)


def test_no_price_where_nothing_was_paid() -> None:
    paid = prices(run(1, 1), run(5, 5))
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
