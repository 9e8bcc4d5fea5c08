# SPDX-License-Identifier: GPL-2.0-or-later
"""mm_page_alloc_extfrag events of the running kernel, as they happen, from a tracing instance of our own."""

from __future__ import annotations

import os
import re
from collections.abc import Callable

from kevacuate.capture.events import LIGHT, STALLS, has_event
from kevacuate.capture.tracefs import Instance, find_tracefs, mount_tracefs, remove_instance, stale_instances
from kevacuate.ending import owe, settle
from kevacuate.errors import KevacuateError
from kevacuate.live.view import Extfrag
from kevacuate.mm.constants import MIGRATE_TYPES
from kevacuate.recording import Lost

EVENT = LIGHT[0]
BUFFER_KB = 256
MOST_LINES = 2000
"""Events taken in one update; what is beyond stays in the kernel's buffer, and is counted as lost if that overflows."""
_READ = 1 << 16

_LINE = re.compile(
    r"^\s*(?P<task>.*)-(?P<pid>\d+)\s+\[(?P<cpu>\d+)\]\s+\S+\s+(?P<t>\d+\.\d+): mm_page_alloc_extfrag: (?P<fields>.*)$",
    re.DOTALL,
)
_FIELD = re.compile(
    r"\b(pfn|alloc_order|fallback_order|alloc_migratetype|fallback_migratetype|change_ownership)=(0x[0-9a-f]{1,16}|\d{1,19})\b"
)
_LOST = re.compile(r"^CPU:\d+ \[LOST (?:(\d+) )?EVENTS\]")
"""Without a number where the kernel does not know it (kernel/trace/trace.c:print_trace_line at 7.2)."""


def parse_line(line: str, began: float) -> Extfrag | None:
    """The event of a line of trace_pipe (TP_printk of mm_page_alloc_extfrag, include/trace/events/kmem.h); None for others.

    *began* is the trace clock's time (seconds) from which the event's is counted. The task's name may hold anything.
    """
    match = _LINE.match(line)
    if match is None:
        return None
    fields = {
        name: int(value, 16 if value[:2] == "0x" else 10) for name, value in _FIELD.findall(match["fields"])
    }
    if max(fields.get("alloc_migratetype", 0), fields.get("fallback_migratetype", 0)) >= MIGRATE_TYPES:
        return None
    try:
        return Extfrag(
            t=float(match["t"]) - began,
            cpu=int(match["cpu"]),
            task=f"{match['task']}-{match['pid']}",
            pfn=fields["pfn"],
            wanted=fields["alloc_migratetype"],
            source=fields["fallback_migratetype"],
            order_asked=fields["alloc_order"],
            order_taken=fields["fallback_order"],
            claimed=fields["change_ownership"] != 0,
        )
    except KeyError:
        return None


def parse_lost(line: str) -> Lost | None:
    """What a line of trace_pipe says was lost; None if it is about something else."""
    if found := _LOST.match(line):
        return Lost(int(found[1])) if found[1] else Lost.marked(0, 1)
    return None


class ExtfragTap:
    """The events, from now on. Close it: that removes the instance.

    Parameters
    ----------
    began : float
        The trace clock's time (seconds) from which events are counted.
    also : callable, optional
        Given the lines that are no external fragmentation event, batch by batch; then the events of stalls are on, too, as far
        as the kernel has them.

    Raises
    ------
    KevacuateError
        There is no tracefs, no such event, or no permission.
    """

    def __init__(self, began: float, also: Callable[[list[str]], None] | None = None) -> None:
        self.began, self.also = began, also
        self.lost = Lost()
        self.more = False
        """Whether the last batch was full, so that more events may wait."""
        self._half = b""
        self._lines: list[str] = []
        tracefs = find_tracefs() or mount_tracefs()
        if not (tracefs / "events" / EVENT).is_dir():
            raise KevacuateError(
                f"This kernel has no event {EVENT}: it was built without the page allocator's tracepoints."
            )
        for left in stale_instances(tracefs):
            remove_instance(left, 0)
        self.instance = Instance(tracefs)
        try:
            self.instance.configure(BUFFER_KB)
            more = [one for one in STALLS if has_event(tracefs, one)] if also else []
            self.instance.enable([EVENT, *more])
            self._pipe = os.open(self.instance.path / "trace_pipe", os.O_RDONLY | os.O_NONBLOCK)
            owe(self, self.close)
            self.instance.switch(True)
        except BaseException as error:
            self.instance.remove()
            if isinstance(error, OSError):
                raise KevacuateError(
                    f"{self.instance.path} cannot be read ({error.strerror}): run as root."
                ) from None
            raise

    def _fill(self) -> None:
        """Read what there is, up to MOST_LINES lines."""
        while len(self._lines) < MOST_LINES:
            try:
                data = os.read(self._pipe, _READ)
            except BlockingIOError:
                return
            if not data:
                return
            *whole, self._half = (self._half + data).split(b"\n")
            self._lines += [line.decode("utf-8", "replace") for line in whole]

    def poll(self) -> list[Extfrag]:
        """The events since the last call, in order."""
        self._fill()
        lines, self._lines = self._lines[:MOST_LINES], self._lines[MOST_LINES:]
        self.more = len(lines) == MOST_LINES
        events, others = [], []
        for line in lines:
            if event := parse_line(line, self.began):
                events.append(event)
            elif lost := parse_lost(line):
                self.lost = Lost.total((self.lost, lost))
            else:
                others.append(line)
        if self.also is not None and others:
            self.also(others)
        return events

    def close(self) -> None:
        """Stop, and remove the instance.

        Raises
        ------
        KevacuateError
            It cannot be removed.
        """
        settle(self)
        os.close(self._pipe)
        if not self.instance.remove():
            raise KevacuateError(
                f"The tracing instance {self.instance.path} cannot be removed: remove it with rmdir."
            )
