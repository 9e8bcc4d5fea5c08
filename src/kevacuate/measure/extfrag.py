# SPDX-License-Identifier: GPL-2.0-or-later
"""External fragmentation events counted, be they recorded, live, or the model's own: steal, claim and claim of a whole block.

:func:`kevacuate.kernel.extfrag.extfrag_kind` says which is which, for all of them. :func:`extfrag_metrics` makes the figures.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kevacuate.kernel.events import OWNERSHIP_FIRST
from kevacuate.kernel.extfrag import (
    CLAIM,
    CLAIM_BLOCK,
    CLAIM_OR_STEAL,
    RECORDED_KIND_NAMES,
    STEAL,
    extfrag_kind,
)
from kevacuate.kernel.versions import parse_version
from kevacuate.mm.constants import MIGRATE_MOVABLE, MIGRATE_NAMES, MIGRATE_RECLAIMABLE, MIGRATE_UNMOVABLE
from kevacuate.recording.machine import Machine
from kevacuate.recording.schema import EventChunk, EventKind

TYPES = len(MIGRATE_NAMES)
ORDERS = 16
"""Orders are counted below this; the kernel's end at MAX_PAGE_ORDER (10)."""

KERNEL_OWN = (MIGRATE_UNMOVABLE, MIGRATE_RECLAIMABLE)
"""Types of requests whose pages cannot move: what they take from movable blocks is what fragments."""


def from_movable(wanted: Any, source: Any) -> Any:
    """Whether an unmovable or reclaimable request took from a movable block: of one event's types, or of arrays of them."""
    own = (wanted == MIGRATE_UNMOVABLE) | (wanted == MIGRATE_RECLAIMABLE)
    return own & (source == MIGRATE_MOVABLE)


def queues_evacuation(kind: Any, wanted: Any, source: Any) -> Any:
    """Whether the patched kernel queues the block: a movable one, claimed below pageblock order, for such a request."""
    return (kind == CLAIM) & from_movable(wanted, source)


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
    order_asked: npt.NDArray[np.int64]
    """Order asked for."""
    order_taken: npt.NDArray[np.int64]
    """Order of the chunk taken."""

    @property
    def from_movable(self) -> npt.NDArray[np.bool_]:
        """Unmovable and reclaimable requests that took from a movable block."""
        return np.asarray(from_movable(self.start, self.source))


def tells_ownership(machine: Machine) -> bool:
    """Whether the recorded kernel's ``change_ownership`` means what its name says: so since 3.12 (OWNERSHIP_FIRST).

    An importer that knows of no release, but that the kernel is older, says so in ``extra`` (``change_ownership_unknown``).
    """
    version = parse_version(machine.kernel)
    return not machine.extra.get("change_ownership_unknown") and (
        version is None or version >= OWNERSHIP_FIRST
    )


def extfrag_of(chunk: EventChunk, pageblock_order: int, *, ownership: bool = True) -> tuple[Extfrag, int]:
    """The events of a chunk, and how many were malformed (a type or order that no kernel has).

    *ownership*: whether ``change_ownership`` is to be believed (:func:`tells_ownership`). An event need not name its page.
    """
    at = np.flatnonzero(chunk.kind == EventKind.MM_PAGE_ALLOC_EXTFRAG)
    start, order = chunk.mt[at].astype(np.int64), chunk.order[at].astype(np.int64)
    taken, source = chunk.a[at], chunk.b[at]
    good = (start >= 0) & (start < TYPES) & (source >= 0) & (source < TYPES)
    good &= (order >= 0) & (order < ORDERS) & (taken >= 0) & (taken < ORDERS)
    kind = extfrag_kind(taken, pageblock_order, chunk.c[at])
    if not ownership:
        kind = np.where(taken >= pageblock_order, CLAIM_BLOCK, CLAIM_OR_STEAL)
    found = Extfrag(at, kind, start, source, order, taken)
    return Extfrag(*(column[good] for column in found)), int((~good).sum())


def extfrag_metrics(table: npt.NDArray[np.int64], pageblock_order: int) -> dict[str, Any]:
    """The figures of a table of events, int64[kind, type asked for, type taken, order taken], of a recording or a replay.

    ``extfrag``: all events. ``extfrag_below_pageblock``: those whose chunk was smaller than a pageblock. ``..._from_movable``:
    unmovable and reclaimable requests that took from movable blocks, by kind. ``..._by_movable``: movable requests that took
    from theirs (steals: from any). ``extfrag_events``: :func:`extfrag_rows`.
    """
    movable, own, everyone = (MIGRATE_MOVABLE,), KERNEL_OWN, tuple(range(table.shape[2]))

    def between(kind: int, starts: tuple[int, ...], sources: tuple[int, ...]) -> int:
        return int(table[kind][np.ix_(starts, sources)].sum())

    return {
        "extfrag": int(table.sum()),
        "extfrag_below_pageblock": int(table[..., :pageblock_order].sum()),
        "claims_from_movable": between(CLAIM, own, movable),
        "claims_whole_block_from_movable": between(CLAIM_BLOCK, own, movable),
        "claims_by_movable": between(CLAIM, movable, own),
        "claims_whole_block_by_movable": between(CLAIM_BLOCK, movable, own),
        "steals_from_movable": between(STEAL, own, movable),
        "steals_by_movable": between(STEAL, movable, everyone),
        "extfrag_events": extfrag_rows(table),
    }


def extfrag_rows(table: npt.NDArray[np.int64]) -> list[dict[str, Any]]:
    """Every kind of event that came: kind, type ``for`` which, type ``from`` which, ``order_taken`` (the chunk's), ``events``."""
    return [
        {
            "kind": RECORDED_KIND_NAMES[kind],
            "for": MIGRATE_NAMES[start],
            "from": MIGRATE_NAMES[source],
            "order_taken": order,
            "events": int(table[kind, start, source, order]),
        }
        for kind, start, source, order in np.argwhere(table > 0).tolist()
    ]


class ExtfragTable:
    """The events counted by kind, type asked for, type taken from and order taken."""

    def __init__(self, pageblock_order: int, *, ownership: bool = True) -> None:
        self.pageblock_order, self.ownership = pageblock_order, ownership
        self.table = np.zeros((len(RECORDED_KIND_NAMES), TYPES, TYPES, ORDERS), np.int64)
        self.malformed = 0

    def add(self, events: Extfrag, malformed: int = 0) -> None:
        """Count the events of a chunk."""
        np.add.at(self.table, (events.kind, events.start, events.source, events.order_taken), 1)
        self.malformed += malformed

    def blocks_changed(self, starts: tuple[int, ...], sources: tuple[int, ...]) -> int:
        """Pageblocks that claims gave to requests of some types, from blocks of some types.

        A claim below pageblock order changes one, a whole-block claim of order n changes 2^(n - pageblock order).
        """
        each = np.left_shift(1, np.maximum(np.arange(ORDERS) - self.pageblock_order, 0))
        claims = (self.table[CLAIM] + self.table[CLAIM_BLOCK])[np.ix_(starts, sources)].sum(axis=(0, 1))
        return int((claims * each).sum())

    def metrics(self) -> dict[str, Any]:
        """:func:`extfrag_metrics`, and how many events were malformed.

        Where claims and steals cannot be told apart their counts are absent, and ``claims_or_steals_from_movable`` counts both.
        """
        found = extfrag_metrics(self.table, self.pageblock_order) | {"extfrag_malformed": self.malformed}
        if self.ownership:
            return found
        both = self.table[CLAIM_OR_STEAL][np.ix_(KERNEL_OWN, (MIGRATE_MOVABLE,))].sum()
        apart = {f"{name}_{way}" for name in ("claims", "steals") for way in ("from_movable", "by_movable")}
        told = {name: value for name, value in found.items() if name not in apart}
        return told | {"claims_or_steals_from_movable": int(both)}

    def rows(self) -> list[dict[str, Any]]:
        """:func:`extfrag_rows`."""
        return extfrag_rows(self.table)
