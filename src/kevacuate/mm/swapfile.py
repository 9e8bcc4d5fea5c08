# SPDX-License-Identifier: GPL-2.0-or-later
"""Slots of the swap device, and the pages in them (mm/swapfile.c, mm/swap_state.c, 7.2): in closed loop with swap alone.

An object whose page is in swap is dropped (``obj`` says -2); its pair of words in ``lru`` has the slot, and IN_SWAP. Slots whose
pages are in use (:mod:`.swap_use`) form a queue by when that is. Approximate: clusters are not modelled, so slots for a large
folio are never too scattered. Nobody shares a page, so each slot has one user.
"""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm.constants import IN_SWAP, NEVER, OBJ_DROPPED, SWAP_UNIT_SHIFT
from kevacuate.mm.fields import View
from kevacuate.mm.swap_use import in_use
from kevacuate.mm.zsmalloc import zs_free


@part
def is_in_swap(s: View, obj: int) -> bool:
    """Whether the object's page is in swap."""
    if s.cfg.swap_pages == 0 or s.obj[obj] != OBJ_DROPPED:
        return False
    return s.lru[2 * (s.cfg.lru_first + obj) + 1] == IN_SWAP


@part
def slot_of(s: View, obj: int) -> int:
    """The slot of an object whose page is in swap."""
    return s.lru[2 * (s.cfg.lru_first + obj)] + 0


@part
def swap_alloc(s: View) -> int:
    """Take a slot; there is one (nr_swap_pages)."""
    slot = s.stat.swap_free + 0
    s.stat.swap_free = s.swap[slot].next
    s.stat.nr_swap_pages -= 1
    return slot


@part
def queue_slot(s: View, slot: int) -> None:
    """The page in the slot is used again in a while."""
    last = s.stat.swap_last + 0
    entry = s.swap[slot]
    entry.due = s.stat.now + (1 << SWAP_UNIT_SHIFT)
    entry.next = -1
    entry.prev = last
    s.stat.swap_last = slot
    if last >= 0:
        s.swap[last].next = slot
        return
    s.stat.swap_first = slot
    s.stat.swap_due = entry.due
    s.stat.next_due = min(s.stat.next_due, s.stat.swap_due)


@part
def dequeue_slot(s: View, slot: int) -> None:
    """The page in the slot waits for nobody, be it that it did not before."""
    entry = s.swap[slot]
    if entry.due == NEVER:
        return
    entry.due = NEVER
    after = entry.next + 0
    before = entry.prev + 0
    if after >= 0:
        s.swap[after].prev = before
    else:
        s.stat.swap_last = before
    if before >= 0:
        s.swap[before].next = after
        return
    s.stat.swap_first = after
    s.stat.swap_due = s.swap[after].due if after >= 0 else NEVER


@part(cold=True)
def swap_entry_free(s: View, cpu: int, slot: int) -> None:
    """Give a slot back, and what its page was compressed to (swap_slot_free_notify of zram)."""
    dequeue_slot(s, slot)
    entry = s.swap[slot]
    zs_free(s, cpu, entry.zspage)
    entry.obj = -1
    entry.next = s.stat.swap_free
    s.stat.swap_free = slot
    s.stat.nr_swap_pages += 1


@part(cold=True)
def free_swapped(s: View, cpu: int, obj: int) -> None:
    """The owner of a page in swap gives it up (zap_pte_range): it is not read again. ``s.obj`` is not changed."""
    s.stat.cpu = cpu
    s.stat.swap_freed += 1
    swap_entry_free(s, cpu, slot_of(s, obj))


@part
def put_in_slot(s: View, slot: int, obj: int, age: int, shadow: int) -> None:
    """The object's page, which was written to this slot, is dropped, with a shadow entry; it is used again, or not."""
    entry = s.swap[slot]
    entry.obj = obj
    entry.age = age
    entry.shadow = shadow
    at = 2 * (s.cfg.lru_first + obj)
    s.obj[obj] = OBJ_DROPPED
    s.lru[at] = slot
    s.lru[at + 1] = IN_SWAP
    if in_use(s, obj):
        queue_slot(s, slot)
