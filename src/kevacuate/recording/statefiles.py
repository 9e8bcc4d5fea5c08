# SPDX-License-Identifier: GPL-2.0-or-later
"""A recorded state as files: ``state.json`` and one Parquet table per kind of thing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
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
from kevacuate.recording.state import (
    AllocatorState,
    Blocks,
    FreePages,
    Guesses,
    PcpFields,
    PcpPages,
    ZoneState,
    zone_to_json,
)

Types = dict[str, type[np.generic]]
FREE_TYPES: Types = {"zone": np.int16, "order": np.int8, "mt": np.int8, "pfn": np.int64}
BLOCK_TYPES: Types = {"zone": np.int16, "pfn": np.int64, "mt": np.int8, "skip": np.bool_}
PCP_TYPES: Types = {"zone": np.int16, "cpu": np.int16} | dict.fromkeys(PcpFields._fields[2:], np.int32)
PCP_PAGE_TYPES: Types = {"zone": np.int16, "cpu": np.int16, "pindex": np.int8, "pfn": np.int64}
MOST_PINDEX = 13
MOST_NUMBER = (1 << 63) - 1

PAGE_FILES = ("page_flags", "page_count")


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
    parquet.write_json(directory / "state.json", body)
    tables: dict[str, Any] = {
        "free": state.free,
        "blocks": state.blocks,
        "pcp": state.pcp,
        "pcp_pages": state.pcp_pages,
    }
    for name, table in tables.items():
        parquet.write_table(directory / f"{name}.parquet", table._asdict())
    names = ["state.json", *(f"{n}.parquet" for n in tables)]
    for name in PAGE_FILES:
        words = getattr(state, name)
        if words is not None:
            parquet.write_table(directory / f"{name}.parquet", {"word": words})
            names.append(f"{name}.parquet")
    return names


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
    known = about.skip_known
    if known is None:  # written before it was stored
        known = not any("skip bits" in line for line in about.approximate)
    state = AllocatorState(
        **{**vars(about), "skip_known": known},
        **words,
        free=FreePages(**parquet.read_table(directory / "free.parquet", FREE_TYPES)),
        blocks=Blocks(**parquet.read_table(directory / "blocks.parquet", BLOCK_TYPES)),
        pcp=PcpFields(**parquet.read_table(directory / "pcp.parquet", PCP_TYPES)),
        pcp_pages=PcpPages(**parquet.read_table(directory / "pcp_pages.parquet", PCP_PAGE_TYPES)),
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
