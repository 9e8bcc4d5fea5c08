# SPDX-License-Identifier: GPL-2.0-or-later
"""The counterfactual level: the demand of a stock kernel under each policy, against kernels that really ran so."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kevacuate.demand.build import Demand, build_demand
from kevacuate.fidelity.counterfactual import measures
from kevacuate.fidelity.counterfactual.causes import Evidence, cause_of
from kevacuate.fidelity.counterfactual.effects import Sides, effects
from kevacuate.fidelity.counterfactual.outcomes import KernelRun, Workload, read_outcomes, workload_of
from kevacuate.fidelity.counterfactual.recorded_run import recorded_counts, recorded_moment
from kevacuate.fidelity.counterfactual.verdict import (
    DEVIATIONS,
    INFORMATIONAL,
    LEAST_RUNS,
    LEAST_SPREAD,
    OUTSIDE,
    outcome,
    repeats_outside,
)
from kevacuate.fidelity.level import Given
from kevacuate.measure import moment, run_metrics
from kevacuate.measure.fidelity import Effect, LevelResult, Outcome, Tally
from kevacuate.policy import BASELINE, BOOTED, parse_policy
from kevacuate.recording import DemandChunk, Recording
from kevacuate.runs.options import ReplayOptions
from kevacuate.runs.replay import SETTLE_NS, Replay

Report = Callable[[str, int, int], None]

REPLAYS = 6
"""Replays of each policy, with seeds 0 to 5: as exact repeats of a kernel do, they differ in when background work begins, which
no recording shows, and what comes of that grows."""


class Run:
    """One replay, with what is compared of it."""

    def __init__(self, recording: Recording, demand: Demand, policy: str, seed: int) -> None:
        self._replay = Replay(recording, demand, parse_policy(policy), ReplayOptions(seed=seed))
        self._replay.keep_log = True
        self._refused = 0
        self.values: dict[str, float] = {}

    def feed(self, chunk: DemandChunk, row: int) -> None:
        """Replay some rows."""
        self._replay.feed(chunk, row)
        self._replay.take_log()
        self._refused += sum(measures.refused_in(log) for log in self._replay.log)
        self._replay.log.clear()

    def mark(self, label: str, t: int) -> None:
        """Measure memory at virtual time *t* (ns)."""
        self._replay.advance(t)
        here = moment(self._replay.state)
        found = {**measures.replay_moment(here), "pcp_pages": here["pcp_pages"]}
        self.values |= {f"{label}_{name}": value for name, value in found.items()}

    def finish(self, t: int) -> None:
        """Let what is under way end, after the demand's last row at *t*, and take the counts."""
        self._replay.advance(max(t, self._replay.state.view.stat.now) + SETTLE_NS)
        self.values |= measures.replay_counts(run_metrics(self._replay.state))
        self.values["claims_refused"] = self._refused


def verify_counterfactual(
    given: Given, outcomes: Path | None, report: Report, replays: int = REPLAYS
) -> LevelResult:
    """Replay a stock recording's demand under every policy of :data:`kevacuate.policy.BOOTED`, and hold it against real runs.

    Parameters
    ----------
    given : Given
        The recording.
    outcomes : path, optional
        CSV of the real runs; ``outcomes.csv`` beside the recording by default.
    report : callable
        Called with (what, done, in all; 0 if not known).
    replays : int
        Replays of each policy, with seeds from 0.

    Raises
    ------
    KevacuateError
        The outcomes named or the recording cannot be read, or the recording cannot be replayed.
    """
    recording = given.recording
    path = outcomes or recording.path.resolve().parent / "outcomes.csv"
    if outcomes is None and not path.exists():
        return _not_exercised(
            f"no outcomes of real kernels: there is no {path.name} beside the recording (--outcomes)"
        )
    workload = workload_of(recording.machine)
    if workload is None:
        return _not_exercised(
            "the recording does not say which workload and seed it ran (gtwl, gtmem, gtseed)"
        )
    runs = {policy: _runs(read_outcomes(path), kernel, workload) for policy, kernel in BOOTED.items()}
    if not any(runs.values()):
        return _not_exercised(f"{path.name} has no run of {workload}")
    before, own = recorded_counts(recording, given.recording.start or given.start)
    if own.get("patch_events"):
        return _not_exercised(
            "the recorded kernel has the patch. What its evacuations did has shaped the recorded demand, which is not that of a "
            "stock kernel"
        )
    replayed = _replayed(recording, report, replays)
    for values in (run.values for runs_ in replayed.values() for run in runs_):
        for column in measures.COUNTS:
            values[column] += before.get(column, 0)
    return _result(
        recording, workload, runs, replayed, Evidence(_own(recording, own), _pcp(recording, replayed))
    )


def _not_exercised(why: str) -> LevelResult:
    return LevelResult("counterfactual", not_exercised=why)


def _runs(runs: list[KernelRun], kernel: str, workload: Workload) -> list[KernelRun]:
    return [run for run in runs if run.kernel == kernel and run.workload == workload]


def _moments(recording: Recording) -> dict[str, int]:
    """Label to virtual time (ns) of the moments that the recording's snapshots mark."""
    start = recording.start
    if start is None:
        return {}
    return {
        s.label: s.ts - start.ts for s in recording.states if s.label in measures.MOMENTS and s.ts > start.ts
    }


def _own(recording: Recording, counts: Mapping[str, int]) -> dict[str, float]:
    """What the recorded run itself came to, by column."""
    found: dict[str, float] = {column: counts.get(column, 0) for column in measures.COUNTS}
    for state in recording.states:
        if state.label in measures.MOMENTS:
            moment_ = recorded_moment(
                state, recording.machine.pageblock_order, recording.machine.hugepage_order
            )
            found |= {f"{state.label}_{name}": value for name, value in moment_.items()}
    return found


def _pcp(recording: Recording, replays: Mapping[str, list[Run]]) -> dict[str, tuple[float, float]]:
    """Pages on the per-CPU lists at each moment: mean of all replays, and of the recorded run."""
    found = {}
    for state in recording.states:
        ours = [run.values.get(f"{state.label}_pcp_pages") for runs in replays.values() for run in runs]
        values = [value for value in ours if value is not None]
        if values:
            found[state.label] = statistics.fmean(values), float(state.pcp.count.sum())
    return found


def _replayed(recording: Recording, report: Report, number: int = REPLAYS) -> dict[str, list[Run]]:
    """Every policy's replays, side by side in one pass over the demand."""
    demand = build_demand(recording)
    replays = {policy: [Run(recording, demand, policy, seed) for seed in range(number)] for policy in BOOTED}
    every = [run for runs in replays.values() for run in runs]
    marks = sorted(_moments(recording).items(), key=lambda item: item[1])
    rows, last = 0, 0
    for chunk in demand.chunks():
        for piece, label, t in _cut(chunk, marks):
            for run in every:
                run.feed(piece, rows)
                if label:
                    run.mark(label, t)
            rows += piece.t.size
            last = int(piece.t[-1]) if piece.t.size else last
        report("counterfactual", rows, 0)
    for run in every:
        for label, t in marks:
            run.mark(label, t)
        run.finish(last)
    return replays


def _cut(chunk: DemandChunk, marks: list[tuple[str, int]]) -> Iterator[tuple[DemandChunk, str, int]]:
    """The chunk in pieces that end at the marks which lie in it; those marks are taken off the list."""
    low = 0
    while marks and marks[0][1] < int(chunk.t[-1]):
        label, t = marks.pop(0)
        high = int(np.searchsorted(chunk.t, t, "right"))
        yield DemandChunk._make(column[low:high] for column in chunk), label, t
        low = high
    yield DemandChunk._make(column[low:] for column in chunk), "", 0


class Compared(NamedTuple):
    """A row and what it was computed from."""

    column: str
    row: Outcome
    theirs: list[float]
    ours: list[float]


def _rows(
    policy: str, runs: list[KernelRun], replays: list[Run], moments: tuple[str, ...]
) -> Iterator[Compared]:
    """A row for everything that both sides tell."""
    for column, name in measures.columns_for(policy != BASELINE, moments).items():
        found = [measures.kernel_value(run.values, column) for run in runs]
        theirs = [value for value in found if value is not None]
        ours = [run.values[column] for run in replays if column in run.values]
        if theirs and ours:
            yield Compared(column, outcome(policy, name, theirs, ours), theirs, ours)


def _result(
    recording: Recording,
    workload: Workload,
    runs: Mapping[str, list[KernelRun]],
    replays: Mapping[str, list[Run]],
    evidence: Evidence,
) -> LevelResult:
    """All rows, tallied."""
    result = LevelResult("counterfactual")
    moments = tuple(label for label in measures.MOMENTS if label in _moments(recording))
    causes: Counter[str] = Counter()
    rows: list[Outcome] = []
    outside = decided = 0
    sides: dict[str, dict[str, Sides]] = {}
    for policy, kernel in BOOTED.items():
        result.inputs[f"real runs, {kernel}"] = len(runs[policy])
        tally = Tally()
        for column, plain, theirs, ours in _rows(policy, runs[policy], replays[policy], moments):
            row = plain
            sides.setdefault(policy, {})[column] = Sides(row.name, theirs, ours)
            if row.verdict == OUTSIDE:
                cause = cause_of(column, row, ours, evidence)
                row = replace(plain, cause=cause.words)
                causes[cause.kind] += 1
            if row.verdict != INFORMATIONAL:
                tally.decisions += 1
                tally.mismatches += row.verdict == OUTSIDE
                wrong, all_ = repeats_outside(theirs, row.name)
                outside, decided = outside + wrong, decided + all_
            rows.append(row)
        if tally.decisions:
            result.kinds[f"{policy} against {kernel}: rows"] = tally
    result.outcomes, result.causes = tuple(rows), dict(causes)
    result.effects = _effects(sides)
    result.notes = _notes(workload, moments, outside, decided, len(replays[BASELINE]))
    if not result.kinds:
        result.not_exercised = (
            f"no row decides. There are fewer than {LEAST_RUNS} real runs of {workload} for each kernel; the rows are "
            "informational"
        )
    return result


def _effects(sides: Mapping[str, Mapping[str, Sides]]) -> tuple[Effect, ...]:
    """What every policy changes against the baseline."""
    base = sides.get(BASELINE, {})
    found: list[Effect] = []
    for policy, kernel in BOOTED.items():
        if policy != BASELINE:
            found += effects(base, sides.get(policy, {}), policy, (BOOTED[BASELINE], kernel))
    return tuple(found)


def _notes(
    workload: Workload, moments: tuple[str, ...], outside: int, decided: int, replays: int
) -> tuple[str, ...]:
    """What a reader must know about the rows."""
    notes = [
        f"the workload is {workload}. A row decides if there are at least {LEAST_RUNS} real runs and if it would not accept 0, "
        "that is, a model that does nothing",
        f"a row accepts {DEVIATIONS:g} standard deviations (each at least {LEAST_SPREAD:g})",
        f"ours is the mean of {replays} replays of one recorded demand, which differ in when background work begins",
        "fallbacks between boot and the start of the replay are counted as recorded",
    ]
    if decided:
        notes.append(
            f"by the same rule, each real run against the others of its kernel, {outside} of {decided} are outside "
            f"({outside / decided:.0%}). That much is to be expected of a perfect model"
        )
    missing = [label for label in measures.MOMENTS if label not in moments]
    if missing:
        notes.append(f"no snapshot marks {', '.join(missing)}: rows of that moment are not there")
    return tuple(notes)
