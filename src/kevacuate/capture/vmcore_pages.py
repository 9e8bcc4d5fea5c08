# SPDX-License-Identifier: GPL-2.0-or-later
"""The flags of every page, as /proc/kpageflags shows them, from the struct pages in a kernel's memory.

What stable_page_flags() does (fs/proc/page.c), for the flags that something here reads; as in kernels since 6.10, a tail page
has the flags of its head. Not told: KSM, idle pages, the zero page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from kevacuate.capture.vmcore import Core, Unreadable
from kevacuate.capture.vmcore_lists import Geometry, ZoneReader
from kevacuate.kernel import pageflags as pf

COPIED = {
    "PG_locked": pf.KPF_LOCKED,
    "PG_error": pf.KPF_ERROR,
    "PG_referenced": pf.KPF_REFERENCED,
    "PG_uptodate": pf.KPF_UPTODATE,
    "PG_dirty": pf.KPF_DIRTY,
    "PG_lru": pf.KPF_LRU,
    "PG_active": pf.KPF_ACTIVE,
    "PG_slab": pf.KPF_SLAB,
    "PG_writeback": pf.KPF_WRITEBACK,
    "PG_reclaim": pf.KPF_RECLAIM,
    "PG_swapbacked": pf.KPF_SWAPBACKED,
    "PG_unevictable": pf.KPF_UNEVICTABLE,
    "PG_hwpoison": pf.KPF_HWPOISON,
    "PG_reserved": pf.KPF_RESERVED,
}
"""Bits of struct page's flags that are copied: enumerator to the bit of /proc/kpageflags."""

OLD_TYPES = {pf.KPF_BUDDY: 0x80, pf.KPF_OFFLINE: 0x100, pf.KPF_PGTABLE: 0x200}
"""page_type before enum pagetype (5.1 to 6.11): the type's bit is cleared in a word that begins with 0xf."""

NEW_TYPES = {
    pf.KPF_BUDDY: "PGTY_buddy",
    pf.KPF_OFFLINE: "PGTY_offline",
    pf.KPF_PGTABLE: "PGTY_table",
    pf.KPF_SLAB: "PGTY_slab",
    pf.KPF_HUGE: "PGTY_hugetlb",
}
"""Since 6.11: the type is the word's highest byte."""

MAPPING_ANON = 1
BASE = np.uint32(0xF0000000)
Words = npt.NDArray[np.uint64]
Bools = npt.NDArray[np.bool_]


Visit = Callable[[int, npt.NDArray[np.uint8], Words], None]
"""Called for each section with its first pfn, its struct pages (uint8[pages, bytes]) and their words; those of tails are 0."""


class PageWords:
    """Flags by pfn, and what struct pages say of free chunks.

    Parameters
    ----------
    core : Core
        The memory.
    sizes : Geometry
        Of this kernel.
    zones : list of ZoneReader
        Whose pages.
    visit : Visit, optional
        Sees every section's struct pages as they are read.

    Attributes
    ----------
    flags : uint64 [pages]
        As /proc/kpageflags, by pfn; NOPAGE where there is no struct page.
    buddy_pfn, buddy_order : int64
        Pages that are marked as heads of free chunks, and their orders.

    """

    def __init__(
        self, core: Core, sizes: Geometry, zones: list[ZoneReader], visit: Visit | None = None
    ) -> None:
        self.core, self.sizes = core, sizes
        self._bits = {bit: kpf for name, kpf in COPIED.items() if (bit := core.constant(name)) is not None}
        self._types = _type_test(core)
        top = max(zone.start_pfn + zone.spanned for zone in zones)
        self.flags = np.full(top, np.uint64(1 << pf.KPF_NOPAGE), np.uint64)
        self._tails: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]] = []
        free: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]] = []
        for first, count in _sections(core, zones, top):
            table = self._table(first, count)
            if table is not None:
                free.append(self._read(first, *self._columns(table)))
                if visit is not None:
                    visit(first, table, self.flags[first : first + count])
        self._give_tails()
        self.buddy_pfn = np.concatenate([np.empty(0, np.int64), *(pfn for pfn, _ in free)])
        self.buddy_order = np.concatenate([np.empty(0, np.int64), *(order for _, order in free)])

    def _table(self, first: int, count: int) -> npt.NDArray[np.uint8] | None:
        """The struct pages from *first*, uint8[count, bytes]; None where there are none."""
        size = self.sizes.page_bytes
        try:
            data = self.core.read(self.core.pages + first * size, count * size)
        except Unreadable:
            return None
        return np.frombuffer(data, np.uint8).reshape(count, size)

    def _columns(
        self, table: npt.NDArray[np.uint8]
    ) -> tuple[Words, Words, npt.NDArray[np.uint32], Words, Words]:
        """flags, mapping, page type, head's address with bit 0 of a tail, and private of these struct pages."""

        def column(member: str, width: int) -> npt.NDArray[np.uint8]:
            at = self.core.offset("struct page", member)
            return np.ascontiguousarray(table[:, at : at + width])

        head = "compound_head" if self.core.has("struct page", "compound_head") else "compound_info"
        words = [column(name, 8).view("<u8")[:, 0] for name in ("flags", "mapping", head, "private")]
        return words[0], words[1], column("page_type", 4).view("<u4")[:, 0], words[2], words[3]

    def _read(
        self,
        first: int,
        flags: Words,
        mapping: Words,
        kind: npt.NDArray[np.uint32],
        head: Words,
        private: Words,
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Fill the flags of these pages but for tails; pfns and orders of the free chunks among them."""
        words = np.zeros(len(flags), np.uint64)

        def mark(which: Bools, kpf: int) -> None:
            words[which] |= np.uint64(1 << kpf)

        for bit, kpf in self._bits.items():
            mark(flags >> np.uint64(bit) & np.uint64(1) != 0, kpf)
        for kpf, test in self._types.items():
            mark(test(kind), kpf)
        mark(mapping & np.uint64(MAPPING_ANON) != 0, pf.KPF_ANON)
        slab = words >> np.uint64(pf.KPF_SLAB) & np.uint64(1) != 0
        mark(~slab & (kind.view("<i4") >= 0), pf.KPF_MMAP)
        is_head = self._heads(flags)
        mark(is_head, pf.KPF_COMPOUND_HEAD)
        folio = words & np.uint64(1 << pf.KPF_LRU | 1 << pf.KPF_ANON) != 0
        mark(is_head & folio, pf.KPF_THP)
        tail = head & np.uint64(1) != 0
        words[tail] = 0
        at = np.flatnonzero(tail)
        self._tails.append((at + first, self._head_pfns(at + first, head[at])))
        self.flags[first : first + len(words)] = words
        free = np.flatnonzero(words >> np.uint64(pf.KPF_BUDDY) & np.uint64(1))
        return free + first, private[free].astype(np.int64)

    def _head_pfns(self, tails: npt.NDArray[np.int64], info: Words) -> npt.NDArray[np.int64]:
        """Pfns of the heads of these tails (compound_head, include/linux/page-flags.h).

        Since 7.1 a kernel with struct pages of 64 bytes whose hugetlb can drop them stores a mask, which makes the head's address
        of the tail's; elsewhere it is the head's address. A mask has its 32 high bits set, the address of a struct page has not.
        """
        size = np.uint64(self.sizes.page_bytes)
        own = np.uint64(self.core.pages) + tails.astype(np.uint64) * size
        mask = info >= np.uint64(0xFFFF_FFFF_0000_0000)
        address = np.where(mask, own & info, info) & ~np.uint64(1)
        return (address - np.uint64(self.core.pages)).astype(np.int64) // self.sizes.page_bytes

    def _heads(self, flags: Words) -> Bools:
        bit = self.core.constant("PG_head")
        return (
            np.zeros(len(flags), np.bool_)
            if bit is None
            else np.asarray(flags >> np.uint64(bit) & np.uint64(1) != 0)
        )

    def _give_tails(self) -> None:
        """Give every tail page the flags of its head."""
        for pfn, head in self._tails:
            good = (head >= 0) & (head < len(self.flags))
            words = self.flags[np.where(good, head, 0)]
            words = np.where(good, words & ~np.uint64(1 << pf.KPF_COMPOUND_HEAD), 0)
            self.flags[pfn] = words | np.uint64(1 << pf.KPF_COMPOUND_TAIL)

    @property
    def tails(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Pfns of tail pages, ascending, and of their heads."""
        none = np.empty(0, np.int64)
        return (
            np.concatenate([none, *(pfn for pfn, _ in self._tails)]),
            np.concatenate([none, *(head for _, head in self._tails)]),
        )

    def mark_free(self, pfn: npt.NDArray[np.int64], order: npt.NDArray[np.int64]) -> None:
        """Set the buddy flag on every page of the chunks on the free lists, as /proc/kpageflags does, and on no other."""
        self.flags &= ~np.uint64(1 << pf.KPF_BUDDY)
        for size in np.unique(order).tolist():
            pages = (pfn[order == size][:, None] + np.arange(1 << size)).ravel()
            self.flags[pages] |= np.uint64(1 << pf.KPF_BUDDY)


def _type_test(core: Core) -> dict[int, Callable[[npt.NDArray[np.uint32]], Bools]]:
    """Bit of /proc/kpageflags to whether a page_type says so."""
    if core.constant("PGTY_buddy") is None:
        return {
            kpf: lambda word, flag=flag: word & (BASE | np.uint32(flag)) == BASE  # type: ignore[misc]
            for kpf, flag in OLD_TYPES.items()
        }
    known = {kpf: core.constant(name) for kpf, name in NEW_TYPES.items()}
    return {
        kpf: lambda word, value=value: word >> np.uint32(24) == np.uint32(value)  # type: ignore[misc]
        for kpf, value in known.items()
        if value is not None
    }


def _sections(core: Core, zones: list[ZoneReader], top: int) -> Iterator[tuple[int, int]]:
    """(first pfn, pages) of every section that zones span and that exists."""
    step = core.section_pages
    wanted = {
        section
        for zone in zones
        for section in range(zone.start_pfn // step, -(-(zone.start_pfn + zone.spanned) // step))
    }
    for section in sorted(wanted):
        if core.block_bits(section * step):
            yield section * step, min(step, top - section * step)
