# SPDX-License-Identifier: GPL-2.0-or-later
"""The events of a kernel with the recording hooks: what the numbers in their fields say.

No released kernel has these ``gt_*`` events. They are emitted by Linux 7.2 with hooks in mm/page_alloc.c, mm/compaction.c and,
where it is applied, the evacuation patch; the names beside the numbers are the functions that they stand in.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag


class RmqKind(IntEnum):
    """``kind`` of ``gt_rmq``: what is asked of the buddy allocator or the per-CPU lists. Kept in column ``a``."""

    BULK = 0
    """rmqueue_bulk: a refill; val = alloc_flags, count = chunks asked for."""
    BUDDY = 1
    """rmqueue_buddy: a direct allocation; val = alloc_flags."""
    DRAIN = 2
    """free_pcppages_bulk: count pages; mt = the index of the list that is asked first."""
    FREE = 3
    """free_one_page, past the per-CPU lists; val = pfn."""
    BULK_PAGE = 4
    """alloc_pages_bulk hands out a page, which no stock event shows; val = pfn."""
    INSERT = 5
    """free_frozen_page_commit puts a chunk on a per-CPU list; val = pfn, mt = the list's index. Not recorded everywhere."""


LAST_REQUEST = int(RmqKind.FREE)
"""Kinds up to this one are requests to the buddy allocator."""

ZONE_INDEX = 15
"""Bits of a recorded zone number that are the zone's index in its node; above them stands the node."""

OF_A_PAGE = (RmqKind.FREE, RmqKind.BULK_PAGE, RmqKind.INSERT)
"""Kinds whose val is a pfn."""

FIRST_OF_A_PAGE, LAST_OF_A_PAGE = int(min(OF_A_PAGE)), int(max(OF_A_PAGE))

OF_A_LIST = (RmqKind.DRAIN, RmqKind.INSERT)
"""Kinds whose mt is the index of a per-CPU list."""


class ListOp(IntEnum):
    """``op`` of ``gt_list``: what became of a chunk on a free list. Kept in column ``a``; those below DELETE add it."""

    ADD = 0
    """add_to_free_list, at the head."""
    ADD_TAIL = 1
    """add_to_free_list, at the tail."""
    DELETE = 2
    """del_page_from_free_list."""
    MOVE = 3
    """move_to_free_list: to the tail of the list of ``new_mt``."""
    ROTATE_FIRST = 4
    """Compaction rotated the list (move_freelist_head, move_freelist_tail): the chunk is now first."""
    ROTATE_LAST = 5
    """The same: the chunk is now last."""


class EvacOp(IntEnum):
    """``op`` of ``gt_evac``, which is kept in column ``order``: steps of an evacuation; CLAIM is emitted by every kernel."""

    CLAIM = 0
    """try_to_claim_block below pageblock order: a = type asked for << 8 | block's type, b = free pages, c = movable pages,
    d = whether it was claimed."""
    QUEUED = 1
    DROPPED = 2
    """No item was left in the pool."""
    NOT_READY = 3
    """The node's workqueue was not made yet."""
    STARTED = 4
    """The worker looks at the block: a = type << 8 | skip bit, b = free pages, c = heads on LRU lists, d = slab pages."""
    SKIPPED = 5
    """The block is movable again."""
    ISOLATE = 6
    """isolate_migratepages_range: a = return value, b = pages isolated, c to d = offsets scanned."""
    RECLAIM = 7
    """reclaim_clean_pages_from_list: a = pages dropped, b = left."""
    MIGRATE = 8
    """migrate_pages: a = return value, b = pages given, c = pages that succeeded."""
    FINISHED = 9
    """a = isolated, b = dropped, c = migrated, d = failed << 8 | why it ended."""
    AFTER = 10
    """The block at the end; fields as of STARTED."""
    SCAN = 11
    """More of a look: a = the op it belongs to, b = other used pages, c = pages of reference count 0."""


class CompactZoneOp(IntEnum):
    """``op`` of ``gt_cz``, the lowest byte of column ``a``: what becomes of the compaction of a zone."""

    BEGINS = 0
    """compact_zone begins."""
    ENDS = 1
    """It returns; its result is in bits 24 to 31."""
    NONE = 2
    """The zone was deferred or skipped, or nothing was to do."""


class MigrationOp(IntEnum):
    """``op`` of ``gt_mig``, which is kept in column ``b``: the way of a folio through a migration."""

    ISOLATED = 0
    MOVED = 1
    NOT_UNMAPPED = 2
    NOT_MOVED = 3
    """It was unmapped, and not moved."""


class FolioFlag(IntFlag):
    """``flags`` of ``gt_rec`` and ``gt_lru``: what the folio was before the decision."""

    FILE = 1
    ANON = 2
    SWAPBACKED = 4
    MAPPED = 8
    DIRTY = 16
    WRITEBACK = 32
    UNEVICTABLE = 64
    MLOCKED = 128
    REFERENCED = 256
    WORKINGSET = 512
    RECLAIM = 1024
    """To be rotated to the tail when written."""
    ACTIVE = 2048
    PRIVATE = 4096
    """It has buffers."""


class RecWhat(IntEnum):
    """``what`` of ``gt_rec``: what shrink_folio_list made of a folio. Kept in column ``b``."""

    RECLAIMED = 0
    ACTIVATED_REFERENCED = 1
    KEPT_REFERENCED = 2
    KEPT_LOCKED = 3
    NOT_EVICTABLE = 4
    KEPT_MAPPED = 5
    WRITEBACK_IMMEDIATE = 6
    WRITEBACK = 7
    WAITED = 8
    NO_SWAP = 9
    KEPT_ANON = 10
    STILL_MAPPED = 11
    PINNED = 12
    DIRTY = 13
    KEPT_DIRTY = 14
    PAGEOUT = 15
    BUFFERS = 16
    KEPT_MAPPING = 17
    FREED_BY_OTHER = 18
    DEMOTED = 19
    POISONED = 20


class LruOp(IntEnum):
    """``op`` of ``gt_lru``: how a folio moved between LRU lists; the first three are shrink_active_list's. Kept in ``b``."""

    DEACTIVATED = 0
    KEPT_ACTIVE = 1
    NOT_EVICTABLE = 2
    ROTATED = 3
    DEACTIVATE_FILE = 4
    DEACTIVATE = 5
    LAZYFREE = 6


class GenOp(IntEnum):
    """``op`` of ``gt_gen``, the low byte of column ``b``; behind it type, order and field a: steps of the multi-gen LRU.

    flags are :class:`FolioFlag` in bits 0 to 15, uses (folio_lru_refs) in 16 to 19, and in 20 to 23 the
    generation modulo 4, plus 1 (0: none), before the step unless said otherwise. type is 0 for anonymous memory, 1 for files.
    """

    EVICT = 0
    """evict_folios begins: pfn = nr_to_scan, order = that asked for, a = priority, b = min_seq of anonymous memory, c = of files;
    flags = who | swappiness << 8 | reclaim_idx << 16."""
    SORTED = 1
    """sort_folio: a = what becomes of the folio (0 unevictable, 1 promoted, 2 protected, 3 used most, 4 of too high a zone,
    5 isolated), b = the last tier that is not protected, c = min_seq."""
    SCANNED = 2
    """scan_folios ends: pfn = nr_to_scan, flags = pages sorted, a = tier, b = pages scanned, c = pages isolated."""
    REJECTED = 3
    """evict_folios looks at a folio that shrink_folio_list left: a = 0 tried again, 1 made active, 2 neither, 3 unevictable."""
    PUT_BACK = 4
    """move_folios_to_lru: flags after it."""
    MIN_SEQ = 5
    """min_seq of a type moves: a = 1 by inc_min_seq, b = min_seq, c = max_seq, after it."""
    MOVED_UP = 6
    """inc_min_seq moves a folio to the next generation."""
    MAX_SEQ = 7
    """inc_max_seq: flags = swappiness, b = min_seq of anonymous memory, c = of files."""
    YOUNG = 8
    """walk_update_folio: a page table was used: a = 1 found by a walk, b = the youngest generation, c = dirty."""
    AGED = 9
    """try_to_shrink_lruvec has aged: a = whether a generation began, b = nr_to_scan, c = priority."""
    SHRUNK = 10
    """try_to_shrink_lruvec ends: pfn = pages reclaimed, flags = nr_to_reclaim, a = priority, b = nr_to_scan left, c = first."""
    ACCESSED = 11
    """lru_gen_inc_refs: folio_mark_accessed."""
    LISTED = 12
    """A folio batch: a = 1 added, 2 activated, 3 rotated, 4 deactivated (file), 5 deactivated, 6 lazyfree; flags after it."""
    REFAULT = 13
    """lru_gen_refault: a = 1 if recent, b = uses, c = whether it was working set; flags after it."""
    LOOKED_AROUND = 14
    """lru_gen_look_around: a = 1 for a walk, b = entries looked at, c = those used."""
    SHADOW = 16
    """lru_gen_eviction: b = tier, c = min_seq."""


class DumpKind(IntEnum):
    """``kind`` of ``gt_dump``: rows of a dump of the whole allocator. Kept in column ``a``."""

    HEADER = 0
    ZONE = 1
    BLOCK = 2
    FREE = 3
    """A free chunk, in list order."""
    PCP = 4
    """A field of a per-CPU list set."""
    PCP_PAGE = 5
    """A chunk on a per-CPU list, in list order."""
    END = 6
    LRU_FOLIO = 7
    """A folio on an LRU list, in list order, after the end of the allocator's state: zone = list (:class:`LruList`)."""
    LRU_END = 8
    GEN_SEQ = 9
    """The multi-gen LRU, before LRU_END: zone 0 max_seq (b: whether it is on), 1 and 2 min_seq by type, 3 age of generation a."""
    GEN_TIER = 10
    """Feedback: zone = type, a = tier, b = 0 avg_refaulted, 1 avg_total, 2 protected, 3 evicted, 4 refaulted."""
    GEN_PAGES = 11
    """Pages: zone = zone index, a = generation modulo 4, b = type."""
    GEN_FOLIO = 12
    """A folio on a generation's list, in list order: zone = zone index | type << 7, a = order, b = generation modulo 4,
    val = pfn | flags << 32, as those of gt_gen."""


ZONES_PER_NODE = 16
"""The zone of gt_* events is its index within its node plus this many for each node before it."""
