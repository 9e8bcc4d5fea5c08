# SPDX-License-Identifier: GPL-2.0-or-later
"""Is compacting a zone worth while: suitability, fragmentation scores, deferral (mm/compaction.c, mm/vmstat.c, 7.2)."""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm.constants import (
    ALLOC_CMA,
    C_DEFRAG_MODE,
    C_EXTFRAG_THRESHOLD,
    C_MAX_PAGE_ORDER,
    COMPACT_CONTINUE,
    COMPACT_MAX_DEFER_SHIFT,
    COMPACT_SKIPPED,
    COMPACT_SUCCESS,
    PAGE_ALLOC_COSTLY_ORDER,
    WMARK_HIGH,
    WMARK_LOW,
    WMARK_MIN,
    Z_AREA,
    Z_COMPACT_CONSIDERED,
    Z_COMPACT_DEFER_SHIFT,
    Z_COMPACT_ORDER_FAILED,
    Z_NR_FREE,
    Z_NR_FREE_BLOCKS,
    ZS,
)
from kevacuate.mm.watermark import wmark_pages, zone_watermark_ok, zone_watermark_ok_free


@part
def free_chunks(s, z, order):  # type: ignore[no-untyped-def]
    """fill_contig_page_info: (free pages, free chunks, chunks of *order* that they make) (mm/vmstat.c:1063)."""
    pages = 0
    chunks = 0
    suitable = 0
    for o in range(s.cfg[C_MAX_PAGE_ORDER] + 1):
        here = s.zone[z * ZS + Z_AREA + o]
        chunks += here
        pages += here << o
        if o >= order:
            suitable += here << (o - order)
    return pages, chunks, suitable


@part
def extfrag_for_order(s, z, order):  # type: ignore[no-untyped-def]
    """Per cent of the free pages that are in chunks smaller than *order* (mm/vmstat.c:1130)."""
    pages, _, suitable = free_chunks(s, z, order)
    if pages == 0:
        return 0
    return (pages - (suitable << order)) * 100 // pages


@part
def lack_of_memory(s, z, order):  # type: ignore[no-untyped-def]
    """Whether an allocation of *order* would fail for lack of memory rather than for fragmentation (fragmentation_index)."""
    pages, chunks, suitable = free_chunks(s, z, order)
    if chunks == 0:
        return True
    if suitable > 0:
        return False
    index = 1000 - (1000 + pages * 1000 // (1 << order)) // chunks
    return 0 <= index <= s.cfg[C_EXTFRAG_THRESHOLD]


@part(cold=True)
def compaction_suit_allocation_order(s, z, order, hi):  # type: ignore[no-untyped-def]
    """COMPACT_SUCCESS: there is nothing to do; SKIPPED: it cannot help; CONTINUE: go (:2523, as kcompactd asks).

    The mark is MIN; in defrag_mode it is HIGH, and only whole blocks count for SUCCESS.
    """
    mark = wmark_pages(s, z, WMARK_HIGH if s.cfg[C_DEFRAG_MODE] else WMARK_MIN)
    free = s.zone[z * ZS + (Z_NR_FREE_BLOCKS if s.cfg[C_DEFRAG_MODE] else Z_NR_FREE)]
    if zone_watermark_ok_free(s, z, order, mark, hi, 0, free):
        return COMPACT_SUCCESS
    mark += min(2 << order, 32)
    if order > PAGE_ALLOC_COSTLY_ORDER:
        mark += wmark_pages(s, z, WMARK_LOW) - wmark_pages(s, z, WMARK_MIN)
    if not zone_watermark_ok(s, z, 0, mark, hi, ALLOC_CMA):
        return COMPACT_SKIPPED
    if order > PAGE_ALLOC_COSTLY_ORDER and lack_of_memory(s, z, order):
        return COMPACT_SKIPPED
    return COMPACT_CONTINUE


@part
def compaction_deferred(s, z, order):  # type: ignore[no-untyped-def]
    """Whether the zone waits after failures; counts the attempt (:155)."""
    at = z * ZS
    if order < s.zone[at + Z_COMPACT_ORDER_FAILED]:
        return False
    limit = 1 << s.zone[at + Z_COMPACT_DEFER_SHIFT]
    s.zone[at + Z_COMPACT_CONSIDERED] += 1
    if s.zone[at + Z_COMPACT_CONSIDERED] >= limit:
        s.zone[at + Z_COMPACT_CONSIDERED] = limit
        return False
    return True


@part
def defer_compaction(s, z, order):  # type: ignore[no-untyped-def]
    """A compaction failed: wait twice as many attempts (:126)."""
    at = z * ZS
    s.zone[at + Z_COMPACT_CONSIDERED] = 0
    s.zone[at + Z_COMPACT_DEFER_SHIFT] = min(s.zone[at + Z_COMPACT_DEFER_SHIFT] + 1, COMPACT_MAX_DEFER_SHIFT)
    s.zone[at + Z_COMPACT_ORDER_FAILED] = min(s.zone[at + Z_COMPACT_ORDER_FAILED], order)


@part
def compaction_defer_reset(s, z, order):  # type: ignore[no-untyped-def]
    """A compaction succeeded, an allocation has not yet (:170)."""
    at = z * ZS + Z_COMPACT_ORDER_FAILED
    s.zone[at] = max(s.zone[at], order + 1)
