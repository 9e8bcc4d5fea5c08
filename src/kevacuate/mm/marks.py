# SPDX-License-Identifier: GPL-2.0-or-later
"""How watermarks and lowmem reserves follow from vm.min_free_kbytes, vm.watermark_scale_factor and the zones' sizes (7.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt

from kevacuate.mm import constants as k

Marks = tuple[int, int, int, int]
"""MIN, LOW, HIGH, PROMO, in pages."""

LOWMEM_RESERVE_RATIO = (256, 256, 32, 0)
"""Defaults of vm.lowmem_reserve_ratio by zone index: DMA, DMA32, Normal, Movable (mm/page_alloc.c:227)."""


@dataclass(frozen=True)
class ZoneSize:
    """A populated zone as far as its marks depend on it: zone index (0 DMA to 3 Movable) and managed pages."""

    index: int
    managed: int


def zone_wmarks(zones: Sequence[ZoneSize], kbytes: int, scale_factor: int) -> list[Marks]:
    """The marks of every zone (__setup_per_zone_wmarks, mm/page_alloc.c:6506)."""
    lowmem = sum(zone.managed for zone in zones if zone.index != k.ZONE_MOVABLE)
    pages_min = kbytes // 4
    found: list[Marks] = []
    for zone in zones:
        part = pages_min * zone.managed // max(lowmem, 1)
        least = part
        if zone.index == k.ZONE_MOVABLE:
            least = min(max(zone.managed // 1024, 32), 128)
        gap = max(part // 4, zone.managed * scale_factor // 10000)
        found.append((least, least + gap, least + 2 * gap, least + 3 * gap))
    return found


def buffer_pages(zones: Sequence[ZoneSize], high: Sequence[int]) -> int:
    """Pages beyond the high marks in zones up to Normal (nr_free_buffer_pages, mm/page_alloc.c:5644)."""
    return sum(
        max(0, zone.managed - mark)
        for zone, mark in zip(zones, high, strict=True)
        if zone.index <= k.ZONE_NORMAL
    )


def calculate_min_free_kbytes(pages: int) -> int:
    """The kernel's own vm.min_free_kbytes for so many :func:`buffer_pages` (mm/page_alloc.c:6618)."""
    return min(max(isqrt(4 * pages * 16), 128), 262144)


def recommended_min_free_kbytes(zones: Sequence[ZoneSize], pages: int, pageblock_pages: int) -> int:
    """What it is raised to where huge pages are on (set_recommended_min_free_kbytes, mm/khugepaged.c); *pages* as above."""
    nr_zones = sum(zone.index <= k.ZONE_NORMAL for zone in zones)
    wanted = pageblock_pages * nr_zones * (2 + k.MIGRATE_PCPTYPES * k.MIGRATE_PCPTYPES)
    return min(wanted, pages // 20) * 4


def boot_min_free_kbytes(zones: Sequence[ZoneSize], pageblock_pages: int, *, huge_pages: bool) -> int:
    """vm.min_free_kbytes as the kernel chooses it at boot for these zones, where nobody sets it (init_per_zone_wmark_min)."""
    kbytes = calculate_min_free_kbytes(buffer_pages(zones, [0] * len(zones)))
    if not huge_pages:
        return kbytes
    high = [marks[k.WMARK_HIGH] for marks in zone_wmarks(zones, kbytes, 10)]
    return max(kbytes, recommended_min_free_kbytes(zones, buffer_pages(zones, high), pageblock_pages))


def lowmem_reserve(zones: Sequence[ZoneSize], index: int, ratio: int) -> Marks:
    """lowmem_reserve of the zone *index* of a node with these zones (setup_per_zone_lowmem_reserve, mm/page_alloc.c:6461).

    By the highest zone index that a request may use: the managed pages of the node's higher zones up to there, divided by the
    zone's vm.lowmem_reserve_ratio; nothing where that is 0.
    """
    managed = {zone.index: zone.managed for zone in zones}
    clear = ratio == 0 or not managed.get(index)
    above, found = 0, [0, 0, 0, 0]
    for higher in range(index + 1, len(found)):
        above += managed.get(higher, 0)
        found[higher] = 0 if clear else above // ratio
    return (found[0], found[1], found[2], found[3])
