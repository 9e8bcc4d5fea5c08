# SPDX-License-Identifier: GPL-2.0-or-later
"""The directory a recorder works in, beside its target: everything that is needed to finish the recording without it.

============================  =========================================================================
``facts.json``                target, machine, CPUs, sub-buffer size, whether process ids are kept
``spool/``                    raw sub-buffers not yet decoded or not yet safe (:mod:`kevacuate.capture.spool`)
``kev/``                      the recording as far as it is written (:class:`kevacuate.recording.KevWriter`)
``journal.json``              the finished files of events, and up to which time they reach
``snapshots.jsonl``           what /proc said, a line each
``pages-NNN/``                flags and counts of every page, and ``facts.json``: when they were read
============================  =========================================================================
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kevacuate.capture.options import ELSEWHERE
from kevacuate.errors import KevacuateError
from kevacuate.recording import atomic_write, parquet
from kevacuate.recording.snapshot import Snapshot, snapshot_from_json, snapshot_to_json


class WorkDir:
    """One such directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._made: list[Path] = []
        self.spool, self.kev = path / "spool", path / "kev"

    @classmethod
    def create(cls, target: Path, elsewhere: str = ELSEWHERE) -> WorkDir:
        """Make the one for this process's recording of that name; *elsewhere* as of :class:`RecordOptions`.

        Raises
        ------
        KevacuateError
            It cannot be made, or another process is making that recording.

        """
        work = cls(target.parent / f".{target.name}.rec-{os.getpid()}")
        work._made = atomic_write.missing(target.parent)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            atomic_write.claim(target, work.path, directory=True, mode=0o700)
        except (OSError, KevacuateError) as error:
            atomic_write.remove_empty(work._made)
            if isinstance(error, OSError):
                raise atomic_write.unwritable(target, error.errno or 0, elsewhere) from None
            raise
        try:
            work.spool.mkdir()
        except OSError as error:
            work.remove()
            raise atomic_write.unwritable(target, error.errno or 0, elsewhere) from None
        return work

    def write(self, name: str, values: Mapping[str, Any]) -> None:
        """Write a JSON file whole or not at all.

        Raises
        ------
        KevacuateError
            It cannot be written.

        """
        temporary = self.path / f"{name}.tmp"
        parquet.write_json(temporary, values)
        temporary.replace(self.path / name)

    def read(self, name: str) -> dict[str, Any]:
        """A JSON file, empty where there is none."""
        return parquet.read_json(self.path / name) if (self.path / name).is_file() else {}

    def add_snapshot(self, snapshot: Snapshot) -> None:
        """Append a snapshot."""
        line = json.dumps(snapshot_to_json(snapshot), sort_keys=True, separators=(",", ":"))
        with (self.path / "snapshots.jsonl").open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def snapshots(self) -> list[Snapshot]:
        """The snapshots so far; a last line that is cut off is left out."""
        file = self.path / "snapshots.jsonl"
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True) if file.is_file() else []
        return [snapshot_from_json(json.loads(line)) for line in lines if line.endswith("\n")]

    def page_dirs(self) -> list[Path]:
        """The directories of page flags that are complete, in order."""
        return [d for d in sorted(self.path.glob("pages-[0-9]*")) if (d / "facts.json").is_file()]

    def new_page_dir(self) -> Path:
        """Make the next one."""
        path = self.path / f"pages-{len(list(self.path.glob('pages-[0-9]*'))):03d}"
        path.mkdir()
        return path

    def size(self) -> int:
        """Bytes of all files."""
        return atomic_write.size_of(self.path)

    def keep(self) -> None:
        """Leave it for the next recording to save."""
        atomic_write.release(self.path)

    def remove(self) -> None:
        """Remove everything."""
        atomic_write.release(self.path)
        shutil.rmtree(self.path, ignore_errors=True)
        atomic_write.remove_empty(self._made)


def left_behind(directory: Path) -> list[tuple[WorkDir, str]]:
    """Work directories in *directory* of recorders that are no more, and the names of their recordings."""
    found = []
    try:
        entries = sorted(directory.iterdir())
    except OSError:
        return []
    for entry in entries:
        match = atomic_write.RECORDER.fullmatch(entry.name)
        if match and entry.is_dir() and not entry.is_symlink() and atomic_write.is_left(entry, int(match[2])):
            found.append((WorkDir(entry), match[1]))
    return found


def captured_and_left(directory: Path) -> list[WorkDir]:
    """Work directories of recorders that are no more, in *directory* and, of ``triage --live``, where temporary files lie."""
    found = left_behind(directory)
    for private in atomic_write.captures_left():
        found += left_behind(private)
    return [work for work, _ in found]
