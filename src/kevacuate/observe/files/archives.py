# SPDX-License-Identifier: GPL-2.0-or-later
"""Tar archives among the files that triage is given: a sosreport as it was sent, the sysinfo.tgz of a must-gather's node.

Members are copied to a private directory under numbers, so that nothing of an archive's paths reaches the disk; links and devices
are passed over. Of a member that no kind of file takes only the beginning is copied.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable, Iterable
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import IO, NamedTuple

from kevacuate.errors import KevacuateError
from kevacuate.kernelfiles.text import TextFile
from kevacuate.recording.opener import HEAD_BYTES, open_any

MOST_BYTES = 2 << 30
"""Bytes of all archives that are copied; what is beyond them is named as not read."""

MOST_MEMBERS = 200_000
"""Members of an archive that are looked at."""

DEEPEST = 2
"""Archives in archives that are opened: a node's in a must-gather's."""

_CHUNK = 1 << 20
_USTAR = slice(257, 262)

Looks = Callable[[TextFile], bool]


class Unpacked(NamedTuple):
    """What archives hold.

    Attributes
    ----------
    files : list of TextFile
        The files that are no archives, and the members of those that are, named ``ARCHIVE/MEMBER``.
    not_read : list of dict
        ``file`` and ``what`` of archives that could not be read to their end.

    """

    files: list[TextFile]
    not_read: list[dict[str, str]]


def is_tar(file: TextFile) -> bool:
    """Whether a file, decompressed, is a tar archive."""
    return not os.path.isdir(file.path) and file.head_bytes[_USTAR] == b"ustar"


def unpacked(files: Iterable[TextFile], directory: Callable[[], Path], looks: Looks) -> Unpacked:
    """The files with those of the tar archives among them.

    Parameters
    ----------
    files : iterable of TextFile
        What was given.
    directory : callable
        Makes an empty private directory, where members are copied to: asked once, and only if there is an archive.
    looks : callable
        Whether a file is of a kind that is read.

    Raises
    ------
    KevacuateError
        Nothing can be written there.

    """
    copier = _Copier(directory, looks)
    for file in files:
        copier.take(file, 0)
    return Unpacked(copier.files, copier.not_read)


class _Copier:
    """Copies members until the limits are reached."""

    def __init__(self, directory: Callable[[], Path], looks: Looks) -> None:
        self.files: list[TextFile] = []
        self.not_read: list[dict[str, str]] = []
        self._directory, self._looks, self._left = cache(directory), looks, MOST_BYTES

    def take(self, file: TextFile, depth: int) -> None:
        """Take a file, or the members of an archive."""
        try:
            archive = is_tar(file)
        except KevacuateError:  # it cannot be opened: who reads the kinds says so
            archive = False
        file.forget()
        if not archive or depth > DEEPEST:
            self.files.append(file)
            return
        try:
            self._members(file, depth)
        except (tarfile.TarError, KevacuateError, EOFError) as error:
            told = str(error) if isinstance(error, KevacuateError) else "it is damaged."
            self.not_read.append({"file": file.name, "what": f"an archive, unpacked in part: {told}"})
        except OSError as error:
            raise KevacuateError(
                f"{file.name} cannot be unpacked in {self._directory().parent} ({error.strerror or error}): "
                "set TMPDIR to another place."
            ) from None

    def _members(self, file: TextFile, depth: int) -> None:
        stream, _ = open_any(file.path)
        with closing(stream), tarfile.open(fileobj=stream, mode="r|") as archive:
            for number, member in enumerate(archive):
                if number == MOST_MEMBERS or self._left <= 0:
                    raise KevacuateError(
                        f"it holds more than {MOST_MEMBERS:,} files, or {MOST_BYTES >> 30} GiB."
                    )
                data = archive.extractfile(member) if member.isreg() else None
                if data is not None:
                    self.take(self._copy(data, f"{file.name}/{member.name}"), depth + 1)

    def _copy(self, data: IO[bytes], name: str) -> TextFile:
        """A member as a file of its own: all of it, or its beginning where no kind takes it."""
        path = self._directory() / f"{len(self.files)}-{self._left}"
        head = data.read(HEAD_BYTES)
        with path.open("xb") as out:
            self._left -= out.write(head) + 1
            out.flush()
            if len(head) < HEAD_BYTES or not self._wanted(TextFile(path, name)):
                return TextFile(path, name)
            while self._left > 0 and (chunk := data.read(_CHUNK)):
                self._left -= out.write(chunk)
        return TextFile(path, name)

    def _wanted(self, file: TextFile) -> bool:
        """Whether a kind takes a file with this beginning; a compressed one, whose beginning ends too early, is wanted."""
        try:
            return is_tar(file) or self._looks(file)
        except KevacuateError:
            return True
