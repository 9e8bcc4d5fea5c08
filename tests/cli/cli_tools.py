# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line, in a process of its own as a user runs it, or in this one where that shows as much."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from kevacuate.cli import main
from kevacuate.cli.common import COMPILING

_WAITS = re.compile(
    r"^kevacuate: (reading|replaying|verifying|writing|drawing|listening)\b(?:[^;,\n]|,(?! ))*\.\n",
    re.MULTILINE,
)
COMMAND = [sys.executable, "-c", "from kevacuate.cli import main; main()"]

TEXT = """# tracer: nop
#
# entries-in-buffer/entries-written: 1/1   #P:2
           <...>-1   [000] d..1. 1.000001: mm_page_alloc: page=0x0 pfn=0x100 order=0 migratetype=1 gfp_flags=GFP_KERNEL
"""
"""A trace of one event."""


def run(*args: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ``kevacuate ARGS``; a variable of an empty value is unset."""
    env = {name: value for name, value in (os.environ | environment).items() if value}
    words = [*COMMAND, *(str(arg) for arg in args)]
    done = subprocess.run(words, capture_output=True, text=True, env=env, timeout=600, check=False)
    done.stderr = without_compiling(done.stderr)
    return done


def without_compiling(stderr: str) -> str:
    """What was said but for what depends on speed: that the model is being compiled, and waits of over a second."""
    return without_waits(stderr.replace(f"kevacuate: {COMPILING}.\n", ""))


def without_waits(stderr: str) -> str:
    """What was said but for waits of over a second."""
    return _WAITS.sub("", stderr)


def call(*args: object) -> subprocess.CompletedProcess[str]:
    """As :func:`run`, in this process: an exception that would be a traceback is raised."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as caught:
        main([str(arg) for arg in args])
    code = caught.value.code
    assert isinstance(code, int)
    return subprocess.CompletedProcess(
        [str(arg) for arg in args], code, out.getvalue(), without_compiling(err.getvalue())
    )


def refusal(*args: object, apart: bool = False) -> str:
    """The one sentence on stderr with which the command refuses; nothing else may be said."""
    done = run(*args) if apart else call(*args)
    assert done.returncode == 2, done
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("kevacuate: ")
    return lines[0].removeprefix("kevacuate: ")


def files(directory: Path) -> dict[str, int]:
    """Every file below a directory, and its size."""
    return {str(p.relative_to(directory)): p.stat().st_size for p in directory.rglob("*") if p.is_file()}
