# SPDX-License-Identifier: GPL-2.0-or-later
"""Who reads PB_compact_skip: each scanner as it comes to a block, and the migrate scanner at the block's first page."""

from __future__ import annotations

import numpy as np
import pytest
from model import scatter

from kevacuate import Machine
from kevacuate.jit import kernel, pointers
from kevacuate.mm import constants as k
from kevacuate.mm.fields import CompactControl
from kevacuate.mm.isolate_freepages import isolate_freepages
from kevacuate.mm.isolate_migratepages import (
    find_migrateblock,
    isolate_migratepages,
    isolate_migratepages_block,
)

ORDER = 6
BLOCK = 1 << ORDER
BLOCKS = 16
WANTED = (
    3  # up to PAGE_ALLOC_COSTLY_ORDER there is no fast search for a block, which reads the bit on its own
)


@kernel
def take_free_pages(sa):  # type: ignore[no-untyped-def]
    s = pointers(sa)
    isolate_freepages(s, 0, s.cc[0])


@kernel
def take_sources(sa):  # type: ignore[no-untyped-def]
    s = pointers(sa)
    return isolate_migratepages(s, 0, s.cc[0], 0, find_migrateblock(s, 0, s.cc[0]))


@kernel
def scan_block(sa, pfn, end):  # type: ignore[no-untyped-def]
    s = pointers(sa)
    isolate_migratepages_block(s, 0, s.cc[0], pfn, end)


def scanning(*open_blocks: int, ignores: bool = False) -> tuple[Machine, CompactControl]:
    """A machine of scattered pages: all blocks but these have the bit, and a compaction is about to scan it."""
    machine = Machine(BLOCKS * BLOCK, pageblock_order=ORDER, compaction=True)
    scatter(machine, 0.5, 3)
    machine.state.block[: 2 * BLOCKS : 2] |= k.PB_COMPACT_SKIP
    for block in open_blocks:
        machine.state.block[2 * block] &= 255 - k.PB_COMPACT_SKIP
    cc = machine.state.view.cc[0]
    cc.order, cc.search_order, cc.free_pfn = WANTED, WANTED, (BLOCKS - 1) * BLOCK
    cc.ignore_skip_hint = int(ignores)
    return machine, cc


def blocks_in(machine: Machine, state: int) -> set[int]:
    """The blocks that have chunks in this state."""
    return {int(pfn) // BLOCK for pfn in np.flatnonzero(machine.state.meta >> 4 == state)}


@pytest.mark.parametrize(("ignores", "block"), [(False, 9), (True, BLOCKS - 1)])
def test_the_free_scanner_passes_over_marked_blocks(ignores: bool, block: int) -> None:
    machine, cc = scanning(9, ignores=ignores)
    cc.order, cc.nr_migratepages = -1, 8  # without an order there is no fast search for free pages
    take_free_pages(machine.state)
    assert blocks_in(machine, k.CHUNK_COMPACT) == {block}


@pytest.mark.parametrize(("ignores", "block"), [(False, 5), (True, 0)])
def test_the_migrate_scanner_passes_over_marked_blocks(ignores: bool, block: int) -> None:
    machine, cc = scanning(5, ignores=ignores)
    cached = list(machine.state.view.zone[0].compact_cached_migrate_pfn)
    take_sources(machine.state)
    assert blocks_in(machine, k.CHUNK_ISOLATED) == {block}
    assert cc.migrate_pfn // BLOCK == block or cc.migrate_pfn == (block + 1) * BLOCK
    assert list(machine.state.view.zone[0].compact_cached_migrate_pfn) == cached, "passing over moves nothing"


@pytest.mark.parametrize(
    ("first", "ignores", "taken"), [(0, False, False), (0, True, True), (8, False, True)]
)
def test_a_block_s_first_page_says_whether_it_is_scanned(first: int, ignores: bool, taken: bool) -> None:
    machine, cc = scanning(ignores=ignores)
    scan_block(machine.state, 3 * BLOCK + first, 4 * BLOCK)
    assert blocks_in(machine, k.CHUNK_ISOLATED) == ({3} if taken else set())
    assert (cc.nr_folios > 0) == taken
