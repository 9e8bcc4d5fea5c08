# SPDX-License-Identifier: GPL-2.0-or-later
"""Memory aged until it has come to rest: a demand again and again, its programs exiting in between.

A *round* is the demand once. At its end everything that the demand has is freed, in an order drawn by the seed, as when its
programs exit; then it begins again, what it had in use at its own start allocated first. A described workload is drawn anew in
each round. What is measured at the end of each round, before anything exits, is the shares of pageblocks that are unmovable or
reclaimable, mixed, and polluted. The test that they drift no longer is :mod:`kevacuate.measure.stationary`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from kevacuate.demand.build import Demand
from kevacuate.errors import KevacuateError
from kevacuate.measure import moment
from kevacuate.measure.stationary import ALPHA, LOOKS, drift, is_stationary
from kevacuate.mm.layout import State
from kevacuate.recording import DemandChunk
from kevacuate.runs.alive import Alive, truncates
from kevacuate.runs.replay import SETTLE_NS, Replay, rechunk
from kevacuate.workload.started import behind, first_rows

TOLERANCE = 0.01
"""How far a share may still drift, of all pageblocks."""


class Aged(NamedTuple):
    """What ageing has come to."""

    series: dict[str, list[float]]
    """Share of all pageblocks by round: ``fixed`` (unmovable or reclaimable), ``mixed``, ``polluted``."""
    end: int
    """Virtual time, ns."""
    alive: Alive
    """What the demand has at the end of the last round."""


def shares_now(state: State) -> dict[str, float]:
    """The shares that are watched."""
    now = moment(state)
    blocks = max(sum(now["blocks"].values()), 1)
    return {
        "fixed": (now["blocks"]["unmovable"] + now["blocks"]["reclaimable"]) / blocks,
        "mixed": now["mixed_blocks"] / blocks,
        "polluted": now["polluted_blocks"] / blocks,
    }


def _later(rows: DemandChunk, by: int) -> DemandChunk:
    """The rows, *by* ns later."""
    return rows._replace(t=rows.t + by)


def _round(replay: Replay, demand: Demand, number: int) -> Iterator[DemandChunk]:
    """The rows of a round: of all but the first those that allocate what the demand had at its own start, before them."""
    closed = replay.loop.closed
    machine = replay.recording.machine
    if number:
        yield from first_rows(demand.start_objects, 0, machine.cpus, machine.hugepage_order)
    for chunk in rechunk(demand.chunks(closed=closed), replay.options.chunk_rows):
        yield behind(chunk, 0) if number else chunk


def _drawn(replay: Replay, number: int) -> Demand:
    """The demand of a round."""
    redrawn = replay.demand.redrawn
    return replay.demand if redrawn is None or not number else redrawn(replay.options.seed + number)


def _exit(replay: Replay, alive: Alive, t: int, number: int) -> None:
    """The demand's programs exit: all that it has is freed."""
    cpus = replay.recording.machine.cpus
    replay.feed(alive.frees(t, cpus, 1.0, replay.options.seed + number))
    if replay.loop.closed:
        replay.feed(truncates(replay.state, replay.demand.quality.peak_shadows, t))


def aged(
    replay: Replay, tolerance: float = TOLERANCE, progress: Callable[[str, int, int], None] | None = None
) -> Aged:
    """Run rounds until the shares have come to rest, in a replay that has not begun.

    Raises
    ------
    KevacuateError
        They have not at the last look.
    """
    series: dict[str, list[float]] = {}
    alive, t = Alive(replay.demand.start_objects), 0
    for number in range(LOOKS[-1]):
        begin = t
        for chunk in _round(replay, _drawn(replay, number), number):
            rows = _later(chunk, begin)
            replay.feed(rows)
            alive.note(rows)
            t = max(t, int(rows.t[-1]))
        t = max(t + SETTLE_NS, replay.state.view.stat.now)
        replay.advance(t)
        for name, share in shares_now(replay.state).items():
            series.setdefault(name, []).append(share)
        if progress:
            progress("ageing (rounds)", number + 1, LOOKS[-1])
        if number + 1 in LOOKS and is_stationary(series, tolerance):
            return Aged(series, t, alive)
        _exit(replay, alive, t, number)
        t += SETTLE_NS
    bounds = {name: drift(values, ALPHA / len(LOOKS)).bound for name, values in series.items()}
    worst = max(bounds, key=bounds.__getitem__)
    raise KevacuateError(
        f"After {LOOKS[-1]} rounds the memory has not come to rest: the share of {worst} pageblocks may still drift by "
        f"{bounds[worst]:.4f}, and {tolerance:g} is allowed. Give a longer workload or a larger tolerance."
    )
