# SPDX-License-Identifier: GPL-2.0-or-later
"""Isolation of movable pages as the evacuation calls it (mm/compaction.c, 7.2). Compaction itself: :mod:`.compact_zone`."""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm.buddy import block_in_zone, page_zone
from kevacuate.mm.constants import (
    ATTR_FILE,
    ATTR_LRU,
    ATTR_MOVABLE_OPS,
    ATTR_ON_LRU,
    ATTR_PINNED,
    C_NZONES,
    C_PAGEBLOCK_ORDER,
    C_SKIP_HINT,
    COMPACT_CLUSTER_MAX,
    EAGAIN,
    PB_SKIP,
    PG_ALLOC,
    PG_ISOLATED,
    WK_CURSOR,
    WK_LIST,
    WK_NLIST,
    Z_CACHED_MIGRATE_PFN,
    Z_NODE,
    Z_NR_ISOLATED,
    Z_NR_LRU,
    Z_START,
    ZS,
)


@part
def too_many_isolated(s, node):  # type: ignore[no-untyped-def]
    """Whether more than a sixteenth of the node's LRU pages are isolated (:779, __GFP_FS halves the eighth)."""
    isolated = 0
    on_lru = 0
    for z in range(s.cfg[C_NZONES]):
        if s.zone[z * ZS + Z_NODE] == node:
            isolated += s.zone[z * ZS + Z_NR_ISOLATED]
            on_lru += s.zone[z * ZS + Z_NR_LRU]
    return isolated > on_lru // 16


@part
def update_cached_migrate(s, z, end):  # type: ignore[no-untyped-def]
    """Push async compaction's cached position past the NEXT block's end, if that is forward (:434)."""
    at = z * ZS + Z_CACHED_MIGRATE_PFN
    s.zone[at] = max(s.zone[at], end + (1 << s.cfg[C_PAGEBLOCK_ORDER]))


@part
def isolate_folio(s, z, at, pfn, pages):  # type: ignore[no-untyped-def]
    """Take a folio off the LRU and put it at the FRONT of the worker's private list."""
    attr = s.link[2 * pfn + 1] + 0
    s.meta[pfn] = PG_ISOLATED << 4 | (s.meta[pfn] & 15)
    s.link[2 * pfn + 1] = attr & ~ATTR_ON_LRU
    if attr & ATTR_LRU:
        s.zone[z * ZS + Z_NR_LRU] -= pages if attr & ATTR_ON_LRU else 0
        s.zone[z * ZS + Z_NR_ISOLATED] += pages
    count = s.work[at + WK_NLIST]
    for i in range(count, 0, -1):
        s.work[at + WK_LIST + i] = s.work[at + WK_LIST + i - 1]
    s.work[at + WK_LIST] = pfn
    s.work[at + WK_NLIST] = count + 1


@part
def may_isolate(s, pfn):  # type: ignore[no-untyped-def]
    """Whether the chunk can be isolated: on the LRU and not a pinned anonymous page, or a movable_ops page."""
    attr = s.link[2 * pfn + 1] + 0
    if attr & ATTR_ON_LRU:
        return attr & ATTR_PINNED == 0 or attr & ATTR_FILE != 0
    return attr & ATTR_MOVABLE_OPS != 0


@part
def isolate_migratepages_block(s, z, at, pfn, end):  # type: ignore[no-untyped-def]
    """Scan from *pfn* to *end*, isolating until the list holds COMPACT_CLUSTER_MAX pages (:855).

    Returns the pages isolated; the worker's cursor is left after the last one taken, or at *end*.
    """
    pageblock_order = s.cfg[C_PAGEBLOCK_ORDER]
    start = end - (1 << pageblock_order)
    hint = 2 * (start >> pageblock_order)
    from_start = pfn == start or pfn == s.zone[z * ZS + Z_START]
    use_hint = from_start and s.cfg[C_SKIP_HINT] != 0
    if use_hint and s.block[hint] & PB_SKIP:
        s.work[at + WK_CURSOR] = end
        update_cached_migrate(s, z, end)
        return 0
    taken = 0
    while pfn < end and taken < COMPACT_CLUSTER_MAX:
        meta = s.meta[pfn] + 0
        order = meta & 15
        if meta >> 4 == PG_ALLOC and order < pageblock_order and may_isolate(s, pfn):
            if use_hint and s.link[2 * pfn + 1] & ATTR_ON_LRU:
                s.block[hint] |= PB_SKIP
            isolate_folio(s, z, at, pfn, 1 << order)
            taken += 1 << order
        pfn += 1 << order
    s.work[at + WK_CURSOR] = min(pfn, end)
    if pfn >= end and taken == 0 and s.cfg[C_SKIP_HINT]:
        if use_hint:
            s.block[hint] |= PB_SKIP
        update_cached_migrate(s, z, end)
    return taken


@part
def isolate_migratepages_range(s, at, pfn, end):  # type: ignore[no-untyped-def]
    """Isolate the next batch of one block for the worker at *at* (:1337). Returns (0 or -EAGAIN, pages isolated)."""
    pageblock_order = s.cfg[C_PAGEBLOCK_ORDER]
    start = ((end - 1) >> pageblock_order) << pageblock_order
    z = page_zone(s, start)
    if not block_in_zone(s, z, start):
        s.work[at + WK_CURSOR] = end
        return 0, 0
    if too_many_isolated(s, s.zone[z * ZS + Z_NODE]):
        return -EAGAIN, 0
    return 0, isolate_migratepages_block(s, z, at, pfn, end)
