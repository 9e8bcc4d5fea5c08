# SPDX-License-Identifier: GPL-2.0-or-later
"""Is a machine fragmenting, by whom, and what would evacuation have to do with it: from external fragmentation events alone.

Feed :class:`TriageCounter` the chunks of a recording, or of a machine that is being recorded, in order of time; the snapshots, if
there are any, at the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from kevacuate.kernel.extfrag import CLAIM, STEAL
from kevacuate.measure.extfrag import ExtfragTable, extfrag_of
from kevacuate.measure.keycounts import KeyCounts
from kevacuate.measure.requesters import Requesters
from kevacuate.measure.timeline import Timeline
from kevacuate.recording.schema import EventChunk, EventKind

POOL_ITEMS = 64
"""NR_EVACUATE_ITEMS of the patch: evacuations that can wait at once; more are dropped."""

BURST_NS = 75_000_000
"""The longest wait of an evacuation from queue to start in ten recordings of patched kernels (under emulation)."""

LATE_SHARE = 1 / 3
"""The last part of the recording that tells whether it goes on."""

T_CLAIMS, T_STEALS, T_NEW_BLOCKS = range(3)
TIMELINE_NAMES = ("claims", "steals", "new_blocks")

NOT_FRAGMENTING, QUIET, SAME_BLOCKS, SPREADING = (
    "not fragmenting",
    "quiet now",
    "fragmenting in the same blocks",
    "fragmenting",
)
"""The four verdicts; :meth:`TriageCounter.verdict` has the rule."""


class _Burst:
    """The most times of a sorted stream that fall within BURST_NS."""

    def __init__(self) -> None:
        self._tail = np.empty(0, np.int64)
        self.most = 0

    def add(self, ts: npt.NDArray[np.int64]) -> None:
        if not len(ts):
            return
        times = np.concatenate([self._tail, ts])
        first = np.searchsorted(times, times - BURST_NS, side="left")
        self.most = max(self.most, int((np.arange(len(times)) - first + 1).max()))
        self._tail = times[times > times[-1] - BURST_NS]


class TriageCounter:
    """Counts, as they stream by, the unmovable and reclaimable requests that took movable memory.

    Parameters
    ----------
    pageblock_order : int
        The recorded machine's.
    """

    def __init__(self, pageblock_order: int) -> None:
        self.pageblock_order = pageblock_order
        self.table = ExtfragTable(pageblock_order)
        self.who = Requesters()
        self.time = Timeline(3)
        self.seen = False
        """Whether any external fragmentation event came."""
        self.allocations = 0
        self.migrated: int | None = None
        self.compactions = 0
        self._stolen = KeyCounts()
        self._claimed = KeyCounts()
        self._pages = 0
        self._burst = _Burst()

    def watch(self, ts: int) -> None:
        """The machine was watched at this time (ns): call it before all chunks for the beginning, after them for the end."""
        self.time.reach(ts)

    def add(self, chunk: EventChunk) -> None:
        """Count a chunk; events that do not matter here are passed over."""
        if not chunk.rows:
            return
        self.time.reach(int(chunk.ts[0]))
        self.time.reach(int(chunk.ts[-1]))
        self.seen |= bool((chunk.kind == EventKind.MM_PAGE_ALLOC_EXTFRAG).any())
        self.allocations += int((chunk.kind == EventKind.MM_PAGE_ALLOC).sum())
        self.compactions += int((chunk.kind == EventKind.COMPACTION_END).sum())
        batches = chunk.kind == EventKind.COMPACTION_MIGRATEPAGES
        if batches.any():
            self.migrated = (self.migrated or 0) + int(chunk.a[batches].sum())
        events, malformed = extfrag_of(chunk, self.pageblock_order)
        self.table.add(events, malformed)
        self.who.add(chunk, events)
        own = events.from_movable
        at, kind = events.at[own], events.kind[own]
        ts, block = chunk.ts[at], chunk.pfn[at] >> self.pageblock_order
        steal, claim = kind == STEAL, kind == CLAIM
        self.time.add(ts[~steal], T_CLAIMS)
        self.time.add(ts[steal], T_STEALS)
        self._pages += int(np.left_shift(1, events.order_asked[own][steal]).sum())
        self._burst.add(ts[claim])
        self._count_blocks(ts, block, steal, claim)

    def _count_blocks(
        self,
        ts: npt.NDArray[np.int64],
        block: npt.NDArray[np.int64],
        steal: npt.NDArray[np.bool_],
        claim: npt.NDArray[np.bool_],
    ) -> None:
        """Count the blocks touched; the first time of each new one goes to the timeline."""
        known = np.union1d(self._stolen.keys, self._claimed.keys)
        self._stolen.add(block[steal])
        self._claimed.add(block[claim])
        both = steal | claim
        found, first = np.unique(block[both], return_index=True)
        new = ~np.isin(found, known)
        self.time.add(np.sort(ts[both][first[new]]), T_NEW_BLOCKS)

    @property
    def seconds(self) -> float:
        """Seconds of the recording's clock for which the machine was watched, or else from the first event to the last."""
        return self.time.span / 1e9

    def verdict(self) -> str:
        """Whether it goes on, by the last third of the recording's time.

        ``not fragmenting``: no unmovable or reclaimable request took from a movable block. ``quiet now``: none in the last
        third. ``fragmenting``: in the last third, blocks were touched (by a claim below pageblock order or a steal) that had
        not been before. ``fragmenting in the same blocks``: only ones that had been, or only whole free blocks were claimed.
        """
        total = self.time.used(T_CLAIMS).sum() + self.time.used(T_STEALS).sum()
        if not total:
            return NOT_FRAGMENTING
        late = self.time.since(LATE_SHARE, T_CLAIMS) + self.time.since(LATE_SHARE, T_STEALS)
        if not late:
            return QUIET
        return SPREADING if self.time.since(LATE_SHARE, T_NEW_BLOCKS) else SAME_BLOCKS

    def result(self, moments: Mapping[str, Mapping[str, Any]] | None = None) -> dict[str, Any]:
        """The whole triage as plain JSON values; call once, at the end.

        *moments* are the snapshots by label, in order of time (:func:`kevacuate.measure.moments.moments_of`).
        """
        self.who.finish()
        metrics = self.table.metrics()
        metrics.pop("extfrag_events")
        return {
            "verdict": self.verdict(),
            "seconds": self.seconds,
            **metrics,
            "evacuation": self._evacuation(metrics),
            "steals": self._steals(metrics),
            "net_blocks_lost": self._net(metrics),
            "requesters": self.who.rows(),
            "requests_matched": self.who.matched if self.allocations else None,
            "requests_unmatched": self.who.unmatched if self.allocations else None,
            "tasks": self.who.tasks(),
            "allocations": self.allocations or None,
            "compactions": self.compactions,
            "compaction_pages_migrated": self.migrated,
            "timeline": self.time.to_json(TIMELINE_NAMES),
            "late": {name: self.time.since(LATE_SHARE, i) for i, name in enumerate(TIMELINE_NAMES)},
            "snapshots": _snapshots(moments or {}),
        }

    def _evacuation(self, metrics: Mapping[str, Any]) -> dict[str, Any]:
        """What the patch would have been asked to do."""
        below, whole = metrics["claims_from_movable"], metrics["claims_whole_block_from_movable"]
        return {
            "would_queue": below,
            "blocks": len(self._claimed.keys),
            "per_hour": below * 3600 / self.seconds if self.seconds else None,
            "share_of_claims_below_pageblock_order": below / (below + whole) if below + whole else None,
            "most_within_burst": self._burst.most,
            "burst_ns": BURST_NS,
            "pool_items": POOL_ITEMS,
        }

    def _steals(self, metrics: Mapping[str, Any]) -> dict[str, Any]:
        """What evacuation would not touch: steals queue nothing, and only some hit blocks that a claim queues anyway."""
        claimed = self._claimed.has(self._stolen.keys)
        return {
            "events": metrics["steals_from_movable"],
            "pages": self._pages,
            "blocks": len(self._stolen.keys),
            "blocks_never_claimed": int((~claimed).sum()),
            "events_in_blocks_never_claimed": int(self._stolen.counts[~claimed].sum()),
            "share_of_events_from_movable": _share(
                metrics["steals_from_movable"],
                metrics["claims_from_movable"] + metrics["claims_whole_block_from_movable"],
            ),
        }

    def _net(self, metrics: Mapping[str, Any]) -> int:
        """Claims of movable blocks less claims back by movable requests."""
        lost = metrics["claims_from_movable"] + metrics["claims_whole_block_from_movable"]
        return int(lost - metrics["claims_by_movable"] - metrics["claims_whole_block_by_movable"])


def _share(part: int, rest: int) -> float | None:
    """Part of part and rest; None of nothing."""
    return part / (part + rest) if part + rest else None


def _snapshots(moments: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What matters of the first and the last snapshot."""
    labels = list(moments)
    out = []
    for label in dict.fromkeys([*labels[:1], *labels[-1:]]):
        moment = moments[label]
        kept = (
            "blocks",
            "free_pages",
            "huge_pages_free",
            "mixed_blocks",
            "mixed_blocks_least",
            "polluted_blocks",
            "approximate",
        )
        index = {"unusable_free_index_9": moment["unusable_free_index"][9]}
        out.append({"label": label, **{name: moment[name] for name in kept if name in moment}, **index})
    return out
