# SPDX-License-Identifier: GPL-2.0-or-later
"""Each command that takes a recording or a saved result names what it was given instead, by content."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from cli_tools import call, refusal

DATA = Path(__file__).parents[1] / "data"
RECORDINGS = {
    "info": (), "compare": (), "replay": (), "verify": (), "triage": (), "report": (), "plot": (), "watch": ("--once",),
    "export": ("--ftrace",), "explain": ("block:1",), "tune": (), "ablate": (),
}  # fmt: skip
"""Commands that take a recording, and what else they need."""


@pytest.fixture(scope="module")
def saved(synthetic_kev: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("given") / "both.kevc"
    assert call("replay", synthetic_kev, "--save", path).returncode == 0
    return path


@pytest.fixture
def given(saved: Path, tmp_path: Path) -> dict[str, tuple[Path, str]]:
    """Files of several kinds, and what is said of each."""
    (tmp_path / "proc").write_text("Page block order: 9\nPages per block:  512\n")
    (tmp_path / "page").write_text(
        '<!doctype html>\n<html>\n<meta name="generator" content="kevacuate 0.1">\n'
    )
    (tmp_path / "text").write_text("  x-5 [001] 1.000001: mm_page_free: page=0x1 pfn=0x1 order=0\n")
    (tmp_path / "archive").write_bytes(b"PK\x03\x04" + bytes(64))
    (tmp_path / "snapshot").write_text('{"blocks": {"class": ["free"]}}\n')
    shutil.copytree(DATA / "one-cpu.kev", tmp_path / "x.kev")
    return {
        "trace": (DATA / "trace-cmd" / "rich.v7.dat", "is a trace.dat of trace-cmd, not a recording"),
        "text": (tmp_path / "text", "is a trace's text (ftrace text), not a recording: `kevacuate import`"),
        "proc": (tmp_path / "proc", "is a copy of /proc/pagetypeinfo"),
        "page": (tmp_path / "page", "is a page that `kevacuate report` wrote"),
        "snapshot": (tmp_path / "snapshot", "is what `kevacuate snapshot` wrote"),
        "archive": (tmp_path / "archive", "is an archive"),
        "part": (tmp_path / "x.kev" / "quality.json", "is a part of the recording"),
        "saved": (saved, "is a saved result of `compare` or `replay`: it holds replays, not events"),
    }


@pytest.mark.parametrize("command", RECORDINGS)
def test_what_is_no_recording_is_named(command: str, given: dict[str, tuple[Path, str]]) -> None:
    read = {"report": {"saved"}, "plot": {"saved"}, "triage": {"trace", "text", "proc"}}.get(command, set())
    for kind, (path, words) in given.items():
        if kind not in read:
            assert words in refusal(command, path, *RECORDINGS[command]), (command, kind)


def test_every_option_of_a_recording_names_it_too(given: dict[str, tuple[Path, str]], tmp_path: Path) -> None:
    path, words = given["trace"]
    assert words in refusal("report", "--recorded", path, "-o", tmp_path / "page.html")
    assert words in refusal("compare", "--recorded", path, DATA / "one-cpu.kev")
    path, words = given["saved"]
    assert words in refusal("import", path, "-o", tmp_path / "y.kev")
    assert "is a saved result, which is shown as it is" in refusal("report", "--recorded", path)
    assert "is a saved result: its runs are made" in refusal("plot", path, "--repeats", "2")


def test_a_directory_of_raw_pages(tmp_path: Path) -> None:
    (tmp_path / "cpu0.raw").write_bytes(bytes(4096))
    assert "holds raw ring-buffer pages and is no recording: `kevacuate import`" in refusal("info", tmp_path)


@pytest.mark.parametrize("command", ["report", "plot"])
def test_a_damaged_saved_result(command: str, saved: Path, tmp_path: Path) -> None:
    whole, path = saved.read_bytes(), tmp_path / "x.kevc"
    path.write_bytes(whole[: len(whole) // 2])
    cut = f"x.kevc is a saved result and is damaged: its table of contents is not at its end, byte {len(whole) // 2}"
    assert cut in refusal(command, path)
    at = whole.index(b"0.t.npy")
    path.write_bytes(whole[: at + 40] + bytes(40) + whole[at + 80 :])
    assert "damaged: its entry 0.t.npy (from byte " in (said := refusal(command, path))
    assert said.endswith("Make it again with --save.")
