# SPDX-License-Identifier: GPL-2.0-or-later
"""The reserve of pageblocks for high-order atomic requests."""

from __future__ import annotations

from .buddy import move_freepages_block, move_to_free_list
from .constants import HIGHATOMIC, L_HIGHATOMIC_RESERVE, L_HIGHATOMIC_UNRESERVE, PCPTYPES
from .machine import Machine
from .zone import Page, Zone


def reserve_highatomic_pageblock(m: Machine, zone: Zone, pfn: int, order: int) -> None:
    """Reserve the block an atomic request was served from, if the zone's reserve has room."""
    percent = zone.managed // 100
    cap = -(-percent // m.block_pages) * m.block_pages
    if percent < m.block_pages or zone.nr_reserved_highatomic >= cap:
        return
    mt = m.get_pageblock_migratetype(pfn)
    if mt >= PCPTYPES:
        return
    if order < m.config.pageblock_order:
        if move_freepages_block(m, zone, pfn, mt, HIGHATOMIC) < 0:
            return
        zone.nr_reserved_highatomic += m.block_pages
    else:
        m.change_pageblock_range(pfn, order, HIGHATOMIC)
        zone.nr_reserved_highatomic += 1 << order
    m.log(L_HIGHATOMIC_RESERVE, pfn, zone.number, order)


def unreserve_page(m: Machine, zone: Zone, page: Page, mt: int) -> int:
    """Turn the block (or blocks) of a free reserved chunk into type `mt`; returns what moved."""
    size = max(m.block_pages, page.size)
    zone.nr_reserved_highatomic -= min(size, zone.nr_reserved_highatomic)
    pfn, order = page.pfn, page.order
    if order < m.config.pageblock_order:
        moved = move_freepages_block(m, zone, pfn, HIGHATOMIC, mt)
    else:
        move_to_free_list(m, zone, page, HIGHATOMIC, mt)
        m.change_pageblock_range(pfn, order, mt)
        moved = 1
    m.log(L_HIGHATOMIC_UNRESERVE, pfn, zone.number, order)
    return moved


def unreserve_highatomic_pageblock(m: Machine, zones: list[Zone], mt: int, force: bool) -> bool:
    """Give one reserved block back; each zone keeps one unless forced. True if pages moved."""
    for zone in zones:
        if not force and zone.nr_reserved_highatomic <= m.block_pages:
            continue
        for area in zone.free_area:
            pfn = area.free_list[HIGHATOMIC].head()
            if pfn >= 0 and unreserve_page(m, zone, m.heads[pfn], mt) > 0:
                return True
    return False
