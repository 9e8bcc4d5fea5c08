# SPDX-License-Identifier: GPL-2.0-or-later
"""``kevacuate watch`` without a terminal, and in one."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from cli_tools import COMMAND, call, refusal

from kevacuate.capture.tracefs import find_tracefs


def test_once_of_a_recording(synthetic_kev: Path) -> None:
    said = json.loads(call("watch", synthetic_kev, "--policy", "evacuate", "--once", "--json").stdout)
    assert said["would_queue"]
    assert said["pageblock_order"] == 9
    assert sum(said["blocks"].values()) == 16
    text = call("watch", synthetic_kev, "--once").stdout
    assert "replayed under evacuate" in text
    assert f"would be queued {len(said['would_queue'])} blocks" in text


def test_refusals(synthetic_kev: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "needs a terminal" in refusal("watch", synthetic_kev)
    assert "--json is for --once" in refusal("watch", synthetic_kev, "--json")
    assert "There is no policy" in refusal("watch", synthetic_kev, "--policy", "x")
    monkeypatch.setitem(sys.modules, "kevacuate.live.app", None)
    assert "pip install 'kevacuate[watch]'" in refusal("watch", synthetic_kev)


def in_terminal(until: bytes, number: int, *args: object, **streams: object) -> tuple[int, bytes]:
    """``kevacuate ARGS`` in a terminal, sent a signal once it shows *until*: its exit status, and all that it showed."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    given: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), theirs) | streams
    words = [*COMMAND, *(str(arg) for arg in args)]
    started = subprocess.Popen(words, start_new_session=True, env=os.environ | {"TERM": "xterm"}, **given)
    os.close(theirs)
    shown = b""
    try:
        while data := os.read(ours, 1 << 16):
            shown += data
            if until in shown and number:
                started.send_signal(number)
                number = 0
    except OSError:  # EIO: nobody has the terminal open any more
        pass
    finally:
        os.close(ours)
    return started.wait(60), shown


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda n: n.name)
def test_a_signal_ends_the_view_and_gives_the_terminal_back(
    synthetic_kev: Path, number: signal.Signals
) -> None:
    code, shown = in_terminal(b"Quit", number, "watch", synthetic_kev)
    assert code == 128 + number
    view, _, after = shown.partition(b"\x1b[?1049l")  # the terminal's other screen is left
    assert b"\x1b[?1049h" in view
    assert f"kevacuate: stopped by {number.name}; nothing was written." in after.decode()


@pytest.mark.parametrize("name", ["stdin", "stdout", "stderr"])
def test_the_view_needs_each_stream_to_be_the_terminal(
    synthetic_kev: Path, tmp_path: Path, name: str
) -> None:
    with (tmp_path / "said").open("w+b") as file:
        code, shown = in_terminal(b"", 0, "watch", synthetic_kev, "--duration", 1, **{name: file})
        file.seek(0)
        said = file.read() + shown
    assert code == 2, shown
    assert f"needs a terminal, which {name} is not".encode() in said


def test_what_the_command_refuses(synthetic_kev: Path) -> None:
    assert "--metrics is of the running kernel" in refusal("watch", synthetic_kev, "--metrics", ":0")
    assert "ends in .prom" in refusal("watch", "--metrics", "here.txt")
    assert "nothing can scrape a port" in refusal("watch", "--metrics", ":0", "--once")


def can_trace() -> bool:
    tracefs = find_tracefs()
    return (
        os.geteuid() == 0 and tracefs is not None and (tracefs / "events/kmem/mm_page_alloc_extfrag").is_dir()
    )


@pytest.mark.skipif(not can_trace(), reason="needs root and tracefs")
def test_the_running_machine_is_scraped_and_left_as_it_was() -> None:
    tracefs = find_tracefs()
    assert tracefs is not None
    before = set((tracefs / "instances").iterdir())
    words = [*COMMAND, "watch", "--metrics", ":0", "--interval", "0.2", "--duration", "60"]
    started = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    try:
        assert started.stderr is not None
        match = re.search(r"http://127\.0\.0\.1:\d+/metrics", started.stderr.readline())
        assert match is not None
        asked = urllib.request.Request(
            match[0], headers={"Accept": "application/openmetrics-text; version=1.0.0"}
        )
        with urllib.request.urlopen(asked, timeout=10) as answer:
            assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
            text = answer.read().decode()
    finally:
        started.send_signal(signal.SIGINT)
        assert started.wait(30) == 130
    assert text.endswith("# EOF\n")
    assert len(re.findall(r"^kevacuate_free_pages\{", text, re.MULTILINE)) >= 11
    assert set((tracefs / "instances").iterdir()) <= before


@pytest.mark.skipif(not can_trace(), reason="needs root and tracefs")
def test_a_signal_says_that_the_file_of_metrics_was_written(tmp_path: Path) -> None:
    words = [*COMMAND, "watch", "--metrics", str(tmp_path / "m.prom"), "--duration", "60"]
    started = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    assert started.stderr is not None
    assert "figures every 1 s" in started.stderr.readline()
    started.send_signal(signal.SIGINT)
    assert f"interrupted; {tmp_path / 'm.prom'} was written." in started.stderr.read()
    assert started.wait(30) == 130
    assert "kevacuate_pageblocks" in (tmp_path / "m.prom").read_text()
