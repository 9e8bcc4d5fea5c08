# SPDX-License-Identifier: GPL-2.0-or-later
"""migrate_pages as a direct compaction calls it, at one moment of virtual time (mm/migrate.c, 7.2).

Approximate: a page is locked, pinned or under writeback for as long as its attributes say so, so waiting for it (MIGRATE_SYNC) is
not modelled beyond writeback, which MIGRATE_SYNC waits out.
"""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm.constants import (
    ATTR_BUSY,
    ATTR_WRITEBACK,
    MIGRATE_ASYNC,
    MIGRATE_SYNC,
    NR_MAX_MIGRATE_ASYNC_RETRY,
    NR_MAX_MIGRATE_PAGES_RETRY,
    NR_MAX_MIGRATE_SYNC_RETRY,
)
from kevacuate.mm.fields import CompactControl, View
from kevacuate.mm.isolate_freepages import compaction_alloc, compaction_free
from kevacuate.mm.migrate import put_source_back
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


@part
def migrate_folios_unmap(
    s: View, z: int, cc: CompactControl, first: int, count: int, passes: int, mode: int
) -> tuple[int, int, bool]:
    """The unmap phase over *count* folios from *first* on (:1805). Returns (unmapped, left, enomem).

    What is locked waits for the next pass and is left in the end, moved up to *first*; what is under writeback goes to the
    failed. A large folio without a destination is split; without one for what is not, the phase ends.
    """
    keeps = ATTR_BUSY if mode == MIGRATE_SYNC else ATTR_BUSY | ATTR_WRITEBACK
    unmapped = 0
    for _ in range(passes):
        kept = 0
        for i in range(count):
            pfn = s.folios[first + i]
            order = s.meta[pfn] & 15
            dst = compaction_alloc(s, z, cc, order)
            if dst < 0:
                if try_split_folio(s, cc, pfn, mode):
                    continue
                return unmapped, keep_untried(s, cc, first, kept, i, count), True
            stuck = s.link[2 * pfn + 1] & keeps
            if stuck:
                compaction_free(s, z, cc, dst, order)
            kept, unmapped = place_folio(s, cc, pfn, dst, stuck, first, kept, unmapped)
        count = kept
        if count == 0:
            break
    count_failed(s, cc, first, count)
    return unmapped, count, False


@part
def migrate_pages_batch(
    s: View, z: int, cc: CompactControl, cpu: int, first: int, count: int, passes: int, mode: int
) -> tuple[int, int]:
    """One batch (:1805). Returns (-ENOMEM, or how many folios failed or were split; folios left at *first*).

    Destinations of what failed to move are given back (migrate_folios_undo, :1788).
    """
    before = cc.nr_failures + cc.nr_split
    unmapped, left, enomem = migrate_folios_unmap(s, z, cc, first, count, passes, mode)
    failed = migrate_folios_move(s, cc, cpu, unmapped, False)
    for i in range(failed):
        pfn = s.folios[cc.unmapped + i]
        fail_folio(s, cc, pfn)
        compaction_free(s, z, cc, s.folios[cc.targets + i], s.meta[pfn] & 15)
    return batch_result(cc, before, left, enomem), left


@part
def migrate_pages_sync(s: View, z: int, cc: CompactControl, cpu: int, first: int, count: int) -> int:
    """A batch asynchronously, then what failed one by one (:2017). Returns -ENOMEM, or how many folios failed or were split.

    A direct compaction waits for no lock (PF_MEMALLOC), so the second round finds what the first has found; for a split it waits.
    """
    before, splits = cc.nr_failures, cc.nr_split
    failed_pages = cc.failed_pages
    rc, left = migrate_pages_batch(s, z, cc, cpu, first, count, NR_MAX_MIGRATE_ASYNC_RETRY, MIGRATE_ASYNC)
    if rc < 0:
        fail_rest(s, cc, first, left)
        return rc
    cc.failed_pages = failed_pages
    left = retake_failures(s, cc, before, first, left)
    failed = cc.nr_split - splits
    for i in range(left):
        rc, kept = migrate_pages_batch(s, z, cc, cpu, first + i, 1, NR_MAX_MIGRATE_SYNC_RETRY, cc.mode)
        fail_rest(s, cc, first + i, kept)
        if rc < 0:
            fail_rest(s, cc, first + i + 1, left - i - 1)
            return rc
        failed += rc
    return failed


@part
def migrate_parts(s: View, z: int, cc: CompactControl, cpu: int, enomem: bool) -> None:
    """The pages of split folios are tried, asynchronously and once; how many fail does not count (:2161).

    After -ENOMEM they are not tried.
    """
    left = cc.nr_parts
    if left and not enomem:
        _, left = migrate_pages_batch(s, z, cc, cpu, cc.parts, left, 1, MIGRATE_ASYNC)
    fail_rest(s, cc, cc.parts, left)
    cc.nr_parts = 0


@part
def list_sources(s: View, cc: CompactControl) -> None:
    """Put the sources in the order of cc->migratepages, whose first is the last isolated."""
    low, high = cc.sources, cc.sources + cc.nr_folios - 1
    while low < high:
        s.folios[low], s.folios[high] = s.folios[high] + 0, s.folios[low] + 0
        low += 1
        high -= 1


@part(cold=True)
def migrate_pages(s: View, z: int, cc: CompactControl, cpu: int) -> int:
    """Move cc->migratepages, and put back what failed (:2094, and putback_movable_pages of compact_zone).

    Returns -ENOMEM, or how many folios failed or were split: 0 if all their pages have moved.
    """
    list_sources(s, cc)
    begin_migration(cc)
    result = 0
    done = 0
    while done < cc.nr_folios and result >= 0:
        count = batch_length(s, cc, done)
        first = cc.sources + done
        if cc.mode == MIGRATE_ASYNC:
            rc, left = migrate_pages_batch(
                s, z, cc, cpu, first, count, NR_MAX_MIGRATE_PAGES_RETRY, MIGRATE_ASYNC
            )
            fail_rest(s, cc, first, left)
        else:
            rc = migrate_pages_sync(s, z, cc, cpu, first, count)
        migrate_parts(s, z, cc, cpu, rc < 0)
        done += count
        result = rc if rc < 0 else result + rc
    if cc.nr_failures == 0 and done == cc.nr_folios:
        result = 0
    for i in range(cc.nr_failures):
        put_source_back(s, cpu, s.folios[cc.failures + i])
    for i in range(done, cc.nr_folios):
        put_source_back(s, cpu, s.folios[cc.sources + i])
    s.stat.pgmigrate_success += cc.succeeded
    s.stat.pgmigrate_fail += cc.failed_pages
    cc.cost += cc.succeeded * s.cfg.migrate_ns
    return result
