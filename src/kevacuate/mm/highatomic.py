# SPDX-License-Identifier: GPL-2.0-or-later
"""The reserve for atomic high-order allocations (mm/page_alloc.c:3437, 7.2)."""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm.buddy import (
    change_pageblock_range,
    free_list,
    get_pfnblock_migratetype,
    move_freepages_block,
    move_to_free_list,
    set_pageblock_migratetype,
)
from kevacuate.mm.constants import (
    L_HIGHATOMIC_RESERVE,
    L_HIGHATOMIC_UNRESERVE,
    MIGRATE_HIGHATOMIC,
    MIGRATE_PCPTYPES,
)
from kevacuate.mm.fallback_6_1 import move_freepages_block_counting
from kevacuate.mm.fields import View
from kevacuate.mm.log import log_event


@part
def most_reserved(s: View, z: int) -> int:
    """Pages at which the zone's reserve is full; 0 where it never has one."""
    pageblock_pages = 1 << s.cfg.pageblock_order
    share = s.zone[z].managed_pages // 100
    if s.cfg.reserve_one_more:
        return share + pageblock_pages
    if share < pageblock_pages:
        return 0
    return (share + pageblock_pages - 1) // pageblock_pages * pageblock_pages


@part
def change_reserve(s: View, z: int, pages: int) -> None:
    """Count *pages* (signed) more in the reserve; where watermark tests subtract all of it, there too."""
    zone = s.zone[z]
    zone.nr_reserved_highatomic += pages
    if not s.cfg.free_highatomic:
        zone.nr_free_highatomic = zone.nr_reserved_highatomic


@part(cold=True)
def retype_block(s: View, z: int, pfn: int, old_mt: int, new_mt: int) -> int:
    """Make *pfn*'s block another type with its free pages; the pages moved, -1 if it was not retyped.

    Where lists need not follow blocks, a block that reaches beyond its zone is retyped all the same (6.1:2933, :3008).
    """
    if s.cfg.lists_follow_blocks:
        return move_freepages_block(s, z, pfn, old_mt, new_mt)
    set_pageblock_migratetype(s, pfn, new_mt)
    moved, _ = move_freepages_block_counting(s, z, pfn, old_mt, new_mt)
    return moved


@part(cold=True)
def reserve_highatomic_pageblock(s: View, z: int, pfn: int, order: int) -> None:
    """Reserve the block of a page just given to a HIGHATOMIC request, up to about 1 % of the zone."""
    pageblock_order = s.cfg.pageblock_order
    if s.zone[z].nr_reserved_highatomic >= most_reserved(s, z):
        return
    mt = get_pfnblock_migratetype(s, pfn)
    if mt >= MIGRATE_PCPTYPES:
        return
    if order < pageblock_order or s.cfg.reserve_one_more:
        if retype_block(s, z, pfn, mt, MIGRATE_HIGHATOMIC) == -1:
            return
        change_reserve(s, z, 1 << pageblock_order)
    else:
        change_pageblock_range(s, pfn, order, MIGRATE_HIGHATOMIC)
        change_reserve(s, z, 1 << order)
    s.stat.highatomic_reserved += 1
    log_event(s, L_HIGHATOMIC_RESERVE, pfn, z, order, 0, 0)


@part(cold=True)
def unreserve_zone(s: View, z: int, mt: int) -> int:
    """Give one reserved block of the zone back to *mt*; the pages moved (0: none could be).

    Where lists need not follow blocks, a chunk of the reserve's lists may lie in a block that is not of the reserve.
    """
    pageblock_order = s.cfg.pageblock_order
    one_block = s.cfg.reserve_one_more != 0
    for order in range(s.cfg.max_page_order + 1):
        head = free_list(s, z, order, MIGRATE_HIGHATOMIC)
        pfn = s.link[2 * head] + 0
        if pfn == head:
            continue
        if get_pfnblock_migratetype(s, pfn) == MIGRATE_HIGHATOMIC:
            size = 1 << (pageblock_order if one_block else max(pageblock_order, order))
            change_reserve(s, z, -min(size, s.zone[z].nr_reserved_highatomic))
        if order < pageblock_order or one_block:
            moved = retype_block(s, z, pfn, MIGRATE_HIGHATOMIC, mt)
        else:
            move_to_free_list(s, z, pfn, order, MIGRATE_HIGHATOMIC, mt)
            change_pageblock_range(s, pfn, order, mt)
            moved = 1
        s.stat.highatomic_unreserved += 1
        log_event(s, L_HIGHATOMIC_UNRESERVE, pfn, z, order, 0, 0)
        if moved > 0:
            return moved
    return 0
