# SPDX-License-Identifier: GPL-2.0-or-later
"""The events of trace-cmd's ``trace.dat``: its CPUs' sub-buffers, decoded as any others by :mod:`kevacuate.recording.ringbuf`."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from kevacuate.errors import KevacuateError, failing
from kevacuate.kernel.versions import parse_version
from kevacuate.recording.fieldtable import Decoding, decoding
from kevacuate.recording.foreign_subbuffers import ForeignPages, SubBuffers, fits, repairs
from kevacuate.recording.importers import tracedat_parts as parts
from kevacuate.recording.importers.container import MAX_CHUNK, ChunkedRegion, PlainRegion, open_plain
from kevacuate.recording.importers.source import (
    BLOCK_BYTES,
    CLOCKS_NOT_NS,
    PAGE_SIZES,
    ROWS_HELD,
    ImportOptions,
    machine_of,
    not_read,
    refuse_unread,
)
from kevacuate.recording.importers.tracedat_layout import read_layout
from kevacuate.recording.importers.tracedat_parts import Buffer, CpuData, Layout
from kevacuate.recording.machine import Machine
from kevacuate.recording.merge import merge_chunks
from kevacuate.recording.ringbuf import CpuLosses, RawReader, cpu_losses, read_into
from kevacuate.recording.schema import ALL_KINDS, EventChunk

MAX_PIECES_HELD = 1 << 28
"""Bytes of decompressed pieces that all CPUs may hold together."""


LOOKED_AT, MOST_LOOKED_AT = 4, 16
"""Sub-buffers of a CPU, and CPUs, that are looked at where the size of a sub-buffer is in doubt."""

LATEST_SINCE_BOOT = 10**18
"""Nanoseconds: no clock that begins at boot says more."""


def is_trace_dat(head: bytes) -> bool:
    """Whether a file that begins so is a trace.dat."""
    return head.startswith(parts.MAGIC)


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
        If it is corrupted, holds no data, names another kernel than the user, or several buffers of which none is
        chosen; while events are read, if none of them can be.

    """

    def __init__(self, path: Path, options: ImportOptions) -> None:
        self.path, self._file = path, open_plain(path)
        self.layout = read_layout(self._file, path)
        self.form = f"trace.dat version {self.layout.version}"
        if self.layout.codec != "none":
            self.form += f", {self.layout.codec}"
        self.buffer = _chosen(self.layout, options.buffer)
        self.total, self.done = sum(c.size for c in self.buffer.cpus), 0
        self.to_ns = _to_ns(self.layout, self.buffer)
        self._readers: list[RawReader] = []
        self._decoding: Decoding | None = None
        self._last = 0
        self.kernel, self.arch = _uname(self.layout, options.kernel)
        if self.buffer.compressed and self.layout.codec == "none":
            raise KevacuateError(
                f"{self.path} is corrupted: its data are compressed, but it names no compression."
            )

    def _seen(self, size: int) -> None:
        self.done += size

    def _opened(self, data: CpuData, most: int, seen: Callable[[int], None]) -> IO[bytes]:
        """One CPU's data as they lie in the file; *most* is the size of a decompressed piece."""
        region: Any
        if self.buffer.compressed:
            codec, order = self.layout.codec, self.layout.order
            region = ChunkedRegion(self._file, self.path, data.offset, data.size, codec, most, seen, order)
        else:
            region = PlainRegion(self._file, self.path, data.offset, data.size, seen)
        return cast("IO[bytes]", region)

    def _sub_buffers(self, used: list[CpuData]) -> SubBuffers:
        """How the buffer's sub-buffers lie: where the file names several sizes, the largest that the data bear out."""
        how = self.layout.sub_buffers
        named = self.buffer.page_bytes or how.size
        sizes = {
            named,
            how.size,
            *([self.layout.machine_page] if self.layout.machine_page in PAGE_SIZES else []),
        }
        if len(sizes) == 1:
            return how
        most, heads = LOOKED_AT * max(sizes), list[bytes]()
        for data in used[:MOST_LOOKED_AT]:
            head = memoryview(bytearray(most))
            with closing(self._opened(data, MAX_CHUNK, lambda size: None)) as region:
                heads.append(bytes(head[: read_into(region, self.path, head)]))
        doubled = [min(sizes) << step for step in range(9)]
        found = [
            size
            for size in doubled
            if size <= max(sizes) and all(fits(head, how._replace(size=size)) for head in heads)
        ]
        return how._replace(size=max(found, default=named))

    def _make_readers(self) -> list[RawReader]:
        """One reader per CPU that has data; together they hold a bounded amount."""
        used = sorted((c for c in self.buffer.cpus if c.size), key=lambda c: c.cpu)
        how, formats = self._sub_buffers(used), self.layout.formats
        most = min(MAX_CHUNK, max(MAX_PIECES_HELD // len(used), 10 * how.size))
        self._decoding = decoding(formats, ALL_KINDS, lenient=True, arch=self.arch, release=self.kernel)
        repaired = repairs(formats)

        def opener(data: CpuData) -> Callable[[], IO[bytes]]:
            def opened() -> IO[bytes]:
                region = self._opened(data, most, self._seen)
                return (
                    region
                    if how.native
                    else cast("IO[bytes]", ForeignPages(region, self.path, how, repaired))
                )

            return opened

        return [
            RawReader(
                self.path,
                c.cpu,
                self._decoding,
                how.decoded_size,
                opener=opener(c),
                block_bytes=min(1 << 20, BLOCK_BYTES // len(used)),
            )
            for c in used
        ]

    def events(self) -> Iterator[EventChunk]:
        """The events of all CPUs, merged by time."""
        self.done = 0
        with failing(f"{self.path} cannot be read"):
            self._readers = self._make_readers()
            rows = max(1 << 9, min(1 << 17, ROWS_HELD // len(self._readers)))
            for chunk in merge_chunks([reader.chunks(rows) for reader in self._readers]):
                ready = chunk if self.to_ns is None else chunk._replace(ts=self.to_ns(chunk.ts))
                self._last = int(ready.ts[-1])
                yield ready
        if not self._last and self._decoding is not None:
            refuse_unread(self.path, self._readers, self._decoding)

    def machine(self) -> Machine:
        """The machine, as the file's options and format files describe it."""
        clock = "" if self._clock_unknown() else self.buffer.clock or "local"
        return machine_of(
            self.layout.formats,
            kernel=self.kernel,
            arch=self.arch,
            cpus=len(self.buffer.cpus),
            clock=clock,
            page_size=self.layout.machine_page if self.layout.machine_page in PAGE_SIZES else 0,
            lacks=[] if clock else ["clock"],
        )

    def _clock_unknown(self) -> bool:
        """Whether the clock that the file names may be another's.

        trace-cmd (3.1.6, 3.4) writes the top buffer's clock for every instance in version 7, and has no place for it
        in version 6. Times above 10^18 ns (31 years) are none since boot, whatever the file says.
        """
        return bool(self.buffer.name) or (self._last > LATEST_SINCE_BOOT and self.buffer.clock != "tai")

    def losses(self) -> list[CpuLosses]:
        """What each CPU lost."""
        return [cpu_losses(reader, self.buffer.stats.get(reader.cpu, "")) for reader in self._readers]

    def tasks(self) -> dict[str, str]:
        """Process id to name, as trace-cmd stored them."""
        return self.layout.tasks.to_json()

    def facts(self) -> dict[str, Any]:
        """The buffer taken, trace-cmd's version, and offsets of time that are not applied."""
        text = {
            "trace_cmd": parts.OPTION_VERSION,
            "date_offset_us": parts.OPTION_DATE,
            "time_offset": parts.OPTION_OFFSET,
        }
        said = {
            key: self.layout.options[number].rstrip(b"\0").decode("utf-8", "replace")[:200]
            for key, number in text.items()
            if number in self.layout.options
        }
        shifted = parts.OPTION_TIME_SHIFT in self.layout.options
        unread = not_read(self._readers, self.layout.formats)
        return {"buffer": self.buffer.name, "guest_time_shift": shifted, **said, **unread}


def _uname(layout: Layout, said: str | None) -> tuple[str, str]:
    """Release and architecture of the recorded kernel; where the file does not name the release, what the user said."""
    words = layout.options.get(parts.OPTION_UNAME, b"").rstrip(b"\0").decode("utf-8", "replace").split()
    release, arch = (words[2], words[-1]) if len(words) >= 4 else ("", "")
    if release and said and parse_version(said) != parse_version(release):
        raise KevacuateError(f"{layout.path} says that it is of Linux {release}: leave --kernel out.")
    return release or said or "", arch


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
    data = layout.options.get(parts.OPTION_TSC2NSEC)
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
