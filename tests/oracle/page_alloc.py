# SPDX-License-Identifier: GPL-2.0-or-later
"""Requests: which zones, which watermarks, fast path, slow path (`__alloc_frozen_pages`), and frees."""

from __future__ import annotations

from dataclasses import dataclass

from .buddy import rmqueue_smallest
from .constants import (
    A_FILE,
    A_FREED,
    A_LRU,
    A_MOVES_ALONG,
    A_ON_LRU,
    A_STATIC,
    A_WORKINGSET,
    AF_CMA,
    AF_HIGHATOMIC,
    AF_KSWAPD,
    AF_MIN_RESERVE,
    AF_NO_WATERMARKS,
    AF_NOFRAGMENT,
    AF_NON_BLOCK,
    AF_OOM,
    ALLOC,
    COSTLY_ORDER,
    GFP_DIRECT_RECLAIM,
    GFP_DMA,
    GFP_DMA32,
    GFP_HIGH,
    GFP_HIGHMEM,
    GFP_IO,
    GFP_KSWAPD_RECLAIM,
    GFP_MEMALLOC,
    GFP_MOVABLE,
    GFP_NOFAIL,
    GFP_NOMEMALLOC,
    GFP_NORETRY,
    GFP_RETRY_MAYFAIL,
    GFP_THISNODE,
    HIGHATOMIC,
    ISOLATED,
    L_ALLOC_FAILED,
    MOVABLE,
    PCPTYPES,
    RECLAIMABLE,
    UNMOVABLE,
    WMARK_HIGH,
    WMARK_LOW,
    WMARK_MASK,
    WMARK_MIN,
    ZONE_DMA,
    ZONE_DMA32,
    ZONE_MOVABLE,
    ZONE_NORMAL,
)
from .fallback import rmqueue_one
from .generations import made_in_fault
from .highatomic import reserve_highatomic_pageblock, unreserve_highatomic_pageblock
from .irqwork import zone_unlock
from .kswapd import kswapd_awake, wakeup_kswapd
from .lru import folio_add_lru, lruvec_del_folio, lruvec_of, make_dirty, split_on_lru, workingset_refault
from .machine import Machine
from .pcp import drain_all_pages, free_frozen_pages, rmqueue_from_pcp, rmqueue_pcplist
from .region_passes import AF_CHEAP
from .regions import note_part, take
from .unmovable import can_move, unmovable_freed
from .watermark import zone_watermark_fast
from .zone import Page, Zone


@dataclass
class AllocContext:
    """What a request is about (`struct alloc_context`): `zones` are those it may use, in order."""

    order: int
    mt: int
    gfp: int
    highest: int
    zones: list[Zone]


def gfp_zone(gfp: int) -> int:
    """Return the highest zone index a request may use."""
    if gfp & GFP_DMA:
        return ZONE_DMA
    if gfp & GFP_DMA32:
        return ZONE_DMA32
    return ZONE_MOVABLE if gfp & GFP_HIGHMEM and gfp & GFP_MOVABLE else ZONE_NORMAL


def prepare_alloc_pages(m: Machine, nid: int, order: int, mt: int, gfp: int) -> AllocContext:
    """Build the request's context."""
    if nid < 0:
        nid = m.config.cpu_node[m.cpu]
    if m.config.page_group_by_mobility_disabled and mt < PCPTYPES:
        mt = UNMOVABLE
    highest = gfp_zone(gfp)
    zones = [zone for zone in m.zonelists[nid] if zone.index <= highest]
    if gfp & GFP_THISNODE:
        zones = [zone for zone in zones if zone.node == nid]
    return AllocContext(order, mt, gfp, highest, zones)


def gfp_migratetype(m: Machine, order: int, mt: int, gfp: int) -> int:
    """The type whose lists a request goes to: its own, or the policy's answer."""
    return mt if m.config.page_group_by_mobility_disabled else m.ask("gfp_migratetype", mt, gfp, order, mt)


def nofragment(m: Machine) -> int:
    """ALLOC_NOFRAGMENT, which is no bit at all without ZONE_DMA32."""
    return AF_NOFRAGMENT if m.config.zone_dma32 else 0


def alloc_flags_nofragment(m: Machine, zone: Zone, gfp: int) -> int:
    """Return the KSWAPD bit, and NOFRAGMENT where fragmenting fallbacks should wait for the next zone."""
    flags = (AF_KSWAPD if gfp & GFP_KSWAPD_RECLAIM else 0) | cheap_flag(m, gfp)
    if m.config.defrag_mode:
        return flags | nofragment(m)
    if zone.index != ZONE_NORMAL:
        return flags
    if m.nodes > 1 and all(z.index != ZONE_DMA32 for z in m.node_zones[zone.node]):
        return flags
    return flags | nofragment(m)


def gfp_to_alloc_flags(m: Machine, ac: AllocContext) -> int:
    """Flags of the slow path."""
    flags = WMARK_MIN
    if ac.gfp & GFP_HIGH:
        flags |= AF_MIN_RESERVE
    if ac.gfp & GFP_KSWAPD_RECLAIM:
        flags |= AF_KSWAPD
    if not ac.gfp & GFP_DIRECT_RECLAIM and not ac.gfp & GFP_NOMEMALLOC:
        flags |= AF_NON_BLOCK
        if ac.order > 0 and ac.gfp & GFP_HIGH:
            flags |= AF_HIGHATOMIC
    flags |= cma_flag(ac) | cheap_flag(m, ac.gfp)
    if m.config.nofragment_kept:
        flags |= nofragment(m)
    return flags


def cheap_flag(m: Machine, gfp: int) -> int:
    """Marks requests with a cheap fallback, where these may not taint a region."""
    gives_up = gfp & GFP_NORETRY and not gfp & GFP_RETRY_MAYFAIL
    atomic = not any(gfp & bit for bit in (GFP_DIRECT_RECLAIM, GFP_NOMEMALLOC, GFP_NOFAIL))
    return AF_CHEAP if not m.config.region_cheap_taints and (gives_up or atomic) else 0


def cma_flag(ac: AllocContext) -> int:
    """ALLOC_CMA for movable requests."""
    return AF_CMA if ac.mt == MOVABLE else 0


def rmqueue_reserve(m: Machine, zone: Zone, order: int, mt: int) -> int:
    """A chunk of the highatomic reserve for a request of this type; -1 if there is none."""
    pfn = rmqueue_smallest(m, zone, order, HIGHATOMIC)
    if pfn >= 0:
        take(m, pfn, order, mt)
    return pfn


def rmqueue_buddy(m: Machine, zone: Zone, order: int, mt: int, flags: int) -> int:
    """One chunk straight from the buddy lists, reserves included where the flags allow; -1 if none."""
    pfn = -1
    if flags & AF_HIGHATOMIC:
        pfn = rmqueue_reserve(m, zone, order, mt)
    if pfn < 0:
        pfn = rmqueue_one(m, zone, order, mt, flags)
    if pfn < 0 and flags & (AF_OOM | AF_NON_BLOCK):
        pfn = rmqueue_reserve(m, zone, order, mt)
    zone_unlock(m, zone)
    if pfn >= 0 and flags & AF_HIGHATOMIC and not m.config.kernel.reserves_anywhere:
        reserve_highatomic_pageblock(m, zone, pfn, order)
    return pfn


def rmqueue(m: Machine, zone: Zone, order: int, mt: int, flags: int) -> int:
    """One chunk from this zone, by way of the pcp where the order allows; -1 if none."""
    pfn = -1
    if m.pcp_allowed_order(order):
        pfn = rmqueue_pcplist(m, zone, order, mt, flags)
    if pfn < 0:
        pfn = rmqueue_buddy(m, zone, order, mt, flags)
    if zone.boosted and (flags & AF_KSWAPD or m.config.kernel.boost_wakes_all):
        zone.boosted = False
        wakeup_kswapd(m, zone, 0, zone.index, 0)
    return pfn


def zone_has_room(m: Machine, zone: Zone, ac: AllocContext, flags: int) -> bool:
    """Steps 6 to 8 of get_page_from_freelist: high mark (sets BELOW_HIGH), the mark asked for, no mark."""
    if m.config.kernel.below_high and not zone.below_high:
        if zone_watermark_fast(zone, ac.order, zone.wmark_pages(WMARK_HIGH), ac.highest, flags):
            return True
        zone.below_high = True
    if zone_watermark_fast(zone, ac.order, zone.wmark_pages(flags & WMARK_MASK), ac.highest, flags):
        return True
    return bool(flags & AF_NO_WATERMARKS)


def get_page_from_freelist(m: Machine, ac: AllocContext, flags: int) -> int:
    """Try the zones in order; -1 if none gives a page."""
    skip_busy = m.nodes > 1 and m.config.kernel.passes_over_awake_nodes
    while True:
        skipped = False
        no_fallback = bool(flags & AF_NOFRAGMENT)
        restart = False
        for zone in ac.zones:
            if no_fallback and not m.config.nofragment_kept and zone.node != ac.zones[0].node:
                restart = True
                break
            if skip_busy and kswapd_awake(m, zone.node):
                skipped = True
                continue
            if not zone_has_room(m, zone, ac, flags):
                continue
            pfn = rmqueue(m, zone, ac.order, ac.mt, flags)
            if pfn >= 0:
                if flags & AF_HIGHATOMIC and m.config.kernel.reserves_anywhere:
                    reserve_highatomic_pageblock(m, zone, pfn, ac.order)
                return pfn
        if not restart and skipped:
            skip_busy = False
        elif restart or (no_fallback and not m.config.nofragment_kept):
            flags &= ~AF_NOFRAGMENT
        else:
            return -1


def wake_all_kswapds(m: Machine, ac: AllocContext) -> None:
    """Wake the kswapd of every node of the zonelist."""
    order = max(ac.order, m.config.pageblock_order) if m.config.defrag_mode else ac.order
    last = -1
    for zone in ac.zones:
        if zone.node != last and zone.managed:
            wakeup_kswapd(m, zone, order, ac.highest, ac.gfp)
            last = zone.node


def slowpath(m: Machine, ac: AllocContext, node: int) -> int:
    """The slow path of this loop."""
    if m.config.open_loop:
        return alloc_pages_slowpath(m, ac)
    from .slowpath import alloc_pages_slowpath as closed  # needs what allocates

    return closed(m, ac, node)


def alloc_pages_slowpath(m: Machine, ac: AllocContext) -> int:
    """In open loop: second and further tries, step by step as in docs/model.md; -1 if all fail."""
    flags = gfp_to_alloc_flags(m, ac)
    if flags & AF_KSWAPD:
        wake_all_kswapds(m, ac)
    pfn = get_page_from_freelist(m, ac, flags)
    if pfn < 0 and ac.gfp & GFP_MEMALLOC and not ac.gfp & GFP_NOMEMALLOC:
        flags = AF_NO_WATERMARKS | cma_flag(ac) | flags & AF_KSWAPD
        pfn = get_page_from_freelist(m, ac, flags)
    if pfn < 0:
        flags |= AF_NO_WATERMARKS
        pfn = get_page_from_freelist(m, ac, flags)
    if pfn >= 0:
        return pfn
    if not ac.gfp & GFP_DIRECT_RECLAIM:
        if m.config.nofragment_kept and flags & AF_NOFRAGMENT and flags & AF_KSWAPD:
            return get_page_from_freelist(m, ac, flags & ~AF_NOFRAGMENT)
        return -1
    return alloc_pages_reclaim(m, ac, flags)


def makes_room(m: Machine, ac: AllocContext, flags: int) -> bool:
    """Whether tainted regions were evacuated for the request, and there is room now."""
    from .region_evacuate import evacuate_for  # needs what allocates

    if not m.config.region_evacuate or ac.mt == MOVABLE or not flags & AF_NOFRAGMENT:
        return False
    return evacuate_for(m, ac.zones, ac.order, ac.mt)


def alloc_pages_reclaim(m: Machine, ac: AllocContext, flags: int) -> int:
    """Steps 6 to 9 of the slow path: what a request that may reclaim does before it gives up."""
    can_compact = bool(ac.gfp & GFP_IO)
    compacts_first = can_compact and (ac.order > COSTLY_ORDER or (ac.order > 0 and ac.mt != MOVABLE))
    pfn = -1
    if compacts_first and ac.gfp & GFP_NORETRY and ac.gfp & GFP_THISNODE:
        m.reached["compacts, then gives up without reclaim"] += 1
    else:
        pfn = get_page_from_freelist(m, ac, flags)
        if pfn < 0:
            unreserve_highatomic_pageblock(m, ac.zones, ac.mt, force=False)
            drain_all_pages(m)
            pfn = get_page_from_freelist(m, ac, flags)
    costly_again = can_compact and ac.gfp & GFP_RETRY_MAYFAIL
    gives_up = ac.gfp & GFP_NORETRY or (ac.order > COSTLY_ORDER and not costly_again)
    if pfn < 0 and not gives_up:
        pfn = retry(m, ac, flags)
    elif pfn < 0 and m.config.defrag_mode:
        m.reached["defrag_mode: given up rather than fallen back"] += 1
    if pfn < 0 and ac.gfp & GFP_NOFAIL:
        pfn = get_page_from_freelist(m, ac, AF_MIN_RESERVE | flags & AF_NO_WATERMARKS)
    return pfn


def retry(m: Machine, ac: AllocContext, flags: int) -> int:
    """What is left to a request that is tried again: all of the reserve, then (defrag_mode) fallbacks."""
    pfn = -1
    if unreserve_highatomic_pageblock(m, ac.zones, ac.mt, force=True):
        pfn = get_page_from_freelist(m, ac, flags)
    if pfn < 0 and makes_room(m, ac, flags):
        pfn = get_page_from_freelist(m, ac, flags)
    if pfn < 0 and m.config.nofragment_kept and flags & AF_NOFRAGMENT:
        pfn = get_page_from_freelist(m, ac, flags & ~AF_NOFRAGMENT)
        m.reached["defrag_mode: fallback allowed at last"] += pfn >= 0
    return pfn


def prep_new_page(m: Machine, pfn: int, order: int, attr: int, obj: int) -> None:
    """The chunk at `pfn` now belongs to `obj`."""
    page = Page(pfn, order, ALLOC, obj=obj, attr=attr & A_STATIC)
    m.heads[pfn] = page
    dropped = obj >= 0 and m.obj_pfn.get(obj) == -2
    if obj >= 0:
        m.obj_pfn[obj] = pfn
    if attr & A_LRU:
        make_dirty(m, page)
        if dropped:
            workingset_refault(m, page)
        if m.config.lru_gen and not m.config.open_loop:
            made_in_fault(page)
        folio_add_lru(m, page)


def note_slab(m: Machine, pfn: int, mt: int) -> None:
    """Where a policy shrinks slabs: what was asked for as reclaimable is one."""
    page = m.heads[pfn]
    wanted = m.config.region_shrink or (m.policy is not None and m.policy.notes_slab)
    if wanted and mt == RECLAIMABLE and not page.attr & A_LRU:
        page.attr |= A_WORKINGSET


def alloc_pages(m: Machine, nid: int, order: int, mt: int, gfp: int, attr: int, obj: int) -> int:
    """Allocate on this CPU (`m.cpu`); nid -1: its node. Returns the pfn, or -1."""
    ac = prepare_alloc_pages(m, nid, order, gfp_migratetype(m, order, mt, gfp), gfp)
    pfn = -1
    if ac.zones:
        flags = WMARK_LOW | alloc_flags_nofragment(m, ac.zones[0], gfp) | cma_flag(ac)
        pfn = get_page_from_freelist(m, ac, flags)
        if pfn < 0:
            pfn = slowpath(m, ac, nid if nid >= 0 else m.config.cpu_node[m.cpu])
    elif not m.config.open_loop:
        m.reached["slow path left: no zone"] += 1
    if pfn >= 0:
        prep_new_page(m, pfn, order, attr, obj)
        note_slab(m, pfn, mt)
        return pfn
    m.log(L_ALLOC_FAILED, -1, order, mt, gfp, obj)
    if obj >= 0:
        m.obj_pfn[obj] = -1
    return -1


def bulk_zone(m: Machine, ac: AllocContext, flags: int) -> Zone | None:
    """Return the zone alloc_pages_bulk takes one page from: none once the list leaves the preferred node."""
    for zone in ac.zones:
        preferred = ac.zones[0]
        if zone.node != preferred.node:
            return None
        if zone_watermark_fast(zone, 0, zone.wmark_pages(WMARK_LOW) + 1, preferred.index, flags):
            return zone
    return None


def alloc_pages_bulk(m: Machine, mt: int, gfp: int, attr: int, obj: int) -> int:
    """One page by way of alloc_pages_bulk on this CPU; an ordinary request if that cannot serve it."""
    ac = prepare_alloc_pages(m, -1, 0, gfp_migratetype(m, 0, mt, gfp), gfp)
    flags = WMARK_LOW | cma_flag(ac)
    if m.config.region_nofragment_kept and ac.zones:
        flags |= alloc_flags_nofragment(m, ac.zones[0], gfp) & AF_NOFRAGMENT
    zone = bulk_zone(m, ac, flags)
    if zone is not None:
        pfn = rmqueue_from_pcp(m, zone, 0, ac.mt, flags)
        if pfn >= 0:
            prep_new_page(m, pfn, 0, attr, obj)
            note_slab(m, pfn, mt)
            return pfn
    return alloc_pages(m, -1, 0, mt, gfp, attr, obj)


def free_chunk(m: Machine, page: Page) -> None:
    """The last reference is gone: off the LRU, and back to the allocator on this CPU."""
    if page.attr & A_ON_LRU:
        m.zone_of(page.pfn).nr_lru -= page.size
        lruvec_del_folio(m, page)
    free_frozen_pages(m, page.pfn, page.order)


def free_by_owner(m: Machine, pfn: int) -> None:
    """The owner frees its chunk; if a worker holds it, the worker will free it."""
    page = m.heads[pfn]
    order = page.order
    if page.obj >= 0:
        m.obj_pfn[page.obj] = -1
    if page.state == ISOLATED:
        page.attr |= A_FREED
        return
    free_chunk(m, page)
    if not can_move(page):
        unmovable_freed(m, pfn, order)


def halve_chunk(m: Machine, pfn: int, new_obj: int) -> None:
    """Halve a chunk: its owner keeps the lower half, `new_obj` gets the upper one."""
    page = m.heads[pfn]
    page.order -= 1
    upper = Page(
        pfn + page.size, page.order, ALLOC, obj=new_obj, attr=page.attr, dirtied=page.dirtied, refs=page.refs
    )
    if page.state == ISOLATED:
        upper.attr &= A_MOVES_ALONG
        if page.attr & A_LRU:
            m.zone_of(pfn).nr_isolated -= upper.size
            if page.attr & A_FILE:
                lruvec_of(m, page).isolated_file -= upper.size
    m.heads[upper.pfn] = upper
    note_part(m, pfn, upper.pfn)
    if new_obj >= 0:
        m.obj_pfn[new_obj] = upper.pfn
    if page.attr & A_ON_LRU:
        split_on_lru(m, page, upper)
