# SPDX-License-Identifier: GPL-2.0-or-later
"""The command as a process: signals, kills, two at once, closed streams, a home that is not there."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from cli_tools import COMMAND, TEXT, call, files, refusal, run, without_compiling, without_waits

import kevacuate
from kevacuate.cli.common import progress_bar
from kevacuate.cli.process import ended_by_signal
from kevacuate.ending import heed
from kevacuate.recording.parquet import combined_digest, file_digest

STOPS = {
    "import": ("kevacuate.recording.kev", "KevWriter.add_events"),
    "export": ("kevacuate.reports.ftrace", "write_ftrace"),
    "report": ("kevacuate.reports.page.page", "_render"),
    "compare": ("kevacuate.measure.saved", "_member"),
}
"""Command, and the function within which it is stopped, some time before its output is complete."""


def stopped(command: str, args: list[str], ready: Path, cwd: Path) -> subprocess.Popen[str]:
    """The command, once it waits in the middle of its work."""
    module, name = STOPS[command]
    owner, _, attribute = f"m.{name}".rpartition(".")
    code = (
        f"import pathlib, signal, sys, time, {module} as m\n"
        "for number in (signal.SIGHUP, signal.SIGTERM):  # ignored where the tests run in the background\n"
        "    signal.signal(number, signal.SIG_DFL)\n"
        "def wait(*args, **kwargs):\n"
        f"    pathlib.Path({str(ready)!r}).touch()\n"
        "    time.sleep(1000)\n"
        f"{owner}.{attribute} = wait\n"
        "from kevacuate.cli import main; main()\n"
    )
    words = [sys.executable, "-c", code, command, *args]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd)
    deadline = time.monotonic() + 600
    while not ready.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert process.poll() is None, process.communicate()
    return process


def arguments(command: str, recording: Path, tmp_path: Path) -> tuple[list[str], str]:
    """What each command is given, and the name of what it makes."""
    if command == "import":
        (tmp_path / "trace.txt").write_text(TEXT)
        return [str(tmp_path / "trace.txt"), "-o", "out.kev"], "out.kev"
    if command == "export":
        (tmp_path / "trace.txt").write_text(TEXT)
        assert run("import", tmp_path / "trace.txt", "-o", tmp_path / "in.kev").returncode == 0
        return [str(tmp_path / "in.kev"), "--ftrace", "-o", "out.txt"], "out.txt"
    if command == "report":
        return [str(recording), "--policy", "mainline", "--repeats", "1", "-o", "out.html"], "out.html"
    return [str(recording), "--policy", "mainline", "--repeats", "1", "--save", "out.kevc"], "out.kevc"


@pytest.mark.parametrize("command", ["import", "export", "report", "compare"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda n: n.name)
def test_a_signal_leaves_nothing(
    synthetic_kev: Path, tmp_path: Path, command: str, number: signal.Signals
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    args, _ = arguments(command, synthetic_kev, tmp_path)
    process = stopped(command, args, tmp_path / "ready", work)
    process.send_signal(number)
    out, err = process.communicate(timeout=600)
    assert (process.returncode, out) == (128 + number, "")
    assert err.splitlines()[-1] == f"kevacuate: stopped by {number.name}; nothing was written."
    assert list(work.iterdir()) == []


@pytest.mark.parametrize("command", ["import", "export", "compare"])
def test_what_a_kill_leaves_is_named_and_removed(synthetic_kev: Path, tmp_path: Path, command: str) -> None:
    work = tmp_path / "work"
    work.mkdir()
    args, name = arguments(command, synthetic_kev, tmp_path)
    process = stopped(command, args, tmp_path / "ready", work)
    second = run(*([command, *args[:-1], work / name])) if command != "compare" else None
    if second is not None:  # while the first is at it
        assert second.returncode == 2
        assert f"{name} is being written by process {process.pid}: wait for it" in second.stderr
    process.kill()
    process.communicate(timeout=600)
    (left,) = work.iterdir()
    assert left.name == f".{name}.kevacuate-{process.pid}"
    doctor = subprocess.run(
        [*COMMAND, "doctor", "--json"], cwd=work, capture_output=True, text=True, check=False
    )
    (check,) = [c for c in json.loads(doctor.stdout)["checks"] if c["name"] == "left by killed commands"]
    assert left.name in check["found"]
    done = run(command, *args[:-1], work / name)
    assert done.returncode == 0, done.stderr
    assert f"kevacuate: removed {left} (" in done.stderr
    assert [path.name for path in work.iterdir()] == [name]


def test_ctrl_c_while_the_command_is_imported_ends_it_in_words() -> None:
    code = (
        "import os, signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'click':\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Finder())\n"
        "from kevacuate.cli import main; main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "info"], capture_output=True, text=True, check=False, timeout=600
    )
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "kevacuate: interrupted; nothing was written.\n"


@pytest.mark.parametrize("handler", ["signal.default_int_handler", "signal.SIG_IGN", "print"])
def test_importing_the_command_line_leaves_ctrl_c_to_its_importer(handler: str) -> None:
    code = (
        "import signal\n"
        f"signal.signal(signal.SIGINT, {handler})\n"
        "import kevacuate.cli\n"
        f"print(signal.getsignal(signal.SIGINT) is {handler} or signal.getsignal(signal.SIGINT) == {handler})\n"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True, timeout=600) == "True\n"


def test_signals_that_are_ignored_stay_ignored() -> None:
    code = (
        "import signal, os\n"
        "from kevacuate.cli.process import ended_by_signal\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "with ended_by_signal() as caught:\n"
        "    os.kill(os.getpid(), signal.SIGHUP)\n"
        "    print(caught)\n"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "[]\n"
    )


def test_a_terminal_without_unicode_shows_question_marks(synthetic_kev: Path, tmp_path: Path) -> None:
    shown = run("info", synthetic_kev, PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert shown.returncode == 0, shown.stderr
    assert "share a replay can trust" in shown.stdout
    name = os.fsdecode(b"caf\xe9.kev")
    assert "caf" in refusal("info", tmp_path / name, apart=True)


def test_the_c_locale_shows_question_marks(synthetic_kev: Path) -> None:
    """Python gives stdout the error handler surrogateescape there, which writes no degree sign."""
    pair = ("--policy", "mainline", "--policy", "evacuate", "--repeats", "2")
    shown = run(
        "compare",
        synthetic_kev,
        *pair,
        LC_ALL="POSIX",
        PYTHONUTF8="0",
        PYTHONCOERCECLOCALE="0",
        PYTHONIOENCODING="",
    )
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "? has not earned trust" in shown.stdout


def test_a_current_directory_that_is_gone_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    said = "the current directory does not exist any more: change to another one."
    assert refusal("report", "x.kev") == said


def test_a_closed_stdout_is_one_sentence() -> None:
    words = " ".join(f"'{word}'" for word in [*COMMAND, "info", "--json"])
    done = subprocess.run(["bash", "-c", f"{words} >&-"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert without_compiling(done.stderr) == (
        "kevacuate: standard output is closed, so the result cannot be printed: redirect it to a file.\n"
    )
    silent = subprocess.run(["bash", "-c", f"{words} >/dev/null 2>&- <&-"], capture_output=True, check=False)
    assert silent.returncode == 0


def test_what_is_written_is_named_where_it_cannot_be_printed(tmp_path: Path) -> None:
    (tmp_path / "trace.txt").write_text(TEXT)
    words = [*COMMAND, "import", str(tmp_path / "trace.txt"), "-o", str(tmp_path / "x.kev")]
    shell = " ".join(f"'{word}'" for word in words)
    done = subprocess.run(["bash", "-c", f"{shell} >&-"], capture_output=True, text=True, check=False)
    assert (done.returncode, without_waits(done.stderr)) == (
        2,
        "kevacuate: standard output is closed, so the result cannot be printed: redirect it to a file; "
        f"{tmp_path / 'x.kev'} was written.\n",
    )
    assert kevacuate.open(tmp_path / "x.kev").quality["events"] == 1


def test_a_recording_that_is_complete_is_named_by_a_command_that_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    (tmp_path / "trace.txt").write_text(TEXT)
    monkeypatch.setattr("kevacuate.recording.importers.registry._summary", stopped)
    done = call("import", tmp_path / "trace.txt", "-o", tmp_path / "x.kev")
    assert (done.returncode, done.stderr.splitlines()[-1]) == (
        130,
        f"kevacuate: interrupted; {tmp_path / 'x.kev'} was written.",
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda n: n.name)
def test_a_signal_while_python_ends_changes_nothing(number: signal.Signals) -> None:
    code = (
        "import atexit, os, signal\n"
        "for one in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):  # ignored where the tests run in the background\n"
        "    signal.signal(one, signal.SIG_DFL)\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"atexit.register(os.kill, os.getpid(), {int(number)})\n"
        "from kevacuate.cli import main; main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "--version"], capture_output=True, text=True, check=False, timeout=600
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("kevacuate, version ")


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_behind_stdout_is_one_sentence(unbuffered: str) -> None:
    words = " ".join(f"'{word}'" for word in [*COMMAND, "info", "--json"])
    done = subprocess.run(
        ["bash", "-c", f"{words} >/dev/full"],
        env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    said = without_compiling(done.stderr)
    assert (
        said
        == "kevacuate: the result cannot be printed: No space left on device; send standard output elsewhere.\n"
    )


def test_the_package_is_a_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "kevacuate", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("kevacuate, version ")


def test_a_home_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("KEVACUATE_CACHE_DIR", "XDG_CACHE_HOME")
    }
    environment |= {"HOME": str(tmp_path / "none"), "TMPDIR": str(tmp_path / "tmp")}
    (tmp_path / "tmp").mkdir()
    code = (
        "from kevacuate.jit import cache_dir; import os; here = cache_dir(); print(os.path.isdir(here))\n"
        "from pathlib import Path; from kevacuate.recording.atomic_write import remove_leftovers\n"
        "print(remove_leftovers(Path(here).parent), os.path.isdir(here))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "True\n[] True\n"
    assert [p.name for p in tmp_path.iterdir()] == ["tmp"]
    assert list((tmp_path / "tmp").iterdir()) == []


def test_compiling_is_said_where_it_happens_only(synthetic_kev: Path, tmp_path: Path) -> None:
    """Of little work too, which plain Python would do: it is compiled here, as a replay is, but sooner."""
    code = (
        "import runpy; from kevacuate import jit; jit.EntryPoint.little = lambda *_: (False, None)\n"
        "runpy.run_module('kevacuate', run_name='__main__', alter_sys=True)"
    )
    said = "kevacuate: compiling a part of the model or a policy's hooks, once (up to a minute, hooks seconds).\n"
    shown = []
    for _ in range(2):
        words = [sys.executable, "-c", code, "info", str(synthetic_kev)]
        environment = os.environ | {"KEVACUATE_CACHE_DIR": str(tmp_path / "cache")}
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
        shown.append(without_waits(done.stderr))
    assert shown == [said, ""]


def test_one_format_at_a_time(synthetic_kev: Path, tmp_path: Path) -> None:
    said = refusal("export", "--ftrace", "--perfetto", synthetic_kev, "-o", tmp_path / "x")
    assert said.startswith("export writes one file in one format: give one of --ftrace, --perfetto.")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words", [["explain", "block:2"], ["watch", "--once"], ["report", "--recorded", "-o", "OUT"]]
)
def test_a_state_without_a_time(synthetic_kev: Path, tmp_path: Path, words: list[str]) -> None:
    recording = tmp_path / "x.kev"
    shutil.copytree(synthetic_kev, recording)
    file = recording / "states/000/state.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"ts": []}))
    body = json.loads((recording / "machine.json").read_text())
    digests = {name: file_digest(recording / name) for name in body.pop("files")}
    body.pop("digest")
    body |= {"files": digests, "digest": combined_digest(body, digests)}
    (recording / "machine.json").write_text(json.dumps(body))
    before = files(tmp_path)
    rest = [str(tmp_path / "page.html") if word == "OUT" else word for word in words[1:]]
    if words[0] == "explain":
        said = refusal("explain", recording, *rest)
    else:
        said = refusal(words[0], *rest, recording)
    assert (
        "state.json does not describe a state (the state.ts is [], not a whole number): record again." in said
    )
    assert files(tmp_path) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
def test_a_signal_that_a_library_dropped_ends_the_command_all_the_same(number: signal.Signals) -> None:
    usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
    before = signal.signal(number, usual)  # SIGINT is ignored where the tests run in the background
    try:
        _drop_and_go_on(number)
    finally:
        signal.signal(number, before)


def _drop_and_go_on(number: signal.Signals) -> None:
    with ended_by_signal() as caught:
        heed()
        with suppress(KeyboardInterrupt):  # as an import does that takes any failure for a missing option
            os.kill(os.getpid(), number)
            time.sleep(1)
        with pytest.raises(KeyboardInterrupt), progress_bar():
            pytest.fail("goes on")
        caught.clear()
        with progress_bar() as report:
            report("mainline", 1, 2)
            caught.append(number)
            with pytest.raises(KeyboardInterrupt):
                report("mainline", 2, 2)
        assert caught == [number]
    heed()


def test_a_failure_that_a_signal_caused_is_an_interruption(
    monkeypatch: pytest.MonkeyPatch, synthetic_kev: Path
) -> None:
    """As when the signal comes within a callback of the compiler, which then has no compiled object."""

    def hit(*_: object) -> None:
        class Raises:
            def __del__(self) -> None:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(1)

        Raises()  # KeyboardInterrupt in a destructor: Python cannot raise it
        raise RuntimeError("no compiled object yet")

    monkeypatch.setattr("kevacuate.observe.info.about_recording", hit)
    done = call("info", synthetic_kev)
    assert (done.returncode, done.stderr) == (143, "kevacuate: stopped by SIGTERM; nothing was written.\n")


@pytest.mark.parametrize("command", ["info", "triage"])
def test_a_reader_of_a_table_that_goes_away_is_141(synthetic_kev: Path, command: str) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run(
        [*COMMAND, command, str(synthetic_kev)],
        stdout=write_end,
        stderr=subprocess.PIPE,
        timeout=120,
        check=False,
    )
    os.close(write_end)
    assert done.returncode == 141, done
    assert without_compiling(done.stderr.decode()) == ""
