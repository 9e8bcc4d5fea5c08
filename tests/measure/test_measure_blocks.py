# SPDX-License-Identifier: GPL-2.0-or-later
"""What is measured of a machine's blocks, against a recount page by page while random operations run."""

import numpy as np
import pytest
from measure_reference import FREE, MOVABLE, PCP, RESERVED, UNMOVABLE, drive, recount, small_machine

from kevacuate.measure import fragmentation_index, moment, unusable_free_index
from kevacuate.measure.blocks import block_counts
from kevacuate.measure.metrics import region_metrics
from kevacuate.mm import constants as k
from kevacuate.mm import entry
from kevacuate.mm.check import check
from kevacuate.mm.fields import Zone
from kevacuate.mm.layout import State

ROUNDS = 12


def compare_counts(state: State, order: int) -> None:
    counts, free_by = block_counts(state)
    slow = recount(state, order)
    assert (
        list(zip(counts.start.tolist(), counts.mt.tolist(), counts.pages.tolist(), strict=True))
        == slow["blocks"]
    )
    assert {(o, t): int(free_by[o, t]) for o, t in np.argwhere(free_by).tolist()} == slow["free"]


def slow_moment(state: State, order: int) -> dict[str, int]:
    blocks = recount(state, order)["blocks"]
    kernel = [(mt, pages) for _, mt, pages in blocks if pages[UNMOVABLE]]
    return {
        "mixed_blocks": sum(1 for _, pages in kernel if pages[MOVABLE]),
        "mixed_unmovable_pages": sum(pages[UNMOVABLE] for _, pages in kernel if pages[MOVABLE]),
        "polluted_blocks": sum(1 for mt, _ in kernel if mt == k.MIGRATE_MOVABLE),
        "polluted_pages": sum(pages[UNMOVABLE] for mt, pages in kernel if mt == k.MIGRATE_MOVABLE),
        "blocks_with_unmovable": len(kernel),
        "free_pages": sum(pages[FREE] for *_, pages in blocks),
        "pcp_pages": sum(pages[PCP] for *_, pages in blocks),
        "movable_pages": sum(pages[MOVABLE] for *_, pages in blocks),
        "unmovable_pages": sum(pages[UNMOVABLE] for *_, pages in blocks),
    }


@pytest.mark.parametrize(("order", "seed"), [(5, 1), (5, 2), (3, 3), (9, 4), (6, 5)])
def test_counts_of_a_machine_at_work(order: int, seed: int) -> None:
    config, state = small_machine(order)
    managed = sum(zone.managed_pages for zone in config.zones)
    rng = np.random.default_rng(seed)
    seen: set[str] = set()
    for _ in range(ROUNDS):
        drive(state, rng, 60)
        check(state)
        compare_counts(state, order)
        now, slow = moment(state), slow_moment(state, order)
        assert {name: now[name] for name in slow} == slow
        assert sum(now[f"{kind}_pages"] for kind in ("free", "pcp", "movable", "unmovable")) == managed
        seen |= {name for name, value in slow.items() if value}
    assert seen == set(slow_moment(state, order))


@pytest.mark.parametrize(("order", "seed"), [(5, 6), (9, 7)])
def test_free_chunks_and_indices_are_those_of_the_zones(order: int, seed: int) -> None:
    config, state = small_machine(order)
    drive(state, np.random.default_rng(seed), 300)
    now = moment(state)
    orders = config.max_page_order + 1
    areas = Zone.table(state.zone)["free_area"][:, :orders].sum(axis=0)
    by_order = np.array([now["free_chunks"][name] for name in k.MIGRATE_NAMES]).sum(axis=0)
    assert by_order.tolist() == areas.tolist()
    assert now["free_pages"] == sum(zone.nr_free_pages for zone in state.view.zone)
    assert now["fragmentation_index"] == [fragmentation_index(areas, o) for o in range(orders)]
    assert now["unusable_free_index"] == [unusable_free_index(areas, o) for o in range(orders)]
    assert now["huge_pages_free"] == sum(int(areas[o]) << (o - order) for o in range(order, orders))


def test_an_untouched_machine() -> None:
    config, state = small_machine(5)
    now = moment(state)
    assert now["free_pages"] == sum(zone.managed_pages for zone in config.zones)
    assert not any(
        now[n] for n in ("mixed_blocks", "polluted_blocks", "movable_pages", "unmovable_pages", "pcp_pages")
    )
    assert now["blocks"]["movable"] == sum(now["blocks"].values())


def block_of(state: State, pfn: int, order: int) -> list[int]:
    counts, _ = block_counts(state)
    return [int(n) for n in counts.pages[int(np.searchsorted(counts.start, pfn >> order << order))]]


def test_a_chunk_larger_than_a_block_fills_all_its_blocks() -> None:
    _, state = small_machine(5)
    pfn = entry.alloc(state, 0, -1, 8, 0, k.GFP_KERNEL, 0, 1)
    assert pfn >= 0
    for first in range(pfn, pfn + 256, 32):
        assert block_of(state, first, 5) == [0, 0, 0, 32, 0]
    free = [start for start, _, pages in recount(state, 5)["blocks"] if pages[FREE] == 32]
    assert all(block_of(state, start, 5) == [32, 0, 0, 0, 0] for start in free)
    assert len(free) > 16


def test_mixed_polluted_and_tainted_mean_what_the_names_say() -> None:
    _, state = small_machine(5)
    one = entry.alloc(state, 0, -1, 5, 1, k.GFP_HIGHUSER_MOVABLE, k.ATTR_LRU, 1)
    assert moment(state)["mixed_blocks"] == moment(state)["polluted_blocks"] == 0
    assert moment(state)["movable_pages"] == 32
    entry.split(state, one, 2)
    entry.free(state, 0, one)
    assert moment(state)["polluted_blocks"] == 0
    state.link[2 * (one + 16) + 1] = 0
    now = moment(state)
    assert (now["mixed_blocks"], now["polluted_blocks"], now["polluted_pages"]) == (0, 1, 16)
    entry.split(state, one + 16, 3)
    state.link[2 * (one + 24) + 1] = k.ATTR_LRU | k.ATTR_ON_LRU
    now = moment(state)
    assert (now["mixed_blocks"], now["mixed_unmovable_pages"], now["polluted_pages"]) == (1, 8, 8)
    state.block[2 * (one >> 5)] = k.MIGRATE_UNMOVABLE
    now = moment(state)
    assert (now["mixed_blocks"], now["polluted_blocks"], now["blocks_with_unmovable"]) == (1, 0, 1)


def test_a_file_page_in_an_lru_batch_cannot_move_yet_an_anonymous_one_can() -> None:
    _, state = small_machine(5)
    file = k.ATTR_LRU | k.ATTR_FILE
    entry.alloc(state, 0, -1, 0, 1, k.GFP_HIGHUSER_MOVABLE, file, 1)
    assert (moment(state)["movable_pages"], moment(state)["unmovable_pages"]) == (0, 1)
    entry.alloc(state, 0, -1, 0, 1, k.GFP_HIGHUSER_MOVABLE, k.ATTR_LRU, 2)
    assert (moment(state)["movable_pages"], moment(state)["unmovable_pages"]) == (1, 1)
    for obj in range(3, 32):
        entry.alloc(state, 0, -1, 0, 1, k.GFP_HIGHUSER_MOVABLE, file, obj)
    assert (moment(state)["movable_pages"], moment(state)["unmovable_pages"]) == (31, 0)


def slow_regions(state: State, order: int, block: int) -> dict[str, int]:
    kinds = recount(state, block)["classes"]
    starts = sorted({start >> order << order for start, *_ in recount(state, block)["blocks"]})
    out = {"regions": len(starts), "free": 0, "movable_only": 0, "tainted": 0}
    for start in starts:
        pages = kinds[start : start + (1 << order)].tolist()
        whole = len(pages) == 1 << order and RESERVED not in pages
        out["free"] += whole and MOVABLE not in pages and UNMOVABLE not in pages
        out["movable_only"] += whole and UNMOVABLE not in pages
        out["tainted"] += UNMOVABLE in pages
    return out


@pytest.mark.parametrize("seed", [1, 2])
def test_regions_against_a_recount(seed: int) -> None:
    _, state = small_machine(3, 4096)
    rng = np.random.default_rng(seed)
    for _ in range(ROUNDS):
        drive(state, rng, 30)
        counts, _ = block_counts(state)
        for order in (3, 4, 6, 9, 12):
            assert region_metrics(counts, order, 3) == slow_regions(state, order, 3)
        assert region_metrics(counts, 1, 3) == region_metrics(counts, 3, 3)


def test_regions_of_an_empty_and_a_full_machine_differ() -> None:
    _, state = small_machine(5, 4096)
    before = moment(state)["regions_2m"]
    assert before["free"] == before["movable_only"] > 0
    assert before["tainted"] == 0
    while entry.alloc(state, 0, -1, 5, 0, k.GFP_KERNEL, 0, -1) >= 0:
        pass
    after = moment(state)["regions_2m"]
    assert after["free"] == after["movable_only"] == 0
    assert after["tainted"] == after["regions"] == before["regions"]
