# SPDX-License-Identifier: GPL-2.0-or-later
"""Which operations make an object, end one, or have none: the tuples and the compiled questions agree, for every operation."""

from __future__ import annotations

import numpy as np
import pytest

from kevacuate.demand import objects as ob
from kevacuate.recording import DemandOp

ORDERS = np.arange(31)
ASKED = ("asks_buddy", "makes_object", "ends_object", "has_object")
CALLS = {name: getattr(ob, name).py_func for name in (*ASKED, "alloc_op", "free_op")}


@pytest.mark.parametrize("op", DemandOp)
def test_questions_and_tuples_agree(op: DemandOp) -> None:
    asked = {name: bool(CALLS[name](int(op))) for name in ASKED}
    assert asked == {
        "asks_buddy": op in ob.REQUESTS,
        "makes_object": op in ob.BIRTHS,
        "ends_object": op in ob.DEATHS,
        "has_object": op not in ob.OF_NO_OBJECT,
    }


def test_every_operation_is_told() -> None:
    others = {DemandOp.SPLIT, DemandOp.ACCESS, DemandOp.PLACE}
    told = [*ob.BIRTHS, *ob.DEATHS, *ob.OF_NO_OBJECT, *others]
    assert sorted(told) == sorted(DemandOp)
    assert set(ob.REQUESTS) == {DemandOp.ALLOC, DemandOp.ALLOC_BULK}


def test_contiguous_requests_begin_above_the_largest_order() -> None:
    assert ob.free_ops(ORDERS).tolist() == [CALLS["free_op"](int(order)) for order in ORDERS]
    assert [CALLS["alloc_op"](order) for order in (10, 11)] == [DemandOp.ALLOC, DemandOp.ALLOC_CONTIG]
    assert [CALLS["free_op"](order) for order in (10, 11)] == [DemandOp.FREE, DemandOp.FREE_CONTIG]
