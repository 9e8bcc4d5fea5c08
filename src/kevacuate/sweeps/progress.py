# SPDX-License-Identifier: GPL-2.0-or-later
"""How far a sweep is, and how long it may take."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

PACE = 200
"""So many of the last cells say how fast it goes: a demand's cells differ from another's."""


class Far(NamedTuple):
    """How far a sweep is."""

    done: int
    """Cells that are there."""
    total: int
    failed: int
    """Cells of those that were done now whose replay was refused, or could not be made."""
    left: float | None
    """Seconds to go, judged by the last cells; None before there are any."""
    compiling: bool
    """The model is being compiled, and nothing is done meanwhile."""


Report = Callable[[Far], None]
"""Called when something has changed."""


@dataclass
class Pace:
    """Counts cells as they are done."""

    total: int
    done: int
    report: Report | None = None
    failed: int = 0
    compiling: bool = False
    _times: deque[float] = field(default_factory=lambda: deque(maxlen=PACE))

    def begin(self) -> None:
        """The first cells are handed out."""
        self._times.append(time.monotonic())
        self.tell()

    def compiles(self) -> None:
        """The model is being compiled."""
        self.compiling = True
        self.tell()

    def one(self, *, failed: bool) -> None:
        """A cell is done, or given up."""
        if self.compiling:
            self.compiling = False
            self._times.clear()
        self.done += not failed
        self.failed += failed
        self._times.append(time.monotonic())
        self.tell()

    def left(self) -> float | None:
        """Seconds to go."""
        if len(self._times) < 2:
            return None
        pace = (self._times[-1] - self._times[0]) / (len(self._times) - 1)
        return pace * max(self.total - self.done - self.failed, 0)

    def tell(self) -> None:
        """Report."""
        if self.report:
            self.report(Far(self.done, self.total, self.failed, self.left(), self.compiling))
