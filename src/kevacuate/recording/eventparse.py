# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading printed events: the text after ``EVENT:`` of a trace line, as columns.

Both shapes are read: the kernel's print format (``page=... pfn=0x1a order=0 migratetype=1 gfp_flags=GFP_KERNEL``)
and raw fields, as ``trace-cmd report -R`` or the trace option ``fields`` show them (``pfn=0x1a order=0x0 (0)``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kevacuate.kernel import compaction, events, gfp, migrate, migratetypes
from kevacuate.kernel.hooks import OF_A_PAGE
from kevacuate.kernel.versions import ANY_KERNEL, KernelRange
from kevacuate.recording.decode import pte_pfn
from kevacuate.recording.eventtext import (
    NO_WRITEBACK,
    PACKED,
    PRINTED,
    PRINTED_PAGE_SHIFT,
    SYMBOLS,
    WRITEBACK,
    Place,
    places,
)
from kevacuate.recording.gfptext import gfp_value
from kevacuate.recording.schema import EVENT_SPECS, GFP_MASK, NO_PFN, VALUE_COLUMNS, EventKind, field_names

DEFAULT_ZONES = ("DMA", "DMA32", "Normal", "Movable", "Device")
"""Zone names by index of a usual x86-64 kernel: printed lines show names, and the file has no table of them."""

HIGHMEM_ZONES = ("DMA", "Normal", "HighMem", "Movable", "Device")
"""Those of a usual 32-bit kernel, whose lines name the zone HighMem."""

_entry_pfn = getattr(pte_pfn, "py_func", pte_pfn)
_PAIRS = re.compile(r"(\w++)=([^\s,]++)(?: \((-?\d++)\))?")
_SLAB = re.compile(
    r"\b(nid|objects to shrink|gfp_flags|cache items|total_scan|priority|unused scan count|new scan count"
    r"|last shrinker return val):? (\S++)()"
)
_RANGE = re.compile(r"range=\((\S+) ~ (\S+)\)")
_NULL = re.compile(r"page=\s*(?:\(nil\)|\(null\)|<null>|NULL|(?:0x)?0{1,16})(?:\s|$)")
"""A page pointer that is none, as kernels, perf and trace-cmd print it; until Linux 5.1 right-aligned behind blanks."""
_NO_PFN_32 = (1 << 32) - 1
_COLUMN_BITS = {"order": 8, "mt": 8, "gfp": 32}
_OF_A_FILE = re.compile(r"\bdev[ =](\d++):(\d++) ino[ =](?:0x)?([0-9a-f]++) .*?\bofs=(\d++)(?:-(\d++))?")
_PFN, _A, _B, _C, _D = (VALUE_COLUMNS.index(name) for name in ("pfn", "a", "b", "c", "d"))
_C_HIGH = len(VALUE_COLUMNS)
_MAX_DIGITS, _MOST_UNKNOWN = 24, 64


class _Use(NamedTuple):
    """What is done with the value behind a label."""

    slot: int
    parse: Callable[[str], int]


class Names:
    """How one kernel's names and numbers are read; names that Linux 7.2 does not have are kept in ``unknown``.

    Parameters
    ----------
    bits : int array, optional
        How GFP flags that are printed as a number become those of Linux 7.2 (:func:`.formats.gfp_table`).
    kernel : KernelRange, optional
        What is known of the kernel's version.

    """

    def __init__(self, bits: npt.NDArray[np.int64] | None = None, kernel: KernelRange = ANY_KERNEL) -> None:
        self.unknown: set[str] = set()
        self.numbers = False
        """Whether GFP flags were numbers, without a table of what their bits mean: read as those of Linux 7.2."""
        self.numbers_not_read = 0
        """Events whose GFP flags were numbers of an older kernel, which one is not known: stored as 0."""
        self.results_not_read = 0
        """Results of compaction that were such numbers: stored as -1."""
        self.kernel = kernel
        self._bits = None if bits is None else bits.tolist()
        self._conversion, self._contested = _number_reader(kernel) if bits is None else (None, 0)
        self._seen: dict[str, int | None] = {}

    def named(self, values: dict[str, int], numbers: Mapping[int, int] | None = None) -> Callable[[str], int]:
        """A reader of names or numbers; a name that is not known is -1, as is a number that *numbers* does not have."""

        def read(text: str) -> int:
            if text in values:
                return values[text]
            if text[:1].isdigit() or text[:1] == "-":
                number = _number(text)
                if numbers is None:
                    return number
                self.results_not_read += numbers.get(number, -1) < 0
                return numbers.get(number, -1)
            self._unknown(text)
            return -1

        return read

    def _unknown(self, *names: str) -> None:
        if len(self.unknown) < _MOST_UNKNOWN:
            self.unknown.update(name[:40] for name in names[:_MOST_UNKNOWN])

    def gfp(self, text: str) -> int:
        """The GFP flags of a text; those that are not known are dropped."""
        if text not in self._seen:
            if len(self._seen) > 1 << 16:
                self._seen.clear()
            self._seen[text] = self._gfp(text)
        found = self._seen[text]
        self.numbers_not_read += found is None
        return found or 0

    def _gfp(self, text: str) -> int | None:
        if text[:1].isdigit():
            return self._flags(_number(text))
        found, unknown = gfp_value(text, self.kernel.last, self._unnamed)
        self._unknown(*unknown)
        return found

    def _unnamed(self, flags: int) -> int | None:
        """The stored flags of bits that stand as a number behind names, None if their meaning is not known.

        Kernels until 4.5 had no name for some: 3.10 prints __GFP_MEMALLOC as 0x2000, which is __GFP_NOWARN in Linux 7.2.
        """
        if self._bits is not None:
            return (self._flags(flags) or 0) & ~int(self._bits[32])
        if self._conversion is None:
            return flags
        return None if flags & self._contested else self._conversion.single(flags)

    def _flags(self, flags: int) -> int | None:
        """The stored flags of a number, None if its bits are those of a kernel that is not known."""
        if self._bits is not None:
            result: int = self._bits[32]
            for bit in range(32):
                result ^= self._bits[bit] if flags >> bit & 1 else 0
            return result
        if self._conversion is not None:
            return None if flags & self._contested else self._conversion.convert(flags)
        self.numbers = self.numbers or flags != 0
        return flags & GFP_MASK


def _number_reader(kernel: KernelRange) -> tuple[gfp.Conversion | None, int]:
    """What converts flags of the kernel that are numbers, and the bits whose meaning is not known; None: those of Linux 7.2."""
    if kernel.last is None:
        return None, 0
    bits, contested = gfp.bits_between(kernel.first, kernel.last)
    return gfp.conversion(bits), contested


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
    if form in ("page", "block", "smaller", "dev", "ino", "ofs", "end"):
        return None
    numbers = {"status": _results(names.kernel)}
    if form in SYMBOLS:
        return names.named(
            {name: value for value, name in SYMBOLS[form].items()} | _OLD_NAMES.get(form, {}),
            numbers.get(form),
        )
    return plain.get(form, _number)


_OLD_NAMES = {
    "status": {old: compaction.RESULTS.index(new) for old, new in compaction.LATER_NAMES.items()},
    "reason": {old: migrate.REASONS.index(new) for old, new in migrate.LATER_NAMES.items()},
}
"""Old names of numbers, by form."""


def _results(kernel: KernelRange) -> dict[int, int] | None:
    """Stored result of compaction by the kernel's own number, as far as all kernels that it can be agree; None: as Linux 7.2."""
    if kernel.last is None:
        return None
    table = compaction.table(kernel.first, kernel.last)
    return {} if table is None else dict(enumerate(table.tolist()))


def _types(kernel: KernelRange) -> dict[int, int] | None:
    """Stored migratetype by the kernel's own number; None where they are the same."""
    table = migratetypes.table(kernel.last)
    if table is None or migratetypes.is_identity(kernel.last):
        return None
    return dict(enumerate(table.tolist()))


def _type_reader(numbers: dict[int, int]) -> Callable[[str], int]:
    return lambda text: numbers.get(_number(text), -1)


_TYPE_COLUMNS: dict[EventKind, tuple[str, ...]] = {
    EventKind.MM_PAGE_ALLOC: ("mt",),
    EventKind.MM_PAGE_ALLOC_ZONE_LOCKED: ("mt",),
    EventKind.MM_PAGE_PCPU_DRAIN: ("mt",),
    EventKind.MM_PAGE_ALLOC_EXTFRAG: ("mt", "b"),
}
"""Columns that hold a migratetype of the kernel's."""


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
        self.name, self.kind, self.spec = name, int(spec.kind), spec
        self.uses: dict[str, _Use] = {}
        self.needed: set[int] = set()
        self.packed: dict[str, tuple[int, int, int]] = {}
        """Label to column, lowest bit and bits of a field that shares its column with others."""
        self.default = [NO_PFN, *[0] * len(VALUE_COLUMNS)]
        types = _types(names.kernel)
        self.types = _type_reader(types) if types is not None else None
        for place in places(PRINTED[name]):
            self._add(place, zones, names)
        for column, field in spec.fields.items():
            for label in field_names(name, spec.field(column)):
                self._add_field(column, label, zones, names, field.startswith("@"))
        for old, new in events.LABELS.get(name, {}).items():
            self.uses.setdefault(old, self.uses[new])
        self.pairs = _SLAB if name.startswith("mm_shrink_slab") else _PAIRS
        self.finish = _FINISH.get(spec.kind)

    def _slot(self, column: str, parse: Callable[[str], int], label: str, slot: int | None = None) -> None:
        bits = _COLUMN_BITS.get(column, 64)
        if self.types is not None and column in _TYPE_COLUMNS.get(self.spec.kind, ()):
            parse = self.types
        use = _Use(
            VALUE_COLUMNS.index(column) if slot is None else slot, _wrapped(parse, bits, column != "gfp")
        )
        self.uses.setdefault(label, use)

    def _add(self, place: Place, zones: dict[str, int], names: Names) -> None:
        """A value of the print format."""
        if place.form in PACKED:
            self.packed[place.label] = (VALUE_COLUMNS.index(place.column), *PACKED[place.form])
            return
        parse = _parser(place.form, zones, names)
        if parse is None:
            return
        slot, missing = VALUE_COLUMNS.index(place.column), self.spec.missing(place.column)
        if missing is not None and place.form != "high":
            self.default[slot] = missing
        if place.label in ("range=", "~"):
            return
        self._slot(place.column, parse, place.label, _C_HIGH if place.form == "high" else None)
        if not place.optional and missing is None:
            self.needed.add(self.uses[place.label].slot)

    def _add_field(self, column: str, field: str, zones: dict[str, int], names: Names, zone: bool) -> None:
        """A field of the format file, where it bears another name than the print format gives it."""
        if "|" in field:
            return
        pte = field == "pte"
        parse = names.named(zones) if zone else names.gfp if column == "gfp" else _hex if pte else _number
        self._slot(column, parse, field)

    def _pack(self, row: list[int], label: str, value: int) -> None:
        """Put a field's value to those that it shares its column with."""
        slot, shift, width = self.packed[label]
        whole = row[slot] | (value & (1 << width) - 1) << shift
        row[slot] = (whole & (1 << 64) - 1 ^ 1 << 63) - (1 << 63)

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
            if label in self.packed:
                self._pack(row, label, _number(decimal or value))
        if self.finish is not None:
            self.finish(row, body, needed)
        if needed:
            names = [(*VALUE_COLUMNS, "b")[slot] for slot in sorted(needed)]
            raise ValueError(f"{self.name} without its {names[0]}")
        return row


def _finish_given(row: list[int], body: str, needed: set[int]) -> None:
    """A failed allocation prints pfn 0 of no page, or the pfn -1 of a 32-bit kernel as it is."""
    if row[_PFN] == _NO_PFN_32 or (row[_PFN] == 0 and _NULL.search(body)):
        row[_PFN] = NO_PFN


def _finish_range(row: list[int], body: str, needed: set[int]) -> None:
    found = _RANGE.search(body)
    if found:
        row[_PFN], row[_A] = (((_number(x) & (2**64 - 1)) ^ 2**63) - 2**63 for x in found.groups())


def _finish_entry(row: list[int], body: str, needed: set[int]) -> None:
    row[_PFN] = _entry_pfn(row[_PFN], row[VALUE_COLUMNS.index("order")])


def _finish_rmq(row: list[int], body: str, needed: set[int]) -> None:
    row[_PFN] = row[_C] if row[_A] in OF_A_PAGE else NO_PFN


def _finish_dump(row: list[int], body: str, needed: set[int]) -> None:
    row[_C] = (row[_C] & 0xFF) | (row[_C_HIGH] << 8)


def _finish_file(row: list[int], body: str, needed: set[int]) -> None:
    """Device, inode and pages of a file; in a line of raw fields they have been read already."""
    found = _OF_A_FILE.search(body)
    if found is None:
        if "i_ino=" not in body:
            raise ValueError("without its file")
        return
    major, minor, first, last = (_number(found[i] or "0") for i in (1, 2, 4, 5))
    row[_A] = ((int(found[3], 16) & (2**64 - 1)) ^ 2**63) - 2**63
    row[_B] = (major << 20 | minor) & 0xFFFFFFFF
    row[_C] = first >> PRINTED_PAGE_SHIFT
    row[_D] = last >> PRINTED_PAGE_SHIFT


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
    EventKind.MM_FILEMAP_ADD_TO_PAGE_CACHE: _finish_file,
    EventKind.MM_FILEMAP_DELETE_FROM_PAGE_CACHE: _finish_file,
    EventKind.MM_FILEMAP_GET_PAGES: _finish_file,
    EventKind.MM_FILEMAP_FAULT: _finish_file,
    EventKind.MM_FILEMAP_MAP_PAGES: _finish_file,
}


def event_parsers(zones: tuple[str, ...], names: Names) -> dict[str, EventParser]:
    """Event name, old names included, to its parser, for all events that a recording keeps."""
    by_name = {name: i for i, name in enumerate(zones)}
    parsers = {name: EventParser(name, by_name, names) for name in EVENT_SPECS}
    return parsers | {old: parsers[renamed.name] for old, renamed in events.EVENTS.items()}
