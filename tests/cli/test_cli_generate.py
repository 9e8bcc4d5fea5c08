# SPDX-License-Identifier: GPL-2.0-or-later
"""``kevacuate generate``, and a description where a recording is taken."""

from __future__ import annotations

import json
from pathlib import Path

from cli_tools import call

import kevacuate

TOML = """\
duration = "2s"
fill = "500ms"
[machine]
memory = "64MiB"
cpus = 2
[[anonymous]]
memory = "40%"
lifetime = "200ms"
[[slab]]
memory = "10%"
"""


def test_the_command_stores_a_workload_and_others_take_its_description(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(TOML)
    said = call("generate", path, "-o", tmp_path / "mine.kev")
    assert said.returncode == 0
    assert "rows in 2 s of virtual time" in said.stdout
    about = json.loads(call("generate", path, "-o", tmp_path / "again.kev", "--json").stdout)
    assert about["allocations"] > 1000
    assert about["digest"] == kevacuate.open(tmp_path / "mine.kev").digest
    shown = call("replay", path, "--json")
    assert json.loads(shown.stdout)["metrics"]["demand_rows"] == about["rows_of_the_open_loop"]
    assert call("info", tmp_path / "mine.kev").returncode == 0


def test_the_command_fits_a_recording(tmp_path: Path) -> None:
    source = Path(__file__).parents[1] / "data" / "one-cpu.kev"
    said = call("fit", source, "--repeats", "2", "-o", tmp_path / "mine.toml")
    assert said.returncode == 0
    assert "figures lie within two standard deviations" in said.stdout
    assert kevacuate.read_workload(tmp_path / "mine.toml").name == "fit of one-cpu.kev"
    about = json.loads(call("fit", source, "--repeats", "2", "--json").stdout)
    assert {row["id"] for row in about["distances"]} > {"claims_from_movable", "end.free_by_order.0"}
