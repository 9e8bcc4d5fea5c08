# SPDX-License-Identifier: GPL-2.0-or-later
"""``kevacuate fleet`` at the command line."""

from __future__ import annotations

import json
import re
from pathlib import Path

from cli_tools import call, refusal
from fleet_tools import light_recordings

DATA = Path(__file__).parent.parent / "data"


def test_tables_sentences_and_json(tmp_path: Path) -> None:
    list(light_recordings(tmp_path, [DATA / "two-cpus.kev"], 3))
    done = call("fleet", tmp_path, "--workers", 1)
    assert done.returncode == 0, done.stderr
    text = " ".join(done.stdout.split())
    fragmenting = sum(
        one["fragments"] for one in json.loads(call("fleet", tmp_path, "--json").stdout)["machines"]
    )
    assert f"{fragmenting} of 3 machines fragment{'s' if fragmenting == 1 else ''}." in text
    assert "Alike machines: medians" in text
    assert "Record these in full:" in text
    told = json.loads(call("fleet", tmp_path, "--json").stdout)
    assert set(told) == {
        "machines", "clusters", "requesters", "tasks", "picks", "refused", "conclusion",
    }  # fmt: skip


def test_one_machine_is_one_machine(tmp_path: Path) -> None:
    list(light_recordings(tmp_path, [DATA / "two-cpus.kev"], 1))
    text = " ".join(call("fleet", tmp_path, "--workers", 1).stdout.split())
    assert re.search(r"(0 of 1 machine fragment|1 of 1 machine fragments)\.", text)


def test_what_is_no_fleet(tmp_path: Path) -> None:
    assert "holds no recording" in refusal("fleet", tmp_path)
    assert "an empty name names no file" in refusal("fleet", "")
