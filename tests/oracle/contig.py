# SPDX-License-Identifier: GPL-2.0-or-later
"""Contiguous allocation of more than the largest buddy (`alloc_contig_pages`), and its free.

Sources: mm/page_alloc.c, mm/page_isolation.c, mm/compaction.c, mm/migrate.c. All of it acts on `m.cpu`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from .buddy import account_freepages, del_from_free_list, split_large_buddy
from .compaction import Batch, try_split_folio
from .constants import (
    A_BUSY,
    A_FILE,
    A_PINNED,
    A_WRITEBACK,
    ALLOC,
    BUDDY,
    ENOMEM,
    FPI_NONE,
    GFP_COMP,
    GFP_FS,
    GFP_HIGHMEM,
    GFP_KERNEL,
    GFP_MOVABLE,
    GFP_NOWARN,
    GFP_RECLAIM,
    GFP_RETRY_MAYFAIL,
    GFP_TRANSHUGE,
    ISOLATE,
    MOVABLE,
    SWAP_CLUSTER_MAX,
    ZONE_MOVABLE,
)
from .isolation import is_unmovable, set_migratetype_isolate, unset_migratetype_isolate
from .lru import drain_added, lru_add_drain_all
from .machine import Machine
from .migrate import (
    can_isolate,
    isolate_page,
    move_page,
    putback_movable_pages,
    reclaim_clean_pages_from_list,
)
from .page_alloc import alloc_pages, free_chunk, prepare_alloc_pages
from .pcp import drain_all_pages
from .regions import look, note
from .zone import Page, Zone

IGNORED = sum(
    1 << bit for bit in (0, 1, 2, 3, 4, 12, 20, 21)
)  # zones, reclaimable, WRITE, HARDWALL, THISNODE
PASSED_ON = GFP_KERNEL | GFP_NOWARN
ACCEPTED = PASSED_ON | GFP_RETRY_MAYFAIL | GFP_COMP | 1 << 8  # ZERO
TRIES = 5


@dataclass
class Contig:
    """One alloc_contig_range: its zone, the flags of its destinations, what it holds isolated (front first)."""

    zone: Zone
    gfp: int
    pages: list[int] = field(default_factory=list)


# Migration.


def target(m: Machine, work: Contig, order: int) -> int:
    """A destination; -1 if there is none."""
    gfp = work.gfp | GFP_COMP
    if order:
        gfp = gfp & ~GFP_RECLAIM | GFP_TRANSHUGE
    if work.zone.index == ZONE_MOVABLE:
        gfp |= GFP_HIGHMEM
    return alloc_pages(m, work.zone.node, order, MOVABLE, gfp, 0, -1)


def batch_of(
    m: Machine, work: Contig, todo: list[int], batch: Batch, passes: int, waits: bool
) -> tuple[int, list[int]]:
    """`migrate_pages_batch`: (-ENOMEM or the folios that failed, those that are left)."""
    unmapped: list[tuple[int, int]] = []
    failures, left, no_memory = 0, todo, False
    for _ in range(passes):
        todo, left = left, []
        for number, pfn in enumerate(todo):
            page = replace(m.heads[pfn])
            dst = target(m, work, page.order)
            if dst < 0 and try_split_folio(m, batch, page, waits):
                failures += 1
            elif dst < 0:
                batch.failed_pages += page.size + sum(m.heads[waiting].size for waiting in left)
                left += todo[number:]
                no_memory = True
                break
            elif page.attr & A_BUSY and not waits:
                free_chunk(m, m.heads[dst])
                left.append(pfn)
            elif page.attr & A_WRITEBACK and not waits:
                free_chunk(m, m.heads[dst])
                batch.failed.append(pfn)
                batch.failed_pages += page.size
                failures += 1
            else:
                m.reached["contig: waited for a folio"] += bool(page.attr & (A_BUSY | A_WRITEBACK))
                unmapped.append((pfn, dst))
        if no_memory or not left:
            break
    if not no_memory:
        failures += len(left)
        batch.failed_pages += sum(m.heads[waiting].size for waiting in left)
    pinned = move_all(m, batch, unmapped)
    return -ENOMEM if no_memory else failures + pinned, left


def move_all(m: Machine, batch: Batch, unmapped: list[tuple[int, int]]) -> int:
    """The move phase; how many folios are pinned."""
    pinned = []
    for pfn, dst in unmapped:
        page = m.heads[pfn]
        if page.attr & A_PINNED:
            pinned.append((pfn, dst))
            continue
        batch.succeeded += page.size
        move_page(m, page, m.heads[dst])
        drain_added(m)
    for pfn, dst in pinned:
        batch.failed.append(pfn)
        batch.failed_pages += m.heads[pfn].size
        free_chunk(m, m.heads[dst])
    m.reached["contig: pinned"] += len(pinned)
    return len(pinned)


def sync(m: Machine, work: Contig, todo: list[int], batch: Batch) -> int:
    """`migrate_pages_sync`: all at once, then one by one and waiting."""
    first = Batch(parts=batch.parts)
    ret, left = batch_of(m, work, todo, first, 3, False)
    batch.succeeded += first.succeeded
    batch.splits += first.splits
    if ret < 0:
        batch.failed_pages += first.failed_pages
        batch.failed += first.failed + left
        return ret
    left += first.failed
    failures = first.splits
    while left:
        ret, again = batch_of(m, work, [left.pop(0)], batch, 7, True)
        batch.failed += again
        if ret < 0:
            batch.failed += left
            return ret
        failures += ret
    return failures


def try_parts(m: Machine, work: Contig, batch: Batch, no_memory: bool) -> None:
    """What was split is tried once more, page by page."""
    parts, batch.parts = batch.parts or [], None
    if parts and not no_memory:
        m.reached["contig: pages of split folios"] += 1
        _, parts = batch_of(m, work, parts, batch, 1, False)
    batch.failed += parts
    batch.parts = []


def migrate_pages(m: Machine, work: Contig) -> int:
    """Move what is isolated; what has not moved stays on the list. -ENOMEM, or the folios that failed."""
    most = 1 << m.config.hpage_pmd_order if m.config.hpage_pmd_order >= 0 else 512
    batch, rest, result = Batch(), work.pages, 0
    while rest and result >= 0:
        count, pages = 0, 0
        while count < len(rest) and pages < most:
            pages += m.heads[rest[count]].size
            count += 1
        todo, rest = rest[:count], rest[count:]
        m.reached["contig: several batches"] += bool(rest)
        ret = sync(m, work, todo, batch)
        try_parts(m, work, batch, ret < 0)
        result = ret if ret < 0 else result + ret
    work.pages = batch.failed + rest
    m.events["pgmigrate_success"] += batch.succeeded
    m.events["pgmigrate_fail"] += batch.failed_pages
    m.events["contig_migrated"] += batch.succeeded
    m.events["contig_ns"] += batch.succeeded * m.config.migrate_ns
    return result if work.pages else 0


# The range.


def too_many_isolated(m: Machine, work: Contig) -> bool:
    """Whether more pages are isolated than the node's lists should bear."""
    zones = m.node_zones[work.zone.node]
    share = 16 if work.gfp & GFP_FS else 2
    return sum(z.nr_isolated for z in zones) > sum(z.nr_lru for z in zones) // share


def isolate_block(m: Machine, work: Contig, pfn: int, end: int, nr: int) -> tuple[int, int]:
    """Take folios until there are 32 pages; (where it stopped, the pages so far)."""
    while pfn < end and nr < SWAP_CLUSTER_MAX:
        page = m.heads.get(pfn)
        if page is None:
            pfn += 1
            continue
        if can_isolate(page) and (work.gfp & GFP_FS or not page.attr & A_FILE):
            isolate_page(m, work.zone, page)
            work.pages.insert(0, pfn)
            nr += page.size
        pfn += page.size
    return min(pfn, end), nr


def isolate_from(m: Machine, work: Contig, pfn: int, end: int) -> int:
    """`isolate_migratepages_range`: where it stopped."""
    first, nr = pfn, 0
    stopped = pfn
    while pfn < end and nr < SWAP_CLUSTER_MAX:
        stopped = pfn
        if nr and too_many_isolated(m, work):
            m.reached["contig: too many isolated"] += 1
            break
        following = pfn - pfn % m.block_pages + m.block_pages
        stopped, nr = isolate_block(m, work, pfn, following, nr)
        pfn = following
    m.events["compact_isolated"] += nr
    m.events["contig_ns"] += (stopped - first) * m.config.scan_ns + nr * m.config.isolate_ns
    return stopped


def migrate_range(m: Machine, work: Contig, start: int, end: int) -> bool:
    """`__alloc_contig_migrate_range`: False for want of memory."""
    lru_add_drain_all(m)
    pfn, tries, result = start, 0, 0
    while pfn < end or work.pages:
        if not work.pages:
            pfn = isolate_from(m, work, pfn, end)
            tries = 0
        else:
            tries += 1
            if tries == TRIES:
                m.reached["contig: gave up on a list"] += 1
                break
        dropped, work.pages = reclaim_clean_pages_from_list(m, work.pages)
        m.events["contig_reclaimed"] += dropped
        m.events["contig_ns"] += dropped * m.config.reclaim_ns
        result = migrate_pages(m, work)
        if result < 0:
            m.reached["contig: no memory for destinations"] += 1
            break
    putback_movable_pages(m, work.pages)
    work.pages = []
    return result >= 0


def blocks_of(m: Machine, start: int, end: int) -> list[int]:
    """Numbers of the blocks of a range."""
    return list(range(start // m.block_pages, end // m.block_pages))


def isolate_range(m: Machine, start: int, end: int) -> bool:
    """`start_isolate_page_range`: the first block, the last, those between; all or none."""
    blocks = blocks_of(m, start, end)
    done: list[int] = []
    for number in [blocks[0], *blocks[:0:-1][:1], *blocks[1:-1]]:
        if not set_migratetype_isolate(m, number):
            undo = [n for n in done if n != blocks[-1] or len(blocks) == 1]
            for again in [*undo, *[n for n in done if n not in undo]]:
                unset_migratetype_isolate(m, again)
            m.reached["contig: range not isolated"] += 1
            return False
        done.append(number)
    return True


def take_free(m: Machine, zone: Zone, start: int, end: int, obj: int) -> None:
    """The range, all free, becomes the object's."""
    pfn = start
    while pfn < end:
        size = m.heads[pfn].size
        mt = m.get_pageblock_migratetype(pfn)
        del_from_free_list(m, zone, pfn, mt)
        account_freepages(zone, -size, mt)
        pfn += size
    m.events["compact_isolated"] += end - start
    order = m.config.max_page_order
    for pfn in range(start, end, 1 << order):
        m.heads[pfn] = Page(pfn, order, ALLOC, obj=obj if pfn == start else -1)
        note(m, pfn, MOVABLE)
    m.contig[start] = end - start
    if obj >= 0:
        m.obj_pfn[obj] = start


def is_free(m: Machine, start: int, end: int) -> bool:
    """`test_pages_isolated`."""
    pfn = start
    while pfn < end:
        page = m.heads.get(pfn)
        if page is None or page.state != BUDDY:
            return False
        assert page.mt == ISOLATE
        pfn += page.size
    return True


def alloc_range(m: Machine, zone: Zone, start: int, end: int, gfp: int, obj: int) -> bool:
    """`alloc_contig_frozen_range`."""
    m.events["contig_ranges"] += 1
    if not isolate_range(m, start, end):
        return False
    drain_all_pages(m, zone)
    work = Contig(zone, gfp & PASSED_ON | GFP_MOVABLE | GFP_RETRY_MAYFAIL)
    got = migrate_range(m, work, start, end)
    if got and not is_free(m, start, end):
        m.reached["contig: range not free in the end"] += 1
        got = False
    if got:
        take_free(m, zone, start, end, obj)
    for number in blocks_of(m, start, end):
        unset_migratetype_isolate(m, number)
    return got


# The search.


def is_valid(m: Machine, zone: Zone, start: int, end: int) -> bool:
    """`pfn_range_valid_contig`."""
    pfn = start
    while pfn < end:
        m.events["contig_scanned"] += 1
        page = m.heads.get(pfn)
        if page is None or m.zone_of(pfn) is not zone or is_unmovable(zone, page):
            return False
        pfn += page.size
    return True


def ranges(zone: Zone, size: int) -> Iterator[int]:
    """First pfns of the aligned ranges that lie in a zone."""
    start = -(-zone.start_pfn // size) * size
    while start + size <= zone.end_pfn:
        yield start
        start += size


def pages_in_use(m: Machine, zone: Zone, start: int, end: int) -> int | None:
    """How many pages of a range of whole regions are not free; None if one is tainted, has a hole or is another zone's."""
    size = 1 << m.config.region_order
    held = [look(m, zone, at, at + size) for at in range(start, end, size)]
    if any(region.tainted or region.reserved or region.contig for region in held):
        return None
    return sum(size - region.free_pages for region in held)


def next_cheapest(m: Machine, zone: Zone, order: int, last: tuple[int, int]) -> tuple[int, int] | None:
    """(pages in use, first pfn) of the cheapest range behind the last one, that has enough free."""
    size = 1 << order
    most = size - size * m.config.region_contig_free // 100
    used = [(pages_in_use(m, zone, start, start + size), start) for start in ranges(zone, size)]
    behind = [(cost, start) for cost, start in used if cost is not None and cost <= most]
    return min((one for one in behind if one > last), default=None)


def by_regions(m: Machine, zone: Zone, order: int, gfp: int, obj: int) -> int:
    """The cheapest range that can be had. What is cheap is asked anew after each failure, which changes it."""
    tried, last = 0, next_cheapest(m, zone, order, (-1, -1))
    while last and not 0 < m.config.region_contig_tries <= tried:
        m.reached["contig: by regions"] += 1
        if alloc_range(m, zone, last[1], last[1] + (1 << order), gfp, obj):
            return last[1]
        tried += 1
        last = next_cheapest(m, zone, order, last)
    return -1


def in_zone(m: Machine, zone: Zone, order: int, gfp: int, obj: int) -> int:
    """The first range of a zone that can be had."""
    size = 1 << order
    for start in ranges(zone, size):
        if is_valid(m, zone, start, start + size) and alloc_range(m, zone, start, start + size, gfp, obj):
            return start
    return -1


def alloc_contig_pages(m: Machine, nid: int, order: int, gfp: int, obj: int) -> int:
    """More than MAX_PAGE_ORDER has; the pfn, or -1."""
    looked, pfn = m.events["contig_scanned"], -1
    if not gfp & ~(IGNORED | ACCEPTED):
        regions = m.config.region_contig and order >= m.config.region_order
        for zone in prepare_alloc_pages(m, nid, order, MOVABLE, gfp).zones:
            pfn = (by_regions if regions else in_zone)(m, zone, order, gfp, obj)
            if pfn >= 0:
                break
    else:
        m.reached["contig: flags refused"] += 1
    m.events["contig_ns"] += (m.events["contig_scanned"] - looked) * m.config.scan_ns
    m.events["contig_success" if pfn >= 0 else "contig_fail"] += 1
    if pfn < 0 and obj >= 0:
        m.obj_pfn[obj] = -1
    return pfn


def free_contig_pages(m: Machine, pfn: int, order: int) -> None:
    """`free_frozen_pages` of such an allocation."""
    obj = m.heads[pfn].obj
    if obj >= 0:
        m.obj_pfn[obj] = -1
    del m.contig[pfn]
    largest = m.config.max_page_order
    for start in range(pfn, pfn + (1 << order), 1 << largest):
        page = m.heads.pop(start)
        assert (page.state, page.order) == (ALLOC, largest)
        note(m, start, None)
        split_large_buddy(m, m.zone_of(start), start, largest, FPI_NONE)
