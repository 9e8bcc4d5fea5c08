# SPDX-License-Identifier: GPL-2.0-or-later
"""The kinds of an external fragmentation event: steal, claim, claim of a whole block.

``mm_page_alloc_extfrag`` (include/trace/events/kmem.h; since 2.6.32; change_ownership is always 0 before 3.12) has the order and
migratetype asked for, the order and type of the free chunk that was taken, and whether the page's pageblock now has the type
asked for (change_ownership). :func:`extfrag_kind` is the one place that tells the kinds apart: the model's counter is compiled
from it, and logs, recordings and live events go through it.
"""

from __future__ import annotations

from typing import Any

STEAL, CLAIM, CLAIM_BLOCK = range(3)
"""STEAL: the block kept its type, and a chunk was taken out of it. CLAIM: the block changed type, by a chunk smaller than a
pageblock (the second half of try_to_claim_block): where the block was movable and the request was not, the patched kernel queues
an evacuation. CLAIM_BLOCK: the chunk was a whole pageblock or more, so it was free and there is nothing to evacuate."""

KIND_NAMES = ("steal", "claim", "claim_block")
"""Their names in results."""

CLAIM_OR_STEAL = 3
"""Of a recording alone: the chunk was smaller than a pageblock, and the kernel is older than 3.12. Its event prints
change_ownership as 0 always: it compares the type asked for with the type taken from, which differ whenever the event fires."""

NOT_TOLD = -1
"""Stands for change_ownership in records of such an event."""

RECORDED_KIND_NAMES = (*KIND_NAMES, "claim_or_steal")
"""Names of the kinds of a recording's events."""


def extfrag_kind(order_taken: Any, pageblock_order: Any, change_ownership: Any) -> Any:
    """STEAL, CLAIM or CLAIM_BLOCK, of one event or of arrays of events (int64).

    Parameters
    ----------
    order_taken : int or integer array
        Order of the free chunk that was taken (fallback_order).
    pageblock_order : int
        Order of a pageblock.
    change_ownership : int or integer array
        Not 0 where the page's pageblock now has the type asked for.
    """
    return (change_ownership != 0) * (1 + (order_taken >= pageblock_order))
