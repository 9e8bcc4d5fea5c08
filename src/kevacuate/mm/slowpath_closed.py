# SPDX-License-Identifier: GPL-2.0-or-later
"""The slow path in a closed loop: the model reclaims, compacts and runs out of memory by itself (mm/page_alloc.c, 7.2).

All of it is one moment of virtual time. Where the kernel would wait for others and begin anew, nothing changes here, so the
request fails: after the OOM killer (nobody is killed), and with __GFP_NOFAIL.
"""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm import constants as k
from kevacuate.mm.direct_compact import (
    alloc_pages_direct_compact,
    compacts_for,
    gfp_compaction_allowed,
    should_compact_retry,
)
from kevacuate.mm.fields import View
from kevacuate.mm.get_page import first_zones_zonelist, get_page_from_freelist, gfp_zone, zonelist_length
from kevacuate.mm.log import log_event
from kevacuate.mm.lruvec import zone_reclaimable_pages
from kevacuate.mm.pcp import drain_all_pages
from kevacuate.mm.region_evacuate import evacuate_for, evacuates_for
from kevacuate.mm.slowpath_flags import (
    LOCAL_HUGE_PAGE,
    compacts_first,
    gfp_to_alloc_flags,
    unreserve_highatomic_pageblock,
    wake_all_kswapds,
)
from kevacuate.mm.vmscan import try_to_free_pages
from kevacuate.mm.watermark import wmark_pages, zone_watermark_ok_free

MOST_TRIES = 128
"""Passes through `retry:` after which a request no longer waits for reclaim or compaction to help: the longest deferral twice.

The kernel has no such bound, but time passes there. Under defrag_mode reclaim for a whole block can say that compaction is ready
(1) where compaction is deferred or fails, and order-0 memory above MIN keeps the request trying.
"""
GOES_ON = -2
"""Said of a request that is still in the slow path; -1 is one that has failed."""


@part
def pfmemalloc_flags(gfp: int) -> int:
    """__gfp_pfmemalloc_flags: the reserves that the request may use; of its task nothing is known (:4603)."""
    if gfp & k.GFP_MEMALLOC and not gfp & k.GFP_NOMEMALLOC:
        return k.ALLOC_NO_WATERMARKS
    return 0


@part
def leave(s: View, pfn: int, how: int) -> int:
    """Count how a request left the slow path."""
    s.stat.slowpath_exit[how] += 1
    return pfn


@part(cold=True)
def give_up(s: View, cpu: int, order: int, mt: int, gfp: int, node: int, why: int) -> int:
    """`nopage:` (:5049): __GFP_NOFAIL gets some of the reserve; -1 where that is not enough, and for others."""
    if gfp & k.GFP_NOFAIL and gfp & k.GFP_DIRECT_RECLAIM:
        pfn = get_page_from_freelist(s, cpu, order, mt, k.ALLOC_MIN_RESERVE, node, gfp)
        if pfn >= 0:
            return leave(s, pfn, k.EXIT_NOFAIL)
        s.stat.nofail_failed += 1
    return leave(s, -1, why)


@part(cold=True)
def alloc_pages_direct_reclaim(s: View, cpu: int, order: int, mt: int, gfp: int, node: int) -> int:
    """__alloc_pages_direct_reclaim (:4469): reclaim, then look; then drain every CPU's lists, and look again."""
    alloc_flags = s.slow.alloc_flags
    progress = try_to_free_pages(s, cpu, node, compacts_for(s, order, mt, alloc_flags), gfp)
    s.slow.did_some_progress = progress
    if progress == 0:
        return -1
    pfn = get_page_from_freelist(s, cpu, order, mt, alloc_flags, node, gfp)
    if pfn < 0:
        unreserve_highatomic_pageblock(s, mt, node, gfp, False)
        drain_all_pages(s)
        pfn = get_page_from_freelist(s, cpu, order, mt, alloc_flags, node, gfp)
    return pfn


@part(cold=True)
def reclaim_could_help(s: View, order: int, gfp: int, node: int) -> bool:
    """Whether a zone would pass at MIN if all its reclaimable pages were free (of should_reclaim_retry, :4659)."""
    highest_zoneidx = gfp_zone(gfp)
    zonelist = s.node[node].zonelist
    for i in range(first_zones_zonelist(s, node, highest_zoneidx), zonelist_length(s, node, gfp)):
        z = zonelist[i]
        if s.zone[z].index > highest_zoneidx:
            continue
        available = zone_reclaimable_pages(s, z) + s.zone[z].nr_free_pages
        mark = wmark_pages(s, z, k.WMARK_MIN)
        if zone_watermark_ok_free(s, z, order, mark, highest_zoneidx, s.slow.alloc_flags, available):
            return True
    return False


@part
def should_reclaim_retry(s: View, order: int, mt: int, gfp: int, node: int) -> bool:
    """Whether to reclaim again (:4637). Before it is not, one block of the reserve is given back, whatever is left of it."""
    slow = s.slow
    made_progress = slow.did_some_progress > 0 and order <= k.PAGE_ALLOC_COSTLY_ORDER
    slow.no_progress_loops = 0 if made_progress else slow.no_progress_loops + 1
    if slow.no_progress_loops <= k.MAX_RECLAIM_RETRIES and reclaim_could_help(s, order, gfp, node):
        return True
    return unreserve_highatomic_pageblock(s, mt, node, gfp, True)


@part(cold=True)
def alloc_pages_may_oom(s: View, cpu: int, order: int, mt: int, gfp: int, node: int) -> int:
    """__alloc_pages_may_oom (:4049), and what follows it. Nobody is killed: the request fails, but for __GFP_NOFAIL.

    The OOM killer is spared for costly orders, low zones, one node alone, and __GFP_RETRY_MAYFAIL.
    """
    pfn = get_page_from_freelist(s, cpu, order, mt, k.WMARK_HIGH, node, gfp & ~k.GFP_DIRECT_RECLAIM)
    if pfn >= 0:
        return leave(s, pfn, k.EXIT_OOM_HIGH)
    may_fail = gfp & (k.GFP_RETRY_MAYFAIL | k.GFP_THISNODE) != 0
    if order > k.PAGE_ALLOC_COSTLY_ORDER or may_fail or gfp_zone(gfp) < k.ZONE_NORMAL:
        return give_up(s, cpu, order, mt, gfp, node, k.EXIT_NO_OOM)
    if gfp & k.GFP_FS:
        s.stat.oom_kill += 1
    else:
        s.stat.oom_nofs += 1
    log_event(s, k.L_OOM, -1, order, mt, gfp, node)
    if gfp & k.GFP_NOFAIL:
        pfn = get_page_from_freelist(s, cpu, order, mt, k.ALLOC_NO_WATERMARKS, node, gfp)
        if pfn >= 0:
            return leave(s, pfn, k.EXIT_OOM_NOFAIL)
        s.stat.nofail_failed += 1
    return leave(s, -1, k.EXIT_OOM)


@part
def exit_of_free_lists(s: View) -> int:
    """How a request leaves that the free lists serve: at its own mark, without marks, or after it has reclaimed or compacted."""
    if s.slow.alloc_flags & k.ALLOC_NO_WATERMARKS:
        return k.EXIT_RESERVES
    return k.EXIT_FREELIST if s.slow.tries == 1 else k.EXIT_RETRIED


@part(cold=True)
def retry(s: View, cpu: int, order: int, mt: int, gfp: int, node: int) -> int:
    """`retry:` up to where the request has to reclaim (:4868): the page, or GOES_ON.

    A request that may use reserves, or need not keep to its cpuset (ALLOC_CPUSET: it has no other meaning here), begins anew
    once.
    """
    slow = s.slow
    while True:
        slow.tries += 1
        if slow.alloc_flags & k.ALLOC_KSWAPD:
            wake_all_kswapds(s, order, node, gfp)
        pfn = get_page_from_freelist(s, cpu, order, mt, slow.alloc_flags, node, gfp)
        if pfn >= 0:
            return leave(s, pfn, exit_of_free_lists(s))
        reserves = pfmemalloc_flags(gfp)
        if reserves:
            cma = k.ALLOC_CMA if mt == k.MIGRATE_MOVABLE else 0
            slow.alloc_flags = reserves | cma | (slow.alloc_flags & k.ALLOC_KSWAPD)
        if slow.alloc_flags & k.ALLOC_CPUSET or not slow.can_retry_reserves:
            return GOES_ON
        slow.can_retry_reserves = 0


@part(cold=True)
def reclaim_and_compact(s: View, cpu: int, order: int, mt: int, gfp: int, node: int) -> int:
    """From direct reclaim to whether to try again (:4925 to :4985): the page, -1 for a request that fails, or GOES_ON."""
    slow = s.slow
    if not slow.compact_first:
        pfn = alloc_pages_direct_reclaim(s, cpu, order, mt, gfp, node)
        if pfn >= 0:
            return leave(s, pfn, k.EXIT_RECLAIM)
    pfn = alloc_pages_direct_compact(s, cpu, order, mt, gfp, node)
    if pfn >= 0:
        return leave(s, pfn, k.EXIT_COMPACT)
    if slow.compact_first:
        if gfp & LOCAL_HUGE_PAGE == LOCAL_HUGE_PAGE:
            return give_up(s, cpu, order, mt, gfp, node, k.EXIT_COMPACT_ONLY)
        return GOES_ON
    if gfp & k.GFP_NORETRY:
        return give_up(s, cpu, order, mt, gfp, node, k.EXIT_NORETRY)
    costly_again = slow.can_compact and gfp & k.GFP_RETRY_MAYFAIL
    if order > k.PAGE_ALLOC_COSTLY_ORDER and not costly_again:
        return give_up(s, cpu, order, mt, gfp, node, k.EXIT_COSTLY)
    return GOES_ON


@part
def tries_again(s: View, cpu: int, order: int, mt: int, gfp: int, node: int) -> bool:
    """Whether the request goes back to `retry:` (:4965): after compaction alone, to reclaim or compact more, to fall back.

    Falling back, where defrag_mode does not allow it at first, is the last resort.
    """
    slow = s.slow
    if slow.compact_first:
        slow.compact_first = 0
        if not gfp & k.GFP_NORETRY:
            slow.compact_priority = k.COMPACT_PRIO_SYNC_LIGHT
        return True
    if slow.tries >= MOST_TRIES:
        s.stat.slowpath_cut += 1
        return last_resort(s, cpu, order, mt, gfp, node)
    if should_reclaim_retry(s, order, mt, gfp, node):
        return True
    if slow.did_some_progress > 0 and slow.can_compact and should_compact_retry(s, order, gfp, node):
        return True
    return last_resort(s, cpu, order, mt, gfp, node)


@part(cold=True)
def last_resort(s: View, cpu: int, order: int, mt: int, gfp: int, node: int) -> bool:
    """Before the OOM killer: make room in tainted regions, once, where a policy does; then fall back. Whether to try again."""
    if s.slow.evacuated == 0 and evacuates_for(s, mt, s.slow.alloc_flags):
        s.slow.evacuated = 1
        if evacuate_for(s, cpu, order, mt, gfp, node):
            return True
    return drop_nofragment(s)


@part
def drop_nofragment(s: View) -> bool:
    """Allow fallbacks where defrag_mode has not so far; whether that changes anything."""
    if not s.slow.alloc_flags & k.ALLOC_NOFRAGMENT:
        return False
    s.slow.alloc_flags &= ~k.ALLOC_NOFRAGMENT
    return True


@part(cold=True)
def slowpath_begin(s: View, order: int, mt: int, gfp: int) -> None:
    """`restart:` (:4816): compact first for costly orders, and for others that are not movable."""
    slow = s.slow
    slow.compaction_retries = slow.no_progress_loops = slow.did_some_progress = slow.tries = 0
    slow.compact_result = k.COMPACT_SKIPPED
    slow.can_compact = 1 if gfp & k.GFP_DIRECT_RECLAIM != 0 and gfp_compaction_allowed(s, gfp) else 0
    slow.compact_first = 1 if slow.can_compact and compacts_first(order, mt) else 0
    slow.compact_priority = k.COMPACT_PRIO_ASYNC if slow.compact_first else k.COMPACT_PRIO_SYNC_LIGHT
    slow.can_retry_reserves = 1
    slow.evacuated = 0
    keeps_to_cpuset = gfp & k.GFP_DIRECT_RECLAIM or not gfp & k.GFP_HIGH
    slow.alloc_flags = gfp_to_alloc_flags(s, order, mt, gfp) | (k.ALLOC_CPUSET if keeps_to_cpuset else 0)


@part(cold=True)
def slowpath_closed_loop(s: View, cpu: int, order: int, mt: int, gfp: int, node: int) -> int:
    """__alloc_pages_slowpath (:4781); the page, or -1."""
    slowpath_begin(s, order, mt, gfp)
    while True:
        pfn = retry(s, cpu, order, mt, gfp, node)
        if pfn != GOES_ON:
            return pfn
        if not gfp & k.GFP_DIRECT_RECLAIM:
            if gfp & k.GFP_KSWAPD_RECLAIM and drop_nofragment(s):
                continue
            return give_up(s, cpu, order, mt, gfp, node, k.EXIT_CANNOT_RECLAIM)
        pfn = reclaim_and_compact(s, cpu, order, mt, gfp, node)
        if pfn != GOES_ON:
            return pfn
        if not tries_again(s, cpu, order, mt, gfp, node):
            return alloc_pages_may_oom(s, cpu, order, mt, gfp, node)
