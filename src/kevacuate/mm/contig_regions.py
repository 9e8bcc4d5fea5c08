# SPDX-License-Identifier: GPL-2.0-or-later
"""Contiguous allocation from metadata: regions' counters say which range is cheapest to empty (:mod:`.regions`).

Models "reliable 1GB page allocation" (40 patches of 2026-05-20, number 17): a range of clean regions is taken, all free ones
first, without a look at its pages. What it costs to empty is how many pages in it are not free.

Approximate, as the diff was not at hand: which of several clean regions goes first was not seen, nor after how many failures the
request gives up. The series marks a region that is given, and takes it off the lists for steering. Here it has pages that
contiguous allocations have (``nr_contig``), and counts as full and clean.
"""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm.fields import View
from kevacuate.mm.regions import region_number


@part(cold=True)
def count_contig(s: View, pfn: int, order: int, sign: int) -> None:
    """A chunk of a contiguous allocation is in use from now on (*sign* 1), or no longer (-1)."""
    s.region[region_number(s, pfn)].nr_contig += sign << order


@part
def pages_in_use(s: View, z: int, pfn: int, order: int) -> int:
    """How many pages of the range, which is whole regions, are not free; -1 if one is tainted, cut, has a hole, or is given."""
    used = 0
    for number in range(1 << (order - s.cfg.region_order)):
        start = pfn + (number << s.cfg.region_order)
        if s.block[2 * (start >> s.cfg.pageblock_order) + 1] != z:
            return -1
        region = s.region[region_number(s, start)]
        whole = region.end_pfn - region.start_pfn == 1 << s.cfg.region_order
        if region.tainted or region.nr_reserved or region.nr_contig or not whole:
            return -1
        used += (1 << s.cfg.region_order) - region.nr_free_pages
    return used


@part(cold=True)
def cheapest_range(s: View, z: int, order: int, cost: int, behind: int) -> tuple[int, int]:
    """(pages in use, pfn) of the range that comes next behind (*cost*, *behind*), cheapest first, then lowest; pfn -1: none.

    *cost* -1: from the beginning. Ranges with less free than ``region_contig_free`` per cent are left out.
    """
    size = 1 << order
    most = size - size * s.cfg.region_contig_free // 100
    best, found = most + 1, -1
    pfn = (s.zone[z].zone_start_pfn + size - 1) // size * size
    while pfn + size <= s.zone[z].zone_end_pfn:
        used = pages_in_use(s, z, pfn, order)
        later = used > cost or (used == cost and pfn > behind)
        if used >= 0 and later and used < best:
            best, found = used, pfn
        pfn += size
    return best, found
