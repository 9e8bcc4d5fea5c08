# SPDX-License-Identifier: GPL-2.0-or-later
"""Cut recordings of Debian's kernel, made by benchmarks/vmcore/assemble.py, for the tests.

    python tests/data/make_debian_excerpt.py RECORDING NAME EVENTS [buddy]

Writes ``debian-6.1/NAME.kev``: about EVENTS events after the first dump, with the exact state of that dump, without page
flags. With ``buddy`` only the events that the buddy level reads count and are kept.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from kevacuate.recording import EventKind, KevWriter, Recording
from kevacuate.recording.schema import concat_chunks

HERE = Path(__file__).parent / "debian-6.1"
BUDDY = (
    EventKind.GT_RMQ,
    EventKind.GT_BLK,
    EventKind.GT_EVAC,
    EventKind.MM_PAGE_ALLOC_ZONE_LOCKED,
    EventKind.MM_PAGE_PCPU_DRAIN,
    EventKind.MM_PAGE_ALLOC_EXTFRAG,
)


def main(source: str, name: str, count: int, kinds: tuple[EventKind, ...] | None) -> None:
    recording, target = Recording.open(source), HERE / f"{name}.kev"
    start = recording.start
    assert start is not None
    events = concat_chunks(list(recording.events(kinds=kinds, after=start)))
    requests = np.flatnonzero(events.kind[: count + 1] == EventKind.GT_RMQ)
    events = events.take(slice(0, int(requests[-1])))  # whole answers only
    mark = concat_chunks(list(recording.events(kinds=[EventKind.GT_DUMP])))
    shutil.rmtree(target, ignore_errors=True)
    with KevWriter(target, replace(recording.machine, events={})) as writer:
        writer.add_events(mark.take(slice(0, 1)))
        writer.add_events(events)
        writer.add_state(replace(start, page_flags=None, page_count=None))
        writer.set_losses(recording.losses)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), BUDDY if "buddy" in sys.argv[4:] else None)
