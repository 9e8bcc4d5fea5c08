# SPDX-License-Identifier: GPL-2.0-or-later
"""Sub-buffers of 32-bit and of big-endian machines, rewritten as those of a 64-bit little-endian one, which are decoded.

``header_page`` says how they lie: on a 32-bit machine the commit word has 4 bytes, so the data begin at byte 12. On a
big-endian machine ``type_len`` is the top 5 bits of an event's first word (include/linux/ring_buffer.h: the order of
bit-fields), and each field has its own bytes reversed.
"""

from __future__ import annotations

import io
import re
from contextlib import closing
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from kevacuate.errors import KevacuateError
from kevacuate.jit import kernel, part, pointers
from kevacuate.recording import decode as dc
from kevacuate.recording.formats import EventFormat
from kevacuate.records import Words

ByteOrder = Literal["little", "big"]

_DATA = re.compile(r"field: char data;\s*offset:(\d{1,9});\s*size:(\d{1,9});")
_COMMIT = re.compile(r"commit;\s*offset:8;\s*size:([48]);")
_HEAD_BYTES = {"4": 12, "8": 16}
SMALLEST = 4 * dc.SMALLEST_BUFFER_WORDS
"""Bytes of the smallest sub-buffer there is."""

GROWTH = 8
"""Bytes by which a rewritten sub-buffer is longer: the commit word's other half, and that of a count of lost events."""

_END, _SWAP, _ROTATE, _REVERSE, _REVERSE_REST = range(5)
"""What is done to a payload whose words of 32 bits are right already: two words of 64 bits change places, two halves of
16 bits do, four bytes (or all from there on) get their order back."""


class SubBuffers(NamedTuple):
    """How sub-buffers lie: bytes of one, bytes before its data, byte order."""

    size: int
    head: int = 16
    order: ByteOrder = "little"

    @property
    def native(self) -> bool:
        """Whether they are decoded as they are."""
        return self.head == 16 and self.order == "little"

    @property
    def decoded_size(self) -> int:
        """Bytes of one as it is decoded."""
        return self.size if self.native else self.size + GROWTH


def sub_buffers(header_page: str, where: str, order: ByteOrder = "little") -> SubBuffers:
    """How sub-buffers lie, of the text of tracefs' ``events/header_page``; *where* names it in the error.

    Raises
    ------
    KevacuateError
        If it describes sub-buffers that are not known.

    """
    data, commit = _DATA.search(header_page), _COMMIT.search(header_page)
    size = int(data[1]) + int(data[2]) if data else 0
    head = _HEAD_BYTES[commit[1]] if commit else 0
    if not data or int(data[1]) != head or not 4096 <= size <= 1 << 20 or size % 4096:
        raise KevacuateError(
            f"{where} describes sub-buffers that this program does not know: import what `trace-cmd report` prints of it."
        )
    return SubBuffers(size, head, order)


def _header(data: bytes, at: int, how: SubBuffers) -> tuple[int, int, int]:
    """Time, bytes of data (-1 if that cannot be), and the commit word of the sub-buffer at that byte."""
    time = int.from_bytes(data[at : at + 8], how.order)
    commit = int.from_bytes(data[at + 8 : at + how.head], how.order)
    length = commit & 0x7FFFFFF
    return time, length if length % 4 == 0 and commit >> 32 == 0 else -1, commit


def fits(data: bytes, how: SubBuffers) -> bool:
    """Whether data, a CPU's from its first byte on, are sub-buffers that lie so (or zeros), as far as they go."""
    last = 0
    for at in range(0, len(data) - how.head, how.size):
        time, length, commit = _header(data, at, how)
        if (
            not 0 <= length <= how.size - how.head
            or (commit and time < last - dc.TIME_SLACK)
            or time > dc.MAX_TIME
        ):
            return False
        last = max(last, time)
        behind = at + how.head + length + 8
        for inner in range(at + SMALLEST, min(at + how.size, len(data) - how.head), SMALLEST):
            other, fill, _ = _header(data, inner, how)
            if inner >= behind and 0 < fill <= SMALLEST - how.head and 0 <= other - time < dc.MAX_PAUSE:
                return False
    return True


class _Words(NamedTuple):
    words: npt.NDArray[np.int32]


class Repairs(NamedTuple):
    """What is done to each event's payload: event id to a place in ``steps``, pairs of word and step up to an _END."""

    begin: npt.NDArray[np.int32]
    steps: npt.NDArray[np.int32]


def repairs(formats: dict[int, EventFormat]) -> Repairs:
    """What is done to the payloads of these events of a big-endian machine."""
    begin, steps = np.zeros(1 << 16, np.int32), [0, _END]
    for event in formats.values():
        begin[event.id] = len(steps)
        small: dict[int, int] = {}
        for field in event.fields:
            word = field.offset // 4
            if field.size == 8 and field.offset % 4 == 0:
                steps += [word, _SWAP]
            elif field.size in (1, 2) and word > 0:
                small[word] = max(small.get(word, 0), field.size)
        for word, size in small.items():
            steps += [word, _ROTATE if size == 2 else _REVERSE]
        if any(field.declaration.startswith("__data_loc") for field in event.fields):
            steps += [-(-event.size // 4), _REVERSE_REST]
        steps += [0, _END]
    return Repairs(begin, np.array(steps, np.int32))


@part(inline=True)
def _signed(x: int) -> int:
    """32 bits as a signed number."""
    return ((x ^ 0x80000000) & 0xFFFFFFFF) - 0x80000000


@part(inline=True)
def _reversed(x: int) -> int:
    """The four bytes of 32 bits in the other order."""
    x &= 0xFFFFFFFF
    return _signed((x >> 24) | ((x >> 8) & 0xFF00) | ((x & 0xFF00) << 8) | (x << 24))


@part(inline=True)
def _rotated(x: int) -> int:
    """The two halves of 32 bits in the other order."""
    x &= 0xFFFFFFFF
    return _signed((x >> 16) | (x << 16))


@part
def _payload(words: Words, at: int, end: int, steps: Words, step: int) -> None:
    """Give the fields of the payload from word at to end their bytes in order, by the steps from there on."""
    while steps[step + 1] != _END:
        i = at + steps[step]
        what = steps[step + 1]
        step += 2
        if what == _SWAP and i + 1 < end:
            other = words[i + 1]
            words[i + 1] = words[i]
            words[i] = other
        elif what == _ROTATE and i < end:
            words[i] = _rotated(words[i])
        elif what >= _REVERSE:
            last = end if what == _REVERSE_REST else min(i + 1, end)
            for k in range(i, last):
                words[k] = _reversed(words[k])


@kernel
def _repair(block: _Words, how: Repairs, pages: int, page_words: int) -> None:
    """Rewrite the events of sub-buffers whose 32-bit words are in this machine's byte order already (in place)."""
    words = pointers(block).words
    r = pointers(how)
    for page in range(pages):
        begin = page * page_words
        length = words[begin + 2] & 0x7FFFFFF
        end = min(begin + 4 + (length >> 2), begin + page_words - 2)
        w = begin + 4
        while w < end:
            head = words[w] & 0xFFFFFFFF
            kind = head >> 27
            words[w] = _signed(((head & 0x7FFFFFF) << 5) | kind)
            at = w + 1
            if kind >= dc.TIME_EXTEND:
                w += 2
                continue
            if kind == dc.PADDING and head & 0x7FFFFFF == 0:
                break
            if kind in (0, dc.PADDING):
                at += 1
                w += 1 + (((words[w + 1] & 0xFFFFFFFF) + 3) >> 2)
            else:
                w += 1 + kind
            if kind != dc.PADDING and at < w <= end:
                words[at] = _rotated(words[at])
                _payload(words, at, w, r.steps, r.begin[words[at] & 0xFFFF])


class ForeignPages(io.RawIOBase):
    """A stream of sub-buffers as they are decoded, of a stream of sub-buffers as that machine had them.

    Parameters
    ----------
    file : binary file
        The machine's; closed with this one.
    path : Path
        Where it comes from, for messages.
    how : SubBuffers
        How its sub-buffers lie.
    what : Repairs
        What is done to payloads of a big-endian machine.

    """

    def __init__(self, file: IO[bytes], path: Path, how: SubBuffers, what: Repairs) -> None:
        self._file, self._path, self._how, self._what = file, path, how, what

    def readable(self) -> bool:
        """It is."""
        return True

    def close(self) -> None:
        """Close the machine's stream, too."""
        with closing(self._file):
            super().close()

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer with whole sub-buffers; 0 at the end."""
        target = memoryview(buffer)
        most = len(target) // self._how.decoded_size
        raw = bytearray(most * self._how.size)
        done = 0
        while done < len(raw) and (more := cast("Any", self._file).readinto(memoryview(raw)[done:])):
            done += more
        if done % self._how.size:
            raise KevacuateError(f"{self._path} is truncated: the last sub-buffer is not complete.")
        pages = self.rewritten(bytes(raw[:done])).view(np.uint8)
        target[: pages.size] = pages.data
        return pages.size

    def rewritten(self, raw: bytes) -> npt.NDArray[np.int32]:
        """Whole sub-buffers, rewritten: int32[sub-buffers * decoded_size / 4]."""
        how = self._how
        head, words = how.head // 4, how.decoded_size // 4
        source = np.frombuffer(raw, ">u4" if how.order == "big" else "<u4").reshape(-1, how.size // 4)
        out = np.zeros((len(source), words), np.uint32)
        out[:, :head] = source[:, :head]
        out[:, 4 : 4 + source.shape[1] - head] = source[:, head:]
        if how.order == "big":
            out[:, [0, 1]] = out[:, [1, 0]]
            if head == 4:
                out[:, [2, 3]] = out[:, [3, 2]]
                _swap_counts(out)
        flat = out.reshape(-1).view(np.int32)
        if how.order == "big":
            _repair(_Words(flat), self._what, len(out), words)
        return flat


def _swap_counts(pages: npt.NDArray[np.uint32]) -> None:
    """The two words of the count of lost events that stands behind the data (in place)."""
    for number in np.flatnonzero((pages[:, 2] >> 30) == 3):
        page = pages[number]
        at = 4 + (int(page[2]) & 0x7FFFFFF) // 4
        if at + 2 <= len(page):
            page[[at, at + 1]] = page[[at + 1, at]]
