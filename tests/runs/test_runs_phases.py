# SPDX-License-Identifier: GPL-2.0-or-later
"""What a seed draws of the background's phases reaches the state, lasts, and decides when the background works."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import synthetic
from synthetic import ANON, Script, machine, write_recording

from kevacuate.demand.build import build_demand
from kevacuate.mm import constants as k
from kevacuate.mm import entry
from kevacuate.policy import parse_policy
from kevacuate.recording import Recording
from kevacuate.runs.options import ReplayOptions
from kevacuate.runs.replay import Replay

SECOND = 1_000_000_000
SEEDS = range(20)
EAGER = {"settings": {"compaction_proactiveness": 100}}
"""Proactive compaction as soon as anything free is not in whole blocks."""


def begun(path: Path, seed: int) -> Replay:
    """A replay before its first row, which keeps its log."""
    recording = Recording.open(path)
    run = Replay(recording, build_demand(recording), parse_policy("mainline"), ReplayOptions(seed=seed))
    run.keep_log = True
    return run


def ticks(run: Replay) -> list[int]:
    """When each CPU's vmstat worker is due."""
    return [cpu.vmstat_due for cpu in run.state.view.cpu]


def kcompactd_due(run: Replay) -> int:
    """When the (only) node's kcompactd is due."""
    return run.state.view.node[0].kcompactd_due


@pytest.fixture(scope="module")
def scattered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording of half a millisecond that leaves single free pages, and never so few that kswapd is woken."""
    script = Script(1_000)
    for obj in range(200, 500):
        script.alloc(obj, mt=k.MIGRATE_MOVABLE, attr=ANON)
    for obj in range(200, 500, 2):
        script.free(obj)
    path = tmp_path_factory.mktemp("phases") / "scattered.kev"
    return write_recording(path, script, described=machine(extra=EAGER))


def test_without_a_seed_the_phases_are_the_kernels_defaults(scattered: Path) -> None:
    run = begun(scattered, 0)
    assert ticks(run) == [SECOND, 12_000_000]
    assert kcompactd_due(run) == k.KCOMPACTD_NS


def test_every_seed_draws_its_own_phases(scattered: Path) -> None:
    runs = [begun(scattered, seed) for seed in SEEDS]
    firsts = np.array([ticks(run) for run in runs])
    dues = np.array([kcompactd_due(run) for run in runs])
    assert len(set(map(tuple, firsts.tolist()))) == len(set(dues.tolist())) == len(SEEDS)
    for drawn, most in ((firsts, SECOND), (dues, k.KCOMPACTD_NS)):
        assert 0 <= drawn.min() < most // 4
        assert 3 * most // 4 < drawn.max() <= most
    assert set(((firsts[:, 1] - firsts[:, 0]) % SECOND).tolist()) == {12_000_000}


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_vmstat_workers_keep_the_phase_drawn(scattered: Path, seed: int) -> None:
    run = begun(scattered, seed)
    first = ticks(run)
    run.run()
    assert all(b > a and (b - a) % SECOND == 0 for a, b in zip(first, ticks(run), strict=True))


@pytest.mark.parametrize("seed", [0, 1, 2, 7])
def test_proactive_compaction_begins_when_the_timeout_drawn_ends(scattered: Path, seed: int) -> None:
    run = begun(scattered, seed)
    due = kcompactd_due(run)
    run.run()
    log = np.concatenate(run.log)
    begins = log[log[:, 1] == k.L_COMPACT_BEGIN]
    assert not (log[:, 1] == k.L_KSWAPD).any()
    assert begins[0, [0, 5]].tolist() == [due, -1]


@pytest.mark.parametrize("seed", [1, 2])
def test_a_kcompactd_that_kswapd_wakes_first_forgets_the_timeout_drawn(tmp_path: Path, seed: int) -> None:
    """As in the kernel: after what it was woken for, it sleeps for its whole timeout, whatever was left of the last."""
    run = begun(write_recording(tmp_path / "woken.kev", synthetic.fragmenting(5_000)), seed)
    drawn = kcompactd_due(run)
    run._next_sample = run._interval = k.NEVER
    for chunk in run.demand.chunks():
        run.feed(chunk)
    entry.advance(run.state, 300_000_000)
    run.take_log()
    log = np.concatenate(run.log)
    (first, *_), (*_, last) = (log[log[:, 1] == kind] for kind in (k.L_COMPACT_BEGIN, k.L_COMPACT_END))
    assert first[5] == 9
    assert first[0] < 300_000_000 < drawn
    assert kcompactd_due(run) == last[0] + k.KCOMPACTD_NS
