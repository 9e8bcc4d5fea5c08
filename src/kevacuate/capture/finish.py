# SPDX-License-Identifier: GPL-2.0-or-later
"""From what lies in a work directory to a finished recording: at the end of a recorder, or after it was killed."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from kevacuate.capture.livewriter import LiveWriter
from kevacuate.capture.options import LEAST_DISK, free_disk
from kevacuate.capture.spool import SEGMENT_BYTES, gone_cpus
from kevacuate.capture.stream import LossInterval, SpoolStream
from kevacuate.capture.workdir import WorkDir, left_behind
from kevacuate.errors import KevacuateError
from kevacuate.recording import parquet
from kevacuate.recording.formats import EventFormat, parse_format
from kevacuate.recording.losses import Lost
from kevacuate.recording.machine import Machine
from kevacuate.recording.schema import COLUMN_TYPES, EventChunk

_FOREVER = 1 << 62


def finish_recording(
    work: WorkDir,
    writer: LiveWriter,
    stream: SpoolStream,
    stats: dict[int, dict[str, int]],
    extra: dict[str, Any],
    *,
    whole: bool,
    progress: Callable[[], None] = lambda: None,
    begin: Callable[[str], None] = lambda doing: None,
    earlier: list[LossInterval] | None = None,
) -> Lost:
    """Decode the rest of the spool and close the recording.

    Parameters
    ----------
    work, writer, stream
        Of the recorder.
    stats : dict
        The kernel's counts by CPU.
    extra : dict
        JSON values for ``quality.json``.
    whole : bool
        The reader drained every buffer to its end. If not, events are dropped from the time on from which those of some
        CPU are missing.
    progress : callable
        Called now and then.
    begin : callable
        Called with what is done, when that begins.
    earlier : list of LossInterval, optional
        Losses in what was decoded before.

    Returns
    -------
    Lost
        Events known to be lost, and whether more may be.

    """
    begin("decoding the last events")
    _decode_rest(writer, stream, progress, whole=whole)
    if not whole:
        extra = extra | {"cut_ts": stream.bound}
    snapshots = work.snapshots()
    progress()
    begin("building the states from page flags and events")
    writer.add_states(snapshots)
    begin("writing the recording")
    writer.kev.add_snapshots(snapshots)
    gone = gone_cpus(work.spool)
    end = int(extra.get("stopped_ts", stream.bound))
    missing = [LossInterval(cpu.cpu, min(cpu.ts, end), end, 0, 1) for cpu in gone]
    if gone:
        extra = extra | {"cpus_gone": [cpu._asdict() for cpu in gone]}
    writer.set_losses(stream, stats, {cpu.cpu for cpu in gone})
    writer.set_quality(stream, (earlier or []) + missing, extra)
    stream.close()
    writer.kev.__exit__(None, None, None)
    intervals = (earlier or []) + missing + stream.losses()
    counted = sum(
        s.get("overrun", 0) + s.get("commit overrun", 0) + s.get("dropped events", 0) for s in stats.values()
    )
    return Lost.marked(sum(i.missed for i in intervals), sum(i.gaps for i in intervals), counted)


def _decode_rest(
    writer: LiveWriter, stream: SpoolStream, progress: Callable[[], None], *, whole: bool
) -> None:
    """Write every event that is left in the spool; of a recording that is not whole, those up to the stream's bound."""
    while True:
        for chunk in stream.pump():
            writer.add(chunk)
        writer.save(stream)
        progress()
        if not stream.decoded:
            break
    if whole:
        for chunk in stream.give(_FOREVER):
            writer.add(chunk)


def _formats(machine: Machine) -> dict[int, EventFormat]:
    """The event formats that the machine's description holds, by id."""
    formats = {}
    for name, text in machine.events.items():
        parsed = parse_format(text, name.split("/")[0], name)
        formats[parsed.id] = parsed
    return formats


class _Salvage:
    """A work directory whose recorder was killed."""

    def __init__(self, work: WorkDir, target: Path) -> None:
        facts = parquet.read_json(work.path / "facts.json")
        self.work, self.target = work, target
        self.machine = Machine.from_json(facts["machine"])
        self.cpus = [int(n) for n in facts["cpus"]]
        self.page_bytes, self.keep_pids = int(facts["page_bytes"]), bool(facts["keep_pids"])
        self.journal = work.read("journal.json")
        self.bound = int(self.journal.get("bound", 0))

    def run(self) -> None:
        """Make the recording."""
        old = self.work.path / "kev-old"
        if old.is_dir():  # saving it was cut off too
            shutil.rmtree(self.work.kev, ignore_errors=True)
        else:
            self.work.kev.rename(old)
        tasks = [int(n) for n in self.journal.get("tasks", [])]
        writer = LiveWriter(self.target, self.machine, self.work, keep_pids=self.keep_pids, tasks=tasks)
        writer.journaling = False
        writer.kev.__enter__()
        writer.own_rows = int(self.journal.get("own_rows", 0))
        snapshots = self.work.snapshots()
        if snapshots and self.machine.extra.get("mode") != "light":
            for directory in self.work.page_dirs():
                writer.watch_pages(directory, parquet.read_json(directory / "facts.json"), snapshots[-1])
        for part in self.journal.get("parts", []):
            for columns in parquet.read_batches(old / part, COLUMN_TYPES, 1 << 17):
                writer.add_numbered(EventChunk(**columns))
        stream = SpoolStream(self.work.spool, self.cpus, _formats(self.machine), self.page_bytes)
        stream.start_at(self._first_segments(), self.bound)
        earlier = [LossInterval(**i) for i in self.journal.get("losses", [])]
        extra = {"stopped": "because the recorder was killed"}
        finish_recording(self.work, writer, stream, {}, extra, whole=False, earlier=earlier)

    def _first_segments(self) -> list[int]:
        """Per CPU: where the spool that is left begins, bytes."""
        starts = []
        for cpu in self.cpus:
            names = (p.name for p in self.work.spool.glob(f"cpu{cpu}.*.raw"))
            found = [int(m[1]) for m in (re.fullmatch(rf"cpu{cpu}\.(\d+)\.raw", n) for n in names) if m]
            starts.append(min(found, default=0) * SEGMENT_BYTES)
        return starts


class Salvaged(NamedTuple):
    """What became of a killed recorder's work directory."""

    left: Path
    """The work directory."""
    made: Path | None
    """The recording; None where there is none."""
    sentence: str
    """What was done, in words."""


def salvage(work: WorkDir, name: str) -> Salvaged:
    """Finish what a killed recorder left, beside it as ``NAME.salvaged.kev``, and remove the rest.

    A directory without a snapshot holds nothing usable, and is removed. One that cannot be finished stays.
    """
    stem = name.removesuffix(".kev")
    target = work.path.parent / f"{stem}.salvaged.kev"
    number = 2
    while target.exists():
        target = work.path.parent / f"{stem}.salvaged-{number}.kev"
        number += 1
    try:
        if not work.snapshots():
            work.remove()
            said = f"A recorder was killed before it had captured anything: removed {work.path}."
            return Salvaged(work.path, None, said)
        _Salvage(work, target).run()
    except (KevacuateError, OSError, KeyError, TypeError, ValueError) as error:
        why = str(error) if isinstance(error, KevacuateError) else "its files are damaged."
        said = f"{work.path}, which a killed recorder left, cannot be made a recording and stays: {why}"
        return Salvaged(work.path, None, said)
    work.remove()
    return Salvaged(work.path, target, f"A recorder was killed here: what it had captured is now {target}.")


def salvage_all(directory: Path) -> list[Salvaged]:
    """Finish everything that killed recorders left in the directory; with too little room it stays for the next time."""
    found = left_behind(directory)
    need = LEAST_DISK + sum(work.size() for work, _ in found) // 4
    if found and free_disk(directory) < need:
        why = f"Saving what a killed recorder captured needs {need >> 20:,} MiB free"
        return [Salvaged(work.path, None, f"{why}: {work.path} stays.") for work, _ in found]
    return [salvage(work, name) for work, name in found]
