# SPDX-License-Identifier: GPL-2.0-or-later
"""Damaged and hostile copies of /proc files give an answer or one sentence, in bounded memory."""

import subprocess
import sys
from pathlib import Path

from proc_fuzz import hostile, run, samples

FILES = 120
LIMIT_MIB = 400


def test_damaged_copies() -> None:
    said = [run(hostile(seed)) for seed in range(FILES)]
    assert 0 < sum(bool(text) for text in said) < FILES


def test_every_sample_is_whole() -> None:
    assert [run(sample) for sample in samples()] == [""] * len(samples())


def test_hostile_copies_stay_within_memory() -> None:
    script = (
        "from proc_fuzz import bombs, run\n"
        "for name, data in bombs().items():\n    print(name, bool(run(data)))\n"
        "status = dict(line.split(':', 1) for line in open('/proc/self/status'))\n"
        "print(int(status['VmHWM'].split()[0]) // 1024)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=Path(__file__).parent
    )
    *lines, memory = done.stdout.splitlines()
    refused = {line.split()[0] for line in lines if line.endswith("True")}
    assert {"line", "spaces", "quotes", "times", "digits"} <= refused
    assert int(memory) < LIMIT_MIB, done.stdout
