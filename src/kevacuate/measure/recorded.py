# SPDX-License-Identifier: GPL-2.0-or-later
"""What a recorded kernel did, counted from its events as they stream by: no model is involved.

Where a figure means the same as one of a replay it has the same name (:func:`kevacuate.measure.metrics.run_metrics`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kevacuate.kernel.hooks import EvacOp
from kevacuate.measure.extfrag import KERNEL_OWN, ExtfragTable, extfrag_of
from kevacuate.measure.results import Run
from kevacuate.mm.constants import MIGRATE_MOVABLE, WHY_NAMES
from kevacuate.recording.machine import Machine
from kevacuate.recording.schema import EVENT_SPECS, EventChunk, EventKind

_K = EventKind
_HOOKED = {
    "compaction": range(int(_K.COMPACTION_ISOLATE_MIGRATEPAGES), int(_K.COMPACTION_KCOMPACTD_WAKE) + 1),
    "migrate": range(int(_K.MIGRATE_PAGES_START), int(_K.MIGRATE_PAGES) + 1),
    "vmscan": range(int(_K.VMSCAN_KSWAPD_WAKE), int(_K.SHRINK_SLAB_END) + 1),
}
"""Groups of event kinds that a kernel with the recording hooks records together or not at all."""

_SUMS = {
    "compaction_pages_isolated": (_K.COMPACTION_ISOLATE_MIGRATEPAGES, "c"),
    "compaction_pages_scanned": (_K.COMPACTION_ISOLATE_MIGRATEPAGES, "b"),
    "compaction_pages_migrated": (_K.COMPACTION_MIGRATEPAGES, "a"),
    "compaction_pages_failed": (_K.COMPACTION_MIGRATEPAGES, "b"),
    "migrate_pages_succeeded": (_K.MIGRATE_PAGES, "a"),
    "migrate_pages_failed": (_K.MIGRATE_PAGES, "b"),
    "direct_reclaim_pages": (_K.VMSCAN_DIRECT_RECLAIM_END, "a"),
    "kswapd_pages": (_K.VMSCAN_BALANCE_PGDAT_END, "c"),
}
"""Metric: the event and the column that it sums, in pages."""

_COUNTS = {
    "compaction_runs": _K.COMPACTION_END,
    "frees": _K.MM_PAGE_FREE,
    "direct_compactions": _K.COMPACTION_TRY_TO_COMPACT_PAGES,
    "kcompactd_wakes": _K.COMPACTION_KCOMPACTD_WAKE,
    "direct_reclaims": _K.VMSCAN_DIRECT_RECLAIM_BEGIN,
    "kswapd_balances": _K.VMSCAN_BALANCE_PGDAT_BEGIN,
}
"""Metric: the event that it counts."""


def recorded_kinds(machine: Machine) -> frozenset[int] | None:
    """The kinds of events that were switched on; None where the recording does not say.

    Our own recorder keeps the formats of exactly the events that it recorded. The others' keep those of all that the kernel has.
    """
    if "mode" not in machine.extra:
        return None
    names = (name.rpartition("/")[2] for name in machine.events)
    return frozenset(int(EVENT_SPECS[name].kind) for name in names if name in EVENT_SPECS)


class EvacuationCounter:
    """``gt_evac``, which only kernels with the recording hooks emit: claims attempted, and the worker's steps."""

    def __init__(self) -> None:
        self.ops = np.zeros(len(EvacOp), np.int64)
        self.refused = 0
        self.refused_from_movable = 0
        self.with_skip_bit = 0
        self.done = dict.fromkeys(("isolated", "dropped", "migrated", "failed"), 0)
        self.ended = np.zeros(len(WHY_NAMES), np.int64)

    def add(self, chunk: EventChunk) -> None:
        """Count the events of a chunk."""
        rows = chunk.take(chunk.kind == _K.GT_EVAC)
        if not rows.rows:
            return
        op = rows.order.astype(np.int64)
        self.ops += np.bincount(op[np.isin(op, list(EvacOp))], minlength=len(EvacOp))
        refused = (op == EvacOp.CLAIM) & (rows.d == 0)
        own = np.isin(rows.a >> 8, KERNEL_OWN) & (rows.a & 0xFF == MIGRATE_MOVABLE)
        self.refused += int(refused.sum())
        self.refused_from_movable += int((refused & own).sum())
        self.with_skip_bit += int((rows.a[op == EvacOp.STARTED] & 0xFF != 0).sum())
        end = rows.take(op == EvacOp.FINISHED)
        for name, pages in zip(self.done, (end.a, end.b, end.c, end.d >> 8), strict=True):
            self.done[name] += int(pages.sum())
        why = end.d & 0xFF
        self.ended += np.bincount(why[why < len(WHY_NAMES)], minlength=len(WHY_NAMES))

    def metrics(self) -> dict[str, Any]:
        """Events, pages, and how evacuations ended."""
        return {
            "claims_refused": self.refused,
            "claims_refused_from_movable": self.refused_from_movable,
            "evacuations_queued": int(self.ops[EvacOp.QUEUED]),
            "evacuations_dropped": int(self.ops[EvacOp.DROPPED]),
            "evacuations_started": int(self.ops[EvacOp.STARTED]),
            "evacuations_started_with_skip_bit": self.with_skip_bit,
            "evacuations_movable_again": int(self.ops[EvacOp.SKIPPED]),
            "evacuations_finished": int(self.ops[EvacOp.FINISHED]),
            **{f"pages_{name}": pages for name, pages in self.done.items()},
            "evacuations_ended": {name: int(n) for name, n in zip(WHY_NAMES, self.ended, strict=True)},
        }


class RecordedCounter:
    """Counts what a recorded kernel did; feed it the chunks of a recording in order.

    Parameters
    ----------
    pageblock_order : int
        The recorded machine's.
    recorded : frozenset of int, optional
        The kinds of events that were switched on (:func:`recorded_kinds`), where that is known.
    hooks : bool
        Whether the kernel had the recording hooks.
    seconds : float
        The recording's own time (:attr:`kevacuate.recording.Recording.seconds`), which rates are of; 0: no rates.
    ownership : bool
        Whether claims and steals can be told apart (:func:`kevacuate.measure.extfrag.tells_ownership`).
    """

    def __init__(
        self,
        pageblock_order: int,
        recorded: frozenset[int] | None = None,
        *,
        hooks: bool = False,
        seconds: float = 0.0,
        ownership: bool = True,
    ) -> None:
        self.extfrag = ExtfragTable(pageblock_order, ownership=ownership)
        self.evacuation = EvacuationCounter()
        self.kinds = np.zeros(256, np.int64)
        self._recorded, self._hooks = recorded, hooks
        self._sums = dict.fromkeys(_SUMS, 0)
        self._asked = self._failed = 0
        self.seconds = seconds

    def add(self, chunk: EventChunk) -> None:
        """Count a chunk."""
        if not chunk.rows:
            return
        self.kinds += np.bincount(chunk.kind, minlength=256)
        table = self.extfrag
        table.add(*extfrag_of(chunk, table.pageblock_order, ownership=table.ownership))
        self.evacuation.add(chunk)
        for name, (kind, column) in _SUMS.items():
            self._sums[name] += int(getattr(chunk, column)[chunk.kind == kind].sum())
        alloc = chunk.kind == _K.MM_PAGE_ALLOC
        order = chunk.order[alloc].astype(np.int64)
        held = (chunk.pfn[alloc] >= 0) & (order >= 0) & (order < 32)
        self._asked += int(np.left_shift(1, order[held]).sum())
        self._failed += int((chunk.pfn[alloc] < 0).sum())

    def shows(self, kind: int) -> bool:
        """Whether a count of that kind of event is one: some came, or they are known to have been switched on."""
        if self.kinds[kind]:
            return True
        if self._recorded is not None:
            return kind in self._recorded
        if not self._hooks:
            return False
        group = next((kinds for kinds in _HOOKED.values() if kind in kinds), None)
        return bool(self.kinds.any()) if group is None else bool(self.kinds[list(group)].any())

    def metrics(self) -> dict[str, Any]:
        """The figures; those of events that the recording does not show are absent, never 0."""
        out: dict[str, Any] = {"recorded_seconds": self.seconds}
        if self.shows(_K.MM_PAGE_ALLOC_EXTFRAG):
            out |= self.extfrag.metrics()
        if self.shows(_K.MM_PAGE_ALLOC):
            out |= {
                "allocations": int(self.kinds[_K.MM_PAGE_ALLOC]),
                "allocations_failed": self._failed,
                "pages_allocated": self._asked,
            }
        if self.shows(_K.GT_EVAC):
            out |= self.evacuation.metrics()
        out |= {name: int(self.kinds[kind]) for name, kind in _COUNTS.items() if self.shows(kind)}
        out |= {name: self._sums[name] for name, (kind, _) in _SUMS.items() if self.shows(kind)}
        out["rates"] = self.rates(out)
        return out

    def rates(self, metrics: dict[str, Any]) -> dict[str, float]:
        """Per second of the recording's clock: extfrag events, claims and steals of movable blocks, allocations, compactions."""
        names = (
            "extfrag",
            "claims_from_movable",
            "steals_from_movable",
            "allocations",
            "compaction_runs",
        )
        return {n: metrics[n] / self.seconds for n in names if n in metrics and self.seconds > 0}


@dataclass(frozen=True)
class Recorded:
    """What one recorded kernel did and what its snapshots show.

    Attributes
    ----------
    name : str
        The recording's.
    metrics : dict
        :meth:`RecordedCounter.metrics`; ``end`` is the last moment, where there is one.
    moments : dict
        Snapshot label to what it shows (:mod:`kevacuate.measure.moments`), in order of time.
    about : dict
        Kernel, digest, CPUs, managed pages, pageblock order, lost events.
    """

    name: str
    metrics: dict[str, Any]
    moments: dict[str, dict[str, Any]] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)

    def as_run(self) -> Run:
        """In the shape of a replay's result, for the rows that both have."""
        return Run(self.name, self.metrics, {}, self.about)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {"name": self.name, "about": self.about, "metrics": self.metrics, "moments": self.moments}
