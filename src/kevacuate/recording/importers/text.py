# SPDX-License-Identifier: GPL-2.0-or-later
"""Trace text of any dialect, line by line: what is an event, what was lost, and in which order.

A dialect (:mod:`.dialect`) is a regular expression for the part of a line before the event's own text. All of them begin
at a line's first character that is no space and use possessive quantifiers: time grows linearly with the line.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kevacuate.errors import KevacuateError
from kevacuate.kernel import events as kernel_events
from kevacuate.kernel import migratetypes
from kevacuate.kernel.versions import NEWEST, OLDEST, version_text
from kevacuate.recording.eventparse import DEFAULT_ZONES, HIGHMEM_ZONES, EventParser, Names, event_parsers
from kevacuate.recording.formats import gfp_table, kernel_gfp_bits, load_formats, zone_names
from kevacuate.recording.importers.dialect import Dialect, Said
from kevacuate.recording.importers.kernelproof import PROVEN, Kernel, Survey
from kevacuate.recording.importers.source import MAX_CPUS, ImportOptions, machine_of
from kevacuate.recording.importers.tasknames import TaskNames
from kevacuate.recording.machine import Machine
from kevacuate.recording.merge import sorted_within
from kevacuate.recording.opener import open_any
from kevacuate.recording.ringbuf import CpuLosses, read_line
from kevacuate.recording.schema import COLUMN_TYPES, NO_PID, VALUE_COLUMNS, EventChunk

CHUNK_ROWS = 1 << 16
SORT_ROWS = 1 << 18
"""How far out of order a line may stand, in events."""

LONGEST_LINE, LONGEST_EVENT = 1 << 20, 1 << 12
"""Bytes: a longer line is no text, and one longer than the second no event."""

MOST_JOINED = 4
"""Lines that are joined to one event where a mail program broke its line."""

_MOST_SECONDS = 1 << 32
_BLOCK_ORDER = re.compile(r"pageblock_order=(\d{1,2})\b")
_BUFFER = re.compile(r"([^\s:]{1,64}): (?=.{16}-\d{1,10}\s)(.+)")
_KNOWN = re.compile(
    r"(?<![\w/])(mm_\w{1,60}|gt_(?:rmq|list|blk|evac|dump)|(?:set|remove)_migration_pte):(?: |$)"
)
_TIMED = re.compile(r"\d\.\d{6,9}:")
"""What tools put before an event: its time."""

BROKEN = re.compile(r".{0,100}?[\s\]]\d{1,12}\.\d{6,9}: *(?:[\w-]{1,60}:)?(?:\w{1,100}:)?$")
EVENT_WORDS = re.compile(rb"\b(?:mm_\w{1,60}|(?:set|remove)_migration_pte): ")
"""What a block of text with an event of a recording's holds."""

_OWN_EVENTS = ("mm_page", "gt_", "mm_setup", "mm_calculate")
_QUOTE = re.compile(r"(?:> ?)+")


class Line(NamedTuple):
    """A line that is an event of some kind, with what stands before the event's own text."""

    number: int
    text: str
    pid: int
    cpu: int
    ts: int
    event: str
    body: str
    no_cpu: bool = False
    """Whether the line names no CPU: it stands on CPU 0."""


class TextSource:
    """A file of trace text.

    Parameters
    ----------
    path : Path
        The file, plain or compressed.
    dialect : Dialect
        How its lines look.
    options : ImportOptions
        Format files give zone names and the meaning of GFP numbers; ``kernel`` is the kernel where the text names none.
    others : tuple of Dialect
        Dialects that single lines of known events may be in.

    Raises
    ------
    KevacuateError
        If the kernel that the options name is none, or is not the one that the lines prove.

    """

    def __init__(
        self, path: Path, dialect: Dialect, options: ImportOptions, others: tuple[Dialect, ...] = ()
    ) -> None:
        self.path, self.dialect, self.options = path, dialect, options
        self.others_heads = [
            other for other in others if other.relative == dialect.relative and other is not dialect
        ]
        self.form = dialect.name
        self.total, self.done = path.stat().st_size, 0
        self.formats = load_formats(options.formats) if options.formats else {}
        bits = kernel_gfp_bits(self.formats.values())
        self.survey = Survey(path, dialect.facts)
        self.kernel: Kernel = self.survey.kernel(options.kernel, path)
        self.names = Names(gfp_table(bits) if bits else None, self.kernel.versions)
        self.unread = self.others = self.joined = 0
        self.not_read: Counter[str] = Counter()
        """Lines of known events that could not be read, by event."""
        self.said = Said(dialect)
        self.names_of_tasks = TaskNames()
        self._parsers: dict[str, EventParser] = {}
        self._held: Line | None = None
        self._held_lines = 0
        self._cpus = 0
        self._without_cpu = self._begun = False
        self.unended = False
        """Whether the last line has no end: a file that was cut off has such a one, and its values may be cut, too."""
        self._buffer: str | None = None
        self._check_buffer()

    def _check_buffer(self) -> None:
        """Refuse a buffer that the text does not have."""
        name, found = self.options.buffer, self.survey.buffers
        if name and name not in found:
            listed = ", ".join(repr(x) for x in sorted(found)) or "none that is named"
            raise KevacuateError(f"{self.path} has no line of a buffer {name!r}: it has {listed}.")

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
        for number, line in self._lines():
            if not self._parsers and not line.startswith("#"):
                self._parsers = event_parsers(self._zones(), self.names)
            rows += self._rows(line, number)
            if len(rows) >= CHUNK_ROWS:
                yield _chunk(rows)
                rows = []
        rows += self._give_up()
        if rows:
            yield _chunk(rows)

    def _lines(self) -> Iterator[tuple[int, str]]:
        """Number and text of the lines that may be events or say something."""
        number = 0
        with closing(open_any(self.path)[0]) as file:
            while raw := read_line(file, self.path, LONGEST_LINE):
                number += 1
                self.done += len(raw)
                self.unended = not raw.endswith(b"\n")
                line = raw.decode("utf-8", "replace").strip()
                if number == 1:
                    line = line.removeprefix("\ufeff")
                if len(line) > LONGEST_EVENT:
                    self._not_read(line[:LONGEST_EVENT])
                elif line:
                    yield number, line

    def _zones(self) -> tuple[str, ...]:
        """Zone names by index: of the format files, of the text's heading, or those of a usual kernel."""
        said = self.said.facts.get("zones")
        usual = HIGHMEM_ZONES if self.survey.highmem else DEFAULT_ZONES
        return zone_names(self.formats) or (tuple(said.split(",")) if said else usual)

    def _rows(self, text: str, number: int) -> list[tuple[int, ...]]:
        """The columns, in the table's order, of the events that the line completes: none, one, or a held one and its own."""
        line = self._line(text, number)
        if line is None:
            return self._join(text, number) if self._held is not None else self._other(text, number)
        rows = self._give_up() if self._held is not None else []
        parser = self._parsers.get(line.event)
        if parser is None:
            self.others += 1
            return rows
        row = self._row(line, parser, last=False)
        return [*rows, row] if row is not None else rows

    def _line(self, text: str, number: int) -> Line | None:
        """The parts of a line of the chosen buffer; None if it is no event."""
        named = _BUFFER.match(text) if self.survey.buffers else None
        line = named[2].lstrip() if named else text
        match = self.dialect.head.match(line)
        if match is None and _KNOWN.search(line):
            found = (other.head.match(line) for other in self.others_heads)
            match = next((m for m in found if m is not None), None)
        if match is None:
            return None
        pid, cpu, seconds, fraction, event, body = match.groups()
        if not self._of_buffer(named[1] if named else "", event):
            return Line(number, line, NO_PID, 0, 0, "", "")
        ts = self._time(seconds, fraction, number)
        first, self._begun = not self._begun, True
        if self.dialect.zero_is_relative and first and ts == 0:
            raise KevacuateError(
                f"{self.path} begins at time 0: perf script printed it with --deltatime or --reltime. "
                "Print it again without."
            )
        if int(cpu or 0) >= MAX_CPUS or int(pid or 0) >= 1 << 31:
            raise self._bad(number, "a CPU or process number that cannot be")
        nobody = not pid or int(pid) < 0 or (int(pid) == 0 and line.startswith("<...>-"))
        if not nobody:
            self.names_of_tasks.add(int(pid), match.string[: match.start(1)])
        return Line(number, line, NO_PID if nobody else int(pid), int(cpu or 0), ts, event, body, not cpu)

    def _of_buffer(self, name: str, event: str) -> bool:
        """Whether a line of that instance is wanted; raises where the text has several and none is chosen."""
        if self.options.buffer is not None:
            return name == self.options.buffer
        if event not in self._parsers:
            return True
        if self._buffer is None:
            self._buffer = name
        if name != self._buffer:
            listed = ", ".join(repr(x) for x in sorted({name, self._buffer, *self.survey.buffers}))
            raise KevacuateError(
                f"{self.path} holds several buffers ({listed}): say which with --buffer NAME."
            )
        return True

    def _row(self, line: Line, parser: EventParser, last: bool) -> tuple[int, ...] | None:
        """The columns of an event; None if it is held until the next line, or is counted as not read.

        An event that lacks a value is held, as its line may go on in the next. *last*: it does not; then an event of the
        allocator itself is refused, for the file is damaged there, and one of compaction or reclaim is counted.
        """
        if line.event == "mm_page_alloc_extfrag" and "pageblock_order" not in self.said.facts:
            found = _BLOCK_ORDER.search(line.body)
            self.said.facts |= {"pageblock_order": found[1]} if found else {}
        self._cpus = max(self._cpus, line.cpu + 1)
        self._without_cpu = self._without_cpu or line.no_cpu
        try:
            values = parser.parse(line.body)
        except ValueError as error:
            lacks, own = "without" in str(error), line.event.startswith(_OWN_EVENTS)
            if "[FAILED TO PARSE]" in line.body and own:
                raise self._unparsed(line.event) from None
            if lacks and not last:
                self._held = line
                return None
            if lacks and not own:
                self.not_read[line.event] += 1
                return None
            why = str(error) if lacks else "an unreadable value"
            raise self._bad(line.number, why) from None
        return (line.ts, line.cpu, line.pid, parser.kind, *values[: len(VALUE_COLUMNS)])

    def _join(self, text: str, number: int) -> list[tuple[int, ...]]:
        """Put a line that is no event to the end of the held one, and read that if it is whole now."""
        held = self._held
        assert held is not None
        self._held_lines += 1
        if text.startswith(("#", "=>")) or self.dialect.lost(text) or self._held_lines > MOST_JOINED:
            return [*self._give_up(), *self._other(text, number)]
        text = _QUOTE.sub("", text, count=1) if text.startswith(">") else text
        self._held = None
        if held.event:
            whole: Line | None = held._replace(body=f"{held.body} {text}")
        else:  # broken before the event's name
            whole = self._line(f"{held.text} {text}", held.number)
        parser = self._parsers.get(whole.event) if whole else None
        if whole is None or parser is None:
            self._held_lines = 0
            self.others += whole is not None
            self.unread += 2 * (whole is None)
            return []
        row = self._row(whole, parser, last=False)
        if row is None:
            return []
        self.joined += 1
        self._held_lines = 0
        return [row]

    def _give_up(self) -> list[tuple[int, ...]]:
        """The held event cannot be completed: refuse or count it."""
        held, self._held, self._held_lines = self._held, None, 0
        if held is None:
            return []
        if not held.event:
            self.unread += 1
            return []
        row = self._row(held, self._parsers[held.event], last=True)
        return [row] if row is not None else []

    def _time(self, seconds: str, fraction: str | None, number: int) -> int:
        if self.dialect.relative:
            return int(seconds) * 1000
        if fraction is None:
            raise KevacuateError(
                f"{self.path} has times without a fraction (line {number}), of a trace clock that counts no seconds, as x86-tsc, "
                "counter and uptime. Record with the clock mono or global (trace-cmd record -C mono)."
            )
        if int(seconds) >= _MOST_SECONDS:
            raise self._bad(number, "a time that cannot be")
        return int(seconds) * 1_000_000_000 + int(fraction[:9].ljust(9, "0"))

    def _other(self, line: str, number: int) -> list[tuple[int, ...]]:
        """A line that is no event: losses, facts, the beginning of a broken line, or not understood."""
        if self.said.line(line):
            return []
        if BROKEN.match(line):
            self._held, self._held_lines = Line(number, line, NO_PID, 0, 0, "", ""), 0
            return []
        self._not_read(line)
        return []

    def _not_read(self, line: str) -> None:
        """Count a line that was not read and may be an event, and the known event in it.

        A line without a time and a known event, as of a stack, a kernel log, HTML or a mail, is none.
        """
        known = _KNOWN.search(line)
        named = known is not None and known[1] in self._parsers
        self.unread += named or (_TIMED.search(line) is not None and "<stack trace" not in line)
        if known is not None and named:
            self.not_read[known[1]] += 1

    def _bad(self, number: int, what: str) -> KevacuateError:
        return KevacuateError(
            f"{self.path} is truncated or corrupted: line {number} has {what}; cut it off before that line."
        )

    def _unparsed(self, event: str) -> KevacuateError:
        return KevacuateError(
            f"{self.path} has no pfn in its {event} lines: perf could not print this kernel's events ([FAILED TO PARSE]). "
            "Record the kernel's own text instead: cat /sys/kernel/tracing/trace_pipe."
        )

    def machine(self) -> Machine:
        """The machine as far as the text says."""
        said = self.said.facts
        order = int(said.get("pageblock_order", 0))
        cpus = max(self._cpus, min(int(said.get("cpus", 0)), MAX_CPUS))
        clock = "relative" if self.dialect.relative else said.get("clock", "")
        size = int(said.get("page_size", 0))
        return machine_of(
            self.formats,
            kernel=self.kernel.release or said.get("kernel", ""),
            arch=said.get("arch", ""),
            cpus=cpus,
            clock=clock,
            pageblock_order=order if order <= 20 else 0,
            page_size=size if size.bit_count() == 1 and size <= 1 << 18 else 0,
            zones=self._zones(),
            **self._about_kernel(),
        )

    def _about_kernel(self) -> dict[str, Any]:
        """How the kernel is known, for ``machine.extra``."""
        first, last = self.kernel.versions
        fooled = (
            last is not None
            and last < migratetypes.SWAPPED_FIRST
            and (first is None or first < kernel_events.OWNERSHIP_FIRST)
        )
        return {
            "kernel_known": self.kernel.how,
            "kernel_range": [version_text(v) if v else None for v in (first, last)],
            "old_migratetypes": last is not None and not migratetypes.is_identity(last),
            "change_ownership_unknown": fooled or "change_ownership" in self.said.facts,
        }

    def tasks(self) -> dict[str, str]:
        """Process id to name, as the lines have them."""
        return self.names_of_tasks.to_json()

    def losses(self) -> list[CpuLosses]:
        """What the text says was lost on each CPU; [] if it cannot say."""
        return self.said.losses(self._cpus)

    def facts(self) -> dict[str, Any]:
        """Lines of other events, lines not understood, names not known, how the kernel is known."""
        first, last = self.kernel.versions
        either = (first or OLDEST) < migratetypes.SWAPPED_FIRST <= (last or NEWEST)
        unread = {"events_not_read": dict(sorted(self.not_read.items()))} if self.not_read else {}
        return {
            "other_events": self.others,
            "lines_not_read": self.unread,
            "lines_joined": self.joined,
            "last_line_unended": self.unended,
            "names_not_known": sorted(self.names.unknown),
            "migratetypes_assumed": self.kernel.how == PROVEN and either,
            "gfp_numbers_unmapped": self.names.numbers,
            "gfp_numbers_not_read": self.names.numbers_not_read,
            "results_not_read": self.names.results_not_read,
            "lines_lack": list(self.dialect.lacks) or ["cpu"] * self._without_cpu,
            "losses_shown": self.said.shows_losses,
            **self._about_kernel(),
            **unread,
        }


def _chunk(rows: list[tuple[int, ...]]) -> EventChunk:
    columns: list[Any] = [
        np.array(values, dtype)
        for values, dtype in zip(zip(*rows, strict=True), COLUMN_TYPES.values(), strict=True)
    ]
    return EventChunk(*columns)
