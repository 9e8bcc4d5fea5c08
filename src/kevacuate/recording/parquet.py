# SPDX-License-Identifier: GPL-2.0-or-later
"""Parquet and JSON files of a recording: how they are encoded, and errors in words instead of tracebacks."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from kevacuate.errors import KevacuateError
from kevacuate.recording.atomic_write import not_written

ROW_GROUP_ROWS = 1 << 18
"""Rows of a row group, and so what a writer holds of a stream at most."""

DELTA_COLUMNS = frozenset({"ts", "t", "obj", "aux"})
"""Columns stored as packed differences."""

SPLIT_COLUMNS = frozenset({"pfn"})
"""Columns stored byte by byte (all first bytes, then all second ones): what is freed in the order in which it was
allocated is then a repetition that the compression finds. Columns that are neither have a dictionary."""

COMPRESSION_LEVEL = 5
_WHOLE_PAGES = {"data_page_size": 8 << 20}
if "max_rows_per_page" in inspect.signature(pq.ParquetWriter.__init__).parameters:
    _WHOLE_PAGES["max_rows_per_page"] = ROW_GROUP_ROWS  # else repetitions are found within 20,000 rows only

_MAX_JSON_BYTES = 1 << 26
Columns = Mapping[str, npt.NDArray[Any]]


def refuse_unencodable(path: Path) -> None:
    """Raise KevacuateError at a path that is no UTF-8: pyarrow opens no such file."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise KevacuateError(f"{path} has a name that is not UTF-8: rename it.") from None


def arrow_of(column: npt.NDArray[Any]) -> pa.Array:
    """Numbers as Arrow's array, which shares the memory (not of bools).

    pyarrow's own conversions import pandas where it is installed, which takes longer than most commands.
    """
    kind = pa.from_numpy_dtype(column.dtype)
    cells = (
        np.packbits(column, bitorder="little") if column.dtype == np.bool_ else np.ascontiguousarray(column)
    )
    return pa.Array.from_buffers(kind, len(column), [None, pa.py_buffer(cells)])


_OTHER_NAMES = {"halffloat": "float16", "float": "float32", "double": "float64"}
"""Names of Arrow's types that are not NumPy's."""


def numpy_type(kind: pa.DataType) -> np.dtype[Any]:
    """NumPy's type of Arrow's numbers. ``to_pandas_dtype`` says it, too, but imports pandas in pyarrow before 26."""
    return np.dtype(_OTHER_NAMES.get(str(kind), str(kind)))


def numpy_of(column: pa.Array) -> npt.NDArray[Any]:
    """Arrow's array of numbers, none missing, as NumPy's, which shares the memory (not of bools): see :func:`arrow_of`."""
    dtype = numpy_type(column.type)
    if not len(column):
        return np.empty(0, dtype)
    cells = column.buffers()[1]
    if dtype == np.bool_:  # eight in a byte
        bits = np.unpackbits(np.frombuffer(cells, np.uint8), bitorder="little")
        return bits[column.offset : column.offset + len(column)].view(np.bool_)
    return np.frombuffer(cells, dtype, len(column), column.offset * dtype.itemsize)


def _any_of(mask: npt.NDArray[np.bool_], column: pa.ChunkedArray) -> bool:
    """Whether the mask has one of a column's numbers."""
    return any(bool(mask[numpy_of(chunk)].any()) for chunk in column.chunks)


class TableWriter:
    """A Parquet file that grows by columns of equal length, regrouped into full row groups.

    Parameters
    ----------
    path : Path
        The file.
    types : mapping
        Column name to NumPy scalar type, in order.

    """

    def __init__(self, path: Path, types: Mapping[str, type[np.generic]]) -> None:
        self.path, self.types, self.rows = path, dict(types), 0
        self._held: list[dict[str, npt.NDArray[Any]]] = []
        self._held_rows = 0
        self._failure: KevacuateError | None = None
        self.schema = pa.schema([(n, pa.from_numpy_dtype(np.dtype(t))) for n, t in self.types.items()])
        plain = {n: "DELTA_BINARY_PACKED" for n in self.types if n in DELTA_COLUMNS}
        plain |= {n: "BYTE_STREAM_SPLIT" for n in self.types if n in SPLIT_COLUMNS}
        try:
            self._writer = pq.ParquetWriter(
                path,
                self.schema,
                compression="zstd",
                compression_level=COMPRESSION_LEVEL,
                use_dictionary=[n for n in self.types if n not in plain],
                column_encoding=plain or None,
                **_WHOLE_PAGES,
            )
        except (OSError, pa.ArrowException) as error:
            raise not_written(path, error) from None

    def add(self, columns: Columns) -> None:
        """Append rows (the arrays are copied)."""
        part = {n: np.array(columns[n], t) for n, t in self.types.items()}
        self._held.append(part)
        self._held_rows += len(next(iter(part.values())))
        while self._held_rows >= ROW_GROUP_ROWS:
            self._flush(ROW_GROUP_ROWS)

    def _flush(self, rows: int) -> None:
        joined = {n: np.concatenate([p[n] for p in self._held]) for n in self.types}
        table = pa.table([arrow_of(c[:rows]) for c in joined.values()], schema=self.schema)
        try:
            self._writer.write_table(table, row_group_size=ROW_GROUP_ROWS)
        except (OSError, pa.ArrowException) as error:
            self._fail(error)
        self._held = [{n: c[rows:] for n, c in joined.items()}]
        self._held_rows -= rows
        self.rows += rows

    def close(self) -> None:
        """Write what is held and finish the file.

        Raises
        ------
        KevacuateError
            It cannot be written, now or before.

        """
        if self._failure:
            raise self._failure
        if self._held_rows:
            self._flush(self._held_rows)
        try:
            self._writer.close()
        except (OSError, pa.ArrowException) as error:
            self._fail(error)

    def _fail(self, error: Exception) -> NoReturn:
        """Give the file up, in words; what is held of it is not written."""
        self._writer.is_open = False  # else its destructor tries once more, and prints a traceback
        self._failure = not_written(self.path, error)
        raise self._failure from None


def write_table(path: Path, columns: Columns) -> None:
    """One whole table in one file."""
    writer = TableWriter(path, {n: c.dtype.type for n, c in columns.items()})
    writer.add(columns)
    writer.close()


def _open(path: Path, types: Mapping[str, type[np.generic]]) -> pq.ParquetFile:
    """The file, checked to have these columns."""
    if not path.is_file():
        raise KevacuateError(f"{path} is missing: the recording is not complete.")
    try:
        file = pq.ParquetFile(path)
        schema = file.schema_arrow
    except (OSError, pa.ArrowException):
        raise KevacuateError(
            f"{path} is corrupted or truncated: it is not a readable Parquet file."
        ) from None
    for name, dtype in types.items():
        at = schema.get_field_index(name)
        if at < 0 or schema.field(at).type != pa.from_numpy_dtype(np.dtype(dtype)):
            raise KevacuateError(
                f"{path} has no column {name} of type {np.dtype(dtype)}: not such a recording."
            )
    return file


def columns_there(
    path: Path, types: Mapping[str, type[np.generic]], optional: Mapping[str, Any]
) -> dict[str, type[np.generic]]:
    """Of these columns those that must be there, and of the *optional* ones those that the file has.

    Raises
    ------
    KevacuateError
        If the file is missing or corrupted, or a column that must be there is not.

    """
    needed = {name: dtype for name, dtype in types.items() if name not in optional}
    with _open(path, needed) as file:
        there = set(file.schema_arrow.names)
    return {name: dtype for name, dtype in types.items() if name in needed or name in there}


def read_batches(
    path: Path,
    types: Mapping[str, type[np.generic]],
    rows: int,
    skip: Mapping[str, int] | None = None,
    only: Mapping[str, npt.NDArray[np.bool_]] | None = None,
) -> Iterator[dict[str, npt.NDArray[Any]]]:
    """The table in batches of at most *rows* rows, as NumPy columns.

    Parameters
    ----------
    path : Path
        The file.
    types : mapping
        The columns to read, which must have these types.
    rows : int
        Most rows of a batch.
    skip : mapping, optional
        Column to a value: row groups whose largest value of that column is smaller are left out.
    only : mapping, optional
        Column of small unsigned numbers to a mask of them: row groups with none of these are left out. That column is
        read beforehand, by itself.

    Raises
    ------
    KevacuateError
        If the file is missing, corrupted or has other columns.

    """
    file = _open(path, types)
    try:
        groups = _groups(file, skip or {})
        for column, mask in (only or {}).items():
            groups = [i for i in groups if _any_of(mask, file.read_row_group(i, [column]).column(0))]
        for batch in file.iter_batches(rows, row_groups=groups, columns=list(types), use_threads=True):
            columns = {n: batch.column(n) for n in types}
            if any(c.null_count for c in columns.values()):
                raise KevacuateError(f"{path} is corrupted: it has empty cells.")
            yield {n: numpy_of(c) for n, c in columns.items()}
    except (OSError, ValueError, pa.ArrowException):
        raise KevacuateError(f"{path} is corrupted or truncated: its data cannot be read.") from None
    finally:
        file.close()


def last_value(path: Path, column: str, dtype: type[np.generic]) -> tuple[Any, int]:
    """(the last cell of a column or None where there is none, rows of the table): only the last row group's column is read.

    Raises
    ------
    KevacuateError
        As :func:`read_batches`.

    """
    with _open(path, {column: dtype}) as file:
        try:
            filled = [i for i in range(file.num_row_groups) if file.metadata.row_group(i).num_rows]
            if not filled:
                return None, 0
            cells = file.read_row_group(filled[-1], [column], use_threads=False).column(0)
            if cells.null_count:
                raise KevacuateError(f"{path} is corrupted: it has empty cells.")
            return cells[-1].as_py(), file.metadata.num_rows
        except (OSError, ValueError, pa.ArrowException):
            raise KevacuateError(f"{path} is corrupted or truncated: its data cannot be read.") from None


def _groups(file: pq.ParquetFile, skip: Mapping[str, int]) -> list[int]:
    groups = []
    for i in range(file.num_row_groups):
        group = file.metadata.row_group(i)
        for j in range(group.num_columns):
            column = group.column(j)
            least = skip.get(column.path_in_schema)
            stats = column.statistics if least is not None else None
            if least is not None and stats is not None and stats.has_min_max and stats.max < least:
                break
        else:
            groups.append(i)
    return groups


def read_table(path: Path, types: Mapping[str, type[np.generic]]) -> dict[str, npt.NDArray[Any]]:
    """The whole table as NumPy columns."""
    parts = list(read_batches(path, types, 1 << 20))
    return {n: np.concatenate([np.empty(0, t), *(p[n] for p in parts)]) for n, t in types.items()}


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """A JSON file with sorted keys."""
    try:
        path.write_text(json.dumps(values, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    except OSError as error:
        raise not_written(path, error) from None


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file that holds an object.

    Raises
    ------
    KevacuateError
        If it is missing, not JSON, or not an object.

    """
    try:
        if path.stat().st_size > _MAX_JSON_BYTES:
            raise KevacuateError(f"{path} is larger than any such file can be.")
        values = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise KevacuateError(f"{path} is missing: the recording is not complete.") from None
    except OSError as error:
        raise KevacuateError(f"{path} cannot be read: {error.strerror or error}.") from None
    except (ValueError, RecursionError):
        raise KevacuateError(f"{path} is corrupted or truncated: it is not JSON.") from None
    if not isinstance(values, dict):
        raise KevacuateError(f"{path} is corrupted: it does not hold a JSON object.")
    return values


def file_digest(path: Path) -> str:
    """SHA-256 of the file, hex."""
    digest = hashlib.sha256()
    if path.exists() and not path.is_file():  # a device or a pipe may have no end
        raise KevacuateError(f"{path} is not a regular file: the recording is corrupted.")
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except FileNotFoundError:
        raise KevacuateError(f"{path} is missing: the recording is not complete.") from None
    except OSError as error:
        raise KevacuateError(f"{path} cannot be read: {error.strerror or error}.") from None
    return digest.hexdigest()


def combined_digest(facts: Mapping[str, Any], files: Mapping[str, str]) -> str:
    """SHA-256 (hex) of the JSON values *facts* and of the files' digests."""
    text = json.dumps([facts, dict(files)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def verify_files(directory: Path, files: Iterable[tuple[str, Any]]) -> None:
    """Check files against their digests.

    Raises
    ------
    KevacuateError
        If one is missing or differs.

    """
    for name, digest in files:
        if not isinstance(name, str) or name.startswith("/") or ".." in name.split("/"):
            raise KevacuateError(f"{directory} is corrupted: it names a file outside itself.")
        if file_digest(directory / name) != digest:
            raise KevacuateError(f"{directory / name} is corrupted: its content differs from its digest.")
