# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading a page from swap when it is used again: do_swap_page (mm/memory.c, 7.2), for a synchronous device.

Such a device is read without readahead, into a page of order 0: 7.2 takes larger ones of a size that the administrator has
enabled, which none is by default. Its slot is free at once (should_try_to_free_swap).
"""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm import constants as k
from kevacuate.mm.fields import View
from kevacuate.mm.page_alloc import alloc_pages_for
from kevacuate.mm.swapfile import dequeue_slot, queue_slot, slot_of, swap_entry_free


@part(cold=True)
def do_swap_page(s: View, cpu: int, obj: int) -> None:
    """A fault on an object whose page is in swap. Where no memory is to be had the page stays there, and is used later."""
    slot = slot_of(s, obj)
    dequeue_slot(s, slot)
    pfn = alloc_pages_for(s, cpu, 0, k.MIGRATE_MOVABLE, k.GFP_HIGHUSER_MOVABLE, k.ATTR_LRU, obj)
    if pfn >= 0:
        swap_entry_free(s, cpu, slot)
        s.stat.pswpin += 1
        return
    s.stat.swpin_failed += 1
    s.obj[obj] = k.OBJ_DROPPED
    queue_slot(s, slot)


@part(cold=True)
def used_again(s: View) -> None:
    """The page whose use is due is used. Approximate: by the CPU that its object's number names, as nobody knows its task."""
    obj = s.swap[s.stat.swap_first].obj + 0
    do_swap_page(s, obj % s.cfg.nr_cpus, obj)
