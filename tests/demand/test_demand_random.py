# SPDX-License-Identifier: GPL-2.0-or-later
"""The compiled reconstruction against the plain one, over random streams, whatever the chunk size."""

from __future__ import annotations

import random

from demand_tools import (
    ANON,
    PAGES,
    TARGET,
    VMALLOC,
    Event,
    alloc,
    begin,
    compiled,
    end,
    free,
    isolate,
    isolate_free,
    migrated,
    new_pte,
    reference,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from kevacuate.recording.schema import EventKind as K

PFNS = st.one_of(
    st.integers(0, 31),
    st.integers(1016, 1040),
    st.sampled_from([-1, -7, PAGES - 1, PAGES, 1 << 40, -(1 << 63), (1 << 63) - 1]),
)
ORDERS = st.one_of(st.just(0), st.integers(0, 4), st.sampled_from([9, 10, 11, -1, 127, -128]))
COMMON = {"pid": st.sampled_from([-1, 0, 1, 9, 10]), "cpu": st.integers(0, 2)}


def event(*kinds, **fields):
    plain = {name: st.just(value) for name, value in Event._field_defaults.items()}
    return st.builds(Event, st.sampled_from(kinds), **(plain | COMMON | fields))


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


def busy_stream(seed, length):
    """A stream that gets into the deep states: frees of what is live, several movers, lists that add up."""
    r = random.Random(seed)
    events, live = [], []

    def page_free(where):
        pfn, order = (
            r.choice(live) if live and r.random() < 0.8 else (r.randrange(48), r.choice([0, 0, 1, 2]))
        )
        if order and r.random() < 0.3:
            return [free(pfn + i, **where) for i in range(1 << order)]
        return [free(pfn >> order << order, order, **where)]

    def page_alloc(pfn, order, where):
        live.append((pfn, order))
        gfp = r.choice([ANON, TARGET, TARGET, VMALLOC])
        return [alloc(pfn, order, mt=r.choice([0, 1, 1]), gfp=gfp, **where)]

    def taken(pfn, order, pid):
        take = [Event(K.GT_LIST, pfn, order, pid=pid, a=2)]
        if r.random() < 0.6:
            take.append(isolate_free(pfn >> 9 << 9, PAGES, 1 << order, pid=pid, fast=r.random() < 0.4))
        return take

    for _ in range(length):
        pid, order = r.choice([1, 1, 9, 9, 10]), r.choice([0, 0, 0, 0, 1, 2, 3])
        pfn = r.choice([r.randrange(48), 1024 + r.randrange(32)]) >> order << order
        where = {"pid": pid, "cpu": r.randrange(2)}
        choice = r.random()
        if choice < 0.33:
            events += page_alloc(pfn, order, where)
        elif choice < 0.62:
            events += page_free(where)
        elif choice < 0.75:
            short = isolate(0, 32, r.choice([0, 1]), pid)
            events.append(r.choice([isolate(0, 2000, 4, pid), short, migrated(pid)]))
        elif choice < 0.87:
            events.append(r.choice([new_pte(pfn, pid), new_pte(pfn, pid), begin(pid), end(pid)]))
        elif choice < 0.96:
            events += taken(pfn, order, pid)
        else:
            kind = r.choice([K.GT_LIST, K.MM_PAGE_ALLOC_ZONE_LOCKED, K.GT_RMQ])
            events.append(Event(kind, pfn, order, pid=pid, a=4 if kind == K.GT_RMQ else r.choice([0, 1])))
    return events


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 1 << 32), st.sampled_from([30, 100, 300]), USED, START, st.sampled_from([7, 1 << 20]))
def test_equals_the_plain_reconstruction_deep_inside(seed, length, used, start, chunk_rows):
    events = busy_stream(seed, length)
    rows, quality, _ = compiled(events, used, start, chunk_rows)
    assert (rows, quality) == reference(events, used, start)


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
@given(st.one_of(EVENTS, st.builds(busy_stream, st.integers(0, 1 << 32), st.just(100))), USED)
def test_the_demand_is_consistent(events, used):
    """Ids live and die once, splits are halvings, time never goes back, start pages are freed once."""
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
