# SPDX-License-Identifier: GPL-2.0-or-later
"""Every rule of the reconstruction, one hand-made sequence each."""

from __future__ import annotations

import numpy as np
import pytest
from demand_tools import (
    ALLOC,
    ALLOC_BULK,
    ATTEMPT,
    FREE,
    FREE_PFN,
    PAGES,
    SPLIT,
    TARGET,
    VMALLOC,
    Event,
    alloc,
    begin,
    both,
    compiled,
    end,
    free,
    isolate,
    isolate_free,
    migrated,
    new_pte,
)

from kevacuate.demand.migrations import _all_free
from kevacuate.demand.objects import FREE_CODE, Tables
from kevacuate.demand.pagekinds import PageKindModel
from kevacuate.demand.tables import new_tables
from kevacuate.jit import kernel, pointers
from kevacuate.recording.demand import StartObjects
from kevacuate.recording.schema import EventKind as K

NO_OBJECTS = StartObjects(np.empty(0, np.int64), np.empty(0, np.uint8), np.empty(0, np.uint8))


@kernel
def all_free(tables: Tables, pfn: int, order: int) -> bool:
    return _all_free(pointers(tables), pfn, order)


def test_pairs_and_recycled_ids():
    rows, q = both([alloc(8), alloc(16, 2), free(8), alloc(32), free(16, 2), free(32)])
    assert rows == [
        (ALLOC, 0, 0, 0),
        (ALLOC, 1, 2, 0),
        (FREE, 0, 0, 0),
        (ALLOC, 0, 0, 0),
        (FREE, 1, 2, 0),
        (FREE, 0, 0, 0),
    ]
    assert (q["allocs"], q["frees"], q["peak_objects"]) == (3, 3, 2)


def test_time_cpu_and_request_are_kept():
    rows, _, _ = compiled([alloc(8, cpu=3, mt=0, gfp=0xCC0), free(8, cpu=5)])
    assert rows == [(10, ALLOC, 3, 0, 0, 0, 0xCC0, 0), (20, FREE, 5, 0, 0, 0, 0, 0)]


def test_failed_allocations_are_attempts_and_batched_frees_are_no_demand():
    rows, q = both([alloc(-1, 9), alloc(4), alloc(-1, 11), free(4), Event(K.MM_PAGE_FREE_BATCHED, 4)])
    assert rows == [(ATTEMPT, 0, 9, 0), (ALLOC, 0, 0, 0), (FREE, 0, 0, 0)]
    assert (q["failed_allocs"], q["attempts"], q["free_duplicates"]) == (2, 1, 1)


def test_partial_free_splits_down_to_the_piece():
    rows, q = both([alloc(0, 3), free(6, 1), free(0, 2), free(4, 1)])
    assert rows == [
        (ALLOC, 0, 3, 0),
        (SPLIT, 0, 3, 1),
        (SPLIT, 1, 2, 2),
        (FREE, 2, 1, 0),
        (FREE, 0, 2, 0),
        (FREE, 1, 1, 0),
    ]
    assert (q["splits"], q["partial_frees"]) == (2, 1)


def test_page_by_page_free_is_regrouped():
    rows, q = both([alloc(8, 2, gfp=VMALLOC, mt=0), *(free(p) for p in range(8, 12))])
    assert rows == [(ALLOC, 0, 2, 0), (FREE, 0, 2, 0)]
    assert (q["regrouped"], q["regrouped_pages"]) == (1, 4)


def test_compound_is_never_regrouped():
    _, q = both([alloc(8, 2), *(free(p) for p in range(8, 12))])
    assert "regrouped" not in q
    assert q["partial_frees"] == 2


@pytest.mark.parametrize("breaker", [alloc(100), free(10), free(9, cpu=1), alloc(8, 2, cpu=1)])
def test_interrupted_run_is_freed_page_by_page(breaker):
    _, q = both([alloc(8, 2, gfp=VMALLOC), free(8), free(9), breaker, free(10), free(11)])
    assert q.get("regrouped_pages", 0) < 4
    assert q["partial_frees"] >= 2


def test_runs_of_two_cpus_do_not_disturb_each_other():
    two = [
        alloc(8, 1, gfp=VMALLOC),
        alloc(16, 1, gfp=VMALLOC),
        free(8),
        free(16, cpu=1),
        free(9),
        free(17, cpu=1),
    ]
    assert both(two)[1]["regrouped"] == 2


def test_unfinished_run_at_the_end():
    rows, _ = both([alloc(8, 1, gfp=VMALLOC), free(8)])
    assert rows[1:] == [(SPLIT, 0, 1, 1), (FREE, 0, 0, 0)]


def test_alloc_over_open_range_is_a_missed_free():
    rows, q = both([alloc(8, 2), alloc(8), free(9)])
    assert [r[0] for r in rows] == [ALLOC, SPLIT, SPLIT, FREE, ALLOC, FREE]
    assert q["missed_frees"] == 1


def test_free_of_the_start():
    rows, q = both([free(8, 1), free(8, 1), free(21)], used=[8, 9, 20], start=[(20, 0)])
    assert rows == [(FREE_PFN, -1, 1, 8)]
    assert (q["frees_of_start_pages"], q["orphan_frees"]) == (1, 2)


def test_start_object_is_freed_by_id():
    assert both([free(20), free(24, 2)], start=[(20, 0), (24, 2)])[0] == [(FREE, 0, 0, 0), (FREE, 1, 2, 0)]


def test_covering_free():
    rows, q = both([alloc(8), alloc(10, 1), free(8, 2)], used=[9])
    assert rows[2:] == [(FREE, 0, 0, 0), (FREE_PFN, -1, 0, 9), (FREE, 1, 1, 0)]
    assert q["covering_frees"] == 1


def test_double_free():
    assert both([alloc(8), free(8), free(8)])[1]["orphan_frees"] == 1


def test_bulk():
    rows, q = both([Event(K.GT_RMQ, 77, mt=0, a=4), Event(K.GT_RMQ, 78, a=5), free(77)])
    assert [r[0] for r in rows] == [ALLOC_BULK, FREE]
    assert q["bulk_allocs"] == 1


@pytest.mark.parametrize(
    "event",
    [
        alloc(1, 1),
        alloc(PAGES),
        alloc(0, 11),
        alloc(0, -1),
        alloc(1 << 62),
        alloc(3, mt=6),
        alloc(3, mt=-1),
        free(-5),
        free(1 << 62),
        free(-(1 << 63)),
        free(PAGES - 1, 1),
        free(0, 100),
        free(0, -100),
        free(2, 2),
    ],
)
def test_hostile_events_are_counted_and_dropped(event):
    rows, q = both([event])
    assert rows == []
    assert q["malformed"] == 1


def test_compaction_move_named_by_pte():
    rows, q = both(
        [
            alloc(8),
            begin(),
            isolate(0, 512, 1),
            new_pte(1000),
            new_pte(1000),
            free(8, pid=9),
            migrated(),
            end(),
            free(8),
            free(1000),
        ]
    )
    assert rows == [(ALLOC, 0, 0, 0), (FREE, 0, 0, 0)]
    assert (q["moves_exact"], q["orphan_frees"]) == (1, 1)


def test_failed_migration_leaves_its_pte_to_nobody():
    """remove_migration_pte restored page 8; page 9's move must not take that as its destination."""
    _, q = both(
        [alloc(8), alloc(9), begin(), isolate(0, 512, 2), new_pte(8), free(9, pid=9), migrated(), end()]
    )
    assert q["moves_unresolved"] == 1


def test_compaction_move_waits_in_limbo():
    rows, q = both(
        [
            alloc(8),
            begin(),
            isolate(0, 512, 1),
            isolate_free(1024, 1536, 4),
            free(8, pid=9),
            migrated(),
            end(),
            free(1100),
        ]
    )
    assert rows[1:] == [(FREE, 0, 0, 0)]
    assert q["moves_by_block"] == 1


def listed_batch(order=3):
    take = Event(K.GT_LIST, 1024, order, pid=9, a=2)
    return [begin(), isolate(0, 512, 2), take, isolate_free(1024, 1536, 1 << order)]


def test_compaction_move_follows_the_list():
    seen = Event(K.GT_LIST, 2048, 0, pid=1, a=0)
    rows, q = both(
        [
            seen,
            alloc(8),
            alloc(9),
            *listed_batch(),
            free(9, pid=9),
            free(8, pid=9),
            migrated(),
            end(),
            free(1025),
            free(1024),
        ]
    )
    assert rows[2:] == [(FREE, 0, 0, 0), (FREE, 1, 0, 0)]
    assert q["moves_by_list"] == 2


def test_page_given_back_is_nobodys_destination():
    seen = Event(K.GT_LIST, 2048, 0, pid=1, a=0)
    rows, q = both(
        [
            seen,
            alloc(8),
            alloc(9),
            *listed_batch(),
            free(9, pid=9),
            free(1024, pid=9),
            migrated(),
            end(),
            free(1025),
        ]
    )
    assert rows[2:] == [(FREE, 1, 0, 0)]
    assert q["compaction_list_frees"] == 1


def test_leftover_of_the_free_list_is_no_demand():
    rows, q = both([begin(), free(1024, 2, pid=9), end()])
    assert rows == []
    assert q["compaction_list_frees"] == 1


def evacuation(*events):
    return [alloc(8), alloc(9), isolate(0, 512, 2), *events]


def test_evacuation_pairs_in_order():
    rows, q = both(
        [
            *evacuation(
                alloc(1000, pid=9, gfp=TARGET), alloc(1001, pid=9, gfp=TARGET), free(9, pid=9), free(8, pid=9)
            ),
            migrated(),
            free(1000),
            free(1001),
        ]
    )
    assert rows[2:] == [(FREE, 1, 0, 0), (FREE, 0, 0, 0)]
    assert q["moves_by_destination"] == 2


def test_evacuation_clean_cache_dies():
    rows, q = both(evacuation(free(8, pid=9), alloc(1000, pid=9, gfp=TARGET), free(9, pid=9), migrated()))
    assert rows[2:] == [(FREE, 0, 0, 0)]
    assert q["reclaimed_in_evacuation"] == 1


def test_evacuation_repeats_its_destination():
    again = [alloc(1000, pid=9, gfp=TARGET), free(1000, pid=9)] * 3
    rows, q = both(evacuation(*again, migrated()))
    assert len(rows) == 2
    assert q["repeated_destinations"] == 3


def test_unpaired_destination_becomes_demand():
    rows, q = both(evacuation(alloc(1000, pid=9, gfp=TARGET), migrated(), free(1000)))
    assert rows[2:] == [(ALLOC, 2, 0, 0), (FREE, 2, 0, 0)]
    assert q["unpaired_destinations"] == 1


def test_wanted_destination_settles_the_batch():
    """Another task frees the new page before the batch is over."""
    rows, q = both(evacuation(alloc(1000, pid=9, gfp=TARGET), free(8, pid=9), free(1000), migrated()))
    assert rows[2:] == [(FREE, 0, 0, 0)]
    assert q["moves_by_destination"] == 1


def test_split_folio_moves_in_pieces():
    _, q = both(
        [alloc(8, 1), isolate(0, 512, 2)]
        + [alloc(1000 + i, pid=9, gfp=TARGET) for i in (0, 1)]
        + [free(8, pid=9), free(9, pid=9), migrated(), free(1000), free(1001)]
    )
    assert (q["moves_by_destination"], q["splits"]) == (2, 1)


def test_start_page_keeps_its_identity_when_moved():
    rows, q = both([begin(), isolate(0, 512, 1), new_pte(1000), free(8, pid=9), end(), free(1000)], used=[8])
    assert rows == [(FREE_PFN, -1, 0, 8)]
    assert q["anonymous_moves"] == 1


def test_without_pids_there_are_no_moves():
    rows, _ = both([alloc(8, pid=-1), isolate(0, 512, 1, pid=-1), begin(pid=-1), free(8, pid=-1)])
    assert [r[0] for r in rows] == [ALLOC, FREE]


def test_pages_that_do_not_exist_are_not_free():
    tables = new_tables(np.zeros(PAGES, np.bool_), NO_OBJECTS, PageKindModel(), None)
    around = np.full(3 * PAGES, FREE_CODE, np.int32)  # what is read outside of the table looks free
    tables = tables._replace(owner=around[PAGES : 2 * PAGES])
    assert all_free(tables, PAGES - 2, 1)
    beyond = [(PAGES - 2, 2), (PAGES, 0), ((1 << 63) - 1, 0), ((1 << 63) - 512, 9), (-1, 0)]
    assert [all_free(tables, pfn, order) for pfn, order in beyond] == [False] * 5
