# SPDX-License-Identifier: GPL-2.0-or-later
"""The fast model's state as the row of integers that `oracle.serialise` describes."""

from __future__ import annotations

from kevacuate.jit import kernel, part, pointers
from kevacuate.mm.buddy import free_list
from kevacuate.mm.compact_suitable import compaction_suit_allocation_order
from kevacuate.mm.constants import (
    C_MAX_PAGE_ORDER,
    C_NCPUS,
    C_NNODES,
    C_NPAGES_REAL,
    C_NR_PCP_LISTS,
    C_NWORKERS,
    C_NZONES,
    C_OFF_ITEMS,
    C_OFF_KSWAPD,
    C_OFF_NODE_CPU,
    C_OFF_PENDING,
    C_OFF_TICKS,
    C_OFF_WORKERS,
    C_PAGEBLOCK_ORDER,
    I_NEXT,
    I_PFN,
    I_ZONE,
    IS,
    KC_DUE,
    KC_HI,
    KC_MAX_ORDER,
    KC_ORDER,
    KC_PROACTIVE,
    KC_RUN_HI,
    KC_SCORE,
    KC_STATE,
    KC_ZONE,
    KCOMPACTD_RUNNING,
    KS,
    KS_DUE,
    KS_RUN_HI,
    LS,
    MIGRATE_TYPES,
    NEVER,
    PG_ALLOC,
    PG_ISOLATED,
    PS,
    T_CPU,
    T_NEXT_DUE,
    T_NOW,
    T_WORKER_NS,
    W_FREELIST,
    WK_BUSY,
    WK_CURSOR,
    WK_DUE,
    WK_FAILED,
    WK_HEAD,
    WK_ISOLATED,
    WK_ITEM,
    WK_LIST,
    WK_MIGRATED,
    WK_NLIST,
    WK_RECLAIMED,
    WK_STATE,
    WS,
    Z_AREA,
    Z_BELOW_HIGH,
    Z_BOOST,
    Z_BOOST_SEEN,
    Z_BOOSTED,
    Z_CACHED_FREE_PFN,
    Z_CACHED_MIGRATE_PFN,
    Z_CACHED_MIGRATE_SYNC,
    Z_COMPACT_CONSIDERED,
    Z_COMPACT_DEFER_SHIFT,
    Z_COMPACT_ORDER_FAILED,
    Z_INDEX,
    Z_LOWMEM,
    Z_MANAGED,
    Z_NR_FREE,
    Z_NR_FREE_BLOCKS,
    Z_NR_FREE_CMA,
    Z_NR_FREE_HIGHATOMIC,
    Z_NR_ISOLATED,
    Z_NR_LRU,
    Z_NR_RESERVED_HIGHATOMIC,
    Z_RECLAIM_ACTIVE,
    Z_WMARK,
    ZONE_MOVABLE,
    ZS,
)
from kevacuate.mm.kcompactd import compacted, kcompactd_next
from kevacuate.mm.pcp import pcp_list
from kevacuate.mm.watermark import kcompactd_at

ZONE_FIELDS = (
    Z_NR_FREE, Z_NR_FREE_CMA, Z_NR_FREE_HIGHATOMIC, Z_NR_FREE_BLOCKS, Z_BOOST, Z_BOOSTED, Z_BELOW_HIGH,
    Z_RECLAIM_ACTIVE, Z_NR_RESERVED_HIGHATOMIC, Z_NR_LRU, Z_NR_ISOLATED, Z_CACHED_MIGRATE_PFN,
    Z_CACHED_MIGRATE_SYNC, Z_CACHED_FREE_PFN, Z_COMPACT_CONSIDERED, Z_COMPACT_DEFER_SHIFT, Z_COMPACT_ORDER_FAILED, Z_BOOST_SEEN,
    Z_MANAGED, Z_WMARK, Z_WMARK + 1, Z_WMARK + 2, Z_WMARK + 3, Z_LOWMEM, Z_LOWMEM + 1, Z_LOWMEM + 2, Z_LOWMEM + 3,
)  # fmt: skip
WORK_FIELDS = (WK_CURSOR, WK_ISOLATED, WK_RECLAIMED, WK_MIGRATED, WK_FAILED, WK_NLIST)


@part
def put_list(s, head, out, at):  # type: ignore[no-untyped-def]
    """A linked list: its length, then its entries; stops at the end of *out* if the links run in circles."""
    first = at
    at += 1
    pfn = s.link[2 * head] + 0
    while pfn != head and at < out.size - 64:
        out[at] = pfn
        at += 1
        pfn = s.link[2 * pfn] + 0
    out[first] = at - first - 1
    return at


@part
def put_zone(s, z, out, at):  # type: ignore[no-untyped-def]
    """Counters, marks, free lists, pcps."""
    for field in ZONE_FIELDS:
        out[at] = s.zone[z * ZS + field]
        at += 1
    for order in range(s.cfg[C_MAX_PAGE_ORDER] + 1):
        out[at] = s.zone[z * ZS + Z_AREA + order]
        at += 1
        for mt in range(MIGRATE_TYPES):
            at = put_list(s, free_list(s, z, order, mt), out, at)
    for cpu in range(s.cfg[C_NCPUS]):
        for field in range(PS):
            out[at] = s.pcp[(z * s.cfg[C_NCPUS] + cpu) * PS + field]
            at += 1
        for pindex in range(s.cfg[C_NR_PCP_LISTS]):
            at = put_list(s, pcp_list(s, z, cpu, pindex), out, at)
    return at


@part
def put_pages(s, out, at):  # type: ignore[no-untyped-def]
    """Blocks, then page frames."""
    pages = s.cfg[C_NPAGES_REAL]
    for block in range((pages + (1 << s.cfg[C_PAGEBLOCK_ORDER]) - 1) >> s.cfg[C_PAGEBLOCK_ORDER]):
        out[at] = s.block[2 * block]
        at += 1
    for pfn in range(pages):
        meta = s.meta[pfn] + 0
        value = meta >> 4 | (meta & 15) << 4
        if meta >> 4 == PG_ALLOC or meta >> 4 == PG_ISOLATED:
            value |= s.link[2 * pfn + 1] << 8
            value += (s.link[2 * pfn] + 1) * 16777216
        out[at + pfn] = value
    return at + pages


@part
def put_items(s, item, out, at):  # type: ignore[no-untyped-def]
    """A chain of items in use: number, zone, block of each."""
    first = at
    at += 1
    while item >= 0 and at < out.size - 64:
        base = s.cfg[C_OFF_ITEMS] + item * IS
        out[at] = item
        out[at + 1] = s.work[base + I_ZONE]
        out[at + 2] = s.work[base + I_PFN]
        at += 3
        item = s.work[base + I_NEXT]
    out[first] = (at - first - 1) // 3
    return at


@part
def put_worker(s, base, out, at):  # type: ignore[no-untyped-def]
    """A worker: times, the work in progress if there is any, the queue."""
    due = s.work[base + WK_DUE]
    item = s.work[base + WK_ITEM]
    out[at] = s.work[base + WK_STATE]
    out[at + 1] = -1 if due == NEVER else due
    out[at + 2] = s.work[base + WK_BUSY]
    out[at + 3] = item
    at += 4
    if item >= 0:
        out[at] = s.work[s.cfg[C_OFF_ITEMS] + item * IS + I_ZONE]
        out[at + 1] = s.work[s.cfg[C_OFF_ITEMS] + item * IS + I_PFN]
        at += 2
        for field in WORK_FIELDS:
            out[at] = s.work[base + field]
            at += 1
        for i in range(s.work[base + WK_NLIST]):
            out[at + i] = s.work[base + WK_LIST + i]
        at += s.work[base + WK_NLIST]
    return put_items(s, s.work[base + WK_HEAD], out, at)


@part
def put_free_items(s, out, at):  # type: ignore[no-untyped-def]
    """The stack of free items, top first."""
    first = at
    at += 1
    item = s.work[W_FREELIST]
    while item >= 0 and at < out.size - 64:
        out[at] = item
        at += 1
        item = s.work[s.cfg[C_OFF_ITEMS] + item * IS + I_NEXT]
    out[first] = at - first - 1
    return at


@part
def put_kcompactd(s, base, out, at):  # type: ignore[no-untyped-def]
    """A kcompactd: state, due, what it was asked for; the run in progress."""
    due = s.work[base + KC_DUE]
    proactive = s.work[base + KC_PROACTIVE] != 0
    out[at] = s.work[base + KC_STATE]
    out[at + 1] = -1 if due == NEVER else due
    out[at + 2] = s.work[base + KC_MAX_ORDER]
    out[at + 3] = s.work[base + KC_HI]
    if s.work[base + KC_STATE] != KCOMPACTD_RUNNING:
        return at + 4
    out[at + 4] = s.work[base + KC_ZONE]
    out[at + 5] = s.work[base + KC_ORDER]
    out[at + 6] = s.work[base + KC_RUN_HI]
    out[at + 7] = proactive
    out[at + 8] = s.work[base + KC_SCORE] if proactive else -1
    return at + 9


@kernel
def compaction_ended(sa, node, result):  # type: ignore[no-untyped-def]
    """What kcompactd makes of a zone's result, which is given."""
    s = pointers(sa)
    at = kcompactd_at(s, node)
    cpu = s.cfg[s.cfg[C_OFF_NODE_CPU] + node]
    s.stat[T_CPU] = cpu
    compacted(s, at, s.work[at + KC_ZONE], result)
    kcompactd_next(s, node, at, cpu, 0)


@kernel
def suitabilities(sa, out):  # type: ignore[no-untyped-def]
    """compaction_suit_allocation_order of every zone, order and highest zone index into *out* (int64); returns how many."""
    s = pointers(sa)
    at = 0
    for z in range(s.cfg[C_NZONES]):
        for order in range(s.cfg[C_MAX_PAGE_ORDER] + 1):
            for hi in range(s.zone[z * ZS + Z_INDEX], ZONE_MOVABLE + 1):
                out[at] = compaction_suit_allocation_order(s, z, order, hi)
                at += 1
    return at


@kernel
def snapshot(sa, objects, out):  # type: ignore[no-untyped-def]
    """Write the row into *out* (int64); returns its length."""
    s = pointers(sa)
    out[0] = s.stat[T_NOW]
    out[1] = s.stat[T_NEXT_DUE]
    out[2] = s.stat[T_WORKER_NS]
    at = 3
    for z in range(s.cfg[C_NZONES]):
        at = put_zone(s, z, out, at)
    at = put_pages(s, out, at)
    for cpu in range(s.cfg[C_NCPUS]):
        for i in range(s.lru[cpu * LS] + 1):
            out[at] = s.lru[cpu * LS + i]
            at += 1
    at = put_free_items(s, out, at)
    for node in range(s.cfg[C_NNODES]):
        at = put_items(s, s.work[s.cfg[C_OFF_PENDING] + node], out, at)
    for worker in range(s.cfg[C_NWORKERS]):
        at = put_worker(s, s.cfg[C_OFF_WORKERS] + worker * WS, out, at)
    for node in range(s.cfg[C_NNODES]):
        for field in range(KS_RUN_HI + 1):
            out[at + field] = s.work[s.cfg[C_OFF_KSWAPD] + node * KS + field]
        if out[at + KS_DUE] == NEVER:
            out[at + KS_DUE] = -1
        at += KS_RUN_HI + 1
    for node in range(s.cfg[C_NNODES]):
        at = put_kcompactd(s, kcompactd_at(s, node), out, at)
    for cpu in range(s.cfg[C_NCPUS]):
        out[at] = s.work[s.cfg[C_OFF_TICKS] + cpu]
        at += 1
    for obj in range(objects):
        out[at + obj] = s.obj[obj]
    return at + objects
