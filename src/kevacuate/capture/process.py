# SPDX-License-Identifier: GPL-2.0-or-later
"""The recorder's own process and its reader's: memory kept, the reader started and told to stop, names of tasks."""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
import sys
import time
from pathlib import Path

from kevacuate.capture.options import RecordOptions
from kevacuate.capture.spool import DONE, W_DONE, W_ERROR, Words
from kevacuate.errors import KevacuateError

_READER_SECONDS = 60.0
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_MAPPED_BYTES, _KEPT_BYTES = 32 << 20, 256 << 20
"""Of mallopt(3): its options, and the largest values that are of use."""


def keep_memory() -> None:
    """Have the C library keep freed memory instead of giving it back to the kernel with every large array.

    A recorder whose arrays come and go as mappings would record mostly itself: a page fault and a free for every page.
    """
    libc = ctypes.CDLL(None)
    with contextlib.suppress(AttributeError):  # not glibc
        libc.mallopt(_M_MMAP_THRESHOLD, _MAPPED_BYTES)
        libc.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def task_names(tracefs: Path) -> dict[str, str]:
    """Process id to name, of the tasks that the kernel remembers (saved_cmdlines)."""
    names = {}
    try:
        lines = (tracefs / "saved_cmdlines").read_text(errors="replace").splitlines()
    except OSError:
        return {}
    for line in lines:
        pid, _, name = line.partition(" ")
        if pid.isdigit():
            names[pid] = name
    return names


def start_reader(
    instance: Path, spool: Path, words: Words, cpus: list[int], page_bytes: int, options: RecordOptions
) -> subprocess.Popen[bytes]:
    """The reader's process (:mod:`kevacuate.capture.reader`), ready to read.

    Raises
    ------
    KevacuateError
        It does not start, or cannot read the buffers.

    """
    arguments = [str(instance), str(spool), str(page_bytes)]
    arguments += [str(options.poll_seconds), str(options.flush_seconds), ",".join(map(str, cpus))]
    reader = subprocess.Popen(
        [sys.executable, "-m", "kevacuate.capture.reader", *arguments],
        stdin=subprocess.PIPE,
        bufsize=0,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    try:
        deadline = time.monotonic() + _READER_SECONDS
        while words[W_DONE] == 0:
            if reader.poll() is not None or time.monotonic() > deadline:
                raise KevacuateError("The process that reads the trace buffers did not start.")
            time.sleep(0.005)
        if words[W_ERROR]:
            raise KevacuateError(f"The trace buffers cannot be read: {os.strerror(words[W_ERROR])}.")
    except BaseException:
        reader.kill()
        reader.wait()
        raise
    return reader


def drain_reader(reader: subprocess.Popen[bytes], words: Words) -> bool:
    """Have the reader drain the buffers; whether it did, to the last event."""
    assert reader.stdin is not None
    with contextlib.suppress(OSError):
        reader.stdin.write(b"s")
    while words[W_DONE] != DONE and reader.poll() is None:
        time.sleep(0.01)
    return words[W_DONE] == DONE and not words[W_ERROR]
