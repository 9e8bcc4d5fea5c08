# SPDX-License-Identifier: GPL-2.0-or-later
"""The searches: a free chunk of one type, of an order in a range, in the most preferred region that has one.

All forms have one answer: of the buckets in the range the first that has such a chunk, in it the region of lowest number, in that
the smallest order (or the largest), in that the first on the list; -1 if there is none.
"""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.search.cost import bucket_line, look, node_line, region_line, touch, word_line
from kevacuate.search.fields import (
    BITMAPS,
    BY_REGION,
    CHUNKS_LOOKED_AT,
    FLAT,
    LINES,
    LISTS_LOOKED_AT,
    NR_ORDERS,
    NR_TYPES,
    REGIONS_LOOKED_AT,
    SETS_BY_BUCKET,
    SETS_BY_TYPE,
    WORDS_READ,
    SearchView,
)
from kevacuate.search.lists import bit, flat_head, region_head

NOT_WALKED = -2
"""The flat lists were too long to be walked: what that would have cost is counted."""


@part(inline=True)
def order_at(lo: int, hi: int, largest: int, i: int) -> int:
    """The *i*-th order that a search tries."""
    return hi - i if largest else lo + i


@part
def first_bit(word: int) -> int:
    """Number of the lowest bit that is set (__ffs)."""
    at = 0
    for step in (32, 16, 8, 4, 2, 1):
        if word & ((1 << step) - 1) == 0:
            word >>= step
            at += step
    return at


@part
def head_chunk(s: SearchView, form: int, region: int, order: int, mt: int) -> int:
    """The first chunk of a region's list; -1 if it is empty."""
    head = region_head(s, region, order, mt)
    look(s, form, LISTS_LOOKED_AT, 1)
    touch(s, form, node_line(s, head))
    node = s.link[2 * head] + 0
    if node == head:
        return -1
    look(s, form, CHUNKS_LOOKED_AT, 1)
    return node - s.cfg.region_nodes


@part
def find_by_region(s: SearchView, mt: int, lo: int, hi: int, largest: int, first: int, last: int) -> int:
    """Walk the regions, bucket by bucket, and look at each one's lists."""
    for bucket in range(first, last):
        touch(s, BY_REGION, bucket_line(bucket))
        region = s.bucket[bucket] + 0
        while region >= 0:
            look(s, BY_REGION, REGIONS_LOOKED_AT, 1)
            touch(s, BY_REGION, region_line(region))
            for i in range(hi - lo + 1):
                pfn = head_chunk(s, BY_REGION, region, order_at(lo, hi, largest, i), mt)
                if pfn >= 0:
                    return pfn
            region = s.region[region].next
    return -1


@part(inline=True)
def order_set(form: int, order: int, mt: int) -> int:
    """The bitmap that says which regions have a chunk of *order*: of any type, or of *mt*."""
    return order if form == BITMAPS else SETS_BY_TYPE + NR_ORDERS * mt + order


@part
def read_word(s: SearchView, form: int, which: int, at: int) -> int:
    """A word of a bitmap."""
    word = which * s.cfg.words + at
    look(s, form, WORDS_READ, 1)
    touch(s, form, word_line(word))
    return s.bits[word] + 0


@part
def first_in_region(s: SearchView, form: int, region: int, mt: int, lo: int, hi: int, largest: int) -> int:
    """The first chunk of a region's lists, of those orders whose bitmaps name the region; -1 if these lists are empty."""
    look(s, form, REGIONS_LOOKED_AT, 1)
    for i in range(hi - lo + 1):
        order = order_at(lo, hi, largest, i)
        if read_word(s, form, order_set(form, order, mt), region >> 6) & bit(region) != 0:
            pfn = head_chunk(s, form, region, order, mt)
            if pfn >= 0:
                return pfn
    return -1


@part
def find_by_bits(
    s: SearchView, form: int, mt: int, lo: int, hi: int, largest: int, first: int, last: int
) -> int:
    """AND a bucket's bitmap with those of the orders, find the first region, and look at those of its lists that the bits name.

    The orders' words are ORed once a search, when a bucket first needs them. A bitmap per order says nothing of types: then the
    lists may turn out to be empty, and the next region is tried.
    """
    known = 0
    for bucket in range(first, last):
        for at in range(s.cfg.words):
            word = read_word(s, form, SETS_BY_BUCKET + bucket, at)
            if word == 0:
                continue
            if known >> at & 1 == 0:
                known |= 1 << at
                some = 0
                for order in range(lo, hi + 1):
                    some |= read_word(s, form, order_set(form, order, mt), at)
                s.some[at] = some
            word &= s.some[at]
            while word != 0:
                region = 64 * at + first_bit(word)
                pfn = first_in_region(s, form, region, mt, lo, hi, largest)
                if pfn >= 0:
                    return pfn
                word ^= bit(region)
    return -1


@part
def regions_with(s: SearchView, mt: int, lo: int, hi: int) -> int:
    """How many regions have a chunk of *mt* of one of the orders: each one's record is a line that a walk touches."""
    count = 0
    for at in range(s.cfg.words):
        word = 0
        for order in range(lo, hi + 1):
            word |= s.bits[(SETS_BY_TYPE + NR_ORDERS * mt + order) * s.cfg.words + at]
        while word != 0:
            word ^= bit(first_bit(word))
            count += 1
    return count


@part
def find_by_walk(s: SearchView, mt: int, lo: int, hi: int, largest: int, first: int, last: int) -> int:
    """Walk the whole flat lists, and look up every chunk's region. Each chunk has a line, and each region of one.

    What the walk of a pass costs is known without walking; only the lists' heads are told apart from what other passes touched.
    """
    chunks = 0
    for order in range(lo, hi + 1):
        chunks += s.nr_free[order * NR_TYPES + mt]
        touch(s, FLAT, node_line(s, flat_head(s, order, mt)))
    look(s, FLAT, LISTS_LOOKED_AT, hi - lo + 1)
    look(s, FLAT, CHUNKS_LOOKED_AT, chunks)
    if s.cfg.counting:
        look(s, FLAT, LINES, chunks + regions_with(s, mt, lo, hi))
    if chunks > s.cfg.longest_walk:
        s.stat.not_walked += 1
        return NOT_WALKED
    found, best = -1, 1 << 60
    for i in range(hi - lo + 1):
        head = flat_head(s, order_at(lo, hi, largest, i), mt)
        node = s.link[2 * head] + 0
        while node != head:
            region = node >> s.cfg.region_order
            bucket = s.region[region].bucket
            rank = (bucket * s.cfg.nr_regions + region) * 16 + i
            if first <= bucket < last and rank < best:
                found, best = node, rank
            node = s.link[2 * node] + 0
    return found


@part
def find(s: SearchView, form: int, mt: int, lo: int, hi: int, largest: int, first: int, last: int) -> int:
    """One form's answer: the page or -1; NOT_WALKED."""
    if form == FLAT:
        return find_by_walk(s, mt, lo, hi, largest, first, last)
    if form == BY_REGION:
        return find_by_region(s, mt, lo, hi, largest, first, last)
    return find_by_bits(s, form, mt, lo, hi, largest, first, last)
