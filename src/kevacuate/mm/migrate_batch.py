# SPDX-License-Identifier: GPL-2.0-or-later
"""What the batches of migrate_pages share, wherever their destinations come from (mm/migrate.c, 7.2).

The lists are those of a compact_control. Compaction takes destinations from its own free lists (:mod:`.compact_migrate`),
alloc_contig_range from the allocator (:mod:`.contig_migrate`). The allocator compacts, so the second is no callee of this file.
"""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm.constants import ATTR_BUSY, ATTR_PINNED, ENOMEM
from kevacuate.mm.fields import CompactControl, View
from kevacuate.mm.migrate import migrate_folio_move
from kevacuate.mm.split_folio import split_folio
from kevacuate.mm.swap import lru_add_batch_drain


@part
def add_failure(s: View, cc: CompactControl, pfn: int) -> None:
    """Put a folio at the end of ret_folios."""
    s.folios[cc.failures + cc.nr_failures] = pfn
    cc.nr_failures += 1


@part
def fail_folio(s: View, cc: CompactControl, pfn: int) -> None:
    """A folio has failed for good: it is counted, and goes to ret_folios."""
    cc.failed_pages += 1 << (s.meta[pfn] & 15)
    add_failure(s, cc, pfn)


@part
def count_failed(s: View, cc: CompactControl, first: int, count: int) -> None:
    """Count the pages of *count* folios from *first* on as failed."""
    for i in range(count):
        cc.failed_pages += 1 << (s.meta[s.folios[first + i]] & 15)


@part
def fail_rest(s: View, cc: CompactControl, first: int, left: int) -> None:
    """What a batch has left goes to ret_folios."""
    for i in range(left):
        add_failure(s, cc, s.folios[first + i])


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
def place_folio(
    s: View, cc: CompactControl, pfn: int, dst: int, stuck: int, first: int, kept: int, unmapped: int
) -> tuple[int, int]:
    """What the unmap phase does with a folio that has a destination (:1805). Returns (kept, unmapped) after it.

    *stuck* are the attributes that keep it: a locked one waits at *first* + *kept* for the next pass, another has failed.
    """
    if stuck & ATTR_BUSY:
        s.folios[first + kept] = pfn
        return kept + 1, unmapped
    if stuck:
        fail_folio(s, cc, pfn)
        return kept, unmapped
    s.folios[cc.unmapped + unmapped] = pfn
    s.folios[cc.targets + unmapped] = dst
    return kept, unmapped + 1


@part
def migrate_folios_move(s: View, cc: CompactControl, cpu: int, unmapped: int, drains: bool) -> int:
    """The move phase (:1743): what is pinned fails, and is moved up in both lists. Returns how many failed.

    *drains*: LRU batches are off (lru_cache_disable), so a folio reaches its list at once.
    """
    failed = 0
    for i in range(unmapped):
        pfn = s.folios[cc.unmapped + i]
        dst = s.folios[cc.targets + i]
        if s.link[2 * pfn + 1] & ATTR_PINNED:
            s.folios[cc.unmapped + failed] = pfn
            s.folios[cc.targets + failed] = dst
            failed += 1
            continue
        order = s.meta[pfn] & 15
        migrate_folio_move(s, cpu, pfn, dst, order)
        cc.succeeded += 1 << order
        if drains:
            lru_add_batch_drain(s, cpu)
    return failed


@part
def batch_result(cc: CompactControl, before: int, left: int, enomem: bool) -> int:
    """What a batch returns: -ENOMEM, or how many folios failed or were split; *before* it so many had."""
    return -ENOMEM if enomem else cc.nr_failures + cc.nr_split - before + left


@part
def retake_failures(s: View, cc: CompactControl, before: int, first: int, left: int) -> int:
    """Failures from number *before* on follow the *left* folios at *first*, to be tried again (:2017). Returns how many wait."""
    for i in range(before, cc.nr_failures):
        s.folios[first + left] = s.folios[cc.failures + i]
        left += 1
    cc.nr_failures = before
    return left


@part
def begin_migration(cc: CompactControl) -> None:
    """Nothing has moved, failed or been split yet."""
    cc.nr_failures = cc.succeeded = cc.failed_pages = 0
    cc.nr_parts = cc.nr_split = cc.split_pages = 0
