# SPDX-License-Identifier: GPL-2.0-or-later
"""Mainline's choice on the flat lists (mm/page_alloc.c, 7.2), and patches 11 and 12 of the series, which look ahead on them.

Patch 11: a kernel request that is about to claim a block of a clean region looks at up to eight more entries of the list for one
in a tainted region. Patch 12: a movable request that takes a whole pageblock looks for one in the fullest clean region that has a
free one, among as many entries.
"""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm.fallback import fallback_type
from kevacuate.search.buckets import MOVABLE, is_tainted
from kevacuate.search.cost import bucket_line, look, node_line, region_line, touch
from kevacuate.search.fields import (
    CHUNK_FREE,
    CHUNKS_LOOKED_AT,
    CLASSES,
    CLEAN,
    EMPTY,
    FLAT,
    LISTS_LOOKED_AT,
    LOOK_AHEAD,
    REGIONS_LOOKED_AT,
    STATE_MASK,
    T_FIND,
    SearchView,
)
from kevacuate.search.lists import flat_head, retype_block, trace
from kevacuate.search.passes import BORROW, CLAIM, TAKE


@part
def first_on(s: SearchView, order: int, mt: int) -> int:
    """The first chunk of a flat list; -1 if it is empty."""
    head = flat_head(s, order, mt)
    look(s, FLAT, LISTS_LOOKED_AT, 1)
    touch(s, FLAT, node_line(s, head))
    node = s.link[2 * head] + 0
    if node == head:
        return -1
    look(s, FLAT, CHUNKS_LOOKED_AT, 1)
    return node


@part
def fullest_clean_region(s: SearchView) -> int:
    """The fullest clean region with a free pageblock; -1 if there is none."""
    for bucket in range(CLEAN * CLASSES, EMPTY * CLASSES):
        touch(s, FLAT, bucket_line(bucket))
        region = s.bucket[bucket] + 0
        while region >= 0:
            look(s, FLAT, REGIONS_LOOKED_AT, 1)
            touch(s, FLAT, region_line(region))
            if s.region[region].free_blocks > 0:
                return region
            region = s.region[region].next
    return -1


@part
def look_ahead(s: SearchView, pfn: int, order: int, mt: int, region: int) -> int:
    """*pfn*, or of the entries behind it the first in *region* (-1: in any tainted region)."""
    head = flat_head(s, order, mt)
    node = pfn
    for _ in range(s.cfg.look_ahead + 1):
        if node == head:
            break
        number = node >> s.cfg.region_order
        touch(s, FLAT, node_line(s, node))
        touch(s, FLAT, region_line(number))
        if node != pfn:
            look(s, FLAT, CHUNKS_LOOKED_AT, 1)
        if number == region or (region < 0 and is_tainted(s, number)):
            return node
        node = s.link[2 * node] + 0
    return pfn


@part
def smallest(s: SearchView, order: int, mt: int) -> int:
    """__rmqueue_smallest: the head of the smallest sufficient list; -1 if there is none."""
    found = smallest_head(s, order, mt)
    trace(s, T_FIND, mt | order << 4 | s.cfg.max_page_order << 8, 0, found)
    return found


@part
def smallest_head(s: SearchView, order: int, mt: int) -> int:
    """The same, untold."""
    for current in range(order, s.cfg.max_page_order + 1):
        pfn = first_on(s, current, mt)
        if pfn < 0:
            continue
        if s.cfg.rule == LOOK_AHEAD and mt == MOVABLE and current >= s.cfg.pageblock_order:
            region = fullest_clean_region(s)
            if region >= 0:
                return look_ahead(s, pfn, current, mt, region)
        return pfn
    return -1


@part
def half_is_alike(s: SearchView, start: int, mt: int, block_mt: int) -> bool:
    """try_to_claim_block's rule: half of the block is free or alike (:2342); what can move is what was asked for as movable."""
    free, movable, pfn = 0, 0, start
    end = start + (1 << s.cfg.pageblock_order)
    while pfn < end:
        meta = s.meta[pfn] + 0
        pages = 1 << (meta & 15)
        if meta & STATE_MASK == CHUNK_FREE:
            free += pages
        elif meta >> 4 & 3 == MOVABLE and meta & STATE_MASK != STATE_MASK:
            movable += pages
        pfn += pages
    alike = 0
    if mt == MOVABLE:
        alike = movable
    elif block_mt == MOVABLE:
        alike = end - start - free - movable
    return free + alike >= (end - start) // 2


@part
def claim(s: SearchView, order: int, mt: int) -> tuple[int, int]:
    """__rmqueue_claim: from the largest order down, one candidate each. (page or -1, what is done with it)."""
    for current in range(s.cfg.max_page_order, order - 1, -1):
        if mt == MOVABLE and current < s.cfg.pageblock_order // 2:
            return -1, TAKE
        pfn, other = fallback(s, current, mt)
        if pfn < 0:
            continue
        if s.cfg.rule == LOOK_AHEAD and mt != MOVABLE and not is_tainted(s, pfn >> s.cfg.region_order):
            pfn = look_ahead(s, pfn, current, other, -1)
        if current >= s.cfg.pageblock_order:
            return pfn, CLAIM
        start = pfn >> s.cfg.pageblock_order << s.cfg.pageblock_order
        if half_is_alike(s, start, mt, other):
            retype_block(s, start, mt)
            s.stat.block_claims += 1
            return smallest(s, order, mt), TAKE
    return -1, TAKE


@part
def fallback(s: SearchView, order: int, mt: int) -> tuple[int, int]:
    """find_suitable_fallback: the first chunk of *order* on another type's list, and that type; -1 if there is none."""
    for i in range(2):
        other = fallback_type(mt, i)
        pfn = first_on(s, order, other)
        if pfn >= 0:
            return pfn, other
    return -1, mt


@part
def rmqueue(s: SearchView, order: int, mt: int) -> tuple[int, int]:
    """__rmqueue: the own lists, then a claim, then a steal. (page or -1, what is done with it)."""
    pfn = smallest(s, order, mt)
    if pfn >= 0:
        return pfn, TAKE
    pfn, action = claim(s, order, mt)
    if pfn >= 0:
        return pfn, action
    for current in range(order, s.cfg.max_page_order + 1):
        pfn, _ = fallback(s, current, mt)
        if pfn >= 0:
            return pfn, BORROW
    return -1, TAKE
