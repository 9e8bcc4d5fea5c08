# SPDX-License-Identifier: GPL-2.0-or-later
"""Takes real trace.dat files of version 7 apart and packs them anew: other compressions, instances, hostile values.

Written from trace-cmd.dat.v7(5), apart from the package's own reader.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

DATA = Path(__file__).parent.parent / "data" / "trace-cmd"
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
