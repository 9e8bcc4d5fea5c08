# SPDX-License-Identifier: GPL-2.0-or-later
"""The reader: a process of its own that moves raw sub-buffers from the kernel into the spool with splice.

It does nothing else, needs little memory, and is not held up by decoding. It is also the guard of the tracing instance:
when the recorder dies (its end of the control pipe closes), the reader stops the tracing, drains what is there and
removes the instance. Control pipe: standard input; a byte means stop.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import signal
import sys
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from kevacuate.capture.spool import (
    DONE,
    READY,
    SEGMENT_BYTES,
    W_DONE,
    W_ERROR,
    GoneCpu,
    Words,
    note_gone,
    segment_path,
)
from kevacuate.capture.tracefs import remove_instance

PIPE_BYTES = 1 << 20
AHEAD = 3
"""Segments made ahead of their use."""

VISIT_BYTES = 16 << 20
"""What is moved of one CPU before the next one has its turn."""

IN_FLIGHT_NS = 100_000_000
"""An event may be stamped, and not yet be readable, for less than this."""

F_SETPIPE_SZ = 1031


class CpuReader:
    """One CPU: its raw file, a pipe, and the segment being written."""

    def __init__(
        self,
        instance: Path,
        spool: Path,
        cpu: int,
        at: int,
        words: Words,
        page_bytes: int,
        opener: ThreadPoolExecutor,
    ) -> None:
        self.spool, self.cpu, self.at, self.words, self.page_bytes = spool, cpu, at, words, page_bytes
        self.gone = False
        self.raw = -1
        try:
            self.raw = os.open(instance / f"per_cpu/cpu{cpu}/trace_pipe_raw", os.O_RDONLY | os.O_NONBLOCK)
        except OSError as error:
            self._lose(error)
        self.pipe_out, self.pipe_in = os.pipe()
        with contextlib.suppress(OSError):
            fcntl.fcntl(self.pipe_in, F_SETPIPE_SZ, PIPE_BYTES)
        self.room, self.total = 0, 0
        self.file = -1
        self.opener = opener
        self.opened: deque[Future[int]] = deque()
        self.next = 0
        self._open_ahead()
        self.full_at = time.monotonic()

    def _open_ahead(self) -> None:
        """Have the next segments made by another thread: a file system may take its time for it."""
        while len(self.opened) < AHEAD:
            path = segment_path(self.spool, self.cpu, self.next)
            self.opened.append(
                self.opener.submit(os.open, path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            )
            self.next += 1

    def _output(self) -> int:
        """The segment to write to, a new one when the last is full."""
        if self.room == 0:
            if self.file >= 0:
                os.close(self.file)
            self.file = self.opened.popleft().result()
            self.room = SEGMENT_BYTES
            self._open_ahead()
        return self.file

    def _written(self, size: int) -> None:
        self.room -= size
        self.total += size
        self.words.set_spooled(self.at, self.total)

    def _lose(self, error: OSError) -> None:
        """Go on without this CPU: its raw file cannot be read any more. Nothing more of it will come."""
        self.gone = True
        why = f"its trace buffer could not be read: {error.strerror or error}"
        since = self.words.until(self.at) or time.monotonic_ns()
        note_gone(self.spool, GoneCpu(self.cpu, since, why))

    def close(self) -> None:
        """Close the raw file."""
        if self.raw >= 0:
            os.close(self.raw)

    def _splice(self) -> int:
        """Move full sub-buffers from the kernel into the pipe; bytes."""
        try:
            return os.splice(self.raw, self.pipe_in, min(PIPE_BYTES, self.room), flags=_SPLICE)
        except BlockingIOError:
            return 0
        except OSError as error:
            self._lose(error)
            return 0

    def _page(self) -> bytes:
        """The sub-buffer that is not full, b'' where nothing is in it, or the CPU has never been up."""
        try:
            return os.read(self.raw, self.page_bytes)
        except BlockingIOError:
            return b""
        except OSError as error:
            if error.errno != errno.ENODEV:  # it has no buffer before it first comes up
                self._lose(error)
            return b""

    def drain(self) -> int:
        """Move the full sub-buffers, at most about VISIT_BYTES; the number of bytes moved."""
        moved = 0
        while moved < VISIT_BYTES and not self.gone:
            output = self._output()
            size = self._splice()
            if size == 0:
                break
            left = size
            while left:
                done = os.splice(self.pipe_out, output, left)
                if done == 0:
                    raise OSError(errno.EIO, "the spool takes nothing")
                left -= done
            self._written(size)
            moved += size
        if moved:
            self.full_at = time.monotonic()
        return moved

    def flush(self) -> None:
        """Move everything, a sub-buffer that is not full included, and note the time up to which nothing is missing."""
        before = time.monotonic_ns() - IN_FLIGHT_NS
        while self.drain() >= VISIT_BYTES:
            pass
        while not self.gone and (page := self._page()):
            page = page.ljust(self.page_bytes, b"\0")
            output, at = self._output(), 0
            while at < len(page):
                at += os.write(output, page[at:])
            self._written(len(page))
        self.words.set_until(self.at, before)
        self.full_at = time.monotonic()


_SPLICE = getattr(os, "SPLICE_F_NONBLOCK", 2) | getattr(os, "SPLICE_F_MOVE", 1)


def _stop_tracing(instance: Path) -> None:
    with contextlib.suppress(OSError):
        (instance / "tracing_on").write_text("0")


def _control(timeout: float) -> str:
    """What the recorder says: '' nothing, 'stop', or 'dead'."""
    ready, _, _ = select.select([0], [], [], timeout)
    if not ready:
        return ""
    return "stop" if os.read(0, 1) else "dead"


def serve(
    words: Words, instance: Path, spool: Path, cpus: list[int], page_bytes: int, poll: float, flush: float
) -> None:
    """Read until told to stop or left alone; what went wrong is in the words.

    Parameters
    ----------
    words : Words
        What is shared with the recorder.
    instance, spool : Path
        The tracing instance and the spool's directory.
    cpus : list of int
        The CPUs with a buffer.
    page_bytes : int
        Bytes of a sub-buffer.
    poll, flush : float
        Seconds between two looks at the buffers, and after which a sub-buffer that is not full is read too.

    """
    readers: list[CpuReader] = []
    opener = ThreadPoolExecutor(1)
    try:
        readers += [
            CpuReader(instance, spool, cpu, at, words, page_bytes, opener) for at, cpu in enumerate(cpus)
        ]
        if all(reader.gone for reader in readers):
            raise OSError(errno.ENOENT, "no trace buffer can be read")
        words[W_DONE] = READY
        said = ""
        while not said:
            now = time.monotonic()
            busy = 0
            for reader in readers:
                busy += reader.drain()
                if now - reader.full_at > flush:
                    reader.flush()
            said = _control(0 if busy > PIPE_BYTES else poll)
        _stop_tracing(instance)
        for reader in readers:
            reader.flush()
            words.set_until(reader.at, time.monotonic_ns())
    except OSError as error:
        _stop_tracing(instance)
        words[W_ERROR] = error.errno or errno.EIO
    for reader in readers:
        reader.close()
    words[W_DONE] = DONE


def main(args: list[str]) -> int:
    """``INSTANCE SPOOL PAGE_BYTES POLL FLUSH CPU,CPU,...``: run the reader; the recorder starts it so."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, -20)
    instance, spool = Path(args[0]), Path(args[1])
    cpus = [int(n) for n in args[5].split(",")]
    try:
        words = Words(spool, len(cpus))
    except OSError:  # the recorder was interrupted, and has removed it
        return 1
    serve(words, instance, spool, cpus, int(args[2]), float(args[3]), float(args[4]))
    while _control(3600) != "dead":
        pass
    remove_instance(instance)  # gone already, unless the recorder was killed
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
