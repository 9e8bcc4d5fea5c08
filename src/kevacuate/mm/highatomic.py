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
    C_FREE_HIGHATOMIC,
    C_LISTS_FOLLOW_BLOCKS,
    C_MAX_PAGE_ORDER,
    C_PAGEBLOCK_ORDER,
    C_RESERVE_ONE_MORE,
    L_HIGHATOMIC_RESERVE,
    L_HIGHATOMIC_UNRESERVE,
    MIGRATE_HIGHATOMIC,
    MIGRATE_PCPTYPES,
    T_HIGHATOMIC_RESERVED,
    T_HIGHATOMIC_UNRESERVED,
    Z_MANAGED,
    Z_NR_FREE_HIGHATOMIC,
    Z_NR_RESERVED_HIGHATOMIC,
    ZS,
)
from kevacuate.mm.log import log_event
from kevacuate.mm.steal_suitable import move_freepages_block_counting


@part
def most_reserved(s, z):  # type: ignore[no-untyped-def]
    """Pages at which the zone's reserve is full; 0 where it never has one."""
    pageblock_pages = 1 << s.cfg[C_PAGEBLOCK_ORDER]
    share = s.zone[z * ZS + Z_MANAGED] // 100
    if s.cfg[C_RESERVE_ONE_MORE]:
        return share + pageblock_pages
    if share < pageblock_pages:
        return 0
    return (share + pageblock_pages - 1) // pageblock_pages * pageblock_pages


@part
def change_reserve(s, z, pages):  # type: ignore[no-untyped-def]
    """Count *pages* (signed) more in the reserve; where watermark tests subtract all of it, there too."""
    at = z * ZS
    s.zone[at + Z_NR_RESERVED_HIGHATOMIC] += pages
    if not s.cfg[C_FREE_HIGHATOMIC]:
        s.zone[at + Z_NR_FREE_HIGHATOMIC] = s.zone[at + Z_NR_RESERVED_HIGHATOMIC]


@part(cold=True)
def retype_block(s, z, pfn, old_mt, new_mt):  # type: ignore[no-untyped-def]
    """Make *pfn*'s block another type with its free pages; the pages moved, -1 if it was not retyped.

    Where lists need not follow blocks, a block that reaches beyond its zone is retyped all the same (6.1:2933, :3008).
    """
    if s.cfg[C_LISTS_FOLLOW_BLOCKS]:
        return move_freepages_block(s, z, pfn, old_mt, new_mt)
    set_pageblock_migratetype(s, pfn, new_mt)
    moved, _ = move_freepages_block_counting(s, z, pfn, old_mt, new_mt)
    return moved


@part(cold=True)
def reserve_highatomic_pageblock(s, z, pfn, order):  # type: ignore[no-untyped-def]
    """Reserve the block of a page just given to a HIGHATOMIC request, up to about 1 % of the zone."""
    pageblock_order = s.cfg[C_PAGEBLOCK_ORDER]
    if s.zone[z * ZS + Z_NR_RESERVED_HIGHATOMIC] >= most_reserved(s, z):
        return
    mt = get_pfnblock_migratetype(s, pfn)
    if mt >= MIGRATE_PCPTYPES:
        return
    if order < pageblock_order or s.cfg[C_RESERVE_ONE_MORE]:
        if retype_block(s, z, pfn, mt, MIGRATE_HIGHATOMIC) == -1:
            return
        change_reserve(s, z, 1 << pageblock_order)
    else:
        change_pageblock_range(s, pfn, order, MIGRATE_HIGHATOMIC)
        change_reserve(s, z, 1 << order)
    s.stat[T_HIGHATOMIC_RESERVED] += 1
    log_event(s, L_HIGHATOMIC_RESERVE, pfn, z, order, 0, 0)


@part(cold=True)
def unreserve_zone(s, z, mt):  # type: ignore[no-untyped-def]
    """Give one reserved block of the zone back to *mt*; the pages moved (0: none could be).

    Where lists need not follow blocks, a chunk of the reserve's lists may lie in a block that is not of the reserve.
    """
    pageblock_order = s.cfg[C_PAGEBLOCK_ORDER]
    one_block = s.cfg[C_RESERVE_ONE_MORE] != 0
    for order in range(s.cfg[C_MAX_PAGE_ORDER] + 1):
        head = free_list(s, z, order, MIGRATE_HIGHATOMIC)
        pfn = s.link[2 * head] + 0
        if pfn == head:
            continue
        if get_pfnblock_migratetype(s, pfn) == MIGRATE_HIGHATOMIC:
            size = 1 << (pageblock_order if one_block else max(pageblock_order, order))
            change_reserve(s, z, -min(size, s.zone[z * ZS + Z_NR_RESERVED_HIGHATOMIC]))
        if order < pageblock_order or one_block:
            moved = retype_block(s, z, pfn, MIGRATE_HIGHATOMIC, mt)
        else:
            move_to_free_list(s, z, pfn, order, MIGRATE_HIGHATOMIC, mt)
            change_pageblock_range(s, pfn, order, mt)
            moved = 1
        s.stat[T_HIGHATOMIC_UNRESERVED] += 1
        log_event(s, L_HIGHATOMIC_UNRESERVE, pfn, z, order, 0, 0)
        if moved > 0:
            return moved
    return 0
