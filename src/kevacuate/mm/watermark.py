# SPDX-License-Identifier: GPL-2.0-or-later
"""Watermark tests, the boost, and whether a node is balanced (mm/page_alloc.c, mm/vmscan.c, 7.2).

Approximate in one respect: NR_FREE_PAGES is exact here, while the kernel folds per-CPU deltas late, so near a mark it can decide
differently by up to threshold * CPUs pages.
"""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm import constants as k
from kevacuate.mm.buddy import free_list
from kevacuate.mm.fields import View
from kevacuate.mm.log import log_event


@part(inline=True)
def wmark_pages(s: View, z: int, which: int) -> int:
    """The effective mark: the boost is part of every one (mmzone.h:1169)."""
    zone = s.zone[z]
    return zone.watermark[which] + zone.watermark_boost


@part(inline=True)
def unusable_free(s: View, z: int, order: int, alloc_flags: int) -> int:
    """__zone_watermark_unusable_free: pages this request may not use (:3561)."""
    zone = s.zone[z]
    pages = (1 << order) - 1
    if not alloc_flags & k.ALLOC_RESERVES:
        pages += zone.nr_free_highatomic
    if not alloc_flags & k.ALLOC_CMA:
        pages += zone.nr_free_cma
    return pages


@part(inline=True)
def has_free_chunk(s: View, z: int, order: int, alloc_flags: int) -> bool:
    """Whether some list of *order* or more that this request may use is not empty; any of U, M, R counts (:3630)."""
    for o in range(order, s.cfg.max_page_order + 1):
        if s.zone[z].free_area[o] == 0:
            continue
        for mt in range(k.MIGRATE_PCPTYPES):
            head = free_list(s, z, o, mt)
            if s.link[2 * head] != head:
                return True
        head = free_list(s, z, o, k.MIGRATE_CMA)
        if alloc_flags & k.ALLOC_CMA and s.link[2 * head] != head:
            return True
        head = free_list(s, z, o, k.MIGRATE_HIGHATOMIC)
        if alloc_flags & (k.ALLOC_HIGHATOMIC | k.ALLOC_OOM) and s.link[2 * head] != head:
            return True
    return False


@part(cold=True)
def zone_watermark_ok(s: View, z: int, order: int, mark: int, highest_zoneidx: int, alloc_flags: int) -> int:
    """zone_watermark_ok for a mark in pages, with the reserve against *highest_zoneidx* (:3588)."""
    return zone_watermark_ok_free(s, z, order, mark, highest_zoneidx, alloc_flags, s.zone[z].nr_free_pages)


@part(inline=True)
def zone_watermark_ok_free(
    s: View, z: int, order: int, mark: int, highest_zoneidx: int, alloc_flags: int, free: int
) -> int:
    """__zone_watermark_ok: the same with *free* pages given."""
    free -= unusable_free(s, z, order, alloc_flags)
    least = mark
    if alloc_flags & k.ALLOC_RESERVES:
        if alloc_flags & k.ALLOC_MIN_RESERVE:
            least -= least // 2
            if alloc_flags & k.ALLOC_NON_BLOCK:
                least -= least // 4
        if alloc_flags & k.ALLOC_OOM:
            least -= least // 2
    if free <= least + s.zone[z].lowmem_reserve[highest_zoneidx]:
        return False
    if order == 0:
        return True
    return has_free_chunk(s, z, order, alloc_flags)


@part(inline=True)
def zone_watermark_fast(
    s: View, z: int, order: int, mark: int, highest_zoneidx: int, alloc_flags: int
) -> int:
    """zone_watermark_fast: the order-0 shortcut, then the full test (:3673)."""
    zone = s.zone[z]
    if order == 0:
        free = zone.nr_free_pages
        usable = free - min(free, unusable_free(s, z, 0, alloc_flags))
        if usable > mark + zone.lowmem_reserve[highest_zoneidx]:
            return True
    return zone_watermark_slow(s, z, order, mark, highest_zoneidx, alloc_flags)


@part(cold=True)
def zone_watermark_slow(
    s: View, z: int, order: int, mark: int, highest_zoneidx: int, alloc_flags: int
) -> int:
    """The rest of zone_watermark_fast, with the retest of an atomic request against the unboosted MIN.

    Requests above order 0 all come here, so the test is inlined: one call, not three.
    """
    zone = s.zone[z]
    if zone_watermark_ok_free(s, z, order, mark, highest_zoneidx, alloc_flags, zone.nr_free_pages):
        return True
    if (
        order == 0
        and alloc_flags & k.ALLOC_MIN_RESERVE
        and zone.watermark_boost != 0
        and alloc_flags & k.ALLOC_WMARK_MASK == k.WMARK_MIN
    ):
        return zone_watermark_ok(s, z, order, zone.watermark[k.WMARK_MIN], highest_zoneidx, alloc_flags)
    return False


@part(cold=True)
def boost_watermark(s: View, z: int, alloc_flags: int) -> None:
    """Raise the zone's boost by a block, bounded; mark it for kswapd if the request may wake it (:2163)."""
    zone = s.zone[z]
    factor = s.cfg.watermark_boost_factor
    pageblock_pages = 1 << s.cfg.pageblock_order
    if factor == 0 or 4 * pageblock_pages > zone.managed_pages:
        return
    most = zone.watermark[k.WMARK_HIGH] * factor // 10000
    if most == 0:
        return
    most = max(pageblock_pages, most)
    boost = min(zone.watermark_boost + pageblock_pages, most)
    zone.watermark_boost = boost
    s.stat.boosts += 1
    log_event(s, k.L_BOOST, -1, z, boost, 0, 0)
    if alloc_flags & k.ALLOC_KSWAPD:
        zone.boosted_watermark = 1


@part
def pgdat_balanced(s: View, node: int, order: int, highest_zoneidx: int) -> bool:
    """Whether a zone of the node up to *highest_zoneidx* passes at HIGH (mm/vmscan.c:6861); with none managed it is balanced."""
    managed = False
    for z in range(s.cfg.nr_zones):
        zone = s.zone[z]
        if zone.node != node or zone.index > highest_zoneidx or zone.managed_pages == 0:
            continue
        managed = True
        free = zone.nr_free_pages
        if s.cfg.defrag_mode and order > 0:
            free = zone.nr_free_pages_blocks
        if zone_watermark_ok_free(s, z, order, wmark_pages(s, z, k.WMARK_HIGH), highest_zoneidx, 0, free):
            return True
    return not managed


@part
def node_boosted(s: View, node: int, highest_zoneidx: int) -> bool:
    """Whether any zone of the node up to *highest_zoneidx* has a watermark boost."""
    for z in range(s.cfg.nr_zones):
        zone = s.zone[z]
        mine = zone.node == node and zone.index <= highest_zoneidx and zone.managed_pages != 0
        if mine and zone.watermark_boost != 0:
            return True
    return False
