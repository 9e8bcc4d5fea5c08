# SPDX-License-Identifier: GPL-2.0-or-later
"""The reserve of pageblocks for high-order atomic requests."""

from __future__ import annotations

from .buddy import move_to_free_list, retype_block
from .constants import HIGHATOMIC, L_HIGHATOMIC_RESERVE, L_HIGHATOMIC_UNRESERVE, PCPTYPES
from .machine import Machine
from .zone import Page, Zone


def reserve_cap(m: Machine, zone: Zone) -> int:
    """Pages the reserve of a zone may reach."""
    percent = zone.managed // 100
    if not m.config.kernel.reserve_cap_rounded:
        return percent + m.block_pages
    return -(-percent // m.block_pages) * m.block_pages if percent >= m.block_pages else 0


def reserve_highatomic_pageblock(m: Machine, zone: Zone, pfn: int, order: int) -> None:
    """Reserve the block an atomic request was served from, if the zone's reserve has room."""
    if zone.nr_reserved_highatomic >= reserve_cap(m, zone):
        return
    mt = m.get_pageblock_migratetype(pfn)
    if mt >= PCPTYPES:
        return
    if order < m.config.pageblock_order or not m.config.kernel.reserve_cap_rounded:
        if retype_block(m, zone, pfn, mt, HIGHATOMIC) < 0:
            return
        zone.nr_reserved_highatomic += m.block_pages
    else:
        m.change_pageblock_range(pfn, order, HIGHATOMIC)
        zone.nr_reserved_highatomic += 1 << order
    m.log(L_HIGHATOMIC_RESERVE, pfn, zone.number, order)


def unreserve_page(m: Machine, zone: Zone, page: Page, mt: int) -> int:
    """Turn the block (or blocks) of a free reserved chunk into type `mt`; returns what moved."""
    pfn, order = page.pfn, page.order
    by_block = order < m.config.pageblock_order or not m.config.kernel.reserve_cap_rounded
    if m.get_pageblock_migratetype(pfn) == HIGHATOMIC:
        size = m.block_pages if by_block else page.size
        zone.nr_reserved_highatomic -= min(size, zone.nr_reserved_highatomic)
    if by_block:
        moved = retype_block(m, zone, pfn, HIGHATOMIC, mt)
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
