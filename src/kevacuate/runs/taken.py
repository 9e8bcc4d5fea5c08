# SPDX-License-Identifier: GPL-2.0-or-later
"""The model's state as a recorded kernel's is described: what a replay can begin from.

Kept are free lists and per-CPU lists in order, pageblocks with their skip bits, marks, compaction's cached positions, and of
every page what /proc/kpageflags would show, with who is pinned or busy; when the vmstat workers and kcompactd work next; and of
a closed loop the LRU lists (:mod:`kevacuate.runs.lru_state`). Not kept: what is swapped out, and what waits to be evacuated.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from kevacuate.demand.start_objects import pages_in_use
from kevacuate.kernel import pageflags as pf
from kevacuate.measure.startfile import LABEL, StartState
from kevacuate.mm import constants as k
from kevacuate.mm.fields import PerCpuPages
from kevacuate.mm.read_state import (
    FreeChunks,
    is_at_rest,
    pages_reserved,
    read_free_lists,
    read_pageblocks,
    read_pcp_lists,
    read_used,
)
from kevacuate.recording import AllocatorState
from kevacuate.recording.state import BUSY, PINNED, Blocks, FreePages, PcpFields, PcpPages, ZoneState
from kevacuate.runs.lru_state import kswapd_runs, lru_of, reclaim_from
from kevacuate.runs.replay import Replay

Words = npt.NDArray[np.uint64]

REST_STEP_NS, REST_STEPS = 1_000_000, 10_000
"""A state is taken when no page is isolated, in a closed loop when no kswapd runs either: so looked for, so often at most."""


def _bits(*numbers: int) -> np.uint64:
    """A word of /proc/kpageflags with these bits."""
    return np.uint64(sum(1 << number for number in numbers))


_ANON = _bits(pf.KPF_LRU, pf.KPF_UPTODATE, pf.KPF_MMAP, pf.KPF_ANON, pf.KPF_SWAPBACKED)
_FILE = _bits(pf.KPF_LRU, pf.KPF_UPTODATE)
_SHOWN = (
    (k.ATTR_DIRTY, _bits(pf.KPF_DIRTY)),
    (k.ATTR_WRITEBACK, _bits(pf.KPF_WRITEBACK)),
    (k.ATTR_ACTIVE, _bits(pf.KPF_ACTIVE)),
    (k.ATTR_REFERENCED, _bits(pf.KPF_REFERENCED)),
    (k.ATTR_MLOCKED, _bits(pf.KPF_UNEVICTABLE, pf.KPF_MLOCKED)),
    (k.ATTR_PINNED, PINNED),
    (k.ATTR_BUSY, BUSY),
)
"""Attributes of a folio on an LRU list, and the flags that show them; the last two are no kernel's."""


def folio_flags(attr: npt.NDArray[np.int64]) -> Words:
    """What /proc/kpageflags shows of folios with these attributes, but for their size; 0 of the kernel's own pages."""
    lru = attr & k.ATTR_LRU != 0
    words = np.where(lru, np.where(attr & k.ATTR_FILE, _FILE, _ANON), np.uint64(0))
    for bit, shown in _SHOWN:
        words |= np.where(lru & (attr & bit != 0), shown, np.uint64(0))
    return words.astype(np.uint64)


def _spread(
    words: Words, pfn: npt.NDArray[np.int64], order: npt.NDArray[np.int64], hugepage_order: int, out: Words
) -> None:
    """Write the folios' words to all their pages, in place, with what shows that they are compound."""
    for size in np.unique(order).tolist():
        mine = order == size
        heads, own = pfn[mine], words[mine]
        if size and size == hugepage_order:
            own = np.where(own != 0, own | _bits(pf.KPF_THP), own)
        if size:
            tails = (heads[:, None] + np.arange(1, 1 << size)).ravel()
            out[tails] = np.repeat(own | _bits(pf.KPF_COMPOUND_TAIL), (1 << size) - 1)
            own = own | _bits(pf.KPF_COMPOUND_HEAD)
        out[heads] = own


def _nobodys(replay: Replay, before: AllocatorState) -> npt.NDArray[np.bool_]:
    """Pages in use at the start that no object stood for: bool[pages]."""
    cfg, start = replay.state.view.cfg, replay.demand.start_objects
    found = np.zeros(cfg.npages, np.bool_)
    used = pages_in_use(before, cfg.hpage_pmd_order)
    found[: len(used)] = used
    for size in np.unique(start.order).tolist():
        found[(start.pfn[start.order == size][:, None] + np.arange(1 << size)).ravel()] = False
    return found


def _page_flags(replay: Replay, before: AllocatorState, free: FreeChunks) -> Words:
    """What /proc/kpageflags would show: of pages that were nobody's at the start, and are, what it showed then."""
    state, cfg = replay.state, replay.state.view.cfg
    flags = np.zeros(cfg.npages, np.uint64)
    used, gone = read_used(state), pages_reserved(state)
    nobody = used.obj < 0
    if before.page_flags is not None:
        kept = gone.copy()
        kept[used.pfn[nobody]] = True
        kept &= _nobodys(replay, before)
        shown = np.flatnonzero(kept[: len(before.page_flags)])
        flags[shown] = before.page_flags[shown]
    flags[gone & (flags == 0)] = _bits(pf.KPF_NOPAGE)
    _spread(
        folio_flags(used.attr[~nobody]), used.pfn[~nobody], used.order[~nobody], cfg.hpage_pmd_order, flags
    )
    for size in np.unique(free.order).tolist():
        pages = free.pfn[free.order == size][:, None] + np.arange(1 << size)
        flags[pages.ravel()] = _bits(pf.KPF_BUDDY)
    return flags[: cfg.npages_real]


def _zones(replay: Replay, before: tuple[ZoneState, ...], number: list[int]) -> tuple[ZoneState, ...]:
    """The zones' fields now; *number* is the model's of each recorded one."""
    found = []
    for zone, z in zip(before, number, strict=True):
        own = replay.state.view.zone[z]
        found.append(
            replace(
                zone,
                managed=own.managed_pages,
                watermark=tuple(own.watermark[i] for i in range(4)),
                boost=own.watermark_boost,
                nr_free=own.nr_free_pages,
                nr_reserved_highatomic=own.nr_reserved_highatomic,
                nr_free_highatomic=own.nr_free_highatomic,
                cached_free_pfn=own.compact_cached_free_pfn,
                cached_migrate_pfn=(own.compact_cached_migrate_pfn[0], own.compact_cached_migrate_pfn[1]),
                compact_considered=own.compact_considered,
                compact_defer_shift=own.compact_defer_shift,
                compact_order_failed=own.compact_order_failed,
            )
        )
    return tuple(found)


def _pcp_fields(replay: Replay, index: npt.NDArray[np.int64], lists: int) -> PcpFields:
    """The per-CPU lists' tuning now; *index* is the recorded zone's index of each of the model's zones."""
    cpus = replay.state.view.cfg.nr_cpus
    table = PerCpuPages.table(replay.state.pcp)
    rows = len(index) * cpus
    columns = {name: table[name].astype(np.int32) for name in PcpFields._fields[2:-1]}
    return PcpFields(
        zone=np.repeat(index, cpus).astype(np.int16),
        cpu=np.tile(np.arange(cpus), len(index)).astype(np.int16),
        nr_lists=np.full(rows, lists, np.int32),
        **columns,
    )


def come_to_rest(replay: Replay, t: int) -> int:
    """Let the background work go on until no page is isolated and no kswapd runs; the moment from which that is so, ns."""
    for _ in range(REST_STEPS):
        if is_at_rest(replay.state) and not (replay.loop.closed and kswapd_runs(replay.state)):
            return t
        t += REST_STEP_NS
        replay.advance(t)
    return t


def due_from(replay: Replay, t: int) -> dict[str, int]:
    """When the background works next, ns behind *t*: :attr:`AllocatorState.due`."""
    view = replay.state.view
    due = {f"vmstat{number}": max(cpu.vmstat_due - t, 0) for number, cpu in enumerate(view.cpu)}
    for number, node in enumerate(view.node):
        if node.kcompactd_due < k.NEVER:
            due[f"kcompactd{number}"] = max(node.kcompactd_due - t, 0)
    return due


def state_of(replay: Replay, before: AllocatorState, t: int = 0) -> AllocatorState:
    """What the model has now, at *t* ns; *before* is the state that its replay began from."""
    state, view = replay.state, replay.state.view
    by_start = {zone.zone_start_pfn: z for z, zone in enumerate(view.zone)}
    number = [by_start[zone.start_pfn] for zone in before.zones]
    index = np.zeros(view.cfg.nr_zones, np.int64)
    index[number] = [zone.index for zone in before.zones]
    free, pcp = read_free_lists(state), read_pcp_lists(state)
    zone, pfn, mt, skip = read_pageblocks(state)
    small = np.int8
    return replace(
        before,
        tag="s",
        ts=0,
        ts_begin=0,
        ordinal=-1,
        interleaved=0,
        counters={},
        label=LABEL,
        zones=_zones(replay, before.zones, number),
        free=FreePages(
            index[free.zone].astype(np.int16), free.order.astype(small), free.mt.astype(small), free.pfn
        ),
        blocks=Blocks(index[zone].astype(np.int16), pfn, mt.astype(small), skip),
        pcp=_pcp_fields(replay, index, view.cfg.nr_pcp_lists),
        pcp_pages=PcpPages(
            index[pcp.zone].astype(np.int16), pcp.cpu.astype(np.int16), pcp.pindex.astype(small), pcp.pfn
        ),
        page_flags=_page_flags(replay, before, free),
        page_count=None,
        due=due_from(replay, t),
        lru=lru_of(state),
        reclaim=reclaim_from(state, t),
    )


def taken(replay: Replay, t: int, made: tuple[dict[str, Any], ...] = ()) -> StartState:
    """The start state that a replay has come to at *t* ns of virtual time; *made* is how what it began from came about."""
    recording, options = replay.recording, replay.options
    assert recording.start is not None  # it could not be replayed
    at = come_to_rest(replay, t)
    step = {
        "step": "replayed",
        "from": recording.path.name,
        "digest": recording.digest,
        "policy": replay.policy.spec,
        "seed": options.seed,
        "loop": replay.loop.name,
        "at_ns": at,
    }
    state = state_of(replay, recording.start, at)
    managed = {zone.start_pfn: zone.managed for zone in state.zones}
    zones = tuple(
        replace(zone, managed=managed.get(zone.start_pfn, zone.managed)) for zone in recording.machine.zones
    )
    machine = replace(recording.machine, zones=zones, events={})
    return StartState(machine, state, (*made, step))
