# SPDX-License-Identifier: GPL-2.0-or-later
"""Which events are recorded: the modes and the optional groups."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from kevacuate.errors import KevacuateError

REQUIRED: tuple[str, ...] = ("kmem/mm_page_alloc", "kmem/mm_page_free")
"""Without these there is nothing to replay."""

STALLS: tuple[str, ...] = (
    "vmscan/mm_vmscan_direct_reclaim_begin",
    "vmscan/mm_vmscan_direct_reclaim_end",
    "vmscan/mm_vmscan_wakeup_kswapd",
    "compaction/mm_compaction_begin",
    "compaction/mm_compaction_end",
    "compaction/mm_compaction_try_to_compact_pages",
    "compaction/mm_compaction_deferred",
    "compaction/mm_compaction_wakeup_kcompactd",
    "compaction/mm_compaction_kcompactd_wake",
)
"""How long tasks wait for memory, and who wakes kswapd and kcompactd. Rare: each comes with work that takes far longer."""

DEFAULT: tuple[str, ...] = (
    *REQUIRED,
    "kmem/mm_page_alloc_zone_locked",
    "kmem/mm_page_pcpu_drain",
    "kmem/mm_page_alloc_extfrag",
    *STALLS,
    "compaction/mm_compaction_isolate_migratepages",
    "compaction/mm_compaction_isolate_freepages",
    "compaction/mm_compaction_fast_isolate_freepages",
    "compaction/mm_compaction_migratepages",
    "migrate/mm_migrate_pages",
)
"""Everything a replay uses, and stalls. mm_page_free_batched is left out: each of them repeats an mm_page_free."""

LIGHT: tuple[str, ...] = ("kmem/mm_page_alloc_extfrag", *STALLS)
"""Rare events only: triage, but no replay."""

GROUPS: dict[str, tuple[str, ...]] = {
    "compaction": (
        "compaction/mm_compaction_finished",
        "compaction/mm_compaction_suitable",
        "compaction/mm_compaction_defer_compaction",
        "compaction/mm_compaction_defer_reset",
        "compaction/mm_compaction_kcompactd_sleep",
    ),
    "migrate": (
        "migrate/mm_migrate_pages_start",
        "migrate/set_migration_pte",
        "migrate/remove_migration_pte",
    ),
    "vmscan": (
        "vmscan/mm_vmscan_kswapd_wake",
        "vmscan/mm_vmscan_kswapd_sleep",
        "vmscan/mm_vmscan_balance_pgdat_begin",
        "vmscan/mm_vmscan_balance_pgdat_end",
        "vmscan/mm_vmscan_lru_isolate",
        "vmscan/mm_vmscan_lru_shrink_inactive",
        "vmscan/mm_vmscan_lru_shrink_active",
        "vmscan/mm_vmscan_write_folio",
        "vmscan/mm_vmscan_reclaim_pages",
        "vmscan/mm_shrink_slab_start",
        "vmscan/mm_shrink_slab_end",
        "kmem/mm_setup_per_zone_wmarks",
    ),
}
"""What --compaction, --migrate and --vmscan add; migrate has the events that pair a moved page's old and new pfn."""


@dataclass(frozen=True)
class EventChoice:
    """The events to record that this kernel has, and those asked for that it has not."""

    chosen: tuple[str, ...]
    missing: tuple[str, ...] = field(default=())


def has_event(tracefs: Path, event: str) -> bool:
    """Whether the running kernel has the event (``system/name``)."""
    return (tracefs / "events" / event / "format").is_file()


def choose_events(tracefs: Path, *, light: bool = False, groups: tuple[str, ...] = ()) -> EventChoice:
    """The events of a mode and of optional groups, as far as the kernel has them.

    Raises
    ------
    KevacuateError
        An event without which the mode is of no use is missing.

    """
    wanted = list(LIGHT if light else DEFAULT)
    for group in groups:
        wanted += [event for event in GROUPS[group] if event not in wanted]
    if light and "compaction" in groups:
        wanted += [e for e in DEFAULT if e.startswith("compaction/") and e not in wanted]
    missing = tuple(event for event in wanted if not has_event(tracefs, event))
    needed = LIGHT[:1] if light else REQUIRED
    for event in needed:
        if event in missing:
            raise KevacuateError(
                f"This kernel has no event {event} in {tracefs / 'events'}: it was built without the page allocator's "
                "tracepoints, so nothing can be recorded here."
            )
    return EventChoice(tuple(e for e in wanted if e not in missing), missing)
