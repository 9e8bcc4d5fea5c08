# SPDX-License-Identifier: GPL-2.0-or-later
"""The multi-gen LRU's generations: their feedback from refaults, and aging (mm/vmscan.c, 7.2); with lru_gen alone.

Folios of each type (anonymous, of files) stand in generations, numbered from ``min_seq`` of the type to ``max_seq``. Aging begins
a new one (:func:`inc_max_seq`) after it has looked at the accessed bits of page tables; :mod:`.lru_gen_evict` takes folios from
the oldest. A folio that was used through file descriptors is in a tier by how often. A tier whose folios are read again more
often than those of the first tier is protected (:func:`get_tier_idx`).

Approximate: page tables are not modelled, so the walk looks at every folio on the node's lists that may be mapped, all at one
moment. The kernel passes over parts of page tables in which it found few accessed bits (Bloom filters), and looks at the
neighbours of a used page when reclaim meets it (lru_gen_look_around); neither is modelled. No memory cgroups, no min_ttl_ms.
CONFIG_LRU_GEN_STATS is off: one generation's history is kept.
"""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm import constants as k
from kevacuate.mm.fields import Node, ScanControl, View
from kevacuate.mm.lru_gen_refs import clear_refs
from kevacuate.mm.lruvec import (
    gen_head,
    gen_list,
    gen_type,
    gen_word,
    lru_gen_update_size,
    lru_link,
    lru_object,
    lru_unlink,
    update_lru_size,
)
from kevacuate.mm.swap_use import anon_referenced


@part
def first_type(swappiness: int) -> int:
    """The first type that may be evicted (min_type); files always may, as swappiness is at most 200."""
    return k.LRU_GEN_ANON if swappiness else k.LRU_GEN_FILE


@part
def evictable_min_seq(pgdat: Node, swappiness: int) -> int:
    """The oldest generation of the types that may be evicted."""
    return min(pgdat.min_seq[first_type(swappiness)], pgdat.min_seq[k.LRU_GEN_FILE])


@part
def read_ctrl_pos(pgdat: Node, file: int, first: int, last: int) -> tuple[int, int]:
    """(refaulted, evicted and protected) pages of a type's tiers from *first* to *last* (:3122)."""
    refaulted = total = 0
    for i in range(k.MAX_NR_TIERS * file + first, k.MAX_NR_TIERS * file + last + 1):
        refaulted += pgdat.avg_refaulted[i] + pgdat.refaulted[i]
        total += pgdat.avg_total[i] + pgdat.protected[i] + pgdat.evicted[i]
    return refaulted, total


@part
def positive_ctrl_err(sp: tuple[int, int], sp_gain: int, pv: tuple[int, int], pv_gain: int) -> bool:
    """Whether of *pv* few pages were read again, or at most as great a share, by the gains, as of *sp* (:3177)."""
    return (
        pv[0] < k.MIN_LRU_BATCH
        or pv[0] * (sp[1] + k.MIN_LRU_BATCH) * sp_gain <= (sp[0] + 1) * pv[1] * pv_gain
    )


@part(cold=True)
def reset_ctrl_pos(pgdat: Node, file: int) -> None:
    """A generation of the type ends: what happened to it goes into the averages by half (:3141)."""
    for i in range(k.MAX_NR_TIERS * file, k.MAX_NR_TIERS * (file + 1)):
        pgdat.avg_refaulted[i] = (pgdat.avg_refaulted[i] + pgdat.refaulted[i]) // 2
        pgdat.avg_total[i] = (pgdat.avg_total[i] + pgdat.protected[i] + pgdat.evicted[i]) // 2
        pgdat.refaulted[i] = pgdat.evicted[i] = pgdat.protected[i] = 0


@part(cold=True)
def get_tier_idx(pgdat: Node, file: int) -> int:
    """The last tier of the type that is not protected: those behind it are read again 1.5 times as often as the first (:4721)."""
    first = read_ctrl_pos(pgdat, file, 0, 0)
    for tier in range(1, k.MAX_NR_TIERS):
        if not positive_ctrl_err(first, 2, read_ctrl_pos(pgdat, file, tier, tier), 3):
            return tier - 1
    return k.MAX_NR_TIERS - 1


@part(cold=True)
def get_type_to_scan(pgdat: Node, swappiness: int) -> int:
    """The type to evict from: that of which a smaller share is read again, weighed by swappiness (:4741)."""
    if swappiness <= 1:
        return k.LRU_GEN_FILE
    if swappiness >= k.MAX_SWAPPINESS:
        return k.LRU_GEN_ANON
    anon = read_ctrl_pos(pgdat, k.LRU_GEN_ANON, 0, k.MAX_NR_TIERS - 1)
    file = read_ctrl_pos(pgdat, k.LRU_GEN_FILE, 0, k.MAX_NR_TIERS - 1)
    files = positive_ctrl_err(anon, swappiness, file, k.MAX_SWAPPINESS - swappiness)
    return k.LRU_GEN_FILE if files else k.LRU_GEN_ANON


@part(cold=True)
def folio_inc_gen(s: View, pgdat: Node, pfn: int) -> int:
    """A folio of the oldest generation goes to the next one, its uses forgotten; one promoted meanwhile stays (:3218)."""
    attr = s.link[2 * pfn + 1] + 0
    word = gen_word(s, s.link[2 * pfn] + 0)
    old = pgdat.min_seq[gen_type(attr)] % k.MAX_NR_GENS
    gen = (s.lru[word] & 7) - 1
    if gen != old:
        return gen
    new = (old + 1) % k.MAX_NR_GENS
    s.lru[word] = new + 1
    s.link[2 * pfn + 1] = attr & ~k.ATTR_REFERENCED
    lru_gen_update_size(s, pfn, attr, old, new)
    return new


@part(cold=True)
def move_to_gen(s: View, node: int, pfn: int, gen: int, index: int, at_head: bool) -> None:
    """Put a folio of the zone index on the list of a generation; sizes are counted elsewhere."""
    at = s.cfg.lru_first + s.link[2 * pfn]
    head = gen_head(s, node, gen_list(gen, gen_type(s.link[2 * pfn + 1] + 0), index))
    lru_unlink(s, at)
    if at_head:
        lru_link(s, at, head, s.lru[2 * head] + 0)
    else:
        lru_link(s, at, s.lru[2 * head + 1] + 0, head)


@part
def gen_is_empty(s: View, node: int, seq: int, file: int) -> bool:
    """Whether no folio of the type stands on the lists of a generation."""
    for index in range(k.ZONE_MOVABLE + 1):
        head = gen_head(s, node, gen_list(seq % k.MAX_NR_GENS, file, index))
        if s.lru[2 * head] != head:
            return False
    return True


@part(cold=True)
def try_to_inc_min_seq(s: View, node: int, swappiness: int) -> None:
    """Give up the oldest generations that are empty; two stay, and of both types about as many (:3872)."""
    pgdat = s.node[node]
    anon = pgdat.min_seq[k.LRU_GEN_ANON] + 0
    file = pgdat.min_seq[k.LRU_GEN_FILE] + 0
    least = pgdat.max_seq - k.MIN_NR_GENS
    while swappiness and anon <= least and gen_is_empty(s, node, anon, k.LRU_GEN_ANON):
        anon += 1
    while file <= least and gen_is_empty(s, node, file, k.LRU_GEN_FILE):
        file += 1
    if anon == pgdat.min_seq[k.LRU_GEN_ANON] and file == pgdat.min_seq[k.LRU_GEN_FILE]:
        return
    if swappiness and anon > least > file:
        anon = least
    elif swappiness and file > least > anon:
        file = least
    if swappiness and anon > pgdat.min_seq[k.LRU_GEN_ANON]:
        reset_ctrl_pos(pgdat, k.LRU_GEN_ANON)
        pgdat.min_seq[k.LRU_GEN_ANON] = anon
    if file > pgdat.min_seq[k.LRU_GEN_FILE]:
        reset_ctrl_pos(pgdat, k.LRU_GEN_FILE)
        pgdat.min_seq[k.LRU_GEN_FILE] = file


@part(cold=True)
def folio_update_gen(s: View, pgdat: Node, pfn: int) -> None:
    """A page table was used: at the first time PG_referenced, then working set in the youngest generation (:3193)."""
    attr = s.link[2 * pfn + 1] + 0
    obj = s.link[2 * pfn] + 0
    if not attr & (k.ATTR_REFERENCED | k.ATTR_WORKINGSET):
        s.link[2 * pfn + 1] = attr | k.ATTR_REFERENCED
        clear_refs(s, obj)
        return
    old = (s.lru[gen_word(s, obj)] & 7) - 1
    new = pgdat.max_seq % k.MAX_NR_GENS
    s.lru[gen_word(s, obj)] = new + 1
    s.link[2 * pfn + 1] = (attr & ~k.ATTR_REFERENCED) | k.ATTR_WORKINGSET
    if old != new:
        lru_gen_update_size(s, pfn, attr, old, new)


@part
def test_and_clear_young(s: View, pfn: int) -> bool:
    """Test and clear the accessed bit of a folio."""
    attr = s.link[2 * pfn + 1] + 0
    if not attr & k.ATTR_FILE:
        return anon_referenced(s, pfn)
    s.link[2 * pfn + 1] = attr & ~k.ATTR_YOUNG
    return attr & k.ATTR_YOUNG != 0


@part(cold=True)
def walk_mm(s: View, sc: ScanControl, node: int, swappiness: int) -> None:
    """Look at the accessed bits of all that may be mapped: anonymous memory, if it may be evicted, and files in use so.

    Each page found there costs ``cfg.scan_ns``. The lists stay as they are: a promoted folio moves when eviction meets it.
    """
    pgdat = s.node[node]
    pages = 0
    for which in range(k.NR_GEN_LISTS):
        file = which // 4 % 2
        head = gen_head(s, node, which)
        at = s.lru[2 * head] + 0
        while at != head and (file or swappiness):
            pfn = s.obj[lru_object(s, at)] + 0
            used = test_and_clear_young(s, pfn)
            if used:
                folio_update_gen(s, pgdat, pfn)
            if used or not file:
                pages += 1 << (s.meta[pfn] & 15)
            at = s.lru[2 * at] + 0
    sc.cost += pages * s.cfg.scan_ns


@part(cold=True)
def inc_max_seq(s: View, node: int) -> None:
    """Begin a new youngest generation; all but two count as inactive from now on (:3924).

    A type that has four gives the oldest up (inc_min_seq, :3819). Reclaim ages while a type that may be evicted has at most three
    (should_run_aging), so it is one that may not: its folios stay, and are in the youngest generation from now on.
    """
    pgdat = s.node[node]
    for file in range(2):
        if pgdat.max_seq - pgdat.min_seq[file] + 1 == k.MAX_NR_GENS:
            reset_ctrl_pos(pgdat, file)
            pgdat.min_seq[file] += 1
    for z in range(s.cfg.nr_zones):
        zone = s.zone[z]
        if zone.node != node:
            continue
        for file in range(2):
            older = pgdat.gen_pages[gen_list((pgdat.max_seq - 1) % k.MAX_NR_GENS, file, zone.index)]
            newer = pgdat.gen_pages[gen_list((pgdat.max_seq + 1) % k.MAX_NR_GENS, file, zone.index)]
            update_lru_size(s, z, k.LRU_INACTIVE_FILE * file, older - newer)
            update_lru_size(s, z, k.LRU_INACTIVE_FILE * file + 1, newer - older)
    pgdat.max_seq += 1


@part(cold=True)
def try_to_inc_max_seq(s: View, sc: ScanControl, node: int, swappiness: int) -> None:
    """Aging: a walk of the page tables, then a new generation (:3989)."""
    walk_mm(s, sc, node, swappiness)
    inc_max_seq(s, node)
    s.stat.lru_gen_aged += 1
