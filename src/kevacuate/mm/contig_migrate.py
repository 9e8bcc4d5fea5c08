# SPDX-License-Identifier: GPL-2.0-or-later
"""migrate_pages in MIGRATE_SYNC as alloc_contig_range calls it, with destinations from the allocator (mm/migrate.c, 7.2).

It differs from compaction's (:mod:`.compact_migrate`) in three points: destinations come from the allocator, it waits, and what
fails stays on the list.

Approximate: waiting for a lock and for writeback takes no time; a page is pinned for as long as its attributes say so.
"""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm import constants as k
from kevacuate.mm.evacuate_migrate import alloc_on_node
from kevacuate.mm.fields import CompactControl, View
from kevacuate.mm.migrate_batch import (
    batch_length,
    batch_result,
    begin_migration,
    count_failed,
    fail_folio,
    fail_rest,
    keep_untried,
    migrate_folios_move,
    place_folio,
    retake_failures,
    try_split_folio,
)
from kevacuate.mm.page_free import free_frozen_pages


@part
def alloc_contig_target(s: View, z: int, cc: CompactControl, order: int) -> int:
    """alloc_migration_target with alloc_contig_range's flags (:2191): a destination on the zone's node; -1 if there is none."""
    gfp = cc.gfp_mask | k.GFP_COMP
    if order > 0:
        gfp = (gfp & ~k.GFP_RECLAIM) | k.GFP_TRANSHUGE
    if s.zone[z].index == k.ZONE_MOVABLE:
        gfp |= k.GFP_HIGHMEM
    return alloc_on_node(s, s.stat.cpu, s.zone[z].node, order, gfp)


@part
def unmap_contig(
    s: View, z: int, cc: CompactControl, cpu: int, first: int, count: int, passes: int, mode: int
) -> tuple[int, int, bool]:
    """The unmap phase over *count* folios from *first* on (:1805). Returns (unmapped, left, enomem).

    In MIGRATE_ASYNC what is locked waits for the next pass, and what is under writeback fails.
    """
    keeps = k.ATTR_BUSY | k.ATTR_WRITEBACK if mode == k.MIGRATE_ASYNC else 0
    unmapped = 0
    for _ in range(passes):
        kept = 0
        for i in range(count):
            pfn = s.folios[first + i]
            order = s.meta[pfn] & 15
            stuck = s.link[2 * pfn + 1] & keeps
            dst = alloc_contig_target(s, z, cc, order)
            if dst < 0:
                if try_split_folio(s, cc, pfn, mode):
                    continue
                return unmapped, keep_untried(s, cc, first, kept, i, count), True
            if stuck:
                free_frozen_pages(s, cpu, dst, order)
            kept, unmapped = place_folio(s, cc, pfn, dst, stuck, first, kept, unmapped)
        count = kept
        if count == 0:
            break
    count_failed(s, cc, first, count)
    return unmapped, count, False


@part
def contig_batch(
    s: View, z: int, cc: CompactControl, cpu: int, first: int, count: int, passes: int, mode: int
) -> tuple[int, int]:
    """migrate_pages_batch (:1805). Returns (-ENOMEM, or how many folios failed or were split; folios left at *first*).

    Destinations of what failed to move are freed (migrate_folios_undo, :1788).
    """
    before = cc.nr_failures + cc.nr_split
    unmapped, left, enomem = unmap_contig(s, z, cc, cpu, first, count, passes, mode)
    failed = migrate_folios_move(s, cc, cpu, unmapped, True)
    for i in range(failed):
        pfn = s.folios[cc.unmapped + i]
        fail_folio(s, cc, pfn)
        free_frozen_pages(s, cpu, s.folios[cc.targets + i], s.meta[pfn] & 15)
    return batch_result(cc, before, left, enomem), left


@part
def contig_sync(s: View, z: int, cc: CompactControl, cpu: int, first: int, count: int) -> int:
    """migrate_pages_sync: a batch asynchronously, then what failed one by one (:2017).

    Returns -ENOMEM, or how many folios failed or were split.
    """
    before, splits = cc.nr_failures, cc.nr_split
    failed_pages = cc.failed_pages
    rc, left = contig_batch(s, z, cc, cpu, first, count, k.NR_MAX_MIGRATE_ASYNC_RETRY, k.MIGRATE_ASYNC)
    if rc < 0:
        fail_rest(s, cc, first, left)
        return rc
    cc.failed_pages = failed_pages
    left = retake_failures(s, cc, before, first, left)
    failed = cc.nr_split - splits
    for i in range(left):
        rc, kept = contig_batch(s, z, cc, cpu, first + i, 1, k.NR_MAX_MIGRATE_SYNC_RETRY, k.MIGRATE_SYNC)
        fail_rest(s, cc, first + i, kept)
        if rc < 0:
            fail_rest(s, cc, first + i + 1, left - i - 1)
            return rc
        failed += rc
    return failed


@part
def contig_parts(s: View, z: int, cc: CompactControl, cpu: int, enomem: bool) -> None:
    """The pages of split folios are tried, asynchronously and once, but after -ENOMEM; how many fail does not count (:2161)."""
    left = cc.nr_parts
    if left and not enomem:
        _, left = contig_batch(s, z, cc, cpu, cc.parts, left, 1, k.MIGRATE_ASYNC)
    fail_rest(s, cc, cc.parts, left)
    cc.nr_parts = 0


@part
def keep_failures(s: View, cc: CompactControl, done: int) -> None:
    """The list is what failed, then what was not tried: all from the *done*-th folio on (list_splice, :2150)."""
    failed, rest = cc.nr_failures, cc.nr_folios - done
    sources = cc.sources
    for i in range(rest):
        at = rest - 1 - i if failed > done else i
        s.folios[sources + failed + at] = s.folios[sources + done + at] + 0
    for i in range(failed):
        s.folios[sources + i] = s.folios[cc.failures + i]
    cc.nr_folios = failed + rest


@part(cold=True)
def migrate_contig(s: View, z: int, cc: CompactControl, cpu: int) -> int:
    """migrate_pages of what is on the list (:2094); what has not moved is left on it.

    Returns -ENOMEM, or how many folios failed or were split: 0 if all their pages have moved.
    """
    begin_migration(cc)
    result = done = 0
    while done < cc.nr_folios and result >= 0:
        count = batch_length(s, cc, done)
        rc = contig_sync(s, z, cc, cpu, cc.sources + done, count)
        contig_parts(s, z, cc, cpu, rc < 0)
        done += count
        result = rc if rc < 0 else result + rc
    keep_failures(s, cc, done)
    s.stat.pgmigrate_success += cc.succeeded
    s.stat.pgmigrate_fail += cc.failed_pages
    return 0 if cc.nr_folios == 0 else result
