# SPDX-License-Identifier: GPL-2.0-or-later
"""Who may take which page, by version: rules of mm/page_alloc.c worked out by hand."""

import pytest

from kevacuate.kernel.gfp import bits, words
from kevacuate.kernel.watermark import (
    FreeMemory,
    access,
    highest_zone,
    lowered,
    migratetype,
    order_without_room,
    usable,
)

ATOMIC_OLD = frozenset({"__GFP_HIGH"})
ATOMIC_44 = frozenset({"__GFP_HIGH", "__GFP_ATOMIC", "__GFP_KSWAPD_RECLAIM"})
ATOMIC_NEW = frozenset({"__GFP_HIGH", "__GFP_KSWAPD_RECLAIM"})
NOWAIT_NEW = frozenset({"__GFP_KSWAPD_RECLAIM"})
KERNEL_OLD = frozenset({"__GFP_WAIT", "__GFP_IO", "__GFP_FS"})
KERNEL_NEW = frozenset({"__GFP_DIRECT_RECLAIM", "__GFP_KSWAPD_RECLAIM", "__GFP_IO", "__GFP_FS"})
MEMORY = FreeMemory(free=1000, nr_free=(), cma=100, highatomic=200, boost=40)


@pytest.mark.parametrize(
    ("flags", "version", "mark"),
    [
        (ATOMIC_OLD, (3, 10), 375),  # 1000 - 500, then - 125
        (ATOMIC_44, (4, 19), 375),
        (ATOMIC_44 - {"__GFP_ATOMIC"}, (4, 19), 500),
        (ATOMIC_NEW, (6, 6), 375),
        (NOWAIT_NEW, (4, 19), 1000),
        (NOWAIT_NEW, (6, 6), 1000),
        (KERNEL_NEW, (6, 6), 1000),
        (KERNEL_NEW | {"__GFP_HIGH"}, (6, 6), 500),
        (frozenset(), (3, 10), 750),  # GFP_NOWAIT of 3.10 has ALLOC_HARDER alone
        (frozenset({"__GFP_NO_KSWAPD"}), (3, 15), 750),
        (frozenset({"__GFP_NO_KSWAPD"}), (3, 16), 1000),
        (ATOMIC_NEW | {"__GFP_NOMEMALLOC"}, (6, 6), 500),
    ],
)  # fmt: skip
def test_how_far_below_the_min_mark_a_request_may_go(
    flags: frozenset[str], version: tuple[int, ...], mark: int
) -> None:
    assert lowered(1000, MEMORY._replace(boost=0), access(flags, 2, version)) == mark


def test_the_boost_does_not_bind_an_atomic_request_of_one_page() -> None:
    assert lowered(1040, MEMORY, access(ATOMIC_NEW, 0, (6, 6))) == 375
    assert lowered(1040, MEMORY, access(ATOMIC_NEW, 1, (6, 6))) == 390
    assert lowered(1040, MEMORY, access(ATOMIC_44, 0, (5, 8))) == 390
    assert lowered(1040, MEMORY, access(ATOMIC_44, 0, (5, 10))) == 375


@pytest.mark.parametrize(
    ("flags", "order", "version", "pages"),
    [
        (KERNEL_NEW, 3, (6, 6), 1000 - 7 - 200 - 100),
        (ATOMIC_NEW, 3, (6, 6), 1000 - 7 - 100),
        (NOWAIT_NEW, 3, (6, 6), 1000 - 7 - 100),
        (NOWAIT_NEW, 3, (5, 10), 1000 - 7 - 200 - 100),
        (KERNEL_NEW | {"__GFP_MOVABLE"}, 0, (6, 6), 1000 - 200),
        (KERNEL_OLD, 0, (3, 10), 1000 - 100),
    ],
)
def test_which_free_pages_count(
    flags: frozenset[str], order: int, version: tuple[int, ...], pages: int
) -> None:
    assert usable(MEMORY, order, access(flags, order, version), version) == pages


@pytest.mark.parametrize(
    ("flags", "order", "version", "may"),
    [
        (ATOMIC_44, 2, (4, 4), True),
        (ATOMIC_44, 0, (4, 19), False),
        (ATOMIC_OLD, 2, (4, 3), False),
        (NOWAIT_NEW, 2, (6, 6), True),
        (NOWAIT_NEW, 2, (7, 2), False),
        (ATOMIC_NEW, 2, (7, 2), True),
        (ATOMIC_NEW, 0, (6, 8), False),
        (ATOMIC_NEW, 0, (7, 2), True),
        (KERNEL_NEW, 2, (7, 2), False),
    ],
)
def test_who_may_take_highatomic_chunks(
    flags: frozenset[str], order: int, version: tuple[int, ...], may: bool
) -> None:
    assert access(flags, order, version).highatomic is may


def test_until_43_every_order_has_a_mark_of_its_own() -> None:
    # Order 3 of 100 pages: 93 count; without the 40 single pages 53 > 20; without 20 pairs 13 > 10;
    # without two chunks of four 5, not above 5.
    memory = FreeMemory(100, (40, 20, 2, 1), 0, 0, 0)
    may = access(KERNEL_OLD, 3, (3, 10))
    assert order_without_room(memory, 3, 40, may, (3, 10)) == 2
    assert order_without_room(memory, 3, 39, may, (3, 10)) is None  # 39 is halved to 19, 9, 4
    assert order_without_room(memory, 3, 40, may, (4, 4)) is None
    assert order_without_room(memory._replace(cma=70), 3, 40, may, (3, 10)) == 2
    assert order_without_room(memory._replace(cma=70), 3, 40, may, (3, 8)) == 0


@pytest.mark.parametrize(
    ("flags", "zones", "zone"),
    [
        ({"__GFP_DMA"}, ("DMA", "DMA32", "Normal", "Movable"), "DMA"),
        ({"__GFP_DMA"}, ("Normal", "Movable"), "Normal"),
        ({"__GFP_DMA32"}, ("DMA", "Normal", "HighMem", "Movable"), "Normal"),
        ({"__GFP_HIGHMEM"}, ("DMA", "Normal", "HighMem", "Movable"), "HighMem"),
        ({"__GFP_HIGHMEM"}, ("DMA", "DMA32", "Normal", "Movable"), "Normal"),
        ({"__GFP_HIGHMEM", "__GFP_MOVABLE"}, ("DMA", "DMA32", "Normal", "Movable"), "Movable"),
        ({"__GFP_MOVABLE"}, ("DMA", "DMA32", "Normal", "Movable"), "Normal"),
        ({"__GFP_MOVABLE", "__GFP_DMA32"}, ("DMA", "DMA32", "Normal", "Movable"), "DMA32"),
    ],
)
def test_the_highest_zone_is_that_of_the_kernels_table(
    flags: set[str], zones: tuple[str, ...], zone: str
) -> None:
    assert highest_zone(frozenset(flags), zones) == zone


def test_the_type_asked_for() -> None:
    assert migratetype(frozenset({"__GFP_MOVABLE"})) == "movable"
    assert migratetype(frozenset({"__GFP_RECLAIMABLE"})) == "reclaimable"
    assert migratetype(KERNEL_NEW) == "unmovable"


@pytest.mark.parametrize(
    ("number", "version", "text"),
    [
        (0x2040D0, (3, 10), "GFP_KERNEL|__GFP_COMP|__GFP_NOTRACK"),
        (0x10C0D0, (3, 10), "GFP_KERNEL|__GFP_COMP|__GFP_ZERO|__GFP_KMEMCG"),
        (0x20, (4, 1), "GFP_ATOMIC"),
        (0x10D1, (3, 17), "GFP_KERNEL|__GFP_DMA|__GFP_NORETRY"),
        (0x200DA, (3, 10), "GFP_HIGHUSER_MOVABLE"),
        (0x201DA, (3, 10), "GFP_HIGHUSER_MOVABLE|__GFP_COLD"),
        (0x2204020, (3, 10), "GFP_ATOMIC|__GFP_COMP|__GFP_NOTRACK|0x2000000"),
        (0x2280020, (4, 4), "GFP_ATOMIC|__GFP_NOTRACK"),
        (0, (3, 10), "0"),
        (0x20, None, "0x20"),
    ],
)  # fmt: skip
def test_flags_have_the_names_of_their_kernel(
    number: int, version: tuple[int, ...] | None, text: str
) -> None:
    assert words(number, version) == text


def test_single_names_are_those_of_the_table() -> None:
    table = bits((3, 10))
    assert table is not None
    assert words(1 << table["__GFP_NOFAIL"], (3, 10)) == "__GFP_NOFAIL"
