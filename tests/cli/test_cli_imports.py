# SPDX-License-Identifier: GPL-2.0-or-later
"""What a command does not use it does not import, nor compile: a first run waits for nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import kevacuate

DATA = Path(__file__).parent.parent / "data"
RAW, KEV = str(DATA / "raw-1cpu"), str(DATA / "one-cpu.kev")
RUN = """
import sys
from kevacuate.cli.main import _run
try:
    code = _run(sys.argv[2:], False)
except SystemExit as end:
    code = end.code
watched = sys.argv[1].split(",")
print(code or 0, *(name for name in watched if name in sys.modules), file=sys.stderr)
"""
NEVER = ("numba", "llvmlite", "scipy", "matplotlib", "textual", "pandas", "polars", "drgn", "google.protobuf")
"""What none of these commands needs."""
LIGHT = (*NEVER, "pyarrow", "jinja2", "rich.progress")


def imported(directory: Path, watched: tuple[str, ...], *words: str) -> str:
    """Exit code of a command and which of the *watched* modules it imported; there is no compiled code to be found."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            RUN,
            ",".join(watched),
            *(word.replace("OUT", str(directory)) for word in words),
        ],
        env={
            **os.environ,
            "KEVACUATE_CACHE_DIR": str(directory / "cache"),
            "PYTHONPATH": str(Path(kevacuate.__file__).parent.parent),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    return done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        *(
            [command, "--help"]
            for command in ("doctor", "export", "import", "info", "record", "snapshot", "triage", "watch")
        ),
    ],
    ids=" ".join,
)
def test_help_imports_neither_compiler_nor_tables(words: list[str], tmp_path: Path) -> None:
    assert imported(tmp_path, (*LIGHT, "numpy") if len(words) == 1 else LIGHT, *words) == "0"


@pytest.mark.parametrize(
    "words",
    [
        ["info", RAW],
        ["info", KEV],
        ["info"],
        ["triage", RAW],
        ["watch", "--once", RAW],
        ["import", RAW, "-o", "OUT/imported.kev"],
        ["export", "--ftrace", KEV, "-o", "OUT/exported.txt"],
        ["compare", "--recorded", RAW, KEV],
        ["report", "--recorded", RAW, "-o", "OUT/report.html"],
    ],
    ids=lambda words: " ".join(words[:2]).replace(str(DATA), "data"),
)
def test_reading_a_small_recording_compiles_nothing(words: list[str], tmp_path: Path) -> None:
    assert imported(tmp_path, NEVER, *words) == "0"
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("command", ["doctor", "snapshot"])
def test_looking_at_this_machine_compiles_nothing(command: str, tmp_path: Path) -> None:
    assert imported(tmp_path, NEVER, command)[1:] == ""
