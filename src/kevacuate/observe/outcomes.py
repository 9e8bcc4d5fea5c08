# SPDX-License-Identifier: GPL-2.0-or-later
"""What a recorded kernel came to: one pass over a recording, counted without a model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from kevacuate.errors import KevacuateError
from kevacuate.measure.extfrag import tells_ownership
from kevacuate.measure.moments import moments_of, vmstat_change
from kevacuate.measure.recorded import Recorded, RecordedCounter, recorded_kinds
from kevacuate.recording import EventChunk, EventKind, Recording
from kevacuate.recording.completeness import refuse_losses

KINDS_READ: tuple[EventKind, ...] = tuple(
    kind for kind in EventKind if kind not in (EventKind.GT_LIST, EventKind.GT_RMQ, EventKind.GT_DUMP)
)
"""Every kind of event but those that only repeat what the allocator did inside."""


def total_events(recording: Recording) -> int:
    """Events in the recording, where that is known without reading them; else 0."""
    return int(recording.quality.get("events", 0)) if (recording.path / "machine.json").exists() else 0


def knows_none_came(recording: Recording) -> bool:
    """Whether a recording without external fragmentation events tells that there were none: they were on, and time passed."""
    kinds = recorded_kinds(recording.machine)
    return kinds is not None and int(EventKind.MM_PAGE_ALLOC_EXTFRAG) in kinds and recording.seconds > 0


def count_events(
    recording: Recording,
    kinds: Iterable[int],
    add: Callable[[EventChunk], None],
    progress: Callable[[int, int], None] | None,
) -> int:
    """Give *add* the events of these kinds, chunk by chunk; how many there were."""
    done, total = 0, total_events(recording)
    for chunk in recording.events(kinds=kinds):
        add(chunk)
        done += chunk.rows
        if progress:
            progress(done, max(total, done) if total else 0)
    return done


def recorded_outcome(
    recording: Recording,
    *,
    despite_losses: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Recorded:
    """Count what the recorded kernel did, and measure its snapshots.

    Parameters
    ----------
    recording : Recording
        With events; snapshots are measured where there are some.
    despite_losses : bool
        Count a recording that lost events: its counts are then too low.
    progress : callable, optional
        Called with (events read, events in all; 0 if not known).

    Raises
    ------
    KevacuateError
        The recording lost events, holds none, or is corrupted.
    """
    if not despite_losses:
        refuse_losses(recording, "its counts are too low")
    machine = recording.machine
    counter = RecordedCounter(
        machine.pageblock_order,
        recorded_kinds(machine),
        hooks=machine.hooks,
        seconds=recording.seconds,
        ownership=tells_ownership(machine),
    )
    done = count_events(recording, KINDS_READ, counter.add, progress)
    if not done and not knows_none_came(recording):
        raise KevacuateError(
            f"{recording.path} holds no events of the recorded kernel (only what a replay needs, perhaps): there is nothing to "
            "count."
        )
    moments = moments_of(
        recording.states, recording.snapshots, machine.pageblock_order, machine.hugepage_order
    )
    metrics = {**counter.metrics(), "vmstat": vmstat_change(recording.snapshots)}
    if moments:
        metrics["end"] = next(reversed(moments.values()))
    start = recording.start
    if start is not None and start.ordinal >= 0:
        metrics["start_blocks"] = int(start.blocks.pfn.size)
        metrics["start_blocks_with_skip_bit"] = int(start.blocks.skip.sum()) if start.skip_known else None
    return Recorded(_name(recording), metrics, moments, _about(recording))


def _name(recording: Recording) -> str:
    """The directory's name, also where the path is ``.``."""
    return recording.path.resolve().name


def _about(recording: Recording) -> dict[str, object]:
    """What must be alike for figures to be compared, and what identifies the recording."""
    machine = recording.machine
    return {
        "path": str(recording.path),
        "digest": recording.digest,
        "kernel": machine.kernel,
        "cpus": machine.cpus,
        "managed_pages": sum(zone.managed for zone in machine.zones),
        "pageblock_order": machine.pageblock_order,
        **recording.lost.to_json(),
    }


def compare_recorded(
    groups: Sequence[Sequence[Recording | str | Path]],
    *,
    despite_losses: bool = False,
    progress: Callable[[str, int, int], None] | None = None,
) -> list[list[Recorded]]:
    """Recordings of real kernels side by side, each counted from its events and snapshots; no model has a part in it.

    Parameters
    ----------
    groups : sequence of sequences of Recording or path
        Two groups at least; the recordings of a group are repeats of each other.
    despite_losses : bool
        Count recordings that lost events: their counts are then too low.
    progress : callable, optional
        Called with (recording, events read, events in all; 0 where that is not known).

    Returns
    -------
    list of list of Recorded
        As *groups*: each with ``metrics``, ``moments`` (by snapshot) and ``about``.

    Raises
    ------
    KevacuateError
        Fewer than two groups, an empty one, or a recording that cannot be counted.

    Examples
    --------
    >>> import kevacuate
    >>> one, other = kevacuate.compare_recorded([["my-server.kev"], ["my-server.kev"]])
    >>> one[0].metrics == other[0].metrics
    True
    """
    try:
        opened = [[Recording.of(one) for one in group] for group in groups]
    except TypeError:
        raise KevacuateError(
            f"groups cannot be {groups!r}: give lists of recordings, one list a group."
        ) from None
    if len(opened) < 2 or not all(opened):
        raise KevacuateError(
            "Recordings stand side by side: give two groups or more, each of at least one recording."
        )
    told = progress or (lambda name, done, total: None)
    return [
        [
            recorded_outcome(one, despite_losses=despite_losses, progress=partial(told, str(one.path)))
            for one in group
        ]
        for group in opened
    ]
