# SPDX-License-Identifier: GPL-2.0-or-later
"""The initramfs of docs/vmcore.md is made from relative paths too, and a failure is one."""

from __future__ import annotations

import gzip
import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks/vmcore/make_initrd.sh"


def program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def make_initrd(where: Path, busybox: str, cpio: str = "cat") -> subprocess.CompletedProcess[str]:
    """Run the script in *where*, with a busybox whose cpio is *cpio* and a compiler that makes empty programs."""
    program(where / "tree/bin/busybox", f'[ "$1" = cpio ] && {cpio}')
    program(where / "path/gcc", 'while [ "$1" != -o ]; do shift; done; : > "$2"')
    (where / "tree/lib/modules").mkdir(parents=True)
    return subprocess.run(
        ["sh", SCRIPT, "tree", busybox, "initrd.gz"],
        check=False,
        cwd=where,
        env={**os.environ, "PATH": f"{where / 'path'}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("relative", [True, False])
def test_the_archive_holds_what_it_should(relative: bool, tmp_path: Path) -> None:
    path = "tree/bin/busybox" if relative else str(tmp_path / "tree/bin/busybox")
    made = make_initrd(tmp_path, path)
    assert made.returncode == 0, made.stderr
    named = gzip.decompress((tmp_path / "initrd.gz").read_bytes()).decode().split()
    assert {"./init", "./bin/busybox", "./bin/churn", "./bin/hold"} <= set(named)


def test_an_archive_that_cannot_be_made_is_a_failure(tmp_path: Path) -> None:
    made = make_initrd(tmp_path, "tree/bin/busybox", "{ echo no room >&2; exit 1; }")
    assert made.returncode != 0
    assert "no room" in made.stderr
    assert not (tmp_path / "initrd.gz").exists()
