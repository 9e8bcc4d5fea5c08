# SPDX-License-Identifier: GPL-2.0-or-later
"""``kevacuate sweep`` at the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from cli_tools import call, refusal, run
from sweep_tools import filled
from sweep_tools import grid as made_up

from kevacuate.reports.sweeps.words import far_words, swept_words, time_words
from kevacuate.sweeps.progress import Far, Pace
from kevacuate.sweeps.store import Store
from kevacuate.sweeps.sweep import Swept


@pytest.fixture
def grid(tmp_path: Path, synthetic_kev: Path) -> Path:
    path = tmp_path / "grid.toml"
    path.write_text(f'recordings = ["{synthetic_kev}"]\npolicies = ["mainline"]\nseeds = 2\n')
    return path


def test_a_sweep_from_the_command_line(grid: Path) -> None:
    missing = call("sweep", grid, "--collect")
    assert missing.returncode == 2
    assert "0 of 2 cells" in missing.stdout
    assert f"  kevacuate sweep {grid} --store {grid.with_suffix('.sweep')}\n" in missing.stdout
    done = call("sweep", grid, "--workers", 1)
    assert done.returncode == 0, done.stderr
    store = grid.with_suffix(".sweep")
    assert done.stdout == f"2 of 2 cells are in {store}: 2 were replayed now, 0 before.\n"
    told = json.loads(call("sweep", grid, "--json").stdout)
    assert told == {
        "store": str(store), "cells": 2, "there": 2, "replayed": 0, "refused": {}, "unable": {}, "missing": 0, "again": [],
    }  # fmt: skip
    assert (store / "experiment.toml").read_text() == grid.read_text()


def test_a_wrong_experiment_makes_no_store(tmp_path: Path) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text("seeds = 3\npolices = []\n")
    said = refusal("sweep", path)
    assert said == (
        f"{path}:2: there is no key 'polices'; an experiment has recordings, workloads, start, policies, seeds, knobs, replay."
    )
    assert [entry.name for entry in tmp_path.iterdir()] == ["wrong.toml"]


def test_an_address_that_is_none_is_refused_in_one_sentence(grid: Path) -> None:
    pytest.importorskip("distributed")
    done = run("sweep", grid, "--scheduler", "nonsense")
    assert done.returncode == 2
    assert "No Dask scheduler answers at nonsense: missing port number in address" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_does_not_go_together(grid: Path) -> None:
    assert "takes neither --shard" in refusal("sweep", grid, "--collect", "--shard", "1/2")
    assert "workers of its own" in refusal("sweep", grid, "--scheduler", "tcp://x:1", "--shard", "1/2")
    assert "'3/2' is no shard" in refusal("sweep", grid, "--shard", "3/2")
    assert "no store of a sweep" in refusal("sweep", grid, "--store", grid.parent)
    assert not grid.with_suffix(".sweep").exists()


def test_how_far_it_is_is_said_with_the_time_left() -> None:
    assert (
        far_words(Far(1200, 10_000, 0, 240.0, compiling=False)) == "1,200 of 10,000 cells; about 4 min left"
    )
    assert far_words(Far(0, 5, 0, None, compiling=False)) == "0 of 5 cells"
    assert "2 without a result" in far_words(Far(1, 5, 2, 1.0, compiling=False))
    assert "compiling" in far_words(Far(0, 5, 0, None, compiling=True))
    assert [time_words(s) for s in (3, 300, 8000)] == ["3 s", "5 min", "2.2 h"]


def test_the_time_left_is_that_of_the_last_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    pace = Pace(10, 2)
    pace.begin()
    assert pace.left() is None
    for second in (2, 4, 6):
        now[0] = second
        pace.one(failed=False)
    assert pace.left() == 10.0, "five cells, two seconds each"


def test_errors_are_counted_and_the_most_frequent_come_first() -> None:
    refused = {str(n): f"error {min(n % 8, 6)}." for n in range(80)}
    swept = Swept(Path("s"), 80, 0, 80, refused, {"x": "It is not here."}, 1, ("again",))
    lines = swept_words(swept)
    assert lines[0] == "79 of 80 cells are in s: 80 were replayed now, 0 before."
    assert lines[1] == "20 cells refused: error 6."
    assert "2 other errors are in the JSON." in lines
    assert lines[-3:] == [
        "1 cell without a result: It is not here.",
        "1 cell is missing. This replays it:",
        "  again",
    ]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return filled(tmp_path_factory.mktemp("shown") / "grid.sweep", made_up())


def test_show_at_the_command_line(store: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    done = call("sweep", "show", store, "--page", page)
    assert done.returncode == 0, done.stderr
    text = " ".join(done.stdout.split())
    assert "4 settings against mainline,memory=0.9" in text
    assert "What explains the variation" in text
    assert page.read_text().startswith("<!doctype html>")
    told = json.loads(call("sweep", "show", store, "--json").stdout)
    assert told["tests"] == 16


def test_a_page_takes_the_place_of_no_part_of_a_store(store: Path, tmp_path: Path) -> None:
    own = Path(shutil.copytree(store, tmp_path / "own.sweep"))
    for path in (own / "store.json", own / "results.parquet", own / "cells" / "one.json"):
        path.touch()
        before = path.read_bytes()
        said = refusal("sweep", "show", own, "--page", path)
        assert f"{path} is a part of the store {own}: choose another name" in said
        assert path.read_bytes() == before


def test_what_does_not_go_with_show(store: Path, tmp_path: Path) -> None:
    assert "takes one store" in refusal("sweep", "show")
    assert "takes neither --store" in refusal("sweep", "show", store, "--workers", "2")
    assert "belong to what is shown" in refusal("sweep", tmp_path / "x.toml", "--page", tmp_path / "p.html")
    assert "One experiment makes one sweep" in refusal("sweep", "a.toml", "b.toml")
    assert "there is no such directory" in refusal("sweep", "show", tmp_path / "none")
    empty = tmp_path / "empty.sweep"
    Store(empty)
    assert "holds no result yet" in refusal("sweep", "show", empty)
