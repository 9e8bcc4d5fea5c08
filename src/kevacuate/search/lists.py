# SPDX-License-Identifier: GPL-2.0-or-later
"""The free lists in all forms: a chunk is added, deleted, or changes type; what that costs each form.

The flat lists are mainline's. A region's lists hold its chunks in the order in which the flat list of that order and type does:
both are added to at the same end. So the first chunk of a region's list is the first of that region on the flat list.
"""

from __future__ import annotations

from typing import Any

from kevacuate.jit import part
from kevacuate.mm import lists
from kevacuate.search.cost import look, node_line, nr_free_line, region_line, touch, word_line
from kevacuate.search.fields import (
    BITMAPS,
    BY_REGION,
    CHUNK_FREE,
    FLAT,
    FLIPS,
    LISTS,
    MAINLINE,
    NR_FORMS,
    NR_ORDERS,
    NR_TYPES,
    SETS_BY_TYPE,
    STATE_MASK,
    T_ADD,
    T_ADD_TAIL,
    T_DELETE,
    TYPED_BITMAPS,
    SearchView,
)

list_add: Any = lists.list_add
list_add_tail: Any = lists.list_add_tail
list_del: Any = lists.list_del


@part(inline=True)
def flat_head(s: SearchView, order: int, mt: int) -> int:
    """Index in ``link`` of the flat list of *order* and *mt*."""
    return s.cfg.npages + order * NR_TYPES + mt


@part(inline=True)
def region_head(s: SearchView, region: int, order: int, mt: int) -> int:
    """Index in ``link`` of a region's list of *order* and *mt*."""
    return s.cfg.region_lists + region * LISTS + order * NR_TYPES + mt


@part(inline=True)
def bit(region: int) -> int:
    """A region's bit in its word: the last one is the sign."""
    at = region & 63
    return 1 << at if at < 63 else -0x8000000000000000


@part
def flip(s: SearchView, which: int, region: int, form: int) -> None:
    """Change a region's bit in one bitmap, for the *form* that keeps it."""
    word = which * s.cfg.words + (region >> 6)
    s.bits[word] ^= bit(region)
    look(s, form, FLIPS, 1)
    touch(s, form, word_line(word))


@part
def trace(s: SearchView, op: int, a: int, b: int, c: int) -> None:
    """Note what was done, for the C twin."""
    n = s.stat.nr_trace
    if n < s.cfg.trace_capacity:
        s.trace[4 * n] = op
        s.trace[4 * n + 1] = a
        s.trace[4 * n + 2] = b
        s.trace[4 * n + 3] = c
    s.stat.nr_trace = n + 1


@part
def touch_link(s: SearchView, form: int, node: int) -> None:
    """A node and both its neighbours are touched."""
    touch(s, form, node_line(s, node))
    touch(s, form, node_line(s, s.link[2 * node] + 0))
    touch(s, form, node_line(s, s.link[2 * node + 1] + 0))


@part
def count_chunk(s: SearchView, pfn: int, order: int, sign: int) -> None:
    """A region's counters of free pages and chunks, by one chunk up or down."""
    number = pfn >> s.cfg.region_order
    region = s.region[number]
    region.nr_free += sign << order
    if order >= s.cfg.pageblock_order:
        region.free_blocks += sign << (order - s.cfg.pageblock_order)
    before = region.chunks[order]
    region.chunks[order] = before + sign
    touch(s, FLAT, nr_free_line(-1, order))
    if s.cfg.rule != MAINLINE:
        touch(s, FLAT, region_line(number))
    if s.cfg.regional:
        for form in range(BY_REGION, NR_FORMS):
            touch(s, form, nr_free_line(number, order))
            touch(s, form, region_line(number))
        if before + min(sign, 0) == 0:
            flip(s, order, number, BITMAPS)


@part
def add_chunk(s: SearchView, pfn: int, order: int, mt: int, tail: bool) -> None:
    """Put a free chunk on its lists, at the head or the tail (__add_to_free_list)."""
    trace(s, T_ADD_TAIL if tail else T_ADD, pfn, order, mt)
    s.meta[pfn] = CHUNK_FREE | mt << 4 | order
    head = flat_head(s, order, mt)
    if tail:
        list_add_tail(s, pfn, head)
    else:
        list_add(s, pfn, head)
    s.nr_free[order * NR_TYPES + mt] += 1
    touch_link(s, FLAT, pfn)
    if s.cfg.regional:
        region, node = pfn >> s.cfg.region_order, s.cfg.region_nodes + pfn
        head = region_head(s, region, order, mt)
        if s.link[2 * head] == head:
            flip(s, SETS_BY_TYPE + NR_ORDERS * mt + order, region, TYPED_BITMAPS)
        if tail:
            list_add_tail(s, node, head)
        else:
            list_add(s, node, head)
        for form in range(BY_REGION, NR_FORMS):
            touch_link(s, form, node)
    count_chunk(s, pfn, order, 1)


@part
def delete_chunk(s: SearchView, pfn: int) -> int:
    """Take a free chunk off its lists (__del_page_from_free_list); its order and type, as in ``meta``."""
    meta = s.meta[pfn] + 0
    order, mt = meta & 15, meta >> 4 & 3
    trace(s, T_DELETE, pfn, order, mt)
    touch_link(s, FLAT, pfn)
    list_del(s, pfn)
    s.nr_free[order * NR_TYPES + mt] -= 1
    s.meta[pfn] = 0
    if s.cfg.regional:
        region, node = pfn >> s.cfg.region_order, s.cfg.region_nodes + pfn
        for form in range(BY_REGION, NR_FORMS):
            touch_link(s, form, node)
        list_del(s, node)
        head = region_head(s, region, order, mt)
        if s.link[2 * head] == head:
            flip(s, SETS_BY_TYPE + NR_ORDERS * mt + order, region, TYPED_BITMAPS)
    count_chunk(s, pfn, order, -1)
    return meta & 63


@part
def retype_block(s: SearchView, start: int, mt: int) -> None:
    """Give a pageblock the type *mt*, and move its free chunks to the tails of that type's lists (__move_freepages_block)."""
    pfn, end = start, start + (1 << s.cfg.pageblock_order)
    while pfn < end:
        meta = s.meta[pfn] + 0
        order = meta & 15
        if meta & STATE_MASK == CHUNK_FREE:
            delete_chunk(s, pfn)
            add_chunk(s, pfn, order, mt, True)
        pfn += 1 << order
    s.block[start >> s.cfg.pageblock_order] = mt
