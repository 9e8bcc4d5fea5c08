# SPDX-License-Identifier: GPL-2.0-or-later
"""The JSON of plot-fragmentation's tracker: external fragmentation and compaction events without page, CPU and zone.

Its fields, as the tool writes them: ``migrate_from`` is the type of the chunk that was taken, ``migrate_to`` the type
asked for, and
``is_steal`` that change_ownership was 0. ``fragmentation_index`` of an extfrag event is a constant of the order, and is not read.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any, NamedTuple, TypeGuard

from kevacuate.errors import KevacuateError
from kevacuate.kernel.migratetypes import NAMES
from kevacuate.kernelfiles.text import TextFile
from kevacuate.recording.opener import open_any

PIECE = 1 << 16
"""Bytes read at a time."""

LONGEST_VALUE = 1 << 20
"""Characters of one event, and of any other value; a longer one is no such file."""

LAST_SECOND = 10**9
"""Times from here on are no seconds since a tracker's start."""


class Fragmentation(NamedTuple):
    """One external fragmentation event."""

    ns: int
    """Nanoseconds since the tracker's start."""
    tid: int
    task: str
    order: int
    """Order asked for."""
    fallback_order: int
    """Order of the chunk taken."""
    asked: int
    """Migratetype asked for, as stored numbers have it; -1 if not known."""
    taken: int
    """Migratetype of the chunk taken."""
    claim: bool
    """Whether the block's type changed."""


class Compaction(NamedTuple):
    """One compaction event of a kernel with the tracker's own tracepoints."""

    ns: int
    tid: int
    task: str
    order: int
    success: bool


class Heading(NamedTuple):
    """What the file says of itself."""

    kernel: str
    seconds: float | None
    """How long the tracker ran."""
    total_events: int | None


def looks_like_plotfrag(file: TextFile) -> bool:
    """Whether a file is such a JSON."""
    head = file.head.lstrip()
    return (
        head.startswith("{") and '"events"' in head and '"event_type"' in head and '"absolute_time"' in head
    )


class Reader:
    """One file, read once from its beginning.

    Attributes
    ----------
    heading : Heading
        As far as it has been read.
    malformed : int
        Events that lack a field, or have one of another kind.

    """

    def __init__(self, file: TextFile) -> None:
        self._file, self.malformed = file, 0
        self.heading = Heading("", None, None)
        self._text, self._at = "", 0
        self._decoder = json.JSONDecoder()

    def events(self) -> Iterator[Fragmentation | Compaction]:
        """Every event, in the file's order.

        Raises
        ------
        KevacuateError
            The file cannot be read, is truncated, or is no JSON.

        """
        opened, _ = open_any(self._file.path)
        with closing(opened):
            decoder = codecs.getincrementaldecoder("utf-8")("replace")
            self._pieces = iter(lambda: opened.read(PIECE), b"")
            self._decode = decoder.decode
            self._expect("{")
            while True:
                key = self._value()
                self._expect(":")
                if key == "events":
                    yield from self._array()
                else:
                    self._other(key, self._value())
                if self._one_of(",}") == "}":
                    return

    def _array(self) -> Iterator[Fragmentation | Compaction]:
        """The events of the array that follows."""
        self._expect("[")
        if self._peek() == "]":
            self._one_of("]")
            return
        while True:
            found = _event(self._value())
            if found is None:
                self.malformed += 1
            else:
                yield found
            if self._one_of(",]") == "]":
                return

    def _other(self, key: Any, value: Any) -> None:
        if key == "metadata" and isinstance(value, dict):
            seconds, total = value.get("duration"), value.get("total_events")
            self.heading = Heading(
                str(value.get("kernel_version", ""))[:200],
                float(seconds) if _is_number(seconds) and 0 <= seconds < LAST_SECOND else None,
                total if isinstance(total, int) else None,
            )

    def _more(self) -> bool:
        """Read a piece; whether there was one."""
        piece = next(self._pieces, b"")
        self._text, self._at = self._text[self._at :] + self._decode(piece, final=not piece), 0
        return bool(piece)

    def _peek(self) -> str:
        """The next character that is no blank."""
        while True:
            while self._at < len(self._text):
                if not self._text[self._at].isspace():
                    return self._text[self._at]
                self._at += 1
            if not self._more():
                raise KevacuateError(f"{self._file.name} is truncated: its JSON ends too early.")

    def _one_of(self, wanted: str) -> str:
        found = self._peek()
        if found not in wanted:
            raise KevacuateError(
                f"{self._file.name} is not the JSON of plot-fragmentation: {found!r} stands where none may."
            )
        self._at += 1
        return found

    def _expect(self, wanted: str) -> None:
        self._one_of(wanted)

    def _value(self) -> Any:
        """The value that follows, read whole."""
        self._peek()
        needed = PIECE
        while True:
            while len(self._text) - self._at < needed and self._more():
                pass
            try:
                value, self._at = self._decoder.raw_decode(self._text, self._at)
                return value
            except (ValueError, RecursionError):
                if needed >= LONGEST_VALUE or len(self._text) - self._at < needed:
                    raise KevacuateError(
                        f"{self._file.name} is truncated or no JSON of plot-fragmentation."
                    ) from None
                needed *= 2


def _is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _event(value: Any) -> Fragmentation | Compaction | None:
    """The event of such an object; None if it is none."""
    if not isinstance(value, dict):
        return None
    seconds, kind = value.get("timestamp"), value.get("event_type")
    tid, order = value.get("tid", value.get("pid")), value.get("order")
    if not _is_number(seconds) or not -LAST_SECOND < seconds < LAST_SECOND:
        return None
    if not _small(tid, 1 << 31) or not _small(order, 128):
        return None
    ns, task = round(seconds * 1e9), str(value.get("comm", ""))[:64]
    if kind in ("compaction_success", "compaction_failure"):
        return Compaction(ns, tid, task, order, kind == "compaction_success")
    fallback, steal = value.get("fallback_order"), value.get("is_steal")
    if kind != "extfrag" or not _small(fallback, 128) or not isinstance(steal, bool):
        return None
    asked, taken = (_type(value.get(name)) for name in ("migrate_to", "migrate_from"))
    return Fragmentation(ns, tid, task, order, fallback, asked, taken, not steal)


def _small(value: Any, limit: int) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and -1 <= value < limit


def _type(name: Any) -> int:
    """Stored number of a migratetype's name; -1 if it is none."""
    lower = str(name).lower()
    return NAMES.index(lower) if lower in NAMES else -1
