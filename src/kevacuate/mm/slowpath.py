# SPDX-License-Identifier: GPL-2.0-or-later
"""The slow path of an allocation: __alloc_pages_slowpath (mm/page_alloc.c, 7.2)."""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm import constants as k
from kevacuate.mm.fields import View
from kevacuate.mm.get_page import first_zones_zonelist, get_page_from_freelist, gfp_zone, zonelist_length
from kevacuate.mm.highatomic import unreserve_zone
from kevacuate.mm.pcp import drain_all_pages
from kevacuate.mm.wakeups import wakeup_kswapd

_GIVES_UP = k.GFP_NORETRY | k.GFP_THISNODE


@part
def gfp_to_alloc_flags(s: View, order: int, mt: int, gfp: int) -> int:
    """alloc_flags of the slow path (:4533)."""
    alloc_flags = k.WMARK_MIN | (gfp & k.GFP_KSWAPD_RECLAIM)
    if gfp & k.GFP_HIGH:
        alloc_flags |= k.ALLOC_MIN_RESERVE
    if not gfp & k.GFP_DIRECT_RECLAIM and not gfp & k.GFP_NOMEMALLOC:
        alloc_flags |= k.ALLOC_NON_BLOCK
        if order > 0 and gfp & k.GFP_HIGH:
            alloc_flags |= k.ALLOC_HIGHATOMIC
    if mt == k.MIGRATE_MOVABLE:
        alloc_flags |= k.ALLOC_CMA
    if s.cfg.defrag_mode and s.cfg.zone_dma32:
        alloc_flags |= k.ALLOC_NOFRAGMENT
    return alloc_flags


@part(cold=True)
def wake_all_kswapds(s: View, order: int, node: int, gfp: int) -> None:
    """Wake kswapd once per node of the zonelist."""
    highest_zoneidx = gfp_zone(gfp)
    if s.cfg.defrag_mode:
        order = max(order, s.cfg.pageblock_order)
    zonelist = s.node[node].zonelist
    last = -1
    for i in range(first_zones_zonelist(s, node, highest_zoneidx), zonelist_length(s, node, gfp)):
        z = zonelist[i]
        zone = s.zone[z]
        if zone.index > highest_zoneidx or zone.managed_pages == 0:
            continue
        if zone.node != last:
            wakeup_kswapd(s, z, order, highest_zoneidx, gfp)
            last = zone.node


@part(cold=True)
def unreserve_highatomic_pageblock(s: View, mt: int, node: int, gfp: int, force: bool) -> bool:
    """Give back one highatomic block of the zonelist's zones (:3504); whether pages moved."""
    highest_zoneidx = gfp_zone(gfp)
    zonelist = s.node[node].zonelist
    for i in range(first_zones_zonelist(s, node, highest_zoneidx), zonelist_length(s, node, gfp)):
        z = zonelist[i]
        zone = s.zone[z]
        if zone.index > highest_zoneidx:
            continue
        reserved = zone.nr_reserved_highatomic
        if not force and reserved <= 1 << s.cfg.pageblock_order:
            continue
        if unreserve_zone(s, z, mt) > 0:
            return True
    return False


@part(cold=True)
def alloc_pages_slowpath(s: View, cpu: int, order: int, mt: int, gfp: int, node: int) -> int:
    """The slow path of an open-loop replay: reclaim's and compaction's work is in the demand (:4781)."""
    s.stat.slowpath += 1
    if first_zones_zonelist(s, node, gfp_zone(gfp)) >= zonelist_length(s, node, gfp):
        return -1
    alloc_flags = gfp_to_alloc_flags(s, order, mt, gfp)
    if alloc_flags & k.ALLOC_KSWAPD:
        wake_all_kswapds(s, order, node, gfp)
    pfn = get_page_from_freelist(s, cpu, order, mt, alloc_flags, node, gfp)
    if pfn < 0 and gfp & k.GFP_MEMALLOC and not gfp & k.GFP_NOMEMALLOC:
        alloc_flags = k.ALLOC_NO_WATERMARKS | (alloc_flags & (k.ALLOC_CMA | k.ALLOC_KSWAPD))
        pfn = get_page_from_freelist(s, cpu, order, mt, alloc_flags, node, gfp)
    if pfn < 0 and s.cfg.open_loop:
        alloc_flags |= k.ALLOC_NO_WATERMARKS
        pfn = get_page_from_freelist(s, cpu, order, mt, alloc_flags, node, gfp)
        if pfn >= 0:
            s.stat.below_watermark += 1
    if pfn >= 0:
        return pfn
    if not gfp & k.GFP_DIRECT_RECLAIM:
        if alloc_flags & k.ALLOC_NOFRAGMENT and alloc_flags & k.ALLOC_KSWAPD:
            pfn = get_page_from_freelist(s, cpu, order, mt, alloc_flags & ~k.ALLOC_NOFRAGMENT, node, gfp)
        return pfn
    return direct_reclaim_retry(s, cpu, order, mt, gfp, node, alloc_flags)


@part
def compacts_only(order: int, mt: int, gfp: int) -> int:
    """Whether a request compacts first and then gives up, without reclaim: as for a huge page of one node alone (:4955)."""
    compact_first = order > k.PAGE_ALLOC_COSTLY_ORDER or (order > 0 and mt != k.MIGRATE_MOVABLE)
    return compact_first and gfp & _GIVES_UP == _GIVES_UP and gfp & k.GFP_IO != 0


@part(cold=True)
def direct_reclaim_retry(
    s: View, cpu: int, order: int, mt: int, gfp: int, node: int, alloc_flags: int
) -> int:
    """What __alloc_pages_direct_reclaim and the retries do besides reclaiming (:4469, :4637).

    A request that is not retried goes to nopage: only one that is drops ALLOC_NOFRAGMENT.
    """
    pfn = -1
    if not compacts_only(order, mt, gfp):
        pfn = get_page_from_freelist(s, cpu, order, mt, alloc_flags, node, gfp)
        if pfn < 0:
            unreserve_highatomic_pageblock(s, mt, node, gfp, False)
            drain_all_pages(s)
            pfn = get_page_from_freelist(s, cpu, order, mt, alloc_flags, node, gfp)
    costly_again = gfp & k.GFP_RETRY_MAYFAIL and gfp & k.GFP_IO
    may_retry = not gfp & k.GFP_NORETRY and (order <= k.PAGE_ALLOC_COSTLY_ORDER or costly_again)
    if pfn < 0 and may_retry and unreserve_highatomic_pageblock(s, mt, node, gfp, True):
        pfn = get_page_from_freelist(s, cpu, order, mt, alloc_flags, node, gfp)
    if pfn < 0 and may_retry and alloc_flags & k.ALLOC_NOFRAGMENT:
        pfn = get_page_from_freelist(s, cpu, order, mt, alloc_flags & ~k.ALLOC_NOFRAGMENT, node, gfp)
    if pfn < 0 and gfp & k.GFP_NOFAIL:
        alloc_flags = k.ALLOC_MIN_RESERVE | (alloc_flags & k.ALLOC_NO_WATERMARKS)
        pfn = get_page_from_freelist(s, cpu, order, mt, alloc_flags, node, gfp)
    return pfn
