# SPDX-License-Identifier: GPL-2.0-or-later
"""The replays of the verdict level: one demand under each policy, measured where the recorded kernel's snapshots were taken."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import repeat
from typing import NamedTuple

import numpy as np

from kevacuate.demand.build import Demand
from kevacuate.fidelity.verdict import columns
from kevacuate.jit import JIT_DISABLED
from kevacuate.measure import moment, run_metrics
from kevacuate.policy import BOOTED, parse_policy
from kevacuate.recording import DemandChunk, Recording
from kevacuate.runs.compare import STATE_BYTES
from kevacuate.runs.options import ReplayOptions
from kevacuate.runs.replay import SETTLE_NS, Replay, demand_while_compiling

Report = Callable[[str, int, int], None]

REPLAYS = 12
"""Replays of each policy by default, with seeds from 0: fewer cannot tell a difference once it is corrected for 30 rows."""

PEAK = columns.MOMENTS[0]
"""The moment at which the load ends."""


class OneReplay:
    """One replay, with what is compared of it."""

    def __init__(self, recording: Recording, demand: Demand, policy: str, options: ReplayOptions) -> None:
        self._replay = Replay(recording, demand, parse_policy(policy), options)
        self._replay.keep_log = True
        self._refused = 0
        self.values: dict[str, float] = {}
        """Figures by column."""

    @property
    def loop(self) -> str:
        """``open`` or ``closed``: the loop it runs in."""
        return self._replay.loop.name

    def feed(self, chunk: DemandChunk, row: int) -> None:
        """Replay some rows."""
        self._replay.feed(chunk, row)
        self._replay.take_log()
        self._refused += sum(columns.refused_in(log) for log in self._replay.log)
        self._replay.log.clear()

    def mark(self, label: str, t: int) -> None:
        """Measure memory at virtual time *t* (ns), and the load's counters where it ends."""
        self._replay.advance(t)
        here = moment(self._replay.state)
        self.values |= {f"{label}_{name}": value for name, value in columns.replay_moment(here).items()}
        if label == PEAK:
            self.values |= columns.replay_load(run_metrics(self._replay.state, here))

    def finish(self, t: int) -> None:
        """Let what is under way end, after the demand's last row at *t*, and take the counts."""
        self._replay.advance(max(t, self._replay.state.view.stat.now) + SETTLE_NS)
        self.values |= columns.replay_counts(run_metrics(self._replay.state))
        self.values["claims_refused"] = self._refused


def moments_of(recording: Recording) -> dict[str, int]:
    """Label to virtual time (ns) of the moments that the recording's snapshots mark."""
    start = recording.start
    if start is None:
        return {}
    return {
        s.label: s.ts - start.ts for s in recording.states if s.label in columns.MOMENTS and s.ts > start.ts
    }


class Replayed(NamedTuple):
    """What the replays came to."""

    loop: str
    """The loop that they ran in."""
    values: dict[str, list[dict[str, float]]]
    """Of each policy the figures of its replays, by column."""


def replayed(recording: Recording, number: int, options: ReplayOptions, report: Report) -> Replayed:
    """Figures of *number* replays of each policy of BOOTED, with seeds from ``options.seed``; all cores are used.

    As many replays as fit into half of the machine's memory share a pass over the demand.
    """
    report("reading the demand", 0, 0)
    demand = demand_while_compiling(recording)
    jobs = [(policy, options.seed + i) for policy in BOOTED for i in range(number)]
    most, total = _most_at_once(recording), demand.span[1]
    found: dict[str, list[dict[str, float]]] = {policy: [] for policy in BOOTED}
    loop = ""
    for at in range(0, len(jobs), most):
        some = jobs[at : at + most]
        runs = [OneReplay(recording, demand, policy, replace(options, seed=seed)) for policy, seed in some]
        for rows in _pass(recording, demand, runs):
            report("verdict", total * at + rows * len(runs), total * len(jobs))
        for (policy, _), run in zip(some, runs, strict=True):
            found[policy].append(run.values)
            loop = run.loop
    return Replayed(loop, found)


def _most_at_once(recording: Recording) -> int:
    """Replays whose states fit into half of the machine's memory."""
    start = recording.start
    pages = max((zone.start_pfn + zone.spanned for zone in start.zones), default=0) if start else 0
    room = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    return max(1, room // max(pages * STATE_BYTES, 1))


def _pass(recording: Recording, demand: Demand, runs: Sequence[OneReplay]) -> Iterator[int]:
    """One pass over the demand for some replays, side by side; yields the rows done so far."""
    marks = sorted(moments_of(recording).items(), key=lambda item: item[1])
    rows, last = 0, 0
    workers = 1 if JIT_DISABLED else min(len(runs), len(os.sched_getaffinity(0)))
    with ThreadPoolExecutor(workers, "verdict") as pool:
        for chunk in demand.chunks():
            for piece, label, t in _cut(chunk, marks):
                list(pool.map(_step, runs, repeat(piece), repeat(label), repeat(t), repeat(rows)))
                rows += piece.t.size
                last = int(piece.t[-1]) if piece.t.size else last
            yield rows
        list(pool.map(_end, runs, repeat(marks), repeat(last)))


def _step(run: OneReplay, piece: DemandChunk, label: str, t: int, row: int) -> None:
    """Some rows of one replay, and the moment after them, if one is marked there."""
    run.feed(piece, row)
    if label:
        run.mark(label, t)


def _end(run: OneReplay, marks: Sequence[tuple[str, int]], last: int) -> None:
    """The moments after the last row, and the end."""
    for label, t in marks:
        run.mark(label, t)
    run.finish(last)


def _cut(chunk: DemandChunk, marks: list[tuple[str, int]]) -> Iterator[tuple[DemandChunk, str, int]]:
    """The chunk in pieces that end at the marks which lie in it; those marks are taken off the list."""
    low = 0
    while marks and marks[0][1] < int(chunk.t[-1]):
        label, t = marks.pop(0)
        high = int(np.searchsorted(chunk.t, t, "right"))
        yield DemandChunk._make(column[low:high] for column in chunk), label, t
        low = high
    yield DemandChunk._make(column[low:] for column in chunk), "", 0
