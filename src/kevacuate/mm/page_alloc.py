# SPDX-License-Identifier: GPL-2.0-or-later
"""Allocation from the outside in: the fast path, and alloc_pages_bulk (mm/page_alloc.c, 7.2)."""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm import constants as k
from kevacuate.mm.fields import View
from kevacuate.mm.get_page import (
    first_zones_zonelist,
    get_page_from_preferred_zone,
    gfp_zone,
    zonelist_length,
)
from kevacuate.mm.hooks import hooked, hooked_gfp_migratetype
from kevacuate.mm.log import log_event
from kevacuate.mm.page_free import prep_new_page
from kevacuate.mm.pcp import rmqueue_pcplist_pop
from kevacuate.mm.slowpath import alloc_pages_slowpath
from kevacuate.mm.slowpath_flags import cheap_flag
from kevacuate.mm.watermark import wmark_pages, zone_watermark_fast
from kevacuate.mm.writeback import noted

_THP = k.GFP_MOVABLE | k.GFP_COMP | k.GFP_NOMEMALLOC | k.GFP_NOWARN
"""What every request for a transparent huge page has among its flags."""


@part(inline=True)
def gfp_migratetype(s: View, order: int, mt: int, gfp: int) -> int:
    """The requested type; unmovable where grouping by mobility is disabled; what the policy says where it has a say."""
    if s.cfg.page_group_by_mobility_disabled and mt < k.MIGRATE_PCPTYPES:
        return k.MIGRATE_UNMOVABLE
    if hooked(s, k.HOOK_GFP_MIGRATETYPE):
        return hooked_gfp_migratetype(s, order, mt, gfp)
    return mt


@part(inline=True)
def alloc_flags_nofragment(s: View, node: int, gfp: int, first: int) -> int:
    """ALLOC_KSWAPD from gfp, and ALLOC_NOFRAGMENT where a lower zone than that at *first* can take the fallback (:3742)."""
    alloc_flags = gfp & k.GFP_KSWAPD_RECLAIM
    if s.cfg.nofragment_apart:
        return alloc_flags | nofragment_apart(s, node, gfp, first)
    return alloc_flags | nofragment_of_zones(s, node, first)


@part(inline=True)
def nofragment_of_zones(s: View, node: int, first: int) -> int:
    """ALLOC_NOFRAGMENT if the zone at *first* is ZONE_NORMAL and a lower one is populated."""
    pgdat = s.node[node]
    count = pgdat.nr_zonelist
    if first >= count:
        return 0
    preferred = pgdat.zonelist[first]
    if s.zone[preferred].index != k.ZONE_NORMAL:
        return 0
    if s.cfg.nr_nodes == 1:
        return k.ALLOC_NOFRAGMENT
    for i in range(count):
        z = pgdat.zonelist[i]
        zone = s.zone[z]
        same_node = zone.node == s.zone[preferred].node
        if same_node and zone.index == k.ZONE_DMA32:
            return k.ALLOC_NOFRAGMENT
    return 0


@part(cold=True)
def nofragment_apart(s: View, node: int, gfp: int, first: int) -> int:
    """The same where there is no ZONE_DMA32, under defrag_mode, and where requests with a cheap fallback are told apart."""
    alloc_flags = cheap_flag(s, gfp)
    if not s.cfg.zone_dma32:
        return alloc_flags
    if s.cfg.defrag_mode:
        return alloc_flags | k.ALLOC_NOFRAGMENT
    return alloc_flags | nofragment_of_zones(s, node, first)


@part(inline=True)
def alloc_frozen_pages(s: View, cpu: int, nid: int, order: int, mt: int, gfp: int) -> int:
    """__alloc_frozen_pages: fast path at LOW, then the slow path (:5324); the page, still without an owner, or -1."""
    node = nid if nid >= 0 else s.cpu[cpu].node
    first = first_zones_zonelist(s, node, gfp_zone(gfp))
    alloc_flags = k.WMARK_LOW | alloc_flags_nofragment(s, node, gfp, first)
    if mt == k.MIGRATE_MOVABLE:
        alloc_flags |= k.ALLOC_CMA
    pfn = get_page_from_preferred_zone(s, cpu, order, mt, alloc_flags, node, gfp, first)
    if pfn < 0:
        pfn = alloc_pages_slowpath(s, cpu, order, mt, gfp, node)
    return pfn


@part(inline=True)
def is_thp_fault(s: View, order: int, gfp: int, obj: int) -> bool:
    """Whether a request is a huge fault's: a huge page by the flags of vma_thp_gfp_mask (mm/huge_memory.c), for an object.

    khugepaged asks with the same flags (alloc_hugepage_khugepaged_gfpmask), so its requests count too.
    """
    return order == s.cfg.hpage_pmd_order and gfp & _THP == _THP and obj >= 0


@part(cold=True)
def count_thp_fault(s: View, pfn: int) -> None:
    """THP_FAULT_ALLOC, THP_FAULT_FALLBACK."""
    if pfn >= 0:
        s.stat.thp_fault_alloc += 1
    else:
        s.stat.thp_fault_fallback += 1


@part(inline=True)
def alloc_pages(s: View, cpu: int, nid: int, order: int, mt: int, gfp: int, attr: int, obj: int) -> int:
    """Allocate 2**order pages of type *mt* for object *obj* (-1: none) on *cpu*; the pfn, or -1."""
    s.stat.cpu = cpu
    pfn = alloc_frozen_pages(s, cpu, nid, order, gfp_migratetype(s, order, mt, gfp), gfp)
    if is_thp_fault(s, order, gfp, obj):
        count_thp_fault(s, pfn)
    if pfn < 0:
        s.stat.alloc_failed += 1
        log_event(s, k.L_ALLOC_FAILED, -1, order, mt, gfp, obj)
        if obj >= 0:
            s.obj[obj] = -1
        return pfn
    s.stat.allocs += 1
    prep_new_page(s, cpu, pfn, order, noted(s, mt, attr), obj)
    return pfn


@part(inline=False)
def alloc_pages_bulk(s: View, cpu: int, mt: int, gfp: int, attr: int, obj: int) -> int:
    """One page of an alloc_pages_bulk call (:5151): the preferred node's per-CPU list, else alloc_pages.

    With ALLOC_NOFRAGMENT where it is kept for the sake of regions; else without.
    """
    s.stat.cpu = cpu
    s.stat.bulk_allocs += 1
    asked = mt
    mt = gfp_migratetype(s, 0, mt, gfp)
    node = s.cpu[cpu].node
    highest_zoneidx = gfp_zone(gfp)
    alloc_flags = k.WMARK_LOW | (k.ALLOC_CMA if mt == k.MIGRATE_MOVABLE else 0)
    zonelist = s.node[node].zonelist
    first = first_zones_zonelist(s, node, highest_zoneidx)
    if s.cfg.region_nofragment_kept:
        alloc_flags |= alloc_flags_nofragment(s, node, gfp, first) & k.ALLOC_NOFRAGMENT
    for i in range(first, zonelist_length(s, node, gfp)):
        z = zonelist[i]
        zone = s.zone[z]
        preferred = zonelist[first]
        if zone.node != s.zone[preferred].node:
            break
        if zone.index > highest_zoneidx:
            continue
        mark = wmark_pages(s, z, k.WMARK_LOW) + 1
        if zone_watermark_fast(s, z, 0, mark, s.zone[preferred].index, alloc_flags):
            pfn = rmqueue_pcplist_pop(s, z, cpu, 0, mt, alloc_flags)
            if pfn >= 0:
                s.stat.allocs += 1
                prep_new_page(s, cpu, pfn, 0, noted(s, asked, attr), obj)
                return pfn
            break
    return alloc_pages(s, cpu, -1, 0, asked, gfp, attr, obj)
