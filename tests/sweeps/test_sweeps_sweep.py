# SPDX-License-Identifier: GPL-2.0-or-later
"""Sweeps of a tiny machine, by processes, shards and Dask: equal bytes, nothing lost, nothing replayed twice."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import synthetic

import kevacuate
from kevacuate.cli.sweep import command
from kevacuate.errors import KevacuateError
from kevacuate.reports.sweeps.page import sweep_data
from kevacuate.reports.sweeps.shown import replay_line
from kevacuate.sweeps import bench, local
from kevacuate.sweeps.cells import cells_of, sources, starts_of
from kevacuate.sweeps.columns import rows_of
from kevacuate.sweeps.experiment import read_experiment
from kevacuate.sweeps.local import runs_of
from kevacuate.sweeps.progress import Far
from kevacuate.sweeps.shards import Shard, short
from kevacuate.sweeps.store import Store

GRID = """
recordings = ["a.kev", "b.kev"]
policies = ["mainline", "evacuate"]
seeds = 2
[knobs]
pool = [0, 64]
memory = [1.0, 0.9]
"""
CELLS = 2 * 2 * (2 + 4)


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An experiment: two recordings, of which b lost events."""
    base = tmp_path_factory.mktemp("sweep")
    synthetic.write_recording(base / "a.kev", synthetic.fragmenting(6_000))
    synthetic.write_recording(base / "b.kev", synthetic.fragmenting(5_000, seed=2), missed=3)
    (base / "grid.toml").write_text(GRID)
    return base / "grid.toml"


@pytest.fixture(scope="module")
def one(grid: Path) -> kevacuate.Swept:
    """The grid swept by one worker."""
    return kevacuate.sweep(grid, grid.parent / "one.sweep", workers=1)


def table_bytes(store: Path) -> bytes:
    return (store / "results.parquet").read_bytes()


def rows(store: Path) -> list[dict[str, Any]]:
    return rows_of(pq.read_table(store / "results.parquet", partitioning=None))


def test_every_cell_is_there_and_a_refused_one_with_its_error(one: kevacuate.Swept) -> None:
    assert (one.cells, one.there, one.replayed, one.missing) == (CELLS, 0, CELLS, 0)
    found = rows(one.store)
    assert len({row["cell"] for row in found}) == CELLS
    failed = [row for row in found if row["error"] is not None]
    assert {row["demand"] for row in failed} == {"b.kev"}
    assert len(failed) == len(one.refused) == CELLS // 2
    assert "3" in failed[0]["error"]
    assert str(one.store.parent) not in failed[0]["error"], "it does not say where the recording lies"
    assert all(not row["figures"] for row in failed)
    made = Store(one.store).made()
    assert {row["cell"] for row in made} == {row["cell"] for row in found}
    assert all(row["hands"] == "processes" and row["seconds"] > 0 for row in made)


def test_figures_are_those_of_a_replay(grid: Path, one: kevacuate.Swept) -> None:
    found = [row for row in rows(one.store) if row["error"] is None]
    for row in (found[0], found[-1]):
        run = kevacuate.replay(grid.parent / "a.kev", row["policy"], seed=row["seed"])
        assert row["final_state_digest"] == run.provenance["final_state_digest"]
        assert row["figures"]["end.mixed_blocks"] == run.metrics["end"]["mixed_blocks"]
        assert row["figures"]["extfrag.claims_from_movable"] == run.metrics["claims_from_movable"]
        assert row["loop"] == run.loop[0]
    assert len({row["final_state_digest"] for row in found}) > CELLS // 4


def test_two_workers_and_two_shards_give_the_same_bytes(grid: Path, one: kevacuate.Swept) -> None:
    seen: list[Far] = []
    two = kevacuate.sweep(grid, grid.parent / "two.sweep", workers=2, progress=seen.append)
    assert table_bytes(two.store) == table_bytes(one.store)
    assert (seen[0].done, seen[-1].done, seen[-1].left) == (0, CELLS, 0.0)
    assert any(far.left for far in seen)

    store = grid.parent / "shards.sweep"
    part = kevacuate.sweep(grid, store, shard="2/2", workers=1)
    assert (part.cells, part.replayed, part.missing) == (CELLS // 2, CELLS // 2, 0)
    assert not (store / "results.parquet").exists()
    said = kevacuate.collect(grid, store)
    assert (said.there, said.missing) == (CELLS // 2, CELLS // 2)
    assert said.again[0] == f"kevacuate sweep {grid} --store {store}"
    assert said.again[1] == f"kevacuate sweep {grid} --store {store} --shard K/2  # K: 1"
    kevacuate.sweep(grid, store, shard="1/2", workers=1)
    assert kevacuate.collect(grid, store).again == ()
    assert table_bytes(store) == table_bytes(one.store)


def test_a_cell_that_is_there_is_never_replayed_again(
    grid: Path, one: kevacuate.Swept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a worker was begun"))
    before = table_bytes(one.store)
    again = kevacuate.sweep(grid, one.store)
    assert (again.there, again.replayed) == (CELLS, 0)
    assert table_bytes(one.store) == before


def test_a_larger_grid_replays_what_is_new(grid: Path, one: kevacuate.Swept) -> None:
    text = GRID.replace("seeds = 2", "seeds = [1, 2]").replace('"a.kev", "b.kev"', '"a.kev"')
    larger = grid.with_name("larger.toml")
    larger.write_text(text)
    store = grid.parent / "grown.sweep"
    shutil.copytree(one.store, store)
    swept = kevacuate.sweep(larger, store, workers=1)
    assert (swept.there, swept.replayed) == (6, 6)
    assert len(rows(store)) == CELLS + 6


WORKLOAD = """
duration = "1s"
fill = "500ms"
[machine]
memory = "64MiB"
[[anonymous]]
memory = "40%"
lifetime = "200ms"
[[slab]]
memory = "10%"
"""


def test_a_described_workload_is_swept_as_it_is_replayed(tmp_path: Path) -> None:
    described = tmp_path / "small.toml"
    described.write_text(WORKLOAD)
    (tmp_path / "grid.toml").write_text('workloads = ["small.toml"]\npolicies = ["mainline"]\nseeds = 2\n')
    swept = kevacuate.sweep(tmp_path / "grid.toml", workers=1)
    assert (swept.replayed, swept.missing, swept.refused) == (2, 0, {})
    found = {row["seed"]: row for row in rows(swept.store)}
    assert {row["demand"] for row in found.values()} == {"small.toml"}
    for seed in (0, 1):
        run = kevacuate.replay(described, "mainline", seed=seed)
        assert found[seed]["final_state_digest"] == run.provenance["final_state_digest"]
    assert found[0]["final_state_digest"] != found[1]["final_state_digest"], "each seed draws it anew"


def workers_of(parent: int) -> list[int]:
    """Process ids of a sweep's workers."""
    words = ["ps", "-o", "pid,args", "--ppid", str(parent)]
    listed = subprocess.run(words, capture_output=True, text=True, check=True)
    return [int(line.split()[0]) for line in listed.stdout.splitlines() if "kevacuate.sweeps.worker" in line]


COMMAND = [sys.executable, "-c", "from kevacuate.cli import main; main()", "sweep"]


def begun(*words: object) -> subprocess.Popen[str]:
    """The command, begun."""
    return subprocess.Popen(
        [*COMMAND, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for(store: Path, cells: int) -> None:
    """Wait until so many results are there."""
    deadline = time.monotonic() + 120
    while len(list((store / "cells").glob("*.json")) if store.exists() else []) < cells:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_worker_that_is_killed_costs_nothing_but_time(grid: Path, one: kevacuate.Swept) -> None:
    store = grid.parent / "killed.sweep"
    sweep = begun(grid, "--store", store, "--workers", 1)
    wait_for(store, 2)
    for pid in workers_of(sweep.pid):
        os.kill(pid, signal.SIGKILL)
    out, err = sweep.communicate(timeout=120)
    assert sweep.returncode == 0, err
    assert f"{CELLS} of {CELLS} cells are in {store}" in out
    assert table_bytes(store) == table_bytes(one.store)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_sweep_that_is_ended_goes_on(grid: Path, one: kevacuate.Swept, number: int) -> None:
    store = grid.parent / f"ended-{number}.sweep"
    sweep = begun(grid, "--store", store, "--workers", 1)
    wait_for(store, 1)
    workers = workers_of(sweep.pid)
    sweep.send_signal(number)
    _, err = sweep.communicate(timeout=120)
    if number == signal.SIGINT:
        assert sweep.returncode == 130
        assert f"{store} (" in err
        assert "cells) was written" in err
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{pid}").exists() for pid in workers):
        assert time.monotonic() < deadline, "a worker outlives its sweep"
        time.sleep(0.02)
    kept = len(Store(store).digests())
    assert kept >= 1
    again = kevacuate.sweep(grid, store, workers=1)
    assert again.there == kept
    assert again.replayed == CELLS - kept
    assert table_bytes(store) == table_bytes(one.store)


def test_a_cell_that_kills_its_workers_is_given_up_and_the_rest_goes_on(
    grid: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    small = grid.with_name("small.toml")
    small.write_text('recordings = ["a.kev"]\npolicies = ["mainline", "evacuate"]\nseeds = 2\n')
    read = read_experiment(small)
    victim = list(cells_of(read, sources(read)))[1][0]
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "if 'kevacuate.sweeps.worker' in ' '.join(sys.orig_argv):\n"
        "    import os, kevacuate.sweeps.bench as b\n"
        "    run = b.Bench.run\n"
        f"    b.Bench.run = lambda self, cell: os.abort() if cell.digest == '{victim}' else run(self, cell)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(local, "MOST_DEATHS", 2)
    swept = kevacuate.sweep(small, tmp_path / "s.sweep", workers=1)
    assert list(swept.unable) == [victim]
    assert "was killed by SIGABRT at this cell, 2 times" in swept.unable[victim]
    assert (swept.missing, swept.replayed) == (1, 3)
    assert swept.again == (f"kevacuate sweep {small} --store {tmp_path / 's.sweep'}",)
    assert json.loads((swept.store / "unable.json").read_text()) == swept.unable


def test_a_fault_of_the_program_is_no_result(grid: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = read_experiment(grid)
    _, cell = next(cells_of(read, sources(read)))
    monkeypatch.setattr(bench, "replay", lambda *_, **__: 1 // 0)
    monkeypatch.setattr(bench, "held", lambda demand: demand)
    monkeypatch.setattr(bench, "demand_while_compiling", lambda recording: None)
    with pytest.raises(bench.Unable, match="ZeroDivisionError: integer division or modulo by zero"):
        bench.Bench("test").run(cell)


def test_workers_that_do_not_begin_are_told(
    grid: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nif 'kevacuate.sweeps.worker' in ' '.join(sys.orig_argv):\n    import os; os._exit(3)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(KevacuateError, match="Workers do not begin: the last one ended with status 3"):
        kevacuate.sweep(grid, tmp_path / "s.sweep", workers=1)


STARTED = """
recordings = ["a.kev"]
start = ["default", "used.kev"]
policies = ["mainline", "evacuate"]
seeds = 2
"""


@pytest.fixture(scope="module")
def started(grid: Path) -> kevacuate.Swept:
    """A grid over the demand's own start and over one that is taken in the middle of a replay."""
    base = grid.parent
    kevacuate.start_state(base / "a.kev", policy="mainline", at=0.001, memory="96MiB").save(base / "used.kev")
    (base / "started.toml").write_text(STARTED)
    return kevacuate.sweep(base / "started.toml", workers=1)


def test_start_states_are_an_axis(grid: Path, started: kevacuate.Swept) -> None:
    assert (started.cells, started.replayed, started.missing, started.refused) == (8, 8, 0, {})
    base = grid.parent
    (base / "plain.toml").write_text(STARTED.replace('start = ["default", "used.kev"]', ""))
    plain = read_experiment(base / "plain.toml")
    own = {digest for digest, _ in cells_of(plain, sources(plain))}
    for row in rows(started.store):
        assert (row["cell"] in own) == ("start" not in row["knobs"])
        start = None if row["cell"] in own else base / "used.kev"
        if start is not None:
            assert re.fullmatch(r"used\.kev@[0-9a-f]{8}", row["knobs"]["start"])
        run = kevacuate.replay(kevacuate.open(base / "a.kev", start=start), row["policy"], seed=row["seed"])
        assert row["final_state_digest"] == run.provenance["final_state_digest"]


def test_settings_are_compared_within_a_start_state(grid: Path, started: kevacuate.Swept) -> None:
    shown = kevacuate.show_sweep(started.store)
    assert [(one.base, len(one.settings)) for one in shown.contexts] == [("mainline", 2)] * 2
    lines = [replay_line(shown, one, one.settings[1], 1) for one in shown.contexts]
    used = grid.parent / "used.kev"
    assert sorted(f"--start {used} --policy evacuate" in line for line in lines) == [False, True]
    data = sweep_data(shown)
    assert data["axes"] == ["policy", "start"]
    at = [tuple(one["at"].values()) for one in data["demands"][0]["settings"]]
    assert len(set(at)) == len(at) == 4
    assert [one["seeds"] for one in data["demands"][0]["settings"]] == [[0, 1]] * 4


def test_a_start_state_that_dask_workers_cannot_read_is_sent(
    grid: Path, started: kevacuate.Swept, cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = bench._there

    def elsewhere(source: Any) -> Any:
        if source.path == str(grid.parent / "used.kev"):
            raise bench.Absent("it is not here")
        return there(source)

    monkeypatch.setattr(bench, "_there", elsewhere)
    store = grid.parent / "started-sent.sweep"
    swept = kevacuate.sweep(grid.parent / "started.toml", store, scheduler=cluster.scheduler_address)
    assert (swept.replayed, swept.missing) == (8, 0)
    assert table_bytes(store) == table_bytes(started.store)


def test_another_start_state_of_that_name_is_another_cell(grid: Path, started: kevacuate.Swept) -> None:
    base = grid.parent / "other"
    base.mkdir()
    kevacuate.start_state(grid.parent / "a.kev", policy="mainline", at=0.002, memory="96MiB").save(
        base / "used.kev"
    )
    (base / "a.kev").symlink_to(grid.parent / "a.kev")
    (base / "started.toml").write_text(STARTED)
    read = read_experiment(base / "started.toml")
    cells = list(cells_of(read, sources(read), starts_of(read, sources(read))))
    there = Store(started.store).digests()
    assert [digest in there for digest, _ in cells] == [True] * 4 + [False] * 4


def by_url(grid: Path, root: str) -> Path:
    """The grid over start states, its files named by URLs below *root*."""
    text = STARTED.replace('"a.kev"', f'"{root}/a.kev"').replace('"used.kev"', f'"{root}/used.kev"')
    path = grid.parent / "url.toml"
    path.write_text(text)
    return path


def test_demands_by_url_give_the_same_bytes(grid: Path, started: kevacuate.Swept, tmp_path: Path) -> None:
    pytest.importorskip("fsspec")
    swept = kevacuate.sweep(by_url(grid, grid.parent.as_uri()), tmp_path / "url.sweep", workers=1)
    assert (swept.replayed, swept.missing, swept.refused) == (8, 0, {})
    assert table_bytes(swept.store) == table_bytes(started.store)


def test_dask_workers_read_demands_by_url(
    grid: Path, started: kevacuate.Swept, cluster: Any, tmp_path: Path
) -> None:
    memory = pytest.importorskip("fsspec").filesystem("memory")
    for name in ("a.kev", "used.kev"):
        memory.put(str(grid.parent / name), f"/sweep/{name}", recursive=True)
    path = by_url(grid, "memory://sweep")
    swept = kevacuate.sweep(path, tmp_path / "url.sweep", scheduler=cluster.scheduler_address)
    assert (swept.replayed, swept.missing) == (8, 0)
    assert table_bytes(swept.store) == table_bytes(started.store)


def test_a_url_with_nothing_is_named_with_its_line(grid: Path, tmp_path: Path) -> None:
    pytest.importorskip("fsspec")
    for url, said in (
        ("memory://none/x.kev", "There is nothing at memory://none/x.kev"),
        (f"{grid.parent.as_uri()}/none.kev", "none.kev"),
        ("nosuch://x", "nosuch://x cannot be read"),
    ):
        path = tmp_path / "wrong.toml"
        path.write_text(f'seeds = 1\nrecordings = ["{url}"]\n')
        with pytest.raises(KevacuateError, match=re.escape(said)) as caught:
            kevacuate.sweep(path)
        assert str(caught.value).startswith(f"{path}:2: ")


def test_without_fsspec_the_way_to_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    path = tmp_path / "url.toml"
    path.write_text('recordings = ["memory://x.kev"]\n')
    with pytest.raises(KevacuateError, match=r"pip install 'kevacuate\[fsspec\]'"):
        kevacuate.sweep(path)


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A Dask scheduler with two workers, threads of this process."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=False, protocol="tcp", dashboard_address=None
    ) as made:
        yield made


def test_dask_gives_the_same_bytes(grid: Path, one: kevacuate.Swept, cluster: Any) -> None:
    store = grid.parent / "dask.sweep"
    swept = kevacuate.sweep(grid, store, scheduler=cluster.scheduler_address)
    assert (swept.replayed, swept.missing) == (CELLS, 0)
    assert table_bytes(store) == table_bytes(one.store)
    assert {row["hands"] for row in Store(store).made()} == {"dask"}


def test_a_demand_that_dask_workers_cannot_read_is_sent(
    grid: Path, one: kevacuate.Swept, cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kevacuate.sweeps.bench import Absent, Bench

    hold = Bench._hold

    def elsewhere(self: Bench, cell: Any) -> Any:
        if cell.source.path.startswith(str(grid.parent)):
            raise Absent("it is not here")
        return hold(self, cell)

    monkeypatch.setattr(Bench, "_hold", elsewhere)
    store = grid.parent / "sent.sweep"
    swept = kevacuate.sweep(grid, store, scheduler=cluster.scheduler_address)
    assert (swept.replayed, swept.missing) == (CELLS, 0)
    assert table_bytes(store) == table_bytes(one.store)


def test_a_scheduler_that_does_not_answer_is_told(grid: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed")
    from kevacuate.sweeps import scheduler

    monkeypatch.setattr(scheduler, "CONNECT_SECONDS", 1)
    with pytest.raises(KevacuateError, match=r"No Dask scheduler answers at tcp://127\.0\.0\.1:9"):
        kevacuate.sweep(grid, grid.parent / "none.sweep", scheduler="tcp://127.0.0.1:9")


def test_without_dask_the_way_to_it_is_told(grid: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(KevacuateError, match=r"pip install 'kevacuate\[dask\]'"):
        kevacuate.sweep(grid, grid.parent / "none.sweep", scheduler="tcp://127.0.0.1:9")


def test_runs_keep_the_order_and_share_a_demand_and_a_seed(grid: Path) -> None:
    read = read_experiment(grid)
    cells = list(cells_of(read, sources(read)))
    for workers in (1, 2, 9, 1000):
        runs = list(runs_of(cells, workers, len(cells)))
        assert [one for run in runs for one in run] == cells
        assert all(len({(c.source.digest, c.seed) for _, c in run}) == 1 for run in runs)
    assert max(map(len, runs_of(cells, 1, len(cells)))) == 6


@pytest.mark.parametrize("count", [1, 2, 7, 24, 30])
def test_shards_are_all_cells_once(count: int) -> None:
    cells = list(range(24))
    parts = [Shard(k, count).of_cells(cells) for k in range(1, count + 1)]
    assert [cell for part in parts for cell in part] == cells
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("text", ["", "0/3", "4/3", "1", "a/b", "1/0", "-1/3", "1/3 ", "1/1000000000"])
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(KevacuateError, match="write K/N, K from 1 to N"):
        Shard.parse(text)


def test_numbers_are_written_as_schedulers_take_them() -> None:
    assert short([1, 2, 3, 7, 9, 10]) == "1-3,7,9-10"
    assert short([]) == ""
    assert command.name == "sweep"


SWAPPED = 'policies = ["mainline,zram=64M"]\nseeds = 1\n[replay]\nloop = "open"\n'
LOSSY = 'policies = ["mainline"]\nseeds = 1\n'


@pytest.mark.parametrize(
    ("text", "demand", "said"),
    [
        (SWAPPED, "a.kev", 'loop = "closed" under [replay]'),
        (LOSSY, "b.kev", "despite_losses = true under [replay] uses it all the same."),
    ],
)
def test_refusals_of_cells_name_keys_of_the_file_and_no_options(
    grid: Path, tmp_path: Path, text: str, demand: str, said: str
) -> None:
    path = tmp_path / "own.toml"
    path.write_text(f'recordings = ["{grid.parent / demand}"]\n{text}')
    swept = kevacuate.sweep(path, tmp_path / "own.sweep", workers=1)
    (refused,) = (row["error"] for row in rows(swept.store))
    assert said in refused
    assert "--" not in refused


def test_a_start_state_among_the_recordings_is_told_by_the_key_that_takes_it(
    grid: Path, tmp_path: Path
) -> None:
    used = kevacuate.start_state(grid.parent / "a.kev")
    kevacuate.save_start(used, tmp_path / "used.kev")
    path = tmp_path / "own.toml"
    path.write_text('recordings = ["used.kev"]\n')
    swept = kevacuate.sweep(path, tmp_path / "own.sweep", workers=1)
    for row in rows(swept.store):
        assert 'start = ["used.kev"]' in row["error"]
        assert "--" not in row["error"]
