# SPDX-License-Identifier: GPL-2.0-or-later
"""Allocation from the outside in: the fast path, and alloc_pages_bulk (mm/page_alloc.c, 7.2)."""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm import constants as k
from kevacuate.mm.alloc_flags import alloc_flags_nofragment, gfp_migratetype
from kevacuate.mm.fields import View
from kevacuate.mm.get_page import (
    first_zones_zonelist,
    get_page_from_preferred_zone,
    gfp_zone,
    zonelist_length,
)
from kevacuate.mm.log import log_event
from kevacuate.mm.page_free import prep_new_page
from kevacuate.mm.pcp import rmqueue_pcplist_pop
from kevacuate.mm.slowpath import alloc_pages_slowpath
from kevacuate.mm.watermark import wmark_pages, zone_watermark_fast
from kevacuate.mm.writeback import noted

_THP = k.GFP_MOVABLE | k.GFP_COMP | k.GFP_NOMEMALLOC | k.GFP_NOWARN
"""What every request for a transparent huge page has among its flags."""


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


@part(cold=True)
def alloc_pages_for(s: View, cpu: int, order: int, mt: int, gfp: int, attr: int, obj: int) -> int:
    """:func:`alloc_pages`, out of line: the loop has its own copy of what it does."""
    return alloc_pages(s, cpu, -1, order, mt, gfp, attr, obj)


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
