# SPDX-License-Identifier: GPL-2.0-or-later
"""Rows of the closed loop: what the recorded kernel reclaimed stays with the model, which reclaims by itself.

A page that the recorded kernel reclaimed is a *shadow* of the demand (:mod:`kevacuate.demand.shadows`). The model's folio,
which is still there, then belongs to the entries of its shadows in ``State.obj``, which lie behind those of the objects, from
``stat.first_shadow`` on: the first has the pfn, the others OBJ_PART. When part of it is read again, the folio is halved until
that part stands alone. The kernel would not split it; its pages do not move by that.
"""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm.constants import ATTR_BUSY, ATTR_DIRTIED, ATTR_DIRTY, ATTR_PINNED, ATTR_WRITEBACK
from kevacuate.mm.fields import View
from kevacuate.mm.lru import folio_mark_accessed
from kevacuate.mm.lruvec import lru_rename
from kevacuate.mm.page_alloc import alloc_pages
from kevacuate.mm.page_free import free_pages, halve_chunk
from kevacuate.mm.workingset import shadow_moves
from kevacuate.mm.writeback import dirtied_now

OBJ_NONE = -1
OBJ_DROPPED = -2
OBJ_FAILED = -3
"""What ``State.obj`` holds for an object that has no page: nobody's id (what the model writes when it frees), dropped by the
model as clean cache, and (written here alone) alive in the demand although its allocation failed."""

OBJ_PART = -4
"""What it holds for a shadow that is a page of the folio of a shadow before it."""

MAX_ORDER = 10


@part(cold=True)
def reclaim_object(s: View, obj: int, order: int, shadow: int) -> bool:
    """The recorded kernel reclaimed the object: what the model has of it is its shadows' now.

    False if there is no such object, it is of another order, or a shadow has a page still.
    """
    pfn = s.obj[obj] + 0
    if pfn == OBJ_NONE or (pfn >= 0 and s.meta[pfn] & 15 != order):
        return False
    first = s.stat.first_shadow + shadow
    for i in range(first, first + (1 << order)):
        if s.obj[i] >= 0:
            return False
    s.obj[obj] = OBJ_NONE
    for i in range(first + 1, first + (1 << order)):
        s.obj[i] = OBJ_PART
    s.obj[first] = pfn if pfn >= 0 else OBJ_NONE
    if pfn == OBJ_DROPPED:
        shadow_moves(s, obj, first)
    if pfn >= 0:
        lru_rename(s, pfn, first)
        s.stat.kept_pages += 1 << order
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
    s.obj[base + head] = OBJ_NONE
    return pfn


@part(cold=True)
def read_shadow(s: View, obj: int, order: int, attr: int, shadow: int) -> bool:
    """Read again what the recorded kernel had reclaimed: the object gets the model's folio. False if the model dropped it.

    Then the object is dropped, with what the model remembers of that: its allocation is a refault.
    """
    before = s.stat.first_shadow + folio_of_shadow(s, shadow)
    pfn = take_shadow(s, shadow, order)
    if pfn < 0:
        if s.obj[before] == OBJ_DROPPED:
            shadow_moves(s, before, obj)
        return False
    s.obj[obj] = pfn
    lru_rename(s, pfn, obj)
    s.link[2 * pfn + 1] |= attr & (ATTR_DIRTY | ATTR_WRITEBACK | ATTR_PINNED | ATTR_BUSY)
    if attr & ATTR_DIRTY:
        s.link[2 * pfn + 1] = (s.link[2 * pfn + 1] & ~ATTR_DIRTIED) | dirtied_now(s)
    s.stat.hit_pages += 1 << order
    return True


@part(cold=True)
def truncate_shadows(s: View, cpu: int, shadow: int, order: int) -> None:
    """The workload gave the pages up: the model's folio is freed, if it still has it."""
    pfn = take_shadow(s, shadow, order)
    if pfn >= 0:
        s.stat.truncated_pages += 1 << order
        free_pages(s, cpu, pfn)


@part(cold=True)
def access_object(s: View, cpu: int, obj: int, order: int, mt: int, gfp: int, attr: int) -> bool:
    """The workload used the object: mark it accessed, or read it again if the model dropped it.

    False if there is no such object. A read that fails for want of memory leaves the object dropped; its next use tries again.
    """
    s.stat.cpu = cpu
    pfn = s.obj[obj] + 0
    if pfn >= 0:
        folio_mark_accessed(s, pfn)
    elif pfn == OBJ_DROPPED:
        s.stat.refault_pages += 1 << order
        pfn = alloc_pages(s, cpu, -1, order, mt, gfp, attr, obj)
        if pfn >= 0:
            folio_mark_accessed(s, pfn)
        else:
            s.stat.refaults_failed += 1
            s.obj[obj] = OBJ_DROPPED
            return True
    return pfn != OBJ_NONE
