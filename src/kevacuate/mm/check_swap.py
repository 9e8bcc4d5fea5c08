# SPDX-License-Identifier: GPL-2.0-or-later
"""Invariants of swap: every slot is free or has an object's page, every zspage is on the list of its group. For :mod:`.check`."""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm import constants as k
from kevacuate.mm.fields import View
from kevacuate.mm.swapfile import is_in_swap, slot_of
from kevacuate.mm.zsmalloc import get_fullness_group, zspage_page

SLOTS_WRONG, ZSPAGES_WRONG, QUEUE_WRONG = 29, 30, 31
"""Codes of :data:`kevacuate.mm.check.PROBLEMS`."""


@part
def stack_length(s: View, at: int, most: int) -> int:
    """Records of a stack; *most* and one if it runs in circles."""
    length = 0
    while at >= 0 and length <= most:
        length += 1
        at = s.swap[at].next + 0
    return length


@part
def check_slots(s: View) -> tuple[int, int]:
    """Slots: (pages in swap, or -1 if something is wrong, where)."""
    used = 0
    for slot in range(s.cfg.swap_pages):
        obj = s.swap[slot].obj + 0
        if obj < 0:
            continue
        used += 1
        zspage = s.swap[slot].zspage + 0
        stored = s.cfg.swap_pages <= zspage < s.cfg.zs_heads
        if not is_in_swap(s, obj) or slot_of(s, obj) != slot or not stored or s.swap[zspage].inuse < 1:
            return -1, slot
    free = stack_length(s, s.stat.swap_free + 0, s.cfg.swap_pages)
    if free != s.stat.nr_swap_pages or free + used != s.cfg.swap_pages:
        return -1, 0
    return used, 0


@part
def zspage_whole(s: View, at: int) -> bool:
    """Whether all pages of a zspage are there, and are its own."""
    obj = zspage_page(s, at)
    for i in range(s.cfg.zs_chain):
        pfn = s.obj[obj + i] + 0
        if pfn < 0 or s.link[2 * pfn] != obj + i or not s.link[2 * pfn + 1] & k.ATTR_MOVABLE_OPS:
            return False
        state = s.meta[pfn] >> 4
        if state != k.CHUNK_ALLOC and state != k.CHUNK_ISOLATED:
            return False
    return True


@part
def check_zspages(s: View, used: int) -> int:
    """The record of a zspage that is wrong, -1 if none is: together they have *used* objects."""
    listed = 0
    objects = 0
    for group in range(k.NR_ZS_FULLNESS):
        head = s.cfg.zs_heads + group
        before = head
        at = s.swap[head].next + 0
        while at != head:
            listed += 1
            inuse = s.swap[at].inuse + 0
            objects += inuse
            wrong = s.swap[at].prev != before or get_fullness_group(s, inuse) != group or inuse < 1
            if wrong or listed > s.cfg.nr_zspages or not zspage_whole(s, at):
                return at
            before = at
            at = s.swap[at].next + 0
    free = stack_length(s, s.stat.zspage_free + 0, s.cfg.nr_zspages)
    return -1 if objects == used and listed + free == s.cfg.nr_zspages else 0


@part
def check_queue(s: View, used: int) -> int:
    """The slot at which the queue of pages to be used again is wrong, -1 if it is right."""
    before = -1
    queued = 0
    due = s.stat.swap_due + 0
    slot = s.stat.swap_first + 0
    if slot < 0:
        return -1 if due == k.NEVER and s.stat.swap_last < 0 else 0
    if s.swap[slot].due != due:
        return slot
    while slot >= 0:
        queued += 1
        entry = s.swap[slot]
        if entry.obj < 0 or entry.prev != before or entry.due < due or entry.due == k.NEVER or queued > used:
            return slot
        due = entry.due + 0
        before = slot
        slot = entry.next + 0
    return -1 if s.stat.swap_last == before else before


@part
def check_swap(s: View) -> tuple[int, int]:
    """All of it: (code of a problem or 0, where)."""
    used, where = check_slots(s)
    if used < 0:
        return SLOTS_WRONG, where
    where = check_zspages(s, used)
    if where >= 0:
        return ZSPAGES_WRONG, where
    where = check_queue(s, used)
    return (QUEUE_WRONG, where) if where >= 0 else (0, 0)
