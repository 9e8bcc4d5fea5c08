# SPDX-License-Identifier: GPL-2.0-or-later
"""The saved form of a comparison: one file that holds everything of its runs, the map over time and the history included.

A zip archive of .npy arrays (what ``numpy.savez_compressed`` writes, arrays of integers alone) and one ``about.json``.
Nothing in it is executed; what is read is checked before it is used.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from kevacuate.errors import KevacuateError, instance, named_file
from kevacuate.measure.frames import Frames, Steps
from kevacuate.measure.held_states import HeldStates
from kevacuate.measure.history import History
from kevacuate.measure.holders import Holder
from kevacuate.measure.results import Comparison, Run
from kevacuate.recording.atomic_write import written
from kevacuate.recording.recognise import SAVED, recognised

FORMAT = "kevacuate comparison"
VERSION = 2
MOST_BYTES = 1 << 34
"""Arrays of more than this (16 GiB) in all are not read."""

_HEAD = 64
"""Bytes in which a saved result shows as one."""

Arrays = dict[str, npt.NDArray[Any]]


def _steps_arrays(name: str, steps: Steps) -> Arrays:
    return {f"{name}.{part}": getattr(steps, part) for part in ("first", "offsets", "place", "value")}


def _run_arrays(name: str, run: Run) -> Arrays:
    """The arrays of a run, by the name they have in the file."""
    arrays: Arrays = {}
    if run.frames is not None:
        frames = run.frames
        arrays |= {f"{name}.t": frames.t, f"{name}.start": frames.start, f"{name}.zone": frames.zone}
        arrays |= _steps_arrays(f"{name}.blocks", frames.blocks)
        if frames.pages is not None:
            arrays |= _steps_arrays(f"{name}.pages", frames.pages)
        if frames.held is not None:
            arrays |= {f"{name}.held.t": frames.held.t, f"{name}.held.cells": frames.held.cells}
    if run.history is not None:
        arrays[f"{name}.history"] = run.history.records
    return arrays


def _run_about(run: Run) -> dict[str, Any]:
    """A run's JSON part."""
    about = run.to_json(series=True)
    if run.frames is not None:
        about["map"] = {"zones": list(run.frames.zones), "pageblock_order": run.frames.pageblock_order}
        if run.frames.held is not None:
            about["map"]["held"] = {
                "states": run.frames.held.labels,
                "holders": [(holder.kind, holder.name) for holder in run.frames.held.holders],
            }
    if run.history is not None:
        about["history"] = {"pageblock_order": run.history.pageblock_order, "lost": run.history.lost}
    return about


def save_comparison(path: str | Path, comparison: Comparison) -> None:
    """Write a comparison to one file, which is replaced if it exists; it appears there only when it is complete.

    Raises
    ------
    KevacuateError
        It cannot be written.
    """
    target = Path(path)
    about = {
        "format": FORMAT,
        "version": VERSION,
        "recording": comparison.recording,
        "runs": [_run_about(run) for run in comparison.runs],
    }
    with (
        written(target, replace=True) as file,
        zipfile.ZipFile(file.path, "w", zipfile.ZIP_DEFLATED, compresslevel=4) as archive,
    ):
        archive.writestr(_member("about.json"), json.dumps(about, sort_keys=True, allow_nan=False))
        for i, run in enumerate(comparison.runs):
            for name, array in _run_arrays(str(i), run).items():
                with archive.open(_member(f"{name}.npy"), "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)


def _member(name: str) -> zipfile.ZipInfo:
    """An entry without a time of day, so that equal results are equal files."""
    info = zipfile.ZipInfo(name)
    info.compress_type = zipfile.ZIP_DEFLATED
    return info


def _no_number(name: str) -> None:
    """NaN and Infinity: no measure is one."""
    raise ValueError(f"{name} is no number")


def is_saved(path: str | Path) -> bool:
    """Whether a file is a saved result, whole or damaged: by its first bytes, or else by its table of contents."""
    try:
        with Path(path).open("rb") as file:
            kind = recognised(file.read(_HEAD))
        if kind is not None and kind.what == SAVED:
            return True
        with zipfile.ZipFile(path) as archive:
            return "about.json" in archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return False


def _damaged(source: object, what: str) -> KevacuateError:
    """What is said of a saved result that is damaged; *what* says where."""
    return KevacuateError(f"{source} is a saved result and is damaged: {what}. Make it again with --save.")


def _member_bytes(archive: zipfile.ZipFile, name: str) -> bytes:
    """An entry's content.

    Raises
    ------
    KevacuateError
        It is damaged.
    KeyError
        There is none of that name.
    """
    info = archive.getinfo(name)
    try:
        return archive.read(info)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError):
        where = f"its entry {name} (from byte {info.header_offset} on) cannot be unpacked"
        raise _damaged(archive.filename, where) from None


def _read_array(archive: zipfile.ZipFile, name: str) -> npt.NDArray[Any]:
    """One array of integers; its header may not promise more than the entry holds."""
    data = _member_bytes(archive, f"{name}.npy")
    stream: IO[bytes] = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    if version != (1, 0):
        raise ValueError(f"array format {version}")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    count = int(np.prod(shape, dtype=object)) if shape else 1
    if dtype.kind not in "iu" or fortran or count * dtype.itemsize != len(data) - stream.tell():
        raise ValueError("not a plain array of integers")
    return np.frombuffer(data, dtype, count, stream.tell()).reshape(shape)


def _read_steps(archive: zipfile.ZipFile, name: str) -> Steps:
    first, offsets, place, value = (
        _read_array(archive, f"{name}.{part}") for part in ("first", "offsets", "place", "value")
    )
    if {a.ndim for a in (first, offsets, place, value)} != {1}:
        raise ValueError("not a list")
    return Steps(first, offsets.astype(np.int64), place.astype(np.int64), value)


def _read_frames(archive: zipfile.ZipFile, name: str, about: dict[str, Any]) -> Frames:
    """A run's map, checked."""
    order = int(about["pageblock_order"])
    if not 1 <= order <= 13:
        raise ValueError(f"pageblock order {order}")
    t, start, zone = (_read_array(archive, f"{name}.{part}") for part in ("t", "start", "zone"))
    pages = f"{name}.pages.first.npy" in archive.namelist()
    frames = Frames(
        t.astype(np.int64),
        start.astype(np.int64),
        zone.astype(np.uint8),
        tuple(str(z) for z in about["zones"]),
        order,
        _read_steps(archive, f"{name}.blocks"),
        _read_steps(archive, f"{name}.pages") if pages else None,
        _read_held(archive, name, about["held"]) if "held" in about else None,
    )
    frames.check()
    return frames


def _read_held(archive: zipfile.ZipFile, name: str, about: dict[str, Any]) -> HeldStates:
    """What holds a map's pageblocks; the map checks it."""
    t, cells = (_read_array(archive, f"{name}.held.{part}").astype(np.int64) for part in ("t", "cells"))
    holders = tuple(Holder(str(kind), str(label)) for kind, label in about["holders"])
    return HeldStates(tuple(str(state) for state in about["states"]), t, holders, cells)


def _read_run(archive: zipfile.ZipFile, name: str, about: dict[str, Any]) -> Run:
    """One run; its figures must be there, of which kind they are shows when they are used."""
    frames = _read_frames(archive, name, about["map"]) if "map" in about else None
    history = None
    if "history" in about:
        records = _read_array(archive, f"{name}.history")
        told = about["history"]
        if records.ndim != 2 or records.shape[1] != 8:
            raise ValueError("not a log")
        history = History(records, int(told["pageblock_order"]), int(told["lost"]))
        history.check()
    return run_from_json(about, frames, history)


def run_from_json(about: dict[str, Any], frames: Frames | None = None, history: History | None = None) -> Run:
    """The inverse of :meth:`Run.to_json`; raises KeyError or TypeError where it is not that."""
    parts = [dict(about[name]) for name in ("metrics", "series", "provenance", "timing")]
    metrics, series, provenance, timing = parts
    if "t" not in series or len({len(values) for values in series.values()}) != 1:
        raise TypeError("series of unequal length")
    return Run(str(about["policy"]), metrics, series, provenance, timing, frames, history)


@contextmanager
def figures_of(source: object) -> Iterator[None]:
    """While a comparison's figures are drawn or printed: those that it lacks, or that are no numbers, are an error in words.

    Raises
    ------
    KevacuateError
        In place of what Python raises there; *source* names the file.
    """
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise KevacuateError(
            f"{source} lacks figures of a run ({type(error).__name__}: {error}): another version saved it, save it again."
        ) from None


def load_comparison(path: str | Path) -> Comparison:
    """Read what :func:`save_comparison` wrote.

    Raises
    ------
    KevacuateError
        It is not that, or damaged, or of another version.
    """
    source = Path(path)
    try:
        with zipfile.ZipFile(source) as archive:
            if sum(info.file_size for info in archive.infolist()) > MOST_BYTES:
                raise KevacuateError(f"{source} would unpack to more than 16 GiB: it is not read.")
            about = json.loads(_member_bytes(archive, "about.json"), parse_constant=_no_number)
            if about["format"] != FORMAT:
                raise KevacuateError(f"{source} is not a saved result: another program wrote it.")
            if int(about["version"]) > VERSION:
                raise KevacuateError(f"{source} was saved by a newer version: upgrade kevacuate.")
            if int(about["version"]) < VERSION:
                raise KevacuateError(
                    f"{source} was saved by an older version, which wrote its log differently: save it again."
                )
            runs = tuple(_read_run(archive, str(i), one) for i, one in enumerate(about["runs"]))
            if not runs:
                raise ValueError("no runs")
            return Comparison(runs, dict(about["recording"]))
    except OSError as error:
        raise KevacuateError(f"{source} cannot be read: {error.strerror or error}.") from None
    except zipfile.BadZipFile:
        if not is_saved(source):
            raise KevacuateError(f"{source} is not a saved result: it is not what --save writes.") from None
        raise _damaged(
            source, f"its table of contents is not at its end, byte {source.stat().st_size}"
        ) from None
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, NotImplementedError) as error:
        raise _damaged(
            source, f"what it holds does not fit together ({type(error).__name__}: {error})"
        ) from None


def save(what: Comparison, path: str | Path) -> Path:
    """Keep a comparison in one file, with everything of its runs; an older file is replaced.

    Parameters
    ----------
    what : Comparison
        Of :func:`kevacuate.compare`. Made with ``ReplayOptions(keep=True)`` it has maps, which are kept too.
    path : path
        The file; it appears there only when it is complete. Equal comparisons make equal files, but for ``timing``.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    KevacuateError
        *what* is no comparison, or the file cannot be written.

    Examples
    --------
    >>> import kevacuate
    >>> result = kevacuate.compare("my-server.kev", "mainline", repeats=1)
    >>> kevacuate.save(result, "result.kevc")
    PosixPath('result.kevc')
    """
    target = named_file(path)
    save_comparison(target, instance(what, Comparison, "compare"))
    return target


def load(path: str | Path, *more: str | Path) -> Comparison:
    """Read what :func:`save` wrote; of several files of one recording, the runs together.

    Parameters
    ----------
    path, *more : path
        Files. One seed of a policy is one run, wherever it stands; one with a map is taken before one without.

    Returns
    -------
    Comparison
        As it was saved.

    Raises
    ------
    KevacuateError
        A file is no saved comparison, damaged, of another version, or of another recording than the first.

    Examples
    --------
    >>> import kevacuate
    >>> result = kevacuate.compare("my-server.kev", "mainline", repeats=1)
    >>> kevacuate.load(kevacuate.save(result, "result.kevc")).runs == result.runs
    True
    """
    paths = [named_file(one) for one in (path, *more)]
    first, *others = (load_comparison(one) for one in paths)
    if not others:
        return first
    for one, other in zip(paths[1:], others, strict=True):
        if other.recording.get("digest") != first.recording.get("digest"):
            raise KevacuateError(
                f"{one} is of another recording than {paths[0]}: compare what replays one demand."
            )
    once: dict[tuple[str, int], Run] = {}
    for run in (run for one in (first, *others) for run in one.runs):
        kept = once.setdefault((run.policy, run.seed), run)
        if kept.frames is None and run.frames is not None:
            once[run.policy, run.seed] = run
    return Comparison(tuple(once.values()), first.recording)
