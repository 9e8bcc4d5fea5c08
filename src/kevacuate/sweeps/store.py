# SPDX-License-Identifier: GPL-2.0-or-later
"""The store of a sweep: a directory of results, each known by its cell's digest.

``cells/DIGEST.json`` is a result as its maker left it: written beside its place and renamed, with a checksum, so that one that
was cut short is as good as none. ``results.parquet`` is the table of all results that were collected since, ``made.parquet`` who
made them and what it took. Collecting reads both, writes the tables anew beside their place, renames them, and then removes the
files: whenever it is ended, every result is in a file or in the table. A result that is in both counts once.

``results.parquet`` depends on nothing but the cells that are there and the version of pyarrow: rows are sorted by what they are.
"""

from __future__ import annotations

import fcntl
import hashlib
import heapq
import json
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from kevacuate.errors import KevacuateError, failing, named_file, small_file
from kevacuate.recording.atomic_write import not_written
from kevacuate.sweeps.cells import canonical
from kevacuate.sweeps.columns import FIRST, MADE, Names, made_table, order_of, rows_of, table_of

RESULTS, MADE_BY, CELLS, EXPERIMENT, DEMANDS, UNABLE, ABOUT, LOCK = (
    "results.parquet",
    "made.parquet",
    "cells",
    "experiment.toml",
    "demands.json",
    "unable.json",
    "store.json",
    "lock",
)
FORMAT, VERSION = "kevacuate sweep", 1

FEWEST, SHARE = 2_000, 2
"""Files are collected on the way once there are so many, and one for every SHARE rows of the table: so that all the collecting
together copies a row a few times at most."""

GROUP = 4_096
"""Rows that are in memory at once while a table is written: its row groups."""

MOST_DEMANDS = 1 << 28
"""Bytes of the file that says where the demands lie."""

STALE_SECONDS = 3600.0
"""A file that was being written so long ago is a killed process's."""

_CHECKSUM = 64


def default_store(experiment: Path) -> Path:
    """Where a sweep is kept unless said: beside its experiment, with the suffix ``.sweep``."""
    return experiment.with_suffix(".sweep")


def store_of(file: Path) -> Path | None:
    """The store that a file is a part of; None if there is none."""
    parts = (RESULTS, MADE_BY, EXPERIMENT, DEMANDS, UNABLE, ABOUT, LOCK)
    place = file.parent if file.name in parts else file.parent.parent
    whole = (place / ABOUT).is_file() and (file.name in parts or file.parent.name == CELLS)
    return place if whole else None


class Store:
    """A store, opened; its directory is made where it is not there.

    Parameters
    ----------
    path : path
        The directory.
    make : bool
        Make it where it is not there.

    Raises
    ------
    KevacuateError
        The directory is none of a sweep, is of a newer version, or cannot be made.
    """

    def __init__(self, path: str | Path, *, make: bool = True) -> None:
        self.path = named_file(path)
        self.cells = self.path / CELLS
        about = self.path / ABOUT
        if make and not about.exists():
            self._make(about)
        with failing(f"{self.path} cannot be read"):
            if not self.path.is_dir():
                raise KevacuateError(f"{self.path} is no store of a sweep: there is no such directory.")
            if not about.is_file():
                raise KevacuateError(f"{self.path} is no store of a sweep: it has no {ABOUT}.")
            told = _json(about.read_bytes())
        if told.get("format") != FORMAT or type(told.get("version")) is not int:
            raise KevacuateError(f"{about} does not describe a store of a sweep: choose another directory.")
        if told["version"] > VERSION:
            raise KevacuateError(
                f"{self.path} has version {told['version']} of a store, and this program reads up to {VERSION}: install a newer "
                "kevacuate."
            )

    def _make(self, about: Path) -> None:
        """Make the directory; one that is there must be empty."""
        with failing(f"{self.path} cannot be made"):
            if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
                raise KevacuateError(
                    f"{self.path} is there and is no store of a sweep: choose another with --store."
                )
            self.cells.mkdir(parents=True, exist_ok=True)
            _put(about, canonical({"format": FORMAT, "version": VERSION}).encode() + b"\n")

    def keep_experiment(self, text: str) -> None:
        """Keep the experiment's text beside the results."""
        with suppress(OSError):
            if small_file(self.path / EXPERIMENT) == text.encode():
                return
        _put(self.path / EXPERIMENT, text.encode())

    def keep_demands(self, paths: Mapping[str, str]) -> None:
        """Keep where the demands of that digest lie here; nothing follows from it but the commands that are shown."""
        known = self.demands()
        if any(known.get(digest) != path for digest, path in paths.items()):
            _put(self.path / DEMANDS, canonical({**known, **paths}).encode())

    def keep_unable(self, why: Mapping[str, str]) -> None:
        """Keep which cells of the last run have no result, and why."""
        if why or (self.path / UNABLE).exists():
            _put(self.path / UNABLE, canonical(dict(why)).encode())

    def demands(self) -> dict[str, str]:
        """Digest of a demand to where it lay when it was swept last."""
        with suppress(OSError):
            told = _json(small_file(self.path / DEMANDS, MOST_DEMANDS))
            return {digest: path for digest, path in told.items() if isinstance(path, str)}
        return {}

    def place(self, digest: str) -> Path:
        """Where a cell's result is put."""
        return self.cells / f"{digest}.json"

    def put(self, result: Mapping[str, Any], made: Mapping[str, Any]) -> None:
        """Keep a cell's result.

        Raises
        ------
        KevacuateError
            It cannot be written.
        """
        _put(self.place(str(result["cell"])), sealed({"result": result, "made": made}))

    def digests(self) -> set[str]:
        """The cells that are there. Files first: one that is collected meanwhile is in the table by then.

        A file that was cut short is removed: its cell is replayed again.
        """
        loose = set()
        for path, found in self.loose():
            if found is None:
                path.unlink(missing_ok=True)
            else:
                loose.add(path.stem)
        return loose | set(self._column("cell"))

    def _names(self) -> list[str]:
        """Names of the results that are files, sorted."""
        with failing(f"{self.cells} cannot be read"):
            self.cells.mkdir(exist_ok=True)
            return sorted(
                name for name in os.listdir(self.cells) if name.endswith(".json") and name[0] != "."
            )

    def _column(self, name: str) -> list[Any]:
        """A column of the table."""
        if not (self.path / RESULTS).exists():
            return []
        found: list[Any] = _read(self.path / RESULTS, [name])[name].to_pylist()
        return found

    def loose(self) -> Iterator[tuple[Path, dict[str, Any] | None]]:
        """The results that are files, in order; None of one that was cut short."""
        for name in self._names():
            with suppress(FileNotFoundError):  # collected meanwhile
                yield self.cells / name, _kept(self.cells / name)

    def table(self) -> pa.Table:
        """The results as a table, those that are not collected yet with it."""
        fresh = [found["result"] for _, found in self.loose() if found is not None]
        if not (self.path / RESULTS).exists():
            return table_of(fresh)
        kept = _read(self.path / RESULTS)
        return table_of(_once(rows_of(kept), fresh)) if fresh else kept

    def made(self) -> list[dict[str, Any]]:
        """Who made what."""
        kept: list[dict[str, Any]] = []
        if (self.path / MADE_BY).exists():
            kept = _read(self.path / MADE_BY).to_pylist()
        return _once(kept, [found["made"] for _, found in self.loose() if found is not None])

    def due(self, files: int, rows: int) -> bool:
        """Whether so many files beside so many rows are to be collected on the way."""
        return files >= max(FEWEST, rows // SHARE)

    def collect(self) -> int:
        """Put the files' results into the tables; how many rows there are. One process at a time does so.

        Raises
        ------
        KevacuateError
            A table cannot be read or written, or the file system has no locks.
        """
        with self._alone():
            self._sweep_out()
            results, makers = self.path / RESULTS, self.path / MADE_BY
            names = Names()
            order: list[tuple[tuple[Any, ...], str]] = []
            found = []
            for path, one in self.loose():
                found.append(path)
                if one is not None:
                    names.add(one["result"])
                    order.append((order_of(one["result"]), path.name))
            if not order:
                rows = len(self._column("cell"))
            else:
                if results.exists():
                    names.add_columns(pq.read_schema(results).names)
                by_cell = sorted((key[-1], name) for key, name in order)
                made = _merged(_rows(makers), self._read_again(by_cell, "made"), itemgetter("cell"))
                _put_table(makers, made, made_table)
                cells = _merged(_rows(results), self._read_again(sorted(order), "result"), order_of)
                rows = _put_table(results, cells, names.table)
            for path in found:
                path.unlink(missing_ok=True)
            return rows

    def _read_again(self, order: Iterable[tuple[Any, str]], part: str) -> Iterator[dict[str, Any]]:
        """A part of the results that are files, read one after the other in that order."""
        for _, name in order:
            found = _kept(self.cells / name)
            if found is not None:
                yield found[part]

    def _sweep_out(self) -> None:
        """Remove what killed processes were writing."""
        for directory in (self.cells, self.path):
            for name in os.listdir(directory):
                if name.startswith(".") and name.endswith(".part"):
                    with suppress(OSError):
                        if time.time() - (directory / name).stat().st_mtime > STALE_SECONDS:
                            (directory / name).unlink()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the store's lock; it ends with the process."""
        with (
            failing(f"{self.path} cannot be locked for collecting"),
            open(self.path / LOCK, "ab") as file,
        ):
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _once(first: Iterable[dict[str, Any]], second: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of both, of every cell the first."""
    found: dict[Any, dict[str, Any]] = {}
    for rows in (first, second):
        for row in rows:
            found.setdefault(row["cell"], row)
    return list(found.values())


def _merged(
    kept: Iterator[dict[str, Any]], fresh: Iterator[dict[str, Any]], key: Callable[[dict[str, Any]], Any]
) -> Iterator[dict[str, Any]]:
    """The rows of both, which are in order, in order; of every cell the first."""
    last = None
    for row in heapq.merge(kept, fresh, key=key):
        if row["cell"] != last:
            yield row
        last = row["cell"]


def _kept(path: Path) -> dict[str, Any] | None:
    """What a cell's file holds; None of one that was cut short.

    Raises
    ------
    KevacuateError
        It cannot be read.
    FileNotFoundError
        It is gone.
    """
    try:
        found = unsealed(small_file(path))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise KevacuateError(f"{path} cannot be read ({error.strerror}): move it away.") from None
    whole = found is not None and all(isinstance(found.get(part), dict) for part in ("result", "made"))
    return found if whole else None


def sealed(value: Any) -> bytes:
    """JSON and its checksum: what is cut short or changed is told from it."""
    body = canonical(value).encode()
    return body + b"\n" + hashlib.sha256(body).hexdigest().encode()


def unsealed(data: bytes) -> dict[str, Any] | None:
    """The value of :func:`sealed`; None where the data are not all there."""
    body, newline, checksum = data[: -_CHECKSUM - 1], data[-_CHECKSUM - 1 : -_CHECKSUM], data[-_CHECKSUM:]
    if newline != b"\n" or hashlib.sha256(body).hexdigest().encode() != checksum:
        return None
    return _json(body)


def _json(data: bytes) -> dict[str, Any]:
    """An object of JSON; empty where it is none."""
    try:
        value = json.loads(data)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _put(target: Path, data: bytes) -> None:
    """Write a file beside its place and rename it."""
    own = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        own.write_bytes(data)
        own.replace(target)
    except OSError as error:
        with suppress(OSError):
            own.unlink(missing_ok=True)
        raise not_written(target, error) from None


def _put_table(
    target: Path, rows: Iterator[dict[str, Any]], table: Callable[[list[dict[str, Any]]], pa.Table]
) -> int:
    """Write rows as a table beside its place, GROUP at a time, have the disk keep it, and rename it; how many they are."""
    own = target.with_name(f".{target.name}.{os.getpid()}.part")
    count = 0
    try:
        with pq.ParquetWriter(own, table([]).schema, compression="zstd", store_schema=False) as writer:
            while group := list(islice(rows, GROUP)):
                writer.write_table(table(group))
                count += len(group)
        with own.open("rb+") as file:
            os.fsync(file.fileno())
        own.replace(target)
    except BaseException as error:
        with suppress(OSError):
            own.unlink(missing_ok=True)
        if isinstance(error, OSError | pa.ArrowException):
            raise not_written(target, error) from None
        raise
    return count


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """While the block runs, what is wrong with a table of the store is told with the way out.

    Raises
    ------
    KevacuateError
        In its place.
    """
    try:
        yield
    except (OSError, pa.ArrowException, KeyError) as error:
        said = str(error).partition("\n")[0].removesuffix(".")
        raise KevacuateError(
            f"{path} cannot be read ({said}): move it away, and the sweep replays its cells again."
        ) from None


def _checked(path: Path) -> None:
    """See that a table of the store has the columns of one.

    Raises
    ------
    KevacuateError
        It has not, or is corrupted.
    """
    with _reading(path):
        if not stat.S_ISREG(path.stat().st_mode):
            raise OSError("it is no ordinary file")
        schema = pq.read_schema(path)
        kinds = dict(zip(schema.names, schema.types, strict=True))
        for name, kind in FIRST if path.name == RESULTS else MADE:
            if kinds.get(name) != kind:
                raise OSError(f"it has no column {name} of the type {kind}")


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a table of the store, GROUP of them in memory at a time; none of one that is not there."""
    if not path.exists():
        return
    _checked(path)
    with _reading(path), pq.ParquetFile(path) as file:
        for batch in file.iter_batches(GROUP):
            yield from rows_of(batch) if path.name == RESULTS else batch.to_pylist()


def _read(path: Path, columns: list[str] | None = None) -> pa.Table:
    """A table of the store.

    Raises
    ------
    KevacuateError
        It is corrupted.
    """
    _checked(path)
    with _reading(path):
        return pq.read_table(path, columns=columns, partitioning=None)
