# SPDX-License-Identifier: GPL-2.0-or-later
"""Eviction from the oldest generation of the multi-gen LRU: which folios are isolated, what becomes of them (mm/vmscan.c, 7.2).

What becomes of a folio is decided as without generations (:mod:`.shrink_list`). Approximate: a folio of a file that is locked,
clean and not used through a page table is tried a second time by the kernel, which changes its place alone.
"""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm import constants as k
from kevacuate.mm.buddy import page_zone
from kevacuate.mm.fields import ScanControl, View
from kevacuate.mm.lru_gen import (
    first_type,
    folio_inc_gen,
    get_tier_idx,
    get_type_to_scan,
    move_to_gen,
    try_to_inc_min_seq,
)
from kevacuate.mm.lru_gen_refs import clear_refs
from kevacuate.mm.lruvec import (
    gen_head,
    gen_list,
    gen_word,
    lru_gen_del_folio,
    lru_gen_folio_seq,
    lru_object,
)
from kevacuate.mm.shrink_list import (
    count_inactive,
    free_batch,
    move_folio_to_lru,
    reclaim_folio,
    shrink_anon_folio,
    shrink_folio,
)
from kevacuate.mm.workingset import folio_lru_refs, lru_tier_from_refs
from kevacuate.mm.writeback import flusher_writes, folio_dirty, wakeup_flusher

LAZY_REFS = k.MOST_LRU_REFS + 2
"""Uses, and 1 for the working set, of a folio that is promoted when it is met (BIT(LRU_REFS_WIDTH) + 1)."""


@part(cold=True)
def sort_folio(s: View, sc: ScanControl, node: int, pfn: int, tier_idx: int) -> bool:
    """Whether the folio is not to be isolated, and moved on instead: promoted, protected, or of too high a zone (:4573)."""
    pgdat = s.node[node]
    attr = s.link[2 * pfn + 1] + 0
    obj = s.link[2 * pfn] + 0
    index = s.zone[page_zone(s, pfn)].index
    file = 1 if attr & k.ATTR_FILE else 0
    gen = (s.lru[gen_word(s, obj)] & 7) - 1
    if gen != pgdat.min_seq[file] % k.MAX_NR_GENS:
        move_to_gen(s, node, pfn, gen, index, True)
        return True
    refs = folio_lru_refs(s, attr, obj)
    lazy = refs + (1 if attr & k.ATTR_WORKINGSET else 0) == LAZY_REFS
    tier = lru_tier_from_refs(attr, refs)
    if lazy or tier > tier_idx:
        move_to_gen(s, node, pfn, folio_inc_gen(s, pgdat, pfn), index, True)
        if not lazy:
            pgdat.protected[k.MAX_NR_TIERS * file + tier] += 1 << (s.meta[pfn] & 15)
        return True
    if index > sc.reclaim_idx:
        move_to_gen(s, node, pfn, folio_inc_gen(s, pgdat, pfn), index, False)
        return True
    return False


@part(cold=True)
def isolate_folio(s: View, sc: ScanControl, pfn: int) -> None:
    """Take a folio out of its generation for the moment that a batch takes (:4622)."""
    attr = s.link[2 * pfn + 1] + 0
    obj = s.link[2 * pfn] + 0
    if not attr & k.ATTR_REFERENCED:
        clear_refs(s, obj)
    lru_gen_del_folio(s, pfn, attr, obj, True)
    s.link[2 * pfn + 1] = attr & ~k.ATTR_ON_LRU
    s.zone[page_zone(s, pfn)].nr_lru -= 1 << (s.meta[pfn] & 15)
    sc.kept[sc.nr_kept] = pfn
    sc.nr_kept += 1
    sc.isolated += 1 << (s.meta[pfn] & 15)


@part(cold=True)
def scan_folios(s: View, sc: ScanControl, node: int, nr_to_scan: int, file: int, tier_idx: int) -> int:
    """Isolate up to MIN_LRU_BATCH pages of a type's oldest generation, from the highest zone that the request may use on (:4646).

    Of *nr_to_scan* folios at most. Returns the pages scanned; those sorted go on to younger generations.
    """
    pgdat = s.node[node]
    scanned = 0
    left = nr_to_scan
    if pgdat.max_seq - pgdat.min_seq[file] + 1 == k.MIN_NR_GENS:
        return 0
    gen = pgdat.min_seq[file] % k.MAX_NR_GENS
    for i in range(k.ZONE_MOVABLE + 1, 0, -1):
        head = gen_head(s, node, gen_list(gen, file, (sc.reclaim_idx + i) % (k.ZONE_MOVABLE + 1)))
        while left > 0 and sc.isolated < k.MIN_LRU_BATCH and s.lru[2 * head + 1] != head:
            pfn = s.obj[lru_object(s, s.lru[2 * head + 1] + 0)] + 0
            pages = 1 << (s.meta[pfn] & 15)
            scanned += pages
            if sort_folio(s, sc, node, pfn, tier_idx):
                s.stat.pgrefill += pages
            else:
                isolate_folio(s, sc, pfn)
            left -= 1
    return scanned


@part(cold=True)
def isolate_folios(s: View, sc: ScanControl, node: int, nr_to_scan: int, swappiness: int) -> int:
    """Isolate a batch, of the other type if the first has nothing to scan; the pages scanned (:4760)."""
    pgdat = s.node[node]
    total = 0
    file = get_type_to_scan(pgdat, swappiness)
    sc.nr_kept = sc.isolated = 0
    for _ in range(first_type(swappiness), k.LRU_GEN_FILE + 1):
        scanned = scan_folios(s, sc, node, nr_to_scan, file, get_tier_idx(pgdat, file))
        total += scanned
        if sc.isolated:
            sc.gen_type = file
            break
        if scanned == 0:
            file = 1 - file
    return total


@part(cold=True)
def tried_again(s: View, pfn: int) -> bool:
    """Whether the kernel tries a folio again that it left: not active, clean, and mapped by nobody."""
    attr = s.link[2 * pfn + 1] + 0
    if attr & (k.ATTR_ACTIVE | k.ATTR_WRITEBACK | k.ATTR_YOUNG) or not attr & k.ATTR_FILE:
        return False
    return attr & k.ATTR_BUSY != 0 and not folio_dirty(s, pfn, attr)


@part(cold=True)
def put_folio_back(s: View, node: int, file: int, pfn: int) -> None:
    """Put a folio that was left into its generation, not into the oldest one (:4843)."""
    attr = s.link[2 * pfn + 1] + 0
    if lru_gen_folio_seq(s, pfn, attr, False) == s.node[node].min_seq[file]:
        s.link[2 * pfn + 1] = (attr & ~k.ATTR_REFERENCED) | k.ATTR_ACTIVE
        clear_refs(s, s.link[2 * pfn] + 0)
    move_folio_to_lru(s, pfn)


@part(cold=True)
def shrink_isolated(s: View, sc: ScanControl, node: int, cpu: int) -> int:
    """shrink_folio_list for the batch: the pages reclaimed; ``kept`` has the folios that were left."""
    sc.nr_free_folios = sc.nr_pageout = sc.nr_unqueued_dirty = 0
    reclaimed = kept = 0
    for i in range(sc.nr_kept):
        pfn = sc.kept[i]
        pages = 1 << (s.meta[pfn] & 15)
        if sc.gen_type == k.LRU_GEN_FILE:
            gone = shrink_folio(s, sc, node, pfn)
        else:
            gone = shrink_anon_folio(s, sc, node, cpu, pfn)
        if gone:
            reclaimed += pages
            reclaim_folio(s, sc, cpu, pfn)
        else:
            sc.kept[kept] = pfn
            kept += 1
    free_batch(s, sc, cpu)
    sc.nr_kept = kept
    return reclaimed


@part(cold=True)
def evict_folios(s: View, sc: ScanControl, node: int, cpu: int, nr_to_scan: int, swappiness: int) -> int:
    """Evict a batch; the pages scanned (:4794)."""
    flusher_writes(s)
    try_to_inc_min_seq(s, node, swappiness)
    scanned = isolate_folios(s, sc, node, nr_to_scan, swappiness)
    if scanned:
        try_to_inc_min_seq(s, node, swappiness)
    sc.scanned += scanned
    sc.cost += scanned * s.cfg.shrink_inactive_ns
    if sc.isolated == 0:
        return scanned
    reclaimed = shrink_isolated(s, sc, node, cpu)
    sc.nr_reclaimed += reclaimed
    sc.nr_taken += sc.isolated
    if sc.nr_unqueued_dirty == sc.isolated:
        wakeup_flusher(s)
    for last in range(2):
        for i in range(sc.nr_kept):
            if sc.kept[i] >= 0 and (last or not tried_again(s, sc.kept[i])):
                put_folio_back(s, node, sc.gen_type, sc.kept[i])
                sc.kept[i] = -1
    count_inactive(s, sc, k.LRU_INACTIVE_FILE * sc.gen_type, sc.isolated, reclaimed)
    return scanned
