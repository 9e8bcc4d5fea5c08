# SPDX-License-Identifier: GPL-2.0-or-later
"""What a policy's worker has done: batches migrated, ranges compacted, slabs shrunk."""

from __future__ import annotations

from .compaction import (
    Control,
    isolate_migratepages,
    migrate_isolated,
    release_free_list,
    scanners_met,
    start_of_block,
)
from .constants import (
    A_WORKINGSET,
    AF_CMA,
    ALLOC,
    COMPACT_COMPLETE,
    COMPACT_CONTINUE,
    GFP_KERNEL,
    L_COMPACT_BEGIN,
    L_COMPACT_END,
    MOVABLE,
    ZONE_MOVABLE,
)
from .lru import lru_add_drain
from .machine import Machine
from .migrate import isolate_migratepages_range, migrate_pages, putback_movable_pages
from .page_alloc import free_chunk
from .unmovable import can_move, unmovable_freed
from .zone import Page, Zone

SLAB = A_WORKINGSET
SHRUNK = -4


def migrate_batch(m: Machine, pfn: int) -> int:
    """As a step of an evacuation, without dropping anything."""
    zone, end = m.zone_of(pfn), pfn - pfn % m.block_pages + m.block_pages
    found = isolate_migratepages_range(m, zone, pfn, end)
    m.policy.cursor = found.cursor
    m.policy.cost += (found.cursor - pfn) * m.config.scan_ns + found.nr * m.config.isolate_ns
    if not found.pages:
        return 0
    _, moved, rest, _ = migrate_pages(m, zone, found.pages)
    putback_movable_pages(m, rest)
    m.policy.cost += found.nr * m.config.migrate_ns
    m.reached["policy: batch migrated"] += 1
    return moved


def compact_range(m: Machine, start: int, end: int) -> int:
    """Both scanners, between two pfns."""
    zone = m.zone_of(start)
    first = max(start_of_block(m, start), zone.start_pfn)
    end = min(-(-end // m.block_pages) * m.block_pages, zone.end_pfn)
    moved, cost = compact_between(m, zone, first, end)
    m.policy.cost += cost
    return moved


def compact_between(m: Machine, zone: Zone, first: int, end: int) -> tuple[int, int]:
    """Pages moved, and what that cost."""
    cc = Control(zone, -1, 0, MOVABLE, GFP_KERNEL, AF_CMA, ZONE_MOVABLE, False, True, True)
    cc.migrate_pfn, cc.free_pfn = first, start_of_block(m, end - 1)
    cached = zone.cached_migrate_pfn, zone.cached_migrate_sync, zone.cached_free_pfn
    m.log(L_COMPACT_BEGIN, first, cc.free_pfn, -1, zone.number, 4)
    lru_add_drain(m)
    result = COMPACT_CONTINUE
    while result == COMPACT_CONTINUE and not scanners_met(m, cc):
        cc.finish_pageblock = start_of_block(m, cc.last_migrated) == start_of_block(m, cc.migrate_pfn)
        isolate_migratepages(m, cc)
        if cc.migratepages:
            cc.last_migrated = max(zone.start_pfn, start_of_block(m, cc.migrate_pfn - 1))
            result, _ = migrate_isolated(m, cc)
    result = COMPACT_COMPLETE if result == COMPACT_CONTINUE else result
    m.log(L_COMPACT_END, cc.migrate_pfn, cc.free_pfn, -1, result, zone.number)
    release_free_list(m, cc)
    m.events["compact_migrate_scanned"] += cc.migrate_scanned
    m.events["compact_free_scanned"] += cc.free_scanned
    zone.cached_migrate_pfn, zone.cached_migrate_sync, zone.cached_free_pfn = cached
    m.reached["policy: range compacted"] += cc.moved > 0
    cost = (cc.migrate_scanned + cc.free_scanned) * m.config.scan_ns
    return cc.moved, cost + cc.isolated * m.config.isolate_ns + cc.moved * m.config.migrate_ns


def slabs(m: Machine, node: int) -> list[Page]:
    """Slabs that shrinkers may empty, by pfn."""
    pages = (m.heads[pfn] for pfn in sorted(m.heads))
    return [
        page
        for page in pages
        if page.state == ALLOC and page.attr & SLAB and not can_move(page) and page.obj >= 0
        if m.zone_of(page.pfn).node == node
    ]


def shrink_slab(m: Machine, node: int, priority: int) -> int:
    """Each so many-th slab is freed."""
    freed = 0
    for page in slabs(m, node)[(1 << priority) - 1 :: 1 << priority]:
        pfn, order = page.pfn, page.order
        m.obj_pfn[page.obj] = SHRUNK
        freed += page.size
        free_chunk(m, page)
        unmovable_freed(m, pfn, order)
        m.reached["policy: slab freed"] += 1
    m.policy.cost += freed * m.config.reclaim_ns
    return freed
