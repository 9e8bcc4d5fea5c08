# SPDX-License-Identifier: GPL-2.0-or-later
"""Stalls of the running kernel, from lines of trace_pipe: paired as those of a recording (:mod:`kevacuate.measure.stalls`)."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterable
from copy import deepcopy
from typing import Any

import numpy as np
import numpy.typing as npt

from kevacuate.kernel.versions import ANY_KERNEL, KernelRange, parse_version
from kevacuate.measure.rescans import RescanCounter
from kevacuate.measure.stallfigures import failed
from kevacuate.measure.stalls import STALL_NAMES, WAITS, StallCounter
from kevacuate.measure.wakes import WakeCounter
from kevacuate.recording.eventparse import EventParser, Names, event_parsers
from kevacuate.recording.schema import COLUMN_TYPES, VALUE_COLUMNS, EventChunk

BUCKETS = (0.00001, 0.0001, 0.001, 0.01, 0.1, 1.0, 10.0)
"""Upper bounds in seconds of the histogram of stalls; the last bucket has none."""

MOST_NAMES = 4096
"""Tasks whose names are kept; the oldest are forgotten."""

_LINE = re.compile(
    r"^\s*(?P<task>.*)-(?P<pid>\d{1,9})\s+\[(?P<cpu>\d{1,5})\]\s+\S+\s+(?P<seconds>\d{1,12})\.(?P<fraction>\d{6}): "
    r"(?P<event>mm_(?:vmscan|compaction)_\w{1,60}): (?P<body>.*)$",
    re.DOTALL,
)


class StallFeed:
    """Counts the stalls in lines of trace_pipe; memory does not grow with them.

    Attributes
    ----------
    buckets : int64[2, len(BUCKETS) + 1]
        Stalls by kind (:data:`kevacuate.measure.stalls.STALL_NAMES`) and length; a bound belongs to its bucket.
    seconds : list of float
        Sum of the stalls by kind.
    failed : list of int
        Those that failed by kind (:func:`kevacuate.measure.stallfigures.failed`).
    wakes : WakeCounter
        Wakes of kswapd and kcompactd.
    rescans : RescanCounter
        Compaction in circles, as far as its begins and ends tell.
    names : dict of int to str
        Of the tasks that wait or wake, as their last line has it. Not to be trusted: any process chooses its name.
    unread : int
        Lines of such events that could not be read.
    """

    def __init__(self, zones: tuple[str, ...] = (), release: str | None = None) -> None:
        version = parse_version(platform.release() if release is None else release)
        kernel = ANY_KERNEL if version is None else KernelRange(version, version)
        self._parsers: dict[str, EventParser] = event_parsers(zones, Names(kernel=kernel))
        self._stalls = StallCounter(follow=False)
        self.wakes = WakeCounter()
        self.rescans = RescanCounter()
        self.names: dict[int, str] = {}
        self.buckets = np.zeros((WAITS, len(BUCKETS) + 1), np.int64)
        self.seconds = [0.0] * WAITS
        self.failed = [0] * WAITS
        self.unread = 0

    def add(self, lines: Iterable[str]) -> None:
        """Take lines in order of time; what is about something else is passed over."""
        rows = [row for line in lines if (row := self._row(line)) is not None]
        if not rows:
            return
        rows.sort(key=lambda row: row[0])
        columns = zip(*rows, strict=True)
        chunk = EventChunk(
            **{
                name: np.array(column, dtype)
                for (name, dtype), column in zip(COLUMN_TYPES.items(), columns, strict=True)
            }
        )
        self.wakes.add(chunk)
        self.rescans.add(chunk)
        self._stalls.add(chunk)
        self._count(self._stalls.take())

    def _row(self, line: str) -> tuple[int, ...] | None:
        """The columns of a line's event; None where it is none of these."""
        match = _LINE.match(line)
        parser = self._parsers.get(match["event"]) if match else None
        if match is None or parser is None:
            return None
        try:
            values = parser.parse(match["body"])[: len(VALUE_COLUMNS)]
            ts = int(match["seconds"]) * 1_000_000_000 + int(match["fraction"]) * 1000
            row = (ts, int(match["cpu"]), int(match["pid"]), int(parser.kind), *values)
            for value, dtype in zip(row, COLUMN_TYPES.values(), strict=True):
                np.array(value, dtype)
        except (ValueError, OverflowError):
            self.unread += 1
            return None
        self.names.pop(row[2], None)
        self.names[row[2]] = match["task"]
        if len(self.names) > MOST_NAMES:
            del self.names[next(iter(self.names))]
        return row

    def to_json(self) -> dict[str, Any]:
        """Stalls, wakes and rescans so far, named as triage names them (:func:`kevacuate.observe.stalls.Waits.result`)."""
        counts = self.buckets.sum(axis=1).tolist()
        kinds = zip(STALL_NAMES[:WAITS], counts, self.seconds, self.failed, strict=True)
        stalls = {
            name: {"count": count, "total_ns": round(seconds * 1e9), "failed": number}
            for name, count, seconds, number in kinds
        }
        rescans = deepcopy(self.rescans)  # its streaks go on
        rescans.finish()
        return {**stalls, **self.wakes.result(self.names), "rescans": rescans.result(0)}

    def _count(self, stalls: npt.NDArray[np.void]) -> None:
        """Enter stalls in the histogram."""
        for kind in range(len(STALL_NAMES[:WAITS])):
            own = stalls[stalls["kind"] == kind]
            seconds = own["ns"] / 1e9
            place = np.searchsorted(BUCKETS, seconds, side="left")
            self.buckets[kind] += np.bincount(place, minlength=len(BUCKETS) + 1)
            self.seconds[kind] += float(seconds.sum())
            self.failed[kind] += int(failed(own).sum())
