# SPDX-License-Identifier: GPL-2.0-or-later
"""The pageblock map of what was recorded: the states of a recording, without a replay."""

from __future__ import annotations

from typing import Any

import numpy as np

from kevacuate.errors import KevacuateError
from kevacuate.measure import Run
from kevacuate.measure.extfrag import ExtfragTable, extfrag_of, tells_ownership
from kevacuate.measure.frames import Frames, StepsBuilder, encode
from kevacuate.measure.held_states import held_states
from kevacuate.measure.moments import state_moment
from kevacuate.measure.pages import RESERVED, count_classes, page_classes
from kevacuate.recording import EventKind, Recording
from kevacuate.recording.completeness import losses_by_cpu
from kevacuate.recording.state import page_count
from kevacuate.runs.map_keeper import PAGES_KEPT


def recorded_frames(recording: Recording) -> Frames:
    """The pageblock map of every state of a recording; times count from the first.

    A pageblock that only some states hold, as a machine's memory may grow while it runs, is absent in the others.

    Raises
    ------
    KevacuateError
        The recording has no state.
    """
    states = list(recording.states)
    if not states:
        raise KevacuateError(
            f"{recording.path} holds no state of the allocator, so there is nothing to draw a map of: record it with a snapshot."
        )
    order = recording.machine.pageblock_order
    start = np.unique(np.concatenate([state.blocks.pfn.astype(np.int64) for state in states]))
    pages = max(*(page_count(state) for state in states), int(start[-1]) + (1 << order))
    pages = -(-pages >> order) << order
    blocks, planes = StepsBuilder(), StepsBuilder()
    for state in states:
        classes = np.full(pages, RESERVED, np.uint8)
        found = page_classes(state, recording.machine.hugepage_order)
        classes[: len(found)] = found
        at = np.searchsorted(start, state.blocks.pfn)
        by_block = np.full((len(start), 1 << order), RESERVED, np.uint8)
        by_block[at] = classes.reshape(-1, 1 << order)[start[at] >> order]
        mt, skip = (
            np.full(len(start), -1, np.int8),
            np.zeros(len(start), np.bool_),
        )
        mt[at], skip[at] = state.blocks.mt, state.blocks.skip
        blocks.add(encode(mt, count_classes(by_block.reshape(-1), order), skip, order))
        planes.add(by_block.reshape(-1))
    zones = {z.index: i for i, z in enumerate(states[-1].zones)}
    names = tuple(_zone_name(recording, int(z.start_pfn), z.name) for z in states[-1].zones)
    zone = np.zeros(len(start), np.uint8)
    for state in states:
        zone[np.searchsorted(start, state.blocks.pfn)] = [zones.get(int(z), 0) for z in state.blocks.zone]
    t = np.array([state.ts - states[0].ts for state in states], np.int64)
    kept = planes.build() if pages <= PAGES_KEPT else None
    held = held_states(states, states[0].ts, start, order, recording.machine.hugepage_order)
    return Frames(t, start, zone, names, order, blocks.build(), kept, held)


def _zone_name(recording: Recording, start_pfn: int, name: str) -> str:
    """``node N NAME`` of the zone that starts there."""
    node = next((z.node for z in recording.machine.zones if z.start_pfn == start_pfn), 0)
    return f"node {node} {name}"


def recorded_flows(recording: Recording) -> list[dict[str, Any]]:
    """The recorded kernel's own mm_page_alloc_extfrag events, counted as
    :func:`kevacuate.measure.metrics.extfrag_table` counts the model's.
    """
    order = recording.machine.pageblock_order
    table = ExtfragTable(order, ownership=tells_ownership(recording.machine))
    for chunk in recording.events(kinds=[EventKind.MM_PAGE_ALLOC_EXTFRAG]):
        table.add(*extfrag_of(chunk, order, ownership=table.ownership))
    return table.rows()


def recorded_run(recording: Recording) -> Run:
    """The states of a recording as a run: its map over time and what can be counted on it. Without a state there is no map."""
    if not recording.states:
        return Run("recorded kernel", {}, {"t": [0]}, {})
    frames = recorded_frames(recording)
    series: dict[str, list[Any]] = {"t": frames.t.tolist()}
    machine = recording.machine
    moments = [
        state_moment(state, machine.pageblock_order, machine.hugepage_order) for state in recording.states
    ]
    for name in ("mixed_blocks", "polluted_blocks", "free_pages"):
        if all(name in moment for moment in moments):
            series[name] = [moment[name] for moment in moments]
    return Run("recorded kernel", {}, series, {}, frames=frames)


def about_recorded(recording: Recording) -> dict[str, Any]:
    """The facts of a recording that need no demand."""
    machine = recording.machine
    return {
        "name": recording.path.name,
        "digest": recording.digest,
        "kernel": machine.kernel,
        "arch": machine.arch,
        "cpus": machine.cpus,
        "cmdline": machine.cmdline,
        "zones": [{"node": z.node, "name": z.name, "managed_pages": z.managed} for z in machine.zones],
        "pageblock_order": machine.pageblock_order,
        "states": [state.label or state.tag for state in recording.states],
        **losses_by_cpu(recording),
        "verdict": f"{recording.lost.sentence}; {len(recording.states)} states were recorded.",
    }
