# SPDX-License-Identifier: GPL-2.0-or-later
"""``kevacuate verify`` as it is typed."""

from __future__ import annotations

import json
from pathlib import Path

from cli_tools import call, refusal

DATA = Path(__file__).parent.parent / "data"
ONE_CPU, TWO_CPUS = DATA / "one-cpu.kev", DATA / "two-cpus.kev"


def test_require_decides_the_exit_code() -> None:
    assert call("verify", ONE_CPU, "--level", "evacuation", "--require", "1").returncode == 0
    assert call("verify", TWO_CPUS, "--level", "pcp", "--require", "1").returncode == 1
    assert call("verify", TWO_CPUS, "--level", "pcp").returncode == 0


def test_json_says_what_was_decided_and_what_was_given() -> None:
    done = call("verify", ONE_CPU, "--level", "evacuation", "--json")
    level = json.loads(done.stdout)["levels"]["evacuation"]
    assert level["decisions"] == sum(kind["decisions"] for kind in level["kinds"].values())
    assert level["inputs"]
    assert level["exactness"] == 1.0


def test_details_name_inputs_and_decisions() -> None:
    shown = call("verify", ONE_CPU, "--level", "evacuation", "--details").stdout
    assert "inputs, taken from the recording:" in shown
    assert "which block a worker starts with next: 4" in shown


def test_what_is_no_recording_is_refused(tmp_path: Path) -> None:
    assert "is not a recording" in refusal("verify", tmp_path)
