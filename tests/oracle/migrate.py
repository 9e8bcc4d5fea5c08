# SPDX-License-Identifier: GPL-2.0-or-later
"""What happens to pages taken off the LRU: isolate, drop clean cache, migrate, put back.

Sources: mm/compaction.c (isolate_migratepages_range), mm/vmscan.c (reclaim_clean_pages_from_list),
mm/migrate.c. All of it acts on the worker's CPU, which is `m.cpu` here. Lists are Python lists of pfns, front
first.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .buddy import block_inside, rmqueue_smallest
from .constants import (
    A_ACTIVATING,
    A_BUSY,
    A_FILE,
    A_FREED,
    A_LRU,
    A_MOVABLE_OPS,
    A_MOVES_ALONG,
    A_ON_LRU,
    A_PINNED,
    A_WRITEBACK,
    ALLOC,
    EAGAIN,
    ENOMEM,
    FOLIO_BATCH_SIZE,
    GFP_COMP,
    GFP_HIGHUSER_MOVABLE,
    GFP_RECLAIM,
    GFP_TRANSHUGE,
    ISOLATED,
    MIGRATE_RETRIES,
    MOVABLE,
    SWAP_CLUSTER_MAX,
    UNMOVABLE,
    WMARK_LOW,
    ZONE_MOVABLE,
)
from .lru import folio_add_lru, is_dirty, lruvec_del_folio, lruvec_of, workingset_eviction
from .machine import Machine
from .page_alloc import alloc_pages, free_chunk, prep_new_page
from .pcp import free_unref_folios
from .split import split_folio
from .watermark import zone_watermark_fast
from .zone import Page, Zone

GFP_TARGET = GFP_HIGHUSER_MOVABLE | GFP_COMP
GFP_TARGET_LARGE = GFP_TARGET & ~GFP_RECLAIM | GFP_TRANSHUGE


@dataclass
class Isolation:
    """Outcome of an isolate call: `ret` 0 or -EAGAIN, the pages (front first), where it got to."""

    ret: int
    cursor: int
    pages: list[int] = field(default_factory=list)
    nr: int = 0


def too_many_isolated(m: Machine, node: int) -> bool:
    """Whether more than a sixteenth of the node's LRU pages are isolated."""
    zones = m.node_zones[node]
    return sum(z.nr_isolated for z in zones) > sum(z.nr_lru for z in zones) // 16


def update_cached_migrate(m: Machine, zone: Zone, end: int) -> None:
    """Push the asynchronous migrate scanner past the block after this one (spec S12)."""
    if m.config.skip_hint:
        zone.cached_migrate_pfn = max(zone.cached_migrate_pfn, end + m.block_pages)


def can_isolate(page: Page) -> bool:
    """Whether a chunk can be taken: movable_ops, or on the LRU and not pinned anonymous memory."""
    if page.state != ALLOC:
        return False
    if not page.attr & A_ON_LRU:
        return bool(page.attr & A_MOVABLE_OPS)
    return not page.attr & A_PINNED or bool(page.attr & A_FILE)


def isolate_page(m: Machine, zone: Zone, page: Page) -> None:
    """Take a chunk off the LRU."""
    page.state = ISOLATED
    if page.attr & A_ON_LRU:
        lruvec_del_folio(m, page)
    page.attr &= ~(A_ON_LRU | A_ACTIVATING)
    if page.attr & A_LRU:
        zone.nr_lru -= page.size
        zone.nr_isolated += page.size
    if page.attr & A_LRU and page.attr & A_FILE:
        lruvec_of(m, page).isolated_file += page.size


def unaccount_isolated(m: Machine, page: Page) -> None:
    """A chunk is no longer isolated."""
    if page.attr & A_LRU:
        m.zone_of(page.pfn).nr_isolated -= page.size
        if page.attr & A_FILE:
            lruvec_of(m, page).isolated_file -= page.size


def isolate_migratepages_range(m: Machine, zone: Zone, pfn: int, end: int) -> Isolation:
    """Take movable chunks from `[pfn, end)` of one block until 32 pages are together."""
    if block_inside(m, zone, end - 1) < 0:
        return Isolation(0, end)
    if too_many_isolated(m, zone.node):
        return Isolation(-EAGAIN, pfn)
    block = m.block_of(end - 1)
    from_start = pfn % m.block_pages == 0
    if from_start and m.config.skip_hint and block.skip:
        update_cached_migrate(m, zone, end)
        return Isolation(0, end)
    result = Isolation(0, end)
    while pfn < end:
        page = m.covering(pfn)
        if page is None:
            pfn += 1
            continue
        is_head = page.pfn == pfn
        pfn = page.pfn + page.size
        if not is_head or page.order >= m.config.pageblock_order or not can_isolate(page):
            continue
        if page.attr & A_ON_LRU and from_start and m.config.skip_hint:
            block.skip = True
        isolate_page(m, zone, page)
        result.pages.insert(0, page.pfn)
        result.nr += page.size
        if result.nr >= SWAP_CLUSTER_MAX:
            result.cursor = pfn
            return result
    if not result.pages:
        if from_start and m.config.skip_hint:
            block.skip = True
        update_cached_migrate(m, zone, end)
    return result


def reclaim_clean_pages_from_list(m: Machine, pages: list[int]) -> tuple[int, list[int]]:
    """Drop clean page cache. Returns the pages dropped, and the list of what is left."""
    dropped = 0
    kept: list[int] = []
    others: list[int] = []
    folios: list[tuple[int, int]] = []
    for pfn in pages:
        page = m.heads[pfn]
        if not page.attr & A_FILE or page.attr & A_MOVABLE_OPS or is_dirty(m, page):
            others.append(pfn)
        elif page.attr & (A_BUSY | A_WRITEBACK | A_PINNED) and not page.attr & A_FREED:
            kept.insert(0, pfn)
        else:
            dropped += page.size
            drop_page(m, page)
            folios.append((pfn, page.order))
            if len(folios) == FOLIO_BATCH_SIZE:
                free_unref_folios(m, folios)
                folios = []
    free_unref_folios(m, folios)
    return dropped, kept + others


def drop_page(m: Machine, page: Page) -> None:
    """Clean cache leaves memory: its object is nowhere any more."""
    unaccount_isolated(m, page)
    forget_owner(m, page)


def forget_owner(m: Machine, page: Page) -> None:
    """The owner of clean cache learns that it is gone."""
    if not page.attr & A_FREED and page.obj >= 0:
        workingset_eviction(m, page)
        m.obj_pfn[page.obj] = -2


def free_isolated(m: Machine, page: Page) -> None:
    """Free a chunk that a worker held."""
    unaccount_isolated(m, page)
    free_chunk(m, page)


@dataclass
class Migration:
    """State of one migrate_pages: `unmapped` are (source, target), `failed` and `left` the result."""

    zone: Zone
    left: list[int]
    unmapped: list[tuple[int, int]] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)
    succeeded: int = 0
    no_memory: bool = False
    failed_pages: int = 0
    parts: list[int] = field(default_factory=list)  # of folios that were split
    splits: int = 0


def alloc_migration_target(m: Machine, zone: Zone, order: int) -> int:
    """Allocate a destination; -1 if there is none."""
    if not m.config.any_target:
        return take_free_movable(m, zone.node, order)
    gfp = GFP_TARGET_LARGE if order else GFP_TARGET
    m.kthread = True
    pfn = alloc_pages(m, zone.node, order, MOVABLE, gfp, 0, -1)
    m.kthread = False
    return pfn


def take_free_movable(m: Machine, node: int, order: int) -> int:
    """Take a destination off the node's free movable lists, as long as a zone has more than LOW; -1 if there is none."""
    mt = UNMOVABLE if m.config.page_group_by_mobility_disabled else MOVABLE
    for zone in (zone for zone in m.zonelists[node] if zone.node == node):
        if zone_watermark_fast(zone, order, zone.wmark_pages(WMARK_LOW), ZONE_MOVABLE, 0):
            pfn = rmqueue_smallest(m, zone, order, mt)
            if pfn >= 0:
                m.reached["opening: destination off the movable lists"] += 1
                prep_new_page(m, pfn, order, 0, -1)
                return pfn
    return -1


def unmap_pass(m: Machine, mig: Migration) -> None:
    """One pass of the unmap phase over what is left on the list."""
    todo, mig.left = mig.left, []
    for index, pfn in enumerate(todo):
        page = m.heads[pfn]
        if page.attr & A_FREED:
            mig.succeeded += page.size
            free_isolated(m, page)
            continue
        order = page.order
        dst = alloc_migration_target(m, mig.zone, order)
        if dst < 0 and order and not m.config.open_loop and split_folio(m, page, False):
            m.reached["evacuation: folio split"] += 1
            mig.parts += [pfn + (i + 1) % (1 << order) for i in range(1 << order)]
            mig.splits += 1
            continue
        if dst < 0:
            mig.no_memory = True
            mig.failed_pages += page.size + sum(m.heads[waiting].size for waiting in mig.left)
            mig.left += todo[index:]
            return
        if page.attr & A_BUSY:
            free_chunk(m, m.heads[dst])
            mig.left.append(pfn)
        elif page.attr & A_WRITEBACK:
            free_chunk(m, m.heads[dst])
            fail(m, mig, pfn)
        else:
            mig.unmapped.append((pfn, dst))


def fail(m: Machine, mig: Migration, pfn: int) -> None:
    """A folio has failed."""
    mig.failed.append(pfn)
    mig.failed_pages += m.heads[pfn].size


def try_parts(m: Machine, mig: Migration) -> list[int]:
    """The pages of split folios: another migration of one pass each, whose outcome is not asked for. Returns what stays."""
    if mig.no_memory or not mig.parts:
        return mig.parts
    again = Migration(mig.zone, mig.parts)
    unmap_pass(m, again)
    move_pass(m, again)
    for src, dst in again.unmapped:
        free_chunk(m, m.heads[dst])
        fail(m, again, src)
    if not again.no_memory:
        again.failed_pages += sum(m.heads[pfn].size for pfn in again.left)
    mig.succeeded += again.succeeded
    mig.failed_pages += again.failed_pages
    return again.failed + again.left


def move_page(m: Machine, src: Page, dst: Page) -> None:
    """The destination becomes what the source was; the source is freed."""
    dst.obj = src.obj
    dst.attr = src.attr & A_MOVES_ALONG
    dst.dirtied, dst.refs = src.dirtied, src.refs
    if dst.obj >= 0:
        m.obj_pfn[dst.obj] = dst.pfn
    if dst.attr & A_LRU:
        folio_add_lru(m, dst)
    free_isolated(m, src)


def move_pass(m: Machine, mig: Migration) -> None:
    """One pass of the move phase over the unmapped folios."""
    todo, mig.unmapped = mig.unmapped, []
    for src, dst in todo:
        page = m.heads[src]
        if page.attr & A_PINNED:
            mig.unmapped.append((src, dst))
        else:
            mig.succeeded += page.size
            move_page(m, page, m.heads[dst])


def migrate_pages(m: Machine, zone: Zone, pages: list[int]) -> tuple[int, int, list[int], int]:
    """MIGRATE_ASYNC. Returns (ret: -ENOMEM or the folios not moved; pages moved; what stays; pages of split folios in it)."""
    mig = Migration(zone, list(pages))
    for _ in range(MIGRATE_RETRIES):
        if mig.left and not mig.no_memory:
            unmap_pass(m, mig)
    for _ in range(MIGRATE_RETRIES):
        move_pass(m, mig)
    for src, dst in mig.unmapped:
        free_chunk(m, m.heads[dst])
        fail(m, mig, src)
    if not mig.no_memory:
        mig.failed_pages += sum(m.heads[pfn].size for pfn in mig.left)
    rest = mig.failed + mig.left
    failures = len(rest) + mig.splits
    parts = try_parts(m, mig)
    rest += parts
    m.events["pgmigrate_success"] += mig.succeeded
    m.events["pgmigrate_fail"] += mig.failed_pages
    return (-ENOMEM if mig.no_memory else failures if rest else 0), mig.succeeded, rest, len(parts)


def putback_movable_pages(m: Machine, pages: list[int]) -> int:
    """Put what was isolated back; returns the pages put back (not those freed meanwhile)."""
    put = 0
    for pfn in pages:
        page = m.heads[pfn]
        if page.attr & A_FREED:
            free_isolated(m, page)
            continue
        put += page.size
        unaccount_isolated(m, page)
        page.state = ALLOC
        if page.attr & A_LRU:
            folio_add_lru(m, page)
    return put
