# SPDX-License-Identifier: GPL-2.0-or-later
"""The oracle against a real kernel: a recorded stretch of the buddy level, decision by decision."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from . import Config, Oracle, ZoneConfig
from .replay_excerpt import BuddyReplay, Event

pq = pytest.importorskip("pyarrow.parquet")

DIRECTORY = Path(__file__).parent.parent / "data" / "buddy-excerpt"
FACTS = json.loads((DIRECTORY / "excerpt.json").read_text())
STRETCHES = {"boot": ("boot", "events", "end"), "late": ("late", "late_events", "late_end")}
COMPACTION = {"list 2", "list 4", "list 5"}
"""Compaction takes its targets off the lists and rotates lists; it adds nothing without a request."""


def columns(name: str, *wanted: str) -> list[tuple[int, ...]]:
    table = pq.read_table(DIRECTORY / f"{name}.parquet", columns=list(wanted))
    return list(zip(*(table.column(column).to_pylist() for column in wanted), strict=True))


def recorded_events(name: str) -> Iterator[Event]:
    kinds = {number: kind for kind, number in FACTS["kinds"].items()}
    for kind, *rest in columns(name, "kind", "pfn", "order", "mt", "a", "b", "c", "d"):
        yield Event(kinds[kind], *rest)


def recorded_lists(name: str) -> list[list[list[int]]]:
    lists: list[list[list[int]]] = [[[] for _ in range(6)] for _ in range(11)]
    for order, mt, pfn in columns(f"{name}_free", "order", "mt", "pfn"):
        lists[order][mt].append(pfn)
    return lists


def oracle_at(name: str) -> Oracle:
    zone = FACTS["zone"]
    end = zone["start_pfn"] + zone["spanned"]
    config = Config(
        cpu_node=[0],
        npages=end,
        zones=[ZoneConfig(0, zone["index"], zone["start_pfn"], end)],
        pageblock_order=FACTS["pageblock_order"],
    )
    oracle = Oracle(config, boot=False)
    free = [(0, order, mt, pfn) for order, mt, pfn in columns(f"{name}_free", "order", "mt", "pfn")]
    oracle.load_lists(free, [(pfn, mt, 0) for pfn, mt in columns(f"{name}_blocks", "pfn", "mt")])
    return oracle


@pytest.fixture(scope="module", params=STRETCHES)
def replayed(request: pytest.FixtureRequest) -> tuple[Oracle, Any, str]:
    begin, events, end = STRETCHES[request.param]
    oracle = oracle_at(begin)
    outcome = BuddyReplay(oracle).run(recorded_events(events))
    return oracle, outcome, end


def test_every_decision_is_the_kernels(replayed: tuple[Oracle, Any, str]) -> None:
    _, outcome, _ = replayed
    assert outcome.mismatches == []
    assert sum(outcome.agreed.values()) > 90_000


def test_only_operations_of_compaction_were_given(replayed: tuple[Oracle, Any, str]) -> None:
    _, outcome, _ = replayed
    assert set(outcome.given) <= COMPACTION


def test_lists_and_blocks_at_the_end(replayed: tuple[Oracle, Any, str]) -> None:
    oracle, _, end = replayed
    assert oracle.state()["zones"][0]["lists"] == recorded_lists(end)
    for pfn, mt in columns(f"{end}_blocks", "pfn", "mt"):
        assert oracle.m.block_of(pfn).mt == mt, pfn
    oracle.check()


def test_the_late_stretch_has_fallbacks() -> None:
    kinds = {(event.kind, event.d) for event in recorded_events("late_events")}
    assert ("GT_EVAC", 0) in kinds
    assert ("GT_EVAC", 1) in kinds
    assert ("MM_PAGE_ALLOC_EXTFRAG", 0) in kinds


def test_a_wrong_decision_is_noticed() -> None:
    oracle = oracle_at("boot")
    first = next(pages for area in oracle.m.zones[0].free_area for pages in area.free_list if len(pages) > 1)
    first.add_tail(first.head())
    first.remove(pfn := first.head())
    first.add_tail(pfn)
    assert BuddyReplay(oracle).run(recorded_events("events")).mismatches
