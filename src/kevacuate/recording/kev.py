# SPDX-License-Identifier: GPL-2.0-or-later
"""The ``.kev`` directory: writer and reader. See docs/recording-format.md."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from kevacuate.errors import KevacuateError
from kevacuate.kernel.hooks import DumpKind
from kevacuate.recording import atomic_write, parquet
from kevacuate.recording import demand as demand_files
from kevacuate.recording.jsontypes import WrongType, build, checked
from kevacuate.recording.machine import Machine
from kevacuate.recording.possible import refuse_disorder
from kevacuate.recording.quality import QualityCounter, without_dumps
from kevacuate.recording.ringbuf import CpuLosses
from kevacuate.recording.schema import (
    ALL_KINDS,
    COLUMN_TYPES,
    SCHEMA_VERSION,
    EventChunk,
    EventKind,
)
from kevacuate.recording.snapshot import Snapshot, read_snapshots, write_snapshots
from kevacuate.recording.state import AllocatorState
from kevacuate.recording.statefiles import read_state, write_state

FORMAT_NAME = "kevacuate recording"
SNAPSHOTS_FILE = "snapshots.jsonl"
FEW_KINDS = 8
"""Kinds of events up to which it pays to look first which row groups hold any."""

ONLY_PART = "events.parquet"
"""The file of events where there is only one."""

_PART = re.compile(r"events-(\d{4,9})\.parquet")


QUALITY: dict[str, Any] = {
    "events": int,
    "events_by_kind": dict[str, int],
    "events_by_cpu": list[int],
    "events_passed_over": dict[str, int],
    "events_not_read": dict[str, int],
    "first_ts": int | None,
    "last_ts": int | None,
    "losses": list[Any],
    "loss_intervals": list[dict[str, int]],
    "late_events": int,
    "recorder_events": int,
    "stopped": str,
    "stopped_ts": int,
    "cut_ts": int,
    "cpus_gone": list[dict[str, Any]],
    "tasks": dict[str, str],
    "options": dict[str, Any],
    "command_status": int,
    "start": list[dict[str, Any]],
    "imported": dict[str, Any],
    "source": str,
    "source_digest": str,
}
"""Kinds of the values of ``quality.json``; further ones are passed on as they are."""

IMPORTED: dict[str, Any] = {"events_not_read": dict[str, int], "lines_not_read": int, "losses_shown": bool}
"""Kinds of those values of ``imported`` in it that this program reads."""


class KevWriter:
    """Write a recording, streaming; a context manager.

    Everything is written to a directory of a temporary name beside the target, which is renamed into place
    when the block ends without an exception and removed when it ends with one.

    Parameters
    ----------
    path : path
        The ``.kev`` directory to make; it must not exist. Where something has taken the name by the end, the recording becomes
        ``STEM-2.kev`` and so on: ``path`` is its name then.
    machine : Machine
        The recorded machine.
    scratch : path, optional
        The directory to write to until the end, on the target's file system, instead of one beside the target; it is
        the caller's to remove if the block ends with an exception.

    Raises
    ------
    KevacuateError
        If the target exists, is being made by another process, or cannot be written.

    """

    def __init__(self, path: str | Path, machine: Machine, scratch: Path | None = None) -> None:
        self.path, self.machine = Path(path), machine
        if os.path.lexists(self.path):
            raise KevacuateError(f"{self.path} exists already: remove it or choose another name.")
        parquet.refuse_unencodable(self.path)
        self._keep = scratch is not None
        self._dir = scratch or atomic_write.beside(self.path)
        self._parts = 0
        self._files: list[str] = []
        self._counter = QualityCounter()
        self._extra: dict[str, Any] = {}
        self._losses: Sequence[CpuLosses] = ()
        self._last_ts = -1
        self._made: list[Path] = []

    def __enter__(self) -> KevWriter:
        self._made = atomic_write.missing(self.path.parent)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if self._keep:
                self._dir.mkdir(parents=True)
            else:
                atomic_write.claim(self.path, self._dir, directory=True)
        except (OSError, KevacuateError) as error:
            atomic_write.remove_empty(self._made)
            if isinstance(error, OSError):
                raise atomic_write.not_written(self.path, error) from None
            raise
        try:
            self._open_part()
        except BaseException:  # as on a full disk: a block that is not entered is not left
            self._drop()
            raise
        return self

    @property
    def directory(self) -> Path:
        """Where the files are written: a demand that is written there moves into place with the recording."""
        return self._dir

    def _drop(self) -> None:
        """Remove what was written, where it is this writer's to remove."""
        if not self._keep:
            atomic_write.release(self._dir)
            shutil.rmtree(self._dir, ignore_errors=True)
        atomic_write.remove_empty(self._made)

    def _open_part(self) -> None:
        name = _part_name(self._parts) if self._parts else ONLY_PART
        self._events = parquet.TableWriter(self._dir / name, COLUMN_TYPES)
        self._files.append(name)
        self._parts += 1

    def cut(self) -> list[str]:
        """Finish the file of events under way and begin the next: what was added so far is then safe on disk.

        Returns
        -------
        list of str
            The finished files of events, in order, below the scratch directory.

        """
        self._events.close()
        if self._parts == 1:  # there will be several: then every name has its number
            (self._dir / ONLY_PART).rename(self._dir / _part_name(0))
            self._files[self._files.index(ONLY_PART)] = _part_name(0)
        done = [f for f in self._files if is_part(f)]
        self._open_part()
        return done

    def add_events(self, chunk: EventChunk) -> None:
        """Append events, which must follow in time those already added.

        Of the gt_dump events only the last of each dump is kept: it marks where a state lies in the stream.

        Raises
        ------
        KevacuateError
            If the events are not sorted by time.

        """
        body = (chunk.kind == EventKind.GT_DUMP) & (chunk.a != DumpKind.END)
        if body.any():
            chunk = chunk.take(~body)
        if not chunk.rows:
            return
        if int(chunk.ts[0]) < self._last_ts or (chunk.ts[1:] < chunk.ts[:-1]).any():
            raise KevacuateError(f"Events for {self.path} are not sorted by time.")
        self._last_ts = int(chunk.ts[-1])
        self._counter.add(chunk)
        self._events.add(chunk._asdict())

    def add_state(self, state: AllocatorState) -> None:
        """Store a state; call in order of time. ``ordinal`` -1 marks a state that no gt_dump events show."""
        name = f"states/{len([f for f in self._files if f.endswith('state.json')]):03d}"
        self._files += [f"{name}/{file}" for file in write_state(self._dir / name, state)]

    def add_snapshots(self, snapshots: Sequence[Snapshot]) -> None:
        """Store what /proc said during the recording, in order of time."""
        write_snapshots(self._dir / SNAPSHOTS_FILE, snapshots)
        self._files.append(SNAPSHOTS_FILE)

    def set_losses(self, losses: Sequence[CpuLosses]) -> None:
        """What each CPU lost."""
        self._losses = losses

    def set_quality(self, values: Mapping[str, Any]) -> None:
        """Further JSON values for ``quality.json``."""
        self._extra.update(values)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._events.close()
            if kind is None:
                self._finish()
        except OSError as failure:
            raise atomic_write.not_written(self.path, failure) from None
        finally:
            self._drop()

    def _finish(self) -> None:
        quality = self._counter.to_json() | {"losses": [asdict(x) for x in self._losses]} | self._extra
        parquet.write_json(self._dir / "quality.json", quality)
        self._files.append("quality.json")
        files = {name: parquet.file_digest(self._dir / name) for name in sorted(self._files)}
        body = {
            "format": FORMAT_NAME,
            "schema_version": SCHEMA_VERSION,
            "machine": self.machine.to_json(),
        }
        body |= {"files": files, "digest": parquet.combined_digest(body, files)}
        parquet.write_json(self._dir / "machine.json", body)
        self.path = atomic_write.put(self._dir, self.path)


def _part_name(number: int) -> str:
    """The name of a file of events, one of several: sorted by name they are in order of time."""
    return f"events-{number:04d}.parquet"


def is_part(name: str) -> bool:
    """Whether a file of that name holds events: all of them, or a part of a recording written while it ran."""
    return name == ONLY_PART or _PART.fullmatch(name) is not None


def is_kev(path: Path) -> bool:
    """Whether the directory says that it is a recording of this format."""
    return (path / "machine.json").is_file()


def recording_of(file: Path) -> Path | None:
    """The recording that a file is a part of, which names it, or whose demand it holds; None if there is none."""
    file = file.absolute()
    for directory in filter(is_kev, file.parents):
        name = str(file.relative_to(directory))
        if name in ("machine.json", *demand_files.FILES):
            return directory
        with suppress(KevacuateError):  # a damaged one names nothing
            if name in parquet.read_json(directory / "machine.json").get("files", ()):
                return directory
    return None


class KevSource:
    """A ``.kev`` directory, verified on opening.

    Parameters
    ----------
    path : Path
        The directory.
    verify : bool
        Check every file against its digest (reads them all once).

    Raises
    ------
    KevacuateError
        If a file is missing, truncated or corrupted, or of a newer schema.

    """

    def __init__(self, path: Path, *, verify: bool = True) -> None:
        self.path = path
        body = parquet.read_json(path / "machine.json")
        demand_files.check_version(body, FORMAT_NAME, path / "machine.json")
        files, digest = body.get("files"), body.get("digest")
        rest = {k: v for k, v in body.items() if k not in ("files", "digest")}
        if not isinstance(files, dict) or digest != parquet.combined_digest(rest, files):
            raise KevacuateError(f"{path / 'machine.json'} is corrupted: it differs from its own digest.")
        self.digest: str = str(digest)
        self._files: dict[str, Any] = files
        if verify:
            parquet.verify_files(path, files.items())
        self.machine = Machine.from_json(body.get("machine", {}))

    @cached_property
    def quality(self) -> dict[str, Any]:
        """``quality.json``, its values checked."""
        values = parquet.read_json(self.path / "quality.json")
        try:
            for name, kind in QUALITY.items():
                if name in values:
                    values[name] = checked(values[name], kind, name)
            imported = values.get("imported", {})
            for name, kind in IMPORTED.items():
                if name in imported:
                    checked(imported[name], kind, f"imported.{name}")
        except WrongType as error:
            raise KevacuateError(
                f"{self.path / 'quality.json'} is not what this program writes: {error}."
            ) from None
        return without_dumps(values)

    def passed_over(self) -> dict[str, int]:
        """Events that no kind stands for, by name: how many of them the recorded stream held."""
        return dict(self.quality.get("events_passed_over", {}))

    def not_read(self) -> dict[str, int]:
        """Events that could not be read, by name, as the recorder or the importer counted them."""
        return {
            **self.quality.get("imported", {}).get("events_not_read", {}),
            **self.quality.get("events_not_read", {}),
        }

    def losses(self) -> tuple[CpuLosses, ...]:
        """What each CPU lost."""
        try:
            return tuple(build(CpuLosses, x, "a loss") for x in self.quality["losses"])
        except (KeyError, WrongType):
            raise KevacuateError(f"{self.path / 'quality.json'} does not say what was lost.") from None

    def event_times(self) -> tuple[int, int] | None:
        """Times (ns) of the first and the last event of any kind, as ``quality.json`` keeps them; None without events.

        Raises
        ------
        KevacuateError
            If ``quality.json`` does not tell.
        """
        first, last = self.quality.get("first_ts"), self.quality.get("last_ts")
        if first is None and last is None:
            return None
        if type(first) is not int or type(last) is not int:
            raise KevacuateError(f"{self.path / 'quality.json'} does not say when the events begin and end.")
        return first, last

    def snapshot_counts(self) -> tuple[Snapshot, ...]:
        """What /proc said during the recording, in order of time; none in a recording without."""
        if SNAPSHOTS_FILE not in self._files:
            return ()
        snapshots = read_snapshots(self.path / SNAPSHOTS_FILE)
        refuse_disorder(np.array([s.ts for s in snapshots], np.int64), 0, self.path / SNAPSHOTS_FILE)
        return snapshots

    def states(self) -> Iterator[AllocatorState]:
        """The stored states, in order of time."""
        last = 0
        for name in sorted(f for f in self._files if f.endswith("/state.json")):
            state = read_state(self.path / name.removesuffix("/state.json"), self.machine.hugepage_order)
            last = refuse_disorder(np.array([state.ts]), last, self.path / name)
            yield state

    def events(
        self, kinds: frozenset[int] = ALL_KINDS, chunk_rows: int = 1 << 17, since: int = -1
    ) -> Iterator[EventChunk]:
        """The events in chunks; row groups that end before time *since*, or hold none of the kinds, are passed over."""
        wanted = np.zeros(256, np.bool_)
        wanted[list(kinds)] = True
        skip = {"ts": since} if since > 0 else {}
        only = {} if len(kinds) > FEW_KINDS else {"kind": wanted}
        last = 0
        for part in self._event_files():
            for columns in parquet.read_batches(self.path / part, COLUMN_TYPES, chunk_rows, skip, only):
                chunk = EventChunk(**columns)
                last = refuse_disorder(chunk.ts, last, self.path / part)
                keep = wanted[chunk.kind]
                yield chunk if keep.all() else chunk.take(keep)

    def _event_files(self) -> list[str]:
        """The files of events in order of time: ``events-0000.parquet`` and so on, or ``events.parquet`` alone.

        Older recordings have ``events.parquet`` as the first of several.
        """
        numbers = {f: int(m[1]) for f in self._files if (m := _PART.fullmatch(f))}
        only = [ONLY_PART] if ONLY_PART in self._files or not numbers else []
        return [*only, *sorted(numbers, key=numbers.__getitem__)]
