# SPDX-License-Identifier: GPL-2.0-or-later
"""Trace events by version of the kernel: old names of events and fields, and what older kernels do not say.

Names are those of Linux 7.2 (include/trace/events/{kmem,compaction,migrate,vmscan}.h). Where the version of a change
lies between two whose headers were at hand, ``last`` is the last one with the old name and ``first`` the first one
with the new.
"""

from __future__ import annotations

from typing import NamedTuple

from kevacuate.kernel.versions import Version


class Renamed(NamedTuple):
    """An old name."""

    name: str
    """What it is called in Linux 7.2."""
    last: Version
    """The last version with the old name that was looked at."""
    first: Version
    """The first version with the new name that was looked at."""


EVENTS: dict[str, Renamed] = {
    "mm_page_free_direct": Renamed("mm_page_free", (3, 2), (3, 5)),
    "mm_pagevec_free": Renamed("mm_page_free_batched", (3, 2), (3, 5)),
    "mm_vmscan_writepage": Renamed("mm_vmscan_write_folio", (5, 17), (5, 19)),
}
"""Old event name to the new one. The first two were renamed in 3.3."""

FIELDS: dict[str, dict[str, str]] = {
    "mm_compaction_kcompactd_wake": {"classzone_idx": "highest_zoneidx"},
    "mm_compaction_wakeup_kcompactd": {"classzone_idx": "highest_zoneidx"},
    "mm_compaction_begin": {"migrate_start": "migrate_pfn", "free_start": "free_pfn"},
    "mm_migrate_pages": {"thp_split": "large_folio_split"},
}
"""Event to its old field names: classzone_idx in 4.6 to 5.7, migrate_start and free_start until 3.19.
mm_migrate_pages counted only huge pages that were split (thp_split) before it counted large folios (first seen in
6.8)."""

LABELS: dict[str, dict[str, str]] = {"mm_migrate_pages": {"nr_thp_split": "nr_split"}}
"""Event to printed words whose meaning a later word took over; a line that has both has the later one last."""

OWNERSHIP_FIRST: Version = (3, 12)
"""Before, ``change_ownership`` was printed as whether the types asked for and taken from are equal, which they never
are: 0 in every event, whatever happened to the block (commit 52c8f6a5aeb0). A claim cannot be told from a steal
there."""


class Proof(NamedTuple):
    """What an event in a text proves about its kernel: it is between the two versions (None: open)."""

    first: Version | None
    last: Version | None


BY_EVENT: dict[str, Proof] = {
    "mm_page_free_direct": Proof(None, (3, 2)),
    "mm_pagevec_free": Proof(None, (3, 2)),
    "mm_vmscan_writepage": Proof(None, (5, 18)),
    "mm_compaction_try_to_compact_pages": Proof((4, 0), None),
    "mm_compaction_finished": Proof((4, 0), None),
    "mm_compaction_suitable": Proof((4, 0), None),
    "mm_compaction_kcompactd_sleep": Proof((4, 4), None),
    "mm_compaction_kcompactd_wake": Proof((4, 4), None),
    "mm_compaction_wakeup_kcompactd": Proof((4, 4), None),
    "mm_compaction_fast_isolate_freepages": Proof((6, 3), None),
    "mm_vmscan_lru_shrink_active": Proof((4, 11), None),
    "mm_vmscan_write_folio": Proof((5, 18), None),
    "mm_migrate_pages_start": Proof((4, 4), None),
    "set_migration_pte": Proof((5, 18), None),
    "remove_migration_pte": Proof((5, 18), None),
    "mm_vmscan_reclaim_pages": Proof((6, 9), None),
    "mm_setup_per_zone_wmarks": Proof((6, 15), None),
    "mm_calculate_totalreserve_pages": Proof((6, 15), None),
    "mm_vmscan_balance_pgdat_begin": Proof((6, 19), None),
    "mm_vmscan_balance_pgdat_end": Proof((6, 19), None),
    "gt_rmq": Proof((7, 2), None),
    "gt_list": Proof((7, 2), None),
    "gt_blk": Proof((7, 2), None),
    "gt_evac": Proof((7, 2), None),
    "gt_dump": Proof((7, 2), None),
}
"""By the mere name of an event; where the exact version is not known, the wider range. Vendors ported kcompactd's events and
mm_migrate_pages_start back as far as 4.4."""

BY_TEXT: tuple[tuple[str, str, Proof], ...] = (
    ("mm_compaction_isolate_migratepages", "^nr_scanned=", Proof(None, (3, 19))),
    ("mm_compaction_isolate_freepages", "^nr_scanned=", Proof(None, (3, 19))),
    ("mm_compaction_end", "^status=", Proof(None, (3, 15))),
    ("mm_page_alloc_extfrag", "change_ownership=1", Proof((3, 12), None)),
    ("mm_page_free_batched", " cold=", Proof(None, (4, 14))),
    ("mm_compaction_try_to_compact_pages", " mode=", Proof(None, (4, 7))),
    ("mm_compaction_try_to_compact_pages", " priority=", Proof((4, 8), None)),
    ("mm_compaction_begin", " migrate_start=", Proof(None, (3, 19))),
    ("mm_compaction_end", "status=partial ", Proof(None, (4, 8))),
    ("mm_compaction_finished", "ret=partial ", Proof(None, (4, 8))),
    ("mm_compaction_end", "status=success", Proof((4, 9), None)),
    ("mm_compaction_finished", "ret=success", Proof((4, 9), None)),
    ("mm_migrate_pages", "reason=cma", Proof(None, (4, 16))),
    ("mm_migrate_pages", "reason=contig_range", Proof((4, 17), None)),
    ("mm_vmscan_lru_isolate", " file=", Proof(None, (4, 10))),
    ("mm_vmscan_lru_isolate", " lru=", Proof((4, 11), None)),
    ("mm_page_alloc", "GFP_TEMPORARY", Proof(None, (4, 13))),
    ("mm_page_alloc", "|GFP_ZERO", Proof(None, (4, 5))),
    ("mm_page_alloc", "|GFP_NOWARN", Proof(None, (4, 5))),
    ("mm_page_alloc", "|GFP_COMP", Proof(None, (4, 5))),
    ("mm_page_alloc", "|__GFP_", Proof((4, 6), None)),
)
"""By what an event's line holds: event, part of its text (a blank is put behind the line; ^: where it begins), proof."""
