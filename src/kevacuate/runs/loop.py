# SPDX-License-Identifier: GPL-2.0-or-later
"""The replay loop: rows of a demand into the model, compiled; it stops where Python has something to do."""

from __future__ import annotations

import numpy as np

from kevacuate.demand.objects import OP_ALLOC, OP_ALLOC_BULK, OP_FREE, OP_FREE_PFN, OP_SPLIT
from kevacuate.jit import kernel, part, pointers, prefetch
from kevacuate.kernel.migratetypes import MIGRATE_PCPTYPES
from kevacuate.mm.buddy import page_zone
from kevacuate.mm.clock import advance
from kevacuate.mm.constants import (
    CHUNK_ALLOC,
    CHUNK_RESERVED,
    MIGRATE_MOVABLE,
    PB_ABSENT,
)
from kevacuate.mm.fields import View
from kevacuate.mm.layout import MachineConfig, State, ZoneConfig, build_state
from kevacuate.mm.page_alloc import alloc_pages, alloc_pages_bulk
from kevacuate.mm.page_free import free_pages, halve_chunk
from kevacuate.recording import DemandChunk

LOG_MARGIN = 1 << 14
"""Log records that one row, with all that becomes due before it, may write (a refill takes at most 2,016 chunks)."""

STOP_END = 0
STOP_SAMPLE = 1
STOP_LOG = 2
STOP_OBJECT = 3
"""The row contradicts those before it: the demand is corrupted."""

OBJ_NONE = -1
OBJ_DROPPED = -2
OBJ_FAILED = -3
"""What ``State.obj`` holds for an object that has no page: nobody's id (what the model writes when it frees), dropped by the
model as clean cache, and (written here alone) alive in the demand although its allocation failed."""

NO_ROWS = DemandChunk(
    *(
        np.zeros(0, dtype)
        for dtype in (np.int64, np.uint8, np.uint16, np.int32, *[np.uint8] * 2, np.uint32, np.uint8, np.int32)
    )
)
"""No rows, for the compiled loops."""

LATEST_NS = 1 << 56
"""Times beyond this (two years) are not a recording's."""


@part(inline=True)
def born(s: View, obj: int, pfn: int) -> None:
    """Note that the demand's new object got no page."""
    if pfn < 0:
        s.obj[obj] = OBJ_FAILED


@part(inline=True)
def free_object(s: View, cpu: int, obj: int) -> bool:
    """Free an object of the demand; count what the model dropped or never got. False if there is no such object."""
    pfn = s.obj[obj] + 0
    if pfn >= 0:
        free_pages(s, cpu, pfn)
        return True
    s.obj[obj] = OBJ_NONE
    if pfn == OBJ_DROPPED:
        s.stat.dropped_then_freed += 1
    elif pfn == OBJ_FAILED:
        s.stat.failed_then_freed += 1
    return pfn != OBJ_NONE


@part(cold=True)
def split_object(s: View, obj: int, upper: int) -> bool:
    """Halve an object; a lost one's halves are both lost. False if there is no such object, or it is a single page."""
    pfn = s.obj[obj] + 0
    if pfn == OBJ_NONE or s.obj[upper] != OBJ_NONE:
        return False
    if pfn < 0:
        s.obj[upper] = pfn
        return True
    if s.meta[pfn] & 15 == 0:
        return False
    halve_chunk(s, pfn, upper)
    return True


@part(cold=True)
def memory_arrives(s: View, pfn: int, order: int) -> bool:
    """Whole pageblocks that did not exist (all their pages reserved) are given to the allocator: from now on they do.

    Memory that is plugged in, or whose struct pages are set up late, comes in chunks of a pageblock or more (__free_pages_core,
    mm/mm_init.c). The zone's marks stay as they are. False if one of the blocks existed.
    """
    pageblock_order = s.cfg.pageblock_order
    if order < pageblock_order:
        return False
    first = pfn >> pageblock_order
    last = first + (1 << (order - pageblock_order))
    for block in range(first, last):
        if s.block[2 * block] & PB_ABSENT == 0:
            return False
    for block in range(first, last):
        s.block[2 * block] = MIGRATE_MOVABLE
    s.zone[page_zone(s, pfn)].managed_pages += 1 << order
    return True


@part(cold=True)
def free_start_pages(s: View, cpu: int, pfn: int, order: int) -> bool:
    """Free pages that were in use at the start and that no object holds.

    Pages that the allocator never had (reserved at boot, freed later) are counted as refused, unless they are the whole of
    pageblocks that come to exist with them.
    False if a page is free, or an object's.
    """
    zone = page_zone(s, pfn)
    mixed_zones = page_zone(s, pfn + (1 << order) - 1) != zone
    arrives = not mixed_zones and memory_arrives(s, pfn, order)
    reserved = mixed_zones
    for page in range(pfn, pfn + (1 << order)):
        meta = s.meta[page] + 0
        if meta == CHUNK_RESERVED << 4:
            reserved |= not arrives
        elif meta != CHUNK_ALLOC << 4 or s.link[2 * page] >= 0:
            return False
    if reserved:
        s.stat.bad_free += 1
        return True
    for page in range(pfn, pfn + (1 << order)):
        s.meta[page] = 0
    s.meta[pfn] = CHUNK_ALLOC << 4 | order
    free_pages(s, cpu, pfn)
    return True


@part(inline=True)
def look_ahead(s: View, d: DemandChunk, i: int, ahead: int) -> None:
    """Prefetch what the free *ahead* rows from here will touch, and the object entry one further step away."""
    far = d.obj[i + 2 * ahead] + 0
    prefetch(s.obj, max(far, 0))
    if d.op[i + ahead] == OP_FREE:
        pfn = max(s.obj[d.obj[i + ahead]] + 0, 0)
        prefetch(s.meta, pfn)
        prefetch(s.link, 2 * pfn)


@part(inline=True)
def replay_row(s: View, d: DemandChunk, i: int) -> int:
    """One row of the demand. False if it contradicts the rows before it: nothing has been done then."""
    op = d.op[i]
    cpu = d.cpu[i] + 0
    obj = d.obj[i] + 0
    if op == OP_FREE:
        return free_object(s, cpu, obj)
    if op == OP_ALLOC:
        if s.obj[obj] != OBJ_NONE:
            return False
        gfp = d.gfp[i] + 0
        born(s, obj, alloc_pages(s, cpu, -1, d.order[i] + 0, d.mt[i] + 0, gfp, d.attr[i] + 0, obj))
        return True
    if op == OP_SPLIT:
        return split_object(s, obj, d.aux[i] + 0)
    if op == OP_FREE_PFN:
        return free_start_pages(s, cpu, d.aux[i] + 0, d.order[i] + 0)
    if s.obj[obj] != OBJ_NONE:
        return False
    born(s, obj, alloc_pages_bulk(s, cpu, d.mt[i] + 0, d.gfp[i] + 0, d.attr[i] + 0, obj))
    return True


@kernel
def replay_rows(
    sa: State, da: DemandChunk, start: int, end: int, next_sample: int, ahead: int
) -> tuple[int, int]:
    """Replay rows [start, end) until a sample is due, the log is nearly full or a row is impossible.

    Returns (rows done up to here, why it stopped). *ahead* is the prefetch distance in rows, 0 for none. Without rows, what is
    due until *next_sample* (ns) is run: an entry of its own would have the whole model compiled once more.
    """
    s = pointers(sa)
    d = pointers(da)
    room = s.cfg.log_capacity - LOG_MARGIN
    i = start
    if start == end:
        advance(s, next_sample)
    while i < end:
        t = d.t[i]
        if t >= next_sample:
            return i, STOP_SAMPLE
        if s.stat.nr_log > room:
            return i, STOP_LOG
        if t >= s.stat.next_due:
            advance(s, t)
        s.stat.now = max(t, s.stat.now)
        if ahead > 0 and i + 2 * ahead < end:
            look_ahead(s, d, i, ahead)
        if not replay_row(s, d, i):
            return i, STOP_OBJECT
        i += 1
    return i, STOP_END


def one_block() -> State:
    """A machine of one pageblock, to have a loop compiled with."""
    return build_state(
        MachineConfig(npages=16, zones=(ZoneConfig(0, 2, 0, 16),), max_page_order=4, pageblock_order=4)
    )


def compile_loop() -> None:
    """Have :func:`replay_rows` compiled: run it without rows."""
    replay_rows(one_block(), NO_ROWS, 0, 0, 0, 0)


@kernel
def check_rows(
    da: DemandChunk, ncpus: int, max_order: int, nobjects: int, npages: int, earliest: int
) -> tuple[int, int]:
    """Check a chunk before the loop trusts it; no row may be earlier than *earliest* (ns).

    Returns (problem, row): 0 none, 1 op, 2 CPU, 3 order, 4 type, 5 object, 6 time, 7 page.
    """
    last = earliest
    for i in range(da.t.size):
        op = da.op[i]
        if op > OP_ALLOC_BULK:
            return 1, i
        if da.cpu[i] >= ncpus:
            return 2, i
        if da.order[i] > max_order or (op == OP_SPLIT and da.order[i] == 0):
            return 3, i
        if op in (OP_ALLOC, OP_ALLOC_BULK) and da.mt[i] >= MIGRATE_PCPTYPES:
            return 4, i
        if op != OP_FREE_PFN and (da.obj[i] < 0 or da.obj[i] >= nobjects):
            return 5, i
        if op == OP_SPLIT and (da.aux[i] < 0 or da.aux[i] >= nobjects):
            return 5, i
        if da.t[i] < last or da.t[i] > LATEST_NS:
            return 6, i
        if op == OP_FREE_PFN:
            pfn = int(da.aux[i])
            size = 1 << int(da.order[i])
            if pfn < 0 or pfn + size > npages or pfn & (size - 1):
                return 7, i
        last = da.t[i]
    return 0, 0
