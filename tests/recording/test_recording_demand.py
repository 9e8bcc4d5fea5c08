# SPDX-License-Identifier: GPL-2.0-or-later
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from kevacuate.errors import KevacuateError
from kevacuate.recording import (
    DemandChunk,
    Recording,
    StartObjects,
    demand_facts,
    has_demand,
    read_demand,
    read_start_objects,
    write_demand,
)
from kevacuate.recording.atomic_write import remove_leftovers
from kevacuate.recording.demand import DEMAND_TYPES, START_TYPES, demand_span


def demand(rows: int, seed: int = 1) -> DemandChunk:
    rng = np.random.default_rng(seed)
    columns = {n: rng.integers(0, np.iinfo(t).max, rows).astype(t) for n, t in DEMAND_TYPES.items()}
    columns["t"].sort()
    return DemandChunk(**columns)


def start(rows: int) -> StartObjects:
    rng = np.random.default_rng(2)
    return StartObjects(**{n: rng.integers(0, 100, rows).astype(t) for n, t in START_TYPES.items()})


def parts(whole: DemandChunk, size: int) -> Iterator[DemandChunk]:
    for at in range(0, len(whole.t), size):
        yield DemandChunk(*(c[at : at + size] for c in whole))


@pytest.mark.parametrize("rows", [0, 1, 300_001])
def test_round_trip(tmp_path: Path, rows: int) -> None:
    whole, objects = demand(rows), start(10)
    assert not has_demand(tmp_path)
    assert write_demand(tmp_path, parts(whole, 70_000), objects, {"made": "here"}) == rows
    assert has_demand(tmp_path)
    chunks = list(read_demand(tmp_path, 50_000))
    assert all(len(c.t) <= 50_000 for c in chunks)
    for i, column in enumerate(whole):
        joined = np.concatenate([np.empty(0, column.dtype), *(c[i] for c in chunks)])
        assert joined.dtype == column.dtype
        np.testing.assert_array_equal(joined, column)
    for a, b in zip(read_start_objects(tmp_path), objects, strict=True):
        np.testing.assert_array_equal(a, b)
    facts = demand_facts(tmp_path)
    assert (facts["rows"], facts["start_objects"], facts["facts"]) == (rows, 10, {"made": "here"})
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "demand.json",
        "demand.parquet",
        "start_objects.parquet",
    ]


def test_a_demand_does_not_change_the_recording(kev_2cpu: Path) -> None:
    digest = Recording.open(kev_2cpu).digest
    write_demand(kev_2cpu, [demand(100)], start(3))
    again = Recording.open(kev_2cpu)
    assert again.digest == digest
    assert again.has_demand
    for name in ("demand.json", "demand.parquet", "start_objects.parquet"):
        (kev_2cpu / name).unlink()


def test_a_demand_is_replaced(tmp_path: Path) -> None:
    write_demand(tmp_path, [demand(100)], start(3))
    first = demand_facts(tmp_path)["digest"]
    write_demand(tmp_path, [demand(50, seed=9)], start(3))
    assert demand_facts(tmp_path)["rows"] == 50
    assert demand_facts(tmp_path)["digest"] != first


def test_what_is_being_written_is_no_leftover(tmp_path: Path) -> None:
    def meanwhile() -> Iterator[DemandChunk]:
        yield demand(100)
        assert remove_leftovers(tmp_path) == []  # as another command there does

    assert write_demand(tmp_path, meanwhile(), start(3)) == 100
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".parquet", ".parquet"]


def test_a_failed_write_leaves_the_old_one(tmp_path: Path) -> None:
    write_demand(tmp_path, [demand(100)], start(3))

    def failing() -> Iterator[DemandChunk]:
        yield demand(10)
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        write_demand(tmp_path, failing(), start(3))
    assert sum(len(c.t) for c in read_demand(tmp_path)) == 100
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_rows_whose_times_go_back_are_refused(tmp_path: Path) -> None:
    chunk = demand(10)
    back = chunk._replace(t=chunk.t[::-1].copy())
    write_demand(tmp_path, [back], start(3))
    with pytest.raises(KevacuateError, match=r"demand\.parquet is corrupted: its times go back"):
        list(read_demand(tmp_path))


def test_corruption_is_found(tmp_path: Path) -> None:
    with pytest.raises(KevacuateError, match="missing"):
        read_demand(tmp_path)
    write_demand(tmp_path, [demand(1000)], start(3))
    for name in ("demand.parquet", "start_objects.parquet", "demand.json"):
        data = (tmp_path / name).read_bytes()
        for bad in (data[:-30], data[:20] + b"\xff" + data[21:]):
            (tmp_path / name).write_bytes(bad)
            with pytest.raises(KevacuateError, match=r"corrupted|does not describe"):
                read_demand(tmp_path)
        (tmp_path / name).write_bytes(data)
    body = json.loads((tmp_path / "demand.json").read_text())
    (tmp_path / "demand.json").write_text(json.dumps(body | {"schema_version": 7}))
    with pytest.raises(KevacuateError, match="schema version 7, but this program reads up to version 1"):
        read_demand(tmp_path)


@pytest.mark.parametrize("rows", [0, 1, 300_000])
def test_the_span_is_that_of_the_rows(tmp_path: Path, rows: int) -> None:
    whole = demand(rows)
    write_demand(tmp_path, parts(whole, 100_000), start(3))
    assert demand_span(tmp_path) == (int(whole.t[-1]) if rows else 0, rows)


def test_the_span_of_a_damaged_file_is_refused(tmp_path: Path) -> None:
    write_demand(tmp_path, parts(demand(1000), 1000), start(3))
    data = (tmp_path / "demand.parquet").read_bytes()
    (tmp_path / "demand.parquet").write_bytes(data[:4] + bytes(400) + data[404:])
    with pytest.raises(KevacuateError, match=r"demand\.parquet is corrupted"):
        demand_span(tmp_path)
