# SPDX-License-Identifier: GPL-2.0-or-later
"""Invariants of the multi-gen LRU: every folio with an object is in a generation and on a list of its type. For :mod:`.check`."""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm import constants as k
from kevacuate.mm.buddy import page_zone
from kevacuate.mm.fields import View
from kevacuate.mm.lruvec import (
    folio_lru_list,
    gen_head,
    gen_list,
    gen_type,
    gen_word,
    lru_gen_is_active,
    lru_object,
)
from kevacuate.records import Words

GENERATION_WRONG, GEN_LIST_WRONG, GEN_SIZE_WRONG, SEQ_WRONG = 32, 33, 34, 35
"""Codes of :data:`kevacuate.mm.check.PROBLEMS`."""
GEN_PAGES = 384
"""Place in the scratch of :func:`kevacuate.mm.check.check_state`: pages of generations [node][NR_GEN_LISTS]."""


@part
def list_of_generation(s: View, pfn: int, attr: int, obj: int, sums: Words) -> int:
    """The list that a folio counts on (LRU_*), its pages added to its generation's; -1 if it is in none."""
    zone = s.zone[page_zone(s, pfn)]
    lru = folio_lru_list(attr)
    if s.cfg.lru_gen == 0 or obj < 0 or lru == k.LRU_UNEVICTABLE:
        return lru
    gen = (s.lru[gen_word(s, obj)] & 7) - 1
    if gen < 0 or gen >= k.MAX_NR_GENS or attr & k.ATTR_ACTIVE:
        return -1
    file = gen_type(attr)
    sums[GEN_PAGES + k.NR_GEN_LISTS * zone.node + gen_list(gen, file, zone.index)] += 1 << (s.meta[pfn] & 15)
    return k.LRU_INACTIVE_FILE * file + (1 if lru_gen_is_active(s.node[zone.node], gen) else 0)


@part
def check_gen_list(s: View, node: int, which: int, most: int) -> tuple[int, int]:
    """One list of a node's generations: (folios on it, or -1 if something is wrong, where)."""
    head = gen_head(s, node, which)
    before = head
    found = 0
    at = s.lru[2 * head] + 0
    while at != head:
        obj = lru_object(s, at)
        if obj < 0 or found > most or s.obj[obj] < 0:
            return -1, obj
        pfn = s.obj[obj] + 0
        attr = s.link[2 * pfn + 1] + 0
        zone = s.zone[page_zone(s, pfn)]
        mine = gen_type(attr) == which // 4 % 2 and zone.index == which % 4 and zone.node == node
        listed = s.meta[pfn] >> 4 == k.CHUNK_ALLOC and attr & k.ATTR_ON_LRU != 0
        if (
            not mine
            or not listed
            or attr & k.ATTR_MLOCKED
            or s.link[2 * pfn] != obj
            or s.lru[2 * at + 1] != before
        ):
            return -1, pfn
        found += 1
        before = at
        at = s.lru[2 * at] + 0
    return (found, 0) if s.lru[2 * head + 1] == before else (-1, which)


@part
def check_generations(s: View, node: int, most: int, sums: Words) -> tuple[int, int, int]:
    """All lists of a node, of at most so many folios: (folios on them, code of a problem or 0, where)."""
    pgdat = s.node[node]
    for file in range(2):
        gens = pgdat.max_seq - pgdat.min_seq[file] + 1
        if gens < k.MIN_NR_GENS or gens > k.MAX_NR_GENS:
            return 0, SEQ_WRONG, node
    listed = 0
    for which in range(k.NR_GEN_LISTS):
        found, where = check_gen_list(s, node, which, most)
        if found < 0:
            return 0, GEN_LIST_WRONG, where
        if pgdat.gen_pages[which] != sums[GEN_PAGES + k.NR_GEN_LISTS * node + which]:
            return 0, GEN_SIZE_WRONG, node
        listed += found
    return listed, 0, 0
