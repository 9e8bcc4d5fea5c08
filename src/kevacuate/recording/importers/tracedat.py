# SPDX-License-Identifier: GPL-2.0-or-later
"""The events of trace-cmd's ``trace.dat``: its CPUs' sub-buffers, decoded as any others."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from kevacuate.errors import KevacuateError
from kevacuate.recording.fieldtable import field_table
from kevacuate.recording.importers.container import MAX_CHUNK, ChunkedRegion, PlainRegion
from kevacuate.recording.importers.source import (
    BLOCK_BYTES,
    CLOCKS_NOT_NS,
    ROWS_HELD,
    ImportOptions,
    machine_of,
)
from kevacuate.recording.importers.tracedat_layout import read_layout
from kevacuate.recording.importers.tracedat_parts import (
    MAGIC,
    OPTION_DATE,
    OPTION_OFFSET,
    OPTION_TIME_SHIFT,
    OPTION_TSC2NSEC,
    OPTION_UNAME,
    OPTION_VERSION,
    Buffer,
    CpuData,
    Layout,
)
from kevacuate.recording.machine import Machine
from kevacuate.recording.merge import merge_chunks
from kevacuate.recording.ringbuf import CpuLosses, RawReader, cpu_losses
from kevacuate.recording.schema import ALL_KINDS, EventChunk

MAX_PIECES_HELD = 1 << 28
"""Bytes of decompressed pieces that all CPUs may hold together."""


def is_trace_dat(head: bytes) -> bool:
    """Whether a file that begins so is a trace.dat."""
    return head.startswith(MAGIC)


class TraceDat:
    """A trace.dat file.

    Parameters
    ----------
    path : Path
        The file.
    options : ImportOptions
        Which buffer to take.

    Raises
    ------
    KevacuateError
        If it is corrupted, holds no data, or several buffers of which none is chosen.

    """

    def __init__(self, path: Path, options: ImportOptions) -> None:
        self.path, self.layout = path, read_layout(path)
        self.form = f"trace.dat version {self.layout.version}"
        if self.layout.codec != "none":
            self.form += f", {self.layout.codec}"
        self.buffer = _chosen(self.layout, options.buffer)
        self.page_bytes = max(self.layout.page_bytes, self.buffer.page_bytes)
        self.total, self.done = sum(c.size for c in self.buffer.cpus), 0
        self.to_ns = _to_ns(self.layout, self.buffer)
        self._readers: list[RawReader] = []
        if self.buffer.compressed and self.layout.codec == "none":
            raise KevacuateError(
                f"{self.path} is corrupted: its data are compressed, but it names no compression."
            )

    def _seen(self, size: int) -> None:
        self.done += size

    def _opener(self, file: IO[bytes], data: CpuData, most: int) -> Callable[[], IO[bytes]]:
        """What opens one CPU's data; *most* is the size of a decompressed piece."""

        def opened() -> IO[bytes]:
            region: Any
            if self.buffer.compressed:
                codec = self.layout.codec
                region = ChunkedRegion(file, self.path, data.offset, data.size, codec, most, self._seen)
            else:
                region = PlainRegion(file, self.path, data.offset, data.size, self._seen)
            return cast("IO[bytes]", region)

        return opened

    def _make_readers(self, file: IO[bytes]) -> list[RawReader]:
        """One reader per CPU that has data; together they hold a bounded amount."""
        used = sorted((c for c in self.buffer.cpus if c.size), key=lambda c: c.cpu)
        most = min(MAX_CHUNK, max(MAX_PIECES_HELD // len(used), 10 * self.page_bytes))
        table = field_table(self.layout.formats, ALL_KINDS)
        return [
            RawReader(
                self.path,
                c.cpu,
                self.layout.formats,
                ALL_KINDS,
                self.page_bytes,
                opener=self._opener(file, c, most),
                block_bytes=min(1 << 20, BLOCK_BYTES // len(used)),
                table=table,
            )
            for c in used
        ]

    def events(self) -> Iterator[EventChunk]:
        """The events of all CPUs, merged by time."""
        self.done = 0
        try:
            with self.path.open("rb") as file:
                self._readers = self._make_readers(file)
                rows = max(1 << 9, min(1 << 17, ROWS_HELD // len(self._readers)))
                for chunk in merge_chunks([reader.chunks(rows) for reader in self._readers]):
                    yield chunk if self.to_ns is None else chunk._replace(ts=self.to_ns(chunk.ts))
        except OSError as error:
            raise KevacuateError(f"{self.path} cannot be read: {error.strerror or error}.") from None

    def machine(self) -> Machine:
        """The machine, as the file's options and format files describe it."""
        uname = self.layout.options.get(OPTION_UNAME, b"").rstrip(b"\0").decode("utf-8", "replace").split()
        kernel, arch = (uname[2], uname[-1]) if len(uname) >= 4 else ("", "")
        return machine_of(
            self.layout.formats,
            kernel=kernel,
            arch=arch,
            cpus=len(self.buffer.cpus),
            clock=self.buffer.clock or "local",
        )

    def losses(self) -> list[CpuLosses]:
        """What each CPU lost."""
        return [cpu_losses(reader, self.buffer.stats.get(reader.cpu, "")) for reader in self._readers]

    def facts(self) -> dict[str, Any]:
        """The buffer taken, trace-cmd's version, and offsets of time that are not applied."""
        text = {
            "trace_cmd": OPTION_VERSION,
            "date_offset_us": OPTION_DATE,
            "time_offset": OPTION_OFFSET,
        }
        said = {
            key: self.layout.options[number].rstrip(b"\0").decode("utf-8", "replace")[:200]
            for key, number in text.items()
            if number in self.layout.options
        }
        shifted = OPTION_TIME_SHIFT in self.layout.options
        return {"buffer": self.buffer.name, "guest_time_shift": shifted, **said}


def _chosen(layout: Layout, name: str | None) -> Buffer:
    """The buffer to take."""
    full = [b for b in layout.buffers if any(c.size for c in b.cpus)]
    listed = ", ".join(repr(b.name) for b in full)
    if layout.text_only and not full:
        raise KevacuateError(
            f"{layout.path} holds a latency tracer's text and no events: import that tracer's text itself."
        )
    if name is not None:
        found = [b for b in full if b.name == name]
        if len(found) != 1:
            raise KevacuateError(
                f"{layout.path} has no buffer {name!r} with data: it has {listed or 'none'}."
            )
        return found[0]
    if not full:
        raise KevacuateError(f"{layout.path} holds no trace data: nothing was recorded.")
    if len(full) > 1:
        raise KevacuateError(f"{layout.path} holds several buffers ({listed}): say which with --buffer NAME.")
    return full[0]


def _to_ns(layout: Layout, buffer: Buffer) -> Callable[[Any], Any] | None:
    """What makes nanoseconds of the clock's time; None if it is nanoseconds.

    trace-cmd stores the kernel's multiplier and shift for the time stamp counter (perf_event_mmap_page).
    """
    data = layout.options.get(OPTION_TSC2NSEC)
    if buffer.clock not in CLOCKS_NOT_NS:
        return None
    if buffer.clock != "x86-tsc" or data is None or len(data) < 16:
        raise KevacuateError(
            f"{layout.path} was recorded with the trace clock {buffer.clock!r}, which does not count nanoseconds: "
            "record with -C mono."
        )
    mult, shift, offset = struct.unpack("<IIQ", data[:16])
    if not 0 < shift <= 32 or not mult:
        raise KevacuateError(f"{layout.path} has a conversion of the TSC to nanoseconds that cannot be.")

    def convert(ts: Any) -> Any:
        high, low = ts >> 32, ts & 0xFFFFFFFF
        part = (low.astype(np.uint64) * np.uint64(mult)) >> np.uint64(shift)
        return ((high * mult) << (32 - shift)) + part.astype(np.int64) + np.int64(offset & (2**63 - 1))

    return convert
