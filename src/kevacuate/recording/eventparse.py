# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading printed events: the text after ``EVENT:`` of a trace line, as columns.

Both shapes are read: the kernel's print format (``page=... pfn=0x1a order=0 migratetype=1 gfp_flags=GFP_KERNEL``)
and raw fields, as ``trace-cmd report -R`` or the trace option ``fields`` show them (``pfn=0x1a order=0x0 (0)``).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kevacuate.recording.decode import pte_pfn
from kevacuate.recording.eventtext import NO_WRITEBACK, PRINTED, SYMBOLS, WRITEBACK, Place, places
from kevacuate.recording.gfptext import gfp_value
from kevacuate.recording.schema import EVENT_SPECS, GFP_MASK, NO_PFN, VALUE_COLUMNS, EventKind

DEFAULT_ZONES = ("DMA", "DMA32", "Normal", "Movable", "Device")
"""Zone names by index of a usual x86-64 kernel: printed lines show names, and the file has no table of them."""

_entry_pfn = getattr(pte_pfn, "py_func", pte_pfn)
_PAIRS = re.compile(r"(\w++)=([^\s,]++)(?: \((-?\d++)\))?")
_SLAB = re.compile(
    r"\b(nid|objects to shrink|gfp_flags|cache items|total_scan|priority|unused scan count|new scan count"
    r"|last shrinker return val):? (\S++)()"
)
_RANGE = re.compile(r"range=\((\S+) ~ (\S+)\)")
_NULL = re.compile(r"page=(?:\(nil\)|\(null\)|0{8,16})(?:\s|$)")
_COLUMN_BITS = {"order": 8, "mt": 8, "gfp": 32}
_PFN, _A, _C = (VALUE_COLUMNS.index(name) for name in ("pfn", "a", "c"))
_C_HIGH = len(VALUE_COLUMNS)
_MAX_DIGITS, _MOST_UNKNOWN = 24, 64


class _Use(NamedTuple):
    """What is done with the value behind a label."""

    slot: int
    parse: Callable[[str], int]


class Names:
    """Names read so far; those that Linux 7.2 does not have are kept in ``unknown``.

    Parameters
    ----------
    bits : int array, optional
        How GFP flags that are printed as a number become those of Linux 7.2 (:func:`.formats.gfp_table`).

    """

    def __init__(self, bits: npt.NDArray[np.int64] | None = None) -> None:
        self.unknown: set[str] = set()
        self.numbers = False
        """Whether GFP flags were numbers, without a table of what their bits mean."""
        self._bits = None if bits is None else bits.tolist()
        self._seen: dict[str, int] = {}

    def named(self, values: dict[str, int]) -> Callable[[str], int]:
        """A reader of names or numbers; a name that is not known is -1."""

        def read(text: str) -> int:
            if text in values:
                return values[text]
            if text[:1].isdigit() or text[:1] == "-":
                return _number(text)
            if len(self.unknown) < _MOST_UNKNOWN:
                self.unknown.add(text[:40])
            return -1

        return read

    def gfp(self, text: str) -> int:
        """The GFP flags of a text; those that are not known are dropped."""
        found = self._seen.get(text)
        if found is None:
            if len(self._seen) > 1 << 16:
                self._seen.clear()
            found, unknown = gfp_value(text) if not text[:1].isdigit() else (self._number(_number(text)), ())
            if len(self.unknown) < _MOST_UNKNOWN:
                self.unknown.update(name[:40] for name in unknown[:_MOST_UNKNOWN])
            self._seen[text] = found
        return found

    def _number(self, flags: int) -> int:
        if self._bits is None:
            self.numbers = self.numbers or flags != 0
            return flags & GFP_MASK
        result: int = self._bits[32]
        for bit in range(32):
            result ^= self._bits[bit] if flags >> bit & 1 else 0
        return result


def _number(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise ValueError
    return int(text, 16) if text[:2] == "0x" else int(text)


def _hex(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise ValueError
    return int(text, 16)


def _wrapped(parse: Callable[[str], int], bits: int, signed: bool) -> Callable[[str], int]:
    """The parser's value as a number of that many bits."""
    mask, top = (1 << bits) - 1, (1 << (bits - 1)) if signed else 0

    def wrapped(text: str) -> int:
        return ((parse(text) & mask) ^ top) - top

    return wrapped


def _limit(text: str) -> int:
    return _number(text).bit_length() - 1


def _writeback(text: str) -> int:
    values = {name: bit for bit, name in WRITEBACK.items()} | {NO_WRITEBACK: 0}
    return sum({values[name] if name in values else _number(name) for name in text.split("|")})


def _parser(form: str, zones: dict[str, int], names: Names) -> Callable[[str], int] | None:
    """How a value of that form is read; None if it says nothing that a column keeps."""
    plain: dict[str, Callable[[str], int]] = {
        "gfp": names.gfp, "zone": names.named(zones), "writeback": _writeback, "limit": _limit, "hex": _hex,
        "entry": _hex, "pte": _hex,
    }  # fmt: skip
    if form in ("page", "block", "smaller"):
        return None
    if form in SYMBOLS:
        return names.named({name: value for value, name in SYMBOLS[form].items()})
    return plain.get(form, _number)


class EventParser:
    """Reads the lines of one kind of event.

    Parameters
    ----------
    name : str
        The event's name, a key of EVENT_SPECS.
    zones : dict
        Zone name to index.
    names : Names
        The names read so far.

    """

    def __init__(self, name: str, zones: dict[str, int], names: Names) -> None:
        spec = EVENT_SPECS[name]
        self.name, self.kind = name, int(spec.kind)
        self.uses: dict[str, _Use] = {}
        self.needed: set[int] = set()
        for place in places(PRINTED[name]):
            self._add(place, zones, names)
        for column, field in spec.fields.items():
            for label in spec.names(column):
                self._add_field(column, label, zones, names, field.startswith("@"))
        self.pairs = _SLAB if name.startswith("mm_shrink_slab") else _PAIRS
        self.default = [NO_PFN, *[0] * len(VALUE_COLUMNS)]
        self.finish = _FINISH.get(spec.kind)

    def _slot(self, column: str, parse: Callable[[str], int], label: str, slot: int | None = None) -> None:
        bits = _COLUMN_BITS.get(column, 64)
        use = _Use(
            VALUE_COLUMNS.index(column) if slot is None else slot, _wrapped(parse, bits, column != "gfp")
        )
        self.uses.setdefault(label, use)

    def _add(self, place: Place, zones: dict[str, int], names: Names) -> None:
        """A value of the print format."""
        parse = _parser(place.form, zones, names)
        if parse is None:
            return
        if place.label in ("range=", "~"):
            self.needed.add(VALUE_COLUMNS.index(place.column))
            return
        self._slot(place.column, parse, place.label, _C_HIGH if place.form == "high" else None)
        if not place.optional:
            self.needed.add(self.uses[place.label].slot)

    def _add_field(self, column: str, field: str, zones: dict[str, int], names: Names, zone: bool) -> None:
        """A field of the format file, where it bears another name than the print format gives it."""
        if "|" in field:
            return
        pte = field == "pte"
        parse = names.named(zones) if zone else names.gfp if column == "gfp" else _hex if pte else _number
        self._slot(column, parse, field)

    def parse(self, body: str) -> list[int]:
        """The columns pfn, order, mt, gfp, a, b, c, d of a line (and one for internal use).

        Raises
        ------
        ValueError
            If a value is missing or cannot be read.

        """
        row = self.default.copy()
        needed = self.needed.copy()
        for label, value, decimal in self.pairs.findall(body) or _PAIRS.findall(body):
            use = self.uses.get(label)
            if use is not None:
                row[use.slot] = use.parse(decimal or value)
                needed.discard(use.slot)
        if self.finish is not None:
            self.finish(row, body, needed)
        if needed:
            names = [(*VALUE_COLUMNS, "b")[slot] for slot in sorted(needed)]
            raise ValueError(f"{self.name} without its {names[0]}")
        return row


def _finish_given(row: list[int], body: str, needed: set[int]) -> None:
    """A failed allocation prints pfn 0 of no page."""
    if row[_PFN] == 0 and _NULL.search(body):
        row[_PFN] = NO_PFN


def _finish_range(row: list[int], body: str, needed: set[int]) -> None:
    found = _RANGE.search(body)
    if found:
        row[_PFN], row[_A] = (((_number(x) & (2**64 - 1)) ^ 2**63) - 2**63 for x in found.groups())
        needed -= {_PFN, _A}


def _finish_entry(row: list[int], body: str, needed: set[int]) -> None:
    row[_PFN] = _entry_pfn(row[_PFN], row[VALUE_COLUMNS.index("order")])


def _finish_rmq(row: list[int], body: str, needed: set[int]) -> None:
    row[_PFN] = row[_C] if 3 <= row[_A] <= 5 else NO_PFN


def _finish_dump(row: list[int], body: str, needed: set[int]) -> None:
    row[_C] = (row[_C] & 0xFF) | (row[_C_HIGH] << 8)


_FINISH: dict[EventKind, Callable[[list[int], str, set[int]], None]] = {
    EventKind.MM_PAGE_ALLOC: _finish_given,
    EventKind.MM_PAGE_ALLOC_ZONE_LOCKED: _finish_given,
    EventKind.COMPACTION_ISOLATE_MIGRATEPAGES: _finish_range,
    EventKind.COMPACTION_ISOLATE_FREEPAGES: _finish_range,
    EventKind.COMPACTION_FAST_ISOLATE_FREEPAGES: _finish_range,
    EventKind.SET_MIGRATION_PTE: _finish_entry,
    EventKind.REMOVE_MIGRATION_PTE: _finish_entry,
    EventKind.GT_RMQ: _finish_rmq,
    EventKind.GT_DUMP: _finish_dump,
}


def event_parsers(zones: tuple[str, ...], names: Names) -> dict[str, EventParser]:
    """Event name to its parser, for all events that a recording keeps."""
    by_name = {name: i for i, name in enumerate(zones)}
    return {name: EventParser(name, by_name, names) for name in EVENT_SPECS}
