# SPDX-License-Identifier: GPL-2.0-or-later
"""``kevacuate start``, and ``--start`` where a demand is replayed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_tools import call, refusal

TOML = """\
duration = "1s"
fill = "500ms"
[machine]
memory = "64MiB"
cpus = 2
[[anonymous]]
memory = "{memory}"
lifetime = "200ms"
[[slab]]
memory = "5%"
"""


@pytest.fixture
def described(tmp_path: Path) -> Path:
    """A small workload, and one that needs most of its machine."""
    (tmp_path / "much.toml").write_text(TOML.format(memory="90%").replace("200ms", "30s"))
    path = tmp_path / "mine.toml"
    path.write_text(TOML.format(memory="20%"))
    return path


def test_a_start_state_is_made_scaled_and_begun_from(described: Path, tmp_path: Path) -> None:
    used, large = tmp_path / "used.kev", tmp_path / "large.kev"
    said = call("start", described, "--policy", "mainline", "--at", "0.8s", "-o", used)
    assert said.returncode == 0
    assert "0.06 GiB on 2 CPUs" in said.stdout
    assert "The order of its LRU lists is" in said.stdout
    about = json.loads(call("start", used, "--memory", "1GiB", "--cpus", "4", "-o", large, "--json").stdout)
    assert [step["step"] for step in about["made"]] == ["taken", "replayed", "scaled"]
    assert (about["bytes"], about["cpus"]) == (1 << 30, 4)
    shown = json.loads(call("replay", described, "--start", large, "--json").stdout)
    assert shown["provenance"]["start"] == {
        "file": "large.kev",
        "digest": about["digest"],
        "lru_order": "stated",
    }
    compared = call("compare", described, "--start", large, "--repeats", "2", "--json")
    told = json.loads(compared.stdout)
    assert "A replay begins from the start state large.kev" in told["recording"]["verdict"]
    assert told["conclusion"][-1]["text"].startswith("A replay begins from the start state large.kev, ")
    assert "begun from large.kev" in call("replay", described, "--start", large).stdout
    assert "It is a start state: compare --start" in call("info", large).stdout


def test_start_refuses_in_one_sentence(described: Path, tmp_path: Path) -> None:
    used = tmp_path / "used.kev"
    assert "is not a time" in call("start", described, "--at", "soon", "-o", used).stderr
    assert "under a policy: name it" in refusal("start", described, "--at", "1s", "-o", used)
    assert "says no form" in refusal("start", described, "--policy", "mainline", "-o", ".")
    assert "such as 16GiB" in refusal("start", described, "--memory", "much", "-o", used)
    assert not used.exists()
    assert call("start", described, "--policy", "mainline", "-o", used).returncode == 0
    assert "exists already" in refusal("start", described, "-o", used)
    much = tmp_path / "much.toml"
    full = tmp_path / "full.kev"
    assert call("start", much, "--policy", "mainline", "-o", full).returncode == 0
    assert "and its start state has room for" in refusal("replay", much, "--start", full, "--loop", "open")
    assert "does not exist" in refusal("compare", described, "--start", tmp_path / "nothing.kev")
    assert "--start" in call("compare", "--recorded", used, used, "--start", used).stderr
