# SPDX-License-Identifier: GPL-2.0-or-later
"""One pass over a recording, every level asked for along with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import repeat
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kevacuate.errors import KevacuateError, named_file, whole_number
from kevacuate.fidelity.buddy.level import BuddyLevel
from kevacuate.fidelity.buddy.loop import buddy_rows
from kevacuate.fidelity.compaction.level import CompactionLevel
from kevacuate.fidelity.evacuation.level import EvacuationLevel
from kevacuate.fidelity.event_context import events_around
from kevacuate.fidelity.event_rows import Bounds, wide
from kevacuate.fidelity.level import Given, Level
from kevacuate.fidelity.pcp.level import PcpLevel
from kevacuate.fidelity.reclaim.level import ReclaimLevel
from kevacuate.fidelity.tuning.level import TuningLevel
from kevacuate.fidelity.tuning.loop import tuning_rows
from kevacuate.fidelity.verdict.level import verify_verdict
from kevacuate.fidelity.verdict.outcomes import read_repeats
from kevacuate.fidelity.verdict.replays import REPLAYS
from kevacuate.jit import beside, is_kept
from kevacuate.kernel.hooks import DumpKind
from kevacuate.measure.fidelity import LEVELS, LevelResult, Verification
from kevacuate.mm.profile import profile_for
from kevacuate.recording import AllocatorState, EventChunk, EventKind, Recording, StartObjects
from kevacuate.recording.completeness import refuse_losses
from kevacuate.recording.quality import events_only
from kevacuate.runs.initial_state import machine_config
from kevacuate.runs.options import ReplayOptions, given_options
from kevacuate.runs.startcheck import refuse_impossible

Progress = Callable[[str, int, int], None]

STREAMED: dict[str, type[Level]] = {
    "buddy": BuddyLevel,
    "pcp": PcpLevel,
    "tuning": TuningLevel,
    "evacuation": EvacuationLevel,
    "reclaim": ReclaimLevel,
    "compaction": CompactionLevel,
}
"""The levels that read the events as they come; `verdict` replays instead."""


def verify(
    recording: Recording | str | Path,
    levels: Sequence[str] = LEVELS,
    *,
    resync: bool = False,
    despite_losses: bool = False,
    repeats_table: str | Path | Sequence[str | Path] = (),
    replays: int = REPLAYS,
    options: ReplayOptions = ReplayOptions(),  # noqa: B008 (frozen)
    progress: Progress | None = None,
) -> Verification:
    """Hold the model against the recorded kernel's own decisions.

    Parameters
    ----------
    recording : Recording or path
        A ``.kev`` directory, or one with the raw trace, from a kernel with the recording hooks.
    levels : str or sequence of str
        Of :data:`kevacuate.measure.fidelity.LEVELS`.
    resync : bool
        Take over the recorded state at each dump that shows a difference; how often is counted.
    despite_losses : bool
        Verify a recording that lost events.
    repeats_table : path or sequence of paths
        CSV of what boots of real kernels came to, for the verdict level; ``outcomes.csv`` and ``outcomes-pressure.csv`` are
        looked for beside the recording by default.
    replays : int
        Replays of each policy at the verdict level, at least 1.
    options : ReplayOptions
        Of those replays.
    progress : callable, optional
        Called with (level, events done, events in all; 0 if not known).

    Raises
    ------
    KevacuateError
        The recording is corrupted, lost events, or has no state to start from; a level does not exist; a table that is named
        cannot be read; *replays* is less than 1.

    Returns
    -------
    Verification
        ``levels``: name to its result, with ``decisions``, ``mismatches``, ``exactness`` (a share, 0 to 1), the first divergence,
        and ``not_exercised``, a sentence where the recording holds nothing that the level decides about.

    Examples
    --------
    >>> import kevacuate
    >>> result = kevacuate.verify("my-server.kev", "buddy")
    >>> result.levels["buddy"].exactness
    1.0
    """
    source = Recording.of(recording)
    chosen = _chosen([levels] if isinstance(levels, str) else levels)
    whole_number("replays", replays, 1)
    tables = _tables(repeats_table)
    read_repeats(tables)
    options = given_options(options, None)
    options = replace(options, despite_losses=options.despite_losses or despite_losses)
    if not despite_losses:
        refuse_losses(source)
    start = source.boot or source.start
    if start is None:
        raise KevacuateError(
            f"{source.path} holds no state of the allocator to start from: only a kernel with the recording hooks dumps one."
        )
    _, standing = profile_for(source.machine.kernel)
    given = Given.of(source, start, resync=resync)
    nothing = StartObjects(np.zeros(0, np.int64), np.zeros(0, np.uint8), np.zeros(0, np.uint8))
    for state in (start, *source.states):
        refuse_impossible(machine_config(source.machine, state), state, nothing)
    report = progress or (lambda name, done, total: None)
    results = _streamed(given, [name for name in chosen if name in STREAMED], report)
    if "verdict" in chosen:
        results["verdict"] = verify_verdict(given, tables, report, replays, options)
    for result in results.values():
        if result.decisions == 0 and not result.not_exercised:
            result.not_exercised = "the recording holds no event that this level decides about"
    ordered = {name: results[name] for name in chosen if name in results}
    about = source.path.resolve().name, source.digest, source.machine.kernel, standing
    return Verification(*about, int(source.quality.get("events", 0)), ordered)


def _tables(named: object) -> list[Path]:
    """The tables of repeats that were named, one or several."""
    return [named_file(table) for table in (named if isinstance(named, list | tuple) else [named])]


def _chosen(levels: Sequence[str]) -> list[str]:
    if not isinstance(levels, Iterable):
        raise KevacuateError(f"levels cannot be {levels!r}: choose from {', '.join(LEVELS)}.")
    if not list(levels):
        raise KevacuateError(f"levels is empty: choose from {', '.join(LEVELS)}.")
    for name in levels:
        if name not in LEVELS:
            raise KevacuateError(f"There is no level {name!r}: choose from {', '.join(LEVELS)}.")
    return [name for name in LEVELS if name in levels]


def _streamed(given: Given, names: list[str], progress: Progress) -> dict[str, LevelResult]:
    """Feed the levels with one pass over the events; their results."""
    results: dict[str, LevelResult] = {}
    running: dict[str, Level] = {}
    buddy: BuddyLevel | None = None
    for name in names:
        lacking = STREAMED[name].missing(given)
        if lacking:
            results[name] = LevelResult(name, not_exercised=lacking)
        elif name == CompactionLevel.name and (buddy is not None or not given.shown.lists):
            buddy = buddy or BuddyLevel(given)
            running[name] = buddy.compaction
        else:
            running[name] = STREAMED[name](given)
            buddy = level if isinstance(level := running[name], BuddyLevel) else buddy
    if running:
        fed = [level for level in running.values() if buddy is None or level is not buddy.compaction]
        fed += [buddy] if buddy is not None and buddy not in fed else []
        _feed(given, fed, progress)
    if buddy is not None and buddy not in running.values():
        buddy.finish()
    for name, level in running.items():
        results[name] = level.finish()
    _add_context(given, results)
    return results


def _feed(given: Given, levels: list[Level], progress: Progress) -> None:
    """One pass over the events. Levels take a piece side by side, while the next one is read."""
    events, total = 0, _total(given.recording)
    pieces = _checked(given)
    if not (is_kept(buddy_rows) and is_kept(tuning_rows)) and (first := next(pieces, None)) is not None:
        _first(levels, first)
        events = first.chunk.rows - first.lead
        progress("events", events, total)
    pool = ThreadPoolExecutor(thread_name_prefix="verify")
    try:
        coming = pool.submit(next, pieces, None)
        while (piece := coming.result()) is not None:
            coming = pool.submit(next, pieces, None)
            list(pool.map(_take, levels, repeat(piece), repeat(events)))
            events += piece.chunk.rows - piece.lead
            progress("events", events, total)
    finally:  # of an exception: a level that is being compiled ends only after that, and nobody waits for it
        pool.shutdown(wait=False, cancel_futures=True)


def _first(levels: list[Level], piece: Piece) -> None:
    """Give every level the first piece, while another process compiles for half of them."""
    there, here = levels[::2], levels[1::2]
    with beside(lambda: _take_all(there, piece), buddy_rows, tuning_rows):
        _take_all(here, piece)
    _take_all(there, piece)


def _take_all(levels: list[Level], piece: Piece) -> None:
    for level in levels:
        _take(level, piece, 0)


LEAD = 1 << 14
"""Events before a piece that are given along with it, for levels that look back: more than most of them keep."""


class Piece(NamedTuple):
    """Some events, and the state dumped after them."""

    chunk: EventChunk
    """Wide, and checked against the machine."""
    lead: int
    """How many of them, at the beginning, stood in the piece before already."""
    state: AllocatorState | None


def _checked(given: Given) -> Iterator[Piece]:
    """The pieces of the recording."""
    events, bounds = 0, bounds_of(given)
    before: EventChunk | None = None
    for piece, state in segments(given):
        chunk = wide(piece, before)
        lead = chunk.rows - piece.rows
        bounds.refuse_impossible(chunk.take(slice(lead, None)), events)
        events += piece.rows
        yield Piece(chunk, lead, state)
        before = chunk.take(slice(max(chunk.rows - LEAD, 0), None))


def _take(level: Level, piece: Piece, first: int) -> None:
    """Give a level its next piece, whose first event has that number."""
    if piece.chunk.rows > piece.lead:
        level.feed(piece.chunk, first, piece.lead)
    if piece.state is not None:
        level.at_state(piece.state)


def _total(recording: Recording) -> int:
    """Events in the recording, where that is known beforehand; else 0."""
    return int(recording.quality.get("events", 0)) if recording.path.joinpath("machine.json").exists() else 0


def bounds_of(given: Given) -> Bounds:
    """What the events of the recording may name."""
    machine = given.recording.machine
    config = machine_config(machine, given.start)
    return Bounds(config, max(machine.cpus, 1), max(zone.index for zone in given.start.zones) + 1)


def segments(given: Given) -> Iterator[tuple[EventChunk, AllocatorState | None]]:
    """The events after the start state without the dumps, cut at each dump: (events, the state dumped after them)."""
    states = {(state.ts, state.cpu): state for state in given.recording.states}
    for chunk in given.recording.events(after=given.start):
        ends = np.flatnonzero((chunk.kind == EventKind.GT_DUMP) & (chunk.a == DumpKind.END))
        low = 0
        for end in [*ends.tolist(), chunk.rows]:
            piece = events_only(chunk.take(slice(low, end)))
            dumped = None
            if end < chunk.rows:
                dumped = states.get((int(chunk.ts[end]), int(chunk.cpu[end])))
            yield piece, dumped
            low = end


def _add_context(given: Given, results: dict[str, LevelResult]) -> None:
    """Put the recorded events around each first divergence into it."""
    wanted = {name: r.first for name, r in results.items() if r.first is not None and r.first.position >= 0}
    if not wanted:
        return
    lines = events_around(
        (piece for piece, _ in segments(given)), [first.position for first in wanted.values()]
    )
    for name, first in wanted.items():
        results[name].first = replace(first, around=lines[first.position])
