# SPDX-License-Identifier: GPL-2.0-or-later
"""Cut ``reclaim-1cpu/`` out of the raw recording of a one-CPU kernel with the second set of recording hooks.

    python tests/data/make_reclaim_excerpt.py RECORDING TAG EVENTS

It begins with the dump TAG, which shows the LRU lists in order, and holds about EVENTS events behind it. Of the format files
those of the events that occur are kept, of the snapshots the texts of the one taken with the dump.
"""

from __future__ import annotations

import lzma
import shutil
import sys
from pathlib import Path

import numpy as np

from kevacuate.kernel.hooks import DumpKind
from kevacuate.recording import EventKind
from kevacuate.recording.groundtruth import GroundTruth
from kevacuate.recording.ringbuf import read_blocks
from kevacuate.recording.schema import ALL_KINDS, EVENT_SPECS

TEXTS = ("version", "cmdline", "trace/header_page", "trace/trace_clock", "trace/cpu0.stats")
SNAPSHOT = ("zoneinfo", "pagetypeinfo", "meminfo")


def span(source: GroundTruth, tag: str, events: int) -> tuple[int, int]:
    """Times of the dump's first row and of the last event to be kept."""
    begin = end = left = -1
    for chunk in source.events():
        header = (
            (chunk.kind == EventKind.GT_DUMP) & (chunk.a == DumpKind.HEADER) & (chunk.c & 255 == ord(tag))
        )
        if begin < 0 and header.any():
            begin = int(chunk.ts[np.flatnonzero(header)[0]])
        last = (chunk.kind == EventKind.GT_DUMP) & (chunk.a == DumpKind.LRU_END)
        ends = np.flatnonzero(last & (chunk.ts > begin))
        if begin >= 0 and left < 0 and ends.size:
            left = events + int(ends[0])
        if left >= 0:
            if left < chunk.rows:
                end = int(chunk.ts[left])
                break
            left -= chunk.rows
    return begin, end


def sub_buffers(source: GroundTruth, begin: int, end: int) -> bytes:
    """The sub-buffers from the last one that begins before *begin* to the last that begins before *end*."""
    data = np.frombuffer(b"".join(bytes(block) for block in read_blocks(source.raw[0])), "<u8").reshape(
        -1, source.page_bytes // 8
    )
    begun = np.flatnonzero(data[:, 0].astype(np.int64) <= begin)
    kept = data[begun[-1] :]
    return kept[kept[:, 0].astype(np.int64) <= end].tobytes()


def cut(path: str, tag: str, events: int, target: Path) -> None:
    """Make the excerpt."""
    shutil.rmtree(target, ignore_errors=True)
    source = GroundTruth(Path(path))
    snapshot = source.snapshots[tag].name
    (target / "trace").mkdir(parents=True)
    (target / snapshot).mkdir()
    pages = sub_buffers(source, *span(source, tag, events))
    (target / "trace" / "cpu0.raw.xz").write_bytes(lzma.compress(pages, preset=9))
    for name in (*TEXTS, *(f"{snapshot}/{name}" for name in SNAPSHOT)):
        if (source.path / name).is_file():
            shutil.copyfile(source.path / name, target / name)
    for event in source.formats.values():
        if event.name in EVENT_SPECS:
            (target / "formats" / event.system).mkdir(parents=True, exist_ok=True)
            (target / "formats" / event.system / event.name).write_text(event.text)
    used = {
        kind for chunk in GroundTruth(target).events(ALL_KINDS) for kind in np.unique(chunk.kind).tolist()
    }
    for event in source.formats.values():
        if event.name in EVENT_SPECS and int(EVENT_SPECS[event.name].kind) not in used:
            (target / "formats" / event.system / event.name).unlink()


if __name__ == "__main__":
    cut(sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(__file__).parent / "reclaim-1cpu")
