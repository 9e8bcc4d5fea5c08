# SPDX-License-Identifier: GPL-2.0-or-later
"""Compaction that scans the same range again and again and takes nothing.

The rule. A *streak* is a row of scans of one range of pages by one scanner, none of which took a page, each within a second
of the one before. A streak of ten or more is named. The scanners are compaction's two: of pages to move
(``mm_compaction_isolate_migratepages``) and of free pages to move them to (``mm_compaction_isolate_freepages``).

Why ten, why a second: a block that gave nothing bears the skip hint, and a pass comes back to it only when the hints were
cleared. That happens once a defer window or when kswapd sleeps (mm/compaction.c:compaction_restarting,
__reset_isolation_suitable), for at most three modes each. Ten returns without a second's pause are therefore a loop, and no
pass.

Where the scans were not recorded, whole runs are taken: ``mm_compaction_begin`` with the same two cached pfns, not at the
zone's start (there every pass over a whole zone begins), and without success at the end.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from kevacuate.kernel.compaction import RESULTS
from kevacuate.recording.schema import EventChunk, EventKind

LEAST_SCANS = 10
"""Scans of a streak that is named."""
LONGEST_PAUSE_NS = 1_000_000_000
"""A pause longer than this ends a streak."""
MOST_RANGES = 1 << 17
"""Ranges followed at once; where there are more, those not scanned for the longest time are forgotten."""

SCANNERS = {
    int(EventKind.COMPACTION_ISOLATE_MIGRATEPAGES): "pages to move",
    int(EventKind.COMPACTION_ISOLATE_FREEPAGES): "free pages",
    int(EventKind.COMPACTION_END): "runs",
}
"""Kind of event to what its streaks are of."""
RESCAN_KINDS: tuple[EventKind, ...] = (
    EventKind.COMPACTION_ISOLATE_MIGRATEPAGES, EventKind.COMPACTION_ISOLATE_FREEPAGES,
    EventKind.COMPACTION_BEGIN, EventKind.COMPACTION_END,
)  # fmt: skip

_SUCCESS = RESULTS.index("success")


class _Streak(NamedTuple):
    """Scans of one range in a row that took nothing."""

    scans: int
    first: int
    last: int
    pages: int


class _Totals:
    """What one scanner did."""

    def __init__(self) -> None:
        self.scans = self.pages = self.streaks = self.in_streaks = self.pages_in_streaks = 0
        self.worst: tuple[_Streak, int, int] | None = None

    def take(self, streak: _Streak, start: int, end: int) -> None:
        """A streak is over."""
        if streak.scans < LEAST_SCANS:
            return
        self.streaks += 1
        self.in_streaks += streak.scans
        self.pages_in_streaks += streak.pages
        if self.worst is None or streak.scans > self.worst[0].scans:
            self.worst = (streak, start, end)

    def to_json(self, began: int) -> dict[str, Any]:
        worst = None
        if self.worst is not None:
            streak, start, end = self.worst
            worst = {
                "first_pfn": start, "end_pfn": end, "scans": streak.scans, "pages_scanned": streak.pages,
                "at_seconds": (streak.first - began) / 1e9, "seconds": (streak.last - streak.first) / 1e9,
            }  # fmt: skip
        return {
            "scans": self.scans, "pages_scanned": self.pages, "streaks": self.streaks,
            "scans_in_streaks": self.in_streaks, "pages_scanned_in_streaks": self.pages_in_streaks, "worst": worst,
        }  # fmt: skip


class RescanCounter:
    """Finds the streaks as the events stream by, chunk by chunk in order of time; call :meth:`finish` at the end."""

    def __init__(self) -> None:
        self.totals = {kind: _Totals() for kind in SCANNERS}
        self._open: dict[tuple[int, int, int], _Streak] = {}
        self._begins: dict[int, tuple[int, int, int]] = {}
        """Of a CPU's last begun run: the two pfns where it begins, and the zone's first."""

    def add(self, chunk: EventChunk) -> None:
        """Follow what a chunk holds."""
        rows = np.flatnonzero(np.isin(chunk.kind, [int(kind) for kind in RESCAN_KINDS]))
        events = chunk.take(rows)
        columns = (events.ts, events.kind, events.pid, events.pfn, events.a, events.b, events.c, events.d)
        for ts, kind, pid, pfn, a, b, c, d in zip(*(column.tolist() for column in columns), strict=True):
            if kind == EventKind.COMPACTION_BEGIN:
                self._begins[pid] = (pfn, a, b)
            elif kind == EventKind.COMPACTION_END:
                self._run(ts, pid, d)
            elif b > 0:
                self._scan((kind, pfn, a), ts, b, c > 0)
        self._forget(int(chunk.ts[-1]) if chunk.rows else 0)

    def _run(self, ts: int, pid: int, result: int) -> None:
        """A run ended; one whose begin is not known, or at the zone's start, is of no streak."""
        begin = self._begins.pop(pid, None)
        if begin is not None and pid >= 0 and begin[0] != begin[2]:
            self._scan((int(EventKind.COMPACTION_END), begin[0], begin[1]), ts, 0, result in (_SUCCESS, -1))

    def _scan(self, key: tuple[int, int, int], ts: int, pages: int, took: bool) -> None:
        """A range was scanned."""
        totals = self.totals[key[0]]
        totals.scans += 1
        totals.pages += pages
        old = self._open.pop(key, None)
        if old is not None and (took or ts - old.last > LONGEST_PAUSE_NS):
            totals.take(old, key[1], key[2])
            old = None
        if took:
            return
        self._open[key] = (
            _Streak(1, ts, ts, pages)
            if old is None
            else _Streak(old.scans + 1, old.first, ts, old.pages + pages)
        )

    def _forget(self, now: int) -> None:
        """Close the streaks that a pause has ended, the oldest of too many, and begins that nothing ended."""
        if len(self._open) > MOST_RANGES // 2:
            for key, streak in list(
                self._open.items()
            ):  # a key scanned again moves to the end: the first are the oldest
                if now - streak.last <= LONGEST_PAUSE_NS and len(self._open) <= MOST_RANGES:
                    break
                self.totals[key[0]].take(self._open.pop(key), key[1], key[2])
        if len(self._begins) > MOST_RANGES:
            self._begins.clear()

    def finish(self) -> None:
        """The events are over."""
        for key, streak in self._open.items():
            self.totals[key[0]].take(streak, key[1], key[2])
        self._open = {}

    def result(self, began: int) -> dict[str, Any]:
        """By scanner its scans, and those in streaks; the longest streak with its range; call once, after :meth:`finish`."""
        return {
            name: self.totals[kind].to_json(began)
            for kind, name in SCANNERS.items()
            if self.totals[kind].scans
        }
