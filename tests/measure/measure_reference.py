# SPDX-License-Identifier: GPL-2.0-or-later
"""A slow recount of what a machine's blocks hold, page by page, and a machine driven at random."""

from __future__ import annotations

from typing import Any

import numpy as np

from kevacuate.mm import constants as k
from kevacuate.mm import entry, load_state
from kevacuate.mm.layout import EvacuationConfig, MachineConfig, State, StateOptions, ZoneConfig, build_state

FREE, PCP, MOVABLE, UNMOVABLE, RESERVED = range(5)
GFP = {0: k.GFP_KERNEL, 1: k.GFP_HIGHUSER_MOVABLE, 2: k.GFP_KERNEL | k.GFP_RECLAIMABLE}
RANDOM_ATTRS = (0, k.ATTR_LRU, k.ATTR_LRU | k.ATTR_FILE, k.ATTR_MOVABLE_OPS, k.ATTR_LRU | k.ATTR_PINNED)


def small_machine(pageblock_order: int = 5, pages: int = 2048) -> tuple[MachineConfig, State]:
    """Two zones with a gap between them, a zone that ends inside a block, and holes."""
    zones = (
        ZoneConfig(0, 1, 32, 500, ((100, 130), (200, 201))),
        ZoneConfig(0, 2, 640, pages - 7, ((1024, 1100),)),
    )
    config = MachineConfig(pages, zones, pageblock_order=pageblock_order, hpage_pmd_order=pageblock_order)
    state = build_state(config, EvacuationConfig(evacuate=True), StateOptions(objects=4096))
    load_state.memblock_free_all(state, config)
    entry.late_initcall(state, 1)
    return config, state


def drive(state: State, rng: np.random.Generator, steps: int) -> None:
    """Random allocations, frees, splits and steps of time; object ids count up."""
    live = [int(o) for o in np.flatnonzero(state.obj >= 0)]
    number = int(state.view.stat.allocs + state.view.stat.alloc_failed)
    for _ in range(steps):
        entry.advance(state, state.view.stat.now + int(rng.integers(200_000)))
        live = [obj for obj in live if state.obj[obj] >= 0]
        what = rng.random()
        if what < 0.55 or not live:
            mt = int(rng.choice([0, 1, 1, 2]))
            attr = int(rng.choice(RANDOM_ATTRS)) if mt == 1 else 0
            order = int(
                rng.choice([0, 0, 0, 1, 2, 3, 5, 7, 10], p=[0.3, 0.2, 0.2, 0.1, 0.1, 0.04, 0.04, 0.01, 0.01])
            )
            if entry.alloc(state, 0, -1, order, mt, GFP[mt], attr, number) >= 0:
                live.append(number)
            number += 1
        else:
            obj = live.pop(int(rng.integers(len(live))))
            entry.free(state, 0, int(state.obj[obj]))


def classes(state: State) -> np.ndarray:
    """Class of every page: the state of the chunk that covers it."""
    out = np.full(state.meta.size, -1)
    pfn = 0
    while pfn < state.meta.size:
        kind, order = int(state.meta[pfn]) >> 4, int(state.meta[pfn]) & 15
        if kind == k.CHUNK_ALLOC:
            attr = int(state.link[2 * pfn + 1])
            anonymous = attr & k.ATTR_LRU and not attr & k.ATTR_FILE
            on_list = attr & k.ATTR_ON_LRU or attr & k.ATTR_MOVABLE_OPS
            which = MOVABLE if on_list or anonymous else UNMOVABLE
        else:
            which = {
                k.CHUNK_BUDDY: FREE,
                k.CHUNK_PCP: PCP,
                k.CHUNK_ISOLATED: MOVABLE,
                k.CHUNK_RESERVED: RESERVED,
            }[kind]
        out[pfn : pfn + (1 << order)] = which
        pfn += 1 << order
    return out


def block_type(state: State, block: int) -> int:
    """Migratetype of a block; -1 where no zone is."""
    bits, zone = int(state.block[2 * block]), int(state.block[2 * block + 1])
    if zone == k.NO_ZONE:
        return -1
    return k.MIGRATE_ISOLATE if bits & k.PB_ISOLATE else bits & k.PB_TYPE_MASK


def recount(state: State, pageblock_order: int) -> dict[str, Any]:
    """Blocks (first pfn, type, pages by class), and free chunks by (order, type)."""
    kinds = classes(state)
    size = 1 << pageblock_order
    blocks = []
    for block in range(state.meta.size // size):
        mt = block_type(state, block)
        if mt >= 0:
            pages = kinds[block * size : (block + 1) * size].tolist()
            blocks.append((block * size, mt, [pages.count(i) for i in range(5)]))
    free: dict[tuple[int, int], int] = {}
    for pfn in np.flatnonzero(state.meta >> 4 == k.CHUNK_BUDDY).tolist():
        key = (int(state.meta[pfn]) & 15, block_type(state, pfn // size))
        free[key] = free.get(key, 0) + 1
    return {"blocks": blocks, "free": free, "classes": kinds}
