# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's constants and the model's. The fields of the state are in :mod:`kevacuate.mm.fields`.

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
from kevacuate.kernel.hooks import ListOp
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
NR_ZONE_TYPES = 4

PCP_BATCH_SCALE_MAX = 5
COMPACT_CLUSTER_MAX = 32
SWAP_CLUSTER_MAX = 32
SWAP_CLUSTER_MAX_SKIPPED = SWAP_CLUSTER_MAX << 10
DEF_PRIORITY = 12
FOLIO_BATCH_SIZE = 31
NR_MAX_MIGRATE_PAGES_RETRY = 10
NR_MAX_MIGRATE_ASYNC_RETRY = 3
NR_MAX_MIGRATE_SYNC_RETRY = NR_MAX_MIGRATE_PAGES_RETRY - NR_MAX_MIGRATE_ASYNC_RETRY
MAX_RECLAIM_RETRIES = 16  # mm/internal.h
MAX_COMPACT_RETRIES = 16  # mm/page_alloc.c

# States of chunks: the high nibble of ``meta``; the low nibble is the order. 0 is any page but a chunk's head.
CHUNK_TAIL = 0
CHUNK_BUDDY = 1
CHUNK_PCP = 2
CHUNK_ALLOC = 3
CHUNK_RESERVED = 4
CHUNK_ISOLATED = 5

# Attributes of an allocated chunk. Those below 256 come with the allocation.
ATTR_LRU = int(PageAttr.LRU)
ATTR_FILE = int(PageAttr.FILE)
ATTR_DIRTY = int(PageAttr.DIRTY)
ATTR_WRITEBACK = int(PageAttr.WRITEBACK)
ATTR_PINNED = int(PageAttr.PINNED)
ATTR_BUSY = int(PageAttr.BUSY)
ATTR_MOVABLE_OPS = int(PageAttr.MOVABLE_OPS)
ATTR_MLOCKED = int(PageAttr.MLOCKED)
ATTR_STATIC = 255
ATTR_ON_LRU = 256
ATTR_IN_BATCH = 512
ATTR_FREED = 1024
# Those that follow are set in closed loop alone: PG_active, PG_referenced, PG_workingset, PG_reclaim, and a place in a CPU's
# lru_activate batch. The first four go with a folio that is migrated (folio_migrate_flags).
ATTR_ACTIVE = 2048
ATTR_REFERENCED = 4096
ATTR_WORKINGSET = 8192
ATTR_RECLAIM = 16384
ATTR_SLAB = ATTR_WORKINGSET
"""Of a page that never is on an LRU list: asked for as reclaimable during the replay, so a slab that a shrinker may empty. It is
noted only where a policy shrinks slabs."""
ATTR_ACTIVATING = 32768
ATTR_DIRTIED = 0x3FFF0000  # when the folio was made dirty (mm/writeback.py)
ATTR_YOUNG = 0x40000000  # a page table that maps the folio has an accessed bit (in closed loop)
ATTR_MIGRATED = (
    ATTR_STATIC | ATTR_ACTIVE | ATTR_REFERENCED | ATTR_WORKINGSET | ATTR_RECLAIM | ATTR_DIRTIED | ATTR_YOUNG
)

# LRU lists (enum lru_list): anonymous ones and those of files, active ones one further; the unevictable ones are counted alone.
LRU_INACTIVE_ANON = 0
LRU_ACTIVE_ANON = 1
LRU_INACTIVE_FILE = 2
LRU_ACTIVE_FILE = 3
LRU_UNEVICTABLE = 4
NR_LRU_LISTS = 5
LRU_LISTS = 4  # of a node, with a list head each
LRU_HEADS = 8 * LRU_LISTS  # list heads at the front of ``lru``: of 8 nodes
LRU_GEN_ANON, LRU_GEN_FILE = 0, 1
"""Types of generations (include/linux/mmzone.h at 7.2, as what follows)."""
MIN_NR_GENS = 2
MAX_NR_GENS = 4
MAX_NR_TIERS = 4
LRU_REFS_WIDTH = 2
MOST_LRU_REFS = 3  # LRU_REFS_MASK: uses of a folio that are counted behind the first one
MIN_LRU_BATCH = 64
NR_GEN_LISTS = MAX_NR_GENS * 2 * 4  # of a node: by generation, type and zone index
LRU_BATCH = 16  # pairs of words in ``lru`` that a CPU's lru_activate batch takes: its count, then its folios
SHADOW_MASK = 0x7FFFFFFF  # what a shadow entry keeps of nonresident_age

# What State.obj holds for an object without a page.
OBJ_NONE = -1
OBJ_DROPPED = -2
IN_SWAP = -1
"""Second word of a dropped object's pair in ``lru``, where its page is in swap; the first is its slot then (mm/swapfile.py)."""
OBJ_SHRUNK = -4  # its slab was shrunk by a policy

# zsmalloc (mm/zsmalloc.c): fullness groups of a size class; what a handle takes of an object; sizes of classes, in bytes.
ZS_INUSE_99 = 10
ZS_INUSE_100 = 11
NR_ZS_FULLNESS = 12
ZS_HANDLE_SIZE = 8
ZS_SIZE_CLASS_DELTA = 16
ZS_MIN_ALLOC_SIZE = 32
ZS_MAX_PAGES_PER_ZSPAGE = 8
PAGE_SIZE = 4096
SWAP_UNIT_SHIFT = 29  # 2**29 ns: how often an anonymous page in use is taken to be used (mm/swap_use.py)
MAX_SWAPPINESS = 200

# Pageblock bits (include/linux/pageblock-flags.h): 3 type bits, skip, isolate.
PB_TYPE_MASK = 7
PB_COMPACT_SKIP = 8
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
ALLOC_CHEAP = (
    0x1000  # the model's own: the request has a cheap fallback (mm/slowpath_flags.py, has_cheap_fallback)
)
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
KSWAPD_NAP = 3  # the short sleep of kswapd_try_to_sleep, in closed loop
KSWAPD_NAP_NS = 102_000_000  # HZ/10, and half a jiffy at HZ 250: a timer ends at a tick
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

# How a request left the slow path of a closed loop (__alloc_pages_slowpath).
EXIT_NO_ZONE = 0
EXIT_FREELIST = 1
EXIT_RECLAIM = 2
EXIT_COMPACT = 3
EXIT_CANNOT_RECLAIM = 4
EXIT_COMPACT_ONLY = 5
EXIT_NORETRY = 6
EXIT_COSTLY = 7
EXIT_OOM_HIGH = 8
EXIT_NO_OOM = 9
EXIT_OOM = 10
EXIT_OOM_NOFAIL = 11
EXIT_NOFAIL = 12
EXIT_RETRIED = 13
EXIT_RESERVES = 14
EXIT_NAMES = (
    "no zone",
    "page from the free lists",
    "page after direct reclaim",
    "page after direct compaction",
    "may not reclaim",
    "compacts only",
    "__GFP_NORETRY",
    "costly order",
    "page at HIGH before the OOM killer",
    "no OOM killer for it",
    "out of memory",
    "out of memory, page without marks for __GFP_NOFAIL",
    "page from the reserve for __GFP_NOFAIL",
    "page from the free lists after a retry",
    "page without marks",
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
L_DIRECT_COMPACT = 22
L_DIRECT_COMPACT_END = 23
L_OOM = 25
L_DIRECT_RECLAIM = 24
L_ZONE_LOCKED = 32
L_PCPU_DRAIN = 33
L_LIST = 34
LIST_ADD, LIST_ADD_TAIL, LIST_DELETE, LIST_MOVE = (
    int(ListOp.ADD),
    int(ListOp.ADD_TAIL),
    int(ListOp.DELETE),
    int(ListOp.MOVE),
)
LIST_ROTATE_FIRST, LIST_ROTATE_LAST = int(ListOp.ROTATE_FIRST), int(ListOp.ROTATE_LAST)

# Compaction (mm/compaction.c): the private free pages of a compaction are a page state and a list "type" of their own.
CHUNK_COMPACT = 6
FREEPAGES = 6  # kcompactd's cc->freepages: place of its list among a zone's lists of an order
FREEPAGES_DIRECT = 7  # a direct compaction's
PMD_ORDER = 9  # PMD_SHIFT - PAGE_SHIFT of x86-64, and of arm64 with pages of 4 KiB
KCOMPACTD_NS = 512_000_000  # HPAGE_FRAG_CHECK_INTERVAL_MSEC, 500, as the timer wheel rounds it at HZ 250
COMPACT_MAX_DEFER_SHIFT = 6
MIGRATE_ASYNC = 0  # enum migrate_mode
MIGRATE_SYNC_LIGHT = 1
MIGRATE_SYNC = 2
COMPACT_PRIO_SYNC_FULL = 0  # enum compact_priority
COMPACT_PRIO_SYNC_LIGHT = 1
COMPACT_PRIO_ASYNC = 2
COMPACT_SKIPPED = 1
COMPACT_DEFERRED = 2
COMPACT_CONTINUE = 4
COMPACT_COMPLETE = 5
COMPACT_PARTIAL_SKIPPED = 6
COMPACT_CONTENDED = 7
COMPACT_SUCCESS = 8
COMPACT_NAMES = {
    1: "skipped",
    2: "deferred",
    5: "complete",
    6: "partial_skipped",
    7: "contended",
    8: "success",
}

# Hooks of a policy (mm/hooks.py): bits of cfg.hooks and places in cfg.hook. Their names are those of kevacuate.policy.Hooks.
HOOK_GFP_MIGRATETYPE = 0
HOOK_RMQUEUE = 1
HOOK_FIND_SUITABLE_FALLBACK = 2
HOOK_SHOULD_TRY_CLAIM_BLOCK = 3
HOOK_TRY_TO_CLAIM_BLOCK = 4
HOOK_FREE_ONE_PAGE = 5
HOOK_NR_PCP_ALLOC = 6
HOOK_BLOCK_CLAIMED = 7
HOOK_PAGE_STOLEN = 8
HOOK_WORKER = 9
HOOK_LAST_UNMOVABLE_FREED = 10
NR_HOOKS = 11

# What the hook try_to_claim_block may answer.
REFUSE = 0
CLAIM = 1
MAINLINE_RULE = -1

# What the hook rmqueue may answer besides a migratetype.
TRY_CLAIM = 16
TRY_STEAL = 17
TRY_END = -1
MOST_TURNS = 8

# What may be wrong with a hook: it ended in an exception, returned what is none of its answers, or asked what it may not.
HOOK_RAISED = 1
HOOK_BAD_VALUE = 2
HOOK_BAD_ARGUMENT = 3
HOOK_NOT_HERE = 4
LONGEST_SLEEP = 1 << 50  # ns that a policy's worker may sleep: 13 days
LEAST_SLEEP = 1000  # ns from one of its runs to the next at least: time passes, whatever it says
MOST_ROUNDS = 1 << 20
"""Rounds of loops, and calls of a file's functions, in one call of a hook, all together, after which it is ended."""

# What a policy's worker has the model do (mm/policy_work.py).
DO_MIGRATE_BATCH = 0
DO_COMPACT_RANGE = 1
DO_SHRINK_SLAB = 2
FOR_A_POLICY = (
    4  # what L_COMPACT_BEGIN says of compaction for a policy; 0: kcompactd's, else 1 + a direct one's mode
)
REGIONS = 1 << 40
"""The bit of cfg.hooks that says that regions are kept (mm/regions.py): not a hook of a policy, but looked at where some are."""

# How full a region is, by how many of its pageblocks are free: none, shares below three cut-offs, the rest, all.
REGION_FULL = 0
REGION_ALMOST_EMPTY = 4
REGION_EMPTY = 5
NR_FULLNESS = 6
FULLNESS_NAMES = ("full", "mostly_full", "half_full", "mostly_empty", "almost_empty", "empty")
REGION_AUTO = -1

# Passes of __rmqueue over regions (mm/region_passes.py): which gave a page.
PASS_1 = 0
PASS_2 = 1
PASS_2B = 2
PASS_2C = 3
PASS_2D = 4
PASS_3 = 5
PASS_CLEAN = 6
PASS_SHARED = 7
PASS_RESERVE = 8
NR_PASSES = 9
PASS_NAMES = ("1", "2", "2b", "2c", "2d", "3", "clean", "shared", "reserve")
NR_REGION_ZONES = 32  # zones that a machine may have

HOOK_FAILED = -(1 << 62)
"""What stands for the answer of a hook that failed: mainline's is taken."""
