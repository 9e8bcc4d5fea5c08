# SPDX-License-Identifier: GPL-2.0-or-later
"""Who may take which free page: the rules of gfp_to_alloc_flags, gfp_zone and __zone_watermark_ok by version, 3.8 to 7.2.

The rules are those of the first release of each minor version, as mm/page_alloc.c of these versions has them; a stable
release may have a later one (4.9.154 looks for highatomic chunks as 4.15 does). What a log does not say is not known
here: whether the task was realtime, an OOM victim, or itself reclaiming (PF_MEMALLOC). Those may take more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from kevacuate.kernel.versions import Version

ATOMIC_BY_NO_KSWAPD: Version = (3, 16)
"""Since then __GFP_NO_KSWAPD, too, says that a request is not atomic (until 4.3)."""

ATOMIC_FLAG: Version = (4, 4)
"""Since then __GFP_ATOMIC says it; high orders need one chunk of their size instead of a mark at each order; there is a
highatomic reserve."""

BOOST_PASSED_OVER: Version = (5, 9)
"""Since then an atomic request of one page is held against the mark without watermark_boost."""

NON_BLOCK: Version = (6, 3)
"""Since then a request without __GFP_DIRECT_RECLAIM says it."""

FREE_HIGHATOMIC: Version = (6, 13)
"""Since then the free pages of the highatomic reserve are taken off, not the whole; a single page may be taken from it."""

HIGHATOMIC_BY_HIGH: Version = (6, 18)
"""The first version at hand in which the highatomic reserve also needs __GFP_HIGH; 6.15 to 6.17 were not at hand."""

ZONES = ("DMA", "DMA32", "Normal", "HighMem", "Movable", "Device")
"""Names of zones in the order of their index (include/linux/mmzone.h); a kernel has some of them."""


class Access(NamedTuple):
    """What a request may take (ALLOC_* of mm/internal.h)."""

    high: bool
    """Half of the min mark (ALLOC_HIGH, since 6.3 ALLOC_MIN_RESERVE)."""
    harder: bool
    """A further quarter of it (ALLOC_HARDER; since 6.3 ALLOC_NON_BLOCK beside ALLOC_MIN_RESERVE)."""
    reserves: bool
    """Whether the highatomic reserve is not taken off what is free (since 4.4)."""
    highatomic: bool
    """Chunks of highatomic pageblocks."""
    cma: bool
    """Chunks of CMA pageblocks."""
    past_boost: bool
    """Held against the min mark without watermark_boost."""
    past_marks: bool
    """No mark at all (__GFP_MEMALLOC)."""
    cpuset: bool
    """Whether the task's cpuset binds it."""


def can_reclaim(flags: frozenset[str]) -> bool:
    """Whether the request may reclaim directly: __GFP_WAIT until 4.3, __GFP_DIRECT_RECLAIM since."""
    return bool(flags & {"__GFP_WAIT", "__GFP_DIRECT_RECLAIM"})


def migratetype(flags: frozenset[str]) -> str:
    """Type asked for, by name (gfp_migratetype)."""
    return (
        "movable"
        if "__GFP_MOVABLE" in flags
        else "reclaimable"
        if "__GFP_RECLAIMABLE" in flags
        else "unmovable"
    )


def _is_atomic(flags: frozenset[str], version: Version) -> bool:
    """Whether the kernel takes the request for one that cannot wait."""
    if version >= NON_BLOCK:
        return not can_reclaim(flags)
    if version >= ATOMIC_FLAG:
        return "__GFP_ATOMIC" in flags
    if can_reclaim(flags):
        return False
    return version < ATOMIC_BY_NO_KSWAPD or "__GFP_NO_KSWAPD" not in flags


def access(flags: frozenset[str], order: int, version: Version) -> Access:
    """What a request with these ``__GFP_`` names may take in the slow path (gfp_to_alloc_flags)."""
    high = "__GFP_HIGH" in flags
    atomic = _is_atomic(flags, version)
    dips = atomic and "__GFP_NOMEMALLOC" not in flags
    if version >= NON_BLOCK:
        highatomic = dips and (version < HIGHATOMIC_BY_HIGH or high)
        reserves = high or dips
    else:
        highatomic = reserves = dips and version >= ATOMIC_FLAG
    return Access(
        high=high,
        harder=dips and (high or version < NON_BLOCK),
        reserves=reserves,
        highatomic=highatomic if order else dips and version >= FREE_HIGHATOMIC,
        cma=migratetype(flags) == "movable",
        past_boost=order == 0 and version >= BOOST_PASSED_OVER and (high if version >= NON_BLOCK else atomic),
        past_marks="__GFP_MEMALLOC" in flags and "__GFP_NOMEMALLOC" not in flags,
        cpuset=not (atomic and (high or version < NON_BLOCK)),
    )


def highest_zone(flags: frozenset[str], zones: Sequence[str]) -> str:
    """Name of the highest zone that a request may take from (gfp_zone), of a kernel that has *zones*."""
    if {"__GFP_HIGHMEM", "__GFP_MOVABLE"} <= flags:
        return "Movable"
    for flag, zone in (("__GFP_DMA", "DMA"), ("__GFP_DMA32", "DMA32"), ("__GFP_HIGHMEM", "HighMem")):
        if flag in flags and zone in zones:
            return zone
    return "Normal"


class FreeMemory(NamedTuple):
    """A zone's free memory, in pages."""

    free: int
    """NR_FREE_PAGES."""
    nr_free: tuple[int, ...]
    """Free chunks by order."""
    cma: int
    """Free pages in CMA pageblocks (NR_FREE_CMA_PAGES)."""
    highatomic: int
    """The highatomic reserve; since 6.13 its free pages only."""
    boost: int
    """watermark_boost, which the marks contain."""


def usable(memory: FreeMemory, order: int, may: Access, version: Version) -> int:
    """Free pages that count for a request, before the loop over orders (__zone_watermark_unusable_free)."""
    free = memory.free - ((1 << order) - 1)
    if version >= ATOMIC_FLAG and not may.reserves:
        free -= memory.highatomic
    return free if may.cma else free - memory.cma


def lowered(mark: int, memory: FreeMemory, may: Access) -> int:
    """The min mark as far as the request must respect it."""
    low = mark - memory.boost if may.past_boost else mark
    if may.high:
        low -= low // 2
    if may.harder:
        low -= low // 4
    return low


def order_without_room(
    memory: FreeMemory, order: int, mark: int, may: Access, version: Version
) -> int | None:
    """Until 4.3: the order at which too few pages lie in larger chunks for *mark*, though all pages were enough.

    Each order's pages are taken off in turn and the mark is halved (__zone_watermark_ok). None if there is none, and on
    later kernels. From 3.10 on CMA pages are not taken off in this loop.
    """
    if version >= ATOMIC_FLAG:
        return None
    free = memory.free - ((1 << order) - 1)
    if version < (3, 10) and not may.cma:
        free -= memory.cma
    for low in range(min(order, len(memory.nr_free))):
        free -= memory.nr_free[low] << low
        mark >>= 1
        if free <= mark:
            return low
    return None
