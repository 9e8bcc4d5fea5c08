# SPDX-License-Identifier: GPL-2.0-or-later
"""The slow path of an allocation, and all of it in an open loop: __alloc_pages_slowpath (mm/page_alloc.c, 7.2)."""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm import constants as k
from kevacuate.mm.fields import View
from kevacuate.mm.get_page import first_zones_zonelist, get_page_from_freelist, gfp_zone, zonelist_length
from kevacuate.mm.pcp import drain_all_pages
from kevacuate.mm.region_evacuate import evacuate_for, evacuates_for
from kevacuate.mm.slowpath_closed import slowpath_closed_loop
from kevacuate.mm.slowpath_flags import (
    LOCAL_HUGE_PAGE,
    compacts_first,
    gfp_to_alloc_flags,
    unreserve_highatomic_pageblock,
    wake_all_kswapds,
)


@part(cold=True)
def slowpath_open_loop(s: View, cpu: int, order: int, mt: int, gfp: int, node: int) -> int:
    """The slow path of an open-loop replay: reclaim's and compaction's work is in the demand (:4781)."""
    alloc_flags = gfp_to_alloc_flags(s, order, mt, gfp)
    if alloc_flags & k.ALLOC_KSWAPD:
        wake_all_kswapds(s, order, node, gfp)
    pfn = get_page_from_freelist(s, cpu, order, mt, alloc_flags, node, gfp)
    if pfn < 0 and gfp & k.GFP_MEMALLOC and not gfp & k.GFP_NOMEMALLOC:
        alloc_flags = k.ALLOC_NO_WATERMARKS | (alloc_flags & (k.ALLOC_CMA | k.ALLOC_KSWAPD))
        pfn = get_page_from_freelist(s, cpu, order, mt, alloc_flags, node, gfp)
    if pfn < 0:
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
    return compacts_first(order, mt) and gfp & LOCAL_HUGE_PAGE == LOCAL_HUGE_PAGE and gfp & k.GFP_IO != 0


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
    if (
        pfn < 0
        and may_retry
        and evacuates_for(s, mt, alloc_flags)
        and evacuate_for(s, cpu, order, mt, gfp, node)
    ):
        pfn = get_page_from_freelist(s, cpu, order, mt, alloc_flags, node, gfp)
    if pfn < 0 and may_retry and alloc_flags & k.ALLOC_NOFRAGMENT:
        pfn = get_page_from_freelist(s, cpu, order, mt, alloc_flags & ~k.ALLOC_NOFRAGMENT, node, gfp)
    if pfn < 0 and gfp & k.GFP_NOFAIL:
        alloc_flags = k.ALLOC_MIN_RESERVE | (alloc_flags & k.ALLOC_NO_WATERMARKS)
        pfn = get_page_from_freelist(s, cpu, order, mt, alloc_flags, node, gfp)
    return pfn


@part(cold=True)
def alloc_pages_slowpath(s: View, cpu: int, order: int, mt: int, gfp: int, node: int) -> int:
    """What a request does that the fast path cannot serve (:4781); the page, or -1."""
    s.stat.slowpath += 1
    no_zone = first_zones_zonelist(s, node, gfp_zone(gfp)) >= zonelist_length(s, node, gfp)
    if s.cfg.open_loop:
        return -1 if no_zone else slowpath_open_loop(s, cpu, order, mt, gfp, node)
    if no_zone:
        s.stat.slowpath_exit[k.EXIT_NO_ZONE] += 1
        return -1
    return slowpath_closed_loop(s, cpu, order, mt, gfp, node)
