# SPDX-License-Identifier: GPL-2.0-or-later
"""Is a recorded start state one that the model can hold? Checked before any of it becomes an index."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from kevacuate.errors import KevacuateError
from kevacuate.kernel.pcp import pcp_order
from kevacuate.mm import constants as k
from kevacuate.mm.layout import MachineConfig
from kevacuate.recording import AllocatorState, StartObjects
from kevacuate.recording.statefiles import outside
from kevacuate.runs.lru_state import wrong_lists, wrong_reclaim

MOST_DUE_NS = 1 << 42
"""Background work comes again within so many ns of a state, more than an hour."""

Columns = npt.NDArray[np.generic]


def _misplaced(config: MachineConfig, pfn: Columns, order: Columns) -> bool:
    """Whether any chunk is not aligned or sticks out of its zone; orders must have been checked."""
    first, size = pfn.astype(np.int64), np.left_shift(1, order.astype(np.int64))
    inside = np.zeros(first.shape, np.bool_)
    for zone in config.zones:
        inside |= (first >= zone.start_pfn) & (first + size <= zone.end_pfn)
    return bool((~inside | (first & (size - 1) != 0)).any())


def _problems(
    config: MachineConfig, state: AllocatorState, start: StartObjects
) -> Iterator[tuple[bool, str]]:
    """(whether it is wrong, what), in an order in which each may rely on those before it."""
    most, cpus = config.max_page_order, len(config.cpu_node)
    known = [zone.index for zone in state.zones]
    tables = (state.free.zone, state.blocks.zone, state.pcp.zone, state.pcp_pages.zone)
    spans = sorted((zone.start_pfn, zone.end_pfn) for zone in config.zones)
    yield any(b[0] < a[1] for a, b in pairwise(spans)), "zones that overlap"
    yield (
        any(zone.start_pfn not in dict(spans) for zone in state.zones),
        "a zone that the machine does not have",
    )
    unknown = len(set(known)) != len(known) or not all(np.isin(z, known).all() for z in tables)
    yield unknown, "something of a zone that it does not describe"
    yield outside(state.free.order, 0, most), "free pages of an order that the machine does not have"
    yield outside(state.free.mt, 0, k.MIGRATE_TYPES - 1), "free pages of a type that does not exist"
    yield _misplaced(config, state.free.pfn, state.free.order), "free pages outside their zone or not aligned"
    yield outside(state.blocks.mt, 0, k.MIGRATE_TYPES - 1), "pageblocks of a type that does not exist"
    block = (1 << config.pageblock_order) - 1
    highest = max(zone.end_pfn for zone in config.zones) - 1
    wrong = outside(state.blocks.pfn, 0, highest) or bool((state.blocks.pfn & block).any())
    yield wrong, "pageblocks that are none"
    strange = outside(state.pcp.cpu, 0, cpus - 1) or outside(state.pcp_pages.cpu, 0, cpus - 1)
    yield strange, "per-CPU lists of a CPU that the machine does not have"
    yield outside(state.pcp.batch, 1, 1 << 20), "per-CPU lists without a batch size"
    p = state.pcp
    sizes = (p.high, p.high_min, p.high_max, p.flags, p.alloc_factor, p.free_count)
    yield any(outside(values, 0, 1 << 30) for values in sizes), "per-CPU lists of an impossible size"
    lists = k.NR_PCP_LISTS if config.hpage_pmd_order >= 0 else k.NR_PCP_LISTS - 2
    yield outside(state.pcp_pages.pindex, 0, lists - 1), "pages on a per-CPU list that does not exist"
    order = pcp_order(state.pcp_pages.pindex, config.hpage_pmd_order)
    yield _misplaced(config, state.pcp_pages.pfn, order), "per-CPU pages outside their zone or not aligned"
    due = np.array([*state.due.values(), 0])
    yield outside(due, 0, MOST_DUE_NS), "background work that is overdue or hours away"
    yield wrong_reclaim(state.reclaim), "figures of reclaim that cannot be"
    nodes = 1 + max(zone.node for zone in config.zones)
    yield state.lru is not None and wrong_lists(state.lru, cpus, nodes), "LRU lists that cannot be"
    yield outside(start.order, 0, most), "objects of an order that the machine does not have"
    yield _misplaced(config, start.pfn, start.order), "objects outside their zone or not aligned"


def refuse_impossible(config: MachineConfig, state: AllocatorState, start: StartObjects) -> None:
    """Refuse a start state, or a later one that a verification takes over, whose values cannot be.

    Raises
    ------
    KevacuateError
        Names the first such thing.

    """
    for wrong, what in _problems(config, state, start):
        if wrong:
            raise KevacuateError(f"The start state holds {what}; the recording is corrupted, record again.")
