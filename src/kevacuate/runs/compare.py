# SPDX-License-Identifier: GPL-2.0-or-later
"""Several policies side by side, each replayed several times: a single replay is one draw of what depends on chance.

The replays share nothing but the demand, which is read only, so they run on all cores, as threads: the compiled loop holds no
lock of the interpreter. Their number and order change nothing in any result.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import NamedTuple

from kevacuate.demand.build import Demand
from kevacuate.demand.refusals import refuse_without_demand
from kevacuate.errors import KevacuateError, whole_number
from kevacuate.jit import JIT_DISABLED, is_kept
from kevacuate.measure import Comparison, Run
from kevacuate.measure.claims import claims_facts, nothing_words
from kevacuate.measure.permutation import REPEATS
from kevacuate.measure.sequential import FIRST_LOOK
from kevacuate.policy import Policy, parse_policies
from kevacuate.recording import Recording
from kevacuate.recording.completeness import refuse_losses
from kevacuate.runs.loop import replay_rows
from kevacuate.runs.options import ReplayOptions, given_options
from kevacuate.runs.replay import Progress, demand_while_compiling, replay
from kevacuate.runs.trust import about_result
from kevacuate.runs.until_decided import Budget, flat, replay_until_decided
from kevacuate.workload.opening import Replayable, recording_of

STATE_BYTES = 16
"""A replay's state per page of the machine, object table included (docs/performance.md), with room for what is measured of it."""

RESERVED_SECONDS = 3.0
"""Of a comparison's time, a fifth up to this is kept for reading the recording and for its table; more where they take more."""

MOST_SECONDS = 7 * 86400.0
"""The longest time that a comparison may take: a week."""

Report = Callable[[str, int, int], None]
"""Called with (which policy, rows done, rows in all)."""


class Job(NamedTuple):
    """One replay to do; *name* is what its progress is told under."""

    policy: Policy
    options: ReplayOptions
    name: str


class _Stopped(Exception):
    """The comparison was given up: a replay under way ends at its next chunk."""


class _Tally:
    """Rows done by all replays of one name, told as one figure; replays report from threads of their own."""

    def __init__(self, jobs: Sequence[Job], rows: int, report: Report | None) -> None:
        self.stopped = threading.Event()
        self._lock = threading.Lock()
        self._report = report
        self._done = [0] * len(jobs)
        self._names = [job.name for job in jobs]
        self._rows = rows

    def of(self, number: int) -> Progress:
        """The progress of job *number*."""
        same = [i for i, name in enumerate(self._names) if name == self._names[number]]

        def progress(done: int, total: int) -> None:
            if self.stopped.is_set():
                raise _Stopped
            with self._lock:
                self._done[number] = done
                if self._report:
                    self._report(
                        self._names[number], sum(self._done[i] for i in same), self._rows * len(same)
                    )

        return progress


def workers_for(recording: Recording, jobs: int) -> int:
    """As many replays at once as there are cores to use, and as fit into half of the machine's memory."""
    if JIT_DISABLED:
        return 1
    start = recording.start
    pages = (
        max((zone.start_pfn + zone.spanned for zone in start.zones), default=0) if start is not None else 0
    )
    room = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    return max(1, min(jobs, len(os.sched_getaffinity(0)), room // max(pages * STATE_BYTES, 1)))


def replay_all(
    recording: Recording, demand: Demand, jobs: Sequence[Job], workers: int | None, report: Report | None
) -> list[Run]:
    """The run of every job, in their order. Those of one seed are made one after the other: they share its demand."""
    tally = _Tally(jobs, demand.span[1], report)

    def one(number: int) -> Run:
        policy, options, _ = jobs[number]
        return replay(recording, policy, options=options, demand=demand, progress=tally.of(number))

    most = workers_for(recording, len(jobs)) if workers is None else min(workers, len(jobs))
    by_seed = sorted(range(len(jobs)), key=lambda number: jobs[number].options.seed)
    if most == 1:
        made = {number: one(number) for number in by_seed}
        return [made[number] for number in range(len(jobs))]
    pool = ThreadPoolExecutor(most, "replay")
    try:
        waiting = {number: pool.submit(one, number) for number in by_seed}
        made = {number: waiting[number].result() for number in by_seed}
        return [made[number] for number in range(len(jobs))]
    finally:  # of an exception: a replay whose loop is being compiled ends only after that, and nobody waits for it
        tally.stopped.set()
        pool.shutdown(wait=False, cancel_futures=True)


def _chosen(policies: str | Policy | Iterable[str | Policy]) -> list[Policy]:
    """The policies, each named once."""
    chosen = parse_policies(policies)
    if not chosen:
        raise KevacuateError("No policy was given, so there is nothing to compare: name at least one.")
    specs = [policy.spec for policy in chosen]
    twice = next((spec for spec in specs if specs.count(spec) > 1), None)
    if twice is not None:
        raise KevacuateError(
            f"The policy {twice} was named more than once: to replay a policy several times, ask for repeats."
        )
    return chosen


def _how_often(repeats: int | None, seconds: float | None) -> int | None:
    """Replays of each policy; None where a time is given instead.

    Raises
    ------
    KevacuateError
        Both are given, or one is none.
    """
    if seconds is None:
        return REPEATS if repeats is None else whole_number("repeats", repeats, 1)
    if repeats is not None:
        raise KevacuateError("Both repeats and seconds were given: give one of them.")
    checked_seconds(seconds)
    return None


def checked_seconds(seconds: float) -> float:
    """A time that replays may take.

    Raises
    ------
    KevacuateError
        It is none.
    """
    real = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if not real or not 0 <= seconds <= MOST_SECONDS:
        raise KevacuateError(f"seconds cannot be {seconds!r}: it is a number from 0 to {MOST_SECONDS:,.0f}.")
    return float(seconds)


def _jobs(policies: Sequence[Policy], options: ReplayOptions, repeats: int) -> list[Job]:
    """So many replays of every policy, by policy; with maps only where each is replayed once."""
    return [
        Job(policy, replace(options, seed=options.seed + i, keep=options.keep and repeats == 1), policy.spec)
        for policy in policies
        for i in range(repeats)
    ]


def _budget(seconds: float, since: float | None) -> Budget:
    """The time for replays of a comparison that may take so long; *since* the model began to be compiled, if it was."""
    return Budget(seconds, since, min(seconds / 5, RESERVED_SECONDS))


def _until_decided(
    recording: Recording,
    demand: Demand,
    policies: Sequence[Policy],
    options: ReplayOptions,
    workers: int | None,
    budget: Budget,
    report: Report | None,
) -> list[Run]:
    """The runs of every policy, by policy, until the rows that decide are decided or the time is spent."""
    rows, lock, stopped = demand.span[1], threading.Lock(), threading.Event()
    done = dict.fromkeys(range(len(policies)), 0)

    def one(policy: int, number: int) -> Run:
        last = 0

        def progress(now: int, total: int) -> None:
            nonlocal last
            budget.begin()
            if stopped.is_set():
                raise _Stopped
            with lock:
                done[policy] += now - last
                last = now
                if report:
                    report(policies[policy].spec, done[policy], max(FIRST_LOOK * rows, done[policy]))

        own = replace(options, seed=options.seed + number, keep=False)
        return replay(recording, policies[policy], options=own, demand=demand, progress=progress)

    jobs = FIRST_LOOK * len(policies)
    most = workers_for(recording, max(jobs, os.cpu_count() or 1)) if workers is None else workers
    try:
        return flat(replay_until_decided(len(policies), one, workers=most, budget=budget))
    finally:
        stopped.set()


def compare(
    recording: Replayable,
    policies: str | Policy | Sequence[str | Policy],
    *,
    repeats: int | None = None,
    seconds: float | None = None,
    count_compiling: bool = True,
    seed: int | None = None,
    workers: int | None = None,
    options: ReplayOptions = ReplayOptions(),  # noqa: B008 (frozen)
    progress: Report | None = None,
    say: Callable[[str], None] | None = None,
) -> Comparison:
    """Replay a recording's demand under several policies; the first is the baseline.

    Parameters
    ----------
    recording : Recording, Workload or path
        With a start state and a demand, or events to make one of; or a described workload, which each seed draws anew.
    policies : policy or sequence of policies
        ``NAME[,knob=value...]`` each, or a :class:`kevacuate.Policy`.
    repeats : int, optional
        Replays of each policy, with the seeds ``seed``, ``seed`` + 1, ... Default: 5.
    seconds : float, optional
        In place of ``repeats``: go on until the rows that decide are decided (:mod:`kevacuate.measure.sequential`), or so much
        time is spent that no seed is begun any more, or is too short for every row that is left. At least 5 replays of each
        policy are made. ``repeats`` with the number that was made gives the same, bit for bit.
    count_compiling : bool
        Whether it counts as time spent where the model has to be compiled first.
    seed : int, optional
        In place of ``options.seed``.
    workers : int, optional
        Replays at once; changes nothing but speed. Default: one per core that this process may use, fewer where memory is short.
    options : ReplayOptions
        With ``keep`` the typical run of each policy (:func:`kevacuate.measure.results.typical_run`) has map and history; with
        several repeats it is replayed once more for them.
    progress : callable, optional
        Called with (policy, rows done by all its replays, rows in all), from whichever thread.
    say : callable, optional
        Called before the replays with a sentence on what the recording tells already: that evacuation would do nothing.

    Returns
    -------
    Comparison
        Its runs by policy, then by seed. :func:`kevacuate.summary` makes a table of it, :func:`kevacuate.conclusion` sentences,
        :func:`kevacuate.report` a page.

    Raises
    ------
    KevacuateError
        As :func:`kevacuate.replay`; or a policy is named twice, or none, or there are to be no repeats, or both a number and a
        time are given.

    Examples
    --------
    >>> import kevacuate
    >>> result = kevacuate.compare("my-server.kev", ["mainline", "evacuate,pool=8"], repeats=2)
    >>> [(run.policy, run.seed) for run in result.runs]
    [('mainline', 0), ('mainline', 1), ('evacuate,pool=8', 0), ('evacuate,pool=8', 1)]
    >>> kevacuate.summary(result).column_names[:3]
    ['id', 'section', 'label']
    """
    chosen = _chosen(policies)
    repeats = _how_often(repeats, seconds)
    workers = None if workers is None else whole_number("workers", workers, 1)
    options = given_options(options, seed)
    recording = recording_of(recording)
    if not options.despite_losses:
        refuse_losses(recording)
    refuse_without_demand(recording)
    if say and (known := nothing_words(claims_facts(recording))):
        say(known)
    since = time.monotonic() if count_compiling and not is_kept(replay_rows) else None
    demand = demand_while_compiling(recording)
    if repeats is None:
        budget = _budget(seconds or 0.0, since)
        made = _until_decided(recording, demand, chosen, options, workers, budget, progress)
    else:
        jobs = _jobs(chosen, options, repeats)
        made = replay_all(recording, demand, jobs, workers, progress)
    result = Comparison(tuple(made), about_result(recording, demand))
    if not options.keep or repeats == 1:
        return result
    again = [
        Job(policy, replace(options, seed=run.seed), f"{policy.spec} (for its map)")
        for policy, run in zip(chosen, result.typical.runs, strict=True)
    ]
    kept = {(run.policy, run.seed): run for run in replay_all(recording, demand, again, workers, progress)}
    return replace(result, runs=tuple(kept.get((run.policy, run.seed), run) for run in made))
