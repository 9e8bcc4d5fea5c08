# SPDX-License-Identifier: GPL-2.0-or-later
"""Clearing the skip bits of pageblocks once scanners have met, and where they start again (mm/compaction.c, 7.2)."""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm.buddy import get_pfnblock_migratetype, page_zone
from kevacuate.mm.compact_scanners import covered_by_whole_blocks, get_pageblock_skip, pageblock_start_pfn
from kevacuate.mm.constants import (
    ATTR_ON_LRU,
    CHUNK_ALLOC,
    CHUNK_BUDDY,
    CHUNK_TAIL,
    MIGRATE_MOVABLE,
    PAGE_ALLOC_COSTLY_ORDER,
    PB_ABSENT,
    PB_COMPACT_SKIP,
)
from kevacuate.mm.fields import View


@part
def page_on_lru(s: View, pfn: int) -> bool:
    """PageLRU: of a tail what its folio is."""
    meta = s.meta[pfn] + 0
    order = 0
    while meta >> 4 == CHUNK_TAIL and order < s.cfg.max_page_order:
        order += 1
        pfn = (pfn >> order) << order
        meta = s.meta[pfn] + 0
        if meta >> 4 != CHUNK_TAIL and meta & 15 < order:
            return False
    return meta >> 4 == CHUNK_ALLOC and s.link[2 * pfn + 1] & ATTR_ON_LRU != 0


@part
def block_has_sample(s: View, z: int, start: int, check_source: bool, check_target: bool) -> bool:
    """Whether one page in eight of the block is on the LRU (a source), or is a free chunk's first (a target)."""
    zone = s.zone[z]
    pfn = max(start, zone.zone_start_pfn)
    last = min(start + (1 << s.cfg.pageblock_order), zone.zone_end_pfn) - 1
    while pfn <= last:
        if check_source and page_on_lru(s, pfn):
            return True
        if check_target and s.meta[pfn] >> 4 == CHUNK_BUDDY:
            return True
        pfn += 1 << PAGE_ALLOC_COSTLY_ORDER
    return False


@part
def reset_isolation_pfn(s: View, z: int, pfn: int, check_source: bool, check_target: bool) -> bool:
    """__reset_isolation_pfn (:276): clear the skip bit of a block that may be source or target; whether it was."""
    block = pfn >> s.cfg.pageblock_order
    if page_zone(s, pfn) != z or s.block[2 * block] & PB_ABSENT or covered_by_whole_blocks(s, pfn):
        return False
    if check_source and check_target and not get_pageblock_skip(s, pfn):
        return True
    if not check_source and check_target and get_pfnblock_migratetype(s, pfn) != MIGRATE_MOVABLE:
        return False
    if not block_has_sample(s, z, pageblock_start_pfn(s, pfn), check_source, check_target):
        return False
    s.block[2 * block] &= ~PB_COMPACT_SKIP
    return True


@part(cold=True)
def reset_isolation_suitable_zone(s: View, z: int) -> None:
    """__reset_isolation_suitable (:349): if a direct compaction has met itself since, clear skip bits from both ends inward.

    The first block that may be a source, and the last that may be a target, are where the scanners start again.
    """
    zone = s.zone[z]
    if not zone.compact_blockskip_flush:
        return
    zone.compact_blockskip_flush = 0
    migrate_pfn = zone.zone_start_pfn
    free_pfn = zone.zone_end_pfn - 1
    reset_migrate, reset_free = free_pfn, migrate_pfn
    source_set = free_set = False
    while migrate_pfn < free_pfn:
        if reset_isolation_pfn(s, z, migrate_pfn, True, source_set) and migrate_pfn < reset_migrate:
            source_set = True
            reset_migrate = migrate_pfn
            zone.compact_init_migrate_pfn = migrate_pfn
            zone.compact_cached_migrate_pfn[0] = zone.compact_cached_migrate_pfn[1] = migrate_pfn
        if reset_isolation_pfn(s, z, free_pfn, free_set, True) and free_pfn > reset_free:
            free_set = True
            reset_free = free_pfn
            zone.compact_init_free_pfn = free_pfn
            zone.compact_cached_free_pfn = free_pfn
        migrate_pfn += 1 << s.cfg.pageblock_order
        free_pfn -= 1 << s.cfg.pageblock_order
    if reset_migrate >= reset_free:
        zone.compact_cached_migrate_pfn[0] = zone.compact_cached_migrate_pfn[1] = migrate_pfn
        zone.compact_cached_free_pfn = free_pfn


@part(cold=True)
def reset_isolation_suitable(s: View, node: int) -> None:
    """Clear the skip bits of the node's zones in which a direct compaction has met itself: as kswapd goes to sleep (:393)."""
    for z in range(s.cfg.nr_zones):
        if s.zone[z].node == node:
            reset_isolation_suitable_zone(s, z)
