# SPDX-License-Identifier: GPL-2.0-or-later
"""The reserve for atomic high-order allocations (mm/page_alloc.c:3437, 7.2)."""

from __future__ import annotations

from kevacuate.mm.buddy import (
    change_pageblock_range,
    free_list,
    get_pfnblock_migratetype,
    move_freepages_block,
    move_to_free_list,
)
from kevacuate.mm.constants import (
    C_MAX_PAGE_ORDER,
    C_PAGEBLOCK_ORDER,
    L_HIGHATOMIC_RESERVE,
    L_HIGHATOMIC_UNRESERVE,
    MIGRATE_HIGHATOMIC,
    MIGRATE_PCPTYPES,
    T_HIGHATOMIC_RESERVED,
    T_HIGHATOMIC_UNRESERVED,
    Z_MANAGED,
    Z_NR_RESERVED_HIGHATOMIC,
    ZS,
)
from kevacuate.mm.jit import part
from kevacuate.mm.log import log_event


@part(cold=True)
def reserve_highatomic_pageblock(s, z, pfn, order):  # type: ignore[no-untyped-def]
    """Reserve the block of a page just given to a HIGHATOMIC request, up to about 1 % of the zone."""
    pageblock_order = s.cfg[C_PAGEBLOCK_ORDER]
    pageblock_pages = 1 << pageblock_order
    at = z * ZS
    share = s.zone[at + Z_MANAGED] // 100
    if share < pageblock_pages:
        return
    most = (share + pageblock_pages - 1) // pageblock_pages * pageblock_pages
    if s.zone[at + Z_NR_RESERVED_HIGHATOMIC] >= most:
        return
    mt = get_pfnblock_migratetype(s, pfn)
    if mt >= MIGRATE_PCPTYPES:
        return
    if order < pageblock_order:
        if move_freepages_block(s, z, pfn, mt, MIGRATE_HIGHATOMIC) == -1:
            return
        s.zone[at + Z_NR_RESERVED_HIGHATOMIC] += pageblock_pages
    else:
        change_pageblock_range(s, pfn, order, MIGRATE_HIGHATOMIC)
        s.zone[at + Z_NR_RESERVED_HIGHATOMIC] += 1 << order
    s.stat[T_HIGHATOMIC_RESERVED] += 1
    log_event(s, L_HIGHATOMIC_RESERVE, pfn, z, order, 0, 0)


@part(cold=True)
def unreserve_zone(s, z, mt):  # type: ignore[no-untyped-def]
    """Give one reserved block of the zone back to *mt*; the pages moved (0: none could be)."""
    pageblock_order = s.cfg[C_PAGEBLOCK_ORDER]
    at = z * ZS + Z_NR_RESERVED_HIGHATOMIC
    for order in range(s.cfg[C_MAX_PAGE_ORDER] + 1):
        head = free_list(s, z, order, MIGRATE_HIGHATOMIC)
        pfn = s.link[2 * head] + 0
        if pfn == head:
            continue
        s.zone[at] -= min(max(1 << pageblock_order, 1 << order), s.zone[at])
        if order < pageblock_order:
            moved = move_freepages_block(s, z, pfn, MIGRATE_HIGHATOMIC, mt)
        else:
            move_to_free_list(s, z, pfn, order, MIGRATE_HIGHATOMIC, mt)
            change_pageblock_range(s, pfn, order, mt)
            moved = 1
        s.stat[T_HIGHATOMIC_UNRESERVED] += 1
        log_event(s, L_HIGHATOMIC_UNRESERVE, pfn, z, order, 0, 0)
        if moved > 0:
            return moved
    return 0
