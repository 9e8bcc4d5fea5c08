# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line in a process of its own, as a user runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

COMMAND = [sys.executable, "-c", "from kevacuate.cli import main; main()"]


def run(*args: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ``kevacuate ARGS``; a variable of an empty value is unset."""
    env = {name: value for name, value in (os.environ | environment).items() if value}
    words = [*COMMAND, *(str(arg) for arg in args)]
    return subprocess.run(words, capture_output=True, text=True, env=env, timeout=600, check=False)


def refusal(*args: object) -> str:
    """The one sentence on stderr with which the command refuses; nothing else may be said."""
    done = run(*args)
    assert done.returncode == 2, done
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("kevacuate: ")
    return lines[0].removeprefix("kevacuate: ")


def files(directory: Path) -> dict[str, int]:
    """Every file below a directory, and its size."""
    return {str(p.relative_to(directory)): p.stat().st_size for p in directory.rglob("*") if p.is_file()}
