# SPDX-License-Identifier: GPL-2.0-or-later
"""How a tool prints a trace's lines, and what those lines say that are no events: losses, and facts of the machine."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from kevacuate.recording.importers.source import MAX_CPUS
from kevacuate.recording.ringbuf import CpuLosses

_WRITTEN = re.compile(r"# entries-in-buffer/entries-written: (\d{1,18})/(\d{1,18})")


class Dialect(NamedTuple):
    """How one tool prints a line."""

    name: str
    """What to call it: ``ftrace text``."""
    head: re.Pattern[str]
    """Groups pid and cpu (None if absent), seconds, fraction (None if absent), event, body."""
    relative: bool
    """Whether the seconds are microseconds since the trace began."""
    lost: Callable[[str], tuple[int, int | None] | None]
    """Of a line about lost events, the CPU and how many (None if not known); else None."""
    facts: tuple[tuple[str, re.Pattern[str]], ...]
    """Lines that say what the machine is: key, and what gives the value."""
    shows_losses: bool = True
    """Whether a text without a line about lost events says that none was lost."""
    zero_is_relative: bool = False
    """Whether a text that begins at time 0 was printed with times that are no clock's."""
    lacks: tuple[str, ...] = ()
    """What the lines do not have: ``cpu``, ``pid``."""


class Said:
    """What the lines of a text say that are no events.

    Parameters
    ----------
    dialect : Dialect
        How they look.

    """

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self.facts: dict[str, str] = {}
        """Facts of the machine by key; the first line that says one counts."""
        self._lost: dict[int, list[int]] = {}
        self._overwritten = 0

    def line(self, text: str) -> bool:
        """Take in a line; False if it says nothing that is understood."""
        lost = self._dialect.lost(text)
        if lost:
            cpu, events = lost
            counts = self._lost.setdefault(min(cpu, MAX_CPUS - 1), [0, 0])
            counts[0 if events else 1] += events or 1
            return True
        written = _WRITTEN.match(text)
        if written:
            self._overwritten += max(0, int(written[2]) - int(written[1]))
        found = [(key, match) for key, pattern in self._dialect.facts if (match := pattern.match(text))]
        for key, match in found:
            self.facts.setdefault(key, match[1])
        return bool(found) or text.startswith("#")

    @property
    def shows_losses(self) -> bool:
        """Whether it is known how many events were lost."""
        return self._dialect.shows_losses or bool(self._lost)

    def losses(self, cpus: int) -> list[CpuLosses]:
        """What was lost on each CPU, of *cpus* at least; what was overwritten before the first line is put on CPU 0.
        [] if not known.
        """
        if not self.shows_losses:
            return []
        counts = {cpu: self._lost.get(cpu, [0, 0]) for cpu in sorted({*range(cpus), *self._lost})}
        return [
            CpuLosses(cpu, missed=n[0], gaps=n[1], overrun=self._overwritten if cpu == 0 else 0)
            for cpu, n in counts.items()
        ]
