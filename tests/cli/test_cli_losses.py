# SPDX-License-Identifier: GPL-2.0-or-later
"""Losses, wherever they are said: a gap of unknown size makes each number a least one, in words and in JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_tools import call, refusal
from recorded_tools import write_events
from synthetic import start_state, write_recording
from test_cli_triage import steal

from kevacuate.capture.status import Result
from kevacuate.cli.record import _json, _sentence
from kevacuate.live.playback import play_recording
from kevacuate.live.tap import parse_lost
from kevacuate.live.text import Options, head_text
from kevacuate.recording import CpuLosses, Lost, Recording

EXACT, LEAST = {"missed": 3}, {"missed": 2, "gaps": 1}


def test_one_sum_and_its_words() -> None:
    assert [CpuLosses(0, **more).lost for more in (EXACT, LEAST)] == [Lost(3), Lost(3, at_least=True)]
    assert CpuLosses(0, gaps=1, overrun=17, dropped=2).lost == Lost(19, at_least=True)
    total = Lost.total([Lost(1234), Lost(), Lost(1, at_least=True)])
    assert total.words == "at least 1,235 events were lost"
    said = [Lost().sentence, Lost(1).sentence, Lost(2).sentence, Lost(1, at_least=True).sentence]
    assert said == [
        "No event was lost",
        "1 event was lost",
        "2 events were lost",
        "At least 1 event was lost",
    ]
    assert Lost.of_json({"lost_events": [1, 2], "lost_events_at_least": True}) == Lost(3, at_least=True)


@pytest.mark.parametrize(("more", "number"), [(EXACT, "3"), (LEAST, "at least 3")])
def test_every_command_says_so(tmp_path: Path, more: dict[str, int], number: str) -> None:
    least, page = number != "3", tmp_path / "page.html"
    lossy = write_recording(tmp_path / "lossy.kev", **more)
    for command in ("compare", "replay", "verify", "explain"):
        args = (lossy, "block:3") if command == "explain" else (lossy,)
        assert f"lost events ({number} on CPU 1)" in refusal(command, *args)
    sentence = f"{number} events were lost".capitalize()
    assert call("report", lossy, "-o", page).returncode == 0
    assert f"{sentence}, so the demand was not replayed" in page.read_text()
    about = json.loads(call("info", lossy, "--json").stdout)
    assert (about["lost_events"], about["lost_events_at_least"]) == ([0, 3], least)
    assert about["verdict"].startswith(f"{sentence}, so objects are missing")
    assert f"CPU 1: {number} (missed" in " ".join(call("info", lossy).stdout.split())
    bare = write_events(tmp_path / "bare.kev", [steal(1, 1)], **more)
    triage = json.loads(call("triage", bare, "--json").stdout)
    assert (triage["lost_events"], triage["lost_events_at_least"]) == (3, least)
    assert f"{number} events of any kind were lost".capitalize() in " ".join(
        call("triage", bare).stdout.split()
    )
    said = call("compare", "--recorded", bare, bare, "--despite-losses").stdout
    assert f"Events were lost in bare.kev ({number})" in " ".join(said.split())


@pytest.mark.parametrize(("mark", "number"), [("LOST 3 EVENTS", "3"), ("LOST EVENTS", "at least 1")])
def test_import_says_so(tmp_path: Path, mark: str, number: str) -> None:
    line = "  x-5 [001] 1.000001: mm_page_free: page=0x1 pfn=0x1 order=0\n"
    (tmp_path / "t.txt").write_text(f"{line}CPU:1 [{mark}]\n{line}")
    done = call("import", tmp_path / "t.txt", "-o", tmp_path / "a.kev")
    assert f"before they were written ({number} on CPU 1)" in " ".join(done.stdout.split())
    about = json.loads(call("import", tmp_path / "t.txt", "-o", tmp_path / "b.kev", "--json").stdout)
    assert about["lost_events_at_least"] == (number != "3")


def test_record_says_so(tmp_path: Path) -> None:
    for lost, words in (
        (Lost(1), "1 event was LOST"),
        (Lost(4, at_least=True), "at least 4 events were LOST"),
    ):
        result = Result(tmp_path / "x.kev", 9, lost, 1.0, "with the command", None)
        assert words in _sentence(result, 0, light=False)
        said = _json(result, 0)
        assert (said["lost_events"], said["lost_events_at_least"]) == (lost.events, lost.at_least)


def test_watch_says_so(tmp_path: Path) -> None:
    lines = ("CPU:3 [LOST 12 EVENTS]", "CPU:3 [LOST EVENTS]", "CPU:3 buffer started")
    assert [parse_lost(line) for line in lines] == [Lost(12), Lost(1, at_least=True), None]
    path = write_events(tmp_path / "x.kev", [steal(1, 1)], states=[start_state()], **LEAST)
    view = play_recording(Recording.open(path)).poll()
    assert (view.counts["lost_events"], view.counts["lost_events_at_least"]) == (3, True)
    assert "LOST at least 3 events" in head_text(view, Options(), 100).plain
