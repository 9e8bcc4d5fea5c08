# SPDX-License-Identifier: GPL-2.0-or-later
"""Two sides and a border: who lies where, and that the border neither runs away nor stands still."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import numpy as np
import pytest

from benchmarks.regions import Demand, Stream, Told, booted, play_swing
from benchmarks.streams import GIB_PAGES
from kevacuate.mm import constants as k
from kevacuate.mm.fields import PageblockContent, Zone
from kevacuate.mm.layout import State, policy_words
from kevacuate.policy import parse_policy
from kevacuate.policy.install import counted

GIB = 4
POLICY = "contiguitas,regions=14"


class Played(NamedTuple):
    """A machine after swings of kernel memory, and what the policy counted after each."""

    state: State
    told: Told
    counts: list[dict[str, float]]


def played(policy: str, swings: int, demand: Demand) -> Played:
    """The demand of ``benchmarks/regions.py`` on a small machine."""
    told = Told([], Counter(), {}, parse_policy(policy).hooks)
    state = booted(GIB, policy, GIB * GIB_PAGES // 2)
    stream = Stream(GIB * GIB_PAGES, 1, demand)
    counts = []
    for _ in range(swings):
        play_swing(state, stream, told, False)
        counts.append(counted(state, told.hooks))
    return Played(state, told, counts)


@pytest.fixture(scope="module")
def after() -> Played:
    return played(POLICY, 3, Demand(swing=16, event_ns=10_000))


def borders(state: State) -> dict[int, int]:
    """The first page frame above the border of each zone that has one, by the zone's number."""
    file = parse_policy(POLICY).hooks
    assert file is not None
    kept = file.policy(memoryview(policy_words(state)))
    return {z: kept.border[z] for z in range(state.view.cfg.nr_zones) if kept.border[z] > 0}


def kernel_blocks(state: State) -> np.ndarray:
    """Numbers of the pageblocks with pages in use for requests that cannot move."""
    used = PageblockContent.table(state.pageblock)["nr_used"]
    return np.flatnonzero((used[:, k.MIGRATE_UNMOVABLE] + used[:, k.MIGRATE_RECLAIMABLE]) > 0)


def test_unmovable_memory_lies_below_the_borders(after: Played) -> None:
    cfg, table = after.state.view.cfg, Zone.table(after.state.zone)
    held = kernel_blocks(after.state) << cfg.pageblock_order
    drawn = borders(after.state)
    assert held.size
    assert len(drawn) > 1
    for z, border in drawn.items():
        here = held[(held >= table["zone_start_pfn"][z]) & (held < table["zone_end_pfn"][z])]
        assert here.max(initial=0) < border
    assert after.counts[-1]["below"] == sum(
        border - int(table["zone_start_pfn"][z]) for z, border in drawn.items()
    )


def test_the_border_does_not_run_away(after: Played) -> None:
    first, *later = [count["below"] for count in after.counts]
    assert all(abs(below - first) < first / 10 for below in later), (first, later)


def test_kernel_memory_never_fails_and_page_cache_pays(after: Played) -> None:
    assert after.told.failed
    assert all(name.endswith(" movable") for name in after.told.failed), after.told.failed


def test_pages_were_moved_for_the_border(after: Played) -> None:
    assert after.counts[0]["moved"] > 0
    assert after.counts[0]["taken"] > after.counts[0]["given"] > 0
