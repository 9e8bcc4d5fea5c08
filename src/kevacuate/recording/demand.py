# SPDX-License-Identifier: GPL-2.0-or-later
"""How a demand is stored: ``demand.parquet``, ``start_objects.parquet`` and ``demand.json``.

The files lie in a recording's ``.kev`` directory or in one of their own. They are derived data with a digest
of their own, so that adding them does not change the recording's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kevacuate.errors import KevacuateError
from kevacuate.recording import parquet
from kevacuate.recording.atomic_write import beside, claim, folder, release, remove_leftovers
from kevacuate.recording.jsontypes import WrongType, checked
from kevacuate.recording.possible import refuse_disorder
from kevacuate.recording.schema import SCHEMA_VERSION, column_types

FORMAT_NAME = "kevacuate demand"


class DemandChunk(NamedTuple):
    """A run of the demand: equally long arrays, in order."""

    t: npt.NDArray[np.int64]
    """Nanoseconds since the start state."""
    op: npt.NDArray[np.uint8]
    """A :class:`kevacuate.recording.demand_op.DemandOp`."""
    cpu: npt.NDArray[np.uint16]
    obj: npt.NDArray[np.int32]
    """Dense, recycled object id."""
    order: npt.NDArray[np.uint8]
    mt: npt.NDArray[np.uint8]
    """Migratetype asked for."""
    gfp: npt.NDArray[np.uint32]
    """GFP flags in the bit numbers of Linux 7.2."""
    attr: npt.NDArray[np.uint8]
    """:class:`PageAttr` bits."""
    aux: npt.NDArray[np.int32]
    task: npt.NDArray[np.int32]
    """Task that was running, -1 where it is not known (a demand stored before there was such a column)."""


class StartObjects(NamedTuple):
    """The start state's movable objects, ids 0 to n - 1 in order of pfn."""

    pfn: npt.NDArray[np.int64]
    order: npt.NDArray[np.uint8]
    attr: npt.NDArray[np.uint8]


DEMAND_TYPES, START_TYPES = column_types(DemandChunk), column_types(StartObjects)
OPTIONAL: dict[str, int] = {"task": -1}
"""Columns that older demands do not have, and what they are then."""
_FILES = ("demand.parquet", "start_objects.parquet")
FILES = (*_FILES, "demand.json")
"""What a stored demand lies in."""


def write_demand(
    directory: str | Path,
    chunks: Iterable[DemandChunk],
    start: StartObjects,
    facts: Mapping[str, Any] | Callable[[], Mapping[str, Any]] | None = None,
) -> int:
    """Store a demand, streaming; an older one in the same directory is replaced.

    Parameters
    ----------
    directory : path
        A ``.kev`` directory or any other; made if it does not exist.
    chunks : iterable of DemandChunk
        The demand.
    start : StartObjects
        The start state's objects.
    facts : mapping or callable, optional
        JSON values kept beside it (how it was made, counts, the recording's digest), or what returns them behind the last row.

    Returns
    -------
    int
        Rows written.

    """
    where = Path(directory)
    temporary = [beside(where / name) for name in FILES]
    try:
        with folder(where):
            remove_leftovers(where)
            for name, path in zip(FILES, temporary, strict=True):
                claim(where / name, path, directory=False, alone=False)
            rows = _write(where, temporary, chunks, start, facts or {})
    except OSError as error:
        raise KevacuateError(f"The demand cannot be written to {where}: {error.strerror or error}.") from None
    finally:
        for path in temporary:
            release(path)
            with suppress(OSError):
                path.unlink(missing_ok=True)
    return rows


def _write(
    where: Path,
    temporary: list[Path],
    chunks: Iterable[DemandChunk],
    start: StartObjects,
    facts: Mapping[str, Any] | Callable[[], Mapping[str, Any]],
) -> int:
    """Write rows, start objects and facts to the temporary files, then put them in place; the number of rows."""
    rows, objects, about = temporary
    writer = parquet.TableWriter(rows, DEMAND_TYPES)
    for chunk in chunks:
        writer.add(chunk._asdict())
    writer.close()
    parquet.write_table(objects, {n: np.asarray(c, START_TYPES[n]) for n, c in start._asdict().items()})
    files = {name: parquet.file_digest(path) for name, path in zip(_FILES, (rows, objects), strict=True)}
    body = {
        "format": FORMAT_NAME,
        "schema_version": SCHEMA_VERSION,
        "rows": writer.rows,
        "start_objects": len(start.pfn),
        "facts": dict(facts() if callable(facts) else facts),
    }
    parquet.write_json(about, body | {"files": files, "digest": parquet.combined_digest(body, files)})
    (where / "demand.json").unlink(missing_ok=True)
    for name, path in zip(FILES, temporary, strict=True):
        path.replace(where / name)
    return writer.rows


def has_demand(directory: str | Path) -> bool:
    """Whether a finished demand lies there."""
    return (Path(directory) / "demand.json").is_file()


def demand_facts(directory: str | Path, *, verify: bool = True) -> dict[str, Any]:
    """The demand's ``demand.json``: rows, start_objects, facts, digest.

    Raises
    ------
    KevacuateError
        If there is none, it is too new, or (with *verify*) its files differ from their digests.

    """
    where = Path(directory)
    body = parquet.read_json(where / "demand.json")
    check_version(body, FORMAT_NAME, where / "demand.json")
    files, digest = body.get("files"), body.get("digest")
    rest = {k: v for k, v in body.items() if k not in ("files", "digest")}
    if (
        not isinstance(files, dict)
        or set(files) != set(_FILES)
        or digest != parquet.combined_digest(rest, files)
    ):
        raise KevacuateError(f"{where / 'demand.json'} is corrupted: it differs from its own digest.")
    try:
        for name, kind in (("rows", int), ("start_objects", int), ("facts", dict[str, Any])):
            checked(body.get(name), kind, name)
    except WrongType as error:
        raise KevacuateError(f"{where / 'demand.json'} is not what this program writes: {error}.") from None
    if verify:
        parquet.verify_files(where, files.items())
    return body


def check_version(body: Mapping[str, Any], name: str, path: Path) -> None:
    """Refuse what is not of this format, or of a newer schema.

    Raises
    ------
    KevacuateError
        Saying which version this program reads.

    """
    version = body.get("schema_version")
    if body.get("format") != name or not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise KevacuateError(f"{path} does not describe a {name}.")
    if version > SCHEMA_VERSION:
        raise KevacuateError(
            f"{path} has schema version {version}, but this program reads up to version {SCHEMA_VERSION}: "
            "install a newer kevacuate."
        )


def read_demand(
    directory: str | Path, chunk_rows: int = 1 << 17, *, verify: bool = True
) -> Iterator[DemandChunk]:
    """The demand in chunks of at most *chunk_rows*, in bounded memory; checked first, at the call.

    Raises
    ------
    KevacuateError
        As :func:`demand_facts`.

    """
    demand_facts(directory, verify=verify)
    return _chunks(Path(directory) / _FILES[0], chunk_rows)


def _chunks(path: Path, chunk_rows: int) -> Iterator[DemandChunk]:
    here = parquet.columns_there(path, DEMAND_TYPES, OPTIONAL)
    last = 0
    for columns in parquet.read_batches(path, here, chunk_rows):
        last = refuse_disorder(columns["t"], last, path)
        rows = len(columns["t"])
        absent = {n: np.full(rows, OPTIONAL[n], DEMAND_TYPES[n]) for n in DEMAND_TYPES if n not in here}
        yield DemandChunk(**columns, **absent)


def demand_span(directory: str | Path) -> tuple[int, int]:
    """(ns from the start state to the last row, number of rows) of a stored demand; (0, 0) of an empty one.

    Raises
    ------
    KevacuateError
        The demand's file is missing or corrupted.

    """
    last, rows = parquet.last_value(Path(directory) / _FILES[0], "t", DEMAND_TYPES["t"])
    return int(last or 0), rows


def read_start_objects(directory: str | Path) -> StartObjects:
    """The start state's movable objects."""
    return StartObjects(**parquet.read_table(Path(directory) / _FILES[1], START_TYPES))
