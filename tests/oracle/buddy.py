# SPDX-License-Identifier: GPL-2.0-or-later
"""The buddy lists: adding, removing, moving, splitting and merging chunks (mm/page_alloc.c)."""

from __future__ import annotations

from .constants import (
    A_MOVABLE_OPS,
    A_ON_LRU,
    ALLOC,
    BUDDY,
    CMA,
    FPI_NONE,
    FPI_TO_TAIL,
    HIGHATOMIC,
    ISOLATE,
    L_EXTFRAG,
    L_LIST,
    L_PCPU_DRAIN,
    L_ZONE_LOCKED,
    LIST_DELETE,
    LIST_HEAD,
    LIST_MOVE_TAIL,
    LIST_TAIL,
    MOVABLE,
    PCPTYPES,
)
from .machine import Machine
from .regions import note, region_list
from .zone import Page, Zone


def account_freepages(zone: Zone, pages: int, mt: int) -> None:
    """Add `pages` (may be negative) to the free counters that `mt` belongs to."""
    if mt == ISOLATE:
        return
    zone.nr_free += pages
    if mt == CMA:
        zone.nr_free_cma += pages
    elif mt == HIGHATOMIC and zone.counts_free_highatomic:
        zone.nr_free_highatomic += pages


def add_to_free_list(m: Machine, zone: Zone, pfn: int, order: int, mt: int, tail: bool) -> None:
    """Make a free buddy of the chunk and link it; does not account."""
    m.log(L_LIST, pfn, LIST_TAIL if tail else LIST_HEAD, order, mt)
    area = zone.free_area[order]
    if tail:
        area.free_list[mt].add_tail(pfn)
    else:
        area.free_list[mt].add_head(pfn)
    area.nr_free += 1
    m.heads[pfn] = Page(pfn, order, BUDDY, mt)
    if m.config.region_passes:
        own = region_list(m, pfn, order, mt)
        (own.add_tail if tail else own.add_head)(pfn)
    if order >= m.config.pageblock_order and mt != ISOLATE:
        zone.nr_free_blocks += 1 << order


def del_from_free_list(m: Machine, zone: Zone, pfn: int, mt: int) -> None:
    """Unlink a free buddy; does not account. `mt` is what the caller takes its list's type to be."""
    page = m.heads.pop(pfn)
    m.log(L_LIST, pfn, LIST_DELETE, page.order, mt)
    area = zone.free_area[page.order]
    area.free_list[page.mt].remove(pfn)
    if m.config.region_passes:
        region_list(m, pfn, page.order, page.mt).remove(pfn)
    area.nr_free -= 1
    if page.order >= m.config.pageblock_order and mt != ISOLATE:
        zone.nr_free_blocks -= page.size


def move_to_free_list(m: Machine, zone: Zone, page: Page, old_mt: int, new_mt: int) -> None:
    """Move a free buddy to the tail of another type's list, and account for it."""
    m.log(L_LIST, page.pfn, LIST_MOVE_TAIL, page.order, old_mt + 256 * new_mt)
    area = zone.free_area[page.order]
    area.free_list[page.mt].remove(page.pfn)
    area.free_list[new_mt].add_tail(page.pfn)
    if m.config.region_passes:
        region_list(m, page.pfn, page.order, page.mt).remove(page.pfn)
        region_list(m, page.pfn, page.order, new_mt).add_tail(page.pfn)
    page.mt = new_mt
    account_freepages(zone, -page.size, old_mt)
    account_freepages(zone, page.size, new_mt)
    if page.order >= m.config.pageblock_order and (old_mt == ISOLATE) != (new_mt == ISOLATE):
        zone.nr_free_blocks += page.size if old_mt == ISOLATE else -page.size


def expand(m: Machine, zone: Zone, pfn: int, low: int, high: int, mt: int) -> None:
    """Give the upper halves of a chunk of order `high` back until order `low` is left; heads of the lists."""
    for order in range(high - 1, low - 1, -1):
        add_to_free_list(m, zone, pfn + (1 << order), order, mt, tail=False)


def page_del_and_expand(m: Machine, zone: Zone, pfn: int, low: int, high: int, mt: int) -> None:
    """Take a buddy of order `high` off its list, keep its lowest chunk of order `low`, account what left."""
    del_from_free_list(m, zone, pfn, mt)
    expand(m, zone, pfn, low, high, mt)
    account_freepages(zone, -(1 << low), mt)


def rmqueue_smallest(m: Machine, zone: Zone, order: int, mt: int) -> int:
    """Take the head of the smallest list of type `mt` that fits (`__rmqueue_smallest`); -1 if none does."""
    for current in range(order, m.config.max_page_order + 1):
        pfn = zone.free_area[current].free_list[mt].head()
        if pfn >= 0:
            page_del_and_expand(m, zone, pfn, order, current, mt)
            m.log(L_ZONE_LOCKED, pfn, order, mt)
            return pfn
    return -1


def find_buddy(m: Machine, zone: Zone, pfn: int, order: int) -> Page | None:
    """Return the free buddy of `pfn` with exactly this order in the same zone, if there is one."""
    buddy = m.heads.get(pfn ^ (1 << order))
    if buddy is None or buddy.state != BUDDY or buddy.order != order:
        return None
    return buddy if m.zone_of(buddy.pfn) is zone else None


def may_merge(mt: int, buddy_mt: int) -> bool:
    """Whether blocks of these types may hold one buddy together."""
    return mt == buddy_mt or (mt < PCPTYPES and buddy_mt < PCPTYPES)


def buddy_merge_likely(m: Machine, zone: Zone, pfn: int, order: int) -> bool:
    """Whether the chunk one order up would find its buddy free, were this chunk's buddy freed next."""
    if order >= m.config.max_page_order - 1:
        return False
    return find_buddy(m, zone, pfn & ~(1 << order), order + 1) is not None


def captured(m: Machine, zone: Zone, pfn: int, order: int, mt: int) -> bool:
    """Whether a direct compactor takes the chunk while it is being freed (`task_capc`, `compaction_capture`)."""
    capture = m.capture
    if capture is None or capture.zone is not zone or capture.pfn >= 0 or capture.order != order:
        return False
    pollutes = order < m.config.pageblock_order and mt == MOVABLE and capture.mt != MOVABLE
    if mt in (CMA, ISOLATE) or pollutes:
        return False
    if mt != capture.mt:
        m.log(L_EXTFRAG, pfn, order, order, 256 * capture.mt + mt)
    capture.pfn = pfn
    note(m, pfn, capture.mt)
    return True


def free_one_page_merge(m: Machine, zone: Zone, pfn: int, order: int, mt: int, fpi: int = FPI_NONE) -> None:
    """Free a chunk of type `mt`: merge as far as it goes, link the result (`__free_one_page`)."""
    account_freepages(zone, 1 << order, mt)
    while order < m.config.max_page_order:
        if captured(m, zone, pfn, order, mt):
            account_freepages(zone, -(1 << order), mt)
            return
        buddy = find_buddy(m, zone, pfn, order)
        if buddy is None:
            break
        buddy_mt = mt
        if order >= m.config.pageblock_order:
            buddy_mt = m.get_pageblock_migratetype(buddy.pfn)
            if not may_merge(mt, buddy_mt):
                break
        del_from_free_list(m, zone, buddy.pfn, buddy_mt)
        if buddy_mt != mt and m.config.kernel.hygienic:
            m.change_pageblock_range(buddy.pfn, order, mt)
        pfn &= buddy.pfn
        order += 1
    tail = bool(fpi & FPI_TO_TAIL) or buddy_merge_likely(m, zone, pfn, order)
    tail = bool(m.ask("free_one_page", int(tail), zone.number, pfn, order, mt, fpi, int(tail)))
    add_to_free_list(m, zone, pfn, order, mt, tail)


def split_large_buddy(m: Machine, zone: Zone, pfn: int, order: int, fpi: int) -> None:
    """Free a chunk in pieces of at most a pageblock, each with its own block's type."""
    end = pfn + (1 << order)
    order = min(order, m.config.pageblock_order)
    while pfn < end:
        free_one_page_merge(m, zone, pfn, order, m.get_pageblock_migratetype(pfn), fpi)
        pfn += 1 << order


def free_one_page(m: Machine, zone: Zone, pfn: int, order: int, fpi: int = FPI_NONE) -> None:
    """Free a chunk straight to the buddy lists; whatever it was before is forgotten."""
    m.heads.pop(pfn, None)
    note(m, pfn, None)
    if m.config.kernel.hygienic:
        split_large_buddy(m, zone, pfn, order, fpi)
    else:
        free_one_page_merge(m, zone, pfn, order, m.get_pageblock_migratetype(pfn), fpi)


def has_isolate_pageblock(m: Machine, zone: Zone) -> bool:
    """Whether any block of the zone is isolated."""
    first, last = zone.start_pfn // m.block_pages, (zone.end_pfn - 1) // m.block_pages
    return any(m.is_isolated(block * m.block_pages) for block in range(first, last + 1))


def drain_one_page(m: Machine, zone: Zone, pfn: int, order: int) -> None:
    """Free a chunk that left a pcp list: type of its block read now, or, in old kernels, what it came with."""
    page = m.heads.pop(pfn, None)
    note(m, pfn, None)
    mt = m.get_pageblock_migratetype(pfn)
    if page is not None and not m.config.kernel.hygienic and not has_isolate_pageblock(m, zone):
        mt = page.mt
    free_one_page_merge(m, zone, pfn, order, mt)
    m.log(L_PCPU_DRAIN, pfn, order, mt)


def block_inside(m: Machine, zone: Zone, pfn: int) -> int:
    """Return the start of the block of `pfn` if the zone spans all of it, else -1."""
    start = pfn - pfn % m.block_pages
    return start if zone.spans(start, start + m.block_pages) else -1


def move_freepages(m: Machine, zone: Zone, start: int, old_mt: int, new_mt: int) -> int:
    """Move the block's buddies to the tails of another type's lists, by pfn (`__move_freepages_block`)."""
    moved = 0
    pfn = start
    while pfn < start + m.block_pages:
        page = m.heads.get(pfn)
        if page is None:
            pfn += 1
            continue
        if page.state == BUDDY:
            move_to_free_list(m, zone, page, old_mt, new_mt)
            moved += page.size
        pfn += page.size
    return moved


def move_freepages_block(m: Machine, zone: Zone, pfn: int, old_mt: int, new_mt: int) -> int:
    """Move the block's buddies and change its type; -1 if the zone does not span the block."""
    start = block_inside(m, zone, pfn)
    if start < 0:
        return -1
    moved = move_freepages(m, zone, start, old_mt, new_mt)
    m.set_pageblock_migratetype(start, new_mt)
    return moved


def move_freepages_block_old(m: Machine, zone: Zone, pfn: int, old_mt: int, new_mt: int) -> tuple[int, int]:
    """`move_freepages_block` of 6.1: (pages moved, movable pages). Nothing if the block ends beyond the zone."""
    start, end = pfn - pfn % m.block_pages, pfn - pfn % m.block_pages + m.block_pages
    if end > zone.end_pfn:
        return 0, 0
    moved = movable = 0
    at = start if start >= zone.start_pfn else pfn
    while at < end:
        page = m.heads.get(at)
        at += page.size if page else 1
        if page and page.state == BUDDY:
            move_to_free_list(m, zone, page, old_mt, new_mt)
            moved += page.size
        elif page and page.state == ALLOC and page.attr & (A_ON_LRU | A_MOVABLE_OPS):
            movable += page.size
    return moved, movable


def retype_block(m: Machine, zone: Zone, pfn: int, old_mt: int, new_mt: int) -> int:
    """Give the block of `pfn` and its free pages another type; what moved, -1 if the block was left alone."""
    if m.config.kernel.hygienic:
        return move_freepages_block(m, zone, pfn, old_mt, new_mt)
    m.set_pageblock_migratetype(pfn, new_mt)
    return move_freepages_block_old(m, zone, pfn, old_mt, new_mt)[0]


def memblock_free_all(m: Machine) -> None:
    """Free everything that is not reserved, as at boot: ascending, to the tails."""
    for zone in m.zones:
        start = zone.start_pfn
        reserved = sorted(m.config.zones[zone.number].reserved)
        for hole_start, hole_end in [*reserved, (zone.end_pfn, zone.end_pfn)]:
            free_pages_memory(m, zone, start, hole_start)
            start = max(start, hole_end)


def free_pages_memory(m: Machine, zone: Zone, start: int, end: int) -> None:
    """Free `[start, end)` in the largest aligned chunks that fit (`__free_pages_memory`)."""
    while start < end:
        order = m.config.max_page_order
        while start % (1 << order) or start + (1 << order) > end:
            order -= 1
        split_large_buddy(m, zone, start, order, FPI_TO_TAIL)
        start += 1 << order
