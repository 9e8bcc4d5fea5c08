# SPDX-License-Identifier: GPL-2.0-or-later
"""From a recorded state to a model in which every page that is not free is in use by nobody in particular."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kevacuate.mm import constants as k
from kevacuate.mm import load_state
from kevacuate.mm.layout import EvacuationConfig, State, StateOptions, build_state
from kevacuate.recording import AllocatorState, Machine
from kevacuate.runs import initial_state


class FreeList(NamedTuple):
    """One free list of the model."""

    zone: int
    """The model's zone number."""
    order: int
    mt: int
    pfns: npt.NDArray[np.int64]
    """First pfns of the chunks, head first."""


def zone_numbers(machine: Machine, recorded: AllocatorState) -> npt.NDArray[np.int64]:
    """Recorded zone index (as in ``gt_rmq``) to the model's zone number."""
    return initial_state.zone_numbers(initial_state.machine_config(machine, recorded), recorded)


def state_with_free_lists(
    machine: Machine,
    recorded: AllocatorState,
    options: StateOptions,
    evacuation: EvacuationConfig | None = None,
    *,
    open_loop: bool = True,
) -> State:
    """The model's state with the recorded pageblocks and free lists; what a per-CPU list holds counts as in use.

    *open_loop*: whether the model compacts as an open loop has it, without direct compaction.

    Raises
    ------
    KevacuateError
        The state is inconsistent, or the model cannot hold the machine.
    """
    config = replace(initial_state.machine_config(machine, recorded), open_loop=open_loop)
    state = build_state(config, evacuation, options)
    load_free_lists(state, zone_numbers(machine, recorded), recorded)
    return state


def load_free_lists(state: State, zone_of: npt.NDArray[np.int64], recorded: AllocatorState) -> None:
    """Give *state* the recorded pageblocks and free lists, whatever it held before."""
    npages = state.view.cfg.npages
    lists = state.view.cfg.nr_zones * k.LISTS_PER_ZONE
    heads = np.arange(npages, npages + lists, dtype=np.int32)
    state.link[2 * npages : 2 * (npages + lists)] = np.repeat(heads, 2)
    state.meta[:] = k.CHUNK_RESERVED << 4
    blocks, free = recorded.blocks, recorded.free
    load_state.load_pageblocks(
        state, blocks.pfn.astype(np.int64), blocks.mt.astype(np.int64), np.asarray(blocks.skip, np.bool_)
    )
    load_state.load_free_lists(
        state, zone_of[free.zone], free.order.astype(np.int64), free.mt.astype(np.int64), free.pfn
    )
    for zone in recorded.zones:
        pages = np.arange(zone.start_pfn, zone.start_pfn + zone.spanned)
        load_state.load_in_use(state, pages[state.meta[pages] == k.CHUNK_RESERVED << 4])


def free_lists(state: State) -> list[FreeList]:
    """Every free list that is not empty, in list order."""
    found = []
    base = state.view.cfg.npages
    for z in range(state.view.cfg.nr_zones):
        for order in range(state.view.cfg.max_page_order + 1):
            for mt in range(k.MIGRATE_TYPES):
                head = base + z * k.LISTS_PER_ZONE + order * k.NR_TYPES + mt
                pfns = []
                page = int(state.link[2 * head])
                while page != head:
                    pfns.append(page)
                    page = int(state.link[2 * page])
                if pfns:
                    found.append(FreeList(z, order, mt, np.array(pfns, np.int64)))
    return found


def recorded_free_lists(zone_of: npt.NDArray[np.int64], recorded: AllocatorState) -> list[FreeList]:
    """The same of a recorded state."""
    free = recorded.free
    key = (zone_of[free.zone] * k.NR_ORDERS + free.order) * k.NR_TYPES + free.mt
    found = []
    for value in np.unique(key).tolist():
        z, rest = divmod(value, k.LISTS_PER_ZONE)
        found.append(FreeList(z, rest // k.NR_TYPES, rest % k.NR_TYPES, free.pfn[key == value]))
    return found
