# SPDX-License-Identifier: GPL-2.0-or-later
"""What ``trace-cmd report -R -t`` says of a trace.dat, taken apart without the package's own readers of text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from kevacuate.kernel.events import FIELDS
from kevacuate.recording import EventChunk, Machine
from kevacuate.recording.schema import COLUMN_TYPES, EVENT_SPECS, GFP_BITS, EventKind

LINE = re.compile(r"^(?:\S+: )? *(?:.*?)-(\d+) +\[(\d+)\] +(\d+)\.(\d{9}): (\w+): (.*)$")
FIELD = re.compile(r"(\w+)=(\S+)")
HEX_FIELDS = {"pte", "addr"}
COLUMNS = list(COLUMN_TYPES)


def report_number(name: str, text: str) -> int:
    """A field's value as int64."""
    value = int(text, 16) if text.startswith("0x") or name in HEX_FIELDS else int(text)
    return value - (1 << 64) if value >= 1 << 63 else value


def report_pfn(pte: int, order: int) -> int:
    """The pfn of an x86-64 migration entry (SWP_OFFSET inverted, 34 bits) or of a present entry."""
    raw = pte % (1 << 64)
    if raw == 0:
        return -1
    if raw & 0x101 == 0:
        return ((raw ^ ((1 << 64) - 1)) >> 9) % (1 << 34)
    if raw & 1 == 0:
        raw ^= (1 << 64) - 1
    pfn = (raw >> 12) % (1 << 40)
    return pfn >> order << order if order >= 9 else pfn


def report_gfp(flags: int, bits: dict[str, int]) -> int:
    """The flags in the bit numbers of Linux 7.2."""
    return sum(1 << GFP_BITS[name] for name, bit in bits.items() if name in GFP_BITS and flags >> bit & 1)


def report_row(event: str, fields: dict[str, str], machine: Machine) -> dict[str, int]:
    """The columns that an event's fields fill."""
    spec = EVENT_SPECS[event]
    row = {"kind": int(spec.kind), "pfn": -1, "order": 0, "mt": 0, "gfp": 0, "a": 0, "b": 0, "c": 0, "d": 0}
    for column, field in spec.fields.items():
        name, optional, default = field.partition("?")
        old = FIELDS.get(event, {})
        name = next((x for x in fields if x == name or old.get(x) == name), name)
        if name.startswith("@"):
            zone = fields[name[1:]]
            row[column] = machine.zone_names.index(zone) if zone in machine.zone_names else -1
        elif "|" in name:
            low, high = name.split("|")
            row[column] = int(fields[low]) | int(fields[high]) << 8
        elif name in fields or not optional:
            row[column] = report_number(name, fields[name])
        else:
            row[column] = int(default or row[column])
    row["gfp"] = report_gfp(row["gfp"], machine.gfp_bits)
    if "pte" in fields:
        row["pfn"] = report_pfn(row["pfn"], row["order"])
    if spec.kind == EventKind.GT_RMQ and row["a"] not in (3, 4, 5):
        row["pfn"] = -1
    return row


def report_rows(lines: Iterable[str], machine: Machine) -> Iterator[tuple[int, ...]]:
    """The events that a recording keeps, as rows of its table."""
    for line in lines:
        match = LINE.match(line)
        if match is None or match[5] not in EVENT_SPECS:
            continue
        row = report_row(match[5], dict(FIELD.findall(match[6])), machine)
        if row["kind"] == EventKind.GT_DUMP and row["a"] != 6:
            continue
        ts = int(match[3]) * 1_000_000_000 + int(match[4])
        row |= {"ts": ts, "cpu": int(match[2]), "pid": int(match[1])}
        yield tuple(row[column] for column in COLUMNS)


def compare_report(lines: Iterable[str], chunks: Iterable[EventChunk], machine: Machine) -> int:
    """Check that both say the same, event by event and field by field; the number of events."""
    rows, compared = report_rows(lines, machine), 0
    for chunk in chunks:
        for ours in zip(*(column.tolist() for column in chunk), strict=True):
            theirs = next(rows, None)
            assert ours == theirs, f"event {compared}: {ours} decoded, {theirs} reported"
            compared += 1
    assert next(rows, None) is None, "the report goes on"
    return compared
