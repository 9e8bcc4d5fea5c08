# SPDX-License-Identifier: GPL-2.0-or-later
"""Contiguous allocation above MAX_PAGE_ORDER: alloc_contig_frozen_pages and alloc_contig_frozen_range (mm/page_alloc.c, 7.2).

A gigantic page of hugetlb comes so at run time. Zones are searched upward for an aligned range that holds nothing unmovable. Such
a range is isolated block by block and drained; its pages are dropped or migrated, and what is free then is taken off the lists.
Where a policy's regions say which range is cheapest, those are asked instead (:mod:`.contig_regions`).

The pages stand in the model as chunks of MAX_PAGE_ORDER, the first of which has the object. Ranges are aligned to their size, so
no free chunk reaches beyond one: there are no outliers to give back.

Approximate: all of it is one moment of virtual time, counted in ``contig_ns``. It is 7.2's of every kernel: 6.1 and 6.12 isolate
and then find what 7.2 sees in its search. The pages are always compound. No other page of hugetlb is moved, whatever its size. A
synchronous isolation does not wait where too many pages are isolated.
"""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm import constants as k
from kevacuate.mm.buddy import (
    account_freepages,
    del_page_from_free_list,
    get_pfnblock_migratetype,
    page_zone,
    split_large_buddy,
)
from kevacuate.mm.compact_migrate import list_sources
from kevacuate.mm.contig_migrate import migrate_contig
from kevacuate.mm.contig_regions import cheapest_range, count_contig
from kevacuate.mm.evacuate_isolate import may_isolate, too_many_isolated
from kevacuate.mm.fields import CompactControl, View
from kevacuate.mm.get_page import first_zones_zonelist, gfp_zone, zonelist_length
from kevacuate.mm.isolate_migratepages import isolate_source
from kevacuate.mm.migrate import put_source_back
from kevacuate.mm.page_isolation import set_migratetype_isolate, unset_migratetype_isolate
from kevacuate.mm.pcp import drain_all_pages_of_zone
from kevacuate.mm.regions import note_content
from kevacuate.mm.shrink_list import drop_folio, free_unref_folios
from kevacuate.mm.swap import lru_add_drain_cpu
from kevacuate.mm.writeback import folio_dirty

CONTIG_TRIES = 5
"""How often __alloc_contig_migrate_range tries one list of pages, the one at which it gives up included."""

_PLACEMENT = (
    k.GFP_DMA | k.GFP_HIGHMEM | k.GFP_DMA32 | k.GFP_MOVABLE | k.GFP_RECLAIMABLE | k.GFP_WRITE | k.GFP_HARDWALL | k.GFP_THISNODE
)  # fmt: skip
_RECLAIM = k.GFP_IO | k.GFP_FS | k.GFP_RECLAIM
_ALLOWED = _RECLAIM | k.GFP_COMP | k.GFP_RETRY_MAYFAIL | k.GFP_NOWARN | k.GFP_ZERO
"""Of __alloc_contig_verify_gfp_mask: what is ignored, what reclaims, and what may be asked for at all."""


@part
def keeps_range(s: View, z: int, pfn: int) -> bool:
    """page_is_unmovable of the chunk at *pfn*, or it is no page of the zone (pfn_range_valid_contig, :7337)."""
    state = s.meta[pfn] >> 4
    if state == k.CHUNK_RESERVED or s.block[2 * (pfn >> s.cfg.pageblock_order) + 1] != z:
        return True
    if s.zone[z].index == k.ZONE_MOVABLE or state not in (k.CHUNK_ALLOC, k.CHUNK_ISOLATED):
        return False
    return s.link[2 * pfn + 1] & (k.ATTR_ON_LRU | k.ATTR_MOVABLE_OPS) == 0


@part(cold=True)
def pfn_range_valid_contig(s: View, z: int, start: int, end: int) -> bool:
    """Whether nothing in the range keeps it from being emptied (:7337)."""
    pfn = start
    while pfn < end:
        s.stat.contig_scanned += 1
        if keeps_range(s, z, pfn):
            return False
        pfn += 1 << (s.meta[pfn] & 15)
    return True


@part(cold=True)
def undo_isolate_page_range(s: View, first: int, end: int) -> None:
    """Give back the blocks *first* up to *end* (mm/page_isolation.c:532)."""
    for block in range(first, end):
        unset_migratetype_isolate(s, block)


@part(cold=True)
def start_isolate_page_range(s: View, start: int, end: int) -> bool:
    """Isolate the range's first block, its last, then those between (mm/page_isolation.c:507); False (EBUSY) undoes it.

    No chunk in use reaches over the range's ends, so nothing has to be moved for that (isolate_single_pageblock).
    """
    first, last = start >> s.cfg.pageblock_order, (end >> s.cfg.pageblock_order) - 1
    if not set_migratetype_isolate(s, first):
        return False
    if last > first and not set_migratetype_isolate(s, last):
        unset_migratetype_isolate(s, first)
        return False
    for block in range(first + 1, last):
        if not set_migratetype_isolate(s, block):
            undo_isolate_page_range(s, first, block)
            unset_migratetype_isolate(s, last)
            return False
    return True


@part(cold=True)
def isolate_contig_block(s: View, z: int, cc: CompactControl, pfn: int, end: int) -> None:
    """isolate_migratepages_block with alloc_contig (mm/compaction.c:855): folios of any size, skip bits neither read nor set."""
    while pfn < end and cc.nr_migratepages < k.COMPACT_CLUSTER_MAX:
        order = s.meta[pfn] & 15
        if s.meta[pfn] >> 4 == k.CHUNK_ALLOC and may_isolate(s, pfn):
            if cc.gfp_mask & k.GFP_FS or not s.link[2 * pfn + 1] & k.ATTR_FILE:
                isolate_source(s, z, cc, pfn, 1 << order)
        pfn += 1 << order
    cc.migrate_pfn = min(pfn, end)


@part(cold=True)
def isolate_contig(s: View, z: int, cc: CompactControl, end: int) -> None:
    """isolate_migratepages_range (mm/compaction.c:1337): from ``cc.migrate_pfn`` on until 32 pages are together."""
    pfn, first = cc.migrate_pfn + 0, cc.migrate_pfn + 0
    block = 1 << s.cfg.pageblock_order
    cc.nr_folios = cc.nr_migratepages = 0
    while pfn < end and cc.nr_migratepages < k.COMPACT_CLUSTER_MAX:
        cc.migrate_pfn = pfn
        may_enter_fs = cc.gfp_mask & k.GFP_FS != 0
        if cc.nr_migratepages and too_many_isolated(s, s.zone[z].node, may_enter_fs):
            break
        following = (pfn // block + 1) * block
        isolate_contig_block(s, z, cc, pfn, following)
        pfn = following
    s.stat.compact_isolated += cc.nr_migratepages
    s.stat.contig_ns += (cc.migrate_pfn - first) * s.cfg.scan_ns + cc.nr_migratepages * s.cfg.isolate_ns
    list_sources(s, cc)


@part(cold=True)
def reclaim_clean_contig(s: View, cc: CompactControl, cpu: int) -> None:
    """reclaim_clean_pages_from_list (mm/vmscan.c:1587): what cannot be dropped goes to the front, in reverse order."""
    batch, scratch = s.worker[s.cfg.nr_workers - 1].dst, cc.failures
    kept = count = failed = dropped = 0
    for i in range(cc.nr_folios):
        pfn = s.folios[cc.sources + i]
        attr = s.link[2 * pfn + 1] + 0
        if not attr & k.ATTR_FILE or attr & k.ATTR_MOVABLE_OPS or folio_dirty(s, pfn, attr):
            s.folios[cc.sources + kept] = pfn
            kept += 1
        elif attr & (k.ATTR_BUSY | k.ATTR_WRITEBACK | k.ATTR_PINNED):
            s.folios[scratch + failed] = pfn
            failed += 1
        else:
            dropped += 1 << (s.meta[pfn] & 15)
            drop_folio(s, pfn)
            batch[count] = pfn
            count += 1
            if count == k.FOLIO_BATCH_SIZE:
                free_unref_folios(s, cpu, batch, count)
                count = 0
    free_unref_folios(s, cpu, batch, count)
    for i in range(kept - 1, -1, -1):
        s.folios[cc.sources + failed + i] = s.folios[cc.sources + i] + 0
    for i in range(failed):
        s.folios[cc.sources + i] = s.folios[scratch + failed - 1 - i] + 0
    cc.nr_folios = failed + kept
    s.stat.contig_reclaimed += dropped
    s.stat.contig_ns += dropped * s.cfg.reclaim_ns


@part(cold=True)
def alloc_contig_migrate_range(s: View, z: int, cc: CompactControl, start: int, end: int, cpu: int) -> bool:
    """__alloc_contig_migrate_range (:7017). False on -ENOMEM; what still lies in the range after -EBUSY is found by the test.

    LRU batches are drained and off meanwhile (lru_cache_disable). A list is tried until it is empty, at most five times.
    """
    for each in range(s.cfg.nr_cpus):
        lru_add_drain_cpu(s, each)
    cc.migrate_pfn = start
    cc.nr_folios = tries = result = 0
    while cc.migrate_pfn < end or cc.nr_folios:
        if cc.nr_folios == 0:
            isolate_contig(s, z, cc, end)
            tries = 0
        else:
            tries += 1
            if tries == CONTIG_TRIES:
                break
        reclaim_clean_contig(s, cc, cpu)
        result = migrate_contig(s, z, cc, cpu)
        s.stat.contig_migrated += cc.succeeded
        s.stat.contig_ns += cc.succeeded * s.cfg.migrate_ns
        if result < 0:
            break
    for i in range(cc.nr_folios):
        put_source_back(s, cpu, s.folios[cc.sources + i])
    cc.nr_folios = 0
    return result >= 0


@part(cold=True)
def test_pages_isolated(s: View, start: int, end: int) -> bool:
    """Whether all of the range is free (mm/page_isolation.c:604)."""
    pfn = start
    while pfn < end:
        if s.meta[pfn] >> 4 != k.CHUNK_BUDDY:
            return False
        pfn += 1 << (s.meta[pfn] & 15)
    return True


@part(cold=True)
def take_range(s: View, z: int, start: int, end: int, obj: int) -> None:
    """isolate_freepages_range and prep_new_page (mm/compaction.c:713): the range's pages leave the lists and are *obj*'s."""
    pfn = start
    while pfn < end:
        order = s.meta[pfn] & 15
        mt = get_pfnblock_migratetype(s, pfn)
        del_page_from_free_list(s, z, pfn, order, mt)
        account_freepages(s, z, -(1 << order), mt)
        pfn += 1 << order
    s.stat.compact_isolated += end - start
    for chunk in range((end - start) >> s.cfg.max_page_order):
        pfn = start + (chunk << s.cfg.max_page_order)
        s.meta[pfn] = k.CHUNK_ALLOC << 4 | s.cfg.max_page_order
        s.link[2 * pfn] = obj if pfn == start else -1
        s.link[2 * pfn + 1] = 0
        if s.cfg.region_order:
            note_content(s, pfn, s.cfg.max_page_order, k.MIGRATE_MOVABLE)
            count_contig(s, pfn, s.cfg.max_page_order, 1)
    if obj >= 0:
        s.obj[obj] = start


@part(cold=True)
def alloc_contig_range(s: View, z: int, start: int, end: int, gfp: int, obj: int, cpu: int) -> bool:
    """alloc_contig_frozen_range (:7164): whether the range is *obj*'s now; if not, its pages are where they could be moved to."""
    s.stat.contig_ranges += 1
    if not start_isolate_page_range(s, start, end):
        return False
    drain_all_pages_of_zone(s, z)
    cc = s.cc[s.cfg.contig_cc]
    cc.zone = z
    cc.gfp_mask = gfp & (_RECLAIM | k.GFP_NOWARN) | k.GFP_MOVABLE | k.GFP_RETRY_MAYFAIL
    taken = alloc_contig_migrate_range(s, z, cc, start, end, cpu) and test_pages_isolated(s, start, end)
    if taken:
        take_range(s, z, start, end, obj)
    undo_isolate_page_range(s, start >> s.cfg.pageblock_order, end >> s.cfg.pageblock_order)
    return taken


@part(cold=True)
def alloc_contig_in_zone(s: View, z: int, order: int, gfp: int, obj: int, cpu: int) -> int:
    """The first range of a zone that can be had; its pfn, or -1."""
    size = 1 << order
    pfn = (s.zone[z].zone_start_pfn + size - 1) // size * size
    while pfn + size <= s.zone[z].zone_end_pfn:
        valid = pfn_range_valid_contig(s, z, pfn, pfn + size)
        if valid and alloc_contig_range(s, z, pfn, pfn + size, gfp, obj, cpu):
            return pfn
        pfn += size
    return -1


@part(cold=True)
def alloc_contig_by_regions(s: View, z: int, order: int, gfp: int, obj: int, cpu: int) -> int:
    """The cheapest range of a zone that can be had, by what its regions' counters say; its pfn, or -1."""
    cost, pfn = cheapest_range(s, z, order, -1, -1)
    tries = 0
    while pfn >= 0 and (s.cfg.region_contig_tries == 0 or tries < s.cfg.region_contig_tries):
        if alloc_contig_range(s, z, pfn, pfn + (1 << order), gfp, obj, cpu):
            return pfn
        tries += 1
        cost, pfn = cheapest_range(s, z, order, cost, pfn)
    return -1


@part(cold=True)
def alloc_contig_zones(s: View, node: int, order: int, gfp: int, obj: int, cpu: int) -> int:
    """alloc_contig_frozen_pages (:7420): the zones of the zonelist, each from its low end; the pfn, or -1."""
    highest_zoneidx = gfp_zone(gfp)
    zonelist = s.node[node].zonelist
    for i in range(first_zones_zonelist(s, node, highest_zoneidx), zonelist_length(s, node, gfp)):
        z = zonelist[i]
        if s.zone[z].index > highest_zoneidx:
            continue
        if s.cfg.region_contig and order >= s.cfg.region_order:
            pfn = alloc_contig_by_regions(s, z, order, gfp, obj, cpu)
        else:
            pfn = alloc_contig_in_zone(s, z, order, gfp, obj, cpu)
        if pfn >= 0:
            return pfn
    return -1


@part(cold=True)
def alloc_contig_pages(s: View, cpu: int, nid: int, order: int, gfp: int, obj: int) -> int:
    """Allocate 2**order pages, more than MAX_PAGE_ORDER has, for object *obj* (-1: none) on *cpu*; the pfn, or -1.

    *nid*: the node to prefer, -1 the CPU's. Flags that the kernel refuses (-EINVAL) give none.
    """
    s.stat.cpu = cpu
    scanned = s.stat.contig_scanned + 0
    pfn = -1
    if gfp & ~(_PLACEMENT | _ALLOWED) == 0:
        pfn = alloc_contig_zones(s, nid if nid >= 0 else s.cpu[cpu].node, order, gfp, obj, cpu)
    s.stat.contig_ns += (s.stat.contig_scanned - scanned) * s.cfg.scan_ns
    if pfn >= 0:
        s.stat.contig_success += 1
    else:
        s.stat.contig_fail += 1
        if obj >= 0:
            s.obj[obj] = -1
    return pfn


@part
def is_contig(s: View, pfn: int, order: int) -> bool:
    """Whether 2**order pages from *pfn* on are such an allocation: chunks of MAX_PAGE_ORDER that have no object but the first."""
    if pfn < 0 or pfn & ((1 << order) - 1) or pfn + (1 << order) > s.cfg.npages:
        return False
    for chunk in range(1 << (order - s.cfg.max_page_order)):
        at = pfn + (chunk << s.cfg.max_page_order)
        whole = s.meta[at] == (k.CHUNK_ALLOC << 4 | s.cfg.max_page_order)
        if not whole or s.link[2 * at + 1] != 0 or (at > pfn and s.link[2 * at] >= 0):
            return False
    return True


@part(cold=True)
def free_contig_pages(s: View, cpu: int, pfn: int, order: int) -> bool:
    """free_frozen_pages of such an allocation (:1542): in pieces of a pageblock, upward. False if it is none."""
    if not is_contig(s, pfn, order):
        return False
    s.stat.cpu = cpu
    s.stat.frees += 1
    obj = s.link[2 * pfn] + 0
    if obj >= 0:
        s.obj[obj] = -1
    for chunk in range(1 << (order - s.cfg.max_page_order)):
        at = pfn + (chunk << s.cfg.max_page_order)
        if s.cfg.region_order:
            count_contig(s, at, s.cfg.max_page_order, -1)
        split_large_buddy(s, page_zone(s, at), at, s.cfg.max_page_order, k.FPI_NONE)
    return True
