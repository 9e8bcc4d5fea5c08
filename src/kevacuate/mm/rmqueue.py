# SPDX-License-Identifier: GPL-2.0-or-later
"""__rmqueue (mm/page_alloc.c:2454, 7.2): mainline's, a policy's turns, or passes over regions."""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm import constants as k
from kevacuate.mm.fallback import rmqueue_mainline, rmqueue_turns
from kevacuate.mm.fields import View
from kevacuate.mm.hooks import hooked
from kevacuate.mm.region_passes import rmqueue_passes
from kevacuate.mm.region_pressure import wake_region_shrinker
from kevacuate.mm.region_steer import steered_refill
from kevacuate.mm.region_worker import wake_region_worker
from kevacuate.mm.regions import note_content, region_number

_NOT_PLAIN = 1 << k.HOOK_RMQUEUE | k.REGIONS
"""Bits of cfg.hooks with which __rmqueue is not mainline's alone."""


@part(inline=True)
def rmqueue_mode(s: View, z: int, order: int, mt: int, alloc_flags: int, mode: int) -> tuple[int, int]:
    """__rmqueue, or what the policy tries in its place. Returns (page or -1, mode)."""
    if s.cfg.hooks & _NOT_PLAIN:
        return rmqueue_not_plain(s, z, order, mt, alloc_flags, mode)
    return rmqueue_mainline(s, z, order, mt, alloc_flags, mode)


@part(cold=True)
def rmqueue_not_plain(s: View, z: int, order: int, mt: int, alloc_flags: int, mode: int) -> tuple[int, int]:
    """__rmqueue where a policy has a hook in its place or goes by regions, which remember no mode, or where regions are kept."""
    pfn = -1
    if hooked(s, k.HOOK_RMQUEUE):
        pfn = rmqueue_turns(s, z, order, mt, alloc_flags)
    elif s.cfg.region_passes:
        pfn = rmqueue_passes(s, z, order, mt, alloc_flags)
    else:
        if s.cfg.region_steer_refills and mt == k.MIGRATE_MOVABLE and mode == k.RMQUEUE_NORMAL:
            pfn = steered(s, z, order, alloc_flags)
        if pfn < 0:
            pfn, mode = rmqueue_mainline(s, z, order, mt, alloc_flags, mode)
    if pfn >= 0 and s.cfg.region_order:
        note_content(s, pfn, order, mt)
        if s.cfg.region_worker:
            s.meta[pfn] = k.CHUNK_PCP << 4 | order  # to the worker it is in use, though it is nobody's yet
            wake_region_worker(s, region_number(s, pfn))
            s.meta[pfn] = 0
        if s.cfg.region_shrink and mt != k.MIGRATE_MOVABLE:
            wake_region_shrinker(s, region_number(s, pfn))
    return pfn, mode


@part(cold=True)
def steered(s: View, z: int, order: int, alloc_flags: int) -> int:
    """A movable request's chunk by steering, unless the CMA balance comes first; -1 for what mainline takes."""
    zone = s.zone[z]
    if alloc_flags & k.ALLOC_CMA and zone.nr_free_cma > zone.nr_free_pages // 2:
        return -1
    return steered_refill(s, z, order)
