# SPDX-License-Identifier: GPL-2.0-or-later
"""Outside a terminal every command that may take long says what it waits for, once, and names only options that it has."""

from __future__ import annotations

import re
import time
from pathlib import Path

import click
import pytest
from cli_tools import TEXT, call, refusal

from kevacuate.capture import options as opt
from kevacuate.capture.events import EventChoice
from kevacuate.capture.session import Session
from kevacuate.cli import common
from kevacuate.cli.main import COMMANDS, cli
from kevacuate.errors import KevacuateError

ONE_CPU = Path(__file__).parent.parent / "data/one-cpu.kev"

WAITS = {
    "compare REC --policy mainline --repeats 1": ["reading the recording", "replaying mainline"],
    "replay REC --save OUT": ["reading the recording", "replaying mainline", "writing OUT"],
    "report REC --policy mainline --repeats 1 -o OUT": ["replaying mainline", "drawing the page"],
    "report REC --recorded -o OUT": ["reading the recording"],
    "plot REC --policy mainline --repeats 1 --figure bars -o OUT": ["replaying mainline", "drawing bars"],
    "verify ONE --level buddy": ["reading the recording", "verifying events"],
    "info REC": ["reading events", "reading demand"],
    "explain REC block:2 --policy mainline": ["replaying mainline"],
    "watch REC --once --policy mainline": ["replaying mainline"],
    "watch ONE --once": ["reading events"],
    "triage ONE": ["reading"],
    "compare --recorded ONE ONE": ["reading ONE"],
    "import TXT -o OUT": ["reading TXT (bytes)"],
    "export ONE --ftrace -o OUT": ["writing ftrace (events)"],
}
"""Command line, and what it says that it waits for if that takes long."""


@pytest.mark.parametrize("line", list(WAITS), ids=lambda line: "-".join(re.findall(r"[a-z]+", line)[:3]))
def test_every_wait_has_a_name(
    synthetic_kev: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    (tmp_path / "trace.txt").write_text(TEXT)
    words = {"REC": synthetic_kev, "ONE": ONE_CPU, "OUT": tmp_path / "out", "TXT": tmp_path / "trace.txt"}
    begun: list[str] = []

    class Waits(common._Waits):
        def __init__(self, first: str) -> None:
            begun.append(first)
            super().__init__(first)

        def begin(self, doing: str) -> None:
            begun.append(doing)
            super().begin(doing)

    monkeypatch.setattr(common, "_Waits", Waits)
    done = call(*(str(words.get(word, word)) for word in line.split()))
    assert done.returncode == 0, done.stderr
    for expected in WAITS[line]:
        assert " ".join(str(words.get(word, word)) for word in expected.split()) in begun


def test_a_wait_is_said_once_and_only_if_it_is_long(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = ""

    def until(line: str) -> None:
        nonlocal said
        deadline = time.monotonic() + 60
        while line not in said and time.monotonic() < deadline:
            time.sleep(0.01)
            said += capsys.readouterr().err

    monkeypatch.setattr(common, "QUIET_SECONDS", 3600)
    with common.progress_bar() as report:
        report("replaying mainline", 1, 2)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(common, "QUIET_SECONDS", 0.01)
    with common.progress_bar("reading x") as report:
        until("kevacuate: reading x.\n")
        for done in (1, 2):
            report("replaying mainline", done, 2)
            until("kevacuate: replaying mainline.\n")
        report("reading x", 1, 2)
        report("drawing\x1b", 0, 0)
        until("drawing")
    said += capsys.readouterr().err
    assert said == "kevacuate: reading x.\nkevacuate: replaying mainline.\nkevacuate: drawing\\u001b.\n"


def options_of(command: str) -> set[str]:
    """The options that a command has."""
    found = cli.get_command(click.Context(cli), command)
    assert found is not None
    return {name for parameter in found.params for name in parameter.opts}


def test_triage_on_a_full_disk_names_tmpdir_not_an_option_that_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opt, "free_disk", lambda path: 0)

    def record(options: opt.RecordOptions, *_: object) -> None:
        Session(options, tmp_path, EventChoice(())).run()

    monkeypatch.setattr("kevacuate.capture.record.start_recording", record)
    monkeypatch.setattr("kevacuate.capture.session.take_counts", lambda label: None)
    monkeypatch.setattr("kevacuate.capture.session.top_pfn", lambda counts: 0)
    said = refusal("triage", "--live")
    assert said.endswith("to begin: make room or set TMPDIR to another place.")
    with pytest.raises(KevacuateError, match="make room or choose another place with -o"):
        opt.check_disk(tmp_path, 0)


def test_the_advice_on_lost_events_names_commands_that_have_the_option() -> None:
    from kevacuate.recording import Recording
    from kevacuate.recording.completeness import refuse_losses
    from kevacuate.recording.ringbuf import CpuLosses

    class Lossy(Recording):
        losses = (CpuLosses(0, 3, 1, 0, 0, 0, 0),)

        def __init__(self) -> None:
            self.path = Path("x.kev")

    with pytest.raises(KevacuateError) as caught:
        refuse_losses(Lossy())
    advice = str(caught.value).partition("--despite-losses, ")[2]
    named = {name for name in COMMANDS if re.search(rf"\b{name}\b", advice)}
    assert named == {name for name in COMMANDS if "--despite-losses" in options_of(name)}
