# SPDX-License-Identifier: GPL-2.0-or-later
"""Damaged and hostile files give events or one sentence. benchmarks/fuzz_import.py does the same for longer."""

import subprocess
import sys
from pathlib import Path

import pytest
from importer_fuzz import IMPORTERS, Importer, run

FILES = 60
LIMIT_MIB = 1024


@pytest.mark.parametrize("name", IMPORTERS)
def test_damaged_files(name: str) -> None:
    importer = Importer(name)
    said = [
        run(data, file, importer.formats, seed % 10 == 0)
        for seed in range(FILES)
        for file, data in [importer.file(seed)]
    ]
    assert sum(bool(text) for text in said) > FILES // 10, "no damage was noticed"


@pytest.mark.parametrize("name", IMPORTERS)
def test_every_sample_is_whole(name: str) -> None:
    importer = Importer(name)
    file = importer.file(0)[0]
    assert [run(sample, file, importer.formats) for sample in importer.samples] == [""] * len(
        importer.samples
    )


def test_hostile_sizes_stay_within_memory() -> None:
    script = (
        "from importer_fuzz import bombs, run\n"
        "for name, data in bombs().items():\n    print(name, bool(run(data, 'x.dat', None)))\n"
        "status = dict(line.split(':', 1) for line in open('/proc/self/status'))\n"
        "print(int(status['VmHWM'].split()[0]) // 1024)\n"
    )  # VmHWM is this process's own: ru_maxrss counts what the parent had when it forked
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=Path(__file__).parent
    )
    *lines, memory = done.stdout.splitlines()
    refused = {line.split()[0] for line in lines if line.endswith("True")}
    assert {"events-zlib", "events-zstd", "piece-zlib", "piece-zstd", "loop", "line"} <= refused
    assert int(memory) < LIMIT_MIB, done.stdout
