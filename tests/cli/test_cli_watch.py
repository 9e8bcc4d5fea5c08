# SPDX-License-Identifier: GPL-2.0-or-later
"""``kevacuate watch`` without a terminal."""

import json
import sys
from pathlib import Path

import pytest
from cli_tools import call, refusal


def test_once_of_a_recording(synthetic_kev: Path) -> None:
    said = json.loads(call("watch", synthetic_kev, "--policy", "evacuate", "--once", "--json").stdout)
    assert said["would_queue"]
    assert said["pageblock_order"] == 9
    assert sum(said["blocks"].values()) == 16
    text = call("watch", synthetic_kev, "--once").stdout
    assert "replayed under evacuate" in text
    assert f"would be queued {len(said['would_queue'])} blocks" in text


def test_refusals(synthetic_kev: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "needs a terminal" in refusal("watch", synthetic_kev)
    assert "--json is for --once" in refusal("watch", synthetic_kev, "--json")
    assert "There is no policy" in refusal("watch", synthetic_kev, "--policy", "x")
    monkeypatch.setitem(sys.modules, "kevacuate.live.app", None)
    assert "pip install 'kevacuate[watch]'" in refusal("watch", synthetic_kev)
