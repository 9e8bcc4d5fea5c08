# SPDX-License-Identifier: GPL-2.0-or-later
"""What `record` says before and after: sizes that lack their letter, and the last line."""

import os
from pathlib import Path

import pytest
from cli_tools import call

from kevacuate.capture.status import Result, Status
from kevacuate.cli import main
from kevacuate.cli.common import phase_lines
from kevacuate.cli.record import _sentence, handed_on
from kevacuate.recording import Lost


@pytest.mark.parametrize(("option", "size"), [("--max-size", "512"), ("--buffer", "0"), ("--buffer", "128")])
def test_a_size_without_its_letter_is_refused(
    option: str, size: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["record", option, size])
    assert ended.value.code == 2
    assert f"{option} 512M" in capsys.readouterr().err


def test_the_last_line_says_what_took_the_time_and_what_was_lost() -> None:
    quick = Result(Path("a.kev"), 1000, Lost(), 5.2, "after the time asked for", None, 5.1)
    assert "1,000 events in 5.2 s, no event was lost" in _sentence(quick, 1 << 20, light=False)
    slow = Result(Path("a.kev"), 1000, Lost(7), 9.3, "with the command", 3, 1.0)
    said = _sentence(slow, 1 << 20, light=False)
    assert "in 9.3 s (1.0 s between the snapshots at both ends), 7 events were LOST" in said
    one = Result(Path("a.kev"), 1000, Lost(1), 5.2, "by SIGINT", None, 5.1)
    assert "1 event was LOST (" in _sentence(one, 1 << 20, light=False)
    assert "COMMAND ended with status 3." in said
    assert ", 1 event was LOST (" in _sentence(
        Result(Path("a.kev"), 9, Lost(1), 1, "", None, 1), 0, light=True
    )
    assert said.endswith("kevacuate info a.kev")
    assert "kevacuate triage a.kev" in _sentence(
        Result(Path("a.kev"), 0, Lost(), 1, "", None, 1), 0, light=True
    )


def test_the_status_of_the_command_is_handed_on() -> None:
    assert [handed_on(status) for status in (None, 0, 3, -9)] == [0, 0, 3, 137]
    killed = Result(Path("a.kev"), 9, 0, 1, "with the command", -9, 1)
    assert " COMMAND was ended by SIGKILL." in _sentence(killed, 0, light=False)


def test_outside_a_terminal_each_thing_that_takes_time_is_named_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    report = phase_lines()
    for phase in (
        "reading page flags (3 %)",
        "reading page flags (80 %)",
        "recording",
        "recording",
        "finishing",
    ):
        report(Status(phase=phase))
    said = capsys.readouterr().err.splitlines()
    assert said == ["kevacuate: reading page flags.", "kevacuate: recording.", "kevacuate: finishing."]


@pytest.fixture
def not_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)


@pytest.mark.usefixtures("not_root")
@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("record", "--max-size", "many"), "'many' is not a size"),
        (("record", "--max-size", "512"), "--max-size 512 is 512 bytes"),
        (("record", "--buffer", "x"), "'x' is not a size"),
        (("record", "--duration", "nan"), "'nan' is not a finite number"),
        (("record", "--snapshots", "0"), "--snapshots"),
        (("record", "-o", "there.kev"), "there.kev exists already"),
        (("record", "--", "no-such-program"), "There is no program 'no-such-program'"),
        (("triage", "--live", "--duration", "0"), "--duration"),
        (("watch", "--interval", "0"), "--interval"),
        (("watch", "--json"), "--json is for --once"),
        (("watch",), "needs a terminal"),
        (("watch", "--policy", "x"), "no policy 'x'"),
        (("watch", "--once", "--policy", "x"), "no policy 'x'"),
        (("snapshot", "--vmlinux", "x"), "--vmlinux is of use"),
        (("snapshot", "-o", "x.kev"), "add --kcore"),
        (("snapshot", "--vmcore", "no-such-dump"), "no-such-dump does not exist"),
        (("snapshot", "--kcore", "--vmlinux", "no-such-image"), "no-such-image does not exist"),
        (("doctor", "--live"), "--live"),
        (("record",), "needs root"),
        (("triage", "--live"), "needs root"),
    ],
)
def test_a_bad_value_is_named_before_privileges(
    words: tuple[str, ...], named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.kev").mkdir()
    done = call(*words)
    assert done.returncode == 2
    assert named in done.stderr
    assert ("root" in done.stderr) == (named == "needs root")
