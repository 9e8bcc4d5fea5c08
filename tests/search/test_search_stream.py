# SPDX-License-Identifier: GPL-2.0-or-later
"""What a replay asks of a zone, read from the model's log: mainline's rule takes the model's pages."""

from __future__ import annotations

import numpy as np
import pytest

import kevacuate
from kevacuate.demand.objects import OP_ALLOC, OP_FREE
from kevacuate.mm.fields import LogRecord
from kevacuate.search import fields as f
from kevacuate.search.check import problems
from kevacuate.search.machine import ZoneShape, as_replayed, zone_shape
from kevacuate.search.stream import CAPACITY, ZoneDemand, zone_demand
from kevacuate.search.zone import run_rows

REGION_ORDER = 13
"""32 MiB: the shipped recording's machine has 1 GiB."""


@pytest.fixture(scope="module")
def demand() -> ZoneDemand:
    return zone_demand(kevacuate.Recording.shipped(), REGION_ORDER)


def searched(demand: ZoneDemand, rule: int, **more: int) -> f.Search:
    shape = zone_shape(demand.state, demand.zone, REGION_ORDER, ZoneShape(0, 1, rule=rule, **more))
    return as_replayed(demand.state, demand.zone, shape)


def test_mainline_takes_the_pages_that_the_model_takes(demand: ZoneDemand) -> None:
    search = searched(demand, f.MAINLINE)
    assert problems(search) == []
    rows, step, same = demand.rows, 2_000, 0
    for start in range(0, 400_000, step):
        run_rows(search, rows, start, start + step)
        there = np.flatnonzero(search.at >= 0)
        if not np.array_equal(search.at[there], there):
            break
        same = start + step
    assert same >= EQUAL_ROWS
    assert problems(search) == []


EQUAL_ROWS = 290_000
"""Then the model's compaction takes a page of its own choice, which a zone of searched lists does not have."""


def test_rows_are_balanced(demand: ZoneDemand) -> None:
    zone = demand.state.view.zone[demand.zone]
    rows = demand.rows
    taken = int((1 << rows.order[rows.op == OP_ALLOC].astype(np.int64)).sum())
    freed = int((1 << rows.order[rows.op == OP_FREE].astype(np.int64)).sum())
    search = searched(demand, f.MAINLINE)
    run_rows(search, rows, 0, rows.t.size)
    free = int(f.RegionLists.table(search.region)["nr_free"].sum())
    stat = search.view.stat
    assert free == zone.nr_free_pages + freed - taken + stat.failed_pages - stat.failed_frees
    assert stat.failed <= 10
    assert np.all(np.diff(rows.t) >= 0)


def test_the_forms_agree_on_a_recorded_demand(demand: ZoneDemand) -> None:
    search = searched(demand, f.REGIONS, longest_walk=2_000)
    run_rows(search, demand.rows, 0, 60_000)
    assert list(search.view.stat.wrong) == [0] * f.NR_FORMS
    assert problems(search) == []


def test_a_log_holds_what_a_look_at_it_may_find() -> None:
    assert CAPACITY * LogRecord.STRIDE * 8 <= 1 << 27
