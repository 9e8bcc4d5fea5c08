# SPDX-License-Identifier: GPL-2.0-or-later
"""How long a recorded machine's tasks waited for memory, who woke kswapd and kcompactd, whether compaction went in circles."""

from __future__ import annotations

from typing import Any

from kevacuate.measure.recorded import recorded_kinds
from kevacuate.measure.rescans import RescanCounter
from kevacuate.measure.stallfigures import stall_figures
from kevacuate.measure.stalls import StallCounter
from kevacuate.measure.wakes import WAKE_KINDS, WakeCounter
from kevacuate.recording import EventChunk, EventKind, Recording

BEGIN_KINDS: tuple[EventKind, ...] = (
    EventKind.VMSCAN_DIRECT_RECLAIM_BEGIN,
    EventKind.COMPACTION_TRY_TO_COMPACT_PAGES,
    EventKind.COMPACTION_BEGIN,
)
"""Events with which a stall, or a run of compaction, begins: where none was recorded, nothing can be said of stalls."""


class Waits:
    """Everything a triage counts of waits, as a recording's events stream by."""

    def __init__(self, recording: Recording) -> None:
        self._began = (recording.span or (0, 0))[0]
        named = recording.quality.get("tasks", {})
        self._names = {int(pid): str(name) for pid, name in named.items()}
        compacts = {pid for pid, name in self._names.items() if name.startswith("kcompactd")}
        held = recording.quality.get("events_by_kind", {})
        self.stalls = StallCounter(compacts, EventKind.MM_PAGE_ALLOC.name in held)
        self.wakes, self.rescans = WakeCounter(), RescanCounter()
        switched = recorded_kinds(recording.machine) or ()
        kinds = (*BEGIN_KINDS, *WAKE_KINDS)
        self._recorded = {kind for kind in kinds if kind.name in held or int(kind) in switched}

    def add(self, chunk: EventChunk) -> None:
        """Count a chunk; events that do not matter here are passed over."""
        for counter in (self.stalls, self.wakes, self.rescans):
            counter.add(chunk)

    def result(self) -> dict[str, Any] | None:
        """The figures as plain JSON values (docs/triage.md); None where no event of a stall or a wake was recorded."""
        self.stalls.finish()
        self.rescans.finish()
        if not self._recorded and not self.stalls.seen:
            return None
        return {
            "recorded": sorted(kind.name.lower() for kind in self._recorded),
            **stall_figures(self.stalls, self._names, self._began),
            **self.wakes.result(self._names),
            "rescans": self.rescans.result(self._began),
        }
