# SPDX-License-Identifier: GPL-2.0-or-later
"""All that a policy file needs: ``from kevacuate.policy.api import ...`` (docs/policies.md).

The class to begin from (:class:`Hooks`), what it may declare, the functions that its hooks may call, and the kernel's constants.
"""

from __future__ import annotations

from kevacuate.mm.constants import (
    ALLOC_CMA,
    ALLOC_HIGHATOMIC,
    ALLOC_NOFRAGMENT,
    ALLOC_NON_BLOCK,
    CLAIM,
    FALLBACK_EMPTY,
    FALLBACK_NOCLAIM,
    FPI_TO_TAIL,
    GFP_ATOMIC,
    GFP_DIRECT_RECLAIM,
    GFP_HIGH,
    GFP_KERNEL,
    GFP_MOVABLE,
    GFP_NOFAIL,
    GFP_NOMEMALLOC,
    GFP_NORETRY,
    GFP_RECLAIMABLE,
    GFP_RETRY_MAYFAIL,
    MAINLINE_RULE,
    MIGRATE_CMA,
    MIGRATE_HIGHATOMIC,
    MIGRATE_ISOLATE,
    MIGRATE_MOVABLE,
    MIGRATE_PCPTYPES,
    MIGRATE_RECLAIMABLE,
    MIGRATE_UNMOVABLE,
    REFUSE,
    TRY_CLAIM,
    TRY_END,
    TRY_STEAL,
    WMARK_HIGH,
    WMARK_LOW,
    WMARK_MIN,
)
from kevacuate.mm.policy_calls import (
    claim_block,
    compact_range,
    enough_to_claim,
    evacuate_block,
    evacuations_pending,
    find_suitable_fallback,
    free_list_first,
    free_list_next,
    free_pages_of_block,
    get_pfnblock_migratetype,
    has_unmovable_page,
    isolate_block,
    managed_pages,
    max_page_order,
    migrate_batch,
    migrate_cursor,
    movable_pages_of_block,
    now,
    nr_free,
    nr_free_of_type,
    nr_free_pages,
    nr_nodes,
    nr_pageblocks,
    nr_zones,
    page_zone,
    pageblock_order,
    rmqueue_turn,
    should_try_claim_block,
    shrink_slab,
    spent,
    unisolate_block,
    wake_worker,
    wakeup_kcompactd,
    wmark_pages,
    zone_end_pfn,
    zone_node,
    zone_start_pfn,
)
from kevacuate.policy.hooks import Hooks, by_block, by_zone, counter, knob, number, numbers, share

FUNCTIONS = (
    now, nr_nodes, nr_zones, zone_node, zone_start_pfn, zone_end_pfn, nr_pageblocks, pageblock_order, max_page_order, page_zone,
    nr_free_pages, managed_pages, wmark_pages, nr_free, nr_free_of_type,
    free_list_first, free_list_next, get_pfnblock_migratetype, free_pages_of_block, movable_pages_of_block, has_unmovable_page,
    evacuations_pending, find_suitable_fallback, should_try_claim_block, enough_to_claim, rmqueue_turn, evacuate_block,
    wake_worker, claim_block, isolate_block, unisolate_block, wakeup_kcompactd, migrate_batch, migrate_cursor, compact_range,
    shrink_slab, spent,
)  # fmt: skip
"""The functions that hooks may call."""

WORKER_ONLY = (
    claim_block, isolate_block, unisolate_block, wakeup_kcompactd, migrate_batch, migrate_cursor, compact_range, shrink_slab, spent,
)  # fmt: skip
"""Those that only the hook ``worker`` may call."""

__all__ = [
    "...`` (docs/policies.md).", "ALLOC_CMA", "ALLOC_HIGHATOMIC", "ALLOC_NOFRAGMENT", "ALLOC_NON_BLOCK", "CLAIM",
    "FALLBACK_EMPTY", "FALLBACK_NOCLAIM", "FPI_TO_TAIL", "FUNCTIONS", "GFP_ATOMIC", "GFP_DIRECT_RECLAIM", "GFP_HIGH",
    "GFP_KERNEL", "GFP_MOVABLE", "GFP_NOFAIL", "GFP_NOMEMALLOC", "GFP_NORETRY", "GFP_RECLAIMABLE", "GFP_RETRY_MAYFAIL", "Hooks",
    "MAINLINE_RULE", "MIGRATE_CMA", "MIGRATE_HIGHATOMIC", "MIGRATE_ISOLATE", "MIGRATE_MOVABLE", "MIGRATE_PCPTYPES",
    "MIGRATE_RECLAIMABLE", "MIGRATE_UNMOVABLE", "REFUSE", "TRY_CLAIM", "TRY_END", "TRY_STEAL", "WMARK_HIGH", "WMARK_LOW",
    "WMARK_MIN", "WORKER_ONLY", "by_block", "by_zone", "claim_block", "compact_range", "counter", "enough_to_claim",
    "evacuate_block", "evacuations_pending", "find_suitable_fallback", "free_list_first", "free_list_next",
    "free_pages_of_block", "get_pfnblock_migratetype", "has_unmovable_page", "isolate_block", "knob", "managed_pages",
    "max_page_order", "migrate_batch", "migrate_cursor", "movable_pages_of_block", "now", "nr_free", "nr_free_of_type",
    "nr_free_pages", "nr_nodes", "nr_pageblocks", "nr_zones", "number", "numbers", "page_zone", "pageblock_order",
    "rmqueue_turn", "share", "should_try_claim_block", "shrink_slab", "spent", "unisolate_block", "wake_worker",
    "wakeup_kcompactd", "wmark_pages", "zone_end_pfn", "zone_node", "zone_start_pfn",
]  # fmt: skip
