# SPDX-License-Identifier: GPL-2.0-or-later
"""``kevacuate.start_state``: memory as something left it, for replays to begin from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from kevacuate.errors import KevacuateError, whole_number
from kevacuate.measure.startfile import StartState, read_start
from kevacuate.policy import Policy, parse_policy
from kevacuate.recording import Recording
from kevacuate.runs.aged import TOLERANCE
from kevacuate.runs.aged import aged as age
from kevacuate.runs.alive import Alive
from kevacuate.runs.options import ReplayOptions
from kevacuate.runs.replay import SETTLE_NS, Replay, demand_while_compiling, rechunk
from kevacuate.runs.scaled_start import scaled
from kevacuate.runs.start_forms import other_form, refuse_target
from kevacuate.runs.taken import taken
from kevacuate.workload.kinds import AMOUNT, PAGE
from kevacuate.workload.opening import Replayable, open_recording

Progress = Callable[[str, int, int], None]
"""Called with (what is done, how much of it, all of it; 0 if not known)."""

MOST_SECONDS = 366 * 86400.0


def run_until(
    replay: Replay, at_ns: int | None, alive: Alive, told: Callable[[int, int], None] | None = None
) -> int:
    """Replay the demand up to a moment of virtual time, or all of it; the moment that it has come to, ns."""
    span, total = replay.demand.spans.closed if replay.loop.closed else replay.demand.spans.open
    rows = 0
    for chunk in rechunk(replay.demand.chunks(closed=replay.loop.closed), replay.options.chunk_rows):
        count = chunk.t.size if at_ns is None else int(chunk.t.searchsorted(at_ns, "right"))
        if count:
            some = type(chunk)._make(column[:count] for column in chunk)
            replay.feed(some, rows)
            alive.note(some)
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
    aged: bool = False,
    tolerance: float = TOLERANCE,
    free: float = 0.0,
    memory: str | int | None = None,
    cpus: int | None = None,
    options: ReplayOptions = ReplayOptions(),  # noqa: B008 (frozen)
    progress: Progress | None = None,
    target: str | Path | None = None,
) -> StartState:
    """Memory as something left it, for replays to begin from.

    Parameters
    ----------
    source : Recording, Workload or path, optional
        What it is taken from: also a trace of LLFree's (``NAME.llfree``), and a folder of copies of /proc files. Default: the
        recording that ships with the package.
    state : str, optional
        The label of one of its recorded states. Default: its start.
    policy : str or Policy, optional
        Replay it under this policy, and take what the model has then.
    at : float, optional
        With *policy*: after so many seconds of virtual time. Default: at the end.
    aged : bool
        With *policy*: replay it again and again until memory has come to rest (:mod:`kevacuate.runs.aged`).
    tolerance : float
        With *aged*: how far each share may still drift, of all pageblocks.
    free : float
        With *policy*: free this share of what the demand has then, drawn by the seed.
    memory : str or int, optional
        Scale it to a machine with so much memory: bytes, or text such as ``16GiB``.
    cpus : int, optional
        Scale it to a machine with so many CPUs.
    options : ReplayOptions
        Of that replay: seed, loop.
    progress : callable, optional
        Called with (what is done, rows done, rows in all).
    target : path, optional
        Where :func:`kevacuate.save_start` is to write it: a name that it cannot have is refused before the work.

    Returns
    -------
    StartState
        ``machine``, ``state``, ``made`` (how it came about); ``save`` writes it.

    Raises
    ------
    KevacuateError
        The source has no such state, or cannot be replayed; memory does not come to rest; an argument is none, or does not go
        with another.

    Examples
    --------
    >>> import kevacuate
    >>> used = kevacuate.start_state("my-server.kev", policy="mainline", at=0.5)
    >>> used.made[-1]["policy"], used.made[-1]["at_ns"]
    ('mainline', 500000000)
    """
    if target is not None:
        refuse_target(Path(target))
    if not aged and tolerance != TOLERANCE:
        raise KevacuateError("A tolerance is of memory that is aged: age it, or leave the tolerance out.")
    other = other_form(Path(source)) if isinstance(source, str | Path) else None
    if other is not None:
        if policy is not None or state is not None:
            raise KevacuateError(f"{source} holds one state and no demand: leave policy and label out.")
        made = other
    elif policy is None:
        if at is not None or aged or free:
            raise KevacuateError("What is replayed, aged or freed is replayed under a policy: name it.")
        made = read_start(open_recording(source), state)
    else:
        if state is not None:
            raise KevacuateError("A recorded state is not replayed: give a state or a policy.")
        wanted = Wanted(_at_ns(at, aged=aged), aged, _share("tolerance", tolerance), _share("free", free))
        made = replayed(open_recording(source), policy, wanted, options, progress)
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


class Wanted(NamedTuple):
    """What is taken of a replay."""

    at_ns: int | None
    """When; None: at the end."""
    aged: bool
    tolerance: float
    free: float
    """Share of what the demand has then that is freed."""


def _at_ns(at: float | None, *, aged: bool) -> int | None:
    """A moment in ns.

    Raises
    ------
    KevacuateError
        It is none, or memory is aged and taken at the end of a round.
    """
    if at is None:
        return None
    if aged:
        raise KevacuateError("Aged memory is taken at the end of a round: leave the time out.")
    if not 0 <= at <= MOST_SECONDS:
        raise KevacuateError(f"A start state cannot be taken at {at!r} s: give a time from 0 to a year.")
    return round(at * 1e9)


def _share(name: str, value: float) -> float:
    """A share from 0 to 1.

    Raises
    ------
    KevacuateError
        It is none.
    """
    if not 0 <= value <= 1:
        raise KevacuateError(f"{name} cannot be {value!r}: give a share from 0 to 1.")
    return value


def replayed(
    recording: Recording,
    policy: str | Policy,
    wanted: Wanted,
    options: ReplayOptions,
    progress: Progress | None = None,
) -> StartState:
    """What a replay of the recording comes to."""
    chosen = policy if isinstance(policy, Policy) else parse_policy(policy)
    begun = read_start(recording)
    demand = demand_while_compiling(recording)
    if demand.max_objects is None:
        _ = demand.span
    replay = Replay(recording, demand, chosen, options)
    steps = list(begun.made)
    name = f"replaying {chosen.spec}"
    told = (lambda done, total: progress(name, done, total)) if progress else None
    if wanted.aged:
        result = age(replay, wanted.tolerance, progress)
        alive, end = result.alive, result.end
        steps.append({"step": "aged", "tolerance": wanted.tolerance, "series": result.series})
    else:
        alive = Alive(replay.demand.start_objects)
        end = run_until(replay, wanted.at_ns, alive, told)
    if wanted.free:
        replay.feed(alive.frees(end, recording.machine.cpus, wanted.free, options.seed))
        replay.advance(end := end + SETTLE_NS)
        steps.append({"step": "freed", "share": wanted.free})
    return taken(replay, end, tuple(steps))
