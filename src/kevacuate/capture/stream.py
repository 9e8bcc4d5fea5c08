# SPDX-License-Identifier: GPL-2.0-or-later
"""From a growing spool to one stream of events in order of time, in bounded memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from kevacuate.capture.spool import SEGMENT_BYTES, Words, segment_path
from kevacuate.errors import KevacuateError
from kevacuate.recording.fieldtable import Decoding, decoding
from kevacuate.recording.formats import EventFormat
from kevacuate.recording.ringbuf import SubBufferDecoder, read_into, unread_by_name
from kevacuate.recording.schema import ALL_KINDS, EventChunk, concat_chunks

CHUNK_ROWS = 1 << 17


@dataclass(frozen=True)
class LossInterval:
    """Events were lost on a CPU between two moments: *missed* of them, and at *gaps* places an unknown number."""

    cpu: int
    begin: int
    """ns: time of the last event decoded before."""
    end: int
    """ns: time of the last event of the block of sub-buffers in which the loss was marked."""
    missed: int
    gaps: int


class SpoolCpu:
    """One CPU's spool: decodes what has been written since the last time."""

    def __init__(self, spool: Path, cpu: int, at: int, table: Decoding, page_bytes: int) -> None:
        self.spool, self.cpu, self.at = spool, cpu, at
        self.decoder = SubBufferDecoder(spool / f"cpu{cpu}", cpu, table, page_bytes, chunk_rows=CHUNK_ROWS)
        self.offset = 0
        """Bytes decoded."""
        self.losses: list[LossInterval] = []
        self.held: list[EventChunk] = []
        self.until = 0
        """Every event up to this time, ns, is decoded."""
        self._ends: list[tuple[int, int]] = []  # (segment, time of its last event) of segments decoded whole
        self._file: IO[bytes] | None = None
        self._segment = -1

    def decode(self, end: int, most: int) -> int:
        """Decode up to byte *end* of the spool, at most about *most* bytes; the number of bytes decoded.

        Raises
        ------
        KevacuateError
            The spool is corrupted.

        """
        begin = self.offset
        end -= end % self.decoder.page_bytes
        while self.offset < end and self.offset - begin < most:
            segment, inside = divmod(self.offset, SEGMENT_BYTES)
            room = min(end - self.offset, SEGMENT_BYTES - inside, len(self.decoder.buffer))
            size = read_into(self._open(segment, inside), self._path(segment), self.decoder.buffer[:room])
            if size < room:
                raise KevacuateError(f"{self._path(segment)} is cut off: the spool was damaged.")
            before = (self.decoder.last, self.decoder.missed, self.decoder.gaps)
            self.held += self.decoder.decode(size, self.offset)
            self._note_losses(*before)
            self.offset += size
            if self.offset % SEGMENT_BYTES == 0:
                self._ends.append((segment, self.decoder.last))
        self.held += self.decoder.rest()
        return self.offset - begin

    def _path(self, segment: int) -> Path:
        return segment_path(self.spool, self.cpu, segment)

    def _open(self, segment: int, inside: int) -> IO[bytes]:
        """The segment's file, at the place to read on."""
        if segment != self._segment:
            if self._file is not None:
                self._file.close()
            try:
                self._file = self._path(segment).open("rb", buffering=0)
            except OSError as error:
                raise KevacuateError(f"{self._path(segment)} cannot be opened: {error.strerror}.") from None
            self._segment = segment
            self._file.seek(inside)
        assert self._file is not None
        return self._file

    def _note_losses(self, last: int, missed: int, gaps: int) -> None:
        if self.decoder.missed > missed or self.decoder.gaps > gaps:
            self.losses.append(
                LossInterval(
                    self.cpu, last, self.decoder.last, self.decoder.missed - missed, self.decoder.gaps - gaps
                )
            )

    def before(self, ts: int) -> EventChunk | None:
        """Take the decoded events that are earlier than *ts*."""
        out = []
        while self.held and int(self.held[0].ts[-1]) < ts:
            out.append(self.held.pop(0))
        if self.held:
            cut = int(np.searchsorted(self.held[0].ts, ts, "left"))
            if cut:
                out.append(self.held[0].take(slice(0, cut)))
                self.held[0] = self.held[0].take(slice(cut, None))
        return concat_chunks(out) if out else None

    def held_rows(self) -> int:
        """Events decoded and not yet taken."""
        return sum(chunk.rows for chunk in self.held)

    def release(self, safe: int) -> None:
        """Remove the segments all of whose events are earlier than *safe*."""
        while self._ends and self._ends[0][1] < safe:
            segment, _ = self._ends.pop(0)
            if segment == self._segment and self._file is not None:
                self._file.close()
                self._file, self._segment = None, -1
            self._path(segment).unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


class SpoolStream:
    """All CPUs' spools as one stream.

    Parameters
    ----------
    spool : Path
        The directory.
    cpus : list of int
        CPUs with a buffer.
    formats : dict
        Event formats by id.
    page_bytes : int
        Bytes of a sub-buffer.

    """

    MOST_HELD = 1 << 22
    """Events held while others are waited for; beyond it, a CPU that is ahead is not decoded further."""

    def __init__(
        self, spool: Path, cpus: list[int], formats: dict[int, EventFormat], page_bytes: int
    ) -> None:
        self.spool, self.formats = spool, formats
        self.words = Words(spool, len(cpus))
        table = decoding(formats, ALL_KINDS)
        self.cpus = [SpoolCpu(spool, cpu, at, table, page_bytes) for at, cpu in enumerate(cpus)]
        self.bound = 0
        """Every event earlier than this, ns, has been given out, and none that is later."""
        self._skip = 0
        self.decoded = 0
        """Bytes decoded by the last :meth:`pump`."""
        self.late = 0
        """Events that became readable only after later ones of other CPUs had been given out; their time was moved."""

    def waiting_bytes(self) -> int:
        """Bytes spooled and not yet decoded."""
        return sum(self.words.spooled(c.at) - c.offset for c in self.cpus)

    def warm_up(self) -> None:
        """Have the decoder compiled or loaded."""
        for cpu in self.cpus[:1]:
            cpu.decoder.warm_up()

    def start_at(self, offsets: list[int], bound: int) -> None:
        """Begin at these bytes of the CPUs' spools, with the events that are not earlier than *bound*."""
        for cpu, offset in zip(self.cpus, offsets, strict=True):
            cpu.offset = offset
        self.bound, self._skip = bound, bound

    def pump(self, most: int = 1 << 21) -> Iterator[EventChunk]:
        """Decode up to about *most* bytes per CPU and give out the events up to where no CPU can have earlier ones."""
        room = self.MOST_HELD // max(len(self.cpus), 1)
        self.decoded = 0
        for cpu in self.cpus:
            until, end = self.words.until(cpu.at), self.words.spooled(cpu.at)
            if cpu.held_rows() < room:
                self.decoded += cpu.decode(end, most)
            if cpu.offset >= end - end % cpu.decoder.page_bytes:
                cpu.until = max(cpu.until, until)
            cpu.until = max(cpu.until, cpu.decoder.last)
        yield from self.give(min((cpu.until for cpu in self.cpus), default=0))

    def give(self, bound: int) -> Iterator[EventChunk]:
        """The decoded events earlier than *bound*, sorted; one chunk or none."""
        parts = [p for p in (cpu.before(bound) for cpu in self.cpus) if p is not None]
        if not parts:
            self.bound = max(self.bound, bound)
            return
        chunk = concat_chunks(parts)
        if len(parts) > 1:
            chunk = chunk.take(np.argsort(chunk.ts, kind="stable"))
        if self._skip:
            chunk = chunk.take(slice(int(np.searchsorted(chunk.ts, self._skip, "left")), None))
        late = int(np.searchsorted(chunk.ts, self.bound, "left"))
        if late:
            self.late += late
            chunk.ts[:late] = self.bound
        self.bound = max(self.bound, bound)
        yield chunk

    def not_read(self) -> dict[str, int]:
        """Events that could not be read, by name: how many there were."""
        found: Counter[str] = Counter()
        for cpu in self.cpus:
            found.update(unread_by_name(cpu.decoder.unreadable, cpu.decoder.unknown, self.formats))
        return dict(found)

    def passed_over(self) -> dict[str, int]:
        """Events that no kind stands for, by name: how many there were."""
        return dict(sum((cpu.decoder.passed_over for cpu in self.cpus), Counter()))

    def losses(self) -> list[LossInterval]:
        """All intervals with losses, by CPU."""
        return [interval for cpu in self.cpus for interval in cpu.losses]

    def release(self, safe: int) -> None:
        """Remove what held only events earlier than *safe*, ns, which are on disk elsewhere."""
        for cpu in self.cpus:
            cpu.release(safe)

    def close(self) -> None:
        """Close all files."""
        for cpu in self.cpus:
            cpu.close()
