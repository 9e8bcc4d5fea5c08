# SPDX-License-Identifier: GPL-2.0-or-later
"""Cut ``debian-6.1/events.kev`` out of a recording that benchmarks/vmcore/assemble.py made.

    python tests/data/make_debian_excerpt.py RECORDING EVENTS

Holds the first EVENTS events after the first dump, with the exact state of that dump, without page flags.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path

from kevacuate.recording import EventKind, KevWriter, Recording
from kevacuate.recording.schema import concat_chunks

TARGET = Path(__file__).parent / "debian-6.1/events.kev"


def main(source: str, count: int) -> None:
    recording = Recording.open(source)
    start = recording.start
    assert start is not None
    events = concat_chunks(list(recording.events(after=start)))
    mark = concat_chunks(list(recording.events(kinds=[EventKind.GT_DUMP])))
    shutil.rmtree(TARGET, ignore_errors=True)
    with KevWriter(TARGET, replace(recording.machine, events={})) as writer:
        writer.add_events(mark.take(slice(0, 1)))
        writer.add_events(events.take(slice(0, count)))
        writer.add_state(replace(start, page_flags=None, page_count=None))
        writer.set_losses(recording.losses)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
