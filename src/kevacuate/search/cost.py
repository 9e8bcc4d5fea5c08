# SPDX-License-Identifier: GPL-2.0-or-later
"""Counting what an operation costs each form: what is looked at, and which cache lines of 64 bytes are touched.

A line counts once an operation. Where it lies follows the kernel's structures (7.2, x86-64): a struct page has a line of its own;
struct free_area is six list heads of 16 bytes and nr_free, 104 bytes, eleven of them a zone or a region; a region's counters are
one line (48 bytes in the series' first posting); a bitmap's words are 8 bytes, its bitmaps one behind the other; a bucket's list
head is 16 bytes. Lines that every form touches alike (the pageblock's type, the zone's own counters) are not counted.
"""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.search.fields import (
    FLIPS,
    LINES,
    MOST_LINES,
    NR_FORMS,
    NR_MEASURES,
    NR_ORDERS,
    NR_TYPES,
    SearchView,
)

LINE = 64
HEAD_BYTES = 16
FREE_AREA_BYTES = 6 * HEAD_BYTES + 8
REGION_LIST_BYTES = (11 * FREE_AREA_BYTES + LINE - 1) // LINE * LINE
REGION_BYTES = LINE
WORD_BYTES = 8

_PAGES = 1 << 40
_FLAT = 2 << 40
_BY_REGION = 3 << 40
_REGIONS = 4 << 40
_BITS = 5 << 40
_BUCKETS = 6 << 40

EXACT = 256
BINS = EXACT + 32 * 16


@part(inline=True)
def look(s: SearchView, form: int, measure: int, n: int) -> None:
    """Count *n* more of *measure* for the operation under way."""
    if s.cfg.counting:
        s.cost[form].measure[measure] += n


@part
def touch(s: SearchView, form: int, line: int) -> None:
    """Count a cache line, once an operation."""
    if s.cfg.counting == 0:
        return
    cost = s.cost[form]
    n = cost.measure[LINES]
    for i in range(min(n, MOST_LINES)):
        if cost.line[i] == line:
            return
    if n < MOST_LINES:
        cost.line[n] = line
    cost.measure[LINES] = n + 1


@part(inline=True)
def node_line(s: SearchView, node: int) -> int:
    """The line of a page or of a list's head, by its index in ``link``."""
    if node < s.cfg.npages:
        return _PAGES + node
    if node < s.cfg.region_nodes:
        at = node - s.cfg.npages
        return _FLAT + (at // NR_TYPES * FREE_AREA_BYTES + at % NR_TYPES * HEAD_BYTES) // LINE
    if node < s.cfg.region_lists:
        return _PAGES + node - s.cfg.region_nodes
    at = node - s.cfg.region_lists
    order, region = at // NR_TYPES % NR_ORDERS, at // (NR_TYPES * NR_ORDERS)
    byte = region * REGION_LIST_BYTES + order * FREE_AREA_BYTES + at % NR_TYPES * HEAD_BYTES
    return _BY_REGION + byte // LINE


@part(inline=True)
def nr_free_line(region: int, order: int) -> int:
    """The line of a list's count of free chunks: of a region's lists, or (region -1) of the zone's."""
    byte = order * FREE_AREA_BYTES + 6 * HEAD_BYTES
    if region < 0:
        return _FLAT + byte // LINE
    return _BY_REGION + (region * REGION_LIST_BYTES + byte) // LINE


@part(inline=True)
def region_line(region: int) -> int:
    """The line of a region's counters."""
    return _REGIONS + region


@part(inline=True)
def bucket_line(bucket: int) -> int:
    """The line of the head of a bucket's list."""
    return _BUCKETS + bucket * HEAD_BYTES // LINE


@part(inline=True)
def word_line(word: int) -> int:
    """The line of a word of the bitmaps."""
    return _BITS + word * WORD_BYTES // LINE


@part(inline=True)
def bin_of(value: int) -> int:
    """Where a value is counted: exactly below EXACT, then in 16 steps an octave."""
    if value < EXACT:
        return value
    length = 0
    rest = value
    while rest:
        rest >>= 1
        length += 1
    return EXACT + (length - 9) * 16 + (value >> (length - 5) & 15)


def bin_top(at: int) -> int:
    """The largest value that is counted in a bin."""
    if at < EXACT:
        return at
    octave, step = divmod(at - EXACT, 16)
    width = 1 << (octave + 4)
    return (16 + step) * width + width - 1


@part
def end_operation(s: SearchView, kind: int) -> None:
    """Book what the operation has cost each form, and begin anew."""
    if s.cfg.counting == 0:
        return
    for form in range(NR_FORMS):
        cost = s.cost[form]
        s.stat.flips[form] += cost.measure[FLIPS]
        for measure in range(NR_MEASURES):
            value = cost.measure[measure]
            at = (form * 2 + kind) * NR_MEASURES + measure
            s.hist[at * BINS + bin_of(value)] += 1
            s.sum[at] += value
            s.worst[at] = max(s.worst[at], value)
            cost.measure[measure] = 0
