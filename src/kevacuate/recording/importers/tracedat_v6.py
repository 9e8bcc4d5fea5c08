# SPDX-License-Identifier: GPL-2.0-or-later
"""trace.dat version 6: one part after the other. Written from trace-cmd.dat.v6(5)."""

from __future__ import annotations

from kevacuate.recording.importers.container import Cursor
from kevacuate.recording.importers.source import MAX_CPUS
from kevacuate.recording.importers.tracedat_parts import (
    MAX_BUFFERS,
    MAX_META,
    OPTION_BUFFER,
    OPTION_CLOCK,
    Buffer,
    PartsReader,
    trace_clock,
)

_OPTIONS, _LATENCY, _FLYRECORD = b"options  \0", b"latency  \0", b"flyrecord\0"


class Version6(PartsReader):
    """One part after the other."""

    def read(self, cursor: Cursor) -> None:
        """Fill the layout, from behind the page size on."""
        self.header_info(cursor)
        self.ftrace_events(cursor)
        self.event_systems(cursor)
        cursor.skip(cursor.number(4, "kernel symbols"), "kernel symbols")
        cursor.skip(cursor.number(4, "printk formats"), "printk formats")
        self.process_names(cursor)
        cpus = cursor.number(4, "the number of CPUs")
        if cpus > MAX_CPUS:
            raise self.file.bad(f"{cpus:,} CPUs are more than a kernel can have")
        instances: list[tuple[int, str]] = []
        self._data(cursor, Buffer(""), cpus, instances)
        for offset, name in instances:
            if not 0 < offset < self.file.size:
                raise self.file.bad(f"buffer {name!r} lies outside the file")
            place = Cursor(self.file.read, self.file.bad, offset, self.file.size, self.layout.order)
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
            if size > MAX_META:
                raise self.file.bad(f"an option claims {size:,} bytes")
            data = cursor.take(size, "an option")
            if number == OPTION_BUFFER:
                part = self.over(data)
                instances.append((part.number(8, "a buffer"), part.string("a buffer's name")))
                if len(instances) > MAX_BUFFERS:
                    raise self.file.bad("there are more buffers than can be")
            else:
                self.keep_option(number, data)
