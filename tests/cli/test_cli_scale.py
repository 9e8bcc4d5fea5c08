# SPDX-License-Identifier: GPL-2.0-or-later
"""``kevacuate scale``."""

from __future__ import annotations

import json
from pathlib import Path

from cli_tools import call

SOURCE = Path(__file__).parents[1] / "data" / "one-cpu.kev"


def test_the_command_makes_a_recording_that_others_take(tmp_path: Path) -> None:
    said = call("scale", SOURCE, "-o", tmp_path / "twice.kev", "--memory", "2x", "--cpus", "2")
    assert said.returncode == 0
    assert "requests that follow each other on a CPU" in said.stdout
    assert "Farthest from the recording is" in said.stdout
    about = json.loads(
        call("scale", SOURCE, "-o", tmp_path / "again.kev", "--memory", "2x", "--cpus", "2", "--json").stdout
    )
    shown = json.loads(call("replay", tmp_path / "twice.kev", "--json").stdout)
    assert 0 < shown["metrics"]["demand_rows"] <= about["rows"]
    assert {one["id"] for one in about["figures"]} >= {
        "run.movable",
        "life.movable",
        "orders",
        "between",
        "peak",
    }
    assert call("info", tmp_path / "twice.kev").returncode == 0


def test_a_wrong_number_of_times_is_one_sentence(tmp_path: Path) -> None:
    said = call("scale", SOURCE, "-o", tmp_path / "no.kev", "--memory", "2.5x")
    assert said.returncode == 2
    assert "write a whole number, such as 4x" in said.stderr
    assert not (tmp_path / "no.kev").exists()
