# SPDX-License-Identifier: GPL-2.0-or-later
"""Bringing memory into a state: as at boot (memblock_free_all), from recorded ordered lists, and new watermarks."""

from __future__ import annotations

from math import isqrt

import numpy as np

from kevacuate.errors import KevacuateError
from kevacuate.jit import kernel, pointers
from kevacuate.kernel.pcp import pcp_order
from kevacuate.mm import constants as k
from kevacuate.mm.buddy import page_zone, split_large_buddy
from kevacuate.mm.constants import C_MAX_PAGE_ORDER, FPI_TO_TAIL
from kevacuate.mm.layout import Int32Array, Int64Array, MachineConfig, State, set_pcp_bounds


@kernel
def free_range(sa, start, end):  # type: ignore[no-untyped-def]
    """Free [start, end) as memblock_free_all does: the largest aligned chunks, ascending, each to the tail (mm/memblock.c)."""
    s = pointers(sa)
    most = s.cfg[C_MAX_PAGE_ORDER]
    pfn = start
    while pfn < end:
        order = most
        while pfn & ((1 << order) - 1) or pfn + (1 << order) > end:
            order -= 1
        for i in range(1 << order):
            s.meta[pfn + i] = 0
        split_large_buddy(s, page_zone(s, pfn), pfn, order, FPI_TO_TAIL)
        pfn += 1 << order


def memblock_free_all(state: State, machine: MachineConfig) -> None:
    """Free every page of every zone that is not reserved, ascending by address."""
    for zone in sorted(machine.zones, key=lambda zone: zone.start_pfn):
        at = zone.start_pfn
        for start, end in [*sorted(zone.reserved), (zone.end_pfn, zone.end_pfn)]:
            if at < start:
                free_range(state, at, start)
            at = max(at, end)
    state.stat[k.T_NLOG] = 0


def _thread(link: Int32Array, sentinels: Int64Array, pfns: Int64Array) -> None:
    """Link *pfns* into the lists whose sentinels stand beside them; each list's pages stand head first, if not together."""
    if pfns.size == 0:
        return
    together = np.argsort(sentinels, kind="stable")
    sentinels, pfns = sentinels[together], pfns[together]
    first = np.r_[True, sentinels[1:] != sentinels[:-1]]
    last = np.r_[first[1:], True]
    following = np.where(last, sentinels, np.r_[pfns[1:], 0])
    before = np.where(first, sentinels, np.r_[0, pfns[:-1]])
    link[2 * pfns], link[2 * pfns + 1] = following, before
    link[2 * sentinels[first]], link[2 * sentinels[last] + 1] = pfns[first], pfns[last]


def load_free_lists(
    state: State, zone: Int64Array, order: Int64Array, mt: Int64Array, pfn: Int64Array
) -> None:
    """Fill the buddy lists from arrays of equal length: zone, order, type and first pfn of each chunk, in list order.

    The pages must be RESERVED so far. Raises KevacuateError where two chunks overlap or a list is named twice.
    """
    sentinels = state.cfg[k.C_NPAGES] + zone * k.LISTS_PER_ZONE + order * k.NR_TYPES + mt
    _take_pages(state, pfn, order, k.PG_BUDDY)
    _thread(state.link, sentinels, pfn)
    pageblock_order = int(state.cfg[k.C_PAGEBLOCK_ORDER])
    for z in range(int(state.cfg[k.C_NZONES])):
        fields = state.zone[z * k.ZS : (z + 1) * k.ZS]
        here = zone == z
        pages = np.left_shift(1, order[here])
        free = mt[here] != k.MIGRATE_ISOLATE
        fields[k.Z_AREA : k.Z_AREA + 16] = np.bincount(order[here], minlength=16)[:16]
        fields[k.Z_NR_FREE] = pages[free].sum()
        fields[k.Z_NR_FREE_CMA] = pages[mt[here] == k.MIGRATE_CMA].sum()
        if state.cfg[k.C_FREE_HIGHATOMIC]:
            fields[k.Z_NR_FREE_HIGHATOMIC] = pages[mt[here] == k.MIGRATE_HIGHATOMIC].sum()
        fields[k.Z_NR_FREE_BLOCKS] = pages[free & (order[here] >= pageblock_order)].sum()


def load_pcp_lists(
    state: State, zone: Int64Array, cpu: Int64Array, pindex: Int64Array, pfn: Int64Array
) -> None:
    """Fill the per-CPU lists from arrays of equal length, in list order; counts are set to what the lists hold.

    Kernels that note a page's type there are taken to have noted its block's.
    """
    cpus = int(state.cfg[k.C_NCPUS])
    order = pcp_order(pindex, int(state.cfg[k.C_HPAGE_ORDER]))
    sentinels = state.cfg[k.C_PCP_BASE] + (zone * cpus + cpu) * k.PCP_LISTS + pindex
    _take_pages(state, pfn, order, k.PG_PCP)
    _thread(state.link, sentinels, pfn)
    counts = np.bincount(zone * cpus + cpu, np.left_shift(1, order), state.pcp.size // k.PS)
    state.pcp[k.P_COUNT :: k.PS] = counts.astype(np.int32)
    if state.cfg[k.C_PCP_TYPE_CACHED]:
        blocks = state.block[2 * (pfn >> int(state.cfg[k.C_PAGEBLOCK_ORDER]))]
        state.block[state.cfg[k.C_OFF_PCP_TYPE] + pfn] = blocks & k.PB_TYPE_MASK


def _take_pages(state: State, pfn: Int64Array, order: Int64Array, page_state: int) -> None:
    """Turn RESERVED pages into chunks of *page_state*; refuse overlaps."""
    if pfn.size and (pfn.min() < 0 or (pfn + np.left_shift(1, order)).max() > state.meta.size):
        raise KevacuateError(
            "The start state names a page beyond the machine's memory; the recording is inconsistent."
        )
    for size in np.unique(order):
        heads = pfn[order == size]
        pages = (heads[:, None] + np.arange(1 << int(size))).ravel()
        clash = state.meta[pages] != k.PG_RESERVED << 4
        if clash.any() or np.unique(heads).size != heads.size:
            where = int(pages[clash][0]) if clash.any() else int(heads[0])
            raise KevacuateError(
                f"The start state holds pfn {where:#x} twice; the recording is inconsistent and cannot be replayed."
            )
        state.meta[pages] = 0
        state.meta[heads] = page_state << 4 | int(size)


def load_allocated(
    state: State, pfn: Int64Array, order: Int64Array, attr: Int64Array, first_object: int
) -> None:
    """Make allocated chunks of RESERVED pages, objects *first_object*, +1, ...; LRU ones are on the LRU already."""
    _take_pages(state, pfn, order, k.PG_ALLOC)
    on_lru = np.where(attr & k.ATTR_LRU, k.ATTR_ON_LRU, 0)
    state.link[2 * pfn] = np.arange(first_object, first_object + pfn.size)
    state.link[2 * pfn + 1] = attr | on_lru
    state.obj[first_object : first_object + pfn.size] = pfn
    zones = state.block[2 * (pfn >> int(state.cfg[k.C_PAGEBLOCK_ORDER])) + 1].astype(np.int64)
    pages = np.where(on_lru > 0, np.left_shift(1, order), 0)
    np.add.at(state.zone, zones * k.ZS + k.Z_NR_LRU, pages)


def load_in_use(state: State, pfn: Int64Array, attr: Int64Array | int = 0) -> None:
    """Pages in use by nobody we know: allocated, order 0, without object; on no LRU list, whatever *attr* says."""
    state.meta[pfn] = k.PG_ALLOC << 4
    state.link[2 * pfn] = -1
    state.link[2 * pfn + 1] = attr


def load_pageblocks(state: State, pfn: Int64Array, mt: Int64Array, skip: np.ndarray) -> None:
    """Set types and skip bits of the blocks that start at *pfn*; the type below an isolate bit is not recorded: movable.

    All other blocks do not exist (:data:`~kevacuate.mm.constants.PB_ABSENT`).
    """
    blocks = int(state.cfg[k.C_NPAGES]) >> int(state.cfg[k.C_PAGEBLOCK_ORDER])
    state.block[: 2 * blocks : 2] |= k.PB_ABSENT
    isolated = mt == k.MIGRATE_ISOLATE
    bits = mt if state.cfg[k.C_ISOLATE_TYPE] else np.where(isolated, k.MIGRATE_MOVABLE | k.PB_ISOLATE, mt)
    zones = state.block[2 * (pfn[isolated] >> int(state.cfg[k.C_PAGEBLOCK_ORDER])) + 1].astype(np.int64)
    np.add.at(state.zone, zones * k.ZS + k.Z_NR_ISOLATE_BLOCKS, 1)
    at = 2 * (pfn >> int(state.cfg[k.C_PAGEBLOCK_ORDER]))
    state.block[at] = bits | np.where(skip, k.PB_SKIP, 0)


def min_free_kbytes(state: State) -> int:
    """The kernel's own choice: sqrt(16 * lowmem kB), clamped to 128..262144 (mm/page_alloc.c:6506)."""
    lowmem = 0
    for z in range(int(state.cfg[k.C_NZONES])):
        fields = state.zone[z * k.ZS : (z + 1) * k.ZS]
        if fields[k.Z_INDEX] <= k.ZONE_NORMAL:
            lowmem += max(0, int(fields[k.Z_MANAGED] - fields[k.Z_WMARK + k.WMARK_HIGH]))
    return min(max(isqrt(4 * lowmem * 16), 128), 262144)


def setup_per_zone_wmarks(state: State, machine: MachineConfig, kbytes: int, scale_factor: int = 10) -> None:
    """Watermarks from min_free_kbytes, boosts reset, per-CPU bounds recomputed (mm/page_alloc.c:6580)."""
    zones = [state.zone[z * k.ZS : (z + 1) * k.ZS] for z in range(len(machine.zones))]
    lowmem = sum(int(f[k.Z_MANAGED]) for f in zones if f[k.Z_INDEX] != k.ZONE_MOVABLE)
    pages_min = kbytes // 4
    for fields in zones:
        managed = int(fields[k.Z_MANAGED])
        share = pages_min * managed // max(lowmem, 1)
        low = share
        if fields[k.Z_INDEX] == k.ZONE_MOVABLE:
            low = min(max(managed // 1024, 32), 128)
        gap = max(share // 4, managed * scale_factor // 10000)
        fields[k.Z_BOOST] = 0
        fields[k.Z_WMARK : k.Z_WMARK + 4] = [low + i * gap for i in range(4)]
    set_pcp_bounds(state, machine)


def khugepaged_min_free_kbytes(state: State, kbytes: int) -> int:
    """What khugepaged raises min_free_kbytes to when THP is enabled (mm/khugepaged.c:3055)."""
    zones = [state.zone[z * k.ZS : (z + 1) * k.ZS] for z in range(int(state.cfg[k.C_NZONES]))]
    normal = [f for f in zones if f[k.Z_INDEX] <= k.ZONE_NORMAL]
    pageblock = 1 << int(state.cfg[k.C_PAGEBLOCK_ORDER])
    wanted = pageblock * len(normal) * 2 + pageblock * len(normal) * 9
    buffer_pages = sum(max(0, int(f[k.Z_MANAGED] - f[k.Z_WMARK + k.WMARK_HIGH])) for f in normal)
    wanted = min(wanted, buffer_pages // 20) * 4
    return max(wanted, kbytes)
