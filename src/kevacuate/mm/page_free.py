# SPDX-License-Identifier: GPL-2.0-or-later
"""Giving a chunk its owner and taking it away: prep_new_page, free_pages, halving (mm/page_alloc.c, 7.2)."""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm import constants as k
from kevacuate.mm.buddy import free_one_page, get_pfnblock_migratetype, page_zone
from kevacuate.mm.fields import View
from kevacuate.mm.hooks import hooked
from kevacuate.mm.lruvec import gen_word, lru_add_split_folio, lruvec_del_folio, mod_isolated
from kevacuate.mm.pcp import free_frozen_page_commit, pcp_allowed_order
from kevacuate.mm.regions import note_part
from kevacuate.mm.swap import folio_add_lru
from kevacuate.mm.unmovable import MOVES, unmovable_freed
from kevacuate.mm.workingset import lru_gen_new_folio, refault


@part(inline=True)
def prep_new_page(s: View, cpu: int, pfn: int, order: int, attr: int, obj: int) -> None:
    """Give the chunk its owner: state, object, attributes, place in the LRU batch.

    An object that the model had dropped comes back: in closed loop that is a refault.
    """
    s.meta[pfn] = k.CHUNK_ALLOC << 4 | order
    s.link[2 * pfn] = obj
    s.link[2 * pfn + 1] = attr & k.ATTR_MIGRATED
    before = k.OBJ_NONE
    if obj >= 0:
        before = s.obj[obj] + 0
        s.obj[obj] = pfn
    if attr & k.ATTR_LRU:
        if s.cfg.open_loop == 0:
            if s.cfg.lru_gen:
                lru_gen_new_folio(s, pfn, attr, obj, before)
            elif before == k.OBJ_DROPPED:
                refault(s, pfn, attr, obj)
        folio_add_lru(s, cpu, pfn, order)


@part(inline=True)
def free_frozen_pages_inline(s: View, cpu: int, pfn: int, order: int) -> None:
    """What follows free_pages_prepare in __free_frozen_pages (:2937): to the CPU's list, or straight to the buddy lists."""
    z = page_zone(s, pfn)
    if not pcp_allowed_order(s, order):
        free_one_page(s, z, pfn, order, k.FPI_NONE)
        return
    mt = get_pfnblock_migratetype(s, pfn)
    if mt >= k.MIGRATE_PCPTYPES:
        if mt == k.MIGRATE_ISOLATE:
            free_one_page(s, z, pfn, order, k.FPI_NONE)
            return
        mt = k.MIGRATE_MOVABLE
    free_frozen_page_commit(s, z, cpu, pfn, order, mt)


@part(inline=False)
def free_frozen_pages(s: View, cpu: int, pfn: int, order: int) -> None:
    """free_frozen_pages (:2988), out of line: the fast path has its own copy of what it does."""
    free_frozen_pages_inline(s, cpu, pfn, order)


@part(inline=True)
def free_pages_prepare(s: View, pfn: int, order: int) -> bool:
    """Take the chunk from its owner: object table, LRU counter. True if it cannot move and the policy wants to hear of that."""
    obj = s.link[2 * pfn] + 0
    attr = s.link[2 * pfn + 1] + 0
    if obj >= 0:
        s.obj[obj] = -1
    if attr & k.ATTR_ON_LRU:
        s.zone[page_zone(s, pfn)].nr_lru -= 1 << order
        if s.cfg.open_loop == 0:
            lruvec_del_folio(s, pfn, attr)
        return False
    return hooked(s, k.HOOK_LAST_UNMOVABLE_FREED) and attr & MOVES == 0


@part(inline=True)
def free_pages(s: View, cpu: int, pfn: int) -> None:
    """Free the allocated chunk that starts at *pfn*; one that a worker holds isolated is freed when it lets go."""
    s.stat.cpu = cpu
    s.stat.frees += 1
    meta = s.meta[pfn] + 0
    order = meta & 15
    if meta >> 4 == k.CHUNK_ISOLATED:
        s.stat.freed_while_isolated += 1
        s.link[2 * pfn + 1] |= k.ATTR_FREED
        obj = s.link[2 * pfn] + 0
        if obj >= 0:
            s.obj[obj] = -1
        return
    told = free_pages_prepare(s, pfn, order)
    free_frozen_pages_inline(s, cpu, pfn, order)
    if told:
        unmovable_freed(s, pfn, order)


@part(cold=True)
def halve_chunk(s: View, pfn: int, obj: int) -> None:
    """Halve an allocated chunk; the upper half becomes object *obj* with the same attributes."""
    meta = s.meta[pfn] + 0
    order = (meta & 15) - 1
    state = meta >> 4
    upper = pfn + (1 << order)
    attr = s.link[2 * pfn + 1] + 0
    s.meta[pfn] = state << 4 | order
    if state == k.CHUNK_ISOLATED:
        if attr & k.ATTR_LRU:
            mod_isolated(s, pfn, attr, -(1 << order))
        attr &= k.ATTR_MIGRATED
    s.meta[upper] = k.CHUNK_ALLOC << 4 | order
    if s.cfg.region_order:
        note_part(s, pfn, upper)
    s.link[2 * upper] = obj
    s.link[2 * upper + 1] = attr
    if obj >= 0:
        s.obj[obj] = upper
        if s.cfg.lru_gen:
            lower = s.link[2 * pfn] + 0
            s.lru[gen_word(s, obj)] = s.lru[gen_word(s, lower)] if lower >= 0 else 0
    if attr & k.ATTR_ON_LRU and s.cfg.open_loop == 0:
        lru_add_split_folio(s, attr, s.link[2 * pfn] + 0, obj, upper)
