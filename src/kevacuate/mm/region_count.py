# SPDX-License-Identifier: GPL-2.0-or-later
"""Regions counted from the pages: when a machine is made, and to check what is kept of them (:mod:`kevacuate.mm.regions`)."""

from __future__ import annotations

import numpy as np

from kevacuate.jit import kernel, part, pointers
from kevacuate.mm import constants as k
from kevacuate.mm.fields import Region, View
from kevacuate.mm.layout import State
from kevacuate.mm.movable import can_move
from kevacuate.mm.region_lists import free_list_of_region, link_in_region
from kevacuate.mm.regions import fullness_of, region_list, region_number, relist_region
from kevacuate.records import Words

FREE, RESERVED = 3, 4
"""Places in the scratch of a count beside the three types that pages are in use for."""
COUNTED = 12
"""Words of scratch: of a pageblock pages by place, then of a region pageblocks by place, highatomic ones, free pages."""
_REGION, _HIGHATOMIC, _FREE_PAGES = 5, 10, 11


@part(cold=True)
def count_block(s: View, start: int, head: int, counted: Words) -> int:
    """Count a pageblock's pages by what they are in use for; *head* is the chunk that reaches into it, or its own first.

    Returns the chunk that reaches into the next block, or that block's first page; -1 for a chunk in use for nothing.
    """
    for i in range(_REGION):
        counted[i] = 0
    end = start + (1 << s.cfg.pageblock_order)
    pfn = start
    while pfn < end:
        meta = s.meta[head] + 0
        behind = head + (1 << (meta & 15))
        pages = min(behind, end) - pfn
        if meta >> 4 == k.CHUNK_BUDDY:
            counted[FREE] += pages
        elif meta >> 4 == k.CHUNK_RESERVED:
            counted[RESERVED] += pages
        elif s.block[s.cfg.region_note + head] == 0:
            return -1
        else:
            counted[s.block[s.cfg.region_note + head] - 1] += pages
        pfn += pages
        if pfn == behind:
            head = pfn
    return head


@part(cold=True)
def count_region(s: View, region: Region, counted: Words, write: bool) -> int:
    """Count a region from its pages: pageblocks by what they hold. Returns the first pfn of a wrong pageblock, -1 if none is.

    *write*: what is kept of its pageblocks is made what was counted.
    """
    for i in range(_REGION, COUNTED):
        counted[i] = 0
    block_pages = 1 << s.cfg.pageblock_order
    first = region.start_pfn >> s.cfg.pageblock_order
    head = first << s.cfg.pageblock_order
    for block in range(first, first + region.total):
        head = count_block(s, block << s.cfg.pageblock_order, head, counted)
        if head < 0:
            return block << s.cfg.pageblock_order
        content = s.pageblock[block]
        if write:
            content.nr_free = counted[FREE]
        elif content.nr_free != counted[FREE]:
            return block << s.cfg.pageblock_order
        for mt in range(k.MIGRATE_PCPTYPES):
            if write:
                content.nr_used[mt] = counted[mt]
            elif content.nr_used[mt] != counted[mt]:
                return block << s.cfg.pageblock_order
            counted[_REGION + mt] += int(counted[mt] > 0)
        counted[_REGION + FREE] += int(counted[FREE] == block_pages)
        counted[_REGION + RESERVED] += int(counted[RESERVED] == block_pages)
        counted[_FREE_PAGES] += counted[FREE]
        counted[_HIGHATOMIC] += int(s.block[2 * block] & k.PB_TYPE_MASK == k.MIGRATE_HIGHATOMIC)
    return -1


@part(cold=True)
def region_differs(s: View, region: Region, counted: Words) -> bool:
    """Whether what is kept of a region is not what was counted of it."""
    for mt in range(k.MIGRATE_PCPTYPES):
        if region.nr_used[mt] != counted[_REGION + mt]:
            return True
    unclean = (
        counted[_REGION + k.MIGRATE_UNMOVABLE]
        + counted[_REGION + k.MIGRATE_RECLAIMABLE]
        + counted[_HIGHATOMIC]
    )
    return (
        region.nr_free != counted[_REGION + FREE]
        or region.nr_reserved != counted[_REGION + RESERVED]
        or region.nr_highatomic != counted[_HIGHATOMIC]
        or region.nr_free_pages != counted[_FREE_PAGES]
        or region.tainted != int(unclean > 0)
        or region.fullness != fullness_of(s, region)
    )


@part(cold=True)
def check_region_lists(s: View) -> int:
    """Whether every region is on its list, in the order of addresses: -1, or the number of one that is not."""
    listed = 0
    for z in range(s.cfg.nr_zones):
        for tainted in range(2):
            for fullness in range(k.NR_FULLNESS):
                head = region_list(s, z, tainted, fullness)
                before = head
                number = s.region[head].next
                while number != head:
                    region = s.region[number]
                    if region.prev != before or (before != head and before >= number):
                        return number
                    if region.zone != z or region.tainted != tainted or region.fullness != fullness:
                        return number
                    listed += 1
                    before = number
                    number = region.next
                if s.region[head].prev != before:
                    return head
    for number in range(s.cfg.nr_regions):
        listed += int(s.region[number].fullness < 0)
    return -1 if listed == s.cfg.nr_regions else listed


@part(cold=True)
def check_regions(s: View, counted: Words) -> tuple[int, int]:
    """All regions against their pages. Returns (code of :data:`kevacuate.mm.check.PROBLEMS` or 0, pfn or number)."""
    for number in range(s.cfg.nr_regions):
        region = s.region[number]
        wrong = count_region(s, region, counted, False)
        if wrong >= 0:
            return 24, wrong
        if region_differs(s, region, counted):
            return 25, region.start_pfn
    wrong = check_region_lists(s)
    if wrong >= 0:
        return 26, wrong
    wrong = check_free_lists_of_regions(s) if s.cfg.region_link else -1
    return (0, 0) if wrong < 0 else (27, wrong)


@part(cold=True)
def link_regions(s: View) -> None:
    """Put every free chunk on its region's list, in the order of the zone's."""
    for number in range(s.cfg.nr_regions):
        for order in range(k.NR_ORDERS):
            for mt in range(k.NR_TYPES):
                head = free_list_of_region(s, number, order, mt)
                s.link[2 * head] = s.link[2 * head + 1] = head
        for mt in range(k.NR_TYPES):
            s.region[number].orders[mt] = 0
    for z in range(s.cfg.nr_zones):
        for order in range(s.cfg.max_page_order + 1):
            for mt in range(k.MIGRATE_TYPES):
                head = s.cfg.npages + z * k.LISTS_PER_ZONE + order * k.NR_TYPES + mt
                pfn = s.link[2 * head] + 0
                while pfn != head:
                    link_in_region(s, pfn, order, mt, True)
                    pfn = s.link[2 * pfn] + 0


@part(cold=True)
def check_free_list_of_region(s: View, number: int, order: int, mt: int) -> int:
    """How many pages lie on a region's list; -1 if it holds what it should not, its links disagree, or its bit does."""
    head = free_list_of_region(s, number, order, mt)
    before, pages = head, 0
    node = s.link[2 * head] + 0
    while node != head:
        pfn = node - s.cfg.region_link
        if s.link[2 * node + 1] != before or pfn < 0 or pfn >= s.cfg.npages:
            return -1
        if s.meta[pfn] != (k.CHUNK_BUDDY << 4 | order) or region_number(s, pfn) != number:
            return -1
        pages += 1 << order
        before = node
        node = s.link[2 * node] + 0
    listed = s.region[number].orders[mt] >> order & 1
    return pages if s.link[2 * head + 1] == before and listed == int(pages > 0) else -1


@part(cold=True)
def check_free_lists_of_regions(s: View) -> int:
    """Whether every region's lists hold its free pages: -1, or its number."""
    for number in range(s.cfg.nr_regions):
        pages = 0
        for order in range(s.cfg.max_page_order + 1):
            for mt in range(k.NR_TYPES):
                some = check_free_list_of_region(s, number, order, mt)
                if some < 0:
                    return number
                pages += some
        if pages != s.region[number].nr_free_pages:
            return number
    return -1


@kernel
def count_regions(sa: State, counted: Words) -> bool:
    """Make what is kept of all regions what their pages say; False if a chunk in use is noted for nothing."""
    s = pointers(sa)
    for head in range(s.cfg.nr_regions, s.cfg.nr_regions + 2 * k.NR_FULLNESS * s.cfg.nr_zones):
        s.region[head].next = s.region[head].prev = head
    for number in range(s.cfg.nr_regions):
        region = s.region[number]
        if count_region(s, region, counted, True) >= 0:
            return False
        for mt in range(k.MIGRATE_PCPTYPES):
            region.nr_used[mt] = counted[_REGION + mt]
        region.nr_free = counted[_REGION + FREE]
        region.nr_reserved = counted[_REGION + RESERVED]
        region.nr_highatomic = counted[_HIGHATOMIC]
        region.nr_free_pages = counted[_FREE_PAGES]
        region.fullness = -1
        unclean = (
            region.nr_used[k.MIGRATE_UNMOVABLE] + region.nr_used[k.MIGRATE_RECLAIMABLE] + region.nr_highatomic
        )
        relist_region(s, number, int(unclean > 0), fullness_of(s, region))
    s.stat.regions_tainted = s.stat.regions_cleaned = 0
    if s.cfg.region_link:
        link_regions(s)
    return True


def load_regions(state: State) -> None:
    """Note what the chunks of a start state are in use for, then count its regions; nothing where none are kept.

    The requests of chunks that were in use at the start are not known. What can move counts as taken for movable requests, the
    rest for reclaimable ones in blocks of that type, for unmovable ones elsewhere.
    """
    cfg = state.view.cfg
    if not cfg.region_order:
        return
    chunk = state.meta >> 4
    heads = np.flatnonzero((chunk != k.CHUNK_TAIL) & (chunk != k.CHUNK_BUDDY) & (chunk != k.CHUNK_RESERVED))
    block_mt = state.block[2 * (heads >> cfg.pageblock_order)] & k.PB_TYPE_MASK
    movable = np.asarray(can_move(state.link[2 * heads + 1].astype(np.int64)), np.bool_)
    fixed = np.where(block_mt == k.MIGRATE_RECLAIMABLE, k.MIGRATE_RECLAIMABLE, k.MIGRATE_UNMOVABLE)
    kept = np.where(block_mt < k.MIGRATE_PCPTYPES, block_mt, k.MIGRATE_MOVABLE)
    mt = np.where(chunk[heads] == k.CHUNK_PCP, kept, np.where(movable, k.MIGRATE_MOVABLE, fixed))
    state.block[cfg.region_note + heads] = mt + 1
    counted = count_regions(state, np.zeros(COUNTED, np.int64))
    assert counted, "a chunk in use is noted for nothing"
