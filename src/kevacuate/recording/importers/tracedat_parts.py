# SPDX-License-Identifier: GPL-2.0-or-later
"""What both versions of trace-cmd's ``trace.dat`` share: its parts, and the reader of those that are alike.

Written from trace-cmd.dat.v6(5) and trace-cmd.dat.v7(5).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from kevacuate.recording.foreign_subbuffers import ByteOrder, SubBuffers, sub_buffers
from kevacuate.recording.formats import EventFormat, parse_format
from kevacuate.recording.importers.container import Container, Cursor
from kevacuate.recording.importers.tasknames import TaskNames

MAGIC = b"\x17\x08Dtracing"
MAX_META = 1 << 26
_MAX_FORMAT = 1 << 20
MAX_EVENTS = 1 << 16
MAX_BUFFERS, _MAX_PLACES = 1024, 1 << 17

OPTION_DONE, OPTION_DATE, OPTION_CPUSTAT, OPTION_BUFFER, OPTION_CLOCK, OPTION_UNAME = 0, 1, 2, 3, 4, 5
OPTION_OFFSET, OPTION_VERSION, OPTION_TIME_SHIFT, OPTION_TSC2NSEC = 7, 9, 12, 14
OPTION_HEADER, OPTION_FTRACE_EVENTS, OPTION_EVENTS, OPTION_CMDLINES, OPTION_BUFFER_TEXT = 16, 17, 18, 21, 22
_MAX_NAMES = 1 << 21
"""Bytes of process names that are read; what is beyond is passed over."""


@dataclass(frozen=True)
class CpuData:
    """Where one CPU's sub-buffers lie: byte offset and bytes in the file."""

    cpu: int
    offset: int
    size: int


@dataclass
class Buffer:
    """The trace data of the top instance (name "") or of an instance."""

    name: str
    clock: str = ""
    page_bytes: int = 0
    """Bytes of a sub-buffer as version 7 has them for each buffer, 0 if not said."""
    compressed: bool = False
    cpus: list[CpuData] = field(default_factory=list)
    stats: dict[int, str] = field(default_factory=dict)
    """CPU to the kernel's statistics of its buffer."""


@dataclass
class Layout:
    """A trace.dat taken apart."""

    path: Path
    version: int = 6
    codec: str = "none"
    order: ByteOrder = "little"
    """The machine's byte order, of all numbers in the file."""
    machine_page: int = 0
    """Bytes of the machine's page."""
    sub_buffers: SubBuffers = field(default_factory=lambda: SubBuffers(4096))
    """How the top buffer's sub-buffers lie, as header_page says."""
    formats: dict[int, EventFormat] = field(default_factory=dict)
    buffers: list[Buffer] = field(default_factory=list)
    options: dict[int, bytes] = field(default_factory=dict)
    """Option number to data, of options that stand once."""
    tasks: TaskNames = field(default_factory=TaskNames)
    text_only: bool = False
    """Whether it holds a latency tracer's text instead of data."""


class PartsReader:
    """What both versions share: header, event formats, options."""

    def __init__(self, file: Container, layout: Layout) -> None:
        self.file, self.layout = file, layout
        self.stats_of, self.places = "", 0
        self.stats: dict[str, dict[int, str]] = {}

    def over(self, data: bytes) -> Cursor:
        """A cursor over bytes of the file."""
        return Cursor.over(data, self.file.bad, self.layout.order)

    def header_info(self, cursor: Cursor) -> None:
        """The sub-buffers' and events' layout, as tracefs describes them."""
        for name in (b"header_page\0", b"header_event\0"):
            if cursor.take(len(name), "the header") != name:
                raise self.file.bad(f"there is no {name[:-1].decode()} where it should be")
            size = cursor.number(8, "the header")
            if name == b"header_page\0":
                text = self._text(cursor, size)
                where = f"header_page of {self.layout.path}"
                self.layout.sub_buffers = sub_buffers(text, where, self.layout.order)
            else:
                cursor.skip(size, "header_event")

    def _text(self, cursor: Cursor, size: int) -> str:
        if size > _MAX_FORMAT:
            raise self.file.bad(f"a format file claims {size:,} bytes")
        return cursor.take(size, "a format file").decode("utf-8", "replace")

    def _format(self, cursor: Cursor, system: str) -> None:
        size = cursor.number(8, "an event format")
        event = parse_format(
            self._text(cursor, size), system, f"an event format in {self.layout.path} (system {system})"
        )
        if event.id in self.layout.formats:
            raise self.file.bad(f"two events have the number {event.id}")
        if len(self.layout.formats) >= MAX_EVENTS:
            raise self.file.bad("there are more events than numbers for them")
        self.layout.formats[event.id] = event

    def ftrace_events(self, cursor: Cursor) -> None:
        """The format files of ftrace's own events."""
        for _ in range(self._count(cursor, "event formats")):
            self._format(cursor, "ftrace")

    def event_systems(self, cursor: Cursor) -> None:
        """The format files of all other events, by system."""
        for _ in range(self._count(cursor, "event systems")):
            system = cursor.string("the name of an event system")
            for _ in range(self._count(cursor, "event formats")):
                self._format(cursor, system)

    def process_names(self, cursor: Cursor) -> None:
        """The table of process ids and names."""
        size = cursor.number(8, "process names")
        cursor.room(size, "process names")
        text = cursor.take(min(size, _MAX_NAMES), "process names").decode("utf-8", "replace")
        self.layout.tasks.table(text.rstrip("\0"))
        cursor.skip(max(size - _MAX_NAMES, 0), "process names")

    def _count(self, cursor: Cursor, what: str) -> int:
        count = cursor.number(4, f"the number of {what}")
        if count > MAX_EVENTS:
            raise self.file.bad(f"{count:,} {what} are more than a kernel can have")
        return count

    def add_cpu(self, buffer: Buffer, cpu: int, cursor: Cursor) -> None:
        """One CPU's place and bytes."""
        offset, size = cursor.number(8, "a CPU's data"), cursor.number(8, "a CPU's data")
        buffer.cpus.append(CpuData(cpu, offset, size))
        self.places += 1
        if self.places > _MAX_PLACES or len(self.layout.buffers) > MAX_BUFFERS:
            raise self.file.bad("there are more buffers than can be")

    def keep_option(self, number: int, data: bytes) -> None:
        """Note an option that is no place in the file."""
        if number == OPTION_CPUSTAT:
            self._cpu_stats(data.rstrip(b"\0").decode("utf-8", "replace"))
        elif number not in self.layout.options:
            self.layout.options[number] = data

    def _cpu_stats(self, text: str) -> None:
        """``Buffer: NAME`` before an instance's own, or ``CPU: N`` and the statistics of its buffer."""
        first, _, rest = text.strip().partition("\n")
        if first.startswith("Buffer: "):
            self.stats_of = first.removeprefix("Buffer: ")
        elif first.startswith("CPU: ") and first[5:].isdecimal() and len(first) < 12:
            self.stats.setdefault(self.stats_of, {})[int(first[5:])] = rest

    def give_stats(self) -> None:
        """Hand each buffer the statistics that its options gave."""
        for buffer in self.layout.buffers:
            buffer.stats = self.stats.get(buffer.name, {})


def trace_clock(data: bytes) -> str:
    """The clock in brackets of a trace_clock file's text; "" if there is none."""
    text = data.rstrip(b"\0").decode("ascii", "replace")
    return text.partition("[")[2].partition("]")[0] if "[" in text else ""
