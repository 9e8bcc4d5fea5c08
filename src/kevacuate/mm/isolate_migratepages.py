# SPDX-License-Identifier: GPL-2.0-or-later
"""Compaction's migrate scanner: which pages are moved (mm/compaction.c, 7.2).

Approximate: locks are never contended and no signal is pending, so nothing sets cc->contended; a synchronous compaction does not
wait where too many pages are isolated. Every chunk in use counts as one compound page.
"""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm import constants as k
from kevacuate.mm.buddy import free_list, get_pfnblock_migratetype
from kevacuate.mm.compact_scanners import (
    covered_by_whole_blocks,
    get_pageblock_skip,
    is_compound,
    isolation_suitable,
    move_freelist,
    pageblock_pfn_to_page,
    pageblock_start_pfn,
    set_pageblock_skip,
)
from kevacuate.mm.evacuate_isolate import may_isolate, too_many_isolated
from kevacuate.mm.fast_isolate_freepages import freelist_scan_limit
from kevacuate.mm.fields import CompactControl, View
from kevacuate.mm.lruvec import lruvec_del_folio, mod_isolated
from kevacuate.mm.migrate import put_source_back

ISOLATE_ABORT = 0
ISOLATE_NONE = 1
ISOLATE_SUCCESS = 2
"""What isolate_migratepages says (isolate_migrate_t)."""

SPENT = -1
"""``cc.fast_start_pfn`` once it has been used."""


@part
def update_cached_migrate(s: View, z: int, cc: CompactControl, pfn: int) -> None:
    """Push the cached positions past the block of *pfn*, if that is forward; asynchronous compaction only its own (:434).

    Callers give the end of the block that was scanned, as the kernel's do: so the block after it is passed, too.
    """
    pfn = pageblock_start_pfn(s, pfn) + (1 << s.cfg.pageblock_order)
    cached = s.zone[z].compact_cached_migrate_pfn
    cached[0] = max(cached[0], pfn)
    if cc.mode != k.MIGRATE_ASYNC:
        cached[1] = max(cached[1], pfn)


@part
def pollutes_movable(s: View, cc: CompactControl) -> bool:
    """Whether what is compacted for would be a small fallback into movable blocks: a direct request of another type."""
    other = cc.direct_compaction != 0 and cc.migratetype != k.MIGRATE_MOVABLE
    return other and cc.order < s.cfg.pageblock_order


@part(cold=True)
def fast_find_migrateblock(s: View, z: int, cc: CompactControl) -> int:
    """A block low in memory that has large free chunks; else the linear position (:1971)."""
    zone = s.zone[z]
    pfn = cc.migrate_pfn
    start = zone.zone_start_pfn
    linear = pfn not in (start, pageblock_start_pfn(s, pfn))
    if cc.ignore_skip_hint or cc.finish_pageblock or linear:
        return pfn
    if cc.order <= k.PAGE_ALLOC_COSTLY_ORDER or pollutes_movable(s, cc):
        return pfn
    limit = freelist_scan_limit(s, cc)
    distance = (cc.free_pfn - pfn) >> 1
    if pfn != start:
        distance >>= 2
    high = pageblock_start_pfn(s, pfn + distance)
    seen = 0
    for order in range(cc.order - 1, k.PAGE_ALLOC_COSTLY_ORDER - 1, -1):
        if seen >= limit or zone.free_area[order] == 0:
            continue
        head = free_list(s, z, order, k.MIGRATE_MOVABLE)
        page = s.link[2 * head] + 0
        while page != head:
            seen += 1
            past = seen > limit
            if past or (page < high and not get_pageblock_skip(s, page)):
                move_freelist(s, head, page, True)
                if past:
                    break
                if cc.fast_start_pfn != SPENT:
                    best = cc.fast_start_pfn
                    cc.fast_start_pfn = page if best == 0 else min(best, page)
                cc.fast_search_fail = 0
                cc.total_migrate_scanned += seen
                return max(pageblock_start_pfn(s, page), start)
            page = s.link[2 * page] + 0
    cc.total_migrate_scanned += seen
    cc.fast_search_fail += 1
    if cc.fast_start_pfn > 0:
        cc.migrate_pfn = cc.fast_start_pfn
        cc.fast_start_pfn = SPENT
    return cc.migrate_pfn


@part
def isolate_source(s: View, z: int, cc: CompactControl, pfn: int, pages: int) -> None:
    """Take a folio off the LRU onto cc->migratepages."""
    zone = s.zone[z]
    attr = s.link[2 * pfn + 1] + 0
    s.meta[pfn] = k.CHUNK_ISOLATED << 4 | (s.meta[pfn] & 15)
    s.link[2 * pfn + 1] = attr & ~(k.ATTR_ON_LRU | k.ATTR_ACTIVATING)
    if attr & k.ATTR_LRU:
        zone.nr_lru -= pages
        mod_isolated(s, pfn, attr, pages)
    if attr & k.ATTR_ON_LRU and s.cfg.open_loop == 0:
        lruvec_del_folio(s, pfn, attr)
    folios = cc.nr_folios
    s.folios[cc.sources + folios] = pfn
    cc.nr_folios = folios + 1
    cc.nr_migratepages += pages


@part
def may_be_source(s: View, cc: CompactControl, pfn: int, order: int) -> bool:
    """Whether a chunk in use can be isolated: its order is below what compaction works for, and nothing keeps it (:1057).

    What keeps it: a pin of an anonymous page; writeback, unless compaction is fully synchronous; a file's page, where the request
    may not enter file systems; being unevictable, where vm.compact_unevictable_allowed is 0.
    """
    wanted = cc.order
    if order >= s.cfg.pageblock_order or (wanted >= 0 and order >= wanted) or not may_isolate(s, pfn):
        return False
    attr = s.link[2 * pfn + 1] + 0
    if attr & k.ATTR_WRITEBACK and cc.mode != k.MIGRATE_SYNC:
        return False
    if attr & k.ATTR_MLOCKED and s.cfg.compact_unevictable_allowed == 0:
        return False
    return cc.gfp_mask & k.GFP_FS != 0 or attr & k.ATTR_FILE == 0


@part(cold=True)
def putback_isolated(s: View, cc: CompactControl, cpu: int) -> None:
    """putback_movable_pages of cc->migratepages, last isolated first."""
    for i in range(cc.nr_folios - 1, -1, -1):
        put_source_back(s, cpu, s.folios[cc.sources + i])
    cc.nr_folios = 0
    cc.nr_migratepages = 0


@part
def mark_at_lru(s: View, cc: CompactControl, pfn: int, start: int, marked: bool) -> bool:
    """test_and_set_skip at the first folio on the LRU of a block that is scanned from its start; whether that has been done."""
    if marked or not s.link[2 * pfn + 1] & k.ATTR_ON_LRU:
        return marked
    if not cc.ignore_skip_hint:
        set_pageblock_skip(s, start)
    return True


@part
def close_block(s: View, z: int, cc: CompactControl, pfn: int, end: int, marks: bool) -> None:
    """The end of isolate_migratepages_block (:1290): a block scanned in vain, or rescanned, is marked and left behind."""
    if pfn == end and (cc.finish_pageblock or cc.nr_migratepages == 0):
        if marks:
            set_pageblock_skip(s, pageblock_start_pfn(s, end - 1))
        update_cached_migrate(s, z, cc, end)
    cc.migrate_pfn = pfn


@part
def isolate_migratepages_block(s: View, z: int, cc: CompactControl, pfn: int, end: int) -> None:
    """Isolate from a block (:855): to 32 pages, or with finish_pageblock the rest of the block."""
    first = pfn
    start = pageblock_start_pfn(s, pfn)
    from_start = pfn in (start, s.zone[z].zone_start_pfn)
    marked = not from_start
    finish = cc.finish_pageblock != 0
    scanned = 0
    if from_start and not isolation_suitable(s, cc, start):
        pfn = end
        scanned = 1
    while pfn < end and (finish or cc.nr_migratepages < k.COMPACT_CLUSTER_MAX):
        meta = s.meta[pfn] + 0
        order = meta & 15
        if meta >> 4 == k.CHUNK_ALLOC and may_be_source(s, cc, pfn, order):
            marked = mark_at_lru(s, cc, pfn, start, marked)
            isolate_source(s, z, cc, pfn, 1 << order)
        step = 1 << order
        if meta >> 4 != k.CHUNK_BUDDY and not is_compound(cc, meta >> 4):
            step = min(step, end - pfn)
        scanned += step
        pfn += step
    close_block(s, z, cc, min(pfn, end), end, not marked)
    taken = cc.nr_migratepages
    cc.total_migrate_scanned += scanned
    s.stat.compact_isolated += taken
    cc.cost += taken * s.cfg.isolate_ns
    if not cc.direct_compaction:
        cc.cost += (cc.migrate_pfn - first) * s.cfg.scan_ns


@part
def step_over(s: View, cc: CompactControl, meta: int) -> int:
    """Pages passed over at a chunk that is not isolated: all of a compound page that is as large as what is wanted, else one."""
    order = meta & 15
    too_large = order >= cc.order or order >= s.cfg.pageblock_order
    return 1 << order if too_large and is_compound(cc, meta >> 4) else 1


@part
def isolate_migratepages_async(s: View, z: int, cc: CompactControl, cpu: int, pfn: int, end: int) -> None:
    """isolate_migratepages_block of asynchronous direct compaction (skip_on_failure): by aligned chunks of the order wanted.

    One page of a chunk that cannot be isolated makes the others useless: they are put back, and the rest of it is skipped. A
    chunk isolated whole is migrated before the next one is looked at.
    """
    wanted = 1 << cc.order
    start = pageblock_start_pfn(s, pfn)
    from_start = pfn in (start, s.zone[z].zone_start_pfn)
    marked = not from_start
    scanned = 0
    following = (pfn // wanted + 1) * wanted
    if from_start and not isolation_suitable(s, cc, start):
        pfn = end
        scanned = 1
    while pfn < end and (cc.finish_pageblock or cc.nr_migratepages < k.COMPACT_CLUSTER_MAX):
        if pfn >= following:
            if cc.nr_migratepages:
                break
            following = (pfn // wanted + 1) * wanted
        meta = s.meta[pfn] + 0
        order = meta & 15
        if meta >> 4 == k.CHUNK_BUDDY:
            scanned += 1 << order
            pfn += 1 << order
        elif meta >> 4 == k.CHUNK_ALLOC and may_be_source(s, cc, pfn, order):
            marked = mark_at_lru(s, cc, pfn, start, marked)
            isolate_source(s, z, cc, pfn, 1 << order)
            scanned += 1 << order
            pfn += 1 << order
        else:
            step = step_over(s, cc, meta)
            scanned += step
            pfn += step
            putback_isolated(s, cc, cpu)
            if pfn <= following:
                pfn = following
                following += wanted
    close_block(s, z, cc, min(pfn, end), end, not marked)
    taken = cc.nr_migratepages
    cc.total_migrate_scanned += scanned
    s.stat.compact_isolated += taken
    cc.cost += taken * s.cfg.isolate_ns


@part
def suitable_migration_source(s: View, cc: CompactControl, start: int) -> bool:
    """Whether the migrate scanner looks into the block (:1376): asynchronous direct compaction keeps to blocks of its type.

    As it was first modelled, the second block of a larger page in use is looked into.
    """
    if cc.as_first:
        return not (s.meta[start] >> 4 == k.CHUNK_ALLOC and s.meta[start] & 15 >= s.cfg.pageblock_order)
    if covered_by_whole_blocks(s, start):
        return False
    if not cc.direct_compaction:
        return True
    mt = get_pfnblock_migratetype(s, start)
    if mt == k.MIGRATE_CMA and not cc.alloc_flags & k.ALLOC_CMA:
        return False
    if cc.mode != k.MIGRATE_ASYNC:
        return True
    if cc.migratetype == k.MIGRATE_MOVABLE or cc.order >= s.cfg.pageblock_order:
        return mt == k.MIGRATE_MOVABLE or mt == k.MIGRATE_CMA
    return mt == cc.migratetype


@part
def isolate_from_block(s: View, z: int, cc: CompactControl, cpu: int, pfn: int, end: int) -> int:
    """isolate_migratepages_block: ISOLATE_ABORT, ISOLATE_NONE or ISOLATE_SUCCESS.

    Asynchronous direct compaction gives up where too many pages are isolated.
    """
    if not (cc.direct_compaction and cc.mode == k.MIGRATE_ASYNC):
        isolate_migratepages_block(s, z, cc, pfn, end)
    elif too_many_isolated(s, s.zone[z].node, cc.gfp_mask & k.GFP_FS != 0):
        cc.migrate_pfn = pfn
        return ISOLATE_ABORT
    else:
        isolate_migratepages_async(s, z, cc, cpu, pfn, end)
    return ISOLATE_SUCCESS if cc.nr_migratepages > 0 else ISOLATE_NONE


@part
def find_migrateblock(s: View, z: int, cc: CompactControl) -> int:
    """Where isolate_migratepages begins (:2115): the fast search's block, or where the scanner stands."""
    cc.nr_folios = 0
    cc.nr_migratepages = 0
    return fast_find_migrateblock(s, z, cc)


@part(cold=True)
def isolate_migratepages(s: View, z: int, cc: CompactControl, cpu: int, pfn: int) -> int:
    """Isolate from the next block at *pfn* or above that lets the scanner in (:2128). Returns ISOLATE_*."""
    pageblock = 1 << s.cfg.pageblock_order
    zone_start = s.zone[z].zone_start_pfn
    fast = pfn != cc.migrate_pfn and cc.fast_search_fail == 0
    end = pageblock_start_pfn(s, pfn) + pageblock
    while end <= cc.free_pfn:
        at_start = pfn in (end - pageblock, zone_start)
        skipped = at_start and not fast and not isolation_suitable(s, cc, pfn)
        if pageblock_pfn_to_page(s, z, end - pageblock, end) and not skipped:
            if suitable_migration_source(s, cc, end - pageblock):
                return isolate_from_block(s, z, cc, cpu, pfn, end)
            update_cached_migrate(s, z, cc, end)
        fast = False
        pfn = end
        cc.migrate_pfn = end
        end += pageblock
    return ISOLATE_NONE
