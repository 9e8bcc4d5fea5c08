# SPDX-License-Identifier: GPL-2.0-or-later
"""What both scanners of a compaction use: pageblocks and their skip bits, list rotations, taking free chunks.

*cc* is everywhere the compact_control, *z* the zone being compacted (mm/compaction.c, 7.2).
"""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm import constants as k
from kevacuate.mm.buddy import (
    account_freepages,
    covering_chunk,
    del_page_from_free_list,
    free_list,
    get_pfnblock_migratetype,
    move_freepages_block,
    page_zone,
)
from kevacuate.mm.fields import CompactControl, View
from kevacuate.mm.lists import list_add, list_add_tail
from kevacuate.mm.log import log_list
from kevacuate.mm.regions import note_content
from kevacuate.mm.watermark import zone_watermark_ok


@part
def freepages(s: View, z: int, cc: CompactControl, order: int) -> int:
    """Sentinel of cc->freepages[order]."""
    return free_list(s, z, order, cc.freepages)


@part
def get_pageblock_skip(s: View, pfn: int) -> bool:
    """Whether the skip bit of *pfn*'s block is set."""
    return s.block[2 * (pfn >> s.cfg.pageblock_order)] & k.PB_COMPACT_SKIP != 0


@part
def set_pageblock_skip(s: View, pfn: int) -> None:
    """Set the skip bit of *pfn*'s block."""
    s.block[2 * (pfn >> s.cfg.pageblock_order)] |= k.PB_COMPACT_SKIP


@part
def isolation_suitable(s: View, cc: CompactControl, pfn: int) -> bool:
    """Whether the skip bit lets the scanners into the block, or is ignored (:188)."""
    return cc.ignore_skip_hint != 0 or not get_pageblock_skip(s, pfn)


@part
def pageblock_start_pfn(s: View, pfn: int) -> int:
    """First pfn of *pfn*'s pageblock."""
    return (pfn >> s.cfg.pageblock_order) << s.cfg.pageblock_order


@part
def free_block_end(s: View, z: int, cc: CompactControl, start: int) -> int:
    """Where the free scanner's block ends: at the zone's end if that comes first. As first modelled such a block is left out."""
    end = start + (1 << s.cfg.pageblock_order)
    return end if cc.as_first else min(end, s.zone[z].zone_end_pfn)


@part
def pageblock_pfn_to_page(s: View, z: int, start: int, end: int) -> bool:
    """Whether the block that starts at *start* belongs to the zone up to *end*."""
    return start >= 0 and end <= s.zone[z].zone_end_pfn and page_zone(s, start) == z


@part(cold=True)
def move_freelist(s: View, head: int, pfn: int, last: bool) -> None:
    """Rotate a free list so that *pfn* is its last (move_freelist_tail) or its first (move_freelist_head, compaction.c).

    Where it is that already nothing is done, as the kernel's own check says.
    """
    before, after = s.link[2 * head + 1] + 0, s.link[2 * head] + 0
    if pfn == (before if last else after):
        return
    s.link[2 * before], s.link[2 * after + 1] = after, before
    if last:
        list_add(s, head, pfn)
    else:
        list_add_tail(s, head, pfn)
    mt = get_pfnblock_migratetype(s, pfn)
    log_list(s, k.L_LIST, pfn, k.LIST_ROTATE_LAST if last else k.LIST_ROTATE_FIRST, s.meta[pfn] & 15, mt)


@part(cold=True)
def take_free_chunk(s: View, z: int, pfn: int, order: int) -> None:
    """What __isolate_free_page does once it may (:3123): half a block or more makes its blocks movable."""
    mt = get_pfnblock_migratetype(s, pfn)
    del_page_from_free_list(s, z, pfn, order, mt)
    account_freepages(s, z, -(1 << order), mt)
    s.meta[pfn] = k.CHUNK_COMPACT << 4 | order
    if s.cfg.region_order:
        note_content(s, pfn, order, k.MIGRATE_MOVABLE)
    pageblock_order = s.cfg.pageblock_order
    if order >= pageblock_order - 1:
        page = pfn
        while page < pfn + (1 << order):
            mt = get_pfnblock_migratetype(s, page)
            if mt < k.MIGRATE_PCPTYPES:
                move_freepages_block(s, z, page, mt, k.MIGRATE_MOVABLE)
            page += 1 << pageblock_order


@part
def add_to_freepages(s: View, z: int, cc: CompactControl, pfn: int, order: int) -> None:
    """Put a chunk that was isolated at the end of cc->freepages."""
    s.meta[pfn] = k.CHUNK_COMPACT << 4 | order
    list_add_tail(s, pfn, freepages(s, z, cc, order))
    cc.nr_freepages += 1 << order


@part
def isolate_free_page(s: View, z: int, cc: CompactControl, pfn: int, order: int) -> bool:
    """__isolate_free_page onto cc->freepages; False where the zone would fall below MIN. Isolated pages do not count as free."""
    mark = s.zone[z].watermark[k.WMARK_MIN] + (1 << order)
    isolated = get_pfnblock_migratetype(s, pfn) == k.MIGRATE_ISOLATE
    if not isolated and not zone_watermark_ok(s, z, 0, mark, 0, k.ALLOC_CMA):
        return False
    take_free_chunk(s, z, pfn, order)
    add_to_freepages(s, z, cc, pfn, order)
    s.stat.compact_isolated += 1 << order
    return True


@part
def is_compound(cc: CompactControl, state: int) -> bool:
    """Whether a scanner passes over all of a chunk in this state at once, as over a compound page.

    As it was first modelled, chunks of every state that are in use.
    """
    return state == k.CHUNK_ALLOC or state == k.CHUNK_ISOLATED or cc.as_first != 0


@part
def isolate_freepages_block(
    s: View, z: int, cc: CompactControl, pfn: int, end: int, stride: int
) -> tuple[int, int]:
    """Take the free chunks of a block until there are enough (:574). Returns (where it stopped, pages taken)."""
    taken = scanned = 0
    while pfn < end:
        scanned += 1
        meta = s.meta[pfn] + 0
        size = 1 << (meta & 15)
        if meta >> 4 == k.CHUNK_BUDDY:
            if not isolate_free_page(s, z, cc, pfn, meta & 15):
                break
            scanned += size - 1
            taken += size
            if cc.nr_migratepages <= cc.nr_freepages:
                pfn += size
                break
            pfn += size - 1
        elif pfn + size <= end and is_compound(cc, meta >> 4):
            scanned += size - 1
            pfn += size - 1
        pfn += stride
    cc.total_free_scanned += scanned
    return min(pfn, end), taken


@part
def suitable_migration_target(s: View, cc: CompactControl, start: int) -> bool:
    """Whether the block is a movable one, or its type is ignored, and it is not free altogether (:1429)."""
    order = cc.order if cc.order > 0 else s.cfg.pageblock_order
    meta = s.meta[start] + 0
    if meta >> 4 == k.CHUNK_BUDDY and meta & 15 >= order:
        return False
    if cc.ignore_block_suitable:
        return True
    mt = get_pfnblock_migratetype(s, start)
    return mt in (k.MIGRATE_MOVABLE, k.MIGRATE_CMA)


@part
def covered_by_whole_blocks(s: View, pfn: int) -> bool:
    """pageblock_skip_persistent: whether a compound page of a block or more holds the page."""
    start = pageblock_start_pfn(s, pfn)
    meta = s.meta[start] + 0
    if meta >> 4 == k.CHUNK_TAIL:
        head = covering_chunk(s, start)
        if head < 0:
            return False
        meta = s.meta[head] + 0
    state = meta >> 4
    return meta & 15 >= s.cfg.pageblock_order and (state == k.CHUNK_ALLOC or state == k.CHUNK_ISOLATED)
