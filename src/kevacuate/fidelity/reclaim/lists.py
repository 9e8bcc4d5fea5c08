# SPDX-License-Identifier: GPL-2.0-or-later
"""The LRU lists, compiled: they follow the recorded events by the model's own list functions (:mod:`kevacuate.mm.lruvec`).

A folio's object bears the number of its first page.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kevacuate.fidelity.reclaim import books as bk
from kevacuate.fidelity.reclaim.books import ReclaimBooksView
from kevacuate.jit import part
from kevacuate.kernel.hooks import FolioFlag, LruOp
from kevacuate.mm import constants as k
from kevacuate.mm.buddy import account_freepages, add_to_free_list, del_page_from_free_list, page_zone
from kevacuate.mm.fields import View
from kevacuate.mm.lruvec import (
    folio_lru_list,
    lru_head,
    lru_link,
    lruvec_add_folio,
    lruvec_del_folio,
    update_lru_size,
)
from kevacuate.mm.swap import lru_activate
from kevacuate.recording import EventChunk
from kevacuate.recording.event_numbers import LIST_ADD_TAIL, LIST_DELETE, LIST_MOVE

STAT_THRESHOLD = 8
"""Pages that a CPU's own count holds back at most on one CPU and 1 GiB (calculate_normal_threshold, mm/vmstat.c, 7.2)."""

_UNEVICTABLE = int(FolioFlag.UNEVICTABLE)
_DIRTY = int(FolioFlag.DIRTY | FolioFlag.WRITEBACK)
_ROTATED, _INVALIDATED, _LAZYFREE = int(LruOp.ROTATED), int(LruOp.DEACTIVATE_FILE), int(LruOp.LAZYFREE)


class LruLists(NamedTuple):
    """The LRU lists of one moment."""

    lru: npt.NDArray[np.int64]
    """Of each folio its list (LRU_*); lists one after the other, the head of each first."""
    pfn: npt.NDArray[np.int64]
    order: npt.NDArray[np.int64]


@part
def count_diff(b: ReclaimBooksView, z: int, lru: int, pages: int) -> None:
    """A zone's count of a list changes by *pages*: the CPU holds back what lies within its threshold (__mod_zone_page_state)."""
    at = 8 * z + lru
    held = b.diff[at] + pages
    b.diff[at] = 0 if held > STAT_THRESHOLD or held < -STAT_THRESHOLD else held


@part
def attributes(lru: int) -> int:
    """Attribute bits of a folio on a list."""
    attr = k.ATTR_LRU | k.ATTR_ON_LRU
    if lru >= k.LRU_INACTIVE_FILE:
        attr |= k.ATTR_FILE
    return attr | k.ATTR_ACTIVE if lru & 1 else attr


@part
def place(s: View, b: ReclaimBooksView, pfn: int, order: int, lru: int) -> None:
    """Put a folio at the head of a list."""
    s.meta[pfn] = k.CHUNK_ALLOC << 4 | order
    s.link[2 * pfn] = pfn
    s.obj[pfn] = pfn
    s.link[2 * pfn + 1] = attributes(lru)
    lruvec_add_folio(s, pfn)
    count_diff(b, page_zone(s, pfn), lru, 1 << order)
    b.where[pfn] = bk.ON_LIST


@part
def remove(s: View, b: ReclaimBooksView, pfn: int) -> None:
    """Take a folio off its list."""
    attr = s.link[2 * pfn + 1] + 0
    lruvec_del_folio(s, pfn, attr)
    s.link[2 * pfn + 1] = attr & ~k.ATTR_ON_LRU
    count_diff(b, page_zone(s, pfn), folio_lru_list(attr), -(1 << (s.meta[pfn] & 15)))
    b.where[pfn] = bk.NOWHERE


@part
def place_last(s: View, b: ReclaimBooksView, pfn: int, lru: int) -> None:
    """Put a folio that is on no list at the tail of one (lruvec_add_folio_tail)."""
    place(s, b, pfn, s.meta[pfn] & 15, lru)
    at = s.cfg.lru_first + pfn
    head = lru_head(s.zone[page_zone(s, pfn)].node, lru)
    after = s.lru[2 * at] + 0
    if after != head:
        s.lru[2 * head] = after
        s.lru[2 * after + 1] = head
        lru_link(s, at, s.lru[2 * head + 1] + 0, head)


@part
def split_folio(s: View, b: ReclaimBooksView, head: int, whole: int, order: int) -> None:
    """A folio was split into such of *order*: each goes right before the first, ascending (lru_add_split_folio)."""
    b.inputs[bk.N_SPLIT] += 1
    listed = b.where[head] == bk.ON_LIST and s.meta[head] & 15 == whole
    if listed:
        s.meta[head] = k.CHUNK_ALLOC << 4 | order
    b.order[head] = order
    step = 1 << order
    for pfn in range(head + step, head + (1 << whole), step):
        b.order[pfn] = order
        if listed and b.where[pfn] == bk.NOWHERE:
            s.meta[pfn] = k.CHUNK_ALLOC << 4 | order
            s.link[2 * pfn] = pfn
            s.obj[pfn] = pfn
            s.link[2 * pfn + 1] = s.link[2 * head + 1] + 0
            at = s.cfg.lru_first + head
            lru_link(s, s.cfg.lru_first + pfn, s.lru[2 * at + 1] + 0, at)
            b.where[pfn] = bk.ON_LIST


@part
def appears(s: View, b: ReclaimBooksView, pfn: int, order: int) -> None:
    """An event names a folio of *order*: a larger one that covered it has been split."""
    for larger in range(order + 1, s.cfg.max_page_order + 1):
        head = (pfn >> larger) << larger
        whole = b.order[head] + 0
        if whole != bk.UNKNOWN_ORDER and whole >= larger:
            split_folio(s, b, head, whole, order)
            return


@part
def insertion(s: View, b: ReclaimBooksView, pfn: int, lru: int) -> None:
    """mm_lru_insertion: a folio reaches the head of a list."""
    b.inputs[bk.N_INSERTED] += 1
    if b.where[pfn] == bk.ON_LIST:
        remove(s, b, pfn)
    if b.order[pfn] == bk.UNKNOWN_ORDER:
        appears(s, b, pfn, 0)
    order = 0 if b.order[pfn] == bk.UNKNOWN_ORDER else b.order[pfn] + 0
    if lru == k.LRU_UNEVICTABLE:
        b.where[pfn] = bk.NOWHERE
        return
    place(s, b, pfn, order, lru)


@part
def activation(s: View, b: ReclaimBooksView, pfn: int) -> None:
    """mm_lru_activate: use brings a folio to the head of the active list."""
    b.inputs[bk.N_ACTIVATED] += 1
    attr = s.link[2 * pfn + 1] + 0
    if b.where[pfn] != bk.ON_LIST or attr & k.ATTR_ACTIVE:
        return
    pages, lru = 1 << (s.meta[pfn] & 15), folio_lru_list(attr)
    lru_activate(s, pfn, attr)
    count_diff(b, page_zone(s, pfn), lru, -pages)
    count_diff(b, page_zone(s, pfn), lru + 1, pages)


@part
def compaction_takes(s: View, b: ReclaimBooksView, pfn: int, order: int, flags: int) -> None:
    """gt_mig 0: a folio is isolated for migration; from the unevictable list if mlock had taken it there unseen."""
    appears(s, b, pfn, order)
    if flags & _UNEVICTABLE == 0:
        b.inputs[bk.N_ISOLATED] += 1
    if b.where[pfn] == bk.ON_LIST:
        remove(s, b, pfn)


@part
def migrated(s: View, b: ReclaimBooksView, old: int, new: int, order: int) -> None:
    """gt_mig 1: a folio has moved; the new one may have reached its list just before, when its order was not known."""
    appears(s, b, old, order)
    b.order[new] = order
    if b.where[new] == bk.ON_LIST and s.meta[new] & 15 != order:
        lru, z = folio_lru_list(s.link[2 * new + 1] + 0), page_zone(s, new)
        more = (1 << order) - (1 << (s.meta[new] & 15))
        update_lru_size(s, z, lru, more)
        count_diff(b, z, lru, more)
        s.meta[new] = k.CHUNK_ALLOC << 4 | order


@part
def moved_within(s: View, b: ReclaimBooksView, pfn: int, op: int, flags: int) -> None:
    """gt_lru 3 to 6: rotated to the tail when written, or deactivated by its owner."""
    b.inputs[bk.N_MOVED] += 1
    if b.where[pfn] != bk.ON_LIST:
        return
    lru = folio_lru_list(s.link[2 * pfn + 1] + 0) & ~1
    if op == _LAZYFREE:
        lru = k.LRU_INACTIVE_FILE
    remove(s, b, pfn)
    if op == _ROTATED or (op == _INVALIDATED and flags & _DIRTY == 0):
        place_last(s, b, pfn, lru)
    else:
        place(s, b, pfn, s.meta[pfn] & 15, lru)


@part
def freed(s: View, b: ReclaimBooksView, pfn: int, order: int) -> None:
    """mm_page_free: what was on a list leaves it."""
    appears(s, b, pfn, order)
    for page in range(pfn, pfn + (1 << order)):
        if b.where[page] == bk.ON_LIST:
            b.inputs[bk.N_FREED] += 1
            remove(s, b, page)
        elif b.where[page] == bk.TAKEN:
            b.where[page] = bk.NOWHERE
        b.order[page] = bk.UNKNOWN_ORDER


@part
def free_list_operation(s: View, b: ReclaimBooksView, e: EventChunk, i: int) -> None:
    """gt_list: a chunk joins or leaves a free list, which the marks count."""
    b.inputs[bk.N_FREE_LISTS] += 1
    pfn, order, op, mt = e.pfn[i], e.order[i], e.a[i], e.mt[i]
    z = page_zone(s, pfn)
    held = s.meta[pfn] == (k.CHUNK_BUDDY << 4 | order)
    if op >= LIST_DELETE and op <= LIST_MOVE and held:
        del_page_from_free_list(s, z, pfn, order, mt)
        account_freepages(s, z, -(1 << order), mt)
    if op <= LIST_ADD_TAIL and not held:
        add_to_free_list(s, z, pfn, order, mt, op == LIST_ADD_TAIL)
        account_freepages(s, z, 1 << order, mt)
    elif op == LIST_MOVE and held:
        add_to_free_list(s, z, pfn, order, e.b[i], True)
        account_freepages(s, z, 1 << order, e.b[i])
