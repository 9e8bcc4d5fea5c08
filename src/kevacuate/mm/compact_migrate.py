# SPDX-License-Identifier: GPL-2.0-or-later
"""migrate_pages as a direct compaction calls it, at one moment of virtual time (mm/migrate.c, 7.2).

Approximate: a page is locked, pinned or under writeback for as long as its attributes say so, so waiting for it (MIGRATE_SYNC) is
not modelled beyond writeback, which MIGRATE_SYNC waits out.
"""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm.constants import (
    ATTR_BUSY,
    ATTR_PINNED,
    ATTR_WRITEBACK,
    ENOMEM,
    MIGRATE_ASYNC,
    MIGRATE_SYNC,
    NR_MAX_MIGRATE_ASYNC_RETRY,
    NR_MAX_MIGRATE_PAGES_RETRY,
    NR_MAX_MIGRATE_SYNC_RETRY,
)
from kevacuate.mm.fields import CompactControl, View
from kevacuate.mm.isolate_freepages import compaction_alloc, compaction_free
from kevacuate.mm.migrate import migrate_folio_move, put_source_back
from kevacuate.mm.split_folio import split_folio


@part
def add_failure(s: View, cc: CompactControl, pfn: int) -> None:
    """Put a folio at the end of ret_folios."""
    s.folios[cc.failures + cc.nr_failures] = pfn
    cc.nr_failures += 1


@part
def count_failed(s: View, cc: CompactControl, first: int, count: int) -> None:
    """Count the pages of *count* folios from *first* on as failed."""
    for i in range(count):
        cc.failed_pages += 1 << (s.meta[s.folios[first + i]] & 15)


@part
def try_split_folio(s: View, cc: CompactControl, pfn: int, mode: int) -> bool:
    """Split a folio that has no destination: its other pages and then its first wait to be tried by themselves (:1585)."""
    order = s.meta[pfn] & 15
    if order == 0 or s.cfg.open_loop or not split_folio(s, pfn, mode):
        return False
    pages = 1 << order
    at = cc.parts + cc.nr_parts
    for i in range(1, pages):
        s.folios[at + i - 1] = pfn + i
    s.folios[at + pages - 1] = pfn
    cc.nr_parts += pages
    cc.nr_split += 1
    cc.split_pages += pages
    return True


@part
def keep_untried(s: View, cc: CompactControl, first: int, kept: int, at: int, count: int) -> int:
    """-ENOMEM for the folio at *at* of *count*: it and the untried ones stay behind the *kept* ones. Returns how many stay."""
    count_failed(s, cc, first, kept)
    count_failed(s, cc, first + at, 1)
    for i in range(at, count):
        s.folios[first + kept] = s.folios[first + i]
        kept += 1
    return kept


@part
def migrate_folios_unmap(
    s: View, z: int, cc: CompactControl, first: int, count: int, passes: int, mode: int
) -> tuple[int, int, bool]:
    """The unmap phase over *count* folios from *first* on (:1805). Returns (unmapped, left, enomem).

    What is locked waits for the next pass and is left in the end, moved up to *first*; what is under writeback goes to the
    failed. A large folio without a destination is split; without one for what is not, the phase ends.
    """
    unmapped = 0
    for _ in range(passes):
        kept = 0
        for i in range(count):
            pfn = s.folios[first + i]
            order = s.meta[pfn] & 15
            attr = s.link[2 * pfn + 1] + 0
            dst = compaction_alloc(s, z, cc, order)
            if dst < 0:
                if try_split_folio(s, cc, pfn, mode):
                    continue
                return unmapped, keep_untried(s, cc, first, kept, i, count), True
            if attr & ATTR_BUSY:
                compaction_free(s, z, cc, dst, order)
                s.folios[first + kept] = pfn
                kept += 1
            elif attr & ATTR_WRITEBACK and mode != MIGRATE_SYNC:
                compaction_free(s, z, cc, dst, order)
                cc.failed_pages += 1 << order
                add_failure(s, cc, pfn)
            else:
                s.folios[cc.unmapped + unmapped] = pfn
                s.folios[cc.targets + unmapped] = dst
                unmapped += 1
        count = kept
        if count == 0:
            break
    count_failed(s, cc, first, count)
    return unmapped, count, False


@part
def migrate_folios_move(s: View, z: int, cc: CompactControl, cpu: int, unmapped: int) -> None:
    """The move phase (:1743): what is pinned fails. Its destination is given back, by migrate_folios_undo (:1774)."""
    failed = 0
    for i in range(unmapped):
        pfn = s.folios[cc.unmapped + i]
        dst = s.folios[cc.targets + i]
        order = s.meta[pfn] & 15
        if s.link[2 * pfn + 1] & ATTR_PINNED:
            s.folios[cc.unmapped + failed] = pfn
            s.folios[cc.targets + failed] = dst
            failed += 1
        else:
            migrate_folio_move(s, cpu, pfn, dst, order)
            cc.succeeded += 1 << order
    for i in range(failed):
        pfn = s.folios[cc.unmapped + i]
        order = s.meta[pfn] & 15
        add_failure(s, cc, pfn)
        cc.failed_pages += 1 << order
        compaction_free(s, z, cc, s.folios[cc.targets + i], order)


@part
def migrate_pages_batch(
    s: View, z: int, cc: CompactControl, cpu: int, first: int, count: int, passes: int, mode: int
) -> tuple[int, int]:
    """One batch (:1805). Returns (-ENOMEM, or how many folios failed or were split; folios left at *first*)."""
    before = cc.nr_failures + cc.nr_split
    unmapped, left, enomem = migrate_folios_unmap(s, z, cc, first, count, passes, mode)
    migrate_folios_move(s, z, cc, cpu, unmapped)
    if enomem:
        return -ENOMEM, left
    return cc.nr_failures + cc.nr_split - before + left, left


@part
def fail_rest(s: View, cc: CompactControl, first: int, left: int) -> None:
    """What a batch has left goes to ret_folios."""
    for i in range(left):
        add_failure(s, cc, s.folios[first + i])


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
    for i in range(before, cc.nr_failures):
        s.folios[first + left] = s.folios[cc.failures + i]
        left += 1
    cc.nr_failures = before
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
def batch_length(s: View, cc: CompactControl, first: int) -> int:
    """How many folios from *first* on make a batch: NR_MAX_BATCHED_MIGRATION pages, a huge page's (:1602)."""
    most = 1 << s.cfg.compaction_hpage_order
    pages = 0
    i = first
    while i < cc.nr_folios and pages < most:
        pages += 1 << (s.meta[s.folios[cc.sources + i]] & 15)
        i += 1
    return i - first


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
    cc.nr_failures = cc.succeeded = cc.failed_pages = 0
    cc.nr_parts = cc.nr_split = cc.split_pages = 0
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
