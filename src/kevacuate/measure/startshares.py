# SPDX-License-Identifier: GPL-2.0-or-later
"""A start state in shares, which tell states of machines of different size apart: what scaling and ageing keep or change."""

from __future__ import annotations

from typing import Any

from kevacuate.measure.moments import state_moment
from kevacuate.recording import AllocatorState, Machine


def start_shares(machine: Machine, state: AllocatorState) -> dict[str, Any]:
    """Shares of a start state, each from 0 to 1.

    Returns
    -------
    dict
        ``bytes`` and ``blocks`` (what the shares are of: memory that the allocator manages, pageblocks); ``free`` (of memory, on
        free lists), ``free_huge`` (of what is free, in chunks of at least a huge page), ``types`` (of pageblocks, by type);
        ``mixed`` and ``polluted`` (of pageblocks; None without page flags).
    """
    managed = sum(zone.managed for zone in state.zones)
    moment = state_moment(state, machine.pageblock_order, machine.hugepage_order)
    chunks, blocks = moment["free_by_order"], max(len(state.blocks.pfn), 1)
    pages = [count << order for order, count in enumerate(chunks)]
    huge = machine.hugepage_order if machine.hugepage_order > 0 else machine.pageblock_order
    return {
        "bytes": managed * machine.page_size,
        "blocks": len(state.blocks.pfn),
        "free": sum(pages) / max(managed, 1),
        "free_huge": sum(pages[huge:]) / max(sum(pages), 1),
        "types": {name: count / blocks for name, count in moment["blocks"].items()},
        "mixed": moment["mixed_blocks"] / blocks if "mixed_blocks" in moment else None,
        "polluted": moment["polluted_blocks"] / blocks if "polluted_blocks" in moment else None,
    }
