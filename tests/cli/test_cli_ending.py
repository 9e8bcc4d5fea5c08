# SPDX-License-Identifier: GPL-2.0-or-later
"""A signal ends a command at once where Python cannot: within the compiler, and while threads work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cli_tools import TEXT

from kevacuate import dispatch, ending
from kevacuate.cli.process import ended_by_signal

ONE_CPU = Path(__file__).parent.parent / "data/one-cpu.kev"

PRELUDE = """
import hashlib, pathlib, signal, sys
for number in (signal.SIGINT, signal.SIGTERM):  # ignored where the tests run in the background
    signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.default_int_handler)
def compiles(*args, **kwargs):
    # as the compiler does: minutes in C that return to Python for no signal
    pathlib.Path(READY).touch()
    hashlib.pbkdf2_hmac("sha256", b"", b"", 1 << 30)
"""

HELD = {
    "import": ("kevacuate.recording.kev", "KevWriter.add_events"),
    "report": ("kevacuate.reports.page.page", "_render"),
    "compare": ("kevacuate.runs.compare", "replay"),
    "verify": ("kevacuate.fidelity.verify", "_take"),
}
"""Command, and the function that does not return: the first two in the main thread, the others in threads of a pool."""


def arguments(command: str, recording: Path, tmp_path: Path) -> list[str]:
    """What each command is given."""
    if command == "import":
        (tmp_path / "trace.txt").write_text(TEXT)
        return [str(tmp_path / "trace.txt"), "-o", "out.kev"]
    if command == "verify":
        return [str(ONE_CPU), "--level", "buddy", "--level", "pcp"]
    repeats = ["--policy", "mainline", "--repeats", "2" if command == "compare" else "1"]
    return [
        str(recording),
        *repeats,
        *(["-o", "out.html"] if command == "report" else ["--save", "out.kevc"]),
    ]


@pytest.mark.parametrize("command", list(HELD))
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
def test_a_signal_ends_a_command_within_the_compiler(
    synthetic_kev: Path, tmp_path: Path, command: str, number: signal.Signals
) -> None:
    work, temporary, ready = tmp_path / "work", tmp_path / "tmp", tmp_path / "ready"
    work.mkdir()
    temporary.mkdir()
    module, name = HELD[command]
    code = (
        f"READY = {str(ready)!r}\n{PRELUDE}import {module} as m; m.{name} = compiles\n"
        "import os; os.sched_getaffinity = lambda pid: {0, 1}\n"
        "from kevacuate.cli import main; main()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, command, *arguments(command, synthetic_kev, tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=work,
        env=os.environ | {"TMPDIR": str(temporary)},
    )
    try:
        deadline = time.monotonic() + 300
        while not ready.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        assert process.poll() is None, process.communicate()
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    by = "interrupted" if number == signal.SIGINT else "stopped by SIGTERM"
    assert (process.returncode, out) == (128 + number, "")
    assert err.splitlines()[-1] == f"kevacuate: {by}; nothing was written."
    assert "Traceback" not in err
    assert list(work.iterdir()) == []
    assert list(temporary.iterdir()) == []


def test_an_error_in_one_thread_does_not_wait_for_the_others(synthetic_kev: Path, tmp_path: Path) -> None:
    code = (
        f"READY = {str(tmp_path / 'ready')!r}\n{PRELUDE}"
        "import kevacuate.runs.compare as m, time, itertools, os\n"
        "from kevacuate.errors import KevacuateError\n"
        "os.sched_getaffinity = lambda pid: {0, 1}\n"
        "turn = itertools.count()\n"
        "def replay(*args, **kwargs):\n"
        "    if next(turn):\n"
        "        compiles()\n"
        "    while not pathlib.Path(READY).exists():\n"
        "        time.sleep(0.01)\n"
        "    raise KevacuateError('No room.')\n"
        "m.replay = replay\n"
        "from kevacuate.cli import main; main()\n"
    )
    words = [sys.executable, "-c", code, "compare", str(synthetic_kev), "--repeats", "2"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "kevacuate: No room."


def test_machine_code_is_kept_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    written = []

    def save(self: object, sig: object, data: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)
        written.append(data)

    monkeypatch.setattr(dispatch.FunctionCache, "save_overload", save)
    try:
        with ended_by_signal() as caught:
            with pytest.raises(KeyboardInterrupt):
                dispatch.Kept.save_overload(object.__new__(dispatch.Kept), None, "code")
            assert (written, caught) == (["code"], [signal.SIGTERM])
    finally:
        signal.signal(signal.SIGTERM, before)


def test_what_is_owed_is_undone_once_the_last_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "_owed", {})
    done: list[str] = []

    def fails() -> None:
        done.append("fails")
        raise OSError

    ending.owe("first", lambda: done.append("first"))
    ending.owe("settled", lambda: done.append("settled"))
    ending.owe("fails", fails)
    with ending.owed(lambda: done.append("inner")):
        ending.settle("settled")
        ending.undo_all()
    ending.undo_all()
    assert done == ["inner", "fails", "first"]
