# SPDX-License-Identifier: GPL-2.0-or-later
"""The fast model against a real kernel: the recorded stretches that the oracle is held to, decision by decision.

Given, as in `oracle.replay_excerpt`: the requests, the pages of a drain, compaction's own list operations, and how many
pages of a block were on the LRU at each claim attempt: so many of the block's pages in use are made PageLRU for the
time of the request. Every page in use is a chunk of order 0 here, for a recording of the buddy level shows no others.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import model
import numpy as np
import pytest
from oracle.constants import L_BLOCK_TYPE
from oracle.replay_excerpt import (
    BUDDY,
    BULK,
    FREE,
    ROTATED_FIRST,
    ROTATED_LAST,
    Event,
    Mismatch,
    Outcome,
    decision_of,
    decisions_made,
    operations,
)

from kevacuate.mm import constants as k
from kevacuate.mm import entry, load_state
from kevacuate.mm.check import check
from kevacuate.mm.layout import State

pq = pytest.importorskip("pyarrow.parquet")

DIRECTORY = Path(__file__).parent.parent / "data" / "buddy-excerpt"
FACTS = json.loads((DIRECTORY / "excerpt.json").read_text())
STRETCHES = {"boot": ("boot", "events", "end"), "late": ("late", "late_events", "late_end")}
DELETED = 2


def table(name: str, *wanted: str) -> list[tuple[int, ...]]:
    read = pq.read_table(DIRECTORY / f"{name}.parquet", columns=list(wanted))
    return list(zip(*(read.column(column).to_pylist() for column in wanted), strict=True))


def recorded_events(name: str) -> Iterator[Event]:
    kinds = {number: kind for kind, number in FACTS["kinds"].items()}
    for kind, *rest in table(name, "kind", "pfn", "order", "mt", "a", "b", "c", "d"):
        yield Event(kinds[kind], *rest)


def state_at(name: str) -> State:
    """The recorded lists; every other page of the zone in use."""
    zone = FACTS["zone"]
    start, end = zone["start_pfn"], zone["start_pfn"] + zone["spanned"]
    state = model.one_zone(end, start, zone["index"])
    blocks = model.columns(table(f"{name}_blocks", "pfn", "mt"), 2)
    load_state.load_pageblocks(state, *blocks, np.zeros(blocks[0].size, bool))
    rows = [(0, order, mt, pfn) for order, mt, pfn in table(f"{name}_free", "order", "mt", "pfn")]
    load_state.load_free_lists(state, *model.columns(rows, 4))
    pages = np.arange(start, end)
    load_state.load_in_use(state, pages[state.meta[start:end] == k.CHUNK_RESERVED << 4])
    return state


class FastReplay:
    """Runs recorded requests against a state."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.outcome = Outcome()

    def run(self, events: Iterator[Event], stop_after: int = 10) -> Outcome:
        for group in operations(events):
            self._operation(group)
            if len(self.outcome.mismatches) >= stop_after:
                break
        return self.outcome

    def _operation(self, group: list[Event]) -> None:
        request, recorded = group[0], group[1:]
        self.outcome.requests += 1
        on_lru = self._make_lru(recorded)
        self._perform(request, recorded)
        self.state.link[2 * on_lru + 1] = 0
        decided = decisions_made(model.take_log(self.state))
        wanted = [decision_of(event) for event in recorded[: len(decided)]]
        for index, decision in enumerate(decided):
            expected = wanted[index] if index < len(wanted) else None
            if expected != decision:
                self.outcome.mismatches.append(Mismatch(self.outcome.requests, request, expected, decision))
                return
            self.outcome.agreed[decision[0]] += 1
        for event in recorded[len(decided) :]:
            self._apply_given(event)
        model.take_log(self.state)

    def _make_lru(self, recorded: list[Event]) -> np.ndarray:
        """Make so many pages of each block that is to be claimed PageLRU as the kernel counted; the pages."""
        chosen = [np.zeros(0, np.int64)]
        seen = set()
        for event in recorded:
            if event.kind == "GT_EVAC" and event.pfn not in seen:
                seen.add(event.pfn)
                pages = np.arange(event.pfn, event.pfn + 512)
                in_use = pages[self.state.meta[pages] == k.CHUNK_ALLOC << 4]
                assert in_use.size >= event.c
                chosen.append(in_use[: event.c])
        on_lru = np.concatenate(chosen)
        self.state.link[2 * on_lru + 1] = k.ATTR_LRU | k.ATTR_ON_LRU
        return on_lru

    def _perform(self, request: Event, recorded: list[Event]) -> None:
        kind, flags, count = request.a, request.c, request.d
        if kind == BULK:
            pindex = 3 * request.order + request.mt if request.order <= 3 else 12 + (request.mt == 1)
            entry.refill(self.state, 0, 0, request.order, count, request.mt, flags)
            taken = model.pcp_list(self.state, pindex)
            self._empty_pcp(pindex)
            self._in_use(taken, request.order)
        elif kind == BUDDY:
            pfn = entry.take_from_buddy(self.state, 0, request.order, request.mt, flags)
            self._in_use([pfn] if pfn >= 0 else [], request.order)
        elif kind == FREE:
            self.state.meta[request.c : request.c + (1 << request.order)] = 0
            entry.free_to_buddy(self.state, request.c, request.order, request.mt)
        else:
            for event in recorded:
                if event.kind == "MM_PAGE_PCPU_DRAIN":
                    self._drain_one_page(event.pfn, event.order)

    def _in_use(self, pfns: list[int], order: int) -> None:
        for pfn in pfns:
            load_state.load_in_use(self.state, np.arange(pfn, pfn + (1 << order)))

    def _empty_pcp(self, pindex: int) -> None:
        head = self.state.view.cfg.pcp_base + pindex
        self.state.link[2 * head] = self.state.link[2 * head + 1] = head

    def _drain_one_page(self, pfn: int, order: int) -> None:
        """Put the chunk on a pcp list of its order, alone, and drain it."""
        pindex = 3 * order if order <= 3 else 12
        head = self.state.view.cfg.pcp_base + pindex
        self.state.meta[pfn : pfn + (1 << order)] = 0
        self.state.meta[pfn] = k.CHUNK_PCP << 4 | order
        self.state.link[2 * head] = self.state.link[2 * head + 1] = pfn
        self.state.link[2 * pfn] = self.state.link[2 * pfn + 1] = head
        self.state.view.pcp[0].count = 1 << order
        entry.drain_pcp(self.state, 0, 0, 1 << order, pindex)
        assert self.state.view.pcp[0].count == 0

    def _apply_given(self, event: Event) -> None:
        """Compaction takes its targets off the lists, and rotates lists."""
        if event.kind != "GT_LIST" or event.a not in (DELETED, ROTATED_FIRST, ROTATED_LAST):
            self.outcome.mismatches.append(Mismatch(self.outcome.requests, event, decision_of(event), None))
            return
        self.outcome.given[f"list {event.a}"] += 1
        link, zone = self.state.link, self.state.view.zone[0]
        if event.a == DELETED:
            after, before = int(link[2 * event.pfn]), int(link[2 * event.pfn + 1])
            link[2 * before], link[2 * after + 1] = after, before
            zone.free_area[event.order] -= 1
            zone.nr_free_pages -= 1 << event.order
            if event.order >= FACTS["pageblock_order"]:
                zone.nr_free_pages_blocks -= 1 << event.order
            self._in_use([event.pfn], event.order)
            return
        head = self.state.view.cfg.npages + event.order * k.NR_TYPES + event.mt
        first, last = int(link[2 * head]), int(link[2 * head + 1])
        link[2 * last], link[2 * first + 1] = first, last
        new_first = event.pfn if event.a == ROTATED_FIRST else int(link[2 * event.pfn])
        new_last = int(link[2 * new_first + 1])
        link[2 * head], link[2 * head + 1] = new_first, new_last
        link[2 * new_first + 1] = link[2 * new_last] = head


@pytest.fixture(scope="module", params=STRETCHES)
def replayed(request: pytest.FixtureRequest) -> tuple[State, Any, str]:
    begin, events, end = STRETCHES[request.param]
    state = state_at(begin)
    return state, FastReplay(state).run(recorded_events(events)), end


def test_every_decision_is_the_kernels(replayed: tuple[State, Any, str]) -> None:
    _, outcome, _ = replayed
    assert outcome.mismatches == []
    assert sum(outcome.agreed.values()) > 90_000


def test_lists_and_blocks_at_the_end(replayed: tuple[State, Any, str]) -> None:
    state, _, end = replayed
    lists: dict[tuple[int, int], list[int]] = {}
    for order, mt, pfn in table(f"{end}_free", "order", "mt", "pfn"):
        lists.setdefault((order, mt), []).append(pfn)
    assert {(order, mt): pfns for order, mt, pfns in model.free_lists(state)} == lists
    for pfn, mt in table(f"{end}_blocks", "pfn", "mt"):
        assert state.block[2 * (pfn >> FACTS["pageblock_order"])] & k.PB_TYPE_MASK == mt, pfn
    check(state)


def test_claims_were_among_them() -> None:
    begin, events, _ = STRETCHES["late"]
    outcome = FastReplay(state_at(begin)).run(recorded_events(events))
    assert outcome.agreed[k.L_EVAC_CLAIM] > 0
    assert outcome.agreed[k.L_EXTFRAG] > 0
    assert outcome.agreed[L_BLOCK_TYPE] > 0


def test_a_wrong_decision_is_noticed() -> None:
    state = state_at("boot")
    order, mt, pages = next(entry for entry in model.free_lists(state) if len(entry[2]) > 1)
    head = state.view.cfg.npages + order * k.NR_TYPES + mt
    load_state._thread(state.link, np.full(len(pages), head), np.array(pages[::-1]))
    assert FastReplay(state).run(recorded_events("events")).mismatches
