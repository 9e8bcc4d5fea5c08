# SPDX-License-Identifier: GPL-2.0-or-later
"""Watermark tests, the boost, and whether a node is balanced (mm/page_alloc.c, mm/vmscan.c, 7.2).

Approximate in one respect: NR_FREE_PAGES is exact here, while the kernel folds per-CPU deltas late, so near a mark it can decide
differently by up to threshold * CPUs pages.
"""

from __future__ import annotations

from kevacuate.mm.buddy import free_list
from kevacuate.mm.constants import (
    ALLOC_CMA,
    ALLOC_HIGHATOMIC,
    ALLOC_KSWAPD,
    ALLOC_MIN_RESERVE,
    ALLOC_NON_BLOCK,
    ALLOC_OOM,
    ALLOC_RESERVES,
    ALLOC_WMARK_MASK,
    C_BOOST_FACTOR,
    C_DEFRAG_MODE,
    C_MAX_PAGE_ORDER,
    C_NZONES,
    C_OFF_KCOMPACTD,
    C_PAGEBLOCK_ORDER,
    KC_LISTS,
    L_BOOST,
    MIGRATE_CMA,
    MIGRATE_HIGHATOMIC,
    MIGRATE_PCPTYPES,
    T_BOOSTS,
    WMARK_HIGH,
    WMARK_MIN,
    Z_AREA,
    Z_BOOST,
    Z_BOOSTED,
    Z_INDEX,
    Z_LOWMEM,
    Z_MANAGED,
    Z_NODE,
    Z_NR_FREE,
    Z_NR_FREE_BLOCKS,
    Z_NR_FREE_CMA,
    Z_NR_FREE_HIGHATOMIC,
    Z_WMARK,
    ZS,
)
from kevacuate.mm.jit import part
from kevacuate.mm.log import log_event


@part(inline=True)
def wmark_pages(s, z, which):  # type: ignore[no-untyped-def]
    """The effective mark: the boost is part of every one (mmzone.h:1169)."""
    return s.zone[z * ZS + Z_WMARK + which] + s.zone[z * ZS + Z_BOOST]


@part(inline=True)
def unusable_free(s, z, order, flags):  # type: ignore[no-untyped-def]
    """__zone_watermark_unusable_free: pages this request may not use (:3561)."""
    pages = (1 << order) - 1
    if not flags & ALLOC_RESERVES:
        pages += s.zone[z * ZS + Z_NR_FREE_HIGHATOMIC]
    if not flags & ALLOC_CMA:
        pages += s.zone[z * ZS + Z_NR_FREE_CMA]
    return pages


@part(inline=True)
def has_free_chunk(s, z, order, flags):  # type: ignore[no-untyped-def]
    """Whether some list of *order* or more that this request may use is not empty; any of U, M, R counts (:3630)."""
    for o in range(order, s.cfg[C_MAX_PAGE_ORDER] + 1):
        if s.zone[z * ZS + Z_AREA + o] == 0:
            continue
        for mt in range(MIGRATE_PCPTYPES):
            head = free_list(s, z, o, mt)
            if s.link[2 * head] != head:
                return True
        head = free_list(s, z, o, MIGRATE_CMA)
        if flags & ALLOC_CMA and s.link[2 * head] != head:
            return True
        head = free_list(s, z, o, MIGRATE_HIGHATOMIC)
        if flags & (ALLOC_HIGHATOMIC | ALLOC_OOM) and s.link[2 * head] != head:
            return True
    return False


@part(cold=True)
def zone_watermark_ok(s, z, order, mark, hi, flags):  # type: ignore[no-untyped-def]
    """zone_watermark_ok for a mark in pages and highest zone index *hi* (:3588)."""
    return zone_watermark_ok_free(s, z, order, mark, hi, flags, s.zone[z * ZS + Z_NR_FREE])


@part(inline=True)
def zone_watermark_ok_free(s, z, order, mark, hi, flags, free):  # type: ignore[no-untyped-def]
    """__zone_watermark_ok: the same with *free* pages given."""
    free -= unusable_free(s, z, order, flags)
    least = mark
    if flags & ALLOC_RESERVES:
        if flags & ALLOC_MIN_RESERVE:
            least -= least // 2
            if flags & ALLOC_NON_BLOCK:
                least -= least // 4
        if flags & ALLOC_OOM:
            least -= least // 2
    if free <= least + s.zone[z * ZS + Z_LOWMEM + hi]:
        return False
    if order == 0:
        return True
    return has_free_chunk(s, z, order, flags)


@part(inline=True)
def zone_watermark_fast(s, z, order, mark, hi, flags):  # type: ignore[no-untyped-def]
    """zone_watermark_fast: the order-0 shortcut, then the full test (:3673)."""
    if order == 0:
        free = s.zone[z * ZS + Z_NR_FREE]
        usable = free - min(free, unusable_free(s, z, 0, flags))
        if usable > mark + s.zone[z * ZS + Z_LOWMEM + hi]:
            return True
    return zone_watermark_slow(s, z, order, mark, hi, flags)


@part(cold=True)
def zone_watermark_slow(s, z, order, mark, hi, flags):  # type: ignore[no-untyped-def]
    """The rest of zone_watermark_fast, with the retest of an atomic request against the unboosted MIN.

    Requests above order 0 all come here, so the test is inlined: one call, not three.
    """
    if zone_watermark_ok_free(s, z, order, mark, hi, flags, s.zone[z * ZS + Z_NR_FREE]):
        return True
    if (
        order == 0
        and flags & ALLOC_MIN_RESERVE
        and s.zone[z * ZS + Z_BOOST] != 0
        and flags & ALLOC_WMARK_MASK == WMARK_MIN
    ):
        return zone_watermark_ok(s, z, order, s.zone[z * ZS + Z_WMARK + WMARK_MIN], hi, flags)
    return False


@part(cold=True)
def boost_watermark(s, z, flags):  # type: ignore[no-untyped-def]
    """Raise the zone's boost by a block, bounded; mark it for kswapd if the request may wake it (:2163)."""
    at = z * ZS
    factor = s.cfg[C_BOOST_FACTOR]
    pageblock_pages = 1 << s.cfg[C_PAGEBLOCK_ORDER]
    if factor == 0 or 4 * pageblock_pages > s.zone[at + Z_MANAGED]:
        return
    most = s.zone[at + Z_WMARK + WMARK_HIGH] * factor // 10000
    if most == 0:
        return
    most = max(pageblock_pages, most)
    boost = min(s.zone[at + Z_BOOST] + pageblock_pages, most)
    s.zone[at + Z_BOOST] = boost
    s.stat[T_BOOSTS] += 1
    log_event(s, L_BOOST, -1, z, boost, 0, 0)
    if flags & ALLOC_KSWAPD:
        s.zone[at + Z_BOOSTED] = 1


@part
def pgdat_balanced(s, node, order, hi):  # type: ignore[no-untyped-def]
    """Whether any zone of the node up to *hi* passes at HIGH (mm/vmscan.c:6861); with none managed it is balanced."""
    managed = False
    for z in range(s.cfg[C_NZONES]):
        at = z * ZS
        if s.zone[at + Z_NODE] != node or s.zone[at + Z_INDEX] > hi or s.zone[at + Z_MANAGED] == 0:
            continue
        managed = True
        free = s.zone[at + Z_NR_FREE]
        if s.cfg[C_DEFRAG_MODE] and order > 0:
            free = s.zone[at + Z_NR_FREE_BLOCKS]
        if zone_watermark_ok_free(s, z, order, wmark_pages(s, z, WMARK_HIGH), hi, 0, free):
            return True
    return not managed


@part
def node_boosted(s, node, hi):  # type: ignore[no-untyped-def]
    """Whether any zone of the node up to *hi* has a watermark boost."""
    for z in range(s.cfg[C_NZONES]):
        at = z * ZS
        mine = s.zone[at + Z_NODE] == node and s.zone[at + Z_INDEX] <= hi and s.zone[at + Z_MANAGED] != 0
        if mine and s.zone[at + Z_BOOST] != 0:
            return True
    return False


@part
def kcompactd_at(s, node):  # type: ignore[no-untyped-def]
    """Offset in ``work`` of the node's kcompactd."""
    return s.cfg[C_OFF_KCOMPACTD] + node * (KC_LISTS + (2 << s.cfg[C_PAGEBLOCK_ORDER]))
