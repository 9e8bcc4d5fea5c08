# SPDX-License-Identifier: GPL-2.0-or-later
"""migrate_pages in MIGRATE_ASYNC, alloc_migration_target, putback_movable_pages (mm/migrate.c, 7.2).

Approximate: a page is busy, pinned or under writeback for as long as its attributes say so. In an open loop a large folio without
a destination is not split: it has failed, with -ENOMEM.
"""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm import constants as k
from kevacuate.mm.buddy import page_zone, rmqueue_smallest
from kevacuate.mm.fields import View, Worker
from kevacuate.mm.migrate import free_isolated, migrate_folio_move, put_source_back
from kevacuate.mm.page_alloc import alloc_pages
from kevacuate.mm.page_free import free_frozen_pages, prep_new_page
from kevacuate.mm.split_folio import split_folio
from kevacuate.mm.watermark import wmark_pages, zone_watermark_fast


@part(cold=True)
def take_free_movable(s: View, cpu: int, node: int, order: int) -> int:
    """A destination off the free movable lists of the node's zones, above LOW; -1 if there is none.

    Not the patch's (``any_target`` off): no per-CPU list, no other type, no reclaim, nobody is woken.
    """
    mt = k.MIGRATE_UNMOVABLE if s.cfg.page_group_by_mobility_disabled else k.MIGRATE_MOVABLE
    pgdat = s.node[node]
    for i in range(pgdat.nr_zonelist):
        z = pgdat.zonelist[i]
        if s.zone[z].node != node:
            continue
        if zone_watermark_fast(s, z, order, wmark_pages(s, z, k.WMARK_LOW), k.ZONE_MOVABLE, 0):
            pfn = rmqueue_smallest(s, z, order, mt)
            if pfn >= 0:
                prep_new_page(s, cpu, pfn, order, 0, -1)
                return pfn
    return -1


@part
def alloc_on_node(s: View, cpu: int, node: int, order: int, gfp: int) -> int:
    """A destination from the ordinary allocator, which prefers *node*; nobody owns it yet. -1 if there is none."""
    return alloc_pages(s, cpu, node, order, k.MIGRATE_MOVABLE, gfp, 0, -1)


@part
def alloc_migration_target(s: View, cpu: int, pfn: int, order: int) -> int:
    """A destination on the source's node through the ordinary allocator (:2191); -1 if there is none."""
    node = s.zone[page_zone(s, pfn)].node
    if s.cfg.any_target == 0:
        s.stat.dst_allocs += 1
        return take_free_movable(s, cpu, node, order)
    gfp = k.GFP_HIGHUSER_MOVABLE | k.GFP_COMP
    if order > 0:
        gfp = ((k.GFP_HIGHUSER_MOVABLE & ~k.GFP_RECLAIM) | k.GFP_TRANSHUGE) | k.GFP_COMP
    s.stat.dst_allocs += 1
    s.slow.kthread = 1
    pfn = alloc_on_node(s, cpu, node, order, gfp)
    s.slow.kthread = 0
    return pfn


@part
def count_failed(s: View, worker: Worker, count: int) -> None:
    """PGMIGRATE_FAIL: the first *count* folios of the private list."""
    for i in range(count):
        s.stat.pgmigrate_fail += 1 << (s.meta[worker.migratepages[i]] & 15)


@part
def keep_rest(s: View, worker: Worker, kept: int, at: int, left: int) -> None:
    """-ENOMEM for the folio at *at* of *left*: it and the untried ones stay behind the *kept* ones. It has failed, as they."""
    count_failed(s, worker, kept)
    s.stat.pgmigrate_fail += 1 << (s.meta[worker.migratepages[at]] & 15)
    for j in range(at, left):
        worker.migratepages[kept] = worker.migratepages[j]
        kept += 1
    worker.nr_migratepages = kept


@part
def try_split_folio(s: View, worker: Worker, pfn: int, order: int) -> bool:
    """Split a folio that has no destination; its other pages and then its first wait to be tried by themselves (:1585)."""
    if s.cfg.open_loop or order == 0 or not split_folio(s, pfn, k.MIGRATE_ASYNC):
        return False
    at = s.cfg.evacuated_parts + worker.nr_parts
    for i in range(1 << order):
        s.folios[at + i] = pfn + (i + 1) % (1 << order)
    worker.nr_parts += 1 << order
    worker.nr_split += 1
    return True


@part
def migrate_parts(s: View, worker: Worker, cpu: int) -> int:
    """The pages of split folios are tried once (:2161); those without a destination stay. Returns the pages moved.

    Nothing else keeps them: they would not have been split.
    """
    parts = s.cfg.evacuated_parts
    targets = parts + (1 << s.cfg.pageblock_order)
    count = worker.nr_parts
    moved = 0
    while moved < count:
        dst = alloc_migration_target(s, cpu, s.folios[parts + moved], 0)
        if dst < 0:
            s.stat.pgmigrate_fail += 1
            break
        s.folios[targets + moved] = dst
        moved += 1
    for i in range(moved):
        migrate_folio_move(s, cpu, s.folios[parts + i], s.folios[targets + i], 0)
    for i in range(moved, count):
        s.folios[parts + i - moved] = s.folios[parts + i]
    worker.nr_parts = count - moved
    return moved


@part
def migrate_folios_unmap(s: View, worker: Worker, cpu: int) -> tuple[int, int, int, bool]:
    """The unmap phase, up to ten passes (:1208, :1805). Returns (unmapped, failed, pages freed, enomem).

    Each pass allocates a destination for every folio left; a locked one gives it back and waits for the next pass. A large one
    without a destination is split; without one for what is not, the phase ends.
    """
    left = worker.nr_migratepages
    unmapped = 0
    failed = 0
    freed = 0
    for _ in range(k.NR_MAX_MIGRATE_PAGES_RETRY):
        kept = 0
        for i in range(left):
            pfn = worker.migratepages[i]
            attr = s.link[2 * pfn + 1] + 0
            order = s.meta[pfn] & 15
            if attr & k.ATTR_FREED:
                freed += 1 << order
                free_isolated(s, cpu, pfn)
                continue
            dst = alloc_migration_target(s, cpu, pfn, order)
            if dst < 0:
                if try_split_folio(s, worker, pfn, order):
                    continue
                keep_rest(s, worker, kept, i, left)
                return unmapped, failed, freed, True
            if attr & k.ATTR_BUSY:
                free_frozen_pages(s, cpu, dst, order)
                worker.migratepages[kept] = pfn
                kept += 1
            elif attr & k.ATTR_WRITEBACK:
                free_frozen_pages(s, cpu, dst, order)
                worker.failed_folios[failed] = pfn
                failed += 1
                s.stat.pgmigrate_fail += 1 << order
            else:
                worker.unmapped[unmapped] = pfn
                worker.dst[unmapped] = dst
                unmapped += 1
        left = kept
        if left == 0:
            break
    worker.nr_migratepages = left
    count_failed(s, worker, left)
    return unmapped, failed, freed, False


@part
def migrate_folios_move(s: View, worker: Worker, cpu: int, unmapped: int, failed: int) -> tuple[int, int]:
    """The move phase: what is pinned stays and is undone at the end. Returns (pages moved, failed)."""
    moved = 0
    for i in range(unmapped):
        src = worker.unmapped[i]
        order = s.meta[src] & 15
        if not s.link[2 * src + 1] & k.ATTR_PINNED:
            migrate_folio_move(s, cpu, src, worker.dst[i], order)
            worker.unmapped[i] = -1
            moved += 1 << order
    for i in range(unmapped):
        src = worker.unmapped[i]
        if src >= 0:
            free_frozen_pages(s, cpu, worker.dst[i], s.meta[src] & 15)
            worker.failed_folios[failed] = src
            failed += 1
            s.stat.pgmigrate_fail += 1 << (s.meta[src] & 15)
    return moved, failed


@part
def migrate_pages(s: View, worker: Worker, cpu: int) -> tuple[int, int]:
    """Migrate the worker's private list; what failed is left on it (:2094). Returns (ret, pages succeeded).

    ret is -ENOMEM, or the number of folios that failed or were split: 0 if all their pages have moved. Pages of split folios that
    have not stay behind the list.
    """
    worker.nr_parts = worker.nr_split = 0
    unmapped, failed, succeeded, enomem = migrate_folios_unmap(s, worker, cpu)
    moved, failed = migrate_folios_move(s, worker, cpu, unmapped, failed)
    if worker.nr_parts and not enomem:
        moved += migrate_parts(s, worker, cpu)
    left = worker.nr_migratepages
    for i in range(left - 1, -1, -1):
        worker.migratepages[failed + i] = worker.migratepages[i]
    for i in range(failed):
        worker.migratepages[i] = worker.failed_folios[i]
    worker.nr_migratepages = left + failed
    ret = left + failed
    if ret + worker.nr_parts > 0:
        ret += worker.nr_split
    if enomem:
        ret = -k.ENOMEM
    s.stat.pgmigrate_success += succeeded + moved
    return ret, succeeded + moved


@part
def putback_movable_pages(s: View, worker: Worker, cpu: int) -> int:
    """Put what is left on the list back on the LRU, through this CPU's batch. Returns the pages put back."""
    pages = 0
    for i in range(worker.nr_migratepages):
        pages += put_source_back(s, cpu, worker.migratepages[i])
    for i in range(worker.nr_parts):
        pages += put_source_back(s, cpu, s.folios[s.cfg.evacuated_parts + i])
    worker.nr_migratepages = worker.nr_parts = 0
    return pages
