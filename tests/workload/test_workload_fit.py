# SPDX-License-Identifier: GPL-2.0-or-later
"""A fit: lifetimes and rates that were drawn are found again, its description is read back, and its distance is measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from workload_book import book_of, workload

import kevacuate
from kevacuate.demand.build import build_demand
from kevacuate.runs.fit import Distance
from kevacuate.workload import describe as ds
from kevacuate.workload.fit import PIECES, fitted, mixture, toml_of
from kevacuate.workload.stream import demand_of, workload_recording
from kevacuate.workload.toml import read_workload

DATA = Path(__file__).parents[1] / "data"


def test_a_mixture_of_lifetimes_is_found_again_also_where_many_outlive_the_recording() -> None:
    random = np.random.default_rng(3)
    span = 10**9
    means = np.array([1e6, 1e7, 1e8, 1e9])
    kind = random.choice(3, 40_000, p=[0.6, 0.3, 0.1])
    born = random.integers(0, span, kind.size)
    lives = np.ceil(random.exponential(np.array([1e6, 1e8, 1e9])[kind])).astype(np.int64)
    dead = born + lives < span
    found = mixture(lives[dead], (span - born)[~dead], means)
    assert np.abs(found - [0.6, 0.0, 0.3, 0.1]).max() < 0.03


def test_a_pool_follows_its_births_and_deaths() -> None:
    births, deaths = (400, 0, 2000, 100), (0, 300, 100, 1500)
    part = ds.Pool(births=births, deaths=deaths, lifetimes=("10ms", "1s"), shares=(0.5, 0.5), burst=4)
    book = book_of(demand_of(workload(part, duration="4s", fill="0s")).chunks())
    born = np.array([row.t for row, _ in book.lives] + [row.t for row in book.alive.values()])
    died = np.array([end for _, end in book.lives])
    for times, wanted in ((born, births), (died, deaths)):
        counts = np.bincount(times // 10**9, minlength=4)
        assert np.abs(counts - wanted).max() < 6 * np.sqrt(4 * max(wanted))
        assert counts[wanted.index(0)] <= 7 * 4  # runs that had begun: of at most 7 each, one for each CPU


def test_a_fit_of_a_described_workload_has_its_rates() -> None:
    part = ds.Pool(
        memory="8MiB", type="movable", page="file", gfp="GFP_HIGHUSER_MOVABLE", lifetimes=("20ms", "2s"), shares=(0.7, 0.3),
        burst=16,
    )  # fmt: skip
    described = workload(part, ds.Slab(memory="2MiB", lifetime="300ms", burst=1), duration="6s")
    recording = workload_recording(described)
    found = fitted(recording, build_demand(recording))
    assert (found.left_out, found.not_paired) == (0, 0)
    pool, slab = found.workload.parts
    assert isinstance(pool, ds.Pool)
    assert isinstance(slab, ds.Pool)
    assert (pool.type, pool.page, pool.order) == ("movable", "file", 0)
    assert (slab.type, slab.page, slab.gfp) == ("unmovable", "kernel", ds.Pool(gfp="GFP_KERNEL").gfp)
    assert 8 < pool.burst < 24
    assert slab.burst <= 2
    book = book_of(demand_of(described).chunks())
    assert sum(pool.births) + sum(slab.births) == len(book.lives) + len(book.alive)
    again = book_of(demand_of(found.workload).chunks())
    assert abs(len(again.lives) / len(book.lives) - 1) < 0.05
    assert abs(again.pages / book.pages - 1) < 0.1
    ours, theirs = (np.array([end - row.t for row, end in one.lives]) for one in (book, again))
    for edge in (1e7, 1e8, 1e9):
        assert abs(np.mean(ours < edge) - np.mean(theirs < edge)) < 0.06


def test_a_description_is_written_and_read_back(tmp_path: Path) -> None:
    recording = kevacuate.open(DATA / "one-cpu.kev")
    found = fitted(recording, build_demand(recording)).workload
    assert all(len(part.births) == PIECES for part in found.parts if isinstance(part, ds.Pool))
    for one in (
        found,
        replace(found, rhythm=ds.Rhythm(), parts=(ds.Network(rate="3MiB/s"), ds.Anonymous(pinned=0.25))),
    ):
        (tmp_path / "x.toml").write_text(toml_of(one))
        assert read_workload(tmp_path / "x.toml") == one


def test_a_fit_says_how_far_it_is() -> None:
    found = kevacuate.fit(DATA / "one-cpu.kev", repeats=2)
    assert found.distances == kevacuate.fit(DATA / "one-cpu.kev", repeats=2).distances
    by_id = {one.id: one for one in found.distances}
    movable = by_id["end.blocks.movable"]
    assert len(movable.recorded) == len(movable.generated) == 2
    assert abs(np.mean(movable.generated) / np.mean(movable.recorded) - 1) < 0.1
    assert set(found.to_json()) == {"workload", "pools", "rows", "left_out", "not_paired", "distances"}


@pytest.mark.parametrize(
    ("recorded", "generated", "within"),
    [
        ((1.0, 3.0), (4.0,), True),
        ((1.0, 3.0), (5.0,), False),
        ((2.0,), (2.0,), True),
        ((2.0,), (2.1,), False),
    ],
)
def test_within_is_two_standard_deviations(
    recorded: tuple[float, ...], generated: tuple[float, ...], within: bool
) -> None:
    assert Distance("x", "x", recorded, generated).within == within
