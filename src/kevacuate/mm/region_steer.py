# SPDX-License-Identifier: GPL-2.0-or-later
"""Steering over the zone's own free lists: a look ahead for an entry in a better region.

Models "reliable 1GB page allocation" (40 patches of 2026-05-20), numbers 11 and 12, which come before the free lists are split.
That alloc_pages_bulk gets ALLOC_NOFRAGMENT, as number 12 has it: ``region_nofragment_kept``.
"""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm import constants as k
from kevacuate.mm.buddy import free_list, page_del_and_expand
from kevacuate.mm.fields import View
from kevacuate.mm.log import log_kmem
from kevacuate.mm.regions import region_list, region_number


@part(cold=True)
def steered_claim(s: View, head: int, pfn: int) -> int:
    """The candidate of a claim for unmovable or reclaimable requests: *pfn*, the first of the list at *head*, or one behind it.

    If the first lies in a clean region, up to ``region_steer_claims`` more are looked at for one in a tainted region (number 11).
    """
    at = pfn
    for _ in range(s.cfg.region_steer_claims + 1):
        if at == head:
            return pfn
        if s.region[region_number(s, at)].tainted:
            return at
        at = s.link[2 * at] + 0
    return pfn


@part(cold=True)
def fullest_clean(s: View, z: int) -> int:
    """The fullest clean region that has a free pageblock and is not empty; -1 if there is none."""
    for fullness in range(k.REGION_FULL + 1, k.REGION_EMPTY):
        head = region_list(s, z, 0, fullness)
        if s.region[head].next != head:
            return s.region[head].next
    return -1


@part(cold=True)
def steered_refill(s: View, z: int, order: int) -> int:
    """A movable request's chunk where only whole pageblocks are left: of the fullest clean region; -1 for what mainline takes.

    Up to ``region_steer_refills`` entries of the list are looked at (number 12).
    """
    for current in range(order, s.cfg.max_page_order + 1):
        head = free_list(s, z, current, k.MIGRATE_MOVABLE)
        pfn = s.link[2 * head] + 0
        if pfn == head:
            continue
        wanted = fullest_clean(s, z) if current >= s.cfg.pageblock_order else -1
        for _ in range(s.cfg.region_steer_refills):
            if wanted < 0 or pfn == head:
                return -1
            if region_number(s, pfn) == wanted:
                page_del_and_expand(s, z, pfn, order, current, k.MIGRATE_MOVABLE)
                log_kmem(s, k.L_ZONE_LOCKED, pfn, order, k.MIGRATE_MOVABLE)
                return pfn
            pfn = s.link[2 * pfn] + 0
        return -1
    return -1
