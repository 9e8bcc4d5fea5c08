# SPDX-License-Identifier: GPL-2.0-or-later
"""The recorded events around a place in the stream, as people read them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kevacuate.recording import EventChunk, EventKind
from kevacuate.recording.schema import EVENT_SPECS

BEFORE = 6
AFTER = 4
"""Events shown before and after the one in question."""

_FIELDS = {spec.kind: {c: spec.field(c) for c in spec.fields} for spec in EVENT_SPECS.values()}
_NAMES = {spec.kind: name for name, spec in EVENT_SPECS.items()}


def event_line(chunk: EventChunk, row: int, number: int) -> str:
    """One event: number, time in seconds, CPU, name, fields by the kernel's names."""
    kind = EventKind(int(chunk.kind[row]))
    fields = []
    for column, name in _FIELDS[kind].items():
        value = int(getattr(chunk, column)[row])
        if kind == EventKind.GT_RMQ and column == "pfn":
            continue
        text = f"{value:#x}" if column in ("pfn", "gfp") and value >= 0 else str(value)
        fields.append(f"{name}={text}")
    seconds = int(chunk.ts[row]) / 1e9
    return f"{number:>9} {seconds:13.6f} [{int(chunk.cpu[row]):03}] {_NAMES[kind]}: {' '.join(fields)}"


def events_around(stream: Iterable[EventChunk], positions: Sequence[int]) -> dict[int, tuple[str, ...]]:
    """Lines of the events around each position; the stream is read no further than needed."""
    lines: dict[int, list[str]] = {position: [] for position in positions}
    last = max(positions) + AFTER
    first = 0
    for chunk in stream:
        for position, found in lines.items():
            for number in range(max(position - BEFORE, first), min(position + AFTER + 1, first + chunk.rows)):
                mark = ">" if number == position else " "
                found.append(mark + event_line(chunk, number - first, number))
        first += chunk.rows
        if first > last:
            break
    return {position: tuple(found) for position, found in lines.items()}
