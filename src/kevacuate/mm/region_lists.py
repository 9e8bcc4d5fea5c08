# SPDX-License-Identifier: GPL-2.0-or-later
"""Free lists of every region, and which chunk of which region an allocation takes.

Models what "reliable 1GB page allocation" (40 patches of 2026-05-20, number 14) makes of a zone's free lists: each region has its
own, by order and type. Here they stand beside the zone's lists, so that the rest of the model goes on as it is. A region's list
is the zone's without what lies elsewhere; only what compaction does to the order of a list it does to the zone's alone.

They are threaded through ``link`` behind the zone's and the per-CPU lists' sentinels: a node a page, then a sentinel a list.
"""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm import constants as k
from kevacuate.mm.fields import View
from kevacuate.mm.lists import list_add, list_add_tail, list_del
from kevacuate.mm.regions import count_region_free, region_list, region_number


@part
def free_list_of_region(s: View, number: int, order: int, mt: int) -> int:
    """Index in ``link`` of the sentinel of a region's list of *order* and *mt*."""
    return s.cfg.region_link + s.cfg.npages + number * k.LISTS_PER_ZONE + order * k.NR_TYPES + mt


@part
def first_of_region(s: View, number: int, order: int, mt: int) -> int:
    """The first chunk of a region's list; -1 if it is empty."""
    head = free_list_of_region(s, number, order, mt)
    node = s.link[2 * head] + 0
    return -1 if node == head else node - s.cfg.region_link


@part(cold=True)
def link_in_region(s: View, pfn: int, order: int, mt: int, tail: bool) -> None:
    """Put a free chunk on its region's list of *mt*."""
    number = region_number(s, pfn)
    head = free_list_of_region(s, number, order, mt)
    if tail:
        list_add_tail(s, s.cfg.region_link + pfn, head)
    else:
        list_add(s, s.cfg.region_link + pfn, head)
    s.region[number].orders[mt] |= 1 << order


@part(cold=True)
def unlink_in_region(s: View, pfn: int, order: int) -> None:
    """Take a free chunk off its region's list, whichever type's that is."""
    node = s.cfg.region_link + pfn
    following, before = s.link[2 * node] + 0, s.link[2 * node + 1] + 0
    list_del(s, node)
    if following == before and following >= s.cfg.region_link + s.cfg.npages:
        mt = (following - s.cfg.region_link - s.cfg.npages) % k.NR_TYPES
        s.region[region_number(s, pfn)].orders[mt] &= ~(1 << order)


@part(cold=True)
def region_list_op(s: View, pfn: int, op: int, order: int, mt: int) -> None:
    """A free chunk was added to a list of *mt* (LIST_ADD, LIST_ADD_TAIL), deleted from it, or moved; *mt* is as the log has it.

    What rotates a list moves no chunk to another one.
    """
    if s.cfg.region_link:
        if op == k.LIST_DELETE:
            unlink_in_region(s, pfn, order)
        elif op == k.LIST_MOVE:
            unlink_in_region(s, pfn, order)
            link_in_region(s, pfn, order, mt >> 8, True)
        elif op == k.LIST_ADD or op == k.LIST_ADD_TAIL:
            link_in_region(s, pfn, order, mt, op == k.LIST_ADD_TAIL)
    if op == k.LIST_DELETE:
        count_region_free(s, pfn, order, -1)
    elif op == k.LIST_ADD or op == k.LIST_ADD_TAIL:
        count_region_free(s, pfn, order, 1)


@part
def smallest_of_region(s: View, number: int, order: int, mt: int) -> int:
    """The first chunk of a region's smallest sufficient list of *mt*; -1 if there is none."""
    orders = s.region[number].orders[mt] >> order
    if orders == 0:
        return -1
    while orders & 1 == 0:
        orders >>= 1
        order += 1
    return first_of_region(s, number, order, mt)


@part
def largest_of_region(s: View, number: int, order: int, most: int, mt: int) -> int:
    """The first chunk of a region's largest list of *mt* from *order* to *most*; -1 if there is none."""
    orders = s.region[number].orders[mt]
    for current in range(most, order - 1, -1):
        if orders >> current & 1:
            return first_of_region(s, number, current, mt)
    return -1


@part
def kept_for_unmovable(s: View, number: int) -> int:
    """Free pageblocks of a tainted region that movable requests leave to others (``region_reserve_*``)."""
    share = s.region[number].total * s.cfg.region_reserve_percent // 100
    return max(s.cfg.region_reserve_least, share)


@part(cold=True)
def find_in_regions(
    s: View, z: int, tainted: int, first: int, last: int, order: int, mt: int, reserve: bool
) -> int:
    """The chunk of *mt* for a request of *order* in the regions of classes *first* to *last*, fullest first; -1 if none has one.

    In each the smallest sufficient. *reserve*: regions are passed over that have no more free pageblocks than they keep.
    """
    for fullness in range(first, last + 1):
        head = region_list(s, z, tainted, fullness)
        number = s.region[head].next
        while number != head:
            if not reserve or s.region[number].nr_free > kept_for_unmovable(s, number):
                pfn = smallest_of_region(s, number, order, mt)
                if pfn >= 0:
                    return pfn
            number = s.region[number].next
    return -1
