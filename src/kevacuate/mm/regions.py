# SPDX-License-Identifier: GPL-2.0-or-later
"""Regions: what aligned runs of pageblocks hold, kept as free pages, allocations and block types change.

Models the metadata of "reliable 1GB page allocation" (40 patches of 2026-05-20, numbers 1, 7, 8 and 9): a superpageblock's
counters, what a pageblock really holds apart from its type, clean and tainted, and lists by fullness. A page in use counts for
the type of the request it was taken for; on a per-CPU list for the list's type, as it is handed out for that next. A region is
tainted while it holds a page taken for unmovable or reclaimable requests, or a highatomic pageblock.

Approximate, as the diffs were not at hand: the series sets a bit a pageblock and type and clears it when the block is all free,
where here pages are counted, so that a block's last unmovable page ends that; the cut-offs of the fullness classes are a knob;
within a class the region of the lowest address stands first. Pages that compaction has taken for destinations count as movable.

Where regions are not kept (``cfg.region_order`` is 0) nothing here is called.
"""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm import constants as k
from kevacuate.mm.fields import Region, View

NOTHING = -1
"""What a chunk is taken for that is taken for nothing: it is free."""


@part
def region_number(s: View, pfn: int) -> int:
    """Number in ``region`` of the region that holds *pfn*, which lies in a zone (:mod:`kevacuate.kernel.regions`)."""
    z = s.block[2 * (pfn >> s.cfg.pageblock_order) + 1]
    return (pfn >> s.cfg.region_order) + s.cfg.region_first[z]


@part
def region_list(s: View, z: int, tainted: int, fullness: int) -> int:
    """Number in ``region`` of the head of a zone's list of the clean or tainted regions of a class."""
    return s.cfg.nr_regions + (2 * z + tainted) * k.NR_FULLNESS + fullness


@part
def fullness_of(s: View, region: Region) -> int:
    """The class of a region: by how many of its pageblocks are free, of those that have pages; -1 if none has."""
    usable = region.total - region.nr_reserved
    if usable == 0:
        return -1
    if region.nr_free == 0:
        return k.REGION_FULL
    if region.nr_free == usable:
        return k.REGION_EMPTY
    fullness = k.REGION_FULL + 1
    while (
        fullness < k.REGION_ALMOST_EMPTY
        and region.nr_free * 100 >= s.cfg.region_fullness[fullness - 1] * usable
    ):
        fullness += 1
    return fullness


@part(cold=True)
def relist_region(s: View, number: int, tainted: int, fullness: int) -> None:
    """Move a region to the list of a category and class, in the order of addresses; off all lists for class -1."""
    region = s.region[number]
    if region.fullness >= 0:
        s.region[region.prev].next = region.next
        s.region[region.next].prev = region.prev
    region.tainted = tainted
    region.fullness = fullness
    if fullness < 0:
        return
    head = region_list(s, region.zone, tainted, fullness)
    before = s.region[head].prev
    while before != head and before > number:
        before = s.region[before].prev
    after = s.region[before].next
    region.prev, region.next = before, after
    s.region[before].next = s.region[after].prev = number


@part(cold=True)
def settle_region(s: View, number: int) -> None:
    """Bring a region's category and class, and its list, in line with its counters."""
    region = s.region[number]
    unclean = (
        region.nr_used[k.MIGRATE_UNMOVABLE] + region.nr_used[k.MIGRATE_RECLAIMABLE] + region.nr_highatomic
    )
    tainted = 1 if unclean > 0 else 0
    fullness = fullness_of(s, region)
    if tainted > region.tainted:
        s.stat.regions_tainted += 1
    elif tainted < region.tainted:
        s.stat.regions_cleaned += 1
    if tainted != region.tainted or fullness != region.fullness:
        relist_region(s, number, tainted, fullness)


@part(cold=True)
def count_region_free(s: View, pfn: int, order: int, sign: int) -> None:
    """A chunk came to the free lists (*sign* 1) or left them (-1)."""
    number = region_number(s, pfn)
    region = s.region[number]
    block_pages = 1 << s.cfg.pageblock_order
    pages = min(1 << order, block_pages)
    whole = 0
    for block in range(pfn >> s.cfg.pageblock_order, ((pfn + (1 << order) - 1) >> s.cfg.pageblock_order) + 1):
        content = s.pageblock[block]
        before = content.nr_free
        content.nr_free = before + sign * pages
        whole += int(before + sign * pages == block_pages) - int(before == block_pages)
    region.nr_free_pages += sign << order
    if whole:
        region.nr_free += whole
        settle_region(s, number)


@part(cold=True)
def count_region_used(s: View, region: Region, pfn: int, order: int, mt: int, sign: int) -> None:
    """The pages of a chunk are in use for *mt* (*sign* 1), or no longer (-1)."""
    pages = min(1 << order, 1 << s.cfg.pageblock_order)
    for block in range(pfn >> s.cfg.pageblock_order, ((pfn + (1 << order) - 1) >> s.cfg.pageblock_order) + 1):
        content = s.pageblock[block]
        before = content.nr_used[mt]
        content.nr_used[mt] = before + sign * pages
        region.nr_used[mt] += int(before + sign * pages > 0) - int(before > 0)


@part(cold=True)
def note_content(s: View, pfn: int, order: int, mt: int) -> None:
    """A chunk is in use for *mt* from now on, or for NOTHING; whatever it was in use for before is over."""
    at = s.cfg.region_note + pfn
    before = s.block[at] - 1
    if before == mt:
        return
    s.block[at] = mt + 1
    number = region_number(s, pfn)
    region = s.region[number]
    if before >= 0:
        count_region_used(s, region, pfn, order, before, -1)
    if mt >= 0:
        count_region_used(s, region, pfn, order, mt, 1)
    settle_region(s, number)


@part(cold=True)
def note_part(s: View, pfn: int, part_pfn: int) -> None:
    """What begins at *part_pfn* was a part of the chunk at *pfn* so far, and is in use for the same."""
    s.block[s.cfg.region_note + part_pfn] = s.block[s.cfg.region_note + pfn]


@part(cold=True)
def note_joined(s: View, pfn: int, order: int, arrives: bool) -> None:
    """Pages make one chunk from now on, on its way to be freed; *arrives*: their pageblocks have come to exist with them."""
    if arrives:
        s.region[region_number(s, pfn)].nr_reserved -= 1 << (order - s.cfg.pageblock_order)
    for page in range(pfn, pfn + (1 << order)):
        note_content(s, page, 0, NOTHING)
    note_content(s, pfn, order, k.MIGRATE_MOVABLE)


@part(cold=True)
def count_region_highatomic(s: View, pfn: int, old: int, new: int) -> None:
    """A pageblock has changed its type."""
    change = int(new == k.MIGRATE_HIGHATOMIC) - int(old == k.MIGRATE_HIGHATOMIC)
    if change:
        number = region_number(s, pfn)
        s.region[number].nr_highatomic += change
        settle_region(s, number)
