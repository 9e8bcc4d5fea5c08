# SPDX-License-Identifier: GPL-2.0-or-later
"""The worker of a tainted region: it evacuates movable pageblocks when free room is low, so that unmovable memory finds some.

Models "reliable 1GB page allocation" (40 patches of 2026-05-20, numbers 15 and 28; 43 of the 45 of 2026-04-30): one work item
a region, started by an event. A tainted region is low with at most ``region_start_blocks`` free pageblocks, or with fewer free
pages than ``region_start_pages`` pageblocks have. The work ends with ``region_stop_blocks`` free pageblocks, with the pages of
``region_stop_pages``, or when no pageblock is left that could be emptied. After an evacuation that moved nothing, where there
is nothing to evacuate, or after as many pageblocks as the region has, it is left alone for ``region_cooldown_ns``. Events: an
allocation from a tainted region; pass 3, before it taints another, for all tainted regions of the zone.

Approximate: which pageblock goes first was not seen: by address, from where the last one was, one that holds no unmovable or
reclaimable page and is not one huge page. The evacuation's workers do it (:mod:`.evacuate`), where the series has a work item of
its own a region.
"""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm import constants as k
from kevacuate.mm.buddy import covering_chunk, get_pfnblock_migratetype
from kevacuate.mm.evacuate_queue import irq_work_run, queue_pageblock_evacuate
from kevacuate.mm.fields import Region, View
from kevacuate.mm.regions import region_list, region_number

ANY_BLOCK = -1
"""In the place of a type: a pageblock of whichever type."""


@part
def is_low(s: View, region: Region) -> bool:
    """Whether a region's worker has reason to begin."""
    pages = s.cfg.region_start_pages << s.cfg.pageblock_order
    low = region.nr_free <= s.cfg.region_start_blocks or region.nr_free_pages < pages
    return region.tainted != 0 and low and not has_recovered(s, region)


@part
def has_recovered(s: View, region: Region) -> bool:
    """Whether a region's worker has done enough."""
    pages = s.cfg.region_stop_pages << s.cfg.pageblock_order
    return region.nr_free >= s.cfg.region_stop_blocks or region.nr_free_pages >= pages


@part
def could_empty(s: View, block: int) -> bool:
    """Whether a pageblock holds movable pages and no others, and is not one huge page.

    Isolation passes over folios of a pageblock and more (skip_isolation_on_order, mm/compaction.c:819).
    """
    content = s.pageblock[block]
    fixed = content.nr_used[k.MIGRATE_UNMOVABLE] + content.nr_used[k.MIGRATE_RECLAIMABLE]
    if content.nr_used[k.MIGRATE_MOVABLE] == 0 or fixed > 0:
        return False
    start = block << s.cfg.pageblock_order
    return s.meta[start] & 15 < s.cfg.pageblock_order and covering_chunk(s, start) < 0


@part
def could_give(s: View, block: int, mt: int) -> bool:
    """Whether a pageblock of type *mt* holds movable pages, one of movable type no others, and no chunk as large as itself."""
    pfn = block << s.cfg.pageblock_order
    if s.meta[pfn] & 15 >= s.cfg.pageblock_order or get_pfnblock_migratetype(s, pfn) != mt:
        return False
    return (
        could_empty(s, block)
        if mt == k.MIGRATE_MOVABLE
        else s.pageblock[block].nr_used[k.MIGRATE_MOVABLE] > 0
    )


@part(cold=True)
def next_block(s: View, region: Region, mt: int) -> int:
    """The first pfn of the next pageblock to evacuate, from the region's cursor on and around; -1 if there is none.

    *mt*: the type that it has, ANY_BLOCK for one of any type that could be emptied.
    """
    first = region.start_pfn >> s.cfg.pageblock_order
    for i in range(region.total):
        at = region.cursor + i
        block = first + (at if at < region.total else at - region.total)
        if could_empty(s, block) if mt == ANY_BLOCK else could_give(s, block, mt):
            region.cursor = block - first + 1 if block - first + 1 < region.total else 0
            return block << s.cfg.pageblock_order
    return -1


@part(cold=True)
def rest_region(s: View, region: Region) -> None:
    """Leave a region alone for a while: its work led to nothing."""
    region.rests_until = s.stat.now + s.cfg.region_cooldown_ns
    s.stat.region_rests += 1


@part(cold=True)
def queue_region_work(s: View, number: int, nth: int) -> None:
    """Queue the evacuation of a region's next pageblock, the *nth* since its worker began."""
    region = s.region[number]
    pfn = next_block(s, region, ANY_BLOCK)
    if pfn < 0:
        rest_region(s, region)
        return
    queued = s.stat.queued
    queue_pageblock_evacuate(s, region.zone, pfn)
    if s.stat.queued > queued:
        s.item[s.node[s.zone[region.zone].node].evacuate_pending].movable = 1
        region.working = nth


@part(cold=True)
def wake_region_worker(s: View, number: int) -> None:
    """Have a region's worker begin, if the region is low, not at work, and not resting."""
    region = s.region[number]
    if region.working == 0 and s.stat.now >= region.rests_until and is_low(s, region):
        s.stat.region_works += 1
        queue_region_work(s, number, 1)


@part(cold=True)
def wake_region_workers(s: View, z: int) -> None:
    """The same for all tainted regions of a zone."""
    for fullness in range(k.NR_FULLNESS):
        head = region_list(s, z, 1, fullness)
        number = s.region[head].next
        while number != head:
            following = s.region[number].next
            wake_region_worker(s, number)
            number = following


@part(cold=True)
def region_work_done(s: View, pfn: int, moved: int) -> None:
    """The evacuation of a region's pageblock has ended, which moved or dropped so many pages: on to the next, or rest."""
    number = region_number(s, pfn)
    region = s.region[number]
    nth = region.working
    if nth == 0:
        return
    region.working = 0
    if moved == 0 or nth >= region.total:
        rest_region(s, region)
    elif region.tainted and not has_recovered(s, region):
        queue_region_work(s, number, nth + 1)
        irq_work_run(s, region.zone)
