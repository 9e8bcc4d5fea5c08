# SPDX-License-Identifier: GPL-2.0-or-later
"""Per-CPU page lists: refill, commit, draining, and their self-tuning (mm/page_alloc.c, 7.2)."""

from __future__ import annotations

from kevacuate.mm.buddy import (
    free_one_page_merge,
    get_pfnblock_migratetype,
    list_add,
    list_add_tail,
    list_del,
)
from kevacuate.mm.constants import (
    ALLOC_HIGHATOMIC,
    C_DECAY,
    C_FREE_HIGH_SHIFT,
    C_HPAGE_ORDER,
    C_NCPUS,
    C_NR_PCP_LISTS,
    C_NZONES,
    C_OFF_PCP_TYPE,
    C_PCP_BASE,
    C_PCP_FIXED,
    C_PCP_TYPE_CACHED,
    C_RESERVE_ANY_PATH,
    C_STEAL_SUITABLE,
    C_SUB_BATCHES,
    FPI_NONE,
    L_PCPU_DRAIN,
    MIGRATE_MOVABLE,
    MIGRATE_PCPTYPES,
    P_ALLOC_FACTOR,
    P_BATCH,
    P_COUNT,
    P_FLAGS,
    P_FREE_COUNT,
    P_HIGH,
    P_HIGH_MAX,
    P_HIGH_MIN,
    PAGE_ALLOC_COSTLY_ORDER,
    PCP_BATCH_SCALE_MAX,
    PCP_LISTS,
    PCPF_FREE_HIGH_BATCH,
    PCPF_PREV_FREE_HIGH_ORDER,
    PG_PCP,
    PS,
    RMQUEUE_NORMAL,
    T_DECAYS,
    T_DRAINS,
    T_REFILLS,
    WMARK_HIGH,
    Z_BELOW_HIGH,
    Z_NR_ISOLATE_BLOCKS,
    Z_RECLAIM_ACTIVE,
    ZONE_MOVABLE,
    ZS,
)
from kevacuate.mm.fallback import rmqueue_mode
from kevacuate.mm.jit import part, prefetch
from kevacuate.mm.log import log_kmem
from kevacuate.mm.steal_suitable import rmqueue_retry
from kevacuate.mm.watermark import wmark_pages, zone_watermark_ok
from kevacuate.mm.workqueue import irq_work_run


@part(inline=True)
def clamp(value, low, high):  # type: ignore[no-untyped-def]
    """The kernel's clamp looks at the upper bound first, which matters when low > high (include/linux/minmax.h)."""
    if value >= high:
        return high
    return low if value <= low else value


@part(inline=True)
def pcp_allowed_order(s, order):  # type: ignore[no-untyped-def]
    """Orders the per-CPU lists hold: 0 to 3, and a huge page's."""
    return order <= PAGE_ALLOC_COSTLY_ORDER or order == s.cfg[C_HPAGE_ORDER]


@part(inline=True)
def order_to_pindex(order, mt):  # type: ignore[no-untyped-def]
    """Index of the list of (order, type): 3 * order + type, huge pages at 12 and 13 (:645)."""
    if order > PAGE_ALLOC_COSTLY_ORDER:
        return MIGRATE_PCPTYPES * (PAGE_ALLOC_COSTLY_ORDER + 1) + (1 if mt == MIGRATE_MOVABLE else 0)
    return MIGRATE_PCPTYPES * order + mt


@part(inline=True)
def pcp_at(s, z, cpu):  # type: ignore[no-untyped-def]
    """Offset in ``pcp`` of the fields of (zone, CPU)."""
    return (z * s.cfg[C_NCPUS] + cpu) * PS


@part(inline=True)
def pcp_list(s, z, cpu, pindex):  # type: ignore[no-untyped-def]
    """Index in ``link`` of the sentinel of a per-CPU list."""
    return s.cfg[C_PCP_BASE] + (z * s.cfg[C_NCPUS] + cpu) * PCP_LISTS + pindex


@part(inline=True)
def note_pcp_type(s, pfn, mt):  # type: ignore[no-untyped-def]
    """set_pcppage_migratetype: note the type a page came to a per-CPU list with, in kernels that do (6.1)."""
    if s.cfg[C_PCP_TYPE_CACHED]:
        s.block[s.cfg[C_OFF_PCP_TYPE] + pfn] = mt


@part(cold=True)
def noted_pcp_type(s, z, pfn):  # type: ignore[no-untyped-def]
    """The type that a drain goes by where it was noted: not its block's now, unless the zone has isolated blocks (6.1:1623)."""
    if s.zone[z * ZS + Z_NR_ISOLATE_BLOCKS]:
        return get_pfnblock_migratetype(s, pfn)
    return s.block[s.cfg[C_OFF_PCP_TYPE] + pfn] + 0


@part(cold=True)
def rmqueue_bulk_retry(s, z, cpu, order, count, mt, flags):  # type: ignore[no-untyped-def]
    """rmqueue_bulk with the fallback of :mod:`kevacuate.mm.steal_suitable` (6.1:3152)."""
    head = pcp_list(s, z, cpu, order_to_pindex(order, mt))
    taken = 0
    while taken < count:
        pfn, list_mt = rmqueue_retry(s, z, order, mt, flags, taken << order)
        if pfn < 0:
            break
        s.meta[pfn] = PG_PCP << 4 | order
        list_add_tail(s, pfn, head)
        note_pcp_type(s, pfn, list_mt)
        taken += 1
    s.stat[T_REFILLS] += 1
    irq_work_run(s, z)
    return taken


@part(inline=False)
def rmqueue_bulk(s, z, cpu, order, count, mt, flags):  # type: ignore[no-untyped-def]
    """Take up to *count* chunks off the buddy lists onto the tail of a per-CPU list (:2523).

    Returns the number taken. The claims among them run the irq_work when the zone lock is dropped.
    """
    if s.cfg[C_STEAL_SUITABLE]:
        return rmqueue_bulk_retry(s, z, cpu, order, count, mt, flags)
    head = pcp_list(s, z, cpu, order_to_pindex(order, mt))
    mode = RMQUEUE_NORMAL
    taken = 0
    while taken < count:
        pfn, mode = rmqueue_mode(s, z, order, mt, flags, mode)
        if pfn < 0:
            break
        s.meta[pfn] = PG_PCP << 4 | order
        list_add_tail(s, pfn, head)
        taken += 1
    s.stat[T_REFILLS] += 1
    irq_work_run(s, z)
    return taken


@part
def nr_pcp_alloc(s, z, cpu, order):  # type: ignore[no-untyped-def]
    """How many chunks a refill asks for; moves high and alloc_factor (:3264)."""
    at = pcp_at(s, z, cpu)
    high_min = s.pcp[at + P_HIGH_MIN] + 0
    high_max = s.pcp[at + P_HIGH_MAX] + 0
    batch = s.pcp[at + P_BATCH] + 0
    if s.cfg[C_PCP_FIXED]:
        return max(batch >> order, 2) if batch > 1 else 1
    high = clamp(s.pcp[at + P_HIGH] + 0, high_min, high_max)
    s.pcp[at + P_HIGH] = high
    if high < batch:
        return 1
    factor = s.pcp[at + P_ALLOC_FACTOR] + 0
    wanted = batch if order else batch << factor
    if high_min != high_max and s.zone[z * ZS + Z_BELOW_HIGH] == 0:
        high = min(high + wanted, high_max)
        s.pcp[at + P_HIGH] = high
    if order == 0:
        most = max(high - s.pcp[at + P_COUNT] - batch, batch)
        if wanted <= most and factor < PCP_BATCH_SCALE_MAX:
            s.pcp[at + P_ALLOC_FACTOR] = factor + 1
        wanted = min(wanted, most)
    if wanted > 1:
        wanted = max(wanted >> order, 2)
    return wanted


@part(inline=True)
def take_from_pcp_list(s, z, cpu, order, mt):  # type: ignore[no-untyped-def]
    """The head of a per-CPU list, off the list and no longer counted; -1 if the list is empty."""
    head = pcp_list(s, z, cpu, order_to_pindex(order, mt))
    pfn = s.link[2 * head] + 0
    if pfn == head:
        return -1
    list_del(s, pfn)
    s.pcp[pcp_at(s, z, cpu) + P_COUNT] -= 1 << order
    return pfn


@part(inline=True)
def add_to_pcp_list(s, z, cpu, pfn, order, mt):  # type: ignore[no-untyped-def]
    """Put a freed chunk at the HEAD of its per-CPU list; the count with it."""
    at = pcp_at(s, z, cpu)
    s.meta[pfn] = PG_PCP << 4 | order
    list_add(s, pfn, pcp_list(s, z, cpu, order_to_pindex(order, mt)))
    count = s.pcp[at + P_COUNT] + (1 << order)
    s.pcp[at + P_COUNT] = count
    return count


@part(inline=True)
def rmqueue_pcplist_pop(s, z, cpu, order, mt, flags):  # type: ignore[no-untyped-def]
    """__rmqueue_pcplist: refill the list if empty, then take its head; -1 if it stays empty (:3315)."""
    head = pcp_list(s, z, cpu, order_to_pindex(order, mt))
    at = pcp_at(s, z, cpu)
    if s.link[2 * head] == head:
        count = nr_pcp_alloc(s, z, cpu, order)
        if flags & ALLOC_HIGHATOMIC and not s.cfg[C_RESERVE_ANY_PATH]:
            return -1
        taken = rmqueue_bulk(s, z, cpu, order, count, mt, flags)
        s.pcp[at + P_COUNT] += taken << order
        if taken == 0:
            return -1
    return take_from_pcp_list(s, z, cpu, order, mt)


@part(inline=True)
def rmqueue_pcplist(s, z, cpu, order, mt, flags):  # type: ignore[no-untyped-def]
    """An allocation from the per-CPU lists: halve free_count, then pop (:3361)."""
    s.pcp[pcp_at(s, z, cpu) + P_FREE_COUNT] >>= 1
    return rmqueue_pcplist_pop(s, z, cpu, order, mt, flags)


@part(inline=False)
def free_pcppages_bulk(s, z, cpu, count, pindex):  # type: ignore[no-untyped-def]
    """Drain about *count* pages to the buddy lists: oldest first, one list emptied before the next (:1459).

    May over-drain by less than one chunk. Each page goes to the list of the type its block has now; in old kernels, of the
    type that was noted of it. Ends where all lists are empty, even if the count says otherwise: a verification that has parted
    from the recorded lists would go round for ever.
    """
    at = pcp_at(s, z, cpu)
    noted = s.cfg[C_PCP_TYPE_CACHED] != 0
    lists = s.cfg[C_NR_PCP_LISTS]
    count = min(s.pcp[at + P_COUNT] + 0, count)
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
        s.pcp[at + P_COUNT] -= 1 << order
        mt = noted_pcp_type(s, z, pfn) if noted else get_pfnblock_migratetype(s, pfn)
        free_one_page_merge(s, z, pfn, order, mt, FPI_NONE)
        log_kmem(s, L_PCPU_DRAIN, pfn, order, mt)
    s.stat[T_DRAINS] += 1


@part(inline=True)
def nr_pcp_high(s, z, cpu, free_high):  # type: ignore[no-untyped-def]
    """The count at which a free drains; moves high (:2777)."""
    at = pcp_at(s, z, cpu)
    high_min = s.pcp[at + P_HIGH_MIN] + 0
    high_max = s.pcp[at + P_HIGH_MAX] + 0
    batch = s.pcp[at + P_BATCH] + 0
    high = clamp(s.pcp[at + P_HIGH] + 0, high_min, high_max)
    s.pcp[at + P_HIGH] = high
    if high == 0:
        return 0
    if free_high:
        s.pcp[at + P_HIGH] = max(high - (batch << PCP_BATCH_SCALE_MAX), high_min)
        return 0
    free_count = s.pcp[at + P_FREE_COUNT] + 0
    if s.zone[z * ZS + Z_RECLAIM_ACTIVE]:
        high = max(high - max(free_count, batch), high_min)
        s.pcp[at + P_HIGH] = high
        return min(batch << 2, high)
    if high_min == high_max:
        return high
    if s.zone[z * ZS + Z_BELOW_HIGH]:
        s.pcp[at + P_HIGH] = max(high - max(free_count, batch), high_min)
        return max(s.pcp[at + P_COUNT] + 0, high_min)
    if s.pcp[at + P_COUNT] >= high and high < free_count + batch:
        s.pcp[at + P_HIGH] = clamp(free_count + batch, high_min, high_max)
    return high


@part
def nr_pcp_free(s, at, batch, limit, free_high):  # type: ignore[no-untyped-def]
    """How many pages a free drains once it drains (:2752)."""
    if free_high:
        return min(s.pcp[at + P_COUNT] + 0, batch << PCP_BATCH_SCALE_MAX)
    if limit < batch:
        return 1
    return clamp(s.pcp[at + P_FREE_COUNT] + 0, batch, limit - batch)


@part(cold=True)
def drain_after_commit(s, z, cpu, limit, free_high, pindex):  # type: ignore[no-untyped-def]
    """Drain in sub-batches of ``batch`` pages, in old kernels in one go, then perhaps clear ZONE_BELOW_HIGH (:2885)."""
    at = pcp_at(s, z, cpu)
    batch = s.pcp[at + P_BATCH] + 0
    to_free = nr_pcp_free(s, at, batch, limit, free_high)
    step = batch if s.cfg[C_SUB_BATCHES] else to_free
    while to_free > 0 and s.pcp[at + P_COUNT] > 0:
        free_pcppages_bulk(s, z, cpu, min(to_free, step), pindex)
        to_free -= step
    if s.zone[z * ZS + Z_BELOW_HIGH] and zone_watermark_ok(
        s, z, 0, wmark_pages(s, z, WMARK_HIGH), ZONE_MOVABLE, 0
    ):
        s.zone[z * ZS + Z_BELOW_HIGH] = 0


@part
def nr_pcp_free_doubling(s, at, limit, free_high):  # type: ignore[no-untyped-def]
    """How many pages a free drains where high is fixed: twice as many each time, until an allocation (6.1:3422)."""
    batch = s.pcp[at + P_BATCH] + 0
    if free_high:
        return s.pcp[at + P_COUNT] + 0
    if limit < batch:
        return 1
    factor = s.pcp[at + P_FREE_COUNT] + 0
    wanted = batch << factor
    if wanted < limit - batch and factor < PCP_BATCH_SCALE_MAX:
        s.pcp[at + P_FREE_COUNT] = factor + 1
    return clamp(wanted, batch, limit - batch)


@part(cold=True)
def free_unref_page_commit(s, z, cpu, pfn, order, mt):  # type: ignore[no-untyped-def]
    """free_frozen_page_commit where high is fixed: no tuning but free_factor's, one call per drain (6.1:3469)."""
    at = pcp_at(s, z, cpu)
    note_pcp_type(s, pfn, get_pfnblock_migratetype(s, pfn))
    count = add_to_pcp_list(s, z, cpu, pfn, order, mt)
    free_high = s.pcp[at + P_FREE_COUNT] > 0 and 0 < order <= PAGE_ALLOC_COSTLY_ORDER
    limit = s.pcp[at + P_HIGH] + 0
    if free_high:
        limit = 0
    elif s.zone[z * ZS + Z_RECLAIM_ACTIVE]:
        limit = min((s.pcp[at + P_BATCH] + 0) << 2, limit)
    if count >= limit:
        to_free = nr_pcp_free_doubling(s, at, limit, free_high)
        free_pcppages_bulk(s, z, cpu, to_free, order_to_pindex(order, mt))


@part(inline=True)
def count_free(s, at, order, count):  # type: ignore[no-untyped-def]
    """free_count and flags after a free that makes it *count* pages; whether it is a free_high (:2848)."""
    batch = s.pcp[at + P_BATCH] + 0
    flags = s.pcp[at + P_FLAGS] + 0
    free_high = False
    if 0 < order <= PAGE_ALLOC_COSTLY_ORDER:
        free_high = (
            s.pcp[at + P_FREE_COUNT] >= batch + (s.pcp[at + P_HIGH_MIN] >> s.cfg[C_FREE_HIGH_SHIFT])
            and flags & PCPF_PREV_FREE_HIGH_ORDER != 0
            and (flags & PCPF_FREE_HIGH_BATCH == 0 or count >= batch)
        )
        s.pcp[at + P_FLAGS] = flags | PCPF_PREV_FREE_HIGH_ORDER
    elif flags & PCPF_PREV_FREE_HIGH_ORDER:
        s.pcp[at + P_FLAGS] = flags & ~PCPF_PREV_FREE_HIGH_ORDER
    if s.pcp[at + P_FREE_COUNT] < batch << PCP_BATCH_SCALE_MAX:
        s.pcp[at + P_FREE_COUNT] += 1 << order
    return free_high


@part(inline=True)
def free_frozen_page_commit(s, z, cpu, pfn, order, mt):  # type: ignore[no-untyped-def]
    """Put a freed chunk at the head of its per-CPU list, tune, and drain if the limit is reached (:2832)."""
    if s.cfg[C_PCP_FIXED]:
        free_unref_page_commit(s, z, cpu, pfn, order, mt)
        return
    at = pcp_at(s, z, cpu)
    s.pcp[at + P_ALLOC_FACTOR] >>= 1
    count = add_to_pcp_list(s, z, cpu, pfn, order, mt)
    free_high = count_free(s, at, order, count)
    limit = nr_pcp_high(s, z, cpu, free_high)
    if count >= limit:
        drain_after_commit(s, z, cpu, limit, free_high, order_to_pindex(order, mt))


@part(inline=True)
def decay_high(s, at):  # type: ignore[no-untyped-def]
    """What the once-a-second decay does to high; how many pages are then too many (none if not positive) (:2564)."""
    high_min = s.pcp[at + P_HIGH_MIN] + 0
    high = s.pcp[at + P_HIGH] + 0
    count = s.pcp[at + P_COUNT] + 0
    if high > high_min:
        batch = s.pcp[at + P_BATCH] + 0
        high = max(count - (batch << PCP_BATCH_SCALE_MAX), high - (high >> 3), high_min)
        s.pcp[at + P_HIGH] = high
        s.stat[T_DECAYS] += 1
    return count - high


@part(cold=True)
def decay_pcp_high(s, z, cpu):  # type: ignore[no-untyped-def]
    """The once-a-second decay of high, and the drain of what exceeds it; old kernels have none."""
    if not s.cfg[C_DECAY]:
        return
    at = pcp_at(s, z, cpu)
    batch = s.pcp[at + P_BATCH] + 0
    to_drain = decay_high(s, at)
    while to_drain > 0:
        free_pcppages_bulk(s, z, cpu, min(to_drain, batch), 0)
        to_drain -= batch


@part
def drain_pages_zone(s, z, cpu):  # type: ignore[no-untyped-def]
    """Drain one zone's list of one CPU to the last page (:2620)."""
    at = pcp_at(s, z, cpu)
    while s.pcp[at + P_COUNT] > 0:
        quota = (s.pcp[at + P_BATCH] + 0) << PCP_BATCH_SCALE_MAX
        free_pcppages_bulk(s, z, cpu, min(s.pcp[at + P_COUNT] + 0, quota), 0)


@part(cold=True)
def drain_all_pages(s):  # type: ignore[no-untyped-def]
    """Drain every CPU's lists of every zone (:2674): CPUs ascending, zones ascending within each."""
    for cpu in range(s.cfg[C_NCPUS]):
        for z in range(s.cfg[C_NZONES]):
            drain_pages_zone(s, z, cpu)


@part(cold=True)
def drain_all_pages_of_zone(s, z):  # type: ignore[no-untyped-def]
    """drain_all_pages(zone): every CPU's lists of this zone alone, CPUs ascending."""
    for cpu in range(s.cfg[C_NCPUS]):
        drain_pages_zone(s, z, cpu)
