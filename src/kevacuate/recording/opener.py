# SPDX-License-Identifier: GPL-2.0-or-later
"""Opening a file whatever it is compressed with: by its first bytes, never by its name."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import IO, Any, cast

import pyarrow as pa

from kevacuate.errors import KevacuateError, failing


def _zstd(file: IO[bytes]) -> Any:
    return pa.CompressedInputStream(pa.PythonFile(file, mode="r"), "zstd")


_PACKED: tuple[tuple[bytes, Callable[[IO[bytes]], Any]], ...] = (
    (b"\xfd7zXZ\x00", lzma.LZMAFile),
    (b"\x5d\x00\x00", lzma.LZMAFile),
    (b"\x1f\x8b", lambda file: gzip.GzipFile(fileobj=file)),
    (b"BZh", bz2.BZ2File),
    (b"\x28\xb5\x2f\xfd", _zstd),
)
"""First bytes to what decompresses: xz, lzma, gzip, bzip2, zstd."""

_DAMAGED = (EOFError, lzma.LZMAError, zlib.error, ValueError, pa.ArrowException, OSError)


class _Unpacked(io.RawIOBase):
    """A decompressed stream whose errors are sentences."""

    def __init__(self, inner: Any, below: IO[bytes], path: Path) -> None:
        self._inner, self._below, self._path = inner, below, path

    def readable(self) -> bool:
        """It is for reading."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill *buffer* with the next bytes; 0 at the end."""
        try:
            data = self._inner.read(len(buffer))
        except EOFError:
            raise KevacuateError(f"{self._path} is truncated: its compressed data ends too early.") from None
        except _DAMAGED:
            raise KevacuateError(f"{self._path} is corrupted: it does not decompress.") from None
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Close the stream and the file below it."""
        if not self.closed:
            self._inner.close()
            self._below.close()
        super().close()


def open_any(path: Path) -> tuple[IO[bytes], bool]:
    """Open a file for reading from its beginning to its end, decompressed if it is xz, lzma, gzip, bzip2 or zstd.

    Returns
    -------
    file, bool
        The file, and whether it is decompressed on the way: then no part of it can be sought.

    Raises
    ------
    KevacuateError
        If it cannot be opened; in the course of reading, if it does not decompress.

    """
    try:
        file = path.open("rb")
        magic = file.read(6)
        file.seek(0)
    except io.UnsupportedOperation:
        raise KevacuateError(
            f"{path} is a pipe, which cannot be read twice: write what it holds to a file."
        ) from None
    except OSError as error:
        raise KevacuateError(f"{path} cannot be opened: {error.strerror or error}.") from None
    unpack = next((opener for first, opener in _PACKED if magic.startswith(first)), None)
    if unpack is None:
        return file, False
    return cast("IO[bytes]", io.BufferedReader(_Unpacked(unpack(file), file, path), 1 << 16)), True


HEAD_BYTES = 1 << 16
"""What is looked at to recognise a file."""


def head_of(path: Path, name: str | None = None) -> bytes:
    """The first :data:`HEAD_BYTES` bytes of a file, decompressed; errors call it *name*, or by its path.

    Raises
    ------
    KevacuateError
        The file cannot be read, or does not decompress.

    """
    file, _ = open_any(path)
    with failing(f"{name or path} cannot be read"), closing(file):
        return file.read(HEAD_BYTES)
