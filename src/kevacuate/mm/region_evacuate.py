# SPDX-License-Identifier: GPL-2.0-or-later
"""Targeted evacuation: a request makes room in tainted regions before it may fall back, and so taint a clean one.

Models "1GB superpageblock memory allocation" (45 patches of 2026-04-30), number 24: in the slow path of an unmovable or
reclaimable request, before ALLOC_NOFRAGMENT is dropped. Phase 1 moves movable pages out of pageblocks of the wanted type, so that
buddies merge; phase 2 empties whole movable pageblocks, which pass 2 can claim. It ends as soon as a chunk is there that the
request may take, or after ``region_evacuate_blocks`` pageblocks.

Approximate, as the diff was not at hand: regions are gone through by address, a pageblock each and then anew, in a region from
where the last one was. Pages go to clean regions of the same zone, and each is tried once: a pinned or busy one stays, one under
writeback and a huge page too. Afterwards the CPU's lists of the zone are drained, as compaction does when it leaves a pageblock.
All of it is one moment of virtual time; what it takes is counted (``region_evacuation_ns``).
"""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm import constants as k
from kevacuate.mm.buddy import covering_chunk
from kevacuate.mm.evacuate_isolate import may_isolate, take_off_lru
from kevacuate.mm.fields import View
from kevacuate.mm.get_page import first_zones_zonelist, gfp_zone, zonelist_length
from kevacuate.mm.migrate import migrate_folio_move
from kevacuate.mm.pcp import drain_pages_zone
from kevacuate.mm.region_lists import find_in_regions, smallest_of_region
from kevacuate.mm.region_passes import take_chunk
from kevacuate.mm.region_worker import next_block
from kevacuate.mm.regions import note_content
from kevacuate.mm.swap import lru_add_drain_cpu

_CLEAN, _TAINTED = 0, 1
_STUCK = k.ATTR_BUSY | k.ATTR_WRITEBACK | k.ATTR_PINNED
ROOM = -1
"""Said of a phase that has made room for the request."""


@part
def moves_at_once(s: View, pfn: int) -> bool:
    """Whether the chunk at *pfn* can be isolated and moved without waiting for anybody."""
    in_use = s.meta[pfn] >> 4 == k.CHUNK_ALLOC and s.meta[pfn] & 15 < s.cfg.pageblock_order
    return in_use and s.link[2 * pfn + 1] & _STUCK == 0 and may_isolate(s, pfn)


@part(cold=True)
def move_to_clean(s: View, z: int, cpu: int, pfn: int, order: int) -> int:
    """Move a chunk to a clean region of its zone; the pages moved: none if no clean region has a chunk for it."""
    mt = k.MIGRATE_MOVABLE
    target = find_in_regions(s, z, _CLEAN, k.REGION_FULL, k.REGION_EMPTY, order, mt, False)
    if target < 0:
        return 0
    take_chunk(s, z, target, order, mt)
    note_content(s, target, order, mt)
    take_off_lru(s, z, pfn, 1 << order)
    migrate_folio_move(s, cpu, pfn, target, order)
    s.stat.pgmigrate_success += 1 << order
    return 1 << order


@part(cold=True)
def empty_block(s: View, z: int, cpu: int, start: int) -> None:
    """Move what can move out of a pageblock, and drain the CPU's lists of the zone."""
    end = start + (1 << s.cfg.pageblock_order)
    pfn = start if covering_chunk(s, start) < 0 else end
    moved = 0
    while pfn < end:
        order = s.meta[pfn] & 15
        if moves_at_once(s, pfn):
            moved += move_to_clean(s, z, cpu, pfn, order)
        pfn += 1 << order
    drain_pages_zone(s, z, cpu)
    s.stat.region_evacuated_blocks += 1
    s.stat.region_evacuated_pages += moved
    cost = s.cfg.scan_ns << s.cfg.pageblock_order
    s.stat.region_evacuation_ns += cost + moved * (s.cfg.isolate_ns + s.cfg.migrate_ns)


@part(cold=True)
def evacuate_zone(s: View, z: int, cpu: int, order: int, mt: int, left: int) -> int:
    """A phase in a zone, for a chunk of *order* on the lists of *mt*. Returns how many pageblocks may follow, or ROOM."""
    before = left + 1
    while left < before:
        before = left
        for number in range(s.cfg.nr_regions):
            region = s.region[number]
            if left == 0 or region.zone != z or region.tainted == 0:
                continue
            pfn = next_block(s, region, mt)
            if pfn >= 0:
                left -= 1
                empty_block(s, z, cpu, pfn)
                if smallest_of_region(s, number, order, mt) >= 0:
                    return ROOM
    return left


@part(cold=True)
def evacuate_for(s: View, cpu: int, order: int, mt: int, gfp: int, node: int) -> bool:
    """Make room for an unmovable or reclaimable request in tainted regions of the zones it may use; whether there is some now.

    A zone that has a chunk for it already refuses it for another reason, and is left alone.
    """
    s.stat.region_evacuations += 1
    lru_add_drain_cpu(s, cpu)
    left = s.cfg.region_evacuate_blocks
    whole = max(order, s.cfg.pageblock_order)
    zonelist = s.node[node].zonelist
    for i in range(first_zones_zonelist(s, node, gfp_zone(gfp)), zonelist_length(s, node, gfp)):
        z = zonelist[i]
        has_own = find_in_regions(s, z, _TAINTED, k.REGION_FULL, k.REGION_EMPTY, order, mt, False) >= 0
        if has_own or s.zone[z].index > gfp_zone(gfp):
            continue
        left = evacuate_zone(s, z, cpu, order, mt, left)
        if left != ROOM:
            left = evacuate_zone(s, z, cpu, whole, k.MIGRATE_MOVABLE, left)
        if left == ROOM:
            s.stat.region_evacuations_served += 1
            return True
    return False


@part
def evacuates_for(s: View, mt: int, alloc_flags: int) -> bool:
    """Whether a request makes room before it falls back."""
    return s.cfg.region_evacuate != 0 and mt != k.MIGRATE_MOVABLE and alloc_flags & k.ALLOC_NOFRAGMENT != 0
