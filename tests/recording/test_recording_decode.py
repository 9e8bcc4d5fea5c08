# SPDX-License-Identifier: GPL-2.0-or-later
import lzma
from pathlib import Path

import numpy as np
import pytest
from recording_reference import (
    FREE_FORMAT,
    RAW_1CPU,
    RAW_2CPU,
    data_event,
    free_payload,
    make_page,
    padding,
    ref_decode,
    time_extend,
    time_stamp,
    write_raw_dir,
)

from kevacuate.errors import KevacuateError
from kevacuate.recording import EventKind, Recording
from kevacuate.recording import decode as dc
from kevacuate.recording.fieldtable import decoding
from kevacuate.recording.formats import load_formats, parse_format
from kevacuate.recording.ringbuf import RawReader
from kevacuate.recording.schema import ALL_KINDS, EventChunk, concat_chunks

FREE_ONLY = {266: parse_format(FREE_FORMAT, "kmem")}


def read(path: Path, kinds: frozenset[int] = ALL_KINDS, rows: int = 1 << 14) -> EventChunk:
    formats = load_formats(RAW_1CPU / "formats")
    return concat_chunks(list(RawReader(path, 0, decoding(formats, kinds)).chunks(rows)))


def decode(tmp_path: Path, *pages: bytes, page_bytes: int = 4096) -> tuple[RawReader, list[EventChunk]]:
    file = tmp_path / "cpu0.raw"
    file.write_bytes(b"".join(pages))
    reader = RawReader(file, 0, decoding(FREE_ONLY, ALL_KINDS), page_bytes)
    return reader, list(reader.chunks(1 << 14))


@pytest.mark.parametrize(("directory", "cpu"), [(RAW_1CPU, 0), (RAW_2CPU, 0), (RAW_2CPU, 1)])
def test_decoder_agrees_with_slow_reference(directory: Path, cpu: int) -> None:
    formats = load_formats(directory / "formats")
    file = directory / "trace" / f"cpu{cpu}.raw.xz"
    chunk = concat_chunks(list(RawReader(file, cpu, decoding(formats, ALL_KINDS)).chunks(1000)))
    expected = ref_decode(lzma.decompress(file.read_bytes()), formats)
    assert chunk.rows == len(expected) > 2000
    for name in ("ts", "pid", "kind", "pfn", "order", "mt", "gfp", "a", "b", "c", "d"):
        assert getattr(chunk, name).tolist() == [row[name] for row in expected], name
    assert (chunk.cpu == cpu).all()


def test_kinds_are_filtered_and_chunk_size_does_not_matter() -> None:
    file = RAW_1CPU / "trace" / "cpu0.raw.xz"
    whole, few = read(file), read(file, frozenset({int(EventKind.MM_PAGE_ALLOC)}), rows=600)
    expected = whole.take(whole.kind == EventKind.MM_PAGE_ALLOC)
    for a, b in zip(few, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_every_way_to_tell_time(tmp_path: Path) -> None:
    far = (1 << 59) + (3 << 27) + 5
    page = make_page(
        1000,
        data_event(free_payload(1), 5),
        time_extend((2 << 27) + 9),
        data_event(free_payload(2), 1, long=True),
        padding(3, delta=4),
        data_event(free_payload(3), 0),
    )
    stamped = make_page(1 << 59, time_stamp(far % (1 << 59)), data_event(free_payload(4), 2))
    _, chunks = decode(tmp_path, page, stamped)
    (chunk,) = chunks
    at = 1005 + (2 << 27) + 10
    assert chunk.ts.tolist() == [1005, at, at + 4, far + 2]
    assert chunk.pfn.tolist() == [1, 2, 3, 4]
    assert chunk.pid.tolist() == [7] * 4


def test_null_padding_ends_a_page(tmp_path: Path) -> None:
    page = make_page(5, data_event(free_payload(1)), (29).to_bytes(4, "little"), data_event(free_payload(2)))
    _, chunks = decode(tmp_path, page)
    assert chunks[0].pfn.tolist() == [1]


def test_missed_events_are_counted(tmp_path: Path) -> None:
    event = data_event(free_payload(1))
    stored = make_page(1, event, flags=3 << 30, tail=(17).to_bytes(8, "little"))
    unknown = make_page(2, event, flags=1 << 31)
    reader, _ = decode(tmp_path, make_page(0, event), stored, unknown)
    assert (reader.missed, reader.gaps) == (17, 1)


def test_events_without_a_format_are_counted(tmp_path: Path) -> None:
    page = make_page(1, data_event(free_payload(1, ident=5)), data_event(free_payload(2)))
    reader, chunks = decode(tmp_path, page)
    assert reader.unknown == 1
    assert chunks[0].pfn.tolist() == [2]


def test_large_sub_buffers(tmp_path: Path) -> None:
    pages = [make_page(i, *[data_event(free_payload(i))] * 500, size=16384) for i in range(3)]
    _, chunks = decode(tmp_path, *pages, page_bytes=16384)
    assert sum(c.rows for c in chunks) == 1500


@pytest.mark.parametrize(
    ("pages", "words"),
    [
        ([make_page(1, flags=5000)], "more data than it holds"),
        ([make_page(1, data_event(free_payload(1))[:12])], "past the end"),
        ([make_page(1, data_event(free_payload(1)[:16]))], "shorter than its format"),
        ([make_page(1, (0).to_bytes(8, "little"))], "past the end"),
        ([make_page(9 + (1 << 30), data_event(free_payload(1))), make_page(8)], "time runs backwards"),
        ([make_page(9 + (1 << 30), time_stamp(3))], "time runs backwards"),
        ([make_page(1 << 62)], "not believable"),
        ([make_page(1)[:-8]], "truncated"),
    ],
)
def test_corrupted_pages_are_refused(tmp_path: Path, pages: list[bytes], words: str) -> None:
    with pytest.raises(KevacuateError, match=words) as error:
        decode(tmp_path, *pages)
    assert "cpu0.raw" in str(error.value)
    assert "byte" in str(error.value)


def test_error_names_the_offset_of_a_later_page(tmp_path: Path) -> None:
    good = make_page(1, data_event(free_payload(1)))
    with pytest.raises(KevacuateError, match=f"near byte {4096 * 300 + 16}:"):
        decode(tmp_path, *[good] * 300, make_page(1, flags=5000))


def test_missing_field_and_odd_fields_are_refused() -> None:
    lacking = parse_format(FREE_FORMAT.replace("order;", "size;"))
    with pytest.raises(KevacuateError, match="has no field order"):
        decoding({266: lacking}, ALL_KINDS)
    wide = parse_format(FREE_FORMAT.replace("offset:16;\tsize:4", "offset:16;\tsize:3"))
    with pytest.raises(KevacuateError, match="where no field of a number can be"):
        decoding({266: wide}, ALL_KINDS)


def test_an_event_of_compaction_may_lack_a_field(tmp_path: Path) -> None:
    text = FREE_FORMAT.replace("mm_page_free", "mm_compaction_migratepages").replace("266", "300")
    page = make_page(1, data_event(free_payload(1, ident=300)), data_event(free_payload(2)))
    recording = Recording.open(write_raw_dir(tmp_path / "x", page, formats=(FREE_FORMAT, text)))
    assert [c.pfn.tolist() for c in recording.events()] == [[2]]
    made = decoding({300: parse_format(text)}, ALL_KINDS)
    assert list(made.unreadable) == [300]
    assert [loss.unknown for loss in recording.losses] == [1]


def test_gfp_bits_are_moved_to_those_of_72(tmp_path: Path) -> None:
    formats = load_formats(RAW_1CPU / "formats")
    alloc = next(e for e in formats.values() if e.name == "mm_page_alloc")
    text = alloc.text.replace('<< (22))), "__GFP_ACCOUNT"', '<< (25))), "__GFP_ACCOUNT"')
    text = text.replace('<< (3))), "__GFP_MOVABLE"', '<< (9))), "__GFP_MOVABLE"')
    assert text != alloc.text
    payload = bytearray(40)
    payload[0:2] = alloc.id.to_bytes(2, "little")
    payload[24:32] = (1 << 25 | 1 << 9 | 1 << 6).to_bytes(8, "little")
    file = tmp_path / "cpu0.raw"
    file.write_bytes(make_page(0, data_event(bytes(payload))))
    (chunk,) = RawReader(file, 0, decoding({alloc.id: parse_format(text)}, ALL_KINDS)).chunks(10)
    assert chunk.gfp.tolist() == [1 << 22 | 1 << 3 | 1 << 6]


def pte_pfn(pte: int, order: int) -> int:
    function = getattr(dc.pte_pfn, "py_func", dc.pte_pfn)
    return int(function(pte, order))


@pytest.mark.parametrize("pfn", [0, 1, 0x12345, (1 << 34) - 1])
def test_pte_pfn(pfn: int) -> None:
    present = pfn << 12 | 0x8000000000000067 - (1 << 64)
    assert pte_pfn(present, 0) == pfn
    offset = pfn | 1 << 34  # the young bit
    migration = (30 << 59) | ((~offset << 14 & (1 << 64) - 1) >> 5)
    signed = migration - (1 << 64) if migration >= 1 << 63 else migration
    assert pte_pfn(signed & ~0x1FF, 0) == pfn
    protnone = ~(pfn << 12) & ((1 << 52) - 1) & ~0xFFF | 0x100
    assert pte_pfn(protnone, 0) == pfn
    assert pte_pfn(0, 0) == -1


def test_pte_pfn_of_a_huge_page_drops_the_pat_bit() -> None:
    assert pte_pfn((512 << 12) | (1 << 12) | 0x81, 9) == 512


def test_watermark_events_name_their_zone(tmp_path: Path) -> None:
    text = FREE_FORMAT.split("\tfield:unsigned long pfn")[0].replace(
        "mm_page_free", "mm_setup_per_zone_wmarks"
    )
    text += "\tfield:int node_id;\toffset:8;\tsize:4;\tsigned:1;\n"
    text += "\tfield:__data_loc char[] name;\toffset:12;\tsize:4;\tsigned:0;\n"
    for i, mark in enumerate(("min", "low", "high", "promo")):
        text += f"\tfield:unsigned long watermark_{mark};\toffset:{16 + 8 * i};\tsize:8;\tsigned:0;\n"
    text += '__print_symbolic(REC->idx, {0, "DMA32"}, {1, "Normal"})'
    payload = (
        bytearray(free_payload(0)[:8]) + (0).to_bytes(4, "little") + (48 | 7 << 16).to_bytes(4, "little")
    )
    payload += b"".join(v.to_bytes(8, "little") for v in (10, 20, 30, 40)) + b"Normal\0\0"
    directory = write_raw_dir(tmp_path / "x", make_page(0, data_event(bytes(payload))), formats=(text,))
    (chunk,) = Recording.open(directory).events()
    assert chunk.order.tolist() == [1]
    assert [int(x[0]) for x in (chunk.pfn, chunk.mt, chunk.a, chunk.b, chunk.c, chunk.d)] == [
        -1,
        0,
        10,
        20,
        30,
        40,
    ]
