# SPDX-License-Identifier: GPL-2.0-or-later
"""What an event of any machine can name: everything behind the reader computes with times, pfns and orders.

A chunk's end, ``pfn + (1 << order)``, and a time some years later then fit int64 everywhere. What one machine has is
smaller; who uses a number as an index compares it with that machine's.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from kevacuate.errors import KevacuateError
from kevacuate.kernel.hooks import OF_A_PAGE
from kevacuate.recording.schema import EVENT_SPECS, NO_PFN, EventChunk, EventKind

MOST_PAGES = 1 << 52
"""More pages than 64-bit physical addresses can name: no zone ends beyond it."""

MOST_ORDER = 13
"""The largest MAX_PAGE_ORDER of any architecture: arm64 with pages of 64 KiB (arch/arm64/Kconfig, 7.2)."""

LATEST_NS = 1 << 62
"""A century and a half: a clock beyond it is no machine's, and times computed from it would not fit."""

_PFN_FIELDS = frozenset(
    {"pfn", "start_pfn", "end_pfn", "migrate_pfn", "free_pfn", "zone_start", "zone_end", "pte"}
)
_ORDER_FIELDS = frozenset({"order", "alloc_order", "fallback_order"})


def _kinds(fields: frozenset[str], *, of_a_page: bool) -> dict[str, npt.NDArray[np.bool_]]:
    """Column to a mask of the kinds [256] in which one of these fields fills it."""
    masks: dict[str, npt.NDArray[np.bool_]] = {}
    for spec in EVENT_SPECS.values():
        for column in spec.fields if "pfn" in spec.fields or not of_a_page else ():
            if spec.field(column) in fields:
                masks.setdefault(column, np.zeros(256, np.bool_))[spec.kind] = True
    return masks


_PFNS = _kinds(_PFN_FIELDS, of_a_page=False)
_PFNS["pfn"][:] = True  # -1 in kinds without one
_PFNS["c"][EventKind.GT_RMQ] = True
for _mask in _PFNS.values():
    # fast_isolate_freepages prints where it would have searched, and near a zone's start that is no page (mm/compaction.c, 7.2).
    _mask[EventKind.COMPACTION_FAST_ISOLATE_FREEPAGES] = False
_ORDERS = _kinds(_ORDER_FIELDS, of_a_page=True)


def _bad(
    chunk: EventChunk, kinds: dict[str, npt.NDArray[np.bool_]], least: int, most: int
) -> npt.NDArray[np.intp]:
    """Rows in which such a column of such a kind lies outside [least, most]."""
    rows = [np.empty(0, np.intp)]
    for column, mask in kinds.items():
        values = getattr(chunk, column)
        if int(values.min()) < least or int(values.max()) > most:
            at = np.flatnonzero(((values < least) | (values > most)) & mask[chunk.kind])
            other = (chunk.kind[at] == EventKind.GT_RMQ) & ~np.isin(chunk.a[at], OF_A_PAGE)
            rows.append(at if column != "c" else at[~other])
    return np.concatenate(rows)


def refuse_impossible_events(chunk: EventChunk, where: object) -> EventChunk:
    """The chunk itself; an event that names what no machine has is refused.

    Times are from 0 to :data:`LATEST_NS` ns, pfns from -1 (none) to below :data:`MOST_PAGES`, in every column that holds
    one, and orders of pages from 0 to :data:`MOST_ORDER`.

    Raises
    ------
    KevacuateError
        Names the first such event's kind and time, and *where* it lies.

    """
    if not chunk.rows:
        return chunk
    if int(chunk.ts.min()) < 0 or int(chunk.ts.max()) > LATEST_NS:
        at = np.flatnonzero((chunk.ts < 0) | (chunk.ts > LATEST_NS))
        _refuse(chunk, at, where, "has a time that no clock shows")
    _refuse(chunk, _bad(chunk, _PFNS, NO_PFN, MOST_PAGES - 1), where, "names a page that no machine has")
    _refuse(chunk, _bad(chunk, _ORDERS, 0, MOST_ORDER), where, "names an order that no machine has")
    return chunk


def refuse_disorder(times: npt.NDArray[np.int64], last: int, where: Path) -> int:
    """The last of the *times* (ns) that a file holds, which follow *last*; those that go back are refused.

    Raises
    ------
    KevacuateError
        Names the file, *where*, and the first time that is earlier than the one before it.

    """
    if not len(times):
        return last
    if int(times[0]) < last or (times[1:] < times[:-1]).any():
        at = int(np.flatnonzero(np.diff(times, prepend=last) < 0)[0])
        raise KevacuateError(
            f"{where} is corrupted: its times go back, at {int(times[at])} ns. Record again."
        )
    return int(times[-1])


def _refuse(chunk: EventChunk, rows: npt.NDArray[np.intp], where: object, what: str) -> None:
    if len(rows):
        at = int(rows.min())
        kind = int(chunk.kind[at])
        name = EventKind(kind).name.lower() if kind in set(EventKind) else f"kind {kind}"
        raise KevacuateError(
            f"{where}: an event ({name} at {int(chunk.ts[at])} ns) {what}. The data are corrupted: record again."
        )
