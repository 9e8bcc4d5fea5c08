# SPDX-License-Identifier: GPL-2.0-or-later
"""The benchmark of a machine under pressure: its stream is what it says, and the machine reclaims."""

from __future__ import annotations

import re

import numpy as np
import pytest

from benchmarks import pressure
from benchmarks.streams import GIB_PAGES
from kevacuate.demand.objects import OP_ACCESS, OP_ALLOC, OP_FREE


def test_the_stream_reads_more_than_memory_and_frees_what_it_took() -> None:
    stream = pressure.Stream(GIB_PAGES)
    filled = list(stream.fill())
    pages = sum(int((1 << rows.order.astype(int)).sum()) for rows in filled)
    assert 1.15 < pages / GIB_PAGES < 1.25
    rows = stream.churn(400_000)
    other = rows.obj >= stream.files
    assert set(rows.op[~other]) == {OP_ACCESS}
    assert 0.24 < other.mean() < 0.26
    live: set[int] = set()
    for op, obj in zip(rows.op[other].tolist(), rows.obj[other].tolist(), strict=True):
        assert (op == OP_FREE) == (obj in live)
        assert op in (OP_ALLOC, OP_FREE)
        live ^= {obj}
    assert np.all(np.diff(rows.t) >= 0)


def test_a_small_machine_reclaims_and_reads_again(capsys: pytest.CaptureFixture[str]) -> None:
    pressure.main(["--gib", "1", "--rows", "200000", "--repeats", "1"])
    shown = capsys.readouterr().out
    counted = {name: int(n.replace(",", "")) for n, name in re.findall(r"^ *([\d,]+) (\w+)", shown, re.M)}
    assert counted["refault_pages"] > 50_000
    assert counted["pgsteal_kswapd"] + counted["pgsteal_direct"] > 100_000
    assert counted["oom_kill"] == 0
    told = re.search(r"([\d.]+) bytes a page", shown)
    assert told is not None
    assert float(told[1]) <= 14
