# SPDX-License-Identifier: GPL-2.0-or-later
"""Worked examples of the allocator's arithmetic and decisions, as plain data that any model can be held to.

They were computed by hand from the kernel's formulas, not by running a model. Free lists are written as
`(order, type, [pfns, head first])`.
"""

from __future__ import annotations

from typing import NamedTuple

U, M, R = 0, 1, 2

BATCHES = [(4095, 1), (8192, 1), (16384, 3), (65536, 15), (131072, 31), (262144, 63), (4_000_000, 63)]
"""(managed pages, pcp batch)."""


class Watermarks(NamedTuple):
    """One zone of `managed` pages: min_free_kbytes, and (MIN, LOW, HIGH, PROMO) in pages."""

    managed: int
    min_free_kbytes: int
    marks: tuple[int, int, int, int]


LOWMEM_KBYTES_TO_MIN_FREE = [(2_000_000, 5656), (100, 128), (10**10, 262144)]
"""(lowmem kB, default of vm.min_free_kbytes)."""
KHUGEPAGED_MIN_FREE = [(1, 500_000, 5656, 22528), (1, 20_000, 5656, 5656)]
"""(zones up to Normal, buffer pages, min_free_kbytes before, after khugepaged started)."""
WATERMARKS = [
    Watermarks(500_000, 5656, (1414, 1914, 2414, 2914)),
    Watermarks(500_000, 22528, (5632, 7040, 8448, 9856)),
]


class RefillStep(NamedTuple):
    """One order-0 refill at count 0: how many pages it asks for, pcp.high and alloc_factor afterwards."""

    nr: int
    high: int
    alloc_factor: int


REFILL_RAMP_BOUNDS = (63, 1000, 15625)
"""batch, high_min, high_max of the ramp; high and alloc_factor begin at 0, the zone is not BELOW_HIGH."""
REFILL_RAMP = [
    RefillStep(63, 1063, 1),
    RefillStep(126, 1189, 2),
    RefillStep(252, 1441, 3),
    RefillStep(504, 1945, 4),
    RefillStep(1008, 2953, 5),
    RefillStep(2016, 4969, 5),
    RefillStep(2016, 6985, 5),
]
REFILL_BY_ORDER = [(1, 31), (2, 15), (3, 7), (9, 2)]
"""(order, chunks a refill asks for) at batch 63."""


class Expand(NamedTuple):
    """Requests (order, type) against free lists: the pfns given, and the lists afterwards."""

    free: list[tuple[int, int, list[int]]]
    order: int
    requests: int
    taken: list[int]
    left: list[tuple[int, int, list[int]]]


EXPANSIONS = [
    Expand([(3, U, [64])], 0, 1, [64], [(2, U, [68]), (1, U, [66]), (0, U, [65])]),
    Expand([(3, U, [64])], 0, 8, [64, 65, 66, 67, 68, 69, 70, 71], []),
    Expand([(3, U, [64])], 1, 2, [64, 66], [(2, U, [68])]),
]


class Placement(NamedTuple):
    """A free against unmovable lists: which chunk is freed, and the list it ends on, head first."""

    what: str
    free: list[tuple[int, int, list[int]]]
    pfn: int
    order: int
    fpi: int
    result: tuple[int, list[int]]


PLACEMENTS = [
    Placement("merge likely", [(1, U, [2]), (0, U, [8])], 1, 0, 0, (0, [8, 1])),
    Placement("partner in pieces", [(0, U, [3, 8])], 1, 0, 0, (0, [1, 3, 8])),
    Placement("to tail", [(0, U, [3, 8])], 1, 0, 2, (0, [3, 8, 1])),
    Placement("order 9: always head", [(10, U, [2048]), (9, U, [512])], 1536, 9, 0, (9, [1536, 512])),
    Placement("order 9 to tail", [(9, U, [512])], 1536, 9, 2, (9, [512, 1536])),
    Placement("order 10: head", [(10, U, [2048]), (9, U, [512])], 0, 9, 0, (10, [0, 2048])),
]


class Claim(NamedTuple):
    """A U request of order 2 that meets only one movable block, 512..1023.

    `lru` pages are on the LRU, the others that are not free are in use otherwise. If the claim fails, a page
    is stolen.
    """

    free: list[tuple[int, int, list[int]]]
    lru: int
    claimed: bool
    counted_free: int
    taken: int
    fallback_order: int
    left: list[tuple[int, int, list[int]]]


CLAIM_LISTS = [(3, M, [600]), (2, M, [700, 900])]
CLAIMS = [
    Claim(CLAIM_LISTS, 200, True, 16, 700, 3, [(3, U, [600]), (2, U, [900])]),
    Claim(CLAIM_LISTS, 260, False, 16, 700, 2, [(3, M, [600]), (2, M, [900])]),
]
CLAIM_BOOSTS = [512, 1024]
"""Boosts raised: the successful claim tries one order, the refused one two (3, then 2)."""
MAX_BOOST = (2414, [512, 1024, 1536, 2048, 2560, 3072, 3584, 3621, 3621])
"""HIGH mark, and the boost after each attempt (factor 15000)."""

OVER_DRAIN = (63, 126, 3, 2)
"""batch, pages to free, order-9 chunks on the list the drain begins with, chunks it frees."""


class WatermarkCase(NamedTuple):
    """Whether `free` pages (with a large enough chunk) pass MIN for an order; flags as alloc flags."""

    order: int
    mark: int
    flags: int
    free: int
    passes: bool


WATERMARK_TESTS = [
    WatermarkCase(2, 1000, 0x20 | 0x10, 379, True),
    WatermarkCase(2, 1000, 0x20 | 0x10, 378, False),
    WatermarkCase(2, 1000, 0x20, 504, True),
    WatermarkCase(2, 1000, 0x20, 503, False),
    WatermarkCase(2, 1000, 0x10, 1003, False),
    WatermarkCase(2, 1000, 0x10, 1004, True),
    WatermarkCase(0, 1000, 0, 1001, True),
    WatermarkCase(0, 1000, 0, 1000, False),
    WatermarkCase(0, 1000, 0x08, 501, True),
    WatermarkCase(0, 1000, 0x08, 500, False),
]
