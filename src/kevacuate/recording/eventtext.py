# SPDX-License-Identifier: GPL-2.0-or-later
"""How the kernel prints its events, and which printed value belongs to which column.

:data:`PRINTED` holds the print formats (``print fmt`` of the format files, Linux 7.2), with a column in place
of each value: ``{pfn:x}`` is the column pfn in hexadecimal, ``{d:status}`` a column whose numbers have names,
``?`` marks what not every kernel prints. Values that a recording does not keep are left out, and at the end
of a few lines stand values that the kernel does not print but a recording keeps. One table serves both ways:
:mod:`.eventparse` reads such lines, :func:`print_events` writes them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kevacuate.recording.gfptext import gfp_text
from kevacuate.recording.schema import EVENT_SPECS, NO_PFN, EventChunk, EventKind

_ISOLATE = "range=({pfn:x} ~ {a:x}) nr_scanned={b} nr_taken={c}"
_ZONE_ORDER = "node={a} zone={b:zone} order={order} ret={c:status}"
_DEFER = "zone={a:zone} order={order} order_failed={d} consider={b} limit={c:limit}"
_KCOMPACTD = "nid={a} order={order} classzone_idx={b:zone}"
_CACHED = "dev {b:dev} ino {a:ino} pfn={pfn:x} ofs={c:ofs} order={order?}"
_READ = "dev={b:dev} ino={a:ino} ofs={c:ofs}-{d:end}"

PRINTED: dict[str, str] = {
    "mm_page_alloc": "page={pfn:page} pfn={pfn:given} order={order} migratetype={mt} gfp_flags={gfp:gfp}",
    "mm_page_free": "page={pfn:page} pfn={pfn:x} order={order}",
    "mm_page_free_batched": "page={pfn:page} pfn={pfn:x} order=0",
    "mm_page_alloc_zone_locked": (
        "page={pfn:page} pfn={pfn:given} order={order} migratetype={mt} percpu_refill={a?}"
    ),
    "mm_page_pcpu_drain": "page={pfn:page} pfn={pfn:x} order={order} migratetype={mt}",
    "mm_page_alloc_extfrag": (
        "page={pfn:page} pfn={pfn:x} alloc_order={order} fallback_order={a} pageblock_order={a:block} "
        "alloc_migratetype={mt} fallback_migratetype={b} fragmenting={a:smaller} change_ownership={c}"
    ),
    "mm_setup_per_zone_wmarks": (
        "node_id={mt} zone name={order:zone} watermark min={a} low={b} high={c} promo={d?}"
    ),
    "mm_calculate_totalreserve_pages": "totalreserve_pages={a}",
    "gt_rmq": "kind={a} zone={b} order={order} mt={mt} val={c:x} count={d}",
    "gt_list": "op={a} pfn={pfn:x} order={order} mt={mt} new_mt={b}",
    "gt_capt": "pfn={pfn:x} order={order} mt={mt} cap_mt={a}",
    "gt_blk": "pfn={pfn:x} old_mt={mt} new_mt={a}",
    "gt_evac": "op={order} pfn={pfn:x} a={a} b={b} c={c} d={d}",
    "gt_rec": "pfn={pfn:x} order={order} what={b} flags={a:x} who={c}",
    "gt_lru": "op={b} pfn={pfn:x} order={order} flags={a:x}",
    "gt_mig": "op={b} old={pfn:x} new={a:x} order={order} mode={c} reason={mt} rc={d}",
    "gt_cz": (
        "op={a:byte0} order={a:signed1} mode={a:byte2} result={a:byte3} flags={a:flags} zone={a:byte6} mt={a:byte7} "
        "mig={pfn:x} free={b:x} cap={d:upper} cached_migrate0={c:lower} cached_migrate1={c:upper} cached_free={d:lower}"
    ),
    "gt_slow": (
        "op={a} order={order} mt={mt} prio={b:byte0} res={b:byte1} gfp={gfp:x} aflags={c:x} val={pfn:x} "
        "nfree={d}"
    ),
    "gt_gen": "op={b:byte0} type={b:byte1} pfn={pfn:x} order={b:byte2} flags={a:x} a={b:byte3} b={c} c={d}",
    "gt_dump": "kind={a} zone={b} a={c:low} b={c:high} val={d}",
    "mm_compaction_isolate_migratepages": _ISOLATE,
    "mm_compaction_isolate_freepages": _ISOLATE,
    "mm_compaction_fast_isolate_freepages": _ISOLATE,
    "mm_compaction_migratepages": "nr_migrated={a} nr_failed={b}",
    "mm_compaction_begin": (
        "zone_start={b:x} migrate_pfn={pfn:x} free_pfn={a:x} zone_end={c:x}, mode={order:sync}"
    ),
    "mm_compaction_end": (
        "zone_start={b:x} migrate_pfn={pfn:x} free_pfn={a:x} zone_end={c:x}, mode={order:sync} status={d:status}"
    ),
    "mm_compaction_try_to_compact_pages": "order={order} gfp_mask={gfp:gfp} priority={a?}",
    "mm_compaction_finished": _ZONE_ORDER,
    "mm_compaction_suitable": _ZONE_ORDER,
    "mm_compaction_deferred": _DEFER,
    "mm_compaction_defer_compaction": _DEFER,
    "mm_compaction_defer_reset": _DEFER,
    "mm_compaction_kcompactd_sleep": "nid={a}",
    "mm_compaction_wakeup_kcompactd": _KCOMPACTD,
    "mm_compaction_kcompactd_wake": _KCOMPACTD,
    "mm_migrate_pages_start": "mode={order:mode} reason={mt:reason}",
    "mm_migrate_pages": (
        "nr_succeeded={a} nr_failed={b} nr_thp_succeeded={c?} nr_split={d?} mode={order:mode} reason={mt:reason}"
    ),
    "set_migration_pte": "addr={a:hex}, pte={pfn:entry} order={order}",
    "remove_migration_pte": "addr={a:hex}, pte={pfn:pte} order={order}",
    "mm_vmscan_kswapd_wake": "nid={a} order={order} zid={b?}",
    "mm_vmscan_kswapd_sleep": "nid={a}",
    "mm_vmscan_wakeup_kswapd": "nid={a} order={order} gfp_flags={gfp:gfp?} zid={b?}",
    "mm_vmscan_balance_pgdat_begin": "nid={a} order={order} highest_zoneidx={b:zone}",
    "mm_vmscan_balance_pgdat_end": "nid={a} order={order} highest_zoneidx={b:zone} nr_reclaimed={c}",
    "mm_vmscan_direct_reclaim_begin": "order={order} gfp_flags={gfp:gfp}",
    "mm_vmscan_direct_reclaim_end": "nr_reclaimed={a}",
    "mm_vmscan_lru_isolate": ("order={order} nr_requested={a} nr_scanned={b} nr_taken={c} lru={mt:lru?}"),
    "mm_vmscan_lru_shrink_inactive": (
        "nid={a} nr_scanned={b} nr_reclaimed={c} nr_writeback={d?} priority={order} flags={mt:writeback}"
    ),
    "mm_vmscan_lru_shrink_active": (
        "nid={a} nr_taken={b} nr_active={c} nr_deactivated={d} priority={order} flags={mt:writeback}"
    ),
    "mm_vmscan_write_folio": "page={pfn:page} pfn={pfn:x} flags={a:writeback}",
    "mm_vmscan_reclaim_pages": "nid={a} nr_scanned={b} nr_reclaimed={c} nr_writeback={d}",
    "mm_shrink_slab_start": (
        "nid: {a?} objects to shrink {b} gfp_flags {gfp:gfp} cache items {c} total_scan {d} priority {order?}"
    ),
    "mm_shrink_slab_end": ("nid: {a?} unused scan count {c} new scan count {d} last shrinker return val {b}"),
    "mm_vmscan_throttled": "nid={a} usec_timeout={b} usect_delayed={c}",
    "mm_vmscan_kswapd_reclaim_fail": "nid={a} failures={b}",
    "mm_vmscan_kswapd_clear_hopeless": "nid={a}",
    "mm_lru_insertion": "pfn={pfn:x} lru={a}",
    "mm_lru_activate": "pfn={pfn:x}",
    "mm_filemap_add_to_page_cache": _CACHED,
    "mm_filemap_delete_from_page_cache": _CACHED,
    "mm_filemap_get_pages": _READ,
    "mm_filemap_fault": "dev={b:dev} ino={a:ino} ofs={c:ofs}",
    "mm_filemap_map_pages": _READ,
}
"""Event name to its line."""

_STATUS = (
    "not_suitable_zone", "skipped", "deferred", "no_suitable_page", "continue", "complete", "partial_skipped",
    "contended", "success",
)  # fmt: skip
_REASON = (
    "compaction", "memory_failure", "memory_hotplug", "syscall_or_cpuset", "mempolicy_mbind", "numa_misplaced",
    "contig_range", "longterm_pin", "demotion", "damon",
)  # fmt: skip

SYMBOLS: dict[str, dict[int, str]] = {
    "status": dict(enumerate(_STATUS)),
    "reason": dict(enumerate(_REASON)),
    "mode": dict(enumerate(("MIGRATE_ASYNC", "MIGRATE_SYNC_LIGHT", "MIGRATE_SYNC"))),
    "lru": dict(enumerate(("inactive_anon", "active_anon", "inactive_file", "active_file", "unevictable"))),
    "sync": {0: "async", 1: "sync"},
}
"""Names of numbers, as Linux 7.2 has them (trace/events/mmflags.h, migrate.h)."""

WRITEBACK: dict[int, str] = {
    0x01: "RECLAIM_WB_ANON",
    0x02: "RECLAIM_WB_FILE",
    0x10: "RECLAIM_WB_MIXED",
    0x04: "RECLAIM_WB_SYNC",
    0x08: "RECLAIM_WB_ASYNC",
}
"""Flags of trace/events/vmscan.h, in the order in which they are printed."""

NO_WRITEBACK = "RECLAIM_WB_NONE"

PRINTED_PAGE_SHIFT = 12
"""Offsets in files are printed in bytes, and the lines do not say how large a page is: 4 KiB is taken."""


class Place(NamedTuple):
    """A ``{column:form?}`` of a print format, with the words before it."""

    label: str
    column: str
    form: str
    optional: bool


class Facts(NamedTuple):
    """What of the machine some lines show."""

    zone_names: tuple[str, ...]
    pageblock_order: int


_PLACE = re.compile(r"\{(\w+)(?::(\w+))?(\?)?\}")


def places(template: str) -> Iterator[Place]:
    """The places of a print format; the label is ``x`` of ``x=``, or the words before the value."""
    last = 0
    for match in _PLACE.finditer(template):
        before = template[last : match.start()]
        label = before.rstrip("=").split()[-1] if before.endswith("=") else before.strip(" :,()")
        last = match.end()
        yield Place(label, match[1], match[2] or "", bool(match[3]))


Column = npt.NDArray[Any]
Formatter = Callable[[Column, Facts], list[Any]]


def _unsigned(column: Column) -> list[int]:
    return [int(x) for x in column.astype(np.int64).view(np.uint64)]


def _words(names: dict[int, str]) -> Formatter:
    return lambda column, facts: [names.get(x, str(x)) for x in column.tolist()]


def _zone(column: Column, facts: Facts) -> list[str]:
    names = {i: f"{name:<8}" for i, name in enumerate(facts.zone_names)}
    return [names.get(x, str(x)) for x in column.tolist()]


def _writeback(column: Column, facts: Facts) -> list[str]:
    cache: dict[int, str] = {}
    for value in set(column.tolist()):
        names = [name for bit, name in WRITEBACK.items() if value & bit]
        rest = value & ~sum(WRITEBACK)
        cache[value] = "|".join(names + ([hex(rest & 0xFFFFFFFFFFFFFFFF)] if rest else [])) or NO_WRITEBACK
    return [cache[x] for x in column.tolist()]


def _gfp(column: Column, facts: Facts) -> list[str]:
    cache = {value: gfp_text(value) for value in set(column.tolist())}
    return [cache[x] for x in column.tolist()]


def _entry(column: Column, facts: Facts) -> list[str]:
    """Migration entries of these pfns, their other bits unknown: see :func:`.ringbuf.pte_pfn`."""
    inverted = ~((column.astype(np.int64) << 9) | 0x101)
    return [
        f"{x:x}" if pfn >= 0 else "0" for x, pfn in zip(_unsigned(inverted), column.tolist(), strict=True)
    ]


def _pte(column: Column, facts: Facts) -> list[str]:
    """Present page-table entries of these pfns, their other bits unknown."""
    return [f"{pfn << 12 | 1:x}" if pfn >= 0 else "0" for pfn in column.tolist()]


PACKED: dict[str, tuple[int, int]] = {
    **{f"byte{n}": (8 * n, 8) for n in range(8)},
    "signed1": (8, 8),
    "flags": (32, 16),
    "lower": (0, 32),
    "upper": (32, 32),
}
"""Forms of a field that shares its column with others: its lowest bit there, and how many it has."""


def _bits(shift: int, width: int) -> Formatter:
    """Some bits of a column that holds several fields."""
    return lambda column, facts: (column.astype(np.int64) >> shift & (1 << width) - 1).tolist()


_FORMS: dict[str, tuple[str, Formatter]] = {
    "": ("%d", lambda column, facts: column.tolist()),
    "x": ("0x%x", lambda column, facts: _unsigned(column)),
    "hex": ("%x", lambda column, facts: _unsigned(column)),
    "given": ("0x%x", lambda column, facts: _unsigned(np.where(column == NO_PFN, 0, column))),
    "page": ("%s", lambda column, facts: [f"0x{x:x}" if x >= 0 else "(nil)" for x in column.tolist()]),
    "gfp": ("%s", _gfp),
    "zone": ("%s", _zone),
    "writeback": ("%s", _writeback),
    "limit": ("%d", lambda column, facts: [1 << (x & 63) for x in column.tolist()]),
    "entry": ("%s", _entry),
    "pte": ("%s", _pte),
    "dev": ("%s", lambda column, facts: [f"{x >> 20}:{x & 0xFFFFF}" for x in column.tolist()]),
    "ino": ("%x", lambda column, facts: _unsigned(column)),
    "ofs": ("%d", lambda column, facts: (column << PRINTED_PAGE_SHIFT).tolist()),
    "end": ("%d", lambda column, facts: ((column + 1 << PRINTED_PAGE_SHIFT) - 1).tolist()),
    "low": ("%d", lambda column, facts: (column & 0xFF).tolist()),
    "high": ("%d", lambda column, facts: (column >> 8).tolist()),
    **{
        form: ("%d" if width == 8 else "0x%x", _bits(shift, width)) for form, (shift, width) in PACKED.items()
    },
    "signed1": ("%d", lambda column, facts: (((column >> 8 & 0xFF) ^ 0x80) - 0x80).tolist()),
    "block": ("%d", lambda column, facts: [facts.pageblock_order] * len(column)),
    "smaller": ("%d", lambda column, facts: (column < facts.pageblock_order).tolist()),
    **{name: ("%s", _words(names)) for name, names in SYMBOLS.items()},
}

NAMES: dict[int, str] = {int(spec.kind): name for name, spec in EVENT_SPECS.items()}
"""Kind to the kernel's name of the event."""


def _compiled(name: str) -> tuple[str, list[tuple[str, Formatter]]]:
    template = PRINTED[name]
    text = _PLACE.sub(lambda m: _FORMS[m[2] or ""][0], template.replace("%", "%%"))
    return f"{name}: {text}", [(p.column, _FORMS[p.form][1]) for p in places(template)]


_COMPILED = {int(EVENT_SPECS[name].kind): _compiled(name) for name in PRINTED}


def print_events(chunk: EventChunk, facts: Facts) -> list[str]:
    """The lines' ends, from the event's name on, of all events of the chunk in order."""
    lines: npt.NDArray[np.object_] = np.empty(chunk.rows, object)
    for kind in np.unique(chunk.kind).tolist():
        at = np.flatnonzero(chunk.kind == kind)
        part = chunk.take(at)
        if kind not in _COMPILED:
            lines[at] = f"unknown_{EventKind(kind).name.lower() if kind in NAMES else kind}:"
            continue
        text, columns = _COMPILED[kind]
        values = [form(getattr(part, column), facts) for column, form in columns]
        lines[at] = [text % row for row in zip(*values, strict=True)]
    result: list[str] = lines.tolist()
    return result
