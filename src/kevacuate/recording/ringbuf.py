# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading one CPU's raw ring-buffer file, plain or xz, as a stream of event chunks in bounded memory."""

from __future__ import annotations

import lzma
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from kevacuate.errors import KevacuateError, failing
from kevacuate.jit import run
from kevacuate.recording import decode as dc
from kevacuate.recording.fieldtable import Decoding
from kevacuate.recording.foreign_subbuffers import sub_buffers
from kevacuate.recording.formats import EventFormat
from kevacuate.recording.losses import Lost
from kevacuate.recording.schema import EventChunk, EventKind

PAGE_BYTES = 4096
"""Bytes of a sub-buffer unless ``header_page`` says otherwise."""

NO_FORMAT = "(no format)"
"""What stands for the name of events of which there is no format file."""

_BLOCK_BYTES = 1 << 20
_ERRORS = {
    dc.BAD_COMMIT: "a sub-buffer claims more data than it holds",
    dc.BAD_LENGTH: "an event runs past the end of its sub-buffer",
    dc.SHORT_PAYLOAD: "an event is shorter than its format",
    dc.TIME_BACK: "time runs backwards",
    dc.BAD_TIME: "a time stamp is not believable",
    dc.BAD_SIZE: "data go on behind the end that a sub-buffer gives, so sub-buffers are smaller than the file says",
}


@dataclass(frozen=True)
class CpuLosses:
    """What one CPU's buffer is known to have lost.

    ``missed`` events are counted in the stream, ``gaps`` are places where an unknown number is missing;
    ``overrun``, ``commit_overrun`` and ``dropped`` are the kernel's own counts from ``cpuN.stats`` (0 without
    that file). ``unknown`` events were there but could not be read.
    """

    cpu: int
    missed: int = 0
    gaps: int = 0
    overrun: int = 0
    commit_overrun: int = 0
    dropped: int = 0
    unknown: int = 0

    @property
    def any(self) -> bool:
        """Whether events were lost."""
        return bool(self.lost)

    @property
    def lost(self) -> Lost:
        """Events known to be lost, and whether there may be more."""
        return Lost.marked(self.missed, self.gaps, self.overrun + self.commit_overrun + self.dropped)


_COUNT = re.compile(r"^([a-z ]+): (\d{1,18})$", re.MULTILINE)


def sub_buffer_bytes(header_page: str, where: str) -> int:
    """Bytes of a sub-buffer of a 64-bit machine, of the text of tracefs' ``events/header_page``.

    Raises
    ------
    KevacuateError
        If it describes others; *where* names it in the error.

    """
    how = sub_buffers(header_page, where)
    if not how.native:
        raise KevacuateError(
            f"{where} describes the sub-buffers of a 32-bit machine, which are read by `kevacuate import`."
        )
    return how.size


def open_raw(path: Path) -> IO[bytes]:
    """Open a raw file, by content xz or plain.

    Raises
    ------
    KevacuateError
        If it cannot be opened.

    """
    with failing(f"{path} cannot be opened"):
        file = path.open("rb")
        magic = file.read(6)
        file.seek(0)
        return lzma.open(file, "rb") if magic == b"\xfd7zXZ\x00" else file


_DAMAGED = (EOFError, lzma.LZMAError, OSError)
"""What reading an xz file may raise."""


def _unreadable(path: Path, error: Exception) -> KevacuateError:
    """The sentence for one of :data:`_DAMAGED`."""
    if isinstance(error, OSError):
        return KevacuateError(f"{path} cannot be read: {error.strerror or error}.")
    if isinstance(error, EOFError):
        return KevacuateError(f"{path} is truncated: its compressed data ends too early.")
    return KevacuateError(f"{path} is corrupted: it does not decompress.")


def read_into(file: IO[bytes], path: Path, buffer: memoryview) -> int:
    """Fill *buffer*; the number of bytes read, fewer than its length only at the end of the file.

    Raises
    ------
    KevacuateError
        If reading or decompression fails.

    """
    done = 0
    try:
        while done < len(buffer):
            more = file.readinto(buffer[done:])  # type: ignore[attr-defined]
            if not more:
                break
            done += more
        return done
    except _DAMAGED as error:
        raise _unreadable(path, error) from None


def read_blocks(path: Path) -> Iterator[memoryview]:
    """The file's content, decompressed, in blocks of 1 MiB; each is valid until the next is asked for.

    Raises
    ------
    KevacuateError
        As :func:`open_raw` and :func:`read_into`.

    """
    buffer = memoryview(bytearray(_BLOCK_BYTES))
    with closing(open_raw(path)) as file:
        while done := read_into(file, path, buffer):
            yield buffer[:done]


def read_line(file: IO[bytes], path: Path, longest: int) -> bytes:
    """The next line with its end, b"" at the end of the file.

    Raises
    ------
    KevacuateError
        If reading or decompression fails, or the line is longer than *longest* bytes.

    """
    try:
        line = file.readline(longest + 1)
    except _DAMAGED as error:
        raise _unreadable(path, error) from None
    if len(line) > longest:
        raise KevacuateError(f"{path} has a line of more than {longest} bytes: it is not a trace's text.")
    return line


def unread_by_name(
    unreadable: Mapping[int, int], unknown: int, formats: Mapping[int, EventFormat]
) -> dict[str, int]:
    """Event name to how many could not be read, of the counts by id; of ids without a format the number stands by NO_FORMAT.

    *unknown* is the number of all of them.
    """
    named = {formats[ident].name: count for ident, count in sorted(unreadable.items())}
    rest = unknown - sum(unreadable.values())
    return named | ({NO_FORMAT: rest} if rest else {})


class SubBufferDecoder:
    """Decodes one CPU's sub-buffers, block by block as they come: fill :attr:`buffer`, then :meth:`decode`.

    Parameters
    ----------
    path : Path
        Where the sub-buffers come from, for messages.
    cpu : int
        The CPU.
    table : Decoding
        Of the formats and the kinds wanted; other events are passed over (but still checked).
    page_bytes : int
        Bytes of a sub-buffer.
    chunk_rows : int
        Most rows of a chunk (at least one sub-buffer's worth).
    block_bytes : int
        Bytes of the buffer, at least a sub-buffer.

    """

    def __init__(
        self,
        path: Path,
        cpu: int,
        table: Decoding,
        page_bytes: int = PAGE_BYTES,
        chunk_rows: int = 1 << 17,
        *,
        block_bytes: int = _BLOCK_BYTES,
    ) -> None:
        self.path, self.cpu, self.decoding, self.page_bytes = path, cpu, table, page_bytes
        self.missed = self.gaps = self.unknown = 0
        self.unreadable: Counter[int] = Counter()
        """Event id to how many of them could not be read; they count as unknown, too."""
        self._empty = 0
        self.last = 0
        """Time of the last event of any kind, ns; 0 before the first."""
        self.capacity = max(chunk_rows, page_bytes // 8)
        self._block = np.zeros(max(1, block_bytes // page_bytes) * page_bytes // 4 + 2, np.int32)
        self.buffer: memoryview = self._block[:-2].view(np.uint8).data
        """Where to put the next sub-buffers; at most this many bytes at once."""
        self.passed_over: Counter[str] = Counter()
        """How many there were of each event that no kind stands for, by name."""
        self._out, self._rows = self._new_out(), 0

    def decode(self, size: int, offset: int) -> Iterator[EventChunk]:
        """Decode the *size* bytes put into the buffer, which lie at *offset* of the file; yields full chunks.

        Raises
        ------
        KevacuateError
            If they are truncated or corrupted; the sentence names the file and the offset.

        """
        if size % self.page_bytes:
            where = offset + size
            raise KevacuateError(f"{self.path} is truncated: at byte {where} a sub-buffer is not complete.")
        page, pages, words = 0, size // self.page_bytes, self.page_bytes // 4
        work = size
        while page < pages:
            out = self._out
            out.status[:] = 0
            out.status[dc.S_LAST], out.status[dc.S_EMPTY] = self.last, self._empty
            run(
                dc.decode_block, work,
                dc.SubBuffers(self._block), self.decoding.table, out, page, pages, words, self._rows, self.capacity,
            )  # fmt: skip
            work = 0
            self._count(out.status, offset)
            self._rows, page = int(out.status[dc.S_ROWS]), int(out.status[dc.S_SUB_BUFFERS])
            self.last, self._empty = int(out.status[dc.S_LAST]), int(out.status[dc.S_EMPTY])
            if page < pages:
                yield from self.rest()

    def warm_up(self) -> None:
        """Have the decoder compiled or loaded: a sub-buffer of zeros is decoded, and nothing of it is counted."""
        nothing = dc.SubBuffers(np.zeros_like(self._block))
        dc.decode_block(nothing, self.decoding.table, self._out, 0, 1, self.page_bytes // 4, 0, self.capacity)

    def rest(self) -> Iterator[EventChunk]:
        """What is decoded and not yet given out: one chunk or none."""
        if self._rows:
            out, rows, self._rows = self._out, self._rows, 0
            self._out = self._new_out()
            yield self._chunk(out, rows)

    def _count(self, status: npt.NDArray[np.int64], offset: int) -> None:
        self.missed += int(status[dc.S_MISSED])
        self.gaps += int(status[dc.S_GAPS])
        self.unknown += int(status[dc.S_SKIPPED])
        counts = status[dc.STATUS_WORDS :]
        for place in np.flatnonzero(counts).tolist():
            event, count = self.decoding.counted[place], int(counts[place])
            if event.id in self.decoding.unreadable:
                self.unreadable[event.id] += count
                self.unknown += count
            else:
                self.passed_over[event.name] += count
        if status[dc.S_ERROR] != dc.OK:
            where = offset + int(status[dc.S_OFFSET])
            raise KevacuateError(
                f"{self.path} is corrupted near byte {where}: {_ERRORS[int(status[dc.S_ERROR])]}."
            )

    def _new_out(self) -> dc.DecodeOut:
        types = [np.int64, np.int32, np.uint8, np.int64, np.int8, np.int8, np.uint32] + [np.int64] * 4
        columns: list[npt.NDArray[Any]] = [np.zeros(self.capacity, t) for t in types]
        status = np.zeros(dc.STATUS_WORDS + len(self.decoding.counted), np.int64)
        return dc.DecodeOut(*columns, status)  # type: ignore[call-arg]

    def _chunk(self, out: dc.DecodeOut, rows: int) -> EventChunk:
        """The rows filled so far; watermark events get their zone's index, numbers become those of Linux 7.2."""
        cpu = np.full(rows, self.cpu, np.uint16)
        columns: list[npt.NDArray[Any]] = [column[:rows] for column in out[:-1]]
        chunk = EventChunk(columns[0], cpu, *columns[1:])
        self.decoding.numbers.apply(chunk)
        zones = self.decoding.zones
        for i in np.flatnonzero(chunk.kind == EventKind.MM_SETUP_PER_ZONE_WMARKS):
            name = (
                int(chunk.pfn[i]).to_bytes(8, "little", signed=True).rstrip(b"\0").decode("ascii", "replace")
            )
            chunk.order[i] = zones.index(name) if name in zones else -1
            chunk.pfn[i] = -1
        return chunk


class RawReader:
    """The events of one CPU's raw data, in order.

    Parameters
    ----------
    path : Path
        ``cpuN.raw`` or ``cpuN.raw.xz``, or the file that holds the data.
    cpu : int
        Its number.
    table, page_bytes
        As of :class:`SubBufferDecoder`.
    opener : callable, optional
        Opens the data where they are only a part of the file.
    block_bytes : int
        Bytes that are read at once, at least a sub-buffer.

    """

    def __init__(
        self,
        path: Path,
        cpu: int,
        table: Decoding,
        page_bytes: int = PAGE_BYTES,
        *,
        opener: Callable[[], IO[bytes]] | None = None,
        block_bytes: int = _BLOCK_BYTES,
    ) -> None:
        self.path, self.cpu, self.table, self.page_bytes = path, cpu, table, page_bytes
        self._open = opener or (lambda: open_raw(path))
        self._block_bytes = block_bytes
        self.missed = self.gaps = self.unknown = 0
        self.unreadable: Counter[int] = Counter()
        self.passed_over: Counter[str] = Counter()
        self.bytes_read = 0

    def chunks(self, chunk_rows: int) -> Iterator[EventChunk]:
        """Chunks of at most about *chunk_rows* events (at least one sub-buffer's worth).

        Raises
        ------
        KevacuateError
            If the file is truncated or corrupted; the sentence names the file and the offset.

        """
        decoder = SubBufferDecoder(
            self.path, self.cpu, self.table, self.page_bytes, chunk_rows, block_bytes=self._block_bytes
        )
        offset = 0
        with closing(self._open()) as file:
            while size := read_into(file, self.path, decoder.buffer):
                try:
                    yield from decoder.decode(size, offset)
                finally:
                    self._count(decoder)
                offset += size
                self.bytes_read = offset
        yield from decoder.rest()
        self._count(decoder)

    def _count(self, decoder: SubBufferDecoder) -> None:
        self.missed, self.gaps, self.unknown = decoder.missed, decoder.gaps, decoder.unknown
        self.unreadable, self.passed_over = decoder.unreadable, decoder.passed_over


def cpu_losses(reader: RawReader, stats: str) -> CpuLosses:
    """What a CPU lost: the marks in its stream, read to the end, and the kernel's own counts (per_cpu/cpuN/stats)."""
    count = {key: int(value) for key, value in _COUNT.findall(stats)}
    return CpuLosses(
        cpu=reader.cpu,
        missed=reader.missed,
        gaps=reader.gaps,
        overrun=count.get("overrun", 0),
        commit_overrun=count.get("commit overrun", 0),
        dropped=count.get("dropped events", 0),
        unknown=reader.unknown,
    )
