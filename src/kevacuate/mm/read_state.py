# SPDX-License-Identifier: GPL-2.0-or-later
"""What a state holds, as arrays that :mod:`kevacuate.mm.load_state` takes: lists in order, chunks in use, pageblocks.

In plain NumPy: lists are followed all at once, by links twice as long in each step.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kevacuate.errors import KevacuateError
from kevacuate.mm import constants as k
from kevacuate.mm.layout import Int64Array, State


class FreeChunks(NamedTuple):
    """The buddy lists' chunks, in list order: each list's stand together, its head first. int64[chunks] each."""

    zone: Int64Array
    order: Int64Array
    mt: Int64Array
    pfn: Int64Array


class PcpChunks(NamedTuple):
    """The per-CPU lists' chunks, likewise; ``pindex`` is the list's number. int64[chunks] each."""

    zone: Int64Array
    cpu: Int64Array
    pindex: Int64Array
    pfn: Int64Array


class LruEntries(NamedTuple):
    """The LRU lists' folios in list order, heads first, then the CPUs' batches: node or CPU, list, first pfn. int64 each."""

    owner: Int64Array
    lru: Int64Array
    pfn: Int64Array


LRU_ADD, LRU_ACTIVATE = 5, 6
"""``lru`` of what stands in a CPU's batches: behind the lists' numbers (LRU_*)."""


class UsedChunks(NamedTuple):
    """Chunks in use or isolated to be moved, by pfn; ``obj`` is -1 of nobody's. int64[chunks] each."""

    pfn: Int64Array
    order: Int64Array
    obj: Int64Array
    attr: Int64Array


def _in_list_order(link: np.ndarray, at: Int64Array, is_head: np.ndarray) -> tuple[Int64Array, Int64Array]:
    """(head, entry) of the entries *at*, ascending, by list and in its order; *is_head* says it of every place of *link*.

    Raises
    ------
    KevacuateError
        A list does not end: the state is damaged.
    """
    place = np.full(is_head.size, -1, np.int64)
    place[at] = np.arange(at.size)
    following = link[2 * at].astype(np.int64)
    last = is_head[following]
    after = np.where(last, np.arange(at.size), place[following])
    left = np.where(last, 0, 1)
    for _ in range(int(at.size).bit_length() + 1):
        if (after < 0).any():
            break
        left += left[after]
        after = after[after]
    if (after < 0).any() or not last[after].all():
        raise KevacuateError("A list of the model does not end: its state is damaged.")
    head = following[after]
    by = np.lexsort((-left, head))
    return head[by], at[by]


def _chunks_in_order(state: State, kind: int) -> tuple[Int64Array, Int64Array]:
    """(list's number in ``link``, pfn) of the chunks of that state, by list and in its order."""
    pfn = np.flatnonzero(state.meta >> 4 == kind)
    return _in_list_order(state.link, pfn, np.arange(state.link.size // 2) >= state.view.cfg.npages)


def list_length(state: State, z: int, order: int, mt: int) -> int:
    """Number of chunks on one free list."""
    head = state.view.cfg.npages + z * k.LISTS_PER_ZONE + order * k.NR_TYPES + mt
    length, at = 0, int(state.link[2 * head])
    while at != head:
        length += 1
        at = int(state.link[2 * at])
    return length


def read_free_lists(state: State) -> FreeChunks:
    """Every chunk of the buddy lists (the inverse of :func:`~kevacuate.mm.load_state.load_free_lists`)."""
    sentinel, pfn = _chunks_in_order(state, k.CHUNK_BUDDY)
    zone, rest = np.divmod(sentinel - state.view.cfg.npages, k.LISTS_PER_ZONE)
    return FreeChunks(zone, rest // k.NR_TYPES, rest % k.NR_TYPES, pfn)


def read_pcp_lists(state: State) -> PcpChunks:
    """Every chunk of the per-CPU lists (the inverse of :func:`~kevacuate.mm.load_state.load_pcp_lists`)."""
    cfg = state.view.cfg
    sentinel, pfn = _chunks_in_order(state, k.CHUNK_PCP)
    which, pindex = np.divmod(sentinel - cfg.pcp_base, k.PCP_LISTS)
    return PcpChunks(which // cfg.nr_cpus, which % cfg.nr_cpus, pindex, pfn)


def read_lru(state: State) -> LruEntries:
    """The LRU lists of a closed loop, and the CPUs' batches.

    :func:`~kevacuate.mm.load_state.load_allocated` and ``load_batch`` take them back. With lru_gen a type's folios stand on its
    inactive list, those of the youngest generation first: their order is kept, their generations are not.
    """
    view, used = state.view, read_used(state)
    first = view.cfg.lru_first
    listed = (used.obj >= 0) & (used.attr & k.ATTR_ON_LRU != 0) & (used.attr & k.ATTR_MLOCKED == 0)
    at = np.sort(first + used.obj[listed])
    links = state.lru[: view.cfg.lru_gen_words]
    head, at = _in_list_order(links, at, np.arange(links.size // 2) < first)
    owner, lru = head // k.LRU_LISTS, head % k.LRU_LISTS
    if view.cfg.lru_gen:
        owner, lru, order = _generations(state, head)
        at = at[order]
    parts = [(owner, lru, state.obj[at - first].astype(np.int64))]
    for number, cpu in enumerate(view.cpu):
        batch = 2 * (k.LRU_HEADS + number * k.LRU_BATCH)
        waiting = (
            (LRU_ADD, [cpu.lru_add[i] for i in range(cpu.lru_add_nr)]),
            (LRU_ACTIVATE, state.lru[batch + 1 : batch + 1 + state.lru[batch]]),
        )
        for kind, pfn in waiting:
            found = np.array(pfn, np.int64)
            parts.append((np.full(found.size, number), np.full(found.size, kind), found))
    return LruEntries(*(np.concatenate(columns).astype(np.int64) for columns in zip(*parts, strict=True)))


def _generations(state: State, head: Int64Array) -> tuple[Int64Array, Int64Array, Int64Array]:
    """(node, list, order) of folios of these lists of generations; *order* are their indices, by node, type and generation."""
    view = state.view
    which = head - view.cfg.lru_gen_heads
    node, file = which // k.NR_GEN_LISTS, which // 4 % 2
    newest = np.array([pgdat.max_seq for pgdat in view.node], np.int64)[node]
    age = (newest - which // 8) % k.MAX_NR_GENS
    order = np.lexsort((age, file, node))
    return node[order], k.LRU_INACTIVE_FILE * file[order], order


def read_used(state: State) -> UsedChunks:
    """Every chunk in use."""
    kind = state.meta >> 4
    pfn = np.flatnonzero((kind == k.CHUNK_ALLOC) | (kind == k.CHUNK_ISOLATED))
    words = state.link.reshape(-1, 2)[pfn].astype(np.int64)
    return UsedChunks(pfn, state.meta[pfn].astype(np.int64) & 15, words[:, 0], words[:, 1])


def read_pageblocks(state: State) -> tuple[Int64Array, Int64Array, Int64Array, np.ndarray]:
    """(zone, first pfn, migratetype, skip bit) of every pageblock that exists, by pfn."""
    cfg = state.view.cfg
    count = cfg.npages >> cfg.pageblock_order
    bits, zone = (state.block[i : 2 * count : 2].astype(np.int64) for i in range(2))
    number = np.flatnonzero((bits & k.PB_ABSENT == 0) & (zone != k.NO_ZONE))
    bits = bits[number]
    mt = np.where(bits & k.PB_ISOLATE, k.MIGRATE_ISOLATE, bits & k.PB_TYPE_MASK)
    return zone[number], number << cfg.pageblock_order, mt, bits & k.PB_COMPACT_SKIP != 0


def pages_reserved(state: State) -> np.ndarray:
    """Which pages are not the allocator's: bool[pages]."""
    return np.asarray(state.meta == k.CHUNK_RESERVED << 4)


def is_at_rest(state: State) -> bool:
    """Whether no page is isolated to be moved, or held by a compaction or an evacuation."""
    kind = state.meta >> 4
    return not bool(((kind == k.CHUNK_COMPACT) | (kind == k.CHUNK_ISOLATED)).any())
