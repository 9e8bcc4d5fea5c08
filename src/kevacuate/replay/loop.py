# SPDX-License-Identifier: GPL-2.0-or-later
"""The replay loop: rows of a demand into the model, compiled; it stops where Python has something to do."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kevacuate.mm.clock import advance
from kevacuate.mm.constants import (
    C_LOG_CAPACITY,
    C_NPAGES_REAL,
    PG_ALLOC,
    T_BAD_FREE,
    T_DROPPED_THEN_FREED,
    T_FAILED_THEN_FREED,
    T_NEXT_DUE,
    T_NLOG,
    T_NOW,
)
from kevacuate.mm.jit import kernel, part, pointers, prefetch
from kevacuate.mm.page_alloc import alloc_pages, alloc_pages_bulk, free_pages, split_page

OP_ALLOC = 0
OP_FREE = 1
OP_SPLIT = 2
OP_FREE_PFN = 3
OP_ALLOC_BULK = 4

LOG_MARGIN = 1 << 14
"""Log records that one row, with all that becomes due before it, may write (a refill takes at most 2,016 chunks)."""

STOP_END = 0
STOP_SAMPLE = 1
STOP_LOG = 2
STOP_OBJECT = 3


class DemandRows(NamedTuple):
    """Columns of a demand chunk as the loop reads them."""

    t: npt.NDArray[np.int64]
    op: npt.NDArray[np.uint8]
    cpu: npt.NDArray[np.uint16]
    obj: npt.NDArray[np.int32]
    order: npt.NDArray[np.uint8]
    mt: npt.NDArray[np.uint8]
    gfp: npt.NDArray[np.uint32]
    attr: npt.NDArray[np.uint8]
    aux: npt.NDArray[np.int32]


@part
def free_object(s, cpu, obj):  # type: ignore[no-untyped-def]
    """Free an object of the demand; what the model dropped, or never got, is counted instead."""
    pfn = s.obj[obj] + 0
    if pfn >= 0:
        free_pages(s, cpu, pfn)
    elif pfn == -2:
        s.stat[T_DROPPED_THEN_FREED] += 1
        s.obj[obj] = -1
    else:
        s.stat[T_FAILED_THEN_FREED] += 1


@part
def split_object(s, obj, upper):  # type: ignore[no-untyped-def]
    """Halve an object; a lost one's halves are both lost."""
    pfn = s.obj[obj] + 0
    if pfn >= 0 and s.meta[pfn] & 15:
        split_page(s, pfn, upper)
    else:
        s.obj[upper] = min(pfn, -1)


@part
def free_start_pages(s, cpu, pfn, order):  # type: ignore[no-untyped-def]
    """Free pages that were in use at the start and that no object holds; anything else is counted as a bad free."""
    end = pfn + (1 << order)
    if pfn < 0 or end > s.cfg[C_NPAGES_REAL]:
        s.stat[T_BAD_FREE] += 1
        return
    for page in range(pfn, end):
        if s.meta[page] != PG_ALLOC << 4 or s.link[2 * page] >= 0:
            s.stat[T_BAD_FREE] += 1
            return
    for page in range(pfn, end):
        s.meta[page] = 0
    s.meta[pfn] = PG_ALLOC << 4 | order
    free_pages(s, cpu, pfn)


@part(inline=True)
def look_ahead(s, d, i, ahead):  # type: ignore[no-untyped-def]
    """Prefetch what the free *ahead* rows from here will touch, and the object entry one further step away."""
    far = d.obj[i + 2 * ahead] + 0
    prefetch(s.obj, max(far, 0))
    if d.op[i + ahead] == OP_FREE:
        pfn = max(s.obj[d.obj[i + ahead]] + 0, 0)
        prefetch(s.meta, pfn)
        prefetch(s.link, 2 * pfn)


@part(inline=True)
def replay_row(s, d, i):  # type: ignore[no-untyped-def]
    """One row of the demand."""
    op = d.op[i]
    cpu = d.cpu[i] + 0
    if op == OP_FREE:
        free_object(s, cpu, d.obj[i] + 0)
    elif op == OP_ALLOC:
        gfp = d.gfp[i] + 0
        alloc_pages(s, cpu, -1, d.order[i] + 0, d.mt[i] + 0, gfp, d.attr[i] + 0, d.obj[i] + 0)
    elif op == OP_SPLIT:
        split_object(s, d.obj[i] + 0, d.aux[i] + 0)
    elif op == OP_FREE_PFN:
        free_start_pages(s, cpu, d.aux[i] + 0, d.order[i] + 0)
    else:
        alloc_pages_bulk(s, cpu, d.mt[i] + 0, d.gfp[i] + 0, d.attr[i] + 0, d.obj[i] + 0)


@kernel
def replay_rows(sa, da, start, end, next_sample, ahead):  # type: ignore[no-untyped-def]
    """Replay rows [start, end) until a sample is due or the log is nearly full.

    Returns (rows done up to here, why it stopped). *ahead* is the prefetch distance in rows, 0 for none.
    """
    s = pointers(sa)
    d = pointers(da)
    room = s.cfg[C_LOG_CAPACITY] - LOG_MARGIN
    i = start
    while i < end:
        t = d.t[i]
        if t >= next_sample:
            return i, STOP_SAMPLE
        if s.stat[T_NLOG] > room:
            return i, STOP_LOG
        if t >= s.stat[T_NEXT_DUE]:
            advance(s, t)
        s.stat[T_NOW] = max(t, s.stat[T_NOW])
        if ahead > 0 and i + 2 * ahead < end:
            look_ahead(s, d, i, ahead)
        replay_row(s, d, i)
        i += 1
    return i, STOP_END


@kernel
def check_rows(da, ncpus, max_order, nobjects):  # type: ignore[no-untyped-def]
    """Check a chunk before the loop trusts it. Returns (problem, row): 0 none, 1 op, 2 CPU, 3 order, 4 type, 5 object, 6 time."""
    for i in range(da.t.size):
        if da.op[i] > OP_ALLOC_BULK:
            return 1, i
        if da.cpu[i] >= ncpus:
            return 2, i
        if da.order[i] > max_order:
            return 3, i
        if da.op[i] in (OP_ALLOC, OP_ALLOC_BULK) and da.mt[i] > 2:
            return 4, i
        if da.op[i] != OP_FREE_PFN and (da.obj[i] < 0 or da.obj[i] >= nobjects):
            return 5, i
        if da.op[i] == OP_SPLIT and (da.aux[i] < 0 or da.aux[i] >= nobjects):
            return 5, i
        if da.t[i] < 0 or (i > 0 and da.t[i] < da.t[i - 1]):
            return 6, i
    return 0, 0
