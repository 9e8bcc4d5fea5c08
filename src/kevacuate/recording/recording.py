# SPDX-License-Identifier: GPL-2.0-or-later
"""One way to read a recording, whatever it lies in."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from kevacuate.errors import KevacuateError, failing
from kevacuate.kernel.hooks import DumpKind
from kevacuate.recording import demand as demand_files
from kevacuate.recording.groundtruth import GroundTruth, is_ground_truth
from kevacuate.recording.kev import KevSource, KevWriter, is_kev, recording_of
from kevacuate.recording.losses import Lost
from kevacuate.recording.machine import Machine, kernel_words
from kevacuate.recording.parquet import refuse_unencodable
from kevacuate.recording.possible import refuse_impossible_events
from kevacuate.recording.ringbuf import NO_FORMAT, CpuLosses
from kevacuate.recording.schema import EventChunk, EventKind, kind_set
from kevacuate.recording.snapshot import Snapshot
from kevacuate.recording.state import BOOT_TAG, AllocatorState

DEFAULT_CHUNK_ROWS = 1 << 17

SHIPPED = "stock-churn-1g-smp1-s3.kev"
"""The recording that ships with the package: Linux 7.2.13, 1 GiB, one CPU, workload churn, seed 3."""


class Source(Protocol):
    """Where a recording's parts come from: what :class:`~kevacuate.recording.kev.KevSource` has, with the same meaning."""

    digest: str

    @property
    def machine(self) -> Machine:
        """The machine."""

    @property
    def quality(self) -> dict[str, Any]:
        """What ``quality.json`` would hold."""

    def losses(self) -> tuple[CpuLosses, ...]:
        """What each CPU lost."""

    def passed_over(self) -> dict[str, int]:
        """Events that no kind stands for."""

    def not_read(self) -> dict[str, int]:
        """Events that could not be read."""

    def event_times(self) -> tuple[int, int] | None:
        """Times (ns) of the first and the last event."""

    def snapshot_counts(self) -> tuple[Snapshot, ...]:
        """What /proc said."""

    def states(self) -> Iterator[AllocatorState]:
        """The states, in order of time."""

    def events(self, kinds: frozenset[int], chunk_rows: int, since: int = -1) -> Iterator[EventChunk]:
        """The events, merged."""


class Recording:
    """A recorded machine: its description, its events as a stream, and its states.

    Use :meth:`open`. Nothing is read before it is asked for, and events are streamed: memory does not grow
    with the recording's length.
    """

    def __init__(
        self, path: Path, source: GroundTruth | KevSource | Source, generated: Callable[[], Any] | None = None
    ) -> None:
        self.path = path
        self._source = source
        self.generated = generated
        """Of a workload that is described, and not stored: makes its :class:`~kevacuate.demand.build.Demand`."""

    def __repr__(self) -> str:
        """Where it lies and which kernel it is of."""
        return f"<Recording {str(self.path)!r}, {kernel_words(self.machine.kernel)}>"

    @classmethod
    def shipped(cls) -> Recording:
        """The recording that ships with the package: Linux 7.2.13, 1 GiB, one CPU; start state and demand, no events."""
        return cls.open(Path(str(files("kevacuate").joinpath("data", SHIPPED))))

    @classmethod
    def open(cls, path: str | Path, *, verify: bool = True) -> Recording:
        """Open a recording, recognised by what it holds.

        Parameters
        ----------
        path : path
            A ``.kev`` directory, or one with ``trace/cpuN.raw[.xz]`` and ``formats/``.
        verify : bool
            Check a ``.kev`` directory's files against their digests.

        Raises
        ------
        KevacuateError
            If there is nothing, it is not a recording, or it is truncated, corrupted or too new.

        """
        if not isinstance(path, str | os.PathLike):
            raise KevacuateError(
                f"{path!r} is no path: name the recording's directory by a string or a Path."
            )
        where = Path(path)
        with failing(f"{where} cannot be read"):
            if not where.exists():
                raise KevacuateError(f"{where} does not exist.")
            if not where.is_dir():
                raise KevacuateError(_file_sentence(where))
            refuse_unencodable(where)
            if is_kev(where):
                return cls(where, KevSource(where, verify=verify))
            if is_ground_truth(where):
                return cls(where, GroundTruth(where))
        raise KevacuateError(
            _directory_sentence(where)
            or f"{where} is not a recording: it has neither a machine.json nor trace/cpuN.raw files."
        )

    @classmethod
    def of(cls, recording: Recording | str | Path) -> Recording:
        """The recording itself, or the one at a path (:meth:`open`)."""
        return recording if isinstance(recording, Recording) else cls.open(recording)

    @cached_property
    def machine(self) -> Machine:
        """The recorded machine."""
        return self._source.machine

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of the content: equal for equal content, wherever it lies and however compressed."""
        return self._source.digest

    @cached_property
    def losses(self) -> tuple[CpuLosses, ...]:
        """What each CPU's buffer lost, in order of CPU."""
        return self._source.losses()

    @property
    def lost(self) -> Lost:
        """How many events all CPUs lost together, exactly or at least; none also where :attr:`losses` says nothing."""
        return Lost.total(loss.lost for loss in self.losses)

    @cached_property
    def passed_over(self) -> dict[str, int]:
        """What the recorded stream held that no kind of event stands for: name to how many there were."""
        return self._source.passed_over()

    @cached_property
    def not_read(self) -> dict[str, int]:
        """Event name to how many were there and could not be read; those without a format stand by ``(no format)``."""
        named = dict(self._source.not_read())
        rest = sum(loss.unknown for loss in self.losses) - sum(named.values())
        return named | ({NO_FORMAT: named.get(NO_FORMAT, 0) + rest} if rest > 0 else {})

    @cached_property
    def quality(self) -> dict[str, Any]:
        """Counts of what the recording holds and lacks: ``events``, ``events_by_kind``, ``losses``, more."""
        return self._source.quality

    @cached_property
    def span(self) -> tuple[int, int] | None:
        """The recording's own time, whatever a command reads of it: from which to which ns of its clock it reaches.

        From its first event of any kind, or first snapshot of /proc, to its last. None where it has neither.
        """
        times = [time for time in (self._source.event_times(), _times(self.snapshots)) if time is not None]
        return (min(first for first, _ in times), max(last for _, last in times)) if times else None

    @cached_property
    def seconds(self) -> float:
        """Length of :attr:`span` in seconds; 0 where there is none."""
        return 0.0 if self.span is None else (self.span[1] - self.span[0]) / 1e9

    @cached_property
    def states(self) -> list[AllocatorState]:
        """All states in order of time, with page flags where a snapshot has them."""
        return list(self._source.states())

    @cached_property
    def snapshots(self) -> tuple[Snapshot, ...]:
        """What /proc said of zones, free pages and block types during the recording, in order of time."""
        return self._source.snapshot_counts()

    @cached_property
    def boot(self) -> AllocatorState | None:
        """The state when the buddy allocator had just been filled (no pcp, no page flags), or None."""
        first = next(iter(self._source.states()), None)
        return first if first is not None and first.tag == BOOT_TAG else None

    @cached_property
    def start(self) -> AllocatorState | None:
        """The state a replay starts from: the first with per-cpu lists set up, else the first, or None."""
        first = None
        for state in self._source.states():
            if state.pcp_ready:
                return state
            first = first or state
        return first

    def events(
        self,
        *,
        kinds: Iterable[int] | None = None,
        chunk_rows: int = DEFAULT_CHUNK_ROWS,
        after: AllocatorState | None = None,
    ) -> Iterator[EventChunk]:
        """The events, merged over CPUs by (ts, cpu, position), in chunks of about *chunk_rows*.

        Parameters
        ----------
        kinds : iterable of EventKind, optional
            Only these.
        chunk_rows : int
            Size of the chunks; they may be somewhat larger or smaller, and are never empty.
        after : AllocatorState, optional
            Only the events that follow that state.

        Raises
        ------
        KevacuateError
            In the course of the stream, where the data are truncated or corrupted, or name what no machine has.

        """
        wanted = kind_set(kinds)
        if chunk_rows < 1:
            raise KevacuateError(f"Chunks of {chunk_rows} events cannot be made: ask for at least 1.")
        if after is None:
            yield from (
                refuse_impossible_events(c, self.path)
                for c in self._source.events(wanted, chunk_rows)
                if c.rows
            )
            return
        dumps = self._source.events(wanted | {int(EventKind.GT_DUMP)}, chunk_rows, after.ts)
        stream = (refuse_impossible_events(c, self.path) for c in dumps)
        keep_dumps = int(EventKind.GT_DUMP) in wanted
        for chunk in _following(stream, after):
            out = chunk if keep_dumps else chunk.take(chunk.kind != EventKind.GT_DUMP)
            if out.rows:
                yield out

    @property
    def has_demand(self) -> bool:
        """Whether a demand is stored beside the recording."""
        return demand_files.has_demand(self.path)

    def save(self, target: str | Path) -> Recording:
        """Write this recording as the ``.kev`` directory *target* and open that."""
        with KevWriter(target, self.machine) as writer:
            for chunk in self.events():
                writer.add_events(chunk)
            for state in self._source.states():
                writer.add_state(state)
            if self.snapshots:
                writer.add_snapshots(self.snapshots)
            writer.set_losses(self.losses)
            writer.set_quality(
                {
                    "source_digest": self.digest,
                    "events_passed_over": self.passed_over,
                    "events_not_read": self.not_read,
                }
            )
        return Recording.open(writer.path, verify=False)


def _file_sentence(where: Path) -> str:
    """What a file is that was given for a recording, and what to do with it."""
    from kevacuate.recording.importers.registry import kind_of_file

    known = kind_of_file(where) if where.is_file() else None
    if known is None and (whole := recording_of(where)):
        known = f"{where} is a part of the recording {whole}: name that directory."
    return known or (
        f"{where} is a file, but a recording is a directory. Another tool's trace becomes one by `kevacuate import`, and this "
        "is of no kind that is known."
    )


def _directory_sentence(where: Path) -> str | None:
    """What a directory is that was given for a recording, and what to do with it; None if that is not known."""
    from kevacuate.recording.importers.registry import kind_of_directory

    return kind_of_directory(where)


def _times(snapshots: Sequence[Snapshot]) -> tuple[int, int] | None:
    """Times (ns) of the first and the last snapshot; None without any."""
    return (int(snapshots[0].ts), int(snapshots[-1].ts)) if snapshots else None


def _following(stream: Iterator[EventChunk], state: AllocatorState) -> Iterator[EventChunk]:
    """What follows the state's dump in the stream; without a dump, what is later than the state."""
    found = False
    for chunk in stream:
        if found:
            yield chunk
        elif state.ordinal < 0:
            yield chunk.take(slice(int(np.searchsorted(chunk.ts, state.ts, "right")), None))
        else:
            end = (chunk.kind == EventKind.GT_DUMP) & (chunk.a == DumpKind.END)
            at = np.flatnonzero(end & (chunk.ts == state.ts) & (chunk.cpu == state.cpu))
            if len(at):
                found = True
                yield chunk.take(slice(int(at[0]) + 1, None))
    if not found and state.ordinal >= 0:
        raise KevacuateError(f"The state {state.tag} is not in this recording's events: it is another's.")
