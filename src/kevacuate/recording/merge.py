# SPDX-License-Identifier: GPL-2.0-or-later
"""Merging the CPUs' streams by time, in memory that does not grow with their length."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from kevacuate.errors import KevacuateError
from kevacuate.recording.schema import EventChunk, concat_chunks


class _Source:
    """One CPU's chunks and what of them is not yet given out."""

    def __init__(self, chunks: Iterator[EventChunk]) -> None:
        self.chunks = chunks
        self.held: EventChunk | None = None
        self.done = False
        self.more()

    def more(self) -> None:
        """Append the next chunk to what is held."""
        chunk = next(self.chunks, None)
        if chunk is None:
            self.done = True
        elif self.held is None or not self.held.rows:
            self.held = chunk
        else:
            self.held = concat_chunks([self.held, chunk])

    def last(self) -> int:
        """Time of the last event held."""
        return int(self.held.ts[-1]) if self.held is not None and self.held.rows else -1

    def before(self, ts: int | None) -> EventChunk | None:
        """Give out the events held that are earlier than *ts* (all if None)."""
        if self.held is None or not self.held.rows:
            return None
        n = self.held.rows if ts is None else int(np.searchsorted(self.held.ts, ts, "left"))
        out, self.held = self.held.take(slice(0, n)), self.held.take(slice(n, None))
        return out if n else None


def merge_chunks(streams: list[Iterator[EventChunk]]) -> Iterator[EventChunk]:
    """Merge per-CPU streams, given in order of CPU number, into one sorted by (ts, cpu, position).

    What is held at any time is a chunk or two of each stream, more only where very many events bear the
    same time.
    """
    if len(streams) == 1:
        yield from streams[0]
        return
    sources = [_Source(stream) for stream in streams]
    while True:
        open_sources = [s for s in sources if not s.done]
        bound = min((s.last() for s in open_sources), default=None)
        parts = [p for p in (s.before(bound) for s in sources) if p is not None]
        if parts:
            yield _sorted(parts)
        if bound is None:
            return
        for source in open_sources:
            if source.last() <= bound:
                source.more()


def _sorted(parts: list[EventChunk]) -> EventChunk:
    chunk = concat_chunks(parts)
    if len(parts) == 1:
        return chunk
    return chunk.take(np.argsort(chunk.ts, kind="stable"))


def sorted_within(chunks: Iterator[EventChunk], rows: int, where: str) -> Iterator[EventChunk]:
    """A stream that is nearly in order of time, sorted: no event may stand *rows* or more too late.

    Events of equal time keep their order. At most *rows* events and a chunk are held.

    Raises
    ------
    KevacuateError
        If an event is earlier than what was given out before; *where* names the file.

    """
    held: EventChunk | None = None
    given = -1
    for chunk in chunks:
        held = chunk if held is None else concat_chunks([held, chunk])
        if (held.ts[1:] < held.ts[:-1]).any():
            held = held.take(np.argsort(held.ts, kind="stable"))
        if held.rows and int(held.ts[0]) < given:
            raise KevacuateError(
                f"{where} is too far out of order: a time is {(given - int(held.ts[0])) / 1e9:.6f} s before that of "
                f"an event more than {rows:,} lines above it. Sort its lines by time."
            )
        out, held = (
            held.take(slice(0, max(0, held.rows - rows))),
            held.take(slice(max(0, held.rows - rows), None)),
        )
        if out.rows:
            given = int(out.ts[-1])
            yield out
    if held is not None and held.rows:
        yield held
