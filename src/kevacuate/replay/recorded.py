# SPDX-License-Identifier: GPL-2.0-or-later
"""The pageblock map of what was recorded: the states of a recording, without a replay."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from kevacuate.errors import KevacuateError
from kevacuate.measure import Run
from kevacuate.measure import frames as f
from kevacuate.measure.frames import PAGE_NAMES, Frames, StepsBuilder, encode
from kevacuate.mm import constants as k
from kevacuate.recording import AllocatorState, EventKind, Recording
from kevacuate.replay.about import lost_events
from kevacuate.replay.frames import PAGES_KEPT
from kevacuate.replay.initial import KPF_NOPAGE, KPF_RESERVED
from kevacuate.replay.pagekinds import KPF_LRU, flag
from kevacuate.replay.start import page_count, pages_in_use, pcp_order


def page_classes(state: AllocatorState) -> npt.NDArray[np.uint8]:
    """The class of every page (:data:`kevacuate.measure.frames.PAGE_NAMES`) of a recorded state, by pfn.

    Free and pcp pages are known from the lists; the others from page flags: on an LRU list is movable, reserved or no page is
    reserved, the rest cannot move. Without page flags they are *in use*, of unknown kind. Pages outside every zone are reserved.
    """
    used = pages_in_use(state)
    classes = np.full(len(used), f.FREE, np.uint8)
    inside = np.zeros(len(used), np.bool_)
    for zone in state.zones:
        inside[int(zone.start_pfn) : int(zone.start_pfn) + int(zone.spanned)] = True
    heads, orders = state.pcp_pages.pfn, pcp_order(state.pcp_pages.pindex)
    for order in np.unique(orders).tolist():
        for i in range(1 << order):
            classes[heads[orders == order] + i] = f.PCP
    classes[used] = f.IN_USE
    flags = state.page_flags
    if flags is not None and len(flags) >= len(used):
        flags = flags[: len(used)]
        reserved = flag(flags, KPF_RESERVED) | flag(flags, KPF_NOPAGE)
        classes[used] = np.where(flag(flags, KPF_LRU), f.MOVABLE, f.UNMOVABLE)[used]
        classes[used & reserved] = f.RESERVED
    classes[~inside] = f.RESERVED
    return classes


def _count(classes: npt.NDArray[np.uint8], order: int) -> npt.NDArray[np.int64]:
    """int[blocks, 7] pages by class."""
    rows = np.repeat(np.arange(len(classes) >> order), 1 << order)
    width = len(PAGE_NAMES)
    counts = np.bincount(rows * width + classes, minlength=(len(classes) >> order) * width)
    return counts.reshape(-1, width)


def recorded_frames(recording: Recording) -> Frames:
    """The pageblock map of every state of a recording; times count from the first.

    A pageblock that only some states hold, as a machine's memory may grow while it runs, is reserved in the others.

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
        classes = np.full(pages, f.RESERVED, np.uint8)
        found = page_classes(state)
        classes[: len(found)] = found
        at = np.searchsorted(start, state.blocks.pfn)
        by_block = np.full((len(start), 1 << order), f.RESERVED, np.uint8)
        by_block[at] = classes.reshape(-1, 1 << order)[start[at] >> order]
        mt, skip = (
            np.full(len(start), k.MIGRATE_MOVABLE, state.blocks.mt.dtype),
            np.zeros(len(start), np.bool_),
        )
        mt[at], skip[at] = state.blocks.mt, state.blocks.skip
        blocks.add(encode(mt, _count(by_block.reshape(-1), order), skip, order))
        planes.add(by_block.reshape(-1))
    zones = {z.index: i for i, z in enumerate(states[-1].zones)}
    names = tuple(_zone_name(recording, int(z.start_pfn), z.name) for z in states[-1].zones)
    zone = np.zeros(len(start), np.uint8)
    for state in states:
        zone[np.searchsorted(start, state.blocks.pfn)] = [zones.get(int(z), 0) for z in state.blocks.zone]
    t = np.array([state.ts - states[0].ts for state in states], np.int64)
    kept = planes.build() if pages <= PAGES_KEPT else None
    return Frames(t, start, zone, names, order, blocks.build(), kept)


def _zone_name(recording: Recording, start_pfn: int, name: str) -> str:
    """``node N NAME`` of the zone that starts there."""
    node = next((z.node for z in recording.machine.zones if z.start_pfn == start_pfn), 0)
    return f"node {node} {name}"


def recorded_flows(recording: Recording) -> list[dict[str, Any]]:
    """The recorded kernel's own mm_page_alloc_extfrag events, counted as
    :func:`kevacuate.measure.metrics.extfrag_events` counts the model's.

    A claim of whole blocks is one whose chunk was of pageblock order or more.
    """
    order = recording.machine.pageblock_order
    table = np.zeros((3, 6, 6, 16), np.int64)
    for chunk in recording.events(kinds=[EventKind.MM_PAGE_ALLOC_EXTFRAG]):
        wanted, source = chunk.mt.astype(np.int64), chunk.b.astype(np.int64)
        size, owned = chunk.a.astype(np.int64), chunk.c != 0
        good = (wanted >= 0) & (wanted < 6) & (source >= 0) & (source < 6) & (size >= 0) & (size < 16)
        kind = np.where(owned, np.where(size >= order, 2, 1), 0)
        np.add.at(table, (kind[good], wanted[good], source[good], size[good]), 1)
    return [
        {
            "kind": ("steal", "claim", "claim_block")[kind],
            "for": k.MIGRATE_NAMES[wanted],
            "from": k.MIGRATE_NAMES[source],
            "order": size,
            "events": int(table[kind, wanted, source, size]),
        }
        for kind, wanted, source, size in np.argwhere(table > 0).tolist()
    ]


def recorded_run(recording: Recording) -> Run:
    """The states of a recording as a run: its map over time and what can be counted on it. Without a state there is no map."""
    if not recording.states:
        return Run("recorded kernel", {}, {"t": [0]}, {})
    frames = recorded_frames(recording)
    series: dict[str, list[Any]] = {
        "t": frames.t.tolist(),
        "mixed_blocks": [],
        "polluted_blocks": [],
        "free_pages": [],
    }
    known = all(state.page_flags is not None for state in recording.states)
    for i, state in enumerate(recording.states):
        seen = frames.at(i)
        series["mixed_blocks"].append(int((seen.content == f.CONTENT_MIXED).sum()))
        polluted = (seen.mt == k.MIGRATE_MOVABLE) & (seen.unmovable > 0)
        series["polluted_blocks"].append(int(polluted.sum()))
        series["free_pages"].append(int((1 << state.free.order.astype(np.int64)).sum()))
    if not known:
        del series["mixed_blocks"], series["polluted_blocks"]
    return Run("recorded kernel", {}, series, {}, frames=frames)


def about_recorded(recording: Recording) -> dict[str, Any]:
    """The facts of a recording that need no demand."""
    machine = recording.machine
    lost = [lost_events(loss) for loss in recording.losses]
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
        "lost_events": lost,
        "verdict": f"{f'{sum(lost):,}' if sum(lost) else 'No'} events were lost; {len(recording.states)} states were recorded.",
    }
