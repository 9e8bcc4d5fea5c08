# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading pieces of a file whose sizes and offsets are not to be trusted: everything is checked and bounded."""

from __future__ import annotations

import io
import os
import struct
import tempfile
import zlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from kevacuate.errors import KevacuateError, failing
from kevacuate.recording.foreign_subbuffers import ByteOrder
from kevacuate.recording.opener import open_any
from kevacuate.recording.ringbuf import read_into

CODECS = ("none", "zlib", "zstd")
"""The compressions that trace-cmd can be built with."""

MOST_UNPACKED, MOST_TIMES = 1 << 30, 1000
"""Bytes that any file may decompress to as a whole, and how many times its size."""

MAX_CHUNK = 1 << 24
"""Bytes of one decompressed piece of data; trace-cmd's are ten sub-buffers, 40 KiB with the usual ones."""


class Container:
    """An open file with checked reads.

    Parameters
    ----------
    file : binary file
        The open file.
    path : Path
        What to call it.

    """

    def __init__(self, file: IO[bytes], path: Path) -> None:
        self.file, self.path = file, path
        self.size = file.seek(0, io.SEEK_END)
        self.order: ByteOrder = "little"
        """Of the machine that wrote the file."""

    def bad(self, what: str) -> KevacuateError:
        """The error for a file that is not whole; *what* completes the sentence."""
        if self.order == "big":
            return KevacuateError(
                f"{self.path}, of a big-endian machine, is truncated or corrupted: {what}; copy it again, "
                "or import what `trace-cmd report` prints of it."
            )
        return KevacuateError(
            f"{self.path} is truncated or corrupted: {what}; copy it again or record again."
        )

    def read(self, offset: int, size: int, what: str, most: int = 1 << 26) -> bytes:
        """*size* bytes from *offset*; *what* names them in the sentence if they are not there."""
        if size > most or offset < 0 or size < 0:
            raise self.bad(f"{what} claims {size:,} bytes at byte {offset:,}, more than any has")
        if offset + size > self.size:
            raise self.bad(f"{what} at byte {offset:,} reaches past the file's end")
        with failing(f"{self.path} cannot be read"):
            self.file.seek(offset)
            data = self.file.read(size)
        if len(data) != size:
            raise self.bad(f"{what} at byte {offset:,} cannot be read whole")
        return data


def open_plain(path: Path) -> IO[bytes]:
    """Open a file of which any part can be read; one that is compressed as a whole is decompressed into a file without a name.

    Raises
    ------
    KevacuateError
        If it cannot be opened or decompressed, is far larger than any trace would be, or the directory for temporary
        files is full.

    """
    file, packed = open_any(path)
    if not packed:
        return file
    whole: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (it is returned)
    buffer, most = memoryview(bytearray(MAX_CHUNK)), max(MOST_UNPACKED, MOST_TIMES * path.stat().st_size)
    with closing(file):
        while size := read_into(file, path, buffer):
            if whole.tell() + size > most:
                raise KevacuateError(
                    f"{path} decompresses to more than {MOST_TIMES:,} times its size, which no trace does."
                )
            try:
                whole.write(buffer[:size])
                whole.flush()
            except OSError as error:
                raise KevacuateError(
                    f"{path} cannot be decompressed into {tempfile.gettempdir()}: {error.strerror or error}; "
                    "set TMPDIR to a place with room."
                ) from None
    return whole


class Cursor:
    """Reads one value after the other, from bytes or, with a *fetch* function, from a file.

    Parameters
    ----------
    fetch : callable
        Gives the bytes at (offset, size, what), or raises.
    bad : callable
        Makes the error for a value that cannot be.
    at, end : int
        First byte and one past the last.
    order : str
        The byte order of numbers.

    """

    def __init__(
        self,
        fetch: Callable[[int, int, str], bytes],
        bad: Callable[[str], KevacuateError],
        at: int,
        end: int,
        order: ByteOrder = "little",
    ) -> None:
        self.fetch, self.bad, self.at, self.end, self.order = fetch, bad, at, end, order

    @classmethod
    def over(cls, data: bytes, bad: Callable[[str], KevacuateError], order: ByteOrder) -> Cursor:
        """A cursor over bytes."""
        return cls(lambda at, size, what: data[at : at + size], bad, 0, len(data), order)

    def take(self, size: int, what: str) -> bytes:
        """The next *size* bytes."""
        self.room(size, what)
        data = self.fetch(self.at, size, what)
        self.at += size
        return data

    def room(self, size: int, what: str) -> None:
        """Raise if fewer than *size* bytes are left."""
        if size < 0 or size > self.end - self.at:
            raise self.bad(f"{what} claims {size:,} bytes, but {self.end - self.at:,} are left")

    def skip(self, size: int, what: str) -> None:
        """Pass over *size* bytes."""
        self.room(size, what)
        self.at += size

    def number(self, size: int, what: str) -> int:
        """An unsigned number of *size* bytes."""
        return int.from_bytes(self.take(size, what), self.order)

    def string(self, what: str, longest: int = 256) -> str:
        """A string that ends with a zero byte."""
        data = self.fetch(self.at, min(longest, self.end - self.at), what)
        length = data.find(b"\0")
        if length < 0:
            raise self.bad(f"{what} is a string without an end")
        self.at += length + 1
        return data[:length].decode("utf-8", "replace")


def decompress(codec: str, data: bytes, size: int, bad: Callable[[str], KevacuateError]) -> bytes:
    """*data*, of *size* bytes when decompressed.

    Raises
    ------
    KevacuateError
        If the data are corrupted, or give more or fewer bytes.

    """
    try:
        if codec == "zlib":
            stream = zlib.decompressobj()
            result = stream.decompress(data, size + 1)
        else:
            result = pa.Codec("zstd").decompress(data, size, asbytes=True)
    except (zlib.error, OSError, ValueError, pa.ArrowException):
        raise bad(f"a piece of {len(data):,} bytes compressed with {codec} does not decompress") from None
    if len(result) != size:
        raise bad(f"a piece compressed with {codec} does not give the {size:,} bytes that it claims")
    return bytes(result)


class PlainRegion(io.RawIOBase):
    """Bytes *offset* to *offset* + *size* of a file, as a stream; *seen* is told of what was read.

    Regions share the open file: there may be more CPUs than a process may open files.
    """

    def __init__(
        self, file: IO[bytes], path: Path, offset: int, size: int, seen: Callable[[int], None]
    ) -> None:
        self._file, self._path, self._at, self._left, self._seen = file, path, offset, size, seen

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer as far as the region goes."""
        view = memoryview(buffer)[: self._left]
        if not len(view):
            return 0
        count = os.preadv(self._file.fileno(), [view], self._at)
        if not count:
            raise KevacuateError(
                f"{self._path} is truncated: {self._left:,} bytes of trace data are missing."
            )
        self._at += count
        self._left -= count
        self._seen(count)
        return count


class ChunkedRegion(io.RawIOBase):
    """Trace data of trace.dat version 7 as a stream: a count, then pieces compressed one by one.

    Each piece is its compressed size, its size (both u32) and the compressed bytes. The count (u32) is not part
    of the *size* that the file gives for the region.
    """

    def __init__(
        self,
        file: IO[bytes],
        path: Path,
        offset: int,
        size: int,
        codec: str,
        most: int,
        seen: Callable[[int], None],
        order: ByteOrder = "little",
    ) -> None:
        self._numbers = ">" if order == "big" else "<"
        self._file, self._path, self._codec, self._most, self._seen = file, path, codec, most, seen
        self._end, self._at = offset + 4 + size, offset
        self._held, self._used = b"", 0
        self._pieces = struct.unpack(self._numbers + "I", self._take(4))[0]

    def _bad(self, what: str) -> KevacuateError:
        return KevacuateError(
            f"{self._path} is truncated or corrupted: at byte {self._at:,}, {what}; copy it again or record again."
        )

    def _take(self, size: int) -> bytes:
        if size > self._end - self._at:
            raise self._bad(f"{size:,} bytes of compressed trace data are not there")
        data = os.pread(self._file.fileno(), size, self._at)
        if len(data) != size:
            raise self._bad("the file ends within compressed trace data")
        self._at += size
        self._seen(size)
        return data

    def readable(self) -> bool:
        """It is."""
        return True

    def _next(self) -> bool:
        if not self._pieces:
            return False
        self._pieces -= 1
        packed, size = struct.unpack(self._numbers + "II", self._take(8))
        if not 0 < size <= self._most:
            raise self._bad(f"a piece of compressed trace data claims {size:,} bytes")
        self._held, self._used = decompress(self._codec, self._take(packed), size, self._bad), 0
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer from the piece at hand, or the next."""
        if self._used == len(self._held) and not self._next():
            return 0
        part = self._held[self._used : self._used + len(buffer)]
        memoryview(buffer)[: len(part)] = part
        self._used += len(part)
        return len(part)
