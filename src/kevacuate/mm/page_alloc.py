# SPDX-License-Identifier: GPL-2.0-or-later
"""Allocation and freeing from the outside in: zonelist walk, slow path, free (mm/page_alloc.c, 7.2)."""

from __future__ import annotations

from kevacuate.mm.buddy import (
    free_one_page,
    get_pfnblock_migratetype,
    page_zone,
    rmqueue_smallest,
)
from kevacuate.mm.constants import (
    ALLOC_CMA,
    ALLOC_HIGHATOMIC,
    ALLOC_KSWAPD,
    ALLOC_MIN_RESERVE,
    ALLOC_NO_WATERMARKS,
    ALLOC_NOFRAGMENT,
    ALLOC_NON_BLOCK,
    ALLOC_OOM,
    ALLOC_WMARK_MASK,
    ATTR_FREED,
    ATTR_LRU,
    ATTR_ON_LRU,
    ATTR_STATIC,
    C_BELOW_HIGH,
    C_BOOST_WAKES_ALL,
    C_DEFRAG_MODE,
    C_MOBILITY_DISABLED,
    C_NNODES,
    C_NZONES,
    C_OFF_CPU_NODE,
    C_OFF_KSWAPD,
    C_OFF_ZONELIST,
    C_OPEN_LOOP,
    C_PAGEBLOCK_ORDER,
    C_RESERVE_ANY_PATH,
    C_SKIP_AWAKE,
    C_STEAL_SUITABLE,
    C_ZONE_DMA32,
    FPI_NONE,
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
    KS,
    KSWAPD_IDLE,
    L_ALLOC_FAILED,
    MIGRATE_HIGHATOMIC,
    MIGRATE_ISOLATE,
    MIGRATE_MOVABLE,
    MIGRATE_PCPTYPES,
    MIGRATE_UNMOVABLE,
    PAGE_ALLOC_COSTLY_ORDER,
    PG_ALLOC,
    PG_ISOLATED,
    RMQUEUE_NORMAL,
    T_ALLOC_FAILED,
    T_ALLOCS,
    T_BELOW_WATERMARK,
    T_BULK_ALLOCS,
    T_CPU,
    T_FREED_WHILE_ISOLATED,
    T_FREES,
    T_SLOWPATH,
    T_WATERMARK_REFUSED,
    WMARK_HIGH,
    WMARK_LOW,
    WMARK_MIN,
    Z_BELOW_HIGH,
    Z_BOOSTED,
    Z_INDEX,
    Z_MANAGED,
    Z_NODE,
    Z_NR_ISOLATED,
    Z_NR_LRU,
    Z_NR_RESERVED_HIGHATOMIC,
    ZONE_DMA,
    ZONE_DMA32,
    ZONE_MOVABLE,
    ZONE_NORMAL,
    ZS,
)
from kevacuate.mm.fallback import rmqueue_mode
from kevacuate.mm.highatomic import reserve_highatomic_pageblock, unreserve_zone
from kevacuate.mm.jit import part
from kevacuate.mm.log import log_event
from kevacuate.mm.pcp import (
    drain_all_pages,
    free_frozen_page_commit,
    pcp_allowed_order,
    rmqueue_pcplist,
    rmqueue_pcplist_pop,
)
from kevacuate.mm.steal_suitable import rmqueue_retry
from kevacuate.mm.swap import folio_add_lru
from kevacuate.mm.wakeups import wakeup_kswapd
from kevacuate.mm.watermark import wmark_pages, zone_watermark_fast
from kevacuate.mm.workqueue import irq_work_run

_GIVES_UP = GFP_NORETRY | GFP_THISNODE


@part(inline=True)
def gfp_zone(gfp):  # type: ignore[no-untyped-def]
    """Highest zone index the request may use (GFP_ZONE_TABLE, 64-bit)."""
    if gfp & GFP_DMA:
        return ZONE_DMA
    if gfp & GFP_DMA32:
        return ZONE_DMA32
    if gfp & GFP_HIGHMEM and gfp & GFP_MOVABLE:
        return ZONE_MOVABLE
    return ZONE_NORMAL


@part(inline=True)
def gfp_migratetype(s, mt):  # type: ignore[no-untyped-def]
    """The requested type; unmovable where grouping by mobility is disabled."""
    if s.cfg[C_MOBILITY_DISABLED] and mt < MIGRATE_PCPTYPES:
        return MIGRATE_UNMOVABLE
    return mt


@part(inline=True)
def zonelist_at(s, node):  # type: ignore[no-untyped-def]
    """Offset in ``cfg`` of the node's zonelist: its length, then the zones."""
    return s.cfg[C_OFF_ZONELIST] + node * (s.cfg[C_NZONES] + 1)


@part(inline=True)
def first_zones_zonelist(s, node, hi):  # type: ignore[no-untyped-def]
    """Position in the zonelist of the preferred zone; the list's length if no zone is low enough."""
    at = zonelist_at(s, node)
    count = s.cfg[at]
    i = 0
    while i < count and s.zone[s.cfg[at + 1 + i] * ZS + Z_INDEX] > hi:
        i += 1
    return i


@part(inline=True)
def zonelist_length(s, node, gfp):  # type: ignore[no-untyped-def]
    """How many zones of the list the request may visit: with __GFP_THISNODE only the node's own."""
    at = zonelist_at(s, node)
    count = s.cfg[at]
    if not gfp & GFP_THISNODE:
        return count
    own = 0
    while own < count and s.zone[s.cfg[at + 1 + own] * ZS + Z_NODE] == node:
        own += 1
    return own


@part
def rmqueue_one(s, z, order, mt, flags):  # type: ignore[no-untyped-def]
    """__rmqueue of a single chunk, with the kernel's fallback; -1 if none."""
    if s.cfg[C_STEAL_SUITABLE]:
        pfn, _ = rmqueue_retry(s, z, order, mt, flags, 0)
    else:
        pfn, _ = rmqueue_mode(s, z, order, mt, flags, RMQUEUE_NORMAL)
    return pfn


@part(cold=True)
def rmqueue_buddy(s, z, order, mt, flags):  # type: ignore[no-untyped-def]
    """One chunk straight from the buddy lists, with the highatomic reserve's rules (:3212); -1 if none."""
    pfn = -1
    if flags & ALLOC_HIGHATOMIC:
        pfn = rmqueue_smallest(s, z, order, MIGRATE_HIGHATOMIC)
    if pfn < 0:
        pfn = rmqueue_one(s, z, order, mt, flags)
        if pfn < 0 and flags & (ALLOC_OOM | ALLOC_NON_BLOCK):
            pfn = rmqueue_smallest(s, z, order, MIGRATE_HIGHATOMIC)
    irq_work_run(s, z)
    if pfn >= 0 and flags & ALLOC_HIGHATOMIC and not s.cfg[C_RESERVE_ANY_PATH]:
        reserve_highatomic_pageblock(s, z, pfn, order)
    return pfn


@part(inline=True)
def rmqueue(s, z, cpu, order, mt, flags):  # type: ignore[no-untyped-def]
    """Per-CPU list first, then the buddy lists; then wake kswapd if a claim boosted the zone (:3399)."""
    pfn = -1
    if pcp_allowed_order(s, order):
        pfn = rmqueue_pcplist(s, z, cpu, order, mt, flags)
    if pfn < 0:
        pfn = rmqueue_buddy(s, z, order, mt, flags)
    if s.zone[z * ZS + Z_BOOSTED] and (flags & ALLOC_KSWAPD or s.cfg[C_BOOST_WAKES_ALL]):
        s.zone[z * ZS + Z_BOOSTED] = 0
        wakeup_kswapd(s, z, 0, s.zone[z * ZS + Z_INDEX], 0)
    return pfn


@part(inline=True)
def zone_allows(s, z, order, hi, flags):  # type: ignore[no-untyped-def]
    """The two watermark tests of get_page_from_freelist; the first maintains ZONE_BELOW_HIGH (:3860)."""
    if s.zone[z * ZS + Z_BELOW_HIGH] == 0:
        if zone_watermark_fast(s, z, order, wmark_pages(s, z, WMARK_HIGH), hi, flags):
            return True
        s.zone[z * ZS + Z_BELOW_HIGH] = s.cfg[C_BELOW_HIGH]
    mark = wmark_pages(s, z, flags & ALLOC_WMARK_MASK)
    if zone_watermark_fast(s, z, order, mark, hi, flags) or flags & ALLOC_NO_WATERMARKS:
        return True
    s.stat[T_WATERMARK_REFUSED] += 1
    return False


@part(inline=False)
def walk_zonelist(s, cpu, order, mt, flags, node, gfp, tried):  # type: ignore[no-untyped-def]
    """Take a page from the first zone of the zonelist that allows it; -1 if none does.

    *tried* is 1 if the preferred zone has refused already, else 0.
    """
    hi = gfp_zone(gfp)
    at = zonelist_at(s, node) + 1
    first = first_zones_zonelist(s, node, hi)
    count = zonelist_length(s, node, gfp)
    nodes = s.cfg[C_NNODES]
    skip_awake = s.cfg[C_SKIP_AWAKE] != 0
    while True:
        skipped = False
        restart = False
        no_fallback = flags & ALLOC_NOFRAGMENT and not s.cfg[C_DEFRAG_MODE]
        for i in range(first + tried, count):
            z = s.cfg[at + i]
            if s.zone[z * ZS + Z_INDEX] > hi:
                continue
            zone_node = s.zone[z * ZS + Z_NODE]
            if no_fallback and nodes > 1 and zone_node != s.zone[s.cfg[at + first] * ZS + Z_NODE]:
                restart = True
                break
            if skip_awake and s.work[s.cfg[C_OFF_KSWAPD] + zone_node * KS] != KSWAPD_IDLE:
                skipped = True
                continue
            if zone_allows(s, z, order, hi, flags):
                pfn = rmqueue(s, z, cpu, order, mt, flags)
                if pfn >= 0:
                    return pfn
        tried = 0
        if not restart and skip_awake and skipped:
            skip_awake = False
        elif restart or no_fallback:
            flags &= ~ALLOC_NOFRAGMENT
        else:
            return -1


@part(inline=False)
def get_page_from_freelist(s, cpu, order, mt, flags, node, gfp):  # type: ignore[no-untyped-def]
    """get_page_from_freelist (:3794), out of line: the fast path, which never may use the highatomic reserve, has its own
    copy of what it does.
    """
    pfn = walk_zonelist(s, cpu, order, mt, flags, node, gfp, 0)
    if pfn >= 0 and flags & ALLOC_HIGHATOMIC and s.cfg[C_RESERVE_ANY_PATH]:
        reserve_highatomic_pageblock(s, page_zone(s, pfn), pfn, order)
    return pfn


@part(inline=True)
def get_page_from_preferred_zone(s, cpu, order, mt, flags, node, gfp, first):  # type: ignore[no-untyped-def]
    """get_page_from_freelist of the fast path: from the zone at *first*, as nearly always, or from another."""
    at = zonelist_at(s, node)
    tried = 0
    if first < s.cfg[at] and not gfp & GFP_THISNODE and s.cfg[C_SKIP_AWAKE] == 0:
        tried = 1
        z = s.cfg[at + 1 + first]
        if zone_allows(s, z, order, gfp_zone(gfp), flags):
            pfn = rmqueue(s, z, cpu, order, mt, flags)
            if pfn >= 0:
                return pfn
    return walk_zonelist(s, cpu, order, mt, flags, node, gfp, tried)


@part(inline=True)
def alloc_flags_nofragment(s, node, gfp, first):  # type: ignore[no-untyped-def]
    """ALLOC_KSWAPD from gfp, and ALLOC_NOFRAGMENT where a lower zone than that at *first* can take the fallback (:3742)."""
    flags = gfp & GFP_KSWAPD_RECLAIM
    if not s.cfg[C_ZONE_DMA32]:
        return flags
    if s.cfg[C_DEFRAG_MODE]:
        return flags | ALLOC_NOFRAGMENT
    at = zonelist_at(s, node)
    count = s.cfg[at]
    if first >= count:
        return flags
    preferred = s.cfg[at + 1 + first]
    if s.zone[preferred * ZS + Z_INDEX] != ZONE_NORMAL:
        return flags
    if s.cfg[C_NNODES] == 1:
        return flags | ALLOC_NOFRAGMENT
    for i in range(count):
        z = s.cfg[at + 1 + i]
        same_node = s.zone[z * ZS + Z_NODE] == s.zone[preferred * ZS + Z_NODE]
        if same_node and s.zone[z * ZS + Z_INDEX] == ZONE_DMA32:
            return flags | ALLOC_NOFRAGMENT
    return flags


@part
def gfp_to_alloc_flags(s, order, mt, gfp):  # type: ignore[no-untyped-def]
    """alloc_flags of the slow path (:4533)."""
    flags = WMARK_MIN | (gfp & GFP_KSWAPD_RECLAIM)
    if gfp & GFP_HIGH:
        flags |= ALLOC_MIN_RESERVE
    if not gfp & GFP_DIRECT_RECLAIM and not gfp & GFP_NOMEMALLOC:
        flags |= ALLOC_NON_BLOCK
        if order > 0 and gfp & GFP_HIGH:
            flags |= ALLOC_HIGHATOMIC
    if mt == MIGRATE_MOVABLE:
        flags |= ALLOC_CMA
    if s.cfg[C_DEFRAG_MODE] and s.cfg[C_ZONE_DMA32]:
        flags |= ALLOC_NOFRAGMENT
    return flags


@part(cold=True)
def wake_all_kswapds(s, order, node, gfp):  # type: ignore[no-untyped-def]
    """Wake kswapd once per node of the zonelist."""
    hi = gfp_zone(gfp)
    if s.cfg[C_DEFRAG_MODE]:
        order = max(order, s.cfg[C_PAGEBLOCK_ORDER])
    at = zonelist_at(s, node) + 1
    last = -1
    for i in range(first_zones_zonelist(s, node, hi), zonelist_length(s, node, gfp)):
        z = s.cfg[at + i]
        if s.zone[z * ZS + Z_INDEX] > hi or s.zone[z * ZS + Z_MANAGED] == 0:
            continue
        if s.zone[z * ZS + Z_NODE] != last:
            wakeup_kswapd(s, z, order, hi, gfp)
            last = s.zone[z * ZS + Z_NODE]


@part(cold=True)
def unreserve_highatomic_pageblock(s, mt, node, gfp, force):  # type: ignore[no-untyped-def]
    """Give back one highatomic block of the zonelist's zones (:3504); whether pages moved."""
    hi = gfp_zone(gfp)
    at = zonelist_at(s, node) + 1
    for i in range(first_zones_zonelist(s, node, hi), zonelist_length(s, node, gfp)):
        z = s.cfg[at + i]
        if s.zone[z * ZS + Z_INDEX] > hi:
            continue
        reserved = s.zone[z * ZS + Z_NR_RESERVED_HIGHATOMIC]
        if not force and reserved <= 1 << s.cfg[C_PAGEBLOCK_ORDER]:
            continue
        if unreserve_zone(s, z, mt) > 0:
            return True
    return False


@part(cold=True)
def alloc_pages_slowpath(s, cpu, order, mt, gfp, node):  # type: ignore[no-untyped-def]
    """The slow path of an open-loop replay: reclaim's and compaction's work is in the demand (:4781)."""
    s.stat[T_SLOWPATH] += 1
    if first_zones_zonelist(s, node, gfp_zone(gfp)) >= zonelist_length(s, node, gfp):
        return -1
    flags = gfp_to_alloc_flags(s, order, mt, gfp)
    if flags & ALLOC_KSWAPD:
        wake_all_kswapds(s, order, node, gfp)
    pfn = get_page_from_freelist(s, cpu, order, mt, flags, node, gfp)
    if pfn < 0 and gfp & GFP_MEMALLOC and not gfp & GFP_NOMEMALLOC:
        flags = ALLOC_NO_WATERMARKS | (flags & (ALLOC_CMA | ALLOC_KSWAPD))
        pfn = get_page_from_freelist(s, cpu, order, mt, flags, node, gfp)
    if pfn < 0 and s.cfg[C_OPEN_LOOP]:
        flags |= ALLOC_NO_WATERMARKS
        pfn = get_page_from_freelist(s, cpu, order, mt, flags, node, gfp)
        if pfn >= 0:
            s.stat[T_BELOW_WATERMARK] += 1
    if pfn >= 0:
        return pfn
    if not gfp & GFP_DIRECT_RECLAIM:
        if flags & ALLOC_NOFRAGMENT and flags & ALLOC_KSWAPD:
            pfn = get_page_from_freelist(s, cpu, order, mt, flags & ~ALLOC_NOFRAGMENT, node, gfp)
        return pfn
    return direct_reclaim_retry(s, cpu, order, mt, gfp, node, flags)


@part
def compacts_only(order, mt, gfp):  # type: ignore[no-untyped-def]
    """Whether a request compacts first and then gives up, without reclaim: as for a huge page of one node alone (:4955)."""
    compact_first = order > PAGE_ALLOC_COSTLY_ORDER or (order > 0 and mt != MIGRATE_MOVABLE)
    return compact_first and gfp & _GIVES_UP == _GIVES_UP and gfp & GFP_IO != 0


@part(cold=True)
def direct_reclaim_retry(s, cpu, order, mt, gfp, node, flags):  # type: ignore[no-untyped-def]
    """What __alloc_pages_direct_reclaim and the retries do besides reclaiming (:4469, :4637).

    A request that is not retried goes to nopage: only one that is drops ALLOC_NOFRAGMENT.
    """
    pfn = -1
    if not compacts_only(order, mt, gfp):
        pfn = get_page_from_freelist(s, cpu, order, mt, flags, node, gfp)
        if pfn < 0:
            unreserve_highatomic_pageblock(s, mt, node, gfp, False)
            drain_all_pages(s)
            pfn = get_page_from_freelist(s, cpu, order, mt, flags, node, gfp)
    costly_again = gfp & GFP_RETRY_MAYFAIL and gfp & GFP_IO
    may_retry = not gfp & GFP_NORETRY and (order <= PAGE_ALLOC_COSTLY_ORDER or costly_again)
    if pfn < 0 and may_retry and unreserve_highatomic_pageblock(s, mt, node, gfp, True):
        pfn = get_page_from_freelist(s, cpu, order, mt, flags, node, gfp)
    if pfn < 0 and may_retry and flags & ALLOC_NOFRAGMENT:
        pfn = get_page_from_freelist(s, cpu, order, mt, flags & ~ALLOC_NOFRAGMENT, node, gfp)
    if pfn < 0 and gfp & GFP_NOFAIL:
        flags = ALLOC_MIN_RESERVE | (flags & ALLOC_NO_WATERMARKS)
        pfn = get_page_from_freelist(s, cpu, order, mt, flags, node, gfp)
    return pfn


@part(inline=True)
def alloc_frozen_pages(s, cpu, nid, order, mt, gfp):  # type: ignore[no-untyped-def]
    """__alloc_frozen_pages: fast path at LOW, then the slow path (:5324); the page, still without an owner, or -1."""
    node = nid if nid >= 0 else s.cfg[s.cfg[C_OFF_CPU_NODE] + cpu]
    first = first_zones_zonelist(s, node, gfp_zone(gfp))
    flags = WMARK_LOW | alloc_flags_nofragment(s, node, gfp, first)
    if mt == MIGRATE_MOVABLE:
        flags |= ALLOC_CMA
    pfn = get_page_from_preferred_zone(s, cpu, order, mt, flags, node, gfp, first)
    if pfn < 0:
        pfn = alloc_pages_slowpath(s, cpu, order, mt, gfp, node)
    return pfn


@part(inline=True)
def prep_new_page(s, cpu, pfn, order, attr, obj):  # type: ignore[no-untyped-def]
    """Give the chunk its owner: state, object, attributes, place in the LRU batch."""
    s.meta[pfn] = PG_ALLOC << 4 | order
    s.link[2 * pfn] = obj
    s.link[2 * pfn + 1] = attr & ATTR_STATIC
    if obj >= 0:
        s.obj[obj] = pfn
    if attr & ATTR_LRU:
        folio_add_lru(s, cpu, pfn, order)


@part(inline=True)
def alloc_pages(s, cpu, nid, order, mt, gfp, attr, obj):  # type: ignore[no-untyped-def]
    """Allocate 2**order pages of type *mt* for object *obj* (-1: none) on *cpu*; the pfn, or -1."""
    s.stat[T_CPU] = cpu
    pfn = alloc_frozen_pages(s, cpu, nid, order, gfp_migratetype(s, mt), gfp)
    if pfn < 0:
        s.stat[T_ALLOC_FAILED] += 1
        log_event(s, L_ALLOC_FAILED, -1, order, mt, gfp, obj)
        if obj >= 0:
            s.obj[obj] = -1
        return pfn
    s.stat[T_ALLOCS] += 1
    prep_new_page(s, cpu, pfn, order, attr, obj)
    return pfn


@part(inline=False)
def alloc_pages_bulk(s, cpu, mt, gfp, attr, obj):  # type: ignore[no-untyped-def]
    """One page of an alloc_pages_bulk call (:5151): the preferred node's per-CPU list, else alloc_pages."""
    s.stat[T_CPU] = cpu
    s.stat[T_BULK_ALLOCS] += 1
    asked = mt
    mt = gfp_migratetype(s, mt)
    node = s.cfg[s.cfg[C_OFF_CPU_NODE] + cpu]
    hi = gfp_zone(gfp)
    flags = WMARK_LOW | (ALLOC_CMA if mt == MIGRATE_MOVABLE else 0)
    at = zonelist_at(s, node) + 1
    first = first_zones_zonelist(s, node, hi)
    for i in range(first, zonelist_length(s, node, gfp)):
        z = s.cfg[at + i]
        preferred = s.cfg[at + first]
        if s.zone[z * ZS + Z_NODE] != s.zone[preferred * ZS + Z_NODE]:
            break
        if s.zone[z * ZS + Z_INDEX] > hi:
            continue
        mark = wmark_pages(s, z, WMARK_LOW) + 1
        if zone_watermark_fast(s, z, 0, mark, s.zone[preferred * ZS + Z_INDEX], flags):
            pfn = rmqueue_pcplist_pop(s, z, cpu, 0, mt, flags)
            if pfn >= 0:
                s.stat[T_ALLOCS] += 1
                prep_new_page(s, cpu, pfn, 0, attr, obj)
                return pfn
            break
    return alloc_pages(s, cpu, -1, 0, asked, gfp, attr, obj)


@part(inline=True)
def free_to_pcp_or_buddy(s, cpu, pfn, order):  # type: ignore[no-untyped-def]
    """To the CPU's list, or straight to the buddy lists."""
    z = page_zone(s, pfn)
    if not pcp_allowed_order(s, order):
        free_one_page(s, z, pfn, order, FPI_NONE)
        return
    mt = get_pfnblock_migratetype(s, pfn)
    if mt >= MIGRATE_PCPTYPES:
        if mt == MIGRATE_ISOLATE:
            free_one_page(s, z, pfn, order, FPI_NONE)
            return
        mt = MIGRATE_MOVABLE
    free_frozen_page_commit(s, z, cpu, pfn, order, mt)


@part(inline=False)
def free_frozen_pages(s, cpu, pfn, order):  # type: ignore[no-untyped-def]
    """__free_frozen_pages (:2937), out of line: the fast path has its own copy of what it does."""
    free_to_pcp_or_buddy(s, cpu, pfn, order)


@part(inline=True)
def free_pages_prepare(s, pfn, order):  # type: ignore[no-untyped-def]
    """Take the chunk from its owner: object table and LRU counter."""
    obj = s.link[2 * pfn] + 0
    attr = s.link[2 * pfn + 1] + 0
    if obj >= 0:
        s.obj[obj] = -1
    if attr & ATTR_ON_LRU:
        s.zone[page_zone(s, pfn) * ZS + Z_NR_LRU] -= 1 << order


@part(inline=True)
def free_pages(s, cpu, pfn):  # type: ignore[no-untyped-def]
    """Free the allocated chunk that starts at *pfn*; one that a worker holds isolated is freed when it lets go."""
    s.stat[T_CPU] = cpu
    s.stat[T_FREES] += 1
    meta = s.meta[pfn] + 0
    order = meta & 15
    if meta >> 4 == PG_ISOLATED:
        s.stat[T_FREED_WHILE_ISOLATED] += 1
        s.link[2 * pfn + 1] |= ATTR_FREED
        obj = s.link[2 * pfn] + 0
        if obj >= 0:
            s.obj[obj] = -1
        return
    free_pages_prepare(s, pfn, order)
    free_to_pcp_or_buddy(s, cpu, pfn, order)


@part(cold=True)
def split_page(s, pfn, obj):  # type: ignore[no-untyped-def]
    """Halve an allocated chunk; the upper half becomes object *obj* with the same attributes."""
    meta = s.meta[pfn] + 0
    order = (meta & 15) - 1
    state = meta >> 4
    upper = pfn + (1 << order)
    attr = s.link[2 * pfn + 1] + 0
    s.meta[pfn] = state << 4 | order
    if state == PG_ISOLATED:
        at = page_zone(s, pfn) * ZS + Z_NR_ISOLATED
        if attr & ATTR_LRU:
            s.zone[at] -= 1 << order
        attr &= ATTR_STATIC
    s.meta[upper] = PG_ALLOC << 4 | order
    s.link[2 * upper] = obj
    s.link[2 * upper + 1] = attr
    if obj >= 0:
        s.obj[obj] = upper
