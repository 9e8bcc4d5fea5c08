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

from kevacuate.kernel.extfrag import CLAIM, CLAIM_BLOCK, RECORDED_KIND_NAMES, STEAL
from kevacuate.measure.extfrag import KERNEL_OWN, Extfrag, ExtfragTable, extfrag_of
from kevacuate.measure.keycounts import KeyCounts
from kevacuate.measure.requesters import Requesters
from kevacuate.measure.timeline import Timeline
from kevacuate.mm.constants import MIGRATE_MOVABLE
from kevacuate.mm.layout import EvacuationConfig
from kevacuate.recording.schema import EventChunk, EventKind

POOL_ITEMS = EvacuationConfig.pool
"""NR_EVACUATE_ITEMS of the patch: evacuations that can wait at once; more are dropped."""

BURST_NS = 75_000_000
"""The longest wait of an evacuation from queue to start in ten recordings of patched kernels (under emulation)."""

LATE_SHARE = 1 / 3
"""The last part of the recording that tells whether it goes on."""

TREND = 10
"""Thousandths by which the unusable free index must change from the first snapshot to the last to count as risen or fallen."""

NOT_KNOWN = "not known"
NOT_FRAGMENTING = "not fragmenting"
WHOLE_BLOCKS = "whole free blocks only"
QUIET = "quiet now"
SAME_BLOCKS = "fragmenting in the same blocks"
SPREADING = "fragmenting"
RECOVERING = "mixing, free memory recovers"
FREE_MEMORY = "free memory fragments"
VERDICTS = (
    NOT_KNOWN, NOT_FRAGMENTING, WHOLE_BLOCKS, QUIET, SAME_BLOCKS, SPREADING, RECOVERING, FREE_MEMORY,
)  # fmt: skip
"""What a triage can come to; :func:`verdict_of` has the rule."""

TIMELINE_NAMES = ("steals", "claims", "claims_whole_block", "claims_or_steals", "new_blocks")
"""Series of the timeline: :data:`kevacuate.kernel.extfrag.RECORDED_KIND_NAMES`, and blocks hit for the first time."""
T_NEW_BLOCKS = len(RECORDED_KIND_NAMES)


def verdict_of(
    *, known: bool, taken: int, mixing: int, late_mixing: int, late_new_blocks: int | None, trend: int | None
) -> str:
    """Whether a machine fragments: by what was taken from movable pageblocks, and by how free memory fared.

    Parameters
    ----------
    known : bool
        Whether an event that did not come did not happen: it was switched on, and none was lost or left unread.
    taken : int
        External fragmentation events of unmovable and reclaimable requests that took from movable pageblocks.
    mixing : int
        Those of them that took less than a whole free pageblock: claims below pageblock order and steals.
    late_mixing, late_new_blocks : int
        Of these, how many came in the last third, and how many blocks they hit that none had hit before; None: the events
        do not say which blocks.
    trend : int or None
        Change of the unusable free index, in thousandths, from the first snapshot to the last; None without two snapshots.
    """
    if not taken and not known:
        return NOT_KNOWN
    rose = trend is not None and trend >= TREND
    if not late_mixing:
        return FREE_MEMORY if rose else NOT_FRAGMENTING if not taken else QUIET if mixing else WHOLE_BLOCKS
    if trend is not None and trend <= -TREND:
        return RECOVERING
    return SAME_BLOCKS if late_new_blocks == 0 else SPREADING


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
    span : tuple of int
        From which to which time (ns) the machine was recorded (:attr:`kevacuate.recording.Recording.span`).
    ownership : bool
        Whether claims and steals can be told apart (:func:`kevacuate.measure.extfrag.tells_ownership`).
    """

    def __init__(self, pageblock_order: int, span: tuple[int, int], *, ownership: bool = True) -> None:
        self.pageblock_order, self.span, self.ownership = pageblock_order, span, ownership
        self.table = ExtfragTable(pageblock_order, ownership=ownership)
        self.who = Requesters()
        self.time = Timeline(len(TIMELINE_NAMES))
        for ts in span:
            self.time.reach(ts)
        self.seen = False
        """Whether any external fragmentation event came."""
        self.late = np.zeros(len(TIMELINE_NAMES), np.int64)
        """Of each series of the timeline, what came in the last third of the span."""
        self.without_page = 0
        """Events that took from movable blocks and do not say which page."""
        self.allocations = 0
        self.migrated: int | None = None
        self.compactions = 0
        self._late_from = span[1] - round((span[1] - span[0]) * LATE_SHARE)
        self._stolen = KeyCounts()
        self._claimed = KeyCounts()
        self._other = KeyCounts()
        self._pages = 0
        self._burst = _Burst()

    def add(self, chunk: EventChunk) -> None:
        """Count a chunk; events that do not matter here are passed over."""
        if not chunk.rows:
            return
        self.seen |= bool((chunk.kind == EventKind.MM_PAGE_ALLOC_EXTFRAG).any())
        self.allocations += int((chunk.kind == EventKind.MM_PAGE_ALLOC).sum())
        self.compactions += int((chunk.kind == EventKind.COMPACTION_END).sum())
        batches = chunk.kind == EventKind.COMPACTION_MIGRATEPAGES
        if batches.any():
            self.migrated = (self.migrated or 0) + int(chunk.a[batches].sum())
        events, malformed = extfrag_of(chunk, self.pageblock_order, ownership=self.ownership)
        self.table.add(events, malformed)
        self.who.add(chunk, events)
        self._count(chunk, Extfrag(*(column[events.from_movable] for column in events)))

    def _count(self, chunk: EventChunk, own: Extfrag) -> None:
        """Count events that took from movable blocks, by kind and over time."""
        ts = chunk.ts[own.at]
        for kind in range(len(RECORDED_KIND_NAMES)):
            self._at(ts[own.kind == kind], kind)
        self._pages += int(np.left_shift(1, own.order_asked[own.kind == STEAL]).sum())
        self._burst.add(ts[own.kind == CLAIM])
        named = chunk.pfn[own.at] >= 0
        self.without_page += int((~named).sum())
        part = named & (own.kind != CLAIM_BLOCK)
        self._count_blocks(ts[part], chunk.pfn[own.at][part] >> self.pageblock_order, own.kind[part])

    def _at(self, ts: npt.NDArray[np.int64], series: int) -> None:
        """Enter times, ascending, in a series."""
        self.time.add(ts, series)
        self.late[series] += int((ts >= self._late_from).sum())

    def _count_blocks(
        self, ts: npt.NDArray[np.int64], block: npt.NDArray[np.int64], kind: npt.NDArray[np.int64]
    ) -> None:
        """Count the blocks that events took a part of; the first time of each new one goes to the timeline."""
        known = np.concatenate([self._stolen.keys, self._claimed.keys, self._other.keys])
        self._stolen.add(block[kind == STEAL])
        self._claimed.add(block[kind == CLAIM])
        self._other.add(block[(kind != STEAL) & (kind != CLAIM)])
        found, first = np.unique(block, return_index=True)
        self._at(np.sort(ts[first[~np.isin(found, known)]]), T_NEW_BLOCKS)

    @property
    def seconds(self) -> float:
        """Seconds of the recording's clock that it lasts."""
        return (self.span[1] - self.span[0]) / 1e9

    def verdict(self, *, known: bool = True, trend: int | None = None) -> str:
        """What it comes to (:func:`verdict_of`)."""
        total = [int(self.time.used(series).sum()) for series in range(len(RECORDED_KIND_NAMES))]
        late_mixing = int(self.late[: len(RECORDED_KIND_NAMES)].sum() - self.late[CLAIM_BLOCK])
        blocks_known = not self.without_page or self.late[T_NEW_BLOCKS] > 0
        return verdict_of(
            known=known and not self.table.malformed,
            taken=sum(total),
            mixing=sum(total) - total[CLAIM_BLOCK],
            late_mixing=late_mixing,
            late_new_blocks=int(self.late[T_NEW_BLOCKS]) if blocks_known else None,
            trend=trend,
        )

    def result(
        self,
        moments: Mapping[str, Mapping[str, Any]] | None = None,
        *,
        known: bool = True,
        huge_order: int,
    ) -> dict[str, Any]:
        """The whole triage as plain JSON values; call once, at the end.

        Parameters
        ----------
        moments : mapping, optional
            The snapshots by label, in order of time (:func:`kevacuate.measure.moments.moments_of`).
        known : bool
            Whether an event that did not come did not happen.
        huge_order : int
            Order of a huge page, for which the unusable free index is taken.
        """
        self.who.finish()
        metrics = self.table.metrics()
        metrics.pop("extfrag_events")
        snapshots = _snapshots(moments or {}, huge_order)
        trend = _trend(snapshots)
        return {
            "verdict": self.verdict(known=known, trend=trend),
            "seconds": self.seconds,
            **metrics,
            "claims_told_from_steals": self.ownership,
            "events_without_page": self.without_page,
            "evacuation": self._evacuation(metrics) if self.ownership else None,
            "steals": self._steals(metrics) if self.ownership else None,
            "pageblocks": self._blocks() if self.ownership else None,
            "requesters": self.who.rows(),
            "requests_matched": self.who.matched if self.allocations else None,
            "requests_unmatched": self.who.unmatched if self.allocations else None,
            "tasks": self.who.tasks(),
            "allocations": self.allocations or None,
            "compactions": self.compactions,
            "compaction_pages_migrated": self.migrated,
            "timeline": self.time.to_json(TIMELINE_NAMES),
            "late": {name: int(n) for name, n in zip(TIMELINE_NAMES, self.late, strict=True)},
            "unusable_free_index_change": trend,
            "snapshots": snapshots,
        }

    def _evacuation(self, metrics: Mapping[str, Any]) -> dict[str, Any]:
        """What the patch would have been asked to do."""
        below, whole = metrics["claims_from_movable"], metrics["claims_whole_block_from_movable"]
        return {
            "would_queue": below,
            "blocks": len(self._claimed.keys),
            "per_hour": below * 3600 / self.seconds if self.seconds else None,
            "share_of_claims_below_pageblock_order": _share(below, whole),
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

    def _blocks(self) -> dict[str, int]:
        """Movable pageblocks that claims took and gave back: a whole-block claim may be of several."""
        lost = self.table.blocks_changed(KERNEL_OWN, (MIGRATE_MOVABLE,))
        back = self.table.blocks_changed((MIGRATE_MOVABLE,), KERNEL_OWN)
        return {"lost": lost, "claimed_back": back, "net_lost": lost - back}


def _share(part: int, rest: int) -> float | None:
    """Part of part and rest; None of nothing."""
    return part / (part + rest) if part + rest else None


def _snapshots(moments: Mapping[str, Mapping[str, Any]], huge_order: int) -> list[dict[str, Any]]:
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
        index = moment["unusable_free_index"]
        order = min(huge_order, len(index) - 1)
        unusable = {"unusable_free_index": index[order], "unusable_free_index_order": order}
        out.append({"label": label, **{name: moment[name] for name in kept if name in moment}, **unusable})
    return out


def _trend(snapshots: list[dict[str, Any]]) -> int | None:
    """How far the unusable free index went from the first snapshot to the last, in thousandths."""
    if len(snapshots) < 2:
        return None
    first, last = (shot["unusable_free_index"] for shot in snapshots)
    return None if first is None or last is None else int(last - first)
