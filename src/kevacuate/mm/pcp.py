# SPDX-License-Identifier: GPL-2.0-or-later
"""Per-CPU page lists: refill, commit, draining, and their self-tuning (mm/page_alloc.c, 7.2)."""

from __future__ import annotations

from kevacuate.jit import part, prefetch
from kevacuate.mm import constants as k
from kevacuate.mm.buddy import (
    free_one_page_merge,
    get_pfnblock_migratetype,
)
from kevacuate.mm.evacuate_queue import irq_work_run
from kevacuate.mm.fallback_6_1 import rmqueue_retry
from kevacuate.mm.fields import PerCpuPages, View
from kevacuate.mm.hooks import hooked, hooked_nr_pcp_alloc
from kevacuate.mm.lists import list_add, list_add_tail, list_del
from kevacuate.mm.log import log_kmem
from kevacuate.mm.regions import NOTHING, note_content
from kevacuate.mm.rmqueue import rmqueue_mode
from kevacuate.mm.watermark import wmark_pages, zone_watermark_ok


@part(inline=True)
def clamp(value: int, low: int, high: int) -> int:
    """The kernel's clamp looks at the upper bound first, which matters when low > high (include/linux/minmax.h)."""
    if value >= high:
        return high
    return low if value <= low else value


@part(inline=True)
def pcp_allowed_order(s: View, order: int) -> bool:
    """Orders the per-CPU lists hold: 0 to 3, and a huge page's."""
    return order <= k.PAGE_ALLOC_COSTLY_ORDER or order == s.cfg.hpage_pmd_order


@part(inline=True)
def order_to_pindex(order: int, mt: int) -> int:
    """Index of the list of (order, type): 3 * order + type, huge pages at 12 and 13 (:651)."""
    if order > k.PAGE_ALLOC_COSTLY_ORDER:
        return k.MIGRATE_PCPTYPES * (k.PAGE_ALLOC_COSTLY_ORDER + 1) + (1 if mt == k.MIGRATE_MOVABLE else 0)
    return k.MIGRATE_PCPTYPES * order + mt


@part(inline=True)
def pcp_number(s: View, z: int, cpu: int) -> int:
    """Number in ``pcp`` of zone->per_cpu_pageset of a CPU."""
    return z * s.cfg.nr_cpus + cpu


@part(inline=True)
def pcp_at(s: View, z: int, cpu: int) -> PerCpuPages:
    """zone->per_cpu_pageset of a CPU."""
    return s.pcp[pcp_number(s, z, cpu)]


@part(inline=True)
def pcp_list(s: View, z: int, cpu: int, pindex: int) -> int:
    """Index in ``link`` of the sentinel of a per-CPU list."""
    return s.cfg.pcp_base + (z * s.cfg.nr_cpus + cpu) * k.PCP_LISTS + pindex


@part(inline=True)
def note_pcp_type(s: View, pfn: int, mt: int) -> None:
    """set_pcppage_migratetype: note the type a page came to a per-CPU list with, in kernels that do (6.1)."""
    if s.cfg.pcp_type_cached:
        s.block[s.cfg.pcp_type_base + pfn] = mt


@part(cold=True)
def noted_pcp_type(s: View, z: int, pfn: int, order: int) -> int:
    """The type that a drain goes by where it was noted: not its block's now, unless the zone has isolated blocks (6.1:1623).

    In other kernels its block's. The chunk is free from now on.
    """
    if s.cfg.region_order:
        note_content(s, pfn, order, NOTHING)
    if not s.cfg.pcp_type_cached or s.zone[z].nr_isolate_pageblock:
        return get_pfnblock_migratetype(s, pfn)
    return s.block[s.cfg.pcp_type_base + pfn] + 0


@part(cold=True)
def rmqueue_bulk_retry(s: View, z: int, cpu: int, order: int, count: int, mt: int, alloc_flags: int) -> int:
    """rmqueue_bulk with the fallback of :mod:`kevacuate.mm.fallback_6_1` (6.1:3152)."""
    head = pcp_list(s, z, cpu, order_to_pindex(order, mt))
    taken = 0
    while taken < count:
        pfn, list_mt = rmqueue_retry(s, z, order, mt, alloc_flags, taken << order)
        if pfn < 0:
            break
        s.meta[pfn] = k.CHUNK_PCP << 4 | order
        list_add_tail(s, pfn, head)
        note_pcp_type(s, pfn, list_mt)
        if s.cfg.region_order:
            note_content(s, pfn, order, mt)
        taken += 1
    s.stat.refills += 1
    irq_work_run(s, z)
    return taken


@part(inline=False)
def rmqueue_bulk(s: View, z: int, cpu: int, order: int, count: int, mt: int, alloc_flags: int) -> int:
    """Take up to *count* chunks off the buddy lists onto the tail of a per-CPU list (:2523).

    Returns the number taken. The claims among them run the irq_work when the zone lock is dropped.
    """
    if s.cfg.steal_suitable:
        return rmqueue_bulk_retry(s, z, cpu, order, count, mt, alloc_flags)
    head = pcp_list(s, z, cpu, order_to_pindex(order, mt))
    mode = k.RMQUEUE_NORMAL
    taken = 0
    while taken < count:
        pfn, mode = rmqueue_mode(s, z, order, mt, alloc_flags, mode)
        if pfn < 0:
            break
        s.meta[pfn] = k.CHUNK_PCP << 4 | order
        list_add_tail(s, pfn, head)
        taken += 1
    s.stat.refills += 1
    irq_work_run(s, z)
    return taken


@part
def nr_pcp_alloc(s: View, z: int, cpu: int, order: int) -> int:
    """How many chunks a refill asks for; moves high and alloc_factor (:3264)."""
    pcp = pcp_at(s, z, cpu)
    high_min = pcp.high_min
    high_max = pcp.high_max
    batch = pcp.batch
    if s.cfg.pcp_fixed:
        return max(batch >> order, 2) if batch > 1 else 1
    high = clamp(pcp.high, high_min, high_max)
    pcp.high = high
    if high < batch:
        return 1
    factor = pcp.alloc_factor
    wanted = batch if order else batch << factor
    if high_min != high_max and s.zone[z].below_high == 0:
        high = min(high + wanted, high_max)
        pcp.high = high
    if order == 0:
        most = max(high - pcp.count - batch, batch)
        if wanted <= most and factor < k.PCP_BATCH_SCALE_MAX:
            pcp.alloc_factor = factor + 1
        wanted = min(wanted, most)
    if wanted > 1:
        wanted = max(wanted >> order, 2)
    return wanted


@part(inline=True)
def take_from_pcp_list(s: View, z: int, cpu: int, order: int, mt: int) -> int:
    """The head of a per-CPU list, off the list and no longer counted; -1 if the list is empty."""
    head = pcp_list(s, z, cpu, order_to_pindex(order, mt))
    pfn = s.link[2 * head] + 0
    if pfn == head:
        return -1
    list_del(s, pfn)
    pcp_at(s, z, cpu).count -= 1 << order
    return pfn


@part(inline=True)
def add_to_pcp_list(s: View, z: int, cpu: int, pfn: int, order: int, mt: int) -> int:
    """Put a freed chunk at the HEAD of its per-CPU list; the count with it."""
    pcp = pcp_at(s, z, cpu)
    s.meta[pfn] = k.CHUNK_PCP << 4 | order
    list_add(s, pfn, pcp_list(s, z, cpu, order_to_pindex(order, mt)))
    count = pcp.count + (1 << order)
    pcp.count = count
    return count


@part(inline=True)
def rmqueue_pcplist_pop(s: View, z: int, cpu: int, order: int, mt: int, alloc_flags: int) -> int:
    """__rmqueue_pcplist: refill the list if empty, then take its head; -1 if it stays empty (:3315)."""
    head = pcp_list(s, z, cpu, order_to_pindex(order, mt))
    pcp = pcp_at(s, z, cpu)
    if s.link[2 * head] == head:
        count = nr_pcp_alloc(s, z, cpu, order)
        if hooked(s, k.HOOK_NR_PCP_ALLOC):
            count = hooked_nr_pcp_alloc(s, z, cpu, order, count)
        if alloc_flags & k.ALLOC_HIGHATOMIC and not s.cfg.reserve_any_path:
            return -1
        taken = rmqueue_bulk(s, z, cpu, order, count, mt, alloc_flags)
        pcp.count += taken << order
        if taken == 0:
            return -1
    return take_from_pcp_list(s, z, cpu, order, mt)


@part(inline=True)
def rmqueue_pcplist(s: View, z: int, cpu: int, order: int, mt: int, alloc_flags: int) -> int:
    """An allocation from the per-CPU lists: halve free_count, then pop (:3361)."""
    pcp_at(s, z, cpu).free_count >>= 1
    return rmqueue_pcplist_pop(s, z, cpu, order, mt, alloc_flags)


@part(inline=False)
def free_pcppages_bulk(s: View, z: int, cpu: int, count: int, pindex: int) -> None:
    """Drain about *count* pages to the buddy lists: oldest first, one list emptied before the next (:1459).

    May over-drain by less than one chunk. Each page goes to the list of the type its block has now; in old kernels, of the
    type that was noted of it. Ends where all lists are empty, even if the count says otherwise: a verification that has parted
    from the recorded lists would go round for ever.
    """
    pcp = pcp_at(s, z, cpu)
    noted = s.cfg.pcp_notes != 0
    lists = s.cfg.nr_pcp_lists
    count = min(pcp.count, count)
    empty = 0
    while count > 0 and empty < lists:
        head = pcp_list(s, z, cpu, pindex)
        pfn = s.link[2 * head + 1] + 0
        if pfn == head:
            pindex = pindex + 1 if pindex + 1 < lists else 0
            empty += 1
            continue
        empty = 0
        before = s.link[2 * pfn + 1] + 0
        prefetch(s.link, 2 * before)  # the next chunk to go, freed long ago
        prefetch(s.meta, before)
        order = s.meta[pfn] & 15
        list_del(s, pfn)
        count -= 1 << order
        pcp.count -= 1 << order
        mt = noted_pcp_type(s, z, pfn, order) if noted else get_pfnblock_migratetype(s, pfn)
        free_one_page_merge(s, z, pfn, order, mt, k.FPI_NONE)
        log_kmem(s, k.L_PCPU_DRAIN, pfn, order, mt)
    s.stat.drains += 1


@part(inline=True)
def nr_pcp_high(s: View, z: int, cpu: int, free_high: bool) -> int:
    """The count at which a free drains; moves high (:2777)."""
    zone = s.zone[z]
    pcp = pcp_at(s, z, cpu)
    high_min = pcp.high_min
    high_max = pcp.high_max
    batch = pcp.batch
    high = clamp(pcp.high, high_min, high_max)
    pcp.high = high
    if high == 0:
        return 0
    if free_high:
        pcp.high = max(high - (batch << k.PCP_BATCH_SCALE_MAX), high_min)
        return 0
    free_count = pcp.free_count
    if zone.reclaim_active:
        high = max(high - max(free_count, batch), high_min)
        pcp.high = high
        return min(batch << 2, high)
    if high_min == high_max:
        return high
    if zone.below_high:
        pcp.high = max(high - max(free_count, batch), high_min)
        return max(pcp.count, high_min)
    if pcp.count >= high and high < free_count + batch:
        pcp.high = clamp(free_count + batch, high_min, high_max)
    return high


@part
def nr_pcp_free(pcp: PerCpuPages, batch: int, limit: int, free_high: bool) -> int:
    """How many pages a free drains once it drains (:2752)."""
    if free_high:
        return min(pcp.count, batch << k.PCP_BATCH_SCALE_MAX)
    if limit < batch:
        return 1
    return clamp(pcp.free_count, batch, limit - batch)


@part(cold=True)
def drain_after_commit(s: View, z: int, cpu: int, limit: int, free_high: bool, pindex: int) -> None:
    """Drain in sub-batches of ``batch`` pages, in old kernels in one go, then perhaps clear ZONE_BELOW_HIGH (:2885)."""
    zone = s.zone[z]
    pcp = pcp_at(s, z, cpu)
    batch = pcp.batch
    to_free = nr_pcp_free(pcp, batch, limit, free_high)
    step = batch if s.cfg.sub_batches else to_free
    while to_free > 0 and pcp.count > 0:
        free_pcppages_bulk(s, z, cpu, min(to_free, step), pindex)
        to_free -= step
    if zone.below_high and zone_watermark_ok(s, z, 0, wmark_pages(s, z, k.WMARK_HIGH), k.ZONE_MOVABLE, 0):
        zone.below_high = 0


@part
def nr_pcp_free_doubling(pcp: PerCpuPages, limit: int, free_high: bool) -> int:
    """How many pages a free drains where high is fixed: twice as many each time, until an allocation (6.1:3422)."""
    batch = pcp.batch
    if free_high:
        return pcp.count
    if limit < batch:
        return 1
    factor = pcp.free_count
    wanted = batch << factor
    if wanted < limit - batch and factor < k.PCP_BATCH_SCALE_MAX:
        pcp.free_count = factor + 1
    return clamp(wanted, batch, limit - batch)


@part(cold=True)
def free_unref_page_commit(s: View, z: int, cpu: int, pfn: int, order: int, mt: int) -> None:
    """free_frozen_page_commit where high is fixed: no tuning but free_factor's, one call per drain (6.1:3469)."""
    pcp = pcp_at(s, z, cpu)
    note_pcp_type(s, pfn, get_pfnblock_migratetype(s, pfn))
    count = add_to_pcp_list(s, z, cpu, pfn, order, mt)
    free_high = pcp.free_count > 0 and 0 < order <= k.PAGE_ALLOC_COSTLY_ORDER
    limit = pcp.high
    if free_high:
        limit = 0
    elif s.zone[z].reclaim_active:
        limit = min(pcp.batch << 2, limit)
    if count >= limit:
        to_free = nr_pcp_free_doubling(pcp, limit, free_high)
        free_pcppages_bulk(s, z, cpu, to_free, order_to_pindex(order, mt))


@part(inline=True)
def count_free(s: View, pcp: PerCpuPages, order: int, count: int) -> bool:
    """free_count and flags after a free that makes it *count* pages; whether it is a free_high (:2848)."""
    batch = pcp.batch
    flags = pcp.flags
    free_high = False
    if 0 < order <= k.PAGE_ALLOC_COSTLY_ORDER:
        free_high = (
            pcp.free_count >= batch + (pcp.high_min >> s.cfg.free_high_shift)
            and flags & k.PCPF_PREV_FREE_HIGH_ORDER != 0
            and (flags & k.PCPF_FREE_HIGH_BATCH == 0 or count >= batch)
        )
        pcp.flags = flags | k.PCPF_PREV_FREE_HIGH_ORDER
    elif flags & k.PCPF_PREV_FREE_HIGH_ORDER:
        pcp.flags = flags & ~k.PCPF_PREV_FREE_HIGH_ORDER
    if pcp.free_count < batch << k.PCP_BATCH_SCALE_MAX:
        pcp.free_count += 1 << order
    return free_high


@part(inline=True)
def free_frozen_page_commit(s: View, z: int, cpu: int, pfn: int, order: int, mt: int) -> None:
    """Put a freed chunk at the head of its per-CPU list, tune, and drain if the limit is reached (:2832)."""
    if s.cfg.commit_noted:
        commit_noted(s, z, cpu, pfn, order, mt)
    else:
        commit_tuned(s, z, cpu, pfn, order, mt)


@part(cold=True)
def commit_noted(s: View, z: int, cpu: int, pfn: int, order: int, mt: int) -> None:
    """free_frozen_page_commit where high is fixed or regions are kept."""
    if s.cfg.region_order:
        note_content(s, pfn, order, mt)
    if s.cfg.pcp_fixed:
        free_unref_page_commit(s, z, cpu, pfn, order, mt)
    else:
        commit_tuned(s, z, cpu, pfn, order, mt)


@part(inline=True)
def commit_tuned(s: View, z: int, cpu: int, pfn: int, order: int, mt: int) -> None:
    """free_frozen_page_commit as it is in 7.2."""
    pcp = pcp_at(s, z, cpu)
    pcp.alloc_factor >>= 1
    count = add_to_pcp_list(s, z, cpu, pfn, order, mt)
    free_high = count_free(s, pcp, order, count)
    limit = nr_pcp_high(s, z, cpu, free_high)
    if count >= limit:
        drain_after_commit(s, z, cpu, limit, free_high, order_to_pindex(order, mt))


@part(inline=True)
def decay_high(s: View, pcp: PerCpuPages) -> int:
    """What the once-a-second decay does to high; how many pages are then too many (none if not positive) (:2564)."""
    high_min = pcp.high_min
    high = pcp.high
    count = pcp.count
    if high > high_min:
        batch = pcp.batch
        high = max(count - (batch << k.PCP_BATCH_SCALE_MAX), high - (high >> 3), high_min)
        pcp.high = high
        s.stat.decays += 1
    return count - high


@part(cold=True)
def decay_pcp_high(s: View, z: int, cpu: int) -> None:
    """The once-a-second decay of high, and the drain of what exceeds it; old kernels have none."""
    if not s.cfg.decay:
        return
    pcp = pcp_at(s, z, cpu)
    batch = pcp.batch
    to_drain = decay_high(s, pcp)
    while to_drain > 0:
        free_pcppages_bulk(s, z, cpu, min(to_drain, batch), 0)
        to_drain -= batch


@part
def drain_pages_zone(s: View, z: int, cpu: int) -> None:
    """Drain one zone's list of one CPU to the last page (:2620)."""
    pcp = pcp_at(s, z, cpu)
    while pcp.count > 0:
        quota = pcp.batch << k.PCP_BATCH_SCALE_MAX
        free_pcppages_bulk(s, z, cpu, min(pcp.count, quota), 0)


@part(cold=True)
def drain_all_pages(s: View) -> None:
    """Drain every CPU's lists of every zone (:2674): CPUs ascending, zones ascending within each."""
    for cpu in range(s.cfg.nr_cpus):
        for z in range(s.cfg.nr_zones):
            drain_pages_zone(s, z, cpu)


@part(cold=True)
def drain_all_pages_of_zone(s: View, z: int) -> None:
    """drain_all_pages(zone): every CPU's lists of this zone alone, CPUs ascending."""
    for cpu in range(s.cfg.nr_cpus):
        drain_pages_zone(s, z, cpu)
