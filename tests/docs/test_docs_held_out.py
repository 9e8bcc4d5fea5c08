# SPDX-License-Identifier: GPL-2.0-or-later
"""docs/results/held-out.md is made from its tables, and tells a biased model from a recording that is an odd draw."""

from __future__ import annotations

from pathlib import Path

import pytest
from generate_held_out import LATER, REPLAYS, TABLES, TARGET
from held_out_document import Case, cases, draws, held_out_document, paired
from held_out_replays import Replayed, read_replays, recorded_boots, write_replays

from kevacuate.fidelity.verdict.outcomes import Workload
from kevacuate.policy import BASELINE

CHURN = Workload("churn", "1g", 1, 1)
NAME = "end_mixed"


def test_the_page_is_what_its_command_writes() -> None:
    page = TARGET.read_text(encoding="utf-8")
    assert held_out_document(TABLES, REPLAYS, LATER) == page, "run: python docs/generate_held_out.py"


def test_recordings_of_the_replays_are_boots_of_the_tables() -> None:
    boots = recorded_boots(TABLES)
    assert {one.recording for one in read_replays(REPLAYS)} <= boots.keys()


def test_every_demand_has_its_own_boots() -> None:
    for case in cases(TABLES, read_replays(REPLAYS)):
        assert set(case.own) == set(case.replays), case.title
        assert len(case.light) + len(case.own) == len(case.boots["stock"]), case.title


def test_a_table_of_replays_is_read_as_it_was_written(tmp_path: Path) -> None:
    row = {"recording": "r", "image": "second", "policy": BASELINE, "loop": "closed", "seed": 0}
    row |= {"workload": "churn", "memory": "1g", "cpus": 1, "workload_seed": 1}
    write_replays(tmp_path / "t.csv", [{**row, NAME: 7.0, "slow_op0": 0.0}, {**row, NAME: 0.5}])
    assert read_replays(tmp_path / "t.csv") == [
        Replayed("r", "second", CHURN, BASELINE, {NAME: 7.0, "slow_op0": 0.0}),
        Replayed("r", "second", CHURN, BASELINE, {NAME: 0.5}),
    ]


def _case(boots: list[float], own: list[float], replays: list[list[float]]) -> Case:
    names = [f"r{at}" for at in range(len(replays))]
    return Case(
        CHURN,
        {"stock": [{NAME: value} for value in boots], "patched": [], "fixskip": []},
        {name: {NAME: value} for name, value in zip(names, own, strict=True)},
        [],
        {name: {BASELINE: [{NAME: v} for v in some]} for name, some in zip(names, replays, strict=True)},
    )


BOOTS = [90.0, 95.0, 100.0, 105.0, 110.0]


def test_a_model_that_is_off_with_every_recording_is_biased() -> None:
    (row,) = draws(_case(BOOTS, [95.0, 100.0, 105.0], [[139.0, 141.0], [140.0, 142.0], [143.0, 141.0]]))
    assert row.biased
    assert row.first_holds is False
    assert row.bias.value == pytest.approx(41.0)
    assert row.spread == pytest.approx(0.0)
    assert row.paired is not None
    assert row.paired[1] > 0


def test_a_model_that_follows_its_boot_is_an_odd_draw_and_no_bias() -> None:
    (row,) = draws(_case(BOOTS, [70.0, 100.0, 130.0], [[69.0, 71.0], [99.0, 101.0], [129.0, 131.0]]))
    assert not row.biased
    assert row.first_holds is False
    assert row.follows == pytest.approx(1.0)
    assert row.spread == pytest.approx(30.0, rel=0.01)
    assert row.paired == pytest.approx((0.0, 0.0, 0.0))


def test_model_less_boot_needs_three_recordings() -> None:
    assert paired([1.0, 2.0], [3.0, 4.0]) is None
    value, low, high = paired([1.0, 2.0, 3.0], [3.0, 4.0, 8.0]) or (0.0, 0.0, 0.0)
    assert value == pytest.approx(3.0)
    assert (low, high) == pytest.approx((3.0 - 4.302653, 3.0 + 4.302653))
