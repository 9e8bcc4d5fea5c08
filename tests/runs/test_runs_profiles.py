# SPDX-License-Identifier: GPL-2.0-or-later
"""A replay runs the model under the profile of the recorded kernel, and says which."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import synthetic

from kevacuate.demand.build import build_demand
from kevacuate.errors import KevacuateError
from kevacuate.mm.profile import PROFILES
from kevacuate.observe.info import about_recording
from kevacuate.policy import parse_policy
from kevacuate.recording import Recording
from kevacuate.runs.initial_state import machine_config
from kevacuate.runs.options import ReplayOptions
from kevacuate.runs.replay import Replay
from kevacuate.runs.trust import about_result

PRINTED = {
    "7.2.13": "7.2",
    "6.18.2": "6.18 (unverified profile)",
    "6.12.117+deb12": "6.12 (unverified profile)",
    "6.1.192": "6.1 (unverified profile)",
    "5.15.0": "6.1 (nearest profile, unverified profile)",
}


def recorded_on(path: Path, kernel: str) -> Recording:
    return Recording.open(synthetic.write_recording(path, described=synthetic.machine(kernel=kernel)))


@pytest.mark.parametrize("kernel", PRINTED)
def test_the_recorded_kernel_chooses_the_profile(kernel: str) -> None:
    config = machine_config(synthetic.machine(kernel=kernel), synthetic.start_state())
    assert config.profile is PROFILES[PRINTED[kernel].split()[0]]


def test_a_kernel_without_a_release_number_is_refused() -> None:
    with pytest.raises(KevacuateError, match="cannot choose a profile"):
        machine_config(synthetic.machine(kernel="next"), synthetic.start_state())


@pytest.mark.parametrize("kernel", PRINTED)
def test_a_run_says_its_profile(kernel: str, tmp_path: Path) -> None:
    recording = recorded_on(tmp_path / "a.kev", kernel)
    replay = Replay(recording, build_demand(recording), parse_policy("evacuate"), ReplayOptions(samples=2))
    run = replay.run()
    assert run.provenance["profile"] == about_result(recording, replay.demand)["profile"] == PRINTED[kernel]
    fixed = PRINTED[kernel].startswith("6.1 ")
    assert bool(replay.state.view.cfg.pcp_fixed) == fixed
    about = about_recording(recording)
    assert about["profile"] == PRINTED[kernel]
    assert bool(about["profile_unsure"]) == (kernel != "7.2.13")


def test_profiles_make_a_difference(tmp_path: Path) -> None:
    ends = set()
    for kernel in ("7.2.1", "6.12.1", "6.1.1"):
        recording = recorded_on(tmp_path / f"{kernel}.kev", kernel)
        replay = Replay(
            recording, build_demand(recording), parse_policy("mainline"), ReplayOptions(samples=2)
        )
        ends.add(replay.run().provenance["final_state_digest"])
    assert len(ends) == 3


def test_a_fixed_high_is_the_recorded_one(tmp_path: Path) -> None:
    state = synthetic.start_state()
    pcp = state.pcp._replace(high=state.pcp.high * 0 + 77, high_min=state.pcp.high * 0)
    path = synthetic.write_recording(
        tmp_path / "a.kev",
        described=synthetic.machine(kernel="6.1.5"),
        state=replace(state, pcp=pcp),
    )
    recording = Recording.open(path)
    model = Replay(recording, build_demand(recording), parse_policy("mainline"), ReplayOptions()).state
    for name in ("high", "high_min", "high_max"):
        assert {getattr(pcp, name) for pcp in model.view.pcp} == {77}
