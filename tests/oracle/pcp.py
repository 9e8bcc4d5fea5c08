# SPDX-License-Identifier: GPL-2.0-or-later
"""Per-CPU page lists: refill, commit, drain, tuning, decay."""

from __future__ import annotations

from .buddy import drain_one_page, free_one_page
from .constants import (
    AF_HIGHATOMIC,
    COSTLY_ORDER,
    ISOLATE,
    MOVABLE,
    PCP,
    PCP_BATCH_SCALE_MAX,
    PCPF_FREE_HIGH_BATCH,
    PCPF_PREV_FREE_HIGH_ORDER,
    PCPTYPES,
    WMARK_HIGH,
    ZONE_MOVABLE,
)
from .fallback import Mode, rmqueue_locked, rmqueue_old
from .irqwork import zone_unlock
from .machine import Machine
from .regions import note, take
from .watermark import zone_watermark_ok
from .zone import Page, Pcp, Zone


def clamp(value: int, low: int, high: int) -> int:
    """Clamp as the kernel's clamp() does, which looks at the upper bound first (bounds may be crossed)."""
    if value >= high:
        return high
    return max(value, low)


def order_to_pindex(order: int, mt: int) -> int:
    """Which pcp list holds chunks of this order and type."""
    if order > COSTLY_ORDER:
        return 12 + int(mt == MOVABLE)
    return PCPTYPES * order + mt


def pindex_to_order(m: Machine, pindex: int) -> int:
    """Order of the chunks on a pcp list."""
    return m.config.hpage_pmd_order if pindex >= 12 else pindex // PCPTYPES


def scale_batch(batch: int, order: int) -> int:
    """Pages as chunks: at least two, unless nothing may be kept."""
    return max(batch >> order, 2) if batch > 1 else batch


def nr_pcp_alloc(pcp: Pcp, zone: Zone, order: int) -> int:
    """How many chunks a refill asks for; adapts alloc_factor and high."""
    pcp.high = high = clamp(pcp.high, pcp.high_min, pcp.high_max)
    if high < pcp.batch:
        return 1
    batch = pcp.batch if order else pcp.batch << pcp.alloc_factor
    if pcp.high_min != pcp.high_max and not zone.below_high:
        pcp.high = high = min(high + batch, pcp.high_max)
    if order == 0:
        most = max(high - pcp.count - pcp.batch, pcp.batch)
        if batch <= most and pcp.alloc_factor < PCP_BATCH_SCALE_MAX:
            pcp.alloc_factor += 1
        batch = min(batch, most)
    return scale_batch(batch, order)


def nr_pcp_high(pcp: Pcp, zone: Zone, free_high: bool) -> int:
    """Return how many pages the pcp may hold right now; adapts high."""
    batch = pcp.batch
    pcp.high = high = clamp(pcp.high, pcp.high_min, pcp.high_max)
    if high == 0:
        return 0
    if free_high:
        pcp.high = max(high - (batch << PCP_BATCH_SCALE_MAX), pcp.high_min)
        return 0
    if zone.reclaim_active:
        pcp.high = max(high - max(pcp.free_count, batch), pcp.high_min)
        return min(4 * batch, pcp.high)
    if pcp.high_min == pcp.high_max:
        return high
    if zone.below_high:
        pcp.high = max(high - max(pcp.free_count, batch), pcp.high_min)
        return max(pcp.count, pcp.high_min)
    if pcp.count >= high:
        need = pcp.free_count + batch
        if pcp.high < need:
            pcp.high = clamp(need, pcp.high_min, pcp.high_max)
    return high


def nr_pcp_free(pcp: Pcp, high: int, free_high: bool) -> int:
    """How many pages to free once the limit is reached."""
    if free_high:
        return min(pcp.count, pcp.batch << PCP_BATCH_SCALE_MAX)
    if high < pcp.batch:
        return 1
    return clamp(pcp.free_count, pcp.batch, high - pcp.batch)


def nr_pcp_free_old(pcp: Pcp, high: int, free_high: bool) -> int:
    """`nr_pcp_free` of 6.1: doubles from call to call. free_factor lives in `free_count`."""
    if free_high:
        return pcp.count
    if high < pcp.batch:
        return 1
    pages = pcp.batch << pcp.free_count
    if pages < high - pcp.batch and pcp.free_count < PCP_BATCH_SCALE_MAX:
        pcp.free_count += 1
    return clamp(pages, pcp.batch, high - pcp.batch)


def free_pcppages_bulk(m: Machine, zone: Zone, pcp: Pcp, count: int, pindex: int) -> None:
    """Give `count` pages back, oldest first, one list after the other from `pindex` on."""
    count = min(pcp.count, count)
    pindex -= 1
    while count > 0:
        pindex = (pindex + 1) % len(pcp.lists)
        pages = pcp.lists[pindex]
        order = pindex_to_order(m, pindex)
        while count > 0 and len(pages):
            pfn = pages.tail()
            pages.remove(pfn)
            count -= 1 << order
            pcp.count -= 1 << order
            drain_one_page(m, zone, pfn, order)


def rmqueue_bulk(m: Machine, zone: Zone, order: int, count: int, mt: int, flags: int) -> list[int]:
    """Take up to `count` chunks under one hold of the zone lock, in the order they were found."""
    mode = Mode.NORMAL
    taken: list[int] = []
    for _ in range(count):
        pfn, mode = rmqueue_locked(m, zone, order, mt, flags, mode)
        if pfn < 0:
            break
        taken.append(pfn)
    zone_unlock(m, zone)
    return taken


def refill(m: Machine, zone: Zone, pcp: Pcp, order: int, count: int, mt: int, flags: int) -> list[int]:
    """`rmqueue_bulk` onto the tail of a pcp list."""
    if m.config.kernel.claims:
        taken = [(pfn, mt) for pfn in rmqueue_bulk(m, zone, order, count, mt, flags)]
    else:
        taken = rmqueue_bulk_old(m, zone, order, count, mt, flags)
    pages = pcp.lists[order_to_pindex(order, mt)]
    for pfn, source in taken:
        m.heads[pfn] = Page(pfn, order, PCP, source)
        pages.add_tail(pfn)
    pcp.count += len(taken) << order
    return [pfn for pfn, _ in taken]


def rmqueue_bulk_old(
    m: Machine, zone: Zone, order: int, count: int, mt: int, flags: int
) -> list[tuple[int, int]]:
    """The same with 6.1's `__rmqueue`: (pfn, type of the list it came from)."""
    taken: list[tuple[int, int]] = []
    while len(taken) < count:
        pfn, source = rmqueue_old(m, zone, order, mt, flags, len(taken) << order)
        if pfn < 0:
            break
        take(m, pfn, order, mt)
        taken.append((pfn, source))
    zone_unlock(m, zone)
    return taken


def rmqueue_from_pcp(m: Machine, zone: Zone, order: int, mt: int, flags: int) -> int:
    """Take the head of this CPU's list, refilled if it is empty (`__rmqueue_pcplist`); -1 if nothing."""
    pcp = zone.pcps[m.cpu]
    pages = pcp.lists[order_to_pindex(order, mt)]
    if not len(pages):
        if m.config.kernel.adaptive_high:
            count = nr_pcp_alloc(pcp, zone, order)
        else:
            count = scale_batch(pcp.batch, order)
        count = m.ask("nr_pcp_alloc", count, zone.number, m.cpu, order, count)
        if flags & AF_HIGHATOMIC and not m.config.kernel.reserves_anywhere:
            return -1
        refill(m, zone, pcp, order, count, mt, flags)
        if not len(pages):
            return -1
    pfn = pages.head()
    pages.remove(pfn)
    pcp.count -= 1 << order
    del m.heads[pfn]
    return pfn


def rmqueue_pcplist(m: Machine, zone: Zone, order: int, mt: int, flags: int) -> int:
    """As `rmqueue_from_pcp`, and halve free_count first."""
    zone.pcps[m.cpu].free_count >>= 1
    return rmqueue_from_pcp(m, zone, order, mt, flags)


def drain_in_batches(m: Machine, zone: Zone, pcp: Pcp, pages: int, pindex: int) -> None:
    """Free `pages` pages in calls of at most a batch."""
    while pages > 0 and pcp.count > 0:
        some = min(pages, pcp.batch)
        free_pcppages_bulk(m, zone, pcp, some, pindex)
        pages -= some


def is_free_high(m: Machine, pcp: Pcp, order: int) -> bool:
    """Whether a run of high-order frees makes the pcp give everything back; keeps the flag that tells."""
    if not 1 <= order <= COSTLY_ORDER:
        pcp.flags &= ~PCPF_PREV_FREE_HIGH_ORDER
        return False
    divisor = m.config.kernel.free_high_divisor
    free_high = (
        pcp.free_count >= pcp.batch + (pcp.high_min // divisor if divisor else 0)
        and bool(pcp.flags & PCPF_PREV_FREE_HIGH_ORDER)
        and (not pcp.flags & PCPF_FREE_HIGH_BATCH or pcp.count >= pcp.batch)
    )
    pcp.flags |= PCPF_PREV_FREE_HIGH_ORDER
    return free_high


def free_frozen_page_commit(m: Machine, zone: Zone, pfn: int, order: int, mt: int) -> None:
    """Put a freed chunk on this CPU's list, and give pages back if there are too many."""
    pcp = zone.pcps[m.cpu]
    pindex = order_to_pindex(order, mt)
    pcp.lists[pindex].add_head(pfn)
    m.heads[pfn] = Page(pfn, order, PCP, m.get_pageblock_migratetype(pfn))
    note(m, pfn, mt)
    pcp.count += 1 << order
    if not m.config.kernel.adaptive_high:
        drain_if_high(m, zone, pcp, order, pindex)
        return
    pcp.alloc_factor >>= 1
    free_high = is_free_high(m, pcp, order)
    if pcp.free_count < pcp.batch << PCP_BATCH_SCALE_MAX:
        pcp.free_count += 1 << order
    high = nr_pcp_high(pcp, zone, free_high)
    if pcp.count < high:
        return
    pages = nr_pcp_free(pcp, high, free_high)
    if m.config.kernel.drains_in_batches:
        drain_in_batches(m, zone, pcp, pages, pindex)
    else:
        free_pcppages_bulk(m, zone, pcp, pages, pindex)
    if zone.below_high and zone_watermark_ok(zone, 0, zone.wmark_pages(WMARK_HIGH), ZONE_MOVABLE, 0):
        zone.below_high = False


def drain_if_high(m: Machine, zone: Zone, pcp: Pcp, order: int, pindex: int) -> None:
    """The rest of a free in 6.1, where high does not move."""
    free_high = pcp.free_count > 0 and 1 <= order <= COSTLY_ORDER
    high = pcp.high
    if zone.reclaim_active:
        high = min(4 * pcp.batch, high)
    if free_high:
        high = 0
    if pcp.count >= high:
        free_pcppages_bulk(m, zone, pcp, nr_pcp_free_old(pcp, high, free_high), pindex)


def free_frozen_pages(m: Machine, pfn: int, order: int) -> None:
    """Free a chunk on this CPU (`__free_frozen_pages`)."""
    zone = m.zone_of(pfn)
    mt = m.get_pageblock_migratetype(pfn)
    if not m.pcp_allowed_order(order) or mt == ISOLATE:
        free_one_page(m, zone, pfn, order)
        return
    free_frozen_page_commit(m, zone, pfn, order, mt if mt < PCPTYPES else MOVABLE)


def free_unref_folios(m: Machine, folios: list[tuple[int, int]]) -> None:
    """Free a batch of (pfn, order): first those the pcp does not take, then the others."""
    for pfn, order in folios:
        if not m.pcp_allowed_order(order):
            free_one_page(m, m.zone_of(pfn), pfn, order)
    for pfn, order in folios:
        if m.pcp_allowed_order(order):
            free_frozen_pages(m, pfn, order)


def decay_pcp_high(m: Machine, zone: Zone, pcp: Pcp) -> None:
    """Let an unused pcp's high shrink, and drain what is above it; once a second per CPU."""
    if not m.config.kernel.decays:
        return
    if pcp.high > pcp.high_min:
        pcp.high = max(
            pcp.count - (pcp.batch << PCP_BATCH_SCALE_MAX), pcp.high - (pcp.high >> 3), pcp.high_min
        )
    drain_in_batches(m, zone, pcp, pcp.count - pcp.high, 0)


def drain_pages_zone(m: Machine, zone: Zone, pcp: Pcp) -> None:
    """Empty a pcp."""
    while pcp.count:
        free_pcppages_bulk(m, zone, pcp, min(pcp.count, pcp.batch << PCP_BATCH_SCALE_MAX), 0)


def drain_all_pages(m: Machine, only: Zone | None = None) -> None:
    """Empty all pcps, or those of one zone, CPU by CPU, zone by zone; the calling CPU does the work."""
    for cpu in range(len(m.config.cpu_node)):
        for zone in m.zones if only is None else [only]:
            drain_pages_zone(m, zone, zone.pcps[cpu])
