# SPDX-License-Identifier: GPL-2.0-or-later
"""From format files to the table that tells the compiled decoder where each kind's fields lie."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from kevacuate.errors import KevacuateError
from kevacuate.recording import decode as dc
from kevacuate.recording.formats import EventFormat, FieldFormat, gfp_table, kernel_gfp_bits, zone_names
from kevacuate.recording.numbers import Numbers
from kevacuate.recording.schema import (
    GFP_BITS,
    VALUE_COLUMNS,
    EventKind,
    EventSpec,
    event_spec,
    field_names,
)

_NARROW = {"order": 8, "mt": 8, "gfp": 32}
_OWN_EVENTS = frozenset(k for k in EventKind if k < EventKind.COMPACTION_ISOLATE_MIGRATEPAGES)
"""The allocator's own events: the kinds without which a recording is none."""


_ENTRIES = (EventKind.SET_MIGRATION_PTE, EventKind.REMOVE_MIGRATION_PTE)


@dataclass(frozen=True)
class Decoding:
    """All that is needed to decode one kernel's sub-buffers: made once, used for every CPU."""

    table: dc.FieldTable
    zones: tuple[str, ...]
    """Zone names by index, () if no format file lists them."""
    numbers: Numbers
    counted: tuple[EventFormat, ...]
    """The events that are only counted: those that no kind stands for, and those that cannot be read."""
    unreadable: dict[int, str]
    """Of the latter the event id to what hinders reading."""


def _field(event: EventFormat, spec: EventSpec, column: str) -> FieldFormat | None:
    """The field that fills *column*, adjacent ones as one; None if it may be and is absent."""
    names = field_names(event.name, spec.field(column))
    first, *others = names[0].split("|")
    field = next((f for name in (first, *names[1:]) if (f := event.field(name)) is not None), None)
    if field is None:
        if spec.missing(column) is None:
            raise KevacuateError(_no_field(event, first))
        return None
    for second in others:
        other = event.field(second)
        if other is None or other.offset != field.offset + field.size:
            raise KevacuateError(f"The format of {event.name} does not hold {first} beside {second}.")
        field = replace(field, size=field.size + other.size, signed=False)
    if field.size not in (1, 2, 4, 8) or field.offset % 4 + field.size > 8 or field.offset > 4096:
        raise KevacuateError(f"The format of {event.name} places {first} where no field of a number can be.")
    return field


def _no_field(event: EventFormat, name: str) -> str:
    if name == "pfn" and event.field("page") is not None:
        return (
            f"The format of {event.name} has a pointer to struct page and no pfn (Linux before 4.1): only the machine "
            "itself can tell the pfn. Instead, import the text of its trace or trace_pipe."
        )
    return f"The format of {event.name} has no field {name}."


def _column_row(event: EventFormat, spec: EventSpec, column: str) -> list[int]:
    """The five table words (word, shift, mask, sign, add) of one column."""
    field = _field(event, spec, column) if spec.field(column) else None
    if field is None:
        return [0, 0, 0, 0, spec.missing(column) or 0]
    bits = min(8 * field.size, _NARROW.get(column, 64))
    signed = (field.signed or column in ("pfn", "order", "mt")) and bits < 64
    sign = 1 << (bits - 1) if signed else 0
    mask = -1 if bits == 64 else (1 << bits) - 1
    return [field.offset // 4, 8 * (field.offset % 4), mask, sign, -sign]


def _special(event: EventFormat, spec: EventSpec, identity: bool) -> int:
    if spec.kind == EventKind.GT_RMQ:
        return dc.SPECIAL_RMQ
    if spec.kind in _ENTRIES:
        return dc.SPECIAL_PTE
    if spec.kind == EventKind.MM_SETUP_PER_ZONE_WMARKS:
        return dc.SPECIAL_NAME
    gfp = event.field(spec.field("gfp")) is not None
    return dc.SPECIAL_GFP if gfp and not identity else dc.SPECIAL_NONE


def _present(fields: dict[str, str]) -> int:
    """The HAS_ bits of the columns that these fields fill."""
    bits = {
        "mt": dc.HAS_MT,
        "gfp": dc.HAS_GFP,
        "a": dc.HAS_AB,
        "b": dc.HAS_AB,
        "c": dc.HAS_CD,
        "d": dc.HAS_CD,
    }
    result = 0
    for column in fields:
        result |= bits.get(column, 0)
    return result


def _check_header(event: EventFormat) -> None:
    kind, pid = event.field("common_type"), event.field("common_pid")
    if kind is None or pid is None or (kind.offset, kind.size, pid.offset, pid.size) != (0, 2, 4, 4):
        raise KevacuateError(
            f"The format of {event.name} has an unknown common header: kernel not supported."
        )


def _event_row(event: EventFormat, spec: EventSpec, identity: bool, arch: str) -> list[int]:
    """The row of the table for one event."""
    _check_header(event)
    special, source = _special(event, spec, identity), dict(spec.fields)
    if source.get("order", "").startswith("@"):
        source["pfn"] = source.pop("order")
    if special == dc.SPECIAL_PTE and arch not in ("", "x86_64"):
        special = dc.SPECIAL_NONE  # the entries of other machines look otherwise
        del source["pfn"]
    row = [special, max(8, event.size), int(spec.kind), _present(spec.fields)]
    for column in VALUE_COLUMNS:
        row += _column_row(event, EventSpec(spec.kind, source), column)
    return row + [0] * (dc.ROW_WORDS - len(row))


def decoding(
    formats: dict[int, EventFormat],
    kinds: frozenset[int],
    *,
    lenient: bool = False,
    arch: str = "",
    release: str = "",
) -> Decoding:
    """How sub-buffers with these formats are decoded, with only *kinds* wanted.

    What cannot be read, or what no kind stands for, is counted by its place in :attr:`Decoding.counted`.

    Parameters
    ----------
    formats : dict
        Event formats by id.
    kinds : frozenset of int
        The kinds wanted.
    lenient : bool
        Count the allocator's own events as unreadable, too, instead of refusing them.
    arch : str
        The recorded machine's (``uname -m``), "" if not known: entries of page tables are x86-64's.
    release : str
        The recorded kernel's (``uname -r``), "" if not known.

    Raises
    ------
    KevacuateError
        If an event of the allocator itself lacks a field (unless *lenient*), or no event names its GFP bits.

    """
    ids = np.full(1 << 16, dc.UNKNOWN_ID, np.int32)
    ids[list(formats)] = dc.UNWANTED_ID
    gfp = gfp_table(_gfp_bits(formats))
    identity = bool((gfp == gfp_table(GFP_BITS)).all())
    rows: list[int] = []
    counted: list[EventFormat] = []
    unreadable: dict[int, str] = {}
    for event in sorted(formats.values(), key=lambda e: e.id):
        spec, row = event_spec(event.name), None
        if spec is not None:
            try:
                row = _event_row(event, spec, identity, arch)
            except KevacuateError as error:
                if spec.kind in _OWN_EVENTS and int(spec.kind) in kinds and not lenient:
                    raise
                unreadable[event.id] = str(error)
        if spec is None or row is None:
            ids[event.id] = dc.COUNTED_ID - len(counted)
            counted.append(event)
        elif int(spec.kind) in kinds:
            ids[event.id] = len(rows) // dc.ROW_WORDS
            rows += row
    table = np.array(rows or [0], np.int64)
    if identity:
        _mask_gfp(table)
    numbers = Numbers(formats.values(), release)
    return Decoding(dc.FieldTable(ids, table, gfp), zone_names(formats), numbers, tuple(counted), unreadable)


def _gfp_bits(formats: dict[int, EventFormat]) -> dict[str, int]:
    """The GFP bits of the recorded kernel; those of Linux 7.2 if no event has flags."""
    with_flags = [e for e in formats.values() if any(f.name in ("gfp_flags", "gfp_mask") for f in e.fields)]
    bits = kernel_gfp_bits(formats.values())
    if any(e.name == "mm_page_alloc" for e in with_flags) and not bits:
        raise KevacuateError("The format of mm_page_alloc does not name its GFP bits: copy it again.")
    return bits or GFP_BITS


def _mask_gfp(table: npt.NDArray[np.int64]) -> None:
    """Limit the gfp column's masks to the bits that have a name in Linux 7.2 (in place): bit 9 was __GFP_ATOMIC."""
    column = dc.FIRST_COLUMN + VALUE_COLUMNS.index("gfp") * dc.COLUMN_WORDS + 2
    if len(table) >= dc.ROW_WORDS:
        table.reshape(-1, dc.ROW_WORDS)[:, column] &= sum(1 << bit for bit in GFP_BITS.values())
