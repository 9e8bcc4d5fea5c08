# SPDX-License-Identifier: GPL-2.0-or-later
"""Trace text of any dialect, line by line: what is an event, what was lost, and in which order.

A dialect is a regular expression for the part of a line before the event's own text. All of them begin at a
line's first character that is no space and use possessive quantifiers: time grows linearly with the line.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kevacuate.errors import KevacuateError
from kevacuate.recording.eventparse import DEFAULT_ZONES, EventParser, Names, event_parsers
from kevacuate.recording.formats import gfp_bits, gfp_table, load_formats, zone_names
from kevacuate.recording.importers.source import MAX_CPUS, ImportOptions, machine_of
from kevacuate.recording.machine import Machine
from kevacuate.recording.merge import sorted_within
from kevacuate.recording.ringbuf import CpuLosses, open_raw, read_line
from kevacuate.recording.schema import COLUMN_TYPES, NO_PID, VALUE_COLUMNS, EventChunk

CHUNK_ROWS = 1 << 16
SORT_ROWS = 1 << 18
"""How far out of order a line may stand, in events."""

LONGEST_LINE, LONGEST_EVENT = 1 << 20, 1 << 12
"""Bytes: a longer line is no text, and one longer than the second no event."""

_MOST_SECONDS = 1 << 32
_WRITTEN = re.compile(r"# entries-in-buffer/entries-written: (\d{1,18})/(\d{1,18})")
_BLOCK_ORDER = re.compile(r"pageblock_order=(\d{1,2})\b")


class Dialect(NamedTuple):
    """How one tool prints a line."""

    name: str
    """What to call it: ``ftrace text``."""
    head: re.Pattern[str]
    """Groups pid, cpu (None if absent), seconds, fraction (None if absent), event, body."""
    relative: bool
    """Whether the seconds are microseconds since the trace began."""
    lost: Callable[[str], tuple[int, int | None] | None]
    """Of a line about lost events, the CPU and how many (None if not known); else None."""
    facts: tuple[tuple[str, re.Pattern[str]], ...]
    """Lines that say what the machine is: key, and what gives the value."""


class TextSource:
    """A file of trace text.

    Parameters
    ----------
    path : Path
        The file, plain or xz.
    dialect : Dialect
        How its lines look.
    options : ImportOptions
        Format files give zone names and the meaning of GFP numbers.

    """

    def __init__(self, path: Path, dialect: Dialect, options: ImportOptions) -> None:
        self.path, self.dialect = path, dialect
        self.form = dialect.name
        self.total, self.done = path.stat().st_size, 0
        self.formats = load_formats(options.formats) if options.formats else {}
        alloc = next((e for e in self.formats.values() if e.name == "mm_page_alloc"), None)
        bits = gfp_bits(alloc) if alloc else {}
        self.names = Names(gfp_table(bits) if bits else None)
        self.unread = self.others = 0
        self.said: dict[str, str] = {}
        self._lost: dict[int, list[int]] = {}
        self._overwritten = 0
        self._cpus = 0

    def events(self) -> Iterator[EventChunk]:
        """The events, in the file's order, or sorted where that is not the order of time.

        Raises
        ------
        KevacuateError
            If a line of an event lacks a value, or the lines are too far out of order.

        """
        yield from sorted_within(self._chunks(), SORT_ROWS, str(self.path))

    def _chunks(self) -> Iterator[EventChunk]:
        rows: list[tuple[int, ...]] = []
        number, parsers = 0, dict[str, EventParser]()
        with closing(open_raw(self.path)) as file:
            while raw := read_line(file, self.path, LONGEST_LINE):
                number += 1
                self.done += len(raw)
                line = raw.decode("utf-8", "replace").strip()
                if not line or len(line) > LONGEST_EVENT:
                    self.unread += bool(line)
                    continue
                if not parsers and not line.startswith("#"):
                    parsers = event_parsers(self._zones(), self.names)
                row = self._row(line, number, parsers)
                if row is None:
                    continue
                rows.append(row)
                if len(rows) == CHUNK_ROWS:
                    yield _chunk(rows)
                    rows = []
        if rows:
            yield _chunk(rows)

    def _zones(self) -> tuple[str, ...]:
        """Zone names by index: of the format files, of the text's heading, or those of a usual kernel."""
        said = self.said.get("zones")
        return zone_names(self.formats) or (tuple(said.split(",")) if said else DEFAULT_ZONES)

    def _row(self, line: str, number: int, parsers: dict[str, EventParser]) -> tuple[int, ...] | None:
        """The columns of a line in the table's order, or None if it is no event that a recording keeps."""
        match = self.dialect.head.match(line)
        if match is None:
            self._other(line)
            return None
        pid, cpu, seconds, fraction, event, body = match.groups()
        parser = parsers.get(event)
        if parser is None:
            self.others += 1
            return None
        ts = self._time(seconds, fraction, number)
        if int(cpu or 0) >= MAX_CPUS or int(pid) >= 1 << 31:
            raise self._bad(number, "a CPU or process number that cannot be")
        if event == "mm_page_alloc_extfrag" and "pageblock_order" not in self.said:
            found = _BLOCK_ORDER.search(body)
            self.said |= {"pageblock_order": found[1]} if found else {}
        self._cpus = max(self._cpus, int(cpu or 0) + 1)
        try:
            values = parser.parse(body)
        except ValueError as error:
            why = str(error) if "without" in str(error) else "an unreadable value"
            raise self._bad(number, why) from None
        task = NO_PID if int(pid) < 0 or (int(pid) == 0 and line.startswith("<...>-")) else int(pid)
        return (ts, int(cpu or 0), task, parser.kind, *values[: len(VALUE_COLUMNS)])

    def _time(self, seconds: str, fraction: str | None, number: int) -> int:
        if self.dialect.relative:
            return int(seconds) * 1000
        if fraction is None:
            raise self._bad(number, "a time without a fraction, of a trace clock that counts no seconds")
        if int(seconds) >= _MOST_SECONDS:
            raise self._bad(number, "a time that cannot be")
        return int(seconds) * 1_000_000_000 + int(fraction[:9].ljust(9, "0"))

    def _other(self, line: str) -> None:
        """A line that is no event: losses, facts, or not understood."""
        lost = self.dialect.lost(line)
        if lost:
            cpu, events = lost
            counts = self._lost.setdefault(min(cpu, MAX_CPUS - 1), [0, 0])
            counts[0 if events else 1] += events or 1
            return
        written = _WRITTEN.match(line)
        if written:
            self._overwritten += max(0, int(written[2]) - int(written[1]))
        found = [(key, match) for key, pattern in self.dialect.facts if (match := pattern.match(line))]
        for key, match in found:
            self.said.setdefault(key, match[1])
        self.unread += not found and not line.startswith("#")

    def _bad(self, number: int, what: str) -> KevacuateError:
        return KevacuateError(
            f"{self.path} is truncated or corrupted: line {number} has {what}; cut it off before that line."
        )

    def machine(self) -> Machine:
        """The machine as far as the text says."""
        said = self.said
        order = int(said.get("pageblock_order", 0))
        cpus = max(self._cpus, min(int(said.get("cpus", 0)), MAX_CPUS))
        clock = "relative" if self.dialect.relative else said.get("clock", "")
        return machine_of(
            self.formats,
            kernel=said.get("kernel", ""),
            arch=said.get("arch", ""),
            cpus=cpus,
            clock=clock,
            pageblock_order=order if order <= 20 else 0,
            zones=self._zones(),
        )

    def losses(self) -> list[CpuLosses]:
        """What the text says was lost; what was overwritten before its first line is put on CPU 0."""
        cpus = sorted({*range(self._cpus), *self._lost})
        counts = {cpu: self._lost.get(cpu, [0, 0]) for cpu in cpus}
        return [
            CpuLosses(cpu, missed=n[0], gaps=n[1], overrun=self._overwritten if cpu == 0 else 0)
            for cpu, n in counts.items()
        ]

    def facts(self) -> dict[str, Any]:
        """Lines of other events, lines not understood, names not known."""
        return {
            "other_events": self.others,
            "lines_not_read": self.unread,
            "names_not_known": sorted(self.names.unknown),
            "gfp_numbers_unmapped": self.names.numbers,
        }


def _chunk(rows: list[tuple[int, ...]]) -> EventChunk:
    columns: list[Any] = [
        np.array(values, dtype)
        for values, dtype in zip(zip(*rows, strict=True), COLUMN_TYPES.values(), strict=True)
    ]
    return EventChunk(*columns)
