# SPDX-License-Identifier: GPL-2.0-or-later
"""The benchmark that says where the time of a replay goes."""

from __future__ import annotations

import re
import subprocess
import sys

from benchmarks.builds import HERE


def test_each_part_is_called_and_none_takes_longer_than_all() -> None:
    command = [sys.executable, "-m", "benchmarks.parts", "--runs", "1"]
    shown = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=True).stdout
    parts = {
        line[:32].strip(): (float(line[32:].split()[0]), int(line.split()[-2])) for line in shown.splitlines()
    }
    assert all(ms <= parts["replay"][0] for ms, _ in parts.values())
    assert parts["replay"][1] == 1
    assert (
        min(
            parts[name][1]
            for name in ("demand opened", "start state loaded", "samples", "blocks counted (compiled)")
        )
        >= 1
    )
    assert not re.search(r"-\d", shown)
