# SPDX-License-Identifier: GPL-2.0-or-later
"""Writes a recording while it is being made, so that at any moment what was captured can be saved."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from kevacuate.capture.snapshots import load_pages
from kevacuate.capture.stream import LossInterval, SpoolStream
from kevacuate.capture.tasks import TaskNumbers
from kevacuate.capture.workdir import WorkDir
from kevacuate.recording import parquet
from kevacuate.recording.evidence import Evidence, History
from kevacuate.recording.kev import KevWriter
from kevacuate.recording.machine import Machine
from kevacuate.recording.quality import events_only
from kevacuate.recording.ringbuf import CpuLosses
from kevacuate.recording.schema import EventChunk
from kevacuate.recording.snapshot import Snapshot
from kevacuate.recording.startstate import StateFacts, build_state

HISTORY_FILE = "history.npz"
"""Beside the page flags of a snapshot: the last event on each page before its end."""

PART_ROWS = 8 * parquet.ROW_GROUP_ROWS
"""Events of one file: when it is finished, the spool that held them can go."""


class LiveWriter:
    """Takes the stream's events into the recording.

    Parameters
    ----------
    target : Path
        The recording to make.
    machine : Machine
        The machine.
    work : WorkDir
        Where to work.
    keep_pids : bool
        Store process ids as they are, not numbers in their place.
    tasks : list of int
        Process ids that have numbers already.

    """

    def __init__(
        self,
        target: Path,
        machine: Machine,
        work: WorkDir,
        *,
        keep_pids: bool,
        tasks: list[int] | None = None,
    ) -> None:
        self.machine, self.work, self.keep_pids = machine, work, keep_pids
        self.tasks = TaskNumbers(tasks or ())
        self.kev = KevWriter(target, machine, scratch=work.kev)
        self.journaling = True
        """Whether finished files of events are noted in the journal, and their spool is removed."""
        self.evidence: Evidence | None = None
        self.history: History | None = None
        """The last event on each page so far, once a snapshot of the pages is to be followed."""
        self._awaited: list[tuple[int, Path]] = []
        """Snapshots of the pages whose end the events have not reached: its time (ns) and directory."""
        self.own: set[int] = set()
        """Process ids of the recorder's own threads."""
        self.rows = self.own_rows = self._part_rows = 0

    def add(self, chunk: EventChunk) -> None:
        """Take events straight from the kernel, in order of time."""
        self.own_rows += int(np.isin(chunk.pid, list(self.own)).sum())
        if not self.keep_pids:
            chunk = chunk._replace(pid=self.tasks.numbers(chunk.pid))
        self.add_numbered(chunk)

    def add_numbered(self, chunk: EventChunk) -> None:
        """Take events whose tasks have their numbers already."""
        self._follow(chunk)
        self.kev.add_events(chunk)
        self.rows += events_only(chunk).rows
        self._part_rows += chunk.rows

    def save(self, stream: SpoolStream, *, now: bool = False) -> None:
        """When a file of events is full (or *now*), finish it, note how far it reaches, and free the spool."""
        if not self.journaling or (self._part_rows < PART_ROWS and not now):
            return
        parts = self.kev.cut()
        self._part_rows = 0
        journal = {
            "parts": parts,
            "bound": stream.bound,
            "tasks": self.tasks.pids,
            "own_rows": self.own_rows,
            "losses": [asdict(loss) for loss in stream.losses()],
        }
        self.work.write("journal.json", journal)
        stream.release(stream.bound)

    def watch_pages(self, directory: Path, facts: dict[str, Any], snapshot: Snapshot) -> None:
        """Collect what the events say about the pages of this snapshot; call in order of time, the one at the start first."""
        size = max((z.start_pfn + z.spanned for z in snapshot.zones), default=0)
        if self.history is None:
            self.history = History(size, self.machine.pageblock_order)
        self.history.grow(size)
        self._awaited.append((int(facts["end"]), directory))

    def _follow(self, chunk: EventChunk) -> None:
        """Keep the last event on each page, a copy at each snapshot's end, and the first one after the first snapshot."""
        if self.history is None:
            return
        at = 0
        while self._awaited and chunk.rows and int(chunk.ts[-1]) > self._awaited[0][0]:
            cut = int(np.searchsorted(chunk.ts, self._awaited[0][0], "right"))
            self._take(chunk.take(slice(at, cut)))
            self._reach_snapshot()
            at = cut
        self._take(chunk.take(slice(at, None)) if at else chunk)

    def _take(self, chunk: EventChunk) -> None:
        """Take events between two snapshots into account."""
        assert self.history is not None
        if chunk.rows:
            self.history.add(chunk)
            if self.evidence is not None:
                self.evidence.add(chunk)

    def _reach_snapshot(self) -> None:
        """The next snapshot's end is reached: what follows is evidence of the first one; the others' history is kept."""
        assert self.history is not None
        end, directory = self._awaited.pop(0)
        if self.evidence is None:
            order = self.machine.pageblock_order
            self.evidence = Evidence(len(self.history.code), order, end, self.history.copy())
        else:
            self.history.save(directory / HISTORY_FILE)

    def add_states(self, snapshots: list[Snapshot]) -> None:
        """Build the states from the page snapshots that were taken, with what the events said about each."""
        while self._awaited:
            self._reach_snapshot()
        machine = self.machine
        facts = StateFacts(machine.pageblock_order, machine.hugepage_order, machine.nr_pcp_lists)
        for number, directory in enumerate(self.work.page_dirs()):
            taken = parquet.read_json(directory / "facts.json")
            counts = min(snapshots, key=lambda s: abs(s.ts - int(taken["end"])))
            pages = load_pages(directory, taken)
            evidence = self.evidence if number == 0 else None
            kept = directory / HISTORY_FILE
            history = (
                History.load(kept, machine.pageblock_order) if evidence is None and kept.is_file() else None
            )
            self.kev.add_state(build_state(counts, pages, facts, evidence, history))

    def set_losses(
        self, stream: SpoolStream, stats: dict[int, dict[str, int]], gone: Set[int] = frozenset()
    ) -> None:
        """What each CPU lost: marks in the stream, the kernel's own counts, and a gap for CPUs whose events went missing."""
        unread = gone - {cpu.cpu for cpu in stream.cpus}
        losses = [CpuLosses(cpu, 0, 1, 0, 0, 0, 0) for cpu in sorted(unread)]
        for cpu in stream.cpus:
            count = stats.get(cpu.cpu, {})
            losses.append(
                CpuLosses(
                    cpu=cpu.cpu,
                    missed=cpu.decoder.missed,
                    gaps=cpu.decoder.gaps + (cpu.cpu in gone),
                    overrun=count.get("overrun", 0),
                    commit_overrun=count.get("commit overrun", 0),
                    dropped=count.get("dropped events", 0),
                    unknown=cpu.decoder.unknown,
                )
            )
        self.kev.set_losses(sorted(losses, key=lambda loss: loss.cpu))

    def set_quality(self, stream: SpoolStream, earlier: list[LossInterval], extra: dict[str, Any]) -> None:
        """Loss intervals, and what else is to be known of how the recording was made."""
        intervals = earlier + stream.losses()
        self.kev.set_quality(
            {
                "loss_intervals": [asdict(i) for i in intervals],
                "late_events": stream.late,
                "events_not_read": stream.not_read(),
                "events_passed_over": stream.passed_over(),
                "recorder_events": self.own_rows,
                **extra,
            }
        )
