# SPDX-License-Identifier: GPL-2.0-or-later
"""The C twin of the searches finds the pages of the trace in every form, and notices where it does not. No time is tested."""

from __future__ import annotations

import ctypes
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from kevacuate.jit import ARRAY_FORM
from kevacuate.search import fields as f
from kevacuate.search.measure import Generated

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks import search

pytestmark = [
    pytest.mark.skipif(shutil.which("cc") is None, reason="the twin needs a C compiler"),
    pytest.mark.skipif(ARRAY_FORM, reason="only the compiled form is measured"),
]

WHAT = Generated(1, region_order=13, cycles=1, rows=4_000)
"""32 regions of 32 MiB: an order-10 chunk is an eighth of one."""


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    return search.build_twin(str(tmp_path_factory.mktemp("twin")))


@pytest.fixture(scope="module")
def trace() -> search.Trace:
    return search.traced(WHAT, f.REGIONS)


def test_every_form_in_c_finds_the_traces_pages(twin: ctypes.CDLL) -> None:
    found = search.measure(twin, WHAT, 1)
    assert set(found["ratio"]) == {"mainline", "regions", "bitmaps", "typed bitmaps", "flat, walked"}
    assert found["ratio"]["mainline"] == 1


def test_a_trace_has_all_kinds_of_records(trace: search.Trace) -> None:
    kinds = np.bincount(trace.records.reshape(-1, 4)[:, 0], minlength=6)
    assert kinds[f.T_END] == pytest.approx(WHAT.rows, rel=0.05)
    assert all(kinds[kind] > 0 for kind in (f.T_ADD, f.T_ADD_TAIL, f.T_DELETE, f.T_BUCKET, f.T_FIND))


@pytest.mark.parametrize("form", range(f.NR_FORMS), ids=f.FORM_NAMES)
def test_a_page_that_is_not_found_is_noticed(twin: ctypes.CDLL, trace: search.Trace, form: int) -> None:
    records = trace.records.copy()
    finds = np.flatnonzero(records.reshape(-1, 4)[:, 0] == f.T_FIND)
    records.reshape(-1, 4)[finds[len(finds) // 2], 3] += 1
    with pytest.raises(search.Mismatch, match="1 searches"):
        search.run(twin, trace._replace(records=records), form, 1 << 40)


def test_lists_that_lie_otherwise_are_noticed(twin: ctypes.CDLL, trace: search.Trace) -> None:
    chunks = trace.chunks.reshape(-1, 3)[::-1].copy().reshape(-1)
    for form in range(f.NR_FORMS):
        with pytest.raises(search.Mismatch):
            search.run(twin, trace._replace(chunks=chunks), form, 1 << 40)
