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
    MOVABLE,
    RESERVED,
    UNMOVABLE,
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
        m.mark_isolated(start, isolate)
        split_large_buddy(m, zone, large.pfn, large.order, FPI_NONE)
        return
    if not isolate and not m.config.kernel.isolate_bit:
        new_mt = UNMOVABLE if m.config.page_group_by_mobility_disabled else MOVABLE
        move_freepages(m, zone, start, ISOLATE, new_mt)
    else:
        move_freepages(m, zone, start, *((block.mt, ISOLATE) if isolate else (ISOLATE, block.mt)))
    m.mark_isolated(start, isolate)


def set_migratetype_isolate(m: Machine, number: int) -> bool:
    """Isolate block `number`; False (EBUSY) if it is isolated, holds unmovable pages, or leaves its zone."""
    start = number * m.block_pages
    zone = m.zone_of(start)
    if m.is_isolated(start) or has_unmovable_pages(m, zone, start) or block_inside(m, zone, start) < 0:
        return False
    if not m.config.kernel.hygienic and in_use_across(m, start):
        return False
    toggle_block(m, zone, start, isolate=True)
    return True


def isolate_whatever_it_holds(m: Machine, start: int) -> bool:
    """Isolate the block at `start` without asking what is in it; whether that was done."""
    zone = m.zone_of(start)
    if not m.config.kernel.isolate_bit or m.is_isolated(start) or block_inside(m, zone, start) < 0:
        return False
    if not m.config.kernel.hygienic and in_use_across(m, start):
        return False
    toggle_block(m, zone, start, isolate=True)
    return True


def in_use_across(m: Machine, start: int) -> bool:
    """Whether a chunk that is in use covers the block and more."""
    page = m.covering(start)
    return page is not None and page.state != BUDDY and page.order > m.config.pageblock_order


def unset_migratetype_isolate(m: Machine, number: int) -> None:
    """Give block `number` back with the type it had; merges it with a free neighbour block."""
    start = number * m.block_pages
    zone = m.zone_of(start)
    if not m.is_isolated(start):
        return
    if not can_merge_whole(m, zone, start):
        toggle_block(m, zone, start, isolate=False)
        return
    del_from_free_list(m, zone, start, ISOLATE)
    m.mark_isolated(start, False)
    mt = m.get_pageblock_migratetype(start)
    free_one_page_merge(m, zone, start, m.config.pageblock_order, mt, FPI_TO_TAIL)


def can_merge_whole(m: Machine, zone: Zone, start: int) -> bool:
    """Whether the isolated block is one free buddy whose partner is free and not isolated."""
    order = m.config.pageblock_order
    page = m.heads.get(start)
    if page is None or page.state != BUDDY or page.order != order or order >= m.config.max_page_order:
        return False
    buddy = find_buddy(m, zone, start, order)
    return buddy is not None and m.get_pageblock_migratetype(buddy.pfn) != ISOLATE
