# SPDX-License-Identifier: GPL-2.0-or-later
"""Watermarks: the tests, the boost, their computation, and the pcp bounds that follow from them."""

from __future__ import annotations

from math import isqrt

from .constants import (
    AF_CMA,
    AF_HIGHATOMIC,
    AF_KSWAPD,
    AF_MIN_RESERVE,
    AF_NON_BLOCK,
    AF_OOM,
    AF_RESERVES,
    CMA,
    HIGHATOMIC,
    L_BOOST,
    PCPTYPES,
    SWAP_CLUSTER_MAX,
    WMARK_HIGH,
    WMARK_LOW,
    WMARK_MASK,
    WMARK_MIN,
    ZONE_MOVABLE,
)
from .machine import Machine
from .zone import Zone


def unusable_free(zone: Zone, order: int, flags: int) -> int:
    """Free pages that a request with these flags may not count (`__zone_watermark_unusable_free`)."""
    pages = (1 << order) - 1
    if not flags & AF_RESERVES:
        pages += zone.unusable_highatomic
    if not flags & AF_CMA:
        pages += zone.nr_free_cma
    return pages


def reserve_adjusted(mark: int, flags: int) -> int:
    """Lower the mark for requests that may dip into the reserves."""
    if flags & AF_MIN_RESERVE:
        mark -= mark // 2
        if flags & AF_NON_BLOCK:
            mark -= mark // 4
    if flags & AF_OOM:
        mark -= mark // 2
    return mark


def zone_watermark_ok(
    zone: Zone, order: int, mark: int, highest: int, flags: int, free: int | None = None
) -> bool:
    """`__zone_watermark_ok`; `free` defaults to the zone's free pages."""
    if free is None:
        free = zone.nr_free
    free -= unusable_free(zone, order, flags)
    if free <= reserve_adjusted(mark, flags) + zone.lowmem_reserve[highest]:
        return False
    if order == 0:
        return True
    return any(has_usable_buddy(zone, o, flags) for o in range(order, len(zone.free_area)))


def has_usable_buddy(zone: Zone, order: int, flags: int) -> bool:
    """Whether a list of this order that the flags allow holds anything, whatever type was asked for."""
    lists = zone.free_area[order].free_list
    if any(len(lists[mt]) for mt in range(PCPTYPES)):
        return True
    if flags & AF_CMA and len(lists[CMA]):
        return True
    return bool(flags & (AF_HIGHATOMIC | AF_OOM) and len(lists[HIGHATOMIC]))


def zone_watermark_fast(zone: Zone, order: int, mark: int, highest: int, flags: int) -> bool:
    """`zone_watermark_fast`: order-0 short cut, full test, MIN without boost for atomic order 0."""
    free = zone.nr_free
    if order == 0:
        usable = free - min(free, unusable_free(zone, 0, flags))
        if usable > mark + zone.lowmem_reserve[highest]:
            return True
    if zone_watermark_ok(zone, order, mark, highest, flags):
        return True
    if order == 0 and flags & AF_MIN_RESERVE and zone.boost and flags & WMARK_MASK == WMARK_MIN:
        return zone_watermark_ok(zone, 0, zone.watermark[WMARK_MIN], highest, flags)
    return False


def boost_watermark(m: Machine, zone: Zone, flags: int) -> None:
    """Raise the zone's boost by a pageblock (bounded), remember to wake kswapd if the request may."""
    if not m.config.watermark_boost_factor or 4 * m.block_pages > zone.managed:
        return
    bound = zone.watermark[WMARK_HIGH] * m.config.watermark_boost_factor // 10000
    if bound == 0:
        return
    zone.boost = min(zone.boost + m.block_pages, max(bound, m.block_pages))
    if flags & AF_KSWAPD:
        zone.boosted = True
    m.log(L_BOOST, -1, zone.number, zone.boost)


def calculate_min_free_kbytes(lowmem_kbytes: int) -> int:
    """Kernel default of vm.min_free_kbytes."""
    return min(max(isqrt(16 * lowmem_kbytes), 128), 262144)


def khugepaged_min_free_kbytes(zones: int, buffer_pages: int, current: int) -> int:
    """vm.min_free_kbytes once khugepaged runs: `zones` populated up to Normal, blocks of 512."""
    recommended = min(512 * zones * 2 + 512 * zones * 9, buffer_pages // 20)
    return max(current, recommended * 4)


def setup_per_zone_wmarks(m: Machine, min_free_kbytes: int) -> None:
    """Recompute all marks, forget boosts, and recompute the pcp bounds."""
    pages_min = min_free_kbytes // 4
    lowmem = sum(zone.managed for zone in m.zones if zone.index != ZONE_MOVABLE)
    for zone in m.zones:
        share = pages_min * zone.managed // max(lowmem, 1)
        mark = share
        if zone.index == ZONE_MOVABLE:
            mark = min(max(zone.managed // 1024, SWAP_CLUSTER_MAX), 128)
        gap = max(share // 4, zone.managed * 10 // 10000)
        zone.boost = 0
        zone.watermark = [mark, mark + gap, mark + 2 * gap, mark + 3 * gap]
    for zone in m.zones:
        zone_set_pcp_bounds(m, zone)


def zone_batchsize(managed: int) -> int:
    """Return the pcp batch of a zone with `managed` pages."""
    batch = min(managed >> 12, 64)
    if batch <= 1:
        return 1
    return (1 << ((batch + batch // 2).bit_length() - 1)) - 1


def zone_set_pcp_bounds(m: Machine, zone: Zone) -> None:
    """Set batch, high_min and high_max of the zone's pcps (`zone_set_pageset_high_and_batch`)."""
    cpus = m.config.cpu_node.count(zone.node) or len(m.config.cpu_node)
    batch = zone_batchsize(zone.managed)

    def share(pages: int) -> int:
        return max(pages // cpus, batch * 4)

    if m.config.pcp_high_fraction:
        high_min = high_max = share(zone.managed // m.config.pcp_high_fraction)
    else:
        high_min = share(zone.wmark_pages(WMARK_LOW))
        high_max = share(zone.managed // 8)
    for pcp in zone.pcps:
        pcp.batch, pcp.high_min, pcp.high_max = batch, high_min, high_max
        if not m.config.kernel.adaptive_high:
            pcp.high = pcp.high_max = high_min
