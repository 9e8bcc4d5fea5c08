# SPDX-License-Identifier: GPL-2.0-or-later
"""What a recorder is asked to do, and how much memory and disk it takes for it."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass
from pathlib import Path

from kevacuate.capture.machine import PROC, text_of
from kevacuate.errors import KevacuateError

ELSEWHERE = "choose another place with -o"
"""How the user of ``kevacuate record`` chooses another place for the recording."""

MIB = 1 << 20
FREE_DISK = 48 * MIB
"""Recording stops when the disk has less than this free: finishing needs some of it."""

LEAST_DISK = 64 * MIB
"""What must be free to begin."""

_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,15})?)\s*([kmgt]?)(?:i?b)?", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True)
class RecordOptions:
    """How to record.

    Attributes
    ----------
    target : Path
        The ``.kev`` directory to make.
    duration : float
        Seconds, 0 for no limit.
    command : tuple of str
        What to run; recording ends with it.
    light : bool
        Rare events and snapshots only.
    groups : tuple of str
        Optional groups of events, of :data:`kevacuate.capture.events.GROUPS`.
    keep_pids : bool
        Store process ids and names.
    buffer_kb : int
        KiB of trace buffer per CPU, 0 to choose.
    max_bytes : int
        Recording stops when its directory has this size.
    snapshot_seconds : float
        Time between two snapshots.
    pages : bool
        Take flags and counts of every page with the snapshots: without them there is no replay.
    elsewhere : str
        How the user chooses another place for *target*, in errors.

    Raises
    ------
    KevacuateError
        A number is not finite, or out of its range.

    """

    target: Path
    duration: float = 0.0
    command: tuple[str, ...] = ()
    light: bool = False
    groups: tuple[str, ...] = ()
    keep_pids: bool = False
    buffer_kb: int = 0
    max_bytes: int = 8 << 30
    snapshot_seconds: float = 60.0
    pages: bool = True
    elsewhere: str = ELSEWHERE

    def __post_init__(self) -> None:
        least = {"duration": 0.0, "buffer_kb": 0, "max_bytes": 1, "snapshot_seconds": 0.0}
        for name, lowest in least.items():
            value = getattr(self, name)
            if not math.isfinite(value) or value < lowest:
                raise KevacuateError(f"{name} cannot be {value}: it is a finite number, at least {lowest}.")

    @property
    def poll_seconds(self) -> float:
        """Time between two looks at the buffers."""
        return 0.25 if self.light else 0.02

    @property
    def flush_seconds(self) -> float:
        """Time after which a sub-buffer that is not full is read too."""
        return 5.0 if self.light else 0.5


def parse_size(text: str) -> int:
    """Bytes of a size such as ``512M`` or ``2 GiB`` (powers of 1024).

    Raises
    ------
    KevacuateError
        It is none.

    """
    match = _SIZE.fullmatch(text.strip())
    if not match:
        raise KevacuateError(f"{text!r} is not a size: write for example 512M or 2G.")
    return int(float(match[1]) * 1024 ** " kmgt".index(match[2].lower() or " "))


def available_bytes() -> int:
    """MemAvailable of /proc/meminfo."""
    match = re.search(r"^MemAvailable:\s*(\d+) kB", text_of(PROC / "meminfo"), re.MULTILINE)
    return int(match[1]) * 1024 if match else 0


def choose_buffer(cpus: int, *, light: bool) -> int:
    """KiB of trace buffer per CPU: at most 128 MiB (1 MiB for rare events), and 2 % of the available memory in all."""
    most = 1024 if light else 128 * 1024
    share = available_bytes() // 50 // max(cpus, 1) // 1024
    return max(256, min(most, share))


def free_disk(path: Path) -> int:
    """Bytes that may still be written to the file system of *path*."""
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize


def check_disk(path: Path, pages: int, elsewhere: str = ELSEWHERE) -> None:
    """Refuse to begin where there is too little room; *elsewhere* as of :class:`RecordOptions`.

    Raises
    ------
    KevacuateError
        Saying how much is needed.

    """
    needed = LEAST_DISK + pages
    free = free_disk(path)
    if free < needed:
        raise KevacuateError(
            f"{path} has {free // MIB} MiB free, but recording needs at least {-(-needed // MIB)} MiB to begin: "
            f"make room or {elsewhere}."
        )
