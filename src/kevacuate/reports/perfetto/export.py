# SPDX-License-Identifier: GPL-2.0-or-later
"""A recording, and replays of it, as a Perfetto trace: open it at https://ui.perfetto.dev or with trace_processor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import IO

import numpy as np

from kevacuate.demand.build import Demand, build_demand
from kevacuate.errors import KevacuateError
from kevacuate.measure import Run
from kevacuate.mm.fields import LogRecord
from kevacuate.observe.event_records import allocator_records, beginning, with_ownership
from kevacuate.policy import PATCHED, parse_policy
from kevacuate.recording import EventChunk, EventKind, Recording
from kevacuate.recording.machine import kernel_words
from kevacuate.reports.perfetto.group import Group
from kevacuate.reports.perfetto.tracks import PerfettoWriter
from kevacuate.reports.story.words import Happening
from kevacuate.runs.options import ReplayOptions
from kevacuate.runs.replay import Replay

FLOWS = 1 << 32
"""Arrows that a group may have."""

SERIES = (
    ("mixed_blocks", "mixed pageblocks", "blocks"),
    ("polluted_blocks", "polluted pageblocks", "blocks"),
    ("free_pages", "free pages", "pages"),
    ("huge_pages_free", "huge pages free at once", "pages"),
)
INDICES = (
    ("unusable_free_index", "unusable free index, order 9", "1/1000"),
    ("fragmentation_index", "fragmentation index, order 9", "1/1000"),
)
"""Of the time series of a replay: name, counter, unit."""

_SPANS = {
    EventKind.COMPACTION_BEGIN: ("compaction by task", "compact_zone", True),
    EventKind.COMPACTION_END: ("compaction by task", "", False),
    EventKind.VMSCAN_BALANCE_PGDAT_BEGIN: ("kswapd", "balance_pgdat", True),
    EventKind.VMSCAN_BALANCE_PGDAT_END: ("kswapd", "", False),
}
COMPACT_RESULTS = (
    "not suitable zone", "skipped", "deferred", "no suitable page", "continue", "complete", "partial skipped", "contended",
    "success",
)  # fmt: skip
"""COMPACTION_STATUS by number (include/linux/compaction.h and trace/events/mmflags.h at 7.2)."""

Progress = Callable[[int], None]


def write_perfetto(
    recording: Recording, file: IO[bytes], progress: Progress | None = None, *, policies: Sequence[str] = ()
) -> int:
    """Write what the recorded kernel did, and what replays under *policies* did; returns the number of track events.

    Times are ns since the start state.

    Raises
    ------
    KevacuateError
        The package ``perfetto`` is missing, the recording cannot be read or replayed, or there is nothing to write.
    """
    out = PerfettoWriter(file)
    chosen = [parse_policy(spec) for spec in policies]
    _recorded(recording, out, progress)
    if not chosen and not out.events:
        raise KevacuateError(
            f"{recording.path} keeps no events that a trace could show: name a policy to export its replay: --policy {PATCHED}."
        )
    demand = build_demand(recording) if chosen else None
    for i, policy in enumerate(chosen):
        assert demand is not None
        _replayed(recording, demand, policy.spec, out, (i + 1) * FLOWS)
    return out.events


def _recorded(recording: Recording, out: PerfettoWriter, progress: Progress | None) -> None:
    """The recorded kernel's group; none if its events are not kept."""
    if recording.has_demand and recording.quality.get("events", 0) < 2:
        return
    start, base = recording.start, beginning(recording)
    group = Group(
        out, f"{kernel_words(recording.machine.kernel)}, recorded", recording.machine.pageblock_order, 0
    )
    spans = _Spans(group)
    seen = 0
    for chunk in recording.events(after=start):
        spans.feed(chunk, base)
        records = with_ownership(allocator_records(chunk), recording.machine)
        LogRecord.table(records)["time"] -= base
        for record in records.tolist():
            group.feed(Happening(*record))
        seen += chunk.rows
        if progress:
            progress(seen)
    group.finish()
    spans.finish()


class _Spans:
    """Compaction and kswapd of a recording: slices on the tracks of their tasks."""

    def __init__(self, group: Group) -> None:
        self.group = group
        self.open: dict[int, int] = {}
        self.last = 0

    def feed(self, chunk: EventChunk, base: int) -> None:
        """The chunk's beginnings and ends; an end without its beginning is passed over."""
        rows = np.flatnonzero(np.isin(chunk.kind, list(_SPANS)))
        for i in rows.tolist():
            what, name, begins = _SPANS[EventKind(int(chunk.kind[i]))]
            t, pid = int(chunk.ts[i]) - base, int(chunk.pid[i])
            track = self.group.task(what, pid if pid >= 0 else 0)
            self.last = t
            if begins:
                self.group.out.begin(
                    track, t, name, {"order or sync": int(chunk.order[i]), "cpu": int(chunk.cpu[i])}
                )
                self.open[track] = self.open.get(track, 0) + 1
            elif self.open.get(track):
                self.group.out.end(track, t, _end_facts(chunk, i))
                self.open[track] -= 1

    def finish(self) -> None:
        """End what is still open."""
        for track, depth in self.open.items():
            for _ in range(depth):
                self.group.out.end(track, self.last)


def _end_facts(chunk: EventChunk, i: int) -> dict[str, int | str]:
    """What the end of a compaction or of a kswapd run tells."""
    if chunk.kind[i] == EventKind.COMPACTION_END:
        status = int(chunk.d[i])
        known = 0 <= status < len(COMPACT_RESULTS)
        return {"result": COMPACT_RESULTS[status] if known else f"status {status}"}
    return {"reclaimed": int(chunk.c[i])}


def _replayed(recording: Recording, demand: Demand, policy: str, out: PerfettoWriter, flows: int) -> None:
    """The group of one replay."""
    replay = Replay(recording, demand, parse_policy(policy), ReplayOptions())
    replay.keep_log = True
    run = replay.run()
    order = recording.machine.pageblock_order
    group = Group(out, f"{policy}, replayed", order, flows)
    for table in replay.log:
        for record in table.tolist():
            group.feed(Happening(*record))
    group.finish()
    _series(group, run)


def _series(group: Group, run: Run) -> None:
    """The replay's time series as counters."""
    for i, t in enumerate(run.series["t"]):
        for name, title, unit in SERIES:
            group.counter(title, unit, t, run.series[name][i])
        for name, title, unit in INDICES:
            group.counter(title, unit, t, run.series[name][i][9])
