# SPDX-License-Identifier: GPL-2.0-or-later
"""What a policy says of itself: counters that only it moves, rows of its own, defaults that are policies."""

from __future__ import annotations

from pathlib import Path

import pytest

from kevacuate.policy import BASELINE, BOOTED, COMPARED, PAIR, POLICIES, SKIP_BITS_EXAMPLE, parse_policy
from kevacuate.reports.comparison.rows import ROWS
from kevacuate.runs.replay import replay

EVACUATING = {"evacuate", "spb-worker", "spb-evacuation", "spb-shrink", "spb-contig"}
"""Policies whose workers evacuate pageblocks; all move the counters of that."""


def test_only_its_own_policy_moves_a_counter(synthetic_kev: Path) -> None:
    runs = {name: replay(synthetic_kev, name) for name in POLICIES}
    for owner, kind in POLICIES.items():
        for counter in kind.counters:
            for name, run in runs.items():
                evacuates = name in EVACUATING and owner in EVACUATING
                assert name == owner or evacuates or run.metrics[counter] == 0, (name, counter)
        moved = [counter for counter in kind.counters if runs[owner].metrics[counter]]
        assert moved or not kind.counters


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_s_rows_stand_in_the_table_once(name: str) -> None:
    ids = [row.id for row in ROWS]
    assert len(set(ids)) == len(ids)
    for row in POLICIES[name].rows:
        assert row in ROWS
        assert not any(row in kind.rows for other, kind in POLICIES.items() if other != name)


def test_defaults_are_policies() -> None:
    for spec in (BASELINE, *PAIR, *COMPARED, *BOOTED, SKIP_BITS_EXAMPLE):
        assert parse_policy(spec).spec == spec
    assert COMPARED[0] == PAIR[0] == BASELINE
    assert set(BOOTED) == set(COMPARED)
