# SPDX-License-Identifier: GPL-2.0-or-later
"""Is compacting a zone worth while: suitability, fragmentation scores, deferral (mm/compaction.c, mm/vmstat.c, 7.2)."""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm.constants import (
    ALLOC_CMA,
    ALLOC_WMARK_MASK,
    COMPACT_CLUSTER_MAX,
    COMPACT_CONTINUE,
    COMPACT_MAX_DEFER_SHIFT,
    COMPACT_SKIPPED,
    COMPACT_SUCCESS,
    PAGE_ALLOC_COSTLY_ORDER,
    WMARK_HIGH,
    WMARK_LOW,
    WMARK_MIN,
)
from kevacuate.mm.fields import View
from kevacuate.mm.watermark import wmark_pages, zone_watermark_ok_free


@part
def fill_contig_page_info(s: View, z: int, order: int) -> tuple[int, int, int]:
    """(Free pages, free chunks, chunks of *order* that they make) (mm/vmstat.c:1063)."""
    pages = 0
    chunks = 0
    suitable = 0
    for o in range(s.cfg.max_page_order + 1):
        here = s.zone[z].free_area[o]
        chunks += here
        pages += here << o
        if o >= order:
            suitable += here << (o - order)
    return pages, chunks, suitable


@part
def extfrag_for_order(s: View, z: int, order: int) -> int:
    """Per cent of the free pages that are in chunks smaller than *order* (mm/vmstat.c:1130)."""
    pages, _, suitable = fill_contig_page_info(s, z, order)
    if pages == 0:
        return 0
    return (pages - (suitable << order)) * 100 // pages


@part
def fragmentation_index(s: View, z: int, order: int) -> int:
    """Why *order* cannot be had: 0 for lack of memory, to 1000 for fragmentation; -1000: it can be (mm/vmstat.c:1144)."""
    pages, chunks, suitable = fill_contig_page_info(s, z, order)
    if chunks == 0:
        return 0
    if suitable > 0:
        return -1000
    return 1000 - (1000 + pages * 1000 // (1 << order)) // chunks


@part
def compact_gap(order: int) -> int:
    """Free pages that a compaction for *order* needs to work with (include/linux/compaction.h)."""
    return min(2 << order, COMPACT_CLUSTER_MAX)


@part
def compaction_suitable_free(s: View, z: int, order: int, mark: int, highest_zoneidx: int, free: int) -> bool:
    """__compaction_suitable: whether *free* pages leave enough above *mark* for destinations (:2406)."""
    mark += compact_gap(order)
    if order > PAGE_ALLOC_COSTLY_ORDER:
        mark += wmark_pages(s, z, WMARK_LOW) - wmark_pages(s, z, WMARK_MIN)
    return zone_watermark_ok_free(s, z, 0, mark, highest_zoneidx, ALLOC_CMA, free) != 0


@part
def compaction_suitable(s: View, z: int, order: int, mark: int, highest_zoneidx: int) -> bool:
    """Whether there is enough free memory, and a failure would be due to fragmentation rather than to lack of it (:2431)."""
    if not compaction_suitable_free(s, z, order, mark, highest_zoneidx, s.zone[z].nr_free_pages):
        return False
    costly = order > PAGE_ALLOC_COSTLY_ORDER
    return not (costly and 0 <= fragmentation_index(s, z, order) <= s.cfg.extfrag_threshold)


@part(cold=True)
def compaction_suit_allocation_order(s: View, z: int, order: int, highest_zoneidx: int) -> int:
    """COMPACT_SUCCESS: there is nothing to do; SKIPPED: it cannot help; CONTINUE: go (:2523, as kcompactd asks).

    The mark is MIN; in defrag_mode it is HIGH, and only whole blocks count for SUCCESS.
    """
    zone = s.zone[z]
    mark = wmark_pages(s, z, WMARK_HIGH if s.cfg.defrag_mode else WMARK_MIN)
    free = zone.nr_free_pages_blocks if s.cfg.defrag_mode else zone.nr_free_pages
    if zone_watermark_ok_free(s, z, order, mark, highest_zoneidx, 0, free):
        return COMPACT_SUCCESS
    return COMPACT_CONTINUE if compaction_suitable(s, z, order, mark, highest_zoneidx) else COMPACT_SKIPPED


@part(cold=True)
def direct_compaction_suits(
    s: View, z: int, order: int, highest_zoneidx: int, alloc_flags: int, asynchronous: bool
) -> int:
    """compaction_suit_allocation_order as a direct compaction asks, at the request's own mark (:2523).

    An asynchronous one of a costly order that may not use CMA needs its destinations outside CMA too.
    """
    free = s.zone[z].nr_free_pages
    mark = wmark_pages(s, z, alloc_flags & ALLOC_WMARK_MASK)
    if zone_watermark_ok_free(s, z, order, mark, highest_zoneidx, alloc_flags, free):
        return COMPACT_SUCCESS
    if order > PAGE_ALLOC_COSTLY_ORDER and asynchronous and not alloc_flags & ALLOC_CMA:
        least = mark + compact_gap(order)
        if not zone_watermark_ok_free(s, z, 0, least, highest_zoneidx, 0, free):
            return COMPACT_SKIPPED
    return COMPACT_CONTINUE if compaction_suitable(s, z, order, mark, highest_zoneidx) else COMPACT_SKIPPED


@part
def compaction_deferred(s: View, z: int, order: int) -> bool:
    """Whether the zone waits after failures; counts the attempt (:155)."""
    zone = s.zone[z]
    if order < zone.compact_order_failed:
        return False
    limit = 1 << zone.compact_defer_shift
    zone.compact_considered += 1
    if zone.compact_considered >= limit:
        zone.compact_considered = limit
        return False
    return True


@part
def defer_compaction(s: View, z: int, order: int) -> None:
    """A compaction failed: wait twice as many attempts (:126)."""
    zone = s.zone[z]
    zone.compact_considered = 0
    zone.compact_defer_shift = min(zone.compact_defer_shift + 1, COMPACT_MAX_DEFER_SHIFT)
    zone.compact_order_failed = min(zone.compact_order_failed, order)


@part
def compaction_restarting(s: View, z: int, order: int) -> bool:
    """Whether compaction begins again after it was deferred as long as it can be (:183)."""
    zone = s.zone[z]
    if order < zone.compact_order_failed:
        return False
    longest = zone.compact_defer_shift == COMPACT_MAX_DEFER_SHIFT
    return longest and zone.compact_considered >= 1 << zone.compact_defer_shift


@part
def compaction_defer_reset(s: View, z: int, order: int, alloc_success: bool) -> None:
    """A compaction succeeded; whether the allocation has too, or is only expected to (:165)."""
    zone = s.zone[z]
    if alloc_success:
        zone.compact_considered = 0
        zone.compact_defer_shift = 0
    zone.compact_order_failed = max(zone.compact_order_failed, order + 1)
