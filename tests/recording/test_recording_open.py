# SPDX-License-Identifier: GPL-2.0-or-later
import lzma
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from recording_reference import (
    RAW_1CPU,
    RAW_2CPU,
    data_event,
    free_payload,
    make_page,
    write_raw_dir,
)

from kevacuate.errors import KevacuateError
from kevacuate.recording import AllocatorState, EventKind, Recording
from kevacuate.recording.schema import EventChunk, concat_chunks


def all_events(recording: Recording, **options: object) -> EventChunk:
    return concat_chunks(list(recording.events(**options)))  # type: ignore[arg-type]


def check_state(state: AllocatorState, blocks: int) -> None:
    """What must hold in any dump: free pages add up and lie in blocks of their list's type."""
    free = state.free
    sizes = np.left_shift(1, free.order.astype(np.int64))
    pending = 32 * (len(state.pcp.cpu) - 1)  # what the CPUs have not yet added to the counter
    assert abs(int(sizes.sum()) - sum(z.nr_free for z in state.zones)) <= pending
    assert (free.pfn % sizes == 0).all()
    assert len(state.blocks.pfn) == blocks
    assert (np.diff(state.blocks.pfn) > 0).all()
    block_type = dict(zip((state.blocks.pfn >> 9).tolist(), state.blocks.mt.tolist(), strict=True))
    assert [block_type[p] for p in (free.pfn >> 9).tolist()] == free.mt.tolist()
    key = (free.zone.astype(int) * 11 + free.order) * 6 + free.mt
    assert len(np.flatnonzero(np.diff(key))) + 1 == len(np.unique(key)), "a list is not contiguous"


def test_machine_of_a_raw_directory() -> None:
    machine = Recording.open(RAW_2CPU).machine
    assert machine.kernel == "7.2.13"
    assert (machine.cpus, machine.nodes, machine.page_size) == (2, (0,), 4096)
    assert (machine.pageblock_order, machine.hugepage_order, machine.nr_pcp_lists) == (9, 9, 14)
    assert machine.clock == "global"
    assert machine.zone_names == ("DMA32", "Normal", "Movable")
    assert [z.name for z in machine.zones] == ["DMA32"]
    assert machine.zones[0].watermark_min == 5632
    assert machine.hooks
    assert not machine.swap
    assert "kmem/mm_page_alloc" in machine.events


@pytest.mark.parametrize("path", [RAW_1CPU, RAW_2CPU])
def test_states(path: Path) -> None:
    recording = Recording.open(path)
    assert [s.tag for s in recording.states] == ["b", "0"]
    for state in recording.states:
        check_state(state, 512)
        assert state.interleaved == 0
    boot, start = recording.boot, recording.start
    assert boot is not None
    assert start is not None
    assert (boot.ts, boot.tag, boot.pcp_ready, boot.page_flags) == (0, "b", False, None)
    assert (start.tag, start.label, start.pcp_ready) == ("0", "start", True)
    assert start.zones[0].name == "DMA32"
    assert start.zones[0].watermark == (5632, 7040, 8448, 9856)
    assert len(start.pcp.cpu) == recording.machine.cpus
    assert int(start.pcp.nr_lists[0]) == 14
    assert start.page_flags is not None
    assert start.page_count is not None
    assert len(start.page_flags) == len(start.page_count) == 1 << 18


def test_pcp_pages_add_up() -> None:
    start = Recording.open(RAW_2CPU).start
    assert start is not None
    pages = start.pcp_pages
    order = np.where(pages.pindex < 12, pages.pindex // 3, 9)
    for cpu in (0, 1):
        assert (1 << order[pages.cpu == cpu]).sum() == start.pcp.count[start.pcp.cpu == cpu].sum()


def test_events_after_a_state_go_by_position_not_by_time() -> None:
    recording = Recording.open(RAW_1CPU)
    whole = all_events(recording)
    ends = np.flatnonzero((whole.kind == EventKind.GT_DUMP) & (whole.a == 6))
    for state, end in zip(recording.states, ends.tolist(), strict=True):
        for rows in (1 << 17, 700):
            after = all_events(recording, after=state, chunk_rows=rows)
            for a, b in zip(after, whole.take(slice(end + 1, None)), strict=True):
                np.testing.assert_array_equal(a, b)
    boot = recording.boot
    assert boot is not None
    assert (whole.ts[: ends[0]] == whole.ts[ends[0] + 1]).all(), "early boot has one time stamp"
    frees = all_events(recording, after=boot, kinds=[EventKind.MM_PAGE_FREE])
    assert set(frees.kind.tolist()) == {EventKind.MM_PAGE_FREE}


def test_two_cpus_are_merged() -> None:
    recording = Recording.open(RAW_2CPU)
    merged = all_events(recording, chunk_rows=1000)
    assert set(merged.cpu.tolist()) == {0, 1}
    assert (np.diff(merged.ts) >= 0).all()
    same = np.diff(merged.ts) == 0
    assert (np.diff(merged.cpu.astype(int))[same] >= 0).all()


def test_lost_events_are_reported(tmp_path: Path) -> None:
    event = data_event(free_payload(1))
    lossy = make_page(2, event, flags=3 << 30, tail=(5).to_bytes(8, "little"))
    path = write_raw_dir(tmp_path / "x", make_page(1, event), lossy)
    (path / "trace" / "cpu0.stats").write_text(
        "entries: 1\noverrun: 3\ncommit overrun: 0\ndropped events: 2\n"
    )
    recording = Recording.open(path)
    first, second = recording.losses
    assert (first.overrun, first.dropped, first.missed, first.any) == (3, 2, 0, True)
    assert (second.missed, second.any) == (5, True)
    assert recording.quality["losses"][1]["missed"] == 5
    assert recording.quality["events_by_cpu"] == [1, 1]


def test_without_dumps_there_is_no_state(tmp_path: Path) -> None:
    recording = Recording.open(write_raw_dir(tmp_path / "x", make_page(1, data_event(free_payload(1)))))
    assert recording.states == []
    assert recording.boot is None
    assert recording.start is None
    assert not recording.machine.hooks


def test_digest_is_of_the_content(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(RAW_1CPU, copy)
    raw = copy / "trace" / "cpu0.raw.xz"
    data = lzma.decompress(raw.read_bytes())
    raw.unlink()
    (copy / "trace" / "cpu0.raw").write_bytes(data)
    assert Recording.open(copy).digest == Recording.open(RAW_1CPU).digest
    (copy / "trace" / "cpu0.raw").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert Recording.open(copy).digest != Recording.open(RAW_1CPU).digest


def test_what_is_not_a_recording_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KevacuateError, match="does not exist"):
        Recording.open(tmp_path / "nothing")
    with pytest.raises(KevacuateError, match="is not a recording"):
        Recording.open(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(KevacuateError, match="is a file"):
        Recording.open(tmp_path / "file")
    with pytest.raises(KevacuateError, match="is not a recording"):
        Recording.open(Path(__file__).parent)


def test_formats_are_needed(tmp_path: Path) -> None:
    path = write_raw_dir(tmp_path / "x", make_page(1))
    shutil.rmtree(path / "formats")
    with pytest.raises(KevacuateError, match="holds no event format files"):
        Recording.open(path)


def test_foreign_page_header_is_refused(tmp_path: Path) -> None:
    path = write_raw_dir(tmp_path / "x", make_page(1))
    (path / "trace" / "header_page").write_text("field: u64 timestamp;\toffset:0;\tsize:8;\n")
    with pytest.raises(KevacuateError, match="does not know"):
        Recording.open(path)


def test_truncated_xz_is_refused(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(RAW_1CPU, copy)
    raw = copy / "trace" / "cpu0.raw.xz"
    raw.write_bytes(raw.read_bytes()[:20000])
    with pytest.raises(KevacuateError, match="truncated"):
        all_events(Recording.open(copy))
    data = bytearray((RAW_1CPU / "trace" / "cpu0.raw.xz").read_bytes())
    data[9000] ^= 0x55
    raw.write_bytes(data)
    with pytest.raises(KevacuateError, match=r"corrupted|truncated"):
        all_events(Recording.open(copy))


@pytest.mark.skipif("KEVACUATE_GROUND_TRUTH" not in os.environ, reason="needs KEVACUATE_GROUND_TRUTH")
def test_a_whole_recorded_directory(tmp_path: Path) -> None:
    recording = Recording.open(os.environ["KEVACUATE_GROUND_TRUTH"])
    assert not any(loss.any for loss in recording.losses)
    start = recording.start
    assert start is not None
    assert start.interleaved == 0
    check_state(start, len(start.blocks.pfn))
    saved = recording.save(tmp_path / "x.kev")
    assert (
        saved.quality["events_by_kind"]["MM_PAGE_ALLOC"]
        == recording.quality["events_by_kind"]["MM_PAGE_ALLOC"]
    )
    for a, b in zip(
        recording.events(after=start, kinds=[EventKind.MM_PAGE_ALLOC], chunk_rows=1 << 30),
        saved.events(after=saved.start, kinds=[EventKind.MM_PAGE_ALLOC], chunk_rows=1 << 30),
        strict=False,
    ):
        n = min(a.rows, b.rows)
        np.testing.assert_array_equal(a.pfn[:n], b.pfn[:n])
