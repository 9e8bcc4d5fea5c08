# SPDX-License-Identifier: GPL-2.0-or-later
"""Rows of the closed loop: what the recorded kernel reclaimed stays with the model, which reclaims by itself.

A page that the recorded kernel reclaimed is a *shadow* of the demand (:mod:`kevacuate.demand.shadows`). The model's folio,
which is still there, then belongs to the entries of its shadows in ``State.obj``, which lie behind those of the objects, from
``stat.first_shadow`` on: the first has the pfn, the others OBJ_PART. When part of it is read again, the folio is halved until
that part stands alone. The kernel would not split it; its pages do not move by that. A folio that is in base pages
(:mod:`kevacuate.runs.base_pages`) leaves each of them to the shadow of its own.
"""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.kernel.gfp import GFP_WRITE
from kevacuate.mm import constants as k
from kevacuate.mm.base_pages import (
    OBJ_BASE_PAGES,
    base_pages_code,
    base_pages_of,
    base_pages_order,
    find_ids,
)
from kevacuate.mm.fields import View
from kevacuate.mm.lru import folio_mark_accessed, folio_young
from kevacuate.mm.lruvec import lru_rename
from kevacuate.mm.page_alloc import alloc_pages_for, count_thp_fault, is_thp_fault
from kevacuate.mm.page_free import free_pages, halve_chunk
from kevacuate.mm.swap_in import do_swap_page
from kevacuate.mm.swapfile import is_in_swap
from kevacuate.mm.workingset import shadow_moves
from kevacuate.mm.writeback import dirtied_now
from kevacuate.runs.base_pages import (
    OBJ_FAILED,
    ROW_BAD,
    ROW_DONE,
    base_page_gfp,
    enough_ids,
    hand_on,
    take_base_pages,
)
from kevacuate.runs.mapping import (
    MAX_ORDER,
    OBJ_PART,
    gather_place,
    reclaim_place,
    truncate_places,
    waits_for_read,
)


@part(cold=True)
def reclaim_object(s: View, obj: int, order: int, shadow: int) -> bool:
    """The recorded kernel reclaimed the object: what the model has of it is its shadows' now.

    False if there is no such object, it is of another order, or a shadow has a page still.
    """
    pfn = s.obj[obj] + 0
    if pfn == k.OBJ_NONE or (pfn >= 0 and s.meta[pfn] & 15 != order):
        return False
    first = s.stat.first_shadow + shadow
    for i in range(first, first + (1 << order)):
        if s.obj[i] >= 0:
            return False
    if pfn <= OBJ_BASE_PAGES:
        return reclaim_base_pages(s, obj, order, first)
    reclaim_place(s, obj, first, order)
    s.obj[obj] = k.OBJ_NONE
    for i in range(first + 1, first + (1 << order)):
        s.obj[i] = OBJ_PART
    s.obj[first] = pfn if pfn >= 0 else k.OBJ_NONE
    if pfn == k.OBJ_DROPPED:
        shadow_moves(s, obj, first)
    if pfn >= 0:
        lru_rename(s, pfn, first)
        s.stat.kept_pages += 1 << order
    return True


@part(cold=True)
def reclaim_base_pages(s: View, obj: int, order: int, first: int) -> bool:
    """:func:`reclaim_object` of an object in base pages; *first* is its first shadow's place in ``State.obj``."""
    code = s.obj[obj] + 0
    if base_pages_order(code) != order:
        return False
    reclaim_place(s, obj, first, order)
    s.obj[obj] = k.OBJ_NONE
    base = s.stat.first_base_page + base_pages_of(code)
    for i in range(1 << order):
        if hand_on(s, base + i, first + i) >= 0:
            s.stat.kept_pages += 1
        elif s.obj[first + i] == OBJ_FAILED:
            s.obj[first + i] = k.OBJ_NONE
    return True


@part
def folio_of_shadow(s: View, shadow: int) -> int:
    """The first of the shadows whose folio holds this one's page."""
    head = shadow
    for level in range(MAX_ORDER + 1):
        if s.obj[s.stat.first_shadow + head] != OBJ_PART:
            break
        head = shadow >> level << level
    return head


@part(cold=True)
def take_shadow(s: View, shadow: int, order: int) -> int:
    """The pfn of the model's folio for these 2**order shadows, which is nobody's then; -1 where the model has dropped it."""
    base = s.stat.first_shadow
    head = folio_of_shadow(s, shadow)
    pfn = s.obj[base + head] + 0
    if pfn < 0 or s.meta[pfn] & 15 < order:
        return -1
    while s.meta[pfn] & 15 > order:
        upper = head + (1 << ((s.meta[pfn] & 15) - 1))
        halve_chunk(s, pfn, base + upper)
        if shadow >= upper:
            head = upper
            pfn = s.obj[base + head] + 0
    s.obj[base + head] = k.OBJ_NONE
    return pfn


@part(cold=True)
def gather_shadow(s: View, shadow: int, source: int) -> bool:
    """What the model has, or remembers, of shadow *source* is *shadow*'s from now on; of shadow 0 it has nothing.

    False if *shadow* has a page still.
    """
    at = s.stat.first_shadow + shadow
    if s.obj[at] >= 0:
        return False
    s.obj[at] = k.OBJ_NONE
    gather_place(s, at, s.stat.first_shadow + source if source else 0)
    if source == 0 or source == shadow:
        return True
    before = s.stat.first_shadow + folio_of_shadow(s, source)
    pfn = take_shadow(s, source, 0)
    if pfn >= 0:
        s.obj[at] = pfn
        lru_rename(s, pfn, at)
    elif s.obj[before] == k.OBJ_DROPPED:
        shadow_moves(s, before, at)
    return True


@part
def apart(s: View, shadow: int, order: int) -> bool:
    """Whether these 2**order shadows have several folios, or had."""
    first = s.stat.first_shadow + shadow
    pfn = s.obj[first] + 0
    if pfn >= 0 and s.meta[pfn] & 15 < order:
        return True
    for i in range(first + 1, first + (1 << order)):
        if s.obj[i] != OBJ_PART and s.obj[i] != k.OBJ_NONE:
            return True
    return False


@part(cold=True)
def adopt(s: View, pfn: int, obj: int, attr: int) -> None:
    """The folio of a shadow becomes object *obj*, which was asked for with these attributes."""
    s.obj[obj] = pfn
    lru_rename(s, pfn, obj)
    s.link[2 * pfn + 1] |= attr & (k.ATTR_DIRTY | k.ATTR_WRITEBACK | k.ATTR_PINNED | k.ATTR_BUSY)
    if attr & k.ATTR_DIRTY:
        s.link[2 * pfn + 1] = (s.link[2 * pfn + 1] & ~k.ATTR_DIRTIED) | dirtied_now(s)
    s.stat.hit_pages += 1 << (s.meta[pfn] & 15)


@part
def all_dropped(s: View, obj: int, order: int, gfp: int, shadow: int) -> bool:
    """Whether the model has no page of these 2**order shadows; then object *obj* is dropped as the last of them that was.

    So a folio that is read where several were is one refault, by the last shadow entry in its way (__filemap_add_folio,
    mm/filemap.c:848).
    """
    first = s.stat.first_shadow + shadow
    last = -1
    for i in range(first, first + (1 << order)):
        if s.obj[i] >= 0:
            return False
        if s.obj[i] == k.OBJ_DROPPED:
            last = i
    if last >= 0:
        refault_moves(s, last, obj, gfp)
    return True


@part
def refault_moves(s: View, source: int, obj: int, gfp: int) -> None:
    """Object *obj* is dropped as *source* is, so that its pages are a refault; not those of a write (filemap_add_folio, :986)."""
    if gfp & GFP_WRITE == 0:
        shadow_moves(s, source, obj)


@part(cold=True)
def read_shadow(s: View, cpu: int, obj: int, order: int, mt: int, gfp: int, attr: int, shadow: int) -> int:
    """Read again what the recorded kernel had reclaimed: the object gets the model's folio. ROW_BAD if the model dropped it.

    Then the object is dropped, with what the model remembers of that: its allocation is a refault. Returns ROW_DONE or ROW_IDS
    where nothing is left to allocate.
    """
    if order > 0 and apart(s, shadow, order):
        if all_dropped(s, obj, order, gfp, shadow):
            return ROW_BAD
        return read_base_pages(s, cpu, obj, order, mt, gfp, attr, shadow)
    before = s.stat.first_shadow + folio_of_shadow(s, shadow)
    pfn = take_shadow(s, shadow, order)
    if pfn < 0:
        if s.obj[before] == k.OBJ_DROPPED:
            refault_moves(s, before, obj, gfp)
        return ROW_BAD
    adopt(s, pfn, obj, attr)
    return ROW_DONE


@part(cold=True)
def read_base_pages(
    s: View, cpu: int, obj: int, order: int, mt: int, gfp: int, attr: int, shadow: int
) -> int:
    """:func:`read_shadow` of shadows whose pages the model has apart, or has dropped: the object is in base pages."""
    first = find_ids(s, order)
    if first < 0:
        truncate_shadows(s, cpu, shadow, order)
        return ROW_BAD
    base = s.stat.first_base_page + first
    flags = base_page_gfp(gfp, attr)
    for i in range(1 << order):
        pfn = take_shadow(s, shadow + i, 0)
        if pfn >= 0:
            adopt(s, pfn, base + i, attr)
            continue
        if s.obj[s.stat.first_shadow + shadow + i] == k.OBJ_DROPPED and gfp & GFP_WRITE == 0:
            hand_on(s, s.stat.first_shadow + shadow + i, base + i)
            if waits_for_read(s, shadow + i, gfp):
                continue
        if alloc_pages_for(s, cpu, 0, mt, flags, attr, base + i) < 0:
            s.obj[base + i] = OBJ_FAILED
            s.stat.base_pages_failed += 1
        else:
            s.stat.base_pages += 1
    s.obj[obj] = base_pages_code(first, order)
    return enough_ids(s)


@part(cold=True)
def truncate_shadows(s: View, cpu: int, shadow: int, order: int) -> None:
    """The workload gave the pages up: what the model still has of them is freed."""
    at = shadow
    truncate_places(s, s.stat.first_shadow + shadow, 1 << order)
    largest = 0 if order > 0 and apart(s, shadow, order) else order
    while at < shadow + (1 << order):
        pfn = take_shadow(s, at, largest)
        if pfn >= 0:
            s.stat.truncated_pages += 1 << largest
            free_pages(s, cpu, pfn)
        at += 1 << largest


@part
def use_folio(s: View, pfn: int, mapped: int) -> None:
    """The workload uses the folio, through a page table (*mapped*) or by reading it."""
    if mapped:
        folio_young(s, pfn)
    else:
        folio_mark_accessed(s, pfn)


@part(cold=True)
def access_folio(s: View, cpu: int, obj: int, order: int, mt: int, gfp: int, attr: int, mapped: int) -> int:
    """:func:`access_object` of an object that is not in base pages."""
    pfn = s.obj[obj] + 0
    if pfn >= 0:
        use_folio(s, pfn, mapped)
    elif mapped == 2:
        return ROW_DONE
    elif is_in_swap(s, obj):
        do_swap_page(s, cpu, obj)
    elif pfn == k.OBJ_DROPPED:
        s.stat.refault_pages += 1 << order
        pfn = alloc_pages_for(s, cpu, order, mt, gfp, attr, obj)
        if pfn >= 0:
            use_folio(s, pfn, mapped)
            return ROW_DONE
        done = ROW_DONE if order == 0 else take_base_pages(s, cpu, obj, order, mt, gfp, attr)
        if s.obj[obj] > OBJ_BASE_PAGES:
            s.stat.refaults_failed += 1
            s.obj[obj] = k.OBJ_DROPPED
        return done
    return ROW_BAD if pfn == k.OBJ_NONE else ROW_DONE


@part(cold=True)
def access_object(s: View, cpu: int, obj: int, order: int, mt: int, gfp: int, attr: int, mapped: int) -> int:
    """The workload used the object: mark it accessed, or read it again if the model dropped it; *mapped*: by a page table.

    ROW_BAD if there is no such object. A read that fails for want of memory leaves the object dropped; its next use tries again.
    """
    s.stat.cpu = cpu
    code = s.obj[obj] + 0
    if code > OBJ_BASE_PAGES:
        return access_folio(s, cpu, obj, order, mt, gfp, attr, mapped)
    base = s.stat.first_base_page + base_pages_of(code)
    for i in range(base, base + (1 << base_pages_order(code))):
        access_folio(s, cpu, i, 0, mt, base_page_gfp(gfp, attr), attr, mapped)
    return ROW_DONE


@part(cold=True)
def attempt_pages(s: View, cpu: int, order: int, mt: int, gfp: int) -> None:
    """A request that the recorded kernel refused: what the model finds for it is given back at once.

    Approximate: what the recorded program did in its place, such as touching base pages, are rows of their own.
    """
    pfn = alloc_pages_for(s, cpu, order, mt, gfp, 0, -1)
    if is_thp_fault(s, order, gfp, 0):
        count_thp_fault(s, pfn)
    s.stat.attempts += 1
    if pfn >= 0:
        s.stat.attempts_given_back += 1
        free_pages(s, cpu, pfn)
