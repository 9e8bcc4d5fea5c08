# SPDX-License-Identifier: GPL-2.0-or-later
"""trace.dat version 7: sections, which options point to, any of them compressed. Written from trace-cmd.dat.v7(5)."""

from __future__ import annotations

from kevacuate.errors import KevacuateError
from kevacuate.recording.importers import tracedat_parts as parts
from kevacuate.recording.importers.container import CODECS, Cursor, decompress
from kevacuate.recording.importers.source import MAX_CPUS
from kevacuate.recording.importers.tracedat_parts import Buffer, PartsReader

SECTION_OPTIONS, SECTION_FLYRECORD = 0, 3
COMPRESSED = 1


class Version7(PartsReader):
    """Sections, which options point to."""

    def read(self, cursor: Cursor) -> None:
        """Fill the layout, from behind the page size on."""
        self.layout.codec = cursor.string("the compression", 32)
        cursor.string("the compression's version", 64)
        if self.layout.codec not in CODECS:
            raise KevacuateError(
                f"{self.layout.path} is compressed with {self.layout.codec!r}: known are {', '.join(CODECS)}."
            )
        self._sections: dict[int, int] = {}
        self._read_options(cursor.number(8, "the options' place"))
        for option, reader in (
            (parts.OPTION_HEADER, self.header_info),
            (parts.OPTION_FTRACE_EVENTS, self.ftrace_events),
            (parts.OPTION_EVENTS, self.event_systems),
        ):
            if option not in self._sections:
                raise self.file.bad("it does not say where its event formats lie")
            reader(self.over(self._section(self._sections[option], option)))
        if parts.OPTION_CMDLINES in self._sections:
            self.process_names(
                self.over(self._section(self._sections[parts.OPTION_CMDLINES], parts.OPTION_CMDLINES))
            )
        self.give_stats()

    def _section_header(self, offset: int, ident: int) -> tuple[bool, int]:
        """Whether the section there is compressed, and its bytes."""
        head = self.over(self.file.read(offset, 16, "a section"))
        found, flags = head.number(2, "a section"), head.number(2, "a section")
        head.skip(4, "a section")
        if found != ident:
            raise self.file.bad(f"at byte {offset:,} is section {found}, not {ident}")
        return bool(flags & COMPRESSED), head.number(8, "a section")

    def _section(self, offset: int, ident: int) -> bytes:
        """The section's content, decompressed."""
        compressed, size = self._section_header(offset, ident)
        if not compressed:
            return self.file.read(offset + 16, size, "a section", parts.MAX_META)
        body = self.over(self.file.read(offset + 16, size, "a section", parts.MAX_META))
        packed, whole = body.number(4, "a section"), body.number(4, "a section")
        if whole > parts.MAX_META:
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
            cursor = self.over(self._section(offset, SECTION_OPTIONS))
            offset = 0
            while cursor.at < cursor.end:
                number, size = cursor.number(2, "an option"), cursor.number(4, "an option")
                data = cursor.take(size, "an option")
                if number == parts.OPTION_DONE:
                    offset = int.from_bytes(data[:8], self.layout.order)
                    break
                self._option(number, data)

    def _option(self, number: int, data: bytes) -> None:
        if parts.OPTION_HEADER <= number <= parts.OPTION_EVENTS or number == parts.OPTION_CMDLINES:
            self._sections.setdefault(number, self.over(data).number(8, "an option"))
        elif number == parts.OPTION_BUFFER:
            self._buffer(self.over(data))
        elif number == parts.OPTION_BUFFER_TEXT:
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
