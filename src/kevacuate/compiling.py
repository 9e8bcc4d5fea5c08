# SPDX-License-Identifier: GPL-2.0-or-later
"""Who hears that something is compiled, and how far that is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

PARTS_SHARE = 0.15
"""Of the time that a large entry point takes to compile, the share in which its parts are written; the rest is LLVM's."""


class _Compiling:
    """Calls a function when the first entry point begins to be compiled: not when its machine code is found on disk."""

    def __init__(self, call: Callable[[], None], progress: Callable[[str], Any] | None) -> None:
        self._call: Callable[[], None] | None = call
        self._progress = progress
        self._entry, self._parts, self._typed, self._began = "", 0, 0, 0.0

    def begins(self, entry: str, parts: Callable[[], int]) -> None:
        """An entry point of that name is being compiled, with so many parts."""
        self._tell()
        if self._progress is not None:
            self._entry, self._parts = entry, parts()
            self._typed, self._began = 0, time.monotonic()

    def _tell(self) -> None:
        """Something is being compiled: the first time that is told."""
        if self._call is not None:
            call, self._call = self._call, None
            call()

    def typed(self) -> None:
        """One part more is written, or typed by Numba."""
        self._typed += 1
        if self._progress is None or self._typed < 20:  # too few to judge the machine's speed by
            return
        share = PARTS_SHARE * min(self._typed / max(self._parts, self._typed), 1)
        left = (time.monotonic() - self._began) * (1 / share - 1)
        self._progress(
            f"compiling {self._entry}, once: {self._typed} of {max(self._parts, self._typed)} functions, "
            f"about {left:.0f} s more (estimate)"
        )

    def wait(self, text: str) -> None:
        """Another process compiles; what it says of that."""
        self._tell()
        if self._progress is not None and text:
            self._progress(text)


listening: list[_Compiling] = []
"""Who hears of compiling; :mod:`kevacuate.dispatch` tells them."""


@contextmanager
def when_compiling(call: Callable[[], None], progress: Callable[[str], Any] | None = None) -> Iterator[None]:
    """Call *call*, once, when within the block an entry point has to be compiled, by whichever thread.

    *progress* is told in words how far a large one is, and how long it may take, judged by the time it took so far.
    """
    listener = _Compiling(call, progress)
    listening.append(listener)
    try:
        yield
    finally:
        if listener in listening:
            listening.remove(listener)
