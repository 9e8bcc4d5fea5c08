# SPDX-License-Identifier: GPL-2.0-or-later
"""Where regions lie: aligned runs of pageblocks, of each zone its own (the series' superpageblocks, later gigablocks).

Source: "reliable 1GB page allocation", 40 patches of 2026-05-20, numbers 8 and 9: an array per zone whose base is aligned to
1 GiB (PUD_SIZE on x86-64); what a zone does not have of its first and last region is clipped. Zones that meet within a run have a
region of it each.
"""

from __future__ import annotations

REGION_ORDER = 18
"""Order of a region of 1 GiB in pages of 4 KiB (PUD_ORDER on x86-64)."""


def region_base(zone_start_pfn: int, order: int) -> int:
    """The first pfn of a zone's first region, aligned down to a region of *order*: the zone may begin later."""
    return (zone_start_pfn >> order) << order


def region_of(pfn: int, zone_start_pfn: int, order: int) -> int:
    """Which of its zone's regions holds *pfn*, from 0."""
    return (pfn >> order) - (zone_start_pfn >> order)


def nr_regions(zone_start_pfn: int, zone_end_pfn: int, order: int) -> int:
    """How many regions a zone has that spans [start, end), clipped ones with them."""
    return region_of(zone_end_pfn - 1, zone_start_pfn, order) + 1


def region_span(region: int, zone_start_pfn: int, zone_end_pfn: int, order: int) -> tuple[int, int]:
    """First pfn of a zone's region and the one behind it, clipped to the zone."""
    start = region_base(zone_start_pfn, order) + (region << order)
    return max(start, zone_start_pfn), min(start + (1 << order), zone_end_pfn)
