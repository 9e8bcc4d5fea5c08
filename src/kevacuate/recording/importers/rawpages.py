# SPDX-License-Identifier: GPL-2.0-or-later
"""Raw per-CPU sub-buffers: what ``trace_pipe_raw`` gives, one file per CPU, or the directory of such files.

Files are recognised by name (``cpu0.raw``, ``cpu0.raw.xz``, ``cpu0``, and trace-cmd's temporary ``trace.dat.cpu0``).
They do not say what their events mean: the format files of the recorded kernel must be there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import IO, Any, cast

from kevacuate.errors import KevacuateError
from kevacuate.recording.fieldtable import decoding
from kevacuate.recording.foreign_subbuffers import ForeignPages, SubBuffers, fits, repairs, sub_buffers
from kevacuate.recording.formats import EventFormat, load_formats, read_text
from kevacuate.recording.importers.source import (
    BLOCK_BYTES,
    CLOCKS_NOT_NS,
    MAX_CPUS,
    ROWS_HELD,
    ImportOptions,
    machine_of,
    not_read,
    refuse_unread,
)
from kevacuate.recording.importers.tracedat_parts import trace_clock
from kevacuate.recording.machine import Machine
from kevacuate.recording.merge import merge_chunks
from kevacuate.recording.ringbuf import PAGE_BYTES, CpuLosses, RawReader, cpu_losses, open_raw, read_into
from kevacuate.recording.schema import ALL_KINDS, EventChunk

_MACHINES = (
    SubBuffers(PAGE_BYTES),
    SubBuffers(PAGE_BYTES, 12),
    SubBuffers(PAGE_BYTES, 16, "big"),
    SubBuffers(PAGE_BYTES, 12, "big"),
)
"""The kinds of machines, in the order in which they are tried."""

_NAME = re.compile(r"(?:^|\.)cpu(\d{1,4})(?:\.raw)?(?:\.xz)?$")


def is_raw_name(path: Path) -> bool:
    """Whether a file is named like raw per-CPU data."""
    return _NAME.search(path.name) is not None


def is_raw_directory(path: Path) -> bool:
    """Whether the directory holds files named like raw per-CPU data."""
    return any(is_raw_name(p) and p.is_file() for p in path.iterdir())


def is_raw_page(head: bytes, path: Path) -> bool:
    """Whether a file that begins so may be sub-buffers: a believable time stamp, and a length that fits.

    Those of a 32-bit or big-endian machine are believed of a file that is named like one.
    """
    kinds = _MACHINES if is_raw_name(path) else _MACHINES[:1]
    first = head[:PAGE_BYTES]
    return any(
        len(first) > how.head and any(first[8 : how.head]) and fits(first, how._replace(size=1 << 20))
        for how in kinds
    )


def _sub_buffers(header_page: str, formats: dict[int, EventFormat], files: Iterable[Path]) -> SubBuffers:
    """How the files' sub-buffers lie: as header_page says, or else the size of a long; in the byte order that fits them."""
    longs = {f.size for e in formats.values() for f in e.fields if f.declaration.startswith("unsigned long ")}
    told = SubBuffers(PAGE_BYTES, 12 if longs == {4} else 16)
    if header_page:
        told = sub_buffers(header_page, "header_page")
    kinds = (told, told._replace(order="big"))
    for file in files:
        data = memoryview(bytearray(4 * told.size))
        with closing(open_raw(file)) as raw:
            head = bytes(data[: read_into(raw, file, data)])
        if any(head[:16]):
            return next((how for how in kinds if fits(head, how)), told)
    return told


class RawPages:
    """One raw file, or a directory of them.

    Parameters
    ----------
    path : Path
        The file or directory.
    options : ImportOptions
        Where the format files are, unless the directory holds ``formats/``.

    Raises
    ------
    KevacuateError
        If there are no format files, or a CPU has two files.

    """

    def __init__(self, path: Path, options: ImportOptions) -> None:
        self.path, self.form = path, "raw ring-buffer pages"
        self.directory, self.kernel = path if path.is_dir() else path.parent, options.kernel or ""
        self.files = _files(path)
        formats = options.formats
        if formats is None and (self.directory / "formats").is_dir():
            formats = self.directory / "formats"
        if formats is None:
            raise KevacuateError(
                f"{path} holds raw ring-buffer pages, which mean nothing without the recorded kernel's format files. "
                "Name their directory with --formats DIR (a copy of /sys/kernel/tracing/events will do)."
            )
        self.formats = load_formats(formats)
        self.clock = trace_clock(self._text("trace_clock").encode()) or "local"
        if self.clock in CLOCKS_NOT_NS:
            raise KevacuateError(
                f"{path} was recorded with the trace clock {self.clock!r}, which does not count nanoseconds: "
                "record with another."
            )
        header = self._text("header_page") or _below(formats, "header_page")
        self.how = _sub_buffers(header, self.formats, self.files.values())
        self.total = sum(file.stat().st_size for file in self.files.values())
        self._decoding = decoding(self.formats, ALL_KINDS, lenient=True, release=self.kernel)
        block = min(1 << 20, BLOCK_BYTES // len(self.files))
        self._readers = [
            RawReader(
                file,
                cpu,
                self._decoding,
                self.how.decoded_size,
                opener=self._opener(file),
                block_bytes=block,
            )
            for cpu, file in self.files.items()
        ]

    def _opener(self, file: Path) -> Callable[[], IO[bytes]]:
        def opened() -> IO[bytes]:
            raw = open_raw(file)
            if self.how.native:
                return raw
            return cast("IO[bytes]", ForeignPages(raw, file, self.how, repairs(self.formats)))

        return opened

    @property
    def done(self) -> int:
        """Bytes read so far (of compressed files more than there are)."""
        return min(self.total, sum(reader.bytes_read for reader in self._readers))

    def _text(self, name: str) -> str:
        """A text file beside the raw files; "" if there is none."""
        return _below(self.directory, name)

    def events(self) -> Iterator[EventChunk]:
        """The events of all CPUs, merged by time."""
        rows = max(1 << 9, min(1 << 17, ROWS_HELD // len(self._readers)))
        found = False
        for chunk in merge_chunks([reader.chunks(rows) for reader in self._readers]):
            found = True
            yield chunk
        if not found:
            refuse_unread(self.path, self._readers, self._decoding)

    def machine(self) -> Machine:
        """The machine, as its format files describe it."""
        return machine_of(self.formats, kernel=self.kernel, cpus=max(self.files) + 1, clock=self.clock)

    def losses(self) -> list[CpuLosses]:
        """What each CPU lost, with the kernel's counts where ``cpuN.stats`` lies beside the file."""
        return [cpu_losses(reader, self._text(f"cpu{reader.cpu}.stats")) for reader in self._readers]

    def tasks(self) -> dict[str, str]:
        """Nothing: raw pages have process ids alone."""
        return {}

    def facts(self) -> dict[str, Any]:
        """The files, and what could not be read."""
        unread = not_read(self._readers, self.formats)
        return {"files": [file.name for file in self.files.values()], **unread}


def _below(directory: Path, name: str) -> str:
    file = directory / name
    return read_text(file) if file.is_file() else ""


def _files(path: Path) -> dict[int, Path]:
    """CPU number to file; a single file that does not say its CPU is CPU 0."""
    found: dict[int, Path] = {}
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        match = _NAME.search(file.name)
        if not file.is_file() or (match is None and path.is_dir()):
            continue
        cpu = int(match[1]) if match else 0
        if cpu >= MAX_CPUS:
            raise KevacuateError(f"{file} names CPU {cpu}, more than a kernel can have.")
        if cpu in found:
            raise KevacuateError(
                f"{found[cpu].name} and {file.name} in {path} are of the same CPU: remove one."
            )
        found[cpu] = file
    return dict(sorted(found.items()))
