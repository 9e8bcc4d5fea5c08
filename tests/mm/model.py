# SPDX-License-Identifier: GPL-2.0-or-later
"""One zone of the fast model, set up by hand: for tests of single decisions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from kevacuate import Machine
from kevacuate.mm import constants as k
from kevacuate.mm import load_state
from kevacuate.mm.layout import (
    EvacuationConfig,
    MachineConfig,
    State,
    StateOptions,
    ZoneConfig,
    build_state,
    log_table,
)
from kevacuate.mm.machine import Chunk
from kevacuate.mm.profile import PROFILES

FreeLists = Iterable[tuple[int, int, list[int]]]
"""(order, type, [first pfns, head first])."""


def one_zone(
    npages: int = 4096,
    start: int = 0,
    index: int = k.ZONE_NORMAL,
    evacuate: bool = False,
    profile: str = "7.2",
) -> State:
    """One CPU, one zone, watermarks 0, every page reserved."""
    machine = replace(machine_of(npages, start, index), profile=PROFILES[profile])
    return build_state(machine, EvacuationConfig(evacuate=evacuate), StateOptions(1, 3, 1 << 16))


def machine_of(npages: int, start: int = 0, index: int = k.ZONE_NORMAL) -> MachineConfig:
    """The description of that machine."""
    return MachineConfig(npages=npages, zones=(ZoneConfig(0, index, start, npages),))


def columns(rows: Iterable[tuple[int, ...]], width: int) -> list[np.ndarray]:
    """Rows as arrays, one per column."""
    table = np.array(list(rows), np.int64).reshape(-1, width)
    return [table[:, i].copy() for i in range(width)]


def load(state: State, free: FreeLists, default: int = k.MIGRATE_UNMOVABLE) -> None:
    """Free lists as given; all blocks of type *default*."""
    state.block[: state.view.cfg.pcp_type_base : 2] = default
    rows = [(0, order, mt, pfn) for order, mt, pfns in free for pfn in pfns]
    load_state.load_free_lists(state, *columns(rows, 4))


def entries(state: State, head: int) -> list[int]:
    """What is on the list with this sentinel, head first."""
    pages = []
    pfn = int(state.link[2 * head])
    while pfn != head:
        pages.append(pfn)
        pfn = int(state.link[2 * pfn])
    return pages


def free_list(state: State, order: int, mt: int) -> list[int]:
    """A free list of zone 0."""
    return entries(state, state.view.cfg.npages + order * k.NR_TYPES + mt)


def pcp_list(state: State, pindex: int) -> list[int]:
    """A list of the pcp of zone 0 and CPU 0."""
    return entries(state, state.view.cfg.pcp_base + pindex)


def free_lists(state: State) -> list[tuple[int, int, list[int]]]:
    """The free lists that hold anything, highest order first."""
    found = [(order, mt, free_list(state, order, mt)) for order in range(11) for mt in range(k.MIGRATE_TYPES)]
    return [entry for entry in found if entry[2]][::-1]


def take_log(state: State) -> list[tuple[int, ...]]:
    """The log records since the last call."""
    records = [tuple(record) for record in log_table(state).tolist()]
    state.view.stat.nr_log = 0
    return records


def scatter(machine: Machine, keep: float, seed: int, **attrs: bool) -> list[Chunk]:
    """Fill a machine with movable pages, then leave a share of them, at random places."""
    pages = []
    while (page := machine.alloc("movable", **attrs)) is not None:
        pages.append(page)
    rng = np.random.default_rng(seed)
    kept = []
    for page in pages:
        if rng.random() < keep:
            kept.append(page)
        else:
            machine.free(page)
    machine.drain()
    return kept
