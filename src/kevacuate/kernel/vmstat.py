# SPDX-License-Identifier: GPL-2.0-or-later
"""Counters of /proc/vmstat by the name that Linux 7.2 gives them, whatever an older kernel called them.

Some were one counter a zone for a time, some still are: those are summed. No name of one version means something else in
another, so the version need not be known (mm/vmstat.c:vmstat_text; include/linux/vm_event_item.h).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

ZONES = "dma|dma32|normal|high|movable|device"
"""Suffixes of counters that are kept for each zone (TEXTS_FOR_ZONES)."""

_PER_ZONE = (
    "allocstall",
    "pgalloc",
    "pgscan_direct",
    "pgscan_kswapd",
    "pgsteal_direct",
    "pgsteal_kswapd",
)
"""Counted by zone in some versions and as one in others."""

_RENAMED = {
    "thp_split": "thp_split_page",
    "compact_pagemigrate_failed": "pgmigrate_fail",
    "compact_pages_moved": "pgmigrate_success",
}
"""Older name to today's: until 4.4, and until 3.7."""

EVENTS = (
    "allocstall",
    "compact_stall",
    "compact_success",
    "compact_fail",
    "compact_daemon_wake",
    "compact_migrate_scanned",
    "compact_free_scanned",
    "compact_isolated",
    "pgmigrate_success",
    "pgmigrate_fail",
    "thp_fault_alloc",
    "thp_fault_fallback",
    "thp_collapse_alloc",
    "thp_collapse_alloc_failed",
    "thp_split_page",
    "pgalloc",
    "pgfree",
    "pgscan_kswapd",
    "pgscan_direct",
    "pgsteal_kswapd",
    "pgsteal_direct",
    "kswapd_low_wmark_hit_quickly",
    "kswapd_high_wmark_hit_quickly",
    "pageoutrun",
    "drop_pagecache",
    "drop_slab",
    "oom_kill",
)
"""Counters that only grow while the machine runs, as far as they tell of fragmentation and of what waits for memory."""

GAUGES = (
    "nr_free_pages",
    "nr_free_pages_blocks",
    "nr_free_cma",
    "nr_slab_reclaimable",
    "nr_slab_unreclaimable",
    "nr_page_table_pages",
    "nr_kernel_stack",
    "nr_unevictable",
    "nr_anon_transparent_hugepages",
)
"""Numbers of pages at the moment (nr_kernel_stack: kB)."""

_ZONE_SUFFIX = re.compile(rf"(?P<base>{'|'.join(_PER_ZONE)})_(?:{ZONES})")


def counters(values: Mapping[str, int]) -> dict[str, int]:
    """The :data:`EVENTS` and :data:`GAUGES` that a copy of /proc/vmstat has, by their names of Linux 7.2.

    A counter that is kept by zone is the sum over the zones that are there.
    """
    found: dict[str, int] = {}
    for name, value in values.items():
        zone = _ZONE_SUFFIX.fullmatch(name)
        known = zone["base"] if zone else _RENAMED.get(name, name)
        if known in _WANTED:
            found[known] = found.get(known, 0) + value
    return found


_WANTED = frozenset(EVENTS + GAUGES)
