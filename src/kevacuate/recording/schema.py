# SPDX-License-Identifier: GPL-2.0-or-later
"""What an event of a recording is: kinds, columns with units, and which kernel field fills which column.

One uniform table holds every kind of event. The columns that nearly all kinds need have names (``pfn``,
``order``, ``mt``, ``gfp``); what is left goes to ``a`` to ``d``. :data:`EVENT_SPECS` is the whole mapping.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import Any, NamedTuple, get_args, get_type_hints

import numpy as np
import numpy.typing as npt

from kevacuate.kernel import events, gfp

SCHEMA_VERSION = 1
"""Version of the on-disk format that this program writes, and the newest that it reads."""

NO_PFN = -1
"""The ``pfn`` of an event that has none, or of a failed allocation."""

NO_PID = -1
"""The ``pid`` where the recording did not keep it."""

GFP_BITS, GFP_MASK = gfp.GFP_BITS, gfp.GFP_MASK
"""Bit numbers of the ``gfp`` column and the bits that it keeps: those of Linux 7.2, low 23 (:mod:`kevacuate.kernel.gfp`)."""


class EventKind(IntEnum):
    """Kind of an event; the numbers are stored on disk and never change."""

    MM_PAGE_ALLOC = 1
    MM_PAGE_FREE = 2
    MM_PAGE_FREE_BATCHED = 3
    MM_PAGE_ALLOC_ZONE_LOCKED = 4
    MM_PAGE_PCPU_DRAIN = 5
    MM_PAGE_ALLOC_EXTFRAG = 6
    MM_SETUP_PER_ZONE_WMARKS = 7
    MM_CALCULATE_TOTALRESERVE_PAGES = 8
    GT_RMQ = 16
    GT_LIST = 17
    GT_BLK = 18
    GT_EVAC = 19
    GT_DUMP = 20
    GT_CAPT = 21
    GT_REC = 22
    GT_LRU = 23
    GT_MIG = 24
    GT_CZ = 25
    GT_SLOW = 26
    GT_GEN = 27
    COMPACTION_ISOLATE_MIGRATEPAGES = 32
    COMPACTION_ISOLATE_FREEPAGES = 33
    COMPACTION_FAST_ISOLATE_FREEPAGES = 34
    COMPACTION_MIGRATEPAGES = 35
    COMPACTION_BEGIN = 36
    COMPACTION_END = 37
    COMPACTION_TRY_TO_COMPACT_PAGES = 38
    COMPACTION_FINISHED = 39
    COMPACTION_SUITABLE = 40
    COMPACTION_DEFERRED = 41
    COMPACTION_DEFER_COMPACTION = 42
    COMPACTION_DEFER_RESET = 43
    COMPACTION_KCOMPACTD_SLEEP = 44
    COMPACTION_WAKEUP_KCOMPACTD = 45
    COMPACTION_KCOMPACTD_WAKE = 46
    MIGRATE_PAGES_START = 64
    MIGRATE_PAGES = 65
    SET_MIGRATION_PTE = 66
    REMOVE_MIGRATION_PTE = 67
    VMSCAN_KSWAPD_WAKE = 80
    VMSCAN_KSWAPD_SLEEP = 81
    VMSCAN_WAKEUP_KSWAPD = 82
    VMSCAN_BALANCE_PGDAT_BEGIN = 83
    VMSCAN_BALANCE_PGDAT_END = 84
    VMSCAN_DIRECT_RECLAIM_BEGIN = 85
    VMSCAN_DIRECT_RECLAIM_END = 86
    VMSCAN_LRU_ISOLATE = 87
    VMSCAN_LRU_SHRINK_INACTIVE = 88
    VMSCAN_LRU_SHRINK_ACTIVE = 89
    VMSCAN_WRITE_FOLIO = 90
    VMSCAN_RECLAIM_PAGES = 91
    SHRINK_SLAB_START = 92
    SHRINK_SLAB_END = 93
    VMSCAN_THROTTLED = 94
    VMSCAN_KSWAPD_RECLAIM_FAIL = 95
    VMSCAN_KSWAPD_CLEAR_HOPELESS = 96
    MM_LRU_INSERTION = 112
    MM_LRU_ACTIVATE = 113
    MM_FILEMAP_ADD_TO_PAGE_CACHE = 114
    MM_FILEMAP_DELETE_FROM_PAGE_CACHE = 115
    MM_FILEMAP_GET_PAGES = 116
    MM_FILEMAP_FAULT = 117
    MM_FILEMAP_MAP_PAGES = 118


class EventChunk(NamedTuple):
    """A run of events: equally long arrays, sorted by ``(ts, cpu, position in that CPU's buffer)``."""

    ts: npt.NDArray[np.int64]
    """Nanoseconds of the recording's clock."""
    cpu: npt.NDArray[np.uint16]
    """The CPU on which the event fired."""
    pid: npt.NDArray[np.int32]
    """Task that was running, -1 if not stored."""
    kind: npt.NDArray[np.uint8]
    """An :class:`EventKind`."""
    pfn: npt.NDArray[np.int64]
    """Page frame number, -1 when there is none."""
    order: npt.NDArray[np.int8]
    """Order of the chunk, 0 to 10."""
    mt: npt.NDArray[np.int8]
    """Migratetype: 0 unmovable, 1 movable, 2 reclaimable, 3 highatomic, 4 cma, 5 isolate; -1 for one that Linux 7.2
    does not have."""
    gfp: npt.NDArray[np.uint32]
    """GFP flags, in the bit numbers of :data:`GFP_BITS`."""
    a: npt.NDArray[np.int64]
    b: npt.NDArray[np.int64]
    c: npt.NDArray[np.int64]
    d: npt.NDArray[np.int64]

    @property
    def rows(self) -> int:
        """Number of events."""
        return len(self.ts)

    def take(self, index: npt.NDArray[np.intp] | npt.NDArray[np.bool_] | slice) -> EventChunk:
        """The events that *index* (positions, mask or slice) selects."""
        columns: list[npt.NDArray[Any]] = [column[index] for column in self]
        return EventChunk(*columns)


def column_types(table: type) -> dict[str, type[np.generic]]:
    """Column name to NumPy scalar type of a NamedTuple class of arrays, as its annotations say, in their order."""
    return {name: _scalar_type(kind) for name, kind in get_type_hints(table).items()}


def _scalar_type(kind: Any) -> type[np.generic]:
    """The scalar type of an annotation of an array: NumPy 2.5's NDArray names it itself, those before name it in a dtype."""
    first, *others = get_args(kind)
    found: type[np.generic] = get_args(others[0])[0] if others else first
    return found


COLUMN_TYPES = column_types(EventChunk)
"""Column name to NumPy scalar type, in the order of :class:`EventChunk`."""

VALUE_COLUMNS: tuple[str, ...] = ("pfn", "order", "mt", "gfp", "a", "b", "c", "d")
"""The columns that an event's own fields fill."""


def concat_chunks(chunks: list[EventChunk]) -> EventChunk:
    """The chunks one after the other, as one (empty if there are none)."""
    if len(chunks) == 1:
        return chunks[0]
    columns: list[npt.NDArray[Any]] = [
        np.concatenate([np.empty(0, dtype), *(getattr(chunk, name) for chunk in chunks)])
        for name, dtype in COLUMN_TYPES.items()
    ]
    return EventChunk(*columns)


class EventSpec(NamedTuple):
    """How one kernel event fills the table: kind, and per column the name of the kernel's field.

    A field named ``x|y`` is the adjacent fields x and y (and so on) as one number, the first in its lowest bits. A name
    that ends in ``?`` may be missing (older kernels); the column then has the number behind the ``?``, or without one its
    default (0; -1 for pfn). Old names of fields are in :data:`kevacuate.kernel.events.FIELDS`.
    """

    kind: EventKind
    fields: dict[str, str]

    def field(self, column: str) -> str:
        """The field that fills *column*, without marks; "" if none does."""
        return self.fields.get(column, "").partition("?")[0].lstrip("@")

    def missing(self, column: str) -> int | None:
        """What the column holds where the field is missing, None if it must not be."""
        field, mark, default = self.fields.get(column, "?").partition("?")
        if field and not mark:
            return None
        return int(default) if default else NO_PFN if column == "pfn" else 0


def _spec(kind: EventKind, fields: str) -> EventSpec:
    """One of *fields* as ``COLUMN=FIELD``, or as the name that both have; the columns in the table's order."""
    pairs = (text.partition("=") for text in fields.split())
    return EventSpec(kind, {column: field or column for column, _, field in pairs})


_K = EventKind
_ISOLATE = "pfn=start_pfn? a=end_pfn?-1 b=nr_scanned c=nr_taken"
_ZONE_ORDER = "order a=nid b=idx?-1 c=ret"
_DEFER = "order a=idx?-1 b=considered c=defer_shift d=order_failed"
_KCOMPACTD = "order a=nid b=highest_zoneidx"
_CACHED = "pfn order=order? a=i_ino b=s_dev c=index"
_READ = "a=i_ino b=s_dev c=index d=last_index"

EVENT_SPECS: dict[str, EventSpec] = {
    "mm_page_alloc": _spec(_K.MM_PAGE_ALLOC, "pfn order mt=migratetype gfp=gfp_flags"),
    "mm_page_free": _spec(_K.MM_PAGE_FREE, "pfn order"),
    "mm_page_free_batched": _spec(_K.MM_PAGE_FREE_BATCHED, "pfn"),
    "mm_page_alloc_zone_locked": _spec(
        _K.MM_PAGE_ALLOC_ZONE_LOCKED, "pfn order mt=migratetype a=percpu_refill?"
    ),
    "mm_page_pcpu_drain": _spec(_K.MM_PAGE_PCPU_DRAIN, "pfn order mt=migratetype"),
    "mm_page_alloc_extfrag": _spec(
        _K.MM_PAGE_ALLOC_EXTFRAG,
        "pfn order=alloc_order mt=alloc_migratetype a=fallback_order b=fallback_migratetype c=change_ownership",
    ),
    "mm_setup_per_zone_wmarks": _spec(
        _K.MM_SETUP_PER_ZONE_WMARKS,
        "order=@name mt=node_id a=watermark_min b=watermark_low c=watermark_high d=watermark_promo",
    ),
    "mm_calculate_totalreserve_pages": _spec(_K.MM_CALCULATE_TOTALRESERVE_PAGES, "a=totalreserve_pages"),
    "gt_rmq": _spec(_K.GT_RMQ, "pfn=val order mt a=kind b=zone c=val d=count"),
    "gt_list": _spec(_K.GT_LIST, "pfn order mt a=op b=new_mt"),
    "gt_blk": _spec(_K.GT_BLK, "pfn mt=old_mt a=new_mt"),
    "gt_evac": _spec(_K.GT_EVAC, "pfn order=op a b c d"),
    "gt_capt": _spec(_K.GT_CAPT, "pfn order mt a=cap_mt"),
    "gt_rec": _spec(_K.GT_REC, "pfn order a=flags b=what c=who"),
    "gt_lru": _spec(_K.GT_LRU, "pfn order a=flags b=op"),
    "gt_mig": _spec(_K.GT_MIG, "pfn=old order mt=reason a=new b=op c=mode d=rc"),
    "gt_cz": _spec(
        _K.GT_CZ,
        "pfn=migrate_pfn a=op|order|mode|result|flags|zone|mt b=free_pfn "
        "c=cached_migrate0|cached_migrate1 d=cached_free|captured",
    ),
    "gt_slow": _spec(_K.GT_SLOW, "pfn=val order mt gfp a=op b=prio|res c=aflags d=nfree"),
    "gt_gen": _spec(_K.GT_GEN, "pfn a=flags b=op|type|order|a c=b d=c"),
    "gt_dump": _spec(_K.GT_DUMP, "a=kind b=zone c=a|b d=val"),
    "mm_compaction_isolate_migratepages": _spec(_K.COMPACTION_ISOLATE_MIGRATEPAGES, _ISOLATE),
    "mm_compaction_isolate_freepages": _spec(_K.COMPACTION_ISOLATE_FREEPAGES, _ISOLATE),
    "mm_compaction_fast_isolate_freepages": _spec(_K.COMPACTION_FAST_ISOLATE_FREEPAGES, _ISOLATE),
    "mm_compaction_migratepages": _spec(_K.COMPACTION_MIGRATEPAGES, "a=nr_migrated b=nr_failed"),
    "mm_compaction_begin": _spec(
        _K.COMPACTION_BEGIN, "pfn=migrate_pfn order=sync?-1 a=free_pfn b=zone_start c=zone_end"
    ),
    "mm_compaction_end": _spec(
        _K.COMPACTION_END, "pfn=migrate_pfn order=sync a=free_pfn b=zone_start c=zone_end d=status"
    ),
    "mm_compaction_try_to_compact_pages": _spec(
        _K.COMPACTION_TRY_TO_COMPACT_PAGES, "order gfp=gfp_mask a=prio?-1"
    ),
    "mm_compaction_finished": _spec(_K.COMPACTION_FINISHED, _ZONE_ORDER),
    "mm_compaction_suitable": _spec(_K.COMPACTION_SUITABLE, _ZONE_ORDER),
    "mm_compaction_deferred": _spec(_K.COMPACTION_DEFERRED, _DEFER),
    "mm_compaction_defer_compaction": _spec(_K.COMPACTION_DEFER_COMPACTION, _DEFER),
    "mm_compaction_defer_reset": _spec(_K.COMPACTION_DEFER_RESET, _DEFER),
    "mm_compaction_kcompactd_sleep": _spec(_K.COMPACTION_KCOMPACTD_SLEEP, "a=nid"),
    "mm_compaction_wakeup_kcompactd": _spec(_K.COMPACTION_WAKEUP_KCOMPACTD, _KCOMPACTD),
    "mm_compaction_kcompactd_wake": _spec(_K.COMPACTION_KCOMPACTD_WAKE, _KCOMPACTD),
    "mm_migrate_pages_start": _spec(_K.MIGRATE_PAGES_START, "order=mode mt=reason"),
    "mm_migrate_pages": _spec(
        _K.MIGRATE_PAGES, "order=mode mt=reason a=succeeded b=failed c=thp_succeeded? d=large_folio_split?"
    ),
    "set_migration_pte": _spec(_K.SET_MIGRATION_PTE, "pfn=pte order a=addr"),
    "remove_migration_pte": _spec(_K.REMOVE_MIGRATION_PTE, "pfn=pte order a=addr"),
    "mm_vmscan_kswapd_wake": _spec(_K.VMSCAN_KSWAPD_WAKE, "order a=nid b=zid?-1"),
    "mm_vmscan_kswapd_sleep": _spec(_K.VMSCAN_KSWAPD_SLEEP, "a=nid"),
    "mm_vmscan_wakeup_kswapd": _spec(_K.VMSCAN_WAKEUP_KSWAPD, "order gfp=gfp_flags? a=nid b=zid?-1"),
    "mm_vmscan_balance_pgdat_begin": _spec(_K.VMSCAN_BALANCE_PGDAT_BEGIN, "order a=nid b=highest_zoneidx"),
    "mm_vmscan_balance_pgdat_end": _spec(
        _K.VMSCAN_BALANCE_PGDAT_END, "order a=nid b=highest_zoneidx c=nr_reclaimed"
    ),
    "mm_vmscan_direct_reclaim_begin": _spec(_K.VMSCAN_DIRECT_RECLAIM_BEGIN, "order gfp=gfp_flags"),
    "mm_vmscan_direct_reclaim_end": _spec(_K.VMSCAN_DIRECT_RECLAIM_END, "a=nr_reclaimed"),
    "mm_vmscan_lru_isolate": _spec(
        _K.VMSCAN_LRU_ISOLATE, "order mt=lru?-1 a=nr_requested b=nr_scanned c=nr_taken"
    ),
    "mm_vmscan_lru_shrink_inactive": _spec(
        _K.VMSCAN_LRU_SHRINK_INACTIVE,
        "order=priority mt=reclaim_flags a=nid b=nr_scanned c=nr_reclaimed d=nr_writeback?-1",
    ),
    "mm_vmscan_lru_shrink_active": _spec(
        _K.VMSCAN_LRU_SHRINK_ACTIVE,
        "order=priority mt=reclaim_flags a=nid b=nr_taken c=nr_active d=nr_deactivated",
    ),
    "mm_vmscan_write_folio": _spec(_K.VMSCAN_WRITE_FOLIO, "pfn a=reclaim_flags"),
    "mm_vmscan_reclaim_pages": _spec(
        _K.VMSCAN_RECLAIM_PAGES, "a=nid b=nr_scanned c=nr_reclaimed d=nr_writeback"
    ),
    "mm_shrink_slab_start": _spec(
        _K.SHRINK_SLAB_START,
        "order=priority?-1 gfp=gfp_flags a=nid?-1 b=nr_objects_to_shrink c=cache_items d=total_scan",
    ),
    "mm_shrink_slab_end": _spec(_K.SHRINK_SLAB_END, "a=nid?-1 b=retval c=unused_scan d=new_scan"),
    "mm_vmscan_throttled": _spec(_K.VMSCAN_THROTTLED, "a=nid b=usec_timeout c=usec_delayed"),
    "mm_vmscan_kswapd_reclaim_fail": _spec(_K.VMSCAN_KSWAPD_RECLAIM_FAIL, "a=nid b=failures"),
    "mm_vmscan_kswapd_clear_hopeless": _spec(_K.VMSCAN_KSWAPD_CLEAR_HOPELESS, "a=nid"),
    "mm_lru_insertion": _spec(_K.MM_LRU_INSERTION, "pfn a=lru"),
    "mm_lru_activate": _spec(_K.MM_LRU_ACTIVATE, "pfn"),
    "mm_filemap_add_to_page_cache": _spec(_K.MM_FILEMAP_ADD_TO_PAGE_CACHE, _CACHED),
    "mm_filemap_delete_from_page_cache": _spec(_K.MM_FILEMAP_DELETE_FROM_PAGE_CACHE, _CACHED),
    "mm_filemap_get_pages": _spec(_K.MM_FILEMAP_GET_PAGES, _READ),
    "mm_filemap_fault": _spec(_K.MM_FILEMAP_FAULT, "a=i_ino b=s_dev c=index"),
    "mm_filemap_map_pages": _spec(_K.MM_FILEMAP_MAP_PAGES, _READ),
}
"""The kernel's event names and how each fills the table; events not listed here are counted and skipped.

``@name`` (watermarks) is the index of the zone with that name, -1 if the name is unknown. The pfn of a
migration entry is decoded from its pte: see :mod:`kevacuate.recording.ringbuf`. ``gt_rmq``'s pfn is its val
for the kinds (3, 4, 5) whose val is one, else -1.
"""


def event_name(name: str) -> str:
    """Linux 7.2's name of the event of that name, old or new."""
    return events.EVENTS[name].name if name in events.EVENTS else name


def event_spec(name: str) -> EventSpec | None:
    """How the event of that name, old or new, fills the table; None if it is none of a recording's."""
    return EVENT_SPECS.get(event_name(name))


def field_names(event: str, field: str) -> tuple[str, ...]:
    """Names of an event's *field*, newest first; () of ""."""
    old = events.FIELDS.get(event_name(event), {})
    return (field, *(name for name, new in old.items() if new == field)) if field else ()


ALL_KINDS: frozenset[int] = frozenset(int(k) for k in EventKind)


def kind_set(kinds: Iterable[int] | None) -> frozenset[int]:
    """The wanted kinds as a set of ints; ``None`` is all of them."""
    return ALL_KINDS if kinds is None else frozenset(int(k) for k in kinds)
