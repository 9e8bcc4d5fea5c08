# SPDX-License-Identifier: GPL-2.0-or-later
from pathlib import Path

import pytest
from capture_tools import FORMATS, PAGE, FakeSpool, free, sub_buffer

from kevacuate.capture import stream as st
from kevacuate.capture.stream import SpoolStream
from kevacuate.errors import KevacuateError
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
