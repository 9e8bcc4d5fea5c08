# SPDX-License-Identifier: GPL-2.0-or-later
import struct
from pathlib import Path

import pytest
from capture_tools import FORMATS, FREE_TEXT, PAGE, FakeSpool, free, sub_buffer

from kevacuate.capture import stream as st
from kevacuate.capture.stream import SpoolStream
from kevacuate.capture.tracefs import ftrace_formats
from kevacuate.errors import KevacuateError
from kevacuate.recording.formats import parse_format
from kevacuate.recording.ringbuf import NO_FORMAT
from kevacuate.recording.schema import EventChunk, concat_chunks


def pump(stream: SpoolStream) -> EventChunk:
    return concat_chunks(list(stream.pump()))


def test_events_come_in_order_of_time_up_to_where_every_cpu_is_known(tmp_path: Path) -> None:
    spool = FakeSpool(tmp_path, 2)
    stream = SpoolStream(tmp_path, [0, 1], FORMATS, PAGE)
    spool.put(0, sub_buffer(100, free(1), free(2, 50)))
    assert pump(stream).rows == 0  # of CPU 1 nothing is known
    spool.put(1, sub_buffer(120, free(3), free(4, 100)))
    assert pump(stream).pfn.tolist() == [1, 3]  # what is at 150 waits: CPU 0 may have more at that time
    spool.put(0, until=1000)
    assert pump(stream).pfn.tolist() == [2]
    spool.put(1, until=1000)
    assert pump(stream).pfn.tolist() == [4]
    assert (stream.bound, stream.late) == (1000, 0)


def test_what_comes_too_late_is_moved_and_counted(tmp_path: Path) -> None:
    spool = FakeSpool(tmp_path, 1)
    stream = SpoolStream(tmp_path, [0], FORMATS, PAGE)
    spool.put(0, sub_buffer(100, free(1)), until=500)
    assert pump(stream).ts.tolist() == [100]
    spool.put(0, sub_buffer(400, free(2), free(3, 200)), until=900)
    assert pump(stream).ts.tolist() == [500, 600]
    assert stream.late == 1


def test_a_partial_sub_buffer_waits(tmp_path: Path) -> None:
    spool = FakeSpool(tmp_path, 1)
    stream = SpoolStream(tmp_path, [0], FORMATS, PAGE)
    spool.put(0, sub_buffer(100, free(1))[:1000], until=0)
    assert pump(stream).rows == 0
    assert stream.decoded == 0


def test_warming_up_loses_nothing(tmp_path: Path) -> None:
    spool = FakeSpool(tmp_path, 2)
    stream = SpoolStream(tmp_path, [0, 1], FORMATS, PAGE)
    stream.warm_up()
    spool.put(0, sub_buffer(100, free(1)), until=900)
    spool.put(1, sub_buffer(110, free(2)), until=900)
    assert pump(stream).pfn.tolist() == [1, 2]
    assert (stream.losses(), [cpu.decoder.gaps for cpu in stream.cpus]) == ([], [0, 0])


def test_losses_are_placed_in_time(tmp_path: Path) -> None:
    spool = FakeSpool(tmp_path, 1)
    stream = SpoolStream(tmp_path, [0], FORMATS, PAGE)
    spool.put(0, sub_buffer(100, free(1)))
    pump(stream)
    spool.put(0, sub_buffer(900, free(2), missed=12))
    pump(stream)
    (loss,) = stream.losses()
    assert (loss.cpu, loss.begin, loss.end, loss.missed, loss.gaps) == (0, 100, 900, 12, 0)


def test_segments_go_only_when_what_they_held_is_safe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(st, "SEGMENT_BYTES", 2 * PAGE)
    spool = FakeSpool(tmp_path, 1)
    stream = SpoolStream(tmp_path, [0], FORMATS, PAGE)
    spool.put(0, *[sub_buffer(100 * i, free(i)) for i in range(1, 6)], segment_bytes=2 * PAGE)
    assert pump(stream).rows == 4
    stream.release(250)
    assert sorted(p.name for p in tmp_path.glob("*.raw")) == ["cpu0.000001.raw", "cpu0.000002.raw"]
    stream.release(stream.bound)
    assert sorted(p.name for p in tmp_path.glob("*.raw")) == ["cpu0.000002.raw"]
    again = SpoolStream(tmp_path, [0], FORMATS, PAGE)
    again.start_at([4 * PAGE], 450)
    assert concat_chunks([*again.pump(), *again.give(1 << 62)]).pfn.tolist() == [5]


def test_a_damaged_spool_is_named(tmp_path: Path) -> None:
    spool = FakeSpool(tmp_path, 1)
    stream = SpoolStream(tmp_path, [0], FORMATS, PAGE)
    spool.put(0, sub_buffer(100, free(1)))
    (tmp_path / "cpu0.000000.raw").write_bytes(b"")
    with pytest.raises(KevacuateError, match=r"cpu0\.000000\.raw is cut off"):
        pump(stream)


def test_events_that_cannot_be_read_and_such_that_nobody_reads_are_counted_by_name(tmp_path: Path) -> None:
    def event(ident: int) -> bytes:
        return free(1).replace(struct.pack("<H", 266), struct.pack("<H", ident), 1)

    lacking = FREE_TEXT.replace("mm_page_free", "mm_compaction_migratepages").replace("266", "300")
    printed = FREE_TEXT.replace("mm_page_free", "print").replace("266", "5")
    formats = FORMATS | {300: parse_format(lacking, "compaction"), 5: parse_format(printed, "ftrace")}
    spool = FakeSpool(tmp_path / "spool", 1)
    stream = SpoolStream(tmp_path / "spool", [0], formats, PAGE)
    spool.put(0, sub_buffer(100, free(1), event(300), event(300), event(5), event(999)), until=900)
    assert pump(stream).rows == 1
    assert stream.not_read() == {"mm_compaction_migratepages": 2, NO_FORMAT: 1}
    assert stream.passed_over() == {"print": 1}


def test_records_of_ftrace_itself_have_names(tmp_path: Path) -> None:
    for name, text in (
        ("print", FREE_TEXT.replace("mm_page_free", "print").replace("266", "5")),
        ("odd", "?"),
    ):
        (tmp_path / "events/ftrace" / name).mkdir(parents=True)
        (tmp_path / "events/ftrace" / name / "format").write_text(text)
    assert {ident: one.name for ident, one in ftrace_formats(tmp_path).items()} == {5: "print"}
