# SPDX-License-Identifier: GPL-2.0-or-later
"""Light recordings made of real ones: spans of a recording's rare events, each a machine of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from kevacuate.capture.events import LIGHT
from kevacuate.recording import EventChunk, KevWriter, Recording
from kevacuate.recording.schema import COLUMN_TYPES, EVENT_SPECS

LIGHT_KINDS = frozenset(EVENT_SPECS[event.rpartition("/")[2]].kind for event in LIGHT)
"""Kinds of events that ``kevacuate record --light`` switches on; allocations are none of them."""


def rare_events(recording: Recording) -> EventChunk:
    """All events of a recording that light data have."""
    chunks = list(recording.events(kinds=LIGHT_KINDS))
    return EventChunk(**{n: np.concatenate([getattr(c, n) for c in chunks]) for n in COLUMN_TYPES})


def light_recordings(directory: Path, sources: list[Path], count: int, seed: int = 1) -> Iterator[Path]:
    """Write *count* recordings, each of a random span of a source, a tenth to all of it."""
    rng = np.random.default_rng(seed)
    held = [(Recording.open(path), rare_events(Recording.open(path))) for path in sources]
    for number in range(count):
        recording, events = held[number % len(held)]
        first, last = int(events.ts[0]), int(events.ts[-1])
        length = int((last - first) * rng.uniform(0.1, 1.0))
        begin = int(rng.choice(events.ts[events.ts <= max(last - length, first)]))
        kept = np.flatnonzero((events.ts >= begin) & (events.ts <= begin + length))
        path = directory / f"rack{number % 40:02d}" / f"host{number:04d}.kev"
        path.parent.mkdir(parents=True, exist_ok=True)
        with KevWriter(path, recording.machine) as writer:
            if kept.size:
                writer.add_events(events.take(slice(int(kept[0]), int(kept[-1]) + 1)))
            if recording.snapshots:
                writer.add_snapshots(recording.snapshots)
            writer.set_losses(recording.losses)
        yield path
