# SPDX-License-Identifier: GPL-2.0-or-later
"""Whose a page is, by its own struct page: slab cache, page table, page type, page_pool, per-CPU chunk, memory cgroup."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kevacuate.capture.holders_claims import Claims
from kevacuate.capture.vmcore import Core, Unreadable, number, text
from kevacuate.kernel.pageflags import KPF_BUDDY, KPF_PGTABLE, KPF_SLAB, can_move, flag, is_absent
from kevacuate.kernel.pageowners import PAGE_TYPES, PP_MAGIC_MASK, PP_SIGNATURE
from kevacuate.measure.holders import Holder

Words = npt.NDArray[np.uint64]
Ints = npt.NDArray[np.int64]

SLAB_CACHE = (("struct slab", "slab_cache"), ("struct page", "slab_cache"))
"""Where a slab's page has its cache: struct slab since 5.17."""


class Columns(NamedTuple):
    """Of head and single pages that cannot move and are not free, a column each; 0 where the kernel has no such member."""

    pfn: Ints
    words: Words
    flags: Words
    cache: Words
    kind: Words
    """page_type."""
    private: Words
    magic: Words
    """pp_magic."""
    pool: Words
    """pp."""
    memcg: Words
    """memcg_data."""
    mapping: Words


def has(core: Core, struct: str, member: str) -> bool:
    """Whether this kernel has the structure with that member."""
    try:
        return core.has(struct, member)
    except LookupError:
        return False


class StructPages:
    """Collects :class:`Columns` while struct pages are read: a :data:`kevacuate.capture.vmcore_pages.Visit`."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._parts: list[tuple[npt.NDArray[np.integer], ...]] = []
        head = "compound_head" if has(core, "struct page", "compound_head") else "compound_info"
        self._head = core.offset("struct page", head)
        cache = next((pair for pair in SLAB_CACHE if has(core, *pair)), ("struct page", ""))
        self._members = (
            ("struct page", "flags"),
            cache,
            ("struct page", "page_type"),
            ("struct page", "private"),
            ("struct page", "pp_magic"),
            ("struct page", "pp"),
            ("struct page", "memcg_data"),
            ("struct page", "mapping"),
        )

    def __call__(self, first: int, table: npt.NDArray[np.uint8], words: Words) -> None:
        """Take the pages of one section."""
        tail = self._column(table, self._head, 8) & np.uint64(1) != 0
        wanted = ~(tail | can_move(words) | flag(words, KPF_BUDDY) | is_absent(words))
        at = np.flatnonzero(wanted)
        rows = table[at]
        columns = [
            self._column(rows, self._core.offset(struct, member), self._core.width(struct, member))
            if has(self._core, struct, member)
            else np.zeros(len(at), np.uint64)
            for struct, member in self._members
        ]
        self._parts.append((at + first, words[at], *columns))

    @staticmethod
    def _column(table: npt.NDArray[np.uint8], at: int, width: int) -> Words:
        raw = np.ascontiguousarray(table[:, at : at + width])
        return raw.view(f"<u{width}")[:, 0].astype(np.uint64)

    @property
    def columns(self) -> Columns:
        """What was collected."""
        pfn = np.concatenate([np.empty(0, np.int64), *(part[0] for part in self._parts)])
        rest = [
            np.concatenate([np.empty(0, np.uint64), *(part[i] for part in self._parts)])
            for i in range(1, len(Columns._fields))
        ]
        return Columns(pfn.astype(np.int64), *(column.astype(np.uint64) for column in rest))


def claim_by_struct_page(
    core: Core, columns: Columns, claims: Claims, merged: Mapping[str, tuple[str, ...]]
) -> None:
    """Name slabs by cache, page tables, typed pages, page_pool's pages and per-CPU chunks' pages.

    Parameters
    ----------
    core : Core
        The memory.
    columns : Columns
        What struct pages say.
    claims : Claims
        Takes the names.
    merged : mapping of str to tuple of str
        Names of caches that the kernel merged into a cache, by its name.

    """
    slab = flag(columns.words, KPF_SLAB)
    for cache in np.unique(columns.cache[slab]).tolist():
        name = _cache_name(core, cache)
        mine = columns.pfn[slab & (columns.cache == np.uint64(cache))]
        claims.claim(mine, Holder("slab", name, merged.get(name, ())))
    claims.claim(columns.pfn[flag(columns.words, KPF_PGTABLE)], Holder("page table", ""))
    for constant, name in PAGE_TYPES.items():
        value = core.constant(constant)
        if value is not None:
            claims.claim(columns.pfn[columns.kind >> np.uint64(24) == np.uint64(value)], Holder(name, ""))
    pooled = columns.magic & np.uint64(PP_MAGIC_MASK) == np.uint64(PP_SIGNATURE)
    claims.claim(columns.pfn[pooled & ~slab], Holder("network page_pool", ""))
    chunks = np.array(sorted(percpu_chunks(core)), np.uint64)
    claims.claim(columns.pfn[np.isin(columns.private, chunks) & ~slab], Holder("per-CPU memory", ""))


def _cache_name(core: Core, cache: int) -> str:
    """The name of a struct kmem_cache."""
    try:
        name = number(core, cache + core.offset("struct kmem_cache", "name"))
    except Unreadable:
        return "of a cache that cannot be read"
    return text(core, name, 256) or "of a cache without a name"


def percpu_chunks(core: Core) -> set[int]:
    """Addresses of the chunks of the per-CPU allocator (pcpu_chunk_lists, mm/percpu.c; pcpu_slot before 5.14)."""
    lists = core.symbol("pcpu_chunk_lists") or core.symbol("pcpu_slot")
    slots = core.symbol("pcpu_nr_slots")
    if lists is None or slots is None or not has(core, "struct pcpu_chunk", "list"):
        return set()
    at = core.offset("struct pcpu_chunk", "list")
    try:
        array, count = number(core, lists), number(core, slots, 4)
        return {entry - at for n in range(min(count, 256)) for entry in _entries(core, array + 16 * n)}
    except Unreadable:
        return set()


def _entries(core: Core, head: int, most: int = 1 << 16) -> Iterator[int]:
    """Entries of a list_head list as far as it goes: a running kernel may change it meanwhile."""
    at = number(core, head)
    while at != head and most:
        yield at
        at, most = number(core, at), most - 1


def claim_off_lru(columns: Columns, claims: Claims) -> None:
    """Name pages that have a mapping: file pages that are on no LRU list now, as those under reclaim or read just now."""
    plain = ~(flag(columns.words, KPF_SLAB) | flag(columns.words, KPF_PGTABLE))
    file = (columns.mapping >> np.uint64(47) == np.uint64(0x1FFFF)) & (columns.mapping & np.uint64(3) == 0)
    claims.claim(columns.pfn[plain & file], Holder("file page", "on no LRU list"))
