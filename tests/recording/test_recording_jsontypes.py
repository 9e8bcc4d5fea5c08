# SPDX-License-Identifier: GPL-2.0-or-later
"""Recordings with right digests and values of the wrong kind: each is an error in words, or is read."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kevacuate.demand.build import build_demand
from kevacuate.demand.start_objects import pages_in_use
from kevacuate.errors import KevacuateError
from kevacuate.recording import Recording, demand_facts
from kevacuate.recording.jsontypes import WrongType, build, checked
from kevacuate.recording.parquet import combined_digest, file_digest

WRONG: tuple[Any, ...] = (None, [], {}, "x", -1, 1.5, True, 2**70, [[]], 1 << 62)
GONE = object()
SNAPSHOT = {
    "ts": 1, "label": "start", "vmstat": {"pgfault": 1},
    "zones": [{
        "node": 0, "name": "Normal", "start_pfn": 0, "spanned": 1024, "present": 1024, "managed": 1024, "free": 5, "boost": 0,
        "watermark": [1, 2, 3, 4], "protection": [0, 0], "chunks": [1, 2], "chunks_by_type": {"Movable": [1]},
        "blocks_by_type": {"Movable": 2},
        "pcp": [{"cpu": 0, "count": 1, "high": 2, "batch": 3, "high_min": 0, "high_max": 0}],
    }],
}  # fmt: skip


def paths(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where values lie in a JSON document; of a list the first."""
    items = (
        value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    )
    for key, inner in items:
        yield (*at, key)
        yield from paths(inner, (*at, key))


def with_value(document: Any, at: tuple[Any, ...], value: Any) -> Any:
    """A copy of the document with another value there, or none."""
    changed = copy.deepcopy(document)
    inner = changed
    for key in at[:-1]:
        inner = inner[key]
    if value is GONE:
        del inner[at[-1]]
    else:
        inner[at[-1]] = value
    return changed


def seal(recording: Path, name: str = "machine.json") -> None:
    """Give a recording the digests of what it holds now."""
    body = json.loads((recording / name).read_text())
    files = {file: file_digest(recording / file) for file in body.pop("files")}
    body.pop("digest")
    body |= {"files": files, "digest": combined_digest(body, files)}
    (recording / name).write_text(json.dumps(body))


def read_all(recording: Path) -> None:
    """Everything of a recording that is made of JSON values, and what first uses them."""
    opened = Recording.open(recording)
    _ = opened.machine, opened.quality, opened.losses, opened.snapshots
    for state in opened.states:
        repr(state)
        if sum(zone.spanned for zone in state.zones) < 1 << 30:
            pages_in_use(state, opened.machine.hugepage_order)
    demand_facts(recording)
    repr(build_demand(opened))


@pytest.fixture
def recording(synthetic_kev: Path, tmp_path: Path) -> Path:
    """A copy with a snapshot, to damage."""
    path = tmp_path / "x.kev"
    shutil.copytree(synthetic_kev, path)
    (path / "snapshots.jsonl").write_text(json.dumps(SNAPSHOT) + "\n")
    body = json.loads((path / "machine.json").read_text())
    body["files"]["snapshots.jsonl"] = ""
    (path / "machine.json").write_text(json.dumps(body))
    seal(path)
    return path


@pytest.mark.parametrize(
    "name", ["machine.json", "quality.json", "states/000/state.json", "snapshots.jsonl", "demand.json"]
)
def test_values_of_the_wrong_kind(recording: Path, name: str) -> None:
    document = json.loads((recording / name).read_text())
    original = json.dumps(document)
    refused, sentences = 0, set[str]()
    for at in paths(document):
        if at[0] in ("files", "digest"):
            continue
        for value in (*WRONG, *([GONE] if isinstance(at[-1], str) else [])):
            (recording / name).write_text(json.dumps(with_value(document, at, value)) + "\n")
            seal(recording, name if name in ("machine.json", "demand.json") else "machine.json")
            try:
                read_all(recording)
            except KevacuateError as error:
                refused += 1
                sentences.add(str(error))
            except Exception as error:
                pytest.fail(f"{name}: {at} = {value!r} gives {type(error).__name__}: {error}")
    assert refused > 20
    assert not [text for text in sentences if "\n" in text]
    (recording / name).write_text(original + "\n")
    seal(recording, name if name in ("machine.json", "demand.json") else "machine.json")
    read_all(recording)


@dataclass(frozen=True)
class Sample:
    """One field of every sort."""

    number: int
    share: float = 0.0
    names: tuple[str, ...] = ()
    pair: tuple[int, str] = (0, "")
    table: dict[str, tuple[int, ...]] | None = None


def test_a_dataclass_of_json() -> None:
    values = {"number": 3, "share": 1, "names": ["a"], "pair": [1, "b"], "table": {"x": [1]}, "newer": 5}
    assert build(Sample, values) == Sample(3, 1, ("a",), (1, "b"), {"x": (1,)})
    for wrong, said in (
        ({}, "it lacks number"),
        ({"number": True}, "it.number is True, not a whole number"),
        ({"number": 2**64}, "not a whole number"),
        ({"number": 1, "share": float("nan")}, "it.share is nan, not a number"),
        ({"number": 1, "share": 10**400}, "not a number"),
        ({"number": 1, "names": ["a", 1]}, r"it.names\[1\] is 1, not a text"),
        ({"number": 1, "pair": [1]}, "it.pair has 1 values, not 2"),
        ({"number": 1, "table": {"x": 1}}, "not an object or null"),
        ([], r"it is \[\], not an object"),
    ):
        with pytest.raises(WrongType, match=said):
            build(Sample, wrong)
    assert checked([1], list[int]) == [1]
