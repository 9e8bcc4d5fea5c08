# SPDX-License-Identifier: GPL-2.0-or-later
"""What the terminal view shows at one moment, wherever it comes from, and where such moments come from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from kevacuate.kernel.extfrag import KIND_NAMES, extfrag_kind
from kevacuate.kernel.migratetypes import name as type_name
from kevacuate.measure.extfrag import queues_evacuation
from kevacuate.measure.frames import CONTENT_ABSENT, CONTENT_NAMES
from kevacuate.measure.holders import HeldBlocks
from kevacuate.measure.mixed_bounds import Bounds

UNCLEAR = len(CONTENT_NAMES)
"""Content of a block that only pages without any flag make mixed or unmovable: the kernel's, or on a per-CPU list."""
UNREAD = UNCLEAR + 1
"""Content of a block that has not been looked at yet."""
CONTENTS = (*CONTENT_NAMES, "unclear", "not read yet")


SO_FAR = ("steals", "claims", "claims_whole_block")
"""What a view calls events of each kind (:data:`kevacuate.kernel.extfrag.KIND_NAMES`) in its counts."""


class Extfrag(NamedTuple):
    """One mm_page_alloc_extfrag event, and what the evacuation would have made of it."""

    t: float
    """Seconds since the view began (playback: since the start state)."""
    cpu: int
    task: str
    """Name and id of the task that asked; '' where it is not known. Not to be trusted: any process chooses its name."""
    pfn: int
    wanted: int
    """Migratetype asked for."""
    source: int
    """Migratetype of the list that the chunk was on."""
    order_asked: int
    order_taken: int
    """Order of the chunk taken (fallback_order)."""
    claimed: bool
    """The block's type is now the one asked for (change_ownership)."""

    def kind(self, pageblock_order: int) -> int:
        """STEAL, CLAIM or CLAIM_BLOCK (:func:`kevacuate.kernel.extfrag.extfrag_kind`)."""
        return int(extfrag_kind(self.order_taken, pageblock_order, self.claimed))

    def queues(self, pageblock_order: int) -> bool:
        """Whether the patched kernel would queue the block (:func:`kevacuate.measure.extfrag.queues_evacuation`)."""
        return bool(queues_evacuation(self.kind(pageblock_order), self.wanted, self.source))

    def as_dict(self, pageblock_order: int) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "t": self.t, "cpu": self.cpu, "task": self.task, "pfn": self.pfn,
            "kind": KIND_NAMES[self.kind(pageblock_order)], "for": type_name(self.wanted),
            "from": type_name(self.source), "order_asked": self.order_asked, "order_taken": self.order_taken,
        }  # fmt: skip


class Queued(NamedTuple):
    """A pageblock that the evacuation would have queued (or, in a replay, did)."""

    t: float
    block: int
    pages: int
    """Pages on LRU lists then, which it would have had to move or drop; -1 where that is not known."""
    free: int
    """Pages free then; -1 where that is not known."""
    wanted: int

    def as_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "t": self.t, "block": self.block, "pages_to_move": self.pages, "free": self.free,
            "for": type_name(self.wanted),
        }  # fmt: skip


@dataclass
class View:
    """One moment.

    Attributes
    ----------
    title, subtitle : str
        What is watched; how far the map can be trusted.
    t : float
        Seconds since the view began.
    start : int64[blocks]
        Number (pfn >> pageblock_order) of every pageblock, ascending.
    content : uint8[blocks]
        Index of CONTENTS.
    free_orders : list of (name, list of int)
        For every zone the free chunks by order.
    events : list of Extfrag
        The latest, oldest first.
    queued : list of Queued
        All of them, oldest first.
    counts : dict
        Events so far by kind (:data:`SO_FAR`), ``lost_events`` and ``lost_events_at_least``, ``pages_to_move``.
    pageblock_order : int
        Order of a pageblock.
    ended : bool
        A playback is at its end.
    mixed : Bounds or None
        How many blocks are mixed, where that is not the number of those with that content.
    held : HeldBlocks or None
        Which blocks are held and by what, as page flags tell; where they were read.
    waits : dict or None
        Stalls, wakes and rescans so far (:meth:`kevacuate.live.stallfeed.StallFeed.to_json`), of a running kernel.
    """

    title: str
    subtitle: str
    t: float
    start: npt.NDArray[np.int64]
    content: npt.NDArray[np.uint8]
    free_orders: list[tuple[str, list[int]]]
    events: list[Extfrag]
    queued: list[Queued]
    counts: dict[str, int]
    pageblock_order: int
    ended: bool = False
    mixed: Bounds | None = None
    held: HeldBlocks | None = None
    waits: dict[str, Any] | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        names, numbers = np.unique(self.content[self.content != CONTENT_ABSENT], return_counts=True)
        return {
            "title": self.title,
            "note": self.subtitle,
            "t": self.t,
            "pageblock_order": self.pageblock_order,
            "blocks": {CONTENTS[i]: int(n) for i, n in zip(names.tolist(), numbers.tolist(), strict=True)},
            "free_chunks": dict(self.free_orders),
            "counts": self.counts,
            "events": [event.as_dict(self.pageblock_order) for event in self.events],
            "would_queue": [one.as_dict() for one in self.queued],
            **({"mixed_blocks": self.mixed._asdict()} if self.mixed is not None else {}),
            **({"held": self.held.to_json()} if self.held is not None else {}),
            **({"waits": self.waits} if self.waits is not None else {}),
            **self.extra,
        }


class Source(Protocol):
    """Where views come from."""

    playback: bool
    """Whether :meth:`seek` works."""

    def poll(self) -> View:
        """The next view; called once an update."""

    def seek(self, moments: int) -> None:
        """Go forward or back by so many moments."""

    def close(self) -> None:
        """Give back what was taken."""
