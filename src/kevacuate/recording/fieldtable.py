# SPDX-License-Identifier: GPL-2.0-or-later
"""From format files to the table that tells the compiled decoder where each kind's fields lie."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kevacuate.errors import KevacuateError
from kevacuate.recording import decode as dc
from kevacuate.recording.formats import EventFormat, FieldFormat, gfp_bits, gfp_table
from kevacuate.recording.schema import EVENT_SPECS, GFP_BITS, GFP_MASK, VALUE_COLUMNS, EventKind, EventSpec

_NARROW = {"order": 8, "mt": 8, "gfp": 32}


def _place(event: EventFormat, name: str) -> tuple[FieldFormat, int] | None:
    """The field called *name* (as in EventSpec) and its bytes; None if it is optional and absent."""
    optional = name.endswith("?")
    first, _, second = name.rstrip("?").lstrip("@").partition("|")
    field = event.field(first)
    if field is None:
        if optional:
            return None
        raise KevacuateError(
            f"The format of {event.name} has no field {first}: this kernel is not supported."
        )
    size = field.size
    if second:
        other = event.field(second)
        if other is None or other.offset != field.offset + 1 or size != 1:
            raise KevacuateError(f"The format of {event.name} does not hold {first} beside {second}.")
        size = 2
    if size not in (1, 2, 4, 8) or field.offset % 4 + size > 8 or field.offset > 4096:
        raise KevacuateError(f"The format of {event.name} places {first} where no field of a number can be.")
    return field, size


def _column_row(event: EventFormat, spec: EventSpec, column: str) -> list[int]:
    """The five table words (word, shift, mask, sign, add) of one column."""
    name = spec.fields.get(column)
    place = _place(event, name) if name else None
    if place is None:
        return [0, 0, 0, 0, -1 if column == "pfn" else 0]
    field, size = place
    bits = min(8 * size, _NARROW.get(column, 64))
    signed = (field.signed or column in ("order", "mt")) and bits < 64
    sign = 1 << (bits - 1) if signed else 0
    mask = -1 if bits == 64 else (1 << bits) - 1
    return [field.offset // 4, 8 * (field.offset % 4), mask, sign, -sign]


def _special(spec: EventSpec, identity: bool) -> int:
    if spec.kind == EventKind.GT_RMQ:
        return dc.SPECIAL_RMQ
    if spec.kind in (EventKind.SET_MIGRATION_PTE, EventKind.REMOVE_MIGRATION_PTE):
        return dc.SPECIAL_PTE
    if spec.kind == EventKind.MM_SETUP_PER_ZONE_WMARKS:
        return dc.SPECIAL_NAME
    return dc.SPECIAL_GFP if "gfp" in spec.fields and not identity else dc.SPECIAL_NONE


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


def _event_row(event: EventFormat, spec: EventSpec, identity: bool) -> list[int]:
    """The row of the table for one event."""
    _check_header(event)
    row = [_special(spec, identity), max(8, event.size), int(spec.kind), _present(spec.fields)]
    source = dict(spec.fields)
    if source.get("order", "").startswith("@"):
        source["pfn"] = source.pop("order")
    for column in VALUE_COLUMNS:
        row += _column_row(event, EventSpec(spec.kind, source), column)
    return row + [0] * (dc.ROW_WORDS - len(row))


def passed_over(formats: dict[int, EventFormat]) -> list[EventFormat]:
    """The events that no kind stands for, by id; the decoder passes them over and counts them."""
    return [event for _, event in sorted(formats.items()) if event.name not in EVENT_SPECS]


def field_table(formats: dict[int, EventFormat], kinds: frozenset[int]) -> dc.FieldTable:
    """The decoder's table for these formats, with only *kinds* wanted.

    An event of compaction or reclaim that lacks a field in this kernel is left out and counted as unknown. One that no kind
    stands for is passed over, and counted by its place in :func:`passed_over`.

    Raises
    ------
    KevacuateError
        If an event of the allocator itself lacks a field, or mm_page_alloc does not name its GFP bits.

    """
    ids = np.full(1 << 16, dc.UNKNOWN_ID, np.int16)
    ids[list(formats)] = dc.UNWANTED_ID
    for place, event in enumerate(passed_over(formats)):
        ids[event.id] = dc.PASSED_OVER_ID - place
    alloc = next((e for e in formats.values() if e.name == "mm_page_alloc"), None)
    bits = gfp_bits(alloc) if alloc else {}
    if alloc is not None and not bits:
        raise KevacuateError("The format of mm_page_alloc does not name its GFP bits: copy it again.")
    gfp = gfp_table(bits)
    kept = np.flatnonzero(gfp >= 0)
    identity = bool((gfp[kept] == kept).all()) and len(kept) == len(GFP_BITS)
    rows: list[int] = []
    for event in sorted(formats.values(), key=lambda e: e.id):
        spec = EVENT_SPECS.get(event.name)
        if spec is None or int(spec.kind) not in kinds:
            continue
        try:
            row = _event_row(event, spec, identity)
        except KevacuateError:
            if not event.name.startswith(("mm_compaction_", "mm_vmscan_", "mm_shrink_", "mm_migrate_")):
                raise
            ids[event.id] = dc.UNKNOWN_ID
            continue
        ids[event.id] = len(rows) // dc.ROW_WORDS
        rows += row
    table = np.array(rows or [0], np.int64)
    if identity:
        _mask_gfp(table)
    return dc.FieldTable(ids, table, gfp)


def _mask_gfp(table: npt.NDArray[np.int64]) -> None:
    """Limit the gfp column's masks to the 23 bits that are kept (in place)."""
    column = dc.FIRST_COLUMN + VALUE_COLUMNS.index("gfp") * dc.COLUMN_WORDS + 2
    if len(table) >= dc.ROW_WORDS:
        table.reshape(-1, dc.ROW_WORDS)[:, column] &= GFP_MASK
