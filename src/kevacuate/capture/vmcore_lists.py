# SPDX-License-Identifier: GPL-2.0-or-later
"""The page allocator's own lists, read from a kernel's memory: free lists, per-CPU lists, pageblock bits, in order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kevacuate.capture.vmcore import Core, Fields, Torn, Unreadable, ZoneAt, needed, number, text
from kevacuate.errors import KevacuateError
from kevacuate.recording.state import FreePages, PcpFields, PcpPages, ZoneState

TYPES = ("UNMOVABLE", "MOVABLE", "RECLAIMABLE", "HIGHATOMIC", "CMA", "ISOLATE")
"""Migratetypes in the numbering of states; a kernel without CMA numbers the last otherwise."""

TRIES = 8
"""How often a list of a running kernel is read again when it changes meanwhile."""


class Geometry(NamedTuple):
    """What the structures' sizes say of this kernel."""

    lru: int
    """Offset of a page's list entry in struct page."""
    page_bytes: int
    orders: int
    types: int
    """Free lists of an order."""
    mt: tuple[int, ...]
    """The kernel's migratetype to that of states."""
    pcp_lists: int
    block_order: int
    """pageblock_order; a macro, so that of x86-64: a huge page."""


BLOCK_ORDER = 9


def geometry(core: Core) -> Geometry:
    """The sizes of this kernel's lists."""
    numbers = {core.constant(f"MIGRATE_{name}"): mt for mt, name in enumerate(TYPES)}
    types = core.length("struct free_area", "free_list")
    if any(n not in numbers for n in range(types)):
        raise KevacuateError(
            f"Linux {core.release} has {types} migratetypes, of which this program does not know all: it cannot read its lists."
        )
    lru = core.offset("struct page", "lru" if core.has("struct page", "lru") else "buddy_list")
    return Geometry(
        lru=lru,
        page_bytes=core.size("struct page"),
        orders=core.length("struct zone", "free_area"),
        types=types,
        mt=tuple(numbers[n] for n in range(types)),
        pcp_lists=core.length("struct per_cpu_pages", "lists"),
        block_order=BLOCK_ORDER,
    )


def walk(core: Core, head: int, most: int) -> list[int]:
    """Addresses of the entries of a list_head list, the head's first; *most* are believed.

    Raises
    ------
    Torn
        An entry does not point back to the one before it, or the list does not end.

    """
    found: list[int] = []
    before, at = head, number(core, head)
    while at != head:
        if len(found) >= most:
            raise Torn(f"a list at {head:#x} does not end")
        try:
            entry = core.read(at, 16)
        except Unreadable:
            raise Torn(f"a list at {head:#x} leads to {at:#x}, where nothing is") from None
        if int.from_bytes(entry[8:], "little") != before:
            raise Torn(f"the list at {head:#x} is broken at {at:#x}")
        found.append(at)
        before, at = at, int.from_bytes(entry[:8], "little")
    return found


class ZoneReader:
    """One populated zone.

    Parameters
    ----------
    core : Core
        The memory.
    sizes : Geometry
        Of this kernel.
    at : ZoneAt
        Which zone.
    index : int
        Its number among the populated zones: what states call its index.

    """

    def __init__(self, core: Core, sizes: Geometry, at: ZoneAt, index: int) -> None:
        self.core, self.sizes, self.at, self.index = core, sizes, at, index
        self.fields = Fields(core, "struct zone", at.address)
        self.start_pfn, self.spanned = self.fields.get("zone_start_pfn"), self.fields.get("spanned_pages")
        self.name = text(core, number(core, self.fields.at("name")))
        self.retries = 0

    @property
    def populated(self) -> bool:
        """Whether it has pages."""
        return self.fields.get("present_pages") > 0

    def _pfns(self, entries: list[int]) -> npt.NDArray[np.int64]:
        """The pfns of list entries.

        Raises
        ------
        Torn
            One of them is no page of this zone.

        """
        offsets = (np.array(entries, np.uint64) - np.uint64(self.core.pages + self.sizes.lru)).astype(
            np.int64
        )
        pfn, rest = np.divmod(offsets, self.sizes.page_bytes)
        if rest.any() or ((pfn < self.start_pfn) | (pfn >= self.start_pfn + self.spanned)).any():
            raise Torn(f"a list of zone {self.name} holds something that is none of its pages")
        return pfn

    def _list(self, head: int) -> npt.NDArray[np.int64]:
        """The pfns of one list; of a running kernel tried again while it changes."""
        left = TRIES if self.core.live else 1
        while True:
            left -= 1
            try:
                return self._pfns(walk(self.core, head, self.spanned))
            except Torn as error:
                if left == 0:
                    raise KevacuateError(
                        f"{self.core.name}: {error}. "
                        + (
                            "The machine is too busy: try again."
                            if self.core.live
                            else "It was dumped in the middle of a change."
                        )
                    ) from None
                self.retries += 1

    def counts(self) -> tuple[int, ...]:
        """free_area[].nr_free: free chunks of each order."""
        area, size = self.fields.at("free_area"), self.core.size("struct free_area")
        return tuple(
            Fields(self.core, "struct free_area", area + order * size).get("nr_free")
            for order in range(self.sizes.orders)
        )

    def free(self) -> Iterator[tuple[int, int, npt.NDArray[np.int64]]]:
        """(order, migratetype, pfns head first) of every free list that is not empty."""
        area, size = self.fields.at("free_area"), self.core.size("struct free_area")
        lists = self.core.offset("struct free_area", "free_list")
        for order in range(self.sizes.orders):
            for kernel_mt, mt in enumerate(self.sizes.mt):
                pfns = self._list(area + order * size + lists + 16 * kernel_mt)
                if len(pfns):
                    yield order, mt, pfns

    def pcp(self, cpu: int) -> Fields:
        """A CPU's struct per_cpu_pages."""
        pageset = number(self.core, self.fields.at("per_cpu_pageset"))
        return Fields(self.core, "struct per_cpu_pages", self.core.per_cpu(pageset, cpu))

    def pcp_lists(self, cpu: int) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
        """(pindex, pfns head first) of every per-CPU list of a CPU that is not empty."""
        lists = self.pcp(cpu).at("lists")
        for pindex in range(self.sizes.pcp_lists):
            pfns = self._list(lists + 16 * pindex)
            if len(pfns):
                yield pindex, pfns

    def nr_free_pages(self) -> int:
        """NR_FREE_PAGES, with what each CPU has not yet added to it."""
        item = needed(self.core, "NR_FREE_PAGES")
        total = self.fields.array("vm_stat", signed=True)[item]
        member = "per_cpu_zonestats"
        if self.core.has("struct zone", member):
            stats = number(self.core, self.fields.at(member))
            for cpu in self.core.cpus:
                own = Fields(self.core, "struct per_cpu_zonestat", self.core.per_cpu(stats, cpu))
                total += own.array("vm_stat_diff", signed=True)[item]
        return total

    def state(self) -> ZoneState:
        """The zone's fields."""
        get, core = self.fields.get, self.core
        mark = "_watermark" if core.has("struct zone", "_watermark") else "watermark"
        node = Fields(core, "struct pglist_data", core.node_address(self.at.node))
        return ZoneState(
            index=self.index,
            name=self.name,
            start_pfn=self.start_pfn,
            spanned=self.spanned,
            present=get("present_pages"),
            managed=get("managed_pages"),
            watermark=(*self.fields.array(mark), 0)[:4],
            boost=get("watermark_boost"),
            lowmem_reserve=self.fields.array("lowmem_reserve", signed=True),
            flags=get("flags"),
            nr_free=self.fields.array("vm_stat", signed=True)[needed(core, "NR_FREE_PAGES")],
            nr_reserved_highatomic=get("nr_reserved_highatomic"),
            nr_free_highatomic=get("nr_free_highatomic"),
            cached_free_pfn=get("compact_cached_free_pfn"),
            cached_migrate_pfn=self.fields.array("compact_cached_migrate_pfn"),
            compact_considered=get("compact_considered"),
            compact_defer_shift=get("compact_defer_shift"),
            compact_order_failed=get("compact_order_failed", signed=True),
            totalreserve=node.get("totalreserve_pages"),
        )


def zone_readers(core: Core, sizes: Geometry) -> list[ZoneReader]:
    """The populated zones that the allocator uses, by node and index."""
    found: list[ZoneReader] = []
    for at in core.zones():
        zone = ZoneReader(core, sizes, at, len(found))
        if zone.populated and zone.name != "Device":
            found.append(zone)
    if not found:
        raise KevacuateError(
            f"{core.name} shows no zone with pages: it is not a dump of a kernel that has booted."
        )
    return found


def free_pages(zones: list[ZoneReader]) -> FreePages:
    """All free lists in order."""
    parts = [
        (np.full(len(pfns), zone.index), np.full(len(pfns), order), np.full(len(pfns), mt), pfns)
        for zone in zones
        for order, mt, pfns in zone.free()
    ]
    zone_, order_, mt_, pfn_ = columns_of(parts)
    return FreePages(zone_.astype(np.int16), order_.astype(np.int8), mt_.astype(np.int8), pfn_)


def pcp_pages(zones: list[ZoneReader]) -> PcpPages:
    """All per-CPU lists in order."""
    parts = [
        (np.full(len(pfns), zone.index), np.full(len(pfns), cpu), np.full(len(pfns), pindex), pfns)
        for zone in zones
        for cpu in zone.core.cpus
        for pindex, pfns in zone.pcp_lists(cpu)
    ]
    zone_, cpu_, pindex_, pfn_ = columns_of(parts)
    return PcpPages(zone_.astype(np.int16), cpu_.astype(np.int16), pindex_.astype(np.int8), pfn_)


def pcp_fields(zones: list[ZoneReader]) -> PcpFields:
    """The fields of every struct per_cpu_pages; ``free_count`` is free_factor in kernels that have that instead."""
    rows: list[tuple[int, ...]] = []
    for zone in zones:
        for cpu in zone.core.cpus:
            pcp = zone.pcp(cpu)
            free = "free_count" if zone.core.has("struct per_cpu_pages", "free_count") else "free_factor"
            names = ("count", "high", "high_min", "high_max", "batch", "flags", "alloc_factor", free)
            rows.append((zone.index, cpu, *(pcp.get(name) for name in names), zone.sizes.pcp_lists))
    table = np.array(rows, np.int64).T
    return PcpFields(
        table[0].astype(np.int16), table[1].astype(np.int16), *(c.astype(np.int32) for c in table[2:])
    )


def columns_of(parts: Sequence[tuple[npt.NDArray[np.integer], ...]]) -> list[npt.NDArray[np.int64]]:
    """The parts' four columns, each in one piece."""
    return [
        np.concatenate([np.empty(0, np.int64), *(p[i] for p in parts)]).astype(np.int64) for i in range(4)
    ]
