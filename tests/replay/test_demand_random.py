# SPDX-License-Identifier: GPL-2.0-or-later
"""The compiled reconstruction against the plain one, over random streams, whatever the chunk size."""

from __future__ import annotations

from demand_tools import ANON, PAGES, TARGET, VMALLOC, Event, compiled, reference
from hypothesis import given, settings
from hypothesis import strategies as st

from kevacuate.recording.schema import EventKind as K

PFNS = st.one_of(
    st.integers(0, 31),
    st.integers(1016, 1040),
    st.sampled_from([-1, -7, PAGES - 1, PAGES, 1 << 40, -(1 << 63), (1 << 63) - 1]),
)
ORDERS = st.one_of(st.just(0), st.integers(0, 4), st.sampled_from([9, 10, 11, -1, 127, -128]))
COMMON = dict(pid=st.sampled_from([-1, 0, 1, 9, 10]), cpu=st.integers(0, 2))


def event(*kinds, **fields):
    return st.builds(Event, st.sampled_from(kinds), **COMMON, **fields)


PAGE = event(
    K.MM_PAGE_ALLOC,
    K.MM_PAGE_FREE,
    K.MM_PAGE_FREE,
    pfn=PFNS,
    order=ORDERS,
    mt=st.sampled_from([0, 1, 1, 1, 2, 7, -1]),
    gfp=st.sampled_from([ANON, TARGET, VMALLOC, 0xCC0, 0]),
)
TAKEN = st.sampled_from([-3, 0, 1, 2, 8, 16, 1 << 40])
MOVER = event(
    K.COMPACTION_BEGIN,
    K.COMPACTION_END,
    K.COMPACTION_ISOLATE_MIGRATEPAGES,
    K.COMPACTION_ISOLATE_MIGRATEPAGES,
    K.COMPACTION_ISOLATE_FREEPAGES,
    K.COMPACTION_FAST_ISOLATE_FREEPAGES,
    K.MIGRATE_PAGES,
    K.REMOVE_MIGRATION_PTE,
    K.REMOVE_MIGRATION_PTE,
    pfn=PFNS,
    a=st.sampled_from([0, 32, 512, 2048, 1 << 62]),
    c=TAKEN,
)
LISTS = event(
    K.GT_LIST,
    K.GT_LIST,
    K.MM_PAGE_ALLOC_ZONE_LOCKED,
    K.MM_PAGE_ALLOC_EXTFRAG,
    K.GT_RMQ,
    K.MM_PAGE_FREE_BATCHED,
    pfn=PFNS,
    order=ORDERS,
    mt=st.integers(0, 2),
    a=st.sampled_from([0, 1, 2, 2, 2, 3, 4, 5]),
)
EVENTS = st.lists(st.one_of(PAGE, PAGE, PAGE, MOVER, LISTS), max_size=120)
USED = st.sets(st.integers(0, 40), max_size=20)
START = st.sampled_from([[], [(64, 0)], [(4, 2), (1024, 3)]])


@settings(max_examples=300, deadline=None)
@given(EVENTS, USED, START)
def test_equals_the_plain_reconstruction(events, used, start):
    rows, quality, _ = compiled(events, used, start)
    assert (rows, quality) == reference(events, used, start)


@settings(max_examples=60, deadline=None)
@given(EVENTS, st.integers(1, 7))
def test_chunk_size_does_not_matter(events, chunk_rows):
    assert compiled(events, chunk_rows=chunk_rows) == compiled(events)


@settings(max_examples=100, deadline=None)
@given(EVENTS, USED)
def test_the_demand_is_consistent(events, used):
    """Ids live and die once, splits are halvings, time never goes back, start pages are freed at most once."""
    rows, quality, _ = compiled(events, used)
    orders: dict[int, int] = {}
    pages = set(used)
    time = 0
    for t, op, _, obj, order, _, _, aux in rows:
        assert t >= time
        time = t
        if op in (0, 4):
            assert obj not in orders
            orders[obj] = order
        elif op == 1:
            assert orders.pop(obj) == order
        elif op == 2:
            assert orders[obj] == order
            assert aux not in orders
            orders[obj] = orders[aux] = order - 1
        else:
            gone = set(range(aux, aux + (1 << order)))
            assert gone <= pages
            pages -= gone
    assert max(orders, default=-1) < quality.get("peak_objects", 0)
