# SPDX-License-Identifier: GPL-2.0-or-later
"""A node's LRU lists (struct lruvec; include/linux/mm_inline.h, mm/vmscan.c, 7.2): in closed loop alone.

The lists are linked by object in ``lru``: pair *i* of its words is the next and the previous of list head *i* or of object
``i - cfg.lru_first``, whose first page ``obj`` names. So an object that moves to other pages keeps its links, and one that is
dropped has room for its shadow entry (:mod:`kevacuate.mm.workingset`). A folio without an object is counted, but on no list:
nobody could tell its owner that it is gone. Unevictable folios are counted alone, as in the kernel.

With the multi-gen LRU (:mod:`kevacuate.mm.lru_gen`) folios stand on a list for each generation, type and zone index. Behind the
links ``lru`` has a word for each object then: the generation of its folio plus 1 (0: on no list), and its uses shifted by 3. A
folio without an object is in no generation; it counts as inactive, or as active where it was isolated from an active list.

One lruvec a node: memory cgroups are not modelled.
"""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm import constants as k
from kevacuate.mm.buddy import page_zone
from kevacuate.mm.fields import Node, View

GB_PAGES_SHIFT = 18
"""1 GiB is 2 to the power of this many pages."""


@part(inline=True)
def folio_lru_list(attr: int) -> int:
    """The list that a folio with these attributes belongs on (LRU_*)."""
    if attr & k.ATTR_MLOCKED:
        return k.LRU_UNEVICTABLE
    return (k.LRU_INACTIVE_FILE if attr & k.ATTR_FILE else 0) + (1 if attr & k.ATTR_ACTIVE else 0)


@part(inline=True)
def lru_head(node: int, lru: int) -> int:
    """Number in ``lru`` of a list's head."""
    return node * k.LRU_LISTS + lru


@part(inline=True)
def lru_object(s: View, at: int) -> int:
    """The object that stands at a place of a list."""
    return at - s.cfg.lru_first


@part(inline=True)
def update_lru_size(s: View, z: int, lru: int, pages: int) -> None:
    """Count *pages* (signed) on a list of the zone's node: NR_ZONE_LRU_BASE + lru."""
    zone = s.zone[z]
    s.node[zone.node].nr_lru[zone.index * k.NR_LRU_LISTS + lru] += pages


@part(inline=True)
def lru_link(s: View, at: int, before: int, after: int) -> None:
    """Put *at* between two neighbours."""
    s.lru[2 * at] = after
    s.lru[2 * at + 1] = before
    s.lru[2 * before] = at
    s.lru[2 * after + 1] = at


@part(inline=True)
def lru_unlink(s: View, at: int) -> None:
    """Take *at* from between its neighbours."""
    after = s.lru[2 * at] + 0
    before = s.lru[2 * at + 1] + 0
    s.lru[2 * before] = after
    s.lru[2 * after + 1] = before


@part(inline=True)
def gen_word(s: View, obj: int) -> int:
    """Index in ``lru`` of an object's generation and uses."""
    return s.cfg.lru_gen_words + obj


@part(inline=True)
def gen_list(gen: int, file: int, index: int) -> int:
    """Number of a list among those of a node's generations, and its place in ``gen_pages``."""
    return (2 * gen + file) * 4 + index


@part(inline=True)
def gen_head(s: View, node: int, which: int) -> int:
    """Number in ``lru`` of the head of a generation's list."""
    return s.cfg.lru_gen_heads + node * k.NR_GEN_LISTS + which


@part(inline=True)
def gen_type(attr: int) -> int:
    """LRU_GEN_ANON or LRU_GEN_FILE."""
    return 1 if attr & k.ATTR_FILE else 0


@part
def lru_gen_is_active(pgdat: Node, gen: int) -> bool:
    """Whether a generation is one of the two youngest, which count as active (mm_inline.h:165)."""
    return (pgdat.max_seq - gen) % k.MAX_NR_GENS < k.MIN_NR_GENS


@part(cold=True)
def lru_gen_update_size(s: View, pfn: int, attr: int, old: int, new: int) -> None:
    """A folio goes from a generation to another, -1 being none: the sizes of both, and of active and inactive pages (:175)."""
    z = page_zone(s, pfn)
    zone = s.zone[z]
    pgdat = s.node[zone.node]
    pages = 1 << (s.meta[pfn] & 15)
    file = gen_type(attr)
    lru = k.LRU_INACTIVE_FILE * file
    if old >= 0:
        pgdat.gen_pages[gen_list(old, file, zone.index)] -= pages
        update_lru_size(s, z, lru + (1 if lru_gen_is_active(pgdat, old) else 0), -pages)
    if new >= 0:
        pgdat.gen_pages[gen_list(new, file, zone.index)] += pages
        update_lru_size(s, z, lru + (1 if lru_gen_is_active(pgdat, new) else 0), pages)


@part(cold=True)
def lru_gen_folio_seq(s: View, pfn: int, attr: int, reclaiming: bool) -> int:
    """The number of the generation that a folio belongs in, by its flags (:221)."""
    pgdat = s.node[s.zone[page_zone(s, pfn)].node]
    marked = attr & k.ATTR_RECLAIM and attr & (k.ATTR_DIRTY | k.ATTR_WRITEBACK)
    if attr & k.ATTR_ACTIVE:
        back = k.MIN_NR_GENS - (1 if attr & k.ATTR_WORKINGSET else 0)
    elif reclaiming:
        back = k.MAX_NR_GENS
    elif not attr & k.ATTR_FILE or marked:
        back = k.MIN_NR_GENS
    else:
        back = k.MAX_NR_GENS - (1 if attr & (k.ATTR_WORKINGSET | k.ATTR_REFERENCED) else 0)
    return max(pgdat.max_seq - back + 1, pgdat.min_seq[gen_type(attr)])


@part(cold=True)
def lru_gen_add_folio(s: View, pfn: int, attr: int, obj: int, reclaiming: bool) -> None:
    """Put a folio into its generation: at the head of the list, if it is to be reclaimed at the tail (:255)."""
    gen = lru_gen_folio_seq(s, pfn, attr, reclaiming) % k.MAX_NR_GENS
    word = gen_word(s, obj)
    s.lru[word] = (s.lru[word] & ~7) | (gen + 1)
    s.link[2 * pfn + 1] = attr & ~k.ATTR_ACTIVE
    lru_gen_update_size(s, pfn, attr, -1, gen)
    zone = s.zone[page_zone(s, pfn)]
    head = gen_head(s, zone.node, gen_list(gen, gen_type(attr), zone.index))
    if reclaiming:
        lru_link(s, s.cfg.lru_first + obj, s.lru[2 * head + 1] + 0, head)
    else:
        lru_link(s, s.cfg.lru_first + obj, head, s.lru[2 * head] + 0)


@part(cold=True)
def lru_gen_del_folio(s: View, pfn: int, attr: int, obj: int, reclaiming: bool) -> None:
    """Take a folio out of its generation; one of an active generation is active, unless it is to be reclaimed (:285)."""
    word = gen_word(s, obj)
    gen = (s.lru[word] & 7) - 1
    s.lru[word] = s.lru[word] & ~7
    if not reclaiming and lru_gen_is_active(s.node[s.zone[page_zone(s, pfn)].node], gen):
        s.link[2 * pfn + 1] |= k.ATTR_ACTIVE
    lru_gen_update_size(s, pfn, attr, gen, -1)
    lru_unlink(s, s.cfg.lru_first + obj)


@part
def lruvec_add_folio(s: View, pfn: int) -> None:
    """Put a folio at the head of the list that its attributes name."""
    attr = s.link[2 * pfn + 1] + 0
    obj = s.link[2 * pfn] + 0
    z = page_zone(s, pfn)
    lru = folio_lru_list(attr)
    if s.cfg.lru_gen and obj >= 0 and lru != k.LRU_UNEVICTABLE:
        lru_gen_add_folio(s, pfn, attr, obj, False)
        return
    update_lru_size(s, z, lru, 1 << (s.meta[pfn] & 15))
    if obj >= 0 and lru != k.LRU_UNEVICTABLE:
        head = lru_head(s.zone[z].node, lru)
        lru_link(s, s.cfg.lru_first + obj, head, s.lru[2 * head] + 0)


@part
def lruvec_del_folio(s: View, pfn: int, attr: int) -> None:
    """Take a folio, whose attributes are *attr*, off its list."""
    obj = s.link[2 * pfn] + 0
    lru = folio_lru_list(attr)
    if s.cfg.lru_gen and obj >= 0 and lru != k.LRU_UNEVICTABLE:
        lru_gen_del_folio(s, pfn, attr, obj, False)
        return
    update_lru_size(s, page_zone(s, pfn), lru, -(1 << (s.meta[pfn] & 15)))
    if obj >= 0 and lru != k.LRU_UNEVICTABLE:
        lru_unlink(s, s.cfg.lru_first + obj)


@part(cold=True)
def lru_gen_word_moves(s: View, before: int, obj: int) -> None:
    """Object *obj* has the folio that object *before* had: with its generation and uses."""
    value = s.lru[gen_word(s, before)] + 0
    s.lru[gen_word(s, before)] = 0
    s.lru[gen_word(s, obj)] = value


@part(cold=True)
def lru_gen_half(s: View, pfn: int, attr: int, obj: int, upper: int) -> None:
    """The upper half of a folio, at *pfn*, leaves its generation as it has no object, or joins one as the lower half has none."""
    pages = 1 << (s.meta[pfn] & 15)
    if obj < 0:
        update_lru_size(s, page_zone(s, pfn), folio_lru_list(attr), -pages)
        lru_gen_add_folio(s, pfn, attr, upper, False)
        return
    lru_gen_update_size(s, pfn, attr, (s.lru[gen_word(s, obj)] & 7) - 1, -1)
    update_lru_size(s, page_zone(s, pfn), folio_lru_list(attr), pages)


@part(cold=True)
def lru_add_split_folio(s: View, attr: int, obj: int, upper: int, pfn: int) -> None:
    """A folio on a list was halved: its upper half, object *upper* at *pfn*, goes right before it (mm/huge_memory.c:3577).

    The pages are counted already. If the lower half has no object, the upper one goes to the head of the list.
    """
    if attr & k.ATTR_MLOCKED:
        return
    if s.cfg.lru_gen and (obj < 0) != (upper < 0):
        lru_gen_half(s, pfn, attr, obj, upper)
    if upper < 0 or (s.cfg.lru_gen and obj < 0):
        return
    at = lru_head(s.zone[page_zone(s, pfn)].node, folio_lru_list(attr))
    at = s.lru[2 * at] + 0 if obj < 0 else s.cfg.lru_first + obj
    lru_link(s, s.cfg.lru_first + upper, s.lru[2 * at + 1] + 0, at)


@part(cold=True)
def lru_rename(s: View, pfn: int, obj: int) -> None:
    """The folio at *pfn* is object *obj*'s from now on, which takes its place on the LRU list. ``s.obj`` is not changed."""
    before = s.link[2 * pfn] + 0
    attr = s.link[2 * pfn + 1] + 0
    s.link[2 * pfn] = obj
    if s.cfg.lru_gen and before >= 0 and obj >= 0:
        lru_gen_word_moves(s, before, obj)
    if s.cfg.open_loop or not attr & k.ATTR_ON_LRU or attr & k.ATTR_MLOCKED or before < 0 or obj < 0:
        return
    at = s.cfg.lru_first + before
    previous = s.lru[2 * at + 1] + 0
    lru_unlink(s, at)
    lru_link(s, s.cfg.lru_first + obj, previous, s.lru[2 * previous] + 0)


@part(inline=True)
def mod_isolated(s: View, pfn: int, attr: int, pages: int) -> None:
    """Count *pages* (signed) of an LRU folio as isolated: NR_ISOLATED_ANON or NR_ISOLATED_FILE."""
    zone = s.zone[page_zone(s, pfn)]
    zone.nr_isolated += pages
    if attr & k.ATTR_FILE:
        s.node[zone.node].nr_isolated_file += pages


@part
def lruvec_lru_size(s: View, node: int, lru: int, highest_zoneidx: int) -> int:
    """Pages on a list, of the zones up to an index (mm/vmscan.c:386)."""
    pages = 0
    for index in range(highest_zoneidx + 1):
        pages += s.node[node].nr_lru[index * k.NR_LRU_LISTS + lru]
    return pages


@part
def zone_reclaimable_pages(s: View, z: int) -> int:
    """Pages of the zone on the lists of files, and on anonymous ones where slots of swap are free (mm/vmscan.c:367)."""
    zone = s.zone[z]
    nr_lru = s.node[zone.node].nr_lru
    at = zone.index * k.NR_LRU_LISTS
    pages = nr_lru[at + k.LRU_INACTIVE_FILE] + nr_lru[at + k.LRU_ACTIVE_FILE]
    if s.stat.nr_swap_pages:
        pages += nr_lru[at + k.LRU_INACTIVE_ANON] + nr_lru[at + k.LRU_ACTIVE_ANON]
    return pages


@part
def inactive_is_low(inactive: int, active: int) -> bool:
    """Whether so few pages are inactive that active ones should be deactivated (mm/vmscan.c:2252)."""
    gb = (inactive + active) >> GB_PAGES_SHIFT
    ratio = int_sqrt(10 * gb) if gb else 1
    return inactive * ratio < active


@part
def int_sqrt(value: int) -> int:
    """The largest number whose square is at most *value* (lib/math/int_sqrt.c)."""
    root = 0
    while (root + 1) * (root + 1) <= value:
        root += 1
    return root
