# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's constants, and the meaning of every field of the model's flat arrays.

Numba freezes module-level integers into the compiled code, so all of them live here, where the cache key
(:func:`kevacuate.jit.source_digest`) sees every change.
"""

from __future__ import annotations

from kevacuate.kernel.gfp import GFP_ATOMIC as GFP_ATOMIC
from kevacuate.kernel.gfp import GFP_COMP as GFP_COMP
from kevacuate.kernel.gfp import GFP_DIRECT_RECLAIM as GFP_DIRECT_RECLAIM
from kevacuate.kernel.gfp import GFP_DMA as GFP_DMA
from kevacuate.kernel.gfp import GFP_DMA32 as GFP_DMA32
from kevacuate.kernel.gfp import GFP_FS as GFP_FS
from kevacuate.kernel.gfp import GFP_HARDWALL as GFP_HARDWALL
from kevacuate.kernel.gfp import GFP_HIGH as GFP_HIGH
from kevacuate.kernel.gfp import GFP_HIGHMEM as GFP_HIGHMEM
from kevacuate.kernel.gfp import GFP_HIGHUSER_MOVABLE as GFP_HIGHUSER_MOVABLE
from kevacuate.kernel.gfp import GFP_IO as GFP_IO
from kevacuate.kernel.gfp import GFP_KERNEL as GFP_KERNEL
from kevacuate.kernel.gfp import GFP_KSWAPD_RECLAIM as GFP_KSWAPD_RECLAIM
from kevacuate.kernel.gfp import GFP_MEMALLOC as GFP_MEMALLOC
from kevacuate.kernel.gfp import GFP_MOVABLE as GFP_MOVABLE
from kevacuate.kernel.gfp import GFP_NOFAIL as GFP_NOFAIL
from kevacuate.kernel.gfp import GFP_NOMEMALLOC as GFP_NOMEMALLOC
from kevacuate.kernel.gfp import GFP_NORETRY as GFP_NORETRY
from kevacuate.kernel.gfp import GFP_NOWARN as GFP_NOWARN
from kevacuate.kernel.gfp import GFP_RECLAIM as GFP_RECLAIM
from kevacuate.kernel.gfp import GFP_RECLAIMABLE as GFP_RECLAIMABLE
from kevacuate.kernel.gfp import GFP_RETRY_MAYFAIL as GFP_RETRY_MAYFAIL
from kevacuate.kernel.gfp import GFP_THISNODE as GFP_THISNODE
from kevacuate.kernel.gfp import GFP_TRANSHUGE as GFP_TRANSHUGE
from kevacuate.kernel.gfp import GFP_TRANSHUGE_LIGHT as GFP_TRANSHUGE_LIGHT
from kevacuate.kernel.gfp import GFP_WRITE as GFP_WRITE
from kevacuate.kernel.gfp import GFP_ZERO as GFP_ZERO
from kevacuate.kernel.migratetypes import MIGRATE_CMA as MIGRATE_CMA
from kevacuate.kernel.migratetypes import MIGRATE_HIGHATOMIC as MIGRATE_HIGHATOMIC
from kevacuate.kernel.migratetypes import MIGRATE_ISOLATE as MIGRATE_ISOLATE
from kevacuate.kernel.migratetypes import MIGRATE_MOVABLE as MIGRATE_MOVABLE
from kevacuate.kernel.migratetypes import MIGRATE_PCPTYPES as MIGRATE_PCPTYPES
from kevacuate.kernel.migratetypes import MIGRATE_RECLAIMABLE as MIGRATE_RECLAIMABLE
from kevacuate.kernel.migratetypes import MIGRATE_TYPES as MIGRATE_TYPES
from kevacuate.kernel.migratetypes import MIGRATE_UNMOVABLE as MIGRATE_UNMOVABLE
from kevacuate.kernel.migratetypes import NAMES
from kevacuate.kernel.pageattr import PageAttr
from kevacuate.kernel.pcp import PAGE_ALLOC_COSTLY_ORDER as PAGE_ALLOC_COSTLY_ORDER

MIGRATE_NAMES = NAMES

# Zone indices.
ZONE_DMA = 0
ZONE_DMA32 = 1
ZONE_NORMAL = 2
ZONE_MOVABLE = 3
ZONE_NAMES = ("DMA", "DMA32", "Normal", "Movable")

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
ATTR_LRU = int(PageAttr.LRU)
ATTR_FILE = int(PageAttr.FILE)
ATTR_DIRTY = int(PageAttr.DIRTY)
ATTR_WRITEBACK = int(PageAttr.WRITEBACK)
ATTR_PINNED = int(PageAttr.PINNED)
ATTR_BUSY = int(PageAttr.BUSY)
ATTR_MOVABLE_OPS = int(PageAttr.MOVABLE_OPS)
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

# Strides of the flat arrays.
NR_ORDERS = 16  # orders a zone has room for
NR_TYPES = 8  # types a list array has room for
LISTS_PER_ZONE = NR_ORDERS * NR_TYPES
PCP_LISTS = 16  # room per (zone, CPU); 14 are used, 12 without THP
NR_PCP_LISTS = 14

# ``zone``: stride and fields (int64).
ZS = 64
Z_NODE = 0
Z_INDEX = 1
Z_START = 2
Z_END = 3
Z_MANAGED = 4
Z_WMARK = 5  # 5..8: MIN, LOW, HIGH, PROMO
Z_BOOST = 9
Z_LOWMEM = 10  # 10..13: lowmem_reserve by highest zone index
Z_NR_FREE = 14
Z_NR_FREE_CMA = 15
Z_NR_FREE_HIGHATOMIC = (
    16  # what watermark tests subtract for the reserve: its free pages, in old kernels all of it
)
Z_NR_FREE_BLOCKS = 17
Z_BELOW_HIGH = 18
Z_BOOSTED = 19  # ZONE_BOOSTED_WATERMARK
Z_RECLAIM_ACTIVE = 20
Z_NR_RESERVED_HIGHATOMIC = 21
Z_NR_LRU = 22
Z_NR_ISOLATED = 23
Z_CACHED_MIGRATE_PFN = 24
Z_BOOST_SEEN = 25  # what kswapd will give back
Z_PRESENT = 26
Z_NR_ISOLATE_BLOCKS = 27
Z_AREA = 32  # 32..47: nr_free per order

# ``pcp``: stride and fields (int32).
PS = 8
P_COUNT = 0
P_HIGH = 1
P_HIGH_MIN = 2
P_HIGH_MAX = 3
P_BATCH = 4
P_FLAGS = 5
P_ALLOC_FACTOR = 6
P_FREE_COUNT = 7  # in kernels with a fixed high: free_factor, which an allocation halves all the same
PCPF_PREV_FREE_HIGH_ORDER = 1
PCPF_FREE_HIGH_BATCH = 2

# ``cfg``: parameters that never change during a run (int64).
C_NPAGES = 0
C_NZONES = 1
C_NCPUS = 2
C_NNODES = 3
C_MAX_PAGE_ORDER = 4
C_PAGEBLOCK_ORDER = 5
C_HPAGE_ORDER = 6
C_ZONE_DMA32 = 7
C_DEFRAG_MODE = 8
C_BOOST_FACTOR = 9
C_MOBILITY_DISABLED = 10
C_LOG_LEVEL = 11
C_LOG_CAPACITY = 12
C_VMSTAT_PHASE = 13
C_KSWAPD_WAKE = 14
C_KSWAPD_RUN = 15
C_NWORKERS = 16
C_EVACUATE = 17
C_POOL = 18
C_PER_NODE = 19
C_SKIP_HINT = 20
C_WORK_NS = 21
C_IRQ_WORK_NS = 22
C_WAKEUP_NS = 23
C_SCAN_NS = 24
C_ISOLATE_NS = 25
C_RECLAIM_NS = 26
C_MIGRATE_NS = 27
C_TIME_SCALE = 28
C_NR_PCP_LISTS = 29
C_PCP_BASE = 30  # index of the first pcp list's sentinel
C_OFF_READY = 31  # offset in ``cfg`` of the per-node "func is set" flags
C_OFF_CPU_NODE = 32  # offset of each CPU's node
C_OFF_NODE_CPU = 33  # offset of each node's lowest CPU
C_OFF_ZONELIST = 34  # offset of the zonelists: per node, count then zones
C_OFF_ITEMS = 35  # offsets in ``work``
C_OFF_PENDING = 36
C_OFF_WORKERS = 37
C_OFF_KSWAPD = 38
C_OFF_TICKS = 39
C_NPAGES_REAL = 40
C_OPEN_LOOP = 41
C_EXTFRAG_THRESHOLD = 42
C_STAT_INTERVAL = 43
C_STEAL_SUITABLE = 48  # switches of the kernel profile (mm/profile.py)
C_REFUSE_HIGHATOMIC = 49
C_MERGE_RETYPES = 50
C_FREE_PIECE_ORDER = 51  # largest order that a free to the buddy lists is cut into
C_PCP_TYPE_CACHED = 52
C_OFF_PCP_TYPE = 53  # offset in ``block`` of the types noted of pages on per-CPU lists
C_PCP_FIXED = 54
C_SUB_BATCHES = 55
C_FREE_HIGH_SHIFT = 56  # free_high needs free_count >= batch + (high_min >> this)
C_BELOW_HIGH = 57  # what get_page_from_freelist writes into Z_BELOW_HIGH
C_DECAY = 58
C_FREE_HIGHATOMIC = 59
C_RESERVE_ANY_PATH = 60
C_RESERVE_ONE_MORE = 61
C_ISOLATE_TYPE = 62
C_SKIP_AWAKE = 63  # pass over nodes whose kswapd is awake: more than one node, and a kernel that does
C_BOOST_WAKES_ALL = 64
C_LISTS_FOLLOW_BLOCKS = 65
C_SPLIT_BY_BLOCK = 66
C_FIXED = 72

# ``stat``: the clock and the counters (int64).
T_NOW = 0
T_NEXT_DUE = 1
T_CPU = 2  # the CPU that acts
T_NLOG = 3  # records written to ``log`` since it was last taken (more than the capacity: some were lost)
T_ALLOCS = 4
T_FREES = 5
T_ALLOC_FAILED = 6
T_REFILLS = 7
T_DRAINS = 8
T_SLOWPATH = 9
T_BOOSTS = 10
T_QUEUED = 11
T_DROPPED = 12
T_UNREADY = 13
T_IRQ_WORKS = 14
T_STARTED = 15
T_SKIPPED = 16
T_STARTED_SKIP_BIT = 17
T_FINISHED = 18
T_WHY = 20  # 20..27: evacuations by how they ended
T_ISOLATED = 28
T_RECLAIMED = 29
T_MIGRATED = 30
T_FAILED = 31
T_WORKER_NS = 32
T_CLAIM_REFUSED = 33
T_KSWAPD_WAKES = 34
T_GUARD_REFUSED = 35
T_BULK_ALLOCS = 36
T_HIGHATOMIC_RESERVED = 37
T_HIGHATOMIC_UNRESERVED = 38
T_FREED_WHILE_ISOLATED = 39
T_DROPPED_THEN_FREED = 40  # demand frees of what the model had dropped
T_FAILED_THEN_FREED = 41  # demand frees of what the model could not allocate
T_BAD_FREE = 42  # demand frees of what was never allocated
T_DST_ALLOCS = 43
T_TAIL_PLACED = 44
T_DECAYS = 45
T_WATERMARK_REFUSED = 46
T_BELOW_WATERMARK = 47  # pages that an open loop took below the mark
T_MODE = 48  # 48..51: pages taken per mode of __rmqueue
T_CAPTURE_ORDER = 52  # capture_control of the task that is freeing: order (-1: none), type, zone,
T_CAPTURE_MT = 53
T_CAPTURE_ZONE = 54
T_CAPTURED_PFN = 55  # what it captured, -1 so far
T_EXTFRAG = 64  # [kind of kernel/extfrag.py 3][start 3][fallback 3][fallback order 16]
T_SIZE = 64 + 3 * 3 * 3 * 16

# ``work``: evacuate items, pending lists, workers, kswapd, vmstat ticks (int64).
W_FREELIST = 0
W_FIXED = 8
IS = 4  # an item: zone, start pfn, next, time queued
I_ZONE = 0
I_PFN = 1
I_NEXT = 2
I_TIME = 3
WK_STATE = 0
WK_DUE = 1
WK_BUSY = 2
WK_ITEM = 3
WK_CURSOR = 4
WK_NLIST = 5
WK_HEAD = 6
WK_TAIL = 7
WK_ISOLATED = 8
WK_RECLAIMED = 9
WK_MIGRATED = 10
WK_FAILED = 11
WK_LIST = 16  # the private list (cc.migratepages), front first
WK_DST = 48  # scratch of migrate_pages: destinations,
WK_UNMAPPED = 80  # unmapped sources,
WK_FAILED_LIST = 112  # failed ones
WS = 144
WORKER_IDLE = 0
WORKER_START = 1
WORKER_ISOLATE = 2
WORKER_RECLAIM = 3
WORKER_MIGRATE = 4
KS = 8  # a kswapd
KS_STATE = 0
KS_DUE = 1
KS_ORDER = 2  # pgdat->kswapd_order: asked for since it last began
KS_HI = 3  # pgdat->kswapd_highest_zoneidx, -1 (MAX_NR_ZONES there): nobody has asked since
KS_ALLOC_ORDER = 4  # of this run: the order asked for,
KS_RECLAIM_ORDER = 5  # the order that balance_pgdat returns,
KS_RUN_HI = 6  # the highest zone index
KSWAPD_IDLE = 0
KSWAPD_WOKEN = 1
KSWAPD_RUNNING = 2
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

# ``lru``: one batch per CPU (int32): count, then pfns.
LS = 32

# ``log``: records of eight int64 (docs/model.md).
LR = 8
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

# ``zone``: compaction's caches.
Z_CACHED_MIGRATE_SYNC = 48
Z_CACHED_FREE_PFN = 49
Z_INIT_MIGRATE_PFN = 50
Z_INIT_FREE_PFN = 51
Z_COMPACT_CONSIDERED = 52
Z_COMPACT_DEFER_SHIFT = 53
Z_COMPACT_ORDER_FAILED = 54

# ``cfg``.
C_OFF_KCOMPACTD = 45
C_COMPACTION = 46  # whether kcompactd runs; 2: what compact_zone does is given from outside
C_PROACTIVENESS = 47

# ``stat``.
T_COMPACTIONS = 56
T_COMPACT_MIGRATED = 57
T_COMPACT_FAILED = 58
T_COMPACT_NS = 59

# ``work``: a kcompactd with its compact_control; then, one pageblock's worth each, sources and destinations.
KC_STATE = 0
KC_DUE = 1
KC_MAX_ORDER = 2  # pgdat->kcompactd_max_order: asked for and not yet done
KC_HI = 3  # pgdat->kcompactd_highest_zoneidx
KC_RUN_HI = 4  # cc->highest_zoneidx of this run
KC_ZONE = 5
KC_ORDER = 6
KC_PROACTIVE = 7
KC_MIGRATE_PFN = 8
KC_FREE_PFN = 9
KC_LAST_MIGRATED = 10
KC_WHOLE_ZONE = 11
KC_SEARCH_FAIL = 12
KC_SEARCH_ORDER = 13
KC_FAST_START = 14
KC_FINISH_BLOCK = 15
KC_NR_MIGRATE = 16  # cc->nr_migratepages, pages
KC_NR_FREE = 17  # cc->nr_freepages, pages
KC_FOLIOS = 18  # folios among the sources
KC_SCORE = 19  # fragmentation score before a proactive run
KC_COST = 20  # ns of this turn
KC_LEFT = 21  # sources not looked at yet
KC_FAILED = 22  # folios of this batch that failed
KC_ENOMEM = 23  # whether destinations ran out in it
KC_LISTS = 24
KCOMPACTD_IDLE = 0
KCOMPACTD_WOKEN = 1
KCOMPACTD_RUNNING = 2
