# SPDX-License-Identifier: GPL-2.0-or-later
"""The replays of the verdict level: one demand under each policy, measured where the recorded kernel's snapshots were taken."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from kevacuate.demand.build import Demand
from kevacuate.fidelity.verdict import columns
from kevacuate.fidelity.verdict.two_reads import FLAGS_NS, Read, held_by_two_reads, read_pages
from kevacuate.measure import moment, run_metrics
from kevacuate.policy import BOOTED, parse_policy
from kevacuate.recording import DemandChunk, Recording
from kevacuate.runs.compare import workers_for
from kevacuate.runs.options import ReplayOptions
from kevacuate.runs.replay import SETTLE_NS, Replay, demand_while_compiling

Report = Callable[[str, int, int], None]

REPLAYS = 12
"""Replays of each policy by default, with seeds from 0: fewer cannot tell a difference once it is corrected for 30 rows."""

FLAGS = " flags"
"""Behind a moment's label: the second read of its memory."""

PEAK = columns.MOMENTS[0]
"""The moment at which the load ends."""


class OneReplay:
    """One replay, with what is compared of it."""

    def __init__(self, recording: Recording, demand: Demand, policy: str, options: ReplayOptions) -> None:
        self._replay = Replay(recording, demand, parse_policy(policy), options)
        self._replay.keep_log = True
        self._refused = 0
        self._dumps: dict[str, Read] = {}
        self.values: dict[str, float] = {}
        """Figures by column."""
        self.loop = self._replay.loop.name
        """``open`` or ``closed``: the loop it runs in."""

    def run(self, moments: Sequence[tuple[str, int]], done: Callable[[int], None]) -> None:
        """Replay its demand, which a seed may have varied, and measure at the moments, (label, virtual ns) in order of time."""
        marks = [(label, t) for label, t in moments] + [(label + FLAGS, t + FLAGS_NS) for label, t in moments]
        marks.sort(key=lambda mark: mark[1])
        rows, last = 0, 0
        for chunk in self._replay.demand.chunks(closed=self._replay.loop.closed):
            for piece, label, t in _cut(chunk, marks):
                self._feed(piece, rows)
                if label:
                    self._mark(label, t)
                rows += piece.t.size
                last = int(piece.t[-1]) if piece.t.size else last
            done(rows)
        for label, t in marks:
            self._mark(label, t)
        self._finish(last)

    def _feed(self, chunk: DemandChunk, row: int) -> None:
        """Replay some rows."""
        self._replay.feed(chunk, row)
        self._replay.take_log()
        self._refused += sum(columns.refused_in(log) for log in self._replay.log)
        self._replay.log.clear()

    def _mark(self, label: str, t: int) -> None:
        """Measure memory at virtual time *t* (ns), and the load's counters where it ends; at a second read, what blocks hold."""
        self._replay.advance(t)
        read = read_pages(self._replay.state)
        if label.endswith(FLAGS):
            label = label.removesuffix(FLAGS)
            held = held_by_two_reads(self._dumps[label], read, self._replay.state.view.cfg.pageblock_order)
            self.values |= {f"{label}_{name}": value for name, value in held.items()}
            return
        self._dumps[label] = read
        here = moment(self._replay.state)
        self.values |= {f"{label}_{name}": value for name, value in columns.replay_moment(here).items()}
        if label == PEAK:
            self.values |= columns.replay_load(run_metrics(self._replay.state, here))

    def _finish(self, t: int) -> None:
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


def replayed(
    recording: Recording,
    number: int,
    options: ReplayOptions,
    report: Report,
    policies: Sequence[str] = tuple(BOOTED),
) -> Replayed:
    """Figures of *number* replays of each policy, with seeds from ``options.seed``; all cores are used."""
    report("reading the demand", 0, 0)
    demand = _in_memory(demand_while_compiling(recording))
    moments = sorted(moments_of(recording).items(), key=lambda item: item[1])
    jobs = [(policy, options.seed + i) for i in range(number) for policy in policies]
    done, lock = [0] * len(jobs), threading.Lock()

    def one(at: int) -> OneReplay:
        policy, seed = jobs[at]
        run = OneReplay(recording, demand, policy, replace(options, seed=seed))
        spans = demand.spans
        total = len(jobs) * (spans.closed if run.loop == "closed" else spans.open)[1]

        def progress(rows: int) -> None:
            with lock:
                done[at] = rows
                report("verdict", min(sum(done), total), total)

        run.run(moments, progress)
        return run

    with ThreadPoolExecutor(workers_for(recording, len(jobs)), "verdict") as pool:
        runs = list(pool.map(one, range(len(jobs))))
    found: dict[str, list[dict[str, float]]] = {policy: [] for policy in policies}
    for (policy, _), run in zip(jobs, runs, strict=True):
        found[policy].append(run.values)
    return Replayed(runs[0].loop, found)


def _in_memory(demand: Demand) -> Demand:
    """The same demand with its rows in memory: a recording's events are read once, not once a replay."""
    chunks = list(demand.chunks(closed=True))
    quality = None if demand.max_objects is None else demand.quality
    return Demand(demand.start_objects, lambda _: iter(chunks), demand.kinds, quality, demand.spans)


def _cut(chunk: DemandChunk, marks: list[tuple[str, int]]) -> Iterator[tuple[DemandChunk, str, int]]:
    """The chunk in pieces that end at the marks which lie in it; those marks are taken off the list."""
    low = 0
    while marks and marks[0][1] < int(chunk.t[-1]):
        label, t = marks.pop(0)
        high = int(np.searchsorted(chunk.t, t, "right"))
        yield DemandChunk._make(column[low:high] for column in chunk), label, t
        low = high
    yield DemandChunk._make(column[low:] for column in chunk), "", 0
