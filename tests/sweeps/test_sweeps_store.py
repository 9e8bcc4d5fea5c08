# SPDX-License-Identifier: GPL-2.0-or-later
"""The store: nothing is lost or doubled whenever a process is killed, and its bytes follow from its cells alone."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from kevacuate.errors import KevacuateError
from kevacuate.sweeps import store as module
from kevacuate.sweeps.columns import FIGURES, FIRST, MADE, rows_of, table_of
from kevacuate.sweeps.store import Store, sealed, unsealed


def result(seed: int, policy: str = "mainline", **knobs: str) -> dict[str, Any]:
    """A made-up result."""
    label = ",".join([policy, *(f"{name}={value}" for name, value in sorted(knobs.items()))])
    cell = hashlib.sha256(f"{label} {seed}".encode()).hexdigest()[:32]
    figures = {row.id: float(seed * 7 + number) for number, row in enumerate(FIGURES) if number % 5}
    return {
        **{name: "" for name, _ in FIRST},
        "cell": cell,
        "demand": "tiny.kev",
        "policy": label,
        "base": policy,
        "seed": seed,
        "error": None,
        "knobs": knobs,
        "figures": figures,
    }


def made(one: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        **dict.fromkeys(name for name, _ in MADE),
        "cell": one["cell"],
        "hands": "test",
        "seconds": 0.5,
        **more,
    }


def some(number: int = 12) -> list[dict[str, Any]]:
    rows = [result(seed) for seed in range(number // 2)]
    rows += [result(seed, "evacuate", pool=str(seed % 2)) for seed in range(number // 2)]
    rows[-1]["figures"]["policy.forced"] = 3.0
    rows[0] |= {"error": "It was refused.", "figures": {}}
    return rows


def filled(path: Path, rows: list[dict[str, Any]]) -> Store:
    store = Store(path)
    for row in rows:
        store.put(row, made(row))
    return store


def table_bytes(store: Store) -> bytes:
    return (store.path / module.RESULTS).read_bytes()


def test_the_table_follows_from_its_cells_in_whatever_order_and_batches_they_came(tmp_path: Path) -> None:
    rows = some()
    whole = filled(tmp_path / "a", rows)
    assert whole.collect() == len(rows)
    mixed = Store(tmp_path / "b")
    order = random.Random(3).sample(rows, len(rows))
    for at in range(0, len(order), 5):
        for row in order[at : at + 5]:
            mixed.put(row, made(row, host=f"host{at}", seconds=at / 7))
        mixed.collect()
    assert table_bytes(whole) == table_bytes(mixed)
    assert sorted(os.listdir(whole.cells)) == []
    assert mixed.digests() == {row["cell"] for row in rows}
    assert {row["host"] for row in mixed.made()} == {"host0", "host5", "host10"}
    told = b"".join((tmp_path / "a" / name).read_bytes() for name in ("results.parquet", "store.json"))
    assert b"host" not in told


def test_rows_survive_the_table(tmp_path: Path) -> None:
    rows = some()
    assert table_of(rows_of(table_of(rows))).equals(table_of(rows))
    store = filled(tmp_path / "a", rows)
    before = store.table()
    store.collect()
    assert store.table().equals(before)
    by_cell = {row["cell"]: row for row in rows_of(store.table())}
    assert all(by_cell[row["cell"]] == row for row in rows)


def test_polars_and_duckdb_read_it(tmp_path: Path) -> None:
    polars = pytest.importorskip("polars")
    store = filled(tmp_path / "a", some())
    store.collect()
    path = store.path / "results.parquet"
    frame = polars.read_parquet(path).filter(polars.col("error").is_null())
    assert frame.height == 11
    assert frame["end.mixed_blocks"].dtype == polars.Float64
    duckdb = pytest.importorskip("duckdb")
    told = duckdb.sql(
        f"""select policy, count(*), avg("end.mixed_blocks") from '{path}' where error is null group by 1 order by 1"""
    ).fetchall()
    assert [row[:2] for row in told] == [("evacuate,pool=0", 3), ("evacuate,pool=1", 3), ("mainline", 5)]


def test_a_file_that_was_cut_short_is_as_good_as_none(tmp_path: Path) -> None:
    rows = some()
    store = filled(tmp_path / "a", rows)
    cut, changed = store.place(rows[0]["cell"]), store.place(rows[1]["cell"])
    cut.write_bytes(cut.read_bytes()[:-100])
    changed.write_bytes(changed.read_bytes().replace(b'"seed":1', b'"seed":8'))
    (store.cells / f".{rows[2]['cell']}.json.77.part").write_bytes(b"{")
    assert store.digests() == {row["cell"] for row in rows[2:]}
    assert not cut.exists()
    assert store.collect() == len(rows) - 2
    for row in rows[:2]:
        store.put(row, made(row))
    assert store.collect() == len(rows)
    whole = filled(tmp_path / "b", rows)
    whole.collect()
    assert table_bytes(store) == table_bytes(whole)


@pytest.mark.parametrize("step", range(12))
def test_a_collector_that_is_killed_loses_and_doubles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    rows = some()
    store = filled(tmp_path / "a", rows[:4])
    store.collect()
    for row in rows[2:]:  # two of them are there already
        store.put(row, made(row))
    steps = iter(range(100))

    def killed_at(real: Any) -> Any:
        def call(*given: Any, **named: Any) -> Any:
            if next(steps) == step:
                raise KeyboardInterrupt
            return real(*given, **named)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", killed_at(Path.unlink))
        patch.setattr(Path, "replace", killed_at(Path.replace))
        with pytest.raises(KeyboardInterrupt):
            store.collect()
    assert store.digests() == {row["cell"] for row in rows}
    assert store.collect() == len(rows)
    whole = filled(tmp_path / "b", rows)
    whole.collect()
    assert table_bytes(store) == table_bytes(whole)
    assert len(store.made()) == len(rows)


def test_what_a_killed_process_was_writing_goes_after_a_while(tmp_path: Path) -> None:
    store = filled(tmp_path / "a", some())
    old, new = store.cells / ".x.json.7.part", store.cells / ".y.json.8.part"
    old.write_bytes(b"x")
    new.write_bytes(b"x")
    os.utime(old, (0, time.time() - 2 * module.STALE_SECONDS))
    store.collect()
    assert not old.exists()
    assert new.exists()


def test_collecting_on_the_way_copies_a_row_a_few_times_at_most() -> None:
    rows = files = copied = 0
    for _ in range(200_000):
        files += 1
        if Store.due(rows, files, rows):  # type: ignore[arg-type]  # it uses nothing of the store
            rows, files = rows + files, 0
            copied += rows
    assert copied <= 4 * rows


def test_a_checksum_tells_every_change() -> None:
    data = sealed({"a": 1.5, "b": None})
    assert unsealed(data) == {"a": 1.5, "b": None}
    assert all(unsealed(data[:n]) is None for n in range(len(data)))
    assert all(unsealed(data[:n] + bytes([data[n] ^ 1]) + data[n + 1 :]) is None for n in range(len(data)))


def test_other_directories_are_refused(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("x")
    (tmp_path / "newer").mkdir()
    (tmp_path / "newer" / "store.json").write_text('{"format": "kevacuate sweep", "version": 2}')
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "store.json").write_text('{"format": "x"}')
    (tmp_path / "true").mkdir()
    (tmp_path / "true" / "store.json").write_text('{"format": "kevacuate sweep", "version": true}')
    for name, said in (
        ("full", "is no store of a sweep"),
        ("newer", "install a newer kevacuate"),
        ("other", "does not describe a store"),
        ("true", "does not describe a store"),
    ):
        with pytest.raises(KevacuateError, match=said):
            Store(tmp_path / name)
    with pytest.raises(KevacuateError, match="there is no such directory"):
        Store(tmp_path / "none", make=False)


def test_a_corrupted_table_is_refused_with_the_way_out(tmp_path: Path) -> None:
    store = filled(tmp_path / "a", some())
    store.collect()
    path = store.path / module.RESULTS
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(KevacuateError, match="move it away, and the sweep replays its cells again"):
        store.digests()
    for name, other in ((module.RESULTS, module.MADE_BY), (module.MADE_BY, module.RESULTS)):
        store = filled(tmp_path / name, some())
        store.collect()
        filled(store.path, some())
        before = (store.path / module.RESULTS).read_bytes()
        shutil.copy(store.path / other, store.path / name)
        with pytest.raises(KevacuateError, match=r"it has no column \w+ of the type .*move it away"):
            store.collect()
        if name == module.MADE_BY:
            assert (store.path / module.RESULTS).read_bytes() == before
        assert len(list(store.loose())) == len(some()), "what was not collected is still there"
        assert not list(store.path.glob(".*.part"))


def test_what_is_no_result_is_left_and_named(tmp_path: Path) -> None:
    store = filled(tmp_path / "a", some())
    os.mkfifo(store.cells / "0.json")
    with pytest.raises(
        KevacuateError, match=r"0\.json cannot be read \(it is no ordinary file\): move it away"
    ):
        store.collect()
    (store.cells / "0.json").unlink()
    (store.cells / "0.json").write_bytes(sealed({"result": 1, "made": {}}))
    assert len(store.digests()) == len(some())


def test_what_a_store_keeps_beside_its_results_is_replaced_where_it_is_damaged(tmp_path: Path) -> None:
    store = Store(tmp_path / "a")
    for name in (module.EXPERIMENT, module.DEMANDS):
        os.mkfifo(store.path / name)
    for _ in range(2):
        store.keep_experiment("seeds = 1")
        store.keep_demands({"1": "a.kev"})
        assert (store.path / module.EXPERIMENT).read_text() == "seeds = 1"
        assert store.demands() == {"1": "a.kev"}
        for name in (module.EXPERIMENT, module.DEMANDS):
            (store.path / name).write_bytes(b"\xff\x00")


def test_a_table_is_written_group_by_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GROUP", 2)
    most = 0
    real = module.rows_of

    def counted(batch: Any) -> Any:
        nonlocal most
        most = max(most, batch.num_rows)
        return real(batch)

    monkeypatch.setattr(module, "rows_of", counted)
    rows = some()
    store = filled(tmp_path / "a", rows[::2])
    store.collect()
    filled(store.path, rows[1::2])
    assert store.collect() == len(rows)
    assert most == 2
    whole = filled(tmp_path / "b", rows)
    whole.collect()
    assert (store.path / module.RESULTS).read_bytes() == (whole.path / module.RESULTS).read_bytes()
    assert pq.ParquetFile(store.path / module.RESULTS).num_row_groups == -(-len(rows) // 2)


def test_the_columns_are_the_ids_of_a_comparisons_rows(tmp_path: Path) -> None:
    from kevacuate.reports.comparison.rows import ROWS

    assert FIGURES == ROWS
    store = filled(tmp_path / "a", some())
    store.collect()
    names = pq.read_schema(store.path / module.RESULTS).names
    assert names[: len(FIRST)] == [name for name, _ in FIRST]
    assert names[len(FIRST)] == "knob.pool"
    assert names[-1] == "policy.forced"
