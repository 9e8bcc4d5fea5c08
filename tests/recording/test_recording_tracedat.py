# SPDX-License-Identifier: GPL-2.0-or-later
"""trace.dat: what trace-cmd itself says of a file is what is decoded."""

import lzma
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from report_reference import compare_report
from tracecmd_tools import (
    TRACEFS,
    copy_raw,
    instance,
    missing,
    restore,
    touch,
    trace_cmd,
    tracing_directory,
)
from tracedat_maker import DATA, pack, take_apart

from kevacuate.errors import KevacuateError
from kevacuate.recording import EventChunk, EventKind, Recording
from kevacuate.recording.importers import ImportOptions, import_recording, open_source
from kevacuate.recording.schema import concat_chunks

LIVE_EVENTS = int(os.environ.get("KEVACUATE_LIVE_EVENTS", "100_000"))
"""Events of the comparison on the running kernel, at least. A million take about two minutes."""


def text_lines(name: str) -> list[str]:
    """A shipped report's lines."""
    return lzma.decompress((DATA / name).read_bytes()).decode().splitlines()


def events_of(path: Path, **options: object) -> EventChunk:
    """All events of a file."""
    return concat_chunks(list(open_source(path, ImportOptions(**options)).events()))  # type: ignore[arg-type]


def equal(one: EventChunk, other: EventChunk) -> bool:
    """Whether all columns are equal."""
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.fixture
def version_6(tmp_path: Path) -> Path:
    path = tmp_path / "rich.v6.dat"
    path.write_bytes(lzma.decompress((DATA / "rich.v6.dat.xz").read_bytes()))
    return path


@pytest.mark.parametrize(("name", "lines", "dumped"), [("live", 3078, 0), ("rich", 3425, 1)])
def test_the_report_of_trace_cmd_says_the_same(tmp_path: Path, name: str, lines: int, dumped: int) -> None:
    about = import_recording(DATA / f"{name}.v7.dat", tmp_path / "x.kev")
    made = Recording.open(tmp_path / "x.kev")
    assert compare_report(text_lines(f"{name}.report.xz"), made.events(), made.machine) == lines
    assert about["events"] == lines - dumped
    assert about["form"] == "trace.dat version 7, zstd"
    assert made.states == []
    assert made.start is None


def test_the_excerpt_has_nearly_every_kind() -> None:
    """Further kinds, of reclaim, the page cache and probes, came after it was made."""
    kinds = set(events_of(DATA / "rich.v7.dat").kind.tolist())
    absent = {EventKind(k).name for k in {int(k) for k in EventKind} - kinds}
    assert absent <= {
        "MM_CALCULATE_TOTALRESERVE_PAGES",
        "GT_CAPT",
        "GT_REC",
        "GT_LRU",
        "GT_MIG",
        "GT_CZ",
        "GT_SLOW",
        "GT_GEN",
        "MIGRATE_PAGES_START",
        "VMSCAN_WRITE_FOLIO",
        "VMSCAN_RECLAIM_PAGES",
        "VMSCAN_THROTTLED",
        "VMSCAN_KSWAPD_RECLAIM_FAIL",
        "VMSCAN_KSWAPD_CLEAR_HOPELESS",
        "MM_LRU_INSERTION",
        "MM_LRU_ACTIVATE",
        "MM_FILEMAP_ADD_TO_PAGE_CACHE",
        "MM_FILEMAP_DELETE_FROM_PAGE_CACHE",
        "MM_FILEMAP_GET_PAGES",
        "MM_FILEMAP_FAULT",
        "MM_FILEMAP_MAP_PAGES",
    }


def test_versions_and_compressions_hold_the_same(tmp_path: Path, version_6: Path) -> None:
    wanted = events_of(DATA / "rich.v7.dat")
    assert equal(events_of(version_6), wanted)
    parts = take_apart((DATA / "rich.v7.dat").read_bytes())
    for codec in ("none", "zlib", "zstd"):
        path = tmp_path / f"{codec}.dat"
        path.write_bytes(pack(parts, codec))
        assert equal(events_of(path), wanted), codec


def test_buffers_of_instances(tmp_path: Path) -> None:
    parts = take_apart((DATA / "live.v7.dat").read_bytes())
    path = tmp_path / "named.dat"
    path.write_bytes(pack(parts, "zstd", ("mm",)))
    wanted = events_of(DATA / "live.v7.dat")
    assert equal(events_of(path), wanted)
    path.write_bytes(pack(parts, "zlib", ("", "mm")))
    with pytest.raises(KevacuateError, match=r"several buffers \('', 'mm'\): say which with --buffer"):
        open_source(path)
    with pytest.raises(KevacuateError, match="no buffer 'mn' with data: it has '', 'mm'"):
        open_source(path, ImportOptions(buffer="mn"))
    assert equal(events_of(path, buffer="mm"), wanted)


def test_an_instance_in_version_6(tmp_path: Path, version_6: Path) -> None:
    data = version_6.read_bytes()
    tag, first = data.index(b"flyrecord\0"), data.index(b"options  \0") + 10
    (offset, size) = struct.unpack_from("<QQ", data, tag + 10)
    assert offset + size == len(data)
    grown = 6 + 8 + 3  # an option that says where the instance "mm" lies, put before the others
    option = struct.pack("<HIQ", 3, 11, len(data) + grown) + b"mm\0"
    whole = data[:first] + option + data[first:tag] + b"flyrecord\0" + bytes(16) + data[tag + 26 :]
    whole += b"flyrecord\0" + struct.pack("<QQ", offset + grown, size)
    version_6.write_bytes(whole)
    assert equal(events_of(version_6), events_of(DATA / "rich.v7.dat"))


def test_lost_events(tmp_path: Path) -> None:
    parts = take_apart((DATA / "live.v7.dat").read_bytes())
    cpu, data = max(parts.cpus.items(), key=lambda item: len(item[1]))
    (commit,) = struct.unpack_from("<Q", data, 4096 + 8)
    parts.cpus[cpu] = data[: 4096 + 8] + struct.pack("<Q", commit | 1 << 31) + data[4096 + 16 :]
    stats = f"CPU: {cpu}\nentries: 5\noverrun: 17\ncommit overrun: 2\ndropped events: 1\n"
    parts.options.append((2, stats.encode() + b"\0"))
    (tmp_path / "x.dat").write_bytes(pack(parts, "zstd"))
    about = import_recording(tmp_path / "x.dat", tmp_path / "x.kev")
    losses = {x.cpu: x for x in Recording.open(tmp_path / "x.kev").losses}
    assert (losses[cpu].gaps, losses[cpu].overrun, losses[cpu].commit_overrun, losses[cpu].dropped) == (
        1,
        17,
        2,
        1,
    )
    assert (about["lost_events"], about["lost_events_at_least"]) == ({str(cpu): 20}, True)


def test_clocks(tmp_path: Path) -> None:
    parts = take_apart((DATA / "live.v7.dat").read_bytes())
    path = tmp_path / "x.dat"
    path.write_bytes(pack(parts, clock="mono"))
    assert open_source(path).machine().clock == "mono"
    path.write_bytes(pack(parts, clock="x86-tsc"))
    with pytest.raises(KevacuateError, match="clock 'x86-tsc', which does not count nanoseconds"):
        open_source(path)
    parts.options.append((14, struct.pack("<IIQ", 0x0AAAAAAA, 29, 12345)))
    path.write_bytes(pack(parts, clock="x86-tsc"))
    wanted = [(ts * 0x0AAAAAAA >> 29) + 12345 for ts in events_of(DATA / "live.v7.dat").ts.tolist()]
    assert events_of(path).ts.tolist() == wanted


def test_without_pids(tmp_path: Path) -> None:
    import_recording(DATA / "live.v7.dat", tmp_path / "x.kev", pids=False)
    assert {-1} == {p for chunk in Recording.open(tmp_path / "x.kev").events() for p in chunk.pid.tolist()}


def test_what_is_no_trace_dat_of_ours(tmp_path: Path) -> None:
    data = (DATA / "live.v7.dat").read_bytes()
    path = tmp_path / "x.dat"
    for changed, said in (
        (data[:10] + b"8" + data[11:], "version '8': versions 6 and 7 are read"),
        (data[:12] + b"\1" + data[13:], "big-endian"),
        (data.replace(b"zstd", b"lzo1", 1), "compressed with 'lzo1'"),
        (data[: len(data) // 2], "truncated or corrupted"),
        (pack(take_apart(data)._replace(cpus={})), "nothing was recorded"),
    ):
        path.write_bytes(changed)
        with pytest.raises(KevacuateError, match=said):
            events_of(path)


def test_events_of_others_only(tmp_path: Path) -> None:
    parts = take_apart((DATA / "live.v7.dat").read_bytes())
    parts.sections[18] = parts.sections[18].replace(b"mm_page", b"xx_page")
    (tmp_path / "x.dat").write_bytes(pack(parts))
    with pytest.raises(KevacuateError, match="no event of the page allocator"):
        import_recording(tmp_path / "x.dat", tmp_path / "x.kev")
    assert not (tmp_path / "x.kev").exists()


@pytest.mark.skipif(bool(missing()), reason=f"no comparison with the running kernel: {missing()}")
def test_the_running_kernel(tmp_path: Path) -> None:
    with instance(8000 + LIVE_EVENTS // 10) as path:
        (path / "tracing_on").write_text("1")
        touch(LIVE_EVENTS // 3)
        (path / "tracing_on").write_text("0")
        files = copy_raw(path, tmp_path)
    tracing = tracing_directory(tmp_path / "tracing", TRACEFS / "events", TRACEFS / "events")
    (tracing / "trace_clock").write_text("[local] global")
    dat = restore(tmp_path / "live.dat", tracing, files, tmp_path)
    report = trace_cmd("report", "-R", "-t", dat)
    source = open_source(dat)
    assert compare_report(report.splitlines(), source.events(), source.machine()) >= LIVE_EVENTS
