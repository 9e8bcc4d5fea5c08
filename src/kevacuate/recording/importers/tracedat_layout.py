# SPDX-License-Identifier: GPL-2.0-or-later
"""The structure of trace-cmd's ``trace.dat``, versions 6 and 7: where its parts lie. Nothing is decoded here.

Written from trace-cmd.dat.v6(5) and trace-cmd.dat.v7(5). Version 6 is one part after the other; version 7 has
sections, found through its options, any of which may be compressed. Kernel symbols, printk formats and process
names are passed over.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from kevacuate.errors import KevacuateError
from kevacuate.recording.formats import EventFormat, parse_format
from kevacuate.recording.importers.container import CODECS, Container, Cursor, decompress
from kevacuate.recording.importers.source import MAX_CPUS
from kevacuate.recording.ringbuf import sub_buffer_bytes

MAGIC = b"\x17\x08Dtracing"
_OPTIONS, _LATENCY, _FLYRECORD = b"options  \0", b"latency  \0", b"flyrecord\0"
_MAX_META = 1 << 26
_MAX_FORMAT = 1 << 20
_MAX_EVENTS = 1 << 16
_MAX_BUFFERS, _MAX_PLACES = 1024, 1 << 17

OPTION_DONE, OPTION_DATE, OPTION_CPUSTAT, OPTION_BUFFER, OPTION_CLOCK, OPTION_UNAME = 0, 1, 2, 3, 4, 5
OPTION_OFFSET, OPTION_VERSION, OPTION_TIME_SHIFT, OPTION_TSC2NSEC = 7, 9, 12, 14
OPTION_HEADER, OPTION_FTRACE_EVENTS, OPTION_EVENTS, OPTION_BUFFER_TEXT = 16, 17, 18, 22
SECTION_OPTIONS, SECTION_FLYRECORD = 0, 3
COMPRESSED = 1


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
    page_bytes: int = 4096
    """Bytes of a sub-buffer, unless header_page says more."""
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
    page_bytes: int = 4096
    """Bytes of a sub-buffer."""
    formats: dict[int, EventFormat] = field(default_factory=dict)
    buffers: list[Buffer] = field(default_factory=list)
    options: dict[int, bytes] = field(default_factory=dict)
    """Option number to data, of options that stand once."""
    text_only: bool = False
    """Whether it holds a latency tracer's text instead of data."""


def read_layout(path: Path) -> Layout:
    """Take a trace.dat apart.

    Raises
    ------
    KevacuateError
        If it is truncated, corrupted, of another version or of a kernel that is not 64-bit little-endian.

    """
    with Container(path) as file:
        cursor = Cursor(file.read, file.bad, len(MAGIC), file.size)
        version = cursor.string("the version", 16)
        if version not in ("6", "7"):
            raise KevacuateError(
                f"{path} is a trace.dat of version {version!r}: versions 6 and 7 are read "
                "(trace-cmd convert writes them)."
            )
        if cursor.number(1, "the header") != 0:
            raise KevacuateError(f"{path} was recorded on a big-endian machine, which is not supported.")
        cursor.skip(5, "the header")
        layout = Layout(path, int(version))
        (_Version6 if version == "6" else _Version7)(file, layout).read(cursor)
        _check_regions(file, layout)
        return layout


def _check_regions(file: Container, layout: Layout) -> None:
    """Trace data lie in the file, apart from each other."""
    regions = [(c.offset, c.size, c.cpu) for b in layout.buffers for c in b.cpus if c.size]
    last = 0
    for offset, size, cpu in sorted(regions):
        if offset + size > file.size:
            raise file.bad(f"the data of CPU {cpu} reach past the file's end")
        if offset < last:
            raise file.bad(f"the data of CPU {cpu} overlap those of another")
        last = offset + size


class _Parts:
    """What both versions share: header, event formats, options."""

    def __init__(self, file: Container, layout: Layout) -> None:
        self.file, self.layout = file, layout
        self.stats_of, self.places = "", 0
        self.stats: dict[str, dict[int, str]] = {}

    def header_info(self, cursor: Cursor) -> None:
        for name in (b"header_page\0", b"header_event\0"):
            if cursor.take(len(name), "the header") != name:
                raise self.file.bad(f"there is no {name[:-1].decode()} where it should be")
            size = cursor.number(8, "the header")
            if name == b"header_page\0":
                text = self._text(cursor, size)
                self.layout.page_bytes = sub_buffer_bytes(text, f"header_page of {self.layout.path}")
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
        if len(self.layout.formats) >= _MAX_EVENTS:
            raise self.file.bad("there are more events than numbers for them")
        self.layout.formats[event.id] = event

    def ftrace_events(self, cursor: Cursor) -> None:
        for _ in range(self._count(cursor, "event formats")):
            self._format(cursor, "ftrace")

    def event_systems(self, cursor: Cursor) -> None:
        for _ in range(self._count(cursor, "event systems")):
            system = cursor.string("the name of an event system")
            for _ in range(self._count(cursor, "event formats")):
                self._format(cursor, system)

    def _count(self, cursor: Cursor, what: str) -> int:
        count = cursor.number(4, f"the number of {what}")
        if count > _MAX_EVENTS:
            raise self.file.bad(f"{count:,} {what} are more than a kernel can have")
        return count

    def add_cpu(self, buffer: Buffer, cpu: int, cursor: Cursor) -> None:
        """One CPU's place and bytes."""
        offset, size = cursor.number(8, "a CPU's data"), cursor.number(8, "a CPU's data")
        buffer.cpus.append(CpuData(cpu, offset, size))
        self.places += 1
        if self.places > _MAX_PLACES or len(self.layout.buffers) > _MAX_BUFFERS:
            raise self.file.bad("there are more buffers than can be")

    def keep_option(self, number: int, data: bytes) -> None:
        if number == OPTION_CPUSTAT:
            self._cpu_stats(data.rstrip(b"\0").decode("utf-8", "replace"))
        elif number not in self.layout.options:
            self.layout.options[number] = data

    def _cpu_stats(self, text: str) -> None:
        """``Buffer: NAME`` before an instance's own, or ``CPU: N`` and the statistics of its buffer."""
        first, _, rest = text.strip().partition("\n")
        if first.startswith("Buffer: "):
            self.stats_of = first.removeprefix("Buffer: ")
        elif first.startswith("CPU: ") and first[5:].isdigit() and len(first) < 12:
            self.stats.setdefault(self.stats_of, {})[int(first[5:])] = rest

    def give_stats(self) -> None:
        for buffer in self.layout.buffers:
            buffer.stats = self.stats.get(buffer.name, {})


class _Version6(_Parts):
    """One part after the other."""

    def read(self, cursor: Cursor) -> None:
        self.header_info(cursor)
        self.ftrace_events(cursor)
        self.event_systems(cursor)
        cursor.skip(cursor.number(4, "kernel symbols"), "kernel symbols")
        cursor.skip(cursor.number(4, "printk formats"), "printk formats")
        cursor.skip(cursor.number(8, "process names"), "process names")
        cpus = cursor.number(4, "the number of CPUs")
        if cpus > MAX_CPUS:
            raise self.file.bad(f"{cpus:,} CPUs are more than a kernel can have")
        instances: list[tuple[int, str]] = []
        self._data(cursor, Buffer(""), cpus, instances)
        for offset, name in instances:
            if not 0 < offset < self.file.size:
                raise self.file.bad(f"buffer {name!r} lies outside the file")
            place = Cursor(self.file.read, self.file.bad, offset, self.file.size)
            self._data(place, Buffer(name), cpus, [])
        clock = trace_clock(self.layout.options.get(OPTION_CLOCK, b""))
        for buffer in self.layout.buffers:
            buffer.clock = clock
        self.give_stats()

    def _data(self, cursor: Cursor, buffer: Buffer, cpus: int, instances: list[tuple[int, str]]) -> None:
        """Options, if any, then where each CPU's data lie."""
        tag = cursor.take(10, "the kind of data")
        if tag == _OPTIONS:
            self._options(cursor, instances)
            tag = cursor.take(10, "the kind of data")
        if tag == _LATENCY:
            self.layout.text_only = True
            return
        if tag != _FLYRECORD:
            raise self.file.bad(f"at byte {cursor.at - 10:,} no trace data begin")
        for cpu in range(cpus):
            self.add_cpu(buffer, cpu, cursor)
        self.layout.buffers.append(buffer)

    def _options(self, cursor: Cursor, instances: list[tuple[int, str]]) -> None:
        while number := cursor.number(2, "an option"):
            size = cursor.number(4, "an option")
            if size > _MAX_META:
                raise self.file.bad(f"an option claims {size:,} bytes")
            data = cursor.take(size, "an option")
            if number == OPTION_BUFFER:
                part = Cursor.over(data, self.file.bad)
                instances.append((part.number(8, "a buffer"), part.string("a buffer's name")))
                if len(instances) > _MAX_BUFFERS:
                    raise self.file.bad("there are more buffers than can be")
            else:
                self.keep_option(number, data)


class _Version7(_Parts):
    """Sections, which options point to."""

    def read(self, cursor: Cursor) -> None:
        self.layout.codec = cursor.string("the compression", 32)
        cursor.string("the compression's version", 64)
        if self.layout.codec not in CODECS:
            raise KevacuateError(
                f"{self.layout.path} is compressed with {self.layout.codec!r}: known are {', '.join(CODECS)}."
            )
        self._sections: dict[int, int] = {}
        self._read_options(cursor.number(8, "the options' place"))
        for option, reader in (
            (OPTION_HEADER, self.header_info),
            (OPTION_FTRACE_EVENTS, self.ftrace_events),
            (OPTION_EVENTS, self.event_systems),
        ):
            if option not in self._sections:
                raise self.file.bad("it does not say where its event formats lie")
            reader(Cursor.over(self._section(self._sections[option], option), self.file.bad))
        self.give_stats()

    def _section_header(self, offset: int, ident: int) -> tuple[bool, int]:
        """Whether the section there is compressed, and its bytes."""
        head = Cursor.over(self.file.read(offset, 16, "a section"), self.file.bad)
        found, flags = head.number(2, "a section"), head.number(2, "a section")
        head.skip(4, "a section")
        if found != ident:
            raise self.file.bad(f"at byte {offset:,} is section {found}, not {ident}")
        return bool(flags & COMPRESSED), head.number(8, "a section")

    def _section(self, offset: int, ident: int) -> bytes:
        """The section's content, decompressed."""
        compressed, size = self._section_header(offset, ident)
        if not compressed:
            return self.file.read(offset + 16, size, "a section", _MAX_META)
        body = Cursor.over(self.file.read(offset + 16, size, "a section", _MAX_META), self.file.bad)
        packed, whole = body.number(4, "a section"), body.number(4, "a section")
        if whole > _MAX_META:
            raise self.file.bad(f"a section claims {whole:,} bytes")
        if self.layout.codec == "none":
            raise self.file.bad("a section is compressed, but the file names no compression")
        return decompress(self.layout.codec, body.take(packed, "a section"), whole, self.file.bad)

    def _read_options(self, offset: int) -> None:
        seen: set[int] = set()
        while offset:
            if offset in seen:
                raise self.file.bad("its options point back to themselves")
            seen.add(offset)
            cursor = Cursor.over(self._section(offset, SECTION_OPTIONS), self.file.bad)
            offset = 0
            while cursor.at < cursor.end:
                number, size = cursor.number(2, "an option"), cursor.number(4, "an option")
                data = cursor.take(size, "an option")
                if number == OPTION_DONE:
                    offset = int.from_bytes(data[:8], "little")
                    break
                self._option(number, data)

    def _option(self, number: int, data: bytes) -> None:
        if OPTION_HEADER <= number <= OPTION_EVENTS:
            self._sections.setdefault(number, Cursor.over(data, self.file.bad).number(8, "an option"))
        elif number == OPTION_BUFFER:
            self._buffer(Cursor.over(data, self.file.bad))
        elif number == OPTION_BUFFER_TEXT:
            self.layout.text_only = True
        else:
            self.keep_option(number, data)

    def _buffer(self, cursor: Cursor) -> None:
        offset = cursor.number(8, "a buffer")
        buffer = Buffer(cursor.string("a buffer's name"), cursor.string("a buffer's clock"))
        buffer.page_bytes = cursor.number(4, "a buffer")
        if not 4096 <= buffer.page_bytes <= 1 << 20 or buffer.page_bytes % 4096:
            raise self.file.bad(f"buffer {buffer.name!r} has sub-buffers of {buffer.page_bytes:,} bytes")
        for _ in range(cursor.number(4, "a buffer")):
            cpu = cursor.number(4, "a CPU's data")
            if cpu >= MAX_CPUS or len(buffer.cpus) >= MAX_CPUS:
                raise self.file.bad(f"there is a CPU {cpu}, more than a kernel can have")
            self.add_cpu(buffer, cpu, cursor)
        if buffer.cpus:
            buffer.compressed, _ = self._section_header(offset, SECTION_FLYRECORD)
        if len({c.cpu for c in buffer.cpus}) != len(buffer.cpus):
            raise self.file.bad(f"buffer {buffer.name!r} has a CPU twice")
        self.layout.buffers.append(buffer)


def trace_clock(data: bytes) -> str:
    """The clock in brackets of a trace_clock file's text; "" if there is none."""
    text = data.rstrip(b"\0").decode("ascii", "replace")
    return text.partition("[")[2].partition("]")[0] if "[" in text else ""
