# SPDX-License-Identifier: GPL-2.0-or-later
"""The oracle's targeted evacuation: room for a request in tainted regions, before it falls back."""

from __future__ import annotations

from .buddy import page_del_and_expand
from .constants import A_BUSY, A_PINNED, A_WRITEBACK, ALLOC, L_ZONE_LOCKED, MOVABLE, RECLAIMABLE, UNMOVABLE
from .lru import lru_add_drain
from .machine import Machine
from .migrate import can_isolate, isolate_page, move_page
from .pcp import drain_pages_zone
from .region_passes import ALL, find, region_at, smallest
from .region_worker import place
from .regions import block_content, spans, take
from .zone import Page, Zone


def may_leave(m: Machine, page: Page) -> bool:
    """Whether a chunk can be moved as it is."""
    stuck = page.attr & (A_BUSY | A_PINNED | A_WRITEBACK)
    return page.order < m.config.pageblock_order and not stuck and can_isolate(page)


def move_out(m: Machine, zone: Zone, page: Page) -> int:
    """Move one chunk to a clean region; the pages moved."""
    order = page.order
    target, current = find(m, zone, False, ALL, order, MOVABLE)
    if target < 0:
        return 0
    page_del_and_expand(m, zone, target, order, current, MOVABLE)
    m.log(L_ZONE_LOCKED, target, order, MOVABLE)
    take(m, target, order, MOVABLE)
    m.heads[target] = Page(target, order, ALLOC)
    isolate_page(m, zone, page)
    move_page(m, page, m.heads[target])
    return 1 << order


def candidate(m: Machine, block: int, mt: int) -> bool:
    """Whether a block of this type would give room: not if a chunk as large as itself is there."""
    page = m.heads.get(block)
    if m.get_pageblock_migratetype(block) != mt or (page and page.order >= m.config.pageblock_order):
        return False
    content = block_content(m, block)
    fixed = mt == MOVABLE and (content[UNMOVABLE] or content[RECLAIMABLE])
    return bool(content[MOVABLE] and not fixed)


def next_candidate(m: Machine, zone: Zone, start: int, mt: int) -> int | None:
    """The next such block of the region at `start`, from where the last one was."""
    work, region = place(m, zone, start)
    first = region.start // m.block_pages
    for number in [*range(work.cursor, region.total), *range(work.cursor)]:
        if candidate(m, (first + number) * m.block_pages, mt):
            work.cursor = (number + 1) % region.total
            return int((first + number) * m.block_pages)
    return None


def empty_block(m: Machine, zone: Zone, block: int) -> None:
    """Move out what moves."""
    moved = 0
    if not (covers := m.covering(block)) or covers.pfn == block:
        for pfn in sorted(pfn for pfn in m.heads if block <= pfn < block + m.block_pages):
            page = m.heads.get(pfn)
            if page and may_leave(m, page):
                moved += move_out(m, zone, page)
    drain_pages_zone(m, zone, zone.pcps[m.cpu])
    m.events["pgmigrate_success"] += moved
    m.events["region_evacuated_blocks"] += 1
    m.events["region_evacuated_pages"] += moved
    m.events["region_evacuation_ns"] += m.config.scan_ns * m.block_pages
    m.events["region_evacuation_ns"] += moved * (m.config.isolate_ns + m.config.migrate_ns)


def phase(m: Machine, zone: Zone, order: int, mt: int, left: int) -> tuple[bool, int]:
    """Out of blocks of a type until a chunk is on its lists; whether there is one, and how many blocks may follow."""
    while True:
        found = False
        for start, _ in spans(m, zone):
            if not left or not region_at(m, zone, start).tainted:
                continue
            block = next_candidate(m, zone, start, mt)
            if block is None:
                continue
            found = True
            left -= 1
            empty_block(m, zone, block)
            if smallest(m, zone, region_at(m, zone, start), order, mt)[0] >= 0:
                return True, left
        if not found:
            return False, left


def evacuate_for(m: Machine, zones: list[Zone], order: int, mt: int) -> bool:
    """Whether there is room now."""
    m.reached["targeted evacuation"] += 1
    lru_add_drain(m)
    left = m.config.region_evacuate_blocks
    for zone in zones:
        if find(m, zone, True, ALL, order, mt)[0] >= 0:
            continue
        room, left = phase(m, zone, order, mt, left)
        if not room:
            room, left = phase(m, zone, max(order, m.config.pageblock_order), MOVABLE, left)
            m.reached["targeted evacuation: whole block"] += room
        if room:
            m.reached["targeted evacuation made room"] += 1
            return True
    return False
