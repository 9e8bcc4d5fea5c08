# SPDX-License-Identifier: GPL-2.0-or-later
"""Isolating a pageblock from the allocator and giving it back (mm/page_isolation.c)."""

from __future__ import annotations

from .buddy import (
    account_freepages,
    block_inside,
    del_from_free_list,
    find_buddy,
    free_one_page_merge,
    move_freepages,
    split_large_buddy,
)
from .constants import (
    A_MOVABLE_OPS,
    A_ON_LRU,
    ALLOC,
    BUDDY,
    CMA,
    FPI_NONE,
    FPI_TO_TAIL,
    ISOLATE,
    ISOLATED,
    RESERVED,
    ZONE_MOVABLE,
)
from .machine import Machine
from .zone import Page, Zone


def is_unmovable(zone: Zone, page: Page) -> bool:
    """Whether a chunk stands in the way of isolation (`has_unmovable_pages`, memory offlining)."""
    if page.state == RESERVED:
        return True
    if page.state not in (ALLOC, ISOLATED) or zone.index == ZONE_MOVABLE:
        return False
    return not page.attr & (A_ON_LRU | A_MOVABLE_OPS)


def has_unmovable_pages(m: Machine, zone: Zone, start: int) -> bool:
    """Whether the block at `start` holds anything that cannot move."""
    if m.block_of(start).mt == CMA:
        return True
    pfn = start
    while pfn < start + m.block_pages:
        page = m.covering(pfn)
        if page is None:
            pfn += 1
            continue
        if is_unmovable(zone, page):
            return True
        pfn = page.pfn + page.size
    return False


def toggle_block(m: Machine, zone: Zone, start: int, isolate: bool) -> None:
    """Raise or lower the isolate bit and move the block's free pages (`__move_freepages_block_isolate`)."""
    block = m.block_of(start)
    large = m.covering(start)
    if large is not None and large.state == BUDDY and large.order > m.config.pageblock_order:
        mt = m.get_pageblock_migratetype(large.pfn)
        del_from_free_list(m, zone, large.pfn, mt)
        account_freepages(zone, -large.size, mt)
        block.isolate = isolate
        split_large_buddy(m, zone, large.pfn, large.order, FPI_NONE)
        return
    old_mt, new_mt = (block.mt, ISOLATE) if isolate else (ISOLATE, block.mt)
    move_freepages(m, zone, start, old_mt, new_mt)
    block.isolate = isolate


def set_migratetype_isolate(m: Machine, number: int) -> bool:
    """Isolate block `number`; False (EBUSY) if it is isolated, holds unmovable pages, or leaves its zone."""
    start = number * m.block_pages
    zone = m.zone_of(start)
    if m.blocks[number].isolate or has_unmovable_pages(m, zone, start) or block_inside(m, zone, start) < 0:
        return False
    toggle_block(m, zone, start, isolate=True)
    return True


def unset_migratetype_isolate(m: Machine, number: int) -> None:
    """Give block `number` back with the type it had; merges it with a free neighbour block."""
    start = number * m.block_pages
    zone = m.zone_of(start)
    block = m.blocks[number]
    if not block.isolate:
        return
    if not can_merge_whole(m, zone, start):
        toggle_block(m, zone, start, isolate=False)
        return
    del_from_free_list(m, zone, start, ISOLATE)
    block.isolate = False
    free_one_page_merge(m, zone, start, m.config.pageblock_order, block.mt, FPI_TO_TAIL)


def can_merge_whole(m: Machine, zone: Zone, start: int) -> bool:
    """Whether the isolated block is one free buddy whose partner is free and not isolated."""
    order = m.config.pageblock_order
    page = m.heads.get(start)
    if page is None or page.state != BUDDY or page.order != order or order >= m.config.max_page_order:
        return False
    buddy = find_buddy(m, zone, start, order)
    return buddy is not None and m.get_pageblock_migratetype(buddy.pfn) != ISOLATE
