# SPDX-License-Identifier: GPL-2.0-or-later
"""migrate_pages in MIGRATE_ASYNC, alloc_migration_target, putback_movable_pages (mm/migrate.c, 7.2).

Approximate: splitting a large folio for want of a destination is not modelled (it counts as failed, -ENOMEM), and a
page is busy, pinned or under writeback for as long as its attributes say so.
"""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm.buddy import page_zone
from kevacuate.mm.constants import (
    ATTR_BUSY,
    ATTR_FREED,
    ATTR_LRU,
    ATTR_PINNED,
    ATTR_STATIC,
    ATTR_WRITEBACK,
    ENOMEM,
    GFP_COMP,
    GFP_HIGHUSER_MOVABLE,
    GFP_RECLAIM,
    GFP_TRANSHUGE,
    MIGRATE_MOVABLE,
    NR_MIGRATE_PASSES,
    PG_ALLOC,
    T_DST_ALLOCS,
    WK_DST,
    WK_FAILED_LIST,
    WK_LIST,
    WK_NLIST,
    WK_UNMAPPED,
    Z_NODE,
    Z_NR_ISOLATED,
    ZS,
)
from kevacuate.mm.page_alloc import alloc_pages, free_frozen_pages, prep_new_page
from kevacuate.mm.swap import folio_add_lru


@part
def alloc_migration_target(s, cpu, pfn, order):  # type: ignore[no-untyped-def]
    """A destination on the source's node through the ordinary allocator (:2191); -1 if there is none.

    It carries no object and no attributes yet.
    """
    node = s.zone[page_zone(s, pfn) * ZS + Z_NODE]
    gfp = GFP_HIGHUSER_MOVABLE | GFP_COMP
    if order > 0:
        gfp = ((GFP_HIGHUSER_MOVABLE & ~GFP_RECLAIM) | GFP_TRANSHUGE) | GFP_COMP
    s.stat[T_DST_ALLOCS] += 1
    return alloc_pages(s, cpu, node, order, MIGRATE_MOVABLE, gfp, 0, -1)


@part
def unaccount_isolated(s, pfn, order):  # type: ignore[no-untyped-def]
    """NR_ISOLATED falls when an LRU folio leaves the private list."""
    if s.link[2 * pfn + 1] & ATTR_LRU:
        s.zone[page_zone(s, pfn) * ZS + Z_NR_ISOLATED] -= 1 << order


@part
def free_isolated(s, cpu, pfn):  # type: ignore[no-untyped-def]
    """Free a folio whose owner let go of it while it was isolated."""
    order = s.meta[pfn] & 15
    unaccount_isolated(s, pfn, order)
    free_frozen_pages(s, cpu, pfn, order)


@part
def unmap_folios(s, at, cpu):  # type: ignore[no-untyped-def]
    """The unmap phase, up to ten passes (:1208, :1805). Returns (unmapped, failed, pages freed, enomem).

    Each pass allocates a destination for every folio left; a locked one gives it back and waits for the next pass.
    """
    left = s.work[at + WK_NLIST]
    unmapped = 0
    failed = 0
    freed = 0
    for _ in range(NR_MIGRATE_PASSES):
        kept = 0
        for i in range(left):
            pfn = s.work[at + WK_LIST + i]
            attr = s.link[2 * pfn + 1] + 0
            order = s.meta[pfn] & 15
            if attr & ATTR_FREED:
                freed += 1 << order
                free_isolated(s, cpu, pfn)
                continue
            dst = alloc_migration_target(s, cpu, pfn, order)
            if dst < 0:
                for j in range(i, left):
                    s.work[at + WK_LIST + kept] = s.work[at + WK_LIST + j]
                    kept += 1
                s.work[at + WK_NLIST] = kept
                return unmapped, failed, freed, True
            if attr & ATTR_BUSY:
                free_frozen_pages(s, cpu, dst, order)
                s.work[at + WK_LIST + kept] = pfn
                kept += 1
            elif attr & ATTR_WRITEBACK:
                free_frozen_pages(s, cpu, dst, order)
                s.work[at + WK_FAILED_LIST + failed] = pfn
                failed += 1
            else:
                s.work[at + WK_UNMAPPED + unmapped] = pfn
                s.work[at + WK_DST + unmapped] = dst
                unmapped += 1
        left = kept
        if left == 0:
            break
    s.work[at + WK_NLIST] = left
    return unmapped, failed, freed, False


@part
def migrate_folio_move(s, cpu, src, dst, order):  # type: ignore[no-untyped-def]
    """Give the source's identity to the destination, put that on the LRU, free the source on this CPU."""
    obj = s.link[2 * src] + 0
    attr = s.link[2 * src + 1] & ATTR_STATIC
    unaccount_isolated(s, src, order)
    prep_new_page(s, cpu, dst, order, attr, obj)
    free_frozen_pages(s, cpu, src, order)


@part
def move_folios(s, at, cpu, unmapped, failed):  # type: ignore[no-untyped-def]
    """The move phase: what is pinned stays and is undone at the end. Returns (pages moved, failed)."""
    moved = 0
    for i in range(unmapped):
        src = s.work[at + WK_UNMAPPED + i]
        order = s.meta[src] & 15
        if not s.link[2 * src + 1] & ATTR_PINNED:
            migrate_folio_move(s, cpu, src, s.work[at + WK_DST + i], order)
            s.work[at + WK_UNMAPPED + i] = -1
            moved += 1 << order
    for i in range(unmapped):
        src = s.work[at + WK_UNMAPPED + i]
        if src >= 0:
            free_frozen_pages(s, cpu, s.work[at + WK_DST + i], s.meta[src] & 15)
            s.work[at + WK_FAILED_LIST + failed] = src
            failed += 1
    return moved, failed


@part
def migrate_pages(s, at, cpu):  # type: ignore[no-untyped-def]
    """Migrate the worker's private list; what failed is left on it (:2094). Returns (ret, pages succeeded).

    ret is -ENOMEM, or the number of folios that failed.
    """
    unmapped, failed, succeeded, enomem = unmap_folios(s, at, cpu)
    moved, failed = move_folios(s, at, cpu, unmapped, failed)
    left = s.work[at + WK_NLIST]
    for i in range(left - 1, -1, -1):
        s.work[at + WK_LIST + failed + i] = s.work[at + WK_LIST + i]
    for i in range(failed):
        s.work[at + WK_LIST + i] = s.work[at + WK_FAILED_LIST + i]
    s.work[at + WK_NLIST] = left + failed
    ret = left + failed
    if enomem:
        ret = -ENOMEM
    return ret, succeeded + moved


@part
def putback_movable_pages(s, at, cpu):  # type: ignore[no-untyped-def]
    """Put what is left on the list back on the LRU, through this CPU's batch. Returns the pages put back."""
    pages = 0
    for i in range(s.work[at + WK_NLIST]):
        pfn = s.work[at + WK_LIST + i]
        order = s.meta[pfn] & 15
        attr = s.link[2 * pfn + 1] + 0
        if attr & ATTR_FREED:
            free_isolated(s, cpu, pfn)
            continue
        pages += 1 << order
        unaccount_isolated(s, pfn, order)
        s.meta[pfn] = PG_ALLOC << 4 | order
        if attr & ATTR_LRU:
            folio_add_lru(s, cpu, pfn, order)
    s.work[at + WK_NLIST] = 0
    return pages
