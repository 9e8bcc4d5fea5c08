# SPDX-License-Identifier: GPL-2.0-or-later
"""A node's LRU lists (struct lruvec; include/linux/mm_inline.h, mm/vmscan.c, 7.2): in closed loop alone.

The lists are linked by object in ``lru``: pair *i* of its words is the next and the previous of list head *i* or of object
``i - cfg.lru_first``, whose first page ``obj`` names. So an object that moves to other pages keeps its links, and one that is
dropped has room for its shadow entry (:mod:`kevacuate.mm.workingset`). A folio without an object is counted, but on no list:
nobody could tell its owner that it is gone. Unevictable folios are counted alone, as in the kernel.

One lruvec a node: memory cgroups are not modelled.
"""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm.buddy import page_zone
from kevacuate.mm.constants import (
    ATTR_ACTIVE,
    ATTR_FILE,
    ATTR_MLOCKED,
    ATTR_ON_LRU,
    LRU_ACTIVE_ANON,
    LRU_ACTIVE_FILE,
    LRU_INACTIVE_ANON,
    LRU_INACTIVE_FILE,
    LRU_LISTS,
    LRU_UNEVICTABLE,
    NR_LRU_LISTS,
)
from kevacuate.mm.fields import View

GB_PAGES_SHIFT = 18
"""1 GiB is 2 to the power of this many pages."""


@part(inline=True)
def folio_lru_list(attr: int) -> int:
    """The list that a folio with these attributes belongs on (LRU_*)."""
    if attr & ATTR_MLOCKED:
        return LRU_UNEVICTABLE
    return (LRU_INACTIVE_FILE if attr & ATTR_FILE else 0) + (1 if attr & ATTR_ACTIVE else 0)


@part(inline=True)
def lru_head(node: int, lru: int) -> int:
    """Number in ``lru`` of a list's head."""
    return node * LRU_LISTS + lru


@part(inline=True)
def lru_object(s: View, at: int) -> int:
    """The object that stands at a place of a list."""
    return at - s.cfg.lru_first


@part(inline=True)
def update_lru_size(s: View, z: int, lru: int, pages: int) -> None:
    """Count *pages* (signed) on a list of the zone's node: NR_ZONE_LRU_BASE + lru."""
    zone = s.zone[z]
    s.node[zone.node].nr_lru[zone.index * NR_LRU_LISTS + lru] += pages


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


@part
def lruvec_add_folio(s: View, pfn: int) -> None:
    """Put a folio at the head of the list that its attributes name."""
    attr = s.link[2 * pfn + 1] + 0
    obj = s.link[2 * pfn] + 0
    z = page_zone(s, pfn)
    lru = folio_lru_list(attr)
    update_lru_size(s, z, lru, 1 << (s.meta[pfn] & 15))
    if obj >= 0 and lru != LRU_UNEVICTABLE:
        head = lru_head(s.zone[z].node, lru)
        lru_link(s, s.cfg.lru_first + obj, head, s.lru[2 * head] + 0)


@part
def lruvec_del_folio(s: View, pfn: int, attr: int) -> None:
    """Take a folio, whose attributes are *attr*, off its list."""
    obj = s.link[2 * pfn] + 0
    lru = folio_lru_list(attr)
    update_lru_size(s, page_zone(s, pfn), lru, -(1 << (s.meta[pfn] & 15)))
    if obj >= 0 and lru != LRU_UNEVICTABLE:
        lru_unlink(s, s.cfg.lru_first + obj)


@part(cold=True)
def lru_add_split_folio(s: View, attr: int, obj: int, upper: int, pfn: int) -> None:
    """A folio on a list was halved: its upper half, object *upper* at *pfn*, goes right before it (mm/huge_memory.c:3577).

    The pages are counted already. If the lower half has no object, the upper one goes to the head of the list.
    """
    if attr & ATTR_MLOCKED or upper < 0:
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
    if s.cfg.open_loop or not attr & ATTR_ON_LRU or attr & ATTR_MLOCKED or before < 0 or obj < 0:
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
    if attr & ATTR_FILE:
        s.node[zone.node].nr_isolated_file += pages


@part
def lruvec_lru_size(s: View, node: int, lru: int, highest_zoneidx: int) -> int:
    """Pages on a list, of the zones up to an index (mm/vmscan.c:386)."""
    pages = 0
    for index in range(highest_zoneidx + 1):
        pages += s.node[node].nr_lru[index * NR_LRU_LISTS + lru]
    return pages


@part
def zone_reclaimable_pages(s: View, z: int) -> int:
    """Pages of the zone on the lists of files, and on anonymous ones where slots of swap are free (mm/vmscan.c:367)."""
    zone = s.zone[z]
    nr_lru = s.node[zone.node].nr_lru
    at = zone.index * NR_LRU_LISTS
    pages = nr_lru[at + LRU_INACTIVE_FILE] + nr_lru[at + LRU_ACTIVE_FILE]
    if s.stat.nr_swap_pages:
        pages += nr_lru[at + LRU_INACTIVE_ANON] + nr_lru[at + LRU_ACTIVE_ANON]
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
