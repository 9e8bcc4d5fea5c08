# SPDX-License-Identifier: GPL-2.0-or-later
"""``kevacuate holders``: of this machine where it may be read, and what it refuses."""

import json
import os
from pathlib import Path

import pytest
from cli_tools import call

READABLE = os.access("/proc/kpageflags", os.R_OK)


@pytest.mark.skipif(not READABLE, reason="/proc/kpageflags cannot be read")
def test_this_machine_is_read_as_its_json_says() -> None:
    done = call("holders", "--json", "--blocks")
    assert (done.returncode, done.stderr) == (0, "")
    said = json.loads(done.stdout)
    assert said["source"] == "kpageflags"
    assert 0 < said["blocks"]["held"] == len(said["held_blocks"]) <= said["blocks"]["present"]
    first = said["holders"][0]
    assert first["alone"] <= first["blocks"] <= said["blocks"]["held"]
    assert all(entry["holders"] for entry in said["held_blocks"])


@pytest.mark.skipif(not READABLE, reason="/proc/kpageflags cannot be read")
def test_every_block_held_is_named_when_all_are_asked_for() -> None:
    done = call("holders", "--all", "--nearly-empty", "0")
    assert done.returncode == 0
    assert "pageblocks are held." in done.stdout
    assert "0 are nearly empty." in done.stdout
    assert "more: --all" not in done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--vmcore", "a", "--kcore"), "each name a source: give one of them."),
        (("--qemu", "a", "--kcore"), "each name a source: give one of them."),
        (("--vmlinux", "a"), "--vmlinux is of use with --vmcore, --kcore or --qemu only."),
        (("--blocks",), "--blocks is of use with --json only."),
        (("--nearly-empty", "1.5"), "1.5 is not in the range"),
        (("--vmcore", "no-such-dump"), "no-such-dump does not exist: name the dump."),
        (("--qemu", "no-such-socket", "--vmlinux", "no-such-image"), "no-such-image does not exist"),
    ],
)
def test_what_cannot_be_asked_is_said_in_a_sentence(
    words: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        done = call("holders", *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
