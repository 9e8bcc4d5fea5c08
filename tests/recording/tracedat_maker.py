# SPDX-License-Identifier: GPL-2.0-or-later
"""Takes real trace.dat files of version 7 apart and packs them anew: other compressions, instances, hostile values.

:class:`Maker` makes files of machines that are not at hand.

Written from trace-cmd.dat.v7(5), apart from the package's own reader.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal, NamedTuple

import pyarrow as pa

from kevacuate.recording.formats import EventFormat

DATA = Path(__file__).parent.parent / "data" / "trace-cmd"
MAGIC = b"\x17\x08Dtracing"
PIECE = 40960
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "none": lambda data: data,
    "zlib": zlib.compress,
    "zstd": lambda data: pa.Codec("zstd").compress(data, asbytes=True),
}


class Parts(NamedTuple):
    """A trace.dat's content."""

    options: list[tuple[int, bytes]]
    """Those that are no place in the file."""
    sections: dict[int, bytes]
    """Option number (16 to 21) to the section's content."""
    cpus: dict[int, bytes]
    """CPU to sub-buffers."""


def _unpack(data: bytes, codec: str, size: int) -> bytes:
    return zlib.decompress(data) if codec == "zlib" else pa.Codec("zstd").decompress(data, size, asbytes=True)


def _section(data: bytes, at: int, codec: str) -> bytes:
    _, flags, _, size = struct.unpack_from("<HHIQ", data, at)
    body = data[at + 16 : at + 16 + size]
    if not flags & 1:
        return body
    packed, whole = struct.unpack_from("<II", body)
    return _unpack(body[8 : 8 + packed], codec, whole)


def _cpu(data: bytes, at: int, size: int, codec: str) -> bytes:
    if codec == "none":
        return data[at : at + size]
    pieces, (count,) = [], struct.unpack_from("<I", data, at)
    at += 4
    for _ in range(count):
        packed, whole = struct.unpack_from("<II", data, at)
        pieces.append(_unpack(data[at + 8 : at + 8 + packed], codec, whole))
        at += 8 + packed
    return b"".join(pieces)


def take_apart(data: bytes) -> Parts:
    """The parts of a version 7 file."""
    strings = data[18:].split(b"\0", 2)
    codec = strings[0].decode()
    begin = 18 + len(strings[0]) + len(strings[1]) + 2
    (at,) = struct.unpack_from("<Q", data, begin)
    parts = Parts([], {}, {})
    while at:
        body, at, where = _section(data, at, codec), 0, 0
        while where < len(body):
            number, size = struct.unpack_from("<HI", body, where)
            value = body[where + 6 : where + 6 + size]
            where += 6 + size
            if number == 0:
                (at,) = struct.unpack("<Q", value)
                break
            if 16 <= number <= 21:
                parts.sections[number] = _section(data, struct.unpack("<Q", value)[0], codec)
            elif number == 3:
                rest = value[8:].split(b"\0", 2)[2]
                for i in range(struct.unpack_from("<I", rest, 4)[0]):
                    cpu, offset, length = struct.unpack_from("<IQQ", rest, 8 + 20 * i)
                    if length:
                        parts.cpus[cpu] = _cpu(data, offset, length, codec)
            else:
                parts.options.append((number, value))
    return parts


def option(number: int, value: bytes) -> bytes:
    """One option."""
    return struct.pack("<HI", number, len(value)) + value


def _packed(ident: int, body: bytes, codec: str) -> bytes:
    if codec != "none":
        packed = PACKERS[codec](body)
        body = struct.pack("<II", len(packed), len(body)) + packed
    return struct.pack("<HHIQ", ident, codec != "none", 0, len(body)) + body


def _cpu_packed(data: bytes, codec: str) -> tuple[bytes, int]:
    if codec == "none":
        return data, len(data)
    pieces = [data[i : i + PIECE] for i in range(0, len(data), PIECE)]
    packed = [PACKERS[codec](piece) for piece in pieces]
    body = b"".join(
        struct.pack("<II", len(p), len(piece)) + p for p, piece in zip(packed, pieces, strict=True)
    )
    return struct.pack("<I", len(pieces)) + body, len(body)


def pack(parts: Parts, codec: str = "none", buffers: tuple[str, ...] = ("",), clock: str = "local") -> bytes:
    """A version 7 file of these parts, with the trace data once in every buffer named."""
    head = b"\x17\x08Dtracing7\0" + b"\0\x08" + struct.pack("<I", 4096) + codec.encode() + b"\0001.0\0"
    out, options = bytearray(head + bytes(8)), []
    for number, body in parts.sections.items():
        options.append(option(number, struct.pack("<Q", len(out))))
        out += _packed(number, body, codec)
    for name in buffers:
        place = len(out)
        out += struct.pack("<HHIQ", 3, codec != "none", 0, 0)
        table = b""
        for cpu, data in parts.cpus.items():
            body, size = _cpu_packed(data, codec)
            table += struct.pack("<IQQ", cpu, len(out), size)
            out += body
        value = struct.pack("<Q", place) + name.encode() + b"\0" + clock.encode() + b"\0"
        options.append(option(3, value + struct.pack("<II", 4096, len(parts.cpus)) + table))
    options += [option(number, value) for number, value in parts.options]
    struct.pack_into("<Q", out, len(head), len(out))
    return bytes(out) + _packed(0, b"".join(options) + option(0, bytes(8)), codec)


EVENT_HEADER = (
    b"# compressed entry header\n\ttype_len    :    5 bits\n\ttime_delta  :   27 bits\n\tarray       :   32 bits\n\n"
    b"\tpadding     : type == 29\n\ttime_extend : type == 30\n\ttime_stamp : type == 31\n\tdata max type_len  == 28\n"
)


class Maker(NamedTuple):
    """Makes trace.dat files of a machine that is not at hand: 32-bit or big-endian, with any format files."""

    order: Literal["little", "big"] = "little"
    long_bytes: int = 8
    page_bytes: int = 4096
    """Bytes of a sub-buffer, as header_page says."""

    def pack(self, numbers: str, *values: int) -> bytes:
        """As struct.pack, in the machine's byte order."""
        return struct.pack((">" if self.order == "big" else "<") + numbers, *values)

    def header_page(self) -> bytes:
        """tracefs' events/header_page."""
        n = self.long_bytes
        return (
            "\tfield: u64 timestamp;\toffset:0;\tsize:8;\tsigned:0;\n"
            f"\tfield: local_t commit;\toffset:8;\tsize:{n};\tsigned:1;\n"
            "\tfield: int overwrite;\toffset:8;\tsize:1;\tsigned:1;\n"
            f"\tfield: char data;\toffset:{8 + n};\tsize:{self.page_bytes - 8 - n};\tsigned:0;\n"
        ).encode()

    def payload(self, event: EventFormat, pid: int = 7, text: bytes = b"", **values: int) -> bytes:
        """An event's payload; fields without a value are 0, *text* is what its __data_loc field points to."""
        size = max(f.offset + f.size for f in event.fields)
        whole = bytearray(-(-size // 4) * 4)
        values |= {"common_type": event.id, "common_pid": pid}
        for field in event.fields:
            value = values.pop(field.name, 0)
            if field.declaration.startswith("__data_loc"):
                value = len(text) << 16 | len(whole)
            if field.size <= 8:
                value &= (1 << 8 * field.size) - 1
                whole[field.offset : field.offset + field.size] = value.to_bytes(field.size, self.order)
        assert not values, f"{event.name} has no {values}"
        return bytes(whole) + text.ljust(-(-len(text) // 4) * 4, b"\0")

    def event(self, payload: bytes, delta: int = 1000) -> bytes:
        """A ring-buffer event."""
        words = len(payload) // 4
        if words <= 28:
            kind, rest = words, b""
        else:
            kind, rest = 0, self.pack("I", len(payload) + 4)
        head = kind << 27 | delta if self.order == "big" else delta << 5 | kind
        return self.pack("I", head) + rest + payload

    def page(self, ts: int, *events: bytes, missed: int | None = None) -> bytes:
        """A sub-buffer; *missed* events before it, 0 for an unknown number."""
        data = b"".join(events)
        commit = len(data) | (0 if missed is None else 1 << 31) | (1 << 30 if missed else 0)
        long = "Q" if self.long_bytes == 8 else "I"
        whole = self.pack("Q" + long, ts, commit) + data + (self.pack(long, missed) if missed else b"")
        assert len(whole) <= self.page_bytes
        return whole.ljust(self.page_bytes, b"\0")

    def formats(self, events: Iterable[EventFormat]) -> bytes:
        """The format files, as both versions hold them."""
        systems: dict[str, list[bytes]] = {}
        for event in events:
            systems.setdefault(event.system, []).append(event.text.encode())
        out = self.pack("I", len(systems))
        for name, texts in systems.items():
            out += name.encode() + b"\0" + self.pack("I", len(texts))
            out += b"".join(self.pack("Q", len(text)) + text for text in texts)
        return out

    def _header(self, version: int) -> bytes:
        return (
            MAGIC + b"%d\0" % version + bytes([self.order == "big", self.long_bytes]) + self.pack("I", 4096)
        )

    def _tables(self) -> bytes:
        page = self.header_page()
        page = b"header_page\0" + self.pack("Q", len(page)) + page
        return page + b"header_event\0" + self.pack("Q", len(EVENT_HEADER)) + EVENT_HEADER

    def _packed(self, data: bytes, codec: str) -> tuple[bytes, int]:
        """Sub-buffers as they lie in the file, and the length that is said of them."""
        if codec == "none":
            return data, len(data)
        pieces = [data[i : i + PIECE] for i in range(0, len(data), PIECE)]
        packed = [PACKERS[codec](piece) for piece in pieces]
        body = b"".join(self.pack("II", len(p), len(x)) + p for p, x in zip(packed, pieces, strict=True))
        return self.pack("I", len(pieces)) + body, len(body)

    def version_7(
        self,
        events: Iterable[EventFormat],
        buffers: dict[str, tuple[int, dict[int, bytes]]],
        uname: str = "",
        clock: str = "local",
        codec: str = "none",
    ) -> bytes:
        """A version 7 file; *buffers*: name to bytes of a sub-buffer and CPU to sub-buffers."""
        out = bytearray(self._header(7) + codec.encode() + b"\0\0")
        at, options = len(out), list[tuple[int, bytes]]()
        out += bytes(8)
        for number, body in ((16, self._tables()), (17, self.pack("I", 0)), (18, self.formats(events))):
            options.append((number, self.pack("Q", len(out))))
            out += self.pack("HHIQ", number, 0, 0, len(body)) + body
        symbols = b"0000000000000000 T _text\n"
        options.append((19, self.pack("Q", len(out))))
        out += self.pack("HHIQ", 19, 0, 0, len(symbols) + 4) + self.pack("I", len(symbols)) + symbols
        options.append((8, self.pack("I", max(len(cpus) for _, cpus in buffers.values()))))
        if uname:
            options.append((5, uname.encode() + b"\0"))
        for name, (size, cpus) in buffers.items():
            head, places = len(out), b""
            out += bytes(16)
            for cpu, pages in cpus.items():
                data, length = self._packed(pages, codec)
                out += bytes(-len(out) % size)
                places += self.pack("IQQ", cpu, len(out), length)
                out += data
            out[head : head + 16] = self.pack("HHIQ", 3, codec != "none", 0, len(out) - head - 16)
            value = self.pack("Q", head) + name.encode() + b"\0" + clock.encode() + b"\0"
            options.append((3, value + self.pack("II", size, len(cpus)) + places))
        out[at : at + 8] = self.pack("Q", len(out))
        body = b"".join(self.pack("HI", n, len(d)) + d for n, d in options) + self.pack("HIQ", 0, 8, 0)
        return bytes(out) + self.pack("HHIQ", 0, 0, 0, len(body)) + body

    def version_6(
        self,
        events: Iterable[EventFormat],
        cpus: dict[int, bytes],
        instances: dict[str, dict[int, bytes]] | None = None,
    ) -> bytes:
        """A version 6 file: the top buffer's CPUs, and those of instances."""
        symbols = b"0000000000000000 T _text\n"
        out = bytearray(self._header(6) + self._tables() + self.pack("I", 0) + self.formats(events))
        out += self.pack("I", len(symbols)) + symbols + self.pack("IQI", 0, 0, len(cpus)) + b"options  \0"
        spots = {}
        for name in instances or {}:
            out += self.pack("HI", 3, 9 + len(name))
            spots[name] = len(out)
            out += bytes(8) + name.encode() + b"\0"
        out += self.pack("H", 0)
        for name, data in [("", cpus), *(instances or {}).items()]:
            if name:
                out[spots[name] : spots[name] + 8] = self.pack("Q", len(out))
            out += b"flyrecord\0"
            at = len(out)
            out += bytes(16 * len(data))
            for i, (_, pages) in enumerate(sorted(data.items())):
                out += bytes(-len(out) % self.page_bytes)
                out[at + 16 * i : at + 16 * i + 16] = self.pack("QQ", len(out), len(pages))
                out += pages
        return bytes(out)
