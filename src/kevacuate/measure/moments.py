# SPDX-License-Identifier: GPL-2.0-or-later
"""What a recorded machine's snapshots show, under the names of :func:`kevacuate.measure.metrics.moment`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np

from kevacuate.measure.blocks import COLUMNS, BlockCounts
from kevacuate.measure.metrics import ALLOCSTALL_ZONES, VMSTAT, block_metrics, free_metrics
from kevacuate.measure.mixed_bounds import Bounds, mixed_bounds
from kevacuate.measure.pages import MOVABLE, UNMOVABLE, count_classes, page_classes
from kevacuate.mm.constants import MIGRATE_NAMES
from kevacuate.recording.state import UNCLEAR, AllocatorState

ORDERS = 11
"""Orders 0 to MAX_PAGE_ORDER (10)."""


class ProcSnapshot(Protocol):
    """What /proc says of a machine at one moment, without page flags."""

    zones: Sequence[Any]
    """Of :class:`ZoneCounts`."""


def recorded_blocks(state: AllocatorState, pageblock_order: int, hugepage_order: int) -> BlockCounts | None:
    """What every pageblock holds; None where the snapshot has no page flags."""
    if state.page_flags is None:
        return None
    pages = count_classes(page_classes(state, hugepage_order), pageblock_order)[:, :COLUMNS]
    number = state.blocks.pfn >> pageblock_order
    good = (number >= 0) & (number < len(pages))
    order = np.argsort(number[good], kind="stable")
    number, mt = number[good][order], state.blocks.mt[good][order]
    return BlockCounts(mt, pages[number], number.astype(np.int64) << pageblock_order)


def mixed_bounds_of(state: AllocatorState, counts: BlockCounts, pageblock_order: int) -> Bounds | None:
    """Bounds of mixed where a part of the pages on per-CPU lists is not known; None where all are, or nobody counted them."""
    if state.guesses is None or state.page_flags is None:
        return None
    size = 1 << pageblock_order
    end = max(
        len(state.page_flags), int(counts.start.max(initial=0)) + size
    )  # the flags may end before the last block
    words = np.zeros(-(-end // size) * size, np.bool_)
    words[: len(state.page_flags)] = state.page_flags == UNCLEAR
    unclear = words.reshape(-1, size).sum(axis=1)[counts.start >> pageblock_order]
    fixed = counts.pages[:, UNMOVABLE] - unclear
    return mixed_bounds(counts.pages[:, MOVABLE], fixed, unclear, state.guesses.pcp_pages_unknown)


def state_moment(state: AllocatorState, pageblock_order: int, hugepage_order: int) -> dict[str, Any]:
    """Everything measured at a recorded state; without page flags, no mixed, polluted or tainted.

    In a state that is not a dump (``approximate``) pages on per-CPU lists that no event named count as pages that cannot
    move, and block types are guessed: ``mixed_blocks`` is the most that there can be, ``mixed_blocks_least`` the least. Where
    events of other CPUs fell between the dump's own (``interleaved``) the free lists are that far from exact.
    """
    huge = hugepage_order if hugepage_order > 0 else pageblock_order
    order, mt = state.free.order.astype(np.int64), state.free.mt.astype(np.int64)
    good = (order >= 0) & (order < ORDERS) & (mt >= 0) & (mt < len(MIGRATE_NAMES))
    table = np.bincount(order[good] * 8 + mt[good], minlength=ORDERS * 8).reshape(ORDERS, 8)
    counts = recorded_blocks(state, pageblock_order, huge)
    bounds = mixed_bounds_of(state, counts, pageblock_order) if counts is not None else None
    return {
        "ts": state.ts,
        "interleaved": state.interleaved,
        "approximate": bool(getattr(state, "approximate", ())),
        "blocks": {name: int((state.blocks.mt == i).sum()) for i, name in enumerate(MIGRATE_NAMES)},
        **free_metrics(table.sum(axis=1), huge),
        "free_chunks": {name: table[:, i].tolist() for i, name in enumerate(MIGRATE_NAMES)},
        **(block_metrics(counts, pageblock_order) if counts is not None else {}),
        **({"mixed_blocks_least": bounds.least} if bounds is not None else {}),
    }


def snapshot_moment(snapshot: ProcSnapshot, pageblock_order: int, hugepage_order: int) -> dict[str, Any]:
    """What is measured of /proc's counts alone: pageblocks by type, free pages by order and the indices."""
    chunks = np.zeros(ORDERS, np.int64)
    blocks = dict.fromkeys(MIGRATE_NAMES, 0)
    typed = False
    for zone in snapshot.zones:
        here = np.array(zone.chunks[:ORDERS], np.int64)
        chunks[: len(here)] += here
        for name, count in zone.blocks_by_type.items():
            typed = True
            if name.lower() in blocks:
                blocks[name.lower()] += int(count)
    out = free_metrics(chunks, hugepage_order if hugepage_order > 0 else pageblock_order)
    return {**({"blocks": blocks} if typed else {}), **out, "ts": int(getattr(snapshot, "ts", 0))}


def moments_of(
    states: Iterable[AllocatorState],
    snapshots: Iterable[Any],
    pageblock_order: int,
    hugepage_order: int,
) -> dict[str, dict[str, Any]]:
    """What all snapshots show, by label, in order of time; a state at boot, before there were per-CPU lists, is left out.

    Of a state and a /proc snapshot of the same label the state counts. Labels that repeat (``periodic``) are numbered from 1.
    """
    found: list[tuple[int, str, dict[str, Any]]] = []
    for state in states:
        if state.pcp_ready:
            moment = state_moment(state, pageblock_order, hugepage_order)
            found.append((state.ts, state.label or state.tag, moment))
    labels = {label for _, label, _ in found}
    for snapshot in snapshots:
        if snapshot.label not in labels:
            found.append(
                (snapshot.ts, snapshot.label, snapshot_moment(snapshot, pageblock_order, hugepage_order))
            )
    found.sort(key=lambda item: item[0])
    names = [label for _, label, _ in found]
    out: dict[str, dict[str, Any]] = {}
    for _, label, moment in found:
        number = 1 + sum(1 for key in out if key == label or key.startswith(f"{label} "))
        out[f"{label} {number}" if names.count(label) > 1 else label] = moment
    return out


_VMSTAT_SUMS = {"pgalloc": "pgalloc_", "allocstall": "allocstall_"}
_VMSTAT = (*(name for name in VMSTAT if name not in _VMSTAT_SUMS), *ALLOCSTALL_ZONES)


def vmstat_change(snapshots: Sequence[Any]) -> dict[str, int]:
    """How far /proc/vmstat's counters went from the first snapshot to the last; those of zones are summed. Empty without two."""
    if len(snapshots) < 2:
        return {}
    first, last = snapshots[0].vmstat, snapshots[-1].vmstat
    out = {name: int(last[name] - first[name]) for name in _VMSTAT if name in first and name in last}
    for name, start in _VMSTAT_SUMS.items():
        zones = [key for key in first if key.startswith(start) and key in last]
        if zones:
            out[name] = int(sum(last[key] - first[key] for key in zones))
    return out
