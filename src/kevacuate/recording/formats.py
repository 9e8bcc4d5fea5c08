# SPDX-License-Identifier: GPL-2.0-or-later
"""The tracefs ``format`` files: event ids, fields, and the names of the GFP bits of the recorded kernel.

Everything is taken apart with regular expressions; nothing that a file says is ever executed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kevacuate.errors import KevacuateError, failing
from kevacuate.kernel import gfp
from kevacuate.recording.printfmt import flags, symbols
from kevacuate.recording.schema import GFP_BITS, event_spec

_ID = re.compile(r"^ID:\s*(\d{1,5})\s*$", re.MULTILINE)
_NAME = re.compile(r"^name:\s*(\w{1,128})\s*$", re.MULTILINE)
_FIELD = re.compile(
    r"field:\s*([^;\n]{1,200}?)\s*;\s*offset:\s*(\d{1,5});\s*size:\s*(\d{1,5});(?:\s*signed:\s*([01]);)?"
)
_DECLARATOR = re.compile(r"(\w+)\s*(?:\[[^\]]*\])?$")
_MAX_FORMAT_BYTES = 1 << 20
_ZONE_BITS = {name: GFP_BITS[name] for name in ("__GFP_DMA", "__GFP_HIGHMEM", "__GFP_DMA32", "__GFP_MOVABLE")}

_PRINTED_BITS = gfp.GFP_BITS.keys() | gfp.RENAMED.keys() | gfp.GONE | {gfp.WAIT, gfp.NO_KSWAPD}


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
    with failing(f"{path} cannot be read"), path.open("rb") as file:
        data = file.read(limit + 1)
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
    """Names of the single ``__GFP_`` bits in the event's print fmt, with the bit numbers of that kernel.

    Before Linux 4.6 the print fmt names them without underscores, as it does the composed flags (``GFP_ATOMIC`` is
    both in 4.4), and lacks __GFP_FS, which is the bit of GFP_KERNEL that bears no name. The zones' bits (0 to 3) are
    the same in every kernel since 2.6.24, and no print fmt names them all. {} if it names no flags.
    """
    named = flags(event.text)
    singles = {name: value.bit_length() - 1 for name, value in named if value.bit_count() == 1}
    bits = {name: bit for name, bit in singles.items() if name.startswith("__GFP_")}
    if not bits:
        plain = {gfp.printed_name(name): bit for name, bit in singles.items()}
        bits = {name: bit for name, bit in plain.items() if name in _PRINTED_BITS}
        if bits.get("__GFP_ATOMIC", -1) == bits.get("__GFP_HIGH"):
            bits.pop("__GFP_ATOMIC", None)
    rest = dict(named).get("GFP_KERNEL", 0) & ~sum(1 << bit for bit in set(bits.values()))
    if rest.bit_count() == 1:
        bits.setdefault("__GFP_FS", rest.bit_length() - 1)
    return _ZONE_BITS | bits if bits else {}


def kernel_gfp_bits(formats: Iterable[EventFormat]) -> dict[str, int]:
    """The recorded kernel's :func:`gfp_bits`: those that mm_page_alloc names, or else any other event."""
    for event in sorted(formats, key=lambda e: (e.name != "mm_page_alloc", e.id)):
        if event_spec(event.name) and (bits := gfp_bits(event)):
            return bits
    return {}


def gfp_table(bits: dict[str, int]) -> npt.NDArray[np.int64]:
    """How recorded GFP flags become those of Linux 7.2.

    Parameters
    ----------
    bits : dict
        Names and bit numbers of the recorded kernel (:func:`gfp_bits`).

    Returns
    -------
    int64[33]
        Element 32 is what to begin with, and element i the bits to flip where recorded bit i is set: 0 to drop it
        (:func:`kevacuate.kernel.gfp.conversion`, in which no bit of Linux 7.2 is set and cleared by different ones).

    """
    how = gfp.conversion(bits)
    return np.append(how.sets | (how.clears & how.base), how.base)


def zone_names(formats: dict[int, EventFormat]) -> tuple[str, ...]:
    """The kernel's zone names in the order of their index, from a print fmt; () if none lists them."""
    for event in sorted(formats.values(), key=lambda e: e.id):
        for field in ("idx", "highest_zoneidx", "classzone_idx"):
            numbers = symbols(event.text, field)
            if numbers and sorted(numbers.values()) == list(range(len(numbers))):
                return tuple(sorted(numbers, key=lambda name: numbers[name]))
    return ()
