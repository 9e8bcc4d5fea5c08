# SPDX-License-Identifier: GPL-2.0-or-later
"""``kevacuate export --perfetto``."""

from pathlib import Path

from cli_tools import call, refusal
from perfetto_tools import Read


def test_the_command(synthetic_kev: Path, tmp_path: Path) -> None:
    target = tmp_path / "a.pftrace"
    said = call(
        "export", "--perfetto", synthetic_kev, "--policy", "mainline", "--policy", "evacuate", "-o", target
    )
    assert said.returncode == 0, said.stderr
    names = [t.name for t in Read(target.read_bytes()).tracks.values() if t.HasField("process")]
    assert names == ["mainline, replayed", "evacuate, replayed"]
    assert "exists already" in refusal("export", "--perfetto", synthetic_kev, "-o", target)
    assert "keeps no events" in refusal("export", "--perfetto", synthetic_kev, "-o", tmp_path / "b")
    assert "Say in which format" in refusal("export", synthetic_kev)
    assert [path.name for path in tmp_path.iterdir()] == ["a.pftrace"]
