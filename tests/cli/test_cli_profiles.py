# SPDX-License-Identifier: GPL-2.0-or-later
"""The commands print which kernel profile the model runs under."""

from __future__ import annotations

import json
from pathlib import Path

import synthetic
from cli_tools import call


def test_the_commands_print_the_profile(tmp_path: Path) -> None:
    path = synthetic.write_recording(tmp_path / "old.kev", described=synthetic.machine(kernel="6.12.7"))
    printed = "6.12 (unverified profile)"
    for words in (("info", path), ("replay", path), ("compare", path, "--policy", "mainline")):
        assert printed in call(*words).stdout, words
    assert json.loads(call("info", path, "--json").stdout)["profile"] == printed
    run = json.loads(call("replay", path, "--json").stdout)
    assert run["provenance"]["profile"] == printed
    compared = json.loads(call("compare", path, "--policy", "mainline", "--json").stdout)
    assert compared["recording"]["profile"] == printed
