# SPDX-License-Identifier: GPL-2.0-or-later
"""A second, slow decoder of raw sub-buffers in plain Python, and a maker of sub-buffers for tests."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from kevacuate.recording.formats import EventFormat
from kevacuate.recording.schema import EVENT_SPECS, EventKind

DATA = Path(__file__).parent.parent / "data"
RAW_1CPU = DATA / "raw-1cpu"
RAW_2CPU = DATA / "raw-2cpu"


class RefError(Exception):
    """The sub-buffer is not what the format says."""


def ref_payloads(page: bytes) -> Iterator[tuple[int, bytes]]:
    """Time and payload of every data event of one sub-buffer."""
    time = int.from_bytes(page[0:8], "little")
    commit = int.from_bytes(page[8:16], "little") % (1 << 27)
    if commit > len(page) - 16:
        raise RefError
    data = page[16 : 16 + commit]
    while data:
        head = int.from_bytes(data[:4], "little")
        type_len, delta = head % 32, head // 32
        second = int.from_bytes(data[4:8], "little")
        if type_len == 29 and delta == 0:
            return
        if type_len == 30:
            time, data = time + delta + second * (1 << 27), data[8:]
        elif type_len == 31:
            low = delta + second * (1 << 27)
            time, data = time // (1 << 59) * (1 << 59) + low, data[8:]
        elif type_len == 29:
            time, data = time + delta, data[4 + second :]
        elif type_len == 0:
            time += delta
            yield time, data[8 : 4 + second]
            data = data[4 + second :]
        else:
            time += delta
            yield time, data[4 : 4 + 4 * type_len]
            data = data[4 + 4 * type_len :]


def ref_number(payload: bytes, event: EventFormat, name: str) -> int:
    """A field's value (``x|y`` as the two bytes)."""
    first = event.field(name.split("|", maxsplit=1)[0])
    assert first is not None
    size = 2 if "|" in name else first.size
    signed = first.signed and "|" not in name
    return int.from_bytes(payload[first.offset : first.offset + size], "little", signed=signed)


def ref_row(payload: bytes, event: EventFormat) -> dict[str, int]:
    """The columns that the event fills; wide unsigned values as int64."""
    spec = EVENT_SPECS[event.name]
    row = {"kind": int(spec.kind), "pfn": -1, "order": 0, "mt": 0, "gfp": 0, "a": 0, "b": 0, "c": 0, "d": 0}
    row["pid"] = int.from_bytes(payload[4:8], "little", signed=True)
    for column, field in spec.fields.items():
        value = ref_number(payload, event, field.rstrip("?"))
        if column == "gfp":
            value %= 1 << 23
        row[column] = value - (1 << 64) if value >= 1 << 63 else value
    if spec.kind == EventKind.GT_RMQ and row["a"] not in (3, 4, 5):
        row["pfn"] = -1
    return row


def ref_decode(data: bytes, formats: dict[int, EventFormat], page_bytes: int = 4096) -> list[dict[str, int]]:
    """All rows of a raw file whose events are known."""
    rows = []
    for at in range(0, len(data), page_bytes):
        for time, payload in ref_payloads(data[at : at + page_bytes]):
            event = formats.get(int.from_bytes(payload[:2], "little"))
            if event is not None and event.name in EVENT_SPECS:
                rows.append({"ts": time} | ref_row(payload, event))
    return rows


FREE_FORMAT = """name: mm_page_free
ID: 266
format:
	field:unsigned short common_type;	offset:0;	size:2;	signed:0;
	field:unsigned char common_flags;	offset:2;	size:1;	signed:0;
	field:unsigned char common_preempt_count;	offset:3;	size:1;	signed:0;
	field:int common_pid;	offset:4;	size:4;	signed:1;

	field:unsigned long pfn;	offset:8;	size:8;	signed:0;
	field:unsigned int order;	offset:16;	size:4;	signed:0;

print fmt: "pfn=0x%lx order=%d", REC->pfn, REC->order
"""


def free_payload(pfn: int, order: int = 0, pid: int = 7, ident: int = 266) -> bytes:
    """An mm_page_free event (with the format's tail padding)."""
    return struct.pack("<HBBiQIxxxx", ident, 0, 0, pid, pfn, order)


def data_event(payload: bytes, delta: int = 0, *, long: bool = False) -> bytes:
    """A data event, its length in type_len or (*long*) in a word of its own."""
    if long:
        return struct.pack("<II", delta << 5, len(payload) + 4) + payload
    return struct.pack("<I", delta << 5 | len(payload) // 4) + payload


def time_extend(delta: int) -> bytes:
    """A time extend event."""
    return struct.pack("<II", (delta % (1 << 27)) << 5 | 30, delta >> 27)


def time_stamp(time: int) -> bytes:
    """An absolute time stamp event."""
    return struct.pack("<II", (time % (1 << 27)) << 5 | 31, time >> 27 & 0xFFFFFFFF)


def padding(words: int, delta: int = 1) -> bytes:
    """A discarded event of that many words after its head."""
    return struct.pack("<II", delta << 5 | 29, 4 * words) + bytes(4 * (words - 1))


def make_page(time: int, *events: bytes, flags: int = 0, tail: bytes = b"", size: int = 4096) -> bytes:
    """A sub-buffer; *tail* follows the data, as the count of missed events does."""
    data = b"".join(events)
    return (struct.pack("<QQ", time, len(data) | flags) + data + tail).ljust(size, b"\0")


def write_raw_dir(path: Path, *cpus: bytes, formats: tuple[str, ...] = (FREE_FORMAT,)) -> Path:
    """A directory with raw files and formats."""
    (path / "trace").mkdir(parents=True)
    (path / "formats" / "kmem").mkdir(parents=True)
    for i, text in enumerate(formats):
        (path / "formats" / "kmem" / f"event{i}").write_text(text)
    for cpu, data in enumerate(cpus):
        (path / "trace" / f"cpu{cpu}.raw").write_bytes(data)
    return path
