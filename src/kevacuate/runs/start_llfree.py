# SPDX-License-Identifier: GPL-2.0-or-later
"""A start state as a trace of LLFree's replay, and back.

Written is how memory came to be so from empty: everything in use, then everything free, is allocated, the largest chunks first;
then what is free is freed. A replay of the trace leaves its allocator as fragmented. Read back is what is in use behind the last
entry, on a machine with the zones of an x86-64 of that size.

The form carries which pages are in use, the order of each allocation, and by its GFP flags whether it is movable, reclaimable or
of the page cache. It carries no zones, nodes, pageblock types, skip bits, per-CPU lists (their pages are free), order of lists,
marks and sysctls, and no page 0. Pages that no entry names are taken for no memory.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kevacuate.demand.start_objects import folio_orders, pages_in_use
from kevacuate.errors import KevacuateError
from kevacuate.kernel import pageflags as pf
from kevacuate.kernel.gfp import GFP_COMP, GFP_HIGHUSER_MOVABLE, GFP_KERNEL, GFP_MOVABLE, GFP_RECLAIMABLE
from kevacuate.kernel.migratetypes import MIGRATE_MOVABLE, MIGRATE_RECLAIMABLE, MIGRATE_UNMOVABLE
from kevacuate.kernel.pcp import pcp_order
from kevacuate.measure.startfile import LABEL, StartState
from kevacuate.recording import AllocatorState
from kevacuate.recording.llfreetrace import PAGE_CACHE, Entries, read_trace, write_trace
from kevacuate.recording.startstate import free_chunks
from kevacuate.recording.state import Blocks, FreePages, Guesses
from kevacuate.workload import describe as ds
from kevacuate.workload.kinds import PAGE
from kevacuate.workload.machine import LARGEST, PAGEBLOCK_ORDER, boot_state, refuse_amount

SUFFIX = ".llfree"
LOST = (
    "From a trace of LLFree's: zones are those of an x86-64 of that size, and lists ascend by address. "
    "The type of a pageblock is what most of its pages are."
)
HUGE_ORDER = 9
"""Chunks are cut to this order, the largest that LLFree keeps as one."""
Ints = npt.NDArray[np.int64]


def _used_chunks(start: StartState) -> tuple[Ints, Ints, Ints]:
    """(first pfn, order, GFP flags) of everything in use."""
    state, order = start.state, start.machine.pageblock_order
    assert state.page_flags is not None
    used = pages_in_use(state, start.machine.hugepage_order)
    flags = np.full(len(used), 1 << pf.KPF_NOPAGE, np.uint64)
    known = state.page_flags[: len(used)]
    flags[: len(known)] = known
    used &= ~pf.absent_pages(flags)
    used[0] = False  # which no entry can name
    heads = np.flatnonzero(used & ~pf.flag(flags, pf.KPF_COMPOUND_TAIL))
    size = np.minimum(folio_orders(flags, heads), HUGE_ORDER).astype(np.int64)
    size = np.where(heads & (1 << size) - 1 == 0, size, 0)
    lost = used.copy()
    for one in np.unique(size).tolist():
        lost[(heads[size == one][:, None] + np.arange(1 << one)).ravel()] = False
    single = np.flatnonzero(lost)  # tails without their head
    pfn, size = np.concatenate([heads, single]), np.concatenate([size, np.zeros(len(single), np.int64)])
    types = np.full(-(-len(flags) >> order), MIGRATE_MOVABLE)
    types[state.blocks.pfn >> order] = state.blocks.mt
    file = pf.flag(flags, pf.KPF_LRU) & ~pf.flag(flags, pf.KPF_ANON) & ~pf.flag(flags, pf.KPF_SWAPBACKED)
    movable = GFP_HIGHUSER_MOVABLE | np.where(file[pfn], PAGE_CACHE, 0)
    kernel = GFP_KERNEL | np.where(types[pfn >> order] == MIGRATE_RECLAIMABLE, GFP_RECLAIMABLE, 0)
    gfp = np.where(pf.movable_pages(flags)[pfn], movable, kernel) | np.where(size > 0, GFP_COMP, 0)
    return pfn, size, np.asarray(gfp, np.int64)


def _free_chunks(start: StartState) -> tuple[Ints, Ints]:
    """(first pfn, order) of every free chunk, on per-CPU lists too, those above :data:`HUGE_ORDER` in pieces."""
    free, cached = start.state.free, start.state.pcp_pages
    pfn = np.concatenate([free.pfn, cached.pfn]).astype(np.int64)
    order = np.concatenate(
        [free.order.astype(np.int64), pcp_order(cached.pindex, start.machine.hugepage_order)]
    )
    pieces = np.left_shift(1, np.maximum(order - HUGE_ORDER, 0))
    at = np.arange(int(pieces.sum())) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    pfn, order = np.repeat(pfn, pieces) + (at << HUGE_ORDER), np.repeat(np.minimum(order, HUGE_ORDER), pieces)
    return pfn[pfn > 0], order[pfn > 0]


def write_llfree(start: StartState, target: Path) -> Path:
    """Write the trace; where it lies.

    Raises
    ------
    KevacuateError
        The state has no page flags, the machine is larger than the form can name, or the file exists or cannot be written.
    """
    if start.state.page_flags is None:
        raise KevacuateError(
            "The start state has no page flags, so what is movable is not known: LLFree's form needs that."
        )
    pfn, order, gfp = _used_chunks(start)
    free, size = _free_chunks(start)
    movable = np.full(len(free), GFP_HIGHUSER_MOVABLE)
    by = np.lexsort((np.concatenate([pfn, free]), -np.concatenate([order, size])))
    entries = Entries(
        alloc=np.concatenate([np.ones(len(by), np.bool_), np.zeros(len(free), np.bool_)]),
        pfn=np.concatenate([np.concatenate([pfn, free])[by], free]),
        order=np.concatenate([np.concatenate([order, size])[by], size]),
        gfp=np.concatenate([np.concatenate([gfp, movable])[by], movable]),
    )
    last = max(zone.start_pfn + zone.spanned for zone in start.state.zones) - 1
    return write_trace(target, entries, start.machine.cpus, last)


def _left(entries: Entries, pages: int) -> tuple[Ints, Ints]:
    """Per page: 1 + GFP flags, 0 of a free one, -1 of one never named; and 1 + the order where an allocation begins."""
    gfp, head = np.full(pages, -1), np.zeros(pages, np.int64)
    step = 1 << 20
    for at in range(0, len(entries.pfn), step):
        alloc, pfn, order, flags = (column[at : at + step] for column in entries)
        pfn = pfn >> order << order
        size = np.left_shift(1, order)
        page = np.repeat(pfn, size) + np.arange(int(size.sum())) - np.repeat(np.cumsum(size) - size, size)
        gfp[page] = np.repeat(np.where(alloc, flags + 1, 0), size)  # of several entries the last counts
        inner = np.zeros(len(page), np.int64)
        inner[np.cumsum(size) - size] = np.where(alloc, order + 1, 0)
        head[page] = inner
    return gfp, head


def _page_flags(gfp: Ints, head: Ints) -> npt.NDArray[np.uint64]:
    """What /proc/kpageflags would show of these pages."""
    bit = {name: np.uint64(1 << getattr(pf, name)) for name in dir(pf) if name.startswith("KPF_")}
    movable = (gfp > 0) & ((gfp - 1) & GFP_MOVABLE != 0)
    anon = bit["KPF_ANON"] | bit["KPF_SWAPBACKED"] | bit["KPF_MMAP"]
    kind = np.where((gfp - 1) & PAGE_CACHE != 0, np.uint64(0), anon) | bit["KPF_LRU"] | bit["KPF_UPTODATE"]
    flags = np.where(movable, kind, np.uint64(0)).astype(np.uint64)
    flags[gfp == 0] = bit["KPF_BUDDY"]
    flags[gfp < 0] = bit["KPF_NOPAGE"]
    for order in np.unique(head[head > 1]).tolist():
        first = np.flatnonzero(head == order)
        pages = first[:, None] + np.arange(1 << (order - 1))
        first = first[(gfp[pages] == gfp[first][:, None]).all(axis=1)]  # no part of it was freed
        flags[first] |= bit["KPF_COMPOUND_HEAD"]
        flags[(first[:, None] + np.arange(1, 1 << (order - 1))).ravel()] |= bit["KPF_COMPOUND_TAIL"]
    return flags


def _types(gfp: Ints) -> npt.NDArray[np.int8]:
    """The type of each pageblock by what most of its pages in use were taken for; movable where none is."""
    block = gfp.reshape(-1, 1 << PAGEBLOCK_ORDER)
    used = block > 0
    movable = (used & ((block - 1) & GFP_MOVABLE != 0)).sum(axis=1)
    reclaimable = (used & ((block - 1) & GFP_RECLAIMABLE != 0)).sum(axis=1)
    kernel = np.where(reclaimable * 2 > used.sum(axis=1) - movable, MIGRATE_RECLAIMABLE, MIGRATE_UNMOVABLE)
    return np.where(movable * 2 >= used.sum(axis=1), MIGRATE_MOVABLE, kernel).astype(np.int8)


def _free_lists(boot: AllocatorState, free: npt.NDArray[np.bool_], types: npt.NDArray[np.int8]) -> FreePages:
    """The free lists, each ascending by address."""
    starts = np.array([zone.start_pfn for zone in boot.zones])
    rows = []
    for order, pfn in free_chunks(free):
        zone, mt = np.searchsorted(starts, pfn, "right") - 1, types[pfn >> PAGEBLOCK_ORDER]
        by = np.lexsort((pfn, mt, zone))
        rows.append((zone[by], np.full(len(pfn), order), mt[by], pfn[by]))
    zone_, order_, mt_, pfn_ = (np.concatenate(column) for column in zip(*rows, strict=True))
    return FreePages(zone_.astype(np.int16), order_.astype(np.int8), mt_.astype(np.int8), pfn_)


def read_llfree(source: Path) -> StartState:
    """The start state that a trace leaves, of Linux 7.2.

    Raises
    ------
    KevacuateError
        It is no trace of LLFree's, is cut off or corrupted, or is of a machine that cannot be described.
    """
    entries, cores, last = read_trace(source)
    if not len(entries.pfn):
        raise KevacuateError(f"{source} has no entries: what is in use and what is free it does not say.")
    memory = -(-(last + 1) // LARGEST) * LARGEST
    refuse_amount(f"{source} tells of a machine whose memory", memory * PAGE, 1)
    described = ds.Machine(memory=f"{memory * PAGE // 1024}KiB", cpus=min(cores, 1024), reserved=0)
    machine, boot = boot_state(ds.Workload(machine=described, parts=(ds.Slab(),), name="LLFree"))
    gfp, head = _left(entries, memory)
    types, absent = _types(gfp), gfp < 0
    present = np.asarray((~absent).reshape(-1, 1 << PAGEBLOCK_ORDER).any(axis=1), np.bool_)
    there = present[boot.blocks.pfn >> PAGEBLOCK_ORDER]
    blocks = Blocks._make(column[there] for column in boot.blocks)
    free = _free_lists(boot, gfp == 0, types)
    sizes = np.left_shift(1, free.order.astype(np.int64))
    zones = tuple(
        replace(
            zone,
            managed=zone.managed - int(absent[zone.start_pfn : zone.start_pfn + zone.spanned].sum()),
            nr_free=int(sizes[free.zone == number].sum()),
        )
        for number, zone in enumerate(boot.zones)
    )
    state = replace(
        boot, tag="s", zones=zones, free=free, blocks=blocks._replace(mt=types[blocks.pfn >> PAGEBLOCK_ORDER]), label=LABEL,
        page_flags=_page_flags(gfp, head), skip_known=False, approximate=(LOST,),
        guesses=Guesses(len(blocks.pfn), len(blocks.pfn), 0, 0, 0, 0),
    )  # fmt: skip
    infos = tuple(
        replace(info, managed=zone.managed) for info, zone in zip(machine.zones, zones, strict=True)
    )
    extra = {name: value for name, value in machine.extra.items() if name != "generated"}
    step = {"step": "imported", "from": source.name, "form": "llfree", "entries": len(entries.pfn)}
    return StartState(replace(machine, zones=infos, extra=extra), state, (step,))
