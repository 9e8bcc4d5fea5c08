# SPDX-License-Identifier: GPL-2.0-or-later
"""How tests/data/trace-cmd was made. Needs trace-cmd 3.1 and a recording of a kernel with the recording hooks, or root.

    PYTHONPATH=src:tests/recording python tests/data/make_trace_dat.py RECORDING   # rich.*: Linux 7.2, every kind of event
    PYTHONPATH=src:tests/recording python tests/data/make_trace_dat.py             # live.*: the running kernel

Of the recording, the sub-buffers are taken in which a kind of event first appears, and those that follow.
``.report.xz`` is what ``trace-cmd report -R -t`` prints, ``.text.xz`` what ``trace-cmd report -t`` prints.
"""

from __future__ import annotations

import lzma
import sys
import tempfile
from pathlib import Path

from tracecmd_tools import TRACEFS, copy_raw, instance, restore, touch, trace_cmd, tracing_directory

from kevacuate.recording.fieldtable import decoding
from kevacuate.recording.formats import load_formats
from kevacuate.recording.ringbuf import RawReader
from kevacuate.recording.schema import ALL_KINDS

TARGET = Path(__file__).parent / "trace-cmd"
PAGE = 4096


def chosen_pages(data: bytes, source: Path, work: Path) -> bytes:
    """The first sub-buffer of each kind of event."""
    formats, seen, pages = load_formats(source / "formats"), set[int](), []
    for first in range(0, len(data), 256 * PAGE):
        (work / "block").write_bytes(data[first : first + 256 * PAGE])
        reader = RawReader(work / "block", 0, decoding(formats, ALL_KINDS))
        kinds = {k for chunk in reader.chunks(1 << 17) for k in chunk.kind.tolist()}
        if kinds <= seen:
            continue
        for at in range(first, min(first + 256 * PAGE, len(data)), PAGE):
            (work / "block").write_bytes(data[at : at + PAGE])
            reader = RawReader(work / "block", 0, decoding(formats, ALL_KINDS))
            found = {k for chunk in reader.chunks(1 << 17) for k in chunk.kind.tolist()}
            if found - seen:
                seen |= found
                pages.append(data[at : at + PAGE])
    return b"".join(pages)


def pack(name: str, dat: Path, work: Path) -> None:
    """Ship it as version 7 with zstd, as version 6, and what trace-cmd says of it."""
    TARGET.mkdir(exist_ok=True)
    trace_cmd(
        "convert", "-i", dat, "-o", TARGET / f"{name}.v7.dat", "--file-version", 7, "--compression", "zstd"
    )
    trace_cmd("convert", "-i", dat, "-o", work / "v6.dat", "--file-version", 6)
    (TARGET / f"{name}.v6.dat.xz").write_bytes(lzma.compress((work / "v6.dat").read_bytes(), preset=9))
    for suffix, options in (("report", ["-R", "-t"]), ("text", ["-t"])):
        text = trace_cmd("report", *options, TARGET / f"{name}.v7.dat")
        (TARGET / f"{name}.{suffix}.xz").write_bytes(lzma.compress(text.encode(), preset=9))


def rich(source: Path, work: Path) -> None:
    """An excerpt of a recording."""
    data = chosen_pages(lzma.decompress((source / "trace" / "cpu0.raw.xz").read_bytes()), source, work)
    (work / "cpu0.raw").write_bytes(data)
    tracing = tracing_directory(work / "tracing", source / "formats", source / "trace")
    (tracing / "trace_clock").write_text("local [global] mono\n")
    pack("rich", restore(work / "rich.dat", tracing, [work / "cpu0.raw"], work), work)


def live(work: Path) -> None:
    """A moment of the running kernel."""
    with instance(1000) as path:
        (path / "tracing_on").write_text("1")
        touch(150)
        (path / "tracing_on").write_text("0")
        files = copy_raw(path, work / "raw")
        clock = (path / "trace_clock").read_text()
    tracing = tracing_directory(work / "tracing", TRACEFS / "events", TRACEFS / "events")
    (tracing / "trace_clock").write_text(clock)
    pack("live", restore(work / "live.dat", tracing, files, work), work)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        if len(sys.argv) > 1:
            rich(Path(sys.argv[1]), Path(name))
        else:
            live(Path(name))
