# SPDX-License-Identifier: GPL-2.0-or-later
"""Isolation of movable pages as the evacuation calls it (mm/compaction.c, 7.2). Compaction itself: :mod:`.compact_zone`."""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm.buddy import block_in_zone, page_zone
from kevacuate.mm.constants import (
    ATTR_ACTIVATING,
    ATTR_FILE,
    ATTR_LRU,
    ATTR_MOVABLE_OPS,
    ATTR_ON_LRU,
    ATTR_PINNED,
    CHUNK_ALLOC,
    CHUNK_ISOLATED,
    COMPACT_CLUSTER_MAX,
    EAGAIN,
    PB_COMPACT_SKIP,
)
from kevacuate.mm.fields import View, Worker
from kevacuate.mm.lruvec import lruvec_del_folio, mod_isolated


@part
def too_many_isolated(s: View, node: int, may_enter_fs: bool) -> bool:
    """Whether more than half of the node's LRU pages are isolated, with __GFP_FS more than a sixteenth (:779)."""
    isolated = 0
    on_lru = 0
    for z in range(s.cfg.nr_zones):
        zone = s.zone[z]
        if zone.node == node:
            isolated += zone.nr_isolated
            on_lru += zone.nr_lru
    return isolated > on_lru // (16 if may_enter_fs else 2)


@part
def update_cached_migrate(s: View, z: int, end: int) -> None:
    """Push async compaction's cached position past the block that begins at *end*, if that is forward (:434)."""
    cached = s.zone[z].compact_cached_migrate_pfn
    cached[0] = max(cached[0], end + (1 << s.cfg.pageblock_order))


@part
def take_off_lru(s: View, z: int, pfn: int, pages: int) -> None:
    """Isolate a folio: off the LRU, where it is on it."""
    zone = s.zone[z]
    attr = s.link[2 * pfn + 1] + 0
    s.meta[pfn] = CHUNK_ISOLATED << 4 | (s.meta[pfn] & 15)
    s.link[2 * pfn + 1] = attr & ~(ATTR_ON_LRU | ATTR_ACTIVATING)
    if attr & ATTR_LRU:
        zone.nr_lru -= pages if attr & ATTR_ON_LRU else 0
        mod_isolated(s, pfn, attr, pages)
    if attr & ATTR_ON_LRU and s.cfg.open_loop == 0:
        lruvec_del_folio(s, pfn, attr)


@part
def isolate_folio(s: View, z: int, worker: Worker, pfn: int, pages: int) -> None:
    """Take a folio off the LRU and put it at the FRONT of the worker's private list."""
    take_off_lru(s, z, pfn, pages)
    count = worker.nr_migratepages
    for i in range(count, 0, -1):
        worker.migratepages[i] = worker.migratepages[i - 1]
    worker.migratepages[0] = pfn
    worker.nr_migratepages = count + 1


@part
def may_isolate(s: View, pfn: int) -> bool:
    """Whether the chunk can be isolated: on the LRU and not a pinned anonymous page, or a movable_ops page."""
    attr = s.link[2 * pfn + 1] + 0
    if attr & ATTR_ON_LRU:
        return attr & ATTR_PINNED == 0 or attr & ATTR_FILE != 0
    return attr & ATTR_MOVABLE_OPS != 0


@part
def evacuate_isolate_block(s: View, z: int, worker: Worker, pfn: int, end: int) -> int:
    """isolate_migratepages_block for a worker: scan from *pfn* to *end* until the list holds COMPACT_CLUSTER_MAX pages (:855).

    Returns the pages isolated; the worker's cursor is left after the last one taken, or at *end*.
    """
    pageblock_order = s.cfg.pageblock_order
    start = end - (1 << pageblock_order)
    hint = 2 * (start >> pageblock_order)
    from_start = pfn == start or pfn == s.zone[z].zone_start_pfn
    use_hint = from_start and s.cfg.skip_hint != 0
    if use_hint and s.block[hint] & PB_COMPACT_SKIP:
        worker.cursor = end
        update_cached_migrate(s, z, end)
        return 0
    taken = 0
    while pfn < end and taken < COMPACT_CLUSTER_MAX:
        meta = s.meta[pfn] + 0
        order = meta & 15
        if meta >> 4 == CHUNK_ALLOC and order < pageblock_order and may_isolate(s, pfn):
            if use_hint and s.link[2 * pfn + 1] & ATTR_ON_LRU:
                s.block[hint] |= PB_COMPACT_SKIP
            isolate_folio(s, z, worker, pfn, 1 << order)
            taken += 1 << order
        pfn += 1 << order
    worker.cursor = min(pfn, end)
    if pfn >= end and taken == 0 and s.cfg.skip_hint:
        if use_hint:
            s.block[hint] |= PB_COMPACT_SKIP
        update_cached_migrate(s, z, end)
    return taken


@part
def isolate_migratepages_range(s: View, worker: Worker, pfn: int, end: int) -> tuple[int, int]:
    """Isolate the next batch of one block for the worker at *at* (:1337). Returns (0 or -EAGAIN, pages isolated)."""
    pageblock_order = s.cfg.pageblock_order
    start = ((end - 1) >> pageblock_order) << pageblock_order
    z = page_zone(s, start)
    if not block_in_zone(s, z, start):
        worker.cursor = end
        return 0, 0
    if too_many_isolated(s, s.zone[z].node, True):
        return -EAGAIN, 0
    return 0, evacuate_isolate_block(s, z, worker, pfn, end)
