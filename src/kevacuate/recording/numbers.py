# SPDX-License-Identifier: GPL-2.0-or-later
"""Numbers of the recorded kernel that Linux 7.2 numbers otherwise: migratetypes, results of compaction, modes of migration.

The recorded kernel's own print fmt says which number has which name, and :mod:`kevacuate.kernel` which number recordings
have for the name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from kevacuate.kernel import compaction, gfp, migrate, migratetypes
from kevacuate.kernel.versions import Version, parse_version
from kevacuate.recording.eventtext import PRINTED, SYMBOLS, places
from kevacuate.recording.formats import EventFormat, kernel_gfp_bits
from kevacuate.recording.printfmt import symbols
from kevacuate.recording.schema import EVENT_SPECS, EventChunk, EventKind, event_name, event_spec, field_names

NOT_KNOWN = -1
"""What a number becomes that recordings have none for."""

_LISTS = {name: number for number, name in SYMBOLS["lru"].items()}
_STORED: dict[str, Callable[[str], int | None]] = {
    "status": compaction.stored_result,
    "reason": migrate.stored_reason,
    "mode": migrate.stored_mode,
    "lru": _LISTS.get,
}
"""Form of a printed value to what gives the stored number of its name."""

_STATUS_ARRAY = "compaction_status_string"
"""What Linux 4.0 to 4.3 print names from, which no file holds (mm/compaction.c)."""


class Mapping(NamedTuple):
    """What becomes of one column's numbers."""

    numbers: dict[int, int]
    """Recorded number to stored number."""
    gone: dict[int, str]
    """Recorded number to its name, of those that recordings have no number for."""

    @property
    def identity(self) -> bool:
        """Whether nothing is changed."""
        return all(old == new for old, new in self.numbers.items())


def _mapping(names: Iterable[tuple[str, int]], stored: Callable[[str], int | None]) -> Mapping:
    numbers, gone = dict[int, int](), dict[int, str]()
    for name, number in names:
        new = stored(name)
        numbers[number] = NOT_KNOWN if new is None else new
        if new is None:
            gone[number] = name
    return Mapping(numbers, gone)


def _own_names(event: EventFormat, field: str, form: str) -> dict[str, int]:
    """Name to number, as the recorded kernel has them; {} if its format file does not say."""
    if form == "status" and _STATUS_ARRAY in event.text:
        return {name: number for number, name in enumerate(compaction.results((4, 3)) or ())}
    return symbols(event.text, field)


def _named(event: EventFormat) -> dict[str, Mapping]:
    """Column to the mapping of its numbers, of the columns whose numbers the event names otherwise."""
    found: dict[str, Mapping] = {}
    spec = EVENT_SPECS[event_name(event.name)]
    for place in places(PRINTED[event_name(event.name)]):
        stored = _STORED.get(place.form)
        for field in field_names(event.name, spec.field(place.column)) if stored else ():
            own = _own_names(event, field, place.form)
            mapping = _mapping(own.items(), stored) if stored else Mapping({}, {})
            if not mapping.identity:
                found[place.column] = mapping
    return found


def _stored_migratetype(name: str) -> int | None:
    return migratetypes.NAMES.index(name) if name in migratetypes.NAMES else None


def _migratetypes_of(formats: list[EventFormat], release: str) -> Version | None:
    """The version whose migratetypes the kernel has: what its GFP bits prove, else its release; None if not known.

    The bit __GFP_WAIT and the old numbers ended together, with Linux 4.4.
    """
    version, bits = parse_version(release), kernel_gfp_bits(formats)
    if gfp.WAIT in bits:
        return min(version or migratetypes.SWAPPED_UNTIL, migratetypes.SWAPPED_UNTIL)
    return None if bits else version


class Numbers:
    """What becomes of the numbers of one recorded kernel.

    Parameters
    ----------
    formats : iterable of EventFormat
        Its format files.
    release : str
        Its release, "" if not known.

    """

    def __init__(self, formats: Iterable[EventFormat], release: str = "") -> None:
        every = list(formats)
        self.columns: dict[int, dict[str, Mapping]] = {}
        """Kind to column to recorded number to stored number; kinds whose numbers are the same have none."""
        for event in every:
            spec = event_spec(event.name)
            if spec is not None and (found := _named(event)):
                self.columns[int(spec.kind)] = found
        names = migratetypes.names(_migratetypes_of(every, release)) or migratetypes.NAMES
        mapping = _mapping(((name, number) for number, name in enumerate(names)), _stored_migratetype)
        for kind in () if mapping.identity else _WITH_MIGRATETYPE:
            columns = ("mt", "b") if kind == EventKind.MM_PAGE_ALLOC_EXTFRAG else ("mt",)
            self.columns.setdefault(kind, {}).update(dict.fromkeys(columns, mapping))
        self.unknown: set[str] = set()
        """Names met that recordings have no number for."""

    def apply(self, chunk: EventChunk) -> None:
        """Renumber a chunk in place; a number without a name becomes -1."""
        for kind, columns in self.columns.items():
            at = np.flatnonzero(chunk.kind == kind)
            for name, mapping in columns.items() if len(at) else ():
                column = getattr(chunk, name)
                recorded = column[at].tolist()
                column[at] = [mapping.numbers.get(number, NOT_KNOWN) for number in recorded]
                self.unknown.update(mapping.gone[number] for number in mapping.gone.keys() & set(recorded))


_WITH_MIGRATETYPE = [
    int(spec.kind)
    for spec in EVENT_SPECS.values()
    if spec.field("mt") in ("migratetype", "alloc_migratetype")
]
