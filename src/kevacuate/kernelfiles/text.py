# SPDX-License-Identifier: GPL-2.0-or-later
"""A file of text as its parsers see it: whatever it is compressed with, line by line, in bounded memory."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from contextlib import closing
from functools import cached_property
from pathlib import Path
from typing import IO

from kevacuate.errors import KevacuateError, failing
from kevacuate.recording.opener import head_of, open_any

UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)

LONGEST_LINE = 1 << 20
"""Bytes of a line that are kept; the rest of a longer one is passed over."""


def encoding_of(head: bytes) -> str:
    """``utf-16`` of bytes that begin with its byte order mark, else ``utf-8``."""
    return "utf-16" if head.startswith(UTF16_MARKS) else "utf-8"


class TextFile:
    """A file of text.

    Attributes
    ----------
    path : Path
        Where it lies.
    name : str
        What the user calls it: the path given, or ``-``.
    cut : int
        Lines longer than :data:`LONGEST_LINE`, so far: only their beginning was given out.
    tolerant : bool
        Whether lines end, instead of raising an error, where the file cannot be read on; for a file among others.
    damage : str
        Why the lines of a tolerant file ended before its end; empty where they did not.
    unended : bool
        Whether the last line that was given out has no end, as that of a file that was cut off.

    """

    def __init__(self, path: Path, name: str | None = None) -> None:
        self.path, self.name, self.cut = path, str(path) if name is None else name, 0
        self.tolerant, self.damage, self.unended = False, "", False

    @cached_property
    def head_bytes(self) -> bytes:
        """The first :data:`kevacuate.recording.opener.HEAD_BYTES` bytes, decompressed.

        Raises
        ------
        KevacuateError
            The file cannot be read, or does not decompress.

        """
        return head_of(self.path, self.name)

    @cached_property
    def head(self) -> str:
        """The first :data:`kevacuate.recording.opener.HEAD_BYTES` bytes as text; bytes that are no UTF-8 are U+FFFD.

        Text in UTF-16 with a byte order mark, as PowerShell writes it, is read as such.
        """
        return self.head_bytes.decode(encoding_of(self.head_bytes), "replace").removeprefix("\ufeff")

    def forget(self) -> None:
        """Let go of the head, which is read again if it is asked for: a folder may hold many thousand files."""
        for name in ("head", "head_bytes"):
            self.__dict__.pop(name, None)

    def raw_lines(self) -> Iterator[bytes]:
        r"""Every line from the first to the last, as bytes, without its end (``\n`` or ``\r\n``).

        Raises
        ------
        KevacuateError
            The file cannot be read, or does not decompress, and is not :attr:`tolerant`.

        """
        try:
            yield from self._read()
        except KevacuateError as error:
            if not self.tolerant:
                raise
            self.damage = str(error)

    def _read(self) -> Iterator[bytes]:
        """:meth:`raw_lines` of a file that is not tolerant."""
        file, _ = open_any(self.path)
        with failing(f"{self.name} cannot be read"), closing(file):
            if isinstance(file, io.BufferedReader) and encoding_of(file.peek(2)) == "utf-16":
                yield from self._utf16(file)
                return
            while line := file.readline(LONGEST_LINE):
                if len(line) == LONGEST_LINE and not line.endswith(b"\n"):
                    self.cut += 1
                    while (rest := file.readline(LONGEST_LINE)) and not rest.endswith(b"\n"):
                        pass
                self.unended = not line.endswith(b"\n") and len(line) < LONGEST_LINE
                yield line.strip(b"\0").rstrip(b"\r\n\0")

    def _utf16(self, file: IO[bytes]) -> Iterator[bytes]:
        """The lines of a file in UTF-16, in UTF-8."""
        text = io.TextIOWrapper(file, "utf-16", errors="replace", newline="\n")
        while line := text.readline(LONGEST_LINE):
            if len(line) == LONGEST_LINE and not line.endswith("\n"):
                self.cut += 1
                while (rest := text.readline(LONGEST_LINE)) and not rest.endswith("\n"):
                    pass
            self.unended = not line.endswith("\n") and len(line) < LONGEST_LINE
            yield line.strip("\0").rstrip("\r\n\0").encode("utf-8", "replace")

    def whole(self, most: int) -> str | None:
        """All of it as text; None if it has more than *most* bytes.

        Raises
        ------
        KevacuateError
            The file cannot be read, or does not decompress, and is not :attr:`tolerant`.

        """
        try:
            file, _ = open_any(self.path)
            with failing(f"{self.name} cannot be read"), closing(file):
                data = file.read(most + 1)
        except KevacuateError as error:
            if not self.tolerant:
                raise
            self.damage = str(error)
            return None
        return None if len(data) > most else data.decode(encoding_of(data), "replace").removeprefix("\ufeff")

    def lines(self) -> Iterator[str]:
        """As :meth:`raw_lines`, as text; bytes that are no UTF-8 are U+FFFD."""
        for number, line in enumerate(self.raw_lines()):
            text = line.decode("utf-8", "replace")
            yield text.removeprefix("\ufeff") if number == 0 else text
