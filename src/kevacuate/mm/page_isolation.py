# SPDX-License-Identifier: GPL-2.0-or-later
"""Isolating a pageblock and undoing it (mm/page_isolation.c, mm/page_alloc.c:2043, 7.2)."""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm import constants as k
from kevacuate.mm.buddy import (
    account_freepages,
    block_in_zone,
    covering_chunk,
    del_page_from_free_list,
    free_one_page_merge,
    get_pageblock_isolate,
    get_pfnblock_migratetype,
    move_freepages_block_list,
    page_zone,
    set_pageblock_migratetype,
    split_large_buddy,
)
from kevacuate.mm.fields import View


@part
def has_unmovable_pages(s: View, start: int) -> bool:
    """Whether the block holds a page that isolation refuses: of type CMA, reserved, or, outside ZONE_MOVABLE, in use and
    neither PageLRU nor movable_ops (mm/page_isolation.c, as memory offlining asks).
    """
    pageblock_order = s.cfg.pageblock_order
    if s.block[2 * (start >> pageblock_order)] & k.PB_TYPE_MASK == k.MIGRATE_CMA:
        return True
    zone_movable = s.zone[page_zone(s, start)].index == k.ZONE_MOVABLE
    end = start + (1 << pageblock_order)
    head = covering_chunk(s, start)
    pfn = start if head < 0 else head
    while pfn < end:
        meta = s.meta[pfn] + 0
        state = meta >> 4
        if state == k.CHUNK_RESERVED:
            return True
        in_use = state in (k.CHUNK_ALLOC, k.CHUNK_ISOLATED) and not zone_movable
        if in_use and not s.link[2 * pfn + 1] & (k.ATTR_ON_LRU | k.ATTR_MOVABLE_OPS):
            return True
        pfn += 1 << (meta & 15)
    return False


@part
def set_pageblock_isolate(s: View, start: int, isolate: bool) -> None:
    """Write the block's isolate bit and nothing else."""
    at = 2 * (start >> s.cfg.pageblock_order)
    if isolate:
        s.block[at] |= k.PB_ISOLATE
    else:
        s.block[at] &= 255 - k.PB_ISOLATE


@part
def mark_isolated_block(s: View, start: int, isolate: bool) -> None:
    """Mark the block isolated, or no longer: by the bit, or by its type, in which case it becomes movable afterwards."""
    s.zone[page_zone(s, start)].nr_isolate_pageblock += 1 if isolate else -1
    if s.cfg.isolate_type:
        set_pageblock_migratetype(s, start, k.MIGRATE_ISOLATE if isolate else k.MIGRATE_MOVABLE)
    else:
        set_pageblock_isolate(s, start, isolate)


@part
def type_below(s: View, start: int, isolate: bool) -> int:
    """The type the block has, or will have again, when it is not isolated."""
    if s.cfg.isolate_type and not isolate:
        return k.MIGRATE_UNMOVABLE if s.cfg.page_group_by_mobility_disabled else k.MIGRATE_MOVABLE
    return s.block[2 * (start >> s.cfg.pageblock_order)] & k.PB_TYPE_MASK


@part
def straddled_in_use(s: View, start: int) -> bool:
    """Whether a chunk in use reaches beyond the block, in kernels that would free it with one type for all its blocks."""
    if s.cfg.split_by_block:
        return False
    head = covering_chunk(s, start)
    return head >= 0 and s.meta[head] >> 4 != k.CHUNK_BUDDY


@part
def pageblock_isolate_and_move_free_pages(s: View, z: int, start: int, isolate: bool) -> None:
    """Toggle the isolate bit and bring the block's free pages onto the right lists (page_alloc.c:2151).

    A free chunk larger than the block is taken off its list and freed again block by block.
    """
    preserved = type_below(s, start, isolate)
    head = covering_chunk(s, start)
    if head >= 0 and s.meta[head] >> 4 == k.CHUNK_BUDDY:
        order = s.meta[head] & 15
        mt = get_pfnblock_migratetype(s, head)
        del_page_from_free_list(s, z, head, order, mt)
        account_freepages(s, z, -(1 << order), mt)
        mark_isolated_block(s, start, isolate)
        split_large_buddy(s, z, head, order, k.FPI_NONE)
        return
    if isolate:
        move_freepages_block_list(s, z, start, preserved, k.MIGRATE_ISOLATE)
    else:
        move_freepages_block_list(s, z, start, k.MIGRATE_ISOLATE, preserved)
    mark_isolated_block(s, start, isolate)


@part
def set_migratetype_isolate(s: View, block: int) -> bool:
    """Isolate block number *block*; False (EBUSY) if it is isolated already, leaves its zone, or holds unmovable pages."""
    start = block << s.cfg.pageblock_order
    z = page_zone(s, start)
    if get_pageblock_isolate(s, start) or not block_in_zone(s, z, start) or has_unmovable_pages(s, start):
        return False
    if straddled_in_use(s, start):
        return False
    pageblock_isolate_and_move_free_pages(s, z, start, True)
    return True


@part
def unset_migratetype_isolate(s: View, block: int) -> None:
    """Undo it: a free block whose partner is a free block too is freed again so that they merge, else moved back."""
    pageblock_order = s.cfg.pageblock_order
    start = block << pageblock_order
    if not get_pageblock_isolate(s, start):
        return
    z = page_zone(s, start)
    whole = k.CHUNK_BUDDY << 4 | pageblock_order
    if pageblock_order < s.cfg.max_page_order and s.meta[start] == whole:
        partner = start ^ (1 << pageblock_order)
        same_zone = page_zone(s, partner) == z
        if s.meta[partner] == whole and same_zone and not get_pageblock_isolate(s, partner):
            del_page_from_free_list(s, z, start, pageblock_order, k.MIGRATE_ISOLATE)
            mark_isolated_block(s, start, False)
            mt = get_pfnblock_migratetype(s, start)
            free_one_page_merge(s, z, start, pageblock_order, mt, k.FPI_TO_TAIL)
            return
    pageblock_isolate_and_move_free_pages(s, z, start, False)
