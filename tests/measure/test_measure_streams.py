# SPDX-License-Identifier: GPL-2.0-or-later
"""Counts of streams: by key, over time, and which request an event belongs to."""

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from recorded_tools import K, M, R, U, chunk_of, event, extfrag

from kevacuate.measure.extfrag import extfrag_of
from kevacuate.measure.keycounts import KeyCounts
from kevacuate.measure.requesters import Requesters, next_request
from kevacuate.measure.timeline import BUCKETS, FIRST_WIDTH, Timeline

PARTS = st.lists(st.lists(st.integers(-3, 12), max_size=12), max_size=8)


@given(PARTS)
def test_keys_are_counted_and_new_ones_told(parts: list[list[int]]) -> None:
    counts, slow = KeyCounts(), Counter[int]()
    for part in parts:
        new = counts.add(np.array(part, np.int64))
        assert new.tolist() == sorted(set(part) - set(slow))
        slow.update(part)
    assert dict(counts.top()) == dict(slow)
    assert [n for _, n in counts.top()] == sorted(slow.values(), reverse=True)
    assert counts.has(np.array([99, *slow], np.int64)).tolist() == [False] + [True] * len(slow)


@given(st.lists(st.integers(0, 1 << 40), min_size=1, max_size=60), st.integers(1, 7))
def test_a_timeline_counts_everything_in_its_place(times: list[int], step: int) -> None:
    times.sort()
    line = Timeline(2)
    for at in range(0, len(times), step):
        line.add(np.array(times[at : at + step], np.int64), 1)
    used = line.used(1)
    assert used.sum() == len(times)
    assert line.used(0).sum() == 0
    assert len(used) <= BUCKETS
    assert line.width % FIRST_WIDTH == 0
    slow = Counter((t - times[0]) // line.width for t in times)
    assert {i: n for i, n in enumerate(used.tolist()) if n} == dict(slow)
    assert line.span == times[-1] - times[0]


def test_an_event_belongs_to_the_next_request_of_its_cpu_order_and_type() -> None:
    rows = [
        extfrag(1, 512, U, M, taken=3, own=False, cpu=0, pid=7),
        event(2, K.MM_PAGE_ALLOC, 9, cpu=1, mt=U, gfp=1),
        event(3, K.MM_PAGE_ALLOC, 9, cpu=0, mt=R, gfp=2),
        event(4, K.MM_PAGE_ALLOC, 9, cpu=0, mt=U, order=1, gfp=3),
        event(5, K.MM_PAGE_ALLOC, 9, cpu=0, mt=U, gfp=4),
        event(6, K.MM_PAGE_ALLOC, 9, cpu=0, mt=U, gfp=5),
        extfrag(7, 1024, R, M, taken=3, own=True, cpu=1, order=2),
        extfrag(8, 1024, M, R, taken=3, own=True, cpu=1, order=2),
        extfrag(9, 1024, U, M, taken=10, own=True, cpu=0, order=2),
        event(10, K.MM_PAGE_ALLOC, 9, cpu=1, mt=R, order=2, gfp=6),
    ]
    for step in (1, 2, 5, len(rows)):
        who = Requesters()
        for at in range(0, len(rows), step):
            chunk = chunk_of(rows[at : at + step])
            who.add(chunk, extfrag_of(chunk, 9)[0])
        who.finish()
        found = [
            (r["type"], r["order_asked"], r["gfp"], r["steals"], r["claims"], r["claims_whole_block"])
            for r in who.rows()
        ]
        if step >= 5:  # a request is looked for in the event's chunk and the next
            assert found == [
                ("unmovable", 0, 4, 1, 0, 0),
                ("unmovable", 2, None, 0, 0, 1),
                ("reclaimable", 2, 6, 0, 1, 0),
            ]
            assert (who.matched, who.unmatched) == (2, 1)
        assert who.matched + who.unmatched == 3
        assert who.tasks() == [
            {"pid": 7, "claims": 0, "claims_whole_block": 0, "steals": 1, "claims_or_steals": 0}
        ]


@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(-1, 30)), max_size=12),
    st.dictionaries(st.integers(0, 30), st.integers(0, 5), max_size=20),
)
def test_the_next_request_is_that_of_a_search_row_by_row(
    asked: list[tuple[int, int]], requests: dict[int, int]
) -> None:
    where = sorted(requests)
    keys = [requests[at] for at in where]
    wanted, at = (np.array([one[i] for one in asked], np.int64) for i in (0, 1))
    slow = [
        next(
            (i for i, (key, place) in enumerate(zip(keys, where, strict=True)) if key == k and place > p), -1
        )
        for k, p in asked
    ]
    found = next_request(wanted, at, np.array(keys, np.int64), np.array(where, np.int64))
    assert found.tolist() == slow


def test_events_that_no_kernel_writes_are_counted_apart() -> None:
    rows = [
        extfrag(1, 512, U, M, taken=3, own=False),
        extfrag(1, 512, 9, M, taken=3, own=False),
        extfrag(1, 512, U, -1, taken=3, own=False),
        extfrag(1, 512, U, M, taken=99, own=False),
        extfrag(1, -1, U, M, taken=3, own=False),
        extfrag(1, 512, U, M, taken=3, own=False, order=-4),
    ]
    events, malformed = extfrag_of(chunk_of(rows), 9)
    assert (len(events.at), malformed) == (2, 4)  # an event that names no page is well-formed
