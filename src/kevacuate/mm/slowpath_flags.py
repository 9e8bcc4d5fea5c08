# SPDX-License-Identifier: GPL-2.0-or-later
"""What the slow path does in either loop: its alloc_flags, waking kswapds, giving the reserve back (mm/page_alloc.c, 7.2)."""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm import constants as k
from kevacuate.mm.fields import View
from kevacuate.mm.get_page import first_zones_zonelist, gfp_zone, zonelist_length
from kevacuate.mm.highatomic import unreserve_zone
from kevacuate.mm.wakeups import wakeup_kswapd

LOCAL_HUGE_PAGE = k.GFP_NORETRY | k.GFP_THISNODE
"""What a huge fault has that tries its own node first (alloc_pages_mpol): it may compact, not reclaim."""


@part
def compacts_first(order: int, mt: int) -> bool:
    """Whether the slow path compacts before it reclaims: costly orders, and others that are not movable (:4829)."""
    return order > k.PAGE_ALLOC_COSTLY_ORDER or (order > 0 and mt != k.MIGRATE_MOVABLE)


@part
def has_cheap_fallback(gfp: int) -> bool:
    """Whether who asks does well without: __GFP_NORETRY but not __GFP_RETRY_MAYFAIL, or the shape of an atomic request.

    "Reliable 1GB page allocation" (40 patches of 2026-05-20), number 26: no direct reclaim, no __GFP_NOMEMALLOC, no __GFP_NOFAIL.
    """
    if gfp & k.GFP_NORETRY and not gfp & k.GFP_RETRY_MAYFAIL:
        return True
    return not gfp & (k.GFP_DIRECT_RECLAIM | k.GFP_NOMEMALLOC | k.GFP_NOFAIL)


@part
def cheap_flag(s: View, gfp: int) -> int:
    """ALLOC_CHEAP for requests with a cheap fallback, where these may not taint a region."""
    return k.ALLOC_CHEAP if s.cfg.region_cheap_taints == 0 and has_cheap_fallback(gfp) else 0


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
    if s.cfg.nofragment_kept and s.cfg.zone_dma32:
        alloc_flags |= k.ALLOC_NOFRAGMENT
    return alloc_flags | cheap_flag(s, gfp)


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
