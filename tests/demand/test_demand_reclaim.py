# SPDX-License-Identifier: GPL-2.0-or-later
"""What was the recorded kernel's reclaim, what was read again, and what was used: one hand-made sequence each."""

from __future__ import annotations

import os
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from demand_tools import ALLOC, ANON, FREE, PAGES, SPLIT, Event, alloc, chunk_of, compiled, free
from hypothesis import given, settings
from hypothesis import strategies as st

from kevacuate.demand.build import Reconstruction, build_demand
from kevacuate.demand.pagecache import (
    BACK,
    FOLIO_BATCH_SIZE,
    HUGE_ORDER,
    IS_READ,
    IS_READ_AROUND,
    LENGTH_BIT,
    READ_AROUND,
    READ_FAULT,
    READ_MAPPED,
    READ_RANDOM,
    READ_START,
    USE_NS,
)
from kevacuate.demand.pagekinds import PageKindModel
from kevacuate.demand.reconstruct import MARGIN
from kevacuate.demand.shadows import MOST_GIVEN_UP, enter, find_place, leave
from kevacuate.demand.tables import (
    GFP_OF_A_READ,
    MOST_ALIGNED,
    MOST_NUMBERS,
    event_input,
    files_read,
    larger_cache,
    new_tables,
)
from kevacuate.jit import kernel, pointers
from kevacuate.kernel.hooks import GenOp
from kevacuate.recording import Recording
from kevacuate.recording.demand import StartObjects
from kevacuate.recording.schema import EventKind as K
from kevacuate.recording.schema import concat_chunks

RECLAIM, ACCESS, TRUNCATE, GATHER, PLACE, READS = 5, 6, 7, 9, 12, 13
NOTHING = StartObjects(np.zeros(0, np.int64), np.zeros(0, np.uint8), np.zeros(0, np.uint8))
READ = GFP_OF_A_READ
KSWAPD, USER = 28, 1
KERNEL = {"mt": 0, "gfp": 0xCC0}


def read(pfn, order=0, **more):
    return alloc(pfn, order, gfp=READ, **more)


def add(pfn, index, order=0, inode=5, **more):
    return Event(K.MM_FILEMAP_ADD_TO_PAGE_CACHE, pfn, order, a=inode, b=7, c=index, **more)


def delete(pfn, index, order=0, inode=5, **more):
    return Event(K.MM_FILEMAP_DELETE_FROM_PAGE_CACHE, pfn, order, a=inode, b=7, c=index, **more)


def get_pages(first, last, inode=5, **more):
    return Event(K.MM_FILEMAP_GET_PAGES, a=inode, b=7, c=first, d=last, **more)


def kswapd_runs():
    return Event(K.VMSCAN_BALANCE_PGDAT_BEGIN, pid=KSWAPD)


def cached(pfn, index, order=0):
    """A folio that is read into the page cache."""
    return [read(pfn, order), add(pfn, index, order)]


def reclaimed(pfn, index, order=0, pid=KSWAPD):
    """A folio that a task reclaims."""
    return [delete(pfn, index, order, pid=pid), free(pfn, order, pid=pid)]


def rows_of(events, **more):
    """Rows (op, obj, order, aux) and the counters that are not 0."""
    rows, quality, _ = compiled(events, **more)
    return [(op, obj, order, aux) for _, op, _, obj, order, _, _, aux in rows], quality


def fault(index, inode=5, **more):
    return Event(K.MM_FILEMAP_FAULT, a=inode, b=7, c=index, **more)


def map_pages(first, last, inode=5, **more):
    return Event(K.MM_FILEMAP_MAP_PAGES, a=inode, b=7, c=first, d=last, **more)


def numbered(events):
    """Rows (op, obj, order, gfp, aux, attr) of PLACE and READ where files have numbers, those files, and the first counts."""
    work = Reconstruction(np.zeros(PAGES, np.bool_), NOTHING, PageKindModel())
    for _ in (*work.feed(event_input(chunk_of(events), 0)), *work.finish()):
        pass
    files = files_read(work.tables)
    rows, _, attr = compiled(events, files=files)
    chosen = [(row, how) for row, how in zip(rows, attr, strict=True) if row[1] in (PLACE, READS)]
    return (
        [(op, obj, order, gfp, aux, how) for (_, op, _, obj, order, _, gfp, aux), how in chosen],
        files,
        work.quality,
    )


def test_what_kswapd_frees_of_the_page_cache_is_reclaim():
    events = [kswapd_runs(), *cached(8, 3), alloc(9, **KERNEL), alloc(10, gfp=ANON)]
    events += [*reclaimed(8, 3), free(9, pid=KSWAPD), free(10, pid=KSWAPD)]
    rows, q = rows_of(events)
    assert rows[3:] == [(RECLAIM, 0, 0, 1), (FREE, 1, 0, 0), (FREE, 2, 0, 0)]
    assert (q["reclaimed"], q["reclaimers_seen"], q["frees"]) == (1, 1, 3)


def test_the_same_frees_are_the_workloads_where_nobody_reclaims():
    events = [*cached(8, 3), *reclaimed(8, 3), alloc(9), free(9, pid=KSWAPD)]
    rows, q = rows_of(events)
    assert [op for op, *_ in rows] == [ALLOC, FREE, ALLOC, FREE]
    assert "reclaimed" not in q


def test_direct_reclaim_is_between_its_events_and_of_its_task():
    begin, end = Event(K.VMSCAN_DIRECT_RECLAIM_BEGIN, pid=USER), Event(K.VMSCAN_DIRECT_RECLAIM_END, pid=USER)
    events = [*cached(8, 3), *cached(9, 100), *cached(10, 200), *cached(11, 300)]
    events += [
        begin,
        *reclaimed(8, 3, pid=USER),
        *reclaimed(9, 100, pid=2),
        end,
        *reclaimed(10, 200, pid=USER),
    ]
    rows, _ = rows_of(events)
    assert [op for op, *_ in rows[4:]] == [RECLAIM, FREE, FREE]


def test_without_events_of_files_page_cache_is_told_by_its_request():
    events = [kswapd_runs(), read(8), alloc(9, gfp=ANON), alloc(10, **KERNEL)]
    events += [free(pfn, pid=KSWAPD) for pfn in (8, 9, 10)]
    rows, q = rows_of(events)
    assert [op for op, *_ in rows[3:]] == [RECLAIM, FREE, FREE]
    assert q["reclaimed_without_file"] == 1


def test_a_page_that_is_read_again_names_its_shadow():
    events = [kswapd_runs(), *cached(8, 3), *reclaimed(8, 3), *cached(64, 3), *cached(65, 4)]
    rows, q = rows_of(events)
    assert rows == [(ALLOC, 0, 0, 0), (RECLAIM, 0, 0, 1), (ALLOC, 0, 0, 1), (ALLOC, 1, 0, 0)]
    assert (q["read_again"], q["peak_shadows"]) == (1, 2)


def test_another_file_with_the_same_index_is_not_read_again():
    events = [kswapd_runs(), *cached(8, 3), *reclaimed(8, 3), read(64), add(64, 3, inode=6)]
    assert rows_of(events)[0][-1] == (ALLOC, 0, 0, 0)


def test_a_part_of_a_large_folio_is_read_again():
    events = [kswapd_runs(), *cached(16, 8, 2), *reclaimed(16, 8, 2), *cached(64, 10, 1), *cached(70, 8)]
    rows, q = rows_of(events)
    assert rows[1:] == [(RECLAIM, 0, 2, 4), (ALLOC, 0, 1, 6), (ALLOC, 1, 0, 4)]
    assert q["read_again"] == 2


def test_small_folios_read_again_as_a_large_one_are_gathered():
    events = [kswapd_runs(), *cached(8, 8), *cached(9, 10), *reclaimed(8, 8), *reclaimed(9, 10)]
    events += [read(64, 2), alloc(90, **KERNEL), add(64, 8, 2)]
    rows, q = rows_of(events)
    assert rows[4:8] == [(GATHER, 4, 0, 1), (GATHER, 5, 0, 0), (GATHER, 6, 0, 2), (GATHER, 7, 0, 0)]
    assert rows[8:] == [(ALLOC, 1, 2, 4), (ALLOC, 0, 0, 0)]
    assert (q["read_again_gathered"], q["peak_shadows"]) == (1, 8)
    assert "truncated" not in q


def test_what_a_gathering_leaves_of_a_folio_is_read_again_later():
    events = [kswapd_runs(), *cached(16, 8, 2), *cached(8, 12), *reclaimed(16, 8, 2), *reclaimed(8, 12)]
    events += [*cached(64, 10, 2), *cached(70, 8)]
    rows, q = rows_of(events)
    gathered = [row for row in rows if row[0] == GATHER]
    assert [aux for *_, aux in gathered] == [6, 7, 8, 0]
    assert rows[-1] == (ALLOC, 0, 0, 4)
    assert (q["read_again_gathered"], q["read_again"]) == (1, 1)


def test_rows_of_a_gathering_have_the_time_of_the_request():
    events = [kswapd_runs(), *cached(8, 8), *reclaimed(8, 8), read(64, 1), add(64, 8, 1)]
    rows, _, _ = compiled(events)
    times = [t for t, *_ in rows]
    assert times == sorted(times)
    assert times[-1] == times[-2] == times[-3]


def test_a_request_that_is_not_among_the_last_rows_gives_the_former_pages_up():
    events = [
        kswapd_runs(),
        *cached(8, 8),
        *cached(9, 9),
        *cached(10, 200),
        *reclaimed(8, 8),
        *reclaimed(9, 9),
    ]
    events += [read(64, 1), *reclaimed(10, 200), add(64, 8, 1)]
    rows, q = rows_of(events)
    assert rows[-3:] == [(RECLAIM, 2, 0, 3), (TRUNCATE, 0, 0, 1), (TRUNCATE, 0, 0, 2)]
    assert q["read_again_otherwise"] == 1


SEEN = [(9, 1, 1), (9, 2, 1), (9, 0, 0), (1, 1, 0), (10, 1, 0)]
"""Flags, outcome (gt_rec) and uses that follow."""


@pytest.mark.parametrize(
    ("kind", "flags", "what", "uses"),
    [*((K.GT_REC, *seen) for seen in SEEN), (K.GT_LRU, 9, 1, 1), (K.GT_LRU, 9, 0, 0), (K.GT_LRU, 8, 1, 0)],
)
def test_an_accessed_bit_that_reclaim_found_is_a_use_by_page_table(kind, flags, what, uses):
    rows, _ = rows_of([*cached(8, 3), Event(kind, 8, a=flags, b=what)])
    assert rows[1:] == [(ACCESS, 0, 0, 1)] * uses


def test_a_fault_is_a_use_by_page_table_and_a_read_is_none():
    mapped = Event(K.MM_FILEMAP_MAP_PAGES, a=5, b=7, c=3, d=3)
    rows, _ = rows_of([*cached(8, 3), mapped, get_pages(3, 3, pid=USER + 1)])
    assert rows[1:] == [(ACCESS, 0, 0, 1), (ACCESS, 0, 0, 0)]


def test_a_fault_maps_what_is_there_on_both_sides_of_what_is_missing():
    events = [*cached(8, 0), *cached(10, 2), map_pages(0, 3)]
    assert rows_of(events)[0][2:] == [(ACCESS, 0, 0, 1), (ACCESS, 1, 0, 1)]


def test_a_fault_uses_what_it_maps_and_not_what_is_mapped():
    """A page that comes again is mapped anew. A fault that maps nothing more is of another task's page table."""
    first, second = (ACCESS, 0, 0, 1), (ACCESS, 1, 0, 1)
    events = [*cached(8, 0), map_pages(0, 3), *cached(9, 1), map_pages(0, 3)]
    assert [row for row in rows_of(events)[0] if row[0] == ACCESS] == [first, second]
    again = [*events, map_pages(0, 3)]
    assert [row for row in rows_of(again)[0] if row[0] == ACCESS] == [first, second, first, second]
    gone = [*events, kswapd_runs(), *reclaimed(9, 1), read(9), add(9, 1), map_pages(0, 3)]
    assert [row[1] for row in rows_of(gone)[0] if row[0] == ACCESS] == [0, 1, 1]


def test_a_fault_explains_the_accessed_bit_that_reclaim_finds_next():
    """One use is one row: the next look finds a bit that the fault has not set, or clears what a fault has set."""
    fault = Event(K.MM_FILEMAP_FAULT, a=5, b=7, c=3, d=0)
    found, idle = Event(K.GT_REC, 8, a=9, b=1), Event(K.GT_LRU, 8, a=9, b=0)
    use = (ACCESS, 0, 0, 1)
    assert rows_of([*cached(8, 3), fault, found])[0][1:] == [use]
    assert rows_of([*cached(8, 3), fault, found, found])[0][1:] == [use, use]
    assert rows_of([*cached(8, 3), fault, idle, found])[0][1:] == [use, use]
    assert rows_of([*cached(8, 3), fault, found, fault, found])[0][1:] == [use, use]
    read_too = [*cached(8, 3), fault, get_pages(3, 3, pid=USER + 1), found]
    assert rows_of(read_too)[0][1:] == [use, (ACCESS, 0, 0, 0)]


def test_truncation_gives_up_the_neighbours_that_were_reclaimed():
    events = [kswapd_runs(), *cached(16, 4, 2), *cached(8, 8), *cached(9, 9), *cached(10, 11)]
    events += [
        *cached(11, 40),
        *reclaimed(16, 4, 2),
        *reclaimed(9, 9),
        *reclaimed(10, 11),
        delete(8, 8),
        free(8),
    ]
    rows, q = rows_of(events)
    assert rows[8:] == [(TRUNCATE, 0, 2, 4), (TRUNCATE, 0, 0, 8), (FREE, 1, 0, 0)]
    assert q["truncated"] == 2  # index 11 has a hole before it, and index 40 is still cached


def test_a_file_of_which_nothing_stays_cached_is_given_up_whole():
    events = [
        kswapd_runs(),
        *cached(16, 4, 2),
        *cached(8, 20),
        *cached(9, 60),
        read(10),
        add(10, 60, inode=6),
    ]
    events += [*reclaimed(16, 4, 2), *reclaimed(9, 60), delete(10, 60, inode=6, pid=KSWAPD)]
    rows, q = rows_of([*events, free(10, pid=KSWAPD), delete(8, 20), free(8), *cached(64, 60)])
    assert rows[7:] == [(TRUNCATE, 0, 2, 4), (TRUNCATE, 0, 0, 8), (FREE, 1, 0, 0), (ALLOC, 1, 0, 0)]
    assert q["truncated"] == 2  # the other file's shadow stays
    assert "read_again" not in q


def test_reclaim_gives_no_file_up():
    events = [
        kswapd_runs(),
        *cached(8, 20),
        *cached(9, 60),
        *reclaimed(8, 20),
        *reclaimed(9, 60),
        *cached(8, 20),
    ]
    rows, _ = rows_of(events)
    assert [op for op, *_ in rows] == [ALLOC, ALLOC, RECLAIM, RECLAIM, ALLOC]
    assert rows[-1][3] > 0


def test_what_one_event_gives_up_fits_its_rows():
    assert MOST_GIVEN_UP < MARGIN // 2


def test_what_is_left_of_a_folio_is_given_up_page_by_page():
    events = [kswapd_runs(), *cached(16, 8, 2), *reclaimed(16, 8, 2), *cached(64, 9), delete(64, 9), free(64)]
    rows, _ = rows_of(events)
    assert rows[3:] == [(TRUNCATE, 0, 0, 4), (TRUNCATE, 0, 0, 6), (TRUNCATE, 0, 0, 7), (FREE, 0, 0, 0)]


def test_shadows_are_forgotten_when_their_numbers_come_again():
    events = [kswapd_runs()]
    for i in range(2 * 2 * PAGES):
        events += [*cached(8, i), *reclaimed(8, i)]
    rows, q = rows_of(events)
    assert q["shadows_forgotten"] > PAGES
    assert q["peak_shadows"] <= 2 * PAGES + 1
    live = set()
    for op, _, order, aux in rows:
        ids = range(aux, aux + (1 << order))
        if op == RECLAIM:
            assert not live & set(ids)
            live |= set(ids)
        elif op == TRUNCATE:
            live -= set(ids)


def test_reads_are_uses_of_the_objects_they_meet():
    events = [*cached(8, 3), *cached(16, 4, 2), get_pages(3, 9), get_pages(4, 4), get_pages(3, 3)]
    rows, q = rows_of(events)
    # index 4 to 7 is one folio; 8 is in nobody's cache; the second read begins where the first ended
    assert rows[2:] == [(ACCESS, 0, 0, 0), (ACCESS, 1, 2, 0), (ACCESS, 0, 0, 0)]
    assert q["accesses"] == 3


def test_a_page_that_the_last_event_of_a_read_has_counted_is_not_used_again():
    events = [e for i in range(8) for e in cached(64 + i, i)]
    first, rest, other = get_pages(0, 5), get_pages(2, 5), get_pages(2, 6)
    rows, _ = rows_of([*events, first, rest, other])
    # the second event is of the first one's read, which ended at page 2 and goes on there; the third is another read
    assert [obj for op, obj, *_ in rows if op == ACCESS] == [*range(6), *range(2, 7)]
    rows, _ = rows_of([*events, first, first._replace(pid=USER + 1)])
    assert [obj for op, obj, *_ in rows if op == ACCESS] == 2 * [*range(6)]


def test_a_huge_mapped_folio_found_used_is_used_until_a_look_finds_none():
    def look(ts, what):
        return Event(K.GT_LRU, 0, 9, a=9, b=what, ts=ts)

    def passes(i):
        return alloc(1000 + i, ts=i * (USE_NS + 100))

    used, unused = ([passes(i) for i in times] for times in (range(1, 4), range(5, 7)))
    for order, uses in ((HUGE_ORDER, 4), (4, 1)):
        found = look(20, 1)._replace(order=order)
        rows, _ = rows_of([read(0, order), found, *used, look(4 * USE_NS - 1, 0), *unused])
        assert sum(op == ACCESS for op, *_ in rows) == uses


def test_an_access_says_how_to_read_the_page_again():
    whole, _, attrs = compiled([*cached(8, 3), get_pages(3, 3)])
    assert whole[1][1:] == (ACCESS, 0, 0, 0, 1, READ, 0)
    assert attrs[1] == 3


def test_one_read_makes_at_most_a_batch():
    events = [e for i in range(50) for e in cached(64 + i, i)]
    rows, _ = rows_of([*events, get_pages(0, 49)])
    assert len(rows) == 50 + FOLIO_BATCH_SIZE


def test_an_activation_is_explained_by_reads_or_makes_uses():
    activated = Event(K.MM_LRU_ACTIVATE, 8)
    again = [get_pages(3, 3, pid=2), get_pages(3, 3, pid=3)]
    for reads, added in (([], 2), (again[:1], 1), (again, 0)):
        rows, _ = rows_of([*cached(8, 3), *reads, activated])
        assert [op for op, *_ in rows[1:]] == [ACCESS] * (len(reads) + added)


def test_an_activation_of_the_multi_gen_lru_is_a_use_by_page_table():
    """walk_update_folio alone activates there; a fault since the last look has set that bit."""
    activated, mapped = Event(K.MM_LRU_ACTIVATE, 8), Event(K.MM_FILEMAP_MAP_PAGES, a=5, b=7, c=3, d=3)
    assert rows_of([*cached(8, 3), activated], lru_gen=True)[0][1:] == [(ACCESS, 0, 0, 1)]
    assert rows_of([*cached(8, 3), mapped, activated], lru_gen=True)[0][1:] == [(ACCESS, 0, 0, 1)]


MAPPED_FILE = 1 | 8


def gen(op, pfn, flags=MAPPED_FILE, order=0, **more):
    return Event(K.GT_GEN, pfn, a=flags, b=op | order << 16, **more)


def test_what_the_walk_of_aging_finds_used_is_a_use_by_page_table():
    rows, _ = rows_of([*cached(8, 3), gen(GenOp.YOUNG, 8), gen(GenOp.YOUNG, 8, flags=8)])
    assert rows[1:] == [(ACCESS, 0, 0, 1)], "anonymous memory has no such rows"
    assert rows_of([*cached(8, 3), gen(GenOp.SORTED, 8)])[0][1:] == []


def test_where_each_mark_has_an_event_reads_and_activations_make_no_rows():
    mark, read_it = gen(GenOp.ACCESSED, 8, flags=1), get_pages(3, 3, pid=2)
    rows, _ = rows_of([*cached(8, 3), mark, read_it, mark, Event(K.MM_LRU_ACTIVATE, 8), mark])
    assert rows[1:] == [(ACCESS, 0, 0, 0)] * 3
    mapped = Event(K.MM_FILEMAP_MAP_PAGES, a=5, b=7, c=3, d=3)
    assert rows_of([*cached(8, 3), mark, mapped])[0][1:] == [(ACCESS, 0, 0, 0), (ACCESS, 0, 0, 1)]


def test_a_mark_that_reclaim_makes_is_no_use():
    marked = gen(GenOp.ACCESSED, 8, pid=KSWAPD)
    assert rows_of([kswapd_runs(), *cached(8, 3), marked])[0][1:] == []
    assert rows_of([*cached(8, 3), gen(GenOp.ACCESSED, -1), gen(GenOp.ACCESSED, 9)])[0][1:] == []
    anonymous = [alloc(8, gfp=ANON), gen(GenOp.ACCESSED, 8, flags=0)]
    assert len(rows_of(anonymous)[0]) == 1, "a fault has marked what it made: the model does so itself"


@pytest.mark.parametrize(("order", "uses"), [(HUGE_ORDER, 3), (4, 0)])
def test_a_huge_folio_of_a_file_is_in_use_once_it_is_listed(order, uses):
    listed = gen(GenOp.LISTED, 512, order=order, flags=1)
    later = [Event(K.MM_PAGE_FREE, 20, ts=100 + i * USE_NS) for i in range(1, 4)]
    rows, _ = rows_of([alloc(20), read(512, order), listed, *later])
    assert [aux for op, *_, aux in rows if op == ACCESS] == [1] * uses


def test_uses_of_what_is_not_known_are_counted():
    rows, q = rows_of([get_pages(3, 5), Event(K.MM_LRU_ACTIVATE, 8), Event(K.MM_LRU_ACTIVATE, -1)])
    assert (rows, q["accesses_unknown"]) == ([], 1)


def test_an_alloc_row_too_far_back_stays_a_miss():
    between = [e for i in range(BACK) for e in (alloc(100 + i), free(100 + i))]
    events = [kswapd_runs(), *cached(8, 3), *reclaimed(8, 3), read(64), *between, add(64, 3)]
    rows, q = rows_of(events)
    assert all(aux == 0 for op, *_, aux in rows if op == ALLOC)
    assert rows[-1] == (TRUNCATE, 0, 0, 1)
    assert "read_again" not in q


def test_what_moves_in_the_file_cache_keeps_its_name():
    """A folio split by a partial free, then reclaimed in two parts."""
    events = [kswapd_runs(), *cached(16, 8, 1), *reclaimed(16, 8), *reclaimed(17, 9)]
    rows, _ = rows_of(events)
    assert [op for op, *_ in rows] == [ALLOC, SPLIT, RECLAIM, RECLAIM]


def test_tasks_of_rows():
    events = [alloc(8, pid=3), free(8, pid=4)]
    work = Reconstruction(
        np.zeros(PAGES, np.bool_),
        StartObjects(*(np.empty(0, t) for t in (np.int64, np.uint8, np.uint8))),
        PageKindModel(),
    )
    (chunk,) = [*work.feed(event_input(chunk_of(events), 0)), *work.finish()]
    assert chunk.task.tolist() == [3, 4]


KINDS = [
    *[K.MM_PAGE_ALLOC, K.MM_PAGE_FREE, K.MM_FILEMAP_ADD_TO_PAGE_CACHE, K.MM_FILEMAP_DELETE_FROM_PAGE_CACHE]
    * 2,
    *[K.MM_FILEMAP_GET_PAGES, K.MM_FILEMAP_MAP_PAGES, K.MM_FILEMAP_FAULT, K.MM_LRU_ACTIVATE],
    *[K.VMSCAN_KSWAPD_WAKE, K.VMSCAN_DIRECT_RECLAIM_BEGIN, K.VMSCAN_DIRECT_RECLAIM_END],
    *[K.COMPACTION_ISOLATE_MIGRATEPAGES, K.MIGRATE_PAGES],
]

ANY = st.builds(
    Event,
    st.sampled_from(KINDS),
    pfn=st.one_of(st.integers(0, 40), st.sampled_from([-1, PAGES - 1, PAGES, 1 << 40, -(1 << 63)])),
    order=st.one_of(st.just(0), st.integers(0, 3), st.sampled_from([10, 11, -1, 127])),
    pid=st.sampled_from([-1, 0, 1, 28]),
    cpu=st.integers(0, 1),
    mt=st.sampled_from([0, 1, 1]),
    gfp=st.sampled_from([READ, READ, ANON, 0xCC0]),
    a=st.sampled_from([5, 5, 6, -1, (1 << 63) - 1]),
    b=st.sampled_from([7, 0, -1]),
    c=st.one_of(st.integers(0, 12), st.sampled_from([-1, 1 << 40, (1 << 63) - 1])),
    d=st.one_of(st.integers(0, 12), st.sampled_from([-1, 1 << 62])),
    ts=st.just(0),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(ANY, max_size=120), st.integers(1, 40))
def test_any_events_make_rows_that_agree_with_each_other(events, size):
    """Hostile events too: each row refers to what is there, and the rows do not depend on how the events were cut."""
    rows, quality, attr = compiled(events)
    assert compiled(events, chunk_rows=size) == (rows, quality, attr)
    alive, shadows = {}, set()
    for _, op, _, obj, order, _, _, aux in rows:
        ids = set(range(aux, aux + (1 << order)))
        if op in (ALLOC, 4):
            assert obj not in alive
            assert aux == 0 or ids <= shadows
            shadows -= ids if aux else set()
            alive[obj] = order
        elif op in (FREE, RECLAIM):
            assert alive.pop(obj) == order
            if op == RECLAIM:
                assert aux % (1 << order) == 0
                assert aux > 0
                assert not ids & shadows
                shadows |= ids
        elif op == SPLIT:
            assert alive[obj] == order
            alive[obj] = alive[aux] = order - 1
        elif op == ACCESS:
            assert alive[obj] == order
        elif op == TRUNCATE:
            assert ids <= shadows
            shadows -= ids


@kernel
def _enter(tables, key, value):
    enter(pointers(tables), key, value)


@kernel
def _leave(tables, key):
    leave(pointers(tables), key)


@kernel
def _find(tables, key):
    s = pointers(tables)
    at = find_place(s, key)
    return s.cache_value[at] if s.cache_key[at] == key else -99


def test_the_table_of_the_page_cache_is_a_dictionary():
    none = StartObjects(*(np.empty(0, t) for t in (np.int64, np.uint8, np.uint8)))
    tables = new_tables(np.zeros(PAGES, np.bool_), none, PageKindModel(), None)
    rng, known = random.Random(1), {}
    for step in range(12_000):
        key = rng.randrange(2, 6_000)
        if rng.random() < 0.45:
            _leave(tables, key)
            known.pop(key, None)
        else:
            _enter(tables, key, step)
            known[key] = step
        if tables.g[17] > tables.g[18] // 2:
            tables = larger_cache(tables)
    assert tables.g[17] == len(known) > 1000
    assert {key: _find(tables, key) for key in range(2, 6_000)} == {
        k: known.get(k, -99) for k in range(2, 6_000)
    }


TRUTH = Path(os.environ.get("KEVACUATE_GROUND_TRUTH", "none"))


@pytest.mark.skipif(
    not (TRUTH / "formats/kmem/gt_rec").exists(), reason="needs KEVACUATE_GROUND_TRUTH with gt_rec"
)
def test_reclaim_is_what_shrink_folio_list_says(capsys):
    """The frees of folios that shrink_folio_list reclaimed for kswapd or directly, by time and order, against RECLAIM rows."""
    recording = Recording.open(TRUTH)
    events = concat_chunks(list(recording.events(kinds=(K.GT_REC, K.MM_PAGE_FREE), after=recording.start)))
    columns = (events.kind, events.pfn, events.ts - recording.start.ts, events.order, events.b, events.c)
    decided, truth = set(), Counter()
    for kind, pfn, t, order, what, who in zip(*(column.tolist() for column in columns), strict=True):
        if kind == K.GT_REC and what == 0 and who < 2:
            decided.add(pfn)
        elif kind == K.MM_PAGE_FREE and pfn in decided:
            decided.remove(pfn)
            truth[t, order] += 1
    found: Counter[tuple[int, int]] = Counter()
    for chunk in build_demand(recording).chunks(closed=True):
        rows = chunk.op == RECLAIM
        found.update(zip(chunk.t[rows].tolist(), chunk.order[rows].tolist(), strict=True))
    if not truth:
        pytest.skip("the recording has no gt_rec events")
    both = (truth & found).total()
    precision, recall = both / found.total(), both / truth.total()
    with capsys.disabled():
        print(
            f"\nreclaim recognised: precision {precision:.5f}, recall {recall:.5f} of {truth.total()} folios"
        )
    assert min(precision, recall) > 0.99


def test_pages_of_files_that_are_read_have_numbers_and_folios_places():
    events = [*cached(8, 0), *cached(16, 4, 2), alloc(40, gfp=READ), add(40, 2, inode=6), get_pages(4, 7)]
    rows, files, quality = numbered(events)
    assert files.length.tolist() == [8 << LENGTH_BIT | IS_READ]  # nobody reads the other file
    assert (files.first.tolist(), files.end) == ([8], 17)
    assert rows == [
        (PLACE, 0, 0, READ, 8, 0),
        (PLACE, 1, 2, READ, 12, 0),
        (READS, 4, 0, 16, 12, 0),
    ]
    assert quality.reads == 1


def test_a_first_pass_has_no_such_rows():
    rows, quality = rows_of([*cached(8, 0), get_pages(0, 0)])
    assert [op for op, *_ in rows] == [ALLOC, ACCESS]
    assert quality["reads"] == 1


def test_files_begin_at_multiples_of_their_size_and_the_longest_go_without():
    most = MOST_NUMBERS * max(PAGES, MOST_ALIGNED)
    events = []
    for inode, index in ((5, 2), (6, 299), (7, most)):
        events += [
            alloc(inode, gfp=READ),
            add(inode, index, inode=inode),
            get_pages(index, index, inode=inode),
        ]
    _, files, _ = numbered(events)
    assert sorted((files.length >> LENGTH_BIT).tolist()) == [3, 300]
    for first, length in zip(files.first.tolist(), (files.length >> LENGTH_BIT).tolist(), strict=True):
        assert first % (1 << (length - 1).bit_length()) == 0
    assert files.end > max(files.first + (files.length >> LENGTH_BIT))


def test_one_read_is_one_row_however_many_batches_it_has():
    events = [*cached(8, 0), *cached(9, 1), *cached(10, 2)]
    events += [get_pages(0, 2), get_pages(1, 2), get_pages(2, 2), get_pages(0, 2), get_pages(2, 2)]
    rows, _, quality = numbered(events)
    assert [row for row in rows if row[0] == READS] == [(READS, 3, 0, 7, 4, READ_START)] * 2
    assert quality.reads == 2


def test_reads_in_a_row_that_bring_in_no_more_are_random():
    """Single pages: the second read follows the first, and brings in its own page alone. Reads of more are told by themselves."""
    events = []
    for i in range(3):
        events += [*cached(8 + i, 1 + i), get_pages(1 + i, 1 + i)]
    events += [get_pages(1, 1), get_pages(1, 2)]
    rows, _, _ = numbered(events)
    assert [how for op, *_, how in rows if op == READS] == [0, READ_RANDOM, READ_RANDOM, READ_RANDOM, 0]
    more = [*events, *cached(20, 9), *cached(21, 10), get_pages(9, 9)]
    assert numbered(more)[0][-1][-1] == 0


def test_faults_tell_whether_they_read_around():
    ahead = [fault(4), *cached(8, 4), *cached(9, 5), map_pages(4, 5)]
    rows, files, quality = numbered(ahead)
    assert [row for row in rows if row[0] == READS] == [
        (READS, 1, 0, 14, 12, READ_FAULT),
        (READS, 2, 0, 14, 12, READ_MAPPED),
    ]
    assert (files.length.tolist(), quality.longest_readahead) == ([6 << LENGTH_BIT | IS_READ], 2)
    around = [fault(4), *cached(8, 3), *cached(9, 4), *cached(10, 5), fault(5)]
    rows, files, _ = numbered(around)
    assert files.length.tolist() == [6 << LENGTH_BIT | IS_READ | IS_READ_AROUND]
    assert [how for op, *_, how in rows if op == READS] == [READ_FAULT | READ_AROUND] * 2


def test_faults_read_as_far_as_the_file_is_mapped():
    """As faults show, and as they have read themselves: not what another read brings in, which begins elsewhere."""
    file = [e for i in range(8) for e in cached(8 + i, i)]
    rows, files, _ = numbered([*file, fault(1), map_pages(2, 3), get_pages(0, 1)])
    first = int(files.first[0])
    assert files.mapped.tolist() == [4]
    assert [(gfp, how) for op, _, _, gfp, _, how in rows if op == READS] == [
        (first + 4, READ_FAULT),
        (first + 4, READ_MAPPED),
        (first + 8, READ_START),
    ]
    own = [*file[:2], fault(2), *(e for i in (2, 3, 4) for e in cached(8 + i, i)), get_pages(0, 0)]
    assert numbered(own)[1].mapped.tolist() == [5]
    other = [*file[:2], fault(0), *(e for i in (2, 3, 4) for e in cached(8 + i, i)), get_pages(0, 0)]
    assert numbered(other)[1].mapped.tolist() == [1]
    around = [*file, fault(4), *cached(30, 9), *cached(31, 3), fault(5)]
    rows, files, _ = numbered(around)
    assert {gfp - int(files.first[0]) for op, _, _, gfp, *_ in rows if op == READS} == {10}


def test_a_fault_that_finds_its_page_missing_is_one_row():
    """It has mapped what was there around it before; the page may be the last one of the stretch."""
    file = [e for i in range(8) for e in cached(8 + i, i)]
    rows, files, _ = numbered([*file, map_pages(4, 7), fault(7), map_pages(0, 3), fault(5)])
    first = int(files.first[0])
    assert [(pages, aux - first, how) for op, pages, _, _, aux, how in rows if op == READS] == [
        (1, 7, READ_FAULT),
        (4, 0, READ_MAPPED),
        (1, 5, READ_FAULT),
    ]
    rows, _, _ = numbered([*file, map_pages(4, 7), get_pages(0, 0), fault(7)])
    assert [how for op, *_, how in rows if op == READS] == [READ_MAPPED, READ_START, READ_FAULT]


def test_what_a_fault_maps_around_it_may_be_there_or_not():
    events = [*cached(8, 4), fault(4), map_pages(4, 4, pid=2)]
    plain, _ = rows_of(events)
    assert [aux for op, _, _, aux in plain if op == ACCESS] == [1, 1]
    work = Reconstruction(np.zeros(PAGES, np.bool_), NOTHING, PageKindModel())
    assert [*work.feed(event_input(chunk_of(events), 0))] == []
    rows, _, _ = compiled(events, files=files_read(work.tables))
    assert [row[-1] for row in rows if row[1] == ACCESS] == [1, 2]
