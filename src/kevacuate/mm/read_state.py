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


class UsedChunks(NamedTuple):
    """Chunks in use or isolated to be moved, by pfn; ``obj`` is -1 of nobody's. int64[chunks] each."""

    pfn: Int64Array
    order: Int64Array
    obj: Int64Array
    attr: Int64Array


def _in_list_order(state: State, pfn: Int64Array) -> tuple[Int64Array, Int64Array]:
    """(list's number in ``link``, pfn) of the chunks at *pfn*, by list and in its order.

    Raises
    ------
    KevacuateError
        A list does not end: the state is damaged.
    """
    npages = state.view.cfg.npages
    place = np.full(npages, -1, np.int64)
    place[pfn] = np.arange(pfn.size)
    following = state.link[2 * pfn].astype(np.int64)
    last = following >= npages
    after = np.where(last, np.arange(pfn.size), place[np.where(last, 0, following)])
    left = np.where(last, 0, 1)
    for _ in range(int(pfn.size).bit_length() + 1):
        if (after < 0).any():
            break
        left += left[after]
        after = after[after]
    if (after < 0).any() or not last[after].all():
        raise KevacuateError("A free list of the model does not end: its state is damaged.")
    sentinel = following[after]
    by = np.lexsort((-left, sentinel))
    return sentinel[by], pfn[by]


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
    heads = np.flatnonzero(state.meta >> 4 == k.CHUNK_BUDDY)
    sentinel, pfn = _in_list_order(state, heads)
    zone, rest = np.divmod(sentinel - state.view.cfg.npages, k.LISTS_PER_ZONE)
    return FreeChunks(zone, rest // k.NR_TYPES, rest % k.NR_TYPES, pfn)


def read_pcp_lists(state: State) -> PcpChunks:
    """Every chunk of the per-CPU lists (the inverse of :func:`~kevacuate.mm.load_state.load_pcp_lists`)."""
    cfg = state.view.cfg
    sentinel, pfn = _in_list_order(state, np.flatnonzero(state.meta >> 4 == k.CHUNK_PCP))
    which, pindex = np.divmod(sentinel - cfg.pcp_base, k.PCP_LISTS)
    return PcpChunks(which // cfg.nr_cpus, which % cfg.nr_cpus, pindex, pfn)


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
