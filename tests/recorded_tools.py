# SPDX-License-Identifier: GPL-2.0-or-later
"""Recordings and event chunks written by hand, event by event."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from synthetic import machine

from kevacuate.recording import AllocatorState, CpuLosses, EventChunk, EventKind, KevWriter, Machine
from kevacuate.recording.schema import COLUMN_TYPES
from kevacuate.recording.snapshot import Snapshot, ZoneCounts

DATA = Path(__file__).parent / "data"
U, M, R = 0, 1, 2
K = EventKind


def chunk_of(rows: Iterable[dict[str, Any]]) -> EventChunk:
    """The events as one chunk; what is not given is 0 (pid -1)."""
    listed = list(rows)
    columns = {
        name: np.array([row.get(name, -1 if name == "pid" else 0) for row in listed], dtype)
        for name, dtype in COLUMN_TYPES.items()
    }
    return EventChunk(**columns)


def extfrag(ts: int, pfn: int, mt: int, source: int, *, taken: int, own: bool, **more: int) -> dict[str, Any]:
    """One mm_page_alloc_extfrag."""
    return {
        "ts": ts,
        "kind": K.MM_PAGE_ALLOC_EXTFRAG,
        "pfn": pfn,
        "mt": mt,
        "a": taken,
        "b": source,
        "c": own,
    } | more


def event(ts: int, kind: EventKind, pfn: int = -1, **more: int) -> dict[str, Any]:
    """Any other event."""
    return {"ts": ts, "kind": kind, "pfn": pfn} | more


def proc_snapshot(ts: int, label: str, chunks: dict[int, int]) -> Snapshot:
    """What /proc says of a machine of one zone with these free chunks by order, and three movable pageblocks."""
    free = tuple(chunks.get(order, 0) for order in range(11))
    pages = sum(count << order for order, count in enumerate(free))
    zone = ZoneCounts(
        node=0, name="Normal", start_pfn=0, spanned=1536, present=1536, managed=1536, free=pages, boost=0,
        watermark=(0, 0, 0, 0), protection=(0,), chunks=free, blocks_by_type={"Movable": 3},
    )  # fmt: skip
    return Snapshot(ts, label, (zone,), {})


def write_events(
    path: Path,
    rows: Iterable[dict[str, Any]],
    *,
    states: Iterable[AllocatorState] = (),
    snapshots: Sequence[Snapshot] = (),
    quality: dict[str, Any] | None = None,
    described: Machine | None = None,
    missed: int = 0,
    gaps: int = 0,
    unknown: int = 0,
    **facts: Any,
) -> Path:
    """A ``.kev`` directory with these events (none: an empty recording) and states; *facts* are fields of the machine."""
    listed = list(rows)
    with KevWriter(path, replace(described or machine(), **facts)) as writer:
        if listed:
            writer.add_events(chunk_of(listed))
        for state in states:
            writer.add_state(state)
        if snapshots:
            writer.add_snapshots(snapshots)
        writer.set_losses([CpuLosses(0), CpuLosses(1, missed=missed, gaps=gaps, unknown=unknown)])
        writer.set_quality(quality or {})
    return path
