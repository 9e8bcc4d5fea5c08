# SPDX-License-Identifier: GPL-2.0-or-later
"""What a Dask worker does: replays a run of cells and returns their results as text.

A thread of the worker holds its last demand, as a local worker does. What this machine cannot read by its path is sent once and
kept until the process ends; its digest is checked like that of any other.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from kevacuate.errors import KevacuateError
from kevacuate.sweeps.bench import Absent, Bench, Unable
from kevacuate.sweeps.cells import Cell, Source, canonical, model_version
from kevacuate.sweeps.fleetworker import one_sheet

OTHER_VERSION = (
    "A Dask worker has another version of the model than this command: install the same kevacuate."
)

_here = threading.local()
_sent: dict[str, TemporaryDirectory[str]] = {}
_receiving = threading.Lock()


def _bench() -> Bench:
    """The bench of the thread that calls."""
    if not hasattr(_here, "bench"):
        _here.bench = Bench("dask")
    bench: Bench = _here.bench
    return bench


def _unpack(files: Mapping[str, bytes], directory: str) -> None:
    """Write what was sent into a directory.

    Raises
    ------
    KevacuateError
        A name leads out of it.
    """
    for name, data in files.items():
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise KevacuateError(f"{name!r} was sent and leads out of its directory.")
        place = Path(directory, name)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)


def _received(key: str, files: Mapping[str, bytes]) -> Path:
    """The directory in which what was sent under a key is kept.

    Raises
    ------
    KevacuateError
        A name leads out of it.
    """
    with _receiving:
        if key not in _sent:
            made = TemporaryDirectory(prefix="kevacuate-sent-")
            _unpack(files, made.name)
            _sent[key] = made
        return Path(_sent[key].name)


def _put(source: Source, files: Mapping[str, bytes]) -> Source:
    """A demand or start state that was sent, where it is kept here."""
    place = _received(source.digest, files)
    return source._replace(path=str(place / next(iter(files)).partition("/")[0]))


def _with_policy(cell: Cell, text: str | None) -> Cell:
    """The cell, its policy's file where it was put here."""
    path, colon, rest = cell.spec.partition(".py:")
    if text is None or not colon:
        return cell
    name = f"{Path(path).name}.py"
    return replace(cell, spec=f"{_received(cell.code, {name: text.encode()}) / name}:{rest}")


def replay_run(
    order: str, demand: Mapping[str, bytes] | None = None, start: Mapping[str, bytes] | None = None
) -> str:
    """Replay cells of one demand and start: JSON of a list with ``result`` and ``made``, or ``cell`` and ``unable``, of each.

    Parameters
    ----------
    order : str
        JSON of ``model``, ``cells`` and ``policies`` (text of each file, by its hash).
    demand, start : mapping of str to bytes, optional
        The files of the cells' recording and of their start state, if this machine cannot read one by its path.
    """
    values = json.loads(order)
    cells = [Cell.of_json(one) for one in values["cells"]]
    if values["model"] != model_version():
        return canonical([{"cell": digest, "unable": OTHER_VERSION} for digest in values["told"]])
    said: list[dict[str, Any]] = []
    for cell in cells:
        said.append(_one(_with_policy(cell, values["policies"].get(cell.code)), demand, start))
    return canonical(said)


def _one(cell: Cell, demand: Mapping[str, bytes] | None, start: Mapping[str, bytes] | None) -> dict[str, Any]:
    """One cell."""
    try:
        done = _bench().run(cell)
    except Absent as error:
        if demand is None:
            return {"cell": cell.digest, "absent": str(error)}
        begun = cell.start if cell.start is None or start is None else _put(cell.start, start)
        return _one_sent(replace(cell, source=_put(cell.source, demand), start=begun))
    except (Unable, KevacuateError) as error:
        return {"cell": cell.digest, "unable": str(error)}
    return {"result": done.result, "made": done.made}


def _one_sent(cell: Cell) -> dict[str, Any]:
    """One cell, whose demand was sent."""
    try:
        done = _bench().run(cell)
    except (Unable, KevacuateError) as error:
        return {"cell": cell.digest, "unable": str(error)}
    return {"result": done.result, "made": done.made}


def mark_of(path: Path) -> str:
    """Hash (hex) of the file that names a recording's other files and their digests; empty of one without."""
    about = path / "machine.json"
    return hashlib.sha256(about.read_bytes()).hexdigest() if about.is_file() else ""


def triage_run(order: str, sent: Mapping[str, Mapping[str, bytes]] | None = None) -> str:
    """Triage recordings: JSON of a list with ``sheet`` or ``refused`` of each, or ``absent`` where it is not here.

    Parameters
    ----------
    order : str
        JSON of ``model`` and ``recordings``, each a path and its :func:`mark_of`.
    sent : mapping of str to mapping of str to bytes, optional
        Path to the recording's files, of those that this machine cannot read by their paths.
    """
    values = json.loads(order)
    if values["model"] != model_version():
        return canonical([{"refused": OTHER_VERSION} for _ in values["recordings"]])
    said: list[dict[str, Any]] = []
    for path, mark in values["recordings"]:
        if sent is not None:
            with TemporaryDirectory(prefix="kevacuate-sent-") as place:
                _unpack(sent[path], place)
                said.append(one_sheet(str(Path(place, Path(path).name)), path))
        elif not Path(path).is_dir() or mark_of(Path(path)) != mark:
            said.append({"absent": True})
        else:
            said.append(one_sheet(path))
    return canonical(said)
