# SPDX-License-Identifier: GPL-2.0-or-later
"""The replay loop: rows of a demand into the model, compiled; it stops where Python has something to do."""

from __future__ import annotations

import numpy as np

from kevacuate.demand import objects as ob
from kevacuate.demand.objects import asks_buddy
from kevacuate.demand.pagekinds import READAHEAD
from kevacuate.jit import kernel, part, pointers, prefetch
from kevacuate.kernel.migratetypes import MIGRATE_PCPTYPES
from kevacuate.mm import constants as k
from kevacuate.mm.base_pages import OBJ_BASE_PAGES
from kevacuate.mm.buddy import page_zone
from kevacuate.mm.clock import advance
from kevacuate.mm.contig import alloc_contig_pages, free_contig_pages
from kevacuate.mm.fields import View
from kevacuate.mm.layout import MachineConfig, State, ZoneConfig, build_state
from kevacuate.mm.page_alloc import alloc_pages, alloc_pages_bulk
from kevacuate.mm.page_free import free_pages, halve_chunk
from kevacuate.mm.regions import note_joined
from kevacuate.mm.swapfile import is_in_swap
from kevacuate.mm.workingset import shadow_moves
from kevacuate.recording import DemandChunk
from kevacuate.recording.demand import DEMAND_TYPES
from kevacuate.runs.base_pages import (
    OBJ_FAILED,
    ROW_BAD,
    ROW_DONE,
    free_base_pages,
    free_dropped,
    not_born,
    split_base_pages,
)
from kevacuate.runs.closed_loop import (
    access_object,
    attempt_pages,
    gather_shadow,
    read_shadow,
    reclaim_object,
    truncate_shadows,
)
from kevacuate.runs.mapping import forget_place, place_object, split_place, waits_for_read
from kevacuate.runs.readahead import read_file

LOG_MARGIN = 1 << 14
"""Log records that one row, with all that becomes due before it, may write (a refill takes at most 2,016 chunks)."""

STOP_END = 0
STOP_SAMPLE = 1
STOP_LOG = 2
STOP_OBJECT = 3
"""The row contradicts those before it: the demand is corrupted."""
STOP_IDS = 4
"""Objects in base pages need more room in the table of objects."""

NO_ROWS = DemandChunk(*(np.zeros(0, dtype) for dtype in DEMAND_TYPES.values()))
"""No rows, for the compiled loops."""

MOST_CONTIG_ORDER = 30
"""The largest order of a contiguous allocation: 4 TiB."""

LATEST_NS = 1 << 56
"""Times beyond this (two years) are not a recording's."""


@part(inline=True)
def free_object(s: View, cpu: int, obj: int) -> bool:
    """Free an object of the demand; count what the model dropped or never got. False if there is no such object."""
    pfn = s.obj[obj] + 0
    if s.stat.file_pages:
        forget_place(s, obj)
    if pfn >= 0:
        free_pages(s, cpu, pfn)
        return True
    if pfn <= OBJ_BASE_PAGES:
        free_base_pages(s, cpu, obj)
        return True
    if pfn == k.OBJ_DROPPED:
        free_dropped(s, cpu, obj)
    s.obj[obj] = k.OBJ_NONE
    if pfn == OBJ_FAILED:
        s.stat.failed_then_freed += 1
    return pfn != k.OBJ_NONE


@part(cold=True)
def split_object(s: View, obj: int, upper: int) -> bool:
    """Halve an object; a lost one's halves are both lost. False if there is no such object, or it is a single page."""
    pfn = s.obj[obj] + 0
    if pfn == k.OBJ_NONE or s.obj[upper] != k.OBJ_NONE:
        return False
    if s.stat.file_pages:
        split_place(s, obj, upper)
    if pfn <= OBJ_BASE_PAGES:
        split_base_pages(s, obj, upper)
        return True
    if pfn == k.OBJ_DROPPED:
        if is_in_swap(s, obj):
            return False
        shadow_moves(s, obj, upper)
        return True
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
        if s.block[2 * block] & k.PB_ABSENT == 0:
            return False
    for block in range(first, last):
        s.block[2 * block] = k.MIGRATE_MOVABLE
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
        if meta == k.CHUNK_RESERVED << 4:
            reserved |= not arrives
        elif meta != k.CHUNK_ALLOC << 4 or s.link[2 * page] >= 0:
            return False
    if reserved:
        s.stat.bad_free += 1
        return True
    for page in range(pfn, pfn + (1 << order)):
        s.meta[page] = 0
    s.meta[pfn] = k.CHUNK_ALLOC << 4 | order
    if s.cfg.region_order:
        note_joined(s, pfn, order, arrives)
    free_pages(s, cpu, pfn)
    return True


@part(inline=True)
def look_ahead(s: View, d: DemandChunk, i: int, ahead: int) -> None:
    """Prefetch what the free or the use *ahead* rows from here will touch, and the object entry one further step away."""
    far = d.obj[i + 2 * ahead] + 0
    prefetch(s.obj, max(far, 0))
    op = d.op[i + ahead]
    if op == ob.OP_FREE or op == ob.OP_ACCESS:
        pfn = max(s.obj[d.obj[i + ahead]] + 0, 0)
        prefetch(s.meta, pfn)
        prefetch(s.link, 2 * pfn)
        if op == ob.OP_ACCESS:
            prefetch(s.lru, 2 * (s.cfg.lru_first + d.obj[i + ahead]))


@part(cold=True)
def alloc_contig_row(s: View, cpu: int, obj: int, order: int, gfp: int) -> int:
    """A request for more than MAX_PAGE_ORDER has; returns as :func:`replay_row`."""
    if s.obj[obj] != k.OBJ_NONE or order <= s.cfg.max_page_order:
        return ROW_BAD
    if alloc_contig_pages(s, cpu, -1, order, gfp, obj) < 0:
        s.obj[obj] = OBJ_FAILED
    return ROW_DONE


@part(cold=True)
def free_contig_object(s: View, cpu: int, obj: int, order: int) -> bool:
    """Free what such a request gave, if it gave something; False if there is no such object."""
    pfn = s.obj[obj] + 0
    if pfn == OBJ_FAILED:
        s.obj[obj] = k.OBJ_NONE
        s.stat.failed_then_freed += 1
        return True
    return free_contig_pages(s, cpu, pfn, order)


@part(cold=True)
def closed_row(s: View, d: DemandChunk, i: int) -> int:
    """One row of an operation that is seldom, or that only the closed loop has; returns as :func:`replay_row`."""
    cpu = d.cpu[i] + 0
    obj = d.obj[i] + 0
    order = d.order[i] + 0
    if d.op[i] == ob.OP_ACCESS:
        return access_object(s, cpu, obj, order, d.mt[i] + 0, d.gfp[i] + 0, d.attr[i] + 0, d.aux[i] + 0)
    if d.op[i] == ob.OP_RECLAIM:
        return ROW_DONE if reclaim_object(s, obj, order, d.aux[i] + 0) else ROW_BAD
    if d.op[i] == ob.OP_ATTEMPT:
        attempt_pages(s, cpu, order, d.mt[i] + 0, d.gfp[i] + 0)
        return ROW_DONE
    if d.op[i] == ob.OP_ALLOC_CONTIG:
        return alloc_contig_row(s, cpu, obj, order, d.gfp[i] + 0)
    if d.op[i] == ob.OP_FREE_CONTIG:
        return ROW_DONE if free_contig_object(s, cpu, obj, order) else ROW_BAD
    if d.op[i] == ob.OP_GATHER:
        return ROW_DONE if gather_shadow(s, obj, d.aux[i] + 0) else ROW_BAD
    if d.op[i] == ob.OP_PLACE:
        place_object(s, obj, order, d.aux[i] + 0, d.gfp[i] & READAHEAD == READAHEAD)
        return ROW_DONE
    if d.op[i] == ob.OP_READ:
        return read_file(s, cpu, d.task[i] + 0, d.aux[i] + 0, obj, d.gfp[i] + 0, d.attr[i] + 0)
    truncate_shadows(s, cpu, d.aux[i] + 0, order)
    return ROW_DONE


@part(inline=True)
def alloc_row(s: View, d: DemandChunk, i: int) -> int:
    """An ALLOC row; returns as :func:`replay_row`."""
    cpu = d.cpu[i] + 0
    obj = d.obj[i] + 0
    order = d.order[i] + 0
    gfp = d.gfp[i] + 0
    if s.obj[obj] != k.OBJ_NONE:
        return ROW_BAD
    if d.aux[i] > 0 and not s.cfg.open_loop:
        done = read_shadow(s, cpu, obj, order, d.mt[i] + 0, gfp, d.attr[i] + 0, d.aux[i] + 0)
        if done != ROW_BAD:
            return done
        if s.obj[obj] == k.OBJ_DROPPED and waits_for_read(s, d.aux[i] + 0, gfp):
            return ROW_DONE
    if alloc_pages(s, cpu, -1, order, d.mt[i] + 0, gfp, d.attr[i] + 0, obj) < 0:
        return not_born(s, cpu, obj, order, d.mt[i] + 0, gfp, d.attr[i] + 0)
    return ROW_DONE


@part(inline=True)
def replay_row(s: View, d: DemandChunk, i: int) -> int:
    """One row of the demand. ROW_BAD if it contradicts the rows before it: nothing has been done then; else ROW_DONE, ROW_IDS."""
    op = d.op[i]
    cpu = d.cpu[i] + 0
    obj = d.obj[i] + 0
    if op == ob.OP_FREE:
        return ROW_DONE if free_object(s, cpu, obj) else ROW_BAD
    if op == ob.OP_ALLOC:
        return alloc_row(s, d, i)
    if op == ob.OP_SPLIT:
        return ROW_DONE if split_object(s, obj, d.aux[i] + 0) else ROW_BAD
    if op == ob.OP_FREE_PFN:
        return ROW_DONE if free_start_pages(s, cpu, d.aux[i] + 0, d.order[i] + 0) else ROW_BAD
    if op == ob.OP_ALLOC_BULK:
        if s.obj[obj] != k.OBJ_NONE:
            return ROW_BAD
        if alloc_pages_bulk(s, cpu, d.mt[i] + 0, d.gfp[i] + 0, d.attr[i] + 0, obj) < 0:
            s.obj[obj] = OBJ_FAILED
        return ROW_DONE
    return closed_row(s, d, i)


@part(inline=True)
def still_late(s: View, t: int) -> int:
    """By how many ns a row recorded at *t* ns is late, as far as is known: kswapd had the CPU.

    A task that is late waits less: what lies between two rows beyond a slice is taken to be waiting, or the recorded kswapd's.
    That makes up for what kswapd took before the row before, and between the two. So it does not matter when one looks.
    """
    late = s.stat.late + 0
    if late > 0:
        late -= min(max(t - s.stat.row_t - s.cfg.kswapd_slice_ns, 0), late)
    return late


@part(inline=True)
def row_time(s: View, t: int) -> int:
    """When a row recorded at *t* ns happens: later, where kswapd had the CPU."""
    return t if s.cfg.kswapd_slice_ns == 0 else t + still_late(s, t)


@part(inline=True)
def row_begins(s: View, t: int) -> None:
    """A row recorded at *t* ns happens now: its task has caught up with what it could."""
    if s.cfg.kswapd_slice_ns:
        s.stat.late = still_late(s, t)
        s.stat.row_t = t


@kernel
def replay_rows(
    sa: State, da: DemandChunk, start: int, end: int, next_sample: int, ahead: int
) -> tuple[int, int]:
    """Replay rows [start, end) until a sample is due, the log is nearly full or a row is impossible.

    Returns (rows done up to here, why it stopped). It stops, too, where objects in base pages need more ids. *ahead* is the
    prefetch distance in rows, 0 for none. Without rows, what is due until *next_sample* (ns) is run: an entry of its own would
    have the whole model compiled once more.
    """
    s = pointers(sa)
    d = pointers(da)
    room = s.cfg.log_capacity - LOG_MARGIN
    i = start
    if start == end:
        advance(s, next_sample)
    while i < end:
        if d.t[i] >= next_sample:
            return i, STOP_SAMPLE
        if s.stat.nr_log > room:
            return i, STOP_LOG
        t = row_time(s, d.t[i])
        while t >= s.stat.next_due:
            advance(s, t)
            if s.stat.spare_base_page < 0:
                return i, STOP_IDS
            t = row_time(s, d.t[i])
        row_begins(s, d.t[i])
        s.stat.now = max(t, s.stat.now)
        if ahead > 0 and i + 2 * ahead < end:
            look_ahead(s, d, i, ahead)
        done = replay_row(s, d, i)
        if done != ROW_DONE:
            return (i, STOP_OBJECT) if done == ROW_BAD else (i + 1, STOP_IDS)
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


@part
def bad_shadow(d: DemandChunk, i: int, shadows: int) -> bool:
    """Whether the row names shadows that are none.

    *shadows* of them are numbered; -1 in the open loop, where none is looked at.
    """
    op = d.op[i]
    first = int(d.aux[i])
    if op == ob.OP_GATHER:
        return not (0 < d.obj[i] < shadows and 0 <= first < shadows and d.order[i] == 0)
    if shadows < 0 or not (op == ob.OP_ALLOC or op == ob.OP_RECLAIM or op == ob.OP_TRUNCATE):
        return False
    if op == ob.OP_ALLOC and first == 0:
        return False
    size = 1 << int(d.order[i])
    return first < 1 or first + size > shadows or first & (size - 1) != 0


@part
def wrong_order(op: int, order: int, max_order: int) -> bool:
    """Whether a row's order is none that its operation takes."""
    if op == ob.OP_ALLOC_CONTIG or op == ob.OP_FREE_CONTIG:
        return order <= max_order or order > MOST_CONTIG_ORDER
    return order > max_order or (op == ob.OP_SPLIT and order == 0)


@kernel
def check_rows(
    da: DemandChunk, ncpus: int, max_order: int, nobjects: int, npages: int, earliest: int, shadows: int
) -> tuple[int, int]:
    """Check a chunk before the loop trusts it; no row may be earlier than *earliest* (ns), *shadows* as in :func:`bad_shadow`.

    Returns (problem, row): 0 none, 1 op, 2 CPU, 3 order, 4 type, 5 object, 6 time, 7 page, 8 shadow.
    """
    d = pointers(da)
    last = earliest
    last_op = ob.OP_ALLOC_BULK if shadows < 0 else ob.OP_GATHER
    files = 0 if shadows < 0 else ob.OP_READ
    for i in range(len(da.t)):
        op = d.op[i]
        if (
            op > last_op
            and (op < ob.OP_ALLOC_CONTIG or op > ob.OP_FREE_CONTIG)
            and not ob.OP_PLACE <= op <= files
        ):
            return 1, i
        if d.cpu[i] >= ncpus:
            return 2, i
        if wrong_order(op, d.order[i], max_order):
            return 3, i
        if (asks_buddy(op) or op in (ob.OP_ACCESS, ob.OP_ATTEMPT)) and d.mt[i] >= MIGRATE_PCPTYPES:
            return 4, i
        if op not in (ob.OP_FREE_PFN, ob.OP_GATHER, ob.OP_READ) and (d.obj[i] < 0 or d.obj[i] >= nobjects):
            return 5, i
        if op == ob.OP_SPLIT and (d.aux[i] < 0 or d.aux[i] >= nobjects):
            return 5, i
        if d.t[i] < last or d.t[i] > LATEST_NS:
            return 6, i
        if op == ob.OP_FREE_PFN:
            pfn = int(d.aux[i])
            size = 1 << int(d.order[i])
            if pfn < 0 or pfn + size > npages or pfn & (size - 1):
                return 7, i
        if bad_shadow(d, i, shadows):
            return 8, i
        last = d.t[i]
    return 0, 0
