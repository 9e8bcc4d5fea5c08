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


ZONES_PER_NODE = 16
"""The zone of gt_* events is its index within its node plus this many for each node before it."""
