# SPDX-License-Identifier: GPL-2.0-or-later
"""Many settings tried on one demand: which help, and at what cost (:mod:`kevacuate.measure.tuned`)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from kevacuate.demand.build import Demand
from kevacuate.demand.refusals import refuse_without_demand
from kevacuate.errors import KevacuateError, whole_number
from kevacuate.measure import Run, tuned
from kevacuate.measure.deciding import COSTS, DECIDING, values_of
from kevacuate.measure.tuned import Tried, Tuned
from kevacuate.policy import BASELINE, Policy, parse_policy
from kevacuate.recording import Recording
from kevacuate.recording.completeness import refuse_losses
from kevacuate.runs.compare import RESERVED_SECONDS, Job, Report, checked_seconds, replay_all
from kevacuate.runs.grid import grid
from kevacuate.runs.options import ReplayOptions, given_options
from kevacuate.runs.replay import demand_while_compiling
from kevacuate.runs.trust import about_result
from kevacuate.workload.opening import Replayable, recording_of

SECONDS = 45.0
"""What a tuning may take by default."""

MOST_TESTED = 100
"""Replays of each finalist at most, where a time is given."""


ORDER = (tuned.HELPS, tuned.COSTLY, tuned.TRADES, tuned.NO_EFFECT, tuned.HARMS)
"""In which order finalists are told."""


@dataclass(frozen=True)
class Bench:
    """On what settings, or variants of a policy, are tried: the demand, how it is replayed."""

    recording: Recording
    demand: Demand
    options: ReplayOptions
    workers: int | None
    report: Report | None

    def runs(self, policies: Sequence[Policy], first: int, number: int, name: str) -> list[list[Run]]:
        """The runs of each policy with so many seeds from number *first* on."""
        # Nothing that a tuning tells is of a moment before the end.
        options = replace(self.options, samples=1, keep=False)
        jobs = [
            Job(policy, replace(options, seed=options.seed + first + i), name)
            for i in range(number)
            for policy in policies
        ]
        made = replay_all(self.recording, self.demand, jobs, self.workers, self.report)
        return [made[i :: len(policies)] for i in range(len(policies))]


def demand_to_try(recording: Replayable, options: ReplayOptions) -> tuple[Recording, Demand]:
    """A recording and its demand, read once.

    Raises
    ------
    KevacuateError
        It is incomplete and *options* do not allow that, or it has no demand.
    """
    source = recording_of(recording)
    if not options.despite_losses:
        refuse_losses(source)
    refuse_without_demand(source)
    return source, demand_while_compiling(source)


def _candidates(base: Policy, settings: Sequence[str]) -> list[Policy]:
    """The base policy with each setting.

    Raises
    ------
    KevacuateError
        A setting is none, is given twice, or the base gives its knob.
    """
    twice = next((text for text in settings if settings.count(text) > 1), None)
    if twice is not None:
        raise KevacuateError(f"The setting {twice} was named more than once: keep one.")
    for text in settings:
        if not isinstance(text, str) or "," in text:
            raise KevacuateError(f"{text!r} is no setting: write KNOB=VALUE.")
    return [parse_policy(f"{base.spec},{text}") for text in settings]


def tune(
    recording: Replayable,
    base: str | Policy = BASELINE,
    settings: Sequence[str] | None = None,
    *,
    repeats: int | None = None,
    seconds: float = SECONDS,
    seed: int | None = None,
    workers: int | None = None,
    options: ReplayOptions = ReplayOptions(),  # noqa: B008 (frozen)
    progress: Report | None = None,
) -> Tuned:
    """Try settings of the kernel on a recording's demand: which help in the model, and at what cost.

    Parameters
    ----------
    recording : Recording, Workload or path
        With a start state and a demand, or events to make one of; or a described workload.
    base : str or Policy
        The policy that every setting is added to, and compared with.
    settings : sequence of str, optional
        ``KNOB=VALUE`` each. Default: a grid of the kernel's settings, without those that were recorded.
    repeats : int, optional
        Replays of each finalist in the test, at least 8; the number that was made gives the same, bit for bit. Default: as many
        as fit into *seconds*, at most 100.
    seconds : float
        What the tuning may take; the screening and 8 replays of each finalist are always made.
    seed : int, optional
        In place of ``options.seed``: the first seed. The test's seeds follow those of the screening.
    workers : int, optional
        As of :func:`kevacuate.compare`.
    options : ReplayOptions
        As of :func:`kevacuate.compare`.
    progress : callable, optional
        Called with (what is done, rows done, rows in all), from whichever thread.

    Returns
    -------
    Tuned
        Every setting with its verdict, changes and costs; ``winners`` are those that help.

    Raises
    ------
    KevacuateError
        As :func:`kevacuate.compare`; or a setting is none, or is given twice; or there is nothing to try.

    Examples
    --------
    >>> import kevacuate
    >>> result = kevacuate.tune("my-server.kev", settings=["watermark_boost_factor=0"], repeats=8)
    >>> [one.setting for one in result.tried]
    ['watermark_boost_factor=0']
    """
    policy = base if isinstance(base, Policy) else parse_policy(base)
    if settings is not None and (isinstance(settings, str) or not isinstance(settings, Sequence)):
        raise KevacuateError(f"settings cannot be {settings!r}: give a list of KNOB=VALUE.")
    if settings is not None:
        _candidates(policy, settings)
    repeats = None if repeats is None else whole_number("repeats", repeats, tuned.LEAST_TESTED)
    seconds = checked_seconds(seconds)
    workers = None if workers is None else whole_number("workers", workers, 1)
    options = given_options(options, seed)
    source, demand = demand_to_try(recording, options)
    if settings is None and source.start is not None:
        settings = grid(source.machine, source.start, demand, policy)
    candidates = _candidates(policy, settings or ())
    if not candidates:
        raise KevacuateError("There is no setting to try: name at least one, as KNOB=VALUE.")
    bench = Bench(source, demand, options, workers, progress)
    return _tuned(bench, policy, candidates, repeats, seconds)


def _tuned(
    bench: Bench, base: Policy, candidates: Sequence[Policy], repeats: int | None, seconds: float
) -> Tuned:
    """Screen, then test."""
    bench.runs([base], 0, 1, "replaying once") if repeats is None else None  # compiles: no part of the pace
    begun = time.monotonic()
    runs = bench.runs([base, *candidates], 0, tuned.SCREENED, "screening")
    tables = [values_of(DECIDING, group) for group in runs]
    costs = [values_of(COSTS, group) for group in runs]
    out = [i for i in range(len(candidates)) if tuned.runs_out(costs[0], costs[1 + i])]
    chosen = tuned.screen(tables[0], tables[1:], out_of_memory=out)
    finalists = [candidates[i] for i in chosen]
    if repeats is None:
        pace = (time.monotonic() - begun) / (tuned.SCREENED * (1 + len(candidates)))
        left = seconds - min(seconds / 5, RESERVED_SECONDS) - (time.monotonic() - begun)
        repeats = min(max(int(left / (pace * (1 + len(finalists)))), tuned.LEAST_TESTED), MOST_TESTED)
    tested = bench.runs([base, *finalists], tuned.SCREENED, repeats, "testing the best") if finalists else []
    judged = _judged(base, finalists, tested)
    rest = [
        _left(base, policy, tables[0], tables[1 + i], i in out)
        for i, policy in enumerate(candidates)
        if i not in chosen
    ]
    tried = sorted(judged, key=lambda one: ORDER.index(one.verdict)) + rest
    known = values_of(DECIDING, tested[0]) if tested else tables[0]
    return Tuned(
        recording=about_result(bench.recording, bench.demand),
        base=base.spec,
        screened=tuned.SCREENED,
        tested=repeats if finalists else 0,
        seed=bench.options.seed,
        tried=tuple(tried),
        found=tuned.findable_changes(known, len(candidates), tuned.SCREENED, repeats) if finalists else {},
    )


def _judged(base: Policy, finalists: Sequence[Policy], tested: Sequence[Sequence[Run]]) -> list[Tried]:
    """The finalists, with their verdicts."""
    if not finalists:
        return []
    first, *others = (values_of(DECIDING, group) for group in tested)
    paid_first, *paid = (values_of(COSTS, group) for group in tested)
    found = []
    for policy, rows, own in zip(finalists, tuned.confirmed_rows(first, others), paid, strict=True):
        costs = tuned.cost_rows(paid_first, own)
        found.append(Tried(_setting(base, policy), policy.spec, tuned.verdict_of(rows, costs), rows, costs))
    return found


def _left(
    base: Policy, policy: Policy, first: dict[str, list[float]], own: dict[str, list[float]], out: bool
) -> Tried:
    """A setting that was not tested; *out*: it ran out of memory."""
    verdict = tuned.UNCHANGED if first == own else tuned.OUT_OF_MEMORY if out else tuned.NOT_AMONG
    return Tried(_setting(base, policy), policy.spec, verdict, tuned.unconfirmed_rows(first, own), ())


def _setting(base: Policy, policy: Policy) -> str:
    """What was added to the base policy."""
    return policy.spec.removeprefix(f"{base.spec},")
