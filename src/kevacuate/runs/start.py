# SPDX-License-Identifier: GPL-2.0-or-later
"""``kevacuate.start_state``: memory as something left it, for replays to begin from."""

from __future__ import annotations

from collections.abc import Callable

from kevacuate.errors import KevacuateError, whole_number
from kevacuate.measure.startfile import StartState, read_start
from kevacuate.policy import Policy, parse_policy
from kevacuate.recording import Recording
from kevacuate.runs.options import ReplayOptions
from kevacuate.runs.replay import SETTLE_NS, Replay, demand_while_compiling, rechunk
from kevacuate.runs.taken import taken
from kevacuate.workload.kinds import AMOUNT, PAGE
from kevacuate.workload.opening import Replayable, open_recording
from kevacuate.workload.scaled import scaled

Progress = Callable[[str, int, int], None]
"""Called with (what is done, how much of it, all of it; 0 if not known)."""

MOST_SECONDS = 366 * 86400.0


def run_until(replay: Replay, at_ns: int | None, told: Callable[[int, int], None] | None = None) -> int:
    """Replay the demand up to a moment of virtual time, or all of it; the moment that it has come to, ns."""
    span, total = replay.demand.spans.closed if replay.loop.closed else replay.demand.spans.open
    rows = 0
    for chunk in rechunk(replay.demand.chunks(closed=replay.loop.closed), replay.options.chunk_rows):
        count = chunk.t.size if at_ns is None else int(chunk.t.searchsorted(at_ns, "right"))
        if count:
            replay.feed(type(chunk)._make(column[:count] for column in chunk), rows)
        rows += count
        if told:
            told(rows, total)
        if count < chunk.t.size:
            break
    end = span + SETTLE_NS if at_ns is None else at_ns
    end = max(end, replay.state.view.stat.now)
    replay.advance(end)
    return end


def start_state(
    source: Replayable | None = None,
    *,
    state: str | None = None,
    policy: str | Policy | None = None,
    at: float | None = None,
    memory: str | int | None = None,
    cpus: int | None = None,
    options: ReplayOptions = ReplayOptions(),  # noqa: B008 (frozen)
    progress: Progress | None = None,
) -> StartState:
    """Memory as something left it, for replays to begin from.

    Parameters
    ----------
    source : Recording, Workload or path, optional
        What it is taken from. Default: the recording that ships with the package.
    state : str, optional
        The label of one of its recorded states. Default: its start.
    policy : str or Policy, optional
        Replay it under this policy, and take what the model has then.
    at : float, optional
        With *policy*: after so many seconds of virtual time. Default: at the end.
    memory : str or int, optional
        Scale it to a machine with so much memory: bytes, or text such as ``16GiB``.
    cpus : int, optional
        Scale it to a machine with so many CPUs.
    options : ReplayOptions
        Of that replay: seed, loop.
    progress : callable, optional
        Called with (what is done, rows done, rows in all).

    Returns
    -------
    StartState
        ``machine``, ``state``, ``made`` (how it came about); ``save`` writes it.

    Raises
    ------
    KevacuateError
        The source has no such state, or cannot be replayed; an argument is none, or does not go with another.

    Examples
    --------
    >>> import kevacuate
    >>> used = kevacuate.start_state("my-server.kev", policy="mainline", at=0.5)
    >>> used.made[-1]["policy"], used.made[-1]["at_ns"]
    ('mainline', 500000000)
    """
    made = _found(open_recording(source), state, policy, at, options, progress)
    if memory is None and cpus is None:
        return made
    size = sum(zone.managed for zone in made.state.zones) * PAGE if memory is None else bytes_of(memory)
    return scaled(made, size, None if cpus is None else whole_number("cpus", cpus, 1, 1024))


def bytes_of(memory: str | int) -> int:
    """An amount of memory in bytes.

    Raises
    ------
    KevacuateError
        It is none, or a share.
    """
    read = AMOUNT.read(memory)
    if read is None or read.share:
        raise KevacuateError(f"memory cannot be {memory!r}: give a size such as 16GiB.")
    return int(read.size)


def _found(
    recording: Recording,
    state: str | None,
    policy: str | Policy | None,
    at: float | None,
    options: ReplayOptions,
    progress: Progress | None,
) -> StartState:
    """The recorded state, or what a replay comes to."""
    if policy is None:
        if at is not None:
            raise KevacuateError("A time is one of a replay: name the policy that it is replayed under.")
        return read_start(recording, state)
    if state is not None:
        raise KevacuateError("A recorded state is not replayed: give a state or a policy.")
    if at is not None and not 0 <= at <= MOST_SECONDS:
        raise KevacuateError(f"A start state cannot be taken at {at!r} s: give a time from 0 to a year.")
    chosen = policy if isinstance(policy, Policy) else parse_policy(policy)
    begun = read_start(recording)
    demand = demand_while_compiling(recording)
    if demand.max_objects is None:
        _ = demand.span
    replay = Replay(recording, demand, chosen, options)
    name = f"replaying {chosen.spec}"
    told = (lambda done, total: progress(name, done, total)) if progress else None
    end = run_until(replay, None if at is None else round(at * 1e9), told)
    return taken(replay, end, begun.made)
