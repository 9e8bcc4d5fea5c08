# SPDX-License-Identifier: GPL-2.0-or-later
"""Triage of a recording, of any: external fragmentation events, and where they were recorded, those of stalls."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kevacuate.demand.refusals import DEMAND_KINDS
from kevacuate.errors import KevacuateError
from kevacuate.kernel.versions import parse_version
from kevacuate.kernel.vmstat import counters
from kevacuate.measure.extfrag import tells_ownership
from kevacuate.measure.moments import moments_of
from kevacuate.measure.recorded import recorded_kinds
from kevacuate.measure.rescans import RESCAN_KINDS
from kevacuate.measure.stalls import STALL_KINDS
from kevacuate.measure.triage import TriageCounter
from kevacuate.measure.wakes import WAKE_KINDS
from kevacuate.observe.outcomes import count_events, knows_none_came
from kevacuate.observe.recordingadvice import Facts, advice_of
from kevacuate.observe.stalls import Waits
from kevacuate.recording import EventChunk, EventKind, Recording
from kevacuate.recording.ringbuf import NO_FORMAT
from kevacuate.recording.schema import EVENT_SPECS

TRIAGE_KINDS: tuple[EventKind, ...] = (
    EventKind.MM_PAGE_ALLOC_EXTFRAG,
    EventKind.COMPACTION_MIGRATEPAGES,
    *STALL_KINDS,
    *RESCAN_KINDS,
    *WAKE_KINDS,
)
"""The kinds of events that a triage reads, as far as the recording has them."""

EXTFRAG_NAME = "mm_page_alloc_extfrag"

KERNEL_EVENTS = {spec.kind.name: name for name, spec in reversed(EVENT_SPECS.items())}
"""Name of a kind to the kernel's name of the event, the first where it had several."""


def triage_recording(
    recording: Recording, *, progress: Callable[[int, int], None] | None = None
) -> dict[str, Any]:
    """The triage of a recording: :meth:`kevacuate.measure.triage.TriageCounter.result`, and which recording it is.

    ``advice`` are at most three things that would help (:mod:`kevacuate.observe.recordingadvice`).

    Raises
    ------
    KevacuateError
        The recording holds no events, or is corrupted.
    """
    machine = recording.machine
    counter = TriageCounter(
        machine.pageblock_order, recording.span or (0, 0), ownership=tells_ownership(machine)
    )
    waits = Waits(recording)

    def add(chunk: EventChunk) -> None:
        counter.add(chunk)
        waits.add(chunk)

    count_events(recording, TRIAGE_KINDS, add, progress)
    held = _held(recording)
    moments = moments_of(
        recording.states, recording.snapshots, machine.pageblock_order, machine.hugepage_order
    )
    recorded, unseen = _were_recorded(counter, recording), _unseen(recording)
    huge_order = machine.hugepage_order if machine.hugepage_order > 0 else machine.pageblock_order
    found = {
        "name": recording.path.resolve().name,
        "digest": recording.digest,
        "kernel": machine.kernel,
        "pageblock_order": machine.pageblock_order,
        "huge_order": huge_order,
        "managed_pages": sum(zone.managed for zone in machine.zones),
        **unseen,
        "losses_known": bool(recording.losses),
        "extfrag_recorded": recorded,
        "events_held": {KERNEL_EVENTS.get(kind, kind): int(count) for kind, count in held.items()},
        "stalls": waits.result(),
        "pids_kept": bool(machine.extra.get("pids_kept", True)),
        "task_names": recording.quality.get("tasks", {}),
        **counter.result(moments, known=recorded is True and not any(unseen.values()), huge_order=huge_order),
    }
    return {**found, "advice": advice_of(_facts(found, recording))}


def _held(recording: Recording) -> dict[str, Any]:
    """How many events of which kind the recording holds.

    Raises
    ------
    KevacuateError
        None, and it is not known that none came.

    """
    held: dict[str, Any] = recording.quality.get("events_by_kind", {})
    if not held and not knows_none_came(recording):
        raise KevacuateError(
            f"{recording.path} holds no events of the recorded kernel (only what a replay needs, perhaps): nothing to triage."
        )
    return held


def _facts(found: Mapping[str, Any], recording: Recording) -> Facts:
    """What advice rests on."""
    settings = recording.machine.extra.get("settings", {})
    held = found["events_held"].keys()
    replayed = any(KERNEL_EVENTS.get(kind.name, kind.name) in held for kind in DEMAND_KINDS)
    stays = recording.path.is_dir() and "imported" not in recording.quality
    ready = replayed and stays and recording.start is not None and not recording.lost
    return Facts(
        found,
        parse_version(recording.machine.kernel),
        {name: value for name, value in settings.items() if isinstance(value, int)},
        _counted([snapshot.vmstat for snapshot in recording.snapshots]),
        shlex.quote(str(recording.path)) if ready else None,
    )


def _counted(vmstat: Sequence[Mapping[str, int]]) -> dict[str, int]:
    """How far the counters of /proc/vmstat rose from the first snapshot to the last; empty without two."""
    if len(vmstat) < 2:
        return {}
    first, last = counters(vmstat[0]), counters(vmstat[-1])
    return {name: max(0, last[name] - first[name]) for name in first if name in last}


def _unseen(recording: Recording) -> dict[str, Any]:
    """What may have been external fragmentation events and cannot be counted: lost, or left unread by the importer.

    Events without a format are none of them where the recording has the format of mm_page_alloc_extfrag.
    """
    imported = recording.quality.get("imported")
    facts = imported if isinstance(imported, dict) else {}
    lines = facts.get("lines_not_read")
    has_format = any(name.rpartition("/")[2] == EXTFRAG_NAME for name in recording.machine.events)
    return {
        **recording.lost.to_json(),
        "events_not_read": recording.not_read.get(EXTFRAG_NAME, 0),
        "events_without_format": 0 if has_format else recording.not_read.get(NO_FORMAT, 0),
        "lines_not_read": lines if isinstance(lines, int) else 0,
    }


def _were_recorded(counter: TriageCounter, recording: Recording) -> bool | None:
    """Whether external fragmentation events were switched on; None where none came and the recording does not say."""
    if counter.seen or recording.machine.hooks:
        return True
    kinds = recorded_kinds(recording.machine)
    return None if kinds is None else int(EventKind.MM_PAGE_ALLOC_EXTFRAG) in kinds
