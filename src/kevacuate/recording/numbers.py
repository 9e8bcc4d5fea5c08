# SPDX-License-Identifier: GPL-2.0-or-later
"""Numbers of the recorded kernel that Linux 7.2 numbers otherwise: migratetypes, results of compaction, reasons of migration.

The recorded kernel's own print fmt says which number has which name; the name says which number Linux 7.2 has for it.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from kevacuate.recording.eventtext import OLD_NAMES, PRINTED, SYMBOLS, places
from kevacuate.recording.formats import EventFormat
from kevacuate.recording.printfmt import symbols
from kevacuate.recording.schema import OLD_EVENTS, EventChunk, EventKind, event_spec

NOT_KNOWN = -1
"""What a number becomes that Linux 7.2 has no name for."""

_MIGRATETYPES = {
    EventKind.MM_PAGE_ALLOC: ("mt",),
    EventKind.MM_PAGE_ALLOC_ZONE_LOCKED: ("mt",),
    EventKind.MM_PAGE_PCPU_DRAIN: ("mt",),
    EventKind.MM_PAGE_ALLOC_EXTFRAG: ("mt", "b"),
}

Mapping = dict[int, int]


def _named(event: EventFormat) -> dict[str, Mapping]:
    """Column to the mapping of its numbers, of the columns whose numbers the event's print fmt names otherwise."""
    spec, found = event_spec(event.name), dict[str, Mapping]()
    for place in places(PRINTED[OLD_EVENTS.get(event.name, event.name)]):
        known = {name: number for number, name in SYMBOLS.get(place.form, {}).items()}
        for field in spec.names(place.column) if spec and known else ():
            own = symbols(event.text, field)
            mapping = {n: known.get(OLD_NAMES.get(name, name), NOT_KNOWN) for name, n in own.items()}
            if any(old != new for old, new in mapping.items()):
                found[place.column] = mapping
    return found


class Numbers:
    """What becomes of the numbers of one recorded kernel.

    Parameters
    ----------
    formats : iterable of EventFormat
        Its format files.

    """

    def __init__(self, formats: Iterable[EventFormat]) -> None:
        every = list(formats)
        self.columns: dict[int, dict[str, Mapping]] = {}
        """Kind to column to recorded number to that of Linux 7.2; kinds whose numbers are the same have none."""
        for event in every:
            spec = event_spec(event.name)
            if spec is not None and (found := _named(event)):
                self.columns[int(spec.kind)] = found

    def apply(self, chunk: EventChunk) -> None:
        """Renumber a chunk in place; a number that the print fmt does not name becomes -1."""
        for kind, columns in self.columns.items():
            at = np.flatnonzero(chunk.kind == kind)
            for name, mapping in columns.items() if len(at) else ():
                column = getattr(chunk, name)
                column[at] = [mapping.get(number, NOT_KNOWN) for number in column[at].tolist()]
