# SPDX-License-Identifier: GPL-2.0-or-later
"""Bringing memory into a state: as at boot (memblock_free_all), from recorded ordered lists, and new watermarks."""

from __future__ import annotations

import numpy as np

from kevacuate.errors import KevacuateError
from kevacuate.jit import kernel, pointers
from kevacuate.kernel.pcp import pcp_order
from kevacuate.mm import constants as k
from kevacuate.mm.buddy import page_zone, split_large_buddy
from kevacuate.mm.fields import Node, PerCpuPages, Zone
from kevacuate.mm.layout import Int32Array, Int64Array, MachineConfig, State, set_pcp_bounds
from kevacuate.mm.marks import (
    ZoneSize,
    buffer_pages,
    calculate_min_free_kbytes,
    recommended_min_free_kbytes,
    zone_wmarks,
)
from kevacuate.mm.read_state import LRU_ADD
from kevacuate.mm.region_count import load_regions


@kernel
def free_range(sa: State, start: int, end: int) -> None:
    """Free [start, end) as memblock_free_all does: the largest aligned chunks, ascending, each to the tail (mm/memblock.c)."""
    s = pointers(sa)
    most = s.cfg.max_page_order
    pfn = start
    while pfn < end:
        order = most
        while pfn & ((1 << order) - 1) or pfn + (1 << order) > end:
            order -= 1
        for i in range(1 << order):
            s.meta[pfn + i] = 0
        split_large_buddy(s, page_zone(s, pfn), pfn, order, k.FPI_TO_TAIL)
        pfn += 1 << order


def memblock_free_all(state: State, machine: MachineConfig) -> None:
    """Free every page of every zone that is not reserved, ascending by address."""
    for zone in sorted(machine.zones, key=lambda zone: zone.start_pfn):
        at = zone.start_pfn
        for start, end in [*sorted(zone.reserved), (zone.end_pfn, zone.end_pfn)]:
            if at < start:
                free_range(state, at, start)
            at = max(at, end)
    load_regions(state)
    state.view.stat.nr_log = 0


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
    s = state.view
    sentinels = s.cfg.npages + zone * k.LISTS_PER_ZONE + order * k.NR_TYPES + mt
    _take_pages(state, pfn, order, k.CHUNK_BUDDY)
    _thread(state.link, sentinels, pfn)
    for z, fields in enumerate(s.zone):
        here = zone == z
        pages = np.left_shift(1, order[here])
        free = mt[here] != k.MIGRATE_ISOLATE
        for o, chunks in enumerate(np.bincount(order[here], minlength=k.NR_ORDERS)[: k.NR_ORDERS].tolist()):
            fields.free_area[o] = chunks
        fields.nr_free_pages = int(pages[free].sum())
        fields.nr_free_cma = int(pages[mt[here] == k.MIGRATE_CMA].sum())
        if s.cfg.free_highatomic:
            fields.nr_free_highatomic = int(pages[mt[here] == k.MIGRATE_HIGHATOMIC].sum())
        fields.nr_free_pages_blocks = int(pages[free & (order[here] >= s.cfg.pageblock_order)].sum())


def load_pcp_lists(
    state: State, zone: Int64Array, cpu: Int64Array, pindex: Int64Array, pfn: Int64Array
) -> None:
    """Fill the per-CPU lists from arrays of equal length, in list order; counts are set to what the lists hold.

    Kernels that note a page's type there are taken to have noted its block's.
    """
    cfg = state.view.cfg
    order = pcp_order(pindex, cfg.hpage_pmd_order)
    which = zone * cfg.nr_cpus + cpu
    _take_pages(state, pfn, order, k.CHUNK_PCP)
    _thread(state.link, cfg.pcp_base + which * k.PCP_LISTS + pindex, pfn)
    PerCpuPages.table(state.pcp)["count"][:] = np.bincount(
        which, np.left_shift(1, order), cfg.nr_zones * cfg.nr_cpus
    )
    if cfg.pcp_type_cached:
        blocks = state.block[2 * (pfn >> cfg.pageblock_order)]
        state.block[cfg.pcp_type_base + pfn] = blocks & k.PB_TYPE_MASK


def _take_pages(state: State, pfn: Int64Array, order: Int64Array, page_state: int) -> None:
    """Turn RESERVED pages into chunks of *page_state*; refuse overlaps."""
    if pfn.size and (pfn.min() < 0 or (pfn + np.left_shift(1, order)).max() > state.meta.size):
        raise KevacuateError(
            "The start state names a page beyond the machine's memory; the recording is inconsistent."
        )
    for size in np.unique(order):
        heads = pfn[order == size]
        pages = (heads[:, None] + np.arange(1 << int(size))).ravel()
        clash = state.meta[pages] != k.CHUNK_RESERVED << 4
        if clash.any() or np.unique(heads).size != heads.size:
            where = int(pages[clash][0]) if clash.any() else int(heads[0])
            raise KevacuateError(
                f"The start state holds pfn {where:#x} twice; the recording is inconsistent and cannot be replayed."
            )
        state.meta[pages] = 0
        state.meta[heads] = page_state << 4 | int(size)


def load_allocated(
    state: State,
    pfn: Int64Array,
    order: Int64Array,
    attr: Int64Array,
    first_object: int,
    oldest_first: Int64Array | None = None,
) -> None:
    """Make allocated chunks of RESERVED pages, objects *first_object*, +1, ...; LRU ones are on the LRU but where IN_BATCH.

    In closed loop they stand on the LRU lists that *attr* names (ATTR_ACTIVE is taken from it), so far empty, the oldest at the
    tail: as *oldest_first* says, indices of all chunks; without it the lower the pfn, the older. With lru_gen they stand in the
    generations in which the kernel puts them when that is switched on (fill_evictable, mm/vmscan.c:5196).
    """
    _take_pages(state, pfn, order, k.CHUNK_ALLOC)
    on_lru = np.where(attr & (k.ATTR_LRU | k.ATTR_IN_BATCH) == k.ATTR_LRU, k.ATTR_ON_LRU, 0)
    state.link[2 * pfn] = np.arange(first_object, first_object + pfn.size)
    state.link[2 * pfn + 1] = attr | on_lru
    state.obj[first_object : first_object + pfn.size] = pfn
    zones = state.block[2 * (pfn >> state.view.cfg.pageblock_order) + 1].astype(np.int64)
    pages = np.where(on_lru > 0, np.left_shift(1, order), 0)
    np.add.at(Zone.table(state.zone)["nr_lru"], zones, pages)
    if state.lru.size:
        ages = np.argsort(pfn) if oldest_first is None else oldest_first
        _load_lru_lists(state, zones, pages, attr, ages[::-1], first_object)


def _load_lru_lists(
    state: State,
    zones: Int64Array,
    pages: Int64Array,
    attr: Int64Array,
    newest_first: Int64Array,
    first_object: int,
) -> None:
    """Thread the chunks through the LRU lists, which are empty so far, and count their pages; *newest_first* are indices."""
    table = Zone.table(state.zone)
    node, index = table["node"][zones], table["index"][zones]
    file = np.where(attr & k.ATTR_FILE, k.LRU_INACTIVE_FILE, 0) + np.where(attr & k.ATTR_ACTIVE, 1, 0)
    lru = np.where(attr & k.ATTR_MLOCKED, k.LRU_UNEVICTABLE, file)
    if state.view.cfg.lru_gen:
        _load_generations(state, (node, index, pages, lru), attr, newest_first, first_object)
        return
    np.add.at(Node.table(state.node)["nr_lru"], (node, index * k.NR_LRU_LISTS + lru), pages)
    listed = newest_first[(pages > 0)[newest_first] & (lru != k.LRU_UNEVICTABLE)[newest_first]]
    heads = node[listed] * k.LRU_LISTS + lru[listed]
    _thread(state.lru, heads, state.view.cfg.lru_first + first_object + listed)


def _load_generations(
    state: State,
    chunks: tuple[Int64Array, Int64Array, Int64Array, Int64Array],
    attr: Int64Array,
    newest_first: Int64Array,
    first_object: int,
) -> None:
    """Put chunks, by node, zone index, pages and list, into the generations that a kernel begins with (lru_gen_folio_seq).

    Of one of each type the oldest is 0; PG_active is cleared.
    """
    node, index, pages, lru = chunks
    cfg, table = state.view.cfg, Node.table(state.node)
    file, active = lru // 2, lru % 2
    marked = (attr & k.ATTR_RECLAIM > 0) & (attr & (k.ATTR_DIRTY | k.ATTR_WRITEBACK) > 0)
    used = attr & (k.ATTR_WORKINGSET | k.ATTR_REFERENCED) > 0
    unused = np.where((file == 0) | marked, k.MIN_NR_GENS, used)
    gen = np.where(active, k.MIN_NR_GENS + (attr & k.ATTR_WORKINGSET > 0), unused)
    evictable = (pages > 0) & (lru != k.LRU_UNEVICTABLE)
    counted = np.where(evictable, 2 * file + (gen >= k.MIN_NR_GENS), lru)
    np.add.at(table["nr_lru"], (node, index * k.NR_LRU_LISTS + counted), pages)
    listed = newest_first[evictable[newest_first]]
    which = (2 * gen + file) * 4 + index
    np.add.at(table["gen_pages"], (node[listed], which[listed]), pages[listed])
    objects = first_object + listed
    state.link[2 * state.obj[objects].astype(np.int64) + 1] &= ~k.ATTR_ACTIVE
    state.lru[cfg.lru_gen_words + objects] = gen[listed] + 1
    heads = cfg.lru_gen_heads + node[listed] * k.NR_GEN_LISTS + which[listed]
    _thread(state.lru, heads, cfg.lru_first + objects)


def load_batch(state: State, cpu: int, kind: int, pfn: Int64Array) -> None:
    """Fill a CPU's lru_add or lru_activate batch, whose folios' attributes say so (LRU_ADD, LRU_ACTIVATE)."""
    if kind == LRU_ADD:
        for i, one in enumerate(pfn.tolist()):
            state.view.cpu[cpu].lru_add[i] = one
        state.view.cpu[cpu].lru_add_nr = pfn.size
        return
    at = 2 * (k.LRU_HEADS + cpu * k.LRU_BATCH)
    state.lru[at] = pfn.size
    state.lru[at + 1 : at + 1 + pfn.size] = pfn


def load_in_use(state: State, pfn: Int64Array, attr: Int64Array | int = 0) -> None:
    """Pages in use by nobody we know: allocated, order 0, without object; on no LRU list, whatever *attr* says."""
    state.meta[pfn] = k.CHUNK_ALLOC << 4
    state.link[2 * pfn] = -1
    state.link[2 * pfn + 1] = attr


def load_pageblocks(state: State, pfn: Int64Array, mt: Int64Array, skip: np.ndarray) -> None:
    """Set types and skip bits of the blocks that start at *pfn*; the type below an isolate bit is not recorded: movable.

    All other blocks do not exist (:data:`~kevacuate.mm.constants.PB_ABSENT`).
    """
    cfg = state.view.cfg
    blocks = cfg.npages >> cfg.pageblock_order
    state.block[: 2 * blocks : 2] |= k.PB_ABSENT
    isolated = mt == k.MIGRATE_ISOLATE
    bits = mt if cfg.isolate_type else np.where(isolated, k.MIGRATE_MOVABLE | k.PB_ISOLATE, mt)
    zones = state.block[2 * (pfn[isolated] >> cfg.pageblock_order) + 1].astype(np.int64)
    np.add.at(Zone.table(state.zone)["nr_isolate_pageblock"], zones, 1)
    at = 2 * (pfn >> cfg.pageblock_order)
    state.block[at] = bits | np.where(skip, k.PB_COMPACT_SKIP, 0)


def _sizes(state: State) -> list[ZoneSize]:
    """The zones' indices and sizes."""
    return [ZoneSize(zone.index, zone.managed_pages) for zone in state.view.zone]


def _buffer_pages(state: State) -> int:
    """nr_free_buffer_pages."""
    return buffer_pages(_sizes(state), [zone.watermark[k.WMARK_HIGH] for zone in state.view.zone])


def min_free_kbytes(state: State) -> int:
    """The kernel's own choice: sqrt(16 * lowmem kB), clamped to 128..262144 (mm/page_alloc.c:6618)."""
    return calculate_min_free_kbytes(_buffer_pages(state))


def setup_per_zone_wmarks(state: State, machine: MachineConfig, kbytes: int, scale_factor: int = 10) -> None:
    """Watermarks from min_free_kbytes, boosts reset, per-CPU bounds recomputed (mm/page_alloc.c:6580)."""
    for zone, marks in zip(state.view.zone, zone_wmarks(_sizes(state), kbytes, scale_factor), strict=True):
        zone.watermark_boost = 0
        for i, mark in enumerate(marks):
            zone.watermark[i] = mark
    set_pcp_bounds(state, machine)


def khugepaged_min_free_kbytes(state: State, kbytes: int) -> int:
    """What khugepaged raises min_free_kbytes to when THP is enabled (mm/khugepaged.c:3055)."""
    pageblock = 1 << state.view.cfg.pageblock_order
    return max(recommended_min_free_kbytes(_sizes(state), _buffer_pages(state), pageblock), kbytes)
