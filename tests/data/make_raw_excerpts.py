# SPDX-License-Identifier: GPL-2.0-or-later
"""Cut ``raw-1cpu/`` and ``raw-2cpu/`` out of raw recordings of kernels with the recording hooks.

    python tests/data/make_raw_excerpts.py RECORDING_1CPU RECORDING_2CPU

Of each CPU's raw file the leading sub-buffers are kept, to shortly after the dump at the workload's start
(tag 0); of the snapshots the one taken with that dump; of the format files those of the events that occur.
"""

from __future__ import annotations

import lzma
import shutil
import sys
from pathlib import Path

import numpy as np

from kevacuate.recording import Recording
from kevacuate.recording.groundtruth import GroundTruth
from kevacuate.recording.ringbuf import read_blocks
from kevacuate.recording.schema import ALL_KINDS, EVENT_SPECS

TEXTS = (
    "version",
    "cmdline",
    "trace/header_page",
    "trace/trace_clock",
    "trace/cpu0.stats",
    "trace/cpu1.stats",
)
SNAPSHOT = ("zoneinfo", "pagetypeinfo", "meminfo", "kpageflags.xz", "kpagecount.xz")


def leading_pages(source: GroundTruth, cpu: int, until: int) -> bytes:
    """The sub-buffers of a CPU that begin before time *until*, and one more."""
    kept = b""
    for block in read_blocks(source.raw[cpu]):
        data = np.frombuffer(block, "<u8").reshape(-1, source.page_bytes // 8)
        early = int((data[:, 0] <= until).sum())
        kept += data[: early + 1].tobytes()
        if early < len(data):
            break
    return kept


def cut(path: str, target: Path) -> None:
    """Make one excerpt."""
    shutil.rmtree(target, ignore_errors=True)
    source, start = GroundTruth(Path(path)), Recording.open(path).start
    assert start is not None
    snapshot = f"snap-{start.tag}-{start.label}"
    (target / "trace").mkdir(parents=True)
    (target / snapshot).mkdir()
    used = set()
    for cpu in source.raw:
        pages = leading_pages(source, cpu, start.ts)
        (target / "trace" / f"cpu{cpu}.raw.xz").write_bytes(lzma.compress(pages, preset=9))
    for name in (*TEXTS, *(f"{snapshot}/{name}" for name in SNAPSHOT)):
        if (source.path / name).is_file():
            shutil.copyfile(source.path / name, target / name)
    kept = GroundTruth.__new__(GroundTruth)
    kept.path, kept.formats, kept.page_bytes = target, source.formats, source.page_bytes
    kept.raw = {cpu: target / "trace" / f"cpu{cpu}.raw.xz" for cpu in source.raw}
    for chunk in kept.events(ALL_KINDS):
        used |= set(np.unique(chunk.kind).tolist())
    for event in source.formats.values():
        if event.name in EVENT_SPECS and int(EVENT_SPECS[event.name].kind) in used:
            (target / "formats" / event.system).mkdir(parents=True, exist_ok=True)
            (target / "formats" / event.system / event.name).write_text(event.text)


if __name__ == "__main__":
    here = Path(__file__).parent
    cut(sys.argv[1], here / "raw-1cpu")
    cut(sys.argv[2], here / "raw-2cpu")
