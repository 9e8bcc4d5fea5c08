# SPDX-License-Identifier: GPL-2.0-or-later
"""A recorded state as files: ``state.json`` and one Parquet table per kind of thing."""

from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from kevacuate.errors import KevacuateError
from kevacuate.recording import parquet
from kevacuate.recording.state import (
    AllocatorState,
    Blocks,
    FreePages,
    Guesses,
    PcpFields,
    PcpPages,
    zone_from_json,
    zone_to_json,
)

Types = dict[str, type[np.generic]]
FREE_TYPES: Types = {"zone": np.int16, "order": np.int8, "mt": np.int8, "pfn": np.int64}
BLOCK_TYPES: Types = {"zone": np.int16, "pfn": np.int64, "mt": np.int8, "skip": np.bool_}
PCP_TYPES: Types = {"zone": np.int16, "cpu": np.int16} | dict.fromkeys(PcpFields._fields[2:], np.int32)
PCP_PAGE_TYPES: Types = {"zone": np.int16, "cpu": np.int16, "pindex": np.int8, "pfn": np.int64}
PAGE_FILES = ("page_flags", "page_count")
_SCALARS = ("tag", "ts", "ts_begin", "cpu", "ordinal", "interleaved", "label")


def write_state(directory: Path, state: AllocatorState) -> list[str]:
    """Write the state into a new directory; the names of the files."""
    try:
        directory.mkdir(parents=True)
    except OSError as error:
        raise KevacuateError(f"{directory} cannot be made: {error.strerror or error}.") from None
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


def _guesses(values: dict[str, Any]) -> Guesses:
    """The counts of :class:`Guesses`; a KeyError, TypeError or ValueError where they are not such."""
    return Guesses(**{field.name: int(values[field.name]) for field in fields(Guesses)})


def read_state(directory: Path) -> AllocatorState:
    """The inverse of :func:`write_state`.

    Raises
    ------
    KevacuateError
        If a file is missing or corrupted.

    """
    body = parquet.read_json(directory / "state.json")
    try:
        scalars = {name: body[name] for name in _SCALARS}
        zones = tuple(zone_from_json(z) for z in body["zones"])
        counters = {str(k): int(v) for k, v in body["counters"].items()}
        approximate = tuple(str(line) for line in body.get("approximate", ()))
        guesses = _guesses(body["guesses"]) if "guesses" in body else None
        skip_known = bool(body.get("skip_known", not any("skip bits" in line for line in approximate)))
    except (KeyError, TypeError, ValueError, AttributeError):
        raise KevacuateError(f"{directory / 'state.json'} does not describe a state: record again.") from None
    words: dict[str, Any] = {
        name: parquet.read_table(directory / f"{name}.parquet", {"word": np.uint64})["word"]
        for name in PAGE_FILES
        if (directory / f"{name}.parquet").exists()
    }
    return AllocatorState(
        **scalars,
        **words,
        zones=zones,
        counters=counters,
        approximate=approximate,
        guesses=guesses,
        skip_known=skip_known,
        free=FreePages(**parquet.read_table(directory / "free.parquet", FREE_TYPES)),
        blocks=Blocks(**parquet.read_table(directory / "blocks.parquet", BLOCK_TYPES)),
        pcp=PcpFields(**parquet.read_table(directory / "pcp.parquet", PCP_TYPES)),
        pcp_pages=PcpPages(**parquet.read_table(directory / "pcp_pages.parquet", PCP_PAGE_TYPES)),
    )
