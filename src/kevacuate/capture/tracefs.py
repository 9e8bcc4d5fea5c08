# SPDX-License-Identifier: GPL-2.0-or-later
"""tracefs: where it is mounted, and a tracing instance of our own."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import time
from collections.abc import Iterable
from pathlib import Path

from kevacuate.ending import owe, settle
from kevacuate.errors import KevacuateError, failing
from kevacuate.recording.atomic_write import is_alive
from kevacuate.recording.formats import EventFormat, parse_format, read_text

MOUNT_POINT = Path("/sys/kernel/tracing")
MOUNTS = Path("/proc/self/mounts")
PREFIX = "kevacuate-"
"""Instances of ours are called this and the recorder's process id."""

CLOCK = "mono"
"""The trace clock: CLOCK_MONOTONIC, so that what is read from /proc can be put into the order of the events."""

_REMOVE_SECONDS = 5.0
_AT_ONCE_SECONDS = 0.2
_DATA = re.compile(r"field: char data;\s*offset:(\d+);\s*size:(\d+);")
_COMMIT = re.compile(r"commit;\s*offset:8;\s*size:8;")


def find_tracefs() -> Path | None:
    """Where tracefs is mounted, or None."""
    try:
        lines = MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    found = [Path(parts[1]) for line in lines if len(parts := line.split()) > 2 and parts[2] == "tracefs"]
    return MOUNT_POINT if MOUNT_POINT in found else next(iter(found), None)


def mount_tracefs() -> Path:
    """Mount tracefs at its usual place.

    Raises
    ------
    KevacuateError
        The kernel has no tracefs, or refuses.

    """
    if not MOUNT_POINT.is_dir():
        raise KevacuateError(
            f"This kernel has no {MOUNT_POINT}: it was built without tracing (CONFIG_FTRACE, CONFIG_EVENT_TRACING), so "
            "nothing can be recorded here. Boot a kernel with tracing, as distributions' kernels are."
        )
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"nodev", str(MOUNT_POINT).encode(), b"tracefs", 0, None) != 0:
        why = os.strerror(ctypes.get_errno())
        raise KevacuateError(
            f"tracefs is not mounted and cannot be mounted at {MOUNT_POINT} ({why}): run as root, outside a container."
        )
    return MOUNT_POINT


def sub_buffer_bytes(header_page: str) -> int:
    """Bytes of a sub-buffer, of ``events/header_page``.

    Raises
    ------
    KevacuateError
        The layout is not one that the decoder knows.

    """
    data = _DATA.search(header_page)
    size = int(data[1]) + int(data[2]) if data else 0
    known = data and _COMMIT.search(header_page) and int(data[1]) == 16 and size % 4096 == 0
    if not known or not 4096 <= size <= 1 << 20:
        raise KevacuateError(
            "This kernel's sub-buffers have a layout that this program does not know (64-bit only)."
        )
    return size


def read_formats(tracefs: Path, events: Iterable[str]) -> dict[int, EventFormat]:
    """The format files of the events (``system/name``), by id."""
    formats = {}
    for event in events:
        file = tracefs / "events" / event / "format"
        parsed = parse_format(read_text(file), event.split("/")[0], str(file))
        formats[parsed.id] = parsed
    return formats


def ftrace_formats(tracefs: Path) -> dict[int, EventFormat]:
    """Formats of the records that ftrace itself may write into any buffer, by id; what a kernel does not show is left out."""
    found = {}
    for file in sorted((tracefs / "events" / "ftrace").glob("*/format")):
        with contextlib.suppress(KevacuateError):
            parsed = parse_format(read_text(file), "ftrace", str(file))
            found[parsed.id] = parsed
    return found


def stale_instances(tracefs: Path) -> list[Path]:
    """Instances of recorders that are no more."""
    found = []
    for directory in sorted((tracefs / "instances").glob(PREFIX + "*")):
        pid = directory.name.removeprefix(PREFIX)
        if pid.isdigit() and not is_alive(int(pid)):
            found.append(directory)
    return found


def remove_instance(directory: Path, seconds: float = _REMOVE_SECONDS) -> bool:
    """Remove an instance; tried again for a while where a reader still holds it. Whether it is gone."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            directory.rmdir()
        except FileNotFoundError:
            return True
        except OSError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.02)
        else:
            return True


class Instance:
    """A tracing instance of our own: buffers, clock and events that nobody else sees.

    Parameters
    ----------
    tracefs : Path
        Where tracefs is mounted.
    name : str
        The instance's name; by default the prefix and this process's id.

    Raises
    ------
    KevacuateError
        It cannot be made.

    """

    def __init__(self, tracefs: Path, name: str = "") -> None:
        self.tracefs = tracefs
        self.path = tracefs / "instances" / (name or f"{PREFIX}{os.getpid()}")
        try:
            self.path.mkdir()
        except FileExistsError:
            remove_instance(self.path, 0)  # a recorder that had this id before us was killed
            self._make_again()
        except OSError as error:
            raise self._refused(error) from None
        owe(self.path, lambda: self._remove(_AT_ONCE_SECONDS))
        self.write("tracing_on", "0")

    def _make_again(self) -> None:
        try:
            self.path.mkdir()
        except OSError as error:
            raise self._refused(error) from None

    def _refused(self, error: OSError) -> KevacuateError:
        return KevacuateError(
            f"The tracing instance {self.path} cannot be made ({error.strerror}): run as root."
        )

    def write(self, name: str, text: str) -> None:
        """Write to one of the instance's files.

        Raises
        ------
        KevacuateError
            The kernel refuses.

        """
        with failing(f"The kernel refuses {text!r} for {self.path / name}"):
            (self.path / name).write_text(text)

    def configure(self, buffer_kb: int) -> None:
        """Clock, overwriting of the oldest (so that losses are marked in the stream), size of each CPU's buffer in KiB."""
        self.write("trace_clock", CLOCK)
        self.write("options/overwrite", "1")
        try:
            self.write("buffer_size_kb", str(buffer_kb))
        except KevacuateError:
            raise KevacuateError(
                f"The kernel has not enough memory for trace buffers of {buffer_kb / 1024:,.0f} MiB per CPU: "
                "free some memory (`kevacuate record` takes a smaller --buffer)."
            ) from None

    def enable(self, events: Iterable[str]) -> None:
        """Enable events, ``system/name`` each."""
        for event in events:
            self.write(f"events/{event}/enable", "1")

    def switch(self, on: bool) -> None:
        """Start or stop tracing in this instance."""
        self.write("tracing_on", "1" if on else "0")

    def cpus(self) -> list[int]:
        """The CPUs that have a buffer."""
        return sorted(int(p.name[3:]) for p in (self.path / "per_cpu").glob("cpu*") if p.name[3:].isdigit())

    def stats(self, cpu: int) -> dict[str, int]:
        """The kernel's counts of one CPU's buffer: ``entries``, ``overrun``, ``commit overrun``, ``dropped events``."""
        try:
            text = (self.path / f"per_cpu/cpu{cpu}/stats").read_text()
        except OSError:
            return {}
        return {k: int(v) for k, v in re.findall(r"^([a-z ]+): (\d{1,18})$", text, re.MULTILINE)}

    def remove(self) -> bool:
        """Stop and remove the instance; whether it is gone."""
        gone = self._remove(_REMOVE_SECONDS)
        if gone:
            settle(self.path)
        return gone

    def _remove(self, seconds: float) -> bool:
        """As :meth:`remove`, for so long; a recorder's reader removes what it still holds itself."""
        with contextlib.suppress(OSError):
            (self.path / "tracing_on").write_text("0")
        return remove_instance(self.path, seconds)
