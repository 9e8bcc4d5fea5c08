# SPDX-License-Identifier: GPL-2.0-or-later
"""A recorded kernel's external fragmentation events, told apart as the model tells its own apart.

``mm_page_alloc_extfrag`` (__rmqueue_claim and __rmqueue_steal, mm/page_alloc.c at 7.2) has the order and migratetype asked for,
the order and type of the free chunk that was taken, and whether its pageblock now has the type asked for. From these:

* **steal**: the block kept its type; the page was taken out of it;
* **claim**: the block changed type, and the chunk was smaller than a pageblock (try_to_claim_block's second half): these queue
  an evacuation in the patched kernel, where the block was movable and the request was not;
* **claim_block**: the chunk was a whole pageblock or more, so the block was free and there is nothing to evacuate;
* **claim_or_steal**: the chunk was smaller than a pageblock, and the kernel is older than 3.12. There the event prints
  ``change_ownership`` as 0 always (it compares the type asked for with the type taken from, which differ whenever it fires).
  A chunk of a pageblock or more is a claim on those kernels too (__rmqueue_fallback, mm/page_alloc.c at 3.10).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kevacuate.mm.constants import MIGRATE_MOVABLE, MIGRATE_NAMES, MIGRATE_RECLAIMABLE, MIGRATE_UNMOVABLE
from kevacuate.recording.machine import Machine
from kevacuate.recording.schema import EventChunk, EventKind

STEAL, CLAIM, CLAIM_BLOCK, CLAIM_OR_STEAL = range(4)
KIND_NAMES = ("steal", "claim", "claim_block", "claim_or_steal")
TYPES = len(MIGRATE_NAMES)
ORDERS = 16
"""Orders are counted below this; the kernel's end at MAX_PAGE_ORDER (10)."""

KERNEL_OWN = (MIGRATE_UNMOVABLE, MIGRATE_RECLAIMABLE)


class Extfrag(NamedTuple):
    """The well-formed events of one chunk of a recording, one element each."""

    at: npt.NDArray[np.intp]
    """Position in the chunk."""
    kind: npt.NDArray[np.int64]
    """STEAL, CLAIM, CLAIM_BLOCK or CLAIM_OR_STEAL."""
    start: npt.NDArray[np.int64]
    """Migratetype asked for."""
    source: npt.NDArray[np.int64]
    """Migratetype of the chunk taken."""
    order: npt.NDArray[np.int64]
    """Order asked for."""
    taken: npt.NDArray[np.int64]
    """Order of the chunk taken."""

    @property
    def from_movable(self) -> npt.NDArray[np.bool_]:
        """Unmovable and reclaimable requests that took from a movable block."""
        own = (self.start == MIGRATE_UNMOVABLE) | (self.start == MIGRATE_RECLAIMABLE)
        return np.asarray(own & (self.source == MIGRATE_MOVABLE))


def tells_ownership(machine: Machine) -> bool:
    """Whether the recorded kernel's ``change_ownership`` means what its name says: its importer names it as lacking if not."""
    lacks = machine.extra.get("lacks")
    return not isinstance(lacks, list) or not any("change_ownership" in str(one) for one in lacks)


def extfrag_of(chunk: EventChunk, pageblock_order: int, *, ownership: bool = True) -> tuple[Extfrag, int]:
    """The events of a chunk, and how many were malformed (a type or order that no kernel has).

    *ownership*: whether ``change_ownership`` is to be believed (:func:`tells_ownership`). An event need not name its page.
    """
    at = np.flatnonzero(chunk.kind == EventKind.MM_PAGE_ALLOC_EXTFRAG)
    start, order = chunk.mt[at].astype(np.int64), chunk.order[at].astype(np.int64)
    taken, source = chunk.a[at], chunk.b[at]
    good = (start >= 0) & (start < TYPES) & (source >= 0) & (source < TYPES)
    good &= (order >= 0) & (order < ORDERS) & (taken >= 0) & (taken < ORDERS)
    if ownership:
        kind = np.where(chunk.c[at] == 0, STEAL, np.where(taken >= pageblock_order, CLAIM_BLOCK, CLAIM))
    else:
        kind = np.where(taken >= pageblock_order, CLAIM_BLOCK, CLAIM_OR_STEAL)
    found = Extfrag(at, kind, start, source, order, taken)
    return Extfrag(*(column[good] for column in found)), int((~good).sum())


class ExtfragTable:
    """The events counted by kind, type asked for, type taken from, order asked for and order taken."""

    def __init__(self, pageblock_order: int, *, ownership: bool = True) -> None:
        self.pageblock_order, self.ownership = pageblock_order, ownership
        self.table = np.zeros((len(KIND_NAMES), TYPES, TYPES, ORDERS, ORDERS), np.int64)
        self.malformed = 0

    def add(self, events: Extfrag, malformed: int = 0) -> None:
        """Count the events of a chunk."""
        np.add.at(self.table, (events.kind, events.start, events.source, events.order, events.taken), 1)
        self.malformed += malformed

    def between(self, kind: int, starts: tuple[int, ...], sources: tuple[int, ...]) -> int:
        """Events of a kind, for requests of some types, from blocks of some types."""
        return int(self.table[kind][np.ix_(starts, sources)].sum())

    def blocks_changed(self, starts: tuple[int, ...], sources: tuple[int, ...]) -> int:
        """Pageblocks that claims gave to requests of some types, from blocks of some types.

        A claim below pageblock order changes one, a whole-block claim of order n changes 2^(n - pageblock order).
        """
        each = np.left_shift(1, np.maximum(np.arange(ORDERS) - self.pageblock_order, 0))
        claims = (self.table[CLAIM] + self.table[CLAIM_BLOCK])[np.ix_(starts, sources)].sum(axis=(0, 1, 2))
        return int((claims * each).sum())

    def metrics(self) -> dict[str, Any]:
        """Under the names, and with the meaning, of :func:`kevacuate.measure.metrics.run_metrics`.

        Where claims and steals cannot be told apart they are absent, and ``claims_or_steals_from_movable`` counts both.
        """
        movable = (MIGRATE_MOVABLE,)
        everyone = tuple(range(TYPES))
        whole = {
            "extfrag": int(self.table.sum()),
            "extfrag_below_pageblock": int(self.table[..., : self.pageblock_order].sum()),
            "extfrag_malformed": self.malformed,
            "claims_whole_block_from_movable": self.between(CLAIM_BLOCK, KERNEL_OWN, movable),
            "claims_whole_block_by_movable": self.between(CLAIM_BLOCK, movable, KERNEL_OWN),
            "extfrag_events": self.rows(),
        }
        if not self.ownership:
            both = self.between(CLAIM_OR_STEAL, KERNEL_OWN, movable)
            return whole | {"claims_or_steals_from_movable": both}
        return whole | {
            "claims_from_movable": self.between(CLAIM, KERNEL_OWN, movable),
            "claims_by_movable": self.between(CLAIM, movable, KERNEL_OWN),
            "steals_from_movable": self.between(STEAL, KERNEL_OWN, movable),
            "steals_by_movable": self.between(STEAL, movable, everyone),
        }

    def rows(self) -> list[dict[str, Any]]:
        """Every kind of event that came: kind, type ``for`` which, type ``from`` which, order of the chunk taken, events."""
        by_taken = self.table.sum(axis=3)
        return [
            {
                "kind": KIND_NAMES[kind],
                "for": MIGRATE_NAMES[start],
                "from": MIGRATE_NAMES[source],
                "order": taken,
                "events": int(by_taken[kind, start, source, taken]),
            }
            for kind, start, source, taken in np.argwhere(by_taken > 0).tolist()
        ]
