# SPDX-License-Identifier: GPL-2.0-or-later
"""The tracefs ``format`` files: event ids, fields, and the names of the GFP bits of the recorded kernel.

Everything is taken apart with regular expressions; nothing that a file says is ever executed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kevacuate.errors import KevacuateError
from kevacuate.recording.schema import GFP_BITS

_ID = re.compile(r"^ID:\s*(\d{1,5})\s*$", re.MULTILINE)
_NAME = re.compile(r"^name:\s*(\w{1,128})\s*$", re.MULTILINE)
_FIELD = re.compile(
    r"field:\s*([^;\n]{1,200}?)\s*;\s*offset:\s*(\d{1,5});\s*size:\s*(\d{1,5});(?:\s*signed:\s*([01]);)?"
)
_DECLARATOR = re.compile(r"(\w+)\s*(?:\[[^\]]*\])?$")
_FLAG_NAME = re.compile(r'"(__GFP_\w{1,40})"')
_SHIFT = re.compile(r"<<\s*\(*\s*(\d{1,2})\s*\)")
_HEX = re.compile(r"\b0x([0-9a-fA-F]{1,16})")
_ZONE_TABLE = re.compile(
    r"__print_symbolic\(REC->(?:idx|highest_zoneidx),\s*((?:\{\d+, \"\w+\"\}(?:, )?)+)\)"
)
_ZONE_ENTRY = re.compile(r'\{(\d+), "(\w+)"\}')
_MAX_FORMAT_BYTES = 1 << 20


@dataclass(frozen=True)
class FieldFormat:
    """One field of an event's payload: name, byte offset, bytes, whether signed, and the C declaration."""

    name: str
    offset: int
    size: int
    signed: bool
    declaration: str


@dataclass(frozen=True)
class EventFormat:
    """One event as the recorded kernel described it; ``text`` is the whole format file."""

    name: str
    system: str
    id: int
    fields: tuple[FieldFormat, ...]
    text: str

    def field(self, name: str) -> FieldFormat | None:
        """The field of that name, or None."""
        return next((f for f in self.fields if f.name == name), None)

    @property
    def size(self) -> int:
        """Bytes that a payload has at least."""
        return max((f.offset + f.size for f in self.fields), default=0)


def parse_format(text: str, system: str = "", where: str = "a format file") -> EventFormat:
    """Take one format file apart.

    Raises
    ------
    KevacuateError
        If it has no name, no id or no fields.

    """
    name, ident = _NAME.search(text), _ID.search(text)
    fields = []
    for match in _FIELD.finditer(text):
        declarator = _DECLARATOR.search(match[1])
        if declarator:
            fields.append(FieldFormat(declarator[1], int(match[2]), int(match[3]), match[4] == "1", match[1]))
    if name is None or ident is None or not fields or int(ident[1]) > 0xFFFF:
        raise KevacuateError(f"{where} is not a tracefs format file: no name, ID or fields; copy it again.")
    return EventFormat(name[1], system, int(ident[1]), tuple(fields), text)


def read_text(path: Path, limit: int = _MAX_FORMAT_BYTES) -> str:
    """A small text file, at most *limit* bytes.

    Raises
    ------
    KevacuateError
        If it cannot be read or is larger.

    """
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise KevacuateError(f"{path} cannot be read: {error.strerror or error}.") from None
    if len(data) > limit:
        raise KevacuateError(f"{path} is larger than {limit} bytes, which no such file is.")
    return data.decode("utf-8", "replace")


def load_formats(directory: Path) -> dict[int, EventFormat]:
    """All ``SYSTEM/EVENT`` format files below *directory*, by event id.

    ``EVENT`` may be the format file itself or, as in tracefs, a directory that holds ``format``.
    """
    formats: dict[int, EventFormat] = {}
    for path in sorted(directory.glob("*/*")):
        file = path / "format" if path.is_dir() else path
        if not file.is_file():
            continue
        event = parse_format(read_text(file), path.parent.name, str(file))
        if event.id in formats:
            other = formats[event.id]
            raise KevacuateError(f"{file} has the same event ID {event.id} as {other.system}/{other.name}.")
        formats[event.id] = event
    if not formats:
        raise KevacuateError(f"{directory} holds no event format files; without them events have no meaning.")
    return formats


def gfp_bits(event: EventFormat) -> dict[str, int]:
    """Names of the single ``__GFP_`` bits in the event's print fmt, with the bit numbers of that kernel."""
    bits: dict[str, int] = {}
    begin = event.text.find("__print_flags(")
    if begin < 0:
        return bits
    text = event.text[begin:]
    last = 0
    for match in _FLAG_NAME.finditer(text):
        entry = text[last : match.start()]
        entry = entry[entry.rfind("{") + 1 :]
        last = match.end()
        found = [int(shift) for shift in _SHIFT.findall(entry)]
        found += [
            v.bit_length() - 1 for v in (int(h, 16) for h in _HEX.findall(entry)) if v & (v - 1) == 0 and v
        ]
        whole = [h for h in _HEX.findall(entry) if int(h, 16).bit_count() != 1]
        if len(found) == 1 and not whole and found[0] < 64:
            bits[match[1]] = found[0]
    return bits


def gfp_table(bits: dict[str, int]) -> npt.NDArray[np.int64]:
    """Where each recorded GFP bit goes: array int64[32], bit number of Linux 7.2 or -1 (dropped)."""
    table = np.full(32, -1, np.int64)
    for name, bit in bits.items():
        if bit < 32 and name in GFP_BITS:
            table[bit] = GFP_BITS[name]
    return table


def zone_names(formats: dict[int, EventFormat]) -> tuple[str, ...]:
    """The kernel's zone names in the order of their index, from a print fmt; () if none lists them."""
    for event in sorted(formats.values(), key=lambda e: e.id):
        table = _ZONE_TABLE.search(event.text)
        if table:
            entries = {int(i): name for i, name in _ZONE_ENTRY.findall(table[1])}
            if sorted(entries) == list(range(len(entries))):
                return tuple(entries[i] for i in range(len(entries)))
    return ()
