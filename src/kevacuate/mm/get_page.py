# SPDX-License-Identifier: GPL-2.0-or-later
"""From a zonelist to a page: get_page_from_freelist, rmqueue (mm/page_alloc.c, 7.2)."""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm import constants as k
from kevacuate.mm.buddy import page_zone, rmqueue_smallest
from kevacuate.mm.evacuate_queue import irq_work_run
from kevacuate.mm.fallback_6_1 import rmqueue_retry
from kevacuate.mm.fields import View
from kevacuate.mm.highatomic import reserve_highatomic_pageblock
from kevacuate.mm.pcp import pcp_allowed_order, rmqueue_pcplist
from kevacuate.mm.regions import note_content
from kevacuate.mm.rmqueue import rmqueue_mode
from kevacuate.mm.wakeups import kswapd_sleeps, wakeup_kswapd
from kevacuate.mm.watermark import wmark_pages, zone_watermark_fast


@part(inline=True)
def gfp_zone(gfp: int) -> int:
    """Highest zone index the request may use (GFP_ZONE_TABLE, 64-bit)."""
    if gfp & k.GFP_DMA:
        return k.ZONE_DMA
    if gfp & k.GFP_DMA32:
        return k.ZONE_DMA32
    if gfp & k.GFP_HIGHMEM and gfp & k.GFP_MOVABLE:
        return k.ZONE_MOVABLE
    return k.ZONE_NORMAL


@part(inline=True)
def first_zones_zonelist(s: View, node: int, highest_zoneidx: int) -> int:
    """Position in the zonelist of the preferred zone; the list's length if no zone is low enough."""
    pgdat = s.node[node]
    count = pgdat.nr_zonelist
    i = 0
    while i < count and s.zone[pgdat.zonelist[i]].index > highest_zoneidx:
        i += 1
    return i


@part(inline=True)
def zonelist_length(s: View, node: int, gfp: int) -> int:
    """How many zones of the list the request may visit: with __GFP_THISNODE only the node's own."""
    pgdat = s.node[node]
    count = pgdat.nr_zonelist
    if not gfp & k.GFP_THISNODE:
        return count
    own = 0
    while own < count and s.zone[pgdat.zonelist[own]].node == node:
        own += 1
    return own


@part
def rmqueue_one(s: View, z: int, order: int, mt: int, alloc_flags: int) -> int:
    """__rmqueue of a single chunk, with the kernel's fallback; -1 if none."""
    if s.cfg.steal_suitable:
        pfn, _ = rmqueue_retry(s, z, order, mt, alloc_flags, 0)
        if pfn >= 0 and s.cfg.region_order:
            note_content(s, pfn, order, mt)
    else:
        pfn, _ = rmqueue_mode(s, z, order, mt, alloc_flags, k.RMQUEUE_NORMAL)
    return pfn


@part(cold=True)
def rmqueue_reserve(s: View, z: int, order: int, mt: int) -> int:
    """A chunk of the highatomic reserve for a request of type *mt*; -1 if there is none."""
    pfn = rmqueue_smallest(s, z, order, k.MIGRATE_HIGHATOMIC)
    if pfn >= 0 and s.cfg.region_order:
        note_content(s, pfn, order, mt)
    return pfn


@part(cold=True)
def rmqueue_buddy(s: View, z: int, order: int, mt: int, alloc_flags: int) -> int:
    """One chunk straight from the buddy lists, with the highatomic reserve's rules (:3212); -1 if none."""
    pfn = -1
    if alloc_flags & k.ALLOC_HIGHATOMIC:
        pfn = rmqueue_reserve(s, z, order, mt)
    if pfn < 0:
        pfn = rmqueue_one(s, z, order, mt, alloc_flags)
        if pfn < 0 and alloc_flags & (k.ALLOC_OOM | k.ALLOC_NON_BLOCK):
            pfn = rmqueue_reserve(s, z, order, mt)
    irq_work_run(s, z)
    if pfn >= 0 and alloc_flags & k.ALLOC_HIGHATOMIC and not s.cfg.reserve_any_path:
        reserve_highatomic_pageblock(s, z, pfn, order)
    return pfn


@part(inline=True)
def rmqueue(s: View, z: int, cpu: int, order: int, mt: int, alloc_flags: int) -> int:
    """Per-CPU list first, then the buddy lists; then wake kswapd if a claim boosted the zone (:3403)."""
    zone = s.zone[z]
    pfn = -1
    if pcp_allowed_order(s, order):
        pfn = rmqueue_pcplist(s, z, cpu, order, mt, alloc_flags)
    if pfn < 0:
        pfn = rmqueue_buddy(s, z, order, mt, alloc_flags)
    if zone.boosted_watermark and (alloc_flags & k.ALLOC_KSWAPD or s.cfg.boost_wakes_all):
        zone.boosted_watermark = 0
        wakeup_kswapd(s, z, 0, zone.index, 0)
    return pfn


@part(inline=True)
def zone_allows(s: View, z: int, order: int, highest_zoneidx: int, alloc_flags: int) -> bool:
    """The two watermark tests of get_page_from_freelist; the first maintains ZONE_BELOW_HIGH (:3860)."""
    zone = s.zone[z]
    if zone.below_high == 0:
        if zone_watermark_fast(s, z, order, wmark_pages(s, z, k.WMARK_HIGH), highest_zoneidx, alloc_flags):
            return True
        zone.below_high = s.cfg.below_high
    mark = wmark_pages(s, z, alloc_flags & k.ALLOC_WMARK_MASK)
    if (
        zone_watermark_fast(s, z, order, mark, highest_zoneidx, alloc_flags)
        or alloc_flags & k.ALLOC_NO_WATERMARKS
    ):
        return True
    s.stat.watermark_refused += 1
    return False


@part(inline=False)
def walk_zonelist(
    s: View, cpu: int, order: int, mt: int, alloc_flags: int, node: int, gfp: int, tried: int
) -> int:
    """Take a page from the first zone of the zonelist that allows it; -1 if none does.

    *tried* is 1 if the preferred zone has refused already, else 0.
    """
    highest_zoneidx = gfp_zone(gfp)
    zonelist = s.node[node].zonelist
    first = first_zones_zonelist(s, node, highest_zoneidx)
    count = zonelist_length(s, node, gfp)
    nodes = s.cfg.nr_nodes
    skip_awake = s.cfg.skip_awake != 0
    while True:
        skipped = False
        restart = False
        no_fallback = alloc_flags & k.ALLOC_NOFRAGMENT and not s.cfg.nofragment_kept
        for i in range(first + tried, count):
            z = zonelist[i]
            zone = s.zone[z]
            if zone.index > highest_zoneidx:
                continue
            zone_node = zone.node
            if no_fallback and nodes > 1 and zone_node != s.zone[zonelist[first]].node:
                restart = True
                break
            if skip_awake and not kswapd_sleeps(s.node[zone_node]):
                skipped = True
                continue
            if zone_allows(s, z, order, highest_zoneidx, alloc_flags):
                pfn = rmqueue(s, z, cpu, order, mt, alloc_flags)
                if pfn >= 0:
                    return pfn
        tried = 0
        if not restart and skip_awake and skipped:
            skip_awake = False
        elif restart or no_fallback:
            alloc_flags &= ~k.ALLOC_NOFRAGMENT
        else:
            return -1


@part(inline=False)
def get_page_from_freelist(
    s: View, cpu: int, order: int, mt: int, alloc_flags: int, node: int, gfp: int
) -> int:
    """get_page_from_freelist (:3794), out of line: the fast path, which never may use the highatomic reserve, has its own
    copy of what it does.
    """
    pfn = walk_zonelist(s, cpu, order, mt, alloc_flags, node, gfp, 0)
    if pfn >= 0 and alloc_flags & k.ALLOC_HIGHATOMIC and s.cfg.reserve_any_path:
        reserve_highatomic_pageblock(s, page_zone(s, pfn), pfn, order)
    return pfn


@part(inline=True)
def get_page_from_preferred_zone(
    s: View, cpu: int, order: int, mt: int, alloc_flags: int, node: int, gfp: int, first: int
) -> int:
    """get_page_from_freelist of the fast path: from the zone at *first*, as nearly always, or from another."""
    pgdat = s.node[node]
    tried = 0
    if first < pgdat.nr_zonelist and not gfp & k.GFP_THISNODE and s.cfg.skip_awake == 0:
        tried = 1
        z = pgdat.zonelist[first]
        if zone_allows(s, z, order, gfp_zone(gfp), alloc_flags):
            pfn = rmqueue(s, z, cpu, order, mt, alloc_flags)
            if pfn >= 0:
                return pfn
    return walk_zonelist(s, cpu, order, mt, alloc_flags, node, gfp, tried)
