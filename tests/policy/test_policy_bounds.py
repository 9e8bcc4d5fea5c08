# SPDX-License-Identifier: GPL-2.0-or-later
"""Knobs that bound each other, numbers that are too large for one, and knobs that do nothing alone."""

from __future__ import annotations

from pathlib import Path

import pytest

import kevacuate
from kevacuate import KevacuateError, parse_policy
from kevacuate.policy.hooks import knob
from kevacuate.reports.comparison.conclusion import idle
from kevacuate.runs.sysctls import settings_used

FILE = """
from kevacuate.policy.api import Hooks, knob


class P(Hooks):
    low = knob({low}, "h")
    high = knob({high}, "h", at_least={at_least!r})

    def free_one_page(self, s, z, pfn, order, mt, fpi, tail):
        return tail
"""


@pytest.mark.parametrize(
    ("knobs", "said"),
    [
        (
            "start_percent=50,most_percent=10",
            "has most_percent=10, less than start_percent=50: give it more.",
        ),
        ("most_percent=3", "has most_percent=3, less than start_percent=4: give it more."),
    ],
)
def test_the_border_of_contiguitas_begins_where_it_may_lie(knobs: str, said: str) -> None:
    with pytest.raises(KevacuateError) as refused:
        parse_policy(f"contiguitas,{knobs}")
    assert said in str(refused.value)


@pytest.mark.parametrize("knobs", ["start_percent=50", "start_percent=9,most_percent=9", "most_percent=4"])
def test_bounds_that_meet_are_taken(knobs: str) -> None:
    assert parse_policy(f"contiguitas,{knobs}").knobs


def test_a_file_may_bound_its_knobs(tmp_path: Path) -> None:
    path = tmp_path / "own.py"
    for low, high, at_least, said in (
        (5, 4, "low", "declares high as at least low, which is 5 by default, and it 4."),
        (5, 5, "lower", "declares high as at least lower, which is no knob of it."),
    ):
        path.write_text(FILE.format(low=low, high=high, at_least=at_least))
        with pytest.raises(KevacuateError) as refused:
            parse_policy(f"{path}:P")
        assert said in str(refused.value)
    path.write_text(FILE.format(low=5, high=5, at_least="low"))
    assert parse_policy(f"{path}:P,high=6,low=6").knobs == {"high": 6, "low": 6}
    with pytest.raises(KevacuateError, match="has high=5, less than low=6"):
        parse_policy(f"{path}:P,low=6")


@pytest.mark.parametrize(
    ("default", "bounds", "said"),
    [
        (10**30, {}, "a number of 100 bits does not"),
        (5, {"most": 10**30}, "a number of 100 bits does not"),
        (1_000_001, {}, "1000001 is not in 0 to 1000000: give it least and most"),
        (5, {"most": 4}, "5 is not in 0 to 4: move its bounds"),
    ],
)
def test_a_knob_that_is_too_large_says_what_bounds_it(
    default: int, bounds: dict[str, int], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        knob(default, "h", **bounds)


@pytest.mark.parametrize("size", ["2T", "1024G", "1048576M"])
def test_a_device_that_is_too_large_is_told_the_limit(size: str) -> None:
    with pytest.raises(KevacuateError, match="from 4K to less than 1024G"):
        parse_policy(f"mainline,zram={size}")


@pytest.mark.parametrize(
    "name", ["swappiness=10", "zram_ratio=2", "anon_used=0.25", "region-fullness=10+20+30"]
)
def test_a_knob_that_does_nothing_alone_is_said_to(synthetic_kev: Path, name: str) -> None:
    knob_name = name.partition("=")[0]
    result = kevacuate.compare(synthetic_kev, f"mainline,{name}", repeats=1)
    (part,) = idle(result)
    assert f"{knob_name} does nothing" in part.text
    other = "regions=10" if "region" in name else "zram=16M"
    with_other = kevacuate.compare(synthetic_kev, f"mainline,{name},{other}", repeats=1, options=CLOSED)
    assert not list(idle(with_other))


CLOSED = kevacuate.ReplayOptions(loop="closed")


def test_what_a_run_says_of_idle_settings(synthetic_kev: Path) -> None:
    machine = kevacuate.open(synthetic_kev).machine
    used = settings_used(machine, {"swappiness": 10, "zram_ratio": 2.0})
    assert used["not_replayed"]["swappiness"] == "10 (there is no swap)"
    assert "swappiness" not in used["replayed"]
    used = settings_used(machine, {"swappiness": 10, "zram": 1 << 24})
    assert used["replayed"]["swappiness"] == 10
    assert "swappiness" not in used["not_replayed"]
