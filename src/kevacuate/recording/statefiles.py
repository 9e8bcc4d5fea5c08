# SPDX-License-Identifier: GPL-2.0-or-later
"""A recorded state as files: ``state.json`` and one Parquet table per kind of thing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kevacuate.errors import KevacuateError
from kevacuate.kernel.pcp import pcp_order
from kevacuate.recording import parquet
from kevacuate.recording.atomic_write import not_written
from kevacuate.recording.jsontypes import WrongType, build
from kevacuate.recording.possible import MOST_ORDER, MOST_PAGES
from kevacuate.recording.schema import column_types
from kevacuate.recording.state import (
    AllocatorState,
    Blocks,
    FreePages,
    Guesses,
    LruFolios,
    PcpFields,
    PcpPages,
    ZoneState,
    zone_to_json,
)

MOST_PINDEX = 13
MOST_NUMBER = (1 << 63) - 1

TABLES: dict[str, type] = {"free": FreePages, "blocks": Blocks, "pcp": PcpFields, "pcp_pages": PcpPages}
"""The fields of :class:`AllocatorState` that are tables: a file each."""
PAGE_FILES = ("page_flags", "page_count")
LRU_FILE = "lru.parquet"


@dataclass(frozen=True)
class _Body:
    """``state.json``: the fields of :class:`AllocatorState` that are no tables."""

    tag: str
    ts: int
    ts_begin: int
    cpu: int
    ordinal: int
    interleaved: int
    label: str
    zones: tuple[ZoneState, ...]
    counters: dict[str, int]
    approximate: tuple[str, ...] = ()
    guesses: Guesses | None = None
    skip_known: bool | None = None
    due: dict[str, int] = field(default_factory=dict)
    reclaim: dict[str, int] = field(default_factory=dict)


_SCALARS = ("tag", "ts", "ts_begin", "cpu", "ordinal", "interleaved", "label")


def write_state(directory: Path, state: AllocatorState) -> list[str]:
    """Write the state into a new directory; the names of the files."""
    try:
        directory.mkdir(parents=True)
    except OSError as error:
        raise not_written(directory, error) from None
    body: dict[str, Any] = {name: getattr(state, name) for name in _SCALARS}
    body |= {"zones": [zone_to_json(z) for z in state.zones], "counters": state.counters}
    if state.approximate:
        body["approximate"] = list(state.approximate)
    if state.guesses is not None:
        body["guesses"] = asdict(state.guesses)
    body["skip_known"] = state.skip_known
    body |= {name: getattr(state, name) for name in ("due", "reclaim") if getattr(state, name)}
    parquet.write_json(directory / "state.json", body)
    for name in TABLES:
        parquet.write_table(directory / f"{name}.parquet", getattr(state, name)._asdict())
    names = ["state.json", *(f"{n}.parquet" for n in TABLES)]
    for name in PAGE_FILES:
        words = getattr(state, name)
        if words is not None:
            parquet.write_table(directory / f"{name}.parquet", {"word": words})
            names.append(f"{name}.parquet")
    if state.lru is not None:
        parquet.write_table(directory / LRU_FILE, state.lru._asdict())
        names.append(LRU_FILE)
    return names


def _read(directory: Path, name: str, kind: type) -> Any:
    """One of :data:`TABLES`."""
    return kind(**parquet.read_table(directory / f"{name}.parquet", column_types(kind)))


def read_state(directory: Path, hugepage_order: int) -> AllocatorState:
    """The inverse of :func:`write_state`.

    Raises
    ------
    KevacuateError
        If a file is missing or corrupted.

    """
    body = parquet.read_json(directory / "state.json")
    try:
        about = build(_Body, body, "the state")
    except WrongType as error:
        raise KevacuateError(
            f"{directory / 'state.json'} does not describe a state ({error}): record again."
        ) from None
    words: dict[str, Any] = {
        name: parquet.read_table(directory / f"{name}.parquet", {"word": np.uint64})["word"]
        for name in PAGE_FILES
        if (directory / f"{name}.parquet").exists()
    }
    if (directory / LRU_FILE).exists():
        words["lru"] = _read(directory, "lru", LruFolios)
    known = about.skip_known
    if known is None:  # written before it was stored
        known = not any("skip bits" in line for line in about.approximate)
    state = AllocatorState(
        **{**vars(about), "skip_known": known},
        **words,
        **{name: _read(directory, name, kind) for name, kind in TABLES.items()},
    )
    _refuse_outside(directory, state, hugepage_order)
    return state


def _refuse_outside(directory: Path, state: AllocatorState, hugepage_order: int) -> None:
    """Raise KevacuateError at chunks or pageblocks that lie outside all zones: pfns become indices."""
    ends = [(zone.start_pfn, zone.start_pfn + zone.spanned) for zone in state.zones]
    last = max((end for _, end in ends), default=0)
    free, pcp = state.free, state.pcp_pages
    orders = pcp_order(pcp.pindex, hugepage_order)
    numbers = [n for zone in state.zones for value in vars(zone).values() for n in _numbers(value)]
    wrong = any(not -MOST_PAGES <= number <= MOST_NUMBER for number in numbers)
    wrong |= any(first < 0 or end < first or end > MOST_PAGES for first, end in ends)
    wrong |= outside(free.order, 0, MOST_ORDER) or outside(pcp.pindex, 0, MOST_PINDEX)
    if (
        wrong
        or outside(state.blocks.pfn, 0, last - 1)
        or outside(free.pfn, 0, last)
        or outside(pcp.pfn, 0, last)
        or outside(free.pfn + (1 << free.order.astype(np.int64)), 0, last)
        or outside(pcp.pfn + (1 << orders), 0, last)
        or (state.lru is not None and outside(state.lru.pfn, 0, last - 1))
    ):
        raise KevacuateError(
            f"{directory} holds zones, pages or pageblocks that cannot be: the recording is corrupted, record again."
        )


def _numbers(value: object) -> Iterator[int]:
    """The whole numbers of a zone's field."""
    for number in value if isinstance(value, tuple) else (value,):
        if isinstance(number, int):
            yield number


def outside(values: npt.NDArray[np.generic], least: int, most: int) -> bool:
    """Whether any value lies outside [least, most]."""
    return bool(values.size and (int(values.min()) < least or int(values.max()) > most))
