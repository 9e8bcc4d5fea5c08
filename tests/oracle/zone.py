# SPDX-License-Identifier: GPL-2.0-or-later
"""The things the allocator is made of: ordered page lists, chunks, free areas, pcps, zones."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field

from .constants import NR_TYPES, TAIL


class PageList:
    """An ordered list of pfns, head first, with removal from the middle: a `list_head` of pages."""

    def __init__(self) -> None:
        self._items: OrderedDict[int, None] = OrderedDict()

    def add_head(self, pfn: int) -> None:
        """Put `pfn` in front (`list_add`)."""
        self._items[pfn] = None
        self._items.move_to_end(pfn, last=False)

    def add_tail(self, pfn: int) -> None:
        """Put `pfn` at the end (`list_add_tail`)."""
        self._items[pfn] = None

    def remove(self, pfn: int) -> None:
        """Unlink `pfn` (`list_del`); KeyError if it is not there."""
        del self._items[pfn]

    def insert_before(self, pfn: int, other: int) -> None:
        """Put `pfn` right before `other` (`list_add_tail` to an entry)."""
        order = list(self._items)
        order.insert(order.index(other), pfn)
        self._items = OrderedDict.fromkeys(order)

    def head(self) -> int:
        """Return the first pfn, or -1 if the list is empty."""
        return next(iter(self._items), -1)

    def tail(self) -> int:
        """Return the last pfn, or -1 if the list is empty."""
        return next(reversed(self._items), -1)

    def __iter__(self) -> Iterator[int]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)


@dataclass(slots=True)
class Page:
    """A chunk of 2**order pages, known by its head.

    `mt` is the free list's type while it is BUDDY; while it is PCP, the type it came to the pcp with (which old kernels note).
    """

    pfn: int
    order: int
    state: int = TAIL
    mt: int = 0
    obj: int = -1
    attr: int = 0
    gen: int = -1  # of the multi-gen LRU: generation, -1: none,
    refs: int = 0  # and uses behind the first one
    dirtied: int = 0  # 1 + when it was made dirty, in units of 2^29 ns; 0: at the start, or never

    @property
    def size(self) -> int:
        """Pages in the chunk."""
        return 1 << self.order


class FreeArea:
    """The free lists of one order, and the number of buddies on all of them."""

    def __init__(self) -> None:
        self.free_list = [PageList() for _ in range(NR_TYPES)]
        self.nr_free = 0


class Pcp:
    """One CPU's page lists of one zone, with their tuning."""

    def __init__(self, nr_lists: int) -> None:
        self.lists = [PageList() for _ in range(nr_lists)]
        self.count = 0
        self.high = 0
        self.high_min = 0
        self.high_max = 0
        self.batch = 1
        self.flags = 0
        self.alloc_factor = 0
        self.free_count = 0


@dataclass(eq=False)
class Zone:
    """A zone's numbers and lists. `number` is its place among the populated zones."""

    number: int
    node: int
    index: int
    start_pfn: int
    end_pfn: int
    managed: int
    watermark: list[int]
    lowmem_reserve: list[int]
    free_area: list[FreeArea]
    pcps: list[Pcp] = field(default_factory=list)
    nr_free: int = 0
    nr_free_cma: int = 0
    nr_free_highatomic: int = 0
    nr_free_blocks: int = 0
    boost: int = 0
    boosted: bool = False
    below_high: bool = False
    reclaim_active: bool = False
    nr_reserved_highatomic: int = 0
    nr_lru: int = 0
    nr_isolated: int = 0
    cached_migrate_pfn: int = 0
    cached_migrate_sync: int = 0
    cached_free_pfn: int = 0
    init_migrate_pfn: int = 0
    init_free_pfn: int = 0
    blockskip_flush: bool = False
    considered: int = 0
    defer_shift: int = 0
    order_failed: int = 0
    counts_free_highatomic: bool = True

    @property
    def unusable_highatomic(self) -> int:
        """What the watermark tests keep from those who may not use the reserve: its free pages, or all of it."""
        return self.nr_free_highatomic if self.counts_free_highatomic else self.nr_reserved_highatomic

    def spans(self, start: int, end: int) -> bool:
        """Whether `[start, end)` lies wholly inside the zone's span."""
        return self.start_pfn <= start and end <= self.end_pfn

    def wmark_pages(self, mark: int) -> int:
        """Watermark `mark` with the boost added."""
        return self.watermark[mark] + self.boost
