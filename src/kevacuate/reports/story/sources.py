# SPDX-License-Identifier: GPL-2.0-or-later
"""Where stories come from: a recording's events, or a replay that notes what happens at the place."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np

from kevacuate.demand.start_objects import pages_in_use
from kevacuate.errors import KevacuateError
from kevacuate.kernel.migratetypes import name as type_name
from kevacuate.measure.holders_by_flags import state_holders
from kevacuate.observe.event_records import beginning, recorded_happenings
from kevacuate.policy import Policy
from kevacuate.recording import AllocatorState, Recording
from kevacuate.reports.story.place import Place
from kevacuate.reports.story.story import Story, Unmovable, tell
from kevacuate.runs.noting import NotingReplay, compile_noting, replay_rows_noting
from kevacuate.runs.options import ReplayOptions
from kevacuate.runs.replay import demand_while_compiling


def start_text(state: AllocatorState | None, place: Place, hugepage_order: int) -> str:
    """What a state says of a place, in words; *hugepage_order* is the machine's."""
    if state is None:
        return ""
    at = np.flatnonzero(state.blocks.pfn == place.block << place.pageblock_order)
    if not at.size:
        return ""
    mt = type_name(int(state.blocks.mt[at[0]]))
    used = int(pages_in_use(state, hugepage_order)[place.first : place.last].sum())
    marked = "set" if state.blocks.skip[at[0]] else "" if state.skip_known else "not recorded"
    skip = f", compaction's skip bit {marked}" if marked else ""
    if place.is_page:
        return f"{'in use' if used else 'free'}, in a {mt} block{skip}"
    return f"type {mt}{skip}; {used} pages in use, {place.last - place.first - used} free"


def unmovable_at(
    states: Iterable[AllocatorState | None], recording: Recording, place: Place
) -> tuple[Unmovable, ...]:
    """What the place's pages are that cannot move, of every one of the states that has page flags."""
    base, found = beginning(recording), []
    for state in states:
        holders = (
            state_holders(state, place.first, place.last, recording.machine.hugepage_order) if state else None
        )
        if state is not None and holders is not None:
            found.append(Unmovable(state.ts - base, state.label or state.tag, holders))
    return tuple(found)


def recorded_story(
    recording: Recording, place: Place, *, progress: Callable[[int], None] | None = None
) -> Story | None:
    """What the recorded kernel did there; None if the recording keeps none of its events.

    Raises
    ------
    KevacuateError
        The events cannot be read, or none is of that place and the recording has no state that a replay could start from.
    """
    if recording.has_demand and recording.quality.get("events", 0) < 2:
        return None
    records, events = recorded_happenings(recording, place.first, place.last, progress)
    if not events:
        if recording.start is None and not recording.has_demand:
            raise KevacuateError(
                f"{recording.path} has no event of {place.text}. Events are all that it holds: `kevacuate triage` lists the "
                "tasks and requests that they name."
            )
        return None
    start = start_text(recording.start, place, recording.machine.hugepage_order)
    told = tell(records, place, "recorded", start=start)
    return replace(told, unmovable=unmovable_at(recording.states, recording, place))


def replayed_story(
    recording: Recording,
    place: Place,
    policy: Policy,
    *,
    seed: int = 0,
    loop: str = "auto",
    despite_losses: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Story:
    """What happens there in a replay under *policy*.

    Raises
    ------
    KevacuateError
        The recording cannot be replayed.
    """
    options = ReplayOptions(seed=seed, loop=loop, despite_losses=despite_losses)
    demand = demand_while_compiling(recording, compile_noting, replay_rows_noting)
    replay = NotingReplay(recording, demand, policy, options)
    replay.watch(place.first, place.last)
    replay.run(progress)
    start = start_text(recording.start, place, recording.machine.hugepage_order)
    told = tell(replay.records(), place, policy.spec, start=start, contents=replay.contents)
    return replace(told, unmovable=unmovable_at([recording.start], recording, place))
