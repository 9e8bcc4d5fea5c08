# SPDX-License-Identifier: GPL-2.0-or-later
"""Direct compaction, page by page as in mm/compaction.c: both scanners, migrate_pages, results, deferral, capture.

What cannot happen in one moment is left out: contended locks, signals, folios freed while they are isolated. The scanners are
kcompactd's too (:mod:`.compact_node`), which has no request: `direct` says which.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from .buddy import account_freepages, del_from_free_list, move_freepages_block
from .constants import (
    A_BUSY,
    A_FILE,
    A_MLOCKED,
    A_MOVABLE_OPS,
    A_ON_LRU,
    A_PINNED,
    A_WRITEBACK,
    AF_CMA,
    ALLOC,
    BUDDY,
    CMA,
    COMPACT,
    COMPACT_COMPLETE,
    COMPACT_CONTENDED,
    COMPACT_CONTINUE,
    COMPACT_DEFERRED,
    COMPACT_PARTIAL_SKIPPED,
    COMPACT_SKIPPED,
    COMPACT_SUCCESS,
    COSTLY_ORDER,
    ENOMEM,
    GFP_FS,
    GFP_IO,
    ISOLATE,
    ISOLATED,
    L_COMPACT_BEGIN,
    L_COMPACT_END,
    L_COMPACT_MIGRATE,
    L_LIST,
    LIST_ROTATE_FIRST,
    LIST_ROTATE_LAST,
    MOVABLE,
    PCPTYPES,
    PRIO_ASYNC,
    PRIO_FULL,
    SWAP_CLUSTER_MAX,
    WMARK_LOW,
    WMARK_MASK,
    WMARK_MIN,
)
from .fallback import find_suitable_fallback
from .kcompactd import compact_gap, deferred, fails_for_want_of_memory
from .lru import lru_add_drain
from .machine import Machine
from .migrate import isolate_page, move_page, putback_movable_pages
from .pcp import drain_pages_zone, free_frozen_pages
from .regions import note, note_part
from .split import split_folio
from .watermark import zone_watermark_ok
from .zone import Page, PageList, Zone

CLUSTER = SWAP_CLUSTER_MAX


@dataclass
class Control:
    """`struct compact_control`. Lists are Python lists of pfns, front first."""

    zone: Zone
    order: int
    search_order: int
    mt: int
    gfp: int
    flags: int
    highest: int
    asynchronous: bool
    full: bool  # ignore_skip_hint
    whole_zone: bool
    any_block: bool = False  # ignore_block_suitable
    direct: bool = True
    proactive: bool = False
    migrate_pfn: int = 0
    free_pfn: int = 0
    fast_search_fail: int = 0
    fast_start: int | None = 0  # 0: none yet, None: spent
    finish_pageblock: bool = False
    last_migrated: int = 0
    migratepages: list[int] = field(default_factory=list)
    nr_migratepages: int = 0
    freepages: dict[int, list[int]] = field(default_factory=dict)
    nr_freepages: int = 0
    migrate_scanned: int = 0
    free_scanned: int = 0
    isolated: int = 0  # pages isolated for migration
    walked: int = 0  # how far the migrate scanner has come in its block at the last look
    moved: int = 0


def start_of_block(m: Machine, pfn: int) -> int:
    """`pageblock_start_pfn`."""
    return pfn - pfn % m.block_pages


def suits(m: Machine, zone: Zone, order: int, highest: int, flags: int, asynchronous: bool) -> int:
    """`compaction_suit_allocation_order` as a direct compaction asks."""
    mark = zone.wmark_pages(flags & WMARK_MASK)
    if zone_watermark_ok(zone, order, mark, highest, flags):
        return COMPACT_SUCCESS
    outside_cma = asynchronous and order > COSTLY_ORDER and not flags & AF_CMA
    if outside_cma and not zone_watermark_ok(zone, 0, mark + compact_gap(order), highest, 0):
        m.reached["asynchronous compaction would use CMA"] += 1
        return COMPACT_SKIPPED
    if not leaves_enough(zone, order, mark, highest, zone.nr_free):
        return COMPACT_SKIPPED
    if order > COSTLY_ORDER and fails_for_want_of_memory(m, zone, order):
        return COMPACT_SKIPPED
    return COMPACT_CONTINUE


def leaves_enough(zone: Zone, order: int, mark: int, highest: int, free: int) -> bool:
    """`__compaction_suitable`."""
    mark += compact_gap(order)
    if order > COSTLY_ORDER:
        mark += zone.watermark[WMARK_LOW] - zone.watermark[WMARK_MIN]
    return zone_watermark_ok(zone, 0, mark, highest, AF_CMA, free)


# Skip bits.


def persistent_skip(m: Machine, pfn: int) -> bool:
    """Whether the page belongs to a compound page of at least a block."""
    page = m.covering(pfn)
    return page is not None and page.state in (ALLOC, ISOLATED) and page.order >= m.config.pageblock_order


def reset_isolation_pfn(m: Machine, zone: Zone, pfn: int, source: bool, target: bool) -> bool:
    """`__reset_isolation_pfn`."""
    block = m.block_of(pfn)
    if m.zone_of(pfn) is not zone or persistent_skip(m, pfn):
        return False
    if source and target and not block.skip:
        return True
    if target and not source and m.get_pageblock_migratetype(pfn) != MOVABLE:
        return False
    start = start_of_block(m, pfn)
    first, end = max(start, zone.start_pfn), min(start + m.block_pages, zone.end_pfn)
    for sample in range(first, end, 1 << COSTLY_ORDER):
        page = m.covering(sample)
        if page is None:
            continue
        lru = page.state == ALLOC and page.attr & A_ON_LRU
        if (source and lru) or (target and page.state == BUDDY and page.pfn == sample):
            block.skip = False
            return True
    return False


def reset_isolation_suitable(m: Machine, zone: Zone) -> None:
    """`__reset_isolation_suitable`."""
    if not zone.blockskip_flush:
        return
    m.reached["skip bits flushed"] += 1
    zone.blockskip_flush = False
    low, high = zone.start_pfn, zone.end_pfn - 1
    source_at, target_at = high, low
    source_set = target_set = False
    while low < high:
        if reset_isolation_pfn(m, zone, low, True, source_set) and low < source_at:
            source_set, source_at = True, low
            zone.init_migrate_pfn = zone.cached_migrate_pfn = zone.cached_migrate_sync = low
        if reset_isolation_pfn(m, zone, high, target_set, True) and high > target_at:
            target_set, target_at = True, high
            zone.init_free_pfn = zone.cached_free_pfn = high
        low += m.block_pages
        high -= m.block_pages
    if source_at >= target_at:
        zone.cached_migrate_pfn = zone.cached_migrate_sync = low
        zone.cached_free_pfn = high


# The free scanner.


def isolate_free_page(m: Machine, cc: Control, pfn: int) -> bool:
    """`__isolate_free_page` onto cc->freepages."""
    zone, page = cc.zone, m.heads[pfn]
    mt = m.get_pageblock_migratetype(pfn)
    mark = zone.watermark[WMARK_MIN] + page.size
    if mt != ISOLATE and not zone_watermark_ok(zone, 0, mark, 0, AF_CMA):
        m.reached["free page not isolated: below MIN"] += 1
        return False
    del_from_free_list(m, zone, pfn, mt)
    account_freepages(zone, -page.size, mt)
    if page.order >= m.config.pageblock_order - 1:
        for start in range(pfn, pfn + page.size, m.block_pages):
            mt = m.get_pageblock_migratetype(start)
            if mt < PCPTYPES:
                move_freepages_block(m, zone, start, mt, MOVABLE)
    m.heads[pfn] = Page(pfn, page.order, COMPACT)
    note(m, pfn, MOVABLE)
    cc.freepages.setdefault(page.order, []).append(pfn)
    cc.nr_freepages += page.size
    m.events["compact_isolated"] += page.size
    return True


def isolate_freepages_block(m: Machine, cc: Control, pfn: int, end: int, stride: int) -> tuple[int, int]:
    """Where it stopped, and the pages taken."""
    taken = 0
    while pfn < end:
        cc.free_scanned += 1
        page = m.heads.get(pfn)
        if page is not None and page.state in (ALLOC, ISOLATED) and pfn + page.size <= end:
            cc.free_scanned += page.size - 1
            pfn += page.size - 1
        elif page is not None and page.state == BUDDY:
            if not isolate_free_page(m, cc, pfn):
                break
            cc.free_scanned += page.size - 1
            taken += page.size
            if cc.nr_migratepages <= cc.nr_freepages:
                pfn += page.size
                break
            pfn += page.size - 1
        pfn += stride
    return min(pfn, end), taken


def target_block(m: Machine, cc: Control, start: int) -> tuple[int, int] | None:
    """First page and end of the block at `start` as far as the zone reaches, if it is the zone's (`pageblock_pfn_to_page`)."""
    end = min(start + m.block_pages, cc.zone.end_pfn)
    if start < 0 or start >= cc.zone.end_pfn or end <= cc.zone.start_pfn or m.zone_of(start) is not cc.zone:
        return None
    return max(start, cc.zone.start_pfn), end


def suitable_target(m: Machine, cc: Control, pfn: int) -> bool:
    """`suitable_migration_target`."""
    page = m.heads.get(pfn)
    wanted = cc.order if cc.order > 0 else m.config.pageblock_order
    if page is not None and page.state == BUDDY and page.order >= wanted:
        return False
    return cc.any_block or m.get_pageblock_migratetype(pfn) in (MOVABLE, CMA)


def rotate_to_front(m: Machine, pages: PageList, pfn: int) -> None:
    """`move_freelist_head`: what stands before `pfn` goes to the tail."""
    if pages.head() != pfn:
        m.log(L_LIST, pfn, LIST_ROTATE_FIRST, m.heads[pfn].order, m.get_pageblock_migratetype(pfn))
    for before in list(pages):
        if before == pfn:
            return
        pages.remove(before)
        pages.add_tail(before)


def rotate_to_end(m: Machine, pages: PageList, pfn: int) -> None:
    """`move_freelist_tail`: `pfn` and what stands before it goes to the tail."""
    if pages.tail() == pfn:
        return
    m.log(L_LIST, pfn, LIST_ROTATE_LAST, m.heads[pfn].order, m.get_pageblock_migratetype(pfn))
    for before in list(pages):
        pages.remove(before)
        pages.add_tail(before)
        if before == pfn:
            return


def scan_limit(cc: Control) -> int:
    """`freelist_scan_limit`."""
    return (CLUSTER >> min(63, cc.fast_search_fail)) + 1


def next_order(cc: Control, order: int) -> int:
    """`next_search_order`."""
    order = order - 1 if order > 0 else cc.order - 1
    if order == cc.search_order:
        cc.search_order = cc.search_order - 1 if cc.search_order > 0 else cc.order - 1
        return -1
    return order


def fast_isolate_freepages(m: Machine, cc: Control) -> None:
    """Search the movable free lists, from their tails, for a page high in the zone."""
    zone = cc.zone
    if cc.order <= 0:
        return
    limit = max(1, scan_limit(cc) >> 1)
    scan_start = cc.free_pfn >= zone.init_free_pfn
    if scan_start:
        limit = m.block_pages >> 1
    distance = cc.free_pfn - cc.migrate_pfn
    if distance < 0 and not m.config.open_loop:
        distance += 1 << 64
    low_pfn = start_of_block(m, cc.free_pfn - (distance >> 2) & (1 << 64) - 1)
    min_pfn = start_of_block(m, cc.free_pfn - (distance >> 1) & (1 << 64) - 1)
    cc.search_order = min(cc.order - 1, cc.search_order)
    found, highest = -1, 0
    order = cc.search_order
    while found < 0 and order >= 0:
        pages = zone.free_area[order].free_list[MOVABLE]
        if zone.free_area[order].nr_free == 0:
            order = next_order(cc, order)
            continue
        seen, best, at = 0, 0, -1
        for pfn in reversed(list(pages)):
            seen += 1
            cc.free_scanned += 1
            if pfn >= highest:
                highest = max(start_of_block(m, pfn), zone.start_pfn)
            if pfn >= low_pfn:
                cc.fast_search_fail, cc.search_order = 0, order
                found = at = pfn
                break
            if pfn >= min_pfn and pfn > best:
                best = pfn
                limit >>= 1
            if seen >= limit:
                at = pfn
                break
        if found < 0 and best:
            found = at = best
        if at >= 0:
            rotate_to_front(m, pages, at)
        if found >= 0 and isolate_free_page(m, cc, found):
            cc.free_scanned += (1 << order) - 1
        elif found >= 0:
            order, found = cc.search_order + 1, -1
        if cc.nr_freepages >= cc.nr_migratepages:
            break
        if seen >= limit:
            limit = max(1, limit >> 1)
        order = next_order(cc, order)
    if found < 0:
        found = nothing_found(m, cc, scan_start, highest, min_pfn)
    if highest and highest >= zone.cached_free_pfn:
        zone.cached_free_pfn = highest - m.block_pages
    if found >= 0:
        fast_isolate_around(m, cc, found)


def nothing_found(m: Machine, cc: Control, scan_start: bool, highest: int, min_pfn: int) -> int:
    """Where the linear scan begins then: at the highest page seen, else halfway down."""
    cc.fast_search_fail += 1
    if not scan_start:
        return -1
    if highest >= min_pfn:
        cc.free_pfn = highest
        return highest
    if not cc.direct or min_pfn >= 1 << 63:
        return -1
    m.reached["fast search: nothing, goes on halfway"] += 1
    cc.free_pfn = min_pfn
    block = target_block(m, cc, min_pfn)
    return min_pfn if block and suitable_target(m, cc, block[0]) else -1


def fast_isolate_around(m: Machine, cc: Control, pfn: int) -> None:
    """The rest of the block that was found; not in asynchronous compaction."""
    if cc.nr_freepages >= cc.nr_migratepages or cc.asynchronous:
        return
    block = target_block(m, cc, start_of_block(m, pfn))
    if block:
        stopped, _ = isolate_freepages_block(m, cc, *block, 1)
        if stopped == block[1]:
            m.block_of(pfn).skip = True


def isolate_freepages(m: Machine, cc: Control) -> None:
    """Fill cc->freepages."""
    fast_isolate_freepages(m, cc)
    if cc.nr_freepages:
        return
    pfn = cc.free_pfn
    start = start_of_block(m, pfn)
    lowest = start_of_block(m, cc.migrate_pfn) + m.block_pages
    stride = CLUSTER if cc.asynchronous else 1
    while start >= lowest:
        block = target_block(m, cc, start)
        usable = block is not None and suitable_target(m, cc, block[0])
        if block is None or not usable or (m.block_of(start).skip and not cc.full):
            start -= m.block_pages
            pfn = start
            continue
        pfn, taken = isolate_freepages_block(m, cc, pfn, block[1], stride)
        if pfn == block[1]:
            m.block_of(start).skip = True
            cc.zone.cached_free_pfn = min(cc.zone.cached_free_pfn, start - m.block_pages)
        if cc.nr_freepages >= cc.nr_migratepages:
            if pfn >= block[1]:
                pfn = start - m.block_pages
            break
        if pfn < block[1]:
            break
        stride = 1 if taken else min(CLUSTER, stride * 2)
        start -= m.block_pages
        pfn = start
    cc.free_pfn = pfn


def compaction_alloc(m: Machine, cc: Control, order: int) -> int:
    """A destination, -1 if there is none."""
    searched = False
    while True:
        found = next((o for o in range(order, m.config.max_page_order + 1) if cc.freepages.get(o)), None)
        if found is not None:
            break
        if searched:
            return -1
        isolate_freepages(m, cc)
        searched = True
    pfn = cc.freepages[found].pop(0)
    for half in range(found - 1, order - 1, -1):
        upper = pfn + (1 << half)
        m.heads[upper] = Page(upper, half, COMPACT)
        note_part(m, pfn, upper)
        cc.freepages.setdefault(half, []).insert(0, upper)
    m.heads[pfn] = Page(pfn, order, COMPACT)
    cc.nr_freepages -= 1 << order
    cc.nr_migratepages -= 1 << order
    return pfn


def compaction_free(m: Machine, cc: Control, pfn: int) -> None:
    """A destination is given back."""
    order = m.heads[pfn].order
    cc.freepages.setdefault(order, []).insert(0, pfn)
    cc.nr_freepages += 1 << order
    cc.nr_migratepages += 1 << order


# The migrate scanner.


def update_cached(m: Machine, cc: Control, pfn: int) -> None:
    """`update_cached_migrate`."""
    end = start_of_block(m, pfn) + m.block_pages
    cc.zone.cached_migrate_pfn = max(cc.zone.cached_migrate_pfn, end)
    if not cc.asynchronous:
        cc.zone.cached_migrate_sync = max(cc.zone.cached_migrate_sync, end)


def fast_find_migrateblock(m: Machine, cc: Control) -> int:
    """A block low in the zone that has a large free page of movable type."""
    zone, pfn = cc.zone, cc.migrate_pfn
    if cc.full or cc.finish_pageblock or (pfn != zone.start_pfn and pfn % m.block_pages):
        return pfn
    if cc.order <= COSTLY_ORDER or (cc.direct and cc.mt != MOVABLE and cc.order < m.config.pageblock_order):
        return pfn
    limit = scan_limit(cc)
    distance = (cc.free_pfn - pfn) >> 1
    if pfn != zone.start_pfn:
        distance >>= 2
    high_pfn = start_of_block(m, pfn + distance)
    scanned = 0
    for order in range(cc.order - 1, COSTLY_ORDER - 1, -1):
        if scanned >= limit:
            break
        pages = zone.free_area[order].free_list[MOVABLE]
        for free in list(pages):
            scanned += 1
            if scanned > limit:
                rotate_to_end(m, pages, free)
                break
            if free < high_pfn and not m.block_of(free).skip:
                rotate_to_end(m, pages, free)
                if cc.fast_start is not None:
                    cc.fast_start = min(cc.fast_start, free) if cc.fast_start else free
                cc.fast_search_fail = 0
                cc.migrate_scanned += scanned
                m.reached["fast search: a block to empty"] += 1
                return max(start_of_block(m, free), zone.start_pfn)
    cc.migrate_scanned += scanned
    cc.fast_search_fail += 1
    if cc.fast_start:
        cc.migrate_pfn, cc.fast_start = cc.fast_start, None
    return cc.migrate_pfn


def too_large(m: Machine, cc: Control, page: Page) -> bool:
    """`skip_isolation_on_order`."""
    return 0 <= cc.order <= page.order or page.order >= m.config.pageblock_order


def keeps_still(cc: Control, page: Page) -> bool:
    """Whether a folio on the LRU cannot be isolated: pinned, under writeback, or of a file where files are not to be touched."""
    if page.attr & A_WRITEBACK or (page.attr & A_PINNED and not page.attr & A_FILE):
        return True
    return bool(page.attr & A_FILE and not cc.gfp & GFP_FS)


def may_isolate(m: Machine, cc: Control, page: Page) -> bool:
    """Whether isolate_migratepages_block takes the folio."""
    if page.state != ALLOC or too_large(m, cc, page):
        return False
    if page.attr & A_ON_LRU:
        unevictable = page.attr & A_MLOCKED and not m.config.compact_unevictable_allowed
        return not keeps_still(cc, page) and not unevictable
    return bool(page.attr & A_MOVABLE_OPS)


def too_many_isolated(m: Machine, cc: Control) -> bool:
    """Whether more than half (with __GFP_FS a sixteenth) of the node's LRU pages are isolated."""
    zones = m.node_zones[cc.zone.node]
    share = 16 if cc.gfp & GFP_FS else 2
    return sum(z.nr_isolated for z in zones) > sum(z.nr_lru for z in zones) // share


def put_back(m: Machine, cc: Control) -> None:
    """`putback_movable_pages(&cc->migratepages)`."""
    putback_movable_pages(m, cc.migratepages)
    cc.migratepages, cc.nr_migratepages = [], 0


def isolate_migratepages_block(m: Machine, cc: Control, low: int, end: int) -> bool:
    """Isolate from `[low, end)` of one block; False for -EAGAIN."""
    zone, first = cc.zone, low
    cc.migrate_pfn = low
    if cc.asynchronous and too_many_isolated(m, cc):
        m.reached["asynchronous compaction: too many isolated"] += 1
        return False
    size = 1 << max(cc.order, 0)
    skip_on_failure = cc.asynchronous
    next_skip = low - low % size + size
    taken, valid, updated = 0, False, False
    block = m.block_of(low)
    while low < end:
        if skip_on_failure and low >= next_skip:
            if taken:
                break
            next_skip = low - low % size + size
        cc.migrate_scanned += 1
        if not valid and (low % m.block_pages == 0 or low == zone.start_pfn):
            if block.skip and not cc.full:
                low = end
                break
            valid = True
        page = m.heads.get(low)
        if page is not None and page.state == BUDDY:
            cc.migrate_scanned += page.size - 1
            low += page.size
            continue
        if page is not None and may_isolate(m, cc, page):
            if page.attr & A_ON_LRU and valid and not updated:
                updated = True
                block.skip = block.skip or not cc.full
            isolate_page(m, zone, page)
            cc.migratepages.insert(0, low)
            cc.nr_migratepages += page.size
            taken += page.size
            cc.migrate_scanned += page.size - 1
            low += page.size
            if cc.nr_migratepages >= CLUSTER and not cc.finish_pageblock:
                break
            continue
        if page is not None and page.state in (ALLOC, ISOLATED) and too_large(m, cc, page):
            cc.migrate_scanned += page.size - 1
            low += page.size - 1
        if skip_on_failure:
            if taken:
                m.reached["isolated pages put back: their neighbour stays"] += 1
                put_back(m, cc)
                taken = 0
            if low < next_skip:
                low = next_skip - 1
                next_skip += size
        low += 1
    low = min(low, end)
    if low == end and (not taken or cc.finish_pageblock):
        block.skip = block.skip or (valid and not updated)
        update_cached(m, cc, low)
    cc.isolated += taken
    m.events["compact_isolated"] += taken
    cc.migrate_pfn = low
    cc.walked = low - first
    return True


def suitable_source(m: Machine, cc: Control, pfn: int) -> bool:
    """`suitable_migration_source`."""
    if persistent_skip(m, pfn):
        return False
    if not cc.direct:
        return True
    mt = m.get_pageblock_migratetype(pfn)
    if mt == CMA and not cc.flags & AF_CMA:
        return False
    if not cc.asynchronous:
        return True
    if cc.mt == MOVABLE or cc.order >= m.config.pageblock_order:
        return mt in (MOVABLE, CMA)
    return mt == cc.mt


def isolate_migratepages(m: Machine, cc: Control) -> bool:
    """Isolate from the next suitable block; False: abort."""
    cc.migratepages, cc.nr_migratepages = [], 0
    zone = cc.zone
    low = fast_find_migrateblock(m, cc)
    fast = low != cc.migrate_pfn and not cc.fast_search_fail
    end = start_of_block(m, low) + m.block_pages
    while end <= cc.free_pfn:
        start = max(end - m.block_pages, zone.start_pfn)
        in_zone = end <= zone.end_pfn
        at_start = low % m.block_pages == 0 or low == zone.start_pfn
        passed = at_start and not fast and not cc.full and m.block_of(low).skip
        if in_zone and not passed:
            if suitable_source(m, cc, start):
                return isolate_migratepages_block(m, cc, low, end)
            update_cached(m, cc, end)
        fast = False
        cc.migrate_pfn = low = end
        end += m.block_pages
    return True


# migrate_pages.


@dataclass
class Batch:
    """What migrate_pages keeps: folios that failed, pages of split folios that wait, splits, pages succeeded and failed."""

    failed: list[int] = field(default_factory=list)
    parts: list[int] | None = field(default_factory=list)  # None: nothing is split any more
    splits: int = 0
    extra: int = 0  # folios more than before the splits
    succeeded: int = 0
    failed_pages: int = 0


def try_split_folio(m: Machine, batch: Batch, page: Page, waits: bool) -> bool:
    """`try_split_folio`: the pages behind the first, then the first."""
    if batch.parts is None or not page.order or m.config.open_loop or not split_folio(m, page, waits):
        return False
    batch.parts += [*range(page.pfn + 1, page.pfn + page.size), page.pfn]
    batch.splits += 1
    batch.extra += page.size - 1
    return True


def migrate_pages_batch(
    m: Machine, cc: Control, todo: list[int], batch: Batch, passes: int, waits: bool = False
) -> tuple[int, list[int]]:
    """One batch: (-ENOMEM or the folios that failed, the folios that are left)."""
    unmapped: list[tuple[int, int]] = []
    failures, left, no_memory = 0, todo, False
    for _ in range(passes):
        todo, left = left, []
        for number, pfn in enumerate(todo):
            page = replace(m.heads[pfn])  # as it is now: a split changes it
            dst = compaction_alloc(m, cc, page.order)
            if dst < 0 and try_split_folio(m, batch, page, waits):
                failures += 1
            elif dst < 0:
                batch.failed_pages += page.size + sum(m.heads[waiting].size for waiting in left)
                left += todo[number:]
                no_memory = True
                break
            elif page.attr & A_BUSY:
                compaction_free(m, cc, dst)
                left.append(pfn)
            elif page.attr & A_WRITEBACK:
                compaction_free(m, cc, dst)
                batch.failed.append(pfn)
                batch.failed_pages += page.size
                failures += 1
            else:
                unmapped.append((pfn, dst))
        if no_memory or not left:
            break
    if not no_memory:
        failures += len(left)
        batch.failed_pages += sum(m.heads[waiting].size for waiting in left)
    pinned = []
    for pfn, dst in unmapped:
        page = m.heads[pfn]
        if page.attr & A_PINNED:
            pinned.append((pfn, dst))
            continue
        target = m.heads[dst] = Page(dst, page.order, ALLOC)
        batch.succeeded += page.size
        move_page(m, page, target)
    for pfn, dst in pinned:
        batch.failed.append(pfn)
        batch.failed_pages += m.heads[pfn].size
        failures += 1
        compaction_free(m, cc, dst)
    return (-ENOMEM if no_memory else failures), left


def migrate_pages_sync(m: Machine, cc: Control, todo: list[int], batch: Batch) -> int:
    """All at once without waiting, then one by one; that waits for the lock of what it splits."""
    first = Batch(parts=batch.parts)
    ret, left = migrate_pages_batch(m, cc, todo, first, 3)
    batch.succeeded += first.succeeded
    batch.splits += first.splits
    batch.extra += first.extra
    if ret < 0:
        batch.failed_pages += first.failed_pages
        batch.failed += first.failed + left
        return ret
    left += first.failed
    failures = first.splits
    while left:
        ret, again = migrate_pages_batch(m, cc, [left.pop(0)], batch, 7, waits=True)
        batch.failed += again
        if ret < 0:
            batch.failed += left
            return ret
        failures += ret
    return failures


def migrate_parts(m: Machine, cc: Control, batch: Batch, no_memory: bool) -> None:
    """What `migrate_pages` does with split_folios: once, asynchronously, whatever comes of it; nothing after -ENOMEM."""
    parts, batch.parts = batch.parts or [], None
    if not no_memory and parts:
        m.reached["pages of split folios tried"] += 1
        ret, parts = migrate_pages_batch(m, cc, parts, batch, 1)
        m.reached["pages of split folios: destinations ran out"] += ret < 0
    elif parts:
        m.reached["pages of split folios put back untried"] += 1
    batch.failed += parts
    batch.parts = []


def migrate_pages(m: Machine, cc: Control) -> tuple[int, int, int]:
    """Move what is isolated and put back what failed.

    Returns -ENOMEM or the folios that failed; how many folios moved; how many were put back.
    """
    most = 1 << m.config.compaction_order
    batch, rest, result = Batch(), cc.migratepages, 0
    folios = len(rest)
    while rest and result >= 0:
        count, pages = 0, 0
        while count < len(rest) and pages < most:
            pages += m.heads[rest[count]].size
            count += 1
        todo, rest = rest[:count], rest[count:]
        if cc.asynchronous:
            ret, left = migrate_pages_batch(m, cc, todo, batch, 10)
            batch.failed += left
        else:
            ret = migrate_pages_sync(m, cc, todo, batch)
        migrate_parts(m, cc, batch, ret < 0)
        result = ret if ret < 0 else result + ret
    put = batch.failed
    if not put and not rest:
        m.reached["all pages of split folios moved"] += result > 0
        result = 0
    putback_movable_pages(m, put + rest)
    cc.moved += batch.succeeded
    m.events["pgmigrate_success"] += batch.succeeded
    m.events["pgmigrate_fail"] += batch.failed_pages
    cc.migratepages = []
    return result, folios + batch.extra - len(put), len(put)


# compact_zone.


def scanners_met(m: Machine, cc: Control) -> bool:
    """`compact_scanners_met`."""
    return cc.free_pfn // m.block_pages <= cc.migrate_pfn // m.block_pages


def compact_finished(m: Machine, cc: Control) -> int:
    """`compact_finished`; kcompactd's score and mark are :mod:`.compact_node`'s."""
    zone = cc.zone
    if scanners_met(m, cc):
        zone.cached_migrate_pfn = zone.cached_migrate_sync = zone.start_pfn
        zone.cached_free_pfn = start_of_block(m, zone.end_pfn - 1)
        zone.blockskip_flush = zone.blockskip_flush or cc.direct
        return COMPACT_COMPLETE if cc.whole_zone else COMPACT_PARTIAL_SKIPPED
    if cc.migrate_pfn % m.block_pages:
        return COMPACT_CONTINUE
    for order in range(cc.order, m.config.max_page_order + 1):
        lists = zone.free_area[order].free_list
        if len(lists[cc.mt]) or (cc.mt == MOVABLE and len(lists[CMA])):
            return COMPACT_SUCCESS
        if find_suitable_fallback(m, zone, order, cc.mt, True) >= 0:
            return COMPACT_SUCCESS
    return COMPACT_CONTINUE


def set_scanners(m: Machine, cc: Control) -> None:
    """Where the scanners start."""
    zone = cc.zone
    cc.migrate_pfn, cc.free_pfn = zone.start_pfn, start_of_block(m, zone.end_pfn - 1)
    if cc.whole_zone:
        return
    if not zone.start_pfn <= zone.cached_free_pfn < zone.end_pfn:
        zone.cached_free_pfn = cc.free_pfn
    cached = zone.cached_migrate_pfn if cc.asynchronous else zone.cached_migrate_sync
    if not zone.start_pfn <= cached < zone.end_pfn:
        cached = zone.cached_migrate_pfn = zone.cached_migrate_sync = zone.start_pfn
    cc.migrate_pfn, cc.free_pfn = cached, zone.cached_free_pfn
    cc.whole_zone = cached <= zone.init_migrate_pfn


def restarting(zone: Zone, order: int) -> bool:
    """`compaction_restarting`."""
    return order >= zone.order_failed and zone.defer_shift == 6 and zone.considered >= 64


def migrate_isolated(m: Machine, cc: Control) -> tuple[int, bool]:
    """(COMPACT_CONTINUE or CONTENDED, whether the rest of the block is to be scanned)."""
    err, moved, put = migrate_pages(m, cc)
    return migrated(m, cc, err, moved, put)


def migrated(m: Machine, cc: Control, err: int, moved: int, put: int) -> tuple[int, bool]:
    """What compact_zone makes of a batch's result: as :func:`migrate_isolated`."""
    cc.nr_migratepages = 0
    m.log(L_COMPACT_MIGRATE, cc.migrate_pfn, moved, put, int(err < 0))
    if err < 0 and not scanners_met(m, cc):
        m.reached["compaction: destinations ran out"] += 1
        return COMPACT_CONTENDED, False
    if err and cc.migrate_pfn % m.block_pages and not cc.full and not cc.finish_pageblock:
        m.reached["compaction: rest of the block scanned at once"] += 1
        cc.finish_pageblock = True
        if cc.order == m.config.compaction_order:
            cc.last_migrated = 0
        return COMPACT_CONTINUE, True
    return COMPACT_CONTINUE, False


def compact_zone(m: Machine, cc: Control) -> int:
    """Compact until there is a page, or the scanners meet."""
    zone = cc.zone
    result = suits(m, zone, cc.order, cc.highest, cc.flags, cc.asynchronous)
    if result != COMPACT_CONTINUE:
        return result
    if restarting(zone, cc.order):
        m.reached["compaction restarts after long deferral"] += 1
        reset_isolation_suitable(m, zone)
    set_scanners(m, cc)
    in_step = cc.asynchronous and zone.cached_migrate_pfn == zone.cached_migrate_sync
    m.log(L_COMPACT_BEGIN, cc.migrate_pfn, cc.free_pfn, cc.order, zone.number, 1 if cc.asynchronous else 2)
    lru_add_drain(m)
    result = run(m, cc, in_step)
    m.log(L_COMPACT_END, cc.migrate_pfn, cc.free_pfn, cc.order, result, zone.number)
    release_free_list(m, cc)
    m.events["compact_migrate_scanned"] += cc.migrate_scanned
    m.events["compact_free_scanned"] += cc.free_scanned
    return result


def run(m: Machine, cc: Control, in_step: bool) -> int:
    """compact_zone's loop."""
    zone = cc.zone
    while (result := compact_finished(m, cc)) == COMPACT_CONTINUE:
        cc.finish_pageblock = start_of_block(m, cc.last_migrated) == start_of_block(m, cc.migrate_pfn)
        again = True
        while again:
            again = False
            if not isolate_migratepages(m, cc):
                put_back(m, cc)
                return COMPACT_CONTENDED
            if not cc.migratepages:
                if in_step:
                    zone.cached_migrate_sync = zone.cached_migrate_pfn
                break
            in_step = False
            cc.last_migrated = max(zone.start_pfn, start_of_block(m, cc.migrate_pfn - 1))
            result, again = migrate_isolated(m, cc)
            if result != COMPACT_CONTINUE:
                return result
            if not again and m.capture is not None and m.capture.pfn >= 0:
                return COMPACT_SUCCESS
        check_drain(m, cc)
    return result


def check_drain(m: Machine, cc: Control) -> None:
    """`check_drain:`: the scanner has left an aligned chunk of the wanted order."""
    if cc.order <= 0 or not cc.last_migrated:
        return
    if cc.last_migrated < cc.migrate_pfn - cc.migrate_pfn % (1 << cc.order):
        lru_add_drain(m)
        drain_pages_zone(m, cc.zone, cc.zone.pcps[m.cpu])
        cc.last_migrated = 0


def release_free_list(m: Machine, cc: Control) -> None:
    """Free the destinations that are left; the free scanner starts there next time."""
    if cc.nr_freepages == 0:
        return
    highest = 0
    for order in range(m.config.max_page_order + 1):
        for pfn in cc.freepages.pop(order, []):
            highest = max(highest, pfn)
            free_frozen_pages(m, pfn, order)
    cc.zone.cached_free_pfn = max(cc.zone.cached_free_pfn, start_of_block(m, highest))


def reset_deferral(zone: Zone, order: int, allocated: bool) -> None:
    """`compaction_defer_reset`."""
    if allocated:
        zone.considered = zone.defer_shift = 0
    zone.order_failed = max(zone.order_failed, order + 1)


def defer(zone: Zone, order: int) -> None:
    """`defer_compaction`."""
    zone.considered = 0
    zone.defer_shift = min(zone.defer_shift + 1, 6)
    zone.order_failed = min(zone.order_failed, order)


def try_to_compact_pages(
    m: Machine, zones: list[Zone], order: int, mt: int, gfp: int, flags: int, highest: int, priority: int
) -> tuple[int, int]:
    """Compact zone by zone: (the furthest result, what it cost in ns)."""
    result, cost = COMPACT_SKIPPED, 0
    if not m.config.compaction or not gfp & GFP_IO:
        return result, cost
    for zone in zones:
        if priority > PRIO_FULL and deferred(zone, order):
            result = max(result, COMPACT_DEFERRED)
            continue
        full = priority == PRIO_FULL
        cc = Control(zone, order, order, mt, gfp, flags, highest, priority == PRIO_ASYNC, full, full, full)
        capture = m.capture
        if capture is not None:
            capture.zone = zone
        status = compact_zone(m, cc)
        if capture is not None:
            capture.zone = None
            if capture.pfn >= 0:
                m.reached["page captured"] += 1
                status = COMPACT_SUCCESS
        cost += (cc.migrate_scanned + cc.free_scanned) * m.config.scan_ns
        cost += cc.isolated * m.config.isolate_ns + cc.moved * m.config.migrate_ns
        result = max(result, status)
        if status == COMPACT_SUCCESS:
            reset_deferral(zone, order, False)
            break
        if priority != PRIO_ASYNC and status in (COMPACT_COMPLETE, COMPACT_PARTIAL_SKIPPED):
            defer(zone, order)
    return result, cost
