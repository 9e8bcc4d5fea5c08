# SPDX-License-Identifier: GPL-2.0-or-later
"""What the recorded run itself came to, from its events and dumps, by the columns of the tables of repeats."""

from __future__ import annotations

from kevacuate.fidelity.verdict.columns import replay_fallbacks, replay_moment
from kevacuate.kernel.hooks import EvacOp
from kevacuate.measure.extfrag import ExtfragTable, extfrag_of, from_movable
from kevacuate.measure.moments import state_moment
from kevacuate.mm.log import unpack_types
from kevacuate.recording import AllocatorState, EventChunk, EventKind, Recording


def recorded_moment(state: AllocatorState, pageblock_order: int, hugepage_order: int) -> dict[str, float]:
    """The figures of one dump, by the names of the outcomes' columns without their moment.

    What blocks hold is there where the dump has page flags (:func:`kevacuate.measure.moments.state_moment`).
    """
    return replay_moment(state_moment(state, pageblock_order, hugepage_order))


def recorded_counts(recording: Recording, start: AllocatorState) -> tuple[dict[str, int], dict[str, int]]:
    """Fallbacks and claim attempts among the events, by the outcomes' columns: before *start*, and over all.

    ``patch_events``: gt_evac events that only a patched kernel emits.
    """
    before, after = _Counts(recording), _Counts(recording)
    kinds = (EventKind.MM_PAGE_ALLOC_EXTFRAG, EventKind.GT_EVAC)
    for chunk in recording.events(kinds=kinds):
        before.add(chunk.take(chunk.ts <= start.ts))
        after.add(chunk.take(chunk.ts > start.ts))
    first = before.columns()
    return first, {name: n + first[name] for name, n in after.columns().items()}


class _Counts:
    """Counts of some of a recording's events, by the outcomes' columns."""

    def __init__(self, recording: Recording) -> None:
        self.order = recording.machine.pageblock_order
        self.extfrag = ExtfragTable(self.order)
        self.patch_events = self.refused = 0

    def add(self, rows: EventChunk) -> None:
        """Add what the rows show; gt_evac operation 0 is a claim attempt: a = the types, d = whether it succeeded."""
        self.extfrag.add(*extfrag_of(rows, self.order))
        evac = rows.take(rows.kind == EventKind.GT_EVAC)
        self.patch_events += int((evac.order != EvacOp.CLAIM).sum())
        refused = evac.take((evac.order == EvacOp.CLAIM) & (evac.d == 0))
        self.refused += int(from_movable(*unpack_types(refused.a)).sum())

    def columns(self) -> dict[str, int]:
        """The counts."""
        found = replay_fallbacks(self.extfrag.metrics())
        return {**found, "patch_events": self.patch_events, "claims_refused": self.refused}
