# SPDX-License-Identifier: GPL-2.0-or-later
"""Isolating a pageblock and undoing it (mm/page_isolation.c, mm/page_alloc.c:2043, 7.2)."""

from __future__ import annotations

from kevacuate.jit import part
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
from kevacuate.mm.constants import (
    ATTR_MOVABLE_OPS,
    ATTR_ON_LRU,
    C_ISOLATE_TYPE,
    C_MAX_PAGE_ORDER,
    C_MOBILITY_DISABLED,
    C_PAGEBLOCK_ORDER,
    C_SPLIT_BY_BLOCK,
    FPI_NONE,
    FPI_TO_TAIL,
    MIGRATE_CMA,
    MIGRATE_ISOLATE,
    MIGRATE_MOVABLE,
    MIGRATE_UNMOVABLE,
    PB_ISOLATE,
    PB_TYPE_MASK,
    PG_ALLOC,
    PG_BUDDY,
    PG_ISOLATED,
    PG_RESERVED,
    Z_INDEX,
    Z_NR_ISOLATE_BLOCKS,
    ZONE_MOVABLE,
    ZS,
)


@part
def has_unmovable_pages(s, start):  # type: ignore[no-untyped-def]
    """Whether the block holds a page that isolation refuses: of type CMA, reserved, or, outside ZONE_MOVABLE, in use and
    neither PageLRU nor movable_ops (mm/page_isolation.c, as memory offlining asks).
    """
    pageblock_order = s.cfg[C_PAGEBLOCK_ORDER]
    if s.block[2 * (start >> pageblock_order)] & PB_TYPE_MASK == MIGRATE_CMA:
        return True
    zone_movable = s.zone[page_zone(s, start) * ZS + Z_INDEX] == ZONE_MOVABLE
    end = start + (1 << pageblock_order)
    head = covering_chunk(s, start)
    pfn = start if head < 0 else head
    while pfn < end:
        meta = s.meta[pfn] + 0
        state = meta >> 4
        if state == PG_RESERVED:
            return True
        in_use = state in (PG_ALLOC, PG_ISOLATED) and not zone_movable
        if in_use and not s.link[2 * pfn + 1] & (ATTR_ON_LRU | ATTR_MOVABLE_OPS):
            return True
        pfn += 1 << (meta & 15)
    return False


@part
def set_pageblock_isolate(s, start, isolate):  # type: ignore[no-untyped-def]
    """Write the block's isolate bit and nothing else."""
    at = 2 * (start >> s.cfg[C_PAGEBLOCK_ORDER])
    if isolate:
        s.block[at] |= PB_ISOLATE
    else:
        s.block[at] &= 255 - PB_ISOLATE


@part
def mark_isolated_block(s, start, isolate):  # type: ignore[no-untyped-def]
    """Mark the block isolated, or no longer: by the bit, or by its type, in which case it becomes movable afterwards."""
    s.zone[page_zone(s, start) * ZS + Z_NR_ISOLATE_BLOCKS] += 1 if isolate else -1
    if s.cfg[C_ISOLATE_TYPE]:
        set_pageblock_migratetype(s, start, MIGRATE_ISOLATE if isolate else MIGRATE_MOVABLE)
    else:
        set_pageblock_isolate(s, start, isolate)


@part
def type_below(s, start, isolate):  # type: ignore[no-untyped-def]
    """The type the block has, or will have again, when it is not isolated."""
    if s.cfg[C_ISOLATE_TYPE] and not isolate:
        return MIGRATE_UNMOVABLE if s.cfg[C_MOBILITY_DISABLED] else MIGRATE_MOVABLE
    return s.block[2 * (start >> s.cfg[C_PAGEBLOCK_ORDER])] & PB_TYPE_MASK


@part
def straddled_in_use(s, start):  # type: ignore[no-untyped-def]
    """Whether a chunk in use reaches beyond the block, in kernels that would free it with one type for all its blocks."""
    if s.cfg[C_SPLIT_BY_BLOCK]:
        return False
    head = covering_chunk(s, start)
    return head >= 0 and s.meta[head] >> 4 != PG_BUDDY


@part
def pageblock_isolate_and_move_free_pages(s, z, start, isolate):  # type: ignore[no-untyped-def]
    """Toggle the isolate bit and bring the block's free pages onto the right lists (page_alloc.c:2099).

    A free chunk larger than the block is taken off its list and freed again block by block.
    """
    preserved = type_below(s, start, isolate)
    head = covering_chunk(s, start)
    if head >= 0 and s.meta[head] >> 4 == PG_BUDDY:
        order = s.meta[head] & 15
        mt = get_pfnblock_migratetype(s, head)
        del_page_from_free_list(s, z, head, order, mt)
        account_freepages(s, z, -(1 << order), mt)
        mark_isolated_block(s, start, isolate)
        split_large_buddy(s, z, head, order, FPI_NONE)
        return
    if isolate:
        move_freepages_block_list(s, z, start, preserved, MIGRATE_ISOLATE)
    else:
        move_freepages_block_list(s, z, start, MIGRATE_ISOLATE, preserved)
    mark_isolated_block(s, start, isolate)


@part
def set_migratetype_isolate(s, block):  # type: ignore[no-untyped-def]
    """Isolate block number *block*; False (EBUSY) if it is isolated already, leaves its zone, or holds unmovable pages."""
    start = block << s.cfg[C_PAGEBLOCK_ORDER]
    z = page_zone(s, start)
    if get_pageblock_isolate(s, start) or not block_in_zone(s, z, start) or has_unmovable_pages(s, start):
        return False
    if straddled_in_use(s, start):
        return False
    pageblock_isolate_and_move_free_pages(s, z, start, True)
    return True


@part
def unset_migratetype_isolate(s, block):  # type: ignore[no-untyped-def]
    """Undo it: a free block whose partner is a free block too is freed again so that they merge, else moved back."""
    pageblock_order = s.cfg[C_PAGEBLOCK_ORDER]
    start = block << pageblock_order
    if not get_pageblock_isolate(s, start):
        return
    z = page_zone(s, start)
    whole = PG_BUDDY << 4 | pageblock_order
    if pageblock_order < s.cfg[C_MAX_PAGE_ORDER] and s.meta[start] == whole:
        partner = start ^ (1 << pageblock_order)
        same_zone = page_zone(s, partner) == z
        if s.meta[partner] == whole and same_zone and not get_pageblock_isolate(s, partner):
            del_page_from_free_list(s, z, start, pageblock_order, MIGRATE_ISOLATE)
            mark_isolated_block(s, start, False)
            mt = get_pfnblock_migratetype(s, start)
            free_one_page_merge(s, z, start, pageblock_order, mt, FPI_TO_TAIL)
            return
    pageblock_isolate_and_move_free_pages(s, z, start, False)
