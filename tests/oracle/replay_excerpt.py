# SPDX-License-Identifier: GPL-2.0-or-later
"""Replay of a real kernel's buddy level through the oracle, decision by decision.

A recording of a kernel with list tracing (see the `gt_*` events) says for each hold of the zone lock what was
asked: a refill, a direct allocation, a direct free, a drain. Taken as given: those requests, the pages of a
drain, the number of movable pages in each claim attempt (the LRU is not known here), and compaction's own
list operations, which belong to no request. All else is decided by the oracle, and compared one by one:
which buddies leave and join which list, at which end, which page is taken, claims, steals, block types.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from .buddy import account_freepages, add_to_free_list, del_from_free_list, move_to_free_list
from .constants import (
    L_BLOCK_TYPE,
    L_EVAC_CLAIM,
    L_EXTFRAG,
    L_LIST,
    L_PCPU_DRAIN,
    L_ZONE_LOCKED,
    LIST_DELETE,
    LIST_MOVE_TAIL,
)
from .machine import LogRecord
from .oracle import Oracle

COMPARED = (L_EXTFRAG, L_EVAC_CLAIM, L_BLOCK_TYPE, L_ZONE_LOCKED, L_PCPU_DRAIN, L_LIST)
ROTATED_FIRST, ROTATED_LAST = 4, 5
BULK, BUDDY, DRAIN, FREE = range(4)


class Event(NamedTuple):
    """A recorded event; the columns mean what tests/data/make_buddy_excerpt.py says."""

    kind: str
    pfn: int
    order: int
    mt: int
    a: int
    b: int
    c: int
    d: int


Decision = tuple[int, int, int, int, int, int]
"""(log kind, pfn, a, b, c, d) as the oracle would log it."""


def decision_of(event: Event) -> Decision:
    """The log record that says what the recorded event says."""
    _, pfn, order, mt, a, b, c, d = event
    return {
        "GT_LIST": (L_LIST, pfn, a, order, mt + 256 * b, 0),
        "GT_BLK": (L_BLOCK_TYPE, pfn, mt, a, 0, 0),
        "GT_EVAC": (L_EVAC_CLAIM, pfn, a, b, c, d),
        "MM_PAGE_ALLOC_ZONE_LOCKED": (L_ZONE_LOCKED, pfn, order, mt, 0, 0),
        "MM_PAGE_PCPU_DRAIN": (L_PCPU_DRAIN, pfn, order, mt, 0, 0),
        "MM_PAGE_ALLOC_EXTFRAG": (L_EXTFRAG, pfn, order, a, 256 * mt + b, c),
    }[event.kind]


def decisions_made(records: Iterable[LogRecord]) -> list[Decision]:
    """Those of the oracle's log records that a recording has too."""
    return [(r[1], r[3], r[4], r[5], r[6], r[7]) for r in records if r[1] in COMPARED]


@dataclass
class Mismatch:
    """Where the oracle decided otherwise: the request, and both decisions (None: none)."""

    number: int
    request: Event
    recorded: Decision | None
    decided: Decision | None


@dataclass
class Outcome:
    """What a replay came to: decisions that agreed (by log kind), given operations, mismatches."""

    requests: int = 0
    agreed: Counter[int] = field(default_factory=Counter)
    given: Counter[str] = field(default_factory=Counter)
    mismatches: list[Mismatch] = field(default_factory=list)


def operations(events: Iterable[Event]) -> Iterator[list[Event]]:
    """Cut the stream at the requests: each list begins with a GT_RMQ."""
    group: list[Event] = []
    for event in events:
        if event.kind == "GT_RMQ":
            if group:
                yield group
            group = []
        group.append(event)
    if group:
        yield group


class BuddyReplay:
    """Runs recorded requests against an oracle that was loaded with the recorded lists (log level 3)."""

    def __init__(self, oracle: Oracle, zone: int = 0) -> None:
        self.oracle = oracle
        self.zone = zone
        self.outcome = Outcome()
        self._movable: list[int] = []
        oracle.m.log_level = 3
        oracle.m.movable_pages = lambda _block: self._movable.pop(0) if self._movable else -1

    def run(self, events: Iterable[Event], stop_after: int = 10) -> Outcome:
        """Replay; gives up after `stop_after` mismatches, for what follows one is seldom of interest."""
        for group in operations(events):
            self._operation(group)
            if len(self.outcome.mismatches) >= stop_after:
                break
        return self.outcome

    def _operation(self, group: list[Event]) -> None:
        request, recorded = group[0], group[1:]
        self._movable = [event.c for event in recorded if event.kind == "GT_EVAC"]
        self.outcome.requests += 1
        self._perform(request, recorded)
        decided = decisions_made(self.oracle.take_log())
        wanted = [decision_of(event) for event in recorded[: len(decided)]]
        for index, decision in enumerate(decided):
            expected = wanted[index] if index < len(wanted) else None
            if expected != decision:
                number = self.outcome.requests
                self.outcome.mismatches.append(Mismatch(number, request, expected, decision))
                return
            self.outcome.agreed[decision[0]] += 1
        for event in recorded[len(decided) :]:
            self._apply_given(event)
        self.oracle.take_log()

    def _perform(self, request: Event, recorded: list[Event]) -> None:
        """Let the oracle do what the kernel was asked."""
        kind, flags, count = request.a, request.c, request.d
        if kind == BULK:
            self.oracle.rmqueue_bulk(self.zone, None, request.order, count, request.mt, flags)
        elif kind == BUDDY:
            self.oracle.rmqueue_buddy(self.zone, request.order, request.mt, flags)
        elif kind == FREE:
            self.oracle.free_one_page(self.zone, request.c, request.order, request.mt)
        else:
            for event in recorded:
                if event.kind == "MM_PAGE_PCPU_DRAIN":
                    self.oracle.drain_one_page(self.zone, event.pfn, event.order)

    def _apply_given(self, event: Event) -> None:
        """An operation of compaction on the lists."""
        m, zone = self.oracle.m, self.oracle.m.zones[self.zone]
        if event.kind == "GT_BLK":
            self.outcome.given["block type"] += 1
            m.set_pageblock_migratetype(event.pfn, event.a)
            return
        if event.kind != "GT_LIST":
            self.outcome.mismatches.append(Mismatch(self.outcome.requests, event, decision_of(event), None))
            return
        self.outcome.given[f"list {event.a}"] += 1
        if event.a in (ROTATED_FIRST, ROTATED_LAST):
            self._rotate(event)
        elif event.a == LIST_DELETE:
            del_from_free_list(m, zone, event.pfn, event.mt)
            account_freepages(zone, -(1 << event.order), event.mt)
        elif event.a == LIST_MOVE_TAIL:
            move_to_free_list(m, zone, m.heads[event.pfn], event.mt, event.b)
        else:
            add_to_free_list(m, zone, event.pfn, event.order, event.mt, tail=event.a == 1)
            account_freepages(zone, 1 << event.order, event.mt)

    def _rotate(self, event: Event) -> None:
        """Rotate a list so that the page is first, or last."""
        pages = self.oracle.m.zones[self.zone].free_area[event.order].free_list[event.mt]
        order = list(pages)
        cut = order.index(event.pfn) + (event.a == ROTATED_LAST)
        for pfn in order[:cut]:
            pages.remove(pfn)
            pages.add_tail(pfn)
