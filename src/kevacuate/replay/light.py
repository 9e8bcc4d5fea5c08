# SPDX-License-Identifier: GPL-2.0-or-later
"""Triage of a recording, of any: all it takes is external fragmentation events."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from kevacuate.errors import KevacuateError
from kevacuate.measure.moments import moments_of
from kevacuate.measure.recorded import recorded_kinds
from kevacuate.measure.triage import TriageCounter
from kevacuate.recording import EventChunk, EventKind, Recording
from kevacuate.replay.about import lost_events
from kevacuate.replay.outcomes import knows_none_came, total_events, watched

TRIAGE_KINDS: tuple[EventKind, ...] = (
    EventKind.MM_PAGE_ALLOC,
    EventKind.MM_PAGE_ALLOC_EXTFRAG,
    EventKind.COMPACTION_END,
    EventKind.COMPACTION_MIGRATEPAGES,
)
"""The kinds of events that a triage reads, as far as the recording has them."""


def triage_events(
    chunks: Iterable[EventChunk],
    pageblock_order: int,
    watched_times: tuple[int, int] | None = None,
    progress: Callable[[int], None] | None = None,
) -> tuple[TriageCounter, int]:
    """Count a stream of events, recorded or live, of a machine watched between two times; the counter, and events read."""
    counter, done = TriageCounter(pageblock_order), 0
    if watched_times is not None:
        counter.watch(watched_times[0])
    for chunk in chunks:
        counter.add(chunk)
        done += chunk.rows
        if progress:
            progress(done)
    if watched_times is not None:
        counter.watch(watched_times[1])
    return counter, done


def triage_recording(
    recording: Recording, *, progress: Callable[[int, int], None] | None = None
) -> dict[str, Any]:
    """The triage of a recording: :meth:`kevacuate.measure.triage.TriageCounter.result`, and which recording it is.

    Raises
    ------
    KevacuateError
        The recording holds no events, or is corrupted.
    """
    machine, total = recording.machine, total_events(recording)

    def report(done: int) -> None:
        if progress:
            progress(done, max(total, done) if total else 0)

    stream = recording.events(kinds=TRIAGE_KINDS)
    counter, done = triage_events(stream, machine.pageblock_order, watched(recording), report)
    if not done and not knows_none_came(recording) and next(recording.events(), None) is None:
        raise KevacuateError(
            f"{recording.path} holds no events of the recorded kernel (only what a replay needs, perhaps): nothing to triage."
        )
    snapshots = getattr(recording, "snapshots", ())
    moments = moments_of(recording.states, snapshots, machine.pageblock_order, machine.hugepage_order)
    return {
        "name": recording.path.resolve().name,
        "digest": recording.digest,
        "kernel": machine.kernel,
        "pageblock_order": machine.pageblock_order,
        "managed_pages": sum(zone.managed for zone in machine.zones),
        "lost_events": sum(lost_events(loss) for loss in recording.losses),
        "extfrag_recorded": _were_recorded(counter, recording),
        "pids_kept": bool(machine.extra.get("pids_kept", True)),
        "task_names": recording.quality.get("tasks", {}),
        **counter.result(moments),
    }


def _were_recorded(counter: TriageCounter, recording: Recording) -> bool | None:
    """Whether external fragmentation events were switched on; None where none came and the recording does not say."""
    if counter.seen or recording.machine.hooks:
        return True
    kinds = recorded_kinds(recording.machine)
    return None if kinds is None else int(EventKind.MM_PAGE_ALLOC_EXTFRAG) in kinds
