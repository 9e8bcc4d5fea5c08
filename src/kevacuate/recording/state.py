# SPDX-License-Identifier: GPL-2.0-or-later
"""A whole allocator at one moment: zones, ordered free lists, block types, per-cpu lists.

:func:`state_from_dump` builds one from the ``gt_dump`` events of a kernel with the recording hooks.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kevacuate.errors import KevacuateError
from kevacuate.kernel.hooks import ZONES_PER_NODE, DumpKind
from kevacuate.recording.schema import EventChunk

BOOT_TAG = "b"
"""Tag of the dump taken when the buddy allocator had just been filled."""


@dataclass(frozen=True)
class ZoneState:
    """Fields of one struct zone; sizes and marks in pages, ``cached_migrate_pfn`` as (async, sync).

    ``nr_free`` is the kernel's counter NR_FREE_PAGES, without what each CPU has not yet added to it: with
    several CPUs it differs from the free lists by a few pages (7 of 245,244 were seen). The lists are exact.
    """

    index: int
    name: str = ""
    start_pfn: int = 0
    spanned: int = 0
    present: int = 0
    managed: int = 0
    watermark: tuple[int, ...] = (0, 0, 0, 0)
    boost: int = 0
    lowmem_reserve: tuple[int, ...] = ()
    flags: int = 0
    nr_free: int = 0
    nr_reserved_highatomic: int = 0
    nr_free_highatomic: int = 0
    cached_free_pfn: int = 0
    cached_migrate_pfn: tuple[int, ...] = (0, 0)
    compact_considered: int = 0
    compact_defer_shift: int = 0
    compact_order_failed: int = 0
    totalreserve: int = 0


class FreePages(NamedTuple):
    """The buddy's free lists, in list order: each list's entries stand together, the list's head first."""

    zone: npt.NDArray[np.int16]
    order: npt.NDArray[np.int8]
    mt: npt.NDArray[np.int8]
    pfn: npt.NDArray[np.int64]


class Blocks(NamedTuple):
    """The pageblocks in order of pfn: first pfn, migratetype, compaction's skip bit."""

    zone: npt.NDArray[np.int16]
    pfn: npt.NDArray[np.int64]
    mt: npt.NDArray[np.int8]
    skip: npt.NDArray[np.bool_]


class PcpFields(NamedTuple):
    """struct per_cpu_pages, one row per (zone, cpu); counts in pages, ``nr_lists`` lists."""

    zone: npt.NDArray[np.int16]
    cpu: npt.NDArray[np.int16]
    count: npt.NDArray[np.int32]  # type: ignore[assignment]  # hides tuple.count, as the kernel's name
    high: npt.NDArray[np.int32]
    high_min: npt.NDArray[np.int32]
    high_max: npt.NDArray[np.int32]
    batch: npt.NDArray[np.int32]
    flags: npt.NDArray[np.int32]
    alloc_factor: npt.NDArray[np.int32]
    free_count: npt.NDArray[np.int32]
    nr_lists: npt.NDArray[np.int32]


class PcpPages(NamedTuple):
    """Chunks on the pcp lists, in list order, head first; ``pindex`` is the list's number."""

    zone: npt.NDArray[np.int16]
    cpu: npt.NDArray[np.int16]
    pindex: npt.NDArray[np.int8]
    pfn: npt.NDArray[np.int64]


class LruFolios(NamedTuple):
    """The folios on LRU lists, each list's together and its head first, and those in the CPUs' folio batches, in their order."""

    owner: npt.NDArray[np.int16]
    """The node of a list, the CPU of a batch."""
    lru: npt.NDArray[np.int8]
    """``enum lru_list``: 0 to 3 (inactive and active, anonymous and of files), 4 unevictable; 5 lru_add, 6 lru_activate."""
    pfn: npt.NDArray[np.int64]
    attr: npt.NDArray[np.int32]
    """The model's attributes that no page flag shows (docs/model.md)."""


UNCLEAR = np.uint64(1 << 63)
"""In ``page_flags``, beside no other bit: in use by the kernel, or on a per-CPU list; no flag and no event tells.

The kernel uses no bit above 41 (include/linux/kernel-page-flags.h)."""


PINNED, BUSY = np.uint64(1 << 62), np.uint64(1 << 61)
"""In ``page_flags`` of a state that is a model's: the folio is pinned, or busy."""


@dataclass(frozen=True)
class Guesses:
    """How much of a state is guessed that a stock kernel's /proc and events gave (not a dump)."""

    blocks: int
    """Pageblocks."""
    block_types: int
    """Of these, whose type no event named: guessed so that the numbers of /proc/pagetypeinfo come out."""
    silent_blocks: int
    """Of these, that show no page flag and were taken to exist because /proc/pagetypeinfo counts so many."""
    pcp_pages: int
    """Pages on per-CPU lists, as /proc/zoneinfo counts them."""
    pcp_pages_unknown: int
    """Of these, which pages they are is not known: they count as in use."""
    unclear_pages: int
    """Pages in use that may be those: :data:`UNCLEAR`."""


@dataclass(frozen=True)
class AllocatorState:
    """What one dump says.

    ``ts`` is the time of the dump's **last** event and ``cpu`` the CPU that made it: a replay from this state
    takes the events that follow that one in the merged stream (``Recording.events(after=state)``), which at
    boot, where the clock still stands at 0, only the position can tell. ``ts_begin`` is the time of the first
    event of the dump. A dump takes 3 to 250 ms. On its own CPU nothing ever comes between its events; events
    of other CPUs between them are counted in ``interleaved``: 0 means that the state is exact.
    """

    tag: str
    ts: int
    ts_begin: int
    cpu: int
    ordinal: int
    """Number of this dump in the recording, from 0."""
    zones: tuple[ZoneState, ...]
    free: FreePages
    blocks: Blocks
    pcp: PcpFields
    pcp_pages: PcpPages
    interleaved: int = 0
    counters: dict[str, int] = field(default_factory=dict)
    """Since boot: ``allocs``, ``frees`` and ``list_adds``."""
    label: str = ""
    """Name of the snapshot, as ``start`` or ``peak``; empty if there is none."""
    page_flags: npt.NDArray[np.uint64] | None = None
    """/proc/kpageflags by pfn, if a snapshot was taken with the dump."""
    page_count: npt.NDArray[np.uint64] | None = None
    """/proc/kpagecount by pfn, likewise."""
    approximate: tuple[str, ...] = ()
    """What of the state is not exact, one sentence each; empty for a dump, which is the allocator's own word."""
    guesses: Guesses | None = None
    """How much is guessed; None for a dump, and for recordings of before this was kept (then ``approximate`` tells)."""
    skip_known: bool = True
    """Whether compaction's skip bits were recorded; if not, ``blocks.skip`` is all False and means nothing."""
    due: dict[str, int] = field(default_factory=dict)
    """Of a state that is a model's: when the background works next, ns behind it: ``vmstatN`` of CPU N, ``kcompactdN`` of node N.
    Empty of a kernel's: then replays begin as after boot. Where it is not, ``page_flags`` say who is pinned or busy."""

    lru: LruFolios | None = None
    """Of a state that a closed loop came to: the LRU lists. None: their order is not known, and replays state one."""
    reclaim: dict[str, int] = field(default_factory=dict)
    """Likewise: what reclaim knows, ``nonresident_age0`` of node 0 and so on; ``flushes`` and ``flush_due`` of the flusher."""

    def __repr__(self) -> str:
        """Which it is, when, and how large."""
        return (
            f"<AllocatorState {self.label or self.tag!r} at {self.ts / 1e9:.3f} s: {len(self.zones)} zones, "
            f"{len(self.blocks.pfn):,} pageblocks>"
        )

    @property
    def pcp_ready(self) -> bool:
        """Whether per-cpu lists were set up (at boot they are not)."""
        return bool(len(self.pcp.high) and int(self.pcp.high_max.max()) > 0)

    def with_pages(
        self,
        label: str,
        flags: npt.NDArray[np.uint64] | None,
        count: npt.NDArray[np.uint64] | None,
    ) -> AllocatorState:
        """The same state with a snapshot's page flags and counts."""
        return replace(self, label=label, page_flags=flags, page_count=count)


_ZONE_SCALARS = {
    0: "start_pfn",
    1: "spanned",
    2: "present",
    3: "managed",
    5: "boost",
    7: "flags",
    8: "nr_free",
    9: "nr_reserved_highatomic",
    10: "nr_free_highatomic",
    11: "cached_free_pfn",
    14: "compact_considered",
    15: "compact_defer_shift",
    16: "compact_order_failed",
    17: "totalreserve",
}
_COUNTERS = ("allocs", "frees", "list_adds")


def _zone(
    index: int,
    name: str,
    which: npt.NDArray[np.int64],
    sub: npt.NDArray[np.int64],
    val: npt.NDArray[np.int64],
) -> ZoneState:
    """One zone from its kind-1 rows (field number, sub-index, value)."""
    values: dict[str, Any] = {}
    lists: dict[str, dict[int, int]] = {"watermark": {}, "lowmem_reserve": {}, "cached_migrate_pfn": {}}
    for number, at, value in zip(which.tolist(), sub.tolist(), val.tolist(), strict=True):
        if number in _ZONE_SCALARS:
            values[_ZONE_SCALARS[number]] = value
        elif number == 4:
            lists["watermark"][at] = value
        elif number == 6:
            lists["lowmem_reserve"][at] = value
        elif number in (12, 13):
            lists["cached_migrate_pfn"][number - 12] = value
    for key, entries in lists.items():
        if entries:
            values[key] = tuple(entries[i] for i in sorted(entries))
    return ZoneState(index=index, name=name, **values)


def _pcp_fields(
    zone: npt.NDArray[np.int64],
    cpu: npt.NDArray[np.int64],
    which: npt.NDArray[np.int64],
    val: npt.NDArray[np.int64],
) -> PcpFields:
    """The kind-4 rows as one row per (zone, cpu), in order of appearance."""
    key = zone * 65536 + cpu
    keys, row = np.unique(key, return_inverse=True)
    names = PcpFields._fields[2:]
    table = np.zeros((len(names), len(keys)), np.int32)
    good = (which >= 0) & (which < len(names))
    table[which[good], row[good]] = val[good]
    return PcpFields(
        (keys // 65536).astype(np.int16),
        (keys % 65536).astype(np.int16),
        *(table[i] for i in range(len(names))),
    )


def state_from_dump(dump: EventChunk, ordinal: int = 0, zone_names: tuple[str, ...] = ()) -> AllocatorState:
    """Build the state from the ``gt_dump`` events of one dump, header to end.

    Raises
    ------
    KevacuateError
        If the dump does not begin with its header or does not end.

    """
    kind, zone, sub, val = dump.a, dump.b, dump.c, dump.d
    if not dump.rows or kind[0] != DumpKind.HEADER or kind[-1] != DumpKind.END:
        raise KevacuateError("A dump of the allocator in this recording is incomplete: record again.")
    a, b = sub & 0xFF, sub >> 8
    header = kind == DumpKind.HEADER
    which = kind == DumpKind.ZONE
    zones = [
        _zone(
            int(z),
            zone_names[z % ZONES_PER_NODE] if z % ZONES_PER_NODE < len(zone_names) else "",
            *(x[which & (zone == z)] for x in (a, b, val)),
        )
        for z in np.unique(zone[which]).tolist()
    ]
    block, free, pcp, page = (
        kind == k for k in (DumpKind.BLOCK, DumpKind.FREE, DumpKind.PCP, DumpKind.PCP_PAGE)
    )
    counters = {
        _COUNTERS[z]: v for z, v in zip(zone[header].tolist(), val[header].tolist(), strict=True) if z < 3
    }
    z16 = zone.astype(np.int16)
    return AllocatorState(
        tag=chr(int(a[0])),
        ts=int(dump.ts[-1]),
        ts_begin=int(dump.ts[0]),
        cpu=int(dump.cpu[0]),
        ordinal=ordinal,
        zones=tuple(zones),
        free=FreePages(z16[free], a[free].astype(np.int8), b[free].astype(np.int8), val[free]),
        blocks=Blocks(z16[block], val[block], a[block].astype(np.int8), b[block] != 0),
        pcp=_pcp_fields(zone[pcp], a[pcp], b[pcp], val[pcp]),
        pcp_pages=PcpPages(z16[page], a[page].astype(np.int16), b[page].astype(np.int8), val[page]),
        counters=counters,
    )


def zone_to_json(zone: ZoneState) -> dict[str, Any]:
    """The zone as plain JSON values."""
    return {f.name: (list(v) if isinstance(v := getattr(zone, f.name), tuple) else v) for f in fields(zone)}


def page_count(state: AllocatorState) -> int:
    """One more than the largest pfn of any zone."""
    return max((int(z.start_pfn) + int(z.spanned) for z in state.zones), default=0)
