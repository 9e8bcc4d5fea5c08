# SPDX-License-Identifier: GPL-2.0-or-later
"""One recording of the running machine, from the making of the instance to its removal."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from kevacuate.capture import options as opt
from kevacuate.capture.command import check_asked, start_command
from kevacuate.capture.events import EventChoice
from kevacuate.capture.finish import finish_recording
from kevacuate.capture.livewriter import LiveWriter
from kevacuate.capture.machine import describe
from kevacuate.capture.process import drain_reader, keep_memory, start_reader, task_names
from kevacuate.capture.snapshots import STEP, PageReader, now, take_counts, top_pfn
from kevacuate.capture.spool import W_ERROR, Words
from kevacuate.capture.status import Result, Status, explain
from kevacuate.capture.stream import SpoolStream
from kevacuate.capture.tracefs import Instance, ftrace_formats, read_formats, sub_buffer_bytes
from kevacuate.capture.workdir import WorkDir
from kevacuate.ending import patient
from kevacuate.errors import KevacuateError
from kevacuate.percent import percent
from kevacuate.recording import parquet
from kevacuate.recording.formats import read_text
from kevacuate.recording.losses import Lost

PAGES_SHARE = 100
"""Page flags are read again only after this many times as long as reading them took."""

BACKLOG_BYTES = 256 << 20
"""With more than this waiting in the spool, decoding runs at normal priority."""

NICE = 10
_HOUSEKEEPING_SECONDS = 0.25


class Session:
    """A recording in progress.

    Parameters
    ----------
    options : RecordOptions
        What to do.
    tracefs : Path
        Where tracefs is mounted.
    events : EventChoice
        The events.
    report : callable, optional
        Called with a :class:`Status` a few times a second.

    """

    def __init__(
        self,
        options: opt.RecordOptions,
        tracefs: Path,
        events: EventChoice,
        report: Callable[[Status], None] = lambda status: None,
    ) -> None:
        self.options, self.tracefs, self.events, self.report = options, tracefs, events, report
        self.status = Status()
        self.stopped = ""
        self._signal = ""
        self._clock = (0.0, 0)
        self._began = self._from = 0.0
        self._next_snapshot = self._next_pages = float("inf")
        self._checked = 0.0
        self.command: subprocess.Popen[bytes] | None = None

    def run(self) -> Result:
        """Record, and finish the recording.

        Raises
        ------
        KevacuateError
            Nothing could be recorded, or what was could not be written; what is left then is said.

        """
        check_asked(self.options)
        keep_memory()
        with self._signals():
            return self._run(WorkDir.create(self.options.target, self.options.elsewhere))

    def _run(self, work: WorkDir) -> Result:
        """Record in the work directory, which is gone afterwards unless something in it can still be saved."""
        options, keep = self.options, False
        try:
            pages = top_pfn(take_counts("start")) if options.pages else 0
            opt.check_disk(options.target.parent, pages, options.elsewhere)
            with self._instance(work):
                self._go_on()
                with patient():
                    self._record(work)
                    return self._finish(work)
        except (OSError, KevacuateError) as error:
            keep = bool(work.snapshots()) and not options.target.exists()
            raise explain(error, options.target, work if keep else None, options.elsewhere) from None
        finally:
            if keep:
                work.keep()
            else:
                work.remove()

    # -- setting up ------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _instance(self, work: WorkDir) -> Iterator[None]:
        """The tracing instance, its reader and the writer, all gone at the end."""
        self.instance = Instance(self.tracefs)
        reader: subprocess.Popen[bytes] | None = None
        try:
            self.cpus = self.instance.cpus()
            buffer_kb = self.options.buffer_kb or opt.choose_buffer(
                os.cpu_count() or 1, light=self.options.light
            )
            self.instance.configure(buffer_kb)
            self.instance.enable(self.events.chosen)
            formats = read_formats(self.tracefs, self.events.chosen)
            self.page_bytes = sub_buffer_bytes(read_text(self.tracefs / "events/header_page"))
            self.machine = describe(max(self.cpus) + 1, formats, self._how_recorded(buffer_kb))
            self._write_facts(work)
            self.words = Words(work.spool, len(self.cpus), create=True)
            self.writer = LiveWriter(
                self.options.target, self.machine, work, keep_pids=self.options.keep_pids
            )
            named = ftrace_formats(self.tracefs) | formats  # ftrace's own records are passed over by name
            self.stream = SpoolStream(work.spool, self.cpus, named, self.page_bytes)
            self.status.phase = "preparing the decoder"
            self.report(self.status)
            self._go_on()
            self.stream.warm_up()
            self._go_on()
            self.status.phase = "starting"
            self.reader = reader = start_reader(
                self.instance.path, work.spool, self.words, self.cpus, self.page_bytes, self.options
            )
            yield
        finally:
            if not self.instance.remove() and reader is not None:
                reader.kill()
                reader.wait()
                self.instance.remove()
            if reader is not None and reader.stdin is not None:
                reader.stdin.close()

    def _how_recorded(self, buffer_kb: int) -> dict[str, Any]:
        """What the machine's description says about the recording of it."""
        return {
            "mode": "light" if self.options.light else "default",
            "groups": list(self.options.groups),
            "buffer_kb": buffer_kb,
            "missing_events": list(self.events.missing),
            "pids_kept": self.options.keep_pids,
        }

    def _go_on(self) -> None:
        """Raise KeyboardInterrupt if a signal has come: nothing is recorded yet."""
        if self._signal:
            raise KeyboardInterrupt

    def _write_facts(self, work: WorkDir) -> None:
        work.write(
            "facts.json",
            {
                "target": self.options.target.name,
                "cpus": self.cpus,
                "page_bytes": self.page_bytes,
                "keep_pids": self.options.keep_pids,
                "machine": self.machine.to_json(),
            },
        )

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Ctrl-C, SIGTERM and SIGHUP end the recording, not the program; a second one does, as the caller's handler has it."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def note(number: int, frame: FrameType | None) -> None:
            if self._signal:
                raise KeyboardInterrupt
            self._signal = signal.Signals(number).name

        before = {n: signal.signal(n, note) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        try:
            yield
        except KeyboardInterrupt:
            theirs = before[signal.Signals[self._signal]] if self._signal else None
            if callable(theirs):
                theirs(signal.Signals[self._signal], None)  # it may tell SIGTERM from Ctrl-C
            raise
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    # -- recording -------------------------------------------------------------------------------------------

    def _record(self, work: WorkDir) -> None:
        """Everything from the first event to the last."""
        self.writer.kev.__enter__()
        self._began = time.monotonic()
        self.instance.switch(True)
        self._snapshot(work, "start", pages=True)
        self._from = time.monotonic()
        if self.options.command:
            self.command = start_command(self.options.command)
        os.setpriority(os.PRIO_PROCESS, 0, NICE)
        self._next_snapshot = time.monotonic() + self.options.snapshot_seconds
        self.status.phase = "recording"
        try:
            while not self.stopped:
                self._step(work)
                self.stopped = self._why_stop(work)
            self.between = time.monotonic() - self._from
            self._hurry()  # whoever ended it waits
            if (
                not self.words[W_ERROR]
                and self.reader.poll() is None
                and opt.free_disk(work.path) > opt.FREE_DISK // 2
            ):
                self._snapshot(work, "end", pages=True)
        finally:
            self.instance.switch(False)
            self._hurry()
        self.seconds = time.monotonic() - self._began

    def _hurry(self) -> None:
        """Back to normal priority."""
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, 0)

    def _why(self) -> str:
        """What was said of the end, in front of what is still done after it."""
        return f"stopped {self.stopped}; " if self.stopped else ""

    def _step(self, work: WorkDir) -> None:
        """Decode what there is, take a snapshot if one is due, report."""
        rows = self.writer.rows
        for chunk in self.stream.pump():
            self.writer.add(chunk)
        self.writer.save(self.stream)
        at = time.monotonic()
        if at >= self._next_snapshot:
            self._next_snapshot = at + self.options.snapshot_seconds
            self._snapshot(work, "periodic", pages=at >= self._next_pages)
        if at - self._checked > _HOUSEKEEPING_SECONDS:
            self._housekeeping(work)
        if self.writer.rows == rows:
            time.sleep(max(self.options.poll_seconds, 0.02))

    def _snapshot(self, work: WorkDir, label: str, *, pages: bool) -> None:
        """What /proc says, and with *pages* the flags of every page."""
        began, before = time.monotonic(), self.status.phase
        counts = take_counts(label)
        if pages and self.options.pages:
            directory = work.new_page_dir()
            reader = PageReader(directory, top_pfn(counts))
            facts = reader.read(lambda: self._reading_pages(len(reader.read_from) * STEP / reader.pages))
            self.status.phase = before
            parquet.write_json(directory / "facts.json", facts)
            counts = take_counts(label)
            if not self.options.light:
                self.writer.watch_pages(directory, facts, counts)
            self._next_pages = time.monotonic() + PAGES_SHARE * (time.monotonic() - began)
        work.add_snapshot(counts)

    def _reading_pages(self, share: float) -> None:
        """Say how far the page flags are read, now and then."""
        at = time.monotonic()
        if at - self._checked > _HOUSEKEEPING_SECONDS:
            self._checked = at
            self.status.phase = f"{self._why()}reading page flags ({percent(min(share, 1.0))})"
            self.status.seconds = at - self._began
            self.report(self.status)

    def _housekeeping(self, work: WorkDir) -> None:
        """Status, priority, and what counts as our own."""
        at = time.monotonic()
        status, (before, events) = self.status, self._clock
        status.seconds, status.events = at - self._began, self.writer.rows
        status.rate = (self.writer.rows - events) / max(at - before, 1e-9)
        status.written, status.waiting = work.size(), self.stream.waiting_bytes()
        status.lost = Lost.total(Lost.marked(loss.missed, loss.gaps) for loss in self.stream.losses())
        self._clock, self._checked = (at, self.writer.rows), at
        self.writer.own = {int(name) for name in os.listdir("/proc/self/task")} | {self.reader.pid}
        busy = status.waiting > BACKLOG_BYTES or status.phase not in ("starting", "recording")
        nice = 0 if busy else NICE
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, nice)
        self.report(status)

    def _why_stop(self, work: WorkDir) -> str:
        """Why recording should end now, '' if it should not."""
        options = self.options
        if self._signal:
            return f"by {self._signal}"
        if self.command is not None and self.command.poll() is not None:
            return "with the command"
        if options.duration and time.monotonic() - self._from >= options.duration:
            return "after the time asked for"
        if self.words[W_ERROR]:
            return f"because the spool could not be written: {os.strerror(self.words[W_ERROR])}"
        if self.reader.poll() is not None:
            return "because the process that reads the trace buffers was killed"
        if self.status.written > options.max_bytes:
            return "at the size given with --max-size"
        if self.status.written and opt.free_disk(work.path) < opt.FREE_DISK:
            return "because the disk is nearly full"
        return ""

    # -- finishing -------------------------------------------------------------------------------------------

    def _finish(self, work: WorkDir) -> Result:
        """Drain, remove the instance, decode the rest, and close the recording."""
        self._begin("draining the trace buffers")
        stopped_at = now()
        whole = drain_reader(self.reader, self.words)
        stats = {cpu: self.instance.stats(cpu) for cpu in self.cpus}
        self.instance.remove()
        if self._signal == "SIGTERM" and self.command is not None and self.command.poll() is None:
            self.command.terminate()
        extra = {"stopped": self.stopped, "stopped_ts": stopped_at, "options": self._options_json()}
        if self.options.keep_pids:
            extra["tasks"] = task_names(self.tracefs)
        if self.command is not None and self.command.poll() is None:
            self._begin("waiting for COMMAND to end")
        status = self.command.wait() if self.command is not None else None
        if status is not None:
            extra["command_status"] = status
        lost = finish_recording(
            work,
            self.writer,
            self.stream,
            stats,
            extra,
            whole=whole,
            progress=self._progress,
            begin=self._begin,
        )
        return Result(
            self.writer.kev.path, self.writer.rows, lost, self.seconds, self.stopped, status, self.between
        )

    def _begin(self, doing: str) -> None:
        """Report what is done now, after the recording's end."""
        self.status.phase = self._why() + doing
        self.report(self.status)

    def _progress(self) -> None:
        if time.monotonic() - self._checked > _HOUSEKEEPING_SECONDS:
            self._housekeeping(self.writer.work)

    def _options_json(self) -> dict[str, Any]:
        options = self.options
        return {
            "duration": options.duration,
            "light": options.light,
            "max_bytes": options.max_bytes,
            "snapshot_seconds": options.snapshot_seconds,
        }
