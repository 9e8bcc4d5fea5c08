# SPDX-License-Identifier: GPL-2.0-or-later
"""The spool: raw sub-buffers on their way from the kernel to the decoder, and the words that reader and decoder share.

Each CPU's bytes go to ``cpuN.SSSSSS.raw``, segment after segment; a segment that is decoded and safe is removed, so the
spool stays small. ``words`` is a file of 64-bit words that the reader writes and the decoder reads, mapped by both.
``gone`` has a line for each CPU whose events could not be read to the end.
"""

from __future__ import annotations

import mmap
import os
import struct
from pathlib import Path
from typing import NamedTuple

WORDS_FILE = "words"
GONE_FILE = "gone"
SEGMENT_BYTES = 8 << 20
"""Bytes of a segment, a multiple of every sub-buffer size."""

W_ERROR = 0
"""errno of what stopped the reader, 0 if nothing did."""
W_DONE = 1
"""What the reader has reached: READY, DONE (it will read no more); 0 before."""
READY, DONE = 1, 2
HEAD_WORDS = 8
CPU_WORDS = 2
"""Per CPU: bytes spooled, and a time (ns) up to which every event is in them, 0 if not known."""


def segment_path(spool: Path, cpu: int, segment: int) -> Path:
    """One segment's file."""
    return spool / f"cpu{cpu}.{segment:06d}.raw"


class Words:
    """The shared words; one writer, one reader, every access a single aligned 64-bit one.

    Parameters
    ----------
    spool : Path
        The directory.
    cpus : int
        Number of CPUs with a buffer.
    create : bool
        Make the file.

    """

    def __init__(self, spool: Path, cpus: int, *, create: bool = False) -> None:
        size = 8 * (HEAD_WORDS + CPU_WORDS * cpus)
        with (spool / WORDS_FILE).open("w+b" if create else "r+b") as file:
            if create:
                file.write(bytes(size))
                file.flush()
                os.posix_fallocate(file.fileno(), 0, size)
            self._map = mmap.mmap(file.fileno(), size)

    def __getitem__(self, index: int) -> int:
        return int(struct.unpack_from("<q", self._map, 8 * index)[0])

    def __setitem__(self, index: int, value: int) -> None:
        struct.pack_into("<q", self._map, 8 * index, value)

    def spooled(self, at: int) -> int:
        """Bytes spooled of the CPU at position *at*."""
        return self[HEAD_WORDS + CPU_WORDS * at]

    def until(self, at: int) -> int:
        """Time up to which all events of the CPU at position *at* are spooled."""
        return self[HEAD_WORDS + CPU_WORDS * at + 1]

    def set_spooled(self, at: int, size: int) -> None:
        """Set the bytes spooled: before the time, which is a promise about them."""
        self[HEAD_WORDS + CPU_WORDS * at] = size

    def set_until(self, at: int, ts: int) -> None:
        """Set the time up to which all events are spooled."""
        self[HEAD_WORDS + CPU_WORDS * at + 1] = ts


class GoneCpu(NamedTuple):
    """A CPU whose events are missing from a time (ns) on: its raw file went away, or it had none when it came up."""

    cpu: int
    ts: int
    why: str
    """In words."""


def note_gone(spool: Path, gone: GoneCpu) -> None:
    """Add a line to the spool's list; one write, so that two processes may do it."""
    with (spool / GONE_FILE).open("a", encoding="utf-8") as file:
        file.write(f"{gone.cpu} {gone.ts} {gone.why}\n")


def gone_cpus(spool: Path) -> list[GoneCpu]:
    """What was noted, each CPU once, in order of time; a line that is cut off is left out."""
    file = spool / GONE_FILE
    if not file.is_file():
        return []
    found: dict[int, GoneCpu] = {}
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True):
        cpu, _, rest = line.partition(" ")
        ts, _, why = rest.partition(" ")
        if line.endswith("\n") and cpu.isdigit() and ts.isdigit():
            found.setdefault(int(cpu), GoneCpu(int(cpu), int(ts), why.rstrip("\n")))
    return sorted(found.values(), key=lambda gone: gone.ts)
