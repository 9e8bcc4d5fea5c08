# SPDX-License-Identifier: GPL-2.0-or-later
"""Allocation and freeing from the outside in: zonelist walk, slow path, free (mm/page_alloc.c, 7.2)."""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm import constants as k
from kevacuate.mm.buddy import (
    free_one_page,
    get_pfnblock_migratetype,
    page_zone,
    rmqueue_smallest,
)
from kevacuate.mm.evacuate_queue import irq_work_run
from kevacuate.mm.fallback import rmqueue_mode
from kevacuate.mm.fallback_6_1 import rmqueue_retry
from kevacuate.mm.fields import View
from kevacuate.mm.highatomic import reserve_highatomic_pageblock, unreserve_zone
from kevacuate.mm.log import log_event
from kevacuate.mm.pcp import (
    drain_all_pages,
    free_frozen_page_commit,
    pcp_allowed_order,
    rmqueue_pcplist,
    rmqueue_pcplist_pop,
)
from kevacuate.mm.swap import folio_add_lru
from kevacuate.mm.wakeups import wakeup_kswapd
from kevacuate.mm.watermark import wmark_pages, zone_watermark_fast

_GIVES_UP = k.GFP_NORETRY | k.GFP_THISNODE


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
def effective_migratetype(s: View, mt: int) -> int:
    """The requested type; unmovable where grouping by mobility is disabled."""
    if s.cfg.page_group_by_mobility_disabled and mt < k.MIGRATE_PCPTYPES:
        return k.MIGRATE_UNMOVABLE
    return mt


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
    else:
        pfn, _ = rmqueue_mode(s, z, order, mt, alloc_flags, k.RMQUEUE_NORMAL)
    return pfn


@part(cold=True)
def rmqueue_buddy(s: View, z: int, order: int, mt: int, alloc_flags: int) -> int:
    """One chunk straight from the buddy lists, with the highatomic reserve's rules (:3212); -1 if none."""
    pfn = -1
    if alloc_flags & k.ALLOC_HIGHATOMIC:
        pfn = rmqueue_smallest(s, z, order, k.MIGRATE_HIGHATOMIC)
    if pfn < 0:
        pfn = rmqueue_one(s, z, order, mt, alloc_flags)
        if pfn < 0 and alloc_flags & (k.ALLOC_OOM | k.ALLOC_NON_BLOCK):
            pfn = rmqueue_smallest(s, z, order, k.MIGRATE_HIGHATOMIC)
    irq_work_run(s, z)
    if pfn >= 0 and alloc_flags & k.ALLOC_HIGHATOMIC and not s.cfg.reserve_any_path:
        reserve_highatomic_pageblock(s, z, pfn, order)
    return pfn


@part(inline=True)
def rmqueue(s: View, z: int, cpu: int, order: int, mt: int, alloc_flags: int) -> int:
    """Per-CPU list first, then the buddy lists; then wake kswapd if a claim boosted the zone (:3399)."""
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
        no_fallback = alloc_flags & k.ALLOC_NOFRAGMENT and not s.cfg.defrag_mode
        for i in range(first + tried, count):
            z = zonelist[i]
            zone = s.zone[z]
            if zone.index > highest_zoneidx:
                continue
            zone_node = zone.node
            if no_fallback and nodes > 1 and zone_node != s.zone[zonelist[first]].node:
                restart = True
                break
            if skip_awake and s.node[zone_node].kswapd_state != k.KSWAPD_IDLE:
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


@part(inline=True)
def alloc_flags_nofragment(s: View, node: int, gfp: int, first: int) -> int:
    """ALLOC_KSWAPD from gfp, and ALLOC_NOFRAGMENT where a lower zone than that at *first* can take the fallback (:3742)."""
    alloc_flags = gfp & k.GFP_KSWAPD_RECLAIM
    if not s.cfg.zone_dma32:
        return alloc_flags
    if s.cfg.defrag_mode:
        return alloc_flags | k.ALLOC_NOFRAGMENT
    pgdat = s.node[node]
    count = pgdat.nr_zonelist
    if first >= count:
        return alloc_flags
    preferred = pgdat.zonelist[first]
    if s.zone[preferred].index != k.ZONE_NORMAL:
        return alloc_flags
    if s.cfg.nr_nodes == 1:
        return alloc_flags | k.ALLOC_NOFRAGMENT
    for i in range(count):
        z = pgdat.zonelist[i]
        zone = s.zone[z]
        same_node = zone.node == s.zone[preferred].node
        if same_node and zone.index == k.ZONE_DMA32:
            return alloc_flags | k.ALLOC_NOFRAGMENT
    return alloc_flags


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
def prep_new_page(s: View, cpu: int, pfn: int, order: int, attr: int, obj: int) -> None:
    """Give the chunk its owner: state, object, attributes, place in the LRU batch."""
    s.meta[pfn] = k.CHUNK_ALLOC << 4 | order
    s.link[2 * pfn] = obj
    s.link[2 * pfn + 1] = attr & k.ATTR_STATIC
    if obj >= 0:
        s.obj[obj] = pfn
    if attr & k.ATTR_LRU:
        folio_add_lru(s, cpu, pfn, order)


@part(inline=True)
def alloc_pages(s: View, cpu: int, nid: int, order: int, mt: int, gfp: int, attr: int, obj: int) -> int:
    """Allocate 2**order pages of type *mt* for object *obj* (-1: none) on *cpu*; the pfn, or -1."""
    s.stat.cpu = cpu
    pfn = alloc_frozen_pages(s, cpu, nid, order, effective_migratetype(s, mt), gfp)
    if pfn < 0:
        s.stat.alloc_failed += 1
        log_event(s, k.L_ALLOC_FAILED, -1, order, mt, gfp, obj)
        if obj >= 0:
            s.obj[obj] = -1
        return pfn
    s.stat.allocs += 1
    prep_new_page(s, cpu, pfn, order, attr, obj)
    return pfn


@part(inline=False)
def alloc_pages_bulk(s: View, cpu: int, mt: int, gfp: int, attr: int, obj: int) -> int:
    """One page of an alloc_pages_bulk call (:5151): the preferred node's per-CPU list, else alloc_pages."""
    s.stat.cpu = cpu
    s.stat.bulk_allocs += 1
    asked = mt
    mt = effective_migratetype(s, mt)
    node = s.cpu[cpu].node
    highest_zoneidx = gfp_zone(gfp)
    alloc_flags = k.WMARK_LOW | (k.ALLOC_CMA if mt == k.MIGRATE_MOVABLE else 0)
    zonelist = s.node[node].zonelist
    first = first_zones_zonelist(s, node, highest_zoneidx)
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
                prep_new_page(s, cpu, pfn, 0, attr, obj)
                return pfn
            break
    return alloc_pages(s, cpu, -1, 0, asked, gfp, attr, obj)


@part(inline=True)
def free_frozen_pages_inline(s: View, cpu: int, pfn: int, order: int) -> None:
    """__free_frozen_pages behind free_pages_prepare (:2937): to the CPU's list, or straight to the buddy lists."""
    z = page_zone(s, pfn)
    if not pcp_allowed_order(s, order):
        free_one_page(s, z, pfn, order, k.FPI_NONE)
        return
    mt = get_pfnblock_migratetype(s, pfn)
    if mt >= k.MIGRATE_PCPTYPES:
        if mt == k.MIGRATE_ISOLATE:
            free_one_page(s, z, pfn, order, k.FPI_NONE)
            return
        mt = k.MIGRATE_MOVABLE
    free_frozen_page_commit(s, z, cpu, pfn, order, mt)


@part(inline=False)
def free_frozen_pages(s: View, cpu: int, pfn: int, order: int) -> None:
    """free_frozen_pages (:2988), out of line: the fast path has its own copy of what it does."""
    free_frozen_pages_inline(s, cpu, pfn, order)


@part(inline=True)
def free_pages_prepare(s: View, pfn: int, order: int) -> None:
    """Take the chunk from its owner: object table and LRU counter."""
    obj = s.link[2 * pfn] + 0
    attr = s.link[2 * pfn + 1] + 0
    if obj >= 0:
        s.obj[obj] = -1
    if attr & k.ATTR_ON_LRU:
        s.zone[page_zone(s, pfn)].nr_lru -= 1 << order


@part(inline=True)
def free_pages(s: View, cpu: int, pfn: int) -> None:
    """Free the allocated chunk that starts at *pfn*; one that a worker holds isolated is freed when it lets go."""
    s.stat.cpu = cpu
    s.stat.frees += 1
    meta = s.meta[pfn] + 0
    order = meta & 15
    if meta >> 4 == k.CHUNK_ISOLATED:
        s.stat.freed_while_isolated += 1
        s.link[2 * pfn + 1] |= k.ATTR_FREED
        obj = s.link[2 * pfn] + 0
        if obj >= 0:
            s.obj[obj] = -1
        return
    free_pages_prepare(s, pfn, order)
    free_frozen_pages_inline(s, cpu, pfn, order)


@part(cold=True)
def halve_chunk(s: View, pfn: int, obj: int) -> None:
    """Halve an allocated chunk; the upper half becomes object *obj* with the same attributes."""
    meta = s.meta[pfn] + 0
    order = (meta & 15) - 1
    state = meta >> 4
    upper = pfn + (1 << order)
    attr = s.link[2 * pfn + 1] + 0
    s.meta[pfn] = state << 4 | order
    if state == k.CHUNK_ISOLATED:
        if attr & k.ATTR_LRU:
            s.zone[page_zone(s, pfn)].nr_isolated -= 1 << order
        attr &= k.ATTR_STATIC
    s.meta[upper] = k.CHUNK_ALLOC << 4 | order
    s.link[2 * upper] = obj
    s.link[2 * upper + 1] = attr
    if obj >= 0:
        s.obj[obj] = upper
