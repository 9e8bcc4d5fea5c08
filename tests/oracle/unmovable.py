# SPDX-License-Identifier: GPL-2.0-or-later
"""Blocks whose last page that cannot move is freed: what a policy hears."""

from __future__ import annotations

from .constants import A_LRU, A_MOVABLE_OPS, ALLOC, ISOLATED, RESERVED
from .machine import Machine
from .zone import Page


def can_move(page: Page) -> bool:
    """Whether migration takes such a page."""
    return bool(page.attr & (A_LRU | A_MOVABLE_OPS))


def has_unmovable_page(m: Machine, pfn: int) -> bool:
    """Whether the block of `pfn` holds a page that is reserved, or in use and never moves."""
    start = pfn - pfn % m.block_pages
    pages = (m.covering(at) for at in range(start, start + m.block_pages))
    return any(
        page is None or page.state == RESERVED or (page.state in (ALLOC, ISOLATED) and not can_move(page))
        for page in pages
    )


def unmovable_freed(m: Machine, pfn: int, order: int) -> None:
    """A chunk that could not move was freed."""
    first, last = pfn // m.block_pages, (pfn + (1 << order) - 1) // m.block_pages
    for start in range(first * m.block_pages, (last + 1) * m.block_pages, m.block_pages):
        if not has_unmovable_page(m, start):
            mt = m.get_pageblock_migratetype(start)
            m.ask("last_unmovable_freed", 0, m.zone_of(start).number, start, order, mt)
