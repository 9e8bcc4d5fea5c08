# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's constants and the model's. The fields of the state are in :mod:`kevacuate.mm.fields`.

Numba freezes module-level integers into the compiled code, so all of them live here, where the cache key
(:func:`kevacuate.mm.jit.source_digest`) sees every change.
"""

from __future__ import annotations

# Migratetypes (include/linux/mmzone.h at 7.2).
MIGRATE_UNMOVABLE = 0
MIGRATE_MOVABLE = 1
MIGRATE_RECLAIMABLE = 2
MIGRATE_HIGHATOMIC = 3
MIGRATE_PCPTYPES = 3
MIGRATE_CMA = 4
MIGRATE_ISOLATE = 5
MIGRATE_TYPES = 6
MIGRATE_NAMES = ("unmovable", "movable", "reclaimable", "highatomic", "cma", "isolate")

# Zone indices.
ZONE_DMA = 0
ZONE_DMA32 = 1
ZONE_NORMAL = 2
ZONE_MOVABLE = 3
ZONE_NAMES = ("DMA", "DMA32", "Normal", "Movable")

PAGE_ALLOC_COSTLY_ORDER = 3
PCP_BATCH_SCALE_MAX = 5
COMPACT_CLUSTER_MAX = 32
SWAP_CLUSTER_MAX = 32
FOLIO_BATCH_SIZE = 31
NR_MIGRATE_PASSES = 10  # NR_MAX_MIGRATE_PAGES_RETRY

# Page states: the high nibble of ``meta``; the low nibble is the order. 0 is any page but a chunk's head.
PG_TAIL = 0
PG_BUDDY = 1
PG_PCP = 2
PG_ALLOC = 3
PG_RESERVED = 4
PG_ISOLATED = 5

# Attributes of an allocated chunk. Those below 256 come with the allocation.
ATTR_LRU = 1
ATTR_FILE = 2
ATTR_DIRTY = 4
ATTR_WRITEBACK = 8
ATTR_PINNED = 16
ATTR_BUSY = 32
ATTR_MOVABLE_OPS = 64
ATTR_STATIC = 255
ATTR_ON_LRU = 256
ATTR_IN_BATCH = 512
ATTR_FREED = 1024

# Pageblock bits (include/linux/pageblock-flags.h): 3 type bits, skip, isolate.
PB_TYPE_MASK = 7
PB_SKIP = 8
PB_ISOLATE = 16
PB_ABSENT = 32
"""No page of the block exists, or not yet: the zone spans a hole there. The kernel has no such bit, but no pageblock either."""
NO_ZONE = 255

# gfp bits, numbered as Linux 7.2 does (include/linux/gfp_types.h).
GFP_DMA = 1 << 0
GFP_HIGHMEM = 1 << 1
GFP_DMA32 = 1 << 2
GFP_MOVABLE = 1 << 3
GFP_RECLAIMABLE = 1 << 4
GFP_HIGH = 1 << 5
GFP_IO = 1 << 6
GFP_FS = 1 << 7
GFP_ZERO = 1 << 8
GFP_DIRECT_RECLAIM = 1 << 10
GFP_KSWAPD_RECLAIM = 1 << 11
GFP_WRITE = 1 << 12
GFP_NOWARN = 1 << 13
GFP_RETRY_MAYFAIL = 1 << 14
GFP_NOFAIL = 1 << 15
GFP_NORETRY = 1 << 16
GFP_MEMALLOC = 1 << 17
GFP_COMP = 1 << 18
GFP_NOMEMALLOC = 1 << 19
GFP_HARDWALL = 1 << 20
GFP_THISNODE = 1 << 21
GFP_RECLAIM = GFP_DIRECT_RECLAIM | GFP_KSWAPD_RECLAIM
GFP_KERNEL = GFP_RECLAIM | GFP_IO | GFP_FS
GFP_ATOMIC = GFP_HIGH | GFP_KSWAPD_RECLAIM
GFP_HIGHUSER_MOVABLE = GFP_KERNEL | GFP_HARDWALL | GFP_HIGHMEM | GFP_MOVABLE
GFP_TRANSHUGE_LIGHT = (GFP_HIGHUSER_MOVABLE | GFP_COMP | GFP_NOMEMALLOC | GFP_NOWARN) & ~GFP_RECLAIM
GFP_TRANSHUGE = GFP_TRANSHUGE_LIGHT | GFP_DIRECT_RECLAIM

# alloc_flags (mm/internal.h at 7.2).
WMARK_MIN = 0
WMARK_LOW = 1
WMARK_HIGH = 2
WMARK_PROMO = 3
ALLOC_WMARK_MASK = 3
ALLOC_NO_WATERMARKS = 0x04
ALLOC_OOM = 0x08
ALLOC_NON_BLOCK = 0x10
ALLOC_MIN_RESERVE = 0x20
ALLOC_CPUSET = 0x40
ALLOC_CMA = 0x80
ALLOC_NOFRAGMENT = 0x100
ALLOC_HIGHATOMIC = 0x200
ALLOC_TRYLOCK = 0x400
ALLOC_KSWAPD = 0x800
ALLOC_RESERVES = ALLOC_NON_BLOCK | ALLOC_MIN_RESERVE | ALLOC_HIGHATOMIC | ALLOC_OOM

# Modes of __rmqueue.
RMQUEUE_NORMAL = 0
RMQUEUE_CMA = 1
RMQUEUE_CLAIM = 2
RMQUEUE_STEAL = 3

# find_suitable_fallback's answers that are not a type.
FALLBACK_EMPTY = -1
FALLBACK_NOCLAIM = -2

# fpi flags.
FPI_NONE = 0
FPI_TO_TAIL = 2

# Room for lists.
NR_ORDERS = 16  # orders a zone has room for
NR_TYPES = 8  # types a list array has room for
LISTS_PER_ZONE = NR_ORDERS * NR_TYPES
PCP_LISTS = 16  # room per (zone, CPU); 14 are used, 12 without THP
NR_PCP_LISTS = 14

# pcp->flags (include/linux/mmzone.h).
PCPF_PREV_FREE_HIGH_ORDER = 1
PCPF_FREE_HIGH_BATCH = 2

# States of an evacuation's worker, of a kswapd and of a kcompactd; when who has nothing to do is due.
WORKER_IDLE = 0
WORKER_START = 1
WORKER_ISOLATE = 2
WORKER_RECLAIM = 3
WORKER_MIGRATE = 4
KSWAPD_IDLE = 0
KSWAPD_WOKEN = 1
KSWAPD_RUNNING = 2
KCOMPACTD_IDLE = 0
KCOMPACTD_WOKEN = 1
KCOMPACTD_RUNNING = 2
NEVER = 1 << 62

# How an evacuation ended (the ``why`` of gt_evac 9).
WHY_END = 0
WHY_ERROR = 1
WHY_EAGAIN = 2
WHY_EMPTY_EARLY = 3
WHY_EMPTY = 4
WHY_MIGRATE_FAILED = 5
WHY_NAMES = (
    "ran to the end of the block",
    "error",
    "too many isolated (-EAGAIN)",
    "nothing isolated early",
    "nothing isolated up to the block's end",
    "a page failed to migrate",
)
EAGAIN = 11
ENOMEM = 12

# Kinds of log records (docs/model.md, section Log).
L_EXTFRAG = 1
L_EVAC_CLAIM = 2
L_EVAC_QUEUED = 3
L_EVAC_DROPPED = 4
L_IRQ_WORK = 5
L_EVAC_STARTED = 6
L_EVAC_SKIPPED = 7
L_EVAC_ISOLATE = 8
L_EVAC_RECLAIM = 9
L_EVAC_MIGRATE = 10
L_EVAC_PUTBACK = 11
L_EVAC_FINISHED = 12
L_ALLOC_FAILED = 13
L_BLOCK_TYPE = 14
L_BOOST = 15
L_HIGHATOMIC_RESERVE = 16
L_HIGHATOMIC_UNRESERVE = 17
L_KSWAPD = 18
L_COMPACT_BEGIN = 19
L_COMPACT_END = 20
L_COMPACT_MIGRATE = 21
L_ZONE_LOCKED = 32
L_PCPU_DRAIN = 33
L_LIST = 34
LOG_NAMES = {
    L_EXTFRAG: "mm_page_alloc_extfrag",
    L_EVAC_CLAIM: "try_to_claim_block",
    L_EVAC_QUEUED: "queue_pageblock_evacuate",
    L_EVAC_DROPPED: "evacuate_item_alloc: none left",
    L_IRQ_WORK: "evacuate_irq_work_fn",
    L_EVAC_STARTED: "evacuate_pageblock",
    L_EVAC_SKIPPED: "evacuate_pageblock: movable again",
    L_EVAC_ISOLATE: "isolate_migratepages_range",
    L_EVAC_RECLAIM: "reclaim_clean_pages_from_list",
    L_EVAC_MIGRATE: "migrate_pages",
    L_EVAC_PUTBACK: "putback_movable_pages",
    L_EVAC_FINISHED: "evacuate_item_free",
    L_ALLOC_FAILED: "alloc_pages failed",
    L_BLOCK_TYPE: "set_pageblock_migratetype",
    L_BOOST: "boost_watermark",
    L_HIGHATOMIC_RESERVE: "reserve_highatomic_pageblock",
    L_HIGHATOMIC_UNRESERVE: "unreserve_highatomic_pageblock",
    L_KSWAPD: "kswapd",
    L_COMPACT_BEGIN: "mm_compaction_begin",
    L_COMPACT_END: "mm_compaction_end",
    L_COMPACT_MIGRATE: "mm_compaction_migratepages",
    L_ZONE_LOCKED: "mm_page_alloc_zone_locked",
    L_PCPU_DRAIN: "mm_page_pcpu_drain",
    L_LIST: "free list",
}

# Compaction (mm/compaction.c): the private free pages of a compaction are a page state and a list "type" of their own.
PG_COMPACT = 6
FREEPAGES = 6  # cc->freepages: place of its list among a zone's lists of an order
KCOMPACTD_NS = 512_000_000  # HPAGE_FRAG_CHECK_INTERVAL_MSEC, 500, as the timer wheel rounds it at HZ 250
COMPACT_MAX_DEFER_SHIFT = 6
COMPACT_SKIPPED = 1
COMPACT_DEFERRED = 2
COMPACT_CONTINUE = 4
COMPACT_COMPLETE = 5
COMPACT_PARTIAL_SKIPPED = 6
COMPACT_CONTENDED = 7
COMPACT_SUCCESS = 8
COMPACT_NAMES = {5: "complete", 6: "partial_skipped", 7: "contended", 8: "success"}
