# SPDX-License-Identifier: GPL-2.0-or-later
"""`__alloc_pages_slowpath` in a closed loop: reclaim, compaction, and running out of memory (mm/page_alloc.c).

Nobody is killed for want of memory: the request fails, unless it must not (GFP_NOFAIL) and there is a page at all.
"""

from __future__ import annotations

from .compaction import leaves_enough, reset_deferral, try_to_compact_pages
from .constants import (
    AF_CPUSET,
    AF_KSWAPD,
    AF_MIN_RESERVE,
    AF_NO_WATERMARKS,
    AF_NOFRAGMENT,
    COMPACT_DEFERRED,
    COMPACT_NAMES,
    COMPACT_SKIPPED,
    COMPACT_SUCCESS,
    COSTLY_ORDER,
    GFP_DIRECT_RECLAIM,
    GFP_FS,
    GFP_HIGH,
    GFP_IO,
    GFP_KSWAPD_RECLAIM,
    GFP_MEMALLOC,
    GFP_NOFAIL,
    GFP_NOMEMALLOC,
    GFP_NORETRY,
    GFP_RETRY_MAYFAIL,
    GFP_THISNODE,
    L_DIRECT_COMPACT,
    L_DIRECT_COMPACT_END,
    L_OOM,
    MAX_RECLAIM_RETRIES,
    MOVABLE,
    PRIO_ASYNC,
    PRIO_FULL,
    PRIO_LIGHT,
    WMARK_HIGH,
    WMARK_MIN,
    ZONE_NORMAL,
)
from .highatomic import unreserve_highatomic_pageblock
from .machine import Capture, Machine
from .page_alloc import (
    AllocContext,
    cma_flag,
    get_page_from_freelist,
    gfp_to_alloc_flags,
    makes_room,
    wake_all_kswapds,
)
from .pcp import drain_all_pages
from .vmscan import try_to_free_pages, zone_reclaimable_pages
from .watermark import zone_watermark_ok

MAX_COMPACT_RETRIES = 16
MOST_TRIES = 128  # where the kernel might try for ever: nothing else happens within the moment


class Request:
    """A request in the slow path, with the local variables of the kernel's function."""

    def __init__(self, m: Machine, ac: AllocContext, node: int) -> None:
        self.m, self.ac, self.node = m, ac, node
        self.costly = ac.order > COSTLY_ORDER
        self.may_reclaim = bool(ac.gfp & GFP_DIRECT_RECLAIM)
        self.may_compact = bool(self.may_reclaim and ac.gfp & GFP_IO and m.config.compaction)
        self.compact_first = self.may_compact and (self.costly or (ac.order > 0 and ac.mt != MOVABLE))
        self.priority = PRIO_ASYNC if self.compact_first else PRIO_LIGHT
        self.compact_result = COMPACT_SKIPPED
        self.compaction_retries = self.no_progress_loops = self.progress = 0
        self.reserves_untried = True
        self.flags = gfp_to_alloc_flags(m, ac)
        if self.may_reclaim or not ac.gfp & GFP_HIGH:
            self.flags |= AF_CPUSET

    def reached(self, what: str) -> None:
        """Something that the tests want to see happened."""
        self.m.reached["slow path: " + what] += 1

    def left(self, pfn: int, how: str) -> int:
        """The request leaves."""
        self.m.reached["slow path left: " + how] += 1
        return pfn

    def free_lists(self) -> int:
        """get_page_from_freelist with the present flags."""
        return get_page_from_freelist(self.m, self.ac, self.flags)

    @property
    def work_order(self) -> int:
        """The order that reclaim and compaction are asked for."""
        promoted = self.flags & AF_NOFRAGMENT and self.ac.mt != MOVABLE
        return max(self.ac.order, self.m.config.pageblock_order) if promoted else self.ac.order


def alloc_pages_slowpath(m: Machine, ac: AllocContext, node: int) -> int:
    """The page, or -1."""
    r = Request(m, ac, node)
    tries = 0
    evacuated = False
    while True:
        # retry:
        tries += 1
        if r.flags & AF_KSWAPD:
            wake_all_kswapds(m, ac)
        pfn = r.free_lists()
        if pfn >= 0:
            without = r.flags & AF_NO_WATERMARKS
            return r.left(
                pfn,
                "page without marks"
                if without
                else "page from the free lists"
                if tries == 1
                else "page from the free lists after a retry",
            )
        reserves = bool(ac.gfp & GFP_MEMALLOC and not ac.gfp & GFP_NOMEMALLOC)
        if reserves:
            r.flags = AF_NO_WATERMARKS | cma_flag(ac) | r.flags & AF_KSWAPD
        if (reserves or not r.flags & AF_CPUSET) and r.reserves_untried:
            r.reserves_untried = False
            continue
        if not r.may_reclaim:
            if ac.gfp & GFP_KSWAPD_RECLAIM and r.flags & AF_NOFRAGMENT:
                r.flags &= ~AF_NOFRAGMENT
                r.reached("may not reclaim, falls back (defrag_mode)")
                continue
            return nopage(r, "may not reclaim")
        if not r.compact_first:
            pfn = direct_reclaim(r)
            if pfn >= 0:
                return r.left(pfn, "page after direct reclaim")
        pfn = direct_compact(r)
        if pfn >= 0:
            return r.left(pfn, "page after direct compaction")
        if r.compact_first:
            if ac.gfp & GFP_NORETRY and ac.gfp & GFP_THISNODE:
                return nopage(r, "compacts only")
            if not ac.gfp & GFP_NORETRY:
                r.priority = PRIO_LIGHT
            r.compact_first = False
            continue
        if ac.gfp & GFP_NORETRY:
            return nopage(r, "__GFP_NORETRY")
        if r.costly and not (r.may_compact and ac.gfp & GFP_RETRY_MAYFAIL):
            return nopage(r, "costly order")
        if tries >= MOST_TRIES:
            r.reached("tried long enough")
        elif should_reclaim_retry(r):
            r.reached("reclaims again")
            continue
        elif r.progress > 0 and r.may_compact and should_compact_retry(r):
            r.reached("compacts again")
            continue
        if not evacuated and makes_room(m, ac, r.flags):
            evacuated = True
            continue
        if r.flags & AF_NOFRAGMENT and m.config.nofragment_kept:
            r.flags &= ~AF_NOFRAGMENT
            r.reached("falls back at last (defrag_mode)")
            continue
        return may_oom(r)


def direct_reclaim(r: Request) -> int:
    """`__alloc_pages_direct_reclaim`."""
    m, ac = r.m, r.ac
    r.progress = try_to_free_pages(m, ac.zones, r.node, r.work_order, ac.gfp)
    if not r.progress:
        return -1
    pfn = r.free_lists()
    if pfn < 0:
        r.reached("drains all after reclaim")
        unreserve_highatomic_pageblock(m, ac.zones, ac.mt, force=False)
        drain_all_pages(m)
        pfn = r.free_lists()
    return pfn


def direct_compact(r: Request) -> int:
    """`__alloc_pages_direct_compact`."""
    m, ac = r.m, r.ac
    order = r.work_order
    if order == 0:
        return -1
    m.log(L_DIRECT_COMPACT, -1, order, ac.gfp, r.priority, r.node)
    captures = not m.kthread
    m.capture = Capture(ac.order, ac.mt) if captures else None
    result, cost = try_to_compact_pages(m, ac.zones, order, ac.mt, ac.gfp, r.flags, ac.highest, r.priority)
    pfn = m.capture.pfn if m.capture else -1
    m.capture = None
    if pfn >= 0:
        result = COMPACT_SUCCESS
    r.compact_result = result
    m.log(L_DIRECT_COMPACT_END, pfn, order, result, cost)
    m.reached["direct compaction: " + COMPACT_NAMES[result]] += 1
    m.events["direct_compact_ns"] += cost
    if result in (COMPACT_SKIPPED, COMPACT_DEFERRED):
        return -1
    m.events["compact_stall"] += 1
    if pfn < 0:
        pfn = r.free_lists()
    if pfn < 0:
        m.events["compact_fail"] += 1
        return -1
    m.events["compact_success"] += 1
    zone = m.zone_of(pfn)
    zone.blockskip_flush = False
    reset_deferral(zone, order, True)
    return pfn


def should_reclaim_retry(r: Request) -> bool:
    """Whether reclaim might still help."""
    m, ac = r.m, r.ac
    if r.progress and not r.costly:
        r.no_progress_loops = 0
    else:
        r.no_progress_loops += 1
    if r.no_progress_loops <= MAX_RECLAIM_RETRIES:
        for zone in ac.zones:
            available = zone_reclaimable_pages(m, zone) + zone.nr_free
            if zone_watermark_ok(zone, ac.order, zone.wmark_pages(WMARK_MIN), ac.highest, r.flags, available):
                return True
    else:
        r.reached("gives up reclaim after 16 rounds")
    return unreserve_highatomic_pageblock(m, ac.zones, ac.mt, force=True)


def should_compact_retry(r: Request) -> bool:
    """Whether another round of compaction might help."""
    order = r.ac.order
    if order == 0:
        return False
    if r.compact_result == COMPACT_SKIPPED:
        return compaction_zonelist_suitable(r)
    if r.compact_result == COMPACT_SUCCESS:
        r.compaction_retries += 1
        if r.compaction_retries <= MAX_COMPACT_RETRIES // (4 if r.costly else 1):
            return True
    if r.priority > (PRIO_LIGHT if r.costly else PRIO_FULL):
        r.reached("compaction's priority raised")
        r.priority -= 1
        r.compaction_retries = 0
        return True
    return False


def compaction_zonelist_suitable(r: Request) -> bool:
    """Whether some zone could be compacted, were part of its reclaimable pages free."""
    m, ac = r.m, r.ac
    for zone in ac.zones:
        available = zone_reclaimable_pages(m, zone) // ac.order + zone.nr_free
        if leaves_enough(zone, ac.order, zone.wmark_pages(WMARK_MIN), ac.highest, available):
            return True
    return False


def may_oom(r: Request) -> int:
    """`__alloc_pages_may_oom`, and the end of the request."""
    m, ac = r.m, r.ac
    pfn = get_page_from_freelist(m, ac, WMARK_HIGH)
    if pfn >= 0:
        return r.left(pfn, "page at HIGH before the OOM killer")
    spared = r.costly or ac.gfp & (GFP_RETRY_MAYFAIL | GFP_THISNODE) or ac.highest < ZONE_NORMAL
    if spared:
        return nopage(r, "no OOM killer for it")
    m.events["oom_kill" if ac.gfp & GFP_FS else "oom_nofs"] += 1
    m.log(L_OOM, -1, ac.order, ac.mt, ac.gfp, r.node)
    if ac.gfp & GFP_NOFAIL:
        pfn = get_page_from_freelist(m, ac, AF_NO_WATERMARKS)
        if pfn >= 0:
            return r.left(pfn, "out of memory, page without marks for __GFP_NOFAIL")
        m.events["nofail_failed"] += 1
    return r.left(-1, "out of memory")


def nopage(r: Request, why: str) -> int:
    """The request fails, unless GFP_NOFAIL finds a page in part of the reserve."""
    m, ac = r.m, r.ac
    if ac.gfp & GFP_NOFAIL and r.may_reclaim:
        pfn = get_page_from_freelist(m, ac, AF_MIN_RESERVE)
        if pfn >= 0:
            return r.left(pfn, "page from the reserve for __GFP_NOFAIL")
        m.events["nofail_failed"] += 1
    return r.left(-1, why)
